/// How those who asked get their answer.
/// Needs: std. Threads: any.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include <dtm/coordinator/inbox.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/result.hpp>

namespace dtm {
inline namespace v1 {

struct Replies {
  /// Runs a callback of the user: nothing it throws may stop the loop.
  template <typename Function>
  static void Protected(const Function& function) {
    try {
      function();
    } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
    }
  }

  /// Answers in the form that the waiter's function promised.
  static void Answer(const Waiter& waiter, TransResult result) {
    Reply reply;
    if (waiter.failure_is_error && result.Failed()) {
      reply.error = std::make_exception_ptr(FailureError(RolledBack(result)));
    }
    reply.result = std::move(result);
    Protected([&] { waiter.callback(reply); });
  }
  static void Refuse(const Waiter& waiter, std::exception_ptr error) {
    if (waiter.callback) Protected([&] { waiter.callback({{}, error}); });
  }
  static std::exception_ptr Rejected(const std::string& why) {
    return std::make_exception_ptr(RejectedError(why));
  }
};

}  // namespace v1
}  // namespace dtm
