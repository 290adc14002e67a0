/// What every builder does with a branch and a payload: checks that they fit, and turns them into text.
/// Needs: nlohmann/json. Threads: pure functions.
#pragma once

#include <string>
#include <type_traits>

#include <nlohmann/json.hpp>

#include <dtm/core/endpoint.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/local_branch.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// Nothing to undo in this step (or nothing to do): `.Add(notify, kNoBranch, payload)`. Also the
/// last step may have to be undone: when it times out or the saga is cancelled while it runs.
struct NoBranch {};
inline constexpr NoBranch kNoBranch{};

namespace branch_args {

template <typename Branch>
struct IsLocalBranch : std::false_type {};
template <typename T>
struct IsLocalBranch<LocalBranch<T>> : std::true_type {
  using Type = T;
};

template <typename Branch, typename Payload>
void CheckPayload() {
  if constexpr (IsLocalBranch<Branch>::value) {
    static_assert(std::is_same_v<typename IsLocalBranch<Branch>::Type, Payload>,
                  "dtm: this function was registered for another payload type");
  } else {
    static_assert(std::is_same_v<Branch, NoBranch> || std::is_convertible_v<Branch, std::string>,
                  "dtm: a branch is a URL, a registered function, or dtm::kNoBranch");
  }
}

inline std::string Url(const Endpoint&, const std::string&, NoBranch) { return {}; }

/// @throws LogicError  the function belongs to another coordinator.
template <typename T>
std::string Url(const Endpoint& endpoint, const std::string&, const LocalBranch<T>& branch) {
  return endpoint.UrlOfLocal(branch.name, branch.owner);
}

/// @throws LogicError  a name where a function is meant.
inline std::string Url(const Endpoint&, const std::string& gid, const std::string& url) {
  if (IsLocal(url)) {
    throw LogicError("gid '" + gid + "': '" + url +
                     "' names a function; pass what Register returned, so that its payload type is "
                     "checked");
  }
  return url;
}

/// The JSON text of a payload; `where` says of what.
/// @throws LogicError  it cannot be written.
inline std::string Text(const std::string& gid, const std::string& where,
                        const nlohmann::json& payload) {
  try {
    return payload.dump();
  } catch (const nlohmann::json::exception& error) {
    throw LogicError("gid '" + gid + "': the payload of " + where +
                     " cannot be written as JSON: " + error.what());
  }
}

}  // namespace branch_args
}  // namespace v1
}  // namespace dtm
