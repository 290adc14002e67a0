/// How those who asked get their answer.
/// Needs: std. Threads: any.
#pragma once

#include <exception>
#include <future>
#include <new>
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

  /// An error; without memory for its sentence, what is thrown then.
  template <typename Kind, typename Sentence>
  static std::exception_ptr Made(const Sentence& sentence) noexcept {
    try {
      return std::make_exception_ptr(Kind(sentence()));
    } catch (...) {
      return std::current_exception();
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
  static void Fulfil(std::promise<Reply>& promise, const Reply& reply) {
    try {
      promise.set_value(reply);
    } catch (const std::bad_alloc&) {  // of its copy
      promise.set_exception(std::current_exception());
    }
  }
  static std::exception_ptr Rejected(const std::string& why) {
    return Made<RejectedError>([&] { return why; });
  }
};

}  // namespace v1
}  // namespace dtm
