/// Spans of time between any two points, in words.
/// Needs: std. Threads: pure functions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include <dtm/base/time.hpp>

namespace dtm {
inline namespace v1 {
namespace drawing {

/// From `begin` to `end`, also if these are damaged: no span is too long to be counted.
inline Duration Between(Time begin, Time end) {
  const auto count = [](Time time) {
    constexpr std::int64_t kFar = INT64_MAX / 16;
    const std::int64_t value = time.time_since_epoch().count();
    return (std::min)((std::max)(value, -kFar), kFar);
  };
  return Duration(count(end) - count(begin));
}

/// How often the unit goes into the span, rounded.
inline std::int64_t Rounded(std::int64_t span, std::int64_t unit) {
  return span / unit + (span % unit * 2 >= unit ? 1 : 0);
}

/// "12.3": with one digit behind the point.
inline std::string Tenths(std::int64_t number) {
  return std::to_string(number / 10) + "." + std::to_string(number % 10);
}

/// "12.3 ms", "4.2 s", "3 min 12 s", "3 h 12 min", "2 d 3 h": rounded, and 0 if it is negative.
inline std::string SpanInWords(Duration span) {
  const std::int64_t us = (std::max)(span.count(), Duration::rep{0});
  const auto two = [](std::int64_t number, std::int64_t in_large, const char* large,
                      const char* small) {
    return std::to_string(number / in_large) + large + std::to_string(number % in_large) + small;
  };
  const std::int64_t s = Rounded(us, 1000000), min = Rounded(s, 60), h = Rounded(min, 60);
  if (us < 99950) return Tenths(Rounded(us, 100)) + " ms";
  if (us < 999500) return std::to_string(Rounded(us, 1000)) + " ms";
  if (us < 59950000) return Tenths(Rounded(us, 100000)) + " s";
  if (s < 3600) return two(s, 60, " min ", " s");
  if (min < 24 * 60) return two(min, 60, " h ", " min");
  return h < 100 * 24 ? two(h, 24, " d ", " h") : std::to_string(h / 24) + " d";
}

/// "12.3": milliseconds, for a column of them.
inline std::string Milliseconds(Duration span) {
  return Tenths(Rounded((std::max)(span.count(), Duration::rep{0}), 100));
}

}  // namespace drawing
}  // namespace v1
}  // namespace dtm
