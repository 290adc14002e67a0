/// The names that branch calls use on the wire; nothing else spells them.
/// Needs: std. Threads: constants and pure functions. Protocol: §3 (calling branches).
#pragma once

#include <string>

#include <dtm/core/types.hpp>
#include <dtm/core/version.hpp>
#include <dtm/http/url.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

inline constexpr const char kBranchId[] = "branch_id";
inline constexpr const char kGid[] = "gid";
inline constexpr const char kOp[] = "op";
inline constexpr const char kTransType[] = "trans_type";
inline constexpr const char kJson[] = "application/json";

inline std::string UserAgent() { return std::string("dtm-cpp/") + kVersion; }

/// The request target of a branch call: who is called for joins the query that is already there.
inline std::string BranchTarget(const std::string& target, const BranchInfo& info) {
  std::string result = target;
  if (target.find('?') == std::string::npos) {
    result += '?';
  } else if (target.back() != '?' && target.back() != '&') {
    result += '&';
  }
  const auto add = [&result](const char* name, const std::string& value, const char* end) {
    result.append(name).append("=").append(PercentEncoded(value)).append(end);
  };
  add(kBranchId, info.branch_id, "&");
  add(kGid, info.gid, "&");
  add(kOp, Name(info.op), "&");
  add(kTransType, Name(info.trans_type), "");
  return result;
}

/// XA says commit and rollback with an empty POST; everything else without a payload is a GET.
inline const char* BranchMethod(TransType type, const std::string& payload) {
  return type == TransType::kXa || !payload.empty() ? "POST" : "GET";
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm
