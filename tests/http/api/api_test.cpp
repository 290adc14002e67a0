/// The API as a function, without sockets: routes, what a request does, waiting, branches served
/// here, and what is counted.
#include <chrono>
#include <cstring>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/api_kit.hpp"
#include <dtm/base/version.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::ApiReply;
using dtm::Result;
using dtm_test::ApiKit;
using dtm_test::Json;
using dtm_test::kDone;
using dtm_test::kNotFound;
using dtm_test::OnlyGid;
using dtm_test::Query;
using dtm_test::Saga;
using dtm_test::Step;
using Seconds = std::chrono::seconds;

namespace {

const std::string kWait = R"(,"wait_result":true)";

Query Branch(const std::string& gid, const std::string& branch_id, const std::string& op,
             const std::string& type = "saga") {
  return {{"gid", gid}, {"branch_id", branch_id}, {"op", op}, {"trans_type", type}};
}

}  // namespace

TEST_CASE("api: every route with every method, and no other path") {
  struct Row {
    const char* path;
    std::string methods;
  };
  const Row rows[] = {
      {"/api/ping", "GET POST PUT PATCH DELETE OPTIONS"},
      {"/api/metrics", "GET"},
      {"version", "GET"},
      {"newGid", "GET"},
      {"query", "GET"},
      {"timeline", "GET"},
      {"all", "GET"},
      {"resetCronTime", "GET POST"},
      {"branch/x", "GET POST"},
      {"submit", "POST"},
      {"prepare", "POST"},
      {"abort", "POST"},
      {"forceStop", "POST"},
      {"resetNextCronTime", "POST"},
      {"skipBranch", "POST"},
  };
  ApiKit kit;
  for (const Row& row : rows) {
    for (const std::string method :
         {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "E", "*"}) {
      CAPTURE(row.path, method);
      const bool known = row.path == std::string("/api/ping") ||
                         (" " + row.methods + " ").find(" " + method + " ") != std::string::npos;
      const ApiReply answer = kit.Ask(method, row.path);
      CHECK((answer.status != 404) == known);
      if (!known) {
        CHECK(answer.body == kNotFound);
        CHECK(answer.type == std::string("text/plain"));
      }
    }
    const std::string path = row.path;
    for (const std::string& other : {path + "x", path + "?", path + std::string(1, '\0'),
                                     "/" + path, "x" + path, path.substr(0, path.size() - 1)}) {
      CAPTURE(other);
      if (path.compare(0, 6, "branch") == 0 && other.compare(0, 7, "branch/") == 0) continue;
      CHECK(kit.AskGet(other).body == kNotFound);
      CHECK(kit.AskPost(other, "{}").body == kNotFound);
    }
  }
  for (const char* path : {"/", "/api", "/api/dtmsvr", "/api/dtmsvr/", "branch", "Submit"}) {
    CHECK(kit.AskPost(path, Saga("g")).status == 404);
  }
  CHECK(kit.StatusOf("g") == "none");
}

TEST_CASE("api: the small answers, byte for byte") {
  ApiKit kit;
  CHECK(kit.AskGet("/api/ping").body == R"({"msg":"pong"})");
  CHECK(kit.AskGet("version").body == R"({"version":"v)" + std::string(dtm::kVersion) + R"("})");
  std::set<std::string> gids;
  for (int i = 0; i < 100; ++i) {
    const ApiReply answer = kit.AskGet("newGid");
    const std::string gid = Json::parse(answer.body)["gid"];
    CHECK(answer.body == R"({"dtm_result":"SUCCESS","gid":")" + gid + R"("})");
    gids.insert(gid);
  }
  CHECK(gids.size() == 100);
  CHECK(kit.AskGet("query").body == R"({"message":"no gid specified"})");
  CHECK(kit.AskGet("query", {{"gid", "none"}}).body == R"({"branches":[],"transaction":null})");
}

