/// What a client has sent after the request that is being answered.
/// Needs: std. Threads: one at a time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dtm {
inline namespace v1 {
namespace serving {

/// Taken from the front at no cost: each byte is moved once at most.
class BytesAhead {
 public:
  void Append(std::string_view bytes) {
    if (at_ > text_.size() / 2) {
      text_.erase(0, at_);
      at_ = 0;
    }
    text_.append(bytes);
  }

  /// Until the next change.
  std::string_view View() const { return std::string_view(text_).substr(at_); }
  /// Keeps only its last `left` bytes.
  void Keep(std::size_t left) {
    at_ = text_.size() - left;
    if (left == 0) Clear();
  }
  void Clear() {
    std::string().swap(text_);  // an assignment would keep its memory
    at_ = 0;
  }

  bool Empty() const { return text_.empty(); }
  /// The memory that it takes.
  std::size_t Bytes() const { return text_.empty() ? 0 : text_.capacity(); }

 private:
  std::string text_;
  std::size_t at_ = 0;  ///< all before it has been taken
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm
