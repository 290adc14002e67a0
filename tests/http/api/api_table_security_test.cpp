/// docs/http_api.md, "Security", as a table: tokens, foreign pages, names that are not the
/// loopback's.
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include <dtm/http/server.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::Api;
using dtm_test::CheckRows;
using dtm_test::Get;
using dtm_test::kDone;
using dtm_test::kNever;
using dtm_test::Post;
using dtm_test::RawClient;
using dtm_test::RawReply;
using dtm_test::Request;
using dtm_test::Row;
using dtm_test::Saga;

namespace {

const std::string kPong = R"({"msg":"pong"})";

dtm::ServerOptions WithToken(const std::string& token) {
  dtm::ServerOptions options;
  options.token = token;
  return options;
}

std::string Authorization(const std::string& value) { return "Authorization: " + value + "\r\n"; }

/// Standard base64, padded.
std::string Base64(const std::string& text) {
  static const char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result;
  for (std::size_t at = 0; at < text.size(); at += 3) {
    unsigned bits = 0;
    for (std::size_t i = at; i < at + 3; ++i) {
      bits = bits << 8 | (i < text.size() ? static_cast<unsigned char>(text[i]) : 0u);
    }
    for (const int shift : {18, 12, 6, 0}) result += kLetters[bits >> shift & 63];
  }
  for (std::size_t i = 0; i < (3 - text.size() % 3) % 3; ++i) result[result.size() - 1 - i] = '=';
  return result;
}
std::string Basic(const std::string& user_and_password) {
  return Authorization("Basic " + Base64(user_and_password));
}

}  // namespace

TEST_CASE("the token is asked for everywhere but at ping") {
  Api api(WithToken("s3:cret/+=?"));
  const std::string token = "s3:cret/+=?";
  std::vector<Row> rows = {
      {"ping", Get("/api/ping"), 200, kPong},
      {"ping by another name", Get("/api/ping", "Host: 10.0.0.5:36789\r\n"), 200, kPong},
      {"ping with a wrong token", Get("/api/ping", Authorization("Bearer x")), 200, kPong},
      {"Bearer", Post("submit", Saga("t1"), Authorization("Bearer " + token)), 200, kDone},
      {"Bearer, from elsewhere",
       Post("submit", Saga("t2"), "Host: dtm.example:36789\r\n" + Authorization("Bearer " + token)),
       200, kDone},
      {"Basic, as dtm", Post("submit", Saga("t3"), Basic("dtm:" + token)), 200, kDone},
      {"Basic, as anybody", Post("submit", Saga("t4"), Basic("x y:" + token)), 200, kDone},
      {"Basic, as nobody", Post("submit", Saga("t5"), Basic(":" + token)), 200, kDone},
      {"name of the header by case",
       Post("submit", Saga("t6"), "AUTHORIZATION: Bearer " + token + "\r\n"), 200, kDone},
      {"an unknown path with it", Get("nowhere", Authorization("Bearer " + token)), 404,
       "404 page not found"},
  };
  for (const std::string& headers : {std::string(),
                                     Authorization(""),
                                     Authorization("Bearer"),
                                     Authorization("Bearer "),
                                     Authorization("Bearer x"),
                                     Authorization("Bearer s3"),
                                     Authorization("Bearer s3:cret/+="),
                                     Authorization("Bearer s3:cret/+=?x"),
                                     Authorization("Bearer S3:CRET/+=?"),
                                     Authorization("Bearer s3:cret/+=? x"),
                                     Authorization("Bearer \"s3:cret/+=?\""),
                                     Authorization(token),
                                     Authorization("Token " + token),
                                     Authorization("Bearer:" + token),
                                     Authorization("Basic " + token),
                                     Basic(token),
                                     Basic(""),
                                     Basic("dtm"),
                                     Basic("dtm:"),
                                     Basic("dtm:s3"),
                                     Basic("dtm:x:" + token),
                                     Basic("dtm:" + token + " "),
                                     Basic(token + ":"),
                                     Basic(token + ":dtm"),
                                     Authorization("Bearer " + Base64(token)),
                                     Authorization("Basic " + Base64("dtm:" + token).substr(1)),
                                     Authorization("Basic ===="),
                                     Authorization("Basic \xFF\xFE"),
                                     Authorization("Digest username=\"dtm\""),
                                     std::string("X-Token: " + token + "\r\n"),
                                     std::string("Cookie: token=" + token + "\r\n"),
                                     std::string("Proxy-Authorization: Bearer " + token + "\r\n"),
                                     Authorization("Bearer " + std::string(8000, 'x'))}) {
    rows.push_back({headers, Post("submit", Saga(kNever), headers), 401, ""});
  }
  for (const char* path : {"version", "newGid", "query?gid=t1", "explain?gid=t1", "timeline?gid=t1",
                           "all", "resetCronTime", "nowhere", "/api/metrics", "/", "branch/x?gid=g",
                           "query?gid=t1&token=s3"}) {
    rows.push_back({path, Get(path), 401, ""});
  }
  for (const char* path : {"submit", "prepare", "abort", "forceStop", "resetNextCronTime",
                           "skipBranch", "resetCronTime", "branch/x"}) {
    rows.push_back({path, Post(path, Saga(kNever)), 401, ""});
    rows.push_back({path, Post(path, "{"), 401, ""});
  }
  CheckRows(api, rows);
  for (const char* gid : {"t1", "t2", "t3", "t4", "t5", "t6"}) CHECK(api.Stored(gid));
  CHECK(!api.Stored(kNever));
  CHECK_THAT(api.Ask(Get("version")).body, !ContainsSubstring("s3"));
}

TEST_CASE("a refused request does not take the next one on its connection with it") {
  const Api api(WithToken("secret"));
  RawClient client(api.Port());
  client.Send(Get("version"));
  const RawReply refused = client.Read();
  CHECK(refused.status == 401);
  if (refused.Header("connection") == "close") return;
  client.Send(Get("version", Authorization("Bearer secret")));
  CHECK(client.Read().status == 200);
  client.Send(Get("version"));  // what was right before is not remembered
  CHECK(client.Read().status == 401);
}

TEST_CASE("a token is compared as it is, and one that could be decoded is none") {
  const Api api(WithToken("pcAx"));
  CheckRows(api,
            {{"as it is", Post("submit", Saga("p1"), Authorization("Bearer pcAx")), 200, kDone},
             {"a line break", Get("version", Authorization("Bearer pcAx%0d%0aX: y")), 401, ""},
             {"in two", Get("version", Authorization("Bearer pc Ax")), 401, ""}});
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
  for (const char* token : {"pc%41x", "a b", "\xC3\xA4", "a\n"}) {
    dtm::Server server(tm, WithToken(token));
    CHECK_THROWS_WITH(server.Start("127.0.0.1", 0), ContainsSubstring("token"));
  }
}

TEST_CASE("the name of the host is not decoded") {
  const Api api;
  CheckRows(api, {{"a letter", Get("version", "Host: %6cocalhost\r\n"), 400, ""}});
}

TEST_CASE(
    "a target in the absolute form is the same request, and its host is the one that counts") {
  Api api;
  const auto ask = [&](const std::string& line, const std::string& host, const std::string& body) {
    return api.Ask(line + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: " +
                   std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body);
  };
  const std::string own = "http://127.0.0.1:" + std::to_string(api.Port());
  CHECK(Wrong(ask("GET " + own + "/api/ping", "127.0.0.1", ""), 200, kPong) == "");
  CHECK(Wrong(ask("GET HTTP://LocalHost/api/ping", "evil.example", ""), 200, kPong) == "");
  CHECK(Wrong(ask("GET https://[::1]:7/api/ping", "localhost", ""), 200, kPong) == "");
  CHECK(Wrong(ask("POST " + own + "/api/dtmsvr/submit", "localhost", Saga("absolute")), 200,
              kDone) == "");
  CHECK(api.Stored("absolute"));
  CHECK(ask("GET " + own + "/api/dtmsvr/query?gid=absolute", "localhost", "")
            .body.find(R"("gid":"absolute")") != std::string::npos);
  for (const char* foreign :
       {"http://evil.example", "http://127.0.0.1@evil.example", "http://evil.example@127.0.0.1",
        "http://", "http://localhost.evil.example"}) {
    INFO(foreign);
    const std::string target = std::string(foreign) + "/api/dtmsvr/submit";
    CHECK(ask("POST " + target, "127.0.0.1", Saga(kNever)).status == 403);
  }
  CHECK(!api.Stored(kNever));
  CHECK(ask("GET " + own, "localhost", "").status == 404);
  CHECK(ask("GET ftp://localhost/api/ping", "localhost", "").status == 404);
}

TEST_CASE("without a token only the loopback's names are served") {
  Api api;
  const std::string port = ":" + std::to_string(api.Port());
  std::vector<Row> rows;
  for (const std::string& host :
       {std::string("localhost"), std::string("127.0.0.1"), "localhost" + port, "127.0.0.1" + port,
        std::string("[::1]"), "[::1]" + port, "LocalHost" + port}) {
    rows.push_back({host, Get("/api/ping", "Host: " + host + "\r\n"), 200, kPong});
  }
  for (const std::string& host : {std::string("evil.example"),
                                  "evil.example" + port,
                                  std::string("localhost.evil.example"),
                                  std::string("127.0.0.1.evil.example"),
                                  std::string("evil.example:localhost"),
                                  std::string("localhost@evil.example"),
                                  std::string("evil.example@localhost"),
                                  std::string("localhost evil.example"),
                                  std::string("localhost,evil.example"),
                                  std::string("evil.localhost.example"),
                                  std::string("xlocalhost"),

                                  std::string("0.0.0.0"),
                                  std::string("10.0.0.1"),
                                  std::string("[::]"),
                                  std::string("[fe80::1]"),
                                  std::string("[::1].evil.example"),
                                  std::string("evil.example%00localhost"),

                                  std::string("localhost%0d%0aX: y"),
                                  std::string("localhost#x"),
                                  std::string("localhost/x"),
                                  std::string("localhost\\evil.example"),
                                  std::string(" ")}) {
    const int status = host.find('%') == std::string::npos ? 403 : 400;
    rows.push_back({host, Get("version", "Host: " + host + "\r\n"), status, ""});
    rows.push_back({host, Post("submit", Saga(kNever), "Host: " + host + "\r\n"), status, ""});
  }
  rows.push_back({"forwarded",
                  Get("version", "Host: evil.example\r\nX-Forwarded-Host: localhost\r\n"), 403,
                  ""});
  rows.push_back({"ping", Get("/api/ping", "Host: evil.example\r\n"), 403, ""});
  CheckRows(api, rows);
  CHECK(!api.Stored(kNever));
  for (const char* bytes :
       {"GET /api/dtmsvr/version HTTP/1.1\r\n\r\n", "GET /api/dtmsvr/version HTTP/1.0\r\n\r\n",
        "GET /api/dtmsvr/version HTTP/1.1\r\nHost: localhost\r\nHost: e.example\r\n\r\n",
        "GET /api/dtmsvr/version HTTP/1.1\r\nHost: e.example\r\nHost: localhost\r\n\r\n"}) {
    INFO(bytes);
    const int status = api.Ask(bytes).status;
    CHECK((status == 400 || status == 403));
  }
}

TEST_CASE("no foreign page gets through, with the token or without") {
  Api open;
  Api closed(WithToken("secret"));
  const std::string right = Authorization("Bearer secret");
  const auto check = [](Api& api, const std::string& more) {
    const std::string own = "127.0.0.1:" + std::to_string(api.Port());
    std::vector<Row> rows;
    for (const std::string& headers :
         {std::string("Origin: http://evil.example"), std::string("Origin: null"),
          std::string("Origin: https://evil.example:443"),
          std::string("Origin: http://localhost.evil.example"),
          std::string("Origin: http://evil.example/#http://" + own), std::string("Origin: file://"),
          std::string("Origin: chrome-extension://abcdef"), std::string("Origin: evil.example"),
          std::string("Origin: http://" + own + ".evil.example"),
          std::string("Origin: http://" + own + "@e.example"),
          std::string("ORIGIN: http://evil.example"), std::string("Sec-Fetch-Site: cross-site"),
          std::string("Sec-Fetch-Site: same-site"), std::string("sec-fetch-site: Cross-Site"),
          std::string("Sec-Fetch-Site: x"),
          std::string("Origin: http://" + own + "\r\nSec-Fetch-Site: cross-site"),
          std::string("Origin: http://evil.example\r\nSec-Fetch-Site: same-origin")}) {
      const std::string all = "Host: " + own + "\r\n" + more + headers + "\r\n";
      rows.push_back({headers, Get("version", all), 403, ""});
      rows.push_back({headers, Post("submit", Saga(kNever), all), 403, ""});
      rows.push_back({headers, Get("resetCronTime", all), 403, ""});
      for (const char* path : {"abort", "forceStop", "resetNextCronTime", "skipBranch"}) {
        rows.push_back({headers, Post(path, Saga(kNever), all), 403, ""});
      }
    }
    rows.push_back({"preflight",
                    Request("OPTIONS", "submit",
                            more + "Origin: http://evil.example\r\n"
                                   "Access-Control-Request-Method: POST\r\n"),
                    403, ""});
    rows.push_back({"ping", Get("/api/ping", more + "Origin: http://evil.example\r\n"), 403, ""});
    for (const std::string& headers :
         {std::string("Origin: http://" + own), std::string("Sec-Fetch-Site: same-origin"),
          std::string("Sec-Fetch-Site: none")}) {
      rows.push_back({headers, Get("/api/ping", "Host: " + own + "\r\n" + more + headers + "\r\n"),
                      200, kPong});
    }
    CheckRows(api, rows);
    CHECK(!api.Stored(kNever));
  };
  check(open, "");
  check(closed, right);
}
