/// The HTTP API as a function from a request to an answer, without any socket.
/// Needs: nlohmann/json. Threads: thread-safe. Protocol: §2; document: docs/http_api.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/coordinator/coordinator.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/version.hpp>
#include <dtm/http/api_message.hpp>
#include <dtm/http/branch_answer.hpp>
#include <dtm/http/json_input.hpp>
#include <dtm/http/metrics_text.hpp>
#include <dtm/http/wire.hpp>
#include <dtm/http/wire_query.hpp>
#include <dtm/http/wire_transaction.hpp>

namespace dtm {
inline namespace v1 {

class Api {
 public:
  explicit Api(Coordinator& tm) : tm_(tm) {}

  /// Never throws.
  ApiAnswer Handle(const ApiRequest& request) {
    const auto begin = std::chrono::steady_clock::now();
    const Route* route = Find(request);
    ApiAnswer answer = route == nullptr ? answers::NotFound() : Answer(*route, request);
    counters_.Answered(
        route == nullptr ? "unknown" : route->name, answer.status,
        std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - begin));
    return answer;
  }

 private:
  using Json = nlohmann::ordered_json;
  using Handler = ApiAnswer (Api::*)(const ApiRequest&);
  struct Route {
    const char* name;  ///< of the metrics
    const char* path;
    const char* methods;  ///< "*" = any
    Handler handler;
    bool prefix = false;  ///< the path goes on
  };

  static constexpr std::size_t kPageBytes = std::size_t{4} << 20;

  static const Route* Find(const ApiRequest& request) {
    static constexpr Route kRoutes[] = {
        {"submit", "/api/dtmsvr/submit", "POST", &Api::Submit},
        {"newgid", "/api/dtmsvr/newGid", "GET", &Api::NewGid},
        {"query", "/api/dtmsvr/query", "GET", &Api::Query},
        {"prepare", "/api/dtmsvr/prepare", "POST", &Api::Prepare},
        {"abort", "/api/dtmsvr/abort", "POST", &Api::Abort},
        {"all", "/api/dtmsvr/all", "GET", &Api::All},
        {"forcestop", "/api/dtmsvr/forceStop", "POST", &Api::ForceStop},
        {"resetnextcrontime", "/api/dtmsvr/resetNextCronTime", "POST", &Api::ResetNextCronTime},
        {"resetcrontime", "/api/dtmsvr/resetCronTime", "GET POST", &Api::ResetCronTime},
        {"version", "/api/dtmsvr/version", "GET", &Api::Version},
        {"branch", "/api/dtmsvr/branch/", "GET POST", &Api::Branch, true},
        {"ping", "/api/ping", "*", &Api::Ping},
        {"metrics", "/api/metrics", "GET", &Api::MetricsText},
    };
    for (const Route& route : kRoutes) {
      const std::string path = route.path;
      const bool here =
          route.prefix ? request.path.compare(0, path.size(), path) == 0 : request.path == path;
      const std::string methods = route.methods;
      const bool fits = methods == "*" ||
                        (" " + methods + " ").find(" " + request.method + " ") != std::string::npos;
      if (here && fits) return &route;
    }
    return nullptr;
  }

  ApiAnswer Answer(const Route& route, const ApiRequest& request) {
    try {
      return (this->*route.handler)(request);
    } catch (const BadInput& error) {
      return answers::Error(400, error.what());
    } catch (const FailureError& error) {
      return answers::Failure(error.what());
    } catch (const BusyError& error) {
      return answers::TryLater(error.what());
    } catch (const RejectedError& error) {
      return answers::Failure(error.what());
    } catch (const InDoubtError& error) {
      return answers::Error(500, error.what());
    } catch (const StoreError& error) {
      return answers::TryLater(error.what());
    } catch (const LogicError& error) {  // it was stopped
      return answers::TryLater(error.what());
    } catch (const std::exception& error) {
      return answers::Error(500, error.what());
    }
  }

  static nlohmann::json Body(const ApiRequest& request) {
    return json_input::ParseObject(request.body, "the body");
  }
  static Definition TransactionOf(const ApiRequest& request) {
    const nlohmann::json body = Body(request);
    Definition definition = wire::DecodeTransaction(json_input::Fields(body, "the transaction"));
    const std::string problem = Coordinator::NotDriven(definition);
    if (!problem.empty()) throw BadInput(problem);
    return definition;
  }

  /// @throws BadInput  there is no such transaction.
  Transaction Existing(const std::string& gid) {
    std::optional<Transaction> stored = tm_.Query(gid);
    if (!stored) throw BadInput("no TransGlobal with gid: " + gid + " found; check the gid");
    return std::move(*stored);
  }

  ApiAnswer Submit(const ApiRequest& request) {
    Definition definition = TransactionOf(request);
    const std::string gid = definition.gid;
    const bool wait = definition.options.wait_result;
    if (definition.steps.empty() && !definition.orders.empty() && !tm_.Query(gid)) {
      throw BadInput(OrdersProblem(definition));  // no prepare gave it steps
    }
    try {
      const TransResult result = tm_.Submit(std::move(definition));
      if (!wait || result.Succeeded()) return answers::Success();
      return answers::Ongoing("gid '" + gid + "' is " + Name(result.status) +
                              " and goes on; ask query");
    } catch (const FailureError&) {
      return answers::Failure(Existing(gid).reason);
    }
  }

  ApiAnswer Prepare(const ApiRequest& request) {
    (void)tm_.Prepare(TransactionOf(request));
    return answers::Success();
  }

  ApiAnswer Abort(const ApiRequest& request) {
    const nlohmann::json body = Body(request);
    const json_input::Fields fields(body, "the transaction");
    const std::string gid = wire::GidOf(fields);
    const TransType type = wire::TypeNamed(fields.Text(wire::kTransType));
    const std::string reason = fields.Text(wire::kRollbackReason);
    const Transaction stored = Existing(gid);
    if (stored.definition->type != type) {
      return answers::Failure("gid '" + gid + "' is a " + Name(stored.definition->type) +
                              ", so it is not aborted as a " + Name(type));
    }
    if (IsFinal(stored.status)) {
      return answers::Failure("trans type: '" + std::string(Name(type)) + "' current status '" +
                              Name(stored.status) + "', cannot abort. FAILURE");
    }
    tm_.Cancel(gid, reason.empty() ? "aborted by request" : reason);
    return answers::Success();
  }

  static std::string GidIn(const ApiRequest& request) {
    const nlohmann::json body = Body(request);
    return wire::GidOf(json_input::Fields(body, "the body"));
  }

  ApiAnswer ForceStop(const ApiRequest& request) {
    const std::string gid = GidIn(request);
    const Transaction stored = Existing(gid);
    if (IsFinal(stored.status)) {
      return answers::Failure(std::string("global transaction force stop error. status: ") +
                              Name(stored.status) + ". error: FAILURE");
    }
    tm_.ForceStop(gid);
    return answers::Success();
  }

  ApiAnswer ResetNextCronTime(const ApiRequest& request) {
    const std::string gid = GidIn(request);
    if (!IsFinal(Existing(gid).status)) tm_.RetryNow(gid);
    return answers::Success();
  }

  ApiAnswer ResetCronTime(const ApiRequest& request) {
    const std::int64_t timeout = QueryInteger(request, "timeout", 105, 0, 10LL * 366 * 86400);
    const std::int64_t limit =
        QueryInteger(request, "limit", 100, 1, static_cast<std::int64_t>(kMaxListLimit));
    std::vector<std::string> waiting =
        tm_.ListWaiting(std::chrono::seconds(timeout), static_cast<std::size_t>(limit) + 1);
    const bool more = waiting.size() > static_cast<std::size_t>(limit);
    if (more) waiting.pop_back();
    std::int64_t done = 0;
    for (const std::string& gid : waiting) {
      try {
        tm_.RetryNow(gid);
        ++done;
      } catch (const RejectedError&) {  // it has ended meanwhile
      }
    }
    return {200, wire::JsonText({{"has_remaining", more}, {"succeed_count", done}})};
  }

  ApiAnswer Query(const ApiRequest& request) {
    const std::string gid = request.Query(wire::kGid);
    if (gid.empty()) throw BadInput("no gid specified");
    const std::optional<Transaction> stored = tm_.Query(gid);
    Json branches = stored ? wire::BranchesJson(*stored) : Json::array();
    Json transaction = stored ? Shown(*stored) : Json(nullptr);
    return {200, wire::JsonText({{wire::kBranches, std::move(branches)},
                                 {wire::kTransaction, std::move(transaction)}})};
  }

  ApiAnswer All(const ApiRequest& request) {
    const std::string gid = request.Query(wire::kGid);
    if (!gid.empty()) {
      const std::optional<Transaction> stored = tm_.Query(gid);
      return Page(stored ? Json::array({Shown(*stored)}) : Json(nullptr), 0);
    }
    ScanFilter filter;
    std::int64_t position = QueryInteger(request, "position", 0, 0, INT64_MAX);
    auto left = static_cast<std::size_t>(
        QueryInteger(request, "limit", 100, 1, static_cast<std::int64_t>(kMaxListLimit)));
    if (const std::string status = request.Query(wire::kStatus); !status.empty()) {
      filter.status = StatusOf(status);
    }
    if (const std::string type = request.Query("transType"); !type.empty()) {
      filter.type = wire::TypeNamed(type);
    }
    constexpr std::int64_t kLastMilli = INT64_MAX / 1000 - 1;
    const auto milli = [&request](const char* key, std::int64_t otherwise) {
      return QueryInteger(request, key, otherwise, -kLastMilli, kLastMilli);
    };
    filter.created_from = Time(std::chrono::milliseconds(milli("createTimeStart", 0)));
    filter.created_to = Time(std::chrono::milliseconds(milli("createTimeEnd", kLastMilli)) +
                             std::chrono::microseconds(999));
    Json transactions = Json::array();
    std::size_t bytes = 0;
    // In small pages: a thousand transactions may be a gigabyte.
    do {
      const ScanPage page = tm_.List(filter, position, (std::min)(left, std::size_t{32}));
      position = page.next;
      left -= (std::min)(left, page.transactions.size());
      for (const Transaction& stored : page.transactions) {
        for (const Step& step : stored.definition->steps) bytes += step.payload.size();
        transactions.push_back(Shown(stored));
      }
    } while (position != 0 && left > 0 && bytes < kPageBytes);
    return Page(std::move(transactions), position);
  }

  static ApiAnswer Page(Json transactions, std::int64_t next) {
    return {200, wire::JsonText({{wire::kNextPosition, next == 0 ? "" : std::to_string(next)},
                                 {wire::kTransactions, std::move(transactions)}})};
  }

  Json Shown(const Transaction& stored) const {
    return wire::TransactionJson(stored, tm_.Settings().retry_interval);
  }

  ApiAnswer NewGid(const ApiRequest&) {
    return {200, wire::JsonText({{wire::kDtmResult, wire::kSuccess}, {wire::kGid, tm_.NewGid()}})};
  }
  ApiAnswer Version(const ApiRequest&) {
    return {200, wire::JsonText({{"version", std::string("v") + kVersion}})};
  }
  ApiAnswer Ping(const ApiRequest&) { return {200, R"({"msg":"pong"})"}; }
  ApiAnswer MetricsText(const ApiRequest&) {
    return {200, metrics_text::Text(counters_.Get(), tm_.Counted()), "text/plain; version=0.0.4"};
  }

  ApiAnswer Branch(const ApiRequest& request) {
    const std::string name = request.path.substr(std::string("/api/dtmsvr/branch/").size());
    BranchInfo info;
    info.gid = request.Query(wire::kGid);
    info.branch_id = request.Query(wire::kBranchId);
    if (info.gid.empty() || info.branch_id.empty()) {
      throw BadInput("a branch call names gid, trans_type, branch_id and op in its query");
    }
    info.trans_type = wire::TypeNamed(request.Query(wire::kTransType));
    info.op = wire::OpNamed(request.Query(wire::kOp));
    Result result;
    try {
      result = tm_.CallFunction(name, request.body, info);
    } catch (const RejectedError& error) {
      throw BadInput(error.what());
    }
    return answers::OfBranch(result);
  }

  static Status StatusOf(const std::string& name) {
    for (const Status status : {Status::kPrepared, Status::kSubmitted, Status::kAborting,
                                Status::kSucceed, Status::kFailed}) {
      if (name == Name(status)) return status;
    }
    throw BadInput("status '" + Printable(name) +
                   "' is none of prepared, submitted, aborting, succeed and failed");
  }

  Coordinator& tm_;
  ApiCounters counters_;
};

}  // namespace v1
}  // namespace dtm
