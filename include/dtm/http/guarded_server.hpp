/// cpp-httplib's server, made safe for a network: every wait has a deadline, every size a limit,
/// connections beyond the limit are told so, and stopping takes no longer than the requests at hand.
/// Needs: cpp-httplib, POSIX. Threads: Listen runs on one thread, Stop comes from any other.
/// Document: docs/http_api.md, "Security".
///
/// httplib accepts, parses and routes. The life of a connection is ours, since httplib's own has no
/// deadline for a request, polls while it is idle, and takes connections without end.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <fcntl.h>
#include <functional>
#include <mutex>
#include <netdb.h>
#include <set>
#include <string>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

#include <httplib.h>

#include <dtm/core/error.hpp>
#include <dtm/http/bounded_stream.hpp>
#include <dtm/http/guarded_client.hpp>
#include <dtm/http/refusals.hpp>
#include <dtm/http/server_stream.hpp>
#include <dtm/http/thread_pool.hpp>

namespace dtm {
inline namespace v1 {
namespace guard {

/// One thread a connection, as long as there are some.
class ConnectionQueue final : public httplib::TaskQueue {
 public:
  ConnectionQueue(int max_connections, std::atomic<bool>& refusing)
      : pool_(static_cast<std::size_t>(max_connections)), refusing_(refusing) {}

  using Enqueued = decltype(std::declval<httplib::TaskQueue&>().enqueue(nullptr));
  Enqueued enqueue(std::function<void()> connection) override {
    if (!pool_.Run(connection)) {
      refusing_ = true;  // this thread is the only one that accepts
      connection();
      refusing_ = false;
    }
    return static_cast<Enqueued>(true);
  }
  void shutdown() override { pool_.Stop(); }

 private:
  ThreadPool pool_;
  std::atomic<bool>& refusing_;
};

class GuardedServer : public httplib::Server {
 public:
  explicit GuardedServer(ServerLimits limits) : limits_(limits) {
    new_task_queue = [this] { return new ConnectionQueue(limits_.max_connections, refusing_); };
    set_tcp_nodelay(true);                        // else 40 ms a request
    set_keep_alive_timeout(limits.idle.count());  // what answers promise
    set_keep_alive_max_count(1000000);
    set_socket_options([this](int fd) {
      listening_fd_ = fd;
      const int on = 1;
      // Not SO_REUSEPORT, httplib's default: a second server would start and share the requests.
      (void)::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
    });
  }

  /// Returns the port. 0: any that is free.
  /// @throws Error  it cannot be had.
  int Bind(const std::string& host, int port) {
    if (port < 0 || port > 65535) {
      throw Error("cannot listen on " + host + ":" + std::to_string(port) +
                  ": a port is 0 (any) to 65535");
    }
    const auto refuse = [&](const std::string& why) -> Error {
      return Error("cannot listen on " + host + ":" + std::to_string(port) + ": " + why +
                   "; stop the program that does, or choose another port or address");
    };
    // RFC 6761: it is the loopback without asking anybody; small machines have no /etc/hosts.
    const std::string address = host == "localhost" ? "127.0.0.1" : host;
    if (!IsKnown(address)) throw refuse("the name is unknown");
    const bool any = port == 0;
    const int bound = any ? bind_to_any_port(address) : bind_to_port(address, port) ? port : -1;
    if (bound < 0) throw refuse(std::generic_category().message(errno));
    (void)::listen(listening_fd_, kBacklog);  // httplib's 5 makes simultaneous clients wait 1 s
    return bound;
  }

  /// Serves until Stop. Once, after Bind.
  void Listen() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return;
      listening_ = true;
    }
    accepting_ = std::this_thread::get_id();
    (void)listen_after_bind();
    listening_ = false;
  }

  /// Lets requests that are being worked on end, and everything else at once.
  void Stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      for (const int fd : connections_) ::shutdown(fd, SHUT_RD);
    }
    while (listening_ && !is_running()) std::this_thread::yield();  // else stop() does nothing
    stop();
  }

  ~GuardedServer() override {
    const int fd = svr_sock_.exchange(-1);
    if (fd >= 0) ::close(fd);  // bound, and never listened to
  }

 private:
  static constexpr int kBacklog = 1024;

  static bool IsKnown(const std::string& host) {
    addrinfo* found = nullptr;
    if (::getaddrinfo(host.c_str(), nullptr, nullptr, &found) != 0) return false;
    ::freeaddrinfo(found);
    return true;
  }

  bool process_and_close_socket(int fd) override {
    (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (refusing_ && accepting_ == std::this_thread::get_id()) {
      refusals_.Add(fd);
      return true;
    }
    bool clean = false;
    try {
      BlockSigpipe();
      clean = Register(fd) && Serve(fd);
    } catch (...) {  // out of memory: this connection ends, not the process
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      connections_.erase(fd);
    }
    clean ? (void)::close(fd) : CloseGently(fd);
    return true;
  }

  bool Register(int fd) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return false;
    connections_.insert(fd);
    return true;
  }

  /// True: nothing that was sent is unread.
  bool Serve(int fd) {
    ServerStream stream(fd, limits_);
    while (!stopping_) {
      if (!stream.NextRequest()) return true;
      bool understood = false, closed = false;
      const std::function<void(httplib::Request&)> on_head = [&](httplib::Request& request) {
        understood = true;
        request.ranges.clear();  // an answer has no parts
        request.headers.erase(
            "Accept-Encoding");  // compressing a small answer costs more than it saves
      };
      const bool answered = Process(*this, stream, closed, on_head, 0);
      if (!answered || !stream.Flush() || !understood) return false;
      if (closed || stream.SaidClose()) return false;
    }
    return true;
  }

  // The same call for httplib 0.11 and newer.
  template <class Self, class Setup>
  static auto Process(Self& self, httplib::Stream& stream, bool& closed, const Setup& on_head, int)
      -> decltype(self.process_request(stream, false, closed, on_head)) {
    return self.process_request(stream, self.stopping_, closed, on_head);
  }
  template <class Self, class Setup>
  static auto Process(Self& self, httplib::Stream& stream, bool& closed, const Setup& on_head, long)
      -> decltype(self.process_request(stream, std::string(), 0, std::string(), 0, false, closed,
                                       on_head)) {
    return self.process_request(stream, std::string(), 0, std::string(), 0, self.stopping_, closed,
                                on_head);
  }

  const ServerLimits limits_;
  int listening_fd_ = -1;
  std::atomic<bool> listening_{false};
  std::atomic<bool> refusing_{false};
  std::atomic<std::thread::id> accepting_{std::thread::id()};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::set<int> connections_;
  Refusals refusals_;
};

}  // namespace guard
}  // namespace v1
}  // namespace dtm
