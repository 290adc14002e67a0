/// The schema of the SQLite store: its versions, the migration of older ones, and the settings of the two
/// connections.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: the owner's. Document: docs/store_format.md.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/version.hpp>
#include <dtm/sql/sqlite_connection.hpp>

namespace dtm {
inline namespace v1 {
namespace sqlite_schema {

/// Counted up with every change of the tables or of the codec. Kept in dtm_meta, not in
/// user_version, which belongs to the program whose file this may also be.
inline constexpr int kVersion = 6;

/// The steps from version n to n + 1, in order. Never change one that was released.
inline constexpr const char* kMigrations[kVersion] = {
    R"sql(
CREATE TABLE dtm_trans (
  id INTEGER PRIMARY KEY,
  gid TEXT NOT NULL UNIQUE,
  type INTEGER NOT NULL,
  status INTEGER NOT NULL,
  version INTEGER NOT NULL,
  created INTEGER NOT NULL,
  finished INTEGER NOT NULL,
  due INTEGER,
  definition BLOB,
  state BLOB NOT NULL
);
CREATE INDEX dtm_trans_due ON dtm_trans (due) WHERE due IS NOT NULL;
CREATE TABLE dtm_big_definition (
  id INTEGER PRIMARY KEY,
  definition BLOB NOT NULL
);
)sql",
    R"sql(
CREATE TABLE dtm_kv (
  id INTEGER PRIMARY KEY,
  cat TEXT NOT NULL,
  k TEXT NOT NULL,
  v TEXT NOT NULL,
  version INTEGER NOT NULL,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  UNIQUE (cat, k)
);
)sql",
    "",  // 3: format 2 of the blobs; what is stored stays as it is
    R"sql(
CREATE TABLE dtm_gids (
  gid TEXT PRIMARY KEY,
  type INTEGER NOT NULL,
  status INTEGER NOT NULL,
  finished INTEGER NOT NULL,
  content INTEGER NOT NULL
) WITHOUT ROWID;
)sql",
    R"sql(
CREATE TABLE dtm_step (
  trans INTEGER NOT NULL,
  nr INTEGER NOT NULL,
  step BLOB NOT NULL,
  PRIMARY KEY (trans, nr)
) WITHOUT ROWID;
)sql",
    R"sql(
ALTER TABLE dtm_trans ADD COLUMN journal BLOB;
CREATE TABLE dtm_journal (
  trans INTEGER PRIMARY KEY,
  entries BLOB NOT NULL
);
)sql"};

/// What a look into a file of version n lacks because of the step from n to n + 1: the same tables, of the connection and empty.
/// A column cannot be made like this; Reader does without it.
inline constexpr const char* kStandIns[kVersion] = {
    "",
    "CREATE TEMP TABLE dtm_kv (id INTEGER PRIMARY KEY, cat, k, v, version, created, updated)",
    "",
    "CREATE TEMP TABLE dtm_gids (gid TEXT PRIMARY KEY, type, status, finished, content)",
    "CREATE TEMP TABLE dtm_step (trans, nr, step)",
    "CREATE TEMP TABLE dtm_journal (trans INTEGER PRIMARY KEY, entries)"};
/// From this version on a row of dtm_trans has a journal.
inline constexpr int kWithJournals = 6;

/// The tables that user SQL may not touch.
inline std::vector<std::string> OwnTables() {
  return {"dtm_meta",      "dtm_trans", "dtm_big_definition", "dtm_kv",
          "dtm_trans_due", "dtm_gids",  "dtm_step",           "dtm_journal"};
}

/// The schema version of the file; 0 = it has no tables of ours yet. Only reads.
/// @throws StoreError  the file is of a newer version, or of one that never was.
inline int StoredVersion(sql::Database& db) {
  sql::Statement table(db, "SELECT 1 FROM sqlite_schema WHERE name = 'dtm_meta'");
  const bool fresh = !table.Step();
  table.Reset();
  if (fresh) return 0;
  sql::Statement read(db, "SELECT value FROM dtm_meta WHERE key = 'schema_version'");
  const std::string text = read.Step() ? read.Text(0) : "none";
  const std::int64_t version = text == "none" ? 0 : read.Int(0);
  read.Reset();
  const std::string which = "the store file '" + db.Path() + "' has schema version " + text;
  if (version < 1) {
    throw StoreError(which + ", which no dtm has written; restore it from a backup");
  }
  if (version > kVersion) {
    throw StoreError(which + ", and dtm " + dtm::kVersion + " knows versions up to " +
                     std::to_string(kVersion) + "; use the newer dtm that wrote it");
  }
  return static_cast<int>(version);
}

