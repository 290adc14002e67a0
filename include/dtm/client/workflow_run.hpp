/// One run of a workflow, and its branches.
/// Needs: nlohmann/json. Threads: NewBranch by one thread; the branches it returned may be used side by side.
/// Protocol: §4.5, §11.7.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/client/branch_args.hpp>
#include <dtm/client/sub_branches.hpp>
#include <dtm/client/workflow_function.hpp>
#include <dtm/client/workflow_ledger.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>

namespace dtm {
inline namespace v1 {

class WorkflowBranch;

/// One run of a workflow; its function gets this. The function may run several times (after a crash, or after an error
/// other than FailureError). Recorded steps are not done again, but return their recorded results. So the function must do
/// the same steps in the same order every time, must do nothing that matters outside of steps, and must fail or succeed by
/// the results of steps only. A step that differs from the recorded one (own code or a call, the URL or function, the name
/// of its branch) is refused with a LogicError, before it or anything after it is done or undone. The transaction stays as
/// it is and is tried again, with alerts, until the code that recorded it is back. (A Go server does not store what a step
/// was; there only missing steps and another decision are noticed.)
class Workflow {
 public:
  /// A run of a workflow has one; see WorkflowHandle::Execute.
  Workflow(Endpoint& endpoint, std::string gid, const WorkflowState& state)
      : endpoint_(&endpoint),
        gid_(std::move(gid)),
        options_(state.options),
        ledger_(endpoint, gid_, state) {}
  Workflow(const Workflow&) = delete;
  Workflow& operator=(const Workflow&) = delete;

  /// The next branch, "01", "02", ...: it has at most one step (Do or Call), one OnRollback and one OnCommit. Its name is
  /// recorded with them; it is the only thing that tells steps of own code (Do) apart.
  /// @throws BeyondLimit  more than 400: the workflow is rolled back.
  /// @throws LogicError   in a callback; a name of more than 128 bytes, or not UTF-8.
  WorkflowBranch NewBranch(std::string name = {});

  /// As given to Execute.
  const std::string& Gid() const { return gid_; }

 private:
  friend class WorkflowBranch;
  template <typename T>
  friend class WorkflowHandle;
  using Callback = std::function<void()>;
  struct Undo {
    Step step;  ///< what it is, for the ledger
    Callback callback;
  };

  std::string CallUrl(const std::string& branch_id, Op op, const std::string& url,
                      const std::string& payload) const {
    if (url.empty()) return {};
    InitiatorCall call;
    call.info = {gid_, TransType::kWorkflow, branch_id, op, {}};
    call.url = url;
    call.payload = payload;
    call.options = options_;
    const std::string who = "gid '" + gid_ + "': branch " + branch_id;
    const Result answer = endpoint_->CallBranch(call);
    if (answer.done)
      throw NotKept{who + " was done, but its answer cannot be kept: " + answer.text};
    return BodyOf(answer, who);
  }

  void Keep(std::vector<Undo>& list, Step step, Callback callback) {
    if (deciding_) throw LogicError("a callback of a workflow registers no callbacks");
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Undo& other : list) {
      if (other.step.branch_id != step.branch_id) continue;
      throw LogicError("branch " + step.branch_id +
                       " has such a callback already; take a NewBranch()");
    }
    list.push_back({std::move(step), std::move(callback)});
  }

  /// A branch that failed did nothing, so it needs no undo.
  void ForgetRollbackOf(const std::string& branch_id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto undo = rollbacks_.begin(); undo != rollbacks_.end(); ++undo) {
      if (undo->step.branch_id != branch_id) continue;
      rollbacks_.erase(undo);
      return;
    }
  }

  /// In reverse order of registration. A callback has to succeed in the end: if it throws, the run is repeated.
  void RunCallbacks(bool succeeded) {
    deciding_ = true;
    const std::vector<Undo>& list = succeeded ? commits_ : rollbacks_;
    std::set<std::string> branches;
    for (const Undo& undo : list) branches.insert(undo.step.branch_id);
    ledger_.Decide(succeeded, branches);
    for (auto undo = list.rbegin(); undo != list.rend(); ++undo) {
      (void)ledger_.Take(undo->step, [&] {
        try {
          undo->callback();
        } catch (const FailureError& error) {
          throw Error("gid '" + gid_ + "': a callback of branch " + undo->step.branch_id +
                      " must not fail: " + error.what());
        }
        return std::string();
      });
    }
  }

  Endpoint* endpoint_;
  const std::string gid_;
  const TransOptions options_;
  WorkflowLedger ledger_;
  std::size_t branches_ = 0;
  std::mutex mutex_;  // of the callbacks
  std::vector<Undo> rollbacks_;
  std::vector<Undo> commits_;
  bool deciding_ = false;
};

/// One branch of a workflow; a value that refers to its workflow.
class WorkflowBranch {
 public:
  /// See Workflow::NewBranch.
  WorkflowBranch(Workflow& workflow, std::string id, std::string name)
      : workflow_(&workflow), id_(std::move(id)), name_(std::move(name)) {}

  /// `undo()` is called if the workflow fails, after later branches were undone. Register it before the step.
  /// It returns nothing or Result, must do nothing if the step did nothing, and may be called several times.
  /// @throws LogicError  the branch has such a callback already, or this is inside a callback.
  template <typename Function>
  WorkflowBranch& OnRollback(Function undo) {
    return Keep(Op::kRollback, kOwnCode, workflow_function::Callback(std::move(undo), Where()));
  }
  /// The same, as a branch: a URL or a registered function with its payload.
  template <typename Branch, typename Payload>
  WorkflowBranch& OnRollback(const Branch& branch, const Payload& payload) {
    return CallLater(Op::kRollback, branch, payload);
  }

  /// Called if the workflow succeeds.
  template <typename Function>
  WorkflowBranch& OnCommit(Function commit) {
    return Keep(Op::kCommit, kOwnCode, workflow_function::Callback(std::move(commit), Where()));
  }
  /// The same, as a branch: a URL or a registered function with its payload.
  template <typename Branch, typename Payload>
  WorkflowBranch& OnCommit(const Branch& branch, const Payload& payload) {
    return CallLater(Op::kCommit, branch, payload);
  }

  /// Called in both cases, with whether it succeeded.
  template <typename Function>
  WorkflowBranch& OnFinish(Function finish) {
    const auto shared = workflow_function::Finish(std::move(finish));
    OnCommit([shared] { return shared(true); });
    return OnRollback([shared] { return shared(false); });
  }

  /// Runs `step()` here and records its result: nothing, a text, or anything nlohmann can serialise. Returns the
  /// recorded text. If `step` returns a Result, a success gives its text, and anything else is thrown. The step may run
  /// again if the program dies before the record is written: give it a barrier.
  /// @throws InDoubtError  the coordinator gave no answer to the record; the workflow is run again later.
  /// @throws FailureError  it failed (and is recorded as that): let it pass, and the workflow is rolled back.
  /// @throws BeyondLimit   it was done, but JSON cannot hold its result (NaN), or it has more than 256 KiB, or the results of
  /// all steps have more than 4 MiB: the workflow is rolled back, with this branch, even if you catch this.
  /// @throws LogicError    another step is recorded in its place: let it pass; see Workflow.
  /// @throws what it threw  nothing is recorded, and the workflow is run again later: after OngoingError at the
  /// retry interval, after other exceptions with growing waits.
  template <typename Function>
  std::string Do(const Function& step) {
    return RunStep(kOwnCode, [&] { return workflow_function::Answer(step, Where()); });
  }

  /// Calls a branch, a URL or a registered function, and records the body of its reply; returns it. A URL call has
  /// `request_timeout` (3 s by default).
  /// @throws as Do; Error: it gave no definite result. RejectedError: the URL cannot be called.
  template <typename Branch, typename Payload>
  std::string Call(const Branch& branch, const Payload& payload) {
    const Target target = TargetOf(branch, payload);
    return RunStep(target.what, [&] {
      return workflow_->CallUrl(id_, Op::kAction, target.url, target.payload);
    });
  }

