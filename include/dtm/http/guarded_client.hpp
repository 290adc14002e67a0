/// cpp-httplib's client, made safe for answers that are meant to harm: total deadline, bounded
/// head.
/// Needs: cpp-httplib, POSIX. Threads: one at a time, but for SocketWatch.
///
/// httplib before 0.20 reads lines of any length and matches the status line with std::regex: about
/// 20 KB of it overflow the stack and kill the process. So the bytes go through our own Stream
/// there. Newer versions have such limits themselves (and a different private interface: then the
/// class below overrides nothing, and httplib's own stream is used).
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <locale>
#include <memory>
#include <mutex>
#include <poll.h>
#include <signal.h>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <type_traits>
#include <unistd.h>

#include <httplib.h>

#include <dtm/http/url.hpp>

namespace dtm {
inline namespace v1 {

using SteadyTime = std::chrono::steady_clock::time_point;

#if defined(CPPHTTPLIB_OPENSSL_SUPPORT) || defined(CPPHTTPLIB_SSL_ENABLED)
inline constexpr bool kHttpsSupported = true;
#else
inline constexpr bool kHttpsSupported = false;
#endif

/// httplib writes to connections that may be closed without MSG_NOSIGNAL; every thread that uses it
/// calls this first, or the host process dies of it.
inline void BlockSigpipe() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

/// httplib's regular expressions read a table of the locale that libstdc++ fills on first use
/// without a lock (GCC PR 77704). Whoever is about to start threads that use httplib calls this
/// first.
inline void FillRegexTable() {
  const std::locale locale;
  const auto& characters = std::use_facet<std::ctype<char>>(locale);
  for (int c = 0; c < 256; ++c) characters.narrow(static_cast<char>(c), '\0');
}

/// Ends what blocks on a socket, from another thread. httplib closes sockets when it likes and the
/// number may be somebody else's by then, so it is the same socket only if its inode is the same;
/// the duplicate keeps it ours between the look and the shutdown.
class SocketWatch {
 public:
  void Opened(int fd) {
    struct stat info {};
    const bool known = ::fstat(fd, &info) == 0;
    const std::lock_guard<std::mutex> lock(mutex_);
    fd_ = known ? fd : -1;
    device_ = info.st_dev;
    inode_ = info.st_ino;
  }

  void Break() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (fd_ < 0) return;
    const int copy = ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return;  // closed already, or no descriptor is free: the caller tries again
    struct stat info {};
    if (::fstat(copy, &info) == 0 && info.st_dev == device_ && info.st_ino == inode_) {
      ::shutdown(copy, SHUT_RDWR);
    }
    ::close(copy);
  }

 private:
  std::mutex mutex_;
  int fd_ = -1;
  dev_t device_{};
  ino_t inode_{};
};

namespace guard {

// Of one answer. httplib asks for lines byte by byte and for content in larger pieces.
inline constexpr std::size_t kMaxLineBytes = 8 * 1024;
inline constexpr std::size_t kMaxLinesBytes = 64 * 1024;  ///< status line, headers, chunk sizes

/// Implements what httplib 0.11 asks of a stream; abstract, and so unused, with versions that ask
/// for more.
class BoundedStream : public httplib::Stream {
 public:
  BoundedStream(int fd, SteadyTime deadline) : fd_(fd), deadline_(deadline) {}

  virtual bool is_readable() const { return at_ < end_ || Wait(POLLIN); }
  virtual bool is_writable() const { return Wait(POLLOUT); }
  virtual void get_remote_ip_and_port(std::string&, int&) const {}
  virtual void get_local_ip_and_port(std::string&, int&) const {}
  virtual int socket() const { return fd_; }

  virtual ssize_t read(char* to, std::size_t size) {
    if (at_ == end_) {
      const ssize_t got = Receive();
      if (got <= 0) return got;
      at_ = 0;
      end_ = static_cast<std::size_t>(got);
    }
    const std::size_t taken = (std::min)(size, end_ - at_);
    std::memcpy(to, buffer_.data() + at_, taken);
    at_ += taken;
    if (size == 1 && !CountLineByte(*to)) return -1;
    return static_cast<ssize_t>(taken);
  }

  /// Kept until the answer is wanted: head and body leave in one packet.
  virtual ssize_t write(const char* from, std::size_t size) {
    out_.append(from, size);
    return static_cast<ssize_t>(size);
  }

 private:
  bool Flush() {
    std::size_t sent = 0;
    while (sent < out_.size()) {
      const ssize_t some =
          ::send(fd_, out_.data() + sent, out_.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (some >= 0) {
        sent += static_cast<std::size_t>(some);
      } else if (errno == EAGAIN) {
        if (!Wait(POLLOUT)) return false;
      } else if (errno != EINTR) {
        return false;
      }
    }
    out_.clear();
    return true;
  }

  ssize_t Receive() {
    // A server may answer and close before it has read everything: the answer counts.
    Flush();
    for (;;) {
      if (!Wait(POLLIN)) return -1;
      const ssize_t got = ::recv(fd_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
      if (got >= 0 || (errno != EINTR && errno != EAGAIN)) return got;
    }
  }

  bool CountLineByte(char byte) {
    line_ = byte == '\n' ? 0 : line_ + 1;
    return line_ <= kMaxLineBytes && ++lines_ <= kMaxLinesBytes;
  }

  bool Wait(short what) const {
    for (;;) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(
          deadline_ - std::chrono::steady_clock::now());
      if (left.count() <= 0) return false;
      pollfd one{fd_, what, 0};
      const auto wait = (std::min<long long>)(left.count(), 60000);
      const int ready = ::poll(&one, 1, static_cast<int>(wait));
      if (ready > 0) return true;
      if (ready < 0 && errno != EINTR) return false;
    }
  }

  int fd_;
  SteadyTime deadline_;
  std::string out_;
  std::array<char, 4096> buffer_;
  std::size_t at_ = 0;
  std::size_t end_ = 0;
  std::size_t line_ = 0;
  std::size_t lines_ = 0;
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverloaded-virtual"
template <class Stream = BoundedStream>
class HttpClient : public httplib::ClientImpl {
 public:
  using ClientImpl::ClientImpl;
  SteadyTime deadline{};

 private:
  // 0.11's virtual function; a template, so that nothing is asked of newer versions.
  bool process_socket(const Socket& socket, std::function<bool(httplib::Stream&)> callback) {
    if constexpr (std::is_abstract_v<Stream>) {
      return false;  // never called: those versions call another function
    } else {
      Stream stream(socket.sock, deadline);
      return callback(stream);
    }
  }
};
#pragma GCC diagnostic pop

/// The request target goes out as it is. The setting was renamed.
template <class Client>
auto KeepTarget(Client& client, int) -> decltype(client.set_path_encode(false)) {
  return client.set_path_encode(false);
}
template <class Client>
auto KeepTarget(Client& client, long) -> decltype(client.set_url_encode(false)) {
  return client.set_url_encode(false);
}

}  // namespace guard

/// A keep-alive client of one host with a deadline for the whole request.
class GuardedClient {
 public:
  explicit GuardedClient(const Url& url) {
#if defined(CPPHTTPLIB_OPENSSL_SUPPORT) || defined(CPPHTTPLIB_SSL_ENABLED)
    if (url.tls) client_ = std::make_unique<httplib::SSLClient>(url.host, url.port);
#endif
    if (!client_) {
      auto plain = std::make_unique<guard::HttpClient<>>(url.host, url.port);
      deadline_ = &plain->deadline;
      client_ = std::move(plain);
    }
    client_->set_keep_alive(true);
    client_->set_follow_location(false);
    client_->set_decompress(false);
    client_->set_tcp_nodelay(true);  // head and body are two writes; without it 40 ms a call
    client_->set_socket_options([this](int fd) { watch_.Opened(fd); });
    guard::KeepTarget(*client_, 0);
  }

  GuardedClient(const GuardedClient&) = delete;
  GuardedClient& operator=(const GuardedClient&) = delete;

  /// Whoever needs the deadline to hold against a peer that drips bytes calls Break() when it has
  /// passed: httplib's own timeouts start again with every byte.
  bool Send(httplib::Request& request, httplib::Response& response, httplib::Error& error,
            SteadyTime deadline) {
    const auto left = (std::max)(std::chrono::duration_cast<std::chrono::microseconds>(
                                     deadline - std::chrono::steady_clock::now()),
                                 std::chrono::microseconds(1000));
    if (deadline_ != nullptr) *deadline_ = deadline;
    client_->set_connection_timeout(left);
    client_->set_read_timeout(left);
    client_->set_write_timeout(left);
    return client_->send(request, response, error);
  }

  bool IsOpen() const { return client_->is_socket_open() != 0; }

  /// Open, and the peer sent nothing since the last answer: neither its end nor bytes that would
  /// be taken for the answer to the next request.
  bool IsClean() const {
    if (!IsOpen()) return false;
    char byte = 0;
    return ::recv(client_->socket(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
  }

  void Close() { client_->stop(); }

  /// Any thread: ends what Send waits for, as far as there is a socket yet.
  void Break() { watch_.Break(); }

 private:
  SocketWatch watch_;
  SteadyTime* deadline_ = nullptr;
  std::unique_ptr<httplib::ClientImpl> client_;
};

}  // namespace v1
}  // namespace dtm
