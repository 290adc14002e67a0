/// One thread for a server and the callers of URLs: what one of them does when it ends is nothing to the others.
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <unistd.h>

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
    saga.steps = {{"http://127.0.0.1:" + std::to_string(api.port) + "/api/ping", "", "1"}};
    if (i % 2 == 0) {
      CHECK(tm.SubmitAndWait(saga, std::chrono::seconds(10)).Succeeded());
    } else {
      tm.Submit(saga);  // the call may be anywhere when it ends
    }
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
