/// docs/http_api.md against bytes that are odd or malicious: HTTP that has to work, HTTP that must
/// be refused, and requests hidden in others, which must not be carried out.
#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"

using dtm_test::Api;
using dtm_test::CheckRows;
using dtm_test::Get;
using dtm_test::kDone;
using dtm_test::Ms;
using dtm_test::Post;
using dtm_test::RawClient;
using dtm_test::RawReply;
using dtm_test::Repeated;
using dtm_test::Request;
using dtm_test::Saga;
using dtm_test::Wrong;

namespace {

const std::string kPong = R"({"msg":"pong"})";

/// What must never be carried out: hidden behind or in something that is wrong.
std::string Hidden() { return Post("submit", Saga("smuggled")); }

struct Case {
  std::string name;
  std::string bytes;
};

/// The start of a submit whose framing follows.
std::string Submit(const std::string& framing, const std::string& host = "Host: localhost\r\n") {
  return "POST /api/dtmsvr/submit HTTP/1.1\r\n" + host + framing;
}

/// What is wrong with how these bytes were taken; nothing if they were refused or not answered at
/// all, what is hidden was not carried out, and others are served. `also`: statuses the first
/// answer may have besides.
std::string Harm(const Api& api, const std::string& bytes, const std::vector<int>& also) {
  const std::vector<int> refused = {400, 413, 431, 501, 505};
  const auto in = [](const std::vector<int>& statuses, int status) {
    return std::count(statuses.begin(), statuses.end(), status) > 0;
  };
  RawClient client(api.Port());
  (void)client.Send(bytes);
  client.EndOfSending();
  std::string answers;
  bool good = true;
  const std::vector<RawReply> replies = client.ReadAll();
  for (const RawReply& reply : replies) {
    answers += reply.status == 0 ? reply.problem : std::to_string(reply.status) + ", ";
    const bool first = &reply == &replies.front();
    const bool ended = reply.problem == "closed" || reply.problem == "reset";
    good = good && (in(refused, reply.status) || (first && in(also, reply.status)) || ended);
  }
  if (!good) return "answered: " + answers;
  if (api.Stored("smuggled")) return "carried out: " + answers;
  return Wrong(api.Ask(Get("/api/ping")), 200, kPong);
}

void CheckRefused(const std::vector<Case>& cases, const std::vector<int>& also = {}) {
  const Api api;
  for (const Case& c : cases) {
    INFO(c.name << "\n" << c.bytes.substr(0, 300));
    CHECK(Harm(api, c.bytes, also) == "");
  }
}

/// What two parsers could read in two ways. It may be taken in one way, but what is behind it is
/// not another request then.
void CheckNotSplit(const std::vector<Case>& cases) { CheckRefused(cases, {200, 404, 415, 501}); }

std::string Headers(std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += "X-" + std::to_string(i) + ": y\r\n";
  return text;
}

}  // namespace

TEST_CASE("odd but correct HTTP is served") {
  const Api api;
  const std::string long_value(8000, 'v');
  const std::string chunked = "Transfer-Encoding: chunked\r\n\r\n";
  const auto in_chunks = [&](const std::string& gid, const std::string& start,
                             const std::string& end) {
    const std::string body = Saga(gid);
    char size[24];
    std::snprintf(size, sizeof size, "%zX", body.size());
    return Submit(chunked) + start + size + end + "\r\n" + body + "\r\n0\r\n\r\n";
  };
  CheckRows(
      api,
      {
          {"names in lower case",
           "POST /api/dtmsvr/submit HTTP/1.1\r\nhost: localhost\r\ncontent-length: 32\r\n\r\n" +
               Saga("h1"),
           200, kDone},
          {"no space and much space",
           "GET /api/ping HTTP/1.1\r\nHost:localhost\r\nX-A:    y   \r\nX-B:\r\n\r\n", 200, kPong},
          {"odd names", Get("/api/ping", "!#$%&'*+-.^_`|~09: y\r\n"), 200, kPong},
          {"percent in a header", Get("/api/ping", "X: %0d%0aX-Y: z %zz %\r\n"), 200, kPong},
          {"bytes beyond ASCII in a header", Get("/api/ping", "X: \xC3\xA9\xFF\r\n"), 200, kPong},
          {"64 headers", Get("/api/ping", Headers(63)), 200, kPong},
          {"64 headers of 8 KiB", Get("/api/ping", Repeated("X: " + long_value + "\r\n", 63)), 431,
           "HTTP"},
          {"a header of 8 KiB", Get("/api/ping", "X: " + long_value + "\r\n"), 200, kPong},
          {"a request line of 8 KiB", Get("/api/ping?x=" + long_value), 200, kPong},
          {"chunked in capitals",
           Submit("Transfer-Encoding: Chunked\r\n\r\n") + "20\r\n" + Saga("h2") + "\r\n0\r\n\r\n",
           200, kDone},
          {"a chunk size with zeros", in_chunks("h3", "0000", ""), 200, kDone},
          {"a chunk extension", in_chunks("h4", "", ";a=b;c=\"d\""), 200, kDone},
          {"no body", Post("submit", ""), 400, ""},
          {"a length of 0", Submit("Content-Length: 0\r\n\r\n"), 400, ""},
          {"no chunk", Submit(chunked + "0\r\n\r\n"), 400, ""},
          {"a range", Get("/api/ping", "Range: bytes=0-3\r\n"), 200, kPong},
          {"a range beyond", Get("/api/ping", "Range: bytes=100-200\r\n"), 200, kPong},
          {"an odd range", Get("/api/ping", "Range: bytes=x, -\r\n"), 200, kPong},
          {"many ranges", Get("/api/ping", "Range: bytes=0-1,0-1,0-1,2-3\r\n"), 200, kPong},
          {"a range that would take the stack",
           Get("/api/ping", "Range: bytes=" + Repeated("-,", 4000) + "-\r\n"), 200, kPong},
          {"a POST with a range", Post("submit", Saga("h5"), "Range: bytes=0-3\r\n"), 200, kDone},
          {"conditions", Get("/api/ping", "If-None-Match: *\r\nIf-Match: \"x\"\r\n"), 200, kPong},
          {"accepts gzip", Get("/api/ping", "Accept-Encoding: gzip, br\r\n"), 200, kPong},
          {"accepts nothing", Get("/api/ping", "Accept: text/x\r\nAccept-Encoding: \r\n"), 200,
           kPong},
          {"an upgrade",
           Get("/api/ping", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"), 200, kPong},
          {"forwarded", Get("/api/ping", "X-Forwarded-For: 1.2.3.4, x\r\n"), 200, kPong},
          {"a proxy's header", Get("/api/ping", "REMOTE_ADDR: 9.9.9.9\r\n"), 200, kPong},
          {"a method is not overridden",
           Get("/api/ping", "X-HTTP-Method-Override: DELETE\r\nCookie: a=b; c\r\n"), 200, kPong},
          {"close", Get("/api/ping", "Connection: close\r\n"), 200, kPong},
      });
}

TEST_CASE("HTTP/1.0 is answered and closed") {
  const Api api;
  RawClient client(api.Port());
  client.Send("GET /api/ping HTTP/1.0\r\nHost: localhost\r\n\r\n");
  CHECK(Wrong(client.Read(), 200, kPong) == "");
  CHECK(client.Closed());
}

TEST_CASE("Connection: close closes") {
  const Api api;
  RawClient client(api.Port());
  client.Send(Get("version", "Connection: close\r\n"));
  CHECK(client.Read().status == 200);
  CHECK(client.Closed());
}

TEST_CASE("many requests on one connection, also before the answers") {
  Api api;
  RawClient client(api.Port());
  for (int i = 0; i < 20; ++i) {
    client.Send(Post("submit", Saga("k" + std::to_string(i))));
    REQUIRE(Wrong(client.Read(), 200, kDone) == "");
    client.Send(Get("/api/ping"));
    REQUIRE(Wrong(client.Read(), 200, kPong) == "");
  }
  std::string pipeline;
  for (int i = 0; i < 20; ++i) {
    pipeline += Post("submit", Saga("m" + std::to_string(i))) + Get("/api/ping");
  }
  client.Send(pipeline);
  for (int i = 0; i < 20; ++i) {
    INFO(i);
    REQUIRE(Wrong(client.Read(), 200, kDone) == "");
    REQUIRE(Wrong(client.Read(), 200, kPong) == "");
  }
  CHECK(api.Stored("m19"));
}

TEST_CASE("after an error the connection goes on, or the answer says that it ends") {
  Api api;
  for (const std::string& wrong :
       {Get("nowhere"), Post("submit", "{"), Post("submit", "[]"), Post("submit", Saga(""))}) {
    INFO(wrong);
    RawClient client(api.Port());
    client.Send(wrong + Post("submit", Saga("next")));
    const RawReply reply = client.Read();
    REQUIRE(reply.status / 100 == 4);
    // Both are HTTP, silence is not.
    if (reply.Header("connection") == "close") {
      REQUIRE(client.Closed());
    } else {
      REQUIRE(Wrong(client.Read(), 200, kDone) == "");
    }
  }
}

TEST_CASE("a request byte by byte, and in two halves at every place") {
  Api api;
  const std::string request = Post("submit", Saga("slow"));
  RawClient client(api.Port());
  for (const char c : request) REQUIRE(client.Send(std::string(1, c)));
  CHECK(Wrong(client.Read(), 200, kDone) == "");
  for (std::size_t at = 1; at < request.size(); at += 3) {
    client.Send(request.substr(0, at));
    (void)client.Readable(Ms(1));  // so that the halves do not travel together
    client.Send(request.substr(at));
    REQUIRE(Wrong(client.Read(), 200, kDone) == "");
  }
}

TEST_CASE("Expect: 100-continue") {
  const Api api;
  RawClient client(api.Port());
  const std::string body = Saga("patient");
  const std::string length = "Content-Length: " + std::to_string(body.size()) + "\r\n";
  client.Send(Submit("Expect: 100-continue\r\n" + length + "\r\n"));
  CHECK(client.Read().status == 100);
  client.Send(body);
  CHECK(Wrong(client.Read(), 200, kDone) == "");
  // Whoever does not wait is served as well.
  client.Send(Submit("Expect: 100-continue\r\n" + length + "\r\n") + body);
  RawReply reply = client.Read();
  if (reply.status == 100) reply = client.Read();
  CHECK(Wrong(reply, 200, kDone) == "");
  // Too large: no need to send it.
  client.Send(Submit("Expect: 100-continue\r\nContent-Length: 2000000\r\n\r\n"));
  reply = client.Read();
  if (reply.status == 100) reply = client.Read();
  CHECK(Wrong(reply, 413, "") == "");
}

TEST_CASE("requests that end in the middle leave nothing behind") {
  Api api;
  const std::string request = Post("submit", Saga("half"));
  for (std::size_t size = 0; size < request.size(); size += 7) {
    INFO(size);
    RawClient client(api.Port());
    client.Send(request.substr(0, size));
    client.EndOfSending();
    const std::vector<RawReply> replies = client.ReadAll();
    CHECK(replies.back().problem != "silence");
    CHECK(replies[0].status / 100 != 2);
  }
  for (int i = 0; i < 50; ++i) RawClient(api.Port()).Send(request.substr(0, 60));  // and gone
  CHECK(!api.Stored("half"));
  CHECK(Wrong(api.Ask(Get("/api/ping")), 200, kPong) == "");
}

TEST_CASE("what is no HTTP is refused") {
  const std::string end = "\r\n\r\n";
  const std::string ping = "GET /api/ping HTTP/1.1\r\nHost: localhost\r\n";
  CheckRefused({
      {"garbage", std::string("\x01\x02\x03garbage\xFF\0", 12) + end + Hidden()},
      {"TLS", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03", 11) + "\r\n" + end},
      {"HTTP/0.9", "GET /api/ping" + end},
      {"HTTP/0.9, one line", "GET /api/ping\r\n"},
      {"no target", "GET HTTP/1.1\r\nHost: localhost" + end},
      {"nothing but a method", "GET" + end},
      {"four words", "GET /api/ping x HTTP/1.1\r\nHost: localhost" + end},
      {"another protocol", "GET /api/ping FTP/1.1\r\nHost: localhost" + end},
      {"HTTP without a version", "GET /api/ping HTTP/\r\nHost: localhost" + end},
      {"NUL in the target",
       std::string("GET /api/\0ping HTTP/1.1", 23) + "\r\nHost: localhost" + end},

      {"65 headers", Get("/api/ping", Headers(64)) + Hidden()},
      {"1000 headers", Get("/api/ping", Headers(1000)) + Hidden()},
      {"a header above 8 KiB",
       Get("/api/ping", "X: " + std::string(8300, 'v') + "\r\n") + Hidden()},
      {"a header of 1 MB", Get("/api/ping", "X: " + std::string(1000000, 'v') + "\r\n")},
      {"a header name of 1 MB", Get("/api/ping", std::string(1000000, 'n') + ": y\r\n")},
      {"a header without end", ping + "X: " + std::string(1000000, 'v')},
      {"headers without end", ping + Headers(20000)},
      {"a request line above 8 KiB", Get("/api/ping?x=" + std::string(8300, 'v')) + Hidden()},
      {"a request line of 1 MB", Get("/api/ping?x=" + std::string(1000000, 'v'))},
      {"a method of 1 MB", std::string(1000000, 'G') + " / HTTP/1.1" + end},
      {"a line without end", "GET /" + std::string(1000000, 'x')},
      {"a million line breaks", Repeated("\r\n", 500000)},
      {"length: not a number", Submit("Content-Length: abc" + end) + Saga("smuggled")},
      {"length: negative", Submit("Content-Length: -1" + end) + Saga("smuggled")},
      {"length: hexadecimal", Submit("Content-Length: 0x20" + end) + Saga("smuggled")},
      {"length: beyond 2^64",
       Submit("Content-Length: 18446744073709551648" + end) + Saga("smuggled")},
      {"length: beyond 2^63",
       Submit("Content-Length: 9223372036854775808" + end) + Saga("smuggled")},
      {"length: two of them",
       Submit("Content-Length: 2\r\nContent-Length: 34" + end) + "{}" + Hidden()},
      {"length: two, by case",
       Submit("Content-Length: 34\r\ncontent-length: 2" + end) + "{}" + Hidden()},
      {"length: a list", Submit("Content-Length: 2, 34" + end) + "{}" + Hidden()},
      {"length: percent", Submit("Content-Length: %32" + end) + "{}" + Hidden()},
  });
}

TEST_CASE("HTTP/2 without asking is refused") {
  CheckRefused({{"PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string("\0\0\0\4\0\0\0\0\0", 9)},
                {"HTTP/2.0", "GET /api/ping HTTP/2.0\r\nHost: localhost\r\n\r\n"},
                {"HTTP/3.7", "GET /api/ping HTTP/3.7\r\nHost: localhost\r\n\r\n"},
                {"CONNECT", "CONNECT b:80 HTTP/1.1\r\nHost: localhost\r\n\r\n"}},
               {403, 404, 405, 501, 505});
}

TEST_CASE("chunks that are wrong end the connection") {
  const std::string head = Submit("Transfer-Encoding: chunked\r\n\r\n");
  const std::string body = Saga("smuggled");
  std::vector<Case> cases = {
      {"too short for its size", head + "21\r\n" + body + "\r\n0\r\n\r\n" + Hidden()},
      {"too long for its size", head + "1F\r\n" + body + "\r\n0\r\n\r\n" + Hidden()},
      {"no line break behind it", head + "26\r\n" + body + "0\r\n\r\n" + Hidden()},
      {"no last chunk", head + "26\r\n" + body + "\r\n"},
      {"cut", head + "26\r\n" + body.substr(0, 10)},
      {"no size", head + "\r\n" + body + "\r\n0\r\n\r\n" + Hidden()},
      {"a size without end", head + std::string(1000000, '0')},
      {"an extension without end", head + "26;" + std::string(1000000, 'x')},
      {"a million tiny chunks", head + Repeated("1\r\n \r\n", 1100000) + "0\r\n\r\n"},
      {"trailers without end", head + "26\r\n" + body + "\r\n0\r\n" + Headers(20000)},
  };
  for (const char* size : {"-2", "-26", "+26", "0x26", "g", "26 26", " ", "-0", "-ffffffffffffffda",
                           "ffffffffffffffff", "fffffffffffffffe", "7fffffffffffffff",
                           "10000000000000026", "100000000000000000000000000000026"}) {
    const std::string name = std::string("size ") + size;
    cases.push_back({name, head + size + "\r\n" + body + "\r\n0\r\n\r\n" + Hidden()});
  }
  CheckRefused(cases);
}

TEST_CASE("what could be read in two ways hides no second request") {
  const std::string end = "\r\n\r\n";
  const std::string last = "0\r\n\r\n";
  const std::string both = "Content-Length: 5\r\nTransfer-Encoding: chunked";
  const auto te = [](const std::string& value) {
    return Submit("Transfer-Encoding: " + value + "\r\n\r\n");
  };
  const std::string hidden = last + Hidden();
  CheckNotSplit({
      {"length and chunked", Submit(both + end) + hidden},
      {"chunked and length",
       Submit("Transfer-Encoding: chunked\r\nContent-Length: 5" + end) + hidden},
      {"length of all", Submit("Transfer-Encoding: chunked\r\nContent-Length: 200" + end) + hidden},
      {"by case", Submit("Content-Length: 5\r\ntransfer-encoding: CHUNKED" + end) + hidden},
      {"unknown encoding", te("xchunked") + hidden},
      {"identity", te("identity") + hidden},
      {"gzip first", te("gzip, chunked") + hidden},
      {"chunked twice", te("chunked, chunked") + hidden},
      {"chunked, then identity", te("chunked\r\nTransfer-Encoding: identity") + hidden},
      {"identity, then chunked", te("identity\r\nTransfer-Encoding: chunked") + hidden},
      {"a comma", te("chunked,") + hidden},
      {"quoted", te("\"chunked\"") + hidden},
      {"a vertical tab", te("\x0B"
                            "chunked") +
                             hidden},
      {"percent", te("chunke%64") + hidden},
      {"NUL behind", te(std::string("chunked\0x", 9)) + hidden},
      {"space before the colon",
       Submit("Transfer-Encoding : chunked\r\nContent-Length: 5" + end) + hidden},
      {"space before the name", Submit(" Transfer-Encoding: chunked" + end) + hidden},
      {"folded", Submit("Transfer-Encoding:\r\n chunked" + end) + hidden},
      {"folded length", Submit("X: y\r\n Content-Length: 5" + end) + hidden},
      {"length with a space before the colon", Submit("Content-Length : 5" + end) + hidden},
      {"length with an underscore", Submit("Content_Length: 5" + end) + hidden},
      {"length with a plus", Submit("Content-Length: +5" + end) + hidden},
      {"length with something behind", Submit("Content-Length: 5x" + end) + hidden},
      {"length: empty", Submit("Content-Length: " + end) + hidden},
      {"a return alone", Submit("X: y\rContent-Length: 5" + end) + hidden},
      {"a request in a header", "GET /api/ping HTTP/1.1\r\nX: y\r" + Hidden() + end},
      {"a header without a colon", "GET /api/ping HTTP/1.1\r\nHost: localhost\r\nX" + end},
      {"a header without a name", "GET /api/ping HTTP/1.1\r\nHost: localhost\r\n: y" + end},
      {"a GET with a request as body",
       Request("GET", "/api/ping", "Content-Length: " + std::to_string(Hidden().size()) + "\r\n") +
           Hidden()},
      {"a HEAD with a request as body",
       Request("HEAD", "/api/ping", "Content-Length: " + std::to_string(Hidden().size()) + "\r\n") +
           Hidden()},
      {"a DELETE with a request in chunks",
       Request("DELETE", "/api/ping", "Transfer-Encoding: chunked\r\n") + "400\r\n" + Hidden()},
      {"a POST without length, with a request as body", Submit("\r\n") + "x\r\n" + Hidden()},
      {"to an unknown path", Post("nowhere", Hidden()) + "x"},
      {"behind a body too large",
       Submit("Content-Length: 1048577" + end) + std::string(1048577, ' ') + Hidden()},
      {"behind a compressed body", Post("submit", "xy", "Content-Encoding: gzip\r\n") + Hidden()},
      {"in a multipart body",
       Post("submit", Hidden(), "Content-Type: multipart/form-data; boundary=b\r\n")},
  });
}

TEST_CASE("a header cannot be injected into the answer") {
  const Api api;
  for (const std::string& request :
       {Get("query?gid=x%0d%0aX-Injected:%20y"), Get("nowhere%0d%0aX-Injected:%20y"),
        Get("version", "X: a%0d%0aX-Injected: y\r\n"), Get("all?limit=%0d%0aX-Injected:%20y"),
        Post("submit", R"({"gid":"x\r\nX-Injected: y","trans_type":"\r\nX-Injected: y"})"),
        Post("branch/x%0d%0aX-Injected:%20y?gid=g", "{}"),
        Get("version", "Origin: http://x%0d%0aX-Injected: y\r\n"),
        Get("version", "Host: x%0d%0aX-Injected: y\r\n")}) {
    INFO(request);
    const RawReply reply = api.Ask(request);
    CHECK(reply.status >= 200);
    CHECK(reply.Header("x-injected").empty());
    for (const char* name :
         {"exception_what", "server", "x-powered-by", "access-control-allow-origin"}) {
      CHECK(reply.Header(name).empty());
    }
  }
}
