/// Who may use the API: tokens in every spelling, loopback names, and requests of foreign pages.
#include <string>
#include <string_view>

#include "tests/catch.hpp"
#include <dtm/http/api/access.hpp>
#include <dtm/http/wire/base64.hpp>

using dtm::access::CarriesToken;
using dtm::access::Equal;
using dtm::access::Headers;
using dtm::access::IsLoopback;
using dtm::access::Judge;
using dtm::access::JudgePing;
using dtm::access::Verdict;
using dtm::access::WithoutPort;

namespace {

std::string Basic(const std::string& credentials) {
  return "Basic " + dtm::wire::base64::Encode(credentials);
}

}  // namespace

TEST_CASE("access: equal texts and no others") {
  const std::string nul("a\0", 2);
  const std::string_view texts[] = {"",       "a",       "b",      "aa",    "ab",     "ba",
                                    "aaa",    "aab",     "abab",   nul,     "A",      "\xC3",
                                    "secret", "secrets", "Secret", "secre", "ssecret"};
  for (const std::string_view a : texts) {
    for (const std::string_view b : texts) {
      CAPTURE(a, b);
      CHECK(Equal(a, b) == (a == b));
    }
  }
  CHECK_FALSE(Equal(std::string_view("\0", 1), ""));  // what a missing byte is compared with
  CHECK_FALSE(Equal("", std::string_view("\0", 1)));
}

TEST_CASE("access: the token as Bearer or as the password of Basic") {
  struct Row {
    std::string authorization;
    bool carries;
  };
  const Row rows[] = {
      {"Bearer s3:cret", true},
      {"bearer s3:cret", true},
      {"BEARER s3:cret", true},
      {Basic("dtm:s3:cret"), true},
      {Basic(":s3:cret"), true},
      {"basic " + dtm::wire::base64::Encode("dtm:s3:cret"), true},
      {"", false},
      {"s3:cret", false},
      {"Bearer", false},
      {"Bearer ", false},
      {"Bearers3:cret", false},
      {"Bearer s3:cre", false},
      {"Bearer s3:crets", false},
      {"Bearer s3:creT", false},
      {"Bearer  s3:cret", false},
      {"Bearer s3:crets3:cret", false},
      {"Bearer\ts3:cret", false},
      {"Token s3:cret", false},
      {"Digest s3:cret", false},
      {"Basic", false},
      {"Basic ", false},
      {"Basic s3:cret", false},
      {"Basic dtm:s3:cret", false},
      {Basic(""), false},
      {Basic("s3:cret"), false},  // the name, not the password
      {Basic("dtms3cret"), false},
      {Basic("s3:cret:"), false},
      {Basic("dtm:s3:cret "), false},
      {Basic("dtm:s3:cret" + std::string(1, '\0')), false},
      {Basic("dtm:s3:cret").substr(0, 21), false},
      {Basic("dtm:s3:cret") + "=", false},
      {"Basic  " + dtm::wire::base64::Encode("dtm:s3:cret"), false},
      {"Bearer " + dtm::wire::base64::Encode("dtm:s3:cret"), false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.authorization);
    CHECK(CarriesToken(row.authorization, "s3:cret") == row.carries);
    Headers headers;
    headers.authorization = row.authorization;
    CHECK(Judge(headers, "s3:cret") == (row.carries ? Verdict::kAllowed : Verdict::kNoToken));
  }
}

TEST_CASE("access: which names are this machine") {
  struct Row {
    const char* host;
    const char* without_port;
    bool loopback;
  };
  const Row rows[] = {
      {"localhost", "localhost", true},
      {"localhost:36789", "localhost", true},
      {"localhost:", "localhost", true},
      {"127.0.0.1", "127.0.0.1", true},
      {"127.0.0.1:80", "127.0.0.1", true},
      {"127.8.9.10:80", "127.8.9.10", true},
      {"[::1]", "[::1]", true},
      {"[::1]:36789", "[::1]", true},
      {"::1", "::1", true},
      {"", "", false},
      {":80", "", false},
      {"evil.example", "evil.example", false},
      {"evil.example:36789", "evil.example", false},
      {"localhost.evil.example", "localhost.evil.example", false},
      {"notlocalhost", "notlocalhost", false},
      {"localhosts", "localhosts", false},
      {"127.0.0.1.evil.example:80", "127.0.0.1.evil.example", false},
      {"127.evil.example", "127.evil.example", false},
      {"1127.0.0.1", "1127.0.0.1", false},
      {"127", "127", false},
      {"128.0.0.1:80", "128.0.0.1", false},
      {"0.0.0.0", "0.0.0.0", false},
      {"10.127.0.1", "10.127.0.1", false},
      {"[::]", "[::]", false},
      {"[::1", "[::1", false},
      {"[::1]x:80", "[::1]x", false},
      {"[::2]:80", "[::2]", false},
      {"::1:80", "::1:80", false},
      {"a:b:80", "a:b:80", false},
      {"evil.example@127.0.0.1", "evil.example@127.0.0.1", false},
      {"127.0.0.1@evil.example", "127.0.0.1@evil.example", false},
      {"localhost:80@evil.example", "localhost", true},  // no browser sends this as Host
  };
  for (const Row& row : rows) {
    CAPTURE(row.host);
    CHECK(WithoutPort(row.host) == row.without_port);
    CHECK(IsLoopback(WithoutPort(row.host)) == row.loopback);
  }
}

TEST_CASE("access: without a token the Host is this machine") {
  for (const char* host :
       {"LocalHost", "localhost", "localhost:36789", "127.0.0.1:36789", "[::1]:36789"}) {
    CAPTURE(host);
    CHECK(Judge({"", host, "", ""}, "") == Verdict::kAllowed);
    CHECK(Judge({"Bearer what", host, "", ""}, "") == Verdict::kAllowed);
  }
  for (const char* host :
       {"", "rebound.example:36789", "127.0.0.1.nip.example", "192.168.0.1", ":1"}) {
    CAPTURE(host);
    CHECK(Judge({"", host, "", ""}, "") == Verdict::kForeign);
    CHECK(Judge({"Bearer secret", host, "", ""}, "secret") == Verdict::kAllowed);
    CHECK(Judge({"", host, "", ""}, "secret") == Verdict::kNoToken);
  }
}

TEST_CASE("access: a foreign web page is refused, with the token too") {
  struct Row {
    Headers headers;  // without a token
    bool foreign;
  };
  const std::string local = "localhost:36789";
  const Row rows[] = {
      {{"", local, "http://localhost:36789", ""}, false},
      {{"", local, "https://localhost:36789", ""}, false},
      {{"", local, "", "none"}, false},
      {{"", local, "", "same-origin"}, false},
      {{"", local, "http://localhost:36789", "same-origin"}, false},
      {{"", local, "http://evil.example", ""}, true},
      {{"", local, "null", ""}, true},
      {{"", local, "http://localhost", ""}, true},
      {{"", local, "http://localhost:36788", ""}, true},
      {{"", local, "http://localhost:367890", ""}, true},
      {{"", local, "http://localhost:36789/", ""}, true},
      {{"", local, "http://localhost:36789.evil.example", ""}, true},
      {{"", local, "ftp://localhost:36789", ""}, true},
      {{"", local, "localhost:36789", ""}, true},
      {{"", local, "http://127.0.0.1:36789", ""}, true},
      {{"", local, "http://localhost:36789, http://evil.example", ""}, true},
      {{"", local, "", "cross-site"}, true},
      {{"", local, "", "same-site"}, true},
      {{"", local, "", "Same-Origin"}, true},
      {{"", local, "", "x"}, true},
      {{"", local, "http://localhost:36789", "cross-site"}, true},
      {{"", local, "http://evil.example", "same-origin"}, true},
      {{"", "", "http://evil.example", ""}, true},
  };
  for (const Row& row : rows) {
    CAPTURE(row.headers.host, row.headers.origin, row.headers.sec_fetch_site);
    CHECK(Judge(row.headers, "") == (row.foreign ? Verdict::kForeign : Verdict::kAllowed));
    Headers with_token = row.headers;
    with_token.authorization = "Bearer secret";
    CHECK(Judge(with_token, "secret") == (row.foreign ? Verdict::kForeign : Verdict::kAllowed));
    CHECK(Judge(row.headers, "secret") == (row.foreign ? Verdict::kForeign : Verdict::kNoToken));
  }
  // DNS rebinding: its own name leads here, so the page is of the same origin, but not local.
  const std::string rebound = "rebound.example:36789";
  CHECK(Judge({"", rebound, "http://" + rebound, "same-origin"}, "") == Verdict::kForeign);
  CHECK(Judge({"", rebound, "http://" + rebound, "same-origin"}, "secret") == Verdict::kNoToken);
}

TEST_CASE("access: a page needs no token; another site may link to it, and nothing else") {
  const auto verdict = [](const char* site, const char* dest, const char* origin) {
    return dtm::access::JudgePage({"", "localhost:1", origin, site, dest}, "");
  };
  CHECK(verdict("", "", "") == Verdict::kAllowed);
  CHECK(verdict("same-origin", "script", "") == Verdict::kAllowed);
  CHECK(verdict("cross-site", "document", "") == Verdict::kAllowed);
  CHECK(verdict("cross-site", "script", "") == Verdict::kForeign);
  CHECK(verdict("cross-site", "iframe", "") == Verdict::kForeign);
  CHECK(verdict("cross-site", "document", "http://evil.example") == Verdict::kForeign);
  CHECK(dtm::access::JudgePage({"", "10.0.0.5:1", "", "", ""}, "") == Verdict::kForeign);
  CHECK(dtm::access::JudgePage({"", "10.0.0.5:1", "", "", ""}, "t") == Verdict::kAllowed);
}

TEST_CASE("access: ping needs no token, and with one no name, but no page of others gets it") {
  const auto verdict = [](const char* host, const char* origin, const char* token) {
    return JudgePing({"", host, origin, ""}, token);
  };
  CHECK(verdict("localhost:1", "", "") == Verdict::kAllowed);
  CHECK(verdict("10.0.0.5:1", "", "") == Verdict::kForeign);
  CHECK(verdict("10.0.0.5:1", "", "t") == Verdict::kAllowed);
  CHECK(verdict("10.0.0.5:1", "http://evil", "t") == Verdict::kForeign);
}
