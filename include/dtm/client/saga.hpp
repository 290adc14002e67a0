/// The saga builder: steps with their compensations, handed to any coordinator.
/// Needs: nlohmann/json. Threads: one builder by one thread at a time.
/// Protocol: §4.1, §11.1.
#pragma once

#include <chrono>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/client/option_setters.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/local_branch.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// Nothing to undo in this step (or nothing to do): `.Add(notify, kNoBranch, payload)`. Also the
/// last step may have to be undone: when it times out or the saga is cancelled while it runs.
struct NoBranch {};
inline constexpr NoBranch kNoBranch{};

/// A saga under construction: a movable value. Every method before Submit only changes the builder.
class Saga : public OptionSetters<Saga> {
 public:
  Saga(Endpoint& endpoint, std::string gid) : endpoint_(&endpoint) {
    definition_.gid = std::move(gid);
    definition_.type = TransType::kSaga;
  }

  /// Adds a step: what to do, how to undo it, and the payload that both get.
  ///
  /// A branch is a URL, a function registered with the coordinator, or kNoBranch. The payload is
  /// anything nlohmann/json can serialise, and is serialised here; for a registered function it
  /// must be of the function's payload type. At most 1000 steps of 256 KiB.
  ///
  /// An action that failed, or gave no definite answer, is compensated too, since it may have left
  /// something behind: a compensation must do nothing if its action did nothing.
  /// @throws LogicError  the function belongs to another coordinator.
  template <typename Action, typename Compensate, typename Payload>
  Saga& Add(const Action& action, const Compensate& compensate, const Payload& payload) & {
    CheckPayload<Action, Payload>();
    CheckPayload<Compensate, Payload>();
    Step step;
    step.action = Url(action);
    step.compensate = Url(compensate);
    step.payload = Text(nlohmann::json(payload));
    definition_.steps.push_back(std::move(step));
    return *this;
  }
  template <typename Action, typename Compensate, typename Payload>
  Saga Add(const Action& action, const Compensate& compensate, const Payload& payload) && {
    return std::move(Add(action, compensate, payload));
  }

  /// Step `branch` starts only after the steps in `after` have succeeded, and is compensated before
  /// them. Steps are counted from 0. Use it with SetConcurrent.
  Saga& AddBranchOrder(int branch, std::vector<int> after) & {
    definition_.orders[branch] = std::move(after);
    return *this;
  }
  Saga AddBranchOrder(int branch, std::vector<int> after) && {
    return std::move(AddBranchOrder(branch, std::move(after)));
  }

  /// Starts all steps together, but for what AddBranchOrder says.
  Saga& SetConcurrent() & {
    definition_.concurrent = true;
    return *this;
  }
  Saga SetConcurrent() && { return std::move(SetConcurrent()); }

  /// Hands the saga to the coordinator; returns once it is durable there, not once it has run (with
  /// SetWaitResult: once it has ended, or must wait). May be repeated: the same saga is never run
  /// twice.
  /// @throws InDoubtError   no answer; it may be stored. Submit again.
  /// @throws RejectedError  a limit, or the gid exists with other content; nothing was stored.
  /// @throws FailureError   the saga of this gid was rolled back.
  /// @throws StoreError     the coordinator could not store it; nothing was stored.
  /// Cost: one commit, shared with what else is submitted at that moment.
  TransResult Submit() const { return endpoint_->Submit(definition_); }

  /// Submit, then waits up to `timeout` for the end.
  /// @return succeed, failed (with the reason) or, at the timeout, the unfinished status.
  [[nodiscard]] TransResult SubmitAndWait(Duration timeout) const {
    return endpoint_->SubmitAndWait(definition_, timeout);
  }

  /// Submit without waiting. `callback` gets what Submit would have returned or thrown, on a thread
  /// of the coordinator: it must be quick and must not wait for the coordinator.
  /// @throws RejectedError  refused at once (a limit, too much is waiting); no callback follows.
  void SubmitAsync(ReplyCallback callback) const {
    endpoint_->SubmitAsync(definition_, std::move(callback));
  }

  const std::string& Gid() const { return definition_.gid; }

 private:
  friend class OptionSetters<Saga>;
  TransOptions& MutableOptions() { return definition_.options; }

  template <typename Branch, typename Payload>
  static void CheckPayload() {
    if constexpr (IsLocalBranch<Branch>::value) {
      static_assert(std::is_same_v<typename IsLocalBranch<Branch>::Type, Payload>,
                    "dtm: this function was registered for another payload type");
    } else {
      static_assert(std::is_same_v<Branch, NoBranch> || std::is_convertible_v<Branch, std::string>,
                    "dtm: a branch is a URL, a registered function, or dtm::kNoBranch");
    }
  }
  template <typename Branch>
  struct IsLocalBranch : std::false_type {};
  template <typename T>
  struct IsLocalBranch<LocalBranch<T>> : std::true_type {
    using Type = T;
  };

  std::string Text(const nlohmann::json& payload) const {
    try {
      return payload.dump();
    } catch (const nlohmann::json::exception& error) {
      throw LogicError("gid '" + definition_.gid + "': the payload of step " +
                       std::to_string(definition_.steps.size()) +
                       " cannot be written as JSON: " + error.what());
    }
  }

  static std::string Url(NoBranch) { return {}; }
  template <typename T>
  std::string Url(const LocalBranch<T>& branch) const {
    return endpoint_->UrlOfLocal(branch.name, branch.owner);
  }
  std::string Url(const std::string& url) const {
    if (IsLocal(url)) {
      throw LogicError(
          "gid '" + definition_.gid + "': '" + url +
          "' names a function; pass what Register returned, so that its payload type is "
          "checked");
    }
    return url;
  }

  Endpoint* endpoint_;
  Definition definition_;
};

/// A saga that `endpoint` will carry out: Coordinator or RemoteCoordinator. The endpoint must
/// outlive the builder.
inline Saga NewSaga(Endpoint& endpoint, std::string gid) { return Saga(endpoint, std::move(gid)); }
Saga NewSaga(Endpoint&& endpoint, std::string gid) = delete;

}  // namespace v1
}  // namespace dtm
