/// The bytes of a reply.
#include <string>

#include "tests/catch.hpp"
#include <dtm/http/serving/reply_text.hpp>

using dtm::ApiReply;
using dtm::serving::ReplyForm;
using dtm::serving::ReplyText;
using dtm::serving::StatusText;

TEST_CASE("reply_text: what the API replied, and nothing else") {
  ApiReply reply;
  reply.body = R"({"a":1})";
  const std::string start =
      "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 7\r\n";
  CHECK(ReplyText(reply, {}) == start + "Keep-Alive: timeout=60\r\n\r\n" + reply.body);
  ReplyForm close;
  close.close = true;
  CHECK(ReplyText(reply, close) == start + "Connection: close\r\n\r\n" + reply.body);
  ReplyForm old;
  old.old_version = true;
  old.idle_seconds = 7;
  CHECK(ReplyText(reply, old) ==
        start + "Connection: keep-alive\r\nKeep-Alive: timeout=7\r\n\r\n" + reply.body);
  ReplyForm head;
  head.to_head = true;
  CHECK(ReplyText(reply, head) == start + "Keep-Alive: timeout=60\r\n\r\n");
}

TEST_CASE("reply_text: further headers come with it") {
  ApiReply reply{200, "x", "text/plain"};
  reply.headers = {{"A", "1"}, {"B", "2"}};
  CHECK(ReplyText(reply, {}) ==
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n"
        "A: 1\r\nB: 2\r\nKeep-Alive: timeout=60\r\n\r\nx");
}

TEST_CASE("reply_text: a challenge and a wait are told") {
  ApiReply reply{503, "x", "text/plain", 7};
  reply.challenge = "Bearer";
  ReplyForm close;
  close.close = true;
  CHECK(ReplyText(reply, close) ==
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n"
        "Retry-After: 7\r\nWWW-Authenticate: Bearer\r\nConnection: close\r\n\r\nx");
}

TEST_CASE("reply_text: each status of docs/http_api.md has its name") {
  for (const int status :
       {200, 400, 401, 403, 404, 408, 409, 413, 415, 425, 431, 500, 501, 503, 505}) {
    INFO(status);
    CHECK(StatusText(status) != std::string("Other"));
  }
}
