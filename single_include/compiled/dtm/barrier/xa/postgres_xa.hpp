/// Generated from include/dtm/barrier/xa/postgres_xa.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "sql_xa.hpp"
#include "../../sql/postgres.hpp"

// ---- dtm/barrier/xa/postgres_xa.hpp ------------------------------------------------------------

/// The branch of an xa on PostgreSQL: PREPARE TRANSACTION, then COMMIT PREPARED or ROLLBACK PREPARED.
/// Needs: libpq; PostgreSQL 9.5 or newer with max_prepared_transactions (0 by default) of at least max_connections.
/// Threads: a branch by one thread at a time, as its connection. Protocol: §4.4, §11.4 (the branch's side).

#include <chrono>
#include <string>
#include <vector>

namespace dtm {
inline namespace v1 {

/// A branch on one connection of libpq, which serves for any number of calls; see SqlXaBranch for what is common to all
/// servers. The rows are those of dtm's Go client, which may serve the other phase.
class PgXaBranch {
 public:
  /// Does not ask the server; the connection must outlive it.
  /// @throws LogicError  the connection is null, or this is no name of a table.
  explicit PgXaBranch(PGconn* connection, const std::string& table = barrier::kSqlTable)
      : session_(connection), branch_(session_, table) {}
  PgXaBranch(const PgXaBranch&) = delete;
  PgXaBranch& operator=(const PgXaBranch&) = delete;

  /// Answers a call. `business(PGconn*)` returns nothing (success) or a Result; it must not use COMMIT or ROLLBACK.
  /// @see SqlXaBranch::Handle
  /// @throws LogicError  also: a pooler such as PgBouncer is between here and the server. In transaction mode it cannot be used,
  ///                     and which mode it has cannot be seen from here.
  template <typename Business>
  [[nodiscard]] Result Handle(const XaCall& call, Endpoint& coordinator, const Business& business) {
    static_assert(callable::Check<Business, PGconn*>(),
                  "dtm: the business of an xa branch takes the connection: [&](PGconn* db)");
    return branch_.Handle(call, coordinator, [&] {
      CheckNoPooler(call);
      return ResultOf(business, session_.Handle());
    });
  }

 private:
  void CheckNoPooler(const XaCall& call) {
    const SqlAnswer backend = session_.Run("SELECT pg_backend_pid()", {});
    const std::string known = std::to_string(PQbackendPID(session_.Handle()));
    if (backend.first_column == std::vector<std::string>{known}) return;
    throw LogicError(call.Who() +
                     ": the connection to PostgreSQL goes through a pooler (PgBouncer or the "
                     "like); connect to the server itself for xa. Nothing was stored");
  }

  PgSession session_;
  SqlXaBranch branch_;
};

/// Transactions of the form gid-branch in this database that have been prepared for longer than `age`: their locks are held
/// until somebody ends them. For people; the coordinator ends those of transactions that it knows.
/// @throws SqlError    the server refused it.
/// @throws LogicError  the connection is null, or the age is negative.
inline std::vector<std::string> OldPrepared(PGconn* connection, std::chrono::seconds age) {
  PgSession session(connection);
  return session
      .Run(
          "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND gid ~ "
          "'^.+-[0-9]+$' AND prepared < now() - make_interval(secs => "
          "$1::double precision) ORDER BY prepared",
          {xa::Seconds(age)})
      .first_column;
}

}  // namespace v1
}  // namespace dtm
