/// The server with real sockets: many connections, floods, memory, workers that are busy, and its end.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <fcntl.h>
#include <fstream>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include <dtm/http/serving/api_server.hpp>

using dtm::serving::ApiServer;
using dtm::serving::ServingLimits;
using dtm::transport::IoLoop;
using dtm_test::Clock;
using dtm_test::Get;
using dtm_test::kDone;
using dtm_test::Ms;
using dtm_test::Post;
using dtm_test::RawClient;
using dtm_test::RawReply;
using dtm_test::Request;
using dtm_test::Saga;
using dtm_test::Step;
using dtm_test::Wrong;

namespace {

const std::string kPing = Get("/api/ping");
const std::string kPong = R"({"msg":"pong"})";

Ms Since(Clock::time_point start) { return std::chrono::duration_cast<Ms>(Clock::now() - start); }

struct Kit {
  explicit Kit(const ServingLimits& limits = {}) {
    tm.Use(std::make_unique<dtm_test::TalkingBranches>());
    tm.Register<int>("wait", [this](const int&) {
      begun.set_value();
      gate.get_future().wait();
    });
    tm.Start();
    loop.Start();
    server = std::make_unique<ApiServer>(loop, tm, api, limits);
    port = server->Start("127.0.0.1", 0);
  }
  ~Kit() { server.reset(); }
  Kit(const Kit&) = delete;
  Kit& operator=(const Kit&) = delete;
  Ms Stop() {
    const auto start = Clock::now();
    server->Stop();
    return Since(start);
  }
  void CheckServes() const {
    RawClient client(port);
    client.Send(kPing);
    CHECK(Wrong(client.Read(), 200, kPong) == "");
  }

  std::promise<void> begun, gate;  ///< of the function `wait`
  dtm::Coordinator tm{std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet()};
  dtm::Api api{tm};
  IoLoop loop;
  std::unique_ptr<ApiServer> server;
  int port = 0;
};

const std::string kWait = Post("branch/wait?gid=g&branch_id=01&op=action&trans_type=saga", "1");

RawClient Idle(int port) {
  RawClient client(port);
  client.Send(kPing);
  CHECK(Wrong(client.Read(), 200, kPong) == "");
  return client;
}

std::set<int> OpenFiles() {
  std::set<int> open;
  for (int fd = 0; fd < 1024; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) open.insert(fd);
  }
  return open;
}

/// False: the system does not allow so many.
bool AllowFiles(rlim_t count) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = (std::max)(limit.rlim_cur, (std::min)(count, limit.rlim_max));
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur >= count;
}

std::size_t ResidentKilobytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "VmRSS:") status >> word;
    if (!word.empty() && word.find_first_not_of("0123456789") == std::string::npos &&
        word.size() > 3)
      return std::stoul(word);
  }
  return 0;
}

}  // namespace

TEST_CASE("api_server: a function that takes long keeps nobody waiting, and stop waits for it") {
  Kit kit;
  RawClient client(kit.port);
  client.Send(kWait);
  REQUIRE(kit.begun.get_future().wait_for(Ms(10000)) == std::future_status::ready);
  kit.CheckServes();
  RawClient reader(kit.port);
  reader.Send(Get("all"));
  CHECK(reader.Read().status == 200);
  RawClient idle = Idle(kit.port);
  std::thread stopper([&] { kit.server->Stop(); });
  CHECK(idle.Closed());
  CHECK_FALSE(client.Readable(Ms(0)));
  kit.gate.set_value();
  const RawReply reply = client.Read();
  CHECK(Wrong(reply, 200, kDone) == "");
  CHECK(reply.Header("connection") == "close");
  CHECK(client.Closed());
  stopper.join();
  RawClient late(kit.port);
  late.Send(kPing);
  CHECK(late.Read().status == 0);
}

TEST_CASE("api_server: stop answers what is accepted") {
  Kit kit;
  std::vector<RawClient> clients;
  for (int i = 0; i < 50; ++i) {
    clients.emplace_back(kit.port);
    clients.back().Send(Post("submit", Saga("g" + std::to_string(i), Step("http://b/hang"))));
  }
  for (RawClient& client : clients) CHECK(client.Readable(Ms(10000)));
  CHECK(kit.Stop() < Ms(3000));
  for (std::size_t i = 0; i < clients.size(); ++i) {
    CHECK(Wrong(clients[i].Read(), 200, kDone) == "");
    CHECK(kit.tm.Query("g" + std::to_string(i)).has_value());
  }
}

