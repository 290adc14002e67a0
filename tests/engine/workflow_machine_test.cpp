/// The workflow machine, a ledger, as a table, (status, rows, event -> effects, new state), which reaches every pair
/// of a status and an event; and its stories: when it is resumed, and how it ends. See machine_kit.hpp.
/// Protocol §4.5, §12 (W26), Appendix A.
#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/engine/machine_kit.hpp"
#include <dtm/core/limits.hpp>

using Catch::Matchers::ContainsSubstring;
using namespace machine_kit;

namespace {

const Result kOk = Result::Success(), kNo = Result::Failure("no money"),
             kLater = Result::Ongoing("not yet"), kBroken = Result::Error("connection lost"),
             kUnsent = Result::NotSent("no free slot");
constexpr EventKind kPrepare = EventKind::kPrepared, kTimer = EventKind::kTimer,
                    kLoaded = EventKind::kLoaded, kStop = EventKind::kForceStop,
                    kRegistered = EventKind::kRegistered, kRetryNow = EventKind::kRetryNow,
                    kAdded = EventKind::kBranchAdded, kCancel = EventKind::kCancel;

std::vector<Case> Prepared() {
  using C = Case;
  std::vector<Case> cases = {
      C("prepare: its initiator has one interval", "workflow 0")
          .New()
          .On(kPrepare)
          .Gives(kPrepared, "n10")
          .Timer("10"),
      C("prepare, own interval", "workflow 0 interval=7")
          .New()
          .On(kPrepare)
          .Gives(kPrepared, "n7")
          .Timer("7"),
      C("prepare, a timeout shorter than the interval is the interval", "workflow 0 timeout=5")
          .New()
          .On(kPrepare)
          .Gives(kPrepared, "n5")
          .Timer("5"),
      C("prepare, nobody can resume it", "workflow 0 noquery")
          .New()
          .On(kPrepare)
          .Gives(kPrepared, "n10"),
      C("prepare while stopping", "workflow 0")
          .New()
          .MayNotCall()
          .On(kPrepare)
          .Gives(kPrepared, "n10")
          .Timer("10"),
      C("timer too early", "workflow 1")
          .In(kPrepared, "n4 S")
          .On(kTimer)
          .Gives(kPrepared, "n4 S")
          .Timer("4"),
      C("the first interval is over: resumed", "workflow 0")
          .In(kPrepared, "P")
          .On(kTimer)
          .Gives(kPrepared, ">")
          .Calls("q"),
      C("a wait is over: resumed", "workflow 2")
          .In(kPrepared, "x2 S F")
          .On(kTimer)
          .Gives(kPrepared, "> S F")
          .Calls("q"),
      C("a wait is over, nobody can resume it", "workflow 1 noquery")
          .In(kPrepared, "P S")
          .On(kTimer)
          .Gives(kPrepared, "P S"),
      C("a wait is over while nothing may be called", "workflow 1")
          .MayNotCall()
          .In(kPrepared, "x2 S")
          .On(kTimer)
          .Gives(kPrepared, "x2 S"),
      C("loaded while nothing may be called", "workflow 1")
          .MayNotCall()
          .In(kPrepared, "r S")
          .On(kLoaded)
          .Gives(kPrepared, "r S"),
      C("a step is recorded while nothing may be called, its wait is over", "workflow 1")
          .MayNotCall()
          .In(kPrepared, "P")
          .On(kAdded)
          .Gives(kPrepared, "P S"),
      C("it runs: timer", "workflow 0 timeout=60")
          .In(kPrepared, ">")
          .On(kTimer)
          .Gives(kPrepared, ">"),

      C("it says SUCCESS, which ends nothing", "workflow 1")
          .In(kPrepared, "> S")
          .On("q", kOk)
          .Gives(kPrepared, "w10 S")
          .Timer("10"),
      C("it says FAILURE, which ends nothing", "workflow 1")
          .In(kPrepared, "> S")
          .On("q", kNo)
          .Gives(kPrepared, "w10 S")
          .Timer("10"),
      C("it is ONGOING", "workflow 0")
          .In(kPrepared, ">")
          .On("q", kLater)
          .Gives(kPrepared, "w10")
          .Timer("10"),
      C("it is ONGOING, own interval", "workflow 0 interval=7")
          .In(kPrepared, ">")
          .On("q", kLater)
          .Gives(kPrepared, "w7")
          .Timer("7"),
      C("an error", "workflow 0")
          .In(kPrepared, ">")
          .On("q", kBroken)
          .Gives(kPrepared, "e1")
          .Timer("e1"),
      C("not sent", "workflow 0")
          .In(kPrepared, ">")
          .On("q", kUnsent)
          .Gives(kPrepared, "n10")
          .Timer("10"),
      C("an answer while stopping", "workflow 0")
          .MayNotCall()
          .In(kPrepared, ">")
          .On("q", kOk)
          .Gives(kPrepared, "w10")
          .Timer("10"),

      C("a step is recorded", "workflow 1")
          .In(kPrepared, "n4")
          .On(kAdded)
          .Gives(kPrepared, "n4 S")
          .Timer("4"),
      C("a failed step is recorded", "workflow 2 failed=2")
          .In(kPrepared, "n4 S")
          .On(kAdded)
          .Gives(kPrepared, "n4 S F")
          .Timer("4"),
      C("a step is recorded while it is resumed", "workflow 1")
          .In(kPrepared, ">")
          .On(kAdded)
          .Gives(kPrepared, "> S"),
      C("a step is recorded, nobody can resume it", "workflow 1 noquery")
          .In(kPrepared, "P")
          .On(kAdded)
          .Gives(kPrepared, "P S"),

      C("it succeeded", "workflow 1")
          .In(kPrepared, "n4 S")
          .Finish(kOk, "42")
          .Gives(kSucceed, "n4 S")
          .Returns("42"),
      C("it failed", "workflow 1 failed=1")
          .In(kPrepared, "n4 F")
          .Finish(kNo, "")
          .Gives(kFailed, "n4 F")
          .Because("no money"),
      C("it failed, with a result", "workflow 0")
          .In(kPrepared, "n4")
          .Finish(kNo, "half of it")
          .Gives(kFailed, "n4")
          .Because("no money")
          .Returns("half of it"),
      C("it succeeded while it is resumed", "workflow 0")
          .In(kPrepared, ">")
          .Finish(kOk, "")
          .Gives(kSucceed, "r~6"),
      C("it ended while stopping", "workflow 0")
          .MayNotCall()
          .In(kPrepared, ">")
          .Finish(kOk, "7")
          .Gives(kSucceed, "r~6")
          .Returns("7"),

      C("cancel", "workflow 0")
          .In(kPrepared, "n4")
          .Cancel("no")
          .Gives(kPrepared, "n4")
          .Timer("4")
          .Refused("a workflow is rolled back by its own code; ForceStop ends it"),
      C("force stop", "workflow 1").In(kPrepared, "n4 S").On(kStop).Gives(kFailed, "n4 S"),
      C("force stop while it is resumed", "workflow 0")
          .In(kPrepared, ">")
          .On(kStop)
          .Gives(kFailed, "r~6"),
      C("loaded before its first resume", "workflow 1")
          .In(kPrepared, "n4 S")
          .On(kLoaded)
          .Gives(kPrepared, "n4 S")
          .Timer("4"),
      C("loaded, it was being resumed: again", "workflow 1")
          .In(kPrepared, "r~4 S")
          .On(kLoaded)
          .Gives(kPrepared, "> S")
          .Calls("q"),
      C("loaded, nobody can resume it", "workflow 0 noquery")
          .In(kPrepared, "P")
          .On(kLoaded)
          .Gives(kPrepared, "P"),
      C("its function is there now", "workflow 0 local")
          .In(kPrepared, "n9")
          .On(kRegistered, "q")
          .Gives(kPrepared, ">")
          .Calls("q"),
      C("its function is there now, but an error waits", "workflow 0 local")
          .In(kPrepared, "e1")
          .On(kRegistered, "q")
          .Gives(kPrepared, "e1")
          .Timer("10"),
      C("retry now", "workflow 1")
          .In(kPrepared, "e5 S")
          .On(kRetryNow)
          .Gives(kPrepared, "> S")
          .Calls("q"),
  };
  for (const Result& answer : Answers()) {
    for (const char* row : {"q", "d1"}) {
      cases.push_back(C("an answer nobody waits for", "workflow 1")
                          .In(kPrepared, "w4 S")
                          .On(row, answer)
                          .Gives(kPrepared, "w4 S")
                          .Timer("4"));
    }
  }
  return cases;
}

std::vector<Case> Ends() {
  using C = Case;
  std::vector<Case> cases = {
      C("the same end again", "workflow 0")
          .In(kSucceed, "r")
          .Finish(kOk, "other")
          .Gives(kSucceed, "r"),
      C("the same end again, failed", "workflow 0")
          .In(kFailed, "r")
          .Finish(kNo, "other")
          .Gives(kFailed, "r"),
      C("another end", "workflow 0")
          .In(kSucceed, "r")
          .Finish(kNo, "other")
          .Gives(kSucceed, "r")
          .Refused("it has already ended as succeed"),
      C("another end, failed", "workflow 0")
          .In(kFailed, "r")
          .Finish(kOk, "other")
          .Gives(kFailed, "r")
          .Refused("it has already ended as failed"),
  };
  AddEnds(cases, "workflow 1", "r S", "r F", {kTimer, kLoaded, kRegistered, kAdded});
  return cases;
}

std::vector<Case> Stuck() {
  using C = Case;
  return {
      C("rows are missing", "workflow 2")
          .In(kPrepared, "P S")
          .On(kLoaded)
          .Gives(kPrepared, "P S")
          .EndsStuck(),
      C("too many rows", "workflow 0")
          .In(kPrepared, "P S")
          .On(kTimer)
          .Gives(kPrepared, "P S")
          .EndsStuck(),
      C("stuck: timer", "workflow 0")
          .WasStuck()
          .In(kPrepared, "r")
          .On(kTimer)
          .Gives(kPrepared, "r")
          .EndsStuck(),
      C("stuck: an answer is kept", "workflow 0")
          .WasStuck()
          .In(kPrepared, ">")
          .On("q", kLater)
          .Gives(kPrepared, "w10")
          .EndsStuck(),
      C("stuck: retry now goes on", "workflow 1")
          .WasStuck()
          .In(kPrepared, "e3 S")
          .On(kRetryNow)
          .Gives(kPrepared, "> S")
          .Calls("q"),
      C("stuck: retry now, still broken", "workflow 0")
          .WasStuck()
          .In(kPrepared, "P S")
          .On(kRetryNow)
          .Gives(kPrepared, "P S")
          .EndsStuck(),
      C("stuck: force stop", "workflow 2")
          .WasStuck()
          .In(kPrepared, "P")
          .On(kStop)
          .Gives(kFailed, "P"),
      C("stuck: repair is refused", "workflow 0")
          .WasStuck()
          .In(kPrepared, "e3")
          .On(EventKind::kRepair, "q")
          .Refused("the steps of a workflow are made by its own code")
          .Gives(kPrepared, "e3")
          .EndsStuck(),
      C("repair is refused", "workflow 1")
          .In(kPrepared, "w9 S")
          .On(EventKind::kRepair, "d1")
          .Refused("the steps of a workflow are made by its own code")
          .Gives(kPrepared, "w9 S")
          .Timer("9"),
      C("stuck: its end is taken", "workflow 2")
          .WasStuck()
          .In(kPrepared, "P")
          .Finish(kOk, "1")
          .Gives(kSucceed, "P")
          .Returns("1"),
  };
}

/// Every change of status there is (protocol §1); the machine may make no other.
const std::set<std::string> kTransitions = {
    "new -> prepared",    "prepared -> prepared", "prepared -> succeed",
    "prepared -> failed", "succeed -> succeed",   "failed -> failed",
    "not stuck -> stuck", "stuck -> stuck",       "stuck -> not stuck",
};

Event Finish(Result how, std::string data) {
  Event event = Happens(EventKind::kFinish);
  event.result = std::move(how);
  event.data = std::move(data);
  return event;
}

}  // namespace

TEST_CASE("workflow: the table, and it reaches every pair and every transition") {
  std::vector<Case> table;
  for (const auto& part : {Prepared(), Ends(), Stuck()}) {
    table.insert(table.end(), part.begin(), part.end());
  }
  std::set<std::string> pairs = AllPairs(
      TransType::kWorkflow, {kPrepared, kSucceed, kFailed},
      {kTimer, kLoaded, kRegistered, kRetryNow, kStop, kCancel, kAdded, EventKind::kRepair});
  pairs.insert("new + prepared");
  for (const Status status : {kPrepared, kSucceed, kFailed}) {
    for (const Result& how : {kOk, kNo}) {
      pairs.insert(PairOf(TransType::kWorkflow, false, status, Finish(how, "")));
    }
  }
  CheckTable(table, pairs, kTransitions);
}

TEST_CASE("workflow: it is resumed after one interval and not a microsecond earlier") {
  for (const int own : {0, 3, 60}) {
    CAPTURE(own);
    const seconds interval(own > 0 ? own : 10);
    Play play("workflow 0 interval=" + std::to_string(own));
    play.Happen(kPrepare);
    play.context.now = kStart + interval - dtm::Duration(1);
    play.Happen(kTimer);
    CHECK(play.log.empty());
    play.ToTimer();
    CHECK(play.log == "q");
    CHECK(play.context.now == kStart + interval);
  }
}

TEST_CASE("workflow: steps that are recorded do not put off its resume, nor bring it nearer") {
  Play play("workflow 0");
  play.Happen(kPrepare);
  for (int i = 1; i < 10; ++i) {
    play.context.now = kStart + seconds(i);
    play.Register();
    CHECK(play.log.empty());
    CHECK(play.effects.timer == kStart + seconds(10));
  }
  play.ToTimer();
  CHECK(play.log == "q");
  CHECK(play.t.branches.size() == 10);
}

TEST_CASE(
    "workflow: ONGOING, SUCCESS and FAILURE without an end resume it at the fixed interval, for "
    "ever") {
  for (const Result& answer : {kLater, kOk, kNo}) {
    CAPTURE(static_cast<int>(answer.kind));
    Play play("workflow 0");
    play.answers["q"] = std::deque<Result>(20, answer);
    play.Happen(kPrepare);
    for (int i = 0; i < 20; ++i) {
      play.ToTimer();
      play.AnswerOne();
      CHECK(play.t.status == kPrepared);
      CHECK(play.t.branches[0].status == dtm::BranchStatus::kPrepared);
    }
    for (std::size_t i = 0; i < 19; ++i) CHECK(play.Gap("q", i) == 10);
  }
}

TEST_CASE("workflow: errors resume it with growing waits, until something else is heard (W26)") {
  Play play("workflow 0");
  play.answers["q"] = std::deque<Result>(15, kBroken);
  play.answers["q"].push_back(kNo);
  play.answers["q"].push_back(kBroken);
  play.Happen(kPrepare);
  for (int i = 0; i < 18; ++i) {
    play.ToTimer();
    play.AnswerOne();
  }
  double wait = 10;
  for (std::size_t i = 0; i < 15; ++i, wait = (std::min)(2 * wait, 3600.0)) {
    CAPTURE(i);
    CHECK(play.Gap("q", i) >= wait);
    CHECK(play.Gap("q", i) <= wait * 1.2);
  }
  CHECK(play.Gap("q", 15) == 10);
  CHECK(play.Gap("q", 16) <= 12);
}

TEST_CASE(
    "workflow: its end is taken while it is resumed; the answer that comes then changes nothing") {
  for (const Result& answer : Answers()) {
    Play play("workflow 0");
    play.Happen(kPrepare);
    play.ToTimer();
    play.Happen(Finish(kOk, "42"));
    CHECK(play.effects.changed);
    CHECK(play.t.status == kSucceed);
    CHECK(play.t.finished == play.context.now);
    play.AnswerRow("q", answer);
    CHECK_FALSE(play.effects.changed);
    CHECK(play.t.result == "42");
    CHECK(play.t.last_error.empty());
  }
}

TEST_CASE(
    "workflow: the first end stays: said again it changes nothing, contradicted it is refused "
    "(W26)") {
  for (const bool failed : {false, true}) {
    const Result first = failed ? kNo : kOk, other = failed ? kOk : kNo;
    Play play("workflow 0");
    play.Happen(kPrepare);
    play.Happen(Finish(first, "the first"));
    REQUIRE(IsFinal(play.t.status));
    for (const Result& again : {first, other}) {
      play.context.now += seconds(1);
      play.Happen(Finish(again, "the second"));
      CHECK_FALSE(play.effects.changed);
      CHECK(play.effects.refused.empty() == (again.kind == first.kind));
      CHECK(play.t.status == (failed ? kFailed : kSucceed));
      CHECK(play.t.result == "the first");
      CHECK(play.t.reason == (failed ? "no money" : ""));
      CHECK(play.t.finished == kStart);
    }
  }
}

TEST_CASE("workflow: the reason of its failure is cut to its limit, its result is not") {
  Play play("workflow 0");
  play.Happen(kPrepare);
  play.Happen(Finish(Result::Failure(std::string(5000, 'r')), std::string(5000, 'd')));
  CHECK(play.t.reason.size() <= dtm::kMaxReasonBytes);
  CHECK(play.t.reason.substr(0, 100) == std::string(100, 'r'));
  CHECK(play.t.result == std::string(5000, 'd'));
}

TEST_CASE(
    "workflow: after a restart it is resumed at its time, in the middle of a resume at once") {
  Play play("workflow 0");
  play.Happen(kPrepare);
  play.Restart(seconds(4));
  CHECK(play.log.empty());
  CHECK(play.effects.timer == kStart + seconds(10));
  play.Restart(seconds(20));
  CHECK(play.log == "q");
  play.Register();
  play.Restart(seconds(1));
  CHECK(play.log == "q q");
  play.Happen(Finish(kOk, ""));
  play.Restart(seconds(1));
  CHECK_FALSE(play.effects.changed);
  CHECK(play.log == "q q");
}

TEST_CASE("workflow: a clock that was set back makes the first resume no later than one interval") {
  Play play("workflow 0");
  play.Happen(kPrepare);
  play.Restart(-std::chrono::hours(5));
  CHECK(play.effects.timer >= play.context.now + seconds(10));
  CHECK(play.effects.timer <= play.context.now + seconds(12));
}

TEST_CASE("workflow: one whose wait ended while nothing may be called is resumed after a restart") {
  Play play("workflow 0");
  play.Happen(kPrepare);
  play.context.may_call = false;
  play.ToTimer();
  CHECK(play.log.empty());
  CHECK(play.t.due <= play.context.now);
  play.context.may_call = true;
  play.Restart(seconds(5));
  CHECK(play.log == "q");
}
