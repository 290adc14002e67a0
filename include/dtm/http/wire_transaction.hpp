/// A transaction as clients send it: from JSON to the record, and back.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.1, §4.1 (custom_data), §11.1.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/core/limits.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/http/json_input.hpp>
#include <dtm/http/url.hpp>
#include <dtm/http/wire.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

/// As all dtm servers read a gid: these characters would break queries and logs.
inline std::string CleanGid(const std::string& gid) {
  std::string clean;
  for (const char c : gid) {
    if (c != '\n' && c != '\r' && c != ';') clean += c;
  }
  return clean;
}

/// @throws BadInput
inline std::string GidOf(const json_input::Fields& fields) {
  std::string gid = CleanGid(fields.Text(kGid));
  const std::string problem = GidProblem(gid);
  if (!problem.empty()) throw BadInput(problem);
  return gid;
}

/// @throws BadInput
inline TransType TypeNamed(const std::string& name) {
  for (const TransType type :
       {TransType::kSaga, TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    if (name == Name(type)) return type;
  }
  throw BadInput("trans_type '" + Printable(name) +
                 "' is none of saga, msg, tcc, xa and workflow; say what the transaction is");
}

/// @throws BadInput
inline Op OpNamed(const std::string& name) {
  for (const Op op : {Op::kAction, Op::kCompensate}) {
    if (name == Name(op)) return op;
  }
  throw BadInput("op '" + Printable(name) + "' is neither action nor compensate");
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
    const bool digits = !order.key().empty() && order.key().size() <= 4 &&
                        order.key().find_first_not_of("0123456789") == std::string::npos;
    if (!digits || !order.value().is_array()) fields.Wrong(kOrders, wanted);
    std::vector<int>& before = saga.orders[std::stoi(order.key())];
    for (const nlohmann::json& step : order.value()) {
      const bool fits = step.is_number_integer() && step >= 0 && step <= kMaxSteps;
      if (!fits) fields.Wrong(kOrders, wanted);
      before.push_back(step.get<int>());
    }
  }
}

/// What could not be called is refused now, not tried for ever.
inline void CheckUrl(const std::string& url) {
  if (url.empty()) return;
  if (IsLocal(url)) {
    throw BadInput("'" + Printable(Truncated(url, 200)) +
                   "' names a function of the coordinator's program; from outside a branch is a "
                   "URL");
  }
  try {
    (void)ParseUrl(url);
  } catch (const Error& error) {
    throw BadInput(error.what());
  }
}

}  // namespace decode

/// @throws BadInput  it has another form, or nobody could carry it out.
inline Definition DecodeTransaction(const json_input::Fields& fields) {
  Definition definition;
  definition.gid = GidOf(fields);
  definition.type = TypeNamed(fields.Text(kTransType));
  const std::string protocol = fields.Text(kProtocol);
  if (!protocol.empty() && protocol != kHttp) {
    throw BadInput("gid '" + definition.gid + "': protocol '" + Printable(protocol) +
                   "' is not spoken here; leave it empty or say http");
  }
  decode::Options(fields, definition.options);
  (void)fields.Bool(kConcurrent);  // of a saga only that of custom_data counts
  (void)fields.Text(kQueryPrepared);
  (void)fields.Text(kRollbackReason);
  (void)fields.Texts(kReqExtra);
  definition.steps = decode::Steps(fields);
  decode::SagaCustomData(fields.Text(kCustomData), definition);
  for (const Step& step : definition.steps) {
    decode::CheckUrl(step.action);
    decode::CheckUrl(step.compensate);
  }
  const std::string problem = Problem(definition);
  if (!problem.empty()) throw BadInput(problem);
  return definition;
}

/// Empty unless the saga is concurrent: dtm's clients build it only then.
inline std::string CustomData(const Definition& saga) {
  if (!saga.concurrent) return {};
  nlohmann::ordered_json json = {{kConcurrent, true}};
  nlohmann::ordered_json orders = nlohmann::ordered_json::object();
  for (const auto& order : saga.orders) orders[std::to_string(order.first)] = order.second;
  json[kOrders] = std::move(orders);
  return json.dump();
}

/// The options that are set, under their names.
inline void AddOptions(const Definition& definition, nlohmann::ordered_json& json) {
  const TransOptions& options = definition.options;
  const auto add = [&json](const char* key, std::int64_t value) {
    if (value != 0) json[key] = value;
  };
  if (options.wait_result) json[kWaitResult] = true;
  add(kTimeoutToFail, options.timeout_to_fail.count());
  add(kRequestTimeout, options.request_timeout.count());
  add(kRetryInterval, options.retry_interval.count());
  if (!options.branch_headers.empty()) json[kBranchHeaders] = options.branch_headers;
  json[kConcurrent] = definition.concurrent;
  add(kRetryLimit, options.retry_limit);
}

inline nlohmann::ordered_json StepsJson(const Definition& definition) {
  auto steps = nlohmann::ordered_json::array();
  for (const Step& step : definition.steps) {
    steps.push_back({{kAction, step.action}, {kCompensate, step.compensate}});
  }
  return steps;
}

inline nlohmann::ordered_json PayloadsJson(const Definition& definition) {
  auto payloads = nlohmann::ordered_json::array();
  for (const Step& step : definition.steps) payloads.push_back(step.payload);
  return payloads;
}

/// The body of a submit, byte for byte as dtm's clients send it (§11.1).
inline std::string EncodeTransaction(const Definition& definition) {
  nlohmann::ordered_json json = {{kGid, definition.gid}, {kTransType, Name(definition.type)}};
  const std::string custom_data = CustomData(definition);
  if (!custom_data.empty()) json[kCustomData] = custom_data;
  AddOptions(definition, json);
  if (!definition.steps.empty()) {
    json[kSteps] = StepsJson(definition);
    json[kPayloads] = PayloadsJson(definition);
  }
  json[kProtocol] = "";
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm
