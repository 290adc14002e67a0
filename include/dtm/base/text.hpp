/// Small facts about text that comes from outside.
/// Needs: std. Threads: pure functions. Source: RFC 3629 (UTF-8), RFC 3986 (URLs), RFC 8259 (JSON).
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace dtm {
inline namespace v1 {

/// Length of the valid UTF-8 sequence at `at`, or 0.
inline std::size_t Utf8Length(const std::string& text, std::size_t at) {
  const auto byte = [&text](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto tail = [&byte](std::size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned first = byte(at);
  if (at >= text.size()) return 0;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(at + 1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned second = byte(at + 1);
    const bool overlong = first == 0xE0 && second < 0xA0;
    const bool surrogate = first == 0xED && second > 0x9F;
    return tail(at + 1) && tail(at + 2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned second = byte(at + 1);
    const bool overlong = first == 0xF0 && second < 0x90;
    const bool too_large = first == 0xF4 && second > 0x8F;
    const bool tails = tail(at + 1) && tail(at + 2) && tail(at + 3);
    return tails && !overlong && !too_large ? 4 : 0;
  }
  return 0;
}

inline bool IsUtf8(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = Utf8Length(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

/// FNV-1a, 64 bits: the same on every machine and in every version, so it may be stored.
class StableHash {
 public:
  void Add(unsigned char byte) { value_ = (value_ ^ byte) * 1099511628211U; }
  void Add(std::string_view text) {
    for (const char c : text) Add(static_cast<unsigned char>(c));
  }
  std::uint64_t Value() const { return value_; }

 private:
  std::uint64_t value_ = 14695981039346656037U;
};

inline bool HasPrefix(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

/// Without blanks and tabs at its ends.
inline std::string_view Trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// With A to Z in lower case; other letters stay.
inline std::string Lowered(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

/// Everything but RFC 3986's unreserved characters as %XX.
inline std::string PercentEncoded(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      result += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      result.append({'%', kHex[byte >> 4], kHex[byte & 15]});
    }
  }
  return result;
}

/// Every %XX as its byte; what only looks like one stays.
inline std::string PercentDecoded(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool encoded =
        text[i] == '%' && text.size() - i > 2 && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0;
    result += encoded ? static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])) : text[i];
    if (encoded) i += 2;
  }
  return result;
}

/// The url up to where one more `key=value` of its query goes.
inline std::string WithQueryOpen(std::string url) {
  if (url.find('?') == std::string::npos) return url + '?';
  if (url.back() != '?' && url.back() != '&') url += '&';
  return url;
}

inline std::string WithQuery(std::string url, const char* key, const std::string& value) {
  return WithQueryOpen(std::move(url)) + key + '=' + PercentEncoded(value);
}

/// How deeply JSON is nested: its brackets outside of strings.
inline std::size_t JsonDepth(std::string_view text) {
  std::size_t depth = 0, deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = (++depth > deepest) ? depth : deepest;
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

/// At most `max_bytes` of the text, cut between characters.
inline std::string_view Front(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  std::size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u) --end;
  return text.substr(0, end);
}

/// The same.
inline std::string Truncated(std::string text, std::size_t max_bytes) {
  text.resize(Front(text, max_bytes).size());
  return text;
}

/// At most `max_bytes` of the text, cut between characters. `replacement(at, length)` says for the character there what
/// stands for its first byte, or 0 to keep it; `length` is 0 where the bytes are no UTF-8.
template <typename Replacement>
std::string Replaced(const std::string& text, std::size_t max_bytes, Replacement replacement) {
  std::string clean;
  clean.reserve((std::min)(text.size(), max_bytes));
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = Utf8Length(text, at);
    const char other = replacement(at, length);
    if (clean.size() + (other != 0 ? 1 : length) > max_bytes) break;
    if (other != 0) {
      clean += other;
      ++at;
    } else {
      clean.append(text, at, length);
      at += length;
    }
  }
  return clean;
}

/// The text with everything that is not printable UTF-8 replaced, fit for a log line or a record.
inline std::string Printable(const std::string& text) {
  return Replaced(text, text.size(), [&text](std::size_t at, std::size_t length) {
    const unsigned char first = static_cast<unsigned char>(text[at]);
    if (first == '\n' || first == '\t') return ' ';
    const bool c1 = length == 2 && first == 0xC2 && static_cast<unsigned char>(text[at + 1]) < 0xA0;
    return length == 0 || first < 0x20 || first == 0x7F || c1 ? '?' : '\0';
  });
}

/// As all dtm servers and barriers read a gid and its like: these characters would break queries and logs.
inline std::string CleanGid(std::string gid) {
  const auto breaks = [](char c) { return c == '\n' || c == '\r' || c == ';'; };
  gid.erase(std::remove_if(gid.begin(), gid.end(), breaks), gid.end());
  return gid;
}

/// The number that the whole text is, without blanks or a plus; nothing if it is none or does not fit.
template <typename Number>
std::optional<Number> ParseNumber(std::string_view text, int base = 10) {
  Number number{};
  const char* const end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, number, base);
  return result.ec == std::errc() && result.ptr == end ? std::optional(number) : std::nullopt;
}

}  // namespace v1
}  // namespace dtm
