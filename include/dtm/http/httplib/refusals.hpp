/// Tells connections for which a server has no room to come again.
/// Needs: POSIX. Threads: thread-safe; one of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace dtm {
inline namespace v1 {
namespace guard {

/// Ends a connection so that its last answer arrives: closed with unread bytes, TCP would take the
/// answer back.
inline void CloseGently(int fd) {
  ::shutdown(fd, SHUT_WR);
  char rest[4096];
  pollfd one{fd, POLLIN, 0};
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  while (std::chrono::steady_clock::now() < end && ::poll(&one, 1, 100) > 0) {
    if (::recv(fd, rest, sizeof rest, MSG_DONTWAIT) <= 0) break;
  }
  ::close(fd);
}

class Refusals {
 public:
  Refusals() : thread_([this] { ThreadMain(); }) {}
  ~Refusals() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      arrived_.notify_all();
    }
    thread_.join();
  }

  void Add(int fd) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_ || fds_.size() >= kMaxWaiting) {
      ::close(fd);
      return;
    }
    fds_.push_back(fd);
    arrived_.notify_all();
  }

 private:
  static constexpr std::size_t kMaxWaiting = 256;

  void ThreadMain() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      while (fds_.empty() && !stopping_) arrived_.wait(lock);
      if (stopping_) {
        for (const int fd : fds_) ::close(fd);
        return;
      }
      const int fd = fds_.front();
      fds_.pop_front();
      lock.unlock();
      Refuse(fd);
      lock.lock();
    }
  }

  static void Refuse(int fd) {
    static constexpr char kAnswer[] =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
        "Content-Type: application/json; charset=utf-8\r\nContent-Length: 61\r\n\r\n"
        "{\"message\":\"too many connections; close some or try again\"}\r\n";
    pollfd one{fd, POLLIN, 0};
    (void)::poll(&one, 1, 50);  // the request is on its way
    (void)::send(fd, kAnswer, sizeof kAnswer - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    CloseGently(fd);
  }

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<int> fds_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace guard
}  // namespace v1
}  // namespace dtm
