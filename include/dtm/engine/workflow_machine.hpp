/// The workflow machine: a ledger. The initiator runs the workflow, records its steps, and reports the end; if it does
/// not, it is called to resume the workflow.
/// Needs: std. Threads: pure. Protocol: §4.5, with W26 done right: waits grow after errors, and the same final
/// status again is accepted.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/engine/machine_parts.hpp>
#include <dtm/engine/schedule.hpp>

namespace dtm {
inline namespace v1 {
namespace engine {

class WorkflowMachine : public MachineOf<WorkflowMachine> {
  friend class MachineOf<WorkflowMachine>;
  using MachineOf::MachineOf;

  void Run(const Event& event) {
    if (event.kind == EventKind::kFinish) return OnFinish(event);
    if (!GoesOn(event)) return;
    switch (event.kind) {
      case EventKind::kPrepared:
        Create(Status::kPrepared);
        WaitForInitiator();
        break;
      case EventKind::kResult: OnResult(event.row, event.result); break;
      case EventKind::kBranchAdded: t_.branches[kQueryRow].errors = 0; break;  // it makes progress
      case EventKind::kCancel:
        effects_.refused = "a workflow is rolled back by its own code; ForceStop ends it";
        break;
      default: break;
    }
    if (MayDrive() && !def_.query_prepared.empty()) (void)TryCall(kQueryRow);
    Schedule();
  }

  void OnFinish(const Event& event) {
    const bool success = event.result.kind == Result::Kind::kSuccess;
    const Status status = success ? Status::kSucceed : Status::kFailed;
    if (IsFinal(t_.status)) {
      if (t_.status != status) {
        effects_.refused = "it has already ended as " + std::string(Name(t_.status));
      }
      return;
    }
    // Somebody runs it elsewhere, and its callbacks have begun.
    const Op wrong = success ? Op::kRollback : Op::kCommit;
    for (const dtm::Step& step : def_.steps) {
      if (step.branch_id != kDecision || step.payload != Name(wrong)) continue;
      effects_.refused =
          "the decision to " + step.payload + " is recorded, so it does not end as " + Name(status);
      return;
    }
    t_.result = event.data;
    t_.reason = Truncated(event.result.text, kMaxReasonBytes);
    Finish(status);
  }

  /// The result of this call does not end the workflow; only kFinish does.
  void OnResult(std::size_t index, const Result& result) {
    if (index != kQueryRow || !TakeAnswer(index, result)) return;
    t_.branches[index].status = BranchStatus::kPrepared;
    const bool heard =
        result.kind == Result::Kind::kSuccess || result.kind == Result::Kind::kFailure;
    WaitForNextTry(index, heard ? Result::Kind::kOngoing : result.kind, result);
  }

  void WaitForInitiator() {
    t_.branches[kQueryRow].next_try = context_.now + RetryInterval(def_.options, context_);
  }
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm
