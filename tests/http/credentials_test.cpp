/// User and password in the URL of a branch: sent with every call, also after a restart, and shown nowhere.
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/client/msg.hpp>
#include <dtm/client/saga.hpp>
#include <dtm/http/api/api.hpp>
#include <dtm/http/branches.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::NewMsg;
using dtm::NewSaga;
using dtm_test::RawServer;
using std::chrono::seconds;

namespace {

/// Everything that people can see.
class Seen {
 public:
  void Add(const std::string& text) {
    const std::lock_guard<std::mutex> lock(mutex_);
    all_ += text + "\n";
  }
  std::string All() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return all_;
  }

 private:
  std::mutex mutex_;
  std::string all_;
};

/// Until it is so, or for long.
void Await(const std::function<bool()>& so) {
  for (int i = 0; i < 20000 && !so(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  REQUIRE(so());
}

}  // namespace

TEST_CASE("credentials: they are sent with every call, and nobody is shown them") {
  const dtm_test::TempDir dir;
  Seen seen;
  std::atomic<int> good{0}, bad{0}, answer{500};
  RawServer bank([&](int fd, int) {
    for (;;) {
      const std::string request = RawServer::ReadRequest(fd);
      if (request.empty()) return;
      const bool told = request.find("Authorization: Basic dTpzZWNyZXQ=\r\n") != std::string::npos;
      ++(told ? good : bad);
      RawServer::Write(fd,
                       "HTTP/1.1 " + std::to_string(answer) + " x\r\nContent-Length: 0\r\n\r\n");
    }
  });
  const auto url = [&bank](const std::string& path) {
    return bank.Url(path).insert(7, "u:secret@");
  };
  dtm::Options options;
  options.log = [&seen](dtm::LogLevel, const std::string& text) { seen.Add("log " + text); };
  options.on_alert = [&seen](const dtm::Alert& alert) {
    seen.Add("alert " + alert.branch + " " + alert.error);
  };
  options.retry_interval = std::chrono::milliseconds(1);
  {
    dtm::Coordinator tm(dir / "a.db", options);
    tm.Use(dtm::HttpBranches());
    dtm::Api api(tm);
    const auto ask = [&](const std::string& method, const std::string& path,
                         std::multimap<std::string, std::string> query = {}) {
      seen.Add(path + " " + api.Handle({method, "/api/" + path, std::move(query), {}}).body);
    };
    tm.Start();
    tm.Subscribe("t", url("/topic"), "a remark");
    CHECK_THROWS_AS(tm.Subscribe("t", "http://u:secret@/x"), dtm::RejectedError);
    NewSaga(tm, "s").Add(url("/action"), url("/undo"), 1).Submit();
    NewMsg(tm, "m").Add(url("/deliver"), 1).Submit();
    NewMsg(tm, "t").AddTopic("t", 1).Submit();
    NewMsg(tm, "p").Add(url("/deliver"), 1).Prepare(url("/query"));
    Await([&] { return tm.Explain("s").find("3 errors") != std::string::npos; });
    Await([&] { return seen.All().find("alert ") != std::string::npos; });
    for (const char* gid : {"s", "m", "t", "p"}) {
      seen.Add("explain " + tm.Explain(gid));
      ask("GET", "dtmsvr/query", {{"gid", gid}});
      ask("GET", "dtmsvr/timeline", {{"gid", gid}});
      const auto stored = tm.Query(gid);
      REQUIRE(stored);
      seen.Add("last error " + stored->last_error);
      for (const dtm::Step& step : stored->definition->steps) {
        CHECK_THAT(step.action, ContainsSubstring("secret"));  // what can be called is stored
      }
    }
    for (const char* path : {"dtmsvr/all", "dtmsvr/scanKV", "dtmsvr/queryKV", "metrics"})
      ask("GET", path);
    answer = 409;
    const dtm::TransResult failed =
        NewSaga(tm, "f").Add(url("/no"), dtm::kNoBranch, 1).SubmitAndWait(seconds(20));
    CHECK(failed.Failed());
    seen.Add("reason " + failed.reason);
    try {
      NewSaga(tm, "f").Add(url("/no"), dtm::kNoBranch, 1).Submit();
    } catch (const dtm::FailureError& error) {
      seen.Add(error.what());
    }
    ask("GET", "dtmsvr/query", {{"gid", "f"}});
  }
  good = 0;
  answer = 200;
  {
    dtm::Coordinator tm(dir / "a.db", options);
    tm.Use(dtm::HttpBranches());
    tm.Start();
    for (const char* gid : {"m", "t"}) CHECK(tm.Wait(gid, seconds(20)).Succeeded());
    CHECK(tm.Wait("s", seconds(20)).Finished());
  }
  CHECK(good >= 3);
  CHECK(bad == 0);
  CHECK_THAT(seen.All(), ContainsSubstring("alert http://***@127.0.0.1:"));
  CHECK_THAT(seen.All(), ContainsSubstring("explain saga s"));
  CHECK_THAT(seen.All(), ContainsSubstring("a remark"));
  CHECK_THAT(seen.All(), !ContainsSubstring("secret"));
}
