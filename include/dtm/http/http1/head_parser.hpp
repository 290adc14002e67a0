/// Reads the heads of requests and replies from bytes as they come: each byte is looked at once, however small the pieces.
/// Needs: std. Threads: one at a time. Source: RFC 9112 §2 to §6, request smuggling §11.2.
///
/// Requests are read strictly: what two readers could understand in two ways is refused, so that no request can hide in
/// another one. Answers are read as services write them (folded or many headers, bare line feeds, 1xx before the reply);
/// a connection whose reply was framed oddly is not used again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include <dtm/base/text.hpp>
#include <dtm/http/http1/message_head.hpp>

namespace dtm {
inline namespace v1 {
namespace http1 {

/// Against abuse; a line is counted without its line feed.
struct HeadLimits {
  std::size_t headers;
  std::size_t line_bytes;
  std::size_t head_bytes;  ///< of a reply, together with the 1xx before it
};
inline constexpr HeadLimits kRequestHead{64, 8 * 1024, 64 * 1024};
inline constexpr HeadLimits kReplyHead{4096, 256 * 1024, 256 * 1024};

class HeadParser {
 public:
  using Kind = MessageKind;

  /// `to_head`: a reply to a HEAD request has no body.
  explicit HeadParser(Kind kind, bool to_head = false)
      : limits_(kind == Kind::kRequest ? kRequestHead : kReplyHead),
        kind_(kind),
        to_head_(to_head) {}

  /// Takes from `bytes` what belongs to the head. After kDone, what is left of them follows it.
  Parsed Take(std::string_view& bytes) {
    while (!bytes.empty() && state_ == Parsed::kMore) {
      const std::size_t feed = bytes.find('\n');
      const bool ends = feed != std::string_view::npos;
      const std::string_view piece = bytes.substr(0, ends ? feed + 1 : bytes.size());
      bytes.remove_prefix(piece.size());
      const std::size_t line = head_.text_.size() - line_at_ + piece.size() - (ends ? 1 : 0);
      if (line > limits_.line_bytes) {
        Refuse(431, first_line_ ? "its first line is too long" : "a header is too long");
      } else if (interim_bytes_ + head_.text_.size() + piece.size() > limits_.head_bytes) {
        Refuse(431, "its headers are too long");
      } else {
        head_.text_.append(piece);
        if (ends) TakeLine();
      }
    }
    return state_;
  }

  const MessageHead& Head() const { return head_; }
  /// After kRefused.
  const Refusal& Why() const { return why_; }
  /// Part of a message has come.
  bool Begun() const { return !head_.text_.empty() || interim_bytes_ > 0; }

  /// For the next message on the connection; the memory is used again.
  void Reset(bool to_head = false) {
    ResetHead();
    interim_bytes_ = 0;
    to_head_ = to_head;
    odd_ = false;
    skipped_ = false;
  }

 private:
  using Part = MessageHead::Part;

  void ResetHead() {
    head_.text_.clear();
    head_.headers_.clear();
    head_.status_ = 0;
    head_.framing_ = Framing();
    line_at_ = 0;
    first_line_ = true;
    state_ = Parsed::kMore;
  }

  void Refuse(int status, const char* text) {
    state_ = Parsed::kRefused;
    why_ = {status, text};
  }

  /// What goes from line_at_ to the end of the text, which is a line feed.
  void TakeLine() {
    std::size_t end = head_.text_.size() - 1;
    const bool has_return = end > line_at_ && head_.text_[end - 1] == '\r';
    if (has_return) {
      --end;
    } else if (kind_ == Kind::kRequest) {  // a line to some readers, and none to others
      return Refuse(400, "a line does not end with carriage return and line feed");
    } else {
      odd_ = true;
    }
    const std::size_t begin = line_at_;
    line_at_ = head_.text_.size();
    const std::string_view line = std::string_view(head_.text_).substr(begin, end - begin);
    if (first_line_) {
      if (line.empty() && kind_ == Kind::kRequest && !skipped_) return SkipLine();
      first_line_ = false;
      return kind_ == Kind::kRequest ? RequestLine(line, begin) : StatusLine(line);
    }
    if (line.empty()) return EndOfHead();
    TakeHeader(line, begin);
  }

  /// RFC 9112 §2.2: some clients send an empty line after a body; it belongs to nothing.
  void SkipLine() {
    skipped_ = true;
    head_.text_.clear();
    line_at_ = 0;
  }

  static Part Of(std::size_t at, std::size_t size) {
    return {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(size)};
  }

  void RequestLine(std::string_view line, std::size_t begin) {
    const std::size_t first = line.find(' '), last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) {
      return Refuse(400, "its first line is not METHOD TARGET HTTP/1.1");
    }
    const std::string_view method = line.substr(0, first);
    const std::string_view target = line.substr(first + 1, last - first - 1);
    const std::string_view version = line.substr(last + 1);
    if (!IsToken(method) || target.empty())
      return Refuse(400, "its first line is not METHOD TARGET HTTP/1.1");
    for (const char c : target) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte <= ' ' || byte >= 127)
        return Refuse(400, "its target has a byte that has to be written as %XX");
    }
    if (version != "HTTP/1.1" && version != "HTTP/1.0") {
      return Refuse(HasPrefix(version, "HTTP/") ? 505 : 400, "it is neither HTTP/1.1 nor HTTP/1.0");
    }
    head_.method_ = Of(begin, method.size());
    head_.target_ = Of(begin + first + 1, target.size());
    head_.minor_ = version.back() - '0';
  }

  void StatusLine(std::string_view line) {
    constexpr std::string_view kStart = "HTTP/1.";
    const bool starts = line.size() >= 12 && HasPrefix(line, kStart) &&
                        (line[7] == '0' || line[7] == '1') && line[8] == ' ' &&
                        (line.size() == 12 || line[12] == ' ');
    if (!starts) return Refuse(400, "its first line is no status of HTTP/1.1 or HTTP/1.0");
    head_.minor_ = line[7] - '0';
    for (const char c : line.substr(9, 3)) {
      if (c < '0' || c > '9') return Refuse(400, "its status is no number");
      head_.status_ = head_.status_ * 10 + (c - '0');
    }
    if (head_.status_ < 100) Refuse(400, "its status is below 100");
  }

  void TakeHeader(std::string_view line, std::size_t begin) {
    for (const char c : line) {
      if ((c >= 0 && c < ' ' && c != '\t') || c == 127)
        return Refuse(400, "a header has a control character");
    }
    if (line.front() == ' ' || line.front() == '\t') return Fold(line, begin);
    if (head_.headers_.size() == limits_.headers) return Refuse(431, "it has too many headers");
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return Refuse(400, "a header has no colon");
    std::string_view name = line.substr(0, colon);
    if (kind_ == Kind::kReply) {  // RFC 9112 §5.1: a blank before the colon is removed from a reply
      name = Trimmed(name);
      odd_ = odd_ || name.size() != colon;
    }
    if (kind_ == Kind::kRequest ? !IsToken(name) : name.empty())
      return Refuse(400, "a header has no valid name");
    const std::string_view value = Trimmed(line.substr(colon + 1));
    const std::size_t value_at = value.empty()
                                     ? begin + colon + 1
                                     : begin + static_cast<std::size_t>(value.data() - line.data());
    head_.headers_.push_back({Of(begin, name.size()), Of(value_at, value.size())});
  }

  /// The line goes on with the header before it: its line end becomes blanks, and counts as one.
  void Fold(std::string_view line, std::size_t begin) {
    if (kind_ == Kind::kRequest || head_.headers_.empty())
      return Refuse(400, "a header begins with a blank");
    odd_ = true;
    const std::string_view more = Trimmed(line);
    if (more.empty()) return;
    Part& value = head_.headers_.back().value;
    const std::size_t more_at = begin + static_cast<std::size_t>(more.data() - line.data());
    const std::size_t value_end = std::size_t{value.at} + value.size;
    if (value.size == 0) {
      value = Of(more_at, more.size());
    } else {
      std::memset(&head_.text_[value_end], ' ', more_at - value_end);
      value = Of(value.at, more_at + more.size() - value.at);
    }
  }

  void EndOfHead() {
    const bool interim = kind_ == Kind::kReply && head_.status_ < 200;
    if (interim && head_.status_ != 101) {
      interim_bytes_ += head_.text_.size();
      return ResetHead();
    }
    if (interim)
      return Refuse(400, "it changes to another protocol (status 101), for which nobody asked");
    state_ = Parsed::kDone;
    FramingReader framing(kind_, head_.minor_);
    for (std::size_t i = 0; i < head_.Count(); ++i) {
      if (!framing.Look(head_.At(i).name, head_.At(i).value)) {
        return Refuse(framing.Why().status, framing.Why().text);
      }
    }
    head_.framing_ = kind_ == Kind::kRequest ? framing.OfRequest()
                                             : framing.OfReply(head_.status_, to_head_, odd_);
  }

  /// RFC 9110 §5.6.2.
  static bool IsToken(std::string_view text) {
    static constexpr std::array<bool, 128> kToken = [] {
      std::array<bool, 128> table{};
      for (std::size_t c = '0'; c <= '9'; ++c) table[c] = true;
      for (std::size_t c = 'a'; c <= 'z'; ++c) table[c] = table[c - 'a' + 'A'] = true;
      for (const char c : std::string_view("!#$%&'*+-.^_`|~"))
        table[static_cast<unsigned char>(c)] = true;
      return table;
    }();
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= kToken.size() || !kToken[byte]) return false;
    }
    return !text.empty();
  }

  const HeadLimits limits_;
  const Kind kind_;
  bool to_head_;
  MessageHead head_;
  Parsed state_ = Parsed::kMore;
  Refusal why_;
  std::size_t line_at_ = 0;  ///< where in the text the line begins that is not complete
  std::size_t interim_bytes_ = 0;
  bool first_line_ = true;
  bool odd_ = false;
  bool skipped_ = false;  ///< an empty line before the request
};

}  // namespace http1
}  // namespace v1
}  // namespace dtm
