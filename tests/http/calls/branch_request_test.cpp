/// A branch call as an HTTP request: what it says, and what is not sent.
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include <dtm/http/calls/branch_request.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::CallTo;
using dtm_test::Ms;

namespace {

std::string Requested(const dtm::BranchCall& call, const dtm::Url& url) {
  const dtm::http1::HttpRequest request = dtm::BranchRequest(call, url);
  std::string text = request.method + " " + request.target + "\n";
  for (const auto& [name, value] : request.headers) text += name + ": " + value + "\n";
  return text + request.body;
}

std::string Requested(const std::string& payload, dtm::TransOptions options = {}) {
  const dtm::BranchCall call = CallTo("http://h:81/p?q=1", payload, Ms(1), std::move(options));
  return Requested(call, dtm::ParseUrl(call.Url()));
}

}  // namespace

TEST_CASE("the request names the branch and carries the payload") {
  const std::string post = Requested("{\"amount\":30}");
  CHECK_THAT(post,
             ContainsSubstring("POST /p?q=1&branch_id=01&gid=g1&op=action&trans_type=saga\n"));
  CHECK_THAT(post, ContainsSubstring("Host: h:81\n"));
  CHECK_THAT(post, ContainsSubstring("Content-Type: application/json\n"));
  CHECK_THAT(post, ContainsSubstring("Accept-Encoding: identity\n"));
  CHECK_THAT(post, ContainsSubstring("\n{\"amount\":30}"));
  const std::string get = Requested("");
  CHECK_THAT(get, ContainsSubstring("GET /p?q=1&branch_id=01"));
  CHECK_THAT(get, ContainsSubstring("Content-Type: application/json\n"));
}

TEST_CASE("branch headers override, but do not touch the framing") {
  dtm::TransOptions options;
  options.branch_headers = {
      {"X-Token", "a b\tc"},          {"X-Blank", " \tx "},       {"X-Empty", " "},
      {"content-type", "text/plain"}, {"Content-Length", "1000"}, {"Transfer-Encoding", "chunked"},
      {"connection", "keep-alive"},   {"HOST", "other"}};
  const std::string text = Requested("{}", options);
  CHECK_THAT(text, ContainsSubstring("X-Token: a b\tc\n"));
  CHECK_THAT(text, ContainsSubstring("X-Blank: x\n"));
  CHECK_THAT(text, ContainsSubstring("X-Empty: \n"));
  CHECK_THAT(text, ContainsSubstring("content-type: text/plain\n"));
  CHECK_THAT(text, ContainsSubstring("HOST: other\n"));
  for (const char* gone :
       {"application/json\nC", "Content-Length", "Transfer", "connection", "Host: h"}) {
    CHECK_THAT(text, !ContainsSubstring(gone));
  }
}

TEST_CASE(
    "user and password of the URL are sent as Basic authentication, unless a header says more") {
  dtm::TransOptions options;
  const auto requested = [&options](const char* url) {
    const dtm::BranchCall call = CallTo(url, "{}", Ms(1), options);
    return Requested(call, dtm::ParseUrl(call.Url()));
  };
  const std::string both = requested("http://Aladdin:open%20sesame@h/x");
  CHECK_THAT(both, ContainsSubstring("Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\n"));
  CHECK_THAT(both, ContainsSubstring("Host: h\n") && !ContainsSubstring("sesame"));
  CHECK_THAT(requested("http://Aladdin@h/x"), ContainsSubstring("Basic QWxhZGRpbjo=\n"));
  CHECK_THAT(requested("http://h/x"), !ContainsSubstring("Authorization"));
  options.branch_headers["authorization"] = "Bearer t";
  const std::string own = requested("http://Aladdin:secret@h/x");
  CHECK_THAT(own, ContainsSubstring("authorization: Bearer t\n") && !ContainsSubstring("Basic"));
}

TEST_CASE("headers that would smuggle are not sent") {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"X", "a\r\nY: z"}, {"X", "a\nb"},   {"X", std::string("a\0b", 3)},
      {"X", "a\x7F"},     {"X\r\nY", "a"}, {"X: y", "a"},
      {"X ", "a"},        {"", "a"},       {std::string("X\0", 2), "a"}};
  for (const auto& [name, value] : bad) {
    dtm::TransOptions options;
    options.branch_headers = {{name, value}};
    CHECK_THROWS_WITH(Requested("{}", options), ContainsSubstring("the call was not sent"));
  }
}
