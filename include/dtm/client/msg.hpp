/// The two-phase message builder: branches that are called if and only if a local transaction was committed.
/// Needs: nlohmann/json. Threads: one builder by one thread at a time. Protocol: §4.2, §11.1, §11.3.
#pragma once

#include <chrono>
#include <exception>
#include <string>
#include <type_traits>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/callable.hpp>
#include <dtm/base/error.hpp>
#include <dtm/client/branch_args.hpp>
#include <dtm/client/option_setters.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>

namespace dtm {
inline namespace v1 {

/// A message under construction: a movable value.
class Msg : public OptionSetters<Msg> {
 public:
  /// See NewMsg.
  Msg(Endpoint& endpoint, std::string gid) : endpoint_(&endpoint) {
    definition_.gid = std::move(gid);
    definition_.type = TransType::kMsg;
  }

  /// Adds a branch, a URL or a registered function, and its payload. Branches are called in this order, each
  /// until it succeeds. A branch cannot refuse, so it must always be able to do its work in the end.
  /// @throws LogicError  the function belongs to another coordinator; JSON cannot hold the payload (NaN,
  /// a text that is not UTF-8).
  /// @throws RejectedError  the URL cannot be called (no http://, no host, ...).
  template <typename Action, typename Payload>
  Msg& Add(const Action& action, const Payload& payload) & {
    static_assert(branch_args::CheckPayload<Action, Payload>());
    return AddStep(branch_args::Url(*endpoint_, definition_.gid, action),
                   branch_args::Json(payload));
  }
  template <typename Action, typename Payload>
  Msg Add(const Action& action, const Payload& payload) && {
    return std::move(Add(action, payload));
  }

  /// Adds all subscribers of the topic, as they are when the message is stored.
  /// @throws LogicError  JSON cannot hold the payload.
  template <typename Payload>
  Msg& AddTopic(const std::string& topic, const Payload& payload) & {
    static_assert(branch_args::CheckPayload<std::string, Payload>());
    return AddStep(kTopicPrefix + topic, branch_args::Json(payload));
  }
  template <typename Payload>
  Msg AddTopic(const std::string& topic, const Payload& payload) && {
    return std::move(AddTopic(topic, payload));
  }

  /// No branch is called until this much time has passed since the message was stored; at most 366 days.
  Msg& SetDelay(std::chrono::seconds delay) & {
    definition_.delay = delay;
    return *this;
  }
  Msg SetDelay(std::chrono::seconds delay) && { return std::move(SetDelay(delay)); }

  /// Calls all branches at once, instead of one after the other.
  Msg& SetConcurrent() & {
    definition_.concurrent = true;
    return *this;
  }
  Msg SetConcurrent() && { return std::move(SetConcurrent()); }

  /// Stores the message; no branch is called before Submit. If that does not come within the timeout (35 s, see
  /// SetTimeoutToFail), `query_prepared` is asked: success means deliver, FAILURE means forget it.
  /// `query_prepared` is a URL or a function registered for nlohmann::json, which gets null.
  /// @throws as Submit; LogicError: the function belongs to another coordinator.
  template <typename Query>
  void Prepare(const Query& query_prepared) {
    static_assert(branch_args::CheckBranch<Query>());
    if constexpr (branch_args::IsLocalBranch<Query>::value) {
      static_assert(
          std::is_same_v<typename branch_args::IsLocalBranch<Query>::Type, nlohmann::json>,
          "dtm: the query of a message gets no payload; register it for nlohmann::json");
    }
    definition_.query_prepared = branch_args::Url(*endpoint_, definition_.gid, query_prepared);
    endpoint_->Prepare(definition_);
  }

  /// Submits the message for delivery, with or without a Prepare before; it is durable when this returns. May be repeated.
  /// Returns after one commit (with SetWaitResult: when it has ended or must wait, after 6 s at the latest); a
  /// RemoteCoordinator waits for the reply, at most RemoteOptions::timeout (10 s).
  /// @throws InDoubtError   there was no answer; the message may be stored. Submit again.
  /// @throws RejectedError  a limit, a topic without subscribers, other content; nothing was stored.
  /// @throws FailureError   it was aborted.
  /// @throws StoreError     the coordinator could not store it; nothing was stored.
  TransResult Submit() const { return endpoint_->Submit(definition_); }

  /// Submit, then waits up to `timeout` for the end (Duration::max(): for ever): the returned status is unfinished if that did
  /// not come.
  /// @throws as Submit, but a message that was aborted is returned, not thrown.
  [[nodiscard]] TransResult SubmitAndWait(Duration timeout) const {
    return endpoint_->SubmitAndWait(definition_, timeout);
  }

  /// Prepare, `business`, Submit. `business` runs a local transaction. It gets a `const BranchInfo&` to make its
  /// barrier from, and returns nothing or Result. `query_prepared` reads the row of that barrier:
  ///
  ///   msg.DoAndSubmit(query, [&](const dtm::BranchInfo& who) {
  ///     dtm::Barrier barrier = dtm::BarrierFrom(who);
  ///     return table.Call(barrier, [&](sqlite3* db) { Debit(db, 30); });
  ///   });
  ///
  /// FailureError or Result::Failure: nothing was committed, and the message is aborted. After any other error it is
  /// not known whether `business` committed, so `query_prepared` is asked at once. If it returns success, the message is
  /// submitted and this returns normally.
  /// @throws InDoubtError  also if `business` committed but the submit was refused for now (too much is waiting, the
  /// store failed): the message is prepared, and will be delivered when the coordinator asks `query_prepared`.
  /// @throws what `business` threw; else as Submit.
  template <typename Query, typename Business>
  TransResult DoAndSubmit(const Query& query_prepared, const Business& business) {
    static_assert(callable::Check<Business, const BranchInfo&>(),
                  "dtm: what DoAndSubmit runs takes const dtm::BranchInfo&");
    Prepare(query_prepared);
    const BranchInfo info{definition_.gid, TransType::kMsg, "00", Op::kMsg, {}};
    std::exception_ptr error;
    const Result done = CatchAsResult([&]() -> Result {
      try {
        return ResultOf(business, info);
      } catch (...) {
        error = std::current_exception();
        throw;
      }
    });
    if (done.kind == Result::Kind::kSuccess) return SubmitCommitted();
    const Result committed = done.kind == Result::Kind::kFailure ? done : AskInitiator(info);
    if (committed.kind == Result::Kind::kSuccess) return SubmitCommitted();
    if (committed.kind == Result::Kind::kFailure) Abort(done.text);
    if (error) std::rethrow_exception(error);
    if (committed.kind == Result::Kind::kFailure) throw FailureError(committed.text);
    throw InDoubtError("gid '" + definition_.gid +
                       "': the local transaction gave no definite answer (" + done.text +
                       "); the coordinator will ask " + ShownUrl(definition_.query_prepared));
  }

  /// As given to NewMsg.
  const std::string& Gid() const { return definition_.gid; }
  /// What Submit gives to the coordinator.
  const Definition& Content() const { return definition_; }

 private:
  friend class OptionSetters<Msg>;
  TransOptions& MutableOptions() { return definition_.options; }

  Msg& AddStep(std::string url, const nlohmann::json& payload) {
    Step step;
    step.action = std::move(url);
    step.payload = branch_args::Text(definition_.gid,
                                     "step " + std::to_string(definition_.steps.size()), payload);
    definition_.steps.push_back(std::move(step));
    return *this;
  }

  /// A refusal says "nothing was changed". That would be false here: the local transaction is committed.
  TransResult SubmitCommitted() const {
    const auto in_doubt = [this](const Error& error) {
      return InDoubtError("gid '" + definition_.gid +
                          "': the local transaction is committed and the message prepared, but its "
                          "submit was refused (" +
                          error.what() + "); submit it again, or the coordinator will ask " +
                          ShownUrl(definition_.query_prepared));
    };
    try {
      return Submit();
    } catch (const BusyError& error) {
      throw in_doubt(error);
    } catch (const StoreError& error) {
      throw in_doubt(error);
    }
  }

  Result AskInitiator(const BranchInfo& info) const {
    InitiatorCall call;
    call.info = info;
    call.url = definition_.query_prepared;
    call.options = definition_.options;
    return CatchAsResult([&] { return endpoint_->CallBranch(call); });
  }

  /// If this does not reach the coordinator, the coordinator asks the initiator later.
  void Abort(const std::string& reason) const {
    (void)CatchAsResult([&] {
      endpoint_->Abort(definition_.gid, TransType::kMsg, reason);
      return Result::Success();
    });
  }

  Endpoint* endpoint_;
  Definition definition_;
};

/// A message for `endpoint`, a Coordinator or a RemoteCoordinator, which must outlive the builder.
inline Msg NewMsg(Endpoint& endpoint, std::string gid) { return Msg(endpoint, std::move(gid)); }
Msg NewMsg(Endpoint&& endpoint, std::string gid) = delete;

}  // namespace v1
}  // namespace dtm
