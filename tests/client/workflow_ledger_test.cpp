/// What a workflow has recorded against what it does now: other steps, missing ones and another decision are refused
/// before anything is done or undone.
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/client/workflow_kit.hpp"

using Catch::Matchers::ContainsSubstring;
using namespace workflow_kit;

namespace {

constexpr std::uint64_t kOwner = FakeEndpoint::kOwner;

/// One step of a program: "own", "own NAME", "http://...", "fn NAME", "none".
void Do(Fixture& f, Workflow& wf, const std::string& what) {
  const bool named = what.rfind("own ", 0) == 0 && what.size() > 4;
  WorkflowBranch branch = wf.NewBranch(named ? what.substr(4) : "");
  branch.OnRollback(f.Does("undo " + branch.Id()));
  if (what.rfind("own", 0) == 0) {
    branch.Do(f.Does(what));
  } else if (what == "none") {
    branch.Call(dtm::kNoBranch, 1);
  } else if (what.rfind("fn ", 0) == 0) {
    branch.Call(LocalBranch<int>{what.substr(3), kOwner}, 1);
  } else {
    branch.Call(what, 1);
  }
}

/// Runs these steps; "crash" and "fail" are what they say.
std::string Run(Fixture& f, const Lines& program) {
  const Handle handle = f.Make([&](Workflow& wf) {
    for (const std::string& what : program) {
      if (what == "crash") throw std::runtime_error("crash");
      if (what == "fail") throw dtm::FailureError("no");
      Do(f, wf, what);
    }
    return std::string();
  });
  f.TakeDid();
  f.TakeLog();
  f.endpoint.called.clear();
  try {
    handle.Execute("g", 1);
    return "succeed";
  } catch (const dtm::LogicError& error) {
    return error.what();
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE(
    "workflow ledger: a step that is another one than was recorded is refused, nothing is done") {
  struct Line {
    Lines before, now;
    std::string told;  ///< in the sentence
  };
  const Line lines[] = {
      {{"http://b/charge", "http://b/ship", "crash"},
       {"http://b/check", "http://b/charge", "http://b/ship"},
       "the action of branch 01 was recorded as a call of http://b/charge and is a call of "
       "http://b/check now"},
      {{"http://b/charge", "crash"}, {"own", "http://b/charge"}, "is own code now"},
      {{"own", "crash"}, {"http://b/charge"}, "recorded as own code"},
      {{"own charge", "crash"},
       {"own check", "own charge"},
       "recorded as own code named 'charge' and is own code named 'check' now"},
      {{"own charge", "crash"}, {"own"}, "named 'charge'"},
      {{"own", "crash"}, {"own check", "own"}, "named 'check'"},
      {{"fn charge", "crash"}, {"fn check"}, "local:charge"},
      {{"fn charge", "crash"}, {"none"}, "is no call now"},
      {{"none", "crash"}, {"fn charge"}, "recorded as no call"},
      {{"own a", "own b", "own c", "crash"}, {"own a", "own c"}, "branch 02"},
      {{"own a", "own b", "crash"},
       {"own a"},
       "the action of branch 02 is recorded, and this run ended without it"},
      {{"own a", "own b", "crash"}, {"own a", "fail"}, "ended without it"},
      {{"own a", "crash"}, {"fail"}, "ended without it"},
      {{"own a", "crash"}, {}, "ended without it"},
  };
  for (const Line& line : lines) {
    CAPTURE(line.before, line.now);
    Fixture f;
    CHECK(Run(f, line.before) == "crash");
    for (int again = 0; again < 2; ++again) {
      const std::string told = Run(f, line.now);
      CHECK_THAT(told, ContainsSubstring("gid 'g' does not go on") &&
                           ContainsSubstring(line.told) && ContainsSubstring("ForceStop"));
      CHECK(f.did.empty());
      CHECK(f.endpoint.called.empty());
      CHECK(f.endpoint.log == Lines{"prepare g"});
    }
    Lines old = line.before;
    old.pop_back();
    CHECK(Run(f, old) == "succeed");  // the old code is back
    CHECK(f.did.empty());
  }
}

TEST_CASE("workflow ledger: what was recorded without saying what it was is accepted, as before") {
  Fixture f;
  CHECK(Run(f, {"http://b/charge", "own", "fn f", "crash"}) == "crash");
  for (dtm::Step& step : f.endpoint.workflow.recorded) step.action.clear();
  CHECK(Run(f, {"own", "http://b/other", "none", "own new"}) == "succeed");
  CHECK(f.did == Lines{"own new"});
}

TEST_CASE("workflow ledger: a function of this program stays the same when its url changes") {
  Fixture f;
  f.Make([](Workflow& wf) {
     return wf.NewBranch("n").Call(LocalBranch<int>{"In", kOwner}, 1);
   }).Execute("g", 1);
  const dtm::Step& step = f.endpoint.registered.at(0);
  CHECK(step.action == "local:In");
  CHECK(step.topic == "n");
  CHECK(step.compensate.empty());
}

TEST_CASE("workflow ledger: a function that goes on after it was refused does and ends nothing") {
  Fixture f;
  CHECK(Run(f, {"own charge", "crash"}) == "crash");
  const std::string how = GENERATE(as<std::string>{}, "plan B", "returns", "fails", "throws");
  CAPTURE(how);
  const Handle handle = f.Make([&](Workflow& wf) {
    WorkflowBranch check = wf.NewBranch("check");
    check.OnRollback(f.Does("undo check"));
    try {
      check.Do(f.Does("check"));
    } catch (const std::exception&) {
      if (how == "plan B") wf.NewBranch().Do(f.Does("plan B"));
      if (how == "fails") throw dtm::FailureError("it does not work");
      if (how == "throws") throw dtm::OngoingError("later");
    }
    return std::string();
  });
  f.TakeDid();
  f.TakeLog();
  CHECK_THROWS_AS(handle.Execute("g", 1), dtm::LogicError);
  CHECK_THROWS_WITH(handle.Resume("g", 1),
                    ContainsSubstring("'charge'") && ContainsSubstring("'check'"));
  CHECK(f.did.empty());
  CHECK(f.endpoint.log == Lines(2, "prepare g"));
}

TEST_CASE("workflow ledger: a decision that was made differently once is refused") {
  const bool failed_before = GENERATE(true, false);
  const std::string now =
      GENERATE(as<std::string>{}, "the other", "one step more", "no callback", "another callback");
  CAPTURE(failed_before, now);
  Fixture f;
  bool fails = failed_before, broken = true, more = false, callback = true;
  std::string name = "one";
  const Handle handle = f.Make([&](Workflow& wf) {
    WorkflowBranch one = wf.NewBranch(name);
    if (callback) one.OnFinish([&](bool) { f.did.push_back("callback 01"); });
    wf.NewBranch("two").Do(f.Does("02"));
    wf.NewBranch().OnFinish([&](bool) { f.did.push_back("callback 03"); });
    wf.NewBranch().OnFinish([&](bool) { f.did.push_back("callback 04"); });
    if (more) wf.NewBranch().Do(f.Does("05"));
    if (fails) throw dtm::FailureError("too late today");
    return std::string("done");
  });
  const char* op = failed_before ? "rollback" : "commit";
  // It dies after two of its callbacks.
  f.endpoint.instead_of_taking[std::string("register workflow g 01 ") + op] = [&] {
    if (broken) throw dtm::InDoubtError("crash");
  };
  CHECK_THROWS_AS(handle.Execute("g", 1), dtm::InDoubtError);
  broken = false;
  if (now == "the other") fails = !fails;
  if (now == "one step more") more = true;
  if (now == "no callback") {
    f.endpoint.workflow.recorded.push_back(
        Recorded("01", failed_before ? Op::kRollback : Op::kCommit, ""));
    callback = false;
  }
  if (now == "another callback") {
    dtm::Step step = Recorded("01", failed_before ? Op::kRollback : Op::kCommit, "");
    step.action = "http://b/undo";
    f.endpoint.workflow.recorded.push_back(step);
  }
  f.TakeDid();
  f.TakeLog();
  const std::string branch = now == "no callback" || now == "another callback" ? "01" : "03";
  CHECK_THROWS_WITH(handle.Execute("g", 1),
                    ContainsSubstring(std::string("the ") + op + " of branch " + branch));
  CHECK(f.did.empty());
  CHECK(f.endpoint.log == Lines{"prepare g"});
  CHECK(f.endpoint.workflow.status == Status::kPrepared);
  if (now == "another callback") return;
  fails = failed_before;
  more = false;
  callback = true;
  if (failed_before) {
    CHECK_THROWS_WITH(handle.Execute("g", 1), "too late today");
  } else {
    CHECK(handle.Execute("g", 1) == "done");
  }
}

TEST_CASE("workflow ledger: what could not be recorded is not done") {
  Fixture f;
  f.Make([&](Workflow& wf) {
     CHECK_THROWS_AS(wf.NewBranch(std::string(129, 'n')), dtm::LogicError);
     CHECK_THROWS_AS(wf.NewBranch("\xFF"), dtm::LogicError);
     WorkflowBranch branch = wf.NewBranch(std::string(128, 'n'));
     const std::string longest = "http://b/" + std::string(dtm::kMaxUrlBytes - 9, 'x');
     CHECK_THROWS_AS(branch.Call(longest + "x", 1), dtm::LogicError);
     CHECK_THROWS_AS(branch.Call("http://b/\xFF", 1), dtm::LogicError);
     CHECK_THROWS_AS(branch.Call("topic://t", 1), dtm::LogicError);
     CHECK_THROWS_AS(branch.Call(LocalBranch<int>{std::string(3000, 'f'), kOwner}, 1),
                     dtm::LogicError);
     CHECK_THROWS_AS(branch.OnRollback(longest + "x", 1), dtm::LogicError);
     CHECK(f.endpoint.called.empty());
     return branch.Call(longest, 1);
   }).Execute("g", 1);
  CHECK(f.endpoint.called.size() == 1);
}
