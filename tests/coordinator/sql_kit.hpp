/// A bank on a real SQLite file, with a coordinator in virtual time: for tests of user SQL inside commits.
/// Needs: Catch2, the test kit, SQLite. Threads: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/temp_dir.hpp"
#include <dtm/dtm.hpp>
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/testing/test_coordinator.hpp>

namespace sql_kit {

/// Throws what SQLite says.
inline void Sql(sqlite3* db, const std::string& text) {
  char* message = nullptr;
  if (sqlite3_exec(db, text.c_str(), nullptr, nullptr, &message) == SQLITE_OK) return;
  const std::string said = message != nullptr ? message : "no message";
  sqlite3_free(message);
  throw std::runtime_error(said);
}

/// A program that does not look at what SQLite answers.
inline void Careless(sqlite3* db, const std::string& text) {
  sqlite3_exec(db, text.c_str(), nullptr, nullptr, nullptr);
}

/// Account n has 100 * n; `note` counts effects; `strict` refuses a second row of the same id.
inline void CreateTables(sqlite3* db) {
  Sql(db,
      "CREATE TABLE IF NOT EXISTS acc (id INTEGER PRIMARY KEY, n INTEGER NOT NULL CHECK (n >= 0));"
      "INSERT OR IGNORE INTO acc VALUES (1, 100), (2, 200);"
      "CREATE TABLE IF NOT EXISTS note (what TEXT NOT NULL);"
      "CREATE TABLE IF NOT EXISTS child (acc INTEGER REFERENCES acc DEFERRABLE INITIALLY DEFERRED);"
      "CREATE TABLE IF NOT EXISTS bomb (x INTEGER);"
      "CREATE TRIGGER IF NOT EXISTS explode AFTER INSERT ON bomb BEGIN "
      "SELECT RAISE(ROLLBACK, 'boom'); END;"
      "CREATE TABLE IF NOT EXISTS spy (x INTEGER);"
      "CREATE TRIGGER IF NOT EXISTS peek AFTER INSERT ON spy BEGIN DELETE FROM dtm_trans; END;"
      "CREATE VIEW IF NOT EXISTS window AS SELECT gid FROM dtm_trans;");
}

inline void Note(sqlite3* db, const std::string& what) {
  Sql(db, "INSERT INTO note VALUES ('" + what + "')");
}

/// What everybody else sees in the file.
inline std::int64_t Number(const std::string& path, const std::string& query) {
  dtm::sql::Database db(path, SQLITE_OPEN_READWRITE);
  sqlite3_busy_timeout(db.Handle(), 10000);  // the coordinator's thread may be writing or closing
  dtm::sql::Statement statement(db, query);
  if (!statement.Step()) throw std::runtime_error("no row: " + query);
  const std::int64_t number = statement.Int(0);
  statement.Reset();
  return number;
}

struct Disk {
  Disk() : path(dir / "bank.db") {}
  std::int64_t Notes(const std::string& what) const {
    return Number(path, "SELECT count(*) FROM note WHERE what = '" + what + "'");
  }
  std::int64_t Balance(int id) const {
    return Number(path, "SELECT n FROM acc WHERE id = " + std::to_string(id));
  }
  std::unique_ptr<dtm::SqliteStore> NewStore() const {
    return std::make_unique<dtm::SqliteStore>(path, dtm::Durability::kPower, CreateTables);
  }
  dtm_test::TempDir dir;
  const std::string path;
};

using Log = std::vector<std::string>;

inline dtm::Options Keeping(const std::shared_ptr<Log>& log, dtm::Options options) {
  options.log = [log](dtm::LogLevel, const std::string& text) { log->push_back(text); };
  return options;
}

struct Bank : Disk {
  using Setup = dtm::testing::TestCoordinator::Setup;
  explicit Bank(Setup setup = {}, dtm::Options options = {},
                std::function<void(sqlite3*)> on_open = CreateTables)
      : log(std::make_shared<Log>()),
        store(std::make_shared<dtm::SqliteStore>(path, dtm::Durability::kProcess,
                                                 std::move(on_open))),
        kit(std::move(setup), Keeping(log, std::move(options)), store) {}

  dtm::Coordinator& operator*() { return *kit; }
  dtm::Coordinator* operator->() { return &*kit; }

  /// "" = it worked, else what it threw.
  std::string Try(const std::function<void(dtm::Tx&)>& work) {
    try {
      kit->Transact(work);
      return {};
    } catch (const std::exception& error) {
      return error.what();
    } catch (...) {
      return "something else";
    }
  }
  /// "" if it is not stored.
  std::string Status(const std::string& gid) {
    const auto stored = store->Load(gid);
    return stored ? dtm::Name(stored->status) : "";
  }

  std::shared_ptr<Log> log;
  std::shared_ptr<dtm::SqliteStore> store;
  dtm::testing::TestCoordinator kit;
};

}  // namespace sql_kit
