/// What tcc and xa share: prepare, run the initiator's code, then submit or abort; and the calls that code makes.
/// Needs: std. Threads: the caller's. Protocol: §11.2 (GlobalTransaction).
#pragma once

#include <exception>
#include <string>
#include <utility>

#include <dtm/base/callable.hpp>
#include <dtm/base/error.hpp>
#include <dtm/client/sub_branches.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// A transaction that is prepared, and whose branches the initiator calls itself: what Tcc and Xa derive from.
class GlobalTransaction {
 public:
  /// As it was given to the function that began it.
  const std::string& Gid() const { return gid_; }

 protected:
  /// `parent`: the branch below which the new ones are; empty: there is none.
  GlobalTransaction(Endpoint& endpoint, std::string gid, TransOptions options,
                    std::string parent = {})
      : endpoint_(&endpoint),
        gid_(std::move(gid)),
        options_(std::move(options)),
        branches_(std::move(parent)) {}

  /// A call of this transaction; its URL and payload are still empty.
  InitiatorCall NewCall(TransType type, std::string branch_id, Op op) const {
    InitiatorCall call;
    call.info = {gid_, type, std::move(branch_id), op, {}};
    call.options = options_;
    call.tell_coordinator = true;
    return call;
  }

  /// Makes the call and returns the body of its reply. `what`: "the try", for the sentence of an error.
  /// @throws as BodyOf.
  std::string Call(const InitiatorCall& call, const char* what) const {
    if (call.url.empty()) return {};
    return BodyOf(endpoint_->CallBranch(call),
                  "gid '" + gid_ + "': the " + what + " of branch " + call.info.branch_id);
  }

  Endpoint* endpoint_;
  std::string gid_;
  TransOptions options_;
  SubBranches branches_;
};

/// Prepares, runs `body`, and submits; if `body` throws, aborts and lets the exception pass.
template <typename Body>
TransResult RunGlobalTransaction(Endpoint& endpoint, Definition definition, const Body& body) {
  endpoint.Prepare(definition);
  std::string reason = "it threw something that is not a std::exception";
  try {
    try {
      body();
    } catch (const std::exception& error) {
      reason = error.what();
      throw;
    }
  } catch (...) {
    try {
      endpoint.Abort(definition.gid, definition.type, reason);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): its timeout will abort it
    }
    throw;
  }
  return endpoint.Submit(std::move(definition));
}

/// The same with a new `Transaction` (a Tcc or an Xa), which `body` gets.
template <typename Transaction, typename Body>
TransResult RunGlobalTransaction(Endpoint& endpoint, TransType type, std::string gid,
                                 TransOptions options, const Body& body) {
  Definition definition;
  definition.gid = std::move(gid);
  definition.type = type;
  definition.options = std::move(options);
  Transaction transaction(endpoint, definition.gid, definition.options);
  return RunGlobalTransaction(endpoint, std::move(definition), [&] {
    if constexpr (callable::kFits<Body, Transaction&>) body(transaction);
  });
}

}  // namespace v1
}  // namespace dtm
