/// Generated from include/dtm/testing/replay_walk.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "incident/in_text.hpp"
#include "incident/not_replayed.hpp"
#include "incident/read_export.hpp"
#include "incident/recording.hpp"
#include "incident/replay_report.hpp"
#include "replay_coordinators.hpp"

// ---- dtm/testing/replay_walk.hpp ---------------------------------------------------------------

/// Walks through a recorded journal, and makes a coordinator do the same again.
/// Needs: nlohmann/json, SQLite. Threads: one thread.

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace testing {

/// All but the running of workflows, which replay.hpp adds.
class ReplayWalk {
 public:
  using Setup = std::function<void(Coordinator&)>;

  virtual ~ReplayWalk() = default;
  ReplayWalk(const ReplayWalk&) = delete;
  ReplayWalk& operator=(const ReplayWalk&) = delete;

  ReplayReport Run() {
    while (Goes()) Step();
    if (difference_.empty()) driver_.Settle();
    if (difference_.empty()) Matches();
    if (difference_.empty() && !record_.HasGap()) CompareEnd();
    ReplayReport report;
    report.same = difference_.empty();
    report.first_difference = difference_;
    report.not_replayed = NotReplayed(record_);
    report.recorded = exported_.story;
    if (auto replayed = driver_->Timeline(Def().gid)) report.replayed = std::move(*replayed);
    return report;
  }

 protected:
  /// `options`: of what the export does not tell.
  ReplayWalk(const ExportedTransaction& exported, const Options& options)
      : exported_(exported),
        options_(ReplayCoordinator::WithSettings(options, exported.settings)),
        record_(exported.story),
        expected_(record_.DoneByCoordinator()),
        driver_(options_, Def(), [this](const BranchInfo& info) { return ResultInCommit(info); }) {}

  /// The program as it is after its start, with the functions that it registers.
  virtual void MakeHome() = 0;
  /// The program runs this workflow itself. Then RunWorkflow does, for the entry before `at_`.
  virtual bool RunsWorkflow() = 0;
  virtual void RunWorkflow() = 0;
  virtual std::string HowItEnded() const = 0;
  virtual void OnDifference() = 0;

  const Definition& Def() const { return record_.Def(); }
  bool Goes() const { return difference_.empty() && at_ < record_.Size(); }
  const JournalEntry& Entry() const { return record_[at_].entry; }

  /// @throws RecordedRunEnded  while a workflow runs.
  void Differs(const std::string& recorded, const std::string& now) {
    if (difference_.empty()) difference_ = "recorded: " + recorded + "; now: " + now;
    OnDifference();
  }

  // The walk.

  void Step() {
    const Recording::Item item = record_[at_];
    const JournalEntry& entry = item.entry;
    if (entry.time > driver_.Now()) {
      if (!stopping_) driver_.Settle();  // what was told before was told earlier
      if (entry.kind != JournalKind::kTakenUp) driver_.MoveTo(entry.time);
    }
    if (item.crash_before) {
      driver_.Settle();
      Crash(Duration(0));
    }
    if (item.done_by_coordinator) return Expect(item);
    ++at_;
    switch (entry.kind) {
      case JournalKind::kPrepared: return Prepare();
      case JournalKind::kSubmitted: return Submit();
      case JournalKind::kRegistered: return Register(entry.row);
      case JournalKind::kFinish: return FinishAsRecorded();
      case JournalKind::kTakenUp: return TakeUp(entry.time);
      case JournalKind::kCancel:
      case JournalKind::kForceStop:
      case JournalKind::kRetryNow:
      case JournalKind::kRepair: return DoByHand(entry);
      default: return EndCall(item);
    }
  }

  void Do(const std::string& what, const std::function<void(Coordinator&, AnswerCallback)>& ask) {
    const std::string refused = driver_.Do(ask);
    if (!refused.empty()) Differs(what, "refused: " + refused);
  }

  Definition Told() const {
    Definition definition = Def();
    if (RegistersSteps(definition.type)) definition.steps.clear();
    return definition;
  }
  void Prepare() {
    Do("it was prepared", [this](Coordinator& tm, AnswerCallback answer) {
      if (Def().type == TransType::kWorkflow) {
        return tm.PrepareWorkflowAsync(Told(), [answer](const Transaction&, auto error) {
          answer({{}, error});
        });
      }
      tm.PrepareAsync(Told(), std::move(answer));
    });
    if (RunsWorkflow()) RunWorkflow();
  }
  void Submit() {
    Do("it was submitted", [this](Coordinator& tm, AnswerCallback answer) {
      Definition definition = Told();
      definition.options.wait_result = false;  // nobody waits here
      tm.SubmitAsync(std::move(definition), std::move(answer));
    });
  }
  void Register(std::size_t row) {
    if (RunsWorkflow()) return Differs(StepText(StepAt(row)), HowItEnded());
    RegisterNow(StepAt(row));
  }
  void RegisterNow(const dtm::Step& step) {
    Do("a branch was registered", [&](Coordinator& tm, AnswerCallback answer) {
      tm.RegisterBranchAsync(Def().gid, Def().type, step, std::move(answer));
    });
  }
  void FinishAsRecorded() {
    const Transaction& t = exported_.story.transaction;
    if (RunsWorkflow()) return Differs("the workflow ended", HowItEnded());
    FinishNow(t.status, t.reason, t.result);
  }
  void FinishNow(Status status, const std::string& reason, const std::string& result) {
    Do("the workflow ended", [&](Coordinator& tm, AnswerCallback answer) {
      tm.FinishWorkflowAsync(Def().gid, status, reason, result, std::move(answer));
    });
  }
  void DoByHand(const JournalEntry& entry) {
    const std::string& gid = Def().gid;
    const By by{entry.who, entry.text};
    Do(std::string("somebody asked for ") + Name(entry.kind),
       [&](Coordinator& tm, AnswerCallback a) {
         switch (entry.kind) {
           case JournalKind::kForceStop: return tm.ForceStopAsync(gid, by, std::move(a));
           case JournalKind::kRetryNow: return tm.RetryNowAsync(gid, by, std::move(a));
           case JournalKind::kRepair:
             return tm.SkipAsync(gid, BranchIdOf(Def(), entry.row), entry.op, by, std::move(a));
           default: return tm.AbortAsync(gid, {}, by, WaitResult::kIgnored, std::move(a));
         }
       });
  }

  void TakeUp(Time time) {
    stopping_ ? driver_.Stop() : driver_.Settle();
    stopping_ = false;
    Crash((std::min)(Duration(1), time - driver_.Now()));
    // A workflow waits from the start of the process at most, and that was earlier. What was told first comes first.
    const bool itself = at_ < record_.Size() && record_[at_].done_by_coordinator;
    if (Def().type == TransType::kWorkflow && itself) driver_.Settle();
    driver_.MoveTo(time);
  }
  void Crash(Duration later) {
    driver_.Crash(later);
    ended_.clear();
    MakeHome();  // the functions of a new process
  }

  // What the coordinator does.

  void Expect(const Recording::Item& item) {
    driver_.Settle();
    if (!Matches()) return;
    if (matched_ == done_ && item.entry.kind == JournalKind::kStarted) {
      driver_.Find(UrlOf(Def(), item.entry.row));  // it may have waited for its function
      if (!Matches()) return;
    }
    if (matched_ == done_) {
      return Differs(DoneText(Def(), item.entry, item.attempt),
                     "not; " + driver_->Explain(Def().gid));
    }
    ++done_;
    ++at_;
    if (item.entry.kind == JournalKind::kStarted) Begin(item);
  }

  /// Compares what it did since the last time. False: it differs.
  bool Matches() {
    const std::optional<Timeline> story = driver_->Timeline(Def().gid);
    if (!story) return true;
    std::vector<JournalEntry> done;
    for (const JournalEntry& entry : story->entries) {
      if (IsDoneByCoordinator(entry, Def())) done.push_back(entry);
    }
    for (; matched_ < done.size(); ++matched_) {
      const JournalEntry& now = done[matched_];
      if (matched_ == expected_.size()) {
        if (record_.HasGap() || !IsFinal(exported_.story.transaction.status)) return true;
        Differs("nothing more", DoneText(Def(), now, 0));
        return false;
      }
      const JournalEntry& then = expected_[matched_];
      const bool told = now.kind == JournalKind::kRollback || now.kind == JournalKind::kFailure;
      const bool same_text = !told || exported_.redacted || now.text == then.text;
      if (now.kind == then.kind && now.row == then.row && same_text) continue;
      Differs(DoneText(Def(), then, 0), DoneText(Def(), now, 0));
      return false;
    }
    return true;
  }

  void Begin(const Recording::Item& item) {
    const std::size_t row = item.entry.row;
    ended_.erase(row);
    if (RunsWorkflow() && row == kQueryRow) return RunWorkflow();
    const std::string& url = UrlOf(Def(), row);
    if (home_ == nullptr || !IsLocal(url)) return;
    const std::string name = url.substr(kLocalPrefixSize);
    if (!home_->Has(name)) return;
    ended_[row] = home_->CallFunction(name, PayloadOf(Def(), row), InfoOf(Def(), row));
  }

  void EndCall(const Recording::Item& item) {
    const JournalEntry& entry = item.entry;
    const std::size_t i = at_ - 1;
    if (!driver_.IsCalling(entry.row)) driver_.Settle();
    if (!driver_.IsCalling(entry.row)) {
      return Differs(DoneText(Def(), entry, item.attempt), "it is not being called");
    }
    Result result = record_.RecordedResult(i);
    const auto ran = ended_.find(entry.row);
    if (ran != ended_.end()) {
      if (!SameResult(result, ran->second, exported_.redacted)) {
        return Differs(DoneText(Def(), entry, item.attempt),
                       OutcomeText(Name(KindOf(ran->second.kind)), ran->second.text));
      }
      result.text = ran->second.text;
      ended_.erase(ran);
    }
    if (record_.WhileStopping(i)) stopping_ = true;
    driver_.End(entry.row, std::move(result));
  }

  // Functions inside a commit: their results are those of the record, since the tables they write to are not here.

  Result ResultInCommit(const BranchInfo& info) {
    for (std::size_t i = 0, n = 0; i < record_.Size(); ++i) {
      const JournalEntry& entry = record_[i].entry;
      if (!IsResult(entry.kind) || entry.op != info.op) continue;
      if (BranchIdOf(Def(), entry.row) != info.branch_id) continue;
      if (n++ < in_commit_[entry.row]) continue;
      ++in_commit_[entry.row];
      return record_.RecordedResult(i);
    }
    return Result::Error("no further call of it is recorded");
  }

  // The end, and the begin.

  void CompareEnd() {
    const Transaction& then = exported_.story.transaction;
    const std::optional<Transaction> now = driver_->Query(Def().gid);
    if (!IsFinal(then.status) || !now) return;  // the record may be older than the journal
    const auto text = [this](const Transaction& t) {
      std::string rows;
      for (const Branch& branch : t.branches) rows += std::string(" ") + Name(branch.status);
      const std::string reason = exported_.redacted ? "" : Truncated(t.reason, kMaxJournalText);
      return OutcomeText(Name(t.status), reason) + ", its branches:" + rows;
    };
    if (text(then) != text(*now)) Differs("at the end " + text(then), text(*now));
  }

  const dtm::Step& StepAt(std::size_t row) const { return Def().steps[StepOf(Def().type, row)]; }

  const ExportedTransaction& exported_;
  const Options options_;
  Recording record_;
  std::size_t at_ = 0;  // the next entry
  std::string difference_;
  std::map<std::size_t, Result> ended_;  // of functions that ran, by row, until it is told
  std::unique_ptr<ReplayHome> home_;     // null: the program registers nothing

 private:
  const std::vector<JournalEntry> expected_;      // what the coordinator does
  std::size_t done_ = 0;                          // of expected_, before at_
  std::size_t matched_ = 0;                       // of expected_, done by this coordinator
  std::map<std::size_t, std::size_t> in_commit_;  // by row: how many results were given
  bool stopping_ = false;

 protected:
  ReplayCoordinator driver_;
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
