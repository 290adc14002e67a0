/// When people are told that a branch keeps failing: a table for all types, and stories. Protocol §3 (alert).
#include <cstdint>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/engine/machine_kit.hpp"

using namespace machine_kit;

namespace {

const Result kOk = Result::Success(), kNo = Result::Failure("no money"),
             kLater = Result::Ongoing("not yet"), kBroken = Result::Error("connection lost"),
             kUnsent = Result::NotSent("no free slot");

struct Line {
  const char* name;
  std::string text;  // as in machine_kit; "saga ..." as in saga_kit
  Status before;
  const char *rows, *row;
  Result answer;
  bool alerts;
  Status after;
  std::uint32_t errors;  // in a row, afterwards
};

Transaction Standing(const Line& line, dtm::Time now) {
  const bool saga = line.text.rfind("saga ", 0) == 0;
  Transaction t =
      saga_kit::NewTransaction(saga ? saga_kit::Saga(line.text.substr(5)) : Make(line.text));
  t.status = line.before;
  t.created = t.due = kStart;
  t.branches = saga_kit::Rows(line.rows, now);
  return t;
}

}  // namespace

TEST_CASE("alert: who is told of, and who is not") {
  const Line lines[] = {
      // what has to succeed
      {"first error", "saga 2", kSubmitted, "P > P P", "a1", kBroken, false, kSubmitted, 1},
      {"second error", "saga 2", kSubmitted, "P >1 P P", "a1", kBroken, false, kSubmitted, 2},
      {"third error", "saga 2", kSubmitted, "P >2 P P", "a1", kBroken, true, kSubmitted, 3},
      {"fourth error", "saga 2", kSubmitted, "P >3 P P", "a1", kBroken, true, kSubmitted, 4},
      {"the wait does not grow any more", "saga 2", kSubmitted, "P >40 P P", "a1", kBroken, true,
       kSubmitted, 41},
      {"compensation, error", "saga 1", kAborting, ">2 F", "c1", kBroken, true, kAborting, 3},
      {"compensation, FAILURE", "saga 1", kAborting, ">2 F", "c1", kNo, true, kAborting, 3},
      {"delivery, error", "msg 1", kSubmitted, "P >2", "d1", kBroken, true, kSubmitted, 3},
      {"delivery, FAILURE", "msg 1", kSubmitted, "P >2", "d1", kNo, true, kSubmitted, 3},
      {"confirm", "tcc 1", kSubmitted, "P >2", "a1", kNo, true, kSubmitted, 3},
      {"cancel", "tcc 1", kAborting, ">2 P", "c1", kBroken, true, kAborting, 3},
      {"commit", "xa 1", kSubmitted, "P >2", "a1", kBroken, true, kSubmitted, 3},
      {"rollback", "xa 1", kAborting, ">2 P", "c1", kNo, true, kAborting, 3},
      {"a function", "tcc 1 local", kSubmitted, "P >2", "a1", kBroken, true, kSubmitted, 3},
      {"the other one's errors do not count", "msg 2 concurrent", kSubmitted, "P >2 >", "d2",
       kBroken, false, kSubmitted, 1},
      {"the retry limit ends it at this error", "saga 1 limit=1", kSubmitted, "P >2", "a1", kBroken,
       true, kAborting, 3},
      // no error, or none of those that count
      {"success", "saga 2", kSubmitted, "P >5 P P", "a1", kOk, false, kSubmitted, 0},
      {"ONGOING", "saga 2", kSubmitted, "P >5 P P", "a1", kLater, false, kSubmitted, 0},
      {"not sent says nothing of the branch", "saga 2", kSubmitted, "P >5 P P", "a1", kUnsent,
       false, kSubmitted, 5},
      {"a definite failure", "saga 2", kSubmitted, "P >5 P P", "a1", kNo, false, kAborting, 5},
      {"it is compensated whatever it was", "saga 2", kAborting, "P >5 P P", "a1", kBroken, false,
       kAborting, 5},
      {"nobody waited for it", "tcc 1", kSubmitted, "P x5", "a1", kBroken, false, kSubmitted, 5},
      {"it has ended", "tcc 1", kFailed, "P >5", "a1", kBroken, false, kFailed, 5},
      {"query-back, error", "msg 1", kPrepared, ">5 P", "q", kBroken, false, kPrepared, 6},
      {"query-back, ONGOING", "msg 1", kPrepared, ">5 P", "q", kLater, false, kPrepared, 0},
      {"workflow, second error", "workflow 1", kPrepared, ">1 S", "q", kBroken, false, kPrepared,
       2},
      {"workflow, third error", "workflow 1", kPrepared, ">2 S", "q", kBroken, true, kPrepared, 3},
      {"workflow, ONGOING", "workflow 1", kPrepared, ">5 S", "q", kLater, false, kPrepared, 0},
      {"workflow callback, FAILURE", "workflow 1", kPrepared, ">5 S", "q", kNo, false, kPrepared,
       0},
  };
  for (const Line& line : lines) {
    CAPTURE(line.name, line.text, line.rows);
    Context context;
    context.now = kStart + seconds(100);
    context.alert_after = 3;
    Transaction t = Standing(line, context.now);
    if (t.definition->options.retry_limit > 0) t.retry_count = 1;
    const std::size_t row = RowOf(t.definition->type, line.row);
    Transaction untold = t;
    const Effects effects = dtm::engine::Advance(t, Answer(row, line.answer), context);
    CHECK(effects.alert.has_value() == line.alerts);
    if (effects.alert) {
      CHECK(*effects.alert == row);
      CHECK(effects.changed);  // it is told of what is stored
    }
    CHECK(std::string(Name(t.status)) == Name(line.after));
    CHECK(t.branches[row].errors == line.errors);

    // Nobody listens: the same happens, and nothing is told.
    context.alert_after = 0;
    const Effects quiet = dtm::engine::Advance(untold, Answer(row, line.answer), context);
    CHECK_FALSE(quiet.alert);
    CHECK(StoredText(untold) == StoredText(t));
  }
}

TEST_CASE("alert: the third error in a row and every later one; success and RetryNow count anew") {
  Play play("msg 1");
  play.context.alert_after = 3;
  std::string told;
  const auto fail = [&](int times) {
    for (int i = 0; i < times; ++i) {
      if (play.out.empty()) play.ToTimer();
      play.AnswerRow("d1", kBroken);
      told += play.effects.alert ? std::to_string(play.t.branches[1].errors) : "-";
    }
  };
  play.Happen(EventKind::kSubmitted);
  fail(5);
  CHECK(told == "--345");
  play.Restart(seconds(1));  // what is stored counts on
  CHECK_FALSE(play.effects.alert);
  fail(1);
  CHECK(told == "--3456");
  play.Happen(EventKind::kRetryNow);
  CHECK_FALSE(play.effects.alert);
  fail(3);
  CHECK(told == "--3456--3");
  play.ToTimer();
  play.AnswerRow("d1", kLater);  // it lives
  fail(3);
  CHECK(told == "--3456--3--3");
  CHECK_FALSE(play.effects.calls.size() > 0);
}

TEST_CASE("alert: a limit of one tells every error") {
  Play play("tcc 1");
  play.context.alert_after = 1;
  play.Happen(EventKind::kPrepared);
  play.Happen(EventKind::kSubmitted);
  play.AnswerRow("a1", kNo);
  REQUIRE(play.effects.alert);
  CHECK(*play.effects.alert == RowOf(TransType::kTcc, "a1"));
}
