/// TCC: branches are tried one by one by the initiator, then all are confirmed, or all cancelled.
/// Needs: nlohmann/json. Threads: one Tcc by one thread at a time. Protocol: §4.3, §11.2.
#pragma once

#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/callable.hpp>
#include <dtm/client/branch_args.hpp>
#include <dtm/client/global_transaction.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// A prepared TCC transaction; the body of TccGlobalTransaction gets it.
class Tcc : public GlobalTransaction {
 public:
  /// See TccGlobalTransaction.
  Tcc(Endpoint& endpoint, std::string gid, TransOptions options)
      : GlobalTransaction(endpoint, std::move(gid), std::move(options)) {}

  /// Inside a try, to have branches below it. `caller` is what the try was called with; `options` are for the calls of
  /// its own tries (request_timeout, branch_headers).
  Tcc(Endpoint& endpoint, const BranchInfo& caller, TransOptions options = {})
      : GlobalTransaction(endpoint, caller.gid, std::move(options), caller.branch_id) {}

  /// Registers the branch, then calls its try; the call has `request_timeout` (3 s by default). Confirm or cancel follow
  /// when the transaction is decided, with the same payload. Cancel also comes if the try failed or never arrived, and must
  /// do nothing then. Branches are URLs or registered functions; a function for confirm or cancel may take a type of its own,
  /// if that can be read from the same JSON. Returns the body of the reply (empty for a function).
  /// @throws InDoubtError   there was no answer to the registration; the try was not called.
  /// @throws FailureError   the try refused: let it pass, and everything is cancelled.
  /// @throws RejectedError  the transaction is decided already (its timeout), or a URL cannot be called; the try was not called.
  /// @throws LogicError     JSON cannot hold the payload, a function cannot read it, or it is the 100th branch of this
  ///                        initiator; the try was not called.
  /// @throws Error          the try gave no definite result (OngoingError: not yet). Let it pass, too.
  template <typename Payload, typename Try, typename Confirm, typename Cancel>
  std::string CallBranch(const Payload& payload, const Try& try_branch, const Confirm& confirm,
                         const Cancel& cancel) {
    static_assert(branch_args::CheckPayload<Try, Payload>());
    Step step;
    step.branch_id = branches_.Next();
    const std::string where = "branch " + step.branch_id;
    const nlohmann::json json = branch_args::Json(payload);
    step.payload = branch_args::Text(gid_, where, json);
    branch_args::CheckReads<Payload>(confirm, gid_, where, json);
    branch_args::CheckReads<Payload>(cancel, gid_, where, json);
    step.action = branch_args::Url(*endpoint_, gid_, confirm);
    step.compensate = branch_args::Url(*endpoint_, gid_, cancel);
    InitiatorCall call = NewCall(TransType::kTcc, step.branch_id, Op::kTry);
    call.url = branch_args::Url(*endpoint_, gid_, try_branch);
    call.payload = step.payload;
    endpoint_->RegisterBranch(gid_, TransType::kTcc, std::move(step));
    return Call(call, "try");
  }
};

/// Prepares a TCC, runs `body(Tcc&)` in this thread, and submits. Returns once it is durable that all branches will be confirmed (with
/// options.wait_result: once they are, after 6 s at the latest). If `body` throws, all branches are cancelled and the
/// exception passes. After a crash they are cancelled when options.timeout_to_fail (35 s) is over.
/// @throws InDoubtError   there was no answer to prepare or submit; ask for the gid.
/// @throws RejectedError  the timeout came before the submit: everything is cancelled.
/// @throws what `body` threw; else as Saga::Submit.
template <typename Body>
TransResult TccGlobalTransaction(Endpoint& endpoint, std::string gid, TransOptions options,
                                 const Body& body) {
  static_assert(callable::Check<Body, Tcc&>(), "dtm: the body takes dtm::Tcc&");
  return RunGlobalTransaction<Tcc>(endpoint, TransType::kTcc, std::move(gid), std::move(options),
                                   body);
}
/// The same with options that are all left to the coordinator.
template <typename Body>
TransResult TccGlobalTransaction(Endpoint& endpoint, std::string gid, const Body& body) {
  return TccGlobalTransaction(endpoint, std::move(gid), TransOptions{}, body);
}

}  // namespace v1
}  // namespace dtm
