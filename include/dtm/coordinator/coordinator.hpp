/// The embedded coordinator: what a program creates, registers its functions with, and submits to.
/// Needs: nlohmann/json, SQLite (by the constructor that takes a file). Threads: every method is
/// thread-safe. Protocol: §2.2, as a C++ interface.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/branch_caller.hpp>
#include <dtm/coordinator/clock.hpp>
#include <dtm/coordinator/driver.hpp>
#include <dtm/coordinator/inbox.hpp>
#include <dtm/coordinator/options.hpp>
#include <dtm/coordinator/typed_function.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/gid.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/local_branch.hpp>
#include <dtm/core/os.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/engine/step.hpp>
#include <dtm/store/sqlite.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

/// Drives transactions to their end, through crashes: what was submitted is durable, and goes on
/// when a program opens the same file and registers the same functions again.
///
/// Start() gives it a thread of its own. Without, somebody calls Poll(), functions run inside Poll,
/// and calls that wait (Submit, Wait, ...) drive it themselves.
///
/// What the functions capture is declared before the coordinator. In a forked child every method
/// throws and the destructor touches nothing.
class Coordinator : public Endpoint {
 public:
  /// Opens or creates the SQLite file, checks and locks it.
  /// @throws StoreError  taken by another coordinator, unreadable, read-only, damaged, or newer.
  explicit Coordinator(const std::string& file, Options options = {})
      : Coordinator(std::make_unique<SqliteStore>(file, options.durability), std::move(options)) {}

  /// On a store of your choice; `clock` is for tests.
  explicit Coordinator(std::unique_ptr<Store> store, Options options = {},
                       std::unique_ptr<Clock> clock = std::make_unique<SystemClock>())
      : owner_(RandomOwner()),
        driver_(std::make_unique<Driver>(std::move(store), std::move(clock), std::move(options))) {}

  /// Stops, and waits for the functions that still run; says so if that takes longer than a second.
  ~Coordinator() override {
    if (process_ != os::ProcessId()) {
      (void)driver_.release();  // a forked child: the threads and the file are the parent's
      return;
    }
    driver_->StopForGood();
  }
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  /// Registers a branch function under a name, which the store keeps: after a restart the program
  /// registers the same names again, and transactions whose name is missing wait for it.
  ///
  /// `function` takes `const T&`, or `const T&` and `const BranchInfo&`; T is anything
  /// nlohmann/json can read. It returns nothing (success) or Result: Success, Failure (definite:
  /// roll back), Ongoing (ask again after the retry interval). FailureError thrown is a Failure;
  /// any other exception is a temporary error and is tried again. It may be called again after a
  /// crash, so it has to be idempotent (BranchInfo says for whom it is called); and a compensation
  /// may be called although its action did nothing. It may block; there is no deadline, and while
  /// it runs nothing else of its branch is called.
  /// @throws LogicError  the name is taken.
  template <typename T, typename Function>
  LocalBranch<T> Register(const std::string& name, Function function) {
    Driver& driver = Checked();
    driver.functions.Register(name, EraseType<T>(std::move(function)));
    Command command;
    command.kind = Command::Kind::kRegistered;
    command.gid = kLocalPrefix + name;
    (void)driver.inbox.Push(std::move(command));  // refused only while it stops
    return {name, owner_};
  }

  /// How branches by URL are called: `tm.Use(dtm::HttpBranches())` from <dtm/http.hpp>. Before
  /// Start.
  void Use(std::unique_ptr<BranchCaller> urls) { Checked().Use(std::move(urls)); }

  /// From now on a thread drives the coordinator, starting with what a crash left unfinished.
  void Start() { Checked().Start(); }

  /// Instead of Start, for event loops: does what there is to do, and returns when there is more;
  /// call it then, and after submitting.
  Time Poll() { return Checked().Poll(); }

  /// Refuses what is new, waits up to `limit` for calls that are out, and commits their results.
  /// What is unfinished goes on after a restart. False: functions still run; call it again.
  bool Stop(Duration limit) {
    const Time now = Checked().clock->Now();
    return driver_->Stop(limit >= kNever - now ? kNever : now + limit);
  }

  std::string NewGid() override {
    const Time now = Checked().clock->Now();
    const std::lock_guard<std::mutex> lock(gid_mutex_);
    return gids_.Make(now);
  }

  TransResult Submit(Definition definition) override {
    if (definition.options.wait_result) CheckMayBlock("Submit with wait_result");
    Waiter waiter = SubmitWaiter(definition);
    return EnqueueAndWait(std::move(definition), std::move(waiter));
  }

  /// Stores it without running it; Submit with the same gid sets it going, with the steps given here.
  /// @throws as Submit
  TransResult Prepare(Definition definition) {
    return EnqueueAndWait(std::move(definition), {}, true);
  }

  TransResult SubmitAndWait(Definition definition, Duration timeout) override {
    CheckMayBlock("SubmitAndWait");
    const Time deadline = driver_->clock->Now() + timeout;
    return EnqueueAndWait(std::move(definition), {AnswerWhen::kFinished, false, deadline, {}});
  }

  void SubmitAsync(Definition definition, ReplyCallback callback) override {
    Waiter waiter = SubmitWaiter(definition);
    waiter.callback = std::move(callback);
    Enqueue(std::move(definition), std::move(waiter));
  }

  std::string UrlOfLocal(const std::string& name, std::uint64_t owner) const override {
    if (owner != owner_) {
      throw LogicError("function '" + name +
                       "' is registered with another coordinator; register it "
                       "with the one the transaction is submitted to");
    }
    return kLocalPrefix + name;
  }

  /// The committed record; nothing if there is none.
  std::optional<Transaction> Query(const std::string& gid) { return Checked().store->Load(gid); }

  /// Committed records, newest first; `limit` is 1 to 1000, `position` what the page before
  /// returned.
  ScanPage List(const ScanFilter& filter = {}, std::int64_t position = 0, std::size_t limit = 100) {
    Driver& driver = Checked();
    if (limit == 0 || limit > kMaxListLimit) {
      throw RejectedError("the limit of a list must be 1 to " + std::to_string(kMaxListLimit));
    }
    return driver.store->Scan(filter, position, limit);
  }

  /// Waits up to `timeout` for the end; returns the status there is then.
  /// @throws RejectedError  there is no such transaction.
  TransResult Wait(const std::string& gid, Duration timeout) {
    CheckMayBlock("Wait");
    return Ask(Command::Kind::kWait, gid, driver_->clock->Now() + timeout);
  }

  /// In words: where it stands, what it waits for, the last error, the next try.
  std::string Explain(const std::string& gid) {
    Command command;
    command.kind = Command::Kind::kExplain;
    command.gid = gid;
    return AskFor(std::move(command), &Command::explained);
  }

  /// Rolls an unfinished saga back: compensates what may have run. Returns when that is decided.
  /// @throws RejectedError  there is no such transaction, or it has ended.
  void Cancel(const std::string& gid, const std::string& reason = "cancelled") {
    Ask(Command::Kind::kCancel, gid, kNever, reason);
  }

  /// Ends an unfinished transaction as failed; nothing is called any more, nothing is undone.
  /// @throws RejectedError  there is no such transaction, or it has ended.
  void ForceStop(const std::string& gid) { Ask(Command::Kind::kForceStop, gid, kNever); }

  /// Forgets the waits of an unfinished transaction and tries at once; also wakes a stuck one.
  /// @throws RejectedError  there is no such transaction, or it has ended.
  void RetryNow(const std::string& gid) { Ask(Command::Kind::kRetryNow, gid, kNever); }

  /// The gids of at most `limit` unfinished transactions that are to be tried again later than in
  /// `wait`, the earliest first: RetryNow wakes them.
  std::vector<std::string> ListWaiting(Duration wait, std::size_t limit) {
    Command command;
    command.kind = Command::Kind::kListWaiting;
    command.after = Checked().clock->Now() + wait;
    command.limit = limit;
    return AskFor(std::move(command), &Command::listed);
  }