TEST_CASE("api: prepare, submit, abort, forceStop and what they store") {
  ApiKit kit;
  const std::string steps = Step("http://b/a", "http://b/c", R"({"n":1})");
  kit.kit.Branches().On("http://b/a", Result::Ongoing());
  CHECK(kit.AskPost("prepare", Saga("g", steps)).body == kDone);
  kit.kit.Advance(Seconds(1000));
  CHECK(kit.StatusOf("g") == "prepared");
  CHECK(kit.kit.Branches().Calls().empty());
  CHECK(kit.Shown("g").count("next_cron_time") == 0);  // nothing tries it by itself
  CHECK(kit.AskPost("submit", Saga("g", R"(,"retry_interval":200)")).body == kDone);
  kit.kit.Settle();
  CHECK(kit.StatusOf("g") == "submitted");
  CHECK(kit.Shown("g")["next_cron_interval"] == 200);
  CHECK(kit.AskPost("prepare", Saga("g", steps)).status == 409);
  CHECK(kit.AskPost("abort", Saga("g", R"(,"rollback_reason":"<enough>")")).body == kDone);
  kit.kit.Settle();
  CHECK(kit.StatusOf("g") == "failed");
  CHECK(kit.Shown("g")["rollback_reason"] == "<enough>");
  CHECK(kit.kit.Branches().Urls() == std::vector<std::string>{"http://b/a", "http://b/c"});
  for (const char* path : {"abort", "prepare", "submit"}) {
    const ApiReply answer = kit.AskPost(path, Saga("g", steps));
    CHECK(answer.status == 409);
    CHECK_THAT(answer.body, ContainsSubstring(R"({"dtm_result":"FAILURE","message":")"));
  }
  CHECK(kit.AskPost("forceStop", OnlyGid("g")).status == 409);
  CHECK(kit.AskPost("resetNextCronTime", OnlyGid("g")).body == kDone);

  CHECK(kit.AskPost("submit", Saga("s", Step("http://b/a2", "http://b/c2"))).body == kDone);
  kit.kit.Settle();
  CHECK(kit.StatusOf("s") == "succeed");
  CHECK(kit.AskPost("submit", Saga("s", Step("http://b/a2", "http://b/c2"))).body == kDone);
  CHECK(kit.AskPost("submit", Saga("s", Step("http://b/a3"))).status == 409);

  kit.kit.Branches().On("http://b/a4", Result::Error("boom"));
  CHECK(kit.AskPost("submit", Saga("f", Step("http://b/a4", "http://b/c4"))).body == kDone);
  kit.kit.Settle();
  CHECK(kit.AskPost("abort", R"({"gid":"f","trans_type":"tcc"})").status == 409);
  CHECK(kit.AskPost("forceStop", OnlyGid("f;\\n")).body == kDone);
  CHECK(kit.StatusOf("f") == "failed");
  for (const char* path : {"abort", "forceStop", "resetNextCronTime"}) {
    const ApiReply answer = kit.AskPost(path, Saga("absent"));
    CHECK(answer.status == 400);
    CHECK_THAT(answer.body, ContainsSubstring("absent"));
  }
}

TEST_CASE("api: with wait_result the answer comes when it has ended, or has to wait") {
  ApiKit kit;
  kit.kit.Branches()
      .On("http://b/fail", Result::Failure("no <money>"))
      .On("http://b/wait", Result::Ongoing("later"))
      .On("http://b/slow", {{Result::Success(), Seconds(2)}})
      .On("http://b/slower", {{Result::Success(), Seconds(30)}});
  const auto submit = [&kit](const std::string& name, const std::string& more = {}) {
    return kit.AskPost("submit", Saga(name, Step("http://b/" + name, "http://b/c") + kWait + more));
  };
  CHECK(submit("ok").body == kDone);
  CHECK(submit("slow").body == kDone);
  const ApiReply failed = submit("fail");
  CHECK(failed.status == 409);
  CHECK(failed.body == R"({"dtm_result":"FAILURE","message":)" +
                           dtm::wire::JsonText(kit.Shown("fail")["rollback_reason"]) + "}");
  CHECK_THAT(failed.body, ContainsSubstring(R"(no \u003cmoney\u003e)"));
  const ApiReply waits = submit("wait");
  CHECK(waits.status == 425);
  CHECK_THAT(waits.body, ContainsSubstring(R"({"dtm_result":"ONGOING","message":")"));
  CHECK(kit.StatusOf("wait") == "submitted");
  const auto before = kit.kit.Clock().Now();
  CHECK(submit("slower", R"(,"request_timeout":60)").status == 425);
  CHECK(kit.kit.Clock().Now() - before == Seconds(6));
  kit.kit.Advance(Seconds(60));
  CHECK(kit.StatusOf("slower") == "succeed");
  CHECK(submit("slower").body == kDone);
  CHECK(submit("fail").body == failed.body);
}

TEST_CASE("api: a function of this program is a branch of a coordinator elsewhere") {
  struct Seen {
    int payload = 0;
    dtm::BranchInfo info;
  };
  std::vector<Seen> seen;
  ApiKit kit([&seen](dtm::Coordinator& tm) {
    tm.Register<int>("say", [&seen](const int& payload, const dtm::BranchInfo& info) {
      seen.push_back({payload, info});
      if (payload == 1) return Result::Failure("no <money>");
      if (payload == 2) return Result::Ongoing("later");
      if (payload == 3) throw dtm::FailureError("thrown");
      if (payload == 4) throw std::runtime_error("broken");
      return Result::Success();
    });
    tm.Register<int>("a b/\xC3\xBC", [](const int&) {});
  });
  struct Row {
    const char* payload;
    int status;
    const char* body;
  };
  const Row rows[] = {
      {"0", 200, kDone},
      {"1", 409, R"({"dtm_result":"FAILURE","message":"no \u003cmoney\u003e"})"},
      {"2", 425, R"({"dtm_result":"ONGOING","message":"later"})"},
      {"3", 409, R"({"dtm_result":"FAILURE","message":"thrown"})"},
      {"4", 500, R"({"error":"broken"})"},
  };
  for (const Row& row : rows) {
    const ApiReply answer = kit.Ask("POST", "branch/say", Branch("g", "01", "action"), row.payload);
    CHECK(answer.status == row.status);
    CHECK(answer.body == row.body);
  }
  REQUIRE(seen.size() == 5);
  CHECK(seen[1].payload == 1);
  CHECK(seen[1].info.gid == "g");
  CHECK(seen[1].info.branch_id == "01");
  CHECK(seen[1].info.op == dtm::Op::kAction);
  CHECK(kit.Ask("POST", "branch/say", Branch("g;", "100", "compensate", "tcc"), "7").status == 200);
  CHECK(seen.back().info.op == dtm::Op::kCompensate);
  CHECK(seen.back().info.trans_type == dtm::TransType::kTcc);
  CHECK(kit.Ask("POST", "branch/a b/\xC3\xBC", Branch("g", "01", "action"), "1").body == kDone);
  // Who resumes a workflow says its name where the op is; it may be called like one.
  for (const char* name : {"check out", "commit"}) {
    CHECK(kit.Ask("POST", "branch/say", Branch("g", "00", name, "workflow"), "7").status == 200);
    CHECK(seen.back().info.op == dtm::Op::kResume);
    CHECK(seen.back().info.workflow == name);
  }
  CHECK(kit.Ask("POST", "branch/say", Branch("g", "01", "commit", "workflow"), "7").status == 200);
  CHECK(seen.back().info.op == dtm::Op::kCommit);

  for (const char* payload : {"", "\"x\"", "{", "{}", "null"}) {  // does not fit
    CAPTURE(payload);
    const ApiReply answer = kit.Ask("GET", "branch/say", Branch("g", "01", "action"), payload);
    CHECK(answer.status == 500);
    CHECK(Json::parse(answer.body).count("error") == 1);
  }
  // Nor does a name say anything to who calls the branch.
  for (const auto& [path, query] :
       {std::pair{"branch/FAILURE-ONGOING", Branch("g", "01", "action")},
        {"branch/say", Branch("g", "01", "FAILURE-ONGOING")}}) {
    const ApiReply answer = kit.Ask("POST", path, query, "1");
    CHECK(answer.status == 400);
    CHECK(dtm::wire::ReadReply(answer.status, answer.body).kind == Result::Kind::kError);
    CHECK_THAT(Json::parse(answer.body)["message"].get<std::string>(),
               ContainsSubstring("FAILURE-ONGOING"));
  }
  const std::pair<const char*, Query> bad[] = {
      {"branch/other", Branch("g", "01", "action")},
      {"branch/", Branch("g", "01", "action")},
      {"branch/say/", Branch("g", "01", "action")},
      {"branch/say", {}},
      {"branch/say", Branch("", "01", "action")},
      {"branch/say", Branch("g", "", "action")},
      {"branch/say", Branch("g", "01", "")},
      {"branch/say", Branch("g", "01", "confirmed")},
      {"branch/say", Branch("g", "01", "action", "")},
      {"branch/say", Branch("g", "01", "action", "sage")},
      {"branch/say", Branch("g", "00", "", "workflow")},
      {"branch/say", Branch("g", "01", "check out", "workflow")},
      {"branch/say", {{"gid", "g"}, {"branch_id", "01"}, {"op", "action"}}},
  };
  const std::size_t calls = seen.size();
  for (const auto& request : bad) {
    CAPTURE(request.first);
    CHECK(kit.Ask("POST", request.first, request.second, "0").status == 400);
  }
  CHECK(seen.size() == calls);
}

TEST_CASE("api: requests are counted under the name of their route") {
  ApiKit kit;
  (void)kit.AskPost("submit", Saga("g", Step("http://b/a")));
  (void)kit.AskPost("submit", "{}");
  (void)kit.AskPost("submit?gid=evil", "{}");
  (void)kit.AskGet("/evil\"}");
  (void)kit.AskGet("newGid");
  (void)kit.AskPost("branch/evil", "");
  kit.kit.Settle();
  const ApiReply answer = kit.AskGet("/api/metrics");
  CHECK(answer.status == 200);
  CHECK(answer.type == std::string("text/plain; version=0.0.4"));
  for (
      const char* line :
      {R"(dtm_server_process_total{type="http",api="submit",status="ok"} 1)",
       R"(dtm_server_process_total{type="http",api="submit",status="fail"} 1)",
       R"(dtm_server_process_total{type="http",api="unknown",status="fail"} 2)",
       R"(dtm_server_process_total{type="http",api="newgid",status="ok"} 1)",
       R"(dtm_server_process_total{type="http",api="branch",status="fail"} 1)",
       R"(dtm_server_response_duration_count{type="http",api="submit"} 2)",
       R"(dtm_transaction_process_total{model="saga",status="ok"} 1)",
       R"(dtm_branch_process_total{model="saga",branchid="01",branchtype="action",status="ok"} 1)"}) {
    CHECK_THAT(answer.body, ContainsSubstring("\n" + std::string(line) + "\n"));
  }
  CHECK(answer.body.find("evil") == std::string::npos);
}

TEST_CASE("api: what does not block is answered by a callback, once, and nobody waits") {
  ApiKit kit;
  const auto ask = [&](const dtm::ApiRequest& request, std::vector<ApiReply>& answers) {
    kit.api.Handle(request, [&answers](ApiReply answer) { answers.push_back(std::move(answer)); });
  };
  const auto post = [](const std::string& path, const std::string& body) {
    return dtm::ApiRequest{"POST", "/api/" + path, {}, body};
  };
  const std::string rpc =
      R"({"jsonrpc":"2.0","id":"7","method":"abort","params":)" + Saga("g") + "}";
  for (const dtm::ApiRequest& request :
       {post("dtmsvr/prepare", Saga("g")), post("json-rpc", rpc),
        post("dtmsvr/submit", Saga("h", Step("http://b/a") + kWait)),
        dtm::ApiRequest{
            "POST", "/api/dtmsvr/subscribe", {{"topic", "t"}, {"url", "http://b"}}, {}}}) {
    CAPTURE(request.path, request.body);
    CHECK_FALSE(dtm::Api::MayBlock(request));
    std::vector<ApiReply> answers;
    ask(request, answers);
    CHECK(answers.empty());  // no turn has been made
    kit.kit.Settle();
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].status == 200);
  }
  CHECK(kit.StatusOf("g") == "failed");
  CHECK(kit.StatusOf("h") == "succeed");
  for (const dtm::ApiRequest& request :
       {post("dtmsvr/submit", "{"), post("dtmsvr/forceStop", "{}"), post("json-rpc", "7"),
        post("nowhere", ""), dtm::ApiRequest{"GET", "/api/ping", {}, {}}}) {
    CAPTURE(request.path);
    CHECK_FALSE(dtm::Api::MayBlock(request));
    std::vector<ApiReply> answers;
    ask(request, answers);
    CHECK(answers.size() == 1);  // at once
  }
  for (const char* path :
       {"query", "timeline", "all", "scanKV", "queryKV", "resetCronTime", "branch/x"}) {
    CAPTURE(path);
    CHECK(dtm::Api::MayBlock({"GET", std::string("/api/dtmsvr/") + path, {}, {}}));
  }
  CHECK(dtm::Api::MayBlock({"GET", "/api/metrics", {}, {}}));
  CHECK(dtm::Api::MayBlock(post("dtmsvr/prepareWorkflow", "")));
  const std::string to_topic =
      R"({"gid":"m","trans_type":"msg","steps":[{"action":"topic:\/\/t"}]})";
  CHECK(dtm::Api::MayBlock(post("dtmsvr/submit", to_topic)));
  CHECK(dtm::Api::MayBlock(post("json-rpc", R"({"method":"submit","params":)" + to_topic + "}")));
}

TEST_CASE("api: who waits for an answer when the coordinator is stopped gets it") {
  ApiKit kit;
  std::vector<ApiReply> answers;
  kit.api.Handle({"POST", "/api/dtmsvr/prepare", {}, Saga("g")},
                 [&](ApiReply answer) { answers.push_back(std::move(answer)); });
  CHECK(kit.kit->Stop(Seconds(1)));
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].body == kDone);
}

TEST_CASE("api: what it owes is answered also when it is gone") {
  ApiKit kit;
  alignas(dtm::Api) unsigned char place[sizeof(dtm::Api)];
  auto* const api = new (place) dtm::Api(*kit.kit);
  const std::string rpc =
      R"({"jsonrpc":"2.0","id":"7","method":"prepare","params":)" + Saga("h") + "}";
  std::vector<ApiReply> answers;
  for (const dtm::ApiRequest& request :
       {dtm::ApiRequest{"POST", "/api/dtmsvr/prepare", {}, Saga("g")},
        dtm::ApiRequest{"POST", "/api/json-rpc", {}, rpc}}) {
    api->Handle(request, [&](ApiReply answer) { answers.push_back(std::move(answer)); });
  }
  api->~Api();
  std::memset(place, 0, sizeof place);
  kit.kit.Settle();
  REQUIRE(answers.size() == 2);
  CHECK(answers[0].body == kDone);
  CHECK(answers[1].status == 200);
  for (const unsigned char byte : place) REQUIRE(byte == 0);
}

TEST_CASE("api: from many threads at a time") {
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
  tm.Start();
  dtm::Api api(tm);
  std::vector<std::thread> threads;
  std::vector<int> done(4);
  for (std::size_t t = 0; t < done.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string gid = std::to_string(t) + "-" + std::to_string(i);
        const std::string body = Saga(gid, Step("") + kWait);
        done[t] += api.Handle({"POST", "/api/dtmsvr/submit", {}, body}).body == kDone ? 1 : 0;
        const ApiReply shown = api.Handle({"GET", "/api/dtmsvr/query", {{"gid", gid}}, {}});
        done[t] += shown.body.find("\"succeed\"") != std::string::npos ? 1 : 0;
        done[t] += api.Handle({"GET", "/api/metrics", {}, {}}).status == 200 ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(done == std::vector<int>(4, 150));
}
