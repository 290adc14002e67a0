/// What must hold whatever happens to several coordinators on one store, looked at from outside: at the rows as they change, at the
/// calls as they leave, and at what clients were answered. It knows nothing of the loop and of the members.
/// Needs: the test kit. Threads: one thread.
///
/// P1 to P6, G1 to G9, S1 to S5, T1 to T3, M1, M2, F2: the numbers of what the project wants to hold, in the words of the checks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/journal_problems.hpp"
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/store/codec.hpp>
#include <dtm/store/journal_codec.hpp>
#include <dtm/testing/shared_memory_tables.hpp>
#include <dtm/testing/virtual_time.hpp>

namespace simulation {

/// What a client knows of its transaction.
struct Known {
  dtm::Definition definition;
  bool accepted = false;                ///< its submit was answered so (of a workflow: its end)
  bool prepared = false;                ///< its prepare was
  bool refused = false;                 ///< its submit was refused for good
  bool abandoned = false;               ///< nobody will submit or abort it
  bool aborts = false;                  ///< an abort was sent
  bool forced = false;                  ///< a ForceStop or Cancel was sent
  std::optional<bool> commits;          ///< msg: the initiator's own transaction
  std::optional<dtm::Status> finished;  ///< workflow: what was reported
  std::set<std::string> registered;     ///< branches, as far as that was answered
};

class Audit {
 public:
  using Row = dtm::testing::SharedMemoryTables::Row;

  void Watch(dtm::testing::SharedMemoryTables& tables, const dtm::testing::VirtualTime& time) {
    tables_ = &tables;
    time_ = &time;
    tables.on_change = [this](const Row* before, const Row& after, std::int64_t by, bool claims) {
      OnChange(before, after, by, claims);
    };
  }

  void Violated(const std::string& what) {
    if (violations_.size() < 10) violations_.push_back(Now() + what);
    Note("VIOLATION: " + what);
  }
  /// What happened, for whoever looks for a mistake.
  void Note(const std::string& what) {
    if (!loud) return;
    trace.push_back(Now() + what);
  }

  /// Somebody is about to say that this row is done.
  void MaySkip(const std::string& gid, std::size_t row) {
    may_skip_[gid].emplace(row, dtm::kNever);
  }

  /// A coordinator was told that it is no member, and has forgotten what it drove.
  void Forgot(std::int64_t node) { forgot_[node].push_back(time_->Now()); }

  /// A statement of one that gave it up, or died, and may not be a member any more.
  void Late(std::int64_t member, std::int64_t epoch, const std::function<void()>& statement) {
    late_ = {member, epoch};
    statement();
    late_.reset();
    ++counts.late;
  }

  /// A call leaves. `after`: so long it may run.
  void Called(const dtm::BranchCall& call, std::int64_t caller, const dtm::Result& result,
              dtm::Duration after) {
    const dtm::BranchInfo info = call.Info();
    const std::string who = info.gid + "/" + info.branch_id + "/" + dtm::Name(info.op);
    Note("node " + std::to_string(caller) + " calls " + who);
    ++counts.calls;
    const Row* row = tables_->Find(info.gid);
    if (row == nullptr) return Violated(who + " is called and not stored");
    const dtm::Transaction stored = Stored(*row);
    std::vector<Call>& made = calls_[info.gid][call.row];
    // Somebody may have submitted, or ended, what was only prepared: a question to its initiator does no harm.
    // And what another node ends by force may have a call on its way.
    const bool question = dtm::HasQueryRow(info.trans_type) && call.row == dtm::kQueryRow;
    const bool tolerated = question || stopped_by_force_.count(info.gid) > 0;
    if (row->owner != caller && !tolerated) {
      Violated(who + " is called by " + std::to_string(caller) + ", but " +
               std::to_string(row->owner) + " has taken it over");
    } else if (row->owner == caller && dtm::IsFinal(stored.status)) {
      Violated(who + " is called, and has ended");
    }
    const bool known = call.row < stored.branches.size();
    const bool done = known && stored.branches[call.row].status == dtm::BranchStatus::kSucceed;
    if (row->owner == caller && done) Violated(who + " is called, and is stored as done");
    made.push_back({time_->Now(), time_->Now() + after, caller, result.kind});
    if (!known || made.size() > stored.branches[call.row].tries) {
      Violated(who + " is called before that is stored");
    }
  }

  /// After the end: nothing happens any more, and everything has had its time.
  void CheckEnd(const std::map<std::string, Known>& clients) {
    for (const auto& [gid, known] : clients) CheckClient(gid, known);
    for (const auto& [id, row] : tables_->Rows()) {
      if (clients.count(row.gid) == 0) Violated(row.gid + ": nobody has submitted it");
    }
  }
  const Row* Find(const std::string& gid) const { return tables_->Find(gid); }
  bool AllEnded() const { return tables_->Due().empty(); }

  const std::vector<std::string>& Violations() const { return violations_; }

  bool loud = false;
  bool clock_jumped = false;  ///< that of the database
  std::deque<std::string> trace;
  struct Counts {
    int calls = 0, claims = 0, taken_by_write = 0, late = 0, ended = 0, rolled_back = 0,
        repeated_elsewhere = 0, skipped = 0;
  };
  Counts counts;

 private:
  struct Call {
    dtm::Time at{}, answered{};
    std::int64_t caller = 0;
    dtm::Result::Kind said{};
  };
  using CallsOfRow = std::map<std::size_t, std::vector<Call>>;

  std::string Now() const {
    const auto passed = time_->Now() - dtm::Time(std::chrono::seconds(1767225600));
    return std::to_string(passed / std::chrono::milliseconds(1)) + " ms: ";
  }

  dtm::Transaction Stored(const Row& row) const {
    dtm::Transaction stored;
    stored.status = static_cast<dtm::Status>(row.status);
    dtm::codec::DecodeState(row.state, stored);
    return stored;
  }

  void OnChange(const Row* before, const Row& after, std::int64_t by, bool claims) {
    using dtm::Status;
    const std::string& gid = after.gid;
    const auto status = static_cast<Status>(after.status);
    Note(gid + " version " + std::to_string(after.version) + " " + dtm::Name(status) + " by " +
         std::to_string(by) +
         (before != nullptr && before->owner != by ? ", before of " + std::to_string(before->owner)
                                                   : ""));
    if (!tables_->IsMember(by)) Violated(gid + " was written by one that is out");
    // An heir that is a member may claim late: whether the owner is dead was settled before.
    if (late_ && !claims && tables_->IsMember(late_->first) &&
        tables_->Find(late_->first)->epoch != late_->second) {
      Violated(gid + " was written by a batch that its sender knew to be lost");
    }
    if (before == nullptr) {
      if (after.version != 1)
        Violated(gid + " begins with version " + std::to_string(after.version));
      return;
    }
    if (after.version != before->version + 1) {
      Violated(gid + ": version " + std::to_string(after.version) + " after " +
               std::to_string(before->version));
    }
    NoteSkipped(after);
    const auto was = static_cast<Status>(before->status);
    if (dtm::IsFinal(was)) Violated(gid + " had ended and was changed");
    const bool forward = was == status || was == Status::kPrepared ||
                         (was == Status::kSubmitted && status != Status::kPrepared) ||
                         (was == Status::kAborting && status == Status::kFailed);
    if (!forward) Violated(gid + " went from " + dtm::Name(was) + " to " + dtm::Name(status));
    if (Stored(*before).driver != Stored(after).driver) ++taken_up_[gid];
    if (before->owner == after.owner) return;
    changes_of_owner_[gid].push_back(time_->Now());
    if (claims) {
      ++counts.claims;
      if (tables_->IsMember(before->owner)) Violated(gid + " was claimed from a member");
    } else {
      ++counts.taken_by_write;
      if (was == Status::kPrepared) return;
      if (status != Status::kFailed) Violated(gid + " runs, and was taken over by a write");
      stopped_by_force_.insert(gid);
    }
  }

