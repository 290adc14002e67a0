/// Why a command is refused, in the sentences that dtm's clients know.
/// Needs: std. Threads: pure functions. Protocol: §2.2, §2.4.
#pragma once

#include <exception>
#include <string>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>

namespace dtm {
inline namespace v1 {
namespace refusals {

using Kind = Instruction::Kind;

inline std::string Unknown(const std::string& gid) {
  return "no TransGlobal with gid: " + gid + " found; there is no transaction with gid '" + gid +
         "', or it ended and its time was over; check the gid";
}

inline std::string NotPrepared(const std::string& gid) {
  return "no trans with gid: " + gid + " status: prepared found FAILURE";
}

/// The text begins with what dtm's clients look for.
inline std::string Sentence(Kind kind, const Transaction& transaction, const std::string& why) {
  const std::string status = Name(transaction.status);
  std::string unchanged = "gid '" + transaction.definition->gid + "' was not changed: " + why;
  switch (kind) {
    case Kind::kCancel:
      return "trans type: '" + std::string(Name(transaction.definition->type)) +
             "' current status '" + status + "', cannot abort. FAILURE: " + unchanged;
    case Kind::kForceStop:
      return "global transaction force stop error. status: " + status +
             ". error: FAILURE: " + unchanged;
    default: return unchanged;
  }
}

[[noreturn]] inline void RefuseEnded(Kind kind, const Transaction& transaction) {
  const std::string& gid = transaction.definition->gid;
  if (kind == Kind::kAddBranch) throw RejectedError(NotPrepared(gid));
  const std::string status = Name(transaction.status);
  throw EndedError(Sentence(kind, transaction, "it has already ended as " + status));
}

[[noreturn]] inline void Refuse(Kind kind, const Transaction& transaction, const std::string& why) {
  if (IsFinal(transaction.status)) RefuseEnded(kind, transaction);
  throw RejectedError(Sentence(kind, transaction, why));
}

/// To register or to finish assumes that the transaction exists; that it does not is a conflict, and no bad input.
[[noreturn]] inline void RefuseUnknown(Kind kind, const std::string& gid) {
  switch (kind) {
    case Kind::kAddBranch: throw RejectedError(NotPrepared(gid));
    case Kind::kFinish: throw RejectedError(Unknown(gid));
    default: throw BadInput(Unknown(gid));
  }
}

/// What asked for this event.
inline Kind KindOf(engine::EventKind event) {
  switch (event) {
    case engine::EventKind::kCancel: return Kind::kCancel;
    case engine::EventKind::kForceStop: return Kind::kForceStop;
    case engine::EventKind::kRepair: return Kind::kSkip;
    case engine::EventKind::kFinish: return Kind::kFinish;
    case engine::EventKind::kBranchAdded: return Kind::kAddBranch;
    default: return Kind::kRetryNow;
  }
}

/// Of a command whose event was applied to a record that turned out not to be the stored one, and does not fit that.
inline std::exception_ptr OfEvent(engine::EventKind event, const Transaction& stored,
                                  const std::string& why) {
  try {
    Refuse(KindOf(event), stored, why);
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace refusals
}  // namespace v1
}  // namespace dtm
