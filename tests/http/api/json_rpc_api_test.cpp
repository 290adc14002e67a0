/// The API as JSON-RPC (protocol §7): the table of answers, and that each method does what the request of
/// that name does.
#include <string>

#include "tests/catch.hpp"
#include "tests/http/api_kit.hpp"
#include <dtm/http/api/json_rpc_api.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::ApiReply;
using dtm_test::ApiKit;
using dtm_test::Json;

namespace {

std::string Rpc(const std::string& method, const std::string& params) {
  return R"({"jsonrpc":"2.0","id":"no-use","method":")" + method + R"(","params":)" + params + "}";
}

const char kRpcDone[] = R"({"error":null,"id":"no-use","jsonrpc":"2.0","result":null})";

/// The four keys in their order; the error's code, 0 for none.
int CodeOf(const ApiReply& answer, int status = 200) {
  CHECK(answer.status == status);
  const Json body = Json::parse(answer.body);
  std::string keys;
  for (const auto& item : body.items()) keys += item.key() + " ";
  CHECK(keys == "error id jsonrpc result ");
  CHECK(body["jsonrpc"] == "2.0");
  if (body["error"].is_null()) return 0;
  CHECK(body["error"]["message"].is_string());
  CHECK_FALSE(body["error"]["message"].get<std::string>().empty());
  return body["error"]["code"];
}

}  // namespace

TEST_CASE("json_rpc_api: what is no JSON-RPC is refused as the protocol's table says") {
  ApiKit kit;
  for (const char* body : {"", "{", "[]", "7", "null", R"([{"jsonrpc":"2.0","id":"1"}])",
                           R"({"jsonrpc":"2.0","id":1,"method":"newGid"})",
                           R"({"jsonrpc":2.0,"id":"1","method":"newGid"})",
                           R"({"jsonrpc":"2.0","id":"1","method":7})", "\xFF"}) {
    CAPTURE(body);
    const ApiReply answer = kit.AskPost("/api/json-rpc", body);
    CHECK(CodeOf(answer, 400) == -32700);
    CHECK(Json::parse(answer.body)["id"] == "");
    CHECK(Json::parse(answer.body)["result"].is_null());
    CHECK_THAT(answer.body, ContainsSubstring("Parse json error: "));
  }
  for (const char* body :
       {"{}", R"({"jsonrpc":"2.0","method":"newGid"})",
        R"({"jsonrpc":"2.0","id":"","method":"newGid"})",
        R"({"jsonrpc":"2.0","id":null,"method":"newGid"})",
        R"({"jsonrpc":"1.0","id":"7","method":"newGid"})", R"({"id":"7","method":"newGid"})"}) {
    CAPTURE(body);
    const ApiReply answer = kit.AskPost("/api/json-rpc", body);
    CHECK(CodeOf(answer) == -32600);
    CHECK_THAT(answer.body, ContainsSubstring("Bad json request: "));
    CHECK(Json::parse(answer.body)["result"].is_null());
  }
  for (const char* method : {"", "x", "query", "all", "NewGid", "forceStop", "prepareWorkflow",
                             "../submit", "subscribe"}) {
    CAPTURE(method);
    const ApiReply answer = kit.AskPost("/api/json-rpc", Rpc(method, R"({"gid":"g"})"));
    CHECK(CodeOf(answer) == -32601);
    CHECK(Json::parse(answer.body)["error"]["message"] ==
          "Method not found: " + std::string(method));
    CHECK(Json::parse(answer.body)["id"] == "no-use");
  }
}

TEST_CASE("json_rpc_api: newGid gives a gid in its result") {
  ApiKit kit;
  for (const char* params : {"{}", "null", "[1]"}) {
    const Json body = Json::parse(kit.AskPost("/api/json-rpc", Rpc("newGid", params)).body);
    CHECK(body["error"].is_null());
    CHECK(body["result"].size() == 1);
    CHECK_FALSE(body["result"]["gid"].get<std::string>().empty());
  }
  const std::string without = R"({"jsonrpc":"2.0","id":"7","method":"newGid"})";
  CHECK(CodeOf(kit.AskPost("/api/json-rpc", without)) == 0);
}

TEST_CASE("json_rpc_api: a tcc from its prepare to its end") {
  ApiKit kit;
  const std::string tcc = R"({"gid":"g","trans_type":"tcc"})";
  const std::string branch =
      R"({"gid":"g","trans_type":"tcc","branch_id":"01","data":"{}","confirm":"http://b/confirm",)"
      R"("cancel":"http://b/cancel"})";
  CHECK(kit.AskPost("/api/json-rpc", Rpc("prepare", tcc)).body == kRpcDone);
  CHECK(kit.AskPost("/api/json-rpc", Rpc("registerBranch", branch)).body == kRpcDone);
  CHECK(kit.StatusOf("g") == "prepared");
  CHECK(kit.AskPost("/api/json-rpc", Rpc("submit", tcc)).body == kRpcDone);
  kit.kit.Settle();
  CHECK(kit.StatusOf("g") == "succeed");
  const ApiReply late = kit.AskPost("/api/json-rpc", Rpc("abort", tcc));
  CHECK(CodeOf(late) == -32901);
  CHECK(Json::parse(late.body)["result"] == Json::object());
  CHECK(CodeOf(kit.AskPost("/api/json-rpc", Rpc("registerBranch", branch))) == -32901);
  const std::string other = R"({"gid":"a","trans_type":"tcc","rollback_reason":"<no>"})";
  CHECK(kit.AskPost("/api/json-rpc", Rpc("prepare", other)).body == kRpcDone);
  CHECK(kit.AskPost("/api/json-rpc", Rpc("abort", other)).body == kRpcDone);
  CHECK(kit.Shown("a")["rollback_reason"] == "<no>");
}

TEST_CASE("json_rpc_api: bad params are an error of the call, not of JSON-RPC") {
  ApiKit kit;
  for (const char* params : {"null", "[]", "7", "{}", R"({"gid":7})", R"({"gid":"g"})",
                             R"({"gid":"g","trans_type":"x"})"}) {
    for (const char* method : {"prepare", "submit", "abort", "registerBranch"}) {
      CAPTURE(params, method);
      const ApiReply answer = kit.AskPost("/api/json-rpc", Rpc(method, params));
      CHECK(CodeOf(answer) == -32603);
      CHECK(Json::parse(answer.body)["result"] == Json::object());
    }
  }
  const std::string none = R"({"jsonrpc":"2.0","id":"7","method":"submit"})";
  CHECK(CodeOf(kit.AskPost("/api/json-rpc", none)) == -32603);
  CHECK(kit.StatusOf("g") == "none");
}

TEST_CASE("json_rpc_api: the outcome decides the code") {
  struct Row {
    dtm::ApiOutcome outcome;
    int code;
  };
  for (const Row& row :
       {Row{{200, ""}, 0}, Row{{409, "no <b>"}, -32901}, Row{{409, "no & no", true}, -32901},
        Row{{425, "later"}, -32902}, Row{{400, "bad"}, -32603}, Row{{500, "oops"}, -32603},
        Row{{503, "later"}, -32603}}) {
    CAPTURE(row.outcome.status);
    const ApiReply answer = dtm::json_rpc_api::Of("<id>", row.outcome);
    CHECK(CodeOf(answer) == row.code);
    CHECK(answer.body.find_first_of("<>&") == std::string::npos);
    CHECK(Json::parse(answer.body)["id"] == "<id>");
    if (row.code != 0) CHECK(Json::parse(answer.body)["error"]["message"] == row.outcome.message);
  }
}

TEST_CASE("json_rpc_api: a call counts as JSON-RPC, and as what it asks for") {
  ApiKit kit;
  (void)kit.AskPost("/api/json-rpc", Rpc("newGid", "{}"));
  (void)kit.AskPost("/api/json-rpc", Rpc("prepare", "{}"));
  const std::string metrics = kit.AskGet("/api/metrics").body;
  for (const char* line : {R"(api="jsonrpc",status="ok"} 2)", R"(api="newgid",status="ok"} 1)",
                           R"(api="prepare",status="fail"} 1)"}) {
    CHECK_THAT(metrics, ContainsSubstring(line));
  }
}

TEST_CASE("json_rpc_api: one that has to wait is no failure") {
  ApiKit kit;
  kit.kit.Branches().On("http://b/a", dtm::Result::Ongoing());
  const std::string saga =
      R"({"gid":"g","trans_type":"saga","wait_result":true,"steps":[{"action":"http://b/a"}],)"
      R"("payloads":["{}"]})";
  const int code = CodeOf(kit.AskPost("/api/json-rpc", Rpc("submit", saga)));
  CHECK(code != 0);
  CHECK(code != -32901);
  kit.kit.Advance(std::chrono::seconds(11));
  CHECK(kit.AskPost("/api/json-rpc", Rpc("submit", saga)).body == kRpcDone);
}
