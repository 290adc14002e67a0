/// A repair: somebody says that a row is done, and the transaction goes on without a call. Nothing else changes.
/// Needs: std. Threads: pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include <dtm/base/text.hpp>
#include <dtm/core/in_words.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/explain.hpp>
#include <dtm/engine/schedule.hpp>

namespace dtm {
inline namespace v1 {
namespace engine {

/// Whether a call of the row may still come. A saga that goes forward may be rolled back later.
inline bool MayBeCalled(const Transaction& transaction, std::size_t row) {
  const bool saga = transaction.definition->type == TransType::kSaga;
  if (saga && transaction.status == Status::kSubmitted) return true;
  if (!HasItsTurn(transaction, row)) return false;
  const bool undo = saga && row % 2 == 0;
  return !undo || MayHaveRun(transaction.branches[row + 1]);
}

/// Why the row of an unfinished transaction cannot be said to be done; empty: it can. While a call of it is out, or may be, it
/// cannot: the call could have its effect after somebody has done the same by hand.
inline std::string RepairProblem(const Transaction& transaction, std::size_t row, Time now) {
  const Definition& definition = *transaction.definition;
  const std::size_t rows = transaction.branches.size();
  if (definition.type == TransType::kWorkflow) {
    return "the steps of a workflow are made by its own code, so none can be skipped; it goes on "
           "with "
           "that code, or ends with ForceStop";
  }
  if (rows != RowCount(definition) || row >= rows) {
    return "its record is damaged, it has " + std::to_string(rows) + " branch rows for " +
           std::to_string(definition.steps.size()) + " steps; ForceStop ends it";
  }
  if (transaction.status == Status::kPrepared) {
    return "it is prepared, so none of its branches is called yet; submit it, or cancel it";
  }
  const Branch& branch = transaction.branches[row];
  const std::string who = BranchInWords(definition, row);
  if (branch.status == BranchStatus::kSucceed) return who + " has succeeded already";
  if (!MayBeCalled(transaction, row)) {
    return "it is " + std::string(Name(transaction.status)) + ", and " + who +
           " will not be called, so there is nothing to skip";
  }
  if (branch.in_flight) return "a call of " + who + " is running; skip it once that has ended";
  if (branch.deadline <= now) return {};
  return "a call of " + who + " may still be running, for at most " +
         Seconds(branch.deadline - now) + " s; skip it then";
}

/// "branch 02 compensate was skipped by ann: paid back by hand"
inline std::string DescribeRepair(const Definition& definition, std::size_t row,
                                  const std::string& who, const std::string& why) {
  return "branch " + BranchIdOf(definition, row) + " " + Name(OpOf(definition, row)) +
         " was skipped" + (who.empty() ? "" : " by " + who) + ": " + why;
}

/// The last error, and behind it what people have done about it.
inline std::string LastErrorWith(const std::string& error, std::string repair) {
  constexpr std::size_t kBetween = 2;
  repair = Truncated(std::move(repair), kMaxReasonBytes);
  if (error.empty() || repair.size() + kBetween >= kMaxReasonBytes) return repair;
  return Truncated(error, kMaxReasonBytes - kBetween - repair.size()) + "; " + repair;
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm
