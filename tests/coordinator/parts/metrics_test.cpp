/// The counts: bounds, series, and that only what is durable is counted, and once.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/world.hpp>

using dtm::Duration;
using dtm::Histogram;
using dtm::Metrics;
using dtm::Op;
using dtm::Result;
using dtm::Status;
using dtm::TransType;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using world::NewDefinition;
using world::Times;
using world::World;

namespace {

/// "saga succeed 2, saga failed 1"
std::string Ends(const Metrics::Snapshot& counted) {
  std::string text;
  for (const auto& entry : counted.ended) {
    text += (text.empty() ? "" : ", ") + std::string(Name(entry.first.first)) + " " +
            Name(entry.first.second) + " " + std::to_string(entry.second);
  }
  return text;
}

/// "saga 01 action ok 2, saga 01 action fail 1"
std::string Branches(const Metrics::Snapshot& counted) {
  std::string text;
  for (const auto& entry : counted.branches) {
    const Metrics::Branch& branch = entry.first;
    text += (text.empty() ? "" : ", ") + std::string(Name(branch.type)) + " " + branch.branch_id +
            " " + Name(branch.op) + (branch.ok ? " ok " : " fail ") + std::to_string(entry.second);
  }
  return text;
}

std::uint64_t Sum(const Histogram& histogram) {
  return std::accumulate(histogram.counts.begin(), histogram.counts.end(), std::uint64_t{0});
}

dtm::Transaction Ended(TransType type, Status status, Duration took) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->type = type;
  dtm::Transaction transaction;
  transaction.definition = definition;
  transaction.status = status;
  transaction.created = dtm::Time(hours(500000));
  transaction.finished = transaction.created + took;
  return transaction;
}

dtm::Definition OfType(TransType type) {
  dtm::Definition definition;
  definition.type = type;
  return definition;
}

}  // namespace

TEST_CASE("metrics: a time counts up to its bound, and beyond all bounds in the last place") {
  std::vector<microseconds> bounds;
  for (const double bound : Histogram::kBounds) bounds.emplace_back(std::llround(bound * 1e6));
  CHECK(bounds == std::vector<microseconds>{milliseconds(5), milliseconds(10), milliseconds(25),
                                            milliseconds(50), milliseconds(100), milliseconds(250),
                                            milliseconds(500), seconds(1), milliseconds(2500),
                                            seconds(5), seconds(10)});
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    CAPTURE(i);
    const auto place = [](microseconds time) {
      Histogram histogram;
      histogram.Add(time);
      CHECK(Sum(histogram) == 1);
      return static_cast<std::size_t>(
          std::find(histogram.counts.begin(), histogram.counts.end(), 1u) -
          histogram.counts.begin());
    };
    CHECK(place(bounds[i] - microseconds(1)) == i);
    CHECK(place(bounds[i]) == i);
    CHECK(place(bounds[i] + microseconds(1)) == i + 1);
  }
  Histogram histogram;
  CHECK(histogram.counts.size() == bounds.size() + 1);
  CHECK(Sum(histogram) == 0);
  for (const Duration time : {Duration(0), Duration(milliseconds(1500)), Duration(hours(24))}) {
    histogram.Add(time);
  }
  CHECK(histogram.counts.front() == 1);
  CHECK(histogram.counts[8] == 1);
  CHECK(histogram.counts.back() == 1);
  CHECK(histogram.sum == 86401.5);
}

TEST_CASE("metrics: ends are counted by type and status, times by type") {
  Metrics metrics;
  CHECK(Ends(metrics.Get()).empty());
  CHECK(metrics.Get().durations.empty());
  metrics.Ended(Ended(TransType::kSaga, Status::kSucceed, milliseconds(3)));
  metrics.Ended(Ended(TransType::kSaga, Status::kSucceed, milliseconds(7)));
  metrics.Ended(Ended(TransType::kSaga, Status::kFailed, seconds(20)));
  metrics.Ended(Ended(TransType::kWorkflow, Status::kFailed, seconds(3)));
  const Metrics::Snapshot counted = metrics.Get();
  CHECK(Ends(counted) == "saga succeed 2, saga failed 1, workflow failed 1");
  REQUIRE(counted.durations.size() == 2);
  const Histogram& saga = counted.durations.at(TransType::kSaga);
  CHECK(saga.counts == std::array<std::uint64_t, 12>{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  CHECK(saga.sum == 0.003 + 0.007 + 20);
  CHECK(Sum(counted.durations.at(TransType::kWorkflow)) == 1);
  CHECK(counted.branches.empty());
}

TEST_CASE("metrics: answers are counted by type, branch, operation and success") {
  Metrics metrics;
  const dtm::Definition saga = OfType(TransType::kSaga), msg = OfType(TransType::kMsg);
  metrics.GotResult(saga, dtm::ActionOf(0), Result::Success());
  metrics.GotResult(saga, dtm::ActionOf(0), Result::Success());
  metrics.GotResult(saga, dtm::ActionOf(0), Result::Failure("no"));
  metrics.GotResult(saga, dtm::ActionOf(0), Result::Ongoing());
  metrics.GotResult(saga, dtm::ActionOf(0), Result::Error("lost"));
  metrics.GotResult(saga, dtm::CompensateOf(0), Result::Success());
  metrics.GotResult(saga, dtm::CompensateOf(11), Result::Error("lost"));
  metrics.GotResult(msg, dtm::DeliveryOf(1), Result::Success());
  metrics.GotResult(msg, dtm::kQueryRow, Result::Ongoing());
  CHECK(Branches(metrics.Get()) ==
        "saga 01 action fail 3, saga 01 action ok 2, saga 01 compensate ok 1, "
        "saga 12 compensate fail 1, msg 00 msg fail 1, msg 02 action ok 1");
  CHECK(metrics.Get().ended.empty());
}

TEST_CASE("metrics: there are series for steps 01 to 99, however many steps come") {
  Metrics metrics;
  for (const TransType type : {TransType::kSaga, TransType::kTcc, TransType::kXa}) {
    const dtm::Definition definition = OfType(type);
    for (std::size_t step = 2000; step-- > 0;) {  // the last ones first
      for (const std::size_t branch : {dtm::ActionOf(step), dtm::CompensateOf(step)}) {
        metrics.GotResult(definition, branch, Result::Success());
        metrics.GotResult(definition, branch, Result::Error("lost"));
      }
    }
  }
  const Metrics::Snapshot counted = metrics.Get();
  CHECK(counted.branches.size() == 3 * 99 * 4);
  CHECK(std::all_of(counted.branches.begin(), counted.branches.end(),
                    [](const auto& entry) { return entry.second == 1; }));
  CHECK(counted.branches.count({TransType::kXa, "99", Op::kRollback, false}) == 1);
  CHECK(counted.branches.count({TransType::kXa, "100", Op::kCommit, true}) == 0);
}

TEST_CASE("metrics: threads may count and look at the same time") {
  Metrics metrics;
  const dtm::Definition saga = OfType(TransType::kSaga);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (std::size_t n = 0; n < 2000; ++n) {
        metrics.GotResult(saga, n % 200, Result::Success());
        metrics.Ended(Ended(TransType::kSaga, Status::kSucceed, Duration(1)));
        if (n % 100 == 0) (void)metrics.Get();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(Ends(metrics.Get()) == "saga succeed 6000");
  std::uint64_t answers = 0;
  for (const auto& entry : metrics.Get().branches) answers += entry.second;
  CHECK(answers == 6000 / 200 * 198);
}

TEST_CASE("metrics: a coordinator counts what its branches answered and how all ended") {
  TestCoordinator kit({}, dtm_test::Quiet());
  CHECK(Ends(kit->Counted()).empty());
  kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(2), false}});
  kit.Branches().On("http://a/02/action", Times(2, Result::Error("busy")));
  kit.Branches().On("http://b/02/action", Result::Failure("no"));
  CHECK(kit->SubmitAndWait(NewDefinition("a", 2), hours(1)).Succeeded());
  CHECK(kit->SubmitAndWait(NewDefinition("b", 2), hours(1)).Failed());
  CHECK(kit->SubmitAndWait(NewDefinition("empty", 0), hours(1)).Succeeded());
  const Metrics::Snapshot counted = kit->Counted();
  CHECK(Ends(counted) == "saga succeed 2, saga failed 1");
  CHECK(Branches(counted) ==
        "saga 01 action ok 2, saga 01 compensate ok 1, saga 02 action fail 3, "
        "saga 02 action ok 1, saga 02 compensate ok 1");
  const Histogram& times = counted.durations.at(TransType::kSaga);
  CHECK(Sum(times) == 3);
  CHECK(times.counts.front() == 2);
  CHECK(times.counts.back() == 1);  // 2 s, and waits of at least 10 s and 20 s
  CHECK(times.sum >= 32);

  // What has ended is not counted again, whatever is asked about it.
  CHECK(kit->Submit(NewDefinition("a", 2)).Succeeded());
  CHECK(kit->Wait("b", hours(1)).Failed());
  CHECK_THROWS_AS(kit->Cancel("a"), dtm::RejectedError);
  CHECK_THROWS_AS(kit->Prepare(NewDefinition("a", 2)), dtm::RejectedError);
  kit.Advance(hours(48));  // retention removes them
  CHECK(Ends(kit->Counted()) == Ends(counted));
  CHECK(Branches(kit->Counted()) == Branches(counted));

  kit.Crash();  // "since it was opened"
  kit.Advance(hours(1));
  CHECK(Ends(kit->Counted()).empty());
  CHECK(Branches(kit->Counted()).empty());
}

