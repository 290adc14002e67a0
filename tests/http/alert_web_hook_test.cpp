/// Alerts by HTTP, over real sockets: what is sent, and that nothing the other side does matters.
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include <dtm/client/saga.hpp>
#include <dtm/http/alert_web_hook.hpp>
#include <dtm/testing/test_coordinator.hpp>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using dtm::Alert;
using dtm::AlertWebHook;
using dtm_test::Clock;
using dtm_test::Ms;
using dtm_test::RawServer;

namespace {

Alert Some() {
  Alert alert;
  alert.gid = "g \"1\"";
  alert.status = dtm::Status::kAborting;
  alert.branch = "http://bank/undo";
  alert.error = "branch 01: no\nmoney";
  alert.retry_count = 4;
  return alert;
}

/// Answers every request with these bytes, and keeps the last one.
struct Hook {
  explicit Hook(std::string answer)
      : answer_(std::move(answer)), server([this](int fd, int) {
          request = RawServer::ReadRequest(fd);
          RawServer::Write(fd, answer_);
        }) {}

 private:
  std::string answer_;

 public:
  std::string request;
  RawServer server;
};

}  // namespace

TEST_CASE("alert web hook: user and password of its URL are sent, and shown nowhere") {
  Hook hook(RawServer::Ok());
  std::string url = hook.server.Url("/bell");
  AlertWebHook(url.insert(7, "u:secret@"))(Some());
  hook.server.AwaitClosed(1);
  CHECK_THAT(hook.request, ContainsSubstring("Authorization: Basic dTpzZWNyZXQ=\r\n"));
  CHECK_THROWS_WITH(AlertWebHook("http://u:secret@127.0.0.1:1/")(Some()),
                    ContainsSubstring("nothing listens there") && !ContainsSubstring("secret"));
  CHECK_THROWS_WITH(AlertWebHook("http://u:secret@no-such-host.invalid/")(Some()),
                    ContainsSubstring("its name is unknown") && !ContainsSubstring("secret"));
}

TEST_CASE("alert web hook: a POST with the five fields, to the URL as it is") {
  Hook hook(RawServer::Ok());
  AlertWebHook(hook.server.Url("/bell/a%20b?who=me"))(Some());
  hook.server.AwaitClosed(1);
  CHECK_THAT(hook.request, StartsWith("POST /bell/a%20b?who=me HTTP/1.1\r\n"));
  CHECK_THAT(hook.request, ContainsSubstring("Content-Type: application/json\r\n"));
  CHECK_THAT(hook.request, ContainsSubstring("User-Agent: dtm-cpp/"));
  CHECK_THAT(hook.request,
             EndsWith("\r\n\r\n{\"gid\":\"g "
                      "\\\"1\\\"\",\"status\":\"aborting\",\"branch\":\"http://bank/undo\","
                      "\"error\":\"branch 01: no\\nmoney\",\"retry_count\":4}"));
}

TEST_CASE("alert web hook: bytes that are no text do not keep it from being sent") {
  Hook hook(RawServer::Ok());
  Alert alert = Some();
  alert.error = "\xFF!";
  AlertWebHook(hook.server.Url())(alert);
  hook.server.AwaitClosed(1);
  CHECK_THAT(hook.request, ContainsSubstring("\"error\":\"\xEF\xBF\xBD!\""));
}

TEST_CASE("alert web hook: whatever is answered is ignored, and no redirect is followed") {
  Hook elsewhere(RawServer::Ok());
  for (const std::string& answer :
       {std::string("HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n"),
        "HTTP/1.1 302 x\r\nContent-Length: 0\r\nLocation: " + elsewhere.server.Url() + "\r\n\r\n",
        "HTTP/1.1 307 x\r\nContent-Length: 0\r\nLocation: " + elsewhere.server.Url() + "\r\n\r\n",
        RawServer::Ok(std::string(1000000, 'x')), RawServer::Ok("FAILURE"),
        std::string("HTTP/1.1 200 x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")}) {
    CAPTURE(answer.substr(0, 40));
    Hook hook(answer);
    CHECK_NOTHROW(AlertWebHook(hook.server.Url())(Some()));
    hook.server.AwaitClosed(1);
    CHECK(hook.server.Connections() == 1);
  }
  CHECK(elsewhere.server.Connections() == 0);
}

TEST_CASE("alert web hook: nobody there is an error for the log, which does not show the path") {
  const auto hook = AlertWebHook("http://127.0.0.1:1/secret");
  CHECK_THROWS_WITH(hook(Some()), ContainsSubstring("http://127.0.0.1:1 did not answer") &&
                                      !ContainsSubstring("secret"));
  Hook rude("nonsense");
  CHECK_THROWS_AS(AlertWebHook(rude.server.Url())(Some()), dtm::Error);
}

TEST_CASE("alert web hook: a peer that drips is given up after 3 s") {
  RawServer drip([](int fd, int) {
    (void)RawServer::ReadRequest(fd);
    (void)RawServer::Write(fd, "HTTP/1.1 200 OK\r\nX: ");
    while (RawServer::Write(fd, "x")) std::this_thread::sleep_for(Ms(20));
  });
  const auto begin = Clock::now();
  CHECK_THROWS_AS(AlertWebHook(drip.Url())(Some()), dtm::Error);
  CHECK(Clock::now() - begin >= Ms(2900));
  CHECK(Clock::now() - begin < Ms(8000));
}

TEST_CASE("alert web hook: a URL that cannot be called is refused at once") {
  for (const char* url : {"", "bell", "ftp://h/", "local:F", "topic://t", "file:///etc/passwd",
                          "http://", "http://me@/", "http://h:0/", "http://h/\r\nX: y"}) {
    CAPTURE(url);
    CHECK_THROWS_WITH(AlertWebHook(url), StartsWith("the alert web hook \""));
  }
  CHECK_THROWS_WITH(AlertWebHook("https://h/secret"),
                    ContainsSubstring("needs TLS") && !ContainsSubstring("secret"));
}

TEST_CASE("alert web hook: as a coordinator uses it") {
  Hook hook(RawServer::Ok());
  dtm::Options options;
  options.log = [](dtm::LogLevel, const std::string&) {};
  options.on_alert = AlertWebHook(hook.server.Url());
  dtm::testing::TestCoordinator kit({}, options);
  for (int i = 0; i < 3; ++i) kit.Branches().On("http://a", dtm::Result::Error("connection lost"));
  const auto result =
      dtm::NewSaga(*kit, "g1").Add("http://a", "", 1).SubmitAndWait(std::chrono::hours(1));
  CHECK(result.Succeeded());
  hook.server.AwaitClosed(1);
  CHECK_THAT(
      hook.request,
      ContainsSubstring("{\"gid\":\"g1\",\"status\":\"submitted\",\"branch\":\"http://a\"") &&
          ContainsSubstring("connection lost\",\"retry_count\":3}"));
}
