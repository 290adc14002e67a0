/// The system's clock: near the wall clock at construction, then monotonic. And one that was wrong in a previous run.
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/dtm.hpp>
#include <dtm/testing/test_coordinator.hpp>

using dtm::SystemClock;
using dtm::Time;
using std::chrono::hours;
using std::chrono::seconds;

TEST_CASE("system clock: starts at the wall clock and follows the time since boot") {
  const auto wall_before = std::chrono::system_clock::now();
  SystemClock clock;
  const Time first = clock.Now();
  const auto wall_after = std::chrono::system_clock::now();
  CHECK(first >= std::chrono::time_point_cast<dtm::Duration>(wall_before));
  CHECK(first <= wall_after + std::chrono::seconds(1));
  Time last = first;
  const dtm::Duration boot = dtm::os::SinceBoot();
  for (int i = 0; i < 1000; ++i) {
    const Time now = clock.Now();
    REQUIRE(now >= last);
    last = now;
  }
  CHECK(last - first <= dtm::os::SinceBoot() - boot + std::chrono::seconds(1));
}

TEST_CASE("system clock: does not wait for a time that is over, waits at most as long as asked") {
  SystemClock clock;
  std::mutex mutex;
  std::condition_variable condition;
  std::unique_lock<std::mutex> lock(mutex);
  const dtm::Duration begin = dtm::os::SinceBoot();
  clock.Wait(condition, lock, clock.Now() - std::chrono::hours(1));
  clock.Wait(condition, lock, (Time::min)());
  clock.Wait(condition, lock, clock.Now() + std::chrono::milliseconds(1));
  CHECK(lock.owns_lock());
  CHECK(dtm::os::SinceBoot() - begin < std::chrono::seconds(4));
}

namespace {

struct Ahead {
  explicit Ahead(bool sqlite)
      : kit({}, Options(),
            sqlite ? std::shared_ptr<dtm::Store>(std::make_shared<dtm::SqliteStore>(dir / "s.db"))
                   : std::make_shared<dtm::MemoryStore>()) {}
  static dtm::Options Options() {
    dtm::Options options;
    options.keep_finished = options.keep_gids = hours(1);
    options.log = [](dtm::LogLevel, const std::string&) {};
    return options;
  }
  static dtm::Definition New(const std::string& gid, dtm::TransType type) {
    dtm::Definition definition;
    definition.gid = gid;
    definition.type = type;
    definition.steps.push_back(
        {"http://b/action", type == dtm::TransType::kSaga ? "http://b/undo" : "", "{}"});
    return definition;
  }
  /// The clock was a day ahead, and is right from the next start on.
  void Restart() {
    kit.Clock().Set(kit.Clock().Now() - hours(24));
    kit.Crash();
  }
  std::string Status(const std::string& gid) {
    const auto stored = kit->Query(gid);
    return stored ? Name(stored->status) : "";
  }

  dtm_test::TempDir dir;
  dtm::testing::TestCoordinator kit;
};

}  // namespace

TEST_CASE(
    "clock: what began with a clock a day ahead waits no longer than it was told, from the restart "
    "on") {
  Ahead ahead(GENERATE(false, true));
  auto& kit = ahead.kit;
  kit.Branches().On("http://b/action", std::vector<dtm::testing::ScriptedAnswer>(
                                           100, {dtm::Result::Ongoing(), {}, false}));
  dtm::Definition tcc;
  tcc.gid = "tcc";
  tcc.type = dtm::TransType::kTcc;
  kit->Prepare(tcc);
  dtm::Definition asked = Ahead::New("asked", dtm::TransType::kMsg);
  asked.query_prepared = "http://b/query";
  kit.Branches().On("http://b/query", dtm::Result::Failure("no"));
  kit->Prepare(asked);
  dtm::Definition delayed = Ahead::New("delayed", dtm::TransType::kMsg);
  delayed.delay = seconds(35);
  delayed.steps[0].action = "http://b/deliver";
  kit->Submit(delayed);
  dtm::Definition saga = Ahead::New("saga", dtm::TransType::kSaga);
  saga.options.timeout_to_fail = seconds(35);
  kit->Submit(saga);
  kit.Advance(seconds(1));
  ahead.Restart();
  kit.Advance(seconds(20));
  for (const char* gid : {"tcc", "asked", "delayed", "saga"}) CHECK(ahead.Status(gid) != "failed");
  kit.Crash();  // it does not begin anew
  kit.Advance(seconds(20));
  for (const char* gid : {"tcc", "asked", "saga"}) CHECK(ahead.Status(gid) == "failed");
  CHECK(ahead.Status("delayed") == "succeed");
}

TEST_CASE("clock: what ended in the future does not keep the rest from expiring") {
  Ahead ahead(GENERATE(false, true));
  auto& kit = ahead.kit;
  kit->Submit(Ahead::New("future", dtm::TransType::kSaga));
  kit.Advance(seconds(1));
  ahead.Restart();
  kit->Submit(Ahead::New("old", dtm::TransType::kSaga));
  kit.Advance(hours(2));
  kit->Submit(Ahead::New("young", dtm::TransType::kSaga));
  kit.Advance(std::chrono::minutes(30));
  CHECK(ahead.Status("old").empty());
  CHECK(ahead.Status("young") == "succeed");
  kit.Advance(hours(24));
  CHECK(ahead.Status("future").empty());
}
