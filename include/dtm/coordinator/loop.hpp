/// The loop that owns all transaction state: collect and step, commit, release.
/// Needs: std, engine, store. Threads: driven by one thread at a time; everything arrives through
/// the inbox. Rule: nothing leaves before its cause is durable (docs/architecture.md).
#pragma once

#include <algorithm>
#include <chrono>
#include <exception>
#include <string>
#include <utility>

#include <dtm/coordinator/alerts.hpp>
#include <dtm/coordinator/board.hpp>
#include <dtm/coordinator/branch_caller.hpp>
#include <dtm/coordinator/clock.hpp>
#include <dtm/coordinator/collect.hpp>
#include <dtm/coordinator/commit.hpp>
#include <dtm/coordinator/functions.hpp>
#include <dtm/coordinator/gauges.hpp>
#include <dtm/coordinator/inbox.hpp>
#include <dtm/coordinator/not_stored.hpp>
#include <dtm/coordinator/options.hpp>
#include <dtm/coordinator/release.hpp>
#include <dtm/coordinator/sweep.hpp>
#include <dtm/core/error.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Loop {
 public:
  Loop(Store& store, Clock& clock, Inbox& inbox, Functions& functions, Alerts& alerts,
       const Options& options)
      : clock_(clock),
        functions_(functions),
        inbox_(inbox),
        board_(store, options),
        collect_(board_, inbox),
        commit_(board_, functions, clock),
        release_(board_, clock, functions, inbox, alerts),
        sweep_(board_) {
    board_.context.started = clock.Now();
  }

  /// The caller of branches by URL; before the first turn.
  void Use(BranchCaller* urls) { release_.Use(urls); }

  /// From the next turn on nothing is called any more, and nobody waits for an end; what is answered is still recorded.
  void StartNothingNew() {
    functions_.RefuseWaiting();
    if (!std::exchange(board_.context.may_call, false)) return;
    // Those who wait for an end are told now what the status is.
    board_.lives.ForEach([this](Live& live) {
      if (!live.waiters.empty()) board_.Touch(live);
    });
  }

  /// One turn; returns whether anything had happened.
  bool Turn() {
    const TakenMail taken{inbox_};
    board_.context.now = clock_.Now();
    board_.news.Flush(board_.context.now);
    if (broken_off_) {
      board_.store.Rollback();
      sweep_.Run();
    }
    broken_off_ = true;  // should it throw
    const bool something = Stages();
    sweep_.NowAndThen();
    broken_off_ = collect_.Incomplete();
    return something;
  }

  /// When the next turn has something to do, if nothing arrives.
  Time NextTurn() {
    gauges_.in_memory = board_.lives.Count();
    gauges_.damaged = collect_.Damaged();
    gauges_.store_fails = !board_.health.Good();
    const Time now = clock_.Now();
    const Time growth = functions_.Grow(now);
    const bool pending = !board_.dirty.empty() || !board_.touched.empty() ||
                         !board_.works.empty() || !board_.branch_works.empty() ||
                         board_.SomethingAgain() || board_.health.NeedsRecovery();
    if (broken_off_) return now + kAfterBrokenTurn;
    Time next = pending ? now : (std::min)(board_.timers.Next(), commit_.NextRetention());
    if (!board_.Full() && board_.context.may_call) {
      next = (std::min)(next, board_.loader.NextPass());
    }
    if (!board_.health.MayTry(now)) {  // but whose time is over is answered meanwhile
      next = (std::min)((std::max)(next, board_.health.NextTry()), board_.timers.Next());
    }
    return (std::min)({next, growth, board_.news.NextFlush()});
  }

  Metrics::Snapshot Counted() const { return board_.metrics.Get(); }
  const LoopGauges& Measured() const { return gauges_; }

  /// Branch calls that are out, or changes that no commit has taken yet.
  bool Busy() {
    bool busy = !board_.dirty.empty() || !board_.works.empty();
    board_.lives.ForEach([&busy](const Live& live) { busy = busy || live.CallsOut(); });
    return busy;
  }

  /// Answers everybody who still waits, with the status that is durable; for the end.
  void AnswerAll() {
    board_.news.Flush(kNever);
    Mail never_read;  // the last turn was broken off
    inbox_.Take(never_read);
    for (Submission& submission : std::exchange(board_.returned, {})) {
      submission.waiter.Refuse(NotTaken(board_, submission.definition->gid, kStopped));
    }
    for (Command& command : std::exchange(board_.again_commands, {})) {
      command.waiter.Refuse(NotStored([&] { return "gid '" + command.gid + "'"; }));
    }
    board_.lives.ForEach([this](Live& live) {
      for (Waiter& waiter : std::exchange(live.waiters, {})) {
        Board::Protected([&] { AnswerAtTheEnd(waiter, live); });
      }
      for (Command& command : std::exchange(live.commands, {})) {
        command.waiter.Refuse(NotStored([&] { return "gid '" + command.gid + "'"; }));
      }
    });
    for (QueuedWork& work : std::exchange(board_.works, {})) {
      work.promise.Keep({{}, NotStored([] { return "the work"; })});
    }
  }

 private:
  bool Stages() {
    const bool something = collect_.Run();
    if (!board_.health.MayTry(board_.context.now)) return something;
    try {
      if (!board_.health.NeedsRecovery()) collect_.Load();
    } catch (...) {
      commit_.Failed(WhatWasThrown(), false);
      return something;
    }
    if (commit_.Run()) release_.Run();
    return something;
  }

  static constexpr Duration kAfterBrokenTurn = std::chrono::milliseconds(10);
  static constexpr char kStopped[] = "the coordinator stopped";

  struct TakenMail {
    Inbox& inbox;
    ~TakenMail() { inbox.DoneWithTaken(); }
  };

  void AnswerAtTheEnd(Waiter& waiter, const Live& live) {
    const std::string& gid = live.transaction.definition->gid;
    if (!live.dirty) return waiter.Answer(ResultOf(live.transaction));
    if (live.Fresh()) return waiter.Refuse(NotTaken(board_, gid, kStopped));
    AnswerAsStored(board_, waiter, gid, kStopped);
  }

  template <typename What>
  static std::exception_ptr NotStored(const What& what) {
    return Made<StoreError>([&] {
      return std::string(what()) +
             ": its last change could not be stored before the coordinator stopped";
    });
  }

  Clock& clock_;
  Functions& functions_;
  Inbox& inbox_;
  Board board_;
  Collect collect_;
  Commit commit_;
  Release release_;
  Sweep sweep_;
  bool broken_off_ = false;  // the last turn ended with an exception
  LoopGauges gauges_;
};

}  // namespace v1
}  // namespace dtm
