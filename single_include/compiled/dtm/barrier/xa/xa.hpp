/// Generated from include/dtm/barrier/xa/xa.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "../../sql/session.hpp"
#include "../../sql/sql_errors.hpp"

// ---- dtm/barrier/xa/xa.hpp ---------------------------------------------------------------------

/// What the branch of an xa is called with, and what its transaction is named: the part without a database.
/// Needs: std. Threads: pure functions. Protocol: §4.4, §11.4 (the branch's side; client/xa.hpp is the initiator's).
///
/// The branch itself is in the file for your database: barrier/xa/postgres_xa.hpp, barrier/xa/mysql_xa.hpp.

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <utility>

namespace dtm {
inline namespace v1 {

/// One call of an xa branch.
struct XaCall {
  std::string gid;
  std::string branch_id;
  Op op = Op::kAction;  ///< kAction, kCommit or kRollback
  std::string
      phase2_url;  ///< of an action: where the coordinator is to call with commit or rollback
  std::string coordinator;  ///< its URL, for a RemoteCoordinator; empty: not told

  /// For sentences: xa gid 'g', branch 01, op action.
  std::string Who() const {
    return "xa gid '" + gid + "', branch " + branch_id + ", op " + Name(op);
  }
};

/// From the decoded query parameters of the call: those of BarrierFromQuery; phase2_url and dtm.
/// @throws Error  one is missing or not valid, or this is no call of an xa.
inline XaCall XaFromQuery(const std::multimap<std::string, std::string>& query) {
  const Barrier barrier = BarrierFromQuery(query);
  const auto value = [&query](const char* name) {
    const auto found = query.find(name);
    return found == query.end() ? std::string() : found->second;
  };
  XaCall call{barrier.Gid(), barrier.BranchId(), Op::kAction, value("phase2_url"), value("dtm")};
  for (const Op op : {Op::kAction, Op::kCommit, Op::kRollback}) {
    if (barrier.Type() != Name(TransType::kXa) || barrier.Op() != Name(op)) continue;
    if (op == Op::kAction && call.phase2_url.empty()) {
      throw Error("the call of " + barrier.Who() +
                  " has no phase2_url, so the branch cannot register itself; the initiator of an "
                  "xa adds it to the query");
    }
    call.op = op;
    return call;
  }
  throw Error("this is no call of an xa branch: " + barrier.Who() +
              "; the branch of an xa is called with op action, commit and rollback");
}

/// For a registered C++ function. `phase2_url`: coordinator.UrlOfLocal(branch.name, branch.registered_with).
inline XaCall XaFrom(const BranchInfo& info, std::string phase2_url) {
  return {info.gid, info.branch_id, info.op, std::move(phase2_url), {}};
}

namespace xa {

/// The name of the branch's transaction in its database, which is the one that dtm's Go client gives it.
/// @throws RejectedError  the database cannot use it.
inline std::string Xid(SqlDialect dialect, const XaCall& call) {
  const bool postgres = dialect == SqlDialect::kPostgres;
  const std::size_t limit = postgres ? 199 : 64;
  const auto refuse = [&](const std::string& why) {
    return RejectedError(Printable(call.Who()) +
                         ": its transaction would be named gid-branch_id, " + why +
                         "; use another gid, for example of NewGid");
  };
  std::string xid = call.gid + '-' + call.branch_id;
  if (call.gid.empty() || call.branch_id.empty()) throw refuse("and one of them is missing");
  if (xid.size() > limit) {
    throw refuse("which has " + std::to_string(xid.size()) + " bytes, and " +
                 (postgres ? "PostgreSQL" : "MySQL") + " takes at most " + std::to_string(limit));
  }
  for (const char c : xid) {
    if (c < ' ' || c > '~' || c == '\'' || c == '"' || c == '`' || c == '\\') {
      throw refuse("which has a quote, a backslash or a character that is not of ASCII");
    }
  }
  return xid;
}

/// The server knows no prepared transaction of this name; or will not tell (MariaDB, while the connection that prepared it is
/// open).
inline bool IsUnknownXid(SqlDialect dialect, const std::string& code) {
  return code == (dialect == SqlDialect::kPostgres ? "42704" : "1397");
}
/// MySQL: it has rolled the transaction back itself.
inline bool IsRolledBack(const std::string& code) {
  return code == "1402" || code == "1613" || code == "1614";
}

/// MariaDB says OK to XA COMMIT and XA ROLLBACK, and does nothing, if they come while it closes the connection that prepared.
/// Then the transaction is in no list and keeps its locks, until a restart finds it again.
inline std::string Astray(const std::string& xid) {
  return "the server said that '" + xid +
         "' has ended, and has not ended it. If that stays so, restart MariaDB: it lost the "
         "prepared transaction out of sight while it closed a connection, and finds it then";
}

/// What the business did wrong if its transaction cannot be ended for this reason; else empty.
inline std::string BusinessMisuse(const std::string& code) {
  // no such savepoint, no transaction: PostgreSQL; not in this state, unknown: MySQL
  if (code != "3B001" && code != "25P01" && code != "1399" && code != "1397") {
    return sql::BusinessMisuse(code);
  }
  return "its transaction was ended inside the business; leave COMMIT and ROLLBACK to the branch. "
         "What was written since is not covered";
}

/// For SQL. @throws LogicError  it is negative.
inline std::string Seconds(std::chrono::seconds age) {
  if (age.count() >= 0) return std::to_string(age.count());
  throw LogicError("transactions cannot be prepared for " + std::to_string(age.count()) + " s");
}

/// What to do about an error, as the end of a sentence.
inline std::string Advice(SqlDialect dialect, const std::string& code, SqlStage stage) {
  if (dialect == SqlDialect::kPostgres) {
    if (code == "55000" && stage == SqlStage::kCommit) {
      return "; nothing was stored. If prepared transactions are disabled, set "
             "max_prepared_transactions (0 by default) to at least max_connections and start the "
             "server again; if the transaction is busy, the call may come again";
    }
    if (code == "0A000") {
      return "; nothing was stored. A transaction that is prepared must not have used temporary "
             "tables, LISTEN or NOTIFY or cursors WITH HOLD, and is committed in its own database";
    }
    if (code == "26000" || code == "42P05") {
      return "; nothing was stored. A pooler in transaction mode cannot be used for xa: connect to "
             "the server itself";
    }
  } else if (code == "1235") {
    return "; nothing was stored. A Galera cluster has no XA: use a saga, tcc or message with "
           "barriers";
  }
  return SqlAdvice(dialect, code, stage);
}

/// As ThrowWhere for barriers.
[[noreturn]] inline void ThrowWhere(const std::string& where, SqlDialect dialect,
                                    const SqlError& error, SqlStage stage) {
  const std::string text = where + error.what() + Advice(dialect, error.Code(), stage);
  if (FaultOf(dialect, error.Code(), stage) == SqlFault::kInDoubt) throw InDoubtError(text);
  throw SqlError(text, error.Code());
}

}  // namespace xa

}  // namespace v1
}  // namespace dtm
