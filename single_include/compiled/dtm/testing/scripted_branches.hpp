/// Generated from include/dtm/testing/scripted_branches.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "virtual_time.hpp"

// ---- dtm/testing/scripted_branches.hpp ---------------------------------------------------------

/// Branches by URL without a network: a test says what they return, and when.
/// Needs: std. Threads: one thread.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace testing {

/// What a scripted branch does when it is called.
struct ScriptedAnswer {
  Result result;
  Duration after{};    ///< how long it takes
  bool never = false;  ///< silence: the caller gives up at its deadline

  /// No reply ever comes.
  static ScriptedAnswer Silence() { return {Result::Success(), Duration{}, true}; }
};

/// One call that was made.
struct ScriptedCall {
  Time at{};
  std::string url;
  BranchInfo info;
};

/// Branches by URL that reply what a test says, in virtual time, and remember their calls.
class ScriptedBranches {
 public:
  /// A TestCoordinator makes its own, see TestCoordinator::Branches.
  explicit ScriptedBranches(std::shared_ptr<VirtualTime> time) : time_(std::move(time)) {}

  /// Adds results for this url, returned one after the other; after the last one, Success.
  ScriptedBranches& On(const std::string& url, std::vector<ScriptedAnswer> answers) {
    std::deque<ScriptedAnswer>& queue = answers_[url];
    queue.insert(queue.end(), answers.begin(), answers.end());
    return *this;
  }
  /// The same with one result, at once.
  ScriptedBranches& On(const std::string& url, Result result) {
    return On(url, {ScriptedAnswer{std::move(result), Duration{}, false}});
  }

  /// The calls in the order in which they were made.
  const std::vector<ScriptedCall>& Calls() const { return calls_; }

  /// The urls in the order in which they were called.
  std::vector<std::string> Urls() const {
    std::vector<std::string> urls;
    for (const ScriptedCall& call : calls_) urls.push_back(call.url);
    return urls;
  }

  /// The caller of one run of a coordinator; this script must outlive it.
  std::unique_ptr<BranchCaller> NewCaller() { return std::make_unique<Caller>(*this); }

 private:
  /// Results that have not arrived when the run ends are lost, as with a real process.
  class Caller : public BranchCaller {
   public:
    explicit Caller(ScriptedBranches& script) : script_(script) {}
    ~Caller() override { *alive_ = false; }

    void Call(std::vector<BranchCall> calls, BranchResults& results) override {
      for (const BranchCall& call : calls) {
        try {
          Answer(call, results);
        } catch (const std::bad_alloc&) {
          results.Done(call, Result::NotSent({}));
        }
      }
    }
    void Stop() override { *alive_ = false; }

   private:
    void Answer(const BranchCall& call, BranchResults& results) {
      if (!call.MayBegin()) return results.Done(call, LeaseOver());
      if (call.late >= call.timeout) return results.Done(call, Result::NotSent("it is too late"));
      ScriptedAnswer answer = script_.Next(call);
      if (answer.never || answer.after > call.timeout) {
        answer.result = Result::Error("no answer within its deadline");
        answer.after = call.timeout;
      }
      if (answer.after == Duration{}) {
        return results.Done(call, answer.result);
      }
      BranchCall begun = call;
      begun.lease = nullptr;  // it may know of the time, which keeps what is below
      script_.time_->At(script_.time_->Now() + answer.after,
                        [alive = alive_, &results, begun, result = answer.result] {
                          if (*alive) results.Done(begun, result);
                        });
    }

    ScriptedBranches& script_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  };

  /// The url of an initiator's call has the coordinator's address added to it; scripts do not name that.
  static std::string WithoutCoordinator(const std::string& url) {
    std::size_t end = url.size();
    for (const char* added : {"dtm=", "phase2_url="}) end = (std::min)(end, url.find(added));
    return url.substr(0, end == url.size() || end == 0 ? end : end - 1);
  }

  ScriptedAnswer Next(const BranchCall& call) {
    calls_.push_back({time_->Now(), call.Url(), call.Info()});
    auto found = answers_.find(call.Url());
    if (found == answers_.end()) found = answers_.find(WithoutCoordinator(call.Url()));
    if (found == answers_.end() || found->second.empty()) return {};
    std::deque<ScriptedAnswer>& queue = found->second;
    ScriptedAnswer answer = std::move(queue.front());
    queue.pop_front();
    return answer;
  }

  std::shared_ptr<VirtualTime> time_;
  std::map<std::string, std::deque<ScriptedAnswer>> answers_;
  std::vector<ScriptedCall> calls_;
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