  void CheckClient(const std::string& gid, const Known& known) {
    const Row* row = tables_->Find(gid);
    if (row == nullptr) {
      if (known.accepted || known.prepared) Violated(gid + " was accepted and is lost");
      return;
    }
    const auto status = static_cast<dtm::Status>(row->status);
    if (!dtm::IsFinal(status)) return Violated(gid + " has not ended: " + dtm::Name(status));
    ++counts.ended;
    counts.rolled_back += status == dtm::Status::kFailed;
    CheckJournal(*row);
    const bool failed = status == dtm::Status::kFailed;
    switch (known.definition.type) {
      case dtm::TransType::kSaga: return CheckSaga(known, failed);
      case dtm::TransType::kMsg: return CheckMessage(known, failed);
      case dtm::TransType::kTcc:
      case dtm::TransType::kXa: return CheckBranches(known, *row, failed);
      case dtm::TransType::kWorkflow: return CheckWorkflow(known, *row, status);
    }
  }

  void CheckJournal(const Row& row) {
    dtm::Transaction stored = Stored(row);
    const auto type = static_cast<dtm::TransType>(row.type);
    auto definition = dtm::codec::DecodeDefinition(row.gid, type, row.definition);
    for (const auto& step : row.steps)
      definition->steps.push_back(dtm::codec::DecodeStep(step.second));
    stored.definition = std::move(definition);
    std::vector<dtm::JournalEntry> journal;
    dtm::codec::DecodeJournal(row.folded, journal);
    dtm::codec::DecodeJournal(row.journal, journal);
    const std::size_t taken_up = taken_up_[row.gid];
    for (const std::string& problem :
         dtm_test::JournalProblems::Of(stored, journal, taken_up, taken_up, true)) {
      Violated(problem);
    }
  }

  const std::vector<Call>& CallsAt(const std::string& gid, std::size_t row) {
    return calls_[gid][row];
  }
  static dtm::Time FirstSuccess(const std::vector<Call>& calls) {
    dtm::Time first = dtm::kNever;
    for (const Call& call : calls) {
      if (call.said == dtm::Result::Kind::kSuccess) first = (std::min)(first, call.answered);
    }
    return first;
  }
  /// When the row was done: by a call that succeeded, or because somebody said so.
  dtm::Time DoneAt(const std::string& gid, std::size_t row) {
    const dtm::Time called = FirstSuccess(CallsAt(gid, row));
    const auto asked = may_skip_[gid].find(row);
    return asked == may_skip_[gid].end() ? called : (std::min)(called, asked->second);
  }
  void NoteSkipped(const Row& after) {
    const auto asked = may_skip_.find(after.gid);
    if (asked == may_skip_.end()) return;
    const dtm::Transaction stored = Stored(after);
    for (auto& [row, done] : asked->second) {
      if (done != dtm::kNever || row >= stored.branches.size() ||
          stored.branches[row].status != dtm::BranchStatus::kSucceed) {
        continue;
      }
      done = time_->Now();
      const bool called = FirstSuccess(CallsAt(after.gid, row)) <= done;
      counts.skipped += !called;
      if (called) continue;
      Note(after.gid + " row " + std::to_string(row) + " was skipped");
      for (const Call& call : CallsAt(after.gid, row)) {
        if (call.answered > done && !ChangedOwner(after.gid, call.at, done)) {
          Violated(after.gid + " row " + std::to_string(row) + " was skipped while it was called");
        }
      }
    }
  }
  bool ChangedOwner(const std::string& gid, dtm::Time from, dtm::Time to) {
    const auto& changes = changes_of_owner_[gid];
    return std::any_of(changes.begin(), changes.end(),
                       [&](dtm::Time at) { return at >= from && at <= to; });
  }

  /// One call of a branch at a time, and none after a definite result, but when the result was lost with who had asked.
  void CheckRepeats(const std::string& gid, std::size_t row, const std::string& who) {
    const std::vector<Call>& made = CallsAt(gid, row);
    for (std::size_t i = 1; i < made.size(); ++i) {
      const Call& before = made[i - 1];
      const Call& call = made[i];
      if (before.caller != call.caller || ChangedOwner(gid, before.at, call.at) ||
          HasForgotten(call.caller, before.at, call.at)) {
        ++counts.repeated_elsewhere;
        continue;
      }
      if (call.at < before.answered) Violated(who + " was called twice at a time");
      if (before.said == dtm::Result::Kind::kSuccess)
        Violated(who + " succeeded and was called again");
    }
  }
  bool HasForgotten(std::int64_t node, dtm::Time from, dtm::Time to) {
    const auto& times = forgot_[node];
    return std::any_of(times.begin(), times.end(),
                       [&](dtm::Time at) { return at >= from && at <= to; });
  }

  void CheckSaga(const Known& known, bool failed) {
    const dtm::Definition& definition = known.definition;
    const std::string& gid = definition.gid;
    if (known.forced && failed) return;  // ended by force: nothing was undone
    const std::size_t steps = definition.steps.size();
    dtm::Time first_compensation = dtm::kNever;
    for (std::size_t step = 0; step < steps; ++step) {
      const auto& undos = CallsAt(gid, dtm::CompensateOf(step));
      if (!undos.empty()) first_compensation = (std::min)(first_compensation, undos.front().at);
    }
    for (std::size_t step = 0; step < steps; ++step) {
      const std::string who = gid + "/" + dtm::NumberOf(step);
      const auto& actions = CallsAt(gid, dtm::ActionOf(step));
      const auto& undos = CallsAt(gid, dtm::CompensateOf(step));
      for (const std::size_t row : {dtm::ActionOf(step), dtm::CompensateOf(step)})
        CheckRepeats(gid, row, who);
      for (const Call& call : actions) {
        if (call.at > first_compensation)
          Violated(who + " was called after the first compensation");
        // A coordinator that came after the jump has another time than the one that it takes over from, see docs/cluster.md.
        const bool other_time = clock_jumped && ChangedOwner(gid, call.at, first_compensation);
        if (call.answered > first_compensation && !other_time) {
          Violated(who + " may have been running at the first compensation");
        }
      }
      if (!failed) {
        if (!undos.empty()) Violated(gid + " succeeded and was compensated");
        if (DoneAt(gid, dtm::ActionOf(step)) == dtm::kNever)
          Violated(who + " never succeeded, but the saga did");
      } else if (!actions.empty() && DoneAt(gid, dtm::CompensateOf(step)) == dtm::kNever) {
        Violated(who + " may have run and was not compensated");
      }
      if (!definition.concurrent && step > 0) CheckOrder(definition, step - 1, step);
      const auto order = definition.orders.find(static_cast<int>(step));
      if (order == definition.orders.end()) continue;
      for (const int before : order->second)
        CheckOrder(definition, static_cast<std::size_t>(before), step);
    }
  }

  /// Actions start when those before have succeeded, compensations the other way round.
  void CheckOrder(const dtm::Definition& definition, std::size_t before, std::size_t then) {
    const std::string who = definition.gid + "/" + dtm::NumberOf(then);
    const auto& later = CallsAt(definition.gid, dtm::ActionOf(then));
    if (!later.empty() && DoneAt(definition.gid, dtm::ActionOf(before)) > later.front().at) {
      Violated(who + " was called before " + dtm::NumberOf(before) + " had succeeded");
    }
    const auto& undo_before = CallsAt(definition.gid, dtm::CompensateOf(before));
    if (!undo_before.empty() && !later.empty() &&
        DoneAt(definition.gid, dtm::CompensateOf(then)) > undo_before.front().at) {
      Violated(who + " was not compensated before " + dtm::NumberOf(before));
    }
  }

  void CheckMessage(const Known& known, bool failed) {
    const std::string& gid = known.definition.gid;
    for (std::size_t step = 0; step < known.definition.steps.size(); ++step) {
      const auto& made = CallsAt(gid, dtm::DeliveryOf(step));
      const std::string who = gid + "/" + dtm::NumberOf(step);
      CheckRepeats(gid, dtm::DeliveryOf(step), who);
      if (failed && !made.empty()) Violated(who + " was delivered, and the message failed");
      if (!failed && DoneAt(gid, dtm::DeliveryOf(step)) == dtm::kNever)
        Violated(who + " was never delivered");
    }
    if (known.accepted && failed) Violated(gid + " was accepted and is not delivered");
    if (known.commits && *known.commits == failed && !known.aborts) {
      Violated(gid + " ended otherwise than the transaction of its initiator");
    }
  }

  void CheckBranches(const Known& known, const Row& row, bool failed) {
    const std::string& gid = known.definition.gid;
    if (known.accepted && failed) Violated(gid + " was accepted and is rolled back");
    if (known.refused && !failed) Violated(gid + " was refused and has succeeded");
    std::set<std::string> stored;
    const auto definition = Full(row);
    for (std::size_t step = 0; step < definition.steps.size(); ++step) {
      stored.insert(definition.steps[step].branch_id);
      const std::string who = gid + "/" + definition.steps[step].branch_id;
      for (const std::size_t row_of : {dtm::ActionOf(step), dtm::CompensateOf(step)})
        CheckRepeats(gid, row_of, who);
      const auto& confirms = CallsAt(gid, dtm::ActionOf(step));
      const auto& cancels = CallsAt(gid, dtm::CompensateOf(step));
      if (!failed && !cancels.empty()) Violated(who + " was cancelled, and it succeeded");
      if (failed && !confirms.empty()) Violated(who + " was confirmed, and it failed");
      if (DoneAt(gid, failed ? dtm::CompensateOf(step) : dtm::ActionOf(step)) == dtm::kNever)
        Violated(who + " was not carried through");
    }
    for (const std::string& branch : known.registered) {
      if (stored.count(branch) == 0) Violated(gid + "/" + branch + " was registered and is lost");
    }
  }

  void CheckWorkflow(const Known& known, const Row& row, dtm::Status status) {
    const std::string& gid = known.definition.gid;
    if (known.finished && *known.finished != status)
      Violated(gid + " ended otherwise than its client was told");
    std::set<std::string> stored;
    for (const dtm::Step& step : Full(row).steps) stored.insert(step.branch_id);
    for (const std::string& branch : known.registered) {
      if (stored.count(branch) == 0) Violated(gid + "/" + branch + " was recorded and is lost");
    }
  }

  static dtm::Definition Full(const Row& row) {
    auto definition = dtm::codec::DecodeDefinition(row.gid, static_cast<dtm::TransType>(row.type),
                                                   row.definition);
    for (const auto& [nr, step] : row.steps)
      definition->steps.push_back(dtm::codec::DecodeStep(step));
    return *definition;
  }

  dtm::testing::SharedMemoryTables* tables_ = nullptr;
  const dtm::testing::VirtualTime* time_ = nullptr;
  std::optional<std::pair<std::int64_t, std::int64_t>>
      late_;  // whose statement lands, of which epoch
  std::map<std::string, CallsOfRow> calls_;
  std::map<std::string, std::map<std::size_t, dtm::Time>> may_skip_;  // and since when it is done
  std::map<std::string, std::vector<dtm::Time>> changes_of_owner_;
  std::map<std::string, std::size_t> taken_up_;  // how often another one went on with it
  std::map<std::int64_t, std::vector<dtm::Time>> forgot_;
  std::set<std::string> stopped_by_force_;
  std::vector<std::string> violations_;
};

}  // namespace simulation
