/// One connection of the server: requests and replies in their order, ends of all kinds, deadlines, memory.
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include "tests/http/socket_pair.hpp"
#include <dtm/http/serving/server_connection.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::ApiReply;
using dtm::ApiRequest;
using dtm::serving::IncomingRequest;
using dtm::serving::ServerConnection;
using dtm::serving::ServingLimits;
using dtm::transport::HeldBytes;
using dtm::transport::IoLoop;
using dtm::transport::Socket;
using dtm_test::Get;
using dtm_test::Ms;
using dtm_test::Post;
using dtm_test::Request;
using dtm_test::SocketPair;

namespace {

ServingLimits Long() {
  ServingLimits limits;
  limits.head = limits.body = limits.reply = limits.idle = limits.linger = Ms(60000);
  return limits;
}

/// A connection whose requests the test answers.
struct Kit final : dtm::serving::RequestHandler {
  explicit Kit(const ServingLimits& its_limits = Long(), bool full = false)
      : limits(its_limits), held(its_limits.bytes) {
    connection =
        std::make_unique<ServerConnection>(loop, static_cast<dtm::serving::RequestHandler&>(*this));
    Socket socket(pair.Give());
    REQUIRE(
        (full ? connection->TurnAway(std::move(socket)) : connection->Serve(std::move(socket))));
    Turn();
  }
  ~Kit() {
    if (connection != nullptr) connection->Close();
  }
  Kit(const Kit&) = delete;
  Kit& operator=(const Kit&) = delete;

  const ServingLimits& Limits() const override { return limits; }
  HeldBytes& Held() override { return held; }
  std::optional<ApiReply> Refusal(const ApiRequest& head) override {
    if (head.path != "/refused") return std::nullopt;
    return dtm::api_head::Refusal(403, "not you");
  }
  std::size_t Handle(ServerConnection&, ApiRequest& request) override {
    asked.push_back(request.path + " " + std::to_string(request.body.size()));
    return 0;
  }
  void Drop(ServerConnection&) override { loop.Dispose(std::move(connection)); }
  std::unique_ptr<IncomingRequest> NewRequest() override {
    return spare ? std::move(spare) : std::make_unique<IncomingRequest>();
  }
  void UseAgain(std::unique_ptr<IncomingRequest> request) override {
    request->Reset();
    spare = std::move(request);
  }

  void Turn(int times = 4) {
    for (int i = 0; i < times; ++i) loop.Poll(Ms(0));
  }
  /// Until it is gone, at most for 10 s.
  void WaitForEnd() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (connection != nullptr && std::chrono::steady_clock::now() < end) loop.Poll(Ms(50));
  }
  void Say(const std::string& text) {
    REQUIRE(pair.Say(text));
    Turn();
  }
  void Answer(const std::string& body, int status = 200) {
    REQUIRE(connection != nullptr);
    ApiReply reply;
    reply.status = status;
    reply.body = body;
    connection->Reply(reply);
    Turn();
  }
  /// What the other side has got, without waiting.
  std::string Heard() {
    std::string text;
    char buffer[65536];
    for (;;) {
      const ssize_t got = ::recv(pair.peer, buffer, sizeof buffer, MSG_DONTWAIT);
      if (got <= 0) {
        over = got == 0 || errno == ECONNRESET;
        return text;
      }
      text.append(buffer, static_cast<std::size_t>(got));
      Turn();
    }
  }

  const ServingLimits limits;
  HeldBytes held;
  SocketPair pair;
  IoLoop loop;
  std::unique_ptr<ServerConnection> connection;
  std::unique_ptr<IncomingRequest> spare;
  std::vector<std::string> asked;
  bool over = false;  ///< the other side has seen the end
};

std::string BodyOf(const std::string& text) { return text.substr(text.find("\r\n\r\n") + 4); }

}  // namespace

TEST_CASE("server_connection: requests that come together are answered one after the other") {
  Kit kit;
  kit.Say(Get("/a") + Post("/b", "xy") + Get("/c") + "GET /d");
  CHECK(kit.asked == std::vector<std::string>{"/a 0"});
  kit.Answer("1");
  CHECK(kit.asked.size() == 2);
  kit.Answer("2");
  CHECK(kit.asked.back() == "/c 0");
  kit.Answer("3");
  CHECK(kit.asked.size() == 3);
  kit.Say(" HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(kit.asked.back() == "/d 0");
  kit.Answer("4");
  const std::string heard = kit.Heard();
  std::string order;
  for (const char* body : {"\r\n\r\n1", "\r\n\r\n2", "\r\n\r\n3", "\r\n\r\n4"})
    order += heard.find(body) == std::string::npos ? "-" : "+";
  CHECK(order == "++++");
  CHECK(kit.connection != nullptr);
  CHECK(kit.held.Now() == 0);
}

TEST_CASE("server_connection: an empty line between requests is none") {
  Kit kit;
  kit.Say(Post("/a", "xy") + "\r\n" + Get("/b"));
  kit.Answer("1");
  CHECK(kit.asked == std::vector<std::string>{"/a 2", "/b 0"});
}

TEST_CASE("server_connection: many that come ahead, and more behind them, keep their order") {
  Kit kit;
  std::string many;
  for (int i = 0; i < 1000; ++i) many += Get("/" + std::to_string(i));
  kit.Say(many.substr(0, many.size() / 2));
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(kit.asked.size() == static_cast<std::size_t>(i) + 1);
    REQUIRE(kit.asked.back() == "/" + std::to_string(i) + " 0");
    if (i == 300) kit.Say(many.substr(many.size() / 2));
    kit.Answer("1");
    (void)kit.Heard();
  }
  CHECK(kit.held.Now() == 0);
}

TEST_CASE("server_connection: who asks without reading is not read any more") {
  Kit kit;
  kit.Say(Get("/first"));
  std::size_t sent = 0;
  const std::string many = dtm_test::Repeated(Get("/a"), 1000);
  for (int i = 0; i < 200; ++i) {
    const ssize_t some =
        ::send(kit.pair.peer, many.data(), many.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (some > 0) sent += static_cast<std::size_t>(some);
    kit.Turn();
  }
  CHECK(kit.asked.size() == 1);
  CHECK(sent < (std::size_t{4} << 20));  // the kernel's buffers, and little of ours
  CHECK(kit.held.Now() < 300000);
  kit.Answer("1");
  CHECK(kit.asked.size() == 2);
}

TEST_CASE(
    "server_connection: without room in memory what comes ahead is not kept, and the reply is the "
    "last") {
  ServingLimits limits = Long();
  limits.bytes = 100000;
  Kit kit(limits);
  kit.Say(Get("/a"));
  std::size_t others = 0;
  kit.held.Change(others, 70000);
  kit.Say(dtm_test::Repeated(Get("/b"), 500));
  CHECK(kit.held.Now() < 71000);
  kit.Answer("1");
  CHECK(kit.asked.size() == 1);
  const std::string heard = kit.Heard();
  CHECK_THAT(heard, ContainsSubstring("\r\nConnection: close\r\n"));
  CHECK(BodyOf(heard) == "1");
  CHECK(kit.over);
}

TEST_CASE("server_connection: no further request is taken until the reply has left") {
  Kit kit;
  kit.Say(Get("/big") + Get("/next"));
  kit.Answer(std::string(std::size_t{8} << 20, 'x'));
  CHECK(kit.asked.size() == 1);
  CHECK(kit.held.Now() > (std::size_t{1} << 20));
  const std::string heard = kit.Heard();
  CHECK(BodyOf(heard).size() == std::size_t{8} << 20);
  CHECK(kit.asked.size() == 2);
  CHECK(kit.held.Now() < 100000);
}

TEST_CASE("server_connection: a refusal comes before the body, and is the last") {
  Kit kit;
  kit.Say(Request("POST", "/refused", "Content-Length: 1000000\r\nExpect: 100-continue\r\n"));
  const std::string heard = kit.Heard();
  CHECK_THAT(heard, Catch::Matchers::StartsWith("HTTP/1.1 403 "));
  CHECK_THAT(heard, ContainsSubstring("\r\nConnection: close\r\n"));
  CHECK(kit.over);
  kit.Say(std::string(100000, 'x') + Get("/hidden"));  // is read, and means nothing
  CHECK(kit.asked.empty());
  CHECK(kit.connection != nullptr);
  kit.pair.ClosePeer();
  kit.Turn();
  CHECK(kit.connection == nullptr);
}

TEST_CASE("server_connection: 100 is told to who waits for it, and only then") {
  const std::string expect = "Content-Length: 3\r\nExpect: 100-continue\r\n";
  Kit kit;
  kit.Say(Request("POST", "/a", expect));
  CHECK(kit.Heard() == "HTTP/1.1 100 Continue\r\n\r\n");
  kit.Say("abc");
  CHECK(kit.asked == std::vector<std::string>{"/a 3"});
  kit.Answer("1");
  kit.Say(Request("POST", "/b", expect) + "abc");
  CHECK(kit.asked.size() == 2);
  kit.Answer("2");
  CHECK_THAT(kit.Heard(), !ContainsSubstring("100 Continue"));
  kit.Say(Request("POST", "/c", "Content-Length: 0\r\nExpect: 100-continue\r\n"));
  CHECK(kit.asked.back() == "/c 0");
}

TEST_CASE("server_connection: a reply to HEAD has no body") {
  Kit kit;
  kit.Say(Request("HEAD", "/a"));
  kit.Answer("12345");
  const std::string heard = kit.Heard();
  CHECK_THAT(heard, ContainsSubstring("Content-Length: 5\r\n"));
  CHECK(BodyOf(heard).empty());
  kit.Say(Request("HEAD", "/refused"));
  CHECK(BodyOf(kit.Heard()).empty());
}

TEST_CASE("server_connection: the connection goes on or ends as the request says") {
  struct Row {
    const char* request;
    bool goes_on;
  };
  const Row rows[] = {{"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", true},
                      {"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
                      {"GET /a HTTP/1.0\r\nHost: a\r\n\r\n", false},
                      {"GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", true}};
  for (const Row& row : rows) {
    INFO(row.request);
    Kit kit;
    kit.Say(row.request);
    kit.Answer("1");
    const std::string heard = kit.Heard();
    CHECK(BodyOf(heard) == "1");
    CHECK((heard.find("\r\nConnection: close\r\n") == std::string::npos) == row.goes_on);
    CHECK(kit.over == !row.goes_on);
  }
}

TEST_CASE("server_connection: what is no HTTP is told why, and nothing behind it is read") {
  struct Row {
    const char* status;
    std::string bytes;
  };
  const Row rows[] = {
      {"400", "nonsense\r\n\r\n"},
      {"431", "GET /a HTTP/1.1\r\nX: " + std::string(9000, 'x')},
      {"431", "GET /a HTTP/1.1\r\n" + dtm_test::Repeated("X: y\r\n", 65)},
      {"501", "POST /a HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"},
      {"505", "GET /a HTTP/2.0\r\n\r\n"},
      {"400", "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"},
  };
  for (const auto& [status, bytes] : rows) {
    INFO(bytes.substr(0, 60));
    Kit kit;
    kit.Say(bytes + Get("/hidden"));
    const std::string heard = kit.Heard();
    CHECK_THAT(heard, Catch::Matchers::StartsWith(std::string("HTTP/1.1 ") + status + " "));
    CHECK_THAT(heard, ContainsSubstring("this is not valid HTTP for a server: "));
    CHECK(kit.asked.empty());
    CHECK(kit.over);
  }
}

TEST_CASE("server_connection: who ends his side still gets his answers") {
  Kit kit;
  kit.Say(Get("/a") + Get("/b"));
  ::shutdown(kit.pair.peer, SHUT_WR);
  kit.Turn();
  kit.Answer("1");
  kit.Answer("2");
  CHECK(kit.asked.size() == 2);
  CHECK_THAT(kit.Heard(), ContainsSubstring("\r\n\r\n1") && ContainsSubstring("\r\n\r\n2"));
  CHECK(kit.over);
  CHECK(kit.connection == nullptr);
}

TEST_CASE("server_connection: who ends in the middle of a request leaves nothing behind") {
  const std::string request = Post("/a", "abcdef");
  for (std::size_t size = 0; size < request.size(); ++size) {
    INFO(size);
    Kit kit;
    if (size > 0) kit.Say(request.substr(0, size));
    ::shutdown(kit.pair.peer, SHUT_WR);
    kit.Turn();
    const std::string heard = kit.Heard();
    CHECK((heard.empty() || heard.compare(0, 13, "HTTP/1.1 400 ") == 0));
    CHECK(kit.asked.empty());
    CHECK(kit.connection == nullptr);
    CHECK(kit.held.Now() == 0);
  }
}

TEST_CASE("server_connection: who leaves while he is answered does no harm") {
  Kit kit;
  kit.Say(Get("/a") + Get("/b"));
  kit.pair.ClosePeer();
  kit.Turn();
  if (kit.connection != nullptr) kit.Answer(std::string(std::size_t{8} << 20, 'x'));
  kit.WaitForEnd();
  CHECK(kit.connection == nullptr);
}

TEST_CASE("server_connection: every wait has its limit, and a slow request is told") {
  struct Row {
    const char* name;
    std::chrono::milliseconds ServingLimits::*limit;
    std::string bytes;
    const char* told;
  };
  const Row rows[] = {
      {"idle", &ServingLimits::idle, "", ""},
      {"head", &ServingLimits::head, "GET /a", "HTTP/1.1 408 "},
      {"body", &ServingLimits::body, Request("POST", "/a", "Content-Length: 3\r\n") + "a",
       "HTTP/1.1 408 "},
      {"chunks", &ServingLimits::body,
       Request("POST", "/a", "Transfer-Encoding: chunked\r\n") + "5\r\na", "HTTP/1.1 408 "},
  };
  for (const Row& row : rows) {
    INFO(row.name);
    ServingLimits limits = Long();
    limits.*row.limit = Ms(20);
    limits.linger = Ms(20);
    Kit kit(limits);
    if (!row.bytes.empty()) kit.Say(row.bytes);
    kit.WaitForEnd();
    CHECK(kit.connection == nullptr);
    CHECK_THAT(kit.Heard(), Catch::Matchers::StartsWith(row.told));
    CHECK(kit.held.Now() == 0);
  }
}

TEST_CASE("server_connection: who does not read his reply is not waited for") {
  ServingLimits limits = Long();
  limits.reply = Ms(20);
  Kit kit(limits);
  kit.Say(Get("/a"));
  kit.Answer(std::string(std::size_t{8} << 20, 'x'));
  kit.WaitForEnd();
  CHECK(kit.connection == nullptr);
  kit.Turn();
  CHECK(kit.held.Now() == 0);
}

TEST_CASE("server_connection: who is being answered has no deadline") {
  ServingLimits limits = Long();
  limits.idle = limits.head = Ms(5);
  Kit kit(limits);
  kit.Say("GET /a");
  kit.Say(" HTTP/1.1\r\nHost: a\r\n\r\n");
  for (int i = 0; i < 10; ++i) kit.loop.Poll(Ms(5));
  CHECK(kit.asked.size() == 1);
  kit.Answer("late");
  CHECK(BodyOf(kit.Heard()) == "late");
}

TEST_CASE("server_connection: a server that is full says so, to who asks and to who is silent") {
  for (const bool asks : {true, false}) {
    CAPTURE(asks);
    ServingLimits limits = Long();
    limits.linger = Ms(20);
    Kit kit(limits, true);
    CHECK(kit.Heard().empty());
    if (asks) kit.Say(Post("/a", "xy"));
    kit.WaitForEnd();
    const std::string heard = kit.Heard();
    CHECK_THAT(heard, Catch::Matchers::StartsWith("HTTP/1.1 503 "));
    CHECK_THAT(heard, ContainsSubstring("\r\nRetry-After: 1\r\n") &&
                          ContainsSubstring("\r\nConnection: close\r\n"));
    CHECK(kit.asked.empty());
  }
}

TEST_CASE(
    "server_connection: without room in memory large requests are refused before small ones") {
  ServingLimits limits = Long();
  limits.bytes = 400000;
  std::size_t others = 0;
  Kit large(limits), small(limits), none(limits);
  for (Kit* kit : {&large, &small, &none}) {
    others = 0;
    kit->held.Change(others, kit == &none ? 400001 : 350000);
  }
  large.Say(Request("POST", "/a", "Content-Length: 100000\r\n"));
  CHECK_THAT(large.Heard(), Catch::Matchers::StartsWith("HTTP/1.1 503 "));
  CHECK(large.over);
  small.Say(Post("/a", "abc"));
  CHECK(small.asked.size() == 1);
  none.Say(Post("/a", "abc"));
  CHECK_THAT(none.Heard(), Catch::Matchers::StartsWith("HTTP/1.1 503 "));
}

TEST_CASE("server_connection: what comes slowly is counted as it comes") {
  Kit kit;
  kit.Say(Request("POST", "/a", "Content-Length: 1000000\r\n"));
  CHECK(kit.held.Now() < 5000);  // what is only announced costs nothing
  kit.Say(std::string(100000, 'x'));
  CHECK(kit.held.Now() >= 100000);
  CHECK(kit.held.Now() < 300000);
  kit.pair.ClosePeer();
  kit.WaitForEnd();
  CHECK(kit.held.Now() == 0);
}

TEST_CASE("server_connection: when the server stops, only who waits for a reply gets one") {
  Kit idle, half, asked;
  idle.connection->Finish();
  half.Say("GET /a");
  half.connection->Finish();
  asked.Say(Get("/a") + Get("/b"));
  asked.connection->Finish();
  for (Kit* kit : {&idle, &half, &asked}) kit->Turn();
  CHECK(idle.connection == nullptr);
  CHECK(half.connection == nullptr);
  REQUIRE(asked.connection != nullptr);
  asked.Answer("1");
  CHECK(asked.asked.size() == 1);
  const std::string heard = asked.Heard();
  CHECK_THAT(heard, ContainsSubstring("\r\nConnection: close\r\n"));
  CHECK(BodyOf(heard) == "1");
  asked.WaitForEnd();  // although the other side stays
  CHECK(asked.connection == nullptr);
}
