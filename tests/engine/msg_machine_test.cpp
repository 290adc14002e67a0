/// The message machine as a table, (status, rows, event -> effects, new state), which reaches every pair of a status
/// and an event; and its stories: the query-back, submits that race it, delay, delivery. See machine_kit.hpp.
/// Protocol §4.2, §12 (W2, W20), Appendix A.
#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/engine/machine_kit.hpp"

using Catch::Matchers::ContainsSubstring;
using namespace machine_kit;

namespace {

const Result kOk = Result::Success(), kNo = Result::Failure("no money"),
             kLater = Result::Ongoing("not yet"), kBroken = Result::Error("connection lost"),
             kUnsent = Result::NotSent("no free slot");
constexpr EventKind kSubmit = EventKind::kSubmitted, kPrepare = EventKind::kPrepared,
                    kTimer = EventKind::kTimer, kLoaded = EventKind::kLoaded,
                    kStop = EventKind::kForceStop, kRegistered = EventKind::kRegistered,
                    kRetryNow = EventKind::kRetryNow;

std::vector<Case> Beginnings() {
  using C = Case;
  return {
      C("submit", "msg 2").New().On(kSubmit).Gives(kSubmitted, "P > P").Calls("d1"),
      C("submit, concurrent", "msg 2 concurrent")
          .New()
          .On(kSubmit)
          .Gives(kSubmitted, "P > >")
          .Calls("d1 d2"),
      C("submit, nobody to ask", "msg 1 noquery")
          .New()
          .On(kSubmit)
          .Gives(kSubmitted, "P >")
          .Calls("d1"),
      C("submit, no steps", "msg 0").New().On(kSubmit).Gives(kSucceed, "P"),
      C("submit, no urls", "msg 2 empty=d1,d2").New().On(kSubmit).Gives(kSucceed, "P S S"),
      C("submit, the first has no url", "msg 2 empty=d1")
          .New()
          .On(kSubmit)
          .Gives(kSubmitted, "P S >")
          .Calls("d2"),
      C("submit, concurrent, one has no url", "msg 3 concurrent empty=d2")
          .New()
          .On(kSubmit)
          .Gives(kSubmitted, "P > S >")
          .Calls("d1 d3"),
      C("submit with a delay", "msg 1 delay=50")
          .New()
          .On(kSubmit)
          .Gives(kSubmitted, "P P")
          .Timer("50"),
      C("submit, nothing to deliver, with a delay", "msg 0 delay=50")
          .New()
          .On(kSubmit)
          .Gives(kSubmitted, "P")
          .Timer("50"),
      C("submit while the coordinator stops", "msg 2 empty=d1")
          .New()
          .MayNotCall()
          .On(kSubmit)
          .Gives(kSubmitted, "P S P"),
      C("prepare", "msg 2").New().On(kPrepare).Gives(kPrepared, "P P P").Timer("35"),
      C("prepare, own timeout", "msg 1 timeout=60")
          .New()
          .On(kPrepare)
          .Gives(kPrepared, "P P")
          .Timer("60"),
      C("prepare, nobody to ask", "msg 1 noquery")
          .New()
          .On(kPrepare)
          .Gives(kPrepared, "P P")
          .Timer("35"),
      C("prepare while the coordinator stops", "msg 1")
          .New()
          .MayNotCall()
          .On(kPrepare)
          .Gives(kPrepared, "P P")
          .Timer("35"),
  };
}

std::vector<Case> Prepared() {
  using C = Case;
  std::vector<Case> cases = {
      C("timer too early", "msg 1")
          .At(10)
          .In(kPrepared, "P P")
          .On(kTimer)
          .Gives(kPrepared, "P P")
          .Timer("25"),
      C("its time is over: its initiator is asked", "msg 1")
          .At(35)
          .In(kPrepared, "P P")
          .On(kTimer)
          .Gives(kPrepared, "> P")
          .Calls("q"),
      C("its own time is over", "msg 1 timeout=60")
          .At(60)
          .In(kPrepared, "P P")
          .On(kTimer)
          .Gives(kPrepared, "> P")
          .Calls("q"),
      C("its time is over, nobody to ask: delivered", "msg 1 noquery")
          .At(35)
          .In(kPrepared, "P P")
          .On(kTimer)
          .Gives(kSubmitted, "S >")
          .Calls("d1"),
      C("its time is over, nobody to ask, nothing to deliver", "msg 0 noquery")
          .In(kPrepared, "P")
          .On(kTimer)
          .Gives(kSucceed, "S"),
      C("its time is over while nothing may be called", "msg 1")
          .MayNotCall()
          .In(kPrepared, "P P")
          .On(kTimer)
          .Gives(kPrepared, "P P"),
      C("loaded after its time while nothing may be called", "msg 1")
          .MayNotCall()
          .In(kPrepared, "P P")
          .On(kLoaded)
          .Gives(kPrepared, "P P"),
      C("asked: timer", "msg 1").In(kPrepared, "> P").On(kTimer).Gives(kPrepared, "> P"),
      C("wait for the next question", "msg 1")
          .In(kPrepared, "w4 P")
          .On(kTimer)
          .Gives(kPrepared, "w4 P")
          .Timer("4"),
      C("the wait is over: asked again", "msg 1")
          .In(kPrepared, "x2 P")
          .On(kTimer)
          .Gives(kPrepared, "> P")
          .Calls("q"),

      C("SUCCESS delivers", "msg 2")
          .In(kPrepared, "> P P")
          .On("q", kOk)
          .Gives(kSubmitted, "S > P")
          .Calls("d1"),
      C("SUCCESS delivers not before the delay", "msg 1 delay=150")
          .In(kPrepared, "> P")
          .On("q", kOk)
          .Gives(kSubmitted, "S P")
          .Timer("50"),
      C("SUCCESS while nothing may be called", "msg 1")
          .MayNotCall()
          .In(kPrepared, "> P")
          .On("q", kOk)
          .Gives(kSubmitted, "S P"),
      C("FAILURE forgets it", "msg 1")
          .In(kPrepared, "> P")
          .On("q", kNo)
          .Gives(kFailed, "r P")
          .Because("no money"),
      C("ONGOING asks again", "msg 1")
          .In(kPrepared, "> P")
          .On("q", kLater)
          .Gives(kPrepared, "w10 P")
          .Timer("10"),
      C("ONGOING, own interval", "msg 1 interval=7")
          .In(kPrepared, "> P")
          .On("q", kLater)
          .Gives(kPrepared, "w7 P")
          .Timer("7"),
      C("an error asks again", "msg 1")
          .In(kPrepared, "> P")
          .On("q", kBroken)
          .Gives(kPrepared, "e1 P")
          .Timer("e1"),
      C("not sent asks again", "msg 1")
          .In(kPrepared, "> P")
          .On("q", kUnsent)
          .Gives(kPrepared, "n10 P")
          .Timer("10"),

      C("submit before its time", "msg 2")
          .At(10)
          .In(kPrepared, "P P P")
          .On(kSubmit)
          .Gives(kSubmitted, "P > P")
          .Calls("d1"),
      C("submit after its time, not asked yet", "msg 1")
          .In(kPrepared, "P P")
          .On(kSubmit)
          .Gives(kSubmitted, "P >")
          .Calls("d1"),
      C("submit while it is asked", "msg 1")
          .In(kPrepared, "> P")
          .On(kSubmit)
          .Gives(kSubmitted, "> >")
          .Calls("d1"),
      C("submit while it waits for the next question", "msg 1")
          .In(kPrepared, "e3 P")
          .On(kSubmit)
          .Gives(kSubmitted, "e3 >")
          .Calls("d1"),
      C("submit while it is asked, nothing to deliver", "msg 0")
          .In(kPrepared, ">")
          .On(kSubmit)
          .Gives(kSucceed, "r~6"),
      C("submit, with a delay", "msg 1 delay=150")
          .In(kPrepared, "P P")
          .On(kSubmit)
          .Gives(kSubmitted, "P P")
          .Timer("50"),
      C("submit while nothing may be called", "msg 1")
          .MayNotCall()
          .In(kPrepared, "P P")
          .On(kSubmit)
          .Gives(kSubmitted, "P P"),

      C("cancel", "msg 1").At(10).In(kPrepared, "P P").On(EventKind::kCancel).Gives(kFailed, "P P"),
      C("cancel, with a reason", "msg 1")
          .In(kPrepared, "P P")
          .Cancel("no stock")
          .Gives(kFailed, "P P")
          .Because("no stock"),
      C("cancel while it is asked", "msg 1")
          .In(kPrepared, "> P")
          .On(EventKind::kCancel)
          .Gives(kFailed, "r~6 P"),
      C("force stop", "msg 1").At(10).In(kPrepared, "P P").On(kStop).Gives(kFailed, "P P"),
      C("force stop while it is asked", "msg 1")
          .In(kPrepared, "> P")
          .On(kStop)
          .Gives(kFailed, "r~6 P"),
      C("loaded before its time", "msg 1")
          .At(10)
          .In(kPrepared, "P P")
          .On(kLoaded)
          .Gives(kPrepared, "P P")
          .Timer("25"),
      C("loaded, it was asked: again", "msg 1")
          .In(kPrepared, "r~4 P")
          .On(kLoaded)
          .Gives(kPrepared, "> P")
          .Calls("q"),
      C("loaded, it waits", "msg 1")
          .In(kPrepared, "e1 P")
          .On(kLoaded)
          .Gives(kPrepared, "e1 P")
          .Timer("10"),
      C("the function to ask is there now", "msg 1 local")
          .In(kPrepared, "n9 P")
          .On(kRegistered, "q")
          .Gives(kPrepared, "> P")
          .Calls("q"),
      C("a function is there that errors wait for", "msg 1 local")
          .In(kPrepared, "e1 P")
          .On(kRegistered, "q")
          .Gives(kPrepared, "e1 P")
          .Timer("10"),
      C("retry now asks at once", "msg 1")
          .In(kPrepared, "e5 P")
          .On(kRetryNow)
          .Gives(kPrepared, "> P")
          .Calls("q"),
      C("retry now does not ask before its time", "msg 1")
          .At(10)
          .In(kPrepared, "P P")
          .On(kRetryNow)
          .Gives(kPrepared, "P P")
          .Timer("25"),
  };
  for (const Result& answer : Answers()) {
    for (const char* row : {"q", "d1"}) {
      cases.push_back(C("prepared, an answer to nothing", "msg 1")
                          .At(10)
                          .In(kPrepared, "P P")
                          .On(row, answer)
                          .Gives(kPrepared, "P P")
                          .Timer("25"));
    }
  }
  return cases;
}

std::vector<Case> Submitted() {
  using C = Case;
  std::vector<Case> cases = {
      C("SUCCESS, then the next", "msg 2")
          .In(kSubmitted, "P > P")
          .On("d1", kOk)
          .Gives(kSubmitted, "P S >")
          .Calls("d2"),
      C("last SUCCESS", "msg 2").In(kSubmitted, "P S >").On("d2", kOk).Gives(kSucceed, "P S S"),
      C("SUCCESS, concurrent: the other is awaited", "msg 2 concurrent")
          .In(kSubmitted, "P > >")
          .On("d2", kOk)
          .Gives(kSubmitted, "P > S"),
      C("last SUCCESS, concurrent", "msg 2 concurrent")
          .In(kSubmitted, "P > S")
          .On("d1", kOk)
          .Gives(kSucceed, "P S S"),
      C("SUCCESS, then only empty urls", "msg 3 empty=d2,d3")
          .In(kSubmitted, "P > P P")
          .On("d1", kOk)
          .Gives(kSucceed, "P S S S"),
      C("SUCCESS while stopping: recorded, nothing started", "msg 2")
          .MayNotCall()
          .In(kSubmitted, "P > P")
          .On("d1", kOk)
          .Gives(kSubmitted, "P S P"),
      C("last SUCCESS while its question is still out", "msg 1")
          .In(kSubmitted, "> >")
          .On("d1", kOk)
          .Gives(kSucceed, "r~6 S"),
      C("FAILURE is tried again", "msg 2")
          .In(kSubmitted, "P > P")
          .On("d1", kNo)
          .Gives(kSubmitted, "P e1 P")
          .Timer("e1"),
      C("ONGOING", "msg 2")
          .In(kSubmitted, "P > P")
          .On("d1", kLater)
          .Gives(kSubmitted, "P w10 P")
          .Timer("10"),
      C("ONGOING, own interval", "msg 1 interval=7")
          .In(kSubmitted, "P >")
          .On("d1", kLater)
          .Gives(kSubmitted, "P w7")
          .Timer("7"),
      C("an error", "msg 2")
          .In(kSubmitted, "P > P")
          .On("d1", kBroken)
          .Gives(kSubmitted, "P e1 P")
          .Timer("e1"),
      C("not sent", "msg 2")
          .In(kSubmitted, "P > P")
          .On("d1", kUnsent)
          .Gives(kSubmitted, "P n10 P")
          .Timer("10"),
      C("the earliest wait sets the timer", "msg 2 concurrent")
          .In(kSubmitted, "P w3 >")
          .On("d2", kLater)
          .Gives(kSubmitted, "P w3 w10")
          .Timer("3"),
      C("SUCCESS, concurrent: the other waits", "msg 2 concurrent")
          .In(kSubmitted, "P w3 >")
          .On("d2", kOk)
          .Gives(kSubmitted, "P w3 S")
          .Timer("3"),
      C("a late answer of its initiator does not end the delay", "msg 1 delay=150")
          .In(kSubmitted, "> P")
          .On("q", kNo)
          .Gives(kSubmitted, "r P")
          .Timer("50"),
      C("submitted again", "msg 1").In(kSubmitted, "P >").On(kSubmit).Gives(kSubmitted, "P >"),
      C("submitted again, in a wait", "msg 1")
          .In(kSubmitted, "P w4")
          .On(kSubmit)
          .Gives(kSubmitted, "P w4")
          .Timer("4"),
      C("cancel", "msg 1")
          .In(kSubmitted, "P >")
          .Cancel("too late")
          .Gives(kSubmitted, "P >")
          .Refused("it is submitted, and a submitted message is delivered"),
      C("timer too early", "msg 1 timeout=60")
          .In(kSubmitted, "P w5")
          .On(kTimer)
          .Gives(kSubmitted, "P w5")
          .Timer("5"),
      C("the wait is over", "msg 2")
          .In(kSubmitted, "P x2 P")
          .On(kTimer)
          .Gives(kSubmitted, "P > P")
          .Calls("d1"),
      C("the wait is over, stopping", "msg 2")
          .MayNotCall()
          .In(kSubmitted, "P x2 P")
          .On(kTimer)
          .Gives(kSubmitted, "P x2 P"),
      C("one second before the delay is over", "msg 1 delay=101")
          .In(kSubmitted, "P P")
          .On(kTimer)
          .Gives(kSubmitted, "P P")
          .Timer("1"),
      C("the delay is over", "msg 2 concurrent delay=100")
          .In(kSubmitted, "P P P")
          .On(kTimer)
          .Gives(kSubmitted, "P > >")
          .Calls("d1 d2"),
      C("the delay is over, stopping", "msg 1 delay=100")
          .MayNotCall()
          .In(kSubmitted, "P P")
          .On(kTimer)
          .Gives(kSubmitted, "P P"),
      C("loaded: called again", "msg 2")
          .In(kSubmitted, "P r~4 P")
          .On(kLoaded)
          .Gives(kSubmitted, "P > P")
          .Calls("d1"),
      C("loaded: what succeeded is not called again", "msg 3 concurrent")
          .In(kSubmitted, "S r~4 S r~4")
          .On(kLoaded)
          .Gives(kSubmitted, "S > S >")
          .Calls("d1 d3"),
      C("loaded in a wait", "msg 1")
          .In(kSubmitted, "P w4")
          .On(kLoaded)
          .Gives(kSubmitted, "P w4")
          .Timer("4"),
      C("loaded in the delay", "msg 1 delay=150")
          .In(kSubmitted, "P P")
          .On(kLoaded)
          .Gives(kSubmitted, "P P")
          .Timer("50"),
      C("the function is there now", "msg 1 local")
          .In(kSubmitted, "P n9")
          .On(kRegistered, "d1")
          .Gives(kSubmitted, "P >")
          .Calls("d1"),
      C("retry now", "msg 1")
          .In(kSubmitted, "P e5")
          .On(kRetryNow)
          .Gives(kSubmitted, "P >")
          .Calls("d1"),
      C("retry now does not shorten the delay", "msg 1 delay=150")
          .In(kSubmitted, "P P")
          .On(kRetryNow)
          .Gives(kSubmitted, "P P")
          .Timer("50"),
      C("force stop", "msg 1").In(kSubmitted, "P >").On(kStop).Gives(kFailed, "P r~6"),
  };
  // Its initiator was asked, then it was submitted: whatever it says now means nothing.
  const std::vector<const char*> after = {"S >", "r >", "r >", "r >", "P >"};
  for (std::size_t i = 0; i < after.size(); ++i) {
    cases.push_back(C("a late answer of its initiator", "msg 1")
                        .In(kSubmitted, "> >")
                        .On("q", Answers()[i])
                        .Gives(kSubmitted, after[i]));
    cases.push_back(C("an answer nobody waits for", "msg 2")
                        .In(kSubmitted, "P S >")
                        .On("d1", Answers()[i])
                        .Gives(kSubmitted, "P S >"));
  }
  return cases;
}

std::vector<Case> Stuck() {
  using C = Case;
  return {
      C("rows are missing", "msg 2")
          .In(kSubmitted, "P S")
          .On(kLoaded)
          .Gives(kSubmitted, "P S")
          .EndsStuck(),
      C("too many rows, prepared", "msg 0")
          .In(kPrepared, "P P")
          .On(kLoaded)
          .Gives(kPrepared, "P P")
          .EndsStuck(),
      C("stuck: loaded again", "msg 1")
          .WasStuck()
          .In(kSubmitted, "P r")
          .On(kLoaded)
          .Gives(kSubmitted, "P r")
          .EndsStuck(),
      C("stuck: timer, prepared, its time is over", "msg 1")
          .WasStuck()
          .In(kPrepared, "P P")
          .On(kTimer)
          .Gives(kPrepared, "P P")
          .EndsStuck(),
      C("stuck: an answer is kept", "msg 2")
          .WasStuck()
          .In(kSubmitted, "P > P")
          .On("d1", kOk)
          .Gives(kSubmitted, "P S P")
          .EndsStuck(),
      C("stuck: retry now goes on", "msg 2")
          .WasStuck()
          .In(kSubmitted, "P S P")
          .On(kRetryNow)
          .Gives(kSubmitted, "P S >")
          .Calls("d2"),
      C("stuck: retry now, still broken", "msg 2")
          .WasStuck()
          .In(kSubmitted, "P S")
          .On(kRetryNow)
          .Gives(kSubmitted, "P S")
          .EndsStuck(),
      C("stuck: force stop", "msg 2").WasStuck().In(kSubmitted, "P").On(kStop).Gives(kFailed, "P"),
      C("stuck: cancel, prepared", "msg 2")
          .WasStuck()
          .In(kPrepared, "P")
          .Cancel("give up")
          .Gives(kFailed, "P")
          .Because("give up"),
  };
}

/// Somebody says that a row is done.
std::vector<Case> Repairs() {
  using C = Case;
  const EventKind repair = EventKind::kRepair;
  return {
      C("repair: the next delivery begins", "msg 2")
          .In(kSubmitted, "P e3 P")
          .On(repair, "d1")
          .Gives(kSubmitted, "P S >")
          .Calls("d2"),
      C("repair: the last delivery", "msg 2 concurrent")
          .In(kSubmitted, "P S e3")
          .On(repair, "d2")
          .Gives(kSucceed, "P S S"),
      C("repair: beforehand", "msg 2")
          .In(kSubmitted, "P e1 P")
          .On(repair, "d2")
          .Gives(kSubmitted, "P e1 S")
          .Timer("e1"),
      C("repair: before the delay has passed", "msg 2 delay=150")
          .In(kSubmitted, "P P P")
          .On(repair, "d1")
          .Gives(kSubmitted, "P S P")
          .Timer("50"),
      C("stuck: repair goes on", "msg 2")
          .WasStuck()
          .In(kSubmitted, "P r P")
          .On(repair, "d1")
          .Gives(kSubmitted, "P S >")
          .Calls("d2"),
      C("repair: its call is running", "msg 1")
          .In(kSubmitted, "P >")
          .On(repair, "d1")
          .Refused("is running")
          .Gives(kSubmitted, "P >"),
      C("repair: it had succeeded", "msg 2")
          .In(kSubmitted, "P S >")
          .On(repair, "d1")
          .Refused("has succeeded already")
          .Gives(kSubmitted, "P S >"),
      C("repair: the question to its initiator, which decides", "msg 1 timeout=60")
          .In(kPrepared, "e1 P")
          .On(repair, "q")
          .Refused("it is prepared, so none of its branches is called yet; submit it, or cancel it")
          .Gives(kPrepared, "e1 P")
          .Timer("e1"),
      C("repair: a delivery of a prepared one", "msg 1 timeout=60")
          .In(kPrepared, "e1 P")
          .On(repair, "d1")
          .Refused("it is prepared")
          .Gives(kPrepared, "e1 P")
          .Timer("e1"),
      C("repair: the question after the submit", "msg 1")
          .In(kSubmitted, "e1 e1")
          .On(repair, "q")
          .Refused("branch 00 msg http://bank/q will not be called")
          .Gives(kSubmitted, "e1 e1")
          .Timer("e1"),
  };
}

/// Every change of status there is (protocol §1); the machine may make no other.
const std::set<std::string> kTransitions = {
    "new -> submitted",     "new -> prepared",     "new -> succeed",
    "prepared -> prepared", "prepared -> failed",  "prepared -> submitted",
    "prepared -> succeed",  "submitted -> failed", "submitted -> submitted",
    "submitted -> succeed", "succeed -> succeed",  "failed -> failed",
    "not stuck -> stuck",   "stuck -> stuck",      "stuck -> not stuck",
};

/// When each row was called, in seconds since the start.
std::string Times(const Play& play, const char* row) {
  std::string text;
  for (const dtm::Time time : play.sent.at(row)) {
    text += (text.empty() ? "" : " ") +
            std::to_string(std::chrono::duration_cast<seconds>(time - kStart).count());
  }
  return text;
}

}  // namespace

TEST_CASE("msg: the table, and it reaches every pair and every transition") {
  std::vector<Case> table;
  for (const auto& part : {Beginnings(), Prepared(), Submitted(), Stuck(), Repairs()}) {
    table.insert(table.end(), part.begin(), part.end());
  }
  AddEnds(table, "msg 1 timeout=60", "S S", "r P", {kSubmit, kTimer, kLoaded, kRegistered});
  std::set<std::string> pairs =
      AllPairs(TransType::kMsg, {kPrepared, kSubmitted, kSucceed, kFailed},
               {kSubmit, kTimer, kLoaded, kRegistered, kRetryNow, kStop, EventKind::kCancel,
                EventKind::kRepair});
  pairs.insert({"new + submitted", "new + prepared"});
  CheckTable(table, pairs, kTransitions);
}

TEST_CASE("msg: of two, all fine, one after the other or together (Appendix A)") {
  for (const auto& [text, log] : {std::pair("msg 2", "d1 d2"), {"msg 2 concurrent", "d1 d2"}}) {
    CAPTURE(text);
    Play play(text);
    play.Happen(kSubmit);
    CHECK(play.out.size() == (play.t.definition->concurrent ? 2 : 1));
    play.Run();
    CHECK(play.log == log);
    CHECK(saga_kit::Statuses(play.t) == "P S S");
    CHECK(play.t.status == kSucceed);
    CHECK(play.t.finished == kStart);
  }
}

TEST_CASE(
    "msg: prepared, asked: ONGOING, then SUCCESS, then b2 ONGOING, then delivered (Appendix A)") {
  Play play("msg 2");
  play.Happen(kPrepare);
  CHECK(play.log.empty());
  play.ToTimer();
  play.answers["q"] = {kLater};
  play.answers["d2"] = {kLater};
  play.AnswerOne();
  CHECK(play.t.status == kPrepared);
  play.ToTimer();
  play.AnswerOne();
  CHECK(play.t.status == kSubmitted);
  play.Run();
  CHECK(play.log == "q q d1 d2 d2");
  CHECK(Times(play, "q") == "35 45");
  CHECK(Times(play, "d2") == "45 55");
  CHECK(play.t.status == kSucceed);
  CHECK(play.t.reason.empty());
}

TEST_CASE("msg: prepared, asked: FAILURE, nothing is delivered (Appendix A)") {
  Play play("msg 2");
  play.answers["q"] = {kNo};
  play.Happen(kPrepare);
  play.Run();
  CHECK(play.log == "q");
  CHECK(play.t.status == kFailed);
  CHECK(saga_kit::Statuses(play.t) == "P P P");
}

TEST_CASE("msg: its initiator is not asked one microsecond before its time, at its time it is") {
  for (const auto& [text, limit] : {std::pair("msg 1", 35), {"msg 1 timeout=60", 60}}) {
    CAPTURE(text);
    Play play(text);
    play.Happen(kPrepare);
    play.context.now = kStart + seconds(limit) - dtm::Duration(1);
    play.Happen(kTimer);
    CHECK(play.log.empty());
    CHECK(play.effects.timer == kStart + seconds(limit));
    play.LookAt(seconds(limit));
    CHECK(play.log == "q");
  }
}

TEST_CASE("msg: errors of the query-back are asked again, with growing waits, for ever") {
  Play play("msg 1");
  play.answers["q"] = std::deque<Result>(20, kBroken);
  play.Happen(kPrepare);
  play.Run();
  REQUIRE(play.sent["q"].size() == 21);
  double wait = 10;
  for (std::size_t i = 0; i < 20; ++i, wait = (std::min)(2 * wait, 3600.0)) {
    CAPTURE(i);
    CHECK(play.Gap("q", i) >= wait);
    CHECK(play.Gap("q", i) <= wait * 1.2);
  }
  CHECK(play.t.status == kSucceed);
}

TEST_CASE("msg: an ONGOING between errors starts the waits anew") {
  Play play("msg 1");
  play.answers["q"] = {kBroken, kBroken, kLater, kBroken};
  play.Happen(kPrepare);
  play.Run();
  REQUIRE(play.sent["q"].size() == 5);
  CHECK(play.Gap("q", 1) >= 20);
  CHECK(play.Gap("q", 2) == 10);
  CHECK(play.Gap("q", 3) <= 12);
}

TEST_CASE("msg: a submit that races the query-back wins, whatever its initiator then says") {
  for (const Result& answer : Answers()) {
    for (const bool answered_first : {false, true}) {
      CAPTURE(static_cast<int>(answer.kind), answered_first);
      if (answered_first && answer.kind == Result::Kind::kFailure) continue;  // then it has ended
      Play play("msg 2");
      play.Happen(kPrepare);
      play.ToTimer();
      REQUIRE(play.log == "q");
      if (answered_first) play.AnswerRow("q", answer);
      play.Happen(kSubmit);
      if (!answered_first) play.AnswerRow("q", answer);
      play.Run();
      CHECK(play.log == "q d1 d2");  // nothing twice
      CHECK(play.t.status == kSucceed);
    }
  }
}

TEST_CASE("msg: when its initiator said FAILURE first, a submit changes nothing any more") {
  Play play("msg 1");
  play.Happen(kPrepare);
  play.ToTimer();
  play.AnswerRow("q", kNo);
  play.Happen(kSubmit);
  CHECK(play.t.status == kFailed);
  CHECK(play.log == "q");
  CHECK_FALSE(play.effects.changed);
}

TEST_CASE("msg: an answer to the question comes after the message was delivered") {
  Play play("msg 1");
  play.Happen(kPrepare);
  play.ToTimer();
  play.Happen(kSubmit);
  play.AnswerRow("d1", kOk);
  CHECK(play.t.status == kSucceed);
  play.AnswerRow("q", kNo);
  CHECK(play.t.status == kSucceed);
  CHECK_FALSE(play.effects.changed);
}

TEST_CASE("msg: the delay counts from its creation and is never early (Appendix A)") {
  for (const bool prepared : {false, true}) {
    CAPTURE(prepared);
    Play play("msg 2 delay=10");
    play.Happen(prepared ? kPrepare : kSubmit);
    if (prepared) {
      play.context.now = kStart + seconds(4);
      play.Happen(kSubmit);
    }
    CHECK(play.effects.timer == kStart + seconds(10));
    play.LookAt(seconds(8));
    play.context.now = kStart + seconds(10) - dtm::Duration(1);
    for (const EventKind kind : {kTimer, kLoaded, kRetryNow, kRegistered, kSubmit}) {
      play.Happen(kind);
      CHECK(play.log.empty());
      CHECK(play.effects.timer == kStart + seconds(10));
    }
    play.LookAt(seconds(12));
    play.Run();
    CHECK(play.log == "d1 d2");
    CHECK(play.t.status == kSucceed);
  }
}

TEST_CASE("msg: a delay longer than the timeout: asked at the timeout, delivered after the delay") {
  Play play("msg 1 delay=100");
  play.Happen(kPrepare);
  play.Run();
  CHECK(Times(play, "q") == "35");
  CHECK(Times(play, "d1") == "100");
}

TEST_CASE(
    "msg: FAILURE of a branch is retried for ever, with growing waits, and never rolls back "
    "(W20)") {
  Play play("msg 2");
  play.answers["d1"] = std::deque<Result>(30, kNo);
  play.Happen(kSubmit);
  play.Run();
  REQUIRE(play.sent["d1"].size() == 31);
  double wait = 10;
  for (std::size_t i = 0; i < 30; ++i, wait = (std::min)(2 * wait, 3600.0)) {
    CAPTURE(i);
    CHECK(play.Gap("d1", i) >= wait);
    CHECK(play.Gap("d1", i) <= wait * 1.2);
  }
  CHECK(play.sent["d2"].size() == 1);
  CHECK(play.t.status == kSucceed);
  CHECK(play.t.reason.empty());
  CHECK_THAT(play.t.last_error, ContainsSubstring("answered FAILURE: no money"));
}

TEST_CASE("msg: delivered together, one that fails holds up nobody; one after the other it does") {
  for (const auto& [text, log] :
       {std::pair("msg 3 concurrent", "d1 d2 d3 d1"), {"msg 3", "d1 d1 d2 d3"}}) {
    CAPTURE(text);
    Play play(text);
    play.answers["d1"] = {kNo};
    play.Happen(kSubmit);
    play.Run();
    CHECK(play.log == log);
  }
}

TEST_CASE("msg: submitted twice, nothing runs twice (W2)") {
  Play play("msg 2");
  play.Happen(kSubmit);
  play.AnswerOne();
  play.Happen(kSubmit);
  CHECK_FALSE(play.effects.changed);
  play.Run();
  play.Happen(kSubmit);
  CHECK(play.log == "d1 d2");
}

TEST_CASE(
    "msg: a prepared one whose time passes while nothing may be called is asked after a restart") {
  Play play("msg 1");
  play.Happen(kPrepare);
  play.context.may_call = false;
  play.ToTimer();
  CHECK(play.log.empty());
  CHECK(play.t.due <= play.context.now);
  play.context.may_call = true;
  play.Restart(seconds(5));
  CHECK(play.log == "q");
}

TEST_CASE("msg: after a restart, prepared or submitted, it goes on where it was") {
  Play prepared("msg 2");
  prepared.Happen(kPrepare);
  prepared.Restart(seconds(20));
  CHECK(prepared.log.empty());
  CHECK(prepared.effects.timer == kStart + seconds(35));
  prepared.Restart(seconds(20));
  CHECK(prepared.log == "q");
  prepared.Restart(seconds(1));
  CHECK(prepared.log == "q q");
  prepared.AnswerOne();
  prepared.AnswerOne();
  REQUIRE(prepared.log == "q q d1 d2");
  prepared.Restart(seconds(1));
  prepared.Run();
  CHECK(prepared.log == "q q d1 d2 d2");
  CHECK(prepared.t.status == kSucceed);
}

TEST_CASE("msg: a row that is missing is said in words") {
  Play play("msg 2");
  play.Happen(kSubmit);
  play.t.branches.pop_back();
  play.Happen(kLoaded);
  CHECK(play.t.stuck);
  CHECK(play.t.last_error == "the record has 2 branch rows for 2 steps");
}
