/// Who calls URLs, for the loop and for those who call a branch themselves and wait for its answer.
/// Needs: std. Threads: thread-safe; Use and Stop come once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <dtm/coordinator/branch_caller.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/result.hpp>

namespace dtm {
inline namespace v1 {

class UrlCalls {
 public:
  /// The answer of one call, when it is there.
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

  void Use(std::unique_ptr<BranchCaller> caller) {
    owned_ = std::move(caller);
    caller_ = owned_.get();
  }
  /// Null: nobody calls URLs.
  BranchCaller* Get() const { return caller_; }
  /// @throws LogicError  nobody calls URLs.
  BranchCaller& Needed() const {
    BranchCaller* const caller = caller_;
    if (caller != nullptr) return *caller;
    throw LogicError(
        "this program calls no URLs: include <dtm/http.hpp> and say "
        "Use(dtm::HttpBranches())");
  }

  /// Afterwards no call is answered any more.
  void Stop() {
    if (owned_ != nullptr) owned_->Stop();
    stopped_ = true;
  }
  bool Stopped() const { return stopped_; }

 private:
  std::unique_ptr<BranchCaller> owned_;
  std::atomic<BranchCaller*> caller_{nullptr};  // the same, once it is there
  std::atomic<bool> stopped_{false};
};

}  // namespace v1
}  // namespace dtm
