/// The messages, tccs, xas, workflows and topics of the protocol's Appendix A, over the API, while hours
/// pass in a millisecond.
#include <chrono>
#include <regex>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/api_kit.hpp"
#include <dtm/testing/scripted_branches.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Result;
using dtm_test::ApiKit;
using dtm_test::Json;
using dtm_test::kDone;
using dtm_test::OnlyGid;
using std::chrono::hours;
using std::chrono::seconds;

namespace {

const std::string kTwoMessages =
    R"(,"query_prepared":"http://b/q","steps":[{"action":"http://b/1"},{"action":"http://b/2"}],)"
    R"("payloads":["{}","{}"])";

struct World : ApiKit {
  std::string Body(const std::string& type, const std::string& more = "") {
    return R"({"gid":"g","trans_type":")" + type + "\"" + more + "}";
  }
  /// What is wrong with the answer; then everything is done that can be.
  std::string Tell(const std::string& path, const std::string& body, int status = 200) {
    const dtm::ApiAnswer answer = AskPost(path, body);
    kit.Settle();
    const bool good = answer.status == status && (status != 200 || answer.body == kDone);
    return good ? "" : std::to_string(answer.status) + " " + answer.body;
  }
  std::string Register(const std::string& type, const std::string& id, int status = 200) {
    const std::string urls = type == "tcc" ? R"(,"confirm":"http://b/confirm)" + id +
                                                 R"(","cancel":"http://b/cancel)" + id + "\""
                                           : R"(,"url":"http://b/xa)" + id + "\"";
    return Tell("registerBranch", Body(type, R"(,"branch_id":")" + id + R"(","data":"{}")" + urls),
                status);
  }
  void On(const std::string& branch, const std::vector<Result>& results) {
    for (const Result& result : results) kit.Branches().On("http://b/" + branch, result);
  }
  /// Status and rows, such as "failed S P".
  std::string Seen() {
    const Json shown = Json::parse(AskGet("query", {{"gid", "g"}}).body);
    if (!shown["transaction"].is_object()) return "none";
    std::string text = shown["transaction"]["status"];
    for (const Json& row : shown["branches"]) {
      text += row["status"] == "prepared" ? " P" : row["status"] == "succeed" ? " S" : " F";
    }
    return text;
  }
  std::string Reason() { return Shown("g").value("rollback_reason", ""); }
  /// The last parts of the urls, in the order of their calls.
  std::string Called() {
    std::string text;
    for (const std::string& url : kit.Branches().Urls()) text += url.substr(9) + " ";
    return text;
  }
};

}  // namespace

TEST_CASE("Appendix A: a message of two, one after the other or both at once") {
  World world;
  const bool concurrent = GENERATE(false, true);
  world.kit.Branches().On("http://b/1", {{Result::Success(), seconds(1)}});
  CHECK(world.Tell("submit", world.Body("msg", kTwoMessages + (concurrent ? R"(,"concurrent":true)"
                                                                          : ""))) == "");
  CHECK(world.Called() == (concurrent ? "1 2 " : "1 "));
  world.kit.Advance(seconds(2));
  CHECK(world.Seen() == "succeed S S");
  CHECK(world.Called() == "1 2 ");
}

TEST_CASE("Appendix A: a message to a topic of two urls") {
  World world;
  for (const char* url : {"http://b/1", "http://b/2"}) {
    CHECK(world.AskGet("subscribe", {{"topic", "t"}, {"url", url}}).body == kDone);
  }
  const std::string steps = R"(,"steps":[{"action":"topic://t"}],"payloads":["{}"])";
  CHECK(world.Tell("submit", world.Body("msg", steps)) == "");
  CHECK(world.Seen() == "succeed S S");
  CHECK(world.Called() == "1 2 ");
  const Json branches = Json::parse(world.AskGet("query", {{"gid", "g"}}).body)["branches"];
  CHECK(branches[0]["branch_id"] == "01-01");
  CHECK(branches[1]["branch_id"] == "01-02");
  CHECK(world.Shown("g")["steps"] == Json::array({{{"action", "topic://t"}}}));
  CHECK(world.Shown("g")["payloads"] == Json::array({"{}"}));
}

TEST_CASE("Appendix A: a topic that nobody subscribed to is no place to send to") {
  World world;
  const std::string steps = R"(,"steps":[{"action":"topic://t"}],"payloads":["{}"])";
  const dtm::ApiAnswer answer = world.AskPost("submit", world.Body("msg", steps));
  CHECK(answer.status >= 400);
  CHECK_THAT(answer.body, ContainsSubstring("topic not found"));
  CHECK(world.Seen() == "none");
}

TEST_CASE(
    "Appendix A: who prepared the message says ONGOING, then SUCCESS, and b2 is ONGOING once") {
  World world;
  world.On("q", {Result::Ongoing()});
  world.On("2", {Result::Ongoing()});
  CHECK(world.Tell("prepare", world.Body("msg", kTwoMessages)) == "");
  world.kit.Advance(seconds(36));
  CHECK(world.Seen() == "prepared P P");
  world.kit.Advance(seconds(10));
  CHECK(world.Seen() == "submitted S P");
  world.kit.Advance(seconds(11));
  CHECK(world.Seen() == "succeed S S");
  CHECK(world.Called() == "q q 1 2 2 ");
}

TEST_CASE("Appendix A: who prepared the message says FAILURE") {
  World world;
  world.On("q", {Result::Failure("never was")});
  CHECK(world.Tell("prepare", world.Body("msg", kTwoMessages)) == "");
  world.kit.Advance(hours(1));
  CHECK(world.Seen() == "failed P P");
  CHECK(world.Called() == "q ");
  CHECK(world.Tell("submit", world.Body("msg", kTwoMessages), 409) == "");
}

TEST_CASE("Appendix A: a message is prepared again, after its prepare and after its submit") {
  World world;
  CHECK(world.Tell("prepare", world.Body("msg", kTwoMessages)) == "");
  CHECK(world.Tell("prepare", world.Body("msg", kTwoMessages)) == "");
  CHECK(world.Tell("submit", world.Body("msg", kTwoMessages)) == "");
  CHECK(world.Tell("prepare", world.Body("msg", kTwoMessages), 409) == "");
  CHECK(world.Called() == "1 2 ");
}

TEST_CASE("Appendix A: a message with a delay of 10") {
  World world;
  CHECK(world.Tell("prepare", world.Body("msg", kTwoMessages)) == "");
  CHECK(world.Tell("submit",
                   world.Body("msg", kTwoMessages + R"(,"custom_data":"{\"delay\":10}")")) == "");
  world.kit.Advance(seconds(8));
  CHECK(world.Seen() == "submitted P P");
  CHECK(world.Called() == "");
  world.kit.Advance(seconds(4));
  CHECK(world.Seen() == "succeed S S");
}

TEST_CASE("Appendix A: a branch of a message answers errors, and succeeds later") {
  World world;
  world.On("1", {Result::Error("-23"), Result::Failure("-32901"), Result::Ongoing("-32902")});
  CHECK(world.Tell("submit", world.Body("msg", kTwoMessages + R"(,"protocol":"json-rpc")")) == "");
  CHECK(world.Seen() == "submitted P P");
  CHECK(world.Shown("g")["protocol"] == "json-rpc");
  world.kit.Advance(hours(1));
  CHECK(world.Seen() == "succeed S S");
  CHECK(world.Called() == "1 1 1 1 2 ");
}

TEST_CASE("Appendix A: a tcc of two, or with a nested third") {
  World world;
  const bool nested = GENERATE(false, true);
  CHECK(world.Tell("prepare", world.Body("tcc")) == "");
  CHECK(world.Register("tcc", "01") == "");
  CHECK(world.Register("tcc", "02") == "");
  if (nested) CHECK(world.Register("tcc", "0201") == "");
  CHECK(world.Seen() == (nested ? "prepared P P P P P P" : "prepared P P P P"));
  CHECK(world.Tell("submit", world.Body("tcc")) == "");
  CHECK(world.Seen() == (nested ? "succeed P S P S P S" : "succeed P S P S"));
  CHECK(world.Called() == std::string(nested ? "confirm0201 " : "") + "confirm02 confirm01 ");
}

TEST_CASE("Appendix A: the second try fails, and the first cancel is ONGOING once") {
  World world;
  world.On("cancel01", {Result::Ongoing()});
  CHECK(world.Tell("prepare", world.Body("tcc")) == "");
  CHECK(world.Register("tcc", "01") == "");
  CHECK(world.Register("tcc", "02") == "");
  CHECK(world.Tell("abort", world.Body("tcc", R"(,"rollback_reason":"no FAILURE")")) == "");
  CHECK(world.Seen() == "aborting P P S P");
  world.kit.Advance(seconds(11));
  CHECK(world.Seen() == "failed S P S P");
  CHECK(world.Called() == "cancel02 cancel01 cancel01 ");
  CHECK_THAT(world.Reason(), ContainsSubstring("FAILURE"));
}

TEST_CASE("Appendix A: a tcc is timed out after one registration, the second comes too late") {
  World world;
  const bool own = GENERATE(false, true);
  CHECK(world.Tell("prepare", world.Body("tcc", own ? R"(,"timeout_to_fail":7)" : "")) == "");
  CHECK(world.Register("tcc", "01") == "");
  world.kit.Advance(seconds(own ? 8 : 36));
  CHECK(world.Register("tcc", "02", 409) == "");
  CHECK(world.Seen() == "failed S P");
  CHECK(std::regex_match(world.Reason(), std::regex("Timeout after \\d+ seconds")));
  CHECK(world.Reason() == (own ? "Timeout after 7 seconds" : "Timeout after 35 seconds"));
  CHECK(world.Tell("submit", world.Body("tcc"), 409) == "");
}

TEST_CASE("Appendix A: an xa of two") {
  World world;
  CHECK(world.Tell("prepare", world.Body("xa")) == "");
  CHECK(world.Register("xa", "01") == "");
  CHECK(world.Register("xa", "02") == "");
  CHECK(world.Tell("submit", world.Body("xa")) == "");
  CHECK(world.Seen() == "succeed P S P S");
  CHECK(world.Called() == "xa01 xa02 ");
  for (const auto& call : world.kit.Branches().Calls()) CHECK(call.info.op == dtm::Op::kCommit);
}

TEST_CASE("Appendix A: the second branch of an xa fails, only the first is registered") {
  World world;
  CHECK(world.Tell("prepare", world.Body("xa")) == "");
  CHECK(world.Register("xa", "01") == "");
  CHECK(world.Tell("abort", world.Body("xa")) == "");
  CHECK(world.Seen() == "failed S P");
  CHECK(world.kit.Branches().Calls().at(0).info.op == dtm::Op::kRollback);
}

TEST_CASE("Appendix A: a commit of an xa is ONGOING once") {
  World world;
  world.On("xa01", {Result::Ongoing()});
  CHECK(world.Tell("prepare", world.Body("xa")) == "");
  CHECK(world.Register("xa", "01") == "");
  CHECK(world.Tell("submit", world.Body("xa")) == "");
  CHECK(world.Seen() == "submitted P P");
  CHECK(world.Tell("submit", world.Body("xa")) == "");  // W1: nothing is skipped
  CHECK(world.Seen() == "submitted P P");
  world.kit.Advance(seconds(11));
  CHECK(world.Seen() == "succeed P S");
  CHECK(world.Called() == "xa01 xa01 ");
}

TEST_CASE("Appendix A: forceStop while it is submitted, and after its success") {
  World world;
  world.On("confirm01", {Result::Ongoing()});
  CHECK(world.Tell("prepare", world.Body("tcc")) == "");
  CHECK(world.Register("tcc", "01") == "");
  CHECK(world.Tell("submit", world.Body("tcc")) == "");
  const bool stopped = GENERATE(false, true);
  if (!stopped) world.kit.Advance(seconds(11));
  CHECK(world.Tell("forceStop", OnlyGid("g"), stopped ? 200 : 409) == "");
  world.kit.Advance(hours(1));
  CHECK(world.Seen() == (stopped ? "failed P P" : "succeed P S"));
  CHECK(world.Called() == (stopped ? "confirm01 " : "confirm01 confirm01 "));
}

TEST_CASE("Appendix A: a workflow is executed twice, with its result") {
  World world;
  const std::string body = world.Body("workflow", R"(,"query_prepared":"http://b/resume")");
  CHECK(world.AskPost("prepareWorkflow", body).status == 200);
  CHECK(world.Tell("registerBranch",
                   world.Body("workflow", R"(,"branch_id":"01","op":"action","status":"succeed",)"
                                          R"("data":"one")")) == "");
  CHECK(world.Tell("submit", world.Body("workflow", R"(,"req_extra":{"status":"succeed",)"
                                                    R"("result":"cmVz"})")) == "");
  for (int i = 0; i < 2; ++i) {
    const Json shown = Json::parse(world.AskPost("prepareWorkflow", body).body);
    CHECK(shown["transaction"]["status"] == "succeed");
    CHECK(shown["transaction"]["result"] == "cmVz");
    CHECK(shown["progresses"].size() == 1);
  }
  world.kit.Advance(hours(1));
  CHECK(world.Called() == "");
}

TEST_CASE("Appendix A: a workflow stops in the middle, and is resumed with what it had done") {
  World world;
  const std::string body = world.Body(
      "workflow", R"(,"query_prepared":"http://b/resume","custom_data":"{\"name\":\"wf\"}")");
  CHECK(world.AskPost("prepareWorkflow", body).status == 200);
  CHECK(world.Tell("registerBranch",
                   world.Body("workflow", R"(,"branch_id":"01","op":"action","status":"succeed",)"
                                          R"("data":"one")")) == "");
  world.kit.Advance(seconds(11));
  REQUIRE(world.Called() == "resume ");
  CHECK(world.kit.Branches().Calls()[0].info.workflow == "wf");
  const Json shown = Json::parse(world.AskPost("prepareWorkflow", body).body);
  CHECK(shown["transaction"]["status"] == "prepared");
  REQUIRE(shown["progresses"].size() == 1);
  CHECK(shown["progresses"][0]["bin_data"] == "b25l");
  CHECK(world.Tell("submit", world.Body("workflow", R"(,"req_extra":{"status":"succeed"})")) == "");
  world.kit.Advance(hours(1));
  CHECK(world.Called() == "resume ");
}

TEST_CASE("Appendix A: resetCronTime of all but one that wait") {
  World world;
  for (int i = 0; i < 3; ++i) {
    const std::string gid = "g" + std::to_string(i);
    world.On(gid, {Result::Ongoing()});
    const std::string body = R"({"gid":")" + gid +
                             R"(","trans_type":"msg","retry_interval":1000,"steps":[{"action":)"
                             R"("http://b/)" +
                             gid + R"("}],"payloads":["{}"]})";
    CHECK(world.Tell("submit", body) == "");
  }
  CHECK(world.AskGet("resetCronTime", {{"timeout", "500"}, {"limit", "2"}}).body ==
        R"({"has_remaining":true,"succeed_count":2})");
  world.kit.Settle();
  CHECK(world.kit.Branches().Calls().size() == 5);
}

TEST_CASE("Appendix A: subscribed twice, left twice, and an unknown topic deleted") {
  World world;
  const dtm_test::Query query = {{"topic", "t"}, {"url", "http://b/1"}};
  CHECK(world.AskGet("subscribe", query).body == kDone);
  CHECK(world.AskGet("subscribe", query).status >= 400);
  CHECK(world.AskGet("unsubscribe", query).body == kDone);
  CHECK(world.AskGet("unsubscribe", query).status >= 400);
  CHECK(world.Ask("DELETE", "topic/unknown").status >= 400);
}
