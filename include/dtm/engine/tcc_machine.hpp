/// The machine of tcc and xa: branches register while it is prepared; then all are confirmed, or all
/// cancelled (xa: committed, rolled back).
/// Needs: std. Threads: pure. Protocol: §4.3, §4.4. Confirm and cancel have to succeed in the end: after any other
/// result they are called again.
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

class TccMachine : public MachineOf<TccMachine> {
  friend class MachineOf<TccMachine>;
  using MachineOf::MachineOf;

  void Run(const Event& event) {
    if (!GoesOn(event)) return;
    switch (event.kind) {
      case EventKind::kSubmitted: OnSubmitted(); break;
      case EventKind::kPrepared: Create(Status::kPrepared); break;
      case EventKind::kResult: OnRequiredResult(event.row, event.result); break;
      case EventKind::kCancel: OnCancel(event); break;
      default: break;
    }
    if (MayDrive()) {
      if (t_.status == Status::kPrepared) WaitForSubmit();
      if (t_.status == Status::kSubmitted && AllDone(ActionOf)) Finish(Status::kSucceed);
      if (t_.status == Status::kAborting && AllDone(CompensateOf)) Finish(Status::kFailed);
    }
    Schedule();
  }

  void OnCancel(const Event& event) {
    if (t_.status == Status::kSubmitted) {
      effects_.refused = "it is submitted, so it is carried through";
    } else {
      t_.status == Status::kAborting ? TryAgainNow() : Abort(event.result.text);
    }
  }

  void WaitForSubmit() {
    const std::chrono::seconds timeout = PreparedTimeout(def_.options, context_);
    const Time end = t_.created + timeout;
    if (context_.now < end) return WakeAt(end);
    Abort("Timeout after " + std::to_string(timeout.count()) + " seconds");
  }

  /// Calls one branch after the other: tcc in reverse order of registration, xa in that order. Every registered
  /// branch is called, even if its try failed or never came.
  template <typename RowOf>
  bool AllDone(RowOf row_of) {
    const std::size_t count = def_.steps.size();
    for (std::size_t n = 0; n < count; ++n) {
      const std::size_t row = row_of(def_.type == TransType::kTcc ? count - 1 - n : n);
      if (!Succeeded(row) && !TryCall(row)) return false;
    }
    return true;
  }
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm
