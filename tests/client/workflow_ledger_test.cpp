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

TEST_CASE(
    "workflow ledger: however long what was called is, the sentence keeps room for both names") {
  Fixture f;
  const std::string path(dtm::kMaxUrlBytes - 9, 'x');
  CHECK(Run(f, {"http://b/" + path, "crash"}) == "crash");
  const std::string told = Run(f, {"http://c/" + path});
  CHECK_THAT(told, ContainsSubstring("http://b/x") && ContainsSubstring("http://c/x"));
  CHECK(told.size() <
        dtm::kMaxReasonBytes * 3 / 4);  // those who tell it say who they are before it
}

TEST_CASE("workflow ledger: a call stays the same when its url gains, changes or loses a user") {
  for (const char* before : {"http://b/charge", "http://u:old@b/charge"}) {
    for (const char* now : {"http://b/charge", "http://u:new@b/charge", "http://u@b/charge"}) {
      CAPTURE(before, now);
      Fixture f;
      CHECK(Run(f, {before, "crash"}) == "crash");
      CHECK(Run(f, {now}) == "succeed");
      CHECK(f.endpoint.called.empty());
    }
  }
  Fixture f;
  CHECK(Run(f, {"http://b/charge", "crash"}) == "crash");
  CHECK_THAT(Run(f, {"http://u:new@c/charge"}),
             ContainsSubstring("does not go on") && ContainsSubstring("http://***@c/charge"));
  CHECK_THAT(Run(f, {"http://b/@b/charge"}), ContainsSubstring("does not go on"));
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
  const bool about_01 = now == "no callback" || now == "another callback";
  std::string what =
      about_01 ? std::string("the ") + op + " of branch 01" : std::string("the decision to ") + op;
  if (GENERATE(false, true)) {  // versions before did not record the decision
    auto& recorded = f.endpoint.workflow.recorded;
    for (auto step = recorded.begin(); step != recorded.end(); ++step) {
      if (step->branch_id != "00") continue;
      recorded.erase(step);
      break;
    }
    if (!about_01) what = std::string("the ") + op + " of branch 03";
  }
  CHECK_THROWS_WITH(handle.Execute("g", 1), ContainsSubstring(what));
  CHECK(f.did.empty());
  if (now != "another callback") CHECK(f.endpoint.log == Lines{"prepare g"});
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
     CHECK_THROWS_AS(branch.Call(longest + "x", 1), dtm::Error);
     CHECK_THROWS_AS(branch.Call("http://b/\xFF", 1), dtm::Error);
     CHECK_THROWS_AS(branch.Call("topic://t", 1), dtm::LogicError);
     CHECK_THROWS_AS(branch.Call(LocalBranch<int>{std::string(3000, 'f'), kOwner}, 1),
                     dtm::LogicError);
     CHECK_THROWS_AS(branch.OnRollback(longest + "x", 1), dtm::Error);
     CHECK(f.endpoint.called.empty());
     return branch.Call(longest, 1);
   }).Execute("g", 1);
  CHECK(f.endpoint.called.size() == 1);
}

// ---- a limit that is met when the step is done ----

namespace {

std::string Long(std::size_t bytes) { return std::string(bytes, 'a'); }
constexpr std::size_t kLongest = dtm::kMaxPayloadBytes;

}  // namespace

TEST_CASE(
    "workflow ledger: the answer of a step that is too long to keep fails it once, and it is "
    "undone") {
  const std::string how = GENERATE(as<std::string>{}, "passes", "plan B", "returns", "throws");
  const bool dies = GENERATE(false, true);
  CAPTURE(how, dies);
  Fixture f;
  const Handle handle = f.Make([&](Workflow& wf) {
    wf.NewBranch().OnRollback(f.Does("undo 01")).Do(f.Does("01"));
    try {
      wf.NewBranch().OnRollback(f.Does("undo 02")).Do([&] {
        f.did.push_back("02");
        return Long(kLongest + 1);
      });
    } catch (const dtm::BeyondLimit&) {
      if (how == "passes") throw;
      if (how == "plan B") wf.NewBranch().Do(f.Does("plan B"));
      if (how == "throws") throw std::runtime_error("something else");
    }
    return std::string("done");
  });
  Lines did{"01", "02", "undo 02", "undo 01"};
  if (dies) {
    bool broken = true;
    f.endpoint.instead_of_taking["register workflow g 02 rollback"] = [&] {
      if (std::exchange(broken, false)) throw dtm::InDoubtError("crash");
    };
    CHECK_THROWS_AS(handle.Execute("g", 1), dtm::InDoubtError);
    CHECK(f.did == Lines{"01", "02", "undo 02"});
    f.TakeDid();
    did = {"undo 02", "undo 01"};
  }
  try {
    handle.Execute("g", 1);
    FAIL("it succeeded");
  } catch (const dtm::BeyondLimit&) {
    FAIL("of another workflow this would look like its own limit");
  } catch (const dtm::FailureError& error) {
    CHECK_THAT(error.what(),
               ContainsSubstring("branch 02 was done") && ContainsSubstring("262144"));
  }
  CHECK(f.did == did);
  CHECK(f.endpoint.workflow.status == Status::kFailed);
  CHECK(f.endpoint.registered.at(1).op == Op::kBusiness);
  CHECK_THROWS_AS(handle.Execute("g", 1), dtm::FailureError);
  CHECK(f.did == did);
}

TEST_CASE("workflow ledger: what fits is kept, to the byte: one answer, all together, the result") {
  const std::size_t answers = dtm::kMaxAnswersBytes / kLongest;
  const std::string beyond = GENERATE(as<std::string>{}, "nothing", "answers", "result");
  CAPTURE(beyond);
  Fixture f;
  const Handle handle = f.Make([&](Workflow& wf) {
    for (std::size_t i = 0; i < answers; ++i) {
      wf.NewBranch().OnRollback(f.Does("undo")).Do([] { return Long(kLongest); });
    }
    wf.NewBranch().OnRollback(f.Does("undo the last")).Do([&] {
      return Long(beyond == "answers" ? 1 : 0);
    });
    return Long(kLongest + (beyond == "result" ? 1 : 0));
  });
  if (beyond == "nothing") {
    CHECK(handle.Execute("g", 1).size() == kLongest);
    CHECK(f.did.empty());
    return;
  }
  CHECK_THROWS_WITH(handle.Execute("g", 1), ContainsSubstring("limit"));
  CHECK(f.did.size() == answers + 1);
  CHECK(f.did.at(0) == "undo the last");
  CHECK(f.endpoint.workflow.status == Status::kFailed);
}

TEST_CASE("workflow ledger: 400 branches, and one more rolls back all of them, once") {
  Fixture f;
  std::size_t count = dtm::kMaxWorkflowBranches;
  const Handle handle = f.Make([&](Workflow& wf) {
    for (std::size_t i = 0; i < count; ++i) wf.NewBranch().OnRollback(f.Does("undo")).Do([] {});
    return std::string("done");
  });
  CHECK(handle.Execute("g", 1) == "done");
  CHECK(f.endpoint.registered.back().branch_id == "400");
  f.endpoint.workflow = {};
  ++count;
  CHECK_THROWS_WITH(handle.Execute("g", 1), ContainsSubstring("at most 400 branches"));
  CHECK(f.did.size() == dtm::kMaxWorkflowBranches);
  CHECK(f.endpoint.workflow.status == Status::kFailed);
}

TEST_CASE("workflow ledger: the reason of a failure is kept as far as there is room") {
  Fixture f;
  const Handle handle = f.Make([&](Workflow& wf) {
    return wf.NewBranch().Do([]() -> std::string { throw dtm::FailureError(Long(kLongest + 1)); });
  });
  CHECK_THROWS_AS(handle.Execute("g", 1), dtm::FailureError);
  CHECK(f.endpoint.registered.at(0).failed);
  CHECK(f.endpoint.registered.at(0).payload.size() == dtm::kMaxReasonBytes);
}

TEST_CASE("workflow ledger: a call that was done without an answer that can be kept") {
  Fixture f;
  f.endpoint.answers = [](const dtm::InitiatorCall& call) {
    Result result = Result::Error("a body of more than 262144 bytes");
    result.done = call.url != "http://b/ok";
    return result.done ? result : Result::Success();
  };
  const bool commits = GENERATE(false, true);
  const Handle handle = f.Make([&](Workflow& wf) {
    wf.NewBranch()
        .OnCommit("http://b/commit", 1)
        .OnRollback("http://b/undo", 1)
        .Call(commits ? "http://b/ok" : "http://b/long", 1);
    return std::string("done");
  });
  if (commits) {
    CHECK(handle.Execute("g", 1) == "done");  // nobody wants the answer of a callback
    return;
  }
  CHECK_THROWS_AS(handle.Execute("g", 1), dtm::FailureError);
  CHECK(f.endpoint.called.size() == 2);
  CHECK(f.endpoint.called.back().url == "http://b/undo");
  CHECK(f.endpoint.workflow.status == Status::kFailed);
}
