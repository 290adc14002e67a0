/// The saga machine as a table: (state, event -> effects, new state). See saga_kit.hpp for how
/// sagas and rows are written. Protocol §4.1, §12, appendix B (S1-S6, G11).
#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/engine/saga_kit.hpp"
#include <dtm/core/limits.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/engine/saga_machine.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Result;
using dtm::Status;
using dtm::Transaction;
using dtm::engine::Context;
using dtm::engine::Effects;
using dtm::engine::Event;
using dtm::engine::EventKind;
using dtm::engine::SagaMachine;
using namespace saga_kit;

namespace {

/// One line of the table. The transaction was created 100 s ago, unless At says something else.
struct Case {
  std::string name, saga;
  bool is_new = false, was_stuck = false, may_call = true, ends_stuck = false;
  Status before = Status::kSubmitted, after = Status::kSubmitted;
  std::string rows_before, rows_after, calls, timer = "-", refused, reason;
  std::uint32_t count_before = 0, count_after = 0;
  std::chrono::milliseconds age{100000};
  Event event;

  Case(std::string what, std::string definition)
      : name(std::move(what)), saga(std::move(definition)) {}

  Case& New() { return is_new = true, *this; }
  Case& In(Status status, std::string rows) {
    return before = status, rows_before = std::move(rows), *this;
  }
  Case& WasStuck() { return was_stuck = true, *this; }
  Case& MayNotCall() { return may_call = false, *this; }
  Case& Count(std::uint32_t was, std::uint32_t is) {
    return count_before = was, count_after = is, *this;
  }
  Case& At(std::chrono::milliseconds since_created) { return age = since_created, *this; }
  Case& On(EventKind kind) { return event = Happens(kind), *this; }
  Case& On(EventKind kind, const char* row) {
    event = Happens(kind);
    return event.row = RowOf(row), *this;
  }
  Case& On(const char* row, Result result) {
    return event = Answer(RowOf(row), std::move(result)), *this;
  }
  Case& Gives(Status status, std::string rows) {
    return after = status, rows_after = std::move(rows), *this;
  }
  Case& Calls(std::string rows) { return calls = std::move(rows), *this; }
  Case& Timer(std::string seconds_from_now) { return timer = std::move(seconds_from_now), *this; }
  Case& Refused(std::string why) { return refused = std::move(why), *this; }
  Case& Because(std::string why) { return reason = std::move(why), *this; }
  Case& EndsStuck() { return ends_stuck = true, *this; }
};

constexpr Status kPrepared = Status::kPrepared, kSubmitted = Status::kSubmitted,
                 kAborting = Status::kAborting, kSucceed = Status::kSucceed,
                 kFailed = Status::kFailed;
const Result kOk = Result::Success(), kNo = Result::Failure("no money"),
             kLater = Result::Ongoing("not yet"), kBroken = Result::Error("connection lost"),
             kUnsent = Result::NotSent("no free slot");

/// Stored by a prepare: only its submit, Cancel and ForceStop move it.
std::vector<Case> Prepared() {
  using C = Case;
  const EventKind submit = EventKind::kSubmitted;
  std::vector<Case> cases = {
      C("prepare", "2 timeout=60").New().On(EventKind::kPrepared).Gives(kPrepared, "P P P P"),
      C("prepare, while nothing may be called", "1 timeout=60")
          .New()
          .MayNotCall()
          .On(EventKind::kPrepared)
          .Gives(kPrepared, "P P"),
      C("prepared waits, while nothing may be called", "1")
          .In(kPrepared, "P P")
          .MayNotCall()
          .On(EventKind::kLoaded)
          .Gives(kPrepared, "P P"),
      C("its submit, while nothing may be called", "1")
          .In(kPrepared, "P P")
          .MayNotCall()
          .On(submit)
          .Gives(kSubmitted, "P P"),
      C("its submit", "2")
          .In(kPrepared, "P P P P")
          .On(submit)
          .Gives(kSubmitted, "P > P P")
          .Calls("a1"),
      C("its submit, nothing to call", "1 empty=a1")
          .In(kPrepared, "P P")
          .On(submit)
          .Gives(kSucceed, "P S"),
      C("its submit, after its timeout", "1 timeout=60")
          .In(kPrepared, "P P")
          .On(submit)
          .Gives(kFailed, "P P")
          .Because("Timeout after 60 seconds"),
      C("cancel", "2 timeout=60")
          .In(kPrepared, "P P P P")
          .On(EventKind::kCancel)
          .Gives(kFailed, "P P P P"),
      C("force stop", "2")
          .In(kPrepared, "P P P P")
          .On(EventKind::kForceStop)
          .Gives(kFailed, "P P P P"),
  };
  for (const EventKind kind :
       {EventKind::kLoaded, EventKind::kTimer, EventKind::kRegistered, EventKind::kRetryNow}) {
    cases.push_back(
        C("prepared waits", "1 timeout=60").In(kPrepared, "P P").On(kind).Gives(kPrepared, "P P"));
  }
  for (const Result& result : {kOk, kNo, kLater, kBroken, kUnsent}) {
    for (const char* row : {"a1", "c1"}) {
      cases.push_back(C("prepared, an answer to nothing", "1")
                          .In(kPrepared, "P P")
                          .On(row, result)
                          .Gives(kPrepared, "P P"));
    }
  }
  return cases;
}

std::vector<Case> Beginnings() {
  using C = Case;
  const EventKind submit = EventKind::kSubmitted;
  return {
      C("sequential", "2").New().On(submit).Gives(kSubmitted, "P > P P").Calls("a1"),
      C("submitted again", "1").In(kSubmitted, "P >").On(submit).Gives(kSubmitted, "P >"),
      C("submitted again, aborting", "2")
          .In(kAborting, "> F P P")
          .On(submit)
          .Gives(kAborting, "> F P P"),
      C("concurrent", "2 concurrent").New().On(submit).Gives(kSubmitted, "P > P >").Calls("a1 a2"),
      C("orders", "3 concurrent 2:0,1")
          .New()
          .On(submit)
          .Gives(kSubmitted, "P > P > P P")
          .Calls("a1 a2"),
      C("orders of a sequential saga change nothing", "3 2:0")
          .New()
          .On(submit)
          .Gives(kSubmitted, "P > P P P P")
          .Calls("a1"),
      C("no steps", "0").New().On(submit).Gives(kSucceed, ""),
      C("no urls at all", "2 empty=a1,c1,a2,c2").New().On(submit).Gives(kSucceed, "P S P S"),
      C("no urls, concurrent with orders", "2 concurrent 0:1 empty=a1,a2")
          .New()
          .On(submit)
          .Gives(kSucceed, "P S P S"),
      C("first action has no url", "3 empty=a1")
          .New()
          .On(submit)
          .Gives(kSubmitted, "P S P > P P")
          .Calls("a2"),
      C("later ones without url make an earlier one ready", "3 concurrent 0:1 1:2 empty=a2,a3")
          .New()
          .On(submit)
          .Gives(kSubmitted, "P > P S P S")
          .Calls("a1"),
      C("with a timeout", "2 timeout=60")
          .New()
          .On(submit)
          .Gives(kSubmitted, "P > P P")
          .Calls("a1")
          .Timer("60"),
      C("while the coordinator stops", "2 empty=a1")
          .New()
          .MayNotCall()
          .On(submit)
          .Gives(kSubmitted, "P S P P"),
  };
}

std::vector<Case> Forward() {
  using C = Case;
  const EventKind timer = EventKind::kTimer, loaded = EventKind::kLoaded;
  return {
      C("success", "2")
          .In(kSubmitted, "P > P P")
          .On("a1", kOk)
          .Gives(kSubmitted, "P S P >")
          .Calls("a2"),
      C("last success", "2").In(kSubmitted, "P S P >").On("a2", kOk).Gives(kSucceed, "P S P S"),
      C("last success, concurrent", "2 concurrent")
          .In(kSubmitted, "P > P S")
          .On("a1", kOk)
          .Gives(kSucceed, "P S P S"),
      C("success, then only empty urls", "3 empty=a2,a3")
          .In(kSubmitted, "P > P P P P")
          .On("a1", kOk)
          .Gives(kSucceed, "P S P S P S"),
      C("success, concurrent: the other is awaited", "2 concurrent")
          .In(kSubmitted, "P > P >")
          .On("a1", kOk)
          .Gives(kSubmitted, "P S P >"),
      C("success, concurrent: the other waits", "2 concurrent")
          .In(kSubmitted, "P > P w5")
          .On("a1", kOk)
          .Gives(kSubmitted, "P S P w5")
          .Timer("5"),
      C("success makes an ordered step ready", "3 concurrent 2:0,1")
          .In(kSubmitted, "P S P > P P")
          .On("a2", kOk)
          .Gives(kSubmitted, "P S P S P >")
          .Calls("a3"),
      C("success of one of two predecessors", "3 concurrent 2:0,1")
          .In(kSubmitted, "P > P > P P")
          .On("a1", kOk)
          .Gives(kSubmitted, "P S P > P P"),
      C("success while stopping: recorded, nothing started", "2")
          .In(kSubmitted, "P > P P")
          .MayNotCall()
          .On("a1", kOk)
          .Gives(kSubmitted, "P S P P"),
      C("last success while stopping", "1")
          .In(kSubmitted, "P >")
          .MayNotCall()
          .On("a1", kOk)
          .Gives(kSucceed, "P S"),

      C("ongoing", "2")
          .In(kSubmitted, "P > P P")
          .On("a1", kLater)
          .Gives(kSubmitted, "P w10 P P")
          .Timer("10"),
      C("ongoing, own interval", "2 interval=7")
          .In(kSubmitted, "P > P P")
          .On("a1", kLater)
          .Gives(kSubmitted, "P w7 P P")
          .Timer("7"),
      C("ongoing, concurrent", "2 concurrent")
          .In(kSubmitted, "P > P >")
          .On("a1", kLater)
          .Gives(kSubmitted, "P w10 P >")
          .Timer("10"),
      C("error", "2")
          .In(kSubmitted, "P > P P")
          .On("a1", kBroken)
          .Gives(kSubmitted, "P e1 P P")
          .Timer("e1"),
      C("not sent", "2")
          .In(kSubmitted, "P > P P")
          .On("a1", kUnsent)
          .Gives(kSubmitted, "P n10 P P")
          .Timer("10"),
      C("error while stopping", "2")
          .In(kSubmitted, "P > P P")
          .MayNotCall()
          .On("a1", kBroken)
          .Gives(kSubmitted, "P e1 P P")
          .Timer("e1"),
      C("the earliest wait sets the timer", "2 concurrent")
          .In(kSubmitted, "P > P w3")
          .On("a1", kLater)
          .Gives(kSubmitted, "P w10 P w3")
          .Timer("3"),
      C("the timeout sets the timer", "2 timeout=104")
          .In(kSubmitted, "P > P P")
          .On("a1", kLater)
          .Gives(kSubmitted, "P w10 P P")
          .Timer("4"),

      C("timer too early", "2")
          .In(kSubmitted, "P w4 P P")
          .On(timer)
          .Gives(kSubmitted, "P w4 P P")
          .Timer("4"),
      C("timer while called", "2").In(kSubmitted, "P > P P").On(timer).Gives(kSubmitted, "P > P P"),
      C("timer, the wait is over", "2")
          .In(kSubmitted, "P x2 P P")
          .On(timer)
          .Gives(kSubmitted, "P > P P")
          .Calls("a1"),
      C("timer, the wait is over, stopping", "2")
          .In(kSubmitted, "P x2 P P")
          .MayNotCall()
          .On(timer)
          .Gives(kSubmitted, "P x2 P P"),
      C("timer of one of two", "2 concurrent")
          .In(kSubmitted, "P x1 P w5")
          .On(timer)
          .Gives(kSubmitted, "P > P w5")
          .Calls("a1")
          .Timer("5"),
      C("an answer nobody waits for", "2")
          .In(kSubmitted, "P S P >")
          .On("a1", kNo)
          .Gives(kSubmitted, "P S P >"),
      C("an answer for a row that is not there", "2")
          .In(kSubmitted, "P S P >")
          .On("a9", kNo)
          .Gives(kSubmitted, "P S P >"),

      C("loaded, a url was called: again", "2")
          .In(kSubmitted, "P r~4 P P")
          .On(loaded)
          .Gives(kSubmitted, "P > P P")
          .Calls("a1"),
      C("loaded, a function was called: again", "2 local")
          .In(kSubmitted, "P r P P")
          .On(loaded)
          .Gives(kSubmitted, "P > P P")
          .Calls("a1"),
      C("loaded, all that were out", "3 concurrent")
          .In(kSubmitted, "P r~4 P S P r~4")
          .On(loaded)
          .Gives(kSubmitted, "P > P S P >")
          .Calls("a1 a3"),
      C("loaded in a wait", "2")
          .In(kSubmitted, "P w4 P P")
          .On(loaded)
          .Gives(kSubmitted, "P w4 P P")
          .Timer("4"),
      C("loaded while stopping", "2")
          .In(kSubmitted, "P r~4 P P")
          .MayNotCall()
          .On(loaded)
          .Gives(kSubmitted, "P r~4 P P"),
      C("loaded after the timeout: the call of the previous run is awaited", "2 timeout=60")
          .In(kSubmitted, "P r~4 P P")
          .On(loaded)
          .Gives(kAborting, "P r~4 P P")
          .Because("Timeout after 60 seconds")
          .Timer("4"),
      C("retry now", "2")
          .In(kSubmitted, "P e3 P P")
          .On(EventKind::kRetryNow)
          .Gives(kSubmitted, "P > P P")
          .Calls("a1"),
      C("retry now, after ongoing", "2")
          .In(kSubmitted, "P w9 P P")
          .On(EventKind::kRetryNow)
          .Gives(kSubmitted, "P > P P")
          .Calls("a1"),
      C("retry now, called already", "2")
          .In(kSubmitted, "P > P P")
          .On(EventKind::kRetryNow)
          .Gives(kSubmitted, "P > P P"),
      // The function of a row is there now: that ends the wait of a call that was not sent, not the
      // interval after an answer (reliability G11).
      C("registered, it was missing", "2 local")
          .In(kSubmitted, "P n9 P P")
          .On(EventKind::kRegistered, "a1")
          .Gives(kSubmitted, "P > P P")
          .Calls("a1"),
      C("registered, it waits after an error", "2 local")
          .In(kSubmitted, "P e1 P P")
          .On(EventKind::kRegistered, "a1")
          .Gives(kSubmitted, "P e1 P P")
          .Timer("10"),
      C("registered, it waits after ONGOING", "2 local")
          .In(kSubmitted, "P w9 P P")
          .On(EventKind::kRegistered, "a1")
          .Gives(kSubmitted, "P w9 P P")
          .Timer("9"),
      C("registered, another one waits", "2 concurrent local")
          .In(kSubmitted, "P n9 P n8")
          .On(EventKind::kRegistered, "a1")
          .Gives(kSubmitted, "P > P n8")
          .Calls("a1")
          .Timer("8"),
      C("registered, called already", "2 local")
          .In(kSubmitted, "P > P P")
          .On(EventKind::kRegistered, "a1")
          .Gives(kSubmitted, "P > P P"),
      C("registered, no such row", "2 local")
          .In(kSubmitted, "P > P P")
          .On(EventKind::kRegistered, "a9")
          .Gives(kSubmitted, "P > P P"),
      C("retry now, stopping", "2")
          .In(kSubmitted, "P e3 P P")
          .MayNotCall()
          .On(EventKind::kRetryNow)
          .Gives(kSubmitted, "P r P P"),
  };
}

std::vector<Case> Turning() {
  using C = Case;
  const EventKind timer = EventKind::kTimer;
  const std::string timeout = "Timeout after 100 seconds";
  const std::string limit = "RetryCount is greater than RetryLimit, RetryLimit: 2";
  using std::chrono::milliseconds;
  return {
      C("failure of the first", "2")
          .In(kSubmitted, "P > P P")
          .On("a1", kNo)
          .Gives(kAborting, "> F P P")
          .Calls("c1")
          .Because("no money"),
      C("failure in the middle", "3")
          .In(kSubmitted, "P S P > P P")
          .On("a2", kNo)
          .Gives(kAborting, "P S > F P P")
          .Calls("c2")
          .Because("no money"),
      C("failure, concurrent: the other is awaited", "2 concurrent")
          .In(kSubmitted, "P > P >")
          .On("a1", kNo)
          .Gives(kAborting, "P F P >")
          .Because("no money"),
      C("failure, concurrent: all at once, also what waited", "4 concurrent")
          .In(kSubmitted, "P S P w5 P > P n5")
          .On("a3", kNo)
          .Gives(kAborting, "> S > w5 > F P n5")
          .Calls("c3 c2 c1")
          .Because("no money"),
      C("failure, orders: what never ran stays", "2 concurrent 1:0")
          .In(kSubmitted, "P > P P")
          .On("a1", kNo)
          .Gives(kAborting, "> F P P")
          .Calls("c1")
          .Because("no money"),
      C("failure, orders: followers first", "4 concurrent 2:0,1 3:2")
          .In(kSubmitted, "P S P S P > P P")
          .On("a3", kNo)
          .Gives(kAborting, "P S P S > F P P")
          .Calls("c3")
          .Because("no money"),
      C("failure, no compensation needed", "2 empty=c1")
          .In(kSubmitted, "P > P P")
          .On("a1", kNo)
          .Gives(kFailed, "S F P P")
          .Because("no money"),
      C("failure, one of the compensations has no url", "2 empty=c2")
          .In(kSubmitted, "P S P >")
          .On("a2", kNo)
          .Gives(kAborting, "> S S F")
          .Calls("c1")
          .Because("no money"),
      C("failure, an action without url is compensated", "2 empty=a1,c2")
          .In(kSubmitted, "P S P >")
          .On("a2", kNo)
          .Gives(kAborting, "> S S F")
          .Calls("c1")
          .Because("no money"),
      C("failure while stopping", "2")
          .In(kSubmitted, "P > P P")
          .MayNotCall()
          .On("a1", kNo)
          .Gives(kAborting, "P F P P")
          .Because("no money"),

      C("before the timeout", "2 timeout=100")
          .At(milliseconds(99000))
          .In(kSubmitted, "P w9 P P")
          .On(timer)
          .Gives(kSubmitted, "P w9 P P")
          .Timer("1"),
      C("at the timeout, it may have run", "2 timeout=100")
          .In(kSubmitted, "P w9 P P")
          .On(timer)
          .Gives(kAborting, "> w9 P P")
          .Calls("c1")
          .Because(timeout),
      C("at the timeout, it never ran", "2 timeout=100")
          .In(kSubmitted, "P n9 P P")
          .On(timer)
          .Gives(kFailed, "P n9 P P")
          .Because(timeout),
      C("at the timeout, a call is out", "2 timeout=100")
          .In(kSubmitted, "P S P >")
          .On(timer)
          .Gives(kAborting, "P S P >")
          .Because(timeout),
      C("at the timeout, a function runs, concurrent", "2 concurrent local timeout=100")
          .In(kSubmitted, "P S P >")
          .On(timer)
          .Gives(kAborting, "P S P >")
          .Because(timeout),
      C("at the timeout, stopping", "2 timeout=100")
          .In(kSubmitted, "P w9 P P")
          .MayNotCall()
          .On(timer)
          .Gives(kAborting, "P w9 P P")
          .Because(timeout),
      C("an action answers at the timeout", "2 timeout=100")
          .In(kSubmitted, "P > P P")
          .On("a1", kOk)
          .Gives(kAborting, "> S P P")
          .Calls("c1")
          .Because(timeout),

      C("error within the limit", "2 limit=2")
          .Count(1, 2)
          .In(kSubmitted, "P > P P")
          .On("a1", kBroken)
          .Gives(kSubmitted, "P e1 P P")
          .Timer("e1"),
      C("error beyond the limit", "2 limit=2")
          .Count(2, 2)
          .In(kSubmitted, "P > P P")
          .On("a1", kBroken)
          .Gives(kAborting, "> e1 P P")
          .Calls("c1")
          .Because(limit),
      C("ongoing counts", "2 limit=2")
          .Count(1, 2)
          .In(kSubmitted, "P > P P")
          .On("a1", kLater)
          .Gives(kSubmitted, "P w10 P P")
          .Timer("10"),
      C("ongoing beyond the limit", "2 limit=2")
          .Count(2, 2)
          .In(kSubmitted, "P S P >")
          .On("a2", kLater)
          .Gives(kAborting, "P S > w10")
          .Calls("c2")
          .Because(limit),
      C("not sent does not count", "2 limit=2")
          .Count(2, 2)
          .In(kSubmitted, "P > P P")
          .On("a1", kUnsent)
          .Gives(kSubmitted, "P n10 P P")
          .Timer("10"),
      C("success does not count", "2 limit=2")
          .Count(2, 2)
          .In(kSubmitted, "P > P P")
          .On("a1", kOk)
          .Gives(kSubmitted, "P S P >")
          .Calls("a2"),
      C("the count is shared by the actions", "2 concurrent limit=2")
          .Count(2, 2)
          .In(kSubmitted, "P > P >")
          .On("a2", kBroken)
          .Gives(kAborting, "P > P e1")
          .Because(limit),

      C("cancel, it may have run", "2")
          .In(kSubmitted, "P w9 P P")
          .On(EventKind::kCancel)
          .Gives(kAborting, "> w9 P P")
          .Calls("c1"),
      C("cancel, a call is out", "2")
          .In(kSubmitted, "P > P P")
          .On(EventKind::kCancel)
          .Gives(kAborting, "P > P P"),
      C("cancel, nothing ran", "2")
          .In(kSubmitted, "P n9 P P")
          .On(EventKind::kCancel)
          .Gives(kFailed, "P n9 P P"),
      C("cancel, previous run", "2")
          .In(kSubmitted, "P r~4 P P")
          .MayNotCall()
          .On(EventKind::kCancel)
          .Gives(kAborting, "P r~4 P P")
          .Timer("4"),
      C("force stop", "2 timeout=200")
          .In(kSubmitted, "P S P >")
          .On(EventKind::kForceStop)
          .Gives(kFailed, "P S P r~6"),
  };
}

std::vector<Case> Backward() {
  using C = Case;
  const EventKind timer = EventKind::kTimer, loaded = EventKind::kLoaded;
  return {
      C("last compensation", "2").In(kAborting, "> F P P").On("c1", kOk).Gives(kFailed, "S F P P"),
      C("descending", "3")
          .In(kAborting, "P S P S > F")
          .On("c3", kOk)
          .Gives(kAborting, "P S > S S F")
          .Calls("c2"),
      C("concurrent: the others are awaited", "2 concurrent")
          .In(kAborting, "> S > F")
          .On("c2", kOk)
          .Gives(kAborting, "> S S F"),
      C("reverse of the orders", "4 concurrent 2:0,1 3:2")
          .In(kAborting, "P S P S > F P P")
          .On("c3", kOk)
          .Gives(kAborting, "> S > S S F P P")
          .Calls("c2 c1"),
      C("no compensation while an action is out", "3 concurrent")
          .In(kAborting, "P S P > P F")
          .On(timer)
          .Gives(kAborting, "P S P > P F"),
      C("no compensation while an action is out, another answered", "3 concurrent")
          .In(kAborting, "P > P > P F")
          .On("a1", kOk)
          .Gives(kAborting, "P S P > P F"),
      C("an empty compensation lets an earlier one start", "3 empty=c2")
          .In(kAborting, "P S P S > F")
          .On("c3", kOk)
          .Gives(kAborting, "> S S S S F")
          .Calls("c1"),
      C("success while stopping", "2")
          .In(kAborting, "P S > F")
          .MayNotCall()
          .On("c2", kOk)
          .Gives(kAborting, "P S S F"),
      C("a compensation fails: tried again", "2")
          .In(kAborting, "> F P P")
          .On("c1", kNo)
          .Gives(kAborting, "e1 F P P")
          .Timer("e1"),
      C("a compensation is ongoing", "2")
          .In(kAborting, "> F P P")
          .On("c1", kLater)
          .Gives(kAborting, "w10 F P P")
          .Timer("10"),
      C("a compensation has an error", "2 limit=1")
          .Count(1, 1)
          .In(kAborting, "> F P P")
          .On("c1", kBroken)
          .Gives(kAborting, "e1 F P P")
          .Timer("e1"),
      C("a compensation was not sent", "2")
          .In(kAborting, "> F P P")
          .On("c1", kUnsent)
          .Gives(kAborting, "n10 F P P")
          .Timer("10"),
      C("a compensation that waits holds back the ones before", "2")
          .In(kAborting, "P S > F")
          .On("c2", kBroken)
          .Gives(kAborting, "P S e1 F")
          .Timer("e1"),

      C("an action that was out succeeded", "2")
          .In(kAborting, "P > P P")
          .On("a1", kOk)
          .Gives(kAborting, "> S P P")
          .Calls("c1"),
      C("an action that was out failed", "2")
          .In(kAborting, "P > P P")
          .On("a1", kNo)
          .Gives(kAborting, "> F P P")
          .Calls("c1"),
      C("an action that was out is ongoing", "2")
          .In(kAborting, "P > P P")
          .On("a1", kLater)
          .Gives(kAborting, "> r P P")
          .Calls("c1"),
      C("an action that was out had an error", "2 limit=1")
          .In(kAborting, "P > P P")
          .On("a1", kBroken)
          .Gives(kAborting, "> r P P")
          .Calls("c1"),
      C("an action that was out was not sent after all", "2")
          .In(kAborting, "P > P P")
          .On("a1", kUnsent)
          .Gives(kFailed, "P P P P"),
      C("not sent after all: the step before is next", "2")
          .In(kAborting, "P S P >")
          .On("a2", kUnsent)
          .Gives(kAborting, "> S P P")
          .Calls("c1"),
      C("an action that was out lets its predecessor's compensation wait", "3 concurrent 1:0")
          .In(kAborting, "P S P > P F")
          .On("a2", kBroken)
          .Gives(kAborting, "P S > r > F")
          .Calls("c3 c2"),

      C("timer too early, aborting", "2")
          .In(kAborting, "w5 F P P")
          .On(timer)
          .Gives(kAborting, "w5 F P P")
          .Timer("5"),
      C("timer, aborting, the wait is over", "2")
          .In(kAborting, "x3 F P P")
          .On(timer)
          .Gives(kAborting, "> F P P")
          .Calls("c1"),
      C("timer, the call of the previous run is over", "2")
          .In(kAborting, "P r~0 P P")
          .On(timer)
          .Gives(kAborting, "> r P P")
          .Calls("c1"),
      C("no timeout while aborting", "2 timeout=60")
          .In(kAborting, "w5 F P P")
          .On(timer)
          .Gives(kAborting, "w5 F P P")
          .Timer("5"),

      C("loaded: a url may still be running", "2")
          .In(kAborting, "P r~4 P P")
          .On(loaded)
          .Gives(kAborting, "P r~4 P P")
          .Timer("4"),
      C("loaded: a url may still be running, though it succeeded before", "2")
          .In(kAborting, "P F~4 P P")
          .On(loaded)
          .Gives(kAborting, "P F~4 P P")
          .Timer("4"),
      C("loaded: it holds back the steps before", "2")
          .In(kAborting, "P S P r~4")
          .On(loaded)
          .Gives(kAborting, "P S P r~4")
          .Timer("4"),
      C("loaded, concurrent: it may not have begun, so it holds back the others", "2 concurrent")
          .In(kAborting, "P S P r~4")
          .On(loaded)
          .Gives(kAborting, "P S P r~4")
          .Timer("4"),
      C("loaded: an earlier step that was called again and succeeded holds back a later one", "2")
          .In(kAborting, "P S~4 P F")
          .On(loaded)
          .Gives(kAborting, "P S~4 P F")
          .Timer("4"),
      C("loaded: the last of several earlier calls counts", "3 concurrent")
          .In(kAborting, "P S~5 P r~4 P F~2")
          .On(loaded)
          .Gives(kAborting, "P S~5 P r~4 P F~2")
          .Timer("5"),
      C("loaded: a function ended with its process", "2 local")
          .In(kAborting, "P r P P")
          .On(loaded)
          .Gives(kAborting, "> r P P")
          .Calls("c1"),
      C("loaded: a compensation was out", "2")
          .In(kAborting, "r~4 F P P")
          .On(loaded)
          .Gives(kAborting, "> F P P")
          .Calls("c1"),
      C("cancel again", "2")
          .In(kAborting, "> F P P")
          .On(EventKind::kCancel)
          .Gives(kAborting, "> F P P"),
      C("registered, the compensation was missing", "2 local")
          .In(kAborting, "n9 F P P")
          .On(EventKind::kRegistered, "c1")
          .Gives(kAborting, "> F P P")
          .Calls("c1"),
      C("retry now, aborting", "2")
          .In(kAborting, "e5 F P P")
          .On(EventKind::kRetryNow)
          .Gives(kAborting, "> F P P")
          .Calls("c1"),
      C("retry now does not shorten the wait for the previous run", "2")
          .In(kAborting, "P r~4 P P")
          .On(EventKind::kRetryNow)
          .Gives(kAborting, "P r~4 P P")
          .Timer("4"),
      C("force stop, aborting", "2")
          .In(kAborting, "> F P P")
          .On(EventKind::kForceStop)
          .Gives(kFailed, "r~6 F P P"),
  };
}

std::vector<Case> Ends() {
  std::vector<Case> cases;
  for (const auto& [status, rows] : {std::pair(kSucceed, "P S P S"), {kFailed, "S F P P"}}) {
    const std::string name = std::string("final ") + Name(status);
    const auto add = [&, final = status, text = rows](const Event& event, const char* refused) {
      Case line(name, "2 timeout=60");
      line.In(final, text).Gives(final, text).Refused(refused);
      line.event = event;
      cases.push_back(line);
    };
    for (const Result& result : {kOk, kNo, kLater, kBroken, kUnsent}) {
      add(Answer(1, result), "");
      add(Answer(0, result), "");
    }
    add(Happens(EventKind::kTimer), "");
    add(Happens(EventKind::kLoaded), "");
    add(Happens(EventKind::kRegistered), "");
    add(Happens(EventKind::kCancel), "already ended as");
    add(Happens(EventKind::kForceStop), "already ended as");
    add(Happens(EventKind::kRetryNow), "already ended as");
    add(Happens(EventKind::kRepair), "already ended as");
  }
  // Answers that come after a force stop change nothing any more.
  cases.push_back(
      Case("late answer", "2").In(kFailed, "P r~6 P P").On("a1", kOk).Gives(kFailed, "P r~6 P P"));
  return cases;
}

std::vector<Case> Stuck() {
  using C = Case;
  return {
      C("rows are missing", "2")
          .In(kSubmitted, "P S P")
          .On(EventKind::kLoaded)
          .Gives(kSubmitted, "P S P")
          .EndsStuck(),
      C("too many rows, aborting", "1")
          .In(kAborting, "P F P P")
          .On(EventKind::kLoaded)
          .Gives(kAborting, "P F P P")
          .EndsStuck(),
      C("steps wait for each other", "2 concurrent 0:1 1:0")
          .In(kSubmitted, "P P P P")
          .On(EventKind::kLoaded)
          .Gives(kSubmitted, "P P P P")
          .EndsStuck(),
      C("stuck: loaded again", "2")
          .WasStuck()
          .In(kSubmitted, "P r P P")
          .On(EventKind::kLoaded)
          .Gives(kSubmitted, "P r P P")
          .EndsStuck(),
      C("stuck: timer", "2 timeout=60")
          .WasStuck()
          .In(kSubmitted, "P r P P")
          .On(EventKind::kTimer)
          .Gives(kSubmitted, "P r P P")
          .EndsStuck(),
      C("stuck: an answer is kept", "2 concurrent")
          .WasStuck()
          .In(kSubmitted, "P > P P")
          .On("a1", kOk)
          .Gives(kSubmitted, "P S P P")
          .EndsStuck(),
      C("stuck: retry now goes on", "2")
          .WasStuck()
          .In(kSubmitted, "P S P P")
          .On(EventKind::kRetryNow)
          .Gives(kSubmitted, "P S P >")
          .Calls("a2"),
      C("stuck: retry now, still broken", "2")
          .WasStuck()
          .In(kSubmitted, "P S P")
          .On(EventKind::kRetryNow)
          .Gives(kSubmitted, "P S P")
          .EndsStuck(),
      C("stuck: force stop", "2")
          .WasStuck()
          .In(kAborting, "P S P")
          .On(EventKind::kForceStop)
          .Gives(kFailed, "P S P"),
  };
}

/// Somebody says that a row is done.
std::vector<Case> Repairs() {
  using C = Case;
  const EventKind repair = EventKind::kRepair;
  return {
      C("repair: the next action begins", "2")
          .In(kSubmitted, "P e3 P P")
          .On(repair, "a1")
          .Gives(kSubmitted, "P S P >")
          .Calls("a2"),
      C("repair: it waits since it was not sent", "2")
          .In(kSubmitted, "P n9 P P")
          .On(repair, "a1")
          .Gives(kSubmitted, "P S P >")
          .Calls("a2"),
      C("repair: the last action", "1")
          .In(kSubmitted, "P w9")
          .On(repair, "a1")
          .Gives(kSucceed, "P S"),
      C("repair: an action beforehand; the wait before it stays", "2")
          .In(kSubmitted, "P e1 P P")
          .On(repair, "a2")
          .Gives(kSubmitted, "P e1 P S")
          .Timer("e1"),
      C("repair: a compensation beforehand", "2")
          .In(kSubmitted, "P e1 P P")
          .On(repair, "c1")
          .Gives(kSubmitted, "S e1 P P")
          .Timer("e1"),
      C("repair: a compensation, while its action is out", "2")
          .In(kSubmitted, "P > P P")
          .On(repair, "c1")
          .Gives(kSubmitted, "S > P P"),
      C("repair: what comes after it by the orders may begin", "3 concurrent 2:0,1")
          .In(kSubmitted, "P S P e2 P P")
          .On(repair, "a2")
          .Gives(kSubmitted, "P S P S P >")
          .Calls("a3"),
      C("repair: the wait of another one stays", "2 concurrent")
          .In(kSubmitted, "P e2 P e1")
          .On(repair, "a2")
          .Gives(kSubmitted, "P e2 P S")
          .Timer("e2"),
      C("repair: the count against the retry limit stays", "2 limit=3")
          .In(kSubmitted, "P e3 P P")
          .Count(2, 2)
          .On(repair, "a1")
          .Gives(kSubmitted, "P S P >")
          .Calls("a2"),
      C("repair while stopping", "2")
          .In(kSubmitted, "P e3 P P")
          .MayNotCall()
          .On(repair, "a1")
          .Gives(kSubmitted, "P S P P"),
      C("repair after the timeout: it is rolled back, with this step", "2 timeout=60")
          .In(kSubmitted, "P e3 P P")
          .On(repair, "a1")
          .Gives(kAborting, "> S P P")
          .Because("Timeout after 60 seconds")
          .Calls("c1"),
      C("repair: a compensation; it was the last", "2")
          .In(kAborting, "e4 F P P")
          .On(repair, "c1")
          .Gives(kFailed, "S F P P"),
      C("repair: a compensation, and the one before it begins", "2")
          .In(kAborting, "P S e2 F")
          .On(repair, "c2")
          .Gives(kAborting, "> S S F")
          .Calls("c1"),
      C("repair: a compensation beforehand", "2")
          .In(kAborting, "P S e2 F")
          .On(repair, "c1")
          .Gives(kAborting, "S S e2 F")
          .Timer("e2"),
      C("stuck: repair, and it goes on", "2")
          .WasStuck()
          .In(kSubmitted, "P r P P")
          .On(repair, "a1")
          .Gives(kSubmitted, "P S P >")
          .Calls("a2"),
      C("stuck: repair of steps that wait for each other", "2 concurrent 0:1 1:0")
          .WasStuck()
          .In(kSubmitted, "P P P P")
          .On(repair, "a1")
          .Gives(kSubmitted, "P S P >")
          .Calls("a2"),
      C("stuck: repair, and something else is missing", "3 concurrent 0:1 1:0")
          .WasStuck()
          .In(kSubmitted, "P P P P P P")
          .On(repair, "a3")
          .Gives(kSubmitted, "P P P P P S")
          .EndsStuck(),
      C("stuck: repair is refused if rows are missing", "2")
          .WasStuck()
          .In(kSubmitted, "P r P")
          .On(repair, "a1")
          .Refused("damaged, it has 3 branch rows for 2 steps")
          .Gives(kSubmitted, "P r P")
          .EndsStuck(),
      C("repair: its call is running", "2")
          .In(kSubmitted, "P > P P")
          .On(repair, "a1")
          .Refused("a call of branch 01 action http://bank/a1 is running")
          .Gives(kSubmitted, "P > P P"),
      C("repair: the call of a previous run may be running", "2")
          .In(kSubmitted, "P e1~4 P P")
          .On(repair, "a1")
          .Refused("may still be running, for at most 4.0 s")
          .Gives(kSubmitted, "P e1~4 P P")
          .Timer("e1"),
      C("repair: it had succeeded", "2")
          .In(kSubmitted, "P S P >")
          .On(repair, "a1")
          .Refused("has succeeded already")
          .Gives(kSubmitted, "P S P >"),
      C("repair: an action while aborting", "2")
          .In(kAborting, "e4 F P P")
          .On(repair, "a1")
          .Refused("it is aborting, and branch 01 action http://bank/a1 will not be called")
          .Gives(kAborting, "e4 F P P")
          .Timer("e4"),
      C("repair: an action while aborting, never called", "2")
          .In(kAborting, "e4 F P P")
          .On(repair, "a2")
          .Refused("will not be called")
          .Gives(kAborting, "e4 F P P")
          .Timer("e4"),
      C("repair: a compensation of what never ran", "2")
          .In(kAborting, "e4 F P P")
          .On(repair, "c2")
          .Refused("branch 02 compensate http://bank/c2 will not be called")
          .Gives(kAborting, "e4 F P P")
          .Timer("e4"),
      C("repair: a compensation that is done", "2")
          .In(kAborting, "e1 S S F")
          .On(repair, "c2")
          .Refused("has succeeded already")
          .Gives(kAborting, "e1 S S F")
          .Timer("e1"),
      C("repair: there is no such row", "1")
          .In(kSubmitted, "P >")
          .On(repair, "a9")
          .Refused("damaged")
          .Gives(kSubmitted, "P >"),
      C("repair: prepared", "1")
          .In(kPrepared, "P P")
          .On(repair, "a1")
          .Refused("it is prepared")
          .Gives(kPrepared, "P P"),
  };
}

std::string StoredText(const Transaction& t) {
  std::string text = std::string(Name(t.status)) + " " + t.reason + " " + t.last_error + " " +
                     std::to_string(t.retry_count) + (t.stuck ? " stuck " : " ");
  for (const dtm::Time time : {t.created, t.finished, t.due}) {
    text += std::to_string(time.time_since_epoch().count()) + " ";
  }
  for (const dtm::Branch& row : t.branches) {
    text += std::string(Name(row.status)) + " " + std::to_string(row.tries) + " " +
            std::to_string(row.errors) + " " +
            std::to_string(row.next_try.time_since_epoch().count()) + " " +
            std::to_string(row.deadline.time_since_epoch().count()) + "; ";
  }
  return text;
}

/// What holds after every step, whatever happened.
void CheckAlways(const Transaction& before, const Transaction& after, const Effects& effects,
                 const Event& event, const Context& context) {
  const bool out = std::any_of(after.branches.begin(), after.branches.end(),
                               [](const dtm::Branch& row) { return row.in_flight; });
  const bool ended = IsFinal(after.status);
  if (ended || after.stuck || after.status == kPrepared) {
    CHECK(effects.timer == dtm::kNever);
    CHECK(effects.calls.empty());
    CHECK((after.due == dtm::kNever || IsFinal(before.status)));
  } else if (out || !context.may_call) {
    CHECK(after.due <= context.now);  // after a crash it is looked at at once
  } else {
    CHECK(after.due == effects.timer);
    CHECK(effects.timer > context.now);
    CHECK(effects.timer < dtm::kNever);
  }
  CHECK((after.finished != dtm::Time{}) == (ended && !IsFinal(before.status)));
  if (ended && !IsFinal(before.status)) {
    CHECK(after.finished == context.now);
    CHECK_FALSE(out);
  }
  for (const std::size_t row : effects.calls) {
    CHECK(after.branches.at(row).in_flight);
    CHECK(context.may_call);
    const std::string& url = UrlOf(*after.definition, row);
    CHECK_FALSE(url.empty());
    const dtm::Duration longest = 2 * context.request_timeout;
    CHECK(after.branches[row].deadline ==
          (dtm::IsLocal(url) ? dtm::Time{} : context.now + longest));
  }
  if (StoredText(before) != StoredText(after) && event.kind != EventKind::kLoaded) {
    CHECK(effects.changed);
  }
  if (!effects.calls.empty()) CHECK(effects.changed);
  if (StoredText(before) == StoredText(after) && event.kind != EventKind::kRetryNow) {
    CHECK_FALSE(effects.changed);  // nothing to write
  }
  // It asked for everything it needs: looking again finds nothing.
  Transaction again = after;
  const Effects more = SagaMachine::Advance(again, Happens(EventKind::kTimer), context);
  CHECK_FALSE(more.changed);
  CHECK(more.calls.empty());
  CHECK(more.timer == effects.timer);
}

void CheckTimer(const std::string& expected, const Effects& effects, dtm::Time now) {
  if (expected == "-") {
    CHECK(effects.timer == dtm::kNever);
  } else if (expected[0] == 'e') {
    const seconds wait(10 << (std::stoi(expected.substr(1)) - 1));
    CHECK(effects.timer >= now + wait);
    CHECK(effects.timer <= now + wait + wait / 5);
  } else {
    CHECK(effects.timer == now + seconds(std::stoi(expected)));
  }
}

std::string PairOf(bool is_new, Status status, const Event& event) {
  const auto name = [](EventKind kind) {
    switch (kind) {  // a new kind of event needs its lines in the table, see AllPairs
      case EventKind::kSubmitted: return "submitted";
      case EventKind::kPrepared: return "prepared";
      case EventKind::kLoaded: return "loaded";
      case EventKind::kResult: return "result";
      case EventKind::kTimer: return "timer";
      case EventKind::kCancel: return "cancel";
      case EventKind::kForceStop: return "force stop";
      case EventKind::kRegistered: return "registered";
      case EventKind::kRetryNow: return "retry now";
      case EventKind::kRepair: return "repair";
      case EventKind::kBranchAdded:
      case EventKind::kFinish: break;  // not of a saga
    }
    return "?";
  };
  std::string pair = is_new ? "new" : Name(status);
  pair += std::string(" + ") + name(event.kind);
  if (event.kind == EventKind::kResult) {
    static const char* const results[] = {"SUCCESS", "FAILURE", "ONGOING", "error", "not sent"};
    pair += std::string(" ") + Name(dtm::OpOf(dtm::TransType::kSaga, event.row)) + " " +
            results[static_cast<int>(event.result.kind)];
  }
  return pair;
}

std::set<std::string> AllPairs() {
  std::set<std::string> pairs;
  for (const Status status : {kPrepared, kSubmitted, kAborting, kSucceed, kFailed}) {
    for (const EventKind kind :
         {EventKind::kLoaded, EventKind::kTimer, EventKind::kCancel, EventKind::kForceStop,
          EventKind::kRegistered, EventKind::kRetryNow, EventKind::kRepair}) {
      pairs.insert(PairOf(false, status, Happens(kind)));
    }
    for (const Result& result : {kOk, kNo, kLater, kBroken, kUnsent}) {
      pairs.insert(PairOf(false, status, Answer(1, result)));
      // A compensation is never out while submitted.
      if (status != kSubmitted) pairs.insert(PairOf(false, status, Answer(0, result)));
    }
  }
  pairs.insert(PairOf(true, kSubmitted, Happens(EventKind::kSubmitted)));
  pairs.insert(PairOf(true, kSubmitted, Happens(EventKind::kPrepared)));
  pairs.insert(PairOf(false, kPrepared, Happens(EventKind::kSubmitted)));
  return pairs;
}

/// Every change of status there is (protocol §1); the machine may make no other.
const std::set<std::string> kTransitions = {
    "new -> submitted",      "new -> succeed",        "submitted -> submitted",
    "submitted -> succeed",  "submitted -> aborting", "submitted -> failed",
    "aborting -> aborting",  "aborting -> failed",    "succeed -> succeed",
    "failed -> failed",      "not stuck -> stuck",    "stuck -> stuck",
    "stuck -> not stuck",    "new -> prepared",       "prepared -> prepared",
    "prepared -> submitted", "prepared -> succeed",   "prepared -> failed",
};

}  // namespace

TEST_CASE("saga: the table, and it reaches every pair and every transition") {
  std::vector<Case> table;
  for (const auto& part :
       {Prepared(), Beginnings(), Forward(), Turning(), Backward(), Ends(), Stuck(), Repairs()}) {
    table.insert(table.end(), part.begin(), part.end());
  }
  std::set<std::string> pairs, transitions;
  for (const Case& line : table) {
    CAPTURE(line.name, line.saga, line.rows_before, PairOf(line.is_new, line.before, line.event));
    Context context;
    context.now = kStart + (line.is_new ? std::chrono::milliseconds(0) : line.age);
    context.may_call = line.may_call;
    Transaction before = NewTransaction(Saga(line.saga));
    if (!line.is_new) {
      before.status = line.before;
      before.created = kStart;
      const bool waits = IsFinal(line.before) || line.before == kPrepared || line.was_stuck;
      before.due = waits ? dtm::kNever : kStart;
      before.branches = Rows(line.rows_before, context.now);
      before.stuck = line.was_stuck;
      before.retry_count = line.count_before;
    }
    Transaction after = before;
    const Effects effects = SagaMachine::Advance(after, line.event, context);

    CHECK(std::string(Name(after.status)) == Name(line.after));
    CHECK(InText(after.branches, context.now) == line.rows_after);
    CHECK(InText(effects.calls) == line.calls);
    CHECK(after.stuck == line.ends_stuck);
    CHECK(after.retry_count == line.count_after);
    CHECK(after.created == kStart);
    CheckTimer(line.timer, effects, context.now);
    CheckAlways(before, after, effects, line.event, context);
    CHECK(effects.refused.empty() == line.refused.empty());
    CHECK_THAT(effects.refused, ContainsSubstring(line.refused));
    CHECK(after.reason.empty() == line.reason.empty());
    CHECK_THAT(after.reason, ContainsSubstring(line.reason));

    pairs.insert(PairOf(line.is_new, line.before, line.event));
    transitions.insert((line.is_new ? "new" : std::string(Name(before.status))) + " -> " +
                       Name(after.status));
    if (before.stuck || after.stuck) {
      transitions.insert(std::string(before.stuck ? "stuck" : "not stuck") + " -> " +
                         (after.stuck ? "stuck" : "not stuck"));
    }
  }
  CHECK(transitions == kTransitions);
  for (const std::string& pair : AllPairs()) {
    CAPTURE(pair);
    CHECK(pairs.count(pair) == 1);
  }
}
