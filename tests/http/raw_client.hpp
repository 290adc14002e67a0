/// A client that sends exactly the bytes a test wants, a server to send them to, and tables of
/// requests with their answers.
/// Needs: POSIX sockets on loopback. Threads: one per client; tables by the thread of the test.
#pragma once

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/http/two_nodes.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/http/server.hpp>
#include <dtm/store/memory.hpp>

namespace dtm_test {

using Clock = std::chrono::steady_clock;
using Ms = std::chrono::milliseconds;
using Json = nlohmann::ordered_json;

struct RawReply {
  int status = 0;       ///< 0: there was no whole answer; `problem` says why
  std::string problem;  ///< "closed", "reset", "silence", or what is wrong with the bytes
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case
  std::string body;

  std::string Header(const std::string& name) const {
    for (const auto& header : headers) {
      if (header.first == name) return header.second;
    }
    return {};
  }
  Json Parsed() const { return Json::parse(body, nullptr, false); }
};

/// One connection. Nothing it does takes longer than `limit`.
class RawClient {
 public:
  explicit RawClient(int port, Ms limit = Ms(10000)) : limit_(limit) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<in_port_t>(port));
    (void)::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  RawClient(RawClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), limit_(other.limit_), bytes_(std::move(other.bytes_)) {}
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  RawClient& operator=(RawClient&&) = delete;
  ~RawClient() {
    if (fd_ >= 0) ::close(fd_);
  }

  /// False: the server does not take it all; it has answered already, has gone, or is deaf.
  bool Send(const std::string& text) {
    const auto deadline = Clock::now() + limit_;
    std::size_t at = 0;
    while (at < text.size()) {
      const ssize_t sent = ::send(fd_, text.data() + at, text.size() - at, MSG_NOSIGNAL);
      if (sent > 0) {
        at += static_cast<std::size_t>(sent);
      } else if (errno != EAGAIN || (Wait(POLLOUT | POLLIN, deadline) & POLLOUT) == 0) {
        return false;
      }
    }
    return true;
  }

  /// Says that no more will come; answers can still be read.
  void EndOfSending() { ::shutdown(fd_, SHUT_WR); }

  /// Whether there is something to read, or the end, within this time.
  bool Readable(Ms limit) {
    return !bytes_.empty() || (Wait(POLLIN, Clock::now() + limit) & POLLIN) != 0;
  }

  /// The next answer, interim ones (1xx) too. `head`: of a HEAD request, which has no body.
  RawReply Read(bool head = false) {
    const auto deadline = Clock::now() + limit_;
    RawReply reply;
    std::size_t end = 0;
    while ((end = bytes_.find("\r\n\r\n")) == std::string::npos) {
      if (!More(deadline, reply)) return reply;
    }
    const int status = ParseHead(bytes_.substr(0, end + 2), reply);
    bytes_.erase(0, end + 4);
    if (!reply.problem.empty()) return reply;
    const bool bodiless = head || status < 200 || status == 204 || status == 304;
    const std::string length = reply.Header("content-length");
    const bool whole =
        bodiless                                         ? true
        : reply.Header("transfer-encoding") == "chunked" ? ReadChunks(deadline, reply)
        : length.empty()                                 ? ReadToTheEnd(deadline, reply)
                         : Take(std::strtoul(length.c_str(), nullptr, 10), deadline, reply);
    if (whole) reply.status = status;
    return reply;
  }

  /// Everything until the server closes.
  std::vector<RawReply> ReadAll() {
    std::vector<RawReply> replies;
    do replies.push_back(Read());
    while (replies.back().status != 0);
    return replies;
  }

  /// The server closes, without another byte.
  bool Closed() {
    RawReply reply;
    while (bytes_.empty() && More(Clock::now() + limit_, reply)) {
    }
    return bytes_.empty() && (reply.problem == "closed" || reply.problem == "reset");
  }

 private:
  int Wait(int events, Clock::time_point deadline) const {
    const auto left = std::chrono::ceil<Ms>(deadline - Clock::now()).count();
    pollfd entry{fd_, static_cast<short>(events), 0};
    if (::poll(&entry, 1, left > 0 ? static_cast<int>(left) : 0) <= 0) return 0;
    return entry.revents;
  }

  bool More(Clock::time_point deadline, RawReply& reply) {
    if (Wait(POLLIN, deadline) == 0) {
      reply.problem = "silence";
      return false;
    }
    char buffer[65536];
    const ssize_t got = ::recv(fd_, buffer, sizeof buffer, 0);
    if (got > 0) {
      bytes_.append(buffer, static_cast<std::size_t>(got));
    } else {
      reply.problem = got == 0 ? "closed" : "reset";
    }
    return got > 0;
  }

  bool Take(std::size_t count, Clock::time_point deadline, RawReply& reply) {
    while (bytes_.size() < count) {
      if (!More(deadline, reply)) return false;
    }
    reply.body += bytes_.substr(0, count);
    bytes_.erase(0, count);
    return true;
  }

  bool ReadChunks(Clock::time_point deadline, RawReply& reply) {
    for (;;) {
      std::size_t end = 0;
      while ((end = bytes_.find("\r\n")) == std::string::npos) {
        if (!More(deadline, reply)) return false;
      }
      const std::size_t size = std::strtoul(bytes_.c_str(), nullptr, 16);
      bytes_.erase(0, end + 2);
      if (!Take(size + 2, deadline, reply)) return false;
      reply.body.resize(reply.body.size() - 2);
      if (size == 0) return true;
    }
  }

  bool ReadToTheEnd(Clock::time_point deadline, RawReply& reply) {
    while (More(deadline, reply)) {
    }
    reply.body = std::exchange(bytes_, {});
    if (reply.problem != "closed") return false;
    reply.problem.clear();
    return true;
  }

  static int ParseHead(const std::string& head, RawReply& reply) {
    std::size_t at = head.find("\r\n") + 2;
    if (head.compare(0, 7, "HTTP/1.") != 0 || head.size() < 14) {
      reply.problem = "no status line: " + head.substr(0, 100);
      return 0;
    }
    while (at < head.size()) {
      const std::size_t end = head.find("\r\n", at);
      const std::size_t colon = head.find(": ", at);
      if (colon >= end) {
        reply.problem = "no header: " + head.substr(at, end - at);
        return 0;
      }
      std::string name = head.substr(at, colon - at);
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      reply.headers.emplace_back(std::move(name), head.substr(colon + 2, end - colon - 2));
      at = end + 2;
    }
    return std::atoi(head.c_str() + 9);
  }

  int fd_ = -1;
  const Ms limit_;
  std::string bytes_;
};

/// A whole request. `path` is below the base, or begins with a slash; `headers` end with CRLF.
inline std::string Request(const std::string& method, const std::string& path,
                           const std::string& headers = {}, const std::string& body = {}) {
  const std::string target = path[0] == '/' ? path : "/api/dtmsvr/" + path;
  const bool host = headers.find("Host:") == std::string::npos;
  std::string text = method + " " + target + " HTTP/1.1\r\n";
  text += (host ? "Host: localhost\r\n" : "") + headers;
  if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + body;
}
inline std::string Get(const std::string& path, const std::string& headers = {}) {
  return Request("GET", path, headers);
}
inline std::string Post(const std::string& path, const std::string& body,
                        const std::string& headers = {}) {
  return Request("POST", path, headers, body);
}
/// A POST whose body comes in chunks of this size.
inline std::string Chunked(const std::string& path, const std::string& body, std::size_t size) {
  std::string text = Request("POST", path, "Transfer-Encoding: chunked\r\n");
  for (std::size_t at = 0; at < body.size(); at += size) {
    const std::string chunk = body.substr(at, size);
    char length[24];
    std::snprintf(length, sizeof length, "%zx\r\n", chunk.size());
    text += length + chunk + "\r\n";
  }
  return text + "0\r\n\r\n";
}

/// The body of a saga; `more` is what comes behind, beginning with a comma.
inline std::string Saga(const std::string& gid, const std::string& more = {}) {
  return R"({"gid":")" + gid + R"(","trans_type":"saga")" + more + "}";
}
/// One step, as `more`.
inline std::string Step(const std::string& action, const std::string& compensate = {},
                        const std::string& payload = "{}") {
  return R"(,"steps":[{"action":")" + action + R"(","compensate":")" + compensate +
         R"("}],"payloads":[)" + Json(payload).dump() + "]";
}

/// Branches by URL that answer at once what the end of their url says; `hang` never does.
class TalkingBranches : public dtm::BranchCaller {
 public:
  void Call(std::vector<dtm::BranchCall> calls, dtm::BranchResults& results) override {
    for (const dtm::BranchCall& call : calls) {
      const std::string word = call.Url().substr(call.Url().rfind('/') + 1);
      if (word == "ok") results.Done(call, dtm::Result::Success());
      if (word == "fail") results.Done(call, dtm::Result::Failure("no money"));
      if (word == "wait") results.Done(call, dtm::Result::Ongoing("later"));
      if (word == "error") results.Done(call, dtm::Result::Error("boom"));
    }
  }
  void Stop() override {}
};

/// A coordinator in memory, and its server; or two dtm-server on one database, see two_nodes.hpp.
class Api {
 public:
  explicit Api(const dtm::ServerOptions& options = {})
      : server(tm, options),
        token_(options.token.empty() ? "" : "Authorization: Bearer " + options.token + "\r\n") {
    if (TwoServers::Asked()) {
      two_ = std::make_unique<TwoNodes>(options.token);
      return;
    }
    tm.Use(std::make_unique<TalkingBranches>());
    tm.Start();
    port_ = server.Start("127.0.0.1", 0);
  }

  bool AtTwoNodes() const { return two_ != nullptr; }
  /// Where requests go; of two nodes, to one of them.
  int Port() const { return two_ ? two_->Port() : port_; }

  /// The final answer to a request, on a connection of its own.
  RawReply Ask(const std::string& request) const {
    RawClient client(Port());
    (void)client.Send(two_ ? two_->ToServers(request) : request);
    RawReply reply = client.Read(request.compare(0, 5, "HEAD ") == 0);
    while (reply.status / 100 == 1) reply = client.Read();
    const bool says_so = reply.Header("connection") == "close";
    const bool has_to = reply.status == 413 || reply.status == 415;
    if ((says_so || has_to) && !client.Closed()) reply.problem = "the connection stays open";
    if (two_) reply.body = two_->FromServers(std::move(reply.body));
    return reply;
  }

  /// A transaction as the query shows it; null if it is not stored.
  Json Shown(const std::string& gid) const {
    return Ask(Get("query?gid=" + dtm::PercentEncoded(gid), token_)).Parsed()["transaction"];
  }
  bool Stored(const std::string& gid) const { return !Shown(gid).is_null(); }

  dtm::Coordinator tm{std::make_unique<dtm::MemoryStore>(), Quiet()};
  dtm::Server server;

 private:
  const std::string token_;  ///< as a header
  std::unique_ptr<TwoNodes> two_;
  int port_ = 0;
};

/// A request and its answer. `body` is the exact body, with `*` for anything; or, for an error,
/// words of which the sentence must contain one, separated by `|`.
struct Row {
  std::string name;
  std::string request;
  int status;
  std::string body;
};

inline const char kDone[] = R"({"dtm_result":"SUCCESS"})";
inline const char kNotFound[] = "404 page not found";

inline bool Matches(const std::string& text, const std::string& pattern, std::size_t t = 0,
                    std::size_t p = 0) {
  for (; p < pattern.size() && pattern[p] != '*'; ++t, ++p) {
    if (t >= text.size() || text[t] != pattern[p]) return false;
  }
  if (p == pattern.size()) return t == text.size();
  while (t <= text.size() && !Matches(text, pattern, t, p + 1)) ++t;
  return t <= text.size();
}

/// Whether the body is what an error of this status looks like, with one of the words.
inline bool IsSentence(const RawReply& reply, const std::string& words) {
  std::string start = R"({"message":")";
  if (reply.status == 409) start = R"({"dtm_result":"FAILURE","message":")";
  if (reply.status == 425) start = R"({"dtm_result":"ONGOING","message":")";
  const Json json = reply.Parsed();
  const bool rejected = reply.status == 409 && json.is_object() && json.value("rejected", false);
  const std::size_t keys = start[2] == 'm' ? 1 : rejected ? 3 : 2;
  if (reply.body.compare(0, start.size(), start) != 0 || json.size() != keys) return false;
  const std::string message = json["message"];
  if (message.empty()) return false;
  for (std::size_t at = 0; at <= words.size();) {
    const std::size_t end = (std::min)(words.find('|', at), words.size());
    if (message.find(words.substr(at, end - at)) != std::string::npos) return true;
    at = end + 1;
  }
  return false;
}

/// What is wrong with an answer; nothing if it is right.
inline std::string Wrong(const RawReply& reply, int status, const std::string& body) {
  const std::string shown = std::to_string(reply.status) + " " + reply.problem + " " +
                            reply.body.substr(0, 400) + "\n  wanted: " + std::to_string(status) +
                            " " + body;
  if (reply.status != status || !reply.problem.empty()) return shown;
  const bool exact = status < 400 || status == 404 || body[0] == '{';
  if (exact ? !Matches(reply.body, body) : !IsSentence(reply, body)) return shown;
  const std::string type = status == 404 ? "text/plain" : "application/json; charset=utf-8";
  if (reply.Header("content-type").compare(0, type.size(), type) != 0) {
    return "Content-Type: " + reply.Header("content-type") + " of " + shown;
  }
  if (reply.body.find_first_of("<>&") != std::string::npos) return "not escaped: " + shown;
  if (status == 401 && reply.Header("www-authenticate") != "Bearer") return "no Bearer: " + shown;
  if (status == 503 && reply.Header("retry-after") != "1") return "no Retry-After: " + shown;
  return {};
}

/// Asks in this order, each on a connection of its own.
inline void CheckRows(const Api& api, const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    INFO(row.name.substr(0, 100) << "\n" << row.request.substr(0, 300));
    CHECK(Wrong(api.Ask(row.request), row.status, row.body) == "");
  }
}

/// The gid of everything that must not be stored.
inline const std::string kNever = "never-stored";

/// The body, submitted: accepted.
inline Row Good(const std::string& name, const std::string& body) {
  return {name, Post("submit", body), 200, kDone};
}
/// The body, submitted: refused with one of the words.
inline Row Bad(const std::string& name, const std::string& body, const std::string& words = {}) {
  return {name, Post("submit", body), 400, words};
}
/// A saga with this behind its gid and type: refused with one of the words.
inline Row BadSaga(const std::string& more, const std::string& words) {
  return Bad(more, Saga(kNever, more), words);
}

inline std::string Repeated(const std::string& text, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += text;
  return all;
}

}  // namespace dtm_test
