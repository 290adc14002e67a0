/// The sagas of the protocol's Appendix A, over real HTTP, while hours pass in a millisecond:
/// submitted by a socket, driven by the test kit, looked at through the query.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include <dtm/core/result.hpp>
#include <dtm/testing/failing_store.hpp>
#include <dtm/testing/scripted_branches.hpp>
#include <dtm/testing/test_coordinator.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Result;
using dtm::testing::ScriptedAnswer;
using dtm::testing::StoreFault;
using dtm_test::Get;
using dtm_test::Json;
using dtm_test::kDone;
using dtm_test::Ms;
using dtm_test::Post;
using dtm_test::RawClient;
using dtm_test::RawReply;
using dtm_test::Saga;
using dtm_test::Wrong;
using std::chrono::hours;
using std::chrono::seconds;

namespace {

/// Two steps with the urls http://b/a1, c1, a2 and c2, as `more`.
const std::string kTwo =
    R"(,"steps":[{"action":"http://b/a1","compensate":"http://b/c1"},)"
    R"({"action":"http://b/a2","compensate":"http://b/c2"}],"payloads":["{\"n\":1}","{\"n\":2}"])";
const std::string kConcurrent = R"(,"custom_data":"{\"concurrent\":true}")";
const std::string kOrdered = R"(,"custom_data":"{\"concurrent\":true,\"orders\":{\"1\":[0]}}")";
const std::string kWait = R"(,"wait_result":true)";

std::vector<ScriptedAnswer> Times(std::size_t n, const Result& result) {
  return std::vector<ScriptedAnswer>(n, ScriptedAnswer{result, {}, false});
}

class World {
 public:
  explicit World(const dtm::Options& options = dtm_test::Quiet())
      : kit({}, options), server_(*kit), port(server_.Start("127.0.0.1", 0)) {}

  /// A request, which the coordinator deals with here and now.
  RawReply Ask(const std::string& request) {
    RawClient client(port);
    client.Send(request);
    for (int i = 0; i < 500 && !client.Readable(Ms(20)); ++i) kit.Settle();
    return client.Read();
  }
  /// What is wrong with the answer to a submit of `more`; then everything is done that can be.
  std::string Submit(const std::string& gid, const std::string& more, int status = 200,
                     const std::string& body = kDone) {
    const std::string wrong = Wrong(Ask(Post("submit", Saga(gid, more))), status, body);
    kit.Settle();
    return wrong;
  }

  void On(const std::string& branch, std::vector<ScriptedAnswer> answers) {
    kit.Branches().On("http://b/" + branch, std::move(answers));
  }
  void On(const std::string& branch, const Result& result) { On(branch, Times(1, result)); }

  /// Status and rows, such as "failed S S S F"; checks what the rows are called.
  std::string Seen(const std::string& gid) {
    const Json shown = Ask(Get("query?gid=" + gid)).Parsed();
    if (!shown.contains("transaction") || !shown["transaction"].is_object()) return "not shown";
    std::string text = shown["transaction"]["status"];
    std::size_t row = 0;
    for (const Json& branch : shown["branches"]) {
      const std::string id = "0" + std::to_string(row / 2 + 1);
      if (branch["branch_id"] != id) text += " (not " + id + ")";
      if (branch["op"] != (row % 2 == 0 ? "compensate" : "action")) text += " (other op)";
      const std::string status = branch["status"];
      text += status == "prepared" ? " P" : status == "succeed" ? " S" : " F";
      ++row;
    }
    return text;
  }
  std::string Reason(const std::string& gid) {
    return Ask(Get("query?gid=" + gid)).Parsed()["transaction"].value("rollback_reason", "");
  }
  /// The last letters of the urls, in the order of their calls.
  std::string Called() {
    std::string text;
    for (const std::string& url : kit.Branches().Urls()) text += url.substr(9) + " ";
    return text;
  }

  dtm::testing::TestCoordinator kit;

 private:
  dtm::Server server_;

 public:
  const int port;
};

}  // namespace

TEST_CASE("Appendix A: a saga of two, all fine") {
  World world;
  CHECK(world.Submit("g", kTwo) == "");
  CHECK(world.Seen("g") == "succeed P S P S");
  CHECK(world.Called() == "a1 a2 ");
  CHECK(world.Submit("e", R"(,"steps":[{"action":"","compensate":""},{}],"payloads":["",""])") ==
        "");
  CHECK(world.Seen("e") == "succeed P S P S");
  CHECK(world.Called() == "a1 a2 ");
}

TEST_CASE("Appendix A: the second action fails") {
  const bool concurrent = GENERATE(false, true);
  World world;
  world.On("a2", Result::Failure("no such account"));
  CHECK(world.Submit("g", kTwo + (concurrent ? kOrdered : "")) == "");
  CHECK(world.Seen("g") == "failed S S S F");
  CHECK_THAT(world.Reason("g"), ContainsSubstring("no such account"));
  CHECK(world.Called() == "a1 a2 c2 c1 ");
}

TEST_CASE("Appendix A: the first compensation errors once") {
  const bool concurrent = GENERATE(false, true);
  World world;
  world.On("a2", Result::Failure("no"));
  world.On("c2", Result::Error("boom"));
  CHECK(world.Submit("g", kTwo + (concurrent ? kOrdered : "")) == "");
  CHECK(world.Seen("g") == "aborting P S P F");
  world.kit.Advance(seconds(9));
  CHECK(world.Seen("g") == "aborting P S P F");
  world.kit.Advance(seconds(4));
  CHECK(world.Seen("g") == "failed S S S F");
}

TEST_CASE("Appendix A: the first action is ONGOING once") {
  World world;
  world.On("a1", Result::Ongoing());
  CHECK(world.Submit("g", kTwo) == "");
  CHECK(world.Seen("g") == "submitted P P P P");
  world.kit.Advance(seconds(11));
  CHECK(world.Seen("g") == "succeed P S P S");
  CHECK(world.Called() == "a1 a1 a2 ");
}

TEST_CASE("Appendix A: the first action of a concurrent saga is ONGOING once") {
  World world;
  world.On("a1", Result::Ongoing());
  CHECK(world.Submit("g", kTwo + kConcurrent) == "");
  CHECK(world.Seen("g") == "submitted P P P S");
  world.kit.Advance(seconds(11));
  CHECK(world.Seen("g") == "succeed P S P S");
}

TEST_CASE("Appendix A: the first action fails and the second waits for it") {
  World world;
  world.On("a1", Result::Failure("no"));
  CHECK(world.Submit("g", kTwo + kOrdered) == "");
  CHECK(world.Seen("g") == "failed S F P P");
  CHECK(world.Called() == "a1 c1 ");
}

TEST_CASE("Appendix A: the time is over while the first action is ONGOING") {
  World world;
  world.On("a1", Times(1000, Result::Ongoing()));
  CHECK(world.Submit("g", kTwo + R"(,"timeout_to_fail":1800)") == "");
  world.kit.Advance(seconds(1799));
  CHECK(world.Seen("g") == "submitted P P P P");
  world.kit.Advance(seconds(2));
  CHECK(world.Seen("g") == "failed S P P P");
  CHECK(world.Reason("g") == "Timeout after 1800 seconds");
}

TEST_CASE("Appendix A: as many errors as the limit of retries allows") {
  World world;
  world.On("a2", Times(3, Result::Error("boom")));
  CHECK(world.Submit("g", kTwo + kWait + R"(,"retry_limit":3)", 425, "") == "");
  CHECK(world.Seen("g") == "submitted P S P P");
  world.kit.Advance(hours(1));
  CHECK(world.Seen("g") == "succeed P S P S");
  CHECK(world.Submit("g", kTwo + kWait) == "");
}

TEST_CASE("Appendix A: more errors than the limit of retries allows") {
  World world;
  world.On("a2", Times(3, Result::Error("boom")));
  CHECK(world.Submit("g", kTwo + kWait + R"(,"retry_limit":1)", 425, "") == "");
  world.kit.Advance(hours(1));
  CHECK(world.Seen("g") == "failed S S S P");
  CHECK(world.Reason("g") == "RetryCount is greater than RetryLimit, RetryLimit: 1");
  CHECK(world.Submit("g", kTwo + kWait, 409, "RetryLimit: 1") == "");
}

TEST_CASE("Appendix A: submitted again") {
  World world;
  world.On("a1", Result::Ongoing());
  CHECK(world.Submit("g", kTwo) == "");
  CHECK(world.Submit("g", kTwo) == "");
  CHECK(world.Seen("g") == "submitted P P P P");
  world.kit.Advance(seconds(11));
  CHECK(world.Seen("g") == "succeed P S P S");
  CHECK(world.Submit("g", kTwo) == "");  // Go: an error
  CHECK(world.Submit("g", kTwo + kOrdered, 409, "g") == "");
  CHECK(world.Called() == "a1 a1 a2 ");
}

TEST_CASE("Appendix A: waits after errors grow, those after ONGOING do not") {
  World world;
  SECTION("an error") {
    world.On("a1", Times(2, Result::Error("boom")));
    CHECK(world.Submit("g", kTwo + R"(,"retry_interval":150)") == "");
    world.kit.Advance(seconds(149));
    CHECK(world.Called() == "a1 ");
    world.kit.Advance(seconds(32));  // 150 s, and up to a fifth
    CHECK(world.Called() == "a1 a1 ");
    world.kit.Advance(seconds(268));  // 300 s after the second error, at the earliest 150 s
    CHECK(world.Called() == "a1 a1 ");
    world.kit.Advance(seconds(93));
    CHECK(world.Called() == "a1 a1 a1 a2 ");
  }
  SECTION("ONGOING") {
    world.On("a1", Times(2, Result::Ongoing()));
    CHECK(world.Submit("g", kTwo + R"(,"retry_interval":150)") == "");
    world.kit.Advance(seconds(149));
    CHECK(world.Called() == "a1 ");
    world.kit.Advance(seconds(2));
    CHECK(world.Called() == "a1 a1 ");
    world.kit.Advance(seconds(148));
    CHECK(world.Called() == "a1 a1 ");
    world.kit.Advance(seconds(2));
    CHECK(world.Called() == "a1 a1 a1 a2 ");
  }
  CHECK(world.Seen("g") == "succeed P S P S");
}

TEST_CASE("Appendix A: payloads of the old style") {
  World world;
  CHECK(world.Submit("g", R"(,"steps":[{"action":"http://b/a1","data":"{\"n\":1}"},)"
                          R"({"action":"http://b/a2","compensate":"","data":"two"}])") == "");
  CHECK(world.Seen("g") == "succeed P S P S");
  const Json branches = world.Ask(Get("query?gid=g")).Parsed()["branches"];
  CHECK(branches[1]["bin_data"] == "eyJuIjoxfQ==");
  CHECK(branches[3]["bin_data"] == "dHdv");
}

TEST_CASE("Appendix A: forceStop") {
  World world;
  const std::string stop = Post("forceStop", R"({"gid":"g"})");
  world.On("a2", Times(1000, Result::Ongoing()));
  CHECK(world.Submit("g", kTwo) == "");
  CHECK(Wrong(world.Ask(stop), 200, kDone) == "");
  CHECK(world.Seen("g") == "failed P S P P");
  world.kit.Advance(hours(2));
  CHECK(world.Called() == "a1 a2 ");
  CHECK(Wrong(world.Ask(stop), 409, "failed|g") == "");
  CHECK(world.Submit("e", "") == "");
  CHECK(Wrong(world.Ask(Post("forceStop", R"({"gid":"e"})")), 409, "succeed|e") == "");
}

TEST_CASE("Appendix A: resetCronTime tries what would wait") {
  World world;
  for (const char* gid : {"g1", "g2", "g3", "g4"}) {
    world.On("a1", Result::Ongoing());
    CHECK(world.Submit(gid, kTwo + R"(,"retry_interval":1000)") == "");
  }
  world.On("a1", Result::Ongoing());
  CHECK(world.Submit("soon", kTwo + R"(,"retry_interval":100)") == "");
  CHECK(world.Ask(Post("prepare", Saga("never", kTwo))).status == 200);
  const auto count = [&] {
    const Json page = world.Ask(Get("all?status=succeed")).Parsed();
    return page["transactions"].size();
  };
  const auto reset = [&](const std::string& query) {
    const RawReply reply = world.Ask(Get("resetCronTime" + query));
    world.kit.Settle();
    return reply.body;
  };
  CHECK(reset("?timeout=1001") == R"({"has_remaining":false,"succeed_count":0})");
  CHECK(count() == 0);
  CHECK(reset("?limit=3") == R"({"has_remaining":true,"succeed_count":3})");
  CHECK(count() == 3);
  CHECK(reset("") == R"({"has_remaining":false,"succeed_count":1})");
  CHECK(count() == 4);
  CHECK(world.Seen("soon") == "submitted P P P P");
  CHECK(reset("?timeout=50&limit=1") == R"({"has_remaining":false,"succeed_count":1})");
  CHECK(world.Seen("soon") == "succeed P S P S");
  CHECK(world.Seen("never") == "prepared P P P P");
}

TEST_CASE("Appendix A: resetNextCronTime tries this one at once") {
  World world;
  world.On("a1", Times(2, Result::Ongoing()));
  CHECK(world.Submit("g", kTwo + R"(,"retry_interval":1000)") == "");
  for (int i = 0; i < 2; ++i) {
    CHECK(Wrong(world.Ask(Post("resetNextCronTime", R"({"gid":"g"})")), 200, kDone) == "");
    world.kit.Settle();
  }
  CHECK(world.Seen("g") == "succeed P S P S");
  CHECK(world.Called() == "a1 a1 a1 a2 ");
}

TEST_CASE("wait_result: succeeded, failed, not finished") {
  World world;
  CHECK(world.Submit("s", kTwo + kWait) == "");
  CHECK(world.Seen("s") == "succeed P S P S");
  world.On("a2", Result::Failure("no such account"));
  CHECK(world.Submit("f", kTwo + kWait, 409, "no such account") == "");
  CHECK(world.Seen("f") == "failed S S S F");
  world.On("a1", Result::Ongoing());
  CHECK(world.Submit("o", kTwo + kWait, 425, "") == "");
  CHECK(world.Seen("o") == "submitted P P P P");
  world.On("a1", Result::Error("boom"));
  CHECK(world.Submit("e", kTwo + kWait, 425, "") == "");
  world.On("a1", Result::Failure("no"));
  world.On("c1", Result::Ongoing());
  CHECK(world.Submit("r", kTwo + kWait, 425, "") == "");
  CHECK(world.Seen("r") == "aborting P F P P");
  world.kit.Advance(seconds(20));
  for (const char* gid : {"o", "e"}) CHECK(world.Submit(gid, kTwo + kWait) == "");
  CHECK(world.Submit("r", kTwo + kWait, 409, "no") == "");
}

TEST_CASE("wait_result answers after six seconds at the latest") {
  World world;
  world.On("a1", {ScriptedAnswer{Result::Success(), seconds(5), false},
                  ScriptedAnswer{Result::Success(), seconds(7), false}});
  const std::string slow = kTwo + kWait + R"(,"request_timeout":30)";
  const auto ask = [&](const std::string& gid) {
    const dtm::Time start = world.kit.Clock().Now();
    RawClient client(world.port);
    client.Send(Post("submit", Saga(gid, slow)));
    // If nobody else lets the time pass, this thread does.
    for (int i = 0; i < 100 && !client.Readable(Ms(50)); ++i) world.kit.Advance(Ms(500));
    const RawReply reply = client.Read();
    const auto took = world.kit.Clock().Now() - start;
    CHECK(took <= Ms(6500));
    return reply;
  };
  CHECK(Wrong(ask("five"), 200, kDone) == "");
  CHECK(Wrong(ask("seven"), 425, "") == "");
  CHECK(world.Seen("seven") == "submitted P P P P");
  world.kit.Advance(seconds(2));
  CHECK(world.Seen("seven") == "succeed P S P S");
}

TEST_CASE("prepare, then submit") {
  World world;
  CHECK(Wrong(world.Ask(Post("prepare", Saga("g", kTwo))), 200, kDone) == "");
  world.kit.Advance(hours(100));
  CHECK(world.Seen("g") == "prepared P P P P");
  CHECK(world.Called().empty());
  world.On("a1", Times(2, Result::Ongoing()));
  CHECK(world.Submit("g", kTwo + kOrdered + R"(,"retry_interval":100)") == "");
  CHECK(world.Seen("g") == "submitted P P P P");  // in this order, because the submit says so
  Json shown = world.Ask(Get("query?gid=g")).Parsed()["transaction"];
  CHECK(shown.value("retry_interval", 0) == 100);
  CHECK(shown["steps"].size() == 2);
  CHECK_THAT(shown.value("custom_data", ""), ContainsSubstring("orders"));
  world.kit.Advance(seconds(99));
  CHECK(world.Called() == "a1 ");
  world.kit.Advance(seconds(102));
  CHECK(world.Seen("g") == "succeed P S P S");
}

TEST_CASE("prepare, then submit without steps but with their order") {
  World world;
  CHECK(Wrong(world.Ask(Post("prepare", Saga("g", kTwo))), 200, kDone) == "");
  world.On("a1", Result::Failure("no"));
  CHECK(world.Submit("g", kOrdered) == "");
  CHECK(world.Seen("g") == "failed S F P P");
}

TEST_CASE("abort of a saga compensates what may have run") {
  World world;
  world.On("a2", Result::Ongoing());
  CHECK(world.Submit("g", kTwo) == "");
  CHECK(world.Seen("g") == "submitted P S P P");
  CHECK(Wrong(world.Ask(Post("abort", Saga("g", R"(,"rollback_reason":"enough")"))), 200, kDone) ==
        "");
  world.kit.Settle();
  CHECK(world.Seen("g") == "failed S S S P");
  CHECK(world.Reason("g") == "enough");
  CHECK(world.Called() == "a1 a2 c2 c1 ");
  // Before anything ran there is nothing to undo.
  CHECK(world.Ask(Post("prepare", Saga("p", kTwo))).status == 200);
  CHECK(Wrong(world.Ask(Post("abort", Saga("p"))), 200, kDone) == "");
  world.kit.Settle();
  CHECK(world.Seen("p") == "failed P P P P");
  CHECK(world.Called() == "a1 a2 c2 c1 ");
}

TEST_CASE("a store that fails is told to the client") {
  World world;
  world.On("a1", Result::Ongoing());
  CHECK(world.Submit("held", kTwo) == "");
  world.kit.Store().FailAlways(StoreFault::kDefinite);
  for (int i = 0; i < 2; ++i) CHECK(world.Submit("g", kTwo, 503, "") == "");
  CHECK(Wrong(world.Ask(Post("prepare", Saga("p", kTwo))), 503, "") == "");
  CHECK(Wrong(world.Ask(Post("forceStop", R"({"gid":"held"})")), 503, "") == "");
  CHECK(Wrong(world.Ask(Post("abort", Saga("held"))), 503, "") == "");
  CHECK(Wrong(world.Ask(Get("/api/ping")), 200, R"({"msg":"pong"})") == "");
  world.kit.Store().FailAlways(StoreFault::kNone);
  world.kit.Advance(seconds(2));
  CHECK(world.Seen("g") == "not shown");
  CHECK(world.Seen("held") == "submitted P P P P");
  CHECK(world.Submit("g", kTwo) == "");
  CHECK(world.Seen("g") == "succeed P S P S");
}

TEST_CASE("what may be stored is told as that, and may be sent again") {
  const auto fault = GENERATE(StoreFault::kInDoubtButStored, StoreFault::kInDoubtNotStored);
  World world;
  int doubts = 0;
  for (int n = 1; n <= 5; ++n) {  // which operation is the commit?
    const std::string gid = "g" + std::to_string(n);
    world.kit.Store().FailOnce(static_cast<std::uint64_t>(n), fault);
    const RawReply reply = world.Ask(Post("submit", Saga(gid, kTwo)));
    if (reply.status == 500) {
      ++doubts;
      CHECK(Wrong(reply, 500, gid) == "");
    } else {
      CHECK((reply.status == 200 || reply.status == 503));
    }
    world.kit.Advance(seconds(2));
    CHECK(world.Submit(gid, kTwo) == "");
    CHECK(world.Seen(gid) == "succeed P S P S");
  }
  CHECK(doubts == 1);
}

TEST_CASE("too many waiting submissions are told to come later") {
  dtm::Options options = dtm_test::Quiet();
  options.max_waiting_submissions = 1;
  World world(options);
  const auto fill = [&](const std::string& gid) {
    dtm::Definition other;
    other.gid = gid;
    world.kit->SubmitAsync(other, {});  // and no turn takes it yet
  };
  fill("first");
  CHECK(world.Submit("g", kTwo, 503, "") == "");
  fill("second");
  CHECK(Wrong(world.Ask(Post("prepare", Saga("g", kTwo))), 503, "") == "");
  CHECK(world.Seen("g") == "not shown");
}

TEST_CASE("times of the list include both ends") {
  World world;
  const auto now = [&] {
    return std::chrono::duration_cast<Ms>(world.kit.Clock().Now().time_since_epoch()).count();
  };
  const long long start = now();
  for (const char* gid : {"t0", "t1", "t2"}) {
    CHECK(world.Submit(gid, "") == "");
    world.kit.Advance(Ms(1));
  }
  const auto listed = [&](const std::string& query) {
    std::string gids;
    const Json page = world.Ask(Get("all?" + query)).Parsed();
    for (const Json& t : page["transactions"]) {
      gids += t["gid"].get<std::string>() + " ";
    }
    return gids;
  };
  const auto from = [&](long long ms) { return "createTimeStart=" + std::to_string(start + ms); };
  const auto to = [&](long long ms) { return "&createTimeEnd=" + std::to_string(start + ms); };
  CHECK(listed(from(0)) == "t2 t1 t0 ");
  CHECK(listed(from(1)) == "t2 t1 ");
  CHECK(listed(from(1) + to(1)) == "t1 ");
  CHECK(listed(from(0) + to(1)) == "t1 t0 ");
  CHECK(listed(from(3)) == "");
  CHECK(listed(to(0).substr(1)) == "t0 ");
  CHECK(listed(to(-1).substr(1)) == "");
  const Json t1 = world.Ask(Get("query?gid=t1")).Parsed()["transaction"];
  CHECK(t1["create_time"] == "2026-01-01T00:00:00.001Z");
  CHECK(t1["finish_time"] == "2026-01-01T00:00:00.001Z");
}
