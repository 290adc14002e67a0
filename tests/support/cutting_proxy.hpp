/// A proxy on the loopback that cuts its connection after as many bytes as a test wants.
/// Needs: POSIX sockets. Threads: one of its own; all functions may be called from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <netinet/in.h>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace dtm_test {

/// One connection at a time; the next is accepted when it has ended.
class CuttingProxy {
 public:
  enum Way { kRequest, kAnswer };

  /// `port`: of the server, on 127.0.0.1.
  explicit CuttingProxy(int port) : server_port_(port), listener_(Socket()) {
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(listener_, 16) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("the proxy cannot listen");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~CuttingProxy() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  CuttingProxy(const CuttingProxy&) = delete;
  CuttingProxy& operator=(const CuttingProxy&) = delete;

  int Port() const { return port_; }

  /// From now on `bytes` go through this way; with the last of them, or in place of the first if there are none, both ends
  /// are closed. Counts from 0 again.
  void CutAfter(Way way, std::size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    cuts_ = true;
    cut_way_ = way;
    cut_after_ = bytes;
    passed_ = {0, 0};
  }
  /// Cuts nothing, and counts from 0 again.
  void Count() {
    const std::lock_guard<std::mutex> lock(mutex_);
    cuts_ = false;
    passed_ = {0, 0};
  }
  /// From now on nothing passes, and nothing is closed: as when a cable is pulled, or the server is stopped.
  void FallSilent() { silent_ = true; }
  /// Since then somebody sent a request, which is not passed on.
  bool Unheard() const { return unheard_; }

  /// Of the requests, those bytes that passed before the last answer. What a client sends behind it without awaiting an answer
  /// (MySQL: that it forgets a statement) may come or not before somebody looks.
  std::size_t Answered() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return answered_;
  }
  /// A byte is counted before its receiver gets it.
  std::size_t Passed(Way way) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return passed_[way];
  }

 private:
  static int Socket() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) throw std::runtime_error("no socket for the proxy");
    return fd;
  }
  static sockaddr_in Loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<in_port_t>(port));
    return address;
  }

  void Serve() {
    for (;;) {
      const int client = ::accept(listener_, nullptr, nullptr);
      if (client < 0) return;
      const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in address = Loopback(server_port_);
      if (server >= 0 &&
          ::connect(server, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
        while (!stopping_ && Pass(client, server)) {
        }
      }
      ::close(client);
      if (server >= 0) ::close(server);
    }
  }

  /// False: the connection has ended.
  bool Pass(int client, int server) {
    if (silent_) {
      pollfd request{client, POLLIN, 0};
      if (::poll(&request, 1, 10) > 0) {
        unheard_ = true;
        ::poll(nullptr, 0, 10);
      }
      return (request.revents & POLLHUP) == 0;
    }
    std::array<pollfd, 2> ends{pollfd{client, POLLIN, 0}, pollfd{server, POLLIN, 0}};
    if (::poll(ends.data(), ends.size(), 100) < 0) return false;  // looks for the end of the test
    return (ends[0].revents == 0 || Pass(kRequest, client, server)) &&
           (ends[1].revents == 0 || Pass(kAnswer, server, client));
  }
  bool Pass(Way way, int from, int to) {
    std::array<char, 4096> bytes;
    const ssize_t got = ::recv(from, bytes.data(), bytes.size(), 0);
    if (got <= 0) return false;
    auto size = static_cast<std::size_t>(got);
    bool ends = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (cuts_ && cut_way_ == way && passed_[way] + size >= cut_after_) {
        size = cut_after_ - passed_[way];
        ends = true;
        cuts_ = false;
      }
      passed_[way] += size;
      if (way == kAnswer) answered_ = passed_[kRequest];
    }
    for (std::size_t at = 0; at < size;) {
      const ssize_t sent = ::send(to, bytes.data() + at, size - at, MSG_NOSIGNAL);
      if (sent <= 0) return false;
      at += static_cast<std::size_t>(sent);
    }
    return !ends;
  }

  const int server_port_;
  const int listener_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> silent_{false}, unheard_{false};
  mutable std::mutex mutex_;  // guards all below
  bool cuts_ = false;
  Way cut_way_ = kRequest;
  std::size_t cut_after_ = 0;
  std::array<std::size_t, 2> passed_{0, 0};
  std::size_t answered_ = 0;
  std::thread thread_;
};

}  // namespace dtm_test
