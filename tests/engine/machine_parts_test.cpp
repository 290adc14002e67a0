/// What the machines share, piece by piece: answers taken, waits, calls, ends, stuck records, when to look again.
/// Protocol §3, §12 (W10).
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/engine/machine_kit.hpp"
#include <dtm/core/limits.hpp>
#include <dtm/engine/machine_parts.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Branch;
using dtm::BranchStatus;
using namespace machine_kit;

namespace {

/// A machine of which everything can be called.
class Parts : public dtm::engine::MachineParts {
 public:
  using MachineParts::Abort;
  using MachineParts::Awaken;
  using MachineParts::Create;
  using MachineParts::effects_;
  using MachineParts::Finish;
  using MachineParts::GetStuck;
  using MachineParts::GoesOn;
  using MachineParts::MachineParts;
  using MachineParts::MayDrive;
  using MachineParts::OnRequiredResult;
  using MachineParts::OnSubmitted;
  using MachineParts::Schedule;
  using MachineParts::TakeAnswer;
  using MachineParts::TryCall;
  using MachineParts::WaitForNextTry;
  using MachineParts::WakeAt;

  Parts(Transaction& transaction, const Context& context)
      : MachineParts(transaction, context, {}) {}
};

const dtm::Time kNow = kStart + seconds(100);

struct Fixture {
  Transaction t;
  Context context;

  Fixture(const std::string& text, Status status, const std::string& rows)
      : t(saga_kit::NewTransaction(Make(text))) {
    context.now = kNow;
    t.status = status;
    t.created = kStart;
    t.due = kStart;
    t.branches = saga_kit::Rows(rows, kNow);
  }
  Parts Machine() { return Parts(t, context); }
  std::string Rows() const { return saga_kit::InText(t.branches, kNow); }
};

}  // namespace

TEST_CASE("parts: an answer is taken only of a call that is out") {
  Fixture f("msg 2", kSubmitted, "P > S");
  for (const std::size_t row : {std::size_t{0}, std::size_t{2}, std::size_t{3}, std::size_t{999}}) {
    Parts parts = f.Machine();
    CHECK_FALSE(parts.TakeAnswer(row, Result::Failure("no")));
    CHECK_FALSE(parts.effects_.changed);
    CHECK(f.t.last_error.empty());
  }
  Parts parts = f.Machine();
  CHECK(parts.TakeAnswer(1, Result::Success()));
  CHECK(parts.effects_.changed);
  CHECK(f.Rows() == "P S S");
  CHECK_FALSE(parts.TakeAnswer(1, Result::Success()));  // once
}

TEST_CASE("parts: a success forgets errors and waits, and keeps the last error for people") {
  Fixture f("msg 1", kSubmitted, "P >");
  f.t.branches[1].errors = 3;
  f.t.branches[1].next_try = kNow + seconds(5);
  f.t.last_error = "earlier";
  CHECK(f.Machine().TakeAnswer(1, Result::Success()));
  CHECK(f.t.branches[1].errors == 0);
  CHECK(f.t.branches[1].next_try == dtm::Time{});
  CHECK(f.t.branches[1].tries == 1);
  CHECK(f.t.last_error == "earlier");
}

TEST_CASE("parts: what was not sent is no try; every other answer is one") {
  for (const Result& answer : Answers()) {
    CAPTURE(static_cast<int>(answer.kind));
    Fixture f("msg 1", kSubmitted, "P >");
    f.t.branches[1].tries = 4;
    CHECK(f.Machine().TakeAnswer(1, answer));
    CHECK(f.t.branches[1].tries == (answer.kind == Result::Kind::kNotSent ? 3u : 4u));
    CHECK_FALSE(f.t.branches[1].in_flight);
    CHECK(f.t.last_error.empty() == (answer.kind == Result::Kind::kSuccess));
    if (answer.kind != Result::Kind::kSuccess)
      CHECK_THAT(f.t.last_error, ContainsSubstring(answer.text));
  }
}

TEST_CASE("parts: the last error names branch, op and url, and has a limit") {
  Fixture f("tcc 1", kSubmitted, "P >");
  CHECK(f.Machine().TakeAnswer(1, Result::Error(std::string(5000, 'x'))));
  CHECK(f.t.last_error.size() <= dtm::kMaxReasonBytes);
  CHECK_THAT(f.t.last_error,
             ContainsSubstring("branch 01 confirm http://bank/a1 gave no definite answer: xxx"));
}

TEST_CASE("parts: an answer says nothing about a call of a previous run (W10)") {
  Fixture f("tcc 1", kAborting, "> P");
  f.t.branches[0].previous_deadline = kNow + seconds(4);
  CHECK(f.Machine().TakeAnswer(0, Result::Error("lost")));
  CHECK(f.t.branches[0].deadline == kNow + seconds(4));
}

TEST_CASE("parts: errors in a row double the wait, ONGOING and not sent wait one interval") {
  Fixture f("msg 1 interval=8", kSubmitted, "P r");
  Branch& row = f.t.branches[1];
  const auto wait = [&](Result::Kind kind) {
    f.Machine().WaitForNextTry(1, kind, {kind, {}});
    return row.next_try - kNow;
  };
  dtm::Duration expected = seconds(8);
  for (std::uint32_t n = 1; n <= 5; ++n, expected *= 2) {
    const dtm::Duration is = wait(n % 2 == 0 ? Result::Kind::kError : Result::Kind::kFailure);
    CHECK(row.errors == n);
    CHECK(is >= expected);
    CHECK(is <= expected + expected / 5);
    CHECK_FALSE(row.unsent);
  }
  CHECK(wait(Result::Kind::kOngoing) == seconds(8));
  CHECK(row.errors == 0);
  CHECK_FALSE(row.unsent);
  CHECK(wait(Result::Kind::kError) <= seconds(10));
  CHECK(wait(Result::Kind::kNotSent) == seconds(8));
  CHECK(row.errors == 1);  // still in a row
  CHECK(row.unsent);
  CHECK(wait(Result::Kind::kError) >= seconds(16));
  CHECK(row.errors == 2);
}

TEST_CASE("parts: what was not called because the coordinator stops leaves no wait") {
  Fixture f("msg 1", kSubmitted, "P >");
  f.context.may_call = false;
  Parts parts = f.Machine();
  parts.OnRequiredResult(1, Result::NotSent("stopping"));
  CHECK(f.t.branches[1].next_try == dtm::Time{});
  CHECK(f.t.branches[1].tries == 0);
  parts.Schedule();
  CHECK(f.t.due <= kNow);
  CHECK_FALSE(f.t.stuck);
}

TEST_CASE(
    "parts: what was called while the coordinator stops waits as ever, and errors stay in a row") {
  for (const Result& answer : Answers()) {
    if (answer.kind == Result::Kind::kSuccess) continue;
    CAPTURE(static_cast<int>(answer.kind));
    Fixture f("msg 1 interval=8", kSubmitted, "P >2");
    const Branch& row = f.t.branches[1];
    f.context.may_call = false;
    f.Machine().OnRequiredResult(1, answer);
    switch (answer.kind) {
      case Result::Kind::kNotSent:
        CHECK(row.next_try == dtm::Time{});
        CHECK(row.errors == 2);
        break;
      case Result::Kind::kOngoing: CHECK(row.next_try == kNow + seconds(8)); break;
      default: CHECK(row.next_try >= kNow + seconds(32)); CHECK(row.errors == 3);
    }
  }
}

TEST_CASE("parts: a required answer is success, or a wait") {
  for (const Result& answer : Answers()) {
    Fixture f("msg 1", kSubmitted, "P >");
    f.Machine().OnRequiredResult(1, answer);
    const bool ok = answer.kind == Result::Kind::kSuccess;
    CHECK((f.t.branches[1].status == BranchStatus::kSucceed) == ok);
    CHECK((f.t.branches[1].next_try > kNow) == !ok);
  }
  Fixture f("msg 1", kSubmitted, "P r");
  f.Machine().OnRequiredResult(1, Result::Error("nobody asked"));
  CHECK(f.t.branches[1].next_try == dtm::Time{});
}

TEST_CASE("parts: a function that is there now ends the wait for it, and no other wait") {
  struct Line {
    const char *before, *after;
    bool unsent;
  };
  for (const Line& line :
       {Line{"P n9", "P P", false}, Line{"P w9", "P r", true}, Line{"P w9", "P w9", false},
        Line{"P e2", "P e2", false}, Line{"P >", "P >", true}, Line{"P P", "P P", false},
        Line{"P S", "P S", false}}) {
    CAPTURE(line.before, line.unsent);
    Fixture f("msg 1 local", kSubmitted, line.before);
    f.t.branches[1].unsent = line.unsent;
    Parts parts = f.Machine();
    parts.Awaken(1);
    CHECK(f.Rows() == line.after);
    CHECK(parts.effects_.changed == (std::string(line.before) != line.after));
    parts.Awaken(99);  // a row that is not there
  }
}

TEST_CASE("parts: a call starts when it is not out, its wait is over, and calls may start") {
  {
    Fixture f("tcc 1", kSubmitted, "P P");
    Parts parts = f.Machine();
    CHECK_FALSE(parts.TryCall(1));
    CHECK(parts.effects_.calls == std::vector<std::size_t>{1});
    CHECK(parts.effects_.changed);
    CHECK(f.t.branches[1].in_flight);
    CHECK(f.t.branches[1].tries == 1);
    CHECK(f.t.branches[1].deadline == kNow + seconds(6));
    CHECK_FALSE(parts.TryCall(1));  // it is out
    CHECK(parts.effects_.calls.size() == 1);
  }
  {
    Fixture f("tcc 1", kSubmitted, "P w5");
    Parts parts = f.Machine();
    CHECK_FALSE(parts.TryCall(1));
    CHECK(parts.effects_.calls.empty());
    CHECK(parts.effects_.timer == kNow + seconds(5));
    CHECK_FALSE(parts.effects_.changed);
  }
  {
    Fixture f("tcc 1", kSubmitted, "P P");
    f.context.may_call = false;
    Parts parts = f.Machine();
    CHECK_FALSE(parts.TryCall(1));
    CHECK(parts.effects_.calls.empty());
    CHECK(f.t.branches[1].tries == 0);
    CHECK_FALSE(parts.effects_.changed);
  }
  {
    Fixture f("tcc 1 empty=a1", kSubmitted, "P n5");
    f.context.may_call = false;  // it is no call
    Parts parts = f.Machine();
    CHECK(parts.TryCall(1));
    CHECK(f.t.branches[1].status == BranchStatus::kSucceed);
    CHECK(f.t.branches[1].tries == 0);
    CHECK(parts.effects_.calls.empty());
    CHECK(parts.effects_.changed);
  }
}

TEST_CASE(
    "parts: a function ends with its process, a url may outlive it, and a former call outlives a "
    "new one") {
  Fixture local("tcc 1 local", kSubmitted, "P P");
  local.Machine().TryCall(1);
  CHECK(local.t.branches[1].deadline == dtm::Time{});
  Fixture former("tcc 1", kSubmitted, "P P");
  former.t.branches[1].previous_deadline = kNow + seconds(60);
  former.Machine().TryCall(1);
  CHECK(former.t.branches[1].deadline == kNow + seconds(60));
}

TEST_CASE("parts: creating and submitting") {
  Transaction t = saga_kit::NewTransaction(Make("tcc 2"));
  Context context;
  context.now = kNow;
  {
    Parts parts(t, context);
    parts.Create(kPrepared);
    CHECK(parts.effects_.changed);
  }
  CHECK(t.status == kPrepared);
  CHECK(t.created == kNow);
  CHECK(t.branches.size() == 4);
  context.now += seconds(3);
  {
    Parts parts(t, context);
    parts.OnSubmitted();
    CHECK(parts.effects_.changed);
  }
  CHECK(t.status == kSubmitted);
  CHECK(t.created == kNow);
  CHECK(t.due == kNow + seconds(3));
  Parts again(t, context);
  again.OnSubmitted();
  CHECK_FALSE(again.effects_.changed);
}

TEST_CASE("parts: the end clears what would happen, and nothing is out any more") {
  for (const Status end : {kSucceed, kFailed}) {
    Fixture f("msg 2", kSubmitted, "> S >");
    f.t.stuck = true;
    Parts parts = f.Machine();
    parts.effects_.calls = {1};
    parts.WakeAt(kNow + seconds(1));
    parts.Finish(end);
    CHECK(f.t.status == end);
    CHECK(f.t.finished == kNow);
    CHECK(f.t.due == dtm::kNever);
    CHECK_FALSE(f.t.stuck);
    CHECK(parts.effects_.calls.empty());
    CHECK(parts.effects_.timer == dtm::kNever);
    for (const Branch& row : f.t.branches) CHECK_FALSE(row.in_flight);
  }
}

TEST_CASE("parts: the reason of a rollback is cut to its limit") {
  Fixture f("tcc 1", kPrepared, "P P");
  f.Machine().Abort(std::string(5000, 'r'));
  CHECK(f.t.status == kAborting);
  CHECK(f.t.reason.size() <= dtm::kMaxReasonBytes);
  CHECK(f.t.reason.size() > dtm::kMaxReasonBytes / 2);
}

TEST_CASE("parts: the first thing that broke is what people are told") {
  Fixture f("tcc 1", kSubmitted, "P P");
  Parts first = f.Machine();
  first.GetStuck("the first");
  CHECK(first.effects_.changed);
  Parts second = f.Machine();
  second.GetStuck("the second");
  CHECK_FALSE(second.effects_.changed);
  CHECK(f.t.last_error == "the first");
}

TEST_CASE("parts: a record with the wrong number of rows is not driven, for every type") {
  for (const auto& [text, rows] :
       {std::pair("msg 2", "P P"), {"tcc 2", "P P"}, {"xa 1", "P P P"}, {"workflow 1", "P"}}) {
    CAPTURE(text);
    Fixture f(text, kPrepared, rows);
    CHECK_FALSE(f.Machine().MayDrive());
    CHECK(f.t.stuck);
    CHECK_THAT(f.t.last_error, ContainsSubstring("branch rows for"));
  }
  Fixture good("tcc 1", kPrepared, "P P");
  CHECK(good.Machine().MayDrive());
  good.t.status = kFailed;
  CHECK_FALSE(good.Machine().MayDrive());
  CHECK_FALSE(good.t.stuck);
}

TEST_CASE("parts: when a restart has to look again") {
  struct Line {
    const char *what, *text;
    Status status;
    const char* rows;
    bool may_call;
    int timer;  // seconds from now, 0 = none
    dtm::Time due;
    bool stuck;
  };
  const std::vector<Line> lines = {
      {"a timer", "tcc 1", kSubmitted, "P w5", true, 5, kNow + seconds(5), false},
      {"something is out", "tcc 1", kSubmitted, "P >", true, 0, kStart, false},
      {"something is out and something waits", "msg 1", kSubmitted, "> w5", true, 5, kStart, false},
      {"something could start but may not", "tcc 1", kSubmitted, "P P", false, 0, kStart, false},
      {"nothing is left to do and it has not ended", "tcc 1", kSubmitted, "P P", true, 0,
       dtm::kNever, true},
      {"a workflow that nobody resumes", "workflow 0 noquery", kPrepared, "P", true, 0, dtm::kNever,
       false},
      {"a workflow that may not be resumed now", "workflow 0", kPrepared, "P", false, 0, kStart,
       false},
      {"a message whose initiator may not be asked now", "msg 1", kPrepared, "P P", false, 0,
       kStart, false},
      {"an end", "tcc 1", kFailed, "P P", true, 0, kStart, false},
  };
  for (const Line& line : lines) {
    CAPTURE(line.what);
    Fixture f(line.text, line.status, line.rows);
    f.context.may_call = line.may_call;
    Parts parts = f.Machine();
    if (line.timer > 0) parts.WakeAt(kNow + seconds(line.timer));
    parts.Schedule();
    CHECK(f.t.due == line.due);
    CHECK(f.t.stuck == line.stuck);
    CHECK(parts.effects_.changed == (line.due != kStart || line.stuck));
  }
}

TEST_CASE("parts: the earliest of several times is the timer") {
  Fixture f("tcc 1", kSubmitted, "P P");
  Parts parts = f.Machine();
  parts.WakeAt(kNow + seconds(9));
  parts.WakeAt(kNow + seconds(3));
  parts.WakeAt(kNow + seconds(6));
  CHECK(parts.effects_.timer == kNow + seconds(3));
}
