/// What a commit left out, since the store holds another version: the stored record wins.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/state/not_stored.hpp>
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/resubmission.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Conflicts {
 public:
  explicit Conflicts(TurnState& state) : state_(state) {}

  /// A new transaction whose gid is stored already: the same submission again, or other content.
  void OnGidExists(ActiveTransaction& active) {
    std::optional<Transaction> stored;
    try {
      stored = state_.store.Load(active.transaction.definition->gid);
      if (!stored) return RefuseFresh(state_, active, "it was removed at this moment");
    } catch (...) {
      return RefuseFresh(state_, active, WhatWasThrown());
    }
    const std::shared_ptr<const Definition> definition = active.transaction.definition;
    const bool prepare = active.transaction.status == Status::kPrepared;
    std::vector<Waiter> waiters = std::move(active.waiters);
    std::vector<Command> commands = std::move(active.commands);
    try {
      std::move(commands.begin(), commands.end(), std::back_inserter(state_.to_collect.reissue));
      const bool goes_on = !IsFinal(stored->status) && state_.MayDrive(*stored);
      state_.Replace(active, std::move(*stored));
      if (goes_on) return Return(definition, waiters, prepare);
      const engine::Resubmission resubmission =
          engine::OnResubmission(*stored, *definition, prepare);
      if (resubmission.kind != engine::Resubmission::Kind::kRefuse) {
        for (Waiter& waiter : waiters) AnswerOrWatch(*stored, waiter);
        return;
      }
      for (Waiter& waiter : waiters) waiter.Refuse(TurnState::Rejected(resubmission.refused));
    } catch (const std::bad_alloc&) {  // those without an answer are told that it is in doubt
      const ActiveTransaction* still = state_.table.Find(definition->gid);
      if (still == &active && active.Fresh()) state_.RemoveFresh(active);
    }
  }

  /// If it cannot be read now, the same conflict comes back with the next commit. Returns why, or nothing.
  std::string OnConflictOrLater(ActiveTransaction& active) {
    try {
      OnConflict(active);
      return {};
    } catch (...) {
      active.dirty = true;
      state_.to_commit.dirty.push_back(&active);
      return WhatWasThrown();
    }
  }

 private:
  /// Of one that is not driven here.
  void AnswerOrWatch(const Transaction& stored, Waiter& waiter) {
    if (waiter.when == AnswerWhen::kStored || IsFinal(stored.status)) {
      return waiter.Give(ResultOf(stored));
    }
    state_.elsewhere.Watch(stored.definition->gid, std::move(waiter), state_.context.now);
  }

  /// For the next turn, before those that came later.
  void Return(const std::shared_ptr<const Definition>& definition, std::vector<Waiter>& waiters,
              bool prepare) {
    if (waiters.empty()) waiters.emplace_back();  // nobody wants the answer
    std::vector<Submission> returned;
    returned.reserve(waiters.size() + state_.to_collect.resubmit.size());
    for (Waiter& waiter : waiters) returned.push_back({definition, std::move(waiter), prepare});
    std::move(state_.to_collect.resubmit.begin(), state_.to_collect.resubmit.end(),
              std::back_inserter(returned));
    state_.to_collect.resubmit.swap(returned);
  }

  /// The stored record is not the one that this change was made from, so it takes the place of ours. Calls that were held
  /// back are dropped; calls that have left stay in flight.
  void OnConflict(ActiveTransaction& active) {
    for (const std::size_t call : active.held_calls)
      active.transaction.branches[call].in_flight = false;
    active.held_calls.clear();
    active.journaled_events = active.journaled_calls = 0;
    std::optional<Transaction> stored = state_.store.Load(active.transaction.definition->gid);
    if (!stored) {
      state_.reports.news.Vanished(active.transaction, state_.context.now);
      const auto gone = Made<StoreError>([&] {
        return "gid '" + active.transaction.definition->gid + "' has vanished from the store";
      });
      for (Waiter& waiter : active.waiters) waiter.Refuse(gone);
      return state_.RemoveFresh(active);
    }
    if (stored->owner != state_.store.Owner() || !IsOurs(active, *stored)) {
      return Leave(active, *stored);
    }
    state_.to_collect.readvance.emplace_back(active.transaction.definition->gid,
                                             engine::EventKind::kTimer);
    // Rows that were registered since are added; rows that are lost are not, and it gets stuck.
    const bool whole = stored->branches.size() == RowCount(*stored->definition);
    stored->definition = active.transaction.definition;
    active.redefined = active.redefined || active.new_steps > 0;  // some of them may be stored
    if (whole) AddMissingRows(*stored);
    for (std::size_t i = 0; i < stored->branches.size(); ++i) {
      if (i >= active.transaction.branches.size()) continue;
      const Branch& known = active.transaction.branches[i];
      stored->branches[i].previous_deadline =
          known.previous_deadline;  // which the store cannot tell
      // What runs inside a commit is never out: it is called again if it is still wanted.
      stored->branches[i].in_flight =
          known.in_flight && !RunsInTransaction(UrlOf(*stored->definition, i));
    }
    KeepEvents(active, *stored);
    active.rolled_back = false;
    active.transaction = std::move(*stored);
    active.stored_due = active.transaction.due;
    state_.Untouch(active);  // nothing of it is released before it was advanced again
  }

  /// Nobody else has written it since. What another one has written cannot be joined with our definition, and may be
  /// here again: its author died.
  bool IsOurs(const ActiveTransaction& active, const Transaction& stored) const {
    if (state_.store.Owner() == 0) return true;
    return stored.version == Known(active) || IsOfCommitInDoubt(active, stored);
  }

  static std::uint64_t Known(const ActiveTransaction& active) {
    return active.transaction.version & ~kNoVersion;
  }

  /// The commit in doubt, with the first of our events, did become durable. Of a record that another coordinator owned before,
  /// the next version may be that of our takeover just as well.
  bool IsOfCommitInDoubt(const ActiveTransaction& active, const Transaction& stored) const {
    return active.doubtful_events > 0 && stored.version == Known(active) + 1 &&
           active.transaction.owner == state_.store.Owner();
  }

  /// Several commits may have been in doubt, one after the other, each with more events; at most one of them was stored. Which
  /// one, the time of the record says, since each was made at a later time.
  std::size_t StoredEvents(const ActiveTransaction& active, const Transaction& stored) const {
    if (!IsOfCommitInDoubt(active, stored)) return 0;
    const auto later = [&stored](const AppliedEvent& event) { return event.at > stored.updated; };
    const auto end = active.events.begin() + static_cast<std::ptrdiff_t>(active.doubtful_events);
    return static_cast<std::size_t>(std::find_if(active.events.begin(), end, later) -
                                    active.events.begin());
  }

  /// Another coordinator has taken it over. Its change may have been made before that, in a commit that was in doubt.
  void Leave(ActiveTransaction& active, const Transaction& stored) {
    const std::string gid = active.transaction.definition->gid;
    std::vector<Waiter> waiters = std::move(active.waiters);
    state_.RemoveFresh(active);
    if (stored.owner == state_.store.Owner()) state_.loader.LeaveBehind(state_.context.now);
    for (Waiter& waiter : waiters) {
      if (waiter.again) {
        std::exchange(waiter.again, nullptr)(std::move(waiter));
        continue;
      }
      if (waiter.when != AnswerWhen::kStored) {
        AnswerOrWatch(stored, waiter);
        continue;
      }
      AnswerAsStored(state_, waiter, gid, "another coordinator has changed it");
    }
  }

  /// The events since the stored record are applied again, on top of it: results (their calls count as in flight until
  /// then) and commands. If a commit in doubt did become durable, the record has the first of them already.
  void KeepEvents(ActiveTransaction& active, Transaction& stored) {
    const std::size_t stored_events = StoredEvents(active, stored);
    const auto first = active.events.begin();
    const auto end = first + static_cast<std::ptrdiff_t>(stored_events);
    for (auto event = first; event != end; ++event) {
      state_.reports.Report(active.transaction, *event);
    }
    active.events.erase(first, end);
    active.doubtful_events = 0;
    using engine::EventKind;
    const auto over = [](const AppliedEvent& event) {  // the time is looked at in any case
      return event.kind == EventKind::kLoaded || event.kind == EventKind::kTimer || event.refused;
    };
    active.events.erase(std::remove_if(active.events.begin(), active.events.end(), over),
                        active.events.end());
    for (const engine::Event& event : active.events) {
      const bool has_result =
          event.kind == EventKind::kResult && event.row < stored.branches.size();
      if (has_result) stored.branches[event.row].in_flight = true;
    }
  }

  TurnState& state_;
};

}  // namespace v1
}  // namespace dtm
