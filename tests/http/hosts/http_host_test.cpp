/// Requests to one host: connections that are kept, one that proves dead, addresses, deadlines, replies of all kinds.
#include <arpa/inet.h>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <fcntl.h>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include <dtm/http/hosts/http_host.hpp>
#include <dtm/http/http1/request_reply.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::hosts::HostParts;
using dtm::hosts::HttpCall;
using dtm::hosts::HttpHost;
using dtm::hosts::HttpOutcome;
using dtm::hosts::Resolver;
using dtm::transport::FoundAddresses;
using dtm::transport::IoLoop;
using dtm::transport::Moved;
using dtm::transport::Socket;
using dtm::transport::SocketAddress;
using dtm_test::Clock;
using dtm_test::Ms;
using dtm_test::RawServer;
using Kind = HttpOutcome::Kind;

namespace {

struct Told {
  HttpOutcome outcome;
  std::string retry_after;  ///< of the head, which is gone later
  std::size_t seen = 0;     ///< bytes of its body
  int may_send = 1000;      ///< so often, when it is asked
  int asked = 0;
  bool done = false;
};

struct Call final : HttpCall {
  explicit Call(Told& to) : told(to) {}
  void OnBody(std::string_view piece, std::size_t) override { told.seen += piece.size(); }
  bool MaySend() const override {
    ++told.asked;
    return told.asked <= told.may_send;
  }
  void OnDone(HttpOutcome outcome) override {
    if (outcome.head != nullptr) told.retry_after = outcome.head->Find("retry-after");
    told.outcome = std::move(outcome);
    told.outcome.head = nullptr;
    told.done = true;
  }
  Told& told;
};

/// A loop on the thread of the test, and a host.
struct Kit {
  explicit Kit(const std::string& url, Resolver::Lookup lookup = dtm::transport::LookUp)
      : resolver(loop, std::move(lookup)),
        host(std::make_unique<HttpHost>(parts, dtm::ParseUrl(url))) {}
  ~Kit() { resolver.Stop(); }

  std::unique_ptr<Call> Post(Told& told, Ms timeout = Ms(5000), const std::string& body = "{}") {
    auto call = std::make_unique<Call>(told);
    dtm::http1::HttpRequest request;
    request.method = "POST";
    request.target = "/x";
    request.headers = {{"Host", "h"}};
    request.body = body;
    call->request = dtm::http1::RequestText(request);
    call->deadline = Clock::now() + timeout;
    return call;
  }
  template <typename Until>
  void Turn(const Until& until, Ms limit = Ms(8000)) {
    const auto end = Clock::now() + limit;
    while (!until() && Clock::now() < end) loop.Poll(Ms(20));
  }
  void Pass(Ms time) {
    const auto end = Clock::now() + time;
    Turn([&] { return Clock::now() >= end; });
  }
  HttpOutcome Ask(Ms timeout = Ms(5000), int may_send = 1000) {
    Told told;
    told.may_send = may_send;
    host->Send(Post(told, timeout));
    Turn([&] { return told.done; });
    REQUIRE(told.done);
    CHECK(parts.held.Now() == 0);
    CHECK(host->Bytes() == 0);
    return told.outcome;
  }

