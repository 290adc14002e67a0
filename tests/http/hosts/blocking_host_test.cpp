/// Requests that the thread of the caller waits for.
#include <atomic>
#include <string>
#include <thread>
#include <utility>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include <dtm/http/hosts/blocking_host.hpp>
#include <dtm/http/http1/request_reply.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::hosts::BlockingHost;
using dtm::hosts::HttpOutcome;
using dtm_test::Clock;
using dtm_test::Ms;
using dtm_test::RawServer;
using Kind = HttpOutcome::Kind;

namespace {

struct One final : dtm::hosts::HttpCall {
  void OnDone(HttpOutcome told) override {
    outcome = std::move(told);
    outcome.head = nullptr;
    thread = std::this_thread::get_id();
    ++times;
  }
  HttpOutcome outcome;
  std::thread::id thread;
  int times = 0;
};

One Ask(BlockingHost& host, Ms timeout = Ms(5000)) {
  One one;
  dtm::http1::HttpRequest request;
  request.Set("Host", "h");
  one.request = dtm::http1::RequestText(request);
  one.deadline = Clock::now() + timeout;
  host.Send(one);
  CHECK(one.times == 1);
  return one;
}

}  // namespace

TEST_CASE("blocking_host: the reply is there when Send returns, on the thread that asked") {
  RawServer server([](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) RawServer::Write(fd, RawServer::Ok("yes"));
  });
  BlockingHost host(dtm::ParseUrl(server.Url()));
  CHECK_FALSE(host.IsOpen());
  for (int i = 0; i < 3; ++i) {
    const One one = Ask(host);
    CHECK(one.outcome.body == "yes");
    CHECK(one.thread == std::this_thread::get_id());
    CHECK(host.IsOpen());
  }
  CHECK(server.Connections() == 1);
}

TEST_CASE("blocking_host: what the other side has closed meanwhile is replaced") {
  std::atomic<int> requests{0};
  RawServer server([&](int fd, int) {
    if (RawServer::ReadRequest(fd).empty()) return;
    ++requests;
    RawServer::Write(fd, RawServer::Ok());
  });
  BlockingHost host(dtm::ParseUrl(server.Url()));
  for (int i = 1; i <= 3; ++i) {
    CHECK(Ask(host).outcome.kind == Kind::kReply);
    server.AwaitClosed(i);
  }
  CHECK(requests == 3);
  CHECK(server.Connections() == 3);
}

TEST_CASE("blocking_host: it does not wait longer than the deadline, and says what was wrong") {
  RawServer silent([](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) continue;
  });
  BlockingHost host(dtm::ParseUrl(silent.Url()));
  const auto start = Clock::now();
  CHECK(Ask(host, Ms(50)).outcome.kind == Kind::kLate);
  CHECK(Clock::now() - start < Ms(3000));
  CHECK_FALSE(host.IsOpen());
  BlockingHost nobody(dtm::ParseUrl("http://no-such-host.invalid/x"));
  CHECK_THAT(Ask(nobody).outcome.problem, ContainsSubstring("its name is unknown"));
}
