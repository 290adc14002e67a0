/// Retention: small steps, at the right time, and never what is unfinished.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <tests/coordinator/world.hpp>

using dtm::Result;
using dtm::Retention;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using world::NewDefinition;
using world::World;

namespace {

/// Counts the steps, and how many rows each may look at.
class Counting : public dtm::MemoryStore {
 public:
  std::int64_t Expire(dtm::Time before, std::int64_t after, std::size_t limit) override {
    ++steps;
    most = (std::max)(most, limit);
    return MemoryStore::Expire(before, after, limit);
  }
  int steps = 0;
  std::size_t most = 0;
};

std::size_t Stored(TestCoordinator& kit) {
  std::size_t stored = 0;
  std::int64_t position = 0;
  do {
    const auto page = kit->List({}, position, 1000);
    stored += page.transactions.size();
    position = page.next;
  } while (position != 0);
  return stored;
}

}  // namespace

TEST_CASE("retention: finished ones go after their time in small steps, unfinished ones stay") {
  auto inner = std::make_shared<Counting>();
  dtm::Options options;
  options.keep_finished = hours(24);
  TestCoordinator kit({}, World::Quiet(options), inner);
  kit.Branches().On("http://waits/01/action", std::vector<dtm::testing::ScriptedAnswer>(
                                                  100000, {Result::Ongoing(), {}, false}));
  auto waits = NewDefinition("waits", 1);
  waits.options.retry_interval = hours(20);
  kit->Submit(waits);
  for (int i = 0; i < 1000; ++i) kit->SubmitAsync(NewDefinition(std::to_string(i), 1), {});
  kit.Settle();
  kit->SubmitAsync(NewDefinition("last", 1), {});
  CHECK(Stored(kit) == 1001);
  kit.Advance(hours(23));
  CHECK(Stored(kit) == 1002);
  kit.Advance(hours(2));
  CHECK(Stored(kit) == 1);
  CHECK(kit->Query("waits"));
  kit.Advance(hours(24 * 30));
  REQUIRE(kit->Query("waits"));
  CHECK(kit->Query("waits")->status == dtm::Status::kSubmitted);
  CHECK(inner->most <= 256);
  // A forgotten gid may be given again.
  CHECK(kit->SubmitAndWait(NewDefinition("1", 2), hours(1)).Succeeded());
}

TEST_CASE("retention: what finished late is kept from then on") {
  dtm::Options options;
  options.keep_finished = hours(10);
  TestCoordinator kit({}, World::Quiet(options));
  kit.Branches().On("http://a/01/action", {{Result::Ongoing(), {}, false}});
  auto definition = NewDefinition("a", 1);
  definition.options.retry_interval = hours(20);
  kit->Submit(definition);
  kit.Advance(hours(21));
  REQUIRE(kit->Query("a"));
  REQUIRE(kit->Query("a")->status == dtm::Status::kSucceed);
  kit.Advance(hours(8));
  CHECK(kit->Query("a"));
  kit.Advance(hours(3));
  CHECK(!kit->Query("a"));
}

TEST_CASE("retention: an idle coordinator is not kept busy by it") {
  auto inner = std::make_shared<Counting>();
  TestCoordinator kit({}, World::Quiet({}), inner);
  kit.Advance(hours(24));
  CHECK(inner->steps >= 24);
  CHECK(inner->steps <= 24 * 6 + 1);
}

TEST_CASE("retention: a failed step is repeated") {
  dtm::Options options;
  options.keep_finished = hours(1);
  TestCoordinator kit({}, World::Quiet(options));
  REQUIRE(kit->SubmitAndWait(NewDefinition("a", 1), hours(1)).Succeeded());
  kit.Store().FailOnce(1, StoreFault::kDefinite);
  kit.Advance(hours(1) - seconds(10));
  CHECK(kit->Query("a"));
  kit.Store().FailAlways(StoreFault::kDefinite);
  kit.Advance(minutes(5));
  CHECK(kit->Query("a"));
  kit.Store().FailAlways(StoreFault::kNone);
  kit.Advance(minutes(10));
  CHECK(!kit->Query("a"));
}

TEST_CASE("retention: the times of its steps") {
  dtm::MemoryStore store;
  Retention retention(hours(24));
  const dtm::Time now(hours(1000));
  CHECK(retention.NextStep() <= now);
  store.Begin();
  retention.Step(store, now);
  CHECK(retention.NextStep() == now + minutes(10));
  retention.Failed(now);
  CHECK(retention.NextStep() == now + seconds(1));
}
