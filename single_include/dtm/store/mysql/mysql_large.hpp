/// Generated from include/dtm/store/mysql/mysql_large.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "../../sql/session.hpp"

// ---- dtm/store/mysql/mysql_large.hpp -----------------------------------------------------------

/// A message that is larger than a server of MariaDB or MySQL takes, as several: its long values go ahead of it, into variables of
/// the session. What locks and writes stays one message. Only literals of mysql_literals.hpp are understood.
/// Needs: std. Threads: pure functions.

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace mysql_store {

/// What is sent one after the other. The last one is the message itself.
struct Messages {
  std::vector<std::string> texts;
  std::size_t variables = 0;  ///< that the first ones have set
};

inline std::string Variable(std::size_t number) { return "@dtm_" + std::to_string(number); }

/// Takes one message apart.
class LongValues {
 public:
  /// `most`: bytes that the server takes in a message, and in a value.
  explicit LongValues(std::size_t most) : most_(most) {}

  /// @throws SqlError  a value alone is larger than the server takes.
  Messages TakenFrom(std::string_view text) {
    std::string rest;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = text.find(kLiteral, at);
      if (begin == std::string_view::npos) {
        rest += text.substr(at);
        break;
      }
      rest += text.substr(at, begin - at);
      const std::size_t first = begin + kLiteral.size();
      const Literal literal = LiteralAt(text.substr(first));
      const std::string_view inside = text.substr(first, literal.length);
      at = first + literal.length + 1;
      if (literal.length < kLong) {
        rest += text.substr(begin, at - begin);
        continue;
      }
      if (literal.bytes >= most_) ThrowTooLarge(literal.bytes);
      rest += SetAside(inside);
    }
    messages_.texts.push_back(std::move(rest));
    return std::move(messages_);
  }

 private:
  struct Literal {
    std::size_t length;  ///< between its quotes
    std::size_t bytes;   ///< of its value
  };
  static constexpr std::string_view kLiteral = "_binary'";
  static constexpr std::size_t kLong = 4096;
  static constexpr std::size_t kRoom = 64;  ///< for what stands around a value

  static Literal LiteralAt(std::string_view text) {
    Literal literal{0, 0};
    for (; literal.length < text.size() && text[literal.length] != '\''; ++literal.bytes) {
      literal.length += text[literal.length] == '\\' ? 2 : 1;
    }
    return literal;
  }

  [[noreturn]] void ThrowTooLarge(std::size_t bytes) const {
    throw SqlError("a value of " + std::to_string(bytes) +
                       " bytes is larger than the server's max_allowed_packet, " +
                       std::to_string(most_) + "; raise it",
                   "1153");
  }

  /// Returns what stands for the value.
  std::string SetAside(std::string_view inside) {
    std::string all;
    while (!inside.empty()) {
      std::size_t length = (std::min)(inside.size(), most_ - kRoom);
      if (length < inside.size()) length -= HalfEscapes(inside.substr(0, length));
      const std::string name = Variable(++messages_.variables);
      Assign(name, inside.substr(0, length));
      inside.remove_prefix(length);
      all += (all.empty() ? "" : ",") + name;
    }
    return all.find(',') == std::string::npos ? all : "CONCAT(" + all + ")";
  }

  /// 1 if the last byte escapes one behind it.
  static std::size_t HalfEscapes(std::string_view inside) {
    const std::size_t last = inside.find_last_not_of('\\');
    return (inside.size() - (last == std::string_view::npos ? 0 : last + 1)) % 2;
  }

  void Assign(const std::string& name, std::string_view inside) {
    std::vector<std::string>& texts = messages_.texts;
    if (texts.empty() || texts.back().size() + inside.size() + kRoom > most_) {
      texts.emplace_back("SET ");
    } else {
      texts.back() += ',';
    }
    texts.back() += name;
    texts.back() += "=_binary'";
    texts.back() += inside;
    texts.back() += '\'';
  }

  const std::size_t most_;
  Messages messages_;
};

/// Frees the memory that the server keeps for the variables.
inline std::string Forgetting(std::size_t variables) {
  std::string text = "SET ";
  for (std::size_t number = 1; number <= variables; ++number) {
    text += (number == 1 ? "" : ",") + Variable(number) + "=NULL";
  }
  return text;
}

}  // namespace mysql_store
}  // namespace v1
}  // namespace dtm
