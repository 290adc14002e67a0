/// Generated from include/dtm/barrier/sql_barrier.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "sql_table.hpp"
#include "sql_transaction.hpp"
#include "../sql/session.hpp"
#include "../sql/sql_errors.hpp"

// ---- dtm/barrier/sql_barrier.hpp ---------------------------------------------------------------

/// The barrier of a branch service whose rows are in PostgreSQL, MariaDB or MySQL: the algorithm, over a session of any
/// client library.
/// Needs: std. Threads: a table by one thread at a time, as the session that it uses.
/// Protocol: §11.5 (SQL barrier), §11.3 (the local step of a message).
///
/// For libpq and libmariadb take barrier/postgres_barrier.hpp and barrier/mysql_barrier.hpp.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace dtm {
inline namespace v1 {

/// The barrier table as one connection sees it. The connection is the program's, its settings are the same after a call as before: give it a limit
/// for waits on locks that is shorter than the coordinator's request timeout (lock_timeout, innodb_lock_wait_timeout).
/// Effects survive a power loss if the server's commits do.
class SqlBarrierTable {
 public:
  /// `session` must outlive it. `table`: NAME or SCHEMA.NAME of letters, digits and _. Does not ask the server.
  /// @throws LogicError  this is no such name.
  explicit SqlBarrierTable(SqlSession& session, const std::string& table = barrier::kSqlTable)
      : session_(session),
        postgres_(session.Dialect() == SqlDialect::kPostgres),
        transaction_(session),
        table_(table),
        quoted_(sql::QuotedName(session.Dialect(), table, "a barrier table")),
        insert_own_(barrier::InsertSql(session.Dialect(), quoted_)),
        insert_both_(barrier::InsertTwoSql(session.Dialect(), quoted_)) {}

  /// Runs `business()` at most once for this call of this barrier, in one transaction with the row that records it. It writes
  /// through the connection of the session, must not begin or end a transaction, and passes every error on. It may run
  /// again only if it did not commit.
  ///
  /// Returns Success once the effect is durable, from this call or an earlier one, or if there is no effect (a
  /// compensation of an action that never ran, an action that comes after its compensation). If the business returns
  /// Failure, Ongoing or Error, that is rolled back and returned; if it throws, that is rolled back and the exception
  /// passes. It waits while the same call is running on another connection.
  /// @throws InDoubtError     the connection broke at COMMIT: row and effect are both stored, or neither. The same call
  ///                          again, with a new Barrier, is safe and settles it.
  /// @throws DuplicatedError  the local step of a message ran before, or QueryPrepared forbade it.
  /// @throws SqlError         (a StoreError) nothing was stored.
  /// @throws LogicError       the connection is in a transaction; the business ended ours, or went on after an error; the
  ///                          barrier had a call that did not commit.
  [[nodiscard]] Result Call(Barrier& barrier, const std::function<Result()>& business) {
    CheckUse(barrier, SqlTransaction::kNone);
    return Run(barrier, BegunBy::kCall, business);
  }

  /// The same inside a transaction that the program has begun, for several barriers or other business in one commit.
  /// Nothing is durable before the program commits, so do not reply before. A rollback here undoes only this call; after a
  /// StoreError or LogicError roll back the whole transaction.
  /// @throws as Call, but not InDoubtError, which only COMMIT can cause.
  [[nodiscard]] Result CallInTransaction(Barrier& barrier,
                                         const std::function<Result()>& business) {
    CheckUse(barrier, SqlTransaction::kOpen);
    return Run(barrier, BegunBy::kProgram, business);
  }

  /// Tells a coordinator whether the local step of a message was committed (op msg). Success: it was. Failure: it was not,
  /// and never will be: that is durable. While the step is running on another connection this waits for its end, as long as
  /// the server's limit for locks allows.
  /// @throws InDoubtError  the connection broke at COMMIT; the coordinator asks again.
  /// @throws SqlError      nothing was decided, for example because the step is still running; the coordinator asks again.
  /// @throws LogicError    the connection is in a transaction, or the op of the call is not msg.
  [[nodiscard]] Result QueryPrepared(const Barrier& barrier) {
    if (barrier.Op() != barrier::kMsgOp) {
      throw LogicError(Where(barrier) + "QueryPrepared answers only calls with op msg; use Call");
    }
    CheckUse(barrier, SqlTransaction::kNone);
    std::string reason;
    try {
      Simple(barrier, postgres_ ? "BEGIN" : "START TRANSACTION");
      Ours(barrier, [&] {
        session_.Run(insert_own_, {barrier.Type(), barrier.Gid(), barrier::kMsgBranch,
                                   barrier::kMsgOp, barrier::kMsgNumber, barrier::kRollback});
        // Of the table that was written, and what is committed, whatever this transaction saw first.
        const SqlAnswer row = session_.Run(
            "SELECT reason FROM " + quoted_ + barrier::WhereKey(session_.Dialect()) +
                (postgres_ ? "" : " LOCK IN SHARE MODE"),
            {barrier.Gid(), barrier::kMsgBranch, barrier::kMsgOp, barrier::kMsgNumber});
        if (row.first_column.empty()) throw SqlError("its row was deleted while it was read", "");
        reason = row.first_column.front();
      });
      Finish(barrier, "COMMIT", SqlStage::kCommit);
    } catch (...) {
      sql::RollBack(session_);
      throw;
    }
    if (reason != barrier::kRollback) return Result::Success();
    return Result::Failure("the local step of msg gid '" + barrier.Gid() +
                           "' was not committed, and cannot be any more");
  }

 private:
  /// Who begins and ends the transaction.
  enum class BegunBy { kCall, kProgram };

  struct Deeper {
    explicit Deeper(int& depth) : depth_(depth) { ++depth_; }
    ~Deeper() { --depth_; }
    int& depth_;
  };

  std::string Where(const Barrier& barrier) const {
    return "barrier of " + barrier.Who() + ", table '" + table_ + "': ";
  }

  void CheckUse(const Barrier& barrier, SqlTransaction wanted) {
    if (barrier.Type() == Name(TransType::kXa)) {
      throw LogicError(Where(barrier) +
                       "the branch of an xa prepares its transaction; use PgXaBranch or "
                       "MysqlXaBranch, or a saga or tcc");
    }
    const SqlTransaction state = Ours(barrier, [this] { return session_.Transaction(); });
    if (state == wanted) return;
    if (state == SqlTransaction::kFailed) {
      throw LogicError(Where(barrier) +
                       "a statement of the connection's transaction failed; roll it back first");
    }
    throw LogicError(Where(barrier) +
                     (wanted == SqlTransaction::kNone
                          ? "the connection is in a transaction already; end it, or use "
                            "CallInTransaction and commit before you answer"
                          : "the connection is in no transaction; begin one, or use Call"));
  }

  /// Runs our own statements; an error names the call.
  template <typename Statements>
  auto Ours(const Barrier& barrier, const Statements& statements) -> decltype(statements()) {
    try {
      return statements();
    } catch (const SqlError& error) {
      ThrowWhere(Where(barrier), session_.Dialect(), error, SqlStage::kStatement);
    }
  }
  void Simple(const Barrier& barrier, const std::string& sql) {
    Ours(barrier, [&] { return session_.Simple(sql.c_str()); });
  }

  /// Of a call inside the program's transaction, or inside the business of another call.
  std::string Inner() const { return "dtm_barrier_" + std::to_string(depth_); }

  Result Run(Barrier& barrier, BegunBy begun_by, const std::function<Result()>& business) {
    const std::string number = barrier.BeginCall();
    const Deeper deeper(depth_);  // MySQL forgets a savepoint when another gets its name
    Result result = Result::Success();
    try {
      Begin(barrier, begun_by);
      if (Decided(barrier, number) == barrier::Decision::kRun) result = business();
      if (result.kind == Result::Kind::kSuccess) {
        End(barrier, begun_by);
        return result;
      }
      // Also tells if the transaction is still the one that was begun.
      Finish(barrier, "ROLLBACK TO SAVEPOINT " + Inner(), SqlStage::kStatement);
    } catch (...) {
      barrier.Fail();
      RollBack(begun_by);
      throw;
    }
    barrier.Fail();
    RollBack(begun_by);
    return result;
  }

  void Begin(const Barrier& barrier, BegunBy begun_by) {
    if (begun_by == BegunBy::kProgram) return Simple(barrier, "SAVEPOINT " + Inner());
    Ours(barrier, [this] { transaction_.Begin(Inner()); });
  }

  barrier::Decision Decided(const Barrier& barrier, const std::string& number) {
    const std::string op = barrier.Op();
    const std::string origin = barrier::OriginOf(op);
    const bool mariadb = transaction_.Mariadb();
    bool origin_inserted = false;
    bool own_inserted = false;
    Ours(barrier, [&] {
      if (!origin.empty() && (postgres_ || mariadb)) {
        std::vector<std::string_view> values = {barrier.Type(), barrier.Gid(), barrier.BranchId(),
                                                origin,         number,        op};
        if (mariadb) values.insert(values.end(), values.begin(), values.begin() + 3);
        values.emplace_back(op);
        if (mariadb) values.insert(values.end(), {number, op});
        for (const std::string& inserted : session_.Run(insert_both_, values).first_column) {
          (inserted == op ? own_inserted : origin_inserted) = true;
        }
      } else {
        origin_inserted = !origin.empty() && Insert(barrier, origin, number);
        own_inserted = Insert(barrier, op, number);
      }
      if (!own_inserted) {
        CheckRow(barrier, op, number);
      } else if (!origin.empty() && !origin_inserted) {
        CheckRow(barrier, origin, number);
      }
    });
    const barrier::Decision decision = barrier::Decide(op, origin_inserted, own_inserted);
    if (decision == barrier::Decision::kDuplicated) {
      throw DuplicatedError("DUPLICATED: " + Where(barrier) +
                            "the local step ran before, or was forbidden when the coordinator "
                            "asked for it; QueryPrepared says which");
    }
    return decision;
  }

  /// True if the row was not there before.
  bool Insert(const Barrier& barrier, const std::string& op, const std::string& number) {
    const std::vector<std::string_view> values = {
        barrier.Type(), barrier.Gid(), barrier.BranchId(), op, number, barrier.Op()};
    return session_.Run(insert_own_, values).affected > 0;
  }

  /// MySQL: with a collation that takes other letters or blanks as equal, what is there may be the row of another call.
  void CheckRow(const Barrier& barrier, const std::string& op, const std::string& number) {
    if (postgres_) return;
    const SqlAnswer row =
        session_.Run("SELECT CONCAT_WS(' ', gid, branch_id, op, barrier_id) FROM " + quoted_ +
                         barrier::WhereKey(session_.Dialect()) + " LOCK IN SHARE MODE",
                     {barrier.Gid(), barrier.BranchId(), op, number});
    const std::string found = row.first_column.empty() ? "" : row.first_column.front();
    if (found == barrier.Gid() + ' ' + barrier.BranchId() + ' ' + op + ' ' + number) return;
    throw SqlError("its row could not be inserted because of the row '" + found +
                       "'; the columns of the key must have the collation utf8mb4_bin",
                   "1062");
  }

  void End(const Barrier& barrier, BegunBy begun_by) {
    if (begun_by == BegunBy::kProgram) {
      return Finish(barrier, "RELEASE SAVEPOINT " + Inner(), SqlStage::kStatement);
    }
    for (const auto& step : transaction_.Ending(Inner())) Finish(barrier, step.sql, step.stage);
  }

  /// Runs what ends the call. What names our savepoint fails if the transaction is not ours any more.
  void Finish(const Barrier& barrier, const std::string& sql, SqlStage stage) {
    // no such savepoint, no transaction: PostgreSQL; no such savepoint: MySQL
    static constexpr std::string_view kEnded[] = {"3B001", "25P01", "1305"};
    std::string tag;
    try {
      tag = session_.Simple(sql.c_str());
    } catch (const SqlError& error) {
      const std::string& code = error.Code();
      if (sql::IsOneOf(code, kEnded)) {
        throw LogicError(Where(barrier) +
                         "its transaction was ended inside the business, by COMMIT, ROLLBACK, a "
                         "statement that commits by itself (CREATE, ALTER, ...) or an error such "
                         "as a deadlock; leave the first ones to the barrier and pass every error "
                         "on (a Galera node may not have sent it). What was committed by then is "
                         "not covered");
      }
      const std::string misuse = sql::BusinessMisuse(code);
      if (!misuse.empty()) throw LogicError(Where(barrier) + misuse);
      ThrowWhere(Where(barrier), session_.Dialect(), error, stage);
    }
    if (stage == SqlStage::kCommit && tag == "ROLLBACK") {  // PostgreSQL calls that no error
      throw SqlError(Where(barrier) +
                         "the server rolled back instead of committing; nothing was stored, the "
                         "call may come again",
                     "40000");
    }
  }

  /// As far as possible: without a connection the server does it by itself.
  void RollBack(BegunBy begun_by) noexcept {
    if (begun_by == BegunBy::kCall) return transaction_.RollBack();
    try {
      const std::string inner = "SAVEPOINT " + Inner();
      const std::string undo = "ROLLBACK TO " + inner + (postgres_ ? "; RELEASE " + inner : "");
      sql::Undone(session_, undo.c_str());
    } catch (...) {  // NOLINT(bugprone-empty-catch)
    }
  }

  SqlSession& session_;
  const bool postgres_;
  barrier::SqlOwnTransaction transaction_;
  const std::string table_;
  const std::string quoted_;
  const std::string insert_own_;
  const std::string insert_both_;  ///< not MySQL's
  int depth_ = 0;                  ///< calls that are running
};

}  // namespace v1
}  // namespace dtm
