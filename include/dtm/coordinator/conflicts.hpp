/// What a commit left out, since the store holds something else: the stored record counts.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/board.hpp>
#include <dtm/coordinator/not_stored.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/repeat.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Conflicts {
 public:
  explicit Conflicts(Board& board) : board_(board) {}

  /// A submission of a gid that is stored but was not in memory: the same again, or another.
  void OnGidExists(Live& live) {
    std::optional<Transaction> stored;
    try {
      stored = board_.store.Load(live.transaction.definition->gid);
      if (!stored) return RefuseFresh(board_, live, "it was removed at this moment");
    } catch (...) {
      return RefuseFresh(board_, live, WhatWasThrown());
    }
    const std::shared_ptr<const Definition> definition = live.transaction.definition;
    const bool prepare = live.transaction.status == Status::kPrepared;
    std::vector<Waiter> waiters = std::move(live.waiters);
    std::vector<Command> commands = std::move(live.commands);
    try {
      std::move(commands.begin(), commands.end(), std::back_inserter(board_.again_commands));
      const bool ended = IsFinal(stored->status);
      board_.Replace(live, std::move(*stored));
      if (!ended) return Return(definition, waiters, prepare);
      const engine::Repeat repeat = engine::OnRepeat(*stored, *definition, prepare);
      if (repeat.kind != engine::Repeat::Kind::kRefuse) {
        for (Waiter& waiter : waiters) waiter.Answer(ResultOf(*stored));
        return;
      }
      for (Waiter& waiter : waiters) waiter.Refuse(Board::Rejected(repeat.refused));
    } catch (const std::bad_alloc&) {  // who is not answered yet is told that it is in doubt
      const Live* still = board_.lives.Find(definition->gid);
      if (still == &live && live.Fresh()) board_.RemoveFresh(live);
    }
  }

  /// If it cannot be read now, the same conflict comes back with the next commit. Returns why, or nothing.
  std::string OnConflictOrLater(Live& live) {
    try {
      OnConflict(live);
      return {};
    } catch (...) {
      live.dirty = true;
      board_.dirty.push_back(&live);
      return WhatWasThrown();
    }
  }

 private:
  /// For the next turn, before those that came later.
  void Return(const std::shared_ptr<const Definition>& definition, std::vector<Waiter>& waiters,
              bool prepare) {
    if (waiters.empty()) waiters.emplace_back();  // nobody wants the answer
    std::vector<Submission> returned;
    returned.reserve(waiters.size() + board_.returned.size());
    for (Waiter& waiter : waiters) returned.push_back({definition, std::move(waiter), prepare});
    std::move(board_.returned.begin(), board_.returned.end(), std::back_inserter(returned));
    board_.returned.swap(returned);
  }

  /// The stored record is not the one this change was made from: the stored one counts. What was
  /// held back is dropped; calls that really are out stay out.
  void OnConflict(Live& live) {
    for (const std::size_t call : live.held_calls)
      live.transaction.branches[call].in_flight = false;
    live.held_calls.clear();
    std::optional<Transaction> stored = board_.store.Load(live.transaction.definition->gid);
    if (!stored) {
      board_.Log(LogLevel::kError, "gid '" + live.transaction.definition->gid +
                                       "' has vanished from the store; somebody else removed it");
      const auto gone = Made<StoreError>([&] {
        return "gid '" + live.transaction.definition->gid + "' has vanished from the store";
      });
      for (Waiter& waiter : live.waiters) waiter.Refuse(gone);
      return board_.RemoveFresh(live);
    }
    board_.again.emplace_back(live.transaction.definition->gid, engine::EventKind::kTimer);
    // Rows that were registered since are added; rows that are lost are not, and it gets stuck.
    const bool whole = stored->branches.size() == RowCount(*stored->definition);
    stored->definition = live.transaction.definition;
    live.redefined = live.redefined || live.new_steps > 0;  // some of them may be stored
    if (whole) AddMissingRows(*stored);
    for (std::size_t i = 0; i < stored->branches.size(); ++i) {
      if (i >= live.transaction.branches.size()) continue;
      const Branch& known = live.transaction.branches[i];
      stored->branches[i].former_deadline = known.former_deadline;  // which the store cannot tell
      // What runs inside a commit is never out: it is called again if it is still wanted.
      stored->branches[i].in_flight =
          known.in_flight && !RunsInTransaction(UrlOf(*stored->definition, i));
    }
    KeepEvents(live, *stored);
    live.rolled_back = false;
    live.transaction = std::move(*stored);
    live.stored_due = live.transaction.due;
    board_.Untouch(live);  // nothing of it leaves before it was stepped again
  }

  /// What happened since the stored record was written happens again, on top of it: answers that
  /// came (their calls count as out until then) and commands. A commit in doubt that did become
  /// durable holds the first of them already.
  void KeepEvents(Live& live, Transaction& stored) {
    const bool ours = live.doubtful_events > 0 && stored.version == live.transaction.version + 1;
    const auto first = live.events.begin();
    const auto end = first + static_cast<std::ptrdiff_t>(ours ? live.doubtful_events : 0);
    for (auto event = first; event != end; ++event) board_.Count(live, *event);
    live.events.erase(first, end);
    live.doubtful_events = 0;
    using engine::EventKind;
    const auto look = [](const engine::Event& event) {
      return event.kind == EventKind::kLoaded || event.kind == EventKind::kTimer;
    };
    live.events.erase(std::remove_if(live.events.begin(), live.events.end(), look),
                      live.events.end());
    for (const engine::Event& event : live.events) {
      const bool answer = event.kind == EventKind::kResult && event.branch < stored.branches.size();
      if (answer) stored.branches[event.branch].in_flight = true;
    }
  }

  Board& board_;
};

}  // namespace v1
}  // namespace dtm
