/// Calls branches by URL: threads that grow and shrink, connections that are kept, a queue per host.
/// Needs: cpp-httplib, POSIX. Threads: as BranchCaller says; inside, one mutex over all state.
/// Protocol: §3 (calling branches).
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/calls/branch_connection.hpp>
#include <dtm/http/calls/call_queue.hpp>
#include <dtm/http/calls/start_throttle.hpp>
#include <dtm/http/httplib/guarded_client.hpp>

namespace dtm {
inline namespace v1 {

class UrlCaller {
 public:
  explicit UrlCaller(HttpBranchOptions options) : options_(options), queue_(options) {
    FillRegexTable();
    housekeeper_ = std::thread([this] { KeepHouse(); });
  }
  ~UrlCaller() { Stop(); }

  void Call(std::vector<BranchCall> calls, BranchResults& results) {
    std::vector<Ended> ended;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return;
      const SteadyTime now = Clock::now();
      for (BranchCall& call : calls) {
        const Job job{call, &results};
        try {
          if (auto refused = queue_.Push(job, now)) {
            ended.push_back({job, std::move(*refused)});
          } else {
            CheckBefore(Later(now, call.timeout - call.late));
          }
          call.definition = nullptr;
        } catch (const std::bad_alloc&) {  // it stays here
        }
      }
      WakeWorker();
    }
    Deliver(ended);
    for (BranchCall& call : calls) {
      if (call.definition) Deliver({std::move(call), &results}, Result::NotSent({}));
    }
  }

  CallLoad Load() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return queue_.Load();
  }

