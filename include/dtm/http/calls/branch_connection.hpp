/// One branch call on one keep-alive connection: builds the request, reads the answer.
/// Needs: cpp-httplib, POSIX. Threads: one at a time, but for Break(); SIGPIPE must be blocked.
/// Protocol: §1 (Rule A), §3 (calling branches).
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include <httplib.h>

#include <dtm/base/text.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/httplib/guarded_client.hpp>
#include <dtm/http/httplib/http_connection.hpp>
#include <dtm/http/wire/json_rpc.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/reply_rule.hpp>

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
  if (json_rpc::Speaks(*call.definition, url)) {
    request.method = "POST";
    request.path = url.target;
    request.body = json_rpc::BranchBody(url, call.Payload(), call.Info());
  } else {
    request.method = wire::BranchMethod(call.definition->type, call.Payload());
    request.path = wire::BranchTarget(url.target, call.Info());
    request.body = call.Payload();
  }
  // By the name in lower case; the last of equal ones counts.
  std::map<std::string, std::pair<const std::string*, const std::string*>> given;
  for (const auto& [name, value] : call.definition->options.branch_headers) {
    if (!headers::ValidName(name) || !headers::ValidValue(value)) {
      throw Error("the branch header \"" + StorableText(name) +
                  "\" has a name or value that HTTP does not allow; the call was not sent");
    }
    std::string lower = Lowered(name);
    if (!headers::IsFraming(lower)) given[std::move(lower)] = {&name, &value};
  }
  const auto otherwise = [&](const char* lower, const char* name, const std::string& value) {
    if (given.count(lower) == 0) request.set_header(name, value);
  };
  otherwise("host", "Host", url.Authority());
  otherwise("content-type", "Content-Type", wire::kJson);
  otherwise("accept", "Accept", wire::kJson);
  // A few bytes of gzip can be gigabytes of answer.
  otherwise("accept-encoding", "Accept-Encoding", "identity");
  otherwise("user-agent", "User-Agent", wire::UserAgent());
  if (!url.credentials.empty()) {
    otherwise("authorization", "Authorization", BasicAuthorization(url));
  }
  for (const auto& [lower, header] : given) {
    // Blanks around a value are none of it (RFC 9110); newer httplib would leave the header out.
    request.set_header(*header.first, std::string(Trimmed(*header.second)));
  }
  return request;
}

class BranchConnection {
 public:
  explicit BranchConnection(const Url& url)
      : origin_(url.Origin()), connection_(url, kMaxReplyBytes) {}

  /// Throws Error if the call cannot be sent as it is. Afterwards IsOpen() says whether the
  /// connection can take another call.
  CallOutcome Send(const BranchCall& call, const Url& url, SteadyTime deadline) {
    connection_.LimitBody(MaxBody(call));
    const Exchanged attempt = connection_.Send(BranchRequest(call, url), deadline);
    CallOutcome outcome =
        Interpret(attempt, call, json_rpc::Speaks(*call.definition, url), deadline);
    outcome.result.retry_after = attempt.retry_after;
    return outcome;
  }

  bool IsOpen() const { return connection_.IsOpen(); }

  /// Any thread: ends what Send waits for, as far as there is a socket yet.
  void Break() { connection_.Break(); }

 private:
  /// An answer that somebody wants may be as long as what he can keep of it.
  static std::size_t MaxBody(const BranchCall& call) {
    return call.keep_body ? kMaxPayloadBytes : kMaxReplyBytes;
  }

  CallOutcome Interpret(const Exchanged& attempt, const BranchCall& call, bool as_json_rpc,
                        SteadyTime deadline) const {
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
      CallOutcome outcome =
          attempt.encoded
              ? error(what + " and a compressed body; answer branch calls without it", false)
              : error(what + " and a body of more than " + std::to_string(MaxBody(call)) +
                          " bytes; answer branch calls with less",
                      false);
      outcome.result.done = attempt.status == 200;
      return outcome;
    }
    switch (attempt.error) {
      case Kind::Success: {
        CallOutcome outcome{as_json_rpc ? json_rpc::ReadReply(attempt.status, attempt.body)
                                        : ReadReply(attempt.status, attempt.body),
                            false};
        const bool success = outcome.result.kind == Result::Kind::kSuccess;
        if (call.keep_body && success) outcome.result.text = attempt.body;
        return outcome;
      }
      case Kind::Connection:
      case Kind::ConnectionTimeout:
        if (HttpConnection::Passed(deadline)) break;
        return error("cannot be reached: " + attempt.Problem(), true);
      case Kind::Read:
      case Kind::Write:
        if (HttpConnection::Passed(deadline)) break;
        return error(attempt.answered ? "broke off its answer"
                                      : "closed the connection without a valid HTTP answer",
                     false);
      default:
        if (HttpConnection::Passed(deadline)) break;
        return error("failed: " + httplib::to_string(attempt.error), true);
    }
    return error("gave no answer within " + Milliseconds(call.timeout), true);
  }

  static std::string Milliseconds(Duration time) {
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count()) +
           " ms";
  }

  std::string origin_;
  HttpConnection connection_;
};

}  // namespace v1
}  // namespace dtm
