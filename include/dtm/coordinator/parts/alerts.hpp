/// Gives alerts to Options::on_alert: outside the loop, one after the other, with a bounded queue.
/// Needs: std. Threads: thread-safe. Without StartThread they run where RunWaiting is called.
/// Protocol: §3 (alert), off the path of the transactions (§12, W9).
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/coordinator/parts/options.hpp>

namespace dtm {
inline namespace v1 {

/// It does not use the pool of functions: on_alert may hang, and must not take threads from branches or
/// count as a branch.
class Alerts {
 public:
  static constexpr std::size_t kMaxWaiting = 1000;

  explicit Alerts(const Options& options) : options_(options) {}
  ~Alerts() {
    BeginNothingNew();
    if (thread_.joinable()) thread_.join();
  }
  Alerts(const Alerts&) = delete;
  Alerts& operator=(const Alerts&) = delete;

  /// From now on alerts run on a thread of their own.
  void StartThread() {
    if (!options_.on_alert) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    thread_ = std::thread([this] { ThreadMain(); });
    threaded_ = true;
  }

  /// Returns at once; alerts that do not fit are dropped.
  void Tell(std::vector<std::shared_ptr<const Alert>> alerts) {
    bool began_to_drop = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return;
      for (auto& alert : alerts) {
        if (waiting_.size() >= kMaxWaiting) {
          began_to_drop = began_to_drop || !dropping_;
          dropping_ = true;
          break;
        }
        dropping_ = false;
        waiting_.push_back(std::move(alert));
      }
      changed_.notify_all();
    }
    if (began_to_drop) {
      Warn("on_alert is too slow: " + std::to_string(kMaxWaiting) +
           " alerts wait, more are dropped");
    }
  }

  /// Without a thread: runs the waiting alerts in this thread. Does nothing inside on_alert. True: there are more.
  bool RunWaiting() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (threaded_ || running_) return false;
    // Alerts that come meanwhile run next time.
    for (std::size_t n = waiting_.size(); n > 0 && !waiting_.empty() && !running_; --n)
      RunOne(lock);
    return !threaded_ && !running_ && !waiting_.empty();
  }

  /// Drops the alerts that have not begun, and waits for the one that runs. False: it is still running.
  bool Stop(Clock& clock, Time until) {
    BeginNothingNew();
    std::unique_lock<std::mutex> lock(mutex_);
    while (running_ && clock.Now() < until) clock.Wait(changed_, lock, until);
    if (running_) return false;
    lock.unlock();
    if (thread_.joinable()) thread_.join();
    return true;
  }

 private:
  void BeginNothingNew() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    waiting_.clear();
    changed_.notify_all();
  }

  void ThreadMain() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      // One that began before there was this thread may still run.
      changed_.wait(lock, [this] { return stopping_ || (!waiting_.empty() && !running_); });
      if (stopping_) return;
      RunOne(lock);
    }
  }

  /// Takes one, and runs it without the lock.
  void RunOne(std::unique_lock<std::mutex>& lock) {
    const std::shared_ptr<const Alert> alert = std::move(waiting_.front());
    waiting_.pop_front();
    running_ = true;
    lock.unlock();
    try {
      try {
        options_.on_alert(*alert);
      } catch (...) {
        Warn("on_alert failed for gid '" + alert->gid + "': " + WhatWasThrown());
      }
    } catch (const std::bad_alloc&) {
      Warn(alert->gid);
    }
    lock.lock();
    running_ = false;
    changed_.notify_all();
  }

  void Warn(const std::string& text) const { LogTo(options_, LogLevel::kWarning, text); }

  const Options& options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<const Alert>> waiting_;
  bool threaded_ = false;
  bool running_ = false;
  bool dropping_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace v1
}  // namespace dtm
