/// The routes of the HTTP API: which request goes where, and what is done there.
/// Needs: nlohmann/json. Threads: thread-safe. Protocol: §2, §7; document: docs/http_api.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/base/version.hpp>
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/coordinator/outcome.hpp>
#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/coordinator/retry_all.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>
#include <dtm/http/api/function_call.hpp>
#include <dtm/http/api/head.hpp>
#include <dtm/http/api/json_operations.hpp>
#include <dtm/http/api/json_rpc_api.hpp>
#include <dtm/http/api/lists.hpp>
#include <dtm/http/api/numbers/api_counters.hpp>
#include <dtm/http/api/numbers/metrics_text.hpp>
#include <dtm/http/api/replies.hpp>
#include <dtm/http/http1/request_reply.hpp>
#include <dtm/http/wire/json_input.hpp>
#include <dtm/http/wire/json_text.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/stored_transaction.hpp>

namespace dtm {
inline namespace v1 {

/// They turn requests into operations, and their answers into replies; the rules are in operations.hpp.
class ApiRoutes {
 public:
  struct Route {
    const char* name;  ///< of the metrics
    const char* path;
    const char* methods;  ///< "*" = any
    void (ApiRoutes::*handler)(const ApiRequest&, const ApiDone&);
    bool blocks = false;  ///< it reads the store, or runs a function of the program
    bool prefix = false;  ///< the path goes on
  };

  ApiRoutes(Coordinator& tm, std::shared_ptr<ApiCounters> counters)
      : tm_(tm), lists_(tm), counters_(std::move(counters)) {}

  /// nullptr: no route has this path and method.
  static const Route* Find(const ApiRequest& request) {
    static constexpr Route kRoutes[] = {
        {"submit", "/api/dtmsvr/submit", "POST", &ApiRoutes::Asked<&json_operations::Submit>},
        {"newgid", "/api/dtmsvr/newGid", "GET", &ApiRoutes::Now<&ApiRoutes::NewGid>},
        {"query", "/api/dtmsvr/query", "GET", &ApiRoutes::Listed<&ApiLists::Query>, true},
        {"timeline", "/api/dtmsvr/timeline", "GET", &ApiRoutes::Listed<&ApiLists::Timeline>, true},
        {"prepare", "/api/dtmsvr/prepare", "POST", &ApiRoutes::Asked<&json_operations::Prepare>},
        {"abort", "/api/dtmsvr/abort", "POST", &ApiRoutes::Asked<&json_operations::Abort>},
        {"explain", "/api/dtmsvr/explain", "GET", &ApiRoutes::Listed<&ApiLists::Explain>, true},
        {"all", "/api/dtmsvr/all", "GET", &ApiRoutes::Listed<&ApiLists::All>, true},
        {"nodes", "/api/dtmsvr/nodes", "GET", &ApiRoutes::Listed<&ApiLists::Nodes>, true},
        {"overview", "/api/dtmsvr/overview", "GET", &ApiRoutes::Listed<&ApiLists::Overview>, true},
        {"forcestop", "/api/dtmsvr/forceStop", "POST",
         &ApiRoutes::Asked<&json_operations::ForceStop>},
        {"resetnextcrontime", "/api/dtmsvr/resetNextCronTime", "POST",
         &ApiRoutes::Asked<&json_operations::ResetNextCronTime>},
        {"skipbranch", "/api/dtmsvr/skipBranch", "POST",
         &ApiRoutes::Asked<&json_operations::SkipBranch>},
        {"resetcrontime", "/api/dtmsvr/resetCronTime", "GET POST",
         &ApiRoutes::Now<&ApiRoutes::ResetCronTime>, true},
        {"version", "/api/dtmsvr/version", "GET", &ApiRoutes::Now<&ApiRoutes::Version>},
        {"registerbranch", "/api/dtmsvr/registerBranch", "POST",
         &ApiRoutes::Asked<&json_operations::RegisterBranch>},
        {"registerbranch", "/api/dtmsvr/registerTccBranch", "POST",
         &ApiRoutes::Asked<&json_operations::RegisterBranch>},
        {"registerbranch", "/api/dtmsvr/registerXaBranch", "POST",
         &ApiRoutes::Asked<&json_operations::RegisterBranch>},
        {"prepareworkflow", "/api/dtmsvr/prepareWorkflow", "POST",
         &ApiRoutes::Now<&ApiRoutes::PrepareWorkflow>, true},
        {"subscribe", "/api/dtmsvr/subscribe", "GET POST", &ApiRoutes::Subscribe},
        {"unsubscribe", "/api/dtmsvr/unsubscribe", "GET POST", &ApiRoutes::Unsubscribe},
        {"topic", "/api/dtmsvr/topic/", "DELETE", &ApiRoutes::DeleteTopic, false, true},
        {"scankv", "/api/dtmsvr/scanKV", "GET", &ApiRoutes::Listed<&ApiLists::ScanValues>, true},
        {"querykv", "/api/dtmsvr/queryKV", "GET", &ApiRoutes::Listed<&ApiLists::QueryValues>, true},
        {"jsonrpc", "/api/json-rpc", "POST", &ApiRoutes::JsonRpc},
        {"branch", api_function::kPath, "GET POST", &ApiRoutes::Now<&ApiRoutes::Branch>, true,
         true},
        {"ping", "/api/ping", "*", &ApiRoutes::Now<&ApiRoutes::Ping>},
        {"metrics", "/api/metrics", "GET", &ApiRoutes::Now<&ApiRoutes::MetricsText>, true},
    };
    for (const Route& route : kRoutes) {
      const std::string_view path = route.path;
      const bool here = route.prefix ? request.path.compare(0, path.size(), path) == 0
                                     : std::string_view(request.path) == path;
      if (!here) continue;
      const std::string methods = route.methods;
      const bool fits = methods == "*" ||
                        (" " + methods + " ").find(" " + request.method + " ") != std::string::npos;
      if (fits) return &route;
    }
    return nullptr;
  }

  /// @throws std::bad_alloc  `done` is not called.
  void Handle(const Route& route, const ApiRequest& request, const ApiDone& done) {
    try {
      (this->*route.handler)(request, done);
    } catch (...) {
      Tell(done, {{}, std::current_exception()}, replies::Of);
    }
  }

 private:
  /// `write` makes the reply from the outcome; without memory for that, the reply has only the status.
  template <typename Write>
  static void Tell(const ApiDone& done, const Answer& answer, const Write& write) {
    ApiReply reply;
    reply.status = 500;
    Answers::Protected([&] { reply = write(InHttp(OutcomeOf(answer))); });
    done(std::move(reply));
  }
  static AnswerCallback AnswerTo(const ApiDone& done) {
    return [done](const Answer& answer) { Tell(done, answer, replies::Of); };
  }

  template <ApiReply (ApiLists::*kRead)(const ApiRequest&)>
  void Listed(const ApiRequest& request, const ApiDone& done) {
    done((lists_.*kRead)(request));
  }
  template <ApiReply (ApiRoutes::*kRead)(const ApiRequest&)>
  void Now(const ApiRequest& request, const ApiDone& done) {
    done((this->*kRead)(request));
  }
  template <json_operations::Operation kOperation>
  void Asked(const ApiRequest& request, const ApiDone& done) {
    kOperation(tm_, BodyOf(request), AnswerTo(done));
  }

  static void TakeTrace(const ApiRequest& request, nlohmann::json& body) {
    if (api_head::CountHeaders(request, kTraceParent) != 1) return;
    json_operations::TakeTrace(body, http1::FindHeader(request.headers, kTraceParent),
                               api_head::JoinedHeader(request, kTraceState));
  }
  static nlohmann::json BodyOf(const ApiRequest& request) {
    nlohmann::json body = wire::json_input::ParseObject(request.body, "the body");
    TakeTrace(request, body);
    return body;
  }

  void JsonRpc(const ApiRequest& request, const ApiDone& done) {
    static constexpr struct {
      const char* name;
      const char* counted;
      json_operations::Operation operation;
    } kMethods[] = {{"submit", "submit", &json_operations::Submit},
                    {"prepare", "prepare", &json_operations::Prepare},
                    {"abort", "abort", &json_operations::Abort},
                    {"registerBranch", "registerbranch", &json_operations::RegisterBranch}};
    json_rpc_api::Call call;
    if (std::optional<ApiReply> wrong = json_rpc_api::Read(request.body, call)) {
      return done(std::move(*wrong));
    }
    const auto begin = std::chrono::steady_clock::now();
    if (call.method == "newGid") {
      counters_->AnsweredNow("newgid", 200, begin);
      return done(json_rpc_api::OfGid(call.id, tm_.NewGid()));
    }
    for (const auto& method : kMethods) {
      if (call.method != method.name) continue;
      const AnswerCallback told = [counters = counters_, done, begin, counted = method.counted,
                                   id = call.id](const Answer& answer) {
        Tell(done, answer, [&](const ApiOutcome& outcome) {
          counters->AnsweredNow(counted, outcome.status, begin);
          return json_rpc_api::Of(id, outcome);
        });
      };
      try {
        wire::json_input::CheckObject(call.params, "params");
        TakeTrace(request, call.params);
        return method.operation(tm_, call.params, told);
      } catch (...) {
        return told({{}, std::current_exception()});
      }
    }
    done(json_rpc_api::NotFound(call));
  }

  void Subscribe(const ApiRequest& request, const ApiDone& done) {
    const std::string url = request.Query(wire::kUrl);
    wire::CheckNotLocal(url);
    tm_.SubscribeAsync(request.Query(wire::kTopic), url, request.Query(wire::kRemark),
                       AnswerTo(done));
  }
  void Unsubscribe(const ApiRequest& request, const ApiDone& done) {
    tm_.UnsubscribeAsync(request.Query(wire::kTopic), request.Query(wire::kUrl), AnswerTo(done));
  }
  void DeleteTopic(const ApiRequest& request, const ApiDone& done) {
    const std::string name = request.path.substr(std::string("/api/dtmsvr/topic/").size());
    if (name.empty()) return done(replies::NotFound());
    tm_.DeleteTopicAsync(name, AnswerTo(done));
  }

  ApiReply PrepareWorkflow(const ApiRequest& request) {
    Definition definition = json_operations::TransactionOf(BodyOf(request));
    if (definition.type != TransType::kWorkflow) {
      throw BadInput("prepareWorkflow is for workflows; a " + std::string(Name(definition.type)) +
                     " is prepared with prepare");
    }
    const auto stored = tm_.AwaitValue<Transaction>([&](const ValueCallback<Transaction>& answer) {
      tm_.PrepareWorkflowAsync(std::move(definition), answer);
    });
    return {200, wire::JsonText({{wire::kProgresses, wire::BranchesJson(stored)},
                                 {wire::kTransaction, lists_.Shown(stored)}})};
  }

  ApiReply ResetCronTime(const ApiRequest& request) {
    const std::int64_t timeout = QueryInteger(request, "timeout", 105, 0, 10LL * 366 * 86400);
    const std::int64_t limit =
        QueryInteger(request, "limit", 100, 1, static_cast<std::int64_t>(kMaxListLimit));
    std::vector<std::string> waiting =
        tm_.ListWaiting(std::chrono::seconds(timeout), static_cast<std::size_t>(limit) + 1);
    const bool more = waiting.size() > static_cast<std::size_t>(limit);
    if (more) waiting.pop_back();
    const std::int64_t done = RetryAllNow(tm_, waiting);
    return {200, wire::JsonText({{"has_remaining", more}, {"succeed_count", done}})};
  }

  ApiReply NewGid(const ApiRequest&) {
    return {200, wire::JsonText({{wire::kDtmResult, wire::kSuccess}, {wire::kGid, tm_.NewGid()}})};
  }
  ApiReply Version(const ApiRequest&) {
    return {200, wire::JsonText({{"version", std::string("v") + kVersion}})};
  }
  ApiReply Ping(const ApiRequest&) { return {200, R"({"msg":"pong"})"}; }
  ApiReply MetricsText(const ApiRequest&) {
    return {200, metrics_text::Text(counters_->Get(), tm_.Counted(), tm_.Measure()),
            "text/plain; version=0.0.4"};
  }

  ApiReply Branch(const ApiRequest& request) { return api_function::Reply(tm_, request); }

  Coordinator& tm_;
  ApiLists lists_;
  const std::shared_ptr<ApiCounters> counters_;
};

}  // namespace v1
}  // namespace dtm
