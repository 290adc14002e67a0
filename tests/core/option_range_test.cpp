/// What an option may be, and the sentence if it is not.
#include <chrono>
#include <cstddef>
#include <limits>

#include "tests/catch.hpp"
#include <dtm/core/option_range.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Duration;
namespace option_range = dtm::option_range;

TEST_CASE("option_range: both ends are allowed, what is beside them is named with its range") {
  const dtm::OptionRange<Duration> range{"wait", std::chrono::milliseconds(1),
                                         std::chrono::hours(24)};
  option_range::Check(range, std::chrono::milliseconds(1));
  option_range::Check(range, std::chrono::hours(24));
  CHECK_THROWS_WITH(option_range::Check(range, Duration(999)),
                    "the option wait is 999 us; it must be 1 ms to 86400 s");
  CHECK_THROWS_AS(option_range::Check(range, Duration(0)), dtm::LogicError);
  CHECK_THROWS_WITH(option_range::Check(range, std::chrono::milliseconds(86400001)),
                    ContainsSubstring("is 86400001 ms;"));
  CHECK_THROWS_AS(option_range::Check(range, (Duration::max)()), dtm::LogicError);
  CHECK_THROWS_AS(option_range::Check(range, (Duration::min)()), dtm::LogicError);
}

TEST_CASE("option_range: seconds and numbers") {
  const auto most = (std::chrono::seconds::max)();
  option_range::Check(option_range::kTimeoutToFail, std::chrono::seconds(86400));
  CHECK_THROWS_WITH(
      option_range::Check(option_range::kTimeoutToFail, most),
      ContainsSubstring(std::to_string(most.count()) + " s; it must be 1 s to 86400 s"));
  option_range::Check(option_range::kMaxInMemory, (std::numeric_limits<std::size_t>::max)());
  CHECK_THROWS_WITH(option_range::Check(option_range::kMaxInMemory, 0),
                    ContainsSubstring("max_in_memory is 0; it must be 1 to "));
  CHECK_THROWS_WITH(option_range::Check(option_range::kTotal, -1),
                    ContainsSubstring("limits.total is -1"));
}
