/// A transaction as dtm's clients send it: from the record to JSON. read_transaction.hpp does the opposite.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.1, §4.1 (custom_data), §11.1.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/core/transaction.hpp>
#include <dtm/http/wire/base64.hpp>
#include <dtm/http/wire/names.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

/// As the client sent it; otherwise as dtm's clients would.
inline std::string CustomData(const Definition& saga) {
  if (!saga.custom_data.empty()) return saga.custom_data;
  if (saga.type == TransType::kMsg && saga.delay.count() > 0) {
    return nlohmann::json{{kDelay, saga.delay.count()}}.dump();
  }
  if (saga.type == TransType::kWorkflow) {
    return nlohmann::json{{kName, saga.workflow}, {kData, base64::Encode(saga.data)}}.dump();
  }
  // dtm's clients write it only for concurrent sagas. Orders of a sequential saga have no effect, but are part of its content.
  if (saga.type != TransType::kSaga || (!saga.concurrent && saga.orders.empty())) return {};
  nlohmann::ordered_json json = {{kConcurrent, saga.concurrent}};
  nlohmann::ordered_json orders = nlohmann::ordered_json::object();
  for (const auto& order : saga.orders) orders[std::to_string(order.first)] = order.second;
  json[kOrders] = std::move(orders);
  return json.dump();
}

/// Adds the options that are set.
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
  if (definition.type == TransType::kMsg) {
    for (const auto& step : SubmittedSteps(definition)) steps.push_back({{kAction, step.first}});
    return steps;
  }
  for (const Step& step : definition.steps) {
    steps.push_back({{kAction, step.action}, {kCompensate, step.compensate}});
  }
  return steps;
}

inline nlohmann::ordered_json PayloadsJson(const Definition& definition) {
  auto payloads = nlohmann::ordered_json::array();
  if (definition.type == TransType::kMsg) {
    for (const auto& step : SubmittedSteps(definition)) payloads.push_back(step.second);
    return payloads;
  }
  for (const Step& step : definition.steps) payloads.push_back(step.payload);
  return payloads;
}

/// The body of a submit and its like, byte for byte as dtm's clients send it (§11.1); `more` comes last.
inline std::string EncodeTransaction(const Definition& definition,
                                     const nlohmann::ordered_json& more = {}) {
  nlohmann::ordered_json json = {{kGid, definition.gid}, {kTransType, Name(definition.type)}};
  const std::string custom_data = CustomData(definition);
  if (!custom_data.empty()) json[kCustomData] = custom_data;
  AddOptions(definition, json);
  if (!definition.steps.empty() && !RegistersSteps(definition.type)) {
    json[kSteps] = StepsJson(definition);
    json[kPayloads] = PayloadsJson(definition);
  }
  if (!definition.query_prepared.empty()) json[kQueryPrepared] = definition.query_prepared;
  json[kProtocol] = definition.type == TransType::kWorkflow ? kHttp
                    : definition.json_rpc                   ? kJsonRpc
                                                            : "";
  for (const auto& item : more.items()) json[item.key()] = item.value();
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm
