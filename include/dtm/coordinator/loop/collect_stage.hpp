/// The first two stages of a turn: take what arrived, and advance the transactions it concerns.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
/// Protocol: §2.3 (what a repeat means), with the differences of docs/differences.md.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/prefetch.hpp>
#include <dtm/coordinator/commands/commands.hpp>
#include <dtm/coordinator/commands/refusals.hpp>
#include <dtm/coordinator/parts/topics.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/coordinator/state/not_stored.hpp>
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/engine/resubmission.hpp>
#include <dtm/engine/schedule.hpp>

namespace dtm {
inline namespace v1 {

class CollectStage {
 public:
  CollectStage(TurnState& state, Inbox& inbox) : state_(state), inbox_(inbox), commands_(state) {}

  /// Returns whether anything had arrived or was due.
  bool Run() {
    mail_.ended.swap(state_.to_collect.ended);
    inbox_.Take(mail_);
    bool something = !mail_.Empty() || state_.SomethingLeftOver();
    std::vector<std::pair<std::string, engine::EventKind>> again;
    again.swap(state_.to_collect.readvance);
    for (const auto& entry : again) {
      if (ActiveTransaction* active = state_.table.Find(entry.first))
        AdvanceAgain(*active, entry.second);
    }
    TakeResults();
    obeyed_ = 0;
    if (!state_.to_collect.resubmit.empty() || !state_.to_collect.reissue.empty()) TakeAgain();
    TakeSubmissions();
    for (Command& command : mail_.commands) DoOrRefuse(command);
    for (QueuedWork& work : mail_.works) OrInDoubt([&] { OnWork(work); });
    mail_.Clear();
    while (ActiveTransaction* active = state_.timers.TakeDue(state_.context.now)) {
      active->armed = kNever;
      ForSure([&] { OnTimer(*active); });
      something = true;
    }
    return something;
  }

  /// True if something could not be done for lack of memory; asking resets it.
  bool Incomplete() { return std::exchange(incomplete_, false); }

 private:
  void TakeResults() {
    using Arrived = const ArrivedResult&;
    VisitAhead(
        mail_.results,
        [this](Arrived arrived) { state_.table.PrefetchAt(arrived.call.slot, PrefetchActive); },
        [this](Arrived arrived) { state_.table.PrefetchAt(arrived.call.slot, PrefetchParts); },
        [this](ArrivedResult& arrived) { OnResult(arrived); });
  }

  void TakeAgain() {
    for (Submission& submission : std::exchange(state_.to_collect.resubmit, {}))
      DoOrRefuse(submission);
    for (Command& command : std::exchange(state_.to_collect.reissue, {})) DoOrRefuse(command);
  }

  void TakeSubmissions() {
    VisitAhead(
        mail_.submissions,
        [](const Submission& soon) {
          Prefetch<LinesOf(sizeof(Definition))>(soon.definition.get());
        },
        [](const Submission& soon) {
          Prefetch<1>(soon.definition->gid.data());
          Prefetch<LinesOf(2 * sizeof(Step))>(soon.definition->steps.data());
        },
        [this](Submission& submission) { DoOrRefuse(submission); });
  }

  void DoOrRefuse(Submission& submission) {
    OrInDoubt([&] { OnSubmission(submission); });
    ActiveTransaction* active =
        incomplete_ ? state_.table.Find(submission.definition->gid) : nullptr;
    if (active != nullptr && active->Fresh() && !active->dirty) state_.RemoveFresh(*active);
  }
  /// A command may have to load its transaction: without room one command is obeyed in a turn, the others in later ones.
  void DoOrRefuse(Command& command) {
    OrInDoubt([&] {
      const bool full = state_.room.Overfull() && state_.health.MayTry(state_.context.now);
      const bool loads = command.waiter.promise.Open() && !command.explained && !command.listed;
      const bool next_turn = full && obeyed_++ > 0 && loads;
      next_turn ? state_.to_collect.reissue.push_back(std::move(command)) : commands_.Do(command);
    });
  }

  /// Without memory the item is dropped, which answers it (in doubt), and the turn goes on with the others.
  template <typename Function>
  void OrInDoubt(const Function& function) {
    try {
      function();
    } catch (const std::bad_alloc&) {
      incomplete_ = true;
    }
  }

  /// For what must not be lost, see Inbox::Done: without memory it changes nothing, and is tried again.
  template <typename Function>
  void ForSure(const Function& function) {
    for (;;) {
      try {
        return function();
      } catch (const std::bad_alloc&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }

  void OnResult(ArrivedResult& arrived) {
    state_.reports.spans.End(arrived.call, arrived.result, state_.context.now);
    ActiveTransaction* active = state_.table.At(arrived.call.slot, arrived.call.generation);
    if (active == nullptr) return;  // it has ended meanwhile, and its gid may have been given again
    if (MayWaitForLease(*active, arrived)) {
      return ForSure([&] { WaitForLease(*active, arrived.call.row); });
    }
    engine::Event event{engine::EventKind::kResult, arrived.call.row, std::move(arrived.result)};
    try {
      state_.Advance(*active, std::move(event));
    } catch (const std::bad_alloc&) {  // it will come again
      inbox_.Done(std::move(arrived.call), std::move(event.result));
    }
  }

  /// It did not begin, is still wanted, and at least half of the time that was stored for it is left.
  bool MayWaitForLease(const ActiveTransaction& active, const ArrivedResult& arrived) const {
    const Transaction& transaction = active.transaction;
    const std::size_t row = arrived.call.row;
    if (!arrived.result.at_once || row >= transaction.branches.size()) return false;
    const Branch& branch = transaction.branches[row];
    if (!branch.in_flight || !HasItsTurn(transaction, row)) return false;
    if (branch.deadline == Time{}) return true;  // a function ends with its process
    const TransOptions& options = transaction.definition->options;
    const Duration half = IsLocal(arrived.call.Url())
                              ? state_.context.function_limit / 2
                              : engine::RequestTimeout(options, state_.context);
    return branch.deadline - state_.context.now > half;
  }

  /// Without a commit: a lease runs out when the store is slow, and a commit for each call would make it slower.
  void WaitForLease(ActiveTransaction& active, std::size_t row) {
    state_.Touch(active);
    const auto told =
        active.held_calls.begin() + static_cast<std::ptrdiff_t>(active.journaled_calls);
    active.held_calls.insert(told, row);
    ++active.journaled_calls;  // that it began was told with its commit
  }

  void OnTimer(ActiveTransaction& active) {
    if (active.timer <= state_.context.now)
      state_.Advance(active, {engine::EventKind::kTimer, 0, {}});
    state_.Touch(active);  // the time of a waiter may be over
    if (!state_.health.Good() || state_.health.WaitsForLock()) {
      AnswerExpired(active);
      state_.ArmWaiters(active);
    }
  }

  /// Its record may have been replaced by the stored one: then its events are applied again. They come first, since time has
  /// passed: what was decided before a deadline is not undone by it.
  void AdvanceAgain(ActiveTransaction& active, engine::EventKind kind) {
    for (AppliedEvent& event : std::exchange(active.events, {})) ApplyAgain(active, event);
    ForSure([&] {
      state_.AdvanceIfRoom(active, kind,
                           kind != engine::EventKind::kLoaded || !state_.room.Overfull());
    });
  }

  void ApplyAgain(ActiveTransaction& active, AppliedEvent& event) {
    const std::uint64_t ask = event.ask;
    const engine::EventKind kind = event.kind;
    std::string refused;
    ForSure([&] { refused = state_.Advance(active, std::move(event)); });
    if (ask == 0) return;
    if (refused.empty()) {
      active.events.back().ask = ask;  // it may have to be applied once more
      return;
    }
    const auto asked = std::stable_partition(active.waiters.begin(), active.waiters.end(),
                                             [&](const Waiter& each) { return each.ask != ask; });
    for (auto waiter = asked; waiter != active.waiters.end(); ++waiter) {
      waiter->Refuse(refusals::OfEvent(kind, active.transaction, refused));
    }
    active.waiters.erase(asked, active.waiters.end());
  }

  /// While nothing can be released, nobody waits longer than asked: the answer is the stored status, or an error for
  /// those who wait for a change.
  void AnswerExpired(ActiveTransaction& active) {
    const std::string& gid = active.transaction.definition->gid;
    const auto expired = std::stable_partition(
        active.waiters.begin(), active.waiters.end(),
        [this](const Waiter& waiter) { return waiter.deadline > state_.context.now; });
    for (auto waiter = expired; waiter != active.waiters.end(); ++waiter) {
      AnswerAsStored(state_, *waiter, gid,
                     "the store cannot be written: " + state_.health.Problem());
    }
    active.waiters.erase(expired, active.waiters.end());
  }

  void OnSubmission(Submission& submission) {
    const std::string& gid = submission.definition->gid;
    submission.waiter.submits = !submission.prepare;
    if (!state_.MayUseStore())
      return NotTaken(submission, "the store is failing: " + state_.health.Problem());
    if (ActiveTransaction* active = state_.table.Find(gid))
      return OnResubmitted(*active, submission);
    std::exception_ptr refused;
    try {
      refused = ProblemOfNew(*submission.definition);
    } catch (const StoreError& error) {  // it cannot be read now; what came with it goes on
      return NotTaken(submission, error.what());
    }
    if (refused) return submission.waiter.Refuse(refused);
    const bool full = state_.room.Full();
    Transaction transaction;
    transaction.definition = submission.definition;
    ActiveTransaction& active = state_.table.Add(std::move(transaction), submission.bytes);
    state_.AddWaiter(active, std::move(submission.waiter));
    state_.AdvanceIfRoom(
        active, submission.prepare ? engine::EventKind::kPrepared : engine::EventKind::kSubmitted,
        !full);
  }

  void NotTaken(Submission& submission, const std::string& why) {
    submission.waiter.Refuse(dtm::NotTaken(state_, submission.definition->gid, why));
  }

  /// @throws StoreError
  std::exception_ptr ProblemOfNew(const Definition& definition) const {
    try {
      topics::CheckNew(definition);
      return nullptr;
    } catch (const RejectedError&) {
      return state_.store.Load(definition.gid) ? nullptr : std::current_exception();
    }
  }

  void OnResubmitted(ActiveTransaction& active, Submission& submission) {
    if (active.Fresh()) return OnSubmittedTwiceInATurn(active, submission);
    const engine::Resubmission resubmission =
        engine::OnResubmission(active.transaction, *submission.definition, submission.prepare);
    std::string refused = resubmission.refused;
    if (resubmission.kind == engine::Resubmission::Kind::kPromote) {
      Definition merged = engine::Promoted(*active.transaction.definition, *submission.definition);
      refused = Problem(merged);
      if (refused.empty()) refused = OrdersProblem(merged);
      if (refused.empty()) {
        state_.MakeReady(active);
        state_.table.Redefine(active, std::move(merged));
        state_.AdvanceIfRoom(active, engine::EventKind::kSubmitted, !state_.room.Overfull());
      }
    }
    if (!refused.empty()) return submission.waiter.Refuse(TurnState::Rejected(refused));
    if (state_.IsShared()) {
      const auto again = [this, definition = submission.definition,
                          prepare = submission.prepare](Waiter&& waiter) {
        state_.to_collect.resubmit.push_back({definition, std::move(waiter), prepare});
      };
      submission.waiter.again = again;
    }
    state_.AddWaiter(active, std::move(submission.waiter));
  }

  /// A transaction that is not committed yet decides nothing: its gid may turn out to be stored, or it may not
  /// become durable.
  void OnSubmittedTwiceInATurn(ActiveTransaction& active, Submission& submission) {
    const Definition& first = *active.transaction.definition;
    const bool same =
        first.prepared_first == submission.prepare && SameContent(first, *submission.definition);
    if (same) return state_.AddWaiter(active, std::move(submission.waiter));
    state_.to_collect.resubmit.push_back(std::move(submission));
  }

  void OnWork(QueuedWork& work) {
    if (!state_.MayUseStore()) {
      return work.promise.Keep({{}, StoreFailing(state_, "the work was not run")});
    }
    state_.to_commit.works.push_back(std::move(work));
  }

  TurnState& state_;
  Inbox& inbox_;
  Commands commands_;
  Mail mail_;
  bool incomplete_ = false;
  std::size_t obeyed_ = 0;  // commands, in this turn
};

}  // namespace v1
}  // namespace dtm
