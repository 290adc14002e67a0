/// What a coordinator elsewhere tells of a transaction, beside what was submitted.
#include <string>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include <dtm/http/wire/told_transaction.hpp>

using dtm::Definition;
using dtm::TransType;
using dtm::wire::MayBeSame;
using Json = nlohmann::json;

namespace {

Definition Saga() {
  Definition saga;
  saga.gid = "g";
  saga.steps = {{"http://a/1", "http://a/2", "{}"}, {"http://b/1", "", "2"}};
  return saga;
}
Definition Msg(const std::string& action = "http://a/1") {
  Definition msg;
  msg.gid = "g";
  msg.type = TransType::kMsg;
  msg.steps = {{action, "", "{}"}};
  return msg;
}

const Json kSagaRows = Json::parse(
    R"([{"branch_id":"01","op":"compensate","url":"http://a/2","bin_data":"e30="},
        {"branch_id":"01","op":"action","url":"http://a/1","bin_data":"e30="},
        {"branch_id":"02","op":"compensate","bin_data":"Mg=="},
        {"branch_id":"02","op":"action","url":"http://b/1","bin_data":"Mg=="}])");

}  // namespace

TEST_CASE("wire_told: steps and payloads, or the branches if they are not told") {
  const Json whole = Json::parse(
      R"({"trans_type":"saga","payloads":["{}","2"],"steps":
          [{"action":"http://a/1","compensate":"http://a/2"},{"action":"http://b/1","compensate":""}]})");
  CHECK(MayBeSame(Saga(), whole, Json::array()));
  CHECK(MayBeSame(Saga(), {{"trans_type", "saga"}}, kSagaRows));
  CHECK(MayBeSame(Saga(), {{"trans_type", "saga"}}, nullptr));  // nothing is told
  for (int change = 0; change < 5; ++change) {
    CAPTURE(change);
    Definition other = Saga();
    if (change == 0) other.steps[0].action += "x";
    if (change == 1) other.steps[1].compensate = "http://x";
    if (change == 2) other.steps[1].payload = "3";
    if (change == 3) other.steps.pop_back();
    if (change == 4) other.steps.push_back({"", "", ""});
    CHECK_FALSE(MayBeSame(other, whole, Json::array()));
    CHECK_FALSE(MayBeSame(other, {{"trans_type", "saga"}}, kSagaRows));
    CHECK_FALSE(MayBeSame(other, {{"trans_type", "saga"}}, Json::array()));
  }
}

TEST_CASE("wire_told: the type, and what the custom data of a saga says") {
  Definition saga = Saga();
  CHECK_FALSE(MayBeSame(saga, {{"trans_type", "msg"}}, kSagaRows));
  CHECK_FALSE(MayBeSame(saga, Json::object(), kSagaRows));
  const auto custom = [](const char* text) {
    return Json{{"trans_type", "saga"}, {"custom_data", text}};
  };
  CHECK_FALSE(MayBeSame(saga, custom(R"({"concurrent":true})"), kSagaRows));
  saga.concurrent = true;
  saga.orders = {{1, {0}}};
  CHECK(MayBeSame(saga, custom(R"({"concurrent":true,"orders":{"1":[0]}})"), kSagaRows));
  CHECK_FALSE(MayBeSame(saga, custom(R"({"concurrent":true,"orders":{"0":[1]}})"), kSagaRows));
  CHECK_FALSE(MayBeSame(saga, custom(R"({"concurrent":true,"orders":null})"), kSagaRows));
  CHECK_FALSE(MayBeSame(saga, custom(R"({"orders":{"1":[0]}})"), kSagaRows));
  CHECK_THROWS_AS(MayBeSame(saga, custom("["), kSagaRows), dtm::BadInput);
  CHECK_THROWS_AS(MayBeSame(saga, {{"trans_type", 7}}, kSagaRows), Json::exception);
}

TEST_CASE("wire_told: a message, prepared or not, to a topic or not") {
  const Json rows =
      Json::parse(R"([{"branch_id":"01","op":"action","url":"http://a/1","bin_data":"e30="}])");
  const Json plain = {{"trans_type", "msg"}};
  CHECK(MayBeSame(Msg(), plain, rows));
  CHECK_FALSE(MayBeSame(Msg("http://other"), plain, rows));
  CHECK(MayBeSame(Msg("topic://t"), plain, rows));  // its subscribers are not known here
  // Go tells it at the top or, on SQL, in the text only, and then wrongly at the top.
  Definition concurrent = Msg();
  concurrent.concurrent = true;
  CHECK_FALSE(MayBeSame(concurrent, plain, rows));
  CHECK(MayBeSame(concurrent, {{"trans_type", "msg"}, {"concurrent", true}}, rows));
  CHECK(MayBeSame(
      concurrent,
      {{"trans_type", "msg"}, {"concurrent", false}, {"options", R"({"concurrent":true})"}}, rows));
  const Json prepared = {{"trans_type", "msg"}, {"query_prepared", "http://q"}};
  CHECK(MayBeSame(Msg("http://other"), prepared, rows));
  Definition asks = Msg();
  asks.query_prepared = "http://q";
  CHECK(MayBeSame(asks, prepared, rows));
  CHECK_FALSE(MayBeSame(asks, plain, rows));
}

TEST_CASE("wire_told: what is registered since says nothing") {
  for (const TransType type : {TransType::kTcc, TransType::kXa}) {
    Definition ours;
    ours.type = type;
    CHECK(MayBeSame(ours, {{"trans_type", Name(type)}}, kSagaRows));
    CHECK_FALSE(MayBeSame(ours, {{"trans_type", "saga"}}, kSagaRows));
  }
}
