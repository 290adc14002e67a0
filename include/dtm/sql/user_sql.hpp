/// Keeps user SQL, which runs inside our transaction, from ending it or touching our tables.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: the connection's. Source: sqlite.org/c3ref/set_authorizer.html.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/base/text.hpp>
#include <dtm/sql/sqlite_connection.hpp>

namespace dtm {
inline namespace v1 {
namespace sql {

/// Installed once, since that makes SQLite prepare all statements again; On switches it.
class UserSqlRules {
 public:
  /// `tables`: those that user SQL may neither read nor write. The database must outlive the rules.
  UserSqlRules(Database& database, std::vector<std::string> tables)
      : database_(database), tables_(std::move(tables)) {
    sqlite3_set_authorizer(database_.Handle(), &UserSqlRules::Judge, this);
    sqlite3_commit_hook(database_.Handle(), &UserSqlRules::RefuseCommit, this);
  }
  ~UserSqlRules() {
    sqlite3_set_authorizer(database_.Handle(), nullptr, nullptr);
    sqlite3_commit_hook(database_.Handle(), nullptr, nullptr);
  }
  UserSqlRules(const UserSqlRules&) = delete;
  UserSqlRules& operator=(const UserSqlRules&) = delete;

  /// While it lives, each statement is checked when it is prepared, and commits are refused: if a statement has rolled the
  /// transaction back, each one after it would commit on its own.
  class On {
   public:
    explicit On(UserSqlRules& rules) : rules_(rules) { rules_.on_ = true; }
    ~On() { rules_.on_ = false; }
    On(const On&) = delete;
    On& operator=(const On&) = delete;

   private:
    UserSqlRules& rules_;
  };

  /// For our own statements meanwhile: SQLite may prepare one again after the user has changed the schema.
  class Off {
   public:
    explicit Off(UserSqlRules& rules) : rules_(rules), was_on_(rules.on_) { rules_.on_ = false; }
    ~Off() { rules_.on_ = was_on_; }
    Off(const Off&) = delete;
    Off& operator=(const Off&) = delete;

   private:
    UserSqlRules& rules_;
    const bool was_on_;
  };

  /// Resets statements that were not finished: they would keep the transaction from committing.
  void ResetStatements() const {
    sqlite3* db = database_.Handle();
    for (sqlite3_stmt* at = sqlite3_next_stmt(db, nullptr); at != nullptr;
         at = sqlite3_next_stmt(db, at)) {
      if (sqlite3_stmt_busy(at) != 0) sqlite3_reset(at);
    }
  }

  /// Violations of deferred foreign keys that would make the COMMIT fail.
  bool ForeignKeysPending() const {
    int pending = 0, highest = 0;
    sqlite3_db_status(database_.Handle(), SQLITE_DBSTATUS_DEFERRED_FKS, &pending, &highest, 0);
    return pending != 0;
  }

 private:
  static int Judge(void* self, int action, const char* first, const char* second, const char*,
                   const char*) {
    const UserSqlRules& rules = *static_cast<const UserSqlRules*>(self);
    if (!rules.on_) return SQLITE_OK;
    switch (action) {
      case SQLITE_TRANSACTION:
      case SQLITE_SAVEPOINT:
      case SQLITE_ATTACH:
      case SQLITE_DETACH: return SQLITE_DENY;
      case SQLITE_PRAGMA: return Harmless(first, second) ? SQLITE_OK : SQLITE_DENY;
      default: return rules.Ours(first) || rules.Ours(second) ? SQLITE_DENY : SQLITE_OK;
    }
  }

  static int RefuseCommit(void* self) {
    return static_cast<const UserSqlRules*>(self)->on_ ? 1 : 0;
  }

  /// What full-text tables ask on their own.
  static bool Harmless(const char* pragma, const char* value) {
    if (pragma == nullptr || value != nullptr) return false;
    const std::string lower = Lowered(pragma);
    return lower == "data_version" || lower == "page_size";
  }

  bool Ours(const char* name) const {
    if (name == nullptr) return false;
    const std::string lower = Lowered(name);
    for (const std::string& table : tables_) {
      if (lower == table) return true;
    }
    return false;
  }

  Database& database_;
  const std::vector<std::string> tables_;
  bool on_ = false;
};

}  // namespace sql
}  // namespace v1
}  // namespace dtm
