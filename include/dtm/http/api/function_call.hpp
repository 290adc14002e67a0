/// A registered function of this program as a branch of a coordinator elsewhere, which calls it over HTTP.
/// Needs: nlohmann/json. Threads: thread-safe; the function runs in this thread. Protocol: §1 (rule A), §3.
#pragma once

#include <exception>
#include <string>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>
#include <dtm/http/api/branch_reply.hpp>
#include <dtm/http/api/head.hpp>
#include <dtm/http/api/replies.hpp>
#include <dtm/http/http1/request_reply.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/observe/trace_context.hpp>

namespace dtm {
inline namespace v1 {
namespace api_function {

inline constexpr const char kPath[] = "/api/dtmsvr/branch/";  ///< and the name of the function

/// @throws BadInput, RejectedError  the call is incomplete, or there is no such function.
inline Result Call(Coordinator& tm, const ApiRequest& request) {
  const std::string name = request.path.substr(sizeof kPath - 1);
  BranchInfo info;
  info.gid = request.Query(wire::kGid);
  info.branch_id = request.Query(wire::kBranchId);
  if (info.gid.empty() || info.branch_id.empty()) {
    throw BadInput("a branch call names gid, trans_type, branch_id and op in its query");
  }
  info.trans_type = wire::TypeNamed(request.Query(wire::kTransType));
  const std::string op = request.Query(wire::kOp);
  if (info.trans_type == TransType::kWorkflow && info.branch_id == "00" && !op.empty()) {
    info.op = Op::kResume;  // a coordinator says the name of the workflow where the op is
    info.workflow = op;
  } else {
    info.op = wire::OpNamed(op);
  }
  if (api_head::CountHeaders(request, kTraceParent) == 1) {
    const auto trace = ReadTraceContext(http1::FindHeader(request.headers, kTraceParent),
                                        api_head::JoinedHeader(request, kTraceState));
    if (trace) Put(*trace, info);
  }
  return tm.CallFunction(name, request.body, info);
}

/// The caller gets exactly the meaning of the status, whatever names and texts the body contains.
inline ApiReply Reply(Coordinator& tm, const ApiRequest& request) {
  ApiReply reply;
  try {
    reply = replies::OfBranch(Call(tm, request));
  } catch (...) {
    reply = replies::Of(InHttp(OutcomeOf(std::current_exception())));
    replies::HideWords(reply);
  }
  return reply;
}

}  // namespace api_function
}  // namespace v1
}  // namespace dtm
