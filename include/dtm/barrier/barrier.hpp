/// The barrier without a database: identifies the call of a branch service, and decides if its work is to
/// be done.
/// Needs: std. Threads: a Barrier by one thread at a time; the functions are pure.
/// Protocol: §11.5 (SQL barrier), §11.3 (the local step of a message).
///
/// Coordinators call a branch again when they got no reply. They may call its compensation although the
/// action never arrived, and the action may arrive late, after its compensation. A barrier makes
/// that harmless: each call leaves a row in a table beside the business rows, in their transaction,
/// and these rows decide. The file for your database does that: barrier/sqlite_barrier.hpp, postgres_barrier.hpp,
/// mysql_barrier.hpp, redis_barrier.hpp.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

/// One delivery of one branch call. Make a new one for each, from the request (BarrierFromQuery,
/// BarrierFromRequest) or from the BranchInfo that a branch function gets (BarrierFrom).
class Barrier {
 public:
  /// All four as the coordinator sent them: trans_type ("saga", "msg", "tcc", ...) and op
  /// ("action", "compensate", "try", "cancel", "msg", ...) at most 45 bytes, gid and branch_id at
  /// most 128, valid UTF-8 without control characters.
  /// @throws Error  one of them is missing or not valid.
  Barrier(std::string trans_type, std::string gid, std::string branch_id, std::string op)
      : trans_type_(std::move(trans_type)),
        gid_(std::move(gid)),
        branch_id_(std::move(branch_id)),
        op_(std::move(op)) {
    const struct {
      const char* name;
      const std::string& value;
      std::size_t limit;
    } parts[] = {{"trans_type", trans_type_, kMaxNameBytes},
                 {"gid", gid_, kMaxGidBytes},
                 {"branch_id", branch_id_, kMaxGidBytes},
                 {"op", op_, kMaxNameBytes}};
    std::string missing;
    for (const auto& part : parts) {
      if (part.value.empty()) missing += (missing.empty() ? "" : ", ") + std::string(part.name);
    }
    if (!missing.empty()) {
      throw Error("the call does not say its " + missing +
                  "; a coordinator puts trans_type, gid, branch_id and op into the query of every "
                  "branch call");
    }
    for (const auto& part : parts) {
      const auto refuse = [&part](const std::string& why) {
        return Error(std::string("the ") + part.name + " '" +
                     Printable(Truncated(part.value, kMaxGidBytes)) + "' of the call " + why);
      };
      if (part.value.size() > part.limit) {
        throw refuse("has " + std::to_string(part.value.size()) + " bytes; the limit is " +
                     std::to_string(part.limit));
      }
      if (Printable(part.value) != part.value) {
        throw refuse("contains control characters or is not valid UTF-8; leave them out");
      }
    }
  }

  /// What it was made of: trans_type, gid, branch_id and op.
  const std::string& Type() const { return trans_type_; }
  /// See Type.
  const std::string& Gid() const { return gid_; }
  /// See Type.
  const std::string& BranchId() const { return branch_id_; }
  /// See Type.
  const std::string& Op() const { return op_; }

  /// For sentences: saga gid 'g', branch 01, op action.
  std::string Who() const {
    return trans_type_ + " gid '" + gid_ + "', branch " + branch_id_ + ", op " + op_;
  }

  /// For the tables: the number of the call that begins, "01", "02", ... A repeat of the request
  /// must number its calls in the same way, so after a call that did not commit there is no next one.
  /// @throws LogicError  one did not commit.
  std::string BeginCall() {
    if (failed_) {
      throw LogicError("barrier of " + Who() +
                       ": its last call did not commit, so the next has no number; answer with the "
                       "error (the coordinator calls again), or begin again from the first call "
                       "with a new Barrier");
    }
    ++calls_;
    return (calls_ < 10 ? "0" : "") + std::to_string(calls_);
  }
  /// For the tables: the call did not commit.
  void Fail() noexcept { failed_ = true; }

 private:
  static constexpr std::size_t kMaxNameBytes = 45;

  std::string trans_type_;
  std::string gid_;
  std::string branch_id_;
  std::string op_;
  int calls_ = 0;
  bool failed_ = false;
};

/// From the decoded query parameters of a branch call: trans_type, gid, branch_id and op. Line breaks
/// and semicolons are left out, as dtm does; other parameters do not matter.
/// @throws Error  one is missing, occurs twice with different values, or is not valid (see Barrier).
inline Barrier BarrierFromQuery(const std::multimap<std::string, std::string>& query) {
  const auto value = [&query](const char* name) {
    const auto found = query.equal_range(name);
    if (found.first == found.second) return std::string();
    for (auto other = found.first; other != found.second; ++other) {
      // The branch's own URL has such a parameter: whose call this is would be a guess.
      if (other->second != found.first->second) {
        throw Error("the query of the call says " + std::string(name) +
                    " twice with different values; a branch's URL must not have a parameter of "
                    "this name, the coordinator adds it");
      }
    }
    return CleanGid(found.first->second);
  };
  return Barrier(value("trans_type"), value("gid"), value("branch_id"), value("op"));
}

/// For a registered C++ function. (One whose rows are in its coordinator's own file needs no barrier:
/// Coordinator::RegisterInTransaction.)
/// @throws Error  a value is not valid, see Barrier.
inline Barrier BarrierFrom(const BranchInfo& info) {
  return Barrier(Name(info.trans_type), info.gid, info.branch_id, Name(info.op));
}

/// What the barriers of all databases share.
namespace barrier {

// The local step of a message, and the question whether it was committed.
inline constexpr const char kMsgOp[] = "msg";
inline constexpr const char kMsgBranch[] = "00";
inline constexpr const char kMsgNumber[] = "01";
/// The reason of a row that forbids the local step.
inline constexpr const char kRollback[] = "rollback";

/// The op that this op undoes, or "". Its row is written by the op that undoes it, and stops it if it comes late.
inline const char* OriginOf(const std::string& op) {
  if (op == "cancel") return "try";
  if (op == "compensate" || op == "rollback") return "action";
  return "";
}

enum class Decision {
  kRun,               ///< do the business, and commit it with the rows
  kNullCompensation,  ///< there is nothing to undo: commit the rows, return success
  kRepeated,          ///< done before, or undone before it came: return success
  kDuplicated         ///< the local step of a message came again: roll back, DuplicatedError
};

/// `origin_inserted`: the row of OriginOf(op) was not there before; false if there is no origin.
/// `own_inserted`: the row of `op` was not there before.
inline Decision Decide(const std::string& op, bool origin_inserted, bool own_inserted) {
  if (op == kMsgOp && !own_inserted) return Decision::kDuplicated;
  if (origin_inserted && *OriginOf(op) != '\0') return Decision::kNullCompensation;
  return own_inserted ? Decision::kRun : Decision::kRepeated;
}

}  // namespace barrier
}  // namespace v1
}  // namespace dtm
