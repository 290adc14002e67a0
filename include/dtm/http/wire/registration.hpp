/// A branch as clients register it with a prepared tcc, xa or workflow: from JSON to a step, and back.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.4 (registerBranch body).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/text.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/http/wire/base64.hpp>
#include <dtm/http/wire/json_input.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/read_transaction.hpp>
#include <dtm/http/wire/write_transaction.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

struct Registration {
  std::string gid;
  TransType type = TransType::kTcc;
  Step step;
};

/// A flat object of strings; keys that the type does not use are ignored.
/// @throws BadInput
inline Registration DecodeRegistration(const json_input::Fields& fields) {
  Registration branch;
  branch.gid = GidOf(fields);
  branch.type = TypeNamed(fields.Text(kTransType));
  Step& step = branch.step;
  step.branch_id = fields.Text(kBranchId);
  step.payload = fields.Text(kData);
  switch (branch.type) {
    case TransType::kTcc:
      step.action = fields.Text(kConfirm);
      step.compensate = fields.Text(kCancel);
      break;
    case TransType::kXa: step.action = step.compensate = fields.Text(kUrl); break;
    case TransType::kWorkflow: {
      step.op = OpNamed(fields.Text(kOp));
      step.action = fields.Text(kUrl);  // what the step was; it is never called
      step.topic = fields.Text(kName);
      const std::string status = fields.Text(kStatus);
      step.failed = status == Name(BranchStatus::kFailed);
      if (!step.failed && status != Name(BranchStatus::kSucceed)) {
        throw BadInput("gid '" + branch.gid +
                       "': the status of a recorded step is succeed or failed");
      }
      break;
    }
    default: break;
  }
  for (const std::string* url : {&step.action, &step.compensate}) {
    if (branch.type != TransType::kWorkflow) CheckNotLocal(*url);
  }
  return branch;
}

/// Begins a recorded result of a workflow's step that JSON text would change or make much longer, or that begins like this
/// itself. Servers keep it like any text; the client that recorded it decodes it.
inline constexpr const char kAsBase64[] = "base64:";

inline std::string EncodeRecorded(const std::string& answer) {
  bool as_it_is = !HasPrefix(answer, kAsBase64) && IsUtf8(answer);
  for (const char c : answer) {
    const bool control = c >= 0 && c < ' ' && c != '\t' && c != '\n' && c != '\r';
    as_it_is = as_it_is && !control;
  }
  return as_it_is ? answer : kAsBase64 + base64::Encode(answer);
}
inline std::string DecodeRecorded(std::string answer) {
  if (!HasPrefix(answer, kAsBase64)) return answer;
  std::optional<std::string> bytes = base64::Decode(answer.substr(sizeof(kAsBase64) - 1));
  return bytes ? std::move(*bytes) : answer;
}

/// The body of registerBranch, as dtm's clients send it (§11.2, §11.4, §11.7).
inline std::string EncodeRegistration(const Registration& branch) {
  const Step& step = branch.step;
  nlohmann::ordered_json json = {
      {kGid, branch.gid},
      {kTransType, Name(branch.type)},
      {kBranchId, step.branch_id},
      {kData, branch.type == TransType::kWorkflow ? EncodeRecorded(step.payload) : step.payload}};
  switch (branch.type) {
    case TransType::kTcc:
      json[kConfirm] = step.action;
      json[kCancel] = step.compensate;
      break;
    case TransType::kXa: json[kUrl] = step.action; break;
    default:
      if (!step.action.empty()) json[kUrl] = step.action;
      if (!step.topic.empty()) json[kName] = step.topic;
      json[kOp] = Name(step.op);
      json[kStatus] = Name(step.failed ? BranchStatus::kFailed : BranchStatus::kSucceed);
      json[kSync] =
          "1";  // otherwise the Go server replies before it has stored the branch, and may lose it
  }
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// How a workflow ended.
struct WorkflowEnd {
  Status status = Status::kSucceed;
  std::string reason;
  std::string result;
};

/// Reads it from the `req_extra` of the submit.
/// @throws BadInput
inline WorkflowEnd DecodeWorkflowEnd(std::map<std::string, std::string> extra) {
  const std::string& status = extra[kStatus];
  const bool succeed = status == Name(Status::kSucceed);
  if (!succeed && status != Name(Status::kFailed)) {
    throw BadInput("req_extra.status of a workflow is succeed or failed");
  }
  std::optional<std::string> result = base64::Decode(extra[kResult]);
  if (!result) throw BadInput("req_extra.result of a workflow is base64 text");
  return {succeed ? Status::kSucceed : Status::kFailed, extra[kRollbackReason], std::move(*result)};
}

inline nlohmann::ordered_json WorkflowEndJson(const WorkflowEnd& end) {
  return {{kStatus, Name(end.status)},
          {kRollbackReason, end.reason},
          {kResult, base64::Encode(end.result)}};
}

/// The options in a transaction of a query; the Go server on SQL shows them only as text.
inline nlohmann::json ToldOptions(const nlohmann::json& transaction) {
  const auto text = transaction.find(kOptions);
  nlohmann::json inner;
  if (text != transaction.end() && text->is_string()) {
    inner = json_input::Parse(text->get_ref<const std::string&>());
  }
  return inner.is_object() ? inner : transaction;
}

/// The options for calls, as far as a query shows them. Malformed ones are left out: a workflow can run without them.
inline TransOptions CallOptions(const nlohmann::json& transaction) {
  const nlohmann::json told = ToldOptions(transaction);
  TransOptions options;
  const auto timeout = told.find(kRequestTimeout);
  if (timeout != told.end() && timeout->is_number_unsigned()) {
    const std::uint64_t seconds = timeout->get<std::uint64_t>();
    const auto longest = static_cast<std::uint64_t>(kMaxOptionSeconds.count());
    if (seconds <= longest) options.request_timeout = std::chrono::seconds(seconds);
  }
  const auto headers = told.find(kBranchHeaders);
  if (headers == told.end() || !headers->is_object()) return options;
  for (const auto& header : headers->items()) {
    if (!header.value().is_string() || header.value() == kNotShown) continue;
    options.branch_headers[header.key()] = header.value().get<std::string>();
  }
  return options;
}

/// Reads the reply of prepareWorkflow; nothing if it is not one.
/// @throws RejectedError  it is not a workflow: the Go server returns any transaction with the gid.
inline std::optional<WorkflowState> DecodeWorkflow(const std::string& text) {
  const nlohmann::json body = json_input::Parse(text);
  if (!body.is_object() || !body.contains(kTransaction) || !body[kTransaction].is_object()) {
    return std::nullopt;
  }
  try {
    const nlohmann::json& transaction = body[kTransaction];
    const std::string type = transaction.value(kTransType, "");
    if (!type.empty() && type != Name(TransType::kWorkflow)) {
      throw RejectedError("gid '" + transaction.value(kGid, "") + "' is a " + Printable(type) +
                          ", not a workflow; nothing was run. Use a new gid");
    }
    WorkflowState state;
    if (const std::string told = transaction.value(kCustomData, ""); !told.empty()) {
      Definition stored;
      decode::WorkflowCustomData(told, stored);
      state.workflow = std::move(stored.workflow);
      state.data = std::move(stored.data);
    }
    state.status = StatusNamed(transaction.value(kStatus, ""));
    state.reason = transaction.value(kRollbackReason, "");
    state.result = base64::Decode(transaction.value(kResult, "")).value_or("");
    state.options = CallOptions(transaction);
    const nlohmann::json progresses = body.value(kProgresses, nlohmann::json());
    for (const nlohmann::json& progress : progresses) {
      Step step;
      step.branch_id = progress.value(kBranchId, "");
      step.action = progress.value(kUrl, "");
      step.topic = progress.value(kName, "");
      step.op = OpNamed(progress.value(kOp, ""));
      step.failed = progress.value(kStatus, "") == Name(BranchStatus::kFailed);
      step.payload = DecodeRecorded(base64::Decode(progress.value(kBinData, "")).value_or(""));
      state.recorded.push_back(std::move(step));
    }
    return state;
  } catch (const nlohmann::json::exception&) {  // a value of another kind
    return std::nullopt;
  } catch (const BadInput&) {  // an operation that dtm does not know
    return std::nullopt;
  }
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm
