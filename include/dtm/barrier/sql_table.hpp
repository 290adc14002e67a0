/// The table of barriers in an SQL database: its name, and how old rows are deleted.
/// Needs: std. Threads: as the session.
/// Protocol: §11.5 (SQL barrier).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include <dtm/base/error.hpp>
#include <dtm/sql/session.hpp>
#include <dtm/sql/sql_errors.hpp>
#include <dtm/sql/sql_name.hpp>

namespace dtm {
inline namespace v1 {

namespace barrier {

inline constexpr const char kSqlTable[] = "dtm_barrier.barrier";  // as dtm's clients name it

/// Inserts a row (trans_type, gid, branch_id, op, barrier_id, reason) unless there is one with its key.
inline std::string InsertSql(SqlDialect dialect, const std::string& quoted) {
  const std::string columns =
      quoted + " (trans_type, gid, branch_id, op, barrier_id, reason) VALUES ";
  return dialect == SqlDialect::kPostgres
             ? "INSERT INTO " + columns +
                   "($1, $2, $3, $4, $5, $6) ON CONFLICT (gid, branch_id, op, barrier_id) DO "
                   "NOTHING RETURNING op"
             : "INSERT IGNORE INTO " + columns + "(?, ?, ?, ?, ?, ?)";
}

/// PostgreSQL: two rows of one call, the op of parameter 4 first and then that of parameter 7, always in this order: so two
/// deliveries take their locks in the same order. The ops of those that are new come back.
inline std::string InsertTwoSql(const std::string& quoted) {
  return "INSERT INTO " + quoted +
         " (trans_type, gid, branch_id, op, barrier_id, reason) VALUES ($1, $2, $3, $4, $5, $6), "
         "($1, $2, $3, $7, $5, $6) ON CONFLICT (gid, branch_id, op, barrier_id) DO NOTHING "
         "RETURNING op";
}

/// Which row: gid, branch_id, op, barrier_id.
inline std::string WhereKey(SqlDialect dialect) {
  return dialect == SqlDialect::kPostgres
             ? " WHERE gid = $1 AND branch_id = $2 AND op = $3 AND barrier_id = $4"
             : " WHERE gid = ? AND branch_id = ? AND op = ? AND barrier_id = ?";
}

}  // namespace barrier

/// Deletes up to `limit` rows (1 to 100 000) that are older than `age` (at least 24 hours), in a transaction of its own.
/// Returns how many; call it until it returns 0. A row must stay for longer than the longest time that its transaction
/// may be unfinished: an action that comes after it was deleted runs again. Rows without create_time (of a table that dtm's
/// own script made for PostgreSQL) stay.
/// @throws InDoubtError  the connection broke at COMMIT: all of these rows are deleted, or none.
/// @throws SqlError      none was deleted.
/// @throws LogicError    a value is out of its range, or the connection is in a transaction.
inline std::int64_t DeleteOldBarriers(SqlSession& session, std::chrono::hours age,
                                      std::int64_t limit = 1000,
                                      const std::string& table = barrier::kSqlTable) {
  const std::string quoted = sql::QuotedName(session.Dialect(), table, "a barrier table");
  if (age < std::chrono::hours(24) || age > std::chrono::hours(24 * 36500)) {
    throw LogicError(
        "rows of barriers may be deleted when they are 24 hours to 100 years old, not " +
        std::to_string(age.count()) + " hours; a late call must still find its row");
  }
  if (limit < 1 || limit > 100000) {
    throw LogicError("delete 1 to 100000 rows at a time, not " + std::to_string(limit));
  }
  if (session.Transaction() != SqlTransaction::kNone) {
    throw LogicError("the connection is in a transaction; end it before old rows are deleted");
  }
  const bool postgres = session.Dialect() == SqlDialect::kPostgres;
  const std::string count = std::to_string(limit);
  const std::string seconds = std::to_string(std::chrono::seconds(age).count());
  // Ids ascend with time, and PostgreSQL has no index on create_time.
  const std::string sql = postgres
                              ? "DELETE FROM " + quoted + " WHERE id IN (SELECT id FROM " + quoted +
                                    " WHERE create_time < now() - make_interval(secs => " +
                                    seconds + ") ORDER BY id LIMIT " + count + ")"
                              : "DELETE FROM " + quoted + " WHERE create_time < NOW() - INTERVAL " +
                                    seconds + " SECOND ORDER BY create_time LIMIT " + count;
  SqlStage stage = SqlStage::kStatement;
  try {
    session.Simple(postgres ? "BEGIN" : "START TRANSACTION");
    const std::int64_t deleted = session.Run(sql, {}).affected;
    stage = SqlStage::kCommit;
    session.Simple("COMMIT");
    return deleted;
  } catch (const SqlError& error) {
    try {
      if (session.Transaction() != SqlTransaction::kNone) session.Simple("ROLLBACK");
    } catch (const SqlError&) {  // the server does it when it finds the connection broken
    }
    ThrowWhere("old rows of the barrier table '" + table + "': ", session.Dialect(), error, stage);
  }
}

}  // namespace v1
}  // namespace dtm
