/// What those are told whose change no commit has taken: definite only where it is.
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include "tests/coordinator/turns.hpp"
#include <dtm/coordinator/state/not_stored.hpp>
#include <dtm/store/memory.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::ActiveTransaction;
using dtm::MemoryStore;
using dtm::Transaction;
using dtm::TurnState;

namespace {

Transaction New(const std::string& gid) {
  dtm::Definition definition;
  definition.gid = gid;
  definition.steps = {{"local:A", "", "1"}};
  Transaction transaction;
  transaction.definition = std::make_shared<const dtm::Definition>(definition);
  return transaction;
}

std::string Told(const std::exception_ptr& error) { return turns::InWords({{}, error}); }

}  // namespace

TEST_CASE("not stored: that is definite only if no earlier submission brought the gid there") {
  MemoryStore store;
  const dtm::Options options;
  TurnState state(store, options);
  CHECK_THAT(Told(NotTaken(state, "a", "full")),
             ContainsSubstring("StoreError: gid 'a' was not stored: full"));
  state.to_commit.in_doubt.insert("a");
  CHECK_THAT(Told(NotTaken(state, "a", "full")),
             ContainsSubstring("InDoubtError: gid 'a' may or may not"));
  CHECK_THAT(Told(StoreFailing(state, "it was not run")),
             ContainsSubstring("StoreError: it was not run"));
}

TEST_CASE("not stored: a new one leaves, and all who wait for it are told") {
  MemoryStore store;
  const dtm::Options options;
  TurnState state(store, options);
  ActiveTransaction& active = state.table.Add(New("a"));
  std::string waiter;
  std::string command;
  active.waiters.emplace_back();
  active.waiters.back().promise = [&](const dtm::Answer& reply) { waiter = turns::InWords(reply); };
  active.commands.emplace_back();
  active.commands.back().waiter.promise = [&](const dtm::Answer& reply) {
    command = turns::InWords(reply);
  };
  RefuseFresh(state, active, "full");
  CHECK_THAT(waiter, ContainsSubstring("StoreError: gid 'a' was not stored: full"));
  CHECK(command == waiter);
  CHECK(state.table.Count() == 0);
}

TEST_CASE("not stored: who waits for a change is told that it is in doubt, others the status") {
  MemoryStore store;
  const dtm::Options options;
  TurnState state(store, options);
  dtm::Waiter waiter;
  std::string told;
  waiter.promise = [&](const dtm::Answer& reply) { told = turns::InWords(reply); };
  AnswerAsStored(state, waiter, "a", "full");
  CHECK_THAT(told, ContainsSubstring("InDoubtError: the change of gid 'a'"));
}
