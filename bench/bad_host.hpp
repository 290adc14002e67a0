/// Services that never answer a call, each in its own way.
/// Needs: Linux. Threads: Serve is the only user of what it makes.
#pragma once

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <netinet/in.h>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace bench {

class BadHost {
 public:
  enum class Kind {
    kDead,      ///< packets to it are swallowed: nobody accepts
    kSilent,    ///< it accepts and says nothing
    kDripping,  ///< it answers a byte every 100 ms
  };

  explicit BadHost(Kind kind)
      : kind_(kind), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address_;
    auto* const generic = reinterpret_cast<sockaddr*>(&address_);
    if (listener_ < 0 || ::bind(listener_, generic, size) != 0 ||
        ::listen(listener_, kind == Kind::kDead ? 0 : 4096) != 0 ||
        ::getsockname(listener_, generic, &size) != 0) {
      throw std::runtime_error(std::string("no port on loopback: ") + std::strerror(errno));
    }
    for (int i = 0; kind == Kind::kDead && i < 4; ++i) {  // its queue is full from now on
      open_.push_back(
          {::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), POLLIN, 0});
      (void)::connect(open_.back().fd, generic, size);
    }
  }
  BadHost(const BadHost&) = delete;
  BadHost& operator=(const BadHost&) = delete;
  ~BadHost() {
    for (const pollfd& one : open_) ::close(one.fd);
    ::close(listener_);
  }

  std::string Origin() const {
    return "http://127.0.0.1:" + std::to_string(ntohs(address_.sin_port));
  }

  [[noreturn]] void Serve() {
    if (kind_ == Kind::kDead) {
      while (true) ::pause();
    }
    open_.push_back({listener_, POLLIN, 0});
    while (true) {
      ::poll(open_.data(), open_.size(), kind_ == Kind::kDripping ? 100 : -1);
      const bool drips = kind_ == Kind::kDripping && Clock::now() >= next_;
      if (drips) next_ = Clock::now() + std::chrono::milliseconds(100);
      for (std::size_t i = 1; i < open_.size(); ++i) Talk(open_[i], drips);
      open_.erase(
          std::remove_if(open_.begin(), open_.end(), [](const pollfd& one) { return one.fd < 0; }),
          open_.end());
      for (int fd = 0;
           (fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        (void)!::send(fd, kBegin, kind_ == Kind::kDripping ? sizeof kBegin - 1 : 0, MSG_NOSIGNAL);
        open_.push_back({fd, POLLIN, 0});
      }
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr char kBegin[] = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";

  void Talk(pollfd& one, bool drips) {
    char bytes[4096];
    const bool ended = one.revents != 0 && ::read(one.fd, bytes, sizeof bytes) <= 0;
    const bool broken =
        !ended && drips && ::send(one.fd, "x", 1, MSG_NOSIGNAL) < 0 && errno != EAGAIN;
    if (!ended && !broken) return;
    ::close(one.fd);
    one.fd = -1;
  }

  const Kind kind_;
  sockaddr_in address_{};
  int listener_;
  Clock::time_point next_{};
  std::vector<pollfd> open_;  ///< the first: the listener
};

}  // namespace bench
