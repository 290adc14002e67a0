/// Removes finished transactions after their time, in small steps that share a commit with others.
/// Needs: std, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <dtm/core/types.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Retention {
 public:
  explicit Retention(Duration keep) : keep_(keep) {}

  Time NextStep() const { return next_; }

  /// One step inside the open batch.
  void Step(Store& store, Time now) {
    position_ = store.Expire(now - keep_, position_, kRowsPerStep);
    // A pass over, the next one waits for a fraction of the time that things are kept.
    const Duration pause = (std::min)((std::max)(keep_ / 100, kShortestPause), kLongestPause);
    next_ = now + (position_ == 0 ? pause : kBetweenSteps);
  }

  /// The step was lost with its batch.
  void Failed(Time now) { next_ = now + kShortestPause; }

 private:
  static constexpr std::size_t kRowsPerStep = 256;
  static constexpr Duration kBetweenSteps = std::chrono::milliseconds(5);
  static constexpr Duration kShortestPause = std::chrono::seconds(1);
  static constexpr Duration kLongestPause = std::chrono::minutes(10);
  Duration keep_;
  Time next_{};
  std::int64_t position_ = 0;
};

}  // namespace v1
}  // namespace dtm
