/// The loop that owns all transaction state: collect, advance, commit, release.
/// Needs: std, engine, store. Threads: driven by one thread at a time; everything arrives through
/// the inbox. Rule: nothing leaves before its cause is durable (docs/architecture.md).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/functions/program_functions.hpp>
#include <dtm/coordinator/functions/transaction_functions.hpp>
#include <dtm/coordinator/hooks/hooks.hpp>
#include <dtm/coordinator/loop/collect_stage.hpp>
#include <dtm/coordinator/loop/commit_stage.hpp>
#include <dtm/coordinator/loop/release_stage.hpp>
#include <dtm/coordinator/loop/sweep.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/coordinator/parts/gauges.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/coordinator/state/not_stored.hpp>
#include <dtm/coordinator/state/recovery.hpp>
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/store/peers.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Loop {
 public:
  Loop(Store& store, Clock& clock, Inbox& inbox, ProgramFunctions& functions, BranchCaller& urls,
       TransactionFunctions& transaction_functions, Hooks& hooks, const Options& options)
      : clock_(clock),
        functions_(functions),
        inbox_(inbox),
        state_(store, options),
        recovery_(state_),
        collect_(state_, inbox),
        commit_(state_, transaction_functions, clock),
        release_(state_, clock, functions, urls, inbox, hooks),
        sweep_(state_),
        peers_(store.Shared()) {
    state_.context.started = clock.Now();
    if (peers_ != nullptr) peers_->Introduce(NodeOf(options));
  }

  /// From the next turn on nothing is called any more, and nobody waits for an end; what is answered is still recorded.
  void StartNothingNew() {
    functions_.RefuseWaiting();
    state_.elsewhere.AnswerAll("the coordinator stops");
    if (!std::exchange(state_.context.may_call, false)) return;
    // Those who wait for an end are told now what the status is.
    state_.table.ForEach([this](ActiveTransaction& active) {
      if (!active.waiters.empty()) state_.Touch(active);
    });
  }

  /// One turn; returns whether anything had happened.
  bool Turn() {
    const TakenMail taken{inbox_};
    state_.context.now = (std::max)(clock_.Now(), state_.not_before);
    state_.reports.news.Flush(state_.context.now);
    if (broken_off_) {
      commit_.BreakOff();
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
    gauges_.in_memory = state_.table.Count();
    gauges_.damaged = recovery_.Damaged();
    gauges_.store_fails = !state_.health.Good();
    const Time now = clock_.Now();
    const Time growth = functions_.Grow(now);
    const bool pending = !state_.to_commit.dirty.empty() || !state_.to_release.touched.empty() ||
                         !state_.to_commit.works.empty() ||
                         !state_.to_commit.branch_works.empty() || state_.SomethingLeftOver() ||
                         state_.health.NeedsRecovery();
    if (broken_off_) return now + kAfterBrokenTurn;
    Time next = pending ? now : (std::min)(state_.timers.Next(), commit_.NextRetention());
    if (!state_.room.Full() && state_.context.may_call) {
      next = (std::min)(next, state_.loader.NextPass());
    }
    next = (std::min)(next, state_.elsewhere.Next());
    if (HasNews()) next = now;
    const auto lease = state_.store.OurLease();
    if (lease != nullptr && !lease->Holds()) next = (std::max)(next, now + kAfterBrokenTurn);
    if (!state_.health.MayTry(now)) {  // but whose time is over is answered meanwhile
      next = (std::min)((std::max)(next, state_.health.NextTry()), state_.timers.Next());
    }
    return (std::min)({next, growth, state_.reports.news.NextFlush()});
  }

  /// The store has more to load, or to obey, than the last turn knew. Any thread.
  bool HasNews() const {
    return HasTakenOver() || (peers_ != nullptr && peers_->AskedTimes() != asked_times_);
  }

  Metrics::Snapshot Counted() const { return state_.reports.metrics.Get(); }
  const LoopGauges& Measured() const { return gauges_; }

  /// Branch calls that are out, or changes that no commit has taken yet.
  bool Busy() {
    bool busy = !state_.to_commit.dirty.empty() || !state_.to_commit.works.empty();
    state_.table.ForEach(
        [&busy](const ActiveTransaction& active) { busy = busy || active.CallsOut(); });
    return busy;
  }

  /// Answers everybody who still waits, with the status that is durable; for the end.
  void AnswerAll() {
    state_.reports.news.Flush(kNever);
    Mail never_read;  // the last turn was broken off
    inbox_.Take(never_read);
    dtm::AnswerAll(state_, "the coordinator stopped");
    state_.elsewhere.AnswerAll("the coordinator stopped");
  }

 private:
  bool Stages() {
    if (peers_ != nullptr) HearOthers();
    const bool something = collect_.Run();
    if (HasTakenOver()) {
      takeovers_ = state_.store.Takeovers();
      state_.loader.Restart();
    }
    if (!state_.health.MayTry(state_.context.now)) return something;
    try {
      if (!state_.health.NeedsRecovery()) recovery_.Load();
    } catch (const Fenced& error) {
      commit_.LoseAll(error.what());
      return something;
    } catch (...) {
      commit_.Failed(WhatWasThrown(), false);
      return something;
    }
    if (commit_.Run()) release_.Run();
    return something;
  }

  bool HasTakenOver() const { return state_.store.Takeovers() != takeovers_; }

  /// What other coordinators on the store have done or want.
  void HearOthers() {
    const std::uint64_t asked_times = peers_->AskedTimes();
    if (asked_times != asked_times_) {
      state_.elsewhere.Hear(state_.to_collect.reissue);
      for (const std::string& news : peers_->TakeNews()) state_.Log(LogLevel::kWarning, news);
      asked_times_ = asked_times;
    }
    state_.elsewhere.Look(state_.context.now, state_.to_collect.reissue);
  }

  static constexpr Duration kAfterBrokenTurn = std::chrono::milliseconds(10);

  struct TakenMail {
    Inbox& inbox;
    ~TakenMail() { inbox.DoneWithTaken(); }
  };

  Clock& clock_;
  ProgramFunctions& functions_;
  Inbox& inbox_;
  TurnState state_;
  Recovery recovery_;
  CollectStage collect_;
  CommitStage commit_;
  ReleaseStage release_;
  Sweep sweep_;
  bool broken_off_ = false;  // the last turn ended with an exception
  LoopGauges gauges_;
  Peers* const peers_;  // null: the store is not shared
  std::atomic<std::uint64_t> asked_times_{0};
  std::atomic<std::uint64_t> takeovers_{0};  // of the store, as far as they are known here
};

}  // namespace v1
}  // namespace dtm
