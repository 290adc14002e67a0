/// What a branch answers, and that rule A reads just that out of it, whatever the texts contain.
#include <chrono>
#include <string>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include <dtm/http/api/branch_reply.hpp>
#include <dtm/http/wire/reply_rule.hpp>

using dtm::ApiReply;
using dtm::Result;
using dtm::replies::OfBranch;
using Kind = dtm::Result::Kind;

TEST_CASE("every result has its status and body") {
  struct Row {
    Result result;
    int status;
    const char* body;
  };
  const Row rows[] = {
      {Result::Success(), 200, R"({"dtm_result":"SUCCESS"})"},
      {Result::Failure("no <money>"), 409,
       R"({"dtm_result":"FAILURE","message":"no \u003cmoney\u003e"})"},
      {Result::Failure(""), 409, R"({"dtm_result":"FAILURE","message":""})"},
      {Result::Ongoing("still at it"), 425, R"({"dtm_result":"ONGOING","message":"still at it"})"},
      {Result::Error("the disk is on \"fire\""), 500, R"({"error":"the disk is on \"fire\""})"},
      {Result::NotSent("no room"), 500, R"({"error":"no room"})"},
      {Result::Failure("ONGOING, not"), 409,
       R"({"dtm_result":"FAILURE","message":"\u004fNGOING, not"})"},
      {Result::Error("FAILURE or ONGOING"), 500, R"({"error":"\u0046AILURE or \u004fNGOING"})"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.result.text);
    const ApiReply answer = OfBranch(row.result);
    CHECK(answer.status == row.status);
    CHECK(answer.body == row.body);
    CHECK(std::string(answer.type) == "application/json; charset=utf-8");
  }
}

TEST_CASE("who asks to wait says so in whole seconds, where whoever calls looks for it") {
  const auto asking = [](Result result, dtm::Duration wait) {
    result.retry_after = wait;
    return OfBranch(result);
  };
  const ApiReply ongoing = asking(Result::Ongoing("x"), std::chrono::milliseconds(1500));
  CHECK(ongoing.status == 425);
  CHECK(ongoing.retry_after == 2);
  const ApiReply error = asking(Result::Error("FAILURE"), std::chrono::hours(9));
  CHECK(error.status == 503);
  CHECK(error.retry_after == 3600);
  CHECK(dtm::wire::ReadReply(error.status, error.body).kind == Kind::kError);
  CHECK(asking(Result::Failure("x"), std::chrono::hours(1)).retry_after == 0);
  CHECK(OfBranch(Result::Error("x")).retry_after == 0);
}

TEST_CASE("rule A reads the outcome, and JSON the text") {
  for (const std::string text :
       {"", "plain", "FAILURE", "ONGOING", "x FAILURE ONGOING FAILURE y", "\\ONGOING\\\\FAILURE",
        "\nFAILURE\"ONGOING", "<ONGOING>", "FAILUREONGOING", "u0046AILURE FFAILURE OONGOING"}) {
    CAPTURE(text);
    const auto read = [](const Result& result) {
      const ApiReply answer = OfBranch(result);
      return dtm::wire::ReadReply(answer.status, answer.body).kind;
    };
    const auto shown = [](const Result& result, const char* key) {
      return nlohmann::json::parse(OfBranch(result).body)[key].get<std::string>();
    };
    CHECK(read(Result::Success()) == Kind::kSuccess);
    CHECK(read(Result::Failure(text)) == Kind::kFailure);
    CHECK(read(Result::Ongoing(text)) == Kind::kOngoing);
    CHECK(read(Result::Error(text)) == Kind::kError);
    CHECK(read(Result::NotSent(text)) == Kind::kError);
    CHECK(shown(Result::Failure(text), "message") == text);
    CHECK(shown(Result::Ongoing(text), "message") == text);
    CHECK(shown(Result::Error(text), "error") == text);
  }
  CHECK(OfBranch(Result::Error("\xFF")).body.find("error") != std::string::npos);  // no throw
}
