/// How callers get their answers: exactly once, whatever happens.
/// Needs: std. Threads: any, one at a time for each.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <new>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/base/time.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/in_words.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>
#include <dtm/engine/resubmission.hpp>

namespace dtm {
inline namespace v1 {

/// The promise of an answer to a caller. Once the inbox has taken it, it is kept even if it is dropped (because no memory
/// was left): then the answer is that the outcome is in doubt.
class Promise {
 public:
  Promise() = default;  ///< nobody wants an answer
  Promise(Promise&& other) noexcept
      : callback_(std::move(other.callback_)), binds_(std::exchange(other.binds_, false)) {
    if (other.callback_) other.callback_ = nullptr;  // most libraries have done so
  }
  Promise& operator=(Promise&& other) noexcept {
    if (binds_) Keep({{}, InDoubt()});
    callback_ = std::move(other.callback_);
    binds_ = std::exchange(other.binds_, false);
    return *this;
  }
  /// Of a promise that the inbox has not taken yet.
  Promise& operator=(AnswerCallback callback) {
    callback_.swap(callback);
    return *this;
  }
  ~Promise() {
    if (binds_) Keep({{}, InDoubt()});
  }

  /// Not answered yet.
  bool Open() const { return callback_ != nullptr; }
  void Bind() { binds_ = Open(); }
  /// Gives the answer, unless it was given. Exceptions of the callback are ignored.
  void Keep(const Answer& answer) noexcept {
    if (!callback_) return;
    const AnswerCallback callback = std::exchange(callback_, nullptr);
    binds_ = false;
    try {
      callback(answer);
    } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
    }
  }

  /// The answer if there is no memory for a better one. It is made at the first call.
  static const std::exception_ptr& InDoubt() {
    static const std::exception_ptr in_doubt = std::make_exception_ptr(
        InDoubtError("no memory was left for the answer, so what was asked for may or may not be "
                     "done; ask for it again"));
    return in_doubt;
  }

 private:
  AnswerCallback callback_;
  bool binds_ = false;
};

/// An error; without memory for its sentence, that it is not known.
template <typename Kind, typename Sentence>
std::exception_ptr Made(const Sentence& sentence) noexcept {
  try {
    return std::make_exception_ptr(Kind(sentence()));
  } catch (...) {
    return Promise::InDoubt();
  }
}

/// Who waits is told the status that it has now.
inline std::exception_ptr GoesOn(const TransResult& result) noexcept {
  return Made<OngoingError>([&] {
    return "gid '" + result.gid + "' is " + Name(result.status) + " and goes on; ask query";
  });
}

/// When a caller wants its answer.
enum class AnswerWhen {
  kStored,   ///< once it is durable
  kSettled,  ///< once it has ended, or has to wait for a timer
  kFinished  ///< once it has ended
};

/// Whether the wait_result of a stored transaction says when the answer comes.
enum class WaitResult { kIgnored, kCounts };

/// A caller who waits for an answer about a transaction.
struct Waiter {
  /// With wait_result, so long.
  static constexpr Duration kLongestWaitResult = std::chrono::seconds(6);

  AnswerWhen when = AnswerWhen::kStored;
  bool failure_is_error = false;  ///< a rollback is told as FailureError
  bool ongoing_is_error = false;  ///< an unfinished status is told as OngoingError
  bool submits = false;           ///< the answer must not be a status without its submit
  Time deadline = kNever;         ///< then the answer is the present status
  /// The number of the event that it asked for; 0: none. After a conflict that is decided anew, and may be refused.
  std::uint64_t ask = 0;
  /// Asks again, if another coordinator on the store has written the transaction first. Empty: there is nothing to ask again.
  std::function<void(Waiter&&)> again{};
  Promise promise{};

  void WaitForResult(Time now) {
    when = AnswerWhen::kSettled;
    deadline = Later(now, kLongestWaitResult);
  }

  /// Answers in the form that was promised.
  void Give(TransResult result) {
    Answer answer;
    if (failure_is_error && result.Failed()) {
      answer.error = std::make_exception_ptr(FailureError(RolledBack(result)));
    }
    if (ongoing_is_error && !IsFinal(result.status)) answer.error = GoesOn(result);
    answer.result = std::move(result);
    promise.Keep(answer);
  }
  void Refuse(const std::exception_ptr& error) { promise.Keep({{}, error}); }
  /// Answers with the record as it is stored now.
  void GiveStatusOf(const Transaction& stored) {
    if (!submits || engine::ShowsSubmit(stored)) return Give(ResultOf(stored));
    Refuse(Made<RejectedError>([&] { return engine::CannotSubmit(stored); }));
  }
};

struct Answers {
  /// Runs what must not stop the loop if it throws.
  template <typename Function>
  static void Protected(const Function& function) noexcept {
    try {
      function();
    } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
    }
  }
  /// The answer is copied beforehand: set_value runs within std::call_once, and what throws there leaves it locked for
  /// ever in the thread sanitizer and in some libraries (GCC bug 66146).
  static void Fulfil(std::promise<Answer>& promise, const Answer& answer) {
    Answer copy;
    try {
      copy = answer;
    } catch (const std::bad_alloc&) {
      return promise.set_exception(Promise::InDoubt());
    }
    promise.set_value(std::move(copy));
  }
  static std::exception_ptr Rejected(const std::string& why) {
    return Made<RejectedError>([&] { return why; });
  }
};

}  // namespace v1
}  // namespace dtm
