/// Takes the body of a message out of the bytes after its head: by length, in chunks, or to the end of the connection.
/// Needs: std. Threads: one at a time. Source: RFC 9112 §6, §7.1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <dtm/http/http1/framing.hpp>

namespace dtm {
inline namespace v1 {
namespace http1 {

class BodyReader {
 public:
  BodyReader(MessageKind kind, const Framing& framing)
      : strict_(kind == MessageKind::kRequest), left_(framing.length) {
    switch (framing.body) {
      case Framing::Body::kNone: state_ = State::kDone; break;
      case Framing::Body::kLength: state_ = left_ == 0 ? State::kDone : State::kLength; break;
      case Framing::Body::kChunked: state_ = State::kSize; break;
      case Framing::Body::kToClose: state_ = State::kToClose; break;
    }
  }

  /// Takes from `bytes` what belongs to the body, and calls `content(std::string_view)` with each piece of its content.
  /// After kDone, what is left of them follows it.
  template <typename Content>
  Parsed Take(std::string_view& bytes, const Content& content) {
    while (!bytes.empty() && state_ != State::kDone && state_ != State::kRefused) {
      if (state_ == State::kLength || state_ == State::kChunk) {
        const std::size_t size =
            bytes.size() < left_ ? bytes.size() : static_cast<std::size_t>(left_);
        content(bytes.substr(0, size));
        bytes.remove_prefix(size);
        left_ -= size;
        if (left_ == 0) state_ = state_ == State::kLength ? State::kDone : State::kChunkEnd;
      } else if (state_ == State::kToClose) {
        content(bytes);
        bytes = {};
      } else {
        TakeLine(bytes);
      }
    }
    return Now();
  }

  /// Nothing was taken yet and nothing is to come: kDone.
  Parsed Now() const {
    if (state_ == State::kDone) return Parsed::kDone;
    return state_ == State::kRefused ? Parsed::kRefused : Parsed::kMore;
  }

  /// The other side will send no more. True: the body is complete.
  bool End() {
    if (state_ == State::kToClose) state_ = State::kDone;
    return state_ == State::kDone;
  }

  /// After kRefused.
  const Refusal& Why() const { return why_; }

 private:
  enum class State { kLength, kToClose, kSize, kChunk, kChunkEnd, kTrailers, kDone, kRefused };

  static constexpr std::size_t kStrictLine = 256;
  static constexpr std::size_t kLooseLine = 8 * 1024;
  static constexpr std::size_t kMaxTrailers = 64 * 1024;
  /// What the lines of chunks may cost beyond the content that they carry: a body of lines alone comes to an end.
  static constexpr std::int64_t kMaxExcess = 16 * 1024;

  void Refuse(const char* text) {
    state_ = State::kRefused;
    why_ = {400, text};
  }

  void TakeLine(std::string_view& bytes) {
    const std::size_t feed = bytes.find('\n');
    const bool ends = feed != std::string_view::npos;
    const std::string_view piece = bytes.substr(0, ends ? feed + 1 : bytes.size());
    bytes.remove_prefix(piece.size());
    if (line_.size() + piece.size() > (strict_ ? kStrictLine : kLooseLine) + 2)
      return Refuse("a line of its chunks is too long");
    line_.append(piece);
    if (!ends) return;
    if (line_.size() < 2 || line_[line_.size() - 2] != '\r') {
      return Refuse("a line of its chunks does not end with carriage return and line feed");
    }
    line_.resize(line_.size() - 2);
    switch (state_) {
      case State::kSize: ChunkSize(); break;
      case State::kChunkEnd:
        line_.empty() ? void(state_ = State::kSize) : Refuse("a chunk is longer than it says");
        break;
      default: Trailer(); break;
    }
    line_.clear();
  }

  void ChunkSize() {
    const std::size_t end = line_.find_first_not_of("0123456789abcdefABCDEF");
    const std::size_t digits = end == std::string::npos ? line_.size() : end;
    const std::size_t behind = strict_ ? digits : line_.find_first_not_of(" \t", digits);
    const bool extension = behind < line_.size();
    if (digits == 0 || (extension && line_[behind] != ';'))
      return Refuse("the size of a chunk is no hexadecimal number");
    if (digits > (strict_ ? 8U : 16U)) return Refuse("a chunk is too long");
    for (const char c : std::string_view(line_).substr(digits)) {  // a line end to some readers
      if (strict_ && ((c >= 0 && c < ' ' && c != '\t') || c == 127))
        return Refuse("the size of a chunk is followed by a control character");
    }
    left_ = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const char c = line_[i];
      const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
      left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
    }
    if (left_ >> 60 != 0) return Refuse("a chunk is too long");
    constexpr std::int64_t kPlainLine = 16;
    excess_ += static_cast<std::int64_t>(line_.size()) - kPlainLine -
               static_cast<std::int64_t>(left_ < 65536 ? left_ : 65536);
    if (excess_ < 0) excess_ = 0;
    if (excess_ > kMaxExcess) return Refuse("the lines of its chunks are too long");
    state_ = left_ == 0 ? State::kTrailers : State::kChunk;
  }

  /// What follows the last chunk of a reply is not needed; in a request nothing may follow it.
  void Trailer() {
    if (line_.empty()) {
      state_ = State::kDone;
    } else if (strict_) {
      Refuse("it has trailers, which are not taken");
    } else if ((trailers_ += line_.size()) > kMaxTrailers) {
      Refuse("its trailers are too long");
    }
  }

  bool strict_;
  std::uint64_t left_;  ///< of the body or chunk
  State state_ = State::kDone;
  std::string line_;
  std::int64_t excess_ = 0;
  std::size_t trailers_ = 0;
  Refusal why_;
};

}  // namespace http1
}  // namespace v1
}  // namespace dtm
