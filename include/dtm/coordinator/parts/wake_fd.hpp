/// A file descriptor that tells an event loop when to call Poll.
/// Needs: base/os.hpp. Threads: thread-safe.
#pragma once

#include <functional>
#include <memory>

#include <dtm/base/os.hpp>

namespace dtm {
inline namespace v1 {

/// `options.on_wake = wake.OnWake()` makes Fd() readable; then call Clear and Poll. Poll as well when the time that it
/// returned is over (examples/event_loop_poll.cpp).
class WakeFd {
 public:
  /// @throws Error  the system has no free descriptor.
  WakeFd() : event_(std::make_shared<const os::EventFd>()) {}

  /// Readable from a wake to Clear; for poll, epoll and the like.
  int Fd() const { return event_->Get(); }
  /// Call it before Poll.
  void Clear() const { event_->Clear(); }
  /// The returned function may outlive this.
  std::function<void()> OnWake() const {
    return [event = event_] { event->Signal(); };
  }

 private:
  std::shared_ptr<const os::EventFd> event_;
};

}  // namespace v1
}  // namespace dtm
