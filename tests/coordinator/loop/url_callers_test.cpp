/// Who calls which URLs: there or not, each its own schemes, and one call for somebody who waits.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/coordinator/loop/url_callers.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Result;
using dtm::UrlCallers;

namespace {

/// Fails every call with its name, and counts.
struct Caller : dtm::BranchCaller {
  Caller(std::vector<std::string> schemes_in, int& stops_in)
      : schemes(std::move(schemes_in)), stops(stops_in) {}
  std::vector<std::string> Schemes() const override { return schemes; }
  void Call(std::vector<dtm::BranchCall> calls, dtm::BranchResults& results) override {
    for (auto& call : calls) results.Done(std::move(call), Result::Failure(schemes[0]));
  }
  dtm::CallLoad Load() override { return {1, 2, {{schemes[0] + "://h", 1, 2, false}}}; }
  void Stop() override { ++stops; }
  std::vector<std::string> schemes;
  int& stops;
};

struct Silent : dtm::BranchCaller {
  void Call(std::vector<dtm::BranchCall>, dtm::BranchResults&) override {}
  void Stop() override {}
};

struct Results : dtm::BranchResults {
  void Done(dtm::BranchCall call, Result result) override {
    told.push_back(call.Url() + " " + result.text.substr(0, 29));
  }
  std::vector<std::string> told;
};

dtm::BranchCall To(const std::string& url) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->type = dtm::TransType::kMsg;
  definition->steps.resize(1);
  definition->steps[0].action = url;
  dtm::BranchCall call;
  call.row = dtm::DeliveryOf(0);
  call.definition = std::move(definition);
  return call;
}

}  // namespace

TEST_CASE(
    "url callers: nobody calls until somebody is there, and after Stop nobody is waited for") {
  int stops = 0;
  int driven = 0;
  dtm::SystemClock clock;
  const auto drive = [&] {
    ++driven;
    return clock.Now();
  };
  UrlCallers urls;
  CHECK_THROWS_WITH(urls.CallOnce(To("http://b/x"), clock, drive),
                    ContainsSubstring("Use(dtm::HttpBranches())"));
  urls.Use(std::make_unique<Caller>(std::vector<std::string>{"http"}, stops));
  CHECK(urls.CallOnce(To("http://b/x"), clock, drive).text == "http");
  CHECK_THROWS_AS(urls.CallOnce(To("grpc://b/x"), clock, drive), dtm::LogicError);
  CHECK(driven == 0);
  urls.Stop();
  CHECK(stops == 1);
}

TEST_CASE("url callers: each gets the calls with its schemes, in their order") {
  int stops = 0;
  UrlCallers urls;
  urls.Use(std::make_unique<Caller>(std::vector<std::string>{"http", "https"}, stops));
  urls.Use(std::make_unique<Caller>(std::vector<std::string>{"grpc"}, stops));
  Results results;
  std::vector<dtm::BranchCall> calls;
  for (const char* url :
       {"http://b/1", "grpc://b/2", "HTTPS://b/3", "amqp://b/4", "GRPC://b/5", "http://b/6"}) {
    calls.push_back(To(url));
  }
  urls.Call(std::move(calls), results);
  CHECK(results.told == std::vector<std::string>{"http://b/1 http", "HTTPS://b/3 http",
                                                 "http://b/6 http", "grpc://b/2 grpc",
                                                 "GRPC://b/5 grpc",
                                                 "amqp://b/4 this program calls no amqp://"});
  const dtm::CallLoad load = urls.Load();
  CHECK(load.in_flight == 2);
  CHECK(load.waiting == 4);
  REQUIRE(load.hosts.size() == 2);
  CHECK(load.hosts[1].host == "grpc://h");
  urls.Stop();
  CHECK(stops == 2);
}

TEST_CASE("url callers: a scheme has one caller, and Use needs one") {
  int stops = 0;
  UrlCallers urls;
  urls.Use(std::make_unique<Caller>(std::vector<std::string>{"grpc"}, stops));
  CHECK_THROWS_AS(urls.Use(nullptr), dtm::LogicError);
  CHECK_THROWS_WITH(
      urls.Use(std::make_unique<Caller>(std::vector<std::string>{"amqp", "grpc"}, stops)),
      ContainsSubstring("grpc://"));
  CHECK_FALSE(urls.Problem("amqp://b/x").empty());  // nothing of the refused one was taken
}

TEST_CASE("url callers: the URL of a scheme that nobody calls is no branch") {
  int stops = 0;
  UrlCallers urls;
  for (const char* good : {"", "local:F", "topic://t", "http://b/x", "https://b/x", "HTTP://b"}) {
    CAPTURE(good);
    CHECK(urls.Problem(good).empty());
  }
  CHECK_THAT(urls.Problem("grpc://user:secret@b/x"),
             ContainsSubstring("\"grpc://***@b/x\"") && ContainsSubstring("no grpc:// URLs") &&
                 ContainsSubstring("include") && ContainsSubstring("Use()"));
  CHECK_THAT(urls.Problem("bank/TransIn"), ContainsSubstring("does not start with"));
  urls.Use(std::make_unique<Caller>(std::vector<std::string>{"grpc"}, stops));
  CHECK(urls.Problem("GRPC://b:1/p.Service/Method").empty());
  CHECK_FALSE(urls.Problem("grpc://").empty());
}

TEST_CASE("url callers: who waits drives the others, and is let go by Stop") {
  dtm::SystemClock clock;
  UrlCallers urls;
  urls.Use(std::make_unique<Silent>());
  int driven = 0;
  const Result result = urls.CallOnce(To("http://b/x"), clock, [&] {
    if (++driven == 3) urls.Stop();
    return clock.Now();
  });
  CHECK(driven == 3);
  CHECK(result.text == "the coordinator was stopped");
}

TEST_CASE("url callers: stopping without a caller") {
  UrlCallers urls;
  urls.Stop();
}
