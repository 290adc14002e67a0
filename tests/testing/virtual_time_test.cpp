/// Virtual time: events in order, and a clock that a dead process cannot move.
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "tests/catch.hpp"
#include <dtm/testing/virtual_time.hpp>

using dtm::Time;
using dtm::testing::VirtualClock;
using dtm::testing::VirtualTime;
using std::chrono::hours;
using std::chrono::seconds;

TEST_CASE("virtual time: moves to the next event at most, and runs what happens then") {
  VirtualTime time;
  const Time begin = time.Now();
  std::string log;
  time.At(begin + seconds(2), [&log] { log += "b"; });
  time.At(begin + seconds(1), [&log] { log += "a"; });
  time.At(begin + seconds(2), [&log] { log += "c"; });
  time.MoveTowards(begin + seconds(10));
  CHECK(time.Now() == begin + seconds(1));
  CHECK(log == "a");
  time.MoveTowards(begin + seconds(10));
  CHECK(time.Now() == begin + seconds(2));
  CHECK(log == "abc");
  time.MoveTowards(begin + seconds(10));
  CHECK(time.Now() == begin + seconds(10));
  time.MoveTowards(begin);  // never backwards
  CHECK(time.Now() == begin + seconds(10));
  time.Set(begin);  // but for an administrator
  CHECK(time.Now() == begin);
}

TEST_CASE("virtual time: an event may plan another one for the same moment") {
  VirtualTime time;
  const Time at = time.Now() + seconds(1);
  int events = 0;
  time.At(at, [&] { time.At(at, [&events] { ++events; }); });
  time.MoveTowards(at);
  CHECK(events == 1);
}

TEST_CASE("virtual clock: waiting moves the time, until the clock is cut off") {
  auto time = std::make_shared<VirtualTime>();
  VirtualClock clock(time);
  std::mutex mutex;
  std::condition_variable condition;
  std::unique_lock<std::mutex> lock(mutex);
  const Time begin = clock.Now();
  time->At(begin + seconds(5), [&] {
    CHECK(mutex.try_lock());  // an event may deliver something to the one who waits
    mutex.unlock();
  });
  clock.Wait(condition, lock, begin + hours(1));
  CHECK(lock.owns_lock());
  CHECK(clock.Now() == begin + seconds(5));
  clock.Wait(condition, lock, begin + hours(1));
  CHECK(time->Now() == begin + hours(1));
  clock.CutOff();
  clock.Wait(condition, lock, begin + hours(2));
  CHECK(clock.Now() == begin + hours(2));
  CHECK(time->Now() == begin + hours(1));
}
