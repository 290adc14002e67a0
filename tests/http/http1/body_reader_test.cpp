/// Bodies by length, in chunks and to the end of the connection, in pieces of any size.
#include <cstddef>
#include <string>

#include "tests/catch.hpp"
#include "tests/http/http1/parsed_message.hpp"
#include <dtm/http/http1/body_reader.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::http1::BodyReader;
using dtm::http1::Framing;
using dtm::http1::HeadParser;
using dtm::http1::Parsed;

namespace {

Framing Framed(Framing::Body body, std::size_t length = 0) {
  Framing framing;
  framing.body = body;
  framing.length = length;
  return framing;
}

struct Read {
  Parsed parsed = Parsed::kMore;
  std::string content;
  std::string rest;
};

Read Take(BodyReader& reader, std::string_view bytes) {
  Read read;
  read.parsed = reader.Take(bytes, [&read](std::string_view piece) { read.content.append(piece); });
  read.rest = bytes;
  return read;
}

std::string OneByteChunks(std::size_t count, const std::string& extension) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += "1" + extension + "\r\nx\r\n";
  return text + "0\r\n\r\n";
}

}  // namespace

TEST_CASE("body_reader: none is done before the first byte") {
  BodyReader none(HeadParser::Kind::kRequest, Framed(Framing::Body::kNone));
  CHECK(none.Now() == Parsed::kDone);
  CHECK(Take(none, "GET").rest == "GET");
  BodyReader empty(HeadParser::Kind::kRequest, Framed(Framing::Body::kLength, 0));
  CHECK(empty.Now() == Parsed::kDone);
}

TEST_CASE("body_reader: a length is taken to its last byte") {
  BodyReader reader(HeadParser::Kind::kReply, Framed(Framing::Body::kLength, 5));
  CHECK(Take(reader, "ab").content == "ab");
  CHECK_FALSE(reader.End());
  const Read last = Take(reader, "cdefg");
  CHECK(last.parsed == Parsed::kDone);
  CHECK(last.content == "cde");
  CHECK(last.rest == "fg");
  CHECK(reader.End());
}

TEST_CASE("body_reader: to the end of the connection") {
  BodyReader reader(HeadParser::Kind::kReply, Framed(Framing::Body::kToClose));
  CHECK(Take(reader, "ab").content == "ab");
  CHECK(reader.Now() == Parsed::kMore);
  CHECK(reader.End());
  CHECK(reader.Now() == Parsed::kDone);
}

TEST_CASE("body_reader: chunks that end in the middle are not complete") {
  for (const char* text : {"", "3", "3\r\n", "3\r\nab", "3\r\nabc", "3\r\nabc\r\n",
                           "3\r\nabc\r\n0\r\n", "0\r\nX: y\r\n"}) {
    CAPTURE(text);
    BodyReader reader(HeadParser::Kind::kReply, Framed(Framing::Body::kChunked));
    CHECK(Take(reader, text).parsed == Parsed::kMore);
    CHECK_FALSE(reader.End());
  }
}

TEST_CASE("body_reader: what is behind the last chunk belongs to the next message") {
  BodyReader reader(HeadParser::Kind::kRequest, Framed(Framing::Body::kChunked));
  const Read read = Take(reader, "1\r\nx\r\n0\r\n\r\nGET /");
  CHECK(read.parsed == Parsed::kDone);
  CHECK(read.content == "x");
  CHECK(read.rest == "GET /");
}

TEST_CASE("body_reader: tiny chunks are taken, lines that only cost are not") {
  for (const HeadParser::Kind kind : {HeadParser::Kind::kRequest, HeadParser::Kind::kReply}) {
    BodyReader plain(kind, Framed(Framing::Body::kChunked));
    const Read read = Take(plain, OneByteChunks(100000, ""));
    CHECK(read.parsed == Parsed::kDone);
    CHECK(read.content.size() == 100000);
    BodyReader talking(kind, Framed(Framing::Body::kChunked));
    CHECK(Take(talking, OneByteChunks(1000, ";" + std::string(200, 'x'))).parsed ==
          Parsed::kRefused);
    CHECK_THAT(talking.Why().text, ContainsSubstring("too long"));
    CHECK(talking.Now() == Parsed::kRefused);
  }
}

TEST_CASE("body_reader: trailers of a reply have an end") {
  BodyReader reader(HeadParser::Kind::kReply, Framed(Framing::Body::kChunked));
  std::string text = "0\r\n";
  for (int i = 0; i < 100; ++i) text += "X: " + std::string(1000, 'v') + "\r\n";
  CHECK(Take(reader, text + "\r\n").parsed == Parsed::kRefused);
}

TEST_CASE("body_reader: a chunk larger than memory is taken piece by piece") {
  BodyReader reader(HeadParser::Kind::kReply, Framed(Framing::Body::kChunked));
  CHECK(Take(reader, "0fffffffffffffff\r\n").parsed == Parsed::kMore);
  std::size_t got = 0;
  const std::string piece(65536, 'x');
  for (int i = 0; i < 100; ++i) got += Take(reader, piece).content.size();
  CHECK(got == 6553600);
}
