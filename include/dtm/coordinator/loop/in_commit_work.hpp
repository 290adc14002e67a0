/// User code that runs inside a commit: Transact, and branches registered with RegisterInTransaction. Its writes, the
/// effects of its result and everything else in the turn become durable together.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/functions/transaction_functions.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/work_context.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class InCommitWork {
 public:
  static constexpr std::size_t kPerTurn = 256;

  /// A call that is a span: to be told once it is durable.
  struct EndedCall {
    BranchCall call;
    Result result;
    Time at{};
  };

  InCommitWork(TurnState& state, TransactionFunctions& functions, Clock& clock)
      : state_(state), functions_(functions), clock_(clock) {}

  bool Pending() const { return TransactsLeft() || BranchesLeft(); }
  /// How many ran in the open batch.
  std::size_t Ran() const { return transacts_ + branches_.size(); }

  /// Takes the branches that run inside a commit out of the calls that were to start after it.
  void TakeCalls() {
    ForEachActive(state_.to_release.touched,
                  [this](ActiveTransaction& active) { TakeCallsOf(active); });
  }

  /// Runs at most `limit` of them inside the open batch, and no more once it takes long.
  /// @throws BatchLost, StoreError  then Undo.
  void Run(std::size_t limit) {
    const Time end = clock_.Now() + kTimePerTurn;
    branch_was_next_ = branch_next_;
    added_bytes_ = 0;
    for (std::size_t n = 0; n < limit && Pending(); ++n) {
      if (n > 0 && (clock_.Now() >= end || added_bytes_ > InboxBytes(state_.options))) return;
      const bool branch = BranchIsNext();
      branch_next_ = !branch;
      branch ? RunBranch() : RunTransact();
    }
  }

  /// The calls of `active` that ran in the open batch and are spans.
  std::vector<EndedCall> EndedCallsOf(const ActiveTransaction& active) const {
    std::vector<EndedCall> calls;
    for (const Branch& ran : branches_) {
      if (IsOf(ran.work, active) && ran.ended.call.span) calls.push_back(ran.ended);
    }
    return calls;
  }
  /// How many events `active` had before something of it ran in the open batch.
  std::size_t EventsBefore(const ActiveTransaction& active) const {
    const auto first = std::find_if(branches_.begin(), branches_.end(),
                                    [&](const Branch& ran) { return IsOf(ran.work, active); });
    return first == branches_.end() ? active.events.size() : first->events;
  }

  /// The batch is lost: memory returns to its earlier state, and all works in it have to run again.
  void Undo() {
    branch_next_ = branch_was_next_;
    for (auto ran = branches_.rbegin(); ran != branches_.rend(); ++ran) {
      ActiveTransaction* active = Alive(ran->work);
      if (active != nullptr) {
        active->transaction = std::move(ran->before);
        active->rolled_back = active->rolled_back && ran->rolled_back;
        active->events.resize((std::min)(active->events.size(), ran->events));
        active->doubtful_events = (std::min)(active->doubtful_events, active->events.size());
        active->timer = ran->timer;
        active->held_calls = std::move(ran->held_calls);
      }
    }
    branches_.clear();
    transacts_ = 0;
    // Calls that followed from what is undone.
    auto& works = state_.to_commit.branch_works;
    const auto unwanted = [this](const BranchWork& work) { return !Wanted(work); };
    works.erase(std::remove_if(works.begin(), works.end(), unwanted), works.end());
    for (ActiveTransaction* active : added_) state_.RemoveFresh(*active);
    added_.clear();
  }

  /// Refuses the first one.
  void GiveUpFirst(const std::exception_ptr& error, const std::string& problem) {
    if (Pending() && !BranchIsNext()) {
      AnswerWork({{}, error});
    } else if (!state_.to_commit.branch_works.empty()) {
      AdvanceBranch(state_.to_commit.branch_works.front(), Result::Error(problem));
      state_.to_commit.branch_works.pop_front();
    }
  }

  /// The batch is not stored. All who wait for a work are told, whether it ran in this batch or not: as with
  /// submissions, nobody waits until the store works again.
  void Failed(const std::string& problem, bool in_doubt) {
    const std::size_t ran = transacts_;
    Undo();
    const auto sentence = [&](const char* what, const char* then) {
      return std::string("the work ") + what + problem + then;
    };
    for (std::size_t n = 0; !state_.to_commit.works.empty(); ++n) {
      AnswerWork({{},
                  n >= ran   ? Made<StoreError>([&] {
                    return sentence("was not run, the store is failing: ", "; try again later");
                  })
                  : in_doubt ? Made<InDoubtError>([&] {
                      return sentence("may or may not be stored: ", "; submit it again");
                    })
                             : Made<StoreError>([&] {
                                 return sentence("was not stored: ", "; submit it again later");
                               })});
    }
  }

  /// All of it is durable.
  void Committed() {
    if (Ran() == 0) return;
    state_.to_commit.branch_works.erase(state_.to_commit.branch_works.begin(), FirstLeft());
    for (const Branch& ran : branches_) {
      state_.reports.spans.End(ran.ended.call, ran.ended.result, ran.ended.at);
    }
    branches_.clear();
    added_.clear();
    for (; transacts_ > 0; --transacts_) AnswerWork({});
  }

 private:
  static constexpr Duration kTimePerTurn = std::chrono::milliseconds(5);
  static constexpr Duration kSlow = std::chrono::milliseconds(50);

  struct Branch {
    BranchWork work;
    Transaction before;
    std::vector<std::size_t> held_calls;
    std::size_t events = 0;
    Time timer = kNever;
    bool rolled_back = false;
    EndedCall ended{};
  };

  void TakeCallsOf(ActiveTransaction& active) {
    const Definition& definition = *active.transaction.definition;
    const auto others = std::stable_partition(
        active.held_calls.begin(), active.held_calls.end(),
        [&](std::size_t row) { return !RunsInTransaction(UrlOf(definition, row)); });
    for (auto row = others; row != active.held_calls.end();) {
      state_.to_commit.branch_works.push_back({active.slot, active.generation, *row});
      row = active.held_calls.erase(row);
    }
  }

  static bool IsOf(const BranchWork& work, const ActiveTransaction& active) {
    return work.slot == active.slot && work.generation == active.generation;
  }

  /// The two kinds take turns, so that a steady flow of one does not starve the other.
  bool BranchIsNext() const { return !TransactsLeft() || (branch_next_ && BranchesLeft()); }
  bool TransactsLeft() const { return state_.to_commit.works.size() > transacts_; }
  bool BranchesLeft() const { return state_.to_commit.branch_works.size() > branches_.size(); }

  /// The first one of the queue.
  void AnswerWork(const Answer& reply) {
    QueuedWork work = std::move(state_.to_commit.works.front());
    state_.to_commit.works.pop_front();
    work.promise.Keep(reply);
  }

  ActiveTransaction* Alive(const BranchWork& work) {
    return state_.table.At(work.slot, work.generation);
  }

  std::deque<BranchWork>::iterator FirstLeft() {
    return state_.to_commit.branch_works.begin() + static_cast<std::ptrdiff_t>(branches_.size());
  }

  /// It is still wanted: it was not stopped, and has no result from a commit that had been in doubt.
  bool Wanted(const BranchWork& work) {
    const ActiveTransaction* active = Alive(work);
    return active != nullptr && work.row < active->transaction.branches.size() &&
           active->transaction.branches[work.row].in_flight;
  }

  void RunBranch() {
    const BranchWork work = *FirstLeft();
    ActiveTransaction* active = Alive(work);
    // A new one may turn out to exist; then the stored one counts, and nothing of this may run.
    if (!Wanted(work) || (active->Fresh() && !active->surely_new &&
                          state_.store.Has(active->transaction.definition->gid))) {
      state_.to_commit.branch_works.erase(FirstLeft());
      return;
    }
    if (!state_.context.may_call) {
      AdvanceBranch(work, Result::NotSent("the coordinator was stopping"));
      state_.to_commit.branch_works.erase(FirstLeft());
      return;
    }
    active->surely_new = true;
    branches_.push_back({work, active->transaction, active->held_calls, active->events.size(),
                         active->timer, active->rolled_back});
    BranchCall call;
    call.definition = active->transaction.definition;
    call.row = work.row;
    const Time begin = clock_.Now();
    call.span = state_.reports.spans.Begin(active->transaction, work.row, begin);
    Result result = state_.store.Run(
        [&](const WorkContext& connection) { return functions_.Run(call, connection); });
    WarnIfSlow(begin, call.Url());
    if (call.span != nullptr) branches_.back().ended = {call, result, clock_.Now()};
    AdvanceBranch(work, std::move(result));
  }

  void AdvanceBranch(const BranchWork& work, Result result) {
    ActiveTransaction* active = Alive(work);
    if (active == nullptr) return;
    state_.Advance(*active, {engine::EventKind::kResult, work.row, std::move(result)});
    TakeCallsOf(*active);
  }

  void RunTransact() {
    QueuedWork& work = state_.to_commit.works[transacts_++];
    TransactContext context;
    context.exists = [this](const std::string& gid) {
      return state_.table.Find(gid) != nullptr || state_.store.Has(gid);
    };
    const Time begin = clock_.Now();
    *work.result = state_.store.Run([&](const WorkContext& connection) {
      context.connection = connection;
      context.submitted.clear();
      return work.work(context);
    });
    WarnIfSlow(begin, "Transact");
    if (work.result->kind != Result::Kind::kSuccess) return;
    for (const auto& definition : context.submitted) {
      Transaction transaction;
      transaction.definition = definition;
      const bool room = !state_.room.Full();
      ActiveTransaction& active = state_.table.Add(std::move(transaction));
      active.surely_new = true;
      added_.push_back(&active);
      added_bytes_ += active.bytes;
      state_.AdvanceIfRoom(active, engine::EventKind::kSubmitted, room);
      TakeCallsOf(active);
    }
  }

  void WarnIfSlow(Time begin, const std::string& what) const {
    const Duration took = clock_.Now() - begin;
    if (took <= kSlow) return;
    state_.Log(LogLevel::kWarning,
               what + " took " + std::to_string(took.count() / 1000) +
                   " ms inside a commit, and everything else waited; do less in there");
  }

  TurnState& state_;
  TransactionFunctions& functions_;
  Clock& clock_;
  // What ran in the open batch stays at the front of its queue until that is durable.
  std::size_t transacts_ = 0;
  std::vector<Branch> branches_;
  std::vector<ActiveTransaction*> added_;  // submitted by them
  std::size_t added_bytes_ = 0;
  bool branch_next_ = false;      // if both kinds wait
  bool branch_was_next_ = false;  // before what ran in the open batch
};

}  // namespace v1
}  // namespace dtm
