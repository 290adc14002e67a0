/// The release stage: who is answered when, and what stays in memory.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/turns.hpp>
#include <tests/coordinator/world.hpp>

using dtm::Result;
using dtm::Status;
using dtm::testing::ScriptedAnswer;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using world::NewDefinition;
using world::Times;
using world::World;

namespace {

/// Submits with wait_result; returns the status and after how long it came.
std::pair<std::string, dtm::Duration> SubmitWithResult(TestCoordinator& kit,
                                                       dtm::Definition definition) {
  definition.options.wait_result = true;
  const auto begin = kit.Clock().Now();
  std::string status;
  try {
    status = dtm::Name(kit->Submit(definition).status);
  } catch (const dtm::FailureError&) {
    status = "FailureError";
  }
  return {status, kit.Clock().Now() - begin};
}

/// URL branches that never answer, and how many of them are out.
class Silent : public dtm::BranchCaller {
 public:
  explicit Silent(std::set<std::string>& gids) : gids_(gids) {}
  void Call(std::vector<dtm::BranchCall> calls, dtm::BranchResults&) override {
    for (const auto& call : calls) gids_.insert(call.definition->gid);
  }
  void Stop() override {}

 private:
  std::set<std::string>& gids_;
};

}  // namespace

TEST_CASE("release stage: wait_result is answered at the end, at a wait, or after 6 s") {
  TestCoordinator kit({}, dtm_test::Quiet());
  auto& on = kit.Branches();
  using Answered = std::pair<std::string, dtm::Duration>;
  SECTION("success") {
    on.On("http://a/01/action", {{Result::Success(), seconds(2), false}});
    on.On("http://a/02/action", {{Result::Success(), seconds(3), false}});
    CHECK(SubmitWithResult(kit, NewDefinition("a", 2)) == Answered{"succeed", seconds(5)});
  }
  SECTION("rolled back") {
    on.On("http://a/01/action", {{Result::Failure("no"), seconds(1), false}});
    on.On("http://a/01/compensate", {{Result::Success(), seconds(1), false}});
    CHECK(SubmitWithResult(kit, NewDefinition("a", 1)) == Answered{"FailureError", seconds(2)});
  }
  SECTION("it must wait for a retry") {
    on.On("http://a/01/action", {{Result::Error("busy"), seconds(1), false}});
    CHECK(SubmitWithResult(kit, NewDefinition("a", 1)) == Answered{"submitted", seconds(1)});
  }
  SECTION("ONGOING") {
    on.On("http://a/01/action", {{Result::Ongoing(), seconds(1), false}});
    CHECK(SubmitWithResult(kit, NewDefinition("a", 1)) == Answered{"submitted", seconds(1)});
  }
  SECTION("one branch must wait, another one is out: not before that is back") {
    on.On("http://a/01/action", {{Result::Error("busy"), seconds(1), false}});
    on.On("http://a/02/action", {{Result::Success(), seconds(2), false}});
    CHECK(SubmitWithResult(kit, NewDefinition("a", 2, true)) == Answered{"submitted", seconds(2)});
  }
  SECTION("it takes long") {
    auto definition = NewDefinition("a", 1);
    definition.options.request_timeout = seconds(20);
    definition.options.timeout_to_fail = seconds(100);  // that timer is no reason to answer
    on.On("http://a/01/action", {{Result::Success(), seconds(9), false}});
    CHECK(SubmitWithResult(kit, definition) == Answered{"submitted", seconds(6)});
    CHECK(SubmitWithResult(kit, definition) == Answered{"succeed", seconds(3)});  // attached
    CHECK(on.Calls().size() == 1);
  }
  SECTION("a compensation must wait") {
    on.On("http://a/01/action", Result::Failure("no"));
    on.On("http://a/01/compensate", Result::Failure("not that either"));
    CHECK(SubmitWithResult(kit, NewDefinition("a", 1)) == Answered{"aborting", seconds(0)});
  }
}

TEST_CASE("release stage: SubmitAndWait and Wait return at the end or at their timeout") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", Result::Error("busy"));
  const auto begin = kit.Clock().Now();
  CHECK(kit->SubmitAndWait(NewDefinition("a", 1), seconds(3)).status == Status::kSubmitted);
  CHECK(kit.Clock().Now() - begin == seconds(3));
  CHECK(kit->Wait("a", seconds(4)).status == Status::kSubmitted);
  CHECK(kit.Clock().Now() - begin == seconds(7));
  CHECK(kit->Wait("a", seconds(0)).status == Status::kSubmitted);
  CHECK(kit->Wait("a", hours(1)).Succeeded());
  CHECK(kit.Clock().Now() - begin < seconds(13));
  CHECK(kit->Wait("a", hours(1)).Succeeded());  // at once
  CHECK(kit.Clock().Now() - begin < seconds(13));
  CHECK_THROWS_AS(kit->Wait("unknown", hours(1)), dtm::RejectedError);
}

TEST_CASE("release stage: several wait for one transaction, each in its own way") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(2), false}});
  kit.Branches().On("http://a/02/action", Result::Failure("no"));
  std::vector<std::string> answers;
  const auto answer = [&](const char* who) {
    return [&answers, who](const dtm::Answer& reply) {
      answers.push_back(std::string(who) + (reply.error ? " error" : " result"));
    };
  };
  auto definition = NewDefinition("a", 2);
  kit->SubmitAsync(definition, answer("stored"));
  definition.options.wait_result = true;
  kit->SubmitAsync(definition, answer("settled"));
  kit.Settle();
  CHECK(answers == std::vector<std::string>{"stored result"});
  const auto result = kit->SubmitAndWait(definition, hours(1));
  CHECK(result.Failed());
  CHECK(answers == std::vector<std::string>{"stored result", "settled error"});
}

TEST_CASE("release stage: never more in memory than the bound, and everything ends") {
  dtm::Options options;
  options.max_in_memory = 10;
  SECTION("1000 unfinished in the store at the start: no more calls out than the bound") {
    auto time = std::make_shared<dtm::testing::VirtualTime>();
    auto inner = std::make_shared<dtm::MemoryStore>();
    {
      World world;  // stores them and dies before anything is called
      for (int i = 0; i < 1000; ++i) {
        world.kit.Branches().On("http://" + std::to_string(i) + "/01/action",
                                Result::Error("busy"));
        world.kit->SubmitAsync(NewDefinition(std::to_string(i), 1), {});
      }
      world.kit->Poll();
      inner = world.inner;
      world.kit.Store().FailAlways(dtm::testing::StoreFault::kDefinite);
    }
    std::set<std::string> out;
    dtm::Coordinator tm(std::make_unique<dtm::testing::FailingStore>(inner),
                        dtm_test::Quiet(options),
                        std::make_unique<dtm::testing::VirtualClock>(time));
    tm.Use(std::make_unique<Silent>(out));
    for (int i = 0; i < 100; ++i) tm.Poll();
    CHECK(out.size() <= 10);
    CHECK(!out.empty());
  }
  SECTION("1000 submissions at once") {
    World world(options);
    for (int i = 0; i < 1000; ++i) {
      const auto gid = "g" + std::to_string(i);
      world.Script(gid, 0, dtm::Op::kAction, Times(1, Result::Success(), milliseconds(10)));
      world.Submit(NewDefinition(gid, 2));
    }
    std::size_t most = 0;
    world.Run(hours(1), [&] {
      std::size_t out = 0;
      const auto& calls = world.kit.Branches().Calls();
      for (auto call = calls.rbegin(); call != calls.rend(); ++call) {
        if (call->at + milliseconds(10) <= world.kit.Clock().Now()) break;
        out += call->url.find("/01/") != std::string::npos;
      }
      most = (std::max)(most, out);
      return world.AllFinal();
    });
    CHECK(world.Violations() == std::vector<std::string>{});
    CHECK(world.Calls() == 2000);
    CHECK(most <= 10);
  }
  SECTION("1000 in the store at the start, with functions and URLs") {
    World world(options);
    for (int i = 0; i < 1000; ++i) {
      world.Submit(NewDefinition("g" + std::to_string(i), 2, false, i % 2 == 0));
    }
    world.kit->Poll();
    world.Crash();
    world.Run(hours(1), [&] { return world.AllFinal(); });
    CHECK(world.Violations() == std::vector<std::string>{});
  }
}

TEST_CASE("release stage: bytes bound memory too") {
  dtm::Options options;
  options.max_memory_bytes = 1 << 20;
  World world(options);
  for (int i = 0; i < 40; ++i) {
    auto definition = NewDefinition("g" + std::to_string(i), 1);
    definition.steps[0].payload = "\"" + std::string(200 * 1024, 'x') + "\"";
    world.Script(definition.gid, 0, dtm::Op::kAction, Times(1, Result::Success(), seconds(1)));
    world.Submit(definition);
    world.Run(milliseconds(0));
  }
  world.Run(milliseconds(500));
  CHECK(world.Calls() <= 6);
  world.Run(hours(1), [&] { return world.AllFinal(); });
  CHECK(world.Violations() == std::vector<std::string>{});
}

TEST_CASE("release stage: what only waits does not keep new ones out, and wakes in time") {
  dtm::Options options;
  options.max_in_memory = 10;
  World world(options);
  for (int i = 0; i < 100; ++i) {
    auto definition = NewDefinition("w" + std::to_string(i), 1);
    definition.options.retry_interval = seconds(3600);
    world.Script(definition.gid, 0, dtm::Op::kAction, Times(1, Result::Error("busy")));
    world.Submit(definition);
  }
  world.Run(minutes(1));
  REQUIRE(world.Calls() == 100);
  for (int i = 0; i < 100; ++i) world.Submit(NewDefinition("n" + std::to_string(i), 2));
  const auto begin = world.kit.Clock().Now();
  world.Run(seconds(10), [&] { return world.Calls() == 300; });
  CHECK(world.Calls() == 300);
  CHECK(world.kit.Clock().Now() - begin < seconds(1));
  world.Run(minutes(72) + seconds(1));  // the interval and its jitter
  CHECK(world.AllFinal());
  CHECK(world.Violations() == std::vector<std::string>{});
}

TEST_CASE("release stage: the timeout of a transaction that was left in the store comes in time") {
  dtm::Options options;
  options.max_in_memory = 4;
  World world(options);
  for (int i = 0; i < 50; ++i) {
    auto definition = NewDefinition("w" + std::to_string(i), 1);
    definition.options.retry_interval = hours(10);
    definition.options.timeout_to_fail = minutes(30);
    world.Script(definition.gid, 0, dtm::Op::kAction, Times(1, Result::Ongoing()));
    world.Submit(definition);
  }
  world.Run(minutes(30) - seconds(1));
  CHECK(world.Calls() == 50);
  world.Run(seconds(2));
  CHECK(world.AllFinal());
  CHECK(world.Violations() == std::vector<std::string>{});
}

TEST_CASE("release stage: one that has a timeout and found no room begins when there is some") {
  dtm::Options options;
  options.max_in_memory = 4;
  dtm::testing::TestCoordinator kit({}, options);
  const auto definition = [](const std::string& gid) {
    dtm::Definition saga;
    saga.gid = gid;
    saga.steps = {{"http://" + gid, "http://undo", "{}"}};
    return saga;
  };
  for (const char* gid : {"a", "b", "c", "d"}) {
    kit.Branches().On(std::string("http://") + gid, {{Result::Success(), seconds(10), false}});
    kit->Submit(definition(gid));
  }
  kit.Settle();
  REQUIRE(kit.Branches().Calls().size() == 4);
  dtm::Definition late = definition("late");
  late.options.timeout_to_fail = seconds(30);
  late.options.wait_result = GENERATE(false, true);
  std::vector<dtm::TransResult> answers;
  kit->SubmitAsync(late, [&](const dtm::Answer& reply) { answers.push_back(reply.Get()); });
  kit.Advance(minutes(2));
  CHECK(kit->Query("late")->status == dtm::Status::kSucceed);
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].Succeeded() == late.options.wait_result);
}

namespace {

/// A disk that stalls.
class SlowStore : public dtm::MemoryStore {
 public:
  void Commit() override {
    MemoryStore::Commit();
    if (time != nullptr) time->MoveTowards(time->Now() + takes);
  }
  std::shared_ptr<dtm::testing::VirtualTime> time;
  dtm::Duration takes{};
};

}  // namespace

// What is killed behind a slow commit has calls on their way; their deadlines were stored before it.
TEST_CASE("release stage: the stored deadline of a call holds however long its commit took") {
  const seconds takes{GENERATE(0, 2, 4, 20)};
  CAPTURE(takes.count());
  const auto store = std::make_shared<SlowStore>();
  turns::Turns kit(store);
  store->time = kit.time;
  store->takes = takes;
  kit.branches.On("http://g/01/action", {dtm::testing::ScriptedAnswer::Silence()});
  kit.Submit(NewDefinition("g", 1));
  for (int turn = 0; turn < 100 && kit.branches.Calls().empty(); ++turn) {
    kit.loop.Turn();
    const dtm::Time next = kit.loop.NextTurn();
    if (kit.branches.Calls().empty())
      kit.time->MoveTowards((std::min)(next, kit.time->Now() + seconds(60)));
  }
  REQUIRE(kit.branches.Calls().size() == 1);  // it is called in the end
  const dtm::Time sent = kit.branches.Calls()[0].at;
  const auto stored = kit.store.Load("g");
  // Two timeouts of 3 s; of the first one, what the commit took is gone.
  CHECK(stored->branches[1].deadline >= sent + seconds(6) - (std::min)(takes, seconds(3)));
  CHECK(stored->branches[1].deadline >= sent + seconds(3));
  CHECK(stored->branches[1].tries == 1);
}

namespace {

class CountingStore : public dtm::MemoryStore {
 public:
  std::optional<dtm::Transaction> Load(const std::string& gid) override {
    ++loads;
    return MemoryStore::Load(gid);
  }
  int loads = 0;
};

}  // namespace

// It has no timer and waits for people, so it leaves memory; then each step would cost as much as all before it.
TEST_CASE("release stage: while steps are recorded one after the other, none loads those before") {
  const auto store = std::make_shared<CountingStore>();
  TestCoordinator kit({}, dtm_test::Quiet(), store);
  dtm::Definition workflow;
  workflow.gid = "w";
  workflow.type = dtm::TransType::kWorkflow;
  workflow.workflow = "order";
  (void)kit->PrepareWorkflow(workflow);
  const auto record = [&](int number) {
    dtm::Step step{"do:", "", "{}", std::to_string(number)};
    step.op = dtm::Op::kAction;
    kit->RegisterBranch("w", dtm::TransType::kWorkflow, step);
  };
  record(0);
  const int before = store->loads;
  for (int number = 1; number < 50; ++number) {
    record(number);
    kit.Advance(milliseconds(number * 19));
  }
  CHECK(store->loads == before);
  CHECK(store->Load("w")->definition->steps.size() == 50);
  kit.Advance(seconds(2));  // then it takes no room
  const int left = store->loads;
  record(50);
  CHECK(store->loads == left + 1);
  CHECK(store->Load("w")->definition->steps.size() == 51);
}
