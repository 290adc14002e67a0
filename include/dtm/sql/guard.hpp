/// Keeps SQL of the user, which runs inside a transaction of ours, from ending it or touching our tables.
/// Needs: SQLite through sql/sqlite.hpp. Threads: the connection's. Source: sqlite.org/c3ref/set_authorizer.html.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/core/text.hpp>
#include <dtm/sql/sqlite.hpp>

namespace dtm {
inline namespace v1 {
namespace sql {

/// Installed once, since installing it makes SQLite prepare all statements again; switched by On.
class Guard {
 public:
  /// `tables`: those that user SQL may neither read nor write. The database must outlive the guard.
  Guard(Database& database, std::vector<std::string> tables)
      : database_(database), tables_(std::move(tables)) {
    sqlite3_set_authorizer(database_.Handle(), &Guard::Judge, this);
  }
  ~Guard() { sqlite3_set_authorizer(database_.Handle(), nullptr, nullptr); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  /// While it lives, what is prepared is judged.
  class On {
   public:
    explicit On(Guard& guard) : guard_(guard) { guard_.on_ = true; }
    ~On() { guard_.on_ = false; }
    On(const On&) = delete;
    On& operator=(const On&) = delete;

   private:
    Guard& guard_;
  };

  /// For statements of our own inside of On: SQLite may prepare them again at any time, for one after the guard was
  /// installed or the schema changed.
  class Off {
   public:
    explicit Off(Guard& guard) : guard_(guard), was_(guard.on_) { guard_.on_ = false; }
    ~Off() { guard_.on_ = was_; }
    Off(const Off&) = delete;
    Off& operator=(const Off&) = delete;

   private:
    Guard& guard_;
    const bool was_;
  };

  /// Ends statements that were left in the middle: they would keep the transaction from committing.
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
    const Guard& guard = *static_cast<const Guard*>(self);
    if (!guard.on_) return SQLITE_OK;
    switch (action) {
      case SQLITE_TRANSACTION:
      case SQLITE_SAVEPOINT:
      case SQLITE_ATTACH:
      case SQLITE_DETACH:
      case SQLITE_PRAGMA: return SQLITE_DENY;
      default: return guard.Ours(first) || guard.Ours(second) ? SQLITE_DENY : SQLITE_OK;
    }
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
