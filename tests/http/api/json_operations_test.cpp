/// From the JSON of an operation to what the coordinator is asked: nobody waits, and the answer comes once.
#include <chrono>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/api_kit.hpp"
#include <dtm/http/api/json_operations.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::ApiKit;
using dtm_test::Json;
using dtm_test::Saga;
using dtm_test::Step;
namespace json_operations = dtm::json_operations;

namespace {

/// What an operation came to.
struct Told {
  std::vector<dtm::Answer> replies;

  dtm::AnswerCallback Callback() {
    return [this](const dtm::Answer& reply) { replies.push_back(reply); };
  }
  /// The outcome in HTTP, of the only reply.
  int Status() const {
    REQUIRE(replies.size() == 1);
    return dtm::InHttp(dtm::OutcomeOf(replies[0])).status;
  }
};

const std::string kGid = R"({"gid":"g","trans_type":"saga"})";

}  // namespace

TEST_CASE("json_operations: every operation is answered once, when it is durable") {
  ApiKit kit;
  kit.kit.Branches().On("http://b/a", {{dtm::Result::Ongoing()}, {dtm::Result::Ongoing()}});
  const std::string skip = R"({"gid":"g","branch_id":"01","op":"compensate","why":"not needed"})";
  struct Row {
    json_operations::Operation operation;
    std::string body;
    int status;
  };
  const std::string saga = Saga("g", Step("http://b/a", "http://b/c"));
  for (const Row& row :
       {Row{json_operations::Prepare, saga, 200}, Row{json_operations::Submit, saga, 200},
        Row{json_operations::ResetNextCronTime, kGid, 200},
        Row{json_operations::Abort, R"({"gid":"g","trans_type":"tcc"})", 409},
        Row{json_operations::SkipBranch, skip, 200}, Row{json_operations::SkipBranch, skip, 409},
        Row{json_operations::Abort, kGid, 200}, Row{json_operations::Submit, saga, 409},
        Row{json_operations::ForceStop, kGid, 409},
        Row{json_operations::ResetNextCronTime, kGid, 200},
        Row{json_operations::ResetNextCronTime, R"({"gid":"none"})", 400},
        Row{json_operations::ForceStop, R"({"gid":"none"})", 400}}) {
    CAPTURE(row.body, row.status);
    Told told;
    row.operation(*kit.kit, Json::parse(row.body), told.Callback());
    CHECK(told.replies.empty());  // no turn has been made
    kit.kit.Settle();
    CHECK(told.Status() == row.status);
    kit.kit.Advance(std::chrono::seconds(1));
    CHECK(told.replies.size() == 1);
  }
}

TEST_CASE("json_operations: with wait_result the answer comes when it has ended, or has to wait") {
  ApiKit kit;
  kit.kit.Branches().On("http://b/wait", dtm::Result::Ongoing());
  kit.kit.Branches().On("http://b/fail", dtm::Result::Failure("no money"));
  const std::string wait = R"(,"wait_result":true)";
  Told succeeded, waits, failed;
  const auto submit = [&](const std::string& gid, Told& told) {
    const std::string body = Saga(gid, Step("http://b/" + gid, "http://b/c") + wait);
    json_operations::Submit(*kit.kit, Json::parse(body), told.Callback());
  };
  submit("ok", succeeded);
  submit("wait", waits);
  submit("fail", failed);
  kit.kit.Advance(std::chrono::seconds(1));
  CHECK(succeeded.Status() == 200);
  CHECK(waits.Status() == 425);
  CHECK(failed.Status() == 409);
  CHECK(dtm::OutcomeOf(failed.replies[0]).message == "no money");
  CHECK(dtm::OutcomeOf(failed.replies[0]).kind == dtm::Outcome::Kind::kRolledBack);
}

TEST_CASE("json_operations: what is wrong with it is thrown, and nobody is called back") {
  ApiKit kit;
  for (const auto operation :
       {json_operations::Prepare, json_operations::Submit, json_operations::Abort,
        json_operations::ForceStop, json_operations::RegisterBranch,
        json_operations::ResetNextCronTime}) {
    for (const char* body : {"{}", R"({"gid":7})", R"({"gid":""})"}) {
      Told told;
      CHECK_THROWS_AS(operation(*kit.kit, Json::parse(body), told.Callback()), dtm::BadInput);
      kit.kit.Settle();
      CHECK(told.replies.empty());
    }
  }
}

TEST_CASE("json_operations: who asks and why are told to the journal, and are strings") {
  ApiKit kit;
  kit.kit.Branches().On("http://b/a", std::vector<dtm::testing::ScriptedAnswer>(
                                          20, {dtm::Result::Ongoing(), {}, false}));
  const auto asked = [&](const std::string& gid) {
    const auto story = kit.kit->Timeline(gid);
    for (const dtm::JournalEntry& entry : story->entries) {
      const bool by_hand =
          entry.kind == dtm::JournalKind::kCancel || entry.kind == dtm::JournalKind::kForceStop ||
          entry.kind == dtm::JournalKind::kRetryNow || entry.kind == dtm::JournalKind::kRepair;
      if (by_hand) return entry.who + ": " + entry.text;
    }
    return std::string("none");
  };
  struct Row {
    const char* gid;
    const char* path;
    const char* more;
    const char* told;
  };
  for (const Row& row :
       {Row{"g1", "abort", R"("who":"ann","why":"enough")", "ann: enough"},
        Row{"g2", "abort", R"("who":"ann","why":"x","rollback_reason":"y")", "ann: y"},
        Row{"g3", "abort", R"("WHO":null)", ": "},
        Row{"g4", "forceStop", R"("who":"bob","why":"a test")", "bob: a test"},
        Row{"g5", "resetNextCronTime", R"("who":"cy","why":"back")", "cy: back"},
        Row{"g7", "skipBranch", R"("branch_id":"01","op":"action","who":"di","why":"by hand")",
            "di: by hand"}}) {
    CAPTURE(row.gid);
    REQUIRE(kit.AskPost("submit", Saga(row.gid, Step("http://b/a", "http://b/c"))).status == 200);
    const std::string body =
        R"({"trans_type":"saga","gid":")" + std::string(row.gid) + "\"," + row.more + "}";
    CHECK(kit.AskPost(row.path, body).status == 200);
    CHECK(asked(row.gid) == row.told);
  }
  CHECK(kit.Shown("g1")["rollback_reason"] == "enough");
  REQUIRE(kit.AskPost("submit", Saga("g6", Step("http://b/a", "http://b/c"))).status == 200);
  const std::string call = R"({"jsonrpc":"2.0","id":"1","method":"abort","params":{"gid":"g6",)"
                           R"("trans_type":"saga","who":"di","why":"by JSON-RPC"}})";
  CHECK(kit.AskPost("/api/json-rpc", call).status == 200);
  CHECK(asked("g6") == "di: by JSON-RPC");
  for (const char* path : {"abort", "forceStop", "resetNextCronTime", "skipBranch"}) {
    for (const char* wrong : {R"("who":7)", R"("why":["a"])"}) {
      CAPTURE(path, wrong);
      const std::string body = R"({"trans_type":"saga","gid":"g6",)" + std::string(wrong) + "}";
      CHECK(kit.AskPost(path, body).status == 400);
    }
  }
}
