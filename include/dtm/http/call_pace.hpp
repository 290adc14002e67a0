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
class CallPace {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;

  static constexpr std::chrono::milliseconds kYoung{2};
  static constexpr std::size_t kYoungPerProcessor = 12;

  /// What one thread is doing. Made once for it, so that nothing is allocated for a call.
  class Place {
   public:
    Place() : out_(1) {}
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    friend class CallPace;
    struct Out {
      SteadyTime started{};
      bool young = false;
    };
    std::list<Out> out_;  ///< its only element is here while no call is out
    std::list<Out>::iterator at_ = out_.begin();
  };

  explicit CallPace(unsigned processors)
      : max_young_(kYoungPerProcessor * (std::max)(processors, 2U)) {}

  bool MayStart(SteadyTime now) {
    while (!young_.empty() && young_.front().started + kYoung <= now) {
      young_.front().young = false;
      grown_.splice(grown_.end(), young_, young_.begin());
    }
    return young_.size() < max_young_;
  }

  /// After MayStart has said no: when it says something else although no call has ended.
  SteadyTime NextChange() const { return young_.front().started + kYoung; }

  /// `now` never goes back.
  void Started(Place& place, SteadyTime now) {
    *place.at_ = {now, true};
    young_.splice(young_.end(), place.out_);
  }

  void Ended(Place& place) {
    place.out_.splice(place.out_.end(), place.at_->young ? young_ : grown_, place.at_);
  }

 private:
  const std::size_t max_young_;
  std::list<Place::Out> young_;  ///< in the order of their start
  std::list<Place::Out> grown_;
};

}  // namespace v1
}  // namespace dtm
