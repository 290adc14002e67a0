/// Creates the barrier table in SQLite.
/// Needs: SQLite 3.35 or newer. Threads: thread-safe. Protocol: §11.5 (SQL barrier).
#pragma once

#include <string>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/sql/exclusive.hpp>
#include <dtm/sql/sqlite_connection.hpp>

namespace dtm {
inline namespace v1 {

namespace barrier {

/// The name of the table in SQL. It is in the main file: only one file commits as one.
/// @throws LogicError  it is no such name.
inline std::string Quoted(const std::string& table) {
  bool plain = !table.empty() && table.size() <= 64;
  for (const char c : table) {
    plain = plain && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_');
  }
  if (!plain) {
    throw LogicError(
        "'" + Printable(table) +
        "' is no name for a barrier table; use up to 64 letters, digits and _, without "
        "a schema (the table is in the main file of the connection)");
  }
  return "main.\"" + table + "\"";
}

/// @throws LogicError  it is null.
inline sqlite3* NotNull(sqlite3* db) {
  if (db == nullptr)
    throw LogicError("the connection for the barrier table is null; open it first");
  return db;
}

}  // namespace barrier

/// Creates the table, with the same columns as dtm's, unless there is one with this name. `table`: up to
/// 64 letters, digits and _. (id stays NULL: as a key it would cost one more page write for each call. A
/// table in which it is a key works too. Rows are never updated, so update_time is NULL.)
/// A row may be deleted once no more calls with its gid can come; create_time (UTC) is for that.
/// @throws StoreError  the file cannot be written; nothing was changed.
inline void CreateBarrierTable(sqlite3* db, const std::string& table = "barrier") {
  const sql::Exclusive exclusive(barrier::NotNull(db));
  sql::Database database(db);
  database.Exec(("CREATE TABLE IF NOT EXISTS " + barrier::Quoted(table) + R"sql( (
  id INTEGER,
  trans_type TEXT NOT NULL,
  gid TEXT NOT NULL,
  branch_id TEXT NOT NULL,
  op TEXT NOT NULL,
  barrier_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  create_time TEXT DEFAULT CURRENT_TIMESTAMP,
  update_time TEXT,
  PRIMARY KEY (gid, branch_id, op, barrier_id)
) WITHOUT ROWID)sql")
                    .c_str());
}

}  // namespace v1
}  // namespace dtm
