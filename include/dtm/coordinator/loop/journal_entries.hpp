/// What the journal is told of a change: the events that led to it, what was decided on them, and the calls that start
/// once it is durable.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <dtm/base/text.hpp>
#include <dtm/coordinator/state/active_table.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/store/journal_codec.hpp>

namespace dtm {
inline namespace v1 {

class JournalEntries {
 public:
  /// Appends to `out` what no commit has told of `active` yet, in the form that stores keep. `me`: the name of this process.
  static void Tell(const ActiveTransaction& active, Time now, std::string_view me,
                   std::string& out) {
    JournalEntries(active, now, me, out);
  }

 private:
  JournalEntries(const ActiveTransaction& active, Time now, std::string_view me, std::string& out)
      : transaction_(active.transaction), me_(me), writer_(out) {
    bool taken_up = false;
    for (std::size_t i = active.journaled_events; i < active.events.size(); ++i) {
      const AppliedEvent& event = active.events[i];
      if (!event.changed) continue;
      // Once a change, also if this coordinator joined again before it was stored.
      if (event.taken_up && !std::exchange(taken_up, true))
        AddDriver(event.at, JournalKind::kTakenUp);
      AddEvent(event);
    }
    if (!IsFinal(transaction_.status)) {
      for (std::size_t i = active.journaled_calls; i < active.held_calls.size(); ++i) {
        Add(now, JournalKind::kStarted, active.held_calls[i]);
      }
    }
    writer_.End();
  }

  void AddEvent(const AppliedEvent& event) {
    if (event.from_outbox) AddDriver(transaction_.created, JournalKind::kSubmitted);
    switch (event.kind) {
      case engine::EventKind::kSubmitted: AddDriver(event.at, JournalKind::kSubmitted); break;
      case engine::EventKind::kPrepared: AddDriver(event.at, JournalKind::kPrepared); break;
      case engine::EventKind::kBranchAdded: AddBranch(event); break;
      case engine::EventKind::kResult: AddResult(event); break;
      case engine::EventKind::kFinish:
        Add(event.at, JournalKind::kFinish, kNoRow, event.result.text);
        break;
      case engine::EventKind::kCancel: AddAsked(event, JournalKind::kCancel); break;
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

  /// From now on this process drives it.
  void AddDriver(Time at, JournalKind kind) { writer_.Tell(at, kind, kNoRow, {}, {}, me_); }

  /// What somebody asked for.
  void AddAsked(const AppliedEvent& event, JournalKind kind, std::size_t row = kNoRow) {
    if (event.refused) return;
    Add(event.at, kind, row, event.result.text, Front(event.who, kMaxJournalWho));
  }

  void AddBranch(const AppliedEvent& event) {
    const Definition& definition = *transaction_.definition;
    const bool known = event.row < RowCount(definition);
    const bool failed = known && definition.steps[StepOf(definition.type, event.row)].failed;
    Add(event.at, JournalKind::kRegistered, event.row,
        failed ? std::string_view(PayloadOf(definition, event.row)) : std::string_view());
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

  void Add(Time at, JournalKind kind, std::size_t row = kNoRow, std::string_view text = {},
           std::string_view who = {}) {
    const Definition& definition = *transaction_.definition;
    const bool branch = row != kNoRow && row < RowCount(definition);
    writer_.Tell(at, kind, row, branch ? OpOf(definition, row) : Op{}, Front(text, kMaxJournalText),
                 who);
  }

  const Transaction& transaction_;
  const std::string_view me_;
  codec::JournalWriter writer_;
};

}  // namespace v1
}  // namespace dtm
