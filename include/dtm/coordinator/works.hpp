/// User code that runs inside a commit: Transact, and branches registered with RegisterInTransaction. Its writes, what
/// follows from its result and everything else of the turn become durable together.
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

#include <dtm/coordinator/board.hpp>
#include <dtm/coordinator/clock.hpp>
#include <dtm/coordinator/functions.hpp>
#include <dtm/coordinator/inbox.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Works {
 public:
  static constexpr std::size_t kPerTurn = 256;

  Works(Board& board, Functions& functions, Clock& clock)
      : board_(board), functions_(functions), clock_(clock) {}

  bool Pending() const { return TransactsLeft() || BranchesLeft(); }
  /// How many ran in the open batch.
  std::size_t Ran() const { return transacts_ + branches_.size(); }

  /// Of what is to be called once the turn is durable, takes the branches that run inside a commit.
  void TakeCalls() {
    ForEachLive(board_.touched, [this](Live& live) { TakeCallsOf(live); });
  }

  /// Runs at most `limit` of them inside the open batch, and no more once it takes long.
  /// @throws BatchLost, StoreError  then Undo.
  void Run(std::size_t limit) {
    if (Ran() > 0) Undo();  // a turn was broken off
    const Time end = clock_.Now() + kTimePerTurn;
    branch_was_next_ = branch_next_;
    added_bytes_ = 0;
    for (std::size_t n = 0; n < limit && Pending(); ++n) {
      if (n > 0 && (clock_.Now() >= end || added_bytes_ > InboxBytes(board_.options))) return;
      const bool branch = BranchIsNext();
      branch_next_ = !branch;
      branch ? RunBranch() : RunTransact();
    }
  }

  /// The batch is lost: memory is again as it was before, and all that ran is to run again.
  void Undo() {
    branch_next_ = branch_was_next_;
    for (auto ran = branches_.rbegin(); ran != branches_.rend(); ++ran) {
      Live* live = Alive(ran->work);
      if (live != nullptr) {
        live->transaction = std::move(ran->before);
        live->rolled_back = live->rolled_back && ran->rolled_back;
        live->events.resize((std::min)(live->events.size(), ran->events));
        live->doubtful_events = (std::min)(live->doubtful_events, live->events.size());
        live->timer = ran->timer;
        live->held_calls = std::move(ran->held_calls);
      }
    }
    branches_.clear();
    transacts_ = 0;
    // Calls that followed from what is undone.
    auto& works = board_.branch_works;
    const auto unwanted = [this](const BranchWork& work) { return !Wanted(work); };
    works.erase(std::remove_if(works.begin(), works.end(), unwanted), works.end());
    for (Live* live : added_) board_.RemoveFresh(*live);
    added_.clear();
  }

  /// The first one will not work out.
  void GiveUpFirst(const std::exception_ptr& error, const std::string& problem) {
    if (Pending() && !BranchIsNext()) {
      Answer({{}, error});
    } else if (!board_.branch_works.empty()) {
      StepResult(board_.branch_works.front(), Result::Error(problem));
      board_.branch_works.pop_front();
    }
  }

  /// The batch is not stored, and those who wait for a work are told, whether it ran in it or not: as with
  /// submissions, nobody waits for the store to work again.
  void Failed(const std::string& problem, bool in_doubt) {
    const std::size_t ran = transacts_;
    Undo();
    const auto sentence = [&](const char* what, const char* then) {
      return std::string("the work ") + what + problem + then;
    };
    for (std::size_t n = 0; !board_.works.empty(); ++n) {
      Answer({{},
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
    board_.branch_works.erase(board_.branch_works.begin(), FirstLeft());
    branches_.clear();
    added_.clear();
    for (; transacts_ > 0; --transacts_) Answer({});
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
  };

  void TakeCallsOf(Live& live) {
    const Definition& definition = *live.transaction.definition;
    const auto others = std::stable_partition(
        live.held_calls.begin(), live.held_calls.end(),
        [&](std::size_t branch) { return !RunsInTransaction(UrlOf(definition, branch)); });
    for (auto branch = others; branch != live.held_calls.end();) {
      board_.branch_works.push_back({live.place, live.life, *branch});
      branch = live.held_calls.erase(branch);
    }
  }

  /// They take turns: a steady flow of one kind must not starve the other.
  bool BranchIsNext() const { return !TransactsLeft() || (branch_next_ && BranchesLeft()); }
  bool TransactsLeft() const { return board_.works.size() > transacts_; }
  bool BranchesLeft() const { return board_.branch_works.size() > branches_.size(); }

  /// The first one of the queue.
  void Answer(const Reply& reply) {
    QueuedWork work = std::move(board_.works.front());
    board_.works.pop_front();
    work.promise.Keep(reply);
  }

  Live* Alive(const BranchWork& work) { return board_.lives.At(work.place, work.life); }

  std::deque<BranchWork>::iterator FirstLeft() {
    return board_.branch_works.begin() + static_cast<std::ptrdiff_t>(branches_.size());
  }

  /// Somebody waits for it: it was not stopped, and has no result from a commit that had been in doubt.
  bool Wanted(const BranchWork& work) {
    const Live* live = Alive(work);
    return live != nullptr && work.branch < live->transaction.branches.size() &&
           live->transaction.branches[work.branch].in_flight;
  }

  void RunBranch() {
    const BranchWork work = *FirstLeft();
    Live* live = Alive(work);
    // A new one may turn out to exist; then the stored one counts, and nothing of this may run.
    if (!Wanted(work) || (live->Fresh() && !live->surely_new &&
                          board_.store.Has(live->transaction.definition->gid))) {
      board_.branch_works.erase(FirstLeft());
      return;
    }
    if (!board_.context.may_call) {
      StepResult(work, Result::NotSent("the coordinator was stopping"));
      board_.branch_works.erase(FirstLeft());
      return;
    }
    live->surely_new = true;
    branches_.push_back({work, live->transaction, live->held_calls, live->events.size(),
                         live->timer, live->rolled_back});
    BranchCall call;
    call.definition = live->transaction.definition;
    call.branch = work.branch;
    const Time begin = clock_.Now();
    Result result =
        board_.store.Run([&](sqlite3* db) { return functions_.RunInTransaction(call, db); });
    WarnIfSlow(begin, call.Url());
    StepResult(work, std::move(result));
  }

  void StepResult(const BranchWork& work, Result result) {
    Live* live = Alive(work);
    if (live == nullptr) return;
    board_.Step(*live, {engine::EventKind::kResult, work.branch, std::move(result)});
    TakeCallsOf(*live);
  }

  void RunTransact() {
    QueuedWork& work = board_.works[transacts_++];
    WorkContext context;
    context.exists = [this](const std::string& gid) {
      return board_.lives.Find(gid) != nullptr || board_.store.Has(gid);
    };
    const Time begin = clock_.Now();
    *work.result = board_.store.Run([&](sqlite3* db) {
      context.db = db;
      context.submitted.clear();
      return work.work(context);
    });
    WarnIfSlow(begin, "Transact");
    if (work.result->kind != Result::Kind::kSuccess) return;
    for (const auto& definition : context.submitted) {
      Transaction transaction;
      transaction.definition = definition;
      const bool room = !board_.Full();
      Live& live = board_.lives.Add(std::move(transaction));
      live.surely_new = true;
      added_.push_back(&live);
      added_bytes_ += live.bytes;
      board_.StepIfRoom(live, engine::EventKind::kSubmitted, room);
      TakeCallsOf(live);
    }
  }

  void WarnIfSlow(Time begin, const std::string& what) const {
    const Duration took = clock_.Now() - begin;
    if (took <= kSlow) return;
    board_.Log(LogLevel::kWarning,
               what + " took " + std::to_string(took.count() / 1000) +
                   " ms inside a commit, and everything else waited; do less in there");
  }

  Board& board_;
  Functions& functions_;
  Clock& clock_;
  // What ran in the open batch stays at the front of its queue until that is durable.
  std::size_t transacts_ = 0;
  std::vector<Branch> branches_;
  std::vector<Live*> added_;  // submitted by them
  std::size_t added_bytes_ = 0;
  bool branch_next_ = false;      // if both kinds wait
  bool branch_was_next_ = false;  // before what ran in the open batch
};

}  // namespace v1
}  // namespace dtm
