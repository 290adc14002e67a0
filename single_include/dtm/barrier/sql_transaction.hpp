/// Generated from include/dtm/barrier/sql_transaction.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "../sql/session.hpp"
#include "../sql/sql_errors.hpp"

// ---- dtm/barrier/sql_transaction.hpp -----------------------------------------------------------

/// How a barrier begins and ends a transaction of its own: the statements, which are not the same for all servers.
/// Needs: std. Threads: by one thread at a time, as the session that it uses.

#include <string>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace barrier {

/// A transaction with a savepoint, which tells at the end if it is still the same one. On MariaDB one message begins it and one ends
/// it, and autocommit is 0 meanwhile: if the server ends the transaction and the business goes on (on a Galera cluster it is
/// not always told), what it writes is in a new one, which RollBack undoes. The connection's own setting comes back at the end;
/// until then it is in the user variable @dtm_autocommit.
class SqlOwnTransaction {
 public:
  struct Step {
    std::string sql;
    SqlStage stage;
  };

  /// `session` must outlive it.
  explicit SqlOwnTransaction(SqlSession& session)
      : session_(session),
        postgres_(session.Dialect() == SqlDialect::kPostgres),
        mariadb_(session.IsMariadb()) {}

  /// The server is MariaDB, and takes several statements as one; Begin finds out if it does not.
  bool Mariadb() const { return mariadb_; }

  /// @throws SqlError  RollBack is to be called: part of it may have been done.
  void Begin(const std::string& savepoint) {
    const std::string set = "SAVEPOINT " + savepoint;
    if (postgres_) {
      session_.Simple(("BEGIN; " + set).c_str());
      return;
    }
    if (mariadb_) {
      try {
        session_.Simple(AtOnce("SET @dtm_autocommit = COALESCE(@dtm_autocommit, @@autocommit); "
                               "SET autocommit = 0; START TRANSACTION; " +
                               set)
                            .c_str());
        return;
      } catch (const SqlError& error) {
        if (error.Code() != "1064") throw;  // it has another syntax
        mariadb_ = false;
      }
    }
    session_.Simple("START TRANSACTION");
    session_.Simple(set.c_str());
  }

  /// What commits it, in this order. A step that fails with the name of the savepoint: the transaction was ended before.
  std::vector<Step> Ending(const std::string& savepoint) const {
    const std::string release = "RELEASE SAVEPOINT " + savepoint;
    if (postgres_) return {{release + "; COMMIT", SqlStage::kCommit}};
    if (mariadb_) {
      return {{AtOnce(release + "; COMMIT; " + kAsBefore), SqlStage::kCommit}};
    }
    return {{release, SqlStage::kStatement}, {"COMMIT", SqlStage::kCommit}};
  }

  /// As far as possible: without a connection the server does it by itself.
  void RollBack() noexcept {
    if (!mariadb_) return sql::RollBack(session_);
    try {
      sql::Undone(session_, AtOnce(std::string("ROLLBACK; ") + kAsBefore).c_str());
    } catch (...) {  // NOLINT(bugprone-empty-catch)
    }
  }

 private:
  // Not before the transaction has ended: it would commit. COALESCE: somebody reset the connection, and with it both.
  static constexpr const char* kAsBefore =
      "SET autocommit = COALESCE(@dtm_autocommit, @@autocommit); SET @dtm_autocommit = NULL";

  /// MariaDB: as one statement, which ends where one of them fails.
  static std::string AtOnce(const std::string& statements) {
    return "BEGIN NOT ATOMIC " + statements + "; END";
  }

  SqlSession& session_;
  const bool postgres_;
  bool mariadb_;
};

}  // namespace barrier
}  // namespace v1
}  // namespace dtm
