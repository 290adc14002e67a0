/// Where connections come in: a listening socket, and accepting on the loop.
/// Needs: POSIX. Threads: Listen is a pure function; a Listener belongs to the thread of the loop.
#pragma once

#include <cerrno>
#include <chrono>
#include <exception>
#include <netdb.h>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/http/transport/io_loop.hpp>
#include <dtm/http/transport/look_up.hpp>
#include <dtm/http/transport/socket.hpp>
#include <dtm/http/transport/timers.hpp>

namespace dtm {
inline namespace v1 {
namespace transport {

struct ListeningSocket {
  Socket socket;
  int port = 0;
};

/// Port 0: any that is free.
/// @throws Error  it cannot be had.
inline ListeningSocket ListenOn(const std::string& host, int port) {
  const std::string place = "cannot listen on " + host + ":" + std::to_string(port) + ": ";
  if (port < 0 || port > 65535) throw Error(place + "a port is 0 (any) to 65535");
  // RFC 6761: it is the loopback without asking anybody; small machines have no /etc/hosts.
  const FoundAddresses found = LookUp(host == "localhost" ? "127.0.0.1" : host, port);
  int error = 0;
  for (const SocketAddress& address : found.addresses) {
    const int fd =
        ::socket(address.Family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) {
      error = errno;
      continue;
    }
    Socket socket = Socket::NotForChildren(fd);
    const int on = 1, off = 0;
    // Not SO_REUSEPORT: a second server would start and share the requests.
    (void)::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address.Family() == AF_INET6)
      (void)::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    constexpr int kBacklog = 4096;  // a short one makes clients that come together wait for 1 s
    if (::bind(fd, address.Get(), address.size) != 0 || ::listen(fd, kBacklog) != 0) {
      error = errno;
      continue;
    }
    SocketAddress bound;
    bound.size = sizeof bound.bytes;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound.bytes), &bound.size) != 0) {
      error = errno;
      continue;
    }
    const std::string text = bound.Text();
    return {std::move(socket), std::stoi(text.substr(text.rfind(':') + 1))};
  }
  throw Error(place + (found.addresses.empty() ? "the name is unknown" : ErrorText(error)) +
              "; stop the program that does, or choose another port or address");
}

/// Tries again after accepting has failed for a while, usually for want of descriptors.
class Listener final : public Watcher, Timer {
 public:
  class Receiver {
   public:
    /// It may throw; then the connection is closed.
    virtual void OnConnection(Socket socket) = 0;

   protected:
    ~Receiver() = default;
  };

  Listener(IoLoop& loop, Receiver& receiver, Socket socket)
      : loop_(loop), receiver_(receiver), socket_(std::move(socket)) {}
  ~Listener() override { Close(); }

  /// False: the system has no room for it.
  bool Open() { return loop_.Watch(socket_.Fd(), *this); }

  void Close() {
    loop_.Cancel(*this);
    if (socket_.IsOpen()) loop_.Unwatch(socket_.Fd());
    socket_.Close();
  }

 private:
  static constexpr int kAtATime = 64;  ///< others want their turn
  static constexpr std::chrono::milliseconds kPause{10};

  void OnReady(Readiness) override { Accept(); }
  void OnDeadline() override { Accept(); }

  void Accept() {
    for (int i = 0; i < kAtATime; ++i) {
      if (!socket_.IsOpen()) return;
      const int fd = ::accept4(socket_.Fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        Take(fd);
      } else if (errno == EAGAIN) {
        return;
      } else if (errno != EINTR && errno != ECONNABORTED) {
        return loop_.Set(*this, loop_.Now() + kPause);
      }
    }
    loop_.Set(*this, loop_.Now() + std::chrono::nanoseconds(1));  // in the next turn
  }

  void Take(int fd) {
    try {
      Socket socket = Socket::NotForChildren(fd);
      SendWithoutDelay(fd);
      receiver_.OnConnection(std::move(socket));
    } catch (const std::exception&) {  // no memory
    }
  }

  IoLoop& loop_;
  Receiver& receiver_;
  Socket socket_;
};

}  // namespace transport
}  // namespace v1
}  // namespace dtm
