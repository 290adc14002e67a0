/// ListWaiting, CallFunction, and Cancel with a reason.
#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/world.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Coordinator;
using dtm::Definition;
using dtm::Result;
using dtm::Status;
using dtm::testing::ScriptedAnswer;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::seconds;
using world::NewDefinition;
using world::World;

namespace {

struct Transfer {
  int amount;
};
void from_json(const nlohmann::json& json, Transfer& transfer) {
  json.at("amount").get_to(transfer.amount);
}

}  // namespace

TEST_CASE("commands: what waits for a time is listed, the earliest first") {
  dtm::Options options;
  options.max_in_memory = GENERATE(as<std::size_t>{}, 20000, 2);
  const bool crash = GENERATE(false, true);
  CAPTURE(options.max_in_memory, crash);
  TestCoordinator kit({}, dtm_test::Quiet(options));
  using Texts = std::vector<std::string>;
  CHECK(kit->ListWaiting(seconds(0), 100).empty());
  for (const int hour : {3, 1, 2}) {
    Definition definition = NewDefinition(std::to_string(hour) + "h", 1);
    definition.options.retry_interval = hours(hour);
    kit.Branches().On("http://" + definition.gid + "/01/action", Result::Ongoing());
    kit->Submit(definition);
    kit.Settle();
  }
  kit->Prepare(NewDefinition("prepared", 1));
  kit->Submit(NewDefinition("ended", 1));
  kit.Branches().On("http://out/01/action", {ScriptedAnswer::Silence()});
  kit->Submit(NewDefinition("out", 1));
  kit.Settle();
  if (crash) kit.Crash();
  CHECK(kit->ListWaiting(seconds(0), 100) == Texts{"1h", "2h", "3h"});
  CHECK(kit->ListWaiting(seconds(0), 2) == Texts{"1h", "2h"});
  CHECK(kit->ListWaiting(seconds(0), 0).empty());
  CHECK(kit->ListWaiting(hours(1) - seconds(1), 100) == Texts{"1h", "2h", "3h"});
  CHECK(kit->ListWaiting(hours(1), 100) == Texts{"2h", "3h"});  // later than that
  CHECK(kit->ListWaiting(hours(3), 100).empty());
  for (const std::string& gid : kit->ListWaiting(hours(1), 100)) kit->RetryNow(gid);
  kit.Settle();
  CHECK(kit->Query("2h")->status == Status::kSucceed);
  CHECK(kit->Query("3h")->status == Status::kSucceed);
  CHECK(kit->ListWaiting(seconds(0), 100).front() == "1h");

  kit.Store().FailAlways(StoreFault::kDefinite);
  CHECK_THROWS_AS(kit->ListWaiting(seconds(0), 100), dtm::StoreError);
  kit.Store().FailAlways(StoreFault::kNone);
  kit.Advance(seconds(5));
  REQUIRE(kit->Stop(seconds(1)));
  CHECK_THROWS_AS(kit->ListWaiting(seconds(0), 100), dtm::LogicError);
}

TEST_CASE("commands: a function may be called for a transaction of another coordinator") {
  Coordinator tm(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
  const bool threaded = GENERATE(false, true);
  CAPTURE(threaded);
  std::string seen;
  tm.Register<Transfer>("F", [&](const Transfer& transfer, const dtm::BranchInfo& info) -> Result {
    seen = info.gid + " " + Name(info.trans_type) + " " + info.branch_id + " " + Name(info.op);
    if (transfer.amount == 1) return Result::Failure("no money");
    if (transfer.amount == 2) return Result::Ongoing("soon");
    if (transfer.amount == 3) throw dtm::FailureError("no, thrown");
    if (transfer.amount == 4) throw std::runtime_error("broken");
    return Result::Success();
  });
  if (threaded) tm.Start();
  const dtm::BranchInfo info{"far", dtm::TransType::kWorkflow, "07", dtm::Op::kCompensate};
  const auto call = [&](const std::string& payload) {
    const Result result = tm.CallFunction("F", payload, info);
    static const char* const kinds[] = {"SUCCESS", "FAILURE", "ONGOING", "error", "not sent"};
    return kinds[static_cast<int>(result.kind)] + (": " + result.text);
  };
  CHECK(call(R"({"amount":0})") == "SUCCESS: ");
  CHECK(seen == "far workflow 07 compensate");
  CHECK(call(R"({"amount":1})") == "FAILURE: no money");
  CHECK(call(R"({"amount":2})") == "ONGOING: soon");
  CHECK(call(R"({"amount":3})") == "FAILURE: no, thrown");
  CHECK(call(R"({"amount":4})") == "error: broken");
  CHECK_THAT(call("7"), ContainsSubstring("error: its payload is not what the function takes"));
  CHECK_THROWS_AS(tm.CallFunction("G", "{}", info), dtm::RejectedError);
  CHECK_THROWS_WITH(tm.CallFunction("G", "{}", info), ContainsSubstring("'G'"));
  CHECK(tm.List().transactions.empty());
  CHECK(tm.Counted().branches.empty());  // that is the other coordinator's to count
}

TEST_CASE("commands: Cancel keeps the reason it was given first") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(1), false}});
  kit->Submit(NewDefinition("a", 1));
  kit.Settle();
  std::string reason = "the shop is closed";
  SECTION("a reason") { kit->Cancel("a", reason); }
  SECTION("none") { kit->Cancel("a", ""), reason = ""; }
  SECTION("a long one is cut") {
    kit->Cancel("a", std::string(100000, 'x'));
    reason = std::string(dtm::kMaxReasonBytes, 'x');
  }
  SECTION("another after it") { kit->Cancel("a", reason), kit->Cancel("a", "too late"); }
  SECTION("the store fails at it") {
    kit.Store().FailOnce(3, GENERATE(StoreFault::kDefinite, StoreFault::kInDoubtNotStored,
                                     StoreFault::kInDoubtButStored));
    kit->Cancel("a", reason);
  }
  CHECK(kit->Query("a")->reason == reason);
  kit.Crash();
  CHECK(kit->Wait("a", hours(1)).Failed());
  CHECK(kit->Query("a")->reason == reason);
  CHECK_THROWS_WITH(kit->Submit(NewDefinition("a", 1)), ContainsSubstring(reason));
}
