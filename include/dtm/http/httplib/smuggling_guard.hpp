/// Watches the bytes of a request and stops at what two readers could understand differently, so
/// that no request can hide in another one.
/// Needs: std. Threads: pure. Source: RFC 9112 §5, §6, §7.1 (request smuggling, §11.2).
///
/// httplib 0.11 decodes %41 in header values, takes "+26" and "-2" for chunk sizes and overlooks a
/// space before a colon: behind a proxy that reads strictly, requests could be smuggled.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <dtm/base/text.hpp>

namespace dtm {
inline namespace v1 {
namespace guard {

class SmugglingGuard {
 public:
  static constexpr std::size_t kMaxHeaders = 64;
  static constexpr std::size_t kMaxHeadBytes = 64 * 1024;
  static constexpr std::size_t kMaxLineBytes = 8 * 1024;
  static constexpr std::size_t kMaxChunkLineBytes = 256;
  static constexpr std::size_t kMaxRangeBytes = 256;

  /// Looks at the next bytes, which are of one request. False: it is refused.
  bool Take(std::string_view bytes) {
    while (!bytes.empty() && state_ != State::kRefused) {
      if (state_ == State::kBody) return true;
      if (state_ == State::kChunk) {
        const std::size_t taken = bytes.size() < chunk_left_ ? bytes.size() : chunk_left_;
        chunk_left_ -= taken;
        bytes.remove_prefix(taken);
        if (chunk_left_ == 0) state_ = State::kChunkEnd;
      } else {
        TakeLineByte(bytes.front());
        bytes.remove_prefix(1);
      }
    }
    return state_ != State::kRefused;
  }

  bool HeadIsComplete() const { return state_ != State::kRequestLine && state_ != State::kHeader; }

 private:
  enum class State { kRequestLine, kHeader, kBody, kChunkSize, kChunk, kChunkEnd, kRefused };

  void TakeLineByte(char byte) {
    if (byte != '\n') {
      line_ += byte;
      const bool in_head = !HeadIsComplete();
      const bool fits = in_head ? ++head_bytes_ <= kMaxHeadBytes && line_.size() <= kMaxLineBytes
                                : line_.size() <= kMaxChunkLineBytes;
      if (!fits) state_ = State::kRefused;
      return;
    }
    // A line that ends without CR is one to some readers and none to others.
    const bool ends = !line_.empty() && line_.back() == '\r';
    if (ends) line_.pop_back();
    state_ = ends ? AfterLine() : State::kRefused;
    line_.clear();
  }

  State AfterLine() {
    switch (state_) {
      case State::kRequestLine: return State::kHeader;
      case State::kHeader:
        if (line_.empty()) return chunked_ ? State::kChunkSize : State::kBody;
        return ++headers_ <= kMaxHeaders && Header() ? State::kHeader : State::kRefused;
      case State::kChunkSize: return ChunkSize();
      case State::kChunkEnd: return line_.empty() ? State::kChunkSize : State::kRefused;
      default: return State::kRefused;
    }
  }

  /// Name, colon at once, value; what frames the message is plain and said once.
  bool Header() {
    const std::size_t colon = line_.find(':');
    if (colon == 0 || colon == std::string::npos) return false;
    for (const char c : line_) {
      if ((c >= 0 && c < ' ' && c != '\t') || c == 127) return false;
    }
    const std::string name = Lowered(std::string_view(line_).substr(0, colon));
    if (name.find_first_of(" \t") != std::string::npos) return false;
    // httplib 0.11 matches it with std::regex, which takes half a kilobyte of stack for a byte. No answer has parts.
    if (name == "range" && line_.size() > kMaxRangeBytes) return false;
    const bool framing = name == "content-length" || name == "transfer-encoding" || name == "host";
    if (!framing) return true;
    std::string value = line_.substr(colon + 1);
    value.erase(0, value.find_first_not_of(" \t"));
    value.erase(value.find_last_not_of(" \t") + 1);
    if (value.find('%') != std::string::npos) return false;
    if (name == "host") {
      const bool first = !host_;
      host_ = true;
      return first;
    }
    if (length_ || chunked_) return false;
    if (name == "transfer-encoding") {
      chunked_ = true;
      return Lowered(value) == "chunked";
    }
    length_ = true;
    return !value.empty() && value.find_first_not_of("0123456789") == std::string::npos;
  }

  /// Hexadecimal digits, perhaps an extension. The last chunk ends the body; trailers are refused.
  State ChunkSize() {
    const std::size_t end = line_.find_first_not_of("0123456789abcdefABCDEF");
    const std::string digits = line_.substr(0, end);
    const bool extension = end != std::string::npos && line_[end] == ';';
    if (last_) return line_.empty() ? State::kBody : State::kRefused;
    if (digits.empty() || digits.size() > 8 || (end != std::string::npos && !extension)) {
      return State::kRefused;
    }
    chunk_left_ = ParseNumber<std::size_t>(digits, 16).value_or(0);
    last_ = chunk_left_ == 0;
    return last_ ? State::kChunkSize : State::kChunk;
  }

  State state_ = State::kRequestLine;
  std::string line_;
  std::size_t headers_ = 0;
  std::size_t head_bytes_ = 0;
  std::size_t chunk_left_ = 0;
  bool host_ = false, length_ = false, chunked_ = false, last_ = false;
};

}  // namespace guard
}  // namespace v1
}  // namespace dtm
