/// Decides what a submit or prepare of a gid that exists means.
/// Needs: std. Threads: pure functions. Protocol: §2.3, with the differences of docs/http_api.md.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include <dtm/core/limits.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {
namespace engine {

struct Resubmission {
  enum class Kind {
    kAttach,   ///< the same again: nothing runs twice, the answer is that of the stored one
    kPromote,  ///< the submit of a prepared one
    kRefuse
  };
  Kind kind = Kind::kAttach;
  std::string refused;  ///< kRefuse: why
};

/// Whether its status can only have come after its submit. A tcc, xa or workflow is rolled back only if none came in time.
inline bool ShowsSubmit(const Transaction& stored) {
  if (stored.status == Status::kPrepared) return false;
  return !RegistersSteps(stored.definition->type) || stored.status != Status::kAborting;
}

/// The initiator has to learn that its submit came too late.
inline std::string CannotSubmit(const Transaction& stored) {
  return "gid '" + stored.definition->gid + "': current status '" + Name(stored.status) +
         "', cannot submit. FAILURE";
}

/// `again`: the new submit or (`prepare`) prepare. A submit is compared only with a submit, and a prepare only
/// with a prepare, since a submit after a prepare need not repeat the steps.
inline Resubmission OnResubmission(const Transaction& stored, const Definition& again,
                                   bool prepare) {
  const Definition& first = *stored.definition;
  const std::string gid = "gid '" + again.gid + "'";
  if (stored.unreadable) return {Resubmission::Kind::kRefuse, gid + ": " + stored.last_error};
  if (first.type != again.type) {
    return {Resubmission::Kind::kRefuse, gid + " exists as a " + Name(first.type) + ", not as a " +
                                             Name(again.type) +
                                             "; nothing was changed. Use a new gid"};
  }
  const bool prepared = stored.status == Status::kPrepared;
  if (prepare && !prepared) {
    return {Resubmission::Kind::kRefuse,
            gid + ": current status '" + Name(stored.status) + "', cannot prepare. FAILURE"};
  }
  if (!prepare && prepared) return {Resubmission::Kind::kPromote, {}};
  if (!prepare && !ShowsSubmit(stored)) {
    return {Resubmission::Kind::kRefuse, CannotSubmit(stored)};
  }
  const bool same = stored.expired ? stored.content == 0 || stored.content == ContentHash(again)
                                   : first.prepared_first != prepare || SameContent(first, again);
  if (!same) {
    return {Resubmission::Kind::kRefuse,
            gid +
                " exists with other content; nothing was changed. Use a new gid, or submit "
                "exactly what was submitted first"};
  }
  return {Resubmission::Kind::kAttach, {}};
}

/// Empty if `again` prepares the stored workflow; otherwise why not. The URL that resumes it may have changed; name and data
/// are compared only if both have them.
inline std::string OtherWorkflow(const Definition& stored, const Definition& again) {
  const std::string gid = "gid '" + again.gid + "' ";
  const char* end = "; nothing was changed or run. Use a new gid";
  if (stored.type != TransType::kWorkflow) {
    return gid + "is a " + Name(stored.type) + ", not a workflow" + end;
  }
  if (!again.workflow.empty() && again.workflow != stored.workflow) {
    return gid + "is the workflow '" + stored.workflow + "', not '" + again.workflow + "'" + end;
  }
  if (!again.data.empty() && again.data != stored.data) {
    return gid + "was started with other data" + end;
  }
  return {};
}

/// The headers of the submit replace those of the prepare, but a transaction stays in the trace in which it began.
inline std::map<std::string, std::string> MergedHeaders(const TransOptions& prepared,
                                                        const TransOptions& submitted) {
  using Headers = std::map<std::string, std::string>;
  const auto part = [](const Headers& headers, bool of_trace) {
    Headers found;
    for (const auto& header : headers) {
      if (IsTraceHeader(header.first) == of_trace) found.insert(header);
    }
    return found;
  };
  Headers merged = part(submitted.branch_headers, false);
  if (merged.empty()) merged = part(prepared.branch_headers, false);
  Headers trace = part(prepared.branch_headers, true);
  if (trace.empty()) trace = part(submitted.branch_headers, true);
  for (const auto& header : trace) {
    if (merged.size() < kMaxHeaders) merged.insert(header);
  }
  return merged;
}

/// The steps stay those of the prepare; options and orders of the submit replace those of the prepare.
inline Definition Promoted(const Definition& prepared, const Definition& submitted) {
  Definition merged = prepared;
  TransOptions& options = merged.options;
  const TransOptions& later = submitted.options;
  options.wait_result = later.wait_result;
  const auto take = [](auto& value, const auto& newer) {
    if (newer != std::decay_t<decltype(newer)>{}) value = newer;
  };
  if (merged.query_prepared.empty()) merged.query_prepared = submitted.query_prepared;
  take(options.timeout_to_fail, later.timeout_to_fail);
  take(options.request_timeout, later.request_timeout);
  take(options.retry_interval, later.retry_interval);
  take(options.retry_limit, later.retry_limit);
  options.branch_headers = MergedHeaders(options, later);
  take(merged.delay, submitted.delay);
  const bool order = submitted.concurrent || !submitted.orders.empty();
  if (order) {
    merged.concurrent = submitted.concurrent;
    merged.orders = submitted.orders;
  }
  if (order || submitted.delay.count() > 0 || !submitted.custom_data.empty()) {
    merged.custom_data = submitted.custom_data;
  }
  return merged;
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm
