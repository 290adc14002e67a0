/// The client under attack: heads without end, dripping bytes, sockets that are somebody else's.
#include <chrono>
#include <string>
#include <sys/socket.h>
#include <thread>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include <dtm/http/httplib/guarded_client.hpp>

using dtm_test::Clock;
using dtm_test::Ms;
using dtm_test::RawServer;

namespace {

struct Got {
  bool ok = false;
  int status = 0;
  std::string body;
  Ms took{};
};

Got Get(dtm::GuardedClient& client, Ms timeout = Ms(3000)) {
  dtm::BlockSigpipe();
  httplib::Request request;
  request.method = "GET";
  request.path = "/x?a=b+c,d'%20";
  httplib::Response response;
  httplib::Error error = httplib::Error::Success;
  const auto start = Clock::now();
  Got got;
  got.ok = client.Send(request, response, error, start + timeout);
  got.status = response.status;
  got.body = response.body;
  got.took = std::chrono::duration_cast<Ms>(Clock::now() - start);
  return got;
}

/// Answers with `answer`, then waits for the peer to leave.
RawServer Speaker(std::string answer) {
  return RawServer([answer](int fd, int) {
    RawServer::ReadRequest(fd);
    RawServer::Write(fd, answer);
    RawServer::ReadRequest(fd);
  });
}

}  // namespace

TEST_CASE("the request target goes out untouched and connections are kept") {
  std::string seen;
  RawServer server([&](int fd, int) {
    for (std::string request; !(request = RawServer::ReadRequest(fd)).empty();) {
      seen = request.substr(0, request.find('\r'));
      RawServer::Write(fd, RawServer::Ok("hello"));
    }
  });
  dtm::GuardedClient client(dtm::ParseUrl(server.Url()));
  for (int i = 0; i < 3; ++i) {
    const Got got = Get(client);
    CHECK(got.ok);
    CHECK(got.body == "hello");
    CHECK(client.IsClean());
  }
  CHECK(seen == "GET /x?a=b+c,d'%20 HTTP/1.1");
  CHECK(server.Connections() == 1);
}

TEST_CASE("a status line or header of any length does no harm") {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const std::string end = "Content-Length: 0\r\n\r\n";
  for (const std::size_t size : {100000UL, 3000000UL}) {
    const std::string a(size, 'a');
    std::string many;
    while (many.size() < size) many += "A: b\r\n";
    for (const std::string& answer :
         {"HTTP/1.1 200 " + a + "\r\n" + end, ok + "X: " + a + "\r\n" + end, ok + a + end,
          ok + many + end, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 " + a + "\r\n" + end,
          ok + "Transfer-Encoding: chunked\r\n\r\n1;" + a + "\r\nx\r\n0\r\n\r\n", a}) {
      RawServer server = Speaker(answer);
      dtm::GuardedClient client(dtm::ParseUrl(server.Url()));
      const Got got = Get(client);
      CHECK_FALSE(got.ok);
      CHECK(got.took < Ms(2900));
    }
  }
}

TEST_CASE("bytes that nobody asked for make a connection unclean") {
  RawServer server([](int fd, int) {
    RawServer::ReadRequest(fd);
    RawServer::Write(fd, RawServer::Ok("x"));
    std::this_thread::sleep_for(Ms(20));  // what comes with the answer is dropped with it
    RawServer::Write(fd, RawServer::Ok("not yours"));
    RawServer::ReadRequest(fd);
  });
  dtm::GuardedClient client(dtm::ParseUrl(server.Url()));
  CHECK(Get(client).body == "x");
  for (int i = 0; i < 2000 && client.IsClean(); ++i) std::this_thread::sleep_for(Ms(1));
  CHECK_FALSE(client.IsClean());
  client.Close();
  CHECK_FALSE(client.IsOpen());
}

TEST_CASE("Break ends what waits") {
  RawServer server([](int fd, int) {
    RawServer::ReadRequest(fd);
    RawServer::ReadRequest(fd);
  });
  dtm::GuardedClient client(dtm::ParseUrl(server.Url()));
  std::thread other([&] {
    while (server.Connections() == 0) std::this_thread::sleep_for(Ms(1));
    std::this_thread::sleep_for(Ms(20));
    client.Break();
  });
  const Got got = Get(client);
  other.join();
  CHECK_FALSE(got.ok);
  CHECK(got.took < Ms(2000));
}

TEST_CASE("a socket watch leaves a number alone that became somebody else's socket") {
  int mine[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, mine) == 0);
  dtm::SocketWatch watch;
  watch.Break();  // nothing yet
  watch.Opened(mine[0]);
  int theirs[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, theirs) == 0);
  REQUIRE(::dup2(theirs[0], mine[0]) == mine[0]);  // closes mine, takes its number
  watch.Break();
  char byte = 'x';
  CHECK(::send(theirs[1], &byte, 1, MSG_NOSIGNAL) == 1);
  CHECK(::recv(mine[0], &byte, 1, 0) == 1);

  watch.Opened(mine[0]);
  watch.Break();
  CHECK(::recv(mine[0], &byte, 1, 0) == 0);
  for (const int fd : {mine[0], mine[1], theirs[0], theirs[1]}) ::close(fd);
  watch.Break();  // closed: nothing happens
}
