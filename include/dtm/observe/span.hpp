/// A transaction, or one attempt of one of its branches, as a span of a trace: what Options::on_span is told.
/// Needs: std, POSIX. Threads: values and pure functions; SpanIds: any thread. Document: docs/observe.md.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/os.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/url.hpp>
#include <dtm/observe/trace_context.hpp>

namespace dtm {
inline namespace v1 {

/// It is over when it is told.
struct Span {
  std::string gid;
  std::string trace_id;     ///< 32 hexadecimal digits
  std::string span_id;      ///< 16 of them
  std::string parent_id;    ///< 16 of them; empty: the trace begins with it
  std::string trace_state;  ///< what came with the traceparent; empty: none
  bool sampled = true;      ///< as the traceparent said
  std::string name;  ///< "saga action 01"; of a transaction "saga", of a workflow "workflow order"
  Time begin{};
  Time end{};
  bool failed = false;
  std::string text;  ///< why it failed, or what the branch said
  /// dtm.gid, dtm.trans_type; of an attempt dtm.branch_id, dtm.op, dtm.attempt (1 is the first; not of calls that the
  /// initiator makes itself), dtm.outcome, and url.full (without a password) or dtm.function; of a transaction dtm.status.
  std::vector<std::pair<std::string, std::string>> attributes;
};

/// A call that is a span, from when the coordinator starts it.
struct CallSpan {
  std::uint64_t id = 0;
  Time begin{};
  std::uint32_t attempt = 0;  ///< 0: not known
};

/// Ids that no other span has.
class SpanIds {
 public:
  /// Never 0.
  std::uint64_t Next() {
    if (state_ == 0) Begin();
    const std::uint64_t id = trace::Mixed(state_.fetch_add(0x9E3779B97F4A7C15U));
    return id == 0 ? Next() : id;
  }

 private:
  void Begin() {
    std::uint64_t first = 0;
    os::FillRandom(&first, sizeof first);
    std::uint64_t nothing = 0;
    state_.compare_exchange_strong(nothing, first | 1);
  }
  std::atomic<std::uint64_t> state_{0};
};

/// The trace that a call tells its branch, where it is a span itself or not (null).
inline std::optional<TraceContext> ContextOfCall(const std::string& gid,
                                                 const TransOptions& options,
                                                 const CallSpan* span) {
  if (span == nullptr) return TraceContextOf(options);
  TraceContext context = OwnTrace(gid, options);
  context.parent_id = trace::Hex(span->id);
  return context;
}

namespace span_parts {

inline Span In(const TraceContext& context, const Definition& definition) {
  Span span;
  span.gid = definition.gid;
  span.trace_id = context.trace_id;
  span.parent_id = context.parent_id;
  span.trace_state = context.state;
  span.sampled = context.Sampled();
  span.attributes = {{"dtm.gid", definition.gid}, {"dtm.trans_type", Name(definition.type)}};
  return span;
}

inline const char* Outcome(Result::Kind kind) {
  switch (kind) {
    case Result::Kind::kSuccess: return "success";
    case Result::Kind::kFailure: return "failure";
    case Result::Kind::kOngoing: return "ongoing";
    case Result::Kind::kError: return "error";
    case Result::Kind::kNotSent: return "not sent";
  }
  return "unknown";
}

}  // namespace span_parts

/// Of a call with its result. The payload that a success may have as its text is not told.
inline Span SpanOf(const Definition& definition, std::size_t row, const CallSpan& call,
                   const Result& result, Time end) {
  Span span = span_parts::In(OwnTrace(definition.gid, definition.options), definition);
  const std::string branch_id = BranchIdOf(definition, row);
  const char* const op = Name(OpOf(definition, row));
  const std::string& url = UrlOf(definition, row);
  span.span_id = trace::Hex(call.id);
  span.name = std::string(Name(definition.type)) + " " + op + " " + branch_id;
  span.begin = call.begin;
  span.end = end;
  span.failed = result.kind != Result::Kind::kSuccess && result.kind != Result::Kind::kOngoing;
  if (result.kind != Result::Kind::kSuccess) span.text = Truncated(result.text, kMaxReasonBytes);
  const auto add = [&span](const char* name, std::string value) {
    span.attributes.emplace_back(name, std::move(value));
  };
  add("dtm.branch_id", branch_id);
  add("dtm.op", op);
  if (call.attempt > 0) add("dtm.attempt", std::to_string(call.attempt));
  add("dtm.outcome", span_parts::Outcome(result.kind));
  IsLocal(url) ? add("dtm.function", url.substr(kLocalPrefixSize)) : add("url.full", ShownUrl(url));
  return span;
}

/// Of a transaction that has ended. Its id follows from the gid, since its attempts may be made by several processes.
inline Span SpanOf(const Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  const std::optional<TraceContext> parent = TraceContextOf(definition.options);
  TraceContext context = OwnTrace(definition.gid, definition.options);
  const std::string id = std::move(context.parent_id);
  context.parent_id = parent ? parent->parent_id : std::string();
  Span span = span_parts::In(context, definition);
  span.span_id = id;
  span.name = Name(definition.type);
  if (!definition.workflow.empty()) span.name += " " + definition.workflow;
  span.begin = transaction.created;
  span.end = transaction.finished;
  span.failed = transaction.status == Status::kFailed;
  if (span.failed) span.text = transaction.reason;
  span.attributes.emplace_back("dtm.status", Name(transaction.status));
  return span;
}

}  // namespace v1
}  // namespace dtm
