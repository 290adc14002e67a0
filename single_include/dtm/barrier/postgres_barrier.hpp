/// Generated from include/dtm/barrier/postgres_barrier.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "sql_barrier.hpp"
#include "../sql/postgres.hpp"

// ---- dtm/barrier/postgres_barrier.hpp ----------------------------------------------------------

/// The barrier of a branch service whose rows are in PostgreSQL: each call takes effect once, in one commit with its row.
/// Needs: libpq; PostgreSQL 9.5 or newer, or what speaks its protocol. Threads: a table by one thread at a time, as its
/// connection.
/// Protocol: §11.5 (SQL barrier), §11.3 (the local step of a message).

#include <chrono>
#include <cstdint>
#include <string>

namespace dtm {
inline namespace v1 {

/// The barrier table as one connection of libpq sees it; see SqlBarrierTable for what is common to all servers. Its
/// statements stay prepared in the connection, so any number of tables may be made on it, at the cost of one round trip
/// more for the first call of each. A call costs four round trips, of which one is the COMMIT.
///
/// The rows are those of dtm's clients in other languages, which may use the same table. A table of theirs serves as well.
/// Under REPEATABLE READ or SERIALIZABLE two deliveries at once may end with a serialization failure, after which the
/// coordinator calls again.
class PgBarrierTable {
 public:
  /// Does not ask the server; the connection must outlive it.
  /// @throws LogicError  the connection is null, or this is no name of a table.
  explicit PgBarrierTable(PGconn* connection, const std::string& table = barrier::kSqlTable)
      : session_(connection), table_(session_, table) {}
  PgBarrierTable(const PgBarrierTable&) = delete;
  PgBarrierTable& operator=(const PgBarrierTable&) = delete;

  /// Runs `business(PGconn*)`, which returns nothing (success) or a Result. @see SqlBarrierTable::Call
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
    static_assert(callable::Check<Business, PGconn*>(),
                  "dtm: the business of a barrier takes the connection: [&](PGconn* db)");
  }

  PgSession session_;
  SqlBarrierTable table_;
};

/// Creates the table unless it is there. @see CreateBarrierTable(SqlSession&, ...)
inline void CreateBarrierTable(PGconn* connection, const std::string& table = barrier::kSqlTable) {
  PgSession session(connection);
  CreateBarrierTable(session, table);
}

/// Deletes up to `limit` rows older than `age`; call it until it returns 0. @see DeleteOldBarriers(SqlSession&, ...)
inline std::int64_t DeleteOldBarriers(PGconn* connection, std::chrono::hours age,
                                      std::int64_t limit = 1000,
                                      const std::string& table = barrier::kSqlTable) {
  PgSession session(connection);
  return DeleteOldBarriers(session, age, limit, table);
}

}  // namespace v1
}  // namespace dtm
