/// The protocol's Appendix A over the API: every case of tests/support/appendix_a.hpp as a program in any language asks
/// for it, by paths and by JSON-RPC, while hours pass in a millisecond. With sockets: appendix_a_test.cpp.
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/api_kit.hpp"
#include "tests/support/appendix_a.hpp"
#include <dtm/http/wire/base64.hpp>
#include <dtm/testing/scripted_branches.hpp>

using appendix_a::Global;
using appendix_a::Order;
using Catch::Matchers::ContainsSubstring;
using dtm::Result;
using dtm::TransType;
using dtm_test::ApiKit;
using dtm_test::Json;
using dtm_test::kDone;
using dtm_test::OnlyGid;
using std::chrono::seconds;

namespace {

/// What the SDKs do, request by request.
class Program : public appendix_a::House {
 public:
  explicit Program(bool json_rpc) : json_rpc_(json_rpc) {}

  dtm::testing::TestCoordinator& Kit() override { return api_.kit; }

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
        abort["rollback_reason"] = appendix_a::kNo;
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
    const Json state = Json::parse(api_.AskPost("prepareWorkflow", body.dump()).body);
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
    CHECK(Kit().Branches().Calls()[0].info.workflow == "wf");
    (void)Workflow(0);
  }

  std::string Topic(const std::string& verb, const std::string& url) override {
    if (verb == "delete") return Means(api_.Ask("DELETE", "topic/unknown"));
    return Means(api_.AskGet(verb, {{"topic", "t"}, {"url", url}}));
  }

  std::string Reset(std::size_t limit) override {
    const Json answer = Json::parse(
        api_.AskGet("resetCronTime", {{"timeout", "500"}, {"limit", std::to_string(limit)}}).body);
    Kit().Settle();
    return std::to_string(answer["succeed_count"].get<int>()) +
           (answer["has_remaining"].get<bool>() ? " more" : "");
  }

  std::string Reason() override { return api_.Shown("g").value("rollback_reason", ""); }
  std::string Seen() override {
    const Json shown = Json::parse(api_.AskGet("query", {{"gid", "g"}}).body);
    if (!shown["transaction"].is_object()) return "none";
    std::string text = shown["transaction"]["status"];
    for (const Json& row : shown["branches"]) {
      text += row["status"] == "prepared" ? " P" : row["status"] == "succeed" ? " S" : " F";
    }
    return text;
  }

 private:
  /// What the answer means; then everything is done that can be.
  std::string Ask(const std::string& method, const Json& body) {
    const bool as_json_rpc = json_rpc_ && (method == "submit" || method == "prepare" ||
                                           method == "abort" || method == "registerBranch");
    if (!as_json_rpc) {
      const std::string means = Means(api_.AskPost(method, body.dump()));
      Kit().Settle();
      return means;
    }
    const Json call = {{"jsonrpc", "2.0"}, {"id", "1"}, {"method", method}, {"params", body}};
    const dtm::ApiReply answer = api_.AskPost("/api/json-rpc", call.dump());
    Kit().Settle();
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
  ApiKit api_;
};

struct World : ApiKit {
  std::string Body(const std::string& type, const std::string& more = "") {
    return R"({"gid":"g","trans_type":")" + type + "\"" + more + "}";
  }
  /// What is wrong with the answer; then everything is done that can be.
  std::string Tell(const std::string& path, const std::string& body, int status = 200) {
    const dtm::ApiReply answer = AskPost(path, body);
    kit.Settle();
    const bool good = answer.status == status && (status != 200 || answer.body == kDone);
    return good ? "" : std::to_string(answer.status) + " " + answer.body;
  }
};

}  // namespace

TEST_CASE("Appendix A: every case, over the API, by its paths and by JSON-RPC") {
  for (const bool json_rpc : {false, true}) {
    for (const appendix_a::Case& one : appendix_a::Cases()) {
      DYNAMIC_SECTION(one.name << (json_rpc ? ", by JSON-RPC" : "")) {
        Program program(json_rpc);
        one.play(program);
      }
    }
  }
}

TEST_CASE("Appendix A: a topic of a message is shown as one step, and its urls as branches of it") {
  World world;
  const std::string steps = R"(,"steps":[{"action":"topic://t"}],"payloads":["{}"])";
  const dtm::ApiReply answer = world.AskPost("submit", world.Body("msg", steps));
  CHECK_THAT(answer.body, ContainsSubstring("topic not found"));
  for (const char* url : {"http://b/1", "http://b/2"}) {
    CHECK(world.AskGet("subscribe", {{"topic", "t"}, {"url", url}}).body == kDone);
  }
  CHECK(world.Tell("submit", world.Body("msg", steps + R"(,"protocol":"json-rpc")")) == "");
  const Json branches = Json::parse(world.AskGet("query", {{"gid", "g"}}).body)["branches"];
  CHECK(branches[0]["branch_id"] == "01-01");
  CHECK(branches[1]["branch_id"] == "01-02");
  CHECK(world.Shown("g")["steps"] == Json::array({{{"action", "topic://t"}}}));
  CHECK(world.Shown("g")["payloads"] == Json::array({"{}"}));
  CHECK(world.Shown("g")["protocol"] == "json-rpc");
}

TEST_CASE("Appendix A: a timed out tcc says how long it had, also if that was not its own (W27)") {
  World world;
  const bool own = GENERATE(false, true);
  CHECK(world.Tell("prepare", world.Body("tcc", own ? R"(,"timeout_to_fail":7)" : "")) == "");
  world.kit.Advance(seconds(own ? 8 : 36));
  CHECK(world.Shown("g")["rollback_reason"] ==
        (own ? "Timeout after 7 seconds" : "Timeout after 35 seconds"));
  CHECK(world.Tell("submit", world.Body("tcc"), 409) == "");
}

TEST_CASE(
    "Appendix A: a tcc or xa that is submitted again while it is ONGOING skips nothing (W1)") {
  World world;
  const std::string type = GENERATE("tcc", "xa");
  world.kit.Branches().On("http://b/1", Result::Ongoing());
  CHECK(world.Tell("prepare", world.Body(type)) == "");
  CHECK(world.Tell("registerBranch",
                   world.Body(type, R"(,"branch_id":"01","data":"","url":"http://b/1",)"
                                    R"("confirm":"http://b/1","cancel":"http://b/2")")) == "");
  for (int i = 0; i < 2; ++i) {
    CHECK(world.Tell("submit", world.Body(type)) == "");
    CHECK(world.StatusOf("g") == "submitted");
  }
  world.kit.Advance(seconds(11));
  CHECK(world.StatusOf("g") == "succeed");
  CHECK(world.kit.Branches().Urls() == std::vector<std::string>{"http://b/1", "http://b/1"});
}

TEST_CASE("wait_result: the abort of a tcc or xa is answered when all is cancelled, or must wait") {
  World world;
  const std::string type = GENERATE("tcc", "xa");
  const bool waits = GENERATE(true, false);
  CAPTURE(type, waits);
  world.kit.Branches().On("http://b/2", {{Result::Ongoing()}});
  CHECK(world.Tell("prepare", world.Body(type, waits ? R"(,"wait_result":true)" : "")) == "");
  CHECK(world.Tell("registerBranch",
                   world.Body(type, R"(,"branch_id":"01","data":"","url":"http://b/2",)"
                                    R"("confirm":"http://b/1","cancel":"http://b/2")")) == "");
  CHECK(world.Tell("abort", world.Body(type), waits ? 425 : 200) == "");
  CHECK(world.StatusOf("g") == "aborting");
  CHECK(world.Tell("abort", world.Body(type)) == "");  // makes the waiting call
  CHECK(world.StatusOf("g") == "failed");
  CHECK(world.Tell("abort", world.Body(type), 409) == "");
}

TEST_CASE("Appendix A: who prepares a workflow again is told what it had done") {
  World world;
  const std::string body = world.Body(
      "workflow", R"(,"query_prepared":"http://b/resume","custom_data":"{\"name\":\"wf\"}")");
  CHECK(world.AskPost("prepareWorkflow", body).status == 200);
  CHECK(world.Tell("registerBranch",
                   world.Body("workflow", R"(,"branch_id":"01","op":"action","status":"succeed",)"
                                          R"("data":"one")")) == "");
  const Json shown = Json::parse(world.AskPost("prepareWorkflow", body).body);
  CHECK(shown["transaction"]["status"] == "prepared");
  REQUIRE(shown["progresses"].size() == 1);
  CHECK(shown["progresses"][0]["bin_data"] == "b25l");
}
