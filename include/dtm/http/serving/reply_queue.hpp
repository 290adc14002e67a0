/// How replies get back to the thread of the loop: from the coordinator's thread, from workers, or at once.
/// Needs: std. Threads: Add comes from any; everything else belongs to the thread of the loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include <dtm/http/api/replies.hpp>
#include <dtm/http/transport/io_loop.hpp>

namespace dtm {
inline namespace v1 {
namespace serving {

/// Which request waits for a reply. Its connection may have gone meanwhile, and another be at its place.
struct Ticket {
  std::size_t place = 0;     ///< of the connection
  std::uint64_t number = 0;  ///< of the request; the server gives it to no other
};

class ReplyQueue {
 public:
  struct Arrived {
    Ticket ticket;
    ApiReply reply;
  };

  explicit ReplyQueue(transport::IoLoop& loop) : loop_(&loop) {}

  /// Comes before the reply is asked for, so that its arrival needs no memory.
  /// @throws std::bad_alloc  it is not expected.
  void Expect() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::size_t needed = arrived_.size() + expected_ + 1;
    if (needed > arrived_.capacity()) arrived_.reserve(2 * needed);
    ++expected_;
  }

  void Add(Ticket ticket, ApiReply reply) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (loop_ == nullptr) return;
    if (expected_ > 0) --expected_;
    const bool first = arrived_.empty();
    arrived_.push_back({ticket, std::move(reply)});
    if (first) loop_->Wake();
  }

  /// Swaps what has come into `taken`, which is empty. True: there was something.
  bool Take(std::vector<Arrived>& taken) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (arrived_.empty()) return false;
    taken.reserve(expected_ + arrived_.size());
    taken.swap(arrived_);
    return true;
  }

  /// The loop may be gone from now on; what comes later is dropped.
  void Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    loop_ = nullptr;
    arrived_.clear();
  }

 private:
  std::mutex mutex_;
  transport::IoLoop* loop_;
  std::size_t expected_ = 0;
  std::vector<Arrived> arrived_;
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm
