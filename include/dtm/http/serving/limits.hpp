/// What a server allows: how many, how much, how long.
/// Needs: std. Threads: values, and a count that belongs to the thread of the loop.
#pragma once

#include <chrono>
#include <cstddef>

namespace dtm {
inline namespace v1 {
namespace serving {

struct ServingLimits {
  using Milliseconds = std::chrono::milliseconds;
  std::size_t connections = 10000;
  std::size_t bytes = std::size_t{64} << 20;  ///< of requests and replies, of all connections
  Milliseconds head{5000};    ///< from the first byte of a request to the end of its head
  Milliseconds body{30000};   ///< from there to the end of its body
  Milliseconds reply{30000};  ///< until a reply has left
  Milliseconds idle{60000};   ///< without a request
  Milliseconds linger{1000};  ///< for the other side to see the last reply
};

/// What the connections of a server hold in memory. The last quarter is kept for small requests, so that those who send
/// large ones slowly do not keep everybody out.
class HeldBytes {
 public:
  static constexpr std::size_t kSmall = std::size_t{8} * 1024;

  explicit HeldBytes(std::size_t limit) : limit_(limit) {}
  void Change(std::size_t& counted, std::size_t now) {
    held_ = held_ - counted + now;
    counted = now;
  }
  /// Whether there is room for who holds this much.
  bool Allow(std::size_t size) const {
    return held_ <= (size > kSmall ? limit_ - limit_ / 4 : limit_);
  }
  std::size_t Now() const { return held_; }

 private:
  const std::size_t limit_;
  std::size_t held_ = 0;
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm
