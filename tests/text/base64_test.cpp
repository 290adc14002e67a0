/// Base64 against RFC 4648, and what is none.
#include <cstddef>
#include <string>
#include <string_view>

#include "tests/catch.hpp"
#include <dtm/text/base64.hpp>

namespace base64 = dtm::base64;

TEST_CASE("base64: the vectors of RFC 4648, and the whole alphabet") {
  struct Row {
    std::string_view bytes;
    const char* text;
  };
  const Row rows[] = {
      {"", ""},
      {"f", "Zg=="},
      {"fo", "Zm8="},
      {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="},
      {"fooba", "Zm9vYmE="},
      {"foobar", "Zm9vYmFy"},
      {"{\"amount\":30}", "eyJhbW91bnQiOjMwfQ=="},
      {{"\0", 1}, "AA=="},
      {{"\0\0\0", 3}, "AAAA"},
      {"\xFF", "/w=="},
      {"\xFF\xFF\xFF", "////"},
      {"\xFB\xEF\xBE", "++++"},
      {{"\x00\x10\x83\x10\x51\x87\x20\x92\x8B\x30\xD3\x8F", 12}, "ABCDEFGHIJKLMNOP"},
      {"\x41\x14\x93\x51\x55\x97\x61\x96\x9B\x71\xD7\x9F", "QRSTUVWXYZabcdef"},
      {"\x82\x18\xA3\x92\x59\xA7\xA2\x9A\xAB\xB2\xDB\xAF", "ghijklmnopqrstuv"},
      {"\xC3\x1C\xB3\xD3\x5D\xB7\xE3\x9E\xBB\xF3\xDF\xBF", "wxyz0123456789+/"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    CHECK(base64::Encode(row.bytes) == row.text);
    const auto decoded = base64::Decode(row.text);
    REQUIRE(decoded.has_value());
    CHECK(*decoded == row.bytes);
  }
}

TEST_CASE("base64: every byte at every place comes back") {
  for (std::size_t size = 1; size <= 5; ++size) {
    for (std::size_t at = 0; at < size; ++at) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string bytes(size, '\x5A');
        bytes[at] = static_cast<char>(byte);
        const std::string text = base64::Encode(bytes);
        if (text.size() != (size + 2) / 3 * 4) FAIL_CHECK("the length of " + text);
        if (base64::Decode(text) != bytes) FAIL_CHECK(text + " does not come back");
      }
    }
  }
  std::string long_one;
  for (int i = 0; i < 100000; ++i) long_one += static_cast<char>(i * 7 % 256);
  CHECK(base64::Decode(base64::Encode(long_one)) == long_one);
}

TEST_CASE("base64: what is none is nothing, not a part of it") {
  for (const std::string_view text :
       {"Z",    "Zg",   "Zg=",      "Zm9",     "Zm9vY",   "Zm9vYg",   "Zg===",
        "=",    "==",   "===",      "====",    "Z===",    "Zg==Zg==", "Zg=v",
        "=g==", "Z=g=", "Zm9v====", "Zm9v=",   "Zm 9",    "Zm9v\n",   "Zm9\n",
        " Zm9", "Zm-_", "Zm9v,Zm9", "Zm9\x7F", "Zm9\xFF", "Zm8\xC3",  "\xC3\xBCZm"}) {
    CAPTURE(text);
    CHECK_FALSE(base64::Decode(text).has_value());
  }
  CHECK_FALSE(base64::Decode(std::string_view("Zm9\0", 4)).has_value());
  CHECK_FALSE(base64::Decode(std::string_view("\0m9v", 4)).has_value());
}
