/// A server that speaks whatever bytes a test wants, and helpers to make branch calls.
/// Needs: POSIX sockets on loopback. Threads: one per connection; the handler runs there.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/rows.hpp>

namespace dtm_test {

using Clock = std::chrono::steady_clock;
using Ms = std::chrono::milliseconds;

class RawServer {
 public:
  /// `handler(fd, n)` serves the n-th connection, from 0; the socket is closed when it returns.
  explicit RawServer(std::function<void(int, int)> handler, bool v6 = false)
      : handler_(std::move(handler)), v6_(v6) {
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_addr = in6addr_loopback;
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const address =
        v6 ? reinterpret_cast<sockaddr*>(&six) : reinterpret_cast<sockaddr*>(&four);
    socklen_t size = v6 ? sizeof six : sizeof four;
    listener_ = ::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    listens_ = ::bind(listener_, address, size) == 0 && ::listen(listener_, 1024) == 0;
    ::getsockname(listener_, address, &size);
    port_ = ntohs(v6 ? six.sin6_port : four.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }

  ~RawServer() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
    ::close(listener_);
  }

  std::string Url(const std::string& path = "/x") const {
    return (v6_ ? "http://[::1]:" : "http://127.0.0.1:") + std::to_string(port_) + path;
  }
  bool Listens() const { return listens_; }  ///< false: this machine has no IPv6
  int Connections() const { return connections_; }
  /// Returns when `count` connections have been closed by the handler's return.
  void AwaitClosed(int count) const {
    while (closed_ < count) std::this_thread::sleep_for(Ms(1));
  }
  bool Stopping() const { return stopping_; }

  /// One request with its body; "" when the peer has closed.
  static std::string ReadRequest(int fd) {
    std::string text;
    std::size_t end = std::string::npos;
    while (end == std::string::npos) {
      if (!ReadMore(fd, text)) return "";
      end = text.find("\r\n\r\n");
    }
    const std::size_t at = text.find("Content-Length: ");
    const std::size_t body = at < end ? std::stoul(text.substr(at + 16)) : 0;
    while (text.size() < end + 4 + body) {
      if (!ReadMore(fd, text)) return "";
    }
    return text;
  }

  static bool Write(int fd, const std::string& text) {
    std::size_t at = 0;
    while (at < text.size()) {
      const ssize_t sent = ::send(fd, text.data() + at, text.size() - at, MSG_NOSIGNAL);
      if (sent <= 0) return false;
      at += static_cast<std::size_t>(sent);
    }
    return true;
  }

  static std::string Ok(const std::string& body = "") {
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

  static void Reset(int fd) {
    const linger now{1, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }

 private:
  static bool ReadMore(int fd, std::string& text) {
    char buffer[4096];
    const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
    return got > 0;
  }

  void Accept() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      const std::lock_guard<std::mutex> lock(mutex_);
      open_.push_back(fd);
      threads_.emplace_back([this, fd, n = connections_++] {
        handler_(fd, n);
        const std::lock_guard<std::mutex> closing(mutex_);
        open_.remove(fd);
        ::close(fd);
        ++closed_;
      });
    }
  }

  std::function<void(int, int)> handler_;
  const bool v6_;
  bool listens_ = false;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> connections_{0};
  std::atomic<int> closed_{0};
  std::mutex mutex_;
  std::list<int> open_;
  std::list<std::thread> threads_;
  std::thread acceptor_;
};

inline dtm::BranchCall CallTo(const std::string& url, const std::string& payload = "{}",
                              Ms timeout = Ms(5000), dtm::TransOptions options = {}) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = "g1";
  definition->steps.push_back({url, "", payload});
  definition->options = std::move(options);
  return {std::move(definition), dtm::ActionOf(0), timeout};
}

/// Collects results, in the order of their arrival.
class Results : public dtm::BranchResults {
 public:
  void Done(dtm::BranchCall call, dtm::Result result) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    done_.push_back({call.Url(), std::move(result)});
    changed_.notify_all();
  }

  /// Waits until there are `count` results; fewer if they take longer than any test should.
  std::vector<std::pair<std::string, dtm::Result>> Wait(std::size_t count, Ms limit = Ms(8000)) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_until(lock, Clock::now() + limit, [&] { return done_.size() >= count; });
    return done_;
  }
  std::size_t Count() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return done_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<std::string, dtm::Result>> done_;
};

}  // namespace dtm_test
