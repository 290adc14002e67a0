/// The callers of URLs, by scheme: Coordinator::Use adds one, and each call goes to the one for its URL. They also make a
/// call for an initiator that waits for its result.
/// Needs: std. Threads: thread-safe; Stop comes once, and after the last Use.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>

namespace dtm {
inline namespace v1 {

class UrlCallers final : public BranchCaller {
 public:
  static constexpr const char* kLocalScheme = "local";  ///< of functions that are not registered

  /// @throws LogicError  there is no caller, or one of its schemes has one.
  void Use(std::unique_ptr<BranchCaller> caller) {
    if (caller == nullptr) throw LogicError("Use() was given no caller of branches");
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const std::string& scheme : caller->Schemes()) {
      if (by_scheme_.count(scheme) == 0) continue;
      throw LogicError("Use() comes once for each scheme, and " + scheme + ":// has its caller");
    }
    for (const std::string& scheme : caller->Schemes()) by_scheme_[scheme] = caller.get();
    callers_.push_back(std::move(caller));
  }

  /// True if there is a caller of functions.
  bool CallsFunctions() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return by_scheme_.count(kLocalScheme) > 0;
  }

  /// Empty, or why this can be the URL of no branch here. A program without HttpBranches takes http all the same: such calls
  /// wait until it runs with them.
  std::string Problem(const std::string& url) const {
    std::string problem = UrlProblem(url);
    return problem.empty() ? WithoutCaller(url) : problem;
  }

  /// Empty, or that nobody here calls this URL, which has no UrlProblem: it is not parsed again.
  std::string WithoutCaller(const std::string& url) const {
    if (url.empty() || IsLocal(url) || IsTopic(url) || IsHttp(SchemeOf(url))) return {};
    if (Find(url) != nullptr) return {};
    return "the branch URL \"" + Truncated(ShownUrl(url), 200) + "\": " + NobodyCalls(url);
  }

  /// The same for all URLs of a definition.
  std::string WithoutCaller(const Definition& definition) const {
    std::string problem = WithoutCaller(definition.query_prepared);
    if (definition.type == TransType::kWorkflow) return problem;  // its steps are called by nobody
    for (const Step& step : definition.steps) {
      if (problem.empty()) problem = WithoutCaller(step.action);
      if (problem.empty()) problem = WithoutCaller(step.compensate);
    }
    return problem;
  }

  void Call(std::vector<BranchCall> calls, BranchResults& results) override {
    while (!calls.empty()) {
      std::unique_lock<std::mutex> lock(mutex_);
      BranchCaller* const caller = Found(calls.front().Url());
      const auto with_it = [&](const BranchCall& call) { return Found(call.Url()) == caller; };
      auto others = std::find_if_not(calls.begin() + 1, calls.end(), with_it);  // mostly none
      others = std::stable_partition(others, calls.end(), with_it);
      lock.unlock();
      std::vector<BranchCall> rest(std::make_move_iterator(others),
                                   std::make_move_iterator(calls.end()));
      calls.erase(others, calls.end());
      if (caller != nullptr) {
        caller->Call(std::move(calls), results);
      } else {
        for (BranchCall& call : calls) {
          Result missing =
              Result::NoHandler(IfThereIsMemory([&] { return NobodyCalls(call.Url()); }));
          results.Done(std::move(call), std::move(missing));
        }
      }
      calls = std::move(rest);
    }
  }

  /// One call, for a thread that waits for its result. `drive` drives the coordinator meanwhile, and returns when to do so
  /// again.
  /// @throws LogicError  this program does not call such URLs.
  template <typename Drive>
  Result CallOnce(BranchCall call, Clock& clock, const Drive& drive) {
    BranchCaller* const caller = Find(call.Url());
    if (caller == nullptr) throw LogicError(NobodyCalls(call.Url()));
    One one;
    caller->Call({std::move(call)}, one);
    std::unique_lock<std::mutex> lock(one.mutex);
    // A caller that was stopped delivers no more results.
    while (!one.result && !stopped_) {
      lock.unlock();
      const Time next = drive();
      lock.lock();
      if (!one.result) clock.Wait(one.arrived, lock, (std::min)(next, clock.Now() + kLook));
    }
    return one.result ? std::move(*one.result) : Result::Error("the coordinator was stopped");
  }

  CallLoad Load() override {
    CallLoad all;
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& caller : callers_) {
      CallLoad load = caller->Load();
      all.in_flight += load.in_flight;
      all.waiting += load.waiting;
      std::move(load.hosts.begin(), load.hosts.end(), std::back_inserter(all.hosts));
    }
    return all;
  }

  void Stop() override {
    for (const auto& caller : callers_) caller->Stop();
    stopped_ = true;
  }

 private:
  static constexpr Duration kLook = std::chrono::milliseconds(20);

  struct One : BranchResults {
    void Done(BranchCall, Result told) override {
      const std::lock_guard<std::mutex> lock(mutex);
      result = std::move(told);
      arrived.notify_all();
    }
    std::mutex mutex;
    std::condition_variable arrived;
    std::optional<Result> result;
  };

  static bool IsHttp(const std::string& scheme) { return scheme == "http" || scheme == "https"; }

  static std::string NobodyCalls(const std::string& url) {
    const std::string scheme = SchemeOf(url);
    if (IsHttp(scheme)) {
      return "this program calls no URLs: include <dtm/http.hpp> and say "
             "Use(dtm::HttpBranches())";
    }
    return "this program calls no " + scheme +
           ":// URLs: include the header of a BranchCaller for them, and say Use() with it before "
           "Start(); or check the spelling";
  }

  /// Null: nobody calls it.
  BranchCaller* Find(const std::string& url) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Found(url);
  }
  /// With mutex_ held.
  BranchCaller* Found(const std::string& url) const {
    const auto found = by_scheme_.find(IsLocal(url) ? kLocalScheme : SchemeOf(url));
    return found == by_scheme_.end() ? nullptr : found->second;
  }

  mutable std::mutex mutex_;
  std::map<std::string, BranchCaller*> by_scheme_;
  std::vector<std::unique_ptr<BranchCaller>> callers_;
  std::atomic<bool> stopped_{false};
};

}  // namespace v1
}  // namespace dtm
