/// The commit stage: what leaves and what is refused when the store fails, at every operation.
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/world.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Op;
using dtm::Result;
using dtm::Status;
using dtm::testing::ScriptedAnswer;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using world::NewDefinition;
using world::Times;
using world::World;

namespace {

struct Scenario {
  const char* name;
  std::function<void(World&)> begin;
  std::vector<std::pair<std::string, Status>> ends;
};

/// Failures are given again and again: an answer may be lost with a crash.
const std::vector<Scenario>& Scenarios() {
  static const std::vector<Scenario> scenarios = {
      {"sequential by url",
       [](World& w) { w.Submit(NewDefinition("s", 3)); },
       {{"s", Status::kSucceed}}},
      {"sequential functions",
       [](World& w) { w.Submit(NewDefinition("f", 2, false, true)); },
       {{"f", Status::kSucceed}}},
      {"failing",
       [](World& w) {
         w.Script("x", 2, Op::kAction, Times(9, Result::Failure("no"), milliseconds(20)));
         w.Script("x", 1, Op::kCompensate, Times(1, Result::Error("busy"), milliseconds(5)));
         w.Submit(NewDefinition("x", 4));
       },
       {{"x", Status::kFailed}}},
      {"failing functions",
       [](World& w) {
         w.Script("x", 1, Op::kAction, Times(9, Result::Failure("no")));
         w.Script("x", 0, Op::kCompensate, Times(1, Result::Error("busy")));
         w.Submit(NewDefinition("x", 3, false, true));
       },
       {{"x", Status::kFailed}}},
      {"concurrent with orders, failing",
       [](World& w) {
         auto definition = NewDefinition("c", 4, true);
         definition.orders = {{2, {0, 1}}, {3, {2}}};
         w.Script("c", 0, Op::kAction, Times(1, Result::Success(), milliseconds(7)));
         w.Script("c", 2, Op::kAction, Times(1, Result::Ongoing(), milliseconds(7)));
         w.Script("c", 3, Op::kAction, Times(9, Result::Failure("no"), milliseconds(15)));
         w.Submit(definition);
       },
       {{"c", Status::kFailed}}},
      {"concurrent, answers at different times, one of them a failure",
       [](World& w) {
         for (std::size_t i = 0; i < 3; ++i) {
           w.Script("d", i, Op::kAction,
                    Times(9, Result::Success(), milliseconds(5 * static_cast<int>(i + 1))));
         }
         w.Script("d", 3, Op::kAction, Times(9, Result::Failure("no"), milliseconds(12)));
         w.Submit(NewDefinition("d", 4, true));
       },
       {{"d", Status::kFailed}}},
      {"several in the same turns",
       [](World& w) {
         w.Script("n", 1, Op::kAction, Times(9, Result::Failure("no")));
         w.Script("e", 0, Op::kAction, Times(2, Result::Error("busy")));
         w.Submit(NewDefinition("y", 2));
         w.Submit(NewDefinition("n", 2));
         w.Submit(NewDefinition("e", 2, true, false));
         w.Submit(NewDefinition("l", 2, true, true));
       },
       {{"y", Status::kSucceed},
        {"n", Status::kFailed},
        {"e", Status::kSucceed},
        {"l", Status::kSucceed}}},
  };
  return scenarios;
}

const std::vector<StoreFault> kFaults = {StoreFault::kDefinite, StoreFault::kInDoubtNotStored,
                                         StoreFault::kInDoubtButStored};

/// How many operations of the store the scenario needs when nothing fails.
std::uint64_t OperationsOf(const Scenario& scenario) {
  World world;
  scenario.begin(world);
  world.Run(hours(3), [&] { return world.AllFinal(); });
  REQUIRE(world.Violations() == std::vector<std::string>{});
  return world.kit.Store().Operations();
}

void CheckEnds(World& world, const Scenario& scenario) {
  CHECK(world.Violations() == std::vector<std::string>{});
  for (const auto& end : scenario.ends) CHECK(world.StatusOf(end.first) == end.second);
}

}  // namespace

