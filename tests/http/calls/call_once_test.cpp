/// A branch call that the caller waits for, over real sockets: what it asks, what comes back.
#include <string>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include <dtm/http/calls/call_once.hpp>
#include <dtm/http/remote/http_connection.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::InitiatorCall;
using dtm::Op;
using dtm::Result;
using dtm::TransType;
using dtm_test::Ms;
using dtm_test::RawServer;
using Kind = Result::Kind;

namespace {

/// Answers one request with these bytes, and keeps it.
struct Once {
  explicit Once(std::string answer)
      : answer_(std::move(answer)), server([this](int fd, int) {
          request = RawServer::ReadRequest(fd);
          RawServer::Write(fd, answer_);
        }) {}
  /// Makes the call; `request` is what arrived.
  Result Call(InitiatorCall call, const std::string& coordinator = "") {
    call.url = server.Url("/try");
    const Result result = dtm::CallOnce(call, coordinator);
    server.AwaitClosed(1);
    return result;
  }

 private:
  std::string answer_;

 public:
  std::string request;
  RawServer server;
};

InitiatorCall Try() {
  InitiatorCall call;
  call.info = {"g 1", TransType::kTcc, "0101", Op::kTry};
  call.payload = R"({"n":1})";
  return call;
}

std::string Says(int status, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) +
         " x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace

TEST_CASE("direct_call: a try is a POST with who it is for, and where the coordinator is") {
  Once once(RawServer::Ok("answer <&>"));
  InitiatorCall call = Try();
  call.tell_coordinator = true;
  call.options.branch_headers = {{"X-Token", "secret"}};
  const Result result = once.Call(call, "http://me:36789/api/dtmsvr");
  CHECK(result.kind == Kind::kSuccess);
  CHECK(result.text == "answer <&>");
  CHECK_THAT(once.request,
             ContainsSubstring("POST /try?dtm=http%3A%2F%2Fme%3A36789%2Fapi%2Fdtmsvr&"
                               "branch_id=0101&gid=g%201&op=try&trans_type=tcc HTTP/1.1\r\n") &&
                 ContainsSubstring("X-Token: secret\r\n") &&
                 ContainsSubstring("\r\n\r\n{\"n\":1}"));
  CHECK(once.request.find("phase2_url") == std::string::npos);
}

TEST_CASE("direct_call: the action of an xa is a POST that names where it is committed") {
  Once once(RawServer::Ok());
  InitiatorCall call = Try();
  call.info = {"g", TransType::kXa, "01", Op::kAction};
  call.payload.clear();
  call.tell_coordinator = true;
  call.phase2_url = "http://b/xa?x=1";
  CHECK(once.Call(call, "http://me").kind == Kind::kSuccess);
  CHECK_THAT(once.request, ContainsSubstring("POST /try?dtm=http%3A%2F%2Fme&"
                                             "phase2_url=http%3A%2F%2Fb%2Fxa%3Fx%3D1&branch_id=01&"
                                             "gid=g&op=action&trans_type=xa HTTP/1.1\r\n"));
}

TEST_CASE(
    "direct_call: the step of a workflow is told of no coordinator, and without a body is a GET") {
  Once once(RawServer::Ok("{}"));
  InitiatorCall call = Try();
  call.info = {"g", TransType::kWorkflow, "01", Op::kRollback};
  call.payload.clear();
  CHECK(once.Call(call, "http://me").text == "{}");
  CHECK_THAT(once.request, ContainsSubstring("GET /try?branch_id=01&gid=g&op=rollback&"
                                             "trans_type=workflow HTTP/1.1\r\n"));
  CHECK(once.request.find("dtm=") == std::string::npos);
}

TEST_CASE("direct_call: the query-back by the client is a GET for branch 00") {
  Once once(Says(409, "never was"));
  InitiatorCall call;
  call.info = {"g", TransType::kMsg, "00", Op::kMsg};
  CHECK(once.Call(call).kind == Kind::kFailure);
  CHECK_THAT(once.request,
             ContainsSubstring("GET /try?branch_id=00&gid=g&op=msg&trans_type=msg HTTP/1.1\r\n"));
}

TEST_CASE("direct_call: answers are read by the rule of all branches") {
  struct Row {
    std::string answer;
    Kind kind;
  };
  const Row rows[] = {
      {Says(409, "no money"), Kind::kFailure},
      {Says(425, "later"), Kind::kOngoing},
      {Says(200, "x FAILURE y"), Kind::kFailure},
      {Says(200, "ONGOING"), Kind::kOngoing},
      {Says(500, "boom"), Kind::kError},
      {Says(201, ""), Kind::kError},
      {Says(302, ""), Kind::kError},
      {"HTTP/1.1 200 OK\r\nConte", Kind::kError},
      {"", Kind::kError},
  };
  for (const Row& row : rows) {
    CAPTURE(row.answer);
    Once once(row.answer);
    CHECK(once.Call(Try()).kind == row.kind);
  }
  Once poor(Says(409, "no money"));
  CHECK_THAT(poor.Call(Try()).text, ContainsSubstring("no money"));
}

TEST_CASE(
    "direct_call: without a url there is nothing to call; a bad one is an error, not an "
    "exception") {
  InitiatorCall call = Try();
  CHECK(dtm::CallOnce(call, "http://me").kind == Kind::kSuccess);
  for (const char* url : {"x", "local:f", "ftp://b/x", "http://", "topic://t"}) {
    CAPTURE(url);
    call.url = url;
    const Result result = dtm::CallOnce(call, "http://me");
    CHECK(result.kind == Kind::kError);
    CHECK_FALSE(result.text.empty());
  }
  call.url = "http://127.0.0.1:1/x";
  call.options.branch_headers = {{"a b", "x"}};
  CHECK_THAT(dtm::CallOnce(call, "").text, ContainsSubstring("a b"));
}

TEST_CASE("direct_call: nothing listens, or nobody answers within the timeout of the call") {
  InitiatorCall call = Try();
  call.url = "http://127.0.0.1:1/x";
  CHECK(dtm::CallOnce(call, "").kind == Kind::kError);
  RawServer silent([](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) continue;
  });
  call.url = silent.Url();
  call.options.request_timeout = std::chrono::seconds(1);
  const auto begin = dtm_test::Clock::now();
  const Result result = dtm::CallOnce(call, "");
  CHECK(result.kind == Kind::kError);
  CHECK_THAT(result.text, ContainsSubstring("1000 ms"));
  CHECK(dtm_test::Clock::now() - begin >= Ms(900));
}
