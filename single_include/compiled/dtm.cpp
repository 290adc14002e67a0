/// Generated from include/dtm/dtm.hpp by tools/amalgamate.py; do not edit. Compile it once, with the options of the program.
/// MIT License, copyright (c) dtm for C++ authors.
#include "dtm/dtm.hpp"

// ---- dtm/base/option_range.hpp -----------------------------------------------------------------

/// What an option may be, and the sentence if it is something else.
/// Needs: std. Threads: pure functions.
///
/// The ranges are checked where the options are: CheckedOptions of an embedded coordinator, of a server, of callers.

#include <chrono>
#include <cstddef>
#include <limits>
#include <string>

namespace dtm {
inline namespace v1 {
namespace option_range {

inline constexpr Duration kShortest = std::chrono::milliseconds(1);
inline constexpr Duration kEver = (Duration::max)();
inline constexpr std::size_t kAnyNumber = (std::numeric_limits<std::size_t>::max)();

inline std::string InWords(Duration value) {
  const auto count = value.count();
  if (count % 1000000 == 0) return std::to_string(count / 1000000) + " s";
  if (count % 1000 == 0) return std::to_string(count / 1000) + " ms";
  return std::to_string(count) + " us";
}
inline std::string InWords(std::chrono::seconds value) {
  return std::to_string(value.count()) + " s";  // the greatest of them is no Duration
}
inline std::string InWords(int value) { return std::to_string(value); }
inline std::string InWords(std::size_t value) { return std::to_string(value); }

template <typename Value>
struct Itself {  // so that only `value` decides the type
  using Type = Value;
};

/// @throws LogicError  `value` is below `least` or above `most`.
template <typename Value>
void Check(const char* name, const Value& value, const typename Itself<Value>::Type& least,
           const typename Itself<Value>::Type& most) {
  if (value >= least && value <= most) return;
  throw LogicError(std::string("the option ") + name + " is " + InWords(value) + "; it must be " +
                   InWords(least) + " to " + InWords(most));
}

}  // namespace option_range
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/hooks/hook_queue.hpp ------------------------------------------------------

/// Gives what happened to a function of the program: outside the loop, one after the other, with a bounded queue.
/// Needs: std. Threads: thread-safe. Without StartThread the function runs where RunWaiting is called.
/// Protocol: §3 (alert), off the path of the transactions (§12, W9).

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

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

// ---- dtm/coordinator/hooks/hooks.hpp -----------------------------------------------------------

/// The hooks of the program, each with a queue of its own: Options::on_alert, on_event, on_span.
/// Needs: std. Threads: thread-safe.

#include <map>

namespace dtm {
inline namespace v1 {

struct Hooks {
  static constexpr std::size_t kMaxAlerts = 1000;
  static constexpr std::size_t kMaxEvents = 10000;

  /// Both outlive it.
  Hooks(Clock& clock, const Options& options)
      : alerts("on_alert", options.on_alert, kMaxAlerts, clock, options),
        events("on_event", options.on_event, kMaxEvents, clock, options),
        spans("on_span", options.on_span, kMaxEvents, clock, options) {}

  void StartThreads() {
    alerts.StartThread();
    events.StartThread();
    spans.StartThread();
  }
  /// See HookQueue; true: there is more.
  bool RunWaiting() {
    const bool more_alerts = alerts.RunWaiting();
    const bool more_spans = spans.RunWaiting();
    return events.RunWaiting() || more_alerts || more_spans;
  }
  bool Stop(Time until) {
    const bool events_told = events.Stop(until);
    const bool spans_told = spans.Stop(until);
    return alerts.Stop(until) && events_told && spans_told;
  }

  /// Of those that are set, by the name of the option.
  std::map<std::string, HookLoad> Load() const {
    std::map<std::string, HookLoad> loads;
    if (alerts.Wanted()) loads["on_alert"] = alerts.Load();
    if (events.Wanted()) loads["on_event"] = events.Load();
    if (spans.Wanted()) loads["on_span"] = spans.Load();
    return loads;
  }

  HookQueue<Alert> alerts;
  HookQueue<Event> events;
  HookQueue<Span> spans;
  SpanIds span_ids;  ///< of calls that do not come from the loop
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/thread_list.hpp ------------------------------------------------------------------

/// Threads of a pool, which may leave one by one and are all joined in the end.
/// Needs: std. Threads: the owner's mutex is held for each call, but for JoinAll.

#include <algorithm>
#include <list>

namespace dtm {
inline namespace v1 {

class ThreadList {
 public:
  /// @throws std::exception  there is no thread or no memory for it now; nothing was changed.
  template <typename Main>
  void Add(Main main) {
    running_.emplace_back();
    try {
      running_.back() = std::thread(std::move(main));
    } catch (...) {
      running_.pop_back();
      throw;
    }
  }

  /// The last thing that a thread does which returns before its pool stops. The next one to leave joins it, or JoinAll.
  void Leave() {
    const auto self = std::find_if(running_.begin(), running_.end(), [](const auto& thread) {
      return thread.get_id() == std::this_thread::get_id();
    });
    if (self == running_.end()) return;  // TakeAll has it
    for (auto& thread : left_) thread.join();
    left_.clear();
    left_.splice(left_.end(), running_, self);
  }

  std::size_t Count() const { return running_.size(); }

  /// All of them, to be joined by JoinAll without the mutex; none is left here.
  ThreadList TakeAll() {
    ThreadList all;
    all.running_.swap(running_);
    all.left_.swap(left_);
    return all;
  }
  void JoinAll() {
    for (auto& thread : left_) thread.join();
    for (auto& thread : running_) thread.join();
    left_.clear();
    running_.clear();
  }

 private:
  std::list<std::thread> running_;
  std::list<std::thread> left_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/functions/function_queue.hpp ----------------------------------------------

/// Decides which call of a function begins next: each function has a queue, they take turns, and none takes all threads.
/// Needs: std. Threads: none inside; the caller holds its own lock.

#include <string_view>

namespace dtm {
inline namespace v1 {

/// Functions that block delay no others. A function of which no call runs may always begin one, even beyond the maximum;
/// beyond that first call it takes at most half of the threads that the others leave. So at most the maximum, and one more
/// of each function, run at a time.
class FunctionQueue {
 public:
  /// A function and its calls. It is never removed.
  class Entry {
   public:
    const BranchFunction& Function() const { return function_; }
    std::size_t Running() const { return running_; }

   private:
    friend class FunctionQueue;
    BranchFunction function_;
    std::deque<BranchCall> waiting_;
    std::size_t running_ = 0;
    Entry* next_ = nullptr;  // in the ring; null: it is not in the ring
  };

  FunctionQueue(std::size_t max_threads, std::size_t max_per_function)
      : max_threads_(max_threads), max_per_function_(max_per_function) {}

  /// False: the name is taken.
  bool Add(const std::string& name, BranchFunction function) {
    auto entry = std::make_unique<Entry>();
    entry->function_ = std::move(function);
    return entries_.emplace(name, std::move(entry)).second;
  }

  /// Null: there is none of this name.
  Entry* Find(std::string_view name) {
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : found->second.get();
  }

  /// @throws std::bad_alloc  nothing was changed, also not `call`.
  void Push(Entry& entry, BranchCall&& call) {
    entry.waiting_.push_back(std::move(call));
    ++waiting_;
    if (entry.next_ != nullptr) return;
    entry.next_ = last_ == nullptr ? &entry : last_->next_;
    if (last_ != nullptr) last_->next_ = &entry;
    last_ = &entry;
    ++in_ring_;
  }

  /// The function whose turn it is; null: nothing may begin.
  Entry* Next() {
    for (std::size_t left = in_ring_; left > 0; --left) {
      if (MayBegin(*last_->next_)) return last_->next_;
      held_back_ = true;
      last_ = last_->next_;
    }
    return nullptr;
  }

  /// Takes a call of the function that Next has just returned; Ended must follow.
  BranchCall Take() {
    Entry& entry = *last_->next_;
    BranchCall call = std::move(entry.waiting_.front());
    entry.waiting_.pop_front();
    if (entry.waiting_.empty()) {
      LeaveRing(entry);
    } else {
      last_ = &entry;
    }
    --waiting_;
    ++running_;
    ++entry.running_;
    return call;
  }

  /// True: other calls, which had to wait for this one, may begin now.
  bool Ended(Entry& entry) {
    --running_;
    --entry.running_;
    return std::exchange(held_back_, false);
  }

  /// @throws std::bad_alloc  nothing was changed.
  std::vector<BranchCall> TakeAllWaiting() {
    std::vector<BranchCall> calls;
    calls.reserve(waiting_);
    while (last_ != nullptr) {
      Entry& entry = *last_->next_;
      for (BranchCall& call : entry.waiting_) calls.push_back(std::move(call));
      entry.waiting_.clear();
      LeaveRing(entry);
    }
    waiting_ = 0;
    return calls;
  }

  std::size_t Waiting() const { return waiting_; }  ///< calls
  std::size_t Running() const { return running_; }  ///< calls

 private:
  /// The first one.
  void LeaveRing(Entry& entry) {
    last_->next_ = entry.next_;
    if (last_ == &entry) last_ = nullptr;
    entry.next_ = nullptr;
    --in_ring_;
  }

  bool MayBegin(const Entry& entry) const {
    if (entry.running_ == 0) return true;
    if (entry.running_ >= max_per_function_) return false;
    const std::size_t others = running_ - entry.running_;
    return others < max_threads_ && entry.running_ < (max_threads_ - others) / 2;
  }

  const std::size_t max_threads_;
  const std::size_t max_per_function_;
  std::map<std::string, std::unique_ptr<Entry>, std::less<>> entries_;
  // The ring of functions with calls that wait, in turn; the last one leads to the first. Nothing is allocated for it.
  Entry* last_ = nullptr;
  std::size_t in_ring_ = 0;
  std::size_t waiting_ = 0;
  std::size_t running_ = 0;
  bool held_back_ = false;  // one had to wait for others since the last end
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/functions/functions.hpp ---------------------------------------------------

/// The registry of branch functions, and the threads that run them.
/// Needs: std. Threads: thread-safe. Without StartThreads the functions run where RunQueued is
/// called.

#include <exception>

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

// ---- dtm/coordinator/functions/program_functions.hpp -------------------------------------------

/// All functions that the program has registered: branches, and those that resume workflows.
/// Needs: std. Threads: thread-safe.

namespace dtm {
inline namespace v1 {

/// Two pools of threads, since a workflow may wait for other transactions, and so for branches. They share their names.
class ProgramFunctions final : public BranchCaller {
 public:
  ProgramFunctions(std::size_t max_threads, std::size_t max_per_function)
      : branches_(max_threads, max_per_function), workflows_(max_threads, max_per_function) {
    branches_.ElseCall(workflows_);
  }

  /// @throws LogicError  the name is taken.
  void Register(const std::string& name, BranchFunction function) {
    CheckFree(name, workflows_);
    branches_.Register(name, std::move(function));
  }
  /// The same for what resumes a workflow.
  void RegisterResume(const std::string& name, BranchFunction function) {
    CheckFree(name, branches_);
    workflows_.Register(name, std::move(function));
    resumes_ = true;
    if (threaded_) workflows_.StartThreads();
  }
  /// Calls of functions that are not registered go there. Set it before the first call.
  void ElseCall(BranchCaller& others) { workflows_.ElseCall(others); }
  /// Empty if there is none of this name.
  BranchFunction Find(const std::string& name) {
    BranchFunction function = branches_.Find(name);
    return function ? function : workflows_.Find(name);
  }

  void Call(std::vector<BranchCall> calls, BranchResults& results) override {
    branches_.Call(std::move(calls), results);
  }

  /// From now on functions run on threads; those for workflows are there once one is registered.
  void StartThreads() {
    branches_.StartThreads();
    threaded_ = true;
    if (resumes_) workflows_.StartThreads();
  }
  /// See Functions::Grow.
  Time Grow(Time now) { return (std::min)(branches_.Grow(now), workflows_.Grow(now)); }
  /// Without threads: runs what is queued, but no workflow inside a workflow. Not on a thread that runs a branch.
  void RunQueued() {
    (void)branches_.RunQueued();
    if (!workflows_.OnFunctionThread()) (void)workflows_.RunQueued();
  }
  /// True on a thread that is running a branch.
  bool OnBranchThread() { return branches_.OnFunctionThread(); }

  std::size_t Running() { return branches_.Running() + workflows_.Running(); }
  /// Of the branches.
  CallLoad Load() override { return branches_.Load(); }

  /// See Functions, in the order in which they are called.
  void BeginNothingNew() {
    branches_.BeginNothingNew();
    workflows_.BeginNothingNew();
  }
  void RefuseWaiting() {
    branches_.RefuseWaiting();
    workflows_.RefuseWaiting();
  }
  void Stop() override {
    branches_.Stop();
    workflows_.Stop();
  }

 private:
  static void CheckFree(const std::string& name, Functions& others) {
    if (!others.Find(name)) return;
    throw LogicError("'" + name + "' is registered already; workflows and functions share no name");
  }

  Functions branches_;
  Functions workflows_;
  std::atomic<bool> threaded_{false};
  std::atomic<bool> resumes_{false};
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/functions/transaction_functions.hpp ---------------------------------------

/// The registry of functions that run inside the coordinator's own commit, on the thread of the loop.
/// Needs: std. Threads: thread-safe.

namespace dtm {
inline namespace v1 {

/// InCommitWork calls them. Their names are separate from those of Functions.
class TransactionFunctions {
 public:
  /// @throws LogicError  the name is empty or taken.
  void Register(const std::string& name, TransactionFunction function) {
    if (name == kInTransactionPrefix) throw LogicError("a branch function needs a name");
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!functions_.emplace(name, std::move(function)).second) throw LogicError(NameTaken(name));
  }

  /// Runs the function in this thread, with the connection of the open batch.
  /// @throws LogicError  the function takes a connection that the store does not have; and what it throws itself.
  Result Run(const BranchCall& call, const WorkContext& connection) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto found = functions_.find(call.Url().c_str() + kLocalPrefixSize);
    if (found == functions_.end()) return NotRegistered(call);
    const TransactionFunction& function = found->second;  // none is ever removed
    lock.unlock();
    return function(connection, call.Payload(), Caller(call));
  }

 private:
  std::mutex mutex_;
  std::map<std::string, TransactionFunction, std::less<>> functions_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/prefetch.hpp ---------------------------------------------------------------------

/// Asks the processor for memory that is needed soon.
/// Needs: GCC or Clang (a builtin). Threads: thread-safe.
///
/// With thousands of transactions in flight most of what the loop looks at is in none of the nearer caches. Asking for it some
/// transactions ahead gives 5 to 9 % more of them a second, most on a machine whose neighbours use the caches too.

namespace dtm {
inline namespace v1 {

inline constexpr std::size_t kCacheLine = 64;

/// Nothing is read: any address will do, also null.
template <std::size_t kLines>
void Prefetch(const void* address) {
  if (address == nullptr) return;
  const char* at = static_cast<const char*>(address);
  for (std::size_t i = 0; i < kLines; ++i) __builtin_prefetch(at + i * kCacheLine);
}

/// The lines of an object of this size.
constexpr std::size_t LinesOf(std::size_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine; }

/// How far ahead memory is asked for: first an object itself, then what it points to.
inline constexpr std::size_t kObjectsAhead = 8;
inline constexpr std::size_t kPartsAhead = 4;

/// Visits all in their order. Of those that come later, `object` and then `parts` are called in time to ask for what will
/// be looked at.
template <typename List, typename Object, typename Parts, typename Visit>
void VisitAhead(List& list, const Object& object, const Parts& parts, Visit visit) {
  const std::size_t count = list.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (i + kObjectsAhead < count) object(list[i + kObjectsAhead]);
    if (i + kPartsAhead < count) parts(list[i + kPartsAhead]);
    visit(list[i]);
  }
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/resubmission.hpp ---------------------------------------------------------------

/// Decides what a submit or prepare of a gid that exists means.
/// Needs: std. Threads: pure functions. Protocol: §2.3, with the differences of docs/http_api.md.

namespace dtm {
inline namespace v1 {
namespace engine {

struct Resubmission {
  enum class Kind {
    kAttach,   ///< the same again: nothing runs twice, the answer is that of the stored one
    kPromote,  ///< the submit of a prepared one
    kRefuse
  };
  Kind kind = Kind::kAttach;
  std::string refused;  ///< kRefuse: why
};

/// Whether its status can only have come after its submit. A tcc, xa or workflow is rolled back only if none came in time.
inline bool ShowsSubmit(const Transaction& stored) {
  if (stored.status == Status::kPrepared) return false;
  return !RegistersSteps(stored.definition->type) || stored.status != Status::kAborting;
}

/// The initiator has to learn that its submit came too late.
inline std::string CannotSubmit(const Transaction& stored) {
  return "gid '" + stored.definition->gid + "': current status '" + Name(stored.status) +
         "', cannot submit. FAILURE";
}

/// `again`: the new submit or (`prepare`) prepare. A submit is compared only with a submit, and a prepare only
/// with a prepare, since a submit after a prepare need not repeat the steps.
inline Resubmission OnResubmission(const Transaction& stored, const Definition& again,
                                   bool prepare) {
  const Definition& first = *stored.definition;
  const std::string gid = "gid '" + again.gid + "'";
  if (stored.unreadable) return {Resubmission::Kind::kRefuse, gid + ": " + stored.last_error};
  if (first.type != again.type) {
    return {Resubmission::Kind::kRefuse, gid + " exists as a " + Name(first.type) + ", not as a " +
                                             Name(again.type) +
                                             "; nothing was changed. Use a new gid"};
  }
  const bool prepared = stored.status == Status::kPrepared;
  if (prepare && !prepared) {
    return {Resubmission::Kind::kRefuse,
            gid + ": current status '" + Name(stored.status) + "', cannot prepare. FAILURE"};
  }
  if (!prepare && prepared) return {Resubmission::Kind::kPromote, {}};
  if (!prepare && !ShowsSubmit(stored)) {
    return {Resubmission::Kind::kRefuse, CannotSubmit(stored)};
  }
  const bool same = stored.expired ? stored.content == 0 || stored.content == ContentHash(again)
                                   : first.prepared_first != prepare || SameContent(first, again);
  if (!same) {
    return {Resubmission::Kind::kRefuse,
            gid +
                " exists with other content; nothing was changed. Use a new gid, or submit "
                "exactly what was submitted first"};
  }
  return {Resubmission::Kind::kAttach, {}};
}

/// Empty if `again` prepares the stored workflow; otherwise why not. The URL that resumes it may have changed; name and data
/// are compared only if both have them.
inline std::string OtherWorkflow(const Definition& stored, const Definition& again) {
  const std::string gid = "gid '" + again.gid + "' ";
  const char* end = "; nothing was changed or run. Use a new gid";
  if (stored.type != TransType::kWorkflow) {
    return gid + "is a " + Name(stored.type) + ", not a workflow" + end;
  }
  if (!again.workflow.empty() && again.workflow != stored.workflow) {
    return gid + "is the workflow '" + stored.workflow + "', not '" + again.workflow + "'" + end;
  }
  if (!again.data.empty() && again.data != stored.data) {
    return gid + "was started with other data" + end;
  }
  return {};
}

/// The headers of the submit replace those of the prepare, but a transaction stays in the trace in which it began.
inline std::map<std::string, std::string> MergedHeaders(const TransOptions& prepared,
                                                        const TransOptions& submitted) {
  using Headers = std::map<std::string, std::string>;
  const auto part = [](const Headers& headers, bool of_trace) {
    Headers found;
    for (const auto& header : headers) {
      if (IsTraceHeader(header.first) == of_trace) found.insert(header);
    }
    return found;
  };
  Headers merged = part(submitted.branch_headers, false);
  if (merged.empty()) merged = part(prepared.branch_headers, false);
  Headers trace = part(prepared.branch_headers, true);
  if (trace.empty()) trace = part(submitted.branch_headers, true);
  for (const auto& header : trace) {
    if (merged.size() < kMaxHeaders) merged.insert(header);
  }
  return merged;
}

/// The steps stay those of the prepare; options and orders of the submit replace those of the prepare.
inline Definition Promoted(const Definition& prepared, const Definition& submitted) {
  Definition merged = prepared;
  TransOptions& options = merged.options;
  const TransOptions& later = submitted.options;
  options.wait_result = later.wait_result;
  const auto take = [](auto& value, const auto& newer) {
    if (newer != std::decay_t<decltype(newer)>{}) value = newer;
  };
  if (merged.query_prepared.empty()) merged.query_prepared = submitted.query_prepared;
  take(options.timeout_to_fail, later.timeout_to_fail);
  take(options.request_timeout, later.request_timeout);
  take(options.retry_interval, later.retry_interval);
  take(options.retry_limit, later.retry_limit);
  options.branch_headers = MergedHeaders(options, later);
  take(merged.delay, submitted.delay);
  const bool order = submitted.concurrent || !submitted.orders.empty();
  if (order) {
    merged.concurrent = submitted.concurrent;
    merged.orders = submitted.orders;
  }
  if (order || submitted.delay.count() > 0 || !submitted.custom_data.empty()) {
    merged.custom_data = submitted.custom_data;
  }
  return merged;
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/machine.hpp --------------------------------------------------------------------

/// The interface of the machines: what can happen to a transaction, and what follows from it.
/// Needs: std. Threads: values only; Advance is pure (no I/O, no clock, no randomness).
/// Protocol: §3 (alert), §4; implemented by saga_machine.hpp, msg_machine.hpp,
/// tcc_machine.hpp (tcc and xa) and workflow_machine.hpp.

#include <optional>

namespace dtm {
inline namespace v1 {
namespace engine {

enum class EventKind {
  kSubmitted,    ///< new, not yet stored; or the submit of a prepared one
  kPrepared,     ///< new, not yet stored, to run when it is submitted
  kLoaded,       ///< read from the store: calls that were in flight belong to a previous run
  kResult,       ///< a call brought a result
  kTimer,        ///< the time that the machine asked for has come
  kBranchAdded,  ///< its definition has one more step
  kCancel,       ///< it is to be rolled back; the result's text may say why
  kFinish,       ///< workflow: it ended with `result` (success or failure, why) and returned `data`
  kForceStop,    ///< it is to end as failed, and nothing more is to be called
  kRegistered,   ///< the missing function of `row` is registered now
  kRetryNow,     ///< the waits are to be forgotten
  kRepair        ///< `row` counts as done, without a call
};

struct Event {
  EventKind kind = EventKind::kTimer;
  std::size_t row = 0;  ///< kResult, kRegistered, kBranchAdded, kRepair: the row concerned
  Result result;        ///< kResult: its answer
  std::string data{};   ///< kFinish
  std::string
      who{};  ///< kCancel, kForceStop, kRetryNow, kRepair: who asked; the text of `result` says why
};

/// What a machine knows besides the transaction.
struct Context {
  Time now{};
  Time started{};                                      ///< of this run of the coordinator
  Duration retry_interval = std::chrono::seconds(10);  ///< for transactions that set none
  Duration request_timeout = std::chrono::seconds(3);  ///< for transactions that set none
  Duration
      function_limit{};  ///< a function may still run for so long after its call; 0: it ends with its process
  std::chrono::seconds timeout_to_fail{35};  ///< of a prepared msg, tcc or xa that names none
  /// People are alerted at this number of errors in a row of a branch, and at every later one. 0: never.
  std::uint32_t alert_after = 0;
  Duration
      lateness{};  ///< by how much calls may leave later than they are decided: commits take a while
  bool may_call = true;  ///< false while the coordinator stops: record results, start nothing
};

/// What has to be done once the changed transaction is durable.
struct Effects {
  bool changed = false;              ///< the transaction has to be stored
  std::vector<std::size_t> calls;    ///< rows to call
  std::optional<std::size_t> alert;  ///< the row that keeps failing, see Context::alert_after
  Time timer = kNever;               ///< send kTimer then
  std::string refused;               ///< why the command does not fit the status; else empty
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/commands/refusals.hpp -----------------------------------------------------

/// Why a command is refused, in the sentences that dtm's clients know.
/// Needs: std. Threads: pure functions. Protocol: §2.2, §2.4.

namespace dtm {
inline namespace v1 {
namespace refusals {

using Kind = Instruction::Kind;

inline std::string Unknown(const std::string& gid) {
  return "no TransGlobal with gid: " + gid + " found; there is no transaction with gid '" + gid +
         "', or it ended and its time was over; check the gid";
}

inline std::string NotPrepared(const std::string& gid) {
  return "no trans with gid: " + gid + " status: prepared found FAILURE";
}

/// The text begins with what dtm's clients look for.
inline std::string Sentence(Kind kind, const Transaction& transaction, const std::string& why) {
  const std::string status = Name(transaction.status);
  std::string unchanged = "gid '" + transaction.definition->gid + "' was not changed: " + why;
  switch (kind) {
    case Kind::kCancel:
      return "trans type: '" + std::string(Name(transaction.definition->type)) +
             "' current status '" + status + "', cannot abort. FAILURE: " + unchanged;
    case Kind::kForceStop:
      return "global transaction force stop error. status: " + status +
             ". error: FAILURE: " + unchanged;
    default: return unchanged;
  }
}

[[noreturn]] inline void RefuseEnded(Kind kind, const Transaction& transaction) {
  const std::string& gid = transaction.definition->gid;
  if (kind == Kind::kAddBranch) throw RejectedError(NotPrepared(gid));
  const std::string status = Name(transaction.status);
  throw EndedError(Sentence(kind, transaction, "it has already ended as " + status));
}

[[noreturn]] inline void Refuse(Kind kind, const Transaction& transaction, const std::string& why) {
  if (IsFinal(transaction.status)) RefuseEnded(kind, transaction);
  throw RejectedError(Sentence(kind, transaction, why));
}

/// To register or to finish assumes that the transaction exists; that it does not is a conflict, and no bad input.
[[noreturn]] inline void RefuseUnknown(Kind kind, const std::string& gid) {
  switch (kind) {
    case Kind::kAddBranch: throw RejectedError(NotPrepared(gid));
    case Kind::kFinish: throw RejectedError(Unknown(gid));
    default: throw BadInput(Unknown(gid));
  }
}

/// What asked for this event.
inline Kind KindOf(engine::EventKind event) {
  switch (event) {
    case engine::EventKind::kCancel: return Kind::kCancel;
    case engine::EventKind::kForceStop: return Kind::kForceStop;
    case engine::EventKind::kRepair: return Kind::kSkip;
    case engine::EventKind::kFinish: return Kind::kFinish;
    case engine::EventKind::kBranchAdded: return Kind::kAddBranch;
    default: return Kind::kRetryNow;
  }
}

/// Of a command whose event was applied to a record that turned out not to be the stored one, and does not fit that.
inline std::exception_ptr OfEvent(engine::EventKind event, const Transaction& stored,
                                  const std::string& why) {
  try {
    Refuse(KindOf(event), stored, why);
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace refusals
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/store_health.hpp ----------------------------------------------------

/// Whether the store works, and when to try again after a failure.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

/// After a failed commit the next try comes after 10 ms, 20 ms, ... 1 s. Until one succeeds nothing is
/// released. While another connection holds the store's lock: every 5 ms; that counts as failure only if it lasts.
class StoreHealth {
 public:
  bool Good() const { return failures_ == 0; }
  bool MayTry(Time now) const { return (Good() && !WaitsForLock()) || now >= next_try_; }
  bool WaitsForLock() const { return locked_since_ != kNever; }
  Time NextTry() const { return next_try_; }
  /// The outcome of a commit is unknown: the store has to be recovered before it is used.
  bool NeedsRecovery() const { return needs_recovery_; }
  const std::string& Problem() const { return problem_; }

  /// False: it has lasted too long, or the store was failing before.
  bool Locked(Time now, const std::string& problem) {
    if (!Good()) return false;
    if (!WaitsForLock()) locked_since_ = now;
    if (now - locked_since_ >= kPatience) return false;
    problem_ = problem;
    next_try_ = now + kBetweenLocked;
    return true;
  }
  void Failed(Time now, std::string problem, bool in_doubt, bool writing) {
    writing_failed_ = writing_failed_ || writing;
    locked_since_ = kNever;
    problem_ = std::move(problem);
    needs_recovery_ = needs_recovery_ || in_doubt;
    Duration wait = std::chrono::milliseconds(10);
    for (int i = 0; i < failures_ && wait < kLongestWait; ++i) wait *= 2;
    next_try_ = now + (std::min)(wait, kLongestWait);
    ++failures_;
  }
  void Recovered() { needs_recovery_ = false; }
  /// A commit that wrote nothing does not prove that one that writes would work.
  void Worked(bool writing) {
    locked_since_ = kNever;
    if (writing_failed_ && !writing) return;
    failures_ = 0;
    writing_failed_ = false;
    problem_.clear();
  }

 private:
  static constexpr Duration kLongestWait = std::chrono::seconds(1);
  static constexpr Duration kBetweenLocked = std::chrono::milliseconds(5);
  static constexpr Duration kPatience = std::chrono::seconds(5);
  Time locked_since_ = kNever;
  int failures_ = 0;
  Time next_try_{};
  bool needs_recovery_ = false;
  bool writing_failed_ = false;
  std::string problem_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/active_table.hpp ----------------------------------------------------

/// A transaction in memory: its record, and what is held back until the record is durable.
/// Needs: std. Threads: the thread that drives the loop.

#include <unordered_map>

namespace dtm {
inline namespace v1 {

/// An event, and what came of it.
struct AppliedEvent : engine::Event {
  std::shared_ptr<const Alert>
      alert;  ///< what people are to be told once it is durable; null: nothing
  Time at{};
  bool changed = false;      ///< the record; the others are only true if this is
  bool taken_up = false;     ///< the first change by this run of the coordinator
  bool from_outbox = false;  ///< the first change by any: the program itself has stored it
  bool rolled_back = false;  ///< that was decided
  bool stuck = false;        ///< it got stuck
  bool ended = false;
  std::uint32_t errors = 0;  ///< in a row of its branch, if it is one of them
  bool refused = false;      ///< what was asked for; what changed is due to the time
  std::uint64_t ask = 0;     ///< of the waiter who asked for it, see Waiter
};

struct ActiveTransaction {
  Transaction transaction;              ///< as advanced; durable unless `dirty`
  std::size_t slot = 0;                 ///< see ActiveTable
  std::uint64_t generation = 0;         ///< a new one whenever it comes into memory; 0: it has left
  bool dirty = false;                   ///< changed since the last commit
  bool redefined = false;               ///< its definition too
  std::size_t new_steps = 0;            ///< or only these last steps of it
  bool surely_new = false;              ///< not stored yet, and its gid was found to be free
  bool touched = false;                 ///< something of it waits for release
  bool rolled_back = false;             ///< that was decided; to be told once it is durable
  Time stored_due{};                    ///< the due time in the store's record
  Time timer = kNever;                  ///< when the machine wants to look again
  Time armed = kNever;                  ///< its time in Timers
  std::vector<std::size_t> held_calls;  ///< to be started once the record is durable
  std::vector<Waiter> waiters;
  /// Carried out before it was stored; repeated if a stored record takes its place.
  std::vector<Command> commands;
  std::vector<AppliedEvent> events;  ///< applied since the last commit
  std::size_t doubtful_events = 0;   ///< of them, those in a commit that may have become durable
  std::size_t journaled_events = 0;  ///< of them, those whose commit has told the journal of them
  std::size_t journaled_calls = 0;   ///< the same of `held_calls`
  std::size_t bytes = 0;             ///< of the definition, for the memory limit

  /// Empty again, but for its slot and the memory of vectors of ordinary size.
  void Clear() {
    const auto emptied = [](auto& vector) {
      if (vector.capacity() > kKeptCapacity) vector.shrink_to_fit();
      return std::move(vector);
    };
    ActiveTransaction empty;
    empty.slot = slot;
    transaction.branches.clear();
    held_calls.clear();
    waiters.clear();
    commands.clear();
    events.clear();
    empty.transaction.branches = emptied(transaction.branches);
    empty.held_calls = emptied(held_calls);
    empty.waiters = emptied(waiters);
    empty.commands = emptied(commands);
    empty.events = emptied(events);
    *this = std::move(empty);
  }

  static constexpr std::size_t kKeptCapacity = 64;

  bool Fresh() const { return transaction.version == 0; }
  bool CallsOut() const {
    return std::any_of(transaction.branches.begin(), transaction.branches.end(),
                       [](const Branch& branch) { return branch.in_flight; });
  }
};

/// It does not go on until somebody submits it, retries it or repairs its record; so it takes no room.
inline bool WaitsForPeople(const ActiveTransaction& active) {
  const Transaction& transaction = active.transaction;
  return transaction.stuck || transaction.unreadable ||
         (transaction.status == Status::kPrepared && active.timer == kNever && !active.CallsOut());
}

inline std::shared_ptr<const Alert> AlertOf(const Transaction& transaction, std::size_t row,
                                            const std::string& error) {
  const Definition& definition = *transaction.definition;
  return std::make_shared<const Alert>(Alert{definition.gid, transaction.status,
                                             ShownUrl(UrlOf(definition, row)), error,
                                             transaction.branches[row].errors});
}

inline constexpr Duration kLongestWaitForStore = std::chrono::seconds(3);

/// A branch whose function runs inside a commit.
struct BranchWork {
  std::size_t slot = 0;  ///< see ActiveTable
  std::uint64_t generation = 0;
  std::size_t row = 0;
};

inline std::uint32_t ErrorsOf(const Transaction& transaction, std::size_t row) {
  return row < transaction.branches.size() ? transaction.branches[row].errors : 0;
}

inline bool BeganToFail(Status before, Status now) {
  return now != before &&
         (now == Status::kAborting || (now == Status::kFailed && before != Status::kAborting));
}

/// So that the next push_back cannot fail.
template <typename T>
inline void MakeRoom(std::vector<T>& vector) {
  if (vector.size() == vector.capacity()) vector.reserve(2 * vector.size() + 4);
}

/// What is looked at soon: first the transaction itself, then what it points to.
inline void PrefetchActive(const ActiveTransaction& active) {
  Prefetch<LinesOf(sizeof(ActiveTransaction))>(&active);
}
inline void PrefetchParts(const ActiveTransaction& active) {
  Prefetch<LinesOf(4 * sizeof(Branch))>(active.transaction.branches.data());
  const Definition* definition = active.transaction.definition.get();
  if (definition == nullptr) return;  // it has left
  Prefetch<2>(definition);
  Prefetch<1>(&definition->options);
}

/// Visits them in their order, with the next ones on their way from memory.
template <typename Visit>
void ForEachActive(const std::vector<ActiveTransaction*>& list, Visit visit) {
  using Active = const ActiveTransaction*;
  VisitAhead(
      list, [](Active active) { PrefetchActive(*active); },
      [](Active active) { PrefetchParts(*active); },
      [&visit](ActiveTransaction* active) { visit(*active); });
}

/// The transactions in memory, by gid. One of them stays where it is until it is removed; its slot is then used again,
/// with the memory its vectors have, since allocating them anew for each transaction costs as much as driving it.
class ActiveTable {
 public:
  ActiveTransaction* Find(const std::string& gid) {
    const auto found = index_.find(gid);
    return found == index_.end() ? nullptr : found->second;
  }
  /// The one that got this slot and generation; null if it has left.
  ActiveTransaction* At(std::size_t slot, std::uint64_t generation) {
    return slot < slots_.size() && slots_[slot].generation == generation ? &slots_[slot] : nullptr;
  }
  /// Calls one of the above with what is in this slot, if it was ever used.
  template <typename PrefetchOne>
  void PrefetchAt(std::size_t slot, PrefetchOne prefetch) const {
    if (slot < slots_.size()) prefetch(slots_[slot]);
  }
  ActiveTransaction& Add(Transaction transaction) {
    const std::size_t bytes = BytesOf(*transaction.definition);
    return Add(std::move(transaction), bytes);
  }
  ActiveTransaction& Add(Transaction transaction, std::size_t bytes) {
    ActiveTransaction& active = TakeSlot();
    active.generation = ++last_generation_;
    active.bytes = bytes;
    active.stored_due = transaction.due;
    if (transaction.branches.empty()) transaction.branches.swap(active.transaction.branches);
    active.transaction = std::move(transaction);
    Enter(active);
    bytes_ += active.bytes;
    return active;
  }
  /// Gives it another definition, of the same gid.
  void Redefine(ActiveTransaction& active, Definition definition) {
    Exchange(active, std::move(definition));
    active.redefined = true;
  }
  /// Adds a step to its definition, in place if nobody else holds it: the n-th costs as much as the first.
  void AddStep(ActiveTransaction& active, const Step& step) {
    std::shared_ptr<const Definition>& definition = active.transaction.definition;
    if (IsSoleOwner(definition)) {
      std::const_pointer_cast<Definition>(definition)->steps.push_back(step);
      active.bytes += BytesOf(step);
      bytes_ += BytesOf(step);
    } else {
      Definition larger = *definition;
      larger.steps.push_back(step);
      Exchange(active, std::move(larger));
    }
    ++active.new_steps;
  }
  /// Returns its definition, for whoever frees it.
  std::shared_ptr<const Definition> Remove(ActiveTransaction& active) {
    bytes_ -= active.bytes;
    spare_nodes_.push_back(index_.extract(active.transaction.definition->gid));
    std::shared_ptr<const Definition> definition = std::move(active.transaction.definition);
    active.Clear();
    free_.push_back(&active);
    return definition;
  }
  /// Any one of them; null: there is none.
  ActiveTransaction* Any() { return index_.empty() ? nullptr : index_.begin()->second; }
  std::size_t Count() const { return index_.size(); }
  std::size_t Bytes() const { return bytes_; }
  template <typename Visit>
  void ForEach(Visit visit) {
    for (auto& entry : index_) visit(*entry.second);
  }

 private:
  /// True: no other thread has it or will get it, and what others did with it has happened before. (Reading the count does
  /// not ensure that; counting up and down does, since it comes after the last count of the others.)
  static bool IsSoleOwner(const std::shared_ptr<const Definition>& definition) {
    if (definition.use_count() != 1) return false;
    std::shared_ptr<const Definition>(definition).reset();
    return true;
  }

  void Exchange(ActiveTransaction& active, Definition definition) {
    auto shared = std::make_shared<Definition>(std::move(definition));
    bytes_ -= active.bytes;
    auto node = index_.extract(active.transaction.definition->gid);  // its key is in there
    active.transaction.definition = std::move(shared);
    active.bytes = BytesOf(*active.transaction.definition);
    bytes_ += active.bytes;
    node.key() = active.transaction.definition->gid;
    index_.insert(std::move(node));
  }

  using Index = std::unordered_map<std::string_view,
                                   ActiveTransaction*>;  // keys are in the definitions, which stay

  ActiveTransaction& TakeSlot() {
    if (free_.empty()) {
      if (free_.capacity() <= slots_.size()) {  // what leaves memory needs none for that
        spare_nodes_.reserve(2 * slots_.size() + 4);
        free_.reserve(2 * slots_.size() + 4);
      }
      slots_.emplace_back();
      slots_.back().slot = slots_.size() - 1;
      return slots_.back();
    }
    ActiveTransaction& active = *free_.back();
    free_.pop_back();
    return active;
  }
  void Enter(ActiveTransaction& active) {
    if (spare_nodes_.empty()) {
      index_.emplace(active.transaction.definition->gid, &active);
      return;
    }
    Index::node_type node = std::move(spare_nodes_.back());
    spare_nodes_.pop_back();
    node.key() = active.transaction.definition->gid;
    node.mapped() = &active;
    index_.insert(std::move(node));
  }

  std::deque<ActiveTransaction> slots_;
  std::vector<ActiveTransaction*> free_;
  Index index_;
  std::vector<Index::node_type> spare_nodes_;
  std::size_t bytes_ = 0;
  std::uint64_t last_generation_ = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/between_stages.hpp --------------------------------------------------

/// What the stages of a turn leave to each other; each list has one stage that empties it.
/// Needs: std, engine. Threads: the thread that drives the loop.

#include <set>

namespace dtm {
inline namespace v1 {

/// What the next turn has to take up again, before anything new. Collect empties it.
struct ToCollect {
  std::vector<std::pair<std::string, engine::EventKind>> readvance;  ///< gids, and why
  std::vector<Submission> resubmit;  ///< found a stored record, which is in memory now
  std::vector<Command> reissue;      ///< came before a commit had taken their transaction
  std::vector<std::shared_ptr<const Definition>> ended;  ///< see Mail
};

/// What the next commit has to write and to run. Commit empties it.
struct ToCommit {
  std::vector<ActiveTransaction*> dirty;  ///< changed since the last commit
  std::deque<QueuedWork> works;           ///< user work
  std::deque<BranchWork> branch_works;    ///< branches that run inside a commit
  std::set<std::string> in_doubt;  ///< gids submitted in a commit whose outcome is not known yet
};

/// What has to wait until its cause is durable. Release empties it.
struct ToRelease {
  std::vector<ActiveTransaction*> touched;           ///< calls, timers and answers are held back
  std::vector<std::shared_ptr<const Alert>> alerts;  ///< of what is durable
  std::vector<std::shared_ptr<const Event>> events;  ///< the same
  std::vector<std::shared_ptr<const Span>> spans;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/peer_messages.hpp ---------------------------------------------------

/// What coordinators say to one another through the store: a command as a request, and its answer as a reply.
/// Needs: std. Threads: pure functions.

namespace dtm {
inline namespace v1 {

/// The reply when a branch was skipped; what an earlier version replies to what it does not know says only "no error".
inline constexpr char kSkipped[] = "+skipped";

/// What is asked of the coordinator that drives it.
inline Request RequestFor(const Command& command) {
  Request request;
  request.kind = command.kind == Command::Kind::kCancel ? Request::Kind::kCancel
                 : command.kind == Command::Kind::kSkip ? Request::Kind::kSkip
                                                        : Request::Kind::kRetryNow;
  request.gid = command.gid;
  request.reason = command.reason;
  request.who = command.who;
  request.branch_id = command.step.branch_id;
  request.op = command.step.op;
  return request;
}

inline Command CommandFor(const Request& request) {
  Command command;
  switch (request.kind) {
    case Request::Kind::kCancel: command.kind = Command::Kind::kCancel; break;
    case Request::Kind::kRetryNow: command.kind = Command::Kind::kRetryNow; break;
    case Request::Kind::kSkip: command.kind = Command::Kind::kSkip; break;
    case Request::Kind::kLook: command.kind = Command::Kind::kLook; break;
  }
  command.gid = request.gid;
  command.reason = request.reason;
  command.who = request.who;
  command.step.branch_id = request.branch_id;
  command.step.op = request.op;
  command.asked = request.id;
  return command;
}

/// An answer to another coordinator, as it is stored: the kind of the error in one letter, and its sentence. "+": no error.
inline std::string ReplyOf(const Answer& answer) {
  if (!answer.error) return "+";
  try {
    std::rethrow_exception(answer.error);
  } catch (const EndedError& error) {
    return std::string("e") + error.what();
  } catch (const BadInput& error) {
    return std::string("b") + error.what();
  } catch (const RejectedError& error) {
    return std::string("r") + error.what();
  } catch (const StoreError& error) {
    return std::string("s") + error.what();
  } catch (...) {
    return "d" + WhatWasThrown();
  }
}

/// To a request of a kind that only a later version knows.
inline std::string NotKnown(const Request& request) {
  return ReplyOf({{},
                  Answers::Rejected("gid '" + request.gid +
                                    "' was not changed: the coordinator that drives it is of "
                                    "an earlier version of dtm; replace it, then ask again")});
}

/// Null: no error.
inline std::exception_ptr ErrorOf(const std::string& reply) {
  const std::string sentence = reply.empty() ? std::string() : reply.substr(1);
  switch (reply.empty() ? 'd' : reply[0]) {
    case '+': return nullptr;
    case 'e': return std::make_exception_ptr(EndedError(sentence));
    case 'b': return std::make_exception_ptr(BadInput(sentence));
    case 'r': return std::make_exception_ptr(RejectedError(sentence));
    case 's': return std::make_exception_ptr(StoreError(sentence));
    default: return std::make_exception_ptr(InDoubtError(sentence));
  }
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/schedule.hpp -------------------------------------------------------------------

/// Computes times: intervals, waits between tries, deadlines.
/// Needs: std. Threads: pure functions. Protocol: §3 (schedule numbers), with the first retry after
/// one interval, a cap and jitter. Source of the waits: capped exponential backoff.

namespace dtm {
inline namespace v1 {
namespace engine {

inline constexpr Duration kMaxRetryWait = std::chrono::hours(1);

/// The base interval between tries.
inline Duration RetryInterval(const TransOptions& options, const Context& context) {
  if (options.retry_interval.count() > 0) return options.retry_interval;
  if (options.timeout_to_fail.count() > 0 && options.timeout_to_fail < context.retry_interval) {
    return options.timeout_to_fail;
  }
  return context.retry_interval;
}

inline Duration RequestTimeout(const TransOptions& options, const Context& context) {
  return options.request_timeout.count() > 0 ? Duration(options.request_timeout)
                                             : context.request_timeout;
}

/// How long a prepared msg, tcc or xa waits for its submit.
inline std::chrono::seconds PreparedTimeout(const TransOptions& options, const Context& context) {
  return options.timeout_to_fail.count() > 0 ? options.timeout_to_fail : context.timeout_to_fail;
}

/// The interval after so many errors in a row: it doubles up to one hour (but is never less than at first).
inline Duration DoubledInterval(Duration interval, std::uint32_t errors) {
  const Duration cap = (std::max)(kMaxRetryWait, interval);
  for (std::uint32_t i = 1; i < errors && interval < cap; ++i) interval *= 2;
  return (std::min)(interval, cap);
}

/// The wait after the n-th consecutive error (n >= 1): interval * 2^(n-1), at most one hour (but
/// never less than the interval). Up to a fifth is added, different for each branch and try, so that calls
/// that failed together are not repeated together. The addition is computed from the names, so the same
/// record always gives the same wait.
inline Duration RetryWait(const Transaction& transaction, std::size_t row, Duration interval) {
  const std::uint32_t errors = (std::max)(transaction.branches[row].errors, std::uint32_t{1});
  const Duration wait = DoubledInterval(interval, errors);
  const std::size_t seed =
      std::hash<std::string>{}(transaction.definition->gid) ^ (row * 7919 + errors * 104729);
  return wait + wait * static_cast<Duration::rep>(seed % 1000) / 5000;
}

/// The action of a saga had a call that may have had an effect, or counts as done.
inline bool MayHaveRun(const Branch& action) {
  return action.tries > 0 || action.status == BranchStatus::kSucceed;
}

/// The present interval: that of the branch with the most errors in a row, among those that it waits for.
inline Duration IntervalNow(const Transaction& transaction, const Context& context) {
  std::uint32_t errors = 0;
  for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
    const Branch& branch = transaction.branches[i];
    const bool waits = branch.status == BranchStatus::kPrepared && HasItsTurn(transaction, i);
    if (waits) errors = (std::max)(errors, branch.errors);
  }
  return DoubledInterval(RetryInterval(transaction.definition->options, context), errors);
}

/// The time until which a call decided now may be running: it is sent when the decision is durable, and the caller may hold
/// it back for one timeout and then give it another (see BranchCaller::Call). 0: no longer than this process.
inline Time CallDeadline(const std::string& url, const TransOptions& options,
                         const Context& context) {
  if (!IsLocal(url)) return context.now + context.lateness + 2 * RequestTimeout(options, context);
  if (context.function_limit.count() == 0) return {};
  return context.now + context.lateness + context.function_limit;
}

/// For calls that were decided earlier but are sent only now.
inline void MoveDeadlines(Transaction& transaction, const std::vector<std::size_t>& calls,
                          const Context& context) {
  for (const std::size_t call : calls) {
    Branch& branch = transaction.branches[call];
    if (branch.deadline == Time{}) continue;  // a function ends with its process
    const Definition& definition = *transaction.definition;
    branch.deadline = (std::max)(
        branch.deadline, CallDeadline(UrlOf(definition, call), definition.options, context));
  }
}

/// Ends all waits, and drives a stuck transaction again. False: nothing waited.
inline bool ForgetWaits(Transaction& transaction) {
  bool waited = std::exchange(transaction.stuck, false);
  for (Branch& branch : transaction.branches) {
    waited = waited || branch.errors > 0 || branch.next_try != Time{};
    branch.errors = 0;
    branch.next_try = Time{};
    branch.asked_when = false;
  }
  return waited;
}

/// After a restart no call of this run is in flight, and the clock may have been set, so each wait is cut to the longest
/// that is possible. A deadline is reduced only by what the clock was ahead, since it may come from a longer
/// request_timeout than today's. A workflow that this program resumes is tried again after one interval: it may have been
/// waiting for the new code.
inline void ForgetPreviousRun(Transaction& transaction, const Context& context) {
  const TransOptions& options = transaction.definition->options;
  const Duration interval = RetryInterval(options, context);
  const Duration ahead = (std::max)(transaction.updated - context.now, Duration(0));
  const Definition& definition = *transaction.definition;
  const bool new_code = definition.type == TransType::kWorkflow &&
                        IsLocal(definition.query_prepared) &&
                        transaction.updated <= context.started;
  for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
    Branch& branch = transaction.branches[i];
    branch.in_flight = false;
    const Duration longest = new_code ? interval : RetryWait(transaction, i, interval);
    branch.next_try =
        (std::min)(branch.next_try,
                   context.now + (branch.asked_when ? (std::max)(longest, Duration(kMaxRetryAfter))
                                                    : longest));
    branch.deadline = (std::max)(branch.deadline - ahead, Time{});
    branch.previous_deadline = branch.deadline;
  }
}

/// Of one that another coordinator drives, which lives: its initiator may be at it for a call from there, and records a step
/// here. So it is not called a second time as long as that call may be out.
inline void LeaveToInitiator(Transaction& transaction) {
  if (!HasQueryRow(transaction.definition->type)) return;
  Branch& initiator = transaction.branches[kQueryRow];
  initiator.next_try = (std::max)(initiator.next_try, initiator.deadline);
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/explain.hpp --------------------------------------------------------------------

/// Explains the state of a transaction to people.
/// Needs: std. Threads: pure function.

namespace dtm {
inline namespace v1 {
namespace engine {

/// The result of a branch as one sentence of at most kMaxReasonBytes.
inline std::string DescribeResult(const Definition& definition, std::size_t index,
                                  const Result& result) {
  const char* said = "failed";
  switch (result.kind) {
    case Result::Kind::kSuccess: said = "succeeded"; break;
    case Result::Kind::kFailure: said = "answered FAILURE"; break;
    case Result::Kind::kOngoing: said = "is ONGOING"; break;
    case Result::Kind::kError: said = "gave no definite answer"; break;
    case Result::Kind::kNotSent: said = "was not called"; break;
  }
  std::string text = BranchInWords(definition, index) + " " + said;
  if (!result.text.empty()) text += ": " + result.text;
  return Truncated(std::move(text), kMaxReasonBytes);
}

/// "2.5": with a point in every locale.
inline std::string Seconds(Duration time) {
  const Duration::rep tenths = time.count() / 100000 + (time.count() % 100000 >= 50000 ? 1 : 0);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
}

/// "in 2.5 s", "now".
inline std::string InWords(Duration wait) {
  return wait.count() <= 0 ? "now" : "in " + Seconds(wait) + " s";
}

inline std::string ExplainBranch(const Transaction& transaction, std::size_t index, Time now) {
  const Branch& branch = transaction.branches[index];
  const Definition& definition = *transaction.definition;
  std::string text = BranchInWords(definition, index) + ": ";
  if (branch.in_flight) {
    text += "called, its answer is awaited";
  } else if (branch.deadline > now) {
    text +=
        "called; it may still be running, for at most " + InWords(branch.deadline - now).substr(3);
  } else {
    text += "next try " + InWords(branch.next_try - now);
    if (branch.asked_when && branch.next_try > now) text += ", as it asked for (Retry-After)";
  }
  text += " (" + std::to_string(branch.tries) + (branch.tries == 1 ? " try" : " tries");
  if (branch.errors > 0) {
    text += ", " + std::to_string(branch.errors) + (branch.errors == 1 ? " error" : " errors") +
            " in a row";
  }
  return text + ")";
}

inline std::string ExplainPrepared(const Transaction& transaction) {
  std::string text = "\nit waits for its submit";
  if (transaction.due == kNever) return text;
  switch (transaction.definition->type) {
    case TransType::kMsg: return text + "; then its initiator is asked";
    case TransType::kWorkflow: return text + "; then it is resumed";
    default: return text + "; then it is rolled back";
  }
}

/// One sentence about the whole, then a line for each branch that is running or waits.
inline std::string Explain(const Transaction& transaction, Time now) {
  const Definition& definition = *transaction.definition;
  std::string text = std::string(Name(definition.type)) + " " + definition.gid + " is ";
  if (transaction.unreadable) {
    return text + "stuck: " + transaction.last_error + "; restore the store from a backup";
  }
  text += Name(transaction.status);
  if (!transaction.reason.empty()) text += " because: " + transaction.reason;
  if (transaction.reason_from != 0) text += " (" + ReasonFrom(transaction) + ")";
  if (transaction.expired) return text + " (its record has expired, the gid is kept)";
  if (IsFinal(transaction.status)) return text;
  if (transaction.stuck) {
    return text + "\nstuck: " + transaction.last_error +
           "; it goes on with RetryNow or ends with ForceStop";
  }
  if (transaction.status == Status::kPrepared) text += ExplainPrepared(transaction);
  for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
    const Branch& branch = transaction.branches[i];
    const bool waits = branch.status == BranchStatus::kPrepared && HasItsTurn(transaction, i) &&
                       (branch.tries > 0 || branch.next_try != Time{});
    if (branch.in_flight || branch.deadline > now || waits) {
      text += "\n" + ExplainBranch(transaction, i, now);
    }
  }
  if (!transaction.last_error.empty()) text += "\nlast error: " + transaction.last_error;
  const std::chrono::seconds timeout = definition.options.timeout_to_fail;
  if (definition.type == TransType::kSaga && timeout.count() > 0 &&
      transaction.status == Status::kSubmitted) {
    text += "\nrolled back if not done " + InWords(transaction.created + timeout - now);
  }
  return text;
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/elsewhere.hpp -------------------------------------------------------

/// What was asked here about transactions that other coordinators on the store drive: who waits for their end, and requests
/// that the others have to obey. One statement every 100 ms looks after all of it.
/// Needs: std, store. Threads: the thread that drives the loop.

#include <iterator>

namespace dtm {
inline namespace v1 {

class Elsewhere {
 public:
  /// `most`: so many may wait.
  Elsewhere(Store& store, std::size_t most) : store_(store), peers_(store.Shared()), most_(most) {}

  /// Answers when it has ended, or at the time that `waiter` set, whoever drives it.
  void Watch(const std::string& gid, Waiter&& waiter, Time now) {
    if (!waiter.promise.Open()) return;
    if (waiters_ >= most_) {
      return waiter.Refuse(Made<BusyError>([&] {
        return "too many wait for transactions of other coordinators, " + std::to_string(most_) +
               "; ask query for gid '" + gid + "'";
      }));
    }
    waiter.again = nullptr;
    LookAt((std::min)(waiter.deadline, now + kEvery), now);
    watched_[gid].push_back(std::move(waiter));
    ++waiters_;
  }

  /// Asks the one that drives it to obey the command; its answer is the answer. The coordinator that takes over from it may
  /// obey as well, so this waits for longer than that takes.
  /// @throws StoreError  nothing was asked.
  void Ask(Command&& command, Time now) {
    const std::int64_t id = peers_->Ask(RequestFor(command));
    LookAt(now + kEvery, now);
    asked_.emplace(id, Asked{std::move(command), now + kLongestReply, false});
  }

  /// What others ask of this one.
  void Hear(std::vector<Command>& reissue) {
    for (const Request& request : peers_->Asked()) {
      if (request.kind > Request::Kind::kSkip) {
        Answers::Protected([&] { peers_->Reply(request.id, NotKnown(request)); });
        continue;
      }
      Command command = CommandFor(request);
      const bool skips = command.kind == Command::Kind::kSkip;
      command.waiter.promise = [peers = peers_, id = request.id, skips](const Answer& answer) {
        peers->Reply(id, skips && !answer.error ? kSkipped : ReplyOf(answer));
      };
      reissue.push_back(std::move(command));
    }
  }

  /// It was stopped here, and the one that drove it does not know. If that cannot be told, it finds out at its next write.
  void TellOwner(const Transaction& transaction) {
    if (peers_ == nullptr || transaction.owner == 0 || transaction.owner == store_.Owner()) return;
    Answers::Protected([&] {
      (void)peers_->Ask(
          {0, Request::Kind::kLook, transaction.definition->gid, {}, transaction.owner});
    });
  }

  /// A line for people: who drives it.
  std::string DrivenBy(const Transaction& stored) const {
    if (IsFinal(stored.status)) return {};
    if (stored.owner == 0) return "\nno coordinator has taken it up yet";
    const std::optional<Peer> peer = peers_->Find(stored.owner);
    if (peer && WaitsForApp(stored.owner)) {
      return "\nit calls functions of app '" + peer->node.app +
             "', and none of its coordinators is alive: it waits until one runs";
    }
    if (!peer) return "\nthe coordinator that drove it is gone; another one takes it over";
    if (stored.owner == store_.Owner()) return "\ndriven by this node, " + peer->node.name;
    const std::string name =
        peer->node.name + (peer->node.url.empty() ? "" : " (" + peer->node.url + ")");
    if (!peer->is_member) return "\nnode " + name + " drove it and is gone; another takes it over";
    return "\ndriven by node " + name +
           (peer->silent ? ", seen " + engine::Seconds(*peer->silent) + " s ago" : "");
  }

  /// When to look the next time; kNever: nobody waits.
  Time Next() const { return next_; }

  /// Looks, if it is time. Commands that have to be obeyed here, after all, go into `reissue`.
  void Look(Time now, std::vector<Command>& reissue) {
    if (now < next_) return;
    next_ = now + kEvery;
    try {
      TakeReplies(now, reissue);
      LookAtWatched(now);
    } catch (const StoreError&) {  // the next look may work; nobody waits longer than asked
      AnswerExpired(now);
    }
    if (watched_.empty() && asked_.empty()) next_ = kNever;
  }

  /// Nobody waits any longer: the answer is the status that is stored.
  void AnswerAll(const std::string& why) {
    next_ = kNever;
    waiters_ = 0;
    for (auto& [gid, waiters] : std::exchange(watched_, {})) {
      AnswerThose(gid, waiters, why, [](const Waiter&) { return true; });
    }
    for (auto& [id, asked] : std::exchange(asked_, {})) {
      asked.command.waiter.Refuse(InDoubt(asked.command.gid, why));
    }
  }

 private:
  struct Asked {
    Command command;
    Time until;
    bool taken_up;
  };

  void LookAt(Time time, Time now) {
    if (next_ == kNever) next_ = now + kEvery;
    next_ = (std::min)(next_, time);
  }

  static std::exception_ptr InDoubt(const std::string& gid, const std::string& why) {
    return Made<InDoubtError>([&] {
      return "gid '" + gid + "' may or may not have been changed: " + why + "; ask for it again";
    });
  }

  void TakeReplies(Time now, std::vector<Command>& reissue) {
    if (asked_.empty()) return;
    std::vector<std::int64_t> ids;
    for (const auto& entry : asked_) ids.push_back(entry.first);
    for (const auto& [id, reply] : peers_->TakeReplies(ids)) {
      const auto place = asked_.find(id);
      if (place == asked_.end()) continue;
      Command command = std::move(place->second.command);
      asked_.erase(place);
      OnReply(std::move(command), reply, now);
    }
    for (auto place = asked_.begin(); place != asked_.end();) {
      Asked& asked = place->second;
      const bool over = asked.until <= now && GiveUp(place->first, asked, now, reissue);
      place = over ? asked_.erase(place) : std::next(place);
    }
  }

  void OnReply(Command&& command, const std::string& reply, Time now) {
    if (const std::exception_ptr error = ErrorOf(reply)) return command.waiter.Refuse(error);
    if (command.kind == Command::Kind::kSkip && reply != kSkipped) {
      return command.waiter.Refuse(Made<RejectedError>([&] {
        return "gid '" + command.gid +
               "' was not changed: the coordinator that drives it is of an earlier version of dtm, "
               "which skips no branches; replace it, then ask again";
      }));
    }
    const std::optional<Transaction> stored = store_.Load(command.gid);
    if (!stored) return command.waiter.Refuse(InDoubt(command.gid, "its record is gone"));
    if (command.wait_result != WaitResult::kCounts || !stored->definition->options.wait_result) {
      return command.waiter.Give(ResultOf(*stored));
    }
    command.waiter.WaitForResult(now);
    command.waiter.ongoing_is_error = true;
    Watch(command.gid, std::move(command.waiter), now);
  }

  /// True: it was answered.
  bool GiveUp(std::int64_t id, Asked& asked, Time now, std::vector<Command>& reissue) {
    Command& command = asked.command;
    const std::string& gid = command.gid;
    if (!peers_->Withdraw(id, asked.taken_up)) {  // somebody obeys it at this moment
      if (!asked.taken_up) return asked.taken_up = true, asked.until = now + kLongestReply, false;
      command.waiter.Refuse(InDoubt(gid, "the coordinator that drives it does not answer"));
      return true;
    }
    const std::optional<Transaction> stored = store_.Load(gid);
    const bool here = !stored || IsFinal(stored->status) || stored->owner == store_.Owner();
    if (here) {
      reissue.push_back(std::move(command));
    } else {
      command.waiter.Refuse(Made<StoreError>([&] {
        return "gid '" + gid +
               "' was not changed: no coordinator that drives it has answered; ask again later";
      }));
    }
    return true;
  }

  /// So many in one statement; the others with the next ones, in turn.
  void LookAtWatched(Time now) {
    std::vector<std::string> gids;
    auto from = watched_.upper_bound(last_);
    if (from == watched_.end()) from = watched_.begin();
    for (; from != watched_.end() && gids.size() < kPage; ++from) gids.push_back(from->first);
    if (gids.empty()) return;
    const bool all = gids.size() == watched_.size();
    last_ = all ? std::string() : gids.back();
    std::map<std::string, std::optional<Time>> due;
    for (const Progress& found : peers_->Look(gids)) due.emplace(found.gid, found.due);
    for (const std::string& gid : gids) {
      const auto found = due.find(gid);
      if (found == due.end()) {
        AnswerIf(gid, "its record is gone", [](const Waiter&) { return true; });
        continue;
      }
      const bool ended = !found->second.has_value();
      const bool settled = ended || *found->second > now;
      AnswerIf(gid, "it cannot be read", [&](const Waiter& waiter) {
        return ended || (settled && waiter.when == AnswerWhen::kSettled) || waiter.deadline <= now;
      });
    }
    if (!all) AnswerExpired(now);
    for (const auto& entry : watched_) {
      for (const Waiter& waiter : entry.second) next_ = (std::min)(next_, waiter.deadline);
    }
  }

  void AnswerExpired(Time now) {
    for (auto place = asked_.begin(); place != asked_.end();) {
      Command& command = place->second.command;
      const bool over = place->second.until + kLongestReply <= now;
      if (over) command.waiter.Refuse(InDoubt(command.gid, "the store cannot be read"));
      place = over ? asked_.erase(place) : std::next(place);
    }
    std::vector<std::string> gids;
    for (const auto& entry : watched_) gids.push_back(entry.first);
    for (const std::string& gid : gids) {
      AnswerIf(gid, "the store cannot be read",
               [now](const Waiter& waiter) { return waiter.deadline <= now; });
    }
  }

  template <typename Wanted>
  void AnswerIf(const std::string& gid, const std::string& why, const Wanted& wanted) {
    const auto place = watched_.find(gid);
    std::vector<Waiter>& waiters = place->second;
    const std::size_t before = waiters.size();
    AnswerThose(gid, waiters, why, wanted);
    waiters_ -= before - waiters.size();
    if (waiters.empty()) watched_.erase(place);
  }

  /// Those that are wanted leave `waiters`.
  template <typename Wanted>
  void AnswerThose(const std::string& gid, std::vector<Waiter>& waiters, const std::string& why,
                   const Wanted& wanted) {
    const auto first = std::stable_partition(waiters.begin(), waiters.end(),
                                             [&](const Waiter& waiter) { return !wanted(waiter); });
    if (first == waiters.end()) return;
    std::optional<Transaction> stored;
    try {
      stored = store_.Load(gid);
    } catch (const StoreError&) {  // NOLINT(bugprone-empty-catch): then it is not known
    }
    for (auto waiter = first; waiter != waiters.end(); ++waiter) {
      const bool told = stored && (!waiter->submits || engine::ShowsSubmit(*stored));
      if (told) {
        waiter->Give(ResultOf(*stored));
      } else {
        waiter->Refuse(InDoubt(gid, stored ? std::string("it is ") + Name(stored->status) : why));
      }
    }
    waiters.erase(first, waiters.end());
  }

  static constexpr Duration kEvery = std::chrono::milliseconds(100);
  static constexpr Duration kLongestReply = std::chrono::seconds(5);
  static constexpr std::size_t kPage = 1000;

  Store& store_;
  Peers* const peers_;
  const std::size_t most_;
  std::map<std::string, std::vector<Waiter>> watched_;
  std::string last_;  ///< of them, that were looked at
  std::size_t waiters_ = 0;
  std::map<std::int64_t, Asked> asked_;
  Time next_ = kNever;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/loader.hpp ----------------------------------------------------------

/// Brings unfinished transactions from the store into memory: after a restart, and when there is
/// room for those that did not fit.
/// Needs: std, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

/// Walks the unfinished transactions in the order in which they are due, page by page. One walk is
/// a pass; after it the next one begins when something left in the store is due.
class Loader {
 public:
  static constexpr std::size_t kPage = 256;

  /// When there is something to load; kNever if all that is unfinished is in memory.
  Time NextPass() const { return next_pass_; }

  /// The next page of the pass, or nothing: at most `room` transactions, and `bytes` of definitions, which only the last
  /// one may exceed. `with_waiting`: there is room for those that are not due yet. The page may hold transactions that
  /// are in memory already.
  std::vector<Transaction> NextPage(Store& store, Time now, bool with_waiting, std::size_t room,
                                    std::size_t bytes) {
    if (next_pass_ > now || room == 0 || bytes == 0) return {};
    // The first pass reads all of them: if the wall clock was set back, due times may be far off. In a shared store what is
    // prepared waits there, so later passes read only what is due.
    const bool shared = store.Owner() != 0;
    const bool all = (with_waiting && !shared) || first_pass_;
    const std::size_t limit = (std::min)(kPage, room);
    if (cursor_.id == 0) left_behind_ = kNever;  // a pass begins; it finds them
    std::vector<Transaction> page;
    bool at_end = true;
    store.Due(all ? kNever : now, cursor_, [&](Transaction&& stored) {
      const std::size_t size = BytesOf(*stored.definition);
      bytes -= (std::min)(bytes, size);
      page.push_back(std::move(stored));
      at_end = page.size() < limit && bytes > 0;
      return at_end;
    });
    if (at_end) {
      next_pass_ = (std::min)(left_behind_, all ? kNever : store.NextDue(now));
      if (shared) next_pass_ = (std::max)(next_pass_, now + kBetweenPasses);
      left_behind_ = kNever;
      cursor_ = DuePosition{};
      first_pass_ = false;
    } else {
      cursor_ = {page.back().due, page.back().id};
    }
    return page;
  }

  /// All that was unfinished has been in a page.
  bool HasSeenAll() const { return !first_pass_; }

  /// A transaction that is due then leaves memory, or did not come into it.
  void LeaveBehind(Time due) {
    left_behind_ = (std::min)(left_behind_, due);
    const bool between_passes = next_pass_ == kNever || cursor_.id == 0;
    if (between_passes) next_pass_ = (std::min)(next_pass_, due);
  }

  /// The store may hold transactions that memory does not know of.
  void Restart() {
    cursor_ = DuePosition{};
    next_pass_ = (Time::min)();
    first_pass_ = true;
  }

 private:
  static constexpr Duration kBetweenPasses = std::chrono::milliseconds(100);

  bool first_pass_ = true;
  DuePosition cursor_;
  Time next_pass_ = (Time::min)();
  Time left_behind_ = kNever;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/hooks/span_feed.hpp -------------------------------------------------------

/// The spans of what the loop drives: when they begin, and which are over.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class SpanFeed {
 public:
  using Spans = std::vector<std::shared_ptr<const Span>>;

  /// `ended`: gets the spans that are over. Both outlive it.
  SpanFeed(const Options& options, Spans& ended) : options_(options), ended_(ended) {}

  /// Of a call that starts now; null: nobody wants spans.
  std::shared_ptr<const CallSpan> Begin(const Transaction& transaction, std::size_t row, Time now) {
    if (!options_.on_span) return nullptr;
    return std::make_shared<const CallSpan>(
        CallSpan{ids_.Next(), now, transaction.branches[row].tries});
  }

  void End(const BranchCall& call, const Result& result, Time now) noexcept {
    if (call.span == nullptr || result.at_once) return;  // it is none, or did not begin
    Add([&] { return SpanOf(*call.definition, call.row, *call.span, result, now); });
  }

  void Ended(const Transaction& transaction) noexcept {
    if (options_.on_span) Add([&] { return SpanOf(transaction); });
  }

 private:
  template <typename Make>
  void Add(const Make& make) noexcept {
    try {
      ended_.push_back(std::make_shared<const Span>(make()));
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): no memory for it
    }
  }

  const Options& options_;
  Spans& ended_;
  SpanIds ids_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/missing_functions.hpp -----------------------------------------------

/// The functions that this program lacks, so that people are told of each of them once a minute.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class MissingFunctions {
 public:
  /// False: people were told of it less than a minute ago, or of too many others. All URLs of a scheme are one: what is
  /// missing is their caller.
  /// @throws std::bad_alloc  it is not remembered.
  bool IsNews(const std::string& url, Time now) {
    const std::string name = IsLocal(url) ? url : SchemeOf(url);
    const auto told = told_until_.find(name);
    if (told != told_until_.end() && now < told->second) return false;
    if (told == told_until_.end() && told_until_.size() >= kMostNames) {
      for (auto old = told_until_.begin(); old != told_until_.end();) {
        old = old->second <= now ? told_until_.erase(old) : std::next(old);
      }
      if (told_until_.size() >= kMostNames) return false;
    }
    told_until_[name] = now + kTellAgain;
    return true;
  }

  static constexpr std::size_t kMostNames = 1000;

 private:
  static constexpr Duration kTellAgain = std::chrono::minutes(1);
  std::map<std::string, Time> told_until_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/repair.hpp ---------------------------------------------------------------------

/// A repair: somebody says that a row is done, and the transaction goes on without a call. Nothing else changes.
/// Needs: std. Threads: pure functions.

namespace dtm {
inline namespace v1 {
namespace engine {

/// Whether a call of the row may still come. A saga that goes forward may be rolled back later.
inline bool MayBeCalled(const Transaction& transaction, std::size_t row) {
  const bool saga = transaction.definition->type == TransType::kSaga;
  if (saga && transaction.status == Status::kSubmitted) return true;
  if (!HasItsTurn(transaction, row)) return false;
  const bool undo = saga && row % 2 == 0;
  return !undo || MayHaveRun(transaction.branches[row + 1]);
}

/// Why the row of an unfinished transaction cannot be said to be done; empty: it can. While a call of it is out, or may be, it
/// cannot: the call could have its effect after somebody has done the same by hand.
inline std::string RepairProblem(const Transaction& transaction, std::size_t row, Time now) {
  const Definition& definition = *transaction.definition;
  const std::size_t rows = transaction.branches.size();
  if (definition.type == TransType::kWorkflow) {
    return "the steps of a workflow are made by its own code, so none can be skipped; it goes on "
           "with "
           "that code, or ends with ForceStop";
  }
  if (rows != RowCount(definition) || row >= rows) {
    return "its record is damaged, it has " + std::to_string(rows) + " branch rows for " +
           std::to_string(definition.steps.size()) + " steps; ForceStop ends it";
  }
  if (transaction.status == Status::kPrepared) {
    return "it is prepared, so none of its branches is called yet; submit it, or cancel it";
  }
  const Branch& branch = transaction.branches[row];
  const std::string who = BranchInWords(definition, row);
  if (branch.status == BranchStatus::kSucceed) return who + " has succeeded already";
  if (!MayBeCalled(transaction, row)) {
    return "it is " + std::string(Name(transaction.status)) + ", and " + who +
           " will not be called, so there is nothing to skip";
  }
  if (branch.in_flight) return "a call of " + who + " is running; skip it once that has ended";
  if (branch.deadline <= now) return {};
  return "a call of " + who + " may still be running, for at most " +
         Seconds(branch.deadline - now) + " s; skip it then";
}

/// "branch 02 compensate was skipped by ann: paid back by hand"
inline std::string DescribeRepair(const Definition& definition, std::size_t row,
                                  const std::string& who, const std::string& why) {
  return "branch " + BranchIdOf(definition, row) + " " + Name(OpOf(definition, row)) +
         " was skipped" + (who.empty() ? "" : " by " + who) + ": " + why;
}

/// The last error, and behind it what people have done about it.
inline std::string LastErrorWith(const std::string& error, std::string repair) {
  constexpr std::size_t kBetween = 2;
  repair = Truncated(std::move(repair), kMaxReasonBytes);
  if (error.empty() || repair.size() + kBetween >= kMaxReasonBytes) return repair;
  return Truncated(error, kMaxReasonBytes - kBetween - repair.size()) + "; " + repair;
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/news.hpp ------------------------------------------------------------

/// The lines about transactions in the log: rollbacks, first errors, missing functions, stuck transactions, the recovery.
/// Needs: std, engine. Threads: the thread that drives the loop.
///
/// Ten thousand transactions may meet one dead host in a second. So only a few lines of each kind are written in a
/// second, and then how many were left out.

#include <array>

namespace dtm {
inline namespace v1 {

/// Allows a number of lines in a second, and counts the others.
class LineLimit {
 public:
  static constexpr std::size_t kPerSecond = 10;

  /// Whether a line may be written now. Flush comes first.
  bool Allow(Time now) {
    if (now >= end_ || now + kWindow < end_) {  // over, or the clock was set back
      end_ = now + kWindow;
      written_ = 0;
    }
    if (written_ < kPerSecond) return ++written_, true;
    ++left_out_;
    return false;
  }
  /// When to log how many were left out.
  Time NextFlush() const { return left_out_ > 0 ? end_ : kNever; }
  /// How many lines were left out, once their second is over.
  std::size_t Flush() { return std::exchange(left_out_, 0); }

 private:
  static constexpr Duration kWindow = std::chrono::seconds(1);
  Time end_{};
  std::size_t written_ = 0;
  std::size_t left_out_ = 0;
};

class News {
 public:
  explicit News(const Options& options) : options_(options) {}

  // All of them tell of what is durable. If a line cannot be written, the loop goes on: none of these throws.

  /// The rollback is decided.
  void RolledBack(const Transaction& transaction, Time now) {
    Say(kRollbacks, transaction, now, [&] {
      const bool failed = transaction.status == Status::kFailed;  // there was nothing to undo
      std::string text = Who(transaction) + " (" + Name(transaction.definition->type) + ")" +
                         (failed ? " has failed" : " is being rolled back");
      if (!transaction.reason.empty()) text += ": " + transaction.reason;
      if (transaction.reason_from != 0) text += " (" + ReasonFrom(transaction) + ")";
      return text;
    });
  }

  /// `errors`: errors in a row of the branch, with `result` the last of them. Logs the first, and the one that shows that
  /// it keeps failing.
  void Error(const Transaction& transaction, std::size_t row, const Result& result,
             std::uint32_t errors, Time now) {
    const auto what = [&] { return engine::DescribeResult(*transaction.definition, row, result); };
    if (errors == 1) {
      Say(kFirstErrors, transaction, now,
          [&] { return Who(transaction) + ", first error: " + what(); });
    } else if (errors == kErrorsThatGoOn) {
      Say(kMoreErrors, transaction, now,
          [&] { return Who(transaction) + " keeps failing and is retried: " + what(); });
    }
  }

  /// The transaction goes on only with help.
  void Stuck(const Transaction& transaction, Time now) {
    Say(kStuck, transaction, now, [&] {
      return Who(transaction) + " is stuck: " + transaction.last_error +
             "; see Explain, then RetryNow or ForceStop";
    });
  }

  /// Somebody has said that the row is done.
  void Repaired(const Transaction& transaction, std::size_t row, const std::string& who,
                const std::string& why, Time now) {
    Say(kRepairs, transaction, now, [&] {
      return Who(transaction) + ": " +
             engine::DescribeRepair(*transaction.definition, row, who, why);
    });
  }

  /// Somebody else has removed its record.
  void Vanished(const Transaction& transaction, Time now) {
    Say(kVanished, transaction, now, [&] {
      return Who(transaction) + " has vanished from the store; somebody else removed it";
    });
  }

  /// See Sweep.
  void SetGoing(const Transaction& transaction, Time now) {
    Say(kSetGoing, transaction, now, [&] {
      return Who(transaction) +
             " was in memory and nothing would have gone on with it; it is set going. If no turn "
             "of "
             "the coordinator failed before, this is a fault of dtm: please report it";
    });
  }

  /// This program has no function or caller for the branch; see MissingFunctions.
  void NobodyToCall(const Transaction& transaction, std::size_t row, const Result& result,
                    Time now) {
    Say(kNobody, transaction, now, [&] {
      return Who(transaction) +
             " waits: " + engine::DescribeResult(*transaction.definition, row, result);
    });
  }

  void Recovered(std::size_t found, Duration took) const {
    if (found == 0) return;
    Quietly([&] {
      LogTo(
          options_, LogLevel::kInfo,
          std::to_string(found) +
              (found == 1 ? " unfinished transaction goes on" : " unfinished transactions go on") +
              "; to find what an earlier run left took " + engine::Seconds(took) + " s");
    });
  }

  Time NextFlush() const {
    Time next = kNever;
    for (const LineLimit& limit : limits_) next = (std::min)(next, limit.NextFlush());
    return next;
  }
  /// Logs how many lines were left out in seconds that are over.
  void Flush(Time now) {
    for (std::size_t kind = 0; kind < limits_.size(); ++kind) {
      const Time next = limits_[kind].NextFlush();
      if (next == kNever || next > now) continue;
      const std::size_t left_out = limits_[kind].Flush();
      Quietly([&] {
        LogTo(options_, kLevels[kind],
              "and " + std::to_string(left_out) + " more " + kNames[kind] +
                  " in that second, without a line each");
      });
    }
  }

 private:
  enum Kind {
    kRollbacks,
    kFirstErrors,
    kMoreErrors,
    kNobody,
    kStuck,
    kRepairs,
    kVanished,
    kSetGoing,
    kKinds
  };
  static constexpr std::array<const char*, kKinds> kNames = {"rollbacks",
                                                             "first errors of branches",
                                                             "branches that keep failing",
                                                             "functions that are missing",
                                                             "stuck transactions",
                                                             "branches that people skipped",
                                                             "transactions that have vanished",
                                                             "transactions that are set going"};
  static constexpr std::array<LogLevel, kKinds> kLevels = {
      LogLevel::kInfo,  LogLevel::kWarning, LogLevel::kWarning, LogLevel::kWarning,
      LogLevel::kError, LogLevel::kWarning, LogLevel::kError,   LogLevel::kError};
  static constexpr std::uint32_t kErrorsThatGoOn = 3;

  static std::string Who(const Transaction& transaction) {
    return "gid '" + transaction.definition->gid + "'";
  }

  template <typename Function>
  static void Quietly(const Function& function) noexcept {
    try {
      function();
    } catch (...) {  // NOLINT(bugprone-empty-catch): no memory for a line of the log
    }
  }

  template <typename MakeText>
  void Say(Kind kind, const Transaction& about, Time now, const MakeText& text) {
    Quietly([&] {
      if (limits_[kind].NextFlush() <= now) Flush(now);
      if (!limits_[kind].Allow(now)) return;
      LogTo(options_, kLevels[kind], text(), about.definition.get());
    });
  }

  const Options& options_;
  std::array<LineLimit, kKinds> limits_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/reports.hpp ---------------------------------------------------------

/// What is counted and told of what is durable: metrics, alerts, lines in the log, spans.
/// Needs: std, engine. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Reports {
 public:
  /// `to_release`: gets what is told by hooks. All of them outlive it.
  Reports(const Options& options, const engine::Context& context, ToRelease& to_release)
      : news(options),
        spans(options, to_release.spans),
        options_(options),
        context_(context),
        to_release_(to_release) {}

  /// Whether Report has something to say of it.
  static bool HasNews(const AppliedEvent& event) {
    return event.alert || event.stuck || event.kind == engine::EventKind::kRepair ||
           event.kind == engine::EventKind::kResult;
  }

  /// An event that is durable now: counts it, and tells people of it.
  void Report(const Transaction& transaction, const AppliedEvent& event) {
    if (event.alert) to_release_.alerts.push_back(event.alert);
    if (event.stuck) news.Stuck(transaction, context_.now);
    if (event.kind == engine::EventKind::kRepair && !event.refused) {
      metrics.Repaired(transaction.definition->type);
      news.Repaired(transaction, event.row, event.who, event.result.text, context_.now);
    }
    if (event.kind != engine::EventKind::kResult) return;
    metrics.GotResult(*transaction.definition, event.row, event.result);
    if (event.errors > 0) {
      news.Error(transaction, event.row, event.result, event.errors, context_.now);
    } else if (event.result.no_handler) {
      Answers::Protected([&] { NobodyToCall(transaction, event); });
    }
  }

  /// If it has ended, that is durable now.
  void ReportEnd(const Transaction& transaction) {
    if (!IsFinal(transaction.status)) return;
    metrics.Ended(transaction);
    spans.Ended(transaction);
  }

  Metrics metrics;
  News news;
  SpanFeed spans;

 private:
  void NobodyToCall(const Transaction& transaction, const AppliedEvent& event) {
    const Definition& definition = *transaction.definition;
    if (!missing_functions_.IsNews(UrlOf(definition, event.row), context_.now)) return;
    news.NobodyToCall(transaction, event.row, event.result, context_.now);
    if (!options_.on_alert) return;
    to_release_.alerts.push_back(AlertOf(
        transaction, event.row, engine::DescribeResult(definition, event.row, event.result)));
  }

  MissingFunctions missing_functions_;
  const Options& options_;
  const engine::Context& context_;
  ToRelease& to_release_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/room.hpp ------------------------------------------------------------

/// How much room is left in memory for transactions: by number (max_in_memory) and by bytes.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Room {
 public:
  Room(const ActiveTable& table, const Options& options) : table_(table), options_(options) {}

  std::size_t Count() const { return Full() ? 0 : options_.max_in_memory - table_.Count(); }
  std::size_t Bytes() const { return Full() ? 0 : ActiveBytes(options_) - table_.Bytes(); }

  bool Full() const {
    return table_.Count() >= options_.max_in_memory || table_.Bytes() >= ActiveBytes(options_);
  }
  /// More are in memory than fit: one that was just added should not begin.
  bool Overfull() const {
    return table_.Count() > options_.max_in_memory || table_.Bytes() > ActiveBytes(options_);
  }
  /// Transactions that only wait for a time may take half of the room.
  bool HalfFull() const {
    return table_.Count() >= options_.max_in_memory / 2 ||
           table_.Bytes() >= ActiveBytes(options_) / 2;
  }

 private:
  const ActiveTable& table_;
  const Options& options_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/timers.hpp ----------------------------------------------------------

/// When each transaction has to be looked at again.
/// Needs: std. Threads: one owner.

namespace dtm {
inline namespace v1 {

struct ActiveTransaction;

/// One timer per transaction in memory, in order of time. Nodes are reused: most transactions have a timer, for those
/// who wait for their end.
class Timers {
 public:
  /// Replaces the timer at `old` by one at `time`; kNever is none.
  void Move(ActiveTransaction& active, Time old, Time time) {
    if (old == time) return;
    Ordered::node_type node;
    if (old != kNever) {
      node = timers_.extract({old, &active});
    } else if (!spare_nodes_.empty()) {
      node = std::move(spare_nodes_.back());
      spare_nodes_.pop_back();
    }
    const auto hint = timers_.end();  // mostly later than others
    if (time == kNever) {
      if (node) Spare(std::move(node));
    } else if (node) {
      node.value() = {time, &active};
      timers_.insert(hint, std::move(node));
    } else {
      timers_.emplace_hint(hint, time, &active);
    }
  }
  Time Next() const { return timers_.empty() ? kNever : timers_.begin()->first; }
  /// Takes the first one that is due; null if none is.
  ActiveTransaction* TakeDue(Time now) {
    if (timers_.empty() || timers_.begin()->first > now) return nullptr;
    ActiveTransaction* active = timers_.begin()->second;
    timers_.erase(timers_.begin());
    return active;
  }

 private:
  using Ordered = std::set<std::pair<Time, ActiveTransaction*>>;

  void Spare(Ordered::node_type&& node) {
    try {
      spare_nodes_.push_back(std::move(node));
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): one less
    }
  }

  Ordered timers_;
  std::vector<Ordered::node_type> spare_nodes_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/machine_parts.hpp --------------------------------------------------------------

/// What all machines share: taking results, calling branches, waiting, ending, getting stuck.
/// Needs: std. Threads: pure. Protocol: §3 (what a result does to a row, schedule numbers, alert), with the
/// safe alternatives of its §12: running calls are awaited, tries survive restarts.

namespace dtm {
inline namespace v1 {
namespace engine {

class MachineParts {
 protected:
  MachineParts(Transaction& transaction, const Context& context, Effects&& effects)
      : t_(transaction),
        def_(*transaction.definition),
        context_(context),
        effects_(std::move(effects)) {}

  /// Handles what is the same for every type. False: nothing follows.
  bool GoesOn(const Event& event) {
    if (event.kind == EventKind::kLoaded) ForgetPreviousRun(t_, context_);
    if (IsFinal(t_.status)) {
      if (event.kind == EventKind::kCancel || event.kind == EventKind::kForceStop ||
          event.kind == EventKind::kRetryNow || event.kind == EventKind::kRepair) {
        effects_.refused = "it has already ended as " + std::string(Name(t_.status));
      }
      return false;
    }
    switch (event.kind) {
      case EventKind::kLoaded:
        if (t_.created <= context_.now) break;
        t_.created = context_.now;  // its clock was ahead: timeouts and delays count from here
        effects_.changed = true;
        break;
      case EventKind::kRegistered: Awaken(event.row); break;
      case EventKind::kForceStop: Finish(Status::kFailed); return false;
      case EventKind::kRetryNow: TryAgainNow(); break;
      case EventKind::kRepair: Repair(event); break;
      case EventKind::kBranchAdded: AddRows(); break;
      default: break;
    }
    return true;
  }

  /// Adds the row of a registered step; that of a workflow is recorded as done.
  void AddRows() {
    std::size_t row = t_.branches.size();
    AddMissingRows(t_);
    for (; row < t_.branches.size(); ++row) {
      Branch& branch = t_.branches[row];
      if (branch.status != BranchStatus::kPrepared) branch.finished = context_.now;
    }
    effects_.changed = true;
  }

  /// False: it is stuck, or has ended.
  bool MayDrive() {
    if (IsFinal(t_.status)) return false;
    if (t_.branches.size() != RowCount(def_)) {
      GetStuck("the record has " + std::to_string(t_.branches.size()) + " branch rows for " +
               std::to_string(def_.steps.size()) + " steps");
    }
    return !t_.stuck;
  }

  void Create(Status status) {
    t_.status = status;
    t_.branches.assign(RowCount(def_), Branch{});
    t_.created = t_.due = context_.now;
    effects_.changed = true;
  }

  void OnSubmitted() {
    if (t_.created == Time{}) return Create(Status::kSubmitted);
    if (t_.status != Status::kPrepared) return;
    t_.status = Status::kSubmitted;
    t_.due = context_.now;
    effects_.changed = true;
  }

  /// Records an expected result; false: it was not expected.
  bool TakeAnswer(std::size_t index, const Result& result) {
    if (index >= t_.branches.size() || !t_.branches[index].in_flight) return false;
    Branch& branch = t_.branches[index];
    branch.in_flight = false;
    branch.deadline = branch.previous_deadline;  // calls of a previous run may still be running
    effects_.changed = true;
    if (result.kind == Result::Kind::kSuccess) {
      Succeed(branch);
      return true;
    }
    t_.last_error = DescribeResult(def_, index, result);
    if (result.kind == Result::Kind::kNotSent && branch.tries > 0) --branch.tries;
    return true;
  }

  void Succeed(Branch& branch) {
    branch.status = BranchStatus::kSucceed;
    branch.finished = context_.now;
    branch.errors = 0;
    branch.next_try = Time{};
    branch.asked_when = false;
  }

  /// Counts the row as done. A stuck transaction is driven again: whatever it lacked may be here now.
  void Repair(const Event& event) {
    effects_.refused = RepairProblem(t_, event.row, context_.now);
    if (!effects_.refused.empty()) return;
    Succeed(t_.branches[event.row]);
    t_.stuck = false;
    t_.last_error =
        LastErrorWith(t_.last_error, DescribeRepair(def_, event.row, event.who, event.result.text));
    effects_.changed = true;
  }

  /// After ONGOING, or if the call was not sent, it waits for one interval; after errors longer and longer; and always at
  /// least as long as the branch asked for. A call that was not sent because the coordinator stops, or may make none for a
  /// while, does not wait: it is made first when there are calls again.
  void WaitForNextTry(std::size_t index, Result::Kind kind, const Result& result) {
    Branch& branch = t_.branches[index];
    branch.unsent = kind == Result::Kind::kNotSent;
    const Duration interval = RetryInterval(def_.options, context_);
    Duration wait = interval;
    if (kind == Result::Kind::kOngoing || kind == Result::Kind::kNotSent) {
      // Most calls of a host that does not reply find no slot. They do not interrupt its errors in a row.
      if (kind == Result::Kind::kOngoing) branch.errors = 0;
      const bool at_once = result.at_once || !context_.may_call;
      if (kind == Result::Kind::kNotSent && at_once) wait = Duration(0);
    } else {
      ++branch.errors;
      wait = RetryWait(t_, index, interval);
      AlertIfItKeepsFailing(index);
    }
    const Duration asked = (std::min)(result.retry_after, Duration(kMaxRetryAfter));
    branch.asked_when = asked > wait;
    wait = (std::max)(wait, asked);
    branch.next_try = wait == Duration(0) ? Time{} : context_.now + wait;
  }

  /// The question to a message's initiator may fail for long without harm: the initiator may be down. For other rows
  /// people are alerted at the n-th error in a row, whether or not the wait still doubles.
  void AlertIfItKeepsFailing(std::size_t index) {
    const bool question = def_.type == TransType::kMsg && index == kQueryRow;
    if (question || context_.alert_after == 0) return;
    if (t_.branches[index].errors >= context_.alert_after) effects_.alert = index;
  }

  /// The result of a branch that has to succeed in the end: after anything but success it is called again.
  void OnRequiredResult(std::size_t index, const Result& result) {
    if (!TakeAnswer(index, result) || result.kind == Result::Kind::kSuccess) return;
    WaitForNextTry(index, result.kind, result);
  }

  /// Ends the wait of a call that found no function; waits after errors stay.
  void Awaken(std::size_t index) {
    if (index >= t_.branches.size()) return;
    Branch& branch = t_.branches[index];
    const bool unsent = branch.unsent || branch.tries == 0;
    if (branch.in_flight || !unsent || branch.next_try == Time{}) return;
    branch.next_try = Time{};
    effects_.changed = true;
  }

  void TryAgainNow() {
    if (ForgetWaits(t_)) effects_.changed = true;
  }

  void Abort(std::string reason) {
    t_.status = Status::kAborting;
    t_.reason = Truncated(std::move(reason), kMaxReasonBytes);
    effects_.changed = true;
  }

  /// Keeps the text of the branch as the reason, and beside it which branch that was.
  void GiveReason(std::size_t index, const Result& result) {
    t_.reason =
        Truncated(result.text.empty() ? "FAILURE, without a reason" : result.text, kMaxReasonBytes);
    t_.reason_from = static_cast<std::uint32_t>(index + 1);
  }

  /// Results that are still expected do not matter any more.
  void Finish(Status status) {
    for (Branch& branch : t_.branches) branch.in_flight = false;
    t_.status = status;
    t_.finished = context_.now;
    t_.due = kNever;
    t_.stuck = false;
    effects_.changed = true;
    effects_.calls.clear();
    effects_.timer = kNever;
  }

  void GetStuck(const std::string& why) {
    if (t_.stuck) return;
    t_.stuck = true;
    t_.last_error = why;
    effects_.changed = true;
  }

  bool Succeeded(std::size_t row) const {
    return t_.branches[row].status == BranchStatus::kSucceed;
  }

  /// Calls the branch if no call of it is running and its wait is over. True: it has no url and is done.
  bool TryCall(std::size_t index) {
    Branch& branch = t_.branches[index];
    if (branch.in_flight) return false;
    const std::string& url = UrlOf(def_, index);
    if (url.empty()) {
      branch.status = BranchStatus::kSucceed;
      branch.finished = context_.now;
      effects_.changed = true;
      return true;
    }
    if (branch.next_try > context_.now) {
      WakeAt(branch.next_try);
      return false;
    }
    if (!context_.may_call) return false;
    branch.in_flight = true;
    if (!RunsInTransaction(url)) ++branch.tries;  // its success, if any, is stored with its effect
    branch.deadline =
        (std::max)(CallDeadline(url, def_.options, context_), branch.previous_deadline);
    effects_.calls.push_back(index);
    effects_.changed = true;
    return false;
  }

  void WakeAt(Time time) { effects_.timer = (std::min)(effects_.timer, time); }

  /// While a call is running, or could start but may not now, a restart has to look at it at once.
  void Schedule() {
    if (IsFinal(t_.status)) return;
    const bool out = std::any_of(t_.branches.begin(), t_.branches.end(),
                                 [](const Branch& branch) { return branch.in_flight; });
    // If the initiator could be asked but may not be asked now, a restart has to ask it.
    const bool asks = HasQueryRow(def_.type) && !def_.query_prepared.empty();
    const bool waits_for_submit =
        t_.status == Status::kPrepared && !out && effects_.timer == kNever && !asks;
    if (!out && !waits_for_submit && context_.may_call && effects_.timer == kNever) {
      GetStuck("no branch is out, none may start and no wait will end");
    }
    Time due = effects_.timer;
    if (t_.stuck || waits_for_submit) {
      due = kNever;
      effects_.timer = kNever;
    } else if (out || !context_.may_call) {
      due = (std::min)(t_.due, context_.now);
    }
    if (due != t_.due) {
      t_.due = due;
      effects_.changed = true;
    }
  }

  Transaction& t_;
  const Definition& def_;
  const Context& context_;
  Effects effects_;
};

/// Makes the machine for one event, and returns the effects.
template <typename Machine>
class MachineOf : protected MachineParts {
 public:
  /// Applies the event to `transaction`. `effects` is empty; only its memory is used.
  static Effects Advance(Transaction& transaction, const Event& event, const Context& context,
                         Effects&& effects = {}) {
    Machine machine(transaction, context, std::move(effects));
    machine.Run(event);
    return std::move(machine.effects_);
  }

 protected:
  using MachineParts::MachineParts;
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/msg_machine.hpp ----------------------------------------------------------------

/// The machine of two-phase messages: while prepared, it waits for its submit and after a timeout asks its initiator;
/// once submitted, it calls every branch until that succeeds.
/// Needs: std. Threads: pure. Protocol: §4.2; never rolled back once it is submitted.

namespace dtm {
inline namespace v1 {
namespace engine {

class MsgMachine : public MachineOf<MsgMachine> {
  friend class MachineOf<MsgMachine>;
  using MachineOf::MachineOf;

  void Run(const Event& event) {
    if (!GoesOn(event)) return;
    switch (event.kind) {
      case EventKind::kSubmitted: OnSubmitted(); break;
      case EventKind::kPrepared: Create(Status::kPrepared); break;
      case EventKind::kResult:
        event.row == kQueryRow ? OnQueryResult(event.result)
                               : OnRequiredResult(event.row, event.result);
        break;
      case EventKind::kCancel: OnCancel(event); break;
      default: break;
    }
    if (MayDrive()) {
      if (t_.status == Status::kPrepared) AskInitiator();
      if (t_.status == Status::kSubmitted) Deliver();
    }
    Schedule();
  }

  void OnCancel(const Event& event) {
    if (t_.status != Status::kPrepared) {
      effects_.refused = "it is submitted, and a submitted message is delivered";
      return;
    }
    t_.reason = Truncated(event.result.text, kMaxReasonBytes);
    Finish(Status::kFailed);
  }

  /// The initiator is asked only while the message is prepared. If a submit has come meanwhile, the result is ignored.
  void OnQueryResult(const Result& result) {
    if (!TakeAnswer(kQueryRow, result) || t_.status != Status::kPrepared) return;
    if (result.kind == Result::Kind::kSuccess) {
      OnSubmitted();
    } else if (result.kind == Result::Kind::kFailure) {
      GiveReason(kQueryRow, result);
      Finish(Status::kFailed);
    } else {
      WaitForNextTry(kQueryRow, result.kind, result);
    }
  }

  void AskInitiator() {
    const Time asked = t_.created + PreparedTimeout(def_.options, context_);
    if (context_.now < asked) return WakeAt(asked);
    if (TryCall(kQueryRow)) OnSubmitted();  // there is nobody to ask
  }

  void Deliver() {
    const Time earliest = t_.created + def_.delay;
    if (context_.now < earliest) return WakeAt(earliest);
    bool all_done = true;
    for (std::size_t step = 0; step < def_.steps.size(); ++step) {
      const std::size_t row = DeliveryOf(step);
      if (Succeeded(row) || TryCall(row)) continue;
      all_done = false;
      if (!def_.concurrent) break;
    }
    if (all_done) Finish(Status::kSucceed);
  }
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/saga_machine.hpp ---------------------------------------------------------------

/// The saga machine: runs the steps in order, and after a definite failure undoes, in reverse order, all that may
/// have run.
/// Needs: std. Threads: pure. Protocol: §4.1, with the safe alternatives of its §12: a running action
/// is awaited before it is compensated, tries survive restarts, retries wait.

namespace dtm {
inline namespace v1 {
namespace engine {

class SagaMachine : public MachineOf<SagaMachine> {
  friend class MachineOf<SagaMachine>;
  using MachineOf::MachineOf;

  void Run(const Event& event) {
    if (!GoesOn(event)) return;
    switch (event.kind) {
      case EventKind::kSubmitted: OnSubmitted(); break;
      case EventKind::kPrepared: Create(Status::kPrepared); break;
      case EventKind::kResult: OnResult(event.row, event.result); break;
      case EventKind::kCancel:
        t_.status == Status::kAborting ? TryAgainNow() : Abort(event.result.text);
        break;
      default: break;
    }
    if (MayDrive()) {
      if (t_.status == Status::kSubmitted) Forward();
      if (t_.status == Status::kAborting) Backward();
    }
    Schedule();
  }

  void OnResult(std::size_t index, const Result& result) {
    if (!TakeAnswer(index, result) || result.kind == Result::Kind::kSuccess) return;
    const bool action = OpOf(TransType::kSaga, index) == Op::kAction;
    if (action && result.kind == Result::Kind::kFailure) {
      t_.branches[index].status = BranchStatus::kFailed;
      t_.branches[index].finished = context_.now;
      if (t_.status != Status::kSubmitted) return;
      Abort({});
      return GiveReason(index, result);
    }
    if (action && t_.status == Status::kAborting) return;  // it is compensated in any case
    WaitForNextTry(index, result.kind, result);
    if (action && result.kind != Result::Kind::kNotSent) CountAgainstRetryLimit();
  }

  void CountAgainstRetryLimit() {
    const int limit = def_.options.retry_limit;
    if (limit <= 0) return;
    if (t_.retry_count < static_cast<std::uint32_t>(limit)) {
      ++t_.retry_count;
    } else {
      Abort("RetryCount is greater than RetryLimit, RetryLimit: " + std::to_string(limit));
    }
  }

  void Forward() {
    const std::chrono::seconds timeout = def_.options.timeout_to_fail;
    if (timeout.count() > 0) {
      if (context_.now >= t_.created + timeout) {
        Abort("Timeout after " + std::to_string(timeout.count()) + " seconds");
        return;
      }
      WakeAt(t_.created + timeout);
    }
    bool progress = true;  // an empty url succeeds at once and may make an earlier step ready
    while (progress) {
      progress = false;
      bool all_succeeded = true;
      for (std::size_t step = 0; step < def_.steps.size(); ++step) {
        const std::size_t action = ActionOf(step);
        if (Succeeded(action)) continue;
        all_succeeded = false;
        if (MayStart(step) && TryCall(action)) progress = true;
        if (!def_.concurrent && !Succeeded(action)) break;
      }
      if (all_succeeded) {
        Finish(Status::kSucceed);
        return;
      }
    }
  }

  bool MayStart(std::size_t step) const {
    if (!def_.concurrent && step > 0 && !Succeeded(ActionOf(step - 1))) return false;
    const auto order = def_.orders.find(static_cast<int>(step));
    if (order == def_.orders.end()) return true;
    return std::all_of(order->second.begin(), order->second.end(), [this](int before) {
      return Succeeded(ActionOf(static_cast<std::size_t>(before)));
    });
  }

  void Backward() {
    if (ActionsMayBegin()) return;
    bool progress = true;
    while (progress) {
      progress = false;
      bool all_undone = true;
      const std::vector<bool> needed = NeededByOthers();
      for (std::size_t step = def_.steps.size(); step-- > 0;) {
        if (Undone(step)) continue;
        all_undone = false;
        if (!needed[step] && TryCall(CompensateOf(step))) progress = true;
        if (!def_.concurrent && !Undone(step)) break;
      }
      if (all_undone) {
        Finish(Status::kFailed);
        return;
      }
    }
  }

  /// Nothing is left to undo: the action cannot have run, or its compensation is done. An action that
  /// failed may have had an effect, so it is compensated too.
  bool Undone(std::size_t step) const {
    return !MayHaveRun(t_.branches[ActionOf(step)]) || Succeeded(CompensateOf(step));
  }

  /// A running call, or one of a previous run that may still be running, may have its effect later; and no action
  /// may take effect after the compensation of any step.
  bool ActionsMayBegin() {
    Time last{};
    for (std::size_t step = 0; step < def_.steps.size(); ++step) {
      const Branch& action = t_.branches[ActionOf(step)];
      if (action.in_flight) return true;
      last = (std::max)(last, action.deadline);
    }
    if (last <= context_.now) return false;
    WakeAt(last);
    return true;
  }

  /// Which steps a step that came after them by the orders still rests on.
  std::vector<bool> NeededByOthers() const {
    std::vector<bool> needed(def_.steps.size(), false);
    for (const auto& order : def_.orders) {
      if (Undone(static_cast<std::size_t>(order.first))) continue;
      for (const int before : order.second) needed[static_cast<std::size_t>(before)] = true;
    }
    return needed;
  }
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/tcc_machine.hpp ----------------------------------------------------------------

/// The machine of tcc and xa: branches register while it is prepared; then all are confirmed, or all
/// cancelled (xa: committed, rolled back).
/// Needs: std. Threads: pure. Protocol: §4.3, §4.4. Confirm and cancel have to succeed in the end: after any other
/// result they are called again.

namespace dtm {
inline namespace v1 {
namespace engine {

class TccMachine : public MachineOf<TccMachine> {
  friend class MachineOf<TccMachine>;
  using MachineOf::MachineOf;

  void Run(const Event& event) {
    if (!GoesOn(event)) return;
    switch (event.kind) {
      case EventKind::kSubmitted: OnSubmitted(); break;
      case EventKind::kPrepared: Create(Status::kPrepared); break;
      case EventKind::kResult: OnRequiredResult(event.row, event.result); break;
      case EventKind::kCancel: OnCancel(event); break;
      default: break;
    }
    if (MayDrive()) {
      if (t_.status == Status::kPrepared) WaitForSubmit();
      if (t_.status == Status::kSubmitted && AllDone(ActionOf)) Finish(Status::kSucceed);
      if (t_.status == Status::kAborting && AllDone(CompensateOf)) Finish(Status::kFailed);
    }
    Schedule();
  }

  void OnCancel(const Event& event) {
    if (t_.status == Status::kSubmitted) {
      effects_.refused = "it is submitted, so it is carried through";
    } else {
      t_.status == Status::kAborting ? TryAgainNow() : Abort(event.result.text);
    }
  }

  void WaitForSubmit() {
    const std::chrono::seconds timeout = PreparedTimeout(def_.options, context_);
    const Time end = t_.created + timeout;
    if (context_.now < end) return WakeAt(end);
    Abort("Timeout after " + std::to_string(timeout.count()) + " seconds");
  }

  /// Calls one branch after the other: tcc in reverse order of registration, xa in that order. Every registered
  /// branch is called, even if its try failed or never came.
  template <typename RowOf>
  bool AllDone(RowOf row_of) {
    const std::size_t count = def_.steps.size();
    for (std::size_t n = 0; n < count; ++n) {
      const std::size_t row = row_of(def_.type == TransType::kTcc ? count - 1 - n : n);
      if (!Succeeded(row) && !TryCall(row)) return false;
    }
    return true;
  }
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/workflow_machine.hpp -----------------------------------------------------------

/// The workflow machine: a ledger. The initiator runs the workflow, records its steps, and reports the end; if it does
/// not, it is called to resume the workflow.
/// Needs: std. Threads: pure. Protocol: §4.5, with W26 done right: waits grow after errors, and the same final
/// status again is accepted.

namespace dtm {
inline namespace v1 {
namespace engine {

class WorkflowMachine : public MachineOf<WorkflowMachine> {
  friend class MachineOf<WorkflowMachine>;
  using MachineOf::MachineOf;

  void Run(const Event& event) {
    if (event.kind == EventKind::kFinish) return OnFinish(event);
    if (!GoesOn(event)) return;
    switch (event.kind) {
      case EventKind::kPrepared:
        Create(Status::kPrepared);
        WaitForInitiator();
        break;
      case EventKind::kResult: OnResult(event.row, event.result); break;
      case EventKind::kBranchAdded: t_.branches[kQueryRow].errors = 0; break;  // it makes progress
      case EventKind::kCancel:
        effects_.refused = "a workflow is rolled back by its own code; ForceStop ends it";
        break;
      default: break;
    }
    if (MayDrive() && !def_.query_prepared.empty()) (void)TryCall(kQueryRow);
    Schedule();
  }

  void OnFinish(const Event& event) {
    const bool success = event.result.kind == Result::Kind::kSuccess;
    const Status status = success ? Status::kSucceed : Status::kFailed;
    if (IsFinal(t_.status)) {
      if (t_.status != status) {
        effects_.refused = "it has already ended as " + std::string(Name(t_.status));
      }
      return;
    }
    // Somebody runs it elsewhere, and its callbacks have begun.
    const Op wrong = success ? Op::kRollback : Op::kCommit;
    for (const dtm::Step& step : def_.steps) {
      if (step.branch_id != kDecision || step.payload != Name(wrong)) continue;
      effects_.refused =
          "the decision to " + step.payload + " is recorded, so it does not end as " + Name(status);
      return;
    }
    t_.result = event.data;
    t_.reason = Truncated(event.result.text, kMaxReasonBytes);
    Finish(status);
  }

  /// The result of this call does not end the workflow; only kFinish does.
  void OnResult(std::size_t index, const Result& result) {
    if (index != kQueryRow || !TakeAnswer(index, result)) return;
    t_.branches[index].status = BranchStatus::kPrepared;
    const bool heard =
        result.kind == Result::Kind::kSuccess || result.kind == Result::Kind::kFailure;
    WaitForNextTry(index, heard ? Result::Kind::kOngoing : result.kind, result);
  }

  void WaitForInitiator() {
    t_.branches[kQueryRow].next_try = context_.now + RetryInterval(def_.options, context_);
  }
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/advance.hpp --------------------------------------------------------------------

/// Which machine drives which transaction type. A new type is a new file and a line here.
/// Needs: std. Threads: pure. Protocol: §4.

namespace dtm {
inline namespace v1 {
namespace engine {

/// Pure: the same transaction, event and context always give the same result. `effects` is empty; only its memory is used.
/// @throws LogicError  the type does not exist.
inline Effects Advance(Transaction& transaction, const Event& event, const Context& context,
                       Effects&& effects = {}) {
  switch (transaction.definition->type) {
    case TransType::kSaga:
      return SagaMachine::Advance(transaction, event, context, std::move(effects));
    case TransType::kMsg:
      return MsgMachine::Advance(transaction, event, context, std::move(effects));
    case TransType::kTcc:
    case TransType::kXa:
      return TccMachine::Advance(transaction, event, context, std::move(effects));
    case TransType::kWorkflow:
      return WorkflowMachine::Advance(transaction, event, context, std::move(effects));
  }
  throw LogicError("gid '" + transaction.definition->gid + "' is of a type that does not exist");
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/turn_state.hpp ------------------------------------------------------

/// What the four stages of the loop share: the transactions in memory and what has happened to them
/// since the last commit.
/// Needs: std, engine, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

/// With this bit a version is one that no record has.
inline constexpr std::uint64_t kNoVersion = std::uint64_t{1} << 63;

/// The transactions in memory, how the store does, what is counted and logged; and, for each stage, what the others
/// leave to it.
class TurnState : public Answers {
 public:
  TurnState(Store& store_in, const Options& options_in)
      : store(store_in),
        options(options_in),
        elsewhere(store_in, options_in.max_waiting_submissions) {
    context.retry_interval = options.retry_interval;
    context.request_timeout = options.request_timeout;
    context.timeout_to_fail = options.timeout_to_fail;
    if (IsShared()) context.function_limit = options.function_limit;
    if (options.on_alert) context.alert_after = (std::max)(options.alert_retry_limit, 1U);
  }

  /// Gives the event to the machine, and keeps the effects in `active` until the record is durable. Returns why the event
  /// was refused, or nothing. Without memory the stored record takes its place, and the events since are applied again.
  /// @throws std::bad_alloc  nothing was changed, not even `event`; or it is new, and the sweep refuses it.
  std::string Advance(ActiveTransaction& active, engine::Event&& event) {
    Transaction& transaction = active.transaction;
    MakeReady(active);
    if (transaction.unreadable) return "its stored record is damaged: " + transaction.last_error;
    out_.clear();
    for (const Branch& branch : transaction.branches) out_.push_back(branch.in_flight ? 1 : 0);
    engine::Effects effects;
    try {
      AdvanceNow(active, event, effects);
    } catch (const std::bad_alloc&) {
      if (active.Fresh()) {
        Untouch(active);
        Forget(to_commit.dirty, active);
        active.dirty = false;
        throw;
      }
      for (std::size_t i = 0; i < out_.size() && i < transaction.branches.size(); ++i) {
        transaction.branches[i].in_flight = out_[i] != 0;
      }
      active.events.push_back({std::move(event), nullptr, context.now});
      // The next commit finds a conflict, and the stored record takes the place of this one.
      transaction.version |= kNoVersion;
      if (!std::exchange(active.dirty, true)) to_commit.dirty.push_back(&active);
    }
    return std::move(effects.refused);
  }

  /// Reserves the memory that Advance needs: after that it throws nothing, unless the transaction is new.
  void MakeReady(ActiveTransaction& active) {
    Touch(active);
    MakeRoom(active.events);
    MakeRoom(to_commit.dirty);
    out_.reserve(active.transaction.branches.size());
  }

  /// Without room it starts no calls: it leaves memory, and is loaded when there is room.
  void AdvanceIfRoom(ActiveTransaction& active, engine::EventKind kind, bool has_room) {
    const bool may_call = std::exchange(context.may_call, context.may_call && has_room);
    try {
      Advance(active, {kind, 0, {}});
    } catch (...) {
      context.may_call = may_call;
      throw;
    }
    context.may_call = may_call;
  }

  /// Something of it is to be released: calls, timers, answers.
  void Touch(ActiveTransaction& active) {
    if (active.touched) return;
    to_release.touched.push_back(&active);
    active.touched = true;  // not before it is in the list
  }

  void AddWaiter(ActiveTransaction& active, Waiter&& waiter) {
    if (!waiter.promise.Open()) return;
    LimitWait(active, waiter);
    ArmBefore(active, waiter.deadline);  // also if no commit works and nothing is released
    Touch(active);
    active.waiters.push_back(std::move(waiter));
  }

  /// `waiter` asked for the last event of `active`. If that is refused when it is applied again, it is told.
  void Link(ActiveTransaction& active, Waiter& waiter) {
    if (!active.Fresh()) active.events.back().ask = waiter.ask = ++last_ask_;
  }

  /// While nothing can be released, those who wait still need a timer for their deadlines.
  void ArmWaiters(ActiveTransaction& active) {
    for (Waiter& waiter : active.waiters) {
      LimitWait(active, waiter);
      ArmBefore(active, (std::max)(waiter.deadline, context.now + Duration(1)));
    }
  }
  /// Nobody waits long for a failing store. Waiters of a new transaction are refused with it.
  void LimitWait(const ActiveTransaction& active, Waiter& waiter) const {
    if (waiter.when != AnswerWhen::kStored || active.Fresh()) return;
    waiter.deadline = (std::min)(waiter.deadline, context.now + kLongestWaitForStore);
  }
  void ArmBefore(ActiveTransaction& active, Time time) {
    if (time >= active.armed) return;
    timers.Move(active, active.armed, time);
    active.armed = time;
  }

  void ArmTimer(ActiveTransaction& active) {
    Time next = active.timer;
    for (const Waiter& waiter : active.waiters) next = (std::min)(next, waiter.deadline);
    timers.Move(active, active.armed, next);
    active.armed = next;
  }

  /// The one way out of memory, besides DropAll. The loader finds again what has not ended, and the earlier record, if
  /// there is one, of what no commit has taken. What waits for people is not loaded.
  void Remove(ActiveTransaction& active) {
    const Transaction& transaction = active.transaction;
    const bool as_stored = !active.dirty && !active.Fresh();
    if (!as_stored) {
      loader.LeaveBehind(context.now);
    } else if (!IsFinal(transaction.status) && !transaction.unreadable) {
      loader.LeaveBehind(transaction.due);
    }
    Free(active);
  }

  /// The gid of a new transaction turned out to be stored: that record takes its place, unless it has ended.
  /// @throws std::bad_alloc  nothing was changed.
  void Replace(ActiveTransaction& fresh, Transaction&& stored) {
    const bool goes_on = !IsFinal(stored.status) && MayDrive(stored);
    if (goes_on)
      to_collect.readvance.emplace_back(stored.definition->gid, engine::EventKind::kLoaded);
    Untouch(fresh);
    Free(fresh);
    if (goes_on) table.Add(std::move(stored));  // in the place that is free now
  }

  void Untouch(ActiveTransaction& active) {
    active.touched = false;
    Forget(to_release.touched, active);
  }

  void RemoveFresh(ActiveTransaction& active) {
    Untouch(active);
    Forget(to_commit.dirty, active);
    Remove(active);
  }

  /// Nothing in memory is ours any more, and calls that are out are forgotten with it.
  void DropAll() {
    to_collect.readvance.clear();
    to_commit.dirty.clear();
    to_commit.branch_works.clear();
    to_release.touched.clear();
    while (ActiveTransaction* active = table.Any()) Free(*active);
    loader.Restart();
  }

  /// This coordinator owns it, or will with its next write: of a prepared one no call is out, but perhaps to its initiator.
  /// While it is fenced it owns nothing, although its heir may not have written that yet.
  bool MayDrive(const Transaction& stored) const {
    return (stored.owner == store.Owner() && !fenced) ||
           (stored.status == Status::kPrepared && !stored.other_app);
  }

  ActiveTransaction& Bring(Transaction stored) {
    if (stored.owner != store.Owner()) engine::LeaveToInitiator(stored);
    ActiveTransaction& active = table.Add(std::move(stored));
    try {
      Advance(active, {engine::EventKind::kLoaded, 0, {}});
      return active;
    } catch (...) {
      Untouch(active);
      Remove(active);
      throw;
    }
  }
  bool IsShared() const { return store.Owner() != 0; }
  bool SomethingLeftOver() const {
    return !to_collect.readvance.empty() || !to_collect.resubmit.empty() ||
           !to_collect.reissue.empty();
  }

  void Log(LogLevel level, const std::string& text) const { LogTo(options, level, text); }
  bool MayUseStore() const {
    return health.MayTry(context.now) || (health.WaitsForLock() && !room.Full());
  }

  Store& store;
  const Options& options;
  engine::Context context;
  ActiveTable table;
  const Room room{table, options};
  Timers timers;
  Loader loader;
  StoreHealth health;
  bool fenced = false;  ///< until the store has recovered
  Time not_before{};    ///< of the next turn: of commits in doubt each has a time of its own
  Elsewhere elsewhere;
  ToCollect to_collect;
  ToCommit to_commit;
  ToRelease to_release;
  Reports reports{options, context, to_release};

 private:
  static void Forget(std::vector<ActiveTransaction*>& list, const ActiveTransaction& active) {
    list.erase(std::remove(list.begin(), list.end(), &active), list.end());
  }

  void AdvanceNow(ActiveTransaction& active, engine::Event& event, engine::Effects& effects) {
    Transaction& transaction = active.transaction;
    const bool was_stuck = transaction.stuck;
    const Status before = transaction.status;
    const bool has_result = event.kind == engine::EventKind::kResult;
    const std::size_t row = event.row;
    const std::uint32_t errors = has_result ? ErrorsOf(transaction, row) : 0;
    const std::uint64_t me = store.Owner();
    const bool outbox = !active.Fresh() && me != 0 && transaction.driver == 0;
    // Each run on a shared store has a number of its own; and the time there may go back a little, as clocks are brought together.
    const bool other_run =
        !active.Fresh() && !outbox &&
        (me != 0 ? transaction.driver != me : transaction.updated < context.started);
    if (active.held_calls.empty()) effects.calls.swap(active.held_calls);  // its memory
    try {
      effects = engine::Advance(transaction, event, context, std::move(effects));
    } catch (const std::exception& error) {
      if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) throw;
      transaction.stuck = true;
      transaction.due = kNever;
      transaction.last_error = error.what();
      effects.changed = true;  // or the record would count as stored
    }
    const std::uint32_t errors_now = has_result ? ErrorsOf(transaction, row) : 0;
    const std::uint32_t new_errors = errors_now > errors ? errors_now : 0;
    const bool stuck = transaction.stuck && !was_stuck;
    std::shared_ptr<const Alert> alert;
    if (effects.alert) alert = AlertOf(transaction, *effects.alert, transaction.last_error);
    if (active.held_calls.empty()) {
      active.held_calls.swap(effects.calls);
    } else {
      active.held_calls.insert(active.held_calls.end(), effects.calls.begin(), effects.calls.end());
    }
    // Nothing below can fail. The events of a new transaction are not applied again, so they are kept only for what they tell.
    const bool rolled_back = BeganToFail(before, transaction.status);
    if (rolled_back) active.rolled_back = true;
    if (!active.Fresh() || alert || has_result || stuck || TellsEntries(options)) {
      active.events.push_back({std::move(event), std::move(alert), context.now, effects.changed,
                               effects.changed && other_run, effects.changed && outbox, rolled_back,
                               stuck, IsFinal(transaction.status) && !IsFinal(before), new_errors,
                               !effects.refused.empty()});
    }
    if (effects.changed) {
      transaction.updated = context.now;
      transaction.driver = me;
      if (!std::exchange(active.dirty, true)) to_commit.dirty.push_back(&active);
    }
    active.timer = effects.timer;
  }

  /// A large definition is freed at once, since no limit counts what waits in `ended`.
  void Free(ActiveTransaction& active) {
    timers.Move(active, active.armed, kNever);
    const bool keep = active.bytes <= kSmallBytes && to_collect.ended.size() < MostEnded(options);
    std::shared_ptr<const Definition> definition = table.Remove(active);
    if (keep) Protected([&] { to_collect.ended.push_back(std::move(definition)); });
  }
  std::vector<char> out_;  // a member for its memory
  std::uint64_t last_ask_ = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/commands/questions.hpp ----------------------------------------------------

/// What only looks: Explain, and the list of those that wait.
/// Needs: std, engine, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Questions {
 public:
  explicit Questions(TurnState& state) : state_(state) {}

  /// Transactions that wait for a time, the earliest first. Those that are stuck or prepared wait for somebody, and are
  /// left out.
  void ListWaiting(Command& command) {
    std::vector<std::string>& gids = *command.listed;
    const Time last = kNever - Duration(1);
    if (Peers* const peers = state_.store.Shared()) {
      gids = peers->Waiting(command.after, command.limit);
    } else if (command.limit > 0) {
      state_.store.Due(last, {command.after, INT64_MAX}, [&](const Transaction& stored) {
        gids.push_back(stored.definition->gid);
        return gids.size() < command.limit;
      });
    }
    command.waiter.promise.Keep({});
  }

  /// Committed state only: a change that is not stored did not happen yet.
  void Explain(Command& command) {
    const ActiveTransaction* active = state_.table.Find(command.gid);
    if (active != nullptr && active->dirty) active = nullptr;
    std::string& text = *command.explained;
    const bool shared = state_.IsShared();
    std::optional<Transaction> stored;
    if (active == nullptr || shared) stored = state_.store.Load(command.gid);
    if (active != nullptr && shared && stored) {  // another may have written it
      const bool mine = stored->owner == state_.store.Owner();
      if (!mine || stored->version != active->transaction.version) active = nullptr;
    }
    if (active != nullptr) {
      text = engine::Explain(active->transaction, state_.context.now);
    } else if (stored) {
      text = engine::Explain(*stored, state_.context.now);
    } else {
      text = refusals::Unknown(command.gid);
    }
    if (shared && stored) text += state_.elsewhere.DrivenBy(*stored);
    if (!state_.health.Good()) {
      const bool waits =
          !state_.to_commit.dirty.empty() || state_.health.NeedsRecovery() || !state_.MayUseStore();
      text += (waits ? "\nthe store is failing, so nothing goes on: "
                     : "\nthe last write to the store failed, the next one will be tried: ") +
              state_.health.Problem();
    }
    command.waiter.promise.Keep({});
  }

 private:
  TurnState& state_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/not_stored.hpp ------------------------------------------------------

/// The answers to callers whose change was not committed.
/// Needs: std, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

inline bool MayBeStored(TurnState& state, const std::string& gid) {
  const ActiveTransaction* active = state.table.Find(gid);
  if (state.to_commit.in_doubt.count(gid) > 0 || (active != nullptr && !active->Fresh()))
    return true;
  try {
    return state.store.Load(gid).has_value();
  } catch (...) {
    return true;
  }
}

/// The error for the submitter. Definite only if no earlier submission can have brought its gid into the store.
inline std::exception_ptr NotTaken(TurnState& state, const std::string& gid,
                                   const std::string& why) {
  const bool maybe = MayBeStored(state, gid);
  const auto sentence = [&] {
    return "gid '" + gid + (maybe ? "' may or may not be stored: " : "' was not stored: ") + why +
           "; submit it again" + (maybe ? "" : " later");
  };
  return maybe ? Made<InDoubtError>(sentence) : Made<StoreError>(sentence);
}

/// Removes a fresh transaction from memory, and tells those who wait for it why.
inline void RefuseFresh(TurnState& state, ActiveTransaction& active, const std::string& why) {
  const std::shared_ptr<const Definition> definition = active.transaction.definition;
  std::vector<Waiter> waiters = std::move(active.waiters);
  std::vector<Command> commands = std::move(active.commands);
  state.RemoveFresh(active);
  const std::exception_ptr refusal = NotTaken(state, definition->gid, why);
  for (Waiter& waiter : waiters) waiter.Refuse(refusal);
  for (Command& command : commands) command.waiter.Refuse(refusal);
}

/// While no change becomes durable: the answer is the stored status, or an error for those who wait for a change.
inline void AnswerAsStored(TurnState& state, Waiter& waiter, const std::string& gid,
                           const std::string& why) {
  if (waiter.when != AnswerWhen::kStored) {
    try {
      const std::optional<Transaction> stored = state.store.Load(gid);
      const bool told = stored && (!waiter.submits || engine::ShowsSubmit(*stored));
      if (told) return waiter.Give(ResultOf(*stored));
    } catch (...) {  // NOLINT(bugprone-empty-catch): then it is not known
    }
  }
  waiter.Refuse(Made<InDoubtError>([&] {
    return "the change of gid '" + gid + "' may or may not be stored: " + why +
           "; ask for it again later";
  }));
}

/// Another coordinator drives it: who waits for its end goes on waiting. The others stay.
inline void WatchAll(TurnState& state, ActiveTransaction& active) {
  std::vector<Waiter> others;
  for (Waiter& waiter : active.waiters) {
    if (waiter.when == AnswerWhen::kStored || waiter.again) {
      others.push_back(std::move(waiter));
    } else {
      state.elsewhere.Watch(active.transaction.definition->gid, std::move(waiter),
                            state.context.now);
    }
  }
  active.waiters.swap(others);
}

/// Answers everybody who still waits for something in memory, with the status that is durable: nothing goes on here.
inline void AnswerAll(TurnState& state, const std::string& why) {
  const auto not_stored = [&](const auto& what) {
    return Made<StoreError>(
        [&] { return std::string(what()) + ": its last change could not be stored: " + why; });
  };
  const auto refuse = [&](std::vector<Command> commands) {
    for (Command& command : commands) {
      command.waiter.Refuse(not_stored([&] { return "gid '" + command.gid + "'"; }));
    }
  };
  for (Submission& submission : std::exchange(state.to_collect.resubmit, {})) {
    submission.waiter.Refuse(NotTaken(state, submission.definition->gid, why));
  }
  refuse(std::exchange(state.to_collect.reissue, {}));
  state.table.ForEach([&](ActiveTransaction& active) {
    const std::string& gid = active.transaction.definition->gid;
    for (Waiter& waiter : std::exchange(active.waiters, {})) {
      TurnState::Protected([&] {
        // With events a conflict has left it to be advanced again.
        const bool as_stored = !active.dirty && active.events.empty();
        if (as_stored) return waiter.GiveStatusOf(active.transaction);
        if (active.Fresh()) return waiter.Refuse(NotTaken(state, gid, why));
        AnswerAsStored(state, waiter, gid, why);
      });
    }
    refuse(std::exchange(active.commands, {}));
  });
  for (QueuedWork& work : std::exchange(state.to_commit.works, {})) {
    work.promise.Keep({{}, not_stored([] { return "the work"; })});
  }
}

inline std::exception_ptr StoreFailing(const TurnState& state, const std::string& what) {
  return Made<StoreError>([&] {
    return what + ", the store is failing: " + state.health.Problem() + "; try again later";
  });
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/commands/commands.hpp -----------------------------------------------------

/// Commands on transactions that exist: cancel, force stop, retry, skip, register a branch, finish.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
/// Protocol: §2.2, §2.3, §2.4 (registration), §4.5 (the end of a workflow).

namespace dtm {
inline namespace v1 {

class Commands {
 public:
  explicit Commands(TurnState& state) : state_(state), questions_(state) {}

  void Do(Command& command) {
    if (command.kind == Command::Kind::kRegistered) return OnRegistered(command.gid);
    try {
      switch (command.kind) {
        case Command::Kind::kExplain: questions_.Explain(command); break;
        case Command::Kind::kListWaiting: questions_.ListWaiting(command); break;
        case Command::Kind::kLook: Look(command); break;
        default:
          if (command.asked == 0 || state_.store.Shared()->TakeUp(command.asked)) Obey(command);
      }
    } catch (const std::bad_alloc&) {
      throw;
    } catch (...) {  // a store that the program supplies may throw anything
      command.waiter.Refuse(std::current_exception());
    }
  }

 private:
  void Obey(Command& command) {
    ActiveTransaction* active = state_.table.Find(command.gid);
    if (active == nullptr) {
      std::optional<Transaction> stored = state_.store.Load(command.gid);
      if (!stored) refusals::RefuseUnknown(command.kind, command.gid);
      CheckType(command, *stored);
      if (IsFinal(stored->status)) {
        const bool again =
            command.kind == Command::Kind::kFinish && command.status == stored->status;
        if (command.kind != Command::Kind::kWait && !again)
          refusals::RefuseEnded(command.kind, *stored);
        return command.waiter.Give(ResultOf(*stored));
      }
      if (!state_.MayDrive(*stored) && command.kind != Command::Kind::kForceStop) {
        return AskOther(command, *stored);
      }
      if (WatchesPrepared(command, *stored)) return Watch(command);
      CheckStoreFor(command);  // what came into memory would be driven here, whoever drives it
      active = &state_.Bring(std::move(*stored));
    }
    CheckType(command, active->transaction);
    if (WatchesPrepared(command, active->transaction)) return Watch(command);
    if (command.wait_result == WaitResult::kCounts &&
        active->transaction.definition->options.wait_result) {
      command.waiter.WaitForResult(state_.context.now);
      command.waiter.ongoing_is_error = true;
    }
    CheckStoreFor(command);
    if (command.kind != Command::Kind::kWait) {
      const std::size_t before = active->events.size();
      const std::string refused = Change(*active, command);
      if (!refused.empty()) {
        // It may be the submit of a prepared one, whose record is in the store.
        if (active->Fresh()) return state_.to_collect.reissue.push_back(std::move(command));
        refusals::Refuse(command.kind, active->transaction, refused);
      }
      if (active->events.size() > before) state_.Link(*active, command.waiter);
    }
    if (!active->Fresh()) {
      if (state_.IsShared() && command.kind != Command::Kind::kWait) {
        command.waiter.again = [this,
                                what = static_cast<const Instruction&>(command)](Waiter&& waiter) {
          state_.to_collect.reissue.push_back({what, std::move(waiter)});
        };
      }
      return state_.AddWaiter(*active, std::move(command.waiter));
    }
    // The gid may turn out to be stored already; the command is then for the stored record.
    active->commands.push_back(std::move(command));
  }

  /// Returns why it was refused, or nothing.
  std::string Change(ActiveTransaction& active, const Command& command) {
    switch (command.kind) {
      case Command::Kind::kAddBranch: return AddBranch(active, command);
      case Command::Kind::kSkip: return Skip(active, command);
      default: return state_.Advance(active, EventOf(command));
    }
  }

  /// @throws StoreError  it would change something, and nothing can be written now.
  void CheckStoreFor(const Command& command) const {
    if (command.kind == Command::Kind::kWait || state_.MayUseStore()) return;
    std::rethrow_exception(StoreFailing(state_, "gid '" + command.gid + "' was not changed"));
  }

  /// In a shared store any coordinator may submit it, so its end may come elsewhere.
  bool WatchesPrepared(const Command& command, const Transaction& transaction) const {
    return state_.IsShared() && command.kind == Command::Kind::kWait &&
           transaction.status == Status::kPrepared && transaction.version > 0;
  }
  void Watch(Command& command) {
    state_.elsewhere.Watch(command.gid, std::move(command.waiter), state_.context.now);
  }

  /// Another coordinator drives it.
  void AskOther(Command& command, const Transaction& stored) {
    switch (command.kind) {
      case Command::Kind::kWait: return Watch(command);
      case Command::Kind::kCancel:
      case Command::Kind::kRetryNow:
      case Command::Kind::kSkip:
        if (command.asked != 0) return state_.store.Shared()->Reply(command.asked, {});
        return state_.elsewhere.Ask(std::move(command), state_.context.now);
      default:
        if (!stored.other_app) throw RejectedError(refusals::NotPrepared(command.gid));
        throw RejectedError("gid '" + command.gid +
                            "' was not changed: it calls functions that only programs of another "
                            "app have; ask a coordinator of that app (Explain names it)");
    }
  }

  /// If it has been written elsewhere, the next commit finds the conflict.
  void Look(Command& command) {
    ActiveTransaction* active = state_.table.Find(command.gid);
    if (active != nullptr && !active->dirty) {
      MakeRoom(state_.to_commit.dirty);
      state_.to_commit.dirty.push_back(active);
      active->dirty = true;
    }
    command.waiter.Give({});
  }

  static engine::Event EventOf(const Command& command) {
    const bool failed = command.status == Status::kFailed;
    const Result result{failed ? Result::Kind::kFailure : Result::Kind::kSuccess, command.reason};
    switch (command.kind) {
      case Command::Kind::kCancel: return {engine::EventKind::kCancel, 0, result, {}, command.who};
      case Command::Kind::kForceStop:
        return {engine::EventKind::kForceStop, 0, result, {}, command.who};
      case Command::Kind::kFinish: return {engine::EventKind::kFinish, 0, result, command.data};
      default: return {engine::EventKind::kRetryNow, 0, result, {}, command.who};
    }
  }

  static void CheckType(const Command& command, const Transaction& stored) {
    if (!command.type || stored.unreadable || *command.type == stored.definition->type) return;
    throw RejectedError("gid '" + command.gid + "' is a " + Name(stored.definition->type) +
                        ", not a " + Name(*command.type) + "; nothing was changed");
  }

  /// Registers a branch, while the transaction is prepared. The same branch again is accepted.
  std::string AddBranch(ActiveTransaction& active, const Command& command) {
    const Definition& definition = *active.transaction.definition;
    if (active.Fresh()) return "it is not stored yet";  // and the command is issued again
    if (active.transaction.unreadable) return active.transaction.last_error;
    if (!RegistersSteps(definition.type)) {
      return std::string("no branches are registered with a ") + Name(definition.type);
    }
    if (active.transaction.status != Status::kPrepared)
      throw RejectedError(refusals::NotPrepared(command.gid));
    const Step& step = command.step;
    for (const Step& old : definition.steps) {
      if (old.branch_id != step.branch_id || old.op != step.op) continue;
      const bool same = old.action == step.action && old.compensate == step.compensate &&
                        old.payload == step.payload && old.failed == step.failed &&
                        old.topic == step.topic;
      return same ? std::string()
                  : "branch " + step.branch_id + " is registered already, otherwise";
    }
    const std::string problem = AddedStepProblem(definition, step);
    if (!problem.empty()) throw RejectedError(problem);
    const bool recorded = definition.type == TransType::kWorkflow;
    const std::size_t added = definition.steps.size();
    const std::size_t row = recorded ? DeliveryOf(added) : ActionOf(added);
    state_.MakeReady(active);
    state_.table.AddStep(active, step);
    return state_.Advance(active, {engine::EventKind::kBranchAdded, row, {}});
  }

  std::string Skip(ActiveTransaction& active, const Command& command) {
    const Transaction& transaction = active.transaction;
    if (active.Fresh()) return "it is not stored yet";  // and the command is issued again
    if (transaction.unreadable) return transaction.last_error;
    const Step& branch = command.step;
    const auto row = RowOf(*transaction.definition, branch.branch_id, branch.op);
    if (!row) {
      throw BadInput("gid '" + command.gid + "' was not changed: it has no branch " +
                     Printable(branch.branch_id) + " " + Name(branch.op) +
                     "; query shows its branches");
    }
    const Result why{Result::Kind::kSuccess, command.reason};
    return state_.Advance(active, {engine::EventKind::kRepair, *row, why, {}, command.who});
  }

  /// Wakes what waits for this function.
  void OnRegistered(const std::string& url) {
    state_.table.ForEach([&](ActiveTransaction& active) {
      const Transaction& transaction = active.transaction;
      for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
        const Branch& branch = transaction.branches[i];
        if (!branch.in_flight && branch.status == BranchStatus::kPrepared &&
            branch.next_try > state_.context.now && UrlOf(*transaction.definition, i) == url) {
          state_.Advance(active, {engine::EventKind::kRegistered, i, {}});
        }
      }
    });
  }

  TurnState& state_;
  Questions questions_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/collect_stage.hpp ----------------------------------------------------

/// The first two stages of a turn: take what arrived, and advance the transactions it concerns.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
/// Protocol: §2.3 (what a repeat means), with the differences of docs/differences.md.

namespace dtm {
inline namespace v1 {

class CollectStage {
 public:
  CollectStage(TurnState& state, Inbox& inbox) : state_(state), inbox_(inbox), commands_(state) {}

  /// Returns whether anything had arrived or was due.
  bool Run() {
    mail_.ended.swap(state_.to_collect.ended);
    inbox_.Take(mail_);
    bool something = !mail_.Empty() || state_.SomethingLeftOver();
    std::vector<std::pair<std::string, engine::EventKind>> again;
    again.swap(state_.to_collect.readvance);
    for (const auto& entry : again) {
      if (ActiveTransaction* active = state_.table.Find(entry.first))
        AdvanceAgain(*active, entry.second);
    }
    TakeResults();
    obeyed_ = 0;
    if (!state_.to_collect.resubmit.empty() || !state_.to_collect.reissue.empty()) TakeAgain();
    TakeSubmissions();
    for (Command& command : mail_.commands) DoOrRefuse(command);
    for (QueuedWork& work : mail_.works) OrInDoubt([&] { OnWork(work); });
    mail_.Clear();
    while (ActiveTransaction* active = state_.timers.TakeDue(state_.context.now)) {
      active->armed = kNever;
      ForSure([&] { OnTimer(*active); });
      something = true;
    }
    return something;
  }

  /// True if something could not be done for lack of memory; asking resets it.
  bool Incomplete() { return std::exchange(incomplete_, false); }

 private:
  void TakeResults() {
    using Arrived = const ArrivedResult&;
    VisitAhead(
        mail_.results,
        [this](Arrived arrived) { state_.table.PrefetchAt(arrived.call.slot, PrefetchActive); },
        [this](Arrived arrived) { state_.table.PrefetchAt(arrived.call.slot, PrefetchParts); },
        [this](ArrivedResult& arrived) { OnResult(arrived); });
  }

  void TakeAgain() {
    for (Submission& submission : std::exchange(state_.to_collect.resubmit, {}))
      DoOrRefuse(submission);
    for (Command& command : std::exchange(state_.to_collect.reissue, {})) DoOrRefuse(command);
  }

  void TakeSubmissions() {
    VisitAhead(
        mail_.submissions,
        [](const Submission& soon) {
          Prefetch<LinesOf(sizeof(Definition))>(soon.definition.get());
        },
        [](const Submission& soon) {
          Prefetch<1>(soon.definition->gid.data());
          Prefetch<LinesOf(2 * sizeof(Step))>(soon.definition->steps.data());
        },
        [this](Submission& submission) { DoOrRefuse(submission); });
  }

  void DoOrRefuse(Submission& submission) {
    OrInDoubt([&] { OnSubmission(submission); });
    ActiveTransaction* active =
        incomplete_ ? state_.table.Find(submission.definition->gid) : nullptr;
    if (active != nullptr && active->Fresh() && !active->dirty) state_.RemoveFresh(*active);
  }
  /// A command may have to load its transaction: without room one command is obeyed in a turn, the others in later ones.
  void DoOrRefuse(Command& command) {
    OrInDoubt([&] {
      const bool full = state_.room.Overfull() && state_.health.MayTry(state_.context.now);
      const bool loads = command.waiter.promise.Open() && !command.explained && !command.listed;
      const bool next_turn = full && obeyed_++ > 0 && loads;
      next_turn ? state_.to_collect.reissue.push_back(std::move(command)) : commands_.Do(command);
    });
  }

  /// Without memory the item is dropped, which answers it (in doubt), and the turn goes on with the others.
  template <typename Function>
  void OrInDoubt(const Function& function) {
    try {
      function();
    } catch (const std::bad_alloc&) {
      incomplete_ = true;
    }
  }

  /// For what must not be lost, see Inbox::Done: without memory it changes nothing, and is tried again.
  template <typename Function>
  void ForSure(const Function& function) {
    for (;;) {
      try {
        return function();
      } catch (const std::bad_alloc&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }

  void OnResult(ArrivedResult& arrived) {
    state_.reports.spans.End(arrived.call, arrived.result, state_.context.now);
    ActiveTransaction* active = state_.table.At(arrived.call.slot, arrived.call.generation);
    if (active == nullptr) return;  // it has ended meanwhile, and its gid may have been given again
    if (MayWaitForLease(*active, arrived)) {
      return ForSure([&] { WaitForLease(*active, arrived.call.row); });
    }
    engine::Event event{engine::EventKind::kResult, arrived.call.row, std::move(arrived.result)};
    try {
      state_.Advance(*active, std::move(event));
    } catch (const std::bad_alloc&) {  // it will come again
      inbox_.Done(std::move(arrived.call), std::move(event.result));
    }
  }

  /// It did not begin, is still wanted, and at least half of the time that was stored for it is left.
  bool MayWaitForLease(const ActiveTransaction& active, const ArrivedResult& arrived) const {
    const Transaction& transaction = active.transaction;
    const std::size_t row = arrived.call.row;
    if (!arrived.result.at_once || row >= transaction.branches.size()) return false;
    const Branch& branch = transaction.branches[row];
    if (!branch.in_flight || !HasItsTurn(transaction, row)) return false;
    if (branch.deadline == Time{}) return true;  // a function ends with its process
    const TransOptions& options = transaction.definition->options;
    const Duration half = IsLocal(arrived.call.Url())
                              ? state_.context.function_limit / 2
                              : engine::RequestTimeout(options, state_.context);
    return branch.deadline - state_.context.now > half;
  }

  /// Without a commit: a lease runs out when the store is slow, and a commit for each call would make it slower.
  void WaitForLease(ActiveTransaction& active, std::size_t row) {
    state_.Touch(active);
    const auto told =
        active.held_calls.begin() + static_cast<std::ptrdiff_t>(active.journaled_calls);
    active.held_calls.insert(told, row);
    ++active.journaled_calls;  // that it began was told with its commit
  }

  void OnTimer(ActiveTransaction& active) {
    if (active.timer <= state_.context.now)
      state_.Advance(active, {engine::EventKind::kTimer, 0, {}});
    state_.Touch(active);  // the time of a waiter may be over
    if (!state_.health.Good() || state_.health.WaitsForLock()) {
      AnswerExpired(active);
      state_.ArmWaiters(active);
    }
  }

  /// Its record may have been replaced by the stored one: then its events are applied again. They come first, since time has
  /// passed: what was decided before a deadline is not undone by it.
  void AdvanceAgain(ActiveTransaction& active, engine::EventKind kind) {
    for (AppliedEvent& event : std::exchange(active.events, {})) ApplyAgain(active, event);
    ForSure([&] {
      state_.AdvanceIfRoom(active, kind,
                           kind != engine::EventKind::kLoaded || !state_.room.Overfull());
    });
  }

  void ApplyAgain(ActiveTransaction& active, AppliedEvent& event) {
    const std::uint64_t ask = event.ask;
    const engine::EventKind kind = event.kind;
    std::string refused;
    ForSure([&] { refused = state_.Advance(active, std::move(event)); });
    if (ask == 0) return;
    if (refused.empty()) {
      active.events.back().ask = ask;  // it may have to be applied once more
      return;
    }
    const auto asked = std::stable_partition(active.waiters.begin(), active.waiters.end(),
                                             [&](const Waiter& each) { return each.ask != ask; });
    for (auto waiter = asked; waiter != active.waiters.end(); ++waiter) {
      waiter->Refuse(refusals::OfEvent(kind, active.transaction, refused));
    }
    active.waiters.erase(asked, active.waiters.end());
  }

  /// While nothing can be released, nobody waits longer than asked: the answer is the stored status, or an error for
  /// those who wait for a change.
  void AnswerExpired(ActiveTransaction& active) {
    const std::string& gid = active.transaction.definition->gid;
    const auto expired = std::stable_partition(
        active.waiters.begin(), active.waiters.end(),
        [this](const Waiter& waiter) { return waiter.deadline > state_.context.now; });
    for (auto waiter = expired; waiter != active.waiters.end(); ++waiter) {
      AnswerAsStored(state_, *waiter, gid,
                     "the store cannot be written: " + state_.health.Problem());
    }
    active.waiters.erase(expired, active.waiters.end());
  }

  void OnSubmission(Submission& submission) {
    const std::string& gid = submission.definition->gid;
    submission.waiter.submits = !submission.prepare;
    if (!state_.MayUseStore())
      return NotTaken(submission, "the store is failing: " + state_.health.Problem());
    if (ActiveTransaction* active = state_.table.Find(gid))
      return OnResubmitted(*active, submission);
    std::exception_ptr refused;
    try {
      refused = ProblemOfNew(*submission.definition);
    } catch (const StoreError& error) {  // it cannot be read now; what came with it goes on
      return NotTaken(submission, error.what());
    }
    if (refused) return submission.waiter.Refuse(refused);
    const bool full = state_.room.Full();
    Transaction transaction;
    transaction.definition = submission.definition;
    ActiveTransaction& active = state_.table.Add(std::move(transaction), submission.bytes);
    state_.AddWaiter(active, std::move(submission.waiter));
    state_.AdvanceIfRoom(
        active, submission.prepare ? engine::EventKind::kPrepared : engine::EventKind::kSubmitted,
        !full);
  }

  void NotTaken(Submission& submission, const std::string& why) {
    submission.waiter.Refuse(dtm::NotTaken(state_, submission.definition->gid, why));
  }

  /// @throws StoreError
  std::exception_ptr ProblemOfNew(const Definition& definition) const {
    try {
      topics::CheckNew(definition);
      return nullptr;
    } catch (const RejectedError&) {
      return state_.store.Load(definition.gid) ? nullptr : std::current_exception();
    }
  }

  void OnResubmitted(ActiveTransaction& active, Submission& submission) {
    if (active.Fresh()) return OnSubmittedTwiceInATurn(active, submission);
    const engine::Resubmission resubmission =
        engine::OnResubmission(active.transaction, *submission.definition, submission.prepare);
    std::string refused = resubmission.refused;
    if (resubmission.kind == engine::Resubmission::Kind::kPromote) {
      Definition merged = engine::Promoted(*active.transaction.definition, *submission.definition);
      refused = Problem(merged);
      if (refused.empty()) refused = OrdersProblem(merged);
      if (refused.empty()) {
        state_.MakeReady(active);
        state_.table.Redefine(active, std::move(merged));
        state_.AdvanceIfRoom(active, engine::EventKind::kSubmitted, !state_.room.Overfull());
      }
    }
    if (!refused.empty()) return submission.waiter.Refuse(TurnState::Rejected(refused));
    if (state_.IsShared()) {
      const auto again = [this, definition = submission.definition,
                          prepare = submission.prepare](Waiter&& waiter) {
        state_.to_collect.resubmit.push_back({definition, std::move(waiter), prepare});
      };
      submission.waiter.again = again;
    }
    state_.AddWaiter(active, std::move(submission.waiter));
  }

  /// A transaction that is not committed yet decides nothing: its gid may turn out to be stored, or it may not
  /// become durable.
  void OnSubmittedTwiceInATurn(ActiveTransaction& active, Submission& submission) {
    const Definition& first = *active.transaction.definition;
    const bool same =
        first.prepared_first == submission.prepare && SameContent(first, *submission.definition);
    if (same) return state_.AddWaiter(active, std::move(submission.waiter));
    state_.to_collect.resubmit.push_back(std::move(submission));
  }

  void OnWork(QueuedWork& work) {
    if (!state_.MayUseStore()) {
      return work.promise.Keep({{}, StoreFailing(state_, "the work was not run")});
    }
    state_.to_commit.works.push_back(std::move(work));
  }

  TurnState& state_;
  Inbox& inbox_;
  Commands commands_;
  Mail mail_;
  bool incomplete_ = false;
  std::size_t obeyed_ = 0;  // commands, in this turn
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/hooks/event_feed.hpp ------------------------------------------------------

/// Which events are durable: those of a batch are told once its commit is known to be stored.
/// Needs: std. Threads: the thread that drives the loop.
///
/// An event is told once, whatever becomes of its commit: those of a batch that was rolled back come again with the next
/// one, and those of a commit in doubt wait in Doubts. If another coordinator has gone on with the transaction by then, the
/// events of that commit are not told, since it cannot be known any more whether it was stored.

namespace dtm {
inline namespace v1 {

class EventFeed {
 public:
  using Events = std::vector<std::shared_ptr<const Event>>;

  /// `durable`: gets the events of what is stored, and outlives it. `spans`: see TraceIdOf.
  EventFeed(Events& durable, bool spans) : durable_(durable), spans_(spans) {}

  /// A batch begins; what the one before has not stored is forgotten.
  void Begin() {
    ends_.clear();
    events_.clear();
  }

  /// The next change of the batch, as it will be stored.
  void Add(const Transaction& transaction, const std::vector<JournalEntry>& entries) {
    for (const JournalEntry& entry : entries) {
      events_.push_back(std::make_shared<const Event>(EventOf(transaction, entry, spans_)));
    }
    ends_.push_back(events_.size());
    durable_.reserve(durable_.size() + events_.size());
  }

  /// The commit took the n-th change of the batch. Throws nothing.
  void Stored(std::size_t n) noexcept { Take(n, durable_); }

  /// Of the n-th change of a batch whose commit is in doubt.
  Events OfDoubt(std::size_t n) {
    Events events;
    Take(n, events);
    return events;
  }

 private:
  void Take(std::size_t n, Events& to) {
    if (n >= ends_.size()) return;
    for (std::size_t i = n == 0 ? 0 : ends_[n - 1]; i < ends_[n]; ++i) {
      to.push_back(std::move(events_[i]));
    }
  }

  std::vector<std::size_t> ends_;  // of the events of each change
  Events events_;                  // of all of them
  Events& durable_;
  const bool spans_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/conflicts.hpp --------------------------------------------------------

/// What a commit left out, since the store holds another version: the stored record wins.
/// Needs: std, engine, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Conflicts {
 public:
  explicit Conflicts(TurnState& state) : state_(state) {}

  /// A new transaction whose gid is stored already: the same submission again, or other content.
  void OnGidExists(ActiveTransaction& active) {
    std::optional<Transaction> stored;
    try {
      stored = state_.store.Load(active.transaction.definition->gid);
      if (!stored) return RefuseFresh(state_, active, "it was removed at this moment");
    } catch (...) {
      return RefuseFresh(state_, active, WhatWasThrown());
    }
    const std::shared_ptr<const Definition> definition = active.transaction.definition;
    const bool prepare = active.transaction.status == Status::kPrepared;
    std::vector<Waiter> waiters = std::move(active.waiters);
    std::vector<Command> commands = std::move(active.commands);
    try {
      std::move(commands.begin(), commands.end(), std::back_inserter(state_.to_collect.reissue));
      const bool goes_on = !IsFinal(stored->status) && state_.MayDrive(*stored);
      state_.Replace(active, std::move(*stored));
      if (goes_on) return Return(definition, waiters, prepare);
      const engine::Resubmission resubmission =
          engine::OnResubmission(*stored, *definition, prepare);
      if (resubmission.kind != engine::Resubmission::Kind::kRefuse) {
        for (Waiter& waiter : waiters) AnswerOrWatch(*stored, waiter);
        return;
      }
      for (Waiter& waiter : waiters) waiter.Refuse(TurnState::Rejected(resubmission.refused));
    } catch (const std::bad_alloc&) {  // those without an answer are told that it is in doubt
      const ActiveTransaction* still = state_.table.Find(definition->gid);
      if (still == &active && active.Fresh()) state_.RemoveFresh(active);
    }
  }

  /// If it cannot be read now, the same conflict comes back with the next commit. Returns why, or nothing.
  std::string OnConflictOrLater(ActiveTransaction& active) {
    try {
      OnConflict(active);
      return {};
    } catch (...) {
      active.dirty = true;
      state_.to_commit.dirty.push_back(&active);
      return WhatWasThrown();
    }
  }

 private:
  /// Of one that is not driven here.
  void AnswerOrWatch(const Transaction& stored, Waiter& waiter) {
    if (waiter.when == AnswerWhen::kStored || IsFinal(stored.status)) {
      return waiter.Give(ResultOf(stored));
    }
    state_.elsewhere.Watch(stored.definition->gid, std::move(waiter), state_.context.now);
  }

  /// For the next turn, before those that came later.
  void Return(const std::shared_ptr<const Definition>& definition, std::vector<Waiter>& waiters,
              bool prepare) {
    if (waiters.empty()) waiters.emplace_back();  // nobody wants the answer
    std::vector<Submission> returned;
    returned.reserve(waiters.size() + state_.to_collect.resubmit.size());
    for (Waiter& waiter : waiters) returned.push_back({definition, std::move(waiter), prepare});
    std::move(state_.to_collect.resubmit.begin(), state_.to_collect.resubmit.end(),
              std::back_inserter(returned));
    state_.to_collect.resubmit.swap(returned);
  }

  /// The stored record is not the one that this change was made from, so it takes the place of ours. Calls that were held
  /// back are dropped; calls that have left stay in flight.
  void OnConflict(ActiveTransaction& active) {
    for (const std::size_t call : active.held_calls)
      active.transaction.branches[call].in_flight = false;
    active.held_calls.clear();
    active.journaled_events = active.journaled_calls = 0;
    std::optional<Transaction> stored = state_.store.Load(active.transaction.definition->gid);
    if (!stored) {
      state_.reports.news.Vanished(active.transaction, state_.context.now);
      const auto gone = Made<StoreError>([&] {
        return "gid '" + active.transaction.definition->gid + "' has vanished from the store";
      });
      for (Waiter& waiter : active.waiters) waiter.Refuse(gone);
      return state_.RemoveFresh(active);
    }
    if (stored->owner != state_.store.Owner() || !IsOurs(active, *stored)) {
      return Leave(active, *stored);
    }
    state_.to_collect.readvance.emplace_back(active.transaction.definition->gid,
                                             engine::EventKind::kTimer);
    // Rows that were registered since are added; rows that are lost are not, and it gets stuck.
    const bool whole = stored->branches.size() == RowCount(*stored->definition);
    stored->definition = active.transaction.definition;
    active.redefined = active.redefined || active.new_steps > 0;  // some of them may be stored
    if (whole) AddMissingRows(*stored);
    for (std::size_t i = 0; i < stored->branches.size(); ++i) {
      if (i >= active.transaction.branches.size()) continue;
      const Branch& known = active.transaction.branches[i];
      stored->branches[i].previous_deadline =
          known.previous_deadline;  // which the store cannot tell
      // What runs inside a commit is never out: it is called again if it is still wanted.
      stored->branches[i].in_flight =
          known.in_flight && !RunsInTransaction(UrlOf(*stored->definition, i));
    }
    KeepEvents(active, *stored);
    active.rolled_back = false;
    active.transaction = std::move(*stored);
    active.stored_due = active.transaction.due;
    state_.Untouch(active);  // nothing of it is released before it was advanced again
  }

  /// Nobody else has written it since. What another one has written cannot be joined with our definition, and may be
  /// here again: its author died.
  bool IsOurs(const ActiveTransaction& active, const Transaction& stored) const {
    if (state_.store.Owner() == 0) return true;
    return stored.version == Known(active) || IsOfCommitInDoubt(active, stored);
  }

  static std::uint64_t Known(const ActiveTransaction& active) {
    return active.transaction.version & ~kNoVersion;
  }

  /// The commit in doubt, with the first of our events, did become durable. Of a record that another coordinator owned before,
  /// the next version may be that of our takeover just as well.
  bool IsOfCommitInDoubt(const ActiveTransaction& active, const Transaction& stored) const {
    return active.doubtful_events > 0 && stored.version == Known(active) + 1 &&
           active.transaction.owner == state_.store.Owner();
  }

  /// Several commits may have been in doubt, one after the other, each with more events; at most one of them was stored. Which
  /// one, the time of the record says, since each was made at a later time.
  std::size_t StoredEvents(const ActiveTransaction& active, const Transaction& stored) const {
    if (!IsOfCommitInDoubt(active, stored)) return 0;
    const auto later = [&stored](const AppliedEvent& event) { return event.at > stored.updated; };
    const auto end = active.events.begin() + static_cast<std::ptrdiff_t>(active.doubtful_events);
    return static_cast<std::size_t>(std::find_if(active.events.begin(), end, later) -
                                    active.events.begin());
  }

  /// Another coordinator has taken it over. Its change may have been made before that, in a commit that was in doubt.
  void Leave(ActiveTransaction& active, const Transaction& stored) {
    const std::string gid = active.transaction.definition->gid;
    std::vector<Waiter> waiters = std::move(active.waiters);
    state_.RemoveFresh(active);
    if (stored.owner == state_.store.Owner()) state_.loader.LeaveBehind(state_.context.now);
    for (Waiter& waiter : waiters) {
      if (waiter.again) {
        std::exchange(waiter.again, nullptr)(std::move(waiter));
        continue;
      }
      if (waiter.when != AnswerWhen::kStored) {
        AnswerOrWatch(stored, waiter);
        continue;
      }
      AnswerAsStored(state_, waiter, gid, "another coordinator has changed it");
    }
  }

  /// The events since the stored record are applied again, on top of it: results (their calls count as in flight until
  /// then) and commands. If a commit in doubt did become durable, the record has the first of them already.
  void KeepEvents(ActiveTransaction& active, Transaction& stored) {
    const std::size_t stored_events = StoredEvents(active, stored);
    const auto first = active.events.begin();
    const auto end = first + static_cast<std::ptrdiff_t>(stored_events);
    for (auto event = first; event != end; ++event) {
      state_.reports.Report(active.transaction, *event);
    }
    active.events.erase(first, end);
    active.doubtful_events = 0;
    using engine::EventKind;
    const auto over = [](const AppliedEvent& event) {  // the time is looked at in any case
      return event.kind == EventKind::kLoaded || event.kind == EventKind::kTimer || event.refused;
    };
    active.events.erase(std::remove_if(active.events.begin(), active.events.end(), over),
                        active.events.end());
    for (const engine::Event& event : active.events) {
      const bool has_result =
          event.kind == EventKind::kResult && event.row < stored.branches.size();
      if (has_result) stored.branches[event.row].in_flight = true;
    }
  }

  TurnState& state_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/in_commit_work.hpp ---------------------------------------------------

/// User code that runs inside a commit: Transact, and branches registered with RegisterInTransaction. Its writes, the
/// effects of its result and everything else in the turn become durable together.
/// Needs: std, engine, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class InCommitWork {
 public:
  static constexpr std::size_t kPerTurn = 256;

  /// A call that is a span: to be told once it is durable.
  struct EndedCall {
    BranchCall call;
    Result result;
    Time at{};
  };

  InCommitWork(TurnState& state, TransactionFunctions& functions, Clock& clock)
      : state_(state), functions_(functions), clock_(clock) {}

  bool Pending() const { return TransactsLeft() || BranchesLeft(); }
  /// How many ran in the open batch.
  std::size_t Ran() const { return transacts_ + branches_.size(); }

  /// Takes the branches that run inside a commit out of the calls that were to start after it.
  void TakeCalls() {
    ForEachActive(state_.to_release.touched,
                  [this](ActiveTransaction& active) { TakeCallsOf(active); });
  }

  /// Runs at most `limit` of them inside the open batch, and no more once it takes long.
  /// @throws BatchLost, StoreError  then Undo.
  void Run(std::size_t limit) {
    const Time end = clock_.Now() + kTimePerTurn;
    branch_was_next_ = branch_next_;
    added_bytes_ = 0;
    for (std::size_t n = 0; n < limit && Pending(); ++n) {
      if (n > 0 && (clock_.Now() >= end || added_bytes_ > InboxBytes(state_.options))) return;
      const bool branch = BranchIsNext();
      branch_next_ = !branch;
      branch ? RunBranch() : RunTransact();
    }
  }

  /// The calls of `active` that ran in the open batch and are spans.
  std::vector<EndedCall> EndedCallsOf(const ActiveTransaction& active) const {
    std::vector<EndedCall> calls;
    for (const Branch& ran : branches_) {
      if (IsOf(ran.work, active) && ran.ended.call.span) calls.push_back(ran.ended);
    }
    return calls;
  }
  /// How many events `active` had before something of it ran in the open batch.
  std::size_t EventsBefore(const ActiveTransaction& active) const {
    const auto first = std::find_if(branches_.begin(), branches_.end(),
                                    [&](const Branch& ran) { return IsOf(ran.work, active); });
    return first == branches_.end() ? active.events.size() : first->events;
  }

  /// The batch is lost: memory returns to its earlier state, and all works in it have to run again.
  void Undo() {
    branch_next_ = branch_was_next_;
    for (auto ran = branches_.rbegin(); ran != branches_.rend(); ++ran) {
      ActiveTransaction* active = Alive(ran->work);
      if (active != nullptr) {
        active->transaction = std::move(ran->before);
        active->rolled_back = active->rolled_back && ran->rolled_back;
        active->events.resize((std::min)(active->events.size(), ran->events));
        active->doubtful_events = (std::min)(active->doubtful_events, active->events.size());
        active->timer = ran->timer;
        active->held_calls = std::move(ran->held_calls);
      }
    }
    branches_.clear();
    transacts_ = 0;
    // Calls that followed from what is undone.
    auto& works = state_.to_commit.branch_works;
    const auto unwanted = [this](const BranchWork& work) { return !Wanted(work); };
    works.erase(std::remove_if(works.begin(), works.end(), unwanted), works.end());
    for (ActiveTransaction* active : added_) state_.RemoveFresh(*active);
    added_.clear();
  }

  /// Refuses the first one.
  void GiveUpFirst(const std::exception_ptr& error, const std::string& problem) {
    if (Pending() && !BranchIsNext()) {
      AnswerWork({{}, error});
    } else if (!state_.to_commit.branch_works.empty()) {
      AdvanceBranch(state_.to_commit.branch_works.front(), Result::Error(problem));
      state_.to_commit.branch_works.pop_front();
    }
  }

  /// The batch is not stored. All who wait for a work are told, whether it ran in this batch or not: as with
  /// submissions, nobody waits until the store works again.
  void Failed(const std::string& problem, bool in_doubt) {
    const std::size_t ran = transacts_;
    Undo();
    const auto sentence = [&](const char* what, const char* then) {
      return std::string("the work ") + what + problem + then;
    };
    for (std::size_t n = 0; !state_.to_commit.works.empty(); ++n) {
      AnswerWork({{},
                  n >= ran   ? Made<StoreError>([&] {
                    return sentence("was not run, the store is failing: ", "; try again later");
                  })
                  : in_doubt ? Made<InDoubtError>([&] {
                      return sentence("may or may not be stored: ", "; submit it again");
                    })
                             : Made<StoreError>([&] {
                                 return sentence("was not stored: ", "; submit it again later");
                               })});
    }
  }

  /// All of it is durable.
  void Committed() {
    if (Ran() == 0) return;
    state_.to_commit.branch_works.erase(state_.to_commit.branch_works.begin(), FirstLeft());
    for (const Branch& ran : branches_) {
      state_.reports.spans.End(ran.ended.call, ran.ended.result, ran.ended.at);
    }
    branches_.clear();
    added_.clear();
    for (; transacts_ > 0; --transacts_) AnswerWork({});
  }

 private:
  static constexpr Duration kTimePerTurn = std::chrono::milliseconds(5);
  static constexpr Duration kSlow = std::chrono::milliseconds(50);

  struct Branch {
    BranchWork work;
    Transaction before;
    std::vector<std::size_t> held_calls;
    std::size_t events = 0;
    Time timer = kNever;
    bool rolled_back = false;
    EndedCall ended{};
  };

  void TakeCallsOf(ActiveTransaction& active) {
    const Definition& definition = *active.transaction.definition;
    const auto others = std::stable_partition(
        active.held_calls.begin(), active.held_calls.end(),
        [&](std::size_t row) { return !RunsInTransaction(UrlOf(definition, row)); });
    for (auto row = others; row != active.held_calls.end();) {
      state_.to_commit.branch_works.push_back({active.slot, active.generation, *row});
      row = active.held_calls.erase(row);
    }
  }

  static bool IsOf(const BranchWork& work, const ActiveTransaction& active) {
    return work.slot == active.slot && work.generation == active.generation;
  }

  /// The two kinds take turns, so that a steady flow of one does not starve the other.
  bool BranchIsNext() const { return !TransactsLeft() || (branch_next_ && BranchesLeft()); }
  bool TransactsLeft() const { return state_.to_commit.works.size() > transacts_; }
  bool BranchesLeft() const { return state_.to_commit.branch_works.size() > branches_.size(); }

  /// The first one of the queue.
  void AnswerWork(const Answer& reply) {
    QueuedWork work = std::move(state_.to_commit.works.front());
    state_.to_commit.works.pop_front();
    work.promise.Keep(reply);
  }

  ActiveTransaction* Alive(const BranchWork& work) {
    return state_.table.At(work.slot, work.generation);
  }

  std::deque<BranchWork>::iterator FirstLeft() {
    return state_.to_commit.branch_works.begin() + static_cast<std::ptrdiff_t>(branches_.size());
  }

  /// It is still wanted: it was not stopped, and has no result from a commit that had been in doubt.
  bool Wanted(const BranchWork& work) {
    const ActiveTransaction* active = Alive(work);
    return active != nullptr && work.row < active->transaction.branches.size() &&
           active->transaction.branches[work.row].in_flight;
  }

  void RunBranch() {
    const BranchWork work = *FirstLeft();
    ActiveTransaction* active = Alive(work);
    // A new one may turn out to exist; then the stored one counts, and nothing of this may run.
    if (!Wanted(work) || (active->Fresh() && !active->surely_new &&
                          state_.store.Has(active->transaction.definition->gid))) {
      state_.to_commit.branch_works.erase(FirstLeft());
      return;
    }
    if (!state_.context.may_call) {
      AdvanceBranch(work, Result::NotSent("the coordinator was stopping"));
      state_.to_commit.branch_works.erase(FirstLeft());
      return;
    }
    active->surely_new = true;
    branches_.push_back({work, active->transaction, active->held_calls, active->events.size(),
                         active->timer, active->rolled_back});
    BranchCall call;
    call.definition = active->transaction.definition;
    call.row = work.row;
    const Time begin = clock_.Now();
    call.span = state_.reports.spans.Begin(active->transaction, work.row, begin);
    Result result = state_.store.Run(
        [&](const WorkContext& connection) { return functions_.Run(call, connection); });
    WarnIfSlow(begin, call.Url());
    if (call.span != nullptr) branches_.back().ended = {call, result, clock_.Now()};
    AdvanceBranch(work, std::move(result));
  }

  void AdvanceBranch(const BranchWork& work, Result result) {
    ActiveTransaction* active = Alive(work);
    if (active == nullptr) return;
    state_.Advance(*active, {engine::EventKind::kResult, work.row, std::move(result)});
    TakeCallsOf(*active);
  }

  void RunTransact() {
    QueuedWork& work = state_.to_commit.works[transacts_++];
    TransactContext context;
    context.exists = [this](const std::string& gid) {
      return state_.table.Find(gid) != nullptr || state_.store.Has(gid);
    };
    const Time begin = clock_.Now();
    *work.result = state_.store.Run([&](const WorkContext& connection) {
      context.connection = connection;
      context.submitted.clear();
      return work.work(context);
    });
    WarnIfSlow(begin, "Transact");
    if (work.result->kind != Result::Kind::kSuccess) return;
    for (const auto& definition : context.submitted) {
      Transaction transaction;
      transaction.definition = definition;
      const bool room = !state_.room.Full();
      ActiveTransaction& active = state_.table.Add(std::move(transaction));
      active.surely_new = true;
      added_.push_back(&active);
      added_bytes_ += active.bytes;
      state_.AdvanceIfRoom(active, engine::EventKind::kSubmitted, room);
      TakeCallsOf(active);
    }
  }

  void WarnIfSlow(Time begin, const std::string& what) const {
    const Duration took = clock_.Now() - begin;
    if (took <= kSlow) return;
    state_.Log(LogLevel::kWarning,
               what + " took " + std::to_string(took.count() / 1000) +
                   " ms inside a commit, and everything else waited; do less in there");
  }

  TurnState& state_;
  TransactionFunctions& functions_;
  Clock& clock_;
  // What ran in the open batch stays at the front of its queue until that is durable.
  std::size_t transacts_ = 0;
  std::vector<Branch> branches_;
  std::vector<ActiveTransaction*> added_;  // submitted by them
  std::size_t added_bytes_ = 0;
  bool branch_next_ = false;      // if both kinds wait
  bool branch_was_next_ = false;  // before what ran in the open batch
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/journal_entries.hpp --------------------------------------------------

/// What the journal is told of a change: the events that led to it, what was decided on them, and the calls that start
/// once it is durable.
/// Needs: std, engine, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class JournalEntries {
 public:
  /// Appends to `out` what no commit has told of `active` yet, in the form that stores keep. `me`: the name of this process.
  static void Tell(const ActiveTransaction& active, Time now, std::string_view me,
                   std::string& out) {
    JournalEntries(active, now, me, out);
  }

 private:
  JournalEntries(const ActiveTransaction& active, Time now, std::string_view me, std::string& out)
      : transaction_(active.transaction), me_(me), writer_(out) {
    bool taken_up = false;
    for (std::size_t i = active.journaled_events; i < active.events.size(); ++i) {
      const AppliedEvent& event = active.events[i];
      if (!event.changed) continue;
      // Once a change, also if this coordinator joined again before it was stored.
      if (event.taken_up && !std::exchange(taken_up, true))
        AddDriver(event.at, JournalKind::kTakenUp);
      AddEvent(event);
    }
    if (!IsFinal(transaction_.status)) {
      for (std::size_t i = active.journaled_calls; i < active.held_calls.size(); ++i) {
        Add(now, JournalKind::kStarted, active.held_calls[i]);
      }
    }
    writer_.End();
  }

  void AddEvent(const AppliedEvent& event) {
    if (event.from_outbox) AddDriver(transaction_.created, JournalKind::kSubmitted);
    switch (event.kind) {
      case engine::EventKind::kSubmitted: AddDriver(event.at, JournalKind::kSubmitted); break;
      case engine::EventKind::kPrepared: AddDriver(event.at, JournalKind::kPrepared); break;
      case engine::EventKind::kBranchAdded: AddBranch(event); break;
      case engine::EventKind::kResult: AddResult(event); break;
      case engine::EventKind::kFinish:
        Add(event.at, JournalKind::kFinish, kNoRow, event.result.text);
        break;
      case engine::EventKind::kCancel: AddAsked(event, JournalKind::kCancel); break;
      case engine::EventKind::kForceStop: AddAsked(event, JournalKind::kForceStop); break;
      case engine::EventKind::kRetryNow: AddAsked(event, JournalKind::kRetryNow); break;
      case engine::EventKind::kRepair: AddAsked(event, JournalKind::kRepair, event.row); break;
      case engine::EventKind::kLoaded:
      case engine::EventKind::kTimer:
      case engine::EventKind::kRegistered: break;  // what follows from them is told
    }
    if (event.rolled_back) {
      const std::size_t from = transaction_.reason_from;
      Add(event.at, JournalKind::kRollback, from == 0 ? kNoRow : from - 1, transaction_.reason);
    }
    if (event.stuck) Add(event.at, JournalKind::kStuck, kNoRow, transaction_.last_error);
    if (!event.ended) return;
    const bool failed = transaction_.status == Status::kFailed;
    Add(event.at, failed ? JournalKind::kFailed : JournalKind::kSucceeded);
  }

  /// From now on this process drives it.
  void AddDriver(Time at, JournalKind kind) { writer_.Tell(at, kind, kNoRow, {}, {}, me_); }

  /// What somebody asked for.
  void AddAsked(const AppliedEvent& event, JournalKind kind, std::size_t row = kNoRow) {
    if (event.refused) return;
    Add(event.at, kind, row, event.result.text, Front(event.who, kMaxJournalWho));
  }

  void AddBranch(const AppliedEvent& event) {
    const Definition& definition = *transaction_.definition;
    const bool known = event.row < RowCount(definition);
    const bool failed = known && definition.steps[StepOf(definition.type, event.row)].failed;
    Add(event.at, JournalKind::kRegistered, event.row,
        failed ? std::string_view(PayloadOf(definition, event.row)) : std::string_view());
  }

  void AddResult(const AppliedEvent& event) {
    const Result& result = event.result;
    switch (result.kind) {
      case Result::Kind::kSuccess: return Add(event.at, JournalKind::kSuccess, event.row);
      case Result::Kind::kFailure:
        return Add(event.at, JournalKind::kFailure, event.row, result.text);
      case Result::Kind::kOngoing:
        return Add(event.at, JournalKind::kOngoing, event.row, result.text);
      case Result::Kind::kError: return Add(event.at, JournalKind::kError, event.row, result.text);
      case Result::Kind::kNotSent:
        return Add(event.at, JournalKind::kNotSent, event.row, result.text);
    }
  }

  void Add(Time at, JournalKind kind, std::size_t row = kNoRow, std::string_view text = {},
           std::string_view who = {}) {
    const Definition& definition = *transaction_.definition;
    const bool branch = row != kNoRow && row < RowCount(definition);
    writer_.Tell(at, kind, row, branch ? OpOf(definition, row) : Op{}, Front(text, kMaxJournalText),
                 who);
  }

  const Transaction& transaction_;
  const std::string_view me_;
  codec::JournalWriter writer_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/retention.hpp --------------------------------------------------------

/// Removes finished transactions after their time, in small steps that share a commit with others.
/// Needs: std, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Retention {
 public:
  /// Both count from the end of a transaction; gids that would go before their records are not kept.
  Retention(Duration keep_finished, Duration keep_gids)
      : keep_finished_(keep_finished), keep_gids_((std::max)(keep_gids, keep_finished)) {}

  Time NextTime() const { return (std::min)(next_, next_gids_); }

  /// One step inside the open batch. Returns a sentence to log about records that could not be removed; each once.
  std::string RemoveSome(Store& store, Time now) {
    std::string problem;
    if (next_ <= now) {
      try {
        position_ = store.Expire(Before(now, keep_finished_), position_, kRowsPerStep,
                                 keep_gids_ > keep_finished_);
      } catch (const NotAllExpired& error) {
        position_ = error.next;
        if (told_ != error.what()) problem = told_ = error.what();
      }
      next_ = now + (position_ == 0 ? Pause(keep_finished_, kLongestPause) : kBetweenSteps);
    }
    if (next_gids_ <= now) {
      gid_ = store.ForgetGids(Before(now, keep_gids_), gid_, kGidsPerStep);
      next_gids_ = now + (gid_.empty() ? Pause(keep_gids_, kLongestPauseOfGids) : kBetweenSteps);
    }
    return problem;
  }

  /// The step was lost with its batch.
  void Failed(Time now) { next_ = next_gids_ = now + kShortestPause; }

 private:
  static constexpr std::size_t kRowsPerStep = 256;
  static constexpr std::size_t kGidsPerStep = 1024;  // most are only looked at
  static constexpr Duration kBetweenSteps = std::chrono::milliseconds(5);
  static constexpr Duration kShortestPause = std::chrono::seconds(1);
  static constexpr Duration kLongestPause = std::chrono::minutes(10);
  static constexpr Duration kLongestPauseOfGids =
      std::chrono::hours(24);  // a pass walks all of them

  /// After a pass the next one waits for a fraction of the time for which records are kept.
  static Duration Pause(Duration keep, Duration longest) {
    return (std::min)((std::max)(keep / 100, kShortestPause), longest);
  }

  static Time Before(Time now, Duration keep) {
    return keep >= now.time_since_epoch() ? Time{} : now - keep;
  }

  const Duration keep_finished_, keep_gids_;
  Time next_{}, next_gids_{};
  std::int64_t position_ = 0;
  std::string gid_;
  std::string told_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/hooks/doubts.hpp ----------------------------------------------------------

/// What could not be told since its commit was in doubt: it is told once the store says that the commit was stored.
/// Needs: std, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

/// Tells the record that a change makes from those that others have made with the same gid and version: an earlier run, another
/// coordinator on the store, or this one, of an earlier submission.
struct RecordMark {
  /// `changed`: as it will be stored.
  explicit RecordMark(const Transaction& changed)
      : version(changed.version + 1),
        created(changed.created),
        driver(changed.driver),
        status(changed.status) {}

  bool IsOf(const Transaction& stored) const {
    return stored.version == version && stored.created == created && stored.driver == driver &&
           stored.status == status && !stored.expired;
  }

  std::uint64_t version = 0;
  Time created{};
  std::uint64_t driver = 0;
  Status status{};
};

class Doubts {
 public:
  /// Gets the record as it is stored. If it throws, it has told nothing, and is called again.
  using Tell = std::function<void(const Transaction& stored)>;

  /// A change of a commit in doubt, and what is told if it was stored.
  void Add(const Transaction& changed, Tell tell) {
    const std::string& gid = changed.definition->gid;
    const RecordMark mark(changed);
    const auto stored = stored_.find(gid);
    if (stored != stored_.end() && stored->second == mark.version) return;
    doubts_.push_back({gid, mark, std::move(tell)});
  }

  /// The store can be asked again what it has.
  /// @throws StoreError  then it is asked again for the rest.
  void Settle(Store& store) {
    while (!doubts_.empty()) {
      const Doubt& next = doubts_.front();
      const std::optional<Transaction> stored = store.Load(next.gid);
      if (stored && next.mark.IsOf(*stored)) {
        stored_[next.gid] = next.mark.version;
        next.tell(*stored);
      }
      doubts_.pop_front();
    }
  }

  /// A commit worked: no commit is in doubt any more.
  void Committed() noexcept { stored_.clear(); }

 private:
  struct Doubt {
    std::string gid;
    RecordMark mark;
    Tell tell;
  };

  std::deque<Doubt> doubts_;
  /// Versions of records that an earlier commit in doubt has stored: a later one cannot have stored them again.
  std::map<std::string, std::uint64_t> stored_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/untold.hpp -----------------------------------------------------------

/// What a commit in doubt has left untold. What goes on in memory tells it later by itself; the rest is here: events, and what
/// has left memory or was undone there.
/// Needs: std, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Untold {
 public:
  explicit Untold(TurnState& state) : state_(state) {}

  /// The commit of these changes is in doubt, each of the transaction in the same place of `dirty`. Comes before anything in
  /// memory is undone.
  void Keep(const std::vector<Change>& changes, const std::vector<ActiveTransaction*>& dirty,
            EventFeed& feed, const InCommitWork& works) {
    for (std::size_t n = 0; n < changes.size(); ++n) {
      const ActiveTransaction& active = *dirty[n];
      const auto of = std::make_shared<OfChange>();
      of->events = feed.OfDoubt(n);
      of->calls = works.EndedCallsOf(active);
      of->leaves = active.Fresh();
      of->rolled_back = active.rolled_back;
      // Those that stay in memory are reported with their conflict, see Conflicts.
      for (std::size_t i = of->leaves ? 0 : works.EventsBefore(active); i < active.events.size();
           ++i) {
        if (Reports::HasNews(active.events[i])) of->reported.push_back(active.events[i]);
      }
      const bool ends = of->leaves && IsFinal(active.transaction.status);
      if (of->events.empty() && of->calls.empty() && of->reported.empty() && !ends) continue;
      doubts_.Add(active.transaction, [this, of](const Transaction& stored) { Tell(*of, stored); });
    }
  }

  /// @throws StoreError  see Doubts.
  void Settle(Store& store) { doubts_.Settle(store); }
  void Committed() noexcept { doubts_.Committed(); }

 private:
  /// Of one change.
  struct OfChange {
    EventFeed::Events events;
    std::vector<InCommitWork::EndedCall> calls;
    std::vector<AppliedEvent> reported;
    bool leaves = false;
    bool rolled_back = false;
  };

  void Tell(const OfChange& of, const Transaction& stored) {
    EventFeed::Events& events = state_.to_release.events;
    events.insert(events.end(), of.events.begin(), of.events.end());
    for (const auto& ended : of.calls) {
      state_.reports.spans.End(ended.call, ended.result, ended.at);
    }
    TurnState::Protected([&] {
      for (const AppliedEvent& event : of.reported) state_.reports.Report(stored, event);
      if (!of.leaves) return;
      if (of.rolled_back) state_.reports.news.RolledBack(stored, state_.context.now);
      state_.reports.ReportEnd(stored);
    });
  }

  TurnState& state_;
  Doubts doubts_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/commit_stage.hpp -----------------------------------------------------

/// The third stage of a turn: all changes in one commit of the store, and what to do if it fails.
/// Needs: std, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class CommitStage {
 public:
  CommitStage(TurnState& state, TransactionFunctions& functions, Clock& clock)
      : state_(state),
        clock_(clock),
        conflicts_(state),
        retention_(state.options.keep_finished, state.options.keep_gids),
        me_(Front(NodeOf(state.options).name, kMaxJournalWho)),
        in_commit_work_(state, functions, clock),
        untold_(state),
        feed_(state.to_release.events, state.options.on_span != nullptr) {}

  /// True: everything up to here is durable, and may be released.
  bool Run() {
    in_commit_work_.TakeCalls();
    const bool expire = retention_.NextTime() <= state_.context.now;
    const bool writes = !state_.to_commit.dirty.empty() || in_commit_work_.Pending();
    if (!writes && !expire && !state_.health.NeedsRecovery()) return true;
    try {
      const Time begin = clock_.Now();
      WriteWithWorks(expire);
      state_.reports.metrics.Committed(clock_.Now() - begin);
    } catch (const StoreBusy& error) {
      if (!state_.health.Locked(state_.context.now, error.what())) Failed(error.what(), false);
      return false;
    } catch (const Fenced& error) {
      LoseAll(error.what());
      return false;
    } catch (const CommitInDoubt& error) {
      Failed(error.what(), true);
      return false;
    } catch (...) {
      Failed(WhatWasThrown(), false);
      return false;
    }
    const std::string unread = Written();
    if (!unread.empty()) {
      CannotGoOn(unread);
      state_.health.Failed(state_.context.now, unread, false, false);
      return true;
    }
    const bool was_good = state_.health.Good();
    state_.health.Worked(writes);
    if (!was_good && state_.health.Good()) state_.Log(LogLevel::kInfo, "the store works again");
    RunOneAlone();
    return true;
  }

  /// Drops the batch. Submissions in it are refused; everything else is kept, and tried again.
  void Failed(const std::string& problem, bool in_doubt) {
    if (in_doubt) untold_.Keep(changes_, state_.to_commit.dirty, feed_, in_commit_work_);
    changes_.clear();
    state_.store.Rollback();
    const std::size_t ran = in_commit_work_.Ran();
    in_commit_work_.Failed(problem, in_doubt);
    CannotGoOn(problem);
    const bool writing = !state_.to_commit.dirty.empty() || ran > 0;
    retry_alone_ = (std::max)(retry_alone_, ran);  // one of them may be the reason
    state_.health.Failed(state_.context.now, problem, in_doubt, writing);
    retention_.Failed(state_.context.now);
    if (in_doubt) {
      state_.loader.Restart();
      state_.not_before = state_.context.now + Duration(1);
      for (ActiveTransaction* active : state_.to_commit.dirty) {
        active->doubtful_events = active->events.size();
        if (active->Fresh()) state_.to_commit.in_doubt.insert(active->transaction.definition->gid);
      }
    }
    // No new transaction goes on when its submitter was refused.
    for (std::size_t i = 0; i < state_.to_commit.dirty.size();) {
      ActiveTransaction& active = *state_.to_commit.dirty[i];
      active.Fresh() ? RefuseFresh(state_, active, problem) : (void)++i;
    }
    for (Submission& submission : std::exchange(state_.to_collect.resubmit, {})) {
      submission.waiter.Refuse(NotTaken(state_, submission.definition->gid, problem));
    }
    for (ActiveTransaction* active : state_.to_release.touched) state_.ArmWaiters(*active);
  }

  /// Other coordinators have taken over what this one owned. New transactions were not stored, and are refused; those who
  /// wait are told the stored status. Nothing that was decided since may leave, so memory is emptied and the store is
  /// recovered.
  void LoseAll(const std::string& problem) {
    state_.fenced = true;
    state_.store.Rollback();
    in_commit_work_.Failed(problem, false);
    TurnState::Protected([&] {
      state_.Log(LogLevel::kError, "other coordinators go on with what this one drove, " +
                                       std::to_string(state_.table.Count()) +
                                       " transactions in memory: " + problem);
    });
    state_.table.ForEach([this](ActiveTransaction& active) {
      if (!active.Fresh()) TurnState::Protected([&] { WatchAll(state_, active); });
    });
    AnswerAll(state_, problem);
    state_.DropAll();
    retry_alone_ = 0;
    state_.health.Failed(state_.context.now, problem, true, false);
    retention_.Failed(state_.context.now);
  }

  /// An exception ended the turn: undoes what ran in its batch, before the next turn takes what has arrived since.
  void BreakOff() noexcept {
    state_.store.Rollback();
    in_commit_work_.Undo();
  }

  Time NextRetention() const { return retention_.NextTime(); }

 private:
  /// If a work breaks the batch, everything else is written without works, and then each work gets a commit of its own.
  void WriteWithWorks(bool expire) {
    try {
      Write(expire, retry_alone_ > 0 ? 0 : InCommitWork::kPerTurn);
    } catch (const BatchLost&) {
      retry_alone_ = in_commit_work_.Ran();
      state_.store.Rollback();
      in_commit_work_.Undo();
      if (expire) retention_.Failed(state_.context.now);  // it may have been the reason
      Write(false, 0);
    }
  }

  void CannotGoOn(const std::string& problem) {
    if (!state_.health.Good() && state_.health.Problem() == problem) return;
    TurnState::Protected([&] {
      state_.Log(LogLevel::kError, "the store fails, nothing goes on until it works: " + problem);
    });
  }

  void RunOneAlone() {
    if (retry_alone_ == 0) return;
    --retry_alone_;
    if (!in_commit_work_.Pending()) return;
    try {
      Write(false, 1);
      (void)Written();  // what cannot be read is in the next commit again
    } catch (const StoreBusy&) {
      ++retry_alone_;  // it has not run
    } catch (const Fenced& error) {
      LoseAll(error.what());
    } catch (const CommitInDoubt& error) {
      Failed(error.what(), true);
    } catch (...) {
      const std::string problem = WhatWasThrown();
      state_.store.Rollback();
      in_commit_work_.Undo();
      in_commit_work_.GiveUpFirst(
          Made<StoreError>([&] { return "the work was not stored: " + problem; }), problem);
    }
  }

  void Write(bool expire, std::size_t works) {
    Store& store = state_.store;
    changes_.clear();
    if (!state_.health.Good() || state_.health.WaitsForLock()) {
      // Calls that were decided on before leave late, so their deadlines are later too.
      for (ActiveTransaction* active : state_.to_commit.dirty) {
        engine::MoveDeadlines(active->transaction, active->held_calls, state_.context);
      }
    }
    if (state_.health.NeedsRecovery()) {
      store.Recover();
      untold_.Settle(store);
      state_.fenced = false;
      state_.health.Recovered();
      state_.to_commit.in_doubt.clear();
    }
    store.Begin();
    in_commit_work_.Run(works);
    feed_.Begin();
    const std::vector<ActiveTransaction*>& dirty = state_.to_commit.dirty;
    for (ActiveTransaction* active : dirty) {
      if (active->Fresh()) active->transaction.id = 0;  // given by a batch that was lost
      const bool due_changed = active->transaction.due != active->stored_due;
      changes_.push_back(
          {&active->transaction, due_changed, active->redefined, false, active->new_steps});
    }
    if (TellsEntries(state_.options)) TellEntries();
    store.Apply(changes_);
    if (in_commit_work_.Ran() > 0) CheckAllApplied();
    if (expire) {
      const std::string problem = retention_.RemoveSome(store, state_.context.now);
      if (!problem.empty()) state_.Log(LogLevel::kError, problem);
    }
    store.Commit();
  }

  /// Those of all changes are in one text, which may move while it grows.
  void TellEntries() {
    const std::vector<ActiveTransaction*>& dirty = state_.to_commit.dirty;
    if (journals_.capacity() > kJournalBytesKept) journals_ = {};
    journals_.clear();
    journal_ends_.clear();
    for (const ActiveTransaction* active : dirty) {
      JournalEntries::Tell(*active, state_.context.now, me_, journals_);
      journal_ends_.push_back(journals_.size());
    }
    std::size_t begin = 0;
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      const std::string_view told =
          std::string_view(journals_).substr(begin, journal_ends_[i] - begin);
      begin = journal_ends_[i];
      if (state_.options.on_event) Feed(dirty[i]->transaction, told);
      if (state_.options.history == 0) continue;
      changes_[i].journal = told;
      changes_[i].history = state_.options.history;
    }
  }

  void Feed(const Transaction& transaction, std::string_view told) {
    std::vector<JournalEntry> entries;
    codec::DecodeJournal(told, entries);
    feed_.Add(transaction, entries);
  }

  /// What ran inside this batch was for these records: if one was changed meanwhile, the batch is lost.
  void CheckAllApplied() const {
    for (const Change& change : changes_) {
      if (!change.applied && change.transaction->version > 0) {
        throw BatchLost("gid '" + change.transaction->definition->gid + "' was changed meanwhile");
      }
    }
  }

  /// Marks as stored what the commit took, and settles the conflicts. Returns why a stored record could not be read, or
  /// nothing.
  std::string Written() {
    std::string unread;
    in_commit_work_.Committed();
    untold_.Committed();
    written_.clear();
    written_.swap(state_.to_commit.dirty);
    for (std::size_t i = 0; i < written_.size(); ++i) {
      if (i + kObjectsAhead < written_.size()) PrefetchActive(*written_[i + kObjectsAhead]);
      ActiveTransaction& active = *written_[i];
      active.dirty = false;
      if (changes_[i].applied) {
        ++active.transaction.version;
        // Who drove what is stopped has to be told, see Elsewhere::TellOwner.
        if (!IsFinal(active.transaction.status)) active.transaction.owner = state_.store.Owner();
        active.stored_due = active.transaction.due;
        active.redefined = false;
        active.new_steps = 0;
        active.doubtful_events = 0;
        active.journaled_events = active.events.size();
        active.journaled_calls = active.held_calls.size();
        feed_.Stored(i);
        for (Command& command : active.commands) {
          TurnState::Protected([&] { state_.AddWaiter(active, std::move(command.waiter)); });
        }
        active.commands.clear();
        for (Waiter& waiter : active.waiters) waiter.again = nullptr;
      } else if (active.Fresh()) {
        conflicts_.OnGidExists(active);
      } else {
        std::string problem = conflicts_.OnConflictOrLater(active);
        if (!problem.empty()) unread = std::move(problem);
      }
    }
    return unread;
  }

  TurnState& state_;
  Clock& clock_;
  Conflicts conflicts_;
  Retention retention_;
  std::vector<Change> changes_;
  static constexpr std::size_t kJournalBytesKept = std::size_t{1} << 20;
  const std::string me_;  // in journals
  std::string
      journals_;  // what is told of the changes, one after the other; a member for its memory
  std::vector<std::size_t> journal_ends_;    // the same
  std::vector<ActiveTransaction*> written_;  // a member for its memory
  InCommitWork in_commit_work_;
  Untold untold_;
  EventFeed feed_;
  std::size_t retry_alone_ =
      0;  // works that get a commit of their own, since a batch with them was lost
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/release_stage.hpp ----------------------------------------------------

/// The last stage of a turn: only now that their cause is durable, calls start, timers are armed
/// and callers are answered, and people are told what keeps failing.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class ReleaseStage {
 public:
  ReleaseStage(TurnState& state, Clock& clock, BranchCaller& functions, BranchCaller& urls,
               BranchResults& results, Hooks& hooks)
      : state_(state),
        clock_(clock),
        functions_(functions),
        urls_(urls),
        results_(results),
        hooks_(hooks) {}

  void Run() {
    released_.clear();
    released_.swap(state_.to_release.touched);
    lease_ = state_.store.OurLease();
    const bool may_call = lease_ == nullptr || lease_->Holds();
    if (!state_.to_commit.dirty.empty()) KeepUnsettled();
    local_calls_.reserve(released_.size());
    now_ = clock_.Now();
    if (may_call) {
      ForEachActive(released_, [this](ActiveTransaction& active) { TakeCalls(active); });
      StartCalls();
    }
    ForEachActive(released_, [this](ActiveTransaction& active) {
      Count(active);
      const bool grows =
          !active.events.empty() && active.events.back().kind == engine::EventKind::kBranchAdded;
      active.events.clear();
      active.journaled_events = 0;
      active.journaled_calls = active.held_calls.size();
      AnswerWaiters(active);
      ArmTimerOrLeave(active, grows);
      if (!active.held_calls.empty()) state_.Touch(active);  // until the lease holds
    });
    TellHooks();
  }

 private:
  void TellHooks() {
    ToRelease& told = state_.to_release;
    if (!told.alerts.empty()) hooks_.alerts.Tell(std::exchange(told.alerts, {}));
    if (!told.spans.empty()) hooks_.spans.Tell(std::exchange(told.spans, {}));
    if (!told.events.empty()) hooks_.events.Tell(std::exchange(told.events, {}));
  }

  /// A transaction that is dirty again has a conflict that is not settled yet; it waits for the next commit.
  void KeepUnsettled() {
    const auto settled =
        std::stable_partition(released_.begin(), released_.end(),
                              [](const ActiveTransaction* active) { return active->dirty; });
    state_.to_release.touched.assign(released_.begin(), settled);
    released_.erase(released_.begin(), settled);
  }

  void Count(ActiveTransaction& active) {
    const Transaction& transaction = active.transaction;
    if (active.rolled_back) state_.reports.news.RolledBack(transaction, state_.context.now);
    active.rolled_back = false;
    for (const AppliedEvent& event : active.events) {
      state_.reports.Report(transaction, event);
      if (event.kind == engine::EventKind::kForceStop) state_.elsewhere.TellOwner(transaction);
    }
    state_.reports.ReportEnd(transaction);
  }

  void TakeCalls(ActiveTransaction& active) {
    const Transaction& transaction = active.transaction;
    if (!IsFinal(transaction.status)) {
      // First, or some calls would be both taken and held when there is no memory for the others.
      for (auto* calls : {&local_calls_, &url_calls_}) {
        const std::size_t needed = calls->size() + active.held_calls.size();
        if (needed > calls->capacity()) calls->reserve(2 * needed);
      }
      for (const std::size_t row : active.held_calls) {
        BranchCall call;
        call.definition = transaction.definition;
        call.row = row;
        call.slot = active.slot;
        call.generation = active.generation;
        call.timeout = engine::RequestTimeout(transaction.definition->options, state_.context);
        call.lease = lease_;
        call.span = state_.reports.spans.Begin(transaction, row, now_);
        TakeCall(std::move(call), transaction.branches[row].deadline);
      }
    }
    active.held_calls.clear();
  }

  /// The stored deadline holds even if the commit took long or the call was held back, so it is told how late it is. With no
  /// time left after it was held back it is decided on again.
  void TakeCall(BranchCall call, Time deadline) {
    if (IsLocal(call.Url())) return local_calls_.push_back(std::move(call));
    call.late = (std::max)(now_ + 2 * call.timeout - deadline, Duration(0));
    if (lease_ != nullptr && call.late >= call.timeout) {
      return results_.Done(std::move(call), LeaseOver());
    }
    url_calls_.push_back(std::move(call));
  }

  /// The next deadlines allow for as long a commit.
  void StartCalls() {
    if (!local_calls_.empty()) functions_.Call(std::exchange(local_calls_, {}), results_);
    if (url_calls_.empty()) return;
    state_.context.lateness = 2 * (std::max)(now_ - state_.context.now, Duration(0));
    urls_.Call(std::exchange(url_calls_, {}), results_);
  }

  void AnswerWaiters(ActiveTransaction& active) {
    if (active.waiters.empty()) return;
    const Transaction& transaction = active.transaction;
    const bool ended = IsFinal(transaction.status);
    const bool settled = ended || transaction.stuck ||
                         (active.timer != kNever && !active.CallsOut() && !HeldBack(active));
    for (Waiter& waiter : active.waiters) {
      const bool now = ended || waiter.when == AnswerWhen::kStored || !state_.context.may_call ||
                       (settled && waiter.when == AnswerWhen::kSettled) ||
                       waiter.deadline <= state_.context.now;
      if (now && waiter.promise.Open()) waiter.GiveStatusOf(transaction);
    }
    const auto answered = [](const Waiter& waiter) { return !waiter.promise.Open(); };
    active.waiters.erase(std::remove_if(active.waiters.begin(), active.waiters.end(), answered),
                         active.waiters.end());
  }

  /// It is due, but was not allowed to start calls; its timer, if it has one, is for its timeout.
  bool HeldBack(const ActiveTransaction& active) const {
    return active.transaction.due <= state_.context.now;
  }

  /// `grows`: a step was just registered. More may follow soon, and to load all of them again for each would take longer
  /// and longer; so it stays in memory for a moment.
  void ArmTimerOrLeave(ActiveTransaction& active, bool grows) {
    const Transaction& transaction = active.transaction;
    if (IsFinal(transaction.status)) return state_.Remove(active);
    state_.ArmTimer(active);
    active.touched = false;
    if (active.CallsOut()) return;
    const bool prepared = transaction.status == Status::kPrepared && state_.IsShared();
    const bool waits = WaitsForPeople(active) || prepared;  // anybody may write what is prepared
    if (waits && grows && !prepared && !state_.room.HalfFull()) {
      return state_.ArmBefore(active, state_.context.now + kUntilNextStep);
    }
    const bool idle = (active.timer == kNever || HeldBack(active)) && !waits;
    const bool leave = waits || (idle ? state_.room.Full() : state_.room.HalfFull());
    if (active.waiters.empty() && leave) {
      state_.Remove(active);
    } else if (idle && state_.context.may_call) {
      state_.to_collect.readvance.emplace_back(transaction.definition->gid,
                                               engine::EventKind::kTimer);
    }
  }

  static constexpr Duration kUntilNextStep = std::chrono::seconds(1);

  TurnState& state_;
  Clock& clock_;
  BranchCaller& functions_;
  BranchCaller& urls_;
  BranchResults& results_;
  Hooks& hooks_;
  std::shared_ptr<const Lease> lease_;        // in this turn
  Time now_{};                                // when its commit was done
  std::vector<ActiveTransaction*> released_;  // in this turn; a member for its memory
  std::vector<BranchCall> local_calls_;
  std::vector<BranchCall> url_calls_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/sweep.hpp ------------------------------------------------------------

/// Looks now and then for transactions in memory that would never continue, and sets them going. There are none
/// unless a turn was broken off (no memory was left) or this library has a fault; the log says so.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Sweep {
 public:
  explicit Sweep(TurnState& state) : state_(state) {}

  /// At the end of each turn.
  void NowAndThen() {
    if (state_.context.now >= next_) Run();
  }

  void Run() {
    next_ = state_.context.now + kEvery;
    Complete(state_.to_commit.dirty, &ActiveTransaction::dirty);
    Complete(state_.to_release.touched, &ActiveTransaction::touched);
    QueueLostWorks();
    std::vector<ActiveTransaction*> lost;
    state_.table.ForEach([&](ActiveTransaction& active) {
      if (!GoesOn(active)) lost.push_back(&active);
    });
    for (ActiveTransaction* active : lost) SetGoing(*active);
  }

 private:
  static constexpr Duration kEvery = std::chrono::seconds(30);

  /// Restores a list that lacks transactions whose flag says that they are in it.
  void Complete(std::vector<ActiveTransaction*>& list, bool ActiveTransaction::*flag) {
    std::size_t flagged = 0;
    state_.table.ForEach([&](const ActiveTransaction& active) { flagged += active.*flag ? 1 : 0; });
    if (flagged == list.size()) return;
    std::vector<ActiveTransaction*> complete;
    state_.table.ForEach([&](ActiveTransaction& active) {
      if (active.*flag) complete.push_back(&active);
    });
    list.swap(complete);
  }

  /// Queues branches that run inside a commit, were called, and are in no queue.
  void QueueLostWorks() {
    std::set<std::pair<std::size_t, std::size_t>> queued;
    for (const BranchWork& work : state_.to_commit.branch_works)
      queued.emplace(work.slot, work.row);
    state_.table.ForEach([&](const ActiveTransaction& active) {
      const Transaction& transaction = active.transaction;
      for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
        if (!transaction.branches[i].in_flight ||
            !RunsInTransaction(UrlOf(*transaction.definition, i))) {
          continue;
        }
        const auto& held = active.held_calls;
        const bool waits = std::find(held.begin(), held.end(), i) != held.end() ||
                           queued.count({active.slot, i}) > 0;
        if (waits) continue;
        state_.to_commit.branch_works.push_back({active.slot, active.generation, i});
        Tell(active);
      }
    });
  }

  /// True if something will continue it: a commit, the release, a result, a timer, the next turn or a person.
  bool GoesOn(const ActiveTransaction& active) const {
    const Transaction& transaction = active.transaction;
    if (active.dirty) return true;
    if (active.Fresh()) return false;
    if (active.touched || active.armed != kNever || active.CallsOut()) return true;
    if (!active.waiters.empty() && WaitsForPeople(active)) return true;
    if (!state_.context.may_call && !IsFinal(transaction.status)) return true;  // after the restart
    return std::any_of(
        state_.to_collect.readvance.begin(), state_.to_collect.readvance.end(),
        [&](const auto& entry) { return entry.first == transaction.definition->gid; });
  }

  void SetGoing(ActiveTransaction& active) {
    Tell(active);
    if (!active.Fresh()) {
      // Perhaps it was lost before it was advanced for the first time; no call of it is running.
      state_.to_collect.readvance.emplace_back(active.transaction.definition->gid,
                                               engine::EventKind::kLoaded);
      return;
    }
    // Its turn was broken off before it was complete: it is not stored.
    RefuseFresh(state_, active, "a turn of the coordinator failed");
  }

  void Tell(const ActiveTransaction& active) const {
    state_.reports.news.SetGoing(active.transaction, state_.context.now);
  }

  TurnState& state_;
  Time next_{};
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/recovery.hpp --------------------------------------------------------

/// Brings unfinished transactions back from the store while there is room, and tells people what was found there.
/// Needs: std, engine, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Recovery {
 public:
  explicit Recovery(TurnState& state) : state_(state) {}

  /// Loads unfinished transactions from the store, if there is room.
  /// @throws StoreError  they cannot be read.
  void Load() {
    if (state_.room.Full() || !state_.context.may_call) return;
    const Time now = state_.context.now;
    if (recovery_began_ == Time{}) recovery_began_ = now;
    std::vector<Transaction> page = state_.loader.NextPage(
        state_.store, now, !state_.room.HalfFull(), state_.room.Count(), state_.room.Bytes());
    try {
      for (Transaction& stored : page) Load(std::move(stored));
    } catch (...) {
      state_.loader.LeaveBehind(now);  // the rest of the page
      throw;
    }
    if (recovering_ && state_.loader.HasSeenAll()) {
      state_.reports.news.Recovered(recovered_, now - recovery_began_);
      recovering_ = false;
    }
  }

  /// Stored records that could not be read so far; 101 are that many or more.
  std::size_t Damaged() const { return damaged_.size(); }

 private:
  static constexpr std::size_t kDamagedNamed = 100;

  void Load(Transaction&& stored) {
    if (ActiveTransaction* known = state_.table.Find(stored.definition->gid)) {
      return CheckVersion(*known, stored);
    }
    if (stored.unreadable) LogDamaged(stored);
    if (stored.unreadable || stored.stuck) return;  // it waits for people, and takes no room
    state_.Bring(std::move(stored));
    ++recovered_;
  }

  /// If another coordinator has written it since, and has died: the next commit finds the conflict.
  void CheckVersion(ActiveTransaction& known, const Transaction& stored) {
    if (known.transaction.version == stored.version || known.dirty) return;
    MakeRoom(state_.to_commit.dirty);
    state_.to_commit.dirty.push_back(&known);
    known.dirty = true;
  }

  /// Logs each once, and only the first of many.
  void LogDamaged(const Transaction& stored) {
    if (damaged_.size() > kDamagedNamed || !damaged_.insert(stored.id).second) return;
    state_.Log(LogLevel::kError, damaged_.size() <= kDamagedNamed
                                     ? engine::Explain(stored, state_.context.now)
                                     : "more stored records are damaged; a query or Explain of "
                                       "each says so");
  }

  TurnState& state_;
  std::set<std::int64_t> damaged_;  // rows of which the log has told
  bool recovering_ = true;          // until all that a previous run left was found
  Time recovery_began_{};
  std::size_t recovered_ = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/loop.hpp -------------------------------------------------------------

/// The loop that owns all transaction state: collect, advance, commit, release.
/// Needs: std, engine, store. Threads: driven by one thread at a time; everything arrives through
/// the inbox. Rule: nothing leaves before its cause is durable (docs/architecture.md).

namespace dtm {
inline namespace v1 {

class Loop {
 public:
  Loop(Store& store, Clock& clock, Inbox& inbox, ProgramFunctions& functions, BranchCaller& urls,
       TransactionFunctions& transaction_functions, Hooks& hooks, const Options& options)
      : clock_(clock),
        functions_(functions),
        inbox_(inbox),
        state_(store, options),
        recovery_(state_),
        collect_(state_, inbox),
        commit_(state_, transaction_functions, clock),
        release_(state_, clock, functions, urls, inbox, hooks),
        sweep_(state_),
        peers_(store.Shared()) {
    state_.context.started = clock.Now();
    if (peers_ != nullptr) peers_->Introduce(NodeOf(options));
  }

  /// From the next turn on nothing is called any more, and nobody waits for an end; what is answered is still recorded.
  void StartNothingNew() {
    functions_.RefuseWaiting();
    state_.elsewhere.AnswerAll("the coordinator stops");
    if (!std::exchange(state_.context.may_call, false)) return;
    // Those who wait for an end are told now what the status is.
    state_.table.ForEach([this](ActiveTransaction& active) {
      if (!active.waiters.empty()) state_.Touch(active);
    });
  }

  /// One turn; returns whether anything had happened.
  bool Turn() {
    const TakenMail taken{inbox_};
    state_.context.now = (std::max)(clock_.Now(), state_.not_before);
    state_.reports.news.Flush(state_.context.now);
    if (broken_off_) {
      commit_.BreakOff();
      sweep_.Run();
    }
    broken_off_ = true;  // should it throw
    const bool something = Stages();
    sweep_.NowAndThen();
    broken_off_ = collect_.Incomplete();
    return something;
  }

  /// When the next turn has something to do, if nothing arrives.
  Time NextTurn() {
    gauges_.in_memory = state_.table.Count();
    gauges_.damaged = recovery_.Damaged();
    gauges_.store_fails = !state_.health.Good();
    const Time now = clock_.Now();
    const Time growth = functions_.Grow(now);
    const bool pending = !state_.to_commit.dirty.empty() || !state_.to_release.touched.empty() ||
                         !state_.to_commit.works.empty() ||
                         !state_.to_commit.branch_works.empty() || state_.SomethingLeftOver() ||
                         state_.health.NeedsRecovery();
    if (broken_off_) return now + kAfterBrokenTurn;
    Time next = pending ? now : (std::min)(state_.timers.Next(), commit_.NextRetention());
    if (!state_.room.Full() && state_.context.may_call) {
      next = (std::min)(next, state_.loader.NextPass());
    }
    next = (std::min)(next, state_.elsewhere.Next());
    if (HasNews()) next = now;
    const auto lease = state_.store.OurLease();
    if (lease != nullptr && !lease->Holds()) next = (std::max)(next, now + kAfterBrokenTurn);
    if (!state_.health.MayTry(now)) {  // but whose time is over is answered meanwhile
      next = (std::min)((std::max)(next, state_.health.NextTry()), state_.timers.Next());
    }
    return (std::min)({next, growth, state_.reports.news.NextFlush()});
  }

  /// The store has more to load, or to obey, than the last turn knew. Any thread.
  bool HasNews() const {
    return HasTakenOver() || (peers_ != nullptr && peers_->AskedTimes() != asked_times_);
  }

  Metrics::Snapshot Counted() const { return state_.reports.metrics.Get(); }
  const LoopGauges& Measured() const { return gauges_; }

  /// Branch calls that are out, or changes that no commit has taken yet.
  bool Busy() {
    bool busy = !state_.to_commit.dirty.empty() || !state_.to_commit.works.empty();
    state_.table.ForEach(
        [&busy](const ActiveTransaction& active) { busy = busy || active.CallsOut(); });
    return busy;
  }

  /// Answers everybody who still waits, with the status that is durable; for the end.
  void AnswerAll() {
    state_.reports.news.Flush(kNever);
    Mail never_read;  // the last turn was broken off
    inbox_.Take(never_read);
    dtm::AnswerAll(state_, "the coordinator stopped");
    state_.elsewhere.AnswerAll("the coordinator stopped");
  }

 private:
  bool Stages() {
    if (peers_ != nullptr) HearOthers();
    const bool something = collect_.Run();
    if (HasTakenOver()) {
      takeovers_ = state_.store.Takeovers();
      state_.loader.Restart();
    }
    if (!state_.health.MayTry(state_.context.now)) return something;
    try {
      if (!state_.health.NeedsRecovery()) recovery_.Load();
    } catch (const Fenced& error) {
      commit_.LoseAll(error.what());
      return something;
    } catch (...) {
      commit_.Failed(WhatWasThrown(), false);
      return something;
    }
    if (commit_.Run()) release_.Run();
    return something;
  }

  bool HasTakenOver() const { return state_.store.Takeovers() != takeovers_; }

  /// What other coordinators on the store have done or want.
  void HearOthers() {
    const std::uint64_t asked_times = peers_->AskedTimes();
    if (asked_times != asked_times_) {
      state_.elsewhere.Hear(state_.to_collect.reissue);
      for (const std::string& news : peers_->TakeNews()) state_.Log(LogLevel::kWarning, news);
      asked_times_ = asked_times;
    }
    state_.elsewhere.Look(state_.context.now, state_.to_collect.reissue);
  }

  static constexpr Duration kAfterBrokenTurn = std::chrono::milliseconds(10);

  struct TakenMail {
    Inbox& inbox;
    ~TakenMail() { inbox.DoneWithTaken(); }
  };

  Clock& clock_;
  ProgramFunctions& functions_;
  Inbox& inbox_;
  TurnState state_;
  Recovery recovery_;
  CollectStage collect_;
  CommitStage commit_;
  ReleaseStage release_;
  Sweep sweep_;
  bool broken_off_ = false;  // the last turn ended with an exception
  LoopGauges gauges_;
  Peers* const peers_;  // null: the store is not shared
  std::atomic<std::uint64_t> asked_times_{0};
  std::atomic<std::uint64_t> takeovers_{0};  // of the store, as far as they are known here
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/url_callers.hpp ------------------------------------------------------

/// The callers of URLs, by scheme: Coordinator::Use adds one, and each call goes to the one for its URL. They also make a
/// call for an initiator that waits for its result.
/// Needs: std. Threads: thread-safe; Stop comes once, and after the last Use.

namespace dtm {
inline namespace v1 {

class UrlCallers final : public BranchCaller {
 public:
  static constexpr const char* kLocalScheme = "local";  ///< of functions that are not registered

  /// @throws LogicError  there is no caller, or one of its schemes has one.
  void Use(std::unique_ptr<BranchCaller> caller) {
    if (caller == nullptr) throw LogicError("Use() was given no caller of branches");
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const std::string& scheme : caller->Schemes()) {
      if (by_scheme_.count(scheme) == 0) continue;
      throw LogicError("Use() comes once for each scheme, and " + scheme + ":// has its caller");
    }
    for (const std::string& scheme : caller->Schemes()) by_scheme_[scheme] = caller.get();
    callers_.push_back(std::move(caller));
  }

  /// True if there is a caller of functions.
  bool CallsFunctions() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return by_scheme_.count(kLocalScheme) > 0;
  }

  /// Empty, or why this can be the URL of no branch here. A program without HttpBranches takes http all the same: such calls
  /// wait until it runs with them.
  std::string Problem(const std::string& url) const {
    std::string problem = UrlProblem(url);
    return problem.empty() ? WithoutCaller(url) : problem;
  }

  /// Empty, or that nobody here calls this URL, which has no UrlProblem: it is not parsed again.
  std::string WithoutCaller(const std::string& url) const {
    if (url.empty() || IsLocal(url) || IsTopic(url) || IsHttp(SchemeOf(url))) return {};
    if (Find(url) != nullptr) return {};
    return "the branch URL \"" + Truncated(ShownUrl(url), 200) + "\": " + NobodyCalls(url);
  }

  /// The same for all URLs of a definition.
  std::string WithoutCaller(const Definition& definition) const {
    std::string problem = WithoutCaller(definition.query_prepared);
    if (definition.type == TransType::kWorkflow) return problem;  // its steps are called by nobody
    for (const Step& step : definition.steps) {
      if (problem.empty()) problem = WithoutCaller(step.action);
      if (problem.empty()) problem = WithoutCaller(step.compensate);
    }
    return problem;
  }

  void Call(std::vector<BranchCall> calls, BranchResults& results) override {
    while (!calls.empty()) {
      std::unique_lock<std::mutex> lock(mutex_);
      BranchCaller* const caller = Found(calls.front().Url());
      const auto with_it = [&](const BranchCall& call) { return Found(call.Url()) == caller; };
      auto others = std::find_if_not(calls.begin() + 1, calls.end(), with_it);  // mostly none
      others = std::stable_partition(others, calls.end(), with_it);
      lock.unlock();
      std::vector<BranchCall> rest(std::make_move_iterator(others),
                                   std::make_move_iterator(calls.end()));
      calls.erase(others, calls.end());
      if (caller != nullptr) {
        caller->Call(std::move(calls), results);
      } else {
        for (BranchCall& call : calls) {
          Result missing =
              Result::NoHandler(IfThereIsMemory([&] { return NobodyCalls(call.Url()); }));
          results.Done(std::move(call), std::move(missing));
        }
      }
      calls = std::move(rest);
    }
  }

  /// One call, for a thread that waits for its result. `drive` drives the coordinator meanwhile, and returns when to do so
  /// again.
  /// @throws LogicError  this program does not call such URLs.
  template <typename Drive>
  Result CallOnce(BranchCall call, Clock& clock, const Drive& drive) {
    BranchCaller* const caller = Find(call.Url());
    if (caller == nullptr) throw LogicError(NobodyCalls(call.Url()));
    One one;
    caller->Call({std::move(call)}, one);
    std::unique_lock<std::mutex> lock(one.mutex);
    // A caller that was stopped delivers no more results.
    while (!one.result && !stopped_) {
      lock.unlock();
      const Time next = drive();
      lock.lock();
      if (!one.result) clock.Wait(one.arrived, lock, (std::min)(next, clock.Now() + kLook));
    }
    return one.result ? std::move(*one.result) : Result::Error("the coordinator was stopped");
  }

  CallLoad Load() override {
    CallLoad all;
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& caller : callers_) {
      CallLoad load = caller->Load();
      all.in_flight += load.in_flight;
      all.waiting += load.waiting;
      std::move(load.hosts.begin(), load.hosts.end(), std::back_inserter(all.hosts));
    }
    return all;
  }

  void Stop() override {
    for (const auto& caller : callers_) caller->Stop();
    stopped_ = true;
  }

 private:
  static constexpr Duration kLook = std::chrono::milliseconds(20);

  struct One : BranchResults {
    void Done(BranchCall, Result told) override {
      const std::lock_guard<std::mutex> lock(mutex);
      result = std::move(told);
      arrived.notify_all();
    }
    std::mutex mutex;
    std::condition_variable arrived;
    std::optional<Result> result;
  };

  static bool IsHttp(const std::string& scheme) { return scheme == "http" || scheme == "https"; }

  static std::string NobodyCalls(const std::string& url) {
    const std::string scheme = SchemeOf(url);
    if (IsHttp(scheme)) {
      return "this program calls no URLs: include <dtm/http.hpp> and say "
             "Use(dtm::HttpBranches())";
    }
    return "this program calls no " + scheme +
           ":// URLs: include the header of a BranchCaller for them, and say Use() with it before "
           "Start(); or check the spelling";
  }

  /// Null: nobody calls it.
  BranchCaller* Find(const std::string& url) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Found(url);
  }
  /// With mutex_ held.
  BranchCaller* Found(const std::string& url) const {
    const auto found = by_scheme_.find(IsLocal(url) ? kLocalScheme : SchemeOf(url));
    return found == by_scheme_.end() ? nullptr : found->second;
  }

  mutable std::mutex mutex_;
  std::map<std::string, BranchCaller*> by_scheme_;
  std::vector<std::unique_ptr<BranchCaller>> callers_;
  std::atomic<bool> stopped_{false};
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/driver.hpp -----------------------------------------------------------

/// Who drives the loop: a thread of its own, or whoever calls Poll or waits for an answer.
/// Needs: std. Threads: thread-safe.

#include <future>

namespace dtm {
inline namespace v1 {

class Driver {
 public:
  Driver(std::unique_ptr<Store> store_in, std::unique_ptr<Clock> clock_in,
         const Options& options_in)
      : options(CheckedOptions(options_in)),
        store(std::move(store_in)),
        clock(clock_in ? std::move(clock_in) : ClockOf(*store)),
        inbox(options.max_waiting_submissions, InboxBytes(options), options.on_wake),
        functions(options.max_function_threads, options.max_threads_per_function),
        hooks(*clock, options),
        loop_(*store, *clock, inbox, functions, urls, transaction_functions, hooks, options) {
    store->OnSilence([this](const std::string& why) { TellSilence(why); });
    store->OnTakeover([this] { inbox.Interrupt(), inbox.WakeBefore(clock->Now()); });
  }

  /// See Coordinator::Use.
  void Use(std::unique_ptr<BranchCaller> caller) {
    CheckNotLoop();
    const std::lock_guard<std::mutex> lock(drive_mutex_);
    if (threaded_ || inbox.Closed()) throw LogicError("Use() comes before Start() and Stop()");
    urls.Use(std::move(caller));
    if (urls.CallsFunctions()) functions.ElseCall(urls);
  }

  /// See Coordinator::Start.
  void Start() {
    CheckNotLoop();
    const std::lock_guard<std::mutex> lock(drive_mutex_);
    if (threaded_ || inbox.Closed()) throw LogicError("Start() comes once, and before Stop()");
    functions.StartThreads();
    hooks.StartThreads();
    threaded_ = true;
    thread_ = std::thread([this] { ThreadMain(); });
    check_thread_ = std::thread([this] {
      try {
        const std::string damage = store->Check(stopping_);
        if (!damage.empty()) Log(LogLevel::kError, damage);
      } catch (...) {
        LogFailure(options, "looking for damage of the store failed: ");
      }
    });
  }

  bool HasThread() const { return threaded_; }
  /// One turn, and the functions and hooks it queued, on this thread. See Coordinator::Poll.
  Duration Poll() {
    CheckNotLoop();
    if (threaded_) throw LogicError("Poll() is for a coordinator that was not started");
    inbox.WokeUp();
    std::uint64_t turn = 0;
    const Time next = Drive(&turn);
    const Time now = clock->Now();
    const Time until = (std::min)(next, now + std::chrono::hours(1));
    if (until <= now || !inbox.FallAsleep(until)) return Duration(0);
    // Another's turn since ours may have set an earlier time; those that come now wake us when they go.
    return turns_ == turn ? until - now : Duration(0);
  }

  /// Calls `ask` with a callback, and returns what it gets. Drives the loop meanwhile if no thread does.
  /// @throws LogicError  called by the loop itself, which would wait for itself.
  TransResult WaitFor(callable::Ref<void(AnswerCallback)> ask) {
    CheckNotLoop();
    // Not a condition variable: to wake up with its mutex costs a further system call, to unlock it.
    // Shared, so that the answer, which may be an exception, lives as long as the callback.
    const auto promise = std::make_shared<std::promise<Answer>>();
    const std::shared_future<Answer> answer = promise->get_future().share();
    const bool driving = !threaded_;
    ask([this, promise, driving](const Answer& reply) {
      Answers::Fulfil(*promise, reply);
      if (driving) inbox.Interrupt();
    });
    inbox.EndBurst();  // or the loop would not be woken for it
    const auto answered = [&answer] {
      return answer.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    };
    Time next = kNever;
    while (!threaded_ && !answered()) {
      next = Drive();
      inbox.Wait(*clock, next, answered);
    }
    if (driving) inbox.WakeBefore(next);  // from now on this is for who polls
    return answer.get().Get();
  }

  /// One call by URL for somebody who waits for it.
  /// @throws LogicError  nobody calls such URLs.
  Result CallOnce(const InitiatorCall& direct, std::shared_ptr<const CallSpan> span) {
    Time next = kNever;
    BranchCall call = ToBranchCall(direct, options.server_url, options.request_timeout);
    call.span = std::move(span);
    Result result = urls.CallOnce(std::move(call), *clock, [&] {
      const bool driven = threaded_ || loop_thread_ == std::this_thread::get_id();
      return next = driven ? kNever : Drive();
    });
    if (next != kNever) inbox.WakeBefore(next);  // from now on this is for who polls
    return result;
  }

  /// See Coordinator::Stop. From here on no function begins; the next turn refuses the calls that wait.
  bool Stop(Time until) {
    CheckNotLoop();
    const std::lock_guard<std::mutex> one_at_a_time(stop_mutex_);
    if (stopped_) return hooks.Stop(until);
    {
      const std::lock_guard<std::mutex> lock(drive_mutex_);  // Start and Use came before, or refuse
      inbox.Close();
      stopping_ = true;
    }
    functions.BeginNothingNew();
    if (!WaitUntilQuiet(until) && functions.Running() > 0) return false;
    if (threaded_) {
      quit_ = true;
      inbox.Interrupt();
      if (thread_.joinable()) thread_.join();  // an earlier Stop may have come this far and failed
      if (check_thread_.joinable()) check_thread_.join();
    }
    urls.Stop();
    functions.Stop();
    const std::lock_guard<std::mutex> lock(drive_mutex_);  // others may wait, and drive
    loop_thread_ = std::this_thread::get_id();
    TurnOnce();  // results that came at the last moment
    loop_.AnswerAll();
    loop_thread_ = std::thread::id();
    stopped_ = true;
    store->Leave();
    return hooks.Stop(until);  // the last events too
  }

  Metrics::Snapshot Counted() const { return loop_.Counted(); }

  /// Reads the store, and waits for no turn of the loop.
  Gauges Measure() {
    Gauges gauges;
    gauges.time = clock->Now();
    MeasureStore(gauges, *store, gauges.time);
    const LoopGauges& loop = loop_.Measured();
    gauges.in_memory = loop.in_memory;
    gauges.damaged = loop.damaged;
    gauges.store_fails = loop.store_fails;
    gauges.functions = functions.Load();
    gauges.urls = urls.Load();
    gauges.hooks = hooks.Load();
    return gauges;
  }

  /// Stop for a destructor: waits as long as it takes.
  void StopForGood() {
    try {
      if (Stop(clock->Now() + std::chrono::seconds(1))) return;
      Log(LogLevel::kWarning,
          "the coordinator is destroyed while branch functions or hooks run; waiting for them");
      while (!Stop(clock->Now() + std::chrono::hours(1))) {
      }
    } catch (...) {
      LogFailure(options, "stopping the coordinator failed: ");
    }
  }

  /// @throws LogicError  called by the loop itself (a callback), which would wait for itself.
  void CheckNotLoop() const {
    if (loop_thread_ == std::this_thread::get_id()) {
      throw LogicError("a callback of the coordinator must not wait for it; use SubmitAsync there");
    }
  }

  void Log(LogLevel level, const std::string& text) const { LogTo(options, level, text); }

  const Options options;
  const std::unique_ptr<Store> store;
  const std::unique_ptr<Clock> clock;
  Inbox inbox;
  ProgramFunctions functions;
  UrlCallers urls;
  TransactionFunctions transaction_functions;
  Hooks hooks;

 private:
  void TellSilence(const std::string& why) noexcept {
    try {
      Log(why.empty() ? LogLevel::kInfo : LogLevel::kWarning,
          why.empty() ? "the other coordinators on the store hear this one again"
                      : "the other coordinators on the store cannot hear this one, and take over "
                        "from it soon; until they hear it again it calls nothing: " +
                            why);
    } catch (...) {  // NOLINT(bugprone-empty-catch): no memory for a line of the log
    }
  }

  /// `turn`: out, its number.
  Time Drive(std::uint64_t* turn = nullptr) {
    Time next;
    {
      const std::lock_guard<std::mutex> lock(drive_mutex_);
      ++turns_;
      if (turn != nullptr) *turn = turns_;
      if (threaded_) return clock->Now();  // started meanwhile
      if (stopped_) return kNever;         // everybody was answered
      loop_thread_ = std::this_thread::get_id();
      TurnOnce();
      loop_thread_ = std::thread::id();
      next = loop_.NextTurn();
    }
    // A branch that submits drives the loop as well, but runs no other function inside itself. A workflow that waits lets
    // branches run.
    if (!functions.OnBranchThread()) {
      functions.RunQueued();
      if (hooks.RunWaiting()) next = clock->Now();
    }
    return inbox.Empty() ? next : clock->Now();
  }

  void TurnOnce() {
    try {
      if (stopping_) {
        stop_noticed_ = true;
        loop_.StartNothingNew();
      }
      loop_.Turn();
    } catch (...) {  // out of memory, or a bug: go on
      LogFailure(options, "a turn of the coordinator failed: ");
    }
    if (stopping_) {
      const std::lock_guard<std::mutex> lock(quiet_mutex_);
      quiet_ = !loop_.Busy();
      quiet_changed_.notify_all();
      if (quiet_) inbox.Interrupt();  // without a thread Stop waits there
    }
  }

  void ThreadMain() {
    loop_thread_ = std::this_thread::get_id();
    while (!quit_) {
      TurnOnce();
      inbox.Wait(*clock, loop_.NextTurn(),
                 [this] { return quit_ || StopNoticed() || loop_.HasNews(); });
    }
    loop_thread_ = std::thread::id();
  }

  /// The first turn after Stop was called has to come at once.
  bool StopNoticed() { return stopping_ && !stop_noticed_; }

  bool WaitUntilQuiet(Time until) {
    inbox.Interrupt();
    if (!threaded_) {
      for (Time next = Drive(); !quiet_ && clock->Now() < until; next = Drive()) {
        inbox.Wait(*clock, (std::min)(next, until), [this] { return quiet_.load(); });
      }
      return quiet_;
    }
    std::unique_lock<std::mutex> lock(quiet_mutex_);
    while (!quiet_ && clock->Now() < until) clock->Wait(quiet_changed_, lock, until);
    return quiet_;
  }

  std::mutex drive_mutex_;  // without a thread: one caller drives at a time
  Loop loop_;
  std::atomic<std::uint64_t> turns_{0};  // without a thread
  std::thread thread_;
  std::thread check_thread_;  // looks for damage of the file, once
  std::atomic<std::thread::id> loop_thread_{std::thread::id()};
  std::atomic<bool> threaded_{false};
  std::atomic<bool> stopping_{false}, stop_noticed_{false};
  std::atomic<bool> quit_{false}, stopped_{false}, quiet_{false};
  std::mutex stop_mutex_;
  std::mutex quiet_mutex_;
  std::condition_variable quiet_changed_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/store_name.hpp ------------------------------------------------------------

/// A name for a store that no other has: it is made when it is first asked for, and stays in the store.
/// Needs: std. Threads: any. Format: docs/store_format.md.

namespace dtm {
inline namespace v1 {

namespace store_name {

inline constexpr const char kCategory[] = "coordinator";
inline constexpr const char kKey[] = "store";

}  // namespace store_name

/// Calls back once with the name (22 letters and digits) when it is durable, or with the error: at once, or on the loop's
/// thread.
/// @throws StoreError  the store cannot be read. BusyError: too much is waiting, or the coordinator was stopped. Then the
/// callback is not called.
inline void AskStoreName(
    Driver& driver, std::function<void(const std::string&, const std::exception_ptr&)> callback) {
  const KeyValuePage stored =
      driver.store->ScanValues(store_name::kCategory, store_name::kKey, 0, 1);
  if (!stored.values.empty()) return callback(stored.values[0].value, nullptr);
  const auto name = std::make_shared<std::string>();
  QueuedWork work;
  work.work = [&driver, name](TransactContext&) {
    const std::optional<KeyValue> now =
        driver.store->GetValue(store_name::kCategory, store_name::kKey);
    if (now) {
      *name = now->value;
      return Result::Success();
    }
    KeyValue value;
    value.category = store_name::kCategory;
    value.key = store_name::kKey;
    value.updated = driver.clock->Now();
    value.value = *name = GidGenerator().Make(value.updated);
    driver.store->PutValue(value);
    return Result::Success();
  };
  work.result = std::make_shared<Result>();
  work.promise = [name, result = work.result,
                  callback = std::move(callback)](const Answer& answer) {
    const bool failed = !answer.error && result->kind != Result::Kind::kSuccess;
    callback(*name, failed ? std::make_exception_ptr(StoreError(result->text)) : answer.error);
  };
  if (!driver.inbox.Push(std::move(work))) {
    throw BusyError("the name of the store: too much is waiting to be stored, or it was stopped");
  }
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/store/sqlite/expiry.hpp ---------------------------------------------------------------

/// One step of retention in the SQLite store: removes expired records without harm to the rest of the batch.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: the owner's.

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

class Expiry {
 public:
  explicit Expiry(Writer& writer) : writer_(writer) {}

  /// See Store::Expire.
  std::int64_t RemoveSome(std::int64_t before, std::int64_t after, std::size_t limit,
                          bool keep_gids) {
    std::vector<std::int64_t> expired;
    const std::int64_t next = Find(before, after, limit, expired);
    if (expired.empty()) return next;
    std::int64_t reached = next;
    const bool all = IfAllowed([&] {
      std::size_t bytes = 0;
      for (const std::int64_t row : expired) {
        bytes += Remove(row, keep_gids);
        if (bytes > kMostBytes) return void(reached = row);
      }
    });
    if (all) return reached;
    std::size_t kept = 0;
    for (const std::int64_t row : expired) {
      if (!IfAllowed([&] { (void)Remove(row, keep_gids); })) ++kept;
    }
    throw NotAllExpired(std::to_string(kept) +
                            " finished transactions have expired and cannot be removed: " + why_ +
                            "; let no foreign key or trigger of yours hold rows of dtm_trans",
                        next);
  }

  /// Removes kept gids. Those that tables of the user refer to stay, which does no harm.
  void Forget(const std::vector<std::string>& gids) {
    const auto forget = [this](const std::string& gid) { writer_.forget.BindText(1, gid).Step(); };
    const auto forget_all = [&] { std::for_each(gids.begin(), gids.end(), forget); };
    if (gids.empty() || IfAllowed(forget_all)) return;
    for (const std::string& gid : gids) (void)IfAllowed([&] { forget(gid); });
  }

 private:
  // What is read for the hash of its content holds up the loop.
  static constexpr std::size_t kMostBytes = std::size_t{1} << 20;

  std::int64_t Find(std::int64_t before, std::int64_t after, std::size_t limit,
                    std::vector<std::int64_t>& expired) {
    sql::Statement& look = writer_.look;
    const Finally reset{look};
    const std::int64_t newest = Newest();
    look.Bind(1, after).Bind(2, static_cast<std::int64_t>(limit));
    std::int64_t last = 0;
    std::size_t seen = 0;
    for (; look.Step(); ++seen) {
      const std::int64_t created = look.Int(1);
      // Rows are in order of creation: the rest is younger, but behind one that was made with a clock ahead.
      if (created >= before && created <= newest) return 0;
      last = look.Int(0);
      const std::int64_t finished = look.Int(2);
      if (finished != 0 && finished < before) expired.push_back(last);
    }
    return seen == limit ? last : 0;
  }

  /// When the last row was made.
  std::int64_t Newest() {
    const Finally reset{writer_.newest};
    return writer_.newest.Step() ? writer_.newest.Int(0) : 0;
  }

  /// Returns the bytes that had to be read for it.
  std::size_t Remove(std::int64_t row, bool keep_gid) {
    if (keep_gid) return writer_.ReplaceByGid(row);
    writer_.Remove(row);
    return 0;
  }

  /// In a savepoint of its own; false, and nothing was changed, if a constraint of the user's tables forbids it.
  template <typename Change>
  bool IfAllowed(const Change& change) {
    writer_.savepoint.Step();
    bool allowed = true;
    try {
      change();
      allowed = !writer_.user_sql.ForeignKeysPending();
      if (!allowed) why_ = "a foreign key refers to one";
    } catch (const sql::SqliteError& error) {
      if (error.Primary() != SQLITE_CONSTRAINT) throw;
      allowed = false;
      why_ = error.what();
    }
    if (!writer_.db.InTransaction()) throw BatchLost("removing what has expired: " + why_);
    if (!allowed) writer_.roll_back.Step();
    writer_.release.Step();
    return allowed;
  }

  Writer& writer_;
  std::string why_;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/shown_text.hpp -------------------------------------------------------

/// Text of others in a drawing: what of it may be shown, and how wide it is where every character takes a cell.
/// Needs: std. Threads: pure functions. Source: Unicode 15 (UAX #9, #11), RFC 3629, XML 1.0 §2.2.

namespace dtm {
inline namespace v1 {
namespace drawing {

struct CodeRange {
  char32_t first;
  char32_t last;
};

/// The ranges are sorted.
template <std::size_t kSize>
bool IsIn(const std::array<CodeRange, kSize>& ranges, char32_t code) {
  if (code < ranges.front().first) return false;
  return std::any_of(ranges.begin(), ranges.end(), [code](const CodeRange& range) {
    return code >= range.first && code <= range.last;
  });
}

/// Controls, what is invisible, what turns the direction of the text, and what XML does not allow.
inline constexpr std::array<CodeRange, 15> kNotShown{{{0, 0x1F},
                                                      {0x7F, 0x9F},
                                                      {0xAD, 0xAD},
                                                      {0x61C, 0x61C},
                                                      {0x115F, 0x1160},
                                                      {0x180B, 0x180F},
                                                      {0x200B, 0x200F},
                                                      {0x2028, 0x202E},
                                                      {0x2060, 0x206F},
                                                      {0x3164, 0x3164},
                                                      {0xFE00, 0xFE0F},
                                                      {0xFEFF, 0xFEFF},
                                                      {0xFFF0, 0xFFFB},
                                                      {0xFFFE, 0xFFFF},
                                                      {0xE0000, 0x10FFFF}}};
/// They are drawn on the character before them.
inline constexpr std::array<CodeRange, 5> kCombining{
    {{0x300, 0x36F}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x20D0, 0x20FF}, {0xFE20, 0xFE2F}}};
/// They take two cells.
inline constexpr std::array<CodeRange, 11> kWide{{{0x1100, 0x115E},
                                                  {0x2E80, 0x303E},
                                                  {0x3041, 0xA4CF},
                                                  {0xA960, 0xA97F},
                                                  {0xAC00, 0xD7A3},
                                                  {0xF900, 0xFAFF},
                                                  {0xFE30, 0xFE6F},
                                                  {0xFF00, 0xFF60},
                                                  {0xFFE0, 0xFFE6},
                                                  {0x1F300, 0x1FAFF},
                                                  {0x20000, 0x3FFFD}}};

/// Of valid UTF-8 of that length.
inline char32_t CodePoint(const std::string& text, std::size_t at, std::size_t length) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  if (length == 1) return byte(0);
  char32_t code = byte(0) & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) code = code << 6 | (byte(i) & 0x3Fu);
  return code;
}

/// The text in one line, with a question mark for all that must not be shown.
inline std::string Shown(const std::string& text) {
  std::string shown;
  shown.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = Utf8Length(text, at);
    const auto first = static_cast<unsigned char>(text[at]);
    if (first >= ' ' && first < 0x7F) {
      shown += text[at];
    } else if (text[at] == '\n' || text[at] == '\t') {
      shown += ' ';
    } else if (length == 0 || IsIn(kNotShown, CodePoint(text, at, length))) {
      shown += '?';
    } else {
      shown.append(text, at, length);
    }
    at += (std::max)(length, std::size_t{1});
  }
  return shown;
}

/// A character, and the combining ones on it.
struct Glyph {
  std::string bytes;
  std::size_t columns = 1;
};

/// Of a text that may be shown.
inline std::vector<Glyph> Glyphs(const std::string& text) {
  std::vector<Glyph> glyphs;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = (std::max)(Utf8Length(text, at), std::size_t{1});
    const char32_t code = CodePoint(text, at, length);
    if (IsIn(kCombining, code) && !glyphs.empty()) {
      glyphs.back().bytes.append(text, at, length);
    } else {
      glyphs.push_back({text.substr(at, length), IsIn(kWide, code) ? std::size_t{2} : 1});
    }
    at += length;
  }
  return glyphs;
}

inline std::size_t ColumnsOf(const std::string& text) {
  std::size_t columns = 0;
  for (const Glyph& glyph : Glyphs(text)) columns += glyph.columns;
  return columns;
}

/// As much of the text as fits; if that is not all, with "…" at its end.
inline std::string Fitted(const std::string& text, std::size_t columns) {
  if (ColumnsOf(text) <= columns) return text;
  std::string fitted;
  std::size_t used = 1;  // the dots
  for (const Glyph& glyph : Glyphs(text)) {
    if (used + glyph.columns > columns) break;
    used += glyph.columns;
    fitted += glyph.bytes;
  }
  while (!fitted.empty() && fitted.back() == ' ') fitted.pop_back();
  return columns == 0 ? std::string() : fitted + "…";
}

/// The text in lines, broken at spaces where there are some; what does not fit into `lines` is cut off.
inline std::vector<std::string> Wrapped(const std::string& text, std::size_t columns,
                                        std::size_t lines) {
  std::vector<std::string> wrapped;
  std::string rest = text;
  while (!rest.empty() && wrapped.size() + 1 < lines && ColumnsOf(rest) > columns) {
    std::size_t end = 0, used = 0, space = 0;
    for (const Glyph& glyph : Glyphs(rest)) {
      if (glyph.bytes == " ") space = end;
      if (used + glyph.columns > columns) break;
      used += glyph.columns;
      end += glyph.bytes.size();
    }
    if (space > 0) end = space;
    if (end == 0) break;  // not even one character fits
    wrapped.push_back(rest.substr(0, end));
    rest.erase(0, (std::min)(rest.find_first_not_of(' ', end), rest.size()));
  }
  if (!rest.empty()) wrapped.push_back(Fitted(rest, columns));
  return wrapped;
}

}  // namespace drawing
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/spans.hpp ------------------------------------------------------------

/// Spans of time between any two points, in words.
/// Needs: std. Threads: pure functions.

namespace dtm {
inline namespace v1 {
namespace drawing {

/// From `begin` to `end`, also if these are damaged: no span is too long to be counted.
inline Duration Between(Time begin, Time end) {
  const auto count = [](Time time) {
    constexpr std::int64_t kFar = INT64_MAX / 16;
    const std::int64_t value = time.time_since_epoch().count();
    return (std::min)((std::max)(value, -kFar), kFar);
  };
  return Duration(count(end) - count(begin));
}

/// How often the unit goes into the span, rounded.
inline std::int64_t Rounded(std::int64_t span, std::int64_t unit) {
  return span / unit + (span % unit * 2 >= unit ? 1 : 0);
}

/// "12.3": with one digit behind the point.
inline std::string Tenths(std::int64_t number) {
  return std::to_string(number / 10) + "." + std::to_string(number % 10);
}

/// "12.3 ms", "4.2 s", "3 min 12 s", "3 h 12 min", "2 d 3 h": rounded, and 0 if it is negative.
inline std::string SpanInWords(Duration span) {
  const std::int64_t us = (std::max)(span.count(), Duration::rep{0});
  const auto two = [](std::int64_t number, std::int64_t in_large, const char* large,
                      const char* small) {
    return std::to_string(number / in_large) + large + std::to_string(number % in_large) + small;
  };
  const std::int64_t s = Rounded(us, 1000000), min = Rounded(s, 60), h = Rounded(min, 60);
  if (us < 99950) return Tenths(Rounded(us, 100)) + " ms";
  if (us < 999500) return std::to_string(Rounded(us, 1000)) + " ms";
  if (us < 59950000) return Tenths(Rounded(us, 100000)) + " s";
  if (s < 3600) return two(s, 60, " min ", " s");
  if (min < 24 * 60) return two(min, 60, " h ", " min");
  return h < 100 * 24 ? two(h, 24, " d ", " h") : std::to_string(h / 24) + " d";
}

/// "12.3": milliseconds, for a column of them.
inline std::string Milliseconds(Duration span) {
  return Tenths(Rounded((std::max)(span.count(), Duration::rep{0}), 100));
}

}  // namespace drawing
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/mermaid_diagram.hpp --------------------------------------------------

/// Writes a diagram as a sequence diagram of Mermaid, for documents and tickets that draw it.
/// Needs: std. Threads: a pure function. Source: mermaid.js.org/syntax/sequenceDiagram, mermaid 11.

namespace dtm {
inline namespace v1 {
namespace drawing {

/// As #number; what could mean something to Mermaid or HTML.
inline std::string EscapedMermaid(const std::string& text) {
  constexpr std::string_view kPlain = " ._/,()-";
  std::string escaped;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    // Mermaid takes a "style" with a colon and more behind it for CSS, and drops a semicolon there.
    const bool colon = c == ':' && i + 1 < text.size() && text[i + 1] == ' ';
    if (letter || colon || byte >= 0x80 || kPlain.find(c) != std::string_view::npos) {
      escaped += c;
    } else {
      escaped += '#' + std::to_string(byte) + ';';
    }
  }
  return escaped;
}

class MermaidDiagram {
 public:
  static std::string Draw(const Diagram& diagram) {
    MermaidDiagram drawing(diagram);
    for (const DiagramEvent& event : diagram.events) drawing.Event(event);
    return "sequenceDiagram\n    title " + EscapedMermaid(diagram.title) + "\n" +
           drawing.Participants() + drawing.text_;
  }

 private:
  static constexpr std::size_t kColumns = 56;  // of a line of text
  static constexpr std::size_t kMaxLines = 4;

  explicit MermaidDiagram(const Diagram& diagram) : diagram_(diagram) {}

  static std::string Id(std::size_t lifeline) { return "p" + std::to_string(lifeline); }

  std::string Participants() const {
    std::string text;
    for (std::size_t i = 0; i < diagram_.lifelines.size(); ++i) {
      text +=
          "    participant " + Id(i) + " as " + EscapedMermaid(diagram_.lifelines[i].name) + "\n";
    }
    return text;
  }

  void Event(const DiagramEvent& event) {
    const bool loop = event.from == event.to;
    switch (event.kind) {
      case DiagramEvent::Kind::kCall: return loop ? Note(event) : Arrow(event, "->>");
      case DiagramEvent::Kind::kReply: return loop ? Note(event) : Arrow(event, "-->>");
      case DiagramEvent::Kind::kLost: return loop ? Note(event) : Arrow(event, "--x");
      case DiagramEvent::Kind::kNote:
      case DiagramEvent::Kind::kSpan: return Note(event);
      case DiagramEvent::Kind::kEnd:
      case DiagramEvent::Kind::kBegin: return Across(event);
    }
  }

  void Arrow(const DiagramEvent& event, const char* arrow) {
    Add(Id(event.from) + arrow + Id(event.to), event);
  }
  void Note(const DiagramEvent& event) { Add("Note right of " + Id(event.from), event); }
  void Across(const DiagramEvent& event) {
    const std::string last =
        diagram_.lifelines.size() > 1 ? "," + Id(diagram_.lifelines.size() - 1) : "";
    Add("Note over " + Id(0) + last, event);
  }

  /// The text in lines, which Mermaid would not break.
  void Add(const std::string& what, const DiagramEvent& event) {
    std::string words = InWords(event);
    if (event.at) words = SpanInWords(*event.at) + " · " + words;
    std::string text;
    for (const std::string& line : Wrapped(words, kColumns, kMaxLines)) {
      text += (text.empty() ? "" : "<br/>") + EscapedMermaid(line);
    }
    text_ += "    " + what + ": " + text + "\n";
  }

  const Diagram& diagram_;
  std::string text_;
};

}  // namespace drawing
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/svg_parts.hpp --------------------------------------------------------

/// The pieces of an SVG drawing, and how they look.
/// Needs: std. Threads: pure functions. Source: SVG 2, XML 1.0 §2.4.

namespace dtm {
inline namespace v1 {
namespace drawing {

inline std::string EscapedXml(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&': escaped += "&amp;"; break;
      case '<': escaped += "&lt;"; break;
      case '>': escaped += "&gt;"; break;
      case '"': escaped += "&quot;"; break;
      default: escaped += c;
    }
  }
  return escaped;
}

/// Colours are named once for light and once for dark; everything is below .dtm-diagram, so that nothing else on a page that
/// has the drawing inside of it changes.
inline constexpr const char kSvgStyle[] =
    "<style>.dtm-diagram{--bg:#fff;--ink:#1c2430;--quiet:#667080;--line:#c5cdd6;--box:#f2f5f8;--"
    "call:#2459b8;"
    "--good:#17763a;--bad:#c1272d;--warn:#945400;--gone:#c1272d14;--c:var(--call);max-width:100%;"
    "height:auto;"
    "background:var(--bg);font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,'Noto "
    "Sans','DejaVu Sans',sans-serif}"
    "@media(prefers-color-scheme:dark){.dtm-diagram{--bg:#14181e;--ink:#e6ebf1;--quiet:#919cab;--"
    "line:#414b58;"
    "--box:#1f262f;--call:#7db1ff;--good:#56cc90;--bad:#ff8585;--warn:#e6b450;--gone:#ff858522}}"
    ".dtm-diagram "
    "text{fill:var(--ink);paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:"
    "round}"
    ".dtm-diagram "
    ".t{fill:var(--quiet);font-size:11px;font-variant-numeric:tabular-nums;text-anchor:end}"
    ".dtm-diagram .n{font-weight:600;text-anchor:middle;stroke:none}.dtm-diagram "
    ".x{text-anchor:end}"
    ".dtm-diagram .m{text-anchor:middle}.dtm-diagram .i{stroke:none}"
    ".dtm-diagram .l{stroke:var(--line);fill:none}.dtm-diagram .d{stroke-dasharray:2 4}"
    ".dtm-diagram .k{fill:var(--box);stroke:var(--line)}.dtm-diagram "
    ".a{fill:var(--box);stroke:var(--line)}"
    ".dtm-diagram .v{fill:var(--gone)}.dtm-diagram .s{stroke:var(--c);stroke-width:1.4;fill:none}"
    ".dtm-diagram .r{stroke-dasharray:5 3}.dtm-diagram .o{stroke-dasharray:2 4}.dtm-diagram "
    ".h{fill:var(--c)}"
    ".dtm-diagram .f{fill:var(--box);stroke:var(--c)}"
    ".dtm-diagram .g{--c:var(--good)}.dtm-diagram .b{--c:var(--bad)}.dtm-diagram "
    ".w{--c:var(--warn)}"
    ".dtm-diagram .q{--c:var(--quiet)}.dtm-diagram .g .e,.dtm-diagram .b .e,.dtm-diagram .w "
    ".e,.dtm-diagram .q .e"
    "{fill:var(--c)}.dtm-diagram .q .e{font-style:italic}</style>";

/// The width of a character, as wide as most fonts have it.
inline constexpr double kSvgColumn = 7.2;

inline std::string Number(int number) { return std::to_string(number); }
inline int WidthOf(const std::string& text) {
  return static_cast<int>(static_cast<double>(ColumnsOf(text)) * kSvgColumn) + 1;
}
inline std::size_t ColumnsIn(int width) {
  return width <= 0 ? 0 : static_cast<std::size_t>(static_cast<double>(width) / kSvgColumn);
}
inline std::string Text(int x, int y, const char* kind, const std::string& text) {
  return "<text x=\"" + Number(x) + "\" y=\"" + Number(y) + "\" class=\"" + kind + "\">" +
         EscapedXml(text) + "</text>";
}
inline std::string Path(const char* kind, const std::string& path) {
  return std::string("<path class=\"") + kind + "\" d=\"" + path + "\"/>";
}
inline std::string Box(const char* kind, int x, int y, int width, int height, int round) {
  return std::string("<rect class=\"") + kind + "\" x=\"" + Number(x) + "\" y=\"" + Number(y) +
         "\" width=\"" + Number(width) + "\" height=\"" + Number(height) + "\" rx=\"" +
         Number(round) + "\"/>";
}
inline const char* KindOf(Tone tone) {
  switch (tone) {
    case Tone::kPlain: return "p";
    case Tone::kGood: return "g";
    case Tone::kWarning: return "w";
    case Tone::kBad: return "b";
    case Tone::kQuiet: return "q";
  }
  return "p";
}

}  // namespace drawing
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/svg_diagram.hpp ------------------------------------------------------

/// Draws a diagram as SVG: one file without scripts, fonts or anything else from elsewhere, for light and dark pages.
/// Needs: std. Threads: a pure function. Source: SVG 2, CSS Custom Properties 1.

namespace dtm {
inline namespace v1 {
namespace drawing {

class SvgDiagram {
 public:
  static std::string Draw(const Diagram& diagram) {
    SvgDiagram drawing(diagram);
    for (const DiagramEvent& event : diagram.events) drawing.Event(event);
    drawing.Row(kAfterLast, Line::kSolid);
    return drawing.Whole();
  }

 private:
  enum class Line { kSolid, kDotted, kNone };
  struct Stretch {
    int begin;
    int end;
    Line line;
  };

  static constexpr int kHead = 46;  // of the names
  static constexpr int kAfterLast = 14;
  static constexpr int kRight = 52;  // of the last lifeline
  static constexpr int kFirstGap = 124;
  static constexpr int kLineHeight = 16;
  static constexpr std::size_t kMaxLines = 4;
  static constexpr std::size_t kFullBytes = 110000;  // beyond it texts are short
  static constexpr std::size_t kShort = 40;          // columns

  explicit SvgDiagram(const Diagram& diagram)
      : diagram_(diagram), active_(diagram.lifelines.size()) {
    for (const DiagramEvent& event : diagram.events) {
      if (event.at && *event.at >= std::chrono::minutes(1)) in_ms_ = false;
    }
    const std::size_t services = (std::max)(diagram.lifelines.size(), std::size_t{2}) - 2;
    const int gap = services <= 1 ? 230 : services <= 2 ? 176 : services <= 3 ? 150 : 118;
    int x = in_ms_ ? 92 : 116;
    for (std::size_t i = 0; i < diagram.lifelines.size(); ++i) {
      columns_.push_back(x);
      x += i == 0 ? kFirstGap : gap;
    }
    const int right = (std::max)(kRight, HalfOf(NameOf(columns_.size() - 1)) + 8);
    width_ = (std::max)(columns_.back() + right, services == 0 ? 460 : 0);
  }

  // --- pieces

  /// The lifelines go on for so much more.
  void Row(int height, Line line) {
    if (!alive_) line = Line::kNone;
    if (stretches_.empty() || stretches_.back().line != line) stretches_.push_back({y_, y_, line});
    y_ += height;
    stretches_.back().end = y_;
  }

  void Time(const std::optional<Duration>& at, int y) {
    if (at)
      body_ += Text(columns_.front() - 40, y, "t", in_ms_ ? Milliseconds(*at) : SpanInWords(*at));
  }

  /// Everything of one event; what it says is seen under the pointer, too.
  void Open(const DiagramEvent& event) {
    body_ += std::string("<g class=\"") + KindOf(event.tone) + "\">";
    if (!event.more.empty() && !Full())
      body_ += "<title>" + EscapedXml(InWords(event)) + "</title>";
  }
  void Close() { body_ += "</g>\n"; }
  bool Full() const { return body_.size() > kFullBytes; }
  std::string Said(const DiagramEvent& event) const {
    return Full() ? Fitted(InWords(event), kShort) : InWords(event);
  }

  // --- events

  void Event(const DiagramEvent& event) {
    Open(event);
    switch (event.kind) {
      case DiagramEvent::Kind::kCall:
      case DiagramEvent::Kind::kReply:
      case DiagramEvent::Kind::kLost: event.from == event.to ? Note(event) : Arrow(event); break;
      case DiagramEvent::Kind::kNote: Note(event); break;
      case DiagramEvent::Kind::kSpan: Span(event); break;
      case DiagramEvent::Kind::kEnd: End(event); break;
      case DiagramEvent::Kind::kBegin: Begin(event); break;
    }
    Close();
  }

  void Arrow(const DiagramEvent& event) {
    const bool rightwards = event.from < event.to;
    const int from = columns_[event.from], to = columns_[event.to];
    const int left = (std::min)(from, to), room = (rightwards ? to - from : from - to) - 20;
    const int y = y_ + 24;
    std::string text = Said(event);
    std::vector<std::string> below;
    if (WidthOf(text) > (std::max)(room, width_ - left - 20) && !event.more.empty() && !Full()) {
      text = event.text;
      below = Wrapped(event.more, ColumnsIn(width_ - left - 20), kMaxLines);
    }
    const bool fits = WidthOf(text) <= room;
    if (!fits) text = Fitted(text, ColumnsIn(width_ - left - 20));
    const bool at_end = fits && !rightwards;
    Time(event.at, y + 4);
    body_ += Text(at_end ? from - 10 : left + 10, y - 6, at_end ? "e x" : "e", text);
    DrawShaft(event.kind, from, to, y);
    Activate(event, y);
    Row(32, Line::kSolid);
    for (const std::string& line : below) {
      body_ += Text(left + 10, y_ + 9, "e", line);
      Row(kLineHeight, Line::kSolid);
    }
  }

  void DrawShaft(DiagramEvent::Kind kind, int from, int to, int y) {
    const int way = from < to ? 1 : -1;
    const int tip = to - 4 * way;
    const char* style = kind == DiagramEvent::Kind::kReply  ? "s r"
                        : kind == DiagramEvent::Kind::kLost ? "s o"
                                                            : "s";
    body_ +=
        Path(style, "M" + Number(from + 4 * way) + " " + Number(y) + "H" + Number(tip - 7 * way));
    if (kind == DiagramEvent::Kind::kLost) {  // a cross: no answer came
      body_ += Path("s", "M" + Number(tip - 8) + " " + Number(y - 4) + "l8 8m0-8l-8 8");
      return;
    }
    body_ += Path("h", "M" + Number(tip) + " " + Number(y) + "l" + Number(-9 * way) + "-4v8z");
  }

  /// A bar on the lifeline of who is called, until it has replied.
  void Activate(const DiagramEvent& event, int y) {
    if (event.kind == DiagramEvent::Kind::kLost) return;
    Active& active = active_[event.kind == DiagramEvent::Kind::kReply ? event.from : event.to];
    if (event.kind == DiagramEvent::Kind::kCall) {
      if (active.calls++ == 0) active.since = y;
    } else if (active.calls > 0 && --active.calls == 0) {
      DrawBar(event.from, y);
    }
  }
  void DrawBar(std::size_t lifeline, int y) {
    const int since = active_[lifeline].since;
    bars_ += Box("a", columns_[lifeline] - 3, since, 6, y - since, 2);
  }
  void DrawBars(int y) {
    for (std::size_t i = 0; i < active_.size(); ++i) {
      if (active_[i].calls > 0) DrawBar(i, y);
    }
  }

  void Note(const DiagramEvent& event) {
    const int x = columns_[event.from] + 14;
    const std::vector<std::string> lines =
        Wrapped(Said(event), ColumnsIn(width_ - x - 24), kMaxLines);
    int widest = 0;
    for (const std::string& line : lines) widest = (std::max)(widest, WidthOf(line));
    const int height = static_cast<int>(lines.size()) * kLineHeight + 8;
    Time(event.at, y_ + 20);
    body_ += "<circle class=\"h\" cx=\"" + Number(x - 14) + "\" cy=\"" + Number(y_ + 16) +
             "\" r=\"4\"/>";
    body_ += Box("f", x, y_ + 4, widest + 16, height, 5);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      body_ += Text(x + 8, y_ + 20 + static_cast<int>(i) * kLineHeight, "e i", lines[i]);
    }
    Row(height + 8, Line::kSolid);
  }

  void Span(const DiagramEvent& event) {
    const int x = columns_[event.from] + 10;
    const int middle = (columns_.front() + columns_.back()) / 2;
    Time(event.at, y_ + 16);
    Row(4, Line::kDotted);
    for (const std::string& line : Wrapped(Said(event), ColumnsIn(width_ - x - 10), kMaxLines)) {
      body_ += alive_ ? Text(x, y_ + 12, "e", line) : Text(middle, y_ + 12, "e m i", line);
      Row(kLineHeight, Line::kDotted);
    }
    Row(4, Line::kDotted);
  }

  void End(const DiagramEvent& event) {
    Row(6, Line::kSolid);
    DrawBars(y_);
    alive_ = false;
    gone_since_ = y_;
    Across(event, y_, y_ + 17);
    Row(24, Line::kNone);
  }

  void Begin(const DiagramEvent& event) {
    Across(event, y_ + 22, y_ + 15);
    Time(event.at, y_ + 26);
    Row(22, Line::kNone);
    if (!alive_) {
      gone_ += Box("v", columns_.front() - 30, gone_since_, columns_.back() - columns_.front() + 60,
                   y_ - gone_since_, 0);
    }
    alive_ = true;
    for (Active& active : active_) active.since = y_;
    Row(6, Line::kSolid);
  }

  void Across(const DiagramEvent& event, int y, int text_y) {
    const int left = columns_.front() - 30, right = columns_.back() + 30;
    const std::string text = Fitted(Said(event), ColumnsIn(width_ - 20));
    body_ += Path("s", "M" + Number(left) + " " + Number(y) + "H" + Number(right));
    body_ += Text((std::max)((left + right) / 2, WidthOf(text) / 2 + 4), text_y, "e m i", text);
  }

  // --- the whole

  std::string Lines() const {
    std::string solid, dotted;
    for (const int x : columns_) {
      for (const Stretch& stretch : stretches_) {
        std::string& path = stretch.line == Line::kSolid ? solid : dotted;
        if (stretch.line == Line::kNone) continue;
        path += "M" + Number(x) + " " + Number(stretch.begin) + "V" + Number(stretch.end);
      }
    }
    return Path("l", solid) + (dotted.empty() ? dotted : Path("l d", dotted)) + "\n";
  }

  /// Of a lifeline, as far as there is room.
  std::string NameOf(std::size_t i) const {
    const int gap = i + 1 < columns_.size() ? columns_[i + 1] - columns_[i]
                                            : columns_[i] - columns_[i - (i > 0)];
    const int room =
        (std::max)((std::min)(gap, i > 0 ? columns_[i] - columns_[i - 1] : gap) - 24, 70);
    return Fitted(diagram_.lifelines[i].name, ColumnsIn(room));
  }
  static int HalfOf(const std::string& name) { return WidthOf(name) / 2 + 9; }

  std::string Names() const {
    std::string names;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const Lifeline& lifeline = diagram_.lifelines[i];
      const std::string name = NameOf(i);
      const int half = HalfOf(name);
      names += "<g>";
      if (!lifeline.more.empty()) names += "<title>" + EscapedXml(lifeline.more) + "</title>";
      names += Box("k", columns_[i] - half, 10, 2 * half, 26, 6) +
               Text(columns_[i], 27, "n", name) + "</g>\n";
    }
    return names;
  }

  std::string Whole() {
    DrawBars(y_ - kAfterLast);
    const std::string size = Number(width_) + " " + Number(y_);
    std::string svg =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"dtm-diagram\" role=\"img\" width=\"" +
        Number(width_) + "\" height=\"" + Number(y_) + "\" viewBox=\"0 0 " + size + "\">\n<title>" +
        EscapedXml(diagram_.title) + "</title>" + kSvgStyle + "\n" + gone_ + Lines() + bars_ +
        "\n" + Names();
    if (in_ms_) svg += Text(columns_.front() - 56, 27, "t", "ms");
    return svg + body_ + "</svg>\n";
  }

  struct Active {
    int calls = 0;
    int since = 0;
  };

  const Diagram& diagram_;
  std::vector<int> columns_;  // of the lifelines
  std::vector<Active> active_;
  std::vector<Stretch> stretches_;
  std::string body_, bars_, gone_;
  int width_ = 0;
  int y_ = kHead - 10;
  int gone_since_ = 0;
  bool in_ms_ = true;  // everything took less than a minute
  bool alive_ = true;  // lifelines are drawn
};

}  // namespace drawing
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/text_diagram.hpp -----------------------------------------------------

/// Draws a diagram for a terminal: lifelines of box characters, time runs downwards.
/// Needs: std. Threads: a pure function.

namespace dtm {
inline namespace v1 {
namespace drawing {

inline constexpr std::size_t kMinTextWidth = 40;
inline constexpr std::size_t kMaxTextWidth = 1000;

/// One line: a character of the terminal in each cell. The second cell of a wide one is empty.
class TextRow {
 public:
  explicit TextRow(std::size_t width) : cells_(width, " ") {}

  void Put(std::size_t at, const char* sign) {
    if (at < cells_.size()) cells_[at] = sign;
  }
  /// What does not fit is not written.
  void Write(std::size_t at, const std::string& text) {
    for (const Glyph& glyph : Glyphs(text)) {
      if (at + glyph.columns > cells_.size()) return;
      cells_[at] = glyph.bytes;
      if (glyph.columns == 2) cells_[at + 1].clear();
      at += glyph.columns;
    }
  }
  bool IsBlank(std::size_t at) const { return cells_[at] == " "; }
  void Colour(std::size_t first, std::size_t end, const char* begin) {
    if (first >= end || end > cells_.size()) return;
    cells_[first].insert(0, begin);
    cells_[end - 1] += "\033[0m";
  }
  std::string Line() const {
    std::string line;
    for (const std::string& cell : cells_) line += cell;
    line.erase(line.find_last_not_of(' ') + 1);
    return line + '\n';
  }

 private:
  std::vector<std::string> cells_;
};

class TextDiagram {
 public:
  /// @param width  the columns of a line, at least kMinTextWidth.
  static std::string Draw(const Diagram& diagram, std::size_t width, bool colour) {
    TextDiagram drawing(diagram, width, colour);
    drawing.Names();
    for (const DiagramEvent& event : diagram.events) drawing.Event(event);
    return std::move(drawing.text_);
  }

 private:
  static constexpr std::size_t kFirstColumn = 14;
  static constexpr std::size_t kAfterLast = 4;
  static constexpr std::size_t kFirstGap = 18;  // its arrows have short texts
  static constexpr std::size_t kMaxGap = 40;
  static constexpr std::size_t kMaxNameColumns = 24;
  static constexpr std::size_t kMaxLines = 6;

  TextDiagram(const Diagram& diagram, std::size_t width, bool colour)
      : diagram_(diagram),
        width_((std::min)((std::max)(width, kMinTextWidth), kMaxTextWidth)),
        colour_(colour) {
    const std::size_t gaps = (std::max)(diagram.lifelines.size(), std::size_t{2}) - 1;
    const std::size_t room = width_ - kAfterLast - kFirstColumn;
    const std::size_t first =
        gaps == 1 ? (std::min)(room, kFirstGap) : (std::min)(room / gaps, kFirstGap);
    std::size_t column = kFirstColumn;
    for (std::size_t i = 0; i < diagram.lifelines.size(); ++i) {
      columns_.push_back(column);
      column += i == 0 ? first : (std::min)((room - first) / (gaps - (gaps > 1)), kMaxGap);
    }
    for (const DiagramEvent& event : diagram.events) {
      if (event.at && *event.at >= std::chrono::minutes(1)) in_ms_ = false;
    }
  }

  // --- lines

  TextRow Lines(const char* sign) const {
    TextRow row(width_);
    for (const std::size_t column : columns_) row.Put(column, alive_ ? sign : " ");
    return row;
  }

  void Time(TextRow& row, const std::optional<Duration>& at) const {
    if (!at) return;
    const std::string time = in_ms_ ? Milliseconds(*at) : SpanInWords(*at);
    const std::size_t end = in_ms_ ? 7 : 12;
    row.Write(end - (std::min)(time.size(), end), time);
  }

  void Print(const TextRow& row) { text_ += row.Line(); }

  /// Names that do not fit beside the one before stand above it.
  void Names() {
    std::vector<TextRow> rows;
    std::vector<std::size_t> ends;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string name = Fitted(diagram_.lifelines[i].name, kMaxNameColumns);
      const std::size_t columns = ColumnsOf(name);
      const std::size_t centred = columns_[i] - (std::min)(columns / 2, columns_[i]);
      const std::size_t begin = (std::min)(centred, width_ - columns);
      std::size_t level = 0;
      while (level < ends.size() && begin < ends[level] + 2) ++level;
      if (level == ends.size()) {
        rows.emplace_back(width_);
        ends.push_back(0);
      }
      rows[level].Write(begin, name);
      ends[level] = begin + columns;
      for (std::size_t below = 0; below < level; ++below) {
        if (rows[below].IsBlank(columns_[i])) rows[below].Put(columns_[i], "│");
        ends[below] = (std::max)(ends[below], columns_[i] + 1);
      }
    }
    if (!rows.empty()) rows.front().Write(in_ms_ ? 5 : 3, in_ms_ ? "ms" : "time");
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) Print(*row);
    Print(Lines("│"));
  }

  void Event(const DiagramEvent& event) {
    switch (event.kind) {
      case DiagramEvent::Kind::kCall:
      case DiagramEvent::Kind::kReply:
      case DiagramEvent::Kind::kLost: return Arrow(event);
      case DiagramEvent::Kind::kNote: return Beside(event, "│", "●");
      case DiagramEvent::Kind::kSpan: return Beside(event, "┊", "┊");
      case DiagramEvent::Kind::kEnd:
      case DiagramEvent::Kind::kBegin: return Break(event);
    }
  }

  /// A text at the right of a lifeline.
  void Beside(const DiagramEvent& event, const char* lines, const char* mark) {
    const std::size_t begin = columns_[event.from] + 2;
    const std::vector<std::string> texts = Wrapped(InWords(event), width_ - begin, kMaxLines);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      TextRow row = Lines(lines);
      if (i == 0 && alive_) row.Put(columns_[event.from], mark);
      if (i == 0) Time(row, event.at);
      WriteFree(row, begin, texts[i]);
      Colour(row, columns_[event.from], begin + ColumnsOf(texts[i]), event.tone);
      Print(row);
    }
  }

  /// Over lifelines, with a blank around it.
  void WriteFree(TextRow& row, std::size_t begin, const std::string& text) const {
    const std::size_t end = begin + ColumnsOf(text);
    if (begin > 0 && !IsLifeline(begin - 1)) row.Put(begin - 1, " ");
    row.Write(begin, text);
    if (IsLifeline(end)) row.Put(end, " ");
  }
  bool IsLifeline(std::size_t column) const {
    return std::find(columns_.begin(), columns_.end(), column) != columns_.end();
  }

  void Break(const DiagramEvent& event) {
    const bool ends = event.kind == DiagramEvent::Kind::kEnd;
    alive_ = true;
    TextRow row = Lines(ends ? "╧" : "╤");
    const std::size_t first = columns_.front(), last = columns_.back();
    for (std::size_t i = first; i <= last; ++i) {
      if (row.IsBlank(i)) row.Put(i, "═");
    }
    const std::string text = InWords(event);
    const std::size_t columns = ColumnsOf(text);
    std::size_t end = last + 1;
    const std::size_t begin = BetweenLifelines(columns + 2);
    const bool beyond = begin == 0 && last + 2 + columns <= width_;
    if (begin > 0) {
      row.Write(begin, " " + text + " ");
    } else if (beyond) {
      row.Write(last + 2, text);
      end = last + 2 + columns;
    }
    Time(row, event.at);
    Colour(row, first, end, event.tone);
    Print(row);
    alive_ = !ends;
    if (begin == 0 && !beyond) Below(event, first + 2, text);
  }

  /// Where a text stands in the middle of the widest gap if there is room, or else over the lifelines; 0: nowhere.
  std::size_t BetweenLifelines(std::size_t columns) const {
    std::size_t begin = 0, widest = 0;
    for (std::size_t i = 1; i < columns_.size(); ++i) {
      const std::size_t gap = columns_[i] - columns_[i - 1];
      if (gap <= widest || columns + 2 >= gap) continue;
      widest = gap;
      begin = columns_[i - 1] + 1 + (gap - columns) / 2;
    }
    const std::size_t all = columns_.back() - columns_.front();
    if (begin > 0 || columns + 4 > all) return begin;
    return columns_.front() + (all - columns) / 2;
  }

  // --- arrows

  void Arrow(const DiagramEvent& event) {
    if (event.from == event.to) return Beside(event, "│", "●");
    const bool rightwards = event.from < event.to;
    const std::size_t left = columns_[rightwards ? event.from : event.to];
    const std::size_t right = columns_[rightwards ? event.to : event.from];
    TextRow row = Lines("│");
    const bool lost = event.kind == DiagramEvent::Kind::kLost;
    for (std::size_t i = left + 1; i < right; ++i) {
      row.Put(i, IsLifeline(i) ? "┼" : lost ? "╌" : "─");
    }
    row.Put(columns_[event.from], rightwards ? "├" : "┤");
    row.Put(rightwards ? right - 1 : left + 1, rightwards ? "▶" : "◀");
    Time(row, event.at);

    std::string below;
    std::size_t end = right;
    const std::string whole = InWords(event);
    const std::size_t beyond = width_ - right - 2;
    if (WriteOnShaft(row, event, whole)) {
    } else if (ColumnsOf(whole) <= beyond) {
      end = right + 2 + ColumnsOf(whole);
      WriteFree(row, right + 2, whole);
    } else if (!event.more.empty() && WriteOnShaft(row, event, event.text)) {
      below = event.more;
    } else {
      below = whole;
    }
    Colour(row, left + 1, end, event.tone);
    Print(row);
    if (!below.empty()) Below(event, (std::min)(left + 2, width_ / 2), below);
  }

  void Below(const DiagramEvent& event, std::size_t begin, const std::string& text) {
    for (const std::string& line : Wrapped(text, width_ - begin, kMaxLines)) {
      TextRow row = Lines("│");
      WriteFree(row, begin, line);
      Colour(row, begin, begin + ColumnsOf(line), event.tone);
      Print(row);
    }
  }

  /// Beside the one who speaks if there is room for it, else anywhere on the arrow. False: it fits nowhere.
  bool WriteOnShaft(TextRow& row, const DiagramEvent& event, const std::string& text) const {
    const bool rightwards = event.from < event.to;
    const std::size_t left = columns_[rightwards ? event.from : event.to];
    const std::size_t right = columns_[rightwards ? event.to : event.from];
    const std::size_t end = rightwards ? right - 1 : right;
    const std::size_t near = columns_[rightwards ? event.from : event.from - 1];
    const std::size_t near_end = rightwards ? columns_[event.from + 1] : right;
    const std::size_t columns = ColumnsOf(text) + 2;
    const auto write = [&](std::size_t at, std::size_t limit) {
      if (at + columns > limit) return false;
      row.Write(at, " " + text + " ");
      return true;
    };
    return write(near + 3, (std::min)(near_end, end)) || write(left + 3, end) ||
           write(left + 2, end);
  }

  void Colour(TextRow& row, std::size_t first, std::size_t end, Tone tone) const {
    if (!colour_) return;
    const char* begin = "\033[36m";
    switch (tone) {
      case Tone::kGood: begin = "\033[32m"; break;
      case Tone::kBad: begin = "\033[31m"; break;
      case Tone::kWarning: begin = "\033[33m"; break;
      case Tone::kQuiet: begin = "\033[2m"; break;
      case Tone::kPlain: break;
    }
    row.Colour(first, (std::min)(end, width_), begin);
  }

  const Diagram& diagram_;
  const std::size_t width_;
  const bool colour_;
  std::vector<std::size_t> columns_;  // of the lifelines
  bool in_ms_ = true;                 // everything took less than a minute
  bool alive_ = true;                 // lifelines are drawn
  std::string text_;
};

}  // namespace drawing
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/lifelines.hpp ----------------------------------------------------------------

/// Who takes part in a transaction, and the names of its calls, as they are drawn.
/// Needs: std. Threads: values and pure functions.

namespace dtm {
inline namespace v1 {
namespace timeline {

inline constexpr std::size_t kApplication = 0;
inline constexpr std::size_t kCoordinator = 1;
inline constexpr std::size_t kMaxServices = 6;  ///< more are drawn as one
inline constexpr std::size_t kMaxName = 40;     ///< columns

/// A name of at most kMaxName columns, as it is shown.
inline std::string ShownName(const std::string& name) {
  return drawing::Fitted(drawing::Shown(Truncated(name, 4 * kMaxName)), kMaxName);
}

/// Whom a URL calls: all calls with the same key go to one lifeline.
struct Service {
  std::string key{};  ///< empty: nobody is called by a message
  std::vector<std::string>
      names{};  ///< from the shortest, which others may have too, to the longest
};

inline Service ServiceOf(const std::string& url) {
  if (url.empty() || RunsInTransaction(url)) return {};
  if (IsLocal(url)) return {"functions", {"functions", "registered functions"}};
  Service service;
  try {
    const Url parts = ParseUrl(url);
    const bool address = parts.host.find(':') != std::string::npos ||
                         parts.host.find_first_not_of("0123456789.") == std::string::npos;
    service.key = parts.Origin();
    if (!address && parts.host != "localhost") {
      service.names = {parts.host.substr(0, parts.host.find('.')), parts.host};
    }
    service.names.push_back(parts.Authority());
    service.names.push_back(parts.Origin());
  } catch (const Error&) {  // of another dtm, or damaged
    const std::size_t scheme = url.find("://");
    const std::size_t begin = scheme == std::string::npos ? 0 : scheme + 3;
    service.key = ShownUrl(url.substr(0, url.find_first_of("/?#", begin)));
    service.names = {service.key};
  }
  return service;
}

/// "TransIn" of http://bank/api/TransIn?x=1 and of a function of that name.
inline std::string NameOfCall(const Definition& definition, const std::string& url) {
  if (IsLocal(url)) {
    const std::string name = url.substr(kLocalPrefixSize);
    return RunsInTransaction(url) ? name.substr(sizeof kInTransactionPrefix - 1) : name;
  }
  std::string path = ShownUrl(url);
  const std::size_t query = (std::min)(path.find('?'), path.size());
  constexpr std::string_view kMethod = "method=";
  const std::size_t method = definition.json_rpc ? path.find(kMethod, query) : std::string::npos;
  if (method != std::string::npos) {
    path = path.substr(method + kMethod.size());
    return PercentDecoded(path.substr(0, path.find('&')));
  }
  path.erase((std::min)(path.find_first_of("?#"), path.size()));
  while (!path.empty() && path.back() == '/') path.pop_back();
  const std::size_t scheme = path.find("://");
  const std::size_t slash = path.rfind('/');
  if (scheme == std::string::npos || slash < scheme + 3) return {};
  return PercentDecoded(path.substr(slash + 1));
}

/// "01 TransIn", "01 compensate TransInCom": the branch id, the operation where the name does not say it, and the name.
inline std::string CallInWords(const Definition& definition, std::size_t row) {
  if (row >= RowCount(definition)) return "row " + std::to_string(row);
  const Op op = OpOf(definition, row);
  std::string name = NameOfCall(definition, UrlOf(definition, row));
  if (definition.type == TransType::kWorkflow && row != kQueryRow) {
    const std::string& own = definition.steps[StepOf(definition.type, row)].topic;
    if (!own.empty()) name = own;
  }
  std::string text = BranchIdOf(definition, row);
  const bool implied = op == Op::kAction || op == Op::kMsg || Lowered(name) == Name(op);
  if (!implied || name.empty()) text += std::string(" ") + Name(op);
  if (op != Op::kResume && !name.empty()) text += " " + name;
  return ShownName(text);
}

/// The lifelines of one drawing. First Add each call, then Name.
class Lifelines {
 public:
  explicit Lifelines(const Definition& definition) : definition_(definition) {
    if (!RegistersSteps(definition.type)) return;
    const bool query = HasQueryRow(definition.type);
    for (std::size_t row = 1; row < RowCount(definition); row += query ? 1 : 2) {
      parents_.emplace(BranchIdOf(definition, row), row);
    }
  }

  void Add(std::size_t row) {
    if (row >= RowCount(definition_) || IsInitiator(row) || rows_.count(row) > 0) return;
    const Service service = ServiceOf(UrlOf(definition_, row));
    if (service.key.empty()) return;
    const auto [found, is_new] = keys_.emplace(service.key, services_.size());
    if (is_new) services_.push_back(service);
    rows_.emplace(row, found->second);
  }

  /// The application and the coordinator, then the services in the order in which they were added.
  std::vector<Lifeline> Name() {
    std::vector<Lifeline> lifelines{{"application"}, {"coordinator"}};
    const bool all = services_.size() <= kMaxServices;
    drawn_ = all ? services_.size() : kMaxServices - 1;
    NameServices();
    for (std::size_t i = 0; i < drawn_; ++i) {
      const std::string& longest = services_[i].names.back();
      lifelines.push_back({names_[i], ShownName(longest)});
    }
    if (!all) {
      const std::string others = std::to_string(services_.size() - drawn_) + " others";
      lifelines.push_back({others, "hosts that have no lifeline of their own"});
    }
    return lifelines;
  }

  /// Who is called by that row; nothing if the coordinator does it itself.
  std::optional<std::size_t> Of(std::size_t row) const {
    if (row < RowCount(definition_) && IsInitiator(row)) return kApplication;
    const std::size_t service = FindService(row);
    if (service == kNone) return std::nullopt;
    return kCoordinator + 1 + (std::min)(service, drawn_);
  }

  std::string Call(std::size_t row) const {
    const std::string call = CallInWords(definition_, row);
    const std::size_t service = FindService(row);
    return service == kNone || service < drawn_ ? call : call + " at " + names_[service];
  }

  std::string Id(std::size_t row) const {
    if (row >= RowCount(definition_)) return Call(row);
    return ShownName(BranchIdOf(definition_, row));
  }

  /// Who registers the row: the service of the branch that it is nested in ("0102" in "01"), else the application.
  std::size_t Registrant(std::size_t row) const {
    const std::size_t parent = ParentOf(row);
    return parent == kNone ? kApplication : Of(parent).value_or(kApplication);
  }

  /// The row of the branch that this one is nested in; kNone without one.
  std::size_t ParentOf(std::size_t row) const {
    if (row >= RowCount(definition_) || parents_.empty()) return kNone;
    const std::string id = BranchIdOf(definition_, row);
    const auto found =
        parents_.find(id.substr(0, id.size() - (std::min)(id.size(), std::size_t{2})));
    return found == parents_.end() ? kNone : found->second;
  }

  static constexpr std::size_t kNone = SIZE_MAX;

 private:
  /// The question of a message and the resumption of a workflow go to whoever began it.
  bool IsInitiator(std::size_t row) const {
    return HasQueryRow(definition_.type) && row == kQueryRow;
  }

  std::size_t FindService(std::size_t row) const {
    const auto found = rows_.find(row);
    return found == rows_.end() ? kNone : found->second;
  }

  /// Each gets its shortest name that no other one has.
  void NameServices() {
    std::map<std::string, std::size_t> uses{{"application", 1}, {"coordinator", 1}};
    for (const Service& service : services_) {
      const std::set<std::string> names(service.names.begin(), service.names.end());
      for (const std::string& name : names) ++uses[name];
    }
    for (const Service& service : services_) {
      const auto own = std::find_if(service.names.begin(), service.names.end(),
                                    [&uses](const std::string& name) { return uses[name] == 1; });
      const std::string& name = own == service.names.end() ? service.names.back() : *own;
      names_.push_back(ShownName(name));
    }
  }

  const Definition& definition_;
  std::vector<Service> services_;
  std::map<std::string, std::size_t> keys_;     // services
  std::map<std::size_t, std::size_t> rows_;     // that were added, and their services
  std::map<std::string, std::size_t> parents_;  // rows of branches, by their ids
  std::vector<std::string> names_;
  std::size_t drawn_ = 0;  ///< so many services have lifelines of their own
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/story_events.hpp -------------------------------------------------------------

/// The events of a diagram while they are made, one after the other: with lines for the time that passes between them, and
/// without the middle if they become too many.
/// Needs: std. Threads: one thread.

namespace dtm {
inline namespace v1 {
namespace timeline {

inline constexpr std::size_t kMaxEvents = 160;  ///< of a diagram; of more the middle is left out
inline constexpr std::size_t kMaxSaid = 200;    ///< columns of one text

using EventKind = DiagramEvent::Kind;

/// A text of the journal as it is shown.
inline std::string Said(const std::string& text) {
  return drawing::Fitted(drawing::Shown(Truncated(text, 4 * kMaxSaid)), kMaxSaid);
}

class StoryEvents {
 public:
  /// When what comes next happened.
  void At(std::optional<Duration> at) { at_ = at; }

  /// A remark of the coordinator.
  void Note(std::string text, const std::string& more, Tone tone) {
    Add({EventKind::kNote, at_, kCoordinator, kCoordinator, std::move(text), Said(more), tone});
  }

  void Arrow(EventKind kind, std::size_t from, std::size_t to, std::string text,
             const std::string& more = {}, Tone tone = Tone::kPlain) {
    Add({kind, at_, from, to, std::move(text), Said(more), tone});
  }

  /// What is not drawn, and ended at `until`.
  void Left(std::string text, const std::string& more, Duration until) {
    Add({EventKind::kSpan, at_, kCoordinator, kCoordinator, std::move(text), Said(more),
         Tone::kQuiet});
    last_ = (std::max)(last_, until);
  }

  /// One process is gone, nobody knows since when; another one goes on.
  void Break(std::string end, std::string begin) {
    running_ = 0;
    retries_ = false;
    events_.push_back({EventKind::kEnd, {}, 0, 0, std::move(end), {}, Tone::kBad});
    Add({EventKind::kBegin, at_, 0, 0, std::move(begin), {}, Tone::kPlain});
  }

  /// A call is under way from now on; or it is no more, and `retries` says if it is made again.
  void Begun() { ++running_; }
  void Done(bool begun, bool retries) {
    if (begun && running_ > 0) --running_;
    retries_ = retries;
  }
  void AllDone() { running_ = 0; }

  const DiagramEvent* Last() const { return events_.empty() ? nullptr : &events_.back(); }

  /// All of them; leaves none.
  std::vector<DiagramEvent> Take() {
    Shorten();
    return std::move(events_);
  }

 private:
  void Add(DiagramEvent event) {
    constexpr Duration kLong = std::chrono::milliseconds(100);
    constexpr Duration kLongForACall = std::chrono::seconds(1);
    const Duration passed = event.at ? *event.at - last_ : Duration{0};
    if (passed >= (running_ == 0 ? kLong : kLongForACall)) {
      const std::string span = drawing::SpanInWords(passed);
      const bool waits = retries_ && running_ == 0;
      events_.push_back({EventKind::kSpan,
                         {},
                         kCoordinator,
                         kCoordinator,
                         waits ? "waits " + span : span + " later",
                         {},
                         Tone::kQuiet});
    }
    if (event.at) last_ = (std::max)(last_, *event.at);
    events_.push_back(std::move(event));
  }

  /// Leaves the first and the last events, and some notes and all breaks between.
  void Shorten() {
    if (events_.size() <= kMaxEvents) return;
    constexpr std::size_t kHalf = kMaxEvents / 2;
    constexpr std::size_t kNotesBetween = 16;
    const std::size_t last = events_.size() - kHalf;
    std::vector<DiagramEvent> kept(events_.begin(), events_.begin() + kHalf);
    std::size_t notes = 0, left_out = 0;
    for (std::size_t i = kHalf; i < events_.size(); ++i) {
      const EventKind kind = events_[i].kind;
      const bool breaks = kind == EventKind::kEnd || kind == EventKind::kBegin;
      const bool passed = kind == EventKind::kSpan && !events_[i].at;
      const bool note = !breaks && !passed && !IsArrow(kind);
      if (i < last && !breaks && (!note || ++notes > kNotesBetween)) {
        ++left_out;
        continue;
      }
      if (left_out > 0) kept.push_back(NotDrawn(left_out));
      left_out = 0;
      kept.push_back(std::move(events_[i]));
    }
    events_ = std::move(kept);
  }

  static DiagramEvent NotDrawn(std::size_t count) {
    return {EventKind::kSpan,
            {},
            kCoordinator,
            kCoordinator,
            "... " + std::to_string(count) + " lines not drawn",
            {},
            Tone::kQuiet};
  }

  std::vector<DiagramEvent> events_;
  std::optional<Duration> at_{};
  Duration last_{0};         // when the last of them happened
  std::size_t running_ = 0;  // calls without a result
  bool retries_ = false;     // after the last result its call is made again
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drivers.hpp ------------------------------------------------------------------

/// Which processes drove a transaction, and what a diagram says when another one goes on with it.
/// Needs: std. Threads: one thread.

namespace dtm {
inline namespace v1 {
namespace timeline {

/// Of "machine:4711" only the number, if all are of one machine: that is how a coordinator names itself.
inline std::vector<std::string> ProcessNames(const std::vector<DrivenBy>& runs) {
  const auto host = [](const std::string& name) {
    const std::size_t colon = name.rfind(':');
    const bool number = colon != std::string::npos && colon + 1 < name.size() &&
                        name.find_first_not_of("0123456789", colon + 1) == std::string::npos;
    return number ? name.substr(0, colon + 1) : std::string();
  };
  const bool one = std::all_of(runs.begin(), runs.end(), [&](const DrivenBy& run) {
    return !host(run.process).empty() && host(run.process) == host(runs.front().process);
  });
  std::vector<std::string> names;
  for (const DrivenBy& run : runs) {
    const std::size_t skipped = one ? host(run.process).size() : 0;
    names.push_back((one ? "process " : "") + ShownName(run.process.substr(skipped)));
  }
  return names;
}

class Drivers {
 public:
  explicit Drivers(const Timeline& story)
      : entries_(story.entries),
        names_(ProcessNames(story.runs)),
        shared_(story.transaction.driver != 0) {}

  /// To be told of each entry, in their order.
  void Pass(const JournalEntry& entry) {
    switch (entry.kind) {
      case JournalKind::kPrepared: prepared_ = true; break;
      case JournalKind::kTakenUp: ++run_; break;
      case JournalKind::kSubmitted:
      case JournalKind::kSuccess:  // of the question to its initiator
      case JournalKind::kRollback:
      case JournalKind::kFinish: prepared_ = false; break;
      default: break;
    }
  }

  /// Of entry `i`, the last one that was passed.
  void TellTakenUp(std::size_t i, StoryEvents& events) const {
    const std::string before = Name(run_ - 1), now = Name(run_);
    if (BeforeMayLive(i)) {
      const std::string who = now.empty() ? "another process" : now;
      return events.Note(who + " goes on with it", "", Tone::kPlain);
    }
    const bool same = before == now && !now.empty();
    events.Break(before.empty() ? "its process is gone" : before + " is gone",
                 same          ? "started again"
                 : now.empty() ? "taken up"
                               : "taken up by " + now);
  }

 private:
  /// In a shared store each node goes on with what is prepared, and stops what another one drives.
  bool BeforeMayLive(std::size_t i) const {
    const bool stops = i + 1 < entries_.size() && entries_[i + 1].kind == JournalKind::kForceStop;
    return shared_ && (prepared_ || stops);
  }

  /// Empty if it is not known.
  std::string Name(std::size_t run) const {
    return run < names_.size() ? names_[run] : std::string();
  }

  const std::vector<JournalEntry>& entries_;
  const std::vector<std::string> names_;
  const bool shared_;
  bool prepared_ = false;
  std::size_t run_ = 0;
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/folds.hpp --------------------------------------------------------------------

/// When things happened, and what of a long story is not drawn: of many tries of one row, and of what people or processes did again and again, the
/// first and the last are shown, and a sentence stands for those between.
/// Needs: std. Threads: values and pure functions.

namespace dtm {
inline namespace v1 {
namespace timeline {

/// When each entry was made, since `begin`. Time does not go back here: if a clock was set back, what follows is counted on.
struct StoryTimes {
  StoryTimes(Time begin, const std::vector<JournalEntry>& entries) {
    constexpr Duration kFar{INT64_MAX / 8};
    Duration last{0};
    for (const JournalEntry& entry : entries) {
      Duration at = drawing::Between(begin, entry.time) + shift;
      set_back.push_back((std::max)(last - at, Duration{0}));
      shift = (std::min)(shift + set_back.back(), kFar);
      last = (std::max)(last, at);
      since.push_back(last);
    }
  }

  std::vector<Duration> since{};
  std::vector<Duration> set_back{};  ///< by how much the clock was set back before that entry
  Duration shift{0};                 ///< to be added to a time after the last entry
};

inline constexpr std::size_t kFirstShown = 2;
inline constexpr std::size_t kLastShown = 3;

/// Stands for the entries from `first` to `last` that are hidden for the same reason.
struct Fold {
  std::size_t first = 0;
  std::size_t last = 0;
  std::size_t row = kNoRow;  ///< whose tries are hidden
  std::string text{};
  std::string more{};
};

struct Folds {
  std::vector<bool> hidden;           ///< of each entry
  std::map<std::size_t, Fold> folds;  ///< by the first entry that they stand for
};

class FoldStory {
 public:
  static Folds Make(const Timeline& story, const std::vector<Duration>& times) {
    return FoldStory(story, times).folds_;
  }

 private:
  FoldStory(const Timeline& story, const std::vector<Duration>& times)
      : story_(story), times_(times) {
    folds_.hidden.resize(story.entries.size());
    std::map<std::size_t, std::vector<const Attempt*>> rows;
    for (const Attempt& attempt : story.attempts) rows[attempt.row].push_back(&attempt);
    for (const auto& [row, attempts] : rows) HideAttempts(row, attempts);
    std::map<JournalKind, std::vector<std::size_t>> decisions;
    for (std::size_t i = 0; i < story.entries.size(); ++i) {
      const JournalKind kind = story.entries[i].kind;
      if (!IsAttempt(kind) && kind != JournalKind::kGap) decisions[kind].push_back(i);
    }
    for (const auto& [kind, entries] : decisions) HideDecisions(kind, entries);
  }

  template <typename Item>
  static std::vector<Item> Middle(const std::vector<Item>& all) {
    if (all.size() <= kFirstShown + kLastShown + 1) return {};
    return {all.begin() + kFirstShown, all.end() - kLastShown};
  }

  void Hide(std::size_t entry, Fold& fold, bool& any) {
    if (entry >= folds_.hidden.size()) return;
    folds_.hidden[entry] = true;
    fold.first = any ? (std::min)(fold.first, entry) : entry;
    fold.last = any ? (std::max)(fold.last, entry) : entry;
    any = true;
  }

  void HideDecisions(JournalKind kind, const std::vector<std::size_t>& entries) {
    const std::vector<std::size_t> between = Middle(entries);
    Fold fold;
    bool any = false;
    for (const std::size_t entry : between) Hide(entry, fold, any);
    if (!any) return;
    fold.text = std::to_string(between.size()) + " times more: " + Name(kind);
    folds_.folds.emplace(fold.first, fold);
  }

  void HideAttempts(std::size_t row, const std::vector<const Attempt*>& attempts) {
    const std::vector<const Attempt*> between = Middle(attempts);
    Fold fold;
    fold.row = row;
    bool any = false;
    for (const Attempt* attempt : between) {
      Hide(attempt->begin_entry, fold, any);
      Hide(attempt->end_entry, fold, any);
    }
    if (!any) return;
    std::size_t count = between.size();
    const std::size_t gap = HideGaps(fold);
    if (gap > 0 && row < story_.transaction.branches.size()) {
      const std::size_t tries = story_.transaction.branches[row].tries;
      count = (std::max)(count, tries - (std::min)(tries, attempts.size() - between.size()));
    }
    fold.text = std::to_string(count) + " more tries over " +
                drawing::SpanInWords(times_[fold.last] - times_[fold.first]);
    if (gap > 0) fold.text += " (" + std::to_string(gap) + " entries not kept)";
    AddOutcomes(between, fold);
    folds_.folds.emplace(fold.first, fold);
  }

  /// Gaps inside of the fold need no line of their own. Returns how many entries they count, at least 1 for each.
  std::size_t HideGaps(const Fold& fold) {
    std::size_t count = 0;
    for (std::size_t i = fold.first; i <= fold.last; ++i) {
      const JournalEntry& entry = story_.entries[i];
      if (entry.kind != JournalKind::kGap || folds_.hidden[i]) continue;
      folds_.hidden[i] = true;
      count += (std::max)((std::min)(entry.row, std::size_t{1000000000}), std::size_t{1});
    }
    return count;
  }

  /// ", all error" and what it said, or ", 20 error, 3 ongoing" and what was said most often.
  static void AddOutcomes(const std::vector<const Attempt*>& attempts, Fold& fold) {
    std::map<std::string, std::size_t> outcomes, texts;
    for (const Attempt* attempt : attempts) {
      ++outcomes[Name(attempt->outcome)];
      ++texts[attempt->text];
    }
    if (outcomes.size() == 1) fold.text += ", all " + outcomes.begin()->first;
    if (outcomes.size() > 1) {
      for (const auto& [outcome, count] : ByNumber(outcomes)) {
        fold.text += ", " + std::to_string(count) + " " + outcome;
      }
    }
    fold.more = ByNumber(texts).front().first;
    if (texts.size() > 1 && !fold.more.empty()) fold.more = "mostly " + fold.more;
  }

  /// The most frequent first.
  static std::vector<std::pair<std::string, std::size_t>> ByNumber(
      const std::map<std::string, std::size_t>& counted) {
    std::vector<std::pair<std::string, std::size_t>> sorted(counted.begin(), counted.end());
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    return sorted;
  }

  const Timeline& story_;
  const std::vector<Duration>& times_;
  Folds folds_;
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/record_story.hpp -------------------------------------------------------------

/// What the record of a transaction adds to its diagram: how it ended or what it waits for; and without a journal, how far
/// each branch has come.
/// Needs: std. Threads: one thread.

namespace dtm {
inline namespace v1 {
namespace timeline {

class RecordStory {
 public:
  /// `begin` is the zero of the diagram, `shift` is added to the times of the record (StoryTimes).
  RecordStory(const Timeline& story, const Definition& definition, const Lifelines& lifelines,
              Time begin, Duration shift)
      : story_(story),
        record_(story.transaction),
        definition_(definition),
        lifelines_(lifelines),
        begin_(begin),
        shift_(shift) {}

  /// In place of a journal.
  void TellAll(StoryEvents& events) const {
    if (record_.expired) {
      return events.Note("its record has expired: only its end is known", "", Tone::kQuiet);
    }
    const bool prepared = definition_.prepared_first || RegistersSteps(definition_.type);
    events.At(Duration{0});
    events.Arrow(EventKind::kCall, kApplication, kCoordinator, prepared ? "prepare" : "submit");
    events.At(std::nullopt);
    events.Note("no journal was kept: this is from the record", "", Tone::kQuiet);
    std::vector<std::size_t> rows;
    for (std::size_t row = 0; row < record_.branches.size(); ++row) {
      if (record_.branches[row].status != BranchStatus::kPrepared) rows.push_back(row);
    }
    std::stable_sort(rows.begin(), rows.end(), [this](std::size_t a, std::size_t b) {
      return record_.branches[a].finished < record_.branches[b].finished;
    });
    for (const std::size_t row : rows) TellRow(row, events);
  }

  void TellEnd(StoryEvents& events) const {
    TellDamage(events);
    events.At(record_.expired ? std::nullopt : At(record_.finished));
    events.AllDone();
    events.Arrow(EventKind::kReply, kCoordinator, kApplication, Name(record_.status),
                 record_.reason, record_.status == Status::kSucceed ? Tone::kGood : Tone::kBad);
  }

  /// What is running, what is waited for, and until when.
  void TellPresent(StoryEvents& events) const {
    events.At(std::nullopt);
    TellDamage(events);
    const std::vector<std::size_t> running = Running();
    if (!running.empty()) events.Note("running: " + Listed(running), "", Tone::kPlain);
    if (record_.stuck) {
      const DiagramEvent* last = events.Last();
      const bool told = last != nullptr && last->text == "stuck";
      if (!told) events.Note("stuck", record_.last_error, Tone::kBad);
      return;
    }
    if (record_.status == Status::kPrepared) events.Note("waits for its submit", "", Tone::kPlain);
    std::vector<std::size_t> waiting;
    const std::size_t rows = (std::min)(record_.branches.size(), RowCount(definition_));
    for (std::size_t row = 0; row < rows; ++row) {
      const Branch& branch = record_.branches[row];
      const bool runs = std::find(running.begin(), running.end(), row) != running.end();
      const bool called = branch.tries > 0 && branch.status == BranchStatus::kPrepared;
      const bool waits = called && branch.next_try != Time{} && HasItsTurn(record_, row);
      if (waits && !runs) waiting.push_back(row);
    }
    if (!waiting.empty()) events.Note("waits to try again: " + Listed(waiting), "", Tone::kPlain);
    if (const auto due = At(record_.due); due && record_.due != kNever) {
      events.Note("due at " + drawing::SpanInWords(*due), "", Tone::kPlain);
    }
  }

 private:
  static constexpr std::size_t kMaxListed = 3;

  /// Nothing for a time that is not known.
  std::optional<Duration> At(Time time) const {
    if (time == Time{}) return std::nullopt;
    return (std::max)(drawing::Between(begin_, time) + shift_, Duration{0});
  }

  void TellRow(std::size_t row, StoryEvents& events) const {
    const Branch& branch = record_.branches[row];
    const bool good = branch.status == BranchStatus::kSucceed;
    std::string text = lifelines_.Call(row) + (good ? " success" : " failure");
    if (branch.tries > 1) text += " after " + std::to_string(branch.tries) + " tries";
    const std::optional<std::size_t> service = lifelines_.Of(row);
    const bool recorded = definition_.type == TransType::kWorkflow && row != kQueryRow;
    const Tone tone = good ? Tone::kGood : Tone::kBad;
    events.At(At(branch.finished));
    if (recorded || !service) return events.Note(text, "", tone);
    events.Arrow(EventKind::kReply, *service, kCoordinator, text, "", tone);
  }

  void TellDamage(StoryEvents& events) const {
    if (!record_.unreadable || record_.expired) return;
    events.At(std::nullopt);
    events.Note("its record cannot be read", record_.last_error, Tone::kBad);
  }

  std::vector<std::size_t> Running() const {
    std::vector<std::size_t> rows;
    for (const Attempt& attempt : story_.attempts) {
      if (attempt.outcome == Attempt::Outcome::kRunning) rows.push_back(attempt.row);
    }
    return rows;
  }

  std::string Listed(const std::vector<std::size_t>& rows) const {
    std::string text;
    for (std::size_t i = 0; i < rows.size() && i < kMaxListed; ++i) {
      text += (i == 0 ? "" : ", ") + lifelines_.Call(rows[i]);
    }
    if (rows.size() <= kMaxListed) return text;
    return text + " and " + std::to_string(rows.size() - kMaxListed) + " more";
  }

  const Timeline& story_;
  const Transaction& record_;
  const Definition& definition_;
  const Lifelines& lifelines_;
  const Time begin_;
  const Duration shift_;
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/make_diagram.hpp -------------------------------------------------------------

/// From the story of a transaction to its diagram: here it is decided what is drawn, in which words and order.
/// Needs: std. Threads: a pure function.

namespace dtm {
inline namespace v1 {
namespace timeline {

inline Tone ToneOf(Attempt::Outcome outcome) {
  switch (outcome) {
    case Attempt::Outcome::kSuccess: return Tone::kGood;
    case Attempt::Outcome::kFailure: return Tone::kBad;
    case Attempt::Outcome::kRunning: return Tone::kPlain;
    case Attempt::Outcome::kOngoing:
    case Attempt::Outcome::kError:
    case Attempt::Outcome::kNotSent:
    case Attempt::Outcome::kLost: return Tone::kWarning;
  }
  return Tone::kPlain;
}

/// Makes the diagram of one story.
class DiagramMaker {
 public:
  static Diagram Make(const Timeline& story) {
    DiagramMaker maker(story);
    Diagram diagram;
    diagram.lifelines = maker.MakeLifelines();
    maker.TellAll();
    diagram.events = maker.events_.Take();
    diagram.title = maker.Title();
    return diagram;
  }

 private:
  explicit DiagramMaker(const Timeline& story)
      : story_(story),
        definition_(story.transaction.definition ? *story.transaction.definition : none_),
        begin_(BeginOf(story)),
        times_(begin_, story.entries),
        folds_(FoldStory::Make(story, times_.since)),
        lifelines_(definition_),
        attempts_(story.entries.size()),
        drivers_(story) {
    for (const Attempt& attempt : story.attempts) {
      for (const std::size_t entry : {attempt.begin_entry, attempt.end_entry}) {
        if (entry < attempts_.size()) attempts_[entry] = &attempt;
      }
    }
  }

  static Time BeginOf(const Timeline& story) {
    const Time created = story.transaction.created;
    return created == Time{} && !story.entries.empty() ? story.entries.front().time : created;
  }

  std::vector<Lifeline> MakeLifelines() {
    for (const JournalEntry& entry : story_.entries) {
      if (entry.kind == JournalKind::kRegistered) {
        lifelines_.Add(lifelines_.ParentOf(entry.row));
      } else if (IsAttempt(entry.kind)) {
        lifelines_.Add(entry.row);
      }
    }
    for (std::size_t row = 0; row < story_.transaction.branches.size(); ++row) {
      const Branch& branch = story_.transaction.branches[row];
      if (branch.tries > 0) lifelines_.Add(row);
    }
    std::vector<Lifeline> lifelines = lifelines_.Name();
    if (!story_.runs.empty()) lifelines[kCoordinator].more = ShownName(story_.runs[0].process);
    return lifelines;
  }

  void TellAll() {
    const RecordStory record(story_, definition_, lifelines_, begin_, times_.shift);
    if (story_.entries.empty()) record.TellAll(events_);
    for (std::size_t i = 0; i < story_.entries.size(); ++i) Tell(i);
    if (ended_) return;  // the journal may know it before the record, which was read first
    if (IsFinal(story_.transaction.status)) {
      record.TellEnd(events_);
    } else {
      record.TellPresent(events_);
    }
  }

  void Tell(std::size_t i) {
    // The clocks of two machines always differ.
    constexpr Duration kWorthANote = std::chrono::milliseconds(100);
    const JournalEntry& entry = story_.entries[i];
    events_.At(times_.since[i]);
    if (const auto fold = folds_.folds.find(i); fold != folds_.folds.end()) TellFold(fold->second);
    drivers_.Pass(entry);
    if (folds_.hidden[i]) return;
    if (times_.set_back[i] >= kWorthANote) {
      events_.Note("the clock was set back by " + drawing::SpanInWords(times_.set_back[i]), "",
                   Tone::kQuiet);
    }
    const std::size_t last_call = last_call_;
    last_call_ = kNoEntry;
    TellEntry(i, entry, last_call);
  }

  void TellEntry(std::size_t i, const JournalEntry& entry, std::size_t last_call) {
    switch (entry.kind) {
      case JournalKind::kPrepared: return TellInitiator("prepare");
      case JournalKind::kSubmitted: return TellInitiator("submit");
      case JournalKind::kRegistered: return TellRegistered(entry);
      case JournalKind::kStarted: return TellStarted(i);
      case JournalKind::kSuccess:
      case JournalKind::kFailure:
      case JournalKind::kOngoing:
      case JournalKind::kError:
      case JournalKind::kNotSent: return TellResult(i, last_call);
      case JournalKind::kRollback: return TellRollback(i);
      case JournalKind::kStuck: return events_.Note("stuck", entry.text, Tone::kBad);
      case JournalKind::kSucceeded: return TellEnded(Status::kSucceed, Tone::kGood);
      case JournalKind::kFailed: return TellEnded(Status::kFailed, Tone::kBad);
      case JournalKind::kCancel: return TellCancel(entry);
      case JournalKind::kForceStop: return TellAsked("force-stopped", entry);
      case JournalKind::kRetryNow: return TellAsked("retry now", entry);
      case JournalKind::kFinish:
        return entry.text.empty() ? TellInitiator("finish")
                                  : TellInitiator("fail", entry.text, Tone::kBad);
      case JournalKind::kTakenUp: return drivers_.TellTakenUp(i, events_);
      case JournalKind::kGap: return TellGap(entry, times_.since[i]);
      case JournalKind::kRepair: return TellAsked(lifelines_.Call(entry.row) + " skipped", entry);
    }
  }

  void TellFold(const Fold& fold) {
    bool others = false;
    for (std::size_t i = fold.first; i <= fold.last; ++i) {
      const JournalEntry& entry = story_.entries[i];
      if (IsAttempt(entry.kind) && entry.row != fold.row) others = true;
    }
    const bool named = others && fold.row != kNoRow;
    events_.Left(named ? lifelines_.Call(fold.row) + ": " + fold.text : fold.text, fold.more,
                 times_.since[fold.last]);
  }

  void TellInitiator(const char* text, const std::string& more = {}, Tone tone = Tone::kPlain) {
    events_.Arrow(EventKind::kCall, kApplication, kCoordinator, text, more, tone);
  }

  void TellRegistered(const JournalEntry& entry) {
    const bool workflow = definition_.type == TransType::kWorkflow;
    const bool failed = workflow && !entry.text.empty();
    std::string text =
        workflow ? "record " + lifelines_.Call(entry.row) : "register " + lifelines_.Id(entry.row);
    if (failed) text += " failed";
    events_.Arrow(EventKind::kCall, lifelines_.Registrant(entry.row), kCoordinator, text,
                  entry.text, failed ? Tone::kBad : Tone::kPlain);
  }

  void TellStarted(std::size_t i) {
    const Attempt* attempt = attempts_[i];
    const std::size_t row = story_.entries[i].row;
    // What was not sent is told with its result.
    if (attempt == nullptr || attempt->outcome == Attempt::Outcome::kNotSent) return;
    const std::optional<std::size_t> service = lifelines_.Of(row);
    if (!service) return events_.Note(lifelines_.Call(row), "", Tone::kPlain);
    const bool lost = attempt->outcome == Attempt::Outcome::kLost && !LostAtTheEnd(*attempt);
    events_.Arrow(lost ? EventKind::kLost : EventKind::kCall, kCoordinator, *service,
                  lifelines_.Call(row), "", lost ? Tone::kWarning : Tone::kPlain);
    events_.Begun();
    last_call_ = i;
  }

  /// Nobody waits any more. Else the process is gone that waited, or it has lost what it knew.
  bool LostAtTheEnd(const Attempt& attempt) const {
    if (attempt.run + 1 < story_.runs.size()) return false;
    const auto last = std::find_if(story_.attempts.rbegin(), story_.attempts.rend(),
                                   [&](const Attempt& other) { return other.row == attempt.row; });
    return last != story_.attempts.rend() && &*last == &attempt;
  }

  /// `last_call`: the entry of the call that is the event before, if it is one.
  void TellResult(std::size_t i, std::size_t last_call) {
    const JournalEntry& entry = story_.entries[i];
    const Attempt* attempt = attempts_[i];
    const Attempt::Outcome outcome = OutcomeOf(entry.kind);
    const bool begun = attempt != nullptr && attempt->begin_entry < attempts_.size();
    const bool sent = outcome != Attempt::Outcome::kNotSent;
    const bool at_once = begun && attempt->begin_entry == last_call;
    const std::optional<std::size_t> service = lifelines_.Of(entry.row);
    const std::string whose = !begun || !sent ? lifelines_.Call(entry.row) + " "
                              : at_once       ? std::string()
                                              : lifelines_.Id(entry.row) + " ";
    if (service && sent) {
      events_.Arrow(EventKind::kReply, *service, kCoordinator, whose + Name(outcome), entry.text,
                    ToneOf(outcome));
    } else {
      events_.Note(whose + Name(outcome), entry.text, ToneOf(outcome));
    }
    const bool retries =
        outcome != Attempt::Outcome::kSuccess && outcome != Attempt::Outcome::kFailure;
    events_.Done(begun && service && sent, retries);
  }

  /// The reason is told once: mostly it is the answer above. What is stopped fails without being rolled back.
  void TellRollback(std::size_t i) {
    const JournalEntry& entry = story_.entries[i];
    if (i > 0 && story_.entries[i - 1].kind == JournalKind::kForceStop) return;
    const DiagramEvent* last = events_.Last();
    const bool told = last != nullptr && IsArrow(last->kind) && last->tone == Tone::kBad;
    const bool branch = entry.row != kNoRow && !told;
    events_.Note(branch ? "rolls back because of " + lifelines_.Call(entry.row) : "rolls back",
                 told && last->more == Said(entry.text) ? "" : entry.text, Tone::kBad);
  }

  void TellCancel(const JournalEntry& entry) {
    const bool initiator = entry.who.empty() && RegistersSteps(definition_.type);
    if (initiator) return TellInitiator("cancel", entry.text, Tone::kBad);
    TellAsked("cancelled", entry);
  }

  void TellAsked(const std::string& what, const JournalEntry& entry) {
    const std::string who = ShownName(entry.who);
    events_.Note(who.empty() ? what : what + " by " + who, entry.text, Tone::kWarning);
  }

  void TellGap(const JournalEntry& entry, Duration until) {
    const bool counted = entry.row != 0 && entry.row != kNoRow;
    const std::string count = counted ? std::to_string(entry.row) + " " : std::string();
    events_.Left("... " + count + "entries not kept", "", until);
  }

  void TellEnded(Status status, Tone tone) {
    ended_ = true;
    events_.AllDone();
    events_.Arrow(EventKind::kReply, kCoordinator, kApplication, Name(status), "", tone);
  }

  std::string Title() const {
    const Transaction& record = story_.transaction;
    std::string text = std::string(Name(definition_.type)) + " " + Said(definition_.gid) + ": " +
                       Name(record.status);
    if (!IsFinal(record.status) || record.finished == Time{} || record.expired) return text;
    return text + " after " + drawing::SpanInWords(drawing::Between(begin_, record.finished));
  }

  const Definition none_{};  // of a record without one
  const Timeline& story_;
  const Definition& definition_;
  const Time begin_;
  const StoryTimes times_;
  const Folds folds_;
  Lifelines lifelines_;
  std::vector<const Attempt*> attempts_;  // by entry
  Drivers drivers_;
  StoryEvents events_;
  std::size_t last_call_ = kNoEntry;  // the entry whose call is the last event
  bool ended_ = false;
};

}  // namespace timeline

/// The diagram of a transaction. Of many tries, lines and hosts a readable number is drawn, and sentences stand for the
/// others.
inline Diagram MakeDiagram(const Timeline& story) { return timeline::DiagramMaker::Make(story); }

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/error.hpp ------------------------------------------------------------------------

#include <stdexcept>
namespace dtm { inline namespace v1 {
std::string WhatWasThrown() noexcept {
  try {
    try {
      throw;
    } catch (const std::exception& error) {
      return error.what();
    } catch (...) {
      return "it threw something that is not a std::exception";
    }
  } catch (...) {
    return "out of memory";  // so short that it takes none
  }
}
}}


// ---- dtm/base/text.hpp -------------------------------------------------------------------------

#include <charconv>
#include <system_error>
namespace dtm { inline namespace v1 {
std::size_t Utf8Length(const std::string& text, std::size_t at) {
  const auto byte = [&text](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto tail = [&byte](std::size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned first = byte(at);
  if (at >= text.size()) return 0;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(at + 1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned second = byte(at + 1);
    const bool overlong = first == 0xE0 && second < 0xA0;
    const bool surrogate = first == 0xED && second > 0x9F;
    return tail(at + 1) && tail(at + 2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned second = byte(at + 1);
    const bool overlong = first == 0xF0 && second < 0x90;
    const bool too_large = first == 0xF4 && second > 0x8F;
    const bool tails = tail(at + 1) && tail(at + 2) && tail(at + 3);
    return tails && !overlong && !too_large ? 4 : 0;
  }
  return 0;
}
bool IsUtf8(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = Utf8Length(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}
void StableHash::Add(unsigned char byte) { value_ = (value_ ^ byte) * 1099511628211U; }
void StableHash::Add(std::string_view text) {
    for (const char c : text) Add(static_cast<unsigned char>(c));
  }
auto StableHash::Value() const -> std::uint64_t { return value_; }
bool HasPrefix(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}
auto Trimmed(std::string_view text) -> std::string_view {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}
std::string Lowered(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}
std::string PercentEncoded(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      result += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      result.append({'%', kHex[byte >> 4], kHex[byte & 15]});
    }
  }
  return result;
}
std::string PercentDecoded(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool encoded =
        text[i] == '%' && text.size() - i > 2 && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0;
    result += encoded ? static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])) : text[i];
    if (encoded) i += 2;
  }
  return result;
}
std::string WithQueryOpen(std::string url) {
  if (url.find('?') == std::string::npos) return url + '?';
  if (url.back() != '?' && url.back() != '&') url += '&';
  return url;
}
std::string WithQuery(std::string url, const char* key, const std::string& value) {
  return WithQueryOpen(std::move(url)) + key + '=' + PercentEncoded(value);
}
std::size_t JsonDepth(std::string_view text) {
  std::size_t depth = 0, deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = (++depth > deepest) ? depth : deepest;
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}
auto Front(std::string_view text, std::size_t max_bytes) -> std::string_view {
  if (text.size() <= max_bytes) return text;
  std::size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u) --end;
  return text.substr(0, end);
}
std::string Truncated(std::string text, std::size_t max_bytes) {
  text.resize(Front(text, max_bytes).size());
  return text;
}
std::string Printable(const std::string& text) {
  return Replaced(text, text.size(), [&text](std::size_t at, std::size_t length) {
    const unsigned char first = static_cast<unsigned char>(text[at]);
    if (first == '\n' || first == '\t') return ' ';
    const bool c1 = length == 2 && first == 0xC2 && static_cast<unsigned char>(text[at + 1]) < 0xA0;
    return length == 0 || first < 0x20 || first == 0x7F || c1 ? '?' : '\0';
  });
}
std::string CleanGid(std::string gid) {
  const auto breaks = [](char c) { return c == '\n' || c == '\r' || c == ';'; };
  gid.erase(std::remove_if(gid.begin(), gid.end(), breaks), gid.end());
  return gid;
}
}}


// ---- dtm/core/types.hpp ------------------------------------------------------------------------

namespace dtm { inline namespace v1 {
bool IsFinal(Status status) {
  return status == Status::kSucceed || status == Status::kFailed;
}
auto Name(TransType type) -> const char* {
  switch (type) {
    case TransType::kSaga: return "saga";
    case TransType::kMsg: return "msg";
    case TransType::kTcc: return "tcc";
    case TransType::kXa: return "xa";
    case TransType::kWorkflow: return "workflow";
  }
  return "unknown";
}
auto Name(Status status) -> const char* {
  switch (status) {
    case Status::kPrepared: return "prepared";
    case Status::kSubmitted: return "submitted";
    case Status::kAborting: return "aborting";
    case Status::kSucceed: return "succeed";
    case Status::kFailed: return "failed";
  }
  return "unknown";
}
auto Name(BranchStatus status) -> const char* {
  switch (status) {
    case BranchStatus::kPrepared: return "prepared";
    case BranchStatus::kSucceed: return "succeed";
    case BranchStatus::kFailed: return "failed";
  }
  return "unknown";
}
auto Name(Op op) -> const char* {
  switch (op) {
    case Op::kAction: return "action";
    case Op::kCompensate: return "compensate";
    case Op::kTry: return "try";
    case Op::kConfirm: return "confirm";
    case Op::kCancel: return "cancel";
    case Op::kCommit: return "commit";
    case Op::kRollback: return "rollback";
    case Op::kMsg: return "msg";
    case Op::kBusiness: return "business";
    case Op::kResume: return "resume";
  }
  return "unknown";
}
}}


// ---- dtm/barrier/barrier.hpp -------------------------------------------------------------------

namespace dtm { inline namespace v1 {
Barrier::Barrier(std::string trans_type, std::string gid, std::string branch_id, std::string op) : trans_type_(std::move(trans_type)),
        gid_(std::move(gid)),
        branch_id_(std::move(branch_id)),
        op_(std::move(op)) {
    const struct {
      const char* name;
      const std::string& value;
      std::size_t limit;
    } parts[] = {{"trans_type", trans_type_, kMaxNameBytes},
                 {"gid", gid_, kMaxGidBytes},
                 {"branch_id", branch_id_, kMaxGidBytes},
                 {"op", op_, kMaxNameBytes}};
    std::string missing;
    for (const auto& part : parts) {
      if (part.value.empty()) missing += (missing.empty() ? "" : ", ") + std::string(part.name);
    }
    if (!missing.empty()) {
      throw Error("the call does not say its " + missing +
                  "; a coordinator puts trans_type, gid, branch_id and op into the query of every "
                  "branch call");
    }
    for (const auto& part : parts) {
      const auto refuse = [&part](const std::string& why) {
        return Error(std::string("the ") + part.name + " '" +
                     Printable(Truncated(part.value, kMaxGidBytes)) + "' of the call " + why);
      };
      if (part.value.size() > part.limit) {
        throw refuse("has " + std::to_string(part.value.size()) + " bytes; the limit is " +
                     std::to_string(part.limit));
      }
      if (Printable(part.value) != part.value) {
        throw refuse("contains control characters or is not valid UTF-8; leave them out");
      }
    }
  }
auto Barrier::Type() const -> const std::string& { return trans_type_; }
auto Barrier::Gid() const -> const std::string& { return gid_; }
auto Barrier::BranchId() const -> const std::string& { return branch_id_; }
auto Barrier::Op() const -> const std::string& { return op_; }
std::string Barrier::Who() const {
    return trans_type_ + " gid '" + gid_ + "', branch " + branch_id_ + ", op " + op_;
  }
std::string Barrier::BeginCall() {
    if (failed_) {
      throw LogicError("barrier of " + Who() +
                       ": its last call did not commit, so the next has no number; answer with the "
                       "error (the coordinator calls again), or begin again from the first call "
                       "with a new Barrier");
    }
    ++calls_;
    return (calls_ < 10 ? "0" : "") + std::to_string(calls_);
  }
void Barrier::Fail() noexcept { failed_ = true; }
auto BarrierFromQuery(const std::multimap<std::string, std::string>& query) -> Barrier {
  const auto value = [&query](const char* name) {
    const auto found = query.equal_range(name);
    if (found.first == found.second) return std::string();
    for (auto other = found.first; other != found.second; ++other) {
      // The branch's own URL has such a parameter: whose call this is would be a guess.
      if (other->second != found.first->second) {
        throw Error("the query of the call says " + std::string(name) +
                    " twice with different values; a branch's URL must not have a parameter of "
                    "this name, the coordinator adds it");
      }
    }
    return CleanGid(found.first->second);
  };
  return Barrier(value("trans_type"), value("gid"), value("branch_id"), value("op"));
}
auto BarrierFrom(const BranchInfo& info) -> Barrier {
  return Barrier(Name(info.trans_type), info.gid, info.branch_id, Name(info.op));
}
}}

namespace dtm { inline namespace v1 { namespace barrier {
auto OriginOf(const std::string& op) -> const char* {
  if (op == "cancel") return "try";
  if (op == "compensate" || op == "rollback") return "action";
  return "";
}
auto Decide(const std::string& op, bool origin_inserted, bool own_inserted) -> Decision {
  if (op == kMsgOp && !own_inserted) return Decision::kDuplicated;
  if (origin_inserted && *OriginOf(op) != '\0') return Decision::kNullCompensation;
  return own_inserted ? Decision::kRun : Decision::kRepeated;
}
}}}


// ---- dtm/sql/sqlite_connection.hpp -------------------------------------------------------------

#include <sqlite3.h>
namespace dtm { inline namespace v1 { namespace sql {
SqliteError::SqliteError(const std::string& text, int code) : StoreError(text), code_(code) {}
int SqliteError::Code() const { return code_; }
int SqliteError::Primary() const { return code_ & 0xFF; }
Database::Database(const std::string& path, int flags, const std::string& uri) : path_(path), name_("the store file") {
    const int how = flags | SQLITE_OPEN_NOMUTEX | (uri.empty() ? 0 : SQLITE_OPEN_URI);
    const int code =
        sqlite3_open_v2(uri.empty() ? path.c_str() : uri.c_str(), &handle_, how, nullptr);
    if (code != SQLITE_OK) {
      const std::string why = handle_ != nullptr ? sqlite3_errmsg(handle_) : sqlite3_errstr(code);
      sqlite3_close_v2(handle_);
      throw SqliteError("the store file '" + path + "' cannot be opened: " + why, code);
    }
    sqlite3_extended_result_codes(handle_, 1);
  }
Database::Database(sqlite3* borrowed) : name_("the database"), handle_(borrowed), owned_(false) {
    const char* path = sqlite3_db_filename(borrowed, "main");
    path_ = path == nullptr || *path == '\0' ? ":memory:" : path;
  }
Database::~Database() {
    if (owned_) sqlite3_close_v2(handle_);
  }
auto Database::Handle() const -> sqlite3* { return handle_; }
auto Database::Path() const -> const std::string& { return path_; }
int Database::Changes() const { return sqlite3_changes(handle_); }
auto Database::LastRow() const -> std::int64_t { return sqlite3_last_insert_rowid(handle_); }
bool Database::InTransaction() const { return sqlite3_get_autocommit(handle_) == 0; }
void Database::Exec(const char* text) {
    const int code = sqlite3_exec(handle_, text, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) Fail(code, text);
  }
bool Database::HasMoved() const {
    int moved = 0;
    return sqlite3_file_control(handle_, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
           moved != 0;
  }
void Database::CopyLog() {
    int frames = 0, copied = 0;
    const int code =
        sqlite3_wal_checkpoint_v2(handle_, "main", SQLITE_CHECKPOINT_FULL, &frames, &copied);
    if (code != SQLITE_OK) Fail(code, "copying the log");
  }
void Database::KeepLog() { sqlite3_db_config(handle_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr); }
void Database::Fail(int code, std::string_view doing) const {
    std::string text = name_ + (" '" + path_ + "': ") + sqlite3_errmsg(handle_);
    const int extended = sqlite3_extended_errcode(handle_);
    if ((extended & 0xFF) == code) code = extended;  // a borrowed connection may say less
    switch (code & 0xFF) {
      case SQLITE_FULL:
        text += " (no space is left on its disk; free some, it goes on by itself)";
        break;
      case SQLITE_READONLY: text += " (make the file and its folder writable)"; break;
      case SQLITE_CORRUPT:
      case SQLITE_NOTADB:
        text += " (the file is damaged or is no SQLite database; restore it from a backup)";
        break;
      case SQLITE_BUSY:
        text += " (another program holds a write transaction on it; end that one)";
        break;
      case SQLITE_IOERR:
        text += " (its disk is full or fails: see that it has space and works)";
        break;
      default: text += " (while: " + std::string(doing.substr(0, 60)) + ")"; break;
    }
    throw SqliteError(text, code);
  }
bool LogIndex::State::operator!=(const State& other) const {
      return known != other.known || salt != other.salt || copied != other.copied;
    }
bool LogIndex::State::Copying() const { return begun != copied; }
LogIndex::LogIndex(const Database& database) {
    sqlite3_file* file = nullptr;
    sqlite3_file_control(database.Handle(), "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (file == nullptr || file->pMethods == nullptr || file->pMethods->iVersion < 2) return;
    void volatile* mapped = nullptr;
    constexpr int kRegionBytes = 32768;
    if (file->pMethods->xShmMap(file, 0, kRegionBytes, 0, &mapped) != SQLITE_OK) return;
    words_ = static_cast<const volatile std::uint32_t*>(mapped);
  }
auto LogIndex::Now() const -> State {
    if (words_ == nullptr || words_[0] != kVersion) return {};
    return {true, words_[8], words_[4], words_[24], words_[32]};
  }
Statement::Statement(Database& database, std::string text) : database_(&database), text_(std::move(text)) {
    const int code =
        sqlite3_prepare_v3(database.Handle(), text_.data(), static_cast<int>(text_.size()),
                           SQLITE_PREPARE_PERSISTENT, &handle_, nullptr);
    if (code != SQLITE_OK) database.Fail(code, text_);
  }
Statement::~Statement() { sqlite3_finalize(handle_); }
Statement::Statement(Statement&& other) noexcept : database_(other.database_), text_(std::move(other.text_)), handle_(other.handle_) {
    other.handle_ = nullptr;
  }
auto Statement::Bind(int index, std::int64_t value) -> Statement& {
    return Check(sqlite3_bind_int64(handle_, index, value));
  }
auto Statement::BindText(int index, std::string_view value) -> Statement& {
    return Check(sqlite3_bind_text(handle_, index, Data(value), static_cast<int>(value.size()),
                                   SQLITE_STATIC));
  }
auto Statement::BindBlob(int index, std::string_view value) -> Statement& {
    return Check(sqlite3_bind_blob(handle_, index, Data(value), static_cast<int>(value.size()),
                                   SQLITE_STATIC));
  }
auto Statement::BindNull(int index) -> Statement& { return Check(sqlite3_bind_null(handle_, index)); }
bool Statement::Step() {
    const int code = sqlite3_step(handle_);
    if (code == SQLITE_ROW) return true;
    // Fail reads the message before Reset could replace it.
    if (code != SQLITE_DONE) {
      Resetter reset{handle_};
      database_->Fail(code, text_);
    }
    sqlite3_reset(handle_);
    return false;
  }
void Statement::Reset() { sqlite3_reset(handle_); }
auto Statement::Int(int column) const -> std::int64_t { return sqlite3_column_int64(handle_, column); }
std::size_t Statement::Bytes(int column) const {
    return static_cast<std::size_t>(sqlite3_column_bytes(handle_, column));
  }
bool Statement::IsNull(int column) const { return sqlite3_column_type(handle_, column) == SQLITE_NULL; }
std::string Statement::Text(int column) const { return std::string(View(column)); }
auto Statement::View(int column) const -> std::string_view {
    const void* data = sqlite3_column_type(handle_, column) == SQLITE_BLOB
                           ? sqlite3_column_blob(handle_, column)
                           : sqlite3_column_text(handle_, column);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(handle_, column));
    return data == nullptr ? std::string_view()
                           : std::string_view(static_cast<const char*>(data), size);
  }
Statement::Resetter::~Resetter() { sqlite3_reset(handle); }
auto Statement::Data(std::string_view value) -> const char* { return value.empty() ? "" : value.data(); }
auto Statement::Check(int code) -> Statement& {
    if (code != SQLITE_OK) database_->Fail(code, text_);
    return *this;
  }
}}}


// ---- dtm/sql/exclusive.hpp ---------------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace sql {
Exclusive::Exclusive(sqlite3* db) : db_(db), mutex_(sqlite3_db_mutex(db)) {
    if (mutex_ != nullptr) {
      sqlite3_mutex_enter(mutex_);
      return;
    }
    const std::thread::id me = std::this_thread::get_id();
    Inside& inside = WithoutMutex();
    const std::lock_guard<std::mutex> lock(inside.mutex);
    Inside::Visit& visit = inside.visits[db_];
    if (visit.depth > 0 && visit.thread != me) {
      throw LogicError(
          "the SQLite connection is used by another thread at this moment, and has no mutex to "
          "wait "
          "for; open it without SQLITE_OPEN_NOMUTEX, or give each thread a connection of its own");
    }
    visit.thread = me;
    ++visit.depth;
  }
Exclusive::~Exclusive() {
    if (mutex_ != nullptr) {
      sqlite3_mutex_leave(mutex_);
      return;
    }
    Inside& inside = WithoutMutex();
    const std::lock_guard<std::mutex> lock(inside.mutex);
    const auto visit = inside.visits.find(db_);
    if (--visit->second.depth == 0) inside.visits.erase(visit);
  }
auto Exclusive::WithoutMutex() -> Inside& {
    static Inside& inside = *new Inside;
    return inside;
  }
}}}


// ---- dtm/barrier/sqlite_schema.hpp -------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace barrier {
std::string Quoted(const std::string& table) {
  bool plain = !table.empty() && table.size() <= 64;
  for (const char c : table) {
    plain = plain && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_');
  }
  if (!plain) {
    throw LogicError(
        "'" + Printable(table) +
        "' is no name for a barrier table; use up to 64 letters, digits and _, without "
        "a schema (the table is in the main file of the connection)");
  }
  return "main.\"" + table + "\"";
}
auto NotNull(sqlite3* db) -> sqlite3* {
  if (db == nullptr)
    throw LogicError("the connection for the barrier table is null; open it first");
  return db;
}
}}}

namespace dtm { inline namespace v1 {
void CreateBarrierTable(sqlite3* db, const std::string& table) {
  const sql::Exclusive exclusive(barrier::NotNull(db));
  sql::Database database(db);
  database.Exec(("CREATE TABLE IF NOT EXISTS " + barrier::Quoted(table) + R"sql( (
  id INTEGER,
  trans_type TEXT NOT NULL,
  gid TEXT NOT NULL,
  branch_id TEXT NOT NULL,
  op TEXT NOT NULL,
  barrier_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  create_time TEXT DEFAULT CURRENT_TIMESTAMP,
  update_time TEXT,
  PRIMARY KEY (gid, branch_id, op, barrier_id)
) WITHOUT ROWID)sql")
                    .c_str());
}
}}


// ---- dtm/base/callable.hpp ---------------------------------------------------------------------

#include <type_traits>

// ---- dtm/core/result.hpp -----------------------------------------------------------------------

namespace dtm { inline namespace v1 {
auto Result::Success() -> Result { return {Kind::kSuccess, {}}; }
auto Result::Failure(std::string reason) -> Result { return {Kind::kFailure, std::move(reason)}; }
auto Result::Ongoing(std::string text) -> Result { return {Kind::kOngoing, std::move(text)}; }
auto Result::Error(std::string text) -> Result { return {Kind::kError, std::move(text)}; }
auto Result::NotSent(std::string why) -> Result { return {Kind::kNotSent, std::move(why)}; }
auto Result::NoHandler(std::string why) -> Result {
    Result result = NotSent(std::move(why));
    result.no_handler = true;
    return result;
  }
bool TransResult::Finished() const { return IsFinal(status); }
bool TransResult::Succeeded() const { return status == Status::kSucceed; }
bool TransResult::Failed() const { return status == Status::kFailed; }
std::string RolledBack(const TransResult& result) {
  std::string text = "gid '" + result.gid + "' was rolled back: " + result.reason;
  if (!result.reason_from.empty()) text += " (" + result.reason_from + ")";
  return text;
}
}}


// ---- dtm/barrier/sqlite_barrier.hpp ------------------------------------------------------------

namespace dtm { inline namespace v1 {
SqliteBarrierTable::SqliteBarrierTable(sqlite3* db, const std::string& table) : SqliteBarrierTable(sql::Exclusive(barrier::NotNull(db)), db, table) {}
auto SqliteBarrierTable::QueryPrepared(const Barrier& barrier) -> Result {
    if (barrier.Op() != barrier::kMsgOp) {
      throw LogicError(Where(barrier) + "QueryPrepared answers only calls with op msg; use Call");
    }
    const sql::Exclusive exclusive(db_.Handle());
    if (db_.InTransaction()) {
      throw LogicError(Where(barrier) +
                       "the connection is in a transaction, but the answer must be durable before "
                       "it is given; end the transaction first");
    }
    return Ours(barrier, [&] {
      Insert(barrier, barrier::kMsgBranch, barrier::kMsgOp, barrier::kMsgNumber,
             barrier::kRollback);
      sql::Statement read(db_, "SELECT reason FROM " + quoted_ +
                                   " WHERE gid = ?1 AND branch_id = ?2 AND op = ?3 AND "
                                   "barrier_id = ?4");
      read.BindText(1, barrier.Gid()).BindText(2, barrier::kMsgBranch);
      read.BindText(3, barrier::kMsgOp).BindText(4, barrier::kMsgNumber);
      if (!read.Step()) throw StoreError(Where(barrier) + "its row was deleted; ask again");
      if (read.Text(0) != barrier::kRollback) return Result::Success();
      return Result::Failure("the local step of msg gid '" + barrier.Gid() +
                             "' was not committed, and cannot be any more");
    });
  }
SqliteBarrierTable::SqliteBarrierTable(const sql::Exclusive&, sqlite3* db, const std::string& table) : table_(table),
        quoted_(barrier::Quoted(table)),
        db_(db),
        save_(db_, "SAVEPOINT dtm_barrier"),
        release_(db_, "RELEASE dtm_barrier"),
        insert_(PrepareInsert()) {}
SqliteBarrierTable::Undo::Undo(sql::Database& db, Barrier& barrier, BegunBy begun_by) : db_(db), barrier_(barrier), begun_by_(begun_by) {}
SqliteBarrierTable::Undo::~Undo() {
      if (kept_) return;
      barrier_.Fail();
      if (begun_by_ == BegunBy::kCall) {
        if (db_.InTransaction()) Run("ROLLBACK");
      } else if (begun_) {
        Run("ROLLBACK TO dtm_barrier_inner; RELEASE dtm_barrier_inner");
      }
    }
void SqliteBarrierTable::Undo::Begun() { begun_ = true; }
void SqliteBarrierTable::Undo::Keep() { kept_ = true; }
void SqliteBarrierTable::Undo::Run(const char* text) { sqlite3_exec(db_.Handle(), text, nullptr, nullptr, nullptr); }
auto SqliteBarrierTable::PrepareInsert() -> sql::Statement {
    try {
      // With the columns of its unique key, so that a table without it is refused.
      return sql::Statement(db_, "INSERT INTO " + quoted_ +
                                     " (trans_type, gid, branch_id, op, barrier_id, reason) "
                                     "VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
                                     "ON CONFLICT (gid, branch_id, op, barrier_id) DO NOTHING");
    } catch (const sql::SqliteError& error) {
      if (error.Primary() != SQLITE_ERROR) throw;
      throw sql::SqliteError("'" + table_ + "' cannot serve as barrier table: " + error.what() +
                                 "; CreateBarrierTable makes one",
                             error.Code());
    }
  }
std::string SqliteBarrierTable::Where(const Barrier& barrier) const {
    return "barrier of " + barrier.Who() + ", table '" + table_ + "': ";
  }
bool SqliteBarrierTable::Insert(const Barrier& barrier, std::string_view branch_id, std::string_view op,
              std::string_view number, std::string_view reason) {
    insert_.BindText(1, barrier.Type()).BindText(2, barrier.Gid()).BindText(3, branch_id);
    insert_.BindText(4, op).BindText(5, number).BindText(6, reason);
    insert_.Step();
    return db_.Changes() > 0;
  }
void SqliteBarrierTable::Begin(BegunBy begun_by) {
    if (begun_by == BegunBy::kProgram) return db_.Exec("SAVEPOINT dtm_barrier_inner");
    save_.Step();
  }
auto SqliteBarrierTable::Run(Barrier& barrier, BegunBy begun_by, const std::function<Result()>& business) -> Result {
    const sql::Exclusive exclusive(db_.Handle());
    CheckUse(barrier, begun_by);
    const std::string number = barrier.BeginCall();
    Undo undo(db_, barrier, begun_by);
    Ours(barrier, [&] { Begin(begun_by); });
    undo.Begun();
    const barrier::Decision decision = Ours(barrier, [&] {
      const std::string origin = barrier::OriginOf(barrier.Op());
      const bool origin_inserted =
          !origin.empty() && Insert(barrier, barrier.BranchId(), origin, number, barrier.Op());
      const bool own_inserted =
          Insert(barrier, barrier.BranchId(), barrier.Op(), number, barrier.Op());
      return barrier::Decide(barrier.Op(), origin_inserted, own_inserted);
    });
    Result result = Result::Success();
    switch (decision) {
      case barrier::Decision::kDuplicated:
        throw DuplicatedError("DUPLICATED: " + Where(barrier) +
                              "the local step ran before, or was forbidden when the coordinator "
                              "asked for it; QueryPrepared says which");
      case barrier::Decision::kRun: result = business(); break;
      case barrier::Decision::kNullCompensation:
      case barrier::Decision::kRepeated: break;
    }
    if (result.kind != Result::Kind::kSuccess) return result;
    Commit(barrier, begun_by);
    undo.Keep();
    return result;
  }
void SqliteBarrierTable::CheckUse(const Barrier& barrier, BegunBy begun_by) const {
    if (barrier.Type() == Name(TransType::kXa)) {
      throw LogicError(Where(barrier) +
                       "SQLite cannot prepare a transaction for xa; use saga or tcc");
    }
    if (begun_by == BegunBy::kCall && db_.InTransaction()) {
      throw LogicError(Where(barrier) +
                       "the connection is in a transaction already; end it, or use "
                       "CallInTransaction and commit before you answer");
    }
    if (begun_by == BegunBy::kProgram && !db_.InTransaction()) {
      throw LogicError(Where(barrier) +
                       "the connection is in no transaction; begin one with BEGIN IMMEDIATE, or "
                       "use Call");
    }
  }
void SqliteBarrierTable::Commit(const Barrier& barrier, BegunBy begun_by) {
    bool ended = false;  // inside the business
    try {
      if (begun_by == BegunBy::kProgram) return db_.Exec("RELEASE dtm_barrier_inner");
      release_.Step();
      ended = db_.InTransaction();  // it was a savepoint of the business that we released
    } catch (const sql::SqliteError& error) {
      const std::string text = Where(barrier) + error.what();
      const int code = error.Primary();
      ended = code == SQLITE_ERROR;  // no such savepoint
      // These may come after the commit has reached the disk.
      const bool in_doubt =
          code == SQLITE_IOERR || code == SQLITE_NOMEM || code == SQLITE_INTERRUPT;
      if (begun_by == BegunBy::kCall && in_doubt) {
        throw InDoubtError(text +
                           "; row and effect are both stored or both not, the same call "
                           "again settles it");
      }
      if (!ended) {
        throw sql::SqliteError(
            text + (begun_by == BegunBy::kCall ? "; it did not commit, nothing was stored"
                                               : "; roll the transaction back"),
            error.Code());
      }
    }
    if (ended) {
      throw LogicError(Where(barrier) +
                       "its transaction was ended inside the business, by COMMIT, ROLLBACK or an "
                       "error that SQLite answered with a rollback; leave the first two to the "
                       "barrier and pass every error on. What was written since is not covered");
    }
  }
}}


// ---- dtm/base/payload.hpp ----------------------------------------------------------------------

#include <cmath>
#include <nlohmann/json.hpp>
namespace dtm { inline namespace v1 { namespace payload {
auto Unwritable(const nlohmann::json& value, std::string& place) -> const char* {
  const char* found = nullptr;
  if (value.is_number_float()) {
    if (!std::isfinite(value.get<double>()))
      found = "a number that is not finite (NaN or infinity)";
  } else if (value.is_object()) {
    for (auto entry = value.begin(); entry != value.end() && found == nullptr; ++entry) {
      found = Unwritable(*entry, place);
      if (found != nullptr) place.insert(0, "/" + entry.key());
    }
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size() && found == nullptr; ++i) {
      found = Unwritable(value[i], place);
      if (found != nullptr) place.insert(0, "/" + std::to_string(i));
    }
  } else if (value.is_binary()) {
    found = "binary data";
  } else if (value.is_discarded()) {
    found = "a discarded value (a text that did not parse)";
  }
  return found;
}
std::string Text(const std::string& what, const nlohmann::json& value) {
  std::string place;
  if (const char* found = Unwritable(value, place)) {
    throw LogicError(what + " cannot be written as JSON: " +
                     (place.empty() ? "it is " : "at '" + place + "' is ") + found +
                     ", which JSON does not have; check it before, or send a text or null in its "
                     "place");
  }
  try {
    return value.dump();
  } catch (const nlohmann::json::exception& error) {
    throw LogicError(what + " cannot be written as JSON: " + error.what());
  }
}
}}}


// ---- dtm/core/transaction.hpp ------------------------------------------------------------------

#include <cstdio>
namespace dtm { inline namespace v1 {
auto FindBranchHeader(const TransOptions& options, std::string_view lower) -> const std::string* {
  for (const auto& [name, value] : options.branch_headers) {
    if (name.size() == lower.size() && Lowered(name) == lower) return &value;
  }
  return nullptr;
}
bool IsTraceHeader(const std::string& name) {
  const std::string lower = Lowered(name);
  return lower == kTraceParent || lower == kTraceState;
}
std::size_t Step::UrlAndPayloadBytes() const {
    return action.size() + compensate.size() + payload.size();
  }
bool IsLocal(std::string_view url) { return HasPrefix(url, kLocalPrefix); }
bool RunsInTransaction(std::string_view url) {
  return IsLocal(url) && HasPrefix(url.substr(kLocalPrefixSize), kInTransactionPrefix);
}
bool IsTopic(std::string_view url) { return HasPrefix(url, kTopicPrefix); }
bool CallsFunctions(const Definition& definition) {
  const auto is_local = [](const Step& step) {
    return IsLocal(step.action) || IsLocal(step.compensate);
  };
  return IsLocal(definition.query_prepared) ||
         std::any_of(definition.steps.begin(), definition.steps.end(), is_local);
}
std::size_t BytesOf(const Step& step) {
  constexpr std::size_t kBytesOfBranch = 48;
  return sizeof(Step) + 2 * kBytesOfBranch + step.branch_id.size() + step.topic.size() +
         step.UrlAndPayloadBytes();
}
std::size_t BytesOf(const Definition& definition) {
  constexpr std::size_t kRecord = 512;
  std::size_t bytes = sizeof(Definition) + kRecord + definition.gid.size() +
                      definition.data.size() + definition.query_prepared.size() +
                      definition.workflow.size() + definition.custom_data.size();
  for (const auto& [name, value] : definition.options.branch_headers) {
    bytes += 2 * sizeof(std::string) + name.size() + value.size();
  }
  for (const auto& order : definition.orders) {
    bytes += sizeof order + order.second.size() * sizeof(int);
  }
  for (const Step& step : definition.steps) bytes += BytesOf(step);
  return bytes;
}
bool RegistersSteps(TransType type) {
  return type == TransType::kTcc || type == TransType::kXa || type == TransType::kWorkflow;
}
bool HasQueryRow(TransType type) {
  return type == TransType::kMsg || type == TransType::kWorkflow;
}
auto SubmittedSteps(
    const Definition& definition) -> std::vector<std::pair<std::string, std::string>> {
  std::vector<std::pair<std::string, std::string>> steps;
  std::string last;  // the number of the topic's step
  for (const Step& step : definition.steps) {
    const std::string number = step.branch_id.substr(0, step.branch_id.find('-'));
    const bool more = !step.topic.empty() && number == last;
    last = step.topic.empty() ? std::string() : number;
    if (!more) steps.emplace_back(step.topic.empty() ? step.action : step.topic, step.payload);
  }
  return steps;
}
bool SameContent(const Definition& a, const Definition& b) {
  const auto same_step = [](const Step& x, const Step& y) {
    return x.action == y.action && x.compensate == y.compensate && x.payload == y.payload;
  };
  if (a.gid != b.gid || a.type != b.type || a.concurrent != b.concurrent || a.orders != b.orders ||
      a.workflow != b.workflow || a.data != b.data) {
    return false;
  }
  if (HasQueryRow(a.type) && a.query_prepared != b.query_prepared) return false;
  if (RegistersSteps(a.type)) return true;
  if (a.type == TransType::kMsg) return SubmittedSteps(a) == SubmittedSteps(b);
  return std::equal(a.steps.begin(), a.steps.end(), b.steps.begin(), b.steps.end(), same_step);
}
auto ContentHash(const Definition& definition) -> std::uint64_t {
  StableHash hash;
  const auto add_number = [&](std::uint64_t number) {
    for (int i = 0; i < 64; i += 8) hash.Add(static_cast<unsigned char>(number >> i & 0xFF));
  };
  const auto add = [&](const std::string& text) {
    add_number(text.size());
    hash.Add(text);
  };
  add_number(static_cast<std::uint64_t>(definition.type));
  add_number(definition.concurrent ? 1 : 0);
  add_number(definition.orders.size());
  for (const auto& order : definition.orders) {
    add_number(static_cast<std::uint64_t>(order.first));
    add_number(order.second.size());
    for (const int step : order.second) add_number(static_cast<std::uint64_t>(step));
  }
  add(HasQueryRow(definition.type) ? definition.query_prepared : std::string());
  add(definition.workflow);
  add(definition.data);
  if (definition.type == TransType::kMsg) {
    for (const auto& step : SubmittedSteps(definition)) {
      add(step.first);
      add(step.second);
    }
  } else if (!RegistersSteps(definition.type)) {
    for (const Step& step : definition.steps) {
      for (const std::string* text : {&step.action, &step.compensate, &step.payload}) add(*text);
    }
  }
  return hash.Value() == 0 ? 1 : hash.Value();
}
}}


// ---- dtm/core/endpoint.hpp ---------------------------------------------------------------------

namespace dtm { inline namespace v1 {
auto Answer::Get() const -> const TransResult& {
    if (error) std::rethrow_exception(error);
    return result;
  }
Endpoint::~Endpoint() = default;
std::string MustGenGid(Endpoint& endpoint) { return endpoint.NewGid(); }
}}


// ---- dtm/core/url.hpp --------------------------------------------------------------------------

namespace dtm { inline namespace v1 {
std::string Url::Authority() const {
    const bool ipv6 = host.find(':') != std::string::npos;
    std::string text = ipv6 ? "[" + host + "]" : host;
    if (port != DefaultPort()) text += ":" + std::to_string(port);
    return text;
  }
std::string Url::Origin() const { return scheme + "://" + Authority(); }
bool Url::Tls() const { return scheme == "https"; }
bool Url::Http() const { return scheme == "http" || Tls(); }
int Url::DefaultPort() const { return Tls() ? 443 : Http() ? 80 : 0; }
}}

namespace dtm { inline namespace v1 { namespace url_parts {
bool ValidHost(std::string& host, bool (*allowed)(char)) {
  host = Lowered(host);
  return !host.empty() && std::all_of(host.begin(), host.end(), allowed);
}
int Port(std::string_view text) {
  if (text.empty() || text.size() > 5) return 0;
  int port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return 0;
    port = port * 10 + (c - '0');
  }
  return port <= 65535 ? port : 0;
}
std::string Target(std::string_view rest) {
  std::string target = rest.empty() || rest.front() != '/' ? "/" : "";
  target.reserve(rest.size() + 1);
  for (const char c : rest) {
    if (c == '#') break;
    if (c > ' ' && c < 127) {
      target += c;
    } else {
      target += PercentEncoded(std::string_view(&c, 1));
    }
  }
  return target;
}
std::string Hidden(std::string_view url, std::size_t begin, std::size_t at) {
  return std::string(url.substr(0, begin)) + "***" + std::string(url.substr(at));
}
auto FindUser(const std::string& url) -> User {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos || IsLocal(url) || IsTopic(url)) return {};
  const std::size_t begin = scheme + 3;
  const std::size_t end = (std::min)(url.find_first_of("/?#", begin), url.size());
  const std::size_t at = std::string_view(url).substr(0, end).rfind('@');
  return {begin, at == std::string::npos || at < begin ? std::string::npos : at};
}
bool Credentials(std::string_view text, std::string& credentials) {
  constexpr std::string_view kMarks = "-._:~!$&'()*+,;=%@";
  for (const char c : text) {
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!word && kMarks.find(c) == std::string_view::npos) return false;
  }
  if (text.empty()) return true;
  const std::size_t colon = text.find(':');
  credentials = PercentDecoded(text.substr(0, colon)) + ':';
  if (colon != std::string_view::npos) credentials += PercentDecoded(text.substr(colon + 1));
  return true;
}
auto Refusal(const std::string& text, const char* what, const char* why) -> Error {
  const std::size_t at = text.rfind('@');
  const std::size_t scheme = text.find("://");
  const std::size_t begin = scheme == std::string::npos || scheme > at ? 0 : scheme + 3;
  std::string shown;
  for (const char c : (at == std::string::npos ? text : Hidden(text, begin, at)).substr(0, 200))
    shown += c >= ' ' && c != 127 ? c : '?';
  return Error(std::string(what) + " \"" + shown + "\" " + why);
}
}}}

namespace dtm { inline namespace v1 {
std::string ShownUrl(const std::string& url) {
  const url_parts::User user = url_parts::FindUser(url);
  return user.at == std::string::npos ? url : url_parts::Hidden(url, user.begin, user.at);
}
bool SameCall(const std::string& url, const std::string& other) {
  const auto bare = [](std::string text) {
    const url_parts::User user = url_parts::FindUser(text);
    return user.at == std::string::npos ? text : text.erase(user.begin, user.at + 1 - user.begin);
  };
  return url == other || bare(url) == bare(other);
}
std::string SchemeOf(const std::string& url) {
  const std::size_t colon = url.find("://");
  if (colon == std::string::npos) return {};
  std::string scheme = Lowered(std::string_view(url).substr(0, colon));
  const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const bool valid = std::all_of(scheme.begin(), scheme.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
  });
  return valid && !scheme.empty() && letter(scheme.front()) ? scheme : std::string();
}
auto ParseUrl(const std::string& text, const char* what) -> Url {
  const auto refuse = [&text, what](const char* why) {
    return url_parts::Refusal(text, what, why);
  };
  if (text.size() > kMaxUrlBytes) throw refuse("is too long");
  for (const char c : text) {
    if ((c >= 0 && c < ' ') || c == 127) throw refuse("contains a control character");
  }
  Url url;
  url.scheme = SchemeOf(text);
  if (url.scheme.empty()) throw refuse(url_parts::kNoHttp);

  const std::string_view after = std::string_view(text).substr(url.scheme.size() + 3);
  std::string_view authority = after.substr(0, after.find_first_of("/?#"));
  url.target = url_parts::Target(after.substr(authority.size()));
  if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
    if (!url_parts::Credentials(authority.substr(0, at), url.credentials)) {
      throw refuse("has a user name or password with a character that has to be written as %XX");
    }
    authority.remove_prefix(at + 1);
  }
  std::string_view rest;  // of the authority, behind the host
  bool valid = false;
  if (!authority.empty() && authority.front() == '[') {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) throw refuse("has an IPv6 address without its closing ]");
    url.host = authority.substr(1, end - 1);
    rest = authority.substr(end + 1);
    valid = url_parts::ValidHost(url.host,
                                 [](char c) {
                                   return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
                                          c == ':' || c == '.';
                                 }) &&
            url.host.find(':') != std::string::npos;
  } else {
    const std::size_t end =
        (authority.find(':') == std::string_view::npos) ? authority.size() : authority.find(':');
    url.host = authority.substr(0, end);
    rest = authority.substr(end);
    valid = url_parts::ValidHost(url.host, [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_';
    });
  }
  if (!valid) throw refuse("has no valid host name");
  url.port = url.DefaultPort();
  if (!rest.empty()) {
    url.port = rest.front() == ':' ? url_parts::Port(rest.substr(1)) : 0;
    if (url.port == 0) throw refuse("has no valid port (1 to 65535)");
  }
  return url;
}
auto ParseHttpUrl(const std::string& text, const char* what) -> Url {
  Url url = ParseUrl(text, what);
  if (!url.Http()) throw url_parts::Refusal(text, what, url_parts::kNoHttp);
  return url;
}
void CheckUrlOption(const char* name, const std::string& url) {
  if (url.empty()) return;
  try {
    (void)ParseHttpUrl(url, name);
  } catch (const Error& error) {
    throw LogicError(std::string("the option ") + error.what());
  }
}
std::string UrlProblem(const std::string& url) {
  if (url.empty() || IsLocal(url) || IsTopic(url)) return {};
  try {
    (void)ParseUrl(url);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}
}}


// ---- dtm/client/branch_args.hpp ----------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace branch_args {
std::string Url(const Endpoint&, const std::string&, NoBranch) { return {}; }
std::string Url(const Endpoint&, const std::string& gid, const std::string& url) {
  if (IsLocal(url)) {
    throw LogicError("gid '" + gid + "': '" + url +
                     "' names a function; pass what Register returned, so that its payload type is "
                     "checked");
  }
  const std::string problem = UrlProblem(url);
  if (!problem.empty()) throw RejectedError("gid '" + gid + "': " + problem);
  return url;
}
std::string Url(const Endpoint& endpoint, const std::string& gid, const char* url) {
  if (url != nullptr) return Url(endpoint, gid, std::string(url));
  throw LogicError("gid '" + gid +
                   "': a branch is a null pointer; where there is nothing to call write kNoBranch");
}
std::string Text(const std::string& gid, const std::string& where,
                        const nlohmann::json& payload) {
  return payload::Text("gid '" + gid + "': the payload of " + where, payload);
}
}}}


// ---- dtm/client/msg.hpp ------------------------------------------------------------------------

namespace dtm { inline namespace v1 {
Msg::Msg(Endpoint& endpoint, std::string gid) : endpoint_(&endpoint) {
    definition_.gid = std::move(gid);
    definition_.type = TransType::kMsg;
  }
auto Msg::SetDelay(std::chrono::seconds delay) & -> Msg& {
    definition_.delay = delay;
    return *this;
  }
auto Msg::SetDelay(std::chrono::seconds delay) && -> Msg { return std::move(SetDelay(delay)); }
auto Msg::SetConcurrent() & -> Msg& {
    definition_.concurrent = true;
    return *this;
  }
auto Msg::SetConcurrent() && -> Msg { return std::move(SetConcurrent()); }
auto Msg::Submit() const -> TransResult { return endpoint_->Submit(definition_); }
auto Msg::SubmitAndWait(Duration timeout) const -> TransResult {
    return endpoint_->SubmitAndWait(definition_, timeout);
  }
auto Msg::Gid() const -> const std::string& { return definition_.gid; }
auto Msg::Content() const -> const Definition& { return definition_; }
auto Msg::MutableOptions() -> TransOptions& { return definition_.options; }
auto Msg::AddStep(std::string url, const nlohmann::json& payload) -> Msg& {
    Step step;
    step.action = std::move(url);
    step.payload = branch_args::Text(definition_.gid,
                                     "step " + std::to_string(definition_.steps.size()), payload);
    definition_.steps.push_back(std::move(step));
    return *this;
  }
auto Msg::SubmitCommitted() const -> TransResult {
    const auto in_doubt = [this](const Error& error) {
      return InDoubtError("gid '" + definition_.gid +
                          "': the local transaction is committed and the message prepared, but its "
                          "submit was refused (" +
                          error.what() + "); submit it again, or the coordinator will ask " +
                          ShownUrl(definition_.query_prepared));
    };
    try {
      return Submit();
    } catch (const BusyError& error) {
      throw in_doubt(error);
    } catch (const StoreError& error) {
      throw in_doubt(error);
    }
  }
auto Msg::AskInitiator(const BranchInfo& info) const -> Result {
    InitiatorCall call;
    call.info = info;
    call.url = definition_.query_prepared;
    call.options = definition_.options;
    return CatchAsResult([&] { return endpoint_->CallBranch(call); });
  }
void Msg::Abort(const std::string& reason) const {
    (void)CatchAsResult([&] {
      endpoint_->Abort(definition_.gid, TransType::kMsg, reason);
      return Result::Success();
    });
  }
auto NewMsg(Endpoint& endpoint, std::string gid) -> Msg { return Msg(endpoint, std::move(gid)); }
}}


// ---- dtm/client/saga.hpp -----------------------------------------------------------------------

namespace dtm { inline namespace v1 {
Saga::Saga(Endpoint& endpoint, std::string gid) : endpoint_(&endpoint) {
    definition_.gid = std::move(gid);
    definition_.type = TransType::kSaga;
  }
auto Saga::AddBranchOrder(int step, std::vector<int> after) & -> Saga& {
    definition_.orders[step] = std::move(after);
    return *this;
  }
auto Saga::AddBranchOrder(int step, std::vector<int> after) && -> Saga {
    return std::move(AddBranchOrder(step, std::move(after)));
  }
auto Saga::SetConcurrent() & -> Saga& {
    definition_.concurrent = true;
    return *this;
  }
auto Saga::SetConcurrent() && -> Saga { return std::move(SetConcurrent()); }
auto Saga::Submit() const -> TransResult { return endpoint_->Submit(definition_); }
auto Saga::SubmitAndWait(Duration timeout) const -> TransResult {
    return endpoint_->SubmitAndWait(definition_, timeout);
  }
auto Saga::Gid() const -> const std::string& { return definition_.gid; }
auto Saga::Content() const -> const Definition& { return definition_; }
auto Saga::MutableOptions() -> TransOptions& { return definition_.options; }
auto NewSaga(Endpoint& endpoint, std::string gid) -> Saga { return Saga(endpoint, std::move(gid)); }
}}


// ---- dtm/core/rows.hpp -------------------------------------------------------------------------

namespace dtm { inline namespace v1 {
std::size_t CompensateOf(std::size_t step) { return 2 * step; }
std::size_t ActionOf(std::size_t step) { return 2 * step + 1; }
std::size_t DeliveryOf(std::size_t step) { return step + 1; }
std::size_t RowCount(const Definition& definition) {
  const std::size_t steps = definition.steps.size();
  return HasQueryRow(definition.type) ? 1 + steps : 2 * steps;
}
std::size_t StepOf(TransType type, std::size_t row) {
  return HasQueryRow(type) ? row - 1 : row / 2;
}
auto OpOf(TransType type, std::size_t row) -> Op {
  const bool undo = row % 2 == 0;
  switch (type) {
    case TransType::kSaga: return undo ? Op::kCompensate : Op::kAction;
    case TransType::kTcc: return undo ? Op::kCancel : Op::kConfirm;
    case TransType::kXa: return undo ? Op::kRollback : Op::kCommit;
    case TransType::kMsg: return row == kQueryRow ? Op::kMsg : Op::kAction;
    case TransType::kWorkflow: return row == kQueryRow ? Op::kResume : Op::kAction;
  }
  return Op::kAction;
}
auto OpOf(const Definition& definition, std::size_t row) -> Op {
  if (HasQueryRow(definition.type) && row == kQueryRow) return OpOf(definition.type, row);
  const Op op = definition.steps[StepOf(definition.type, row)].op;
  return op == Op{} ? OpOf(definition.type, row) : op;
}
std::string NumberOf(std::size_t step) {
  char text[24];
  std::snprintf(text, sizeof text, "%02zu", step + 1);
  return text;
}
std::string BranchIdOf(const Definition& definition, std::size_t row) {
  if (HasQueryRow(definition.type) && row == kQueryRow) return "00";
  const std::size_t step = StepOf(definition.type, row);
  const std::string& own = definition.steps[step].branch_id;
  return own.empty() ? NumberOf(step) : own;
}
auto RowOf(const Definition& definition, const std::string& branch_id,
                                        Op op) -> std::optional<std::size_t> {
  for (std::size_t row = 0; row < RowCount(definition); ++row) {
    if (OpOf(definition, row) == op && BranchIdOf(definition, row) == branch_id) return row;
  }
  return std::nullopt;
}
auto UrlOf(const Definition& definition, std::size_t row) -> const std::string& {
  if (HasQueryRow(definition.type)) {
    return row == kQueryRow ? definition.query_prepared : definition.steps[row - 1].action;
  }
  const Step& step = definition.steps[row / 2];
  return row % 2 == 1 ? step.action : step.compensate;
}
auto PayloadOf(const Definition& definition, std::size_t row) -> const std::string& {
  if (HasQueryRow(definition.type) && row == kQueryRow) return definition.data;
  return definition.steps[StepOf(definition.type, row)].payload;
}
void AddMissingRows(Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  while (transaction.branches.size() < RowCount(definition)) {
    Branch branch;
    if (definition.type == TransType::kWorkflow && !transaction.branches.empty()) {
      const Step& step = definition.steps[transaction.branches.size() - 1];
      branch.status = step.failed ? BranchStatus::kFailed : BranchStatus::kSucceed;
    }
    transaction.branches.push_back(branch);
  }
}
bool HasItsTurn(const Transaction& transaction, std::size_t index) {
  const TransType type = transaction.definition->type;
  if (HasQueryRow(type)) {
    return (index == kQueryRow) == (transaction.status == Status::kPrepared);
  }
  return (index % 2 == 0) == (transaction.status == Status::kAborting);
}
auto InfoOf(const Definition& definition, std::size_t row) -> BranchInfo {
  return {definition.gid, definition.type, BranchIdOf(definition, row), OpOf(definition, row),
          definition.workflow};
}
}}


// ---- dtm/client/sub_branches.hpp ---------------------------------------------------------------

namespace dtm { inline namespace v1 {
SubBranches::SubBranches(std::string parent) : parent_(std::move(parent)) {}
std::string SubBranches::Next() {
    if (count_ >= kMostBranches) throw LogicError("a transaction makes at most 99 branches itself");
    if (parent_.size() >= kLongestParent) {
      throw LogicError("branch " + parent_ + " is nested too deep for branches below it");
    }
    return parent_ + NumberOf(count_++);
  }
std::string BodyOf(const Result& result, const std::string& what) {
  if (result.kind == Result::Kind::kSuccess) return result.text;
  if (result.kind == Result::Kind::kFailure) throw FailureError(what + " failed: " + result.text);
  if (result.kind == Result::Kind::kOngoing) {
    throw AskingToWait(OngoingError(what + " is not finished yet: " + result.text),
                       result.retry_after);
  }
  throw AskingToWait(Error(what + " gave no definite answer: " + result.text), result.retry_after);
}
}}


// ---- dtm/client/global_transaction.hpp ---------------------------------------------------------

namespace dtm { inline namespace v1 {
auto GlobalTransaction::Gid() const -> const std::string& { return gid_; }
GlobalTransaction::GlobalTransaction(Endpoint& endpoint, std::string gid, TransOptions options,
                    std::string parent) : endpoint_(&endpoint),
        gid_(std::move(gid)),
        options_(std::move(options)),
        branches_(std::move(parent)) {}
auto GlobalTransaction::NewCall(TransType type, std::string branch_id, Op op) const -> InitiatorCall {
    InitiatorCall call;
    call.info = {gid_, type, std::move(branch_id), op, {}};
    call.options = options_;
    call.tell_coordinator = true;
    return call;
  }
std::string GlobalTransaction::Call(const InitiatorCall& call, const char* what) const {
    if (call.url.empty()) return {};
    return BodyOf(endpoint_->CallBranch(call),
                  "gid '" + gid_ + "': the " + what + " of branch " + call.info.branch_id);
  }
}}


// ---- dtm/client/tcc.hpp ------------------------------------------------------------------------

namespace dtm { inline namespace v1 {
Tcc::Tcc(Endpoint& endpoint, std::string gid, TransOptions options) : GlobalTransaction(endpoint, std::move(gid), std::move(options)) {}
Tcc::Tcc(Endpoint& endpoint, const BranchInfo& caller, TransOptions options) : GlobalTransaction(endpoint, caller.gid, std::move(options), caller.branch_id) {}
}}


// ---- dtm/client/workflow_ledger.hpp ------------------------------------------------------------

namespace dtm { inline namespace v1 {
WorkflowLedger::WorkflowLedger(Endpoint& endpoint, std::string gid, const WorkflowState& state) : endpoint_(&endpoint), gid_(std::move(gid)) {
    for (const Step& step : state.recorded) {
      recorded_[{step.branch_id, step.op}] = step;
      answers_bytes_ += step.payload.size();
    }
  }
std::string WorkflowLedger::Take(Step step, const Work& work) {
    if (std::optional<std::string> before = Before(step)) return std::move(*before);
    std::string unkept;
    try {
      step.payload = work();
      unkept = Unkept(step);
    } catch (const FailureError& error) {
      step.payload = Truncated(error.what(), kMaxReasonBytes);
      step.failed = true;
      Record(step);
      throw;
    } catch (const NotKept& error) {
      unkept = error.why;
    }
    if (!unkept.empty()) {
      step.op = Op::kBusiness;
      step.payload = Truncated(unkept, kMaxReasonBytes);
      Record(step);
      Doom(unkept);
    }
    Record(step);
    return step.payload;
  }
void WorkflowLedger::Doom(const std::string& why) {
    const std::lock_guard<std::mutex> lock(mutex_);
    doomed_ = Truncated(why, kMaxReasonBytes);
    throw BeyondLimit(doomed_);
  }
void WorkflowLedger::CheckKept(const std::string& result) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!doomed_.empty()) throw BeyondLimit(doomed_);
    }
    if (result.size() <= kMaxPayloadBytes) return;
    Doom("gid '" + gid_ + "': the workflow returned " + std::to_string(result.size()) +
         " bytes; the limit is " + std::to_string(kMaxPayloadBytes));
  }
void WorkflowLedger::Decide(bool succeeded, const std::set<std::string>& callbacks) {
    CheckDecision(succeeded, callbacks);
    if (callbacks.empty()) return;
    // Before the first callback begins: if the program dies in it, the next run must not decide otherwise, nor may
    // another process, which the coordinator refuses.
    Step decision;
    decision.branch_id = kDecision;
    decision.op = Op::kAction;
    decision.action = kOwnCode;
    decision.payload = Name(succeeded ? Op::kCommit : Op::kRollback);
    if (recorded_.count({decision.branch_id, decision.op}) == 0) Record(decision);
  }
void WorkflowLedger::CheckNotRefused() {
    const std::lock_guard<std::mutex> lock(mutex_);
    CheckRefused();
  }
void WorkflowLedger::CheckDecision(bool succeeded, const std::set<std::string>& callbacks) {
    const std::lock_guard<std::mutex> lock(mutex_);
    CheckRefused();
    const Op wrong = succeeded ? Op::kRollback : Op::kCommit;
    for (const auto& entry : recorded_) {
      const Step& step = entry.second;
      if (step.branch_id == kDecision) {
        if (step.payload == Name(wrong)) RefuseDecision(step, succeeded);
        continue;
      }
      const bool callback = step.op == Op::kRollback || step.op == Op::kCommit;
      const bool action = step.op == Op::kAction || step.op == Op::kBusiness;
      if (action && done_.count({step.branch_id, Op::kAction}) == 0) {
        Refuse(Named(step) + " is recorded, and this run ended without it");
      } else if (step.op == wrong) {
        RefuseDecision(step, succeeded);
      } else if (callback && callbacks.count(step.branch_id) == 0) {
        Refuse(Named(step) + " is recorded, and this run has registered none");
      }
    }
  }
void WorkflowLedger::RefuseDecision(const Step& step, bool succeeded) {
    Refuse(Named(step) + " is recorded, so it was decided to " +
           (succeeded ? "roll back" : "commit") + ", and this run " +
           (succeeded ? "succeeded" : "failed"));
  }
auto WorkflowLedger::Before(const Step& step) -> std::optional<std::string> {
    const std::lock_guard<std::mutex> lock(mutex_);
    CheckRefused();
    const Key key{step.branch_id, step.op};
    if (done_.count(key) > 0) {
      throw LogicError("branch " + step.branch_id + " has such a step already; take a NewBranch()");
    }
    auto found = recorded_.find(key);
    if (found == recorded_.end() && step.op == Op::kAction) {
      found = recorded_.find({step.branch_id, Op::kBusiness});
    }
    if (found == recorded_.end()) {
      if (step.op != Op::kAction) return std::nullopt;
      if (!doomed_.empty()) throw BeyondLimit(doomed_);
      CheckUndecided(step);
      return std::nullopt;
    }
    const Step& old = found->second;
    const bool same = SameCall(old.action, step.action) && old.topic == step.topic;
    if (!old.action.empty() && !same) {
      Refuse(Named(step) + " was recorded as " + What(old) + " and is " + What(step) + " now");
    }
    done_.insert(key);
    if (old.op == Op::kBusiness) throw BeyondLimit(doomed_ = old.payload);
    if (old.failed) throw FailureError(old.payload);
    return old.payload;
  }
void WorkflowLedger::CheckUndecided(const Step& step) {
    for (const auto& entry : recorded_) {
      const Op op = entry.first.second;
      if (op != Op::kRollback && op != Op::kCommit && entry.first.first != kDecision) continue;
      Refuse(Named(entry.second) +
             " is recorded, so all steps were done before, and this run has " + Named(step) +
             " as well, " + What(step));
    }
  }
std::string WorkflowLedger::Unkept(const Step& step) {
    if (step.op != Op::kAction) return {};  // a callback, which has no result
    const std::string done = "gid '" + gid_ + "': branch " + step.branch_id +
                             " was done, but its answer cannot be kept: ";
    if (step.payload.size() > kMaxPayloadBytes) {
      return done + "it has " + std::to_string(step.payload.size()) + " bytes; the limit is " +
             std::to_string(kMaxPayloadBytes);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    answers_bytes_ += step.payload.size();
    if (answers_bytes_ <= kMaxAnswersBytes) return {};
    return done + "with those before it has " + std::to_string(answers_bytes_) +
           " bytes; the limit is " + std::to_string(kMaxAnswersBytes);
  }
void WorkflowLedger::Record(const Step& step) {
    endpoint_->RegisterBranch(gid_, TransType::kWorkflow, step);
    const std::lock_guard<std::mutex> lock(mutex_);
    done_.insert({step.branch_id, step.op == Op::kBusiness ? Op::kAction : step.op});
  }
void WorkflowLedger::Refuse(const std::string& why) {
    refused_ = "gid '" + gid_ + "' does not go on: " + why +
               ". Nothing more is done or undone. Run the code that recorded it, or ForceStop it; "
               "new code of a workflow "
               "gets a new name";
    throw LogicError(refused_);
  }
void WorkflowLedger::CheckRefused() const {
    if (!refused_.empty()) throw LogicError(refused_);
  }
std::string WorkflowLedger::Named(const Step& step) {
    if (step.branch_id == kDecision) return "the decision to " + step.payload;
    return "the " + std::string(Name(step.op)) + " of branch " + step.branch_id;
  }
std::string WorkflowLedger::What(const Step& step) {
    const std::string what = step.action == kOwnCode  ? "own code"
                             : step.action == kNoCall ? "no call"
                                                      : "a call of " + Truncated(step.action, 200);
    return step.topic.empty() ? what : what + " named '" + step.topic + "'";
  }
}}


// ---- dtm/client/workflow_run.hpp ---------------------------------------------------------------

namespace dtm { inline namespace v1 {
Workflow::Workflow(Endpoint& endpoint, std::string gid, const WorkflowState& state) : endpoint_(&endpoint),
        gid_(std::move(gid)),
        options_(state.options),
        ledger_(endpoint, gid_, state) {}
auto Workflow::Gid() const -> const std::string& { return gid_; }
std::string Workflow::CallUrl(const std::string& branch_id, Op op, const std::string& url,
                      const std::string& payload) const {
    if (url.empty()) return {};
    InitiatorCall call;
    call.info = {gid_, TransType::kWorkflow, branch_id, op, {}};
    call.url = url;
    call.payload = payload;
    call.options = options_;
    const std::string who = "gid '" + gid_ + "': branch " + branch_id;
    const Result answer = endpoint_->CallBranch(call);
    if (answer.done)
      throw NotKept{who + " was done, but its answer cannot be kept: " + answer.text};
    return BodyOf(answer, who);
  }
void Workflow::Keep(std::vector<Undo>& list, Step step, Callback callback) {
    if (deciding_) throw LogicError("a callback of a workflow registers no callbacks");
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Undo& other : list) {
      if (other.step.branch_id != step.branch_id) continue;
      throw LogicError("branch " + step.branch_id +
                       " has such a callback already; take a NewBranch()");
    }
    list.push_back({std::move(step), std::move(callback)});
  }
void Workflow::ForgetRollbackOf(const std::string& branch_id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto undo = rollbacks_.begin(); undo != rollbacks_.end(); ++undo) {
      if (undo->step.branch_id != branch_id) continue;
      rollbacks_.erase(undo);
      return;
    }
  }
void Workflow::RunCallbacks(bool succeeded) {
    deciding_ = true;
    const std::vector<Undo>& list = succeeded ? commits_ : rollbacks_;
    std::set<std::string> branches;
    for (const Undo& undo : list) branches.insert(undo.step.branch_id);
    ledger_.Decide(succeeded, branches);
    for (auto undo = list.rbegin(); undo != list.rend(); ++undo) {
      (void)ledger_.Take(undo->step, [&] {
        try {
          undo->callback();
        } catch (const FailureError& error) {
          throw Error("gid '" + gid_ + "': a callback of branch " + undo->step.branch_id +
                      " must not fail: " + error.what());
        }
        return std::string();
      });
    }
  }
WorkflowBranch::WorkflowBranch(Workflow& workflow, std::string id, std::string name) : workflow_(&workflow), id_(std::move(id)), name_(std::move(name)) {}
auto WorkflowBranch::Id() const -> const std::string& { return id_; }
auto WorkflowBranch::StepOf(Op op, std::string what) const -> Step {
    Step step;
    step.branch_id = id_;
    step.op = op;
    step.action = std::move(what);
    step.topic = name_;
    return step;
  }
std::string WorkflowBranch::Where() const { return "gid '" + workflow_->gid_ + "': branch " + id_; }
std::string WorkflowBranch::RunStep(const std::string& what, const std::function<std::string()>& work) {
    try {
      return workflow_->ledger_.Take(StepOf(Op::kAction, what), work);
    } catch (const BeyondLimit&) {  // it may have been done
      throw;
    } catch (const FailureError&) {
      workflow_->ForgetRollbackOf(id_);
      throw;
    }
  }
auto WorkflowBranch::Keep(Op op, std::string what, Workflow::Callback callback) -> WorkflowBranch& {
    workflow_->Keep(op == Op::kCommit ? workflow_->commits_ : workflow_->rollbacks_,
                    StepOf(op, std::move(what)), std::move(callback));
    return *this;
  }
auto Workflow::NewBranch(std::string name) -> WorkflowBranch {
  if (deciding_) throw LogicError("a callback of a workflow has no branches of its own");
  if (name.size() > kMaxGidBytes || !IsUtf8(name)) {
    throw LogicError("gid '" + gid_ + "': the name of a branch is UTF-8 of at most " +
                     std::to_string(kMaxGidBytes) + " bytes");
  }
  if (branches_ == kMaxWorkflowBranches) {
    ledger_.Doom("gid '" + gid_ + "': a workflow has at most " +
                 std::to_string(kMaxWorkflowBranches) + " branches");
  }
  return WorkflowBranch(*this, NumberOf(branches_++), std::move(name));
}
}}


// ---- dtm/client/xa.hpp -------------------------------------------------------------------------

namespace dtm { inline namespace v1 {
Xa::Xa(Endpoint& endpoint, std::string gid, TransOptions options) : GlobalTransaction(endpoint, std::move(gid), std::move(options)) {}
}}


// ---- dtm/base/os.hpp ---------------------------------------------------------------------------

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
namespace dtm { inline namespace v1 { namespace os {
auto SinceBoot() -> Duration {
  timespec now{};
#ifdef CLOCK_BOOTTIME
  ::clock_gettime(CLOCK_BOOTTIME, &now);
#else
  ::clock_gettime(CLOCK_MONOTONIC, &now);
#endif
  return std::chrono::seconds(now.tv_sec) + std::chrono::microseconds(now.tv_nsec / 1000);
}
void FillRandom(void* bytes, std::size_t size) {
  if (::getentropy(bytes, size) != 0) {
    throw Error("the operating system gives no random bytes: " +
                std::generic_category().message(errno));
  }
}
std::size_t MaxOpenFiles() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
  return static_cast<std::size_t>(limit.rlim_cur);
}
std::string LastErrorText() { return std::generic_category().message(errno); }
bool WaitFor(int descriptor, bool writing, Duration limit) {
  const Duration end = SinceBoot() + limit;
  for (;;) {
    const Duration left = (std::max)(end - SinceBoot(), Duration(0));
    pollfd waits{descriptor, static_cast<short>(writing ? POLLIN | POLLOUT : POLLIN), 0};
    // Rounded up: else the last millisecond would be waited in none.
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    const int ready = ::poll(&waits, 1, static_cast<int>(ms));
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true;  // who uses it learns why
    if (ready == 0 && end <= SinceBoot()) return false;
  }
}
std::string HostAndProcess() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = 0;
  return std::string(host) + ":" + std::to_string(::getpid());
}
std::string FullPath(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const bool bare = slash == std::string::npos;
  const std::string folder = bare ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const std::unique_ptr<char, void (*)(void*)> full(::realpath(folder.c_str(), nullptr), ::free);
  if (!full || path.empty()) return path;
  const std::string name = bare ? path : path.substr(slash + 1);
  return (slash == 0 || full.get() == std::string("/") ? "" : full.get()) + ("/" + name);
}
bool FileStamp::SameFile(const std::optional<FileStamp>& other) const {
    return other && device == other->device && number == other->number;
  }
bool FileStamp::SameContent(const FileStamp& other) const {
    return bytes == other.bytes && seconds == other.seconds && nanoseconds == other.nanoseconds;
  }
auto StampOf(const std::string& path) -> std::optional<FileStamp> {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return std::nullopt;
  return FileStamp{info.st_dev,         info.st_ino,          info.st_size,
                   info.st_mtim.tv_sec, info.st_mtim.tv_nsec, S_ISREG(info.st_mode)};
}
void EnsurePrivateFile(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode)) {
      throw StoreError("the store file '" + path +
                       "' is a link or no plain file, which is refused");
    }
    if (::access(path.c_str(), R_OK | W_OK) == 0) return;
    throw StoreError("the store file '" + path + "' cannot be opened for writing: " +
                     LastErrorText() + "; make it and its folder writable for this user");
  }
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) {
    throw StoreError("the store file '" + path + "' cannot be created: " + LastErrorText() +
                     "; give a file in a folder this user may write to");
  }
  ::close(file);
}
auto Forking::Generation() -> unsigned { return Get().generation.load(std::memory_order_relaxed); }
void Forking::CloseInChildren(int file, const std::string& name) {
    State& state = Get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    try {
      state.files[file] = name;
    } catch (...) {
      state.files.erase(file);
      ::close(file);
      throw;
    }
  }
void Forking::Forget(int file) {
    State& state = Get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    state.files.erase(file);
  }
void Forking::Close(int file) {
    State& state = Get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    if (state.files.erase(file) > 0) ::close(file);
  }
bool Forking::Inherited(const std::string& name) {
    State& state = Get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    for (const auto& [file, its_name] : state.inherited) {
      if (its_name == name) return true;
    }
    return false;
  }
Forking::State::State() { ::pthread_atfork(&BeforeFork, &AfterFork, &InChild); }
auto Forking::Get() -> State& {
    static State* const state =
        new State;  // never freed: objects that close files may be destroyed later
    return *state;
  }
void Forking::BeforeFork() { Get().mutex.lock(); }
void Forking::AfterFork() { Get().mutex.unlock(); }
void Forking::InChild() {
    State& state = Get();
    for (const auto& [file, name] : state.files) ::close(file);
    state.inherited.merge(state.files);
    ++state.generation;
    state.mutex.unlock();
  }
EventFd::EventFd() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd_ < 0) throw Error("no eventfd can be had: " + LastErrorText() + "; see ulimit -n");
  }
EventFd::~EventFd() { ::close(fd_); }
int EventFd::Get() const { return fd_; }
void EventFd::Signal() const {
    const std::uint64_t one = 1;
    (void)!::write(fd_, &one, sizeof one);  // it fails if it is readable anyway
  }
void EventFd::Clear() const {
    std::uint64_t count = 0;
    (void)!::read(fd_, &count, sizeof count);  // it fails if it was not readable
  }
FileLock::FileLock(const std::string& path) : path_(path), file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) {
    if (file_ < 0) {
      throw StoreError("the lock file '" + path + "' cannot be opened: " + LastErrorText() +
                       "; the folder of the store must exist and be writable");
    }
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      const bool taken = errno == EWOULDBLOCK;
      const std::string why = LastErrorText();
      ::close(file_);
      throw StoreError(
          taken ? "another coordinator, in this process or another, uses this store: it holds the "
                  "lock file '" +
                      path + "'; stop it first, or give this one a store of its own"
                : "the lock file '" + path + "' cannot be locked: " + why);
    }
    Forking::CloseInChildren(file_, path_);
    const bool inherited = Forking::Inherited(path_);
    if (!inherited && AtItsPath()) return;
    Forking::Close(file_);
    if (inherited) {
      throw StoreError("the store of the lock file '" + path +
                       "' was open when this process was forked, and cannot be opened in it any "
                       "more; fork before it "
                       "is opened, or open it in a program that is started by exec");
    }
    throw StoreError("the lock file '" + path + "' was replaced at this moment; try again");
  }
FileLock::~FileLock() {
    if (generation_ == Forking::Generation()) ::flock(file_, LOCK_UN);
    Forking::Close(file_);
  }
bool FileLock::AtItsPath() const {
    struct stat mine {};
    if (::fstat(file_, &mine) != 0) return false;
    const std::optional<FileStamp> there = StampOf(path_);
    return there && there->device == mine.st_dev && there->number == mine.st_ino;
  }
bool FileLock::Removed() const {
    struct stat mine {};
    return ::fstat(file_, &mine) != 0 || mine.st_nlink == 0;
  }
}}}


// ---- dtm/core/journal.hpp ----------------------------------------------------------------------

namespace dtm { inline namespace v1 {
auto Name(JournalKind kind) -> const char* {
  switch (kind) {
    case JournalKind::kPrepared: return "prepared";
    case JournalKind::kSubmitted: return "submitted";
    case JournalKind::kRegistered: return "registered";
    case JournalKind::kStarted: return "started";
    case JournalKind::kSuccess: return "success";
    case JournalKind::kFailure: return "failure";
    case JournalKind::kOngoing: return "ongoing";
    case JournalKind::kError: return "error";
    case JournalKind::kNotSent: return "not sent";
    case JournalKind::kRollback: return "rollback";
    case JournalKind::kStuck: return "stuck";
    case JournalKind::kSucceeded: return "succeeded";
    case JournalKind::kFailed: return "failed";
    case JournalKind::kCancel: return "cancel";
    case JournalKind::kForceStop: return "force stop";
    case JournalKind::kRetryNow: return "retry now";
    case JournalKind::kFinish: return "finish";
    case JournalKind::kTakenUp: return "taken up";
    case JournalKind::kGap: return "gap";
    case JournalKind::kRepair: return "repair";
  }
  return "unknown";
}
bool operator==(const JournalEntry& a, const JournalEntry& b) {
  return a.time == b.time && a.row == b.row && a.op == b.op && a.kind == b.kind &&
         a.text == b.text && a.who == b.who;
}
bool IsAttempt(JournalKind kind) {
  return kind >= JournalKind::kRegistered && kind <= JournalKind::kNotSent;
}
JournalFold::JournalFold(const std::vector<JournalEntry>& entries, std::size_t history) : entries_(entries), attempt_of_(entries.size(), kNone) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (IsAttempt(entries[i].kind)) {
        attempt_of_[i] = AttemptOf(entries[i]);
      } else if (entries[i].kind != JournalKind::kGap) {
        ++decisions_;
      }
    }
    MarkKept(history);
  }
bool JournalFold::Keeps(std::size_t i) {
    if (entries_[i].kind == JournalKind::kGap) return false;
    if (attempt_of_[i] != kNone) return attempts_[attempt_of_[i]].kept;
    const std::size_t nr = decision_++;
    return nr < kFirstDecisions || nr + kLastDecisions >= decisions_;
  }
std::size_t JournalFold::AttemptOf(const JournalEntry& entry) {
    const bool registration = entry.kind == JournalKind::kRegistered;
    Row& row = rows_[entry.row];
    const bool starts = entry.kind == JournalKind::kStarted;
    if (!registration && !starts && row.open) {
      row.open = false;
      attempts_[row.last].ended = true;
      return row.last;
    }
    attempts_.push_back({entry.row, registration, !starts});
    if (registration) return attempts_.size() - 1;
    row.open = starts;
    return row.last = attempts_.size() - 1;
  }
void JournalFold::MarkKept(std::size_t history) {
    std::size_t first = (std::min)(kFirstAttempts, history);
    for (OneAttempt& attempt : attempts_) {
      if (first == 0) break;
      if (!attempt.ended) continue;
      attempt.kept = true;
      --first;
    }
    std::size_t later = 0;
    for (std::size_t i = attempts_.size(); i-- > 0;) {
      OneAttempt& attempt = attempts_[i];
      Row& row = rows_[attempt.row];
      const bool last_of_row = attempt.registration || row.later++ < history;
      const bool last = last_of_row && later++ < kLastAttempts;
      if (last || (row.open && row.last == i)) attempt.kept = true;
    }
  }
void FoldJournal(std::vector<JournalEntry>& entries, std::size_t history) {
  if (entries.size() <= (std::min)(history, kFirstDecisions + kLastDecisions)) return;
  JournalFold fold(entries, history);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    JournalEntry& entry = entries[i];
    if (fold.Keeps(i)) {
      if (i != kept) entries[kept] = std::move(entry);
      ++kept;
      continue;
    }
    const std::size_t count = entry.kind == JournalKind::kGap ? entry.row : 1;
    JournalEntry* before = kept == 0 ? nullptr : &entries[kept - 1];
    if (before != nullptr && before->kind == JournalKind::kGap) {
      before->row = before->row == 0 || count == 0 ? 0 : before->row + count;
      before->time = entry.time;
    } else {
      entries[kept++] = {entry.time, count, {}, JournalKind::kGap, {}};
    }
  }
  entries.resize(kept);
}
}}


// ---- dtm/store/scan.hpp ------------------------------------------------------------------------

namespace dtm { inline namespace v1 {
bool ScanFilter::IsSearch() const {
    return unfinished || stuck || errors || !gid_prefix.empty() || !target.empty() || may_be_short;
  }
bool IsStuck(const Transaction& transaction) {
  if (IsFinal(transaction.status)) return false;
  return (transaction.stuck && transaction.due == kNever) || transaction.owner >> 63 != 0;
}
bool CallsTarget(const Definition& definition, const std::string& target) {
  const auto is_in = [&target](const std::string& text) {
    return ShownUrl(text).find(target) != std::string::npos;
  };
  return is_in(definition.query_prepared) || is_in(definition.workflow) ||
         std::any_of(definition.steps.begin(), definition.steps.end(), [&](const Step& step) {
           return is_in(step.action) || is_in(step.compensate) || is_in(step.topic);
         });
}
std::string StoredPartOf(const std::string& target) {
  return target.substr(target.rfind('*') + 1);  // npos + 1 is 0
}
bool Matches(const ScanFilter& filter, const Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  return (!filter.type || *filter.type == definition.type) &&
         (!filter.status || *filter.status == transaction.status) &&
         transaction.created >= filter.created_from && transaction.created <= filter.created_to &&
         (!filter.unfinished || !IsFinal(transaction.status)) &&
         (!filter.stuck || IsStuck(transaction)) &&
         (!filter.errors || !transaction.last_error.empty()) &&
         HasPrefix(definition.gid, filter.gid_prefix) &&
         (filter.target.empty() || CallsTarget(definition, filter.target));
}
}}


// ---- dtm/store/store.hpp -----------------------------------------------------------------------

namespace dtm { inline namespace v1 {
auto KeptOf(const Transaction& transaction) -> KeptGid {
  const Definition& definition = *transaction.definition;
  if (transaction.unreadable)
    return {definition.gid, {}, transaction.status, transaction.finished, 0};
  return {definition.gid, definition.type, transaction.status, transaction.finished,
          definition.prepared_first ? 0 : ContentHash(definition)};
}
auto RecordOf(const KeptGid& kept) -> Transaction {
  auto definition = std::make_shared<Definition>();
  definition->gid = kept.gid;
  Transaction transaction;
  if (kept.type == TransType{}) {
    transaction.unreadable = true;
    transaction.last_error = "its record was damaged, and has expired";
  } else {
    definition->type = kept.type;
  }
  transaction.definition = std::move(definition);
  transaction.status = kept.status;
  transaction.created = transaction.finished = kept.finished;
  if (kept.status == Status::kFailed)
    transaction.reason = "its record has expired, and the reason with it";
  transaction.expired = true;
  transaction.content = kept.content;
  transaction.version = 1;
  return transaction;
}
NotAllExpired::NotAllExpired(const std::string& text, std::int64_t next_id) : StoreError(text), next(next_id) {}
Lease::~Lease() = default;
Store::~Store() = default;
auto Store::Owner() const -> std::uint64_t { return 0; }
auto Store::OurLease() const -> std::shared_ptr<const Lease> { return nullptr; }
auto Store::Takeovers() const -> std::uint64_t { return 0; }
void Store::OnTakeover(const std::function<void()>& /*changed*/) {}
auto Store::Shared() -> Peers* { return nullptr; }
auto Store::SharedTime() const -> std::optional<Time> { return std::nullopt; }
void Store::OnSilence(const std::function<void(const std::string& why)>& /*tell*/) {}
auto Store::CountSharing() const -> std::optional<SharingCounts> { return std::nullopt; }
void Store::Leave() noexcept {}
}}


// ---- dtm/coordinator/parts/clock.hpp -----------------------------------------------------------

namespace dtm { inline namespace v1 {
Clock::~Clock() = default;
SystemClock::SystemClock() : start_(std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now())),
        since_boot_(os::SinceBoot()) {}
auto SystemClock::Now() -> Time { return start_ + (os::SinceBoot() - since_boot_); }
void SystemClock::Wait(std::condition_variable& condition, std::unique_lock<std::mutex>& lock,
            Time until) {
    const Time now = Now();
    if (until <= now) return;
    // The wait does not count the time that the machine sleeps, so look at the clock now and then.
    condition.wait_for(lock, (std::min)(until - now, Duration(std::chrono::seconds(5))));
  }
StoreClock::StoreClock(const Store& store) : store_(store) {}
auto StoreClock::Now() -> Time { return store_.SharedTime().value_or(Time{}); }
auto ClockOf(const Store& store) -> std::unique_ptr<Clock> {
  if (store.SharedTime()) return std::make_unique<StoreClock>(store);
  return std::make_unique<SystemClock>();
}
}}


// ---- dtm/observe/trace_context.hpp -------------------------------------------------------------

namespace dtm { inline namespace v1 {
bool TraceContext::Sampled() const {
    return !flags.empty() &&
           std::string_view("13579bdf").find(flags.back()) != std::string_view::npos;
  }
}}

namespace dtm { inline namespace v1 { namespace trace {
bool IsHex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}
bool IsZero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}
bool IsKey(std::string_view key) {
  const auto small = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !key.empty() && key.size() <= 256 && small(key[0]) &&
         std::all_of(key.begin(), key.end(), [&small](char c) {
           return small(c) || std::string_view("_-*/@").find(c) != std::string_view::npos;
         });
}
bool IsValue(std::string_view value) {
  return !value.empty() && value.size() <= 256 && value.back() != ' ' &&
         std::all_of(value.begin(), value.end(),
                     [](char c) { return c >= ' ' && c <= '~' && c != ',' && c != '='; });
}
std::string Hex(std::uint64_t number) {
  std::string text(16, '0');
  for (std::size_t i = text.size(); i-- > 0; number >>= 4) {
    text[i] = "0123456789abcdef"[number & 0xF];
  }
  return text;
}
auto Mixed(std::uint64_t number) -> std::uint64_t {
  number = (number ^ (number >> 33)) * 0xFF51AFD7ED558CCDU;
  number = (number ^ (number >> 33)) * 0xC4CEB9FE1A85EC53U;
  return number ^ (number >> 33);
}
auto HashOf(std::string_view salt, const std::string& gid) -> std::uint64_t {
  StableHash hash;
  hash.Add(salt);
  hash.Add(gid);
  const std::uint64_t mixed = Mixed(hash.Value());
  return mixed == 0 ? 1 : mixed;
}
}}}

namespace dtm { inline namespace v1 {
bool IsTraceState(std::string_view text) {
  if (text.size() > kMaxHeaderBytes) return false;
  std::set<std::string_view> keys;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = (std::min)(text.find(',', begin), text.size());
    const std::string_view member = Trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    if (member.empty()) continue;
    const std::size_t is = (std::min)(member.find('='), member.size());
    const bool valid = trace::IsKey(member.substr(0, is)) && is < member.size() &&
                       trace::IsValue(member.substr(is + 1));
    if (!valid || !keys.insert(member.substr(0, is)).second || keys.size() > 32) return false;
  }
  return !keys.empty();
}
auto ReadTraceContext(std::string_view parent,
                                                    std::string_view state) -> std::optional<TraceContext> {
  parent = Trimmed(parent);
  constexpr std::size_t kSize = 55;  // of version 00; later ones may go on
  if (parent.size() < kSize || parent[2] != '-' || parent[35] != '-' || parent[52] != '-') {
    return std::nullopt;
  }
  const std::string_view version = parent.substr(0, 2);
  const std::string_view id = parent.substr(3, 32);
  const std::string_view span = parent.substr(36, 16);
  const std::string_view flags = parent.substr(53, 2);
  const bool known = version == "00" && parent.size() == kSize;
  const bool later =
      version != "00" && version != "ff" && (parent.size() == kSize || parent[kSize] == '-');
  for (const std::string_view part : {version, id, span, flags}) {
    if (!trace::IsHex(part)) return std::nullopt;
  }
  if (!(known || later) || trace::IsZero(id) || trace::IsZero(span)) return std::nullopt;
  TraceContext context{std::string(id), std::string(span), std::string(flags), {}};
  if (IsTraceState(state)) context.state = Trimmed(state);
  return context;
}
std::string TraceParent(const TraceContext& context) {
  return "00-" + context.trace_id + "-" + context.parent_id + "-" + context.flags;
}
auto TraceContextOf(const TransOptions& options) -> std::optional<TraceContext> {
  if (options.branch_headers.empty()) return std::nullopt;
  const std::string* parent = FindBranchHeader(options, kTraceParent);
  if (parent == nullptr) return std::nullopt;
  const std::string* state = FindBranchHeader(options, kTraceState);
  return ReadTraceContext(*parent, state == nullptr ? std::string_view() : *state);
}
auto OwnTrace(const std::string& gid, const TransOptions& options) -> TraceContext {
  TraceContext context = TraceContextOf(options).value_or(TraceContext{{}, {}, "01", {}});
  if (context.trace_id.empty()) {
    context.trace_id = trace::Hex(trace::HashOf("trace ", gid)) +
                       trace::Hex(trace::HashOf("trace, second half ", gid));
  }
  context.parent_id = trace::Hex(trace::HashOf("span ", gid));
  return context;
}
std::string TraceIdOf(const Definition& definition, bool spans) {
  if (spans) return OwnTrace(definition.gid, definition.options).trace_id;
  const std::optional<TraceContext> context = TraceContextOf(definition.options);
  return context ? context->trace_id : std::string();
}
void Put(const TraceContext& context, BranchInfo& info) {
  info.traceparent = TraceParent(context);
  info.tracestate = context.state;
}
}}


// ---- dtm/observe/span.hpp ----------------------------------------------------------------------

namespace dtm { inline namespace v1 {
auto SpanIds::Next() -> std::uint64_t {
    if (state_ == 0) Begin();
    const std::uint64_t id = trace::Mixed(state_.fetch_add(0x9E3779B97F4A7C15U));
    return id == 0 ? Next() : id;
  }
void SpanIds::Begin() {
    std::uint64_t first = 0;
    os::FillRandom(&first, sizeof first);
    std::uint64_t nothing = 0;
    state_.compare_exchange_strong(nothing, first | 1);
  }
auto ContextOfCall(const std::string& gid,
                                                 const TransOptions& options,
                                                 const CallSpan* span) -> std::optional<TraceContext> {
  if (span == nullptr) return TraceContextOf(options);
  TraceContext context = OwnTrace(gid, options);
  context.parent_id = trace::Hex(span->id);
  return context;
}
}}

namespace dtm { inline namespace v1 { namespace span_parts {
auto In(const TraceContext& context, const Definition& definition) -> Span {
  Span span;
  span.gid = definition.gid;
  span.trace_id = context.trace_id;
  span.parent_id = context.parent_id;
  span.trace_state = context.state;
  span.sampled = context.Sampled();
  span.attributes = {{"dtm.gid", definition.gid}, {"dtm.trans_type", Name(definition.type)}};
  return span;
}
auto Outcome(Result::Kind kind) -> const char* {
  switch (kind) {
    case Result::Kind::kSuccess: return "success";
    case Result::Kind::kFailure: return "failure";
    case Result::Kind::kOngoing: return "ongoing";
    case Result::Kind::kError: return "error";
    case Result::Kind::kNotSent: return "not sent";
  }
  return "unknown";
}
}}}

namespace dtm { inline namespace v1 {
auto SpanOf(const Definition& definition, std::size_t row, const CallSpan& call,
                   const Result& result, Time end) -> Span {
  Span span = span_parts::In(OwnTrace(definition.gid, definition.options), definition);
  const std::string branch_id = BranchIdOf(definition, row);
  const char* const op = Name(OpOf(definition, row));
  const std::string& url = UrlOf(definition, row);
  span.span_id = trace::Hex(call.id);
  span.name = std::string(Name(definition.type)) + " " + op + " " + branch_id;
  span.begin = call.begin;
  span.end = end;
  span.failed = result.kind != Result::Kind::kSuccess && result.kind != Result::Kind::kOngoing;
  if (result.kind != Result::Kind::kSuccess) span.text = Truncated(result.text, kMaxReasonBytes);
  const auto add = [&span](const char* name, std::string value) {
    span.attributes.emplace_back(name, std::move(value));
  };
  add("dtm.branch_id", branch_id);
  add("dtm.op", op);
  if (call.attempt > 0) add("dtm.attempt", std::to_string(call.attempt));
  add("dtm.outcome", span_parts::Outcome(result.kind));
  IsLocal(url) ? add("dtm.function", url.substr(kLocalPrefixSize)) : add("url.full", ShownUrl(url));
  return span;
}
auto SpanOf(const Transaction& transaction) -> Span {
  const Definition& definition = *transaction.definition;
  const std::optional<TraceContext> parent = TraceContextOf(definition.options);
  TraceContext context = OwnTrace(definition.gid, definition.options);
  const std::string id = std::move(context.parent_id);
  context.parent_id = parent ? parent->parent_id : std::string();
  Span span = span_parts::In(context, definition);
  span.span_id = id;
  span.name = Name(definition.type);
  if (!definition.workflow.empty()) span.name += " " + definition.workflow;
  span.begin = transaction.created;
  span.end = transaction.finished;
  span.failed = transaction.status == Status::kFailed;
  if (span.failed) span.text = transaction.reason;
  span.attributes.emplace_back("dtm.status", Name(transaction.status));
  return span;
}
}}


// ---- dtm/coordinator/parts/branch_caller.hpp ---------------------------------------------------

namespace dtm { inline namespace v1 {
bool BranchCall::MayBegin() const { return lease == nullptr || lease->Holds(); }
auto BranchCall::Url() const -> const std::string& { return UrlOf(*definition, row); }
auto BranchCall::Payload() const -> const std::string& { return PayloadOf(*definition, row); }
auto BranchCall::Info() const -> BranchInfo {
    BranchInfo info = InfoOf(*definition, row);
    if (const auto trace = Trace()) Put(*trace, info);
    return info;
  }
auto BranchCall::Trace() const -> std::optional<TraceContext> {
    return ContextOfCall(definition->gid, definition->options, span.get());
  }
auto LeaseOver() -> Result {
  Result result = Result::NotSent(IfThereIsMemory([] {
    return std::string("the coordinator was silent for too long, and others may have taken over");
  }));
  result.at_once = true;
  return result;
}
auto ToBranchCall(const InitiatorCall& direct, const std::string& coordinator,
                               Duration default_timeout) -> BranchCall {
  auto definition = std::make_shared<Definition>();
  definition->gid = direct.info.gid;
  definition->type = direct.info.trans_type;
  definition->options = direct.options;
  Step step;
  step.action = direct.url;
  if (direct.tell_coordinator && !coordinator.empty()) {
    step.action = WithQuery(step.action, kCoordinatorParameter, coordinator);
  }
  if (!direct.phase2_url.empty()) {
    step.action = WithQuery(step.action, kPhase2UrlParameter, direct.phase2_url);
  }
  step.payload = direct.payload;
  step.branch_id = direct.info.branch_id;
  step.op = direct.info.op;
  definition->steps.push_back(std::move(step));
  BranchCall call;
  call.row = HasQueryRow(definition->type) ? DeliveryOf(0) : ActionOf(0);
  const auto timeout = (std::min)(direct.options.request_timeout, kMaxOptionSeconds);
  call.timeout = timeout.count() > 0 ? Duration(timeout) : default_timeout;
  call.keep_body = true;
  call.definition = std::move(definition);
  return call;
}
BranchResults::~BranchResults() = default;
void BranchResults::BeginBurst() {}
void BranchResults::EndBurst() {}
BranchCaller::~BranchCaller() = default;
auto BranchCaller::Schemes() const -> std::vector<std::string> { return {"http", "https"}; }
auto BranchCaller::Load() -> CallLoad { return {}; }
}}


// ---- dtm/store/peers.hpp -----------------------------------------------------------------------

namespace dtm { inline namespace v1 {
auto OwnerForApp(const std::string& app) -> std::uint64_t {
  StableHash hash;
  hash.Add(app);
  return hash.Value() | std::uint64_t{1} << 63;
}
bool WaitsForApp(std::uint64_t owner) { return owner >> 63 != 0; }
Peers::~Peers() = default;
}}


// ---- dtm/coordinator/parts/gauges.hpp ----------------------------------------------------------

namespace dtm { inline namespace v1 {
void MeasureStore(Gauges& gauges, Store& store, Time now) {
  gauges.store = store.Kind();
  gauges.sharing = store.CountSharing();
  try {
    gauges.backlog = store.CountUnfinished(now);
    if (Peers* const peers = store.Shared()) gauges.peers = peers->Count();
    if (gauges.backlog->oldest < now) gauges.oldest_age = now - gauges.backlog->oldest;
  } catch (const StoreError&) {  // NOLINT(bugprone-empty-catch)
  }
}
}}


// ---- dtm/observe/event.hpp ---------------------------------------------------------------------

namespace dtm { inline namespace v1 {
auto EventOf(const Transaction& transaction, const JournalEntry& entry,
                     bool spans) -> Event {
  const Definition& definition = *transaction.definition;
  Event event;
  event.gid = definition.gid;
  event.type = definition.type;
  event.status = transaction.status;
  event.time = entry.time;
  event.kind = entry.kind;
  event.op = entry.op;
  event.text = entry.text;
  event.who = entry.who;
  if (entry.row < RowCount(definition)) {
    event.branch_id = BranchIdOf(definition, entry.row);
    event.target = ShownUrl(UrlOf(definition, entry.row));
  }
  event.trace_id = TraceIdOf(definition, spans);
  return event;
}
}}


// ---- dtm/observe/log_line.hpp ------------------------------------------------------------------

namespace dtm { inline namespace v1 {
auto Name(LogLevel level) -> const char* {
  return level == LogLevel::kError ? "error" : level == LogLevel::kWarning ? "warning" : "info";
}
void LogToStderr(LogLevel level, const std::string& text) {
  std::fprintf(stderr, "dtm %s: %s\n", Name(level), text.c_str());
}
LogFunction::LogFunction(std::nullptr_t) {}
LogFunction::operator bool() const { return static_cast<bool>(log_); }
void LogFunction::operator()(const LogLine& line) const { log_(line); }
void LogFunction::operator()(LogLevel level, const std::string& text) const { log_({level, text, {}, {}}); }
}}


// ---- dtm/coordinator/parts/options.hpp ---------------------------------------------------------

namespace dtm { inline namespace v1 {
bool TellsEntries(const Options& options) {
  return options.history > 0 || options.on_event != nullptr;
}
void LogTo(const Options& options, LogLevel level, const std::string& text,
                  const Definition* about) {
  try {
    if (!options.log) return;
    LogLine line{level, Printable(text), {}, {}};
    if (about != nullptr) {
      line.gid = about->gid;
      line.trace_id = TraceIdOf(*about, options.on_span != nullptr);
    }
    options.log(line);
  } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
  }
}
void LogFailure(const Options& options, const char* what) noexcept {
  const std::string thrown = WhatWasThrown();
  try {
    LogTo(options, LogLevel::kError, what + thrown);
  } catch (...) {  // out of memory
    LogTo(options, LogLevel::kError, thrown);
  }
}
auto CheckedOptions(const Options& options) -> const Options& {
  option_range::Check("retry_interval", options.retry_interval, option_range::kShortest,
                      kMaxOptionSeconds);
  option_range::Check("request_timeout", options.request_timeout, option_range::kShortest,
                      kMaxOptionSeconds);
  option_range::Check("timeout_to_fail", options.timeout_to_fail, std::chrono::seconds(1),
                      kMaxOptionSeconds);
  option_range::Check("function_limit", options.function_limit, std::chrono::seconds(1),
                      kMaxOptionSeconds);
  option_range::Check("the length of app", options.app.size(), 1, 128);
  option_range::Check("the length of node_name", options.node_name.size(), 0, 255);
  if (!IsUtf8(options.app) || !IsUtf8(options.node_name)) {
    throw LogicError("app or node_name is not UTF-8");
  }
  option_range::Check("history", std::size_t{options.history}, 0, kLastAttempts);
  option_range::Check("keep_finished", options.keep_finished, Duration(0), option_range::kEver);
  option_range::Check("keep_gids", options.keep_gids, Duration(0), option_range::kEver);
  option_range::Check("max_in_memory", options.max_in_memory, 1, option_range::kAnyNumber);
  option_range::Check("max_memory_bytes", options.max_memory_bytes, 1, option_range::kAnyNumber);
  option_range::Check("max_waiting_submissions", options.max_waiting_submissions, 1,
                      option_range::kAnyNumber);
  option_range::Check("max_function_threads", options.max_function_threads, 1, 10000);
  option_range::Check("max_threads_per_function", options.max_threads_per_function, 1,
                      option_range::kAnyNumber);
  CheckUrlOption("server_url", options.server_url);
  return options;
}
auto NodeOf(const Options& options) -> NodeName {
  const std::string name = options.node_name.empty() ? os::HostAndProcess() : options.node_name;
  return {name, options.server_url, options.app};
}
std::size_t ActiveBytes(const Options& options) {
  return (std::max)(options.max_memory_bytes / 2, std::size_t{1});
}
std::size_t InboxBytes(const Options& options) { return options.max_memory_bytes / 8; }
std::size_t MostEnded(const Options& options) {
  return (std::min)(std::size_t{4096}, options.max_memory_bytes / (16 * kSmallBytes));
}
std::size_t CacheBytes(const Options& options) {
  return (std::min)(options.max_memory_bytes / 4, std::size_t{64} << 20);
}
}}


// ---- dtm/coordinator/functions/branch_function.hpp ---------------------------------------------

namespace dtm { inline namespace v1 {
Caller::Caller(const BranchCall& call) : call_(&call) {}
Caller::Caller(const BranchInfo& info) : info_(&info) {}
auto Caller::Info() const -> BranchInfo { return call_ != nullptr ? call_->Info() : *info_; }
std::string NameTaken(const std::string& name) {
  return "a branch function named '" + name +
         "' is registered already; give each function a name of its own";
}
auto NotRegistered(const BranchCall& call) -> Result {
  return Result::NoHandler(IfThereIsMemory([&] {
    return "waiting for handler \"" + call.Url().substr(kLocalPrefixSize) +
           "\": this program has not registered it";
  }));
}
}}


// ---- dtm/core/in_words.hpp ---------------------------------------------------------------------

namespace dtm { inline namespace v1 {
std::string BranchInWords(const Definition& definition, std::size_t row) {
  return "branch " + BranchIdOf(definition, row) + " " + Name(OpOf(definition, row)) + " " +
         ShownUrl(UrlOf(definition, row));
}
std::string ReasonFrom(const Transaction& transaction) {
  const std::size_t from = transaction.reason_from;
  if (from == 0 || from > RowCount(*transaction.definition)) return {};
  return BranchInWords(*transaction.definition, from - 1);
}
auto ResultOf(const Transaction& transaction) -> TransResult {
  return {transaction.definition->gid, transaction.status, transaction.reason,
          ReasonFrom(transaction), transaction.last_error};
}
}}


// ---- dtm/coordinator/parts/answers.hpp ---------------------------------------------------------

namespace dtm { inline namespace v1 {
Promise::Promise(Promise&& other) noexcept : callback_(std::move(other.callback_)), binds_(std::exchange(other.binds_, false)) {
    if (other.callback_) other.callback_ = nullptr;  // most libraries have done so
  }
auto Promise::operator=(Promise&& other) noexcept -> Promise& {
    if (binds_) Keep({{}, InDoubt()});
    callback_ = std::move(other.callback_);
    binds_ = std::exchange(other.binds_, false);
    return *this;
  }
auto Promise::operator=(AnswerCallback callback) -> Promise& {
    callback_.swap(callback);
    return *this;
  }
Promise::~Promise() {
    if (binds_) Keep({{}, InDoubt()});
  }
bool Promise::Open() const { return callback_ != nullptr; }
void Promise::Bind() { binds_ = Open(); }
void Promise::Keep(const Answer& answer) noexcept {
    if (!callback_) return;
    const AnswerCallback callback = std::exchange(callback_, nullptr);
    binds_ = false;
    try {
      callback(answer);
    } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
    }
  }
auto Promise::InDoubt() -> const std::exception_ptr& {
    static const std::exception_ptr in_doubt = std::make_exception_ptr(
        InDoubtError("no memory was left for the answer, so what was asked for may or may not be "
                     "done; ask for it again"));
    return in_doubt;
  }
auto GoesOn(const TransResult& result) noexcept -> std::exception_ptr {
  return Made<OngoingError>([&] {
    return "gid '" + result.gid + "' is " + Name(result.status) + " and goes on; ask query";
  });
}
void Waiter::WaitForResult(Time now) {
    when = AnswerWhen::kSettled;
    deadline = Later(now, kLongestWaitResult);
  }
void Waiter::Give(TransResult result) {
    Answer answer;
    if (failure_is_error && result.Failed()) {
      answer.error = std::make_exception_ptr(FailureError(RolledBack(result)));
    }
    if (ongoing_is_error && !IsFinal(result.status)) answer.error = GoesOn(result);
    answer.result = std::move(result);
    promise.Keep(answer);
  }
void Waiter::Refuse(const std::exception_ptr& error) { promise.Keep({{}, error}); }
void Waiter::GiveStatusOf(const Transaction& stored) {
    if (!submits || engine::ShowsSubmit(stored)) return Give(ResultOf(stored));
    Refuse(Made<RejectedError>([&] { return engine::CannotSubmit(stored); }));
  }
void Answers::Fulfil(std::promise<Answer>& promise, const Answer& answer) {
    Answer copy;
    try {
      copy = answer;
    } catch (const std::bad_alloc&) {
      return promise.set_exception(Promise::InDoubt());
    }
    promise.set_value(std::move(copy));
  }
auto Answers::Rejected(const std::string& why) -> std::exception_ptr {
    return Made<RejectedError>([&] { return why; });
  }
}}


// ---- dtm/coordinator/state/inbox.hpp -----------------------------------------------------------

namespace dtm { inline namespace v1 {
bool Mail::Empty() const {
    return submissions.empty() && results.empty() && commands.empty() && works.empty();
  }
void Mail::Clear() {
    submissions.clear();
    results.clear();
    commands.clear();
    works.clear();
    ended.clear();
  }
Inbox::Inbox(std::size_t max_submissions, std::size_t max_bytes, std::function<void()> on_wake) : max_submissions_(max_submissions), max_bytes_(max_bytes), on_wake_(std::move(on_wake)) {
    (void)Promise::InDoubt();  // made now, while there is memory
  }
bool Inbox::Push(Submission submission) {
    submission.bytes = BytesOf(*submission.definition);
    std::shared_ptr<const Definition> ended[2];  // one for the one that came, and one to catch up
    std::unique_lock<std::mutex> lock(mutex_);
    if (closed_ || mail_.submissions.size() >= max_submissions_) return false;
    const std::size_t before = bytes_.load(std::memory_order_relaxed);
    if (before > 0 && submission.bytes > max_bytes_ - (std::min)(before, max_bytes_)) return false;
    const std::size_t bytes = submission.bytes;
    mail_.submissions.push_back(std::move(submission));
    mail_.submissions.back().waiter.promise.Bind();
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
    arrived_bytes_ += bytes;
    for (auto& definition : ended) {
      if (mail_.ended.empty()) break;
      definition = std::move(mail_.ended.back());
      mail_.ended.pop_back();
    }
    Came(lock);
    return true;
  }
bool Inbox::Push(QueuedWork work) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (closed_ || mail_.works.size() >= max_submissions_) return false;
    mail_.works.push_back(std::move(work));
    mail_.works.back().promise.Bind();
    Came(lock);
    return true;
  }
bool Inbox::Push(Command command) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (closed_) return false;
    mail_.commands.push_back(std::move(command));
    mail_.commands.back().waiter.promise.Bind();
    Came(lock);
    return true;
  }
void Inbox::Done(BranchCall call, Result result) {
    ArrivedResult arrived{std::move(call), std::move(result)};
    while (!Keep(arrived)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
void Inbox::BeginBurst() {
    std::thread::id nobody;
    burst_of_.compare_exchange_strong(nobody, std::this_thread::get_id());
  }
void Inbox::EndBurst() {
    if (!InBurst()) return;
    burst_of_ = std::thread::id();
    std::unique_lock<std::mutex> lock(mutex_);
    if (!mail_.Empty()) Arrived(lock);
  }
void Inbox::Take(Mail& mail) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::swap(mail, mail_);
    taken_bytes_ += std::exchange(arrived_bytes_, 0);
  }
void Inbox::DoneWithTaken() {
    bytes_.fetch_sub(std::exchange(taken_bytes_, 0), std::memory_order_relaxed);
  }
bool Inbox::FallAsleep(Time until) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!mail_.Empty()) return false;
    asleep_until_ = until;
    return true;
  }
void Inbox::WokeUp() {
    const std::lock_guard<std::mutex> lock(mutex_);
    asleep_until_ = kAwake;
  }
void Inbox::WakeBefore(Time time) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (time < asleep_until_) Arrived(lock);
  }
bool Inbox::Empty() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return mail_.Empty();
  }
void Inbox::Interrupt() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_ > 0) arrived_.notify_all();
  }
void Inbox::Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }
bool Inbox::Closed() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return closed_;
  }
bool Inbox::Keep(ArrivedResult& arrived) {
    std::unique_lock<std::mutex> lock(mutex_);
    try {
      mail_.results.push_back(std::move(arrived));  // which moves nothing if it throws
    } catch (const std::bad_alloc&) {
      return false;
    }
    Came(lock);
    return true;
  }
bool Inbox::InBurst() const { return burst_of_ == std::this_thread::get_id(); }
void Inbox::Came(std::unique_lock<std::mutex>& lock) {
    if (!InBurst()) Arrived(lock);
  }
void Inbox::Arrived(std::unique_lock<std::mutex>& lock) {
    if (waiting_ > 0) arrived_.notify_all();
    const bool wake = std::exchange(asleep_until_, kAwake) != kAwake;
    lock.unlock();
    if (!wake || !on_wake_) return;
    try {
      on_wake_();
    } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
    }
  }
}}


// ---- dtm/coordinator/parts/metrics.hpp ---------------------------------------------------------

#include <tuple>
namespace dtm { inline namespace v1 {
void Histogram::Add(Duration time) {
    const double seconds = static_cast<double>(time.count()) / 1e6;
    const auto bound = std::lower_bound(bounds->begin(), bounds->end(), seconds);
    ++counts[static_cast<std::size_t>(bound - bounds->begin())];
    sum += seconds;
  }
bool Metrics::Branch::operator<(const Branch& other) const {
      return std::tie(type, branch_id, op, ok) <
             std::tie(other.type, other.branch_id, other.op, other.ok);
    }
void Metrics::Committed(Duration took) {
    const std::lock_guard<std::mutex> lock(mutex_);
    snapshot_.commits.Add(took);
  }
void Metrics::Ended(const Transaction& transaction) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const TransType type = transaction.definition->type;
    ++snapshot_.ended[{type, transaction.status}];
    snapshot_.durations[type].Add(transaction.finished - transaction.created);
  }
void Metrics::Repaired(TransType type) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++snapshot_.repaired[type];
  }
void Metrics::GotResult(const Definition& definition, std::size_t row, const Result& result) {
    const bool ok = result.kind == Result::Kind::kSuccess;
    const std::size_t slot = 2 * row + (ok ? 1 : 0);
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::uint64_t>& counts = answers_[static_cast<std::size_t>(definition.type)];
    if (slot >= kMaxSlots) return;  // so many names of series would help nobody
    if (counts.size() <= slot) counts.resize(slot + 1);
    ++counts[slot];
  }
auto Metrics::Get() const -> Snapshot {
    const std::lock_guard<std::mutex> lock(mutex_);
    Snapshot snapshot = snapshot_;
    for (std::size_t type = 0; type < answers_.size(); ++type) {
      for (std::size_t slot = 0; slot < answers_[type].size(); ++slot) {
        if (answers_[type][slot] == 0) continue;
        const std::size_t row = slot / 2;
        snapshot.branches[KeyOf(static_cast<TransType>(type), row, slot % 2 == 1)] =
            answers_[type][slot];
      }
    }
    return snapshot;
  }
auto Metrics::KeyOf(TransType type, std::size_t row, bool ok) -> Branch {
    const bool query = HasQueryRow(type) && row == kQueryRow;
    return {type, query ? "00" : NumberOf(StepOf(type, row)), OpOf(type, row), ok};
  }
}}


// ---- dtm/core/validate.hpp ---------------------------------------------------------------------

namespace dtm { inline namespace v1 {
void RefuseOf(const std::string& gid, const std::string& problem) {
  if (!problem.empty()) throw BadInput("gid '" + gid + "': " + problem);
}
std::string GidProblem(const std::string& gid) {
  if (gid.empty()) return "the gid is empty; take one from NewGid()";
  if (gid.size() > kMaxGidBytes) {
    return "the gid has " + std::to_string(gid.size()) + " bytes; the limit is " +
           std::to_string(kMaxGidBytes);
  }
  for (const char c : gid) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F || c == ';') {
      return "gid '" + Printable(gid) + "' contains a control character or ';'; leave it out";
    }
  }
  if (!IsUtf8(gid)) return "gid '" + Printable(gid) + "' is not valid UTF-8";
  return {};
}
std::string OrdersProblem(const Definition& definition) {
  if (definition.orders.empty()) return {};
  std::size_t entries = 0;
  for (const auto& order : definition.orders) entries += order.second.size();
  if (entries > kMaxOrders) {
    return "gid '" + definition.gid + "': " + std::to_string(entries) +
           " entries of branch orders; the limit is " + std::to_string(kMaxOrders);
  }
  const std::size_t count = definition.steps.size();
  std::vector<std::vector<std::size_t>> followers(count);
  std::vector<std::size_t> waits_for(count, 0);
  const auto add = [&](std::size_t before, std::size_t step) {
    followers[before].push_back(step);
    ++waits_for[step];
  };
  const auto missing = [&definition, count](int step) {
    if (step >= 0 && static_cast<std::size_t>(step) < count) return std::string();
    return "gid '" + definition.gid + "': a branch order names step " + std::to_string(step) +
           ", which does not exist; there are " + std::to_string(count) + ", counted from 0";
  };
  for (const auto& order : definition.orders) {
    std::string problem = missing(order.first);
    if (!problem.empty()) return problem;
    for (const int before : order.second) {
      problem = missing(before);
      if (!problem.empty()) return problem;
      add(static_cast<std::size_t>(before), static_cast<std::size_t>(order.first));
    }
  }
  for (std::size_t step = 1; !definition.concurrent && step < count; ++step) add(step - 1, step);
  std::vector<std::size_t> ready;
  for (std::size_t step = 0; step < count; ++step) {
    if (waits_for[step] == 0) ready.push_back(step);
  }
  std::size_t done = 0;
  while (!ready.empty()) {
    const std::size_t step = ready.back();
    ready.pop_back();
    ++done;
    for (const std::size_t next : followers[step]) {
      if (--waits_for[next] == 0) ready.push_back(next);
    }
  }
  if (done == count) return {};
  return "gid '" + definition.gid +
         "': the branch orders form a cycle, so these steps would wait for each other for ever";
}
std::string PrepareProblem(const Definition& definition) {
  if (definition.type != TransType::kMsg || !definition.query_prepared.empty()) return {};
  return "gid '" + definition.gid +
         "': a message that is prepared needs query_prepared, which is asked whether to deliver it "
         "when "
         "no submit comes";
}
std::string SubmitProblem(const Definition& definition) {
  if (definition.type != TransType::kWorkflow) return {};
  return "gid '" + definition.gid + "': a workflow is prepared, and finished with its status";
}
void CheckEnd(Status status) {
  if (!IsFinal(status)) throw LogicError("a workflow ends as succeed or failed");
}
std::string RegistrationProblem(const std::string& gid, TransType type, const Step& step) {
  std::string problem = GidProblem(gid);
  if (!problem.empty()) return problem;
  const std::string who = "gid '" + gid + "': ";
  if (!RegistersSteps(type)) {
    return who + "no branches are registered with a " + Name(type) +
           "; tcc, xa and workflow register them";
  }
  if (step.branch_id.empty() || step.branch_id.size() > kMaxGidBytes) {
    return who + "branch_id must have 1 to " + std::to_string(kMaxGidBytes) + " bytes";
  }
  if (!IsUtf8(step.branch_id)) return who + "branch_id is not valid UTF-8";
  if (type == TransType::kWorkflow && (step.op == Op{} || step.op > Op::kBusiness)) {
    return who + "a workflow records what was done: action, commit, rollback, ...";
  }
  if (type == TransType::kWorkflow) return {};  // what it was is called by nobody
  if (IsTopic(step.action) || IsTopic(step.compensate)) {
    return who + "a branch that is registered is no topic";
  }
  for (const std::string* url : {&step.action, &step.compensate}) {
    problem = UrlProblem(*url);
    if (!problem.empty()) return who + "branch " + step.branch_id + ": " + problem;
  }
  return {};
}
void CheckCallable(const InitiatorCall& call) {
  try {
    (void)ParseHttpUrl(call.url);
  } catch (const Error& error) {
    throw RejectedError("gid '" + call.info.gid + "': " + error.what());
  }
}
}}

namespace dtm { inline namespace v1 { namespace limit {
std::string Above(const std::string& gid, const std::string& what, std::size_t is,
                         std::size_t most) {
  return "gid '" + gid + "': " + what + " has " + std::to_string(is) + " bytes; the limit is " +
         std::to_string(most);
}
std::string AboveSteps(const std::string& gid, std::size_t count) {
  if (count <= kMaxSteps) return {};
  return "gid '" + gid + "': " + std::to_string(count) + " steps; the limit is " +
         std::to_string(kMaxSteps);
}
std::string AboveBytes(const Definition& definition, std::size_t more) {
  std::size_t bytes = more + definition.data.size();
  for (const Step& step : definition.steps) bytes += step.UrlAndPayloadBytes();
  for (const auto& header : definition.options.branch_headers) {
    bytes += header.first.size() + header.second.size();
  }
  const std::size_t most =
      definition.type == TransType::kWorkflow ? kMaxWorkflowBytes : kMaxDefinitionBytes;
  return bytes <= most ? std::string() : Above(definition.gid, "the transaction", bytes, most);
}
}}}

namespace dtm { inline namespace v1 {
bool TooDeep(const std::string& json) {
  return json.size() > kMaxJsonDepth && JsonDepth(json) > kMaxJsonDepth;
}
std::string StepProblem(const Definition& definition, const Step& step, std::size_t index) {
  const auto who = [&definition] { return "gid '" + definition.gid + "': "; };
  const auto name = [index] { return "step " + std::to_string(index); };
  const bool workflow = definition.type == TransType::kWorkflow;
  for (const std::string* url : {&step.action, &step.compensate, &step.branch_id, &step.topic}) {
    if (url->size() > kMaxUrlBytes) {
      return limit::Above(definition.gid, "a url of " + name(), url->size(), kMaxUrlBytes);
    }
    if (!IsUtf8(*url)) return who() + "a url of " + name() + " is not valid UTF-8";
  }
  for (const std::string* url : {&step.action, &step.compensate}) {
    if (workflow) break;  // what was recorded is called by nobody
    const std::string problem = UrlProblem(*url);
    if (!problem.empty()) return who() + name() + ": " + problem;
  }
  const std::size_t most = workflow ? kMaxRecordBytes : kMaxPayloadBytes;
  if (step.payload.size() > most) {
    return limit::Above(definition.gid, "the payload of " + name(), step.payload.size(), most);
  }
  const bool function = IsLocal(step.action) || IsLocal(step.compensate);
  if (function && !workflow && TooDeep(step.payload)) {
    return who() + "the payload of " + name() + " is nested more than " +
           std::to_string(kMaxJsonDepth) + " levels deep; no function could read it";
  }
  const bool undone = definition.type != TransType::kMsg;  // a message has no compensations
  if (undone && (IsTopic(step.action) || IsTopic(step.compensate))) {
    return who() + name() + " goes to a topic; only messages do";
  }
  return {};
}
std::string AddedStepProblem(const Definition& definition, const Step& step) {
  const std::size_t index = definition.steps.size();
  std::string problem = limit::AboveSteps(definition.gid, index + 1);
  if (problem.empty()) problem = StepProblem(definition, step, index);
  if (problem.empty()) problem = limit::AboveBytes(definition, step.UrlAndPayloadBytes());
  return problem;
}
std::string Problem(const Definition& definition) {
  std::string problem = GidProblem(definition.gid);
  if (!problem.empty()) return problem;
  const auto who = [&definition] { return "gid '" + definition.gid + "': "; };
  const auto above = [&definition](const std::string& what, std::size_t is, std::size_t most) {
    return limit::Above(definition.gid, what, is, most);
  };
  problem = limit::AboveSteps(definition.gid, definition.steps.size());
  for (std::size_t i = 0; problem.empty() && i < definition.steps.size(); ++i) {
    problem = StepProblem(definition, definition.steps[i], i);
  }
  if (!problem.empty()) return problem;
  for (const std::string* text : {&definition.query_prepared, &definition.workflow}) {
    if (text->size() > kMaxUrlBytes)
      return above("query_prepared or the name", text->size(), kMaxUrlBytes);
    if (!IsUtf8(*text)) return who() + "query_prepared or the name is not valid UTF-8";
  }
  const std::string asked = UrlProblem(definition.query_prepared);
  if (!asked.empty()) return who() + "query_prepared: " + asked;
  if (IsTopic(definition.query_prepared)) {
    return who() + "query_prepared is a topic; one place is asked, not its subscribers";
  }
  if (definition.data.size() > kMaxPayloadBytes) {
    return above("its data", definition.data.size(), kMaxPayloadBytes);
  }
  if (IsLocal(definition.query_prepared) && TooDeep(definition.data)) {
    return who() + "its data is nested more than " + std::to_string(kMaxJsonDepth) +
           " levels deep; no function could read it";
  }
  if (definition.delay.count() < 0 || definition.delay > kMaxDelay) {
    return who() + "the delay is " + std::to_string(definition.delay.count()) +
           " s; it must be 0 to " + std::to_string(kMaxDelay.count()) + " s";
  }
  const TransOptions& options = definition.options;
  if (options.branch_headers.size() > kMaxHeaders) {
    return who() + std::to_string(options.branch_headers.size()) +
           " branch headers; the limit is " + std::to_string(kMaxHeaders);
  }
  for (const auto& header : options.branch_headers) {
    const std::size_t size = header.first.size() + header.second.size();
    if (size > kMaxHeaderBytes)
      return above("branch header " + header.first, size, kMaxHeaderBytes);
    const bool name_ok =
        !header.first.empty() && header.first.find_first_of(": \t") == std::string::npos;
    if (!name_ok)
      return who() + "branch header '" + Printable(header.first) + "' has no valid name";
    for (const char c : header.first + header.second) {
      if (c == '\r' || c == '\n' || c == '\0') {
        return who() + "branch header '" + Printable(header.first) +
               "' contains a line break or NUL";
      }
    }
  }
  problem = limit::AboveBytes(definition, 0);
  if (!problem.empty()) return problem;
  const auto out_of_range = [&who](const char* name, std::chrono::seconds value) {
    return who() + name + " is " + std::to_string(value.count()) +
           " s; it must be 0 (default) to " + std::to_string(kMaxOptionSeconds.count()) + " s";
  };
  const auto bad = [](std::chrono::seconds s) { return s.count() < 0 || s > kMaxOptionSeconds; };
  if (bad(options.timeout_to_fail)) {
    return out_of_range("timeout_to_fail", options.timeout_to_fail);
  }
  if (bad(options.request_timeout)) {
    return out_of_range("request_timeout", options.request_timeout);
  }
  if (bad(options.retry_interval)) return out_of_range("retry_interval", options.retry_interval);
  if (options.retry_limit < 0 || options.retry_limit > kMaxRetryLimit) {
    return who() + "retry_limit is " + std::to_string(options.retry_limit) +
           "; it must be 0 (no limit) to " + std::to_string(kMaxRetryLimit);
  }
  // The submit of a prepared one may bring orders for steps that it does not repeat.
  return definition.steps.empty() ? std::string() : OrdersProblem(definition);
}
std::string NothingToResume(const std::string& gid) {
  return "gid '" + gid +
         "' is not stored, so there is no workflow to go on with; nothing was run or stored";
}
}}


// ---- dtm/coordinator/parts/topics.hpp ----------------------------------------------------------

namespace dtm { inline namespace v1 { namespace topics {
auto Parse(const KeyValue& stored) -> std::vector<Subscriber> {
  std::vector<Subscriber> subscribers;
  const nlohmann::json list = nlohmann::json::parse(stored.value, nullptr, false);
  try {
    if (list.is_array()) {
      for (const nlohmann::json& entry : list) {
        subscribers.push_back({entry.value("url", ""), entry.value("remark", "")});
      }
      return subscribers;
    }
  } catch (const nlohmann::json::exception&) {  // an entry of another form
  }
  throw StoreError("the stored subscribers of topic '" + stored.key + "' cannot be read");
}
auto ToStore(const std::string& topic, const std::vector<Subscriber>& subscribers,
                        Time now) -> KeyValue {
  // By hand: ordered_json would cost every program as much compile time as json.
  std::string list = "[";
  for (const Subscriber& subscriber : subscribers) {
    if (list.size() > 1) list += ',';
    list += R"({"url":)" + nlohmann::json(subscriber.url).dump() + R"(,"remark":)" +
            nlohmann::json(subscriber.remark).dump() + '}';
  }
  list += ']';
  KeyValue value;
  value.category = kCategory;
  value.key = topic;
  value.value = std::move(list);
  value.updated = now;
  return value;
}
std::string Problem(const std::string& topic, const std::string& url,
                           const std::string& remark) {
  if (topic.empty()) return "empty topic";
  if (url.empty()) return "empty url";
  if (IsTopic(url)) return "a topic cannot subscribe to topic '" + Printable(topic) + "'";
  if (topic.size() > kMaxGidBytes || !IsUtf8(topic)) {
    return "the name of a topic is UTF-8 of at most " + std::to_string(kMaxGidBytes) + " bytes";
  }
  if (url.size() > kMaxUrlBytes || !IsUtf8(url) || remark.size() > kMaxReasonBytes ||
      !IsUtf8(remark)) {
    return "the url or the remark of topic '" + topic + "' is too long or not UTF-8";
  }
  return {};
}
auto Subscribe(std::optional<KeyValue>& stored, const std::string& topic,
                        const Subscriber& subscriber, Time now) -> Result {
  std::vector<Subscriber> all;
  if (stored) all = Parse(*stored);
  const bool known = std::any_of(
      all.begin(), all.end(), [&](const Subscriber& other) { return other.url == subscriber.url; });
  if (known) return Result::Failure("this url exists");
  if (all.size() >= kMaxSteps) {
    return Result::Failure("topic '" + topic + "' has " + std::to_string(kMaxSteps) +
                           " subscribers, which is the limit");
  }
  all.push_back(subscriber);
  stored = ToStore(topic, all, now);
  return Result::Success();
}
auto UrlMeant(const std::vector<Subscriber>& all, const std::string& topic,
                       const std::string& url) -> Result {
  std::vector<std::string> shown_so;
  for (const Subscriber& subscriber : all) {
    if (subscriber.url == url) return {Result::Kind::kSuccess, url};
    if (ShownUrl(subscriber.url) == url) shown_so.push_back(subscriber.url);
  }
  if (shown_so.empty()) return Result::Failure("no such an url ");
  if (shown_so.size() == 1) return {Result::Kind::kSuccess, shown_so[0]};
  return Result::Failure(std::to_string(shown_so.size()) + " subscribers of topic '" + topic +
                         "' are shown as '" + url +
                         "', and none was removed; name one by its whole url, with its user and "
                         "password");
}
auto Unsubscribe(std::optional<KeyValue>& stored, const std::string& topic,
                          const std::string& url, Time now) -> Result {
  if (!stored) return Result::Failure("no such a topic");
  std::vector<Subscriber> all = Parse(*stored);
  if (all.empty()) return Result::Failure("this topic is empty");
  Result meant = UrlMeant(all, topic, url);
  if (meant.kind != Result::Kind::kSuccess) return meant;
  all.erase(std::remove_if(all.begin(), all.end(),
                           [&](const Subscriber& other) { return other.url == meant.text; }),
            all.end());
  stored = ToStore(topic, all, now);
  return Result::Success();
}
auto Delete(std::optional<KeyValue>& stored, const std::string& topic) -> Result {
  if (std::exchange(stored, std::nullopt)) return Result::Success();
  return Result::Failure("there is no topic '" + topic + "'");
}
auto ChangeIn(Store& store, const std::string& topic, const Change& change, Time now) -> Result {
  std::optional<KeyValue> value = store.GetValue(kCategory, topic);
  Result result = change(value, now);
  if (result.kind != Result::Kind::kSuccess) return result;
  if (value) {
    store.PutValue(*value);
  } else {
    (void)store.RemoveValue(kCategory, topic);
  }
  return result;
}
auto Subscribers(Store& store, const std::string& topic) -> std::vector<Subscriber> {
  if (topic.empty()) return {};  // ScanValues takes an empty key for any
  const KeyValuePage page = store.ScanValues(kCategory, topic, 0, 1);
  return page.values.empty() ? std::vector<Subscriber>() : Parse(page.values[0]);
}
bool HasTopics(const Definition& message) {
  return message.type == TransType::kMsg &&
         std::any_of(message.steps.begin(), message.steps.end(),
                     [](const Step& step) { return IsTopic(step.action); });
}
bool Expand(Definition& message, Store& store) {
  if (!HasTopics(message) || store.Load(message.gid)) return false;
  ExpandBy(message, [&store](const std::string& topic) { return Subscribers(store, topic); });
  return true;
}
void CheckAndExpand(Definition& definition, Store& store) {
  std::string problem = dtm::Problem(definition);
  if (!problem.empty()) throw BadInput(problem);
  if (Expand(definition, store)) problem = dtm::Problem(definition);
  if (!problem.empty()) throw RejectedError(problem);
}
void CheckNew(const Definition& definition) {
  if (definition.steps.empty()) {
    const std::string problem = OrdersProblem(definition);
    if (!problem.empty()) throw BadInput(problem);
  }
  if (definition.type != TransType::kMsg) return;
  for (const Step& step : definition.steps) {
    if (!IsTopic(step.action)) continue;
    throw RejectedError("gid '" + definition.gid + "': topic not found: " +
                        step.action.substr(kTopicPrefixSize) + "; subscribe somebody to it first");
  }
}
}}}


// ---- dtm/store/codec_bytes.hpp -----------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace codec {
auto PutNumber(char* at, std::uint64_t value) -> char* {
  for (; value >= 0x80; value >>= 7) *at++ = static_cast<char>(value | 0x80);
  *at++ = static_cast<char>(value);
  return at;
}
Writer::Writer(std::string& out) : out_(out) {}
void Writer::Byte(std::uint8_t value) { out_.push_back(static_cast<char>(value)); }
void Writer::Number(std::uint64_t value) {
    if (value < 0x80) return Byte(static_cast<std::uint8_t>(value));
    char bytes[kMostNumberBytes];
    out_.append(bytes, static_cast<std::size_t>(PutNumber(bytes, value) - bytes));
  }
void Writer::Text(std::string_view text) {
    Number(text.size());
    out_.append(text);
  }
Reader::Reader(std::string_view bytes) : rest_(bytes) {}
auto Reader::Byte() -> std::uint8_t {
    if (rest_.empty()) Fail();
    const auto value = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
auto Reader::Number() -> std::uint64_t {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint8_t byte = Byte();
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    Fail();
  }
std::string Reader::Text() {
    const std::uint64_t size = Number();
    if (size > rest_.size()) Fail();
    std::string text(rest_.substr(0, static_cast<std::size_t>(size)));
    rest_.remove_prefix(static_cast<std::size_t>(size));
    return text;
  }
std::size_t Reader::Count() {
    const std::uint64_t count = Number();
    if (count > rest_.size()) Fail();
    return static_cast<std::size_t>(count);
  }
bool Reader::AtEnd() const { return rest_.empty(); }
void Reader::ExpectEnd() const {
    if (!AtEnd()) Fail();
  }
void Reader::Fail() {
    throw StoreError("a stored record is damaged or was written by a newer version");
  }
}}}


// ---- dtm/store/codec.hpp -----------------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace codec {
auto Micros(Time time) -> std::uint64_t {
  const auto count = time.time_since_epoch().count();
  return count < 0 ? 0 : static_cast<std::uint64_t>(count);
}
auto FromMicros(std::uint64_t micros) -> Time {
  return Time(Duration(static_cast<Duration::rep>(micros)));
}
auto MicrosAfter(Time created, Time time) -> std::uint64_t {
  return time <= created ? 0 : static_cast<std::uint64_t>((time - created).count());
}
auto FromMicrosAfter(Time created, std::uint64_t micros) -> Time {
  const auto since = static_cast<std::uint64_t>(created.time_since_epoch().count());
  return Time(Duration(static_cast<Duration::rep>(since + micros)));  // damaged ones overflow
}
auto ReadFormat(Reader& reader) -> std::uint8_t {
  const std::uint8_t format = reader.Byte();
  if (format == 0 || format > kFormat) Reader::Fail();
  return format;
}
void WriteStep(Writer& writer, const Step& step, bool more) {
  writer.Text(step.action);
  writer.Text(step.compensate);
  writer.Text(step.payload);
  if (!more) return;
  writer.Text(step.branch_id);
  writer.Text(step.topic);
  writer.Byte(static_cast<std::uint8_t>(step.op));
  writer.Byte(step.failed ? 1 : 0);
}
auto ReadStep(Reader& reader, bool more) -> Step {
  Step step;
  step.action = reader.Text();
  step.compensate = reader.Text();
  step.payload = reader.Text();
  if (!more) return step;
  step.branch_id = reader.Text();
  step.topic = reader.Text();
  step.op = static_cast<Op>(reader.Byte());
  step.failed = reader.Byte() != 0;
  return step;
}
void EncodeStep(const Step& step, std::string& out) {
  out.clear();
  Writer writer(out);
  writer.Byte(kFormat);
  WriteStep(writer, step, true);
}
auto DecodeStep(std::string_view bytes) -> Step {
  Reader reader(bytes);
  (void)ReadFormat(reader);
  Step step = ReadStep(reader, true);
  reader.ExpectEnd();
  return step;
}
std::string EncodeDefinition(const Definition& definition) {
  std::string out;
  std::size_t size = 32;
  for (const Step& step : definition.steps) {
    size += step.action.size() + step.compensate.size() + step.payload.size() + 12;
  }
  out.reserve(size);
  Writer writer(out);
  const TransOptions& options = definition.options;
  const bool more = definition.type != TransType::kSaga || !definition.query_prepared.empty();
  writer.Byte(kFormat);
  writer.Byte(static_cast<std::uint8_t>(
      (definition.concurrent ? 1 : 0) | (options.wait_result ? 2 : 0) |
      (definition.prepared_first ? 4 : 0) | (more ? kMore : 0) | (definition.json_rpc ? 16 : 0) |
      (definition.custom_data.empty() ? 0 : kCustomData)));
  writer.Number(static_cast<std::uint64_t>(options.timeout_to_fail.count()));
  writer.Number(static_cast<std::uint64_t>(options.request_timeout.count()));
  writer.Number(static_cast<std::uint64_t>(options.retry_interval.count()));
  writer.Number(static_cast<std::uint64_t>(options.retry_limit));
  writer.Number(options.branch_headers.size());
  for (const auto& header : options.branch_headers) {
    writer.Text(header.first);
    writer.Text(header.second);
  }
  writer.Number(definition.orders.size());
  for (const auto& order : definition.orders) {
    writer.Number(static_cast<std::uint64_t>(order.first));
    writer.Number(order.second.size());
    for (const int before : order.second) writer.Number(static_cast<std::uint64_t>(before));
  }
  writer.Number(definition.steps.size());
  for (const Step& step : definition.steps) WriteStep(writer, step, more);
  if (more) {
    writer.Text(definition.query_prepared);
    writer.Number(static_cast<std::uint64_t>(definition.delay.count()));
    writer.Text(definition.workflow);
    writer.Text(definition.data);
  }
  if (!definition.custom_data.empty()) writer.Text(definition.custom_data);
  return out;
}
auto DecodeDefinition(std::string gid, TransType type,
                                                    std::string_view bytes) -> std::shared_ptr<Definition> {
  auto definition = std::make_shared<Definition>();
  definition->gid = std::move(gid);
  definition->type = type;
  Reader reader(bytes);
  (void)ReadFormat(reader);
  const std::uint8_t flags = reader.Byte();
  definition->concurrent = (flags & 1) != 0;
  TransOptions& options = definition->options;
  options.wait_result = (flags & 2) != 0;
  definition->prepared_first = (flags & 4) != 0;
  const bool more = (flags & kMore) != 0;
  definition->json_rpc = (flags & 16) != 0;
  options.timeout_to_fail = std::chrono::seconds(reader.Number());
  options.request_timeout = std::chrono::seconds(reader.Number());
  options.retry_interval = std::chrono::seconds(reader.Number());
  options.retry_limit = static_cast<int>(reader.Number());
  for (std::size_t n = reader.Count(); n > 0; --n) {
    std::string name = reader.Text();
    options.branch_headers[std::move(name)] = reader.Text();
  }
  for (std::size_t n = reader.Count(); n > 0; --n) {
    std::vector<int>& before = definition->orders[static_cast<int>(reader.Number())];
    for (std::size_t m = reader.Count(); m > 0; --m) {
      before.push_back(static_cast<int>(reader.Number()));
    }
  }
  definition->steps.resize(reader.Count());
  for (Step& step : definition->steps) step = ReadStep(reader, more);
  if (more) {
    definition->query_prepared = reader.Text();
    definition->delay = std::chrono::seconds(reader.Number());
    definition->workflow = reader.Text();
    definition->data = reader.Text();
  }
  if ((flags & kCustomData) != 0) definition->custom_data = reader.Text();
  reader.ExpectEnd();
  const auto known = [&](int step) {
    return step >= 0 && static_cast<std::size_t>(step) < definition->steps.size();
  };
  for (const auto& order : definition->orders) {  // they are used as indexes
    if (!known(order.first)) Reader::Fail();
    for (const int before : order.second) {
      if (!known(before)) Reader::Fail();
    }
  }
  return definition;
}
void EncodeState(const Transaction& transaction, std::string& out) {
  out.clear();
  Writer writer(out);
  const Time created = transaction.created;
  const bool updated = transaction.updated > created && !IsFinal(transaction.status);
  writer.Byte(kFormat);
  writer.Byte(static_cast<std::uint8_t>(
      (transaction.stuck ? kStuck : 0) | (transaction.result.empty() ? 0 : kResult) |
      (updated ? kUpdated : 0) | (transaction.reason_from == 0 ? 0 : kReasonFrom) |
      (transaction.driver == 0 ? 0 : kDriver)));
  writer.Number(transaction.retry_count);
  writer.Text(transaction.reason);
  writer.Text(transaction.last_error);
  writer.Number(transaction.branches.size());
  for (const Branch& branch : transaction.branches) {
    const bool next_try = branch.next_try != Time{};
    const bool deadline = branch.deadline != Time{};
    const bool finished = branch.finished != Time{};
    writer.Byte(static_cast<std::uint8_t>(
        static_cast<unsigned>(branch.status) | (branch.tries > 0 ? 4u : 0u) |
        (branch.errors > 0 ? 8u : 0u) | (next_try ? 16u : 0u) | (deadline ? 32u : 0u) |
        (finished ? 64u : 0u) | (branch.asked_when ? 128u : 0u)));
    if (branch.tries > 0) writer.Number(branch.tries);
    if (branch.errors > 0) writer.Number(branch.errors);
    if (next_try) writer.Number(Micros(branch.next_try));
    if (deadline) writer.Number(Micros(branch.deadline));
    if (finished) writer.Number(MicrosAfter(created, branch.finished));
  }
  if (!transaction.result.empty()) writer.Text(transaction.result);
  if (updated) writer.Number(MicrosAfter(created, transaction.updated));
  if (transaction.reason_from != 0) writer.Number(transaction.reason_from);
  if (transaction.driver != 0) writer.Number(transaction.driver);
}
void DecodeState(std::string_view bytes, Transaction& transaction) {
  Reader reader(bytes);
  const bool old = ReadFormat(reader) == 1;
  const std::uint8_t flags = reader.Byte();
  if (flags >= (old ? 4 : 32)) Reader::Fail();
  const Time created = transaction.created;
  transaction.stuck = (flags & kStuck) != 0;
  transaction.retry_count = static_cast<std::uint32_t>(reader.Number());
  transaction.reason = reader.Text();
  transaction.last_error = reader.Text();
  transaction.branches.assign(reader.Count(), Branch{});
  for (Branch& branch : transaction.branches) {
    const std::uint8_t bits = reader.Byte();
    const unsigned status = bits & 3u;
    if (status == 0 || (old && bits >= 64)) Reader::Fail();
    branch.status = static_cast<BranchStatus>(status);
    if ((bits & 4u) != 0) branch.tries = static_cast<std::uint32_t>(reader.Number());
    if ((bits & 8u) != 0) branch.errors = static_cast<std::uint32_t>(reader.Number());
    if ((bits & 16u) != 0) branch.next_try = FromMicros(reader.Number());
    if ((bits & 32u) != 0) branch.deadline = FromMicros(reader.Number());
    branch.asked_when = (bits & 128u) != 0;
    if ((bits & 64u) != 0) branch.finished = FromMicrosAfter(created, reader.Number());
  }
  transaction.result = (flags & kResult) != 0 ? reader.Text() : std::string();
  transaction.updated = IsFinal(transaction.status) ? transaction.finished : created;
  if ((flags & kUpdated) != 0) transaction.updated = FromMicrosAfter(created, reader.Number());
  transaction.reason_from =
      (flags & kReasonFrom) != 0 ? static_cast<std::uint32_t>(reader.Number()) : 0;
  transaction.driver = (flags & kDriver) != 0 ? reader.Number() : 0;
  reader.ExpectEnd();
}
}}}


// ---- dtm/store/journal_codec.hpp ---------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace codec {
JournalWriter::JournalWriter(std::string& out) : begin_(out.size()), out_(out) {}
void JournalWriter::Tell(Time time, JournalKind kind, std::size_t row, Op op, std::string_view text,
            std::string_view who) {
    char bytes[kMostEntryBytes];
    char* at = bytes;
    if (out_.size() == begin_) {
      *at++ = static_cast<char>(kJournalFormat);
      at = PutNumber(at, Micros(time));
      before_ = (std::max)(time, Time{});
    }
    const bool has_row = row != kNoRow;
    *at++ = static_cast<char>(static_cast<unsigned>(kind) | (has_row ? kHasRow : 0u) |
                              (text.empty() ? 0u : kHasText) | (who.empty() ? 0u : kHasWho));
    at = PutNumber(at, MicrosAfter(before_, time));  // 0 if the clock was set back
    if (has_row) {
      *at++ = static_cast<char>(op);
      at = PutNumber(at, row);
    }
    out_.append(bytes, static_cast<std::size_t>(at - bytes));
    if (!text.empty()) Writer(out_).Text(text);
    if (!who.empty()) Writer(out_).Text(who);
    if (time > before_) before_ = time;
  }
void JournalWriter::End() {
    const std::size_t size = out_.size() - begin_;
    if (size > 0) out_.append("\0", 2 - size % 2);  // at least the end
  }
void EncodeJournal(const std::vector<JournalEntry>& entries, std::string& out) {
  JournalWriter writer(out);
  for (const JournalEntry& entry : entries) {
    writer.Tell(entry.time, entry.kind, entry.row, entry.op, entry.text, entry.who);
  }
  writer.End();
}
auto ReadCountedEntry(Reader& reader, Time before) -> JournalEntry {
  JournalEntry entry;
  entry.kind = static_cast<JournalKind>(reader.Byte());
  entry.op = static_cast<Op>(reader.Byte());
  const std::uint64_t row = reader.Number();
  entry.row = row == 0 ? kNoRow : static_cast<std::size_t>(row - 1);
  entry.time = FromMicrosAfter(before, reader.Number());
  entry.text = reader.Text();
  return entry;
}
auto ReadEntry(Reader& reader, std::uint8_t first, Time before) -> JournalEntry {
  JournalEntry entry;
  entry.kind = static_cast<JournalKind>(first & kKindBits);
  entry.time = FromMicrosAfter(before, reader.Number());
  if ((first & kHasRow) != 0) {
    entry.op = static_cast<Op>(reader.Byte());
    entry.row = static_cast<std::size_t>(reader.Number());
  }
  if ((first & kHasText) != 0) entry.text = reader.Text();
  if ((first & kHasWho) != 0) entry.who = reader.Text();
  return entry;
}
void ReadEntries(Reader& reader, std::vector<JournalEntry>& entries) {
  const std::uint8_t format = reader.Byte();
  if (format == 0) return;  // fills up the entries before it
  const bool counted = format == kCountedJournal;
  if (!counted && format != kJournalFormat) Reader::Fail();
  std::size_t count = counted ? reader.Count() : 0;
  Time time = FromMicros(reader.Number());
  const auto keep = [&](JournalEntry entry) {
    time = entry.time;
    entries.push_back(std::move(entry));
  };
  for (; count > 0; --count) keep(ReadCountedEntry(reader, time));
  if (counted) return;
  while (const std::uint8_t first = reader.Byte()) keep(ReadEntry(reader, first, time));
}
void DecodeJournal(std::string_view bytes, std::vector<JournalEntry>& entries) {
  Reader reader(bytes);
  try {
    while (!reader.AtEnd()) ReadEntries(reader, entries);
  } catch (const StoreError&) {
    const Time time = entries.empty() ? Time{} : entries.back().time;
    entries.push_back({time, 0, {}, JournalKind::kGap, {}});
  }
}
}}}


// ---- dtm/coordinator/driven_endpoint.hpp -------------------------------------------------------

namespace dtm { inline namespace v1 {
auto DrivenEndpoint::Await(callable::Ref<void(AnswerCallback)> ask) const -> TransResult {
    return Checked().WaitFor(ask);
  }
void DrivenEndpoint::BeginBurst() { Checked().inbox.BeginBurst(); }
void DrivenEndpoint::EndBurst() { Checked().inbox.EndBurst(); }
bool DrivenEndpoint::HasThread() const { return Checked().HasThread(); }
DrivenEndpoint::~DrivenEndpoint() = default;
DrivenEndpoint::DrivenEndpoint(std::unique_ptr<Driver> driver) : driver_("coordinator", std::move(driver)) {}
void DrivenEndpoint::StopForGood() {
    if (driver_.Here()) Checked().StopForGood();
  }
auto DrivenEndpoint::Checked() const -> Driver& { return driver_.Get(); }
}}


// ---- dtm/coordinator/command_operations.hpp ----------------------------------------------------

namespace dtm { inline namespace v1 {
void CommandOperations::RegisterBranchAsync(const std::string& gid, TransType type, Step step,
                           AnswerCallback callback) {
    Refuse(RegistrationProblem(gid, type, step));
    for (const std::string* url : {&step.action, &step.compensate}) {
      if (type != TransType::kWorkflow) RefuseOf(gid, Checked().urls.WithoutCaller(*url));
    }
    Command command = About(gid, Command::Kind::kAddBranch);
    command.type = type;
    command.step = std::move(step);
    Push(std::move(command), std::move(callback));
  }
void CommandOperations::FinishWorkflowAsync(const std::string& gid, Status status, const std::string& reason,
                           const std::string& result, AnswerCallback callback) {
    CheckEnd(status);
    Command command = About(gid, Command::Kind::kFinish);
    command.type = TransType::kWorkflow;
    command.status = status;
    command.reason = reason;
    command.data = result;
    Push(std::move(command), std::move(callback));
  }
void CommandOperations::AbortAsync(const std::string& gid, std::optional<TransType> type, const By& by,
                  WaitResult wait_result, AnswerCallback callback) {
    Command command = About(gid, Command::Kind::kCancel, by);
    command.wait_result = wait_result;
    command.type = type;
    Push(std::move(command), std::move(callback));
  }
void CommandOperations::AbortAsync(const std::string& gid, std::optional<TransType> type, const std::string& reason,
                  WaitResult wait_result, AnswerCallback callback) {
    AbortAsync(gid, type, By{{}, reason}, wait_result, std::move(callback));
  }
void CommandOperations::ForceStopAsync(const std::string& gid, const By& by, AnswerCallback callback) {
    Push(About(gid, Command::Kind::kForceStop, by), std::move(callback));
  }
void CommandOperations::ForceStopAsync(const std::string& gid, AnswerCallback callback) {
    ForceStopAsync(gid, By{}, std::move(callback));
  }
void CommandOperations::RetryNowAsync(const std::string& gid, const By& by, AnswerCallback callback) {
    Push(About(gid, Command::Kind::kRetryNow, by), std::move(callback));
  }
void CommandOperations::RetryNowAsync(const std::string& gid, AnswerCallback callback) {
    RetryNowAsync(gid, By{}, std::move(callback));
  }
void CommandOperations::SkipAsync(const std::string& gid, const std::string& branch_id, Op op, const By& by,
                 AnswerCallback callback) {
    const std::string why = Truncated(Printable(by.why), kMaxJournalText);
    if (Trimmed(why).empty()) {
      throw BadInput("gid '" + gid + "' was not changed: say why branch " + Printable(branch_id) +
                     " " + Name(op) + " counts as done; it is kept, so that others can follow");
    }
    Command command = About(gid, Command::Kind::kSkip, By{by.who, why});
    command.step.branch_id = branch_id;
    command.step.op = op;
    Push(std::move(command), std::move(callback));
  }
void CommandOperations::WaitAsync(const std::string& gid, Duration timeout, AnswerCallback callback) {
    Command command = About(gid, Command::Kind::kWait);
    command.waiter.when = AnswerWhen::kFinished;
    command.waiter.deadline = TimeIn(timeout);
    Push(std::move(command), std::move(callback));
  }
void CommandOperations::ExplainAsync(const std::string& gid, ValueCallback<std::string> callback) {
    Command command = About(gid, Command::Kind::kExplain);
    command.explained = std::make_shared<std::string>();
    AnswerCallback answer = AnswerWith(command.explained, std::move(callback));
    Push(std::move(command), std::move(answer));
  }
void CommandOperations::ListWaitingAsync(Duration wait, std::size_t limit,
                        ValueCallback<std::vector<std::string>> callback) {
    Command command = About({}, Command::Kind::kListWaiting);
    command.after = TimeIn(wait);
    command.limit = limit;
    command.listed = std::make_shared<std::vector<std::string>>();
    AnswerCallback answer = AnswerWith(command.listed, std::move(callback));
    Push(std::move(command), std::move(answer));
  }
CommandOperations::~CommandOperations() = default;
auto CommandOperations::About(const std::string& gid, Command::Kind kind) -> Command {
    Command command;
    command.kind = kind;
    command.gid = gid;
    return command;
  }
auto CommandOperations::About(const std::string& gid, Command::Kind kind, const By& by) -> Command {
    Command command = About(gid, kind);
    command.reason = by.why;
    command.who = Truncated(Printable(by.who), kMaxJournalWho);
    return command;
  }
auto CommandOperations::TimeIn(Duration wait) const -> Time { return Later(Checked().clock->Now(), wait); }
void CommandOperations::Refuse(const std::string& problem) {
    if (!problem.empty()) throw BadInput(problem);
  }
void CommandOperations::Push(Command command, AnswerCallback callback) {
    command.waiter.promise = std::move(callback);
    if (!Checked().inbox.Push(std::move(command))) throw LogicError("the coordinator was stopped");
  }
}}


// ---- dtm/core/gid.hpp --------------------------------------------------------------------------

namespace dtm { inline namespace v1 {
std::string GidGenerator::Make(Time now) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch());
    // A forked child has the same stock as its parent: it asks for one of its own.
    const unsigned generation = os::Forking::Generation();
    if (std::exchange(generation_, generation) != generation) used_ = kStock;
    const std::uint64_t first = Random();
    std::string gid(22, kAlphabet[0]);
    Put((static_cast<std::uint64_t>(ms.count()) << 10 & kTimeMask) | (first & 0x3FF), 10, &gid[0]);
    Put(Random() % kPow57To10, 10, &gid[10]);
    Put(first >> 10, 2, &gid[20]);
    return gid;
  }
void GidGenerator::Put(std::uint64_t value, int digits, char* to) {
    for (int i = digits - 1; i >= 0; --i, value /= 57) to[i] = kAlphabet[value % 57];
  }
auto GidGenerator::Random() -> std::uint64_t {
    if (used_ == kStock) {
      os::FillRandom(random_, sizeof random_);
      used_ = 0;
    }
    return random_[used_++];
  }
}}


// ---- dtm/coordinator/operations.hpp ------------------------------------------------------------

namespace dtm { inline namespace v1 {
std::string Operations::NewGid() {
    const Time now = Checked().clock->Now();
    const std::lock_guard<std::mutex> lock(gid_mutex_);
    return gids_.Make(now);
  }
void Operations::SubmitAsync(Definition definition, AnswerCallback callback) {
    CheckSubmittable(definition);
    Waiter waiter;
    waiter.failure_is_error = true;
    waiter.promise = std::move(callback);
    if (definition.options.wait_result) waiter.WaitForResult(Checked().clock->Now());
    Enqueue(std::move(definition), std::move(waiter), false);
  }
void Operations::SubmitAndWaitAsync(Definition definition, Duration timeout, AnswerCallback callback) {
    CheckSubmittable(definition);
    Waiter waiter;
    waiter.when = AnswerWhen::kFinished;
    waiter.deadline = TimeIn(timeout);
    waiter.promise = std::move(callback);
    Enqueue(std::move(definition), std::move(waiter), false);
  }
void Operations::PrepareAsync(Definition definition, AnswerCallback callback) {
    Waiter waiter;
    waiter.promise = std::move(callback);
    Enqueue(std::move(definition), std::move(waiter), true);
  }
void Operations::PrepareWorkflowAsync(Definition definition, const ValueCallback<Transaction>& callback) {
    if (const std::optional<Transaction> stored = StoredWorkflow(definition)) {
      return callback(*stored, nullptr);
    }
    const auto asked = std::make_shared<const Definition>(definition);
    PrepareAsync(std::move(definition), [this, asked, callback](const Answer& reply) {
      std::optional<Transaction> stored;
      std::exception_ptr error = reply.error;
      try {
        if (!error) stored = StoredWorkflow(*asked);
        if (!error && !stored) {
          throw StoreError("gid '" + asked->gid + "' was removed at this moment; try again");
        }
      } catch (...) {
        error = std::current_exception();
      }
      if (!stored) stored.emplace();
      callback(*stored, error);
    });
  }
void Operations::SubscribeAsync(const std::string& topic, const std::string& url, const std::string& remark,
                      AnswerCallback callback) {
    Refuse(Checked().urls.Problem(url));
    ChangeTopic(
        topics::Problem(topic, url, remark), topic,
        [=](auto& stored, Time now) {
          return topics::Subscribe(stored, topic, {url, remark}, now);
        },
        std::move(callback));
  }
void Operations::UnsubscribeAsync(const std::string& topic, const std::string& url, AnswerCallback callback) {
    ChangeTopic(
        topics::Problem(topic, url, {}), topic,
        [=](auto& stored, Time now) { return topics::Unsubscribe(stored, topic, url, now); },
        std::move(callback));
  }
void Operations::DeleteTopicAsync(const std::string& topic, AnswerCallback callback) {
    ChangeTopic(
        {}, topic, [=](auto& stored, Time) { return topics::Delete(stored, topic); },
        std::move(callback));
  }
Operations::~Operations() = default;
void Operations::RunWorkAsync(std::function<Result(TransactContext&)> work, ValueCallback<Result> callback) {
    CheckRunsWorks();
    QueuedWork queued{std::move(work), std::make_shared<Result>()};
    queued.promise = AnswerWith(queued.result, std::move(callback));
    if (!Checked().inbox.Push(std::move(queued))) NotTaken("");
  }
void Operations::CheckRunsWorks() const {
    if (Checked().store->Shared() == nullptr) return;
    throw LogicError(
        "nothing of the program runs inside a commit of a store that several coordinators share: "
        "its "
        "SQL would keep all of them waiting. To store rows and a saga together, write both in a "
        "transaction of the program: dtm::PgOutbox or dtm::MysqlOutbox");
  }
void Operations::CheckSubmittable(const Definition& definition) {
    const std::string problem = SubmitProblem(definition);
    if (!problem.empty()) throw RejectedError(problem);
  }
void Operations::Enqueue(Definition definition, Waiter waiter, bool prepare) {
    Driver& driver = Checked();
    definition.prepared_first = prepare;
    topics::CheckAndExpand(definition, *driver.store);
    RefuseOf(definition.gid, driver.urls.WithoutCaller(definition));
    const std::string problem = prepare ? PrepareProblem(definition) : std::string();
    if (!problem.empty()) throw RejectedError(problem);
    const auto shared = std::make_shared<Definition>(std::move(definition));
    if (driver.inbox.Push(Submission{shared, std::move(waiter), prepare})) return;
    NotTaken("gid '" + shared->gid + "' was not stored: ");
  }
void Operations::NotTaken(const std::string& who) const {
    if (Checked().inbox.Closed()) throw LogicError(who + "the coordinator was stopped");
    const Options& options = Checked().options;
    throw BusyError(who + "too much is waiting to be stored, " +
                    std::to_string(options.max_waiting_submissions) + " submissions or " +
                    std::to_string(InboxBytes(options)) +
                    " bytes (an eighth of max_memory_bytes); submit it again later");
  }
auto Operations::StoredWorkflow(const Definition& asked) -> std::optional<Transaction> {
    std::optional<Transaction> stored = Checked().store->Load(asked.gid);
    if (!stored) return stored;
    if (stored->unreadable) throw RejectedError("gid '" + asked.gid + "': " + stored->last_error);
    if (stored->expired && stored->definition->type == TransType::kWorkflow) {
      throw RejectedError(
          "gid '" + asked.gid + "' has ended as " + Name(stored->status) +
          " and its result is no longer kept (keep_finished); nothing was run. Use a new gid");
    }
    const std::string problem = engine::OtherWorkflow(*stored->definition, asked);
    if (!problem.empty()) throw RejectedError(problem);
    return stored;
  }
void Operations::ChangeTopic(const std::string& problem, const std::string& topic,
                   const topics::Change& change, AnswerCallback callback) {
    if (!problem.empty()) throw RejectedError(problem);
    Driver& driver = Checked();
    if (Peers* const peers = driver.store->Shared()) {  // at once, in this thread
      const Time now = driver.clock->Now();
      const Result result =
          peers->ChangeValue(topics::kCategory, topic,
                             [&](std::optional<KeyValue>& stored) { return change(stored, now); });
      if (result.kind != Result::Kind::kSuccess) throw RejectedError(result.text);
      return callback({});
    }
    RunWorkAsync(
        [&driver, topic, change](TransactContext&) {
          return topics::ChangeIn(*driver.store, topic, change, driver.clock->Now());
        },
        [callback = std::move(callback)](const Result& result, const std::exception_ptr& error) {
          const bool refused = !error && result.kind != Result::Kind::kSuccess;
          callback({{}, refused ? Answers::Rejected(result.text) : error});
        });
  }
}}


// ---- dtm/coordinator/tx.hpp --------------------------------------------------------------------

namespace dtm { inline namespace v1 {
Tx::Tx(Endpoint& coordinator, Driver& driver, TransactContext& context) : coordinator_(coordinator), driver_(driver), context_(context) {}
auto Tx::Db() const -> const WorkContext& { return context_.connection; }
std::string Tx::NewGid() { return coordinator_.NewGid(); }
auto Tx::Submit(Definition definition) -> TransResult {
    const std::string gid = definition.gid;
    const bool fits = definition.type == TransType::kSaga || definition.type == TransType::kMsg;
    if (!fits || definition.options.wait_result) {
      throw LogicError(
          "gid '" + gid +
          "': inside Transact only sagas and messages are submitted, and nobody waits");
    }
    topics::CheckAndExpand(definition, *driver_.store);
    topics::CheckNew(definition);
    RefuseOf(gid, driver_.urls.WithoutCaller(definition));
    bool taken = context_.exists(gid);
    for (const auto& other : context_.submitted) taken = taken || other->gid == gid;
    if (taken) throw RejectedError("gid '" + gid + "' exists already; nothing was changed");
    context_.submitted.push_back(std::make_shared<Definition>(std::move(definition)));
    return {gid, Status::kSubmitted, {}};
  }
std::string Tx::UrlOfLocal(const std::string& name, std::uint64_t registered_with) const {
    return coordinator_.UrlOfLocal(name, registered_with);
  }
auto Tx::SubmitAndWait(Definition, Duration) -> TransResult { Waits("SubmitAndWait"); }
void Tx::SubmitAsync(Definition, AnswerCallback) { Waits("SubmitAsync"); }
auto Tx::Prepare(Definition) -> TransResult { Waits("Prepare"); }
void Tx::Abort(const std::string&, TransType, const std::string&) { Waits("Abort"); }
void Tx::RegisterBranch(const std::string&, TransType, Step) { Waits("RegisterBranch"); }
auto Tx::PrepareWorkflow(Definition) -> WorkflowState { Waits("PrepareWorkflow"); }
auto Tx::ResumeWorkflow(Definition) -> WorkflowState { Waits("ResumeWorkflow"); }
void Tx::FinishWorkflow(const std::string&, Status, const std::string&, const std::string&) {
    Waits("FinishWorkflow");
  }
auto Tx::CallBranch(const InitiatorCall&) -> Result { Waits("CallBranch"); }
void Tx::Waits(const char* what) {
    throw LogicError(std::string(what) +
                     " inside Transact would wait for the commit it is part of; use Submit");
  }
}}


// ---- dtm/coordinator/embedded_endpoint.hpp -----------------------------------------------------

namespace dtm { inline namespace v1 {
EmbeddedEndpoint::~EmbeddedEndpoint() { StopForGood(); }
auto EmbeddedEndpoint::Submit(Definition definition) -> TransResult {
    if (definition.options.wait_result) CheckMayBlock("Submit with wait_result");
    return Await(
        [&](AnswerCallback answer) { SubmitAsync(std::move(definition), std::move(answer)); });
  }
auto EmbeddedEndpoint::SubmitAndWait(Definition definition, Duration timeout) -> TransResult {
    CheckMayBlock("SubmitAndWait");
    return Await([&](AnswerCallback answer) {
      SubmitAndWaitAsync(std::move(definition), timeout, std::move(answer));
    });
  }
auto EmbeddedEndpoint::Prepare(Definition definition) -> TransResult {
    return Await(
        [&](AnswerCallback answer) { PrepareAsync(std::move(definition), std::move(answer)); });
  }
void EmbeddedEndpoint::Abort(const std::string& gid, TransType type, const std::string& reason) {
    Await([&](AnswerCallback answer) {
      AbortAsync(gid, type, reason, WaitResult::kIgnored, std::move(answer));
    });
  }
void EmbeddedEndpoint::RegisterBranch(const std::string& gid, TransType type, Step step) {
    Await([&](AnswerCallback answer) {
      RegisterBranchAsync(gid, type, std::move(step), std::move(answer));
    });
  }
auto EmbeddedEndpoint::PrepareWorkflow(Definition definition) -> WorkflowState {
    const Transaction stored =
        AwaitValue<Transaction>([&](const ValueCallback<Transaction>& answer) {
          PrepareWorkflowAsync(std::move(definition), answer);
        });
    const Definition& found = *stored.definition;
    return {stored.status, stored.reason,  stored.result, found.options,
            found.steps,   found.workflow, found.data};
  }
auto EmbeddedEndpoint::ResumeWorkflow(Definition definition) -> WorkflowState {
    if (!Checked().store->Load(definition.gid))
      throw RejectedError(NothingToResume(definition.gid));
    return PrepareWorkflow(std::move(definition));
  }
void EmbeddedEndpoint::FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                      const std::string& result) {
    Await([&](AnswerCallback answer) {
      FinishWorkflowAsync(gid, status, reason, result, std::move(answer));
    });
  }
auto EmbeddedEndpoint::CallBranch(const InitiatorCall& call) -> Result {
    if (call.url.empty()) return Result::Success();  // there is nothing to call
    Driver& driver = Checked();
    Hooks& hooks = driver.hooks;
    if (!hooks.spans.Wanted()) return CallBranchIn(call, nullptr);
    const auto span =
        std::make_shared<const CallSpan>(CallSpan{hooks.span_ids.Next(), driver.clock->Now(), 0});
    Result result = CallBranchIn(call, span);
    const BranchCall made = BareCall(call);
    hooks.spans.Tell({std::make_shared<const Span>(
        SpanOf(*made.definition, made.row, *span, result, driver.clock->Now()))});
    return result;
  }
std::string EmbeddedEndpoint::UrlOfLocal(const std::string& name, std::uint64_t registered_with) const {
    if (registered_with != identity_) {
      throw LogicError("function '" + name +
                       "' is registered with another coordinator; register it "
                       "with the one the transaction is submitted to");
    }
    return kLocalPrefix + name;
  }
auto EmbeddedEndpoint::CallFunction(const std::string& name, const std::string& payload, const BranchInfo& info) -> Result {
    if (RunsInTransaction(kLocalPrefix + name)) {
      throw BadInput("'" + name +
                     "' runs inside the commit of this coordinator, so no other one can call it; "
                     "use Register for it");
    }
    BranchFunction function = Checked().functions.Find(name);
    if (!function) throw BadInput("no branch function is registered as '" + name + "'");
    return CatchAsResult([&] { return function(payload, Caller(info)); });
  }
EmbeddedEndpoint::EmbeddedEndpoint(std::unique_ptr<Driver> driver) : Operations(std::move(driver)), identity_(RandomIdentity()) {}
void EmbeddedEndpoint::CheckMayBlock(const char* what) const {
    if (Checked().functions.OnBranchThread()) {
      throw LogicError(
          std::string(what) +
          " inside a branch function could wait for itself; use Submit or SubmitAsync");
    }
  }
auto EmbeddedEndpoint::RunWork(std::function<Result(TransactContext&)> work) -> Result {
    return AwaitValue<Result>(
        [&](ValueCallback<Result> answer) { RunWorkAsync(std::move(work), std::move(answer)); });
  }
void EmbeddedEndpoint::RunTransact(callable::Ref<Result(Tx&)> function) {
    Driver& driver = Checked();
    const auto thrown = std::make_shared<std::exception_ptr>();
    const Result result = RunWork([&, thrown](TransactContext& context) -> Result {
      *thrown = nullptr;
      Tx tx(*this, driver, context);
      try {
        return function(tx);
      } catch (...) {
        *thrown = std::current_exception();
        throw;
      }
    });
    // Moved, so that the last reference is the caller's: the exception may be read here while the loop frees its own.
    if (*thrown) std::rethrow_exception(std::exchange(*thrown, nullptr));
    if (result.kind == Result::Kind::kFailure) throw FailureError(result.text);
    if (result.kind != Result::Kind::kSuccess) throw Error(result.text);
  }
auto EmbeddedEndpoint::CallBranchIn(const InitiatorCall& call, const std::shared_ptr<const CallSpan>& span) -> Result {
    if (RunsInTransaction(call.url)) return CallInTransaction(call, span);
    if (IsLocal(call.url)) {
      BranchInfo info = call.info;
      const auto trace = ContextOfCall(info.gid, call.options, span.get());
      if (trace) Put(*trace, info);
      return CallFunction(call.url.substr(kLocalPrefixSize), call.payload, info);
    }
    const std::string problem = Checked().urls.Problem(call.url);
    if (!problem.empty()) throw RejectedError("gid '" + call.info.gid + "': " + problem);
    return Checked().CallOnce(call, span);
  }
auto EmbeddedEndpoint::BareCall(InitiatorCall direct) -> BranchCall {
    direct.phase2_url.clear();
    return ToBranchCall(direct, {}, {});
  }
auto EmbeddedEndpoint::CallInTransaction(const InitiatorCall& direct, std::shared_ptr<const CallSpan> span) -> Result {
    BranchCall call = BareCall(direct);
    call.span = std::move(span);
    const auto functions = &Checked().transaction_functions;
    return RunWork([call, functions](TransactContext& context) {
      return functions->Run(call, context.connection);
    });
  }
auto EmbeddedEndpoint::Identity() const -> std::uint64_t { return identity_; }
auto EmbeddedEndpoint::RandomIdentity() -> std::uint64_t {
    std::uint64_t identity = 0;
    os::FillRandom(&identity, sizeof identity);
    return identity;
  }
}}


// ---- dtm/coordinator/parts/wake_fd.hpp ---------------------------------------------------------

namespace dtm { inline namespace v1 {
WakeFd::WakeFd() : event_(std::make_shared<const os::EventFd>()) {}
int WakeFd::Fd() const { return event_->Get(); }
void WakeFd::Clear() const { event_->Clear(); }
auto WakeFd::OnWake() const -> std::function<void()> {
    return [event = event_] { event->Signal(); };
  }
}}


// ---- dtm/coordinator/outcome.hpp ---------------------------------------------------------------

namespace dtm { inline namespace v1 {
auto OutcomeOf(const std::exception_ptr& error) -> Outcome {
  using Kind = Outcome::Kind;
  try {
    std::rethrow_exception(error);
  } catch (const BadInput& bad) {
    return {Kind::kBadInput, bad.what()};
  } catch (const BusyError& busy) {
    return {Kind::kUnavailable, busy.what()};
  } catch (const RejectedError& rejected) {
    return {Kind::kRejected, rejected.what()};
  } catch (const FailureError& failure) {
    return {Kind::kRolledBack, failure.what()};
  } catch (const OngoingError& ongoing) {
    return {Kind::kOngoing, ongoing.what()};
  } catch (const StoreError& failed) {
    return {Kind::kUnavailable, failed.what()};
  } catch (const LogicError& stopped) {
    return {Kind::kUnavailable, stopped.what()};
  } catch (...) {  // in doubt, or an unknown exception
    return {Kind::kUnknown, WhatWasThrown()};
  }
}
auto OutcomeOf(const Answer& answer) -> Outcome {
  if (!answer.error) return {};
  // The error says more than the clients of dtm are told of a rollback.
  if (answer.result.Failed()) return {Outcome::Kind::kRolledBack, answer.result.reason};
  return OutcomeOf(answer.error);
}
}}


// ---- dtm/coordinator/parts/outbox_source.hpp ---------------------------------------------------

namespace dtm { inline namespace v1 {
OutboxSource::~OutboxSource() = default;
}}


// ---- dtm/coordinator/relay.hpp -----------------------------------------------------------------

namespace dtm { inline namespace v1 {
Relay::Relay(Endpoint& coordinator, Driver& driver, std::unique_ptr<OutboxSource> source,
        Duration interval) : coordinator_(coordinator),
        driver_(driver),
        source_(std::move(source)),
        interval_(interval),
        thread_([this] { Main(); }) {}
Relay::~Relay() { Stop(); }
auto Relay::Counts() const -> const RelayCounts& { return counts_; }
void Relay::BeginStop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
  }
void Relay::Stop() {
    BeginStop();
    if (thread_.joinable()) thread_.join();
  }
void Relay::Main() noexcept {
    Duration wait = interval_;
    int found_nothing = 0;
    for (bool failed = false;;) {
      bool progress = false;
      try {
        if (store_.empty()) store_ = AskName();
        LookAtOldest();
        const bool found = Drain(progress);
        if (failed) Log(LogLevel::kInfo, "is read again");
        failed = false;
        found_nothing = found ? 0 : (std::min)(found_nothing + 1, kLooksUntilIdle);
        wait = found_nothing < kLooksUntilIdle ? interval_ : 3 * interval_;
      } catch (...) {
        const std::string why = WhatWasThrown();
        if (!failed && !Stopping()) {
          Log(LogLevel::kWarning, "cannot be relayed now, and is tried again: " + why);
        }
        failed = true;
        wait = progress ? interval_ : (std::min)(wait * 2, Duration(std::chrono::seconds(10)));
      }
      if (!Sleep(wait)) return;
    }
  }
bool Relay::Drain(bool& progress) {
    std::size_t rows = kPage;
    bool found = false;
    std::string later;
    while (rows == kPage && later.empty() && !Stopping()) {
      rows = source_->Relay(store_, kPage, [&](std::vector<Definition> page) {
        return Submit(std::move(page), later, progress);
      });
      found = found || rows > 0;
    }
    if (!later.empty()) throw Error(later);
    return found;
  }
void Relay::LookAtOldest() {
    const Duration now = os::SinceBoot();
    if (now < next_look_ || Stopping()) return;
    next_look_ = now + kLookAtOldest;
    const OutboxSource::Oldest oldest = source_->LookAtOldest(store_);
    counts_.oldest = oldest.age.count();
    const bool stays = !oldest.not_ours.empty() && oldest.age >= kLongForAnother;
    if (stays && !said_) {
      Log(LogLevel::kWarning, "the oldest row waits for " +
                                  std::to_string(oldest.age / std::chrono::seconds(1)) +
                                  " s: " + oldest.not_ours);
    }
    said_ = stays;
  }
void Relay::Log(LogLevel level, const std::string& text) noexcept {
    try {
      LogTo(driver_.options, level, "outbox " + source_->Name() + ": " + text);
    } catch (...) {  // NOLINT(bugprone-empty-catch): no memory for a line of the log
    }
  }
bool Relay::Stopping() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return stopping_;
  }
bool Relay::Sleep(Duration wait) {
    std::unique_lock<std::mutex> lock(mutex_);
    return !changed_.wait_for(lock, wait, [this] { return stopping_; });
  }
std::string Relay::AskName() {
    struct Asked {
      std::mutex mutex;
      std::condition_variable changed;
      std::size_t left = 1;
      std::string name;
      std::exception_ptr error;
    };
    const auto asked = std::make_shared<Asked>();
    AskStoreName(driver_, [asked](const std::string& name, const std::exception_ptr& error) {
      const std::lock_guard<std::mutex> lock(asked->mutex);
      asked->name = name;
      asked->error = error;
      asked->left = 0;
      asked->changed.notify_all();
    });
    std::unique_lock<std::mutex> lock(asked->mutex);
    Await(*asked, lock);
    if (asked->error) std::rethrow_exception(asked->error);
    if (asked->left > 0) throw Error(kNoAnswer);
    return asked->name;
  }
Relay::Answers::Answers(std::size_t count) : left(count), verdicts(count) {}
auto Relay::Submit(std::vector<Definition> page, std::string& later, bool& progress) -> std::vector<Verdict> {
    const auto answers = std::make_shared<Answers>(page.size());
    for (std::size_t i = 0; i < page.size(); ++i) {
      const auto answered = [answers, i](const Outcome& outcome) {
        const std::lock_guard<std::mutex> lock(answers->mutex);
        answers->verdicts[i] = VerdictOf(outcome);
        --answers->left;
        answers->changed.notify_all();
      };
      try {
        coordinator_.SubmitAsync(std::move(page[i]),
                                 [answered](const Answer& answer) { answered(OutcomeOf(answer)); });
      } catch (...) {
        answered(OutcomeOf(std::current_exception()));
      }
    }
    std::unique_lock<std::mutex> lock(answers->mutex);
    Await(*answers, lock);
    std::vector<Verdict> verdicts = answers->verdicts;
    lock.unlock();
    for (const Verdict& verdict : verdicts) {
      progress = progress || verdict.kind != Verdict::Kind::kLater;
      if (verdict.kind == Verdict::Kind::kTaken) ++counts_.relayed;
      if (verdict.kind == Verdict::Kind::kRefused) {
        ++counts_.refused;
        Log(LogLevel::kError,
            "a row was refused, and is kept with the reason in its column `problem`: " +
                verdict.why);
      } else if (verdict.kind == Verdict::Kind::kLater && later.empty()) {
        later = verdict.why.empty() ? kNoAnswer : verdict.why;
      }
    }
    return verdicts;
  }
auto Relay::VerdictOf(const Outcome& outcome) -> Verdict {
    switch (outcome.kind) {
      case Outcome::Kind::kDone:
      case Outcome::Kind::kRolledBack:  // it is there
        return {Verdict::Kind::kTaken};
      case Outcome::Kind::kBadInput:
      case Outcome::Kind::kRejected: return {Verdict::Kind::kRefused, outcome.message};
      case Outcome::Kind::kOngoing:
      case Outcome::Kind::kUnavailable:
      case Outcome::Kind::kUnknown: break;
    }
    return {Verdict::Kind::kLater, outcome.message};
  }
void Relays::Add(Endpoint& coordinator, Driver& driver, std::unique_ptr<OutboxSource> source,
           Duration interval) {
    if (!source) throw LogicError("Relay without a source; make one, for example with PgRelay");
    if (interval < std::chrono::milliseconds(1) || interval > std::chrono::minutes(1)) {
      throw LogicError("an outbox is looked at every 1 ms to 1 min");
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopped_)
      throw LogicError("Relay after Stop; an outbox is relayed while the coordinator runs");
    relays_.push_back(std::make_unique<Relay>(coordinator, driver, std::move(source), interval));
  }
void Relays::Stop() {
    const std::lock_guard<std::mutex> one_at_a_time(stop_mutex_);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopped_ = true;  // from now on there come no more
    }
    for (const auto& relay : relays_) relay->BeginStop();  // so that they wait at the same time
    for (const auto& relay : relays_) relay->Stop();
  }
void Relays::Measure(Gauges& gauges) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (relays_.empty()) return;
    OutboxGauges& all = gauges.outboxes.emplace();
    for (const auto& relay : relays_) {
      all.relayed += relay->Counts().relayed;
      all.refused += relay->Counts().refused;
      all.oldest_age = (std::max)(all.oldest_age, Duration(relay->Counts().oldest));
    }
  }
}}


// ---- dtm/store/sqlite/files.hpp ----------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace sqlite_store {
OpenFiles::OpenFiles(std::string path) : path_(std::move(path)), wal_path_(path_ + "-wal"), shm_path_(path_ + "-shm") {}
void OpenFiles::Opened(const sql::Database& writer) {
    wal_ = os::StampOf(wal_path_);
    shm_ = os::StampOf(shm_path_);
    // Where SQLite has no log open, the index would be opened here, and closed by nobody.
    const bool log = wal_ && shm_;
    Copied(log ? sql::LogIndex(writer).Now() : sql::LogIndex::State());
    if (!main_ || !main_->SameFile(first_) || writer.HasMoved()) throw StoreError(Another());
    if (log) return;
    throw StoreError("the store file '" + path_ +
                     "': its log was removed, and a connection of this program to the file still "
                     "uses the removed one; close that "
                     "connection, or start the program again");
  }
void OpenFiles::Begun(const sql::LogIndex::State& log) { at_begin_ = log; }
void OpenFiles::Copied(const sql::LogIndex::State& log) {
    main_ = os::StampOf(path_);
    if (!first_) first_ = main_;
    at_begin_ = copied_ = log;
  }
auto OpenFiles::Look(const sql::LogIndex* index) -> Finding {
    if (!lost_.empty()) return {State::kLost, lost_};
    // Whoever copies the log says so before it writes and again when it is done: read before the stamp it tells what may
    // still come, behind it what may have come.
    const sql::LogIndex::State before = StateOf(index);
    const std::optional<os::FileStamp> main = os::StampOf(path_);
    if (!main) {
      return {State::kLost,
              File() +
                  " is no longer at its path, it was removed or its folder renamed; put "
                  "it back, or start the program again on the right file"};
    }
    if (!first_ || !main->SameFile(*first_)) {
      return {State::kLost, Another()};
    }
    if (!main_ || (!main->SameContent(*main_) && !CopiedByOthers(StateOf(index)))) {
      lost_ = "another program has written into " + File() +
              ", as a backup that is copied over it would; stop this program, put the right file "
              "there without '" +
              wal_path_ + "' and '" + shm_path_ + "', and start it again";
      return {State::kLost, lost_};
    }
    main_ = main;
    copied_ = at_begin_ = before;
    const std::optional<os::FileStamp> wal = os::StampOf(wal_path_);
    const std::optional<os::FileStamp> shm = os::StampOf(shm_path_);
    // A new log without anything in it is of somebody who only looked.
    const bool gone = !wal || (!wal->SameFile(wal_) && wal->bytes == 0);
    if (!gone && (!wal->SameFile(wal_) || (shm && !shm->SameFile(shm_)))) {
      return {State::kLost,
              File() +
                  " was given another log by somebody, after its own was removed; stop the "
                  "other programs that use it, and start this one again"};
    }
    if (gone || !shm) {
      return {State::kReopen,
              "the log of " + File() + ", '" + (gone ? wal_path_ : shm_path_) +
                  "', is no longer at its path; somebody removed it, or another copy of SQLite "
                  "in this process has opened and closed the file"};
    }
    return {};
  }
std::string OpenFiles::File() const { return "the store file '" + path_ + "'"; }
std::string OpenFiles::Another() const {
    return "another file has taken the place of the store file '" + path_ +
           "'; start the program again on the right one";
  }
auto OpenFiles::StateOf(const sql::LogIndex* index) -> sql::LogIndex::State {
    return index != nullptr ? index->Now() : sql::LogIndex::State();
  }
bool OpenFiles::CopiedByOthers(const sql::LogIndex::State& now) const {
    if (!now.known || now.Copying() || at_begin_ != copied_) return true;
    if (now.salt == at_begin_.salt) return now.copied != at_begin_.copied;
    // Our own commit has begun the log anew, which it may once all of it was copied.
    return now.copied > 0 || at_begin_.copied != at_begin_.frames;
  }
}}}


// ---- dtm/store/sqlite/records.hpp --------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace sqlite_store {
Finally::~Finally() { statement.Reset(); }
auto Stored(Time time) -> std::int64_t { return time.time_since_epoch().count(); }
auto FromStored(std::int64_t micros) -> Time { return Time(Duration(micros)); }
std::string Select(const std::string& rest) {
  return "SELECT id, gid, type, status, version, created, finished, due, state, "
         "coalesce(definition, "
         "(SELECT b.definition FROM dtm_big_definition b WHERE b.id = dtm_trans.id)) "
         "FROM dtm_trans " +
         rest;
}
void ReadAddedSteps(sql::Statement& steps, std::int64_t trans, Definition& definition) {
  const Finally reset{steps};
  steps.Bind(1, trans);
  while (steps.Step()) {
    const auto nr = static_cast<std::int64_t>(definition.steps.size());
    if (steps.Int(0) != nr) codec::Reader::Fail();
    definition.steps.push_back(codec::DecodeStep(steps.View(1)));
  }
}
auto ReadTransaction(const sql::Statement& row, sql::Statement& steps) -> Transaction {
  Transaction transaction;
  transaction.id = row.Int(0);
  const std::string gid = row.Text(1);
  const auto type = static_cast<TransType>(row.Int(2));
  transaction.status = static_cast<Status>(row.Int(3));
  transaction.version = static_cast<std::uint64_t>(row.Int(4));
  transaction.created = FromStored(row.Int(5));
  transaction.finished = FromStored(row.Int(6));
  transaction.due = row.IsNull(7) ? kNever : FromStored(row.Int(7));
  try {
    const auto known = [](std::int64_t number) { return number >= 1 && number <= 5; };
    if (!known(row.Int(2)) || !known(row.Int(3))) codec::Reader::Fail();
    codec::DecodeState(row.View(8), transaction);
    const std::shared_ptr<Definition> definition = codec::DecodeDefinition(gid, type, row.View(9));
    if (RegistersSteps(type)) ReadAddedSteps(steps, transaction.id, *definition);
    transaction.definition = definition;
  } catch (const sql::SqliteError&) {  // of the step rows: they may be read another time
    throw;
  } catch (const StoreError& error) {
    auto unreadable = std::make_shared<Definition>();
    unreadable->gid = gid;
    unreadable->type = type;
    transaction.definition = std::move(unreadable);
    transaction.branches.clear();
    transaction.unreadable = true;
    transaction.last_error = error.what();
  }
  return transaction;
}
auto ReadJournal(const sql::Statement& row) -> std::vector<JournalEntry> {
  std::vector<JournalEntry> entries;
  codec::DecodeJournal(row.View(0), entries);
  codec::DecodeJournal(row.View(1), entries);
  return entries;
}
auto ReadValue(const sql::Statement& row) -> KeyValue {
  KeyValue value;
  value.id = row.Int(0);
  value.category = row.Text(1);
  value.key = row.Text(2);
  value.value = row.Text(3);
  value.version = static_cast<std::uint64_t>(row.Int(4));
  value.created = FromStored(row.Int(5));
  value.updated = FromStored(row.Int(6));
  return value;
}
auto FromKept(std::int64_t seconds) -> Time { return Time(std::chrono::seconds(seconds)); }
auto ReadKept(const sql::Statement& row) -> Transaction {
  return RecordOf({row.Text(0), static_cast<TransType>(row.Int(1)), static_cast<Status>(row.Int(2)),
                   FromKept(row.Int(3)), static_cast<std::uint64_t>(row.Int(4))});
}
}}}


// ---- dtm/store/sqlite/reader.hpp ---------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace sqlite_store {
std::string Wanted() {
  return " AND (?3 = 0 OR type = ?3) AND (?4 = 0 OR status = ?4) AND created >= ?5 AND created <= "
         "?6 AND (?7 = 0 OR due IS NOT NULL) AND (?7 < 2 OR (" +
         std::string(kStuck) + ")) AND (?8 = 0 OR substr(state, 4, 2) <> x'0000')";
}
Reader::Reader(std::unique_ptr<sql::Database> configured, bool journals) : owned(std::move(configured)),
        find(*owned, Select("WHERE gid = ?1")),
        steps(*owned, kSelectSteps),
        journal(*owned,
                std::string(journals ? kSelectJournal : kSelectNoJournal) + "WHERE gid = ?1"),
        find_kept(*owned, std::string(kSelectKept) + "WHERE gid = ?1"),
        scan(*owned,
             Select("WHERE id < ?1 AND (?2 = 0 OR type = ?2) AND (?3 = 0 OR status = ?3) AND "
                    "created >= ?4 AND created <= ?5 ORDER BY id DESC LIMIT ?6")),
        scan_values(*owned, std::string(kSelectValues) +
                                "WHERE id > ?1 AND (?2 = '' OR cat = ?2) AND (?3 = '' OR k = ?3) "
                                "ORDER BY id LIMIT ?4"),
        // The same if both are given: by the index, however many values there are.
        find_value(*owned,
                   std::string(kSelectValues) + "WHERE id > ?1 AND cat = ?2 AND k = ?3 LIMIT ?4"),
        unfinished_ids(*owned,
                       "SELECT id FROM dtm_trans INDEXED BY dtm_trans_due WHERE due IS NOT NULL "
                       "AND due >= ?1 LIMIT ?2"),
        gid_ids(*owned,
                "SELECT id FROM dtm_trans WHERE gid >= ?1 AND (?2 = '' OR gid < ?2) LIMIT ?3"),
        below(*owned, "SELECT id FROM dtm_trans WHERE id < ?1 ORDER BY id DESC LIMIT ?2"),
        search(*owned, Select("WHERE id = ?1 AND ?2 = ?2" + Wanted())),
        search_range(*owned,
                     Select("WHERE id <= ?1 AND id >= ?2" + Wanted() + " ORDER BY id DESC")),
        // By the index of what is due alone. Ids are in order of creation.
        unfinished(*owned,
                   "SELECT count(*), count(CASE WHEN due > ?1 THEN 1 END), min(id) FROM dtm_trans "
                   "WHERE due IS NOT NULL"),
        created(*owned, "SELECT created FROM dtm_trans WHERE id = ?1"),
        stuck(*owned, std::string("SELECT count(*) FROM dtm_trans WHERE ") + kStuck) {}
}}}


// ---- dtm/store/sqlite/schema.hpp ---------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace sqlite_schema {
auto OwnTables() -> std::vector<std::string> {
  return {"dtm_meta",      "dtm_trans", "dtm_big_definition", "dtm_kv",
          "dtm_trans_due", "dtm_gids",  "dtm_step",           "dtm_journal"};
}
int StoredVersion(sql::Database& db) {
  sql::Statement table(db, "SELECT 1 FROM sqlite_schema WHERE name = 'dtm_meta'");
  const bool fresh = !table.Step();
  table.Reset();
  if (fresh) return 0;
  sql::Statement read(db, "SELECT value FROM dtm_meta WHERE key = 'schema_version'");
  const std::string text = read.Step() ? read.Text(0) : "none";
  const std::int64_t version = text == "none" ? 0 : read.Int(0);
  read.Reset();
  const std::string which = "the store file '" + db.Path() + "' has schema version " + text;
  if (version < 1) {
    throw StoreError(which + ", which no dtm has written; restore it from a backup");
  }
  if (version > kVersion) {
    throw StoreError(which + ", and dtm " + dtm::kVersion + " knows versions up to " +
                     std::to_string(kVersion) + "; use the newer dtm that wrote it");
  }
  return static_cast<int>(version);
}
std::string Damage(sql::Database& db) {
  sql::Statement check(db, "PRAGMA quick_check(1)");
  const std::string verdict = check.Step() ? check.Text(0) : "it gave no answer";
  return verdict == "ok" ? std::string() : verdict;
}
void Migrate(sql::Database& db) {
  if (StoredVersion(db) == kVersion) return;  // without the lock that somebody may hold
  db.Exec("BEGIN IMMEDIATE");
  try {
    const int stored = StoredVersion(db);
    if (stored == 0) db.Exec("CREATE TABLE dtm_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID");
    for (int version = stored; version < kVersion; ++version) db.Exec(kMigrations[version]);
    if (stored < kVersion) {
      sql::Statement write(db, "REPLACE INTO dtm_meta (key, value) VALUES ('schema_version', ?1)");
      write.Bind(1, kVersion).Step();
    }
    db.Exec("COMMIT");
  } catch (...) {
    if (db.InTransaction()) sqlite3_exec(db.Handle(), "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
}
std::string CachePragma(std::size_t bytes) {
  return "PRAGMA cache_size = -" + std::to_string((std::max)(bytes / 1024, std::size_t{64}));
}
void ConfigureWriter(sql::Database& db, bool sync_each_commit,
                            std::size_t cache_bytes) {
  sqlite3_busy_timeout(db.Handle(), kOpenWaitMs);
  StoredVersion(db);  // a newer file is refused before anything is changed in it
  db.Exec("PRAGMA trusted_schema = OFF");
  sql::Statement mode(db, "PRAGMA journal_mode = WAL");
  const std::string got = mode.Step() ? mode.Text(0) : "unknown";
  mode.Reset();
  if (got != "wal") {
    throw StoreError("the store file '" + db.Path() + "' cannot use WAL (it answers '" + got +
                     "'); put it on a local disk that this user may write to");
  }
  db.Exec(sync_each_commit ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  // A log that had to grow behind a long reader is cut to 16 MiB, four times what it is without one.
  db.Exec(
      "PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 16777216;"
      "PRAGMA foreign_keys = ON");
  db.Exec(CachePragma(cache_bytes).c_str());
}
void ConfigureReader(sql::Database& db, std::size_t cache_bytes) {
  sqlite3_busy_timeout(db.Handle(), kOpenWaitMs);
  db.Exec("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = 0");
  db.Exec(CachePragma(cache_bytes / 8).c_str());
}
void StandInForNewer(sql::Database& db, int version) {
  if (version == kVersion) return;
  db.Exec("PRAGMA temp_store = MEMORY; PRAGMA query_only = OFF");  // the latter counts for them too
  for (int step = version; step < kVersion; ++step) db.Exec(kStandIns[step]);
  db.Exec("PRAGMA query_only = ON");
}
}}}


// ---- dtm/sql/user_sql.hpp ----------------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace sql {
UserSqlRules::UserSqlRules(Database& database, std::vector<std::string> tables) : database_(database), tables_(std::move(tables)) {
    sqlite3_set_authorizer(database_.Handle(), &UserSqlRules::Judge, this);
    sqlite3_commit_hook(database_.Handle(), &UserSqlRules::RefuseCommit, this);
  }
UserSqlRules::~UserSqlRules() {
    sqlite3_set_authorizer(database_.Handle(), nullptr, nullptr);
    sqlite3_commit_hook(database_.Handle(), nullptr, nullptr);
  }
UserSqlRules::On::On(UserSqlRules& rules) : rules_(rules) { rules_.on_ = true; }
UserSqlRules::On::~On() { rules_.on_ = false; }
UserSqlRules::Off::Off(UserSqlRules& rules) : rules_(rules), was_on_(rules.on_) { rules_.on_ = false; }
UserSqlRules::Off::~Off() { rules_.on_ = was_on_; }
void UserSqlRules::ResetStatements() const {
    sqlite3* db = database_.Handle();
    for (sqlite3_stmt* at = sqlite3_next_stmt(db, nullptr); at != nullptr;
         at = sqlite3_next_stmt(db, at)) {
      if (sqlite3_stmt_busy(at) != 0) sqlite3_reset(at);
    }
  }
bool UserSqlRules::ForeignKeysPending() const {
    int pending = 0, highest = 0;
    sqlite3_db_status(database_.Handle(), SQLITE_DBSTATUS_DEFERRED_FKS, &pending, &highest, 0);
    return pending != 0;
  }
int UserSqlRules::Judge(void* self, int action, const char* first, const char* second, const char*,
                   const char*) {
    const UserSqlRules& rules = *static_cast<const UserSqlRules*>(self);
    if (!rules.on_) return SQLITE_OK;
    switch (action) {
      case SQLITE_TRANSACTION:
      case SQLITE_SAVEPOINT:
      case SQLITE_ATTACH:
      case SQLITE_DETACH: return SQLITE_DENY;
      case SQLITE_PRAGMA: return Harmless(first, second) ? SQLITE_OK : SQLITE_DENY;
      default: return rules.Ours(first) || rules.Ours(second) ? SQLITE_DENY : SQLITE_OK;
    }
  }
int UserSqlRules::RefuseCommit(void* self) {
    return static_cast<const UserSqlRules*>(self)->on_ ? 1 : 0;
  }
bool UserSqlRules::Harmless(const char* pragma, const char* value) {
    if (pragma == nullptr || value != nullptr) return false;
    const std::string lower = Lowered(pragma);
    return lower == "data_version" || lower == "page_size";
  }
bool UserSqlRules::Ours(const char* name) const {
    if (name == nullptr) return false;
    const std::string lower = Lowered(name);
    for (const std::string& table : tables_) {
      if (lower == table) return true;
    }
    return false;
  }
}}}


// ---- dtm/store/sqlite/row_journals.hpp ---------------------------------------------------------

namespace dtm { inline namespace v1 { namespace sqlite_store {
auto RowJournals::Find(std::int64_t row, std::uint64_t version) -> std::string* {
    Place& place = At(row);
    return place.row == row && place.version == version ? &place.bytes : nullptr;
  }
void RowJournals::Keep(std::int64_t row, std::uint64_t version, std::string_view bytes) {
    Place& place = At(row);
    place.row = bytes.size() <= kMostBytes ? row : 0;
    place.version = version;
    if (place.row != 0 && place.bytes.data() != bytes.data()) place.bytes.assign(bytes);
    if (place.bytes.size() > kMostBytes) place.bytes = {};
  }
void RowJournals::Next(std::int64_t row, std::uint64_t version) {
    Place& place = At(row);
    if (place.row != row) return;
    if (place.version++ != version) place.row = 0;
  }
void RowJournals::Forget(std::int64_t row) {
    if (At(row).row == row) At(row).row = 0;
  }
void RowJournals::Clear() noexcept {
    for (Place& place : places_) place.row = 0;
  }
auto RowJournals::At(std::int64_t row) -> Place& { return places_[static_cast<std::uint64_t>(row) % kPlaces]; }
}}}


// ---- dtm/store/sqlite/writer.hpp ---------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace sqlite_store {
Writer::Writer(std::unique_ptr<sql::Database> configured) : owned(std::move(configured)),
        db(*owned),
        begin(db, "BEGIN IMMEDIATE"),
        commit(db, "COMMIT"),
        insert(db,
               "INSERT INTO dtm_trans (gid, type, status, version, created, finished, due, "
               "definition, state, journal) VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9) "
               "ON CONFLICT (gid) DO NOTHING"),
        insert_big(db,
                   "INSERT OR REPLACE INTO dtm_big_definition (id, definition) VALUES (?1, ?2)"),
        redefine(db, "UPDATE dtm_trans SET definition = ?2 WHERE id = ?1"),
        add_step(db, "INSERT INTO dtm_step (trans, nr, step) VALUES (?1, ?2, ?3)"),
        remove_steps(db, "DELETE FROM dtm_step WHERE trans = ?1"),
        steps(db, kSelectSteps),
        update(db, UpdateSet("")),
        update_due(db, UpdateSet(", due = ?6")),
        update_telling(db, UpdateSet(", journal = ?8")),
        update_due_telling(db, UpdateSet(", due = ?6, journal = ?8")),
        in_row(db, "SELECT journal FROM dtm_trans WHERE id = ?1"),
        journal(db, std::string(kSelectJournal) + "WHERE id = ?1"),
        clear_entries(db, "UPDATE dtm_trans SET journal = NULL WHERE id = ?1"),
        put_journal(db, "INSERT OR REPLACE INTO dtm_journal (trans, entries) VALUES (?1, ?2)"),
        remove_journal(db, "DELETE FROM dtm_journal WHERE trans = ?1"),
        // Not as (due, id) > (?1, ?2): SQLite would walk all that are due at the moment ?1 again.
        due(db, Select("WHERE due = ?1 AND id > ?2 AND due <= ?3 UNION ALL ") +
                    Select("WHERE due > ?1 AND due <= ?3 ORDER BY due, id")),
        next_due(db, "SELECT min(due) FROM dtm_trans WHERE due IS NOT NULL AND due > ?1"),
        newest(db, "SELECT created FROM dtm_trans WHERE id = (SELECT max(id) FROM dtm_trans)"),
        look(db, "SELECT id, created, finished FROM dtm_trans WHERE id > ?1 ORDER BY id LIMIT ?2"),
        remove(db, "DELETE FROM dtm_trans WHERE id = ?1"),
        remove_big(db, "DELETE FROM dtm_big_definition WHERE id = ?1"),
        has(db,
            "SELECT 1 FROM dtm_trans WHERE gid = ?1 UNION ALL SELECT 1 FROM dtm_gids WHERE gid = "
            "?1"),
        find_row(db, Select("WHERE id = ?1")),
        kept(db, "SELECT 1 FROM dtm_gids WHERE gid = ?1"),
        keep(db,
             "INSERT OR REPLACE INTO dtm_gids (gid, type, status, finished, content) "
             "VALUES (?1, ?2, ?3, ?4, ?5)"),
        look_kept(db, "SELECT gid, finished FROM dtm_gids WHERE gid > ?1 ORDER BY gid LIMIT ?2"),
        forget(db, "DELETE FROM dtm_gids WHERE gid = ?1"),
        get_value(db, std::string(kSelectValues) + "WHERE cat = ?1 AND k = ?2"),
        put_value(db,
                  "INSERT INTO dtm_kv (cat, k, v, version, created, updated) "
                  "VALUES (?1, ?2, ?3, 1, ?4, ?4) ON CONFLICT (cat, k) DO UPDATE SET "
                  "v = excluded.v, version = version + 1, updated = excluded.updated"),
        remove_value(db, "DELETE FROM dtm_kv WHERE cat = ?1 AND k = ?2"),
        savepoint(db, "SAVEPOINT dtm_work"),
        roll_back(db, "ROLLBACK TO dtm_work"),
        release(db, "RELEASE dtm_work"),
        user_sql(db, sqlite_schema::OwnTables()),
        log(db) {
    sqlite3_wal_hook(db.Handle(), &NoteLog, &log_pages);
    sql::Statement last(db, "SELECT max(gid) FROM dtm_gids");
    if (last.Step()) last_kept = last.Text(0);
    sql::Statement last_told(db, "SELECT max(trans) FROM dtm_journal");
    if (last_told.Step()) last_journal = last_told.Int(0);
    sql::Statement encoding(db, "PRAGMA encoding");
    // Other encodings have another order: then every gid is looked for.
    if (encoding.Step() && encoding.Text(0) != "UTF-8") last_kept = "\xFF";
  }
bool Writer::IsKept(const std::string& gid) {
    if (gid > last_kept) return false;
    const bool found = kept.BindText(1, gid).Step();
    kept.Reset();
    return found;
  }
std::size_t Writer::ReplaceByGid(std::int64_t row) {
    KeptGid gid;
    std::size_t bytes = 0;
    {
      const Finally reset{find_row};
      if (!find_row.Bind(1, row).Step()) return 0;
      const Transaction transaction = ReadTransaction(find_row, steps);
      gid = KeptOf(transaction);
      for (const Step& step : transaction.definition->steps) bytes += step.UrlAndPayloadBytes();
      bytes = find_row.Bytes(8) + (std::max)(find_row.Bytes(9), bytes);
    }
    keep.BindText(1, gid.gid).Bind(2, static_cast<std::int64_t>(gid.type));
    keep.Bind(3, static_cast<std::int64_t>(gid.status));
    keep.Bind(
        4,
        std::chrono::duration_cast<std::chrono::seconds>(gid.finished.time_since_epoch()).count());
    keep.Bind(5, static_cast<std::int64_t>(gid.content)).Step();
    if (gid.gid > last_kept) last_kept = gid.gid;
    Remove(row);
    return bytes;
  }
void Writer::Remove(std::int64_t row) {
    remove.Bind(1, row).Step();
    remove_big.Bind(1, row).Step();
    remove_steps.Bind(1, row).Step();
    remove_journal.Bind(1, row).Step();
  }
int Writer::NoteLog(void* log_pages, sqlite3*, const char*, int pages) {
    *static_cast<int*>(log_pages) = pages;
    return SQLITE_OK;
  }
bool Writer::LogIsLong() const { return log_pages >= kLogPages; }
void Writer::CopyLogIfFree() {
    log_pages = 0;
    (void)sqlite3_wal_checkpoint_v2(db.Handle(), "main", SQLITE_CHECKPOINT_PASSIVE, nullptr,
                                    nullptr);
  }
bool Writer::Insert(const Change& change, const std::string& state) {
    Transaction& transaction = *change.transaction;
    const Definition& definition = *transaction.definition;
    if (IsKept(definition.gid)) return false;
    const std::string encoded = codec::EncodeDefinition(definition);
    const bool big = encoded.size() > kInlineBytes;
    insert.BindText(1, definition.gid);
    insert.Bind(2, static_cast<std::int64_t>(definition.type));
    insert.Bind(3, static_cast<std::int64_t>(transaction.status));
    insert.Bind(4, Stored(transaction.created));
    insert.Bind(5, Stored(transaction.finished));
    BindDue(insert, 6, transaction);
    big ? insert.BindNull(7) : insert.BindBlob(7, encoded);
    change.journal.empty() ? insert.BindNull(9) : insert.BindBlob(9, change.journal);
    insert.BindBlob(8, state).Step();
    if (db.Changes() == 0) return false;
    transaction.id = db.LastRow();
    row_journals.Keep(transaction.id, 1, change.journal);
    if (big) insert_big.Bind(1, transaction.id).BindBlob(2, encoded).Step();
    // Of a record that somebody removed by SQL, whose number has come again; so is its journal.
    if (RegistersSteps(definition.type)) remove_steps.Bind(1, transaction.id).Step();
    if (transaction.id <= last_journal) remove_journal.Bind(1, transaction.id).Step();
    return true;
  }
bool Writer::Update(const Change& change, const std::string& state) {
    const Transaction& transaction = *change.transaction;
    const bool due_changed = change.due_changed || IsFinal(transaction.status);
    const bool tells = !change.journal.empty();
    sql::Statement& write = tells ? (due_changed ? update_due_telling : update_telling)
                                  : (due_changed ? update_due : update);
    std::string* const told = tells ? &ToldWith(change) : nullptr;
    if (tells) write.BindBlob(8, *told);
    write.Bind(1, transaction.id);
    write.Bind(2, static_cast<std::int64_t>(transaction.version));
    write.Bind(3, static_cast<std::int64_t>(transaction.status));
    write.Bind(4, Stored(transaction.finished));
    write.BindBlob(5, state).Bind(7, Stored(transaction.created));
    if (due_changed) BindDue(write, 6, transaction);
    write.Step();
    const bool applied = db.Changes() > 0;
    NoteJournal(transaction, applied, told);
    if (applied && change.definition_changed) {
      Redefine(transaction);
    } else if (applied) {
      AddSteps(transaction, change.new_steps);
    }
    if (applied && change.history > 0 && transaction.version % kChangesInRow == 0) {
      MoveJournal(transaction, change.history);
    }
    return applied;
  }
auto Writer::ToldWith(const Change& change) -> std::string& {
    const Transaction& transaction = *change.transaction;
    std::string* told = row_journals.Find(transaction.id, transaction.version);
    if (told == nullptr) {
      told = &told_bytes;
      told->clear();
      const Finally reset{in_row};
      if (in_row.Bind(1, transaction.id).Step()) told->assign(in_row.View(0));
    }
    told->append(change.journal);
    return *told;
  }
void Writer::NoteJournal(const Transaction& transaction, bool applied, const std::string* told) {
    if (!applied) {
      row_journals.Forget(transaction.id);
    } else if (told != nullptr) {
      row_journals.Keep(transaction.id, transaction.version + 1, *told);
    } else {
      row_journals.Next(transaction.id, transaction.version);
    }
  }
void Writer::MoveJournal(const Transaction& transaction, unsigned history) {
    const std::int64_t row = transaction.id;
    std::vector<JournalEntry> entries;
    {
      const Finally reset{journal};
      if (!journal.Bind(1, row).Step() || journal.IsNull(1)) return;
      entries = ReadJournal(journal);
    }
    FoldJournal(entries, history);
    std::string folded;
    codec::EncodeJournal(entries, folded);
    put_journal.Bind(1, row).BindBlob(2, folded).Step();
    last_journal = (std::max)(last_journal, row);
    clear_entries.Bind(1, row).Step();
    row_journals.Keep(row, transaction.version + 1, {});
  }
void Writer::AddSteps(const Transaction& transaction, std::size_t count) {
    const std::vector<Step>& all = transaction.definition->steps;
    std::string encoded;
    for (std::size_t nr = all.size() - count; nr < all.size(); ++nr) {
      codec::EncodeStep(all[nr], encoded);
      add_step.Bind(1, transaction.id).Bind(2, static_cast<std::int64_t>(nr));
      add_step.BindBlob(3, encoded).Step();
    }
  }
void Writer::Redefine(const Transaction& transaction) {
    const std::string encoded = codec::EncodeDefinition(*transaction.definition);
    const bool big = encoded.size() > kInlineBytes;
    redefine.Bind(1, transaction.id);
    big ? redefine.BindNull(2) : redefine.BindBlob(2, encoded);
    redefine.Step();
    if (big) {
      insert_big.Bind(1, transaction.id).BindBlob(2, encoded).Step();
    } else {
      remove_big.Bind(1, transaction.id).Step();
    }
    remove_steps.Bind(1, transaction.id).Step();
  }
void Writer::BindDue(sql::Statement& statement, int index, const Transaction& transaction) {
    IsFinal(transaction.status) ? statement.BindNull(index)
                                : statement.Bind(index, Stored(transaction.due));
  }
std::string Writer::UpdateSet(const std::string& more) {
    return "UPDATE dtm_trans SET status = ?3, version = version + 1, finished = ?4, state = ?5, "
           "created = ?7" +
           more + " WHERE id = ?1 AND version = ?2";
  }
}}}


// ---- dtm/store/sqlite/connections.hpp ----------------------------------------------------------

namespace dtm { inline namespace v1 { namespace sqlite_store {
Connections::Connections(const std::string& path, Durability durability, std::function<void(sqlite3*)> on_open,
              std::size_t cache_bytes) : path_(FileAt(path)),
        durability_(durability),
        on_open_(std::move(on_open)),
        cache_bytes_(cache_bytes),
        lock_(std::make_unique<os::FileLock>(path_ + "-lock")),
        files_(path_) {
    const std::optional<os::FileStamp> log = os::StampOf(path_ + "-wal");
    if (log && log->bytes > 0 && !os::StampOf(path_)) {
      throw StoreError(
          "the store file '" + path_ + "' is gone, but its log '" + path_ +
          "-wal' is there; put the file back beside it, or remove the log to begin a new store");
    }
    os::EnsurePrivateFile(path_);
    writer_ = OpenWriter();
    reader_ = OpenReader();
  }
Connections::~Connections() {
    if (generation_ !=
        os::Forking::Generation()) {  // a forked child: the connections are the parent's
      (void)writer_.release();
      (void)reader_.release();
    } else if (Look().state == OpenFiles::State::kLost) {
      KeepLog();
    }
  }
auto Connections::Path() const -> const std::string& { return path_; }
auto Connections::Writing() -> Writer& {
    if (writer_ == nullptr) {
      throw StoreError("the store file '" + path_ + "' has to be recovered after an I/O error");
    }
    return *writer_;
  }
Connections::Reading::Reading(Connections& all) : lock_(all.reader_mutex_), reader_(all.reader_.get()) {
      if (reader_ != nullptr) return;
      throw StoreError("the store file '" + all.path_ + "' is not open now; try again");
    }
auto Connections::Reading::operator->() const -> Reader* { return reader_; }
auto Connections::Reading::operator*() const -> Reader& { return *reader_; }
void Connections::Begin() {
    try {
      Writing().begin.Step();
    } catch (const sql::SqliteError& error) {
      if (error.Primary() != SQLITE_BUSY) throw;
      throw StoreBusy(error.what());
    }
    files_.Begun(writer_->log.Now());
  }
void Connections::AfterCommit() {
    OpenFiles::Finding found = Look();
    if (found.state == OpenFiles::State::kGood && lock_->Removed()) {
      found.what = "the lock file '" + path_ +
                   "-lock' was removed, so that another coordinator may have opened the store";
    }
    if (!found.what.empty()) throw CommitInDoubt(found.what);
    if (!writer_->LogIsLong()) return;
    writer_->CopyLogIfFree();
    files_.Copied(writer_->log.Now());
  }
void Connections::Rollback() noexcept {
    if (writer_ == nullptr) return;
    writer_->row_journals.Clear();
    if (!writer_->db.InTransaction()) return;
    sqlite3_exec(writer_->db.Handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
void Connections::Recover() {
    Rollback();  // a connection whose statements the user keeps stays open, with its transaction
    const OpenFiles::Finding found = Look();
    if (found.state == OpenFiles::State::kLost) throw StoreError(found.what);
    if (!lock_->AtItsPath()) lock_ = std::make_unique<os::FileLock>(path_ + "-lock");
    if (found.state == OpenFiles::State::kReopen) SaveLog();
    writer_.reset();
    auto writer = OpenWriter();
    writer->db.Exec("PRAGMA wal_checkpoint(TRUNCATE)");
    files_.Copied(writer->log.Now());
    const std::string damage = QuickCheck(writer->db);
    if (!damage.empty()) throw StoreError(damage);
    auto reader = OpenReader();
    writer_ = std::move(writer);
    const std::lock_guard<std::mutex> lock(reader_mutex_);
    reader_ = std::move(reader);
  }
void Connections::ConfigureReader(sql::Database& db) const {
    sqlite_schema::ConfigureReader(db, cache_bytes_);
  }
std::string Connections::QuickCheck(sql::Database& db) const {
    const std::string damage = sqlite_schema::Damage(db);
    if (damage.empty()) return {};
    return "the store file '" + path_ + "' is damaged: " + damage + "; restore it from a backup";
  }
std::string Connections::FileAt(const std::string& path) {
    if (!path.empty() && path != ":memory:") return os::FullPath(path);
    throw StoreError("the store file '" + path +
                     "' is no file; name one, or use MemoryStore for what need not be kept");
  }
auto Connections::Look() -> OpenFiles::Finding { return files_.Look(writer_ != nullptr ? &writer_->log : nullptr); }
auto Connections::OpenWriter() -> std::unique_ptr<Writer> {
    auto db = std::make_unique<sql::Database>(path_, SQLITE_OPEN_READWRITE);
    sqlite_schema::ConfigureWriter(*db, durability_ == Durability::kPower, cache_bytes_);
    sqlite_schema::Migrate(*db);
    files_.Opened(*db);
    CallOnOpen(*db);
    sqlite3_busy_timeout(db->Handle(), sqlite_schema::kLockWaitMs);
    auto writer = std::make_unique<Writer>(std::move(db));
    files_.Copied(writer->log.Now());
    return writer;
  }
void Connections::CallOnOpen(const sql::Database& db) const {
    try {
      if (on_open_) on_open_(db.Handle());
    } catch (const std::exception&) {
      throw;
    } catch (...) {
      throw StoreError("the store file '" + path_ +
                       "' was not opened: on_open failed: " + WhatWasThrown());
    }
  }
auto Connections::OpenReader() const -> std::unique_ptr<Reader> {
    auto db = std::make_unique<sql::Database>(path_, SQLITE_OPEN_READWRITE);
    ConfigureReader(*db);
    sqlite3_busy_timeout(db->Handle(), sqlite_schema::kLockWaitMs);
    return std::make_unique<Reader>(std::move(db));
  }
void Connections::SaveLog() {
    const std::lock_guard<std::mutex> lock(reader_mutex_);
    if (writer_ != nullptr || reader_ != nullptr) {
      (writer_ != nullptr ? writer_->db : *reader_->owned).CopyLog();
    }
    KeepLog();
    writer_.reset();
    reader_.reset();
  }
void Connections::KeepLog() {
    if (writer_ != nullptr) writer_->db.KeepLog();
    if (reader_ != nullptr) reader_->owned->KeepLog();
  }
}}}


// ---- dtm/store/search.hpp ----------------------------------------------------------------------

namespace dtm { inline namespace v1 {
SearchSource::~SearchSource() = default;
}}

namespace dtm { inline namespace v1 { namespace search {
std::string BehindPrefix(std::string prefix) {
  while (!prefix.empty()) {
    std::size_t at = prefix.size() - 1;
    while (at > 0 && (static_cast<unsigned char>(prefix[at]) & 0xC0u) == 0x80u) --at;
    // The next character of the same length. The last one of its length goes, and the one before it has a next one.
    for (std::size_t i = prefix.size(); i-- > at;) {
      std::string next = prefix;
      for (auto byte = static_cast<unsigned char>(next[i]); byte < 0xFF;) {
        next[i] = static_cast<char>(++byte);
        for (std::size_t rest = i + 1; rest < next.size(); ++rest) next[rest] = '\x80';
        if (Utf8Length(next, at) == next.size() - at) return next;
      }
    }
    prefix.resize(at);
  }
  return {};
}
bool OnlyUnfinished(const ScanFilter& filter) {
  return filter.unfinished || filter.stuck || (filter.status && !IsFinal(*filter.status));
}
auto Newest(SearchSource::Ids ids, std::int64_t below) -> Candidates {
  ids.erase(std::remove_if(ids.begin(), ids.end(),
                           [below](std::int64_t id) { return id <= 0 || id >= below; }),
            ids.end());
  std::sort(ids.begin(), ids.end(), std::greater<>());
  const bool all = ids.size() <= kMostSought;
  if (!all) ids.resize(kMostSought);
  return {std::move(ids), all};
}
bool IsCommon(SearchSource& source, const std::string& prefix, std::int64_t below) {
  constexpr std::size_t kSample = 32;
  const SearchSource::Ids ids = source.Below(below, kSample);
  if (ids.empty()) return false;
  const SearchSource::Part read = source.Read(ids, true, {}, kSample, kMostBytes);
  const auto has = [&prefix](const Transaction& one) {
    return HasPrefix(one.definition->gid, prefix);
  };
  const auto all = read.records.size();
  return 2 * static_cast<std::size_t>(
                 std::count_if(read.records.begin(), read.records.end(), has)) >
         all;
}
auto FromIndex(SearchSource& source, const ScanFilter& filter,
                                           std::int64_t below) -> std::optional<Candidates> {
  if (!filter.gid_prefix.empty() && !IsCommon(source, filter.gid_prefix, below)) {
    auto ids =
        source.WithGids(filter.gid_prefix, BehindPrefix(filter.gid_prefix), kMostFromIndex + 1);
    if (ids && ids->size() <= kMostFromIndex) return Newest(std::move(*ids), below);
  }
  if (OnlyUnfinished(filter)) {
    SearchSource::Ids ids = source.Unfinished(filter.stuck, kMostFromIndex + 1);
    if (ids.size() <= kMostFromIndex) return Newest(std::move(ids), below);
  }
  return std::nullopt;
}
PageInWork::PageInWork(SearchSource& source, const ScanFilter& filter, std::size_t limit) : source_(source), filter_(filter), limit_(limit) {}
std::size_t PageInWork::LookAt(const SearchSource::Ids& ids, bool in_a_row) {
    constexpr std::size_t kAtATime = 32;
    constexpr std::size_t kLargest = 2048;
    std::size_t at = 0;
    while (at < ids.size() && !Ended()) {
      const std::size_t size = (std::min)(chunk_, ids.size() - at);
      const std::size_t most = (std::min)(kAtATime, limit_ - found_.size());
      const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(at);
      const SearchSource::Ids part(begin, begin + static_cast<std::ptrdiff_t>(size));
      SearchSource::Part read = source_.Read(part, in_a_row, filter_, most, kMostBytes - bytes_);
      if (read.whole) {
        at += size;
      } else {
        const std::int64_t last = read.records.back().id;
        at = static_cast<std::size_t>(
            std::upper_bound(ids.begin(), ids.end(), last, std::greater<>()) - ids.begin());
      }
      if (read.records.empty()) chunk_ = (std::min)(2 * chunk_, kLargest);
      for (Transaction& transaction : read.records) {
        bytes_ += BytesOf(*transaction.definition);
        if (Matches(filter_, transaction)) found_.push_back(std::move(transaction));
      }
    }
    return at;
  }
bool PageInWork::Ended() const { return found_.size() == limit_ || bytes_ >= kMostBytes; }
auto PageInWork::Take(std::int64_t next) -> ScanPage { return {std::move(found_), next}; }
auto Search(SearchSource& source, const ScanFilter& filter, std::int64_t position,
                       std::size_t limit) -> ScanPage {
  if (limit == 0 || !IsUtf8(filter.gid_prefix) || !IsUtf8(filter.target)) return {};
  PageInWork page(source, filter, limit);
  std::int64_t below = position > 0 ? position : INT64_MAX;
  if (const std::optional<Candidates> named = FromIndex(source, filter, below)) {
    const std::size_t looked = page.LookAt(named->ids, false);
    const bool end = named->all && looked == named->ids.size();
    return page.Take(end ? 0 : named->ids[looked - 1]);
  }
  std::size_t looked = 0;
  for (std::size_t piece = 256;; piece *= 4) {  // most pages need few
    const std::size_t most = (std::min)(piece, kMostLooked - looked);
    const SearchSource::Ids ids = source.Below(below, most);
    const std::size_t at = page.LookAt(ids, true);
    if (at == ids.size() && ids.size() < most) return page.Take(0);
    below = ids[at - 1];
    looked += at;
    if (page.Ended() || looked == kMostLooked) return page.Take(below);
  }
}
auto FullPage(SearchSource& source, const ScanFilter& filter, std::int64_t position,
                         std::size_t limit) -> ScanPage {
  ScanPage all;
  if (limit == 0) return all;
  do {
    ScanPage page = Search(source, filter, position, limit - all.transactions.size());
    for (Transaction& each : page.transactions) all.transactions.push_back(std::move(each));
    position = all.next = page.next;
  } while (position != 0 && all.transactions.size() < limit);
  if (all.transactions.size() == limit) all.next = all.transactions.back().id;
  return all;
}
}}}


// ---- dtm/store/sqlite/reads.hpp ----------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace sqlite_store {
auto IdsOf(sql::Statement& statement) -> SearchSource::Ids {
  const Finally reset{statement};
  SearchSource::Ids ids;
  while (statement.Step()) ids.push_back(statement.Int(0));
  return ids;
}
auto UnfinishedIds(Reader& reader, bool stuck, std::size_t most) -> SearchSource::Ids {
  reader.unfinished_ids.Bind(1, stuck ? Stored(kNever) : INT64_MIN);
  reader.unfinished_ids.Bind(2, static_cast<std::int64_t>(most));
  return IdsOf(reader.unfinished_ids);
}
auto IdsWithGids(Reader& reader, const std::string& from, const std::string& to,
                                     std::size_t most) -> SearchSource::Ids {
  reader.gid_ids.BindText(1, from).BindText(2, to).Bind(3, static_cast<std::int64_t>(most));
  return IdsOf(reader.gid_ids);
}
auto IdsBelow(Reader& reader, std::int64_t id, std::size_t most) -> SearchSource::Ids {
  reader.below.Bind(1, id).Bind(2, static_cast<std::int64_t>(most));
  return IdsOf(reader.below);
}
bool MayCall(const sql::Statement& row, const std::string& part) {
  return RegistersSteps(static_cast<TransType>(row.Int(2))) ||
         row.View(9).find(part) != std::string_view::npos;
}
auto ReadWanted(Reader& reader, const SearchSource::Ids& ids, bool in_a_row,
                                     const ScanFilter& filter, std::size_t most,
                                     std::size_t bytes) -> SearchSource::Part {
  if (ids.empty()) return {};
  sql::Statement& search = in_a_row ? reader.search_range : reader.search;
  search.Bind(3, filter.type ? static_cast<std::int64_t>(*filter.type) : 0);
  search.Bind(4, filter.status ? static_cast<std::int64_t>(*filter.status) : 0);
  search.Bind(5, Stored(filter.created_from)).Bind(6, Stored(filter.created_to));
  search.Bind(7, filter.stuck ? 2 : filter.unfinished ? 1 : 0).Bind(8, filter.errors ? 1 : 0);
  const std::string part = StoredPartOf(filter.target);
  SearchSource::Part read;
  for (const std::int64_t id : ids) {
    const Finally reset{search};
    search.Bind(1, id).Bind(2, ids.back());
    while (read.whole && search.Step()) {
      if (MayCall(search, part)) {
        read.records.push_back(ReadTransaction(search, reader.steps));
        bytes -= (std::min)(bytes, BytesOf(*read.records.back().definition));
        read.whole = read.records.size() < most && bytes > 0;
      }
      if (!in_a_row) break;
    }
    if (in_a_row || !read.whole) break;
  }
  return read;
}
}}}


// ---- dtm/store/sqlite/sqlite_store.hpp ---------------------------------------------------------

namespace dtm { inline namespace v1 {
SqliteStore::SqliteStore(const std::string& path, Durability durability,
                       OnOpen on_open, std::size_t cache_bytes) : connections_(path, durability, std::move(on_open), cache_bytes) {}
auto SqliteStore::Kind() const -> const char* { return "sqlite"; }
void SqliteStore::Begin() { connections_.Begin(); }
auto SqliteStore::Run(const Work& work) -> Result {
    sqlite_store::Writer& writer = Writing();
    writer.savepoint.Step();
    Result result;
    {
      const sql::UserSqlRules::On guarded(writer.user_sql);
      result = CatchAsResult([&] { return work(WorkContext(writer.db.Handle())); });
      writer.user_sql.ResetStatements();  // without a transaction that would commit what they wrote
    }
    if (!writer.db.InTransaction()) {
      throw BatchLost(
          "a statement of the work rolled the whole transaction back (ON CONFLICT "
          "ROLLBACK, a full disk or memory)");
    }
    if (result.kind == Result::Kind::kSuccess && writer.user_sql.ForeignKeysPending()) {
      result = Result::Error("the work leaves a deferred foreign key violated");
    }
    if (result.kind != Result::Kind::kSuccess) writer.roll_back.Step();
    writer.release.Step();
    return result;
  }
bool SqliteStore::Has(const std::string& gid) {
    sql::Statement& has = Writing().has;
    const sql::UserSqlRules::Off ours(Writing().user_sql);
    const Finally reset{has};
    return has.BindText(1, gid).Step();
  }
auto SqliteStore::GetValue(const std::string& category, const std::string& key) -> std::optional<KeyValue> {
    sql::Statement& get = Writing().get_value;
    const sql::UserSqlRules::Off ours(Writing().user_sql);
    const Finally reset{get};
    if (!get.BindText(1, category).BindText(2, key).Step()) return std::nullopt;
    return sqlite_store::ReadValue(get);
  }
void SqliteStore::PutValue(const KeyValue& value) {
    sql::Statement& put = Writing().put_value;
    const sql::UserSqlRules::Off ours(Writing().user_sql);
    put.BindText(1, value.category).BindText(2, value.key).BindText(3, value.value);
    put.Bind(4, sqlite_store::Stored(value.updated)).Step();
  }
bool SqliteStore::RemoveValue(const std::string& category, const std::string& key) {
    sql::Statement& remove = Writing().remove_value;
    const sql::UserSqlRules::Off ours(Writing().user_sql);
    remove.BindText(1, category).BindText(2, key).Step();
    return Writing().db.Changes() > 0;
  }
void SqliteStore::Apply(std::vector<Change>& changes) {
    sqlite_store::Writer& writer = Writing();
    for (std::size_t i = 0; i < changes.size(); ++i) {
      if (i + 2 < changes.size())
        Prefetch<LinesOf(sizeof(Transaction))>(changes[i + 2].transaction);
      if (i + 1 < changes.size()) {
        Prefetch<LinesOf(4 * sizeof(Branch))>(changes[i + 1].transaction->branches.data());
      }
      Change& change = changes[i];
      codec::EncodeState(*change.transaction, state_);
      change.applied = change.transaction->id == 0 ? writer.Insert(change, state_)
                                                   : writer.Update(change, state_);
    }
  }
void SqliteStore::Commit() {
    try {
      Writing().commit.Step();
    } catch (const sql::SqliteError& error) {
      Rollback();
      // Both may come after the commit's frame has reached the log.
      const bool in_doubt = error.Primary() == SQLITE_IOERR || error.Primary() == SQLITE_NOMEM;
      if (!in_doubt) throw;
      throw CommitInDoubt(std::string(error.what()) + "; it may or may not be stored");
    }
    connections_.AfterCommit();
  }
void SqliteStore::Rollback() noexcept { connections_.Rollback(); }
void SqliteStore::Recover() { connections_.Recover(); }
std::string SqliteStore::Check(const std::atomic<bool>& stop) {
    try {
      sql::Database db(connections_.Path(), SQLITE_OPEN_READWRITE);
      connections_.ConfigureReader(db);
      const auto stopped = [](void* flag) {
        return static_cast<const std::atomic<bool>*>(flag)->load() ? 1 : 0;
      };
      sqlite3_progress_handler(db.Handle(), 10000, stopped, const_cast<std::atomic<bool>*>(&stop));
      return connections_.QuickCheck(db);
    } catch (const sql::SqliteError& error) {
      return error.Primary() == SQLITE_INTERRUPT ? "" : error.what();
    }
  }
auto SqliteStore::Load(const std::string& gid) -> std::optional<Transaction> { return reads_.Load(gid); }
auto SqliteStore::ReadJournal(const std::string& gid) -> std::vector<JournalEntry> {
    return reads_.ReadJournal(gid);
  }
auto SqliteStore::Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) -> ScanPage {
    return reads_.Scan(filter, position, limit);
  }
auto SqliteStore::ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) -> KeyValuePage {
    return reads_.ScanValues(category, key, position, limit);
  }
auto SqliteStore::CountUnfinished(Time now) -> Backlog { return reads_.CountUnfinished(now); }
void SqliteStore::Due(Time now, DuePosition after, const DueVisitor& visit) {
    sql::Statement& due = Writing().due;
    const Finally reset{due};
    due.Bind(1, sqlite_store::Stored(after.due)).Bind(2, after.id);
    due.Bind(3, sqlite_store::Stored(now));
    while (due.Step()) {
      if (!visit(sqlite_store::ReadTransaction(due, Writing().steps))) return;
    }
  }
auto SqliteStore::NextDue(Time now) -> Time {
    sql::Statement& next = Writing().next_due;
    const Finally reset{next};
    next.Bind(1, sqlite_store::Stored(now));
    return next.Step() && !next.IsNull(0) ? sqlite_store::FromStored(next.Int(0)) : kNever;
  }
auto SqliteStore::Expire(Time before, std::int64_t after, std::size_t limit, bool keep_gids) -> std::int64_t {
    return sqlite_store::Expiry(Writing()).RemoveSome(sqlite_store::Stored(before), after, limit,
                                                      keep_gids);
  }
std::string SqliteStore::ForgetGids(Time before, const std::string& after, std::size_t limit) {
    std::vector<std::string> forgotten;
    std::string last;
    std::size_t seen = 0;
    {
      sql::Statement& look = Writing().look_kept;
      const Finally reset{look};
      look.BindText(1, after).Bind(2, static_cast<std::int64_t>(limit));
      for (; look.Step(); ++seen) {
        last = look.Text(0);
        if (sqlite_store::FromKept(look.Int(1)) < before) forgotten.push_back(last);
      }
    }
    sqlite_store::Expiry(Writing()).Forget(forgotten);
    return seen == limit ? last : std::string();
  }
auto SqliteStore::Writing() -> sqlite_store::Writer& { return connections_.Writing(); }
}}


// ---- dtm/timeline/timeline.hpp -----------------------------------------------------------------

namespace dtm { inline namespace v1 {
auto Name(Attempt::Outcome outcome) -> const char* {
  switch (outcome) {
    case Attempt::Outcome::kRunning: return "running";
    case Attempt::Outcome::kSuccess: return "success";
    case Attempt::Outcome::kFailure: return "failure";
    case Attempt::Outcome::kOngoing: return "ongoing";
    case Attempt::Outcome::kError: return "error";
    case Attempt::Outcome::kNotSent: return "not sent";
    case Attempt::Outcome::kLost: return "lost";
  }
  return "unknown";
}
}}

namespace dtm { inline namespace v1 { namespace timeline {
auto OutcomeOf(JournalKind kind) -> Attempt::Outcome {
  switch (kind) {
    case JournalKind::kSuccess: return Attempt::Outcome::kSuccess;
    case JournalKind::kFailure: return Attempt::Outcome::kFailure;
    case JournalKind::kOngoing: return Attempt::Outcome::kOngoing;
    case JournalKind::kError: return Attempt::Outcome::kError;
    case JournalKind::kNotSent: return Attempt::Outcome::kNotSent;
    default: return Attempt::Outcome::kRunning;
  }
}
void EndAttempt(Timeline& story, std::size_t index) {
  const JournalEntry& entry = story.entries[index];
  const auto found = std::find_if(
      story.attempts.rbegin(), story.attempts.rend(), [&entry](const Attempt& attempt) {
        return attempt.row == entry.row && attempt.outcome == Attempt::Outcome::kRunning;
      });
  if (found == story.attempts.rend()) {
    story.attempts.push_back({entry.row, story.runs.size() - 1, Time{}, entry.time,
                              OutcomeOf(entry.kind), entry.text, kNoEntry, index});
    return;
  }
  found->end = entry.time;
  found->outcome = OutcomeOf(entry.kind);
  found->text = entry.text;
  found->end_entry = index;
}
void LoseRunning(Timeline& story, Time time, std::size_t row) {
  for (Attempt& attempt : story.attempts) {
    if (attempt.outcome != Attempt::Outcome::kRunning) continue;
    if (row != kNoRow && attempt.row != row) continue;
    attempt.outcome = Attempt::Outcome::kLost;
    attempt.end = time;
  }
}
}}}

namespace dtm { inline namespace v1 {
auto MakeTimeline(Transaction transaction, std::vector<JournalEntry> entries) -> Timeline {
  Timeline story{std::move(transaction), std::move(entries), {}, {}};
  story.runs.push_back({});
  story.runs.front().begin = story.transaction.created;
  for (std::size_t i = 0; i < story.entries.size(); ++i) {
    const JournalEntry& entry = story.entries[i];
    switch (entry.kind) {
      case JournalKind::kPrepared:
      case JournalKind::kSubmitted:
        if (story.runs.front().process.empty()) story.runs.front().process = entry.who;
        break;
      case JournalKind::kTakenUp:
        timeline::LoseRunning(story, entry.time);
        story.runs.push_back({entry.who, entry.time});
        break;
      case JournalKind::kStarted:
        timeline::LoseRunning(story, entry.time, entry.row);  // its commit was in doubt
        story.attempts.push_back({entry.row, story.runs.size() - 1, entry.time});
        story.attempts.back().begin_entry = i;
        break;
      case JournalKind::kSuccess:
      case JournalKind::kFailure:
      case JournalKind::kOngoing:
      case JournalKind::kError:
      case JournalKind::kNotSent: timeline::EndAttempt(story, i); break;
      case JournalKind::kSucceeded:
      case JournalKind::kFailed: timeline::LoseRunning(story, entry.time); break;
      case JournalKind::kRegistered:
      case JournalKind::kRollback:
      case JournalKind::kStuck:
      case JournalKind::kCancel:
      case JournalKind::kForceStop:
      case JournalKind::kRetryNow:
      case JournalKind::kFinish:
      case JournalKind::kRepair:
      case JournalKind::kGap: break;
    }
  }
  return story;
}
}}


// ---- dtm/coordinator/coordinator.hpp -----------------------------------------------------------

namespace dtm { inline namespace v1 {
Coordinator::Coordinator(const std::string& file, const Options& options) : Coordinator(std::make_unique<SqliteStore>(file, CheckedOptions(options).durability,
                                                  SqliteStore::OnOpen(), CacheBytes(options)),
                    options) {}
Coordinator::Coordinator(std::unique_ptr<Store> store, const Options& options,
                       std::unique_ptr<Clock> clock) : EmbeddedEndpoint(std::make_unique<Driver>(std::move(store), std::move(clock), options)) {}
Coordinator::~Coordinator() = default;
void Coordinator::Use(std::unique_ptr<BranchCaller> caller) { Checked().Use(std::move(caller)); }
void Coordinator::Relay(std::unique_ptr<OutboxSource> source,
             Duration interval) {
    relays_.Get().Add(*this, Checked(), std::move(source), interval);
  }
void Coordinator::Start() { Checked().Start(); }
auto Coordinator::Poll() -> Duration { return Checked().Poll(); }
bool Coordinator::Stop(Duration limit) {
    Checked().CheckNotLoop();
    relays_.Get().Stop();
    return Checked().Stop(TimeIn(limit));
  }
auto Coordinator::Query(const std::string& gid) -> std::optional<Transaction> { return Checked().store->Load(gid); }
auto Coordinator::List(const ScanFilter& filter, std::int64_t position, std::size_t limit) -> ScanPage {
    CheckListLimit(limit);
    return Checked().store->Scan(filter, position, limit);
  }
auto Coordinator::Nodes() -> std::vector<Peer> {
    Peers* const peers = Checked().store->Shared();
    return peers != nullptr ? peers->All()
                            : std::vector<Peer>{{NodeOf(Settings()), true, Duration(0), true}};
  }
auto Coordinator::Timeline(const std::string& gid) -> std::optional<dtm::Timeline> {
    std::optional<Transaction> stored = Query(gid);
    if (!stored) return std::nullopt;
    std::vector<JournalEntry> entries = Checked().store->ReadJournal(gid);
    if (Settings().history > 0) FoldJournal(entries, Settings().history);
    return MakeTimeline(std::move(*stored), std::move(entries));
  }
auto Coordinator::Wait(const std::string& gid, Duration timeout) -> TransResult {
    CheckMayBlock("Wait");
    return Await([&](AnswerCallback answer) { WaitAsync(gid, timeout, std::move(answer)); });
  }
std::string Coordinator::Explain(const std::string& gid) {
    return AwaitValue<std::string>(
        [&](ValueCallback<std::string> answer) { ExplainAsync(gid, std::move(answer)); });
  }
void Coordinator::Cancel(const std::string& gid, const std::string& reason) {
    Cancel(gid, By{{}, reason});
  }
void Coordinator::Cancel(const std::string& gid, const By& by) {
    Await([&](AnswerCallback answer) {
      AbortAsync(gid, {}, by, WaitResult::kIgnored, std::move(answer));
    });
  }
void Coordinator::ForceStop(const std::string& gid, const By& by) {
    Await([&](AnswerCallback answer) { ForceStopAsync(gid, by, std::move(answer)); });
  }
void Coordinator::RetryNow(const std::string& gid, const By& by) {
    Await([&](AnswerCallback answer) { RetryNowAsync(gid, by, std::move(answer)); });
  }
void Coordinator::Skip(const std::string& gid, const std::string& branch_id, Op op, const By& by) {
    Await([&](AnswerCallback answer) { SkipAsync(gid, branch_id, op, by, std::move(answer)); });
  }
auto Coordinator::ListWaiting(Duration wait, std::size_t limit) -> std::vector<std::string> {
    using Gids = std::vector<std::string>;
    return AwaitValue<Gids>(
        [&](ValueCallback<Gids> answer) { ListWaitingAsync(wait, limit, std::move(answer)); });
  }
void Coordinator::Subscribe(const std::string& topic, const std::string& url, const std::string& remark) {
    Await([&](AnswerCallback answer) { SubscribeAsync(topic, url, remark, std::move(answer)); });
  }
void Coordinator::Unsubscribe(const std::string& topic, const std::string& url) {
    Await([&](AnswerCallback answer) { UnsubscribeAsync(topic, url, std::move(answer)); });
  }
void Coordinator::DeleteTopic(const std::string& topic) {
    Await([&](AnswerCallback answer) { DeleteTopicAsync(topic, std::move(answer)); });
  }
auto Coordinator::ListValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) -> KeyValuePage {
    CheckListLimit(limit);
    return Checked().store->ScanValues(category, key, position, limit);
  }
auto Coordinator::IntervalOf(const Transaction& transaction) const -> Duration {
    engine::Context context;
    context.retry_interval = Settings().retry_interval;
    return engine::IntervalNow(transaction, context);
  }
auto Coordinator::Counted() const -> Metrics::Snapshot { return Checked().Counted(); }
auto Coordinator::Measure() -> Gauges {
    Gauges gauges = Checked().Measure();
    relays_.Get().Measure(gauges);
    return gauges;
  }
auto Coordinator::Settings() const -> const Options& { return Checked().options; }
void Coordinator::CheckListLimit(std::size_t limit) {
    if (limit == 0 || limit > kMaxListLimit) {
      throw RejectedError("the limit of a list must be 1 to " + std::to_string(kMaxListLimit));
    }
  }
void Coordinator::Keep(const std::string& name, BranchFunction function) {
    Driver& driver = Checked();
    if (!function) throw EmptyFunction(name);
    driver.functions.Register(name, std::move(function));
    (void)driver.inbox.Push(About(kLocalPrefix + name, Command::Kind::kRegistered));
  }
void Coordinator::KeepResume(const std::string& name, BranchFunction function) {
    Driver& driver = Checked();
    driver.functions.RegisterResume(name, std::move(function));
    (void)driver.inbox.Push(About(kLocalPrefix + name, Command::Kind::kRegistered));
  }
std::string Coordinator::KeepInTransaction(const std::string& name, TransactionFunction function) {
    Driver& driver = Checked();
    if (!function) throw EmptyFunction(name);
    CheckRunsWorks();
    std::string full_name = kInTransactionPrefix + name;
    driver.transaction_functions.Register(full_name, std::move(function));
    (void)driver.inbox.Push(About(kLocalPrefix + full_name, Command::Kind::kRegistered));
    return full_name;
  }
auto Coordinator::EmptyFunction(const std::string& name) -> LogicError {
    return LogicError("the branch function '" + name + "' is an empty function");
  }
}}


// ---- dtm/text/time_text.hpp --------------------------------------------------------------------

#include <ctime>
namespace dtm { inline namespace v1 {
std::string TimeText(Time time) {
  const auto micros = time.time_since_epoch().count();
  auto seconds = static_cast<std::time_t>(micros / 1000000);
  auto fraction = static_cast<int>(micros % 1000000);
  if (fraction < 0) {
    fraction += 1000000;
    --seconds;
  }
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[48];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string result(text, length);
  if (fraction != 0) {
    std::snprintf(text, sizeof text, ".%06d", fraction);
    result += text;
    while (result.back() == '0') result.pop_back();
  }
  return result + "Z";
}
}}

namespace dtm { inline namespace v1 { namespace time_text {
auto Days(std::int64_t year, unsigned month, unsigned day) -> std::int64_t {
  // In years that begin in March the leap day is the last one, and months repeat every five.
  const std::int64_t y = month > 2 ? year : year - 1;
  const std::int64_t era = (y >= 0 ? y : y - 399) / 400;
  const auto of_era = static_cast<unsigned>(y - era * 400);
  const unsigned of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const unsigned in_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
  return era * 146097 + static_cast<std::int64_t>(in_era) - 719468;
}
}}}

namespace dtm { inline namespace v1 {
auto ParseTime(std::string_view text) -> std::optional<Time> {
  constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:dd";
  if (text.size() <= kForm.size() || text.back() != 'Z') return std::nullopt;
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kForm[i] == 'd' ? !digit : text[i] != kForm[i]) return std::nullopt;
  }
  const auto number = [text](std::size_t at, std::size_t size) {
    return ParseNumber<unsigned>(text.substr(at, size)).value_or(0);
  };
  std::int64_t micros = 0;
  std::string_view fraction = text.substr(kForm.size(), text.size() - kForm.size() - 1);
  if (!fraction.empty()) {
    const std::string digits(fraction.substr(1));
    const bool fits = fraction[0] == '.' && !digits.empty() && digits.size() <= 6 &&
                      digits.find_first_not_of("0123456789") == std::string::npos;
    if (!fits) return std::nullopt;
    micros = ParseNumber<unsigned>(digits + std::string(6 - digits.size(), '0')).value_or(0);
  }
  const std::int64_t days = time_text::Days(number(0, 4), number(5, 2), number(8, 2));
  const std::int64_t seconds =
      ((days * 24 + number(11, 2)) * 60 + number(14, 2)) * 60 + number(17, 2);
  const Time time{Duration(seconds * 1000000 + micros)};
  // What does not exist (the 30th of February, 25 o'clock) is another time written otherwise.
  const std::string whole = TimeText(Time(Duration(seconds * 1000000)));
  if (whole.substr(0, kForm.size()) != text.substr(0, kForm.size())) return std::nullopt;
  return time;
}
}}


// ---- dtm/observe/json_line.hpp -----------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace json_line {
std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = Utf8Length(text, at);
    const auto first = static_cast<unsigned char>(text[at]);
    if (length == 0) {
      quoted += "\xEF\xBF\xBD";
    } else if (first < 0x20 || first == 0x7F) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(first));
      quoted += code;
    } else {
      if (first == '"' || first == '\\') quoted += '\\';
      quoted.append(text, at, length);
    }
    at += length == 0 ? 1 : length;
  }
  return quoted + '"';
}
auto Object::Add(const char* name, const std::string& value) -> Object& {
    if (!value.empty()) AddRaw(name, Quoted(value));
    return *this;
  }
auto Object::AddRaw(const char* name, const std::string& value) -> Object& {
    text_ += text_.empty() ? "{" : ",";
    text_ += Quoted(name) + ":" + value;
    return *this;
  }
std::string Object::Text() const { return text_.empty() ? "{}" : text_ + "}"; }
}}}

namespace dtm { inline namespace v1 {
std::string JsonLine(const Event& event) {
  return json_line::Object()
      .Add("time", TimeText(event.time))
      .Add("event", Name(event.kind))
      .Add("gid", event.gid)
      .Add("trans_type", Name(event.type))
      .Add("status", Name(event.status))
      .Add("branch_id", event.branch_id)
      .Add("op", event.op == Op{} ? "" : Name(event.op))
      .Add("target", event.target)
      .Add("text", event.text)
      .Add("who", event.who)
      .Add("trace_id", event.trace_id)
      .Text();
}
std::string JsonLine(const LogLine& line, Time time) {
  return json_line::Object()
      .Add("time", TimeText(time))
      .Add("level", Name(line.level))
      .Add("message", line.text)
      .Add("gid", line.gid)
      .Add("trace_id", line.trace_id)
      .Text();
}
std::string JsonLine(const Span& span) {
  json_line::Object attributes;
  for (const auto& [name, value] : span.attributes) attributes.Add(name.c_str(), value);
  return json_line::Object()
      .Add("time", TimeText(span.begin))
      .Add("end", TimeText(span.end))
      .Add("span", span.name)
      .Add("trace_id", span.trace_id)
      .Add("span_id", span.span_id)
      .Add("parent_id", span.parent_id)
      .AddRaw("failed", span.failed ? "true" : "false")
      .Add("text", span.text)
      .AddRaw("attributes", attributes.Text())
      .Text();
}
void LogAsJson(const LogLine& line) {
  const Time now = std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
  std::fputs((JsonLine(line, now) + "\n").c_str(), stderr);
}
}}


// ---- dtm/store/memory_batch.hpp ----------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace memory_store {
auto Values::Find(const std::string& category, const std::string& key) const -> const KeyValue* {
    const auto row = rows_of.find({category, key});
    return row == rows_of.end() ? nullptr : &by_row.at(row->second);
  }
void Journal::Follow(const Journal& old) {
    bytes.insert(0, old.bytes);
    folded = old.folded;
    if (bytes.size() < 2 * folded + kFoldedFrom) return;
    std::vector<JournalEntry> entries;
    codec::DecodeJournal(bytes, entries);
    FoldJournal(entries, history);
    bytes.clear();
    codec::EncodeJournal(entries, bytes);
    folded = bytes.size();
  }
void OpenBatch::Begin(std::shared_ptr<const Values> committed) {
    if (open_) throw StoreError("a batch is open already; commit it or roll it back first");
    open_ = true;
    records.clear();
    rows.clear();
    told.clear();
    removed.clear();
    forgotten.clear();
    values = std::move(committed);
  }
bool OpenBatch::IsOpen() const { return open_; }
void OpenBatch::Close() noexcept { open_ = false; }
auto OpenBatch::Run(const Work& work) -> Result {
    const std::shared_ptr<const Values> before = values;
    Result result = CatchAsResult([&work] { return work(WorkContext()); });
    if (result.kind != Result::Kind::kSuccess) values = before;
    return result;
  }
auto OpenBatch::GetValue(const std::string& category, const std::string& key) const -> std::optional<KeyValue> {
    const KeyValue* found = values->Find(category, key);
    if (found == nullptr) return std::nullopt;
    return *found;
  }
void OpenBatch::PutValue(const KeyValue& value) {
    const KeyValue* old = values->Find(value.category, value.key);
    KeyValue kept = value;
    kept.id = old == nullptr ? ++last_value_ : old->id;
    kept.version = old == nullptr ? 1 : old->version + 1;
    kept.created = old == nullptr ? value.updated : old->created;
    const auto changed = std::make_shared<Values>(*values);
    changed->rows_of[{value.category, value.key}] = kept.id;
    changed->by_row[kept.id] = std::move(kept);
    values = changed;
  }
bool OpenBatch::RemoveValue(const std::string& category, const std::string& key) {
    const KeyValue* old = values->Find(category, key);
    if (old == nullptr) return false;
    const auto changed = std::make_shared<Values>(*values);
    changed->by_row.erase(old->id);
    changed->rows_of.erase({category, key});
    values = changed;
    return true;
  }
void OpenBatch::Keep(const Transaction& transaction, std::uint64_t version, std::uint64_t owner) {
    Transaction& kept = records[transaction.id] = transaction;
    kept.version = version;
    kept.owner = owner;
    for (Branch& branch : kept.branches) {  // what no store keeps
      branch.in_flight = branch.unsent = false;
      branch.previous_deadline = Time{};
    }
  }
void OpenBatch::Tell(std::int64_t row, const Change& change) {
    Journal& journal = told[row];
    journal.bytes.append(change.journal);
    journal.history = change.history;
  }
}}}


// ---- dtm/store/memory_search.hpp ---------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace memory_store {
Searched::Searched(const Records& records, const DueOnes& due) : records_(records), due_(due) {}
auto Searched::Unfinished(bool stuck, std::size_t most) -> Ids {
    Ids ids;
    auto due = stuck ? due_.lower_bound({kNever, 0}) : due_.begin();
    for (; due != due_.end() && ids.size() < most; ++due) ids.push_back(due->first.second);
    return ids;
  }
auto Searched::WithGids(const std::string&, const std::string&, std::size_t) -> std::optional<Ids> {
    return std::nullopt;  // they are in no order
  }
auto Searched::Below(std::int64_t id, std::size_t most) -> Ids {
    Ids ids;
    for (auto end = records_.lower_bound(id); end != records_.begin() && ids.size() < most;) {
      ids.push_back((--end)->first);
    }
    return ids;
  }
auto Searched::Read(const Ids& ids, bool, const ScanFilter& filter, std::size_t most,
            std::size_t /*bytes*/) -> Part {
    Part read;
    for (const std::int64_t id : ids) {
      const Transaction& record = records_.at(id);
      if (Matches(filter, record)) read.records.push_back(record);
      read.whole = read.records.size() < most;
      if (!read.whole) break;
    }
    return read;
  }
}}}


// ---- dtm/store/memory.hpp ----------------------------------------------------------------------

namespace dtm { inline namespace v1 {
auto MemoryStore::Kind() const -> const char* { return "memory"; }
void MemoryStore::Begin() { batch_.Begin(values_); }
auto MemoryStore::Run(const Work& work) -> Result { return batch_.Run(work); }
bool MemoryStore::Has(const std::string& gid) {
    return rows_.count(gid) > 0 || batch_.rows.count(gid) > 0 || kept_.count(gid) > 0;
  }
auto MemoryStore::GetValue(const std::string& category, const std::string& key) -> std::optional<KeyValue> {
    return batch_.GetValue(category, key);
  }
void MemoryStore::PutValue(const KeyValue& value) { batch_.PutValue(value); }
bool MemoryStore::RemoveValue(const std::string& category, const std::string& key) {
    return batch_.RemoveValue(category, key);
  }
void MemoryStore::Apply(std::vector<Change>& changes) {
    for (Change& change : changes) {
      Transaction& transaction = *change.transaction;
      change.applied = transaction.id == 0 ? Insert(transaction) : Update(transaction);
      if (change.applied && !change.journal.empty()) batch_.Tell(transaction.id, change);
    }
  }
void MemoryStore::Commit() {
    if (!batch_.IsOpen()) throw StoreError("there is no open batch to commit");
    const std::lock_guard<std::mutex> lock(mutex_);
    std::map<std::pair<Time, std::int64_t>, bool> due;
    for (const auto& [row, transaction] : batch_.records) {
      if (!IsFinal(transaction.status)) due[{transaction.due, row}] = true;
    }
    rows_.reserve(rows_.size() + batch_.rows.size());
    for (auto& [row, journal] : batch_.told) {
      const auto old = journals_.find(row);
      if (old != journals_.end()) journal.Follow(old->second);
    }
    // All or nothing: below nothing needs memory.
    batch_.Close();
    values_ = batch_.values;
    rows_.merge(batch_.rows);
    while (!batch_.records.empty()) {
      auto node = batch_.records.extract(batch_.records.begin());
      const auto old = records_.find(node.key());
      if (old == records_.end()) {
        records_.insert(std::move(node));
      } else {
        due_.erase({old->second.due, node.key()});
        old->second = std::move(node.mapped());
      }
    }
    due_.merge(due);
    for (auto& entry : batch_.told) journals_.erase(entry.first);
    journals_.merge(batch_.told);
    for (const std::int64_t row : batch_.removed) {
      const auto record = records_.find(row);
      if (record == records_.end()) continue;  // two steps of retention in one batch
      KeptGid kept = KeptOf(record->second);
      if (batch_.keep_gids) kept_[kept.gid] = std::move(kept);
      rows_.erase(record->second.definition->gid);
      records_.erase(record);
      journals_.erase(row);
    }
    for (const std::string& gid : batch_.forgotten) kept_.erase(gid);
  }
void MemoryStore::Rollback() noexcept { batch_.Close(); }
void MemoryStore::Recover() { batch_.Close(); }
std::string MemoryStore::Check(const std::atomic<bool>&) { return {}; }
auto MemoryStore::Load(const std::string& gid) -> std::optional<Transaction> {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto row = rows_.find(gid);
    if (row != rows_.end()) return records_.at(row->second);
    const auto kept = kept_.find(gid);
    return kept == kept_.end() ? std::nullopt : std::optional(RecordOf(kept->second));
  }
auto MemoryStore::ReadJournal(const std::string& gid) -> std::vector<JournalEntry> {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto row = rows_.find(gid);
    if (row == rows_.end()) return {};
    const auto journal = journals_.find(row->second);
    std::vector<JournalEntry> entries;
    if (journal != journals_.end()) codec::DecodeJournal(journal->second.bytes, entries);
    return entries;
  }
auto MemoryStore::CountUnfinished(Time now) -> Backlog {
    const std::lock_guard<std::mutex> lock(mutex_);
    Backlog backlog;
    std::int64_t oldest = INT64_MAX;
    for (const auto& entry : due_) {
      const std::int64_t row = entry.first.second;
      const Transaction& transaction = records_.at(row);
      ++backlog.unfinished;
      if (row < oldest) oldest = row, backlog.oldest = transaction.created;
      const bool stuck = transaction.stuck && transaction.due == kNever;
      if (stuck) ++backlog.stuck;
      if (!stuck && transaction.due > now) ++backlog.waiting;
    }
    return backlog;
  }
auto MemoryStore::Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) -> ScanPage {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (filter.IsSearch()) {
      memory_store::Searched searched(records_, due_);
      return search::Search(searched, filter, position, limit);
    }
    ScanPage page;
    auto end = position > 0 ? records_.lower_bound(position) : records_.end();
    while (end != records_.begin() && page.transactions.size() < limit) {
      const Transaction& transaction = std::prev(end)->second;
      --end;
      if (Matches(filter, transaction)) page.transactions.push_back(transaction);
    }
    if (limit > 0 && page.transactions.size() == limit) page.next = page.transactions.back().id;
    return page;
  }
auto MemoryStore::ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) -> KeyValuePage {
    const std::lock_guard<std::mutex> lock(mutex_);
    KeyValuePage page;
    if (!category.empty() && !key.empty()) {
      const KeyValue* found = values_->Find(category, key);
      if (found != nullptr && found->id > position && limit > 0) page.values.push_back(*found);
    } else {
      for (auto entry = values_->by_row.upper_bound(position);
           entry != values_->by_row.end() && page.values.size() < limit; ++entry) {
        const KeyValue& value = entry->second;
        const bool wanted =
            (category.empty() || category == value.category) && (key.empty() || key == value.key);
        if (wanted) page.values.push_back(value);
      }
    }
    if (limit > 0 && page.values.size() == limit) page.next = page.values.back().id;
    return page;
  }
void MemoryStore::Due(Time now, DuePosition after, const DueVisitor& visit) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto entry = due_.upper_bound({after.due, after.id});
         entry != due_.end() && entry->first.first <= now; ++entry) {
      if (!visit(Transaction(records_.at(entry->first.second)))) return;
    }
  }
auto MemoryStore::NextDue(Time now) -> Time {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto entry = due_.upper_bound({now, INT64_MAX});
    return entry == due_.end() ? kNever : entry->first.first;
  }
auto MemoryStore::Expire(Time before, std::int64_t after, std::size_t limit, bool keep_gids) -> std::int64_t {
    const std::lock_guard<std::mutex> lock(mutex_);
    batch_.keep_gids = keep_gids;
    std::int64_t last = 0;
    std::size_t seen = 0;
    for (auto record = records_.upper_bound(after); record != records_.end() && seen < limit;
         ++record, ++seen) {
      const Transaction& transaction = record->second;
      const Time newest = records_.rbegin()->second.created;
      if (transaction.created >= before && transaction.created <= newest) return 0;
      last = record->first;
      if (IsFinal(transaction.status) && transaction.finished < before)
        batch_.removed.push_back(last);
    }
    return seen == limit ? last : 0;
  }
std::string MemoryStore::ForgetGids(Time before, const std::string& after, std::size_t limit) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string last;
    std::size_t seen = 0;
    for (auto kept = kept_.upper_bound(after); kept != kept_.end() && seen < limit;
         ++kept, ++seen) {
      last = kept->first;
      if (kept->second.finished < before) batch_.forgotten.push_back(last);
    }
    return seen == limit ? last : std::string();
  }
bool MemoryStore::Insert(Transaction& transaction) {
    const std::string& gid = transaction.definition->gid;
    if (Has(gid)) return false;
    transaction.id = ++last_row_;
    batch_.rows[gid] = transaction.id;
    batch_.Keep(transaction, 1, Owner());
    return true;
  }
bool MemoryStore::Update(const Transaction& transaction) {
    const auto in_batch = batch_.records.find(transaction.id);
    const auto stored = records_.find(transaction.id);
    const Transaction* old = in_batch != batch_.records.end() ? &in_batch->second
                             : stored != records_.end()       ? &stored->second
                                                              : nullptr;
    if (old == nullptr || old->version != transaction.version) return false;
    batch_.Keep(transaction, transaction.version + 1, Owner());
    return true;
  }
}}


// ---- dtm/store/sqlite/read_only_store.hpp ------------------------------------------------------

namespace dtm { inline namespace v1 { namespace sqlite_store {
auto FindHowToLook(const std::string& path) -> HowToLook {
  const std::string name = "the store file '" + path + "'";
  const std::optional<os::FileStamp> file = os::StampOf(path);
  if (!file) throw StoreError(name + " is not there, or its folder cannot be read; check the path");
  if (!file->plain) {  // the log of a link's target is not beside the link, and a pipe never answers
    throw StoreError(name + " is a link or no plain file, which is refused; name the file itself");
  }
  const std::optional<os::FileStamp> journal = os::StampOf(path + "-journal");
  if (journal && journal->bytes > 0) {
    throw StoreError(name + " has a journal of a write that was broken off, '" + path +
                     "-journal'; start a coordinator on it, which puts it right");
  }
  const std::optional<os::FileStamp> log = os::StampOf(path + "-wal");
  const bool index = os::StampOf(path + "-shm").has_value();
  if (log && log->bytes > 0 && !index) {
    throw StoreError(name + " has a log, but '" + path +
                     "-shm' beside it is missing, without which nobody can read it and change "
                     "nothing; start a coordinator on it, or look into a copy of both files");
  }
  std::string uri = "file:";
  for (const char c : path) uri += c == '/' ? "/" : PercentEncoded(std::string_view(&c, 1));
  const bool in_use = log && index;
  return {uri + (in_use ? "?mode=ro&readonly_shm=1" : "?mode=ro&immutable=1"), in_use};
}
auto OpenToLook(const std::string& path, const HowToLook& how) -> Look {
  auto db = std::make_unique<sql::Database>(path, SQLITE_OPEN_READONLY, how.uri);
  db->KeepLog();
  sqlite_schema::ConfigureReader(*db);
  const int version = sqlite_schema::StoredVersion(*db);
  if (version == 0) {
    throw StoreError("the store file '" + path +
                     "' has no tables of dtm: it is another database, or empty");
  }
  sqlite_schema::StandInForNewer(*db, version);
  return {version, Reader(std::move(db), version >= sqlite_schema::kWithJournals)};
}
}}}

namespace dtm { inline namespace v1 {
ReadOnlySqliteStore::ReadOnlySqliteStore(const std::string& path) : gate_(os::FullPath(path)) {}
bool ReadOnlySqliteStore::InUse() const { return gate_.how.in_use; }
int ReadOnlySqliteStore::SchemaVersion() const { return gate_.look.version; }
bool ReadOnlySqliteStore::Changed() {
    const std::optional<os::FileStamp> now = os::StampOf(gate_.path);
    if (!now || !now->SameFile(gate_.stamp)) return true;
    if (InUse()) return VersionNow() != gate_.look.version;
    return !now->SameContent(*gate_.stamp) || os::StampOf(gate_.path + "-wal");
  }
auto ReadOnlySqliteStore::Kind() const -> const char* { return "sqlite"; }
std::string ReadOnlySqliteStore::Check(const std::atomic<bool>&) {
    const Gate::Reading reader(gate_);
    return sqlite_schema::Damage(*reader->owned);
  }
auto ReadOnlySqliteStore::Load(const std::string& gid) -> std::optional<Transaction> { return reads_.Load(gid); }
auto ReadOnlySqliteStore::ReadJournal(const std::string& gid) -> std::vector<JournalEntry> {
    return reads_.ReadJournal(gid);
  }
auto ReadOnlySqliteStore::Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) -> ScanPage {
    return reads_.Scan(filter, position, limit);
  }
auto ReadOnlySqliteStore::ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) -> KeyValuePage {
    return reads_.ScanValues(category, key, position, limit);
  }
auto ReadOnlySqliteStore::CountUnfinished(Time now) -> Backlog { return reads_.CountUnfinished(now); }
void ReadOnlySqliteStore::Due(Time, DuePosition, const DueVisitor&) {}
auto ReadOnlySqliteStore::NextDue(Time) -> Time { return kNever; }
void ReadOnlySqliteStore::Begin() { Refuse(); }
auto ReadOnlySqliteStore::Run(const Work&) -> Result { Refuse(); }
bool ReadOnlySqliteStore::Has(const std::string&) { Refuse(); }
auto ReadOnlySqliteStore::GetValue(const std::string&, const std::string&) -> std::optional<KeyValue> { Refuse(); }
void ReadOnlySqliteStore::PutValue(const KeyValue&) { Refuse(); }
bool ReadOnlySqliteStore::RemoveValue(const std::string&, const std::string&) { Refuse(); }
void ReadOnlySqliteStore::Apply(std::vector<Change>&) { Refuse(); }
void ReadOnlySqliteStore::Commit() { Refuse(); }
void ReadOnlySqliteStore::Rollback() noexcept {}
void ReadOnlySqliteStore::Recover() { Refuse(); }
auto ReadOnlySqliteStore::Expire(Time, std::int64_t, std::size_t, bool) -> std::int64_t { Refuse(); }
std::string ReadOnlySqliteStore::ForgetGids(Time, const std::string&, std::size_t) { Refuse(); }
ReadOnlySqliteStore::Gate::Gate(std::string file) : path(std::move(file)),
          stamp(os::StampOf(path)),
          how(sqlite_store::FindHowToLook(path)),
          look(sqlite_store::OpenToLook(path, how)) {}
ReadOnlySqliteStore::Gate::Reading::Reading(Gate& gate) : lock_(gate.mutex), reader_(gate.look.reader) {}
auto ReadOnlySqliteStore::Gate::Reading::operator->() const -> sqlite_store::Reader* { return &reader_; }
auto ReadOnlySqliteStore::Gate::Reading::operator*() const -> sqlite_store::Reader& { return reader_; }
int ReadOnlySqliteStore::VersionNow() {
    const Gate::Reading reader(gate_);
    return sqlite_schema::StoredVersion(*reader->owned);
  }
void ReadOnlySqliteStore::Refuse() const {
    throw StoreError("the store file '" + gate_.path +
                     "' is open for looking only; what changes something is done through the "
                     "coordinator that has it");
  }
}}


// ---- dtm/timeline/drawing/diagram.hpp ----------------------------------------------------------

namespace dtm { inline namespace v1 {
bool IsArrow(DiagramEvent::Kind kind) {
  return kind == DiagramEvent::Kind::kCall || kind == DiagramEvent::Kind::kReply ||
         kind == DiagramEvent::Kind::kLost;
}
std::string InWords(const DiagramEvent& event) {
  return event.more.empty() ? event.text : event.text + ": " + event.more;
}
}}


// ---- dtm/timeline/draw.hpp ---------------------------------------------------------------------

namespace dtm { inline namespace v1 {
std::string Draw(const Diagram& diagram, DrawFormat format,
                        const DrawOptions& options) {
  switch (format) {
    case DrawFormat::kText:
      return drawing::TextDiagram::Draw(diagram, options.width, options.colour);
    case DrawFormat::kSvg: return drawing::SvgDiagram::Draw(diagram);
    case DrawFormat::kMermaid: return drawing::MermaidDiagram::Draw(diagram);
  }
  return {};
}
std::string Draw(const Timeline& story, DrawFormat format, const DrawOptions& options) {
  return Draw(MakeDiagram(story), format, options);
}
}}


// ---- dtm/text/base64.hpp -----------------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace base64 {
std::string Encode(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const bool there = at + i < bytes.size();
      group = group << 8 | (there ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      const bool padding = at + i > bytes.size();
      text += padding ? '=' : kAlphabet[group >> (18 - 6 * i) & 63];
    }
  }
  return text;
}
auto Decode(std::string_view text) -> std::optional<std::string> {
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && !text.empty() && text.back() == '=') {
    text.remove_suffix(1);
    ++padding;
  }
  std::string bytes;
  std::uint32_t group = 0;
  int bits = 0;
  for (const char c : text) {
    const std::size_t digit = kAlphabet.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    group = (group << 6 | static_cast<std::uint32_t>(digit)) & 0xFFFFu;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes += static_cast<char>(group >> bits & 0xFFu);
    }
  }
  return bytes;
}
}}}


// ---- dtm/timeline/export.hpp -------------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace export_parts {
Writer::Writer(const Timeline& story, ExportContent content) : transaction_(story.transaction),
        definition_(*story.transaction.definition),
        story_(story),
        redacted_(content == ExportContent::kRedacted) {}
auto Writer::TransactionJson() -> Json {
    const Transaction& t = transaction_;
    Json json = DefinitionJson();
    json["status"] = Name(t.status);
    AddTime(json, "created", t.created);
    AddTime(json, "updated", t.updated);
    AddTime(json, "finished", t.finished);
    AddTime(json, "due", t.due);
    AddPrivate(json, "reason", t.reason);
    AddNumber(json, "reason_from", t.reason_from);
    AddPrivate(json, "result", t.result);
    AddPrivate(json, "last_error", t.last_error);
    AddNumber(json, "retry_count", t.retry_count);
    AddFlag(json, "stuck", t.stuck);
    AddFlag(json, "unreadable", t.unreadable);
    AddFlag(json, "expired", t.expired);
    Json rows = Json::array();
    for (std::size_t row = 0; row < t.branches.size(); ++row) rows.push_back(RowJson(row));
    json["rows"] = std::move(rows);
    return json;
  }
auto Writer::JournalJson() -> Json {
    Json journal = Json::array();
    for (const JournalEntry& entry : story_.entries) journal.push_back(EntryJson(entry));
    return journal;
  }
void Writer::AddNumber(Json& json, const char* key, std::int64_t value) {
    if (value != 0) json[key] = value;
  }
void Writer::AddFlag(Json& json, const char* key, bool value) {
    if (value) json[key] = true;
  }
void Writer::AddTime(Json& json, const char* key, Time time) {
    if (time != Time{} && time != kNever) json[key] = TimeText(time);
  }
auto Writer::Bytes(const std::string& bytes) -> Json {
    if (IsUtf8(bytes)) return bytes;
    return {{"base64", base64::Encode(bytes)}};
  }
void Writer::AddText(Json& json, const char* key, const std::string& text) {
    if (!text.empty()) json[key] = Bytes(text);
  }
auto Writer::Private(const std::string& bytes) const -> Json {
    if (!redacted_ || bytes.empty()) return Bytes(bytes);
    return {{"bytes", bytes.size()}};
  }
void Writer::AddPrivate(Json& json, const char* key, const std::string& bytes) const {
    if (!bytes.empty()) json[key] = Private(bytes);
  }
void Writer::AddUrl(Json& json, const char* key, const std::string& url) const {
    std::string shown = ShownUrl(url);
    const std::size_t query = shown.find('?');
    if (redacted_ && !IsLocal(url) && query != std::string::npos) {
      shown.replace(query + 1, std::string::npos, kHidden);
    }
    AddText(json, key, shown);
  }
auto Writer::OptionsJson() const -> Json {
    const TransOptions& options = definition_.options;
    Json json = Json::object();
    AddFlag(json, "wait_result", options.wait_result);
    AddNumber(json, "timeout_to_fail", options.timeout_to_fail.count());
    AddNumber(json, "request_timeout", options.request_timeout.count());
    AddNumber(json, "retry_interval", options.retry_interval.count());
    AddNumber(json, "retry_limit", options.retry_limit);
    if (options.branch_headers.empty()) return json;
    Json headers = Json::object();
    for (const auto& header : options.branch_headers) {
      const std::string number = "header " + std::to_string(headers.size() + 1);
      headers[redacted_ || !IsUtf8(header.first) ? number : header.first] = kHidden;
    }
    json["branch_headers"] = std::move(headers);
    return json;
  }
auto Writer::StepJson(const Step& step) const -> Json {
    Json json = Json::object();
    AddUrl(json, "action", step.action);
    AddUrl(json, "compensate", step.compensate);
    // The decision of a workflow is one of two words, and says how it goes on.
    const bool decision = definition_.type == TransType::kWorkflow && step.branch_id == kDecision;
    decision ? AddText(json, "payload", step.payload) : AddPrivate(json, "payload", step.payload);
    AddText(json, "branch_id", step.branch_id);
    AddText(json, "topic", step.topic);
    if (step.op != Op{}) json["op"] = Name(step.op);
    AddFlag(json, "failed", step.failed);
    return json;
  }
auto Writer::DefinitionJson() const -> Json {
    const Definition& d = definition_;
    Json json = {{"gid", Bytes(d.gid)}, {"type", Name(d.type)}};
    AddFlag(json, "prepared_first", d.prepared_first);
    AddFlag(json, "concurrent", d.concurrent);
    AddFlag(json, "json_rpc", d.json_rpc);
    AddNumber(json, "delay", d.delay.count());
    AddUrl(json, "query_prepared", d.query_prepared);
    AddText(json, "workflow", d.workflow);
    AddPrivate(json, "data", d.data);
    if (!redacted_) AddText(json, "custom_data", d.custom_data);
    json["options"] = OptionsJson();
    if (!d.orders.empty()) {
      Json orders = Json::object();
      for (const auto& order : d.orders) orders[std::to_string(order.first)] = order.second;
      json["orders"] = std::move(orders);
    }
    Json steps = Json::array();
    for (const Step& step : d.steps) steps.push_back(StepJson(step));
    json["steps"] = std::move(steps);
    return json;
  }
void Writer::AddBranch(Json& json, std::size_t row) const {
    if (row >= RowCount(definition_)) return;
    json["branch_id"] = BranchIdOf(definition_, row);
    json["op"] = Name(OpOf(definition_, row));
  }
auto Writer::RowJson(std::size_t row) const -> Json {
    const Branch& branch = transaction_.branches[row];
    Json json = Json::object();
    AddBranch(json, row);
    json["status"] = Name(branch.status);
    AddNumber(json, "tries", branch.tries);
    AddNumber(json, "errors", branch.errors);
    AddFlag(json, "asked_when", branch.asked_when);
    AddTime(json, "next_try", branch.next_try);
    AddTime(json, "deadline", branch.deadline);
    AddTime(json, "finished", branch.finished);
    return json;
  }
auto Writer::EntryJson(const JournalEntry& entry) -> Json {
    Json json = {{"time", TimeText(entry.time)}, {"kind", Name(entry.kind)}};
    if (entry.kind == JournalKind::kGap) {
      json["count"] = entry.row;
      return json;
    }
    if (entry.row != kNoRow) json["row"] = entry.row;
    AddBranch(json, entry.row);
    AddPrivate(json, "text", entry.text);
    AddText(json, "who", redacted_ ? Pseudonym(entry) : entry.who);
    return json;
  }
std::string Writer::Pseudonym(const JournalEntry& entry) {
    if (entry.who.empty()) return {};
    const bool process = entry.kind == JournalKind::kPrepared ||
                         entry.kind == JournalKind::kSubmitted ||
                         entry.kind == JournalKind::kTakenUp;
    std::map<std::string, std::size_t>& known = process ? processes_ : people_;
    const std::size_t number = known.emplace(entry.who, known.size() + 1).first->second;
    return (process ? "process " : "person ") + std::to_string(number);
  }
}}}

namespace dtm { inline namespace v1 {
std::string Export(const Timeline& story, ExportContent content,
                          const ExportSettings& settings) {
  using export_parts::Json;
  export_parts::Writer writer(story, content);
  Json json = {{"format", kExportFormat},
               {"version", kExportVersion},
               {"library", kVersion},
               {"redacted", content == ExportContent::kRedacted}};
  if (settings.retry_interval.count() > 0) {
    json["settings"] = {{"retry_interval_us", settings.retry_interval.count()},
                        {"request_timeout_us", settings.request_timeout.count()},
                        {"timeout_to_fail_s", settings.timeout_to_fail.count()}};
  }
  json["transaction"] = writer.TransactionJson();
  json["journal"] = writer.JournalJson();
  // All texts are UTF-8 by now.
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}
}}

namespace dtm { inline namespace v1 { namespace compiled {
void dtm_cpp_of_version_0_1_0_69fd3f479668(Here) {}
}}}
