/// Retry-After in all its forms (RFC 9110), and what is none.
#include <chrono>
#include <string>

#include "tests/catch.hpp"
#include <dtm/http/wire/retry_after.hpp>

using dtm::Duration;
using dtm::Time;
using dtm::wire::retry_after::Date;
using dtm::wire::retry_after::Wait;
using std::chrono::seconds;

namespace {
const Time kNow{seconds(784111777)};  // Sun, 06 Nov 1994 08:49:37 GMT
}

TEST_CASE("retry_after: dates in the three forms") {
  CHECK(Date("Sun, 06 Nov 1994 08:49:37 GMT") == kNow);
  CHECK(Date("Sunday, 06-Nov-94 08:49:37 GMT") == kNow);
  CHECK(Date("Sun Nov  6 08:49:37 1994") == kNow);
  CHECK(Date("Thu, 29 Feb 2024 00:00:00 GMT") == Time(seconds(1709164800)));
  CHECK(Date("Thu, 01 Jan 1970 00:00:00 GMT") == Time(seconds(0)));
  CHECK(Date("Sat, 31 Dec 2016 23:59:60 GMT") == Time(seconds(1483228800)));  // a leap second
  for (const char* none :
       {"", "now", "06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994",
        "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Nov 1994 08:49:37 GMT+1",
        "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 32 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, -6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1694 08:49:37 GMT",
        "Sun, 06 Nov -999 08:49:37 GMT", "Sun Nov  6 08:49:37 -999"}) {
    CAPTURE(none);
    CHECK_FALSE(Date(none));
  }
  CHECK_FALSE(Date(std::string("Sun, 06 Nov 1994 08:49:37 GMT\0x", 31)));
}

TEST_CASE("retry_after: seconds, at most an hour; what is neither means nothing") {
  CHECK(Wait("0", "", kNow) == seconds(0));
  CHECK(Wait("1", "", kNow) == seconds(1));
  CHECK(Wait(" 120\t", "", kNow) == seconds(120));
  CHECK(Wait("3600", "", kNow) == seconds(3600));
  CHECK(Wait("3601", "", kNow) == seconds(3600));
  CHECK(Wait("99999999999999999999999", "", kNow) == seconds(3600));
  for (const char* none : {"", " ", "-1", "+1", "1.5", "1s", "0x10", "soon"}) {
    CAPTURE(none);
    CHECK(Wait(none, "", kNow) == Duration(0));
  }
}

TEST_CASE("retry_after: a date counts from the date of its answer, else from now") {
  const std::string later = "Sun, 06 Nov 1994 08:51:37 GMT";
  CHECK(Wait(later, "", kNow) == seconds(120));
  CHECK(Wait(later, "nonsense", kNow) == seconds(120));
  CHECK(Wait(later, "Sun, 06 Nov 1994 08:50:37 GMT", kNow) == seconds(60));
  CHECK(Wait(later, "Sun, 06 Nov 1994 08:52:37 GMT", kNow) == seconds(0));
  CHECK(Wait("Mon, 07 Nov 1994 08:49:37 GMT", "", kNow) == seconds(3600));
}
