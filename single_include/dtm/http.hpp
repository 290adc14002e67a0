/// Generated from include/dtm/http.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "dtm.hpp"

// ---- dtm/http/url.hpp --------------------------------------------------------------------------

/// URLs of branches, taken apart and checked before anything is sent to them.
/// Needs: std. Threads: pure functions. Protocol: §3 (calling branches).

#include <cstddef>
#include <string>
#include <string_view>

namespace dtm {
inline namespace v1 {

struct Url {
  bool tls = false;
  std::string host;  ///< lower case; an IPv6 address without its brackets
  int port = 0;
  std::string target;  ///< path and query, ready for the request line

  /// `host:port` as the Host header wants it.
  std::string Authority() const {
    const bool ipv6 = host.find(':') != std::string::npos;
    std::string text = ipv6 ? "[" + host + "]" : host;
    if (port != (tls ? 443 : 80)) text += ":" + std::to_string(port);
    return text;
  }
  /// `http://host:port`: calls with the same origin share connections and limits.
  std::string Origin() const { return (tls ? "https://" : "http://") + Authority(); }
};

/// Everything but RFC 3986's unreserved characters as %XX.
inline std::string PercentEncoded(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      result += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      result.append({'%', kHex[byte >> 4], kHex[byte & 15]});
    }
  }
  return result;
}

namespace url_parts {

inline bool Lower(std::string& text, bool (*allowed)(char)) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (!allowed(c)) return false;
  }
  return !text.empty();
}

/// 1 .. 65535, or 0 if it is no port.
inline int Port(std::string_view text) {
  if (text.empty() || text.size() > 5) return 0;
  int port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return 0;
    port = port * 10 + (c - '0');
  }
  return port <= 65535 ? port : 0;
}

/// Path and query as they are; spaces and bytes beyond ASCII would break the request line.
inline std::string Target(std::string_view rest) {
  std::string target = rest.empty() || rest.front() != '/' ? "/" : "";
  target.reserve(rest.size() + 1);
  for (const char c : rest) {
    if (c == '#') break;
    if (c > ' ' && c < 127) {
      target += c;
    } else {
      target += PercentEncoded(std::string_view(&c, 1));
    }
  }
  return target;
}

}  // namespace url_parts

/// Throws Error with a sentence that says what is wrong with `text`.
inline Url ParseUrl(const std::string& text) {
  const auto refuse = [&text](const char* why) -> Error {
    std::string shown;
    for (const char c : text.substr(0, 200)) shown += c >= ' ' && c != 127 ? c : '?';
    return Error("the branch URL \"" + shown + "\" " + why);
  };
  if (text.size() > kMaxUrlBytes) throw refuse("is too long");
  for (const char c : text) {
    if ((c >= 0 && c < ' ') || c == 127) throw refuse("contains a control character");
  }
  Url url;
  const std::size_t colon = text.find("://");
  std::string scheme = text.substr(0, colon == std::string::npos ? 0 : colon);
  url_parts::Lower(scheme, [](char) { return true; });
  if (scheme != "http" && scheme != "https") {
    throw refuse("does not start with http:// or https://");
  }
  url.tls = scheme == "https";

  const std::string_view after = std::string_view(text).substr(colon + 3);
  const std::string_view authority = after.substr(0, after.find_first_of("/?#"));
  if (authority.find('@') != std::string_view::npos) {
    throw refuse("contains a user name; send credentials as branch headers");
  }
  std::string_view rest;  // of the authority, behind the host
  bool valid = false;
  if (!authority.empty() && authority.front() == '[') {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) throw refuse("has an IPv6 address without its closing ]");
    url.host = authority.substr(1, end - 1);
    rest = authority.substr(end + 1);
    valid = url_parts::Lower(url.host,
                             [](char c) {
                               return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
                                      c == ':' || c == '.';
                             }) &&
            url.host.find(':') != std::string::npos;
  } else {
    const std::size_t end =
        (authority.find(':') == std::string_view::npos) ? authority.size() : authority.find(':');
    url.host = authority.substr(0, end);
    rest = authority.substr(end);
    valid = url_parts::Lower(url.host, [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_';
    });
  }
  if (!valid) throw refuse("has no valid host name");
  url.port = url.tls ? 443 : 80;
  if (!rest.empty()) {
    url.port = rest.front() == ':' ? url_parts::Port(rest.substr(1)) : 0;
    if (url.port == 0) throw refuse("has no valid port (1 to 65535)");
  }
  url.target = url_parts::Target(after.substr(authority.size()));
  return url;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/guarded_client.hpp ---------------------------------------------------------------

/// cpp-httplib's client, made safe for answers that are meant to harm: total deadline, bounded
/// head.
/// Needs: cpp-httplib, POSIX. Threads: one at a time, but for SocketWatch.
///
/// httplib before 0.20 reads lines of any length and matches the status line with std::regex: about
/// 20 KB of it overflow the stack and kill the process. So the bytes go through our own Stream
/// there. Newer versions have such limits themselves (and a different private interface: then the
/// class below overrides nothing, and httplib's own stream is used).

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <locale>
#include <memory>
#include <mutex>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <type_traits>
#include <unistd.h>

#include <httplib.h>

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

// ---- dtm/http/reply_rule.hpp -------------------------------------------------------------------

/// Rule A: what the HTTP answer of a branch means.
/// Needs: std. Threads: pure functions. Protocol: §1, Rule A.

namespace dtm {
inline namespace v1 {

/// What a stranger sent, as text that can be stored and shown: at most kMaxReasonBytes of valid
/// UTF-8, cut between characters; other bytes and control characters (but for tab and line feed)
/// become '?'.
inline std::string StorableText(const std::string& bytes) {
  std::string text;
  text.reserve((std::min)(bytes.size(), kMaxReasonBytes));
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = Utf8Length(bytes, at);
    if (text.size() + (length == 0 ? 1 : length) > kMaxReasonBytes) break;
    const char c = bytes[at];
    const bool control = length == 1 && ((c >= 0 && c < ' ' && c != '\t' && c != '\n') || c == 127);
    if (length == 0 || control) {
      text += '?';
      ++at;
    } else {
      text.append(bytes, at, length);
      at += length;
    }
  }
  return text;
}

/// The words in the body count whatever the status is, and ONGOING counts before FAILURE; 201, 204
/// and redirects are temporary errors. The text of the result is the body, or the status if that
/// is empty.
inline Result ReadReply(int status, const std::string& body) {
  const std::string code = "HTTP status " + std::to_string(status);
  const auto text = [&] { return StorableText(body.empty() ? code : body); };
  if (status == 425 || body.find("ONGOING") != std::string::npos) return Result::Ongoing(text());
  if (status == 409 || body.find("FAILURE") != std::string::npos) return Result::Failure(text());
  if (status == 200) return Result::Success();
  return Result::Error(StorableText(body.empty() ? code : code + ": " + body));
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire.hpp -------------------------------------------------------------------------

/// The names that branch calls use on the wire; nothing else spells them.
/// Needs: std. Threads: constants and pure functions. Protocol: §3 (calling branches).

namespace dtm {
inline namespace v1 {
namespace wire {

inline constexpr const char kBranchId[] = "branch_id";
inline constexpr const char kGid[] = "gid";
inline constexpr const char kOp[] = "op";
inline constexpr const char kTransType[] = "trans_type";
inline constexpr const char kJson[] = "application/json";

inline std::string UserAgent() { return std::string("dtm-cpp/") + kVersion; }

/// The request target of a branch call: who is called for joins the query that is already there.
inline std::string BranchTarget(const std::string& target, const BranchInfo& info) {
  std::string result = target;
  if (target.find('?') == std::string::npos) {
    result += '?';
  } else if (target.back() != '?' && target.back() != '&') {
    result += '&';
  }
  const auto add = [&result](const char* name, const std::string& value, const char* end) {
    result.append(name).append("=").append(PercentEncoded(value)).append(end);
  };
  add(kBranchId, info.branch_id, "&");
  add(kGid, info.gid, "&");
  add(kOp, Name(info.op), "&");
  add(kTransType, Name(info.trans_type), "");
  return result;
}

/// XA says commit and rollback with an empty POST; everything else without a payload is a GET.
inline const char* BranchMethod(TransType type, const std::string& payload) {
  return type == TransType::kXa || !payload.empty() ? "POST" : "GET";
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/connection.hpp -------------------------------------------------------------------

/// One branch call on one keep-alive connection: builds the request, reads the answer.
/// Needs: cpp-httplib, POSIX. Threads: one at a time, but for Break(); SIGPIPE must be blocked.
/// Protocol: §1 (Rule A), §3 (calling branches).

#include <map>

namespace dtm {
inline namespace v1 {

struct CallOutcome {
  Result result;
  bool silent = false;  ///< timed out or could not be reached, see HostLimits
};

namespace headers {

inline std::string Lower(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

/// An RFC 9110 token.
inline bool ValidName(const std::string& name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  for (const char c : name) {
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!word && kMarks.find(c) == std::string_view::npos) return false;
  }
  return !name.empty();
}

inline bool ValidValue(const std::string& value) {
  for (const char c : value) {
    if ((c >= 0 && c < ' ' && c != '\t') || c == 127) return false;
  }
  return true;
}

/// How a message is framed is a matter of the connection, not of the call: such headers, copied
/// from some other request, would let one call run into the next. They are left out.
inline bool IsFraming(const std::string& lower) {
  for (const char* name : {"connection", "content-length", "expect", "keep-alive",
                           "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}) {
    if (lower == name) return true;
  }
  return false;
}

}  // namespace headers

/// Throws Error if a branch header could smuggle something into the request.
inline httplib::Request BranchRequest(const BranchCall& call, const Url& url) {
  httplib::Request request;
  request.method = wire::BranchMethod(call.definition->type, call.Payload());
  request.path = wire::BranchTarget(url.target, call.Info());
  request.body = call.Payload();
  std::map<std::string, std::pair<std::string, std::string>> all = {
      {"host", {"Host", url.Authority()}},
      {"content-type", {"Content-Type", wire::kJson}},
      {"accept", {"Accept", wire::kJson}},
      // A few bytes of gzip can be gigabytes of answer.
      {"accept-encoding", {"Accept-Encoding", "identity"}},
      {"user-agent", {"User-Agent", wire::UserAgent()}}};
  for (const auto& [name, value] : call.definition->options.branch_headers) {
    if (!headers::ValidName(name) || !headers::ValidValue(value)) {
      throw Error("the branch header \"" + StorableText(name) +
                  "\" has a name or value that HTTP does not allow; the call was not sent");
    }
    std::string lower = headers::Lower(name);
    if (!headers::IsFraming(lower)) all[std::move(lower)] = {name, value};
  }
  for (const auto& [lower, header] : all) request.set_header(header.first, header.second);
  return request;
}

class Connection {
 public:
  explicit Connection(const Url& url) : origin_(url.Origin()), client_(url) {}

  /// Throws Error if the call cannot be sent as it is. Afterwards IsOpen() says whether the
  /// connection can take another call.
  CallOutcome Send(const BranchCall& call, const Url& url, SteadyTime deadline) {
    const bool reused = client_.IsClean();
    if (!reused && client_.IsOpen()) client_.Close();
    const bool rested = reused && std::chrono::steady_clock::now() - last_used_ >= kRested;
    Attempt attempt = Try(call, url, deadline);
    // A connection that rested may have been closed by the server at the very moment we used it
    // again; the call never reached it then, and a fresh connection settles it at once. Whether it
    // really did not arrive cannot be known, so it is done once, only before the first byte of
    // an answer and only after a rest: a busy connection does not close for idleness, its
    // server died at work, and that is retried at the pace of the transaction. The worst case is
    // a call that arrives twice, which branches must be able to take in any case.
    const bool unanswered =
        attempt.error == httplib::Error::Read || attempt.error == httplib::Error::Write;
    if (rested && unanswered && !attempt.answered && !Passed(deadline)) {
      attempt = Try(call, url, deadline);
    }
    last_used_ = std::chrono::steady_clock::now();
    return Interpret(attempt, call, deadline);
  }

  bool IsOpen() const { return client_.IsOpen(); }

  /// Any thread: ends what Send waits for, as far as there is a socket yet.
  void Break() { client_.Break(); }

 private:
  static constexpr std::chrono::milliseconds kRested{500};

  struct Attempt {
    httplib::Error error = httplib::Error::Success;
    bool answered = false;  ///< a status line and headers came
    bool too_long = false;
    bool encoded = false;
    int status = 0;
    std::string body;
  };

  /// The timeouts inside httplib are a little early, and a shut down socket a little late.
  static bool Passed(SteadyTime deadline) {
    return std::chrono::steady_clock::now() + std::chrono::milliseconds(2) >= deadline;
  }

  Attempt Try(const BranchCall& call, const Url& url, SteadyTime deadline) {
    Attempt attempt;
    httplib::Request request = BranchRequest(call, url);
    request.response_handler = [&attempt](const httplib::Response& response) {
      attempt.answered = true;
      attempt.status = response.status;
      return true;
    };
    request.content_receiver = [&attempt](const char* data, std::size_t size, auto, auto) {
      const std::size_t room = kMaxAnswerBytes - attempt.body.size();
      attempt.too_long = size > room;
      attempt.body.append(data, attempt.too_long ? room : size);
      return !attempt.too_long;
    };
    httplib::Response response;
    if (client_.Send(request, response, attempt.error, deadline)) {
      attempt.error = httplib::Error::Success;
      attempt.answered = true;
      attempt.status = response.status;
    }
    if (attempt.answered) {
      const std::string coding = headers::Lower(response.get_header_value("Content-Encoding"));
      attempt.encoded = !coding.empty() && coding != "identity";
    }
    return attempt;
  }

  CallOutcome Interpret(const Attempt& attempt, const BranchCall& call, SteadyTime deadline) const {
    using Kind = httplib::Error;
    const auto error = [this](const std::string& text, bool silent) {
      return CallOutcome{Result::Error(StorableText(origin_ + " " + text)), silent};
    };
    if (attempt.answered && (attempt.too_long || attempt.encoded)) {
      // What the status says is definite; what a word in the rest of the body says is not known.
      if (attempt.status == 409 || attempt.status == 425) {
        return {ReadReply(attempt.status, attempt.encoded ? std::string() : attempt.body), false};
      }
      const std::string what = "answered with HTTP status " + std::to_string(attempt.status);
      return attempt.encoded
                 ? error(what + " and a compressed body; answer branch calls without it", false)
                 : error(what + " and a body of more than " + std::to_string(kMaxAnswerBytes) +
                             " bytes; answer branch calls with less",
                         false);
    }
    switch (attempt.error) {
      case Kind::Success: return {ReadReply(attempt.status, attempt.body), false};
      case Kind::Connection:
      case Kind::ConnectionTimeout:
        if (Passed(deadline)) break;
        return error("cannot be reached: the name is unknown or nothing listens there", true);
      case Kind::Read:
      case Kind::Write:
        if (Passed(deadline)) break;
        return error(attempt.answered ? "broke off its answer"
                                      : "closed the connection without a valid HTTP answer",
                     false);
      default:
        if (Passed(deadline)) break;
        return error("failed: " + httplib::to_string(attempt.error), true);
    }
    return error("gave no answer within " + Milliseconds(call.timeout), true);
  }

  static std::string Milliseconds(Duration time) {
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count()) +
           " ms";
  }

  std::string origin_;
  GuardedClient client_;
  SteadyTime last_used_{};
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/host_limits.hpp ------------------------------------------------------------------

/// How many calls a host may have in flight, so that a dead or slow one delays nobody else.
/// Needs: std. Threads: none inside; the caller holds its own lock. Pure arithmetic, no clock.

namespace dtm {
inline namespace v1 {

class HostLimits {
 public:
  struct Limits {
    int total = 1280;       ///< calls in flight, all hosts together
    int per_host = 1024;    ///< calls in flight to one host
    int silent_host = 8;    ///< calls in flight to a host that does not answer
    int silent_after = 10;  ///< so many calls in a row without an answer make it such a host
  };

  /// What is known about one host.
  struct Load {
    int in_flight = 0;
    int silent = 0;  ///< calls in a row that timed out or could not reach it
  };

  explicit HostLimits(Limits limits) : limits_(limits) {}

  /// A host may have four times as many calls in flight as are still free: alone it gets 1,024 of
  /// 1,280, and each host leaves a fifth of what it found, also when several die at once.
  bool MayStart(const Load& host) const {
    const int free = limits_.total - in_flight_;
    const int cap = host.silent >= limits_.silent_after ? limits_.silent_host : limits_.per_host;
    return host.in_flight < cap && host.in_flight < kShare * free;
  }

  void Started(Load& host) {
    ++host.in_flight;
    ++in_flight_;
  }

  /// `silent`: the host timed out or could not be reached. One answer, whatever it says, and it
  /// has its full share again.
  void Finished(Load& host, bool silent) {
    --host.in_flight;
    --in_flight_;
    if (!silent) {
      host.silent = 0;
    } else if (host.silent < limits_.silent_after) {
      ++host.silent;
    }
  }

  int InFlight() const { return in_flight_; }

 private:
  static constexpr int kShare = 4;

  Limits limits_;
  int in_flight_ = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/call_queue.hpp -------------------------------------------------------------------

/// Which call goes out next: a queue per host, round robin over the hosts, connections kept for
/// them.
/// Needs: cpp-httplib (connections). Threads: none inside; the caller holds its own lock. No clock:
/// time is passed in.

#include <exception>
#include <list>
#include <new>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

struct HttpBranchOptions {
  HostLimits::Limits limits;
  std::size_t max_waiting = 65536;  ///< calls without a free slot; more are answered NotSent
  Duration keep_idle = std::chrono::seconds(4);  ///< how long unused connections and threads stay
};

class CallQueue {
 public:
  struct Job {
    BranchCall call;
    BranchResults* results;
  };

  struct Answer {
    Job job;
    Result result;
  };

  /// Stays while it has calls in flight or waiting.
  class Host {
   public:
    explicit Host(Url where) : url_(std::move(where)) {}
    const Url& Where() const { return url_; }

   private:
    friend class CallQueue;
    struct Idle {
      SteadyTime since;
      std::unique_ptr<Connection> connection;
    };

    Url url_;
    HostLimits::Load load_;
    std::multimap<SteadyTime, Job> waiting_;  ///< by the time at which it is too late to send it
    /// Unused, the freshest at the back: all threads share them, so that a host sees no more
    /// connections than calls.
    std::vector<Idle> idle_;
    bool in_ring_ = false;
    SteadyTime last_used_{};
  };

  /// A call that leaves the queue.
  struct Taken {
    Job job;
    std::optional<Result> too_late;          ///< not to be sent, this is its answer
    std::unique_ptr<Connection> connection;  ///< null: make a new one
  };

  explicit CallQueue(const HttpBranchOptions& options)
      : options_(options), limits_(options.limits) {}

  /// Returns the answer if the call cannot wait here.
  std::optional<Result> Push(const Job& job, SteadyTime now) noexcept {
    try {
      Url url = ParseUrl(job.call.Url());
      if (url.tls && !kHttpsSupported) {
        return Result::Error(
            "https is not available: build cpp-httplib with CPPHTTPLIB_OPENSSL_SUPPORT to call " +
            url.Origin());
      }
      Host& host = HostAt(std::move(url));
      // Half of what is free: a host that is stuck cannot fill the queue for the others.
      if (host.waiting_.size() >= options_.max_waiting - waiting_) {
        return Result::NotSent("too many calls wait for " + host.url_.Origin());
      }
      if (!host.in_ring_) ring_.push_back(&host);
      host.in_ring_ = true;
      host.last_used_ = now;
      host.waiting_.emplace(now + job.call.timeout, job);
      ++waiting_;
      return std::nullopt;
    } catch (const Error& error) {
      return Result::Error(StorableText(error.what()));
    } catch (const std::exception&) {
      return Result::NotSent("out of memory");
    }
  }

  /// A host with a call that may start now, or null.
  Host* Next() {
    if (limits_.InFlight() >= options_.limits.total) return nullptr;
    for (std::size_t left = ring_.size(); left > 0; --left) {
      Host* host = ring_.front();
      if (host->waiting_.empty()) {
        host->in_ring_ = false;
        ring_.pop_front();
        continue;
      }
      if (limits_.MayStart(host->load_)) return host;
      ring_.splice(ring_.end(), ring_, ring_.begin());
    }
    return nullptr;
  }

  /// Right after Next returned `host`; the next turn is another host's. Unless it is too late for
  /// the call, Return must follow.
  Taken Take(Host& host, SteadyTime now) {
    ring_.splice(ring_.end(), ring_, ring_.begin());
    const auto first = host.waiting_.begin();
    Taken taken{first->second, std::nullopt, nullptr};
    if (first->first <= now) {
      taken.too_late = TooLate(host);
    } else {
      limits_.Started(host.load_);
      if (!host.idle_.empty()) {
        taken.connection = std::move(host.idle_.back().connection);
        host.idle_.pop_back();
        --idle_;
      }
    }
    host.waiting_.erase(first);
    --waiting_;
    return taken;
  }

  /// A call has ended. The connection, if it is still good, is kept; else it stays the caller's to
  /// close.
  void Return(Host& host, bool silent, std::unique_ptr<Connection>& connection, SteadyTime now) {
    limits_.Finished(host.load_, silent);
    host.last_used_ = now;
    if (!connection || !connection->IsOpen() || idle_ >= options_.limits.total) return;
    try {
      host.idle_.emplace_back();
    } catch (const std::bad_alloc&) {
      return;
    }
    host.idle_.back() = {now, std::move(connection)};
    ++idle_;
  }

  /// Collects what has become too late or too old, and returns when to look again.
  SteadyTime Check(SteadyTime now, std::vector<Answer>& answers,
                   std::vector<std::unique_ptr<Connection>>& closing) {
    SteadyTime next = now + std::chrono::hours(1);
    for (auto at = hosts_.begin(); at != hosts_.end();) {
      Host& host = *at->second;
      for (auto& waiting = host.waiting_; !waiting.empty(); waiting.erase(waiting.begin())) {
        if (waiting.begin()->first > now) {
          next = (std::min)(next, waiting.begin()->first);
          break;
        }
        answers.push_back({waiting.begin()->second, TooLate(host)});
        --waiting_;
      }
      next = (std::min)(next, CloseOld(host, now, closing));
      const bool unused = host.load_.in_flight == 0 && host.waiting_.empty() && host.idle_.empty();
      const SteadyTime forget = host.last_used_ + kRemember;
      if (unused && (host.load_.silent == 0 || forget <= now || hosts_.size() > kMaxHosts)) {
        if (host.in_ring_) ring_.remove(&host);
        at = hosts_.erase(at);
      } else {
        if (unused) next = (std::min)(next, forget);
        ++at;
      }
    }
    return next;
  }

  std::size_t Hosts() const { return hosts_.size(); }

 private:
  // A dead host nobody calls is remembered so long, and so many of them.
  static constexpr std::chrono::seconds kRemember{60};
  static constexpr std::size_t kMaxHosts = 4096;

  Host& HostAt(Url url) {
    std::string origin = url.Origin();
    auto found = hosts_.find(origin);
    if (found == hosts_.end()) {
      found = hosts_.emplace(std::move(origin), std::make_unique<Host>(std::move(url))).first;
    }
    return *found->second;
  }

  SteadyTime CloseOld(Host& host, SteadyTime now,
                      std::vector<std::unique_ptr<Connection>>& closing) {
    std::size_t old = 0;
    while (old < host.idle_.size() && host.idle_[old].since + options_.keep_idle <= now) {
      closing.push_back(std::move(host.idle_[old++].connection));
    }
    host.idle_.erase(host.idle_.begin(), host.idle_.begin() + static_cast<std::ptrdiff_t>(old));
    idle_ -= static_cast<int>(old);
    return host.idle_.empty() ? (SteadyTime::max)() : host.idle_.front().since + options_.keep_idle;
  }

  static Result TooLate(const Host& host) {
    return Result::NotSent("no slot for a call to " + host.url_.Origin() + " became free in time");
  }

  const HttpBranchOptions options_;
  HostLimits limits_;
  std::unordered_map<std::string, std::unique_ptr<Host>> hosts_;  ///< by origin
  std::list<Host*> ring_;                                         ///< hosts with waiting calls
  std::size_t waiting_ = 0;
  int idle_ = 0;  ///< connections
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/branches.hpp ---------------------------------------------------------------------

/// Calls branches by URL: threads that grow and shrink, connections that are kept, a queue per
/// host.
/// Needs: cpp-httplib, POSIX. Threads: as BranchCaller says; inside, one mutex over all state.
/// Protocol: §3 (calling branches).

#include <condition_variable>
#include <thread>

namespace dtm {
inline namespace v1 {

class UrlCaller final : public BranchCaller {
 public:
  explicit UrlCaller(HttpBranchOptions options) : options_(options), queue_(options) {
    FillRegexTable();
    housekeeper_ = std::thread([this] { KeepHouse(); });
  }

  UrlCaller(const UrlCaller&) = delete;
  UrlCaller& operator=(const UrlCaller&) = delete;
  ~UrlCaller() override { Stop(); }

  void Call(std::vector<BranchCall> calls, BranchResults& results) override {
    std::vector<Answer> answers;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return;
      const SteadyTime now = Clock::now();
      for (BranchCall& call : calls) {
        Job job{std::move(call), &results};
        if (auto refused = queue_.Push(job, now)) {
          answers.push_back({std::move(job), std::move(*refused)});
        } else {
          CheckBefore(now + job.call.timeout);
        }
      }
      WakeWorker();
    }
    Deliver(answers);
  }

  /// Waits for calls that hang in the resolver: getaddrinfo cannot be interrupted.
  void Stop() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      for (Worker& worker : workers_) worker.wake.notify_one();
      housekeeping_.notify_one();
    }
    if (housekeeper_.joinable()) housekeeper_.join();
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Milliseconds = std::chrono::milliseconds;

  // When a deadline has passed: first the worker may notice by itself, then its socket is broken,
  // and if even that does not help (the resolver hangs) the call is answered for it.
  static constexpr Milliseconds kBreakAfter{10};
  static constexpr Milliseconds kAnswerAfter{60};
  static constexpr Milliseconds kShortestNap{5};

  using Job = CallQueue::Job;
  using Answer = CallQueue::Answer;
  using Host = CallQueue::Host;

  struct Worker {
    std::thread thread;
    std::condition_variable wake;
    bool woken = false;
    std::optional<Job> job;            ///< taken by whoever answers it
    Connection* connection = nullptr;  ///< in use
    SteadyTime deadline{};
  };
  using WorkerAt = std::list<Worker>::iterator;

  // With the mutex held, where nothing else is said.

  /// One at a time: who wakes up and sees more work wakes the next. So fast branches are served by
  /// few threads, and slow ones get as many as they need within milliseconds.
  void WakeWorker() noexcept {
    if (waking_ || stopping_ || queue_.Next() == nullptr) return;
    if (!idle_.empty()) {
      Worker* worker = idle_.back();  // the one whose stack and connection are still warm
      idle_.pop_back();
      worker->woken = true;
      worker->wake.notify_one();
      waking_ = true;
      return;
    }
    if (static_cast<int>(workers_.size()) >= options_.limits.total) return;
    try {
      idle_.reserve(workers_.size() + 1);
      const WorkerAt worker = workers_.emplace(workers_.end());
      try {
        worker->thread = std::thread([this, worker] { Work(worker); });
        waking_ = true;
      } catch (...) {
        workers_.erase(worker);
      }
    } catch (...) {  // the threads there are go on; calls that come too late are answered NotSent
    }
  }

  void Work(WorkerAt self) {
    BlockSigpipe();
    std::unique_lock<std::mutex> lock(mutex_);
    waking_ = false;
    for (bool stay = true; stay && !stopping_;) {
      if (Host* host = queue_.Next()) {
        RunOne(*host, *self, lock);
      } else {
        stay = WaitForWork(*self, lock);
      }
    }
    finished_.splice(finished_.end(), workers_, self);
    housekeeping_.notify_one();
  }

  bool WaitForWork(Worker& self, std::unique_lock<std::mutex>& lock) {
    self.woken = false;
    idle_.push_back(&self);
    self.wake.wait_until(lock, Clock::now() + options_.keep_idle,
                         [&] { return self.woken || stopping_; });
    if (self.woken) {
      waking_ = false;
    } else {
      idle_.erase(std::find(idle_.begin(), idle_.end(), &self));
    }
    return self.woken;
  }

  void RunOne(Host& host, Worker& self, std::unique_lock<std::mutex>& lock) {
    const SteadyTime now = Clock::now();
    CallQueue::Taken taken = queue_.Take(host, now);
    Job& job = taken.job;
    if (!taken.too_late) {
      self.job = job;
      self.connection = taken.connection.get();
      self.deadline = now + job.call.timeout;
      CheckBefore(self.deadline + kBreakAfter);
    }
    WakeWorker();
    lock.unlock();
    if (taken.too_late) {
      Deliver(job, std::move(*taken.too_late));
      lock.lock();
      return;
    }
    CallOutcome reply = Send(host, job, taken.connection, self);
    lock.lock();
    self.connection = nullptr;
    const SteadyTime end = Clock::now();
    queue_.Return(host, reply.silent, taken.connection, end);
    CheckBefore(end + options_.keep_idle);
    const bool answer = self.job.has_value() && !stopping_;
    self.job.reset();
    lock.unlock();
    taken.connection.reset();  // closing may take a while
    if (answer) Deliver(job, std::move(reply.result));
    lock.lock();
  }

  /// Without the mutex.
  CallOutcome Send(Host& host, const Job& job, std::unique_ptr<Connection>& connection,
                   Worker& self) {
    try {
      if (!connection) {
        connection = std::make_unique<Connection>(host.Where());
        const std::lock_guard<std::mutex> lock(mutex_);
        self.connection = connection.get();
      }
      Url url = ParseUrl(job.call.Url());
      return connection->Send(job.call, url, self.deadline);
    } catch (const std::exception& error) {
      return {Result::Error(StorableText(error.what())), false};
    } catch (...) {
      return {Result::Error("the call to " + host.Where().Origin() + " failed"), false};
    }
  }

  void CheckBefore(SteadyTime time) {
    if (time >= next_check_) return;
    next_check_ = time;
    housekeeping_.notify_one();
  }

  /// What has to happen at some time, and is nobody else's work.
  void KeepHouse() {
    BlockSigpipe();
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stopping_ || !workers_.empty()) {
      while (!stopping_ && finished_.empty() && Clock::now() < next_check_) {
        housekeeping_.wait_until(lock, next_check_);
      }
      const SteadyTime now = Clock::now();
      next_check_ = now + std::chrono::hours(1);
      std::vector<Answer> answers;
      std::vector<std::unique_ptr<Connection>> closing;
      std::list<Worker> finished = std::move(finished_);
      finished_.clear();
      try {
        CheckWorkers(now, answers);
        next_check_ = (std::min)(next_check_, queue_.Check(now, answers, closing));
      } catch (const std::bad_alloc&) {  // what was not looked at is looked at again
        next_check_ = now + kShortestNap;
      }
      WakeWorker();
      next_check_ = (std::max)(next_check_, now + kShortestNap);
      const bool deliver = !stopping_;
      lock.unlock();
      if (deliver) Deliver(answers);
      closing.clear();
      for (Worker& worker : finished) worker.thread.join();
      finished.clear();
      lock.lock();
      if (stopping_ && finished_.empty() && !workers_.empty()) {
        housekeeping_.wait_for(lock, kBreakAfter);
      }
    }
    for (Worker& worker : finished_) worker.thread.join();
    finished_.clear();
  }

  void CheckWorkers(SteadyTime now, std::vector<Answer>& answers) {
    for (Worker& worker : workers_) {
      const bool working = worker.connection != nullptr || worker.job.has_value();
      if (!working) continue;
      const SteadyTime overdue = worker.deadline + kBreakAfter;
      if (overdue > now && !stopping_) {
        next_check_ = (std::min)(next_check_, overdue);
        continue;
      }
      next_check_ = (std::min)(next_check_, now + kBreakAfter);
      if (worker.connection != nullptr) worker.connection->Break();
      if (worker.job.has_value() && worker.deadline + kAnswerAfter <= now) {
        Result result = Result::Error("gave no answer in time: " + worker.job->call.Url());
        answers.push_back({std::move(*worker.job), std::move(result)});
        worker.job.reset();
      }
    }
  }

  /// Without the mutex.
  static void Deliver(std::vector<Answer>& answers) {
    for (Answer& answer : answers) Deliver(answer.job, std::move(answer.result));
  }
  static void Deliver(const Job& job, Result result) {
    try {
      job.results->Done(job.call, std::move(result));
    } catch (...) {  // not ours to mend, and no reason to end the process
    }
  }

  const HttpBranchOptions options_;
  std::mutex mutex_;
  CallQueue queue_;
  std::list<Worker> workers_;
  std::list<Worker> finished_;  ///< to be joined
  std::vector<Worker*> idle_;
  bool waking_ = false;
  bool stopping_ = false;
  SteadyTime next_check_{};
  std::condition_variable housekeeping_;
  std::thread housekeeper_;
};

/// Branches are called with cpp-httplib. Each call in flight takes a thread and a file descriptor:
/// `ulimit -n` should be above `limits.total`.
inline std::unique_ptr<BranchCaller> HttpBranches(HttpBranchOptions options = {}) {
  return std::make_unique<UrlCaller>(options);
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http.hpp ------------------------------------------------------------------------------

/// Adds HTTP to <dtm/dtm.hpp>: branches by URL.
/// Needs: cpp-httplib. Threads: see the headers.
