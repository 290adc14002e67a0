/// Looks now and then for transactions in memory that would never continue, and sets them going. There are none
/// unless a turn was broken off (no memory was left) or this library has a fault; the log says so.
/// Needs: std. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/state/not_stored.hpp>
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

class Sweep {
 public:
  explicit Sweep(TurnState& state) : state_(state) {}

  /// At the end of each turn.
  void NowAndThen() {
    if (state_.context.now >= next_) Run();
  }

  void Run() {
    next_ = state_.context.now + kEvery;
    Complete(state_.to_commit.dirty, &ActiveTransaction::dirty);
    Complete(state_.to_release.touched, &ActiveTransaction::touched);
    QueueLostWorks();
    std::vector<ActiveTransaction*> lost;
    state_.table.ForEach([&](ActiveTransaction& active) {
      if (!GoesOn(active)) lost.push_back(&active);
    });
    for (ActiveTransaction* active : lost) SetGoing(*active);
  }

 private:
  static constexpr Duration kEvery = std::chrono::seconds(30);

  /// Restores a list that lacks transactions whose flag says that they are in it.
  void Complete(std::vector<ActiveTransaction*>& list, bool ActiveTransaction::*flag) {
    std::size_t flagged = 0;
    state_.table.ForEach([&](const ActiveTransaction& active) { flagged += active.*flag ? 1 : 0; });
    if (flagged == list.size()) return;
    std::vector<ActiveTransaction*> complete;
    state_.table.ForEach([&](ActiveTransaction& active) {
      if (active.*flag) complete.push_back(&active);
    });
    list.swap(complete);
  }

  /// Queues branches that run inside a commit, were called, and are in no queue.
  void QueueLostWorks() {
    std::set<std::pair<std::size_t, std::size_t>> queued;
    for (const BranchWork& work : state_.to_commit.branch_works)
      queued.emplace(work.slot, work.row);
    state_.table.ForEach([&](const ActiveTransaction& active) {
      const Transaction& transaction = active.transaction;
      for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
        if (!transaction.branches[i].in_flight ||
            !RunsInTransaction(UrlOf(*transaction.definition, i))) {
          continue;
        }
        const auto& held = active.held_calls;
        const bool waits = std::find(held.begin(), held.end(), i) != held.end() ||
                           queued.count({active.slot, i}) > 0;
        if (waits) continue;
        state_.to_commit.branch_works.push_back({active.slot, active.generation, i});
        Tell(active);
      }
    });
  }

  /// True if something will continue it: a commit, the release, a result, a timer, the next turn or a person.
  bool GoesOn(const ActiveTransaction& active) const {
    const Transaction& transaction = active.transaction;
    if (active.dirty) return true;
    if (active.Fresh()) return false;
    if (active.touched || active.armed != kNever || active.CallsOut()) return true;
    if (!active.waiters.empty() && WaitsForPeople(active)) return true;
    if (!state_.context.may_call && !IsFinal(transaction.status)) return true;  // after the restart
    return std::any_of(
        state_.to_collect.readvance.begin(), state_.to_collect.readvance.end(),
        [&](const auto& entry) { return entry.first == transaction.definition->gid; });
  }

  void SetGoing(ActiveTransaction& active) {
    Tell(active);
    if (!active.Fresh()) {
      // Perhaps it was lost before it was advanced for the first time; no call of it is running.
      state_.to_collect.readvance.emplace_back(active.transaction.definition->gid,
                                               engine::EventKind::kLoaded);
      return;
    }
    // Its turn was broken off before it was complete: it is not stored.
    RefuseFresh(state_, active, "a turn of the coordinator failed");
  }

  void Tell(const ActiveTransaction& active) const {
    state_.reports.news.SetGoing(active.transaction, state_.context.now);
  }

  TurnState& state_;
  Time next_{};
};

}  // namespace v1
}  // namespace dtm
