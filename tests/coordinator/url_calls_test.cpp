/// Who calls URLs: there or not, and one call for somebody who waits.
#include <memory>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/coordinator/url_calls.hpp>

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

TEST_CASE("url calls: nobody calls them until somebody is there") {
  int stops = 0;
  UrlCalls urls;
  CHECK(urls.Get() == nullptr);
  CHECK_THROWS_AS(urls.Needed(), dtm::LogicError);
  urls.Use(std::make_unique<Caller>(stops));
  CHECK(urls.Get() == &urls.Needed());
  UrlCalls::One one;
  CHECK_FALSE(one.result);
  urls.Needed().Call({dtm::BranchCall{}}, one);
  REQUIRE(one.result);
  CHECK(one.result->text == "no");
  CHECK_FALSE(urls.Stopped());
  urls.Stop();
  CHECK(stops == 1);
  CHECK(urls.Stopped());
}

TEST_CASE("url calls: stopping without a caller") {
  UrlCalls urls;
  urls.Stop();
  CHECK(urls.Stopped());
}
