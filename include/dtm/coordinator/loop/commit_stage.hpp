/// The third stage of a turn: all changes in one commit of the store, and what to do if it fails.
/// Needs: std, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/coordinator/functions/transaction_functions.hpp>
#include <dtm/coordinator/hooks/event_feed.hpp>
#include <dtm/coordinator/loop/conflicts.hpp>
#include <dtm/coordinator/loop/in_commit_work.hpp>
#include <dtm/coordinator/loop/journal_entries.hpp>
#include <dtm/coordinator/loop/retention.hpp>
#include <dtm/coordinator/loop/untold.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/state/not_stored.hpp>
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/schedule.hpp>
#include <dtm/store/journal_codec.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class CommitStage {
 public:
  CommitStage(TurnState& state, TransactionFunctions& functions, Clock& clock)
      : state_(state),
        clock_(clock),
        conflicts_(state),
        retention_(state.options.keep_finished, state.options.keep_gids),
        me_(Front(NodeOf(state.options).name, kMaxJournalWho)),
        in_commit_work_(state, functions, clock),
        untold_(state),
        feed_(state.to_release.events, state.options.on_span != nullptr) {}

  /// True: everything up to here is durable, and may be released.
  bool Run() {
    in_commit_work_.TakeCalls();
    const bool expire = retention_.NextTime() <= state_.context.now;
    const bool writes = !state_.to_commit.dirty.empty() || in_commit_work_.Pending();
    if (!writes && !expire && !state_.health.NeedsRecovery()) return true;
    try {
      const Time begin = clock_.Now();
      WriteWithWorks(expire);
      state_.reports.metrics.Committed(clock_.Now() - begin);
    } catch (const StoreBusy& error) {
      if (!state_.health.Locked(state_.context.now, error.what())) Failed(error.what(), false);
      return false;
    } catch (const Fenced& error) {
      LoseAll(error.what());
      return false;
    } catch (const CommitInDoubt& error) {
      Failed(error.what(), true);
      return false;
    } catch (...) {
      Failed(WhatWasThrown(), false);
      return false;
    }
    const std::string unread = Written();
    if (!unread.empty()) {
      CannotGoOn(unread);
      state_.health.Failed(state_.context.now, unread, false, false);
      return true;
    }
    const bool was_good = state_.health.Good();
    state_.health.Worked(writes);
    if (!was_good && state_.health.Good()) state_.Log(LogLevel::kInfo, "the store works again");
    RunOneAlone();
    return true;
  }

  /// Drops the batch. Submissions in it are refused; everything else is kept, and tried again.
  void Failed(const std::string& problem, bool in_doubt) {
    if (in_doubt) untold_.Keep(changes_, state_.to_commit.dirty, feed_, in_commit_work_);
    changes_.clear();
    state_.store.Rollback();
    const std::size_t ran = in_commit_work_.Ran();
    in_commit_work_.Failed(problem, in_doubt);
    CannotGoOn(problem);
    const bool writing = !state_.to_commit.dirty.empty() || ran > 0;
    retry_alone_ = (std::max)(retry_alone_, ran);  // one of them may be the reason
    state_.health.Failed(state_.context.now, problem, in_doubt, writing);
    retention_.Failed(state_.context.now);
    if (in_doubt) {
      state_.loader.Restart();
      state_.not_before = state_.context.now + Duration(1);
      for (ActiveTransaction* active : state_.to_commit.dirty) {
        active->doubtful_events = active->events.size();
        if (active->Fresh()) state_.to_commit.in_doubt.insert(active->transaction.definition->gid);
      }
    }
    // No new transaction goes on when its submitter was refused.
    for (std::size_t i = 0; i < state_.to_commit.dirty.size();) {
      ActiveTransaction& active = *state_.to_commit.dirty[i];
      active.Fresh() ? RefuseFresh(state_, active, problem) : (void)++i;
    }
    for (Submission& submission : std::exchange(state_.to_collect.resubmit, {})) {
      submission.waiter.Refuse(NotTaken(state_, submission.definition->gid, problem));
    }
    for (ActiveTransaction* active : state_.to_release.touched) state_.ArmWaiters(*active);
  }

  /// Other coordinators have taken over what this one owned. New transactions were not stored, and are refused; those who
  /// wait are told the stored status. Nothing that was decided since may leave, so memory is emptied and the store is
  /// recovered.
  void LoseAll(const std::string& problem) {
    state_.fenced = true;
    state_.store.Rollback();
    in_commit_work_.Failed(problem, false);
    TurnState::Protected([&] {
      state_.Log(LogLevel::kError, "other coordinators go on with what this one drove, " +
                                       std::to_string(state_.table.Count()) +
                                       " transactions in memory: " + problem);
    });
    state_.table.ForEach([this](ActiveTransaction& active) {
      if (!active.Fresh()) TurnState::Protected([&] { WatchAll(state_, active); });
    });
    AnswerAll(state_, problem);
    state_.DropAll();
    retry_alone_ = 0;
    state_.health.Failed(state_.context.now, problem, true, false);
    retention_.Failed(state_.context.now);
  }

  /// An exception ended the turn: undoes what ran in its batch, before the next turn takes what has arrived since.
  void BreakOff() noexcept {
    state_.store.Rollback();
    in_commit_work_.Undo();
  }

  Time NextRetention() const { return retention_.NextTime(); }

 private:
  /// If a work breaks the batch, everything else is written without works, and then each work gets a commit of its own.
  void WriteWithWorks(bool expire) {
    try {
      Write(expire, retry_alone_ > 0 ? 0 : InCommitWork::kPerTurn);
    } catch (const BatchLost&) {
      retry_alone_ = in_commit_work_.Ran();
      state_.store.Rollback();
      in_commit_work_.Undo();
      if (expire) retention_.Failed(state_.context.now);  // it may have been the reason
      Write(false, 0);
    }
  }

  void CannotGoOn(const std::string& problem) {
    if (!state_.health.Good() && state_.health.Problem() == problem) return;
    TurnState::Protected([&] {
      state_.Log(LogLevel::kError, "the store fails, nothing goes on until it works: " + problem);
    });
  }

  void RunOneAlone() {
    if (retry_alone_ == 0) return;
    --retry_alone_;
    if (!in_commit_work_.Pending()) return;
    try {
      Write(false, 1);
      (void)Written();  // what cannot be read is in the next commit again
    } catch (const StoreBusy&) {
      ++retry_alone_;  // it has not run
    } catch (const Fenced& error) {
      LoseAll(error.what());
    } catch (const CommitInDoubt& error) {
      Failed(error.what(), true);
    } catch (...) {
      const std::string problem = WhatWasThrown();
      state_.store.Rollback();
      in_commit_work_.Undo();
      in_commit_work_.GiveUpFirst(
          Made<StoreError>([&] { return "the work was not stored: " + problem; }), problem);
    }
  }

  void Write(bool expire, std::size_t works) {
    Store& store = state_.store;
    changes_.clear();
    if (!state_.health.Good() || state_.health.WaitsForLock()) {
      // Calls that were decided on before leave late, so their deadlines are later too.
      for (ActiveTransaction* active : state_.to_commit.dirty) {
        engine::MoveDeadlines(active->transaction, active->held_calls, state_.context);
      }
    }
    if (state_.health.NeedsRecovery()) {
      store.Recover();
      untold_.Settle(store);
      state_.fenced = false;
      state_.health.Recovered();
      state_.to_commit.in_doubt.clear();
    }
    store.Begin();
    in_commit_work_.Run(works);
    feed_.Begin();
    const std::vector<ActiveTransaction*>& dirty = state_.to_commit.dirty;
    for (ActiveTransaction* active : dirty) {
      if (active->Fresh()) active->transaction.id = 0;  // given by a batch that was lost
      const bool due_changed = active->transaction.due != active->stored_due;
      changes_.push_back(
          {&active->transaction, due_changed, active->redefined, false, active->new_steps});
    }
    if (TellsEntries(state_.options)) TellEntries();
    store.Apply(changes_);
    if (in_commit_work_.Ran() > 0) CheckAllApplied();
    if (expire) {
      const std::string problem = retention_.RemoveSome(store, state_.context.now);
      if (!problem.empty()) state_.Log(LogLevel::kError, problem);
    }
    store.Commit();
  }

  /// Those of all changes are in one text, which may move while it grows.
  void TellEntries() {
    const std::vector<ActiveTransaction*>& dirty = state_.to_commit.dirty;
    if (journals_.capacity() > kJournalBytesKept) journals_ = {};
    journals_.clear();
    journal_ends_.clear();
    for (const ActiveTransaction* active : dirty) {
      JournalEntries::Tell(*active, state_.context.now, me_, journals_);
      journal_ends_.push_back(journals_.size());
    }
    std::size_t begin = 0;
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      const std::string_view told =
          std::string_view(journals_).substr(begin, journal_ends_[i] - begin);
      begin = journal_ends_[i];
      if (state_.options.on_event) Feed(dirty[i]->transaction, told);
      if (state_.options.history == 0) continue;
      changes_[i].journal = told;
      changes_[i].history = state_.options.history;
    }
  }

  void Feed(const Transaction& transaction, std::string_view told) {
    std::vector<JournalEntry> entries;
    codec::DecodeJournal(told, entries);
    feed_.Add(transaction, entries);
  }

  /// What ran inside this batch was for these records: if one was changed meanwhile, the batch is lost.
  void CheckAllApplied() const {
    for (const Change& change : changes_) {
      if (!change.applied && change.transaction->version > 0) {
        throw BatchLost("gid '" + change.transaction->definition->gid + "' was changed meanwhile");
      }
    }
  }

  /// Marks as stored what the commit took, and settles the conflicts. Returns why a stored record could not be read, or
  /// nothing.
  std::string Written() {
    std::string unread;
    in_commit_work_.Committed();
    untold_.Committed();
    written_.clear();
    written_.swap(state_.to_commit.dirty);
    for (std::size_t i = 0; i < written_.size(); ++i) {
      if (i + kObjectsAhead < written_.size()) PrefetchActive(*written_[i + kObjectsAhead]);
      ActiveTransaction& active = *written_[i];
      active.dirty = false;
      if (changes_[i].applied) {
        ++active.transaction.version;
        // Who drove what is stopped has to be told, see Elsewhere::TellOwner.
        if (!IsFinal(active.transaction.status)) active.transaction.owner = state_.store.Owner();
        active.stored_due = active.transaction.due;
        active.redefined = false;
        active.new_steps = 0;
        active.doubtful_events = 0;
        active.journaled_events = active.events.size();
        active.journaled_calls = active.held_calls.size();
        feed_.Stored(i);
        for (Command& command : active.commands) {
          TurnState::Protected([&] { state_.AddWaiter(active, std::move(command.waiter)); });
        }
        active.commands.clear();
        for (Waiter& waiter : active.waiters) waiter.again = nullptr;
      } else if (active.Fresh()) {
        conflicts_.OnGidExists(active);
      } else {
        std::string problem = conflicts_.OnConflictOrLater(active);
        if (!problem.empty()) unread = std::move(problem);
      }
    }
    return unread;
  }

  TurnState& state_;
  Clock& clock_;
  Conflicts conflicts_;
  Retention retention_;
  std::vector<Change> changes_;
  static constexpr std::size_t kJournalBytesKept = std::size_t{1} << 20;
  const std::string me_;  // in journals
  std::string
      journals_;  // what is told of the changes, one after the other; a member for its memory
  std::vector<std::size_t> journal_ends_;    // the same
  std::vector<ActiveTransaction*> written_;  // a member for its memory
  InCommitWork in_commit_work_;
  Untold untold_;
  EventFeed feed_;
  std::size_t retry_alone_ =
      0;  // works that get a commit of their own, since a batch with them was lost
};

}  // namespace v1
}  // namespace dtm
