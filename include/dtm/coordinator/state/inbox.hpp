/// Everything that the loop has to handle arrives here, from any thread.
/// Needs: std. Threads: thread-safe; Take and Wait by the thread that drives the loop.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/work_context.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

struct Submission {
  std::shared_ptr<const Definition> definition;
  Waiter waiter;
  bool prepare = false;   ///< to be stored, and to run when it is submitted
  std::size_t bytes = 0;  ///< of the definition, counted by the inbox
};

struct ArrivedResult {
  BranchCall call;
  Result result;
};

/// What is commanded of a transaction that exists.
struct Instruction {
  enum class Kind {
    kCancel,
    kForceStop,
    kRetryNow,
    kSkip,
    kWait,
    kExplain,
    kListWaiting,
    kRegistered,
    kAddBranch,
    kFinish,
    kLook  ///< another coordinator on the store has written it
  };
  Kind kind = Kind::kWait;
  std::string gid;     ///< kRegistered: the url of the function
  std::string reason;  ///< kCancel, kFinish; kForceStop, kRetryNow, kSkip: why
  std::string who{};   ///< kCancel, kForceStop, kRetryNow, kSkip
  WaitResult wait_result = WaitResult::kIgnored;  ///< kCancel
  Step step;                                      ///< kAddBranch; kSkip: its branch_id and op
  Status status{};                                ///< kFinish
  std::string data;                               ///< kFinish: what the workflow returned
  std::optional<TransType> type;                  ///< refused if it has another one
  std::int64_t asked = 0;  ///< the request of another coordinator that this is, see Peers
};

struct Command : Instruction {
  Waiter waiter;
  std::shared_ptr<std::string> explained{};            ///< kExplain, out
  Time after{};                                        ///< kListWaiting: due later than this
  std::size_t limit = 0;                               ///< kListWaiting
  std::shared_ptr<std::vector<std::string>> listed{};  ///< kListWaiting, out
};

/// What user work can use while it runs inside a commit.
struct TransactContext {
  WorkContext connection;
  std::function<bool(const std::string&)> exists;  ///< whether a gid is taken
  std::vector<std::shared_ptr<const Definition>>
      submitted;  ///< out: to be stored by the same commit
};

/// User work for the next commit. The answer comes after the commit, or is its error. The work may run several times, and
/// is committed once.
struct QueuedWork {
  std::function<Result(TransactContext&)> work;
  std::shared_ptr<Result> result;  ///< out: what it returned
  Promise promise{};
};

struct Mail {
  std::vector<Submission> submissions;
  std::vector<ArrivedResult> results;
  std::vector<Command> commands;
  std::vector<QueuedWork> works;
  /// Freed by the next submitter, else in the next turn: memory is best freed by the thread that allocated it, and the
  /// loop's thread bounds the throughput.
  std::vector<std::shared_ptr<const Definition>> ended;

  bool Empty() const {
    return submissions.empty() && results.empty() && commands.empty() && works.empty();
  }
  void Clear() {
    submissions.clear();
    results.clear();
    commands.clear();
    works.clear();
    ended.clear();
  }
};

class Inbox : public BranchResults {
 public:
  /// `on_wake`: see Options.
  Inbox(std::size_t max_submissions, std::size_t max_bytes, std::function<void()> on_wake = {})
      : max_submissions_(max_submissions), max_bytes_(max_bytes), on_wake_(std::move(on_wake)) {
    (void)Promise::InDoubt();  // made now, while there is memory
  }

  /// False: too many submissions are waiting, or too many bytes of them, or the inbox is closed; nothing was taken.
  bool Push(Submission submission) {
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
  bool Push(QueuedWork work) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (closed_ || mail_.works.size() >= max_submissions_) return false;
    mail_.works.push_back(std::move(work));
    mail_.works.back().promise.Bind();
    Came(lock);
    return true;
  }
  /// False: the inbox is closed.
  bool Push(Command command) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (closed_) return false;
    mail_.commands.push_back(std::move(command));
    mail_.commands.back().waiter.promise.Bind();
    Came(lock);
    return true;
  }
  /// A lost result would be expected for ever, so without memory this waits until there is some.
  void Done(BranchCall call, Result result) override {
    ArrivedResult arrived{std::move(call), std::move(result)};
    while (!Keep(arrived)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  /// One thread at a time has a burst; what other threads push meanwhile wakes the loop as usual.
  void BeginBurst() override {
    std::thread::id nobody;
    burst_of_.compare_exchange_strong(nobody, std::this_thread::get_id());
  }
  void EndBurst() override {
    if (!InBurst()) return;
    burst_of_ = std::thread::id();
    std::unique_lock<std::mutex> lock(mutex_);
    if (!mail_.Empty()) Arrived(lock);
  }

  /// Swaps all that has arrived into `mail`, which must be empty except for `ended`; its memory is used again.
  /// What was taken still counts as bytes until DoneWithTaken.
  void Take(Mail& mail) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::swap(mail, mail_);
    taken_bytes_ += std::exchange(arrived_bytes_, 0);
  }
  /// The submissions that were taken are now in the active table, in the store, or refused.
  void DoneWithTaken() {
    bytes_.fetch_sub(std::exchange(taken_bytes_, 0), std::memory_order_relaxed);
  }

  /// Returns when something has arrived, when `enough()` is true, at `until`, or earlier. Whoever makes
  /// `enough` true must call Interrupt.
  template <typename Enough>
  void Wait(Clock& clock, Time until, const Enough& enough) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!mail_.Empty() || enough()) return;
    ++waiting_;
    clock.Wait(arrived_, lock, until);
    --waiting_;
  }

  /// The poller is about to sleep until then; false: something has arrived. What arrives earlier wakes it, once.
  bool FallAsleep(Time until) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!mail_.Empty()) return false;
    asleep_until_ = until;
    return true;
  }
  /// The poller is awake again.
  void WokeUp() {
    const std::lock_guard<std::mutex> lock(mutex_);
    asleep_until_ = kAwake;
  }
  /// There is something to do at `time`, even if nothing arrives.
  void WakeBefore(Time time) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (time < asleep_until_) Arrived(lock);
  }

  bool Empty() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return mail_.Empty();
  }

  /// Makes Wait check its condition again.
  void Interrupt() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_ > 0) arrived_.notify_all();
  }

  /// From now on only results are taken.
  void Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }
  bool Closed() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return closed_;
  }

 private:
  bool Keep(ArrivedResult& arrived) {
    std::unique_lock<std::mutex> lock(mutex_);
    try {
      mail_.results.push_back(std::move(arrived));  // which moves nothing if it throws
    } catch (const std::bad_alloc&) {
      return false;
    }
    Came(lock);
    return true;
  }

  bool InBurst() const { return burst_of_ == std::this_thread::get_id(); }
  void Came(std::unique_lock<std::mutex>& lock) {
    if (!InBurst()) Arrived(lock);
  }

  /// Wakes the thread that waits; releases the lock first, since on_wake is code of the program.
  void Arrived(std::unique_lock<std::mutex>& lock) {
    if (waiting_ > 0) arrived_.notify_all();
    const bool wake = std::exchange(asleep_until_, kAwake) != kAwake;
    lock.unlock();
    if (!wake || !on_wake_) return;
    try {
      on_wake_();
    } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
    }
  }

  static constexpr Time kAwake = (Time::min)();

  const std::size_t max_submissions_;
  const std::size_t max_bytes_;
  std::atomic<std::size_t> bytes_{
      0};  // of submissions that arrived, or were taken and not dealt with
  std::size_t arrived_bytes_ = 0;
  std::size_t taken_bytes_ = 0;  // used by who takes
  const std::function<void()> on_wake_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  Mail mail_;
  int waiting_ = 0;
  Time asleep_until_ = kAwake;  ///< of the poller
  bool closed_ = false;
  std::atomic<std::thread::id> burst_of_{std::thread::id()};
};

}  // namespace v1
}  // namespace dtm
