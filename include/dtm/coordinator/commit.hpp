/// The third stage of a turn: all changes in one commit of the store, and what to do if it fails.
/// Needs: std, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <chrono>
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
#include <dtm/coordinator/retention.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/repeat.hpp>
#include <dtm/engine/schedule.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Commit {
 public:
  Commit(Board& board, Clock& clock)
      : board_(board), clock_(clock), retention_(board.options.keep_finished) {}

  /// True: everything up to here is durable, and may be released.
  bool Run() {
    const bool expire = retention_.NextStep() <= board_.context.now;
    const bool writes = !board_.dirty.empty() || !board_.works.empty();
    if (!writes && !expire && !board_.health.NeedsRecovery()) return true;
    try {
      Write(expire);
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
    return true;
  }

  /// Drops the batch. What came with it is refused, all else stays and is tried again.
  void Failed(const std::string& problem, bool in_doubt) {
    board_.store.Rollback();
    if (board_.health.Good()) {
      board_.Log(LogLevel::kError, "the store fails, nothing goes on until it works: " + problem);
    }
    const bool writing = !board_.dirty.empty() || !works_done_.empty();
    board_.health.Failed(board_.context.now, problem, in_doubt, writing);
    retention_.Failed(board_.context.now);
    if (in_doubt) {
      board_.loader.Restart();
      for (Live* live : board_.dirty) {
        live->doubtful_events = live->events.size();
        if (live->Fresh()) board_.in_doubt.insert(live->transaction.definition->gid);
      }
    }
    const auto error = [&](const std::string& what) {
      return in_doubt ? std::make_exception_ptr(InDoubtError(
                            what + " may or may not be stored: " + problem + "; submit it again"))
                      : std::make_exception_ptr(StoreError(what + " was not stored: " + problem +
                                                           "; submit it again later"));
    };
    for (auto& done : works_done_) {
      Board::Protected([&] { done.first.done({}, error("the work")); });
    }
    works_done_.clear();
    RefuseFresh(error);
  }

  Time NextRetention() const { return retention_.NextStep(); }

 private:
  static constexpr std::size_t kWorksPerTurn = 64;
  static constexpr Duration kWorkTimePerTurn = std::chrono::milliseconds(5);

  void Write(bool expire) {
    Store& store = board_.store;
    if (!board_.health.Good()) {
      // What was decided before the store failed leaves late, and may run that much longer.
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
    RunWorks();
    changes_.clear();
    for (Live* live : board_.dirty) {
      const bool due_changed = live->transaction.due != live->stored_due;
      changes_.push_back({&live->transaction, due_changed, live->redefined, false});
    }
    store.Apply(changes_);
    if (expire) retention_.Step(store, board_.context.now);
    store.Commit();
  }

  /// User work shares the batch; a slow one must not hold up the others for long.
  void RunWorks() {
    const Time end = clock_.Now() + kWorkTimePerTurn;
    for (std::size_t n = 0; n < kWorksPerTurn && !board_.works.empty(); ++n) {
      if (n > 0 && clock_.Now() >= end) break;
      QueuedWork work = std::move(board_.works.front());
      board_.works.pop_front();
      works_done_.emplace_back(std::move(work), Result{});
      works_done_.back().second = board_.store.Run(works_done_.back().first.work);
    }
  }

  void Written() {
    std::vector<Live*> dirty;
    dirty.swap(board_.dirty);
    for (std::size_t i = 0; i < dirty.size(); ++i) {
      Live& live = *dirty[i];
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
    for (auto& done : works_done_) {
      Board::Protected([&] { done.first.done(done.second, nullptr); });
    }
    works_done_.clear();
  }

  /// A submission of a gid that is stored but was not in memory: the same again, or another.
  void OnGidExists(Live& live) {
    const std::shared_ptr<const Definition> definition = live.transaction.definition;
    const bool prepare = live.transaction.status == Status::kPrepared;
    std::vector<Waiter> waiters = std::move(live.waiters);
    std::move(live.commands.begin(), live.commands.end(),
              std::back_inserter(board_.again_commands));
    Remove(live);
    std::exception_ptr refused;
    try {
      std::optional<Transaction> stored = board_.store.Load(definition->gid);
      if (!stored) {
        refused = std::make_exception_ptr(StoreError(
            "gid '" + definition->gid + "' was removed at this moment; submit it again"));
      } else if (!IsFinal(stored->status)) {
        board_.again.emplace_back(definition->gid, engine::EventKind::kLoaded);
        board_.lives.Add(std::move(*stored));
        if (waiters.empty()) waiters.emplace_back();  // nobody wants the answer
        std::vector<Submission> returned;
        returned.reserve(waiters.size() + board_.returned.size());
        for (Waiter& waiter : waiters) returned.push_back({definition, std::move(waiter), prepare});
        // Before those that came later.
        std::move(board_.returned.begin(), board_.returned.end(), std::back_inserter(returned));
        board_.returned.swap(returned);
        return;
      } else {
        const engine::Repeat repeat = engine::OnRepeat(*stored, *definition, prepare);
        if (repeat.kind != engine::Repeat::Kind::kRefuse) {
          for (const Waiter& waiter : waiters) Board::Answer(waiter, ResultOf(*stored));
          return;
        }
        refused = std::make_exception_ptr(RejectedError(repeat.refused));
      }
    } catch (const StoreError&) {
      refused = std::current_exception();
    }
    for (const Waiter& waiter : waiters) Board::Refuse(waiter, refused);
  }

  /// If the record cannot be read now, the same conflict comes back with the next commit.
  void OnConflictOrLater(Live& live) {
    try {
      OnConflict(live);
    } catch (const StoreError& error) {
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
      return Remove(live);
    }
    // Rows that were registered since are added; rows that are lost are not, and it gets stuck.
    const bool whole = stored->branches.size() == RowCount(*stored->definition);
    stored->definition = live.transaction.definition;
    if (whole) AddMissingRows(*stored);
    for (std::size_t i = 0; i < stored->branches.size(); ++i) {
      stored->branches[i].in_flight =
          i < live.transaction.branches.size() && live.transaction.branches[i].in_flight;
    }
    KeepEvents(live, *stored);
    live.transaction = std::move(*stored);
    live.stored_due = live.transaction.due;
    board_.again.emplace_back(live.transaction.definition->gid, engine::EventKind::kTimer);
    Untouch(live);  // nothing of it leaves before it was stepped again
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

  template <typename MakeError>
  void RefuseFresh(const MakeError& error) {
    std::vector<Live*> fresh;
    for (Live* live : board_.dirty) {
      if (live->Fresh()) fresh.push_back(live);
    }
    for (Live* live : fresh) {
      const std::exception_ptr refusal = error("gid '" + live->transaction.definition->gid + "'");
      for (const Waiter& waiter : live->waiters) Board::Refuse(waiter, refusal);
      for (const Command& command : live->commands) Board::Refuse(command.waiter, refusal);
      Remove(*live);
    }
    for (const Submission& submission : std::exchange(board_.returned, {})) {
      Board::Refuse(submission.waiter, error("gid '" + submission.definition->gid + "'"));
    }
  }

  void Untouch(Live& live) {
    live.touched = false;
    std::vector<Live*>& touched = board_.touched;
    touched.erase(std::remove(touched.begin(), touched.end(), &live), touched.end());
  }

  void Remove(Live& live) {
    Untouch(live);
    std::vector<Live*>& dirty = board_.dirty;
    dirty.erase(std::remove(dirty.begin(), dirty.end(), &live), dirty.end());
    board_.Remove(live);
  }

  Board& board_;
  Clock& clock_;
  Retention retention_;
  std::vector<Change> changes_;
  std::vector<std::pair<QueuedWork, Result>> works_done_;
};

}  // namespace v1
}  // namespace dtm
