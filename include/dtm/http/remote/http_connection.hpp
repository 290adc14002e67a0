/// One request and its answer on a connection that is kept, whoever the other side is.
/// Needs: POSIX. Threads: one at a time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include <dtm/core/url.hpp>
#include <dtm/http/hosts/blocking_host.hpp>
#include <dtm/http/hosts/http_call.hpp>
#include <dtm/http/http1/request_reply.hpp>
#include <dtm/http/wire/retry_after.hpp>

namespace dtm {
inline namespace v1 {

/// What came of a request.
struct Exchanged {
  bool answered = false;  ///< a status line and headers came
  bool whole = false;     ///< and all of its body
  bool too_long = false;
  bool encoded = false;
  int status = 0;
  Duration retry_after{};  ///< of a 425, 429 or 503: do not ask again before
  std::string body;
  std::string problem;  ///< why there is no whole answer, in words

  bool Complete() const { return whole && !too_long && !encoded; }

  std::string Problem() const {
    if (too_long) return "its answer is too long";
    return whole && encoded ? "its answer is compressed" : problem;
  }
};

class HttpConnection {
 public:
  HttpConnection(const Url& url, std::size_t max_body, std::shared_ptr<TlsClient> tls = nullptr)
      : max_body_(max_body), host_(url, std::move(tls)) {}

  /// Afterwards IsOpen() says whether the connection can take another request.
  Exchanged Send(const http1::HttpRequest& request, SteadyTime deadline) {
    One one;
    one.request = RequestText(request);
    one.deadline = deadline;
    one.keep_body = max_body_;
    one.max_body = (std::max)(one.max_body, max_body_);
    host_.Send(one);
    return std::move(one.reply);
  }

  bool IsOpen() const { return host_.IsOpen(); }

 private:
  struct One final : hosts::HttpCall {
    void OnDone(hosts::HttpOutcome outcome) override {
      using Kind = hosts::HttpOutcome::Kind;
      reply.answered = outcome.status != 0;
      reply.whole = outcome.kind == Kind::kReply;
      reply.too_long = outcome.cut || outcome.kind == Kind::kTooLong;
      reply.encoded = outcome.encoded;
      reply.status = outcome.status;
      reply.body = std::move(outcome.body);
      reply.problem =
          outcome.kind == Kind::kLate ? "it gave no answer in time" : "it " + outcome.problem;
      if (!wire::retry_after::Counts(outcome.status) || outcome.head == nullptr) return;
      reply.retry_after = wire::retry_after::Wait(
          outcome.head->Find("retry-after"), std::string(outcome.head->Find("date")),
          std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()));
    }
    Exchanged reply;
  };

  const std::size_t max_body_;
  hosts::BlockingHost host_;
};

}  // namespace v1
}  // namespace dtm
