/// Generated from include/dtm/testing/virtual_time.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"

// ---- dtm/testing/virtual_time.hpp --------------------------------------------------------------

/// Time that passes only when a test lets it.
/// Needs: std. Threads: one thread.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace dtm {
inline namespace v1 {
namespace testing {

/// The time, and the events of later times. Starts on 2026-01-01 00:00 UTC.
class VirtualTime {
 public:
  /// The present virtual time.
  Time Now() const { return now_; }

  /// `event` runs when the time comes to this.
  void At(Time time, std::function<void()> event) { events_.emplace(time, std::move(event)); }

  /// Moves on to `target`, or to the first event before it, and runs that.
  void MoveTowards(Time target) {
    if (!events_.empty() && events_.begin()->first < target) target = events_.begin()->first;
    now_ = (std::max)(now_, target);
    while (!events_.empty() && events_.begin()->first <= now_) {
      const std::function<void()> event = std::move(events_.begin()->second);
      events_.erase(events_.begin());
      event();
    }
  }

  /// Sets the clock, backwards too, as an administrator would while the program is down.
  void Set(Time time) { now_ = time; }

 private:
  Time now_{std::chrono::seconds(1767225600)};
  std::multimap<Time, std::function<void()>> events_;
};

/// The clock of one run of a coordinator: follows the virtual time until it is cut off from it.
class VirtualClock : public Clock {
 public:
  /// Follows `time`.
  explicit VirtualClock(std::shared_ptr<VirtualTime> time) : time_(std::move(time)) {}

  /// The virtual time, or the one at which it was cut off.
  Time Now() override { return cut_off_ ? last_ : time_->Now(); }

  /// Instead of waiting, lets the virtual time pass.
  void Wait(std::condition_variable&, std::unique_lock<std::mutex>& lock, Time until) override {
    if (cut_off_) {
      last_ = (std::max)(last_, until);
      return;
    }
    lock.unlock();  // an event may deliver what the caller waits for
    time_->MoveTowards(until);
    lock.lock();
  }

  /// The process that this clock belonged to is dead, so it moves the time no more.
  void CutOff() {
    last_ = time_->Now();
    cut_off_ = true;
  }

 private:
  std::shared_ptr<VirtualTime> time_;
  bool cut_off_ = false;
  Time last_{};
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
