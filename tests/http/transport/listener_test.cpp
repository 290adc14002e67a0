/// Where it can listen and where not, and accepting that fails for a while.
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include <dtm/http/transport/listener.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::transport::IoLoop;
using dtm::transport::Listener;
using dtm::transport::ListeningSocket;
using dtm::transport::ListenOn;
using dtm::transport::Socket;
using dtm_test::Ms;
using dtm_test::RawClient;

namespace {

const char kHost[] = "127.0.0.1";

std::string Problem(const std::string& host, int port) {
  try {
    return "it listens on " + std::to_string(ListenOn(host, port).port);
  } catch (const dtm::Error& error) {
    return error.what();
  }
}

struct Kit final : Listener::Receiver {
  Kit() {
    ListeningSocket listening = ListenOn(kHost, 0);
    port = listening.port;
    fd = listening.socket.Fd();
    listener = std::make_unique<Listener>(loop, static_cast<Listener::Receiver&>(*this),
                                          std::move(listening.socket));
    REQUIRE(listener->Open());
  }
  void OnConnection(Socket socket) override {
    if (fails) throw std::bad_alloc();
    sockets.push_back(std::move(socket));
  }
  /// Turns until there are so many connections, at most for 10 s.
  bool Reaches(std::size_t count) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (sockets.size() < count && std::chrono::steady_clock::now() < end) {
      loop.Poll(Ms(20));
      ++turns;
    }
    return sockets.size() == count;
  }
  IoLoop loop;
  int port = 0, fd = -1, turns = 0;
  bool fails = false;
  std::unique_ptr<Listener> listener;
  std::vector<Socket> sockets;
};

}  // namespace

TEST_CASE("listener: a port of its own, and free again afterwards") {
  const ListeningSocket a = ListenOn(kHost, 0), b = ListenOn(kHost, 0);
  CHECK((a.port > 0 && b.port > 0 && a.port != b.port));
  CHECK_THAT(Problem(kHost, a.port), ContainsSubstring("127.0.0.1:" + std::to_string(a.port)) &&
                                         ContainsSubstring(std::strerror(EADDRINUSE)));
  int port = 0;
  {
    Kit kit;
    port = kit.port;
    const RawClient client(port);
    REQUIRE(kit.Reaches(1));  // closed first, so the connection lingers on this side
  }
  CHECK(ListenOn(kHost, port).port == port);
  CHECK(ListenOn("localhost", 0).port > 0);
}

TEST_CASE("listener: where it cannot listen is an error that names host and port") {
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
    CHECK_THAT(Problem(row.host, row.port),
               ContainsSubstring(row.host + std::string(":") + std::to_string(row.port)) &&
                   ContainsSubstring(row.why));
  }
}

TEST_CASE("listener: many that come together are all taken") {
  Kit kit;
  std::vector<RawClient> clients;
  for (int i = 0; i < 200; ++i) clients.emplace_back(kit.port);
  CHECK(kit.Reaches(200));
  CHECK(kit.turns < 20);
  for (const Socket& socket : kit.sockets) {
    CHECK((::fcntl(socket.Fd(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((::fcntl(socket.Fd(), F_GETFL) & O_NONBLOCK) != 0);
  }
}

TEST_CASE(
    "listener: when connections cannot be accepted for a while, they wait, and it does not spin") {
  Kit kit;
  const int copy = ::fcntl(kit.fd, F_DUPFD_CLOEXEC, 0);
  const int none = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  REQUIRE(::dup3(none, kit.fd, O_CLOEXEC) == kit.fd);  // from here on accept fails
  RawClient waiting(kit.port);
  const auto end = std::chrono::steady_clock::now() + Ms(200);
  int turns = 0;
  for (; std::chrono::steady_clock::now() < end; ++turns) kit.loop.Poll(Ms(200));
  CHECK(turns < 60);
  CHECK(kit.sockets.empty());
  REQUIRE(::dup3(copy, kit.fd, O_CLOEXEC) == kit.fd);
  CHECK(kit.Reaches(1));
  ::close(copy);
  ::close(none);
}

TEST_CASE("listener: a connection for which there is no memory is closed, and the next is taken") {
  Kit kit;
  kit.fails = true;
  RawClient lost(kit.port);
  for (int i = 0; i < 5; ++i) kit.loop.Poll(Ms(20));
  CHECK(lost.Closed());
  kit.fails = false;
  const RawClient next(kit.port);
  CHECK(kit.Reaches(1));
}

TEST_CASE("listener: closed, it takes nobody") {
  Kit kit;
  kit.listener->Close();
  RawClient late(kit.port);
  for (int i = 0; i < 3; ++i) kit.loop.Poll(Ms(1));
  CHECK(kit.sockets.empty());
  CHECK(late.Closed());
}
