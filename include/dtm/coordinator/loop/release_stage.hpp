/// The last stage of a turn: only now that their cause is durable, calls start, timers are armed
/// and callers are answered, and people are told what keeps failing.
/// Needs: std. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/hooks/hooks.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/schedule.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class ReleaseStage {
 public:
  ReleaseStage(TurnState& state, Clock& clock, BranchCaller& functions, BranchCaller& urls,
               BranchResults& results, Hooks& hooks)
      : state_(state),
        clock_(clock),
        functions_(functions),
        urls_(urls),
        results_(results),
        hooks_(hooks) {}

  void Run() {
    released_.clear();
    released_.swap(state_.to_release.touched);
    lease_ = state_.store.OurLease();
    const bool may_call = lease_ == nullptr || lease_->Holds();
    if (!state_.to_commit.dirty.empty()) KeepUnsettled();
    local_calls_.reserve(released_.size());
    now_ = clock_.Now();
    if (may_call) {
      ForEachActive(released_, [this](ActiveTransaction& active) { TakeCalls(active); });
      StartCalls();
    }
    ForEachActive(released_, [this](ActiveTransaction& active) {
      Count(active);
      const bool grows =
          !active.events.empty() && active.events.back().kind == engine::EventKind::kBranchAdded;
      active.events.clear();
      active.journaled_events = 0;
      active.journaled_calls = active.held_calls.size();
      AnswerWaiters(active);
      ArmTimerOrLeave(active, grows);
      if (!active.held_calls.empty()) state_.Touch(active);  // until the lease holds
    });
    TellHooks();
  }

 private:
  void TellHooks() {
    ToRelease& told = state_.to_release;
    if (!told.alerts.empty()) hooks_.alerts.Tell(std::exchange(told.alerts, {}));
    if (!told.spans.empty()) hooks_.spans.Tell(std::exchange(told.spans, {}));
    if (!told.events.empty()) hooks_.events.Tell(std::exchange(told.events, {}));
  }

  /// A transaction that is dirty again has a conflict that is not settled yet; it waits for the next commit.
  void KeepUnsettled() {
    const auto settled =
        std::stable_partition(released_.begin(), released_.end(),
                              [](const ActiveTransaction* active) { return active->dirty; });
    state_.to_release.touched.assign(released_.begin(), settled);
    released_.erase(released_.begin(), settled);
  }

  void Count(ActiveTransaction& active) {
    const Transaction& transaction = active.transaction;
    if (active.rolled_back) state_.reports.news.RolledBack(transaction, state_.context.now);
    active.rolled_back = false;
    for (const AppliedEvent& event : active.events) {
      state_.reports.Report(transaction, event);
      if (event.kind == engine::EventKind::kForceStop) state_.elsewhere.TellOwner(transaction);
    }
    state_.reports.ReportEnd(transaction);
  }

  void TakeCalls(ActiveTransaction& active) {
    const Transaction& transaction = active.transaction;
    if (!IsFinal(transaction.status)) {
      // First, or some calls would be both taken and held when there is no memory for the others.
      for (auto* calls : {&local_calls_, &url_calls_}) {
        const std::size_t needed = calls->size() + active.held_calls.size();
        if (needed > calls->capacity()) calls->reserve(2 * needed);
      }
      for (const std::size_t row : active.held_calls) {
        BranchCall call;
        call.definition = transaction.definition;
        call.row = row;
        call.slot = active.slot;
        call.generation = active.generation;
        call.timeout = engine::RequestTimeout(transaction.definition->options, state_.context);
        call.lease = lease_;
        call.span = state_.reports.spans.Begin(transaction, row, now_);
        TakeCall(std::move(call), transaction.branches[row].deadline);
      }
    }
    active.held_calls.clear();
  }

  /// The stored deadline holds even if the commit took long or the call was held back, so it is told how late it is. With no
  /// time left after it was held back it is decided on again.
  void TakeCall(BranchCall call, Time deadline) {
    if (IsLocal(call.Url())) return local_calls_.push_back(std::move(call));
    call.late = (std::max)(now_ + 2 * call.timeout - deadline, Duration(0));
    if (lease_ != nullptr && call.late >= call.timeout) {
      return results_.Done(std::move(call), LeaseOver());
    }
    url_calls_.push_back(std::move(call));
  }

  /// The next deadlines allow for as long a commit.
  void StartCalls() {
    if (!local_calls_.empty()) functions_.Call(std::exchange(local_calls_, {}), results_);
    if (url_calls_.empty()) return;
    state_.context.lateness = 2 * (std::max)(now_ - state_.context.now, Duration(0));
    urls_.Call(std::exchange(url_calls_, {}), results_);
  }

  void AnswerWaiters(ActiveTransaction& active) {
    if (active.waiters.empty()) return;
    const Transaction& transaction = active.transaction;
    const bool ended = IsFinal(transaction.status);
    const bool settled = ended || transaction.stuck ||
                         (active.timer != kNever && !active.CallsOut() && !HeldBack(active));
    for (Waiter& waiter : active.waiters) {
      const bool now = ended || waiter.when == AnswerWhen::kStored || !state_.context.may_call ||
                       (settled && waiter.when == AnswerWhen::kSettled) ||
                       waiter.deadline <= state_.context.now;
      if (now && waiter.promise.Open()) waiter.GiveStatusOf(transaction);
    }
    const auto answered = [](const Waiter& waiter) { return !waiter.promise.Open(); };
    active.waiters.erase(std::remove_if(active.waiters.begin(), active.waiters.end(), answered),
                         active.waiters.end());
  }

  /// It is due, but was not allowed to start calls; its timer, if it has one, is for its timeout.
  bool HeldBack(const ActiveTransaction& active) const {
    return active.transaction.due <= state_.context.now;
  }

  /// `grows`: a step was just registered. More may follow soon, and to load all of them again for each would take longer
  /// and longer; so it stays in memory for a moment.
  void ArmTimerOrLeave(ActiveTransaction& active, bool grows) {
    const Transaction& transaction = active.transaction;
    if (IsFinal(transaction.status)) return state_.Remove(active);
    state_.ArmTimer(active);
    active.touched = false;
    if (active.CallsOut()) return;
    const bool prepared = transaction.status == Status::kPrepared && state_.IsShared();
    const bool waits = WaitsForPeople(active) || prepared;  // anybody may write what is prepared
    if (waits && grows && !prepared && !state_.room.HalfFull()) {
      return state_.ArmBefore(active, state_.context.now + kUntilNextStep);
    }
    const bool idle = (active.timer == kNever || HeldBack(active)) && !waits;
    const bool leave = waits || (idle ? state_.room.Full() : state_.room.HalfFull());
    if (active.waiters.empty() && leave) {
      state_.Remove(active);
    } else if (idle && state_.context.may_call) {
      state_.to_collect.readvance.emplace_back(transaction.definition->gid,
                                               engine::EventKind::kTimer);
    }
  }

  static constexpr Duration kUntilNextStep = std::chrono::seconds(1);

  TurnState& state_;
  Clock& clock_;
  BranchCaller& functions_;
  BranchCaller& urls_;
  BranchResults& results_;
  Hooks& hooks_;
  std::shared_ptr<const Lease> lease_;        // in this turn
  Time now_{};                                // when its commit was done
  std::vector<ActiveTransaction*> released_;  // in this turn; a member for its memory
  std::vector<BranchCall> local_calls_;
  std::vector<BranchCall> url_calls_;
};

}  // namespace v1
}  // namespace dtm
