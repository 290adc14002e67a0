/// The embedded coordinator: what a program creates, registers its functions with, and submits to.
/// Needs: nlohmann/json, SQLite (by the constructor that takes a file). Threads: every method is
/// thread-safe. Protocol: §2.2, as a C++ interface.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/callable.hpp>
#include <dtm/base/error.hpp>
#include <dtm/coordinator/embedded_endpoint.hpp>
#include <dtm/coordinator/functions/typed_function.hpp>
#include <dtm/coordinator/loop/driver.hpp>
#include <dtm/coordinator/operations.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/coordinator/parts/gauges.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/parts/wake_fd.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/coordinator/tx.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/local_branch.hpp>
#include <dtm/core/url.hpp>
#include <dtm/engine/schedule.hpp>
#include <dtm/store/sqlite_store.hpp>
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
class Coordinator : public EmbeddedEndpoint {
 public:
  /// Opens or creates the SQLite file, checks and locks it.
  /// @throws StoreError  taken by another coordinator, unreadable, read-only, damaged, or newer.
  /// @throws LogicError  an option is out of its range; no file was touched.
  explicit Coordinator(const std::string& file, const Options& options = {})
      : Coordinator(std::make_unique<SqliteStore>(file, CheckedOptions(options).durability,
                                                  SqliteStore::OnOpen(), CacheBytes(options)),
                    options) {}

  /// On a store of your choice, such as a SqliteStore that makes tables of yours; `clock` is for tests.
  /// @throws LogicError  an option is out of its range.
  explicit Coordinator(std::unique_ptr<Store> store, const Options& options = {},
                       std::unique_ptr<Clock> clock = std::make_unique<SystemClock>())
      : EmbeddedEndpoint(std::make_unique<Driver>(std::move(store), std::move(clock), options)) {}

  /// Stops, and waits for the functions that still run; says so if that takes longer than a second.
  ~Coordinator() override = default;

  /// Registers a branch function under a name, which the store keeps: after a restart the program
  /// registers the same names again, and transactions whose name is missing wait for it.
  ///
  /// `function` takes `const T&`, or `const T&` and `const BranchInfo&`; T is anything
  /// nlohmann/json can read. It returns nothing (success) or Result: Success, Failure (definite:
  /// roll back), Ongoing (ask again after the retry interval). FailureError thrown is a Failure,
  /// OngoingError an Ongoing; any other exception is a temporary error and is tried again. It may be called again after a
  /// crash, so it has to be idempotent (BranchInfo says for whom it is called); and a compensation
  /// may be called although its action did nothing. It may block; there is no deadline, and while
  /// it runs nothing else of its branch is called. Several threads may call it at once, so it is called as const (no
  /// `mutable` lambda); its captures may be of the kind that can only be moved.
  /// @throws LogicError  the name is taken, or the function is an empty std::function or pointer.
  template <typename T, typename Function>
  LocalBranch<T> Register(const std::string& name, Function function) {
    Driver& driver = Checked();
    driver.Register(name, NotEmpty(name, EraseType<T>(std::move(function))));
    (void)driver.inbox.Push(About(kLocalPrefix + name, Command::Kind::kRegistered));
    return {name, Owner()};
  }

  /// The same for what RegisterWorkflow registers: it may wait for other transactions, so it runs on other threads than
  /// branch functions, of which there are as many again.
  template <typename T, typename Function>
  LocalBranch<T> RegisterResume(const std::string& name, Function function) {
    Driver& driver = Checked();
    driver.RegisterResume(name, EraseType<T>(std::move(function)));
    (void)driver.inbox.Push(About(kLocalPrefix + name, Command::Kind::kRegistered));
    return {name, Owner()};
  }

  /// The same as Register for a function that writes to the coordinator's own store, through the connection it gets:
  /// with SQLite `function(sqlite3*, const T&)`, or also `const BranchInfo&`. Its writes, its result and the next step are one
  /// commit: its effect happens exactly once, without a barrier. A Failure or an exception undoes its writes.
  ///
  /// It runs on the coordinator's thread and everything else waits, so it should take less than 5 ms and do nothing
  /// but SQL. Transactions, ATTACH, PRAGMA and the dtm_ tables are denied. It may run several times, and is committed
  /// once. What the initiator calls itself (the try of a tcc, the action of an xa, the step of a workflow) has a commit of
  /// its own: the record of a workflow's step is the next one, so a crash between them runs the step again. It cannot be
  /// called for a coordinator elsewhere.
  /// @throws LogicError  the name is taken, or the function is an empty std::function or pointer.
  template <typename T, typename Function>
  LocalBranch<T> RegisterInTransaction(const std::string& name, Function function) {
    Driver& driver = Checked();
    const std::string full_name = kInTransactionPrefix + name;
    driver.transaction_functions.Register(
        full_name, NotEmpty(name, EraseTransactionType<T>(std::move(function))));
    (void)driver.inbox.Push(About(kLocalPrefix + full_name, Command::Kind::kRegistered));
    return {full_name, Owner()};
  }

  /// Runs `function(Tx&)` inside the next commit, on the coordinator's thread: the rows it writes through tx.Db() and
  /// the sagas and messages it submits to `tx` become durable together, or not at all. Returns once they are. The
  /// same limits as for RegisterInTransaction; it may run several times, and is committed once. It returns nothing or
  /// Result.
  /// @throws what `function` threw; FailureError: it returned Failure. Nothing was stored.
  /// @throws StoreError, InDoubtError  the commit failed; in doubt: both may be stored, ask for the gid.
  template <typename Function>
  void Transact(const Function& function) {
    static_assert(callable::Check<Function, Tx&>(), "dtm: what Transact runs takes dtm::Tx&");
    Driver& driver = Checked();
    const auto thrown = std::make_shared<std::exception_ptr>();
    const Result result = RunWork([&, thrown](TransactContext& context) -> Result {
      *thrown = nullptr;
      Tx tx(*this, driver, context);
      try {
        return ResultOf(function, tx);
      } catch (...) {
        *thrown = std::current_exception();
        throw;
      }
    });
    // Moved: the last reference is the caller's, who may still read it when the loop lets go of its own.
    if (*thrown) std::rethrow_exception(std::exchange(*thrown, nullptr));
    if (result.kind == Result::Kind::kFailure) throw FailureError(result.text);
    if (result.kind != Result::Kind::kSuccess) throw Error(result.text);
  }

  /// How branches by URL are called: `tm.Use(dtm::HttpBranches())` from <dtm/http.hpp>. Before
  /// Start.
  void Use(std::unique_ptr<BranchCaller> urls) { Checked().Use(std::move(urls)); }

  /// From now on a thread drives the coordinator, starting with what a crash left unfinished.
  void Start() { Checked().Start(); }

  /// Instead of Start, for event loops: does what there is to do, runs functions and alerts, and returns how long the
  /// program may sleep before it calls again: zero if there is more to do already, at most an hour, also if there is
  /// nothing. Options::on_wake tells of what comes earlier; WakeFd makes a file descriptor of it.
  /// Any thread may poll; turns are made one at a time. After Stop it does nothing.
  /// @throws LogicError  it was started.
  Duration Poll() { return Checked().Poll(); }

  /// Refuses what is new, tells who waits for an end what the status is, waits up to `limit` for calls that are out,
  /// and commits their results. What is unfinished goes on after a restart; what had not begun goes first. False: functions or on_alert still run; call it
  /// again.
  bool Stop(Duration limit) { return Checked().Stop(TimeIn(limit)); }

  /// The committed record; nothing if there is none.
  std::optional<Transaction> Query(const std::string& gid) { return Checked().store->Load(gid); }

  /// Committed records, newest first; `limit` is 1 to 1000, `position` what the page before
  /// returned.
  ScanPage List(const ScanFilter& filter = {}, std::int64_t position = 0, std::size_t limit = 100) {
    CheckListLimit(limit);
    return Checked().store->Scan(filter, position, limit);
  }

  /// Waits up to `timeout` for the end; returns the status there is then.
  /// @throws RejectedError  there is no such transaction.
  TransResult Wait(const std::string& gid, Duration timeout) {
    CheckMayBlock("Wait");
    return Await([&](AnswerCallback answer) { WaitAsync(gid, timeout, std::move(answer)); });
  }

  /// In words: where it stands, what it waits for, the last error, the next try.
  std::string Explain(const std::string& gid) {
    return AwaitValue<std::string>(
        [&](ValueCallback<std::string> answer) { ExplainAsync(gid, std::move(answer)); });
  }

  /// Rolls an unfinished saga back: compensates what may have run; and what was prepared and is not yet
  /// submitted. Returns when that is decided. What is rolled back already is tried at once, with its first reason.
  /// @throws InDoubtError  the store failed meanwhile, the change is tried again; StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction, it has ended, or it is carried through.
  void Cancel(const std::string& gid, const std::string& reason = "cancelled") {
    Await([&](AnswerCallback answer) { AbortAsync(gid, {}, reason, std::move(answer)); });
  }

  /// Ends an unfinished transaction as failed; nothing is called any more, nothing is undone.
  /// @throws InDoubtError  the store failed meanwhile, the change is tried again; StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction, or it has ended.
  void ForceStop(const std::string& gid) {
    Await([&](AnswerCallback answer) { ForceStopAsync(gid, std::move(answer)); });
  }

  /// Forgets the waits of an unfinished transaction and tries at once; also wakes a stuck one.
  /// @throws InDoubtError  the store failed meanwhile, the change is tried again; StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction, or it has ended.
  void RetryNow(const std::string& gid) {
    Await([&](AnswerCallback answer) { RetryNowAsync(gid, std::move(answer)); });
  }

  /// The gids of at most `limit` unfinished transactions that are to be tried again later than in
  /// `wait`, the earliest first: RetryNow wakes them.
  std::vector<std::string> ListWaiting(Duration wait, std::size_t limit) {
    using Gids = std::vector<std::string>;
    return AwaitValue<Gids>(
        [&](ValueCallback<Gids> answer) { ListWaitingAsync(wait, limit, std::move(answer)); });
  }

  /// Messages to `topic://<topic>` that are stored from now on go to this url as well.
  /// @throws RejectedError  "this url exists", a limit; nothing was changed.
  void Subscribe(const std::string& topic, const std::string& url, const std::string& remark = {}) {
    Await([&](AnswerCallback answer) { SubscribeAsync(topic, url, remark, std::move(answer)); });
  }
  /// @throws RejectedError  there is no such topic or url.
  void Unsubscribe(const std::string& topic, const std::string& url) {
    Await([&](AnswerCallback answer) { UnsubscribeAsync(topic, url, std::move(answer)); });
  }
  /// @throws RejectedError  there is no such topic.
  void DeleteTopic(const std::string& topic) {
    Await([&](AnswerCallback answer) { DeleteTopicAsync(topic, std::move(answer)); });
  }

  /// Committed values such as topics; an empty category or key is any, `position` what the page before
  /// returned.
  KeyValuePage ListValues(const std::string& category, const std::string& key = {},
                          std::int64_t position = 0, std::size_t limit = 100) {
    CheckListLimit(limit);
    return Checked().store->ScanValues(category, key, position, limit);
  }

  /// The wait between tries that a transaction has come to: it doubles after errors.
  Duration IntervalOf(const Transaction& transaction) const {
    engine::Context context;
    context.retry_interval = Settings().retry_interval;
    return engine::IntervalNow(transaction, context);
  }

  /// What was done since it was opened.
  Metrics::Snapshot Counted() const { return Checked().Counted(); }
  /// How it stands now. Reads the store: some milliseconds for 100,000 unfinished transactions.
  Gauges Measure() { return Checked().Measure(); }
  const Options& Settings() const { return Checked().options; }

 private:
  static void CheckListLimit(std::size_t limit) {
    if (limit == 0 || limit > kMaxListLimit) {
      throw RejectedError("the limit of a list must be 1 to " + std::to_string(kMaxListLimit));
    }
  }

  template <typename Function>
  static Function NotEmpty(const std::string& name, Function function) {
    if (!function) throw LogicError("the branch function '" + name + "' is an empty function");
    return function;
  }
};

}  // namespace v1
}  // namespace dtm
