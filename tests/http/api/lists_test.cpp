/// The API's lists: pages, filters, times, and waking what waits.
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/api_kit.hpp"
#include "tests/support/quiet.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/base/version.hpp>
#include <dtm/coordinator/parts/topics.hpp>
#include <dtm/store/memory.hpp>
#include <dtm/testing/shared_memory_store.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::ApiKit;
using dtm_test::Json;
using dtm_test::kDone;
using dtm_test::OnlyGid;
using dtm_test::Query;
using dtm_test::Saga;
using dtm_test::Step;
using Seconds = std::chrono::seconds;
using Micros = std::chrono::microseconds;

namespace {

struct Page {
  std::vector<std::string> gids;
  std::string next;
};

Page List(ApiKit& kit, Query query = {}) {
  const dtm::ApiReply answer = kit.AskGet("all", std::move(query));
  INFO(answer.body.substr(0, 300));
  REQUIRE(answer.status == 200);
  const Json json = Json::parse(answer.body);
  Page page;
  for (const Json& transaction : json["transactions"]) page.gids.push_back(transaction["gid"]);
  page.next = json["next_position"];
  return page;
}

std::string Gid(int i) { return "g" + std::to_string(100 + i); }

/// Prepared, one each second: they stay.
void Prepare(ApiKit& kit, int count, const std::string& more = {}) {
  for (int i = 0; i < count; ++i) {
    REQUIRE(kit.AskPost("prepare", Saga(Gid(i), more)).body == kDone);
    kit.kit.Advance(Seconds(1));
  }
}

std::vector<std::string> Descending(int from, int to) {
  std::vector<std::string> gids;
  for (int i = from; i >= to; --i) gids.push_back(Gid(i));
  return gids;
}

std::string Milli(dtm::Time time) {
  return std::to_string(
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count());
}

}  // namespace

TEST_CASE("api_lists: newest first, page by page") {
  ApiKit kit;
  CHECK(kit.AskGet("all").body == R"({"next_position":"","transactions":[]})");
  Prepare(kit, 70);
  CHECK(List(kit).gids == Descending(69, 0));
  CHECK(List(kit).next.empty());
  struct Row {
    int limit;
    std::vector<std::size_t> sizes;
  };
  const Row rows[] = {{1000, {70}},      {71, {70}},        {70, {70, 0}},     {69, {69, 1}},
                      {33, {33, 33, 4}}, {35, {35, 35, 0}}, {32, {32, 32, 6}}, {64, {64, 6}}};
  for (const Row& row : rows) {
    CAPTURE(row.limit);
    std::vector<std::string> all;
    std::string position;
    for (std::size_t n = 0; n < row.sizes.size(); ++n) {
      Query query{{"limit", std::to_string(row.limit)}};
      if (n > 0) query.emplace("position", position);
      const Page page = List(kit, query);
      CHECK(page.gids.size() == row.sizes[n]);
      CHECK(page.next.empty() == (n + 1 == row.sizes.size()));
      all.insert(all.end(), page.gids.begin(), page.gids.end());
      position = page.next;
    }
    CHECK(all == Descending(69, 0));
  }
  Prepare(kit, 71);  // the same ones, and one more
  CHECK(List(kit, {{"limit", "1"}}).gids == Descending(70, 70));
}

TEST_CASE("api_lists: hundred unless it is said") {
  ApiKit kit;
  Prepare(kit, 101);
  CHECK(List(kit).gids == Descending(100, 1));
  CHECK(List(kit, {{"position", List(kit).next}}).gids == Descending(0, 0));
  CHECK(List(kit, {{"limit", ""}, {"position", ""}}).gids.size() == 100);
}

TEST_CASE("api_lists: large ones come in more pages, and none is lost") {
  ApiKit kit;
  Prepare(kit, 40, Step("", "", std::string(dtm::kMaxPayloadBytes, 'p')));
  std::vector<std::string> all;
  std::string position;
  int pages = 0;
  do {
    const dtm::ApiReply answer = kit.AskGet("all", {{"position", position}});
    CHECK(answer.body.size() < (std::size_t{12} << 20));
    const Json json = Json::parse(answer.body);
    for (const Json& transaction : json["transactions"]) all.push_back(transaction["gid"]);
    position = json["next_position"];
    ++pages;
  } while (!position.empty() && pages < 100);
  CHECK(all == Descending(39, 0));
  CHECK(pages > 1);
}

TEST_CASE("api_lists: large urls count as large payloads do") {
  ApiKit kit;
  std::string steps = R"(,"steps":[{})", payloads = R"(],"payloads":["")";
  for (int i = 0; i < 250; ++i) {
    steps += R"(,{"action":"http://h/)" + std::string(2000, 'u') + R"(","compensate":"http://h/)" +
             std::string(2000, 'u') + R"("})";
    payloads += R"(,"")";
  }
  Prepare(kit, 40, steps + payloads + "]");
  CHECK(List(kit).gids.size() < 40);
}

TEST_CASE("api_lists: large values come in more pages too, and none is lost") {
  const auto store = std::make_shared<dtm::MemoryStore>();
  std::vector<std::string> topics;
  store->Begin();
  for (int i = 0; i < 24; ++i) {
    topics.push_back("t" + std::to_string(100 + i));
    store->PutValue(
        dtm::topics::ToStore(topics.back(), {{std::string(std::size_t{1} << 20, 'u'), ""}}, {}));
  }
  store->Commit();
  ApiKit kit({}, {}, store);
  std::vector<std::string> all;
  std::string position;
  int pages = 0;
  do {
    const dtm::ApiReply answer = kit.AskGet("scanKV", {{"position", position}});
    CHECK(answer.body.size() < (std::size_t{22} << 20));
    const Json json = Json::parse(answer.body);
    for (const Json& value : json["kv"]) all.push_back(value["k"]);
    position = json["next_position"];
    ++pages;
  } while (!position.empty() && pages < 100);
  CHECK(all == topics);
  CHECK(pages > 1);
  CHECK(kit.AskGet("queryKV", {{"cat", "topics"}}).body.size() < (std::size_t{22} << 20));
}

TEST_CASE("api_lists: by gid it is a list of one, or none") {
  ApiKit kit;
  Prepare(kit, 3);
  const Page page = List(kit, {{"gid", Gid(1)}, {"limit", "1"}});
  CHECK(page.gids == std::vector<std::string>{Gid(1)});
  CHECK(page.next.empty());
  CHECK(kit.AskGet("all", {{"gid", "none"}}).body == R"({"next_position":"","transactions":null})");
}

TEST_CASE("api_lists: by status and type") {
  ApiKit kit;
  kit.kit.Branches().On("http://b/wait", dtm::Result::Ongoing());
  kit.kit.Branches().On("http://b/fail", dtm::Result::Failure("no"));
  kit.kit.Branches().On("http://b/fail2", dtm::Result::Failure("no"));
  kit.kit.Branches().On("http://b/wait2", dtm::Result::Ongoing());
  (void)kit.AskPost("prepare", Saga("prepared"));
  (void)kit.AskPost("submit", Saga("succeed", Step("http://b/ok")));
  (void)kit.AskPost("submit", Saga("submitted", Step("http://b/wait")));
  (void)kit.AskPost("submit", Saga("failed", Step("http://b/fail")));
  (void)kit.AskPost("submit", Saga("aborting", Step("http://b/fail2", "http://b/wait2")));
  kit.kit.Settle();
  for (const char* status : {"prepared", "succeed", "submitted", "failed", "aborting"}) {
    CHECK(List(kit, {{"status", status}}).gids == std::vector<std::string>{status});
    CHECK(List(kit, {{"status", status}, {"transType", "saga"}}).gids.size() == 1);
    CHECK(List(kit, {{"status", status}, {"transType", "tcc"}}).gids.empty());
  }
  CHECK(List(kit, {{"transType", "saga"}}).gids.size() == 5);
  for (const char* type : {"msg", "tcc", "xa", "workflow"}) {
    CHECK(List(kit, {{"transType", type}}).gids.empty());
  }
  CHECK(List(kit, {{"status", "succeed"}, {"limit", "1"}}).gids.size() == 1);
}

TEST_CASE("api_lists: by time of creation in milliseconds, both ends included") {
  ApiKit kit;
  const dtm::Time start = kit.kit.Clock().Now();
  Prepare(kit, 5);
  kit.kit.Clock().Set(start + Seconds(10) + Micros(7999));
  REQUIRE(kit.AskPost("prepare", Saga("odd")).body == kDone);
  const auto at = [&start](int seconds, int milli = 0) {
    return Milli(start + Seconds(seconds) + std::chrono::milliseconds(milli));
  };
  const auto from = [](const std::string& time) { return Query{{"createTimeStart", time}}; };
  const auto between = [](const std::string& a, const std::string& b) {
    return Query{{"createTimeStart", a}, {"createTimeEnd", b}};
  };
  CHECK(List(kit, between(at(1), at(3))).gids == Descending(3, 1));
  CHECK(List(kit, between(at(2), at(2))).gids == Descending(2, 2));
  CHECK(List(kit, between(at(1, 1), at(2, 999))).gids == Descending(2, 2));
  CHECK(List(kit, between(at(1, 1), at(1, 999))).gids.empty());
  CHECK(List(kit, between(at(3), at(1))).gids.empty());
  CHECK(List(kit, {{"createTimeEnd", at(1)}}).gids == Descending(1, 0));
  CHECK(List(kit, from(at(10))).gids == std::vector<std::string>{"odd"});
  CHECK(List(kit, between(at(10, 7), at(10, 7))).gids == std::vector<std::string>{"odd"});
  CHECK(List(kit, between(at(10, 8), at(11))).gids.empty());
  CHECK(List(kit, between("0", "999999999999999")).gids.size() == 6);
  CHECK(List(kit, from("-1000")).gids.size() == 6);
  CHECK(List(kit, {{"createTimeEnd", "-1"}}).gids.empty());
}

TEST_CASE("api_lists: what cannot be read in the query is 400") {
  ApiKit kit;
  Prepare(kit, 1);
  const std::pair<const char*, std::string> bad[] = {
      {"limit", "0"},
      {"limit", "-1"},
      {"limit", "1001"},
      {"limit", "abc"},
      {"limit", "1.0"},
      {"limit", "99999999999999999999"},
      {"position", "abc"},
      {"position", "-1"},
      {"createTimeStart", "abc"},
      {"createTimeEnd", "1s"},
      {"status", "done"},
      {"status", "Prepared"},
      {"status", "submitted "},
      {"transType", "Saga"},
      {"transType", "x"},
      {"stuck", "2"},
      {"unfinished", "true"},
      {"errors", "yes"},
      {"short", "-1"},
      {"gidPrefix", "\xC3"},
      {"gidPrefix", std::string(129, 'g')},
      {"target", "\xFF"},
      {"target", std::string(2049, 't')},
  };
  for (const auto& [key, value] : bad) {
    CAPTURE(key, value);
    const dtm::ApiReply answer = kit.AskGet("all", {{key, value}});
    CHECK(answer.status == 400);
    CHECK_THAT(answer.body, ContainsSubstring("{\"message\":\""));
  }
  CHECK(kit.AskGet("all", {{"limit", "abc"}}).body == R"({"message":"convert to int error: abc"})");
  for (const auto& [key, value] :
       {std::pair("timeout", "x"), std::pair("timeout", "-1"), std::pair("limit", "x")}) {
    CHECK(kit.AskGet("resetCronTime", {{key, value}}).status == 400);
  }
}

TEST_CASE("api_lists: what a search finds") {
  ApiKit kit;
  kit.kit.Branches().On("http://u:secret@b/bad", dtm::Result::Error("boom"));
  kit.kit.Branches().On("http://b/no", dtm::Result::Failure("no"));
  REQUIRE(kit.AskPost("submit", Saga("a-bad", Step("http://u:secret@b/bad"))).status == 200);
  REQUIRE(kit.AskPost("submit", Saga("a-no", Step("http://b/no"))).status == 200);
  REQUIRE(kit.AskPost("submit", Saga("b-good", Step("http://b/good"))).status == 200);
  REQUIRE(kit.AskPost("prepare", Saga("b-prepared")).status == 200);
  kit.kit.Settle();
  using Gids = std::vector<std::string>;
  const std::vector<std::pair<Query, Gids>> rows = {
      {{{"short", "1"}}, {"b-prepared", "b-good", "a-no", "a-bad"}},
      {{{"gidPrefix", "a-"}}, {"a-no", "a-bad"}},
      {{{"gidPrefix", "a-"}, {"status", "failed"}}, {"a-no"}},
      {{{"unfinished", "1"}}, {"b-prepared", "a-bad"}},
      {{{"unfinished", "1"}, {"errors", "1"}}, {"a-bad"}},
      {{{"unfinished", "0"}}, {"b-prepared", "b-good", "a-no", "a-bad"}},
      {{{"target", "b/good"}}, {"b-good"}},
      {{{"target", "http://***@b/bad"}}, {"a-bad"}},
      {{{"target", "secret"}}, {}},
      {{{"errors", "1"}}, {"a-no", "a-bad"}},
      {{{"errors", "1"}, {"transType", "msg"}}, {}},
      {{{"stuck", "1"}}, {}}};
  for (const auto& [query, gids] : rows) {
    CAPTURE(query.begin()->first, query.begin()->second);
    CHECK(List(kit, query).gids == gids);
    CHECK(List(kit, query).next.empty());
  }
}

TEST_CASE("api_lists: a search is bounded, and other lists are as long as they were") {
  const auto store = std::make_shared<dtm::MemoryStore>();
  std::vector<dtm::Transaction> old;
  for (int i = 0; i < 10100; ++i) {
    old.push_back(dtm_test::Finished("old" + std::to_string(i), dtm_test::At(0), dtm_test::At(1)));
  }
  old[3].status = dtm::Status::kFailed;
  std::vector<dtm::Change> changes;
  for (dtm::Transaction& each : old) changes.push_back({&each});
  store->Begin();
  store->Apply(changes);
  store->Commit();
  ApiKit kit({}, dtm_test::Quiet(), store);
  const Query failed{{"status", "failed"}, {"limit", "1"}};
  CHECK(List(kit, failed).gids == std::vector<std::string>{"old3"});
  Query short_page = failed;
  short_page.emplace("short", "1");
  Page page = List(kit, short_page);
  CHECK(page.gids.empty());
  REQUIRE_FALSE(page.next.empty());
  short_page.emplace("position", page.next);
  CHECK(List(kit, short_page).gids == std::vector<std::string>{"old3"});
}

TEST_CASE("api_lists: the coordinator alone is the only node") {
  dtm::Options options = dtm_test::Quiet();
  options.node_name = "desk \"one\"";
  options.server_url = "http://u:secret@h:1/api/dtmsvr";
  options.app = "bank";
  ApiKit kit({}, options);
  CHECK(kit.AskGet("nodes").body ==
        R"({"nodes":[{"name":"desk \"one\"","url":"http://***@h:1/api/dtmsvr","app":"bank",)"
        R"("member":true,"silent_ms":0,"self":true}]})");
}

TEST_CASE("api_lists: the nodes of a shared store") {
  const auto tables = std::make_shared<dtm::testing::SharedMemoryTables>();
  const auto time = std::make_shared<dtm::testing::VirtualTime>();
  const auto open = [&] { return dtm::testing::SharedMemoryStore(tables, time); };
  const auto options = [](const char* name) {
    dtm::Options named = dtm_test::Quiet();
    named.node_name = name;
    return named;
  };
  using dtm::testing::TestCoordinator;
  TestCoordinator one({}, options("one"), open, time), two({}, options("two"), open, time);
  TestCoordinator::AdvanceAll({&one, &two}, Seconds(2));
  const auto seen = [](TestCoordinator& node) {
    std::string text;
    for (const dtm::Peer& peer : node->Nodes()) {
      text += peer.node.name + (peer.is_member ? "" : " gone") + (peer.is_self ? " self" : "") +
              (peer.silent && *peer.silent < Seconds(1) ? " heard " : " ");
    }
    return text;
  };
  CHECK(seen(one) == "one self heard two heard ");
  CHECK(seen(two) == "one heard two self heard ");
  dtm::Api api(*one);
  const Json nodes = Json::parse(api.Handle({"GET", "/api/dtmsvr/nodes", {}, {}}).body)["nodes"];
  REQUIRE(nodes.size() == 2);
  CHECK(nodes[1]["name"] == "two");
  CHECK(nodes[1]["silent_ms"].is_number());
  two->Stop(Seconds(1));
  CHECK(seen(one).find("two gone") != std::string::npos);
}

TEST_CASE("api_lists: the overview") {
  ApiKit kit;
  const Json empty = Json::parse(kit.AskGet("overview").body);
  CHECK(empty["unfinished"] == 0);
  CHECK(empty["oldest_time"] == "");
  kit.kit.Branches().On("http://b/no", dtm::Result::Failure("no"));
  REQUIRE(kit.AskPost("prepare", Saga("waits")).status == 200);
  const std::string created = kit.Shown("waits")["create_time"];
  kit.kit.Advance(Seconds(7));
  REQUIRE(kit.AskPost("submit", Saga("no", Step("http://b/no"))).status == 200);
  REQUIRE(kit.AskPost("submit", Saga("good", Step("http://b/good"))).status == 200);
  kit.kit.Settle();
  const Json now = Json::parse(kit.AskGet("overview").body);
  CHECK(now["version"] == std::string("v") + dtm::kVersion);
  CHECK(now["store"] == "memory");
  CHECK(now["unfinished"] == 1);
  CHECK(now["waiting"] == 1);
  CHECK(now["stuck"] == 0);
  CHECK(now["damaged"] == 0);
  CHECK(now["oldest_time"] == created);
  CHECK(now["time"] > now["oldest_time"]);
  CHECK(
      now["counters"]["ended"].dump() ==
      R"([{"type":"saga","status":"succeed","count":1},{"type":"saga","status":"failed","count":1}])");
  CHECK(now["counters"]["durations"][0]["counts"].size() ==
        now["counters"]["durations"][0]["bounds"].size() + 1);
  CHECK(now["counters"]["branches"].size() == 2);
  CHECK(now["counters"]["commits"]["count"] > 0);
  CHECK(now["calls"]["urls"]["in_flight"] == 0);
  CHECK(now["calls"]["hosts"].is_array());
}

TEST_CASE("api_lists: resetCronTime tries at once what would wait for longer") {
  ApiKit kit;
  for (int i = 0; i < 3; ++i) {
    const std::string url = "http://b/" + std::to_string(i);
    kit.kit.Branches().On(url, dtm::Result::Ongoing());
    const std::string interval = R"(,"retry_interval":)" + std::to_string(200 + i);
    REQUIRE(kit.AskPost("submit", Saga(Gid(i), Step(url) + interval)).body == kDone);
  }
  REQUIRE(kit.AskPost("prepare", Saga("prepared")).body == kDone);
  kit.kit.Settle();
  const auto reset = [&kit](const Query& query) {
    return kit.Ask("POST", "resetCronTime", query).body;
  };
  const auto answer = [](bool more, int count) {
    return std::string(R"({"has_remaining":)") + (more ? "true" : "false") +
           R"(,"succeed_count":)" + std::to_string(count) + "}";
  };
  CHECK(reset({{"timeout", "202"}}) == answer(false, 0));  // none waits for longer
  CHECK(reset({{"timeout", "200"}, {"limit", "1"}}) == answer(true, 1));
  kit.kit.Settle();
  CHECK(kit.StatusOf(Gid(1)) == "succeed");  // the earliest of those later than 200 s
  CHECK(reset({}) == answer(false, 2));
  kit.kit.Settle();
  CHECK(kit.StatusOf(Gid(0)) == "succeed");
  CHECK(kit.StatusOf(Gid(2)) == "succeed");
  CHECK(kit.StatusOf("prepared") == "prepared");
  CHECK(reset({{"timeout", "0"}}) == answer(false, 0));
}

TEST_CASE("api_lists: resetNextCronTime tries one at once") {
  ApiKit kit;
  kit.kit.Branches().On("http://b/a", {{dtm::Result::Error("boom")}, {dtm::Result::Error("boom")}});
  REQUIRE(kit.AskPost("submit", Saga("g", Step("http://b/a"))).body == kDone);
  kit.kit.Settle();
  for (std::size_t calls = 2; calls <= 3; ++calls) {
    CHECK(kit.AskPost("resetNextCronTime", OnlyGid("g")).body == kDone);
    kit.kit.Settle();
    CHECK(kit.kit.Branches().Calls().size() == calls);
  }
  CHECK(kit.StatusOf("g") == "succeed");
  CHECK(kit.AskPost("resetNextCronTime", OnlyGid("g")).body == kDone);
}
