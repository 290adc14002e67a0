/// Many prepared ones: they occupy no memory, block nobody, cost nothing while they wait, and never
/// expire. And what somebody may do with one but submit it.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include "tests/support/temp_dir.hpp"
#include <tests/coordinator/turns.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Definition;
using dtm::Result;
using dtm::Status;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using world::NewDefinition;
using world::Times;
using world::World;

namespace {

/// Like Settle, and how many turns that took.
int SettleInTurns(TestCoordinator& kit) {
  for (int turns = 1; turns < 1000000; ++turns) {
    if (kit->Poll() > dtm::Duration(0)) return turns;
  }
  FAIL("the coordinator does not come to rest");
  return 0;
}

/// How many turns a coordinator makes in this time by itself.
int TurnsIn(TestCoordinator& kit, dtm::Duration duration) {
  const auto end = kit.Clock().Now() + duration;
  int turns = SettleInTurns(kit);
  while (kit.Clock().Now() < end) {
    const dtm::Duration sleep = kit->Poll();
    kit.Clock().MoveTowards((std::min)(end, kit.Clock().Now() + sleep));
    turns += SettleInTurns(kit);
  }
  return turns;
}

void PrepareMany(TestCoordinator& kit, int many) {
  for (int i = 0; i < many; ++i) kit->Prepare(NewDefinition("p" + std::to_string(i), 1));
}

std::size_t Count(TestCoordinator& kit, Status status) {
  dtm::ScanFilter filter;
  filter.status = status;
  std::size_t count = 0;
  std::int64_t position = 0;
  do {
    const auto page = kit->List(filter, position, 1000);
    count += page.transactions.size();
    position = page.next;
  } while (position != 0);
  return count;
}

dtm::Options Small(std::size_t max_in_memory) {
  dtm::Options options;
  options.max_in_memory = max_in_memory;
  return dtm_test::Quiet(options);
}

}  // namespace

TEST_CASE("prepared, many: they occupy no memory and keep nobody out") {
  constexpr int kMany = 10000;
  const bool crash = GENERATE(false, true);
  CAPTURE(crash);
  TestCoordinator kit({}, Small(10));
  PrepareMany(kit, kMany);
  CHECK(SettleInTurns(kit) <= 2);
  if (crash) {
    kit.Crash();
    CHECK(SettleInTurns(kit) <= kMany / 10 + 10);  // looks at each of them once
  }
  CHECK(SettleInTurns(kit) <= 2);

  // As many as fit run at a time, as if the prepared ones were not there.
  const auto begin = kit.Clock().Now();
  for (int i = 0; i < 50; ++i) {
    const auto gid = "s" + std::to_string(i);
    kit.Branches().On("http://" + gid + "/01/action", {{Result::Success(), seconds(1), false}});
    kit->SubmitAsync(NewDefinition(gid, 2), {});
  }
  kit.Advance(milliseconds(1));
  CHECK(kit.Branches().Calls().size() == 10);
  kit.Advance(seconds(5));
  CHECK(kit.Branches().Calls().size() == 100);
  CHECK(kit.Branches().Calls().back().at == begin + seconds(5));
  CHECK(Count(kit, Status::kSucceed) == 50);
  CHECK(Count(kit, Status::kPrepared) == kMany);
}

TEST_CASE("prepared, many: what waits for a retry is tried in time") {
  TestCoordinator kit({}, Small(10));
  PrepareMany(kit, 2000);
  for (int i = 0; i < 50; ++i) {
    Definition definition = NewDefinition("s" + std::to_string(i), 1);
    definition.options.retry_interval = seconds(30);
    kit.Branches().On("http://" + definition.gid + "/01/action", Result::Ongoing());
    kit->Submit(definition);
  }
  kit.Advance(seconds(29));
  CHECK(kit.Branches().Calls().size() == 50);
  kit.Advance(seconds(2));
  CHECK(kit.Branches().Calls().size() == 100);
  CHECK(Count(kit, Status::kSucceed) == 50);
}

TEST_CASE("prepared, many: while they wait the loop rests") {
  const dtm_test::TempDir dir;
  const bool sqlite = GENERATE(false, true);
  const int many = sqlite ? 2000 : 10000;
  CAPTURE(sqlite);
  std::shared_ptr<dtm::Store> inner = std::make_shared<dtm::MemoryStore>();
  if (sqlite) inner = std::make_shared<dtm::SqliteStore>(dir / "a.db", dtm::Durability::kProcess);
  TestCoordinator kit({}, dtm_test::Quiet(), inner), empty({}, dtm_test::Quiet());
  PrepareMany(kit, many);
  kit.Crash();
  CHECK(SettleInTurns(kit) <= many / 256 + 10);
  kit.Settle();
  empty.Settle();
  CHECK(TurnsIn(kit, minutes(1)) == TurnsIn(empty, minutes(1)));
  const auto operations = kit.Store().Operations();
  kit.Advance(minutes(9));  // retention looks at the store every 10 minutes, 256 rows at a time
  CHECK(kit.Store().Operations() - operations <= 3 * static_cast<std::size_t>(many / 256 + 2));
  CHECK(Count(kit, Status::kPrepared) == static_cast<std::size_t>(many));
}

TEST_CASE("prepared, many: submitted all at once, no more run at a time than fit") {
  TestCoordinator kit({}, Small(10));
  PrepareMany(kit, 200);
  for (int i = 0; i < 200; ++i) {
    const auto gid = "p" + std::to_string(i);
    kit.Branches().On("http://" + gid + "/01/action", {{Result::Success(), seconds(1), false}});
    kit->SubmitAsync(NewDefinition(gid, 1), [](const dtm::Answer& reply) { (void)reply.Get(); });
  }
  kit.Advance(milliseconds(1));
  CHECK(kit.Branches().Calls().size() <= 10);
  kit.Advance(minutes(1));
  CHECK(Count(kit, Status::kSucceed) == 200);
}

TEST_CASE("prepared: it never expires") {
  dtm::Options options;
  options.keep_finished = hours(1);
  TestCoordinator kit({}, dtm_test::Quiet(options));
  Definition definition = NewDefinition("a", 1);
  definition.options.timeout_to_fail = seconds(10);
  kit->Prepare(definition);
  kit->Submit(NewDefinition("ended", 1));
  kit.Advance(hours(24 * 10));
  CHECK(!kit->Query("ended"));
  CHECK(kit->Query("a")->status == Status::kPrepared);
  kit.Crash();
  kit.Advance(hours(24 * 10));
  CHECK(kit->Query("a")->status == Status::kPrepared);
  CHECK(kit.Branches().Calls().size() == 1);
}

namespace {

/// A prepared one that has left memory, or is there because of a crash and a first look.
struct OnePrepared {
  OnePrepared() : crash(GENERATE(false, true)), kit({}, dtm_test::Quiet()) {
    UNSCOPED_INFO((crash ? "after a crash" : "in the same run"));
    kit->Prepare(NewDefinition("a", 2));
    kit.Settle();
    if (crash) kit.Crash();
  }
  const bool crash;
  TestCoordinator kit;
};

}  // namespace

TEST_CASE("prepared: Cancel ends it, with nothing to undo, and says why") {
  OnePrepared world;
  auto& kit = world.kit;
  std::string reason = "cancelled";
  SECTION("without a reason") { kit->Cancel("a"); }
  SECTION("with a reason") { kit->Cancel("a", reason = "the shop is closed"); }
  CHECK(kit->Query("a")->status == Status::kFailed);
  CHECK(kit->Query("a")->reason == reason);
  CHECK(kit->Query("a")->finished == kit.Clock().Now());
  kit.Advance(hours(1));
  CHECK(kit.Branches().Calls().empty());
  CHECK_THROWS_AS(kit->Submit(NewDefinition("a", 2)), dtm::FailureError);
  CHECK_THROWS_WITH(kit->Submit(NewDefinition("a", 2)), ContainsSubstring(reason));
  CHECK_THROWS_WITH(kit->Prepare(NewDefinition("a", 2)),
                    ContainsSubstring("current status 'failed', cannot prepare"));
  CHECK_THROWS_AS(kit->Cancel("a"), dtm::RejectedError);
  CHECK(kit.Branches().Calls().empty());
}

TEST_CASE("prepared: ForceStop ends it") {
  OnePrepared world;
  auto& kit = world.kit;
  kit->ForceStop("a");
  CHECK(kit->Query("a")->status == Status::kFailed);
  kit.Advance(hours(1));
  CHECK(kit.Branches().Calls().empty());
  CHECK_THROWS_AS(kit->Submit(NewDefinition("a", 2)), dtm::FailureError);
}

TEST_CASE("prepared: RetryNow does not set it going") {
  OnePrepared world;
  auto& kit = world.kit;
  kit->RetryNow("a");
  kit.Advance(hours(1));
  CHECK(kit->Query("a")->status == Status::kPrepared);
  CHECK(kit.Branches().Calls().empty());
  CHECK(kit->SubmitAndWait(NewDefinition("a", 2), hours(1)).Succeeded());
}

TEST_CASE("prepared: Explain says what it waits for, and is no cause to do anything") {
  OnePrepared world;
  auto& kit = world.kit;
  CHECK(kit->Explain("a") == "saga a is prepared\nit waits for its submit");
  kit.Settle();
  CHECK(kit->Explain("a") == "saga a is prepared\nit waits for its submit");
  CHECK(kit->Query("a")->version == 1);
  kit->Submit(NewDefinition("a", 2));
  CHECK_THAT(kit->Explain("a"), ContainsSubstring("saga a is submitted") &&
                                    ContainsSubstring("branch 01 action http://a/01/action"));
}

/// Whatever the order in which they are taken: who was told that it is done has it done.
TEST_CASE("prepared: Cancel or ForceStop in the turn of the submit is not lost") {
  OnePrepared world;
  auto& kit = world.kit;
  kit->SubmitAsync(NewDefinition("a", 2), [](const dtm::Answer&) {});
  SECTION("ForceStop") { kit->ForceStop("a"); }
  SECTION("Cancel") { kit->Cancel("a"); }
  kit.Advance(hours(1));
  CHECK(kit->Query("a")->status == Status::kFailed);
}

/// By itself such a submit would be a saga without steps, which succeeds at once.
TEST_CASE("prepared: a command in the turn of a submit that repeats no steps is not refused") {
  OnePrepared world;
  auto& kit = world.kit;
  kit.Branches().On("http://a/01/action", Times(1, Result::Ongoing()));
  Definition submit;
  submit.gid = "a";
  kit->SubmitAsync(submit, [](const dtm::Answer& reply) { (void)reply.Get(); });
  auto ends = Status::kFailed;
  SECTION("ForceStop") { kit->ForceStop("a"); }
  SECTION("Cancel") { kit->Cancel("a"); }
  SECTION("RetryNow") { kit->RetryNow("a"), ends = Status::kSucceed; }
  SECTION("Wait") {
    CHECK(kit->Wait("a", seconds(1)).status == Status::kSubmitted);
    ends = Status::kSucceed;
  }
  kit.Advance(hours(1));
  CHECK(kit->Query("a")->status == ends);
}

TEST_CASE("restart: Cancel or ForceStop in the turn of a repeated submit is not lost") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", Times(2, Result::Ongoing()));
  kit->Submit(NewDefinition("a", 2));
  kit.Settle();
  kit.Crash();
  kit->SubmitAsync(NewDefinition("a", 2), [](const dtm::Answer&) {});
  SECTION("ForceStop") { kit->ForceStop("a"); }
  SECTION("Cancel") { kit->Cancel("a"); }
  kit.Advance(hours(1));
  CHECK(kit->Query("a")->status == Status::kFailed);
}