  /// Runs a registered function here and now, for a transaction of a coordinator elsewhere.
  /// @throws RejectedError  no function has this name.
  Result CallFunction(const std::string& name, const std::string& payload, const BranchInfo& info) {
    const BranchFunction function = Checked().functions.Find(name);
    if (!function) throw RejectedError("no branch function is registered as '" + name + "'");
    return Guarded([&] { return function(payload, Caller(info)); });
  }

  /// Why transactions of this type are not taken; empty if they are.
  static std::string NotDriven(const Definition& definition) {
    return engine::NotDriven(definition);
  }

  /// What was done since it was opened.
  Metrics::Snapshot Counted() const { return Checked().Counted(); }
  const Options& Settings() const { return Checked().options; }

 private:
  static constexpr Duration kLongestWaitResult = std::chrono::seconds(6);

  /// @throws LogicError  this is a forked child.
  Driver& Checked() const {
    if (process_ != os::ProcessId()) {
      throw LogicError(
          "this coordinator belongs to the parent process; a forked child has to open a "
          "store of its own");
    }
    return *driver_;
  }

  /// A branch function that waits for a transaction may wait for itself.
  void CheckMayBlock(const char* what) const {
    if (Checked().functions.OnFunctionThread()) {
      throw LogicError(
          std::string(what) +
          " inside a branch function could wait for itself; use Submit or SubmitAsync");
    }
  }

  static std::uint64_t RandomOwner() {
    std::uint64_t owner = 0;
    os::FillRandom(&owner, sizeof owner);
    return owner;
  }

  Waiter SubmitWaiter(const Definition& definition) const {
    Waiter waiter;
    waiter.failure_is_error = true;
    if (definition.options.wait_result) {
      waiter.when = AnswerWhen::kSettled;
      waiter.deadline = driver_->clock->Now() + kLongestWaitResult;
    }
    return waiter;
  }

  void Enqueue(Definition definition, Waiter waiter, bool prepare = false) {
    definition.prepared_first = prepare;
    std::string problem = Problem(definition);
    if (problem.empty()) problem = NotDriven(definition);
    if (!problem.empty()) throw RejectedError(problem);
    Driver& driver = Checked();
    const auto shared = std::make_shared<const Definition>(std::move(definition));
    Submission submission{shared, std::move(waiter), prepare};
    if (driver.inbox.Push(std::move(submission))) return;
    const std::string who = "gid '" + shared->gid + "' was not stored: ";
    if (driver.inbox.Closed()) throw LogicError(who + "the coordinator was stopped");
    throw BusyError(who + std::to_string(driver.options.max_waiting_submissions) +
                    " submissions are waiting already; submit it again later");
  }

  TransResult EnqueueAndWait(Definition definition, Waiter waiter, bool prepare = false) {
    return Checked().WaitFor([&](ReplyCallback answer) {
      waiter.callback = std::move(answer);
      Enqueue(std::move(definition), std::move(waiter), prepare);
    });
  }

  TransResult Ask(Command::Kind kind, const std::string& gid, Time deadline,
                  const std::string& reason = {}) {
    return Checked().WaitFor([&](ReplyCallback answer) {
      Command command;
      command.kind = kind;
      command.gid = gid;
      command.reason = reason;
      command.waiter.deadline = deadline;
      command.waiter.when =
          kind == Command::Kind::kWait ? AnswerWhen::kFinished : AnswerWhen::kStored;
      command.waiter.callback = std::move(answer);
      Push(std::move(command));
    });
  }

  /// A command that the loop answers with a value.
  template <typename T>
  T AskFor(Command command, std::function<void(T, std::exception_ptr)> Command::*answer_to) {
    const auto box = std::make_shared<T>();
    Checked().WaitFor([&](const ReplyCallback& answer) {
      command.*answer_to = [box, answer](T value, const std::exception_ptr& error) {
        *box = std::move(value);
        answer({{}, error});
      };
      Push(std::move(command));
    });
    return std::move(*box);
  }

  void Push(Command command) {
    if (!driver_->inbox.Push(std::move(command))) throw LogicError("the coordinator was stopped");
  }

  const std::uint64_t owner_;
  const long process_ = os::ProcessId();
  std::mutex gid_mutex_;
  GidGenerator gids_;
  std::unique_ptr<Driver> driver_;
};

}  // namespace v1
}  // namespace dtm
