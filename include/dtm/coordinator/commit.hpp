/// The third stage of a turn: all changes in one commit of the store, and what to do if it fails.
/// Needs: std, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/board.hpp>
#include <dtm/coordinator/clock.hpp>
#include <dtm/coordinator/functions.hpp>
#include <dtm/coordinator/retention.hpp>
#include <dtm/coordinator/works.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/repeat.hpp>
#include <dtm/engine/schedule.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Commit {
 public:
  Commit(Board& board, Functions& functions, Clock& clock)
      : board_(board),
        clock_(clock),
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
    } catch (const std::exception& error) {
      Failed(error.what(), false);
      return false;
    }
    const bool was_good = board_.health.Good();
    board_.health.Worked(writes);
    if (!was_good && board_.health.Good()) board_.Log(LogLevel::kInfo, "the store works again");
    Written();
    RunOneAlone();
    return true;
  }

  /// Drops the batch. What came with it is refused, all else stays and is tried again.
  void Failed(const std::string& problem, bool in_doubt) {
    board_.store.Rollback();
    if (board_.health.Good()) {
      board_.Log(LogLevel::kError, "the store fails, nothing goes on until it works: " + problem);
    }
    const bool writing = !board_.dirty.empty() || works_.Ran() > 0;
    alone_ = (std::max)(alone_, works_.Ran());  // one of them may be the reason
    board_.health.Failed(board_.context.now, problem, in_doubt, writing);
    retention_.Failed(board_.context.now);
    if (in_doubt) {
      board_.loader.Restart();
      for (Live* live : board_.dirty) {
        live->doubtful_events = live->events.size();
        if (live->Fresh()) board_.in_doubt.insert(live->transaction.definition->gid);
      }
    }
    works_.Failed([&](const std::string& what) {
      return in_doubt ? std::make_exception_ptr(InDoubtError(
                            what + " may or may not be stored: " + problem + "; submit it again"))
                      : std::make_exception_ptr(StoreError(what + " was not stored: " + problem +
                                                           "; submit it again later"));
    });
    RefuseFresh(problem);
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
      Write(expire, 0);
    }
  }

  void RunOneAlone() {
    if (alone_ == 0) return;
    --alone_;
    if (!works_.Pending()) return;
    try {
      Write(false, 1);
      Written();
    } catch (const StoreBusy&) {
      ++alone_;  // it has not run
    } catch (const CommitInDoubt& error) {
      Failed(error.what(), true);
    } catch (const std::exception& error) {
      board_.store.Rollback();
      works_.Undo();
      works_.GiveUpFirst(std::make_exception_ptr(
                             StoreError(std::string("the work was not stored: ") + error.what())),
                         error.what());
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
      changes_.push_back({&live->transaction, due_changed, live->redefined, false});
    }
    store.Apply(changes_);
    if (works_.Ran() > 0) CheckAllApplied();
    if (expire) retention_.Step(store, board_.context.now);
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

  void Written() {
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
        for (Command& command : std::exchange(live.commands, {})) {
          board_.AddWaiter(live, std::move(command.waiter));
        }
        live.doubtful_events = 0;
      } else if (live.Fresh()) {
        OnGidExists(live);
      } else {
        OnConflictOrLater(live);
      }
    }
    works_.Committed();
  }

  /// A submission of a gid that is stored but was not in memory: the same again, or another.
  void OnGidExists(Live& live) {
    const std::shared_ptr<const Definition> definition = live.transaction.definition;
    const bool prepare = live.transaction.status == Status::kPrepared;
    std::vector<Waiter> waiters = std::move(live.waiters);
    std::move(live.commands.begin(), live.commands.end(),
              std::back_inserter(board_.again_commands));
    std::exception_ptr refused;
    std::optional<Transaction> stored;
    try {
      stored = board_.store.Load(definition->gid);
      if (!stored) refused = board_.NotTaken(definition->gid, "it was removed at this moment");
    } catch (const std::exception& error) {
      refused = board_.NotTaken(definition->gid, error.what());
    }
    if (!stored) {
      board_.RemoveFresh(live);
    } else {
      board_.Replace(live, *stored);
      if (!IsFinal(stored->status)) return Return(definition, std::move(waiters), prepare);
      const engine::Repeat repeat = engine::OnRepeat(*stored, *definition, prepare);
      if (repeat.kind != engine::Repeat::Kind::kRefuse) {
        for (const Waiter& waiter : waiters) Board::Answer(waiter, ResultOf(*stored));
        return;
      }
      refused = std::make_exception_ptr(RejectedError(repeat.refused));
    }
    for (const Waiter& waiter : waiters) Board::Refuse(waiter, refused);
  }

  /// For the next turn, before those that came later.
  void Return(const std::shared_ptr<const Definition>& definition, std::vector<Waiter> waiters,
              bool prepare) {
    if (waiters.empty()) waiters.emplace_back();  // nobody wants the answer
    std::vector<Submission> returned;
    returned.reserve(waiters.size() + board_.returned.size());
    for (Waiter& waiter : waiters) returned.push_back({definition, std::move(waiter), prepare});
    std::move(board_.returned.begin(), board_.returned.end(), std::back_inserter(returned));
    board_.returned.swap(returned);
  }

  /// If it cannot be read now, the same conflict comes back with the next commit.
  void OnConflictOrLater(Live& live) {
    try {
      OnConflict(live);
    } catch (const std::exception& error) {
      board_.Log(LogLevel::kError, error.what());
      live.dirty = true;
      board_.dirty.push_back(&live);
    }
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
      const std::exception_ptr gone = std::make_exception_ptr(
          StoreError("gid '" + live.transaction.definition->gid + "' has vanished from the store"));
      for (const Waiter& waiter : live.waiters) Board::Refuse(waiter, gone);
      return board_.RemoveFresh(live);
    }
    // Rows that were registered since are added; rows that are lost are not, and it gets stuck.
    const bool whole = stored->branches.size() == RowCount(*stored->definition);
    stored->definition = live.transaction.definition;
    if (whole) AddMissingRows(*stored);
    for (std::size_t i = 0; i < stored->branches.size(); ++i) {
      // What runs inside a commit is never out: it is called again if it is still wanted.
      stored->branches[i].in_flight = i < live.transaction.branches.size() &&
                                      live.transaction.branches[i].in_flight &&
                                      !RunsInTransaction(UrlOf(*stored->definition, i));
    }
    KeepEvents(live, *stored);
    live.rolled_back = false;
    live.transaction = std::move(*stored);
    live.stored_due = live.transaction.due;
    board_.again.emplace_back(live.transaction.definition->gid, engine::EventKind::kTimer);
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

  /// Nothing that is new goes on without its client: all of it is refused.
  void RefuseFresh(const std::string& problem) {
    std::vector<Live*> fresh;
    for (Live* live : board_.dirty) {
      if (live->Fresh()) fresh.push_back(live);
    }
    for (Live* live : fresh) {
      const std::shared_ptr<const Definition> definition = live->transaction.definition;
      const std::vector<Waiter> waiters = std::move(live->waiters);
      const std::vector<Command> commands = std::move(live->commands);
      board_.RemoveFresh(*live);
      const std::exception_ptr refusal = board_.NotTaken(definition->gid, problem);
      for (const Waiter& waiter : waiters) Board::Refuse(waiter, refusal);
      for (const Command& command : commands) Board::Refuse(command.waiter, refusal);
    }
    for (const Submission& submission : std::exchange(board_.returned, {})) {
      Board::Refuse(submission.waiter, board_.NotTaken(submission.definition->gid, problem));
    }
  }

  Board& board_;
  Clock& clock_;
  Retention retention_;
  std::vector<Change> changes_;
  std::vector<Live*> written_;  // a member for its memory
  Works works_;
  std::size_t alone_ = 0;  // works that get a commit of their own, since a batch with them was lost
};

}  // namespace v1
}  // namespace dtm