TEST_CASE("metrics: functions, prepared ones, cancelled and stopped ones are counted too") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit->Register<int>(
      "F", [](const int& n) { return n > 1 ? Result::Failure("no") : Result::Success(); });
  dtm::Definition definition;
  definition.gid = "f";
  definition.steps = {{"local:F", "local:F", "1"}, {"local:F", "", "2"}};
  CHECK(kit->SubmitAndWait(definition, hours(1)).Failed());
  CHECK(Branches(kit->Counted()) ==
        "saga 01 action ok 1, saga 01 compensate ok 1, saga 02 action fail 1");

  CHECK(kit->Prepare(NewDefinition("p", 1)).status == Status::kPrepared);
  kit.Advance(seconds(7));
  CHECK(Ends(kit->Counted()) == "saga failed 1");
  kit->Cancel("p");
  CHECK(Ends(kit->Counted()) == "saga failed 2");
  kit->Prepare(NewDefinition("q", 1));
  kit->ForceStop("q");
  kit->Prepare(NewDefinition("r", 1));
  CHECK(kit->SubmitAndWait(NewDefinition("r", 1), hours(1)).Succeeded());
  CHECK(Ends(kit->Counted()) == "saga succeed 1, saga failed 3");
  const Histogram times = kit->Counted().durations.at(TransType::kSaga);
  CHECK(times.counts[10] == 1);  // p, from its creation on: 7 s
  CHECK(times.sum == 7);
}

TEST_CASE("metrics: a late answer of what was stopped is not counted") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(1), false}});
  kit->Submit(NewDefinition("a", 1));
  kit->ForceStop("a");
  kit.Advance(minutes(1));
  CHECK(Ends(kit->Counted()) == "saga failed 1");
  CHECK(Branches(kit->Counted()).empty());
}

namespace {

/// One step whose action answers after 10 ms; the next commit holds the answer and the end.
void BeginOne(TestCoordinator& kit) {
  kit.Settle();
  kit.Branches().On("http://a/01/action", {{Result::Success(), milliseconds(10), false}});
  kit->Submit(NewDefinition("a", 1));
  kit.Settle();
  REQUIRE(Branches(kit->Counted()).empty());
}

}  // namespace

TEST_CASE("metrics: while the store fails nothing is counted; once it works, everything once") {
  const auto fault = GENERATE(StoreFault::kDefinite, StoreFault::kInDoubtNotStored);
  CAPTURE(static_cast<int>(fault));
  TestCoordinator kit({}, dtm_test::Quiet());
  BeginOne(kit);
  kit.Store().FailAlways(fault);
  CHECK_THROWS_AS(kit->Submit(NewDefinition("b", 0)), dtm::Error);
  kit.Advance(seconds(30));
  CHECK(kit.Branches().Calls().size() == 1);
  CHECK(Ends(kit->Counted()).empty());
  CHECK(Branches(kit->Counted()).empty());
  kit.Store().FailAlways(StoreFault::kNone);
  kit.Advance(seconds(30));
  CHECK(kit->Query("a")->status == Status::kSucceed);
  CHECK(Ends(kit->Counted()) == "saga succeed 1");
  CHECK(Branches(kit->Counted()) == "saga 01 action ok 1");
  CHECK(!kit->Query("b"));
}

TEST_CASE("metrics: what a commit in doubt did store is counted, once that is known") {
  TestCoordinator kit({}, dtm_test::Quiet());
  BeginOne(kit);
  kit.Store().FailOnce(3, StoreFault::kInDoubtButStored);  // Begin, Apply, Commit of the answer
  kit.Advance(milliseconds(10));
  CHECK(Ends(kit->Counted()).empty());
  CHECK(Branches(kit->Counted()).empty());
  kit.Advance(seconds(30));
  CHECK(kit->Query("a")->status == Status::kSucceed);
  CHECK(kit.Branches().Calls().size() == 1);
  CHECK(Ends(kit->Counted()) == "saga succeed 1");
  CHECK(Branches(kit->Counted()) == "saga 01 action ok 1");
}

TEST_CASE("metrics: a lost compare-and-set counts the answer once, when it is stored at last") {
  auto inner = std::make_shared<dtm::MemoryStore>();
  TestCoordinator kit({}, dtm_test::Quiet(), inner);
  BeginOne(kit);
  auto stored = *inner->Load("a");  // somebody else writes the record
  std::vector<dtm::Change> changes{{&stored, true, false, false}};
  inner->Begin();
  inner->Apply(changes);
  inner->Commit();
  kit.Clock().MoveTowards(kit.Clock().Now() + milliseconds(10));
  kit->Poll();
  CHECK(Branches(kit->Counted()).empty());
  kit.Advance(seconds(30));
  CHECK(kit->Query("a")->status == Status::kSucceed);
  CHECK(Ends(kit->Counted()) == "saga succeed 1");
  CHECK(Branches(kit->Counted()) == "saga 01 action ok 1");
}
