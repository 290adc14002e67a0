/// The result of a branch call, and how a transaction ended.
/// Needs: std. Threads: values only. Protocol: §1 (results).
#pragma once

#include <exception>
#include <string>
#include <type_traits>
#include <utility>

#include <dtm/base/callable.hpp>
#include <dtm/base/error.hpp>
#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

/// The result of one branch call. A branch function returns Success, Failure or Ongoing; callers report
/// the other two when there was no such result.
struct Result {
  /// What the caller has to do next.
  enum class Kind {
    kSuccess,  ///< done
    kFailure,  ///< definite business failure: roll back, never call this again
    kOngoing,  ///< in progress: ask again after the retry interval
    kError,    ///< no definite result; it may have run: call again, with growing waits
    kNotSent   ///< the call certainly did not start (no handler, no free slot): try again later
  };

  Kind kind = Kind::kSuccess;
  std::string text;
  bool done = false;  ///< kError: it was done all the same, only its text cannot be used
  /// Of Ongoing and Error: it is not called again before this time has passed (at most an hour), nor before the usual wait.
  Duration retry_after{};
  bool no_handler = false;  ///< kNotSent: this program has no function or caller for it
  bool at_once = false;     ///< kNotSent: it did not begin, and is tried again without a wait

  /// It is done, with nothing to say.
  static Result Success() { return {Kind::kSuccess, {}}; }
  /// It can never be done, and had no effect: the transaction is rolled back.
  static Result Failure(std::string reason) { return {Kind::kFailure, std::move(reason)}; }
  /// It is not finished: call again after the retry interval.
  static Result Ongoing(std::string text = {}) { return {Kind::kOngoing, std::move(text)}; }
  /// It may have run or not: call again, with growing waits.
  static Result Error(std::string text) { return {Kind::kError, std::move(text)}; }
  /// It certainly did not run: try again later.
  static Result NotSent(std::string why) { return {Kind::kNotSent, std::move(why)}; }
  /// NotSent, since this program has nothing that can call it.
  static Result NoHandler(std::string why) {
    Result result = NotSent(std::move(why));
    result.no_handler = true;
    return result;
  }
};

/// Calls user code that returns nothing (success) or a Result.
template <typename Function, typename... Arguments>
Result ResultOf(const Function& function, Arguments&&... arguments) {
  static_assert(callable::Check<Function, Arguments...>(),
                "dtm: the function does not take what it is called with");
  if constexpr (callable::kFits<Function, Arguments...>) {
    using Returned = std::decay_t<std::invoke_result_t<const Function&, Arguments...>>;
    static_assert(std::is_void_v<Returned> || std::is_same_v<Returned, Result>,
                  "dtm: the function returns nothing or dtm::Result");
    if constexpr (std::is_void_v<Returned>) {
      function(std::forward<Arguments>(arguments)...);
    } else if constexpr (std::is_same_v<Returned, Result>) {
      return function(std::forward<Arguments>(arguments)...);
    }
  }
  return Result::Success();
}

/// Runs user code and turns whatever it throws into a result; without memory for that, into an error.
template <typename Function>
Result CatchAsResult(const Function& function) noexcept {
  try {
    try {
      return function();
    } catch (const FailureError& error) {
      return Result::Failure(error.what());
    } catch (const OngoingError& error) {
      return {Result::Kind::kOngoing, error.what(), false, error.retry_after};
    } catch (const Error& error) {
      return {Result::Kind::kError, error.what(), false, error.retry_after};
    }
  } catch (...) {
    return Result::Error(WhatWasThrown());
  }
}

/// The durable state of a transaction.
struct TransResult {
  std::string gid;
  Status status = Status::kSubmitted;
  std::string
      reason;  ///< why it was rolled back: the text of the branch, or of the one who cancelled it
  std::string
      reason_from{};  ///< the branch that gave the reason, with its op and url; empty: not a branch
  std::string
      last_error{};  ///< of the last call that did not succeed, even if a later one did; for people

  /// Succeeded or failed: nothing more will be called.
  bool Finished() const { return IsFinal(status); }
  /// Every step was done.
  bool Succeeded() const { return status == Status::kSucceed; }
  /// It was rolled back, or stopped by a person.
  bool Failed() const { return status == Status::kFailed; }
};

/// The text of a FailureError about it.
inline std::string RolledBack(const TransResult& result) {
  std::string text = "gid '" + result.gid + "' was rolled back: " + result.reason;
  if (!result.reason_from.empty()) text += " (" + result.reason_from + ")";
  return text;
}

}  // namespace v1
}  // namespace dtm
