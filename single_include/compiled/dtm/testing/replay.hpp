/// Generated from include/dtm/testing/replay.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "incident/read_export.hpp"
#include "incident/recording.hpp"
#include "replay_coordinators.hpp"
#include "replay_walk.hpp"

// ---- dtm/testing/replay.hpp --------------------------------------------------------------------

/// Replays a recorded transaction with the functions and workflows of the program.
/// Needs: nlohmann/json, SQLite. Threads: one thread; the steps of a workflow may use several.

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace dtm {
inline namespace v1 {
namespace testing {

/// The run of a workflow was over at this place of the record.
class RecordedRunEnded : public Error {
 public:
  RecordedRunEnded() : Error("the recorded run of the workflow ended here") {}
};

class Replay final : public ReplayWalk, private WorkflowScript {
 public:
  /// `setup` is called after each crash of the record too; `options`: see ReplayWalk.
  Replay(const ExportedTransaction& exported, Setup setup, const Options& options)
      : ReplayWalk(exported, options), setup_(std::move(setup)) {
    MakeHome();
  }

 private:
  void MakeHome() override {
    home_.reset();
    if (!setup_) return;
    home_ = std::make_unique<ReplayHome>(Def().gid, static_cast<WorkflowScript&>(*this), options_);
    setup_(*home_);
  }
  void OnDifference() override {
    if (running_ > 0) EndRun();
  }

  bool RunsWorkflow() override {
    return Def().type == TransType::kWorkflow && home_ != nullptr && home_->Has(Def().workflow);
  }
  Result CallWorkflow() {
    return home_->CallFunction(Def().workflow, Def().data, InfoOf(Def(), kQueryRow));
  }

  /// As its initiator did, or for the call that has just begun. It walks on in the record while it runs.
  void RunWorkflow() override {
    const bool called = record_[at_ - 1].entry.kind == JournalKind::kStarted;
    if (called && running_ == 0 && WhileItRuns(at_ - 1)) return;
    if (running_ > 0) {  // it says that it is running
      ended_[kQueryRow] = CallWorkflow();
      return;
    }
    run_begin_ = at_ - 1;
    called_ = called;
    run_over_ = false;
    ++running_;
    run_result_ = CallWorkflow();
    --running_;
    if (called && !run_over_) ended_[kQueryRow] = run_result_;
  }

  [[noreturn]] void EndRun() {
    run_over_ = true;
    throw RecordedRunEnded();
  }

  bool RunEndsAt(std::size_t i) const {
    const JournalEntry& entry = record_[i].entry;
    if (record_[i].crash_before || entry.kind == JournalKind::kTakenUp) return true;
    if (entry.row != kQueryRow) return false;
    if (called_) return IsResult(entry.kind);
    if (entry.kind != JournalKind::kStarted) return false;
    return !WhileItRuns(i);
  }
  /// The call that begins there came while its initiator, or another call, was at it.
  bool WhileItRuns(std::size_t i) const {
    const JournalEntry* const result = record_.ResultOf(i);
    return result != nullptr && result->kind == JournalKind::kOngoing &&
           result->text.size() == std::string(kRunsHere).size();
  }

  /// Walks on to the next step that was recorded, or to the end of the workflow. `next`: what the run does next.
  /// @throws RecordedRunEnded  this run did not come so far.
  void WalkOn(const std::string& next) {
    for (;;) {
      if (run_over_ || !Goes()) EndRun();
      if (RunEndsAt(at_)) {
        const Recording::Item& item = record_[at_];
        if (IsResult(item.entry.kind)) Differs(DoneText(Def(), item.entry, item.attempt), next);
        EndRun();
      }
      const JournalKind kind = Entry().kind;
      if (kind == JournalKind::kRegistered || kind == JournalKind::kFinish) break;
      Step();
    }
    if (Entry().time <= driver_.Now()) return;
    driver_.Settle();
    driver_.MoveTo(Entry().time);
  }

  /// The place of this step in what the run has still to record.
  std::optional<std::size_t> Find(const std::string& branch_id, Op op) const {
    for (std::size_t i = at_; i < record_.Size() && !RunEndsAt(i); ++i) {
      if (record_[i].entry.kind != JournalKind::kRegistered) continue;
      const dtm::Step& step = StepAt(record_[i].entry.row);
      if (step.branch_id == branch_id && (step.op == op || step.op == Op::kBusiness)) return i;
    }
    return std::nullopt;
  }

  WorkflowState StateNow() override {
    const std::lock_guard<std::recursive_mutex> lock(mutex_);
    Definition definition;
    definition.gid = Def().gid;
    definition.type = TransType::kWorkflow;
    return driver_->ResumeWorkflow(std::move(definition));
  }

  void Record(const dtm::Step& step) override {
    const std::lock_guard<std::recursive_mutex> lock(mutex_);
    WalkOn(StepText(step));
    if (const auto found = Find(step.branch_id, step.op)) record_.MoveTo(*found, at_);
    if (Entry().kind != JournalKind::kRegistered) Differs("the workflow ended", StepText(step));
    const dtm::Step& then = StepAt(Entry().row);
    if (!SameStep(then, step)) Differs(StepText(then), StepText(step));
    ++at_;
    RegisterNow(step);
  }

  void End(Status status, const std::string& reason, const std::string& result) override {
    const std::lock_guard<std::recursive_mutex> lock(mutex_);
    const std::string now =
        OutcomeText(status == Status::kSucceed ? "the workflow succeeded" : "the workflow failed",
                    status == Status::kSucceed ? result : reason);
    WalkOn(now);
    if (Entry().kind != JournalKind::kFinish) Differs(StepText(StepAt(Entry().row)), now);
    const Transaction& t = exported_.story.transaction;
    const bool known = IsFinal(t.status) && !exported_.redacted;
    const bool same = (!IsFinal(t.status) || status == t.status) &&
                      (!known || (reason == t.reason && result == t.result));
    if (!same) {
      Differs(OutcomeText(
                  t.status == Status::kSucceed ? "the workflow succeeded" : "the workflow failed",
                  t.status == Status::kSucceed ? t.result : t.reason),
              now);
    }
    ++at_;
    FinishNow(status, reason, result);
  }

  /// Of a URL or a function that is not registered: what was recorded of it; else it was what ended the run.
  Result Call(const InitiatorCall& call) override {
    const std::lock_guard<std::recursive_mutex> lock(mutex_);
    if (run_over_) EndRun();
    if (const auto found = Find(call.info.branch_id, call.info.op)) {
      const dtm::Step& step = StepAt(record_[*found].entry.row);
      Result result{step.failed ? Result::Kind::kFailure : Result::Kind::kSuccess, step.payload};
      const std::string before = "gid '" + Def().gid + "': branch " + step.branch_id + " failed: ";
      if (step.failed && HasPrefix(step.payload, before)) result.text.erase(0, before.size());
      result.done = step.op == Op::kBusiness;
      if (result.done) result.kind = Result::Kind::kError;
      return result;
    }
    const JournalEntry* const end = called_ ? record_.ResultOf(run_begin_) : nullptr;
    if (end == nullptr) EndRun();
    return {end->kind == JournalKind::kOngoing ? Result::Kind::kOngoing : Result::Kind::kError,
            end->text};
  }

  bool SameStep(const dtm::Step& then, const dtm::Step& now) const {
    return then.branch_id == now.branch_id && then.op == now.op && then.failed == now.failed &&
           then.topic == now.topic && (then.action.empty() || SameCall(then.action, now.action)) &&
           (exported_.redacted || then.payload == now.payload);
  }
  std::string HowItEnded() const override {
    return "the workflow stopped before that with " +
           OutcomeText(Name(KindOf(run_result_.kind)), run_result_.text);
  }

  static constexpr const char kRunsHere[] = "it is running in this process";

  const Setup setup_;
  std::recursive_mutex mutex_;
  int running_ = 0;
  bool called_ = false;  // by the coordinator
  std::size_t run_begin_ = 0;
  bool run_over_ = false;  // in the record
  Result run_result_;      // of the last run
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
