/// The third stage of a turn: all changes in one commit of the store, and what to do if it fails.
/// Needs: std, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/board.hpp>
#include <dtm/coordinator/clock.hpp>
#include <dtm/coordinator/conflicts.hpp>
#include <dtm/coordinator/functions.hpp>
#include <dtm/coordinator/not_stored.hpp>
#include <dtm/coordinator/retention.hpp>
#include <dtm/coordinator/works.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/schedule.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Commit {
 public:
  Commit(Board& board, Functions& functions, Clock& clock)
      : board_(board),
        clock_(clock),
        conflicts_(board),
        retention_(board.options.keep_finished, board.options.keep_gids),
        works_(board, functions, clock) {}

  /// True: everything up to here is durable, and may be released.
  bool Run() {
    works_.TakeCalls();
    const bool expire = retention_.NextStep() <= board_.context.now;
    const bool writes = !board_.dirty.empty() || works_.Pending();
    if (!writes && !expire && !board_.health.NeedsRecovery()) return true;
    try {
      const Time begin = clock_.Now();
      WriteWithWorks(expire);
      board_.metrics.Committed(clock_.Now() - begin);
    } catch (const StoreBusy& error) {
      if (!board_.health.Locked(board_.context.now, error.what())) Failed(error.what(), false);
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
      board_.health.Failed(board_.context.now, unread, false, false);
      return true;
    }
    const bool was_good = board_.health.Good();
    board_.health.Worked(writes);
    if (!was_good && board_.health.Good()) board_.Log(LogLevel::kInfo, "the store works again");
    RunOneAlone();
    return true;
  }

  /// Drops the batch. What came with it is refused, all else stays and is tried again.
  void Failed(const std::string& problem, bool in_doubt) {
    board_.store.Rollback();
    const std::size_t ran = works_.Ran();
    works_.Failed(problem, in_doubt);
    CannotGoOn(problem);
    const bool writing = !board_.dirty.empty() || ran > 0;
    alone_ = (std::max)(alone_, ran);  // one of them may be the reason
    board_.health.Failed(board_.context.now, problem, in_doubt, writing);
    retention_.Failed(board_.context.now);
    if (in_doubt) {
      board_.loader.Restart();
      for (Live* live : board_.dirty) {
        live->doubtful_events = live->events.size();
        if (live->Fresh()) board_.in_doubt.insert(live->transaction.definition->gid);
      }
    }
    for (std::size_t i = 0; i < board_.dirty.size();) {  // nothing new goes on without its client
      board_.dirty[i]->Fresh() ? RefuseFresh(board_, *board_.dirty[i], problem) : (void)++i;
    }
    for (Submission& submission : std::exchange(board_.returned, {})) {
      submission.waiter.Refuse(NotTaken(board_, submission.definition->gid, problem));
    }
    for (Live* live : board_.touched) board_.ArmWaiters(*live);
  }

  Time NextRetention() const { return retention_.NextStep(); }

 private:
  /// A work that breaks the batch harms nobody but itself: all else is written without works, and then each
  /// of them in a commit of its own.
  void WriteWithWorks(bool expire) {
    try {
      Write(expire, alone_ > 0 ? 0 : Works::kPerTurn);
    } catch (const BatchLost&) {
      alone_ = works_.Ran();
      board_.store.Rollback();
      works_.Undo();
      if (expire) retention_.Failed(board_.context.now);  // it may have been the reason
      Write(false, 0);
    }
  }

  void CannotGoOn(const std::string& problem) {
    if (!board_.health.Good() && board_.health.Problem() == problem) return;
    Board::Protected([&] {
      board_.Log(LogLevel::kError, "the store fails, nothing goes on until it works: " + problem);
    });
  }

  void RunOneAlone() {
    if (alone_ == 0) return;
    --alone_;
    if (!works_.Pending()) return;
    try {
      Write(false, 1);
      (void)Written();  // what cannot be read is in the next commit again
    } catch (const StoreBusy&) {
      ++alone_;  // it has not run
    } catch (const CommitInDoubt& error) {
      Failed(error.what(), true);
    } catch (...) {
      const std::string problem = WhatWasThrown();
      board_.store.Rollback();
      works_.Undo();
      works_.GiveUpFirst(Made<StoreError>([&] { return "the work was not stored: " + problem; }),
                         problem);
    }
  }

  void Write(bool expire, std::size_t works) {
    Store& store = board_.store;
    if (!board_.health.Good() || board_.health.WaitsForLock()) {
      // What was decided before leaves late, and may run that much longer.
      for (Live* live : board_.dirty) {
        engine::MoveDeadlines(live->transaction, live->held_calls, board_.context);
      }
    }
    if (board_.health.NeedsRecovery()) {
      store.Recover();
      board_.health.Recovered();
      board_.in_doubt.clear();
    }
    store.Begin();
    works_.Run(works);
    changes_.clear();
    for (Live* live : board_.dirty) {
      if (live->Fresh()) live->transaction.row = 0;  // given by a batch that was lost
      const bool due_changed = live->transaction.due != live->stored_due;
      changes_.push_back(
          {&live->transaction, due_changed, live->redefined, false, live->new_steps});
    }
    store.Apply(changes_);
    if (works_.Ran() > 0) CheckAllApplied();
    if (expire) {
      const std::string problem = retention_.Step(store, board_.context.now);
      if (!problem.empty()) board_.Log(LogLevel::kError, problem);
    }
    store.Commit();
  }

  /// What ran inside this batch belongs to the record it was run for.
  void CheckAllApplied() const {
    for (const Change& change : changes_) {
      if (!change.applied && change.transaction->version > 0) {
        throw BatchLost("gid '" + change.transaction->definition->gid + "' was changed meanwhile");
      }
    }
  }

  /// Returns why a stored record that counts could not be read, or nothing.
  std::string Written() {
    std::string unread;
    works_.Committed();
    written_.clear();
    written_.swap(board_.dirty);
    for (std::size_t i = 0; i < written_.size(); ++i) {
      if (i + kLiveAhead < written_.size()) PrefetchLive(*written_[i + kLiveAhead]);
      Live& live = *written_[i];
      live.dirty = false;
      if (changes_[i].applied) {
        ++live.transaction.version;
        live.stored_due = live.transaction.due;
        live.redefined = false;
        live.new_steps = 0;
        live.doubtful_events = 0;
        for (Command& command : live.commands) {
          Board::Protected([&] { board_.AddWaiter(live, std::move(command.waiter)); });
        }
        live.commands.clear();
      } else if (live.Fresh()) {
        conflicts_.OnGidExists(live);
      } else {
        std::string problem = conflicts_.OnConflictOrLater(live);
        if (!problem.empty()) unread = std::move(problem);
      }
    }
    return unread;
  }

  Board& board_;
  Clock& clock_;
  Conflicts conflicts_;
  Retention retention_;
  std::vector<Change> changes_;
  std::vector<Live*> written_;  // a member for its memory
  Works works_;
  std::size_t alone_ = 0;  // works that get a commit of their own, since a batch with them was lost
};

}  // namespace v1
}  // namespace dtm
