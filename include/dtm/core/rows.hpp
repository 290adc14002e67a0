/// The rows of a transaction: which step and operation each stands for, and what is called for it.
/// Needs: std. Threads: pure functions. Protocol: §1 (branch ids, operations), §4 (rows).
#pragma once

#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>

#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

/// Rows of a saga, tcc or xa.
inline std::size_t CompensateOf(std::size_t step) { return 2 * step; }
inline std::size_t ActionOf(std::size_t step) { return 2 * step + 1; }

/// Rows of a message or workflow.
inline constexpr std::size_t kQueryRow = 0;
inline std::size_t DeliveryOf(std::size_t step) { return step + 1; }

inline std::size_t RowCount(const Definition& definition) {
  const std::size_t steps = definition.steps.size();
  return HasQueryRow(definition.type) ? 1 + steps : 2 * steps;
}
/// The step of a row that is not the query row.
inline std::size_t StepOf(TransType type, std::size_t row) {
  return HasQueryRow(type) ? row - 1 : row / 2;
}

inline Op OpOf(TransType type, std::size_t row) {
  const bool undo = row % 2 == 0;
  switch (type) {
    case TransType::kSaga: return undo ? Op::kCompensate : Op::kAction;
    case TransType::kTcc: return undo ? Op::kCancel : Op::kConfirm;
    case TransType::kXa: return undo ? Op::kRollback : Op::kCommit;
    case TransType::kMsg: return row == kQueryRow ? Op::kMsg : Op::kAction;
    case TransType::kWorkflow: return row == kQueryRow ? Op::kResume : Op::kAction;
  }
  return Op::kAction;
}
inline Op OpOf(const Definition& definition, std::size_t row) {
  if (HasQueryRow(definition.type) && row == kQueryRow) return OpOf(definition.type, row);
  const Op op = definition.steps[StepOf(definition.type, row)].op;
  return op == Op{} ? OpOf(definition.type, row) : op;
}

/// "01", "02", ... "99", "100": two digits, 1-based.
inline std::string NumberOf(std::size_t step) {
  char text[24];
  std::snprintf(text, sizeof text, "%02zu", step + 1);
  return text;
}
inline std::string BranchIdOf(const Definition& definition, std::size_t row) {
  if (HasQueryRow(definition.type) && row == kQueryRow) return "00";
  const std::size_t step = StepOf(definition.type, row);
  const std::string& own = definition.steps[step].branch_id;
  return own.empty() ? NumberOf(step) : own;
}

/// The row that is called by this branch id and operation; nothing: there is none.
inline std::optional<std::size_t> RowOf(const Definition& definition, const std::string& branch_id,
                                        Op op) {
  for (std::size_t row = 0; row < RowCount(definition); ++row) {
    if (OpOf(definition, row) == op && BranchIdOf(definition, row) == branch_id) return row;
  }
  return std::nullopt;
}

inline const std::string& UrlOf(const Definition& definition, std::size_t row) {
  if (HasQueryRow(definition.type)) {
    return row == kQueryRow ? definition.query_prepared : definition.steps[row - 1].action;
  }
  const Step& step = definition.steps[row / 2];
  return row % 2 == 1 ? step.action : step.compensate;
}

inline const std::string& PayloadOf(const Definition& definition, std::size_t row) {
  if (HasQueryRow(definition.type) && row == kQueryRow) return definition.data;
  return definition.steps[StepOf(definition.type, row)].payload;
}

/// After steps were registered: adds a row for each, with the recorded status.
inline void AddMissingRows(Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  while (transaction.branches.size() < RowCount(definition)) {
    Branch branch;
    if (definition.type == TransType::kWorkflow && !transaction.branches.empty()) {
      const Step& step = definition.steps[transaction.branches.size() - 1];
      branch.status = step.failed ? BranchStatus::kFailed : BranchStatus::kSucceed;
    }
    transaction.branches.push_back(branch);
  }
}

/// Whether the row may be called in this status: while prepared, the question to the initiator; then the actions, or
/// the compensations.
inline bool HasItsTurn(const Transaction& transaction, std::size_t index) {
  const TransType type = transaction.definition->type;
  if (HasQueryRow(type)) {
    return (index == kQueryRow) == (transaction.status == Status::kPrepared);
  }
  return (index % 2 == 0) == (transaction.status == Status::kAborting);
}

inline BranchInfo InfoOf(const Definition& definition, std::size_t row) {
  return {definition.gid, definition.type, BranchIdOf(definition, row), OpOf(definition, row),
          definition.workflow};
}

}  // namespace v1
}  // namespace dtm
