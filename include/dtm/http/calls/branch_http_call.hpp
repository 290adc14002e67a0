/// A branch call in flight: the request, and the result that its reply stands for.
/// Needs: nlohmann/json. Threads: one at a time. Protocol: §1 (Rule A), §3 (calling branches).
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/calls/branch_request.hpp>
#include <dtm/http/hosts/http_call.hpp>
#include <dtm/http/http1/request_reply.hpp>
#include <dtm/http/wire/json_rpc.hpp>
#include <dtm/http/wire/reply_rule.hpp>
#include <dtm/http/wire/retry_after.hpp>

namespace dtm {
inline namespace v1 {

struct CallOutcome {
  Result result;
  bool silent = false;  ///< timed out or could not be reached, see HostLimits
};

/// Finds the words of Rule A in what is read of a body but not kept.
class WordsBeyond {
 public:
  void Look(std::string_view piece, std::size_t kept) {
    if (kept < piece.size()) {
      const std::string text = tail_ + std::string(piece);
      ongoing_ = ongoing_ || text.find("ONGOING") != std::string::npos;
      failure_ = failure_ || text.find("FAILURE") != std::string::npos;
    }
    constexpr std::size_t kWord = 7;
    tail_ = piece.size() < kWord ? tail_ + std::string(piece) : std::string(piece);
    if (tail_.size() >= kWord) tail_.erase(0, tail_.size() - (kWord - 1));
  }

  /// The one that counts, or nothing.
  const char* Found() const { return ongoing_ ? "ONGOING" : failure_ ? "FAILURE" : ""; }

 private:
  std::string tail_;  ///< less than a word, before the next piece
  bool ongoing_ = false;
  bool failure_ = false;
};

/// Somebody who is told takes the rest.
class BranchHttpCall : public hosts::HttpCall {
 public:
  /// A longer body is not read to its end. This limit is against abuse only.
  static constexpr std::size_t kMaxReadBytes = std::size_t{8} * 1024 * 1024;

  /// @throws Error  it cannot be sent as it is.
  BranchHttpCall(const BranchCall& call, const Url& url, SteadyTime until)
      : json_rpc_(wire::json_rpc::Speaks(*call.definition, url)),
        wanted_(json_rpc_ || call.keep_body) {
    request = RequestText(BranchRequest(call, url));
    deadline = until;
    keep_body = Kept();
    max_body = kMaxReadBytes;
  }

  void OnBody(std::string_view piece, std::size_t kept) override {
    if (!wanted_) beyond_.Look(piece, kept);
  }

  CallOutcome Interpret(hosts::HttpOutcome& outcome, const BranchCall& call, const Url& url) const {
    CallOutcome told = ToldBy(outcome, call, url);
    if (wire::retry_after::Counts(outcome.status) && outcome.head != nullptr) {
      told.result.retry_after = wire::retry_after::Wait(
          outcome.head->Find("retry-after"), std::string(outcome.head->Find("date")),
          std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()));
    }
    return told;
  }

 private:
  using Kind = hosts::HttpOutcome::Kind;

  /// A reply that somebody wants may be as long as what he can keep of it.
  std::size_t Kept() const { return wanted_ ? kMaxPayloadBytes : kMaxReplyBytes; }

  CallOutcome ToldBy(hosts::HttpOutcome& outcome, const BranchCall& call, const Url& url) const {
    const auto error = [&url](const std::string& text, bool silent) {
      return CallOutcome{Result::Error(wire::StorableText(url.Origin() + " " + text)), silent};
    };
    switch (outcome.kind) {
      case Kind::kReply:
        if (outcome.encoded || (wanted_ && outcome.cut)) break;
        return Whole(outcome, call);
      case Kind::kTooLong: break;
      case Kind::kNotAllowed: return {LeaseOver(), false};
      case Kind::kLate:
        return error(
            "gave no answer within " +
                std::to_string(
                    std::chrono::duration_cast<std::chrono::milliseconds>(call.timeout).count()) +
                " ms",
            true);
      default: return error(outcome.problem, outcome.kind == Kind::kNotReached);
    }
    // What the status says is definite; what a word in the rest of the body says is not known.
    if (outcome.status == 409 || outcome.status == 425) {
      return {wire::ReadReply(outcome.status, outcome.encoded ? std::string() : outcome.body),
              false};
    }
    if (outcome.crowded && outcome.kind == Kind::kReply && !outcome.encoded)
      return error(hosts::HttpOutcome::kNoRoom, false);
    const std::size_t limit = outcome.kind == Kind::kTooLong ? max_body : keep_body;
    CallOutcome told =
        error("answered with HTTP status " + std::to_string(outcome.status) +
                  (outcome.encoded ? " and a compressed body; answer branch calls without it"
                                   : " and a body of more than " + std::to_string(limit) +
                                         " bytes; answer branch calls with less"),
              false);
    told.result.done = outcome.status == 200;
    return told;
  }

  CallOutcome Whole(hosts::HttpOutcome& outcome, const BranchCall& call) const {
    std::string& body = outcome.body;
    if (outcome.cut) body += beyond_.Found();
    CallOutcome told{json_rpc_ ? wire::json_rpc::ReadReply(outcome.status, body)
                               : wire::ReadReply(outcome.status, body),
                     false};
    if (call.keep_body && told.result.kind == Result::Kind::kSuccess)
      told.result.text = std::move(body);
    return told;
  }

  const bool json_rpc_;
  const bool wanted_;
  WordsBeyond beyond_;
};

}  // namespace v1
}  // namespace dtm
