/// JSON-RPC 2.0 as dtm uses it for branches: the body of a call, and the result that a reply stands for.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §1 (results), §3 (JSON-RPC call), §12 W8, W32.
#pragma once

#include <algorithm>
#include <string>

#include <nlohmann/json.hpp>

#include <dtm/base/text.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/wire/json_input.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/reply_rule.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {
namespace json_rpc {

inline constexpr int kFailureCode = -32901;
inline constexpr int kOngoingCode = -32902;

/// The value of `method` in the url's query; empty if there is none.
inline std::string MethodOf(const Url& url) {
  if (!url.Http()) return {};
  const std::string query = url.target.substr((std::min)(url.target.find('?'), url.target.size()));
  for (const char* key : {"?method=", "&method="}) {
    const std::size_t at = query.find(key);
    if (at == std::string::npos) continue;
    const std::size_t begin = at + std::string(key).size();
    return PercentDecoded(query.substr(begin, query.find('&', begin) - begin));
  }
  return {};
}

inline bool Speaks(const Definition& definition, const Url& url) {
  return definition.json_rpc && !MethodOf(url).empty();
}

/// The payload as the params of a call.
/// @throws BadInput  it is not a JSON object, so gid, branch_id and op cannot be added.
inline nlohmann::json Params(const std::string& payload) {
  return json_input::ParseObject(payload.empty() ? "{}" : payload,
                                 "the payload of a JSON-RPC branch");
}

/// @throws BadInput  as Params.
inline std::string BranchBody(const Url& url, const std::string& payload, const BranchInfo& info) {
  nlohmann::json params = Params(payload);
  params[wire::kGid] = info.gid;
  params[wire::kTransType] = Name(info.trans_type);
  params[wire::kBranchId] = info.branch_id;
  params[wire::kOp] = Name(info.op);
  return nlohmann::json{{"jsonrpc", "2.0"},
                        {"id", info.gid + "-" + info.branch_id + "-" + Name(info.op)},
                        {"method", MethodOf(url)},
                        {"params", std::move(params)}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// The words of Rule A in the body count first, as everywhere; then the code of the error.
inline Result ReadReply(int status, const std::string& body) {
  Result plain = wire::ReadReply(status, body);
  if (plain.kind != Result::Kind::kSuccess) return plain;
  const nlohmann::json reply = json_input::Parse(body);
  if (!reply.is_object())
    return Result::Error("its answer is no JSON object, or nested too deeply: " +
                         StorableText(body));
  const auto error = reply.find("error");
  if (error == reply.end() || error->is_null()) return plain;
  const nlohmann::json code = error->is_object() ? error->value("code", nlohmann::json()) : nullptr;
  const std::string text = StorableText(body);
  if (code == kFailureCode) return Result::Failure(OwnWords(body));
  if (code == kOngoingCode) return Result::Ongoing(text);
  return Result::Error(text);
}

}  // namespace json_rpc
}  // namespace wire
}  // namespace v1
}  // namespace dtm
