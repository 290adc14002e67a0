/// How many threads begin calls at once, so that fast branches are served by few of them and slow ones not in bursts.
/// Needs: std. Threads: none inside; the caller holds its own lock. No clock: time is passed in.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <list>

namespace dtm {
inline namespace v1 {

/// A call of a fast branch is back in less than kYoung, and its thread takes the next call; that costs less than to
/// wake another thread, and at 256 calls at a time it is a third of all work. So few threads are in such young calls.
/// Older ones do not count: slow branches get as many threads as they need, 6 calls a millisecond and processor. Calls
/// that begin together are answered together and wait for each other again each time; so they spread (1000 calls
/// of 100 ms on 2 processors: 7,700/s without this).
class StartThrottle {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;

  static constexpr std::chrono::milliseconds kYoung{2};
  static constexpr std::size_t kYoungPerProcessor = 12;

  /// What one thread is doing. Made once for it, so that nothing is allocated for a call.
  class Place {
   public:
    Place() : here_(1) {}
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    friend class StartThrottle;
    struct Young {
      Place* place = nullptr;
      SteadyTime started{};
    };
    std::list<Young> here_;  ///< its only element is here, unless a young call is out
    std::list<Young>::iterator at_ = here_.begin();
  };

  explicit StartThrottle(unsigned processors)
      : max_young_(kYoungPerProcessor * (std::max)(processors, 2U)) {}

  bool MayStart(SteadyTime now) {
    while (!young_.empty() && young_.front().started + kYoung <= now) {
      std::list<Place::Young>& here = young_.front().place->here_;
      here.splice(here.end(), young_, young_.begin());
    }
    return young_.size() < max_young_;
  }

  /// After MayStart has said no: when it says something else although no call has ended.
  SteadyTime NextChange() const { return young_.front().started + kYoung; }

  /// `now` never goes back.
  void Started(Place& place, SteadyTime now) {
    *place.at_ = {&place, now};
    young_.splice(young_.end(), place.here_);
  }

  void Ended(Place& place) {
    if (place.here_.empty()) place.here_.splice(place.here_.end(), young_, place.at_);
  }

 private:
  const std::size_t max_young_;
  std::list<Place::Young> young_;  ///< in the order of their start
};

}  // namespace v1
}  // namespace dtm
