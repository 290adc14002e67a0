/// When each transaction has to be looked at again.
/// Needs: std. Threads: one owner.
#pragma once

#include <new>
#include <set>
#include <utility>
#include <vector>

#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

struct ActiveTransaction;

/// One timer per transaction in memory, in order of time. Nodes are reused: most transactions have a timer, for those
/// who wait for their end.
class Timers {
 public:
  /// Replaces the timer at `old` by one at `time`; kNever is none.
  void Move(ActiveTransaction& active, Time old, Time time) {
    if (old == time) return;
    Ordered::node_type node;
    if (old != kNever) {
      node = timers_.extract({old, &active});
    } else if (!spare_nodes_.empty()) {
      node = std::move(spare_nodes_.back());
      spare_nodes_.pop_back();
    }
    const auto hint = timers_.end();  // mostly later than others
    if (time == kNever) {
      if (node) Spare(std::move(node));
    } else if (node) {
      node.value() = {time, &active};
      timers_.insert(hint, std::move(node));
    } else {
      timers_.emplace_hint(hint, time, &active);
    }
  }
  Time Next() const { return timers_.empty() ? kNever : timers_.begin()->first; }
  /// Takes the first one that is due; null if none is.
  ActiveTransaction* TakeDue(Time now) {
    if (timers_.empty() || timers_.begin()->first > now) return nullptr;
    ActiveTransaction* active = timers_.begin()->second;
    timers_.erase(timers_.begin());
    return active;
  }

 private:
  using Ordered = std::set<std::pair<Time, ActiveTransaction*>>;

  void Spare(Ordered::node_type&& node) {
    try {
      spare_nodes_.push_back(std::move(node));
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): one less
    }
  }

  Ordered timers_;
  std::vector<Ordered::node_type> spare_nodes_;
};

}  // namespace v1
}  // namespace dtm
