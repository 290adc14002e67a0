/// The desk as the server serves it: its files, their headers, and who may have them. What the page does: tests/desk/.
#include <memory>
#include <regex>
#include <set>
#include <string>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include <dtm/base/error.hpp>
#include <dtm/http/server.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::Get;
using dtm_test::RawClient;
using dtm_test::RawReply;
using dtm_test::Request;

namespace {

struct DeskServer {
  explicit DeskServer(const std::string& token = {}) : server(tm, With(token)) {
    server.MountDesk();
    tm.Start();
    port = server.Start("127.0.0.1", 0);
  }
  RawReply Ask(const std::string& request) const {
    RawClient client(port);
    (void)client.Send(request);
    return client.Read(request.compare(0, 5, "HEAD ") == 0);
  }
  static dtm::ServerOptions With(const std::string& token) {
    dtm::ServerOptions options;
    options.token = token;
    return options;
  }

  dtm::Coordinator tm{std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet()};
  dtm::Server server;
  int port = 0;
};

}  // namespace

TEST_CASE("desk: a page, and what it refers to, with headers that keep everything foreign out") {
  const DeskServer desk;
  const RawReply page = desk.Ask(Get("/desk"));
  REQUIRE(page.status == 200);
  CHECK(page.Header("content-type") == "text/html; charset=utf-8");
  std::size_t bytes = page.body.size();
  const std::regex reference("(?:href|src)=\"(desk/[a-z.]+)\"");
  std::set<std::string> files;
  for (std::sregex_iterator at(page.body.begin(), page.body.end(), reference), end; at != end;
       ++at) {
    const std::string name = (*at)[1].str();
    if (!files.insert(name).second) continue;
    const RawReply file = desk.Ask(Get("/" + name));
    CAPTURE(name);
    CHECK(file.status == 200);
    CHECK_FALSE(file.body.empty());
    bytes += file.body.size();
  }
  CHECK(files.size() == 3);
  CHECK(bytes <= 100000);
  for (const char* path : {"/desk", "/desk/desk.js", "/desk/desk.css", "/desk/icon.svg"}) {
    const RawReply reply = desk.Ask(Get(path));
    CAPTURE(path);
    CHECK_THAT(reply.Header("content-security-policy"),
               ContainsSubstring("default-src 'self'") && !ContainsSubstring("unsafe") &&
                   ContainsSubstring("frame-ancestors 'none'"));
    CHECK(reply.Header("x-content-type-options") == "nosniff");
    CHECK(reply.Header("x-frame-options") == "DENY");
    CHECK(reply.Header("referrer-policy") == "no-referrer");
    CHECK(reply.Header("cache-control") == "no-cache");
  }
  // What Content-Security-Policy would refuse is not there.
  for (const char* inside : {"<style", "<script>", " style=", " onclick=", "http://", "https://"}) {
    CAPTURE(inside);
    CHECK(page.body.find(inside) == std::string::npos);
  }
}

TEST_CASE("desk: it is asked for with GET and HEAD, and only by its exact path") {
  const DeskServer desk;
  const RawReply head = desk.Ask(Request("HEAD", "/desk"));
  CHECK(head.status == 200);
  CHECK(head.body.empty());
  for (const std::string& request :
       {Request("POST", "/desk", "", "{}"), Request("DELETE", "/desk"), Get("/desk/"),
        Get("/desk/x"), Get("/Desk"), Get("/desk/desk.html"), Get("/")}) {
    CAPTURE(request);
    CHECK(desk.Ask(request).status == 404);
  }
}

TEST_CASE("desk: the page needs no token, what it asks for does") {
  const DeskServer desk("secret");
  CHECK(desk.Ask(Get("/desk", "Host: 10.0.0.5:36789\r\n")).status == 200);
  CHECK(desk.Ask(Get("/desk/desk.js")).status == 200);
  CHECK(desk.Ask(Get("version")).status == 401);
  CHECK(desk.Ask(Get("version", "Authorization: Bearer secret\r\n")).status == 200);
}

TEST_CASE("desk: another site may link to it, and cannot load it; a foreign name gets nothing") {
  for (const char* token : {"", "secret"}) {
    const DeskServer desk(token);
    CAPTURE(token);
    const auto status = [&desk](const char* path, const std::string& headers) {
      return desk.Ask(Get(path, headers)).status;
    };
    CHECK(status("/desk", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: document\r\n") == 200);
    CHECK(status("/desk", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: iframe\r\n") == 403);
    CHECK(status("/desk/desk.js", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: script\r\n") ==
          403);
    CHECK(status("/desk", "Origin: http://evil.example\r\n") == 403);
    CHECK(status("version", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: document\r\n") == 403);
    CHECK(status("/desk", "Host: rebound.example\r\n") == (*token == '\0' ? 403 : 200));
  }
}

TEST_CASE("desk: a server without it has no page, and a server that listens takes none") {
  dtm::Coordinator tm{std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet()};
  dtm::Server server(tm);
  const int port = server.Start("127.0.0.1", 0);
  RawClient client(port);
  client.Send(Get("/desk"));
  CHECK(client.Read().status == 404);
  CHECK_THROWS_AS(server.MountDesk(), dtm::LogicError);
}
