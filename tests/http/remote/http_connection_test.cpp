/// One request on a connection that is kept: when it is used again, when it is sent twice.
#include <atomic>
#include <string>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include <dtm/http/remote/http_connection.hpp>

using dtm::Exchanged;
using dtm::HttpConnection;
using dtm_test::Clock;
using dtm_test::Ms;
using dtm_test::RawServer;

namespace {

dtm::http1::HttpRequest Post(const std::string& body = "{}") {
  dtm::http1::HttpRequest request;
  request.method = "POST";
  request.target = "/x";
  request.body = body;
  request.Set("Host", "h");
  return request;
}

Exchanged Send(HttpConnection& exchange, Ms timeout = Ms(5000)) {
  return exchange.Send(Post(), Clock::now() + timeout);
}

}  // namespace

TEST_CASE("http connection: requests share a connection, answers come back whole") {
  RawServer server([](int fd, int) {
    for (int n = 0; !RawServer::ReadRequest(fd).empty(); ++n) {
      RawServer::Write(fd, RawServer::Ok("answer " + std::to_string(n)));
    }
  });
  HttpConnection exchange(dtm::ParseUrl(server.Url()), 100);
  for (int n = 0; n < 3; ++n) {
    const Exchanged answer = Send(exchange);
    CHECK(answer.Complete());
    CHECK(answer.status == 200);
    CHECK(answer.body == "answer " + std::to_string(n));
  }
  CHECK(exchange.IsOpen());
  CHECK(server.Connections() == 1);
}

TEST_CASE("http connection: a body above the limit is cut and not complete") {
  for (const std::size_t size : {10U, 11U}) {
    RawServer server([size](int fd, int) {
      RawServer::ReadRequest(fd);
      RawServer::Write(fd, RawServer::Ok(std::string(size, 'x')));
    });
    HttpConnection exchange(dtm::ParseUrl(server.Url()), 10);
    const Exchanged answer = Send(exchange);
    CHECK(answer.Complete() == (size == 10));
    CHECK(answer.too_long == (size == 11));
    CHECK(answer.body.size() == 10);
    CHECK(answer.answered);
  }
}

TEST_CASE(
    "http connection: a connection that was closed meanwhile is replaced, and the request sent "
    "once") {
  std::atomic<int> requests{0};
  RawServer server([&](int fd, int) {
    if (RawServer::ReadRequest(fd).empty()) return;
    ++requests;
    RawServer::Write(fd, RawServer::Ok());
  });
  HttpConnection exchange(dtm::ParseUrl(server.Url()), 10);
  CHECK(Send(exchange).Complete());
  server.AwaitClosed(1);
  CHECK(Send(exchange).Complete());
  CHECK(requests == 2);
  CHECK(server.Connections() == 2);
}

TEST_CASE("http connection: a server that dies at work is asked once more, on a fresh connection") {
  std::atomic<int> requests{0};
  RawServer server([&](int fd, int) {
    for (int n = 0; !RawServer::ReadRequest(fd).empty(); ++n) {
      ++requests;
      if (requests > 1) return;  // in the middle of the second request, and of the third
      RawServer::Write(fd, RawServer::Ok());
    }
  });
  HttpConnection exchange(dtm::ParseUrl(server.Url()), 10);
  CHECK(Send(exchange).Complete());
  const Exchanged second = Send(exchange);
  CHECK_FALSE(second.Complete());
  CHECK_FALSE(second.answered);
  CHECK(requests == 3);
}

TEST_CASE("http connection: nothing listens, nothing answers in time") {
  HttpConnection nobody(dtm::ParseUrl("http://127.0.0.1:1/x"), 10);
  CHECK_FALSE(Send(nobody).answered);

  RawServer silent([](int fd, int) {
    RawServer::ReadRequest(fd);
    RawServer::ReadRequest(fd);
  });
  HttpConnection exchange(dtm::ParseUrl(silent.Url()), 10);
  const auto begin = Clock::now();
  CHECK_FALSE(Send(exchange, Ms(100)).Complete());
  CHECK(Clock::now() - begin < Ms(3000));
}
