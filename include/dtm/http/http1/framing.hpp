/// What the headers of a message say of the message itself: how its body is delimited, whether the connection goes on.
/// Needs: std. Threads: one at a time. Source: RFC 9112 §6, §9.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <dtm/base/text.hpp>

namespace dtm {
inline namespace v1 {
namespace http1 {

enum class MessageKind { kRequest, kReply };
enum class Parsed { kMore, kDone, kRefused };

/// Why a message is not taken: in words, and with the status that a server answers.
struct Refusal {
  int status = 400;
  const char* text = "";
};

inline bool EqualsLower(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c =
        text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] + ('a' - 'A')) : text[i];
    if (c != lower[i]) return false;
  }
  return true;
}

/// Whether a list such as that of Connection, "a, B ,c", has this element.
inline bool ListHas(std::string_view list, std::string_view lower) {
  for (;;) {
    const std::size_t comma = list.find(',');
    if (EqualsLower(Trimmed(list.substr(0, comma)), lower)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

/// How the body behind a head is delimited, and what becomes of the connection.
struct Framing {
  enum class Body { kNone, kLength, kChunked, kToClose };
  Body body = Body::kNone;
  std::uint64_t length = 0;
  bool keep_alive = true;         ///< the connection may take another message
  bool encoded = false;           ///< the body is compressed, or coded in another way
  bool expects_continue = false;  ///< the other side waits for a 100 before it sends the body
};

/// Looks at the headers, one after the other, and tells at the end.
class FramingReader {
 public:
  FramingReader(MessageKind kind, int minor_version)
      : request_(kind == MessageKind::kRequest), minor_(minor_version) {
    framing_.keep_alive = minor_ == 1;
  }

  /// False: the message is refused, see Why().
  bool Look(std::string_view name, std::string_view value) {
    const auto is = [name](std::string_view lower) { return EqualsLower(name, lower); };
    switch (name.size()) {
      case 4: return !request_ || !is("host") || Host(value);
      case 6:
        if (is("expect"))
          framing_.expects_continue = minor_ == 1 && EqualsLower(value, "100-continue");
        return true;
      case 10:
        if (!is("connection")) return true;
        if (minor_ == 0 && ListHas(value, "keep-alive")) framing_.keep_alive = true;
        if (ListHas(value, "close")) closes_ = true;
        return true;
      case 14: return !is("content-length") || Length(value);
      case 16:
        if (is("content-encoding") && !value.empty() && !EqualsLower(value, "identity"))
          framing_.encoded = true;
        return true;
      case 17: return !is("transfer-encoding") || (request_ ? Coding(value) : Codings(value));
      default: return true;
    }
  }

  Framing OfRequest() {
    if (closes_) framing_.keep_alive = false;
    framing_.body = has_coding_   ? Framing::Body::kChunked
                    : has_length_ ? Framing::Body::kLength
                                  : Framing::Body::kNone;
    return framing_;
  }

  /// `odd`: it was written so that another reader may find another end; the connection is not used again.
  Framing OfReply(int status, bool to_head, bool odd) {
    using Body = Framing::Body;
    odd = odd || odd_ || (has_coding_ && (has_length_ || minor_ == 0));
    if (to_head || status == 204 || status == 304) {
      framing_.body = Body::kNone;
    } else if (has_coding_) {
      framing_.body = chunked_ ? Body::kChunked : Body::kToClose;
    } else {
      framing_.body = has_length_ ? Body::kLength : Body::kToClose;
    }
    if (closes_ || odd || framing_.body == Body::kToClose) framing_.keep_alive = false;
    return framing_;
  }

  const Refusal& Why() const { return why_; }

 private:
  bool Refuse(int status, const char* text) {
    why_ = {status, text};
    return false;
  }

  bool Host(std::string_view value) {
    if (has_host_ || value.find('%') != std::string_view::npos) {
      return Refuse(400, "its Host is given twice, or is none");
    }
    return has_host_ = true;
  }

  bool Length(std::string_view value) {
    if (request_ && (has_length_ || has_coding_)) return Refuse(400, "its length is given twice");
    // "5, 5" in a reply that came through a careless proxy is 5 (RFC 9110 §8.6).
    for (bool more = true; more;) {
      const std::size_t comma = request_ ? std::string_view::npos : value.find(',');
      std::uint64_t length = 0;
      const std::string_view text = Trimmed(value.substr(0, comma));
      if (!Number(text, length)) {
        const bool digits = text.find_first_not_of("0123456789") == std::string_view::npos;
        return digits && !text.empty() ? Refuse(413, "its Content-Length is beyond all limits")
                                       : Refuse(400, "its Content-Length is no number");
      }
      if (has_length_ && length != framing_.length)
        return Refuse(400, "it has two lengths that differ");
      odd_ = odd_ || has_length_;
      has_length_ = true;
      framing_.length = length;
      more = comma != std::string_view::npos;
      if (more) value.remove_prefix(comma + 1);
    }
    return true;
  }

  /// Of a request: chunked, and nothing else.
  bool Coding(std::string_view value) {
    if (has_coding_ || has_length_) return Refuse(400, "its length is given twice");
    if (!EqualsLower(value, "chunked")) return Refuse(501, "its Transfer-Encoding is not chunked");
    if (minor_ == 0) return Refuse(400, "HTTP/1.0 has no Transfer-Encoding");
    return has_coding_ = true;
  }

  /// Of a reply: what is chunked ends with its chunks, what is coded in another way with the connection.
  bool Codings(std::string_view value) {
    for (bool more = true; more;) {
      const std::size_t comma = value.find(',');
      const std::string_view coding = Trimmed(value.substr(0, comma));
      more = comma != std::string_view::npos;
      if (more) value.remove_prefix(comma + 1);
      if (coding.empty() || EqualsLower(coding, "identity")) continue;
      if (chunked_) return Refuse(400, "its Transfer-Encoding goes on behind chunked");
      has_coding_ = true;
      chunked_ = EqualsLower(coding, "chunked");
      if (!chunked_) framing_.encoded = true;
    }
    return true;
  }

  static bool Number(std::string_view text, std::uint64_t& number) {
    constexpr std::size_t kMaxDigits = 18;
    if (text.empty() || text.size() > kMaxDigits) return false;
    for (const char c : text) {
      if (c < '0' || c > '9') return false;
      number = number * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return true;
  }

  const bool request_;
  const int minor_;
  Framing framing_;
  Refusal why_;
  bool has_host_ = false;
  bool has_length_ = false;
  bool has_coding_ = false;
  bool chunked_ = false;  ///< the last coding
  bool closes_ = false;   ///< the other side ends the connection
  bool odd_ = false;
};

}  // namespace http1
}  // namespace v1
}  // namespace dtm
