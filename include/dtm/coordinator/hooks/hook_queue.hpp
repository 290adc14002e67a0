/// Gives what happened to a function of the program: outside the loop, one after the other, with a bounded queue.
/// Needs: std. Threads: thread-safe. Without StartThread the function runs where RunWaiting is called.
/// Protocol: §3 (alert), off the path of the transactions (§12, W9).
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/coordinator/parts/gauges.hpp>
#include <dtm/coordinator/parts/options.hpp>

namespace dtm {
inline namespace v1 {

/// `T` has a gid. It does not use the pool of functions: a hook may hang, and must not take threads from branches or count
/// as a branch.
template <typename T>
class HookQueue {
 public:
  using Hook = std::function<void(const T&)>;
  using List = std::vector<std::shared_ptr<const T>>;

  /// `name`: of the option. At most `max_waiting` wait. `hook` and `options` outlive it.
  HookQueue(const char* name, const Hook& hook, std::size_t max_waiting, Clock& clock,
            const Options& options)
      : name_(name), hook_(hook), max_waiting_(max_waiting), clock_(clock), options_(options) {}
  ~HookQueue() {
    DropWaiting();
    if (thread_.joinable()) thread_.join();
  }
  HookQueue(const HookQueue&) = delete;
  HookQueue& operator=(const HookQueue&) = delete;

  bool Wanted() const { return static_cast<bool>(hook_); }

  /// From now on the hook runs on a thread of its own.
  void StartThread() {
    if (!Wanted()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    thread_ = std::thread([this] { ThreadMain(); });
    threaded_ = true;
  }

  /// Returns at once; what does not fit is dropped, and counted.
  void Tell(List told) {
    std::size_t dropped = 0;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return;
      for (auto& one : told) {
        if (!Keep(one)) ++dropped;
      }
      changed_.notify_all();
    }
    if (dropped == 0) return;
    dropped_ += dropped;
    WarnNowAndThen(next_too_slow_, [this] {
      return std::string(name_) + " is too slow: " + std::to_string(max_waiting_) +
             " wait for it, more are dropped (" + std::to_string(dropped_) + " so far)";
    });
  }

  /// Without a thread: tells what waits, in this thread. Does nothing inside the hook. True: there is more.
  bool RunWaiting() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (threaded_ || running_) return false;
    // What comes meanwhile is told next time.
    for (std::size_t n = waiting_.size(); n > 0 && !waiting_.empty() && !running_; --n)
      RunOne(lock);
    return !threaded_ && !running_ && !waiting_.empty();
  }

  /// Tells what waits until `until`, drops the rest, and waits for the one that is being told. False: it is still running.
  /// Nothing comes any more.
  bool Stop(Time until) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!threaded_ && !running_ && !waiting_.empty() && clock_.Now() < until) RunOne(lock);
    while (threaded_ && !waiting_.empty() && clock_.Now() < until) {
      clock_.Wait(changed_, lock, until);
    }
    const std::size_t rest = waiting_.size();
    waiting_.clear();
    stopping_ = true;
    changed_.notify_all();
    while (running_ && clock_.Now() < until) clock_.Wait(changed_, lock, until);
    const bool done = !running_;
    lock.unlock();
    if (rest > 0) {
      dropped_ += rest;
      Warn([&] {
        return std::string(name_) + " is too slow: " + std::to_string(rest) +
               " waited for it when the coordinator stopped, and are dropped";
      });
    }
    if (done && thread_.joinable()) thread_.join();
    return done;
  }

  HookLoad Load() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {waiting_.size(), dropped_};
  }

 private:
  static constexpr Duration kBetweenLines = std::chrono::seconds(10);

  void DropWaiting() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    waiting_.clear();
    changed_.notify_all();
  }

  /// With mutex_ held.
  bool Keep(std::shared_ptr<const T>& one) {
    if (waiting_.size() >= max_waiting_) return false;
    try {
      waiting_.push_back(std::move(one));
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

  void ThreadMain() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      // One that began before there was this thread may still run.
      changed_.wait(lock, [this] { return (!waiting_.empty() && !running_) || stopping_; });
      if (stopping_) return;
      RunOne(lock);
    }
  }

  /// Takes one, and tells it without the lock.
  void RunOne(std::unique_lock<std::mutex>& lock) {
    const std::shared_ptr<const T> one = std::move(waiting_.front());
    waiting_.pop_front();
    running_ = true;
    lock.unlock();
    try {
      hook_(*one);
    } catch (...) {
      const std::string thrown = WhatWasThrown();
      ++failures_;
      WarnNowAndThen(next_failed_, [&] {
        return std::string(name_) + " failed for gid '" + one->gid + "': " + thrown +
               (failures_ > 1 ? " (" + std::to_string(failures_) + " failures so far)" : "");
      });
    }
    lock.lock();
    running_ = false;
    changed_.notify_all();
  }

  /// A hook that always fails or is always too slow does not fill the log. `next`: of this kind of line.
  template <typename Text>
  void WarnNowAndThen(std::atomic<Time>& next, const Text& text) const {
    const Time now = clock_.Now();
    if (now < next.load()) return;
    next = now + kBetweenLines;
    Warn(text);
  }

  template <typename Text>
  void Warn(const Text& text) const {
    try {
      LogTo(options_, LogLevel::kWarning, text());
    } catch (...) {  // out of memory
      LogTo(options_, LogLevel::kWarning, name_);
    }
  }

  const char* const name_;
  const Hook& hook_;
  const std::size_t max_waiting_;
  Clock& clock_;
  const Options& options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<const T>> waiting_;
  bool threaded_ = false;
  bool running_ = false;
  bool stopping_ = false;
  std::atomic<std::uint64_t> dropped_{0};
  std::atomic<std::uint64_t> failures_{0};
  std::atomic<Time> next_too_slow_{Time{}};
  std::atomic<Time> next_failed_{Time{}};
  std::thread thread_;
};

}  // namespace v1
}  // namespace dtm
