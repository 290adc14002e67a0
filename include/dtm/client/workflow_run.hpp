/// One run of a workflow: its branches, whose steps are recorded and not done again.
/// Needs: nlohmann/json. Threads: NewBranch by one thread; the branches it returned may be used side by side.
/// Protocol: §4.5, §11.7.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/client/branch_args.hpp>
#include <dtm/client/sub_branches.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

class WorkflowBranch;

/// One run of a workflow: what its function gets. The function may run several times (after a crash, or after
/// an error that was none of FailureError): steps that are recorded are not done again, but give the answer they
/// gave. So it must do the same steps in the same order every time, and nothing that matters outside of steps.
class Workflow {
 public:
  Workflow(Endpoint& endpoint, std::string gid, const WorkflowState& state)
      : endpoint_(&endpoint), gid_(std::move(gid)), options_(state.options) {
    for (const Step& step : state.recorded) recorded_[{step.branch_id, step.op}] = step;
  }
  Workflow(const Workflow&) = delete;
  Workflow& operator=(const Workflow&) = delete;

  /// The next branch, "01", "02", ...: at most one step (Do or Call), one OnRollback and one OnCommit.
  /// @throws LogicError  more than 99; or in a callback.
  WorkflowBranch NewBranch();

  const std::string& Gid() const { return gid_; }

 private:
  friend class WorkflowBranch;
  template <typename T>
  friend class WorkflowHandle;
  using Callback = std::function<void()>;
  struct Undo {
    std::string branch_id;
    Callback callback;
  };

  /// Runs `work`, or gives what it gave before.
  /// @throws FailureError  it failed, now or before; else what it threw, and then nothing is recorded.
  std::string Recorded(const std::string& branch_id, Op op,
                       const std::function<std::string()>& work) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (done_.count({branch_id, op}) > 0) {
        throw LogicError("branch " + branch_id + " has such a step already; take a NewBranch()");
      }
      const auto found = recorded_.find({branch_id, op});
      if (found != recorded_.end()) {
        done_.insert(found->first);
        if (found->second.failed) throw FailureError(found->second.payload);
        return found->second.payload;
      }
    }
    Step step;
    step.branch_id = branch_id;
    step.op = op;
    try {
      step.payload = work();
    } catch (const FailureError& error) {
      step.payload = error.what();
      step.failed = true;
      Record(step);
      throw;
    }
    Record(step);
    return step.payload;
  }

  void Record(const Step& step) {
    endpoint_->RegisterBranch(gid_, TransType::kWorkflow, step);
    const std::lock_guard<std::mutex> lock(mutex_);
    done_.insert({step.branch_id, step.op});
  }

  std::string CallUrl(const std::string& branch_id, Op op, const std::string& url,
                      const std::string& payload) const {
    if (url.empty()) return {};
    DirectCall call;
    call.info = {gid_, TransType::kWorkflow, branch_id, op, {}};
    call.url = url;
    call.payload = payload;
    call.options = options_;
    return AnswerOf(endpoint_->CallBranch(call), "gid '" + gid_ + "': branch " + branch_id);
  }

  void Keep(std::vector<Undo>& list, const std::string& branch_id, Callback callback) {
    if (deciding_) throw LogicError("a callback of a workflow registers no callbacks");
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Undo& other : list) {
      if (other.branch_id != branch_id) continue;
      throw LogicError("branch " + branch_id + " has such a callback already; take a NewBranch()");
    }
    list.push_back({branch_id, std::move(callback)});
  }

  /// A branch that failed did nothing, so there is nothing of it to undo.
  void ForgetRollbackOf(const std::string& branch_id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto undo = rollbacks_.begin(); undo != rollbacks_.end(); ++undo) {
      if (undo->branch_id != branch_id) continue;
      rollbacks_.erase(undo);
      return;
    }
  }

  /// The last registered first. A callback has to succeed in the end: if it throws, all of this comes again.
  void RunCallbacks(bool succeeded) {
    deciding_ = true;
    const std::vector<Undo>& list = succeeded ? commits_ : rollbacks_;
    for (auto undo = list.rbegin(); undo != list.rend(); ++undo) {
      (void)Recorded(undo->branch_id, succeeded ? Op::kCommit : Op::kRollback, [&] {
        try {
          undo->callback();
        } catch (const FailureError& error) {
          throw Error("gid '" + gid_ + "': a callback of branch " + undo->branch_id +
                      " must not fail: " + error.what());
        }
        return std::string();
      });
    }
  }

  Endpoint* endpoint_;
  const std::string gid_;
  const TransOptions options_;
  SubBranches branches_;
  std::mutex mutex_;
  std::map<std::pair<std::string, Op>, Step> recorded_;
  std::set<std::pair<std::string, Op>> done_;  // in this run, or replayed by it
  std::vector<Undo> rollbacks_;
  std::vector<Undo> commits_;
  bool deciding_ = false;
};

