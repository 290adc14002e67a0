/// The saga machine: runs the steps in order, and after a definite failure undoes what may have
/// run, in reverse.
/// Needs: std. Threads: pure. Protocol: §4.1, with the safe alternatives of its §12: an action that
/// is out is awaited before it is compensated, tries survive restarts, retries wait.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include <dtm/core/limits.hpp>
#include <dtm/core/text.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/explain.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/engine/schedule.hpp>

namespace dtm {
inline namespace v1 {
namespace engine {

class SagaMachine {
 public:
  /// Applies the event to `transaction` and returns what must follow.
  static Effects Step(Transaction& transaction, const Event& event, const Context& context) {
    SagaMachine machine(transaction, context);
    machine.Run(event);
    return std::move(machine.effects_);
  }

 private:
  SagaMachine(Transaction& transaction, const Context& context)
      : t_(transaction), def_(*transaction.definition), context_(context) {}

  void Run(const Event& event) {
    if (event.kind == EventKind::kLoaded) ForgetFormerLife(t_, context_);
    if (IsFinal(t_.status)) {
      if (event.kind == EventKind::kCancel || event.kind == EventKind::kForceStop ||
          event.kind == EventKind::kRetryNow) {
        effects_.refused = "it has already ended as " + std::string(Name(t_.status));
      }
      return;
    }
    switch (event.kind) {
      case EventKind::kSubmitted: OnSubmitted(); break;
      case EventKind::kPrepared: Create(Status::kPrepared); break;
      case EventKind::kLoaded:
      case EventKind::kTimer: break;
      case EventKind::kResult: OnResult(event.branch, event.result); break;
      case EventKind::kCancel:
        if (t_.status != Status::kAborting) {
          Abort(event.result.text.empty() ? "cancelled" : event.result.text);
        }
        break;
      case EventKind::kRegistered: Awaken(event.branch); break;
      case EventKind::kForceStop:
        for (Branch& branch : t_.branches) branch.in_flight = false;
        Finish(Status::kFailed);
        return;
      case EventKind::kRetryNow:
        ForgetWaits(t_);
        effects_.changed = true;
        break;
    }
    if (t_.branches.size() != 2 * def_.steps.size()) {
      GetStuck("the record has " + std::to_string(t_.branches.size()) + " branch rows for " +
               std::to_string(def_.steps.size()) + " steps");
    }
    if (t_.stuck) {
      Schedule();
      return;
    }
    if (t_.status == Status::kSubmitted) Forward();
    if (t_.status == Status::kAborting) Backward();
    if (!IsFinal(t_.status)) Schedule();
  }

  void Create(Status status) {
    t_.status = status;
    t_.branches.assign(2 * def_.steps.size(), Branch{});
    t_.created = t_.due = context_.now;
    effects_.changed = true;
  }

  void OnSubmitted() {
    if (t_.created == Time{}) return Create(Status::kSubmitted);
    if (t_.status != Status::kPrepared) return;
    t_.status = Status::kSubmitted;
    t_.due = context_.now;
    effects_.changed = true;
  }

  void OnResult(std::size_t index, const Result& result) {
    if (index >= t_.branches.size() || !t_.branches[index].in_flight) return;
    Branch& branch = t_.branches[index];
    branch.in_flight = false;
    branch.deadline = branch.former_deadline;  // this answer says nothing about an earlier life's
    effects_.changed = true;
    if (result.kind == Result::Kind::kSuccess) {
      branch.status = BranchStatus::kSucceed;
      branch.errors = 0;
      branch.next_try = Time{};
      return;
    }
    t_.last_error = Truncated(DescribeAnswer(def_, index, result), kMaxReasonBytes);
    if (result.kind == Result::Kind::kNotSent) --branch.tries;
    const bool action = OpOf(index) == Op::kAction;
    if (action && result.kind == Result::Kind::kFailure) {
      branch.status = BranchStatus::kFailed;
      if (t_.status == Status::kSubmitted) Abort(t_.last_error);
      return;
    }
    if (action && t_.status == Status::kAborting) return;  // whatever it was, it is compensated
    WaitForNextTry(index, result.kind);
    if (action && result.kind != Result::Kind::kNotSent) CountAgainstRetryLimit();
  }

  void WaitForNextTry(std::size_t index, Result::Kind kind) {
    Branch& branch = t_.branches[index];
    branch.unsent = kind == Result::Kind::kNotSent;
    const Duration interval = RetryInterval(def_.options, context_);
    if (kind == Result::Kind::kOngoing || kind == Result::Kind::kNotSent) {
      branch.errors = 0;
      branch.next_try = context_.now + interval;
    } else {
      ++branch.errors;
      branch.next_try = context_.now + RetryWait(t_, index, interval);
    }
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

  /// The wait of a call that found no function is over; the waits after errors are not.
  void Awaken(std::size_t index) {
    if (index >= t_.branches.size()) return;
    Branch& branch = t_.branches[index];
    const bool unsent = branch.unsent || branch.tries == 0;
    if (branch.in_flight || !unsent || branch.next_try == Time{}) return;
    branch.next_try = Time{};
    effects_.changed = true;
  }

  void Abort(std::string reason) {
    t_.status = Status::kAborting;
    t_.reason = Truncated(std::move(reason), kMaxReasonBytes);
    effects_.changed = true;
  }

  void Finish(Status status) {
    t_.status = status;
    t_.finished = context_.now;
    t_.due = kNever;
    t_.stuck = false;
    effects_.changed = true;
    effects_.calls.clear();
    effects_.timer = kNever;
  }

  void GetStuck(const std::string& why) {
    if (t_.stuck) return;
    t_.stuck = true;
    t_.last_error = why;
    effects_.changed = true;
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
    if (ActionsOut()) return;  // they may not have begun, and none may begin after a compensation
    bool progress = true;
    while (progress) {
      progress = false;
      bool all_undone = true;
      for (std::size_t step = def_.steps.size(); step-- > 0;) {
        if (Undone(step)) continue;
        all_undone = false;
        if (MayUndo(step) && TryCall(CompensateOf(step))) progress = true;
        if (!def_.concurrent && !Undone(step)) break;
      }
      if (all_undone) {
        Finish(Status::kFailed);
        return;
      }
    }
  }

  /// Nothing is left to undo: it cannot have run, or its compensation is done. An action that
  /// failed may have left something behind, so it is compensated too.
  bool Undone(std::size_t step) const {
    const Branch& action = t_.branches[ActionOf(step)];
    const bool may_have_run = action.tries > 0 || action.status != BranchStatus::kPrepared;
    return !may_have_run || Succeeded(CompensateOf(step));
  }

  bool ActionsOut() const {
    for (std::size_t step = 0; step < def_.steps.size(); ++step) {
      if (t_.branches[ActionOf(step)].in_flight) return true;
    }
    return false;
  }

  bool MayUndo(std::size_t step) {
    const Branch& action = t_.branches[ActionOf(step)];
    if (action.deadline > context_.now) {  // called by an earlier life, and may still be running
      WakeAt(action.deadline);
      return false;
    }
    for (const auto& order : def_.orders) {
      const bool follows = std::find(order.second.begin(), order.second.end(),
                                     static_cast<int>(step)) != order.second.end();
      if (follows && !Undone(static_cast<std::size_t>(order.first))) return false;
    }
    return true;
  }

  bool Succeeded(std::size_t branch) const {
    return t_.branches[branch].status == BranchStatus::kSucceed;
  }

  /// Calls the branch if it is not out and its wait is over. True: it has no url and is done.
  bool TryCall(std::size_t index) {
    Branch& branch = t_.branches[index];
    if (branch.in_flight) return false;
    const std::string& url = UrlOf(def_, index);
    if (url.empty()) {
      branch.status = BranchStatus::kSucceed;
      effects_.changed = true;
      return true;
    }
    if (branch.next_try > context_.now) {
      WakeAt(branch.next_try);
      return false;
    }
    if (!context_.may_call) return false;
    branch.in_flight = true;
    ++branch.tries;
    // A function ends with its process; a call by URL may outlive it.
    const Time deadline = IsLocal(url) ? Time{} : CallDeadline(def_.options, context_);
    branch.deadline = (std::max)(deadline, branch.former_deadline);
    effects_.calls.push_back(index);
    effects_.changed = true;
    return false;
  }

  void WakeAt(Time time) { effects_.timer = (std::min)(effects_.timer, time); }

  /// While something is out, or could start but may not now, a restart has to look at once.
  void Schedule() {
    const bool out = std::any_of(t_.branches.begin(), t_.branches.end(),
                                 [](const Branch& branch) { return branch.in_flight; });
    const bool waits_for_submit = t_.status == Status::kPrepared;
    if (!out && !waits_for_submit && context_.may_call && effects_.timer == kNever) {
      GetStuck("no branch is out, none may start and no wait will end");
    }
    Time due = effects_.timer;
    if (t_.stuck || waits_for_submit) {
      due = kNever;
      effects_.timer = kNever;
    } else if (out || !context_.may_call) {
      due = (std::min)(t_.due, context_.now);
    }
    if (due != t_.due) {
      t_.due = due;
      effects_.changed = true;
    }
  }

  Transaction& t_;
  const Definition& def_;
  const Context& context_;
  Effects effects_;
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm
