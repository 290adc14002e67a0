/// The machine of tcc and xa as a table, (status, rows, event -> effects, new state), which reaches every pair of a
/// status and an event for both types; and their stories: the order of confirms and cancels, timeouts, late
/// answers, restarts. See machine_kit.hpp. Protocol §4.3, §4.4, §12 (W1, W27), Appendix A.
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
                    kRetryNow = EventKind::kRetryNow, kAdded = EventKind::kBranchAdded,
                    kCancel = EventKind::kCancel;

std::vector<Case> Prepared(const std::string& type) {
  const auto C = [&type](const char* name, const char* text) { return Case(name, type + text); };
  std::vector<Case> cases = {
      C("prepare", " 0").New().On(kPrepare).Gives(kPrepared, "").Timer("35"),
      C("prepare, own timeout", " 0 timeout=60")
          .New()
          .On(kPrepare)
          .Gives(kPrepared, "")
          .Timer("60"),
      C("prepare while stopping", " 0")
          .New()
          .MayNotCall()
          .On(kPrepare)
          .Gives(kPrepared, "")
          .Timer("35"),
      C("submit without prepare: nothing to do", " 0").New().On(kSubmit).Gives(kSucceed, ""),
      C("submit without prepare, with a branch", " 1")
          .New()
          .On(kSubmit)
          .Gives(kSubmitted, "P >")
          .Calls("a1"),
      C("a branch is registered", " 1")
          .At(10)
          .In(kPrepared, "")
          .On(kAdded)
          .Gives(kPrepared, "P P")
          .Timer("25"),
      C("one more is registered", " 3")
          .At(10)
          .In(kPrepared, "P P P P")
          .On(kAdded)
          .Gives(kPrepared, "P P P P P P")
          .Timer("25"),
      C("a branch is registered in the moment of its timeout", " 2")
          .In(kPrepared, "P P")
          .On(kAdded)
          .Gives(kAborting, type == "tcc" ? "P P > P" : "> P P P")
          .Calls(type == "tcc" ? "c2" : "c1")
          .Because("Timeout after 35 seconds"),
      C("submit", " 1")
          .At(10)
          .In(kPrepared, "P P")
          .On(kSubmit)
          .Gives(kSubmitted, "P >")
          .Calls("a1"),
      C("submit, no branches", " 0").At(10).In(kPrepared, "").On(kSubmit).Gives(kSucceed, ""),
      C("submit, no urls", " 2 empty=a1,a2")
          .At(10)
          .In(kPrepared, "P P P P")
          .On(kSubmit)
          .Gives(kSucceed, "P S P S"),
      C("submit after its time, before anybody looked", " 1")
          .In(kPrepared, "P P")
          .On(kSubmit)
          .Gives(kSubmitted, "P >")
          .Calls("a1"),
      C("submit while stopping", " 1")
          .MayNotCall()
          .At(10)
          .In(kPrepared, "P P")
          .On(kSubmit)
          .Gives(kSubmitted, "P P"),
      C("timer too early", " 1")
          .At(10)
          .In(kPrepared, "P P")
          .On(kTimer)
          .Gives(kPrepared, "P P")
          .Timer("25"),
      C("timeout", " 1")
          .At(35)
          .In(kPrepared, "P P")
          .On(kTimer)
          .Gives(kAborting, "> P")
          .Calls("c1")
          .Because("Timeout after 35 seconds"),
      C("own timeout", " 1 timeout=60")
          .At(60)
          .In(kPrepared, "P P")
          .On(kTimer)
          .Gives(kAborting, "> P")
          .Calls("c1")
          .Because("Timeout after 60 seconds"),
      C("timeout, no branches", " 0")
          .In(kPrepared, "")
          .On(kTimer)
          .Gives(kFailed, "")
          .Because("Timeout after 35 seconds"),
      C("timeout while stopping", " 1")
          .MayNotCall()
          .In(kPrepared, "P P")
          .On(kTimer)
          .Gives(kAborting, "P P")
          .Because("Timeout after 35 seconds"),
      C("loaded before its time", " 1")
          .At(10)
          .In(kPrepared, "P P")
          .On(kLoaded)
          .Gives(kPrepared, "P P")
          .Timer("25"),
      C("loaded after its time", " 1")
          .In(kPrepared, "P P")
          .On(kLoaded)
          .Gives(kAborting, "> P")
          .Calls("c1")
          .Because("Timeout after 35 seconds"),
      C("cancel", " 1")
          .At(10)
          .In(kPrepared, "P P")
          .Cancel("try 01 said no")
          .Gives(kAborting, "> P")
          .Calls("c1")
          .Because("try 01 said no"),
      C("cancel, no reason", " 1")
          .At(10)
          .In(kPrepared, "P P")
          .On(kCancel)
          .Gives(kAborting, "> P")
          .Calls("c1"),
      C("cancel, no branches", " 0")
          .At(10)
          .In(kPrepared, "")
          .Cancel("no")
          .Gives(kFailed, "")
          .Because("no"),
      C("cancel, nothing to call", " 2 empty=c1,c2")
          .At(10)
          .In(kPrepared, "P P P P")
          .Cancel("no")
          .Gives(kFailed, "S P S P")
          .Because("no"),
      C("force stop", " 1").At(10).In(kPrepared, "P P").On(kStop).Gives(kFailed, "P P"),
      C("some function is there now", " 1 local")
          .At(10)
          .In(kPrepared, "P P")
          .On(kRegistered, "a1")
          .Gives(kPrepared, "P P")
          .Timer("25"),
      C("retry now", " 1")
          .At(10)
          .In(kPrepared, "P P")
          .On(kRetryNow)
          .Gives(kPrepared, "P P")
          .Timer("25"),
  };
  for (const Result& answer : Answers()) {
    for (const char* row : {"a1", "c1"}) {
      cases.push_back(C("prepared, an answer to nothing", " 1")
                          .At(10)
                          .In(kPrepared, "P P")
                          .On(row, answer)
                          .Gives(kPrepared, "P P")
                          .Timer("25"));
    }
  }
  return cases;
}

/// Confirming and cancelling are mirror images: `does` is the row that is called, `other` the one that is not.
std::vector<Case> Decided(const std::string& type, bool cancels) {
  const Status status = cancels ? kAborting : kSubmitted;
  const Status end = cancels ? kFailed : kSucceed;
  const char* const does = cancels ? "c1" : "a1";
  const char* const other = cancels ? "a1" : "c1";
  const auto rows = [cancels](const std::string& row) { return cancels ? row + " P" : "P " + row; };
  // Of two steps: the one that is called first, and the other.
  const bool last_first = type == "tcc";
  const auto two = [&](const std::string& first, const std::string& second) {
    return rows(last_first ? second : first) + " " + rows(last_first ? first : second);
  };
  const std::string letter = cancels ? "c" : "a";
  const std::string first = letter + (last_first ? "2" : "1");
  const std::string second = letter + (last_first ? "1" : "2");
  const auto C = [&type](const char* name, const std::string& text) {
    return Case(name, type + text);
  };
  std::vector<Case> cases = {
      C("SUCCESS, the last", " 1").In(status, rows(">")).On(does, kOk).Gives(end, rows("S")),
      C("SUCCESS, then the next", " 2")
          .In(status, two(">", "P"))
          .On(first.c_str(), kOk)
          .Gives(status, two("S", ">"))
          .Calls(second),
      C("SUCCESS, the next has no url", " 2 empty=" + second)
          .In(status, two(">", "P"))
          .On(first.c_str(), kOk)
          .Gives(end, two("S", "S")),
      C("SUCCESS while stopping: recorded", " 2")
          .MayNotCall()
          .In(status, two(">", "P"))
          .On(first.c_str(), kOk)
          .Gives(status, two("S", "P")),
      C("FAILURE is called again", " 1")
          .In(status, rows(">"))
          .On(does, kNo)
          .Gives(status, rows("e1"))
          .Timer("e1"),
      C("ONGOING", " 1")
          .In(status, rows(">"))
          .On(does, kLater)
          .Gives(status, rows("w10"))
          .Timer("10"),
      C("ONGOING, own interval", " 1 interval=7")
          .In(status, rows(">"))
          .On(does, kLater)
          .Gives(status, rows("w7"))
          .Timer("7"),
      C("an error", " 1")
          .In(status, rows(">"))
          .On(does, kBroken)
          .Gives(status, rows("e1"))
          .Timer("e1"),
      C("not sent", " 1")
          .In(status, rows(">"))
          .On(does, kUnsent)
          .Gives(status, rows("n10"))
          .Timer("10"),
      C("an error holds up the others", " 2")
          .In(status, two(">", "P"))
          .On(first.c_str(), kBroken)
          .Gives(status, two("e1", "P"))
          .Timer("e1"),
      C("submit", " 1").In(status, rows(">")).On(kSubmit).Gives(status, rows(">")),
      C("timer too early, no timeout any more", " 1 timeout=60")
          .In(status, rows("w5"))
          .On(kTimer)
          .Gives(status, rows("w5"))
          .Timer("5"),
      C("the wait is over", " 1")
          .In(status, rows("x2"))
          .On(kTimer)
          .Gives(status, rows(">"))
          .Calls(does),
      C("the wait is over, stopping", " 1")
          .MayNotCall()
          .In(status, rows("x2"))
          .On(kTimer)
          .Gives(status, rows("x2")),
      C("loaded: called again", " 2")
          .In(status, two("S", "r~4"))
          .On(kLoaded)
          .Gives(status, two("S", ">"))
          .Calls(second),
      C("loaded in a wait", " 1")
          .In(status, rows("w4"))
          .On(kLoaded)
          .Gives(status, rows("w4"))
          .Timer("4"),
      C("the function is there now", " 1 local")
          .In(status, rows("n9"))
          .On(kRegistered, does)
          .Gives(status, rows(">"))
          .Calls(does),
      C("retry now", " 1")
          .In(status, rows("e5"))
          .On(kRetryNow)
          .Gives(status, rows(">"))
          .Calls(does),
      C("force stop", " 1").In(status, rows(">")).On(kStop).Gives(kFailed, rows("r~6")),
      C("a branch event after the decision", " 1")
          .In(status, rows(">"))
          .On(kAdded)
          .Gives(status, rows(">")),
      cancels
          ? C("cancel again", " 1").In(status, rows(">")).Cancel("again").Gives(status, rows(">"))
          : C("cancel", " 1")
                .In(status, rows(">"))
                .Cancel("too late")
                .Gives(status, rows(">"))
                .Refused("it is submitted, so it is carried through"),
  };
  for (const Result& answer : Answers()) {
    cases.push_back(C("an answer of the other kind", " 1")
                        .In(status, rows("w4"))
                        .On(other, answer)
                        .Gives(status, rows("w4"))
                        .Timer("4"));
    cases.push_back(C("an answer nobody waits for", " 1")
                        .In(status, rows("w4"))
                        .On(does, answer)
                        .Gives(status, rows("w4"))
                        .Timer("4"));
  }
  return cases;
}

std::vector<Case> Stuck(const std::string& type) {
  const auto C = [&type](const char* name, const char* text) { return Case(name, type + text); };
  return {
      C("rows are missing", " 2")
          .In(kSubmitted, "P P P")
          .On(kLoaded)
          .Gives(kSubmitted, "P P P")
          .EndsStuck(),
      C("too many rows, aborting", " 1")
          .In(kAborting, "P P P P")
          .On(kLoaded)
          .Gives(kAborting, "P P P P")
          .EndsStuck(),
      C("too many rows, prepared, after its time", " 0")
          .In(kPrepared, "P")
          .On(kTimer)
          .Gives(kPrepared, "P")
          .EndsStuck(),
      C("stuck: timer", " 1")
          .WasStuck()
          .In(kSubmitted, "P r")
          .On(kTimer)
          .Gives(kSubmitted, "P r")
          .EndsStuck(),
      C("stuck: an answer is kept", " 1")
          .WasStuck()
          .In(kAborting, "> P")
          .On("c1", kOk)
          .Gives(kAborting, "S P")
          .EndsStuck(),
      C("stuck: retry now goes on", " 1")
          .WasStuck()
          .In(kSubmitted, "P r")
          .On(kRetryNow)
          .Gives(kSubmitted, "P >")
          .Calls("a1"),
      C("stuck: retry now, still broken", " 2")
          .WasStuck()
          .In(kSubmitted, "P P P")
          .On(kRetryNow)
          .Gives(kSubmitted, "P P P")
          .EndsStuck(),
      C("stuck: force stop", " 2")
          .WasStuck()
          .In(kAborting, "P P P")
          .On(kStop)
          .Gives(kFailed, "P P P"),
  };
}

/// Somebody says that a row is done.
std::vector<Case> Repairs(const std::string& type, bool cancels) {
  const EventKind repair = EventKind::kRepair;
  const Status status = cancels ? kAborting : kSubmitted;
  const Status end = cancels ? kFailed : kSucceed;
  const std::string letter = cancels ? "c" : "a";
  const char* const other = cancels ? "a1" : "c1";
  const std::string op =
      type == "tcc" ? (cancels ? "cancel" : "confirm") : (cancels ? "rollback" : "commit");
  // The first that is called: tcc in reverse order.
  const std::string first = letter + (type == "tcc" ? "2" : "1");
  const std::string second = letter + (type == "tcc" ? "1" : "2");
  const auto one = [cancels](const std::string& row) { return cancels ? row + " P" : "P " + row; };
  const auto two = [&](const std::string& of_first, const std::string& of_second) {
    return type == "tcc" ? one(of_second) + " " + one(of_first)
                         : one(of_first) + " " + one(of_second);
  };
  const auto C = [&type](const std::string& name, const std::string& text) {
    return Case(name, type + text);
  };
  return {
      C("repair: the next one begins", " 2")
          .In(status, two("e3", "P"))
          .On(repair, first.c_str())
          .Gives(status, two("S", ">"))
          .Calls(second),
      C("repair: the last one", " 1")
          .In(status, one("e3"))
          .On(repair, (letter + "1").c_str())
          .Gives(end, one("S")),
      C("repair: beforehand", " 2")
          .In(status, two("e1", "P"))
          .On(repair, second.c_str())
          .Gives(status, two("e1", "S"))
          .Timer("e1"),
      C("stuck: repair goes on", " 1")
          .WasStuck()
          .In(status, one("r"))
          .On(repair, (letter + "1").c_str())
          .Gives(end, one("S")),
      C("repair: its call is running", " 1")
          .In(status, one(">"))
          .On(repair, (letter + "1").c_str())
          .Refused("a call of branch 01 " + op + " http://bank/" + letter + "1 is running")
          .Gives(status, one(">")),
      C("repair: it had succeeded", " 2")
          .In(status, two("S", "e1"))
          .On(repair, first.c_str())
          .Refused("has succeeded already")
          .Gives(status, two("S", "e1"))
          .Timer("e1"),
      C("repair: the other kind", " 1")
          .In(status, one("e1"))
          .On(repair, other)
          .Refused("will not be called")
          .Gives(status, one("e1"))
          .Timer("e1"),
      C("repair: prepared", " 1")
          .At(10)
          .In(kPrepared, "P P")
          .On(repair, (letter + "1").c_str())
          .Refused("it is prepared")
          .Gives(kPrepared, "P P")
          .Timer("25"),
  };
}

