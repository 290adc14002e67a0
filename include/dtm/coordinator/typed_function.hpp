/// From a function with a payload type of its own to one the registry can keep.
/// Needs: nlohmann/json. Threads: the result runs on any thread.
#pragma once

#include <functional>
#include <string>
#include <type_traits>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/coordinator/branch_function.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/text.hpp>

namespace dtm {
inline namespace v1 {

template <typename T>
T ParsePayload(const std::string& text) {
  if (JsonDepth(text) > kMaxJsonDepth) {
    throw Error("its payload is nested more than " + std::to_string(kMaxJsonDepth) +
                " levels deep");
  }
  try {
    return nlohmann::json::parse(text.empty() ? "null" : text).template get<T>();
  } catch (const nlohmann::json::exception& error) {
    throw Error(std::string("its payload is not what the function takes: ") + error.what());
  }
}

/// `function` takes `const T&`, or `const T&` and `const BranchInfo&`; it returns nothing (success)
/// or a Result. No payload at all is null. A payload that does not parse as T is a temporary error, not the function's
/// failure.
template <typename T, typename Function>
BranchFunction EraseType(Function function) {
  return [function = std::move(function)](const std::string& text, const Caller& caller) -> Result {
    const T payload = ParsePayload<T>(text);
    const auto invoke = [&] {
      if constexpr (std::is_invocable_v<const Function&, const T&>) {
        return function(payload);
      } else {
        return function(payload, caller.Info());
      }
    };
    using Returned = decltype(invoke());
    static_assert(std::is_void_v<Returned> || std::is_same_v<Returned, Result>,
                  "dtm: a branch function returns nothing or dtm::Result");
    return ResultOf(invoke);
  };
}

/// The same for a function that runs inside a commit: it takes `sqlite3*` before these.
template <typename T, typename Function>
TransactionFunction EraseTransactionType(Function function) {
  return [function = std::move(function)](sqlite3* db, const std::string& text,
                                          const Caller& caller) -> Result {
    return EraseType<T>([&](const T& payload, const BranchInfo& info) {
      if constexpr (std::is_invocable_v<const Function&, sqlite3*, const T&>) {
        (void)info;
        return function(db, payload);
      } else {
        return function(db, payload, info);
      }
    })(text, caller);
  };
}

}  // namespace v1
}  // namespace dtm
