/// Timers: order, and that nothing is kept for what has ended.
#include <chrono>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/coordinator/state/active_table.hpp>
#include <dtm/coordinator/state/timers.hpp>

using dtm::ActiveTransaction;
using dtm::kNever;
using dtm::Time;
using dtm::Timers;
using std::chrono::seconds;

namespace {

std::vector<ActiveTransaction*> TakeAll(Timers& timers, Time now) {
  std::vector<ActiveTransaction*> table;
  while (ActiveTransaction* active = timers.TakeDue(now)) table.push_back(active);
  return table;
}

}  // namespace

TEST_CASE("timers: the earliest comes first, whatever the order of arming") {
  Timers timers;
  ActiveTransaction a, b, c;
  CHECK(timers.Next() == kNever);
  timers.Move(c, kNever, Time(seconds(30)));
  timers.Move(a, kNever, Time(seconds(10)));
  timers.Move(b, kNever, Time(seconds(20)));
  CHECK(timers.Next() == Time(seconds(10)));
  CHECK(TakeAll(timers, Time(seconds(9))).empty());
  CHECK(TakeAll(timers, Time(seconds(20))) == std::vector<ActiveTransaction*>{&a, &b});
  CHECK(timers.Next() == Time(seconds(30)));
  CHECK(TakeAll(timers, Time(seconds(1000))) == std::vector<ActiveTransaction*>{&c});
  CHECK(timers.Next() == kNever);
}

TEST_CASE("timers: a timer is moved and taken back, never is none") {
  Timers timers;
  ActiveTransaction a, b;
  timers.Move(a, kNever, kNever);
  CHECK(timers.Next() == kNever);
  timers.Move(a, kNever, Time(seconds(10)));
  timers.Move(b, kNever, Time(seconds(10)));
  timers.Move(a, Time(seconds(10)), Time(seconds(10)));
  timers.Move(a, Time(seconds(10)), Time(seconds(20)));
  CHECK(TakeAll(timers, Time(seconds(15))) == std::vector<ActiveTransaction*>{&b});
  timers.Move(a, Time(seconds(20)), Time(seconds(5)));
  CHECK(timers.Next() == Time(seconds(5)));
  timers.Move(a, Time(seconds(5)), kNever);
  CHECK(timers.Next() == kNever);
  CHECK(TakeAll(timers, kNever).empty());
}

TEST_CASE("timers: one that is not armed where it is said to be gets a timer, and harms no other") {
  Timers timers;
  ActiveTransaction a, b;
  timers.Move(a, kNever, Time(seconds(1)));
  timers.Move(b, Time(seconds(7)), Time(seconds(2)));
  timers.Move(b, Time(seconds(7)), kNever);  // none there: nothing to take back
  CHECK(TakeAll(timers, Time(seconds(9))) == std::vector<ActiveTransaction*>{&a, &b});
  // Those taken back leave room that the next ones use.
  timers.Move(a, kNever, Time(seconds(3)));
  timers.Move(a, Time(seconds(3)), kNever);
  timers.Move(b, kNever, Time(seconds(5)));
  timers.Move(a, kNever, Time(seconds(4)));
  CHECK(TakeAll(timers, Time(seconds(9))) == std::vector<ActiveTransaction*>{&a, &b});
}
