/// All functions that the program has registered: branches, and those that resume workflows.
/// Needs: std. Threads: thread-safe.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/functions/branch_function.hpp>
#include <dtm/coordinator/functions/functions.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/clock.hpp>

namespace dtm {
inline namespace v1 {

/// Two pools of threads, since a workflow may wait for other transactions, and so for branches. They share their names.
class ProgramFunctions final : public BranchCaller {
 public:
  ProgramFunctions(std::size_t max_threads, std::size_t max_per_function)
      : branches_(max_threads, max_per_function), workflows_(max_threads, max_per_function) {
    branches_.ElseCall(workflows_);
  }

  /// @throws LogicError  the name is taken.
  void Register(const std::string& name, BranchFunction function) {
    CheckFree(name, workflows_);
    branches_.Register(name, std::move(function));
  }
  /// The same for what resumes a workflow.
  void RegisterResume(const std::string& name, BranchFunction function) {
    CheckFree(name, branches_);
    workflows_.Register(name, std::move(function));
    resumes_ = true;
    if (threaded_) workflows_.StartThreads();
  }
  /// Calls of functions that are not registered go there. Set it before the first call.
  void ElseCall(BranchCaller& others) { workflows_.ElseCall(others); }
  /// Empty if there is none of this name.
  BranchFunction Find(const std::string& name) {
    BranchFunction function = branches_.Find(name);
    return function ? function : workflows_.Find(name);
  }

  void Call(std::vector<BranchCall> calls, BranchResults& results) override {
    branches_.Call(std::move(calls), results);
  }

  /// From now on functions run on threads; those for workflows are there once one is registered.
  void StartThreads() {
    branches_.StartThreads();
    threaded_ = true;
    if (resumes_) workflows_.StartThreads();
  }
  /// See Functions::Grow.
  Time Grow(Time now) { return (std::min)(branches_.Grow(now), workflows_.Grow(now)); }
  /// Without threads: runs what is queued, but no workflow inside a workflow. Not on a thread that runs a branch.
  void RunQueued() {
    (void)branches_.RunQueued();
    if (!workflows_.OnFunctionThread()) (void)workflows_.RunQueued();
  }
  /// True on a thread that is running a branch.
  bool OnBranchThread() { return branches_.OnFunctionThread(); }

  std::size_t Running() { return branches_.Running() + workflows_.Running(); }
  /// Of the branches.
  CallLoad Load() override { return branches_.Load(); }

  /// See Functions, in the order in which they are called.
  void BeginNothingNew() {
    branches_.BeginNothingNew();
    workflows_.BeginNothingNew();
  }
  void RefuseWaiting() {
    branches_.RefuseWaiting();
    workflows_.RefuseWaiting();
  }
  void Stop() override {
    branches_.Stop();
    workflows_.Stop();
  }

 private:
  static void CheckFree(const std::string& name, Functions& others) {
    if (!others.Find(name)) return;
    throw LogicError("'" + name + "' is registered already; workflows and functions share no name");
  }

  Functions branches_;
  Functions workflows_;
  std::atomic<bool> threaded_{false};
  std::atomic<bool> resumes_{false};
};

}  // namespace v1
}  // namespace dtm
