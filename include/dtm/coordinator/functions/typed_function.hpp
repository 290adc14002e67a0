/// Turns a function with its own payload type into one that the registry can keep.
/// Needs: nlohmann/json. Threads: the result runs on any thread; the function has to allow that.
#pragma once

#include <string>
#include <type_traits>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/callable.hpp>
#include <dtm/base/error.hpp>
#include <dtm/base/payload.hpp>
#include <dtm/base/text.hpp>
#include <dtm/coordinator/functions/branch_function.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/work_context.hpp>

namespace dtm {
inline namespace v1 {

/// @throws Error  it is no JSON, nested too deep, or no T.
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

namespace typed_function {

template <typename T, typename Function, typename... Before>
inline constexpr bool kPlain = callable::kFits<Function, Before..., const T&>;
template <typename T, typename Function, typename... Before>
inline constexpr bool kFits = kPlain<T, Function, Before...> ||
                              callable::kFits<Function, Before..., const T&, const BranchInfo&>;
template <typename T, typename Function, typename... Before>
inline constexpr bool kFitsMutable =
    callable::kFitsMutable<Function, Before..., const T&> ||
    callable::kFitsMutable<Function, Before..., const T&, const BranchInfo&>;

/// `Before` is nothing, or WorkContext for a function inside a commit, which takes it as the connection it is.
template <typename T, typename Function, typename... Before>
constexpr void Check() {
  static_assert(payload::kReadable<T>,
                "dtm: nlohmann/json cannot read the payload type T of Register<T>; write "
                "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(T, members...) in the namespace of T");
  constexpr bool in_commit = sizeof...(Before) > 0;
  // The same function for the other kind of registration.
  constexpr bool other = in_commit ? kFits<T, Function> : kFits<T, Function, const WorkContext&>;
  constexpr bool ours = kFits<T, Function, Before...> || kFitsMutable<T, Function, Before...>;
  static_assert(ours || !other || !in_commit,
                "dtm: a function of RegisterInTransaction takes the store's connection first: "
                "[](sqlite3* db, const T& payload)");
  static_assert(ours || !other || in_commit,
                "dtm: a function that takes a connection is registered with RegisterInTransaction");
  static_assert((other && !ours) || callable::Check<Function, kFits<T, Function, Before...>,
                                                    kFitsMutable<T, Function, Before...>>(),
                "dtm: a branch function takes `const T&`, or `const T&` and "
                "`const dtm::BranchInfo&`, where T is the payload type of Register<T>");
}

template <typename T, typename Function, typename... Before>
Result Call(const Function& function, const std::string& text, const Caller& caller,
            Before... before) {
  if constexpr (payload::kReadable<T> && kFits<T, Function, Before...>) {
    const T payload = ParsePayload<T>(text);
    if constexpr (kPlain<T, Function, Before...>) {
      return ResultOf(function, before..., payload);
    } else {
      return ResultOf(function, before..., payload, caller.Info());
    }
  } else {
    return Result::Success();  // Check has said what is wrong
  }
}

}  // namespace typed_function

/// `function` takes `const T&`, or `const T&` and `const BranchInfo&`; it returns nothing (success)
/// or a Result. An empty function stays empty. No payload is null. A payload that cannot be read as T is a temporary
/// error, not a Failure.
template <typename T, typename Function>
BranchFunction EraseType(Function function) {
  typed_function::Check<T, Function>();
  if (callable::Empty(function)) return {};
  return callable::Keep<Result(const std::string&, const Caller&)>(
      [function = std::move(function)](const std::string& text, const Caller& caller) {
        return typed_function::Call<T>(function, text, caller);
      });
}

/// The same for a function that runs inside a commit: it takes the store's connection before these.
template <typename T, typename Function>
TransactionFunction EraseTransactionType(Function function) {
  typed_function::Check<T, Function, const WorkContext&>();
  if (callable::Empty(function)) return {};
  return callable::Keep<Result(const WorkContext&, const std::string&, const Caller&)>(
      [function = std::move(function)](const WorkContext& context, const std::string& text,
                                       const Caller& caller) {
        return typed_function::Call<T, Function, const WorkContext&>(function, text, caller,
                                                                     context);
      });
}

}  // namespace v1
}  // namespace dtm
