/// The test coordinator: settles, lets time pass, crashes.
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/client/msg.hpp>
#include <dtm/client/saga.hpp>
#include <dtm/client/tcc.hpp>
#include <dtm/client/workflow.hpp>
#include <dtm/client/xa.hpp>
#include <dtm/testing/test_coordinator.hpp>

using dtm::Result;
using dtm::Status;
using dtm::testing::ScriptedAnswer;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

dtm::Saga OneStep(TestCoordinator& kit, const std::string& gid) {
  return dtm::NewSaga(*kit, gid).Add("http://a", "http://c", 1);
}

}  // namespace

TEST_CASE("test coordinator: settling does all of this moment, and no more") {
  TestCoordinator kit;
  const auto begin = kit.Clock().Now();
  kit.Branches().On("http://b", {{Result::Success(), seconds(1), false}});
  auto saga = OneStep(kit, "g");
  saga.Add("http://a", "http://c", 2).Add("http://b", "http://c", 3);
  saga.Submit();
  kit.Settle();
  CHECK(kit.Clock().Now() == begin);
  CHECK(kit.Branches().Urls() == std::vector<std::string>{"http://a", "http://a", "http://b"});
  CHECK(kit->Query("g")->status == Status::kSubmitted);
  kit.Advance(seconds(1));
  CHECK(kit.Clock().Now() == begin + seconds(1));
  CHECK(kit->Query("g")->status == Status::kSucceed);
}

TEST_CASE("test coordinator: advancing runs everything at its time, and stops at the end") {
  TestCoordinator kit;
  const auto begin = kit.Clock().Now();
  kit.Branches().On("http://a", Result::Ongoing()).On("http://a", Result::Ongoing());
  OneStep(kit, "g").SetRetryInterval(seconds(60)).Submit();
  kit.Advance(minutes(1) - seconds(1));
  CHECK(kit.Branches().Calls().size() == 1);
  kit.Advance(hours(5));
  CHECK(kit.Clock().Now() == begin + minutes(1) - seconds(1) + hours(5));
  REQUIRE(kit.Branches().Calls().size() == 3);
  CHECK(kit.Branches().Calls()[1].at == begin + minutes(1));
  CHECK(kit.Branches().Calls()[2].at == begin + minutes(2));
}

TEST_CASE("test coordinator: waiting moves the time only as far as needed") {
  TestCoordinator kit;
  const auto begin = kit.Clock().Now();
  kit.Branches().On("http://a", {{Result::Success(), seconds(2), false}});
  CHECK(OneStep(kit, "g").SubmitAndWait(hours(1)).Succeeded());
  CHECK(kit.Clock().Now() == begin + seconds(2));
}

TEST_CASE("test coordinator: a crash keeps what was committed and registers again") {
  int setups = 0, runs = 0;
  TestCoordinator kit([&](dtm::Coordinator& tm) {
    ++setups;
    tm.Register<int>("A", [&runs](const int&) { ++runs; });
  });
  CHECK(setups == 1);
  kit.Branches().On("http://a", {{Result::Success(), seconds(2), false}});
  OneStep(kit, "stored").Submit();
  kit.Settle();
  bool told = false;
  OneStep(kit, "lost").SubmitAsync([&told](const dtm::Answer& reply) { told = !reply.error; });
  const auto now = kit.Clock().Now();
  kit.Crash();
  CHECK(setups == 2);
  CHECK(kit.Clock().Now() == now);  // dying takes no time
  CHECK(!told);
  CHECK(!kit->Query("lost"));
  REQUIRE(kit->Query("stored"));
  kit.Settle();
  CHECK(kit.Branches().Calls().size() == 2);  // the answer was lost, it is called again
  CHECK(kit->Query("stored")->status == Status::kSucceed);
}

TEST_CASE("test coordinator: faults of the store end with a crash, records do not") {
  dtm::Options options;
  options.log = nullptr;
  TestCoordinator kit({}, options);
  OneStep(kit, "g").Submit();
  kit.Store().FailAlways(StoreFault::kDefinite);
  CHECK_THROWS_AS(OneStep(kit, "h").Submit(), dtm::StoreError);
  kit.Crash();
  CHECK(OneStep(kit, "h").SubmitAndWait(hours(1)).Succeeded());
  CHECK(kit->Wait("g", hours(1)).Succeeded());
}

TEST_CASE("test coordinator: calls that initiators make themselves take virtual time, never real") {
  TestCoordinator kit;
  const auto begin = kit.Clock().Now();
  const std::string type = GENERATE(as<std::string>{}, "tcc", "xa", "workflow", "msg");
  const bool silent = GENERATE(false, true);
  CAPTURE(type, silent);
  const ScriptedAnswer slow{Result::Success(), seconds(2), false};
  kit.Branches().On("http://slow", {silent ? ScriptedAnswer::Silence() : slow});
  kit.Branches().On("http://a", {{Result::Success(), seconds(1), false}});
  OneStep(kit, "other").Submit();  // which goes on meanwhile
  const auto call = [&] {
    if (type == "tcc") {
      dtm::TccGlobalTransaction(*kit, "g", [](dtm::Tcc& tcc) {
        tcc.CallBranch(1, "http://slow", "http://confirm", "http://cancel");
      });
    } else if (type == "xa") {
      dtm::XaGlobalTransaction(*kit, "g", [](dtm::Xa& xa) { xa.CallBranch(1, "http://slow"); });
    } else if (type == "workflow") {
      dtm::RegisterWorkflow<int>(*kit, "wf", [](dtm::Workflow& wf, const int&) {
        wf.NewBranch().Call("http://slow", 1);
      }).Execute("g", 1);
    } else {
      dtm::NewMsg(*kit, "g")
          .Add("http://b", 1)
          .DoAndSubmit("http://slow", [](const dtm::BranchInfo&) { return Result::Error("lost"); });
    }
  };
  if (silent) {
    CHECK_THROWS_AS(call(), dtm::Error);
    CHECK(kit.Clock().Now() == begin + seconds(3));
  } else {
    call();
    CHECK(kit.Clock().Now() == begin + seconds(2));
  }
  CHECK(kit->Query("other")->status == Status::kSucceed);
}
