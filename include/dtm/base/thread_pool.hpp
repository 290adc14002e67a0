/// Threads for work that blocks: one is added when all are busy, and ends after a while without
/// work.
/// Needs: std. Threads: thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <utility>

#include <dtm/base/thread_list.hpp>

namespace dtm {
inline namespace v1 {

class ThreadPool {
 public:
  /// `max_waiting`: jobs that may wait while all threads are busy; one always fits into the bytes.
  explicit ThreadPool(std::size_t max_threads, std::size_t max_waiting = 0,
                      std::size_t max_waiting_bytes = SIZE_MAX)
      : max_threads_(max_threads),
        max_waiting_(max_waiting),
        max_waiting_bytes_(max_waiting_bytes) {}
  ~ThreadPool() { Stop(); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// False: there is no room for the job. A job must not throw.
  bool Run(std::function<void()> job, std::size_t bytes = 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return false;
    if (jobs_.size() >= idle_ && threads_.Count() < max_threads_) (void)AddThread();
    if (threads_.Count() == 0 || jobs_.size() >= idle_ + starting_ + max_waiting_) return false;
    if (waiting_bytes_ > 0 &&
        bytes > max_waiting_bytes_ - (std::min)(waiting_bytes_, max_waiting_bytes_))
      return false;
    jobs_.push_back({std::move(job), bytes});
    waiting_bytes_ += bytes;
    arrived_.notify_one();
    return true;
  }

  /// Waits for all jobs that were taken, as long as they take, and joins the threads.
  void Stop() {
    ThreadList threads;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      threads = threads_.TakeAll();
      arrived_.notify_all();
    }
    threads.JoinAll();
  }

 private:
  static constexpr std::chrono::seconds kIdleBeforeLeaving{10};

  struct Job {
    std::function<void()> run;
    std::size_t bytes;
  };

  // All with mutex_ held.

  bool AddThread() {
    try {
      threads_.Add([this] { ThreadMain(); });
    } catch (const std::exception&) {  // none to be had now
      return false;
    }
    ++starting_;
    return true;
  }

  void ThreadMain() {
    std::unique_lock<std::mutex> lock(mutex_);
    --starting_;
    for (;;) {
      if (!jobs_.empty()) {
        std::function<void()> job = std::move(jobs_.front().run);
        waiting_bytes_ -= jobs_.front().bytes;
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
      if (woken == std::cv_status::timeout && jobs_.empty() && !stopping_) return threads_.Leave();
    }
  }

  const std::size_t max_threads_;
  const std::size_t max_waiting_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  const std::size_t max_waiting_bytes_;
  std::deque<Job> jobs_;
  std::size_t waiting_bytes_ = 0;
  std::size_t idle_ = 0;
  std::size_t starting_ = 0;
  bool stopping_ = false;
  ThreadList threads_;
};

}  // namespace v1
}  // namespace dtm
