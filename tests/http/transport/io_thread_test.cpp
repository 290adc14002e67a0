/// One thread for a server and the callers of URLs: what one of them does when it ends is nothing to the others.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <poll.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include "tests/support/child.hpp"
#include <dtm/http/branches.hpp>
#include <dtm/http/server.hpp>

using dtm_test::Api;
using dtm_test::Get;
using dtm_test::RawClient;
using dtm_test::Wrong;

namespace {

const std::string kPong = R"({"msg":"pong"})";

struct Kit {
  Kit() {
    dtm::HttpBranchOptions calls;
    calls.io = io;
    tm =
        std::make_unique<dtm::Coordinator>(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
    tm->Register<int>("Add", [this](const int& amount) { sum += amount; });
    tm->Use(dtm::HttpBranches(calls));
    tm->Start();
    dtm::ServerOptions options;
    options.io = io;
    server = std::make_unique<dtm::Server>(*tm, options);
    port = server->Start("127.0.0.1", 0);
  }
  ~Kit() { server.reset(); }
  Kit(const Kit&) = delete;
  Kit& operator=(const Kit&) = delete;

  /// A saga whose branch is the function by URL: a request of the loop to itself.
  bool Runs(const std::string& gid) {
    dtm::Definition saga;
    saga.gid = gid;
    saga.steps = {{"http://127.0.0.1:" + std::to_string(port) + "/api/dtmsvr/branch/Add", "", "1"}};
    return tm->SubmitAndWait(saga, std::chrono::seconds(10)).Succeeded();
  }
  bool Serves() const {
    RawClient client(port);
    client.Send(Get("/api/ping"));
    return Wrong(client.Read(), 200, kPong).empty();
  }

  std::shared_ptr<dtm::IoThread> io = std::make_shared<dtm::IoThread>();
  std::unique_ptr<dtm::Coordinator> tm;
  std::unique_ptr<dtm::Server> server;
  std::atomic<int> sum{0};
  int port = 0;
};

}  // namespace

TEST_CASE("io_thread: requests and calls beside each other, also of the loop to itself") {
  Kit kit;
  for (int i = 0; i < 20; ++i) CHECK(kit.Runs("g" + std::to_string(i)));
  CHECK(kit.sum == 20);
  CHECK(kit.Serves());
}

TEST_CASE(
    "io_thread: the server ends and begins again while calls go on, and the other way round") {
  Kit kit;
  CHECK(kit.Runs("a"));
  for (int i = 0; i < 5; ++i) {
    kit.server->Stop();
    CHECK(kit.server->Start("127.0.0.1", kit.port) == kit.port);
    CHECK(kit.Runs("b" + std::to_string(i)));
  }
  CHECK(kit.tm->Stop(std::chrono::seconds(10)));
  CHECK(kit.Serves());
}

TEST_CASE("io_thread: several callers come and go on one thread") {
  const auto io = std::make_shared<dtm::IoThread>();
  Api api;
  for (int i = 0; i < 20; ++i) {
    dtm::HttpBranchOptions calls;
    calls.io = io;
    dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
    tm.Use(dtm::HttpBranches(calls));
    tm.Start();
    dtm::Definition saga;
    saga.gid = "g";
    saga.steps = {{"http://127.0.0.1:" + std::to_string(api.Port()) + "/api/ping", "", "1"}};
    if (i % 2 == 0) {
      CHECK(tm.SubmitAndWait(saga, std::chrono::seconds(10)).Succeeded());
    } else {
      tm.Submit(saga);  // the call may be anywhere when it ends
    }
  }
}

namespace {

/// A program with an event loop of its own, which has the coordinator, its server and its calls.
struct Host {
  Host() {
    dtm::Options options = dtm_test::Quiet();
    options.on_wake = wake.OnWake();
    tm = std::make_unique<dtm::Coordinator>(std::make_unique<dtm::MemoryStore>(), options);
    tm->Register<int>("Add", [this](const int& amount) {
      sum += amount;
      thread = std::this_thread::get_id();
    });
    dtm::HttpBranchOptions calls;
    calls.io = io;
    tm->Use(dtm::HttpBranches(calls));
    server = std::make_unique<dtm::Server>(*tm, Serving());
    port = server->Start("127.0.0.1", 0);
  }
  dtm::ServerOptions Serving() const {
    dtm::ServerOptions options;
    options.io = io;
    return options;
  }
  /// Runs the loop until `done`, at most for 10 s.
  bool Until(const std::function<bool()>& done) {
    const auto end = dtm_test::Clock::now() + dtm_test::Ms(10000);
    while (!done() && dtm_test::Clock::now() < end) {
      ++turns;
      const dtm::Duration sleep = (std::min)(tm->Poll(), io->Poll());
      pollfd watched[] = {{wake.Fd(), POLLIN, 0}, {io->Fd(), POLLIN, 0}};
      const auto ms = std::chrono::ceil<dtm_test::Ms>((std::min)(sleep, longest)).count();
      if (!done()) ::poll(watched, 2, static_cast<int>(ms));
      if ((watched[0].revents & POLLIN) != 0) wake.Clear();
    }
    return done();
  }
  /// What a client in another thread is told, and its connection.
  dtm_test::RawReply Ask(const std::string& request) {
    RawClient client(port);
    client.Send(request);
    CHECK(Until([&] { return client.Readable(dtm_test::Ms(0)); }));
    return client.Read();
  }
  void Submit(const std::string& gid, const std::string& action, const std::string& payload) const {
    dtm::Definition saga;
    saga.gid = gid;
    saga.steps = {{action, "", payload}};
    tm->SubmitAsync(std::move(saga), [](const dtm::Answer&) {});
  }
  std::string StatusOf(const std::string& gid) const {
    const auto stored = tm->Query(gid);
    return stored ? dtm::Name(stored->status) : "none";
  }

  std::shared_ptr<dtm::IoThread> io = dtm::IoThread::OfHost();
  dtm::WakeFd wake;
  std::unique_ptr<dtm::Coordinator> tm;
  std::unique_ptr<dtm::Server> server;
  std::atomic<int> sum{0};
  std::atomic<std::thread::id> thread{};
  int port = 0;
  int turns = 0;
  const dtm::Duration longest = std::chrono::seconds(5);
};

}  // namespace

TEST_CASE("io_thread: on the loop of the program, which has no other thread for it") {
  Host host;
  const std::string url = "http://127.0.0.1:" + std::to_string(host.port);
  SECTION("it serves, calls URLs, also of itself, and sleeps between") {
    CHECK(Wrong(host.Ask(Get("/api/ping")), 200, kPong).empty());
    host.Submit("g", "local:Add", "1");
    CHECK(host.Until([&] { return host.StatusOf("g") == "succeed"; }));
    CHECK(host.thread.load() == std::this_thread::get_id());
    CHECK(host.Ask(Get("query?gid=g")).status == 200);
    const std::string by_url =
        dtm_test::Saga("u", dtm_test::Step(url + "/api/dtmsvr/branch/Add", "", "2"));
    CHECK(Wrong(host.Ask(dtm_test::Post("submit", by_url)), 200, dtm_test::kDone).empty());
    CHECK(host.Until([&] { return host.StatusOf("u") == "succeed"; }));
    CHECK(host.sum == 3);
    const auto rest = dtm_test::Clock::now() + dtm_test::Ms(300);
    (void)host.Until([&, timed = false]() mutable {
      if (!std::exchange(timed, true)) host.turns = 0;
      return dtm_test::Clock::now() >= rest || host.turns > 40;
    });
    CHECK(host.turns <= 40);
  }
  SECTION("the server ends with what it was asked, and begins again") {
    RawClient waits(host.port);
    waits.Send(dtm_test::Post("submit", dtm_test::Saga("w")));
    for (int i = 0; i < 3; ++i) host.io->Poll();
    const auto start = dtm_test::Clock::now();
    host.server->Stop();
    CHECK(dtm_test::Clock::now() - start < dtm_test::Ms(4000));
    CHECK(waits.Read().status == 200);
    CHECK(host.server->Start("127.0.0.1", host.port) == host.port);
    CHECK(Wrong(host.Ask(Get("/api/ping")), 200, kPong).empty());
  }
  SECTION("what is out when the coordinator ends is given up") {
    host.Submit("out", url + "/api/ping", "1");
    (void)host.tm->Poll();
    (void)host.io->Poll();
    host.server.reset();
    host.tm.reset();
  }
  SECTION("what needs a thread is refused") {
    CHECK_THROWS_AS(host.server->Listen("127.0.0.1", 0), dtm::LogicError);
    CHECK_THROWS_AS(dtm::IoThread().Poll(), dtm::LogicError);
  }
  SECTION("inside its Poll it is not polled, and nothing is stopped or started") {
    dtm::Server other(*host.tm, host.Serving());
    int refused = 0;
    host.io->Loop().Post([&] {
      const auto refuses = [&refused](const auto& what) {
        try {
          what();
        } catch (const dtm::LogicError& error) {
          refused += std::string(error.what()).find("from inside it") != std::string::npos ? 1 : 0;
        }
      };
      refuses([&] { host.io->Poll(); });
      refuses([&] { host.server->Stop(); });
      refuses([&] { other.Start("127.0.0.1", 0); });
    });
    host.io->Poll();
    CHECK(refused == 3);
    CHECK(Wrong(host.Ask(Get("/api/ping")), 200, kPong).empty());
    CHECK(other.Start("127.0.0.1", 0) > 0);
  }
}

TEST_CASE("io_thread: a forked child ends without it") {
  auto kit = std::make_unique<Kit>();
  CHECK(kit->Runs("a"));
  const std::string said = dtm_test::InChild([&]() -> std::string {
    ::alarm(20);
    try {
      (void)kit->io->Loop();
    } catch (const dtm::LogicError& error) {
      return error.what();
    }
    return "nothing";
  });
  CHECK(said.find("I/O thread") != std::string::npos);
  CHECK(kit->Runs("b"));
}