/// What SQLite finds wrong with the file, or nothing. Reads all of it.
inline std::string Damage(sql::Database& db) {
  sql::Statement check(db, "PRAGMA quick_check(1)");
  const std::string verdict = check.Step() ? check.Text(0) : "it gave no answer";
  return verdict == "ok" ? std::string() : verdict;
}

/// Brings the tables to kVersion in one transaction.
/// @throws StoreError  the file is of a newer version; nothing is changed.
inline void Migrate(sql::Database& db) {
  if (StoredVersion(db) == kVersion) return;  // without the lock that somebody may hold
  db.Exec("BEGIN IMMEDIATE");
  try {
    const int stored = StoredVersion(db);
    if (stored == 0) db.Exec("CREATE TABLE dtm_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID");
    for (int version = stored; version < kVersion; ++version) db.Exec(kMigrations[version]);
    if (stored < kVersion) {
      sql::Statement write(db, "REPLACE INTO dtm_meta (key, value) VALUES ('schema_version', ?1)");
      write.Bind(1, kVersion).Step();
    }
    db.Exec("COMMIT");
  } catch (...) {
    if (db.InTransaction()) sqlite3_exec(db.Handle(), "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
}

/// How long an open connection waits for the lock of another. It is short, since the loop has answers and deadlines to
/// handle.
inline constexpr int kLockWaitMs = 20;
/// The same while it is opened.
inline constexpr int kOpenWaitMs = 5000;

/// Pages of the file that the connections keep in memory; the reader an eighth of it.
inline constexpr std::size_t kCacheBytes = std::size_t{64} << 20;

inline std::string CachePragma(std::size_t bytes) {
  return "PRAGMA cache_size = -" + std::to_string((std::max)(bytes / 1024, std::size_t{64}));
}

inline void ConfigureWriter(sql::Database& db, bool sync_each_commit,
                            std::size_t cache_bytes = kCacheBytes) {
  sqlite3_busy_timeout(db.Handle(), kOpenWaitMs);
  StoredVersion(db);  // a newer file is refused before anything is changed in it
  db.Exec("PRAGMA trusted_schema = OFF");
  sql::Statement mode(db, "PRAGMA journal_mode = WAL");
  const std::string got = mode.Step() ? mode.Text(0) : "unknown";
  mode.Reset();
  if (got != "wal") {
    throw StoreError("the store file '" + db.Path() + "' cannot use WAL (it answers '" + got +
                     "'); put it on a local disk that this user may write to");
  }
  db.Exec(sync_each_commit ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  // A log that had to grow behind a long reader is cut to 16 MiB, four times what it is without one.
  db.Exec(
      "PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 16777216;"
      "PRAGMA foreign_keys = ON");
  db.Exec(CachePragma(cache_bytes).c_str());
}

inline void ConfigureReader(sql::Database& db, std::size_t cache_bytes = kCacheBytes) {
  sqlite3_busy_timeout(db.Handle(), kOpenWaitMs);
  db.Exec("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = 0");
  db.Exec(CachePragma(cache_bytes / 8).c_str());
}

/// A connection that ConfigureReader has configured reads a file of this version from now on like one of kVersion. Only what
/// the connection has in memory is changed.
inline void StandInForNewer(sql::Database& db, int version) {
  if (version == kVersion) return;
  db.Exec("PRAGMA temp_store = MEMORY; PRAGMA query_only = OFF");  // the latter counts for them too
  for (int step = version; step < kVersion; ++step) db.Exec(kStandIns[step]);
  db.Exec("PRAGMA query_only = ON");
}

}  // namespace sqlite_schema
}  // namespace v1
}  // namespace dtm
