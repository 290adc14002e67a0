/// RemoteCoordinator against a real dtm::Server: what only msg, tcc, xa and workflow ask of it.
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include <dtm/client/workflow.hpp>
#include <dtm/http/branches.hpp>
#include <dtm/http/remote_coordinator.hpp>
#include <dtm/http/server.hpp>
#include <dtm/store/memory.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Definition;
using dtm::Op;
using dtm::RemoteCoordinator;
using dtm::RemoteOptions;
using dtm::Status;
using dtm::TransType;
using dtm_test::RawServer;
using std::chrono::seconds;

namespace {

/// A coordinator that is served, with branches that answer 200 and keep what was asked of them.
struct House {
  House()
      : tm(std::make_unique<dtm::MemoryStore>(), Quiet()),
        branches([this](int fd, int) {
          for (;;) {
            const std::string request = RawServer::ReadRequest(fd);
            if (request.empty()) return;
            {
              const std::lock_guard<std::mutex> lock(mutex);
              requests.push_back(request);
            }
            RawServer::Write(fd, RawServer::Ok("{}"));
          }
        }),
        server(tm) {
    tm.Use(dtm::HttpBranches());
    tm.Start();
    url = "http://127.0.0.1:" + std::to_string(server.Start("127.0.0.1", 0)) + "/api/dtmsvr";
  }
  static dtm::Options Quiet() {
    dtm::Options options;
    options.log = [](dtm::LogLevel, const std::string&) {};
    return options;
  }
  /// The first lines of what was asked of the branches.
  std::vector<std::string> Asked() {
    const std::lock_guard<std::mutex> lock(mutex);
    std::vector<std::string> lines;
    for (const std::string& request : requests)
      lines.push_back(request.substr(0, request.find(" HTTP")));
    return lines;
  }