  /// "01", "02", ...
  const std::string& Id() const { return id_; }

 private:
  struct Target {
    std::string what;  ///< as recorded; the url by which a function is called may change
    std::string url;
    std::string payload;
  };

  Step StepOf(Op op, std::string what) const {
    Step step;
    step.branch_id = id_;
    step.op = op;
    step.action = std::move(what);
    step.topic = name_;
    return step;
  }

  std::string Where() const { return "gid '" + workflow_->gid_ + "': branch " + id_; }

  std::string RunStep(const std::string& what, const std::function<std::string()>& work) {
    try {
      return workflow_->ledger_.Take(StepOf(Op::kAction, what), work);
    } catch (const BeyondLimit&) {  // it may have been done
      throw;
    } catch (const FailureError&) {
      workflow_->ForgetRollbackOf(id_);
      throw;
    }
  }

  WorkflowBranch& Keep(Op op, std::string what, Workflow::Callback callback) {
    workflow_->Keep(op == Op::kCommit ? workflow_->commits_ : workflow_->rollbacks_,
                    StepOf(op, std::move(what)), std::move(callback));
    return *this;
  }

  template <typename T>
  static std::string WhatIs(const LocalBranch<T>& branch, const std::string&) {
    return kLocalPrefix + branch.name;
  }
  template <typename Branch>
  static std::string WhatIs(const Branch&, const std::string& url) {
    return url.empty() ? kNoCall : ShownUrl(url);
  }

  /// @throws LogicError  its URL or name cannot be recorded, so it is not called.
  template <typename Branch, typename Payload>
  Target TargetOf(const Branch& branch, const Payload& payload) const {
    static_assert(branch_args::CheckPayload<Branch, Payload>());
    Target target;
    target.url = branch_args::Url(*workflow_->endpoint_, workflow_->gid_, branch);
    target.what = WhatIs(branch, target.url);
    target.payload =
        branch_args::Text(workflow_->gid_, "branch " + id_, branch_args::Json(payload));
    if (target.what.size() > kMaxUrlBytes || !IsUtf8(target.what) || IsTopic(target.what)) {
      throw LogicError("gid '" + workflow_->gid_ + "': branch " + id_ + " calls '" +
                       Printable(Truncated(target.what, 200)) + "', which has " +
                       std::to_string(target.what.size()) +
                       " bytes; a workflow calls URLs and functions with UTF-8 names of at most " +
                       std::to_string(kMaxUrlBytes) + " bytes, and no topics");
    }
    return target;
  }

  template <typename Branch, typename Payload>
  WorkflowBranch& CallLater(Op op, const Branch& branch, const Payload& payload) {
    Target target = TargetOf(branch, payload);
    std::string what = target.what;
    return Keep(op, std::move(what),
                [workflow = workflow_, op, id = id_, target = std::move(target)] {
                  try {
                    (void)workflow->CallUrl(id, op, target.url, target.payload);
                  } catch (const NotKept&) {  // a callback needs no result
                  }
                });
  }

  Workflow* workflow_;
  std::string id_;
  std::string name_;
};

inline WorkflowBranch Workflow::NewBranch(std::string name) {
  if (deciding_) throw LogicError("a callback of a workflow has no branches of its own");
  if (name.size() > kMaxGidBytes || !IsUtf8(name)) {
    throw LogicError("gid '" + gid_ + "': the name of a branch is UTF-8 of at most " +
                     std::to_string(kMaxGidBytes) + " bytes");
  }
  if (branches_ == kMaxWorkflowBranches) {
    ledger_.Doom("gid '" + gid_ + "': a workflow has at most " +
                 std::to_string(kMaxWorkflowBranches) + " branches");
  }
  return WorkflowBranch(*this, NumberOf(branches_++), std::move(name));
}

}  // namespace v1
}  // namespace dtm
