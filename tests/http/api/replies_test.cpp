/// Answers byte for byte, and integers of a query.
#include <cstdint>
#include <string>

#include "tests/catch.hpp"
#include <dtm/http/api/replies.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::ApiReply;
using dtm::ApiRequest;
using dtm::BadInput;
using dtm::QueryInteger;
namespace replies = dtm::replies;

namespace {

ApiRequest With(const std::string& key, const std::string& value) {
  ApiRequest request;
  request.query.emplace(key, value);
  return request;
}

}  // namespace

TEST_CASE("api_message: every answer, byte for byte") {
  struct Row {
    ApiReply answer;
    int status;
    const char* body;
    bool retry_after;
  };
  const Row rows[] = {
      {replies::Of({}), 200, R"({"dtm_result":"SUCCESS"})", false},
      {replies::Of({409, "no money"}), 409, R"({"dtm_result":"FAILURE","message":"no money"})",
       false},
      {replies::Of({409, "other", true}), 409,
       R"({"dtm_result":"FAILURE","message":"other","rejected":true})", false},
      {replies::Of({409, ""}), 409, R"({"dtm_result":"FAILURE","message":""})", false},
      {replies::Of({425, "later"}), 425, R"({"dtm_result":"ONGOING","message":"later"})", false},
      {replies::Of({400, "bad"}), 400, R"({"message":"bad"})", false},
      {replies::Of({500, "a\"b\\c\n\x01"}), 500, R"({"message":"a\"b\\c\n\u0001"})", false},
      {replies::Of({400, "<a href='x'>&"}), 400, R"({"message":"\u003ca href='x'\u003e\u0026"})",
       false},
      {replies::Of({400, "gr\xC3\xBC\xC3\x9F"}), 400, "{\"message\":\"gr\xC3\xBC\xC3\x9F\"}",
       false},
      {replies::Of({409, "a\xFFz"}), 409,
       "{\"dtm_result\":\"FAILURE\",\"message\":\"a\xEF\xBF\xBDz\"}", false},
      {replies::Of({503, "busy"}), 503, R"({"message":"busy"})", true},
  };
  for (const Row& row : rows) {
    CAPTURE(row.body);
    CHECK(row.answer.status == row.status);
    CHECK(row.answer.body == row.body);
    CHECK(row.answer.type == std::string("application/json; charset=utf-8"));
    CHECK(row.answer.retry_after == row.retry_after);
  }
  const ApiReply none = replies::NotFound();
  CHECK(none.status == 404);
  CHECK(none.body == "404 page not found");
  CHECK(none.type == std::string("text/plain"));
  CHECK_FALSE(none.retry_after);
}

TEST_CASE("api_message: the value of a key of the query") {
  ApiRequest request;
  CHECK(request.Query("a").empty());
  request.query.emplace("a", "1");
  request.query.emplace("b", "");
  CHECK(request.Query("a") == "1");
  CHECK(request.Query("b").empty());
  CHECK(request.Query("A").empty());
  request.query.emplace("a", "2");
  CHECK(request.Query("a") == "1");  // the first, as the reference
}

TEST_CASE("api_message: an integer is an optional sign and digits") {
  struct Row {
    const char* text;
    std::int64_t value;
  };
  for (const Row& row : {Row{"0", 0}, Row{"7", 7}, Row{"+7", 7}, Row{"-7", -7}, Row{"-0", 0},
                         Row{"007", 7}, Row{"100", 100}, Row{"-100", -100}, Row{"", 42}}) {
    CAPTURE(row.text);
    CHECK(QueryInteger(With("n", row.text), "n", 42, -100, 100) == row.value);
  }
  CHECK(QueryInteger(With("N", "7"), "n", 42, 0, 100) == 42);
  CHECK(QueryInteger(With("n", "999999999999999999"), "n", 0, 0, INT64_MAX) == 999999999999999999);
  for (const std::string text : {"abc", "1x", "x1", " 1", "1 ", "+", "-", "+-1", "--1", "1-", "1.0",
                                 "1e3", "0x10", "1,000", "\xD9\xA1", "1\n", "\t1"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(QueryInteger(With("n", text), "n", 42, -100, 100), BadInput);
  }
  CHECK_THROWS_AS(QueryInteger(With("n", std::string("1\0", 2)), "n", 42, 0, 9), BadInput);
  CHECK_THROWS_WITH(QueryInteger(With("n", "abc"), "n", 42, 0, 9), "convert to int error: abc");
}

TEST_CASE("api_message: an integer outside of its range is refused, with the key and the range") {
  for (const char* text : {"0", "101", "-1", "999999999999999999", "9223372036854775807",
                           "9223372036854775808", "99999999999999999999999999"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(QueryInteger(With("limit", text), "limit", 42, 1, 100), BadInput);
  }
  CHECK_THROWS_WITH(QueryInteger(With("limit", "101"), "limit", 42, 1, 100),
                    ContainsSubstring("limit is 101") && ContainsSubstring("1 to 100"));
  try {
    (void)QueryInteger(With("limit", std::string(100000, 'x')), "limit", 42, 1, 100);
    FAIL("it was taken");
  } catch (const BadInput& error) {
    CHECK(std::string(error.what()).size() < 200);
  }
  CHECK_THROWS_WITH(QueryInteger(With("n", "\x1B[31m\xFF"), "n", 42, 1, 100),
                    "convert to int error: ?[31m?");
}
