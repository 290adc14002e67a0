/// What an option may be, and the sentence if it is not.
#include <chrono>
#include <cstddef>
#include <limits>
#include <string>

#include "tests/catch.hpp"
#include <dtm/base/option_range.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Duration;
namespace option_range = dtm::option_range;

TEST_CASE("option_range: both ends are allowed, what is beside them is named with its range") {
  const auto check = [](Duration value) {
    option_range::Check("wait", value, option_range::kShortest, std::chrono::hours(24));
  };
  check(std::chrono::milliseconds(1));
  check(std::chrono::hours(24));
  CHECK_THROWS_WITH(check(Duration(999)), "the option wait is 999 us; it must be 1 ms to 86400 s");
  CHECK_THROWS_AS(check(Duration(0)), dtm::LogicError);
  CHECK_THROWS_WITH(check(std::chrono::milliseconds(86400001)),
                    ContainsSubstring("is 86400001 ms;"));
  CHECK_THROWS_AS(check((Duration::max)()), dtm::LogicError);
  CHECK_THROWS_AS(check((Duration::min)()), dtm::LogicError);
}

TEST_CASE("option_range: seconds and numbers") {
  using std::chrono::seconds;
  const auto most = (seconds::max)();
  option_range::Check("fail", seconds(86400), seconds(1), seconds(86400));
  CHECK_THROWS_WITH(
      option_range::Check("fail", most, seconds(1), seconds(86400)),
      ContainsSubstring(std::to_string(most.count()) + " s; it must be 1 s to 86400 s"));
  constexpr std::size_t kMost = (std::numeric_limits<std::size_t>::max)();
  option_range::Check("number", kMost, 1, option_range::kAnyNumber);
  CHECK_THROWS_WITH(option_range::Check("number", std::size_t{0}, 1, option_range::kAnyNumber),
                    ContainsSubstring("number is 0; it must be 1 to "));
  CHECK_THROWS_WITH(option_range::Check("calls", -1, 1, 1000000),
                    "the option calls is -1; it must be 1 to 1000000");
}