/// Every change of status there is (protocol §1); the machine may make no other.
const std::set<std::string> kTransitions = {
    "new -> prepared",        "new -> submitted",     "new -> succeed",      "prepared -> prepared",
    "prepared -> submitted",  "prepared -> aborting", "prepared -> succeed", "prepared -> failed",
    "submitted -> submitted", "submitted -> succeed", "submitted -> failed", "aborting -> aborting",
    "aborting -> failed",     "succeed -> succeed",   "failed -> failed",    "not stuck -> stuck",
    "stuck -> stuck",         "stuck -> not stuck",
};

Play PreparedWith(const std::string& type, int branches) {
  Play play(type + " 0");
  play.Happen(kPrepare);
  for (int i = 0; i < branches; ++i) play.Register();
  return play;
}

}  // namespace

TEST_CASE("tcc and xa: the table, and it reaches every pair and every transition") {
  for (const std::string type : {"tcc", "xa"}) {
    CAPTURE(type);
    std::vector<Case> table;
    for (const auto& part : {Prepared(type), Decided(type, false), Decided(type, true), Stuck(type),
                             Repairs(type, false), Repairs(type, true)}) {
      table.insert(table.end(), part.begin(), part.end());
    }
    AddEnds(table, type + " 1", "P S", "S P", {kSubmit, kTimer, kLoaded, kRegistered, kAdded});
    std::set<std::string> pairs = AllPairs(type == "tcc" ? TransType::kTcc : TransType::kXa,
                                           {kPrepared, kSubmitted, kAborting, kSucceed, kFailed},
                                           {kSubmit, kTimer, kLoaded, kRegistered, kRetryNow, kStop,
                                            kCancel, kAdded, EventKind::kRepair});
    pairs.insert({"new + submitted", "new + prepared"});
    CheckTable(table, pairs, kTransitions);
  }
}

TEST_CASE("tcc confirms and cancels the last registered first, xa the first, one after the other") {
  for (const auto& [type, confirms, cancels] :
       {std::tuple("tcc", "a3 a2 a1", "c3 c2 c1"), {"xa", "a1 a2 a3", "c1 c2 c3"}}) {
    CAPTURE(type);
    Play good = PreparedWith(type, 3);
    CHECK(good.log.empty());
    good.Happen(kSubmit);
    CHECK(good.out.size() == 1);
    good.Run();
    CHECK(good.log == confirms);
    CHECK(good.t.status == kSucceed);
    CHECK(saga_kit::Statuses(good.t) == "P S P S P S");  // Appendix A: nested third

    Play bad = PreparedWith(type, 3);
    Event cancel = Happens(kCancel);
    cancel.result = Result::Failure("FAILURE of try 3");
    bad.Happen(cancel);
    CHECK(bad.out.size() == 1);
    bad.Run();
    CHECK(bad.log == cancels);
    CHECK(bad.t.status == kFailed);
    CHECK(bad.t.reason == "FAILURE of try 3");
    CHECK(saga_kit::Statuses(bad.t) == "S P S P S P");
  }
}

TEST_CASE("tcc: try 2 failed, cancel 1 is ONGOING once: aborting, then failed (Appendix A)") {
  Play play = PreparedWith("tcc", 2);
  play.answers["c1"] = {kLater};
  Event cancel = Happens(kCancel);
  cancel.result = Result::Failure("try 2 answered FAILURE");
  play.Happen(cancel);
  play.AnswerOne();
  play.AnswerOne();
  CHECK(play.t.status == kAborting);
  CHECK(play.effects.timer == kStart + seconds(10));
  play.Run();
  CHECK(play.log == "c2 c1 c1");
  CHECK(saga_kit::Statuses(play.t) == "S P S P");
  CHECK_THAT(play.t.reason, ContainsSubstring("FAILURE"));
}

TEST_CASE("xa: commit is ONGOING once: submitted, then succeed (Appendix A)") {
  Play play = PreparedWith("xa", 1);
  play.answers["a1"] = {kLater};
  play.Happen(kSubmit);
  play.AnswerOne();
  CHECK(play.t.status == kSubmitted);
  play.Run();
  CHECK(play.log == "a1 a1");
  CHECK(play.Gap("a1", 0) == 10);
  CHECK(saga_kit::Statuses(play.t) == "P S");
}

TEST_CASE("tcc and xa: the timeout's text has the number that counted (W27, Appendix A)") {
  for (const std::string type : {"tcc", "xa"}) {
    for (const int own : {0, 1, 60, 1800}) {
      for (const int standard : {35, 7}) {
        CAPTURE(type, own, standard);
        const int limit = own > 0 ? own : standard;
        Play play(type + " 1 timeout=" + std::to_string(own));
        play.context.timeout_to_fail = seconds(standard);
        play.Happen(kPrepare);
        play.context.now = kStart + seconds(limit) - dtm::Duration(1);
        play.Happen(kTimer);
        CHECK(play.t.status == kPrepared);
        CHECK(play.effects.timer == kStart + seconds(limit));
        play.LookAt(seconds(limit));
        CHECK(play.t.status == kAborting);
        CHECK(play.t.reason == "Timeout after " + std::to_string(limit) + " seconds");
        play.Run();
        CHECK(play.t.status == kFailed);
        CHECK(saga_kit::Statuses(play.t) == "S P");
      }
    }
  }
}

TEST_CASE("tcc and xa: there is no timeout after the submit, however long it takes") {
  for (const std::string type : {"tcc", "xa"}) {
    Play play = PreparedWith(type, 1);
    play.answers["a1"] = std::deque<Result>(20, kBroken);
    play.Happen(kSubmit);
    play.Run();
    CHECK(play.context.now > kStart + std::chrono::hours(10));
    CHECK(play.t.status == kSucceed);
    CHECK(play.log.find('c') == std::string::npos);
  }
}

TEST_CASE("tcc and xa: FAILURE in phase 2 is called again for ever, with growing waits (W20)") {
  for (const std::string type : {"tcc", "xa"}) {
    for (const bool cancels : {false, true}) {
      CAPTURE(type, cancels);
      const char* const row = cancels ? "c1" : "a1";
      Play play = PreparedWith(type, 1);
      play.answers[row] = std::deque<Result>(15, kNo);
      play.Happen(cancels ? kCancel : kSubmit);
      play.Run();
      REQUIRE(play.sent[row].size() == 16);
      double wait = 10;
      for (std::size_t i = 0; i < 15; ++i, wait = (std::min)(2 * wait, 3600.0)) {
        CHECK(play.Gap(row, i) >= wait);
        CHECK(play.Gap(row, i) <= wait * 1.2);
      }
      CHECK(play.t.status == (cancels ? kFailed : kSucceed));
    }
  }
}

TEST_CASE(
    "tcc and xa: the first of cancel and submit counts, the other is refused or changes nothing") {
  for (const std::string type : {"tcc", "xa"}) {
    Play submitted = PreparedWith(type, 1);
    submitted.Happen(kSubmit);
    submitted.Happen(kCancel);
    CHECK_THAT(submitted.effects.refused, ContainsSubstring("it is submitted"));
    CHECK_FALSE(submitted.effects.changed);
    submitted.Run();
    CHECK(submitted.log == "a1");
    submitted.Happen(kCancel);
    CHECK_THAT(submitted.effects.refused, ContainsSubstring("already ended as succeed"));

    Play cancelled = PreparedWith(type, 1);
    Event why = Happens(kCancel);
    why.result = Result::Failure("the first reason");
    cancelled.Happen(why);
    cancelled.Happen(kSubmit);
    CHECK_FALSE(cancelled.effects.changed);
    why.result = Result::Failure("another reason");
    cancelled.Happen(why);
    CHECK_FALSE(cancelled.effects.changed);
    cancelled.Run();
    CHECK(cancelled.log == "c1");
    CHECK(cancelled.t.reason == "the first reason");
  }
}

TEST_CASE("tcc and xa: cancelled again, what waits is tried at once") {
  for (const std::string type : {"tcc", "xa"}) {
    CAPTURE(type);
    Play play = PreparedWith(type, 1);
    play.answers["c1"] = {Result::Error("1"), Result::Error("2"), Result::Success()};
    play.Happen(kCancel);
    play.AnswerOne();
    REQUIRE(play.log == "c1");
    CHECK(play.t.branches[0].next_try > play.context.now);
    play.Happen(kCancel);
    CHECK(play.log == "c1 c1");
    play.Run();
    CHECK(play.t.status == kFailed);
    CHECK(play.t.branches[0].finished != dtm::Time{});
  }
}

TEST_CASE(
    "tcc and xa: submitted again, what is confirmed is not confirmed twice, nor skipped (W1)") {
  for (const auto& [type, log] : {std::pair("tcc", "a2 a1 a1"), {"xa", "a1 a2 a2"}}) {
    Play play = PreparedWith(type, 2);
    play.Happen(kSubmit);
    play.AnswerOne();
    play.Happen(kSubmit);
    CHECK_FALSE(play.effects.changed);
    const std::string second = NameOfRow(play.Type(), play.out.front());
    play.answers[second] = {kBroken};
    play.AnswerOne();
    play.Happen(kSubmit);
    CHECK(play.t.status == kSubmitted);
    play.Run();
    CHECK(play.log == log);
  }
}

TEST_CASE("tcc and xa: answers that come after a force stop change nothing") {
  for (const std::string type : {"tcc", "xa"}) {
    for (const Result& answer : Answers()) {
      Play play = PreparedWith(type, 1);
      play.Happen(kSubmit);
      play.Happen(kStop);
      CHECK(play.t.status == kFailed);
      play.AnswerRow("a1", answer);
      CHECK_FALSE(play.effects.changed);
      CHECK(play.effects.calls.empty());
      CHECK(play.t.status == kFailed);
      CHECK(saga_kit::Statuses(play.t) == "P P");
    }
  }
}

TEST_CASE("tcc and xa: a restart in each state goes on where it was") {
  for (const std::string type : {"tcc", "xa"}) {
    CAPTURE(type);
    Play prepared = PreparedWith(type, 2);
    prepared.Restart(seconds(20));
    CHECK(prepared.log.empty());
    CHECK(prepared.effects.timer == kStart + seconds(35));
    prepared.Register();
    prepared.Restart(seconds(20));
    CHECK(prepared.t.status == kAborting);
    CHECK(prepared.log == (type == "tcc" ? "c3" : "c1"));
    prepared.Restart(seconds(1));
    prepared.AnswerOne();
    prepared.Restart(seconds(1));
    prepared.Run();
    CHECK(prepared.log == (type == "tcc" ? "c3 c3 c2 c2 c1" : "c1 c1 c2 c2 c3"));
    CHECK(prepared.t.status == kFailed);

    Play submitted = PreparedWith(type, 2);
    submitted.Happen(kSubmit);
    submitted.Restart(seconds(1000));
    submitted.AnswerOne();
    submitted.Restart(seconds(1));
    submitted.Run();
    CHECK(submitted.log == (type == "tcc" ? "a2 a2 a1 a1" : "a1 a1 a2 a2"));
    CHECK(submitted.t.status == kSucceed);
    submitted.Restart(seconds(1));
    CHECK_FALSE(submitted.effects.changed);
  }
}

TEST_CASE(
    "tcc: a registered branch counts from the moment it is registered, whatever became of its "
    "try") {
  Play play("tcc 0");
  play.Happen(kPrepare);
  play.Register();
  CHECK(play.effects.changed);
  CHECK(play.t.branches.size() == 2);
  play.ToTimer();
  CHECK(play.log == "c1");
  CHECK(play.t.reason == "Timeout after 35 seconds");
}
