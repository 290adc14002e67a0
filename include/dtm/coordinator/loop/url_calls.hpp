/// The caller of URLs, for the loop and for initiators that call a branch themselves and wait for its result.
/// Needs: std. Threads: thread-safe; Use and Stop come once.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/core/result.hpp>

namespace dtm {
inline namespace v1 {

class UrlCalls {
 public:
  void Use(std::unique_ptr<BranchCaller> caller) {
    owned_ = std::move(caller);
    caller_ = owned_.get();
  }
  /// Null: this program calls no URLs.
  BranchCaller* Get() const { return caller_; }

  /// One call, for a thread that waits for its result. `drive` drives the coordinator meanwhile, and returns when to do so
  /// again.
  /// @throws LogicError  this program calls no URLs.
  template <typename Drive>
  Result CallOnce(BranchCall call, Clock& clock, const Drive& drive) {
    BranchCaller* const caller = caller_;
    if (caller == nullptr) {
      throw LogicError(
          "this program calls no URLs: include <dtm/http.hpp> and say "
          "Use(dtm::HttpBranches())");
    }
    One one;
    caller->Call({std::move(call)}, one);
    std::unique_lock<std::mutex> lock(one.mutex);
    // A caller that was stopped delivers no more results.
    while (!one.result && !stopped_) {
      lock.unlock();
      const Time next = drive();
      lock.lock();
      if (!one.result) clock.Wait(one.answered, lock, (std::min)(next, clock.Now() + kLook));
    }
    return one.result ? std::move(*one.result) : Result::Error("the coordinator was stopped");
  }

  /// Afterwards no more results are delivered.
  void Stop() {
    if (owned_ != nullptr) owned_->Stop();
    stopped_ = true;
  }

 private:
  static constexpr Duration kLook = std::chrono::milliseconds(20);

  struct One : BranchResults {
    void Done(BranchCall, Result answer) override {
      const std::lock_guard<std::mutex> lock(mutex);
      result = std::move(answer);
      answered.notify_all();
    }
    std::mutex mutex;
    std::condition_variable answered;
    std::optional<Result> result;
  };

  std::unique_ptr<BranchCaller> owned_;
  std::atomic<BranchCaller*> caller_{nullptr};  // the same, once it is there
  std::atomic<bool> stopped_{false};
};

}  // namespace v1
}  // namespace dtm
