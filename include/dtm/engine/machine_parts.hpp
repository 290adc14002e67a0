/// What all machines share: taking results, calling branches, waiting, ending, getting stuck.
/// Needs: std. Threads: pure. Protocol: §3 (what a result does to a row, schedule numbers, alert), with the
/// safe alternatives of its §12: running calls are awaited, tries survive restarts.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include <dtm/base/text.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/explain.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/engine/repair.hpp>
#include <dtm/engine/schedule.hpp>

namespace dtm {
inline namespace v1 {
namespace engine {

class MachineParts {
 protected:
  MachineParts(Transaction& transaction, const Context& context, Effects&& effects)
      : t_(transaction),
        def_(*transaction.definition),
        context_(context),
        effects_(std::move(effects)) {}

  /// Handles what is the same for every type. False: nothing follows.
  bool GoesOn(const Event& event) {
    if (event.kind == EventKind::kLoaded) ForgetPreviousRun(t_, context_);
    if (IsFinal(t_.status)) {
      if (event.kind == EventKind::kCancel || event.kind == EventKind::kForceStop ||
          event.kind == EventKind::kRetryNow || event.kind == EventKind::kRepair) {
        effects_.refused = "it has already ended as " + std::string(Name(t_.status));
      }
      return false;
    }
    switch (event.kind) {
      case EventKind::kLoaded:
        if (t_.created <= context_.now) break;
        t_.created = context_.now;  // its clock was ahead: timeouts and delays count from here
        effects_.changed = true;
        break;
      case EventKind::kRegistered: Awaken(event.row); break;
      case EventKind::kForceStop: Finish(Status::kFailed); return false;
      case EventKind::kRetryNow: TryAgainNow(); break;
      case EventKind::kRepair: Repair(event); break;
      case EventKind::kBranchAdded: AddRows(); break;
      default: break;
    }
    return true;
  }

  /// Adds the row of a registered step; that of a workflow is recorded as done.
  void AddRows() {
    std::size_t row = t_.branches.size();
    AddMissingRows(t_);
    for (; row < t_.branches.size(); ++row) {
      Branch& branch = t_.branches[row];
      if (branch.status != BranchStatus::kPrepared) branch.finished = context_.now;
    }
    effects_.changed = true;
  }

  /// False: it is stuck, or has ended.
  bool MayDrive() {
    if (IsFinal(t_.status)) return false;
    if (t_.branches.size() != RowCount(def_)) {
      GetStuck("the record has " + std::to_string(t_.branches.size()) + " branch rows for " +
               std::to_string(def_.steps.size()) + " steps");
    }
    return !t_.stuck;
  }

  void Create(Status status) {
    t_.status = status;
    t_.branches.assign(RowCount(def_), Branch{});
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

  /// Records an expected result; false: it was not expected.
  bool TakeAnswer(std::size_t index, const Result& result) {
    if (index >= t_.branches.size() || !t_.branches[index].in_flight) return false;
    Branch& branch = t_.branches[index];
    branch.in_flight = false;
    branch.deadline = branch.previous_deadline;  // calls of a previous run may still be running
    effects_.changed = true;
    if (result.kind == Result::Kind::kSuccess) {
      Succeed(branch);
      return true;
    }
    t_.last_error = DescribeResult(def_, index, result);
    if (result.kind == Result::Kind::kNotSent && branch.tries > 0) --branch.tries;
    return true;
  }

  void Succeed(Branch& branch) {
    branch.status = BranchStatus::kSucceed;
    branch.finished = context_.now;
    branch.errors = 0;
    branch.next_try = Time{};
    branch.asked_when = false;
  }

  /// Counts the row as done. A stuck transaction is driven again: whatever it lacked may be here now.
  void Repair(const Event& event) {
    effects_.refused = RepairProblem(t_, event.row, context_.now);
    if (!effects_.refused.empty()) return;
    Succeed(t_.branches[event.row]);
    t_.stuck = false;
    t_.last_error =
        LastErrorWith(t_.last_error, DescribeRepair(def_, event.row, event.who, event.result.text));
    effects_.changed = true;
  }

  /// After ONGOING, or if the call was not sent, it waits for one interval; after errors longer and longer; and always at
  /// least as long as the branch asked for. A call that was not sent because the coordinator stops, or may make none for a
  /// while, does not wait: it is made first when there are calls again.
  void WaitForNextTry(std::size_t index, Result::Kind kind, const Result& result) {
    Branch& branch = t_.branches[index];
    branch.unsent = kind == Result::Kind::kNotSent;
    const Duration interval = RetryInterval(def_.options, context_);
    Duration wait = interval;
    if (kind == Result::Kind::kOngoing || kind == Result::Kind::kNotSent) {
      // Most calls of a host that does not reply find no slot. They do not interrupt its errors in a row.
      if (kind == Result::Kind::kOngoing) branch.errors = 0;
      const bool at_once = result.at_once || !context_.may_call;
      if (kind == Result::Kind::kNotSent && at_once) wait = Duration(0);
    } else {
      ++branch.errors;
      wait = RetryWait(t_, index, interval);
      AlertIfItKeepsFailing(index);
    }
    const Duration asked = (std::min)(result.retry_after, Duration(kMaxRetryAfter));
    branch.asked_when = asked > wait;
    wait = (std::max)(wait, asked);
    branch.next_try = wait == Duration(0) ? Time{} : context_.now + wait;
  }

  /// The question to a message's initiator may fail for long without harm: the initiator may be down. For other rows
  /// people are alerted at the n-th error in a row, whether or not the wait still doubles.
  void AlertIfItKeepsFailing(std::size_t index) {
    const bool question = def_.type == TransType::kMsg && index == kQueryRow;
    if (question || context_.alert_after == 0) return;
    if (t_.branches[index].errors >= context_.alert_after) effects_.alert = index;
  }

  /// The result of a branch that has to succeed in the end: after anything but success it is called again.
  void OnRequiredResult(std::size_t index, const Result& result) {
    if (!TakeAnswer(index, result) || result.kind == Result::Kind::kSuccess) return;
    WaitForNextTry(index, result.kind, result);
  }

  /// Ends the wait of a call that found no function; waits after errors stay.
  void Awaken(std::size_t index) {
    if (index >= t_.branches.size()) return;
    Branch& branch = t_.branches[index];
    const bool unsent = branch.unsent || branch.tries == 0;
    if (branch.in_flight || !unsent || branch.next_try == Time{}) return;
    branch.next_try = Time{};
    effects_.changed = true;
  }

  void TryAgainNow() {
    if (ForgetWaits(t_)) effects_.changed = true;
  }

  void Abort(std::string reason) {
    t_.status = Status::kAborting;
    t_.reason = Truncated(std::move(reason), kMaxReasonBytes);
    effects_.changed = true;
  }

  /// Keeps the text of the branch as the reason, and beside it which branch that was.
  void GiveReason(std::size_t index, const Result& result) {
    t_.reason =
        Truncated(result.text.empty() ? "FAILURE, without a reason" : result.text, kMaxReasonBytes);
    t_.reason_from = static_cast<std::uint32_t>(index + 1);
  }

  /// Results that are still expected do not matter any more.
  void Finish(Status status) {
    for (Branch& branch : t_.branches) branch.in_flight = false;
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

  bool Succeeded(std::size_t row) const {
    return t_.branches[row].status == BranchStatus::kSucceed;
  }

  /// Calls the branch if no call of it is running and its wait is over. True: it has no url and is done.
  bool TryCall(std::size_t index) {
    Branch& branch = t_.branches[index];
    if (branch.in_flight) return false;
    const std::string& url = UrlOf(def_, index);
    if (url.empty()) {
      branch.status = BranchStatus::kSucceed;
      branch.finished = context_.now;
      effects_.changed = true;
      return true;
    }
    if (branch.next_try > context_.now) {
      WakeAt(branch.next_try);
      return false;
    }
    if (!context_.may_call) return false;
    branch.in_flight = true;
    if (!RunsInTransaction(url)) ++branch.tries;  // its success, if any, is stored with its effect
    branch.deadline =
        (std::max)(CallDeadline(url, def_.options, context_), branch.previous_deadline);
    effects_.calls.push_back(index);
    effects_.changed = true;
    return false;
  }

  void WakeAt(Time time) { effects_.timer = (std::min)(effects_.timer, time); }

  /// While a call is running, or could start but may not now, a restart has to look at it at once.
  void Schedule() {
    if (IsFinal(t_.status)) return;
    const bool out = std::any_of(t_.branches.begin(), t_.branches.end(),
                                 [](const Branch& branch) { return branch.in_flight; });
    // If the initiator could be asked but may not be asked now, a restart has to ask it.
    const bool asks = HasQueryRow(def_.type) && !def_.query_prepared.empty();
    const bool waits_for_submit =
        t_.status == Status::kPrepared && !out && effects_.timer == kNever && !asks;
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

/// Makes the machine for one event, and returns the effects.
template <typename Machine>
class MachineOf : protected MachineParts {
 public:
  /// Applies the event to `transaction`. `effects` is empty; only its memory is used.
  static Effects Advance(Transaction& transaction, const Event& event, const Context& context,
                         Effects&& effects = {}) {
    Machine machine(transaction, context, std::move(effects));
    machine.Run(event);
    return std::move(machine.effects_);
  }

 protected:
  using MachineParts::MachineParts;
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm
