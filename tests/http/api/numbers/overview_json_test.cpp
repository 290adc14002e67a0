/// The numbers of the overview, of values that are known.
#include <cstddef>
#include <string>

#include "tests/catch.hpp"
#include <dtm/base/version.hpp>
#include <dtm/http/api/numbers/overview_json.hpp>

namespace {

dtm::Gauges Measured() {
  dtm::Gauges now;
  now.store = "memory";
  now.backlog = dtm::Backlog{};
  now.backlog->oldest = dtm::kNever;
  return now;
}

}  // namespace

TEST_CASE("overview_json: with nothing counted, every field is there") {
  const auto json = dtm::overview_json::Of(Measured(), {});
  CHECK(json["version"] == std::string("v") + dtm::kVersion);
  CHECK(json["oldest_time"] == "");
  CHECK(json["unfinished"] == 0);
  CHECK(json["calls"]["hosts"].dump() == "[]");
  CHECK(json["counters"].dump() ==
        R"({"ended":[],"durations":[],"branches":[],"commits":{"count":0,"seconds":0.0}})");
}

TEST_CASE("overview_json: what is unfinished, and the calls that are out") {
  dtm::Gauges now = Measured();
  now.backlog->unfinished = 5;
  now.backlog->stuck = 2;
  now.backlog->oldest = dtm::Time{};
  now.functions.in_flight = 3;
  now.urls.waiting = 4;
  now.urls.hosts.push_back({"http://a", 1, 2, true});
  const auto json = dtm::overview_json::Of(now, {});
  CHECK(json["unfinished"] == 5);
  CHECK(json["stuck"] == 2);
  CHECK(json["oldest_time"] != "");
  CHECK(
      json["calls"].dump() ==
      R"({"functions":{"in_flight":3,"waiting":0},"urls":{"in_flight":0,"waiting":4},"hosts":[{"host":"http://a","in_flight":1,"waiting":2,"limited":true}]})");
}

TEST_CASE("overview_json: at most a hundred hosts") {
  for (const std::size_t hosts : {std::size_t{99}, std::size_t{100}, std::size_t{101}}) {
    dtm::Gauges now = Measured();
    now.urls.hosts.resize(hosts);
    CHECK(dtm::overview_json::Of(now, {})["calls"]["hosts"].size() == (hosts < 100 ? hosts : 100));
  }
  dtm::Gauges now = Measured();
  for (int i = 100; i < 250; ++i) {
    now.urls.hosts.push_back({"http://h" + std::to_string(i), 1, i == 230 ? 5U : 0U, i == 240});
  }
  const auto json = dtm::overview_json::Of(now, {})["calls"]["hosts"];
  CHECK(json[0]["host"] == "http://h240");  // it does not answer
  CHECK(json[1]["host"] == "http://h230");  // calls wait for it
  CHECK(json[2]["host"] == "http://h100");
}
