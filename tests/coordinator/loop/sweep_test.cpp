/// The sweep: what is in memory without a future is set going, and turns that are broken off lose nothing.
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <tests/coordinator/turns.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::ActiveTransaction;
using dtm::Status;
using dtm::Sweep;
using dtm::Transaction;
using dtm::TurnState;
using dtm::engine::EventKind;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using turns::Turns;
using world::NewDefinition;

namespace {

struct Memory {
  Memory() {
    options.log = [this](dtm::LogLevel, const std::string& text) { log.push_back(text); };
    state.context.now = dtm::Time(hours(1000));
  }
  /// A stored one in memory: its first call is out.
  ActiveTransaction& Add(const std::string& gid) {
    Transaction transaction;
    transaction.definition = std::make_shared<dtm::Definition>(NewDefinition(gid, 1));
    ActiveTransaction& active = state.table.Add(std::move(transaction));
    state.Advance(active, {EventKind::kSubmitted, 0, {}});
    active.transaction.version = 1;
    active.dirty = active.touched = false;
    active.held_calls.clear();
    state.to_commit.dirty.clear();
    state.to_release.touched.clear();
    return active;
  }
  dtm::Options options;
  std::vector<std::string> log;
  dtm::MemoryStore store;
  TurnState state{store, options};
  Sweep sweep{state};
};

}  // namespace

TEST_CASE("sweep: what has a future is left alone") {
  Memory memory;
  ActiveTransaction& active = memory.Add("a");
  const std::string why =
      GENERATE("out", "timer", "again", "dirty", "touched", "stuck, waited for");
  CAPTURE(why);
  active.transaction.branches[1].in_flight = why == "out";
  if (why == "timer") memory.state.ArmBefore(active, memory.state.context.now + seconds(5));
  if (why == "again") memory.state.to_collect.readvance.emplace_back("a", EventKind::kTimer);
  if (why == "dirty") memory.state.to_commit.dirty.push_back(&active);
  active.dirty = why == "dirty";
  if (why == "touched") memory.state.Touch(active);
  if (why == "stuck, waited for") {
    active.transaction.stuck = true;
    active.waiters.emplace_back();
  }
  memory.sweep.Run();
  CHECK(memory.log.empty());
  CHECK(memory.state.to_collect.readvance.size() == (why == "again" ? 1 : 0));
}

TEST_CASE("sweep: what has none is stepped again, and the log says so") {
  Memory memory;
  memory.Add("a").transaction.branches[1].in_flight = false;
  memory.sweep.NowAndThen();
  REQUIRE(memory.state.to_collect.readvance.size() == 1);
  CHECK(memory.state.to_collect.readvance[0].first == "a");
  REQUIRE(memory.log.size() == 1);
  CHECK_THAT(memory.log[0], ContainsSubstring("'a'"));
  memory.state.to_collect.readvance.clear();
  memory.sweep.NowAndThen();  // not in every turn
  CHECK(memory.state.to_collect.readvance.empty());
  memory.state.context.now += seconds(30);
  memory.sweep.NowAndThen();
  CHECK(memory.state.to_collect.readvance.size() == 1);
}

TEST_CASE("sweep: lists that a broken turn left incomplete are complete again") {
  Memory memory;
  ActiveTransaction& active = memory.Add("a");
  ActiveTransaction& other = memory.Add("b");
  active.dirty = active.touched = other.touched = true;
  memory.state.to_release.touched = {&other};
  memory.sweep.Run();
  CHECK(memory.state.to_commit.dirty == std::vector<ActiveTransaction*>{&active});
  CHECK(memory.state.to_release.touched.size() == 2);
}

TEST_CASE("sweep: a branch that runs inside a commit and is in no queue is queued again") {
  Memory memory;
  auto definition = NewDefinition("a", 1);
  definition.steps[0].action = "local:tx/f";
  memory.state.table.Redefine(memory.Add("a"), definition);
  memory.sweep.Run();
  REQUIRE(memory.state.to_commit.branch_works.size() == 1);
  CHECK(memory.state.to_commit.branch_works[0].row == dtm::ActionOf(0));
  memory.sweep.Run();
  CHECK(memory.state.to_commit.branch_works.size() == 1);
}

TEST_CASE(
    "sweep: a submission whose turn was broken off is refused, definitely if it is not stored") {
  Memory memory;
  Transaction transaction;
  transaction.definition = std::make_shared<dtm::Definition>(NewDefinition("a", 1));
  ActiveTransaction& active = memory.state.table.Add(std::move(transaction));
  std::string answer;
  dtm::Waiter waiter;
  waiter.promise = [&answer](const dtm::Answer& reply) { answer = turns::InWords(reply); };
  active.waiters.push_back(std::move(waiter));
  memory.sweep.Run();
  CHECK_THAT(answer, ContainsSubstring("StoreError: gid 'a' was not stored"));
  CHECK(memory.state.table.Count() == 0);
}

TEST_CASE("sweep: no memory at any reading of the store: nothing is lost, nobody waits for ever") {
  class Scarce : public dtm::MemoryStore {
   public:
    std::optional<Transaction> Load(const std::string& gid) override {
      Fail();
      return MemoryStore::Load(gid);
    }
    void Due(dtm::Time now, dtm::DuePosition after, const dtm::DueVisitor& visit) override {
      Fail();
      MemoryStore::Due(now, after, visit);
    }
    int fail_at = 0;

   private:
    void Fail() {
      if (fail_at > 0 && --fail_at == 0) throw std::bad_alloc();
    }
  };
  for (int n = 1; n <= 4; ++n) {
    CAPTURE(n);
    auto inner = std::make_shared<Scarce>();
    {
      Turns before(inner);
      before.Submit(NewDefinition("a", 2));
      before.Submit(NewDefinition("b", 2));
      before.loop.Turn();  // stored, and no answer of a branch has come yet
    }
    Turns turns(inner);
    inner->fail_at = n;
    for (const char* gid : {"a", "c", "b", "d"}) turns.Submit(NewDefinition(gid, 2));
    for (int turn = 0; turn < 50; ++turn) {
      try {
        turns.loop.Turn();
      } catch (const std::bad_alloc&) {  // the driver logs it, and goes on
      }
      turns.time->MoveTowards(turns.time->Now() + milliseconds(100));
    }
    inner->fail_at = 0;
    for (const std::string& answer : turns.answers) CHECK(!answer.empty());
    for (const char* gid : {"a", "b"}) CHECK(turns.Status(gid) == "succeed");
    for (const std::size_t i : {std::size_t{1}, std::size_t{3}}) {
      const bool taken = turns.answers[i].find("StoreError") == std::string::npos;
      CHECK(turns.Status(i == 1 ? "c" : "d") == (taken ? "succeed" : ""));
    }
  }
}
