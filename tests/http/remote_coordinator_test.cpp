/// Builders against a coordinator elsewhere: our own server, and one that answers whatever a test
/// wants (as the Go server words it, or not at all).
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include "tests/support/child.hpp"
#include "tests/support/nested.hpp"
#include <dtm/client/saga.hpp>
#include <dtm/client/tcc.hpp>
#include <dtm/http/branches.hpp>
#include <dtm/http/remote_coordinator.hpp>
#include <dtm/http/server.hpp>
#include <dtm/store/memory.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::NewSaga;
using dtm::RemoteCoordinator;
using dtm::RemoteOptions;
using dtm::Result;
using dtm::Status;
using dtm_test::RawServer;
using std::chrono::seconds;

namespace {

/// A coordinator that is served, and a client of it that can have functions of it called.
struct House {
  explicit House(const std::string& token = {}) : tm(std::make_unique<dtm::MemoryStore>()) {
    tm.Use(dtm::HttpBranches());
    options.token = token;
    server = std::make_unique<dtm::Server>(tm, dtm::ServerOptions{token, 100});
    url = "http://127.0.0.1:" + std::to_string(server->Start("127.0.0.1", 0)) + "/api/dtmsvr";
    options.branch_url = url + "/branch";
  }

  dtm::Coordinator tm;
  std::unique_ptr<dtm::Server> server;
  std::string url;
  RemoteOptions options;
};

/// Answers requests in order; the last answer is repeated. Keeps what was asked.
class Scripted {
 public:
  explicit Scripted(std::vector<std::string> answers)
      : answers_(std::move(answers)), server_([this](int fd, int) { Serve(fd); }) {}

  std::string Url() const { return server_.Url("/api/dtmsvr"); }
  std::vector<std::string> Requests() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return requests_;
  }

 private:
  void Serve(int fd) {
    for (;;) {
      const std::string request = RawServer::ReadRequest(fd);
      if (request.empty()) return;
      std::string answer;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        answer = answers_[(std::min)(requests_.size(), answers_.size() - 1)];
        requests_.push_back(request);
      }
      if (answer.empty()) return;  // no answer: the connection is closed
      RawServer::Write(fd, answer);
    }
  }

  std::mutex mutex_;
  std::vector<std::string> answers_, requests_;
  RawServer server_;
};

std::string Says(int status, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) +
         " x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

/// As the Go server tells it on SQL, without steps and payloads.
std::string IsStored(const std::string& status, const std::string& more = "") {
  return Says(200, R"({"branches":[)"
                   R"({"branch_id":"01","op":"compensate","url":"http://a/y","bin_data":"MQ=="},)"
                   R"({"branch_id":"01","op":"action","url":"http://a/x","bin_data":"MQ=="}],)"
                   R"("transaction":{"gid":"g","trans_type":"saga","status":")" +
                       status + "\"" + more + "}}");
}

dtm::TransResult SubmitTo(const std::string& url, bool wait = false) {
  RemoteCoordinator remote(url);
  return NewSaga(remote, "g").Add("http://a/x", "http://a/y", 1).SetWaitResult(wait).Submit();
}

}  // namespace

TEST_CASE("remote: sagas of functions of this process, through the coordinator and back") {
  House house;
  std::mutex mutex;
  std::vector<std::string> calls;
  const auto note = [&](const std::string& name) {
    return [&, name](const int& amount, const dtm::BranchInfo& info) {
      const std::lock_guard<std::mutex> lock(mutex);
      calls.push_back(name + std::to_string(amount) + " " + info.branch_id + " " +
                      dtm::Name(info.op) + " " + info.gid);
      return name == "no" ? Result::Failure("poor") : Result::Success();
    };
  };
  const auto out = house.tm.Register<int>("Out/ä", note("out"));
  const auto undo = house.tm.Register<int>("Undo", note("undo"));
  const auto no = house.tm.Register<int>("No", note("no"));
  house.tm.Start();
  RemoteCoordinator remote(house.url, house.options);

  const auto good = NewSaga(remote, "g1").Add(out, undo, 1).Add(out, undo, 2);
  CHECK(good.Submit().status == Status::kSubmitted);
  CHECK(good.SubmitAndWait(seconds(10)).Succeeded());
  CHECK(good.Submit().gid == "g1");  // a repeat is safe
  const auto bad = NewSaga(remote, "g2").Add(out, undo, 3).Add(no, dtm::kNoBranch, 4);
  const dtm::TransResult result = bad.SubmitAndWait(seconds(10));
  CHECK(result.Failed());
  CHECK(result.reason == "poor");
  CHECK_THAT(result.reason_from, ContainsSubstring("branch 02 action http://"));
  CHECK_THAT(result.last_error, ContainsSubstring("answered FAILURE: poor"));
  CHECK(calls == std::vector<std::string>{"out1 01 action g1", "out2 02 action g1",
                                          "out3 01 action g2", "no4 02 action g2",
                                          "undo3 01 compensate g2"});
  CHECK_THROWS_AS(bad.Submit(), dtm::FailureError);
  CHECK_THROWS_WITH(NewSaga(remote, "g1").Add(out, undo, 9).Submit(),
                    ContainsSubstring("other content"));
  CHECK(remote.Wait("g1", seconds(1)).Succeeded());
  CHECK(remote.Wait("g1", (dtm::Duration::max)()).Succeeded());  // for ever
  CHECK_THROWS_AS(remote.Wait("unknown", seconds(1)), dtm::RejectedError);
}

TEST_CASE("remote: wait_result, options and callbacks") {
  House house;
  const auto no = house.tm.Register<int>("No", [](const int&) { return Result::Failure("poor"); });
  const auto ok = house.tm.Register<int>("Ok", [](const int&) {});
  const auto later = house.tm.Register<int>("Later", [](const int&) { return Result::Ongoing(); });
  house.tm.Start();
  RemoteCoordinator remote(house.url, house.options);
  CHECK(NewSaga(remote, "w1").Add(ok, ok, 1).SetWaitResult().Submit().Succeeded());
  CHECK_THROWS_WITH(NewSaga(remote, "w2").Add(no, ok, 1).SetWaitResult().Submit(),
                    ContainsSubstring("'w2'") && ContainsSubstring("poor"));
  CHECK_FALSE(NewSaga(remote, "w3").Add(later, ok, 1).SetWaitResult().Submit().Finished());

  const auto all = NewSaga(remote, "w4")
                       .SetConcurrent()
                       .AddBranchOrder(1, {0})
                       .Add(ok, ok, 1)
                       .Add(ok, ok, 2)
                       .SetRetryInterval(seconds(7))
                       .SetRetryLimit(3)
                       .SetRequestTimeout(seconds(2))
                       .SetTimeoutToFail(seconds(60))
                       .AddBranchHeader("k", "v");
  CHECK(all.SubmitAndWait(seconds(10)).Succeeded());
  const auto stored = house.tm.Query("w4");
  REQUIRE(stored);
  CHECK(stored->definition->concurrent);
  CHECK(stored->definition->orders.at(1) == std::vector<int>{0});
  CHECK(stored->definition->options.retry_interval == seconds(7));
  CHECK(stored->definition->options.retry_limit == 3);
  CHECK(stored->definition->options.request_timeout == seconds(2));
  CHECK(stored->definition->options.timeout_to_fail == seconds(60));
  CHECK(stored->definition->options.branch_headers.at("k") == "v");

  std::promise<dtm::Answer> good, bad;
  NewSaga(remote, "a1").Add(ok, ok, 1).SubmitAsync([&](const dtm::Answer& reply) {
    good.set_value(reply);
  });
  NewSaga(remote, "w4").Add(ok, ok, 1).SubmitAsync([&](const dtm::Answer& reply) {
    bad.set_value(reply);
  });
  CHECK(good.get_future().get().Get().gid == "a1");
  CHECK_THROWS_AS(bad.get_future().get().Get(), dtm::RejectedError);
}

TEST_CASE("remote: the token, and functions that cannot be reached") {
  House house("secret");
  house.tm.Start();
  RemoteCoordinator with(house.url, house.options);
  CHECK_NOTHROW(NewSaga(with, "t1").Submit());
  RemoteCoordinator without(house.url);
  CHECK_THROWS_WITH(NewSaga(without, "t2").Submit(), ContainsSubstring("401"));
  CHECK_FALSE(house.tm.Query("t2"));
  const auto function = house.tm.Register<int>("F", [](const int&) {});
  CHECK_THROWS_AS(NewSaga(without, "t3").Add(function, function, 1), dtm::LogicError);
  CHECK(without.NewGid() != without.NewGid());
  CHECK_THROWS_AS(RemoteCoordinator("localhost:36789"), dtm::Error);
}

