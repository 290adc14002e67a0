/// Threads for work that blocks: one is added when all are busy, and leaves after a while without
/// work.
/// Needs: std. Threads: thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

class ThreadPool {
 public:
  /// `max_waiting`: jobs that may wait while all threads are busy.
  explicit ThreadPool(std::size_t max_threads, std::size_t max_waiting = 0)
      : max_threads_(max_threads), max_waiting_(max_waiting) {}
  ~ThreadPool() { Stop(); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// False: there is no room for it. A job must not throw.
  bool Run(std::function<void()> job) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return false;
    if (jobs_.size() >= idle_ && threads_.size() < max_threads_) (void)AddThread();
    if (threads_.empty() || jobs_.size() >= idle_ + starting_ + max_waiting_) return false;
    jobs_.push_back(std::move(job));
    arrived_.notify_one();
    return true;
  }

  /// Waits for everything that was taken, and joins the threads.
  void Stop() {
    std::map<std::thread::id, std::thread> threads;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      threads.swap(threads_);
      arrived_.notify_all();
    }
    for (auto& thread : threads) thread.second.join();
    for (auto& thread : ended_) thread.join();
    ended_.clear();
  }

 private:
  static constexpr std::chrono::seconds kIdleBeforeLeaving{10};

  // All with mutex_ held.

  bool AddThread() {
    try {
      std::thread thread([this] { ThreadMain(); });
      const std::thread::id id = thread.get_id();
      threads_.emplace(id, std::move(thread));
      ++starting_;
      return true;
    } catch (const std::system_error&) {  // none to be had now
      return false;
    }
  }

  void ThreadMain() {
    std::unique_lock<std::mutex> lock(mutex_);
    --starting_;
    for (;;) {
      if (!jobs_.empty()) {
        std::function<void()> job = std::move(jobs_.front());
        jobs_.pop_front();
        lock.unlock();
        job();
        job = nullptr;  // what it holds may use the pool
        lock.lock();
        continue;
      }
      if (stopping_) return;
      ++idle_;
      const auto woken = arrived_.wait_for(lock, kIdleBeforeLeaving);
      --idle_;
      if (woken == std::cv_status::timeout && jobs_.empty() && !stopping_) {
        return Leave();
      }
    }
  }

  void Leave() {
    const auto self = threads_.find(std::this_thread::get_id());
    if (self == threads_.end()) return;
    for (auto& thread : ended_) thread.join();  // these have left the loop already
    ended_.clear();
    ended_.push_back(std::move(self->second));
    threads_.erase(self);
  }

  const std::size_t max_threads_;
  const std::size_t max_waiting_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::function<void()>> jobs_;
  std::size_t idle_ = 0;
  std::size_t starting_ = 0;
  bool stopping_ = false;
  std::map<std::thread::id, std::thread> threads_;
  std::vector<std::thread> ended_;  // left the pool, to be joined
};

}  // namespace v1
}  // namespace dtm
