/// What a list of transactions asks of a store, and gets.
/// Needs: std. Threads: values and pure functions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <dtm/base/text.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>

namespace dtm {
inline namespace v1 {

/// What Scan returns; unset = any.
struct ScanFilter {
  std::optional<TransType> type;
  std::optional<Status> status;
  Time created_from{};
  Time created_to = kNever;

  // With one of these it is a search: it reads a bounded number of records and returns what it has found, so a page may be
  // short, or empty, although there are more.
  bool unfinished = false;      ///< those that have not ended
  bool stuck = false;           ///< of them, those that nothing but a person will wake: see Backlog
  bool errors = false;          ///< those with a last_error, even if they have ended well since
  std::string gid_prefix = {};  ///< UTF-8; their gid begins with this
  /// UTF-8; part of the URL (as it is shown), function, topic or workflow that they call. Letters count as they are.
  std::string target = {};
  bool may_be_short = false;  ///< a search, whatever else is set

  bool IsSearch() const {
    return unfinished || stuck || errors || !gid_prefix.empty() || !target.empty() || may_be_short;
  }
};

struct ScanPage {
  std::vector<Transaction> transactions;  ///< newest first
  std::int64_t next = 0;  ///< position of the next page, which may be empty; 0 = there is none
};

/// Nothing will wake it: an invariant is broken, or (in a shared store) it waits for a coordinator of another app.
inline bool IsStuck(const Transaction& transaction) {
  if (IsFinal(transaction.status)) return false;
  return (transaction.stuck && transaction.due == kNever) || transaction.owner >> 63 != 0;
}

/// One of its calls goes to `target`, or to something whose name contains it.
inline bool CallsTarget(const Definition& definition, const std::string& target) {
  const auto is_in = [&target](const std::string& text) {
    return ShownUrl(text).find(target) != std::string::npos;
  };
  return is_in(definition.query_prepared) || is_in(definition.workflow) ||
         std::any_of(definition.steps.begin(), definition.steps.end(), [&](const Step& step) {
           return is_in(step.action) || is_in(step.compensate) || is_in(step.topic);
         });
}

/// What a stored definition contains if it calls `target`: a shown URL has stars instead of its credentials.
inline std::string StoredPartOf(const std::string& target) {
  return target.substr(target.rfind('*') + 1);  // npos + 1 is 0
}

inline bool Matches(const ScanFilter& filter, const Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  return (!filter.type || *filter.type == definition.type) &&
         (!filter.status || *filter.status == transaction.status) &&
         transaction.created >= filter.created_from && transaction.created <= filter.created_to &&
         (!filter.unfinished || !IsFinal(transaction.status)) &&
         (!filter.stuck || IsStuck(transaction)) &&
         (!filter.errors || !transaction.last_error.empty()) &&
         HasPrefix(definition.gid, filter.gid_prefix) &&
         (filter.target.empty() || CallsTarget(definition, filter.target));
}

}  // namespace v1
}  // namespace dtm
