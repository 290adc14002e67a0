/// The bytes of a connection to our server: which deadline holds when, how many headers may come,
/// and whether the answer ends the connection.
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/socket_pair.hpp"
#include <dtm/http/httplib/server_stream.hpp>

using dtm::guard::ServerLimits;
using dtm::guard::ServerStream;
using dtm_test::SocketPair;
using Seconds = std::chrono::seconds;

namespace {

/// A limit of zero has passed by the time one needs it.
ServerLimits Limits(int head, int body, int idle) {
  ServerLimits limits;
  limits.head = Seconds(head);
  limits.body = Seconds(body);
  limits.idle = Seconds(idle);
  return limits;
}

/// Byte by byte, as httplib reads lines; how many came.
std::size_t ReadBytes(ServerStream& stream, std::size_t count) {
  char byte = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (stream.read(&byte, 1) != 1) return i;
  }
  return count;
}

std::string Head(std::size_t headers, std::size_t size = 4) {
  std::string head = "GET / HTTP/1.1\r\n";
  for (std::size_t i = 0; i < headers; ++i) head += "a: " + std::string(size - 3, 'b') + "\r\n";
  return head + "\r\n";
}

bool SaidClose(const std::vector<std::string>& writes) {
  SocketPair pair;
  ServerStream stream(pair.ours, Limits(9, 9, 9));
  pair.Say("x");
  (void)stream.NextRequest();
  for (const std::string& text : writes) (void)stream.write(text.data(), text.size());
  return stream.SaidClose();
}

}  // namespace

TEST_CASE("server_stream: the next request is there, or the connection is idle for too long") {
  SocketPair pair;
  ServerStream stream(pair.ours, Limits(9, 9, 0));
  CHECK_FALSE(stream.NextRequest());
  ServerStream patient(pair.ours, Limits(9, 9, 9));
  pair.Say("ab");
  CHECK(patient.NextRequest());
  CHECK(ReadBytes(patient, 1) == 1);
}

TEST_CASE("server_stream: a request that came with the one before need not be waited for") {
  SocketPair pair;
  ServerStream stream(pair.ours, Limits(9, 9, 9));
  pair.Say(Head(0) + Head(0));
  CHECK(stream.NextRequest());
  CHECK(ReadBytes(stream, Head(0).size()) == Head(0).size());
  pair.ClosePeer();
  CHECK(stream.NextRequest());
  CHECK(ReadBytes(stream, Head(0).size()) == Head(0).size());
}

TEST_CASE("server_stream: there is no next request when the connection ended") {
  SocketPair pair;
  ServerStream stream(pair.ours, Limits(9, 9, 9));
  pair.ClosePeer();
  CHECK_FALSE(stream.NextRequest());
}

TEST_CASE("server_stream: the deadline of the head holds until its end, then that of the body") {
  const std::string head = Head(2);
  SECTION("no time for the head") {
    SocketPair pair;
    ServerStream stream(pair.ours, Limits(0, 9, 9));
    pair.Say("G");
    REQUIRE(stream.NextRequest());
    pair.Say(head.substr(1));
    CHECK(ReadBytes(stream, 2) == 1);  // what began it
  }
  SECTION("no time for the body") {
    SocketPair pair;
    ServerStream stream(pair.ours, Limits(9, 0, 9));
    pair.Say(head.substr(0, 20));
    REQUIRE(stream.NextRequest());
    CHECK(ReadBytes(stream, 20) == 20);
    pair.Say(head.substr(20) + "b");
    const std::size_t rest = head.size() - 20 + 1;
    CHECK(ReadBytes(stream, rest) == rest);  // what had arrived with the head
    pair.Say("ody");
    CHECK(ReadBytes(stream, 1) == 0);
  }
  SECTION("time for the body") {
    SocketPair pair;
    ServerStream stream(pair.ours, Limits(9, 9, 9));
    pair.Say(head);
    REQUIRE(stream.NextRequest());
    CHECK(ReadBytes(stream, head.size()) == head.size());
    pair.Say("body");
    CHECK(ReadBytes(stream, 4) == 4);
  }
}

TEST_CASE("server_stream: the answer has the time of a body") {
  SocketPair pair;
  ServerStream stream(pair.ours, Limits(0, 9, 9));
  pair.Say("x");
  REQUIRE(stream.NextRequest());
  CHECK(stream.write("answer", 6) == 6);
  CHECK(stream.Flush());
  CHECK(pair.Heard() == "answer");
}

TEST_CASE("server_stream: sixty-four headers and no more, in each request") {
  SocketPair pair;
  ServerStream stream(pair.ours, Limits(9, 9, 9));
  for (int i = 0; i < 3; ++i) {
    const std::string head = Head(64, 900);  // nearly all the bytes that lines may have
    pair.Say(head);
    REQUIRE(stream.NextRequest());
    CHECK(ReadBytes(stream, head.size()) == head.size());
  }
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += "1\r\n";
  pair.Say(lines);
  CHECK(ReadBytes(stream, lines.size()) == lines.size());  // of the body, not of the head
  const std::string above = Head(65);
  pair.Say(above);
  REQUIRE(stream.NextRequest());
  CHECK(ReadBytes(stream, above.size()) == above.size() - 3);
}

TEST_CASE("server_stream: only an empty line that ends with CRLF ends the head") {
  // httplib skips other empty lines and reads on.
  for (const std::string line : {"\n", "\r\r\n"}) {
    CAPTURE(line);
    SocketPair pair;
    ServerStream stream(pair.ours, Limits(9, 9, 9));
    const std::string head = "GET / HTTP/1.1\r\n" + line + Head(100);
    pair.Say(head);
    REQUIRE(stream.NextRequest());
    CHECK(ReadBytes(stream, head.size()) < head.size());  // more than 64 headers
  }
}

TEST_CASE("server_stream: whether the answer says that it is the last") {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const std::string close = "Connection: close\r\n";
  struct Row {
    std::vector<std::string> writes;
    bool close;
  };
  const Row rows[] = {
      {{}, false},
      {{ok}, false},
      {{ok + "\r\n"}, false},
      {{ok + "A: b\r\n" + close + "\r\n"}, true},
      {{ok + close + "A: b\r\n\r\n"}, true},
      {{ok, close, "\r\n"}, true},
      {{ok + "Connection: cl", "ose\r\n", "\r", "\nbody"}, true},
      {{ok + "Connection: Keep-Alive\r\n\r\n"}, false},
      {{ok + "X-Connection: close\r\n\r\n"}, false},
      {{ok + "A: Connection: close\r\n\r\n"}, false},
      {{ok + "\r\n" + close + "\r\n"}, false},  // in the body
      {{ok + "\r\n", "\r\n" + close + "\r\n"}, false},
      {{ok + close + "\r\n" + std::string(100000, 'x')}, true},
  };
  for (const Row& row : rows) {
    CAPTURE(row.writes);
    CHECK(SaidClose(row.writes) == row.close);
  }
}

TEST_CASE("server_stream: an interim answer is not the answer") {
  const std::string interim = "HTTP/1.1 100 Continue\r\n\r\n";
  const std::string last = "HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\n\r\n";
  CHECK(SaidClose({interim, last}));
  CHECK_FALSE(SaidClose({interim, "HTTP/1.1 200 OK\r\n\r\n"}));
}

TEST_CASE("server_stream: the next answer is asked anew") {
  SocketPair pair;
  ServerStream stream(pair.ours, Limits(9, 9, 9));
  const std::string last = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
  pair.Say("xy");
  REQUIRE(stream.NextRequest());
  (void)stream.write(last.data(), last.size());
  CHECK(stream.SaidClose());
  CHECK(ReadBytes(stream, 1) == 1);
  REQUIRE(stream.NextRequest());
  CHECK_FALSE(stream.SaidClose());
}
