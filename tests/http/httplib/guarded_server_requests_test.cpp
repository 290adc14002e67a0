/// The server's connections: many requests on one, how each ends, and how long each may take.
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/running_server.hpp"

using dtm_test::Clock;
using dtm_test::Get;
using dtm_test::Idle;
using dtm_test::Limits;
using dtm_test::Ms;
using dtm_test::RawClient;
using dtm_test::RawReply;
using dtm_test::Repeated;
using dtm_test::Request;
using dtm_test::Running;

TEST_CASE("guarded_server: requests one after the other, and some at a time, on one connection") {
  Running running;
  RawClient client(running.port);
  for (int i = 0; i < 50; ++i) {
    client.Send(Request("POST", "/ok", {}, std::to_string(i)));
    CHECK(client.Read().body == std::to_string(i));
  }
  std::string all;
  for (int i = 0; i < 50; ++i) all += Request("POST", "/ok", {}, std::to_string(i));
  client.Send(all);
  for (int i = 0; i < 50; ++i) CHECK(client.Read().body == std::to_string(i));
  client.Send(Get("/ok", "Connection: close\r\n"));
  CHECK(client.Read().status == 200);
  CHECK(client.Closed());
}

TEST_CASE("guarded_server: an answer that says close is the last one") {
  Running running;
  const std::string hidden = Get("/ok");  // in the body that was not read
  for (const std::string headers : {"", "Expect: 100-continue\r\n"}) {
    CAPTURE(headers);
    RawClient client(running.port);
    client.Send(Request("POST", "/close", headers, hidden));
    RawReply reply = client.Read();
    if (reply.problem.empty() && reply.status == 100) reply = client.Read();
    CHECK(reply.status == 413);
    CHECK(client.Closed());
  }
  CHECK(running.handled == 0);
}

TEST_CASE("guarded_server: what is no request ends the connection, and only that") {
  Running running;
  const std::string line(9000, 'x');
  for (const std::string& bytes :
       {std::string("garbage\r\n\r\n"), std::string("\r\n\r\n"), std::string(1, '\0') + "\r\n\r\n",
        "GET /" + line, "GET /ok HTTP/1.1\r\nA: " + line,
        "GET /ok HTTP/1.1\r\n" + Repeated("A: b\r\n", 65) + "\r\n",
        "GET /ok HTTP/1.1\r\n\n" + Repeated("A: b\r\n", 100) + "\r\n",  // LF is no end of the head
        std::string("GET /ok HTTP/9.9\r\n\r\n")}) {
    INFO(bytes.substr(0, 60));
    RawClient client(running.port);
    client.Send(bytes);
    const std::vector<RawReply> replies = client.ReadAll();
    CHECK(replies.size() <= 2);
    CHECK((replies[0].status == 0 || replies[0].status >= 400));
    CHECK(replies.back().problem != "silence");
  }
  CHECK(running.handled == 0);
  CHECK_NOTHROW(Idle(running.port));
}

TEST_CASE("guarded_server: every wait has its limit") {
  Running running(Limits(20, 1));
  std::vector<RawClient> clients;
  clients.push_back(Idle(running.port));
  clients.emplace_back(running.port);
  for (const char* part : {"GET /ok HT", "GET /ok HTTP/1.1\r\nHost: a\r\n",
                           "POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
                           "POST /ok HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"}) {
    clients.emplace_back(running.port);
    clients.back().Send(part);
  }
  const auto start = Clock::now();
  for (RawClient& client : clients) {
    const std::vector<RawReply> replies = client.ReadAll();
    CHECK((replies[0].status == 0 || replies[0].status >= 400));
    CHECK(replies.back().problem != "silence");
  }
  CHECK(Clock::now() - start < Ms(4000));
  CHECK(running.handled == 1);
}

TEST_CASE("guarded_server: clients that do not read their answer, or leave before") {
  Running running(Limits(20, 1));
  RawClient deaf(running.port);
  deaf.Send(Get("/big"));
  CHECK(deaf.Readable(Ms(10000)));
  for (int i = 0; i < 5; ++i) {
    RawClient gone(running.port);
    gone.Send(Get("/big"));
    CHECK(gone.Readable(Ms(10000)));
  }
  CHECK(Idle(running.port).Readable(Ms(0)) == false);  // the others are served
  CHECK(running.Stop() < Ms(4000));
}
