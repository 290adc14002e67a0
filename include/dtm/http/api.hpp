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
#include <dtm/http/api_lists.hpp>
#include <dtm/http/api_message.hpp>
#include <dtm/http/branch_answer.hpp>
#include <dtm/http/json_input.hpp>
#include <dtm/http/json_rpc_api.hpp>
#include <dtm/http/metrics_text.hpp>
#include <dtm/http/wire.hpp>
#include <dtm/http/wire_query.hpp>
#include <dtm/http/wire_registration.hpp>
#include <dtm/http/wire_transaction.hpp>

namespace dtm {
inline namespace v1 {

class Api {
 public:
  explicit Api(Coordinator& tm) : tm_(tm), lists_(tm) {}

  /// Never throws.
  ApiAnswer Handle(const ApiRequest& request) {
    const auto begin = std::chrono::steady_clock::now();
    const Route* route = Find(request);
    ApiAnswer answer = route == nullptr ? answers::NotFound() : Answer(*route, request);
    if (route != nullptr && route->handler == &Api::Branch) answers::HideWords(answer);
    counters_.Answered(
        route == nullptr ? "unknown" : route->name, answer.status,
        std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - begin));
    return answer;
  }

 private:
  using Handler = ApiAnswer (Api::*)(const ApiRequest&);
  struct Route {
    const char* name;  ///< of the metrics
    const char* path;
    const char* methods;  ///< "*" = any
    Handler handler;
    bool prefix = false;  ///< the path goes on
  };

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
        {"registerbranch", "/api/dtmsvr/registerBranch", "POST", &Api::RegisterBranch},
        {"registerbranch", "/api/dtmsvr/registerTccBranch", "POST", &Api::RegisterBranch},
        {"registerbranch", "/api/dtmsvr/registerXaBranch", "POST", &Api::RegisterBranch},
        {"prepareworkflow", "/api/dtmsvr/prepareWorkflow", "POST", &Api::PrepareWorkflow},
        {"subscribe", "/api/dtmsvr/subscribe", "GET POST", &Api::Subscribe},
        {"unsubscribe", "/api/dtmsvr/unsubscribe", "GET POST", &Api::Unsubscribe},
        {"topic", "/api/dtmsvr/topic/", "DELETE", &Api::DeleteTopic, true},
        {"scankv", "/api/dtmsvr/scanKV", "GET", &Api::ScanValues},
        {"querykv", "/api/dtmsvr/queryKV", "GET", &Api::QueryValues},
        {"jsonrpc", "/api/json-rpc", "POST", &Api::JsonRpc},
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
      return answers::Rejected(error.what());
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
    return wire::DecodeTransaction(json_input::Fields(body, "the transaction"));
  }

  /// @throws BadInput  there is no such transaction.
  Transaction Existing(const std::string& gid) {
    std::optional<Transaction> stored = tm_.Query(gid);
    if (!stored) throw BadInput("no TransGlobal with gid: " + gid + " found; check the gid");
    return std::move(*stored);
  }

  ApiAnswer Submit(const ApiRequest& request) {
    Definition definition = TransactionOf(request);
    if (definition.type == TransType::kWorkflow) return FinishWorkflow(request);
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

  /// `req_extra` says how it ended.
  ApiAnswer FinishWorkflow(const ApiRequest& request) {
    const nlohmann::json body = Body(request);
    const json_input::Fields fields(body, "the transaction");
    const wire::Outcome outcome = wire::DecodeOutcome(fields.Texts(wire::kReqExtra));
    tm_.FinishWorkflow(wire::GidOf(fields), outcome.status, outcome.reason, outcome.result);
    return answers::Success();
  }

  ApiAnswer RegisterBranch(const ApiRequest& request) {
    const nlohmann::json body = Body(request);
    wire::Registration branch = wire::DecodeRegistration(json_input::Fields(body, "the branch"));
    tm_.RegisterBranch(branch.gid, branch.type, std::move(branch.step));
    return answers::Success();
  }

  ApiAnswer PrepareWorkflow(const ApiRequest& request) {
    const Definition definition = TransactionOf(request);
    if (definition.type != TransType::kWorkflow) {
      throw BadInput("prepareWorkflow is for workflows; a " + std::string(Name(definition.type)) +
                     " is prepared with prepare");
    }
    (void)tm_.PrepareWorkflow(definition);
    const Transaction stored = Existing(definition.gid);
    return {200, wire::JsonText({{wire::kProgresses, wire::BranchesJson(stored)},
                                 {wire::kTransaction, lists_.Shown(stored)}})};
  }

  ApiAnswer Subscribe(const ApiRequest& request) {
    const std::string url = request.Query(wire::kUrl);
    wire::CheckNotLocal(url);
    if (const std::string problem = UrlProblem(url); !problem.empty()) throw BadInput(problem);
    tm_.Subscribe(request.Query(wire::kTopic), url, request.Query(wire::kRemark));
    return answers::Success();
  }
  ApiAnswer Unsubscribe(const ApiRequest& request) {
    tm_.Unsubscribe(request.Query(wire::kTopic), request.Query(wire::kUrl));
    return answers::Success();
  }
  ApiAnswer DeleteTopic(const ApiRequest& request) {
    const std::string name = request.path.substr(std::string("/api/dtmsvr/topic/").size());
    if (name.empty()) return answers::NotFound();
    tm_.DeleteTopic(name);
    return answers::Success();
  }

  ApiAnswer JsonRpc(const ApiRequest& request) {
    return json_rpc_api::Handle(request, [this](const ApiRequest& inner) { return Handle(inner); });
  }

  ApiAnswer Query(const ApiRequest& request) { return lists_.Query(request); }
  ApiAnswer All(const ApiRequest& request) { return lists_.All(request); }
  ApiAnswer ScanValues(const ApiRequest& request) { return lists_.ScanValues(request); }
  ApiAnswer QueryValues(const ApiRequest& request) { return lists_.QueryValues(request); }

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
      return answers::Rejected("gid '" + gid + "' is a " + Name(stored.definition->type) +
                               ", so it is not aborted as a " + Name(type));
    }
    const bool carried_through =
        type != TransType::kSaga && stored.status == Status::kSubmitted;  // a workflow never is
    if (IsFinal(stored.status) || carried_through || type == TransType::kWorkflow) {
      return answers::Rejected("trans type: '" + std::string(Name(type)) + "' current status '" +
                               Name(stored.status) + "', cannot abort. FAILURE");
    }
    tm_.Cancel(gid, reason);
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
      return answers::Rejected(std::string("global transaction force stop error. status: ") +
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

  ApiAnswer NewGid(const ApiRequest&) {
    return {200, wire::JsonText({{wire::kDtmResult, wire::kSuccess}, {wire::kGid, tm_.NewGid()}})};
  }
  ApiAnswer Version(const ApiRequest&) {
    return {200, wire::JsonText({{"version", std::string("v") + kVersion}})};
  }
  ApiAnswer Ping(const ApiRequest&) { return {200, R"({"msg":"pong"})"}; }
  ApiAnswer MetricsText(const ApiRequest&) {
    return {200, metrics_text::Text(counters_.Get(), tm_.Counted(), tm_.Measure()),
            "text/plain; version=0.0.4"};
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
    const std::string op = request.Query(wire::kOp);
    if (info.trans_type == TransType::kWorkflow && info.branch_id == "00" && !op.empty()) {
      info.op = Op::kResume;  // a coordinator says the name of the workflow where the op is
      info.workflow = op;
    } else {
      info.op = wire::OpNamed(op);
    }
    Result result;
    try {
      result = tm_.CallFunction(name, request.body, info);
    } catch (const RejectedError& error) {
      throw BadInput(error.what());
    }
    return answers::OfBranch(result);
  }

  Coordinator& tm_;
  ApiLists lists_;
  ApiCounters counters_;
};

}  // namespace v1
}  // namespace dtm
