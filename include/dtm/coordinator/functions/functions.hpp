/// The registry of branch functions, and the threads that run them.
/// Needs: std. Threads: thread-safe. Without StartThreads the functions run where RunQueued is
/// called.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/thread_list.hpp>
#include <dtm/coordinator/functions/branch_function.hpp>
#include <dtm/coordinator/functions/function_queue.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/core/result.hpp>

namespace dtm {
inline namespace v1 {

/// The functions by name, and the pool that runs them. It is not a ThreadPool: it grows only when all running functions
/// have blocked for a while, takes the calls of functions in turn (FunctionQueue), works without threads too, and on Stop
/// drops what has not begun.
class Functions : public BranchCaller {
 public:
  Functions(std::size_t max_threads, std::size_t max_per_function)
      : max_threads_(max_threads), queue_(max_threads, max_per_function) {}
  ~Functions() override { Functions::Stop(); }

  /// @throws LogicError  the name is taken.
  void Register(const std::string& name, BranchFunction function) {
    if (name.empty()) throw LogicError("a branch function needs a name; the store keeps it");
    if (RunsInTransaction(kLocalPrefix + name)) {
      throw LogicError("'" + name + "' begins like the name of a function inside a transaction, '" +
                       kInTransactionPrefix + "'; give it another one");
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!queue_.Add(name, std::move(function))) {
      throw LogicError(NameTaken(name));
    }
  }

  /// Calls of names that are not registered here go there. Set it before the first call.
  void ElseCall(BranchCaller& others) { else_ = &others; }

  void Call(std::vector<BranchCall> calls, BranchResults& results) override {
    std::vector<BranchCall> unknown;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (refusing_) {
        lock.unlock();
        return Refuse(calls, results);
      }
      results_ = &results;
      for (BranchCall& call : calls) {
        FunctionQueue::Entry* entry =
            queue_.Find(std::string_view(call.Url()).substr(kLocalPrefixSize));
        try {
          if (entry == nullptr) {
            unknown.push_back(std::move(call));
          } else {
            queue_.Push(*entry, std::move(call));
          }
        } catch (const std::bad_alloc&) {  // it stays here
        }
      }
      WakeThreads();
    }
    for (BranchCall& call : calls) {
      if (call.definition) results.Done(std::move(call), Result::NotSent({}));
    }
    if (else_ != nullptr && !unknown.empty()) return else_->Call(std::move(unknown), results);
    for (const BranchCall& call : unknown) results.Done(call, NotRegistered(call));
  }

  /// The function of this name; empty if there is none.
  BranchFunction Find(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const FunctionQueue::Entry* entry = queue_.Find(name);
    return entry == nullptr ? BranchFunction() : entry->Function();
  }

  /// From now on functions run on threads of their own.
  void StartThreads() {
    const std::lock_guard<std::mutex> lock(mutex_);
    threaded_ = true;
    const std::size_t first =
        (std::max)(std::size_t{2}, std::size_t{std::thread::hardware_concurrency()});
    while (threads_.Count() < (std::min)(first, max_threads_)) AddThread();
    min_threads_ = threads_.Count();
  }

  /// Adds threads if no waiting call has begun for `kPatience`, because all running ones block. Returns when to look
  /// again.
  Time Grow(Time now) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const FunctionQueue::Entry* next = threaded_ ? Next() : nullptr;
    if (next != nullptr && idle_ > 0) return now + kPatience;  // an idle thread will take it
    const bool starves = next != nullptr && next->Running() == 0;
    const std::size_t most = starves ? (std::max)(max_threads_, running_.size() + 1) : max_threads_;
    if (next == nullptr || threads_.Count() >= most) {
      stalled_since_ = kNever;
      return kNever;
    }
    if (stalled_since_ == kNever || taken_ != taken_before_) {
      stalled_since_ = now;
      taken_before_ = taken_;
    } else if (now - stalled_since_ >= kPatience) {
      const std::size_t more =
          (std::min)({threads_.Count(), queue_.Waiting(), most - threads_.Count()});
      stalled_since_ = now;
      try {
        for (std::size_t i = 0; i < more; ++i) AddThread();
      } catch (const std::exception&) {  // no new thread now; the others go on
      }
    }
    return now + kPatience;
  }

