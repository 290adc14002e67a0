/// One branch call on one keep-alive connection: builds the request, reads the answer.
/// Needs: cpp-httplib, POSIX. Threads: one at a time, but for Break(); SIGPIPE must be blocked.
/// Protocol: §1 (Rule A), §3 (calling branches).
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include <httplib.h>

#include <dtm/coordinator/branch_caller.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/text.hpp>
#include <dtm/http/guarded_client.hpp>
#include <dtm/http/reply_rule.hpp>
#include <dtm/http/url.hpp>
#include <dtm/http/wire.hpp>

namespace dtm {
inline namespace v1 {

struct CallOutcome {
  Result result;
  bool silent = false;  ///< timed out or could not be reached, see HostLimits
};

namespace headers {

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
    std::string lower = Lowered(name);
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
      const std::string coding = Lowered(response.get_header_value("Content-Encoding"));
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
