/// What the transport asks of sockets, none of which blocks.
/// Needs: POSIX. Threads: pure functions over descriptors.
#pragma once

#include <arpa/inet.h>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include <dtm/base/os.hpp>

namespace dtm {
inline namespace v1 {
namespace transport {

/// Where a socket connects to.
struct SocketAddress {
  sockaddr_storage bytes{};
  socklen_t size = 0;

  int Family() const { return bytes.ss_family; }
  const sockaddr* Get() const { return reinterpret_cast<const sockaddr*>(&bytes); }

  /// False: `text` is no numeric address.
  static bool FromFigures(const std::string& text, int port, SocketAddress& address) {
    address = SocketAddress();
    auto* const v4 = reinterpret_cast<sockaddr_in*>(&address.bytes);
    auto* const v6 = reinterpret_cast<sockaddr_in6*>(&address.bytes);
    const std::uint16_t number = htons(static_cast<std::uint16_t>(port));
    if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
      v4->sin_family = AF_INET;
      v4->sin_port = number;
      address.size = sizeof *v4;
    } else if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
      v6->sin6_family = AF_INET6;
      v6->sin6_port = number;
      address.size = sizeof *v6;
    }
    return address.size != 0;
  }

  /// "127.0.0.1:80", "[::1]:80".
  std::string Text() const {
    char text[INET6_ADDRSTRLEN] = "";
    if (Family() == AF_INET6) {
      const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(&bytes);
      (void)::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
      return "[" + std::string(text) + "]:" + std::to_string(ntohs(v6->sin6_port));
    }
    const auto* const v4 = reinterpret_cast<const sockaddr_in*>(&bytes);
    (void)::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(v4->sin_port));
  }
};

/// A descriptor that is closed when its owner goes.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  /// One that no forked child gets: its port or its other side would wait for the child when this process has ended.
  /// @throws std::bad_alloc  it is closed.
  static Socket NotForChildren(int fd) {
    os::Forking::CloseInChildren(fd);
    Socket socket(fd);
    socket.noted_ = true;
    return socket;
  }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)), noted_(other.noted_) {}
  Socket& operator=(Socket&& other) noexcept {
    if (this != &other) {
      Close();
      fd_ = std::exchange(other.fd_, -1);
      noted_ = other.noted_;
    }
    return *this;
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { Close(); }

  int Fd() const { return fd_; }
  bool IsOpen() const { return fd_ >= 0; }
  void Close() {
    if (fd_ < 0) return;
    const int fd = std::exchange(fd_, -1);
    noted_ ? os::Forking::Close(fd) : void(::close(fd));
  }

 private:
  int fd_ = -1;
  bool noted_ = false;  ///< by os::Forking
};

/// Small packets leave at once: the other side waits for them.
inline void SendWithoutDelay(int fd) {
  const int on = 1;
  (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// Begins to connect. `error`: 0, or why there is nothing to wait for.
inline Socket BeginConnect(const SocketAddress& to, int& error) {
  error = 0;
  Socket socket(::socket(to.Family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.IsOpen()) {
    error = errno;
    return socket;
  }
  SendWithoutDelay(socket.Fd());
  if (::connect(socket.Fd(), to.Get(), to.size) != 0 && errno != EINPROGRESS && errno != EINTR) {
    error = errno;
    socket.Close();
  }
  return socket;
}

/// How connecting ended: 0, or why it failed; EINPROGRESS if it did not end.
inline int ConnectError(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  if (error != 0) return error;
  sockaddr_storage peer{};
  size = sizeof peer;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0) return 0;
  return errno == ENOTCONN ? EINPROGRESS : errno;
}

/// What came of moving bytes.
struct Moved {
  enum class Kind { kSome, kWait, kEnd, kBroken };
  Kind kind = Kind::kBroken;
  std::size_t size = 0;  ///< of kSome

  static Moved Some(std::size_t size) { return {Kind::kSome, size}; }
  /// What recv or send returned.
  static Moved Of(ssize_t done) {
    if (done >= 0) return {Kind::kSome, static_cast<std::size_t>(done)};
    return {errno == EAGAIN || errno == EWOULDBLOCK ? Kind::kWait : Kind::kBroken, 0};
  }
};

inline Moved ReceiveSome(int fd, char* to, std::size_t size) {
  ssize_t got = 0;
  do {
    got = ::recv(fd, to, size, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  return got == 0 ? Moved{Moved::Kind::kEnd, 0} : Moved::Of(got);
}

inline Moved SendSome(int fd, const char* from, std::size_t size) {
  ssize_t sent = 0;
  do {
    sent = ::send(fd, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return Moved::Of(sent);
}

inline std::string ErrorText(int error) { return std::generic_category().message(error); }

}  // namespace transport
}  // namespace v1
}  // namespace dtm
