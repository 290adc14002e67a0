/// The protocol's Appendix A over the API: every case of tests/support/appendix_a.hpp as a program in any language asks
/// for it, by paths and by JSON-RPC, while hours pass in a millisecond. With sockets: appendix_a_test.cpp.
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/api_kit.hpp"
#include "tests/http/appendix_a_program.hpp"
#include <dtm/testing/scripted_branches.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Result;
using dtm_test::ApiKit;
using dtm_test::ApiNodes;
using dtm_test::Json;
using dtm_test::kDone;
using std::chrono::seconds;

namespace {

struct World : ApiKit {
  std::string Body(const std::string& type, const std::string& more = "") {
    return R"({"gid":"g","trans_type":")" + type + "\"" + more + "}";
  }
  /// What is wrong with the answer; then everything is done that can be.
  std::string Tell(const std::string& path, const std::string& body, int status = 200) {
    const dtm::ApiReply answer = AskPost(path, body);
    kit.Settle();
    const bool good = answer.status == status && (status != 200 || answer.body == kDone);
    return good ? "" : std::to_string(answer.status) + " " + answer.body;
  }
};

}  // namespace

TEST_CASE("Appendix A: every case, over the API, by its paths and by JSON-RPC") {
  appendix_a::PlayEach([] { return std::make_unique<ApiNodes>(); });
}

TEST_CASE("Appendix A: the same at two coordinators of one store, each request at either") {
  const std::uint64_t seed = GENERATE(1U, 2U, 3U, 4U);
  CAPTURE(seed);
  appendix_a::PlayEach([seed] { return std::make_unique<ApiNodes>(seed); });
}

TEST_CASE(
    "Appendix A: resetCronTime at a node that drives none of them takes one beat, not one for "
    "each") {
  ApiNodes nodes(1U);
  for (int i = 0; i < 100; ++i) {
    const std::string gid = "g" + std::to_string(i);
    nodes.Branches().On("http://b/1", Result::Ongoing());
    const std::string body = R"({"gid":")" + gid +
                             R"(","trans_type":"msg","retry_interval":1000,)"
                             R"("steps":[{"action":"http://b/1"}],"payloads":["{}"]})";
    REQUIRE(nodes.AskAt(0, "POST", "submit", {}, body).body == kDone);
  }
  const dtm::Time before = nodes.Clock()->Now();
  CHECK(nodes.AskAt(1, "GET", "resetCronTime").body ==
        R"({"has_remaining":false,"succeed_count":100})");
  CHECK(nodes.Clock()->Now() - before < seconds(1));
  CHECK(nodes.Branches().Calls().size() == 200);
}

TEST_CASE("Appendix A: a topic of a message is shown as one step, and its urls as branches of it") {
  World world;
  const std::string steps = R"(,"steps":[{"action":"topic://t"}],"payloads":["{}"])";
  const dtm::ApiReply answer = world.AskPost("submit", world.Body("msg", steps));
  CHECK_THAT(answer.body, ContainsSubstring("topic not found"));
  for (const char* url : {"http://b/1", "http://b/2"}) {
    CHECK(world.AskGet("subscribe", {{"topic", "t"}, {"url", url}}).body == kDone);
  }
  CHECK(world.Tell("submit", world.Body("msg", steps + R"(,"protocol":"json-rpc")")) == "");
  const Json branches = Json::parse(world.AskGet("query", {{"gid", "g"}}).body)["branches"];
  CHECK(branches[0]["branch_id"] == "01-01");
  CHECK(branches[1]["branch_id"] == "01-02");
  CHECK(world.Shown("g")["steps"] == Json::array({{{"action", "topic://t"}}}));
  CHECK(world.Shown("g")["payloads"] == Json::array({"{}"}));
  CHECK(world.Shown("g")["protocol"] == "json-rpc");
}

TEST_CASE("Appendix A: a timed out tcc says how long it had, also if that was not its own (W27)") {
  World world;
  const bool own = GENERATE(false, true);
  CHECK(world.Tell("prepare", world.Body("tcc", own ? R"(,"timeout_to_fail":7)" : "")) == "");
  world.kit.Advance(seconds(own ? 8 : 36));
  CHECK(world.Shown("g")["rollback_reason"] ==
        (own ? "Timeout after 7 seconds" : "Timeout after 35 seconds"));
  CHECK(world.Tell("submit", world.Body("tcc"), 409) == "");
}

TEST_CASE(
    "Appendix A: a tcc or xa that is submitted again while it is ONGOING skips nothing (W1)") {
  World world;
  const std::string type = GENERATE("tcc", "xa");
  world.kit.Branches().On("http://b/1", Result::Ongoing());
  CHECK(world.Tell("prepare", world.Body(type)) == "");
  CHECK(world.Tell("registerBranch",
                   world.Body(type, R"(,"branch_id":"01","data":"","url":"http://b/1",)"
                                    R"("confirm":"http://b/1","cancel":"http://b/2")")) == "");
  for (int i = 0; i < 2; ++i) {
    CHECK(world.Tell("submit", world.Body(type)) == "");
    CHECK(world.StatusOf("g") == "submitted");
  }
  world.kit.Advance(seconds(11));
  CHECK(world.StatusOf("g") == "succeed");
  CHECK(world.kit.Branches().Urls() == std::vector<std::string>{"http://b/1", "http://b/1"});
}

TEST_CASE("wait_result: the abort of a tcc or xa is answered when all is cancelled, or must wait") {
  World world;
  const std::string type = GENERATE("tcc", "xa");
  const bool waits = GENERATE(true, false);
  CAPTURE(type, waits);
  world.kit.Branches().On("http://b/2", {{Result::Ongoing()}});
  CHECK(world.Tell("prepare", world.Body(type, waits ? R"(,"wait_result":true)" : "")) == "");
  CHECK(world.Tell("registerBranch",
                   world.Body(type, R"(,"branch_id":"01","data":"","url":"http://b/2",)"
                                    R"("confirm":"http://b/1","cancel":"http://b/2")")) == "");
  CHECK(world.Tell("abort", world.Body(type), waits ? 425 : 200) == "");
  CHECK(world.StatusOf("g") == "aborting");
  CHECK(world.Tell("abort", world.Body(type)) == "");  // makes the waiting call
  CHECK(world.StatusOf("g") == "failed");
  CHECK(world.Tell("abort", world.Body(type), 409) == "");
}

TEST_CASE("Appendix A: who prepares a workflow again is told what it had done") {
  World world;
  const std::string body = world.Body(
      "workflow", R"(,"query_prepared":"http://b/resume","custom_data":"{\"name\":\"wf\"}")");
  CHECK(world.AskPost("prepareWorkflow", body).status == 200);
  CHECK(world.Tell("registerBranch",
                   world.Body("workflow", R"(,"branch_id":"01","op":"action","status":"succeed",)"
                                          R"("data":"one")")) == "");
  const Json shown = Json::parse(world.AskPost("prepareWorkflow", body).body);
  CHECK(shown["transaction"]["status"] == "prepared");
  REQUIRE(shown["progresses"].size() == 1);
  CHECK(shown["progresses"][0]["bin_data"] == "b25l");
}
