/// The operations of a coordinator as JSON asks for them: the body of an HTTP request, or the params of a JSON-RPC call.
/// Needs: nlohmann/json. Threads: any. Protocol: §2.1, §2.2, §7.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/coordinator/operations.hpp>
#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/http/wire/json_input.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/read_transaction.hpp>
#include <dtm/http/wire/registration.hpp>
#include <dtm/observe/trace_context.hpp>

namespace dtm {
inline namespace v1 {
namespace json_operations {

/// @throws BadInput, RejectedError  `body` is malformed, or the operation is refused at once; then `done` is not called.
using Operation = void (*)(Operations& tm, const nlohmann::json& body, const AnswerCallback& done);

inline Definition TransactionOf(const nlohmann::json& body) {
  return wire::DecodeTransaction(wire::json_input::Fields(body, "the transaction"));
}

/// The headers traceparent and tracestate of a request count as if they were among the branch headers of its transaction,
/// if they are valid and there is no traceparent among these.
inline void TakeTrace(nlohmann::json& body, std::string_view traceparent,
                      std::string_view tracestate) {
  const auto trace = ReadTraceContext(traceparent, tracestate);
  if (!trace || !body.is_object()) return;
  std::string key = wire::kBranchHeaders;
  for (const auto& item : body.items()) {
    if (Lowered(item.key()) == wire::kBranchHeaders) key = item.key();  // see Fields
  }
  nlohmann::json& headers = body[key];
  if (headers.is_null()) headers = nlohmann::json::object();
  if (!headers.is_object()) return;  // what is wrong with it is said later
  for (const auto& header : headers.items()) {
    if (IsTraceHeader(header.key())) return;
  }
  const auto add = [&headers](const char* name, std::string value) {
    if (headers.size() < kMaxHeaders) headers[name] = std::move(value);
  };
  add(kTraceParent, std::string(Trimmed(traceparent)));
  if (!trace->state.empty()) add(kTraceState, trace->state);
}

/// `req_extra` says how the workflow ended.
inline void FinishWorkflow(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the transaction");
  const wire::WorkflowEnd end = wire::DecodeWorkflowEnd(fields.Texts(wire::kReqExtra));
  tm.FinishWorkflowAsync(wire::GidOf(fields), end.status, end.reason, end.result, done);
}

inline void Submit(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  Definition definition = TransactionOf(body);
  if (definition.type == TransType::kWorkflow) return FinishWorkflow(tm, body, done);
  if (!definition.options.wait_result) return tm.SubmitAsync(std::move(definition), done);
  tm.SubmitAsync(std::move(definition), [done](const Answer& answer) {
    if (answer.error || answer.result.Succeeded()) return done(answer);
    done({{}, GoesOn(answer.result)});
  });
}

inline void Prepare(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  tm.PrepareAsync(TransactionOf(body), done);
}

inline void RegisterBranch(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  wire::Registration branch =
      wire::DecodeRegistration(wire::json_input::Fields(body, "the branch"));
  tm.RegisterBranchAsync(branch.gid, branch.type, std::move(branch.step), done);
}

/// Who asks for it, and why.
inline By ByIn(const wire::json_input::Fields& fields) {
  return {fields.Text(wire::kWho), fields.Text(wire::kWhy)};
}

/// The reason has two names: what dtm's clients send counts.
inline void Abort(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the transaction");
  By by = ByIn(fields);
  std::string reason = fields.Text(wire::kRollbackReason);
  if (!reason.empty()) by.why = std::move(reason);
  tm.AbortAsync(wire::GidOf(fields), wire::TypeNamed(fields.Text(wire::kTransType)), by,
                WaitResult::kCounts, done);
}

inline void ForceStop(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the body");
  tm.ForceStopAsync(wire::GidOf(fields), ByIn(fields), done);
}

inline void SkipBranch(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the body");
  tm.SkipAsync(wire::GidOf(fields), fields.Text(wire::kBranchId),
               wire::OpNamed(fields.Text(wire::kOp)), ByIn(fields), done);
}

/// A transaction that has ended needs no try; here that is not an error.
inline void ResetNextCronTime(Operations& tm, const nlohmann::json& body,
                              const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the body");
  tm.RetryNowAsync(wire::GidOf(fields), ByIn(fields), [done](const Answer& answer) {
    try {
      (void)answer.Get();
    } catch (const EndedError&) {
      return done({});
    } catch (...) {  // NOLINT(bugprone-empty-catch): `done` is told
    }
    done(answer);
  });
}

}  // namespace json_operations
}  // namespace v1
}  // namespace dtm
