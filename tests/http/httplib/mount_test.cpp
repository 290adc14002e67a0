/// The API in an httplib::Server of the program: beside its routes, with the same replies and refusals.
#include <memory>
#include <string>
#include <thread>

#include <httplib.h>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include <dtm/http/httplib/mount.hpp>

using dtm_test::Get;
using dtm_test::kDone;
using dtm_test::kNever;
using dtm_test::Post;
using dtm_test::RawClient;
using dtm_test::RawReply;
using dtm_test::Saga;
using dtm_test::Wrong;

namespace {

struct Mounted {
  explicit Mounted(const std::string& token = {}) {
    tm.Start();
    server.Get("/mine", [](const httplib::Request&, httplib::Response& response) {
      response.set_content("mine", "text/plain");
    });
    dtm::MountApi(tm, server, token);
    port = server.bind_to_any_port("127.0.0.1");
    thread = std::thread([this] { server.listen_after_bind(); });
    while (!server.is_running()) std::this_thread::yield();
  }
  ~Mounted() {
    server.stop();
    thread.join();
  }
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;

  RawReply Ask(const std::string& request) const {
    RawClient client(port);
    (void)client.Send(request);
    return client.Read();
  }

  dtm::Coordinator tm{std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet()};
  httplib::Server server;
  int port = 0;
  std::thread thread;
};

}  // namespace

TEST_CASE("mount: the API is there beside the routes of the program") {
  Mounted mounted;
  CHECK(mounted.Ask(Get("/mine")).body == "mine");
  CHECK(Wrong(mounted.Ask(Get("/api/ping")), 200, R"({"msg":"pong"})") == "");
  CHECK(Wrong(mounted.Ask(Post("submit", Saga("m1"))), 200, kDone) == "");
  CHECK(mounted.tm.Query("m1").has_value());
  CHECK(mounted.Ask(Get("query?gid=m1")).body.find(R"("gid":"m1")") != std::string::npos);
  CHECK(mounted.Ask(Get("nowhere")).status == 404);
}

TEST_CASE("mount: what the head shows is refused before the body is read") {
  Mounted mounted("secret");
  const std::string right = "Authorization: Bearer secret\r\n";
  CHECK(mounted.Ask(Post("submit", Saga(kNever))).status == 401);
  CHECK(mounted.Ask(Post("submit", Saga(kNever), right + "Origin: http://evil\r\n")).status == 403);
  CHECK(mounted.Ask(Post("submit", std::string(1048577, ' '), right)).status == 413);
  CHECK(mounted.Ask(Post("submit", Saga("m2"), right)).status == 200);
  CHECK_FALSE(mounted.tm.Query(kNever).has_value());
}
