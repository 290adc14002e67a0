/// Compares a transaction as a coordinator elsewhere describes it with the one that was submitted.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.5 (what the Go server leaves out on SQL and redis).
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/wire/base64.hpp>
#include <dtm/http/wire/json_input.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/registration.hpp>
#include <dtm/http/wire/write_transaction.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

namespace told {

/// By (branch_id, op): url and payload.
using Rows = std::map<std::pair<std::string, std::string>, std::pair<std::string, std::string>>;

inline Rows RowsOf(const nlohmann::json& branches) {
  Rows rows;
  for (const nlohmann::json& branch : branches) {
    rows[{branch.value(kBranchId, ""), branch.value(kOp, "")}] = {
        ShownUrl(branch.value(kUrl, "")), base64::Decode(branch.value(kBinData, "")).value_or("")};
  }
  return rows;
}

/// The rows that a saga or message must have there. False: its topics were replaced, so they are not known.
inline bool ExpectedRows(const Definition& ours, Rows& rows) {
  for (std::size_t i = 0; i < ours.steps.size(); ++i) {
    const Step& step = ours.steps[i];
    if (IsTopic(step.action)) return false;
    rows[{NumberOf(i), Name(Op::kAction)}] = {ShownUrl(step.action), step.payload};
    if (ours.type != TransType::kSaga) continue;
    rows[{NumberOf(i), Name(Op::kCompensate)}] = {ShownUrl(step.compensate), step.payload};
  }
  return true;
}

/// Servers of this library do not show credentials.
inline nlohmann::json WithShownUrls(nlohmann::json steps) {
  for (nlohmann::json& step : steps) {
    for (nlohmann::json& url : step) url = ShownUrl(url.get<std::string>());
  }
  return steps;
}

inline bool SameSteps(const Definition& ours, const nlohmann::json& transaction,
                      const nlohmann::json& branches) {
  const auto steps = transaction.find(kSteps), payloads = transaction.find(kPayloads);
  if (steps != transaction.end() && steps->is_array()) {
    return WithShownUrls(*steps) == WithShownUrls(nlohmann::json::parse(StepsJson(ours).dump())) &&
           (payloads == transaction.end() ||
            *payloads == nlohmann::json::parse(PayloadsJson(ours).dump()));
  }
  Rows rows;
  return !branches.is_array() || !ExpectedRows(ours, rows) || rows == RowsOf(branches);
}

}  // namespace told

/// SameContent, for what the reply shows: `transaction` and `branches` are those of a query.
/// @throws nlohmann::json::exception, BadInput  the reply does not have dtm's form.
inline bool MayBeSame(const Definition& ours, const nlohmann::json& transaction,
                      const nlohmann::json& branches) {
  if (transaction.value(kTransType, "") != Name(ours.type)) return false;
  if (RegistersSteps(ours.type)) return true;
  if (transaction.value(kExpired, false)) return true;  // who keeps gids has compared them
  Definition stored;
  if (ours.type == TransType::kMsg) {
    // It was prepared, and its submit need not repeat anything.
    if (!transaction.value(kQueryPrepared, "").empty()) return true;
    if (!ours.query_prepared.empty()) return false;
    stored.concurrent = ToldOptions(transaction).value(kConcurrent, false);
  } else {
    decode::SagaCustomData(transaction.value(kCustomData, ""), stored);
  }
  return stored.concurrent == ours.concurrent && stored.orders == ours.orders &&
         told::SameSteps(ours, transaction, branches);
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm
