/// Generated from include/dtm/sql/session.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"

// ---- dtm/sql/session.hpp -----------------------------------------------------------------------

/// A connection to an SQL server as the barriers see it: the seam between their algorithms and the client library.
/// Needs: std. Threads: a session by one thread at a time.
///
/// sql/postgres.hpp and sql/mysql.hpp have sessions for libpq and for libmariadb / libmysqlclient. A program that uses
/// another library writes one itself, of three methods: examples/barrier_libpqxx.cpp, examples/barrier_soci.cpp.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

/// Which server speaks.
enum class SqlDialect {
  kPostgres,  ///< placeholders $1, $2, ...
  kMysql      ///< MySQL and MariaDB; placeholders ?
};

/// The state of a connection's transaction.
enum class SqlTransaction {
  kNone,  ///< there is none: a statement commits by itself
  kOpen,
  kFailed  ///< PostgreSQL: a statement failed, and only ROLLBACK is accepted
};

/// What a statement did.
struct SqlAnswer {
  std::int64_t affected = 0;  ///< rows inserted, changed or deleted
  std::vector<std::string>
      first_column;  ///< of the rows that came back, in their order; NULL is ""
};

/// A statement failed.
class SqlError : public StoreError {
 public:
  /// `code`: PostgreSQL's SQLSTATE ("40001"), the error number of MySQL ("1213"), or "" if the server sent none: the
  /// connection broke. If the library has something else there, that is the same as "".
  SqlError(const std::string& text, std::string code) : StoreError(text), code_(std::move(code)) {}
  /// The server's code: a SQLSTATE of PostgreSQL, a number of MySQL; empty: not of the server.
  const std::string& Code() const { return code_; }

 private:
  std::string code_;
};

/// One connection. It is the program's: its settings are left as they are.
class SqlSession {
 public:
  virtual ~SqlSession() = default;

  /// Whose SQL it speaks.
  virtual SqlDialect Dialect() const = 0;

  /// Asks the server (PostgreSQL 9.6 or newer) in two round trips; to be overridden if the library knows without.
  /// @throws as Run
  virtual SqlTransaction Transaction();

  /// True: the server is MariaDB 10.5 or newer, which takes several statements as one (BEGIN NOT ATOMIC ... END) and says which
  /// rows an INSERT added. Barriers then need fewer round trips, and on a Galera cluster they undo what a business writes after another node
  /// ended its transaction in silence. Does not ask the server.
  virtual bool IsMariadb() const { return false; }

  /// Runs one statement with these parameters, as text; the implementation may keep it prepared. With kMysql the statement
  /// has a ? for each parameter, in their order, and no other; with kPostgres $1, $2, ..., which may repeat.
  /// @throws SqlError  the server refused it, or the connection broke.
  virtual SqlAnswer Run(const std::string& sql,
                        const std::vector<std::string_view>& parameters) = 0;

  /// Runs one or, with PostgreSQL, several statements without parameters, in one message. The answer is the command tag of
  /// the last one ("COMMIT"; PostgreSQL replies "ROLLBACK" to the COMMIT of a failed transaction), or "" if the library
  /// does not tell.
  /// @throws as Run
  virtual std::string Simple(const char* sql) = 0;
};

inline SqlTransaction SqlSession::Transaction() {
  if (Dialect() == SqlDialect::kPostgres) {
    try {  // a setting for the rest of the transaction outlives its statement only if there is one
      Run("SELECT set_config('dtm.transaction', 'open', true)", {});
      const SqlAnswer found = Run("SELECT current_setting('dtm.transaction', true)", {});
      return found.first_column == std::vector<std::string>{"open"} ? SqlTransaction::kOpen
                                                                    : SqlTransaction::kNone;
    } catch (const SqlError& error) {
      if (error.Code() != "25P02") throw;  // in_failed_sql_transaction
      return SqlTransaction::kFailed;
    }
  }
  Simple("SAVEPOINT dtm_session");
  try {  // without a transaction it is gone at once
    Simple("RELEASE SAVEPOINT dtm_session");
    return SqlTransaction::kOpen;
  } catch (const SqlError& error) {
    if (error.Code() != "1305") throw;  // no such savepoint
    return SqlTransaction::kNone;
  }
}

namespace sql {

/// Runs a statement that undoes something; false: it failed, also when it was repeated. The first time it may not have been sent, since
/// rows were not read (libmariadb), or somebody interrupted it.
inline bool Undone(SqlSession& session, const char* sql) noexcept {
  for (int tries = 0; tries < 2; ++tries) {
    try {
      session.Simple(sql);
      return true;
    } catch (...) {  // NOLINT(bugprone-empty-catch)
    }
  }
  return false;
}

/// As far as possible: without a connection the server does it by itself.
inline void RollBack(SqlSession& session) noexcept {
  try {
    // MySQL: what the client knows of the transaction is from before the statement that failed.
    if (session.Dialect() == SqlDialect::kMysql || session.Transaction() != SqlTransaction::kNone) {
      Undone(session, "ROLLBACK");
    }
  } catch (...) {  // NOLINT(bugprone-empty-catch)
  }
}

}  // namespace sql

}  // namespace v1
}  // namespace dtm
