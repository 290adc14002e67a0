/// The server's sockets: where it listens, how it stops, and connections beyond the limit.
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/running_server.hpp"
#include <dtm/base/error.hpp>
#include <dtm/http/httplib/guarded_server.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::guard::GuardedServer;
using dtm_test::Clock;
using dtm_test::Get;
using dtm_test::Idle;
using dtm_test::kHost;
using dtm_test::Limits;
using dtm_test::Ms;
using dtm_test::RawClient;
using dtm_test::RawReply;
using dtm_test::Request;
using dtm_test::Running;

namespace {

std::string BindError(const std::string& host, int port) {
  GuardedServer server(Limits(1));
  try {
    return "it is bound to " + std::to_string(server.Bind(host, port));
  } catch (const dtm::Error& error) {
    return error.what();
  }
}

int OpenFiles() {
  int open = 0;
  for (int fd = 0; fd < 1024; ++fd) open += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return open;
}

/// The descriptor that listens on this port; -1 if there is none.
int Listener(int port) {
  for (int fd = 0; fd < 1024; ++fd) {
    int listens = 0;
    sockaddr_in address{};
    socklen_t size = sizeof listens, address_size = sizeof address;
    if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0 &&
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &address_size) == 0 &&
        ntohs(address.sin_port) == port) {
      return fd;
    }
  }
  return -1;
}

}  // namespace

TEST_CASE("guarded_server: when connections cannot be accepted for a while, they wait") {
  Running running;
  RawClient before = Idle(running.port);
  const int fd = Listener(running.port);
  REQUIRE(fd >= 0);
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0),
            none = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  REQUIRE(::dup3(none, fd, O_CLOEXEC) == fd);
  RawClient last = Idle(running.port);  // it waited for this one already; from here on accept fails
  RawClient waiting(running.port);
  waiting.Send(Get("/ok"));
  CHECK_FALSE(waiting.Readable(Ms(100)));
  before.Send(Get("/ok"));
  CHECK(before.Read().status == 200);
  REQUIRE(::dup3(copy, fd, O_CLOEXEC) == fd);
  CHECK(waiting.Read().status == 200);
  ::close(copy);
  ::close(none);
  CHECK(running.Stop() < Ms(1000));
}

TEST_CASE("guarded_server: a port of its own, and free again afterwards") {
  int port = 0;
  for (int i = 0; i < 2; ++i) {
    GuardedServer a(Limits(1)), b(Limits(1));
    port = a.Bind(kHost, port);
    CHECK(port > 0);
    const int other = b.Bind(kHost, 0);
    CHECK((other > 0 && other != port));
    CHECK_THAT(BindError(kHost, port), ContainsSubstring("127.0.0.1:" + std::to_string(port)) &&
                                           ContainsSubstring(std::strerror(EADDRINUSE)));
  }
  std::unique_ptr<Running> used = std::make_unique<Running>();
  port = used->port;
  const RawClient client = Idle(port);
  used.reset();  // closed first, so the connection lingers on this side
  GuardedServer again(Limits(1));
  CHECK(again.Bind(kHost, port) == port);
}

TEST_CASE("guarded_server: where it cannot listen is an error that names host and port") {
  struct Row {
    const char* host;
    int port;
    const char* why;
  };
  const Row rows[] = {
      {"192.0.2.1", 36789, std::strerror(EADDRNOTAVAIL)},  // of documentation, nobody's
      {"192.0.2.1", 0, std::strerror(EADDRNOTAVAIL)},
      {"no such name", 36789, "the name is unknown"},
      {"", -1, ""},
      {kHost, -1, ""},
      {kHost, 65536, ""},
      {kHost, 70000, ""},
  };
  for (const Row& row : rows) {
    CAPTURE(row.host, row.port);
    CHECK_THAT(BindError(row.host, row.port),
               ContainsSubstring(row.host + std::string(":") + std::to_string(row.port)) &&
                   ContainsSubstring(row.why));
  }
}

TEST_CASE("guarded_server: stopped before it listens, it does not") {
  GuardedServer server(Limits(1));
  const int port = server.Bind(kHost, 0);
  RawClient client(port);
  client.Send(Get("/ok"));
  server.Stop();
  server.Listen();
  server.Stop();
  GuardedServer unbound(Limits(1));
  unbound.Stop();
}

TEST_CASE("guarded_server: stopped at any moment of its start, it ends") {
  for (int i = 0; i < 100; ++i) {
    Running running;
    for (int turn = 0; turn < i % 10; ++turn) std::this_thread::yield();
    if (i % 3 == 0) running.server->Stop();
    CHECK(running.Stop() < Ms(2000));
    RawClient late(running.port);
    late.Send(Get("/ok"));
    CHECK(late.Read().status == 0);
  }
}

TEST_CASE("guarded_server: stop waits for no client that is idle or in the middle of a request") {
  Running running;
  std::vector<RawClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(Idle(running.port));
    clients.emplace_back(running.port);  // has said nothing
    clients.push_back(Idle(running.port));
    clients.back().Send("GET /ok HT");
    clients.push_back(Idle(running.port));
    clients.back().Send("POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
  }
  CHECK(running.Stop() < Ms(1000));
  for (RawClient& client : clients) CHECK(client.ReadAll().back().problem != "silence");
  CHECK(running.handled == 9);
}

TEST_CASE("guarded_server: stop lets a request that is worked on end") {
  Running running;
  RawClient client(running.port);
  client.Send(Get("/wait"));
  running.begun.get_future().wait();
  RawClient idle = Idle(running.port);
  std::thread stopper([&] { running.server->Stop(); });
  CHECK(idle.Closed());
  CHECK_FALSE(client.Readable(Ms(0)));
  running.gate.set_value();
  const RawReply reply = client.Read();
  CHECK(reply.status == 200);
  CHECK(reply.body == "waited");
  CHECK(client.Closed());
  stopper.join();
}

TEST_CASE("guarded_server: connections beyond the limit are told, and later ones served") {
  Running running(Limits(2));
  std::vector<RawClient> clients;
  for (int i = 0; i < 2; ++i) clients.push_back(Idle(running.port));
  for (int i = 0; i < 5; ++i) {
    RawClient above(running.port);
    above.Send(Request("POST", "/ok", {}, std::string(20000, 'x')));
    const RawReply reply = above.Read();
    CHECK(reply.status == 503);
    CHECK(reply.Header("retry-after") == "1");
    CHECK_FALSE(reply.Parsed()["message"].get<std::string>().empty());
    CHECK(above.Closed());
  }
  CHECK(running.handled == 2);
  clients.pop_back();
  int status = 503;
  for (int tries = 0; status == 503 && tries < 1000; ++tries) {  // until its thread has noticed
    RawClient next(running.port);
    next.Send(Get("/ok"));
    status = next.Read().status;
  }
  CHECK(status == 200);
  clients[0].Send(Get("/ok"));
  CHECK(clients[0].Read().status == 200);
}

TEST_CASE("guarded_server: stop does not wait for refused connections that say nothing") {
  Running running(Limits(1));
  RawClient idle = Idle(running.port);
  std::vector<RawClient> silent;
  for (int i = 0; i < 20; ++i) silent.emplace_back(running.port);
  CHECK(silent[0].Read().status == 503);  // so all have arrived, or are about to
  CHECK(running.Stop() < Ms(1000));
}

TEST_CASE("guarded_server: every socket is closed, and no program it starts gets one") {
  const int before = OpenFiles();
  {
    Running running(Limits(3));
    std::vector<RawClient> clients;
    for (int i = 0; i < 3; ++i) clients.push_back(Idle(running.port));
    RawClient above(running.port);
    above.Send(Get("/ok"));
    CHECK(above.Read().status == 503);
    CHECK(above.Closed());
    CHECK(OpenFiles() > before);
    // Asked of /proc: other threads close some of these meanwhile.
    for (int fd = 3; fd < 1024; ++fd) {
      const std::string name = std::to_string(fd);
      char target[64] = {};
      (void)!::readlink(("/proc/self/fd/" + name).c_str(), target, sizeof target - 1);
      if (std::string(target).compare(0, 7, "socket:") != 0) continue;
      std::ifstream info("/proc/self/fdinfo/" + name);
      std::string word, flags;
      while (info >> word) {
        if (word == "flags:") info >> flags;
      }
      if (flags.empty()) continue;  // closed by now
      INFO(name << " " << flags);
      CHECK((std::stol(flags, nullptr, 8) & O_CLOEXEC) != 0);
    }
    GuardedServer only_bound(Limits(1));
    (void)only_bound.Bind(kHost, 0);
    (void)BindError("192.0.2.1", 1);
  }
  CHECK(OpenFiles() == before);
}
