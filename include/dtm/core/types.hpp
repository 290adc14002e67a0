/// The basic vocabulary: transaction types, statuses, operations.
/// Needs: std. Threads: values only. Protocol: §1 (vocabulary, status transitions).
#pragma once

#include <cstdint>
#include <string>

#include <dtm/base/time.hpp>

namespace dtm {
inline namespace v1 {

/// The numbers of these enums are stored; never change the value of an entry.
enum class TransType : std::uint8_t { kSaga = 1, kMsg = 2, kTcc = 3, kXa = 4, kWorkflow = 5 };

/// How far a transaction has come; only kSucceed and kFailed are ends.
enum class Status : std::uint8_t {
  kPrepared = 1,
  kSubmitted = 2,
  kAborting = 3,
  kSucceed = 4,
  kFailed = 5
};

/// How far one branch operation has come.
enum class BranchStatus : std::uint8_t { kPrepared = 1, kSucceed = 2, kFailed = 3 };

/// What a branch is called for.
enum class Op : std::uint8_t {
  kAction = 1,      ///< saga, msg, workflow, xa: do it
  kCompensate = 2,  ///< saga: undo it
  kTry = 3,         ///< tcc: reserve
  kConfirm = 4,     ///< tcc: use what was reserved
  kCancel = 5,      ///< tcc: give back what was reserved
  kCommit = 6,      ///< xa, workflow
  kRollback = 7,    ///< xa, workflow
  kMsg = 8,         ///< msg: the local transaction, and the question whether it was committed
  kBusiness = 9,    ///< workflow: the local part of an xa step
  kResume = 10      ///< workflow: run it again from where it stopped; on the wire, its name
};

/// Succeed or failed.
inline bool IsFinal(Status status) {
  return status == Status::kSucceed || status == Status::kFailed;
}

/// dtm's own names, as used in sentences and on the wire.
inline const char* Name(TransType type) {
  switch (type) {
    case TransType::kSaga: return "saga";
    case TransType::kMsg: return "msg";
    case TransType::kTcc: return "tcc";
    case TransType::kXa: return "xa";
    case TransType::kWorkflow: return "workflow";
  }
  return "unknown";
}

/// As on the wire: "prepared", "submitted", "aborting", "succeed", "failed".
inline const char* Name(Status status) {
  switch (status) {
    case Status::kPrepared: return "prepared";
    case Status::kSubmitted: return "submitted";
    case Status::kAborting: return "aborting";
    case Status::kSucceed: return "succeed";
    case Status::kFailed: return "failed";
  }
  return "unknown";
}

/// As on the wire: "prepared", "succeed", "failed".
inline const char* Name(BranchStatus status) {
  switch (status) {
    case BranchStatus::kPrepared: return "prepared";
    case BranchStatus::kSucceed: return "succeed";
    case BranchStatus::kFailed: return "failed";
  }
  return "unknown";
}

/// As on the wire: "action", "compensate", ...
inline const char* Name(Op op) {
  switch (op) {
    case Op::kAction: return "action";
    case Op::kCompensate: return "compensate";
    case Op::kTry: return "try";
    case Op::kConfirm: return "confirm";
    case Op::kCancel: return "cancel";
    case Op::kCommit: return "commit";
    case Op::kRollback: return "rollback";
    case Op::kMsg: return "msg";
    case Op::kBusiness: return "business";
    case Op::kResume: return "resume";
  }
  return "unknown";
}

/// Identifies the call of a branch function or service: the key by which it can make itself idempotent.
struct BranchInfo {
  std::string gid;
  TransType trans_type = TransType::kSaga;
  std::string branch_id;  ///< "01", "02", ... "100"; nested "0201"; of a topic "01-02"; "00" = msg
                          ///< query-back and workflow resume
  Op op = Op::kAction;
  std::string workflow{};  ///< kResume: the name of the workflow
  /// The trace that the call belongs to, as the headers of the same names say it (W3C Trace Context); empty: none.
  std::string traceparent{};
  std::string tracestate{};
};

}  // namespace v1
}  // namespace dtm
