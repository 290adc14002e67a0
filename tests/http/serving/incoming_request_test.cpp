/// From the bytes of a connection to what the API is asked: target, headers, body, and what is refused.
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include <dtm/http/serving/incoming_request.hpp>

using dtm::ApiRequest;
using dtm::http1::Parsed;
using dtm::serving::IncomingRequest;
using dtm_test::Chunked;
using dtm_test::Post;
using dtm_test::Request;

namespace {

/// In pieces of this size; what is behind the request stays in `bytes`.
Parsed Take(IncomingRequest& request, std::string_view& bytes, std::size_t size = 1 << 30) {
  Parsed parsed = Parsed::kMore;
  while (!bytes.empty() && parsed == Parsed::kMore) {
    std::string_view piece = bytes.substr(0, size);
    const std::size_t before = piece.size();
    if (!request.HasHead()) parsed = request.TakeHead(piece);
    if (request.HasHead() && parsed != Parsed::kRefused) parsed = request.TakeBody(piece);
    bytes.remove_prefix(before - piece.size());
  }
  return parsed;
}

ApiRequest Of(const std::string& target) {
  const std::string text = "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  std::string_view bytes = text;
  IncomingRequest request;
  REQUIRE(Take(request, bytes) == Parsed::kDone);
  return request.Request();
}

using Query = std::multimap<std::string, std::string>;

}  // namespace

TEST_CASE("incoming_request: path and query are decoded, each once") {
  struct Row {
    std::string target, path;
    Query query;
  };
  const std::vector<Row> rows = {
      {"/", "/", {}},
      {"/a/b", "/a/b", {}},
      {"/a%2Fb%20c", "/a/b c", {}},
      {"/a+b", "/a+b", {}},  // a plus is a blank in the query only
      {"/a%zz%4", "/a%zz%4", {}},
      {"/a%2541", "/a%41", {}},
      {"/a?", "/a", {}},
      {"/a%3Fx=1", "/a?x=1", {}},
      {"/a?x=1&y=2", "/a", {{"x", "1"}, {"y", "2"}}},
      {"/a?x=1?2=3", "/a", {{"x", "1?2=3"}}},
      {"/a?x+y=1+2%2B3", "/a", {{"x y", "1 2+3"}}},
      {"/a?x", "/a", {{"x", ""}}},
      {"/a?&&x=&=y&", "/a", {{"x", ""}, {"", "y"}}},
      {"/a?x=%26%3D%25", "/a", {{"x", "&=%"}}},
      {"/a?x=1&x=2", "/a", {{"x", "1"}, {"x", "2"}}},
  };
  for (const Row& row : rows) {
    INFO(row.target);
    const ApiRequest request = Of(row.target);
    CHECK(request.path == row.path);
    CHECK(request.query == row.query);
    CHECK(request.host == "localhost");
    CHECK(request.method == "GET");
  }
  CHECK(Of("http://127.0.0.1:7/api/ping?x=1").host == "127.0.0.1:7");
  CHECK(Of("http://127.0.0.1:7/api/ping?x=1").path == "/api/ping");
}

TEST_CASE("incoming_request: the same however the bytes come, and what is behind it stays") {
  const std::string next = "GET /next";
  for (const std::string& text : {Request("GET", "/a?b=c", "X: y\r\n"), Post("/a?b=c", "the body"),
                                  Chunked("/a?b=c", "the body", 3)}) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{2}, std::size_t{7}, text.size()}) {
      CAPTURE(text, size);
      const std::string all = text + next;
      std::string_view bytes = all;
      IncomingRequest request;
      CHECK_FALSE(request.Begun());
      REQUIRE(Take(request, bytes, size) == Parsed::kDone);
      CHECK(bytes == next);
      CHECK(request.Request().path == "/a");
      CHECK(request.Request().Query("b") == "c");
      CHECK(request.Request().body == (text[0] == 'G' ? "" : "the body"));
      CHECK_FALSE(request.TooLong());
    }
  }
}

TEST_CASE("incoming_request: a body is taken up to the limit, and no byte beyond") {
  const std::size_t limit = dtm::api_head::kMaxBodyBytes;
  for (const std::size_t size : {limit, limit + 1, 3 * limit}) {
    for (const std::string& text :
         {Post("/a", std::string(size, 'x')), Chunked("/a", std::string(size, 'x'), 100000)}) {
      CAPTURE(size, text.substr(0, 100));
      std::string_view bytes = text;
      IncomingRequest request;
      CHECK(Take(request, bytes, 65536) == Parsed::kDone);
      CHECK(request.TooLong() == (size > limit));
      CHECK(request.Request().body.size() <= limit);
      CHECK(request.Bytes() >= request.Request().body.size());
      CHECK(request.Bytes() < 3 * limit);
    }
  }
}

TEST_CASE("incoming_request: the next one has nothing of the one before") {
  IncomingRequest request;
  for (const std::string& text : {Post("/a?b=c", "the body", "X: y\r\n"), Request("GET", "/d")}) {
    std::string_view bytes = text;
    CHECK_FALSE(request.Begun());
    CHECK_FALSE(request.HasHead());
    CHECK(request.Request().method.empty());
    REQUIRE(Take(request, bytes) == Parsed::kDone);
    const bool first = text[0] == 'P';
    CHECK(request.Request().path == (first ? "/a" : "/d"));
    CHECK(request.Request().body == (first ? "the body" : ""));
    CHECK(request.Request().query.size() == (first ? 1 : 0));
    CHECK(request.Request().headers.size() == (first ? 3 : 1));
    request.Reset();
  }
}

TEST_CASE("incoming_request: many small parts count with what they take") {
  std::string query;
  for (int i = 0; i < 1000; ++i) query += "&a";
  const std::string text = Request("GET", "/?" + query);
  std::string_view bytes = text;
  IncomingRequest request;
  REQUIRE(Take(request, bytes) == Parsed::kDone);
  CHECK(request.Bytes() > 100 * 1000);
  CHECK(IncomingRequest::BytesOf(request.Request()) > 100 * 1000);
}

TEST_CASE("incoming_request: what is wrong is said") {
  for (const std::string text :
       {"nonsense\r\n\r\n", "GET / HTTP/1.1\nHost: a\r\n\r\n", "GET / HTTP/3.0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: trailer\r\n\r\n"}) {
    INFO(text);
    std::string_view bytes = text;
    IncomingRequest request;
    CHECK(Take(request, bytes) == Parsed::kRefused);
    CHECK(std::string(request.Problem().text).size() > 10);
  }
}
