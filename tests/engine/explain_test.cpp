/// What people are told about a transaction: its status, what it waits for, the last error, the
/// attempts and the next try.
#include <chrono>
#include <string>

#include "tests/catch.hpp"
#include "tests/engine/machine_kit.hpp"
#include "tests/engine/saga_kit.hpp"
#include <dtm/engine/explain.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Status;
using dtm::Transaction;
using dtm::engine::Explain;
using saga_kit::kStart;
using saga_kit::seconds;

namespace {

const dtm::Time kNow = kStart + seconds(100);

Transaction Standing(const std::string& saga, Status status, const std::string& rows) {
  Transaction t = saga_kit::NewTransaction(saga_kit::Saga(saga));
  t.status = status;
  t.created = kStart;
  t.branches = saga_kit::Rows(rows, kNow);
  return t;
}

}  // namespace

TEST_CASE("explain: durations in words") {
  CHECK(dtm::engine::InWords(seconds(-5)) == "now");
  CHECK(dtm::engine::InWords(seconds(0)) == "now");
  CHECK(dtm::engine::InWords(std::chrono::milliseconds(2500)) == "in 2.5 s");
  CHECK(dtm::engine::InWords(std::chrono::hours(1)) == "in 3600.0 s");
}

TEST_CASE("explain: one that has ended") {
  CHECK(Explain(Standing("2", Status::kSucceed, "P S P S"), kNow) ==
        "saga gid-of-the-test is succeed");
  Transaction failed = Standing("2 timeout=200", Status::kFailed, "S F P P");
  failed.reason = "no money";
  failed.last_error = "no money";
  CHECK(Explain(failed, kNow) == "saga gid-of-the-test is failed because: no money");
}

TEST_CASE("explain: a call that is out") {
  const std::string text = Explain(Standing("2", Status::kSubmitted, "P S P >"), kNow);
  CHECK(text ==
        "saga gid-of-the-test is submitted\n"
        "branch 02 action http://bank/a2: called, its answer is awaited (1 try)");
}

TEST_CASE("explain: a wait names the branch, the attempts, the errors and the next try") {
  Transaction t = Standing("2 timeout=130", Status::kSubmitted, "P e3 P P");
  t.last_error = "branch 01 action http://bank/a1 gave no definite answer: connection lost";
  const std::string text = Explain(t, kNow);
  CHECK_THAT(text, ContainsSubstring("branch 01 action http://bank/a1: next try in 40.0 s "
                                     "(3 tries, 3 errors in a row)"));
  CHECK_THAT(Explain(Standing("2", Status::kSubmitted, "P e1 P P"), kNow),
             ContainsSubstring("(1 try, 1 error in a row)"));
  CHECK_THAT(text, ContainsSubstring("last error: branch 01 action") &&
                       ContainsSubstring("connection lost"));
  CHECK_THAT(text, ContainsSubstring("rolled back if not done in 30.0 s"));
  CHECK_THAT(text, !ContainsSubstring("branch 02"));
  CHECK_THAT(Explain(t, kNow + seconds(50)), ContainsSubstring("next try now"));
}

TEST_CASE("explain: a function that is not registered") {
  Transaction t = Standing("1 local", Status::kSubmitted, "P n10");
  t.last_error = "branch 01 action local:a1 was not called: waiting for handler \"a1\"";
  const std::string text = Explain(t, kNow);
  CHECK_THAT(text, ContainsSubstring("waiting for handler \"a1\""));
  CHECK_THAT(text, ContainsSubstring("branch 01 action local:a1: next try in 10.0 s (0 tries)"));
}

TEST_CASE("explain: rolling back shows compensations, and actions that may still be running") {
  Transaction t = Standing("3 concurrent timeout=60", Status::kAborting, "w5 S P r~4 > w7");
  t.reason = "no money";
  const std::string text = Explain(t, kNow);
  CHECK_THAT(text, ContainsSubstring("is aborting because: no money"));
  CHECK_THAT(text, ContainsSubstring("branch 01 compensate http://bank/c1: next try in 5.0 s"));
  CHECK_THAT(text, ContainsSubstring("branch 02 action http://bank/a2: called; it may still be "
                                     "running, for at most 4.0 s"));
  CHECK_THAT(text, ContainsSubstring("branch 03 compensate http://bank/c3: called, its answer"));
  CHECK_THAT(text, !ContainsSubstring("branch 03 action"));    // waits for nothing any more
  CHECK_THAT(text, !ContainsSubstring("rolled back if not"));  // it is being rolled back
}

TEST_CASE("explain: stuck and unreadable say what to do") {
  Transaction stuck = Standing("2", Status::kSubmitted, "P P P");
  stuck.stuck = true;
  stuck.last_error = "the record has 3 branch rows for 2 steps";
  CHECK_THAT(Explain(stuck, kNow), ContainsSubstring("submitted") &&
                                       ContainsSubstring("stuck: the record has 3 branch rows") &&
                                       ContainsSubstring("RetryNow") &&
                                       ContainsSubstring("ForceStop"));
  Transaction damaged = saga_kit::NewTransaction(saga_kit::Saga("0"));
  damaged.unreadable = true;
  damaged.stuck = true;
  damaged.last_error = "the stored record ends early";
  CHECK_THAT(Explain(damaged, kNow), ContainsSubstring("the stored record ends early") &&
                                         ContainsSubstring("restore the store"));
}

namespace {

Transaction StandingOther(const std::string& text, Status status, const std::string& rows) {
  Transaction t = saga_kit::NewTransaction(machine_kit::Make(text));
  t.status = status;
  t.created = kStart;
  t.due = kNow + seconds(5);
  t.branches = saga_kit::Rows(rows, kNow);
  return t;
}

}  // namespace

TEST_CASE("explain: a prepared one waits for its submit, and then, by its type") {
  for (const auto& [type, then] : {std::pair("msg", "then its initiator is asked"),
                                   {"tcc", "then it is rolled back"},
                                   {"xa", "then it is rolled back"},
                                   {"workflow", "then it is resumed"}}) {
    CAPTURE(type);
    const std::string text = std::string(type) + " 0";
    const bool query = dtm::HasQueryRow(machine_kit::Make(text).type);
    Transaction t = StandingOther(text, Status::kPrepared, query ? "P" : "");
    CHECK(Explain(t, kNow) ==
          std::string(type) + " gid-of-the-test is prepared\nit waits for its submit; " + then);
    t.due = dtm::kNever;  // nothing follows by itself
    CHECK(Explain(t, kNow) ==
          std::string(type) + " gid-of-the-test is prepared\nit waits for its submit");
  }
}

TEST_CASE("explain: a message that is asked about, then delivered") {
  const std::string asked = Explain(StandingOther("msg 2", Status::kPrepared, "> P P"), kNow);
  CHECK_THAT(asked, ContainsSubstring(
                        "branch 00 msg http://bank/q: called, its answer is awaited (1 try)"));
  CHECK_THAT(asked, !ContainsSubstring("branch 01"));
  const std::string waits = Explain(StandingOther("msg 2", Status::kPrepared, "e2 P P"), kNow);
  CHECK_THAT(waits,
             ContainsSubstring(
                 "branch 00 msg http://bank/q: next try in 20.0 s (2 tries, 2 errors in a row)"));
  // Once it is submitted, the question is over, whatever its row says.
  const std::string delivered =
      Explain(StandingOther("msg 2", Status::kSubmitted, "e2 w5 P"), kNow);
  CHECK_THAT(delivered,
             ContainsSubstring("branch 01 action http://bank/d1: next try in 5.0 s (1 try)"));
  CHECK_THAT(delivered, !ContainsSubstring("branch 00") && !ContainsSubstring("branch 02") &&
                            !ContainsSubstring("it waits for its submit"));
}

TEST_CASE("explain: tcc and xa in their own words") {
  CHECK_THAT(Explain(StandingOther("tcc 1", Status::kSubmitted, "P e1"), kNow),
             ContainsSubstring("branch 01 confirm http://bank/a1: next try in 10.0 s"));
  CHECK_THAT(Explain(StandingOther("tcc 1", Status::kAborting, "e1 P"), kNow),
             ContainsSubstring("branch 01 cancel http://bank/c1: next try in 10.0 s"));
  CHECK_THAT(Explain(StandingOther("xa 1", Status::kSubmitted, "P >"), kNow),
             ContainsSubstring("branch 01 commit http://bank/a1: called"));
  CHECK_THAT(Explain(StandingOther("xa 1", Status::kAborting, "> P"), kNow),
             ContainsSubstring("branch 01 rollback http://bank/c1: called"));
  // Only a saga is rolled back by its timeout once it is submitted.
  CHECK_THAT(Explain(StandingOther("tcc 1 timeout=500", Status::kSubmitted, "P e1"), kNow),
             !ContainsSubstring("rolled back if"));
}

TEST_CASE("explain: a workflow that is resumed; recorded steps wait for nothing") {
  const std::string text =
      Explain(StandingOther("workflow 2 failed=2", Status::kPrepared, "w5 S F"), kNow);
  CHECK_THAT(text, ContainsSubstring("branch 00 resume http://bank/q: next try in 5.0 s (1 try)"));
  CHECK_THAT(text, !ContainsSubstring("branch 01") && !ContainsSubstring("branch 02"));
}
