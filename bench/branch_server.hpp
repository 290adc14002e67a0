/// The service that the calls of a benchmark go to: POST /fast is answered at once, POST /slow after
/// 100 ms, POST /second after a second. One thread holds thousands of connections cheaply, since it shares the processors with
/// what is measured. It understands no more HTTP than our own client speaks.
/// Needs: Linux (epoll). Threads: Serve is the only user of what it makes.
#pragma once

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <netinet/in.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace bench {

class BranchServer {
 public:
  BranchServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (listener_ < 0 || ::bind(listener_, generic, size) != 0 || ::listen(listener_, 4096) != 0 ||
        ::getsockname(listener_, generic, &size) != 0) {
      throw std::runtime_error(std::string("no port on loopback: ") + std::strerror(errno));
    }
    port_ = ntohs(address.sin_port);
  }
  BranchServer(const BranchServer&) = delete;
  BranchServer& operator=(const BranchServer&) = delete;
  ~BranchServer() { ::close(listener_); }

  int Port() const { return port_; }

  [[noreturn]] void Serve() {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    Watch(listener_);
    std::vector<epoll_event> events(1024);
    while (true) {
      const int count =
          ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), Wait());
      for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        fd == listener_ ? Accept() : Read(fd);
      }
      for (Waiting& waiting : waiting_) {
        std::deque<SlowCall>& calls = waiting.calls;
        for (; !calls.empty() && calls.front().due <= Clock::now(); calls.pop_front()) {
          if (At(calls.front().fd).serial == calls.front().serial) Answer(calls.front().fd);
        }
      }
    }
  }

 private:
  using Clock = std::chrono::steady_clock;

  struct Connection {
    std::uint64_t serial = 0;  ///< another one for each connection that gets this descriptor
    std::string received;
  };
  struct SlowCall {
    Clock::time_point due;
    int fd;
    std::uint64_t serial;
  };

  /// All take the same time, so they are due in this order.
  struct Waiting {
    const char* begin;  ///< of their requests
    std::chrono::milliseconds time;
    std::deque<SlowCall> calls{};
  };

  Connection& At(int fd) {
    const auto index = static_cast<std::size_t>(fd);
    if (connections_.size() <= index) connections_.resize(index + 1);
    return connections_[index];
  }

  /// Rounded up: a call may take a little longer than it says, never less.
  int Wait() const {
    long long wait = -1;
    for (const Waiting& waiting : waiting_) {
      if (waiting.calls.empty()) continue;
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(waiting.calls.front().due - Clock::now())
              .count();
      const long long its = (std::max<long long>)(left, 0);
      wait = wait < 0 ? its : (std::min)(wait, its);
    }
    return static_cast<int>(wait);
  }

  void Watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }

  void Accept() {
    for (int fd;
         (fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
      At(fd) = {++serial_, {}};
      Watch(fd);
    }
  }

  void Read(int fd) {
    char bytes[4096];
    const ssize_t got = ::read(fd, bytes, sizeof bytes);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      At(fd) = {};
      ::close(fd);
      return;
    }
    std::string& received = At(fd).received;
    received.append(bytes, static_cast<std::size_t>(got));
    if (!Complete(received)) return;
    Waiting* waits = nullptr;
    for (Waiting& waiting : waiting_) {
      if (received.compare(0, std::strlen(waiting.begin), waiting.begin) == 0) waits = &waiting;
    }
    received.clear();
    if (waits != nullptr) {
      waits->calls.push_back({Clock::now() + waits->time, fd, At(fd).serial});
    } else {
      Answer(fd);
    }
  }

  /// The client sends a request only after the answer to the one before.
  static bool Complete(const std::string& request) {
    constexpr std::string_view kLength = "\r\nContent-Length: ";
    const std::size_t head = request.find("\r\n\r\n");
    if (head == std::string::npos) return false;
    const std::size_t length = request.find(kLength);
    const std::size_t body =
        length < head ? std::strtoul(request.c_str() + length + kLength.size(), nullptr, 10) : 0;
    return request.size() >= head + 4 + body;
  }

  static void Answer(int fd) {
    constexpr std::string_view kAnswer =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 25\r\n\r\n"
        R"({"dtm_result":"SUCCESS"})"
        "\n";
    (void)!::send(fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL);
  }

  int listener_;
  int port_ = 0;
  int epoll_ = -1;
  std::uint64_t serial_ = 0;
  std::vector<Connection> connections_;  ///< by descriptor
  std::array<Waiting, 2> waiting_{
      {{"POST /slow", std::chrono::milliseconds(100)}, {"POST /second", std::chrono::seconds(1)}}};
};

}  // namespace bench
