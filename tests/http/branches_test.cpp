/// Branch calls by URL as the coordinator sees them: deadlines, queues, hosts that die, Stop.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <httplib.h>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include "tests/support/child.hpp"
#include "tests/support/test_lease.hpp"
#include <dtm/http/branches.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::CallTo;
using dtm_test::Clock;
using dtm_test::Ms;
using dtm_test::RawServer;
using dtm_test::Results;
using Kind = dtm::Result::Kind;

namespace {

/// Answers every request after `delay`.
RawServer Answering(Ms delay = Ms(0)) {
  return RawServer([delay](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) {
      std::this_thread::sleep_for(delay);
      if (!RawServer::Write(fd, RawServer::Ok())) return;
    }
  });
}

/// Takes requests and says nothing.
RawServer Silent() {
  return RawServer([](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) continue;
  });
}

std::vector<dtm::BranchCall> Times(int count, const dtm::BranchCall& call) {
  return std::vector<dtm::BranchCall>(static_cast<std::size_t>(count), call);
}

int CountOf(const std::vector<std::pair<std::string, dtm::Result>>& done, Kind kind,
            const std::string& url = "") {
  int count = 0;
  for (const auto& [at, result] : done) count += result.kind == kind && (url.empty() || url == at);
  return count;
}

Ms Since(Clock::time_point start) { return std::chrono::duration_cast<Ms>(Clock::now() - start); }

}  // namespace

TEST_CASE("calls reach a real HTTP server and its answers come back") {
  httplib::Server server;
  std::mutex mutex;
  std::multimap<std::string, std::string> seen;
  const auto serve = [&](const char* path, int status, const char* body) {
    const auto handler = [&, status, body](const httplib::Request& request,
                                           httplib::Response& response) {
      const std::lock_guard<std::mutex> lock(mutex);
      seen.emplace(request.path, request.method + " " + request.get_param_value("gid") + " " +
                                     request.get_param_value("branch_id") + " " +
                                     request.get_param_value("op") + " " +
                                     request.get_param_value("trans_type") + " " +
                                     request.get_header_value("Content-Type") + " " +
                                     request.get_header_value("X-Token") + " " + request.body);
      response.status = status;
      response.set_content(body, "text/plain");
    };
    server.Get(path, handler);
    server.Post(path, handler);
  };
  serve("/ok", 200, "{}");
  serve("/no", 409, "no money");
  serve("/wait", 425, "");
  serve("/oops", 500, "boom");
  const int port = server.bind_to_any_port("127.0.0.1");
  std::thread listener([&] { server.listen_after_bind(); });
  const std::string base = "http://127.0.0.1:" + std::to_string(port);

  Results results;
  {
    auto caller = dtm::HttpBranches();
    dtm::TransOptions options;
    options.branch_headers = {{"X-Token", "t"}};
    caller->Call({CallTo(base + "/ok", "{\"amount\":30}", Ms(5000), options),
                  CallTo(base + "/ok?x=1", ""), CallTo(base + "/no"), CallTo(base + "/wait"),
                  CallTo(base + "/oops"), CallTo("http://user@h/"), CallTo("nonsense")},
                 results);
    std::map<std::string, dtm::Result> done;
    for (auto& [url, result] : results.Wait(7)) done[url] = result;
    CHECK(done[base + "/ok"].kind == Kind::kSuccess);
    CHECK(done[base + "/ok?x=1"].kind == Kind::kSuccess);
    CHECK(done[base + "/no"].kind == Kind::kFailure);
    CHECK(done[base + "/no"].text == "no money");
    CHECK(done[base + "/wait"].kind == Kind::kOngoing);
    CHECK(done[base + "/oops"].kind == Kind::kError);
    CHECK(done["http://user@h/"].kind == Kind::kError);
    CHECK_THAT(done["nonsense"].text, ContainsSubstring("does not start with http://"));
  }
  server.stop();
  listener.join();
  REQUIRE(seen.count("/ok") == 2);
  std::set<std::string> ok;
  for (auto at = seen.lower_bound("/ok"); at != seen.upper_bound("/ok"); ++at)
    ok.insert(at->second);
  CHECK(ok == std::set<std::string>{"GET g1 01 action saga application/json  ",
                                    "POST g1 01 action saga application/json t {\"amount\":30}"});
  CHECK(seen.size() == 5);
}

TEST_CASE("a call whose headers would smuggle is answered and not sent") {
  RawServer server = Answering();
  dtm::TransOptions options;
  options.branch_headers = {{"X", "a\r\nContent-Length: 0\r\n\r\nGET /evil HTTP/1.1"}};
  Results results;
  auto caller = dtm::HttpBranches();
  caller->Call({CallTo(server.Url(), "{}", Ms(1000), options)}, results);
  const auto done = results.Wait(1);
  REQUIRE(done.size() == 1);
  CHECK(done[0].second.kind == Kind::kError);
  CHECK_THAT(done[0].second.text, ContainsSubstring("the call was not sent"));
  CHECK(server.Connections() == 0);
}

TEST_CASE("the deadline holds against silence and against dripping bytes") {
  RawServer silent = Silent();
  const auto drip = [](const std::string& head) {
    return [head](int fd, int) {
      RawServer::ReadRequest(fd);
      RawServer::Write(fd, head);
      while (RawServer::Write(fd, "x")) std::this_thread::sleep_for(Ms(20));
    };
  };
  RawServer in_status(drip("HTTP/1.1 200 "));
  RawServer in_headers(drip("HTTP/1.1 200 OK\r\nX-A: "));
  RawServer in_body(drip("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"));
  RawServer in_chunk(drip("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
  Results results;
  auto caller = dtm::HttpBranches();
  const auto start = Clock::now();
  std::vector<dtm::BranchCall> calls;
  for (const RawServer* server : {&silent, &in_status, &in_headers, &in_body}) {
    calls.push_back(CallTo(server->Url(), "{}", Ms(200)));
  }
  caller->Call(calls, results);
  const auto done = results.Wait(calls.size());
  CHECK(done.size() == calls.size());
  CHECK(Since(start) >= Ms(190));
  CHECK(Since(start) < Ms(1000));
  for (const auto& [url, result] : done) {
    CHECK(result.kind == Kind::kError);
    CHECK_THAT(result.text, ContainsSubstring("gave no answer within 200 ms"));
  }
  caller->Call({CallTo(in_chunk.Url(), "{}", Ms(200))}, results);
  CHECK(results.Wait(5).back().second.kind == Kind::kError);
}

TEST_CASE("connections are kept, shared by all threads, and closed when nobody needs them") {
  RawServer server = Answering();
  dtm::HttpBranchOptions options;
  options.keep_idle = Ms(100);
  auto caller = dtm::HttpBranches(options);
  Results results;
  for (std::size_t i = 1; i <= 50; ++i) {
    caller->Call({CallTo(server.Url())}, results);
    REQUIRE(results.Wait(i).size() == i);
  }
  CHECK(server.Connections() <= 3);  // the next call may come before the last connection is back
  const int before = server.Connections();
  std::this_thread::sleep_for(Ms(400));
  caller->Call({CallTo(server.Url())}, results);
  CHECK(results.Wait(51).size() == 51);
  CHECK(server.Connections() == before + 1);
  CHECK(CountOf(results.Wait(51), Kind::kSuccess) == 51);
}

TEST_CASE("slow branches run side by side") {
  std::atomic<int> delay_ms{100};
  RawServer server([&delay_ms](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) {
      std::this_thread::sleep_for(Ms(delay_ms));
      if (!RawServer::Write(fd, RawServer::Ok())) return;
    }
  });
  auto caller = dtm::HttpBranches();
  Results results;
  auto start = Clock::now();
  caller->Call(Times(200, CallTo(server.Url())), results);
  CHECK(CountOf(results.Wait(200), Kind::kSuccess) == 200);
  CHECK(Since(start) < Ms(3000));  // one after the other: 20 s
  // Now the threads are there and begin at once as many as the pace allows. If nobody looked again before those are
  // back, the others would end after 2 s.
  delay_ms = 1000;
  start = Clock::now();
  caller->Call(Times(100, CallTo(server.Url())), results);
  CHECK(CountOf(results.Wait(300), Kind::kSuccess) == 300);
  CHECK(Since(start) < Ms(1900));
}

TEST_CASE(
    "many calls that come at once begin a few in each turn, so that replies are read between") {
  RawServer silent = Silent();
  dtm::HttpBranchOptions options;
  options.io = dtm::IoThread::OfHost();
  const auto caller = dtm::HttpBranches(options);
  Results results;
  caller->Call(Times(300, CallTo(silent.Url(), "{}", Ms(60000))), results);
  std::size_t before = 0;
  for (int turns = 0; turns < 20; ++turns) {
    (void)options.io->Poll();
    const std::size_t now = caller->Load().in_flight;
    CHECK(now <= before + 64);
    CHECK(now >= (std::min)(before + 1, std::size_t{300}));
    before = now;
  }
  CHECK(before == 300);
  caller->Stop();
}

TEST_CASE("a dead host delays nobody else") {
  RawServer dead = Silent();
  RawServer alive = Answering();
  dtm::HttpBranchOptions options;
  options.limits.total = 20;
  options.limits.per_host = 16;
  options.limits.silent_host = 2;
  auto caller = dtm::HttpBranches(options);
  Results results;
  caller->Call(Times(300, CallTo(dead.Url(), "{}", Ms(1500))), results);
  const auto start = Clock::now();
  caller->Call(Times(100, CallTo(alive.Url(), "{}", Ms(1500))), results);
  const auto done = results.Wait(100);
  CHECK(Since(start) < Ms(1000));
  CHECK(CountOf(done, Kind::kSuccess, alive.Url()) == 100);
  CHECK(dead.Connections() <= 16);
}

TEST_CASE(
    "large calls in flight are bounded by their bytes, small ones do not wait for them, and those "
    "that wait begin when bytes are freed") {
  std::promise<void> answer, end;
  const std::shared_future<void> may_answer(answer.get_future()), may_end(end.get_future());
  RawServer slow([&](int fd, int) {
    const std::string request = RawServer::ReadRequest(fd);
    may_answer.wait();
    RawServer::Write(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n");  // the request is not kept
    may_end.wait();
    RawServer::Write(fd, "Connection: close\r\n\r\n{}");
  });
  RawServer fast = Answering();
  constexpr std::size_t kLarge = 200;
  const auto caller = dtm::HttpBranches();
  Results results;
  const std::string large(250000, 'x');
  caller->Call(Times(kLarge, CallTo(slow.Url(), large, Ms(120000))), results);
  caller->Call(Times(20, CallTo(fast.Url())), results);
  CHECK(CountOf(results.Wait(20, Ms(60000)), Kind::kSuccess, fast.Url()) == 20);
  dtm::CallLoad load = caller->Load();
  CHECK(load.in_flight < 140);  // a half of 64 MiB, and what the sockets take
  CHECK(load.in_flight > 40);
  CHECK(load.in_flight + load.waiting == kLarge);
  answer.set_value();
  const auto limit = Clock::now() + Ms(60000);
  while ((load = caller->Load()).waiting > 0 && Clock::now() < limit)
    std::this_thread::sleep_for(Ms(1));
  CHECK(load.in_flight == kLarge);  // none of them has ended
  end.set_value();
  CHECK(CountOf(results.Wait(20 + kLarge, Ms(60000)), Kind::kSuccess, slow.Url()) ==
        static_cast<int>(kLarge));
  CHECK(caller->Load().in_flight == 0);
}

TEST_CASE("calls that find no slot in time, or no place in the queue, are not sent") {
  RawServer server = Silent();
  dtm::HttpBranchOptions options;
  options.limits.per_host = 2;
  options.max_waiting = 8;
  auto caller = dtm::HttpBranches(options);
  Results results;
  const auto start = Clock::now();
  caller->Call(Times(2, CallTo(server.Url(), "{}", Ms(600))), results);
  while (server.Connections() < 2 && Since(start) < Ms(500)) std::this_thread::sleep_for(Ms(1));
  REQUIRE(server.Connections() == 2);
  caller->Call(Times(10, CallTo(server.Url(), "{}", Ms(100))), results);
  auto done = results.Wait(6);
  CHECK(Since(start) < Ms(590));
  CHECK(CountOf(done, Kind::kNotSent) == static_cast<int>(done.size()));
  CHECK_THAT(done[0].second.text, ContainsSubstring("too many calls wait"));
  done = results.Wait(12);
  CHECK(CountOf(done, Kind::kNotSent) == 10);
  CHECK(CountOf(done, Kind::kError) == 2);
  CHECK_THAT(done[8].second.text, ContainsSubstring("became free in time"));
  CHECK(server.Connections() == 2);
}

TEST_CASE("a call that waited for a slot until the lease was over is not sent") {
  std::promise<void> answer;
  const std::shared_future<void> may_answer = answer.get_future().share();
  std::atomic<int> requests{0};
  RawServer server([&](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) {
      ++requests;
      may_answer.wait();
      if (!RawServer::Write(fd, RawServer::Ok())) return;
    }
  });
  dtm::HttpBranchOptions options;
  options.limits.per_host = 1;
  auto caller = dtm::HttpBranches(options);
  Results results;
  const auto lease = std::make_shared<dtm_test::TestLease>();
  dtm::BranchCall call = CallTo(server.Url());
  call.lease = lease;
  caller->Call(Times(3, call), results);
  while (requests == 0) std::this_thread::yield();
  lease->holds = false;
  answer.set_value();
  const auto done = results.Wait(3);
  REQUIRE(done.size() == 3);
  CHECK(CountOf(done, Kind::kSuccess) == 1);
  CHECK(CountOf(done, Kind::kNotSent) == 2);
  CHECK(done.back().second.at_once);
  CHECK(requests == 1);
  lease->holds = true;
  caller->Call({call}, results);
  CHECK(CountOf(results.Wait(4), Kind::kSuccess) == 2);
}

TEST_CASE("Stop gives up what is out, at once and for good") {
  RawServer silent = Silent();
  RawServer dripping([](int fd, int) {
    while (RawServer::Write(fd, "HTTP/1.1 200 OK\r\nX-A: ")) std::this_thread::sleep_for(Ms(5));
  });
  dtm::HttpBranchOptions options;
  options.limits.per_host = 20;
  auto caller = dtm::HttpBranches(options);
  Results results;
  caller->Call(Times(50, CallTo(silent.Url(), "{}", Ms(60000))), results);
  caller->Call(Times(5, CallTo(dripping.Url(), "{}", Ms(60000))), results);
  const auto start = Clock::now();
  while (silent.Connections() + dripping.Connections() < 25 && Since(start) < Ms(5000)) {
    std::this_thread::sleep_for(Ms(1));
  }
  REQUIRE(silent.Connections() == 20);
  const auto stop = Clock::now();
  caller->Stop();
  CHECK(Since(stop) < Ms(1000));
  caller->Call({CallTo(silent.Url())}, results);
  caller->Stop();
  caller.reset();
  CHECK(results.Count() == 0);
}

TEST_CASE("every call is answered exactly once, whatever the servers do") {
  RawServer fine = Answering();
  RawServer slow = Answering(Ms(30));
  RawServer silent = Silent();
  RawServer rude([](int fd, int n) {
    RawServer::ReadRequest(fd);
    if (n % 2 == 0) RawServer::Reset(fd);
  });
  dtm::HttpBranchOptions options;
  options.limits.total = 40;
  options.limits.per_host = 30;
  options.keep_idle = Ms(20);
  auto caller = dtm::HttpBranches(options);
  Results results;
  std::size_t count = 0;
  for (int round = 0; round < 20; ++round) {
    std::vector<dtm::BranchCall> calls;
    for (int i = 0; i < 5; ++i) {
      for (const RawServer* server : {&fine, &slow, &silent, &rude}) {
        calls.push_back(CallTo(server->Url(), "{}", Ms(40 + 10 * i)));
      }
    }
    count += calls.size();
    caller->Call(std::move(calls), results);
    std::this_thread::sleep_for(Ms(10));
  }
  CHECK(results.Wait(count).size() == count);
  std::this_thread::sleep_for(Ms(200));
  CHECK(results.Count() == count);
  CHECK(CountOf(results.Wait(count), Kind::kSuccess, fine.Url()) > 0);
  CHECK(CountOf(results.Wait(count), Kind::kSuccess, silent.Url()) == 0);
}

TEST_CASE("callers of URLs belong to the process that made them") {
  auto caller = dtm::HttpBranches();
  const std::string end = dtm_test::InChild([&]() -> std::string {
    ::alarm(20);
    caller.reset();
    return "ended";
  });
  CHECK(end == "ended");
}
