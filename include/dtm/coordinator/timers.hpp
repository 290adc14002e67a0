/// Which transaction wants to be looked at when.
/// Needs: std. Threads: one owner.
#pragma once

#include <set>
#include <utility>

#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

struct Live;

/// One timer per transaction in memory, in order of time.
class Timers {
 public:
  /// Replaces the timer at `old` by one at `time`; kNever is none.
  void Move(Live& live, Time old, Time time) {
    if (old == time) return;
    if (old != kNever) timers_.erase({old, &live});
    if (time != kNever)
      timers_.emplace_hint(timers_.end(), time, &live);  // mostly later than others
  }
  Time Next() const { return timers_.empty() ? kNever : timers_.begin()->first; }
  /// Takes the first one that is due; null if none is.
  Live* TakeDue(Time now) {
    if (timers_.empty() || timers_.begin()->first > now) return nullptr;
    Live* live = timers_.begin()->second;
    timers_.erase(timers_.begin());
    return live;
  }

 private:
  std::set<std::pair<Time, Live*>> timers_;
};

}  // namespace v1
}  // namespace dtm
