/// XA: branches work inside XA transactions of their databases, then all are committed, or all rolled back.
/// Needs: nlohmann/json. Threads: one Xa by one thread at a time. Protocol: §4.4, §11.4 (the initiator's side; the
/// branch's side belongs to the databases that have XA).
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

/// A prepared XA transaction; the body of XaGlobalTransaction gets it.
class Xa : public GlobalTransaction {
 public:
  /// See XaGlobalTransaction.
  Xa(Endpoint& endpoint, std::string gid, TransOptions options)
      : GlobalTransaction(endpoint, std::move(gid), std::move(options)) {}

  /// Calls the branch, which does its work in an XA transaction, registers itself and prepares. Later it is called at the
  /// same url to commit or to roll back. The call has `request_timeout` (3 s by default). Returns the body of its reply.
  /// @throws FailureError   it refused: let it pass, and everything is rolled back.
  /// @throws RejectedError  its URL cannot be called; the branch was not called.
  /// @throws LogicError     JSON cannot hold the payload, or it is the 100th branch; the branch was not called.
  /// @throws Error          it gave no definite result (OngoingError: not yet). Let it pass, too.
  template <typename Payload, typename Branch>
  std::string CallBranch(const Payload& payload, const Branch& branch) {
    static_assert(branch_args::CheckPayload<Branch, Payload>());
    InitiatorCall call = NewCall(TransType::kXa, branches_.Next(), Op::kAction);
    call.url = branch_args::Url(*endpoint_, gid_, branch);
    call.payload =
        branch_args::Text(gid_, "branch " + call.info.branch_id, branch_args::Json(payload));
    call.phase2_url = call.url;
    return Call(call, "action");
  }
};

/// As TccGlobalTransaction, with `body(Xa&)`.
template <typename Body>
TransResult XaGlobalTransaction(Endpoint& endpoint, std::string gid, TransOptions options,
                                const Body& body) {
  static_assert(callable::Check<Body, Xa&>(), "dtm: the body takes dtm::Xa&");
  return RunGlobalTransaction<Xa>(endpoint, TransType::kXa, std::move(gid), std::move(options),
                                  body);
}
/// The same with options that are all left to the coordinator.
template <typename Body>
TransResult XaGlobalTransaction(Endpoint& endpoint, std::string gid, const Body& body) {
  return XaGlobalTransaction(endpoint, std::move(gid), TransOptions{}, body);
}

}  // namespace v1
}  // namespace dtm
