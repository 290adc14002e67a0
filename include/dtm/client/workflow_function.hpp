/// Checks the functions, steps and callbacks of workflows, and turns their results into text.
/// Needs: nlohmann/json. Threads: one thread at a time for each function that is returned.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/callable.hpp>
#include <dtm/base/payload.hpp>
#include <dtm/client/branch_args.hpp>
#include <dtm/client/sub_branches.hpp>
#include <dtm/client/workflow_ledger.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/result.hpp>

namespace dtm {
inline namespace v1 {

class Workflow;

namespace workflow_function {

/// A workflow, which returns nothing or a text.
template <typename T, typename Function>
std::function<std::string(Workflow&, const T&)> Erase(Function function) {
  static_assert(payload::kReadable<T> && payload::kWritable<T>,
                "dtm: nlohmann/json has to read and to write the data T of RegisterWorkflow<T>; "
                "write NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(T, members...) in the namespace of T");
  static_assert(callable::Check<Function, Workflow&, const T&>(),
                "dtm: a workflow takes `dtm::Workflow&` and `const T&`, where T is the data of "
                "RegisterWorkflow<T>");
  return callable::Keep<std::string(Workflow&, const T&)>(
      [function = std::move(function)](Workflow& workflow, const T& data) -> std::string {
        if constexpr (callable::kFits<Function, Workflow&, const T&>) {
          using Returned = std::invoke_result_t<const Function&, Workflow&, const T&>;
          constexpr bool text = std::is_constructible_v<std::string, Returned>;
          static_assert(std::is_void_v<Returned> || text,
                        "dtm: a workflow returns nothing or a text");
          if constexpr (std::is_void_v<Returned>) {
            function(workflow, data);
          } else if constexpr (text) {
            return std::string(function(workflow, data));
          }
        }
        return {};
      });
}

/// The result of a step as JSON text.
/// @throws NotKept  JSON cannot hold it; the step was done, so it is not done again.
template <typename Returned>
std::string Written(const Returned& returned, const std::string& where) {
  static_assert(
      payload::kWritable<Returned>,
      "dtm: nlohmann/json cannot write what the step returns; write "
      "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Type, members...) in the namespace of its type");
  try {
    return payload::Text(where + ": what the step returned", branch_args::Json(returned));
  } catch (const std::exception& error) {
    throw NotKept{error.what()};
  }
}

/// Runs a step, and returns its result as the text to record. `where` names its branch.
/// @throws what it threw, or the exception that its Result stands for.
template <typename Step>
std::string Answer(const Step& step, const std::string& where) {
  static_assert(callable::Check<Step>(),
                "dtm: a step of a workflow takes nothing; capture what it needs");
  if constexpr (callable::kFits<Step>) {
    using Returned = std::decay_t<std::invoke_result_t<const Step&>>;
    if constexpr (std::is_void_v<Returned>) {
      step();
    } else if constexpr (std::is_same_v<Returned, Result>) {
      return BodyOf(step(), where);
    } else if constexpr (std::is_convertible_v<Returned, std::string> &&
                         !std::is_same_v<Returned, nlohmann::json>) {
      return step();
    } else {
      return Written(step(), where);
    }
  }
  return {};
}

/// A callback: it returns nothing or Result.
template <typename Function>
std::function<void()> Callback(Function function, const std::string& where) {
  static_assert(callable::CheckMutable<Function>(),
                "dtm: a callback of a workflow takes nothing; capture what it needs");
  if constexpr (callable::kFitsMutable<Function>) {
    using Returned = std::invoke_result_t<Function&>;
    const std::function<Returned()> kept = callable::Keep<Returned()>(std::move(function));
    return [kept, what = where + ": its callback"] { (void)BodyOf(ResultOf(kept), what); };
  } else {
    return {};
  }
}

/// A callback that runs in both cases and is told whether the workflow succeeded.
template <typename Function>
auto Finish(Function finish) {
  static_assert(callable::CheckMutable<Function, bool>(),
                "dtm: the callback of OnFinish takes bool: whether the workflow succeeded");
  if constexpr (callable::kFitsMutable<Function, bool>) {
    using Returned = std::invoke_result_t<Function&, bool>;
    return callable::Keep<Returned(bool)>(std::move(finish));
  } else {
    return std::function<void(bool)>();
  }
}

}  // namespace workflow_function
}  // namespace v1
}  // namespace dtm
