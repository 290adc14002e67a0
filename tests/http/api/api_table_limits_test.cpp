/// docs/http_api.md as a table: every limit of a body, at it and one beyond, and how it is packed.
#include <cstddef>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"

using dtm_test::Api;
using dtm_test::Bad;
using dtm_test::BadSaga;
using dtm_test::CheckRows;
using dtm_test::Chunked;
using dtm_test::Get;
using dtm_test::Good;
using dtm_test::Json;
using dtm_test::kDone;
using dtm_test::kNever;
using dtm_test::Post;
using dtm_test::RawClient;
using dtm_test::RawReply;
using dtm_test::Repeated;
using dtm_test::Request;
using dtm_test::Saga;
using dtm_test::Step;
using dtm_test::Wrong;

namespace {

constexpr std::size_t kMaxBody = std::size_t{1} << 20;

/// A body of exactly this size.
std::string Sized(const std::string& gid, std::size_t size) {
  const std::size_t rest = Saga(gid, R"(,"x":"")").size();
  return Saga(gid, R"(,"x":")" + std::string(size - rest, 'x') + "\"");
}

}  // namespace

TEST_CASE("every limit, at it and one beyond") {
  Api api;
  const std::string letters(2100, 'u');
  const auto gid = [](std::size_t size) { return std::string(size, 'g'); };
  const auto url = [&](std::size_t size) {
    return "http://b/" + letters.substr(0, size - 12) + "/ok";
  };
  const auto payload = [](std::size_t size) { return Step("", "", std::string(size, 'p')); };
  const auto steps = [](std::size_t count) {
    return R"(,"steps":[)" + Repeated("{},", count - 1) + R"({}],"payloads":[)" +
           Repeated("\"\",", count - 1) + "\"\"]";
  };
  const auto headers = [](std::size_t count, std::size_t size) {
    Json json = Json::object();
    for (std::size_t i = 0; i < count; ++i)
      json[std::to_string(10 + i)] = std::string(size - 2, 'h');
    return ",\"branch_headers\":" + json.dump();
  };
  CheckRows(api,
            {
                Good("gid 128", Saga(gid(128))),
                Bad("gid 129", Saga(gid(129)), "gid"),
                Good("gid 128, more deleted", Saga(";" + gid(127) + "h;")),
                Good("gid of 128 bytes, 64 characters", Saga(Repeated("é", 64))),
                Bad("gid of 65 characters in 130 bytes", Saga(Repeated("é", 65)), "gid"),
                Good("url 2048", Saga("l1", Step(url(2048), url(2048)))),
                BadSaga(Step(url(2049)), "url|URL"),
                BadSaga(Step("", url(2049)), "url|URL"),
                Good("1000 steps", Saga("l2", steps(1000))),
                BadSaga(steps(1001), "1000"),
                Good("payload 256 KiB", Saga("l3", payload(262144))),
                BadSaga(payload(262145), "262144"),
                BadSaga(R"(,"steps":[{"data":")" + std::string(262145, 'p') + "\"}]", "262144"),
                Good("32 headers", Saga("l4", headers(32, 10))),
                BadSaga(headers(33, 10), "32"),
                Good("header of 4 KiB", Saga("l5", headers(1, 4096))),
                BadSaga(headers(1, 4097), "4096"),
                Good("body 1 MiB", Sized("l6", kMaxBody)),
                {"in 64 KiB", Chunked("submit", Sized("l7", kMaxBody), 65536), 200, kDone},
                {"in one chunk", Chunked("submit", Sized("l8", kMaxBody), kMaxBody), 200, kDone},
                {"by bytes", Chunked("submit", Sized("l9", 3000), 1), 200, kDone},
                {"in 64 bytes", Chunked("submit", Sized("l10", kMaxBody), 64), 200, kDone},
                {"in 1 KiB", Chunked("submit", Sized("l11", kMaxBody), 1024), 200, kDone},
            });
  CHECK(!api.Stored(kNever));
}

