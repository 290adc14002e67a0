/// What a commit in doubt has left untold. What goes on in memory tells it later by itself; the rest is here: events, and what
/// has left memory or was undone there.
/// Needs: std, store. Threads: the thread that drives the loop.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <dtm/coordinator/hooks/doubts.hpp>
#include <dtm/coordinator/hooks/event_feed.hpp>
#include <dtm/coordinator/loop/in_commit_work.hpp>
#include <dtm/coordinator/state/reports.hpp>
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Untold {
 public:
  explicit Untold(TurnState& state) : state_(state) {}

  /// The commit of these changes is in doubt, each of the transaction in the same place of `dirty`. Comes before anything in
  /// memory is undone.
  void Keep(const std::vector<Change>& changes, const std::vector<ActiveTransaction*>& dirty,
            EventFeed& feed, const InCommitWork& works) {
    for (std::size_t n = 0; n < changes.size(); ++n) {
      const ActiveTransaction& active = *dirty[n];
      const auto of = std::make_shared<OfChange>();
      of->events = feed.OfDoubt(n);
      of->calls = works.EndedCallsOf(active);
      of->leaves = active.Fresh();
      of->rolled_back = active.rolled_back;
      // Those that stay in memory are reported with their conflict, see Conflicts.
      for (std::size_t i = of->leaves ? 0 : works.EventsBefore(active); i < active.events.size();
           ++i) {
        if (Reports::HasNews(active.events[i])) of->reported.push_back(active.events[i]);
      }
      const bool ends = of->leaves && IsFinal(active.transaction.status);
      if (of->events.empty() && of->calls.empty() && of->reported.empty() && !ends) continue;
      doubts_.Add(active.transaction, [this, of](const Transaction& stored) { Tell(*of, stored); });
    }
  }

  /// @throws StoreError  see Doubts.
  void Settle(Store& store) { doubts_.Settle(store); }
  void Committed() noexcept { doubts_.Committed(); }

 private:
  /// Of one change.
  struct OfChange {
    EventFeed::Events events;
    std::vector<InCommitWork::EndedCall> calls;
    std::vector<AppliedEvent> reported;
    bool leaves = false;
    bool rolled_back = false;
  };

  void Tell(const OfChange& of, const Transaction& stored) {
    EventFeed::Events& events = state_.to_release.events;
    events.insert(events.end(), of.events.begin(), of.events.end());
    for (const auto& ended : of.calls) {
      state_.reports.spans.End(ended.call, ended.result, ended.at);
    }
    TurnState::Protected([&] {
      for (const AppliedEvent& event : of.reported) state_.reports.Report(stored, event);
      if (!of.leaves) return;
      if (of.rolled_back) state_.reports.news.RolledBack(stored, state_.context.now);
      state_.reports.ReportEnd(stored);
    });
  }

  TurnState& state_;
  Doubts doubts_;
};

}  // namespace v1
}  // namespace dtm
