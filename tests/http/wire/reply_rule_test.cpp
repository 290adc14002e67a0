/// Rule A as a table, and what is kept of a stranger's text.
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include <dtm/http/wire/reply_rule.hpp>

using dtm::wire::ReadReply;
using dtm::wire::StorableText;
using Kind = dtm::Result::Kind;

TEST_CASE("rule A reads status and body") {
  struct Row {
    int status;
    const char* body;
    Kind kind;
    const char* text;
  };
  const Row rows[] = {
      {200, "", Kind::kSuccess, ""},
      {200, "{\"dtm_result\":\"SUCCESS\"}", Kind::kSuccess, ""},
      {200, "failure", Kind::kSuccess, ""},
      {200, "ongoing", Kind::kSuccess, ""},
      {200, "x FAILURE y", Kind::kFailure, "x FAILURE y"},
      {200, "ONGOING", Kind::kOngoing, "ONGOING"},
      {200, "FAILURE ONGOING", Kind::kOngoing, "FAILURE ONGOING"},
      {409, "", Kind::kFailure, "HTTP status 409"},
      {409, "no money", Kind::kFailure, "no money"},
      {409, "ONGOING", Kind::kOngoing, "ONGOING"},
      {425, "", Kind::kOngoing, "HTTP status 425"},
      {425, "FAILURE", Kind::kOngoing, "FAILURE"},
      {500, "FAILURE", Kind::kFailure, "FAILURE"},
      {500, "", Kind::kError, "HTTP status 500"},
      {500, "boom", Kind::kError, "HTTP status 500: boom"},
      {201, "", Kind::kError, "HTTP status 201"},
      {204, "", Kind::kError, "HTTP status 204"},
      {302, "", Kind::kError, "HTTP status 302"},
      {307, "moved", Kind::kError, "HTTP status 307: moved"},
      {404, "FAILUR", Kind::kError, "HTTP status 404: FAILUR"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.status, row.body);
    const dtm::Result result = ReadReply(row.status, row.body);
    CHECK(result.kind == row.kind);
    CHECK(result.text == row.text);
  }
}

TEST_CASE("a failure is told in the branch's own words") {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"dtm_result":"FAILURE","message":"no money"})", "no money"},
      {R"({"error":"no money","message":""})", "no money"},
      {R"({"jsonrpc":"2.0","error":{"code":-32901,"message":"no money"}})", "no money"},
      {R"({"dtm_result":"FAILURE"})", R"({"dtm_result":"FAILURE"})"},
      {R"({"message":7})", R"({"message":7})"},
      {R"({"message":"broken)", R"({"message":"broken)"},
      {R"(["message"])", R"(["message"])"},
      {"no money", "no money"},
  };
  for (const auto& [body, words] : rows) {
    CAPTURE(body);
    CHECK(ReadReply(409, body).text == words);
  }
  CHECK(ReadReply(409, R"({"message":"a\u0000b"})").text == "a?b");
  CHECK(ReadReply(409, "{\"message\":\"" + std::string(100000, 'x') + "\"}").text.size() ==
        dtm::kMaxReasonBytes);
  const std::string deep = std::string(100000, '[');
  CHECK(ReadReply(409, R"({"error":)" + deep).kind == Kind::kFailure);
  std::string nested;  // as deep as JSON may be here
  for (int i = 0; i < 60; ++i) nested += R"({"error":)";
  CHECK(ReadReply(409, nested + "\"no\"" + std::string(60, '}')).text == "no");
}

TEST_CASE("texts are bounded and valid UTF-8") {
  CHECK(StorableText("plain\ttext\n") == "plain\ttext\n");
  CHECK(StorableText("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80") ==
        "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80");
  CHECK(StorableText(std::string("a\0b\x01\r\x7F", 6)) == "a?b???");
  CHECK(StorableText("\xFF\xC3") == "??");
  CHECK(StorableText("\xC0\xAF") == "??");            // overlong
  CHECK(StorableText("\xE0\x80\xAF") == "???");       // overlong
  CHECK(StorableText("\xED\xA0\x80") == "???");       // surrogate
  CHECK(StorableText("\xF4\x90\x80\x80") == "????");  // beyond U+10FFFF
  CHECK(StorableText("\xE2\x82") == "??");            // cut off

  CHECK(StorableText(std::string(dtm::kMaxReasonBytes + 1, 'a')).size() == dtm::kMaxReasonBytes);
  // A character that does not fit is left out whole.
  const std::string almost(dtm::kMaxReasonBytes - 1, 'a');
  CHECK(StorableText(almost + "\xC3\xBC") == almost);
  CHECK(ReadReply(409, std::string(100000, 'x')).text.size() == dtm::kMaxReasonBytes);
  CHECK(ReadReply(500, std::string(100000, 'x')).text.size() == dtm::kMaxReasonBytes);
  // The words count wherever they are, also where the text is cut.
  CHECK(ReadReply(200, std::string(60000, 'x') + "FAILURE").kind == Kind::kFailure);
}
