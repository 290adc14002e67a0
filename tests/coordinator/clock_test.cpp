/// The system's clock: near the wall clock at construction, then monotonic.
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "tests/catch.hpp"
#include <dtm/coordinator/clock.hpp>

using dtm::SystemClock;
using dtm::Time;

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
