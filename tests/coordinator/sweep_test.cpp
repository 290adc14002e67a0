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
using dtm::Board;
using dtm::Live;
using dtm::Status;
using dtm::Sweep;
using dtm::Transaction;
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
    board.context.now = dtm::Time(hours(1000));
  }
  /// A stored one in memory: its first call is out.
  Live& Add(const std::string& gid) {
    Transaction transaction;
    transaction.definition = std::make_shared<dtm::Definition>(NewDefinition(gid, 1));
    Live& live = board.lives.Add(std::move(transaction));
    board.Step(live, {EventKind::kSubmitted, 0, {}});
    live.transaction.version = 1;
    live.dirty = live.touched = false;
    live.held_calls.clear();
    board.dirty.clear();
    board.touched.clear();
    return live;
  }
  dtm::Options options;
  std::vector<std::string> log;
  dtm::MemoryStore store;
  Board board{store, options};
  Sweep sweep{board};
};

}  // namespace

TEST_CASE("sweep: what has a future is left alone") {
  Memory memory;
  Live& live = memory.Add("a");
  const std::string why =
      GENERATE("out", "timer", "again", "dirty", "touched", "stuck, waited for");
  CAPTURE(why);
  live.transaction.branches[1].in_flight = why == "out";
  if (why == "timer") memory.board.ArmBefore(live, memory.board.context.now + seconds(5));
  if (why == "again") memory.board.again.emplace_back("a", EventKind::kTimer);
  if (why == "dirty") memory.board.dirty.push_back(&live);
  live.dirty = why == "dirty";
  if (why == "touched") memory.board.Touch(live);
  if (why == "stuck, waited for") {
    live.transaction.stuck = true;
    live.waiters.emplace_back();
  }
  memory.sweep.Run();
  CHECK(memory.log.empty());
  CHECK(memory.board.again.size() == (why == "again" ? 1 : 0));
}

TEST_CASE("sweep: what has none is stepped again, and the log says so") {
  Memory memory;
  memory.Add("a").transaction.branches[1].in_flight = false;
  memory.sweep.NowAndThen();
  REQUIRE(memory.board.again.size() == 1);
  CHECK(memory.board.again[0].first == "a");
  REQUIRE(memory.log.size() == 1);
  CHECK_THAT(memory.log[0], ContainsSubstring("'a'"));
  memory.board.again.clear();
  memory.sweep.NowAndThen();  // not in every turn
  CHECK(memory.board.again.empty());
  memory.board.context.now += seconds(30);
  memory.sweep.NowAndThen();
  CHECK(memory.board.again.size() == 1);
}

TEST_CASE("sweep: lists that a broken turn left incomplete are complete again") {
  Memory memory;
  Live& live = memory.Add("a");
  Live& other = memory.Add("b");
  live.dirty = live.touched = other.touched = true;
  memory.board.touched = {&other};
  memory.sweep.Run();
  CHECK(memory.board.dirty == std::vector<Live*>{&live});
  CHECK(memory.board.touched.size() == 2);
}

TEST_CASE("sweep: a branch that runs inside a commit and is in no queue is queued again") {
  Memory memory;
  auto definition = NewDefinition("a", 1);
  definition.steps[0].action = "local:tx/f";
  memory.board.lives.Redefine(memory.Add("a"), definition);
  memory.sweep.Run();
  REQUIRE(memory.board.branch_works.size() == 1);
  CHECK(memory.board.branch_works[0].branch == dtm::ActionOf(0));
  memory.sweep.Run();
  CHECK(memory.board.branch_works.size() == 1);
}

TEST_CASE(
    "sweep: a submission whose turn was broken off is refused, definitely if it is not stored") {
  Memory memory;
  Transaction transaction;
  transaction.definition = std::make_shared<dtm::Definition>(NewDefinition("a", 1));
  Live& live = memory.board.lives.Add(std::move(transaction));
  std::string answer;
  dtm::Waiter waiter;
  waiter.promise = [&answer](const dtm::Reply& reply) { answer = turns::InWords(reply); };
  live.waiters.push_back(std::move(waiter));
  memory.sweep.Run();
  CHECK_THAT(answer, ContainsSubstring("StoreError: gid 'a' was not stored"));
  CHECK(memory.board.lives.Count() == 0);
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
