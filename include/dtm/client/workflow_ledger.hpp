/// The recorded steps of a workflow, from earlier runs and from this one. A recorded step is not done again. If this run
/// does not match the record, nothing more is done.
/// Needs: std. Threads: thread-safe. Protocol: §4.5, §11.7; what a step was is this library's addition.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>

namespace dtm {
inline namespace v1 {

/// A step was done, but its result cannot be recorded.
struct NotKept {
  std::string why;
};

/// A limit was exceeded by something that was done already: the workflow fails, and what was done is undone.
class BeyondLimit : public FailureError {
 public:
  using FailureError::FailureError;
};

class WorkflowLedger {
 public:
  using Work = std::function<std::string()>;

  WorkflowLedger(Endpoint& endpoint, std::string gid, const WorkflowState& state)
      : endpoint_(&endpoint), gid_(std::move(gid)) {
    for (const Step& step : state.recorded) {
      recorded_[{step.branch_id, step.op}] = step;
      answers_bytes_ += step.payload.size();
    }
  }

  /// Does `work` and records its result, or returns the recorded result. `step` identifies it: branch_id, op, action
  /// and topic.
  /// @throws FailureError  it failed, now or before. BeyondLimit: it was done, but its result cannot be kept; that is
  /// recorded, so it is not done again.
  /// @throws LogicError    something else is recorded: see Refuse.
  /// @throws what `work` threw, and then nothing is recorded.
  std::string Take(Step step, const Work& work) {
    if (std::optional<std::string> before = Before(step)) return std::move(*before);
    std::string unkept;
    try {
      step.payload = work();
      unkept = Unkept(step);
    } catch (const FailureError& error) {
      step.payload = Truncated(error.what(), kMaxReasonBytes);
      step.failed = true;
      Record(step);
      throw;
    } catch (const NotKept& error) {
      unkept = error.why;
    }
    if (!unkept.empty()) {
      step.op = Op::kBusiness;
      step.payload = Truncated(unkept, kMaxReasonBytes);
      Record(step);
      Doom(unkept);
    }
    Record(step);
    return step.payload;
  }

  /// From now on no step begins and the workflow fails, even if the function catches the exception.
  [[noreturn]] void Doom(const std::string& why) {
    const std::lock_guard<std::mutex> lock(mutex_);
    doomed_ = Truncated(why, kMaxReasonBytes);
    throw BeyondLimit(doomed_);
  }

  /// The function has returned `result`.
  /// @throws BeyondLimit  a limit was met.
  void CheckKept(const std::string& result) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!doomed_.empty()) throw BeyondLimit(doomed_);
    }
    if (result.size() <= kMaxPayloadBytes) return;
    Doom("gid '" + gid_ + "': the workflow returned " + std::to_string(result.size()) +
         " bytes; the limit is " + std::to_string(kMaxPayloadBytes));
  }

  /// The function has ended. Everything recorded must have been replayed, and callbacks that have begun must belong to
  /// this decision. `callbacks`: the branches that have one for it.
  /// @throws LogicError  see Refuse.
  void Decide(bool succeeded, const std::set<std::string>& callbacks) {
    CheckDecision(succeeded, callbacks);
    if (callbacks.empty()) return;
    // Before the first callback begins: if the program dies in it, the next run must not decide otherwise, nor may
    // another process, which the coordinator refuses.
    Step decision;
    decision.branch_id = kDecision;
    decision.op = Op::kAction;
    decision.action = kOwnCode;
    decision.payload = Name(succeeded ? Op::kCommit : Op::kRollback);
    if (recorded_.count({decision.branch_id, decision.op}) == 0) Record(decision);
  }

  /// @throws LogicError  this run was refused, but the function ignored that.
  void CheckNotRefused() {
    const std::lock_guard<std::mutex> lock(mutex_);
    CheckRefused();
  }

 private:
  using Key = std::pair<std::string, Op>;

  void CheckDecision(bool succeeded, const std::set<std::string>& callbacks) {
    const std::lock_guard<std::mutex> lock(mutex_);
    CheckRefused();
    const Op wrong = succeeded ? Op::kRollback : Op::kCommit;
    for (const auto& entry : recorded_) {
      const Step& step = entry.second;
      if (step.branch_id == kDecision) {
        if (step.payload == Name(wrong)) RefuseDecision(step, succeeded);
        continue;
      }
      const bool callback = step.op == Op::kRollback || step.op == Op::kCommit;
      const bool action = step.op == Op::kAction || step.op == Op::kBusiness;
      if (action && done_.count({step.branch_id, Op::kAction}) == 0) {
        Refuse(Named(step) + " is recorded, and this run ended without it");
      } else if (step.op == wrong) {
        RefuseDecision(step, succeeded);
      } else if (callback && callbacks.count(step.branch_id) == 0) {
        Refuse(Named(step) + " is recorded, and this run has registered none");
      }
    }
  }

  [[noreturn]] void RefuseDecision(const Step& step, bool succeeded) {
    Refuse(Named(step) + " is recorded, so it was decided to " +
           (succeeded ? "roll back" : "commit") + ", and this run " +
           (succeeded ? "succeeded" : "failed"));
  }

  std::optional<std::string> Before(const Step& step) {
    const std::lock_guard<std::mutex> lock(mutex_);
    CheckRefused();
    const Key key{step.branch_id, step.op};
    if (done_.count(key) > 0) {
      throw LogicError("branch " + step.branch_id + " has such a step already; take a NewBranch()");
    }
    auto found = recorded_.find(key);
    if (found == recorded_.end() && step.op == Op::kAction) {
      found = recorded_.find({step.branch_id, Op::kBusiness});
    }
    if (found == recorded_.end()) {
      if (step.op != Op::kAction) return std::nullopt;
      if (!doomed_.empty()) throw BeyondLimit(doomed_);
      CheckUndecided(step);
      return std::nullopt;
    }
    const Step& old = found->second;
    const bool same = SameCall(old.action, step.action) && old.topic == step.topic;
    if (!old.action.empty() && !same) {
      Refuse(Named(step) + " was recorded as " + What(old) + " and is " + What(step) + " now");
    }
    done_.insert(key);
    if (old.op == Op::kBusiness) throw BeyondLimit(doomed_ = old.payload);
    if (old.failed) throw FailureError(old.payload);
    return old.payload;
  }

  /// Once a decision is recorded, there can be no new steps.
  void CheckUndecided(const Step& step) {
    for (const auto& entry : recorded_) {
      const Op op = entry.first.second;
      if (op != Op::kRollback && op != Op::kCommit && entry.first.first != kDecision) continue;
      Refuse(Named(entry.second) +
             " is recorded, so all steps were done before, and this run has " + Named(step) +
             " as well, " + What(step));
    }
  }

  /// Why the result cannot be recorded; empty if it can.
  std::string Unkept(const Step& step) {
    if (step.op != Op::kAction) return {};  // a callback, which has no result
    const std::string done = "gid '" + gid_ + "': branch " + step.branch_id +
                             " was done, but its answer cannot be kept: ";
    if (step.payload.size() > kMaxPayloadBytes) {
      return done + "it has " + std::to_string(step.payload.size()) + " bytes; the limit is " +
             std::to_string(kMaxPayloadBytes);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    answers_bytes_ += step.payload.size();
    if (answers_bytes_ <= kMaxAnswersBytes) return {};
    return done + "with those before it has " + std::to_string(answers_bytes_) +
           " bytes; the limit is " + std::to_string(kMaxAnswersBytes);
  }

  void Record(const Step& step) {
    endpoint_->RegisterBranch(gid_, TransType::kWorkflow, step);
    const std::lock_guard<std::mutex> lock(mutex_);
    done_.insert({step.branch_id, step.op == Op::kBusiness ? Op::kAction : step.op});
  }

  /// From now on this run does and undoes nothing, even if the function catches the exception.
  [[noreturn]] void Refuse(const std::string& why) {
    refused_ = "gid '" + gid_ + "' does not go on: " + why +
               ". Nothing more is done or undone. Run the code that recorded it, or ForceStop it; "
               "new code of a workflow "
               "gets a new name";
    throw LogicError(refused_);
  }
  void CheckRefused() const {
    if (!refused_.empty()) throw LogicError(refused_);
  }

  static std::string Named(const Step& step) {
    if (step.branch_id == kDecision) return "the decision to " + step.payload;
    return "the " + std::string(Name(step.op)) + " of branch " + step.branch_id;
  }
  static std::string What(const Step& step) {
    const std::string what = step.action == kOwnCode  ? "own code"
                             : step.action == kNoCall ? "no call"
                                                      : "a call of " + Truncated(step.action, 200);
    return step.topic.empty() ? what : what + " named '" + step.topic + "'";
  }

  Endpoint* endpoint_;
  const std::string gid_;
  std::mutex mutex_;
  std::map<Key, Step> recorded_;  // before this run
  std::set<Key> done_;            // in this run, or replayed by it
  std::size_t answers_bytes_ = 0;
  std::string refused_;
  std::string doomed_;
};

}  // namespace v1
}  // namespace dtm
