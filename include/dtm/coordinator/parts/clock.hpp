/// The coordinator's time: an interface, so that tests can drive it.
/// Needs: std, base/os.hpp. Threads: thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

#include <dtm/base/os.hpp>
#include <dtm/core/types.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time Now() = 0;
  /// Waits for a notification, or until `until`; may return earlier. A virtual clock lets time pass
  /// instead.
  virtual void Wait(std::condition_variable& condition, std::unique_lock<std::mutex>& lock,
                    Time until) = 0;
};

/// The wall clock at construction plus the boot time since then: jumps of the wall clock change nothing.
class SystemClock : public Clock {
 public:
  SystemClock()
      : start_(std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now())),
        since_boot_(os::SinceBoot()) {}

  Time Now() override { return start_ + (os::SinceBoot() - since_boot_); }

  void Wait(std::condition_variable& condition, std::unique_lock<std::mutex>& lock,
            Time until) override {
    const Time now = Now();
    if (until <= now) return;
    // The wait does not count the time that the machine sleeps, so look at the clock now and then.
    condition.wait_for(lock, (std::min)(until - now, Duration(std::chrono::seconds(5))));
  }

 private:
  Time start_;
  Duration since_boot_;
};

/// Of a store that several coordinators share: it is the same for all of them.
class StoreClock : public SystemClock {
 public:
  /// `store` outlives it.
  explicit StoreClock(const Store& store) : store_(store) {}
  Time Now() override { return store_.SharedTime().value_or(Time{}); }

 private:
  const Store& store_;
};

/// The clock of a coordinator on this store.
inline std::unique_ptr<Clock> ClockOf(const Store& store) {
  if (store.SharedTime()) return std::make_unique<StoreClock>(store);
  return std::make_unique<SystemClock>();
}

}  // namespace v1
}  // namespace dtm
