/// The saga builder: steps with their compensations, for any coordinator.
/// Needs: nlohmann/json. Threads: one builder by one thread at a time.
/// Protocol: §4.1, §11.1.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/base/callable.hpp>
#include <dtm/client/branch_args.hpp>
#include <dtm/client/option_setters.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// A saga under construction: a movable value. Every method before Submit only changes the builder.
class Saga : public OptionSetters<Saga> {
 public:
  /// See NewSaga.
  Saga(Endpoint& endpoint, std::string gid) : endpoint_(&endpoint) {
    definition_.gid = std::move(gid);
    definition_.type = TransType::kSaga;
  }

  /// Adds a step: what to do, how to undo it, and the payload that both get.
  ///
  /// A branch is a URL, a function registered with the coordinator, or kNoBranch. The payload is
  /// anything nlohmann/json can serialise, and is serialised here; if the action is a registered
  /// function it must be of the function's payload type. A compensation may take another type, which
  /// can be read from the same JSON. At most 1000 steps of 256 KiB.
  ///
  /// An action that failed, or gave no definite result, is compensated too, since it may have had an
  /// effect. So a compensation must do nothing if its action did nothing.
  /// @throws LogicError  the function belongs to another coordinator; JSON cannot hold the payload (NaN,
  ///                     a text that is not UTF-8), or the compensation cannot read it.
  /// @throws RejectedError  the URL cannot be called (no http://, no host, ...).
  template <typename Action, typename Compensate, typename Payload>
  Saga& Add(const Action& action, const Compensate& compensate, const Payload& payload) & {
    static_assert(branch_args::CheckPayload<Action, Payload>());
    static_assert(branch_args::CheckBranch<Compensate>());
    const std::string& gid = definition_.gid;
    const std::string where = "step " + std::to_string(definition_.steps.size());
    const nlohmann::json json = branch_args::Json(payload);
    Step step;
    step.payload = branch_args::Text(gid, where, json);
    branch_args::CheckReads<Payload>(compensate, gid, where, json);
    step.action = branch_args::Url(*endpoint_, gid, action);
    step.compensate = branch_args::Url(*endpoint_, gid, compensate);
    definition_.steps.push_back(std::move(step));
    return *this;
  }
  template <typename Action, typename Compensate, typename Payload>
  Saga Add(const Action& action, const Compensate& compensate, const Payload& payload) && {
    return std::move(Add(action, compensate, payload));
  }

  /// `step` starts only after the steps in `after` have succeeded, and is compensated before them. Steps
  /// are counted from 0. Use it with SetConcurrent. Submit refuses orders that form a cycle.
  Saga& AddBranchOrder(int step, std::vector<int> after) & {
    definition_.orders[step] = std::move(after);
    return *this;
  }
  Saga AddBranchOrder(int step, std::vector<int> after) && {
    return std::move(AddBranchOrder(step, std::move(after)));
  }

  /// Starts all steps at once, except for the orders of AddBranchOrder.
  Saga& SetConcurrent() & {
    definition_.concurrent = true;
    return *this;
  }
  Saga SetConcurrent() && { return std::move(SetConcurrent()); }

  /// Gives the saga to the coordinator. Returns once it is durable there, not once it has run (with SetWaitResult:
  /// once it has ended or must wait, after 6 s at the latest). May be repeated: the same saga never runs twice.
  /// @throws InDoubtError   there was no answer; the saga may be stored. Submit again.
  /// @throws RejectedError  a limit, or the gid exists with other content; nothing was stored.
  /// @throws FailureError   the saga of this gid was rolled back.
  /// @throws StoreError     the coordinator could not store it; nothing was stored.
  /// Cost: one commit, shared with everything else that is submitted at that moment.
  TransResult Submit() const { return endpoint_->Submit(definition_); }

  /// Submit, then waits up to `timeout` for the end; Duration::max(): for ever.
  /// @return succeed, failed (with the reason) or, at the timeout, the unfinished status.
  /// @throws as Submit, but a saga that was rolled back is returned, not thrown.
  [[nodiscard]] TransResult SubmitAndWait(Duration timeout) const {
    return endpoint_->SubmitAndWait(definition_, timeout);
  }

  /// Submit without waiting. `callback` gets what Submit would have returned or thrown. It runs on a thread
  /// of the coordinator, so it must be quick and must not wait for the coordinator.
  /// @throws RejectedError  refused at once (a limit, too much is waiting); the callback is not called.
  template <typename Callback>
  void SubmitAsync(Callback callback) const {
    static_assert(callable::CheckMutable<Callback, const Answer&>(),
                  "dtm: the callback of SubmitAsync takes const dtm::Answer&");
    endpoint_->SubmitAsync(definition_, callable::Keep<void(const Answer&)>(std::move(callback)));
  }

  /// As given to NewSaga.
  const std::string& Gid() const { return definition_.gid; }
  /// What Submit gives to the coordinator.
  const Definition& Content() const { return definition_; }

 private:
  friend class OptionSetters<Saga>;
  TransOptions& MutableOptions() { return definition_.options; }

  Endpoint* endpoint_;
  Definition definition_;
};

/// A saga for `endpoint`, a Coordinator or a RemoteCoordinator, which must outlive the builder.
inline Saga NewSaga(Endpoint& endpoint, std::string gid) { return Saga(endpoint, std::move(gid)); }
Saga NewSaga(Endpoint&& endpoint, std::string gid) = delete;

}  // namespace v1
}  // namespace dtm
