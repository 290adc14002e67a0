/// What is decided before the body of a request is read: its length, its kind, for whom it is, and who sent it.
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/http/api/head.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::ApiRequest;
namespace api_head = dtm::api_head;

namespace {

using Headers = std::vector<dtm::http1::HttpHeader>;

/// As a client on this machine sends it, with these besides.
ApiRequest Head(const std::string& method, Headers more = {}) {
  ApiRequest request;
  request.method = method;
  request.path = "/api/dtmsvr/submit";
  request.headers = std::move(more);
  request.headers.push_back({"hOST", "localhost:36789"});
  api_head::TakeHost(request);
  return request;
}

}  // namespace

TEST_CASE("api_head: what a client of dtm sends is let in") {
  for (const ApiRequest& request :
       {Head("GET"), Head("GET", {{"Content-Length", "0"}}), Head("HEAD"), Head("DELETE"),
        Head("OPTIONS"), Head("POST"), Head("POST", {{"Content-Length", "1048576"}}),
        Head("PUT", {{"Transfer-Encoding", "chunked"}}),
        Head("PATCH", {{"Content-Encoding", "Identity"}, {"content-type", "application/json"}})}) {
    CAPTURE(request.method);
    CHECK_FALSE(api_head::Check(request, ""));
  }
}

TEST_CASE("api_head: a refusal closes the connection, since nobody reads the body") {
  struct Row {
    ApiRequest request;
    int status;
    const char* words;
  };
  const Row rows[] = {
      {Head("POST", {{"Content-Length", "1"}, {"content-length", "1"}}), 400, "twice"},
      {Head("POST", {{"Content-Length", "1"}, {"Transfer-Encoding", "chunked"}}), 400, "twice"},
      {Head("POST", {{"Content-Length", "+1"}}), 400, "must be a number"},
      {Head("POST", {{"Host", "localhost"}}), 400, "two Host headers"},
      {Head("GET", {{"Content-Length", "1"}}), 400, "must not have a body"},
      {Head("DELETE", {{"Transfer-Encoding", "chunked"}}), 400, "must not have a body"},
      {Head("TRACE"), 404, "404 page not found"},
      {Head("POST", {{"Content-Encoding", "gzip"}}), 415, "neither compressed"},
      {Head("POST", {{"Content-Type", "MultiPart/form-data"}}), 415, "nor in parts"},
      {Head("POST", {{"Content-Length", "1048577"}}), 413, "1048576"},
      {Head("POST", {{"Content-Length", "99999999999999999999"}}), 413, "1048576"},
      {Head("POST", {{"Origin", "http://elsewhere"}}), 403, "foreign"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.words);
    const auto refused = api_head::Check(row.request, "");
    REQUIRE(refused);
    CHECK(refused->status == row.status);
    CHECK(refused->close);
    CHECK(refused->challenge == nullptr);
    CHECK_THAT(refused->body, ContainsSubstring(row.words));
  }
}

TEST_CASE("api_head: with a token, who does not carry it is challenged") {
  const auto refused = api_head::Check(Head("GET"), "secret");
  REQUIRE(refused);
  CHECK(refused->status == 401);
  CHECK(refused->challenge == std::string("Bearer"));
  CHECK_FALSE(api_head::Check(Head("GET", {{"AUTHORIZATION", "Bearer secret"}}), "secret"));
  ApiRequest ping = Head("GET");
  ping.path = "/api/ping";
  CHECK_FALSE(api_head::Check(ping, "secret"));
}

TEST_CASE("api_head: a target in the absolute form names the host, whatever the header says") {
  struct Row {
    const char* target;
    const char* path;
    const char* host;
  };
  for (const Row& row :
       {Row{"/api/ping", "/api/ping", "localhost:36789"},
        Row{"http://h:1/api/ping", "/api/ping", "h:1"}, Row{"HTTPS://h", "/", "h"},
        Row{"http:/h", "http:/h", "localhost:36789"}, Row{"", "", "localhost:36789"}}) {
    CAPTURE(row.target);
    ApiRequest request = Head("GET");
    request.path = row.target;
    api_head::TakeHost(request);
    CHECK(request.path == row.path);
    CHECK(request.host == row.host);
  }
  ApiRequest elsewhere = Head("GET");
  elsewhere.path = "http://elsewhere/api/ping";
  api_head::TakeHost(elsewhere);
  const auto refused = api_head::Check(elsewhere, "");
  REQUIRE(refused);
  CHECK(refused->status == 403);
}
