/// Workflows: how a run begins and ends, what comes out, what is done again, who may run at the same time.
/// Protocol §11.7, §4.5, Appendix A.
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/client/workflow_kit.hpp"

using Catch::Matchers::ContainsSubstring;
using namespace workflow_kit;

TEST_CASE(
    "workflow client: prepared with name, data and callback; steps recorded; finished with its "
    "result") {
  Fixture f;
  dtm::TransOptions options;
  options.retry_interval = std::chrono::seconds(7);
  const Handle handle = f.Make([&](Workflow& wf) {
    CHECK(wf.Gid() == "g");
    WorkflowBranch first = wf.NewBranch();
    CHECK(first.Id() == "01");
    first.Do(f.Does("one"));
    wf.NewBranch().Do(f.Does("two"));
    return std::string("the result");
  });
  CHECK(handle.Name() == "wf");
  CHECK(handle.Execute("g", 42, options) == "the result");
  CHECK(f.did == Lines{"one", "two"});
  CHECK(f.endpoint.log == Lines{"prepare g", "register workflow g 01 action",
                                "register workflow g 02 action", "finish g succeed"});
  const dtm::Definition& prepared = f.endpoint.prepared.at(0);
  CHECK(prepared.gid == "g");
  CHECK(prepared.type == dtm::TransType::kWorkflow);
  CHECK(prepared.workflow == "wf");
  CHECK(prepared.data == "42");
  CHECK(prepared.query_prepared == "local:wf");
  CHECK(prepared.options.retry_interval == std::chrono::seconds(7));
  CHECK(f.endpoint.workflow.result == "the result");
  CHECK(f.endpoint.workflow.reason.empty());
}

TEST_CASE(
    "workflow client: executed again after its end it runs nothing and gives the same (Appendix "
    "A)") {
  Fixture f;
  const Handle handle = f.Make([&](Workflow&) {
    f.did.push_back("ran");
    return std::string("the result");
  });
  handle.Execute("g", 1);
  f.TakeLog();
  CHECK(handle.Execute("g", 1) == "the result");
  CHECK(f.did == Lines{"ran"});
  CHECK(f.endpoint.log == Lines{"prepare g"});
  f.endpoint.workflow.status = Status::kFailed;
  f.endpoint.workflow.reason = "no money";
  CHECK_THROWS_AS(handle.Execute("g", 1), dtm::FailureError);
  CHECK_THROWS_WITH(handle.Execute("g", 1), "no money");
  CHECK(f.did == Lines{"ran"});
}

TEST_CASE(
    "workflow client: an error in the middle ends nothing; run again, what is recorded is not done "
    "again") {
  Fixture f;
  bool broken = true;
  std::string first_answer;
  const Handle handle = f.Make([&](Workflow& wf) {
    first_answer = wf.NewBranch().Do([&] {
      f.did.push_back("one");
      return std::string("seat 7");
    });
    wf.NewBranch().Do([&] {
      f.did.push_back("two");
      if (broken) throw std::runtime_error("connection lost");
    });
    return first_answer;
  });
  CHECK_THROWS_WITH(handle.Execute("g", 1), "connection lost");
  CHECK(f.TakeLog() == Lines{"prepare g", "register workflow g 01 action"});
  CHECK(f.TakeDid() == Lines{"one", "two"});
  CHECK(f.endpoint.workflow.status == Status::kPrepared);

  broken = false;
  first_answer.clear();
  CHECK(handle.Execute("g", 1) == "seat 7");
  CHECK(f.TakeLog() == Lines{"prepare g", "register workflow g 02 action", "finish g succeed"});
  CHECK(f.did == Lines{"two"});
}

TEST_CASE("workflow client: what is not a std::exception ends nothing either") {
  Fixture f;
  CHECK_THROWS_AS(
      f.Make([](Workflow& wf) { return wf.NewBranch().Do([] { throw 42; }); }).Execute("g", 1),
      int);
  CHECK(f.endpoint.log == Lines{"prepare g"});
}

TEST_CASE(
    "workflow client: a failure is recorded, rolls back the branches before it, and is what comes "
    "out") {
  Fixture f;
  const Handle handle = f.Make([&](Workflow& wf) {
    for (const std::string name : {"one", "two", "three"}) {
      WorkflowBranch branch = wf.NewBranch();
      branch.OnRollback(f.Does("undo " + name)).OnCommit(f.Does("commit " + name));
      branch.Do(name == "three" ? f.Fails(name) : f.Does(name));
    }
    return std::string();
  });
  CHECK_THROWS_AS(handle.Execute("g", 1), dtm::FailureError);
  // The third did nothing, so nothing of it is undone; the others in reverse.
  CHECK(f.did == Lines{"one", "two", "three", "undo two", "undo one"});
  CHECK(f.endpoint.log == Lines{"prepare g", "register workflow g 01 action",
                                "register workflow g 02 action", "register workflow g 03 action",
                                "register workflow g 00 action", "register workflow g 02 rollback",
                                "register workflow g 01 rollback", "finish g failed"});
  CHECK(f.endpoint.registered.at(2).failed);
  CHECK(f.endpoint.registered.at(2).payload == "no money");
  for (const std::size_t i : {0u, 1u, 3u, 4u}) CHECK_FALSE(f.endpoint.registered.at(i).failed);
  CHECK(f.endpoint.workflow.reason == "no money");
  CHECK(f.endpoint.workflow.result.empty());
}

TEST_CASE(
    "workflow client: a recorded failure is thrown again and not done again, and its rollback is "
    "removed again") {
  Fixture f;
  f.endpoint.workflow.recorded = {Recorded("01", Op::kAction, "seat 7"),
                                  Recorded("02", Op::kAction, "sold out", true)};
  const Handle handle = f.Make([&](Workflow& wf) {
    wf.NewBranch().OnRollback(f.Does("undo one")).Do(f.Does("one"));
    wf.NewBranch().OnRollback(f.Does("undo two")).Do(f.Does("two"));
    return std::string();
  });
  CHECK_THROWS_WITH(handle.Execute("g", 1), "sold out");
  CHECK(f.did == Lines{"undo one"});
  CHECK(f.endpoint.log == Lines{"prepare g", "register workflow g 00 action",
                                "register workflow g 01 rollback", "finish g failed"});
}

TEST_CASE("workflow client: a failure that the function deals with is no failure of the workflow") {
  Fixture f;
  const Handle handle = f.Make([&](Workflow& wf) {
    try {
      wf.NewBranch().OnRollback(f.Does("undo")).OnCommit(f.Does("commit one")).Do(f.Fails("one"));
    } catch (const dtm::FailureError&) {
      return wf.NewBranch().Do([] { return "plan B"; });
    }
    return std::string();
  });
  CHECK(handle.Execute("g", 1) == "plan B");
  CHECK(f.endpoint.workflow.status == Status::kSucceed);
  CHECK(f.did == Lines{"one", "commit one"});
}

TEST_CASE("workflow client: FailureError outside of a step rolls back everything registered") {
  Fixture f;
  const Handle handle = f.Make([&](Workflow& wf) -> std::string {
    wf.NewBranch().OnRollback(f.Does("undo")).Do(f.Does("one"));
    throw dtm::FailureError("too late today");
  });
  CHECK_THROWS_WITH(handle.Execute("g", 1), "too late today");
  CHECK(f.did == Lines{"one", "undo"});
  CHECK(f.endpoint.workflow.reason == "too late today");
}

TEST_CASE(
    "workflow client: one run of a gid at a time in this process, whether executed or resumed") {
  Fixture f;
  const Handle* handle = nullptr;
  bool inner = true;
  const Handle made = f.Make([&](Workflow&) {
    if (!std::exchange(inner, false)) return std::string("again");
    CHECK_THROWS_AS(handle->Execute("g", 1), dtm::LogicError);
    const Result resumed = handle->Resume("g", 1);
    CHECK(resumed.kind == Result::Kind::kOngoing);
    CHECK(f.endpoint.log == Lines{"prepare g"});
    CHECK_THROWS_AS(handle->Execute("g", 1), dtm::LogicError);  // the refused ones left it marked
    f.endpoint.workflow.status = Status::kPrepared;
    return std::string("first");
  });
  handle = &made;
  CHECK(made.Execute("g", 1) == "first");
  f.endpoint.workflow.status = Status::kPrepared;
  CHECK(made.Execute("g", 1) == "again");  // and it is free afterwards
}

TEST_CASE("workflow client: another gid may run inside, and an error frees the gid") {
  Fixture f;
  const Handle* handle = nullptr;
  int depth = 0;
  const Handle made = f.Make([&](Workflow& wf) -> std::string {
    if (++depth == 1) return handle->Execute("h", 1);
    if (depth == 2) return wf.Gid();
    throw std::runtime_error("lost");
  });
  handle = &made;
  CHECK(made.Execute("g", 1) == "h");
  f.endpoint.workflow.status = Status::kPrepared;
  CHECK_THROWS_WITH(made.Execute("g", 1), "lost");
  CHECK_THROWS_WITH(made.Execute("g", 1), "lost");
}

TEST_CASE("workflow client: Resume goes on from what is recorded and answers what became of it") {
  Fixture f;
  const Handle handle = f.Make([&](Workflow& wf) {
    wf.NewBranch().Do(f.Does("one"));
    wf.NewBranch().Do(f.Does("two"));
    return std::string("r");
  });
  f.endpoint.workflow.recorded = {Recorded("01", Op::kAction, "")};
  CHECK(handle.Resume("g", 1).kind == Result::Kind::kSuccess);
  CHECK(f.TakeDid() == Lines{"two"});
  CHECK(f.TakeLog() == Lines{"prepare g", "register workflow g 02 action", "finish g succeed"});
  CHECK(f.endpoint.prepared.at(0).gid == "g");
  CHECK(f.endpoint.prepared.at(0).type == dtm::TransType::kWorkflow);
  CHECK(handle.Resume("g", 1).kind == Result::Kind::kSuccess);  // it has ended
  CHECK(f.did.empty());
  f.endpoint.workflow.status = Status::kFailed;
  CHECK_THROWS_AS(handle.Resume("g", 1), dtm::FailureError);
}

TEST_CASE(
    "workflow client: a gid is one workflow with one input: anything else is refused, nothing "
    "runs") {
  const std::string status = GENERATE(as<std::string>{}, "half done", "succeed", "failed");
  CAPTURE(status);
  Fixture f;
  bool broken = true;
  const Handle handle = f.Make([&](Workflow& wf) {
    wf.NewBranch().Do(f.Does("one"));
    if (broken) throw std::runtime_error("crash");
    return std::string("paid 30");
  });
  CHECK_THROWS_WITH(handle.Execute("g", 30), "crash");
  if (status == "succeed") f.endpoint.workflow.status = Status::kSucceed;
  if (status == "failed") f.endpoint.workflow.status = Status::kFailed;
  f.TakeDid();
  f.TakeLog();
  broken = false;
  CHECK_THROWS_AS(handle.Execute("g", 60), dtm::RejectedError);
  CHECK_THROWS_WITH(handle.Resume("g", 60),
                    ContainsSubstring("gid 'g'") && ContainsSubstring("other data"));
  Handle other(f.endpoint, "other", [&](Workflow&, const int&) {
    f.did.push_back("other");
    return std::string();
  });
  other.ResumeAt("local:other");
  CHECK_THROWS_AS(other.Execute("g", 30), dtm::RejectedError);
  CHECK_THROWS_WITH(other.Resume("g", 30),
                    ContainsSubstring("'wf'") && ContainsSubstring("'other'"));
  CHECK(f.did.empty());
  CHECK(f.endpoint.log == Lines(4, "prepare g"));
  if (status == "half done") CHECK(handle.Execute("g", 30) == "paid 30");
}

TEST_CASE(
    "workflow client: the same data in another notation is the same, and what is not told is not "
    "compared") {
  Fixture f;
  dtm::WorkflowHandle<nlohmann::json> handle(
      f.endpoint, "wf", [](Workflow&, const nlohmann::json&) { return std::string("ran"); });
  handle.ResumeAt("local:wf");
  handle.Execute("g", {{"a", 1}, {"b", 2}});
  f.endpoint.workflow.status = Status::kPrepared;
  f.endpoint.workflow.data = R"({"b": 2, "a": 1})";
  CHECK(handle.Resume("g", {{"a", 1}, {"b", 2}}).kind == Result::Kind::kSuccess);
  f.endpoint.workflow.data.clear();
  CHECK_THROWS_AS(handle.Resume("g", 1), dtm::RejectedError);
  f.endpoint.workflow.status = Status::kPrepared;
  CHECK(handle.Resume("g", nullptr).kind == Result::Kind::kSuccess);
  f.endpoint.workflow.workflow.clear();
  CHECK(handle.Execute("g", 1) == "ran");
}

TEST_CASE("workflow client: data that the workflow cannot take is a temporary error") {
  Fixture f;
  const Handle handle = f.Make([](Workflow&) { return std::string(); });
  CHECK_THROWS_WITH(handle.Resume("g", "text"), ContainsSubstring("not what the workflow takes"));
  CHECK(f.endpoint.log.empty());
}

namespace {

/// Where functions are registered.
struct FakeFunctions {
  std::string name;
  std::function<Result(const nlohmann::json&, const dtm::BranchInfo&)> function;
  template <typename T, typename Function>
  LocalBranch<T> RegisterResume(const std::string& as, Function what) {
    name = as;
    function = what;
    return {as, FakeEndpoint::kOwner};
  }
};

}  // namespace

TEST_CASE(
    "workflow client: RegisterWorkflow registers its name, and what is called there resumes it") {
  Fixture f;
  FakeFunctions functions;
  const Handle handle = dtm::RegisterWorkflow<int>(
      f.endpoint, functions, "transfer", [&](Workflow& wf, const int& amount) {
        wf.NewBranch().Do(f.Does(wf.Gid() + " " + std::to_string(amount)));
      });
  CHECK(functions.name == "transfer");
  CHECK(handle.Execute("g", 30).empty());
  CHECK(f.endpoint.prepared.at(0).query_prepared == "local:transfer");
  CHECK(f.endpoint.prepared.at(0).workflow == "transfer");
  f.endpoint.workflow = {};
  dtm::BranchInfo info;
  info.gid = "h";
  CHECK(functions.function(31, info).kind == Result::Kind::kSuccess);
  CHECK(f.did == Lines{"g 30", "h 31"});
}

TEST_CASE("workflow client: RegisterWorkflow takes a function that returns a text") {
  Fixture f;
  FakeFunctions functions;
  const Handle handle = dtm::RegisterWorkflow<int>(f.endpoint, functions, "transfer",
                                                   [](Workflow&, const int&) { return "a text"; });
  CHECK(handle.Execute("g", 1) == "a text");
  CHECK(f.endpoint.workflow.result == "a text");
}

TEST_CASE("workflow client: its options are those of its calls, also when it is resumed") {
  Fixture f;
  dtm::TransOptions options;
  options.request_timeout = std::chrono::seconds(8);
  options.branch_headers["k"] = "v";
  bool broken = true;
  const Handle handle = f.Make([&](Workflow& wf) {
    wf.NewBranch().OnCommit("http://b/commit", 1).Call("http://b/action", 1);
    if (broken) throw std::runtime_error("connection lost");
    return std::string();
  });
  CHECK_THROWS_AS(handle.Execute("g", 1, options), std::runtime_error);
  broken = false;
  CHECK(handle.Resume("g", 1).kind == Result::Kind::kSuccess);
  REQUIRE(f.endpoint.called.size() == 2);
  for (const dtm::InitiatorCall& call : f.endpoint.called) {
    CAPTURE(call.url);
    CHECK(call.options.request_timeout == std::chrono::seconds(8));
    CHECK(call.options.branch_headers == options.branch_headers);
  }
}

TEST_CASE("workflow client: a step that is not finished yet ends nothing and is told as that") {
  Fixture f;
  f.endpoint.answer = Result::Ongoing("until noon");
  const Handle called = f.Make([&](Workflow& wf) {
    return wf.NewBranch().OnRollback(f.Does("undo")).Call("http://b/action", 1);
  });
  CHECK_THROWS_AS(called.Execute("g", 1), dtm::OngoingError);
  CHECK_THROWS_WITH(called.Resume("g", 1), "gid 'g': branch 01 is not finished yet: until noon");
  const Handle done = f.Make([&](Workflow& wf) {
    wf.NewBranch().Do([] { throw dtm::OngoingError("wait"); });
    return std::string();
  });
  CHECK_THROWS_AS(done.Execute("g", 1), dtm::OngoingError);
  CHECK(f.endpoint.registered.empty());
  CHECK(f.did.empty());
  CHECK(f.endpoint.workflow.status == Status::kPrepared);
}
