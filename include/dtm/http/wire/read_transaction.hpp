/// A transaction as clients send it: from JSON to the record. write_transaction.hpp does the opposite.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.1, §4.1 (custom_data), §11.1.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/base/text.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/http/wire/base64.hpp>
#include <dtm/http/wire/json_input.hpp>
#include <dtm/http/wire/json_rpc.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/write_transaction.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

/// @throws BadInput
inline std::string GidOf(const json_input::Fields& fields) {
  std::string gid = CleanGid(fields.Text(kGid));
  const std::string problem = GidProblem(gid);
  if (!problem.empty()) throw BadInput(problem);
  return gid;
}

/// Functions of the coordinator's program cannot be named from outside.
/// @throws BadInput
inline void CheckNotLocal(const std::string& url) {
  if (!IsLocal(url)) return;
  throw BadInput("'" + Printable(Truncated(url, 200)) +
                 "' names a function of the coordinator's program; from outside a branch is a URL");
}

/// Refuses a payload that no JSON-RPC call could carry.
inline void CheckParams(const Step& step) {
  for (const std::string* url : {&step.action, &step.compensate}) {
    if (url->empty() || IsTopic(*url) || !UrlProblem(*url).empty()) continue;
    if (json_rpc::MethodOf(ParseUrl(*url)).empty()) continue;
    (void)json_rpc::Params(step.payload);
  }
}

namespace decode {

inline void Options(const json_input::Fields& fields, TransOptions& options) {
  const auto seconds = [&fields](const char* key) {
    return std::chrono::seconds(fields.Integer(key, 0, kMaxOptionSeconds.count()));
  };
  options.wait_result = fields.Bool(kWaitResult);
  options.timeout_to_fail = seconds(kTimeoutToFail);
  options.request_timeout = seconds(kRequestTimeout);
  options.retry_interval = seconds(kRetryInterval);
  options.retry_limit = static_cast<int>(fields.Integer(kRetryLimit, 0, kMaxRetryLimit));
  options.branch_headers = fields.Texts(kBranchHeaders);
}

/// The payloads are those of `payloads`, then the non-empty old-style `data` of the steps.
/// @throws BadInput  they are not what the protocol says.
inline std::vector<Step> Steps(const json_input::Fields& fields) {
  std::vector<Step> steps;
  std::vector<std::string> payloads, data;
  fields.Each(kPayloads, "an array of strings", [&payloads](const nlohmann::json& payload) {
    if (!payload.is_string() && !payload.is_null()) return false;
    payloads.push_back(payload.is_null() ? "" : payload.get<std::string>());
    return true;
  });
  fields.Each(kSteps, "an array of objects of strings", [&](const nlohmann::json& element) {
    if (!element.is_object() && !element.is_null()) return false;
    for (const auto& item : element.items()) {
      if (!item.value().is_string() && !item.value().is_null()) return false;
    }
    if (steps.size() >= kMaxSteps) {
      throw BadInput("more than " + std::to_string(kMaxSteps) + " steps; split the transaction");
    }
    const json_input::Fields step(element, "a step");
    steps.push_back({step.Text(kAction), step.Text(kCompensate), {}});
    if (std::string old = step.Text(kData); !old.empty()) data.push_back(std::move(old));
    return true;
  });
  payloads.insert(payloads.end(), data.begin(), data.end());
  if (payloads.size() < steps.size()) {
    throw BadInput("there are " + std::to_string(steps.size()) + " steps but only " +
                   std::to_string(payloads.size()) + " payloads; give one for each step");
  }
  for (std::size_t i = 0; i < steps.size(); ++i) steps[i].payload = std::move(payloads[i]);
  return steps;
}

/// `{"concurrent":true,"orders":{"2":[0,1]}}`, as text.
inline void SagaCustomData(const std::string& text, Definition& saga) {
  if (text.empty()) return;
  const nlohmann::json json = json_input::ParseObject(text, "custom_data");
  const json_input::Fields fields(json, "custom_data");
  saga.concurrent = fields.Bool(kConcurrent);
  const nlohmann::json* orders = fields.Find(kOrders);
  if (orders == nullptr) return;
  const char* wanted = "an object such as {\"2\":[0,1]}: step 2 comes after steps 0 and 1";
  if (!orders->is_object()) fields.Wrong(kOrders, wanted);
  for (const auto& order : orders->items()) {
    if (order.value().is_null()) continue;
    const std::optional<unsigned> number = ParseNumber<unsigned>(order.key());
    const bool fits = number && order.key().size() <= 4;
    if (!fits || !order.value().is_array()) fields.Wrong(kOrders, wanted);
    std::vector<int>& before = saga.orders[static_cast<int>(*number)];
    for (const nlohmann::json& step : order.value()) {
      const bool known = step.is_number_integer() && step >= 0 && step <= kMaxSteps;
      if (!known) fields.Wrong(kOrders, wanted);
      before.push_back(step.get<int>());
    }
  }
}

/// `{"delay":10}`, as text.
inline void MsgCustomData(const std::string& text, Definition& msg) {
  if (text.empty()) return;
  const nlohmann::json json = json_input::ParseObject(text, "custom_data");
  msg.delay = std::chrono::seconds(
      json_input::Fields(json, "custom_data").Integer(kDelay, 0, kMaxDelay.count()));
}

/// `{"name":"wf","data":"<base64>"}`, as text.
inline void WorkflowCustomData(const std::string& text, Definition& workflow) {
  const nlohmann::json json = json_input::ParseObject(text, "custom_data");
  const json_input::Fields fields(json, "custom_data");
  workflow.workflow = fields.Text(kName);
  const std::optional<std::string> data = base64::Decode(fields.Text(kData));
  if (!data) fields.Wrong(kData, "base64 text");
  workflow.data = *data;
}

}  // namespace decode

/// @throws BadInput  it is malformed, or names a function of the coordinator's program.
inline Definition DecodeTransaction(const json_input::Fields& fields) {
  Definition definition;
  definition.gid = GidOf(fields);
  definition.type = TypeNamed(fields.Text(kTransType));
  const std::string protocol = fields.Text(kProtocol);
  if (!protocol.empty() && protocol != kHttp && protocol != kJsonRpc) {
    throw BadInput("gid '" + definition.gid + "': protocol '" + Printable(protocol) +
                   "' is not spoken here; leave it empty, or say http or json-rpc");
  }
  definition.json_rpc = protocol == kJsonRpc;
  decode::Options(fields, definition.options);
  const bool concurrent = fields.Bool(kConcurrent);
  definition.query_prepared = fields.Text(kQueryPrepared);
  const std::string custom_data = fields.Text(kCustomData);
  (void)fields.Text(kRollbackReason);
  (void)fields.Texts(kReqExtra);
  std::vector<Step> steps = decode::Steps(fields);
  switch (definition.type) {
    case TransType::kSaga:  // only the `concurrent` of custom_data counts
      definition.steps = std::move(steps);
      decode::SagaCustomData(custom_data, definition);
      break;
    case TransType::kMsg:
      definition.steps = std::move(steps);
      for (Step& step : definition.steps) step.compensate.clear();
      definition.concurrent = concurrent;
      decode::MsgCustomData(custom_data, definition);
      break;
    case TransType::kWorkflow:
      if (!custom_data.empty()) decode::WorkflowCustomData(custom_data, definition);
      break;
    case TransType::kTcc:
    case TransType::kXa: break;
  }
  if (custom_data != CustomData(definition)) definition.custom_data = custom_data;
  CheckNotLocal(definition.query_prepared);
  for (const Step& step : definition.steps) {
    CheckNotLocal(step.action);
    CheckNotLocal(step.compensate);
  }
  if (definition.json_rpc) {
    for (const Step& step : definition.steps) CheckParams(step);
  }
  return definition;
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm
