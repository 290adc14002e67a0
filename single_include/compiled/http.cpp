/// Generated from include/dtm/http.hpp by tools/amalgamate.py; do not edit. Compile it once, with the options of the program.
/// MIT License, copyright (c) dtm for C++ authors.
#include "dtm/http.hpp"

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

#include <algorithm>
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

// ---- dtm/http/wire/retry_after.hpp -------------------------------------------------------------

/// The header Retry-After: how long the sender of a reply asks to wait.
/// Needs: std. Threads: pure functions. Source: RFC 9110 §10.2.3 (seconds or a date), §5.6.7 (the three forms of a date).

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace dtm {
inline namespace v1 {
namespace wire {
namespace retry_after {

/// Whether a reply with this status may say when to come again.
inline bool Counts(int status) { return status == 425 || status == 429 || status == 503; }

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar (Howard Hinnant, days_from_civil).
inline std::int64_t DaysTo(std::int64_t year, unsigned month, unsigned day) {
  year -= month <= 2 ? 1 : 0;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto of_era = static_cast<std::int64_t>(year - era * 400);
  const std::int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/// An HTTP date: "Sun, 06 Nov 1994 08:49:37 GMT", or one of the two obsolete forms.
inline std::optional<Time> Date(const std::string& text) {
  static constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  char month[4] = "";
  unsigned day = 0, year = 0, hour = 0, minute = 0, second = 0;
  int end = -1;
  const auto whole = [&] { return end == static_cast<int>(text.size()); };
  const char* c = text.c_str();
  if (std::strlen(c) != text.size()) return std::nullopt;
  // NOLINTBEGIN(cert-err34-c): widths bound the numbers, and `end` says whether all was read.
  std::sscanf(c, "%*3[A-Za-z], %2u %3[A-Za-z] %4u %2u:%2u:%2u GMT%n", &day, month, &year, &hour,
              &minute, &second, &end);
  if (!whole()) {
    std::sscanf(c, "%*[A-Za-z], %2u-%3[A-Za-z]-%2u %2u:%2u:%2u GMT%n", &day, month, &year, &hour,
                &minute, &second, &end);
    year += year < 70 ? 2000 : 1900;
  }
  if (!whole()) {
    std::sscanf(c, "%*3[A-Za-z] %3[A-Za-z] %2u %2u:%2u:%2u %4u%n", month, &day, &hour, &minute,
                &second, &year, &end);
  }
  // NOLINTEND(cert-err34-c)
  const auto named = std::find_if(kMonths.begin(), kMonths.end(), [&month](const char* name) {
    return std::strcmp(name, month) == 0;
  });
  // A year may be read as "-999".
  const bool possible = whole() && named != kMonths.end() && day >= 1 && day <= 31 && hour < 24 &&
                        minute < 60 && second <= 60 && year >= 1970 && year <= 9999;
  if (!possible) return std::nullopt;
  const std::int64_t days = DaysTo(year, static_cast<unsigned>(named - kMonths.begin()) + 1, day);
  return Time(std::chrono::seconds(((days * 24 + hour) * 60 + minute) * 60 + second));
}

/// Seconds, or the time from `date` (the header Date of the same reply, else `now`) to the date that it names. 0 if it
/// is neither, or past; at most kMaxRetryAfter.
inline Duration Wait(std::string_view header, const std::string& date, Time now) {
  const std::string text(Trimmed(header));
  if (text.empty()) return Duration(0);
  if (text.find_first_not_of("0123456789") == std::string::npos) {
    const bool huge = text.size() > 9;
    return huge ? Duration(kMaxRetryAfter)
                : (std::min)(
                      Duration(kMaxRetryAfter),
                      Duration(std::chrono::seconds(std::strtoul(text.c_str(), nullptr, 10))));
  }
  const std::optional<Time> until = Date(text);
  if (!until) return Duration(0);
  // The sender's clock may differ.
  const Time from = Date(std::string(Trimmed(date))).value_or(now);
  return (std::min)((std::max)(*until - from, Duration(0)), Duration(kMaxRetryAfter));
}

}  // namespace retry_after
}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/base64.hpp ------------------------------------------------------------------

/// Base64 on the wire: payloads and credentials.
/// Needs: std. Threads: pure functions. Protocol: §2.5 (bin_data).

namespace dtm {
inline namespace v1 {
namespace wire {

namespace base64 = v1::base64;

/// The user and password of a URL, as the value of Authorization.
inline std::string BasicAuthorization(const Url& url) {
  return "Basic " + base64::Encode(url.credentials);
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/names.hpp -------------------------------------------------------------------

/// All names that are used on the wire.
/// Needs: std. Threads: constants and pure functions. Protocol: §2 (HTTP API), §3 (calling
/// branches).

namespace dtm {
inline namespace v1 {
namespace wire {

inline constexpr const char kBranchId[] = "branch_id";
inline constexpr const char kGid[] = "gid";
inline constexpr const char kOp[] = "op";
inline constexpr const char kTransType[] = "trans_type";
inline constexpr const char kJson[] = "application/json";

// Of a transaction, as clients send it and as query shows it.
inline constexpr const char kSteps[] = "steps";
inline constexpr const char kAction[] = "action";
inline constexpr const char kCompensate[] = "compensate";
inline constexpr const char kData[] = "data";
inline constexpr const char kPayloads[] = "payloads";
inline constexpr const char kCustomData[] = "custom_data";
inline constexpr const char kConcurrent[] = "concurrent";
inline constexpr const char kOrders[] = "orders";
inline constexpr const char kWaitResult[] = "wait_result";
inline constexpr const char kTimeoutToFail[] = "timeout_to_fail";
inline constexpr const char kRequestTimeout[] = "request_timeout";
inline constexpr const char kRetryInterval[] = "retry_interval";
inline constexpr const char kRetryLimit[] = "retry_limit";
inline constexpr const char kRetryCount[] = "retry_count";
inline constexpr const char kBranchHeaders[] = "branch_headers";
inline constexpr const char kProtocol[] = "protocol";
inline constexpr const char kQueryPrepared[] = "query_prepared";
inline constexpr const char kDelay[] = "delay";
inline constexpr const char kName[] = "name";
inline constexpr const char kResult[] = "result";
inline constexpr const char kReqExtra[] = "req_extra";
inline constexpr const char kRollbackReason[] = "rollback_reason";
inline constexpr const char kWho[] = "who";
inline constexpr const char kWhy[] = "why";
inline constexpr const char kStatus[] = "status";
inline constexpr const char kId[] = "id";
inline constexpr const char kCreateTime[] = "create_time";
inline constexpr const char kUpdateTime[] = "update_time";
inline constexpr const char kFinishTime[] = "finish_time";
inline constexpr const char kRollbackTime[] = "rollback_time";
inline constexpr const char kOptions[] = "options";
inline constexpr const char kNotShown[] = "***";  ///< instead of the value of a header
inline constexpr const char kNextCronInterval[] = "next_cron_interval";
inline constexpr const char kNextCronTime[] = "next_cron_time";
inline constexpr const char kRollbackFrom[] = "rollback_from";
inline constexpr const char kLastError[] = "last_error";
inline constexpr const char kStuck[] = "stuck";
inline constexpr const char kUrl[] = "url";
inline constexpr const char kBinData[] = "bin_data";

// Of replies.
inline constexpr const char kDtmResult[] = "dtm_result";
inline constexpr const char kSuccess[] = "SUCCESS";
inline constexpr const char kFailure[] = "FAILURE";
inline constexpr const char kOngoing[] = "ONGOING";
inline constexpr const char kMessage[] = "message";
inline constexpr const char kExpired[] = "expired";
inline constexpr const char kRejected[] = "rejected";
inline constexpr const char kError[] = "error";
inline constexpr const char kTransaction[] = "transaction";
inline constexpr const char kTransactions[] = "transactions";
inline constexpr const char kBranches[] = "branches";
inline constexpr const char kNextPosition[] = "next_position";
inline constexpr const char kProgresses[] = "progresses";
inline constexpr const char kHttp[] = "http";
inline constexpr const char kJsonRpc[] = "json-rpc";

// Of a branch that is registered.
inline constexpr const char kConfirm[] = "confirm";
inline constexpr const char kCancel[] = "cancel";
inline constexpr const char kSync[] = "sync";

// Of an alert.
inline constexpr const char kBranch[] = "branch";

// Of topics and values.
inline constexpr const char kTopic[] = "topic";
inline constexpr const char kRemark[] = "remark";
inline constexpr const char kCategory[] = "cat";
inline constexpr const char kKey[] = "key";
inline constexpr const char kPosition[] = "position";
inline constexpr const char kLimit[] = "limit";
inline constexpr const char kValues[] = "kv";

// In the query of calls that initiators make themselves.

inline std::string UserAgent() { return std::string("dtm-cpp/") + kVersion; }

/// @throws BadInput
inline TransType TypeNamed(const std::string& name) {
  for (const TransType type :
       {TransType::kSaga, TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    if (name == Name(type)) return type;
  }
  throw BadInput("trans_type '" + Printable(name) +
                 "' is none of saga, msg, tcc, xa and workflow; say what the transaction is");
}

/// As a coordinator reports it; a status that is not known here counts as unfinished.
inline Status StatusNamed(const std::string& name) {
  for (const Status status :
       {Status::kPrepared, Status::kAborting, Status::kSucceed, Status::kFailed}) {
    if (name == Name(status)) return status;
  }
  return Status::kSubmitted;
}

/// @throws BadInput
inline Op OpNamed(const std::string& name) {
  for (const Op op : {Op::kAction, Op::kCompensate, Op::kTry, Op::kConfirm, Op::kCancel,
                      Op::kCommit, Op::kRollback, Op::kMsg, Op::kBusiness}) {
    if (name == Name(op)) return op;
  }
  throw BadInput("op '" + Printable(name) +
                 "' is none of action, compensate, try, confirm, cancel, commit, rollback, msg and "
                 "business");
}

/// The request target of a branch call: gid, branch_id, op and trans_type are added to the query that is there.
inline std::string BranchTarget(const std::string& target, const BranchInfo& info) {
  std::string result = WithQueryOpen(target);
  const auto add = [&result](const char* name, const std::string& value, const char* end) {
    result.append(name).append("=").append(PercentEncoded(value)).append(end);
  };
  add(kBranchId, info.branch_id, "&");
  add(kGid, info.gid, "&");
  add(kOp, info.op == Op::kResume ? info.workflow : Name(info.op), "&");
  add(kTransType, Name(info.trans_type), "");
  return result;
}

/// Commit and rollback of an xa are empty POSTs; any other call without a payload is a GET.
inline const char* BranchMethod(TransType type, const std::string& payload) {
  return type == TransType::kXa || !payload.empty() ? "POST" : "GET";
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/json_text.hpp ---------------------------------------------------------------

/// JSON as text, as the Go server writes it.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.

#include <nlohmann/json.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

/// `<`, `>` and `&` are escaped, so the text can be shown in a web page.
inline std::string JsonText(const nlohmann::ordered_json& json) {
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '<': safe += "\\u003c"; break;
      case '>': safe += "\\u003e"; break;
      case '&': safe += "\\u0026"; break;
      default: safe += c;
    }
  }
  return safe;
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/retry_all.hpp -------------------------------------------------------------

/// Tries many transactions at once.
/// Needs: std. Threads: any.

namespace dtm {
inline namespace v1 {

/// As Coordinator::RetryNow for each; returns how many of them had not ended. They are asked for at once, since what another
/// coordinator drives is answered with that one's next beat.
/// @throws as RetryNow, when all have been answered.
inline std::int64_t RetryAllNow(Coordinator& tm, const std::vector<std::string>& gids) {
  struct Tries {
    std::mutex mutex;
    std::size_t left = 0;
    std::int64_t done = 0;
    Answer problem{};
  };
  if (gids.empty()) return 0;
  const auto tries = std::make_shared<Tries>();
  tries->left = gids.size();
  tm.Await([&](const AnswerCallback& answer) {
    const AnswerCallback one = [tries, answer](const Answer& given) {
      const std::unique_lock<std::mutex> lock(tries->mutex);
      try {
        (void)given.Get();
        ++tries->done;
      } catch (const RejectedError&) {  // it has ended meanwhile
      } catch (...) {                   // the others are tried all the same
        tries->problem = given;
      }
      if (--tries->left == 0) answer(tries->problem);
    };
    for (const std::string& gid : gids) {
      try {
        tm.RetryNowAsync(gid, one);
      } catch (...) {
        one({{}, std::current_exception()});
      }
    }
  });
  return tries->done;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/function_call.hpp ------------------------------------------------------------

/// A registered function of this program as a branch of a coordinator elsewhere, which calls it over HTTP.
/// Needs: nlohmann/json. Threads: thread-safe; the function runs in this thread. Protocol: §1 (rule A), §3.

namespace dtm {
inline namespace v1 {
namespace api_function {

inline constexpr const char kPath[] = "/api/dtmsvr/branch/";  ///< and the name of the function

/// @throws BadInput, RejectedError  the call is incomplete, or there is no such function.
inline Result Call(Coordinator& tm, const ApiRequest& request) {
  const std::string name = request.path.substr(sizeof kPath - 1);
  BranchInfo info;
  info.gid = request.Query(wire::kGid);
  info.branch_id = request.Query(wire::kBranchId);
  if (info.gid.empty() || info.branch_id.empty()) {
    throw BadInput("a branch call names gid, trans_type, branch_id and op in its query");
  }
  info.trans_type = wire::TypeNamed(request.Query(wire::kTransType));
  const std::string op = request.Query(wire::kOp);
  if (info.trans_type == TransType::kWorkflow && info.branch_id == "00" && !op.empty()) {
    info.op = Op::kResume;  // a coordinator says the name of the workflow where the op is
    info.workflow = op;
  } else {
    info.op = wire::OpNamed(op);
  }
  if (api_head::CountHeaders(request, kTraceParent) == 1) {
    const auto trace = ReadTraceContext(http1::FindHeader(request.headers, kTraceParent),
                                        api_head::JoinedHeader(request, kTraceState));
    if (trace) Put(*trace, info);
  }
  return tm.CallFunction(name, request.body, info);
}

/// The caller gets exactly the meaning of the status, whatever names and texts the body contains.
inline ApiReply Reply(Coordinator& tm, const ApiRequest& request) {
  ApiReply reply;
  try {
    reply = replies::OfBranch(Call(tm, request));
  } catch (...) {
    reply = replies::Of(InHttp(OutcomeOf(std::current_exception())));
    replies::HideWords(reply);
  }
  return reply;
}

}  // namespace api_function
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/reply_rule.hpp --------------------------------------------------------------

/// Rule A: the result that the HTTP reply of a branch stands for.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §1, Rule A.

namespace dtm {
inline namespace v1 {
namespace wire {

/// Text from outside, made safe to store and show: at most kMaxReasonBytes of valid UTF-8, cut between
/// characters; other bytes and control characters (except tab and line feed) become '?'.
inline std::string StorableText(const std::string& bytes) {
  return Replaced(bytes, kMaxReasonBytes, [&bytes](std::size_t at, std::size_t length) {
    const unsigned char first = static_cast<unsigned char>(bytes[at]);
    const bool control = (first < 0x20 && first != '\t' && first != '\n') || first == 0x7F;
    return length == 0 || control ? '?' : '\0';
  });
}

/// The reason that a branch gives with a FAILURE: the `message` or `error` of a JSON object, otherwise the whole body.
inline std::string OwnWords(const std::string& body) {
  const nlohmann::json json =
      !body.empty() && body.front() == '{' ? json_input::Parse(body) : nlohmann::json();
  for (const char* key : {"message", "error"}) {
    const auto told = json.is_object() ? json.find(key) : json.end();
    if (told == json.end()) continue;
    if (told->is_object())
      return OwnWords(told->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    if (told->is_string() && !told->get_ref<const std::string&>().empty()) {
      return StorableText(told->get_ref<const std::string&>());
    }
  }
  return StorableText(body);
}

/// The words in the body count whatever the status is, and ONGOING counts before FAILURE; 201, 204
/// and redirects are temporary errors. The text of the result is the body (for a failure, its reason),
/// or the status if that is empty.
inline Result ReadReply(int status, const std::string& body) {
  const std::string code = "HTTP status " + std::to_string(status);
  const auto text = [&] { return StorableText(body.empty() ? code : body); };
  if (status == 425 || body.find("ONGOING") != std::string::npos) return Result::Ongoing(text());
  if (status == 409 || body.find("FAILURE") != std::string::npos) {
    return Result::Failure(body.empty() ? code : OwnWords(body));
  }
  if (status == 200) return Result::Success();
  return Result::Error(StorableText(body.empty() ? code : code + ": " + body));
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/json_rpc.hpp ----------------------------------------------------------------

/// JSON-RPC 2.0 as dtm uses it for branches: the body of a call, and the result that a reply stands for.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §1 (results), §3 (JSON-RPC call), §12 W8, W32.

namespace dtm {
inline namespace v1 {
namespace wire {
namespace json_rpc {

inline constexpr int kFailureCode = -32901;
inline constexpr int kOngoingCode = -32902;

/// The value of `method` in the url's query; empty if there is none.
inline std::string MethodOf(const Url& url) {
  if (!url.Http()) return {};
  const std::string query = url.target.substr((std::min)(url.target.find('?'), url.target.size()));
  for (const char* key : {"?method=", "&method="}) {
    const std::size_t at = query.find(key);
    if (at == std::string::npos) continue;
    const std::size_t begin = at + std::string(key).size();
    return PercentDecoded(query.substr(begin, query.find('&', begin) - begin));
  }
  return {};
}

inline bool Speaks(const Definition& definition, const Url& url) {
  return definition.json_rpc && !MethodOf(url).empty();
}

/// The payload as the params of a call.
/// @throws BadInput  it is not a JSON object, so gid, branch_id and op cannot be added.
inline nlohmann::json Params(const std::string& payload) {
  return json_input::ParseObject(payload.empty() ? "{}" : payload,
                                 "the payload of a JSON-RPC branch");
}

/// @throws BadInput  as Params.
inline std::string BranchBody(const Url& url, const std::string& payload, const BranchInfo& info) {
  nlohmann::json params = Params(payload);
  params[wire::kGid] = info.gid;
  params[wire::kTransType] = Name(info.trans_type);
  params[wire::kBranchId] = info.branch_id;
  params[wire::kOp] = Name(info.op);
  return nlohmann::json{{"jsonrpc", "2.0"},
                        {"id", info.gid + "-" + info.branch_id + "-" + Name(info.op)},
                        {"method", MethodOf(url)},
                        {"params", std::move(params)}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// The words of Rule A in the body count first, as everywhere; then the code of the error.
inline Result ReadReply(int status, const std::string& body) {
  Result plain = wire::ReadReply(status, body);
  if (plain.kind != Result::Kind::kSuccess) return plain;
  const nlohmann::json reply = json_input::Parse(body);
  if (!reply.is_object())
    return Result::Error("its answer is no JSON object, or nested too deeply: " +
                         StorableText(body));
  const auto error = reply.find("error");
  if (error == reply.end() || error->is_null()) return plain;
  const nlohmann::json code = error->is_object() ? error->value("code", nlohmann::json()) : nullptr;
  const std::string text = StorableText(body);
  if (code == kFailureCode) return Result::Failure(OwnWords(body));
  if (code == kOngoingCode) return Result::Ongoing(text);
  return Result::Error(text);
}

}  // namespace json_rpc
}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/write_transaction.hpp -------------------------------------------------------

/// A transaction as dtm's clients send it: from the record to JSON. read_transaction.hpp does the opposite.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.1, §4.1 (custom_data), §11.1.

namespace dtm {
inline namespace v1 {
namespace wire {

/// As the client sent it; otherwise as dtm's clients would.
inline std::string CustomData(const Definition& saga) {
  if (!saga.custom_data.empty()) return saga.custom_data;
  if (saga.type == TransType::kMsg && saga.delay.count() > 0) {
    return nlohmann::json{{kDelay, saga.delay.count()}}.dump();
  }
  if (saga.type == TransType::kWorkflow) {
    return nlohmann::json{{kName, saga.workflow}, {kData, base64::Encode(saga.data)}}.dump();
  }
  // dtm's clients write it only for concurrent sagas. Orders of a sequential saga have no effect, but are part of its content.
  if (saga.type != TransType::kSaga || (!saga.concurrent && saga.orders.empty())) return {};
  nlohmann::ordered_json json = {{kConcurrent, saga.concurrent}};
  nlohmann::ordered_json orders = nlohmann::ordered_json::object();
  for (const auto& order : saga.orders) orders[std::to_string(order.first)] = order.second;
  json[kOrders] = std::move(orders);
  return json.dump();
}

/// Adds the options that are set.
inline void AddOptions(const Definition& definition, nlohmann::ordered_json& json) {
  const TransOptions& options = definition.options;
  const auto add = [&json](const char* key, std::int64_t value) {
    if (value != 0) json[key] = value;
  };
  if (options.wait_result) json[kWaitResult] = true;
  add(kTimeoutToFail, options.timeout_to_fail.count());
  add(kRequestTimeout, options.request_timeout.count());
  add(kRetryInterval, options.retry_interval.count());
  if (!options.branch_headers.empty()) json[kBranchHeaders] = options.branch_headers;
  json[kConcurrent] = definition.concurrent;
  add(kRetryLimit, options.retry_limit);
}

inline nlohmann::ordered_json StepsJson(const Definition& definition) {
  auto steps = nlohmann::ordered_json::array();
  if (definition.type == TransType::kMsg) {
    for (const auto& step : SubmittedSteps(definition)) steps.push_back({{kAction, step.first}});
    return steps;
  }
  for (const Step& step : definition.steps) {
    steps.push_back({{kAction, step.action}, {kCompensate, step.compensate}});
  }
  return steps;
}

inline nlohmann::ordered_json PayloadsJson(const Definition& definition) {
  auto payloads = nlohmann::ordered_json::array();
  if (definition.type == TransType::kMsg) {
    for (const auto& step : SubmittedSteps(definition)) payloads.push_back(step.second);
    return payloads;
  }
  for (const Step& step : definition.steps) payloads.push_back(step.payload);
  return payloads;
}

/// The body of a submit and its like, byte for byte as dtm's clients send it (§11.1); `more` comes last.
inline std::string EncodeTransaction(const Definition& definition,
                                     const nlohmann::ordered_json& more = {}) {
  nlohmann::ordered_json json = {{kGid, definition.gid}, {kTransType, Name(definition.type)}};
  const std::string custom_data = CustomData(definition);
  if (!custom_data.empty()) json[kCustomData] = custom_data;
  AddOptions(definition, json);
  if (!definition.steps.empty() && !RegistersSteps(definition.type)) {
    json[kSteps] = StepsJson(definition);
    json[kPayloads] = PayloadsJson(definition);
  }
  if (!definition.query_prepared.empty()) json[kQueryPrepared] = definition.query_prepared;
  json[kProtocol] = definition.type == TransType::kWorkflow ? kHttp
                    : definition.json_rpc                   ? kJsonRpc
                                                            : "";
  for (const auto& item : more.items()) json[item.key()] = item.value();
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/read_transaction.hpp --------------------------------------------------------

/// A transaction as clients send it: from JSON to the record. write_transaction.hpp does the opposite.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.1, §4.1 (custom_data), §11.1.

namespace dtm {
inline namespace v1 {
namespace wire {

/// @throws BadInput
inline std::string GidOf(const json_input::Fields& fields) {
  std::string gid = CleanGid(fields.Text(kGid));
  const std::string problem = GidProblem(gid);
  if (!problem.empty()) throw BadInput(problem);
  return gid;
}

/// Functions of the coordinator's program cannot be named from outside.
/// @throws BadInput
inline void CheckNotLocal(const std::string& url) {
  if (!IsLocal(url)) return;
  throw BadInput("'" + Printable(Truncated(url, 200)) +
                 "' names a function of the coordinator's program; from outside a branch is a URL");
}

/// Refuses a payload that no JSON-RPC call could carry.
inline void CheckParams(const Step& step) {
  for (const std::string* url : {&step.action, &step.compensate}) {
    if (url->empty() || IsTopic(*url) || !UrlProblem(*url).empty()) continue;
    if (json_rpc::MethodOf(ParseUrl(*url)).empty()) continue;
    (void)json_rpc::Params(step.payload);
  }
}

namespace decode {

inline void Options(const json_input::Fields& fields, TransOptions& options) {
  const auto seconds = [&fields](const char* key) {
    return std::chrono::seconds(fields.Integer(key, 0, kMaxOptionSeconds.count()));
  };
  options.wait_result = fields.Bool(kWaitResult);
  options.timeout_to_fail = seconds(kTimeoutToFail);
  options.request_timeout = seconds(kRequestTimeout);
  options.retry_interval = seconds(kRetryInterval);
  options.retry_limit = static_cast<int>(fields.Integer(kRetryLimit, 0, kMaxRetryLimit));
  options.branch_headers = fields.Texts(kBranchHeaders);
}

/// The payloads are those of `payloads`, then the non-empty old-style `data` of the steps.
/// @throws BadInput  they are not what the protocol says.
inline std::vector<Step> Steps(const json_input::Fields& fields) {
  std::vector<Step> steps;
  std::vector<std::string> payloads, data;
  fields.Each(kPayloads, "an array of strings", [&payloads](const nlohmann::json& payload) {
    if (!payload.is_string() && !payload.is_null()) return false;
    payloads.push_back(payload.is_null() ? "" : payload.get<std::string>());
    return true;
  });
  fields.Each(kSteps, "an array of objects of strings", [&](const nlohmann::json& element) {
    if (!element.is_object() && !element.is_null()) return false;
    for (const auto& item : element.items()) {
      if (!item.value().is_string() && !item.value().is_null()) return false;
    }
    if (steps.size() >= kMaxSteps) {
      throw BadInput("more than " + std::to_string(kMaxSteps) + " steps; split the transaction");
    }
    const json_input::Fields step(element, "a step");
    steps.push_back({step.Text(kAction), step.Text(kCompensate), {}});
    if (std::string old = step.Text(kData); !old.empty()) data.push_back(std::move(old));
    return true;
  });
  payloads.insert(payloads.end(), data.begin(), data.end());
  if (payloads.size() < steps.size()) {
    throw BadInput("there are " + std::to_string(steps.size()) + " steps but only " +
                   std::to_string(payloads.size()) + " payloads; give one for each step");
  }
  for (std::size_t i = 0; i < steps.size(); ++i) steps[i].payload = std::move(payloads[i]);
  return steps;
}

/// `{"concurrent":true,"orders":{"2":[0,1]}}`, as text.
inline void SagaCustomData(const std::string& text, Definition& saga) {
  if (text.empty()) return;
  const nlohmann::json json = json_input::ParseObject(text, "custom_data");
  const json_input::Fields fields(json, "custom_data");
  saga.concurrent = fields.Bool(kConcurrent);
  const nlohmann::json* orders = fields.Find(kOrders);
  if (orders == nullptr) return;
  const char* wanted = "an object such as {\"2\":[0,1]}: step 2 comes after steps 0 and 1";
  if (!orders->is_object()) fields.Wrong(kOrders, wanted);
  for (const auto& order : orders->items()) {
    if (order.value().is_null()) continue;
    const std::optional<unsigned> number = ParseNumber<unsigned>(order.key());
    const bool fits = number && order.key().size() <= 4;
    if (!fits || !order.value().is_array()) fields.Wrong(kOrders, wanted);
    std::vector<int>& before = saga.orders[static_cast<int>(*number)];
    for (const nlohmann::json& step : order.value()) {
      const bool known = step.is_number_integer() && step >= 0 && step <= kMaxSteps;
      if (!known) fields.Wrong(kOrders, wanted);
      before.push_back(step.get<int>());
    }
  }
}

/// `{"delay":10}`, as text.
inline void MsgCustomData(const std::string& text, Definition& msg) {
  if (text.empty()) return;
  const nlohmann::json json = json_input::ParseObject(text, "custom_data");
  msg.delay = std::chrono::seconds(
      json_input::Fields(json, "custom_data").Integer(kDelay, 0, kMaxDelay.count()));
}

/// `{"name":"wf","data":"<base64>"}`, as text.
inline void WorkflowCustomData(const std::string& text, Definition& workflow) {
  const nlohmann::json json = json_input::ParseObject(text, "custom_data");
  const json_input::Fields fields(json, "custom_data");
  workflow.workflow = fields.Text(kName);
  const std::optional<std::string> data = base64::Decode(fields.Text(kData));
  if (!data) fields.Wrong(kData, "base64 text");
  workflow.data = *data;
}

}  // namespace decode

/// @throws BadInput  it is malformed, or names a function of the coordinator's program.
inline Definition DecodeTransaction(const json_input::Fields& fields) {
  Definition definition;
  definition.gid = GidOf(fields);
  definition.type = TypeNamed(fields.Text(kTransType));
  const std::string protocol = fields.Text(kProtocol);
  if (!protocol.empty() && protocol != kHttp && protocol != kJsonRpc) {
    throw BadInput("gid '" + definition.gid + "': protocol '" + Printable(protocol) +
                   "' is not spoken here; leave it empty, or say http or json-rpc");
  }
  definition.json_rpc = protocol == kJsonRpc;
  decode::Options(fields, definition.options);
  const bool concurrent = fields.Bool(kConcurrent);
  definition.query_prepared = fields.Text(kQueryPrepared);
  const std::string custom_data = fields.Text(kCustomData);
  (void)fields.Text(kRollbackReason);
  (void)fields.Texts(kReqExtra);
  std::vector<Step> steps = decode::Steps(fields);
  switch (definition.type) {
    case TransType::kSaga:  // only the `concurrent` of custom_data counts
      definition.steps = std::move(steps);
      decode::SagaCustomData(custom_data, definition);
      break;
    case TransType::kMsg:
      definition.steps = std::move(steps);
      for (Step& step : definition.steps) step.compensate.clear();
      definition.concurrent = concurrent;
      decode::MsgCustomData(custom_data, definition);
      break;
    case TransType::kWorkflow:
      if (!custom_data.empty()) decode::WorkflowCustomData(custom_data, definition);
      break;
    case TransType::kTcc:
    case TransType::kXa: break;
  }
  if (custom_data != CustomData(definition)) definition.custom_data = custom_data;
  CheckNotLocal(definition.query_prepared);
  for (const Step& step : definition.steps) {
    CheckNotLocal(step.action);
    CheckNotLocal(step.compensate);
  }
  if (definition.json_rpc) {
    for (const Step& step : definition.steps) CheckParams(step);
  }
  return definition;
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/registration.hpp ------------------------------------------------------------

/// A branch as clients register it with a prepared tcc, xa or workflow: from JSON to a step, and back.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.4 (registerBranch body).

namespace dtm {
inline namespace v1 {
namespace wire {

struct Registration {
  std::string gid;
  TransType type = TransType::kTcc;
  Step step;
};

/// A flat object of strings; keys that the type does not use are ignored.
/// @throws BadInput
inline Registration DecodeRegistration(const json_input::Fields& fields) {
  Registration branch;
  branch.gid = GidOf(fields);
  branch.type = TypeNamed(fields.Text(kTransType));
  Step& step = branch.step;
  step.branch_id = fields.Text(kBranchId);
  step.payload = fields.Text(kData);
  switch (branch.type) {
    case TransType::kTcc:
      step.action = fields.Text(kConfirm);
      step.compensate = fields.Text(kCancel);
      break;
    case TransType::kXa: step.action = step.compensate = fields.Text(kUrl); break;
    case TransType::kWorkflow: {
      step.op = OpNamed(fields.Text(kOp));
      step.action = fields.Text(kUrl);  // what the step was; it is never called
      step.topic = fields.Text(kName);
      const std::string status = fields.Text(kStatus);
      step.failed = status == Name(BranchStatus::kFailed);
      if (!step.failed && status != Name(BranchStatus::kSucceed)) {
        throw BadInput("gid '" + branch.gid +
                       "': the status of a recorded step is succeed or failed");
      }
      break;
    }
    default: break;
  }
  for (const std::string* url : {&step.action, &step.compensate}) {
    if (branch.type != TransType::kWorkflow) CheckNotLocal(*url);
  }
  return branch;
}

/// Begins a recorded result of a workflow's step that JSON text would change or make much longer, or that begins like this
/// itself. Servers keep it like any text; the client that recorded it decodes it.
inline constexpr const char kAsBase64[] = "base64:";

inline std::string EncodeRecorded(const std::string& answer) {
  bool as_it_is = !HasPrefix(answer, kAsBase64) && IsUtf8(answer);
  for (const char c : answer) {
    const bool control = c >= 0 && c < ' ' && c != '\t' && c != '\n' && c != '\r';
    as_it_is = as_it_is && !control;
  }
  return as_it_is ? answer : kAsBase64 + base64::Encode(answer);
}
inline std::string DecodeRecorded(std::string answer) {
  if (!HasPrefix(answer, kAsBase64)) return answer;
  std::optional<std::string> bytes = base64::Decode(answer.substr(sizeof(kAsBase64) - 1));
  return bytes ? std::move(*bytes) : answer;
}

/// The body of registerBranch, as dtm's clients send it (§11.2, §11.4, §11.7).
inline std::string EncodeRegistration(const Registration& branch) {
  const Step& step = branch.step;
  nlohmann::ordered_json json = {
      {kGid, branch.gid},
      {kTransType, Name(branch.type)},
      {kBranchId, step.branch_id},
      {kData, branch.type == TransType::kWorkflow ? EncodeRecorded(step.payload) : step.payload}};
  switch (branch.type) {
    case TransType::kTcc:
      json[kConfirm] = step.action;
      json[kCancel] = step.compensate;
      break;
    case TransType::kXa: json[kUrl] = step.action; break;
    default:
      if (!step.action.empty()) json[kUrl] = step.action;
      if (!step.topic.empty()) json[kName] = step.topic;
      json[kOp] = Name(step.op);
      json[kStatus] = Name(step.failed ? BranchStatus::kFailed : BranchStatus::kSucceed);
      json[kSync] =
          "1";  // otherwise the Go server replies before it has stored the branch, and may lose it
  }
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// How a workflow ended.
struct WorkflowEnd {
  Status status = Status::kSucceed;
  std::string reason;
  std::string result;
};

/// Reads it from the `req_extra` of the submit.
/// @throws BadInput
inline WorkflowEnd DecodeWorkflowEnd(std::map<std::string, std::string> extra) {
  const std::string& status = extra[kStatus];
  const bool succeed = status == Name(Status::kSucceed);
  if (!succeed && status != Name(Status::kFailed)) {
    throw BadInput("req_extra.status of a workflow is succeed or failed");
  }
  std::optional<std::string> result = base64::Decode(extra[kResult]);
  if (!result) throw BadInput("req_extra.result of a workflow is base64 text");
  return {succeed ? Status::kSucceed : Status::kFailed, extra[kRollbackReason], std::move(*result)};
}

inline nlohmann::ordered_json WorkflowEndJson(const WorkflowEnd& end) {
  return {{kStatus, Name(end.status)},
          {kRollbackReason, end.reason},
          {kResult, base64::Encode(end.result)}};
}

/// The options in a transaction of a query; the Go server on SQL shows them only as text.
inline nlohmann::json ToldOptions(const nlohmann::json& transaction) {
  const auto text = transaction.find(kOptions);
  nlohmann::json inner;
  if (text != transaction.end() && text->is_string()) {
    inner = json_input::Parse(text->get_ref<const std::string&>());
  }
  return inner.is_object() ? inner : transaction;
}

/// The options for calls, as far as a query shows them. Malformed ones are left out: a workflow can run without them.
inline TransOptions CallOptions(const nlohmann::json& transaction) {
  const nlohmann::json told = ToldOptions(transaction);
  TransOptions options;
  const auto timeout = told.find(kRequestTimeout);
  if (timeout != told.end() && timeout->is_number_unsigned()) {
    const std::uint64_t seconds = timeout->get<std::uint64_t>();
    const auto longest = static_cast<std::uint64_t>(kMaxOptionSeconds.count());
    if (seconds <= longest) options.request_timeout = std::chrono::seconds(seconds);
  }
  const auto headers = told.find(kBranchHeaders);
  if (headers == told.end() || !headers->is_object()) return options;
  for (const auto& header : headers->items()) {
    if (!header.value().is_string() || header.value() == kNotShown) continue;
    options.branch_headers[header.key()] = header.value().get<std::string>();
  }
  return options;
}

/// Reads the reply of prepareWorkflow; nothing if it is not one.
/// @throws RejectedError  it is not a workflow: the Go server returns any transaction with the gid.
inline std::optional<WorkflowState> DecodeWorkflow(const std::string& text) {
  const nlohmann::json body = json_input::Parse(text);
  if (!body.is_object() || !body.contains(kTransaction) || !body[kTransaction].is_object()) {
    return std::nullopt;
  }
  try {
    const nlohmann::json& transaction = body[kTransaction];
    const std::string type = transaction.value(kTransType, "");
    if (!type.empty() && type != Name(TransType::kWorkflow)) {
      throw RejectedError("gid '" + transaction.value(kGid, "") + "' is a " + Printable(type) +
                          ", not a workflow; nothing was run. Use a new gid");
    }
    WorkflowState state;
    if (const std::string told = transaction.value(kCustomData, ""); !told.empty()) {
      Definition stored;
      decode::WorkflowCustomData(told, stored);
      state.workflow = std::move(stored.workflow);
      state.data = std::move(stored.data);
    }
    state.status = StatusNamed(transaction.value(kStatus, ""));
    state.reason = transaction.value(kRollbackReason, "");
    state.result = base64::Decode(transaction.value(kResult, "")).value_or("");
    state.options = CallOptions(transaction);
    const nlohmann::json progresses = body.value(kProgresses, nlohmann::json());
    for (const nlohmann::json& progress : progresses) {
      Step step;
      step.branch_id = progress.value(kBranchId, "");
      step.action = progress.value(kUrl, "");
      step.topic = progress.value(kName, "");
      step.op = OpNamed(progress.value(kOp, ""));
      step.failed = progress.value(kStatus, "") == Name(BranchStatus::kFailed);
      step.payload = DecodeRecorded(base64::Decode(progress.value(kBinData, "")).value_or(""));
      state.recorded.push_back(std::move(step));
    }
    return state;
  } catch (const nlohmann::json::exception&) {  // a value of another kind
    return std::nullopt;
  } catch (const BadInput&) {  // an operation that dtm does not know
    return std::nullopt;
  }
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/json_rpc_api.hpp -------------------------------------------------------------

/// The form of the API as JSON-RPC 2.0: a call, and its reply. What the methods do is in api.hpp.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §7.

namespace dtm {
inline namespace v1 {
namespace json_rpc_api {

inline ApiReply Reply(int status, const std::string& id, nlohmann::ordered_json error,
                      nlohmann::ordered_json result) {
  return {status, wire::JsonText({{"error", std::move(error)},
                                  {"id", id},
                                  {"jsonrpc", "2.0"},
                                  {"result", std::move(result)}})};
}

inline ApiReply Error(int status, const std::string& id, int code, const std::string& message,
                      nlohmann::ordered_json result = nullptr) {
  return Reply(status, id, {{"code", code}, {"message", message}}, std::move(result));
}

struct Call {  // NOLINT(bugprone-exception-escape): the move of a json does not throw
  std::string id, method;
  nlohmann::json params;  ///< null if there are none
};

/// The reply, if it is no call.
inline std::optional<ApiReply> Read(const std::string& body, Call& call) {
  try {
    nlohmann::json json = wire::json_input::ParseObject(body, "the body");
    const wire::json_input::Fields fields(json, "the request");
    std::string id = fields.Text("id");
    const std::string version = fields.Text("jsonrpc");
    call.method = fields.Text("method");
    call.id = std::move(id);
    if (call.id.empty() || version != "2.0") {
      return Error(200, call.id, -32600, "Bad json request: jsonrpc must be \"2.0\" and id a text");
    }
    const auto params = json.find("params");
    if (params != json.end()) call.params = std::move(*params);
    return std::nullopt;
  } catch (const BadInput& error) {
    return Error(400, "", -32700, std::string("Parse json error: ") + error.what());
  }
}

inline ApiReply NotFound(const Call& call) {
  return Error(200, call.id, -32601, "Method not found: " + Printable(call.method));
}

inline ApiReply OfGid(const std::string& id, const std::string& gid) {
  return Reply(200, id, nullptr, {{wire::kGid, gid}});
}
inline ApiReply Of(const std::string& id, const ApiOutcome& outcome) {
  if (outcome.status == 200) return Reply(200, id, nullptr, nullptr);
  const int code = outcome.status == 409   ? wire::json_rpc::kFailureCode
                   : outcome.status == 425 ? wire::json_rpc::kOngoingCode
                                           : -32603;
  return Error(200, id, code, outcome.message, nlohmann::ordered_json::object());
}

}  // namespace json_rpc_api
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/numbers/shown_hosts.hpp ------------------------------------------------------

/// Which of the hosts that are called are shown: of many only some, so that what is shown has a bounded size.
/// Needs: std. Threads: a pure function.

#include <tuple>

namespace dtm {
inline namespace v1 {

inline constexpr std::size_t kMostHosts = 100;

/// Limited hosts come first, then those with most waiting calls; at most kMostHosts.
inline std::vector<HostLoad> ShownHosts(std::vector<HostLoad> hosts) {
  std::sort(hosts.begin(), hosts.end(), [](const HostLoad& a, const HostLoad& b) {
    return std::tie(b.limited, b.waiting, b.in_flight, a.host) <
           std::tie(a.limited, a.waiting, a.in_flight, b.host);
  });
  if (hosts.size() > kMostHosts) hosts.resize(kMostHosts);
  return hosts;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/stored_transaction.hpp ------------------------------------------------------

/// A stored transaction as query and all show it.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.5 (JSON objects).

namespace dtm {
inline namespace v1 {
namespace wire {

using v1::TimeText;

/// Values of headers may be credentials, and URLs may contain some; credentials are not shown. A trace is none, and a
/// workflow that is resumed elsewhere stays in it.
inline Definition Redacted(const Definition& definition) {
  Definition shown = definition;
  for (auto& [name, value] : shown.options.branch_headers) {
    if (!IsTraceHeader(name)) value = kNotShown;
  }
  shown.query_prepared = ShownUrl(shown.query_prepared);
  for (Step& step : shown.steps) {
    step.action = ShownUrl(step.action);
    step.compensate = ShownUrl(step.compensate);
  }
  return shown;
}

/// Old records (store format 1) do not have the time of their last change.
inline Time UpdateTime(const Transaction& transaction) {
  return IsFinal(transaction.status) ? transaction.finished
                                     : (std::max)(transaction.created, transaction.updated);
}

/// `interval`: the present wait between tries.
inline nlohmann::ordered_json TransactionJson(const Transaction& transaction, Duration interval) {
  const Definition definition = Redacted(*transaction.definition);
  const Status status = transaction.status;
  nlohmann::ordered_json json = {{kId, transaction.id},
                                 {kCreateTime, TimeText(transaction.created)},
                                 {kUpdateTime, TimeText(UpdateTime(transaction))},
                                 {kGid, definition.gid},
                                 {kTransType, Name(definition.type)}};
  if (!definition.steps.empty() && !RegistersSteps(definition.type)) {
    json[kSteps] = StepsJson(definition);
    json[kPayloads] = PayloadsJson(definition);
  }
  json[kStatus] = Name(status);
  if (transaction.expired) json[kExpired] = true;
  if (!definition.query_prepared.empty()) json[kQueryPrepared] = definition.query_prepared;
  json[kProtocol] = definition.json_rpc ? kJsonRpc : kHttp;
  if (IsFinal(status)) {
    json[status == Status::kSucceed ? kFinishTime : kRollbackTime] = TimeText(transaction.finished);
  }
  if (!transaction.result.empty()) json[kResult] = base64::Encode(transaction.result);
  if (!transaction.reason.empty()) json[kRollbackReason] = transaction.reason;
  nlohmann::ordered_json options = nlohmann::ordered_json::object();
  AddOptions(definition, options);
  json[kOptions] = options.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const std::string custom_data = CustomData(definition);
  if (!custom_data.empty()) json[kCustomData] = custom_data;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(interval).count();
  if (seconds > 0) json[kNextCronInterval] = seconds;
  if (!IsFinal(status) && transaction.due != kNever) {
    json[kNextCronTime] = TimeText(transaction.due);
  }
  AddOptions(definition, json);
  if (transaction.retry_count > 0) json[kRetryCount] = transaction.retry_count;
  // Fields of this library only come last.
  if (const std::string from = ReasonFrom(transaction); !from.empty()) json[kRollbackFrom] = from;
  if (!transaction.last_error.empty()) json[kLastError] = transaction.last_error;
  if (transaction.stuck && transaction.due == kNever && !IsFinal(status)) json[kStuck] = true;
  return json;
}

inline nlohmann::ordered_json BranchesJson(const Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  auto branches = nlohmann::ordered_json::array();
  const std::size_t first = HasQueryRow(definition.type) ? DeliveryOf(0) : 0;
  for (std::size_t i = first; i < transaction.branches.size(); ++i) {
    const Branch& branch = transaction.branches[i];
    const bool finished = branch.finished != Time{};
    nlohmann::ordered_json json = {
        {kId, 0},
        {kCreateTime, TimeText(transaction.created)},
        {kUpdateTime, TimeText(finished ? branch.finished : transaction.created)},
        {kGid, definition.gid}};
    const std::string url = ShownUrl(UrlOf(definition, i));
    if (!url.empty()) json[kUrl] = url;
    const std::string& payload = PayloadOf(definition, i);
    if (!payload.empty()) json[kBinData] = base64::Encode(payload);
    json[kBranchId] = BranchIdOf(definition, i);
    json[kOp] = Name(OpOf(definition, i));
    json[kStatus] = Name(branch.status);
    if (finished) json[kFinishTime] = TimeText(branch.finished);
    const std::string& name = definition.steps[StepOf(definition.type, i)].topic;
    if (definition.type == TransType::kWorkflow && !name.empty()) json[kName] = name;
    branches.push_back(std::move(json));
  }
  return branches;
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/numbers/overview_json.hpp ----------------------------------------------------

/// The numbers of a coordinator as `overview` shows them.
/// Needs: nlohmann/json. Threads: pure functions. Document: docs/http_api.md, "Overview".

namespace dtm {
inline namespace v1 {
namespace overview_json {

using Json = nlohmann::ordered_json;

inline Json CallsJson(const Gauges& now) {
  Json hosts = Json::array();
  for (const HostLoad& host : ShownHosts(now.urls.hosts)) {
    hosts.push_back({{"host", host.host},
                     {"in_flight", host.in_flight},
                     {"waiting", host.waiting},
                     {"limited", host.limited}});
  }
  const auto load = [](const CallLoad& calls) {
    return Json{{"in_flight", calls.in_flight}, {"waiting", calls.waiting}};
  };
  return {
      {"functions", load(now.functions)}, {"urls", load(now.urls)}, {"hosts", std::move(hosts)}};
}

inline Json CountersJson(const Metrics::Snapshot& done) {
  Json ended = Json::array(), durations = Json::array(), branches = Json::array();
  for (const auto& [key, count] : done.ended) {
    ended.push_back({{"type", Name(key.first)}, {"status", Name(key.second)}, {"count", count}});
  }
  for (const auto& [type, histogram] : done.durations) {
    durations.push_back({{"type", Name(type)},
                         {"seconds", histogram.sum},
                         {"bounds", *histogram.bounds},
                         {"counts", histogram.counts}});
  }
  for (const auto& [branch, count] : done.branches) {
    branches.push_back({{"type", Name(branch.type)},
                        {"branch_id", branch.branch_id},
                        {"op", Name(branch.op)},
                        {"ok", branch.ok},
                        {"count", count}});
  }
  std::uint64_t commits = 0;
  for (const std::uint64_t count : done.commits.counts) commits += count;
  return {{"ended", std::move(ended)},
          {"durations", std::move(durations)},
          {"branches", std::move(branches)},
          {"commits", {{"count", commits}, {"seconds", done.commits.sum}}}};
}

/// `now.backlog` must have a value.
inline Json Of(const Gauges& now, const Metrics::Snapshot& done) {
  const Backlog& backlog = *now.backlog;
  return {{"version", std::string("v") + kVersion},
          {"store", now.store},
          {"time", wire::TimeText(now.time)},
          {"unfinished", backlog.unfinished},
          {"waiting", backlog.waiting},
          {"stuck", backlog.stuck},
          {"damaged", now.damaged},
          {"oldest_time", backlog.oldest == kNever ? "" : wire::TimeText(backlog.oldest)},
          {"in_memory", now.in_memory},
          {"store_fails", now.store_fails},
          {"calls", CallsJson(now)},
          {"counters", CountersJson(done)}};
}

}  // namespace overview_json
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/timeline_json.hpp ------------------------------------------------------------

/// The story of a transaction as `timeline` shows it: who drove it, each call, each entry of its journal; or its drawing.
/// Needs: nlohmann/json. Threads: pure functions. Document: docs/http_api.md, "Timeline".

namespace dtm {
inline namespace v1 {
namespace timeline_json {

using Json = nlohmann::ordered_json;

/// Of a time that is not known: nothing.
inline std::string TimeOrNothing(Time time) {
  return time == Time{} ? std::string() : wire::TimeText(time);
}

/// Which branch it is, if it is one. `row`: see Transaction.
inline void AddRow(const Definition& definition, std::size_t row, Json& json) {
  if (row >= RowCount(definition)) return;
  json["row"] = row;
  json[wire::kBranchId] = BranchIdOf(definition, row);
  json[wire::kOp] = Name(OpOf(definition, row));
}

inline Json Runs(const Timeline& story) {
  Json runs = Json::array();
  for (const DrivenBy& run : story.runs) {
    runs.push_back({{"process", run.process}, {"begin_time", TimeOrNothing(run.begin)}});
  }
  return runs;
}

inline Json Attempts(const Timeline& story) {
  const Definition& definition = *story.transaction.definition;
  Json attempts = Json::array();
  for (const Attempt& attempt : story.attempts) {
    Json json = Json::object();
    AddRow(definition, attempt.row, json);
    if (attempt.row < RowCount(definition)) {
      json[wire::kUrl] = ShownUrl(UrlOf(definition, attempt.row));
    }
    json["run"] = attempt.run;
    json["begin_time"] = TimeOrNothing(attempt.begin);
    json["end_time"] = TimeOrNothing(attempt.end);
    json["outcome"] = Name(attempt.outcome);
    json["text"] = attempt.text;
    attempts.push_back(std::move(json));
  }
  return attempts;
}

inline Json Entries(const Timeline& story) {
  Json entries = Json::array();
  for (const JournalEntry& entry : story.entries) {
    Json json = {{"time", TimeOrNothing(entry.time)}, {"kind", Name(entry.kind)}};
    if (entry.kind == JournalKind::kGap) {
      json["count"] = entry.row;
    } else {
      AddRow(*story.transaction.definition, entry.row, json);
    }
    json["text"] = entry.text;
    json["who"] = entry.who;
    entries.push_back(std::move(json));
  }
  return entries;
}

/// The reply with a drawing; nothing if `format` names none. A browser shows an SVG without running or loading anything.
inline std::optional<ApiReply> Drawing(const Timeline& story, const std::string& format) {
  const auto reply = [&story](DrawFormat drawn, const char* type) {
    ApiReply made{200, Draw(story, drawn), type};
    made.headers = {{"X-Content-Type-Options", "nosniff"},
                    {"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"}};
    return made;
  };
  if (format == "text") return reply(DrawFormat::kText, "text/plain; charset=utf-8");
  if (format == "mermaid") return reply(DrawFormat::kMermaid, "text/plain; charset=utf-8");
  if (format == "svg") return reply(DrawFormat::kSvg, "image/svg+xml");
  return std::nullopt;
}

}  // namespace timeline_json
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/numbers/metrics_text.hpp -----------------------------------------------------

/// Counters of the API and the coordinator in Prometheus' text format, under dtm's names.
/// Needs: std. Threads: pure functions. Protocol: §9.

#include <charconv>

namespace dtm {
inline namespace v1 {

namespace metrics_text {

inline void Head(std::string& out, const char* name, const char* type, const char* help) {
  out.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ");
  out.append(name).append(" ").append(type).append("\n");
}

inline void Line(std::string& out, const std::string& name, const std::string& labels,
                 std::uint64_t value) {
  out.append(name);
  if (!labels.empty()) out.append("{").append(labels).append("}");
  out.append(" ").append(std::to_string(value)).append("\n");
}

/// With a point in every locale.
inline std::string Number(double value) {
  char text[32];
  const auto end =
      std::to_chars(text, text + sizeof text, value, std::chars_format::general, 9).ptr;
  return std::string(text, end);
}

inline void NumberLine(std::string& out, const std::string& name, const std::string& labels,
                       double value) {
  out.append(name);
  if (!labels.empty()) out.append("{").append(labels).append("}");
  out.append(" ").append(Number(value)).append("\n");
}

inline void Lines(std::string& out, const std::string& name, const std::string& labels,
                  const Histogram& histogram) {
  std::uint64_t total = 0;
  const std::string before = labels.empty() ? "" : labels + ",";
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    total += histogram.counts[i];
    const std::string bound =
        i < histogram.bounds->size() ? Number((*histogram.bounds)[i]) : "+Inf";
    Line(out, name + "_bucket", before + "le=\"" + bound + "\"", total);
  }
  NumberLine(out, name + "_sum", labels, histogram.sum);
  Line(out, name + "_count", labels, total);
}

inline void Gauge(std::string& out, const char* name, const char* help, std::uint64_t value) {
  Head(out, name, "gauge", help);
  Line(out, name, "", value);
}

/// The value of a label: quotes and backslashes are escaped, other bytes are unchanged.
inline std::string Label(const std::string& value) {
  std::string text;
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

inline void HostLines(std::string& out, const std::vector<HostLoad>& hosts) {
  const auto each = [&](const char* name, const char* help, auto value) {
    Head(out, name, "gauge", help);
    for (const HostLoad& host : hosts) {
      Line(out, name, "host=\"" + Label(host.host) + "\"", value(host));
    }
  };
  each("dtm_host_calls_in_flight", "Calls by URL that are out, by host.",
       [](const HostLoad& host) { return host.in_flight; });
  each("dtm_host_calls_waiting", "Calls by URL that wait for a slot, by host.",
       [](const HostLoad& host) { return host.waiting; });
  each("dtm_host_limited", "1: the host does not answer, so few calls at a time go to it.",
       [](const HostLoad& host) { return host.limited ? 1u : 0u; });
}

inline void HookLines(std::string& out, const std::map<std::string, HookLoad>& hooks) {
  const auto each = [&](const char* name, const char* type, const char* help, auto value) {
    Head(out, name, type, help);
    for (const auto& [hook, load] : hooks) Line(out, name, "hook=\"" + hook + "\"", value(load));
  };
  each("dtm_hook_waiting", "gauge", "What the hook of the program was not told yet.",
       [](const HookLoad& load) { return load.waiting; });
  each("dtm_hook_dropped_total", "counter",
       "What the hook of the program is never told, since it was too slow.",
       [](const HookLoad& load) { return load.dropped; });
}

inline void GaugeLines(std::string& out, const Gauges& now) {
  if (now.backlog) {
    Gauge(out, "dtm_transactions_unfinished", "Transactions that have not ended.",
          now.backlog->unfinished);
    Gauge(out, "dtm_transactions_waiting",
          "Of them: those that wait for a time or for their submit.", now.backlog->waiting);
    Gauge(out, "dtm_transactions_stuck",
          "Of them: those that go on only with RetryNow or ForceStop, or are damaged.",
          now.backlog->stuck + now.damaged);
    Head(out, "dtm_oldest_unfinished_seconds", "gauge", "Age of the oldest of them.");
    NumberLine(out, "dtm_oldest_unfinished_seconds", "",
               static_cast<double>(now.oldest_age.count()) / 1e6);
  }
  Gauge(out, "dtm_transactions_in_memory", "Transactions in memory; the others wait in the store.",
        now.in_memory);
  Head(out, "dtm_calls_in_flight", "gauge", "Branch calls that are out.");
  Line(out, "dtm_calls_in_flight", "to=\"function\"", now.functions.in_flight);
  Line(out, "dtm_calls_in_flight", "to=\"url\"", now.urls.in_flight);
  Head(out, "dtm_calls_waiting", "gauge", "Branch calls that wait for a thread or a slot.");
  Line(out, "dtm_calls_waiting", "to=\"function\"", now.functions.waiting);
  Line(out, "dtm_calls_waiting", "to=\"url\"", now.urls.waiting);
  HostLines(out, ShownHosts(now.urls.hosts));
  Gauge(out, "dtm_store_failing", "1: the last commit failed.", now.store_fails ? 1 : 0);
  if (!now.hooks.empty()) HookLines(out, now.hooks);
  if (now.sharing) {
    const auto count = [&out](const char* name, const char* help, std::uint64_t value) {
      Head(out, name, "counter", help);
      Line(out, name, "", value);
    };
    count("dtm_beats_failed_total",
          "Attempts to let the other coordinators on the store hear that this one lives.",
          now.sharing->failed_beats);
    count("dtm_fenced_total", "How often the others took over what this one drove.",
          now.sharing->fenced);
    count("dtm_store_went_back_total",
          "Of these: the database turned out to be older than what it had stored.",
          now.sharing->forgotten);
  }
  if (!now.outboxes) return;
  Head(out, "dtm_outbox_rows_total", "counter", "Rows of outbox tables that were taken up.");
  Line(out, "dtm_outbox_rows_total", "status=\"ok\"", now.outboxes->relayed);
  Line(out, "dtm_outbox_rows_total", "status=\"fail\"", now.outboxes->refused);
  Head(out, "dtm_outbox_oldest_seconds", "gauge", "Age of the oldest row that waits.");
  NumberLine(out, "dtm_outbox_oldest_seconds", "",
             static_cast<double>(now.outboxes->oldest_age.count()) / 1e6);
}

/// Of several coordinators on one store; each shows its own.
inline void PeerLines(std::string& out, const PeerCounts& peers) {
  Head(out, "dtm_cluster_members", "gauge",
       "Coordinators on the store that are alive, as this one sees it.");
  Line(out, "dtm_cluster_members", "", peers.members);
  Head(out, "dtm_cluster_driven", "gauge", "Unfinished transactions that this coordinator drives.");
  Line(out, "dtm_cluster_driven", "", peers.driven);
  Head(out, "dtm_cluster_taken_over_total", "counter",
       "Transactions that this coordinator has taken over from others.");
  Line(out, "dtm_cluster_taken_over_total", "", peers.taken_over);
}

inline std::string Text(const std::map<std::string, ApiCounters::Api>& apis,
                        const Metrics::Snapshot& done, const Gauges& now) {
  std::string out;
  Head(out, "dtm_server_info", "gauge", "The version of the server, and its store.");
  Line(out, "dtm_server_info",
       std::string("version=\"") + kVersion + "\",store=\"" + now.store + "\"", 1);
  const auto api_labels = [](const std::string& api) {
    return "type=\"http\",api=\"" + api + "\"";
  };
  Head(out, "dtm_server_process_total", "counter", "Requests answered.");
  for (const auto& [api, counted] : apis) {
    const std::string labels = api_labels(api);
    Line(out, "dtm_server_process_total", labels + ",status=\"ok\"", counted.ok);
    Line(out, "dtm_server_process_total", labels + ",status=\"fail\"", counted.failed);
  }
  Head(out, "dtm_server_response_duration", "histogram", "Seconds from a request to its answer.");
  for (const auto& [api, counted] : apis) {
    Lines(out, "dtm_server_response_duration", api_labels(api), counted.durations);
  }
  const auto model = [](TransType type) { return std::string("model=\"") + Name(type) + "\""; };
  Head(out, "dtm_transaction_process_total", "counter", "Transactions that ended.");
  for (const auto& [key, count] : done.ended) {
    const char* status = key.second == Status::kSucceed ? "ok" : "fail";
    Line(out, "dtm_transaction_process_total", model(key.first) + ",status=\"" + status + "\"",
         count);
  }
  Head(out, "dtm_transaction_handled_duration", "histogram",
       "Seconds from the creation of a transaction to its end.");
  for (const auto& [type, histogram] : done.durations) {
    Lines(out, "dtm_transaction_handled_duration", model(type), histogram);
  }
  Head(out, "dtm_branch_process_total", "counter", "Branch calls that were answered.");
  for (const auto& [branch, count] : done.branches) {
    Line(out, "dtm_branch_process_total",
         model(branch.type) + ",branchid=\"" + branch.branch_id + "\",branchtype=\"" +
             Name(branch.op) + "\",status=\"" + (branch.ok ? "ok" : "fail") + "\"",
         count);
  }
  Head(out, "dtm_branches_skipped_total", "counter", "Branches that somebody said to be done.");
  for (const auto& [type, count] : done.repaired) {
    Line(out, "dtm_branches_skipped_total", model(type), count);
  }
  Head(out, "dtm_store_commit_duration", "histogram", "Seconds that the store took for a commit.");
  Lines(out, "dtm_store_commit_duration", "", done.commits);
  GaugeLines(out, now);
  if (now.peers) PeerLines(out, *now.peers);
  return out;
}

}  // namespace metrics_text
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/calls/branch_request.hpp ---------------------------------------------------------

/// A branch call as an HTTP request.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §3 (calling branches).

namespace dtm {
inline namespace v1 {

namespace headers {

/// An RFC 9110 token.
inline bool ValidName(const std::string& name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  for (const char c : name) {
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!word && kMarks.find(c) == std::string_view::npos) return false;
  }
  return !name.empty();
}

inline bool ValidValue(const std::string& value) {
  for (const char c : value) {
    if ((c >= 0 && c < ' ' && c != '\t') || c == 127) return false;
  }
  return true;
}

/// Headers that frame a message belong to the connection, not to the call. If they were copied from another
/// request, one call would run into the next; so they are left out.
inline bool IsFraming(const std::string& lower) {
  for (const char* name : {"connection", "content-length", "expect", "keep-alive",
                           "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}) {
    if (lower == name) return true;
  }
  return false;
}

}  // namespace headers

/// Those of the transaction; of a call that is a span, with that as the parent of what the branch does.
class BranchHeaders {
 public:
  using Map = std::map<std::string, std::string>;
  explicit BranchHeaders(const BranchCall& call) : given_(call.definition->options.branch_headers) {
    if (call.span == nullptr) return;
    for (const auto& header : given_) {
      if (!IsTraceHeader(header.first)) own_.insert(header);
    }
    const auto trace = call.Trace();
    own_[kTraceParent] = TraceParent(*trace);
    if (!trace->state.empty()) own_[kTraceState] = trace->state;
  }
  const Map& Get() const { return own_.empty() ? given_ : own_; }

 private:
  const Map& given_;
  Map own_;
};

/// @throws Error  a branch header could smuggle something into the request.
inline http1::HttpRequest BranchRequest(const BranchCall& call, const Url& url) {
  http1::HttpRequest request;
  if (wire::json_rpc::Speaks(*call.definition, url)) {
    request.method = "POST";
    request.target = url.target;
    request.body = wire::json_rpc::BranchBody(url, call.Payload(), call.Info());
  } else {
    request.method = wire::BranchMethod(call.definition->type, call.Payload());
    request.target = wire::BranchTarget(url.target, call.Info());
    request.body = call.Payload();
  }
  // By the name in lower case; the last of equal ones counts.
  std::map<std::string, std::pair<const std::string*, const std::string*>> given;
  const BranchHeaders branch_headers(call);
  for (const auto& [name, value] : branch_headers.Get()) {
    if (!headers::ValidName(name) || !headers::ValidValue(value)) {
      throw Error("the branch header \"" + wire::StorableText(name) +
                  "\" has a name or value that HTTP does not allow; the call was not sent");
    }
    std::string lower = Lowered(name);
    if (!headers::IsFraming(lower)) given[std::move(lower)] = {&name, &value};
  }
  request.headers.reserve(6 + given.size());
  const auto otherwise = [&](const char* lower, const char* name, std::string value) {
    if (given.empty() || given.count(lower) == 0) request.Set(name, std::move(value));
  };
  otherwise("host", "Host", url.Authority());
  otherwise("content-type", "Content-Type", wire::kJson);
  otherwise("accept", "Accept", wire::kJson);
  // A few bytes of gzip can be gigabytes of answer.
  otherwise("accept-encoding", "Accept-Encoding", "identity");
  otherwise("user-agent", "User-Agent", wire::UserAgent());
  if (!url.credentials.empty()) {
    otherwise("authorization", "Authorization", wire::BasicAuthorization(url));
  }
  for (const auto& [lower, header] : given) {
    // Blanks around a value are none of it (RFC 9110).
    request.Set(*header.first, std::string(Trimmed(*header.second)));
  }
  return request;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/calls/call_once.hpp --------------------------------------------------------------

/// One branch call that the caller waits for, on a connection of its own.
/// Needs: POSIX. Threads: any. Protocol: §11.1 (direct branch request).

namespace dtm {
inline namespace v1 {

inline Result CallOnce(const InitiatorCall& direct, const std::string& coordinator,
                       std::shared_ptr<TlsClient> tls = nullptr) {
  if (direct.url.empty()) return Result::Success();
  try {
    const BranchCall call = ToBranchCall(direct, coordinator, std::chrono::seconds(3));
    const Url url = ParseHttpUrl(call.Url());
    struct One final : BranchHttpCall {
      One(const BranchCall& one, const Url& its)
          : BranchHttpCall(one, its, Later(std::chrono::steady_clock::now(), one.timeout)),
            branch(one),
            where(its) {}
      void OnDone(hosts::HttpOutcome outcome) override {
        told = CatchAsResult([&] { return Interpret(outcome, branch, where).result; });
      }
      const BranchCall& branch;
      const Url& where;
      Result told = Result::Error({});
    } one(call, url);
    hosts::BlockingHost(url, std::move(tls)).Send(one);
    return std::move(one.told);
  } catch (const std::exception& error) {
    return Result::Error(error.what());
  }
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/told_transaction.hpp --------------------------------------------------------

/// Compares a transaction as a coordinator elsewhere describes it with the one that was submitted.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.5 (what the Go server leaves out on SQL and redis).

namespace dtm {
inline namespace v1 {
namespace wire {

namespace told {

/// By (branch_id, op): url and payload.
using Rows = std::map<std::pair<std::string, std::string>, std::pair<std::string, std::string>>;

inline Rows RowsOf(const nlohmann::json& branches) {
  Rows rows;
  for (const nlohmann::json& branch : branches) {
    rows[{branch.value(kBranchId, ""), branch.value(kOp, "")}] = {
        ShownUrl(branch.value(kUrl, "")), base64::Decode(branch.value(kBinData, "")).value_or("")};
  }
  return rows;
}

/// The rows that a saga or message must have there. False: its topics were replaced, so they are not known.
inline bool ExpectedRows(const Definition& ours, Rows& rows) {
  for (std::size_t i = 0; i < ours.steps.size(); ++i) {
    const Step& step = ours.steps[i];
    if (IsTopic(step.action)) return false;
    rows[{NumberOf(i), Name(Op::kAction)}] = {ShownUrl(step.action), step.payload};
    if (ours.type != TransType::kSaga) continue;
    rows[{NumberOf(i), Name(Op::kCompensate)}] = {ShownUrl(step.compensate), step.payload};
  }
  return true;
}

/// Servers of this library do not show credentials.
inline nlohmann::json WithShownUrls(nlohmann::json steps) {
  for (nlohmann::json& step : steps) {
    for (nlohmann::json& url : step) url = ShownUrl(url.get<std::string>());
  }
  return steps;
}

inline bool SameSteps(const Definition& ours, const nlohmann::json& transaction,
                      const nlohmann::json& branches) {
  const auto steps = transaction.find(kSteps), payloads = transaction.find(kPayloads);
  if (steps != transaction.end() && steps->is_array()) {
    return WithShownUrls(*steps) == WithShownUrls(nlohmann::json::parse(StepsJson(ours).dump())) &&
           (payloads == transaction.end() ||
            *payloads == nlohmann::json::parse(PayloadsJson(ours).dump()));
  }
  Rows rows;
  return !branches.is_array() || !ExpectedRows(ours, rows) || rows == RowsOf(branches);
}

}  // namespace told

/// SameContent, for what the reply shows: `transaction` and `branches` are those of a query.
/// @throws nlohmann::json::exception, BadInput  the reply does not have dtm's form.
inline bool MayBeSame(const Definition& ours, const nlohmann::json& transaction,
                      const nlohmann::json& branches) {
  if (transaction.value(kTransType, "") != Name(ours.type)) return false;
  if (RegistersSteps(ours.type)) return true;
  if (transaction.value(kExpired, false)) return true;  // who keeps gids has compared them
  Definition stored;
  if (ours.type == TransType::kMsg) {
    // It was prepared, and its submit need not repeat anything.
    if (!transaction.value(kQueryPrepared, "").empty()) return true;
    if (!ours.query_prepared.empty()) return false;
    stored.concurrent = ToldOptions(transaction).value(kConcurrent, false);
  } else {
    decode::SagaCustomData(transaction.value(kCustomData, ""), stored);
  }
  return stored.concurrent == ours.concurrent && stored.orders == ours.orders &&
         told::SameSteps(ours, transaction, branches);
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/remote/query.hpp -----------------------------------------------------------------

/// The query for one transaction, and what the coordinator tells of it.
/// Needs: POSIX, nlohmann/json. Threads: thread-safe. Protocol: §2.6.

namespace dtm {
inline namespace v1 {

struct ToldTransaction {
  TransResult result;
  nlohmann::json transaction, branches;

  /// @throws InDoubtError  it cannot be understood.
  bool MayBe(const Definition& definition, const RemoteRequests& requests) const {
    try {
      return wire::MayBeSame(definition, transaction, branches);
    } catch (const std::exception& error) {  // of JSON, or BadInput
      throw InDoubtError(requests.NoAnswer(definition.gid) + "its query says " + error.what());
    }
  }
};

/// Nothing if there is no such transaction.
/// @throws InDoubtError, RejectedError, BusyError  there was no answer, or none of dtm's, or it was refused.
inline std::optional<ToldTransaction> QueryTransaction(RemoteRequests& requests,
                                                       const std::string& gid) {
  const Exchanged reply = requests.Send(
      "GET", "/query?" + std::string(wire::kGid) + "=" + PercentEncoded(gid), gid, {});
  if (reply.status != 200) requests.Refuse("the query of gid '" + gid + "'", reply);
  nlohmann::json body = wire::json_input::Parse(reply.body);
  if (!body.is_object() || !body.contains(wire::kTransaction)) {
    throw requests.NotOfDtm(gid, reply);
  }
  ToldTransaction stored{{}, std::move(body[wire::kTransaction]), std::move(body[wire::kBranches])};
  const nlohmann::json& told = stored.transaction;
  if (!told.is_object()) return std::nullopt;
  try {
    stored.result = {gid, wire::StatusNamed(told.value(wire::kStatus, "")),
                     told.value(wire::kRollbackReason, ""), told.value(wire::kRollbackFrom, ""),
                     told.value(wire::kLastError, "")};
  } catch (const nlohmann::json::exception&) {
    throw requests.NotOfDtm(gid, reply);
  }
  return stored;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/desk/desk_page.hpp ---------------------------------------------------------------

/// Generated from desk/desk.html by tools/embed_desk.py; do not edit. The files of the desk's page.
/// Needs: std. Threads: constants.

namespace dtm {
inline namespace v1 {
namespace desk {

// clang-format off
inline constexpr char kPage[] =
R"desk(<!DOCTYPE html>
<!-- The desk of dtm. tools/embed_desk.py compiles it into include/dtm/http/desk/desk_page.hpp; its style, script and icon become files of
their own. What transactions contain is only ever shown as text: nothing here makes markup of data. Document: docs/desk.md. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>dtm desk</title>
<link rel="icon" type="image/svg+xml" href="desk/icon.svg">
<link rel="stylesheet" href="desk/desk.css">
</head>
<body>
<a class="skip" href="#main" data-do="skip">Skip to the page</a>
<header class="bar">
<div>
<a class="brand" href="#/"><img src="desk/icon.svg" alt="">dtm desk</a>
<nav aria-label="Pages" id="nav"></nav>
<div class="server" id="server" role="status"></div>
</div>
</header>
<div class="banner" id="banner" role="alert" hidden></div>
<main id="main" tabindex="-1"></main>
<dialog id="dialog" aria-labelledby="dialog-title"></dialog>
<dialog id="login" aria-labelledby="login-title"></dialog>
<noscript>The desk needs JavaScript.</noscript>
<script src="desk/desk.js" defer></script>
</body>
</html>
)desk";

inline constexpr char kStyle[] =
R"desk(/* Colours: two themes of the same names. */
:root {
  --page: #f6f7f9; --card: #fff; --line: #e1e4e9; --text: #1c2430; --soft: #5d6878; --link: #24588f; --focus: #3b82d6;
  --good: #1d7a46; --good-back: #e0f3e7; --bad: #b3261e; --bad-back: #fbe5e3; --warn: #8a5a00; --warn-back: #fdf0d3;
  --busy: #24588f; --busy-back: #e3edf8; --idle: #5d6878; --idle-back: #eceef2; --shade: rgba(20, 30, 45, .06);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181e; --card: #1c222a; --line: #2e3641; --text: #e4e8ee; --soft: #98a3b3; --link: #8fbcf0; --focus: #6aa9f2;
    --good: #7ad3a0; --good-back: #17382a; --bad: #ff9c93; --bad-back: #45211f; --warn: #f0c26a; --warn-back: #3d3018;
    --busy: #8fbcf0; --busy-back: #1c324b; --idle: #98a3b3; --idle-back: #2a313b; --shade: rgba(0, 0, 0, .25);
  }
}

* { box-sizing: border-box; }
html { overflow-y: scroll; scroll-padding: 110px 0 20px; }  /* the bar covers nothing that has the focus */
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1, h2, h3 { margin: 0; font-weight: 600; line-height: 1.3; }
h1 { font-size: 1.35rem; overflow-wrap: anywhere; }
h1.mono { font-size: 1.2rem; }
h2 { font-size: 1rem; }
p { margin: 0; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
code, pre, dd, .mono, .wrap, .first div { unicode-bidi: isolate; }
code, pre, .mono { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .87em; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; border-radius: 4px; }
[hidden] { display: none !important; }
.soft { color: var(--soft); }
.small { font-size: .87rem; }
.right { text-align: right; }
.wrap { overflow-wrap: anywhere; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 8px; top: 8px; background: var(--card); padding: 8px 12px; z-index: 9; }
.unseen + * { margin-top: 0 !important; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

/* The frame: bar, banner, page. */
.bar { background: var(--card); border-bottom: 1px solid var(--line); position: sticky; top: 0; z-index: 5; }
.bar > div { max-width: 1240px; margin: auto; padding: 0 20px; display: flex; align-items: center; gap: 4px 22px; flex-wrap: wrap; }
.brand { font-weight: 650; color: var(--text); display: flex; gap: 9px; align-items: center; padding: 11px 0; }
.brand img { width: 20px; height: 20px; display: block; }
.brand:hover { text-decoration: none; }
.bar nav { display: flex; gap: 2px; flex: 1; }
.bar nav a { padding: 13px 11px; color: var(--soft); border-bottom: 2px solid transparent; }
.bar nav a:hover { color: var(--text); text-decoration: none; }
.bar nav a[aria-current] { color: var(--text); border-color: var(--focus); }
.bar .server { display: flex; gap: 8px; align-items: center; font-size: .87rem; color: var(--soft); }
.dot { width: 8px; height: 8px; border-radius: 50%; background: var(--idle); flex: none; }
.dot.good { background: var(--good); }
.dot.bad { background: var(--bad); }
.banner { background: var(--bad-back); color: var(--bad); padding: 9px 20px; text-align: center; font-size: .93rem; }
main { max-width: 1240px; margin: auto; padding: 24px 20px 60px; outline: none; }
main > * + *, .notes > * + *, .stack > * + * { margin-top: 18px; }
.top { display: flex; align-items: center; gap: 12px 16px; flex-wrap: wrap; justify-content: space-between; }
.top > div:first-child { min-width: 0; }

main > .notes:empty + * { margin-top: 0; }

/* Cards, tables, chips. */
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; box-shadow: 0 1px 2px var(--shade); min-width: 0; }
.card > h2 + *, .card > .top + * { margin-top: 12px; }
.card.flush { padding: 0; overflow: hidden; }
.card.flush > h2, .card.flush > .top { padding: 14px 18px 12px; margin: 0; }
.card.flush > h2 + *, .card.flush > .top + * { margin-top: 0; }
.grid { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.grid.wide { grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); }
.tile { display: block; color: inherit; padding: 13px 16px; }
a.tile:hover { text-decoration: none; border-color: var(--focus); }
.tile b { display: block; font-size: 1.6rem; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile.bad b { color: var(--bad); }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; font-size: .8rem; color: var(--soft); padding: 7px 18px; border-bottom: 1px solid var(--line); white-space: nowrap; }
td { padding: 9px 18px; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
th.right, td.right { text-align: right; }
tr.chosen td { background: var(--busy-back); }
tr.chosen td:first-child { box-shadow: inset 3px 0 var(--focus); }
.list tbody tr { cursor: pointer; }
.list tbody tr:hover td { background: var(--idle-back); }
.list td { max-width: 380px; }
.cut { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; display: block; }
.chip { display: inline-block; padding: 1px 9px; border-radius: 99px; font-size: .8rem; font-weight: 500; white-space: nowrap; background: var(--idle-back); color: var(--idle); }
.chip.good { background: var(--good-back); color: var(--good); }
.chip.bad { background: var(--bad-back); color: var(--bad); }
.chip.warn { background: var(--warn-back); color: var(--warn); }
.chip.busy { background: var(--busy-back); color: var(--busy); }
.empty { padding: 34px 18px; text-align: center; color: var(--soft); }
.note { background: var(--bad-back); color: var(--bad); padding: 10px 14px; border-radius: 8px; overflow-wrap: anywhere; }
.note.good { background: var(--good-back); color: var(--good); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 5px 20px; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
details > summary { cursor: pointer; color: var(--link); width: fit-content; }
details[open] > summary { margin-bottom: 8px; }
details pre { background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; max-height: 420px; overflow: auto; }

/* Forms. */
button, input, select, textarea { font: inherit; color: inherit; }
button, input:not([type=checkbox]), select, textarea { background: var(--card); border: 1px solid var(--line); border-radius: 7px; padding: 6px 11px; min-height: 36px; }
button { cursor: pointer; white-space: nowrap; }
button:hover:not(:disabled) { border-color: var(--focus); }
button:disabled { opacity: .5; cursor: default; }
button.main { background: var(--link); border-color: var(--link); color: var(--card); font-weight: 500; }
button.danger { color: var(--bad); }
button.main.danger { background: var(--bad); border-color: var(--bad); color: var(--card); }
button.tiny { min-height: 0; padding: 1px 9px; font-size: .85rem; }
.buttons { display: flex; gap: 8px; flex-wrap: wrap; align-items: center; }
.filters { display: flex; gap: 10px 12px; flex-wrap: wrap; align-items: end; }
.filters label, .field { display: flex; flex-direction: column; gap: 3px; font-size: .8rem; color: var(--soft); }
.filters label > *, .field > input, .field > textarea, .field > select { font-size: .94rem; color: var(--text); }
.filters .check { flex-direction: row; align-items: center; gap: 6px; min-height: 36px; font-size: .93rem; color: var(--text); }
a.check { display: flex; }
.filters a.check { color: var(--link); }
.filters .grow { flex: 1 1 190px; }
.filters .grow input { width: 100%; }
input[type=checkbox] { width: 16px; height: 16px; margin: 0; accent-color: var(--focus); }
dialog { background: var(--card); color: var(--text); border: 1px solid var(--line); border-radius: 12px; padding: 22px 24px; width: min(540px, calc(100vw - 24px)); max-height: calc(100vh - 40px); box-shadow: 0 12px 40px rgba(0, 0, 0, .25); }
dialog::backdrop { background: rgba(10, 15, 25, .45); }
dialog form > * + * { margin-top: 14px; }
dialog .buttons { justify-content: flex-end; }
progress { width: 100%; height: 8px; accent-color: var(--focus); }
.first { max-height: 210px; overflow: auto; border: 1px solid var(--line); border-radius: 8px; padding: 8px 12px; }
.first div { overflow-wrap: anywhere; }

/* Charts, and the diagram that the server draws. */
.chart svg { display: block; width: 100%; height: 96px; overflow: visible; }
.chart .line { fill: none; stroke-width: 1.6; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.chart .area { opacity: .13; }
.chart .base { stroke: var(--line); vector-effect: non-scaling-stroke; }
.line.good { stroke: var(--good); } .area.good { fill: var(--good); }
.line.bad { stroke: var(--bad); } .area.bad { fill: var(--bad); }
.line.busy { stroke: var(--busy); } .area.busy { fill: var(--busy); }
.key { display: flex; gap: 14px; flex-wrap: wrap; font-size: .85rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.key i { display: inline-block; width: 9px; height: 9px; border-radius: 3px; margin-right: 6px; background: var(--idle); }
.key i.good { background: var(--good); } .key i.bad { background: var(--bad); } .key i.busy { background: var(--busy); }
.dtm-diagram{--bg:#fff;--ink:#1c2430;--quiet:#667080;--line:#c5cdd6;--box:#f2f5f8;--call:#2459b8;--good:#17763a;--bad:#c1272d;--warn:#945400;--gone:#c1272d14;--c:var(--call);max-width:100%;height:auto;background:var(--bg);font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif}
@media(prefers-color-scheme:dark){.dtm-diagram{--bg:#14181e;--ink:#e6ebf1;--quiet:#919cab;--line:#414b58;--box:#1f262f;--call:#7db1ff;--good:#56cc90;--bad:#ff8585;--warn:#e6b450;--gone:#ff858522}
}
.dtm-diagram text{fill:var(--ink);paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:round}
.dtm-diagram .t{fill:var(--quiet);font-size:11px;font-variant-numeric:tabular-nums;text-anchor:end}
.dtm-diagram .n{font-weight:600;text-anchor:middle;stroke:none}
.dtm-diagram .x{text-anchor:end}
.dtm-diagram .m{text-anchor:middle}
.dtm-diagram .i{stroke:none}
.dtm-diagram .l{stroke:var(--line);fill:none}
.dtm-diagram .d{stroke-dasharray:2 4}
.dtm-diagram .k{fill:var(--box);stroke:var(--line)}
.dtm-diagram .a{fill:var(--box);stroke:var(--line)}
.dtm-diagram .v{fill:var(--gone)}
.dtm-diagram .s{stroke:var(--c);stroke-width:1.4;fill:none}
.dtm-diagram .r{stroke-dasharray:5 3}
.dtm-diagram .o{stroke-dasharray:2 4}
.dtm-diagram .h{fill:var(--c)}
.dtm-diagram .f{fill:var(--box);stroke:var(--c)}
.dtm-diagram .g{--c:var(--good)}
.dtm-diagram .b{--c:var(--bad)}
.dtm-diagram .w{--c:var(--warn)}
.dtm-diagram .q{--c:var(--quiet)}
.dtm-diagram .g .e,.dtm-diagram .b .e,.dtm-diagram .w .e,.dtm-diagram .q .e{fill:var(--c)}
.dtm-diagram .q .e{font-style:italic}

.diagram { overflow-x: auto; padding: 0 24px; }
.diagram svg { --bg: var(--card); display: block; margin: auto; overflow: visible; }

@media (max-width: 720px) {
  .bar > div { padding: 0 12px; }
  .bar nav { order: 3; flex-basis: 100%; overflow-x: auto; }
  .bar nav a { padding: 8px 9px; }
  .bar .server { margin-left: auto; }
  main { padding: 16px 12px 50px; }
  .grid { grid-template-columns: repeat(2, 1fr); gap: 10px; }
  .grid.wide { grid-template-columns: 1fr; }
  /* A row of a table becomes a block; each cell says what it is. */
  .folds thead { display: none; }
  .folds, .folds tbody, .folds tr, .folds td { display: block; width: 100%; max-width: none; }
  .folds tr { padding: 10px 14px; border-bottom: 1px solid var(--line); }
  .folds tbody tr:last-child { border-bottom: 0; }
  .folds td { border: 0; padding: 2px 0; display: flex; gap: 12px; text-align: left !important; }
  .folds td > * { min-width: 0; }
)desk"
R"desk(  .folds td:empty { display: none; }
  .folds td[data-name]::before { content: attr(data-name); color: var(--soft); font-size: .8rem; flex: 0 0 84px; padding-top: 2px; }
  .folds tr.chosen td:first-child { box-shadow: none; }
  .folds tr.chosen { box-shadow: inset 3px 0 var(--focus); }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; }
}
@media (prefers-reduced-motion: no-preference) {
  button, a.tile { transition: border-color .12s; }
}
)desk";

inline constexpr char kScript[] =
R"desk('use strict';

// ---- Elements, made of names and texts -----------------------------------------------------------------------------------

const SVG = 'http://www.w3.org/2000/svg';

/** An element. Attributes that are null, undefined or false are left out, and such children and empty texts. */
function element(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same of an SVG. */
function shape(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (isSomething(value)) node.setAttribute(key, value === true ? '' : String(value));
  }
  node.append(...children.flat(9).filter(child => isSomething(child) && child !== ''));
  return node;
}

const isSomething = value => value !== null && value !== undefined && value !== false;
const box = (kind, ...children) => element('div', {class: kind}, ...children);
const byId = id => document.getElementById(id);

/**
 * Makes the children of `old` those of `fresh`, and keeps what is the same: focus, selection, what is open or typed. Elements with
 * data-key are found by it, wherever they are.
 */
function morph(old, fresh) {
  const keyed = new Map([...old.children].filter(keyOf).map(node => [keyOf(node), node]));
  const wanted = new Set([...fresh.children].map(keyOf));
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    const same = keyOf(node) ? keyed.get(keyOf(node)) : at;
    if (!same || !isAlike(same, node)) {
      old.insertBefore(node, at);
      continue;
    }
    while (at !== same && at && !wanted.has(keyOf(at) || null)) at = removed(at);
    if (at === same) at = at.nextSibling;
    else old.insertBefore(same, at);
    if (node.nodeType === Node.TEXT_NODE) morphText(same, node);
    else morphElement(same, node);
  }
  while (at) at = removed(at);
}

const keyOf = node => node.dataset?.key ?? '';
const isAlike = (a, b) => a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function morphText(old, fresh) {
  if (old.data !== fresh.data) old.data = fresh.data;
}

function morphElement(old, fresh) {
  const kept = old.nodeName === 'DETAILS' ? ['open'] : [];
  for (const {name} of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  }
  for (const {name, value} of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morph(old, fresh);
}

// ---- The state, and what is drawn of it ----------------------------------------------------------------------------------

const POLL_MS = 2000;        // how often the server is asked, while the page is visible
const SAMPLES = 150;         // of the charts: five minutes
const ROWS = 50;             // of a page of the list
const MOST_AT_ONCE = 10000;  // transactions of one bulk action

const state = {
  token: sessionStorage.getItem('dtm-token') ?? '',
  who: sessionStorage.getItem('dtm-who') ?? '',
  locked: false,       // the server wants a token, or another one
  tokenProblem: '',
  reachable: true,
  trouble: '',         // what is wrong with the server, as far as it can say
  overview: null,      // what the server last said of itself
  samples: [],         // of its counters, see sampleOf
  page: {name: 'overview', params: new URLSearchParams(), data: null, problem: '', notice: ''},
  listHash: '#/list',  // where the list was left
  dialog: null,        // see dialogs
};

let drawPending = false;

/** Changes the state; what is shown follows. */
function set(patch) {
  Object.assign(state, patch);
  if (drawPending) return;
  drawPending = true;
  queueMicrotask(() => {
    drawPending = false;
    draw();
  });
}

const setPage = patch => set({page: {...state.page, ...patch}});
const setDialog = patch => state.dialog && set({dialog: {...state.dialog, ...patch}});

function draw() {
  drawBar();
  drawPage();
  drawDialog(byId('dialog'), state.dialog && !state.locked ? dialogs[state.dialog.kind](state.dialog) : null);
  drawDialog(byId('login'), state.locked ? loginForm() : null);
}

function drawBar() {
  const stuck = state.overview?.stuck ?? 0;
  morph(byId('nav'), box('', Object.entries(pages).filter(([, page]) => page.link).map(([name, page]) =>
    element('a', {href: page.link, 'aria-current': inSection(name) ? 'page' : null}, page.title,
      name === 'list' && stuck > 0 ? [' ', chip('bad', String(stuck), `${stuck} stuck`)] : null))));
  const said = !state.reachable ? 'no answer' : state.overview ? `${state.overview.version} · ${state.overview.store}` : '';
  const wrong = !state.reachable ? 'The server does not answer. What is shown is what it said last.' : state.trouble;
  morph(byId('server'), box('', element('span', {class: 'dot ' + (wrong ? 'bad' : state.overview ? 'good' : '')}), said));
  byId('banner').hidden = !wrong;
  byId('banner').textContent = wrong && `${wrong.replace(/\.?$/, '.')} The desk asks again every two seconds.`;
}

const inSection = name => name === state.page.name || (name === 'list' && state.page.name === 'transaction');

function drawPage() {
  const page = pages[state.page.name];
  document.title = `${state.page.name === 'transaction' ? state.page.params.get('gid') : page.title} · dtm desk`;
  morph(byId('main'), box('', box('notes', notes()), page.draw(state.page.data, state.page.params)));
}

function notes() {
  const {problem, notice} = state.page;
  return [problem && element('p', {class: 'note', role: 'alert', 'data-key': 'problem'}, problem),
    notice && element('p', {class: 'note good', role: 'status', 'data-key': 'notice'}, notice)].filter(Boolean);
}

function drawDialog(dialog, content) {
  if (!content) {
    if (dialog.open) dialog.close();
    dialog.replaceChildren();
    return;
  }
  morph(dialog, box('', content));
  if (dialog.open) return;
  dialog.showModal();
  dialog.querySelector('[autofocus]')?.focus();
}

// ---- The server ----------------------------------------------------------------------------------------------------------

/** Said by the server, or of it, in a sentence. */
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The reply to a request of the API: JSON, or text if `as` says so. `body`: it is a POST. */
async function ask(path, {query = {}, body, method, as = 'json'} = {}) {
  const reply = await send(`api/dtmsvr/${path}${searchText(query)}`, {
    method: method ?? (body ? 'POST' : 'GET'),
    headers: state.token ? {Authorization: `Bearer ${state.token}`} : {},
    body: body && JSON.stringify(body),
    cache: 'no-store',
    signal: AbortSignal.timeout(20000),
  });
  if (reply.status === 401) lock();
  if (!reply.ok) throw new Refused(reply.status, sentenceOf(reply));
  return as === 'text' ? reply.text : jsonOf(reply);
}

/** A reply that breaks off is none. */
async function send(url, options) {
  try {
    const {status, ok, text} = await fetch(url, options).then(async reply => ({status: reply.status, ok: reply.ok, text: await reply.text()}));
    if (!state.reachable) set({reachable: true});
    return {status, ok, text};
  } catch {
    set({reachable: false});
    throw new Refused(0, 'The server does not answer.');
  }
}

function jsonOf({status, text}) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused(status, 'What answers here is no dtm, or something between: it did not send JSON.');
  }
}

function sentenceOf({status, text}) {
  try {
    return JSON.parse(text).message || text;
  } catch {
    return status === 404 ? 'This server does not know what the desk asked for; it may be older.' : `${status}: ${text.slice(0, 300)}`;
  }
}

function searchText(query) {
  const given = Object.entries(query).filter(([, value]) => isSomething(value) && value !== '');
  return given.length ? '?' + new URLSearchParams(given) : '';
}

function lock() {
  set({locked: true, tokenProblem: state.token ? 'The server does not take this token.' : ''});
}

/** Asks the server how it is, and what the page shows if that changes by itself or could not be read. */
async function poll() {
  try {
    if (document.visibilityState === 'visible' && !state.locked) await look();
  } finally {
    clearTimeout(poll.timer);
    poll.timer = setTimeout(poll, POLL_MS);
  }
}

async function look() {
  try {
    const overview = await ask('overview');
    const trouble = overview.store_fails ? 'The last write to the store failed, and nothing goes on until one works; the log of the server says why.' : '';
    set({overview, trouble, samples: [...state.samples, sampleOf(overview)].slice(-SAMPLES)});
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    set({trouble: error.status === 0 || error.status === 401 ? '' : error.message});
    if (error.status === 0 || error.status === 401) return;
  }
  const {name, data, isStale} = state.page;
  if (data === null || isStale || pages[name].isLive?.(data)) await load();
}

/** Reads what the present page shows. A reply that comes after the page was left is dropped. */
async function load() {
  const page = pages[state.page.name];
  const {params, visit} = state.page;
  const isHere = () => state.page.visit === visit;
  if (!page.load) return;
  try {
    const data = await page.load(params, state.page.data, progress => isHere() && setPage({data: progress}), isHere);
    if (isHere()) setPage({data, problem: '', isStale: false});
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (isHere() && error.status !== 401) setPage({problem: error.status === 0 ? '' : error.message, isStale: true});
  }
}

// ---- Where we are: #/name?parameters -------------------------------------------------------------------------------------

let visits = 0;

function placeOf(hash) {
  const [path, search] = hash.replace(/^#\/?/, '').split('?');
  return {name: Object.hasOwn(pages, path) ? path : 'overview', params: new URLSearchParams(search)};
}

const linkTo = (name, query = {}) => `#/${name}${searchText(query)}`;

function arrive() {
  visits += 1;
  const {name, params} = placeOf(location.hash);
  const stays = name === state.page.name && name === 'list';  // its form keeps the focus
  if (stays) fillFilters(params);
  else byId('main').replaceChildren();
  if (name === 'list') state.listHash = location.hash || linkTo('list');
  const data = stays && state.page.data ? {...state.page.data, searching: true} : null;
  set({page: {name, params, visit: visits, data, problem: '', notice: ''}, dialog: null});
  if (!stays) scrollTo(0, 0);
  load();
}

// ---- Texts ---------------------------------------------------------------------------------------------------------------

const UNITS = [['d', 86400], ['h', 3600], ['min', 60]];

/** "3 min", "0.25 s" */
function spanText(ms) {
  const seconds = Math.max(0, ms) / 1000;
  for (const [name, size] of UNITS) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${name}`;
  }
  if (seconds >= 10) return `${Math.round(seconds)} s`;
  return seconds >= 1 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds * 1000)} ms`;
}

const millis = text => Date.parse(text);
const agoText = text => text ? `${spanText(now() - millis(text))} ago` : '';
const numberText = value => value.toLocaleString('en-US');
const rateText = value => value === null ? '–' : value >= 10 || Number.isInteger(value) ? numberText(Math.round(value)) : value.toFixed(1);

/** The server's clock, as far as it is known: that of the browser may be wrong. */
function now() {
  const last = state.samples.at(-1);
  return last ? last.time + (performance.now() - last.at) : Date.now();
}

/** A time of the server, of which the title has all. */
function when(text, shown = agoText(text)) {
)desk"
R"desk(  return text ? element('time', {datetime: text, title: `${new Date(text).toLocaleString()} (${text})`}, shown) : '';
}

/** "14:03:07.250", with the day if that is another one. */
function clockText(text) {
  const time = new Date(text);
  const day = time.toDateString() === new Date(now()).toDateString() ? '' : time.toLocaleDateString() + ' ';
  return `${day}${time.toLocaleTimeString('en-GB')}.${String(time.getMilliseconds()).padStart(3, '0')}`;
}

const chip = (kind, text, title) => element('span', {class: `chip ${kind}`, title}, text);

const STATUS_KINDS = {succeed: 'good', failed: 'bad', aborting: 'warn', submitted: 'busy', prepared: ''};
const OUTCOME_KINDS = {success: 'good', failure: 'bad', error: 'bad', lost: 'warn', ongoing: 'busy', running: 'busy'};

const isFinal = transaction => transaction.status === 'succeed' || transaction.status === 'failed';
const isStuck = transaction => transaction.stuck === true;

function statusChips(transaction) {
  return [chip(STATUS_KINDS[transaction.status] ?? '', transaction.status),
    isStuck(transaction) && [' ', chip('bad', 'stuck', 'nothing goes on until somebody retries, skips or stops it')],
    transaction.expired && [' ', chip('', 'expired', 'only its gid is kept')]];
}

/** The bytes of base64 as text; of what is not text, how long it is. */
function textOf(base64) {
  const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
  try {
    return prettyJson(new TextDecoder('utf-8', {fatal: true}).decode(bytes));
  } catch {
    return `${bytes.length} bytes that are not text`;
  }
}

function prettyJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// ---- Overview ------------------------------------------------------------------------------------------------------------

/** What the charts need of an overview. */
function sampleOf(overview) {
  const {ended = [], branches: calls = []} = overview.counters ?? {};
  const sum = (list, wanted) => list.filter(wanted).reduce((all, one) => all + one.count, 0);
  return {
    time: millis(overview.time), at: performance.now(), unfinished: overview.unfinished, ended,
    succeeded: sum(ended, one => one.status === 'succeed'), failed: sum(ended, one => one.status === 'failed'),
    calls: sum(calls, one => one.ok), badCalls: sum(calls, one => !one.ok),
  };
}

/** How fast a counter rises between two samples, in 1/s; null if that is not known: it began anew, or there was a long gap. */
function rateBetween(before, after, count) {
  if (!before || !after) return null;
  const seconds = (after.at - before.at) / 1000;
  const rise = count(after) - count(before);
  return rise < 0 || seconds <= 0 || seconds > 15 ? null : rise / seconds;
}

const ratesOf = count => state.samples.map((sample, i) => rateBetween(state.samples[i - 1], sample, count));

function drawOverview() {
  const told = state.overview;
  if (!told) return element('p', {class: 'soft'}, state.locked ? '' : 'Asking the server …');
  const stuck = told.stuck > 0;
  return [
    element('h1', {class: 'unseen'}, 'Overview'),
    box('grid', [
      tile('unfinished', numberText(told.unfinished), linkTo('list', {unfinished: 1})),
      tile('waiting for a time', numberText(told.waiting)),
      tile('stuck', numberText(told.stuck), linkTo('list', {stuck: 1}), stuck ? 'bad' : ''),
      told.damaged > 0 && tile('records are damaged', numberText(told.damaged), null, 'bad'),
      tile('the oldest began', told.oldest_time ? agoText(told.oldest_time) : '–'),
      tile('ended a second', rateText(lastRate(one => one.succeeded + one.failed))),
      tile('calls a second', rateText(lastRate(one => one.calls + one.badCalls))),
    ]),
    box('grid wide', [
      chart('Ended, per second', [['good', 'succeeded', ratesOf(one => one.succeeded)], ['bad', 'failed', ratesOf(one => one.failed)]]),
      chart('Calls, per second', [['busy', 'done', ratesOf(one => one.calls)], ['bad', 'refused or in error', ratesOf(one => one.badCalls)]]),
      chart('Unfinished', [['busy', 'unfinished', state.samples.map(one => one.unfinished)]]),
    ]),
    box('grid wide', [typesCard(told), hostsCard(told)]),
  ];
}

const lastRate = count => ratesOf(count).at(-1) ?? null;

function tile(text, value, link, kind = '') {
  return element(link ? 'a' : 'div', {class: `card tile ${kind}`, href: link}, element('b', {}, value), element('span', {class: 'soft small'}, text));
}

const CHART_WIDTH = 300, CHART_HEIGHT = 96;

/** `series`: [colour, name, values], of which null is a gap. */
function chart(title, series) {
  const most = Math.max(1, ...series.flatMap(([, , values]) => values));
  const said = series.map(([, name, values]) => `${name} ${rateText(values.at(-1) ?? null)}`).join(', ');
  return element('section', {class: 'card chart', 'data-chart': title},
    box('top', element('h2', {}, title), element('span', {class: 'soft small'}, `up to ${rateText(most)}`)),
    shape('svg', {viewBox: `0 0 ${CHART_WIDTH} ${CHART_HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}: now ${said}`},
      shape('path', {class: 'base', d: `M0 ${CHART_HEIGHT}H${CHART_WIDTH}`}),
      series.map(([kind, , values]) => stretches(values).map(stretch => curve(kind, stretch, most)))),
    box('key', series.map(([kind, name, values]) => element('span', {}, element('i', {class: kind}), `${name} ${rateText(values.at(-1) ?? null)}`))));
}

/** [[index, value], ...] of each stretch without a gap. The newest value is at the right end. */
function stretches(values) {
  const found = [];
  let open = false;
  values.forEach((value, i) => {
    if (value === null) {
      open = false;
      return;
    }
    if (!open) found.push([]);
    open = true;
    found.at(-1).push([i + SAMPLES - values.length, value]);
  });
  return found;
}

function curve(kind, stretch, most) {
  const x = i => (i / (SAMPLES - 1) * CHART_WIDTH).toFixed(1);
  const y = value => (CHART_HEIGHT - 2 - value / most * (CHART_HEIGHT - 8)).toFixed(1);
  const line = stretch.map(([i, value]) => `${x(i)} ${y(value)}`).join('L');
  return [shape('path', {class: `area ${kind}`, d: `M${x(stretch[0][0])} ${CHART_HEIGHT}L${line}L${x(stretch.at(-1)[0])} ${CHART_HEIGHT}Z`}),
    shape('path', {class: `line ${kind}`, d: `M${line}`})];
}

function typesCard(told) {
  const ended = told.counters?.ended ?? [];
  const types = [...new Set(ended.map(one => one.type))];
  const count = (type, status) => sample => sample.ended.filter(one => one.type === type && one.status === status).reduce((all, one) => all + one.count, 0);
  const last = {ended};
  return tableCard('By type, since the server started', ['type', 'succeeded', 'failed', 'a second'], types.map(type => [
    element('a', {href: linkTo('list', {type})}, type),
    numberText(count(type, 'succeed')(last)), numberText(count(type, 'failed')(last)),
    rateText(lastRate(sample => count(type, 'succeed')(sample) + count(type, 'failed')(sample)))]), 'Nothing has ended yet.');
}

function hostsCard(told) {
  return tableCard('By host', ['host', 'calls out', 'waiting', ''], (told.calls?.hosts ?? []).map(host => [
    host.host, numberText(host.in_flight), numberText(host.waiting), host.limited ? chip('warn', 'silent', 'it does not answer, so few calls at a time go to it') : '']),
  'No call by URL is out or waits.');
}

function tableCard(title, names, rows, otherwise) {
  return element('section', {class: 'card flush'}, element('h2', {}, title),
    rows.length ? box('scroll', table('', names, rows)) : box('empty', otherwise));
}

/** Numbers are at the right. `rows`: cells, or {attributes, cells}. */
function table(kind, names, rows) {
  const isNumber = cell => typeof cell === 'string' && /^[\d.,–]+$/.test(cell);
  const cellsOf = row => row.cells ?? row;
  const right = names.map((_, i) => rows.length > 0 && rows.every(row => isNumber(cellsOf(row)[i])));
  return element('table', {class: kind},
    element('thead', {}, element('tr', {}, names.map((name, i) => element('th', {class: right[i] && 'right', scope: 'col'}, name)))),
    element('tbody', {}, rows.map(row => element('tr', row.attributes, cellsOf(row).map((cell, i) =>
      element('td', {class: right[i] && 'right', 'data-name': names[i] || null}, cell))))));
}

// ---- The list ------------------------------------------------------------------------------------------------------------

const STATUSES = ['prepared', 'submitted', 'aborting', 'succeed', 'failed'];
const TYPES = ['saga', 'msg', 'tcc', 'xa', 'workflow'];
const AGES = [['60', 'a minute'], ['600', 'ten minutes'], ['3600', 'an hour'], ['86400', 'a day']];
const FILTERS = ['gid', 'status', 'type', 'target', 'age', 'unfinished', 'stuck', 'errors'];

/** What the server is asked for what the form says. */
function queryOf(params) {
  return {
    gidPrefix: params.get('gid'), status: params.get('status'), transType: params.get('type'), target: params.get('target'),
    unfinished: params.get('unfinished'), stuck: params.get('stuck'), errors: params.get('errors'),
    short: 1, createTimeEnd: params.get('age') && Math.floor(now() - Number(params.get('age')) * 1000),
  };
}

/** Reads until there are `most`, or no more. The server may give short pages: it looks at so many at a time. */
async function readSome(query, most, position, told, goOn) {
  const rows = [];
  let next = position ?? '';
  do {
    const page = await ask('all', {query: {...query, position: next, limit: Math.min(most - rows.length, 1000)}});
    rows.push(...page.transactions ?? []);
    next = page.next_position;
    told({rows: [...rows], next, searching: true});
  } while (next && rows.length < most && goOn());
  return {rows, next, searching: false};
}

const loadList = (params, data, told, isHere) => readSome(queryOf(params), ROWS, params.get('at'), told, isHere);

function drawList(data, params) {
  const filtered = FILTERS.some(name => params.get(name));
  return [
    box('top', element('h1', {}, 'Transactions'), box('buttons',
      element('button', {type: 'button', 'data-do': 'reload'}, 'Refresh'),
      element('button', {type: 'button', 'data-do': 'bulk', disabled: !data?.rows.length}, filtered ? 'Act on all of these …' : 'Act on all unfinished …'))),
    filterForm(params),
    element('section', {class: 'card flush', 'aria-label': 'Transactions', 'aria-busy': String(!data || data.searching)},
      data?.rows.length ? listTable(data.rows) : box('empty', listNothing(data, filtered)),
      ),
    box('top', element('p', {class: 'soft small', role: 'status', id: 'progress'}, listProgress(data)), pager(data, params)),
  ];
}

function listNothing(data, filtered) {
  if (!data || data.searching) return 'Reading …';
  return filtered ? 'No transaction is like this.' : 'There is no transaction yet.';
}

function listProgress(data) {
  if (!data) return '';
  const count = data.rows.length === 1 ? '1 transaction' : `${numberText(data.rows.length)} transactions`;
  return data.searching ? `Searching on: ${count} so far` : `${count}${data.next ? ' on this page' : ''}`;
}

function pager(data, params) {
  const query = Object.fromEntries(FILTERS.map(name => [name, params.get(name)]));
  return box('buttons',
    params.get('at') && [element('a', {href: linkTo('list', query)}, 'Newest'), element('button', {type: 'button', 'data-do': 'back'}, '← Newer')],
    data?.next && !data.searching && element('a', {href: linkTo('list', {...query, at: data.next}), id: 'older'}, 'Older →'));
}

function filterForm(params) {
  const option = (value, text, key) => element('option', {value, selected: (params.get(key) ?? '') === value}, text);
  const choice = (key, text, options) => element('label', {}, text,
    element('select', {name: key}, option('', 'any', key), options.map(([value, shown]) => option(value, shown, key))));
  const field = (key, text, hint) => element('label', {class: 'grow'}, text,
)desk"
R"desk(    element('input', {name: key, value: params.get(key), placeholder: hint, autocomplete: 'off', spellcheck: 'false', type: 'search'}));
  const check = (key, text) => element('label', {class: 'check'}, element('input', {type: 'checkbox', name: key, value: '1', checked: params.get(key) === '1'}), text);
  return element('form', {class: 'card filters', id: 'filters', role: 'search', 'data-do': 'filter', 'data-key': 'filters'},
    field('gid', 'gid begins with', '/'), field('target', 'calls a function or URL with', ''),
    choice('status', 'status', STATUSES.map(name => [name, name])), choice('type', 'type', TYPES.map(name => [name, name])),
    choice('age', 'older than', AGES), check('unfinished', 'unfinished'), check('stuck', 'stuck'), check('errors', 'with errors'),
    element('a', {href: linkTo('list'), class: 'check'}, 'Clear'));
}

function listTable(rows) {
  return box('scroll', table('list folds', ['gid', 'status', 'type', 'began', 'next', 'last error'], rows.map(row => ({
    attributes: {'data-do': 'open', 'data-gid': row.gid, 'data-key': row.gid},
    cells: [
      element('a', {href: linkTo('transaction', {gid: row.gid}), class: 'mono wrap', 'data-row': true}, row.gid),
      element('span', {}, statusChips(row)), row.trans_type, when(row.create_time), nextText(row),
      errorOf(row) && element('span', {class: 'cut small soft', title: errorOf(row)}, errorOf(row))],
  }))));
}

const errorOf = row => row.last_error ?? row.rollback_reason ?? '';

function nextText(row) {
  if (isFinal(row)) return `took ${spanText(millis(row.finish_time ?? row.rollback_time) - millis(row.create_time))}`;
  if (!row.next_cron_time) return isStuck(row) ? 'never by itself' : '';
  const wait = millis(row.next_cron_time) - now();
  return when(row.next_cron_time, wait <= 0 ? 'now' : `in ${spanText(wait)}`);
}

// ---- One transaction -----------------------------------------------------------------------------------------------------

const MOST_ATTEMPTS = 60;  // shown at first

async function loadTransaction(params, before) {
  const gid = params.get('gid') ?? '';
  const story = await ask('timeline', {query: {gid}});
  if (!story.transaction) return {story, gid};
  const raw = JSON.stringify(story);
  const {text} = await ask('explain', {query: {gid}});
  const isSame = raw === before?.raw && isFinal(story.transaction);
  const diagram = isSame ? before.diagram : await askDiagram(gid);
  return {story, gid, raw, diagram, explanation: text};
}

/** The drawing of the server, of which only shapes and texts are taken over; null if it makes none. */
async function askDiagram(gid) {
  const text = await ask('timeline', {query: {gid, format: 'svg'}, as: 'text'});
  if (!text.startsWith('<svg')) return null;
  // Without its name space it is XML that means nothing to the browser: no style applies, no handler is made.
  const parsed = new DOMParser().parseFromString(text.replace(` xmlns="${SVG}"`, ''), 'text/xml').documentElement;
  return parsed.localName === 'svg' && !parsed.namespaceURI ? parsed : null;
}

const DRAWN = ['svg', 'g', 'path', 'rect', 'circle', 'line', 'polyline', 'polygon', 'text', 'tspan', 'title', 'desc'];
const DRAWN_WITH = ['viewBox', 'width', 'height', 'x', 'y', 'x1', 'y1', 'x2', 'y2', 'cx', 'cy', 'r', 'rx', 'ry', 'd', 'points', 'dx', 'dy', 'transform', 'class',
  'fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linecap', 'stroke-linejoin', 'opacity', 'fill-opacity', 'stroke-opacity', 'text-anchor', 'dominant-baseline', 'font-size',
  'font-family', 'font-weight', 'role', 'aria-label'];

/** A copy of what is known to be harmless. */
function copyDrawing(node) {
  if (node.nodeType === Node.TEXT_NODE) return document.createTextNode(node.data);
  if (node.nodeType !== Node.ELEMENT_NODE || node.namespaceURI || !DRAWN.includes(node.localName)) return null;
  const attributes = [...node.attributes].filter(({name, value}) => DRAWN_WITH.includes(name) && !/url\s*\(/i.test(value));
  return shape(node.localName, Object.fromEntries(attributes.map(({name, value}) => [name, value])), [...node.childNodes].map(copyDrawing));
}

function drawTransaction(data) {
  if (!data) return element('p', {class: 'soft'}, 'Reading …');
  const {transaction, branches, attempts, entries, runs} = data.story;
  if (!transaction) {
    return [element('h1', {class: 'mono'}, data.gid), box('card empty', 'There is no transaction of this gid: there never was one, or its record has expired.'),
      element('a', {href: state.listHash}, '← Transactions')];
  }
  return [
    transactionHead(transaction),
    data.explanation && !isFinal(transaction) && element('section', {class: 'card', 'data-key': 'explanation'}, element('h2', {}, 'What it does now'), element('pre', {}, data.explanation)),
    data.diagram && element('section', {class: 'card', 'data-key': 'diagram'}, element('h2', {}, 'Timing'), box('diagram', copyDrawing(data.diagram))),
    branchesCard(transaction, branches, attempts),
    attemptsCard(attempts, runs),
    decisionsCard(entries),
    optionsCard(transaction),
    element('section', {class: 'card', 'data-key': 'raw'}, element('details', {'data-key': 'raw'}, element('summary', {}, 'Raw JSON'),
      element('pre', {id: 'raw'}, JSON.stringify(data.story, null, 2)))),
  ];
}

function transactionHead(transaction) {
  const ended = transaction.finish_time ?? transaction.rollback_time;
  const act = (action, isDanger) => element('button', {type: 'button', class: isDanger && 'danger', 'data-do': 'act', 'data-action': action}, actions[action].label + ' …');
  return element('section', {class: 'top', 'data-key': 'head'},
    box('', element('a', {href: state.listHash, class: 'small'}, '← Transactions'),
      element('h1', {class: 'mono', id: 'gid'}, transaction.gid),
      element('p', {}, statusChips(transaction), element('span', {class: 'soft'}, ` ${transaction.trans_type}`, transaction.expired ? '' : [', began ', when(transaction.create_time)],
        ended ? [', ended ', when(ended)] : '', ended && !transaction.expired ? ` after ${spanText(millis(ended) - millis(transaction.create_time))}` : ''))),
    !isFinal(transaction) && box('buttons', act('retry'), act('cancel', true), act('stop', true)));
}

function branchesCard(transaction, branches, attempts) {
  const made = branch => attempts.filter(one => one.branch_id === branch.branch_id && one.op === branch.op).length;
  const canSkip = branch => !isFinal(transaction) && branch.status !== 'succeed';
  return element('section', {class: 'card flush', 'data-key': 'branches'}, element('h2', {}, 'Branches'),
    branches.length === 0 ? box('empty', 'It has no branches.') :
    box('scroll', table('folds', ['branch', 'call', 'status', 'attempts', 'payload', ''], branches.map(branch => [
      element('span', {class: 'mono'}, `${branch.branch_id} ${branch.op}`),
      element('span', {class: 'mono wrap'}, branch.name ?? '', branch.name && branch.url ? ' ' : '', branch.url ?? (branch.name ? '' : 'nothing to call')),
      chip(STATUS_KINDS[branch.status] ?? '', branch.status), String(made(branch)), payloadOf(branch),
      canSkip(branch) && element('button', {type: 'button', class: 'tiny', 'data-do': 'skip-branch', 'data-branch': branch.branch_id, 'data-op': branch.op}, 'Skip …')]))));
}

function payloadOf(branch) {
  if (!branch.bin_data) return '';
  const text = textOf(branch.bin_data);
  const shown = text.length > 20000 ? `${text.slice(0, 20000)}\n… ${numberText(text.length - 20000)} characters more` : text;
  return text.length <= 40 && !text.includes('\n') ? element('code', {class: 'wrap'}, text) :
    element('details', {'data-key': `payload ${branch.branch_id} ${branch.op}`}, element('summary', {class: 'small'}, `${numberText(text.length)} characters`), element('pre', {}, shown));
}

function attemptsCard(attempts, runs) {
  const shown = attempts.slice(-MOST_ATTEMPTS);
  const isOne = runs.length <= 1;
  return element('section', {class: 'card flush', 'data-key': 'attempts'},
    element('h2', {}, 'Attempts', shown.length < attempts.length && element('span', {class: 'soft small'}, ` the last ${shown.length} of ${attempts.length}; all are in the raw JSON`)),
    attempts.length === 0 ? box('empty', 'No call is in its journal.') :
    box('scroll', table('folds', ['began', 'branch', 'outcome', 'took', isOne ? '' : 'process', 'said'], shown.map(one => [
      one.begin_time ? when(one.begin_time, clockText(one.begin_time)) : element('span', {class: 'soft'}, 'not kept'),
      element('span', {class: 'mono'}, `${one.branch_id ?? ''} ${one.op ?? ''}`),
      chip(OUTCOME_KINDS[one.outcome] ?? '', one.outcome),
      one.begin_time && one.end_time ? spanText(millis(one.end_time) - millis(one.begin_time)) : '',
      isOne ? '' : element('span', {class: 'small wrap'}, runs[one.run]?.process || `run ${one.run + 1}`),
      element('span', {class: 'small wrap'}, one.text)]))));
}

const CALLS = ['started', 'success', 'failure', 'ongoing', 'error', 'not sent'];
const KIND_COLOURS = {succeeded: 'good', failed: 'bad', rollback: 'warn', stuck: 'bad', cancel: 'warn', 'force stop': 'bad', repair: 'warn', 'taken up': 'busy'};
const KIND_WORDS = {repair: 'skipped', gap: 'not kept'};

function decisionsCard(entries) {
  const decisions = entries.filter(entry => !CALLS.includes(entry.kind));
  const said = entry => entry.kind === 'gap' ? (entry.count ? `${entry.count} entries` : 'some entries') : entry.text;
  return element('section', {class: 'card flush', 'data-key': 'decisions'}, element('h2', {}, 'Decisions'),
    decisions.length === 0 ? box('empty', 'Its journal is empty.') :
    box('scroll', table('folds', ['time', 'what', 'branch', 'who', 'why'], decisions.map(entry => [
      entry.time ? when(entry.time, clockText(entry.time)) : '', chip(KIND_COLOURS[entry.kind] ?? '', KIND_WORDS[entry.kind] ?? entry.kind),
      entry.branch_id ? element('span', {class: 'mono'}, `${entry.branch_id} ${entry.op}`) : '',
      element('span', {class: 'wrap'}, entry.who), element('span', {class: 'wrap'}, said(entry))]))));
}

const OPTION_NAMES = ['wait_result', 'timeout_to_fail', 'request_timeout', 'retry_interval', 'retry_limit', 'concurrent', 'protocol', 'query_prepared', 'custom_data', 'retry_count',
  'next_cron_interval', 'rollback_reason', 'rollback_from', 'last_error'];

function optionsCard(transaction) {
  const headers = Object.keys(transaction.branch_headers ?? {});
  const given = OPTION_NAMES.filter(name => isSomething(transaction[name])).map(name => [name, String(transaction[name])]);
  if (headers.length) given.push(['branch_headers', `${headers.join(', ')} (their values are not shown)`]);
  return element('section', {class: 'card', 'data-key': 'options'}, element('h2', {}, 'Details'),
    element('dl', {}, given.map(([name, value]) => [element('dt', {}, name.replaceAll('_', ' ')), element('dd', {}, value)])));
}

// ---- Topics and nodes ----------------------------------------------------------------------------------------------------

async function loadTopics(params) {
  const page = await ask('scanKV', {query: {cat: 'topics', limit: 100, position: params.get('at')}});
  return {topics: page.kv.map(value => ({name: value.k, subscribers: subscribersIn(value.v)})), next: page.next_position};
}

function subscribersIn(text) {
  try {
    const list = JSON.parse(text);
    return Array.isArray(list) ? list.filter(one => typeof one?.url === 'string') : [];
  } catch {
    return [];
  }
}

function drawTopics(data) {
  const field = (name, text, hint, required) => element('label', {class: 'grow'}, text, element('input', {name, required, placeholder: hint, autocomplete: 'off', spellcheck: 'false'}));
  return [
    element('h1', {}, 'Topics'),
    element('form', {class: 'card filters', 'data-do': 'subscribe', 'data-key': 'subscribe'}, field('topic', 'topic', 'order.paid', true),
)desk"
R"desk(      field('url', 'URL that is called', 'https://host/path', true), field('remark', 'remark', '', false), element('button', {class: 'main'}, 'Subscribe')),
    !data ? element('p', {class: 'soft'}, 'Reading …') : data.topics.length === 0 ? box('card empty', 'There is no topic yet. A message to topic://name goes to all its subscribers.') :
    data.topics.map(topicCard),
    data?.next && element('a', {href: linkTo('topics', {at: data.next})}, 'More →'),
  ];
}

function topicCard({name, subscribers}) {
  const button = (text, attributes) => element('button', {type: 'button', class: 'tiny danger', 'data-topic': name, ...attributes}, text);
  return element('section', {class: 'card flush', 'data-key': `topic ${name}`},
    box('top', element('h2', {class: 'mono wrap'}, name), button('Delete topic …', {'data-do': 'delete-topic'})),
    subscribers.length === 0 ? box('empty', 'Nobody is subscribed.') : box('scroll', table('folds', ['URL', 'remark', ''], subscribers.map(one => [
      element('span', {class: 'mono wrap'}, one.url), element('span', {class: 'wrap'}, one.remark ?? ''),
      box('right', button('Unsubscribe …', {'data-do': 'unsubscribe', 'data-url': one.url}))]))));
}

const loadNodes = () => ask('nodes');

function drawNodes(data) {
  const nodes = data?.nodes ?? [];
  return [
    element('h1', {}, 'Nodes'),
    element('p', {class: 'soft'}, 'The coordinators that share this store. When one is silent for longer than the lease, the others take over what it drove.'),
    element('section', {class: 'card flush'}, !data ? box('empty', 'Reading …') : box('scroll', table('folds', ['name', 'app', 'state', 'last heard of', 'id'], nodes.map(node => [
      element('span', {class: 'wrap'}, node.name || '–', node.self && [' ', chip('busy', 'this one')]), node.app ?? '',
      node.member ? chip('good', 'member') : chip('warn', 'gone'), isSomething(node.silent_ms) && !node.self ? `${spanText(node.silent_ms)} ago` : '', element('span', {class: 'mono small wrap'}, node.url ?? '')])))),
  ];
}

const pages = {
  overview: {title: 'Overview', link: '#/', draw: drawOverview},
  list: {title: 'Transactions', link: '#/list', draw: drawList, load: loadList},
  transaction: {title: 'Transaction', draw: drawTransaction, load: loadTransaction, isLive: data => !data?.story.transaction || !isFinal(data.story.transaction)},
  topics: {title: 'Topics', link: '#/topics', draw: drawTopics, load: loadTopics},
  nodes: {title: 'Nodes', link: '#/nodes', draw: drawNodes, load: loadNodes, isLive: () => true},
};

// ---- What a person can do ------------------------------------------------------------------------------------------------

/** `body`: what the server gets besides gid, who and why. */
const actions = {
  retry: {label: 'Retry', path: 'resetNextCronTime', says: 'Its waits are forgotten: what is still to be called is called at once.', body: () => ({})},
  cancel: {label: 'Cancel', path: 'abort', isDanger: true, says: 'It is rolled back: what may have been done is compensated.', body: one => ({trans_type: one.trans_type})},
  stop: {label: 'Stop', path: 'forceStop', isDanger: true, says: 'It ends as failed and nothing is called any more, compensations neither.', body: () => ({})},
  skip: {label: 'Skip', path: 'skipBranch', isDanger: true, says: 'This one call counts as done without being made; nothing else is changed. Make sure that its effect is there, or is not needed.',
    body: one => ({branch_id: one.branch_id, op: one.op})},
};

const IN_DOUBT = 'The server does not answer, so it may or may not have been done. The journal says it once the server is back; to ask again does no harm.';

/** What is wrong, a Refused, or null. That it is not finished yet is nothing wrong. */
async function act(action, one, who, why) {
  try {
    await ask(actions[action].path, {body: {gid: one.gid, ...actions[action].body(one), who, why}});
    return null;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 0) return new Refused(0, IN_DOUBT);
    return error.status === 425 ? null : error;
  }
}

function loginForm() {
  return element('form', {method: 'dialog', 'data-do': 'login', class: 'stack'},
    element('h2', {id: 'login-title'}, 'This server needs its token'),
    state.tokenProblem && element('p', {class: 'note', role: 'alert'}, state.tokenProblem),
    element('label', {class: 'field'}, 'token', element('input', {type: 'password', name: 'token', required: true, autofocus: true, autocomplete: 'off'})),
    element('p', {class: 'soft small'}, 'It is kept until this tab is closed.'),
    box('buttons', element('button', {class: 'main'}, 'Open the desk')));
}

const whoField = () => element('label', {class: 'field', 'data-key': 'who'}, 'who asks', element('input', {name: 'who', required: true, maxlength: 64, value: state.who, autocomplete: 'off', autofocus: !state.who}));
const whyField = () => element('label', {class: 'field', 'data-key': 'why'}, 'because', element('input', {name: 'why', required: true, maxlength: 200, autocomplete: 'off', autofocus: !!state.who}));
const closeButton = text => element('button', {type: 'button', 'data-do': 'close'}, text);
const submitButton = (text, isDanger, disabled) => element('button', {class: isDanger ? 'main danger' : 'main', disabled}, text);

const dialogs = {
  action({action, subject, problem, busy}) {
    const {label, says, isDanger} = actions[action];
    const branch = subject.branch_id ? ` branch ${subject.branch_id} ${subject.op} of` : '';
    return element('form', {method: 'dialog', 'data-do': 'do-action', 'data-key': `action ${action}`},
      element('h2', {id: 'dialog-title'}, `${label}${branch} `, element('span', {class: 'mono wrap'}, subject.gid)),
      element('p', {class: 'soft'}, says), problem && element('p', {class: 'note', role: 'alert', 'data-key': 'problem'}, problem),
      whoField(), whyField(), box('buttons', closeButton('Leave it'), submitButton(busy ? 'Asking …' : label, isDanger, busy)));
  },

  confirm({title, says, label, problem}) {
    return element('form', {method: 'dialog', 'data-do': 'confirmed', 'data-key': 'confirm'},
      element('h2', {id: 'dialog-title', class: 'wrap'}, title), element('p', {class: 'soft wrap'}, says), problem && element('p', {class: 'note', role: 'alert'}, problem),
      box('buttons', closeButton('Leave it'), submitButton(label, true)));
  },

  bulk(told) {
    return element('form', {method: 'dialog', 'data-do': 'do-bulk', 'data-key': 'bulk'},
      element('h2', {id: 'dialog-title'}, 'Act on all of these'), told.running ? bulkProgress(told) : bulkPreview(told));
  },

  keys() {
    const keys = [['/', 'search in the list'], ['j, k', 'next and previous transaction, or link'], ['Enter', 'open it'], ['Esc', 'close a dialog, or go back to the list'], ['r', 'refresh'], ['?', 'this help']];
    return element('form', {method: 'dialog', 'data-do': 'close', 'data-key': 'keys'}, element('h2', {id: 'dialog-title'}, 'Keys'),
      element('dl', {}, keys.map(([key, text]) => [element('dt', {class: 'mono'}, key), element('dd', {}, text)])), box('buttons', submitButton('Close')));
  },
};

function bulkPreview({rows, searching, next, problem}) {
  const count = `${searching ? 'Counting: ' : ''}${numberText(rows.length)}${next && !searching ? ' (and more: this many at a time)' : ''} unfinished`;
  return [
    element('p', {role: 'status', id: 'bulk-count'}, count),
    problem && element('p', {class: 'note', role: 'alert'}, problem),
    rows.length > 0 && box('first mono small', rows.slice(0, 20).map(row => box('', row.gid)), rows.length > 20 && box('soft', `… and ${numberText(rows.length - 20)} more`)),
    element('label', {class: 'field'}, 'what to do', element('select', {name: 'action'}, ['retry', 'cancel', 'stop'].map(name => element('option', {value: name}, actions[name].label)))),
    element('p', {class: 'soft small'}, 'Retry forgets their waits, Cancel rolls them back, Stop ends them as failed without compensations.'),
    whoField(), whyField(), box('buttons', closeButton('Leave it'), submitButton(`Do it to ${numberText(rows.length)}`, true, searching || rows.length === 0)),
  ];
}

function bulkProgress(told) {
  const {rows, done, refused, isOver, problem} = told;
  return [
    element('p', {role: 'status', id: 'bulk-progress'}, bulkText(told)),
    element('progress', {max: rows.length, value: done, 'aria-label': 'Progress'}),
    problem && element('p', {class: 'note', role: 'alert'}, problem),
    refused.length > 0 && box('first small', refused.slice(0, 20).map(({gid, why}) => box('', element('span', {class: 'mono'}, gid), `: ${why}`))),
    box('buttons', closeButton(isOver ? 'Close' : 'Stop')),
  ];
}

function bulkText({rows, done, refused, isOver}) {
  const begin = !isOver ? '' : done < rows.length ? 'Stopped: ' : 'Ended: ';
  return `${begin}${numberText(done)} of ${numberText(rows.length)} asked, ${numberText(refused.length)} refused`;
}

/** Four at a time, until all are done, the dialog is closed, or the server does not answer. */
async function runBulk(action, who, why) {
  const {rows, started} = state.dialog;
  const isHere = () => state.dialog?.started === started;
  const told = {rows, done: 0, refused: [], running: true, problem: ''};
  const tell = () => isHere() && setDialog(told);
  let taken = 0;
  tell();
  const worker = async () => {
    while (taken < rows.length && isHere() && !state.locked && !told.problem) {
      const one = rows[taken++];
      const wrong = await act(action, one, who, why);
      told.done += 1;
      if (wrong) told.refused.push({gid: one.gid, why: wrong.message});
      if (wrong?.status === 0) told.problem = 'The server does not answer, so the others were not asked.';
      tell();
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  told.isOver = true;
  if (isHere()) tell();
  else setPage({notice: `${actions[action].label}: ${bulkText(told)}.`});
  load();
}

// ---- What is clicked, sent and typed: elements say what they do by data-do ----------------------------------------------

const clicks = {
  skip(link, event) {
    event.preventDefault();
    byId('main').focus();
  },
  reload() { load(); },
  back() { history.back(); },
  close() { set({dialog: null}); },
  open(row, event) {
    if (!event.target.closest('a') && String(getSelection()) === '') location.hash = linkTo('transaction', {gid: row.dataset.gid});
  },
  act(button) { set({dialog: {kind: 'action', action: button.dataset.action, subject: state.page.data.story.transaction}}); },
  'skip-branch'(button) {
    const {gid} = state.page.data.story.transaction;
    set({dialog: {kind: 'action', action: 'skip', subject: {gid, branch_id: button.dataset.branch, op: button.dataset.op}}});
  },
  async bulk() {
    const query = {...queryOf(state.page.params), unfinished: 1};
    const started = performance.now();
    const isHere = () => state.dialog?.started === started && !state.dialog.running;
    const tell = told => isHere() && setDialog(told);
    set({dialog: {kind: 'bulk', started, rows: [], searching: true}});
    try {
      tell(await readSome(query, MOST_AT_ONCE, '', tell, isHere));
    } catch (error) {
      tell({problem: error.message, searching: false});
    }
  },
  unsubscribe({dataset: {topic, url}}) {
    set({dialog: {kind: 'confirm', title: `Unsubscribe from ${topic}?`, says: `${url} gets no new messages; those on their way still reach it.`, label: 'Unsubscribe',
      run: () => ask('unsubscribe', {method: 'POST', query: {topic, url}}), done: `${url} is unsubscribed from ${topic}.`}});
  },
  'delete-topic'({dataset: {topic}}) {
    set({dialog: {kind: 'confirm', title: `Delete the topic ${topic}?`, says: 'All its subscribers go with it. New messages to it are refused.', label: 'Delete',
      run: () => ask(`topic/${encodeURIComponent(topic)}`, {method: 'DELETE'}), done: `The topic ${topic} is deleted.`}});
  },
};

const submits = {
  login(given) {
)desk"
R"desk(    const token = given.token.trim();
    if (!/^[!-~]+$/.test(token)) return set({tokenProblem: 'No token has such a character: it is of ASCII, without blanks.'});
    sessionStorage.setItem('dtm-token', token);
    set({token, locked: false, tokenProblem: ''});
    poll();
    load();
  },
  close() { set({dialog: null}); },
  async 'do-action'({who, why}) {
    const dialog = state.dialog;
    const {action, subject} = dialog;
    rememberWho(who);
    setDialog({busy: true, problem: ''});
    const wrong = await act(action, subject, who, why);
    if (state.dialog?.subject !== subject) return;
    if (wrong) return setDialog({busy: false, problem: wrong.message});
    set({dialog: null});
    setPage({notice: `${actions[action].label}: the server has stored it.`});
    load();
  },
  async confirmed() {
    const {run, done} = state.dialog;
    try {
      await run();
      set({dialog: null});
      setPage({notice: done});
      load();
    } catch (error) {
      setDialog({problem: error.message});
    }
  },
  'do-bulk'({action, who, why}) {
    if (state.dialog.running) return;
    rememberWho(who);
    runBulk(action, who, why);
  },
  async subscribe({topic, url, remark}, form) {
    try {
      await ask('subscribe', {method: 'POST', query: {topic, url, remark}});
      form.reset();
      setPage({problem: '', notice: `It is subscribed to ${topic}.`});
      load();
    } catch (error) {
      setPage({problem: error.message, notice: ''});
    }
  },
  filter(given) { location.hash = linkTo('list', given); },
};

function rememberWho(who) {
  sessionStorage.setItem('dtm-who', who);
  state.who = who;
}

const valuesOf = form => Object.fromEntries(new FormData(form));

document.addEventListener('click', event => {
  const target = event.target.closest('[data-do]');
  if (target && target.nodeName !== 'FORM') clicks[target.dataset.do]?.(target, event);
});

document.addEventListener('submit', event => {
  event.preventDefault();
  submits[event.target.dataset.do]?.(valuesOf(event.target), event.target);
});

let typing = 0;

/** A text counts once nobody has typed for a moment, what is chosen counts at once. */
function filterSoon({type, target}) {
  const form = target.closest('#filters');
  if (!form || (type === 'input') !== (target.type === 'search')) return;
  clearTimeout(typing);
  typing = setTimeout(() => submits.filter(valuesOf(form)), type === 'input' ? 300 : 0);
}

document.addEventListener('input', filterSoon);
document.addEventListener('change', filterSoon);

byId('dialog').addEventListener('cancel', () => set({dialog: null}));
byId('login').addEventListener('cancel', event => event.preventDefault());

const keys = {
  '/'() {
    const focus = () => document.querySelector('#filters input[name=gid]')?.focus();
    if (state.page.name === 'list') return focus();
    addEventListener('hashchange', () => setTimeout(focus), {once: true});  // once the list is drawn
    location.hash = linkTo('list');
  },
  j() { moveFocus(1); },
  k() { moveFocus(-1); },
  r() { load(); },
  '?'() { set({dialog: {kind: 'keys'}}); },
  Escape() { if (state.page.name === 'transaction') location.hash = state.listHash; },
};

/** Among the transactions of the list, elsewhere among what can be clicked. */
function moveFocus(step) {
  const rows = [...document.querySelectorAll('main [data-row]')];
  const all = rows.length ? rows : [...document.querySelectorAll('main a[href], main button:not(:disabled), main summary')];
  const at = all.indexOf(document.activeElement);
  all[at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step]?.focus();
}

document.addEventListener('keydown', event => {
  const isTyping = event.target.closest('input, select, textarea');
  if (event.key === 'Escape' && isTyping && !event.target.closest('dialog')) return event.target.blur();
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});

/** The form shows what the address says, except where somebody types. */
function fillFilters(params) {
  for (const field of byId('filters')?.elements ?? []) {
    if (field === document.activeElement) continue;
    if (field.type === 'checkbox') field.checked = params.get(field.name) === '1';
    else if (field.name) field.value = params.get(field.name) ?? '';
  }
}

addEventListener('hashchange', arrive);
document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && poll());
arrive();
poll();
)desk";

inline constexpr char kIcon[] =
R"desk(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#3b6ea8"/><path d="M4 5h5M6.5 8h5.5M4 11h8" stroke="#fff" stroke-width="1.7" stroke-linecap="round"/></svg>
)desk";

// clang-format on

}  // namespace desk
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/desk/desk.hpp --------------------------------------------------------------------

/// The desk: a page for people that shows what the coordinator does, and asks it to retry, cancel, stop and skip.
/// Needs: std. Threads: pure functions. Document: docs/desk.md.

namespace dtm {
inline namespace v1 {
namespace desk {

/// No script but the page's own runs, nothing is loaded from elsewhere, and no other page shows it in a frame.
inline std::vector<http1::HttpHeader> Headers() {
  return {{"Content-Security-Policy",
           "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
          {"X-Content-Type-Options", "nosniff"},
          {"X-Frame-Options", "DENY"},
          {"Referrer-Policy", "no-referrer"},
          {"Cross-Origin-Resource-Policy", "same-origin"},
          {"Cross-Origin-Opener-Policy", "same-origin"},
          {"Cache-Control", "no-cache"}};
}

/// Its length is not counted: that would take the compiler a fifth of a second.
template <std::size_t kSize>
std::string_view TextOf(const char (&text)[kSize]) {
  return {text, kSize - 1};
}

inline std::vector<ApiPage> Pages() {
  return {{"/desk", "text/html; charset=utf-8", TextOf(kPage), Headers()},
          {"/desk/desk.css", "text/css; charset=utf-8", TextOf(kStyle), Headers()},
          {"/desk/desk.js", "text/javascript; charset=utf-8", TextOf(kScript), Headers()},
          {"/desk/icon.svg", "image/svg+xml", TextOf(kIcon), Headers()}};
}

}  // namespace desk
}  // namespace v1
}  // namespace dtm

// ---- dtm/base/thread_list.hpp ------------------------------------------------------------------

#include <list>
namespace dtm { inline namespace v1 {
void ThreadList::Leave() {
    const auto self = std::find_if(running_.begin(), running_.end(), [](const auto& thread) {
      return thread.get_id() == std::this_thread::get_id();
    });
    if (self == running_.end()) return;  // TakeAll has it
    for (auto& thread : left_) thread.join();
    left_.clear();
    left_.splice(left_.end(), running_, self);
  }
std::size_t ThreadList::Count() const { return running_.size(); }
auto ThreadList::TakeAll() -> ThreadList {
    ThreadList all;
    all.running_.swap(running_);
    all.left_.swap(left_);
    return all;
  }
void ThreadList::JoinAll() {
    for (auto& thread : left_) thread.join();
    for (auto& thread : running_) thread.join();
    left_.clear();
    running_.clear();
  }
}}


// ---- dtm/base/thread_pool.hpp ------------------------------------------------------------------

namespace dtm { inline namespace v1 {
ThreadPool::ThreadPool(std::size_t max_threads, std::size_t max_waiting,
                      std::size_t max_waiting_bytes) : max_threads_(max_threads),
        max_waiting_(max_waiting),
        max_waiting_bytes_(max_waiting_bytes) {}
ThreadPool::~ThreadPool() { Stop(); }
bool ThreadPool::Run(std::function<void()> job, std::size_t bytes) {
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
void ThreadPool::Stop() {
    ThreadList threads;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      threads = threads_.TakeAll();
      arrived_.notify_all();
    }
    threads.JoinAll();
  }
bool ThreadPool::AddThread() {
    try {
      threads_.Add([this] { ThreadMain(); });
    } catch (const std::exception&) {  // none to be had now
      return false;
    }
    ++starting_;
    return true;
  }
void ThreadPool::ThreadMain() {
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
}}


// ---- dtm/http/http1/framing.hpp ----------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace http1 {
bool EqualsLower(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c =
        text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] + ('a' - 'A')) : text[i];
    if (c != lower[i]) return false;
  }
  return true;
}
bool ListHas(std::string_view list, std::string_view lower) {
  for (;;) {
    const std::size_t comma = list.find(',');
    if (EqualsLower(Trimmed(list.substr(0, comma)), lower)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}
FramingReader::FramingReader(MessageKind kind, int minor_version) : request_(kind == MessageKind::kRequest), minor_(minor_version) {
    framing_.keep_alive = minor_ == 1;
  }
bool FramingReader::Look(std::string_view name, std::string_view value) {
    const auto is = [name](std::string_view lower) { return EqualsLower(name, lower); };
    switch (name.size()) {
      case 4: return !request_ || !is("host") || Host(value);
      case 6:
        if (is("expect"))
          framing_.expects_continue = minor_ == 1 && EqualsLower(value, "100-continue");
        return true;
      case 10:
        if (!is("connection")) return true;
        if (minor_ == 0 && ListHas(value, "keep-alive")) framing_.keep_alive = true;
        if (ListHas(value, "close")) closes_ = true;
        return true;
      case 14: return !is("content-length") || Length(value);
      case 16:
        if (is("content-encoding") && !value.empty() && !EqualsLower(value, "identity"))
          framing_.encoded = true;
        return true;
      case 17: return !is("transfer-encoding") || (request_ ? Coding(value) : Codings(value));
      default: return true;
    }
  }
auto FramingReader::OfRequest() -> Framing {
    if (closes_) framing_.keep_alive = false;
    framing_.body = has_coding_   ? Framing::Body::kChunked
                    : has_length_ ? Framing::Body::kLength
                                  : Framing::Body::kNone;
    return framing_;
  }
auto FramingReader::OfReply(int status, bool to_head, bool odd) -> Framing {
    using Body = Framing::Body;
    odd = odd || odd_ || (has_coding_ && (has_length_ || minor_ == 0));
    if (to_head || status == 204 || status == 304) {
      framing_.body = Body::kNone;
    } else if (has_coding_) {
      framing_.body = chunked_ ? Body::kChunked : Body::kToClose;
    } else {
      framing_.body = has_length_ ? Body::kLength : Body::kToClose;
    }
    if (closes_ || odd || framing_.body == Body::kToClose) framing_.keep_alive = false;
    return framing_;
  }
auto FramingReader::Why() const -> const Refusal& { return why_; }
bool FramingReader::Refuse(int status, const char* text) {
    why_ = {status, text};
    return false;
  }
bool FramingReader::Host(std::string_view value) {
    if (has_host_ || value.find('%') != std::string_view::npos) {
      return Refuse(400, "its Host is given twice, or is none");
    }
    return has_host_ = true;
  }
bool FramingReader::Length(std::string_view value) {
    if (request_ && (has_length_ || has_coding_)) return Refuse(400, "its length is given twice");
    // "5, 5" in a reply that came through a careless proxy is 5 (RFC 9110 §8.6).
    for (bool more = true; more;) {
      const std::size_t comma = request_ ? std::string_view::npos : value.find(',');
      std::uint64_t length = 0;
      const std::string_view text = Trimmed(value.substr(0, comma));
      if (!Number(text, length)) {
        const bool digits = text.find_first_not_of("0123456789") == std::string_view::npos;
        return digits && !text.empty() ? Refuse(413, "its Content-Length is beyond all limits")
                                       : Refuse(400, "its Content-Length is no number");
      }
      if (has_length_ && length != framing_.length)
        return Refuse(400, "it has two lengths that differ");
      odd_ = odd_ || has_length_;
      has_length_ = true;
      framing_.length = length;
      more = comma != std::string_view::npos;
      if (more) value.remove_prefix(comma + 1);
    }
    return true;
  }
bool FramingReader::Coding(std::string_view value) {
    if (has_coding_ || has_length_) return Refuse(400, "its length is given twice");
    if (!EqualsLower(value, "chunked")) return Refuse(501, "its Transfer-Encoding is not chunked");
    if (minor_ == 0) return Refuse(400, "HTTP/1.0 has no Transfer-Encoding");
    return has_coding_ = true;
  }
bool FramingReader::Codings(std::string_view value) {
    for (bool more = true; more;) {
      const std::size_t comma = value.find(',');
      const std::string_view coding = Trimmed(value.substr(0, comma));
      more = comma != std::string_view::npos;
      if (more) value.remove_prefix(comma + 1);
      if (coding.empty() || EqualsLower(coding, "identity")) continue;
      if (chunked_) return Refuse(400, "its Transfer-Encoding goes on behind chunked");
      has_coding_ = true;
      chunked_ = EqualsLower(coding, "chunked");
      if (!chunked_) framing_.encoded = true;
    }
    return true;
  }
bool FramingReader::Number(std::string_view text, std::uint64_t& number) {
    constexpr std::size_t kMaxDigits = 18;
    if (text.empty() || text.size() > kMaxDigits) return false;
    for (const char c : text) {
      if (c < '0' || c > '9') return false;
      number = number * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return true;
  }
}}}


// ---- dtm/http/http1/message_head.hpp -----------------------------------------------------------

namespace dtm { inline namespace v1 { namespace http1 {
auto MessageHead::Method() const -> std::string_view { return View(method_); }
auto MessageHead::Target() const -> std::string_view { return View(target_); }
int MessageHead::Status() const { return status_; }
int MessageHead::MinorVersion() const { return minor_; }
auto MessageHead::BodyFraming() const -> const Framing& { return framing_; }
std::size_t MessageHead::Count() const { return headers_.size(); }
auto MessageHead::At(std::size_t i) const -> Header { return {View(headers_[i].name), View(headers_[i].value)}; }
auto MessageHead::Find(std::string_view lower) const -> std::string_view {
    for (const Place& header : headers_) {
      if (EqualsLower(View(header.name), lower)) return View(header.value);
    }
    return {};
  }
std::size_t MessageHead::Bytes() const { return text_.size(); }
auto MessageHead::View(Part part) const -> std::string_view {
    return std::string_view(text_).substr(part.at, part.size);
  }
}}}


// ---- dtm/http/transport/timers.hpp -------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace transport {
auto Timer::Deadline() const -> SteadyTime { return deadline_; }
Timers::~Timers() {
    for (Timer* timer : heap_) timer->timers_ = nullptr;
  }
void Timers::Set(Timer& timer, SteadyTime deadline) {
    if (timer.timers_ == nullptr) {
      heap_.push_back(&timer);
      timer.timers_ = this;
      timer.place_ = heap_.size() - 1;
      timer.key_ = deadline;
      Up(timer.place_);
    } else if (deadline < timer.key_) {
      timer.key_ = deadline;
      Up(timer.place_);
    }
    timer.deadline_ = deadline;
  }
void Timers::Cancel(Timer& timer) { timer.deadline_ = Timer::kNever; }
void Timers::Forget(Timer& timer) {
    if (timer.timers_ != nullptr) Remove(timer);
    timer.deadline_ = Timer::kNever;
  }
auto Timers::Next() const -> SteadyTime { return heap_.empty() ? Timer::kNever : heap_.front()->key_; }
void Timers::Run(SteadyTime now) {
    while (!heap_.empty() && heap_.front()->key_ <= now) {
      Timer& timer = *heap_.front();
      if (timer.deadline_ == Timer::kNever) {
        Remove(timer);
      } else if (timer.deadline_ > timer.key_) {
        timer.key_ = timer.deadline_;
        Down(0);
      } else {
        Remove(timer);
        timer.deadline_ = Timer::kNever;
        timer.OnDeadline();
      }
    }
  }
void Timers::Remove(Timer& timer) {
    const std::size_t place = timer.place_;
    timer.timers_ = nullptr;
    Timer* const last = heap_.back();
    heap_.pop_back();
    if (last == &timer) return;
    Put(place, last);
    Up(place);
    Down(last->place_);
  }
void Timers::Put(std::size_t place, Timer* timer) {
    heap_[place] = timer;
    timer->place_ = place;
  }
void Timers::Up(std::size_t place) {
    Timer* const timer = heap_[place];
    while (place > 0 && timer->key_ < heap_[(place - 1) / 2]->key_) {
      Put(place, heap_[(place - 1) / 2]);
      place = (place - 1) / 2;
    }
    Put(place, timer);
  }
void Timers::Down(std::size_t place) {
    Timer* const timer = heap_[place];
    for (std::size_t child = 2 * place + 1; child < heap_.size(); child = 2 * place + 1) {
      if (child + 1 < heap_.size() && heap_[child + 1]->key_ < heap_[child]->key_) ++child;
      if (timer->key_ <= heap_[child]->key_) break;
      Put(place, heap_[child]);
      place = child;
    }
    Put(place, timer);
  }
Timer::~Timer() {
  if (timers_ != nullptr) timers_->Remove(*this);
}
}}}


// ---- dtm/http/hosts/http_call.hpp --------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace hosts {
HttpCall::~HttpCall() = default;
bool HttpCall::MaySend() const { return true; }
void HttpCall::OnBody(std::string_view, std::size_t kept) { (void)kept; }
}}}


// ---- dtm/http/transport/poller.hpp -------------------------------------------------------------

#include <cerrno>
#include <sys/epoll.h>
#include <unistd.h>
namespace dtm { inline namespace v1 { namespace transport {
Poller::Poller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0) throw Error("no epoll can be had: " + os::LastErrorText() + "; see ulimit -n");
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_.Get(), &event) != 0) {
      const std::string why = os::LastErrorText();
      ::close(epoll_);
      throw Error("epoll does not take an eventfd: " + why);
    }
  }
Poller::~Poller() { ::close(epoll_); }
bool Poller::Add(int fd, void* who) { return Control(EPOLL_CTL_ADD, fd, who); }
bool Poller::Change(int fd, void* who) { return Control(EPOLL_CTL_MOD, fd, who); }
void Poller::Remove(int fd) { (void)Control(EPOLL_CTL_DEL, fd, nullptr); }
void Poller::Wake() const { wake_.Signal(); }
int Poller::Fd() const { return epoll_; }
bool Poller::Control(int what, int fd, void* who) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = who;
    return ::epoll_ctl(epoll_, what, fd, &event) == 0;
  }
int Poller::Milliseconds(std::chrono::steady_clock::time_point until) {
    if (until == (std::chrono::steady_clock::time_point::max)()) return -1;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now())
            .count();
    return static_cast<int>((std::min<long long>)((std::max<long long>)(left, 0), 3600 * 1000));
  }
}}}


// ---- dtm/http/transport/io_loop.hpp ------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace transport {
Watcher::~Watcher() = default;
TurnEnd::~TurnEnd() = default;
IoLoop::IoLoop() : now_(Clock::now()), buffer_(new char[kBuffer]) {}
IoLoop::~IoLoop() {
    Stop();
    DestroyDisposed();
  }
void IoLoop::Start() {
    own_thread_ = true;
    thread_ = std::thread([this] {
      while (!stopping_.load(std::memory_order_acquire)) Turn((SteadyTime::max)());
    });
  }
void IoLoop::Stop() {
    stopping_.store(true, std::memory_order_release);
    poller_.Wake();
    if (thread_.joinable()) thread_.join();
  }
void IoLoop::Poll(std::chrono::microseconds wait) {
    CheckOutsidePoll();
    polling_ = true;
    Turn(Clock::now() + wait);
    polling_ = false;
  }
void IoLoop::CheckOutsidePoll() const {
    if (polling_) {
      throw LogicError(
          "the Poll() of this I/O loop is running, and this was called from inside it (by on_wake, "
          "say); do it when Poll() has returned");
    }
  }
bool IoLoop::HasThread() const { return own_thread_; }
int IoLoop::Fd() const { return poller_.Fd(); }
auto IoLoop::NextDeadline() const -> SteadyTime { return timers_.Next(); }
void IoLoop::Post(std::function<void()> task) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      posted_.push_back(std::move(task));
    }
    if (asleep_.exchange(false)) poller_.Wake();
  }
void IoLoop::Wake() noexcept {
    again_.store(true);
    if (asleep_.exchange(false)) poller_.Wake();
  }
bool IoLoop::Watch(int fd, Watcher& watcher) { return poller_.Add(fd, &watcher); }
bool IoLoop::Rewatch(int fd, Watcher& watcher) { return poller_.Change(fd, &watcher); }
void IoLoop::Unwatch(int fd) { poller_.Remove(fd); }
void IoLoop::Set(Timer& timer, SteadyTime deadline) { timers_.Set(timer, deadline); }
void IoLoop::Cancel(Timer& timer) { timers_.Cancel(timer); }
void IoLoop::Forget(Timer& timer) { timers_.Forget(timer); }
void IoLoop::AtTurnEnds(TurnEnd& one) { turn_ends_.push_back(&one); }
void IoLoop::NotAtTurnEnds(TurnEnd& one) {
    turn_ends_.erase(std::remove(turn_ends_.begin(), turn_ends_.end(), &one), turn_ends_.end());
  }
auto IoLoop::Now() const -> SteadyTime { return now_; }
void IoLoop::Dispose(std::unique_ptr<Watcher> watcher) noexcept {
    watcher->disposed_before_ = std::move(disposed_);
    disposed_ = std::move(watcher);
  }
auto IoLoop::Buffer() -> char* { return buffer_.get(); }
void IoLoop::Turn(SteadyTime until) {
    until = (std::min)(until, timers_.Next());
    if (HasMore() || stopping_.load(std::memory_order_acquire)) until = SteadyTime();
    poller_.Wait(until, [this](void* who, Readiness readiness) {
      if (!told_) Begin();
      Run([&] { static_cast<Watcher*>(who)->OnReady(readiness); });
    });
    Begin();
    told_ = false;
    RunPosted();
    Run([this] { timers_.Run(now_); });
    again_.store(false);
    for (TurnEnd* one : turn_ends_) Run([one] { one->OnTurnEnd(); });
    DestroyDisposed();
    asleep_.store(true);
    if (!own_thread_ && HasMore()) poller_.Wake();  // a host may wait for Fd() now
  }
void IoLoop::DestroyDisposed() noexcept {
    while (disposed_) {  // one by one: a list may be long
      const std::unique_ptr<Watcher> one = std::move(disposed_);
      disposed_ = std::move(one->disposed_before_);
    }
  }
void IoLoop::Begin() {
    asleep_.store(false);
    now_ = Clock::now();
    told_ = true;
  }
bool IoLoop::HasMore() {
    if (again_.load()) return true;
    const std::lock_guard<std::mutex> lock(mutex_);
    return !posted_.empty();
  }
void IoLoop::RunPosted() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      running_.swap(posted_);
    }
    for (std::function<void()>& task : running_) {
      Run(task);
      task = nullptr;  // what it holds may post
    }
    running_.clear();
  }
}}}


// ---- dtm/http/transport/socket.hpp -------------------------------------------------------------

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <system_error>
namespace dtm { inline namespace v1 { namespace transport {
int SocketAddress::Family() const { return bytes.ss_family; }
auto SocketAddress::Get() const -> const sockaddr* { return reinterpret_cast<const sockaddr*>(&bytes); }
bool SocketAddress::FromFigures(const std::string& text, int port, SocketAddress& address) {
    address = SocketAddress();
    auto* const v4 = reinterpret_cast<sockaddr_in*>(&address.bytes);
    auto* const v6 = reinterpret_cast<sockaddr_in6*>(&address.bytes);
    const std::uint16_t number = htons(static_cast<std::uint16_t>(port));
    if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
      v4->sin_family = AF_INET;
      v4->sin_port = number;
      address.size = sizeof *v4;
    } else if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
      v6->sin6_family = AF_INET6;
      v6->sin6_port = number;
      address.size = sizeof *v6;
    }
    return address.size != 0;
  }
std::string SocketAddress::Text() const {
    char text[INET6_ADDRSTRLEN] = "";
    if (Family() == AF_INET6) {
      const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(&bytes);
      (void)::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
      return "[" + std::string(text) + "]:" + std::to_string(ntohs(v6->sin6_port));
    }
    const auto* const v4 = reinterpret_cast<const sockaddr_in*>(&bytes);
    (void)::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(v4->sin_port));
  }
Socket::Socket(int fd) : fd_(fd) {}
auto Socket::NotForChildren(int fd) -> Socket {
    os::Forking::CloseInChildren(fd);
    Socket socket(fd);
    socket.noted_ = true;
    return socket;
  }
Socket::Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)), noted_(other.noted_) {}
auto Socket::operator=(Socket&& other) noexcept -> Socket& {
    if (this != &other) {
      Close();
      fd_ = std::exchange(other.fd_, -1);
      noted_ = other.noted_;
    }
    return *this;
  }
Socket::~Socket() { Close(); }
int Socket::Fd() const { return fd_; }
bool Socket::IsOpen() const { return fd_ >= 0; }
void Socket::Close() {
    if (fd_ < 0) return;
    const int fd = std::exchange(fd_, -1);
    noted_ ? os::Forking::Close(fd) : void(::close(fd));
  }
void SendWithoutDelay(int fd) {
  const int on = 1;
  (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}
auto BeginConnect(const SocketAddress& to, int& error) -> Socket {
  error = 0;
  Socket socket(::socket(to.Family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.IsOpen()) {
    error = errno;
    return socket;
  }
  SendWithoutDelay(socket.Fd());
  if (::connect(socket.Fd(), to.Get(), to.size) != 0 && errno != EINPROGRESS && errno != EINTR) {
    error = errno;
    socket.Close();
  }
  return socket;
}
int ConnectError(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  if (error != 0) return error;
  sockaddr_storage peer{};
  size = sizeof peer;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0) return 0;
  return errno == ENOTCONN ? EINPROGRESS : errno;
}
auto Moved::Some(std::size_t size) -> Moved { return {Kind::kSome, size}; }
auto Moved::Of(ssize_t done) -> Moved {
    if (done >= 0) return {Kind::kSome, static_cast<std::size_t>(done)};
    return {errno == EAGAIN || errno == EWOULDBLOCK ? Kind::kWait : Kind::kBroken, 0};
  }
auto ReceiveSome(int fd, char* to, std::size_t size) -> Moved {
  ssize_t got = 0;
  do {
    got = ::recv(fd, to, size, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  return got == 0 ? Moved{Moved::Kind::kEnd, 0} : Moved::Of(got);
}
auto SendSome(int fd, const char* from, std::size_t size) -> Moved {
  ssize_t sent = 0;
  do {
    sent = ::send(fd, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return Moved::Of(sent);
}
std::string ErrorText(int error) { return std::generic_category().message(error); }
}}}


// ---- dtm/http/hosts/connector.hpp --------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace hosts {
Connector::Connector(transport::IoLoop& loop) : loop_(loop) {}
Connector::~Connector() { Cancel(); }
void Connector::Start(const std::vector<transport::SocketAddress>& addresses, SteadyTime deadline,
             Done done) {
    Cancel();
    addresses_ = addresses;
    next_ = 0;
    error_ = 0;
    done_ = std::move(done);
    // RFC 8305: 250 ms for each, less if they are many for the time there is.
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - transport::IoLoop::Clock::now());
    pause_ =
        (std::min)(std::chrono::milliseconds(250), left / static_cast<int>(addresses.size() + 1));
    TryNext();
  }
void Connector::Cancel() {
    loop_.Cancel(*this);
    for (std::unique_ptr<Attempt>& attempt : attempts_) Drop(attempt);
    attempts_.clear();
    done_ = nullptr;
  }
Connector::Attempt::Attempt(Connector& connector, transport::Socket begun) : owner(connector), socket(std::move(begun)) {}
void Connector::Attempt::OnReady(transport::Readiness ready) {
      if (socket.IsOpen()) owner.OnReady(*this, ready);
    }
void Connector::OnDeadline() { TryNext(); }
void Connector::TryNext() {
    while (next_ < addresses_.size()) {
      int error = 0;
      transport::Socket socket = transport::BeginConnect(addresses_[next_++], error);
      if (error == 0) {
        auto attempt = std::make_unique<Attempt>(*this, std::move(socket));
        if (loop_.Watch(attempt->socket.Fd(), *attempt)) {
          attempts_.push_back(std::move(attempt));
          if (next_ < addresses_.size()) loop_.Set(*this, transport::IoLoop::Clock::now() + pause_);
          return;
        }
        error = errno;
      }
      error_ = error;
    }
    if (attempts_.empty()) Finish(transport::Socket(), Problem(error_));
  }
void Connector::OnReady(Attempt& attempt, transport::Readiness ready) {
    if (!ready.writable && !ready.ended) return;
    const int error = transport::ConnectError(attempt.socket.Fd());
    if (error == EINPROGRESS) return;
    transport::Socket socket;
    if (error == 0) {
      socket = std::move(attempt.socket);
    } else {
      error_ = error;
    }
    const auto at = std::find_if(attempts_.begin(), attempts_.end(),
                                 [&attempt](const auto& one) { return one.get() == &attempt; });
    Drop(*at);
    attempts_.erase(at);
    if (error == 0) return Finish(std::move(socket), {});
    TryNext();
  }
void Connector::Drop(std::unique_ptr<Attempt>& attempt) {
    // A forked child may have it too, and the loop would go on reporting it.
    if (attempt->socket.IsOpen()) loop_.Unwatch(attempt->socket.Fd());
    attempt->socket.Close();
    loop_.Dispose(std::move(attempt));
  }
void Connector::Finish(transport::Socket socket, const std::string& problem) {
    const Done done = std::exchange(done_, nullptr);
    Cancel();
    if (done) done(std::move(socket), problem);
  }
std::string Connector::Problem(int error) {
    if (error == ECONNREFUSED) return "nothing listens there";
    if (error == EMFILE || error == ENFILE)
      return "no socket can be opened: " + transport::ErrorText(error) + "; see ulimit -n";
    return error == 0 ? "it has no address" : transport::ErrorText(error);
  }
}}}


// ---- dtm/http/transport/look_up.hpp ------------------------------------------------------------

#include <netdb.h>
namespace dtm { inline namespace v1 { namespace transport {
void TakeTurns(std::vector<SocketAddress>& addresses) {
  for (std::size_t i = 1; i + 1 < addresses.size(); ++i) {
    if (addresses[i].Family() != addresses[i - 1].Family()) continue;
    for (std::size_t other = i + 1; other < addresses.size(); ++other) {
      if (addresses[other].Family() == addresses[i].Family()) continue;
      const SocketAddress found = addresses[other];
      addresses.erase(addresses.begin() + static_cast<std::ptrdiff_t>(other));
      addresses.insert(addresses.begin() + static_cast<std::ptrdiff_t>(i), found);
      break;
    }
  }
}
auto LookUp(const std::string& host, int port) -> FoundAddresses {
  FoundAddresses found;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (error != 0) {
    found.problem =
        "its name is unknown (it cannot be resolved: " + std::string(::gai_strerror(error)) + ")";
    return found;
  }
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    SocketAddress address;
    if (one->ai_addrlen > sizeof address.bytes) continue;
    std::memcpy(&address.bytes, one->ai_addr, one->ai_addrlen);
    address.size = one->ai_addrlen;
    found.addresses.push_back(address);
  }
  ::freeaddrinfo(list);
  if (found.addresses.empty()) found.problem = "its name has no address";
  TakeTurns(found.addresses);
  return found;
}
}}}


// ---- dtm/http/hosts/resolver.hpp ---------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace hosts {
Resolver::Resolver(transport::IoLoop& loop, Lookup lookup) : loop_(loop), lookup_(std::move(lookup)), threads_(kThreads, kMaxWaiting) {}
bool Resolver::IsKnown(const std::string& host, int port, transport::FoundAddresses& found) {
    transport::SocketAddress address;
    if (transport::SocketAddress::FromFigures(host, port, address)) {
      found.addresses = {address};
      return true;
    }
    if (host != "localhost") return false;
    for (const char* figures : {"127.0.0.1", "::1"}) {
      if (transport::SocketAddress::FromFigures(figures, port, address))
        found.addresses.push_back(address);
    }
    return true;
  }
void Resolver::Find(std::string host, int port, Answer answer) {
    const auto job = [this, host = std::move(host), port, answer] {
      transport::FoundAddresses found;
      try {
        found = lookup_(host, port);
      } catch (const std::exception& error) {
        found.problem = IfThereIsMemory(
            [&] { return std::string("its name cannot be resolved: ") + error.what(); });
      }
      Tell(answer, found);
    };
    if (threads_.Run(job)) return;
    transport::FoundAddresses none;
    none.problem =
        "its name cannot be resolved now: too many names wait for that, or no thread can be "
        "started";
    loop_.Post([answer = std::move(answer), none] { answer(none); });
  }
void Resolver::Stop() { threads_.Stop(); }
void Resolver::Tell(const Answer& answer, const transport::FoundAddresses& found) {
    for (int tries = 0; tries < 1000; ++tries) {
      try {
        return loop_.Post([answer, found] { answer(found); });
      } catch (const std::bad_alloc&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
  }
}}}


// ---- dtm/http/http1/body_reader.hpp ------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace http1 {
BodyReader::BodyReader(MessageKind kind, const Framing& framing) : strict_(kind == MessageKind::kRequest), left_(framing.length) {
    switch (framing.body) {
      case Framing::Body::kNone: state_ = State::kDone; break;
      case Framing::Body::kLength: state_ = left_ == 0 ? State::kDone : State::kLength; break;
      case Framing::Body::kChunked: state_ = State::kSize; break;
      case Framing::Body::kToClose: state_ = State::kToClose; break;
    }
  }
auto BodyReader::Now() const -> Parsed {
    if (state_ == State::kDone) return Parsed::kDone;
    return state_ == State::kRefused ? Parsed::kRefused : Parsed::kMore;
  }
bool BodyReader::End() {
    if (state_ == State::kToClose) state_ = State::kDone;
    return state_ == State::kDone;
  }
auto BodyReader::Why() const -> const Refusal& { return why_; }
void BodyReader::Refuse(const char* text) {
    state_ = State::kRefused;
    why_ = {400, text};
  }
void BodyReader::TakeLine(std::string_view& bytes) {
    const std::size_t feed = bytes.find('\n');
    const bool ends = feed != std::string_view::npos;
    const std::string_view piece = bytes.substr(0, ends ? feed + 1 : bytes.size());
    bytes.remove_prefix(piece.size());
    if (line_.size() + piece.size() > (strict_ ? kStrictLine : kLooseLine) + 2)
      return Refuse("a line of its chunks is too long");
    line_.append(piece);
    if (!ends) return;
    if (line_.size() < 2 || line_[line_.size() - 2] != '\r') {
      return Refuse("a line of its chunks does not end with carriage return and line feed");
    }
    line_.resize(line_.size() - 2);
    switch (state_) {
      case State::kSize: ChunkSize(); break;
      case State::kChunkEnd:
        line_.empty() ? void(state_ = State::kSize) : Refuse("a chunk is longer than it says");
        break;
      default: Trailer(); break;
    }
    line_.clear();
  }
void BodyReader::ChunkSize() {
    const std::size_t end = line_.find_first_not_of("0123456789abcdefABCDEF");
    const std::size_t digits = end == std::string::npos ? line_.size() : end;
    const std::size_t behind = strict_ ? digits : line_.find_first_not_of(" \t", digits);
    const bool extension = behind < line_.size();
    if (digits == 0 || (extension && line_[behind] != ';'))
      return Refuse("the size of a chunk is no hexadecimal number");
    if (digits > (strict_ ? 8U : 16U)) return Refuse("a chunk is too long");
    for (const char c : std::string_view(line_).substr(digits)) {  // a line end to some readers
      if (strict_ && ((c >= 0 && c < ' ' && c != '\t') || c == 127))
        return Refuse("the size of a chunk is followed by a control character");
    }
    left_ = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const char c = line_[i];
      const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
      left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
    }
    if (left_ >> 60 != 0) return Refuse("a chunk is too long");
    constexpr std::int64_t kPlainLine = 16;
    excess_ += static_cast<std::int64_t>(line_.size()) - kPlainLine -
               static_cast<std::int64_t>(left_ < 65536 ? left_ : 65536);
    if (excess_ < 0) excess_ = 0;
    if (excess_ > kMaxExcess) return Refuse("the lines of its chunks are too long");
    state_ = left_ == 0 ? State::kTrailers : State::kChunk;
  }
void BodyReader::Trailer() {
    if (line_.empty()) {
      state_ = State::kDone;
    } else if (strict_) {
      Refuse("it has trailers, which are not taken");
    } else if ((trailers_ += line_.size()) > kMaxTrailers) {
      Refuse("its trailers are too long");
    }
  }
}}}


// ---- dtm/http/http1/head_parser.hpp ------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace http1 {
HeadParser::HeadParser(Kind kind, bool to_head) : limits_(kind == Kind::kRequest ? kRequestHead : kReplyHead),
        kind_(kind),
        to_head_(to_head) {}
auto HeadParser::Take(std::string_view& bytes) -> Parsed {
    while (!bytes.empty() && state_ == Parsed::kMore) {
      const std::size_t feed = bytes.find('\n');
      const bool ends = feed != std::string_view::npos;
      const std::string_view piece = bytes.substr(0, ends ? feed + 1 : bytes.size());
      bytes.remove_prefix(piece.size());
      const std::size_t line = head_.text_.size() - line_at_ + piece.size() - (ends ? 1 : 0);
      if (line > limits_.line_bytes) {
        Refuse(431, first_line_ ? "its first line is too long" : "a header is too long");
      } else if (interim_bytes_ + head_.text_.size() + piece.size() > limits_.head_bytes) {
        Refuse(431, "its headers are too long");
      } else {
        head_.text_.append(piece);
        if (ends) TakeLine();
      }
    }
    return state_;
  }
auto HeadParser::Head() const -> const MessageHead& { return head_; }
auto HeadParser::Why() const -> const Refusal& { return why_; }
bool HeadParser::Begun() const { return !head_.text_.empty() || interim_bytes_ > 0; }
void HeadParser::Reset(bool to_head) {
    ResetHead();
    interim_bytes_ = 0;
    to_head_ = to_head;
    odd_ = false;
    skipped_ = false;
  }
void HeadParser::ResetHead() {
    head_.text_.clear();
    head_.headers_.clear();
    head_.status_ = 0;
    head_.framing_ = Framing();
    line_at_ = 0;
    first_line_ = true;
    state_ = Parsed::kMore;
  }
void HeadParser::Refuse(int status, const char* text) {
    state_ = Parsed::kRefused;
    why_ = {status, text};
  }
void HeadParser::TakeLine() {
    std::size_t end = head_.text_.size() - 1;
    const bool has_return = end > line_at_ && head_.text_[end - 1] == '\r';
    if (has_return) {
      --end;
    } else if (kind_ == Kind::kRequest) {  // a line to some readers, and none to others
      return Refuse(400, "a line does not end with carriage return and line feed");
    } else {
      odd_ = true;
    }
    const std::size_t begin = line_at_;
    line_at_ = head_.text_.size();
    const std::string_view line = std::string_view(head_.text_).substr(begin, end - begin);
    if (first_line_) {
      if (line.empty() && kind_ == Kind::kRequest && !skipped_) return SkipLine();
      first_line_ = false;
      return kind_ == Kind::kRequest ? RequestLine(line, begin) : StatusLine(line);
    }
    if (line.empty()) return EndOfHead();
    TakeHeader(line, begin);
  }
void HeadParser::SkipLine() {
    skipped_ = true;
    head_.text_.clear();
    line_at_ = 0;
  }
auto HeadParser::Of(std::size_t at, std::size_t size) -> Part {
    return {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(size)};
  }
void HeadParser::RequestLine(std::string_view line, std::size_t begin) {
    const std::size_t first = line.find(' '), last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) {
      return Refuse(400, "its first line is not METHOD TARGET HTTP/1.1");
    }
    const std::string_view method = line.substr(0, first);
    const std::string_view target = line.substr(first + 1, last - first - 1);
    const std::string_view version = line.substr(last + 1);
    if (!IsToken(method) || target.empty())
      return Refuse(400, "its first line is not METHOD TARGET HTTP/1.1");
    for (const char c : target) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte <= ' ' || byte >= 127)
        return Refuse(400, "its target has a byte that has to be written as %XX");
    }
    if (version != "HTTP/1.1" && version != "HTTP/1.0") {
      return Refuse(HasPrefix(version, "HTTP/") ? 505 : 400, "it is neither HTTP/1.1 nor HTTP/1.0");
    }
    head_.method_ = Of(begin, method.size());
    head_.target_ = Of(begin + first + 1, target.size());
    head_.minor_ = version.back() - '0';
  }
void HeadParser::StatusLine(std::string_view line) {
    constexpr std::string_view kStart = "HTTP/1.";
    const bool starts = line.size() >= 12 && HasPrefix(line, kStart) &&
                        (line[7] == '0' || line[7] == '1') && line[8] == ' ' &&
                        (line.size() == 12 || line[12] == ' ');
    if (!starts) return Refuse(400, "its first line is no status of HTTP/1.1 or HTTP/1.0");
    head_.minor_ = line[7] - '0';
    for (const char c : line.substr(9, 3)) {
      if (c < '0' || c > '9') return Refuse(400, "its status is no number");
      head_.status_ = head_.status_ * 10 + (c - '0');
    }
    if (head_.status_ < 100) Refuse(400, "its status is below 100");
  }
void HeadParser::TakeHeader(std::string_view line, std::size_t begin) {
    for (const char c : line) {
      if ((c >= 0 && c < ' ' && c != '\t') || c == 127)
        return Refuse(400, "a header has a control character");
    }
    if (line.front() == ' ' || line.front() == '\t') return Fold(line, begin);
    if (head_.headers_.size() == limits_.headers) return Refuse(431, "it has too many headers");
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return Refuse(400, "a header has no colon");
    std::string_view name = line.substr(0, colon);
    if (kind_ == Kind::kReply) {  // RFC 9112 §5.1: a blank before the colon is removed from a reply
      name = Trimmed(name);
      odd_ = odd_ || name.size() != colon;
    }
    if (kind_ == Kind::kRequest ? !IsToken(name) : name.empty())
      return Refuse(400, "a header has no valid name");
    const std::string_view value = Trimmed(line.substr(colon + 1));
    const std::size_t value_at = value.empty()
                                     ? begin + colon + 1
                                     : begin + static_cast<std::size_t>(value.data() - line.data());
    head_.headers_.push_back({Of(begin, name.size()), Of(value_at, value.size())});
  }
void HeadParser::Fold(std::string_view line, std::size_t begin) {
    if (kind_ == Kind::kRequest || head_.headers_.empty())
      return Refuse(400, "a header begins with a blank");
    odd_ = true;
    const std::string_view more = Trimmed(line);
    if (more.empty()) return;
    Part& value = head_.headers_.back().value;
    const std::size_t more_at = begin + static_cast<std::size_t>(more.data() - line.data());
    const std::size_t value_end = std::size_t{value.at} + value.size;
    if (value.size == 0) {
      value = Of(more_at, more.size());
    } else {
      std::memset(&head_.text_[value_end], ' ', more_at - value_end);
      value = Of(value.at, more_at + more.size() - value.at);
    }
  }
void HeadParser::EndOfHead() {
    const bool interim = kind_ == Kind::kReply && head_.status_ < 200;
    if (interim && head_.status_ != 101) {
      interim_bytes_ += head_.text_.size();
      return ResetHead();
    }
    if (interim)
      return Refuse(400, "it changes to another protocol (status 101), for which nobody asked");
    state_ = Parsed::kDone;
    FramingReader framing(kind_, head_.minor_);
    for (std::size_t i = 0; i < head_.Count(); ++i) {
      if (!framing.Look(head_.At(i).name, head_.At(i).value)) {
        return Refuse(framing.Why().status, framing.Why().text);
      }
    }
    head_.framing_ = kind_ == Kind::kRequest ? framing.OfRequest()
                                             : framing.OfReply(head_.status_, to_head_, odd_);
  }
bool HeadParser::IsToken(std::string_view text) {
    static constexpr std::array<bool, 128> kToken = [] {
      std::array<bool, 128> table{};
      for (std::size_t c = '0'; c <= '9'; ++c) table[c] = true;
      for (std::size_t c = 'a'; c <= 'z'; ++c) table[c] = table[c - 'a' + 'A'] = true;
      for (const char c : std::string_view("!#$%&'*+-.^_`|~"))
        table[static_cast<unsigned char>(c)] = true;
      return table;
    }();
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= kToken.size() || !kToken[byte]) return false;
    }
    return !text.empty();
  }
}}}


// ---- dtm/http/transport/held_bytes.hpp ---------------------------------------------------------

namespace dtm { inline namespace v1 { namespace transport {
HeldBytes::HeldBytes(std::size_t limit) : limit_(limit) {}
void HeldBytes::Change(std::size_t& counted, std::size_t now) {
    freed_ = freed_ || now < counted;
    held_ = held_ - counted + now;
    counted = now;
  }
bool HeldBytes::Allow(std::size_t size) const {
    return held_ <= (size > kSmall ? limit_ - limit_ / 4 : limit_);
  }
bool HeldBytes::AllowRequest(std::size_t size, std::size_t own) const {
    if (size <= kSmall) return Allow(size);
    const std::size_t half = limit_ / 2;
    return held_ <= half && own / kShare <= half - held_;
  }
std::size_t HeldBytes::Now() const { return held_; }
bool HeldBytes::TakeFreed() { return std::exchange(freed_, false); }
}}}


// ---- dtm/http/transport/tls_session.hpp --------------------------------------------------------

namespace dtm { inline namespace v1 { namespace transport {
TlsSession::~TlsSession() = default;
}}}

namespace dtm { inline namespace v1 {
TlsClient::~TlsClient() = default;
}}


// ---- dtm/http/transport/socket_connection.hpp --------------------------------------------------

namespace dtm { inline namespace v1 { namespace transport {
SocketConnection::SocketConnection(IoLoop& loop) : loop_(loop) {}
SocketConnection::~SocketConnection() { Close(); }
bool SocketConnection::IsOpen() const { return socket_.IsOpen(); }
int SocketConnection::Fd() const { return socket_.Fd(); }
auto SocketConnection::Loop() const -> IoLoop& { return loop_; }
void SocketConnection::Close() {
    loop_.Cancel(*this);
    tls_.reset();
    // A forked child may have it too, and the loop would go on reporting it.
    if (socket_.IsOpen()) loop_.Unwatch(socket_.Fd());
    socket_.Close();
    std::string().swap(out_);  // an assignment would keep its memory
    sent_ = 0;
  }
bool SocketConnection::Open(Socket socket, std::unique_ptr<TlsSession> tls, bool known_to_loop) {
    socket_ = std::move(socket);
    tls_ = std::move(tls);
    shaking_ = tls_ != nullptr;
    sending_ends_ = false;
    paused_ = false;
    return known_to_loop ? loop_.Rewatch(socket_.Fd(), *this) : loop_.Watch(socket_.Fd(), *this);
  }
void SocketConnection::Write(std::string_view bytes) {
    if (sending_ends_ || !IsOpen()) return;
    if (Unsent() == 0 && !shaking_) bytes.remove_prefix(Send(bytes));
    if (!sending_ends_) out_.append(bytes);
  }
std::size_t SocketConnection::Unsent() const { return out_.size() - sent_; }
bool SocketConnection::CannotSend() const { return sending_ends_; }
void SocketConnection::PauseReading() { paused_ = true; }
void SocketConnection::ResumeReading() {
    paused_ = false;
    if (!shaking_) Read(true);
  }
void SocketConnection::SetDeadline(SteadyTime deadline) { loop_.Set(*this, deadline); }
std::string SocketConnection::TlsProblem() const { return tls_ ? tls_->Problem() : std::string(); }
bool SocketConnection::InHandshake() const { return shaking_; }
void SocketConnection::OnSecure() {}
void SocketConnection::OnSent() {}
void SocketConnection::OnReady(Readiness ready) {
    if (!IsOpen()) return;
    try {
      GoOn(ready);
    } catch (const std::bad_alloc&) {
      OnNoMemory();
    }
  }
void SocketConnection::GoOn(Readiness ready) {
    if (shaking_ && !Shake()) return;
    if (ready.writable && Unsent() > 0) {
      Flush();
      if (IsOpen() && out_.empty()) OnSent();
    }
    if (IsOpen() && !paused_ && (ready.readable || sending_ends_ || tls_ != nullptr)) {
      Read(ready.ended || sending_ends_);
    }
  }
bool SocketConnection::Shake() {
    const Moved moved = tls_->Handshake();
    if (moved.kind == Moved::Kind::kWait) return false;
    if (moved.kind != Moved::Kind::kSome) {
      OnEnd(true);
      return false;
    }
    shaking_ = false;
    OnSecure();
    if (IsOpen() && Unsent() > 0) Flush();
    return IsOpen();
  }
std::size_t SocketConnection::Send(std::string_view bytes) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const char* const from = bytes.data() + sent;
      const std::size_t size = bytes.size() - sent;
      const Moved moved = tls_ ? tls_->Send(from, size) : SendSome(socket_.Fd(), from, size);
      if (moved.kind == Moved::Kind::kWait) return sent;
      if (moved.kind != Moved::Kind::kSome) {
        sending_ends_ = true;
        return bytes.size();
      }
      sent += moved.size;
    }
    return sent;
  }
void SocketConnection::Flush() {
    sent_ += Send(std::string_view(out_).substr(sent_));
    if (Unsent() > 0) return;
    std::string().swap(out_);
    sent_ = 0;
  }
void SocketConnection::Read(bool to_the_end) {
    char* const buffer = loop_.Buffer();
    for (int reads = 0; IsOpen() && !paused_; ++reads) {
      if (reads == kReadsAtATime) return void(loop_.Rewatch(socket_.Fd(), *this));
      const Moved moved = tls_ ? tls_->Receive(buffer, IoLoop::kBuffer)
                               : ReceiveSome(socket_.Fd(), buffer, IoLoop::kBuffer);
      if (moved.kind == Moved::Kind::kWait) {
        // TLS may have waited with sending for something to receive.
        if (tls_ && Unsent() > 0) Flush();
        return;
      }
      if (moved.kind != Moved::Kind::kSome) {
        paused_ = true;  // told once
        return OnEnd(moved.kind == Moved::Kind::kBroken || sending_ends_);
      }
      OnBytes({buffer, moved.size});
      if (!tls_ && !to_the_end && moved.size < IoLoop::kBuffer) return;
    }
  }
}}}


// ---- dtm/http/hosts/host_connection.hpp --------------------------------------------------------

namespace dtm { inline namespace v1 { namespace hosts {
HostConnection::Owner::~Owner() = default;
HostConnection::HostConnection(transport::IoLoop& loop, Owner& owner) : transport::SocketConnection(loop), owner_(owner), connector_(loop) {}
bool HostConnection::Begin(std::unique_ptr<HttpCall> call, bool again) {
    call_ = std::move(call);
    sent_before_ = again;
    Recount();
    return InTime();
  }
void HostConnection::Connect(const transport::FoundAddresses& found) {
    if (found.addresses.empty()) return NotReached(found.problem);
    connector_.Start(found.addresses, call_->deadline,
                     [this](transport::Socket socket, const std::string& problem) {
                       OnConnected(std::move(socket), problem);
                     });
  }
void HostConnection::SendAgain(std::unique_ptr<HttpCall> call) {
    call_ = std::move(call);
    used_before_ = true;
    sent_before_ = false;
    parser_.Reset();
    body_.reset();
    outcome_ = HttpOutcome();
    Recount();
    if (InTime()) SendRequest();
  }
void HostConnection::Fail() noexcept {
    if (call_ == nullptr) return Ended();
    try {
      outcome_.problem = "cannot be called: " + std::string(std::bad_alloc().what());
    } catch (...) {
    }
    Finish(outcome_.status == 0 ? Kind::kNoReply : Kind::kBrokeOff, false);
  }
void HostConnection::Rest(SteadyTime until) { SetDeadline(until); }
void HostConnection::Abandon() {
    connector_.Cancel();
    call_.reset();
    Recount();
    Close();
  }
bool HostConnection::InTime() {
    if (transport::IoLoop::Clock::now() >= call_->deadline) {
      Finish(Kind::kLate, false);
      return false;
    }
    SetDeadline(call_->deadline);
    if (call_->MaySend()) return true;
    outcome_.problem = kNoAnswer;
    Finish(sent_before_ ? Kind::kNoReply : Kind::kNotAllowed, false);
    return false;
  }
void HostConnection::NotReached(const std::string& problem) {
    owner_.OnUnreachable();
    outcome_.problem = "cannot be reached: " + problem;
    Finish(Kind::kNotReached, false);
  }
void HostConnection::OnConnected(transport::Socket socket, const std::string& problem) {
    if (!socket.IsOpen()) return NotReached(problem);
    const Url& origin = owner_.Origin();
    std::unique_ptr<transport::TlsSession> tls;
    if (origin.Tls()) {
      try {
        if (owner_.Tls() == nullptr) throw Error("this program was made without TLS");
        tls = owner_.Tls()->Connect(socket.Fd(), origin.host);
      } catch (const std::exception& error) {
        Loop().Unwatch(socket.Fd());
        return NotReached(error.what());
      }
    }
    if (!Open(std::move(socket), std::move(tls), true))
      return NotReached("the system watches no more sockets");
    if (InTime()) SendRequest();
  }
void HostConnection::SendRequest() {
    Write(call_->request);
    if (Unsent() > 0) Recount();
  }
void HostConnection::OnSent() { Recount(); }
void HostConnection::OnSecure() { (void)InTime(); }
void HostConnection::OnBytes(std::string_view bytes) {
    if (call_ == nullptr) return Ended();  // nobody asked for them
    if (!body_) {
      const http1::Parsed parsed = parser_.Take(bytes);
      // An answer has begun, so it is not sent again.
      if (call_->request.size() > transport::HeldBytes::kSmall) std::string().swap(call_->request);
      Recount();
      if (parsed == http1::Parsed::kRefused) return Invalid(parser_.Why());
      if (!owner_.HasRoom(parser_.Head().Bytes())) return NoRoom();
      if (parsed == http1::Parsed::kMore) return;
      const http1::MessageHead& head = parser_.Head();
      outcome_.status = head.Status();
      outcome_.encoded = head.BodyFraming().encoded;
      body_.emplace(http1::MessageKind::kReply, head.BodyFraming());
      body_bytes_ = 0;
      const bool length_known = head.BodyFraming().body == http1::Framing::Body::kLength;
      if (length_known && head.BodyFraming().length > call_->max_body)
        return Finish(Kind::kTooLong, false);
    }
    const http1::Parsed parsed =
        body_->Take(bytes, [this](std::string_view piece) { TakeBody(piece); });
    if (parsed == http1::Parsed::kRefused) return Invalid(body_->Why());
    if (body_bytes_ > call_->max_body) return Finish(Kind::kTooLong, false);
    if (parsed == http1::Parsed::kDone)
      Finish(Kind::kReply,
             bytes.empty() && Unsent() == 0 && parser_.Head().BodyFraming().keep_alive);
  }
void HostConnection::TakeBody(std::string_view piece) {
    body_bytes_ += piece.size();
    std::size_t kept = (std::min)(piece.size(), call_->keep_body - outcome_.body.size());
    outcome_.crowded =
        outcome_.crowded || (kept > 0 && !owner_.HasRoom(outcome_.body.size() + kept));
    if (outcome_.crowded) kept = 0;
    outcome_.body.append(piece.substr(0, kept));
    outcome_.cut = outcome_.cut || kept < piece.size();
    Recount();
    call_->OnBody(piece, kept);
  }
void HostConnection::NoRoom() {
    outcome_.problem = HttpOutcome::kNoRoom;
    Finish(Kind::kBrokeOff, false);
  }
void HostConnection::Invalid(const http1::Refusal& why) {
    outcome_.problem = std::string(outcome_.status == 0 ? "ended without a valid HTTP answer: "
                                                        : "broke off its answer: ") +
                       why.text;
    Finish(outcome_.status == 0 ? Kind::kInvalid : Kind::kBrokeOff, false);
  }
void HostConnection::OnEnd(bool broken) {
    if (call_ == nullptr) return Ended();
    if (body_ && !broken && body_->End()) return Finish(Kind::kReply, false);
    const std::string tls = TlsProblem();
    if (InHandshake())
      return NotReached("TLS is not agreed on: " +
                        (tls.empty() ? "the connection was closed" : tls));
    if (used_before_ && !parser_.Begun()) {
      // The host closed it while it rested, or at the very moment it was used again: as a rule the request did not
      // arrive, and a fresh connection settles it at once. The worst case is a request that arrives twice, which
      // the other side has to take in any case.
      std::unique_ptr<HttpCall> call = std::move(call_);
      Ended();
      return owner_.SendFresh(std::move(call), true);
    }
    outcome_.problem = outcome_.status == 0 ? kNoAnswer : "broke off its answer";
    if (!tls.empty()) outcome_.problem += " (" + tls + ")";
    Finish(outcome_.status == 0 ? Kind::kNoReply : Kind::kBrokeOff, false);
  }
void HostConnection::OnDeadline() {
    if (call_ == nullptr) return Ended();
    Finish(Kind::kLate, false);
  }
void HostConnection::OnNoMemory() { Fail(); }
void HostConnection::Ended() {
    Recount();
    connector_.Cancel();
    Close();
    owner_.Drop(*this);
  }
void HostConnection::Finish(Kind kind, bool reusable) {
    const std::unique_ptr<HttpCall> call = std::move(call_);
    Recount();  // whoever waits for room gets it now
    HttpOutcome outcome = std::move(outcome_);
    outcome.kind = kind;
    if (outcome.status != 0) outcome.head = &parser_.Head();
    if (!reusable || !owner_.Keep(*this)) Ended();
    try {
      call->OnDone(std::move(outcome));
    } catch (...) {  // for want of memory, and this connection may be gone: what it kept counts
    }
  }
void HostConnection::Recount() {
    const std::size_t reply = parser_.Head().Bytes() + outcome_.body.capacity();
    owner_.Hold(counted_, call_ == nullptr ? 0 : call_->request.size() + Unsent() + reply);
  }
}}}


// ---- dtm/http/hosts/http_host.hpp --------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace hosts {
HttpHost::HttpHost(HostParts& parts, Url url) : parts_(parts), url_(std::move(url)), self_(std::make_shared<HttpHost*>(this)) {
    always_known_ = Resolver::IsKnown(url_.host, url_.port, found_);
  }
HttpHost::~HttpHost() {
    parts_.idle -= idle_.size();
    for (std::unique_ptr<HostConnection>& connection : connections_) {
      connection->Abandon();
      parts_.loop.Dispose(std::move(connection));
    }
  }
auto HttpHost::Where() const -> const Url& { return url_; }
void HttpHost::Send(std::unique_ptr<HttpCall> call) noexcept {
    if (idle_.empty()) return SendFresh(std::move(call), false);
    HostConnection* const connection = idle_.back();  // the one that rested least
    idle_.pop_back();
    --parts_.idle;
    try {
      connection->SendAgain(std::move(call));
    } catch (const std::bad_alloc&) {
      connection->Fail();
    }
  }
std::size_t HttpHost::Connections() const { return connections_.size(); }
std::size_t HttpHost::Idle() const { return idle_.size(); }
std::size_t HttpHost::Bytes() const { return bytes_; }
auto HttpHost::Origin() const -> const Url& { return url_; }
auto HttpHost::Tls() -> TlsClient* { return parts_.tls; }
void HttpHost::Hold(std::size_t& counted, std::size_t now) {
    bytes_ = bytes_ - counted + now;
    parts_.held.Change(counted, now);
  }
bool HttpHost::HasRoom(std::size_t size) const { return parts_.held.Allow(size); }
void HttpHost::SendFresh(std::unique_ptr<HttpCall> call, bool again) noexcept {
    HostConnection* connection = nullptr;
    try {
      idle_.reserve(connections_.capacity() + 1);  // so that nothing that ends a call needs memory
      waiting_.reserve(connections_.capacity() + 1);
      connections_.push_back(std::make_unique<HostConnection>(
          parts_.loop, static_cast<HostConnection::Owner&>(*this)));
      connection = connections_.back().get();
      connection->place = connections_.size() - 1;
      if (connection->Begin(std::move(call), again)) Connect(*connection);
    } catch (const std::bad_alloc&) {
      if (connection != nullptr) return connection->Fail();
      HttpOutcome outcome;
      outcome.kind = HttpOutcome::Kind::kNotReached;
      call->OnDone(std::move(outcome));
    }
  }
void HttpHost::Connect(HostConnection& connection) {
    if (always_known_ || transport::IoLoop::Clock::now() < believed_until_)
      return connection.Connect(found_);
    waiting_.push_back(&connection);
    if (waiting_.size() > 1) return;
    // The answer may come when this host is gone, or even another one is at its place.
    const std::weak_ptr<HttpHost*> self = self_;
    parts_.resolver.Find(url_.host, url_.port, [self](transport::FoundAddresses found) {
      if (const auto host = self.lock()) (*host)->OnFound(std::move(found));
    });
  }
bool HttpHost::Keep(HostConnection& connection) {
    if (parts_.idle >= parts_.max_idle) return false;
    idle_.push_back(&connection);
    ++parts_.idle;
    connection.Rest(parts_.loop.Now() + parts_.keep_idle);
    return true;
  }
void HttpHost::OnUnreachable() { believed_until_ = SteadyTime(); }
void HttpHost::Drop(HostConnection& connection) {
    const auto rested = std::find(idle_.begin(), idle_.end(), &connection);
    if (rested != idle_.end()) {
      idle_.erase(rested);
      --parts_.idle;
    }
    waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), &connection), waiting_.end());
    std::unique_ptr<HostConnection>& place = connections_[connection.place];
    std::swap(place, connections_.back());
    place->place = connection.place;
    parts_.loop.Dispose(std::move(connections_.back()));
    connections_.pop_back();
  }
void HttpHost::OnFound(transport::FoundAddresses found) {
    found_ = std::move(found);
    believed_until_ =
        found_.addresses.empty() ? SteadyTime() : transport::IoLoop::Clock::now() + kAddressesStay;
    const std::vector<HostConnection*> waiting = std::exchange(waiting_, {});
    for (HostConnection* connection : waiting) {
      try {
        connection->Connect(found_);
      } catch (const std::bad_alloc&) {
        connection->Fail();
      }
    }
  }
}}}


// ---- dtm/http/hosts/blocking_host.hpp ----------------------------------------------------------

namespace dtm { inline namespace v1 { namespace hosts {
BlockingHost::BlockingHost(const Url& url, std::shared_ptr<TlsClient> tls) : tls_(std::move(tls)), host_(std::make_unique<HttpHost>(parts_, url)) {}
BlockingHost::~BlockingHost() {
    host_.reset();
    resolver_.Stop();
  }
void BlockingHost::Send(HttpCall& call) {
    loop_.Poll(std::chrono::microseconds(0));  // what was closed meanwhile is noticed now
    done_ = false;
    host_->Send(std::make_unique<Relay>(call, done_));
    while (!done_) loop_.Poll(kLook);
  }
bool BlockingHost::IsOpen() const { return host_->Idle() > 0; }
BlockingHost::Relay::Relay(HttpCall& call, bool& over) : to(call), done(over) {
      request = call.request;
      deadline = call.deadline;
      keep_body = call.keep_body;
      max_body = call.max_body;
    }
bool BlockingHost::Relay::MaySend() const { return to.MaySend(); }
void BlockingHost::Relay::OnBody(std::string_view piece, std::size_t kept) { to.OnBody(piece, kept); }
void BlockingHost::Relay::OnDone(HttpOutcome outcome) {
      done = true;
      to.OnDone(std::move(outcome));
    }
}}}


// ---- dtm/http/http1/request_reply.hpp ----------------------------------------------------------

namespace dtm { inline namespace v1 { namespace http1 {
auto FindHeader(const std::vector<HttpHeader>& headers, std::string_view lower) -> std::string_view {
  for (const HttpHeader& header : headers) {
    if (EqualsLower(header.name, lower)) return header.value;
  }
  return {};
}
void HttpRequest::Set(std::string name, std::string value) {
    headers.push_back({std::move(name), std::move(value)});
  }
auto HttpRequest::Header(std::string_view lower) const -> std::string_view { return FindHeader(headers, lower); }
auto HttpReply::Header(std::string_view lower) const -> std::string_view { return FindHeader(headers, lower); }
std::string RequestText(const HttpRequest& request) {
  std::size_t size = request.method.size() + request.target.size() + request.body.size() + 64;
  for (const HttpHeader& header : request.headers)
    size += header.name.size() + header.value.size() + 4;
  std::string text;
  text.reserve(size);
  text.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\n");
  for (const HttpHeader& header : request.headers) {
    text.append(header.name).append(": ").append(header.value).append("\r\n");
  }
  // RFC 9110 §8.6: what could have a body says that it has none.
  if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD")) {
    text.append("Content-Length: ").append(std::to_string(request.body.size())).append("\r\n");
  }
  return text.append("\r\n").append(request.body);
}
}}}


// ---- dtm/http/remote/http_connection.hpp -------------------------------------------------------

namespace dtm { inline namespace v1 {
bool Exchanged::Complete() const { return whole && !too_long && !encoded; }
std::string Exchanged::Problem() const {
    if (too_long) return "its answer is too long";
    return whole && encoded ? "its answer is compressed" : problem;
  }
HttpConnection::HttpConnection(const Url& url, std::size_t max_body, std::shared_ptr<TlsClient> tls) : max_body_(max_body), host_(url, std::move(tls)) {}
auto HttpConnection::Send(const http1::HttpRequest& request, SteadyTime deadline) -> Exchanged {
    One one;
    one.request = RequestText(request);
    one.deadline = deadline;
    one.keep_body = max_body_;
    one.max_body = (std::max)(one.max_body, max_body_);
    host_.Send(one);
    return std::move(one.reply);
  }
bool HttpConnection::IsOpen() const { return host_.IsOpen(); }
void HttpConnection::One::OnDone(hosts::HttpOutcome outcome) {
      using Kind = hosts::HttpOutcome::Kind;
      reply.answered = outcome.status != 0;
      reply.whole = outcome.kind == Kind::kReply;
      reply.too_long = outcome.cut || outcome.kind == Kind::kTooLong;
      reply.encoded = outcome.encoded;
      reply.status = outcome.status;
      reply.body = std::move(outcome.body);
      reply.problem =
          outcome.kind == Kind::kLate ? "it gave no answer in time" : "it " + outcome.problem;
      if (!wire::retry_after::Counts(outcome.status) || outcome.head == nullptr) return;
      reply.retry_after = wire::retry_after::Wait(
          outcome.head->Find("retry-after"), std::string(outcome.head->Find("date")),
          std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()));
    }
}}


// ---- dtm/http/alert_web_hook.hpp ---------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace alert_web_hook {
std::string Body(const Alert& alert) {
  const nlohmann::ordered_json body = {{wire::kGid, alert.gid},
                                       {wire::kStatus, Name(alert.status)},
                                       {wire::kBranch, alert.branch},
                                       {wire::kError, alert.error},
                                       {wire::kRetryCount, alert.retry_count}};
  // Branches may have answered with anything.
  return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}
void Post(const Url& url, const Alert& alert, const std::shared_ptr<TlsClient>& tls) {
  http1::HttpRequest request;
  request.method = "POST";
  request.target = url.target;
  request.body = Body(alert);
  request.Set("Host", url.Authority());
  request.Set("Content-Type", wire::kJson);
  request.Set("Accept-Encoding", "identity");
  request.Set("User-Agent", wire::UserAgent());
  request.Set("Connection", "close");
  if (!url.credentials.empty()) request.Set("Authorization", wire::BasicAuthorization(url));
  // Alerts are rare: none leaves a connection behind.
  const Exchanged reply = HttpConnection(url, kMaxAnswer, tls)
                              .Send(request, std::chrono::steady_clock::now() + kTimeout);
  if (!reply.answered) {
    throw Error("the alert web hook at " + url.Origin() + " did not answer: " + reply.Problem());
  }
}
}}}

namespace dtm { inline namespace v1 {
auto AlertWebHook(const std::string& url,
                                                      std::shared_ptr<TlsClient> tls) -> std::function<void(const Alert&)> {
  Url parsed = ParseHttpUrl(url, "the alert web hook");
  if (parsed.Tls() && !tls) {
    throw Error("the alert web hook " + parsed.Origin() +
                " needs TLS: include <dtm/http/tls.hpp> and give dtm::Tls() as well");
  }
  return [parsed = std::move(parsed), tls = std::move(tls)](const Alert& alert) {
    alert_web_hook::Post(parsed, alert, tls);
  };
}
}}


// ---- dtm/http/api/access.hpp -------------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace access {
bool Equal(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0u : 1u;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char other = b.empty() ? '\0' : b[i % b.size()];
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(other);
  }
  return difference == 0;
}
bool CarriesToken(std::string_view authorization, std::string_view token) {
  if (Lowered(authorization.substr(0, 7)) == "bearer ")
    return Equal(authorization.substr(7), token);
  if (Lowered(authorization.substr(0, 6)) != "basic ") return false;
  const auto decoded = wire::base64::Decode(authorization.substr(6));
  if (!decoded) return false;
  const std::size_t colon = decoded->find(':');
  return colon != std::string::npos && Equal(std::string_view(*decoded).substr(colon + 1), token);
}
auto WithoutPort(std::string_view host) -> std::string_view {
  const std::size_t bracket = host.rfind(']');
  const std::size_t colon = host.rfind(':');
  const bool port = colon != std::string_view::npos &&
                    (bracket == std::string_view::npos ? host.find(':') == colon : colon > bracket);
  return port ? host.substr(0, colon) : host;
}
bool IsLoopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" || host == "::1" ||
         (host.substr(0, 4) == "127." &&
          host.find_first_not_of("0123456789.") == std::string_view::npos);
}
bool FromForeignPage(const Headers& headers) {
  const bool own_origin = headers.origin.empty() || headers.origin == "http://" + headers.host ||
                          headers.origin == "https://" + headers.host;
  const bool own_site = headers.sec_fetch_site.empty() || headers.sec_fetch_site == "none" ||
                        headers.sec_fetch_site == "same-origin";
  return !own_origin || !own_site;
}
auto Judge(const Headers& headers, const std::string& token) -> Verdict {
  if (FromForeignPage(headers)) return Verdict::kForeign;
  if (!token.empty()) {
    return CarriesToken(headers.authorization, token) ? Verdict::kAllowed : Verdict::kNoToken;
  }
  return IsLoopback(Lowered(WithoutPort(headers.host))) ? Verdict::kAllowed : Verdict::kForeign;
}
auto JudgePing(const Headers& headers, const std::string& token) -> Verdict {
  if (token.empty()) return Judge(headers, token);
  return FromForeignPage(headers) ? Verdict::kForeign : Verdict::kAllowed;
}
auto JudgePage(Headers headers, const std::string& token) -> Verdict {
  const bool followed_link = headers.origin.empty() && headers.sec_fetch_dest == "document";
  if (followed_link) headers.sec_fetch_site.clear();
  return JudgePing(headers, token);
}
}}}


// ---- dtm/http/wire/json_input.hpp --------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace wire { namespace json_input {
auto Parse(const std::string& text) -> nlohmann::json {
  if (JsonDepth(text) > kMaxJsonDepth) return nlohmann::json::value_t::discarded;
  return nlohmann::json::parse(text, nullptr, false);
}
void CheckObject(const nlohmann::json& json, const std::string& what) {
  if (!json.is_object()) throw BadInput(what + " must be a JSON object");
}
auto ParseObject(const std::string& text, const std::string& what) -> nlohmann::json {
  if (JsonDepth(text) > kMaxJsonDepth) {
    throw BadInput(what + " is nested more than " + std::to_string(kMaxJsonDepth) + " levels deep");
  }
  if (text.find('\0') != std::string::npos) throw BadInput(what + " contains a NUL byte");
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw BadInput(what + " is not valid JSON: " + Printable(error.what()));
  }
  CheckObject(json, what);
  return json;
}
Fields::Fields(const nlohmann::json& object, std::string what) : what_(std::move(what)) {
    fields_.reserve(object.size());
    for (const auto& item : object.items()) {
      fields_.emplace_back(Lowered(item.key()), item.value().is_null() ? nullptr : &item.value());
    }
    std::sort(fields_.begin(), fields_.end(),
              [](const Field& a, const Field& b) { return a.first < b.first; });
    const auto twice =
        std::adjacent_find(fields_.begin(), fields_.end(),
                           [](const Field& a, const Field& b) { return a.first == b.first; });
    if (twice != fields_.end()) {
      throw BadInput(what_ + ": the key '" + Printable(twice->first) +
                     "' is given twice, in different case");
    }
  }
auto Fields::Find(const char* key) const -> const nlohmann::json* {
    const auto found = std::lower_bound(
        fields_.begin(), fields_.end(), key,
        [](const Field& field, const char* wanted) { return field.first < wanted; });
    return found == fields_.end() || found->first != key ? nullptr : found->second;
  }
std::string Fields::Text(const char* key) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return {};
    if (!value->is_string()) Wrong(key, "a string");
    return value->get_ref<const std::string&>();
  }
bool Fields::Bool(const char* key) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) Wrong(key, "true or false");
    return value->get<bool>();
  }
auto Fields::Integer(const char* key, std::int64_t smallest, std::int64_t largest) const -> std::int64_t {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return 0;
    const std::string range =
        "an integer from " + std::to_string(smallest) + " to " + std::to_string(largest);
    if (!value->is_number_integer()) Wrong(key, range);
    const bool huge = value->is_number_unsigned() &&
                      value->get<std::uint64_t>() > static_cast<std::uint64_t>(largest);
    if (huge || value->get<std::int64_t>() < smallest || value->get<std::int64_t>() > largest) {
      Wrong(key, range);
    }
    return value->get<std::int64_t>();
  }
auto Fields::Texts(const char* key) const -> std::map<std::string, std::string> {
    std::map<std::string, std::string> texts;
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return texts;
    if (!value->is_object()) Wrong(key, "an object of strings");
    for (const auto& item : value->items()) {
      if (item.value().is_null()) continue;
      if (!item.value().is_string()) Wrong(key, "an object of strings");
      texts[item.key()] = item.value().get_ref<const std::string&>();
    }
    return texts;
  }
void Fields::Each(const char* key, const char* wanted,
            const std::function<bool(const nlohmann::json&)>& each) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_array()) Wrong(key, wanted);
    for (const nlohmann::json& element : *value) {
      if (!each(element)) Wrong(key, wanted);
    }
  }
void Fields::Wrong(const char* key, const std::string& wanted) const {
    throw BadInput(what_ + ": '" + key + "' must be " + wanted);
  }
}}}}


// ---- dtm/http/api/replies.hpp ------------------------------------------------------------------

namespace dtm { inline namespace v1 {
std::string ApiRequest::Query(const char* key) const {
    const auto found = query.find(key);
    return found == query.end() ? std::string() : found->second;
  }
auto InHttp(Outcome&& outcome) -> ApiOutcome {
  using Kind = Outcome::Kind;
  const auto status = [](Kind kind) {
    switch (kind) {
      case Kind::kDone: return 200;
      case Kind::kBadInput: return 400;
      case Kind::kRejected:
      case Kind::kRolledBack: return 409;
      case Kind::kOngoing: return 425;
      case Kind::kUnavailable: return 503;
      case Kind::kUnknown: break;
    }
    return 500;
  };
  const bool rejected = outcome.kind == Kind::kRejected;
  return {status(outcome.kind), std::move(outcome.message), rejected};
}
}}

namespace dtm { inline namespace v1 { namespace replies {
auto NotFound() -> ApiReply { return {404, "404 page not found", "text/plain"}; }
auto OfPage(const ApiPage& page) -> ApiReply {
  ApiReply reply{200, std::string(page.text), page.type};
  reply.headers = page.headers;
  return reply;
}
auto Of(const ApiOutcome& outcome) -> ApiReply {
  if (outcome.status == 200) return {200, R"({"dtm_result":"SUCCESS"})"};
  nlohmann::ordered_json json;
  if (outcome.status == 409) json[wire::kDtmResult] = wire::kFailure;
  if (outcome.status == 425) json[wire::kDtmResult] = wire::kOngoing;
  json[wire::kMessage] = outcome.message;
  if (outcome.rejected) json[wire::kRejected] = true;
  ApiReply reply{outcome.status, wire::JsonText(json)};
  if (outcome.status == 503) reply.retry_after = 1;
  return reply;
}
}}}

namespace dtm { inline namespace v1 {
auto QueryInteger(const ApiRequest& request, const char* key, std::int64_t otherwise,
                                 std::int64_t smallest, std::int64_t largest) -> std::int64_t {
  const std::string text = request.Query(key);
  if (text.empty()) return otherwise;
  const std::size_t sign = text[0] == '-' || text[0] == '+' ? 1 : 0;
  const bool digits = text.size() > sign && text.size() - sign <= 18 &&
                      text.find_first_not_of("0123456789", sign) == std::string::npos;
  if (!digits) throw BadInput("convert to int error: " + Printable(Truncated(text, 100)));
  const std::int64_t value =
      ParseNumber<std::int64_t>(std::string_view(text).substr(text[0] == '+' ? 1 : 0))
          .value_or(0);  // 18 digits always fit
  if (value < smallest || value > largest) {
    throw BadInput(std::string(key) + " is " + text + "; it must be " + std::to_string(smallest) +
                   " to " + std::to_string(largest));
  }
  return value;
}
}}


// ---- dtm/http/api/head.hpp ---------------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace api_head {
auto Refusal(int status, const std::string& why) -> ApiReply {
  ApiReply reply = replies::Of({status, why});
  reply.close = true;
  return reply;
}
auto TooLong() -> ApiReply {
  return Refusal(
      413, "the body is longer than the limit of " + std::to_string(kMaxBodyBytes) + " bytes");
}
bool MayHaveBody(const std::string& method) {
  return method == "POST" || method == "PUT" || method == "PATCH";
}
std::size_t CountHeaders(const ApiRequest& request, std::string_view lower) {
  std::size_t count = 0;
  for (const auto& header : request.headers) {
    if (http1::EqualsLower(header.name, lower)) ++count;
  }
  return count;
}
std::string JoinedHeader(const ApiRequest& request, std::string_view lower) {
  std::string joined;
  for (const auto& header : request.headers) {
    if (!http1::EqualsLower(header.name, lower)) continue;
    if (!joined.empty()) joined += ",";
    joined += header.value;
  }
  return joined;
}
void TakeHost(ApiRequest& request) {
  std::string& path = request.path;
  request.host = http1::FindHeader(request.headers, "host");
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (Lowered(std::string_view(path).substr(0, scheme.size())) != scheme) continue;
    const std::size_t end = (std::min)(path.find('/', scheme.size()), path.size());
    request.host = path.substr(scheme.size(), end - scheme.size());
    path.erase(0, end);
    if (path.empty()) path = "/";
    return;
  }
}
auto JudgeFor(const ApiRequest& request, bool is_page,
                                const access::Headers& headers, const std::string& token) -> access::Verdict {
  if (is_page) return access::JudgePage(headers, token);
  if (request.path == "/api/ping") return access::JudgePing(headers, token);
  return access::Judge(headers, token);
}
auto Check(const ApiRequest& request, const std::string& token,
                                     bool is_page) -> std::optional<ApiReply> {
  const auto header = [&request](std::string_view lower) {
    return std::string(http1::FindHeader(request.headers, lower));
  };
  const std::string length = header("content-length");
  const bool chunked = CountHeaders(request, "transfer-encoding") > 0;
  if (CountHeaders(request, "content-length") > 1 || (chunked && !length.empty())) {
    return Refusal(400, "the length of the body is said twice; send one Content-Length");
  }
  if (CountHeaders(request, "host") > 1) return Refusal(400, "there are two Host headers");
  if (length.find_first_not_of("0123456789") != std::string::npos) {
    return Refusal(400, "Content-Length must be a number");
  }
  const access::Headers headers{header("authorization"), request.host, header("origin"),
                                header("sec-fetch-site"), header("sec-fetch-dest")};
  switch (JudgeFor(request, is_page, headers, token)) {
    case access::Verdict::kAllowed: break;
    case access::Verdict::kNoToken: {
      ApiReply reply =
          Refusal(401, "this server needs its token: send Authorization: Bearer <token>");
      reply.challenge = "Bearer";
      return reply;
    }
    case access::Verdict::kForeign:
      return Refusal(403,
                     "refused: it came from a foreign web page, or Host is not this machine; "
                     "a server with a token accepts any Host");
  }
  const std::string& method = request.method;
  const bool body = chunked || !(length.empty() || length == "0");
  if (!MayHaveBody(method) && body) {
    return Refusal(400, "a request of this method must not have a body");
  }
  if (!MayHaveBody(method) && method != "GET" && method != "HEAD" && method != "DELETE" &&
      method != "OPTIONS") {
    ApiReply reply = replies::NotFound();
    reply.close = true;
    return reply;
  }
  const std::string encoding = Lowered(header("content-encoding"));
  const std::string type = Lowered(header("content-type"));
  if ((!encoding.empty() && encoding != "identity") || type.find("multipart/") == 0) {
    return Refusal(415, "the body must be JSON, neither compressed nor in parts");
  }
  if (length.size() > 7 || (!length.empty() && ParseNumber<std::size_t>(length).value_or(
                                                   kMaxBodyBytes + 1) > kMaxBodyBytes)) {
    return TooLong();
  }
  return std::nullopt;
}
}}}


// ---- dtm/http/api/numbers/api_counters.hpp -----------------------------------------------------

namespace dtm { inline namespace v1 {
void ApiCounters::Answered(const std::string& api, int status, Duration took) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Api& counted = apis_[api];
    ++(status < 400 ? counted.ok : counted.failed);
    counted.durations.Add(took);
  }
void ApiCounters::AnsweredNow(const char* api, int status, std::chrono::steady_clock::time_point begin) {
    const auto took = std::chrono::steady_clock::now() - begin;
    Answers::Protected([&] { Answered(api, status, std::chrono::duration_cast<Duration>(took)); });
  }
auto ApiCounters::Get() const -> std::map<std::string, Api> {
    const std::lock_guard<std::mutex> lock(mutex_);
    return apis_;
  }
}}


// ---- dtm/http/api/branch_reply.hpp -------------------------------------------------------------

namespace dtm { inline namespace v1 { namespace replies {
void Hide(const std::string& word, std::string& json) {
  static constexpr char kHex[] = "0123456789abcdef";
  const auto first = static_cast<unsigned char>(word[0]);
  const std::string escaped = std::string("\\u00") + kHex[first >> 4] + kHex[first & 15];
  for (std::size_t at = json.find(word); at != std::string::npos; at = json.find(word, at)) {
    json.replace(at, 1, escaped);
  }
}
void HideWords(ApiReply& reply) {
  if (reply.status == 200 || reply.status == 425) return;
  Hide(wire::kOngoing, reply.body);
  if (reply.status != 409) Hide(wire::kFailure, reply.body);
}
auto OfBranch(const Result& result) -> ApiReply {
  ApiReply reply;
  switch (result.kind) {
    case Result::Kind::kSuccess: return Of({});
    case Result::Kind::kOngoing: reply = Of({425, result.text}); break;
    case Result::Kind::kFailure: reply = Of({409, result.text}); break;
    case Result::Kind::kError:
    case Result::Kind::kNotSent:
      reply.status = result.retry_after.count() > 0 ? 503 : 500;
      reply.body = wire::JsonText({{wire::kError, result.text}});
      break;
  }
  if (result.kind != Result::Kind::kFailure) {
    const Duration wait = (std::min)(result.retry_after, Duration(kMaxRetryAfter));
    reply.retry_after = static_cast<int>((wait.count() + 999999) / 1000000);
  }
  HideWords(reply);
  return reply;
}
}}}


// ---- dtm/http/api/json_operations.hpp ----------------------------------------------------------

namespace dtm { inline namespace v1 { namespace json_operations {
auto TransactionOf(const nlohmann::json& body) -> Definition {
  return wire::DecodeTransaction(wire::json_input::Fields(body, "the transaction"));
}
void TakeTrace(nlohmann::json& body, std::string_view traceparent,
                      std::string_view tracestate) {
  const auto trace = ReadTraceContext(traceparent, tracestate);
  if (!trace || !body.is_object()) return;
  std::string key = wire::kBranchHeaders;
  for (const auto& item : body.items()) {
    if (Lowered(item.key()) == wire::kBranchHeaders) key = item.key();  // see Fields
  }
  nlohmann::json& headers = body[key];
  if (headers.is_null()) headers = nlohmann::json::object();
  if (!headers.is_object()) return;  // what is wrong with it is said later
  for (const auto& header : headers.items()) {
    if (IsTraceHeader(header.key())) return;
  }
  const auto add = [&headers](const char* name, std::string value) {
    if (headers.size() < kMaxHeaders) headers[name] = std::move(value);
  };
  add(kTraceParent, std::string(Trimmed(traceparent)));
  if (!trace->state.empty()) add(kTraceState, trace->state);
}
void FinishWorkflow(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the transaction");
  const wire::WorkflowEnd end = wire::DecodeWorkflowEnd(fields.Texts(wire::kReqExtra));
  tm.FinishWorkflowAsync(wire::GidOf(fields), end.status, end.reason, end.result, done);
}
void Submit(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  Definition definition = TransactionOf(body);
  if (definition.type == TransType::kWorkflow) return FinishWorkflow(tm, body, done);
  if (!definition.options.wait_result) return tm.SubmitAsync(std::move(definition), done);
  tm.SubmitAsync(std::move(definition), [done](const Answer& answer) {
    if (answer.error || answer.result.Succeeded()) return done(answer);
    done({{}, GoesOn(answer.result)});
  });
}
void Prepare(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  tm.PrepareAsync(TransactionOf(body), done);
}
void RegisterBranch(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  wire::Registration branch =
      wire::DecodeRegistration(wire::json_input::Fields(body, "the branch"));
  tm.RegisterBranchAsync(branch.gid, branch.type, std::move(branch.step), done);
}
auto ByIn(const wire::json_input::Fields& fields) -> By {
  return {fields.Text(wire::kWho), fields.Text(wire::kWhy)};
}
void Abort(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the transaction");
  By by = ByIn(fields);
  std::string reason = fields.Text(wire::kRollbackReason);
  if (!reason.empty()) by.why = std::move(reason);
  tm.AbortAsync(wire::GidOf(fields), wire::TypeNamed(fields.Text(wire::kTransType)), by,
                WaitResult::kCounts, done);
}
void ForceStop(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the body");
  tm.ForceStopAsync(wire::GidOf(fields), ByIn(fields), done);
}
void SkipBranch(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the body");
  tm.SkipAsync(wire::GidOf(fields), fields.Text(wire::kBranchId),
               wire::OpNamed(fields.Text(wire::kOp)), ByIn(fields), done);
}
void ResetNextCronTime(Operations& tm, const nlohmann::json& body,
                              const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the body");
  tm.RetryNowAsync(wire::GidOf(fields), ByIn(fields), [done](const Answer& answer) {
    try {
      (void)answer.Get();
    } catch (const EndedError&) {
      return done({});
    } catch (...) {  // NOLINT(bugprone-empty-catch): `done` is told
    }
    done(answer);
  });
}
}}}


// ---- dtm/http/api/lists.hpp --------------------------------------------------------------------

namespace dtm { inline namespace v1 {
ApiLists::ApiLists(Coordinator& tm) : tm_(tm) {}
auto ApiLists::Query(const ApiRequest& request) -> ApiReply {
    const std::optional<Transaction> stored = tm_.Query(GidOf(request));
    Json branches = stored ? wire::BranchesJson(*stored) : Json::array();
    Json transaction = stored ? Shown(*stored) : Json(nullptr);
    return {200, wire::JsonText({{wire::kBranches, std::move(branches)},
                                 {wire::kTransaction, std::move(transaction)}})};
  }
auto ApiLists::Timeline(const ApiRequest& request) -> ApiReply {
    const std::optional<dtm::Timeline> story = tm_.Timeline(GidOf(request));
    const std::string format = request.Query("format");
    if (!format.empty()) return InFormat(request, story, format);
    const Json none = Json::array();
    return {200, wire::JsonText(
                     {{wire::kTransaction, story ? Shown(story->transaction) : Json(nullptr)},
                      {wire::kBranches, story ? wire::BranchesJson(story->transaction) : none},
                      {"runs", story ? timeline_json::Runs(*story) : none},
                      {"attempts", story ? timeline_json::Attempts(*story) : none},
                      {"entries", story ? timeline_json::Entries(*story) : none}})};
  }
auto ApiLists::Explain(const ApiRequest& request) -> ApiReply {
    return {200, wire::JsonText({{"text", tm_.Explain(GidOf(request))}})};
  }
auto ApiLists::All(const ApiRequest& request) -> ApiReply {
    const std::string gid = request.Query(wire::kGid);
    if (!gid.empty()) {
      const std::optional<Transaction> stored = tm_.Query(gid);
      return Page(stored ? Json::array({Shown(*stored)}) : Json(nullptr), 0);
    }
    ScanFilter filter;
    std::int64_t position = QueryInteger(request, "position", 0, 0, INT64_MAX);
    auto left = static_cast<std::size_t>(
        QueryInteger(request, "limit", 100, 1, static_cast<std::int64_t>(kMaxListLimit)));
    if (const std::string status = request.Query(wire::kStatus); !status.empty()) {
      filter.status = StatusOf(status);
    }
    if (const std::string type = request.Query("transType"); !type.empty()) {
      filter.type = wire::TypeNamed(type);
    }
    constexpr std::int64_t kLastMilli = INT64_MAX / 1000 - 1;
    const auto milli = [&request](const char* key, std::int64_t otherwise) {
      return QueryInteger(request, key, otherwise, -kLastMilli, kLastMilli);
    };
    ReadSearch(request, filter);
    filter.created_from = Time(std::chrono::milliseconds(milli("createTimeStart", 0)));
    filter.created_to = Time(std::chrono::milliseconds(milli("createTimeEnd", kLastMilli)) +
                             std::chrono::microseconds(999));
    Json transactions = Json::array();
    if (filter.IsSearch()) {  // bounded in all respects
      const ScanPage page = tm_.List(filter, position, left);
      for (const Transaction& stored : page.transactions) transactions.push_back(Shown(stored));
      return Page(std::move(transactions), page.next);
    }
    std::size_t bytes = 0;
    // In small pages: a thousand transactions may be a gigabyte.
    do {
      const ScanPage page = tm_.List(filter, position, (std::min)(left, std::size_t{32}));
      position = page.next;
      left -= (std::min)(left, page.transactions.size());
      for (const Transaction& stored : page.transactions) {
        bytes += BytesOf(*stored.definition);
        transactions.push_back(Shown(stored));
      }
    } while (position != 0 && left > 0 && bytes < kPageBytes);
    return Page(std::move(transactions), position);
  }
auto ApiLists::Nodes(const ApiRequest&) -> ApiReply {
    Json nodes = Json::array();
    for (const Peer& peer : tm_.Nodes()) {
      using Millis = std::chrono::milliseconds;
      Json silent = nullptr;
      if (peer.silent) silent = std::chrono::duration_cast<Millis>(*peer.silent).count();
      nodes.push_back({{"name", peer.node.name},
                       {wire::kUrl, ShownUrl(peer.node.url)},
                       {"app", peer.node.app},
                       {"member", peer.is_member},
                       {"silent_ms", std::move(silent)},
                       {"self", peer.is_self}});
    }
    return {200, wire::JsonText({{"nodes", std::move(nodes)}})};
  }
auto ApiLists::Overview(const ApiRequest&) -> ApiReply {
    const Gauges now = tm_.Measure();
    if (!now.backlog) throw StoreError("the store cannot be read now; ask again");
    return {200, wire::JsonText(overview_json::Of(now, tm_.Counted()))};
  }
auto ApiLists::ScanValues(const ApiRequest& request) -> ApiReply {
    const std::int64_t position = QueryInteger(request, wire::kPosition, 0, 0, INT64_MAX);
    const std::int64_t limit =
        QueryInteger(request, wire::kLimit, 100, 1, static_cast<std::int64_t>(kMaxListLimit));
    return Values(
        Read(request.Query(wire::kCategory), {}, position, static_cast<std::size_t>(limit)), true);
  }
auto ApiLists::QueryValues(const ApiRequest& request) -> ApiReply {
    return Values(Read(request.Query(wire::kCategory), request.Query(wire::kKey), 0, kMaxListLimit),
                  false);
  }
auto ApiLists::Shown(const Transaction& stored) const -> Json {
    return wire::TransactionJson(stored, tm_.IntervalOf(stored));
  }
bool ApiLists::Flag(const ApiRequest& request, const char* key) {
    return QueryInteger(request, key, 0, 0, 1) == 1;
  }
std::string ApiLists::TextIn(const ApiRequest& request, const char* key, std::size_t most) {
    std::string text = request.Query(key);
    if (text.size() <= most && IsUtf8(text)) return text;
    throw BadInput(std::string(key) + " must be UTF-8 of at most " + std::to_string(most) +
                   " bytes");
  }
void ApiLists::ReadSearch(const ApiRequest& request, ScanFilter& filter) {
    filter.unfinished = Flag(request, "unfinished");
    filter.stuck = Flag(request, "stuck");
    filter.errors = Flag(request, "errors");
    filter.gid_prefix = TextIn(request, "gidPrefix", kMaxGidBytes);
    filter.target = TextIn(request, "target", kMaxUrlBytes);
    filter.may_be_short = Flag(request, "short");
  }
std::string ApiLists::GidOf(const ApiRequest& request) {
    std::string gid = request.Query(wire::kGid);
    if (gid.empty()) throw BadInput("no gid specified");
    return gid;
  }
auto ApiLists::InFormat(const ApiRequest& request, const std::optional<dtm::Timeline>& story,
                    const std::string& format) const -> ApiReply {
    if (!story) throw BadInput("there is no transaction with gid '" + GidOf(request) + "'");
    if (std::optional<ApiReply> drawing = timeline_json::Drawing(*story, format)) return *drawing;
    if (format == "export") return Exported(request, *story);
    throw BadInput("the format '" + format + "' is none of text, svg, mermaid and export");
  }
auto ApiLists::Exported(const ApiRequest& request, const dtm::Timeline& story) const -> ApiReply {
    const bool redacted = QueryInteger(request, "redacted", 0, 0, 1) == 1;
    return {200, Export(story, redacted ? ExportContent::kRedacted : ExportContent::kFull,
                        ExportSettings::Of(tm_.Settings()))};
  }
auto ApiLists::Read(const std::string& category, const std::string& key, std::int64_t position,
                    std::size_t limit) -> KeyValuePage {
    KeyValuePage all;
    std::size_t bytes = 0;
    do {
      const std::size_t left = limit - all.values.size();
      KeyValuePage page = tm_.ListValues(category, key, position, (std::min)(left, std::size_t{4}));
      all.next = position = page.next;
      for (KeyValue& value : page.values) {
        bytes += value.value.size();
        all.values.push_back(std::move(value));
      }
    } while (position != 0 && all.values.size() < limit && bytes < kPageBytes);
    return all;
  }
std::string ApiLists::ShownValue(const KeyValue& value) {
    if (value.category != topics::kCategory || value.value.find('@') == std::string::npos) {
      return value.value;
    }
    Json list = Json::parse(value.value, nullptr, false);
    if (!list.is_array()) return value.value;
    for (Json& entry : list) {
      if (!entry.is_object() || !entry.contains(wire::kUrl) || !entry[wire::kUrl].is_string())
        continue;
      entry[wire::kUrl] = ShownUrl(entry[wire::kUrl].get<std::string>());
    }
    return list.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
auto ApiLists::Values(const KeyValuePage& page, bool with_position) -> ApiReply {
    Json values = Json::array();
    for (const KeyValue& value : page.values) {
      values.push_back({{wire::kId, value.id},
                        {wire::kCreateTime, wire::TimeText(value.created)},
                        {wire::kUpdateTime, wire::TimeText(value.updated)},
                        {wire::kCategory, value.category},
                        {"k", value.key},
                        {"v", ShownValue(value)},
                        {"version", value.version}});
    }
    Json reply = {{wire::kValues, std::move(values)}};
    if (with_position) {
      reply[wire::kNextPosition] = page.next == 0 ? "" : std::to_string(page.next);
    }
    return {200, wire::JsonText(reply)};
  }
auto ApiLists::Page(Json transactions, std::int64_t next) -> ApiReply {
    return {200, wire::JsonText({{wire::kNextPosition, next == 0 ? "" : std::to_string(next)},
                                 {wire::kTransactions, std::move(transactions)}})};
  }
auto ApiLists::StatusOf(const std::string& name) -> Status {
    for (const Status status : {Status::kPrepared, Status::kSubmitted, Status::kAborting,
                                Status::kSucceed, Status::kFailed}) {
      if (name == Name(status)) return status;
    }
    throw BadInput("status '" + Printable(name) +
                   "' is none of prepared, submitted, aborting, succeed and failed");
  }
}}


// ---- dtm/http/api/routes.hpp -------------------------------------------------------------------

namespace dtm { inline namespace v1 {
ApiRoutes::ApiRoutes(Coordinator& tm, std::shared_ptr<ApiCounters> counters) : tm_(tm), lists_(tm), counters_(std::move(counters)) {}
auto ApiRoutes::Find(const ApiRequest& request) -> const Route* {
    static constexpr Route kRoutes[] = {
        {"submit", "/api/dtmsvr/submit", "POST", &ApiRoutes::Asked<&json_operations::Submit>},
        {"newgid", "/api/dtmsvr/newGid", "GET", &ApiRoutes::Now<&ApiRoutes::NewGid>},
        {"query", "/api/dtmsvr/query", "GET", &ApiRoutes::Listed<&ApiLists::Query>, true},
        {"timeline", "/api/dtmsvr/timeline", "GET", &ApiRoutes::Listed<&ApiLists::Timeline>, true},
        {"prepare", "/api/dtmsvr/prepare", "POST", &ApiRoutes::Asked<&json_operations::Prepare>},
        {"abort", "/api/dtmsvr/abort", "POST", &ApiRoutes::Asked<&json_operations::Abort>},
        {"explain", "/api/dtmsvr/explain", "GET", &ApiRoutes::Listed<&ApiLists::Explain>, true},
        {"all", "/api/dtmsvr/all", "GET", &ApiRoutes::Listed<&ApiLists::All>, true},
        {"nodes", "/api/dtmsvr/nodes", "GET", &ApiRoutes::Listed<&ApiLists::Nodes>, true},
        {"overview", "/api/dtmsvr/overview", "GET", &ApiRoutes::Listed<&ApiLists::Overview>, true},
        {"forcestop", "/api/dtmsvr/forceStop", "POST",
         &ApiRoutes::Asked<&json_operations::ForceStop>},
        {"resetnextcrontime", "/api/dtmsvr/resetNextCronTime", "POST",
         &ApiRoutes::Asked<&json_operations::ResetNextCronTime>},
        {"skipbranch", "/api/dtmsvr/skipBranch", "POST",
         &ApiRoutes::Asked<&json_operations::SkipBranch>},
        {"resetcrontime", "/api/dtmsvr/resetCronTime", "GET POST",
         &ApiRoutes::Now<&ApiRoutes::ResetCronTime>, true},
        {"version", "/api/dtmsvr/version", "GET", &ApiRoutes::Now<&ApiRoutes::Version>},
        {"registerbranch", "/api/dtmsvr/registerBranch", "POST",
         &ApiRoutes::Asked<&json_operations::RegisterBranch>},
        {"registerbranch", "/api/dtmsvr/registerTccBranch", "POST",
         &ApiRoutes::Asked<&json_operations::RegisterBranch>},
        {"registerbranch", "/api/dtmsvr/registerXaBranch", "POST",
         &ApiRoutes::Asked<&json_operations::RegisterBranch>},
        {"prepareworkflow", "/api/dtmsvr/prepareWorkflow", "POST",
         &ApiRoutes::Now<&ApiRoutes::PrepareWorkflow>, true},
        {"subscribe", "/api/dtmsvr/subscribe", "GET POST", &ApiRoutes::Subscribe},
        {"unsubscribe", "/api/dtmsvr/unsubscribe", "GET POST", &ApiRoutes::Unsubscribe},
        {"topic", "/api/dtmsvr/topic/", "DELETE", &ApiRoutes::DeleteTopic, false, true},
        {"scankv", "/api/dtmsvr/scanKV", "GET", &ApiRoutes::Listed<&ApiLists::ScanValues>, true},
        {"querykv", "/api/dtmsvr/queryKV", "GET", &ApiRoutes::Listed<&ApiLists::QueryValues>, true},
        {"jsonrpc", "/api/json-rpc", "POST", &ApiRoutes::JsonRpc},
        {"branch", api_function::kPath, "GET POST", &ApiRoutes::Now<&ApiRoutes::Branch>, true,
         true},
        {"ping", "/api/ping", "*", &ApiRoutes::Now<&ApiRoutes::Ping>},
        {"metrics", "/api/metrics", "GET", &ApiRoutes::Now<&ApiRoutes::MetricsText>, true},
    };
    for (const Route& route : kRoutes) {
      const std::string_view path = route.path;
      const bool here = route.prefix ? request.path.compare(0, path.size(), path) == 0
                                     : std::string_view(request.path) == path;
      if (!here) continue;
      const std::string methods = route.methods;
      const bool fits = methods == "*" ||
                        (" " + methods + " ").find(" " + request.method + " ") != std::string::npos;
      if (fits) return &route;
    }
    return nullptr;
  }
void ApiRoutes::Handle(const Route& route, const ApiRequest& request, const ApiDone& done) {
    try {
      (this->*route.handler)(request, done);
    } catch (...) {
      Tell(done, {{}, std::current_exception()}, replies::Of);
    }
  }
auto ApiRoutes::AnswerTo(const ApiDone& done) -> AnswerCallback {
    return [done](const Answer& answer) { Tell(done, answer, replies::Of); };
  }
void ApiRoutes::TakeTrace(const ApiRequest& request, nlohmann::json& body) {
    if (api_head::CountHeaders(request, kTraceParent) != 1) return;
    json_operations::TakeTrace(body, http1::FindHeader(request.headers, kTraceParent),
                               api_head::JoinedHeader(request, kTraceState));
  }
auto ApiRoutes::BodyOf(const ApiRequest& request) -> nlohmann::json {
    nlohmann::json body = wire::json_input::ParseObject(request.body, "the body");
    TakeTrace(request, body);
    return body;
  }
void ApiRoutes::JsonRpc(const ApiRequest& request, const ApiDone& done) {
    static constexpr struct {
      const char* name;
      const char* counted;
      json_operations::Operation operation;
    } kMethods[] = {{"submit", "submit", &json_operations::Submit},
                    {"prepare", "prepare", &json_operations::Prepare},
                    {"abort", "abort", &json_operations::Abort},
                    {"registerBranch", "registerbranch", &json_operations::RegisterBranch}};
    json_rpc_api::Call call;
    if (std::optional<ApiReply> wrong = json_rpc_api::Read(request.body, call)) {
      return done(std::move(*wrong));
    }
    const auto begin = std::chrono::steady_clock::now();
    if (call.method == "newGid") {
      counters_->AnsweredNow("newgid", 200, begin);
      return done(json_rpc_api::OfGid(call.id, tm_.NewGid()));
    }
    for (const auto& method : kMethods) {
      if (call.method != method.name) continue;
      const AnswerCallback told = [counters = counters_, done, begin, counted = method.counted,
                                   id = call.id](const Answer& answer) {
        Tell(done, answer, [&](const ApiOutcome& outcome) {
          counters->AnsweredNow(counted, outcome.status, begin);
          return json_rpc_api::Of(id, outcome);
        });
      };
      try {
        wire::json_input::CheckObject(call.params, "params");
        TakeTrace(request, call.params);
        return method.operation(tm_, call.params, told);
      } catch (...) {
        return told({{}, std::current_exception()});
      }
    }
    done(json_rpc_api::NotFound(call));
  }
void ApiRoutes::Subscribe(const ApiRequest& request, const ApiDone& done) {
    const std::string url = request.Query(wire::kUrl);
    wire::CheckNotLocal(url);
    tm_.SubscribeAsync(request.Query(wire::kTopic), url, request.Query(wire::kRemark),
                       AnswerTo(done));
  }
void ApiRoutes::Unsubscribe(const ApiRequest& request, const ApiDone& done) {
    tm_.UnsubscribeAsync(request.Query(wire::kTopic), request.Query(wire::kUrl), AnswerTo(done));
  }
void ApiRoutes::DeleteTopic(const ApiRequest& request, const ApiDone& done) {
    const std::string name = request.path.substr(std::string("/api/dtmsvr/topic/").size());
    if (name.empty()) return done(replies::NotFound());
    tm_.DeleteTopicAsync(name, AnswerTo(done));
  }
auto ApiRoutes::PrepareWorkflow(const ApiRequest& request) -> ApiReply {
    Definition definition = json_operations::TransactionOf(BodyOf(request));
    if (definition.type != TransType::kWorkflow) {
      throw BadInput("prepareWorkflow is for workflows; a " + std::string(Name(definition.type)) +
                     " is prepared with prepare");
    }
    const auto stored = tm_.AwaitValue<Transaction>([&](const ValueCallback<Transaction>& answer) {
      tm_.PrepareWorkflowAsync(std::move(definition), answer);
    });
    return {200, wire::JsonText({{wire::kProgresses, wire::BranchesJson(stored)},
                                 {wire::kTransaction, lists_.Shown(stored)}})};
  }
auto ApiRoutes::ResetCronTime(const ApiRequest& request) -> ApiReply {
    const std::int64_t timeout = QueryInteger(request, "timeout", 105, 0, 10LL * 366 * 86400);
    const std::int64_t limit =
        QueryInteger(request, "limit", 100, 1, static_cast<std::int64_t>(kMaxListLimit));
    std::vector<std::string> waiting =
        tm_.ListWaiting(std::chrono::seconds(timeout), static_cast<std::size_t>(limit) + 1);
    const bool more = waiting.size() > static_cast<std::size_t>(limit);
    if (more) waiting.pop_back();
    const std::int64_t done = RetryAllNow(tm_, waiting);
    return {200, wire::JsonText({{"has_remaining", more}, {"succeed_count", done}})};
  }
auto ApiRoutes::NewGid(const ApiRequest&) -> ApiReply {
    return {200, wire::JsonText({{wire::kDtmResult, wire::kSuccess}, {wire::kGid, tm_.NewGid()}})};
  }
auto ApiRoutes::Version(const ApiRequest&) -> ApiReply {
    return {200, wire::JsonText({{"version", std::string("v") + kVersion}})};
  }
auto ApiRoutes::Ping(const ApiRequest&) -> ApiReply { return {200, R"({"msg":"pong"})"}; }
auto ApiRoutes::MetricsText(const ApiRequest&) -> ApiReply {
    return {200, metrics_text::Text(counters_->Get(), tm_.Counted(), tm_.Measure()),
            "text/plain; version=0.0.4"};
  }
auto ApiRoutes::Branch(const ApiRequest& request) -> ApiReply { return api_function::Reply(tm_, request); }
}}


// ---- dtm/http/api/api.hpp ----------------------------------------------------------------------

namespace dtm { inline namespace v1 {
Api::Api(Coordinator& tm, std::string token) : tm_(tm), routes_(tm, counters_), token_(std::move(token)) {}
void Api::Mount(std::vector<ApiPage> pages) { pages_ = std::move(pages); }
auto Api::Refusal(const ApiRequest& head) const -> std::optional<ApiReply> {
    return api_head::Check(head, token_, PageOf(head) != nullptr);
  }
bool Api::MayBlock(const ApiRequest& request) {
    const ApiRoutes::Route* const route = ApiRoutes::Find(request);
    // The subscribers of a topic are looked up. Slashes may be escaped.
    return route != nullptr && (route->blocks || request.body.find("topic:") != std::string::npos);
  }
void Api::Handle(const ApiRequest& request, const ApiDone& done) {
    const ApiRoutes::Route* const route = ApiRoutes::Find(request);
    const ApiPage* const page = route == nullptr ? PageOf(request) : nullptr;
    const char* const name = route != nullptr ? route->name : page != nullptr ? "page" : "unknown";
    const ApiDone counted = [counters = counters_, name, done,
                             begin = std::chrono::steady_clock::now()](ApiReply reply) {
      counters->AnsweredNow(name, reply.status, begin);
      done(std::move(reply));
    };
    if (page != nullptr) return counted(replies::OfPage(*page));
    if (route == nullptr) return counted(replies::NotFound());
    routes_.Handle(*route, request, counted);
  }
auto Api::Handle(const ApiRequest& request) -> ApiReply {
    const auto box = std::make_shared<ApiReply>();
    try {
      tm_.Await([&](const AnswerCallback& answer) {
        Handle(request, [box, answer](ApiReply given) {
          *box = std::move(given);
          answer({});
        });
      });
    } catch (...) {
      return replies::Of(InHttp(OutcomeOf(std::current_exception())));
    }
    return std::move(*box);
  }
auto Api::PageOf(const ApiRequest& request) const -> const ApiPage* {
    if (request.method != "GET" && request.method != "HEAD") return nullptr;
    const auto found = std::find_if(pages_.begin(), pages_.end(), [&request](const ApiPage& page) {
      return page.path == request.path;
    });
    return found == pages_.end() ? nullptr : &*found;
  }
}}


// ---- dtm/http/calls/host_limits.hpp ------------------------------------------------------------

namespace dtm { inline namespace v1 {
HostLimits::HostLimits(Limits limits) : limits_(limits) {}
bool HostLimits::MayStart(const Load& host) const {
    const int free = limits_.total - in_flight_;
    const int cap = Silent(host) ? limits_.silent_host : limits_.per_host;
    return host.in_flight < cap && host.in_flight < kShare * free;
  }
bool HostLimits::Silent(const Load& host) const { return host.silent >= limits_.silent_after; }
void HostLimits::Started(Load& host) {
    ++host.in_flight;
    ++in_flight_;
  }
void HostLimits::Finished(Load& host, bool silent) {
    --host.in_flight;
    --in_flight_;
    if (!silent) {
      host.silent = 0;
    } else if (host.silent < limits_.silent_after) {
      ++host.silent;
    }
  }
int HostLimits::InFlight() const { return in_flight_; }
}}


// ---- dtm/http/transport/io_thread.hpp ----------------------------------------------------------

namespace dtm { inline namespace v1 {
IoThread::IoThread() : IoThread(true) {}
auto IoThread::OfHost() -> std::shared_ptr<IoThread> {
    return std::shared_ptr<IoThread>(new IoThread(false));
  }
auto IoThread::Poll() -> Duration {
    transport::IoLoop& loop = Loop();
    if (loop.HasThread()) throw LogicError("Poll() is for an IoThread::OfHost()");
    loop.Poll(std::chrono::microseconds(0));
    const auto left = std::chrono::ceil<Duration>(
        (std::min)(loop.NextDeadline() - transport::IoLoop::Clock::now(), kLongest));
    return (std::max)(left, Duration(0));
  }
int IoThread::Fd() const { return Loop().Fd(); }
auto IoThread::Loop() const -> transport::IoLoop& { return own_.Get(); }
IoThread::IoThread(bool thread) : own_("I/O thread") {
    if (thread) own_.Get().Start();
  }
}}


// ---- dtm/http/calls/call_queue.hpp -------------------------------------------------------------

namespace dtm { inline namespace v1 {
auto CheckedOptions(const HttpBranchOptions& options) -> const HttpBranchOptions& {
  option_range::Check("limits.total", options.limits.total, 1, 1000000);
  option_range::Check("limits.per_host", options.limits.per_host, 1, 1000000);
  option_range::Check("limits.silent_host", options.limits.silent_host, 1, 1000000);
  option_range::Check("limits.silent_after", options.limits.silent_after, 1, 1000000);
  option_range::Check("max_waiting", options.max_waiting, 1, option_range::kAnyNumber);
  option_range::Check("keep_idle", options.keep_idle, Duration(0), kMaxOptionSeconds);
  return options;
}
CallQueue::Host::Host(Url where) : url_(std::move(where)) {}
auto CallQueue::Host::Where() const -> const Url& { return url_; }
CallQueue::CallQueue(const HttpBranchOptions& options, const transport::HeldBytes& held) : options_(CheckedOptions(options)), limits_(options.limits), held_(held) {}
auto CallQueue::Push(Job&& job, SteadyTime now) -> std::optional<Result> {
    try {
      job.url = ParseHttpUrl(job.call.Url());
      if (job.url.Tls() && !options_.tls) {
        return Result::Error(
            "https is not available: include <dtm/http/tls.hpp> and set HttpBranchOptions::tls to "
            "call " +
            job.url.Origin());
      }
      Host& host = HostAt(job.url);
      // Half of what is free: a host that is stuck cannot fill the queue for the others.
      if (host.waiting_.size() >= options_.max_waiting - waiting_) {
        return Result::NotSent("too many calls wait for " + host.url_.Origin());
      }
      if (!host.in_ring_) ring_.push_back(&host);
      host.in_ring_ = true;
      host.last_used_ = now;
      host.waiting_.emplace(Later(now, job.call.timeout - job.call.late), std::move(job));
      ++waiting_;
      return std::nullopt;
    } catch (const Error& error) {
      return Result::Error(wire::StorableText(error.what()));
    }
  }
auto CallQueue::Next() -> Host* {
    if (limits_.InFlight() >= options_.limits.total) return nullptr;
    for (std::size_t left = ring_.size(); left > 0; --left) {
      Host* host = ring_.front();
      if (host->waiting_.empty()) {
        host->in_ring_ = false;
        ring_.pop_front();
        continue;
      }
      if (limits_.MayStart(host->load_) && HasRoom(*host)) return host;
      ring_.splice(ring_.end(), ring_, ring_.begin());
    }
    return nullptr;
  }
auto CallQueue::Take(Host& host, SteadyTime now) -> Taken {
    ring_.splice(ring_.end(), ring_, ring_.begin());
    const auto first = host.waiting_.begin();
    Taken taken{std::move(first->second), std::nullopt};
    if (first->first <= now) {
      taken.too_late = TooLate(host);
    } else {
      limits_.Started(host.load_);
    }
    host.waiting_.erase(first);
    --waiting_;
    return taken;
  }
void CallQueue::Return(Host& host, bool silent, SteadyTime now) {
    limits_.Finished(host.load_, silent);
    host.last_used_ = now;
  }
auto CallQueue::Check(SteadyTime now, std::size_t limit, std::vector<Ended>& ended) -> SteadyTime {
    SteadyTime next = now + std::chrono::hours(1);
    for (auto at = hosts_.begin(); at != hosts_.end();) {
      Host& host = *at->second;
      for (auto& waiting = host.waiting_; !waiting.empty(); waiting.erase(waiting.begin())) {
        if (waiting.begin()->first > now || ended.size() >= limit) {
          next = (std::min)(next, waiting.begin()->first);
          break;
        }
        if (ended.size() == ended.capacity()) ended.reserve(2 * ended.size() + 16);  // it may throw
        ended.push_back({std::move(waiting.begin()->second), TooLate(host)});
        --waiting_;
      }
      const bool connected = host.connections != nullptr && host.connections->Connections() > 0;
      const bool unused = host.load_.in_flight == 0 && host.waiting_.empty() && !connected;
      const SteadyTime forget = host.last_used_ + kRemember;
      if (unused && (host.load_.silent == 0 || forget <= now || hosts_.size() > kMaxHosts)) {
        if (host.in_ring_) ring_.remove(&host);
        at = hosts_.erase(at);
      } else {
        if (unused) next = (std::min)(next, forget);
        ++at;
      }
    }
    return next;
  }
void CallQueue::Disconnect() {
    for (auto& [origin, host] : hosts_) host->connections.reset();
  }
auto CallQueue::Load() const -> CallLoad {
    CallLoad load{static_cast<std::size_t>(limits_.InFlight()), waiting_, {}};
    for (const auto& [origin, host] : hosts_) {
      const auto in_flight = static_cast<std::size_t>(host->load_.in_flight);
      const bool limited = limits_.Silent(host->load_);
      if (in_flight == 0 && host->waiting_.empty() && !limited) continue;
      load.hosts.push_back({origin, in_flight, host->waiting_.size(), limited});
    }
    return load;
  }
bool CallQueue::HasRoom(const Host& host) const {
    const std::size_t own = host.connections == nullptr ? 0 : host.connections->Bytes();
    return held_.AllowRequest(host.waiting_.begin()->second.call.Payload().size(), own);
  }
auto CallQueue::HostAt(const Url& url) -> Host& {
    std::string origin = url.Origin();
    auto found = hosts_.find(origin);
    if (found == hosts_.end()) {
      found = hosts_.emplace(std::move(origin), std::make_unique<Host>(url)).first;
    }
    return *found->second;
  }
auto CallQueue::TooLate(const Host& host) -> Result {
    return Result::NotSent(IfThereIsMemory(
        [&] { return "no slot for a call to " + host.url_.Origin() + " became free in time"; }));
  }
}}


// ---- dtm/http/calls/branch_http_call.hpp -------------------------------------------------------

namespace dtm { inline namespace v1 {
void WordsBeyond::Look(std::string_view piece, std::size_t kept) {
    if (kept < piece.size()) {
      const std::string text = tail_ + std::string(piece);
      ongoing_ = ongoing_ || text.find("ONGOING") != std::string::npos;
      failure_ = failure_ || text.find("FAILURE") != std::string::npos;
    }
    constexpr std::size_t kWord = 7;
    tail_ = piece.size() < kWord ? tail_ + std::string(piece) : std::string(piece);
    if (tail_.size() >= kWord) tail_.erase(0, tail_.size() - (kWord - 1));
  }
auto WordsBeyond::Found() const -> const char* { return ongoing_ ? "ONGOING" : failure_ ? "FAILURE" : ""; }
BranchHttpCall::BranchHttpCall(const BranchCall& call, const Url& url, SteadyTime until) : json_rpc_(wire::json_rpc::Speaks(*call.definition, url)),
        wanted_(json_rpc_ || call.keep_body) {
    request = RequestText(BranchRequest(call, url));
    deadline = until;
    keep_body = Kept();
    max_body = kMaxReadBytes;
  }
void BranchHttpCall::OnBody(std::string_view piece, std::size_t kept) {
    if (!wanted_) beyond_.Look(piece, kept);
  }
auto BranchHttpCall::Interpret(hosts::HttpOutcome& outcome, const BranchCall& call, const Url& url) const -> CallOutcome {
    CallOutcome told = ToldBy(outcome, call, url);
    if (wire::retry_after::Counts(outcome.status) && outcome.head != nullptr) {
      told.result.retry_after = wire::retry_after::Wait(
          outcome.head->Find("retry-after"), std::string(outcome.head->Find("date")),
          std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()));
    }
    return told;
  }
std::size_t BranchHttpCall::Kept() const { return wanted_ ? kMaxPayloadBytes : kMaxReplyBytes; }
auto BranchHttpCall::ToldBy(hosts::HttpOutcome& outcome, const BranchCall& call, const Url& url) const -> CallOutcome {
    const auto error = [&url](const std::string& text, bool silent) {
      return CallOutcome{Result::Error(wire::StorableText(url.Origin() + " " + text)), silent};
    };
    switch (outcome.kind) {
      case Kind::kReply:
        if (outcome.encoded || (wanted_ && outcome.cut)) break;
        return Whole(outcome, call);
      case Kind::kTooLong: break;
      case Kind::kNotAllowed: return {LeaseOver(), false};
      case Kind::kLate:
        return error(
            "gave no answer within " +
                std::to_string(
                    std::chrono::duration_cast<std::chrono::milliseconds>(call.timeout).count()) +
                " ms",
            true);
      default: return error(outcome.problem, outcome.kind == Kind::kNotReached);
    }
    // What the status says is definite; what a word in the rest of the body says is not known.
    if (outcome.status == 409 || outcome.status == 425) {
      return {wire::ReadReply(outcome.status, outcome.encoded ? std::string() : outcome.body),
              false};
    }
    if (outcome.crowded && outcome.kind == Kind::kReply && !outcome.encoded)
      return error(hosts::HttpOutcome::kNoRoom, false);
    const std::size_t limit = outcome.kind == Kind::kTooLong ? max_body : keep_body;
    CallOutcome told =
        error("answered with HTTP status " + std::to_string(outcome.status) +
                  (outcome.encoded ? " and a compressed body; answer branch calls without it"
                                   : " and a body of more than " + std::to_string(limit) +
                                         " bytes; answer branch calls with less"),
              false);
    told.result.done = outcome.status == 200;
    return told;
  }
auto BranchHttpCall::Whole(hosts::HttpOutcome& outcome, const BranchCall& call) const -> CallOutcome {
    std::string& body = outcome.body;
    if (outcome.cut) body += beyond_.Found();
    CallOutcome told{json_rpc_ ? wire::json_rpc::ReadReply(outcome.status, body)
                               : wire::ReadReply(outcome.status, body),
                     false};
    if (call.keep_body && told.result.kind == Result::Kind::kSuccess)
      told.result.text = std::move(body);
    return told;
  }
}}


// ---- dtm/http/calls/url_caller.hpp -------------------------------------------------------------

namespace dtm { inline namespace v1 {
UrlCaller::UrlCaller(const HttpBranchOptions& options) : tls_(options.tls),
        io_(options.io ? options.io : std::make_shared<IoThread>()),
        loop_(io_->Loop()),
        resolver_(loop_),
        parts_{loop_, resolver_, tls_.get(), options.keep_idle,
               static_cast<std::size_t>((std::max)(options.limits.total, 0))},
        queue_(options, parts_.held) {
    loop_.Do([this] {
      loop_.Set(*this, loop_.Now() + kLongest);
      loop_.AtTurnEnds(*this);
    });
  }
UrlCaller::~UrlCaller() { Stop(); }
void UrlCaller::Call(std::vector<BranchCall> calls, BranchResults& results) {
    if (stopping_ || calls.empty()) return;
    try {
      auto posted = std::make_shared<std::vector<BranchCall>>();
      posted->swap(calls);
      try {
        loop_.Post([this, gone = gone_, posted, &results] {
          if (!*gone) Take(*posted, results);
        });
      } catch (...) {
        posted->swap(calls);
        throw;
      }
    } catch (const std::bad_alloc&) {
      for (BranchCall& call : calls) {
        Job job{std::move(call), &results};
        Result problem = Result::NotSent({});
        Tell(job, problem);
      }
    }
  }
auto UrlCaller::Load() -> CallLoad {
    const std::lock_guard<std::mutex> lock(mutex_);
    return queue_.Load();
  }
void UrlCaller::Stop() {
    loop_.CheckOutsidePoll();
    if (stopping_.exchange(true)) return;
    loop_.Do([this] {
      *gone_ = true;
      queue_.Disconnect();
      loop_.Forget(*this);
      loop_.NotAtTurnEnds(*this);
    });
    loop_.Do([] {});  // what was disposed of is destroyed at the end of the turn
    resolver_.Stop();
  }
UrlCaller::Sent::Sent(UrlCaller& caller, Host& to, Job& sent, SteadyTime until) : BranchHttpCall(sent.call, sent.url, until),
          owner(caller),
          host(to),
          job(std::move(sent)) {}
bool UrlCaller::Sent::MaySend() const { return job.call.MayBegin(); }
void UrlCaller::Sent::OnDone(hosts::HttpOutcome outcome) { owner.OnDone(*this, outcome); }
void UrlCaller::Take(std::vector<BranchCall>& calls, BranchResults& results) {
    const SteadyTime now = loop_.Now();
    for (BranchCall& call : calls) {
      const SteadyTime late = Later(now, call.timeout - call.late);
      Job job{std::move(call), &results};
      std::optional<Result> refused;
      try {
        const std::lock_guard<std::mutex> lock(mutex_);
        refused = queue_.Push(std::move(job), now);
      } catch (const std::bad_alloc&) {
        refused = Result::NotSent({});
      }
      if (refused) {
        // NOLINTNEXTLINE(bugprone-use-after-move): Push did not take it
        Deliver(std::move(job), std::move(*refused));
      } else {
        CheckBefore(late);
      }
    }
    look_ = true;
  }
void UrlCaller::SendWaiting() {
    for (std::size_t i = 0; i < kAtATime; ++i) {
      Host* host = nullptr;
      CallQueue::Taken taken;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        host = queue_.Next();
        if (host == nullptr) return;
        taken = queue_.Take(*host, loop_.Now());
      }
      if (taken.too_late) {
        Deliver(std::move(taken.job), std::move(*taken.too_late));
      } else {
        Send(*host, taken.job);
      }
    }
    look_ = true;
    loop_.Wake();
  }
void UrlCaller::Send(Host& host, Job& job) {
    Result problem;
    try {
      if (host.connections == nullptr) {
        host.connections = std::make_unique<hosts::HttpHost>(parts_, host.Where());
      }
      auto sent = std::make_unique<Sent>(*this, host, job, Later(loop_.Now(), job.call.timeout));
      return host.connections->Send(std::move(sent));
    } catch (const std::exception& error) {
      problem = Result::Error(IfThereIsMemory([&] { return wire::StorableText(error.what()); }));
    }
    Return(host, false);
    Deliver(std::move(job), std::move(problem));
  }
void UrlCaller::OnDone(Sent& sent, hosts::HttpOutcome& outcome) {
    CallOutcome told;
    told.result = CatchAsResult([&] {
      told = sent.Interpret(outcome, sent.job.call, sent.job.url);
      return std::move(told.result);
    });
    Return(sent.host, told.silent);
    Deliver(std::move(sent.job), std::move(told.result));
  }
void UrlCaller::Return(Host& host, bool silent) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      queue_.Return(host, silent, loop_.Now());
    }
    look_ = true;
    CheckBefore(loop_.Now() + parts_.keep_idle + kALittle);
  }
void UrlCaller::CheckBefore(SteadyTime time) {
    if (time < Deadline()) loop_.Set(*this, time);
  }
void UrlCaller::OnDeadline() {
    loop_.Set(*this, loop_.Now() + kLongest);
    std::vector<CallQueue::Ended> ended;
    SteadyTime next = loop_.Now() + kALittle;
    try {
      const std::lock_guard<std::mutex> lock(mutex_);
      const SteadyTime again = queue_.Check(loop_.Now(), kAtATime, ended);
      // With more to say: in the next turn.
      next =
          ended.size() < kAtATime ? (std::max)(next, again) : loop_.Now() + SteadyTime::duration(1);
    } catch (const std::bad_alloc&) {  // what was not looked at is looked at again
    }
    CheckBefore(next);
    for (CallQueue::Ended& call : ended) Deliver(std::move(call.job), std::move(call.result));
  }
void UrlCaller::Deliver(Job job, Result result) {
    try {
      if (ended_.size() == ended_.capacity()) ended_.reserve(2 * ended_.size() + 16);
    } catch (const std::bad_alloc&) {
      return Tell(job, result);
    }
    ended_.push_back({std::move(job), std::move(result)});
  }
void UrlCaller::OnTurnEnd() {
    const bool freed = parts_.held.TakeFreed();
    if (freed || look_) {
      look_ = false;
      SendWaiting();
    }
    DeliverAll();
  }
void UrlCaller::DeliverAll() {
    for (std::size_t first = 0, last = 0; first < ended_.size(); first = last + 1) {
      BranchResults* const to = ended_[first].job.results;
      for (last = first; last + 1 < ended_.size() && ended_[last + 1].job.results == to;) ++last;
      if (last > first && !stopping_) {
        to->BeginBurst();
        for (std::size_t i = first; i < last; ++i) Tell(ended_[i].job, ended_[i].result);
        to->EndBurst();
      }
      Tell(ended_[last].job, ended_[last].result);
    }
    ended_.clear();
  }
void UrlCaller::Tell(Job& job, Result& result) {
    if (stopping_) return;
    try {
      job.results->Done(std::move(job.call), std::move(result));
    } catch (...) {  // not ours to mend, and no reason to end the process
    }
  }
}}


// ---- dtm/http/branches.hpp ---------------------------------------------------------------------

namespace dtm { inline namespace v1 {
HttpBranchCaller::HttpBranchCaller(const HttpBranchOptions& options) : own("caller of URLs", options) {}
void HttpBranchCaller::Call(std::vector<BranchCall> calls, BranchResults& results) {
    own.Get().Call(std::move(calls), results);
  }
auto HttpBranchCaller::Load() -> CallLoad { return own.Get().Load(); }
void HttpBranchCaller::Stop() { own.Get().Stop(); }
auto HttpBranches(const HttpBranchOptions& options) -> std::unique_ptr<BranchCaller> {
  return std::make_unique<HttpBranchCaller>(options);
}
}}


// ---- dtm/http/remote/remote_requests.hpp -------------------------------------------------------

namespace dtm { inline namespace v1 {
auto SaidIn(const Exchanged& reply) -> Said {
  Said said;
  const nlohmann::json body = wire::json_input::Parse(reply.body);
  if (!body.is_object()) return said;
  const auto text = [&body](const char* key) {
    const auto found = body.find(key);
    const bool told = found != body.end() && found->is_string();
    return told ? std::optional(found->get<std::string>()) : std::nullopt;
  };
  said.result = text(wire::kDtmResult).value_or("");
  said.message = text(wire::kMessage);
  const auto rejected = body.find(wire::kRejected);
  said.rejected = rejected != body.end() && *rejected == true;
  return said;
}
RemoteRequests::RemoteRequests(const std::string& url, RemoteOptions options) : url_(ParseHttpUrl(url, "the URL of the coordinator")), options_(std::move(options)) {
    option_range::Check("timeout", options_.timeout, option_range::kShortest, kMaxOptionSeconds);
    CheckUrlOption("branch_url", options_.branch_url);
    CheckUrlOption("url_in_branches", options_.url_in_branches);
    while (!url_.target.empty() && url_.target.back() == '/') url_.target.pop_back();
  }
std::string RemoteRequests::Where() const { return url_.Origin() + url_.target; }
auto RemoteRequests::Post(const char* path, const std::string& gid, std::string body) -> Exchanged {
    return Send("POST", path, gid, std::move(body));
  }
auto RemoteRequests::Send(const char* method, const std::string& path, const std::string& gid,
                 std::string body) -> Exchanged {
    http1::HttpRequest request;
    request.method = method;
    request.target = url_.target + path;
    request.body = std::move(body);
    request.Set("Host", url_.Authority());
    request.Set("Content-Type", wire::kJson);
    request.Set("Accept-Encoding", "identity");
    request.Set("User-Agent", wire::UserAgent());
    if (!options_.token.empty()) {
      request.Set("Authorization", "Bearer " + options_.token);
    } else if (!url_.credentials.empty()) {
      request.Set("Authorization", wire::BasicAuthorization(url_));
    }
    std::unique_ptr<HttpConnection> exchange = TakeIdle();
    Exchanged reply =
        exchange->Send(request, Later(std::chrono::steady_clock::now(), options_.timeout));
    if (!reply.Complete()) {
      throw InDoubtError(NoAnswer(gid) + reply.Problem());
    }
    Keep(std::move(exchange));
    return reply;
  }
std::string RemoteRequests::NoAnswer(const std::string& gid) const {
    return "gid '" + gid + "' may or may not be stored, the coordinator at " + Where() +
           " gave no answer; submit it again: ";
  }
std::string RemoteRequests::MessageOf(const Exchanged& reply) {
    return wire::StorableText(SaidIn(reply).message.value_or(reply.body));
  }
auto RemoteRequests::Refused(const std::string& gid, const std::string& message) -> RejectedError {
    return RejectedError("gid '" + gid + "' was refused: " + message);
  }
bool RemoteRequests::SaysYes(const std::string& gid, const Exchanged& reply) const {
    const Said said = SaidIn(reply);
    if (reply.status == 200 && said.result == wire::kSuccess) return true;
    const bool definite = reply.status == 200 || reply.status == 409 || reply.status == 425;
    if (!definite) Refuse("gid '" + gid + "'", reply);
    if (said.result != wire::kFailure && said.result != wire::kOngoing) throw NotOfDtm(gid, reply);
    return false;
  }
auto RemoteRequests::NotOfDtm(const std::string& gid, const Exchanged& reply) const -> InDoubtError {
    return InDoubtError(NoAnswer(gid) + "it answered something that is not dtm's: " +
                        wire::StorableText(reply.body));
  }
void RemoteRequests::Refuse(const std::string& what, const Exchanged& reply) const {
    const std::string text = what + " was refused by the coordinator at " + Where() +
                             " with HTTP status " + std::to_string(reply.status) + ": " +
                             MessageOf(reply);
    // A gateway says it too, when it has sent the request on already.
    if (reply.status == 503 && SaidIn(reply).message) {
      throw AskingToWait(BusyError(text), reply.retry_after);
    }
    if (reply.status >= 500) {
      throw AskingToWait(InDoubtError(text + "; it may be stored, submit it again"),
                         reply.retry_after);
    }
    if (reply.status == 400) throw BadInput(text);
    throw AskingToWait(RejectedError(text), reply.retry_after);
  }
auto RemoteRequests::TakeIdle() -> std::unique_ptr<HttpConnection> {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return std::make_unique<HttpConnection>(url_, kMaxQueryBytes, options_.tls);
    std::unique_ptr<HttpConnection> exchange = std::move(idle_.back());
    idle_.pop_back();
    return exchange;
  }
void RemoteRequests::Keep(std::unique_ptr<HttpConnection> exchange) {
    if (!exchange->IsOpen()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(exchange));
  }
}}


// ---- dtm/http/remote_coordinator.hpp -----------------------------------------------------------

namespace dtm { inline namespace v1 {
RemoteCoordinator::RemoteCoordinator(const std::string& url, RemoteOptions options) : options_(std::move(options)), own_("remote coordinator", url, options_) {}
RemoteCoordinator::~RemoteCoordinator() {
    if (!own_.Here()) return;
    own_.Get().stopping = true;
    own_.Get().pool.Stop();
  }
std::string RemoteCoordinator::NewGid() {
    const auto now = std::chrono::system_clock::now();
    Own& own = own_.Get();
    const std::lock_guard<std::mutex> lock(own.mutex);
    return own.gids.Make(std::chrono::time_point_cast<Duration>(now));
  }
auto RemoteCoordinator::Submit(Definition definition) -> TransResult {
    Check(definition, SubmitProblem(definition));
    const Exchanged reply =
        Requests().Post("/submit", definition.gid, wire::EncodeTransaction(definition));
    if (Requests().SaysYes(definition.gid, reply)) {
      const bool ended = definition.options.wait_result;
      return {definition.gid, ended ? Status::kSucceed : Status::kSubmitted, {}};
    }
    const std::string message = RemoteRequests::MessageOf(reply);
    if (SaidIn(reply).rejected) throw RemoteRequests::Refused(definition.gid, message);
    return Settle(definition, message);
  }
auto RemoteCoordinator::SubmitAndWait(Definition definition, Duration timeout) -> TransResult {
    const SteadyTime end = Later(Now(), timeout);
    const std::string gid = definition.gid;
    definition.options.wait_result = false;
    try {
      (void)Submit(std::move(definition));
    } catch (const FailureError&) {  // it was submitted before; the query tells how it ended
    }
    return RemoteRequests::InDoubtIfRefused(gid, [&] { return WaitUntil(gid, end); });
  }
void RemoteCoordinator::SubmitAsync(Definition definition, AnswerCallback callback) {
    Check(definition, SubmitProblem(definition));
    const std::string gid = definition.gid;
    const std::size_t bytes = BytesOf(definition);
    auto job = [this, definition = std::move(definition), callback = std::move(callback)] {
      Answer reply;
      try {
        if (own_.Get().stopping) {
          throw RejectedError(
              "gid '" + definition.gid +
              "' was not sent, the RemoteCoordinator was destroyed before; submit it again");
        }
        reply.result = Submit(definition);
      } catch (...) {
        reply.error = std::current_exception();
      }
      try {
        callback(reply);
      } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
      }
    };
    if (!own_.Get().pool.Run(std::move(job), bytes)) {
      throw BusyError("gid '" + gid + "' was not sent: too much is waiting to be sent, " +
                      std::to_string(kMaxWaiting) + " submissions or " +
                      std::to_string(kMaxWaitingBytes) + " bytes; submit it again later");
    }
  }
auto RemoteCoordinator::Prepare(Definition definition) -> TransResult {
    Check(definition, PrepareProblem(definition));
    DoneOrRefused("/prepare", definition.gid, wire::EncodeTransaction(definition));
    return {definition.gid, Status::kPrepared, {}};
  }
void RemoteCoordinator::Abort(const std::string& gid, TransType type, const std::string& reason) {
    Definition definition;
    definition.gid = gid;
    definition.type = type;
    const nlohmann::ordered_json why = {
        {wire::kRollbackReason, Truncated(reason, kMaxReasonBytes)}};
    const Exchanged reply =
        Requests().Post("/abort", gid, wire::EncodeTransaction(definition, why));
    const bool decided = Requests().SaysYes(gid, reply) || reply.status == 425;  // wait_result
    if (!decided) throw RemoteRequests::Refused(gid, RemoteRequests::MessageOf(reply));
  }
void RemoteCoordinator::RegisterBranch(const std::string& gid, TransType type, Step step) {
    const std::string problem = RegistrationProblem(gid, type, step);
    if (!problem.empty()) throw BadInput(problem);
    DoneOrRefused("/registerBranch", gid, wire::EncodeRegistration({gid, type, std::move(step)}));
  }
auto RemoteCoordinator::PrepareWorkflow(Definition definition) -> WorkflowState {
    Check(definition);
    const Exchanged reply =
        Requests().Post("/prepareWorkflow", definition.gid, wire::EncodeTransaction(definition));
    if (reply.status != 200) Requests().Refuse("gid '" + definition.gid + "'", reply);
    if (auto state = wire::DecodeWorkflow(reply.body)) return std::move(*state);
    throw Requests().NotOfDtm(definition.gid, reply);
  }
auto RemoteCoordinator::ResumeWorkflow(Definition definition) -> WorkflowState {
    if (!QueryTransaction(Requests(), definition.gid))
      throw RejectedError(NothingToResume(definition.gid));
    return PrepareWorkflow(std::move(definition));
  }
void RemoteCoordinator::FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                      const std::string& result) {
    CheckEnd(status);
    Definition definition;
    definition.gid = gid;
    definition.type = TransType::kWorkflow;
    const nlohmann::ordered_json extra =
        wire::WorkflowEndJson({status, Truncated(reason, kMaxReasonBytes), result});
    DoneOrRefused("/submit", gid, wire::EncodeTransaction(definition, {{wire::kReqExtra, extra}}));
  }
auto RemoteCoordinator::CallBranch(const InitiatorCall& call) -> Result {
    const std::string where = Requests().Where();
    if (!call.url.empty()) CheckCallable(call);
    return CallOnce(call, options_.url_in_branches.empty() ? where : options_.url_in_branches,
                    options_.tls);
  }
std::string RemoteCoordinator::UrlOfLocal(const std::string& name, std::uint64_t) const {
    if (RunsInTransaction(kLocalPrefix + name)) {
      throw LogicError("function '" + name.substr(std::string(kInTransactionPrefix).size()) +
                       "' runs inside the commit of its own coordinator, so the one at " +
                       Requests().Where() + " cannot call it; use Register for it");
    }
    if (options_.branch_url.empty()) {
      throw LogicError("function '" + name + "' cannot be called by the coordinator at " +
                       Requests().Where() +
                       "; set RemoteOptions::branch_url to the branch endpoint of a dtm::Server of "
                       "this program");
    }
    return options_.branch_url + "/" + PercentEncoded(name);
  }
auto RemoteCoordinator::Wait(const std::string& gid, Duration timeout) -> TransResult {
    return WaitUntil(gid, Later(Now(), timeout));
  }
void RemoteCoordinator::Check(const Definition& definition, const std::string& besides) {
    if (!besides.empty()) throw RejectedError(besides);
    const std::string problem = Problem(definition);
    if (!problem.empty()) throw BadInput(problem);
  }
void RemoteCoordinator::DoneOrRefused(const char* path, const std::string& gid, std::string body) {
    const Exchanged reply = Requests().Post(path, gid, std::move(body));
    if (Requests().SaysYes(gid, reply)) return;
    if (reply.status == 425)
      throw Requests().NotOfDtm(gid, reply);  // nothing here waits for an end
    throw RemoteRequests::Refused(gid, RemoteRequests::MessageOf(reply));
  }
auto RemoteCoordinator::Now() -> SteadyTime { return std::chrono::steady_clock::now(); }
auto RemoteCoordinator::WaitUntil(const std::string& gid, SteadyTime end) -> TransResult {
    Duration pause = std::chrono::milliseconds(2);
    for (;;) {
      const auto left = [end] { return std::chrono::duration_cast<Duration>(end - Now()); };
      Duration wait = pause;
      try {
        const std::optional<ToldTransaction> stored = QueryTransaction(Requests(), gid);
        if (!stored) throw RejectedError("there is no transaction with gid '" + gid + "'");
        if (stored->result.Finished() || left() <= Duration(0)) return stored->result;
        wait = (std::min)(wait, left() + Duration(1));
      } catch (const BusyError& error) {
        wait = (std::max)(wait, error.retry_after);
        if (wait > left()) throw;
      }
      std::this_thread::sleep_for(wait);
      pause = (std::min)(pause * 2, Duration(std::chrono::milliseconds(200)));
    }
  }
auto RemoteCoordinator::Settle(const Definition& definition, const std::string& message) -> TransResult {
    const std::string& gid = definition.gid;
    if (own_.Get().stopping) {
      throw InDoubtError("gid '" + gid + "' may or may not be stored, nobody asks any more: " +
                         message + "; submit it again");
    }
    const std::optional<ToldTransaction> stored =
        RemoteRequests::InDoubtIfRefused(gid, [&] { return QueryTransaction(Requests(), gid); });
    if (!stored) throw RemoteRequests::Refused(gid, message);
    if (RegistersSteps(definition.type) && stored->result.status == Status::kAborting) {
      throw RejectedError("gid '" + gid + "' is rolled back already: " + message);
    }
    if (!stored->MayBe(definition, Requests())) {
      throw RejectedError("gid '" + gid +
                          "' exists with other content: use a new gid, or submit exactly what was "
                          "submitted first (the coordinator says: " +
                          message + ")");
    }
    if (stored->result.Failed()) {
      throw FailureError(RolledBack(stored->result));
    }
    return stored->result;
  }
RemoteCoordinator::Own::Own(const std::string& url, const RemoteOptions& options) : requests(url, options), pool(kAsyncThreads, kMaxWaiting, kMaxWaitingBytes) {}
auto RemoteCoordinator::Requests() const -> RemoteRequests& { return own_.Get().requests; }
}}


// ---- dtm/http/serving/reply_queue.hpp ----------------------------------------------------------

namespace dtm { inline namespace v1 { namespace serving {
ReplyQueue::ReplyQueue(transport::IoLoop& loop) : loop_(&loop) {}
void ReplyQueue::Expect() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::size_t needed = arrived_.size() + expected_ + 1;
    if (needed > arrived_.capacity()) arrived_.reserve(2 * needed);
    ++expected_;
  }
void ReplyQueue::Add(Ticket ticket, ApiReply reply) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (loop_ == nullptr) return;
    if (expected_ > 0) --expected_;
    const bool first = arrived_.empty();
    arrived_.push_back({ticket, std::move(reply)});
    if (first) loop_->Wake();
  }
bool ReplyQueue::Take(std::vector<Arrived>& taken) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (arrived_.empty()) return false;
    taken.reserve(expected_ + arrived_.size());
    taken.swap(arrived_);
    return true;
  }
void ReplyQueue::Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    loop_ = nullptr;
    arrived_.clear();
  }
}}}


// ---- dtm/http/serving/bytes_ahead.hpp ----------------------------------------------------------

namespace dtm { inline namespace v1 { namespace serving {
void BytesAhead::Append(std::string_view bytes) {
    if (at_ > text_.size() / 2) {
      text_.erase(0, at_);
      at_ = 0;
    }
    text_.append(bytes);
  }
auto BytesAhead::View() const -> std::string_view { return std::string_view(text_).substr(at_); }
void BytesAhead::Keep(std::size_t left) {
    at_ = text_.size() - left;
    if (left == 0) Clear();
  }
void BytesAhead::Clear() {
    std::string().swap(text_);  // an assignment would keep its memory
    at_ = 0;
  }
bool BytesAhead::Empty() const { return text_.empty(); }
std::size_t BytesAhead::Bytes() const { return text_.empty() ? 0 : text_.capacity(); }
}}}


// ---- dtm/http/serving/incoming_request.hpp -----------------------------------------------------

namespace dtm { inline namespace v1 { namespace serving {
auto IncomingRequest::TakeHead(std::string_view& bytes) -> Parsed {
    const Parsed parsed = head_.Take(bytes);
    if (parsed == Parsed::kDone) {
      Translate();
      body_.emplace(http1::MessageKind::kRequest, Framing());
    }
    return parsed;
  }
bool IncomingRequest::HasHead() const { return body_.has_value(); }
bool IncomingRequest::Begun() const { return head_.Begun(); }
auto IncomingRequest::TakeBody(std::string_view& bytes) -> Parsed {
    return body_->Take(bytes, [this](std::string_view piece) {
      too_long_ = too_long_ || piece.size() > api_head::kMaxBodyBytes - request_.body.size();
      if (!too_long_) request_.body.append(piece);
    });
  }
bool IncomingRequest::TooLong() const { return too_long_; }
auto IncomingRequest::Problem() const -> const http1::Refusal& { return HasHead() ? body_->Why() : head_.Why(); }
auto IncomingRequest::Framing() const -> const http1::Framing& { return head_.Head().BodyFraming(); }
bool IncomingRequest::OldVersion() const { return head_.Head().MinorVersion() == 0; }
auto IncomingRequest::Request() -> ApiRequest& { return request_; }
void IncomingRequest::Reset() {
    head_.Reset();
    body_.reset();
    request_.method.clear();
    request_.query.clear();
    request_.headers.clear();
    request_.body.clear();
    too_long_ = false;
  }
std::size_t IncomingRequest::Bytes() const { return head_.Head().Bytes() + BytesOf(request_); }
std::size_t IncomingRequest::BytesOf(const ApiRequest& request) {
    std::size_t bytes = request.path.capacity() + request.body.capacity();
    for (const auto& [name, value] : request.query) bytes += kNode + name.size() + value.size();
    for (const auto& header : request.headers) {
      bytes += sizeof header + header.name.capacity() + header.value.capacity();
    }
    return bytes;
  }
void IncomingRequest::Translate() {
    const http1::MessageHead& head = head_.Head();
    request_.method = head.Method();
    const std::string_view target = head.Target();
    const std::size_t question = target.find('?');
    request_.path = PercentDecoded(target.substr(0, question));
    if (question != std::string_view::npos) TakeQuery(target.substr(question + 1));
    request_.headers.reserve(head.Count());
    for (std::size_t i = 0; i < head.Count(); ++i) {
      const http1::MessageHead::Header header = head.At(i);
      request_.headers.push_back({std::string(header.name), std::string(header.value)});
    }
    api_head::TakeHost(request_);
  }
void IncomingRequest::TakeQuery(std::string_view query) {
    for (bool more = true; more;) {
      const std::size_t end = query.find('&');
      const std::string_view pair = query.substr(0, end);
      const std::size_t equals = pair.find('=');
      if (!pair.empty()) {
        request_.query.emplace(
            Decoded(pair.substr(0, equals)),
            equals == std::string_view::npos ? std::string() : Decoded(pair.substr(equals + 1)));
      }
      more = end != std::string_view::npos;
      if (more) query.remove_prefix(end + 1);
    }
  }
std::string IncomingRequest::Decoded(std::string_view text) {
    std::string plain(text);
    for (char& c : plain) {
      if (c == '+') c = ' ';
    }
    return PercentDecoded(plain);
  }
}}}


// ---- dtm/http/serving/reply_text.hpp -----------------------------------------------------------

namespace dtm { inline namespace v1 { namespace serving {
auto StatusText(int status) -> const char* {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Payload Too Large";
    case 415: return "Unsupported Media Type";
    case 425: return "Too Early";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Other";
  }
}
std::string ReplyText(const ApiReply& reply, const ReplyForm& form) {
  std::string text;
  text.reserve(256 + reply.body.size());
  text.append("HTTP/1.1 ").append(std::to_string(reply.status)).append(" ");
  text.append(StatusText(reply.status)).append("\r\nContent-Type: ").append(reply.type);
  text.append("\r\nContent-Length: ").append(std::to_string(reply.body.size()));
  if (reply.retry_after > 0)
    text.append("\r\nRetry-After: ").append(std::to_string(reply.retry_after));
  if (reply.challenge != nullptr) text.append("\r\nWWW-Authenticate: ").append(reply.challenge);
  for (const http1::HttpHeader& header : reply.headers) {
    text.append("\r\n").append(header.name).append(": ").append(header.value);
  }
  if (form.close) {
    text.append("\r\nConnection: close");
  } else {
    if (form.old_version) text.append("\r\nConnection: keep-alive");
    text.append("\r\nKeep-Alive: timeout=").append(std::to_string(form.idle_seconds));
  }
  text.append("\r\n\r\n");
  if (!form.to_head) text.append(reply.body);
  return text;
}
}}}


// ---- dtm/http/serving/request_handler.hpp ------------------------------------------------------

namespace dtm { inline namespace v1 { namespace serving {
RequestHandler::~RequestHandler() = default;
}}}


// ---- dtm/http/serving/server_connection.hpp ----------------------------------------------------

namespace dtm { inline namespace v1 { namespace serving {
ServerConnection::ServerConnection(transport::IoLoop& loop, RequestHandler& handler) : SocketConnection(loop), handler_(handler) {}
ServerConnection::~ServerConnection() { handler_.Held().Change(counted_, 0); }
bool ServerConnection::Serve(transport::Socket socket) {
    SetDeadline(Loop().Now() + handler_.Limits().idle);
    return Open(std::move(socket), nullptr);
  }
bool ServerConnection::TurnAway(transport::Socket socket) {
    turned_away_ = true;
    state_ = State::kTurnedAway;
    SetDeadline(Loop().Now() + kPatience);
    return Open(std::move(socket), nullptr);
  }
void ServerConnection::Reply(const ApiReply& reply) {
    if (state_ != State::kAnswering) return;
    state_ = State::kSending;
    asked_bytes_ = 0;
    Send(reply);
    if (IsOpen() && Unsent() == 0) OnSent();
    Recount();
  }
void ServerConnection::Finish() {
    stopping_ = true;
    if (state_ == State::kReading || state_ == State::kTurnedAway) return Gone();
    if (state_ != State::kAnswering) SetDeadline(Loop().Now() + kPatience);
  }
bool ServerConnection::TurnedAway() const { return turned_away_; }
void ServerConnection::OnBytes(std::string_view bytes) {
    switch (state_) {
      case State::kReading: {
        const std::string_view rest = Consume(bytes);
        if (!rest.empty() && IsOpen()) KeepAhead(rest);
        break;
      }
      case State::kAnswering:
      case State::kSending: KeepAhead(bytes); break;
      case State::kTurnedAway:
        return Last(replies::Of({503, "too many connections; close some or try again"}));
      case State::kLast: return;  // read, so that closing does not take the reply back
    }
    Recount();
  }
void ServerConnection::KeepAhead(std::string_view bytes) {
    ahead_.Append(bytes);
    Recount();
    if (!handler_.Held().Allow(counted_)) {
      form_.close = true;
      ahead_.Clear();
    }
    if (form_.close || ahead_.View().size() > kMaxAhead) Pause();
  }
auto ServerConnection::Consume(std::string_view bytes) -> std::string_view {
    const ServingLimits& limits = handler_.Limits();
    if (request_ == nullptr) request_ = handler_.NewRequest();
    IncomingRequest& request = *request_;
    if (!request.HasHead()) {
      const bool begins = !request.Begun();
      const Parsed head = request.TakeHead(bytes);
      if (head == Parsed::kRefused) return Invalid();
      if (head == Parsed::kMore) {
        if (begins) SetDeadline(Loop().Now() + limits.head);
        (void)HasRoom(0);
        return {};
      }
      if (const std::optional<ApiReply> refusal = handler_.Refusal(request.Request())) {
        Last(*refusal);
        return {};
      }
      if (!HasRoom(static_cast<std::size_t>(request.Framing().length))) return {};
      const bool more = request.TakeBody(bytes) == Parsed::kMore;
      if (more) SetDeadline(Loop().Now() + limits.body);
      if (more && request.Framing().expects_continue && request.Request().body.empty())
        Write("HTTP/1.1 100 Continue\r\n\r\n");
    }
    const Parsed body = request.TakeBody(bytes);
    if (request.TooLong()) {
      Last(api_head::TooLong());
    } else if (body == Parsed::kRefused) {
      return Invalid();
    } else if (body == Parsed::kMore) {
      (void)HasRoom(0);
    } else {
      Ask();
      return bytes;
    }
    return {};
  }
bool ServerConnection::HasRoom(std::size_t more) {
    Recount();
    if (handler_.Held().Allow(counted_ + more)) return true;
    Last(replies::Of({503, "the requests and replies at hand take too much memory; try again"}));
    return false;
  }
auto ServerConnection::Invalid() -> std::string_view {
    const http1::Refusal& why = request_->Problem();
    Last(why.status == 413
             ? api_head::TooLong()
             : api_head::Refusal(why.status,
                                 std::string("this is not valid HTTP for a server: ") + why.text));
    return {};
  }
void ServerConnection::Ask() {
    state_ = State::kAnswering;
    form_.to_head = request_->Request().method == "HEAD";
    form_.old_version = request_->OldVersion();
    form_.close = !request_->Framing().keep_alive;
    std::unique_ptr<IncomingRequest> request = std::move(request_);
    asked_bytes_ = handler_.Handle(*this, request->Request());
    handler_.UseAgain(std::move(request));
  }
void ServerConnection::Last(const ApiReply& reply) {
    if (request_ != nullptr) form_.to_head = request_->Request().method == "HEAD";
    request_.reset();
    state_ = State::kSending;
    form_.close = true;
    Send(reply);
    if (IsOpen() && Unsent() == 0) OnSent();
    Recount();
  }
void ServerConnection::Send(const ApiReply& reply) {
    form_.close = form_.close || reply.close || stopping_;
    form_.idle_seconds =
        std::chrono::duration_cast<std::chrono::seconds>(handler_.Limits().idle).count();
    if (form_.close) {
      state_ = State::kLast;
      ahead_.Clear();
    }
    Write(ReplyText(reply, form_));
    if (Unsent() > 0) SetDeadline(Loop().Now() + (stopping_ ? kPatience : handler_.Limits().reply));
    if (form_.close && paused_) Resume();  // closing with unread bytes would take the reply back
  }
void ServerConnection::OnSent() {
    if (CannotSend()) return Gone();
    const bool last = state_ == State::kSending && (stopping_ || form_.close);
    if (state_ == State::kLast || last) {
      state_ = State::kLast;
      if (last && paused_) Resume();
      if (!IsOpen()) return;
      if (ended_) return Gone();
      (void)::shutdown(Fd(), SHUT_WR);
      SetDeadline(Loop().Now() + (stopping_ ? kPatience : handler_.Limits().linger));
    } else if (state_ == State::kSending) {
      state_ = State::kReading;
      SetDeadline(Loop().Now() + handler_.Limits().idle);
      Next();
    }
  }
void ServerConnection::Next() {
    if (!ahead_.Empty()) {
      const std::size_t left = Consume(ahead_.View()).size();
      if (!IsOpen() || state_ == State::kLast) return;
      ahead_.Keep(left);
    }
    if (ahead_.Empty() && paused_) return Resume();
    if (ahead_.Empty() && ended_ && state_ == State::kReading) EndOfRequests();
  }
void ServerConnection::OnEnd(bool broken) {
    ended_ = true;
    if (broken) return Gone();
    if (state_ == State::kReading) return EndOfRequests();
    const bool sending = state_ == State::kLast && Unsent() > 0;
    if (state_ == State::kTurnedAway || (state_ == State::kLast && !sending)) Gone();
  }
void ServerConnection::EndOfRequests() {
    if (request_ == nullptr || !request_->HasHead()) return Gone();
    Last(api_head::Refusal(400, "the body ended too early"));
  }
void ServerConnection::OnDeadline() {
    try {
      Late();
    } catch (const std::bad_alloc&) {
      Gone();
    }
  }
void ServerConnection::Late() {
    switch (state_) {
      case State::kReading:
        if (request_ == nullptr || !request_->Begun()) return Gone();
        return Last(api_head::Refusal(408, request_->HasHead()
                                               ? "the body of the request took too long"
                                               : "the head of the request took too long"));
      case State::kAnswering: return SetDeadline(Loop().Now() + handler_.Limits().idle);
      case State::kTurnedAway: return OnBytes({});
      case State::kSending:
      case State::kLast: return Gone();
    }
  }
void ServerConnection::OnNoMemory() { Gone(); }
void ServerConnection::Pause() {
    paused_ = true;
    PauseReading();
  }
void ServerConnection::Resume() {
    paused_ = false;
    ResumeReading();
  }
void ServerConnection::Gone() {
    if (!IsOpen()) return;
    Close();
    handler_.Drop(*this);
  }
void ServerConnection::Recount() {
    const std::size_t request = request_ == nullptr ? 0 : request_->Bytes();
    handler_.Held().Change(counted_, request + asked_bytes_ + ahead_.Bytes() + Unsent());
  }
}}}


// ---- dtm/http/transport/listener.hpp -----------------------------------------------------------

namespace dtm { inline namespace v1 { namespace transport {
auto ListenOn(const std::string& host, int port) -> ListeningSocket {
  const std::string place = "cannot listen on " + host + ":" + std::to_string(port) + ": ";
  if (port < 0 || port > 65535) throw Error(place + "a port is 0 (any) to 65535");
  // RFC 6761: it is the loopback without asking anybody; small machines have no /etc/hosts.
  const FoundAddresses found = LookUp(host == "localhost" ? "127.0.0.1" : host, port);
  int error = 0;
  for (const SocketAddress& address : found.addresses) {
    const int fd =
        ::socket(address.Family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) {
      error = errno;
      continue;
    }
    Socket socket = Socket::NotForChildren(fd);
    const int on = 1, off = 0;
    // Not SO_REUSEPORT: a second server would start and share the requests.
    (void)::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address.Family() == AF_INET6)
      (void)::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    constexpr int kBacklog = 4096;  // a short one makes clients that come together wait for 1 s
    if (::bind(fd, address.Get(), address.size) != 0 || ::listen(fd, kBacklog) != 0) {
      error = errno;
      continue;
    }
    SocketAddress bound;
    bound.size = sizeof bound.bytes;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound.bytes), &bound.size) != 0) {
      error = errno;
      continue;
    }
    const std::string text = bound.Text();
    return {std::move(socket), std::stoi(text.substr(text.rfind(':') + 1))};
  }
  throw Error(place + (found.addresses.empty() ? "the name is unknown" : ErrorText(error)) +
              "; stop the program that does, or choose another port or address");
}
Listener::Receiver::~Receiver() = default;
Listener::Listener(IoLoop& loop, Receiver& receiver, Socket socket) : loop_(loop), receiver_(receiver), socket_(std::move(socket)) {}
Listener::~Listener() { Close(); }
bool Listener::Open() { return loop_.Watch(socket_.Fd(), *this); }
void Listener::Close() {
    loop_.Cancel(*this);
    if (socket_.IsOpen()) loop_.Unwatch(socket_.Fd());
    socket_.Close();
  }
void Listener::OnReady(Readiness) { Accept(); }
void Listener::OnDeadline() { Accept(); }
void Listener::Accept() {
    for (int i = 0; i < kAtATime; ++i) {
      if (!socket_.IsOpen()) return;
      const int fd = ::accept4(socket_.Fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        Take(fd);
      } else if (errno == EAGAIN) {
        return;
      } else if (errno != EINTR && errno != ECONNABORTED) {
        return loop_.Set(*this, loop_.Now() + kPause);
      }
    }
    loop_.Set(*this, loop_.Now() + std::chrono::nanoseconds(1));  // in the next turn
  }
void Listener::Take(int fd) {
    try {
      Socket socket = Socket::NotForChildren(fd);
      SendWithoutDelay(fd);
      receiver_.OnConnection(std::move(socket));
    } catch (const std::exception&) {  // no memory
    }
  }
}}}


// ---- dtm/http/serving/api_server.hpp -----------------------------------------------------------

namespace dtm { inline namespace v1 { namespace serving {
ApiServer::ApiServer(transport::IoLoop& loop, Coordinator& tm, Api& api, const ServingLimits& limits) : loop_(loop),
        tm_(tm),
        api_(api),
        limits_(limits),
        held_(limits.bytes),
        replies_(std::make_shared<ReplyQueue>(loop)) {
    taken_.reserve(64);
    spare_.reserve(kMaxSpare);
  }
ApiServer::~ApiServer() { Stop(); }
int ApiServer::Start(const std::string& host, int port) {
    transport::ListeningSocket listening = transport::ListenOn(host, port);
    auto listener = std::make_unique<transport::Listener>(
        loop_, static_cast<transport::Listener::Receiver&>(*this), std::move(listening.socket));
    bool open = false;
    loop_.Do([&] {
      loop_.AtTurnEnds(*this);
      open = listener->Open();
    });
    started_ = true;
    listener_ = std::move(listener);
    if (open) return listening.port;
    Stop();
    throw Error("cannot listen on " + host + ": the system watches no more sockets");
  }
void ApiServer::Stop() {
    if (!started_) return;
    started_ = false;
    loop_.Do([this] {
      if (listener_ != nullptr) {
        listener_->Close();
        loop_.Dispose(std::move(listener_));
      }
      ForEach([](ServerConnection& connection) { connection.Finish(); });
    });
    workers_.Stop();
    AwaitReplies();
    loop_.Do([this] {
      ForEach([this](ServerConnection& connection) {
        connection.Close();
        Drop(connection);
      });
      loop_.NotAtTurnEnds(*this);
    });
    loop_.Do([] {});  // what was disposed of is destroyed at the end of the turn
    replies_->Close();
  }
void ApiServer::AwaitReplies() {
    const SteadyTime until = transport::IoLoop::Clock::now() + kLongestStop;
    try {  // nobody else moves what the program polls
      while (!loop_.HasThread() && open_ > 0 && transport::IoLoop::Clock::now() < until) {
        if (!tm_.HasThread()) (void)tm_.Poll();
        loop_.Poll(std::chrono::milliseconds(1));
      }
    } catch (const std::exception&) {
      return;  // a coordinator that cannot go on owes no reply; Stop closes the sockets
    }
    std::unique_lock<std::mutex> lock(mutex_);
    (void)ended_.wait_until(lock, until, [this] { return open_ == 0; });
  }
void ApiServer::OnConnection(transport::Socket socket) {
    const bool full = open_ - turned_away_ >= limits_.connections;
    if (full && turned_away_ >= kMaxTurnedAway) return;
    if (free_.empty()) {
      connections_.reserve(connections_.size() + 1);
      free_.reserve(connections_.capacity());
      connections_.emplace_back();
      free_.push_back(connections_.size() - 1);
    }
    const std::size_t place = free_.back();
    connections_[place] =
        std::make_unique<ServerConnection>(loop_, static_cast<RequestHandler&>(*this));
    free_.pop_back();
    ServerConnection& connection = *connections_[place];
    connection.place = place;
    Count(1);
    if (full) ++turned_away_;
    bool served = false;
    try {
      served = full ? connection.TurnAway(std::move(socket)) : connection.Serve(std::move(socket));
    } catch (const std::bad_alloc&) {
    }
    if (!served) {
      connection.Close();
      Drop(connection);
    }
  }
auto ApiServer::Limits() const -> const ServingLimits& { return limits_; }
auto ApiServer::Held() -> transport::HeldBytes& { return held_; }
auto ApiServer::Refusal(const ApiRequest& head) -> std::optional<ApiReply> { return api_.Refusal(head); }
auto ApiServer::NewRequest() -> std::unique_ptr<IncomingRequest> {
    if (spare_.empty()) return std::make_unique<IncomingRequest>();
    std::unique_ptr<IncomingRequest> request = std::move(spare_.back());
    spare_.pop_back();
    return request;
  }
void ApiServer::UseAgain(std::unique_ptr<IncomingRequest> request) {
    if (spare_.size() == kMaxSpare || request->Bytes() > kMaxSpareBytes) return;
    request->Reset();
    spare_.push_back(std::move(request));
  }
std::size_t ApiServer::Handle(ServerConnection& connection, ApiRequest& request) {
    connection.asked = ++last_number_;
    const Ticket ticket{connection.place, connection.asked};
    bool expected = false;
    try {
      replies_->Expect();
      expected = true;
      const ApiDone done = [replies = replies_, ticket](ApiReply reply) {
        replies->Add(ticket, std::move(reply));
      };
      // A coordinator without a thread is driven by those who wait for it, or by whoever polls this loop as well.
      if (!Api::MayBlock(request) && (tm_.HasThread() || !loop_.HasThread())) {
        if (!in_burst_) tm_.BeginBurst();
        in_burst_ = true;
        api_.Handle(request, done);
        return 0;  // what the coordinator keeps of it is counted there
      }
      const std::size_t bytes = IncomingRequest::BytesOf(request);
      const auto shared = std::make_shared<ApiRequest>(std::move(request));
      if (workers_.Run([this, shared, ticket] { Work(*shared, ticket); })) return bytes;
    } catch (const std::bad_alloc&) {
    }
    ApiReply busy;  // without a text, for want of memory
    busy.status = 503;
    busy.retry_after = 1;
    if (expected) {
      replies_->Add(ticket, std::move(busy));
    } else {
      connection.Close();
      Drop(connection);
    }
    return 0;
  }
void ApiServer::Work(const ApiRequest& request, Ticket ticket) {
    ApiReply reply;
    reply.status = 500;
    try {
      reply = api_.Handle(request);
    } catch (const std::bad_alloc&) {  // so it has no text
    }
    replies_->Add(ticket, std::move(reply));
  }
void ApiServer::Drop(ServerConnection& connection) {
    const std::size_t place = connection.place;
    if (connection.TurnedAway()) --turned_away_;
    loop_.Dispose(std::move(connections_[place]));
    free_.push_back(place);
    Count(-1);
  }
void ApiServer::OnTurnEnd() {
    try {
      if (replies_->Take(taken_)) {
        for (const ReplyQueue::Arrived& one : taken_) Reply(one);
        taken_.clear();
      }
    } catch (const std::bad_alloc&) {
      loop_.Wake();  // to try again
    }
    if (in_burst_) tm_.EndBurst();
    in_burst_ = false;
  }
void ApiServer::Reply(const ReplyQueue::Arrived& arrived) {
    ServerConnection* const connection = connections_[arrived.ticket.place].get();
    if (connection == nullptr || connection->asked != arrived.ticket.number) return;
    connection->asked = 0;
    try {
      ApiReply full;  // without a text
      full.status = 503;
      full.retry_after = 1;
      const std::size_t bytes = arrived.reply.body.size();
      const bool fits = bytes <= transport::HeldBytes::kSmall || held_.Allow(bytes);
      connection->Reply(fits ? arrived.reply : full);
    } catch (const std::bad_alloc&) {
      connection->Close();
      Drop(*connection);
    }
  }
void ApiServer::Count(int change) {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ += static_cast<std::size_t>(change);
    if (open_ == 0) ended_.notify_all();
  }
}}}


// ---- dtm/http/server.hpp -----------------------------------------------------------------------

namespace dtm { inline namespace v1 {
Server::Server(Coordinator& tm, ServerOptions options) : options_(std::move(options)), tm_(tm), api_(tm, options_.token) {
    option_range::Check("max_connections", options_.max_connections, 1, 1000000);
  }
Server::~Server() {
    if (Own* const own = own_.IfHere()) End(*own);
  }
void Server::MountDesk() {
    Own& own = own_.Get();
    const std::lock_guard<std::mutex> lock(own.mutex);
    if (own.serving) throw LogicError("this server listens already; mount the desk before Start");
    api_.Mount(desk::Pages());
  }
int Server::Start(const std::string& host, int port) {
    CheckPlace(host);
    Own& own = own_.Get();
    const std::lock_guard<std::mutex> lock(own.mutex);
    if (own.serving) throw LogicError("this server listens already; use another one");
    auto serving = std::make_unique<Serving>(
        options_.io ? options_.io : std::make_shared<IoThread>(), tm_, api_, Limits());
    const int bound = serving->server.Start(host, port);
    own.serving = std::move(serving);
    return bound;
  }
void Server::Listen(const std::string& host, int port) {
    if (options_.io && !options_.io->Loop().HasThread())
      throw LogicError("the loop of this server is polled by the program, so Start() it");
    (void)Start(host, port);
    Own& own = own_.Get();
    std::unique_lock<std::mutex> lock(own.mutex);
    while (own.serving) own.stopped.wait(lock);
  }
void Server::Stop() {
    Own& own = own_.Get();
    if (options_.io) options_.io->Loop().CheckOutsidePoll();
    End(own);
  }
Server::Serving::Serving(std::shared_ptr<IoThread> its_io, Coordinator& tm, Api& api,
            const serving::ServingLimits& limits) : io(std::move(its_io)), server(io->Loop(), tm, api, limits) {}
void Server::End(Own& own) {
    const std::lock_guard<std::mutex> lock(own.mutex);
    own.serving.reset();
    own.stopped.notify_all();
  }
void Server::CheckPlace(const std::string& host) const {
    for (const char c : options_.token) {
      if (c > ' ' && c < 127 && c != '%') continue;  // % could be decoded on the way
      throw Error("the token may have no blanks, no % and only characters of ASCII");
    }
    if (options_.token.empty() && !access::IsLoopback(host)) {
      throw Error("'" + host +
                  "' can be reached from other machines, so the server needs a token: set "
                  "ServerOptions::token "
                  "(dtm-server: --token or DTM_TOKEN), or listen on 127.0.0.1");
    }
  }
auto Server::Limits() const -> serving::ServingLimits {
    serving::ServingLimits limits;
    const std::size_t files = os::MaxOpenFiles();
    limits.connections = (std::min)(static_cast<std::size_t>(options_.max_connections),
                                    (std::max)(files - files / 4, std::size_t{1}));
    return limits;
  }
}}

namespace dtm { inline namespace v1 { namespace compiled {
void http_cpp_of_version_0_1_0_64ecdf526a52(Here) {}
}}}
