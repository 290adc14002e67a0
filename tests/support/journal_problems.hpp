/// What is wrong with the journal of a transaction that has ended, compared with its record: each try, each answer that
/// counted and each decision is told once.
/// Needs: core. Threads: a pure function.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <dtm/core/journal.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm_test {

class JournalProblems {
 public:
  /// How often another process went on with it, at least and at most. `several_clocks`: entries of different processes are only
  /// nearly in order.
  static std::vector<std::string> Of(const dtm::Transaction& stored,
                                     const std::vector<dtm::JournalEntry>& journal,
                                     std::size_t least_taken_up, std::size_t most_taken_up,
                                     bool several_clocks = false) {
    JournalProblems all(stored);
    all.several_clocks_ = several_clocks;
    for (const dtm::JournalEntry& entry : journal) all.Read(entry);
    if (all.kinds_[dtm::JournalKind::kGap] == 0) {
      all.CheckDecisions(least_taken_up, most_taken_up);
      for (std::size_t row = 0; row < stored.branches.size(); ++row) all.CheckRow(row);
      const bool ends = !journal.empty() && (journal.back().kind == dtm::JournalKind::kFailed ||
                                             journal.back().kind == dtm::JournalKind::kSucceeded);
      if (!ends) all.Wrong("it does not end with the end");
    }
    return all.problems_;
  }

 private:
  using Kind = dtm::JournalKind;

  explicit JournalProblems(const dtm::Transaction& stored)
      : stored_(stored),
        tries_(stored.branches.size()),
        successes_(stored.branches.size()),
        repairs_(stored.branches.size()) {}

  void Wrong(const std::string& what) {
    problems_.push_back(stored_.definition->gid + ": the journal: " + what);
  }

  void Read(const dtm::JournalEntry& entry) {
    ++kinds_[entry.kind];
    if (entry.time < time_ && !several_clocks_) Wrong("runs back");
    time_ = entry.time;
    const bool drives = entry.kind == Kind::kPrepared || entry.kind == Kind::kSubmitted ||
                        entry.kind == Kind::kTakenUp;
    if (drives && entry.who.empty()) Wrong(std::string("nobody is named by ") + Name(entry.kind));
    // Of a gap it is a number of entries.
    if (entry.kind == Kind::kGap || entry.row >= stored_.branches.size()) return;
    const dtm::Op op = dtm::OpOf(*stored_.definition, entry.row);
    if (entry.op != op) {
      Wrong("row " + std::to_string(entry.row) + " is told as " + dtm::Name(entry.op) + ", not " +
            dtm::Name(op) + ", by " + Name(entry.kind));
    }
    if (entry.kind == Kind::kStarted) ++tries_[entry.row];
    if (entry.kind == Kind::kNotSent) --tries_[entry.row];
    if (entry.kind == Kind::kSuccess) ++successes_[entry.row];
    if (entry.kind == Kind::kRepair) ++repairs_[entry.row];
  }

  void Times(Kind kind, std::size_t least, std::size_t most) {
    const std::size_t told = kinds_[kind];
    if (told >= least && told <= most) return;
    Wrong(std::string(Name(kind)) + " is told " + std::to_string(told) + " times, not " +
          std::to_string(least) + " to " + std::to_string(most));
  }

  void CheckDecisions(std::size_t least_taken_up, std::size_t most_taken_up) {
    const bool failed = stored_.status == dtm::Status::kFailed;
    const bool saga = stored_.definition->type == dtm::TransType::kSaga;
    const std::size_t prepared = kinds_[Kind::kPrepared];
    // What is prepared first may end by its timeout, or by what its initiator answers.
    Times(Kind::kSubmitted, (saga && !failed) || prepared == 0 ? 1 : 0, 1);
    Times(Kind::kPrepared, 0, 1);
    Times(Kind::kRollback, failed ? 1 : 0, failed ? 1 : 0);
    Times(Kind::kFailed, failed ? 1 : 0, failed ? 1 : 0);
    Times(Kind::kSucceeded, failed ? 0 : 1, failed ? 0 : 1);
    Times(Kind::kStuck, 0, 0);
    Times(Kind::kTakenUp, least_taken_up, most_taken_up);
  }

  void CheckRow(std::size_t row) {
    const dtm::Branch& branch = stored_.branches[row];
    const std::string who = "row " + std::to_string(row);
    // A call that was decided on, and did not leave since somebody ended the transaction at that moment, is not told.
    const bool ended = kinds_[Kind::kForceStop] + kinds_[Kind::kFinish] + kinds_[Kind::kCancel] > 0;
    const bool fewer = ended && tries_[row] < branch.tries;
    if (tries_[row] != branch.tries && !fewer) {
      Wrong(who + ": " + std::to_string(tries_[row]) + " tries, the record has " +
            std::to_string(branch.tries));
    }
    const bool done =
        branch.status == dtm::BranchStatus::kSucceed && (branch.tries > 0 || repairs_[row] > 0);
    if (successes_[row] + repairs_[row] != (done ? 1U : 0U)) {
      Wrong(who + ": " + std::to_string(successes_[row]) + " successes, " +
            std::to_string(repairs_[row]) + " repairs");
    }
  }

  const dtm::Transaction& stored_;
  std::vector<std::size_t> tries_, successes_, repairs_;
  std::map<Kind, std::size_t> kinds_;
  dtm::Time time_{};
  bool several_clocks_ = false;
  std::vector<std::string> problems_;
};

}  // namespace dtm_test
