/// cpp-httplib's client, made safe for answers that are meant to harm: total deadline, bounded
/// head.
/// Needs: cpp-httplib, POSIX. Threads: one at a time, but for SocketWatch.
///
/// With httplib 0.11 the bytes go through BoundedStream or BoundedTlsStream. Newer versions have limits themselves (and a
/// different private interface: then the class below overrides nothing, and httplib's own stream is
/// used).
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <functional>
#include <locale>
#include <memory>
#include <mutex>
#include <signal.h>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <type_traits>
#include <unistd.h>

#include <httplib.h>

#include <dtm/base/error.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/httplib/bounded_stream.hpp>
#include <dtm/http/httplib/bounded_tls_stream.hpp>

namespace dtm {
inline namespace v1 {

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

#if defined(CPPHTTPLIB_OPENSSL_SUPPORT)
/// The same for https. A template of its base as well: newer versions' SSLClient is final.
template <class Base, class Stream>
class HttpsClient : public Base {
 public:
  using Base::Base;
  SteadyTime deadline{};
  const OpenSsl openssl{};

 private:
  // NOLINTBEGIN(performance-unnecessary-value-param): the signature is Base's.
  bool process_socket(const typename Base::Socket& socket,
                      std::function<bool(httplib::Stream&)> callback) {
    Stream stream(openssl, socket.ssl, socket.sock, deadline);
    return callback(stream);
  }
  // NOLINTEND(performance-unnecessary-value-param)
};
#endif
#pragma GCC diagnostic pop

#if defined(CPPHTTPLIB_OPENSSL_SUPPORT) || defined(CPPHTTPLIB_SSL_ENABLED)
/// `deadline` is set to where the client's is, if it has one: versions in which Plain is abstract have limits themselves.
/// @throws Error  OpenSSL cannot be found, so the client could not be made safe.
template <class Base = httplib::SSLClient, class Plain = BoundedStream>
std::unique_ptr<httplib::ClientImpl> MakeHttpsClient(const Url& url, SteadyTime*& deadline) {
#if defined(CPPHTTPLIB_OPENSSL_SUPPORT)
  if constexpr (!std::is_abstract_v<Plain>) {
    auto client = std::make_unique<HttpsClient<Base, BoundedTlsStream>>(url.host, url.port);
    if (!client->openssl.Found()) {
      throw Error("https to " + url.Origin() +
                  " needs OpenSSL as a shared library, or cpp-httplib 0.20.1 or newer");
    }
    deadline = &client->deadline;
    return client;
  }
#endif
  return std::make_unique<Base>(url.host, url.port);
}
#endif

/// The request target goes out as it is. The setting was renamed.
template <class Client>
auto KeepTarget(Client& client, int) -> decltype(client.set_path_encode(false)) {
  return client.set_path_encode(false);
}
template <class Client>
auto KeepTarget(Client& client, long) -> decltype(client.set_url_encode(false)) {
  return client.set_url_encode(false);
}

/// Newer versions can end a whole request at a time, which they count from a moment that only their
/// Get and Post set.
template <class Client, class Request>
auto SetWholeTimeout(Client& client, Request& request, std::chrono::microseconds time, int)
    -> decltype((void)request.start_time_, client.set_max_timeout(time)) {
  request.start_time_ = std::chrono::steady_clock::now();
  return client.set_max_timeout(time);
}
template <class Client, class Request>
void SetWholeTimeout(Client&, Request&, std::chrono::microseconds, long) {}

}  // namespace guard

/// A keep-alive client of one host with a deadline for the whole request.
class GuardedClient {
 public:
  /// @throws Error  as MakeHttpsClient.
  explicit GuardedClient(const Url& url) {
#if defined(CPPHTTPLIB_OPENSSL_SUPPORT) || defined(CPPHTTPLIB_SSL_ENABLED)
    if (url.tls) client_ = guard::MakeHttpsClient(url, deadline_);
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
    client_->set_socket_options([this](int fd) {
      found_ = true;
      watch_.Opened(fd);
    });
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
    found_ = false;
    if (deadline_ != nullptr) *deadline_ = deadline;
    client_->set_connection_timeout(left);
    client_->set_read_timeout(left);
    client_->set_write_timeout(left);
    guard::SetWholeTimeout(*client_, request, left, 0);
    return client_->send(request, response, error);
  }

  /// The last Send knew an address: it opened a socket to connect it.
  bool Found() const { return found_; }

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
  bool found_ = false;
  SteadyTime* deadline_ = nullptr;
  std::unique_ptr<httplib::ClientImpl> client_;
};

}  // namespace v1
}  // namespace dtm
