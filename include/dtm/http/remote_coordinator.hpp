/// A coordinator elsewhere, as builders see it: this library in another process, or the Go server.
/// Needs: cpp-httplib, nlohmann/json. Threads: thread-safe. Protocol: §2, §11.1, Rule B.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include <dtm/core/endpoint.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/gid.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/http/exchange.hpp>
#include <dtm/http/reply_rule.hpp>
#include <dtm/http/thread_pool.hpp>
#include <dtm/http/url.hpp>
#include <dtm/http/wire.hpp>
#include <dtm/http/wire_transaction.hpp>

namespace dtm {
inline namespace v1 {

struct RemoteOptions {
  /// For one request to the coordinator; with wait_result it answers after up to 6 s.
  Duration timeout = std::chrono::seconds(10);
  /// What its dtm::Server asks for; empty = none.
  std::string token;
  /// Where the coordinator reaches a dtm::Server of this program, to call registered functions:
  /// "http://this-host:36789/api/dtmsvr/branch". Empty = functions cannot be branches.
  std::string branch_url;
};

class RemoteCoordinator : public Endpoint {
 public:
  /// `url` is that of the API: "http://localhost:36789/api/dtmsvr". Nothing is sent yet.
  /// @throws Error  it is no URL.
  explicit RemoteCoordinator(const std::string& url, RemoteOptions options = {})
      : url_(ParseUrl(url)), options_(std::move(options)), pool_(kAsyncThreads, kMaxWaiting) {
    while (!url_.target.empty() && url_.target.back() == '/') url_.target.pop_back();
    FillRegexTable();
  }
  ~RemoteCoordinator() override { pool_.Stop(); }
  RemoteCoordinator(const RemoteCoordinator&) = delete;
  RemoteCoordinator& operator=(const RemoteCoordinator&) = delete;

  /// Made here, in dtm's form, without asking.
  std::string NewGid() override {
    const auto now = std::chrono::system_clock::now();
    const std::lock_guard<std::mutex> lock(mutex_);
    return gids_.Make(std::chrono::time_point_cast<Duration>(now));
  }

  TransResult Submit(Definition definition) override {
    const std::string problem = Problem(definition);
    if (!problem.empty()) throw RejectedError(problem);
    const Exchanged answer = Post("/submit", definition.gid, wire::EncodeTransaction(definition));
    const bool failure = answer.body.find(wire::kFailure) != std::string::npos;
    if (answer.status == 200 && !failure) {
      const bool ended = definition.options.wait_result;
      return {definition.gid, ended ? Status::kSucceed : Status::kSubmitted, {}};
    }
    if (answer.status == 409 || answer.status == 425 || failure) {
      return Settle(definition, MessageOf(answer));
    }
    Refuse("gid '" + definition.gid + "'", answer);
  }

  /// Asks again and again: a coordinator elsewhere does not call back.
  TransResult SubmitAndWait(Definition definition, Duration timeout) override {
    const SteadyTime end = Now() + timeout;
    const std::string gid = definition.gid;
    definition.options.wait_result = false;
    try {
      (void)Submit(std::move(definition));
    } catch (const FailureError&) {  // it was submitted before; the query tells how it ended
    }
    return WaitUntil(gid, end);
  }

  /// On one of a few threads; the callback comes on it.
  /// @throws BusyError  too many wait already.
  void SubmitAsync(Definition definition, ReplyCallback callback) override {
    const std::string gid = definition.gid;
    const auto job = [this, definition = std::move(definition), callback = std::move(callback)] {
      Reply reply;
      try {
        reply.result = Submit(definition);
      } catch (...) {
        reply.error = std::current_exception();
      }
      try {
        callback(reply);
      } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
      }
    };
    if (!pool_.Run(job)) {
      throw BusyError("gid '" + gid + "' was not sent: " + std::to_string(kMaxWaiting) +
                      " submissions are waiting already; submit it again later");
    }
  }

  std::string UrlOfLocal(const std::string& name, std::uint64_t) const override {
    if (options_.branch_url.empty()) {
      throw LogicError("function '" + name + "' cannot be called by the coordinator at " +
                       url_.Origin() +
                       "; set RemoteOptions::branch_url to the branch endpoint of a dtm::Server of "
                       "this program");
    }
    return options_.branch_url + "/" + PercentEncoded(name);
  }

  /// Waits up to `timeout` for the end; returns the status there is then.
  /// @throws RejectedError  there is no such transaction.
  /// @throws InDoubtError   the coordinator gave no answer.
  TransResult Wait(const std::string& gid, Duration timeout) {
    return WaitUntil(gid, Now() + timeout);
  }

 private:
  static constexpr std::size_t kAsyncThreads = 32;
  static constexpr std::size_t kMaxWaiting = 20000;
  static constexpr std::size_t kMaxIdle = 32;
  static constexpr std::size_t kMaxQueryBytes = std::size_t{8} << 20;

  /// What query says of a transaction.
  struct Stored {
    TransResult result;
    std::string type;
    std::string steps, payloads;  ///< as JSON; empty if the coordinator does not tell them
  };

  static SteadyTime Now() { return std::chrono::steady_clock::now(); }

  TransResult WaitUntil(const std::string& gid, SteadyTime end) {
    Duration pause = std::chrono::milliseconds(2);
    for (;;) {
      const std::optional<Stored> stored = Query(gid);
      if (!stored) throw RejectedError("there is no transaction with gid '" + gid + "'");
      const SteadyTime now = Now();
      if (stored->result.Finished() || now >= end) return stored->result;
      std::this_thread::sleep_for(
          (std::min)(pause, std::chrono::duration_cast<Duration>(end - now) + Duration(1)));
      pause = (std::min)(pause * 2, Duration(std::chrono::milliseconds(200)));
    }
  }

  /// A "no" may mean that it was rolled back, that it has succeeded before, that it is not finished
  /// yet, or that another transaction has its gid. Coordinators say it in different words; what is
  /// stored tells.
  TransResult Settle(const Definition& definition, const std::string& message) {
    const std::string& gid = definition.gid;
    const std::optional<Stored> stored = Query(gid);
    if (!stored) throw RejectedError("gid '" + gid + "' was refused: " + message);
    const auto differs = [](const std::string& told, const nlohmann::ordered_json& ours) {
      return !told.empty() && told != nlohmann::json::parse(ours.dump()).dump();
    };
    if (stored->type != Name(definition.type) ||
        differs(stored->steps, wire::StepsJson(definition)) ||
        differs(stored->payloads, wire::PayloadsJson(definition))) {
      throw RejectedError("gid '" + gid +
                          "' exists with other content: use a new gid, or submit exactly what was "
                          "submitted first (the coordinator says: " +
                          message + ")");
    }
    if (stored->result.Failed()) {
      throw FailureError("gid '" + gid + "' was rolled back: " + stored->result.reason);
    }
    return stored->result;
  }

  std::optional<Stored> Query(const std::string& gid) {
    const Exchanged answer =
        Send("GET", "/query?" + std::string(wire::kGid) + "=" + PercentEncoded(gid), gid, {});
    if (answer.status != 200) Refuse("the query of gid '" + gid + "'", answer);
    const nlohmann::json body = nlohmann::json::parse(answer.body, nullptr, false);
    if (!body.is_object() || !body.contains(wire::kTransaction)) {
      throw InDoubtError(NoAnswer(gid) +
                         "it answered something that is not dtm's: " + StorableText(answer.body));
    }
    const nlohmann::json& told = body[wire::kTransaction];
    if (!told.is_object()) return std::nullopt;
    Stored stored;
    stored.type = told.value(wire::kTransType, "");
    stored.result = {gid, StatusNamed(told.value(wire::kStatus, "")),
                     told.value(wire::kRollbackReason, "")};
    const auto array = [&told](const char* key) {
      const nlohmann::json value = told.value(key, nlohmann::json());
      return value.is_array() ? value.dump() : std::string();
    };
    stored.steps = array(wire::kSteps);
    stored.payloads = array(wire::kPayloads);
    return stored;
  }

  static Status StatusNamed(const std::string& name) {
    for (const Status status :
         {Status::kPrepared, Status::kAborting, Status::kSucceed, Status::kFailed}) {
      if (name == Name(status)) return status;
    }
    return Status::kSubmitted;
  }

  Exchanged Post(const char* path, const std::string& gid, std::string body) {
    return Send("POST", path, gid, std::move(body));
  }

  /// @throws InDoubtError  there was no complete answer.
  Exchanged Send(const char* method, const std::string& path, const std::string& gid,
                 std::string body) {
    httplib::Request request;
    request.method = method;
    request.path = url_.target + path;
    request.body = std::move(body);
    request.set_header("Host", url_.Authority());
    request.set_header("Content-Type", wire::kJson);
    request.set_header("Accept-Encoding", "identity");
    request.set_header("User-Agent", wire::UserAgent());
    if (!options_.token.empty()) request.set_header("Authorization", "Bearer " + options_.token);
    BlockSigpipe();
    std::unique_ptr<Exchange> exchange = TakeIdle();
    Exchanged exchanged = exchange->Send(std::move(request), Now() + options_.timeout);
    if (!exchanged.Complete()) {
      throw InDoubtError(NoAnswer(gid) + (exchanged.answered
                                              ? std::string("its answer broke off")
                                              : httplib::to_string(exchanged.error)));
    }
    Keep(std::move(exchange));
    return exchanged;
  }

  std::string NoAnswer(const std::string& gid) const {
    return "gid '" + gid + "' may or may not be stored, the coordinator at " + url_.Origin() +
           url_.target + " gave no answer; submit it again: ";
  }

  std::unique_ptr<Exchange> TakeIdle() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return std::make_unique<Exchange>(url_, kMaxQueryBytes);
    std::unique_ptr<Exchange> exchange = std::move(idle_.back());
    idle_.pop_back();
    return exchange;
  }

  void Keep(std::unique_ptr<Exchange> exchange) {
    if (!exchange->IsOpen()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(exchange));
  }

  static std::string MessageOf(const Exchanged& answer) {
    const nlohmann::json body = nlohmann::json::parse(answer.body, nullptr, false);
    const bool told =
        body.is_object() && body.contains(wire::kMessage) && body[wire::kMessage].is_string();
    return StorableText(told ? body[wire::kMessage].get<std::string>() : answer.body);
  }

  /// An answer that is neither "stored" nor "failed".
  [[noreturn]] void Refuse(const std::string& what, const Exchanged& answer) const {
    const std::string text = what + " was refused by the coordinator at " + url_.Origin() +
                             url_.target + " with HTTP status " + std::to_string(answer.status) +
                             ": " + MessageOf(answer);
    if (answer.status == 503) throw BusyError(text);
    if (answer.status >= 500) throw InDoubtError(text + "; it may be stored, submit it again");
    throw RejectedError(text);
  }

  Url url_;
  const RemoteOptions options_;
  std::mutex mutex_;
  GidGenerator gids_;
  std::vector<std::unique_ptr<Exchange>> idle_;
  ThreadPool pool_;
};

}  // namespace v1
}  // namespace dtm