/// One branch of a workflow; a value that refers to its workflow.
class WorkflowBranch {
 public:
  WorkflowBranch(Workflow& workflow, std::string id) : workflow_(&workflow), id_(std::move(id)) {}

  /// Called if the workflow fails, after the branches that came later were undone. Register it before the step.
  /// `undo` takes nothing; it must cope with a step that did nothing, and may be called several times.
  WorkflowBranch& OnRollback(std::function<void()> undo) {
    workflow_->Keep(workflow_->rollbacks_, id_, std::move(undo));
    return *this;
  }
  /// The same, as a branch: a URL or a registered function with its payload.
  template <typename Branch, typename Payload>
  WorkflowBranch& OnRollback(const Branch& branch, const Payload& payload) {
    return OnRollback(CallLater(Op::kRollback, branch, payload));
  }

  /// Called if the workflow succeeds.
  WorkflowBranch& OnCommit(std::function<void()> commit) {
    workflow_->Keep(workflow_->commits_, id_, std::move(commit));
    return *this;
  }
  template <typename Branch, typename Payload>
  WorkflowBranch& OnCommit(const Branch& branch, const Payload& payload) {
    return OnCommit(CallLater(Op::kCommit, branch, payload));
  }

  /// Called in both cases, with whether it succeeded.
  WorkflowBranch& OnFinish(const std::function<void(bool)>& finish) {
    OnCommit([finish] { finish(true); });
    return OnRollback([finish] { finish(false); });
  }

  /// Runs `step()` here and records what it returned: nothing, a text, or anything nlohmann can serialise. Returns
  /// the recorded text. It may run again if the program dies between its end and the record: give it a barrier.
  /// @throws FailureError  it failed (and is recorded as that): let it pass, and the workflow is rolled back.
  /// @throws what it threw  nothing is recorded, the workflow is run again later: after OngoingError at the
  /// retry interval, after others with growing waits.
  template <typename Function>
  std::string Do(const Function& step) {
    return RunStep([&]() -> std::string {
      using Returned = decltype(step());
      if constexpr (std::is_void_v<Returned>) {
        step();
        return {};
      } else if constexpr (std::is_convertible_v<Returned, std::string> &&
                           !std::is_same_v<std::decay_t<Returned>, nlohmann::json>) {
        return step();
      } else {
        return nlohmann::json(step()).dump();
      }
    });
  }

  /// Calls a branch, a URL or a registered function, and records the body of its answer; returns it.
  /// @throws as Do
  template <typename Branch, typename Payload>
  std::string Call(const Branch& branch, const Payload& payload) {
    const auto call = TextOf(branch, payload);
    return RunStep([&] { return workflow_->CallUrl(id_, Op::kAction, call.first, call.second); });
  }

  const std::string& Id() const { return id_; }

 private:
  std::string RunStep(const std::function<std::string()>& work) {
    try {
      return workflow_->Recorded(id_, Op::kAction, work);
    } catch (const FailureError&) {
      workflow_->ForgetRollbackOf(id_);
      throw;
    }
  }

  template <typename Branch, typename Payload>
  std::pair<std::string, std::string> TextOf(const Branch& branch, const Payload& payload) const {
    branch_args::CheckPayload<Branch, Payload>();
    return {branch_args::Url(*workflow_->endpoint_, workflow_->gid_, branch),
            branch_args::Text(workflow_->gid_, "branch " + id_, nlohmann::json(payload))};
  }

  template <typename Branch, typename Payload>
  std::function<void()> CallLater(Op op, const Branch& branch, const Payload& payload) const {
    Workflow* workflow = workflow_;
    return [workflow, op, id = id_, call = TextOf(branch, payload)] {
      (void)workflow->CallUrl(id, op, call.first, call.second);
    };
  }

  Workflow* workflow_;
  std::string id_;
};

inline WorkflowBranch Workflow::NewBranch() {
  if (deciding_) throw LogicError("a callback of a workflow has no branches of its own");
  return WorkflowBranch(*this, branches_.Next());
}

}  // namespace v1
}  // namespace dtm
