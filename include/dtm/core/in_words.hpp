/// What is told of a transaction: which branch it was, why it was rolled back, where it stands.
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

/// The branch whose words the reason is, in words; empty: it is no branch's.
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
