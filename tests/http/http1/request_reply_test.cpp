/// Requests as bytes.
#include <string>

#include "tests/catch.hpp"
#include "tests/http/http1/parsed_message.hpp"
#include <dtm/http/http1/request_reply.hpp>

using dtm::http1::HttpRequest;

TEST_CASE("http_message: a request is written as it is read") {
  HttpRequest request;
  request.method = "POST";
  request.target = "/p?q=1";
  request.Set("Host", "h:81");
  request.Set("X-A", "two words");
  request.body = "{\"n\":1}";
  const std::string text = dtm::http1::RequestText(request);
  CHECK(
      text ==
      "POST /p?q=1 HTTP/1.1\r\nHost: h:81\r\nX-A: two words\r\nContent-Length: 7\r\n\r\n{\"n\":1}");
  const dtm_test::ParsedMessage read = dtm_test::ParseRequest(text);
  CHECK(read.Whole());
  CHECK(read.body == request.body);
}

TEST_CASE("http_message: what could have a body says that it has none") {
  HttpRequest request;
  request.method = "POST";
  CHECK(dtm::http1::RequestText(request) == "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
  request.method = "GET";
  CHECK(dtm::http1::RequestText(request) == "GET / HTTP/1.1\r\n\r\n");
  request.body = "x";
  CHECK(dtm::http1::RequestText(request) == "GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
}

TEST_CASE("http_message: a header is found whatever the case of its name") {
  HttpRequest request;
  request.Set("X-Token", "a");
  request.Set("x-token", "b");
  CHECK(request.Header("x-token") == "a");
  CHECK(request.Header("host").empty());
  dtm::http1::HttpReply reply;
  reply.headers = {{"Retry-After", "1"}};
  CHECK(reply.Header("retry-after") == "1");
}
