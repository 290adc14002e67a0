/// Explains the state of a transaction to people.
/// Needs: std. Threads: pure function.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include <dtm/base/text.hpp>
#include <dtm/core/in_words.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/schedule.hpp>

namespace dtm {
inline namespace v1 {
namespace engine {

/// The result of a branch as one sentence of at most kMaxReasonBytes.
inline std::string DescribeResult(const Definition& definition, std::size_t index,
                                  const Result& result) {
  const char* said = "failed";
  switch (result.kind) {
    case Result::Kind::kSuccess: said = "succeeded"; break;
    case Result::Kind::kFailure: said = "answered FAILURE"; break;
    case Result::Kind::kOngoing: said = "is ONGOING"; break;
    case Result::Kind::kError: said = "gave no definite answer"; break;
    case Result::Kind::kNotSent: said = "was not called"; break;
  }
  std::string text = BranchInWords(definition, index) + " " + said;
  if (!result.text.empty()) text += ": " + result.text;
  return Truncated(std::move(text), kMaxReasonBytes);
}

/// "2.5": with a point in every locale.
inline std::string Seconds(Duration time) {
  const Duration::rep tenths = time.count() / 100000 + (time.count() % 100000 >= 50000 ? 1 : 0);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
}

/// "in 2.5 s", "now".
inline std::string InWords(Duration wait) {
  return wait.count() <= 0 ? "now" : "in " + Seconds(wait) + " s";
}

inline std::string ExplainBranch(const Transaction& transaction, std::size_t index, Time now) {
  const Branch& branch = transaction.branches[index];
  const Definition& definition = *transaction.definition;
  std::string text = BranchInWords(definition, index) + ": ";
  if (branch.in_flight) {
    text += "called, its answer is awaited";
  } else if (branch.deadline > now) {
    text +=
        "called; it may still be running, for at most " + InWords(branch.deadline - now).substr(3);
  } else {
    text += "next try " + InWords(branch.next_try - now);
    if (branch.asked_when && branch.next_try > now) text += ", as it asked for (Retry-After)";
  }
  text += " (" + std::to_string(branch.tries) + (branch.tries == 1 ? " try" : " tries");
  if (branch.errors > 0) {
    text += ", " + std::to_string(branch.errors) + (branch.errors == 1 ? " error" : " errors") +
            " in a row";
  }
  return text + ")";
}

inline std::string ExplainPrepared(const Transaction& transaction) {
  std::string text = "\nit waits for its submit";
  if (transaction.due == kNever) return text;
  switch (transaction.definition->type) {
    case TransType::kMsg: return text + "; then its initiator is asked";
    case TransType::kWorkflow: return text + "; then it is resumed";
    default: return text + "; then it is rolled back";
  }
}

/// One sentence about the whole, then a line for each branch that is running or waits.
inline std::string Explain(const Transaction& transaction, Time now) {
  const Definition& definition = *transaction.definition;
  std::string text = std::string(Name(definition.type)) + " " + definition.gid + " is ";
  if (transaction.unreadable) {
    return text + "stuck: " + transaction.last_error + "; restore the store from a backup";
  }
  text += Name(transaction.status);
  if (!transaction.reason.empty()) text += " because: " + transaction.reason;
  if (transaction.reason_from != 0) text += " (" + ReasonFrom(transaction) + ")";
  if (transaction.expired) return text + " (its record has expired, the gid is kept)";
  if (IsFinal(transaction.status)) return text;
  if (transaction.stuck) {
    return text + "\nstuck: " + transaction.last_error +
           "; it goes on with RetryNow or ends with ForceStop";
  }
  if (transaction.status == Status::kPrepared) text += ExplainPrepared(transaction);
  for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
    const Branch& branch = transaction.branches[i];
    const bool waits = branch.status == BranchStatus::kPrepared && HasItsTurn(transaction, i) &&
                       (branch.tries > 0 || branch.next_try != Time{});
    if (branch.in_flight || branch.deadline > now || waits) {
      text += "\n" + ExplainBranch(transaction, i, now);
    }
  }
  if (!transaction.last_error.empty()) text += "\nlast error: " + transaction.last_error;
  const std::chrono::seconds timeout = definition.options.timeout_to_fail;
  if (definition.type == TransType::kSaga && timeout.count() > 0 &&
      transaction.status == Status::kSubmitted) {
    text += "\nrolled back if not done " + InWords(transaction.created + timeout - now);
  }
  return text;
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm
