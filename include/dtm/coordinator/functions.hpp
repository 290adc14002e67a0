/// The registry of branch functions, and the threads that run them.
/// Needs: std. Threads: thread-safe. Without StartThreads the functions run where RunQueued is
/// called.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/coordinator/branch_caller.hpp>
#include <dtm/coordinator/branch_function.hpp>
#include <dtm/coordinator/clock.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/result.hpp>

namespace dtm {
inline namespace v1 {

/// Runs functions on a pool that grows while calls wait and shrinks when threads idle. A function
/// that blocks occupies at most `max_per_function` of its threads, so the others go on.
class Functions : public BranchCaller {
 public:
  Functions(std::size_t max_threads, std::size_t max_per_function)
      : max_threads_(max_threads), max_per_function_(max_per_function) {}
  ~Functions() override { Functions::Stop(); }

  /// @throws LogicError  the name is taken.
  void Register(const std::string& name, BranchFunction function) {
    if (name.empty()) throw LogicError("a branch function needs a name; the store keeps it");
    if (RunsInTransaction(kLocalPrefix + name)) {
      throw LogicError("'" + name + "' begins like the name of a function inside a transaction, '" +
                       kInTransactionPrefix + "'; give it another one");
    }
    auto entry = std::make_unique<Entry>();
    entry->function = std::move(function);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!entries_.emplace(name, std::move(entry)).second) {
      throw LogicError("a branch function named '" + name +
                       "' is registered already; give each function a name of its own");
    }
  }

  /// The same for one that runs inside a commit; see Works.
  void RegisterInTransaction(const std::string& name, TransactionFunction function) {
    if (name == kInTransactionPrefix) throw LogicError("a branch function needs a name");
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!in_transaction_.emplace(name, std::move(function)).second) {
      throw LogicError("a branch function named '" + name +
                       "' is registered already; give each function a name of its own");
    }
  }
  /// Here and now, in the loop's thread.
  Result RunInTransaction(const BranchCall& call, sqlite3* db) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto found = in_transaction_.find(call.Url().c_str() + kLocalPrefixSize);
    if (found == in_transaction_.end()) return Missing(call);
    const TransactionFunction& function = found->second;  // none is ever removed
    lock.unlock();
    if (db == nullptr)
      return Result::Error("the store has no SQL for functions inside a transaction");
    return function(db, call.Payload(), Caller(call));
  }

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
        const auto found = entries_.find(std::string_view(call.Url()).substr(kLocalPrefixSize));
        if (found == entries_.end()) {
          unknown.push_back(std::move(call));
          continue;
        }
        Entry& entry = *found->second;
        entry.queue.push_back(std::move(call));
        ++queued_;
        MakeReady(entry);
      }
      WakeThreads();
    }
    for (BranchCall& call : unknown) {
      Result missing = Missing(call);
      results.Done(std::move(call), std::move(missing));
    }
  }

  /// The function of this name; empty if there is none.
  BranchFunction Find(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = entries_.find(name);
    return found == entries_.end() ? BranchFunction() : found->second->function;
  }

  /// From now on functions run on threads of their own.
  void StartThreads() {
    const std::lock_guard<std::mutex> lock(mutex_);
    threaded_ = true;
    const std::size_t first =
        (std::max)(std::size_t{2}, std::size_t{std::thread::hardware_concurrency()});
    while (threads_.size() < (std::min)(first, max_threads_)) AddThread();
    min_threads_ = threads_.size();
  }

  /// Adds threads if calls have waited for `kPatience` while none was taken up: all that run are
  /// blocked. Returns when to look again.
  Time Grow(Time now) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!threaded_ || ready_.empty() || idle_ > 0 || threads_.size() >= max_threads_) {
      stalled_since_ = kNever;
      return kNever;
    }
    if (stalled_since_ == kNever || taken_ != taken_before_) {
      stalled_since_ = now;
      taken_before_ = taken_;
    } else if (now - stalled_since_ >= kPatience) {
      const std::size_t more =
          (std::min)(threads_.size(),
                     (std::min)(ready_.size() * max_per_function_, max_threads_ - threads_.size()));
      stalled_since_ = now;
      try {
        for (std::size_t i = 0; i < more; ++i) AddThread();
      } catch (const std::system_error&) {  // no thread to be had now; the ones there are go on
      }
    }
    return now + kPatience;
  }

  /// Without threads: runs what is queued, here. Returns false if there was nothing.
  bool RunQueued() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (threaded_ || queued_ == 0) return false;
    // What a function submits may queue more calls; those are for the next time.
    for (std::size_t n = queued_; n > 0 && !ready_.empty(); --n) RunOne(lock);
    return true;
  }

  /// True on a thread that is running one of these functions.
  bool OnFunctionThread() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::find(running_.begin(), running_.end(), std::this_thread::get_id()) !=
           running_.end();
  }

  /// Calls that are running; what is queued is not counted.
  std::size_t Running() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return running_.size();
  }

  /// Drops what has not begun, waits for the functions that run, joins the threads.
  void Stop() override {
    std::map<std::thread::id, std::thread> threads;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      (void)TakeQueued();
      stopping_ = true;
      threads.swap(threads_);
      ready_changed_.notify_all();
    }
    for (auto& thread : threads) thread.second.join();
    for (auto& thread : ended_) thread.join();
    ended_.clear();
  }

  /// From now on no function begins: what is queued, and what comes, is answered NotSent.
  void BeginNothingNew() {
    std::vector<BranchCall> calls;
    BranchResults* results = nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      refusing_ = true;
      results = results_;
      calls = TakeQueued();
    }
    if (!calls.empty()) Refuse(calls, *results);
  }

 private:
  static Result Missing(const BranchCall& call) {
    return Result::NotSent("waiting for handler \"" + call.Url().substr(kLocalPrefixSize) +
                           "\": this program has not registered it");
  }

  static void Refuse(const std::vector<BranchCall>& calls, BranchResults& results) {
    for (const BranchCall& call : calls) {
      results.Done(call, Result::NotSent("the coordinator was stopping"));
    }
  }

  struct Entry {
    BranchFunction function;
    std::deque<BranchCall> queue;
    std::size_t running = 0;
    bool ready = false;
  };
  static constexpr Duration kPatience = std::chrono::milliseconds(2);
  static constexpr std::chrono::seconds kIdleBeforeLeaving{10};

  /// All below with mutex_ held.
  void MakeReady(Entry& entry) {
    if (entry.ready || entry.queue.empty() || entry.running >= max_per_function_) return;
    entry.ready = true;
    ready_.push_back(&entry);
  }

  void WakeThreads() {
    if (idle_ == 0 || ready_.empty()) return;
    if (queued_ > 1) {
      ready_changed_.notify_all();
    } else {
      ready_changed_.notify_one();
    }
  }

  void AddThread() {
    std::thread thread([this] { ThreadMain(); });
    const std::thread::id id = thread.get_id();
    threads_.emplace(id, std::move(thread));
  }

  void ThreadMain() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stopping_) {
      if (!ready_.empty()) {
        RunOne(lock);
        continue;
      }
      ++idle_;
      const auto woken = ready_changed_.wait_for(lock, kIdleBeforeLeaving);
      --idle_;
      if (woken == std::cv_status::timeout && ready_.empty() && threads_.size() > min_threads_ &&
          !stopping_) {
        const auto self = threads_.find(std::this_thread::get_id());
        if (self == threads_.end()) return;
        for (auto& thread : ended_) thread.join();  // these have left the loop already
        ended_.clear();
        ended_.push_back(std::move(self->second));
        threads_.erase(self);
        return;
      }
    }
  }

  /// Takes one call in turn of the functions and runs it without the lock.
  void RunOne(std::unique_lock<std::mutex>& lock) {
    Entry& entry = *ready_.front();
    ready_.pop_front();
    entry.ready = false;
    BranchCall call = std::move(entry.queue.front());
    entry.queue.pop_front();
    --queued_;
    ++taken_;
    ++entry.running;
    MakeReady(entry);
    running_.push_back(std::this_thread::get_id());
    BranchResults& results = *results_;
    lock.unlock();
    Result result = Guarded([&] { return entry.function(call.Payload(), Caller(call)); });
    results.Done(std::move(call), std::move(result));
    lock.lock();
    running_.erase(std::find(running_.begin(), running_.end(), std::this_thread::get_id()));
    --entry.running;
    MakeReady(entry);
  }

  std::vector<BranchCall> TakeQueued() {
    std::vector<BranchCall> calls;
    for (auto& entry : entries_) {
      for (BranchCall& call : entry.second->queue) calls.push_back(std::move(call));
      entry.second->queue.clear();
      entry.second->ready = false;
    }
    ready_.clear();
    queued_ = 0;
    return calls;
  }

  const std::size_t max_threads_;
  const std::size_t max_per_function_;
  std::mutex mutex_;
  std::condition_variable ready_changed_;
  std::map<std::string, std::unique_ptr<Entry>, std::less<>> entries_;
  std::map<std::string, TransactionFunction, std::less<>> in_transaction_;
  std::deque<Entry*> ready_;  // functions with something to run, in turn
  std::size_t queued_ = 0;
  std::size_t idle_ = 0;
  std::size_t min_threads_ = 0;
  std::size_t taken_ = 0;
  std::size_t taken_before_ = 0;
  Time stalled_since_ = kNever;
  bool threaded_ = false;
  bool refusing_ = false;
  bool stopping_ = false;
  BranchResults* results_ = nullptr;
  std::vector<std::thread::id> running_;
  std::map<std::thread::id, std::thread> threads_;
  std::vector<std::thread> ended_;  // left the pool, to be joined
};

}  // namespace v1
}  // namespace dtm
