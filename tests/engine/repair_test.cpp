/// Why a row cannot be repaired, and what people read of one that was. What follows from a repair is in the tables of the
/// machines.
#include <chrono>
#include <string>

#include "tests/catch.hpp"
#include "tests/engine/machine_kit.hpp"
#include <dtm/engine/repair.hpp>

using dtm::Op;
using machine_kit::kAborting;
using machine_kit::kSubmitted;
using saga_kit::kStart;
using saga_kit::seconds;

namespace {

dtm::Transaction Saga(const std::string& text, dtm::Status status, const std::string& rows) {
  dtm::Transaction transaction = saga_kit::NewTransaction(saga_kit::Saga(text));
  transaction.status = status;
  transaction.branches = saga_kit::Rows(rows, kStart);
  return transaction;
}

}  // namespace

TEST_CASE(
    "repair: a saga that goes forward may come to each row, one that goes back to what has run") {
  const auto forward = Saga("2", kSubmitted, "P e1 P P");
  for (std::size_t row = 0; row < 4; ++row) CHECK(dtm::engine::MayBeCalled(forward, row));
  const auto back = Saga("3", kAborting, "P S e1 F P P");
  for (const std::size_t row : {0U, 2U}) CHECK(dtm::engine::MayBeCalled(back, row));
  for (const std::size_t row : {1U, 3U, 4U, 5U}) CHECK_FALSE(dtm::engine::MayBeCalled(back, row));
}

TEST_CASE("repair: the wait for a call of a previous run is told, and ends with it") {
  const auto saga = Saga("1", kSubmitted, "P e1~4");
  CHECK(
      dtm::engine::RepairProblem(saga, 1, kStart) ==
      "a call of branch 01 action http://bank/a1 may still be running, for at most 4.0 s; skip it "
      "then");
  CHECK(dtm::engine::RepairProblem(saga, 1, kStart + seconds(4)).empty());
}

TEST_CASE("repair: what people read of it") {
  const dtm::Definition saga = saga_kit::Saga("1");
  using dtm::engine::DescribeRepair;
  CHECK(DescribeRepair(saga, 0, "ann", "paid back") ==
        "branch 01 compensate was skipped by ann: paid back");
  CHECK(DescribeRepair(saga, 1, "", "not needed") == "branch 01 action was skipped: not needed");
}

TEST_CASE("repair: the last error stays in front of it, as far as there is room") {
  using dtm::engine::LastErrorWith;
  CHECK(LastErrorWith("", "it was skipped") == "it was skipped");
  CHECK(LastErrorWith("it failed", "it was skipped") == "it failed; it was skipped");
  const std::string longest(dtm::kMaxReasonBytes, 'x');
  const std::string text = LastErrorWith(longest, "it was skipped");
  CHECK(text.size() == dtm::kMaxReasonBytes);
  CHECK(text.substr(text.size() - 17) == "x; it was skipped");
  CHECK(LastErrorWith("it failed", longest + "y") == longest);
}
