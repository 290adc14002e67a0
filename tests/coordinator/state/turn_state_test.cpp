/// The board: stepping, room, logs and answers that harm nobody.
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/store/memory.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::ActiveTransaction;
using dtm::MemoryStore;
using dtm::Options;
using dtm::Status;
using dtm::Transaction;
using dtm::TurnState;
using dtm::Waiter;
using dtm::engine::EventKind;

namespace {

Transaction NewTransaction(const std::string& gid, dtm::TransType type = dtm::TransType::kSaga) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = gid;
  definition->type = type;
  definition->steps = {{"http://h/a", "http://h/c", std::string(1000, 'x')}};
  Transaction transaction;
  transaction.definition = definition;
  return transaction;
}

}  // namespace

TEST_CASE("turn state: what a step wants is held back until it is released") {
  MemoryStore store;
  Options options;
  TurnState state(store, options);
  ActiveTransaction& active = state.table.Add(NewTransaction("a"));
  CHECK(state.Advance(active, {EventKind::kSubmitted, 0, {}}).empty());
  CHECK(active.dirty);
  CHECK(active.touched);
  REQUIRE(active.held_calls.size() == 1);
  CHECK(dtm::OpOf(dtm::TransType::kSaga, active.held_calls[0]) == dtm::Op::kAction);
  CHECK(state.Advance(active, {EventKind::kResult, active.held_calls[0], dtm::Result::Success()})
            .empty());
  CHECK(active.transaction.status == Status::kSucceed);
  CHECK(state.to_commit.dirty.size() == 1);
  CHECK(state.to_release.touched.size() == 1);
  CHECK_THAT(state.Advance(active, {EventKind::kCancel, 0, {}}),
             ContainsSubstring("already ended"));
}

TEST_CASE(
    "turn state: a workflow that is taken from a living coordinator is not resumed while that "
    "one's call may be out") {
  struct Shared : MemoryStore {
    std::uint64_t Owner() const override { return 7; }
  } store;
  Options options;
  for (const std::uint64_t owner : {5u, 7u}) {  // 7: the other has died, and it was claimed
    TurnState state(store, options);
    state.context.now = dtm::Time(std::chrono::hours(1));
    state.context.may_call = true;
    Transaction stored = NewTransaction("w", dtm::TransType::kWorkflow);
    auto definition = std::make_shared<dtm::Definition>(*stored.definition);
    definition->steps.clear();
    definition->query_prepared = "http://h/resume";
    stored.definition = definition;
    stored.status = Status::kPrepared;
    stored.created = stored.updated = state.context.now - std::chrono::minutes(1);
    stored.owner = owner;
    stored.branches.resize(1);
    stored.branches[0].deadline = state.context.now + std::chrono::seconds(3);
    ActiveTransaction& active = state.Bring(std::move(stored));
    CHECK(active.held_calls.size() == (owner == 7 ? 1 : 0));
    state.Remove(active);
  }
}

TEST_CASE(
    "turn state: the definition of what leaves is kept to be freed elsewhere, unless it is large") {
  MemoryStore store;
  Options options;
  TurnState state(store, options);
  state.Remove(state.table.Add(NewTransaction("small")));
  REQUIRE(state.to_collect.ended.size() == 1);
  CHECK(state.to_collect.ended[0]->gid == "small");
  Transaction large = NewTransaction("large");
  auto definition = std::make_shared<dtm::Definition>(*large.definition);
  definition->steps[0].payload.assign(dtm::kSmallBytes, 'x');
  large.definition = definition;
  definition.reset();
  const std::weak_ptr<const dtm::Definition> watched = large.definition;
  state.Remove(state.table.Add(std::move(large)));
  CHECK(watched.expired());
  for (std::size_t i = 0; i < dtm::MostEnded(Options()); ++i) {
    state.Remove(state.table.Add(NewTransaction("g")));
  }
  CHECK(state.to_collect.ended.size() == dtm::MostEnded(Options()));
}

TEST_CASE("turn state: a type that does not exist is stuck and logged, not fatal") {
  MemoryStore store;
  std::string log;
  Options options;
  options.log = [&log](dtm::LogLevel level, const std::string& text) {
    CHECK(level == dtm::LogLevel::kError);
    log += text;
  };
  TurnState state(store, options);
  ActiveTransaction& active = state.table.Add(NewTransaction("a", static_cast<dtm::TransType>(9)));
  state.Advance(active, {EventKind::kTimer, 0, {}});
  CHECK(active.transaction.stuck);
  CHECK(log.empty());  // it is not durable yet
  REQUIRE(active.events.size() == 1);
  state.reports.Report(active.transaction, active.events[0]);
  CHECK_THAT(log, ContainsSubstring("'a'") && ContainsSubstring("does not exist"));
}

TEST_CASE("turn state: an unreadable record is brought in for who asks for it, and left alone") {
  MemoryStore store;
  Options options;
  TurnState state(store, options);
  Transaction damaged = NewTransaction("a");
  damaged.unreadable = true;
  damaged.last_error = "bad bytes";
  ActiveTransaction& active = state.Bring(std::move(damaged));
  CHECK_THAT(state.Advance(active, {EventKind::kRetryNow, 0, {}}), ContainsSubstring("damaged"));
  CHECK(!active.dirty);
}

TEST_CASE("turn state: logs and callbacks that throw, or are not there") {
  MemoryStore store;
  Options options;
  options.log = [](dtm::LogLevel, const std::string&) { throw std::runtime_error("log"); };
  {
    TurnState state(store, options);
    state.Log(dtm::LogLevel::kError, "text");
  }
  options.log = nullptr;
  TurnState state(store, options);
  state.Log(dtm::LogLevel::kError, "text");
  ActiveTransaction& active = state.table.Add(NewTransaction("a"));
  state.AddWaiter(active, Waiter());  // nobody to tell
  CHECK(active.waiters.empty());
}
