/// Retention: small steps, at the right time, and never what is unfinished.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include "tests/support/temp_dir.hpp"
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
  std::int64_t Expire(dtm::Time before, std::int64_t after, std::size_t limit,
                      bool keep_gids) override {
    ++steps;
    most = (std::max)(most, limit);
    return MemoryStore::Expire(before, after, limit, keep_gids);
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
  TestCoordinator kit({}, dtm_test::Quiet(options), inner);
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
  options.keep_gids = seconds(0);
  TestCoordinator kit({}, dtm_test::Quiet(options));
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
  TestCoordinator kit({}, dtm_test::Quiet(), inner);
  kit.Advance(hours(24));
  CHECK(inner->steps >= 24);
  CHECK(inner->steps <= 24 * 6 + 1);
}

TEST_CASE("retention: a failed step is repeated") {
  dtm::Options options;
  options.keep_finished = hours(1);
  options.keep_gids = seconds(0);
  TestCoordinator kit({}, dtm_test::Quiet(options));
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
  Retention retention(hours(24), hours(24));
  const dtm::Time now(hours(1000));
  CHECK(retention.NextTime() <= now);
  store.Begin();
  retention.RemoveSome(store, now);
  CHECK(retention.NextTime() == now + minutes(10));
  retention.Failed(now);
  CHECK(retention.NextTime() == now + seconds(1));
}

TEST_CASE("retention: an expired gid does not run again, for as long as gids are kept") {
  const bool sqlite = GENERATE(false, true);
  CAPTURE(sqlite);
  const dtm_test::TempDir dir;
  std::shared_ptr<dtm::Store> store = std::make_shared<dtm::MemoryStore>();
  if (sqlite) store = std::make_shared<dtm::SqliteStore>(dir / "a.db", dtm::Durability::kProcess);
  dtm::Options options;
  options.keep_finished = hours(1);
  options.keep_gids = hours(100);
  TestCoordinator kit({}, dtm_test::Quiet(options), store);
  kit.Branches().On("http://bad/01/action", Result::Failure("no"));
  const auto calls = [&] { return kit.Branches().Calls().size(); };
  const auto message = [] {
    dtm::Definition definition;
    definition.gid = "message";
    definition.type = dtm::TransType::kMsg;
    definition.query_prepared = "http://who/knows";
    definition.steps = {{"http://m/1", "", "1"}, {"topic://t", "", "2"}};
    return definition;
  }();
  kit->Subscribe("t", "http://s/1");
  CHECK(kit->SubmitAndWait(NewDefinition("good", 1), seconds(9)).Succeeded());
  CHECK(kit->SubmitAndWait(NewDefinition("bad", 1), seconds(9)).Failed());
  CHECK(kit->SubmitAndWait(message, seconds(9)).Succeeded());
  int runs = 0;
  const auto workflow = dtm::RegisterWorkflow<int>(*kit, "wf", [&](dtm::Workflow&, const int& n) {
    ++runs;
    return std::to_string(n);
  });
  CHECK(workflow.Execute("flow", 7) == "7");
  const std::size_t before = calls();
  kit.Advance(hours(3));
  REQUIRE(Stored(kit) == 0);
  kit->DeleteTopic("t");
  const bool crash = GENERATE(false, true);
  if (crash) kit.Crash();
  const auto again = dtm::RegisterWorkflow<int>(
      *kit, crash ? "wf" : "wf2",
      [&](dtm::Workflow&, const int&) { return std::to_string(++runs); });

  // The same content: what it ended with, and nothing is called.
  CHECK(kit->Submit(NewDefinition("good", 1)).Succeeded());
  CHECK(kit->SubmitAndWait(NewDefinition("good", 1), seconds(9)).Succeeded());
  CHECK(kit->SubmitAndWait(NewDefinition("bad", 1), seconds(9)).Failed());
  CHECK_THROWS_AS(kit->Submit(NewDefinition("bad", 1)), dtm::FailureError);
  CHECK(kit->SubmitAndWait(message, seconds(9)).Succeeded());
  // Other content, another type, a prepare: refused.
  CHECK_THROWS_WITH(kit->Submit(NewDefinition("good", 2)),
                    Catch::Matchers::ContainsSubstring("other content"));
  auto other = message;
  other.gid = "good";
  other.steps.pop_back();
  CHECK_THROWS_WITH(kit->Submit(other), Catch::Matchers::ContainsSubstring("exists as a saga"));
  CHECK_THROWS_AS(kit->Prepare(message), dtm::RejectedError);
  CHECK_THROWS_WITH((crash ? again : workflow).Execute("flow", 7),
                    Catch::Matchers::ContainsSubstring("no longer kept"));
  CHECK_THROWS_AS(again.Execute("flow", 8), dtm::RejectedError);
  CHECK(runs == 1);
  kit->Transact(
      [&](dtm::Tx& tx) { CHECK_THROWS_AS(dtm::NewSaga(tx, "good").Submit(), dtm::RejectedError); });
  kit.Advance(hours(1));
  CHECK(calls() == before);
  // What is told of it.
  CHECK(kit->Wait("good", seconds(1)).Succeeded());
  CHECK_THAT(kit->Explain("good"), Catch::Matchers::ContainsSubstring("succeed") &&
                                       Catch::Matchers::ContainsSubstring("expired"));
  CHECK_THROWS_WITH(kit->Cancel("good"),
                    Catch::Matchers::ContainsSubstring("already ended as succeed"));
  CHECK(kit->Query("good")->expired);

  kit.Advance(hours(110));
  CHECK_FALSE(kit->Query("good"));
  CHECK(kit->SubmitAndWait(NewDefinition("good", 2), seconds(9)).Succeeded());
  CHECK(calls() == before + 2);
}

TEST_CASE("retention: gids are not kept if they are to go with their records") {
  dtm::Options options;
  options.keep_finished = hours(1);
  options.keep_gids = GENERATE(dtm::Duration(0), dtm::Duration(hours(1)));
  TestCoordinator kit({}, dtm_test::Quiet(options));
  CHECK(kit->SubmitAndWait(NewDefinition("a", 1), seconds(9)).Succeeded());
  kit.Advance(hours(2));
  CHECK_FALSE(kit->Query("a"));
  CHECK(kit->SubmitAndWait(NewDefinition("a", 2), seconds(9)).Succeeded());
}