TEST_CASE("remote: no answer is in doubt, whatever happened") {
  CHECK_THROWS_AS(SubmitTo("http://127.0.0.1:1/api/dtmsvr"), dtm::InDoubtError);
  Scripted closes({""});
  CHECK_THROWS_WITH(SubmitTo(closes.Url()), ContainsSubstring("gid 'g' may or may not be stored"));
  Scripted half({"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"});
  RemoteOptions options;
  options.timeout = std::chrono::milliseconds(200);
  RemoteCoordinator remote(half.Url(), options);
  CHECK_THROWS_AS(NewSaga(remote, "g").Submit(), dtm::InDoubtError);
  for (const int status : {500, 502, 504}) {
    Scripted broken({Says(status, R"({"message":"dtm panic: storage: NotFound"})")});
    CHECK_THROWS_AS(SubmitTo(broken.Url()), dtm::InDoubtError);
  }
}

TEST_CASE("remote: a definite no") {
  for (const int status : {400, 401, 403, 404, 413}) {
    Scripted refuses({Says(status, R"({"message":"because of the url"})")});
    CHECK_THROWS_AS(SubmitTo(refuses.Url()), dtm::RejectedError);
    CHECK_THROWS_WITH(SubmitTo(refuses.Url()), ContainsSubstring("because of the url"));
  }
  Scripted busy({Says(503, R"({"message":"too many"})")});
  CHECK_THROWS_AS(SubmitTo(busy.Url()), dtm::BusyError);
}

TEST_CASE("remote: what something else than dtm answers is in doubt") {
  for (const int status : {200, 503}) {
    for (const char* body : {"", "<html>", "{}", R"({"message":7})", "upstream connect error"}) {
      CAPTURE(status, body);
      Scripted proxy({Says(status, body)});
      CHECK_THROWS_AS(SubmitTo(proxy.Url()), dtm::InDoubtError);
      RemoteCoordinator remote(proxy.Url());
      CHECK_THROWS_AS(remote.Abort("g", dtm::TransType::kTcc, ""), dtm::InDoubtError);
      CHECK_THROWS_AS(remote.RegisterBranch("g", dtm::TransType::kTcc, {"", "", "", "01"}),
                      dtm::InDoubtError);
    }
  }
}

TEST_CASE("remote: a word in a sentence is no answer") {
  // The gid, a url or a reason stands in it.
  for (const char* word : {"FAILURE", "ONGOING", "SUCCESS"}) {
    for (const int status : {200, 409, 425, 500}) {
      CAPTURE(word, status);
      Scripted server({Says(status, R"({"message":"gid 'g )" + std::string(word) + R"(' ..."})")});
      RemoteCoordinator remote(server.Url());
      CHECK_THROWS_AS(SubmitTo(server.Url()), dtm::InDoubtError);
      CHECK_THROWS_AS(remote.Abort("g", dtm::TransType::kTcc, ""), dtm::InDoubtError);
      CHECK_THROWS_AS(remote.RegisterBranch("g", dtm::TransType::kTcc, {"", "", "", "01"}),
                      dtm::InDoubtError);
      CHECK(server.Requests().size() == 3);
    }
  }
}

TEST_CASE("remote: that it is not finished is an answer to an abort, and to nothing else") {
  Scripted later({Says(425, R"({"dtm_result":"ONGOING","message":"goes on"})")});
  RemoteCoordinator remote(later.Url());
  CHECK_NOTHROW(remote.Abort("g", dtm::TransType::kTcc, ""));
  dtm::Definition tcc;
  tcc.gid = "g";
  tcc.type = dtm::TransType::kTcc;
  CHECK_THROWS_AS(remote.Prepare(tcc), dtm::InDoubtError);
  CHECK_THROWS_AS(remote.RegisterBranch("g", dtm::TransType::kTcc, {"", "", "", "01"}),
                  dtm::InDoubtError);
  CHECK_THROWS_AS(remote.FinishWorkflow("g", dtm::Status::kSucceed, "", ""), dtm::InDoubtError);
}

TEST_CASE("remote: a 409 that says that nothing was changed needs no query") {
  Scripted server({Says(409, R"({"dtm_result":"FAILURE","message":"other","rejected":true})")});
  CHECK_THROWS_AS(SubmitTo(server.Url()), dtm::RejectedError);
  CHECK(server.Requests().size() == 1);
}

TEST_CASE("remote: what a 409 means is what is stored") {
  const std::string no =
      Says(409, R"({"dtm_result":"FAILURE","message":"cannot sumbmit. FAILURE"})");
  const std::string same =
      R"(,"steps":[{"action":"http://a/x","compensate":"http://a/y"}],"payloads":["1"])";
  {
    Scripted server({no, IsStored("failed", R"(,"rollback_reason":"poor")")});
    CHECK_THROWS_WITH(SubmitTo(server.Url()), ContainsSubstring("rolled back: poor"));
    const auto requests = server.Requests();
    REQUIRE(requests.size() == 2);
    CHECK_THAT(requests[0], ContainsSubstring("POST /api/dtmsvr/submit HTTP/1.1\r\n"));
    CHECK_THAT(requests[0],
               ContainsSubstring("\r\n\r\n"
                                 R"({"gid":"g","trans_type":"saga","concurrent":false,"steps":)"
                                 R"([{"action":"http://a/x","compensate":"http://a/y"}],)"
                                 R"("payloads":["1"],"protocol":""})"));
    CHECK_THAT(requests[1], ContainsSubstring("GET /api/dtmsvr/query?gid=g HTTP/1.1\r\n"));
  }
  // The Go server says 409 to a repeat after the end, and to wait_result before it.
  Scripted succeeded({no, IsStored("succeed", same)});
  CHECK(SubmitTo(succeeded.Url()).Succeeded());
  Scripted unfinished({no, IsStored("submitted")});
  CHECK_FALSE(SubmitTo(unfinished.Url(), true).Finished());
  Scripted other({no, IsStored("succeed", R"(,"steps":[{"action":"http://b","compensate":""}])")});
  CHECK_THROWS_WITH(SubmitTo(other.Url()), ContainsSubstring("other content"));
  Scripted unknown({no, Says(200, R"({"branches":[],"transaction":null})")});
  CHECK_THROWS_AS(SubmitTo(unknown.Url()), dtm::RejectedError);
  Scripted silent({no, ""});
  CHECK_THROWS_AS(SubmitTo(silent.Url()), dtm::InDoubtError);
  Scripted nonsense({no, Says(200, "<html>")});
  CHECK_THROWS_AS(SubmitTo(nonsense.Url()), dtm::InDoubtError);
  for (const char* differs :
       {R"(,"custom_data":"{\"concurrent\":true}")", R"(,"steps":[],"payloads":[])",
        R"(,"custom_data":"{\"concurrent\":true,\"orders\":{\"1\":[0]}}")"}) {
    Scripted stored({no, IsStored("succeed", differs)});
    CHECK_THROWS_WITH(SubmitTo(stored.Url()), ContainsSubstring("other content"));
  }
  for (const char* broken :
       {R"(,"custom_data":7)", R"(,"custom_data":"[")", R"(,"trans_type":7)"}) {
    Scripted stored({no, IsStored("succeed", broken)});
    CHECK_THROWS_AS(SubmitTo(stored.Url()), dtm::InDoubtError);
  }
  Scripted deep({no, IsStored("succeed", R"(,"steps":)" + dtm_test::Nested(dtm_test::kCrashing))});
  CHECK_THROWS_AS(SubmitTo(deep.Url()), dtm::InDoubtError);
  Scripted hidden({Says(200, R"({"dtm_result":"FAILURE"})"), IsStored("aborting")});
  CHECK(SubmitTo(hidden.Url()).status == Status::kAborting);
}

TEST_CASE("remote coordinator: a forked child can send nothing, and harms nothing") {
  House house;
  auto remote = std::make_unique<RemoteCoordinator>(house.url, house.options);
  const dtm::Definition definition = [] {
    dtm::Definition made;
    made.gid = "before";
    return made;
  }();
  (void)remote->Submit(definition);  // leaves a connection that the child gets as well
  const std::string end = dtm_test::InChild([&]() -> std::string {
    ::alarm(20);
    int wrong = 0;
    const auto expect = [&wrong](const auto& function) {
      try {
        function();
        ++wrong;
      } catch (const dtm::LogicError&) {
      }
    };
    using dtm::TransType;
    expect([&] { (void)remote->Submit(definition); });
    expect([&] { (void)remote->SubmitAndWait(definition, seconds(1)); });
    expect([&] { remote->SubmitAsync(definition, {}); });
    expect([&] { (void)remote->Prepare(definition); });
    expect([&] { remote->Abort("before", TransType::kSaga, ""); });
    dtm::Step step{"http://a/confirm", "http://a/cancel", "{}"};
    step.branch_id = "01";
    expect([&] { remote->RegisterBranch("before", TransType::kTcc, step); });
    dtm::Definition workflow = definition;
    workflow.type = TransType::kWorkflow;
    workflow.workflow = "checkout";
    workflow.query_prepared = "http://a/resume";
    expect([&] { (void)remote->PrepareWorkflow(workflow); });
    expect([&] { remote->FinishWorkflow("before", Status::kFailed, "", ""); });
    dtm::InitiatorCall call;
    call.url = "http://127.0.0.1:1/x";
    expect([&] { (void)remote->CallBranch(call); });
    expect([&] { (void)remote->Wait("before", seconds(1)); });
    expect([&] { (void)remote->NewGid(); });
    remote.reset();
    return std::to_string(wrong) + " of them did something";
  });
  CHECK(end == "0 of them did something");
  CHECK(remote->Wait("before", seconds(9)).Succeeded());
}

TEST_CASE("remote coordinator: destroyed, it sends nothing more and tells everybody") {
  std::atomic<bool> begun{false};
  RawServer silent([&](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) begun = true;
  });
  RemoteOptions options;
  options.timeout = std::chrono::milliseconds(500);
  std::mutex mutex;
  int refused = 0, in_doubt = 0, other = 0;
  auto remote = std::make_unique<RemoteCoordinator>(silent.Url("/api/dtmsvr"), options);
  const auto told = [&](const dtm::Answer& reply) {
    const std::lock_guard<std::mutex> lock(mutex);
    try {
      (void)reply.Get();
      ++other;
    } catch (const dtm::InDoubtError&) {
      ++in_doubt;
    } catch (const dtm::RejectedError& error) {
      const bool says = std::string(error.what()).find("was not sent") != std::string::npos;
      ++(says ? refused : other);
    }
  };
  for (int i = 0; i < 1000; ++i) {
    dtm::Definition definition;
    definition.gid = std::to_string(i);
    remote->SubmitAsync(definition, told);
  }
  while (!begun) std::this_thread::yield();
  const auto start = std::chrono::steady_clock::now();
  remote.reset();
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::milliseconds(1500));  // not 16 s
  CHECK(refused + in_doubt == 1000);
  CHECK(refused > 900);
  CHECK(in_doubt > 0);
  CHECK(other == 0);
}

TEST_CASE("remote coordinator: what waits to be sent is bounded by its bytes") {
  std::promise<void> open;
  RawServer slow([gate = open.get_future().share()](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) {
      gate.wait();
      RawServer::Write(fd, RawServer::Ok("{\"dtm_result\":\"SUCCESS\"}"));
    }
  });
  RemoteOptions options;
  options.timeout = seconds(30);
  std::atomic<int> stored{0};
  RemoteCoordinator remote(slow.Url("/api/dtmsvr"), options);
  const auto submit = [&](int i) {
    dtm::Definition definition;
    definition.gid = std::to_string(i);
    definition.steps = {{"http://a/x", "http://a/y", std::string(250000, ' ') + "1"}};
    remote.SubmitAsync(definition, [&](const dtm::Answer& reply) {
      if (reply.error == nullptr) ++stored;
    });
  };
  int taken = 0;
  try {
    for (; taken < 300; ++taken) submit(taken);
  } catch (const dtm::BusyError& error) {
    CHECK_THAT(error.what(), ContainsSubstring(std::to_string(taken) + "' was not sent"));
  }
  CHECK(taken >= 130);       // 32 MiB,
  CHECK(taken <= 134 + 32);  // besides those that are being sent
  open.set_value();
  while (stored < taken) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  submit(300);  // there is room again
}

TEST_CASE(
    "remote: a coordinator that is busy says when, and who waits for the end asks again then") {
  const auto busy = [](const char* header) {
    return "HTTP/1.1 503 x\r\n" + std::string(header) +
           "Content-Length: 18\r\n\r\n{\"message\":\"busy\"}";
  };
  Scripted later({busy("Retry-After: 100\r\n")});
  try {
    (void)SubmitTo(later.Url());
    FAIL("it was busy");
  } catch (const dtm::BusyError& error) {
    CHECK(error.retry_after == seconds(100));
  }
  RemoteCoordinator patient(later.Url());
  CHECK_THROWS_AS(patient.Wait("g", seconds(1)), dtm::BusyError);  // it would not be in time
  CHECK(later.Requests().size() == 2);
  Scripted soon({busy("Retry-After: 0\r\n"), busy(""), IsStored("succeed")});
  RemoteCoordinator remote(soon.Url());
  CHECK(remote.Wait("g", seconds(10)).Succeeded());
  CHECK(soon.Requests().size() == 3);
}

TEST_CASE("remote: what may be stored is in doubt, whatever refuses the query") {
  const std::string yes = Says(200, R"({"dtm_result":"SUCCESS"})");
  const std::string no = Says(409, R"({"dtm_result":"FAILURE","message":"x"})");
  for (const std::string& refused : {Says(401, R"({"message":"no token"})"), Says(404, "?"),
                                     Says(503, R"({"message":"busy"})")}) {
    CAPTURE(refused);
    Scripted stored({yes, refused});
    RemoteCoordinator remote(stored.Url());
    CHECK_THROWS_AS(NewSaga(remote, "g").Add("http://a/x", "", 1).SubmitAndWait(seconds(0)),
                    dtm::InDoubtError);
    Scripted unclear({no, refused});
    CHECK_THROWS_AS(SubmitTo(unclear.Url()), dtm::InDoubtError);
  }
}

TEST_CASE("remote: a function inside a commit is its own coordinator's") {
  House house;
  const auto inside = house.tm.RegisterInTransaction<int>("In", [](sqlite3*, const int&) {});
  house.tm.Start();
  RemoteCoordinator remote(house.url, house.options);
  CHECK_THROWS_AS(NewSaga(remote, "x1").Add(inside, dtm::kNoBranch, 1), dtm::LogicError);
  CHECK_THROWS_WITH(NewSaga(remote, "x1").Add(inside, dtm::kNoBranch, 1),
                    ContainsSubstring("'In'") && ContainsSubstring("use Register"));
  dtm::TccGlobalTransaction(house.tm, "x2", [&](dtm::Tcc& tcc) {
    const auto ok = house.tm.Register<int>("Ok", [](const int&) {});
    CHECK_THROWS_AS(dtm::Tcc(remote, tcc.Gid(), {}).CallBranch(1, inside, ok, ok), dtm::LogicError);
  });
  // Somebody else asks for it all the same.
  CHECK_THROWS_WITH(
      house.tm.CallFunction("tx/In", "1", {"g", dtm::TransType::kSaga, "01", dtm::Op::kAction}),
      ContainsSubstring("inside the commit"));
}

TEST_CASE("remote coordinator: a gid whose record has expired does not run again") {
  dtm::Options options;
  options.keep_finished = dtm::Duration(0);
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), options);
  std::atomic<int> runs{0};
  tm.Register<int>("A", [&runs](const int&) { ++runs; });
  tm.Register<int>("No", [](const int&) { return Result::Failure("no"); });
  tm.Use(dtm::HttpBranches());
  tm.Start();
  dtm::Server server(tm);
  const std::string url =
      "http://127.0.0.1:" + std::to_string(server.Start("127.0.0.1", 0)) + "/api/dtmsvr";
  RemoteCoordinator remote(url);
  const auto definition = [&url](const char* gid, const char* name, const char* payload) {
    dtm::Definition made;
    made.gid = gid;
    made.steps = {{url + "/branch/" + name, "", payload}};
    return made;
  };
  const auto good = definition("good", "A", "1");
  const auto bad = definition("bad", "No", "1");
  REQUIRE(tm.SubmitAndWait(good, seconds(9)).Succeeded());
  REQUIRE(tm.SubmitAndWait(bad, seconds(9)).Failed());
  const auto end = std::chrono::steady_clock::now() + seconds(20);  // retention looks every second
  while (!tm.List().transactions.empty() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  REQUIRE(tm.List().transactions.empty());
  CHECK(remote.SubmitAndWait(good, seconds(9)).Succeeded());
  CHECK(remote.SubmitAndWait(bad, seconds(9)).Failed());
  CHECK(remote.Submit(good).gid == "good");
  CHECK_THROWS_AS(remote.Submit(bad), dtm::FailureError);
  CHECK_THROWS_WITH(remote.Submit(definition("good", "A", "2")),
                    ContainsSubstring("other content"));
  CHECK_THROWS_AS(remote.Submit(definition("bad", "A", "2")), dtm::RejectedError);
  CHECK(remote.Wait("good", seconds(1)).Succeeded());
  CHECK(runs == 1);
}
