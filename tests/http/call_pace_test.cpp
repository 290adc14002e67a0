#include "tests/catch.hpp"
#include <dtm/http/call_pace.hpp>

namespace {

/// How many calls start when there are always more that wait.
int StartAll(dtm::CallPace& pace) {
  int started = 0;
  for (; pace.MayStart(); ++started) pace.Started();
  return started;
}

}  // namespace

TEST_CASE("Calls that come back at once are served by few threads") {
  dtm::CallPace pace;
  CHECK(StartAll(pace) == dtm::CallPace::kMaxYoung);
  for (int i = 0; i < 1000; ++i) {
    pace.Ended(false);
    CHECK(StartAll(pace) == 1);
  }
}

TEST_CASE(
    "While calls take long the threads double, and when they have ended there are few again") {
  dtm::CallPace pace;
  int young = StartAll(pace);
  int out = young;
  for (int round = 0; round < 6; ++round) {
    for (int i = 0; i < young; ++i) pace.GrewUp();
    young = StartAll(pace);
    CHECK(young == dtm::CallPace::kMaxYoung + out);
    out += young;
  }
  CHECK(out > 1000);

  for (int i = 0; i < out - young; ++i) pace.Ended(true);
  for (int i = 0; i < young; ++i) pace.Ended(false);
  CHECK(StartAll(pace) == dtm::CallPace::kMaxYoung);
}
