/// Commands on transactions that exist: cancel, force stop, retry, skip, register a branch, finish.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
/// Protocol: §2.2, §2.3, §2.4 (registration), §4.5 (the end of a workflow).
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/coordinator/commands/questions.hpp>
#include <dtm/coordinator/commands/refusals.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/coordinator/state/not_stored.hpp>
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/store/peers.hpp>

namespace dtm {
inline namespace v1 {

class Commands {
 public:
  explicit Commands(TurnState& state) : state_(state), questions_(state) {}

  void Do(Command& command) {
    if (command.kind == Command::Kind::kRegistered) return OnRegistered(command.gid);
    try {
      switch (command.kind) {
        case Command::Kind::kExplain: questions_.Explain(command); break;
        case Command::Kind::kListWaiting: questions_.ListWaiting(command); break;
        case Command::Kind::kLook: Look(command); break;
        default:
          if (command.asked == 0 || state_.store.Shared()->TakeUp(command.asked)) Obey(command);
      }
    } catch (const std::bad_alloc&) {
      throw;
    } catch (...) {  // a store that the program supplies may throw anything
      command.waiter.Refuse(std::current_exception());
    }
  }

 private:
  void Obey(Command& command) {
    ActiveTransaction* active = state_.table.Find(command.gid);
    if (active == nullptr) {
      std::optional<Transaction> stored = state_.store.Load(command.gid);
      if (!stored) refusals::RefuseUnknown(command.kind, command.gid);
      CheckType(command, *stored);
      if (IsFinal(stored->status)) {
        const bool again =
            command.kind == Command::Kind::kFinish && command.status == stored->status;
        if (command.kind != Command::Kind::kWait && !again)
          refusals::RefuseEnded(command.kind, *stored);
        return command.waiter.Give(ResultOf(*stored));
      }
      if (!state_.MayDrive(*stored) && command.kind != Command::Kind::kForceStop) {
        return AskOther(command, *stored);
      }
      if (WatchesPrepared(command, *stored)) return Watch(command);
      CheckStoreFor(command);  // what came into memory would be driven here, whoever drives it
      active = &state_.Bring(std::move(*stored));
    }
    CheckType(command, active->transaction);
    if (WatchesPrepared(command, active->transaction)) return Watch(command);
    if (command.wait_result == WaitResult::kCounts &&
        active->transaction.definition->options.wait_result) {
      command.waiter.WaitForResult(state_.context.now);
      command.waiter.ongoing_is_error = true;
    }
    CheckStoreFor(command);
    if (command.kind != Command::Kind::kWait) {
      const std::size_t before = active->events.size();
      const std::string refused = Change(*active, command);
      if (!refused.empty()) {
        // It may be the submit of a prepared one, whose record is in the store.
        if (active->Fresh()) return state_.to_collect.reissue.push_back(std::move(command));
        refusals::Refuse(command.kind, active->transaction, refused);
      }
      if (active->events.size() > before) state_.Link(*active, command.waiter);
    }
    if (!active->Fresh()) {
      if (state_.IsShared() && command.kind != Command::Kind::kWait) {
        command.waiter.again = [this,
                                what = static_cast<const Instruction&>(command)](Waiter&& waiter) {
          state_.to_collect.reissue.push_back({what, std::move(waiter)});
        };
      }
      return state_.AddWaiter(*active, std::move(command.waiter));
    }
    // The gid may turn out to be stored already; the command is then for the stored record.
    active->commands.push_back(std::move(command));
  }

  /// Returns why it was refused, or nothing.
  std::string Change(ActiveTransaction& active, const Command& command) {
    switch (command.kind) {
      case Command::Kind::kAddBranch: return AddBranch(active, command);
      case Command::Kind::kSkip: return Skip(active, command);
      default: return state_.Advance(active, EventOf(command));
    }
  }

  /// @throws StoreError  it would change something, and nothing can be written now.
  void CheckStoreFor(const Command& command) const {
    if (command.kind == Command::Kind::kWait || state_.MayUseStore()) return;
    std::rethrow_exception(StoreFailing(state_, "gid '" + command.gid + "' was not changed"));
  }

  /// In a shared store any coordinator may submit it, so its end may come elsewhere.
  bool WatchesPrepared(const Command& command, const Transaction& transaction) const {
    return state_.IsShared() && command.kind == Command::Kind::kWait &&
           transaction.status == Status::kPrepared && transaction.version > 0;
  }
  void Watch(Command& command) {
    state_.elsewhere.Watch(command.gid, std::move(command.waiter), state_.context.now);
  }

  /// Another coordinator drives it.
  void AskOther(Command& command, const Transaction& stored) {
    switch (command.kind) {
      case Command::Kind::kWait: return Watch(command);
      case Command::Kind::kCancel:
      case Command::Kind::kRetryNow:
      case Command::Kind::kSkip:
        if (command.asked != 0) return state_.store.Shared()->Reply(command.asked, {});
        return state_.elsewhere.Ask(std::move(command), state_.context.now);
      default:
        if (!stored.other_app) throw RejectedError(refusals::NotPrepared(command.gid));
        throw RejectedError("gid '" + command.gid +
                            "' was not changed: it calls functions that only programs of another "
                            "app have; ask a coordinator of that app (Explain names it)");
    }
  }

  /// If it has been written elsewhere, the next commit finds the conflict.
  void Look(Command& command) {
    ActiveTransaction* active = state_.table.Find(command.gid);
    if (active != nullptr && !active->dirty) {
      MakeRoom(state_.to_commit.dirty);
      state_.to_commit.dirty.push_back(active);
      active->dirty = true;
    }
    command.waiter.Give({});
  }

  static engine::Event EventOf(const Command& command) {
    const bool failed = command.status == Status::kFailed;
    const Result result{failed ? Result::Kind::kFailure : Result::Kind::kSuccess, command.reason};
    switch (command.kind) {
      case Command::Kind::kCancel: return {engine::EventKind::kCancel, 0, result, {}, command.who};
      case Command::Kind::kForceStop:
        return {engine::EventKind::kForceStop, 0, result, {}, command.who};
      case Command::Kind::kFinish: return {engine::EventKind::kFinish, 0, result, command.data};
      default: return {engine::EventKind::kRetryNow, 0, result, {}, command.who};
    }
  }

  static void CheckType(const Command& command, const Transaction& stored) {
    if (!command.type || stored.unreadable || *command.type == stored.definition->type) return;
    throw RejectedError("gid '" + command.gid + "' is a " + Name(stored.definition->type) +
                        ", not a " + Name(*command.type) + "; nothing was changed");
  }

  /// Registers a branch, while the transaction is prepared. The same branch again is accepted.
  std::string AddBranch(ActiveTransaction& active, const Command& command) {
    const Definition& definition = *active.transaction.definition;
    if (active.Fresh()) return "it is not stored yet";  // and the command is issued again
    if (active.transaction.unreadable) return active.transaction.last_error;
    if (!RegistersSteps(definition.type)) {
      return std::string("no branches are registered with a ") + Name(definition.type);
    }
    if (active.transaction.status != Status::kPrepared)
      throw RejectedError(refusals::NotPrepared(command.gid));
    const Step& step = command.step;
    for (const Step& old : definition.steps) {
      if (old.branch_id != step.branch_id || old.op != step.op) continue;
      const bool same = old.action == step.action && old.compensate == step.compensate &&
                        old.payload == step.payload && old.failed == step.failed &&
                        old.topic == step.topic;
      return same ? std::string()
                  : "branch " + step.branch_id + " is registered already, otherwise";
    }
    const std::string problem = AddedStepProblem(definition, step);
    if (!problem.empty()) throw RejectedError(problem);
    const bool recorded = definition.type == TransType::kWorkflow;
    const std::size_t added = definition.steps.size();
    const std::size_t row = recorded ? DeliveryOf(added) : ActionOf(added);
    state_.MakeReady(active);
    state_.table.AddStep(active, step);
    return state_.Advance(active, {engine::EventKind::kBranchAdded, row, {}});
  }

  std::string Skip(ActiveTransaction& active, const Command& command) {
    const Transaction& transaction = active.transaction;
    if (active.Fresh()) return "it is not stored yet";  // and the command is issued again
    if (transaction.unreadable) return transaction.last_error;
    const Step& branch = command.step;
    const auto row = RowOf(*transaction.definition, branch.branch_id, branch.op);
    if (!row) {
      throw BadInput("gid '" + command.gid + "' was not changed: it has no branch " +
                     Printable(branch.branch_id) + " " + Name(branch.op) +
                     "; query shows its branches");
    }
    const Result why{Result::Kind::kSuccess, command.reason};
    return state_.Advance(active, {engine::EventKind::kRepair, *row, why, {}, command.who});
  }

  /// Wakes what waits for this function.
  void OnRegistered(const std::string& url) {
    state_.table.ForEach([&](ActiveTransaction& active) {
      const Transaction& transaction = active.transaction;
      for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
        const Branch& branch = transaction.branches[i];
        if (!branch.in_flight && branch.status == BranchStatus::kPrepared &&
            branch.next_try > state_.context.now && UrlOf(*transaction.definition, i) == url) {
          state_.Advance(active, {engine::EventKind::kRegistered, i, {}});
        }
      }
    });
  }

  TurnState& state_;
  Questions questions_;
};

}  // namespace v1
}  // namespace dtm
