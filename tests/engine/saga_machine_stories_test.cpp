/// Whole sagas from submit to end: the cases of protocol Appendix A, the
/// waits between tries, and what a crash leaves.
#include <chrono>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/engine/saga_kit.hpp"
#include <dtm/base/text.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/engine/saga_machine.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Duration;
using dtm::Result;
using dtm::Status;
using dtm::engine::EventKind;
using namespace saga_kit;

namespace {

const Result kNo = Result::Failure("no money"), kLater = Result::Ongoing(),
             kBroken = Result::Error("connection lost"), kUnsent = Result::NotSent("no handler");

/// Drives one saga: every call is answered at once with what is scripted for its branch (then with
/// SUCCESS), and when nothing is out the clock goes to the next timer.
struct Play {
  dtm::Transaction t;
  dtm::engine::Context context;
  dtm::engine::Effects effects;
  std::map<std::string, std::deque<Result>> answers;
  std::deque<std::size_t> out;
  std::string log;                                     // "a1 a2 c2"
  std::map<std::string, std::vector<dtm::Time>> sent;  // when each branch was called

  explicit Play(const std::string& saga) : t(NewTransaction(Saga(saga))) { context.now = kStart; }

  void Happen(const dtm::engine::Event& event) {
    effects = dtm::engine::SagaMachine::Advance(t, event, context);
    if (effects.changed) t.updated = context.now;  // as the coordinator does
    for (const std::size_t row : effects.calls) {
      const std::string name = NameOfRow(row);
      log += (log.empty() ? "" : " ") + name;
      sent[name].push_back(context.now);
      out.push_back(row);
    }
  }
  void Begin() { Happen(Happens(EventKind::kSubmitted)); }

  void AnswerOne() {
    const std::size_t row = out.front();
    out.pop_front();
    std::deque<Result>& script = answers[NameOfRow(row)];
    Result result = Result::Success();
    if (!script.empty()) {
      result = script.front();
      script.pop_front();
    }
    Happen(Answer(row, result));
  }
  /// Answers all that is out, with the clock standing still.
  void AnswerAll() {
    while (!out.empty()) AnswerOne();
  }
  void ToTimer() {
    REQUIRE(effects.timer < dtm::kNever);
    REQUIRE(effects.timer > context.now);
    context.now = effects.timer;
    Happen(Happens(EventKind::kTimer));
  }
  void Run() {
    if (t.version == 0 && t.branches.empty() && !IsFinal(t.status)) Begin();
    for (int turns = 0; !IsFinal(t.status); ++turns) {
      REQUIRE(turns < 1000);
      if (out.empty()) {
        ToTimer();
      } else {
        AnswerOne();
      }
    }
  }
  /// The process dies, and another one finds the record `down` later.
  void Crash(Duration down) {
    t = Stored(t);
    out.clear();
    context.now += down;
    Happen(Happens(EventKind::kLoaded));
  }

  Duration Gap(const std::string& row, std::size_t n) const {
    return sent.at(row).at(n + 1) - sent.at(row).at(n);
  }
};

void CheckWait(Duration wait, Duration interval) {
  CHECK(wait >= interval);
  CHECK(wait <= interval + interval / 5);
}

}  // namespace

TEST_CASE("saga stories: Appendix A") {
  struct Story {
    const char* name;
    const char* saga;
    std::map<std::string, std::deque<Result>> answers;
    const char* calls;
    Status status;
    const char* rows;
    const char* reason;
  };
  const std::string long_wait = "2 timeout=1800 interval=1000";
  const Story stories[] = {
      {"all fine", "2", {}, "a1 a2", Status::kSucceed, "P S P S", ""},
      {"empty urls", "2 empty=a1,c1", {}, "a2", Status::kSucceed, "P S P S", ""},
      {"a2 FAILURE", "2", {{"a2", {kNo}}}, "a1 a2 c2 c1", Status::kFailed, "S S S F", "no money"},
      {"a2 FAILURE, concurrent with order",
       "2 concurrent 1:0",
       {{"a2", {kNo}}},
       "a1 a2 c2 c1",
       Status::kFailed,
       "S S S F",
       "no money"},
      {"first compensation errors",
       "2",
       {{"a2", {kNo}}, {"c2", {kBroken}}},
       "a1 a2 c2 c2 c1",
       Status::kFailed,
       "S S S F",
       "no money"},
      {"a1 ONGOING once", "2", {{"a1", {kLater}}}, "a1 a1 a2", Status::kSucceed, "P S P S", ""},
      {"a1 ONGOING once, concurrent",
       "2 concurrent",
       {{"a1", {kLater}}},
       "a1 a2 a1",
       Status::kSucceed,
       "P S P S",
       ""},
      {"order, a1 FAILURE",
       "2 concurrent 1:0",
       {{"a1", {kNo}}},
       "a1 c1",
       Status::kFailed,
       "S F P P",
       "no money"},
      {"a1 ONGOING until the timeout",
       long_wait.c_str(),
       {{"a1", {kLater, kLater, kLater}}},
       "a1 a1 c1",
       Status::kFailed,
       "S P P P",
       "Timeout after 1800 seconds"},
      {"a2 errors 3 times, retry_limit 3",
       "2 limit=3",
       {{"a2", {kBroken, kBroken, kBroken}}},
       "a1 a2 a2 a2 a2",
       Status::kSucceed,
       "P S P S",
       ""},
      {"a2 errors 3 times, retry_limit 1",
       "2 limit=1",
       {{"a2", {kBroken, kBroken, kBroken}}},
       "a1 a2 a2 c2 c1",
       Status::kFailed,
       "S S S P",
       "RetryCount is greater than RetryLimit, RetryLimit: 1"},
      {"3 steps, the second fails",
       "3",
       {{"a2", {kNo}}},
       "a1 a2 c2 c1",
       Status::kFailed,
       "S S S F P P",
       "no money"},
      {"4 steps with orders, the third fails",
       "4 concurrent 2:0,1 3:2",
       {{"a3", {kNo}}},
       "a1 a2 a3 c3 c2 c1",
       Status::kFailed,
       "S S S S S F P P",
       "no money"},
  };
  for (const Story& story : stories) {
    CAPTURE(story.name);
    Play play(story.saga);
    play.answers = story.answers;
    play.Run();
    CHECK(play.log == story.calls);
    CHECK(play.t.status == story.status);
    CHECK(Statuses(play.t) == story.rows);
    CHECK_THAT(play.t.reason, ContainsSubstring(story.reason));
    CHECK(play.t.reason.empty() == (story.status == Status::kSucceed));
  }
}

TEST_CASE("saga stories: waits grow with errors, are fixed after ONGOING, and per branch") {
  Play errors("1 interval=150");
  errors.answers["a1"].assign(8, kBroken);
  errors.Run();
  for (std::size_t k = 0; k < 8; ++k) {
    CAPTURE(k);
    // 150, 300, ... at most an hour
    CheckWait(errors.Gap("a1", k),
              (std::min)(Duration(seconds(150 << k)), Duration(seconds(3600))));
  }

  Play ongoing("1 interval=150");
  ongoing.answers["a1"].assign(5, kLater);
  ongoing.Run();
  for (std::size_t k = 0; k < 5; ++k) CHECK(ongoing.Gap("a1", k) == seconds(150));

  Play mixed("1");
  mixed.answers["a1"] = {kBroken, kBroken, kLater, kBroken, kUnsent, kBroken};
  mixed.Run();
  CheckWait(mixed.Gap("a1", 0), seconds(10));
  CheckWait(mixed.Gap("a1", 1), seconds(20));
  CHECK(mixed.Gap("a1", 2) == seconds(10));
  CheckWait(mixed.Gap("a1", 3), seconds(10));  // ONGOING was an answer: it counts from one again
  CHECK(mixed.Gap("a1", 4) == seconds(10));
  CheckWait(mixed.Gap("a1", 5), seconds(20));  // not sent is none: it counts on

  Play branches("2");
  branches.answers["a1"].assign(4, kBroken);
  branches.answers["a2"] = {kBroken};
  branches.Run();
  CheckWait(branches.Gap("a1", 3), seconds(80));
  CheckWait(branches.Gap("a2", 0), seconds(10));

  Play compensation("1");
  compensation.answers["a1"] = {kBroken, kBroken, kNo};
  compensation.answers["c1"] = {kNo, kBroken, kNo};
  compensation.Run();
  CHECK(compensation.log == "a1 a1 a1 c1 c1 c1 c1");
  CheckWait(compensation.Gap("c1", 0), seconds(10));
  CheckWait(compensation.Gap("c1", 1), seconds(20));
  CheckWait(compensation.Gap("c1", 2), seconds(40));
}

TEST_CASE("saga stories: the retry limit waits between tries and survives restarts") {
  Play play("2 concurrent limit=3");
  play.answers["a1"] = {kBroken, kLater, kBroken};
  play.answers["a2"] = {kLater};
  play.Begin();
  play.AnswerAll();
  CHECK(play.t.retry_count == 2);
  play.Crash(seconds(1));
  CHECK(play.out.empty());  // the waits survive too
  CHECK(play.t.retry_count == 2);
  while (play.t.status == Status::kSubmitted) {
    play.ToTimer();
    play.AnswerAll();
  }
  CHECK(play.t.retry_count == 3);
  CHECK(play.sent["a1"].size() == 3);
  CHECK(play.Gap("a1", 0) >= seconds(10));
  CHECK(play.Gap("a1", 1) >= seconds(10));
  CHECK_THAT(play.t.reason, ContainsSubstring("RetryLimit: 3"));
  CHECK(play.t.status == Status::kFailed);
}

TEST_CASE("saga stories: a retry limit of n is n tries after the first, of all actions together") {
  const struct {
    const char* saga;
    std::deque<Result> a1, a2;  // then success
    std::size_t tries_a1, tries_a2;
    Status ends;
  } stories[] = {
      {"1 limit=1", {kBroken}, {}, 2, 0, Status::kSucceed},
      {"1 limit=1", {kBroken, kBroken}, {}, 2, 0, Status::kFailed},
      {"1 local limit=1", {kBroken, kBroken}, {}, 2, 0, Status::kFailed},
      {"1 limit=2", {kLater, kLater}, {}, 3, 0, Status::kSucceed},  // ONGOING counts
      {"1 limit=2", {kLater, kLater, kLater}, {}, 3, 0, Status::kFailed},
      {"1 limit=3", {kBroken, kLater, kBroken}, {}, 4, 0, Status::kSucceed},
      {"1 limit=3", {kBroken, kLater, kBroken, kLater}, {}, 4, 0, Status::kFailed},
      {"2 limit=3", {kBroken, kBroken}, {kBroken}, 3, 2, Status::kSucceed},
      {"2 limit=3", {kBroken, kBroken}, {kBroken, kBroken}, 3, 2, Status::kFailed},
      {"1", std::deque<Result>(20, kBroken), {}, 21, 0, Status::kSucceed},  // no limit
      {"1 limit=1",
       {Result::NotSent("no slot"), kBroken, Result::NotSent("no slot")},
       {},
       4,
       0,
       Status::kSucceed},  // a call that did not start is no try
  };
  for (const auto& story : stories) {
    CAPTURE(story.saga, story.a1.size(), story.a2.size());
    for (const bool crashes : {false, true}) {
      CAPTURE(crashes);
      Play play(story.saga);
      play.answers["a1"] = story.a1;
      play.answers["a2"] = story.a2;
      play.Begin();
      play.AnswerAll();
      for (int i = 0; i < 100 && play.t.status == Status::kSubmitted; ++i) {
        if (crashes) play.Crash(seconds(1));  // the count is stored
        play.ToTimer();
        play.AnswerAll();
      }
      CHECK(play.sent["a1"].size() == story.tries_a1);
      CHECK(play.sent["a2"].size() == story.tries_a2);
      CHECK(play.t.status == story.ends);
      const bool said = play.t.reason.find("RetryCount is greater than RetryLimit") == 0;
      CHECK(said == (story.ends == Status::kFailed));
    }
  }
}

TEST_CASE("saga stories: a timeout while an action is out waits for its answer") {
  for (const Result& answer : {Result::Success(), kNo, kLater, kBroken}) {
    Play play("2 timeout=60 interval=5 local");
    play.Begin();
    CHECK(play.effects.timer == kStart + seconds(60));
    play.AnswerOne();
    play.context.now = kStart + seconds(60);
    play.Happen(Happens(EventKind::kTimer));
    CHECK(play.t.status == Status::kAborting);
    CHECK(play.log == "a1 a2");
    play.context.now += std::chrono::hours(5);  // a function may take as long as it likes
    play.Happen(Happens(EventKind::kTimer));
    CHECK(play.log == "a1 a2");
    play.answers["a2"] = {answer};
    play.Run();
    CHECK(play.log == "a1 a2 c2 c1");
    CHECK(play.t.status == Status::kFailed);
    CHECK(play.t.reason == "Timeout after 60 seconds");
  }
}

TEST_CASE("saga stories: a function that was missing is called when it is registered") {
  // The call of the previous run counts as a try, so the row does not look untouched.
  Play play("1 local interval=3600");
  play.Begin();
  play.Crash(seconds(1));
  play.answers["a1"] = {kUnsent};
  play.AnswerAll();
  CHECK(play.log == "a1 a1");
  dtm::engine::Event registered = Happens(EventKind::kRegistered);
  registered.row = RowOf("a1");
  play.Happen(registered);
  CHECK(play.log == "a1 a1 a1");
}

TEST_CASE("saga stories: a short timeout is also the retry interval") {
  Play play("1 timeout=4");
  play.answers["a1"] = {kLater};
  play.Begin();
  play.AnswerAll();
  CHECK(play.t.branches[1].next_try == kStart + seconds(4));
}

TEST_CASE("saga stories: a crash while submitted repeats only what was out") {
  Play play("3");
  play.Begin();
  play.AnswerOne();
  play.Crash(seconds(1));
  play.Run();
  CHECK(play.log == "a1 a2 a2 a3");
  CHECK(play.t.status == Status::kSucceed);
}

TEST_CASE("saga stories: a crash while aborting waits for the deadline of a url, of no function") {
  Play url("2 request=4");
  url.Begin();
  url.AnswerOne();
  CHECK(url.t.branches[RowOf("a2")].deadline == kStart + seconds(8));
  url.Happen(Happens(EventKind::kCancel));
  CHECK(url.log == "a1 a2");
  url.Crash(seconds(1));
  CHECK(url.log == "a1 a2");
  CHECK(url.effects.timer == kStart + seconds(8));
  url.Crash(seconds(1));  // also the second time
  CHECK(url.effects.timer == kStart + seconds(8));
  url.ToTimer();
  CHECK(url.log == "a1 a2 c2");
  url.Run();
  CHECK(url.log == "a1 a2 c2 c1");

  Play function("2 request=4 local");
  function.Begin();
  function.AnswerOne();
  function.Happen(Happens(EventKind::kCancel));
  function.Crash(seconds(1));
  CHECK(function.log == "a1 a2 c2");
}

TEST_CASE(
    "saga stories: no compensation begins while any action of a previous run may still begin") {
  const char* saga = GENERATE("3 concurrent request=4", "3 request=4");
  CAPTURE(saga);
  Play play(saga);
  play.Begin();
  if (play.t.definition->concurrent) {
    play.Happen(Answer(RowOf("a1"), Result::Success()));
    play.Happen(Answer(RowOf("a3"), kNo));  // a2 is out until 8 s
  } else {
    play.Crash(seconds(1));  // a1 is out until 8 s, and is called again
    play.AnswerOne();
    play.answers["a2"] = {kNo};
    play.AnswerOne();
  }
  CHECK(play.t.status == Status::kAborting);
  CHECK(play.log.find('c') == std::string::npos);
  for (int restart = 0; restart < 2; ++restart) {
    play.Crash(seconds(1));
    play.Happen(Happens(EventKind::kRetryNow));
    play.Happen(Happens(EventKind::kCancel));
    CHECK(play.log.find('c') == std::string::npos);
    CHECK(play.effects.timer == kStart + seconds(8));
  }
  play.Run();
  CHECK(play.t.status == Status::kFailed);
  for (const char* undo : {"c1", "c2"}) CHECK(play.sent[undo].front() == kStart + seconds(8));
}

TEST_CASE("saga stories: a wall clock that was set back lengthens no wait beyond its interval") {
  const Duration a_day = std::chrono::hours(24);
  Play waits("3 concurrent");
  waits.answers["a1"] = {kBroken, kBroken};
  waits.answers["a2"] = {kLater};
  waits.answers["a3"] = {kUnsent};
  waits.Begin();
  waits.AnswerAll();
  waits.context.now = waits.t.branches[RowOf("a1")].next_try;
  waits.Happen(Happens(EventKind::kTimer));
  waits.AnswerAll();  // a1: the second error
  waits.Crash(-a_day);
  CHECK(waits.log.substr(0, 8) == "a1 a2 a3");
  const auto left = [&](const char* row) {
    return waits.t.branches[RowOf(row)].next_try - waits.context.now;
  };
  CheckWait(left("a1"), seconds(20));
  CHECK(waits.t.branches[RowOf("a2")].status == dtm::BranchStatus::kSucceed);
  CHECK(waits.t.due == waits.effects.timer);

  Play ongoing("2 concurrent");
  ongoing.answers["a1"] = {kLater};
  ongoing.answers["a2"] = {kUnsent};
  ongoing.Begin();
  ongoing.AnswerAll();
  ongoing.Crash(-a_day);
  for (const char* row : {"a1", "a2"}) {
    CheckWait(ongoing.t.branches[RowOf(row)].next_try - ongoing.context.now, seconds(10));
  }

  Play deadline("1");
  deadline.Begin();
  deadline.Happen(Happens(EventKind::kCancel));
  deadline.Crash(-a_day);
  CHECK(deadline.effects.timer == deadline.context.now + seconds(6));
  deadline.Run();
  CHECK(deadline.log == "a1 c1");
}

TEST_CASE("saga stories: a start with a lower request_timeout does not shorten a stored deadline") {
  for (const seconds later :
       {seconds(1), seconds(-3600), seconds(59)}) {  // or the clock is set back
    CAPTURE(later.count());
    Play play("2 concurrent");
    play.context.request_timeout = seconds(30);
    play.Begin();  // both are out until 60 s
    play.Happen(Happens(EventKind::kCancel));
    play.context.request_timeout = seconds(1);
    play.Crash(later);
    CHECK(play.log == "a1 a2");
    const Duration left = later < seconds(0) ? seconds(60) : seconds(60) - later;
    CHECK(play.effects.timer == play.context.now + left);
    play.context.now += left / 2;
    play.Crash({});
    CHECK(play.effects.timer == play.context.now + left - left / 2);
    play.Run();
    CHECK(play.log == "a1 a2 c2 c1");
  }
}

// The call of the previous run is not the one that was answered: its compensation has to wait for
// its deadline, whatever a second call brought.
TEST_CASE(
    "saga stories: an answer to a second call says nothing about the call of the previous run") {
  for (const Result& answer : {kUnsent, kNo, kBroken, Result::Success()}) {
    CAPTURE(answer.text);
    Play play("2 request=4");
    play.Begin();  // a1 is out until 8 s
    play.Crash(seconds(1));
    CHECK(play.log == "a1 a1");
    play.answers["a1"] = {answer};
    play.answers["a2"] = {kNo};
    play.AnswerOne();
    if (play.t.status == Status::kSubmitted) play.Happen(Happens(EventKind::kCancel));
    play.Run();
    CHECK(play.t.status == Status::kFailed);
    REQUIRE(play.sent["c1"].size() == 1);
    CHECK((play.sent["c1"][0] - kStart).count() >= 8000000);
  }
}

TEST_CASE("saga stories: a call that was not sent does not hide one that was") {
  Play play("1 local");
  play.Begin();
  play.Crash(seconds(1));
  play.answers["a1"] = {kUnsent};
  play.AnswerAll();
  play.Happen(Happens(EventKind::kCancel));
  play.Run();
  CHECK(play.log == "a1 a1 c1");
  CHECK(Statuses(play.t) == "S P");
}

TEST_CASE("saga stories: what the reason and the last error say") {
  Play play("1");
  play.answers["a1"] = {Result::Failure("\xC3\xBC" + std::string(5000, 'x'))};
  play.Begin();
  play.AnswerOne();
  CHECK(play.t.reason.size() <= dtm::kMaxReasonBytes);
  CHECK(dtm::IsUtf8(play.t.reason));
  CHECK(play.t.reason.substr(0, 4) == "\xC3\xBCxx");  // its own words, and nothing before them
  CHECK(ReasonFrom(play.t) == "branch 01 action http://bank/a1");
  CHECK_THAT(play.t.last_error,
             ContainsSubstring("branch 01 action http://bank/a1 answered FAILURE"));

  const std::pair<Result, const char*> rows[] = {
      {Result::Ongoing("busy"), "ONGOING: busy"},
      {Result::Error("reset by peer"), "no definite answer: reset by peer"},
      {Result::NotSent("waiting for handler \"X\""), "not called: waiting for handler \"X\""}};
  for (const auto& row : rows) {
    Play waits("1");
    waits.answers["a1"] = {row.first};
    waits.Begin();
    waits.AnswerOne();
    CHECK(waits.t.reason.empty());
    CHECK_THAT(waits.t.last_error, ContainsSubstring("branch 01 action http://bank/a1") &&
                                       ContainsSubstring(row.second));
  }
  // The reason is the first one: what fails later does not replace it.
  Play two("2 concurrent");
  two.answers["a1"] = {Result::Failure("first")};
  two.answers["a2"] = {Result::Failure("second")};
  two.Run();
  CHECK(two.t.reason == "first");
  CHECK(ReasonFrom(two.t) == "branch 01 action http://bank/a1");
  CHECK(Statuses(two.t) == "S F S F");
  // Who says no and nothing more.
  Play silent("1");
  silent.answers["a1"] = {Result::Failure({})};
  silent.Run();
  CHECK(silent.t.reason == "FAILURE, without a reason");
}

TEST_CASE("saga stories: a reason that is no branch's comes from none, whatever fails afterwards") {
  Play play("2 concurrent");
  play.answers["a1"] = {Result::Failure("late")};
  play.Begin();
  dtm::engine::Event cancel = Happens(EventKind::kCancel);
  cancel.result = Result::Failure("by hand");
  play.Happen(cancel);
  play.Run();
  CHECK(play.t.reason == "by hand");
  CHECK(ReasonFrom(play.t).empty());
  CHECK(Statuses(play.t) == "S F S S");

  Play unsaid("1");
  unsaid.Begin();
  unsaid.Happen(Happens(EventKind::kCancel));
  unsaid.Run();
  CHECK(unsaid.t.status == Status::kFailed);
  CHECK(unsaid.t.reason.empty());  // nothing is invented
}

TEST_CASE("saga stories: cancelled again, what waits is tried at once, with the first reason") {
  Play play("2");
  play.answers["a2"] = {Result::Failure("no")};
  play.answers["c2"] = {Result::Error("1"), Result::Error("2"), Result::Error("3"),
                        Result::Success()};
  play.Begin();
  for (int i = 0; i < 3; ++i) play.AnswerOne();  // a1, a2, c2
  REQUIRE(play.t.status == Status::kAborting);
  REQUIRE(play.log == "a1 a2 c2");
  dtm::engine::Event again = Happens(EventKind::kCancel);
  again.result = Result::Failure("another reason");
  play.Happen(again);
  CHECK(play.effects.refused.empty());
  CHECK(play.log == "a1 a2 c2 c2");
  CHECK(play.t.reason == "no");
  play.Run();
  CHECK(play.t.status == Status::kFailed);
}

TEST_CASE("saga stories: each branch has the time at which it succeeded or failed") {
  Play play("3");
  play.answers["a1"] = {Result::Error("later"), Result::Success()};
  play.answers["a2"] = {Result::Failure("no")};
  play.Run();
  REQUIRE(Statuses(play.t) == "S S S F P P");
  const auto& rows = play.t.branches;
  CHECK(rows[1].finished >= play.t.created + std::chrono::seconds(10));
  CHECK(rows[3].finished >= rows[1].finished);
  CHECK(rows[2].finished >= rows[3].finished);
  CHECK(rows[0].finished >= rows[2].finished);
  CHECK(play.t.finished >= rows[0].finished);
  CHECK(rows[4].finished == dtm::Time{});
  CHECK(rows[5].finished == dtm::Time{});
}
