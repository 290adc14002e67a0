/// Time as everybody counts it, and waits that cannot overflow.
/// Needs: std. Threads: values only.
#pragma once

#include <chrono>

namespace dtm {
inline namespace v1 {

using Duration = std::chrono::microseconds;
/// UTC. Inside the coordinator: the wall clock at open plus the time that passed since.
using Time = std::chrono::time_point<std::chrono::system_clock, Duration>;
inline constexpr Time kNever = (Time::max)();

/// The end of a wait that somebody asked for: Duration::max() and whatever else no clock reaches is for ever.
template <typename TimePoint>
TimePoint Later(TimePoint from, Duration wait) {
  constexpr Duration kCentury = std::chrono::hours(24 * 36525);
  if (wait >= kCentury) return (TimePoint::max)();
  if (wait <= -kCentury) return from - kCentury;
  if (wait.count() > 0 && from > (TimePoint::max)() - wait) return (TimePoint::max)();
  return from + wait;
}

}  // namespace v1
}  // namespace dtm