TEST_CASE("api_server: stop does not wait for clients that are deaf, idle or slow") {
  ServingLimits limits;
  limits.connections = 30;
  Kit kit(limits);
  const std::string big = Step("", "", std::string(250000, 'p'));
  std::vector<RawClient> clients;
  for (int i = 0; i < 20; ++i) {
    RawClient client(kit.port);
    client.Send(Post("submit", Saga("big" + std::to_string(i), big)));
    CHECK(client.Read().status == 200);
  }
  for (int i = 0; i < 5; ++i) {
    clients.push_back(Idle(kit.port));
    clients.emplace_back(kit.port);  // has said nothing
    clients.push_back(Idle(kit.port));
    clients.back().Send("GET /ok HT");
    clients.push_back(Idle(kit.port));
    clients.back().Send(Request("POST", "submit", "Content-Length: 9\r\n") + "abc");
    clients.push_back(Idle(kit.port));
    clients.back().Send(Get("all?limit=1000"));  // 5 MB, of which nothing is read
    CHECK(clients.back().Readable(Ms(10000)));
  }
  for (int i = 0; i < 20; ++i) clients.emplace_back(kit.port);  // above the limit, and silent
  CHECK(kit.Stop() < Ms(2000));
  for (RawClient& client : clients) CHECK(client.ReadAll().back().problem != "silence");
}

TEST_CASE("api_server: connections beyond the limit are told, and later ones served") {
  ServingLimits limits;
  limits.connections = 2;
  Kit kit(limits);
  std::vector<RawClient> clients;
  for (int i = 0; i < 2; ++i) clients.push_back(Idle(kit.port));
  for (int i = 0; i < 5; ++i) {
    RawClient above(kit.port);
    above.Send(Post("submit", Saga("above", ",\"x\":\"" + std::string(20000, 'x') + "\"")));
    CHECK(Wrong(above.Read(), 503, "too many connections") == "");
    CHECK(above.Closed());
  }
  CHECK_FALSE(kit.tm.Query("above").has_value());
  clients.pop_back();
  int status = 503;
  for (int tries = 0; status == 503 && tries < 1000; ++tries) {  // until the loop has noticed
    RawClient next(kit.port);
    next.Send(kPing);
    status = next.Read().status;
  }
  CHECK(status == 200);
}

TEST_CASE("api_server: one who floods does not keep the others waiting") {
  Kit kit;
  std::atomic<bool> stop{false};
  std::vector<std::thread> floods;
  for (const std::string& what :
       {dtm_test::Repeated(kPing, 500), "nonsense\r\n\r\n" + std::string(100000, 'x')}) {
    floods.emplace_back([&stop, &kit, what] {
      while (!stop) {
        RawClient client(kit.port);
        std::thread reader([&client] {
          while (client.Read().status != 0) {
          }
        });
        while (!stop && client.Send(what)) {
        }
        client.EndOfSending();
        reader.join();
      }
    });
  }
  std::vector<Ms> waits;
  for (int i = 0; i < 50; ++i) {
    const auto start = Clock::now();
    kit.CheckServes();
    waits.push_back(Since(start));
  }
  stop = true;
  for (std::thread& flood : floods) flood.join();
  std::sort(waits.begin(), waits.end());
  CHECK(waits[waits.size() / 2] < Ms(500));
}

TEST_CASE("api_server: large requests that come slowly cost no more than the limit") {
  ServingLimits limits;
  limits.bytes = std::size_t{4} << 20;
  Kit kit(limits);
  const std::string body = Saga("slow", ",\"x\":\"" + std::string(900000, 'x') + "\"");
  const std::string request = Post("submit", body);
  std::vector<RawClient> clients;
  int refused = 0;
  for (int i = 0; i < 20; ++i) {
    clients.emplace_back(kit.port);
    clients.back().Send(request.substr(0, request.size() - 1));
    if (!clients.back().Readable(Ms(50))) continue;
    ++refused;
    CHECK(Wrong(clients.back().Read(), 503, "memory") == "");
  }
  CHECK(refused >= 15);
  kit.CheckServes();  // what is small has room
  RawClient small(kit.port);
  small.Send(Post("submit", Saga("small")));
  CHECK(Wrong(small.Read(), 200, kDone) == "");
  clients.clear();
  int status = 503;
  for (int tries = 0; status == 503 && tries < 1000; ++tries) {
    RawClient next(kit.port);
    next.Send(request);
    status = next.Read().status;
  }
  CHECK(status == 200);
}

