/// From a function with a payload type of its own to one the registry can keep.
/// Needs: nlohmann/json. Threads: the result runs on any thread.
#pragma once

#include <functional>
#include <string>
#include <type_traits>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/coordinator/functions.hpp>
#include <dtm/core/result.hpp>

namespace dtm {
inline namespace v1 {

/// `function` takes `const T&`, or `const T&` and `const BranchInfo&`; it returns nothing (success)
/// or a Result. No payload at all is null. A payload that does not parse as T is a temporary error, not the function's
/// failure.
template <typename T, typename Function>
BranchFunction EraseType(Function function) {
  return [function = std::move(function)](const std::string& text, const Caller& caller) -> Result {
    const T payload = [&text] {
      try {
        return nlohmann::json::parse(text.empty() ? "null" : text).template get<T>();
      } catch (const nlohmann::json::exception& error) {
        throw Error(std::string("its payload is not what the function takes: ") + error.what());
      }
    }();
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
    if constexpr (std::is_void_v<Returned>) {
      invoke();
      return Result::Success();
    } else {
      return invoke();
    }
  };
}

}  // namespace v1
}  // namespace dtm
