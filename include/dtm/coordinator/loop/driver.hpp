/// Who drives the loop: a thread of its own, or whoever calls Poll or waits for an answer.
/// Needs: std. Threads: thread-safe.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <dtm/base/callable.hpp>
#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/coordinator/functions/program_functions.hpp>
#include <dtm/coordinator/functions/transaction_functions.hpp>
#include <dtm/coordinator/hooks/hooks.hpp>
#include <dtm/coordinator/loop/loop.hpp>
#include <dtm/coordinator/loop/url_callers.hpp>
#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/store/store.hpp>

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
