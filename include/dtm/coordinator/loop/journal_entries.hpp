/// What the journal is told of a change: the events that led to it, what was decided on them, and the calls that start
/// once it is durable.
/// Needs: std, engine. Threads: the thread that drives the loop.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/text.hpp>
#include <dtm/coordinator/state/active_table.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>

namespace dtm {
inline namespace v1 {

class JournalEntries {
 public:
  /// Replaces `entries` by what no commit has told of `active` yet, not folded.
  static void Make(const ActiveTransaction& active, Time now, std::vector<JournalEntry>& entries) {
    JournalEntries(active, now, entries);
  }

 private:
  JournalEntries(const ActiveTransaction& active, Time now, std::vector<JournalEntry>& entries)
      : transaction_(active.transaction), entries_(entries) {
    entries.clear();
    for (std::size_t i = active.journaled_events; i < active.events.size(); ++i) {
      if (active.events[i].changed) AddEvent(active.events[i]);
    }
    if (!IsFinal(transaction_.status)) {
      for (std::size_t i = active.journaled_calls; i < active.held_calls.size(); ++i) {
        Add(now, JournalKind::kStarted, active.held_calls[i]);
      }
    }
  }

  void AddEvent(const AppliedEvent& event) {
    if (event.taken_up) Add(event.at, JournalKind::kTakenUp);
    switch (event.kind) {
      case engine::EventKind::kSubmitted: Add(event.at, JournalKind::kSubmitted); break;
      case engine::EventKind::kPrepared: Add(event.at, JournalKind::kPrepared); break;
      case engine::EventKind::kBranchAdded: AddBranch(event); break;
      case engine::EventKind::kResult: AddResult(event); break;
      case engine::EventKind::kCancel: AddAsked(event, JournalKind::kCancel); break;
      case engine::EventKind::kFinish:
        Add(event.at, JournalKind::kFinish, kNoRow, event.result.text);
        break;
      case engine::EventKind::kForceStop: AddAsked(event, JournalKind::kForceStop); break;
      case engine::EventKind::kRetryNow: AddAsked(event, JournalKind::kRetryNow); break;
      case engine::EventKind::kRepair: AddAsked(event, JournalKind::kRepair, event.row); break;
      case engine::EventKind::kLoaded:
      case engine::EventKind::kTimer:
      case engine::EventKind::kRegistered: break;  // what follows from them is told
    }
    if (event.rolled_back) {
      const std::size_t from = transaction_.reason_from;
      Add(event.at, JournalKind::kRollback, from == 0 ? kNoRow : from - 1, transaction_.reason);
    }
    if (event.stuck) Add(event.at, JournalKind::kStuck, kNoRow, transaction_.last_error);
    if (!event.ended) return;
    const bool failed = transaction_.status == Status::kFailed;
    Add(event.at, failed ? JournalKind::kFailed : JournalKind::kSucceeded);
  }

  void AddBranch(const AppliedEvent& event) {
    const Definition& definition = *transaction_.definition;
    const bool known = event.row < RowCount(definition);
    const bool failed = known && definition.steps[StepOf(definition.type, event.row)].failed;
    Add(event.at, JournalKind::kRegistered, event.row,
        failed ? PayloadOf(definition, event.row) : std::string());
  }

  void AddResult(const AppliedEvent& event) {
    const Result& result = event.result;
    switch (result.kind) {
      case Result::Kind::kSuccess: return Add(event.at, JournalKind::kSuccess, event.row);
      case Result::Kind::kFailure:
        return Add(event.at, JournalKind::kFailure, event.row, result.text);
      case Result::Kind::kOngoing:
        return Add(event.at, JournalKind::kOngoing, event.row, result.text);
      case Result::Kind::kError: return Add(event.at, JournalKind::kError, event.row, result.text);
      case Result::Kind::kNotSent:
        return Add(event.at, JournalKind::kNotSent, event.row, result.text);
    }
  }

  /// What somebody asked for.
  void AddAsked(const AppliedEvent& event, JournalKind kind, std::size_t row = kNoRow) {
    if (event.refused) return;
    Add(event.at, kind, row, event.result.text);
    entries_.back().who = Truncated(event.who, kMaxJournalWho);
  }

  void Add(Time at, JournalKind kind, std::size_t row = kNoRow, const std::string& text = {}) {
    const Definition& definition = *transaction_.definition;
    const bool branch = row != kNoRow && row < RowCount(definition);
    const std::size_t enough = kMaxJournalText + 1;  // a text may be long
    entries_.push_back({at, row, branch ? OpOf(definition, row) : Op{}, kind,
                        Truncated(text.substr(0, enough), kMaxJournalText)});
  }

  const Transaction& transaction_;
  std::vector<JournalEntry>& entries_;
};

}  // namespace v1
}  // namespace dtm
