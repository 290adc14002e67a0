/// Requests to a coordinator elsewhere: what is sent, which connections are kept, and what an answer that
/// is neither yes nor no becomes.
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include <dtm/http/remote/remote_requests.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Exchanged;
using dtm::RemoteOptions;
using dtm::RemoteRequests;
using dtm_test::Ms;
using dtm_test::RawServer;

namespace {

Exchanged Answer(int status, const std::string& body) {
  Exchanged answer;
  answer.answered = true;
  answer.status = status;
  answer.body = body;
  return answer;
}

}  // namespace

TEST_CASE("remote_requests: a request as dtm's clients send it, with the token if there is one") {
  std::string request;
  RawServer server([&](int fd, int) {
    request = RawServer::ReadRequest(fd);
    RawServer::Write(fd, RawServer::Ok("{}"));
  });
  {
    RemoteOptions options;
    options.token = GENERATE(as<std::string>{}, "", "secret");
    RemoteRequests requests(server.Url("/api/dtmsvr///"), options);
    CHECK(requests.Where() == server.Url("/api/dtmsvr"));
    const Exchanged answer = requests.Post("/submit", "g", R"({"gid":"g"})");
    CHECK(answer.status == 200);
    CHECK(answer.body == "{}");
    CHECK(request.compare(0, 34, "POST /api/dtmsvr/submit HTTP/1.1\r\n") == 0);
    CHECK_THAT(request, ContainsSubstring("Content-Type: application/json\r\n") &&
                            ContainsSubstring("\r\n\r\n{\"gid\":\"g\"}") &&
                            ContainsSubstring("Host: 127.0.0.1:"));
    const bool told = request.find("Authorization: Bearer secret\r\n") != std::string::npos;
    CHECK(told == !options.token.empty());
    CHECK((request.find("Authorization") != std::string::npos) == told);
  }
}

TEST_CASE("remote_requests: a timeout out of its range is refused at once") {
  for (const dtm::Duration timeout :
       {dtm::Duration(0), dtm::Duration(-1), (dtm::Duration::min)(), (dtm::Duration::max)(),
        dtm::Duration(std::chrono::hours(24)) + dtm::Duration(1)}) {
    RemoteOptions options;
    options.timeout = timeout;
    CHECK_THROWS_AS(RemoteRequests("http://127.0.0.1:1/api", options), dtm::LogicError);
    CHECK_THROWS_WITH(RemoteRequests("http://127.0.0.1:1/api", options),
                      ContainsSubstring("the option timeout is ") &&
                          ContainsSubstring("; it must be 1 ms to 86400 s"));
  }
}

TEST_CASE("remote_requests: a connection is used again, two at a time are two") {
  RawServer server([](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) RawServer::Write(fd, RawServer::Ok("{}"));
  });
  RemoteRequests requests(server.Url("/api"), {});
  for (int i = 0; i < 5; ++i) CHECK(requests.Post("/x", "g", "{}").status == 200);
  CHECK(server.Connections() == 1);
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 20; ++n) good += requests.Post("/x", "g", "{}").status == 200 ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(good == 80);
  CHECK(server.Connections() <= 5);
}

TEST_CASE("remote_requests: without a whole answer it is in doubt, with the gid and the place") {
  const std::string bytes =
      GENERATE(as<std::string>{}, "", "HTTP/1.1 200 OK\r\nContent-Length: 9",
               "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "nonsense\r\n");
  CAPTURE(bytes);
  RawServer server([&](int fd, int) {
    (void)RawServer::ReadRequest(fd);
    RawServer::Write(fd, bytes);
  });
  RemoteRequests requests(server.Url("/api"), {});
  CHECK_THROWS_AS(requests.Post("/x", "the-gid", "{}"), dtm::InDoubtError);
  CHECK_THROWS_WITH(requests.Post("/x", "the-gid", "{}"),
                    ContainsSubstring("the-gid") && ContainsSubstring(server.Url("/api")));
}

TEST_CASE(
    "remote_requests: silence ends with the timeout, and the next request has a fresh connection") {
  RawServer server([](int fd, int n) {
    while (!RawServer::ReadRequest(fd).empty()) {
      if (n > 0) RawServer::Write(fd, RawServer::Ok("{}"));
    }
  });
  RemoteOptions options;
  options.timeout = Ms(300);
  RemoteRequests requests(server.Url("/api"), options);
  CHECK_THROWS_AS(requests.Post("/x", "g", "{}"), dtm::InDoubtError);
  CHECK(requests.Post("/x", "g", "{}").status == 200);
  CHECK(server.Connections() == 2);
}

TEST_CASE("remote_requests: the message of an answer, or the answer itself") {
  CHECK(RemoteRequests::MessageOf(Answer(409, R"({"dtm_result":"FAILURE","message":"no"})")) ==
        "no");
  CHECK(RemoteRequests::MessageOf(Answer(500, R"({"message":7})")) == R"({"message":7})");
  CHECK(RemoteRequests::MessageOf(Answer(500, "plain")) == "plain");
  CHECK(RemoteRequests::MessageOf(Answer(500, "[1]")) == "[1]");
  CHECK(RemoteRequests::MessageOf(Answer(500, "")) == "");
}

TEST_CASE("remote_requests: what an answer that is neither yes nor no becomes") {
  const RemoteRequests requests("http://h:1/api", {});
  CHECK_THROWS_AS(requests.Refuse("gid 'g'", Answer(503, R"({"message":"later"})")),
                  dtm::BusyError);
  for (const char* gateway : {"", "{}", "<html>", R"({"message":7})"}) {
    CAPTURE(gateway);
    CHECK_THROWS_AS(requests.Refuse("gid 'g'", Answer(503, gateway)), dtm::InDoubtError);
  }
  for (const int status : {400, 401, 404, 413}) {
    CAPTURE(status);
    CHECK_THROWS_AS(requests.Refuse("gid 'g'", Answer(status, "why")), dtm::RejectedError);
    CHECK_THROWS_WITH(requests.Refuse("gid 'g'", Answer(status, "why")),
                      ContainsSubstring("gid 'g'") && ContainsSubstring("http://h:1/api") &&
                          ContainsSubstring(std::to_string(status)) && ContainsSubstring("why"));
  }
  CHECK_THROWS_AS(requests.Refuse("gid 'g'", Answer(500, "boom")), dtm::InDoubtError);
}

TEST_CASE("remote_requests: what is no URL is refused at once") {
  for (const char* url : {"", "x", "localhost:36789", "ftp://h/api", "http://"}) {
    CHECK_THROWS_AS(RemoteRequests(url, {}), dtm::Error);
  }
}

TEST_CASE("remote_requests: so is a url among the options") {
  for (std::string RemoteOptions::*option :
       {&RemoteOptions::branch_url, &RemoteOptions::url_in_branches}) {
    RemoteOptions options;
    options.*option = "http://h/branch";
    CHECK_NOTHROW(RemoteRequests("http://h", options));
    options.*option = "h/branch";
    CHECK_THROWS_AS(RemoteRequests("http://h", options), dtm::LogicError);
  }
}

TEST_CASE("remote_requests: user and password of the url are sent, and shown nowhere") {
  std::string request;
  RawServer server([&](int fd, int) {
    request = RawServer::ReadRequest(fd);
    RawServer::Write(fd, RawServer::Ok("{}"));
  });
  std::string url = server.Url("/api");
  url.insert(7, "dtm:secret@");
  RemoteOptions options;
  const bool token = GENERATE(false, true);
  if (token) options.token = "token";
  RemoteRequests requests(url, options);
  (void)requests.Post("/x", "g", "{}");
  CHECK_THAT(request, ContainsSubstring(token ? "Authorization: Bearer token\r\n"
                                              : "Authorization: Basic ZHRtOnNlY3JldA==\r\n"));
  CHECK_THAT(request, !ContainsSubstring("secret"));
  CHECK(requests.Where() == server.Url("/api"));
  CHECK_THAT(requests.NoAnswer("g"), !ContainsSubstring("secret"));
}

TEST_CASE(
    "remote_requests: a name that is unknown and a port where nobody listens are told apart") {
  RemoteRequests unknown("http://no-such-host.invalid/api", {});
  CHECK_THROWS_WITH(unknown.Post("/x", "g", "{}"), ContainsSubstring("its name is unknown"));
  RemoteRequests nobody("http://127.0.0.1:1/api", {});
  CHECK_THROWS_WITH(nobody.Post("/x", "g", "{}"), ContainsSubstring("nothing listens there"));
}
