/// The arithmetic of time: protocol §3 (schedule numbers), G11.
#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include "tests/engine/saga_kit.hpp"
#include <dtm/engine/schedule.hpp>

using dtm::Duration;
using dtm::TransOptions;
using dtm::engine::Context;
using dtm::engine::RetryInterval;
using dtm::engine::RetryWait;
using saga_kit::seconds;

namespace {

dtm::Transaction After(std::uint32_t errors, const std::string& gid = "g") {
  dtm::Definition saga = saga_kit::Saga("3");
  saga.gid = gid;
  dtm::Transaction t = saga_kit::NewTransaction(std::move(saga));
  t.branches.resize(6);
  for (dtm::Branch& row : t.branches) row.errors = errors;
  return t;
}

}  // namespace

TEST_CASE("schedule: the base interval") {
  Context context;
  context.retry_interval = seconds(10);
  TransOptions options;
  CHECK(RetryInterval(options, context) == seconds(10));
  options.timeout_to_fail = seconds(9);
  CHECK(RetryInterval(options, context) == seconds(9));
  options.timeout_to_fail = seconds(10);
  CHECK(RetryInterval(options, context) == seconds(10));
  options.timeout_to_fail = seconds(1800);
  CHECK(RetryInterval(options, context) == seconds(10));
  options.retry_interval = seconds(20);
  CHECK(RetryInterval(options, context) == seconds(20));
  options.timeout_to_fail = seconds(2);
  CHECK(RetryInterval(options, context) == seconds(20));
}

TEST_CASE("schedule: the deadline of a call") {
  Context context;
  context.now = saga_kit::kStart;
  context.request_timeout = seconds(3);
  TransOptions options;
  CHECK(RequestTimeout(options, context) == seconds(3));
  CHECK(CallDeadline("http://a", options, context) == saga_kit::kStart + seconds(6));
  CHECK(CallDeadline("local:f", options, context) == dtm::Time{});  // it ends with its process
  options.request_timeout = seconds(30);
  CHECK(RequestTimeout(options, context) == seconds(30));
  CHECK(CallDeadline("http://a", options, context) == saga_kit::kStart + seconds(60));
  context.function_limit = seconds(30);  // in a shared store
  CHECK(CallDeadline("local:f", options, context) == saga_kit::kStart + seconds(30));
}

TEST_CASE("schedule: waits double from one interval to an hour, and are never early") {
  for (std::uint32_t errors = 1; errors <= 20; ++errors) {
    CAPTURE(errors);
    const Duration expected = errors < 10 ? (std::min)(Duration(seconds(10 * (1 << (errors - 1)))),
                                                       Duration(std::chrono::hours(1)))
                                          : Duration(std::chrono::hours(1));
    const Duration wait = RetryWait(After(errors), 1, seconds(10));
    CHECK(wait >= expected);
    CHECK(wait <= expected + expected / 5);
  }
  // Before any error it is the first wait.
  CHECK(RetryWait(After(0), 1, seconds(10)) == RetryWait(After(1), 1, seconds(10)));
}

TEST_CASE("schedule: an interval above the cap is kept; many errors overflow nothing") {
  const Duration day = std::chrono::hours(24);
  for (const std::uint32_t errors : {1u, 2u, 64u, 1000u, 0xFFFFFFFFu}) {
    const Duration wait = RetryWait(After(errors), 1, day);
    CHECK(wait >= day);
    CHECK(wait <= day + day / 5);
    const Duration short_one = RetryWait(After(errors), 1, seconds(1));
    CHECK(short_one >= seconds(1));
    CHECK(short_one <= std::chrono::minutes(72));
  }
}

TEST_CASE("schedule: the spread is the same for the same record, and differs between others") {
  CHECK(RetryWait(After(3, "a"), 1, seconds(10)) == RetryWait(After(3, "a"), 1, seconds(10)));
  std::set<Duration> by_gid, by_branch, by_errors;
  for (int i = 0; i < 100; ++i) {
    by_gid.insert(RetryWait(After(1, "gid" + std::to_string(i)), 1, seconds(10)));
  }
  for (std::size_t row = 0; row < 6; ++row) by_branch.insert(RetryWait(After(1), row, seconds(10)));
  for (std::uint32_t errors = 12; errors < 18; ++errors) {  // all at the cap
    by_errors.insert(RetryWait(After(errors), 1, seconds(10)));
  }
  CHECK(by_gid.size() > 80);
  CHECK(by_branch.size() > 4);
  CHECK(by_errors.size() > 4);
}

TEST_CASE("schedule: the interval now is that of the branch that waits longest") {
  dtm::engine::Context context;
  dtm::Transaction transaction = After(0);
  const auto now = [&] { return dtm::engine::IntervalNow(transaction, context); };
  CHECK(now() == seconds(10));
  transaction.branches[1].errors = 1;
  CHECK(now() == seconds(10));
  transaction.branches[1].errors = 3;
  CHECK(now() == seconds(40));
  transaction.branches[0].errors = 9;  // what undoes it has not its turn
  CHECK(now() == seconds(40));
  transaction.status = dtm::Status::kAborting;
  CHECK(now() == seconds(2560));
  transaction.branches[0].errors = 99;
  CHECK(now() == std::chrono::hours(1));
  transaction.branches[0].status = dtm::BranchStatus::kSucceed;
  CHECK(now() == seconds(10));
}
