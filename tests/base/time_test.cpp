/// Time: never, and waits that no clock reaches.
#include <chrono>

#include "tests/catch.hpp"
#include <dtm/base/time.hpp>

TEST_CASE("time: never is after everything") {
  CHECK(dtm::kNever > dtm::Time{std::chrono::hours(24 * 365 * 1000)});
}

TEST_CASE("time: a wait that no clock reaches is for ever, on every clock") {
  using Steady = std::chrono::steady_clock::time_point;
  const dtm::Time now{std::chrono::hours(24 * 365 * 56)};
  const Steady steady{std::chrono::hours(1)};
  const std::chrono::minutes wait{5};
  CHECK(dtm::Later(now, wait) == now + wait);
  CHECK(dtm::Later(now, -wait) == now - wait);
  CHECK(dtm::Later(steady, wait) == steady + wait);
  for (const dtm::Duration ever :
       {(dtm::Duration::max)(), (dtm::Duration::max)() - dtm::Duration(1),
        dtm::Duration(std::chrono::hours(24 * 36525))}) {
    CHECK(dtm::Later(now, ever) == dtm::kNever);
    CHECK(dtm::Later(steady, ever) == (Steady::max)());
  }
  CHECK(dtm::Later(dtm::kNever - dtm::Duration(1), dtm::Duration(2)) == dtm::kNever);
  CHECK(dtm::Later((Steady::max)() - dtm::Duration(1), dtm::Duration(2)) == (Steady::max)());
  CHECK(dtm::Later(now, (dtm::Duration::min)()) < now);
  CHECK(dtm::Later(steady, (dtm::Duration::min)()) < steady);
}