TEST_CASE("a body above 1 MiB is 413 and the connection is closed") {
  Api api;
  const std::string body = Sized(kNever, kMaxBody + 1);
  CheckRows(api,
            {
                {"in one piece", Post("submit", body), 413, ""},
                {"in chunks", Chunked("submit", body, 65536), 413, ""},
                {"in one chunk", Chunked("submit", body, body.size()), 413, ""},
                {"for a function", Post("branch/x?gid=g", body), 413, ""},
                {"in tiny chunks", Chunked("submit", Sized(kNever, kMaxBody + 1), 64), 413, ""},
            });
  // Only announced: the answer does not wait for it.
  for (const char* length : {"1048577", "99999999999", "9223372036854775807"}) {
    INFO(length);
    RawClient client(api.Port());
    client.Send(Request("POST", "submit", "Content-Length: " + std::string(length) + "\r\n"));
    CHECK(Wrong(client.Read(), 413, "") == "");
    CHECK(client.Closed());
  }
  CHECK(api.Ask(Get("version")).status == 200);
  CHECK(!api.Stored(kNever));
}

TEST_CASE("the type of a body is ignored, but not how it is packed") {
  Api api;
  const auto typed = [](const std::string& gid, const std::string& header, std::size_t size = 100) {
    return Post("submit", Sized(gid, size), header + "\r\n");
  };
  const std::string multipart = "Content-Type: multipart/form-data; boundary=b\r\n";
  const std::string form = "Content-Type: application/x-www-form-urlencoded";
  const std::string parts =
      "--b\r\nContent-Disposition: form-data; name=\"gid\"\r\n\r\nnever-stored\r\n--b--\r\n";
  CheckRows(api, {
                     {"text", typed("t1", "Content-Type: text/plain"), 200, kDone},
                     {"form", typed("t2", form), 200, kDone},
                     {"large form", typed("t3", form, 100000), 200, kDone},
                     {"odd", typed("t4", "Content-Type: ???"), 200, kDone},
                     {"latin1", typed("t5", "Content-Type: x/y; charset=latin1"), 200, kDone},
                     {"identity", typed("t6", "Content-Encoding: identity"), 200, kDone},
                     {"gzip", typed(kNever, "Content-Encoding: gzip"), 415, ""},
                     {"by case", typed(kNever, "content-encoding: GZIP"), 415, ""},
                     {"deflate", typed(kNever, "Content-Encoding: deflate"), 415, ""},
                     {"br", typed(kNever, "Content-Encoding: br"), 415, ""},
                     {"unknown", typed(kNever, "Content-Encoding: x"), 415, ""},
                     {"two", typed(kNever, "Content-Encoding: identity, gzip"), 415, ""},
                     {"multipart", Post("submit", parts, multipart), 415, ""},
                     {"no parts", Post("submit", Saga(kNever), multipart), 415, ""},
                     {"mixed", typed(kNever, "Content-Type: Multipart/Mixed; boundary=b"), 415, ""},
                 });
  CHECK(!api.Stored(kNever));
}

TEST_CASE("GET, HEAD and DELETE have no body") {
  Api api;
  for (const char* method : {"GET", "HEAD", "DELETE"}) {
    for (const char* path : {"version", "/api/ping", "query?gid=x", "resetCronTime", "nowhere"}) {
      for (const std::string& request :
           {Request(method, path, "", "{}"),
            Request(method, path, "Transfer-Encoding: chunked\r\n") + "2\r\n{}\r\n0\r\n\r\n"}) {
        INFO(request);
        RawClient client(api.Port());
        client.Send(request);
        const RawReply reply = client.Read(*method == 'H');
        CHECK(reply.status == 400);
        CHECK(client.Closed());
      }
    }
  }
  CHECK(api.Ask(Request("GET", "version", "Content-Length: 0\r\n")).status == 200);
}
