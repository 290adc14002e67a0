/// Sentences about a transaction: which branch it was, and which one gave the reason of a rollback.
/// Needs: std. Threads: pure functions.
#pragma once

#include <cstddef>
#include <string>

#include <dtm/core/result.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>

namespace dtm {
inline namespace v1 {

/// "branch 02 action http://bank-b/TransIn"
inline std::string BranchInWords(const Definition& definition, std::size_t row) {
  return "branch " + BranchIdOf(definition, row) + " " + Name(OpOf(definition, row)) + " " +
         ShownUrl(UrlOf(definition, row));
}

/// The branch that gave the reason of the rollback, in words; empty if it was not a branch.
inline std::string ReasonFrom(const Transaction& transaction) {
  const std::size_t from = transaction.reason_from;
  if (from == 0 || from > RowCount(*transaction.definition)) return {};
  return BranchInWords(*transaction.definition, from - 1);
}

inline TransResult ResultOf(const Transaction& transaction) {
  return {transaction.definition->gid, transaction.status, transaction.reason,
          ReasonFrom(transaction), transaction.last_error};
}

}  // namespace v1
}  // namespace dtm
