/// StoreHealth: how long it waits after failures, and what proves that the store works again.
#include <chrono>

#include "tests/catch.hpp"
#include <dtm/coordinator/parts/store_health.hpp>

using dtm::StoreHealth;
using dtm::Time;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_CASE("store health: waits 10 ms, 20 ms, ... 1 s between tries") {
  StoreHealth health;
  const Time now(seconds(100));
  CHECK(health.Good());
  CHECK(health.MayTry(Time{}));
  const int expected[] = {10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000};
  for (const int wait : expected) {
    health.Failed(now, "disk full", false, true);
    CHECK(!health.Good());
    CHECK(health.NextTry() == now + milliseconds(wait));
    CHECK(!health.MayTry(now + milliseconds(wait) - dtm::Duration(1)));
    CHECK(health.MayTry(now + milliseconds(wait)));
  }
  for (int i = 0; i < 1000; ++i) health.Failed(now, "disk full", false, true);
  CHECK(health.NextTry() == now + seconds(1));
  CHECK(health.Problem() == "disk full");
  CHECK(!health.NeedsRecovery());
  health.Worked(true);
  CHECK(health.Good());
  CHECK(health.MayTry(Time{}));
  CHECK(health.Problem().empty());
  health.Failed(now, "again", false, true);
  CHECK(health.NextTry() == now + milliseconds(10));
}

TEST_CASE("store health: after a write that failed only a write proves that it works") {
  StoreHealth health;
  health.Failed(Time{}, "disk full", false, false);
  health.Worked(false);
  CHECK(health.Good());  // it could not read, now it can
  health.Failed(Time{}, "disk full", false, true);
  health.Failed(Time{}, "disk full", false, false);
  health.Worked(false);
  CHECK(!health.Good());
  health.Worked(true);
  CHECK(health.Good());
  health.Failed(Time{}, "unreadable", false, false);
  health.Worked(false);
  CHECK(health.Good());
}

TEST_CASE("store health: doubt stays until recovered, also over definite failures") {
  StoreHealth health;
  health.Failed(Time{}, "I/O error", true, true);
  CHECK(health.NeedsRecovery());
  health.Failed(Time{}, "disk full", false, true);
  CHECK(health.NeedsRecovery());
  health.Recovered();
  CHECK(!health.NeedsRecovery());
  CHECK(!health.Good());  // recovered, but no commit has worked yet
}
