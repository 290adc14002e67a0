/// The answers to callers whose change was not committed.
/// Needs: std, store. Threads: the thread that drives the loop.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/coordinator/state/active_table.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/resubmission.hpp>

namespace dtm {
inline namespace v1 {

inline bool MayBeStored(TurnState& state, const std::string& gid) {
  const ActiveTransaction* active = state.table.Find(gid);
  if (state.to_commit.in_doubt.count(gid) > 0 || (active != nullptr && !active->Fresh()))
    return true;
  try {
    return state.store.Load(gid).has_value();
  } catch (...) {
    return true;
  }
}

/// The error for the submitter. Definite only if no earlier submission can have brought its gid into the store.
inline std::exception_ptr NotTaken(TurnState& state, const std::string& gid,
                                   const std::string& why) {
  const bool maybe = MayBeStored(state, gid);
  const auto sentence = [&] {
    return "gid '" + gid + (maybe ? "' may or may not be stored: " : "' was not stored: ") + why +
           "; submit it again" + (maybe ? "" : " later");
  };
  return maybe ? Made<InDoubtError>(sentence) : Made<StoreError>(sentence);
}

/// Removes a fresh transaction from memory, and tells those who wait for it why.
inline void RefuseFresh(TurnState& state, ActiveTransaction& active, const std::string& why) {
  const std::shared_ptr<const Definition> definition = active.transaction.definition;
  std::vector<Waiter> waiters = std::move(active.waiters);
  std::vector<Command> commands = std::move(active.commands);
  state.RemoveFresh(active);
  const std::exception_ptr refusal = NotTaken(state, definition->gid, why);
  for (Waiter& waiter : waiters) waiter.Refuse(refusal);
  for (Command& command : commands) command.waiter.Refuse(refusal);
}

/// While no change becomes durable: the answer is the stored status, or an error for those who wait for a change.
inline void AnswerAsStored(TurnState& state, Waiter& waiter, const std::string& gid,
                           const std::string& why) {
  if (waiter.when != AnswerWhen::kStored) {
    try {
      const std::optional<Transaction> stored = state.store.Load(gid);
      const bool told = stored && (!waiter.submits || engine::ShowsSubmit(*stored));
      if (told) return waiter.Give(ResultOf(*stored));
    } catch (...) {  // NOLINT(bugprone-empty-catch): then it is not known
    }
  }
  waiter.Refuse(Made<InDoubtError>([&] {
    return "the change of gid '" + gid + "' may or may not be stored: " + why +
           "; ask for it again later";
  }));
}

/// Another coordinator drives it: who waits for its end goes on waiting. The others stay.
inline void WatchAll(TurnState& state, ActiveTransaction& active) {
  std::vector<Waiter> others;
  for (Waiter& waiter : active.waiters) {
    if (waiter.when == AnswerWhen::kStored || waiter.again) {
      others.push_back(std::move(waiter));
    } else {
      state.elsewhere.Watch(active.transaction.definition->gid, std::move(waiter),
                            state.context.now);
    }
  }
  active.waiters.swap(others);
}

/// Answers everybody who still waits for something in memory, with the status that is durable: nothing goes on here.
inline void AnswerAll(TurnState& state, const std::string& why) {
  const auto not_stored = [&](const auto& what) {
    return Made<StoreError>(
        [&] { return std::string(what()) + ": its last change could not be stored: " + why; });
  };
  const auto refuse = [&](std::vector<Command> commands) {
    for (Command& command : commands) {
      command.waiter.Refuse(not_stored([&] { return "gid '" + command.gid + "'"; }));
    }
  };
  for (Submission& submission : std::exchange(state.to_collect.resubmit, {})) {
    submission.waiter.Refuse(NotTaken(state, submission.definition->gid, why));
  }
  refuse(std::exchange(state.to_collect.reissue, {}));
  state.table.ForEach([&](ActiveTransaction& active) {
    const std::string& gid = active.transaction.definition->gid;
    for (Waiter& waiter : std::exchange(active.waiters, {})) {
      TurnState::Protected([&] {
        // With events a conflict has left it to be advanced again.
        const bool as_stored = !active.dirty && active.events.empty();
        if (as_stored) return waiter.GiveStatusOf(active.transaction);
        if (active.Fresh()) return waiter.Refuse(NotTaken(state, gid, why));
        AnswerAsStored(state, waiter, gid, why);
      });
    }
    refuse(std::exchange(active.commands, {}));
  });
  for (QueuedWork& work : std::exchange(state.to_commit.works, {})) {
    work.promise.Keep({{}, not_stored([] { return "the work"; })});
  }
}

inline std::exception_ptr StoreFailing(const TurnState& state, const std::string& what) {
  return Made<StoreError>([&] {
    return what + ", the store is failing: " + state.health.Problem() + "; try again later";
  });
}

}  // namespace v1
}  // namespace dtm
