/// What the API answers when the coordinator or its store cannot do it.
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/api_kit.hpp"

using Catch::Matchers::ContainsSubstring;
using dtm::ApiReply;
using dtm::testing::StoreFault;
using dtm_test::ApiKit;
using dtm_test::Json;
using dtm_test::kDone;
using dtm_test::OnlyGid;
using dtm_test::Saga;
using dtm_test::Step;
using Seconds = std::chrono::seconds;

namespace {

/// Reading it fails as the test says.
class Unreadable : public dtm::MemoryStore {
 public:
  std::function<void()> on_read;

  std::optional<dtm::Transaction> Load(const std::string& gid) override {
    if (on_read) on_read();
    return MemoryStore::Load(gid);
  }
  dtm::ScanPage Scan(const dtm::ScanFilter& filter, std::int64_t position,
                     std::size_t limit) override {
    if (on_read) on_read();
    return MemoryStore::Scan(filter, position, limit);
  }
};

/// An answer of this status with only a message.
void CheckError(const ApiReply& answer, int status, const std::string& words = {}) {
  CHECK(answer.status == status);
  CHECK(answer.retry_after == (status == 503));
  CHECK(answer.type == std::string("application/json; charset=utf-8"));
  const Json json = Json::parse(answer.body, nullptr, false);
  REQUIRE(json.is_object());
  CHECK(json.size() == 1);
  CHECK_THAT(json["message"].get<std::string>(), ContainsSubstring(words));
}

std::string SkipOf(const std::string& gid) {
  return R"({"branch_id":"01","op":"action","why":"by hand","gid":")" + gid + "\"}";
}

}  // namespace

TEST_CASE("api_errors: the store definitely failed: 503, nothing stored, later it works") {
  for (const char* path : {"submit", "prepare"}) {
    for (const int operation : {1, 2, 3}) {  // Begin, Apply, Commit
      CAPTURE(path, operation);
      ApiKit kit;
      kit.kit.Settle();
      kit.kit.Store().FailOnce(static_cast<std::uint64_t>(operation), StoreFault::kDefinite);
      CheckError(kit.AskPost(path, Saga("g", Step("http://b/a"))), 503, "gid 'g'");
      CHECK(kit.StatusOf("g") == "none");
      kit.kit.Advance(Seconds(2));
      CHECK(kit.StatusOf("g") == "none");
      CHECK(kit.kit.Branches().Calls().empty());
      CHECK(kit.AskPost(path, Saga("g", Step("http://b/a"))).body == kDone);
    }
  }
}

TEST_CASE("api_errors: the store failed in the middle: 500, and the same again settles it") {
  for (const char* path : {"submit", "prepare"}) {
    for (const auto fault : {StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
      CAPTURE(path, static_cast<int>(fault));
      ApiKit kit;
      kit.kit.Settle();
      kit.kit.Store().FailOnce(3, fault);
      CheckError(kit.AskPost(path, Saga("g", Step("http://b/a"))), 500, "gid 'g'");
      kit.kit.Advance(Seconds(2));
      CHECK(kit.AskPost(path, Saga("g", Step("http://b/a"))).body == kDone);
      kit.kit.Settle();
      const bool ran = path == std::string("submit");
      CHECK(kit.StatusOf("g") == (ran ? "succeed" : "prepared"));
      CHECK(kit.kit.Branches().Calls().size() == (ran ? 1 : 0));
    }
  }
}

TEST_CASE("api_errors: while the store fails, what changes is refused and what reads is answered") {
  ApiKit kit;
  kit.kit.Branches().On("http://b/wait", dtm::Result::Ongoing());
  CHECK(kit.AskPost("submit", Saga("old", Step("http://b/wait"))).body == kDone);
  kit.kit.Settle();
  kit.kit.Store().FailAlways(StoreFault::kDefinite);
  CheckError(kit.AskPost("submit", Saga("g")), 503, "gid 'g'");
  for (const char* path : {"submit", "prepare"}) {
    CheckError(kit.AskPost(path, Saga("new")), 503, "new");
  }
  for (const char* path : {"abort", "forceStop", "resetNextCronTime"}) {
    CAPTURE(path);
    CheckError(kit.AskPost(path, Saga("old")), 503, "old");
  }
  CheckError(kit.AskPost("skipBranch", SkipOf("old")), 503, "old");
  CheckError(kit.AskGet("resetCronTime"), 503);
  CHECK(kit.StatusOf("old") == "submitted");
  CHECK(kit.AskGet("all").status == 200);
  CHECK(kit.AskGet("newGid").status == 200);
  CHECK(kit.AskGet("/api/ping").status == 200);
  CHECK(kit.AskGet("/api/metrics").status == 200);
  kit.kit.Store().FailAlways(StoreFault::kNone);
  kit.kit.Advance(Seconds(2));
  CHECK(kit.AskPost("abort", Saga("old")).body == kDone);
  CHECK(kit.AskPost("submit", Saga("new")).body == kDone);
}

TEST_CASE("api_errors: whatever reading the store throws is an answer") {
  struct Row {
    std::function<void()> fail;
    int status;
  };
  const Row rows[] = {
      {[] { throw dtm::StoreError("the <disk> is gone"); }, 503},
      {[] { throw dtm::CommitInDoubt("the <disk> is gone"); }, 503},
      {[] { throw dtm::InDoubtError("the <disk> is gone"); }, 500},
      {[] { throw std::runtime_error("the <disk> is gone"); }, 500},
      {[] { throw dtm::Error("the <disk> is gone"); }, 500},
  };
  for (const Row& row : rows) {
    const auto store = std::make_shared<Unreadable>();
    ApiKit kit({}, dtm_test::Quiet(), store);
    store->on_read = row.fail;
    const std::string words = "the <disk> is gone";
    CheckError(kit.AskGet("query", {{"gid", "g"}}), row.status, words);
    CheckError(kit.AskGet("all"), row.status, words);
    CheckError(kit.AskGet("all", {{"gid", "g"}}), row.status, words);
    for (const char* path : {"abort", "forceStop", "resetNextCronTime"}) {
      CheckError(kit.AskPost(path, Saga("g")), row.status, words);
    }
    CheckError(kit.AskPost("skipBranch", SkipOf("g")), row.status, words);
    CHECK(kit.AskGet("query", {{"gid", "g"}}).body.find('<') == std::string::npos);
  }
  const auto store = std::make_shared<Unreadable>();
  ApiKit kit({}, dtm_test::Quiet(), store);
  store->on_read = [] { throw std::bad_alloc(); };
  CHECK(kit.AskGet("all").status == 500);
}

TEST_CASE("api_errors: the reason of a failed one is told although the store cannot be read") {
  const auto store = std::make_shared<Unreadable>();
  ApiKit kit({}, dtm_test::Quiet(), store);
  kit.kit.Branches().On("http://b/a", dtm::Result::Failure("no money"));
  kit.kit.Branches().On("http://b/c", {{dtm::Result::Success(), Seconds(1)}});
  kit.kit.Clock().At(kit.kit.Clock().Now() + Seconds(1), [&store] {
    store->on_read = [] { throw dtm::StoreError("the disk is gone"); };
  });
  const std::string body = Saga("g", Step("http://b/a", "http://b/c") + R"(,"wait_result":true)");
  const ApiReply answer = kit.AskPost("submit", body);
  CHECK(answer.status == 409);
  CHECK(answer.body == R"({"dtm_result":"FAILURE","message":"no money"})");
}

TEST_CASE("api_errors: too many submissions wait: 503, and the rest goes on") {
  dtm::Options options = dtm_test::Quiet();
  options.max_waiting_submissions = 1;
  ApiKit kit({}, options);
  dtm::Definition first;
  first.gid = "first";
  kit.kit->SubmitAsync(first, {});  // and no turn takes it
  CheckError(kit.AskPost("submit", Saga("g")), 503, "gid 'g'");
  CheckError(kit.AskPost("prepare", Saga("g")), 503, "gid 'g'");
  CHECK(kit.StatusOf("g") == "none");
  CHECK(kit.AskPost("submit", "{}").status == 400);
}

TEST_CASE("api_errors: the coordinator was stopped: 503") {
  ApiKit kit;
  CHECK(kit.AskPost("prepare", Saga("old")).body == kDone);
  CHECK(kit.kit->Stop(Seconds(1)));
  for (const char* path : {"submit", "prepare"}) CheckError(kit.AskPost(path, Saga("g")), 503);
  for (const char* path : {"abort", "forceStop", "resetNextCronTime"}) {
    CheckError(kit.AskPost(path, Saga("old")), 503, "stopped");
  }
  CheckError(kit.AskPost("skipBranch", SkipOf("old")), 503, "stopped");
  CheckError(kit.AskGet("resetCronTime"), 503, "stopped");
  CHECK(kit.StatusOf("old") == "prepared");
}

TEST_CASE("api_errors: what is wrong with the request is 400, and nothing is stored") {
  ApiKit kit;
  const std::string huge(1000000, '[');
  for (const char* path :
       {"submit", "prepare", "abort", "forceStop", "resetNextCronTime", "skipBranch"}) {
    for (const std::string& body :
         {std::string(), std::string("x"), std::string("[]"), std::string("{}"), huge,
          std::string("{\"gid\":\"\xFF\"}"), OnlyGid(""), std::string(R"({"gid":7})")}) {
      CAPTURE(path);
      CheckError(kit.AskPost(path, body), 400);
    }
  }
  for (const char* path : {"submit", "prepare", "abort"}) {
    CheckError(kit.AskPost(path, OnlyGid("g")), 400, "trans_type");
  }
  CHECK(Json::parse(kit.AskGet("all").body)["transactions"].empty());
}
