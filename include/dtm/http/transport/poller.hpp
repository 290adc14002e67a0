/// Waits for sockets: epoll, edge-triggered. The one file of the loop to port (kqueue).
/// Needs: Linux. Threads: one at a time, except Wake.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <string>
#include <sys/epoll.h>
#include <unistd.h>

#include <dtm/base/error.hpp>
#include <dtm/base/os.hpp>

namespace dtm {
inline namespace v1 {
namespace transport {

/// What happened at a socket since it was told last.
struct Readiness {
  bool readable = false;  ///< there may be bytes, or the end
  bool writable = false;
  bool ended = false;  ///< the other side sends no more, or the connection broke: read to see
};

class Poller {
 public:
  /// @throws Error  no file descriptor is available.
  Poller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0) throw Error("no epoll can be had: " + os::LastErrorText() + "; see ulimit -n");
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_.Get(), &event) != 0) {
      const std::string why = os::LastErrorText();
      ::close(epoll_);
      throw Error("epoll does not take an eventfd: " + why);
    }
  }
  ~Poller() { ::close(epoll_); }
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  /// From now on Wait reports it, beginning with its present state. Closing the descriptor ends that.
  /// False: the system has no room for it.
  bool Add(int fd, void* who) { return Control(EPOLL_CTL_ADD, fd, who); }
  /// The same for another one, again beginning with its present state.
  bool Change(int fd, void* who) { return Control(EPOLL_CTL_MOD, fd, who); }
  void Remove(int fd) { (void)Control(EPOLL_CTL_DEL, fd, nullptr); }

  /// Waits until something happened, Wake was called or `until` has come (max(): for ever), and calls
  /// `tell(who, Readiness)` for each.
  template <typename Tell>
  void Wait(std::chrono::steady_clock::time_point until, const Tell& tell) {
    const int count =
        ::epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), Milliseconds(until));
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      if (event.data.ptr == nullptr) {
        wake_.Clear();
        continue;
      }
      const bool broken = (event.events & (EPOLLERR | EPOLLHUP)) != 0;
      tell(event.data.ptr, Readiness{broken || (event.events & (EPOLLIN | EPOLLRDHUP)) != 0,
                                     broken || (event.events & EPOLLOUT) != 0,
                                     broken || (event.events & EPOLLRDHUP) != 0});
    }
  }

  /// Any thread: ends Wait, or the next one.
  void Wake() const { wake_.Signal(); }

  /// Readable when Wait would not wait: for the event loop of a host.
  int Fd() const { return epoll_; }

 private:
  bool Control(int what, int fd, void* who) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = who;
    return ::epoll_ctl(epoll_, what, fd, &event) == 0;
  }

  static int Milliseconds(std::chrono::steady_clock::time_point until) {
    if (until == (std::chrono::steady_clock::time_point::max)()) return -1;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now())
            .count();
    return static_cast<int>((std::min<long long>)((std::max<long long>)(left, 0), 3600 * 1000));
  }

  int epoll_;
  os::EventFd wake_;
  std::array<epoll_event, 256> events_;
};

}  // namespace transport
}  // namespace v1
}  // namespace dtm
