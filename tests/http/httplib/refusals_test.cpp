/// Connections for which there is no room: what they are told, and how they end.
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/http/socket_pair.hpp"
#include <dtm/http/httplib/refusals.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::guard::CloseGently;
using dtm::guard::Refusals;
using dtm_test::SocketPair;
using Clock = std::chrono::steady_clock;
using Ms = std::chrono::milliseconds;

TEST_CASE("refusals: a valid answer, and the end") {
  Refusals refusals;
  for (const bool asks : {true, false}) {
    CAPTURE(asks);
    SocketPair pair;
    if (asks) pair.Say("POST /api/dtmsvr/submit HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}");
    refusals.Add(pair.Give());
    const std::string text = pair.HeardUntilTheEnd();
    CHECK(pair.ended);
    const std::size_t end = text.find("\r\n\r\n");
    REQUIRE(end != std::string::npos);
    const std::string head = text.substr(0, end + 2);
    const std::string body = text.substr(end + 4);
    CHECK(head.compare(0, 13, "HTTP/1.1 503 ") == 0);
    CHECK_THAT(
        head, ContainsSubstring("\r\nRetry-After: 1\r\n") &&
                  ContainsSubstring("\r\nConnection: close\r\n") &&
                  ContainsSubstring("\r\nContent-Type: application/json; charset=utf-8\r\n") &&
                  ContainsSubstring("\r\nContent-Length: " + std::to_string(body.size()) + "\r\n"));
    const auto json = nlohmann::json::parse(body);
    CHECK(json.size() == 1);
    CHECK_FALSE(json["message"].get<std::string>().empty());
  }
}

TEST_CASE("refusals: everybody is told, also peers that come at a time and some that have gone") {
  std::vector<SocketPair> pairs(30);
  Refusals refusals;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    pairs[i].Say("GET / HTTP/1.1\r\n\r\n");
    if (i % 3 == 0) pairs[i].ClosePeer();
  }
  for (std::size_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = t; i < pairs.size(); i += 3) refusals.Add(pairs[i].Give());
    });
  }
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (i % 3 == 0) continue;
    CAPTURE(i);
    CHECK_THAT(pairs[i].HeardUntilTheEnd(), ContainsSubstring("503"));
    CHECK(pairs[i].ended);
    pairs[i].ClosePeer();
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("refusals: when very many wait, the rest is closed without a word") {
  std::vector<SocketPair> pairs(300);
  auto refusals = std::make_unique<Refusals>();
  for (SocketPair& pair : pairs) refusals->Add(pair.Give());
  int closed = 0;
  for (const SocketPair& pair : pairs) {
    char byte = 0;
    closed += ::recv(pair.peer, &byte, 1, MSG_DONTWAIT) == 0 ? 1 : 0;
  }
  CHECK(closed <= 300 - 256);
  CHECK(closed > 30);                               // its thread has taken some meanwhile
  for (SocketPair& pair : pairs) pair.ClosePeer();  // then none of them is waited for
  refusals.reset();
}

TEST_CASE("refusals: a gentle end lets the answer arrive") {
  SocketPair pair;
  pair.Say(std::string(10000, 'x'));  // unread
  (void)!::write(pair.ours, "answer", 6);
  CloseGently(pair.Give());
  CHECK(pair.HeardUntilTheEnd() == "answer");
  CHECK(pair.ended);
}

TEST_CASE("refusals: a gentle end is over as soon as the peer has seen it and leaves") {
  auto fastest = Ms(1000);
  for (int tries = 0; tries < 20 && fastest >= Ms(50); ++tries) {  // the machine may be busy
    SocketPair pair;
    std::thread peer([&pair] {
      (void)pair.HeardUntilTheEnd();
      pair.ClosePeer();
    });
    const auto start = Clock::now();
    CloseGently(pair.Give());
    fastest = (std::min)(fastest, std::chrono::duration_cast<Ms>(Clock::now() - start));
    peer.join();
  }
  CHECK(fastest < Ms(50));
}

TEST_CASE("refusals: a gentle end does not wait long for a peer that stays") {
  SocketPair pair;
  const auto start = Clock::now();
  CloseGently(pair.Give());
  CHECK(Clock::now() - start < Ms(1000));
  CHECK(pair.HeardUntilTheEnd().empty());
  CHECK(pair.ended);
}
