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
///
/// Calls that take longer show that the branches are slow: each of them admits one more, so that threads double every
/// kYoung, up to a limit: calls that begin together are answered together, and wait for each other again each time
/// (1000 calls of 100 ms on 2 processors: 7,700/s if they may, 9,700/s if not).
class CallPace {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;

  static constexpr std::chrono::milliseconds kYoung{10};

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
      bool grown = false;
    };
    std::list<Out> out_;  ///< its only element is here while no call is out
    std::list<Out>::iterator at_ = out_.begin();
  };

  explicit CallPace(unsigned processors)
      : min_young_(std::size_t{8} * (std::max)(processors, 2U)), max_young_(8 * min_young_) {}

  bool MayStart(SteadyTime now) {
    while (!young_.empty() && young_.front().started + kYoung <= now) {
      young_.front().grown = true;
      grown_.splice(grown_.end(), young_, young_.begin());
    }
    return young_.size() < (std::min)(min_young_ + grown_.size(), max_young_);
  }

  /// After MayStart has said no: when it says something else although no call has ended.
  SteadyTime NextChange() const { return young_.front().started + kYoung; }

  /// `now` never goes back.
  void Started(Place& place, SteadyTime now) {
    *place.at_ = {now, false};
    young_.splice(young_.end(), place.out_);
  }

  void Ended(Place& place) {
    place.out_.splice(place.out_.end(), place.at_->grown ? grown_ : young_, place.at_);
  }

 private:
  const std::size_t min_young_;
  const std::size_t max_young_;
  std::list<Place::Out> young_;  ///< in the order of their start
  std::list<Place::Out> grown_;
};

}  // namespace v1
}  // namespace dtm