  dtm::Coordinator tm;
  std::mutex mutex;
  std::vector<std::string> requests;
  RawServer branches;
  dtm::Server server;
  std::string url;
};

Definition Of(TransType type, const std::string& gid = "g") {
  Definition definition;
  definition.gid = gid;
  definition.type = type;
  return definition;
}

std::string Says(const std::string& body) {
  return "HTTP/1.1 200 x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace

TEST_CASE("remote_types: a tcc is prepared, registers its branches and is submitted") {
  House house;
  RemoteCoordinator remote(house.url);
  CHECK(remote.Prepare(Of(TransType::kTcc)).status == Status::kPrepared);
  dtm::Step branch{house.branches.Url("/confirm"), house.branches.Url("/cancel"), "{}", "01"};
  remote.RegisterBranch("g", TransType::kTcc, branch);
  remote.RegisterBranch("g", TransType::kTcc, branch);
  branch.payload = "other";
  CHECK_THROWS_AS(remote.RegisterBranch("g", TransType::kTcc, branch), dtm::RejectedError);
  CHECK_THROWS_AS(remote.RegisterBranch("g", TransType::kXa, branch), dtm::RejectedError);
  CHECK_THROWS_WITH(remote.RegisterBranch("none", TransType::kTcc, branch),
                    ContainsSubstring("none"));
  CHECK(remote.SubmitAndWait(Of(TransType::kTcc), seconds(10)).Succeeded());
  REQUIRE(house.Asked().size() == 1);
  CHECK_THAT(house.Asked()[0],
             ContainsSubstring("POST /confirm?") && ContainsSubstring("op=confirm"));
  CHECK(remote.Submit(Of(TransType::kTcc)).gid == "g");  // a repeat is safe
  CHECK_THROWS_AS(remote.Abort("g", TransType::kTcc, "late"), dtm::RejectedError);
  branch.branch_id = "02";
  CHECK_THROWS_AS(remote.RegisterBranch("g", TransType::kTcc, branch), dtm::RejectedError);
}

TEST_CASE("remote_types: an abort is told once it is decided, with its reason") {
  House house;
  RemoteCoordinator remote(house.url);
  const TransType type = GENERATE(TransType::kTcc, TransType::kXa);
  remote.Prepare(Of(type));
  remote.RegisterBranch("g", type,
                        {house.branches.Url("/x"), house.branches.Url("/x"), "{}", "01"});
  CHECK_THROWS_AS(remote.Abort("g", TransType::kMsg, "no"), dtm::RejectedError);
  CHECK_THROWS_AS(remote.Abort("none", type, "no"), dtm::RejectedError);
  remote.Abort("g", type, "no <money>");
  CHECK(remote.Wait("g", seconds(10)).Failed());
  CHECK(house.tm.Query("g")->reason == "no <money>");
  CHECK_THAT(house.Asked().at(0),
             ContainsSubstring(type == TransType::kTcc ? "op=cancel" : "op=rollback"));
  CHECK_THROWS_AS(remote.Submit(Of(type)), dtm::FailureError);
}

TEST_CASE("remote_types: an abort that waits for its result is told once it is decided too") {
  House house;
  RemoteCoordinator remote(house.url);
  RawServer busy([](int fd, int) {
    (void)RawServer::ReadRequest(fd);
    RawServer::Write(fd, "HTTP/1.1 425 later\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  });
  Definition tcc = Of(TransType::kTcc);
  tcc.options.wait_result = true;
  remote.Prepare(tcc);
  remote.RegisterBranch("g", TransType::kTcc, {busy.Url(), busy.Url(), "{}", "01"});
  CHECK_NOTHROW(remote.Abort("g", TransType::kTcc, "no"));
  CHECK(house.tm.Query("g")->status == Status::kAborting);
}

TEST_CASE("remote_types: a message is prepared and submitted, its topics are the coordinator's") {
  House house;
  house.tm.Subscribe("t", house.branches.Url("/1"));
  house.tm.Subscribe("t", house.branches.Url("/2"));
  RemoteCoordinator remote(house.url);
  Definition message = Of(TransType::kMsg);
  message.steps = {{"topic://t", "", "{}"}};
  CHECK_THROWS_WITH(remote.Prepare(message), ContainsSubstring("query_prepared"));
  message.query_prepared = house.branches.Url("/q");
  remote.Prepare(message);
  CHECK(remote.SubmitAndWait(message, seconds(10)).Succeeded());
  CHECK(house.Asked().size() == 2);
  CHECK(remote.Submit(message).gid == "g");
  message.gid = "other";
  message.steps[0].action = "topic://none";
  CHECK_THROWS_WITH(remote.Submit(message), ContainsSubstring("topic not found"));
}

TEST_CASE("remote_types: that branches are called by JSON-RPC is told to the coordinator") {
  House house;
  RemoteCoordinator remote(house.url);
  Definition message = Of(TransType::kMsg);
  message.json_rpc = true;
  message.steps = {{house.branches.Url("/rpc?method=pay"), "", "{}"}};
  CHECK(remote.SubmitAndWait(message, seconds(10)).Succeeded());
  CHECK(house.tm.Query("g")->definition->json_rpc);
  CHECK(house.Asked().at(0) == "POST /rpc?method=pay");
}

TEST_CASE("remote_types: a workflow is prepared, recorded and finished") {
  House house;
  RemoteCoordinator remote(house.url);
  Definition workflow = Of(TransType::kWorkflow);
  workflow.workflow = "wf";
  workflow.data = std::string("\0data", 5);
  workflow.options.request_timeout = std::chrono::seconds(8);
  workflow.options.branch_headers["Authorization"] = "canary";
  dtm::WorkflowState state = remote.PrepareWorkflow(workflow);
  CHECK(state.status == Status::kPrepared);
  CHECK(state.options.request_timeout == std::chrono::seconds(8));
  CHECK(state.options.branch_headers.empty());  // they may be credentials, and are not shown
  CHECK(state.recorded.empty());
  CHECK(house.tm.Query("g")->definition->workflow == "wf");
  CHECK(house.tm.Query("g")->definition->data == workflow.data);
  dtm::Step step{"", "", "answer", "01", "", Op::kAction, false};
  remote.RegisterBranch("g", TransType::kWorkflow, step);
  step.branch_id = "02";
  step.failed = true;
  remote.RegisterBranch("g", TransType::kWorkflow, step);
  state = remote.PrepareWorkflow(workflow);
  REQUIRE(state.recorded.size() == 2);
  CHECK(state.recorded[0].payload == "answer");
  CHECK(state.recorded[0].op == Op::kAction);
  CHECK_FALSE(state.recorded[0].failed);
  CHECK(state.recorded[1].branch_id == "02");
  CHECK(state.recorded[1].failed);
  remote.FinishWorkflow("g", Status::kFailed, "no money", "result");
  remote.FinishWorkflow("g", Status::kFailed, "no money", "result");
  CHECK_THROWS_AS(remote.FinishWorkflow("g", Status::kSucceed, "", ""), dtm::RejectedError);
  CHECK_THROWS_AS(remote.FinishWorkflow("none", Status::kSucceed, "", ""), dtm::RejectedError);
  state = remote.PrepareWorkflow(workflow);
  CHECK(state.status == Status::kFailed);
  CHECK(state.reason == "no money");
  CHECK(state.result == "result");
  remote.Prepare(Of(TransType::kTcc, "tcc"));
  workflow.gid = "tcc";
  CHECK_THROWS_AS(remote.PrepareWorkflow(workflow), dtm::RejectedError);
}

TEST_CASE(
    "remote_types: a gid is one workflow with one input, at the start and when it is resumed") {
  House house;
  RemoteOptions options;
  options.branch_url = house.url + "/branch";
  RemoteCoordinator remote(house.url, options);
  bool broken = true;
  std::vector<int> ran;
  const auto run = [&](dtm::Workflow& wf, const int& amount) {
    wf.NewBranch().Do([&] { ran.push_back(amount); });
    if (broken) throw dtm::OngoingError("later");
    return "paid " + std::to_string(amount);
  };
  const auto pay = dtm::RegisterWorkflow<int>(remote, house.tm, "pay", run);
  const auto refund = dtm::RegisterWorkflow<int>(remote, house.tm, "refund", run);
  for (const bool ended : {false, true}) {
    CAPTURE(ended);
    broken = !ended;
    if (ended) {
      CHECK(pay.Execute("g", 30) == "paid 30");
    } else {
      CHECK_THROWS_AS(pay.Execute("g", 30), dtm::OngoingError);
    }
    CHECK_THROWS_AS(pay.Execute("g", 60), dtm::RejectedError);
    CHECK_THROWS_AS(refund.Execute("g", 30), dtm::RejectedError);
    dtm::BranchInfo info{"g", TransType::kWorkflow, "00", Op::kResume, "pay"};
    CHECK_THAT(house.tm.CallFunction("pay", "60", info).text, ContainsSubstring("other data"));
    CHECK_THAT(house.tm.CallFunction("refund", "30", info).text, ContainsSubstring("'refund'"));
    info.gid = "unknown";  // forged, or long after its end
    CHECK_THAT(house.tm.CallFunction("pay", "30", info).text, ContainsSubstring("is not stored"));
    CHECK(!house.tm.Query("unknown"));
    CHECK(ran == std::vector<int>{30});
  }
  CHECK(pay.Execute("g", 30) == "paid 30");
}

TEST_CASE(
    "remote_types: what a step was is kept by our server, and a mismatch is refused when it is "
    "resumed") {
  House house;
  RemoteOptions options;
  options.branch_url = house.url + "/branch";
  RemoteCoordinator remote(house.url, options);
  std::vector<std::string> did;
  bool checks = false, broken = true;
  const auto pay =
      dtm::RegisterWorkflow<int>(remote, house.tm, "pay", [&](dtm::Workflow& wf, const int&) {
        if (checks) wf.NewBranch("check").Do([&] { did.push_back("check"); });
        wf.NewBranch("charge").Call(house.branches.Url("/charge"), 1);
        wf.NewBranch().Do([&] { did.push_back("ship"); });
        if (broken) throw dtm::OngoingError("later");
      });
  CHECK_THROWS_AS(pay.Execute("g", 30), dtm::OngoingError);
  const auto& steps = house.tm.Query("g")->definition->steps;
  CHECK(steps[0].action == house.branches.Url("/charge"));
  CHECK(steps[0].topic == "charge");
  CHECK(steps[1].action == dtm::kOwnCode);
  checks = true;
  const dtm::BranchInfo info{"g", TransType::kWorkflow, "00", Op::kResume, "pay"};
  const dtm::Result resumed = house.tm.CallFunction("pay", "30", info);
  CHECK(resumed.kind == dtm::Result::Kind::kError);
  CHECK_THAT(resumed.text,
             ContainsSubstring("/charge named 'charge'") && ContainsSubstring("'check'"));
  CHECK(did == std::vector<std::string>{"ship"});
  checks = broken = false;
  pay.Execute("g", 30);
  CHECK(did.size() == 1);
  CHECK(house.Asked().size() == 1);
}

TEST_CASE("remote_types: the answer of a step comes back as the same bytes, up to its limit") {
  House house;
  RemoteCoordinator remote(house.url);
  const std::vector<std::string> answers = {
      "\xff\xfe",
      std::string("\0a\r\n\t\x7f", 6),
      "text \xc3\xa9 \"\\",
      "base64:",
      "base64:AAAA",
      "base64:base64:",
      std::string(dtm::kMaxPayloadBytes, '\xff'),
      std::string(dtm::kMaxPayloadBytes, '\0'),
      std::string(dtm::kMaxPayloadBytes, '"'),
      std::string(dtm::kMaxPayloadBytes, '\n'),
  };
  std::vector<std::string> seen;
  bool broken = true;
  int done = 0;
  dtm::WorkflowHandle<int> handle(remote, "wf", [&](dtm::Workflow& wf, const int&) {
    seen.clear();
    for (const std::string& answer : answers) {
      seen.push_back(wf.NewBranch().Do([&] {
        ++done;
        return answer;
      }));
    }
    if (broken) throw dtm::OngoingError("later");
    return seen[0];
  });
  for (int i = 0; i < 2; ++i) {
    CHECK_THROWS_AS(handle.Execute("g", 1), dtm::OngoingError);
    CHECK((seen == answers));
  }
  broken = false;
  CHECK(handle.Execute("g", 1) == "\xff\xfe");
  CHECK(handle.Execute("g", 1) == "\xff\xfe");
  CHECK(done == static_cast<int>(answers.size()));
}

TEST_CASE("remote_types: all that a workflow may keep can be stored and read again") {
  House house;
  RemoteCoordinator remote(house.url);
  const std::size_t each = dtm::kMaxAnswersBytes / dtm::kMaxWorkflowBranches;
  int done = 0;
  bool broken = true;
  dtm::WorkflowHandle<int> handle(remote, "wf", [&](dtm::Workflow& wf, const int&) {
    for (std::size_t i = 0; i < dtm::kMaxWorkflowBranches; ++i) {
      wf.NewBranch(std::string(128, 'n')).Do([&] {
        ++done;
        return std::string(each, '\xff');
      });
    }
    if (broken) throw dtm::OngoingError("later");
    return std::string("done");
  });
  CHECK_THROWS_AS(handle.Execute("g", 1), dtm::OngoingError);
  broken = false;
  CHECK(handle.Execute("g", 1) == "done");
  CHECK(done == static_cast<int>(dtm::kMaxWorkflowBranches));
}

TEST_CASE("remote_types: a step whose branch answers more than can be kept is rolled back, once") {
  House house;
  RawServer talker([](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) {
      RawServer::Write(fd, Says(std::string(dtm::kMaxPayloadBytes + 1, 'x')));
    }
  });
  RemoteCoordinator remote(house.url);
  dtm::Endpoint& endpoint = GENERATE(false, true) ? static_cast<dtm::Endpoint&>(house.tm) : remote;
  int undone = 0;
  dtm::WorkflowHandle<int> handle(endpoint, "wf", [&](dtm::Workflow& wf, const int&) {
    return wf.NewBranch().OnRollback([&] { ++undone; }).Call(talker.Url("/long"), 1);
  });
  CHECK_THROWS_WITH(handle.Execute("g", 1), ContainsSubstring("branch 01 was done") &&
                                                ContainsSubstring("more than 262144 bytes"));
  CHECK_THROWS_AS(handle.Execute("g", 1), dtm::FailureError);
  CHECK(undone == 1);
  CHECK(house.tm.Query("g")->status == Status::kFailed);
}

TEST_CASE("remote_types: a reason without end is cut, and ends what it is for") {
  House house;
  RemoteCoordinator remote(house.url);
  dtm::WorkflowHandle<int> handle(remote, "wf", [](dtm::Workflow&, const int&) -> std::string {
    throw dtm::FailureError(std::string(2 << 20, 'x'));
  });
  CHECK_THROWS_AS(handle.Execute("g", 1), dtm::FailureError);
  CHECK(house.tm.Query("g")->status == Status::kFailed);
  remote.Prepare(Of(TransType::kTcc, "tcc"));
  remote.Abort("tcc", TransType::kTcc, std::string(2 << 20, 'x'));
  CHECK(house.tm.Query("tcc")->reason.size() == dtm::kMaxReasonBytes);
}

TEST_CASE("remote_types: Go's server gives what has the gid, whatever it is: it is refused here") {
  RawServer server([&](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) {
      RawServer::Write(fd, Says(R"({"progresses":[],"transaction":{"gid":"g","trans_type":"saga",)"
                                R"("status":"succeed"}})"));
    }
  });
  RemoteCoordinator remote(server.Url("/api/dtmsvr"));
  CHECK_THROWS_AS(remote.PrepareWorkflow(Of(TransType::kWorkflow)), dtm::RejectedError);
}

TEST_CASE("remote_types: a branch is told where the coordinator is") {
  House house;
  RemoteOptions options;
  options.url_in_branches = GENERATE(as<std::string>{}, "", "http://outside/api/dtmsvr");
  RemoteCoordinator remote(house.url, options);
  dtm::InitiatorCall call;
  call.url = house.branches.Url("/xa");
  call.info = {"g", TransType::kXa, "01", Op::kAction};
  call.tell_coordinator = true;
  call.phase2_url = call.url;
  const dtm::Result result = remote.CallBranch(call);
  CHECK(result.kind == dtm::Result::Kind::kSuccess);
  CHECK(result.text == "{}");
  const std::string told = options.url_in_branches.empty() ? house.url : options.url_in_branches;
  CHECK(house.Asked().at(0) == "POST /xa?dtm=" + dtm::PercentEncoded(told) +
                                   "&phase2_url=" + dtm::PercentEncoded(call.url) +
                                   "&branch_id=01&gid=g&op=action&trans_type=xa");
  call.url.clear();
  CHECK(remote.CallBranch(call).kind == dtm::Result::Kind::kSuccess);
  CHECK(house.Asked().size() == 1);
}

TEST_CASE("remote_types: an answer that is not dtm's is in doubt, and nothing else is thrown") {
  const std::string body = GENERATE(as<std::string>{}, "", "hello", "[]", R"({"transaction":7})",
                                    R"({"transaction":{"status":5}})",
                                    R"({"progresses":[7],"transaction":{"status":"prepared"}})");
  CAPTURE(body);
  RawServer server([&](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) RawServer::Write(fd, Says(body));
  });
  RemoteCoordinator remote(server.Url("/api/dtmsvr"));
  CHECK_THROWS_AS(remote.PrepareWorkflow(Of(TransType::kWorkflow)), dtm::InDoubtError);
  const bool about_steps = body.find("progresses") != std::string::npos;  // which a query ignores
  if (!about_steps) CHECK_THROWS_AS(remote.Wait("g", seconds(0)), dtm::Error);
}