  /// Without threads: runs the queued calls in this thread. False: there were none.
  bool RunQueued() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (threaded_ || queue_.Waiting() == 0) return false;
    // A function may submit and so queue more calls; those run next time.
    for (std::size_t n = queue_.Waiting(); n > 0; --n) {
      FunctionQueue::Entry* entry = Next();
      if (entry == nullptr) break;
      RunOne(*entry, lock);
    }
    return true;
  }

  /// True on a thread that is running one of these functions.
  bool OnFunctionThread() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::find(running_.begin(), running_.end(), std::this_thread::get_id()) !=
           running_.end();
  }

  /// The number of running calls; queued ones are not counted.
  std::size_t Running() { return Load().in_flight; }
  CallLoad Load() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {running_.size(), queue_.Waiting(), {}};
  }

  /// Drops the calls that have not begun, waits for the running ones, joins the threads.
  void Stop() override {
    ThreadList threads;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      refusing_ = true;
      stopping_ = true;
      threads = threads_.TakeAll();
      ready_changed_.notify_all();
    }
    threads.JoinAll();
  }

  /// From now on no call begins; new ones get the result NotSent.
  void BeginNothingNew() {
    const std::lock_guard<std::mutex> lock(mutex_);
    refusing_ = true;
  }

  /// Gives waiting calls the result NotSent, after BeginNothingNew.
  void RefuseWaiting() {
    std::vector<BranchCall> calls;
    BranchResults* results = nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!refusing_) return;
      results = results_;
      calls = queue_.TakeAllWaiting();
    }
    if (!calls.empty()) Refuse(calls, *results);
  }

 private:
  static void Refuse(const std::vector<BranchCall>& calls, BranchResults& results) {
    for (const BranchCall& call : calls) {
      results.Done(call,
                   Result::NotSent(IfThereIsMemory([] { return "the coordinator was stopping"; })));
    }
  }

  static constexpr Duration kPatience = std::chrono::milliseconds(2);
  static constexpr std::chrono::seconds kIdleBeforeLeaving{10};

  /// All below with mutex_ held.
  FunctionQueue::Entry* Next() { return refusing_ ? nullptr : queue_.Next(); }

  void WakeThreads() {
    if (idle_ == 0 || Next() == nullptr) return;
    if (queue_.Waiting() > 1) {
      ready_changed_.notify_all();
    } else {
      ready_changed_.notify_one();
    }
  }

  void AddThread() {
    threads_.Add([this] { ThreadMain(); });
  }

  void ThreadMain() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stopping_) {
      if (FunctionQueue::Entry* entry = Next()) {
        RunOne(*entry, lock);
        continue;
      }
      ++idle_;
      const auto woken = ready_changed_.wait_for(lock, kIdleBeforeLeaving);
      --idle_;
      if (woken == std::cv_status::timeout && Next() == nullptr &&
          threads_.Count() > min_threads_ && !stopping_) {
        return threads_.Leave();
      }
    }
  }

  /// Takes a call of the function that Next has just returned, and runs it without the lock.
  void RunOne(FunctionQueue::Entry& entry, std::unique_lock<std::mutex>& lock) {
    try {
      if (running_.size() == running_.capacity()) running_.reserve(2 * running_.size() + 4);
    } catch (const std::bad_alloc&) {
      lock.unlock();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return lock.lock();
    }
    BranchCall call = queue_.Take();
    ++taken_;
    running_.push_back(std::this_thread::get_id());
    BranchResults& results = *results_;
    lock.unlock();
    Result result =
        call.MayBegin()
            ? CatchAsResult([&] { return entry.Function()(call.Payload(), Caller(call)); })
            : LeaseOver();
    results.Done(std::move(call), std::move(result));
    lock.lock();
    running_.erase(std::find(running_.begin(), running_.end(), std::this_thread::get_id()));
    if (queue_.Ended(entry)) WakeThreads();
  }

  const std::size_t max_threads_;
  std::mutex mutex_;
  std::condition_variable ready_changed_;
  FunctionQueue queue_;
  std::size_t idle_ = 0;
  std::size_t min_threads_ = 0;
  std::size_t taken_ = 0;
  std::size_t taken_before_ = 0;
  Time stalled_since_ = kNever;
  bool threaded_ = false;
  bool refusing_ = false;
  bool stopping_ = false;
  BranchResults* results_ = nullptr;
  BranchCaller* else_ = nullptr;
  std::vector<std::thread::id> running_;
  ThreadList threads_;
};

}  // namespace v1
}  // namespace dtm
