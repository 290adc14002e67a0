#include <chrono>
#include <cstddef>
#include <list>

#include "tests/catch.hpp"
#include <dtm/http/calls/start_throttle.hpp>

using dtm::StartThrottle;
using std::chrono::microseconds;
using std::chrono::milliseconds;

namespace {

/// There are always more calls that wait.
struct Calls {
  std::size_t StartAll() {
    std::size_t started = 0;
    for (; pace.MayStart(now); ++started) pace.Started(out.emplace_back(), now);
    return started;
  }
  void EndFirst() {
    pace.Ended(out.front());
    out.pop_front();
  }

  StartThrottle pace{2};
  std::list<StartThrottle::Place> out;
  StartThrottle::SteadyTime now{};
};

}  // namespace

TEST_CASE("start throttle: what comes back at once is served by few threads") {
  Calls calls;
  CHECK(calls.StartAll() == 24);
  for (int i = 0; i < 1000; ++i) {
    calls.now += std::chrono::microseconds(50);
    calls.EndFirst();
    CHECK(calls.StartAll() == 1);
  }
}

TEST_CASE("start throttle: what takes long gets as many threads as it needs, but not in a burst") {
  Calls calls;
  for (int round = 0; round < 100; ++round) {
    CHECK(calls.StartAll() == 24);
    CHECK(calls.pace.NextChange() == calls.now + StartThrottle::kYoung);
    calls.now += StartThrottle::kYoung - microseconds(1);
    CHECK(calls.StartAll() == 0);
    calls.now += microseconds(1);
  }
  CHECK(calls.out.size() == 2400);
  CHECK(calls.StartAll() == 24);
  while (calls.out.size() > 24) calls.EndFirst();  // only the young ones are left
  CHECK(calls.StartAll() == 0);
  while (!calls.out.empty()) calls.EndFirst();
  CHECK(calls.StartAll() == 24);
}

TEST_CASE("start throttle: a place is used again, whatever became of its call") {
  StartThrottle pace(1);  // taken for 2
  StartThrottle::Place place;
  StartThrottle::SteadyTime now{};
  for (int i = 0; i < 100; ++i) {
    pace.Started(place, now);
    now += milliseconds(i % 20);
    CHECK(pace.MayStart(now));
    pace.Ended(place);
  }
}
