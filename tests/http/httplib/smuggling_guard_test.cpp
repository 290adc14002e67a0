/// What a request may look like, byte by byte: heads and chunks that could be read in two ways are
/// refused.
#include <cstddef>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/http/httplib/smuggling_guard.hpp>

using dtm::guard::SmugglingGuard;

namespace {

/// Whether all of it is taken, in pieces of this size.
bool Takes(const std::string& text, std::size_t piece) {
  SmugglingGuard guard;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    if (!guard.Take(std::string_view(text).substr(at, piece))) return false;
  }
  return true;
}

std::string Head(const std::string& headers) {
  return "POST /x HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n";
}
std::string Chunked(const std::string& body) {
  return Head("Transfer-Encoding: chunked\r\n") + body;
}

}  // namespace

TEST_CASE("request_guard: what is refused, and what is not") {
  struct Case {
    bool good;
    std::string text;
  };
  const std::string many(SmugglingGuard::kMaxHeadBytes, 'x');
  const std::vector<Case> table = {
      {true, Head("")},
      {true, "GET / HTTP/1.0\r\n\r\n"},
      {false, "GET / HTTP/1.1\nHost: h\n\n"},
      {false, Head("\nX: y\r\n")},
      {false, "GET /" + std::string(SmugglingGuard::kMaxLineBytes, 'x')},
      {true, Head("Content-Length: 5\r\n") + "ab\0\n%"},
      {true, Head("X: 100% \tfine\r\nEmpty:\r\n")},
      {true, Head("content-length:\t7 \r\n")},
      {true, Head("TRANSFER-ENCODING: Chunked\r\n") + "0\r\n\r\n"},
      {false, Head("Content-Length: %35\r\n")},
      {false, Head("Content-Length: +5\r\n")},
      {false, Head("Content-Length: 5,5\r\n")},
      {false, Head("Content-Length:\r\n")},
      {false, Head("Content-Length: 5\r\nContent-Length: 5\r\n")},
      {false, Head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")},
      {false, Head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")},
      {false, Head("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n")},
      {false, Head("Transfer-Encoding: gzip, chunked\r\n")},
      {false, Head("Transfer-Encoding: chunke%64\r\n")},
      {false, Head("Transfer-Encoding : chunked\r\n")},
      {false, Head("Transfer-Encoding: chunked\x01\r\n")},
      {false, Head(std::string("X: a\0b\r\n", 9))},
      {false, Head("X: a\rb\r\n")},
      {false, Head(" folded\r\n")},
      {false, Head("no colon\r\n")},
      {false, Head(": no name\r\n")},
      {false, Head("Host: other\r\n")},
      {false, "GET / HTTP/1.1\r\nHost: %6cocalhost\r\n\r\n"},
      {false, Head("X: " + many + "\r\n")},
      {true, Chunked("3\r\nabc\r\n1\r\n\n\r\n00000002;x=y\r\n\r\n\r\n0\r\n\r\n")},
      {true, Chunked("fF\r\n" + std::string(255, 'x') + "\r\n0\r\n\r\n")},
      {false, Chunked("-2\r\n")},
      {false, Chunked("+2\r\n")},
      {false, Chunked("0x2\r\n")},
      {false, Chunked("2 2\r\n")},
      {false, Chunked("\r\n")},
      {false, Chunked("123456789\r\n")},
      {false, Chunked("3\r\nabcd\r\n")},
      {false, Chunked("3\r\nabc3\r\nabc\r\n")},
      {false, Chunked("0\r\nTrailer: x\r\n\r\n")},
      {false, Chunked("2;" + std::string(300, 'x') + "\r\n")},
  };
  for (const Case& row : table) {
    for (const std::size_t piece : {1U, 2U, 3U, 7U, 100000U}) {
      CAPTURE(row.text.substr(0, 200), piece);
      CHECK(Takes(row.text, piece) == row.good);
    }
  }
}

TEST_CASE("request_guard: sixty-four headers, and it knows when the head is complete") {
  for (const std::size_t count : {SmugglingGuard::kMaxHeaders, SmugglingGuard::kMaxHeaders + 1}) {
    std::string text = "GET / HTTP/1.1\r\n";
    for (std::size_t i = 0; i < count; ++i) text += "a: b\r\n";
    SmugglingGuard guard;
    CHECK(guard.Take(text) == (count == SmugglingGuard::kMaxHeaders));
    if (count > SmugglingGuard::kMaxHeaders) continue;
    CHECK_FALSE(guard.HeadIsComplete());
    CHECK(guard.Take("\r\n"));
    CHECK(guard.HeadIsComplete());
  }
}
