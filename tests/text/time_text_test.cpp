/// Times as text and back, and what is none. How they are written: tests/http/wire/stored_transaction_test.cpp.
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "tests/catch.hpp"
#include <dtm/text/time_text.hpp>

using dtm::Duration;
using dtm::ParseTime;
using dtm::Time;
using dtm::TimeText;

TEST_CASE("time text: every time comes back") {
  for (const std::int64_t micros :
       {std::int64_t{0}, std::int64_t{1}, std::int64_t{-1}, std::int64_t{999999},
        std::int64_t{951782400000000}, std::int64_t{1795331287004500},
        std::int64_t{4102444799500000}, std::int64_t{-30610224000000000},
        std::int64_t{253402300799999999}}) {
    const Time time{Duration(micros)};
    CAPTURE(TimeText(time));
    CHECK(ParseTime(TimeText(time)) == time);
  }
  // Each day of four hundred years, and a little more each time.
  for (std::int64_t day = 0; day < 146097; ++day) {
    const Time time{std::chrono::hours(24 * (day - 60000)) + Duration(day * 591347)};
    if (ParseTime(TimeText(time)) != time) FAIL_CHECK(TimeText(time));
  }
}

TEST_CASE("time text: what is none is nothing") {
  for (const char* text : {"",
                           "Z",
                           "2026-11-22",
                           "2026-11-22T07:08:07",
                           "2026-11-22T07:08:07+00:00",
                           "2026-11-22 07:08:07Z",
                           "2026-11-22T07:08:07.Z",
                           "2026-11-22T07:08:07.1234567Z",
                           "2026-11-22T07:08:07.12a4Z",
                           "2026-02-30T00:00:00Z",
                           "2026-13-01T00:00:00Z",
                           "2026-00-01T00:00:00Z",
                           "2026-01-00T00:00:00Z",
                           "2026-01-01T24:00:00Z",
                           "2026-01-01T00:60:00Z",
                           "2026-01-01T00:00:60Z",
                           "-026-01-01T00:00:00Z",
                           "2026-11-22T07:08:07,5Z",
                           "2026-11-22T07:08:07ZZ",
                           "20261-1-22T07:08:07Z"}) {
    CAPTURE(text);
    CHECK_FALSE(ParseTime(text).has_value());
  }
}
