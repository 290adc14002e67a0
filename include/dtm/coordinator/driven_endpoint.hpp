/// An endpoint with its coordinator behind it, and how a thread waits for what it asked of that.
/// Needs: std, store. Threads: every method is thread-safe.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <utility>

#include <dtm/base/callable.hpp>
#include <dtm/base/error.hpp>
#include <dtm/base/of_this_process.hpp>
#include <dtm/coordinator/loop/driver.hpp>
#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/core/endpoint.hpp>

namespace dtm {
inline namespace v1 {

/// Gets a value, or the error.
template <typename T>
using ValueCallback = std::function<void(const T&, std::exception_ptr)>;

class DrivenEndpoint : public Endpoint {
 public:
  DrivenEndpoint(const DrivenEndpoint&) = delete;
  DrivenEndpoint& operator=(const DrivenEndpoint&) = delete;

  /// The blocking form: calls `ask` with a callback, and returns what the callback gets. Drives the coordinator
  /// meanwhile if no thread does.
  /// @throws LogicError  called in a callback of the coordinator, which would wait for itself.
  TransResult Await(callable::Ref<void(AnswerCallback)> ask) const {
    return Checked().WaitFor(ask);
  }
  template <typename T, typename Ask>  // the same for a ValueCallback
  T AwaitValue(const Ask& ask) const {
    const auto box = std::make_shared<T>();
    Await([&](const AnswerCallback& answer) {
      ask([box, answer](const T& value, const std::exception_ptr& error) {
        try {
          *box = value;
        } catch (const std::bad_alloc&) {
          return answer({{}, Promise::InDoubt()});
        }
        answer({{}, error});
      });
    });
    return std::move(*box);
  }

  /// For a thread that has many requests at once: see BranchResults. A call that waits ends the burst.
  void BeginBurst() { Checked().inbox.BeginBurst(); }
  void EndBurst() { Checked().inbox.EndBurst(); }
  bool HasThread() const { return Checked().HasThread(); }  ///< else whoever waits has to drive it

 protected:
  ~DrivenEndpoint() override = default;
  explicit DrivenEndpoint(std::unique_ptr<Driver> driver)
      : driver_("coordinator", std::move(driver)) {}

  void StopForGood() {
    if (driver_.Here()) Checked().StopForGood();
  }

  /// @throws LogicError  this is a forked child.
  Driver& Checked() const { return driver_.Get(); }

 private:
  OfThisProcess<Driver> driver_;
};

}  // namespace v1
}  // namespace dtm