TEST_CASE("commit stage: whichever operation of the store fails, nothing is lost or done twice") {
  for (const Scenario& scenario : Scenarios()) {
    const std::uint64_t operations = OperationsOf(scenario);
    REQUIRE(operations > 4);
    for (const StoreFault fault : kFaults) {
      for (std::uint64_t n = 1; n <= operations + 1; ++n) {
        CAPTURE(scenario.name, n, static_cast<int>(fault));
        World world;
        world.kit.Store().FailOnce(n, fault);
        scenario.begin(world);
        world.Run(hours(3), [&] { return world.AllFinal(); });
        CheckEnds(world, scenario);
      }
    }
  }
}

TEST_CASE("commit stage: a crash at any operation, stored or not, is survived") {
  for (const Scenario& scenario : Scenarios()) {
    const std::uint64_t operations = OperationsOf(scenario);
    for (const StoreFault fault :
         {StoreFault::kNone, StoreFault::kDefinite, StoreFault::kInDoubtButStored}) {
      for (std::uint64_t n = 1; n <= operations; ++n) {
        CAPTURE(scenario.name, n, static_cast<int>(fault));
        World world;
        world.kit.Store().FailOnce(n, fault);
        scenario.begin(world);
        world.Run(hours(3), [&] { return world.kit.Store().Operations() >= n; });
        world.Crash();
        world.Run(hours(3), [&] { return world.AllFinal(); });
        CheckEnds(world, scenario);
      }
    }
  }
}

TEST_CASE(
    "commit stage: a store that fails for a while stops everything, then everything goes on") {
  for (const StoreFault fault : kFaults) {
    CAPTURE(static_cast<int>(fault));
    World world;
    world.Script("a", 0, Op::kAction, Times(1, Result::Success(), seconds(1)));
    world.Submit(NewDefinition("a", 2));
    world.Run(milliseconds(500));
    REQUIRE(world.Calls() == 1);
    world.kit.Store().FailAlways(fault);
    world.Submit(NewDefinition("b", 2));
    world.Run(seconds(30));
    if (fault != StoreFault::kInDoubtButStored) {
      CHECK(world.Calls() == 1);  // what was out; nothing new
      CHECK(world.StatusOf("a") == Status::kSubmitted);
      CHECK(!world.StatusOf("b"));
    }
    world.kit.Store().FailAlways(StoreFault::kNone);
    world.Run(hours(1), [&] { return world.AllFinal(); });
    CHECK(world.Violations() == std::vector<std::string>{});
    CHECK(world.StatusOf("a") == Status::kSucceed);
    CHECK(world.StatusOf("b") == Status::kSucceed);
  }
}

TEST_CASE("commit stage: a submission of a failed commit is refused, definitely or in doubt") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Settle();
  auto definition = NewDefinition("a", 1);
  SECTION("definitely: StoreError, and nothing is stored") {
    kit.Store().FailAlways(StoreFault::kDefinite);
    CHECK_THROWS_AS(kit->Submit(definition), dtm::StoreError);
    CHECK_THROWS_AS(kit->Submit(definition), dtm::StoreError);  // not even tried
    CHECK_THROWS_AS(kit->SubmitAndWait(definition, hours(1)), dtm::StoreError);
    kit.Store().FailAlways(StoreFault::kNone);
    kit.Advance(seconds(2));
    CHECK(!kit->Query("a"));
    CHECK(kit.Branches().Calls().empty());
    CHECK(kit->SubmitAndWait(definition, hours(1)).Succeeded());
  }
  SECTION("in doubt and not stored: InDoubtError; the same again settles it") {
    kit.Store().FailOnce(3, StoreFault::kInDoubtNotStored);  // Begin, Apply, Commit
    CHECK_THROWS_AS(kit->Submit(definition), dtm::InDoubtError);
    kit.Advance(seconds(2));
    CHECK(!kit->Query("a"));
    CHECK(kit->SubmitAndWait(definition, hours(1)).Succeeded());
  }
  SECTION("in doubt and stored: InDoubtError; it is found and driven by itself") {
    kit.Store().FailOnce(3, StoreFault::kInDoubtButStored);
    CHECK_THROWS_AS(kit->Submit(definition), dtm::InDoubtError);
    CHECK(kit.Branches().Calls().empty());
    kit.Advance(seconds(2));
    REQUIRE(kit->Query("a"));
    CHECK(kit->Query("a")->status == Status::kSucceed);
    CHECK(kit.Branches().Calls().size() == 1);
    CHECK(kit->Submit(definition).Succeeded());
    CHECK(kit.Branches().Calls().size() == 1);
  }
  SECTION("an error tells what to do, Explain tells what is the matter") {
    kit.Store().FailAlways(StoreFault::kDefinite);
    CHECK_THROWS_WITH(kit->Submit(definition), ContainsSubstring("'a'") &&
                                                   ContainsSubstring("the test's disk") &&
                                                   ContainsSubstring("again"));
    CHECK_THAT(kit->Explain("a"), ContainsSubstring("the store is failing"));
  }
}

TEST_CASE("commit stage: waits longer and longer while the store fails") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Settle();
  kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(1), false}});
  kit->Submit(NewDefinition("a", 1));
  kit.Settle();
  kit.Store().FailAlways(StoreFault::kDefinite);
  const auto before = kit.Store().Operations();
  kit.Advance(seconds(1) + milliseconds(1270 + 5));  // 10 + 20 + ... + 640 ms
  CHECK(kit.Store().Operations() - before == 8);  // one Begin each, at 0, 10, 30, 70, ... 1270 ms
  kit.Advance(seconds(10));
  CHECK(kit.Store().Operations() - before == 18);  // then once a second
}

TEST_CASE("commit stage: a change of somebody else wins over ours, and the others commit") {
  auto inner = std::make_shared<dtm::MemoryStore>();
  TestCoordinator kit({}, dtm_test::Quiet(), inner);
  kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(1), false}});
  kit.Branches().On("http://b/01/action", {{Result::Success(), seconds(1), false}});
  kit->Submit(NewDefinition("a", 2));
  kit->Submit(NewDefinition("b", 2));
  kit.Settle();
  REQUIRE(kit.Branches().Calls().size() == 2);
  const auto alter = [&](const std::function<void(dtm::Transaction&)>& change) {
    auto stored = *inner->Load("a");
    change(stored);
    std::vector<dtm::Change> changes{{&stored, true, false}};
    inner->Begin();
    inner->Apply(changes);
    inner->Commit();
    REQUIRE(changes[0].applied);
  };
  SECTION("it was ended") {
    alter([](dtm::Transaction& t) {
      t.status = Status::kFailed;
      t.reason = "by somebody else";
      t.due = dtm::kNever;
    });
    const auto result = kit->Wait("a", hours(1));
    CHECK(result.Failed());
    CHECK(result.reason == "by somebody else");
    kit.Advance(hours(1));
    CHECK(kit.Branches().Calls().size() == 3);  // only b went on
  }
  SECTION("it was rolled back: what is out is awaited, then compensated") {
    alter([](dtm::Transaction& t) { t.status = Status::kAborting; });
    CHECK(kit->Wait("a", hours(1)).Failed());
    kit.Settle();
    CHECK(kit.Branches().Urls() ==
          std::vector<std::string>{"http://a/01/action", "http://b/01/action", "http://b/02/action",
                                   "http://a/01/compensate"});
  }
  SECTION("only a text was changed: the answer that came is not lost") {
    alter([](dtm::Transaction& t) { t.last_error = "note"; });
    CHECK(kit->Wait("a", hours(1)).Succeeded());
    CHECK(kit.Branches().Calls().size() == 4);
  }
  SECTION("its branch rows are gone: it is stuck and visible, the process goes on") {
    alter([](dtm::Transaction& t) { t.branches.clear(); });
    kit.Advance(hours(1));
    CHECK(kit->Query("a")->stuck);
    CHECK_THAT(kit->Explain("a"), ContainsSubstring("stuck") && ContainsSubstring("ForceStop"));
    kit->ForceStop("a");
    CHECK(kit->Query("a")->status == Status::kFailed);
  }
  CHECK(kit->Wait("b", hours(1)).Succeeded());
}

TEST_CASE("commit stage: results and commands that meet a commit in doubt are not lost") {
  const StoreFault fault =
      GENERATE(StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored);
  CAPTURE(static_cast<int>(fault));
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", {{Result::Success(), milliseconds(10), false}});
  kit.Branches().On("http://a/02/action", {{Result::Failure("no"), milliseconds(15), false}});
  kit.Branches().On("http://b/01/action", {{Result::Success(), milliseconds(10), false}});
  kit->Submit(NewDefinition("a", 2, true));
  kit->Submit(NewDefinition("b", 2));
  kit.Settle();
  kit.Store().FailOnce(3, fault);  // Begin, Apply, Commit of the results after 10 ms
  kit.Advance(milliseconds(10));
  SECTION("a result that comes before the store is tried again") {
    kit.Advance(seconds(60));
    REQUIRE(kit->Query("a"));
    CHECK(kit->Query("a")->status == Status::kFailed);
    std::size_t calls = 0;
    for (const auto& url : kit.Branches().Urls()) calls += url == "http://a/02/action";
    CHECK(calls == 1);
  }
  SECTION("a command that comes with the first commit after it") {
    kit.Clock().MoveTowards(kit.Clock().Now() + milliseconds(5));
    kit.Clock().MoveTowards(kit.Clock().Now() + milliseconds(15));
    kit->Cancel("b");  // either it throws, or the saga is rolled back
    CHECK(kit->Wait("b", hours(1)).Failed());
  }
}

TEST_CASE("commit stage: the store breaks while a lost change is read back") {
  class Unreadable : public dtm::MemoryStore {
   public:
    std::optional<dtm::Transaction> Load(const std::string& gid) override {
      if (broken) throw dtm::StoreError("the test's disk cannot be read");
      return MemoryStore::Load(gid);
    }
    bool broken = false;
  };
  auto inner = std::make_shared<Unreadable>();
  TestCoordinator kit({}, dtm_test::Quiet(), inner);
  kit.Branches().On("http://a/01/action", {{Result::Success(), milliseconds(10), false}});
  std::optional<dtm::TransResult> answer;
  auto definition = NewDefinition("a", 1);
  definition.options.wait_result = true;
  kit->SubmitAsync(definition, [&answer](const dtm::Answer& reply) { answer = reply.Get(); });
  kit.Settle();
  auto stored = *inner->Load("a");
  std::vector<dtm::Change> changes{{&stored, true, false}};
  inner->Begin();
  inner->Apply(changes);
  inner->Commit();
  inner->broken = true;
  kit.Clock().MoveTowards(kit.Clock().Now() + milliseconds(10));
  for (int i = 0; i < 5; ++i) kit->Poll();
  CHECK(!answer);  // it is not known what is stored
  inner->broken = false;
  kit.Advance(seconds(30));
  REQUIRE(answer);
  CHECK(answer->Succeeded());
  CHECK(kit->Query("a")->status == Status::kSucceed);
}

TEST_CASE("commit stage: after a refused submission Explain says that others go on") {
  TestCoordinator kit({}, dtm_test::Quiet());
  auto definition = NewDefinition("a", 1);
  definition.options.retry_interval = hours(5);
  kit.Branches().On("http://a/01/action", Result::Ongoing("busy"));
  kit->Submit(definition);
  kit.Settle();
  kit.Store().FailOnce(1, StoreFault::kDefinite);
  CHECK_THROWS_AS(kit->Submit(NewDefinition("b", 1)), dtm::StoreError);
  CHECK_THAT(kit->Explain("a"), ContainsSubstring("the store is failing, so nothing goes on"));
  kit.Advance(seconds(1));  // it may be tried again, and nothing waits for that
  CHECK_THAT(kit->Explain("a"), !ContainsSubstring("nothing goes on") &&
                                    ContainsSubstring("the last write to the store failed"));
  kit->Submit(NewDefinition("b", 1));
  CHECK_THAT(kit->Explain("a"), !ContainsSubstring("store"));
}

TEST_CASE(
    "commit stage: after one failure without anything to write the store counts as working again") {
  dtm::Options options;
  options.keep_finished = hours(100);  // a step of retention every 10 minutes
  TestCoordinator kit({}, dtm_test::Quiet(options));
  auto definition = NewDefinition("a", 1);
  definition.options.retry_interval = hours(5);
  kit.Branches().On("http://a/01/action", Result::Error("busy"));
  kit->Submit(definition);
  kit.Advance(seconds(1));
  kit.Store().FailOnce(2, StoreFault::kDefinite);  // Begin, Expire
  const auto operations = kit.Store().Operations();
  kit.Advance(hours(2));
  REQUIRE(kit.Store().Operations() > operations + 2);
  CHECK_THAT(kit->Explain("a"), !ContainsSubstring("store is failing"));
  CHECK(kit->Wait("a", seconds(10)).status == Status::kSubmitted);
}

TEST_CASE("commit stage: a call that left late, as the store failed, may run that much longer") {
  const bool by_timer = GENERATE(false, true);  // it was decided by an answer, or by a retry
  CAPTURE(by_timer);
  World world;
  world.Script("a", 0, Op::kAction, Times(1, Result::Success(), milliseconds(10)));
  std::vector<ScriptedAnswer> answers{ScriptedAnswer::Silence()};
  if (by_timer) answers.insert(answers.begin(), {Result::Ongoing(), {}, false});
  world.Script("a", 1, Op::kAction, answers);
  world.Submit(NewDefinition("a", 2));
  world.Run(by_timer ? milliseconds(1000) : milliseconds(5));
  const auto calls = world.Calls();
  world.kit.Store().FailAlways(StoreFault::kDefinite);
  world.Run(seconds(20));  // the call is decided, and does not leave
  CHECK(world.Calls() == calls);
  world.kit.Store().FailAlways(StoreFault::kNone);
  world.Run(seconds(2), [&] { return world.Calls() > calls; });
  REQUIRE(world.Calls() == calls + 1);
  world.Crash();
  world.kit->Cancel("a");
  world.Run(hours(1), [&] { return world.AllFinal(); });
  CHECK(world.StatusOf("a") == Status::kFailed);
  CHECK(world.Violations() == std::vector<std::string>{});
}

TEST_CASE(
    "commit stage: commands that meet a failing store wait 3 s for it, then they are in doubt") {
  TestCoordinator kit({}, dtm_test::Quiet());
  auto definition = NewDefinition("a", 2);
  // With a timer of its own before the 3 s, at them, behind them; or none.
  const int timer = GENERATE(0, 1, 3, 10);
  CAPTURE(timer);
  const auto answer =
      timer == 0 ? ScriptedAnswer::Silence() : ScriptedAnswer{Result::Error("busy"), {}, false};
  kit.Branches().On("http://a/01/action", {answer});
  definition.options.retry_interval = seconds(timer == 0 ? 100 : timer);
  kit->Submit(definition);
  kit.Settle();
  const dtm::Time begin = kit.Clock().Now();
  SECTION("it works again in time") {
    kit.Store().FailOnce(3, StoreFault::kDefinite);  // Begin, Apply, Commit
    kit->ForceStop("a");
    CHECK(kit.Clock().Now() - begin < seconds(1));
    CHECK(kit->Query("a")->status == Status::kFailed);
  }
  SECTION("it does not") {
    kit.Store().FailAlways(StoreFault::kDefinite);
    CHECK_THROWS_AS(kit->ForceStop("a"), dtm::InDoubtError);
    CHECK(kit.Clock().Now() - begin >= seconds(3));
    CHECK(kit.Clock().Now() - begin <= seconds(5));
    kit.Store().FailAlways(StoreFault::kNone);
    kit.Advance(seconds(2));
    CHECK(kit->Query("a")->status == Status::kFailed);  // it was not lost
  }
}

TEST_CASE(
    "commit stage: somebody else's lock holds up no answer and no deadline, and refuses nobody") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", {{Result::Success(), milliseconds(100), false}});
  kit->Submit(NewDefinition("a", 2));
  kit.Settle();
  kit.Store().Lock(true);
  const dtm::Time begin = kit.Clock().Now();
  std::string answer;
  kit->SubmitAsync(NewDefinition("b", 1), [&answer](const dtm::Answer& reply) {
    try {
      answer = Name(reply.Get().status);
    } catch (const std::exception& error) {
      answer = error.what();
    }
  });
  kit.Advance(seconds(2));  // a's answer comes meanwhile
  CHECK(answer.empty());
  CHECK(kit->Wait("a", milliseconds(200)).status == Status::kSubmitted);
  CHECK(kit.Clock().Now() - begin <= milliseconds(2300));
  CHECK(kit.Branches().Calls().size() == 1);  // nothing leaves before its cause is durable
  SECTION("it ends in time") {
    kit.Advance(seconds(2));
    CHECK(answer.empty());
    kit.Store().Lock(false);
    kit.Advance(milliseconds(20));
    CHECK(answer == "submitted");
    CHECK(kit->Wait("a", seconds(10)).Succeeded());
    CHECK(kit->Wait("b", seconds(10)).Succeeded());
  }
  SECTION("it does not: as any other failure") {
    kit.Advance(seconds(4));
    CHECK_THAT(answer, ContainsSubstring("gid 'b' was not stored: somebody else writes"));
    CHECK_THROWS_AS(kit->Submit(NewDefinition("c", 1)), dtm::StoreError);
    kit.Store().Lock(false);
    kit.Advance(seconds(2));
    CHECK(kit->Wait("a", seconds(10)).Succeeded());
    CHECK(kit->Submit(NewDefinition("c", 1)).status == Status::kSubmitted);
  }
  SECTION("a stop waits no longer than it was told") {
    CHECK(kit->Stop(milliseconds(100)));
    CHECK(kit.Clock().Now() - begin <= milliseconds(2500));
    CHECK_THAT(answer, ContainsSubstring("gid 'b' was not stored"));
  }
}

TEST_CASE("commit stage: what a lock held back may run that much longer after a crash") {
  World world;
  world.Script("a", 0, Op::kAction, Times(1, Result::Success(), milliseconds(10)));
  world.Script("a", 1, Op::kAction, {ScriptedAnswer::Silence()});
  world.Submit(NewDefinition("a", 2));
  world.Run(milliseconds(5));
  world.kit.Store().Lock(true);
  world.Run(milliseconds(4500));
  CHECK(world.Calls() == 1);
  world.kit.Store().Lock(false);
  world.Run(seconds(1), [&] { return world.Calls() > 1; });
  world.Crash();
  world.kit->Cancel("a");
  world.Run(hours(1), [&] { return world.AllFinal(); });
  CHECK(world.StatusOf("a") == Status::kFailed);
  CHECK(world.Violations() == std::vector<std::string>{});
}
