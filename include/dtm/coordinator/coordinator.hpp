/// The embedded coordinator: what a program creates, registers its functions with, and submits to.
/// Needs: nlohmann/json, SQLite (by the constructor that takes a file). Threads: every method is thread-safe. Protocol: §2.2.
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
#include <dtm/base/of_this_process.hpp>
#include <dtm/coordinator/embedded_endpoint.hpp>
#include <dtm/coordinator/functions/branch_function.hpp>
#include <dtm/coordinator/functions/typed_function.hpp>
#include <dtm/coordinator/loop/driver.hpp>
#include <dtm/coordinator/operations.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/coordinator/parts/gauges.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/parts/wake_fd.hpp>
#include <dtm/coordinator/relay.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/coordinator/tx.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/url.hpp>
#include <dtm/engine/schedule.hpp>
#include <dtm/store/peers.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>
#include <dtm/store/store.hpp>
#include <dtm/timeline/timeline.hpp>

namespace dtm {
inline namespace v1 {

/// Drives transactions to their end, through crashes: submitted transactions are durable, and continue when a program opens
/// the same file and registers the same functions again.
///
/// Start() gives it a thread of its own. Without Start the program calls Poll(): functions run inside Poll, and calls that
/// wait (Submit, Wait, ...) drive the coordinator themselves. A method that waits throws LogicError inside a callback of the
/// coordinator (of SubmitAsync, Transact, RegisterInTransaction), where it would wait for itself; Wait and SubmitAndWait throw
/// it inside a branch function, too. A time to wait of Duration::max() is for ever.
///
/// Declare what the functions capture before the coordinator, so that it lives longer. In a forked child every method throws
/// LogicError and the destructor touches nothing.
class Coordinator : public EmbeddedEndpoint {
 public:
  /// Opens or creates the SQLite file, checks and locks it.
  /// @throws StoreError  the file is in use by another coordinator, unreadable, read-only, damaged, or of a newer version.
  /// @throws LogicError  an option is out of range; no file was touched.
  explicit Coordinator(const std::string& file, const Options& options = {})
      : Coordinator(std::make_unique<SqliteStore>(file, CheckedOptions(options).durability,
                                                  SqliteStore::OnOpen(), CacheBytes(options)),
                    options) {}

  /// On a store of your choice, such as a SqliteStore that creates tables of your own; `clock` is for tests: null
  /// is the machine's, or the database's for a store that several coordinators share.
  /// @throws LogicError  an option is out of range.
  explicit Coordinator(std::unique_ptr<Store> store, const Options& options = {},
                       std::unique_ptr<Clock> clock = nullptr)
      : EmbeddedEndpoint(std::make_unique<Driver>(std::move(store), std::move(clock), options)) {}

  /// Stops, and waits for functions that are running, as long as it takes; logs a warning after a second.
  ~Coordinator() override = default;

  /// Registers a branch function under a name. The store keeps the name: register the same names after a restart; transactions
  /// that need a missing one wait for it.
  ///
  /// `function` takes `const T&`, or `const T&` and `const BranchInfo&`; T is anything nlohmann/json can read. It returns nothing
  /// (success) or Result: Success, Failure (definite: roll back), Ongoing (call again after the retry interval). A thrown
  /// FailureError is a Failure, an OngoingError an Ongoing; after any other exception it is called again, with growing waits.
  ///
  /// It may be called again after a crash, so it must be idempotent (BranchInfo identifies the call), and a compensation must do
  /// nothing if its action did nothing. It may block: there is no deadline, and while it runs no other call of its branch
  /// starts. Several threads may call it at once, so it is called as const (no `mutable` lambda); it may capture move-only values.
  /// @throws LogicError  the name is taken, or the function is an empty std::function or pointer.
  template <typename T, typename Function>
  LocalBranch<T> Register(const std::string& name, Function function) {
    Keep(name, EraseType<T>(std::move(function)));
    return {name, Identity()};
  }

  /// The same for RegisterWorkflow. A workflow may wait for other transactions, so workflows run on threads of their own;
  /// there are as many of these as for branch functions.
  /// @throws LogicError  as Register.
  template <typename T, typename Function>
  LocalBranch<T> RegisterResume(const std::string& name, Function function) {
    KeepResume(name, EraseType<T>(std::move(function)));
    return {name, Identity()};
  }

  /// The same as Register for a function that writes to the coordinator's own store, through the connection it gets:
  /// with SQLite `function(sqlite3*, const T&)`, or also `const BranchInfo&`. Its writes, its result and the next step are one
  /// commit: its effect happens exactly once, without a barrier. A Failure or an exception undoes its writes.
  ///
  /// It runs on the coordinator's thread and everything else waits, so it should take less than 5 ms and do nothing but SQL.
  /// Transactions, ATTACH, PRAGMA and the dtm_ tables are denied. It may run several times, and is committed once. If the
  /// initiator calls it itself (the try of a tcc, the action of an xa, the step of a workflow), that has a commit of its own. A
  /// workflow's step is recorded in the next commit, so a crash in between runs it again. No coordinator elsewhere can call it.
  /// @throws LogicError  the name is taken, the function is an empty std::function or pointer, or several coordinators share
  /// the store (PgOutbox is what they have instead).
  template <typename T, typename Function>
  LocalBranch<T> RegisterInTransaction(const std::string& name, Function function) {
    return {KeepInTransaction(name, EraseTransactionType<T>(std::move(function))), Identity()};
  }

  /// Runs `function(Tx&)` inside the next commit, on the coordinator's thread. The rows that it writes through tx.Db() and
  /// the sagas and messages that it submits to `tx` become durable together, or not at all; this returns once they are.
  /// The limits of RegisterInTransaction hold. It may run several times, and is committed once. It returns nothing or
  /// Result.
  /// @throws InDoubtError  the commit failed, and all of it may be stored, or nothing: query the gid.
  /// @throws StoreError    the commit failed; nothing was stored.
  /// @throws LogicError    several coordinators share the store: PgOutbox is what they have instead.
  /// @throws what `function` threw; FailureError: it returned Failure. Nothing was stored.
  template <typename Function>
  void Transact(const Function& function) {
    static_assert(callable::Check<Function, Tx&>(), "dtm: what Transact runs takes dtm::Tx&");
    RunTransact([&function](Tx& tx) -> Result { return ResultOf(function, tx); });
  }

  /// Adds what calls the branches with URLs of some schemes: `tm.Use(dtm::HttpBranches())` from <dtm/http.hpp> for http and
  /// https. A submission with a URL of another scheme is refused unless its caller was added before. A caller with the scheme
  /// "local" gets the calls of functions that are not registered here; tests and replays stand in for them so.
  /// @throws LogicError  one of its schemes has a caller, or it comes after Start or Stop.
  void Use(std::unique_ptr<BranchCaller> caller) { Checked().Use(std::move(caller)); }

  /// Takes over what programs submit into an outbox table, until Stop, on a thread and a connection of its own:
  /// `tm.Relay(dtm::PgRelay("host=... dbname=..."))`. It looks every `interval` (1 ms to 1 min), and after ten looks that
  /// found nothing a third as often. A row is claimed for this store, and goes after its transaction is as durable here as
  /// Options::durability says. So several coordinators may relay a table; each row runs at one of them, whatever crashes.
  /// Stop waits 5 s for a database that does not answer.
  /// @throws LogicError  there is no source, the interval is out of its range, or it comes after Stop.
  void Relay(std::unique_ptr<OutboxSource> source,
             Duration interval = std::chrono::milliseconds(100)) {
    relays_.Get().Add(*this, Checked(), std::move(source), interval);
  }

  /// From now on a thread drives the coordinator. It begins with the transactions that a crash left unfinished.
  /// @throws LogicError  it comes twice, or after Stop.
  void Start() { Checked().Start(); }

  /// For event loops, instead of Start: does what there is to do, runs functions and alerts, and returns how long the
  /// program may sleep before it polls again: zero if there is more to do already, at most an hour. Options::on_wake is
  /// called when something comes earlier; WakeFd turns that into a file descriptor. Any thread may poll. Nothing after Stop.
  /// @throws LogicError  it was started.
  Duration Poll() { return Checked().Poll(); }

  /// Refuses new submissions, answers everybody who waits for an end with the present status, waits up to `limit` for
  /// running calls, and commits their results. Unfinished transactions continue after a restart. False: functions or
  /// on_alert are still running; call it again.
  /// @throws LogicError  called in a callback of the coordinator.
  bool Stop(Duration limit) {
    Checked().CheckNotLoop();
    relays_.Get().Stop();
    return Checked().Stop(TimeIn(limit));
  }

  /// The committed record; nothing if there is none. If the record has expired and only its gid is kept (Options::keep_gids), it
  /// has `expired` and no branches. Like List and ListValues it reads the store in this thread.
  /// @throws StoreError  the store cannot be read.
  std::optional<Transaction> Query(const std::string& gid) { return Checked().store->Load(gid); }

  /// Committed records, newest first; `limit` is 1 to 1000, `position` the one that the page before returned. With a filter
  /// that is a search (see ScanFilter) at most some 10,000 records are read, so a page may be short, or empty, before the
  /// end, which is where `next` is 0.
  /// @throws StoreError     the store cannot be read.
  /// @throws RejectedError  the limit is out of range.
  ScanPage List(const ScanFilter& filter = {}, std::int64_t position = 0, std::size_t limit = 100) {
    CheckListLimit(limit);
    return Checked().store->Scan(filter, position, limit);
  }

  /// The coordinators on the store, this one among them, also those that stopped a moment ago. Alone, if the store is not
  /// shared. Reads the store in this thread.
  /// @throws StoreError  the store cannot be read.
  std::vector<Peer> Nodes() {
    Peers* const peers = Checked().store->Shared();
    return peers != nullptr ? peers->All()
                            : std::vector<Peer>{{NodeOf(Settings()), true, Duration(0), true}};
  }

  /// The whole story of a transaction: its record, each call with its begin, end and outcome, each decision, which process
  /// drove it, with times; nothing if there is no such transaction. What Options::history keeps of it is removed with its
  /// record. Each entry is as durable as the change it tells of. Reads the store in this thread, record first: the entries
  /// may tell of one more change than the record has.
  /// @throws StoreError  the store cannot be read.
  std::optional<dtm::Timeline> Timeline(const std::string& gid) {
    std::optional<Transaction> stored = Query(gid);
    if (!stored) return std::nullopt;
    std::vector<JournalEntry> entries = Checked().store->ReadJournal(gid);
    if (Settings().history > 0) FoldJournal(entries, Settings().history);
    return MakeTimeline(std::move(*stored), std::move(entries));
  }

  /// Waits up to `timeout` for the end; returns the status at that time, which may be an unfinished one.
  /// @throws InDoubtError   the store failed meanwhile.
  /// @throws RejectedError  there is no such transaction.
  /// @throws LogicError     called in a branch function, which could wait for itself.
  TransResult Wait(const std::string& gid, Duration timeout) {
    CheckMayBlock("Wait");
    return Await([&](AnswerCallback answer) { WaitAsync(gid, timeout, std::move(answer)); });
  }

  /// A text for people: the status, what the transaction waits for, the last error, the next try.
  /// @throws StoreError  the store cannot be read.
  std::string Explain(const std::string& gid) {
    return AwaitValue<std::string>(
        [&](ValueCallback<std::string> answer) { ExplainAsync(gid, std::move(answer)); });
  }

  /// Rolls back an unfinished saga (what may have run is compensated), or a transaction that is prepared and not yet
  /// submitted. Returns when that is decided. If it is being rolled back already, the waiting calls are made at once, and
  /// the first reason stays.
  /// @throws InDoubtError   the store failed meanwhile; the change is tried again. StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction, it has ended, or it can no longer be rolled back.
  void Cancel(const std::string& gid, const std::string& reason = "cancelled") {
    Cancel(gid, By{{}, reason});
  }
  /// The same, with who asks for it in the journal; `by.why` is the reason.
  void Cancel(const std::string& gid, const By& by) {
    Await([&](AnswerCallback answer) {
      AbortAsync(gid, {}, by, WaitResult::kIgnored, std::move(answer));
    });
  }

  /// Ends an unfinished transaction as failed. Nothing more is called, and nothing is undone. The journal keeps `by`.
  /// @throws InDoubtError   the store failed meanwhile; the change is tried again. StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction, or it has ended.
  void ForceStop(const std::string& gid, const By& by = {}) {
    Await([&](AnswerCallback answer) { ForceStopAsync(gid, by, std::move(answer)); });
  }

  /// Makes the waiting calls of an unfinished transaction at once, and drives a stuck one again. The journal keeps `by` if
  /// anything waited.
  /// @throws InDoubtError   the store failed meanwhile; the change is tried again. StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction, or it has ended.
  void RetryNow(const std::string& gid, const By& by = {}) {
    Await([&](AnswerCallback answer) { RetryNowAsync(gid, by, std::move(answer)); });
  }

  /// Repairs an unfinished transaction: its branch `branch_id`, `op` ("01", Op::kCompensate) counts as done from now on, without a
  /// call, because of `by.why`, and the transaction goes on; a stuck one, too. Nothing else changes. It is for what was done by hand,
  /// or need not be done any more. A skipped action of a saga is compensated like any other if the saga is rolled back later, unless
  /// its compensation is skipped too (that may be done beforehand). A service with a barrier compensates only what was done
  /// through it: nothing, if the action never came there. The journal keeps who and why, and last_error says it.
  ///
  /// Refused while a call of the branch is running, or may be (of a process that has died): its effect could come after what was
  /// done by hand. So it may be asked for once the call has ended and waits for its next try; Explain says which it is.
  /// @throws InDoubtError   the store failed meanwhile; it is tried again, and may be refused then: ask again. "Has succeeded
  ///                        already" then means that it is done. StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction or branch, `by.why` is empty, it has ended, is prepared or a workflow, the
  ///                        branch has succeeded, will not be called, or is being called; nothing was changed.
  void Skip(const std::string& gid, const std::string& branch_id, Op op, const By& by) {
    Await([&](AnswerCallback answer) { SkipAsync(gid, branch_id, op, by, std::move(answer)); });
  }

  /// The gids of at most `limit` unfinished transactions whose next try is more than `wait` away, the earliest
  /// first; RetryNow tries them at once.
  /// @throws StoreError  the store cannot be read.
  std::vector<std::string> ListWaiting(Duration wait, std::size_t limit) {
    using Gids = std::vector<std::string>;
    return AwaitValue<Gids>(
        [&](ValueCallback<Gids> answer) { ListWaitingAsync(wait, limit, std::move(answer)); });
  }

  /// Messages to `topic://<topic>` that are stored from now on go to this url too. At most 1000 subscribers a topic; 128 bytes
  /// for its name, 2048 for a url, 1024 for a remark (for people), all of it UTF-8. Durable when it returns.
  /// @throws InDoubtError, StoreError  the store failed; in doubt: it may be stored, look with ListValues.
  /// @throws RejectedError  "this url exists", or a limit; nothing was changed.
  void Subscribe(const std::string& topic, const std::string& url, const std::string& remark = {}) {
    Await([&](AnswerCallback answer) { SubscribeAsync(topic, url, remark, std::move(answer)); });
  }
  /// Messages that are stored from now on do not go to this url any more. `url`: as it was given, or as ShownUrl shows it.
  /// @throws RejectedError  there is no such topic or url, or several are shown like this; else as Subscribe.
  void Unsubscribe(const std::string& topic, const std::string& url) {
    Await([&](AnswerCallback answer) { UnsubscribeAsync(topic, url, std::move(answer)); });
  }
  /// Removes the topic with its subscribers. Messages that are stored already are delivered all the same.
  /// @throws RejectedError  there is no such topic; else as Subscribe.
  void DeleteTopic(const std::string& topic) {
    Await([&](AnswerCallback answer) { DeleteTopicAsync(topic, std::move(answer)); });
  }

  /// Committed values such as topics (category "topics"); an empty category or key matches any, `limit` is 1 to 1000, and
  /// `position` the one that the page before returned.
  /// @throws StoreError     the store cannot be read.
  /// @throws RejectedError  the limit is out of range.
  KeyValuePage ListValues(const std::string& category, const std::string& key = {},
                          std::int64_t position = 0, std::size_t limit = 100) {
    CheckListLimit(limit);
    return Checked().store->ScanValues(category, key, position, limit);
  }

  /// The present wait between the tries of a transaction; it doubles after errors.
  Duration IntervalOf(const Transaction& transaction) const {
    engine::Context context;
    context.retry_interval = Settings().retry_interval;
    return engine::IntervalNow(transaction, context);
  }

  /// The counters of what was done since the coordinator was opened.
  Metrics::Snapshot Counted() const { return Checked().Counted(); }
  /// The present state in numbers. Reads the store: some milliseconds for 100,000 unfinished transactions.
  /// @throws StoreError  the store cannot be read.
  Gauges Measure() {
    Gauges gauges = Checked().Measure();
    relays_.Get().Measure(gauges);
    return gauges;
  }
  /// The options that it was made with.
  const Options& Settings() const { return Checked().options; }

 private:
  static void CheckListLimit(std::size_t limit) {
    if (limit == 0 || limit > kMaxListLimit) {
      throw RejectedError("the limit of a list must be 1 to " + std::to_string(kMaxListLimit));
    }
  }

  // What the templates above come to, without types of the program.

  void Keep(const std::string& name, BranchFunction function) {
    Driver& driver = Checked();
    if (!function) throw EmptyFunction(name);
    driver.functions.Register(name, std::move(function));
    (void)driver.inbox.Push(About(kLocalPrefix + name, Command::Kind::kRegistered));
  }
  void KeepResume(const std::string& name, BranchFunction function) {
    Driver& driver = Checked();
    driver.functions.RegisterResume(name, std::move(function));
    (void)driver.inbox.Push(About(kLocalPrefix + name, Command::Kind::kRegistered));
  }
  /// Returns the name by which it is stored.
  std::string KeepInTransaction(const std::string& name, TransactionFunction function) {
    Driver& driver = Checked();
    if (!function) throw EmptyFunction(name);
    CheckRunsWorks();
    std::string full_name = kInTransactionPrefix + name;
    driver.transaction_functions.Register(full_name, std::move(function));
    (void)driver.inbox.Push(About(kLocalPrefix + full_name, Command::Kind::kRegistered));
    return full_name;
  }
  static LogicError EmptyFunction(const std::string& name) {
    return LogicError("the branch function '" + name + "' is an empty function");
  }

  OfThisProcess<Relays> relays_{"coordinator"};  // ends before what it submits to
};

}  // namespace v1
}  // namespace dtm
