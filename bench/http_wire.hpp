/// HTTP/1.1 on loopback for the load program: requests and answers on many connections, with as
/// little work for each as it takes, since the load shares the processors with what it measures.
/// It understands Content-Length and "Connection: close"; who sends chunks is told so.
/// Needs: Linux (epoll). Threads: one.
#pragma once

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace bench {

/// A request or an answer; it points into the bytes it was read from.
struct HttpMessage {
  std::string_view first_line;
  std::string_view body;
  bool last = false;  ///< the sender closes the connection after it
  bool IsAnswer() const { return first_line.substr(0, 5) == "HTTP/"; }
};

inline bool BeginsWith(std::string_view line, std::string_view lower) {
  return line.size() >= lower.size() &&
         std::equal(lower.begin(), lower.end(), line.begin(), [](char want, char got) {
           return want == (got >= 'A' && got <= 'Z' ? got + ('a' - 'A') : got);
         });
}

/// How many bytes the message at the beginning has; 0: it is not complete yet.
inline std::size_t ReadMessage(std::string_view bytes, HttpMessage& message) {
  constexpr std::string_view kLength = "content-length:";
  const std::size_t head = bytes.find("\r\n\r\n");
  if (head == std::string_view::npos) return 0;
  std::size_t body = 0;
  std::size_t end = bytes.find("\r\n");
  message.first_line = bytes.substr(0, end);
  message.last = false;
  while (end < head) {
    const std::size_t begin = end + 2;
    end = bytes.find("\r\n", begin);
    const std::string_view line = bytes.substr(begin, end - begin);
    if (BeginsWith(line, kLength)) {
      body = std::strtoul(line.data() + kLength.size(), nullptr, 10);
    } else if (BeginsWith(line, "connection: close")) {
      message.last = true;
    } else if (BeginsWith(line, "transfer-encoding:")) {
      throw std::runtime_error("the load program reads no body in chunks");
    }
  }
  const std::size_t size = head + 4 + body;
  if (bytes.size() < size) return 0;
  message.body = bytes.substr(head + 4, body);
  return size;
}

inline sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

/// Listens on a free port of loopback, and connects to others. A connection is its descriptor.
class HttpWire {
 public:
  class User {
   public:
    virtual ~User() = default;
    /// It may close `connection`, and no other.
    virtual void Received(int connection, const HttpMessage& message) = 0;
    virtual void Closed(int connection) = 0;  ///< by the other side
  };

  HttpWire() : epoll_(::epoll_create1(EPOLL_CLOEXEC)), listener_(NewSocket()) {
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_, generic, size) != 0 || ::listen(listener_, 4096) != 0 ||
        ::getsockname(listener_, generic, &size) != 0) {
      throw std::runtime_error(std::string("no port on loopback: ") + std::strerror(errno));
    }
    port_ = ntohs(address.sin_port);
    Watch(listener_, EPOLL_CTL_ADD, EPOLLIN);
  }
  HttpWire(const HttpWire&) = delete;
  HttpWire& operator=(const HttpWire&) = delete;
  ~HttpWire() {
    for (std::size_t fd = 0; fd < connections_.size(); ++fd) {
      if (connections_[fd].open) ::close(static_cast<int>(fd));
    }
    ::close(listener_);
    ::close(epoll_);
  }

  int Port() const { return port_; }

  /// What is sent before it stands is sent then.
  int Connect(int port) {
    const int fd = NewSocket();
    const sockaddr_in address = Loopback(port);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
        errno != EINPROGRESS) {
      const int error = errno;
      ::close(fd);
      throw std::runtime_error(std::string("connect failed: ") + std::strerror(error));
    }
    Open(fd).connecting = true;
    Watch(fd, EPOLL_CTL_ADD, EPOLLOUT);
    return fd;
  }

  void Send(int fd, std::string_view bytes) {
    if (At(fd).connecting) {
      At(fd).unsent = bytes;
      return;
    }
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    // A connection that is gone is reported by the next Poll.
    if (sent >= 0 && static_cast<std::size_t>(sent) < bytes.size()) {
      throw std::runtime_error("a message was not taken as a whole");
    }
  }

  void Close(int fd) {
    At(fd) = {};
    ::close(fd);
  }

  /// Handles what has come, or comes within so many milliseconds.
  void Poll(int milliseconds, User& user) {
    const int count =
        ::epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), milliseconds);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      const int fd = event.data.fd;
      if (fd == listener_) {
        Accept();
      } else if (At(fd).connecting && event.events == EPOLLOUT) {
        Connected(fd);
      } else {
        Read(fd, user);
      }
    }
  }

 private:
  struct Connection {
    bool open = false;
    bool connecting = false;
    std::string unsent;
    std::string received;  ///< of a message that came in pieces
  };

  static int NewSocket() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) throw std::runtime_error(std::string("no socket: ") + std::strerror(errno));
    return fd;
  }

  Connection& At(int fd) { return connections_[static_cast<std::size_t>(fd)]; }

  Connection& Open(int fd) {
    const auto index = static_cast<std::size_t>(fd);
    if (connections_.size() <= index) connections_.resize(index + 1);
    connections_[index] = {};
    connections_[index].open = true;
    return connections_[index];
  }

  void Watch(int fd, int how, std::uint32_t what) {
    epoll_event event{};
    event.events = what;
    event.data.fd = fd;
    ::epoll_ctl(epoll_, how, fd, &event);
  }

  void Accept() {
    for (int fd;
         (fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
      Open(fd);
      Watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    }
    if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
      throw std::runtime_error(std::string("accept failed: ") + std::strerror(errno));
    }
  }

  void Connected(int fd) {
    At(fd).connecting = false;
    Watch(fd, EPOLL_CTL_MOD, EPOLLIN);
    const std::string unsent = std::exchange(At(fd).unsent, {});
    if (!unsent.empty()) Send(fd, unsent);
  }

  void Read(int fd, User& user) {
    const ssize_t got = ::recv(fd, buffer_.data(), buffer_.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      Close(fd);
      user.Closed(fd);
      return;
    }
    const std::string_view fresh(buffer_.data(), static_cast<std::size_t>(got));
    std::string joined = std::exchange(At(fd).received, {});
    if (!joined.empty()) joined.append(fresh);
    const std::string_view bytes = joined.empty() ? fresh : joined;
    HttpMessage message;
    const std::size_t size = ReadMessage(bytes, message);
    if (size == 0) {
      At(fd).received = bytes;
    } else if (size < bytes.size()) {
      throw std::runtime_error("a second message came before the first was answered");
    } else {
      user.Received(fd, message);
    }
  }

  int epoll_;
  int listener_;
  int port_ = 0;
  std::vector<Connection> connections_;  ///< by descriptor
  std::vector<epoll_event> events_{512};
  std::vector<char> buffer_ = std::vector<char>(1 << 16);
};

}  // namespace bench
