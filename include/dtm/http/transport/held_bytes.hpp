/// How many bytes of messages the connections of one side hold in memory, against one bound.
/// Needs: std. Threads: that of the loop.
#pragma once

#include <cstddef>
#include <utility>

namespace dtm {
inline namespace v1 {
namespace transport {

/// The last quarter is kept for small messages, so that those who move large ones slowly do not keep everybody out.
class HeldBytes {
 public:
  static constexpr std::size_t kSmall = std::size_t{8} * 1024;

  explicit HeldBytes(std::size_t limit) : limit_(limit) {}

  void Change(std::size_t& counted, std::size_t now) {
    freed_ = freed_ || now < counted;
    held_ = held_ - counted + now;
    counted = now;
  }

  /// Whether there is room for who holds this much.
  bool Allow(std::size_t size) const {
    return held_ <= (size > kSmall ? limit_ - limit_ / 4 : limit_);
  }

  /// Whether there is room for another request of this size to a host whose calls hold `own`. Half is left to the replies,
  /// and each host leaves a fifth of what it found to the others.
  bool AllowRequest(std::size_t size, std::size_t own) const {
    if (size <= kSmall) return Allow(size);
    const std::size_t half = limit_ / 2;
    return held_ <= half && own / kShare <= half - held_;
  }

  std::size_t Now() const { return held_; }
  /// Whether anybody has come to hold less since it was asked last: who waits for room looks again.
  bool TakeFreed() { return std::exchange(freed_, false); }

 private:
  static constexpr std::size_t kShare = 4;

  const std::size_t limit_;
  std::size_t held_ = 0;
  bool freed_ = false;
};

}  // namespace transport
}  // namespace v1
}  // namespace dtm
