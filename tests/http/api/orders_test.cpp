/// From the JSON of an order to what the coordinator is asked: nobody waits, and the answer comes once.
#include <chrono>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/api_kit.hpp"
#include <dtm/http/api/orders.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::ApiKit;
using dtm_test::Json;
using dtm_test::Saga;
using dtm_test::Step;
namespace api_orders = dtm::api_orders;

namespace {

/// What an order came to.
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

TEST_CASE("api_orders: every order is answered once, when it is durable") {
  ApiKit kit;
  kit.kit.Branches().On("http://b/a", {{dtm::Result::Ongoing()}, {dtm::Result::Ongoing()}});
  struct Row {
    api_orders::Order order;
    std::string body;
    int status;
  };
  const std::string saga = Saga("g", Step("http://b/a", "http://b/c"));
  for (const Row& row :
       {Row{api_orders::Prepare, saga, 200}, Row{api_orders::Submit, saga, 200},
        Row{api_orders::ResetNextCronTime, kGid, 200},
        Row{api_orders::Abort, R"({"gid":"g","trans_type":"tcc"})", 409},
        Row{api_orders::Abort, kGid, 200}, Row{api_orders::Submit, saga, 409},
        Row{api_orders::ForceStop, kGid, 409}, Row{api_orders::ResetNextCronTime, kGid, 200},
        Row{api_orders::ResetNextCronTime, R"({"gid":"none"})", 400},
        Row{api_orders::ForceStop, R"({"gid":"none"})", 400}}) {
    CAPTURE(row.body, row.status);
    Told told;
    row.order(*kit.kit, Json::parse(row.body), told.Callback());
    CHECK(told.replies.empty());  // no turn has been made
    kit.kit.Settle();
    CHECK(told.Status() == row.status);
    kit.kit.Advance(std::chrono::seconds(1));
    CHECK(told.replies.size() == 1);
  }
}

TEST_CASE("api_orders: with wait_result the answer comes when it has ended, or has to wait") {
  ApiKit kit;
  kit.kit.Branches().On("http://b/wait", dtm::Result::Ongoing());
  kit.kit.Branches().On("http://b/fail", dtm::Result::Failure("no money"));
  const std::string wait = R"(,"wait_result":true)";
  Told succeeded, waits, failed;
  const auto submit = [&](const std::string& gid, Told& told) {
    const std::string body = Saga(gid, Step("http://b/" + gid, "http://b/c") + wait);
    api_orders::Submit(*kit.kit, Json::parse(body), told.Callback());
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

TEST_CASE("api_orders: what is wrong with an order is thrown, and nobody is called back") {
  ApiKit kit;
  for (const auto order :
       {api_orders::Prepare, api_orders::Submit, api_orders::Abort, api_orders::ForceStop,
        api_orders::RegisterBranch, api_orders::ResetNextCronTime}) {
    for (const char* body : {"{}", R"({"gid":7})", R"({"gid":""})"}) {
      Told told;
      CHECK_THROWS_AS(order(*kit.kit, Json::parse(body), told.Callback()), dtm::BadInput);
      kit.kit.Settle();
      CHECK(told.replies.empty());
    }
  }
}
