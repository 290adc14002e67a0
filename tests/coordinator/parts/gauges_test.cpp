/// How it stands with a coordinator: in flight, waiting, stuck, the oldest, the commits, the queues.
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/sql_kit.hpp>
#include <tests/coordinator/world.hpp>

using dtm::Backlog;
using dtm::Gauges;
using dtm::Result;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using world::NewDefinition;
using world::Times;
using world::World;

TEST_CASE("gauges: what is unfinished, waits, is stuck, and how old it is") {
  const auto inner = std::make_shared<dtm::MemoryStore>();
  TestCoordinator kit({}, dtm_test::Quiet(), inner);
  const auto backlog = [&] { return kit->Measure().backlog.value(); };
  CHECK(backlog().unfinished == 0);
  CHECK(backlog().oldest == dtm::kNever);
  CHECK(kit->Measure().oldest_age == dtm::Duration(0));

  kit.Branches().On("http://out/01/action", Times(2, Result::Success(), hours(1)));
  dtm::Definition out = NewDefinition("out", 1);
  out.options.request_timeout = hours(2);
  kit->Submit(out);
  kit.Advance(minutes(1));
  kit.Branches().On("http://waits/01/action", Times(99, Result::Ongoing("busy")));
  kit->Submit(NewDefinition("waits", 1));
  kit->Prepare(NewDefinition("prepared", 1));
  kit->Submit(NewDefinition("done", 1));
  kit.Settle();
  CHECK(backlog().unfinished == 3);
  CHECK(backlog().waiting == 2);
  CHECK(backlog().stuck == 0);
  CHECK(kit->Measure().oldest_age >= minutes(1));
  CHECK(kit->Measure().oldest_age < minutes(2));
  CHECK(kit->Measure().in_memory == 2);  // what is prepared waits in the store

  auto stored = kit->Query("waits").value();  // somebody else takes its rows away
  stored.branches.pop_back();
  stored.due = kit.Clock().Now();
  inner->Begin();
  std::vector<dtm::Change> changes{{&stored, true, false, false}};
  inner->Apply(changes);
  inner->Commit();
  kit.Crash();
  kit.Settle();
  CHECK(kit->Query("waits")->stuck);
  CHECK(backlog().unfinished == 3);
  CHECK(backlog().stuck == 1);
  CHECK(backlog().waiting == 1);
  kit->ForceStop("waits");
  kit->ForceStop("prepared");
  CHECK(backlog().unfinished == 1);
  CHECK(backlog().stuck == 0);
}

TEST_CASE("gauges: a failing store, and commits") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit->Submit(NewDefinition("a", 1));
  const auto commits = [&] {
    std::size_t count = 0;
    for (const auto n : kit->Counted().commits.counts) count += n;
    return count;
  };
  const std::size_t before = commits();
  CHECK(before > 0);
  CHECK_FALSE(kit->Measure().store_fails);
  kit.Store().FailAlways(StoreFault::kDefinite);
  CHECK_THROWS_AS(kit->Submit(NewDefinition("b", 1)), dtm::StoreError);
  CHECK(kit->Measure().store_fails);
  CHECK(commits() == before);  // what failed took no commit
  kit.Store().FailAlways(StoreFault::kNone);
  kit.Advance(seconds(2));
  kit->Submit(NewDefinition("b", 1));
  CHECK_FALSE(kit->Measure().store_fails);
  CHECK(commits() > before);
}

TEST_CASE("gauges: functions that wait for their turn") {
  TestCoordinator kit({}, dtm_test::Quiet());
  Gauges inside;
  kit->Register<nlohmann::json>("F", [&](const nlohmann::json&) { inside = kit->Measure(); });
  for (int i = 0; i < 3; ++i) {
    dtm::Definition saga;
    saga.gid = "g" + std::to_string(i);
    saga.steps = {{"local:F", "", "{}"}};
    kit->SubmitAsync(saga, {});
  }
  CHECK(kit->Measure().functions.waiting == 0);
  (void)kit->Poll();  // all three begin, one after the other
  CHECK(inside.functions.in_flight == 1);
  CHECK(inside.functions.waiting == 0);
  kit.Settle();
  CHECK(kit->Measure().functions.in_flight == 0);
}
