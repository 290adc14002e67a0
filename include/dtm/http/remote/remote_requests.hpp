/// Requests to a coordinator elsewhere, on connections that are kept; an answer that is neither yes nor no.
/// Needs: POSIX, nlohmann/json. Threads: thread-safe. Protocol: §2, §11.1, Rule B.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/base/option_range.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/remote/http_connection.hpp>
#include <dtm/http/wire/base64.hpp>
#include <dtm/http/wire/json_input.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/reply_rule.hpp>

namespace dtm {
inline namespace v1 {

struct RemoteOptions {
  /// The time for one request to the coordinator, 1 ms to 1 day. With wait_result the reply may take up to 6 s.
  Duration timeout = std::chrono::seconds(10);
  /// The token that its dtm::Server requires; empty = none.
  std::string token;
  /// The URL at which the coordinator reaches a dtm::Server of this program, to call registered functions:
  /// "http://this-host:36789/api/dtmsvr/branch". Empty = functions cannot be branches.
  std::string branch_url;
  /// The URL at which branches reach the coordinator (those of a tcc or xa are told it); empty = `url`.
  std::string url_in_branches;
  /// For https, to the coordinator and to branches: dtm::Tls() of <dtm/http/tls.hpp>.
  std::shared_ptr<TlsClient> tls;
};

/// The meaning of a reply, from its fields; words elsewhere in its body do not count.
struct Said {
  std::string result;                  ///< dtm_result: SUCCESS, FAILURE, ONGOING, or empty
  std::optional<std::string> message;  ///< nothing: it is not a reply of dtm, or has no message
  bool rejected = false;               ///< nothing was changed; the Go server does not report it
};

inline Said SaidIn(const Exchanged& reply) {
  Said said;
  const nlohmann::json body = wire::json_input::Parse(reply.body);
  if (!body.is_object()) return said;
  const auto text = [&body](const char* key) {
    const auto found = body.find(key);
    const bool told = found != body.end() && found->is_string();
    return told ? std::optional(found->get<std::string>()) : std::nullopt;
  };
  said.result = text(wire::kDtmResult).value_or("");
  said.message = text(wire::kMessage);
  const auto rejected = body.find(wire::kRejected);
  said.rejected = rejected != body.end() && *rejected == true;
  return said;
}

class RemoteRequests {
 public:
  /// @throws Error  it is no URL; LogicError: an option is out of its range.
  RemoteRequests(const std::string& url, RemoteOptions options)
      : url_(ParseHttpUrl(url, "the URL of the coordinator")), options_(std::move(options)) {
    option_range::Check("timeout", options_.timeout, option_range::kShortest, kMaxOptionSeconds);
    CheckUrlOption("branch_url", options_.branch_url);
    CheckUrlOption("url_in_branches", options_.url_in_branches);
    while (!url_.target.empty() && url_.target.back() == '/') url_.target.pop_back();
  }

  std::string Where() const { return url_.Origin() + url_.target; }

  Exchanged Post(const char* path, const std::string& gid, std::string body) {
    return Send("POST", path, gid, std::move(body));
  }

  /// @throws InDoubtError  there was no complete answer.
  Exchanged Send(const char* method, const std::string& path, const std::string& gid,
                 std::string body) {
    http1::HttpRequest request;
    request.method = method;
    request.target = url_.target + path;
    request.body = std::move(body);
    request.Set("Host", url_.Authority());
    request.Set("Content-Type", wire::kJson);
    request.Set("Accept-Encoding", "identity");
    request.Set("User-Agent", wire::UserAgent());
    if (!options_.token.empty()) {
      request.Set("Authorization", "Bearer " + options_.token);
    } else if (!url_.credentials.empty()) {
      request.Set("Authorization", wire::BasicAuthorization(url_));
    }
    std::unique_ptr<HttpConnection> exchange = TakeIdle();
    Exchanged reply =
        exchange->Send(request, Later(std::chrono::steady_clock::now(), options_.timeout));
    if (!reply.Complete()) {
      throw InDoubtError(NoAnswer(gid) + reply.Problem());
    }
    Keep(std::move(exchange));
    return reply;
  }

  std::string NoAnswer(const std::string& gid) const {
    return "gid '" + gid + "' may or may not be stored, the coordinator at " + Where() +
           " gave no answer; submit it again: ";
  }

  static std::string MessageOf(const Exchanged& reply) {
    return wire::StorableText(SaidIn(reply).message.value_or(reply.body));
  }

  static RejectedError Refused(const std::string& gid, const std::string& message) {
    return RejectedError("gid '" + gid + "' was refused: " + message);
  }

  /// Yes, or a definite no (Rule B, but read from fields: a gid may contain any word). Any web page may reply 200; dtm
  /// also replies SUCCESS.
  /// @throws InDoubtError, BusyError, RejectedError  it was neither (see Refuse), or the reply is not dtm's.
  bool SaysYes(const std::string& gid, const Exchanged& reply) const {
    const Said said = SaidIn(reply);
    if (reply.status == 200 && said.result == wire::kSuccess) return true;
    const bool definite = reply.status == 200 || reply.status == 409 || reply.status == 425;
    if (!definite) Refuse("gid '" + gid + "'", reply);
    if (said.result != wire::kFailure && said.result != wire::kOngoing) throw NotOfDtm(gid, reply);
    return false;
  }

  InDoubtError NotOfDtm(const std::string& gid, const Exchanged& reply) const {
    return InDoubtError(NoAnswer(gid) + "it answered something that is not dtm's: " +
                        wire::StorableText(reply.body));
  }

  /// For a reply that is neither "stored" nor "failed".
  [[noreturn]] void Refuse(const std::string& what, const Exchanged& reply) const {
    const std::string text = what + " was refused by the coordinator at " + Where() +
                             " with HTTP status " + std::to_string(reply.status) + ": " +
                             MessageOf(reply);
    // A gateway says it too, when it has sent the request on already.
    if (reply.status == 503 && SaidIn(reply).message) {
      throw AskingToWait(BusyError(text), reply.retry_after);
    }
    if (reply.status >= 500) {
      throw AskingToWait(InDoubtError(text + "; it may be stored, submit it again"),
                         reply.retry_after);
    }
    if (reply.status == 400) throw BadInput(text);
    throw AskingToWait(RejectedError(text), reply.retry_after);
  }

  /// The transaction may be stored, even if a query about it is refused.
  template <typename Ask>
  static auto InDoubtIfRefused(const std::string& gid, const Ask& ask) {
    try {
      return ask();
    } catch (const RejectedError& error) {
      const std::string text = "gid '" + gid + "' may be stored, submit it again: " + error.what();
      throw AskingToWait(InDoubtError(text), error.retry_after);
    }
  }

 private:
  static constexpr std::size_t kMaxIdle = 32;
  static constexpr std::size_t kMaxQueryBytes = std::size_t{16}
                                                << 20;  // a workflow with all its answers in base64

  std::unique_ptr<HttpConnection> TakeIdle() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return std::make_unique<HttpConnection>(url_, kMaxQueryBytes, options_.tls);
    std::unique_ptr<HttpConnection> exchange = std::move(idle_.back());
    idle_.pop_back();
    return exchange;
  }

  void Keep(std::unique_ptr<HttpConnection> exchange) {
    if (!exchange->IsOpen()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(exchange));
  }

  Url url_;
  const RemoteOptions options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<HttpConnection>> idle_;
};

}  // namespace v1
}  // namespace dtm
