/// Generated from include/dtm/barrier/xa/sql_xa.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "../sql_table.hpp"
#include "xa.hpp"
#include "../../sql/session.hpp"
#include "../../sql/sql_errors.hpp"

// ---- dtm/barrier/xa/sql_xa.hpp -----------------------------------------------------------------

/// The branch of an xa on PostgreSQL, MariaDB or MySQL: works in a transaction of its database and prepares it; later it is
/// told to commit it or to roll it back. The algorithm, over a session of any client library.
/// Needs: std. Threads: a branch by one thread at a time, as the session that it uses.
/// Protocol: §4.4, §11.4 (the branch's side).
///
/// For libpq and libmariadb take barrier/xa/postgres_xa.hpp and barrier/xa/mysql_xa.hpp. Each branch leaves the row (gid,
/// branch_id, action, 01) in the barrier table. With reason `action` it is committed together with the branch's work, and
/// so proves that this was committed; with reason `rollback` it keeps a late action from working.

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

/// A branch on one connection. PostgreSQL: any connection, as often as wanted, in the same database and as the same user for both phases. Give it a
/// lock_timeout shorter than the request timeout of the initiator. MySQL: a new connection for each call, to be closed before the call is answered: MariaDB commits what is prepared only when
/// the connection that prepared it is gone, wholly: it must have left information_schema.PROCESSLIST. Settings of this connection are changed.
class SqlXaBranch {
 public:
  /// The names of the prepared transactions, as far as the user may see them.
  using Listing = std::function<std::vector<std::string>()>;

  /// `session` must outlive it. `table`: see SqlBarrierTable. `listing`: for MySQL the column `data` of XA RECOVER; it may throw
  /// SqlError (in MySQL 8 it needs XA_RECOVER_ADMIN), and without it the row in the table decides alone. Does not ask the server.
  /// @throws LogicError  this is no name of a table.
  explicit SqlXaBranch(SqlSession& session, const std::string& table = barrier::kSqlTable,
                       Listing listing = {})
      : session_(session),
        postgres_(session.Dialect() == SqlDialect::kPostgres),
        table_(table),
        quoted_(sql::QuotedName(session.Dialect(), table, "a barrier table")),
        listing_(std::move(listing)) {}
  SqlXaBranch(const SqlXaBranch&) = delete;
  SqlXaBranch& operator=(const SqlXaBranch&) = delete;

  /// Answers a call. Action: runs `business` once in a transaction, registers the branch at `coordinator` and prepares. Commit and
  /// rollback: ends what was prepared; the business does not run, and the coordinator is not asked.
  ///
  /// Success: the work is prepared, committed, or rolled back and cannot come back. An action: Failure is the business's, or the
  /// branch was rolled back before; after anything else the initiator aborts. Commit, rollback: Error asks to call again, since the
  /// action is running or its connection is open (told within 3 s); one with LOST asks for a person.
  /// @throws InDoubtError   PREPARE or COMMIT got no reply; the coordinator settles it.
  /// @throws SqlError       the server refused something, and nothing was changed.
  /// @throws RejectedError  gid and branch_id cannot name a transaction here (quotes, not ASCII, more than 64 bytes in MySQL or
  ///                        199 in PostgreSQL), or the coordinator refused the registration.
  /// @throws LogicError     the connection is in a transaction, or the business ended or broke ours.
  /// @throws whatever the business throws
  [[nodiscard]] Result Handle(const XaCall& call, Endpoint& coordinator,
                              const std::function<Result()>& business) {
    const std::string xid = xa::Xid(session_.Dialect(), call);
    const SqlTransaction state =
        Ours(call, SqlStage::kStatement, [this] { return session_.Transaction(); });
    if (state != SqlTransaction::kNone) {
      throw LogicError(Where(call) + "the connection is in a transaction already; end it first");
    }
    if (!postgres_ && call.op != Op::kAction) {
      // So that nothing is read that is not committed, and no lock is awaited for long.
      Simple(call, SqlStage::kStatement, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ");
      Simple(call, SqlStage::kStatement,
             "SET SESSION autocommit = 1, innodb_lock_wait_timeout = 2");
    }
    switch (call.op) {
      case Op::kAction: return Action(call, xid, coordinator, business);
      case Op::kCommit: return Commit(call, xid);
      case Op::kRollback: return RollBack(call, xid);
      default:
        throw LogicError(Where(call) + "an xa branch is called with action, commit or rollback");
    }
  }

 private:
  static constexpr auto kPatience = std::chrono::seconds(1);
  static constexpr auto kPause = std::chrono::milliseconds(10);
  enum class Listed { kYes, kNo, kNotTold };

  std::string Where(const XaCall& call) const { return call.Who() + ", table '" + table_ + "': "; }

  /// Runs our own statements; an error names the call.
  template <typename Statements>
  auto Ours(const XaCall& call, SqlStage stage, const Statements& statements)
      -> decltype(statements()) {
    try {
      return statements();
    } catch (const SqlError& error) {
      xa::ThrowWhere(Where(call), session_.Dialect(), error, stage);
    }
  }
  std::string Simple(const XaCall& call, SqlStage stage, const std::string& sql) {
    return Ours(call, stage, [&] { return session_.Simple(sql.c_str()); });
  }

  /// True if the row was not there before.
  bool Insert(const XaCall& call, const char* reason) {
    const std::string sql = barrier::InsertSql(session_.Dialect(), quoted_);
    return Ours(call, SqlStage::kStatement, [&] {
      return session_
                 .Run(sql, {Name(TransType::kXa), call.gid, call.branch_id, Name(Op::kAction),
                            kNumber, reason})
                 .affected > 0;
    });
  }

  /// The reason of the row; empty: there is none.
  std::string Reason(const XaCall& call, SqlStage stage = SqlStage::kStatement,
                     const char* lock = "") {
    return Ours(call, stage, [&]() -> std::string {
      // A collation may take other letters as equal, so the bytes are compared here.
      const SqlAnswer rows =
          session_.Run("SELECT CONCAT_WS(' ', reason, gid, branch_id) FROM " + quoted_ +
                           barrier::WhereKey(session_.Dialect()) + lock,
                       {call.gid, call.branch_id, Name(Op::kAction), kNumber});
      for (const char* const reason : {kCommitted, barrier::kRollback}) {
        const std::string wanted = std::string(reason) + ' ' + call.gid + ' ' + call.branch_id;
        if (rows.first_column == std::vector<std::string>{wanted}) return reason;
      }
      if (rows.first_column.empty()) return {};
      throw SqlError("the row of another call is in its place (" + rows.first_column.front() +
                         "); the columns of the key must have the collation utf8mb4_bin",
                     "1062");
    });
  }

  Listed Look(const std::string& xid) {
    try {
      std::vector<std::string> names;
      if (listing_) {
        names = listing_();
      } else if (postgres_) {
        names =
            session_.Run("SELECT gid FROM pg_prepared_xacts WHERE gid = $1", {xid}).first_column;
      } else {
        return Listed::kNotTold;
      }
      return std::count(names.begin(), names.end(), xid) > 0 ? Listed::kYes : Listed::kNo;
    } catch (const SqlError& error) {
      if (error.Code().empty()) throw;  // the connection broke
      return Listed::kNotTold;
    }
  }

  Result Action(const XaCall& call, const std::string& xid, Endpoint& coordinator,
                const std::function<Result()>& business) {
    Simple(call, SqlStage::kStatement,
           postgres_ ? "BEGIN; SAVEPOINT dtm_xa" : "XA START '" + xid + "'");
    try {
      Result result = Result::Failure(call.Who() + ": it came late, the branch has ended already");
      if (Insert(call, kCommitted)) {
        result = business();
      } else if (Reason(call).empty()) {
        throw SqlError(Where(call) + "its row was deleted while it was read", "");
      }
      if (result.kind != Result::Kind::kSuccess) {
        Undo(xid);
        return result;
      }
      EndBusiness(call, xid);
      coordinator.RegisterBranch(call.gid, TransType::kXa,
                                 {call.phase2_url, call.phase2_url, {}, call.branch_id});
      CheckTag(call, Simple(call, SqlStage::kCommit,
                            (postgres_ ? "PREPARE TRANSACTION '" : "XA PREPARE '") + xid + "'"));
      return result;
    } catch (...) {
      Undo(xid);
      throw;
    }
  }

  /// Is the transaction still the one that was begun, with all that the business wrote?
  void EndBusiness(const XaCall& call, const std::string& xid) {
    Ours(call, SqlStage::kStatement, [&] {
      try {
        session_.Simple((postgres_ ? "RELEASE SAVEPOINT dtm_xa" : "XA END '" + xid + "'").c_str());
      } catch (const SqlError& error) {
        const std::string misuse = xa::BusinessMisuse(error.Code());
        if (misuse.empty()) throw;
        throw LogicError(Where(call) + misuse);
      }
    });
  }

  /// As far as possible: without a connection the server does it by itself.
  void Undo(const std::string& xid) noexcept {
    if (postgres_) return sql::RollBack(session_);
    try {
      try {
        session_.Simple(("XA END '" + xid + "'").c_str());
      } catch (const SqlError&) {  // it has ended, or is only to be rolled back
      }
      session_.Simple(("XA ROLLBACK '" + xid + "'").c_str());
    } catch (...) {
    }
  }

  /// False: the server says that there is no such transaction.
  bool TryEnd(const XaCall& call, const std::string& xid) {
    const bool commit = call.op == Op::kCommit;
    const std::string verb = commit ? "COMMIT" : "ROLLBACK";
    const std::string sql = (postgres_ ? verb + " PREPARED '" : "XA " + verb + " '") + xid + "'";
    return Ours(call, SqlStage::kCommit, [&] {
      try {
        session_.Simple(sql.c_str());
        return true;
      } catch (const SqlError& error) {
        if (xa::IsUnknownXid(session_.Dialect(), error.Code())) return false;
        if (!commit && !postgres_ && xa::IsRolledBack(error.Code())) return false;
        throw;
      }
    });
  }

  Result Commit(const XaCall& call, const std::string& xid) {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
      const bool ended = TryEnd(call, xid);
      if (ended && postgres_) return Result::Success();
      // First the list: what is committed between the two has left the list and has its row.
      const Listed listed = ended ? Listed::kNo : Look(xid);
      const std::string reason = Reason(call, ended ? SqlStage::kCommit : SqlStage::kStatement);
      if (reason == kCommitted) return Result::Success();  // now or before
      if (listed == Listed::kNo) {
        if (!postgres_ && (ended || IsHeld(call))) return Later(call, xa::Astray(xid));
        return Lost(call, "it is not prepared, and no row proves its commit; do its work by hand");
      }
      if (std::chrono::steady_clock::now() >= until) {
        return Later(call, listed == Listed::kYes
                               ? "the connection that prepared it is still open"
                               : "it is not prepared, or this user lacks XA_RECOVER_ADMIN");
      }
      std::this_thread::sleep_for(kPause);
    }
  }

  Result RollBack(const XaCall& call, const std::string& xid) {
    const char* const runs = "the action is still running, or its connection is still open";
    const auto until = std::chrono::steady_clock::now() + kPatience;
    bool ended = false;
    while (!(ended = TryEnd(call, xid)) && Look(xid) == Listed::kYes) {
      if (std::chrono::steady_clock::now() >= until) return Later(call, runs);
      std::this_thread::sleep_for(kPause);
    }
    std::string reason;
    try {
      reason = Forbid(call, xid);
    } catch (const SqlError& error) {
      if (error.Code() != (postgres_ ? "55P03" : "1205")) throw;
      return Later(call, ended && !postgres_ ? xa::Astray(xid) : runs);
    }
    if (reason == barrier::kRollback) return Result::Success();
    if (reason.empty()) return Later(call, "its row was deleted while it was read");
    return Lost(call, "the branch was committed before; undo its work by hand");
  }

  /// MySQL: does a transaction that is in no list hold the row of this call?
  bool IsHeld(const XaCall& call) {
    try {
      (void)Reason(call, SqlStage::kStatement, " FOR UPDATE");
      return false;
    } catch (const SqlError& error) {
      if (error.Code() == "1205") return true;
      throw;
    }
  }

  /// Keeps a late action from working; returns the reason of the row. Waits while an action is running, but not for long.
  std::string Forbid(const XaCall& call, const std::string& xid) {
    if (postgres_) Simple(call, SqlStage::kStatement, "BEGIN; SET LOCAL lock_timeout = '2s'");
    try {
      const bool inserted = Insert(call, barrier::kRollback);
      std::string reason = inserted ? barrier::kRollback : Reason(call);
      if (postgres_) CheckTag(call, Simple(call, SqlStage::kCommit, "COMMIT"));
      return reason;
    } catch (...) {
      if (postgres_) Undo(xid);
      throw;
    }
  }

  Result Later(const XaCall& call, const std::string& why) const {
    return Result::Error(Where(call) + why + "; the call may come again");
  }
  Result Lost(const XaCall& call, const std::string& what) const {
    return Result::Error(Where(call) + "LOST: " + what + ", then ForceStop the transaction");
  }
  /// PostgreSQL rolls a failed transaction back where it was to commit or to prepare it, and calls that no error.
  void CheckTag(const XaCall& call, const std::string& tag) const {
    if (tag != "ROLLBACK") return;
    throw SqlError(Where(call) + "the server rolled back instead; nothing was stored", "40000");
  }

  static constexpr const char kNumber[] = "01";
  static constexpr const char kCommitted[] = "action";

  SqlSession& session_;
  const bool postgres_;
  const std::string table_;
  const std::string quoted_;
  const Listing listing_;
};

}  // namespace v1
}  // namespace dtm
