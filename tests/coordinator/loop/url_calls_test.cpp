/// Who calls URLs: there or not, and one call for somebody who waits.
#include <memory>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/coordinator/loop/url_calls.hpp>

using dtm::Result;
using dtm::UrlCalls;

namespace {

struct Caller : dtm::BranchCaller {
  explicit Caller(int& stops_in) : stops(stops_in) {}
  void Call(std::vector<dtm::BranchCall> calls, dtm::BranchResults& results) override {
    for (auto& call : calls) results.Done(std::move(call), Result::Failure("no"));
  }
  void Stop() override { ++stops; }
  int& stops;
};

}  // namespace

TEST_CASE(
    "url calls: nobody calls them until somebody is there, and after Stop nobody is waited for") {
  int stops = 0;
  int driven = 0;
  dtm::SystemClock clock;
  const auto drive = [&] {
    ++driven;
    return clock.Now();
  };
  UrlCalls urls;
  CHECK(urls.Get() == nullptr);
  CHECK_THROWS_AS(urls.CallOnce({}, clock, drive), dtm::LogicError);
  urls.Use(std::make_unique<Caller>(stops));
  CHECK(urls.Get() != nullptr);
  CHECK(urls.CallOnce({}, clock, drive).text == "no");
  CHECK(driven == 0);
  urls.Stop();
  CHECK(stops == 1);
}

TEST_CASE("url calls: who waits drives the others, and is let go by Stop") {
  struct Silent : dtm::BranchCaller {
    void Call(std::vector<dtm::BranchCall>, dtm::BranchResults&) override {}
    void Stop() override {}
  };
  dtm::SystemClock clock;
  UrlCalls urls;
  urls.Use(std::make_unique<Silent>());
  int driven = 0;
  const Result result = urls.CallOnce({}, clock, [&] {
    if (++driven == 3) urls.Stop();
    return clock.Now();
  });
  CHECK(driven == 3);
  CHECK(result.text == "the coordinator was stopped");
}

TEST_CASE("url calls: stopping without a caller") {
  UrlCalls urls;
  urls.Stop();
}
