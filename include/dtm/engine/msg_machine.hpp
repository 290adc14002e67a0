/// The machine of two-phase messages: while prepared, it waits for its submit and after a timeout asks its initiator;
/// once submitted, it calls every branch until that succeeds.
/// Needs: std. Threads: pure. Protocol: §4.2; never rolled back once it is submitted.
#pragma once

#include <chrono>
#include <cstddef>
#include <utility>

#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/engine/machine_parts.hpp>
#include <dtm/engine/schedule.hpp>

namespace dtm {
inline namespace v1 {
namespace engine {

class MsgMachine : public MachineOf<MsgMachine> {
  friend class MachineOf<MsgMachine>;
  using MachineOf::MachineOf;

  void Run(const Event& event) {
    if (!GoesOn(event)) return;
    switch (event.kind) {
      case EventKind::kSubmitted: OnSubmitted(); break;
      case EventKind::kPrepared: Create(Status::kPrepared); break;
      case EventKind::kResult:
        event.row == kQueryRow ? OnQueryResult(event.result)
                               : OnRequiredResult(event.row, event.result);
        break;
      case EventKind::kCancel: OnCancel(event); break;
      default: break;
    }
    if (MayDrive()) {
      if (t_.status == Status::kPrepared) AskInitiator();
      if (t_.status == Status::kSubmitted) Deliver();
    }
    Schedule();
  }

  void OnCancel(const Event& event) {
    if (t_.status != Status::kPrepared) {
      effects_.refused = "it is submitted, and a submitted message is delivered";
      return;
    }
    t_.reason = Truncated(event.result.text, kMaxReasonBytes);
    Finish(Status::kFailed);
  }

  /// The initiator is asked only while the message is prepared. If a submit has come meanwhile, the result is ignored.
  void OnQueryResult(const Result& result) {
    if (!TakeAnswer(kQueryRow, result) || t_.status != Status::kPrepared) return;
    if (result.kind == Result::Kind::kSuccess) {
      OnSubmitted();
    } else if (result.kind == Result::Kind::kFailure) {
      GiveReason(kQueryRow, result);
      Finish(Status::kFailed);
    } else {
      WaitForNextTry(kQueryRow, result.kind, result);
    }
  }

  void AskInitiator() {
    const Time asked = t_.created + PreparedTimeout(def_.options, context_);
    if (context_.now < asked) return WakeAt(asked);
    if (TryCall(kQueryRow)) OnSubmitted();  // there is nobody to ask
  }

  void Deliver() {
    const Time earliest = t_.created + def_.delay;
    if (context_.now < earliest) return WakeAt(earliest);
    bool all_done = true;
    for (std::size_t step = 0; step < def_.steps.size(); ++step) {
      const std::size_t row = DeliveryOf(step);
      if (Succeeded(row) || TryCall(row)) continue;
      all_done = false;
      if (!def_.concurrent) break;
    }
    if (all_done) Finish(Status::kSucceed);
  }
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm
