/// UTF-8 (RFC 3629), cutting, cleaning and lower case of text from outside.
#include <cstddef>
#include <string>
#include <string_view>

#include "tests/catch.hpp"
#include <dtm/base/text.hpp>

using dtm::HasPrefix;
using dtm::IsUtf8;
using dtm::JsonDepth;
using dtm::Lowered;
using dtm::PercentDecoded;
using dtm::PercentEncoded;
using dtm::Printable;
using dtm::Truncated;
using dtm::Utf8Length;

TEST_CASE("text: valid UTF-8, at the borders of each length") {
  struct Row {
    const char* text;
    std::size_t length;
  };
  const Row rows[] = {
      {"\x01", 1},
      {"\x7F", 1},
      {"\xC2\x80", 2},
      {"\xDF\xBF", 2},
      {"\xE0\xA0\x80", 3},
      {"\xED\x9F\xBF", 3},
      {"\xEE\x80\x80", 3},
      {"\xEF\xBF\xBF", 3},
      {"\xF0\x90\x80\x80", 4},
      {"\xF4\x8F\xBF\xBF", 4},
  };
  for (const Row& row : rows) {
    const std::string text = row.text;
    CAPTURE(text);
    CHECK(Utf8Length(text, 0) == row.length);
    CHECK(IsUtf8("a" + text + text + "z"));
    for (std::size_t cut = 1; cut < text.size(); ++cut) {  // ends in the middle
      CHECK_FALSE(IsUtf8("a" + text.substr(0, cut)));
      CHECK_FALSE(IsUtf8("a" + text.substr(0, cut) + "z"));
    }
  }
  CHECK(IsUtf8(""));
  CHECK(Utf8Length("", 0) == 0);
  CHECK(Utf8Length("a", 1) == 0);
  CHECK(Utf8Length(std::string(1, '\0'), 0) == 1);
}

TEST_CASE("text: what is no UTF-8") {
  for (const char* text :
       {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xFE", "\xC2\xC2",
        "\xE1\x80\x41", "\xF1\x80\x80\x41"}) {
    CAPTURE(text);
    CHECK(Utf8Length(text, 0) == 0);
    CHECK_FALSE(IsUtf8(std::string("ok") + text));
  }
}

TEST_CASE("text: cut between characters") {
  CHECK(Truncated("abc", 3) == "abc");
  CHECK(Truncated("abc", 2) == "ab");
  CHECK(Truncated("abc", 0).empty());
  CHECK(Truncated("", 0).empty());
  const std::string text = "\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80";  // 2 + 3 + 4 bytes
  const std::size_t sizes[] = {0, 0, 2, 2, 2, 5, 5, 5, 5, 9, 9};
  for (std::size_t max = 0; max <= 10; ++max) {
    CAPTURE(max);
    CHECK(Truncated(text, max).size() == sizes[max]);
    CHECK(IsUtf8(Truncated(text, max)));
  }
  CHECK(Truncated(std::string(10, '\x80'), 5).size() <= 5);  // no UTF-8: still within the limit
}

TEST_CASE("text: made fit for a log line") {
  CHECK(Printable("gr\xC3\xBC\xC3\x9F dich, 10 \xE2\x82\xAC") ==
        "gr\xC3\xBC\xC3\x9F dich, 10 \xE2\x82\xAC");
  CHECK(Printable("a\nb\tc") == "a b c");
  CHECK(Printable("a\r\x1B[31mb\x7F" + std::string(1, '\0')) == "a??[31mb??");
  CHECK(Printable("a\xFF\xC3z") ==
        "a?"
        "?z");
  // U+0080 to U+009F control terminals too: U+009B begins an escape sequence.
  const std::string cleaned = Printable(
      "a\xC2\x9B"
      "31mb");
  CHECK(cleaned.find('\x9B') == std::string::npos);
  CHECK(Printable("\xC2\xA0\xC2\xA7") == "\xC2\xA0\xC2\xA7");
}

TEST_CASE("text: lower case of A to Z, and nothing else") {
  CHECK(Lowered("").empty());
  CHECK(Lowered("Content-TYPE: Text/X_9") == "content-type: text/x_9");
  CHECK(Lowered(std::string_view("ABCDEF").substr(1, 3)) == "bcd");
  // Not the Turkish dotted I, no umlaut, no Kelvin sign: what is ASCII stays apart from what is not.
  const std::string other = "\xC3\x84\xC4\xB0\xE2\x84\xAA";
  CHECK(Lowered(other) == other);
  for (int i = 0; i < 256; ++i) {
    const std::string one(1, static_cast<char>(i));
    const bool upper = i >= 'A' && i <= 'Z';
    CAPTURE(i);
    CHECK(Lowered(one) == (upper ? std::string(1, static_cast<char>(i + 32)) : one));
  }
}

TEST_CASE("text: what it starts with") {
  CHECK(HasPrefix("local:F", "local:"));
  CHECK(HasPrefix("local:", "local:"));
  CHECK(HasPrefix("x", ""));
  CHECK_FALSE(HasPrefix("local", "local:"));
  CHECK_FALSE(HasPrefix("Local:F", "local:"));
  CHECK_FALSE(HasPrefix("", "l"));
  CHECK_FALSE(HasPrefix(" local:F", "local:"));
}

TEST_CASE("text: without blanks at its ends") {
  CHECK(dtm::Trimmed("").empty());
  CHECK(dtm::Trimmed(" \t ").empty());
  CHECK(dtm::Trimmed("a") == "a");
  CHECK(dtm::Trimmed("\t a b\tc  ") == "a b\tc");
  CHECK(dtm::Trimmed("\na\n") == "\na\n");
}

TEST_CASE("text: how deep the brackets of JSON are, outside of strings") {
  struct Row {
    std::string text;
    std::size_t depth;
  };
  const Row rows[] = {
      {"", 0},
      {"1", 0},
      {"{}", 1},
      {"[]", 1},
      {"[[],[]]", 2},
      {"[[[]],{\"a\":[[]]}]", 4},
      {"]]]][", 1},
      {"}}{{", 2},
      {R"("[[[[")", 0},
      {R"(["[[[[",{}])", 2},
      {R"(["\"[[[["])", 1},
      {R"(["\\",[[]]])", 3},  // the string ends behind an escaped backslash
      {R"(["\\\"[[[["])", 1},
      {"\"[[", 0},
      {"\"\\", 0},
      {std::string(100000, '['), 100000},
      {std::string(100000, ']'), 0},
  };
  for (const Row& row : rows) {
    INFO(row.text.substr(0, 50));
    CHECK(JsonDepth(row.text) == row.depth);
  }
}

TEST_CASE("text: percent encoding, there and back") {
  CHECK(PercentEncoded("aZ09-._~/ \xC3\xA4+%") == "aZ09-._~%2F%20%C3%A4%2B%25");
  const std::string all = "\x01 /?&=%+\xFF~";
  CHECK(PercentDecoded(PercentEncoded(all)) == all);
  CHECK(PercentDecoded("%2f%2F%41") == "//A");
  for (const char* as_is : {"", "%", "%4", "%4g", "%g4", "a+b", "%%"}) {
    CAPTURE(as_is);
    CHECK(PercentDecoded(as_is) == as_is);
  }
  CHECK(PercentDecoded("%%41") == "%A");
}

TEST_CASE("text: a number is the whole text, or none") {
  CHECK(dtm::ParseNumber<int>("42") == 42);
  CHECK(dtm::ParseNumber<int>("-7") == -7);
  CHECK(dtm::ParseNumber<std::size_t>("ff", 16) == std::size_t{255});
  for (const char* none : {"", " 1", "1 ", "+1", "1x", "0x1", "99999999999"}) {
    CHECK_FALSE(dtm::ParseNumber<int>(none));
  }
  CHECK_FALSE(dtm::ParseNumber<unsigned>("-1"));
}

TEST_CASE("the stable hash is FNV-1a") {
  dtm::StableHash hash;
  CHECK(hash.Value() == 0xCBF29CE484222325u);
  hash.Add("foo");
  hash.Add(static_cast<unsigned char>('b'));
  hash.Add("ar");
  CHECK(hash.Value() == 0x85944171F73967E8u);  // a vector of the authors
}
