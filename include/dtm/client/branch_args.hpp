/// What every builder does with a branch and a payload: checks that they fit, and turns them into text.
/// Needs: nlohmann/json. Threads: pure functions.
#pragma once

#include <string>
#include <type_traits>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/base/payload.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>

namespace dtm {
inline namespace v1 {

/// Nothing to undo in this step (or nothing to do): `.Add(notify, kNoBranch, payload)`. Note that even
/// the last step may have to be undone: it may time out, or the saga may be cancelled while it runs.
struct NoBranch {};
inline constexpr NoBranch kNoBranch{};

namespace branch_args {

template <typename Branch>
struct IsLocalBranch : std::false_type {};
template <typename T>
struct IsLocalBranch<LocalBranch<T>> : std::true_type {
  using Type = T;
};

/// Checks the type of a branch. Call it in a static_assert, so that this error is the first that the compiler reports.
template <typename Branch>
constexpr bool CheckBranch() {
  static_assert(!std::is_null_pointer_v<Branch>,
                "dtm: nullptr is no branch; where there is nothing to call write dtm::kNoBranch");
  static_assert(IsLocalBranch<Branch>::value || std::is_same_v<Branch, NoBranch> ||
                    std::is_convertible_v<Branch, std::string>,
                "dtm: a branch is a URL, a registered function, or dtm::kNoBranch");
  return true;
}

/// Checks that a branch can take this payload.
template <typename Branch, typename Payload>
constexpr bool CheckPayload() {
  static_assert(CheckBranch<Branch>());
  static_assert(
      payload::kWritable<Payload>,
      "dtm: nlohmann/json cannot write the payload; write "
      "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Type, members...) in the namespace of its type");
  if constexpr (IsLocalBranch<Branch>::value) {
    static_assert(std::is_same_v<typename IsLocalBranch<Branch>::Type, Payload>,
                  "dtm: this function was registered for another payload type");
  }
  return true;
}

template <typename Payload>
nlohmann::json Json(const Payload& payload) {
  if constexpr (payload::kWritable<Payload>) {
    return nlohmann::json(payload);
  } else {
    return {};  // CheckPayload has reported it
  }
}

/// For a branch that is called later with the payload of another one (compensation, confirm, cancel): a registered
/// function may take a type of its own, if that can be read from the same JSON.
/// @throws LogicError  it cannot. Without this check the error would come only when the branch is needed.
template <typename Payload, typename Branch>
void CheckReads(const Branch&, const std::string& gid, const std::string& where,
                const nlohmann::json& payload) {
  static_assert(CheckBranch<Branch>());
  if constexpr (IsLocalBranch<Branch>::value) {
    using Type = typename IsLocalBranch<Branch>::Type;
    if constexpr (!std::is_same_v<Type, Payload>) {
      try {
        (void)payload.get<Type>();
      } catch (const nlohmann::json::exception& error) {
        throw LogicError("gid '" + gid + "': the payload of " + where +
                         " is not what one of its functions takes: " + error.what());
      }
    }
  }
}

inline std::string Url(const Endpoint&, const std::string&, NoBranch) { return {}; }

/// @throws LogicError  the function belongs to another coordinator.
template <typename T>
std::string Url(const Endpoint& endpoint, const std::string&, const LocalBranch<T>& branch) {
  return endpoint.UrlOfLocal(branch.name, branch.registered_with);
}

/// @throws LogicError     it is the name of a function instead of what Register returned, or a null pointer.
/// @throws RejectedError  it is not a URL that can be called.
inline std::string Url(const Endpoint&, const std::string& gid, const std::string& url) {
  if (IsLocal(url)) {
    throw LogicError("gid '" + gid + "': '" + url +
                     "' names a function; pass what Register returned, so that its payload type is "
                     "checked");
  }
  const std::string problem = UrlProblem(url);
  if (!problem.empty()) throw RejectedError("gid '" + gid + "': " + problem);
  return url;
}

/// @throws LogicError, RejectedError  as above, or it is null.
inline std::string Url(const Endpoint& endpoint, const std::string& gid, const char* url) {
  if (url != nullptr) return Url(endpoint, gid, std::string(url));
  throw LogicError("gid '" + gid +
                   "': a branch is a null pointer; where there is nothing to call write kNoBranch");
}

/// The JSON text of a payload; `where` names its branch in errors.
/// @throws LogicError  JSON cannot hold it.
inline std::string Text(const std::string& gid, const std::string& where,
                        const nlohmann::json& payload) {
  return payload::Text("gid '" + gid + "': the payload of " + where, payload);
}

}  // namespace branch_args
}  // namespace v1
}  // namespace dtm
