/// cpp-httplib's server, made safe for a network: every wait has a deadline, every size a limit,
/// connections beyond the limit are told so, and stopping takes no longer than the requests at hand.
/// Needs: cpp-httplib, POSIX. Threads: Listen runs on one thread, Stop comes from any other.
/// Document: docs/http_api.md, "Security".
///
/// httplib parses and routes. Accepting and the life of a connection are ours, since httplib stops listening when accept
/// fails for a moment, has no deadline for a request, polls while it is idle, and takes connections without end.
#pragma once

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <exception>
#include <fcntl.h>
#include <functional>
#include <mutex>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <set>
#include <string>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <unistd.h>

#include <httplib.h>

#include <dtm/base/error.hpp>
#include <dtm/base/os.hpp>
#include <dtm/base/thread_pool.hpp>
#include <dtm/http/httplib/bounded_stream.hpp>
#include <dtm/http/httplib/refusals.hpp>
#include <dtm/http/httplib/server_stream.hpp>

namespace dtm {
inline namespace v1 {
namespace guard {

class GuardedServer : public httplib::Server {
 public:
  explicit GuardedServer(ServerLimits limits) : limits_(limits) {
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
    os::Forking::CloseInChildren(
        svr_sock_);  // else the port stays taken when this process has died
    (void)::listen(listening_fd_, kBacklog);  // httplib's 5 makes simultaneous clients wait 1 s
    return bound;
  }

  /// Serves until Stop. Once, after Bind.
  void Listen() {
    ThreadPool pool(static_cast<std::size_t>(limits_.max_connections));
    while (!stopping_ && svr_sock_ >= 0) {
      const int fd = ::accept4(svr_sock_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) {
        Take(fd, pool);
      } else if (errno != EINTR && !stopping_) {
        std::this_thread::sleep_for(kPause);  // for want of descriptors or memory, as a rule
      }
    }
    CloseListener();
    pool.Stop();
  }

  /// Lets requests that are being worked on end, and everything else at once.
  void Stop() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    for (const int fd : connections_) ::shutdown(fd, SHUT_RD);
    if (svr_sock_ >= 0) ::shutdown(svr_sock_, SHUT_RDWR);  // ends accept
  }

  ~GuardedServer() override { CloseListener(); }

 private:
  static constexpr int kBacklog = 1024;
  static constexpr std::chrono::milliseconds kPause{10};

  void CloseListener() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const int fd = svr_sock_.exchange(-1);
    if (fd >= 0) os::Forking::Close(fd);
  }

  void Take(int fd, ThreadPool& pool) {
    const int on = 1;
    (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // else 40 ms a request
    try {
      os::Forking::CloseInChildren(fd);  // the other side is to notice when this process dies
      if (pool.Run([this, fd] { Talk(fd); })) return;
      os::Forking::Forget(fd);
      refusals_.Add(fd);
    } catch (const std::exception&) {  // out of memory
      os::Forking::Close(fd);
    }
  }

  static bool IsKnown(const std::string& host) {
    addrinfo* found = nullptr;
    if (::getaddrinfo(host.c_str(), nullptr, nullptr, &found) != 0) return false;
    ::freeaddrinfo(found);
    return true;
  }

  void Talk(int fd) {
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
    if (clean) return os::Forking::Close(fd);
    os::Forking::Forget(fd);
    CloseGently(fd);
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
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::set<int> connections_;
  Refusals refusals_;
};

}  // namespace guard
}  // namespace v1
}  // namespace dtm
