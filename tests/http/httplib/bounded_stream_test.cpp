/// The bytes of a connection: pieces, limits of lines, deadlines, and when bytes leave.
#include <chrono>
#include <cstddef>
#include <ctime>
#include <string>

#include "tests/catch.hpp"
#include "tests/http/socket_pair.hpp"
#include <dtm/http/httplib/bounded_stream.hpp>

using dtm::SteadyTime;
using dtm_test::SocketPair;
using Clock = std::chrono::steady_clock;
using Ms = std::chrono::milliseconds;
namespace guard = dtm::guard;

namespace {

/// With what newer versions of httplib ask for.
class Stream final : public guard::BoundedStream {
 public:
  explicit Stream(const SocketPair& pair, Ms limit = Ms(10000))
      : BoundedStream(pair.ours, Clock::now() + limit) {}
  virtual bool wait_readable() const { return is_readable(); }
  virtual bool wait_writable() const { return is_writable(); }
  virtual std::time_t duration() const { return 0; }

  using BoundedStream::HasUnread;
  using BoundedStream::SetDeadline;

  /// At most this much at a time.
  std::string Read(std::size_t size) {
    std::string text(size, '\0');
    last = read(text.data(), size);
    text.resize(last > 0 ? static_cast<std::size_t>(last) : 0);
    return text;
  }
  /// Byte by byte, as httplib reads lines; how many came.
  std::size_t ReadBytes(std::size_t count) {
    char byte = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if ((last = read(&byte, 1)) != 1) return i;
    }
    return count;
  }
  bool Write(const std::string& text) {
    return write(text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }

  ssize_t last = 0;  ///< what read returned
};

}  // namespace

TEST_CASE("bounded_stream: bytes come in the pieces that are asked for") {
  SocketPair pair;
  Stream stream(pair);
  pair.Say("hello world");
  CHECK_FALSE(stream.HasUnread());
  CHECK(stream.is_readable());
  CHECK(stream.Read(1) == "h");
  CHECK(stream.HasUnread());
  CHECK(stream.Read(4) == "ello");
  CHECK(stream.Read(100) == " world");  // what there is, not what may come
  CHECK_FALSE(stream.HasUnread());
  pair.Say(std::string(5000, 'x'));
  std::size_t got = 0;
  while (got < 5000) got += stream.Read(10000).size();
  CHECK(got == 5000);
  pair.Say("end");
  pair.ClosePeer();
  CHECK(stream.Read(10) == "end");
  CHECK(stream.Read(10).empty());
  CHECK(stream.last == 0);
  CHECK(stream.Read(10).empty());
  CHECK(stream.last == 0);
}

TEST_CASE("bounded_stream: the socket is the one it was given") {
  SocketPair pair;
  Stream stream(pair);
  CHECK(stream.socket() == pair.ours);
  CHECK(stream.is_writable());
  std::string ip = "none";
  int port = 7;
  stream.get_remote_ip_and_port(ip, port);
  stream.get_local_ip_and_port(ip, port);
  CHECK(ip == "none");
  CHECK(port == 7);
}

TEST_CASE("bounded_stream: a line has a limit, and all lines together have one") {
  SECTION("a line at the limit, its end not counted") {
    SocketPair pair;
    Stream stream(pair);
    for (int i = 0; i < 3; ++i) {
      pair.Say(std::string(guard::kMaxLineBytes, 'x') + "\n");
      CHECK(stream.ReadBytes(guard::kMaxLineBytes + 1) == guard::kMaxLineBytes + 1);
    }
  }
  SECTION("a line above it") {
    SocketPair pair;
    Stream stream(pair);
    pair.Say("short\n" + std::string(guard::kMaxLineBytes + 1, 'x'));
    CHECK(stream.ReadBytes(100000) == 6 + guard::kMaxLineBytes);
    CHECK(stream.last == -1);
  }
  SECTION("many short lines") {
    SocketPair pair;
    Stream stream(pair);
    const std::string line = "0123456789abcdef\n";
    std::string text;
    while (text.size() < guard::kMaxLinesBytes + 100) text += line;
    pair.Say(text);
    CHECK(stream.ReadBytes(text.size()) == guard::kMaxLinesBytes);
    CHECK(stream.last == -1);
  }
  SECTION("what is read in larger pieces is content, and not counted") {
    SocketPair pair;
    Stream stream(pair);
    pair.Say(std::string(100, 'x'));
    CHECK(stream.ReadBytes(100) == 100);
    for (int i = 0; i < 40; ++i) {
      pair.Say(std::string(4000, 'x'));
      for (std::size_t got = 0; got < 4000;) got += stream.Read(4096).size();
    }
    pair.Say(std::string(guard::kMaxLineBytes - 100, 'x') + "y");
    CHECK(stream.ReadBytes(guard::kMaxLineBytes) == guard::kMaxLineBytes - 100);
  }
}

TEST_CASE("bounded_stream: at the deadline reading ends, whether bytes drip or not") {
  SocketPair pair;
  const auto start = Clock::now();
  Stream stream(pair, Ms(50));
  CHECK(stream.Read(1).empty());
  CHECK(stream.last == -1);
  CHECK(Clock::now() - start >= Ms(50));
  CHECK(Clock::now() - start < Ms(5000));
  CHECK_FALSE(stream.is_readable());
  pair.Say("late");
  CHECK(stream.Read(1).empty());  // it has passed, also for what is there
  CHECK(stream.last == -1);
  stream.SetDeadline(Clock::now() + Ms(10000));
  CHECK(stream.Read(1) == "l");
  stream.SetDeadline(SteadyTime{});
  CHECK(stream.is_readable());  // was received before
  CHECK(stream.Read(10) == "ate");
  CHECK_FALSE(stream.is_readable());
  CHECK_FALSE(stream.is_writable());
}

TEST_CASE("bounded_stream: what is written leaves in one packet, when the next bytes are wanted") {
  SocketPair pair;
  Stream stream(pair);
  CHECK(stream.Write("head\r\n\r\n"));
  CHECK(stream.Write("body"));
  CHECK(pair.Heard().empty());
  pair.Say("next");
  CHECK(stream.Read(2) == "ne");
  CHECK(pair.Heard() == "head\r\n\r\nbody");
  CHECK(stream.Write("more"));
  CHECK(stream.Read(2) == "xt");  // was received before: nobody waits yet
  CHECK(pair.Heard().empty());
  CHECK(stream.Flush());
  CHECK(pair.Heard() == "more");
  CHECK(stream.Flush());
  CHECK(pair.Heard().empty());
}

TEST_CASE("bounded_stream: much leaves at once") {
  SocketPair pair;
  Stream stream(pair);
  CHECK(stream.Write(std::string(guard::kFlushBytes - 1, 'x')));
  CHECK(pair.Heard().empty());
  CHECK(stream.Write("y"));
  CHECK(pair.Heard().size() == guard::kFlushBytes);
}

TEST_CASE("bounded_stream: the deadline holds for a peer that does not read") {
  SocketPair pair;
  const auto start = Clock::now();
  Stream stream(pair, Ms(50));
  bool written = true;
  for (int i = 0; i < 1000 && written; ++i) written = stream.Write(std::string(100000, 'x'));
  CHECK_FALSE(written);
  CHECK(Clock::now() - start >= Ms(50));
  CHECK(Clock::now() - start < Ms(5000));
  CHECK_FALSE(stream.Flush());
}

TEST_CASE("bounded_stream: a peer that has gone is an error, not a signal") {
  SocketPair pair;
  Stream stream(pair);
  pair.ClosePeer();
  CHECK(stream.Write("kept"));
  CHECK_FALSE(stream.Flush());
  CHECK_FALSE(stream.Write(std::string(guard::kFlushBytes, 'x')));
  CHECK(stream.Read(1).empty());
}

TEST_CASE("bounded_stream: an answer counts although its sender did not read everything") {
  SocketPair pair;
  Stream stream(pair);
  CHECK(stream.Write("a request that nobody reads"));
  pair.Say("answer");
  pair.ClosePeer();
  CHECK(stream.Read(10) == "answer");
  CHECK(stream.Read(10).empty());
}