TEST_CASE("api_server: without room in memory a large reply is 503, and a small one is sent") {
  ServingLimits limits;
  limits.bytes = std::size_t{64} << 10;
  Kit kit(limits);
  const std::string payload(20000, 'p');
  RawClient asks(kit.port);
  asks.Send(Post("submit", Saga("large", Step("", "", payload))));
  REQUIRE(asks.Read().status == 200);
  const auto ask = [&](const std::string& gid, int but) {
    RawReply reply;
    reply.status = but;
    for (const auto end = Clock::now() + Ms(10000); reply.status == but && Clock::now() < end;) {
      asks.Send(Get("query?gid=" + gid));
      reply = asks.Read();
    }
    return reply;
  };
  CHECK(Wrong(ask("large", 503), 200, "*" + payload + "*") == "");
  {
    std::vector<RawClient> slow;  // they take more than three quarters, and small ones may
    for (int i = 0; i < 7; ++i) {
      slow.emplace_back(kit.port);
      slow.back().Send(Request("POST", "submit", "Content-Length: 7200\r\n") +
                       std::string(7100, ' '));
    }
    const RawReply reply = ask("large", 200);  // until it has all come
    CHECK(reply.status == 503);
    CHECK(reply.Header("retry-after") == "1");
    CHECK(reply.body.empty());
    CHECK(ask("small", 503).status == 200);
  }
  CHECK(Wrong(ask("large", 503), 200, "*" + payload + "*") == "");
}

TEST_CASE("api_server: connections that are aborted at any moment do no harm") {
  Kit kit;
  const std::string request = Post("submit", Saga("aborted", Step("http://b/ok")));
  for (std::size_t size = 0; size <= request.size(); size += 3) {
    RawClient client(kit.port);
    client.Send(request.substr(0, size));
    if (size % 2 == 0) (void)client.Readable(Ms(1));
  }
  kit.CheckServes();
}

TEST_CASE("api_server: every socket is closed, and no program it starts gets one") {
  const std::set<int> before = OpenFiles();
  {
    ServingLimits limits;
    limits.connections = 3;
    Kit kit(limits);
    std::vector<RawClient> clients;
    for (int i = 0; i < 3; ++i) clients.push_back(Idle(kit.port));
    RawClient above(kit.port);
    above.Send(kPing);
    CHECK(above.Read().status == 503);
    for (const int fd : OpenFiles()) {
      INFO(fd);
      if (before.count(fd) == 0) CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    }
  }
  CHECK(OpenFiles() == before);
}

TEST_CASE("api_server: stopped at any moment of its start, it ends") {
  for (int i = 0; i < 50; ++i) {
    Kit kit;
    RawClient client(kit.port);
    if (i % 2 == 0) client.Send(kPing);
    for (int turn = 0; turn < i % 10; ++turn) std::this_thread::yield();
    CHECK(kit.Stop() < Ms(2000));
    CHECK(client.ReadAll().back().problem != "silence");
  }
}

TEST_CASE(
    "api_server: 10 000 idle connections cost little, and the others are served beside them") {
  if (!AllowFiles(20200)) return;  // both ends are ours
  Kit kit;
  std::vector<std::unique_ptr<RawClient>> clients;
  clients.reserve(10000);
  for (int i = 0; i < 200; ++i) clients.push_back(std::make_unique<RawClient>(kit.port));
  kit.CheckServes();
  const std::size_t before = ResidentKilobytes();
  while (clients.size() < 9990) clients.push_back(std::make_unique<RawClient>(kit.port));
  for (std::size_t i = 0; i < clients.size(); ++i) {
    clients[i]->Send(kPing);
    REQUIRE(clients[i]->Read().status == 200);
  }
  CHECK(ResidentKilobytes() - before < 24 * 1024);  // of the clients as well
  kit.CheckServes();
  CHECK(kit.Stop() < Ms(5000));
}
