/// The trace of a transaction, over real sockets: from the headers of its submit to each of its branches, of every type, by URL
/// and as a function, also when it is resumed.
#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/api_kit.hpp"
#include "tests/http/raw_client.hpp"
#include "tests/http/raw_server.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/client/msg.hpp>
#include <dtm/client/saga.hpp>
#include <dtm/client/tcc.hpp>
#include <dtm/client/workflow.hpp>
#include <dtm/client/xa.hpp>
#include <dtm/http/branches.hpp>
#include <dtm/http/remote_coordinator.hpp>
#include <dtm/http/server.hpp>
#include <dtm/store/memory.hpp>

using dtm::Definition;
using dtm::TransType;
using dtm_test::RawClient;
using dtm_test::RawServer;
using std::chrono::seconds;

namespace {

const std::string kParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const std::string kOther = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

/// A coordinator that is served, and branches that keep what was asked of them: "/pay?... [traceparent|tracestate]".
struct House {
  explicit House(const dtm::Options& options = dtm_test::Quiet())
      : tm(std::make_unique<dtm::MemoryStore>(), options),
        branches([this](int fd, int) {
          for (;;) {
            const std::string request = RawServer::ReadRequest(fd);
            if (request.empty()) return;
            Keep(request);
            RawServer::Write(fd, RawServer::Ok("{}"));
          }
        }),
        server(tm) {
    tm.Use(dtm::HttpBranches());
    tm.Register<nlohmann::json>("F", [this](const nlohmann::json&, const dtm::BranchInfo& info) {
      const std::lock_guard<std::mutex> lock(mutex);
      asked.push_back(std::string(Name(info.op)) + " F [" + info.traceparent + "|" +
                      info.tracestate + "]");
    });
    tm.Start();
    port = server.Start("127.0.0.1", 0);
    url = "http://127.0.0.1:" + std::to_string(port) + "/api/dtmsvr";
  }

  static std::string Header(const std::string& request, const std::string& name) {
    const std::size_t at = dtm::Lowered(request).find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const std::size_t begin = at + name.size() + 4;
    return request.substr(begin, request.find("\r\n", begin) - begin);
  }
  void Keep(const std::string& request) {
    const std::size_t begin = request.find('/');
    const std::string path = request.substr(begin, request.find_first_of("? ", begin) - begin);
    const std::lock_guard<std::mutex> lock(mutex);
    asked.push_back(path + " [" + Header(request, "traceparent") + "|" +
                    Header(request, "tracestate") + "]");
  }
  std::vector<std::string> Asked() {
    const std::lock_guard<std::mutex> lock(mutex);
    return asked;
  }
  void CheckAllAre(std::size_t count, const std::string& trace) {
    const std::vector<std::string> all = Asked();
    CHECK(all.size() == count);
    for (const std::string& one : all) {
      INFO(one);
      CHECK(one.find("[" + trace + "]") != std::string::npos);
    }
  }
  int Post(const std::string& path, const std::string& headers, const std::string& body) {
    RawClient client(port);
    client.Send("POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + headers +
                "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return client.Read().status;
  }
  std::string SagaOf(const std::string& more = {}) const {
    return R"({"gid":"g","trans_type":"saga","wait_result":true,"steps":[{"action":")" +
           branches.Url("/pay") + R"("}],"payloads":["{}"])" + more + "}";
  }

  dtm::Coordinator tm;
  std::mutex mutex;
  std::vector<std::string> asked;
  RawServer branches;
  dtm::Server server;
  int port = 0;
  std::string url;
};

dtm::TransOptions Traced() {
  dtm::TransOptions options;
  options.branch_headers = {{"traceparent", kParent}, {"tracestate", "a=1"}};
  return options;
}

}  // namespace

TEST_CASE("trace: the headers of a submit reach the branches") {
  House house;
  CHECK(house.Post("/api/dtmsvr/submit",
                   "Traceparent: " + kParent + "\r\nTracestate: a=1\r\ntracestate: b=2\r\n",
                   house.SagaOf()) == 200);
  CHECK(house.Asked() == std::vector<std::string>{"/pay [" + kParent + "|a=1,b=2]"});
}

