/// What only looks: Explain, and the list of those that wait.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <dtm/coordinator/commands/refusals.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/explain.hpp>
#include <dtm/store/peers.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Questions {
 public:
  explicit Questions(TurnState& state) : state_(state) {}

  /// Transactions that wait for a time, the earliest first. Those that are stuck or prepared wait for somebody, and are
  /// left out.
  void ListWaiting(Command& command) {
    std::vector<std::string>& gids = *command.listed;
    const Time last = kNever - Duration(1);
    if (Peers* const peers = state_.store.Shared()) {
      gids = peers->Waiting(command.after, command.limit);
    } else if (command.limit > 0) {
      state_.store.Due(last, {command.after, INT64_MAX}, [&](const Transaction& stored) {
        gids.push_back(stored.definition->gid);
        return gids.size() < command.limit;
      });
    }
    command.waiter.promise.Keep({});
  }

  /// Committed state only: a change that is not stored did not happen yet.
  void Explain(Command& command) {
    const ActiveTransaction* active = state_.table.Find(command.gid);
    if (active != nullptr && active->dirty) active = nullptr;
    std::string& text = *command.explained;
    const bool shared = state_.IsShared();
    std::optional<Transaction> stored;
    if (active == nullptr || shared) stored = state_.store.Load(command.gid);
    if (active != nullptr && shared && stored) {  // another may have written it
      const bool mine = stored->owner == state_.store.Owner();
      if (!mine || stored->version != active->transaction.version) active = nullptr;
    }
    if (active != nullptr) {
      text = engine::Explain(active->transaction, state_.context.now);
    } else if (stored) {
      text = engine::Explain(*stored, state_.context.now);
    } else {
      text = refusals::Unknown(command.gid);
    }
    if (shared && stored) text += state_.elsewhere.DrivenBy(*stored);
    if (!state_.health.Good()) {
      const bool waits =
          !state_.to_commit.dirty.empty() || state_.health.NeedsRecovery() || !state_.MayUseStore();
      text += (waits ? "\nthe store is failing, so nothing goes on: "
                     : "\nthe last write to the store failed, the next one will be tried: ") +
              state_.health.Problem();
    }
    command.waiter.promise.Keep({});
  }

 private:
  TurnState& state_;
};

}  // namespace v1
}  // namespace dtm
