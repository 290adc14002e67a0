/// A branch that is registered, the end of a workflow and the answer of prepareWorkflow: from JSON and back.
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/support/nested.hpp"
#include <dtm/core/validate.hpp>
#include <dtm/http/wire/registration.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Op;
using dtm::Status;
using dtm::TransType;
namespace wire = dtm::wire;

namespace {

wire::Registration Decoded(const std::string& body) {
  const nlohmann::json json = nlohmann::json::parse(body);
  return wire::DecodeRegistration(dtm::wire::json_input::Fields(json, "the branch"));
}

const std::string kTcc = R"({"gid":"g1","trans_type":"tcc","branch_id":"01","data":"{\"n\":30}",)"
                         R"("confirm":"http://h/confirm","cancel":"http://h/cancel"})";

}  // namespace

TEST_CASE("wire_registration: the examples of the protocol") {
  const wire::Registration tcc = Decoded(kTcc);
  CHECK(tcc.gid == "g1");
  CHECK(tcc.type == TransType::kTcc);
  CHECK(tcc.step.branch_id == "01");
  CHECK(tcc.step.payload == R"({"n":30})");
  CHECK(tcc.step.action == "http://h/confirm");
  CHECK(tcc.step.compensate == "http://h/cancel");
  CHECK(tcc.step.op == Op{});
  const wire::Registration xa =
      Decoded(R"({"gid":"x1","trans_type":"xa","branch_id":"01","url":"http://h/xa"})");
  CHECK(xa.type == TransType::kXa);
  CHECK(xa.step.action == "http://h/xa");
  CHECK(xa.step.compensate == "http://h/xa");
  CHECK(xa.step.payload.empty());
  const wire::Registration step = Decoded(
      R"({"gid":"w1","trans_type":"workflow","branch_id":"01","op":"action","status":"succeed",)"
      R"("data":"result text","sync":"1"})");
  CHECK(step.type == TransType::kWorkflow);
  CHECK(step.step.op == Op::kAction);
  CHECK_FALSE(step.step.failed);
  CHECK(step.step.payload == "result text");
  CHECK(step.step.action.empty());
}

TEST_CASE(
    "wire_registration: what a type does not use is ignored, null is unset, keys have any case") {
  const wire::Registration tcc =
      Decoded(R"({"GID":"g;\n1","Trans_Type":"tcc","BRANCH_ID":"01","data":null,"confirm":null,)"
              R"("cancel":null,"url":"http://h/x","status":"prepared","op":"what","more":7})");
  CHECK(tcc.gid == "g1");
  CHECK(tcc.step.action.empty());
  CHECK(tcc.step.compensate.empty());
  CHECK(tcc.step.payload.empty());
}

TEST_CASE("wire_registration: what cannot be carried out is refused") {
  const std::vector<std::string> bad = {
      R"({"trans_type":"tcc","branch_id":"01"})",
      R"({"gid":"g","branch_id":"01"})",
      R"({"gid":"g","trans_type":"saga","branch_id":"01"})",
      R"({"gid":"g","trans_type":"msg","branch_id":"01"})",
      R"({"gid":"g","trans_type":"TCC","branch_id":"01"})",
      R"({"gid":"g","trans_type":"tcc"})",
      R"({"gid":"g","trans_type":"tcc","branch_id":""})",
      R"({"gid":"g","trans_type":"tcc","branch_id":")" + std::string(129, '1') + R"("})",
      R"({"gid":7,"trans_type":"tcc","branch_id":"01"})",
      R"({"gid":"g","trans_type":"tcc","branch_id":1})",
      R"({"gid":"g","trans_type":"tcc","branch_id":"01","data":{}})",
      R"({"gid":"g","trans_type":"tcc","branch_id":"01","confirm":7})",
      R"({"gid":"g","trans_type":"tcc","branch_id":"01","cancel":true})",
      R"({"gid":"g","trans_type":"xa","branch_id":"01","url":[]})",
      R"({"gid":"g","trans_type":"tcc","branch_id":"01","confirm":"local:f"})",
      R"({"gid":"g","trans_type":"tcc","branch_id":"01","cancel":"ftp:///x"})",
      R"({"gid":"g","trans_type":"tcc","branch_id":"01","confirm":"topic://t"})",
      R"({"gid":"g","trans_type":"xa","branch_id":"01","url":"topic://t"})",
      R"({"gid":"g","trans_type":"workflow","branch_id":"01","op":"action"})",
      R"({"gid":"g","trans_type":"workflow","branch_id":"01","op":"action","status":"prepared"})",
      R"({"gid":"g","trans_type":"workflow","branch_id":"01","op":"x","status":"succeed"})",
      R"({"gid":"g","trans_type":"workflow","branch_id":"01","status":"succeed"})",
  };
  for (const std::string& body : bad) {
    CAPTURE(body);
    // By who decodes it, or who then registers it.
    bool refused = true;
    try {
      const wire::Registration branch = Decoded(body);
      refused = !dtm::RegistrationProblem(branch.gid, branch.type, branch.step).empty();
    } catch (const dtm::BadInput&) {
    }
    CHECK(refused);
  }
}

TEST_CASE("wire_registration: what is encoded is what is decoded") {
  CHECK(wire::EncodeRegistration(Decoded(kTcc)) == kTcc);
  const std::string failed =
      R"({"gid":"w","trans_type":"workflow","branch_id":"02","data":"no","op":"rollback",)"
      R"("status":"failed","sync":"1"})";  // the Go server would answer before it is stored
  CHECK(Decoded(failed).step.failed);
  CHECK(wire::EncodeRegistration(Decoded(failed)) == failed);
  const std::string xa =
      R"({"gid":"x","trans_type":"xa","branch_id":"01","data":"","url":"http://h/xa"})";
  CHECK(wire::EncodeRegistration(Decoded(xa)) == xa);
  wire::Registration bytes = Decoded(kTcc);
  bytes.step.payload = "\xFF";  // is no JSON text: nothing throws
  CHECK_NOTHROW(nlohmann::json::parse(wire::EncodeRegistration(bytes)));
}

TEST_CASE("wire_registration: how a workflow ended") {
  const wire::WorkflowEnd good =
      wire::DecodeWorkflowEnd({{"status", "succeed"}, {"rollback_reason", ""}, {"result", "aGk="}});
  CHECK(good.status == Status::kSucceed);
  CHECK(good.result == "hi");
  CHECK(good.reason.empty());
  const wire::WorkflowEnd bad =
      wire::DecodeWorkflowEnd({{"status", "failed"}, {"rollback_reason", "no"}});
  CHECK(bad.status == Status::kFailed);
  CHECK(bad.reason == "no");
  CHECK(bad.result.empty());
  using Extra = std::map<std::string, std::string>;
  for (const Extra& extra :
       {Extra{}, Extra{{"status", ""}}, Extra{{"status", "weird"}}, Extra{{"status", "prepared"}},
        Extra{{"status", "Succeed"}}, Extra{{"status", "succeed"}, {"result", "no base64!"}}}) {
    CHECK_THROWS_AS(wire::DecodeWorkflowEnd(extra), dtm::BadInput);
  }
  CHECK(wire::WorkflowEndJson({Status::kFailed, "no", "hi"}).dump() ==
        R"({"status":"failed","rollback_reason":"no","result":"aGk="})");
}

TEST_CASE("wire_registration: the answer of prepareWorkflow") {
  const auto state = wire::DecodeWorkflow(
      R"({"progresses":[{"branch_id":"01","op":"action","status":"succeed","bin_data":"aGk="},)"
      R"({"branch_id":"02","op":"rollback","status":"failed"}],)"
      R"("transaction":{"gid":"w","status":"failed","rollback_reason":"no","result":"aGk=",)"
      R"("request_timeout":8,"branch_headers":{"k":"v"},"concurrent":false}})");
  REQUIRE(state.has_value());
  CHECK(state->status == Status::kFailed);
  CHECK(state->reason == "no");
  CHECK(state->result == "hi");
  CHECK(state->options.request_timeout == std::chrono::seconds(8));
  CHECK(state->options.branch_headers.at("k") == "v");
  REQUIRE(state->recorded.size() == 2);
  CHECK(state->recorded[0].branch_id == "01");
  CHECK(state->recorded[0].op == Op::kAction);
  CHECK(state->recorded[0].payload == "hi");
  CHECK_FALSE(state->recorded[0].failed);
  CHECK(state->recorded[1].op == Op::kRollback);
  CHECK(state->recorded[1].failed);
  for (const char* few : {R"({"progresses":null,"transaction":{"status":"prepared"}})",
                          R"({"progresses":[],"transaction":{"status":"prepared"}})",
                          R"({"transaction":{"status":"prepared"}})"}) {
    const auto fresh = wire::DecodeWorkflow(few);
    REQUIRE(fresh.has_value());
    CHECK(fresh->status == Status::kPrepared);
    CHECK(fresh->recorded.empty());
  }
}

TEST_CASE(
    "wire_registration: what is no answer of prepareWorkflow is none, and nothing else is thrown") {
  for (const char* text :
       {"", "x", "[]", "7", "null", "{}", R"({"message":"boom"})", R"({"transaction":null})",
        R"({"transaction":7})", R"({"transaction":{"status":5}})",
        R"({"transaction":{"status":null}})", R"({"transaction":{"status":"prepared","result":7}})",
        R"({"transaction":{"status":"prepared","rollback_reason":{}}})",
        R"({"progresses":7,"transaction":{"status":"prepared"}})",
        R"({"progresses":[7],"transaction":{"status":"prepared"}})",
        R"({"progresses":[{"op":7}],"transaction":{"status":"prepared"}})",
        R"({"progresses":[{"op":"what"}],"transaction":{"status":"prepared"}})"}) {
    CAPTURE(text);
    CHECK_FALSE(wire::DecodeWorkflow(text).has_value());
  }
}

TEST_CASE("wire_registration: what is nested deeply is none") {
  const std::string deep = dtm_test::Nested(dtm_test::kCrashing);
  CHECK_FALSE(
      wire::DecodeWorkflow(R"({"progresses":)" + deep + R"(,"transaction":{"status":"prepared"}})")
          .has_value());
  const auto state =
      wire::DecodeWorkflow(R"({"transaction":{"status":"prepared","options":")" + deep + R"("}})");
  REQUIRE(state.has_value());
  CHECK(state->options.branch_headers.empty());
}

TEST_CASE(
    "wire_registration: options for the calls of a workflow, as far as they are told and fit") {
  const auto told = [](const std::string& members) {
    const auto state =
        wire::DecodeWorkflow(R"({"transaction":{"status":"prepared",)" + members + "}}");
    REQUIRE(state.has_value());
    std::string text = std::to_string(state->options.request_timeout.count());
    for (const auto& [name, value] : state->options.branch_headers)
      text += " " + name + "=" + value;
    return text;
  };
  CHECK(told(R"("request_timeout":8,"branch_headers":{"k":"v","a":"b"})") == "8 a=b k=v");
  // Go on SQL.
  CHECK(
      told(
          R"("options":"{\"request_timeout\":8,\"branch_headers\":{\"k\":\"v\"}}","concurrent":false)") ==
      "8 k=v");
  CHECK(told(R"("options":"no","request_timeout":8)") == "8");
  CHECK(told(R"("options":7,"request_timeout":8)") == "8");
  // A header whose value is not shown is none.
  CHECK(told(R"("branch_headers":{"k":"***","a":"b"})") == "0 a=b");
  for (const char* wrong : {"-1", "\"8\"", "86401", "1e9", "null", "[]"}) {
    CAPTURE(wrong);
    CHECK(told(R"("request_timeout":)" + std::string(wrong)) == "0");
  }
  CHECK(told(R"("branch_headers":7)") == "0");
  CHECK(told(R"("branch_headers":{"k":7,"a":null})") == "0");
}
