/// Spans of time in words.
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/timeline/drawing/spans.hpp>

using dtm::drawing::Between;
using dtm::drawing::Milliseconds;
using dtm::drawing::SpanInWords;

TEST_CASE("spans: in the units that a person reads") {
  const std::vector<std::pair<std::int64_t, const char*>> table{{-5, "0.0 ms"},
                                                                {0, "0.0 ms"},
                                                                {49, "0.0 ms"},
                                                                {50, "0.1 ms"},
                                                                {12340, "12.3 ms"},
                                                                {99949, "99.9 ms"},
                                                                {99950, "100 ms"},
                                                                {999499, "999 ms"},
                                                                {999500, "1.0 s"},
                                                                {59949999, "59.9 s"},
                                                                {59950000, "1 min 0 s"},
                                                                {192000000, "3 min 12 s"},
                                                                {3599499999, "59 min 59 s"},
                                                                {3599500000, "1 h 0 min"},
                                                                {11520000000, "3 h 12 min"},
                                                                {86370000000, "1 d 0 h"},
                                                                {183600000000, "2 d 3 h"},
                                                                {86400000000 * 150, "150 d"},
                                                                {INT64_MAX, "106751991 d"}};
  for (const auto& [us, words] : table) {
    INFO(us);
    CHECK(SpanInWords(dtm::Duration(us)) == words);
  }
}

TEST_CASE("spans: a column of milliseconds") {
  CHECK(Milliseconds(dtm::Duration(0)) == "0.0");
  CHECK(Milliseconds(dtm::Duration(7449)) == "7.4");
  CHECK(Milliseconds(dtm::Duration(59999960)) == "60000.0");
}

TEST_CASE("spans: times that nobody meant can be compared, too") {
  CHECK(Between(dtm::Time{}, dtm::Time(dtm::Duration(5))).count() == 5);
  CHECK(Between((dtm::Time::min)(), dtm::kNever).count() > 0);
  CHECK(Between(dtm::kNever, (dtm::Time::min)()).count() < 0);
}
