/// HTTP when an allocation fails at any place: no connection's place is lost, everybody is answered once, nothing counts as
/// done that was not. A program of its own, since operator new is everybody's.
/// Needs: POSIX sockets on loopback. Threads: each fails or not for itself.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include "tests/http/raw_server.hpp"
#include "tests/survival/failing_new.hpp"
#include <dtm/http/branches.hpp>
#include <dtm/http/calls/call_once.hpp>
#include <dtm/http/hosts/http_host.hpp>
#include <dtm/http/serving/api_server.hpp>

using dtm::hosts::HttpCall;
using dtm::hosts::HttpOutcome;
using dtm::transport::FoundAddresses;
using dtm::transport::IoLoop;
using dtm_test::Clock;
using dtm_test::Get;
using dtm_test::Ms;
using dtm_test::RawClient;
using dtm_test::RawServer;

namespace {

RawServer Saying(const std::string& bytes) {
  return RawServer([bytes](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) {
      if (!RawServer::Write(fd, bytes)) return;
    }
  });
}

/// This thread's n-th allocation from now on fails, and then another, until it is destroyed.
struct Failing {
  explicit Failing(long n, long then = -1) {
    failing_new::left = n;
    failing_new::between = then;
  }
  ~Failing() { failing_new::left = failing_new::between = -1; }
  Failing(const Failing&) = delete;
  Failing& operator=(const Failing&) = delete;
};

struct Kit {
  Kit() : server(loop, tm, api, Three()) {
    tm.Start();
    loop.Start();
    port = server.Start("127.0.0.1", 0);
  }
  static dtm::serving::ServingLimits Three() {
    dtm::serving::ServingLimits limits;
    limits.connections = 3;
    return limits;
  }
  static bool Served(RawClient& client) {
    client.Send(Get("/api/ping"));
    return client.Read().status == 200;
  }
  /// As many at a time as may be; what was closed may not be noticed yet.
  void CheckServes() const {
    std::vector<RawClient> clients;
    const auto end = Clock::now() + Ms(10000);
    while (clients.size() < 3 && Clock::now() < end) {
      RawClient client(port);
      if (Served(client)) clients.push_back(std::move(client));
    }
    CHECK(clients.size() == 3);
  }

  dtm::Coordinator tm{std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet()};
  dtm::Api api{tm};
  IoLoop loop;
  dtm::serving::ApiServer server;
  int port = 0;
};

}  // namespace

TEST_CASE("without memory an accepted connection is closed, and its place is not lost") {
  constexpr long kMany = 100000;
  Kit kit;
  /// How many allocations a connection and a request on it take; 0 if it was not served.
  const auto cost = [&] {
    kit.loop.Do([] { failing_new::left = kMany; });
    RawClient client(kit.port);
    const bool good = Kit::Served(client);
    long left = 0;
    kit.loop.Do([&left] { left = std::exchange(failing_new::left, -1); });
    return good ? kMany - left : 0;
  };
  kit.CheckServes();
  long most = 0;
  for (int i = 0; i < 50; ++i) most = (std::max)(most, cost());
  for (long n = 0; n <= most; ++n) {
    for (int times = 0; times < 10; ++times) {
      kit.loop.Do([n] { failing_new::left = n; });
      RawClient client(kit.port);
      (void)Kit::Served(client);
    }
    kit.loop.Do([] { failing_new::left = -1; });
    CAPTURE(n);
    const long now = cost();
    CHECK(now > 0);
    CHECK(now <= most);  // a place that was lost would have to be made anew
  }
  kit.CheckServes();
}

TEST_CASE("without memory for the first connections the next ones are served") {
  for (long n = 0; n < 30; ++n) {
    Kit kit;
    kit.loop.Do([n] { failing_new::left = n; });
    {
      RawClient client(kit.port);
      (void)Kit::Served(client);
    }
    kit.loop.Do([] { failing_new::left = -1; });
    CAPTURE(n);
    kit.CheckServes();
    const auto start = Clock::now();
    kit.server.Stop();
    CHECK(Clock::now() - start < Ms(5000));
  }
}

TEST_CASE("without memory a name is resolved late, or the call ends, and the next is sent") {
  struct Call final : HttpCall {
    explicit Call(std::vector<int>& its_answers) : answers(its_answers) { answers.reserve(2); }
    void OnDone(HttpOutcome outcome) override { answers.push_back(outcome.status); }
    std::vector<int>& answers;
  };
  RawServer server = Saying(RawServer::Ok());
  IoLoop loop;
  std::atomic<bool> fails{false};
  dtm::hosts::Resolver resolver(loop, [&](const std::string&, int port) {
    FoundAddresses found;
    dtm::transport::SocketAddress address;
    (void)dtm::transport::SocketAddress::FromFigures("127.0.0.1", port, address);
    found.addresses = {address};
    if (fails) failing_new::left = 0;  // on this thread, whose next one is to tell of it
    return found;
  });
  const dtm::Url url =
      dtm::ParseUrl("http://name.test:" + std::to_string(dtm::ParseUrl(server.Url()).port));
  const auto ask = [&](long n) {
    dtm::hosts::HostParts parts{loop, resolver};
    parts.keep_idle = Ms(0);
    dtm::hosts::HttpHost host(parts, url);
    std::vector<int> answers;
    auto call = std::make_unique<Call>(answers);
    call->request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    call->deadline = Clock::now() + Ms(5000);
    {
      const Failing failing(n);
      host.Send(std::move(call));
    }
    while (answers.empty()) loop.Poll(Ms(20));
    CHECK(answers.size() == 1);
    return answers.front();
  };
  int failed = 0;
  for (long n = 0; n < 200; ++n) {
    const int status = ask(n);
    CHECK((status == 200 || status == 0));
    failed += status == 0;
    if (status == 0) CHECK(ask(-1) == 200);
  }
  CHECK(failed > 3);
  CHECK(failed < 150);
  fails = true;
  CHECK(ask(-1) == 200);
  resolver.Stop();
}

TEST_CASE("without memory a branch that is called directly is no success") {
  RawServer server = Saying("HTTP/1.1 409 No\r\nContent-Length: 8\r\n\r\nno money");
  dtm::InitiatorCall call;
  call.info = {"g", dtm::TransType::kTcc, "01", dtm::Op::kTry};
  call.url = server.Url("/try");
  call.payload = "1";
  int errors = 0, failures = 0;
  for (long i = 0; i < 1600; ++i) {
    const long n = i / 4, then = i % 4 - 1;
    dtm::Result::Kind kind{};
    try {
      const Failing failing(n, then);
      kind = dtm::CallOnce(call, "http://me").kind;
    } catch (const std::bad_alloc&) {
      kind = dtm::Result::Kind::kError;
    }
    CAPTURE(n, then);
    CHECK((kind == dtm::Result::Kind::kError || kind == dtm::Result::Kind::kFailure));
    errors += kind == dtm::Result::Kind::kError;
    failures += kind == dtm::Result::Kind::kFailure;
  }
  CHECK(errors > 20);
  CHECK(failures > 20);
}

TEST_CASE("a call that another thread has in hand while the caller stops is not sent later") {
  RawServer server = Saying(RawServer::Ok());
  const auto io = std::make_shared<dtm::IoThread>();
  dtm::HttpBranchOptions options;
  options.io = io;
  const auto caller = dtm::HttpBranches(options);
  dtm_test::Results results;
  std::vector<dtm::BranchCall> calls = {dtm_test::CallTo(server.Url())};
  bool stopped = false;
  failing_new::before = [&] {
    caller->Stop();
    stopped = true;
  };
  caller->Call(std::move(calls), results);
  CHECK(stopped);
  io->Loop().Do([] {});
  CHECK(caller->Load().in_flight + caller->Load().waiting == 0);
  CHECK(results.Count() == 0);
  CHECK(server.Connections() == 0);
}
