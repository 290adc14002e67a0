/// One connection on the loop: bytes in and out, back-pressure, ends of all kinds, deadlines.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <string>

#include "tests/catch.hpp"
#include "tests/http/socket_pair.hpp"
#include <dtm/http/transport/socket_connection.hpp>

using dtm::transport::IoLoop;
using dtm::transport::Moved;
using dtm::transport::Socket;
using dtm::transport::SocketConnection;
using dtm::transport::TlsSession;
using dtm_test::SocketPair;
using Clock = std::chrono::steady_clock;
using Ms = std::chrono::milliseconds;

namespace {

struct Talking final : SocketConnection {
  explicit Talking(IoLoop& loop) : SocketConnection(loop) {}
  void OnSecure() override { text += "[secure]"; }
  void OnBytes(std::string_view bytes) override {
    text += bytes;
    if (on_bytes) on_bytes();
  }
  void OnSent() override { text += "[sent]"; }
  void OnEnd(bool broken) override { text += broken ? "[broken]" : "[end]"; }
  void OnDeadline() override { text += "[late]"; }
  void OnNoMemory() override { Close(); }
  using SocketConnection::Open;
  using SocketConnection::PauseReading;
  using SocketConnection::ResumeReading;
  using SocketConnection::SetDeadline;
  using SocketConnection::TlsProblem;
  using SocketConnection::Unsent;
  using SocketConnection::Write;
  std::string text;
  std::function<void()> on_bytes;
};

struct Kit {
  Kit() {
    REQUIRE(talking.Open(Socket(pair.Give()), nullptr));
    Turn();
  }
  void Turn() {
    for (int i = 0; i < 3; ++i) loop.Poll(Ms(0));
  }
  SocketPair pair;
  IoLoop loop;
  Talking talking{loop};
};

/// Encrypts nothing, but waits where TLS would: each call waits once before it works.
struct Halting final : TlsSession {
  explicit Halting(int socket, bool good) : fd(socket), agrees(good) {}
  bool Waits() { return (waits = !waits); }
  Moved Handshake() override {
    if (Waits()) return {Moved::Kind::kWait, 0};
    return agrees ? Moved::Some(0) : Moved{Moved::Kind::kBroken, 0};
  }
  Moved Receive(char* to, std::size_t size) override {
    return dtm::transport::ReceiveSome(fd, to, (std::min)(size, std::size_t{3}));
  }
  Moved Send(const char* from, std::size_t size) override {
    return dtm::transport::SendSome(fd, from, (std::min)(size, std::size_t{2}));
  }
  std::string Problem() const override { return agrees ? "" : "no trust"; }
  int fd;
  bool agrees;
  bool waits = false;
};

}  // namespace

TEST_CASE("socket_connection: bytes go both ways") {
  Kit kit;
  kit.talking.Write("hello");
  CHECK(kit.pair.Heard() == "hello");
  CHECK(kit.talking.Unsent() == 0);
  kit.pair.Say("you");
  kit.Turn();
  CHECK(kit.talking.text == "you");
  kit.pair.Say(std::string(200000, 'x'));
  kit.Turn();
  CHECK(kit.talking.text.size() > 100000);
}

TEST_CASE("socket_connection: what does not fit leaves when there is room") {
  Kit kit;
  const std::string much(4000000, 'x');
  kit.talking.Write(much);
  CHECK(kit.talking.Unsent() > 0);
  kit.talking.Write("end");
  std::string heard;
  for (int i = 0; i < 1000 && kit.talking.text.empty(); ++i) {
    heard += kit.pair.Heard();
    kit.Turn();
  }
  heard += kit.pair.Heard();
  CHECK(kit.talking.text == "[sent]");
  CHECK(kit.talking.Unsent() == 0);
  CHECK(heard.size() == much.size() + 3);
  CHECK(heard.substr(much.size()) == "end");
}

TEST_CASE("socket_connection: who is paused takes nothing, and loses nothing") {
  Kit kit;
  kit.talking.on_bytes = [&] { kit.talking.PauseReading(); };
  kit.pair.Say("first");
  kit.Turn();
  kit.pair.Say("second");
  kit.pair.ClosePeer();
  kit.Turn();
  CHECK(kit.talking.text == "first");
  kit.talking.on_bytes = nullptr;
  kit.talking.ResumeReading();
  CHECK(kit.talking.text == "firstsecond[end]");
  kit.Turn();
  CHECK(kit.talking.text == "firstsecond[end]");
}

TEST_CASE("socket_connection: bytes before an end count, also when nothing can be sent any more") {
  Kit kit;
  kit.pair.Say("answer");
  kit.pair.ClosePeer();
  kit.talking.Write(std::string(1000000, 'x'));
  kit.Turn();
  CHECK(kit.talking.text == "answer[broken]");
}

TEST_CASE("socket_connection: after Close nothing is told") {
  Kit kit;
  kit.talking.on_bytes = [&] { kit.talking.Close(); };
  kit.pair.Say(std::string(150000, 'x'));
  kit.pair.ClosePeer();
  kit.Turn();
  CHECK(kit.talking.text.size() <= IoLoop::kBuffer);
  CHECK(kit.talking.text.find('[') == std::string::npos);
  CHECK_FALSE(kit.talking.IsOpen());
  kit.talking.Write("x");
  kit.talking.Close();
}

TEST_CASE("socket_connection: a deadline comes once, and not after Close") {
  Kit kit;
  kit.talking.SetDeadline(Clock::now() + Ms(5));
  while (kit.talking.text.empty()) kit.loop.Poll(Ms(1000));
  kit.Turn();
  CHECK(kit.talking.text == "[late]");
  kit.talking.SetDeadline(Clock::now() + Ms(1));
  kit.talking.Close();
  for (const auto end = Clock::now() + Ms(5); Clock::now() < end;) kit.loop.Poll(Ms(1));
  CHECK(kit.talking.text == "[late]");
}

TEST_CASE("socket_connection: TLS is agreed on before anything is sent or read") {
  SocketPair pair;
  IoLoop loop;
  Talking talking(loop);
  const int fd = pair.Give();
  REQUIRE(talking.Open(Socket(fd), std::make_unique<Halting>(fd, true)));
  talking.Write("hello");
  CHECK(pair.Heard().empty());
  loop.Poll(Ms(0));
  CHECK(talking.text.empty());
  pair.Say("answer");
  loop.Poll(Ms(100));
  CHECK(pair.Heard() == "hello");
  CHECK(talking.text == "[secure]answer");
}

TEST_CASE("socket_connection: TLS that is not agreed on breaks the connection, in words") {
  SocketPair pair;
  IoLoop loop;
  Talking talking(loop);
  const int fd = pair.Give();
  REQUIRE(talking.Open(Socket(fd), std::make_unique<Halting>(fd, false)));
  talking.Write("hello");
  loop.Poll(Ms(0));
  pair.Say("x");
  loop.Poll(Ms(100));
  CHECK(talking.text == "[broken]");
  CHECK(talking.TlsProblem() == "no trust");
  CHECK(pair.Heard().empty());
}
