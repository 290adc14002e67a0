/// A stored transaction as query and all show it.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.5 (JSON objects).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>

#include <nlohmann/json.hpp>

#include <dtm/core/in_words.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/wire/base64.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/write_transaction.hpp>
#include <dtm/text/time_text.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

using v1::TimeText;

/// Values of headers may be credentials, and URLs may contain some; credentials are not shown. A trace is none, and a
/// workflow that is resumed elsewhere stays in it.
inline Definition Redacted(const Definition& definition) {
  Definition shown = definition;
  for (auto& [name, value] : shown.options.branch_headers) {
    if (!IsTraceHeader(name)) value = kNotShown;
  }
  shown.query_prepared = ShownUrl(shown.query_prepared);
  for (Step& step : shown.steps) {
    step.action = ShownUrl(step.action);
    step.compensate = ShownUrl(step.compensate);
  }
  return shown;
}

/// Old records (store format 1) do not have the time of their last change.
inline Time UpdateTime(const Transaction& transaction) {
  return IsFinal(transaction.status) ? transaction.finished
                                     : (std::max)(transaction.created, transaction.updated);
}

/// `interval`: the present wait between tries.
inline nlohmann::ordered_json TransactionJson(const Transaction& transaction, Duration interval) {
  const Definition definition = Redacted(*transaction.definition);
  const Status status = transaction.status;
  nlohmann::ordered_json json = {{kId, transaction.id},
                                 {kCreateTime, TimeText(transaction.created)},
                                 {kUpdateTime, TimeText(UpdateTime(transaction))},
                                 {kGid, definition.gid},
                                 {kTransType, Name(definition.type)}};
  if (!definition.steps.empty() && !RegistersSteps(definition.type)) {
    json[kSteps] = StepsJson(definition);
    json[kPayloads] = PayloadsJson(definition);
  }
  json[kStatus] = Name(status);
  if (transaction.expired) json[kExpired] = true;
  if (!definition.query_prepared.empty()) json[kQueryPrepared] = definition.query_prepared;
  json[kProtocol] = definition.json_rpc ? kJsonRpc : kHttp;
  if (IsFinal(status)) {
    json[status == Status::kSucceed ? kFinishTime : kRollbackTime] = TimeText(transaction.finished);
  }
  if (!transaction.result.empty()) json[kResult] = base64::Encode(transaction.result);
  if (!transaction.reason.empty()) json[kRollbackReason] = transaction.reason;
  nlohmann::ordered_json options = nlohmann::ordered_json::object();
  AddOptions(definition, options);
  json[kOptions] = options.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const std::string custom_data = CustomData(definition);
  if (!custom_data.empty()) json[kCustomData] = custom_data;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(interval).count();
  if (seconds > 0) json[kNextCronInterval] = seconds;
  if (!IsFinal(status) && transaction.due != kNever) {
    json[kNextCronTime] = TimeText(transaction.due);
  }
  AddOptions(definition, json);
  if (transaction.retry_count > 0) json[kRetryCount] = transaction.retry_count;
  // Fields of this library only come last.
  if (const std::string from = ReasonFrom(transaction); !from.empty()) json[kRollbackFrom] = from;
  if (!transaction.last_error.empty()) json[kLastError] = transaction.last_error;
  if (transaction.stuck && transaction.due == kNever && !IsFinal(status)) json[kStuck] = true;
  return json;
}

inline nlohmann::ordered_json BranchesJson(const Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  auto branches = nlohmann::ordered_json::array();
  const std::size_t first = HasQueryRow(definition.type) ? DeliveryOf(0) : 0;
  for (std::size_t i = first; i < transaction.branches.size(); ++i) {
    const Branch& branch = transaction.branches[i];
    const bool finished = branch.finished != Time{};
    nlohmann::ordered_json json = {
        {kId, 0},
        {kCreateTime, TimeText(transaction.created)},
        {kUpdateTime, TimeText(finished ? branch.finished : transaction.created)},
        {kGid, definition.gid}};
    const std::string url = ShownUrl(UrlOf(definition, i));
    if (!url.empty()) json[kUrl] = url;
    const std::string& payload = PayloadOf(definition, i);
    if (!payload.empty()) json[kBinData] = base64::Encode(payload);
    json[kBranchId] = BranchIdOf(definition, i);
    json[kOp] = Name(OpOf(definition, i));
    json[kStatus] = Name(branch.status);
    if (finished) json[kFinishTime] = TimeText(branch.finished);
    const std::string& name = definition.steps[StepOf(definition.type, i)].topic;
    if (definition.type == TransType::kWorkflow && !name.empty()) json[kName] = name;
    branches.push_back(std::move(json));
  }
  return branches;
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm
