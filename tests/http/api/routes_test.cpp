/// The routes of the API: which request goes where.
#include <string>

#include "tests/catch.hpp"
#include <dtm/http/api/routes.hpp>

namespace {

std::string Found(const std::string& method, const std::string& path) {
  const dtm::ApiRoutes::Route* const route = dtm::ApiRoutes::Find({method, path, {}, {}});
  if (route == nullptr) return "none";
  return route->name + std::string(route->blocks ? ", blocks" : "");
}

}  // namespace

TEST_CASE("api_routes: a route is found by its method and its whole path") {
  CHECK(Found("POST", "/api/dtmsvr/submit") == "submit");
  CHECK(Found("GET", "/api/dtmsvr/submit") == "none");
  CHECK(Found("post", "/api/dtmsvr/submit") == "none");
  CHECK(Found("POST", "/api/dtmsvr/submit/") == "none");
  CHECK(Found("POST", "/api/dtmsvr/submi") == "none");
  CHECK(Found("POST", "/api/dtmsvr/Submit") == "none");
  CHECK(Found("", "") == "none");
  for (const char* method : {"GET", "POST"}) {
    CHECK(Found(method, "/api/dtmsvr/subscribe") == "subscribe");
    CHECK(Found(method, "/api/dtmsvr/resetCronTime") == "resetcrontime, blocks");
  }
  CHECK(Found("PUT", "/api/dtmsvr/subscribe") == "none");
}

TEST_CASE("api_routes: some have any method, and some a path that goes on") {
  for (const char* method : {"GET", "POST", "HEAD", "X"}) {
    CHECK(Found(method, "/api/ping") == "ping");
  }
  CHECK(Found("DELETE", "/api/dtmsvr/topic/t") == "topic");
  CHECK(Found("DELETE", "/api/dtmsvr/topic/") == "topic");
  CHECK(Found("DELETE", "/api/dtmsvr/topic") == "none");
  CHECK(Found("GET", "/api/dtmsvr/topic/t") == "none");
}

TEST_CASE("api_routes: what reads the store may block") {
  for (const char* name : {"query", "timeline", "explain", "all", "nodes", "overview"}) {
    CHECK(Found("GET", std::string("/api/dtmsvr/") + name) == name + std::string(", blocks"));
  }
  CHECK(Found("GET", "/api/metrics") == "metrics, blocks");
  CHECK(Found("GET", "/api/dtmsvr/newGid") == "newgid");
  CHECK(Found("GET", "/api/dtmsvr/version") == "version");
}
