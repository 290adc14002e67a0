/// The barrier of a branch service whose rows are in SQLite: each call takes effect once, in one commit
/// with its row.
/// Needs: SQLite 3.35 or newer. Threads: thread-safe, by the connection: see SqliteBarrierTable.
/// Protocol: §11.5 (SQL barrier), §11.3 (the local step of a message).
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include <dtm/barrier/barrier.hpp>
#include <dtm/barrier/sqlite_schema.hpp>
#include <dtm/base/callable.hpp>
#include <dtm/base/error.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/types.hpp>
#include <dtm/sql/exclusive.hpp>
#include <dtm/sql/sqlite_connection.hpp>

namespace dtm {
inline namespace v1 {

/// The barrier table as one connection sees it. Prepares its statements, so keep it as long as the
/// connection (one made for each call costs 10 us of CPU more); destroy it before the connection is
/// closed.
///
/// The connection belongs to the program, and its settings are not changed. Give it a busy timeout
/// (sqlite3_busy_timeout), otherwise a call that meets another writer fails at once. Effects survive a power
/// loss only with PRAGMA synchronous = FULL, SQLite's default. Business rows must be in the same file: an
/// attached file does not commit together with it.
///
/// Threads may share a connection, with one table or several: each call has the connection to
/// itself from its beginning to its commit, and the others wait. (If the connection lacks the mutex that
/// SQLite gives it by default, see sql::Exclusive, they are refused.) To run calls in parallel, give each
/// thread its own connection. A business uses the connection in the thread in which it is called.
class SqliteBarrierTable {
 public:
  /// @throws StoreError  there is no such table (make it with CreateBarrierTable), or it lacks
  ///                     dtm's columns or unique key.
  explicit SqliteBarrierTable(sqlite3* db, const std::string& table = "barrier")
      : SqliteBarrierTable(sql::Exclusive(barrier::NotNull(db)), db, table) {}
  SqliteBarrierTable(const SqliteBarrierTable&) = delete;
  SqliteBarrierTable& operator=(const SqliteBarrierTable&) = delete;

  /// Runs `business(sqlite3*)` at most once for this call of this barrier, in one transaction with
  /// the row that records it. It writes through this connection, must not use COMMIT or ROLLBACK,
  /// and returns nothing (success) or a Result. It may run again only if it did not commit.
  ///
  /// Returns Success once the effect is durable, from this call or an earlier one, or if there is no
  /// effect (a compensation of an action that never ran, an action that comes after its compensation).
  /// If the business returns Failure, Ongoing or Error, that is rolled back and returned; if it throws,
  /// that is rolled back and the exception passes. There is no deadline but the busy timeout.
  /// @throws InDoubtError     COMMIT met an I/O error or was interrupted: either both row and effect
  ///                          are stored, or neither. The same call again, with a new Barrier, is
  ///                          safe and settles it.
  /// @throws DuplicatedError  the local step of a message ran before, or QueryPrepared forbade it.
  /// @throws sql::SqliteError (a StoreError) nothing was stored. Code SQLITE_BUSY: another writer
  ///                          held the lock for longer than the busy timeout; the business did not run
  ///                          (unless COMMIT waited for readers, without WAL).
  /// @throws LogicError       the connection is in a transaction, the business ended ours, the
  ///                          barrier had a call that did not commit, or another thread is using
  ///                          a connection without a mutex.
  template <typename Business>
  [[nodiscard]] Result Call(Barrier& barrier, const Business& business) {
    CheckBusiness<Business>();
    return Run(barrier, BegunBy::kCall, [&] { return ResultOf(business, db_.Handle()); });
  }

  /// The same inside a transaction that the program has begun, with BEGIN IMMEDIATE, for several
  /// barriers or other business in one commit. Nothing is durable before the program commits, so do
  /// not reply before. A rollback here undoes only this call. After a StoreError roll back the whole
  /// transaction. A transaction belongs to a connection, not to a thread: if threads share the
  /// connection, hold an sql::Exclusive from before BEGIN until after COMMIT.
  /// @throws as Call, but not InDoubtError, which only COMMIT can cause.
  template <typename Business>
  [[nodiscard]] Result CallInTransaction(Barrier& barrier, const Business& business) {
    CheckBusiness<Business>();
    return Run(barrier, BegunBy::kProgram, [&] { return ResultOf(business, db_.Handle()); });
  }

  /// Tells a coordinator whether the local step of a message was committed (op msg). Success: it
  /// was. Failure: it was not, and never will be: that is durable. While the step is running on
  /// another connection this waits for its end, at most for the busy timeout.
  /// @throws InDoubtError      COMMIT met an I/O error; the coordinator asks again.
  /// @throws sql::SqliteError  SQLITE_BUSY: the step is still running; otherwise the file failed.
  ///                           Nothing was decided; the coordinator asks again.
  /// @throws LogicError        the connection is in a transaction, or the op of the call is not msg.
  [[nodiscard]] Result QueryPrepared(const Barrier& barrier) {
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

 private:
  template <typename Business>
  static constexpr void CheckBusiness() {
    static_assert(callable::Check<Business, sqlite3*>(),
                  "dtm: the business of a barrier takes the connection: [&](sqlite3* db)");
  }

  SqliteBarrierTable(const sql::Exclusive&, sqlite3* db, const std::string& table)
      : table_(table),
        quoted_(barrier::Quoted(table)),
        db_(db),
        save_(db_, "SAVEPOINT dtm_barrier"),
        release_(db_, "RELEASE dtm_barrier"),
        insert_(PrepareInsert()) {}

  /// Who begins and ends the transaction.
  enum class BegunBy { kCall, kProgram };

  /// Rolls back what a call did, unless Keep was called.
  class Undo {
   public:
    Undo(sql::Database& db, Barrier& barrier, BegunBy begun_by)
        : db_(db), barrier_(barrier), begun_by_(begun_by) {}
    ~Undo() {
      if (kept_) return;
      barrier_.Fail();
      if (begun_by_ == BegunBy::kCall) {
        if (db_.InTransaction()) Run("ROLLBACK");
      } else if (begun_) {
        Run("ROLLBACK TO dtm_barrier_inner; RELEASE dtm_barrier_inner");
      }
    }
    Undo(const Undo&) = delete;
    Undo& operator=(const Undo&) = delete;
    void Begun() { begun_ = true; }
    void Keep() { kept_ = true; }

   private:
    void Run(const char* text) { sqlite3_exec(db_.Handle(), text, nullptr, nullptr, nullptr); }
    sql::Database& db_;
    Barrier& barrier_;
    const BegunBy begun_by_;
    bool begun_ = false;
    bool kept_ = false;
  };

  sql::Statement PrepareInsert() {
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

  std::string Where(const Barrier& barrier) const {
    return "barrier of " + barrier.Who() + ", table '" + table_ + "': ";
  }

  /// Runs our own statements; an error names the call.
  template <typename Statements>
  auto Ours(const Barrier& barrier, const Statements& statements) -> decltype(statements()) {
    try {
      return statements();
    } catch (const sql::SqliteError& error) {
      throw sql::SqliteError(Where(barrier) + error.what() + "; the call may come again",
                             error.Code());
    }
  }

  /// True: the row was not there before.
  bool Insert(const Barrier& barrier, std::string_view branch_id, std::string_view op,
              std::string_view number, std::string_view reason) {
    insert_.BindText(1, barrier.Type()).BindText(2, barrier.Gid()).BindText(3, branch_id);
    insert_.BindText(4, op).BindText(5, number).BindText(6, reason);
    insert_.Step();
    return db_.Changes() > 0;
  }

  /// Outside a transaction a savepoint begins one, and the insert that follows takes the write lock
  /// as BEGIN IMMEDIATE would. If the savepoint still exists at the end, the business has not ended it.
  void Begin(BegunBy begun_by) {
    if (begun_by == BegunBy::kProgram) return db_.Exec("SAVEPOINT dtm_barrier_inner");
    save_.Step();
  }

  Result Run(Barrier& barrier, BegunBy begun_by, const std::function<Result()>& business) {
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

  void CheckUse(const Barrier& barrier, BegunBy begun_by) const {
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

  void Commit(const Barrier& barrier, BegunBy begun_by) {
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

  const std::string table_;
  const std::string quoted_;
  sql::Database db_;
  sql::Statement save_;
  sql::Statement release_;
  sql::Statement insert_;
};

}  // namespace v1
}  // namespace dtm