  IoLoop loop;
  Resolver resolver;
  HostParts parts{loop, resolver};
  std::unique_ptr<HttpHost> host;
};

std::function<void(int, int)> Saying(const std::string& bytes) {
  return [bytes](int fd, int) {
    RawServer::ReadRequest(fd);
    RawServer::Write(fd, bytes);
  };
}
std::function<void(int, int)> Answering() {
  return [](int fd, int) {
    for (int n = 0; !RawServer::ReadRequest(fd).empty(); ++n)
      RawServer::Write(fd, RawServer::Ok("answer " + std::to_string(n)));
  };
}

/// Says whatever comes that this name has these addresses.
Resolver::Lookup Always(const std::vector<std::string>& figures,
                        std::atomic<int>* count = nullptr) {
  return [figures, count](const std::string&, int port) {
    FoundAddresses found;
    for (const std::string& one : figures) {
      SocketAddress address;
      (void)SocketAddress::FromFigures(one, port, address);
      found.addresses.push_back(address);
    }
    if (count != nullptr) ++*count;
    return found;
  };
}

/// Takes its time to agree, and then hides nothing.
struct SlowTls final : dtm::TlsClient {
  struct Session final : dtm::transport::TlsSession {
    explicit Session(int socket) : fd(socket) {}
    Moved Handshake() override {
      std::this_thread::sleep_for(Ms(150));
      return Moved::Some(0);
    }
    Moved Receive(char* to, std::size_t size) override {
      return dtm::transport::ReceiveSome(fd, to, size);
    }
    Moved Send(const char* from, std::size_t size) override {
      return dtm::transport::SendSome(fd, from, size);
    }
    std::string Problem() const override { return ""; }
    int fd;
  };
  std::unique_ptr<dtm::transport::TlsSession> Connect(int fd, const std::string&) override {
    return std::make_unique<Session>(fd);
  }
};

int PortOf(const RawServer& server) { return dtm::ParseUrl(server.Url()).port; }

/// Takes no connection: what comes waits in vain, as behind a firewall that swallows packets.
struct Swallowing {
  Swallowing(const char* address, int port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<std::uint16_t>(port));
    ::inet_pton(AF_INET, address, &at.sin_addr);
    listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    REQUIRE(::listen(listener, 0) == 0);
    for (int i = 0; i < 4; ++i) {  // fill its queue
      fillers.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      (void)::connect(fillers.back(), reinterpret_cast<sockaddr*>(&at), sizeof at);
    }
  }
  ~Swallowing() {
    for (const int fd : fillers) ::close(fd);
    ::close(listener);
  }
  Swallowing(const Swallowing&) = delete;
  Swallowing& operator=(const Swallowing&) = delete;
  int listener = -1;
  std::vector<int> fillers;
};

}  // namespace

TEST_CASE("http_host: requests share a connection, replies come back whole") {
  RawServer server(Answering());
  Kit kit(server.Url());
  for (int n = 0; n < 3; ++n) {
    const HttpOutcome outcome = kit.Ask();
    CHECK(outcome.kind == Kind::kReply);
    CHECK(outcome.status == 200);
    CHECK(outcome.body == "answer " + std::to_string(n));
  }
  CHECK(server.Connections() == 1);
  CHECK(kit.host->Idle() == 1);
  CHECK(kit.parts.idle == 1);
}

TEST_CASE("http_host: at the same time they have each their own, and rest afterwards") {
  RawServer server(Answering());
  Kit kit(server.Url());
  std::vector<Told> told(5);
  for (Told& one : told) kit.host->Send(kit.Post(one));
  kit.Turn(
      [&] { return std::all_of(told.begin(), told.end(), [](const Told& t) { return t.done; }); });
  for (const Told& one : told) CHECK(one.outcome.kind == Kind::kReply);
  CHECK(server.Connections() == 5);
  CHECK(kit.host->Idle() == 5);
  CHECK(kit.host->Connections() == 5);
}

TEST_CASE("http_host: a connection rests no longer than it may, and no more of them than may") {
  RawServer server(Answering());
  Kit kit(server.Url());
  kit.parts.keep_idle = Ms(50);
  kit.parts.max_idle = 1;
  std::vector<Told> told(3);
  for (Told& one : told) kit.host->Send(kit.Post(one));
  kit.Turn(
      [&] { return std::all_of(told.begin(), told.end(), [](const Told& t) { return t.done; }); });
  CHECK(kit.host->Idle() == 1);
  kit.Turn([&] { return kit.host->Connections() == 0; });
  CHECK(kit.host->Connections() == 0);
  CHECK(kit.parts.idle == 0);
  server.AwaitClosed(3);
}

TEST_CASE("http_host: what was closed while it rested is replaced, and the request sent once") {
  std::atomic<int> requests{0};
  RawServer server([&](int fd, int) {
    if (RawServer::ReadRequest(fd).empty()) return;
    ++requests;
    RawServer::Write(fd, RawServer::Ok());
  });
  Kit kit(server.Url());
  CHECK(kit.Ask().kind == Kind::kReply);
  server.AwaitClosed(1);
  CHECK(kit.Ask().kind == Kind::kReply);  // whether the loop has noticed yet or not
  CHECK(requests == 2);
  CHECK(server.Connections() == 2);
}

TEST_CASE(
    "http_host: a kept connection that ends without a byte of a reply is repeated once, on a fresh "
    "one") {
  std::atomic<int> requests{0};
  SECTION("and that is answered") {
    RawServer server([&](int fd, int n) {
      for (int i = 0; !RawServer::ReadRequest(fd).empty(); ++i) {
        ++requests;
        if (n == 0 && i == 1) return RawServer::Reset(fd);
        RawServer::Write(fd, RawServer::Ok());
      }
    });
    Kit kit(server.Url());
    CHECK(kit.Ask().kind == Kind::kReply);
    CHECK(kit.Ask().kind == Kind::kReply);
    CHECK(requests == 3);
    CHECK(server.Connections() == 2);
  }
  SECTION("but not twice") {
    RawServer server([&](int fd, int n) {
      for (int i = 0; !RawServer::ReadRequest(fd).empty(); ++i) {
        ++requests;
        if (n > 0 || i == 1) return;
        RawServer::Write(fd, RawServer::Ok());
      }
    });
    Kit kit(server.Url());
    CHECK(kit.Ask().kind == Kind::kReply);
    const HttpOutcome outcome = kit.Ask();
    CHECK(outcome.kind == Kind::kNoReply);
    CHECK_THAT(outcome.problem,
               ContainsSubstring("closed the connection without a valid HTTP answer"));
    CHECK(requests == 3);
  }
  SECTION("and not after the first byte") {
    RawServer server([&](int fd, int) {
      for (int i = 0; !RawServer::ReadRequest(fd).empty(); ++i) {
        ++requests;
        RawServer::Write(fd, i == 0 ? RawServer::Ok() : "H");
        if (i == 1) return;
      }
    });
    Kit kit(server.Url());
    CHECK(kit.Ask().kind == Kind::kReply);
    CHECK(kit.Ask().kind == Kind::kNoReply);
    CHECK(requests == 2);
  }
}

TEST_CASE("http_host: bytes that nobody asked for end a connection that rests") {
  RawServer server([](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty())
      RawServer::Write(fd, RawServer::Ok() + RawServer::Ok("FAILURE"));
  });
  Kit kit(server.Url());
  for (int i = 0; i < 3; ++i) {
    CHECK(kit.Ask().body.empty());
    kit.Pass(Ms(20));
  }
  CHECK(server.Connections() == 3);
}

TEST_CASE("http_host: how a request can end") {
  struct Row {
    std::string bytes;
    Kind kind;
    int status;
    const char* problem;
  };
  const std::string length = "Content-Length: 10\r\n\r\n";
  const std::vector<Row> rows = {
      {"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 409 No\r\n" + length + "0123456789",
       Kind::kReply, 409, ""},
      {"HTTP/1.0 200 OK\r\n\r\nto the end", Kind::kReply, 200, ""},
      {"", Kind::kNoReply, 0, "closed the connection without a valid HTTP answer"},
      {"HTTP/1.1 200 OK\r\nConte", Kind::kNoReply, 0,
       "closed the connection without a valid HTTP answer"},
      {"HTTP/1.1 103 Hints\r\n\r\n", Kind::kNoReply, 0,
       "closed the connection without a valid HTTP answer"},
      {"garbage\r\n\r\n", Kind::kInvalid, 0,
       "ended without a valid HTTP answer: its first line is no status"},
      {"HTTP/1.1 409 No\r\n" + length + "short", Kind::kBrokeOff, 409, "broke off its answer"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n", Kind::kBrokeOff, 200,
       "the size of a chunk"},
      {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + length + "0123456789", Kind::kReply, 200,
       ""},
  };
  for (const Row& row : rows) {
    CAPTURE(row.bytes);
    RawServer server(Saying(row.bytes));
    Kit kit(server.Url());
    const HttpOutcome outcome = kit.Ask();
    CHECK(outcome.kind == row.kind);
    CHECK(outcome.status == row.status);
    CHECK_THAT(outcome.problem, ContainsSubstring(row.problem));
    CHECK(outcome.encoded == (row.bytes.find("gzip") != std::string::npos));
  }
}

TEST_CASE("http_host: of a long body a part is kept, the rest seen; one without end is cut off") {
  std::size_t size = 300000;
  RawServer server([&](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty())
      RawServer::Write(fd, RawServer::Ok(std::string(size, 'x')));
  });
  Kit kit(server.Url());
  const auto ask = [&](std::size_t keep, std::size_t max) {
    Told told;
    auto call = kit.Post(told);
    call->keep_body = keep;
    call->max_body = max;
    kit.host->Send(std::move(call));
    kit.Turn([&] { return told.done; });
    return told;
  };
  Told told = ask(1000, 300000);
  CHECK(told.outcome.kind == Kind::kReply);
  CHECK(told.outcome.body.size() == 1000);
  CHECK(told.outcome.cut);
  CHECK(told.seen == 300000);
  CHECK(kit.host->Idle() == 1);
  told = ask(300000, 300000);
  CHECK(told.outcome.body.size() == 300000);
  CHECK_FALSE(told.outcome.cut);
  told = ask(1000, 299999);
  CHECK(told.outcome.kind == Kind::kTooLong);
  CHECK(told.outcome.status == 200);
  CHECK(told.seen == 0);  // its length said so
  CHECK(kit.host->Connections() == 0);

  RawServer endless([](int fd, int) {
    RawServer::ReadRequest(fd);
    RawServer::Write(fd, "HTTP/1.1 200 OK\r\n\r\n");
    while (RawServer::Write(fd, std::string(65536, 'x'))) continue;
  });
  Kit other(endless.Url());
  CHECK(other.Ask().kind == Kind::kTooLong);
}

TEST_CASE("http_host: a large request is sent to its end") {
  std::size_t got = 0;
  RawServer server([&](int fd, int) {
    got = RawServer::ReadRequest(fd).size();
    RawServer::Write(fd, RawServer::Ok());
  });
  Kit kit(server.Url());
  Told told;
  kit.host->Send(kit.Post(told, Ms(8000), std::string(8000000, 'x')));
  kit.Turn([&] { return told.done; });
  CHECK(told.outcome.kind == Kind::kReply);
  CHECK(got > 8000000);
}

TEST_CASE("http_host: what a call holds is counted until it ends, and its host knows") {
  RawServer silent([](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) continue;
  });
  Kit kit(silent.Url());
  Told told;
  kit.host->Send(kit.Post(told, Ms(300), std::string(100000, 'x')));
  kit.Pass(Ms(50));
  CHECK(kit.parts.held.Now() >= 100000);
  CHECK(kit.parts.held.Now() == kit.host->Bytes());
  kit.Turn([&] { return told.done; });
  CHECK(kit.parts.held.Now() == 0);
  Told abandoned;
  kit.host->Send(kit.Post(abandoned, Ms(5000), std::string(100000, 'x')));
  kit.Pass(Ms(20));
  kit.host.reset();
  CHECK(kit.parts.held.Now() == 0);
}

TEST_CASE("http_host: what is kept of a reply is counted as long as it is") {
  std::atomic<bool> more{false};
  RawServer server([&](int fd, int) {
    RawServer::ReadRequest(fd);
    RawServer::Write(fd, "HTTP/1.1 200 OK\r\nX: " + std::string(10000, 'x') +
                             "\r\nContent-Length: 50000\r\n\r\n" + std::string(40000, 'x'));
    while (!more && !RawServer::ReadRequest(fd).empty()) continue;
    RawServer::Write(fd, std::string(10000, 'x'));
  });
  Kit kit(server.Url());
  Told told;
  kit.host->Send(kit.Post(told));
  kit.Turn([&] { return told.seen == 40000; });
  CHECK(kit.parts.held.Now() >= 50000);
  CHECK(kit.host->Bytes() == kit.parts.held.Now());
  kit.host.reset();
  CHECK(kit.parts.held.Now() == 0);
  CHECK(kit.parts.held.TakeFreed());
  more = true;
}

TEST_CASE("http_host: without room in memory nothing is kept of a large reply, but all is seen") {
  const std::string large(20000, 'x');
  const std::string head = "HTTP/1.1 200 OK\r\nX: " + large + "\r\nContent-Length: 0\r\n\r\n";
  for (const std::string& bytes : {RawServer::Ok(large), head}) {
    RawServer server(Saying(bytes));
    Kit kit(server.Url());
    std::size_t others = 0;
    kit.parts.held.Change(others, std::size_t{49} << 20);
    Told told;
    kit.host->Send(kit.Post(told));
    kit.Turn([&] { return told.done; });
    if (bytes == head) {
      CHECK(told.outcome.kind == Kind::kBrokeOff);
      CHECK_THAT(told.outcome.problem, ContainsSubstring("memory"));
    } else {
      CHECK(told.outcome.kind == Kind::kReply);
      CHECK((told.outcome.crowded && told.outcome.cut));
      CHECK(told.outcome.body.size() <= dtm::transport::HeldBytes::kSmall);
      CHECK(told.seen == large.size());
    }
    CHECK(kit.host->Bytes() == 0);
    kit.parts.held.Change(others, 0);
    CHECK_FALSE(kit.Ask().crowded);
  }
  RawServer server(Saying(RawServer::Ok("small")));
  Kit kit(server.Url());
  std::size_t others = 0;
  kit.parts.held.Change(others, std::size_t{49} << 20);
  Told told;
  kit.host->Send(kit.Post(told));
  kit.Turn([&] { return told.done; });
  CHECK(told.outcome.body == "small");
}

TEST_CASE("http_host: what is told may throw, and the next call is sent all the same") {
  struct Throwing final : HttpCall {
    void OnDone(HttpOutcome) override { throw std::runtime_error("from above"); }
  };
  RawServer server(Answering());
  Kit kit(server.Url());
  for (const Ms timeout : {Ms(5000), Ms(-1)}) {
    Told told;
    auto call = std::make_unique<Throwing>();
    const std::unique_ptr<Call> like = kit.Post(told, timeout);
    call->request = like->request;
    call->deadline = like->deadline;
    kit.host->Send(std::move(call));
    kit.Pass(Ms(50));
    CHECK(kit.Ask().kind == Kind::kReply);
  }
}

/// A copy of the socket that goes to this port, as a forked child would have one.
struct Copied {
  explicit Copied(int server_port) : port(server_port) {}
  ~Copied() { ::close(copy); }
  void Take() {
    for (int fd = 3; fd < 1024 && copy < 0; ++fd) {
      sockaddr_in peer{};
      socklen_t size = sizeof peer;
      const bool goes = ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0;
      if (goes && ntohs(peer.sin_port) == port) copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    }
  }
  /// The loop would be told of something.
  static bool Ready(const IoLoop& loop) {
    pollfd one{loop.Fd(), POLLIN, 0};
    return ::poll(&one, 1, 100) > 0;
  }
  const int port;
  int copy = -1;
};

TEST_CASE("http_host: a socket that a child has too is not told of once it was given up") {
  RawServer server([](int fd, int) {
    RawServer::Write(fd, "bytes that nobody waits for");
    while (!RawServer::ReadRequest(fd).empty()) continue;
  });
  SocketAddress address;
  REQUIRE(SocketAddress::FromFigures("127.0.0.1", PortOf(server), address));
  {
    IoLoop loop;
    dtm::hosts::Connector connector(loop);
    Copied child(PortOf(server));
    connector.Start({address}, Clock::now() + Ms(5000), [](Socket, const std::string&) {});
    child.Take();
    REQUIRE(child.copy >= 0);
    connector.Cancel();
    loop.Poll(Ms(0));
    CHECK_FALSE(Copied::Ready(loop));
  }
  /// It cannot begin.
  struct NoTls final : dtm::TlsClient {
    std::unique_ptr<dtm::transport::TlsSession> Connect(int fd, const std::string&) override {
      copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
      throw dtm::Error("no session");
    }
    int copy = -1;
  } tls;
  Kit kit("https://127.0.0.1:" + std::to_string(PortOf(server)) + "/x");
  kit.parts.tls = &tls;
  CHECK_THAT(kit.Ask().problem, ContainsSubstring("no session"));
  kit.loop.Poll(Ms(0));
  REQUIRE(tls.copy >= 0);
  CHECK_FALSE(Copied::Ready(kit.loop));
  ::close(tls.copy);
}

TEST_CASE("http_host: a reply counts although its sender did not read everything") {
  RawServer server([](int fd, int) {
    char some[100];
    (void)::recv(fd, some, sizeof some, 0);
    RawServer::Write(fd, "HTTP/1.1 413 x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
    ::shutdown(fd, SHUT_WR);
    char rest[65536];
    for (int i = 0; i < 3; ++i) (void)::recv(fd, rest, sizeof rest, 0);
  });
  Kit kit(server.Url());
  Told told;
  kit.host->Send(kit.Post(told, Ms(8000), std::string(8000000, 'x')));
  kit.Turn([&] { return told.done; });
  CHECK(told.outcome.status == 413);
  CHECK(told.outcome.body == "no");
}

TEST_CASE("http_host: the deadline holds, whatever the other side does") {
  const auto drip = [](const std::string& head) {
    return [head](int fd, int) {
      RawServer::ReadRequest(fd);
      RawServer::Write(fd, head);
      while (RawServer::Write(fd, "x")) std::this_thread::sleep_for(Ms(5));
    };
  };
  for (const char* head : {"", "HTTP/1.1 200 ", "HTTP/1.1 200 OK\r\nX-A: ",
                           "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"}) {
    CAPTURE(head);
    RawServer server(drip(head));
    Kit kit(server.Url());
    const auto start = Clock::now();
    const HttpOutcome outcome = kit.Ask(Ms(100));
    CHECK((outcome.kind == Kind::kLate || (*head == 0 && outcome.kind == Kind::kInvalid)));
    CHECK(Clock::now() - start < Ms(2000));
    if (outcome.kind == Kind::kLate) CHECK(Clock::now() - start >= Ms(99));
    CHECK(kit.host->Connections() == 0);
  }
}

TEST_CASE("http_host: after its deadline nothing is sent") {
  RawServer server(Answering());
  Kit kit(server.Url());
  CHECK(kit.Ask(Ms(0)).kind == Kind::kLate);
  CHECK(server.Connections() == 0);
  CHECK(kit.Ask().body == "answer 0");
  CHECK(kit.Ask(Ms(0)).kind == Kind::kLate);
  kit.Pass(Ms(20));
  CHECK(kit.Ask().body == "answer 0");  // that one ended with the late call
  // A name that is found later.
  std::promise<void> late;
  Kit slow("http://slow.test:" + std::to_string(PortOf(server)),
           [&late](const std::string&, int port) {
             late.get_future().wait();
             return Always({"127.0.0.1"})("", port);
           });
  const int before = server.Connections();
  CHECK(slow.Ask(Ms(50)).kind == Kind::kLate);
  late.set_value();
  slow.Pass(Ms(50));
  CHECK(server.Connections() == before);
}

TEST_CASE("http_host: TLS that is agreed on after the deadline sends nothing either") {
  std::atomic<int> requests{0};
  RawServer server([&](int fd, int) {
    if (!RawServer::ReadRequest(fd).empty()) ++requests;
    RawServer::Write(fd, RawServer::Ok());
  });
  SlowTls tls;
  Kit kit("https://127.0.0.1:" + std::to_string(PortOf(server)));
  kit.parts.tls = &tls;
  CHECK(kit.Ask(Ms(100)).kind == Kind::kLate);
  server.AwaitClosed(1);
  CHECK(requests == 0);
  CHECK(kit.Ask(Ms(5000)).kind == Kind::kReply);
  CHECK(requests == 1);
}

TEST_CASE("http_host: what may not be sent any more is not, whenever that begins") {
  std::atomic<int> requests{0};
  RawServer server([&](int fd, int n) {
    for (int i = 0; !RawServer::ReadRequest(fd).empty(); ++i) {
      ++requests;
      if (n > 0 && i == 1) return RawServer::Reset(fd);
      RawServer::Write(fd, RawServer::Ok());
    }
  });
  Kit kit(server.Url());
  CHECK(kit.Ask(Ms(5000), 0).kind == Kind::kNotAllowed);  // before there is a connection
  CHECK(server.Connections() == 0);
  CHECK(kit.Ask(Ms(5000), 1).kind == Kind::kNotAllowed);  // once there is one
  server.AwaitClosed(1);
  CHECK(requests == 0);
  CHECK(kit.Ask().kind == Kind::kReply);
  REQUIRE(kit.host->Idle() == 1);
  // What was sent and lost may have arrived, so it is not called unsent.
  const HttpOutcome lost = kit.Ask(Ms(5000), 1);
  CHECK(lost.kind == Kind::kNoReply);
  CHECK_THAT(lost.problem, ContainsSubstring("closed the connection"));
  CHECK(requests == 2);
  CHECK(kit.Ask().kind == Kind::kReply);
  REQUIRE(kit.host->Idle() == 1);
  CHECK(kit.Ask(Ms(5000), 2).kind == Kind::kNoReply);  // on the fresh connection
  CHECK(requests == 4);
  CHECK(kit.Ask().kind == Kind::kReply);
  REQUIRE(kit.host->Idle() == 1);
  CHECK(kit.Ask(Ms(5000), 0).kind == Kind::kNotAllowed);  // on one that rested
  CHECK(requests == 5);
}

TEST_CASE("http_host: what may not be sent once TLS is agreed on is not") {
  std::atomic<int> requests{0};
  RawServer server([&](int fd, int) {
    if (!RawServer::ReadRequest(fd).empty()) ++requests;
  });
  SlowTls tls;
  Kit kit("https://127.0.0.1:" + std::to_string(PortOf(server)));
  kit.parts.tls = &tls;
  CHECK(kit.Ask(Ms(5000), 2).kind == Kind::kNotAllowed);
  server.AwaitClosed(1);
  CHECK(requests == 0);
}

TEST_CASE("http_host: nobody listens, the name is unknown, or it has no address") {
  std::string url;
  {
    RawServer server([](int, int) {});
    url = server.Url();
  }
  Kit closed(url);
  HttpOutcome outcome = closed.Ask();
  CHECK(outcome.kind == Kind::kNotReached);
  CHECK(outcome.problem == "cannot be reached: nothing listens there");
  Kit unknown("http://no-such-host.invalid/x");
  outcome = unknown.Ask();
  CHECK(outcome.kind == Kind::kNotReached);
  CHECK_THAT(outcome.problem, ContainsSubstring("cannot be reached: its name is unknown"));
  Kit failing("http://x.test",
              [](const std::string&, int) -> FoundAddresses { throw std::runtime_error("boom"); });
  CHECK_THAT(failing.Ask().problem, ContainsSubstring("boom"));
}

TEST_CASE("http_host: the first of several addresses that takes a connection serves") {
  RawServer server(Answering());
  const int port = PortOf(server);
  const std::string url = "http://several.test:" + std::to_string(port);
  SECTION("after one where nobody listens, at once") {
    Kit kit(url, Always({"127.0.0.2", "127.0.0.3", "127.0.0.1"}));
    const auto start = Clock::now();
    CHECK(kit.Ask().kind == Kind::kReply);
    CHECK(Clock::now() - start < Ms(1000));
  }
  SECTION("after one that swallows packets, within the deadline of the call") {
    const Swallowing swallowing("127.0.0.2", port);
    Kit kit(url, Always({"127.0.0.2", "127.0.0.1"}));
    CHECK(kit.Ask(Ms(2000)).kind == Kind::kReply);
    Kit hurried(url, Always({"127.0.0.2", "127.0.0.1"}));
    CHECK(hurried.Ask(Ms(300)).kind == Kind::kReply);
  }
  SECTION("and if none does, the deadline holds") {
    const Swallowing swallowing("127.0.0.2", port);
    Kit kit(url, Always({"127.0.0.2"}));
    const auto start = Clock::now();
    CHECK(kit.Ask(Ms(200)).kind == Kind::kLate);
    CHECK(Clock::now() - start < Ms(1500));
  }
}

TEST_CASE("http_host: IPv6, by its figures and by a name that has both kinds of addresses") {
  RawServer server(Answering(), true);
  if (!server.Listens()) return;
  CHECK(Kit(server.Url()).Ask().kind == Kind::kReply);
  const std::string url = "http://both.test:" + std::to_string(PortOf(server));
  Kit after_v4(url, Always({"127.0.0.2", "::1"}));
  CHECK(after_v4.Ask().kind == Kind::kReply);
  RawServer v4(Answering());
  Kit after_v6("http://both.test:" + std::to_string(PortOf(v4)), Always({"::1", "127.0.0.1"}));
  CHECK(after_v6.Ask().kind == Kind::kReply);
}

TEST_CASE("http_host: a name is asked for once for all who wait, and again later") {
  RawServer server(Answering());
  std::atomic<int> count{0};
  Kit kit("http://a.test:" + std::to_string(PortOf(server)), Always({"127.0.0.1"}, &count));
  std::vector<Told> told(5);
  for (Told& one : told) kit.host->Send(kit.Post(one));
  kit.Turn(
      [&] { return std::all_of(told.begin(), told.end(), [](const Told& t) { return t.done; }); });
  CHECK(count == 1);
  kit.parts.keep_idle = Ms(1);
  CHECK(kit.Ask().kind == Kind::kReply);
  kit.Pass(Ms(1100));
  kit.host = std::make_unique<HttpHost>(kit.parts, kit.host->Where());
  CHECK(kit.Ask().kind == Kind::kReply);
  CHECK(count == 2);
}

TEST_CASE("http_host: localhost is the loopback, without asking anybody") {
  RawServer server(Answering());
  Kit kit("http://localhost:" + std::to_string(PortOf(server)),
          [](const std::string&, int) -> FoundAddresses { throw std::runtime_error("asked"); });
  CHECK(kit.Ask().kind == Kind::kReply);
}

TEST_CASE("http_host: a host that goes answers nothing any more, also if its name is found later") {
  RawServer silent([](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) continue;
  });
  Told told, resolving;
  std::promise<void> late;
  Kit kit(silent.Url());
  kit.host->Send(kit.Post(told));
  kit.Pass(Ms(20));
  kit.host.reset();
  Kit slow("http://slow.test:" + std::to_string(PortOf(silent)),
           [&late](const std::string&, int port) {
             late.get_future().wait();
             return Always({"127.0.0.1"})("", port);
           });
  slow.host->Send(slow.Post(resolving));
  slow.Pass(Ms(5));
  slow.host.reset();
  late.set_value();
  slow.Pass(Ms(50));
  kit.Pass(Ms(20));
  CHECK_FALSE(told.done);
  CHECK_FALSE(resolving.done);
}

TEST_CASE("http_host: https without TLS is said in words") {
  RawServer server(Answering());
  Kit kit("https://127.0.0.1:" + std::to_string(PortOf(server)));
  CHECK_THAT(kit.Ask().problem, ContainsSubstring("without TLS"));
}

TEST_CASE("http_host: kinds of addresses take turns") {
  std::vector<SocketAddress> addresses;
  for (const char* figures : {"::1", "::2", "::3", "1.1.1.1", "1.1.1.2"}) {
    SocketAddress address;
    REQUIRE(SocketAddress::FromFigures(figures, 80, address));
    addresses.push_back(address);
  }
  dtm::transport::TakeTurns(addresses);
  std::string text;
  for (const SocketAddress& address : addresses) text += address.Text() + " ";
  CHECK(text == "[::1]:80 1.1.1.1:80 [::2]:80 1.1.1.2:80 [::3]:80 ");
}
