/// The saga machine: runs the steps in order, and after a definite failure undoes, in reverse order, all that may
/// have run.
/// Needs: std. Threads: pure. Protocol: §4.1, with the safe alternatives of its §12: a running action
/// is awaited before it is compensated, tries survive restarts, retries wait.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/engine/machine_parts.hpp>
#include <dtm/engine/schedule.hpp>

namespace dtm {
inline namespace v1 {
namespace engine {

class SagaMachine : public MachineOf<SagaMachine> {
  friend class MachineOf<SagaMachine>;
  using MachineOf::MachineOf;

  void Run(const Event& event) {
    if (!GoesOn(event)) return;
    switch (event.kind) {
      case EventKind::kSubmitted: OnSubmitted(); break;
      case EventKind::kPrepared: Create(Status::kPrepared); break;
      case EventKind::kResult: OnResult(event.row, event.result); break;
      case EventKind::kCancel:
        t_.status == Status::kAborting ? TryAgainNow() : Abort(event.result.text);
        break;
      default: break;
    }
    if (MayDrive()) {
      if (t_.status == Status::kSubmitted) Forward();
      if (t_.status == Status::kAborting) Backward();
    }
    Schedule();
  }

  void OnResult(std::size_t index, const Result& result) {
    if (!TakeAnswer(index, result) || result.kind == Result::Kind::kSuccess) return;
    const bool action = OpOf(TransType::kSaga, index) == Op::kAction;
    if (action && result.kind == Result::Kind::kFailure) {
      t_.branches[index].status = BranchStatus::kFailed;
      t_.branches[index].finished = context_.now;
      if (t_.status != Status::kSubmitted) return;
      Abort({});
      return GiveReason(index, result);
    }
    if (action && t_.status == Status::kAborting) return;  // it is compensated in any case
    WaitForNextTry(index, result.kind, result);
    if (action && result.kind != Result::Kind::kNotSent) CountAgainstRetryLimit();
  }

  void CountAgainstRetryLimit() {
    const int limit = def_.options.retry_limit;
    if (limit <= 0) return;
    if (t_.retry_count < static_cast<std::uint32_t>(limit)) {
      ++t_.retry_count;
    } else {
      Abort("RetryCount is greater than RetryLimit, RetryLimit: " + std::to_string(limit));
    }
  }

  void Forward() {
    const std::chrono::seconds timeout = def_.options.timeout_to_fail;
    if (timeout.count() > 0) {
      if (context_.now >= t_.created + timeout) {
        Abort("Timeout after " + std::to_string(timeout.count()) + " seconds");
        return;
      }
      WakeAt(t_.created + timeout);
    }
    bool progress = true;  // an empty url succeeds at once and may make an earlier step ready
    while (progress) {
      progress = false;
      bool all_succeeded = true;
      for (std::size_t step = 0; step < def_.steps.size(); ++step) {
        const std::size_t action = ActionOf(step);
        if (Succeeded(action)) continue;
        all_succeeded = false;
        if (MayStart(step) && TryCall(action)) progress = true;
        if (!def_.concurrent && !Succeeded(action)) break;
      }
      if (all_succeeded) {
        Finish(Status::kSucceed);
        return;
      }
    }
  }

  bool MayStart(std::size_t step) const {
    if (!def_.concurrent && step > 0 && !Succeeded(ActionOf(step - 1))) return false;
    const auto order = def_.orders.find(static_cast<int>(step));
    if (order == def_.orders.end()) return true;
    return std::all_of(order->second.begin(), order->second.end(), [this](int before) {
      return Succeeded(ActionOf(static_cast<std::size_t>(before)));
    });
  }

  void Backward() {
    if (ActionsMayBegin()) return;
    bool progress = true;
    while (progress) {
      progress = false;
      bool all_undone = true;
      const std::vector<bool> needed = NeededByOthers();
      for (std::size_t step = def_.steps.size(); step-- > 0;) {
        if (Undone(step)) continue;
        all_undone = false;
        if (!needed[step] && TryCall(CompensateOf(step))) progress = true;
        if (!def_.concurrent && !Undone(step)) break;
      }
      if (all_undone) {
        Finish(Status::kFailed);
        return;
      }
    }
  }

  /// Nothing is left to undo: the action cannot have run, or its compensation is done. An action that
  /// failed may have had an effect, so it is compensated too.
  bool Undone(std::size_t step) const {
    return !MayHaveRun(t_.branches[ActionOf(step)]) || Succeeded(CompensateOf(step));
  }

  /// A running call, or one of a previous run that may still be running, may have its effect later; and no action
  /// may take effect after the compensation of any step.
  bool ActionsMayBegin() {
    Time last{};
    for (std::size_t step = 0; step < def_.steps.size(); ++step) {
      const Branch& action = t_.branches[ActionOf(step)];
      if (action.in_flight) return true;
      last = (std::max)(last, action.deadline);
    }
    if (last <= context_.now) return false;
    WakeAt(last);
    return true;
  }

  /// Which steps a step that came after them by the orders still rests on.
  std::vector<bool> NeededByOthers() const {
    std::vector<bool> needed(def_.steps.size(), false);
    for (const auto& order : def_.orders) {
      if (Undone(static_cast<std::size_t>(order.first))) continue;
      for (const int before : order.second) needed[static_cast<std::size_t>(before)] = true;
    }
    return needed;
  }
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm
