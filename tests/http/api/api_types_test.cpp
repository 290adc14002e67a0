/// The API for what is no saga: branches that register, workflows, aborts of every type in every status,
/// topics and values.
#include <chrono>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/api_kit.hpp"

using Catch::Matchers::ContainsSubstring;
using dtm::ApiReply;
using dtm::Result;
using dtm_test::ApiKit;
using dtm_test::Json;
using dtm_test::kDone;
using dtm_test::OnlyGid;
using std::chrono::hours;
using std::chrono::seconds;
using Texts = std::vector<std::string>;

namespace {

std::string Of(const std::string& type, const std::string& gid = "g",
               const std::string& more = "") {
  return R"({"gid":")" + gid + R"(","trans_type":")" + type + "\"" + more + "}";
}
/// What a prepare needs besides.
std::string Asked(const std::string& type) {
  return type == "msg" ? R"(,"query_prepared":"http://b/q","steps":[{"action":"http://b/m"}],)"
                         R"("payloads":["{}"])"
                       : "";
}
std::string Branch(const std::string& type, const std::string& id = "01") {
  const std::string more = type == "tcc"
                               ? R"(,"confirm":"http://b/confirm","cancel":"http://b/cancel")"
                           : type == "xa" ? R"(,"url":"http://b/xa")"
                                          : R"(,"op":"action","status":"succeed")";
  return Of(type, "g", R"(,"branch_id":")" + id + R"(","data":"d")" + more);
}
std::string Finish(const std::string& extra) {
  return Of("workflow", "g", R"(,"req_extra":)" + extra);
}

/// "01 confirm prepared http://b/confirm d" of every row.
Texts Rows(ApiKit& kit, const std::string& gid = "g") {
  Texts rows;
  const Json answer = Json::parse(kit.AskGet("query", {{"gid", gid}}).body);
  for (const Json& row : answer["branches"]) {
    rows.push_back(row["branch_id"].get<std::string>() + " " + row["op"].get<std::string>() + " " +
                   row["status"].get<std::string>() + " " + row.value("url", "-") + " " +
                   row.value("bin_data", "-"));
  }
  return rows;
}

/// What is wrong with a refusal; "" if it has this status and names the thing.
std::string Refused(const ApiReply& answer, int status, const std::string& word = "") {
  const Json body = Json::parse(answer.body, nullptr, false);
  const bool failure = answer.body.compare(0, 24, R"({"dtm_result":"FAILURE",)") == 0;
  const bool good = answer.status == status && body.is_object() && body.contains("message") &&
                    failure == (status == 409) &&
                    body["message"].get<std::string>().find(word) != std::string::npos;
  return good ? "" : std::to_string(answer.status) + " " + answer.body;
}

}  // namespace

TEST_CASE("api_types: registerBranch stores two rows of a tcc or xa, one of a workflow") {
  ApiKit kit;
  const std::string path =
      GENERATE(as<std::string>{}, "registerBranch", "registerTccBranch", "registerXaBranch");
  CAPTURE(path);
  CHECK(kit.AskPost("prepare", Of("tcc")).body == kDone);
  CHECK(kit.AskPost(path, Branch("tcc")).body == kDone);
  CHECK(kit.AskPost(path, Branch("tcc")).body == kDone);  // the same again
  CHECK(Rows(kit) == Texts{"01 cancel prepared http://b/cancel ZA==",
                           "01 confirm prepared http://b/confirm ZA=="});
  ApiKit xa;
  CHECK(xa.AskPost("prepare", Of("xa")).body == kDone);
  CHECK(xa.AskPost(path, Branch("xa")).body == kDone);
  CHECK(Rows(xa) ==
        Texts{"01 rollback prepared http://b/xa ZA==", "01 commit prepared http://b/xa ZA=="});
  ApiKit workflow;
  CHECK(workflow.AskPost("prepareWorkflow", Of("workflow")).status == 200);
  CHECK(workflow.AskPost(path, Branch("workflow")).body == kDone);
  CHECK(Rows(workflow) == Texts{"01 action succeed - ZA=="});
}

TEST_CASE("api_types: what is null in registerBranch is unset") {
  ApiKit kit;
  CHECK(kit.AskPost("prepare", Of("tcc")).body == kDone);
  CHECK(kit.AskPost("registerBranch",
                    Of("tcc", "g", R"(,"branch_id":"01","data":null,"confirm":null,"cancel":null)"))
            .body == kDone);
  CHECK(Rows(kit) == Texts{"01 cancel prepared - -", "01 confirm prepared - -"});
  CHECK(kit.AskPost("submit", Of("tcc")).body == kDone);
  kit.kit.Settle();
  CHECK(kit.StatusOf("g") == "succeed");
  CHECK(kit.kit.Branches().Calls().empty());
}

TEST_CASE("api_types: registerBranch with a bad body is 400 and stores nothing") {
  ApiKit kit;
  CHECK(kit.AskPost("prepare", Of("tcc")).body == kDone);
  for (const std::string& body : {
           std::string(),
           std::string("{"),
           std::string("[]"),
           Of("tcc", "g", R"(,"branch_id":1)"),
           Of("tcc", "g", R"(,"branch_id":"01","data":{"n":30})"),
           Of("tcc", "g", R"(,"branch_id":"01","confirm":7)"),
           Of("tcc", "g", R"(,"branch_id":"01","cancel":["http://b/c"])"),
           Of("tcc", "g"),
           Of("saga", "g", R"(,"branch_id":"01")"),
           Of("msg", "g", R"(,"branch_id":"01")"),
           Of("tcc", "g", R"(,"branch_id":"01","confirm":"local:f")"),
           Of("workflow", "g", R"(,"branch_id":"01","op":"action","status":"weird")"),
       }) {
    CAPTURE(body);
    CHECK(Refused(kit.AskPost("registerBranch", body), 400) == "");
  }
  CHECK(Rows(kit).empty());
}

TEST_CASE(
    "api_types: registerBranch of what is not prepared, of another type or otherwise is 409") {
  ApiKit kit;
  CHECK(Refused(kit.AskPost("registerBranch", Branch("tcc")), 409,
                "no trans with gid: g status: prepared found FAILURE") == "");
  CHECK(kit.AskPost("prepare", Of("tcc")).body == kDone);
  CHECK(Refused(kit.AskPost("registerBranch", Branch("xa")), 409, "tcc") == "");
  CHECK(Refused(kit.AskPost("registerBranch", Branch("workflow")), 409, "tcc") == "");
  CHECK(kit.AskPost("registerBranch", Branch("tcc")).body == kDone);
  std::string other = Branch("tcc");
  other.replace(other.find("\"d\""), 3, "\"other\"");
  CHECK(Refused(kit.AskPost("registerBranch", other), 409, "01") == "");
  kit.kit.Branches().On("http://b/confirm", Result::Ongoing());
  CHECK(kit.AskPost("submit", Of("tcc")).body == kDone);
  kit.kit.Settle();
  for (int i = 0; i < 2; ++i) {
    CHECK(Refused(kit.AskPost("registerBranch", Branch("tcc", "02")), 409,
                  "no trans with gid: g status: prepared found FAILURE") == "");
    kit.kit.Advance(hours(1));
  }
  CHECK(Rows(kit).size() == 2);
}

TEST_CASE("api_types: prepareWorkflow stores a workflow, and shows the stored one") {
  ApiKit kit;
  const std::string body =
      Of("workflow", "g",
         R"(,"protocol":"http","concurrent":false,"query_prepared":"http://h/resume",)"
         R"("custom_data":"{\"name\":\"wf\", \"data\":\"aGk=\",\"own\":[1]}")");
  const Json fresh = Json::parse(kit.AskPost("prepareWorkflow", body).body);
  CHECK(fresh.size() == 2);
  CHECK(fresh["progresses"] == Json::array());
  CHECK(fresh["transaction"]["gid"] == "g");
  CHECK(fresh["transaction"]["status"] == "prepared");
  CHECK(fresh["transaction"]["query_prepared"] == "http://h/resume");
  CHECK(fresh["transaction"]["custom_data"] == R"({"name":"wf", "data":"aGk=","own":[1]})");
  CHECK(kit.AskPost("registerBranch", Branch("workflow")).body == kDone);
  const Json again = Json::parse(kit.AskPost("prepareWorkflow", body).body);
  REQUIRE(again["progresses"].size() == 1);
  CHECK(again["progresses"][0]["branch_id"] == "01");
  CHECK(again["progresses"][0]["op"] == "action");
  CHECK(again["progresses"][0]["status"] == "succeed");
  CHECK(again["progresses"][0]["bin_data"] == "ZA==");
  CHECK(
      kit.AskPost("submit", Finish(R"({"status":"failed","rollback_reason":"no","result":"aGk="})"))
          .body == kDone);
  const Json ended = Json::parse(kit.AskPost("prepareWorkflow", body).body)["transaction"];
  CHECK(ended["status"] == "failed");
  CHECK(ended["rollback_reason"] == "no");
  CHECK(ended["result"] == "aGk=");
  for (const char* kept : {"custom_data", "query_prepared", "create_time"}) {  // W5
    CHECK(ended[kept] == fresh["transaction"][kept]);
  }
}

TEST_CASE("api_types: prepareWorkflow of what is none, or of the gid of something else") {
  ApiKit kit;
  for (const char* type : {"saga", "msg", "tcc", "xa"}) {
    CHECK(Refused(kit.AskPost("prepareWorkflow", Of(type)), 400, "workflow") == "");
  }
  for (const char* custom : {"x", "[]", R"({\"name\":7})", R"({\"data\":\"no base64!\"})"}) {
    const std::string body =
        Of("workflow", "g", R"(,"custom_data":")" + std::string(custom) + "\"");
    CAPTURE(body);
    CHECK(Refused(kit.AskPost("prepareWorkflow", body), 400) == "");
  }
  CHECK(kit.StatusOf("g") == "none");
  CHECK(kit.AskPost("prepare", Of("tcc")).body == kDone);
  CHECK(Refused(kit.AskPost("prepareWorkflow", Of("workflow")), 409, "tcc") == "");
  const auto named = [](const char* name, const char* data) {
    return Of("workflow", "h",
              std::string(R"(,"custom_data":"{\"name\":\")") + name + R"(\",\"data\":\")" + data +
                  R"(\"}")");
  };
  CHECK(kit.AskPost("prepareWorkflow", named("wf", "aGk=")).status == 200);
  CHECK(Refused(kit.AskPost("prepareWorkflow", named("wf", "aGo=")), 409, "other data") == "");
  CHECK(Refused(kit.AskPost("prepareWorkflow", named("fw", "aGk=")), 409, "'wf'") == "");
  CHECK(kit.AskPost("prepareWorkflow", Of("workflow", "h")).status == 200);
}

TEST_CASE("api_types: the submit of a workflow says in req_extra how it ended") {
  ApiKit kit;
  CHECK(Refused(kit.AskPost("submit", Finish(R"({"status":"succeed"})")), 409, "g") == "");
  CHECK(kit.AskPost("prepareWorkflow", Of("workflow")).status == 200);
  for (const char* extra : {"{}", "null", R"({"status":"weird"})", R"({"status":"prepared"})",
                            R"({"status":7})", "7", R"({"status":"succeed","result":"!"})"}) {
    CAPTURE(extra);
    CHECK(Refused(kit.AskPost("submit", Finish(extra)), 400) == "");
  }
  CHECK(Refused(kit.AskPost("submit", Of("workflow")), 400, "req_extra") == "");
  CHECK(kit.StatusOf("g") == "prepared");
  const std::string end = Finish(
      R"({"status":"succeed","rollback_reason":"","result":"/+8="})");  // bytes that are no text
  CHECK(kit.AskPost("submit", end).body == kDone);
  CHECK(kit.AskPost("submit", end).body == kDone);  // W26
  CHECK(Refused(kit.AskPost("submit", Finish(R"({"status":"failed"})")), 409, "succeed") == "");
  CHECK(kit.Shown("g")["status"] == "succeed");
  CHECK(kit.Shown("g")["result"] == "/+8=");
  CHECK(Refused(kit.AskPost("registerBranch", Branch("workflow")), 409) == "");
}

namespace {
const char kStep[] =
    R"(,"steps":[{"action":"http://b/a","compensate":"http://b/c"}],"payloads":["{}"])";
}

TEST_CASE("api_types: an abort without a reason invents none, and a second one tries at once") {
  for (const std::string type : {"tcc", "xa", "saga"}) {
    CAPTURE(type);
    ApiKit kit;
    const bool saga = type == "saga";
    const std::string undo = saga            ? "http://b/c"
                             : type == "tcc" ? "http://b/cancel"
                                             : "http://b/xa";
    kit.kit.Branches().On(undo, std::vector<dtm::testing::ScriptedAnswer>(
                                    2, {Result::Error("down"), hours(0), false}));
    if (saga) {
      kit.kit.Branches().On("http://b/a", Result::Ongoing());
      CHECK(kit.AskPost("submit", Of("saga", "g", kStep)).body == kDone);
      kit.kit.Settle();
    } else {
      CHECK(kit.AskPost("prepare", Of(type)).body == kDone);
      CHECK(kit.AskPost("registerBranch", Branch(type)).body == kDone);
    }
    CHECK(kit.AskPost("abort", Of(type)).body == kDone);
    kit.kit.Settle();
    CHECK(kit.StatusOf("g") == "aborting");
    CHECK_FALSE(kit.Shown("g").contains("rollback_reason"));
    CHECK(kit.Shown("g")["last_error"].get<std::string>().find("down") != std::string::npos);
    const std::size_t calls = kit.kit.Branches().Calls().size();
    CHECK(kit.AskPost("abort", Of(type, "g", R"(,"rollback_reason":"again")")).body == kDone);
    kit.kit.Settle();
    CHECK(kit.kit.Branches().Calls().size() == calls + 1);
    CHECK_FALSE(kit.Shown("g").contains("rollback_reason"));
    CHECK(kit.AskPost("abort", Of(type)).body == kDone);
    kit.kit.Settle();
    CHECK(kit.StatusOf("g") == "failed");
  }
}

TEST_CASE("api_types: what a client sends is shown as it was sent") {
  for (const std::string type : {"tcc", "xa", "saga", "msg"}) {
    CAPTURE(type);
    ApiKit kit;
    const std::string more = R"(,"query_prepared":"http://h/q","custom_data":"{ \"own\":[1,  2]}")";
    CHECK(kit.AskPost("prepare", Of(type, "g", more)).body == kDone);
    CHECK(kit.Shown("g")["query_prepared"] == "http://h/q");
    CHECK(kit.Shown("g")["custom_data"] == R"({ "own":[1,  2]})");
    CHECK(kit.AskPost("prepare", Of(type, "g", R"(,"query_prepared":"http://h/q")")).body == kDone);
    CHECK(kit.AskPost("submit", Of(type)).body == kDone);
    CHECK(kit.Shown("g")["custom_data"] == R"({ "own":[1,  2]})");
  }
}

TEST_CASE("api_types: the interval that is shown grows with the errors") {
  ApiKit kit;
  kit.kit.Branches().On("http://b/a", std::vector<dtm::testing::ScriptedAnswer>(
                                          5, {Result::Error("down"), hours(0), false}));
  CHECK(kit.AskPost("submit", Of("saga", "g", kStep)).body == kDone);
  std::string seen;
  for (int i = 0; i < 4; ++i) {
    kit.kit.Settle();
    seen += std::to_string(kit.Shown("g")["next_cron_interval"].get<int>()) + " ";
    kit.kit.Advance(std::chrono::seconds(kit.Shown("g")["next_cron_interval"].get<int>() * 5 / 4));
  }
  CHECK(seen == "10 20 40 80 ");
}

TEST_CASE("api_types: an abort that is refused begins with the words of the Go server") {
  const std::string type = GENERATE(as<std::string>{}, "msg", "tcc", "xa");
  const std::string body = Of(type, "g", R"(,"rollback_reason":"no")");
  ApiKit kit;
  CHECK(Refused(kit.AskPost("abort", body), 400, "no TransGlobal with gid: g found") == "");
  CHECK(kit.AskPost("prepare", Of(type, "g", Asked(type))).body == kDone);
  CHECK(Refused(kit.AskPost("abort", Of("x")), 400, "trans_type") == "");
  CHECK(Refused(kit.AskPost("abort", Of("saga")), 409, type) == "");
  CHECK(Refused(kit.AskPost("prepare", Of("saga", "g", Asked("saga"))), 409, type) == "");
  CHECK(kit.AskPost("submit", Of(type, "g", Asked(type))).body == kDone);
  kit.kit.Advance(hours(1));
  const ApiReply refused = kit.AskPost("abort", body);
  CHECK(Refused(refused, 409) == "");
  CHECK_THAT(refused.body, ContainsSubstring(R"("message":"trans type: ')" + type +
                                             "' current status 'succeed', cannot abort. FAILURE"));
  CHECK_THAT(kit.AskPost("forceStop", OnlyGid("g")).body,
             ContainsSubstring(R"("message":"global transaction force stop error. status: )"
                               "succeed. error: FAILURE"));
}

TEST_CASE("api_types: a workflow is not aborted, but stopped") {
  ApiKit kit;
  CHECK(kit.AskPost("prepareWorkflow", Of("workflow")).status == 200);
  CHECK(Refused(kit.AskPost("abort", Of("workflow")), 409, "cannot abort") == "");
  CHECK(Refused(kit.AskPost("abort", Of("tcc")), 409, "workflow") == "");
  CHECK(kit.StatusOf("g") == "prepared");
  CHECK(kit.AskPost("forceStop", OnlyGid("g")).body == kDone);
  CHECK(kit.StatusOf("g") == "failed");
  CHECK(Refused(kit.AskPost("abort", Of("workflow")), 409, "cannot abort") == "");
}

TEST_CASE("api_types: with wait_result a tcc answers 200, or 425 while a confirm has to wait") {
  ApiKit kit;
  CHECK(kit.AskPost("prepare", Of("tcc")).body == kDone);
  CHECK(kit.AskPost("registerBranch", Branch("tcc")).body == kDone);
  kit.kit.Branches().On("http://b/confirm", Result::Failure("no"));
  const std::string wait = Of("tcc", "g", R"(,"wait_result":true)");
  const ApiReply answer = kit.AskPost("submit", wait);
  CHECK(answer.status == 425);
  CHECK_THAT(answer.body, ContainsSubstring(R"("dtm_result":"ONGOING")"));
  kit.kit.Advance(hours(1));
  CHECK(kit.AskPost("submit", wait).body == kDone);
}

TEST_CASE("api_types: where a topic may stand") {
  ApiKit kit;
  for (const char* step : {R"({"action":"topic://t"})", R"({"compensate":"topic://t"})"}) {
    const std::string more = R"(,"steps":[)" + std::string(step) + R"(],"payloads":["{}"])";
    CAPTURE(more);
    CHECK(Refused(kit.AskPost("submit", Of("saga", "g", more)), 400, "topic") == "");
    CHECK(Refused(kit.AskPost("prepare", Of("saga", "g", more)), 400, "topic") == "");
  }
  const std::string query =
      R"(,"query_prepared":"topic://t","steps":[{"action":"http://b/m"}],"payloads":["{}"])";
  CHECK(Refused(kit.AskPost("prepare", Of("msg", "g", query)), 400, "query_prepared") == "");
  CHECK(Refused(kit.AskPost("prepareWorkflow", Of("workflow", "g", query)), 400) == "");
  CHECK(kit.StatusOf("g") == "none");
}

TEST_CASE("api_types: topics are subscribed to, left and removed") {
  ApiKit kit;
  const auto subscribe = [&](const std::string& topic, const std::string& url) {
    return kit.AskGet("subscribe", {{"topic", topic}, {"url", url}, {"remark", "why <&>"}});
  };
  const auto leave = [&](const std::string& topic, const std::string& url) {
    return kit.Ask("POST", "unsubscribe", {{"topic", topic}, {"url", url}});
  };
  const auto says = [](const ApiReply& answer) {
    CHECK(answer.status != 200);
    return Json::parse(answer.body)["message"].get<std::string>();
  };
  CHECK(subscribe("t", "http://b/1").body == kDone);
  CHECK(kit.Ask("POST", "subscribe", {{"topic", "t"}, {"url", "http://b/2"}}).body == kDone);
  CHECK(says(subscribe("t", "http://b/1")) == "this url exists");
  CHECK(says(subscribe("", "http://b/1")) == "empty topic");
  CHECK(says(subscribe("t", "")) == "empty url");
  for (const char* url : {"b", "ftp://b/x", "local:f", "topic://t"}) {
    CAPTURE(url);
    CHECK(subscribe("t", url).status >= 400);
  }
  CHECK(says(leave("x", "http://b/1")) == "no such a topic");
  CHECK(says(leave("t", "http://b/3")) == "no such an url ");
  CHECK(says(leave("", "http://b/3")) == "empty topic");
  const Json kv = Json::parse(kit.AskGet("queryKV", {{"cat", "topics"}, {"key", "t"}}).body)["kv"];
  REQUIRE(kv.size() == 1);
  CHECK(kv[0]["v"] ==
        R"([{"url":"http://b/1","remark":"why <&>"},{"url":"http://b/2","remark":""}])");
  CHECK(leave("t", "http://b/1").body == kDone);
  CHECK(leave("t", "http://b/2").body == kDone);
  CHECK(says(leave("t", "http://b/2")) == "this topic is empty");
  CHECK(kit.Ask("DELETE", "topic/t").body == kDone);
  CHECK(kit.Ask("DELETE", "topic/t").status >= 400);
  CHECK(kit.Ask("DELETE", "topic/").status == 404);
  CHECK(kit.AskGet("topic/t").status == 404);
  CHECK(kit.AskGet("queryKV", {{"cat", "topics"}}).body == R"({"kv":[]})");
}

TEST_CASE("api_types: a subscriber with a password is left by the url that is shown") {
  ApiKit kit;
  const auto ask = [&](const char* what, const std::string& url) {
    return kit.Ask("POST", what, {{"topic", "t"}, {"url", url}});
  };
  const auto shown = [&] {
    return Json::parse(kit.AskGet("queryKV", {{"cat", "topics"}, {"key", "t"}}).body)["kv"][0]["v"]
        .get<std::string>();
  };
  CHECK(ask("subscribe", "http://ann:secret@b/1").status == 200);
  CHECK(ask("subscribe", "http://b/2").status == 200);
  CHECK_THAT(shown(), ContainsSubstring("http://***@b/1"));
  CHECK(ask("unsubscribe", "http://***@b/1").body == kDone);
  CHECK(shown() == R"([{"url":"http://b/2","remark":""}])");
  for (const char* url : {"http://ann:secret@b/1", "http://bob:secret@b/1"})
    CHECK(ask("subscribe", url).status == 200);
  const ApiReply refused = ask("unsubscribe", "http://***@b/1");
  CHECK(refused.status == 409);
  CHECK_THAT(refused.body, ContainsSubstring("2 subscribers") && !ContainsSubstring("secret"));
}

TEST_CASE("api_types: a name with a slash is a topic as well") {
  ApiKit kit;
  CHECK(kit.AskGet("subscribe", {{"topic", "a/b c"}, {"url", "http://b/1"}}).body == kDone);
  CHECK(kit.Ask("DELETE", "topic/a/b c").body == kDone);
}

TEST_CASE("api_types: values are listed in pages, with all their keys") {
  ApiKit kit;
  CHECK(kit.AskGet("scanKV").body == R"({"kv":[],"next_position":""})");
  for (const char* topic : {"b", "a", "c"}) {
    CHECK(kit.AskGet("subscribe", {{"topic", topic}, {"url", "http://b/1"}}).body == kDone);
  }
  CHECK(kit.AskGet("subscribe", {{"topic", "b"}, {"url", "http://b/2"}}).body == kDone);
  Json page = Json::parse(kit.AskGet("scanKV", {{"cat", "topics"}, {"limit", "2"}}).body);
  REQUIRE(page["kv"].size() == 2);
  std::string keys;
  for (const auto& item : page["kv"][0].items()) keys += item.key() + " ";
  CHECK(keys == "id create_time update_time cat k v version ");
  CHECK(page["kv"][0]["cat"] == "topics");
  CHECK(page["kv"][0]["k"] == "b");
  CHECK(page["kv"][0]["version"] == 2);
  CHECK(page["kv"][0]["create_time"].is_string());
  CHECK(page["kv"][1]["k"] == "a");
  const std::string position = page["next_position"];
  CHECK_FALSE(position.empty());
  page = Json::parse(kit.AskGet("scanKV", {{"limit", "2"}, {"position", position}}).body);
  REQUIRE(page["kv"].size() == 1);
  CHECK(page["kv"][0]["k"] == "c");
  CHECK(page["next_position"] == "");
  CHECK(Json::parse(kit.AskGet("queryKV").body)["kv"].size() == 3);
  CHECK(Json::parse(kit.AskGet("queryKV", {{"key", "a"}}).body)["kv"].size() == 1);
  CHECK(kit.AskGet("queryKV", {{"cat", "topics"}, {"key", "A"}}).body == R"({"kv":[]})");
  CHECK(kit.AskGet("queryKV", {{"cat", "topic"}}).body == R"({"kv":[]})");
  for (const char* bad : {"x", "-1", "0", "1001", "1.5"}) {
    CAPTURE(bad);
    CHECK(kit.AskGet("scanKV", {{"limit", bad}}).status == 400);
  }
  CHECK(kit.AskGet("scanKV", {{"position", "x"}}).status == 400);
}
