/// The whole loop against random scripts, faults of the store and crashes. Seeds are fixed: the
/// same seed gives the same run.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/sanitized.hpp"
#include <tests/coordinator/world.hpp>

using dtm::Duration;
using dtm::Op;
using dtm::Result;
using dtm::testing::ScriptedAnswer;
using dtm::testing::StoreFault;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using world::World;

namespace {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  /// 0 .. n-1, the same with every standard library.
  int Below(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }
  bool OneIn(int n) { return Below(n) == 0; }

 private:
  std::mt19937_64 random_;
};

std::vector<ScriptedAnswer> RandomAnswers(Dice& dice, Op op) {
  std::vector<ScriptedAnswer> answers;
  const auto after = [&dice]() -> Duration {
    if (dice.OneIn(2)) return Duration{};
    return dice.OneIn(20) ? Duration(seconds(5)) : Duration(milliseconds(dice.Below(200)));
  };
  for (int n = dice.Below(3); n > 0; --n) {
    switch (dice.Below(4)) {
      case 0: answers.push_back({Result::Error("busy"), after(), false}); break;
      case 1: answers.push_back({Result::Ongoing("soon"), after(), false}); break;
      case 2: answers.push_back(ScriptedAnswer::Silence()); break;
      default: answers.push_back({Result::Error("broken pipe"), after(), false}); break;
    }
  }
  if (op == Op::kAction && dice.OneIn(6)) {
    for (int i = 0; i < 9; ++i) answers.push_back({Result::Failure("no"), after(), false});
  } else {
    for (int i = 0; i < 9; ++i) answers.push_back({Result::Success(), after(), false});
  }
  return answers;
}

void SubmitRandomSaga(World& world, Dice& dice, const std::string& gid) {
  const std::size_t steps = static_cast<std::size_t>(dice.Below(5));
  auto definition = world::NewDefinition(gid, steps, dice.OneIn(2), dice.OneIn(3));
  for (std::size_t i = 0; i < steps; ++i) {
    if (dice.OneIn(12)) definition.steps[i].action.clear();
    if (dice.OneIn(12)) definition.steps[i].compensate.clear();
    if (definition.concurrent && i > 0 && dice.OneIn(3)) {
      definition.orders[static_cast<int>(i)] = {dice.Below(static_cast<int>(i))};
    }
    for (const Op op : {Op::kAction, Op::kCompensate}) {
      world.Script(gid, i, op, RandomAnswers(dice, op));
    }
  }
  if (dice.OneIn(4)) definition.options.timeout_to_fail = seconds(1 + dice.Below(60));
  if (dice.OneIn(4)) definition.options.retry_limit = 1 + dice.Below(3);
  if (dice.OneIn(2)) definition.options.retry_interval = seconds(1 + dice.Below(5));
  if (dice.OneIn(3)) definition.options.wait_result = true;
  if (dice.OneIn(4)) {
    world.Prepare(definition);
    if (dice.OneIn(2)) world.Run(milliseconds(dice.Below(300)));
  }
  world.Submit(definition);
}

/// `chaos`: 0 = nothing fails, 1 = the store does, 2 = the process crashes as well.
std::vector<std::string> RandomRun(std::uint64_t seed, int chaos, dtm::Options options) {
  Dice dice(seed);
  World world(std::move(options));
  int submitted = 0;
  for (int round = 0; round < 12; ++round) {
    for (int n = dice.Below(6); n > 0; --n) {
      SubmitRandomSaga(world, dice, "g" + std::to_string(submitted++));
    }
    if (chaos >= 1) {
      const StoreFault faults[] = {StoreFault::kDefinite, StoreFault::kInDoubtNotStored,
                                   StoreFault::kInDoubtButStored};
      const auto n = static_cast<std::uint64_t>(1 + dice.Below(12));
      world.kit.Store().FailOnce(n, faults[dice.Below(3)]);
      if (dice.OneIn(4)) {
        world.kit.Store().FailAlways(faults[dice.Below(3)]);
        world.Run(milliseconds(dice.Below(3000)));
        world.kit.Store().FailAlways(StoreFault::kNone);
      }
    }
    if (chaos >= 2 && dice.OneIn(2)) {
      int turns = dice.Below(30);
      world.Run(seconds(20), [&turns] { return turns-- == 0; });
      world.Crash();
    }
    world.Run(milliseconds(dice.Below(4000)));
  }
  world.Run(hours(20), [&world] { return world.AllFinal(); });
  return world.Violations();
}

}  // namespace

TEST_CASE("loop: random sagas, with faults and crashes, keep every promise") {
  const int chaos = GENERATE(0, 1, 2);
  const std::size_t memory = GENERATE(as<std::size_t>{}, 20000, 5);
  for (std::uint64_t seed = 1; seed <= 60; seed += dtm_test::kStep) {
    CAPTURE(seed, chaos, memory);
    dtm::Options options;
    options.max_in_memory = memory;
    CHECK(RandomRun(seed, chaos, options) == std::vector<std::string>{});
  }
}

TEST_CASE("loop: the same seed gives the same run") {
  const auto run = [] {
    World world;
    Dice dice(7);
    for (int i = 0; i < 20; ++i) SubmitRandomSaga(world, dice, "g" + std::to_string(i));
    world.Run(hours(5), [&world] { return world.AllFinal(); });
    std::string log;
    for (const auto& call : world.kit.Branches().Calls()) {
      log += std::to_string(call.at.time_since_epoch().count()) + " " + call.url + "\n";
    }
    return log;
  };
  const std::string first = run();
  CHECK(!first.empty());
  CHECK(run() == first);
}
