/// Looks now and then for transactions in memory with which nothing would go on, and sets them going. There are none
/// unless a turn was broken off (no memory was left) or this library has a fault, which the log then tells.
/// Needs: std. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/board.hpp>
#include <dtm/coordinator/not_stored.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

class Sweep {
 public:
  explicit Sweep(Board& board) : board_(board) {}

  /// At the end of each turn.
  void NowAndThen() {
    if (board_.context.now >= next_) Run();
  }

  void Run() {
    next_ = board_.context.now + kEvery;
    Complete(board_.dirty, &Live::dirty);
    Complete(board_.touched, &Live::touched);
    QueueLostWorks();
    std::vector<Live*> lost;
    board_.lives.ForEach([&](Live& live) {
      if (!GoesOn(live)) lost.push_back(&live);
    });
    for (Live* live : lost) SetGoing(*live);
  }

 private:
  static constexpr Duration kEvery = std::chrono::seconds(30);

  /// A list that lacks some of those whose flag says that they are in it.
  void Complete(std::vector<Live*>& list, bool Live::*flag) {
    std::size_t flagged = 0;
    board_.lives.ForEach([&](const Live& live) { flagged += live.*flag ? 1 : 0; });
    if (flagged == list.size()) return;
    std::vector<Live*> complete;
    board_.lives.ForEach([&](Live& live) {
      if (live.*flag) complete.push_back(&live);
    });
    list.swap(complete);
  }

  /// Branches that run inside a commit: called, and in no queue.
  void QueueLostWorks() {
    std::set<std::pair<std::size_t, std::size_t>> queued;
    for (const BranchWork& work : board_.branch_works) queued.emplace(work.place, work.branch);
    board_.lives.ForEach([&](const Live& live) {
      const Transaction& transaction = live.transaction;
      for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
        if (!transaction.branches[i].in_flight ||
            !RunsInTransaction(UrlOf(*transaction.definition, i))) {
          continue;
        }
        const auto& held = live.held_calls;
        const bool waits = std::find(held.begin(), held.end(), i) != held.end() ||
                           queued.count({live.place, i}) > 0;
        if (waits) continue;
        board_.branch_works.push_back({live.place, live.life, i});
        Tell(live);
      }
    });
  }

  /// A commit, the release, an answer, a timer, the next turn or somebody will come to it.
  bool GoesOn(const Live& live) const {
    const Transaction& transaction = live.transaction;
    if (live.dirty) return true;
    if (live.Fresh()) return false;
    if (live.touched || live.armed != kNever || live.CallsOut()) return true;
    if (!live.waiters.empty() && WaitsForPeople(live)) return true;
    if (!board_.context.may_call && !IsFinal(transaction.status)) return true;  // after the restart
    return std::any_of(board_.again.begin(), board_.again.end(), [&](const auto& entry) {
      return entry.first == transaction.definition->gid;
    });
  }

  void SetGoing(Live& live) {
    Tell(live);
    if (!live.Fresh()) {
      // Perhaps it was lost before it was looked at for the first time; nothing of it is out.
      board_.again.emplace_back(live.transaction.definition->gid, engine::EventKind::kLoaded);
      return;
    }
    // Its turn was broken off before it was complete: it is not stored.
    RefuseFresh(board_, live, "a turn of the coordinator failed");
  }

  void Tell(const Live& live) const {
    board_.Log(LogLevel::kError,
               "gid '" + live.transaction.definition->gid +
                   "' was in memory and nothing would have gone on with it; it is set going. If no "
                   "turn of the "
                   "coordinator failed before, this is a fault of dtm: please report it");
  }

  Board& board_;
  Time next_{};
};

}  // namespace v1
}  // namespace dtm
