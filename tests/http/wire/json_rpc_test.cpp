/// JSON-RPC to branches: which urls speak it, the body of a call, what an answer means, and that a
/// connection speaks it only where it is spoken.
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include "tests/support/nested.hpp"
#include <dtm/http/calls/branch_http_call.hpp>
#include <dtm/http/hosts/blocking_host.hpp>
#include <dtm/http/wire/json_rpc.hpp>

using dtm::BranchInfo;
using dtm::Op;
using dtm::ParseUrl;
using dtm::Result;
using dtm::TransType;
using dtm_test::Ms;
using dtm_test::RawServer;
using Kind = Result::Kind;
namespace json_rpc = dtm::wire::json_rpc;

namespace {

const BranchInfo kInfo{"g\"1", TransType::kMsg, "01-02", Op::kAction};

nlohmann::json BodyOf(const std::string& payload) {
  return nlohmann::json::parse(
      json_rpc::BranchBody(ParseUrl("http://b/rpc?method=pay"), payload, kInfo));
}

/// The call of a transaction whose protocol is json-rpc.
dtm::BranchCall RpcCall(const std::string& url, const std::string& payload) {
  dtm::BranchCall call = dtm_test::CallTo(url, payload);
  auto definition = std::make_shared<dtm::Definition>(*call.definition);
  definition->json_rpc = true;
  call.definition = std::move(definition);
  return call;
}

struct Sent {
  std::string request;
  Result result;
};

/// Sends one call to a server that answers 200 with this body.
Sent Send(const std::string& target, const std::string& payload, const std::string& answer) {
  std::string request;
  Result result;
  {
    RawServer server([&](int fd, int) {
      request = RawServer::ReadRequest(fd);
      RawServer::Write(fd, RawServer::Ok(answer));
    });
    const dtm::BranchCall call = RpcCall(server.Url(target), payload);
    const dtm::Url url = ParseUrl(call.Url());
    struct One final : dtm::BranchHttpCall {
      One(const dtm::BranchCall& sent, const dtm::Url& to)
          : BranchHttpCall(sent, to, dtm_test::Clock::now() + Ms(5000)), call(sent), url(to) {}
      void OnDone(dtm::hosts::HttpOutcome outcome) override {
        told = Interpret(outcome, call, url).result;
      }
      const dtm::BranchCall& call;
      const dtm::Url& url;
      Result told;
    } one(call, url);
    dtm::hosts::BlockingHost(url).Send(one);
    result = one.told;
    server.AwaitClosed(1);
  }
  return {request, result};
}

}  // namespace

TEST_CASE("json_rpc: the method is the value of `method` in the query") {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"http://b/rpc?method=pay", "pay"},
      {"http://b/rpc?x=1&method=pay&y=2", "pay"},
      {"http://b/rpc?method=pay#method=no", "pay"},
      {"http://b/rpc?method=", ""},
      {"http://b/method=pay", ""},
      {"http://b/?method=no/rpc&xmethod=pay", "no/rpc"},
      {"http://b/rpc?xmethod=pay", ""},
      {"http://b/rpc?methods=pay", ""},
      {"http://b/rpc?method=bank%2Fpay%2", "bank/pay%2"},
      {"http://b/rpc", ""},
      {"http://method/rpc", ""},
  };
  for (const auto& [url, method] : rows) {
    CAPTURE(url);
    CHECK(json_rpc::MethodOf(ParseUrl(url)) == method);
    dtm::Definition definition;
    CHECK_FALSE(json_rpc::Speaks(definition, ParseUrl(url)));
    definition.json_rpc = true;
    CHECK(json_rpc::Speaks(definition, ParseUrl(url)) == !method.empty());
  }
}

TEST_CASE("json_rpc: the params are the payload and who is called for") {
  const nlohmann::json body = BodyOf(R"({"amount":30,"op":"forged"})");
  CHECK(body.size() == 4);
  CHECK(body["jsonrpc"] == "2.0");
  CHECK(body["id"].is_string());
  CHECK_FALSE(body["id"].get<std::string>().empty());
  CHECK(body["method"] == "pay");
  CHECK(body["params"] == nlohmann::json{{"amount", 30},
                                         {"gid", "g\"1"},
                                         {"trans_type", "msg"},
                                         {"branch_id", "01-02"},
                                         {"op", "action"}});
  CHECK(BodyOf("")["params"].size() == 4);
  CHECK(BodyOf("{}")["params"].size() == 4);
}

TEST_CASE("json_rpc: a payload that is no object has no place for who is called for") {
  for (const char* payload : {"null", "[]", "7", "\"x\"", "{", "x", "{} {}", "\xFF"}) {
    CAPTURE(payload);
    CHECK_THROWS_AS(BodyOf(payload), dtm::Error);
  }
}

TEST_CASE("json_rpc: a payload that is nested deeply is refused, not sent") {
  CHECK(BodyOf(R"({"a":)" + dtm_test::Nested(63) + "}")["params"].size() == 5);
  for (const std::size_t levels : {std::size_t{64}, dtm_test::kCrashing}) {
    CHECK_THROWS_AS(BodyOf(R"({"a":)" + dtm_test::Nested(levels) + "}"), dtm::Error);
  }
}

TEST_CASE("json_rpc: an answer that is nested deeply is a temporary error") {
  const std::string deep = dtm_test::Nested(dtm_test::kCrashing);
  CHECK(json_rpc::ReadReply(200, R"({"error":{"code":)" + deep + "}}").kind == Kind::kError);
  CHECK(json_rpc::ReadReply(200, R"({"result":)" + deep + "}").kind == Kind::kError);
}

TEST_CASE("json_rpc: what an answer means") {
  struct Row {
    int status;
    std::string body;
    Kind kind;
  };
  const std::vector<Row> rows = {
      {200, R"({"jsonrpc":"2.0","id":"1","result":{}})", Kind::kSuccess},
      {200, R"({"error":null,"result":"ok"})", Kind::kSuccess},
      {200, "{}", Kind::kSuccess},
      {200, R"({"error":{"code":-32901,"message":"no"}})", Kind::kFailure},
      {200, R"({"error":{"code":-32901.0}})", Kind::kFailure},
      {200, R"({"error":{"code":-32902,"message":"wait"}})", Kind::kOngoing},
      {200, R"({"error":{"code":-32603}})", Kind::kError},
      {200, R"({"error":{"code":"-32901"}})", Kind::kError},
      {200, R"({"error":{"code":null}})", Kind::kError},
      {200, R"({"error":{}})", Kind::kError},
      {200, R"({"error":"no"})", Kind::kError},
      {200, R"({"error":7})", Kind::kError},
      {200, R"({"error":false})", Kind::kError},
      {200, R"({"error":[]})", Kind::kError},
      {200, "", Kind::kError},
      {200, "ok", Kind::kError},
      {200, "[]", Kind::kError},
      {200, "7", Kind::kError},
      {200, R"({"result":)", Kind::kError},
      {200, R"({"result":"FAILURE"})", Kind::kFailure},
      {200, R"({"error":{"code":-32901,"message":"ONGOING"}})", Kind::kOngoing},
      {200, R"({"error":{"code":-32902,"message":"FAILURE"}})", Kind::kFailure},
      {409, "{}", Kind::kFailure},
      {425, "{}", Kind::kOngoing},
      {500, R"({"error":{"code":-32901}})", Kind::kError},
      {500, "{}", Kind::kError},
      {201, "{}", Kind::kError},
  };
  for (const Row& row : rows) {
    CAPTURE(row.status, row.body);
    CHECK(json_rpc::ReadReply(row.status, row.body).kind == row.kind);
  }
  CHECK(
      json_rpc::ReadReply(200, R"({"error":{"code":-32901,"message":"poor"}})").text.find("poor") !=
      std::string::npos);
}

TEST_CASE("json_rpc: a call to a url with a method is a POST to that url, without dtm's query") {
  const Sent sent = Send("/rpc?method=pay", R"({"n":1})", R"({"result":{}})");
  CHECK(sent.result.kind == Kind::kSuccess);
  CHECK(sent.request.compare(0, 30, "POST /rpc?method=pay HTTP/1.1\r") == 0);
  const auto body = nlohmann::json::parse(sent.request.substr(sent.request.find("\r\n\r\n") + 4));
  CHECK(body["method"] == "pay");
  CHECK(body["params"]["n"] == 1);
  CHECK(body["params"]["gid"] == "g1");
  CHECK(Send("/rpc?method=pay", "{}", R"({"error":{"code":-32901}})").result.kind ==
        Kind::kFailure);
  CHECK(Send("/rpc?method=pay", "{}", "ok").result.kind == Kind::kError);
}

TEST_CASE("json_rpc: a url without a method is called and answered by plain HTTP") {
  const std::string answer = GENERATE(as<std::string>{}, "", "ok", R"({"error":"is data"})");
  CAPTURE(answer);
  const Sent sent = Send("/plain", "{}", answer);
  CHECK(sent.request.compare(0, 12, "POST /plain?") == 0);
  CHECK(sent.request.find("gid=g1") != std::string::npos);
  CHECK(sent.result.kind == Kind::kSuccess);
}
