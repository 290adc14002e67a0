/// The last stage of a turn: only now that their cause is durable, calls start, timers are armed
/// and callers are answered, and people are told what keeps failing.
/// Needs: std. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/alerts.hpp>
#include <dtm/coordinator/board.hpp>
#include <dtm/coordinator/branch_caller.hpp>
#include <dtm/coordinator/clock.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/schedule.hpp>

namespace dtm {
inline namespace v1 {

class Release {
 public:
  Release(Board& board, Clock& clock, BranchCaller& functions, BranchResults& results,
          Alerts& alerts)
      : board_(board), clock_(clock), functions_(functions), results_(results), alerts_(alerts) {}

  /// The caller of branches by URL; none: such branches wait.
  void Use(BranchCaller* urls) { urls_ = urls; }

  void Run() {
    released_.clear();
    released_.swap(board_.touched);
    if (!board_.dirty.empty()) KeepUnsettled();
    local_calls_.reserve(released_.size());
    ForEachLive(released_, [this](Live& live) { TakeCalls(live); });
    StartCalls();
    ForEachLive(released_, [this](Live& live) {
      Count(live);
      live.events.clear();
      AnswerWaiters(live);
      ArmTimerOrLeave(live);
    });
    if (!board_.alerts.empty()) alerts_.Tell(std::exchange(board_.alerts, {}));
  }

 private:
  /// What is dirty again met a conflict that is not settled; it waits for the next commit.
  void KeepUnsettled() {
    const auto settled = std::stable_partition(released_.begin(), released_.end(),
                                               [](const Live* live) { return live->dirty; });
    board_.touched.assign(released_.begin(), settled);
    released_.erase(released_.begin(), settled);
  }

  void Count(Live& live) {
    const Transaction& transaction = live.transaction;
    if (live.rolled_back) board_.news.RolledBack(transaction, board_.context.now);
    live.rolled_back = false;
    for (const Stepped& event : live.events) board_.Count(live, event);
    if (IsFinal(transaction.status)) board_.metrics.Ended(transaction);
  }

  void TakeCalls(Live& live) {
    const Transaction& transaction = live.transaction;
    if (!IsFinal(transaction.status)) {
      // Or some would be taken and still be held when no memory is left for the others.
      for (auto* calls : {&local_calls_, &url_calls_}) {
        const std::size_t needed = calls->size() + live.held_calls.size();
        if (needed > calls->capacity()) calls->reserve(2 * needed);
      }
      for (const std::size_t branch : live.held_calls) {
        BranchCall call;
        call.definition = transaction.definition;
        call.branch = branch;
        call.place = live.place;
        call.life = live.life;
        call.timeout = engine::RequestTimeout(transaction.definition->options, board_.context);
        (IsLocal(call.Url()) ? local_calls_ : url_calls_).push_back(std::move(call));
      }
    }
    live.held_calls.clear();
  }

  void StartCalls() {
    if (!local_calls_.empty()) functions_.Call(std::exchange(local_calls_, {}), results_);
    if (url_calls_.empty()) return;
    TellLateness();
    std::vector<BranchCall> calls = std::exchange(url_calls_, {});
    if (urls_ != nullptr) return urls_->Call(std::move(calls), results_);
    for (const BranchCall& call : calls) {
      results_.Done(call, Result::NoHandler(IfThereIsMemory([] {
                      return "this program calls no URLs: include <dtm/http.hpp> and say "
                             "Use(dtm::HttpBranches())";
                    })));
    }
  }

  /// The deadlines that are stored hold also after a commit that took long; the next ones allow for another.
  void TellLateness() {
    const Duration late = clock_.Now() - board_.context.now;
    const Duration beyond = (std::max)(late - board_.context.lateness, Duration(0));
    for (BranchCall& call : url_calls_) call.late = beyond;
    board_.context.lateness = 2 * late;
  }

  void AnswerWaiters(Live& live) {
    if (live.waiters.empty()) return;
    const Transaction& transaction = live.transaction;
    const bool ended = IsFinal(transaction.status);
    const bool settled =
        ended || transaction.stuck || (live.timer != kNever && !live.CallsOut() && !HeldBack(live));
    for (Waiter& waiter : live.waiters) {
      const bool now = ended || waiter.when == AnswerWhen::kStored || !board_.context.may_call ||
                       (settled && waiter.when == AnswerWhen::kSettled) ||
                       waiter.deadline <= board_.context.now;
      if (now && waiter.promise.Open()) waiter.Answer(ResultOf(transaction));
    }
    const auto answered = [](const Waiter& waiter) { return !waiter.promise.Open(); };
    live.waiters.erase(std::remove_if(live.waiters.begin(), live.waiters.end(), answered),
                       live.waiters.end());
  }

  /// It could go on but was not allowed to; a timer it may have is for its timeout.
  bool HeldBack(const Live& live) const { return live.transaction.due <= board_.context.now; }

  void ArmTimerOrLeave(Live& live) {
    const Transaction& transaction = live.transaction;
    if (IsFinal(transaction.status)) return board_.Remove(live);
    board_.ArmTimer(live);
    live.touched = false;
    if (live.CallsOut()) return;
    const bool waits = WaitsForPeople(live);
    const bool idle = (live.timer == kNever || HeldBack(live)) && !waits;
    const bool leave = waits || (idle ? board_.Full() : board_.HalfFull());
    if (live.waiters.empty() && leave) {
      board_.Remove(live);
    } else if (idle && board_.context.may_call) {
      board_.again.emplace_back(transaction.definition->gid, engine::EventKind::kTimer);
    }
  }

  Board& board_;
  Clock& clock_;
  BranchCaller& functions_;
  BranchResults& results_;
  Alerts& alerts_;
  BranchCaller* urls_ = nullptr;
  std::vector<Live*> released_;  // in this turn; a member for its memory
  std::vector<BranchCall> local_calls_;
  std::vector<BranchCall> url_calls_;
};

}  // namespace v1
}  // namespace dtm
