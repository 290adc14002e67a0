/// Computes times: intervals, waits between tries, deadlines.
/// Needs: std. Threads: pure functions. Protocol: §3 (schedule numbers), with the first retry after
/// one interval, a cap and jitter. Source of the waits: capped exponential backoff.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/core/limits.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>

namespace dtm {
inline namespace v1 {
namespace engine {

inline constexpr Duration kMaxRetryWait = std::chrono::hours(1);

/// The base interval between tries.
inline Duration RetryInterval(const TransOptions& options, const Context& context) {
  if (options.retry_interval.count() > 0) return options.retry_interval;
  if (options.timeout_to_fail.count() > 0 && options.timeout_to_fail < context.retry_interval) {
    return options.timeout_to_fail;
  }
  return context.retry_interval;
}

inline Duration RequestTimeout(const TransOptions& options, const Context& context) {
  return options.request_timeout.count() > 0 ? Duration(options.request_timeout)
                                             : context.request_timeout;
}

/// How long a prepared msg, tcc or xa waits for its submit.
inline std::chrono::seconds PreparedTimeout(const TransOptions& options, const Context& context) {
  return options.timeout_to_fail.count() > 0 ? options.timeout_to_fail : context.timeout_to_fail;
}

/// The interval after so many errors in a row: it doubles up to one hour (but is never less than at first).
inline Duration DoubledInterval(Duration interval, std::uint32_t errors) {
  const Duration cap = (std::max)(kMaxRetryWait, interval);
  for (std::uint32_t i = 1; i < errors && interval < cap; ++i) interval *= 2;
  return (std::min)(interval, cap);
}

/// The wait after the n-th consecutive error (n >= 1): interval * 2^(n-1), at most one hour (but
/// never less than the interval). Up to a fifth is added, different for each branch and try, so that calls
/// that failed together are not repeated together. The addition is computed from the names, so the same
/// record always gives the same wait.
inline Duration RetryWait(const Transaction& transaction, std::size_t row, Duration interval) {
  const std::uint32_t errors = (std::max)(transaction.branches[row].errors, std::uint32_t{1});
  const Duration wait = DoubledInterval(interval, errors);
  const std::size_t seed =
      std::hash<std::string>{}(transaction.definition->gid) ^ (row * 7919 + errors * 104729);
  return wait + wait * static_cast<Duration::rep>(seed % 1000) / 5000;
}

/// The action of a saga had a call that may have had an effect, or counts as done.
inline bool MayHaveRun(const Branch& action) {
  return action.tries > 0 || action.status == BranchStatus::kSucceed;
}

/// The present interval: that of the branch with the most errors in a row, among those that it waits for.
inline Duration IntervalNow(const Transaction& transaction, const Context& context) {
  std::uint32_t errors = 0;
  for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
    const Branch& branch = transaction.branches[i];
    const bool waits = branch.status == BranchStatus::kPrepared && HasItsTurn(transaction, i);
    if (waits) errors = (std::max)(errors, branch.errors);
  }
  return DoubledInterval(RetryInterval(transaction.definition->options, context), errors);
}

/// The time until which a call decided now may be running: it is sent when the decision is durable, and the caller may hold
/// it back for one timeout and then give it another (see BranchCaller::Call). 0: no longer than this process.
inline Time CallDeadline(const std::string& url, const TransOptions& options,
                         const Context& context) {
  if (!IsLocal(url)) return context.now + context.lateness + 2 * RequestTimeout(options, context);
  if (context.function_limit.count() == 0) return {};
  return context.now + context.lateness + context.function_limit;
}

/// For calls that were decided earlier but are sent only now.
inline void MoveDeadlines(Transaction& transaction, const std::vector<std::size_t>& calls,
                          const Context& context) {
  for (const std::size_t call : calls) {
    Branch& branch = transaction.branches[call];
    if (branch.deadline == Time{}) continue;  // a function ends with its process
    const Definition& definition = *transaction.definition;
    branch.deadline = (std::max)(
        branch.deadline, CallDeadline(UrlOf(definition, call), definition.options, context));
  }
}

/// Ends all waits, and drives a stuck transaction again. False: nothing waited.
inline bool ForgetWaits(Transaction& transaction) {
  bool waited = std::exchange(transaction.stuck, false);
  for (Branch& branch : transaction.branches) {
    waited = waited || branch.errors > 0 || branch.next_try != Time{};
    branch.errors = 0;
    branch.next_try = Time{};
    branch.asked_when = false;
  }
  return waited;
}

/// After a restart no call of this run is in flight, and the clock may have been set, so each wait is cut to the longest
/// that is possible. A deadline is reduced only by what the clock was ahead, since it may come from a longer
/// request_timeout than today's. A workflow that this program resumes is tried again after one interval: it may have been
/// waiting for the new code.
inline void ForgetPreviousRun(Transaction& transaction, const Context& context) {
  const TransOptions& options = transaction.definition->options;
  const Duration interval = RetryInterval(options, context);
  const Duration ahead = (std::max)(transaction.updated - context.now, Duration(0));
  const Definition& definition = *transaction.definition;
  const bool new_code = definition.type == TransType::kWorkflow &&
                        IsLocal(definition.query_prepared) &&
                        transaction.updated <= context.started;
  for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
    Branch& branch = transaction.branches[i];
    branch.in_flight = false;
    const Duration longest = new_code ? interval : RetryWait(transaction, i, interval);
    branch.next_try =
        (std::min)(branch.next_try,
                   context.now + (branch.asked_when ? (std::max)(longest, Duration(kMaxRetryAfter))
                                                    : longest));
    branch.deadline = (std::max)(branch.deadline - ahead, Time{});
    branch.previous_deadline = branch.deadline;
  }
}

/// Of one that another coordinator drives, which lives: its initiator may be at it for a call from there, and records a step
/// here. So it is not called a second time as long as that call may be out.
inline void LeaveToInitiator(Transaction& transaction) {
  if (!HasQueryRow(transaction.definition->type)) return;
  Branch& initiator = transaction.branches[kQueryRow];
  initiator.next_try = (std::max)(initiator.next_try, initiator.deadline);
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm
