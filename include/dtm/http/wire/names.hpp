/// All names that are used on the wire.
/// Needs: std. Threads: constants and pure functions. Protocol: §2 (HTTP API), §3 (calling
/// branches).
#pragma once

#include <string>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/base/version.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/url.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

inline constexpr const char kBranchId[] = "branch_id";
inline constexpr const char kGid[] = "gid";
inline constexpr const char kOp[] = "op";
inline constexpr const char kTransType[] = "trans_type";
inline constexpr const char kJson[] = "application/json";

// Of a transaction, as clients send it and as query shows it.
inline constexpr const char kSteps[] = "steps";
inline constexpr const char kAction[] = "action";
inline constexpr const char kCompensate[] = "compensate";
inline constexpr const char kData[] = "data";
inline constexpr const char kPayloads[] = "payloads";
inline constexpr const char kCustomData[] = "custom_data";
inline constexpr const char kConcurrent[] = "concurrent";
inline constexpr const char kOrders[] = "orders";
inline constexpr const char kWaitResult[] = "wait_result";
inline constexpr const char kTimeoutToFail[] = "timeout_to_fail";
inline constexpr const char kRequestTimeout[] = "request_timeout";
inline constexpr const char kRetryInterval[] = "retry_interval";
inline constexpr const char kRetryLimit[] = "retry_limit";
inline constexpr const char kRetryCount[] = "retry_count";
inline constexpr const char kBranchHeaders[] = "branch_headers";
inline constexpr const char kProtocol[] = "protocol";
inline constexpr const char kQueryPrepared[] = "query_prepared";
inline constexpr const char kDelay[] = "delay";
inline constexpr const char kName[] = "name";
inline constexpr const char kResult[] = "result";
inline constexpr const char kReqExtra[] = "req_extra";
inline constexpr const char kRollbackReason[] = "rollback_reason";
inline constexpr const char kWho[] = "who";
inline constexpr const char kWhy[] = "why";
inline constexpr const char kStatus[] = "status";
inline constexpr const char kId[] = "id";
inline constexpr const char kCreateTime[] = "create_time";
inline constexpr const char kUpdateTime[] = "update_time";
inline constexpr const char kFinishTime[] = "finish_time";
inline constexpr const char kRollbackTime[] = "rollback_time";
inline constexpr const char kOptions[] = "options";
inline constexpr const char kNotShown[] = "***";  ///< instead of the value of a header
inline constexpr const char kNextCronInterval[] = "next_cron_interval";
inline constexpr const char kNextCronTime[] = "next_cron_time";
inline constexpr const char kRollbackFrom[] = "rollback_from";
inline constexpr const char kLastError[] = "last_error";
inline constexpr const char kStuck[] = "stuck";
inline constexpr const char kUrl[] = "url";
inline constexpr const char kBinData[] = "bin_data";

// Of replies.
inline constexpr const char kDtmResult[] = "dtm_result";
inline constexpr const char kSuccess[] = "SUCCESS";
inline constexpr const char kFailure[] = "FAILURE";
inline constexpr const char kOngoing[] = "ONGOING";
inline constexpr const char kMessage[] = "message";
inline constexpr const char kExpired[] = "expired";
inline constexpr const char kRejected[] = "rejected";
inline constexpr const char kError[] = "error";
inline constexpr const char kTransaction[] = "transaction";
inline constexpr const char kTransactions[] = "transactions";
inline constexpr const char kBranches[] = "branches";
inline constexpr const char kNextPosition[] = "next_position";
inline constexpr const char kProgresses[] = "progresses";
inline constexpr const char kHttp[] = "http";
inline constexpr const char kJsonRpc[] = "json-rpc";

// Of a branch that is registered.
inline constexpr const char kConfirm[] = "confirm";
inline constexpr const char kCancel[] = "cancel";
inline constexpr const char kSync[] = "sync";

// Of an alert.
inline constexpr const char kBranch[] = "branch";

// Of topics and values.
inline constexpr const char kTopic[] = "topic";
inline constexpr const char kRemark[] = "remark";
inline constexpr const char kCategory[] = "cat";
inline constexpr const char kKey[] = "key";
inline constexpr const char kPosition[] = "position";
inline constexpr const char kLimit[] = "limit";
inline constexpr const char kValues[] = "kv";

// In the query of calls that initiators make themselves.

inline std::string UserAgent() { return std::string("dtm-cpp/") + kVersion; }

/// @throws BadInput
inline TransType TypeNamed(const std::string& name) {
  for (const TransType type :
       {TransType::kSaga, TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    if (name == Name(type)) return type;
  }
  throw BadInput("trans_type '" + Printable(name) +
                 "' is none of saga, msg, tcc, xa and workflow; say what the transaction is");
}

/// As a coordinator reports it; a status that is not known here counts as unfinished.
inline Status StatusNamed(const std::string& name) {
  for (const Status status :
       {Status::kPrepared, Status::kAborting, Status::kSucceed, Status::kFailed}) {
    if (name == Name(status)) return status;
  }
  return Status::kSubmitted;
}

/// @throws BadInput
inline Op OpNamed(const std::string& name) {
  for (const Op op : {Op::kAction, Op::kCompensate, Op::kTry, Op::kConfirm, Op::kCancel,
                      Op::kCommit, Op::kRollback, Op::kMsg, Op::kBusiness}) {
    if (name == Name(op)) return op;
  }
  throw BadInput("op '" + Printable(name) +
                 "' is none of action, compensate, try, confirm, cancel, commit, rollback, msg and "
                 "business");
}

/// The request target of a branch call: gid, branch_id, op and trans_type are added to the query that is there.
inline std::string BranchTarget(const std::string& target, const BranchInfo& info) {
  std::string result = WithQueryOpen(target);
  const auto add = [&result](const char* name, const std::string& value, const char* end) {
    result.append(name).append("=").append(PercentEncoded(value)).append(end);
  };
  add(kBranchId, info.branch_id, "&");
  add(kGid, info.gid, "&");
  add(kOp, info.op == Op::kResume ? info.workflow : Name(info.op), "&");
  add(kTransType, Name(info.trans_type), "");
  return result;
}

/// Commit and rollback of an xa are empty POSTs; any other call without a payload is a GET.
inline const char* BranchMethod(TransType type, const std::string& payload) {
  return type == TransType::kXa || !payload.empty() ? "POST" : "GET";
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm
