/// Heads of requests and replies: what is refused, what is taken although it is odd, in pieces of any size.
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/http1/parsed_message.hpp"
#include <dtm/http/http1/head_parser.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::http1::HeadParser;
using dtm::http1::kReplyHead;
using dtm::http1::kRequestHead;
using dtm::http1::Parsed;
using dtm_test::Parse;
using dtm_test::ParsedMessage;
using dtm_test::ParseReply;
using dtm_test::ParseRequest;

namespace {

constexpr std::size_t kPieces[] = {1, 2, 3, 7, 1000000};

std::string Head(const std::string& headers) {
  return "POST /x HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n";
}
std::string Chunked(const std::string& body) {
  return Head("Transfer-Encoding: chunked\r\n") + body;
}
std::string Answer(const std::string& headers, const std::string& body = "") {
  return "HTTP/1.1 200 OK\r\n" + headers + "\r\n" + body;
}
std::string Headers(std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += "a: b\r\n";
  return text;
}

}  // namespace

TEST_CASE("head_parser: the table of hostile requests") {
  struct Row {
    bool good;
    std::string text;
  };
  const std::vector<Row> table = {
      {true, Head("")},
      {true, "GET / HTTP/1.0\r\n\r\n"},
      {true, "GET /a?b=%20#c HTTP/1.1\r\n\r\n"},
      {true, "OPTIONS * HTTP/1.1\r\n\r\n"},
      {true, Head("X: 100% \tfine\r\nEmpty:\r\n")},
      {true, Head("!#$%&'*+-.^_`|~09: y\r\n")},
      {true, Head("X: \xC3\xA9\xFF\r\n")},
      {true, Head("content-length:\t7 \r\n") + "0123456"},
      {true, Head("Content-Length: 0\r\n")},
      {true, Head("TRANSFER-ENCODING: Chunked\r\n") + "0\r\n\r\n"},
      {true, Head("X: " + std::string(8000, 'v') + "\r\n")},
      {true, "GET /" + std::string(8000, 'x') + " HTTP/1.1\r\n\r\n"},
      {true, "\r\nGET / HTTP/1.1\r\n\r\n"},
      {false, "\r\n\r\nGET / HTTP/1.1\r\n\r\n"},
      {false, "\nGET / HTTP/1.1\r\n\r\n"},
      {false, "\r\r\nGET / HTTP/1.1\r\n\r\n"},
      {false, " \r\nGET / HTTP/1.1\r\n\r\n"},
      {false, "GET / HTTP/1.1\nHost: h\n\n"},
      {false, "GET / HTTP/1.1\r\nHost: h\n\r\n"},
      {false, "GET /\r\n\r\n"},
      {false, "GET\r\n\r\n"},
      {false, " / HTTP/1.1\r\n\r\n"},
      {false, "GET  HTTP/1.1\r\n\r\n"},
      {false, "GET / x HTTP/1.1\r\n\r\n"},
      {false, "GET / HTTP/1.2\r\n\r\n"},
      {false, "GET / HTTP/2.0\r\n\r\n"},
      {false, "GET / http/1.1\r\n\r\n"},
      {false, "GET / HTTP/1.1 \r\n\r\n"},
      {false, "G(T / HTTP/1.1\r\n\r\n"},
      {false, "G\xC3\xA9T / HTTP/1.1\r\n\r\n"},
      {false, "GET /\t HTTP/1.1\r\n\r\n"},
      {false, "GET /\xC3\xA9 HTTP/1.1\r\n\r\n"},
      {false, std::string("GET /\0 HTTP/1.1\r\n\r\n", 19)},
      {false, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
      {false, "GET /" + std::string(kRequestHead.line_bytes, 'x')},
      {false, Head("\nX: y\r\n")},
      {false, Head("Content-Length: %35\r\n")},
      {false, Head("Content-Length: +5\r\n")},
      {false, Head("Content-Length: -1\r\n")},
      {false, Head("Content-Length: 0x20\r\n")},
      {false, Head("Content-Length: 5 5\r\n")},
      {false, Head("Content-Length: 5,5\r\n")},
      {false, Head("Content-Length:\r\n")},
      {false, Head("Content-Length: 18446744073709551648\r\n")},
      {false, Head("Content-Length: 9223372036854775808\r\n")},
      {false, Head("Content-Length: 5\r\nContent-Length: 5\r\n")},
      {false, Head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")},
      {false, Head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")},
      {false, Head("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n")},
      {false, Head("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n")},
      {false, Head("Transfer-Encoding: identity\r\n")},
      {false, Head("Transfer-Encoding: gzip, chunked\r\n")},
      {false, Head("Transfer-Encoding: chunked, chunked\r\n")},
      {false, Head("Transfer-Encoding: chunked,\r\n")},
      {false, Head("Transfer-Encoding: \"chunked\"\r\n")},
      {false, Head("Transfer-Encoding: xchunked\r\n")},
      {false, Head("Transfer-Encoding: chunke%64\r\n")},
      {false, Head("Transfer-Encoding : chunked\r\n")},
      {false, Head("Transfer-Encoding: chunked\x01\r\n")},
      {false, Head("Transfer-Encoding:\x0B chunked\r\n")},
      {false, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      {false, Head(std::string("X: a\0b\r\n", 9))},
      {false, Head("X: a\rb\r\n")},
      {false, Head("X: a\x7F\r\n")},
      {false, Head(" folded\r\n")},
      {false, Head("Transfer-Encoding:\r\n chunked\r\n")},
      {false, Head("no colon\r\n")},
      {false, Head(": no name\r\n")},
      {false, Head("a b: c\r\n")},
      {false, Head("a\xC3\xA9: c\r\n")},
      {false, Head("Host: other\r\n")},
      {false, "GET / HTTP/1.1\r\nHost: %6cocalhost\r\n\r\n"},
      {false, Head("X: " + std::string(kRequestHead.head_bytes, 'x') + "\r\n")},
      {false, Head("X: " + std::string(1000000, 'x'))},
      {false, Head(Headers(kRequestHead.headers))},
      {true, Chunked("3\r\nabc\r\n1\r\n\n\r\n00000002;x=y\r\n\r\n\r\n0\r\n\r\n")},
      {true, Chunked("fF\r\n" + std::string(255, 'x') + "\r\n0\r\n\r\n")},
      {true, Chunked("1;a=b;c=\"d\"\r\nx\r\n0\r\n\r\n")},
      {true, Chunked("1;a=\xC3\xA9\x80\xFF\r\nx\r\n0\r\n\r\n")},
      {false, Chunked("1\xC3\r\nx\r\n0\r\n\r\n")},
      {false, Chunked("1;a\rb\r\nx\r\n0\r\n\r\n")},
      {false, Chunked("1;\x01\r\nx\r\n0\r\n\r\n")},
      {false, Chunked("1\r\r\nx\r\n0\r\n\r\n")},
      {false, Chunked("-2\r\n")},
      {false, Chunked("+2\r\n")},
      {false, Chunked("0x2\r\n")},
      {false, Chunked("2 2\r\n")},
      {false, Chunked("2 \r\n")},
      {false, Chunked("\r\n")},
      {false, Chunked("g\r\n")},
      {false, Chunked("123456789\r\n")},
      {false, Chunked("ffffffffffffffff\r\n")},
      {false, Chunked("3\r\nabcd\r\n")},
      {false, Chunked("3\r\nabc3\r\nabc\r\n")},
      {false, Chunked("3\nabc\r\n0\r\n\r\n")},
      {false, Chunked("3\r\nabc\n0\r\n\r\n")},
      {false, Chunked("0\r\nTrailer: x\r\n\r\n")},
      {false, Chunked("2;" + std::string(300, 'x') + "\r\n")},
      {false, Chunked(std::string(1000000, '0'))},
  };
  for (const Row& row : table) {
    for (const std::size_t piece : kPieces) {
      CAPTURE(row.text.substr(0, 200), piece);
      const ParsedMessage message = ParseRequest(row.text, piece);
      CHECK(message.Whole() == row.good);
      CHECK(message.Refused() == !row.good);
      CHECK(message.why.empty() == row.good);
    }
  }
}

TEST_CASE("head_parser: what a request says is where it was said") {
  for (const std::size_t piece : kPieces) {
    CAPTURE(piece);
    const ParsedMessage message = ParseRequest(
        "POST /p?q=1 HTTP/1.1\r\nhost:h:81\r\nX-A:  \t two words \t\r\nEmpty: \r\ncontent-length: "
        "4\r\n"
        "Expect: 100-Continue\r\n\r\nbodyGET /next",
        piece);
    CHECK(message.first == "POST /p?q=1 1");
    CHECK(message.headers ==
          "host=h:81;X-A=two words;Empty=;content-length=4;Expect=100-Continue;");
    CHECK(message.body == "body");
    CHECK(message.rest == "GET /next");
    CHECK(message.keep_alive);
    CHECK(message.expects);
  }
}

TEST_CASE("head_parser: headers are found by their name, whatever its case") {
  HeadParser parser(HeadParser::Kind::kRequest);
  std::string_view bytes = "GET / HTTP/1.1\r\nX-Token: a\r\nx-token: b\r\nAB: c\r\n\r\n";
  REQUIRE(parser.Take(bytes) == Parsed::kDone);
  CHECK(parser.Head().Find("x-token") == "a");
  CHECK(parser.Head().Find("ab") == "c");
  CHECK(parser.Head().Find("host").empty());
}

TEST_CASE("head_parser: whether the connection goes on") {
  struct Row {
    const char* head;
    bool goes_on;
  };
  const Row rows[] = {
      {"GET / HTTP/1.1\r\n\r\n", true},
      {"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false},
      {"GET / HTTP/1.1\r\nConnection: Upgrade,\tCLOSE\r\n\r\n", false},
      {"GET / HTTP/1.1\r\nConnection: x\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
       false},
      {"GET / HTTP/1.1\r\nConnection: closed, keep-alive\r\n\r\n", true},
      {"GET / HTTP/1.0\r\n\r\n", false},
      {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
      {"GET / HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n", false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.head);
    CHECK(ParseRequest(row.head).keep_alive == row.goes_on);
  }
}

TEST_CASE("head_parser: an empty line before a request is skipped, each time one") {
  HeadParser parser(HeadParser::Kind::kRequest);
  for (const char* method : {"GET", "PUT"}) {
    std::string_view bytes = "\r\n";
    CHECK(parser.Take(bytes) == Parsed::kMore);
    CHECK_FALSE(parser.Begun());
    const std::string text = std::string(method) + " /x HTTP/1.1\r\nHost: h\r\n\r\n";
    bytes = text;
    REQUIRE(parser.Take(bytes) == Parsed::kDone);
    CHECK(parser.Head().Method() == method);
    CHECK(parser.Head().Find("host") == "h");
    parser.Reset();
  }
}

TEST_CASE("head_parser: a limit holds for the byte, and no byte before it") {
  const auto line = [](std::size_t size) {
    return Head("X: " + std::string(size - 4, 'v') + "\r\n");
  };
  CHECK(ParseRequest(line(kRequestHead.line_bytes)).Whole());
  CHECK(ParseRequest(line(kRequestHead.line_bytes + 1)).why_status == 431);
  CHECK(ParseRequest("GET / HTTP/1.1\r\n" + Headers(kRequestHead.headers) + "\r\n").Whole());
  CHECK(
      ParseRequest("GET / HTTP/1.1\r\n" + Headers(kRequestHead.headers + 1) + "\r\n").why_status ==
      431);
  std::string head = "GET / HTTP/1.1\r\n";
  while (head.size() + 1100 < kRequestHead.head_bytes)
    head += "X: " + std::string(1195, 'v') + "\r\n";
  const std::size_t left = kRequestHead.head_bytes - head.size() - 2;
  const auto end = [](std::size_t size) { return "Y: " + std::string(size - 5, 'v') + "\r\n\r\n"; };
  CHECK(ParseRequest(head + end(left)).Whole());
  CHECK(ParseRequest(head + end(left + 1)).why_status == 431);
}

TEST_CASE("head_parser: what services answer is understood, however they write it") {
  struct Row {
    std::string text;
    const char* first;
    const char* headers;
    const char* body;
    bool keep_alive;
  };
  const std::string early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
  const std::string processing = "HTTP/1.1 102 Processing\r\n\r\n";
  const std::vector<Row> rows = {
      {Answer("Content-Length: 2\r\n", "{}"), "200 1", "Content-Length=2;", "{}", true},
      {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 1", "Content-Length=0;", "", true},
      {"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 1", "Content-Length=0;", "", true},
      {"HTTP/1.1 299 Gut gemacht \xC3\xA4\r\nContent-Length: 0\r\n\r\n", "299 1",
       "Content-Length=0;", "", true},
      {"HTTP/1.0 200 OK\r\n\r\nuntil the end", "200 0", "", "until the end", false},
      {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", "200 0",
       "Connection=keep-alive;Content-Length=1;", "x", true},
      {Answer("", "until the end"), "200 1", "", "until the end", false},
      {Answer("Connection: close\r\nContent-Length: 1\r\n", "x"), "200 1",
       "Connection=close;Content-Length=1;", "x", false},
      // 1xx before it, also several.
      {"HTTP/1.1 100 Continue\r\n\r\n" + Answer("Content-Length: 0\r\n"), "200 1",
       "Content-Length=0;", "", true},
      {early + processing + early + "HTTP/1.1 409 No\r\nContent-Length: 2\r\n\r\nno", "409 1",
       "Content-Length=2;", "no", true},
      // Chunks, with trailers and extensions.
      {Answer("Transfer-Encoding: chunked\r\n", "3\r\nFAI\r\n4;x=y\r\nLURE\r\n0\r\n\r\n"), "200 1",
       "Transfer-Encoding=chunked;", "FAILURE", true},
      {Answer("Transfer-Encoding: chunked\r\n",
              "3  \r\nabc\r\n000000000000001\r\nd\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"),
       "200 1", "Transfer-Encoding=chunked;", "abcd", true},
      {Answer("transfer-encoding: identity\r\nContent-Length: 1\r\n", "x"), "200 1",
       "transfer-encoding=identity;Content-Length=1;", "x", true},
      // Both: chunks count, and the connection ends (RFC 9112 §6.3).
      {Answer("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n"),
       "200 1", "Content-Length=3;Transfer-Encoding=chunked;", "x", false},
      {Answer("Content-Length: 1\r\nContent-Length: 1\r\n", "x"), "200 1",
       "Content-Length=1;Content-Length=1;", "x", false},
      {Answer("Content-Length: 1, 1\r\n", "x"), "200 1", "Content-Length=1, 1;", "x", false},
      // Without a body, whatever is said about it.
      {"HTTP/1.1 204 None\r\n\r\n", "204 1", "", "", true},
      {"HTTP/1.1 304 Same\r\nContent-Length: 7\r\n\r\n", "304 1", "Content-Length=7;", "", true},
      // Folded, with bare line feeds, with a blank before the colon.
      {Answer("A: b\r\n  c\r\n\td \r\n \r\nContent-Length: 0\r\n"), "200 1",
       "A=b    c   d;Content-Length=0;", "", false},
      {Answer("A:\r\n b\r\nContent-Length:\r\n 1\r\n", "x"), "200 1", "A=b;Content-Length=1;", "x",
       false},
      {"HTTP/1.1 200 OK\nContent-Length: 1\n\nx", "200 1", "Content-Length=1;", "x", false},
      {Answer("Content-Length : 1\r\n", "x"), "200 1", "Content-Length=1;", "x", false},
      {Answer("an odd name: 1\r\nContent-Length: 1\r\n", "x"), "200 1",
       "an odd name=1;Content-Length=1;", "x", true},
  };
  for (const Row& row : rows) {
    for (const std::size_t piece : kPieces) {
      CAPTURE(row.text, piece);
      const ParsedMessage message = ParseReply(row.text, piece);
      CHECK(message.why == "");
      CHECK(message.Whole());
      CHECK(message.first == row.first);
      CHECK(message.headers == row.headers);
      CHECK(message.body == row.body);
      CHECK(message.rest.empty());
      CHECK(message.keep_alive == row.keep_alive);
    }
  }
}

TEST_CASE("head_parser: compressed or coded bodies are known as such") {
  CHECK(ParseReply(Answer("Content-Encoding: gzip\r\nContent-Length: 0\r\n")).encoded);
  CHECK(ParseReply(Answer("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")).encoded);
  CHECK(ParseReply(Answer("Transfer-Encoding: gzip\r\n", "x")).encoded);
  CHECK_FALSE(ParseReply(Answer("Content-Encoding: Identity\r\nContent-Length: 0\r\n")).encoded);
  CHECK_FALSE(ParseReply(Answer("Content-Encoding:\r\nContent-Length: 0\r\n")).encoded);
  CHECK(ParseRequest(Head("Content-Encoding: br\r\n")).encoded);
}

TEST_CASE(
    "head_parser: heads of many headers and many bytes are taken, up to a limit against abuse") {
  const std::string value(1000, 'v');
  std::string many, long_ones;
  for (int i = 0; i < 1000; ++i) many += "X-" + std::to_string(i) + ": y\r\n";
  for (int i = 0; i < 100; ++i) long_ones += "X: " + value + "\r\n";
  for (const std::string& headers : {many, long_ones, "X: " + std::string(100000, 'v') + "\r\n"}) {
    const ParsedMessage message = ParseReply(Answer(headers + "Content-Length: 1\r\n", "x"), 4096);
    CHECK(message.Whole());
    CHECK(message.body == "x");
    CHECK(message.keep_alive);
  }
  std::string interim;
  while (interim.size() < kReplyHead.head_bytes)
    interim += "HTTP/1.1 103 x\r\nLink: " + value + "\r\n\r\n";
  for (const std::string& text :
       {Answer(Headers(kReplyHead.headers + 1)),
        Answer("X: " + std::string(kReplyHead.line_bytes, 'v')), interim, interim + interim}) {
    const ParsedMessage message = ParseReply(text, 4096);
    CHECK(message.Refused());
    CHECK_THAT(message.why, ContainsSubstring("too "));
  }
}

TEST_CASE("head_parser: what is no reply is refused") {
  for (const char* text :
       {"garbage\r\n\r\n",
        "HTTP/1.1 2OO OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000\r\n\r\n",
        "HTTP/1.1 099 x\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\n folded first\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: v\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: \x01\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1,\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n"}) {
    for (const std::size_t piece : kPieces) {
      CAPTURE(text, piece);
      CHECK(ParseReply(text, piece).Refused());
    }
  }
}

TEST_CASE("head_parser: a reply to HEAD has no body") {
  HeadParser parser(HeadParser::Kind::kReply, true);
  std::string_view bytes = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
  REQUIRE(parser.Take(bytes) == Parsed::kDone);
  CHECK(parser.Head().BodyFraming().body == dtm::http1::Framing::Body::kNone);
}

TEST_CASE("head_parser: a parser takes one message after the other") {
  HeadParser parser(HeadParser::Kind::kReply);
  std::string_view bytes =
      "HTTP/1.1 100 x\r\n\r\nHTTP/1.0 500 x\nA: b\r\nConnection: close\r\nTransfer-Encoding: "
      "chunked\r\n\r\n"
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nrest";
  CHECK_FALSE(parser.Begun());
  REQUIRE(parser.Take(bytes) == Parsed::kDone);
  CHECK(parser.Head().Status() == 500);
  parser.Reset();
  CHECK_FALSE(parser.Begun());
  REQUIRE(parser.Take(bytes) == Parsed::kDone);
  CHECK(parser.Head().Status() == 200);
  CHECK(parser.Head().MinorVersion() == 1);
  CHECK(parser.Head().Count() == 1);
  CHECK(parser.Head().BodyFraming().keep_alive);
  CHECK(bytes == "rest");
}

TEST_CASE("head_parser: byte by byte costs no more than a look at each") {
  std::string text = "GET / HTTP/1.1\r\n";
  while (text.size() < 60000) text += "X: " + std::string(8000, 'v') + "\r\n";
  text += "\r\n";
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) REQUIRE(ParseRequest(text, 1).Whole());
  // Parsed anew with each byte it would be 20 x 60,000^2 / 2 bytes: half a minute at the very least.
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}
