/// Workflows: steps that are recorded, replayed and undone, in which order and under which ids; how a run ends; what
/// comes out. Protocol §11.7, §4.5, Appendix A.
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include <dtm/client/workflow.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::LocalBranch;
using dtm::Op;
using dtm::Result;
using dtm::Status;
using dtm::Workflow;
using dtm::WorkflowBranch;
using Lines = std::vector<std::string>;
using Handle = dtm::WorkflowHandle<int>;

namespace {

const Result kNo = Result::Failure("no money");

/// A workflow "wf" with a coordinator that remembers what is recorded, and what its function did.
struct Fixture {
  FakeEndpoint endpoint;
  Lines did;

  Handle Make(std::function<std::string(Workflow&)> function) {
    Handle handle(endpoint, "wf", [function = std::move(function)](Workflow& workflow, const int&) {
      return function(workflow);
    });
    handle.ResumeAt("local:wf");
    return handle;
  }
  std::function<void()> Does(const std::string& what) {
    return [this, what] { did.push_back(what); };
  }
  std::function<void()> Fails(const std::string& what) {
    return [this, what] {
      did.push_back(what);
      throw dtm::FailureError("no money");
    };
  }
  Lines TakeDid() { return std::exchange(did, {}); }
  Lines TakeLog() { return std::exchange(endpoint.log, {}); }
};

dtm::Step Recorded(const std::string& id, Op op, const std::string& answer, bool failed = false) {
  dtm::Step step;
  step.branch_id = id;
  step.op = op;
  step.payload = answer;
  step.failed = failed;
  return step;
}

/// The answer that Do records and returns.
template <typename Function>
std::string AnswerOf(const Function& step) {
  Fixture f;
  std::string returned;
  f.Make([&](Workflow& wf) { return returned = wf.NewBranch().Do(step); }).Execute("g", 1);
  CHECK(f.endpoint.registered.at(0).payload == returned);
  return returned;
}

}  // namespace

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

TEST_CASE("workflow client: what is no std::exception ends nothing either") {
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
                                "register workflow g 02 rollback",
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
  CHECK(f.endpoint.log == Lines{"prepare g", "register workflow g 01 rollback", "finish g failed"});
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
    "workflow client: commits run in reverse and are recorded; recorded ones are not run again") {
  Fixture f;
  bool broken = true;
  const Handle handle = f.Make([&](Workflow& wf) {
    for (const std::string name : {"one", "two", "three"}) {
      wf.NewBranch().OnRollback(f.Does("undo " + name)).OnCommit([&, name] {
        f.did.push_back("commit " + name);
        if (broken && name == "two") throw std::runtime_error("connection lost");
      });
    }
    return std::string("r");
  });
  CHECK_THROWS_WITH(handle.Execute("g", 1), "connection lost");
  CHECK(f.TakeDid() == Lines{"commit three", "commit two"});
  CHECK(f.TakeLog() == Lines{"prepare g", "register workflow g 03 commit"});
  broken = false;
  CHECK(handle.Execute("g", 1) == "r");
  CHECK(f.TakeDid() == Lines{"commit two", "commit one"});
  CHECK(f.TakeLog() == Lines{"prepare g", "register workflow g 02 commit",
                             "register workflow g 01 commit", "finish g succeed"});
}

TEST_CASE("workflow client: OnFinish is told how it ended") {
  for (const bool fails : {false, true}) {
    Fixture f;
    const Handle handle = f.Make([&](Workflow& wf) {
      wf.NewBranch().OnFinish([&](bool succeeded) { f.did.push_back(succeeded ? "good" : "bad"); });
      if (fails) throw dtm::FailureError("no");
      return std::string();
    });
    if (fails) {
      CHECK_THROWS_AS(handle.Execute("g", 1), dtm::FailureError);
    } else {
      handle.Execute("g", 1);
    }
    CHECK(f.did == Lines{fails ? "bad" : "good"});
    CHECK(f.endpoint.registered.at(0).op == (fails ? Op::kRollback : Op::kCommit));
  }
}

TEST_CASE(
    "workflow client: a callback that fails is no FailureError, is not recorded, and ends "
    "nothing") {
  for (const bool rollback : {false, true}) {
    CAPTURE(rollback);
    Fixture f;
    const Handle handle = f.Make([&](Workflow& wf) -> std::string {
      wf.NewBranch().OnRollback(f.Fails("undo")).OnCommit(f.Fails("commit"));
      if (rollback) throw dtm::FailureError("sold out");
      return {};
    });
    for (int i = 0; i < 2; ++i) {
      try {
        handle.Execute("g", 1);
        FAIL("it returned");
      } catch (const dtm::FailureError&) {
        FAIL("it is not rolled back");
      } catch (const dtm::Error& error) {
        CHECK_THAT(error.what(),
                   ContainsSubstring("a callback of branch 01 must not fail: no money"));
      }
    }
    CHECK(f.did == Lines(2, rollback ? "undo" : "commit"));  // it comes again
    CHECK(f.endpoint.registered.empty());
    CHECK(f.endpoint.workflow.status == Status::kPrepared);
  }
}

TEST_CASE(
    "workflow client: a step that cannot be recorded is an error, and the workflow goes on later") {
  for (const bool fails : {false, true}) {
    Fixture f;
    f.endpoint.instead_of_taking["register workflow g 01 action"] = [] {
      throw dtm::InDoubtError("no answer");
    };
    const Handle handle = f.Make([&](Workflow& wf) {
      return wf.NewBranch().OnRollback(f.Does("undo")).Do(fails ? f.Fails("one") : f.Does("one"));
    });
    CHECK_THROWS_AS(handle.Execute("g", 1), dtm::InDoubtError);
    CHECK(f.did == Lines{"one"});
    CHECK(f.endpoint.log == Lines{"prepare g", "register workflow g 01 action"});
  }
}

TEST_CASE("workflow client: Do records nothing, text or JSON") {
  CHECK(AnswerOf([] {}).empty());
  CHECK(AnswerOf([] { return "text"; }) == "text");
  CHECK(AnswerOf([] { return std::string("t\"x\0t", 5); }) == std::string("t\"x\0t", 5));
  CHECK(AnswerOf([] { return 42; }) == "42");
  CHECK(AnswerOf([] { return true; }) == "true");
  CHECK(AnswerOf([] { return std::vector<int>{1, 2}; }) == "[1,2]");
}

TEST_CASE("workflow client: Do records a JSON value as JSON, whatever it holds") {
  CHECK(AnswerOf([] { return nlohmann::json{{"seat", 7}}; }) == R"({"seat":7})");
  CHECK(AnswerOf([] { return nlohmann::json(); }) == "null");
  CHECK(AnswerOf([] { return nlohmann::json(7); }) == "7");
  CHECK(AnswerOf([] { return nlohmann::json("text"); }) == R"("text")");
}

TEST_CASE("workflow client: Call calls the branch, records the body, and replays it") {
  Fixture f;
  f.endpoint.answer = {Result::Kind::kSuccess, R"({"seat":7})"};
  std::string answer;
  bool broken = true;
  const Handle handle = f.Make([&](Workflow& wf) {
    answer = wf.NewBranch().Call("http://b/Reserve", nlohmann::json{{"a", 1}});
    wf.NewBranch().Call(LocalBranch<int>{"In", FakeEndpoint::kOwner}, 5);
    if (broken) throw std::runtime_error("crash");
    return answer;
  });
  CHECK_THROWS(handle.Execute("g", 1));
  CHECK(answer == R"({"seat":7})");
  CHECK(f.TakeLog() == Lines{"prepare g", "call 01 action http://b/Reserve",
                             "register workflow g 01 action", "call 02 action local:In",
                             "register workflow g 02 action"});
  const dtm::DirectCall& call = f.endpoint.called.at(0);
  CHECK(call.info.gid == "g");
  CHECK(call.info.trans_type == dtm::TransType::kWorkflow);
  CHECK(call.payload == R"({"a":1})");
  CHECK_FALSE(call.tell_coordinator);
  CHECK(call.phase2_url.empty());
  CHECK(f.endpoint.called.at(1).payload == "5");

  broken = false;
  answer.clear();
  CHECK(handle.Execute("g", 1) == R"({"seat":7})");
  CHECK(f.endpoint.called.size() == 2);
}

TEST_CASE(
    "workflow client: Call of a branch that says no is recorded as failed; without definite answer "
    "it is not") {
  Fixture f;
  const Handle handle =
      f.Make([&](Workflow& wf) { return wf.NewBranch().Call("http://b/Reserve", 1); });
  for (const Result& answer :
       {Result::Ongoing("wait"), Result::Error("wait"), Result::NotSent("wait")}) {
    f.endpoint.answer = answer;
    CHECK_THROWS_WITH(handle.Execute("g", 1), "gid 'g': branch 01 gave no definite answer: wait");
    CHECK(f.endpoint.registered.empty());
    CHECK(f.endpoint.workflow.status == Status::kPrepared);
  }
  f.endpoint.answer = kNo;
  CHECK_THROWS_AS(handle.Execute("g", 1), dtm::FailureError);
  CHECK(f.endpoint.registered.at(0).failed);
  CHECK(f.endpoint.workflow.status == Status::kFailed);
}

TEST_CASE("workflow client: an empty url is no call, and is recorded as a success") {
  Fixture f;
  f.endpoint.answer = kNo;
  f.Make([&](Workflow& wf) {
     CHECK(wf.NewBranch().Call("", 1).empty());
     return wf.NewBranch().Call(dtm::kNoBranch, 1);
   }).Execute("g", 1);
  CHECK(f.endpoint.called.empty());
  CHECK(f.endpoint.registered.size() == 2);
}

TEST_CASE(
    "workflow client: rollback and commit by branches, with their op and payload, until they "
    "succeed") {
  for (const bool fails : {false, true}) {
    CAPTURE(fails);
    Fixture f;
    const Handle handle = f.Make([&](Workflow& wf) -> std::string {
      wf.NewBranch()
          .OnRollback("http://b/Undo", 7)
          .OnCommit(LocalBranch<int>{"Commit", FakeEndpoint::kOwner}, 8);
      if (fails) throw dtm::FailureError("sold out");
      return {};
    });
    const auto execute = [&] {
      f.TakeLog();
      try {
        handle.Execute("g", 1);
        return std::string("done");
      } catch (const dtm::FailureError& error) {
        return std::string("failed: ") + error.what();
      } catch (const dtm::Error&) {
        return std::string("open");
      }
    };
    const std::string call =
        fails ? "call 01 rollback http://b/Undo" : "call 01 commit local:Commit";
    for (const Result& answer : {kNo, Result::Ongoing(), Result::Error("lost")}) {
      f.endpoint.answer = answer;
      CHECK(execute() == "open");
      CHECK(f.endpoint.log == Lines{"prepare g", call});
    }
    f.endpoint.answer = Result::Success();
    CHECK(execute() == (fails ? "failed: sold out" : "done"));
    CHECK(f.endpoint.log ==
          Lines{"prepare g", call,
                std::string("register workflow g 01 ") + (fails ? "rollback" : "commit"),
                std::string("finish g ") + (fails ? "failed" : "succeed")});
    CHECK(f.endpoint.called.back().payload == (fails ? "7" : "8"));
  }
}

TEST_CASE("workflow client: a branch has one callback of each kind") {
  Fixture f;
  const Handle handle = f.Make([&](Workflow& wf) {
    WorkflowBranch branch = wf.NewBranch();
    branch.OnRollback(f.Does("undo"));
    CHECK_THROWS_AS(branch.OnRollback(f.Does("undo again")), dtm::LogicError);
    branch.OnCommit(f.Does("commit"));
    CHECK_THROWS_WITH(branch.OnCommit(f.Does("commit again")), ContainsSubstring("branch 01"));
    wf.NewBranch().OnCommit(f.Does("another"));
    return std::string();
  });
  handle.Execute("g", 1);
  CHECK(f.did == Lines{"another", "commit"});
}

TEST_CASE(
    "workflow client: a branch has one step: a second would be lost when the first is replayed") {
  Fixture f;
  const Handle handle = f.Make([&](Workflow& wf) {
    WorkflowBranch branch = wf.NewBranch();
    branch.Do(f.Does("one"));
    CHECK_THROWS_AS(branch.Do(f.Does("two")), dtm::LogicError);
    CHECK_THROWS_AS(branch.Call("http://b/Two", 1), dtm::LogicError);
    throw std::runtime_error("crash");
    return std::string();
  });
  for (int i = 0; i < 2; ++i)
    CHECK_THROWS_WITH(handle.Execute("g", 1), "crash");  // run and replayed alike
  CHECK(f.did == Lines{"one"});
  CHECK(f.endpoint.called.empty());
  CHECK(f.endpoint.registered.size() == 1);
}

TEST_CASE("workflow client: a step that was not recorded may be tried again in the same run") {
  Fixture f;
  int tries = 0;
  const Handle handle = f.Make([&](Workflow& wf) {
    WorkflowBranch branch = wf.NewBranch();
    const auto step = [&]() -> std::string {
      if (++tries == 1) throw std::runtime_error("lost");
      return "the second try";
    };
    CHECK_THROWS_AS(branch.Do(step), std::runtime_error);
    return branch.Do(step);
  });
  CHECK(handle.Execute("g", 1) == "the second try");
  CHECK(f.endpoint.registered.size() == 1);
}

TEST_CASE("workflow client: a callback makes no branches and registers no callbacks") {
  Fixture f;
  const Handle handle = f.Make([&](Workflow& wf) {
    WorkflowBranch branch = wf.NewBranch();
    WorkflowBranch other = wf.NewBranch();
    branch.OnCommit([&wf, &f, other]() mutable {
      CHECK_THROWS_AS(wf.NewBranch(), dtm::LogicError);
      CHECK_THROWS_AS(other.OnCommit(f.Does("late")), dtm::LogicError);
      CHECK_THROWS_AS(other.OnRollback(f.Does("late")), dtm::LogicError);
    });
    return std::string();
  });
  handle.Execute("g", 1);
  CHECK(f.did.empty());
}

TEST_CASE("workflow client: 99 branches, and the hundredth is misuse that ends nothing") {
  Fixture f;
  CHECK_THROWS_AS(f.Make([](Workflow& wf) {
                     for (int i = 0; i < 100; ++i) wf.NewBranch();
                     return std::string();
                   }).Execute("g", 1),
                  dtm::LogicError);
  CHECK(f.endpoint.log == Lines{"prepare g"});
}

TEST_CASE("workflow client: misuse of a branch is found before anything is done") {
  Fixture f;
  f.Make([&](Workflow& wf) {
     WorkflowBranch branch = wf.NewBranch();
     CHECK_THROWS_AS(branch.Call("local:In", 1), dtm::LogicError);
     CHECK_THROWS_AS(branch.Call(LocalBranch<int>{"In", 1}, 1), dtm::LogicError);
     CHECK_THROWS_AS(branch.Call("http://b", std::string("\xFF")), dtm::LogicError);
     CHECK_THROWS_AS(branch.OnCommit("local:In", 1), dtm::LogicError);
     return std::string();
   }).Execute("g", 1);
  CHECK(f.endpoint.log == Lines{"prepare g", "finish g succeed"});
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

namespace {

/// Where functions are registered.
struct FakeFunctions {
  std::string name;
  std::function<Result(const int&, const dtm::BranchInfo&)> function;
  template <typename T, typename Function>
  LocalBranch<T> Register(const std::string& as, Function what) {
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
