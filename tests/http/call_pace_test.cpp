#include <chrono>
#include <cstddef>
#include <deque>
#include <list>

#include "tests/catch.hpp"
#include <dtm/http/call_pace.hpp>

using dtm::CallPace;
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

  CallPace pace{2};
  std::list<CallPace::Place> out;
  CallPace::SteadyTime now{};
};

}  // namespace

TEST_CASE("call pace: what comes back at once is served by few threads") {
  Calls calls;
  CHECK(calls.StartAll() == 16);
  for (int i = 0; i < 1000; ++i) {
    calls.now += std::chrono::microseconds(50);
    calls.EndFirst();
    CHECK(calls.StartAll() == 1);
  }
}

TEST_CASE("call pace: while calls take long the threads double, up to a burst that is not felt") {
  Calls calls;
  std::deque<std::size_t> expected = {16, 32, 64, 128, 128, 128};
  for (const std::size_t count : expected) {
    CHECK(calls.StartAll() == count);
    const auto begin = calls.now;
    CHECK(calls.pace.NextChange() == begin + CallPace::kYoung);
    calls.now += CallPace::kYoung - milliseconds(1);
    CHECK(calls.StartAll() == 0);
    calls.now += milliseconds(1);
  }
  REQUIRE(calls.StartAll() == 128);
  while (calls.out.size() > 100) calls.EndFirst();  // the oldest first: only young ones are left
  CHECK(calls.StartAll() == 0);
  while (!calls.out.empty()) calls.EndFirst();
  CHECK(calls.StartAll() == 16);
}

TEST_CASE("call pace: a place is used again, whatever became of its call") {
  CallPace pace(1);  // taken for 2
  CallPace::Place place;
  CallPace::SteadyTime now{};
  for (int i = 0; i < 100; ++i) {
    pace.Started(place, now);
    now += milliseconds(i % 20);
    CHECK(pace.MayStart(now));
    pace.Ended(place);
  }
}
