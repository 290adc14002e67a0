/// Removes finished transactions after their time, in small steps that share a commit with others.
/// Needs: std, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include <dtm/core/types.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Retention {
 public:
  /// Both count from the end of a transaction; gids that would go before their records are not kept.
  Retention(Duration keep_finished, Duration keep_gids)
      : keep_finished_(keep_finished), keep_gids_((std::max)(keep_gids, keep_finished)) {}

  Time NextTime() const { return (std::min)(next_, next_gids_); }

  /// One step inside the open batch. Returns a sentence to log about records that could not be removed; each once.
  std::string RemoveSome(Store& store, Time now) {
    std::string problem;
    if (next_ <= now) {
      try {
        position_ = store.Expire(Before(now, keep_finished_), position_, kRowsPerStep,
                                 keep_gids_ > keep_finished_);
      } catch (const NotAllExpired& error) {
        position_ = error.next;
        if (told_ != error.what()) problem = told_ = error.what();
      }
      next_ = now + (position_ == 0 ? Pause(keep_finished_, kLongestPause) : kBetweenSteps);
    }
    if (next_gids_ <= now) {
      gid_ = store.ForgetGids(Before(now, keep_gids_), gid_, kGidsPerStep);
      next_gids_ = now + (gid_.empty() ? Pause(keep_gids_, kLongestPauseOfGids) : kBetweenSteps);
    }
    return problem;
  }

  /// The step was lost with its batch.
  void Failed(Time now) { next_ = next_gids_ = now + kShortestPause; }

 private:
  static constexpr std::size_t kRowsPerStep = 256;
  static constexpr std::size_t kGidsPerStep = 1024;  // most are only looked at
  static constexpr Duration kBetweenSteps = std::chrono::milliseconds(5);
  static constexpr Duration kShortestPause = std::chrono::seconds(1);
  static constexpr Duration kLongestPause = std::chrono::minutes(10);
  static constexpr Duration kLongestPauseOfGids =
      std::chrono::hours(24);  // a pass walks all of them

  /// After a pass the next one waits for a fraction of the time for which records are kept.
  static Duration Pause(Duration keep, Duration longest) {
    return (std::min)((std::max)(keep / 100, kShortestPause), longest);
  }

  static Time Before(Time now, Duration keep) {
    return keep >= now.time_since_epoch() ? Time{} : now - keep;
  }

  const Duration keep_finished_, keep_gids_;
  Time next_{}, next_gids_{};
  std::int64_t position_ = 0;
  std::string gid_;
  std::string told_;
};

}  // namespace v1
}  // namespace dtm
