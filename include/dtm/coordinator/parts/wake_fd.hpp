/// Tells an event loop that watches file descriptors when Poll has something to do.
/// Needs: base/os.hpp. Threads: thread-safe.
#pragma once

#include <functional>
#include <memory>

#include <dtm/base/os.hpp>

namespace dtm {
inline namespace v1 {

/// `options.on_wake = wake.OnWake()` makes Fd() readable; then Clear and Poll. Poll as well when the time that it
/// returned is over (examples/event_loop_poll.cpp).
class WakeFd {
 public:
  /// @throws Error  there is no descriptor to be had.
  WakeFd() : event_(std::make_shared<const os::EventFd>()) {}

  int Fd() const { return event_->Get(); }
  void Clear() const { event_->Clear(); }
  /// May outlive this.
  std::function<void()> OnWake() const {
    return [event = event_] { event->Signal(); };
  }

 private:
  std::shared_ptr<const os::EventFd> event_;
};

}  // namespace v1
}  // namespace dtm
