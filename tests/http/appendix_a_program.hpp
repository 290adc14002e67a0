/// The protocol's Appendix A as a program in any language plays it, request by request, at one coordinator or at several.
/// (At dtm-server itself it would take hours: what is sent there is in tests/interop.)
/// Needs: the test kit. Threads: one thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/api_nodes.hpp"
#include "tests/support/appendix_a.hpp"
#include <dtm/http/wire/base64.hpp>
#include <dtm/testing/scripted_branches.hpp>

namespace appendix_a {

using dtm_test::ApiNodes;
using dtm_test::Json;
using dtm_test::kDone;

/// What the SDKs do, request by request.
class Program : public House {
 public:
  Program(std::unique_ptr<ApiNodes> nodes, bool json_rpc)
      : json_rpc_(json_rpc), nodes_(std::move(nodes)) {}

  void Pass(dtm::Duration time) override { nodes_->Advance(time); }
  dtm::Coordinator& Tm() override { return nodes_->Tm(); }
  dtm::testing::ScriptedBranches& Branches() override { return nodes_->Branches(); }

  std::string Submit(const Order& order) override { return Ask("submit", BodyOf(order)); }
  std::string Prepare(const Order& order) override { return Ask("prepare", BodyOf(order)); }

  std::string Run(const Global& global) override {
    const bool xa = global.type == TransType::kXa;
    const Json body = {{"gid", "g"}, {"trans_type", xa ? "xa" : "tcc"}};
    CHECK(Ask("prepare", body) == "");
    for (int n = 1; n <= global.branches; ++n) {
      if (n == 2) Pass(global.pause);
      const bool no = n == 2 && global.second_no;
      const bool registers =
          !xa || !no;  // a branch of an xa does that itself, if it can do its work
      if ((registers && Register(body, "0" + std::to_string(n)) != "") || no) {
        Json abort = body;
        abort["rollback_reason"] = kNo;
        (void)Ask("abort", abort);
        return "no";
      }
      if (n == 2 && global.nested) CHECK(Register(body, "0201") == "");
    }
    return Ask("submit", body);
  }

  std::string ForceStop() override { return Ask("forceStop", {{"gid", "g"}}); }

  std::string Workflow(int ongoing) override {
    Json body = {{"gid", "g"}, {"trans_type", "workflow"}, {"query_prepared", "http://b/resume"}};
    body["custom_data"] = R"({"name":"wf"})";
    const Json state = Json::parse(nodes_->Ask("POST", "prepareWorkflow", {}, body.dump()).body);
    if (state["transaction"]["status"] == "succeed") {
      return dtm::wire::base64::Decode(state["transaction"]["result"].get<std::string>()).value();
    }
    for (const std::string id : {"01", "02"}) {
      bool recorded = false;
      for (const Json& row : state["progresses"]) recorded = recorded || row["branch_id"] == id;
      if (recorded) continue;
      steps += id.back();
      if (id == "02" && ongoing-- > 0) return "ongoing";
      CHECK(Ask("registerBranch", {{"gid", "g"},
                                   {"trans_type", "workflow"},
                                   {"branch_id", id},
                                   {"op", "action"},
                                   {"status", "succeed"},
                                   {"data", "done"}}) == "");
    }
    body["req_extra"] = {{"status", "succeed"}, {"result", dtm::wire::base64::Encode("done")}};
    CHECK(Ask("submit", body) == "");
    return "done";
  }
  void ResumeIfAsked() override {
    REQUIRE(Called() == "resume ");
    CHECK(Branches().Calls()[0].info.workflow == "wf");
    (void)Workflow(0);
  }

  std::string Topic(const std::string& verb, const std::string& url) override {
    if (verb == "delete") return Means(nodes_->Ask("DELETE", "topic/unknown"));
    return Means(nodes_->Ask("GET", verb, {{"topic", "t"}, {"url", url}}));
  }

  std::string Reset(std::size_t limit) override {
    const Json answer = Json::parse(
        nodes_->Ask("GET", "resetCronTime", {{"timeout", "500"}, {"limit", std::to_string(limit)}})
            .body);
    nodes_->Settle();
    return std::to_string(answer["succeed_count"].get<int>()) +
           (answer["has_remaining"].get<bool>() ? " more" : "");
  }

  std::string Reason() override { return Shown()["transaction"].value("rollback_reason", ""); }
  std::string Seen() override {
    const Json shown = Shown();
    if (!shown["transaction"].is_object()) return "none";
    std::string text = shown["transaction"]["status"];
    for (const Json& row : shown["branches"]) {
      text += row["status"] == "prepared" ? " P" : row["status"] == "succeed" ? " S" : " F";
    }
    return text;
  }

 private:
  Json Shown() { return Json::parse(nodes_->Ask("GET", "query", {{"gid", "g"}}).body); }

  /// What the answer means; then everything is done that can be.
  std::string Ask(const std::string& method, const Json& body) {
    const bool as_json_rpc = json_rpc_ && (method == "submit" || method == "prepare" ||
                                           method == "abort" || method == "registerBranch");
    if (!as_json_rpc) {
      const std::string means = Means(nodes_->Ask("POST", method, {}, body.dump()));
      nodes_->Settle();
      return means;
    }
    const Json call = {{"jsonrpc", "2.0"}, {"id", "1"}, {"method", method}, {"params", body}};
    const dtm::ApiReply answer = nodes_->Ask("POST", "/api/json-rpc", {}, call.dump());
    nodes_->Settle();
    const Json error = Json::parse(answer.body)["error"];
    if (error.is_null()) return "";
    return error["code"] == -32901 ? "no" : error["code"] == -32902 ? "ongoing" : answer.body;
  }
  static std::string Means(const dtm::ApiReply& answer) {
    if (answer.status == 200 && answer.body == kDone) return "";
    return answer.status == 409 ? "no" : answer.status == 425 ? "ongoing" : answer.body;
  }

  std::string Register(Json body, const std::string& id) {
    body["branch_id"] = id;
    body["data"] = "{}";
    body["confirm"] = "http://b/confirm" + id;
    body["cancel"] = "http://b/cancel" + id;
    body["url"] = "http://b/xa" + id;
    return Ask("registerBranch", body);
  }

  static Json BodyOf(const Order& order) {
    const bool saga = order.type == TransType::kSaga;
    Json body = {{"gid", order.gid}, {"trans_type", saga ? "saga" : "msg"}};
    body["steps"] = Json::array();
    for (const std::string n : {"1", "2"}) {
      Json step = {{"action", order.to_topic ? "topic://t" : "http://b/" + (saga ? "a" + n : n)}};
      if (saga) step["compensate"] = "http://b/c" + n;
      if (order.empty_urls) step = Json::object();
      if (order.old_style) step["data"] = n;
      body["steps"].push_back(step);
      if (!order.old_style) body["payloads"].push_back("{}");
      if (order.to_topic) break;
    }
    if (!saga) body["query_prepared"] = "http://b/q";
    Json custom = Json::object();
    if (order.concurrent && saga) custom["concurrent"] = true;
    if (order.concurrent && !saga) body["concurrent"] = true;
    if (order.ordered) custom["orders"]["1"] = {0};
    if (order.delay.count() > 0) custom["delay"] = order.delay.count();
    if (!custom.empty()) body["custom_data"] = custom.dump();
    if (order.json_rpc) body["protocol"] = "json-rpc";
    const dtm::TransOptions& options = order.options;
    body["wait_result"] = options.wait_result;
    body["retry_limit"] = options.retry_limit;
    body["retry_interval"] = options.retry_interval.count();
    body["timeout_to_fail"] = options.timeout_to_fail.count();
    return body;
  }

  const bool json_rpc_;
  const std::unique_ptr<ApiNodes> nodes_;
};

/// Every case by the paths and by JSON-RPC, each at new nodes.
inline void PlayEach(const std::function<std::unique_ptr<ApiNodes>()>& nodes,
                     const std::vector<bool>& by_json_rpc = {false, true}) {
  for (const bool json_rpc : by_json_rpc) {
    for (const Case& one : Cases()) {
      DYNAMIC_SECTION(one.name << (json_rpc ? ", by JSON-RPC" : "")) {
        Program program(nodes(), json_rpc);
        one.play(program);
      }
    }
  }
}

}  // namespace appendix_a
