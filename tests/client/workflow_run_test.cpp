/// One run of a workflow: its branches, what their steps record and replay, their callbacks. Protocol §11.7.
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
  CHECK(f.TakeLog() ==
        Lines{"prepare g", "register workflow g 00 action", "register workflow g 03 commit"});
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
    CHECK(f.endpoint.registered.at(0).payload == (fails ? "rollback" : "commit"));
    CHECK(f.endpoint.registered.at(1).op == (fails ? Op::kRollback : Op::kCommit));
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
    CHECK(f.endpoint.registered.size() == 1);                // the decision
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

TEST_CASE("workflow client: a step that returns Result is what that says") {
  CHECK(AnswerOf([] { return Result::Success(); }).empty());
  CHECK(AnswerOf([] { return Result{Result::Kind::kSuccess, "seat 7"}; }) == "seat 7");
  for (const Result& result :
       {kNo, Result::Ongoing("later"), Result::Error("lost"), Result::NotSent("full")}) {
    CAPTURE(result.text);
    Fixture f;
    const Handle handle = f.Make([&](Workflow& wf) {
      return wf.NewBranch().OnRollback(f.Does("undo")).Do([&] { return result; });
    });
    if (result.kind == Result::Kind::kFailure) {
      CHECK_THROWS_AS(handle.Execute("g", 1), dtm::FailureError);
      CHECK(f.endpoint.registered.at(0).failed);
      CHECK(f.did.empty());
      continue;
    }
    if (result.kind == Result::Kind::kOngoing) {
      CHECK_THROWS_AS(handle.Execute("g", 1), dtm::OngoingError);
    } else {
      CHECK_THROWS_WITH(handle.Execute("g", 1), ContainsSubstring(result.text));
    }
    CHECK(f.endpoint.registered.empty());
  }
}

TEST_CASE("workflow client: a callback that returns Result is done only with a success") {
  for (const bool rollback : {false, true}) {
    Fixture f;
    Result result = kNo;
    const Handle handle = f.Make([&](Workflow& wf) -> std::string {
      wf.NewBranch().OnCommit([&] { return result; }).OnRollback([&] { return result; });
      wf.NewBranch().OnFinish([&](bool) { return Result::Success(); });
      if (rollback) throw dtm::FailureError("sold out");
      return "done";
    });
    for (const Result& bad : {kNo, Result::Ongoing("later"), Result::Error("lost")}) {
      result = bad;
      CHECK_THROWS_WITH(handle.Execute("g", 1), ContainsSubstring(bad.text));
      CHECK(f.endpoint.registered.size() == 2);  // the decision, and the last callback
    }
    result = Result::Success();
    if (rollback) {
      CHECK_THROWS_WITH(handle.Execute("g", 1), "sold out");
    } else {
      CHECK(handle.Execute("g", 1) == "done");
    }
  }
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
  const dtm::InitiatorCall& call = f.endpoint.called.at(0);
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
  for (const Result& answer : {Result::Error("wait"), Result::NotSent("wait")}) {
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
      const Lines decides{"prepare g", "register workflow g 00 action", call};
      CHECK(f.endpoint.log == (answer.text == kNo.text ? decides : Lines{"prepare g", call}));
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
