/// Generated from include/dtm/barrier/mysql_barrier.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "sql_barrier.hpp"
#include "sql_table.hpp"
#include "../sql/mysql.hpp"

// ---- dtm/barrier/mysql_barrier.hpp -------------------------------------------------------------

/// The barrier of a branch service whose rows are in MariaDB or MySQL: each call takes effect once, in one commit with its
/// row.
/// Needs: libmariadb or libmysqlclient; InnoDB. Threads: a table by one thread at a time, as its connection.
/// Protocol: §11.5 (SQL barrier), §11.3 (the local step of a message).

#include <chrono>
#include <cstdint>
#include <string>

namespace dtm {
inline namespace v1 {

/// The barrier table as one connection sees it; see SqlBarrierTable for what is common to all servers. It prepares its
/// statements, so keep it as long as the connection, and destroy it before that is closed. On MariaDB a call costs one round
/// trip more than the bare transaction (a repeat two, and a compensation of what ran), on MySQL three or four.
///
/// The rows are those of dtm's clients in other languages, which may use the same table; Java's writes to `barrier` in the
/// current database. Business tables must be InnoDB. When deliveries of the same call meet and one rolls back, another may be
/// the victim of a deadlock: nothing is stored, and the coordinator calls again. In a Galera cluster all nodes serve as one: calls
/// that meet at different nodes meet at their commits, where one of them is such a victim after its business ran.
///
/// On MariaDB autocommit is 0 while the business of Call runs, and afterwards what it was; if the server refuses even the ROLLBACK (a
/// Galera node without majority), close the connection.
///
/// What a business on Galera must know: (1) MariaDB (10.11.19) may end the transaction and not say so while a SELECT is being
/// prepared, at the end of a SELECT that is sent as text, and between statements of one message. Call finds it out at the end (a LogicError),
/// what was written since is undone too, and the call comes again. In the program's own transaction (CallInTransaction) what is written next
/// commits by itself: begin it with SET autocommit = 0, or run a SELECT with MysqlSession or as a statement that was prepared before. (2) A node may not have yet
/// what another one has committed, and an UPDATE that finds no row is no conflict. Look at the number of rows, or set wsrep_sync_wait = 1
/// on the connection: then each call waits for what was committed before it began.
class MysqlBarrierTable {
 public:
  /// Asks the server for the collation of the table.
  /// @throws LogicError  the connection is null; this is no name of a table; or the columns of its key have a collation that
  ///                     takes different gids as one. The text has the ALTER TABLE to run.
  /// @throws SqlError    the server does not answer.
  explicit MysqlBarrierTable(MYSQL* connection, const std::string& table = barrier::kSqlTable)
      : session_(connection), table_(session_, table) {
    CheckCollation(table);
  }
  MysqlBarrierTable(const MysqlBarrierTable&) = delete;
  MysqlBarrierTable& operator=(const MysqlBarrierTable&) = delete;

  /// Runs `business(MYSQL*)`, which returns nothing (success) or a Result. @see SqlBarrierTable::Call
  template <typename Business>
  [[nodiscard]] Result Call(Barrier& barrier, const Business& business) {
    CheckBusiness<Business>();
    return table_.Call(barrier, [&] { return ResultOf(business, session_.Handle()); });
  }

  /// @see SqlBarrierTable::CallInTransaction
  template <typename Business>
  [[nodiscard]] Result CallInTransaction(Barrier& barrier, const Business& business) {
    CheckBusiness<Business>();
    return table_.CallInTransaction(barrier, [&] { return ResultOf(business, session_.Handle()); });
  }

  /// @see SqlBarrierTable::QueryPrepared
  [[nodiscard]] Result QueryPrepared(const Barrier& barrier) {
    return table_.QueryPrepared(barrier);
  }

 private:
  template <typename Business>
  static constexpr void CheckBusiness() {
    static_assert(callable::Check<Business, MYSQL*>(),
                  "dtm: the business of a barrier takes the connection: [&](MYSQL* db)");
  }

  void CheckCollation(const std::string& table) {
    const SqlAnswer other = session_.Run(
        "SELECT COLLATION_NAME FROM information_schema.COLUMNS WHERE " + sql::IsMysqlTable(table) +
            " AND COLUMN_NAME IN ('gid', 'branch_id', 'op', 'barrier_id') AND "
            "COLLATION_NAME NOT LIKE '%bin'",
        {});
    if (other.first_column.empty()) return;
    throw LogicError(
        "the barrier table '" + table + "' has the collation " + other.first_column.front() +
        ", for which gids that differ in case or accents are one, so calls would be taken for "
        "repeats of others; run ALTER TABLE " +
        sql::QuotedName(SqlDialect::kMysql, table, "a barrier table") +
        " CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin (clients in other languages go on "
        "with it)");
  }

  MysqlSession session_;
  SqlBarrierTable table_;
};

/// Creates the table unless it is there. @see CreateBarrierTable(SqlSession&, ...)
inline void CreateBarrierTable(MYSQL* connection, const std::string& table = barrier::kSqlTable) {
  MysqlSession session(connection);
  CreateBarrierTable(session, table);
}

/// Deletes up to `limit` rows older than `age`; call it until it returns 0. @see DeleteOldBarriers(SqlSession&, ...)
inline std::int64_t DeleteOldBarriers(MYSQL* connection, std::chrono::hours age,
                                      std::int64_t limit = 1000,
                                      const std::string& table = barrier::kSqlTable) {
  MysqlSession session(connection);
  return DeleteOldBarriers(session, age, limit, table);
}

}  // namespace v1
}  // namespace dtm
