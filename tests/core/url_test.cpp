/// URLs of branches: what is accepted, and the sentence for what is not.
#include <string>

#include "tests/catch.hpp"
#include <dtm/core/url.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::ParseHttpUrl;
using dtm::ParseUrl;
using dtm::Url;

TEST_CASE("URLs are taken apart") {
  struct Row {
    const char* text;
    const char* host;
    int port;
    const char* target;
    const char* origin;
  };
  const Row rows[] = {
      {"http://bank-b/TransIn", "bank-b", 80, "/TransIn", "http://bank-b"},
      {"HTTP://Bank_B.Example:8080/A?b=C#frag", "bank_b.example", 8080, "/A?b=C",
       "http://bank_b.example:8080"},
      {"http://127.0.0.1:1", "127.0.0.1", 1, "/", "http://127.0.0.1:1"},
      {"http://h?x=1", "h", 80, "/?x=1", "http://h"},
      {"http://h#f", "h", 80, "/", "http://h"},
      {"http://h:80/", "h", 80, "/", "http://h"},
      {"http://h:65535/a@b:c", "h", 65535, "/a@b:c", "http://h:65535"},
      {"http://[::1]:8080/x", "::1", 8080, "/x", "http://[::1]:8080"},
      {"http://[FE80::A]", "fe80::a", 80, "/", "http://[fe80::a]"},
      {"https://h/x", "h", 443, "/x", "https://h"},
      {"https://h:80/x", "h", 80, "/x", "https://h:80"},
      {"http://h/a b?c=\xC3\xBC+%20", "h", 80, "/a%20b?c=%C3%BC+%20", "http://h"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const Url url = ParseUrl(row.text);
    CHECK(url.Http());
    CHECK(url.Tls() == (url.Origin().substr(0, 5) == "https"));
    CHECK(url.host == row.host);
    CHECK(url.port == row.port);
    CHECK(url.target == row.target);
    CHECK(url.Origin() == row.origin);
  }
  CHECK(ParseUrl("http://[::1]:81/").Authority() == "[::1]:81");
}

TEST_CASE("URLs of other schemes are taken apart, and are not http") {
  const Url url = ParseUrl("gRPC://user:pw@Bank:9000/p.Service/TransIn");
  CHECK(url.scheme == "grpc");
  CHECK_FALSE(url.Http());
  CHECK(url.host == "bank");
  CHECK(url.port == 9000);
  CHECK(url.target == "/p.Service/TransIn");
  CHECK(url.Origin() == "grpc://bank:9000");
  CHECK(ParseUrl("a+b-1.c://h").Origin() == "a+b-1.c://h");  // no port that it would have of itself
  CHECK_THROWS_WITH(ParseHttpUrl("grpc://u:secret@h/"),
                    "the branch URL \"grpc://***@h/\" does not start with http:// or https://");
  CHECK_THROWS_WITH(ParseHttpUrl("grpc://", "the bell"), ContainsSubstring("the bell \"grpc://\""));
  CHECK(ParseHttpUrl("HTTPS://h/").Tls());
  for (const char* none :
       {"", "://h", "1a://h", "+://h", "a_b://h", "a b://h", "javascript:http://h"}) {
    CHECK(dtm::SchemeOf(none).empty());
  }
}

TEST_CASE("what is no branch URL is refused with the reason") {
  struct Row {
    std::string text;
    const char* why;
  };
  const Row rows[] = {
      {"", "does not start with http://"},
      {"bank/TransIn", "does not start with http://"},
      {"http:/h/", "does not start with http://"},
      {"://h/", "does not start with http://"},
      {"javascript:http://h/", "does not start with http://"},
      {"http://", "no valid host"},
      {"http:///x", "no valid host"},
      {"http://:80/", "no valid host"},
      {"http://a b/", "no valid host"},
      {"http://h%41/", "no valid host"},
      {"http://\xC3\xBC/", "no valid host"},
      {"http://[]/", "no valid host"},
      {"http://[1.2.3.4]/", "no valid host"},
      {"http://[::1%25eth0]/", "no valid host"},
      {"http://[::1/", "closing ]"},
      {"http://[::1]x/", "no valid port"},
      {"http://h:/", "no valid port"},
      {"http://h:0/", "no valid port"},
      {"http://h:65536/", "no valid port"},
      {"http://h:999999999999/", "no valid port"},
      {"http://h:-1/", "no valid port"},
      {"http://h:8a/", "no valid port"},
      {"http://::1/", "no valid host"},
      {"http://us er@h/", "as %XX"},
      {"http://us\"er@h/", "as %XX"},
      {"http://user@/", "no valid host"},
      {"http://h/a\r\nX: y", "control character"},
      {std::string("http://h/\0", 10), "control character"},
      {"http://h/\x7F", "control character"},
      {"http://h/" + std::string(dtm::kMaxUrlBytes, 'a'), "too long"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    CHECK_THROWS_WITH(ParseUrl(row.text), ContainsSubstring(row.why));
  }
  CHECK_NOTHROW(ParseUrl("http://h/" + std::string(dtm::kMaxUrlBytes - 9, 'a')));
  CHECK_THROWS_WITH(ParseUrl("x"), ContainsSubstring("the branch URL \"x\""));
  CHECK_THROWS_WITH(ParseUrl("x", "the bell"), ContainsSubstring("the bell \"x\""));
}

TEST_CASE("user and password are taken out, and are no part of where a URL leads") {
  struct Row {
    const char* text;
    const char* credentials;
    const char* shown;
  };
  const Row rows[] = {
      {"http://user:secret@h:81/x?y", "user:secret", "http://***@h:81/x?y"},
      {"https://user@h", "user:", "https://***@h"},
      {"http://:secret@h/", ":secret", "http://***@h/"},
      {"http://u:a:b@c@h/", "u:a:b@c", "http://***@h/"},  // the last @ counts, and the first colon
      {"http://%75%3A:s%40%2f@[::1]:1/", "u::s@/", "http://***@[::1]:1/"},
      {"http://@h/", "", "http://***@h/"},
      {"http://h/a@b:c", "", "http://h/a@b:c"},
      {"http://h?a@b", "", "http://h?a@b"},
      {"http://h#a@b", "", "http://h#a@b"},
      {"http://h/?u=http://a:b@c", "", "http://h/?u=http://a:b@c"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const Url url = ParseUrl(row.text);
    CHECK(url.credentials == row.credentials);
    CHECK((url.host == "h" || url.host == "::1"));
    CHECK(url.Origin().find('@') == std::string::npos);
    CHECK(dtm::ShownUrl(row.text) == row.shown);
  }
  for (const char* other : {"", "local:a@b", "topic://a@b", "a@b"}) {
    CHECK(dtm::ShownUrl(other) == other);
  }
}

TEST_CASE("the sentence about a broken URL shows no credentials") {
  for (const char* text :
       {"http://u:secret@h:0/", "http://u:secret@/", "http://u:sec ret@h/", "http://u:secret/x@h/",
        "http://u:secret?x@h/", "u:secret@h/x", "ftp://u:secret@h:0/", "//u:secret@h/"}) {
    CAPTURE(text);
    try {
      (void)ParseUrl(text);
      FAIL("it is a URL");
    } catch (const dtm::Error& error) {
      CHECK_THAT(error.what(), !ContainsSubstring("sec"));
    }
  }
}

TEST_CASE("what nobody could call has a problem") {
  for (const char* good : {"", "http://h", "local:F", "topic://t", "grpc://h/x"}) {
    CHECK(dtm::UrlProblem(good) == "");
  }
  for (const char* bad : {"bank/TransIn", "h:80", "http://", "ftp://", "http:/h", "LOCAL:F"}) {
    CHECK(dtm::UrlProblem(bad) != "");
  }
}

TEST_CASE("values are percent-encoded") {
  CHECK(dtm::PercentEncoded("aZ09-._~") == "aZ09-._~");
  CHECK(dtm::PercentEncoded("a b&c=d/e?f#g+h%\xC3\xBC\r\n") ==
        "a%20b%26c%3Dd%2Fe%3Ff%23g%2Bh%25%C3%BC%0D%0A");
  CHECK(dtm::PercentEncoded(std::string("\0", 1)) == "%00");
}
