/// What an option may be, and the sentence if it is something else.
/// Needs: std. Threads: pure functions.
///
/// The ranges are checked where the options are: CheckedOptions of an embedded coordinator, of a server, of callers.
#pragma once

#include <chrono>
#include <cstddef>
#include <limits>
#include <string>

#include <dtm/base/error.hpp>
#include <dtm/base/time.hpp>

namespace dtm {
inline namespace v1 {
namespace option_range {

inline constexpr Duration kShortest = std::chrono::milliseconds(1);
inline constexpr Duration kEver = (Duration::max)();
inline constexpr std::size_t kAnyNumber = (std::numeric_limits<std::size_t>::max)();

inline std::string InWords(Duration value) {
  const auto count = value.count();
  if (count % 1000000 == 0) return std::to_string(count / 1000000) + " s";
  if (count % 1000 == 0) return std::to_string(count / 1000) + " ms";
  return std::to_string(count) + " us";
}
inline std::string InWords(std::chrono::seconds value) {
  return std::to_string(value.count()) + " s";  // the greatest of them is no Duration
}
inline std::string InWords(int value) { return std::to_string(value); }
inline std::string InWords(std::size_t value) { return std::to_string(value); }

template <typename Value>
struct Itself {  // so that only `value` decides the type
  using Type = Value;
};

/// @throws LogicError  `value` is below `least` or above `most`.
template <typename Value>
void Check(const char* name, const Value& value, const typename Itself<Value>::Type& least,
           const typename Itself<Value>::Type& most) {
  if (value >= least && value <= most) return;
  throw LogicError(std::string("the option ") + name + " is " + InWords(value) + "; it must be " +
                   InWords(least) + " to " + InWords(most));
}

}  // namespace option_range
}  // namespace v1
}  // namespace dtm