  /// Waits for calls that hang in the resolver: getaddrinfo cannot be interrupted.
  void Stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      for (Worker& worker : workers_) worker.wake.notify_one();
      housekeeping_.notify_one();
    }
    if (housekeeper_.joinable()) housekeeper_.join();
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Milliseconds = std::chrono::milliseconds;

  // When a deadline has passed: first the worker may notice by itself, then its socket is broken, and if even that
  // does not help (the resolver hangs) the call is answered for it.
  static constexpr Milliseconds kBreakAfter{10};
  static constexpr Milliseconds kAnswerAfter{60};
  static constexpr Milliseconds kShortestNap{1};

  using Job = CallQueue::Job;
  using Ended = CallQueue::Ended;
  using Host = CallQueue::Host;

  struct Worker {
    std::thread thread;
    std::condition_variable wake;
    bool woken = false;
    std::optional<Job> job;                  ///< taken by whoever ended it
    BranchConnection* connection = nullptr;  ///< in use
    StartThrottle::Place place;
    SteadyTime deadline{};
  };
  using WorkerAt = std::list<Worker>::iterator;

  // With the mutex held, where nothing else is said.

  /// One at a time: who wakes up and sees more work wakes the next. While the pace lets no call begin, one waits at
  /// the gate.
  void WakeWorker() noexcept {
    if (waking_ || stopping_ || queue_.Next() == nullptr) return;
    if (at_gate_ && !pace_.MayStart(Clock::now())) return;
    if (!idle_.empty()) {
      Worker* worker = idle_.back();  // the one whose stack and connection are still warm
      idle_.pop_back();
      worker->woken = true;
      worker->wake.notify_one();
      waking_ = true;
      return;
    }
    if (static_cast<int>(workers_.size()) >= options_.limits.total) return;
    try {
      idle_.reserve(workers_.size() + 1);
      const WorkerAt worker = workers_.emplace(workers_.end());
      try {
        worker->thread = std::thread([this, worker] { Work(worker); });
        waking_ = true;
      } catch (...) {
        workers_.erase(worker);
        throw;
      }
    } catch (...) {  // the threads there are go on, and the housekeeper tries again
      CheckBefore(Clock::now() + kBreakAfter);
    }
  }

  void Work(WorkerAt self) {
    BlockSigpipe();
    std::unique_lock<std::mutex> lock(mutex_);
    waking_ = false;
    for (bool stay = true; stay && !stopping_;) {
      Host* host = queue_.Next();
      if (host != nullptr && pace_.MayStart(Clock::now())) {
        RunOne(*host, *self, lock);
      } else if (host != nullptr && !at_gate_) {
        WaitAtGate(*self, lock);
      } else {
        stay = WaitForWork(*self, lock);
      }
    }
    finished_.splice(finished_.end(), workers_, self);
    housekeeping_.notify_one();
  }

  bool WaitForWork(Worker& self, std::unique_lock<std::mutex>& lock) {
    self.woken = false;
    idle_.push_back(&self);
    self.wake.wait_until(lock, Clock::now() + options_.keep_idle,
                         [&] { return self.woken || stopping_; });
    if (self.woken) {
      waking_ = false;
    } else {
      idle_.erase(std::find(idle_.begin(), idle_.end(), &self));
    }
    return self.woken;
  }

  void WaitAtGate(Worker& self, std::unique_lock<std::mutex>& lock) {
    at_gate_ = true;
    self.wake.wait_until(lock, pace_.NextChange(), [&] { return stopping_; });
    at_gate_ = false;
  }

  void RunOne(Host& host, Worker& self, std::unique_lock<std::mutex>& lock) {
    const SteadyTime now = Clock::now();
    CallQueue::Taken taken = queue_.Take(host, now);
    Job& job = taken.job;
    if (!taken.too_late) {
      self.job = job;
      self.connection = taken.connection.get();
      pace_.Started(self.place, now);
      self.deadline = Later(now, job.call.timeout);
      CheckBefore(self.deadline + kBreakAfter);
    }
    WakeWorker();
    lock.unlock();
    if (taken.too_late) {
      Deliver(std::move(job), std::move(*taken.too_late));
      lock.lock();
      return;
    }
    CallOutcome reply = Send(host, job, taken.connection, self);
    lock.lock();
    self.connection = nullptr;
    pace_.Ended(self.place);
    const SteadyTime end = Clock::now();
    queue_.Return(host, reply.silent, taken.connection, end);
    CheckBefore(end + options_.keep_idle);
    const bool wanted = self.job.has_value() && !stopping_;
    self.job.reset();
    lock.unlock();
    taken.connection.reset();  // closing may take a while
    if (wanted) Deliver(std::move(job), std::move(reply.result));
    lock.lock();
  }

  /// Without the mutex.
  CallOutcome Send(Host& host, const Job& job, std::unique_ptr<BranchConnection>& connection,
                   Worker& self) {
    CallOutcome outcome{{}, false};
    outcome.result = CatchAsResult([&] {
      if (!connection) {
        connection = std::make_unique<BranchConnection>(host.Where());
        const std::lock_guard<std::mutex> lock(mutex_);
        self.connection = connection.get();
      }
      try {
        outcome = connection->Send(job.call, ParseUrl(job.call.Url()), self.deadline);
      } catch (const std::exception& error) {
        outcome.result = Result::Error(StorableText(error.what()));
      }
      return std::move(outcome.result);
    });
    return outcome;
  }

  void CheckBefore(SteadyTime time) {
    if (time >= next_check_) return;
    next_check_ = time;
    housekeeping_.notify_one();
  }

  /// What has to happen at some time, and is nobody else's work.
  void KeepHouse() {
    BlockSigpipe();
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stopping_ || !workers_.empty()) {
      while (!stopping_ && finished_.empty() && Clock::now() < next_check_) {
        housekeeping_.wait_until(lock, next_check_);
      }
      const SteadyTime now = Clock::now();
      next_check_ = now + std::chrono::hours(1);
      std::vector<Ended> ended;
      std::vector<std::unique_ptr<BranchConnection>> closing;
      std::list<Worker> finished = std::move(finished_);
      finished_.clear();
      try {
        CheckWorkers(now, ended);
        next_check_ = (std::min)(next_check_, queue_.Check(now, ended, closing));
      } catch (const std::bad_alloc&) {  // what was not looked at is looked at again
        next_check_ = now + kShortestNap;
      }
      WakeWorker();
      next_check_ = (std::max)(next_check_, now + kShortestNap);
      const bool deliver = !stopping_;
      lock.unlock();
      if (deliver) Deliver(ended);
      closing.clear();
      for (Worker& worker : finished) worker.thread.join();
      finished.clear();
      lock.lock();
      if (stopping_ && finished_.empty() && !workers_.empty()) {
        housekeeping_.wait_for(lock, kBreakAfter);
      }
    }
    for (Worker& worker : finished_) worker.thread.join();
    finished_.clear();
  }

  void CheckWorkers(SteadyTime now, std::vector<Ended>& ended) {
    for (Worker& worker : workers_) {
      const bool working = worker.connection != nullptr || worker.job.has_value();
      if (!working) continue;
      const SteadyTime overdue = worker.deadline + kBreakAfter;
      if (overdue > now && !stopping_) {
        next_check_ = (std::min)(next_check_, overdue);
        continue;
      }
      next_check_ = (std::min)(next_check_, now + kBreakAfter);
      if (worker.connection != nullptr) worker.connection->Break();
      if (worker.job.has_value() && worker.deadline + kAnswerAfter <= now) {
        // Not the whole url: the query of an xa's has another one in it, with its credentials.
        Result result =
            Result::Error(ParseUrl(worker.job->call.Url()).Origin() + " gave no answer in time");
        ended.reserve(ended.size() + 1);  // or the job would be lost half moved
        ended.push_back({std::move(*worker.job), std::move(result)});
        worker.job.reset();
      }
    }
  }

  /// Without the mutex.
  static void Deliver(std::vector<Ended>& ended) {
    for (Ended& call : ended) Deliver(std::move(call.job), std::move(call.result));
  }
  static void Deliver(Job job, Result result) {
    try {
      job.results->Done(std::move(job.call), std::move(result));
    } catch (...) {  // not ours to mend, and no reason to end the process
    }
  }

  const HttpBranchOptions options_;
  std::mutex mutex_;
  CallQueue queue_;
  std::list<Worker> workers_;
  std::list<Worker> finished_;  ///< to be joined
  std::vector<Worker*> idle_;
  StartThrottle pace_{std::thread::hardware_concurrency()};
  bool waking_ = false;
  bool at_gate_ = false;
  bool stopping_ = false;
  SteadyTime next_check_{};
  std::condition_variable housekeeping_;
  std::thread housekeeper_;
};

}  // namespace v1
}  // namespace dtm
