/// What one coordinator asks of another: its stored text, also as an earlier version wrote it and would read it.
#include <string>

#include "tests/catch.hpp"
#include <dtm/store/request_codec.hpp>

using dtm::Request;

namespace {

Request Asked(Request::Kind kind, const std::string& reason, const std::string& who) {
  Request request;
  request.kind = kind;
  request.reason = reason;
  request.who = who;
  return request;
}

Request Read(Request::Kind kind, const std::string& text) {
  Request request;
  request.kind = kind;
  dtm::codec::DecodeAsked(text, request);
  return request;
}

}  // namespace

TEST_CASE("request_codec: the reason and who asks come back, whatever bytes they have") {
  const std::string texts[] = {"",
                               "enough",
                               "two\nlines",
                               "a\x1f",
                               "\x1f",
                               "\x1f\x1f",
                               "a\x1f"
                               "b",
                               std::string(300, 'x'),
                               "\xc3\xa4",
                               std::string("a\0b", 3)};
  for (const auto kind : {Request::Kind::kCancel, Request::Kind::kRetryNow}) {
    for (const std::string& reason : texts) {
      for (const std::string& who :
           {std::string(), std::string("ann"), std::string("\xc3\xa4 b")}) {
        CAPTURE(reason, who);
        const Request read = Read(kind, dtm::codec::EncodeAsked(Asked(kind, reason, who)));
        CHECK(read.reason == reason);
        CHECK(read.who == who);
      }
    }
  }
}

TEST_CASE("request_codec: without a name it is the reason, as earlier versions write and read it") {
  CHECK(dtm::codec::EncodeAsked(Asked(Request::Kind::kCancel, "enough", "")) == "enough");
  CHECK(dtm::codec::EncodeAsked(Asked(Request::Kind::kRetryNow, "", "")).empty());
  CHECK(Read(Request::Kind::kCancel, "enough").reason == "enough");
  CHECK(Read(Request::Kind::kCancel, "enough").who.empty());
}

TEST_CASE("request_codec: a branch to skip; what is damaged names none") {
  Request request = Asked(Request::Kind::kSkip, "by hand\x1f", "ann");
  request.branch_id = "0201";
  request.op = dtm::Op::kConfirm;
  const std::string text = dtm::codec::EncodeAsked(request);
  const Request read = Read(Request::Kind::kSkip, text);
  CHECK(read.branch_id == "0201");
  CHECK(read.op == dtm::Op::kConfirm);
  CHECK(read.reason == "by hand\x1f");
  CHECK(read.who == "ann");
  for (std::size_t length = 0; length < text.size(); ++length) {
    CHECK(Read(Request::Kind::kSkip, text.substr(0, length)).branch_id.empty());
  }
}
