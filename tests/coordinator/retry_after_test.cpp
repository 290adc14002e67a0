/// What a branch asks for with Retry-After: no try comes earlier, of any type, also after a crash.
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/client/msg.hpp>
#include <dtm/client/saga.hpp>
#include <dtm/client/tcc.hpp>
#include <dtm/client/workflow.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>
#include <dtm/testing/test_coordinator.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Duration;
using dtm::Result;
using dtm::Time;
using dtm::testing::ScriptedAnswer;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

Result Asking(Result result, Duration retry_after) {
  result.retry_after = retry_after;
  return result;
}

/// How long after the first call of this url the second one came; 0 if there was none.
Duration Between(TestCoordinator& kit, const std::string& url) {
  Time first{};
  for (const auto& call : kit.Branches().Calls()) {
    if (call.url != url) continue;
    if (first != Time{}) return call.at - first;
    first = call.at;
  }
  return Duration(0);
}

struct Row {
  const char* name;
  const char* url;  ///< of the branch that asks
  std::function<void(TestCoordinator&)> begin;
};

const Row kRows[] = {
    {"action", "http://b/1",
     [](TestCoordinator& kit) {
       dtm::NewSaga(*kit, "g").Add("http://b/1", "http://b/2", 1).Submit();
     }},
    {"compensation", "http://b/2",
     [](TestCoordinator& kit) {
       kit.Branches().On("http://b/1", Result::Failure("no"));
       dtm::NewSaga(*kit, "g").Add("http://b/1", "http://b/2", 1).Submit();
     }},
    {"message", "http://b/1",
     [](TestCoordinator& kit) { dtm::NewMsg(*kit, "g").Add("http://b/1", 1).Submit(); }},
    {"question", "http://b/q",
     [](TestCoordinator& kit) {
       dtm::NewMsg(*kit, "g").Add("http://b/1", 1).Prepare("http://b/q");
     }},
    {"confirm", "http://b/2",
     [](TestCoordinator& kit) {
       dtm::TccGlobalTransaction(
           *kit, "g", [](dtm::Tcc& tcc) { tcc.CallBranch(1, "", "http://b/2", "http://b/3"); });
     }},
    {"resume", "http://b/w",
     [](TestCoordinator& kit) {
       dtm::Definition workflow;
       workflow.gid = "g";
       workflow.type = dtm::TransType::kWorkflow;
       workflow.workflow = "wf";
       workflow.query_prepared = "http://b/w";
       (void)kit->PrepareWorkflow(std::move(workflow));
     }},
};

}  // namespace

TEST_CASE("retry after: no try comes before the branch asked for it, nor before the usual wait") {
  struct Wait {
    Result first;
    Duration least, most;
  };
  const Wait waits[] = {
      {Asking(Result::Error("503"), minutes(5)), minutes(5), minutes(5)},
      {Asking(Result::Ongoing("425"), minutes(5)), minutes(5), minutes(5)},
      {Asking(Result::Error("503"), seconds(1)), seconds(10), seconds(12)},
      {Asking(Result::Ongoing("425"), seconds(1)), seconds(10), seconds(10)},
      {Asking(Result::Error("503"), hours(30)), hours(1), hours(1)},
  };
  for (const Row& row : kRows) {
    for (const Wait& wait : waits) {
      CAPTURE(row.name, wait.first.text, wait.first.retry_after.count());
      TestCoordinator kit({}, dtm_test::Quiet());
      kit.Branches().On(row.url, wait.first);
      row.begin(kit);
      kit.Advance(hours(2));
      CHECK(Between(kit, row.url) >= wait.least);
      CHECK(Between(kit, row.url) <= wait.most);
    }
  }
}

TEST_CASE(
    "retry after: a crash does not shorten it, and a clock that was set back does not lengthen "
    "it") {
  for (const Row& row : kRows) {
    CAPTURE(row.name);
    const dtm_test::TempDir dir;
    TestCoordinator kit(
        {}, dtm_test::Quiet(),
        std::make_shared<dtm::SqliteStore>(dir / "a.db", dtm::Durability::kProcess));
    kit.Branches().On(row.url, Asking(Result::Error("503"), minutes(50)));
    row.begin(kit);
    kit.Advance(minutes(2));
    kit.Crash();
    kit.Advance(minutes(2));
    CHECK(Between(kit, row.url) == Duration(0));
    kit.Advance(minutes(50));
    CHECK(Between(kit, row.url) >= minutes(50));
  }
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://b/1", Asking(Result::Error("503"), minutes(50)));
  dtm::NewSaga(*kit, "g").Add("http://b/1", dtm::kNoBranch, 1).Submit();
  kit.Settle();
  kit.Clock().Set(kit.Clock().Now() - hours(24));
  kit.Crash();
  kit.Advance(hours(1) + seconds(1));
  CHECK(kit->Wait("g", seconds(0)).Succeeded());
}

TEST_CASE("retry after: Explain says it, RetryNow forgets it, a later error waits as ever") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://b/1", {ScriptedAnswer{Asking(Result::Error("503"), minutes(5))},
                                   ScriptedAnswer{Result::Error("500")}});
  dtm::NewSaga(*kit, "g").Add("http://b/1", dtm::kNoBranch, 1).Submit();
  kit.Settle();
  CHECK_THAT(kit->Explain("g"), ContainsSubstring("next try in 300.0 s, as it asked for"));
  kit->RetryNow("g");
  kit.Settle();
  CHECK(kit.Branches().Calls().size() == 2);
  CHECK_THAT(kit->Explain("g"), !ContainsSubstring("as it asked for"));
  kit.Advance(seconds(13));
  CHECK(kit->Wait("g", seconds(0)).Succeeded());
}

TEST_CASE("retry after: a function may ask for it as well, and so may what a workflow calls") {
  std::vector<std::string> called;
  const auto setup = [&called](dtm::Coordinator& tm) {
    tm.Register<int>("F", [&called](const int&, const dtm::BranchInfo& info) -> Result {
      called.push_back(info.gid);
      if (called.size() > 1) return Result::Success();
      throw dtm::AskingToWait(dtm::OngoingError("later"), minutes(5));
    });
    dtm::RegisterWorkflow<int>(tm, "wf", [](dtm::Workflow& workflow, const int&) {
      workflow.NewBranch().Call("http://b/1", 1);
    });
  };
  TestCoordinator kit(setup, dtm_test::Quiet());
  dtm::Definition saga;
  saga.gid = "s";
  saga.steps = {{"local:F", "", "1"}};
  kit->Submit(saga);
  kit.Branches().On("http://b/1", Asking(Result::Error("503"), minutes(5)));
  dtm::Definition workflow;
  workflow.gid = "w";
  workflow.type = dtm::TransType::kWorkflow;
  workflow.workflow = "wf";
  workflow.data = "1";
  workflow.query_prepared = "local:wf";
  (void)kit->PrepareWorkflow(workflow);
  kit.Advance(minutes(4));
  CHECK(called.size() == 1);
  CHECK(kit.Branches().Calls().size() == 1);
  kit.Advance(minutes(2));
  CHECK(kit->Wait("s", seconds(0)).Succeeded());
  CHECK(kit->Wait("w", seconds(0)).Succeeded());
}
