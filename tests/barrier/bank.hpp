/// A SQLite file with accounts and a barrier table, seen by as many connections as a test opens.
/// Needs: SQLite through <dtm/sql/sqlite_connection.hpp>. Threads: each Bank by one thread.
#pragma once

#include <cstdint>
#include <string>

#include <dtm/barrier/sqlite_barrier.hpp>
#include <dtm/sql/sqlite_connection.hpp>

namespace dtm_test {

/// A connection. Two accounts, "a" and "b", with 100 each when the file is new.
class Bank {
 public:
  explicit Bank(const std::string& path, const char* journal = "WAL", int busy_ms = 0)
      : db(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) {
    sqlite3_busy_timeout(db.Handle(), 5000);
    dtm::sql::Statement mode(db, std::string("PRAGMA journal_mode = ") + journal);
    (void)mode.Step();
    mode.Reset();
    db.Exec(
        "BEGIN IMMEDIATE;"
        "CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, balance INTEGER);"
        "INSERT OR IGNORE INTO account VALUES ('a', 100), ('b', 100);"
        "COMMIT");
    dtm::CreateBarrierTable(db.Handle());
    sqlite3_busy_timeout(db.Handle(), busy_ms);
  }

  std::int64_t Number(const std::string& select) {
    dtm::sql::Statement read(db, select);
    const std::int64_t number = read.Step() ? read.Int(0) : -1;
    read.Reset();
    return number;
  }
  std::int64_t Balance(const std::string& name = "a") {
    return Number("SELECT balance FROM account WHERE name = '" + name + "'");
  }
  /// The rows of the barrier table, sorted: "op/barrier_id/reason ...".
  std::string Rows(const std::string& gid = "g", const std::string& table = "barrier") {
    dtm::sql::Statement read(db, "SELECT op, barrier_id, reason FROM " + table +
                                     " WHERE gid = ?1 ORDER BY op, branch_id, barrier_id");
    read.BindText(1, gid);
    std::string rows;
    while (read.Step()) {
      rows += (rows.empty() ? "" : " ") + read.Text(0) + "/" + read.Text(1) + "/" + read.Text(2);
    }
    return rows;
  }

  dtm::sql::Database db;
};

inline void Exec(sqlite3* db, const char* text) { dtm::sql::Database(db).Exec(text); }

/// Takes 30 from "a".
inline void Debit(sqlite3* db) {
  Exec(db, "UPDATE account SET balance = balance - 30 WHERE name = 'a'");
}
/// Gives 30 to "a".
inline void Credit(sqlite3* db) {
  Exec(db, "UPDATE account SET balance = balance + 30 WHERE name = 'a'");
}

inline dtm::Barrier SagaBranch(const std::string& op, const std::string& branch = "01") {
  return dtm::Barrier("saga", "g", branch, op);
}
inline dtm::Barrier Tcc(const std::string& op, const std::string& branch = "01") {
  return dtm::Barrier("tcc", "g", branch, op);
}
inline dtm::Barrier Msg() { return dtm::Barrier("msg", "g", "00", "msg"); }

}  // namespace dtm_test