TEST_CASE("trace: what is invalid or said twice is ignored, and what the body says counts") {
  House house;
  const auto submitted = [&house](const std::string& headers, const std::string& more = {}) {
    const std::string gid = house.tm.NewGid();
    std::string body = house.SagaOf(more);
    body.replace(body.find(R"("g")"), 3, '"' + gid + '"');
    CHECK(house.Post("/api/dtmsvr/submit", headers, body) == 200);
    return house.Asked().back();
  };
  const std::string header = "traceparent: " + kParent + "\r\n";
  CHECK(submitted("traceparent: nonsense\r\ntracestate: a=1\r\n") == "/pay [|]");
  CHECK(submitted(header + header) == "/pay [|]");
  CHECK(submitted("tracestate: a=1\r\n") == "/pay [|]");
  CHECK(submitted(header + "tracestate: A\r\n") == "/pay [" + kParent + "|]");
  CHECK(submitted(header, R"(,"branch_headers":{"traceparent":")" + kOther + "\"}") ==
        "/pay [" + kOther + "|]");
  CHECK(submitted(header, R"(,"Branch_Headers":{"X-Mine":"1"})") == "/pay [" + kParent + "|]");
  CHECK(submitted(header, R"(,"branch_headers":null)") == "/pay [" + kParent + "|]");
  CHECK(house.Post("/api/dtmsvr/submit", header, house.SagaOf(R"(,"branch_headers":7)")) == 400);
  std::string full;
  for (int i = 0; i < 32; ++i)
    full += (i == 0 ? "" : ",") + ("\"h" + std::to_string(i)) + "\":\"1\"";
  CHECK(submitted(header, R"(,"branch_headers":{)" + full + "}") ==
        "/pay [|]");  // there is no room
}

TEST_CASE("trace: by JSON-RPC the same") {
  House house;
  const std::string call =
      R"({"jsonrpc":"2.0","id":"1","method":"submit","params":)" + house.SagaOf() + "}";
  CHECK(house.Post("/api/json-rpc", "traceparent: " + kParent + "\r\n", call) == 200);
  house.CheckAllAre(1, kParent + "|");
}

TEST_CASE("trace: a transaction stays in the trace of its prepare") {
  House house;
  std::string body = R"({"gid":"g","trans_type":"msg","query_prepared":")" +
                     house.branches.Url("/ask") + R"(","wait_result":true,"steps":[{"action":")" +
                     house.branches.Url("/pay") + R"("}],"payloads":["{}"]})";
  CHECK(house.Post("/api/dtmsvr/prepare", "traceparent: " + kParent + "\r\n", body) == 200);
  CHECK(house.Post("/api/dtmsvr/submit", "traceparent: " + kOther + "\r\n", body) == 200);
  CHECK(house.Asked() == std::vector<std::string>{"/pay [" + kParent + "|]"});
}

TEST_CASE("trace: it is shown, other headers are not") {
  House house;
  CHECK(house.Post("/api/dtmsvr/submit", "traceparent: " + kParent + "\r\n",
                   house.SagaOf(R"(,"branch_headers":{"token":"secret"})")) == 200);
  RawClient client(house.port);
  client.Send("GET /api/dtmsvr/query?gid=g HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
  const std::string shown = client.Read().body;
  CHECK(shown.find(kParent) != std::string::npos);
  CHECK(shown.find("secret") == std::string::npos);
}

TEST_CASE("trace: every type, from this program and from elsewhere, by URL and as functions") {
  const bool remote = GENERATE(false, true);
  House house;
  dtm::RemoteOptions options;
  options.branch_url = house.url + "/branch";
  dtm::RemoteCoordinator elsewhere(house.url, options);
  dtm::Endpoint& endpoint = remote ? static_cast<dtm::Endpoint&>(elsewhere) : house.tm;
  const auto f = dtm::LocalBranch<nlohmann::json>{
      "F",
      house.tm.Register<nlohmann::json>("other", [](const nlohmann::json&) {}).registered_with};
  const nlohmann::json payload{{"amount", 30}};
  const std::string url = house.branches.Url("/pay");
  std::size_t calls = 0;

  dtm::Saga saga(endpoint, "saga");
  saga.AddBranchHeader("traceparent", kParent).AddBranchHeader("tracestate", "a=1");
  saga.Add(url, url, payload).Add(f, f, payload);
  CHECK(saga.SubmitAndWait(seconds(20)).Succeeded());
  calls += 2;
  house.CheckAllAre(calls, kParent + "|a=1");

  dtm::Msg message(endpoint, "msg");
  message.AddBranchHeader("traceparent", kParent).AddBranchHeader("tracestate", "a=1");
  message.Add(url, payload).Add(f, payload);
  CHECK(message.SubmitAndWait(seconds(20)).Succeeded());
  calls += 2;
  house.CheckAllAre(calls, kParent + "|a=1");

  dtm::TransOptions traced = Traced();
  traced.wait_result = true;
  dtm::TccGlobalTransaction(endpoint, "tcc", traced, [&](dtm::Tcc& tcc) {
    tcc.CallBranch(payload, url, url, url);
    tcc.CallBranch(payload, f, f, f);
  });
  calls += 4;
  house.CheckAllAre(calls, kParent + "|a=1");

  dtm::XaGlobalTransaction(endpoint, "xa", traced,
                           [&](dtm::Xa& xa) { xa.CallBranch(payload, url); });
  calls += 1;
  house.CheckAllAre(calls, kParent + "|a=1");

  if (remote) return;  // a workflow's steps are below
  const auto order =
      dtm::RegisterWorkflow<int>(house.tm, "order", [&](dtm::Workflow& wf, const int&) {
        wf.NewBranch().Call(url, payload);
        wf.NewBranch().Call(f, payload);
      });
  order.Execute("workflow", 1, Traced());
  calls += 2;
  house.CheckAllAre(calls, kParent + "|a=1");
}

TEST_CASE("trace: the initiator is asked in it, and a workflow is resumed in it") {
  House house;
  dtm::RemoteOptions options;
  options.branch_url = house.url + "/branch";
  dtm::RemoteCoordinator elsewhere(house.url, options);
  int runs = 0;
  const auto order =
      dtm::RegisterWorkflow<int>(elsewhere, house.tm, "order", [&](dtm::Workflow& wf, const int&) {
        if (++runs == 1) throw dtm::OngoingError("later");
        wf.NewBranch().Call(house.branches.Url("/step"), 1);
      });
  CHECK_THROWS_AS(order.Execute("w", 1, Traced()), dtm::OngoingError);
  house.tm.RetryNow("w");
  CHECK(house.tm.Wait("w", seconds(20)).Succeeded());
  CHECK(runs == 2);
  CHECK(house.Asked() == std::vector<std::string>{"/step [" + kParent + "|a=1]"});

  dtm::Msg message(house.tm, "m");
  message.AddBranchHeader("traceparent", kParent).AddBranchHeader("tracestate", "a=1");
  message.Add(house.branches.Url("/deliver"), 1);
  message.SetTimeoutToFail(seconds(1));
  message.Prepare(house.branches.Url("/ask"));
  CHECK(house.tm.Wait("m", seconds(20)).Succeeded());
  house.CheckAllAre(3, kParent + "|a=1");
  CHECK(house.Asked().at(1).find("/ask") == 0);
}

TEST_CASE("trace: each attempt is the parent of what its branch does, by URL") {
  std::vector<dtm::Span> spans;
  dtm::Options options = dtm_test::Quiet();
  options.on_span = [&spans](const dtm::Span& span) { spans.push_back(span); };
  House house(options);
  CHECK(house.Post("/api/dtmsvr/submit", "traceparent: " + kParent + "\r\ntracestate: a=1\r\n",
                   house.SagaOf()) == 200);
  CHECK(house.Post("/api/dtmsvr/submit", "", [&house] {
    std::string body = house.SagaOf(R"(,"branch_headers":{"traceparent":"x","tracestate":"a=1"})");
    return body.replace(body.find(R"("g")"), 3, R"("h")");
  }()) == 200);
  house.server.Stop();
  CHECK(house.tm.Stop(seconds(20)));
  REQUIRE(spans.size() == 4);
  CHECK(spans[0].name == "saga action 01");
  CHECK(spans[1].parent_id == kParent.substr(36, 16));
  const auto header = [&spans](std::size_t i) {
    return "/pay [00-" + spans[i].trace_id + "-" + spans[i].span_id + "-01|";
  };
  CHECK(house.Asked() == std::vector<std::string>{header(0) + "a=1]", header(2) + "]"});
  CHECK(spans[0].trace_id == kParent.substr(3, 32));
  CHECK(spans[2].trace_id != kParent.substr(3, 32));
}

TEST_CASE("trace: kept across retries and a crash") {
  dtm_test::ApiKit api([](dtm::Coordinator& tm) { tm.Register<int>("F", [](const int&) {}); });
  std::vector<std::string> seen;
  api.kit.Branches().On("http://a", {{dtm::Result::Error("busy"), {}, false},
                                     dtm::testing::ScriptedAnswer::Silence()});
  dtm::ApiRequest request{
      "POST",
      "/api/dtmsvr/submit",
      {},
      R"({"gid":"g","trans_type":"saga","steps":[{"action":"http://a"}],"payloads":["1"]})"};
  request.headers = {{"traceparent", kParent}};
  CHECK(api.api.Handle(request).status == 200);
  api.kit.Advance(seconds(11));
  api.kit.Crash();
  api.kit.Advance(seconds(60));
  REQUIRE(api.kit.Branches().Calls().size() == 3);
  for (const auto& call : api.kit.Branches().Calls()) CHECK(call.info.traceparent == kParent);
  CHECK(api.kit->Query("g")->status == dtm::Status::kSucceed);
}
