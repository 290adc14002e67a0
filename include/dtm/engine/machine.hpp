/// The interface of the machines: what can happen to a transaction, and what follows from it.
/// Needs: std. Threads: values only; Advance is pure (no I/O, no clock, no randomness).
/// Protocol: §3 (alert), §4; implemented by saga_machine.hpp, msg_machine.hpp,
/// tcc_machine.hpp (tcc and xa) and workflow_machine.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {
namespace engine {

enum class EventKind {
  kSubmitted,    ///< new, not yet stored; or the submit of a prepared one
  kPrepared,     ///< new, not yet stored, to run when it is submitted
  kLoaded,       ///< read from the store: calls that were in flight belong to a previous run
  kResult,       ///< a call brought a result
  kTimer,        ///< the time that the machine asked for has come
  kBranchAdded,  ///< its definition has one more step
  kCancel,       ///< it is to be rolled back; the result's text may say why
  kFinish,       ///< workflow: it ended with `result` (success or failure, why) and returned `data`
  kForceStop,    ///< it is to end as failed, and nothing more is to be called
  kRegistered,   ///< the missing function of `row` is registered now
  kRetryNow,     ///< the waits are to be forgotten
  kRepair        ///< `row` counts as done, without a call
};

struct Event {
  EventKind kind = EventKind::kTimer;
  std::size_t row = 0;  ///< kResult, kRegistered, kBranchAdded, kRepair: the row concerned
  Result result;        ///< kResult: its answer
  std::string data{};   ///< kFinish
  std::string
      who{};  ///< kCancel, kForceStop, kRetryNow, kRepair: who asked; the text of `result` says why
};

/// What a machine knows besides the transaction.
struct Context {
  Time now{};
  Time started{};                                      ///< of this run of the coordinator
  Duration retry_interval = std::chrono::seconds(10);  ///< for transactions that set none
  Duration request_timeout = std::chrono::seconds(3);  ///< for transactions that set none
  Duration
      function_limit{};  ///< a function may still run for so long after its call; 0: it ends with its process
  std::chrono::seconds timeout_to_fail{35};  ///< of a prepared msg, tcc or xa that names none
  /// People are alerted at this number of errors in a row of a branch, and at every later one. 0: never.
  std::uint32_t alert_after = 0;
  Duration
      lateness{};  ///< by how much calls may leave later than they are decided: commits take a while
  bool may_call = true;  ///< false while the coordinator stops: record results, start nothing
};

/// What has to be done once the changed transaction is durable.
struct Effects {
  bool changed = false;              ///< the transaction has to be stored
  std::vector<std::size_t> calls;    ///< rows to call
  std::optional<std::size_t> alert;  ///< the row that keeps failing, see Context::alert_after
  Time timer = kNever;               ///< send kTimer then
  std::string refused;               ///< why the command does not fit the status; else empty
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm
