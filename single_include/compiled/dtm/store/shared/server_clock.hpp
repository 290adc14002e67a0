/// Generated from include/dtm/store/shared/server_clock.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"

// ---- dtm/store/shared/server_clock.hpp ---------------------------------------------------------

/// The time that all coordinators on a database agree on: the server's clock when it was first asked, and the time since boot
/// since then. Wall clocks of the coordinators do not count, and a jump of the server's has no effect.
/// Needs: std. Threads: Learn and Heard by one at a time; Now by any, once Learn has returned.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <utility>

namespace dtm {
inline namespace v1 {
namespace shared_store {

class ServerClock {
 public:
  /// `since_boot`: see os::SinceBoot.
  explicit ServerClock(std::function<Duration()> since_boot) : since_boot_(std::move(since_boot)) {}

  /// Before anybody uses it: it was `time` at the server at some moment between `asked` and `answered`, since boot. Of several
  /// answers the one that took least counts. Returns by how much this clock may be off now.
  Duration Learn(Time time, Duration asked, Duration answered) {
    const Duration may_be_off = (answered - asked) / 2;
    if (may_be_off < may_be_off_) {
      may_be_off_ = may_be_off;
      offset_ = (time.time_since_epoch() - asked - may_be_off).count();
    }
    return may_be_off_;
  }

  /// It was `time` at the server when it was `asked` since boot. This moves the clock by 100 µs at most: with each beat, that is
  /// more than two quartzes differ.
  void Heard(Time time, Duration asked) {
    ahead_ = time.time_since_epoch() - asked - Duration(offset_);
    offset_ += std::clamp(ahead_, -kMostAtOnce, kMostAtOnce).count();
  }

  Time Now() const { return Time(Duration(offset_) + since_boot_()); }

  /// How far the server's clock was ahead of this one when it was heard last.
  Duration ServerIsAhead() const { return ahead_; }

 private:
  static constexpr Duration kMostAtOnce = std::chrono::microseconds(100);

  const std::function<Duration()> since_boot_;
  std::atomic<Duration::rep> offset_{0};
  Duration may_be_off_ = Duration::max();
  Duration ahead_{};
};

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
