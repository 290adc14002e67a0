/// The server's connections: how many, how they end, who may listen where; many clients at a time;
/// and what it counts.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include "tests/support/child.hpp"
#include <dtm/base/error.hpp>
#include <dtm/http/server.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::Api;
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

/// A client that got an answer, and keeps its connection.
std::unique_ptr<RawClient> Idle(int port) {
  auto client = std::make_unique<RawClient>(port);
  client->Send(kPing);
  CHECK(Wrong(client->Read(), 200, kPong) == "");
  return client;
}

/// Both ends of the sockets are ours.
void AllowFiles(rlim_t count) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = (std::max)(limit.rlim_cur, (std::min)(count, limit.rlim_max));
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// The value of the one sample whose name and labels contain all of this.
double Sample(const std::string& metrics, const std::string& name,
              const std::vector<std::string>& labels) {
  std::istringstream lines(metrics);
  double value = -1;
  for (std::string line; std::getline(lines, line);) {
    bool match = line.compare(0, name.size(), name) == 0 && line.size() > name.size() &&
                 (line[name.size()] == '{' || line[name.size()] == ' ');
    for (const std::string& label : labels) match = match && line.find(label) != std::string::npos;
    if (!match) continue;
    if (value >= 0) return -2;  // not the only one
    value = std::stod(line.substr(line.rfind(' ') + 1));
  }
  return value;
}

}  // namespace

TEST_CASE("stop does not wait for clients that are idle or in the middle of a request") {
  Api api;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(Idle(api.Port()));
  const std::string request = Post("submit", Saga("never"));
  for (int i = 0; i < 5; ++i) {
    clients.push_back(std::make_unique<RawClient>(api.Port()));  // has said nothing
    clients.push_back(std::make_unique<RawClient>(api.Port()));
    clients.back()->Send(request.substr(0, 20));
    clients.push_back(Idle(api.Port()));
    clients.back()->Send(request.substr(0, request.size() - 3));
    clients.push_back(std::make_unique<RawClient>(api.Port()));
    clients.back()->Send(Request("POST", "submit", "Transfer-Encoding: chunked\r\n") + "5\r\nab");
  }
  const auto start = Clock::now();
  api.server.Stop();
  CHECK(Since(start) < Ms(1000));
  for (auto& client : clients) {
    const RawReply reply = client->Read();
    CHECK((reply.status == 0 || reply.status >= 400));
    CHECK(reply.problem != "silence");
  }
  CHECK(!api.tm.Query("never"));
  RawClient late(api.Port());
  late.Send(kPing);
  CHECK(late.Read().status == 0);
  api.server.Stop();  // again: nothing to do
}

TEST_CASE("a server that was never started is destroyed like one that was") {
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
  dtm::Server server(tm);
  server.Stop();
}

TEST_CASE("the server is destroyed while a request waits for its result") {
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
  tm.Use(std::make_unique<dtm_test::TalkingBranches>());
  tm.Start();
  auto server = std::make_unique<dtm::Server>(tm);
  const int port = server->Start("127.0.0.1", 0);
  RawClient client(port);
  client.Send(Post("submit", Saga("waits", Step("http://b/hang") + R"(,"wait_result":true)")));
  const auto deadline = Clock::now() + Ms(5000);
  while (!tm.Query("waits") && Clock::now() < deadline) std::this_thread::yield();
  REQUIRE(tm.Query("waits").has_value());
  std::thread destroyer([&] { server.reset(); });
  const auto start = Clock::now();
  tm.ForceStop("waits");
  destroyer.join();
  CHECK(Since(start) < Ms(2000));
  const RawReply reply = client.Read();
  CHECK((reply.status == 409 || reply.status == 425 || reply.problem == "closed"));
}

TEST_CASE("a server for nobody is refused") {
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>());
  dtm::ServerOptions options;
  options.max_connections = GENERATE(0, -1, 1000001);
  CHECK_THROWS_AS(dtm::Server(tm, options), dtm::LogicError);
}

TEST_CASE("connections above the limit get 503, and those that come later are served") {
  dtm::ServerOptions options;
  options.max_connections = 4;
  const Api api(options);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 4; ++i) clients.push_back(Idle(api.Port()));
  for (int i = 0; i < 10; ++i) {
    RawClient above(api.Port());
    above.Send(kPing);
    CHECK(Wrong(above.Read(), 503, "") == "");
    CHECK(above.Closed());
  }
  for (auto& client : clients) {  // those that are in are not harmed
    client->Send(kPing);
    CHECK(Wrong(client->Read(), 200, kPong) == "");
  }
  clients.resize(2);
  const auto deadline = Clock::now() + Ms(10000);
  int status = 0;
  while (status != 200 && Clock::now() < deadline) {  // it has to notice that two have gone
    RawClient later(api.Port());
    later.Send(kPing);
    status = later.Read().status;
    CHECK((status == 200 || status == 503));
  }
  CHECK(status == 200);
}

TEST_CASE("500 connections at once are all served") {
  AllowFiles(2000);
  const Api api;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 500; ++i)
    clients.push_back(std::make_unique<RawClient>(api.Port(), Ms(30000)));
  for (int round = 0; round < 2; ++round) {
    std::map<std::string, int> wrong;
    for (auto& client : clients) client->Send(Post("submit", Saga("same")));
    for (auto& client : clients) ++wrong[Wrong(client->Read(), 200, kDone)];
    CHECK(wrong == std::map<std::string, int>{{"", 500}});
  }
}

TEST_CASE("clients that send slowly or nothing do not keep others from being served") {
  const Api api;
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 100; ++i) {
    slow.push_back(std::make_unique<RawClient>(api.Port()));
    if (i % 3 != 0) slow.back()->Send("G");
  }
  const auto start = Clock::now();
  for (int i = 0; i < 50; ++i) {
    slow[static_cast<std::size_t>(i)]->Send(i % 2 == 0 ? "E" : "POST /");
    REQUIRE(Wrong(api.Ask(Post("submit", Saga("fast" + std::to_string(i)))), 200, kDone) == "");
  }
  CHECK(Since(start) < Ms(4000));
}

TEST_CASE("clients that wait for a result do not keep others from being served") {
  const Api api;
  std::vector<std::unique_ptr<RawClient>> waiting;
  const std::string hang = Step("http://b/hang") + R"(,"wait_result":true)";
  for (int i = 0; i < 100; ++i) {
    waiting.push_back(std::make_unique<RawClient>(api.Port()));
    waiting.back()->Send(Post("submit", Saga("hang" + std::to_string(i), hang)));
  }
  const auto start = Clock::now();
  for (int i = 0; i < 20; ++i) REQUIRE(Wrong(api.Ask(kPing), 200, kPong) == "");
  CHECK(Since(start) < Ms(4000));
  for (int i = 0; i < 100; ++i) {
    const std::string stop = R"({"gid":"hang)" + std::to_string(i) + "\"}";
    RawReply reply = api.Ask(Post("forceStop", stop));
    const auto deadline = Clock::now() + Ms(5000);
    while (reply.status == 400 && Clock::now() < deadline) reply = api.Ask(Post("forceStop", stop));
    REQUIRE(reply.status == 200);
  }
  for (auto& client : waiting) CHECK(client->Read().status == 409);
}

TEST_CASE("clients that leave without reading do no harm") {
  Api api;
  for (int i = 0; i < 200; ++i) {
    RawClient client(api.Port());
    client.Send(Post("submit", Saga("left" + std::to_string(i))) + kPing + Get("all?limit=1000"));
  }
  CHECK(Wrong(api.Ask(kPing), 200, kPong) == "");
}

TEST_CASE("a port that is taken is refused, and so is an address that is not ours") {
  Api api;
  dtm::Server second(api.tm);
  const std::string place = "127.0.0.1:" + std::to_string(api.Port());
  CHECK_THROWS_WITH(second.Start("127.0.0.1", api.Port()), ContainsSubstring(place));
  CHECK_THROWS_AS(second.Start("127.0.0.1", api.Port()), dtm::Error);
  CHECK(Wrong(api.Ask(kPing), 200, kPong) == "");
  dtm::ServerOptions options;
  options.token = "secret";
  for (const char* host : {"no.such.host.invalid", "203.0.113.7", "127.0.0.1:80"}) {
    INFO(host);
    dtm::Server elsewhere(api.tm, options);
    CHECK_THROWS_AS(elsewhere.Start(host, 0), dtm::Error);
  }
  CHECK_THROWS_AS(dtm::Server(api.tm, options).Start("127.0.0.1", 65536), dtm::Error);
  CHECK_THROWS_AS(dtm::Server(api.tm, options).Start("127.0.0.1", -1), dtm::Error);
  // After a failure it can still be started elsewhere.
  const int port = second.Start("127.0.0.1", 0);
  CHECK(port != api.Port());
  RawClient client(port);
  client.Send(kPing);
  CHECK(Wrong(client.Read(), 200, kPong) == "");
}

TEST_CASE("a public address needs a token") {
  Api api;
  for (const char* host : {"0.0.0.0", "::", "0", "10.0.0.1", "example.com"}) {
    INFO(host);
    dtm::Server open(api.tm);
    CHECK_THROWS_WITH(open.Start(host, 0), ContainsSubstring("token"));
    CHECK_THROWS_AS(open.Start(host, 0), dtm::Error);
  }
  dtm::ServerOptions options;
  options.token = "secret";
  dtm::Server closed(api.tm, options);
  RawClient client(closed.Start("0.0.0.0", 0));
  client.Send(Get("version") + Get("version", "Authorization: Bearer secret\r\n"));
  CHECK(client.Read().status == 401);
  dtm::Server local(api.tm);
  CHECK(local.Start("localhost", 0) > 0);
}

TEST_CASE("two servers share a coordinator") {
  Api api;
  dtm::ServerOptions options;
  options.token = "secret";
  auto second = std::make_unique<dtm::Server>(api.tm, options);
  const int port = second->Start("127.0.0.1", 0);
  RawClient client(port);
  client.Send(Post("submit", Saga("shared"), "Authorization: Bearer secret\r\n"));
  CHECK(Wrong(client.Read(), 200, kDone) == "");
  const std::string shown = api.Ask(Get("query?gid=shared")).body;
  CHECK_THAT(shown, ContainsSubstring(R"("status":"succeed")"));
  second.reset();
  CHECK(Wrong(api.Ask(kPing), 200, kPong) == "");
}

TEST_CASE("of many submissions of one gid one content wins") {
  Api api;
  constexpr int kThreads = 16;
  for (int round = 0; round < 10; ++round) {
    const std::string gid = "one" + std::to_string(round);
    std::atomic<bool> go{false};
    std::vector<RawReply> replies(kThreads);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        RawClient client(api.Port());
        const std::string body = Saga(gid, Step("", "", i % 2 == 0 ? "even" : "odd"));
        while (!go) std::this_thread::yield();
        client.Send(Post("submit", body));
        replies[static_cast<std::size_t>(i)] = client.Read();
      });
    }
    go = true;
    for (std::thread& thread : threads) thread.join();
    const std::string winner = api.tm.Query(gid)->definition->steps.at(0).payload;
    for (int i = 0; i < kThreads; ++i) {
      const bool won = winner == (i % 2 == 0 ? "even" : "odd");
      const RawReply& reply = replies[static_cast<std::size_t>(i)];
      CHECK(Wrong(reply, won ? 200 : 409, won ? kDone : gid) == "");
    }
  }
}

TEST_CASE("metrics have dtm's names") {
  const Api api;
  const std::string wait = R"(,"wait_result":true)";
  CHECK(api.Ask(Post("submit", Saga("m1", Step("http://b/ok") + wait))).status == 200);
  CHECK(api.Ask(Post("submit", Saga("m2", Step("http://b/ok") + wait))).status == 200);
  CHECK(api.Ask(Post("submit", Saga("m3", Step("http://b/fail", "http://b/ok") + wait))).status ==
        409);
  CHECK(api.Ask(Post("submit", "{")).status == 400);
  for (const char* gid : {"m1", "m2", "a%22b%0a"}) {
    CHECK(api.Ask(Get("query?gid=" + std::string(gid))).status == 200);
  }
  CHECK(api.Ask(Get("nowhere-canary?canary=1")).status == 404);
  CHECK(api.Ask(Post("branch/canary?gid=canary", "{}")).status == 400);
  const RawReply reply = api.Ask(Get("/api/metrics"));
  CHECK(reply.status == 200);
  CHECK(reply.Header("content-type").find("text/plain; version=0.0.4") == 0);
  const std::string& text = reply.body;
  CHECK_THAT(text, !ContainsSubstring("canary"));  // whoever asks cannot add series
  CHECK(Sample(text, "dtm_server_info", {"store=\"memory\""}) == 1);
  const auto http = [](const char* api_name, const char* status) {
    return std::vector<std::string>{"type=\"http\"", "api=\"" + std::string(api_name) + "\"",
                                    "status=\"" + std::string(status) + "\""};
  };
  CHECK(Sample(text, "dtm_server_process_total", http("submit", "ok")) == 2);
  CHECK(Sample(text, "dtm_server_process_total", http("submit", "fail")) == 2);
  CHECK(Sample(text, "dtm_server_process_total", http("query", "ok")) == 3);
  const std::vector<std::string> submit = {"type=\"http\"", "api=\"submit\""};
  CHECK(Sample(text, "dtm_server_response_duration_count", submit) == 4);
  CHECK(Sample(text, "dtm_server_response_duration_sum", submit) >= 0);
  CHECK(Sample(text, "dtm_server_response_duration_bucket",
               {"type=\"http\"", "api=\"submit\"", "le=\"+Inf\""}) == 4);
  CHECK(Sample(text, "dtm_server_response_duration_bucket",
               {"type=\"http\"", "api=\"submit\"", "le=\"0.005\""}) >= 0);
  const auto branch = [](const char* op, const char* status) {
    return std::vector<std::string>{"model=\"saga\"", "branchid=\"01\"",
                                    "branchtype=\"" + std::string(op) + "\"",
                                    "status=\"" + std::string(status) + "\""};
  };
  CHECK(Sample(text, "dtm_branch_process_total", branch("action", "ok")) == 2);
  CHECK(Sample(text, "dtm_branch_process_total", branch("action", "fail")) == 1);
  CHECK(Sample(text, "dtm_branch_process_total", branch("compensate", "ok")) == 1);
  CHECK_THAT(text, ContainsSubstring("\ndtm_transaction_process_total{"));
  CHECK(Sample(text, "dtm_transaction_handled_duration_count", {"model=\"saga\""}) >= 3);

  // The format: one TYPE for each family, and numbers.
  std::map<std::string, std::string> types;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    std::istringstream words(line);
    std::string hash, word, name, type;
    words >> hash >> word >> name >> type;
    if (line.compare(0, 7, "# TYPE ") == 0) {
      CHECK(types.emplace(name, type).second);
    } else if (!line.empty() && line[0] != '#') {
      const std::string value = line.substr(line.rfind(' ') + 1);
      std::size_t read = 0;
      CHECK_NOTHROW(std::stod(value, &read));
      CHECK(read == value.size());
    }
  }
  CHECK(types["dtm_server_info"] == "gauge");
  CHECK(types["dtm_server_process_total"] == "counter");
  CHECK(types["dtm_server_response_duration"] == "histogram");
  CHECK(types["dtm_transaction_process_total"] == "counter");
  CHECK(types["dtm_transaction_handled_duration"] == "histogram");
  CHECK(types["dtm_branch_process_total"] == "counter");
  CHECK(text.back() == '\n');
}

TEST_CASE(
    "a forked child ends without the server, and keeps neither its port nor its connections") {
  auto api = std::make_unique<Api>();
  const int port = api->Port();
  const auto client = Idle(port);
  const std::string end = dtm_test::InChild([&]() -> std::string {
    ::alarm(20);
    std::string said;
    try {
      api->server.Stop();
    } catch (const dtm::LogicError& error) {
      said = error.what();
    }
    api->server.~Server();  // as at the end of a child's main
    return said;
  });
  CHECK_THAT(end, ContainsSubstring("this server belongs to the parent process"));
  const dtm_test::LivingChild child;
  client->Send(kPing);
  CHECK(Wrong(client->Read(), 200, kPong) == "");
  api->server.Stop();
  CHECK(client->Read().problem == "closed");
  CHECK(api->server.Start("127.0.0.1", port) == port);
}

TEST_CASE("a forked child does not keep the port and connections of a server that was killed") {
  int up[2], down[2];
  REQUIRE((::pipe(up) == 0 && ::pipe(down) == 0));
  const pid_t program = ::fork();
  REQUIRE(program >= 0);
  if (program == 0) {
    ::alarm(60);
    Api api;
    const int served = api.Port();
    (void)!::write(up[1], &served, sizeof served);
    char connected = 0;
    (void)!::read(down[0], &connected, 1);
    if (::fork() == 0) {
      const pid_t worker = ::getpid();
      (void)!::write(up[1], &worker, sizeof worker);
    }
    ::alarm(60);
    for (;;) ::pause();
  }
  int port = 0;
  REQUIRE(::read(up[0], &port, sizeof port) == sizeof port);
  const auto client = Idle(port);
  REQUIRE(::write(down[1], "c", 1) == 1);
  pid_t worker = 0;
  REQUIRE(::read(up[0], &worker, sizeof worker) == sizeof worker);
  ::kill(program, SIGKILL);
  ::waitpid(program, nullptr, 0);
  REQUIRE(::kill(worker, 0) == 0);
  CHECK(client->Read().problem != "silence");
  Api next;
  next.server.Stop();
  CHECK(next.server.Start("127.0.0.1", port) == port);
  ::kill(worker, SIGKILL);
  for (const int end : {up[0], up[1], down[0], down[1]}) ::close(end);
}
