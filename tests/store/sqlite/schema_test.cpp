/// The schema: where its version is kept, how a file gets it, and what is refused unchanged.
#include <chrono>
#include <memory>
#include <string>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/base/version.hpp>
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/journal_codec.hpp>
#include <dtm/store/sqlite/schema.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>

using Catch::Matchers::ContainsSubstring;
using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::sql::Database;
using dtm::sql::Statement;
namespace schema = dtm::sqlite_schema;

namespace {

constexpr int kOpen = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;

std::string Value(Database& db, const char* text) {
  Statement read(db, text);
  std::string value = read.Step() ? read.Text(0) : "nothing";
  read.Reset();
  return value;
}

/// Names of all tables and indexes, in order.
std::string Objects(Database& db) {
  return Value(db,
               "SELECT coalesce(group_concat(name, ' '), '') FROM (SELECT name FROM sqlite_schema "
               "WHERE name NOT LIKE 'sqlite%' ORDER BY name)");
}

constexpr const char* kTables =
    "dtm_big_definition dtm_gids dtm_journal dtm_kv dtm_meta dtm_step dtm_trans dtm_trans_due";

}  // namespace

TEST_CASE("an empty file gets the tables and the version in dtm_meta") {
  TempDir dir;
  Database db(dir / "s.db", kOpen);
  schema::Migrate(db);
  CHECK(Objects(db) == kTables);
  CHECK(schema::StoredVersion(db) == schema::kVersion);
  CHECK(Value(db, "SELECT value FROM dtm_meta WHERE key = 'schema_version'") ==
        std::to_string(schema::kVersion));
  CHECK(Value(db, "PRAGMA user_version") == "0");
  CHECK(Value(db, "SELECT group_concat(name, ' ') FROM pragma_table_info('dtm_trans')") ==
        "id gid type status version created finished due definition state journal");
}

TEST_CASE("migrating again changes nothing") {
  TempDir dir;
  Database db(dir / "s.db", kOpen);
  schema::Migrate(db);
  const std::string before = Value(db, "SELECT group_concat(sql) FROM sqlite_schema");
  const std::string cookie = Value(db, "PRAGMA schema_version");  // counts changes of the schema
  schema::Migrate(db);
  CHECK(Value(db, "SELECT group_concat(sql) FROM sqlite_schema") == before);
  CHECK(Value(db, "PRAGMA schema_version") == cookie);
  CHECK_FALSE(db.InTransaction());
}

TEST_CASE("a file of version 1 gets the table of values, and keeps its transactions") {
  TempDir dir;
  const std::string path = dir / "s.db";
  {
    Database db(path, kOpen);
    db.Exec("CREATE TABLE dtm_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID");
    db.Exec(schema::kMigrations[0]);
    db.Exec("INSERT INTO dtm_meta (key, value) VALUES ('schema_version', 1)");
    // A saga of one step, as version 1 wrote it: submitted, its action called once.
    db.Exec(
        "INSERT INTO dtm_trans VALUES (7, 'old', 1, 2, 3, 1700000000000000, 0, 1700000005000000,"
        "x'0100000000000000' || x'01' || x'036F7574' || x'00' || x'027B7D',"
        "x'0100' || x'00' || x'00' || x'00' || x'02' || x'01' || x'0501')");
    REQUIRE(schema::StoredVersion(db) == 1);
    REQUIRE(Objects(db) == "dtm_big_definition dtm_meta dtm_trans dtm_trans_due");
  }
  {
    dtm::SqliteStore store(path);
    const auto old = store.Load("old");
    REQUIRE(old.has_value());
    CHECK_FALSE(old->unreadable);
    CHECK(old->definition->steps.at(0).action == "out");
    CHECK(old->definition->steps.at(0).payload == "{}");
    CHECK(old->branches.at(1).tries == 1);
    CHECK(old->version == 3);
    CHECK(old->id == 7);
    CHECK(Gids(DuePage(store, At(99), {}, 10)) == std::vector<std::string>{"old"});
    CHECK(store.ScanValues("", "", 0, 10).values.empty());
    store.Begin();
    dtm::KeyValue value;
    value.category = "topics";
    value.key = "t";
    store.PutValue(value);
    store.Commit();
  }
  {
    const dtm::SqliteStore again(path);  // and it is not migrated twice
  }
  Database db(path, kOpen);
  CHECK(schema::StoredVersion(db) == schema::kVersion);
  CHECK(Objects(db) == kTables);
  CHECK(Value(db, "SELECT group_concat(k || version) FROM dtm_kv") == "t1");
}

TEST_CASE("a file of version 2 is read and goes on in the newer format") {
  TempDir dir;
  const std::string path = dir / "s.db";
  {
    Database db(path, kOpen);
    db.Exec("CREATE TABLE dtm_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID");
    db.Exec(schema::kMigrations[0]);
    db.Exec(schema::kMigrations[1]);
    db.Exec("INSERT INTO dtm_meta (key, value) VALUES ('schema_version', 2)");
    // A message of one step, as version 2 wrote it: submitted, called once, "no" was the last error.
    db.Exec(
        "INSERT INTO dtm_trans VALUES (7, 'old', 2, 2, 3, 1700000000000000, 0, 1700000005000000,"
        "x'010800000000000001' || x'036F7574' || x'00' || x'027B7D' || x'00000000' || x'00000000',"
        "x'0100' || x'00' || x'00' || x'026E6F' || x'02' || x'01' || x'0501')");
  }
  {
    dtm::SqliteStore store(path);
    auto old = store.Load("old");
    REQUIRE(old.has_value());
    REQUIRE_FALSE(old->unreadable);
    CHECK(old->last_error == "no");
    CHECK(old->updated == old->created);
    CHECK(old->reason_from == 0);
    REQUIRE(old->branches.size() == 2);
    CHECK(old->branches[1].finished == dtm::Time{});
    old->branches[1].status = dtm::BranchStatus::kSucceed;
    old->branches[1].finished = old->updated = old->created + std::chrono::seconds(9);
    REQUIRE(Put(store, *old));
    const auto now = store.Load("old");
    REQUIRE(now.has_value());
    CHECK(now->branches.at(1).finished == old->branches[1].finished);
    CHECK(now->updated == old->updated);
  }
  Database db(path, kOpen);
  CHECK(schema::StoredVersion(db) == schema::kVersion);
}

TEST_CASE("a migration from version 1 that fails leaves the file at version 1") {
  TempDir dir;
  Database db(dir / "s.db", kOpen);
  db.Exec("CREATE TABLE dtm_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID");
  db.Exec(schema::kMigrations[0]);
  db.Exec("INSERT INTO dtm_meta (key, value) VALUES ('schema_version', 1)");
  db.Exec("CREATE TABLE dtm_kv (of_somebody_else)");
  CHECK_THROWS_WITH(schema::Migrate(db), ContainsSubstring("dtm_kv"));
  CHECK_FALSE(db.InTransaction());
  CHECK(schema::StoredVersion(db) == 1);
}

TEST_CASE("a user's tables and user_version stay as they are") {
  TempDir dir;
  Database db(dir / "s.db", kOpen);
  db.Exec("CREATE TABLE account (id INTEGER); INSERT INTO account VALUES (5)");
  db.Exec("PRAGMA user_version = 12");
  schema::Migrate(db);
  CHECK(Objects(db) == "account " + std::string(kTables));
  CHECK(Value(db, "PRAGMA user_version") == "12");
  CHECK(Value(db, "SELECT id FROM account") == "5");
}

TEST_CASE("a step that fails leaves the file as it was") {
  TempDir dir;
  Database db(dir / "s.db", kOpen);
  db.Exec("CREATE TABLE dtm_big_definition (of_somebody_else)");
  CHECK_THROWS_WITH(schema::Migrate(db), ContainsSubstring("dtm_big_definition"));
  CHECK_FALSE(db.InTransaction());
  CHECK(Objects(db) == "dtm_big_definition");
}

TEST_CASE("a newer schema is refused with both versions, and nothing is changed") {
  TempDir dir;
  const std::string path = dir / "s.db";
  for (const char* mode : {"WAL", "DELETE"}) {  // a newer version may work another way
    DYNAMIC_SECTION(mode) {
      {
        dtm::SqliteStore store(path);
        REQUIRE(Put(store, NewTransaction("gid")));
      }
      {
        Database db(path, kOpen);
        db.Exec("UPDATE dtm_meta SET value = 99 WHERE key = 'schema_version'");
        db.Exec(("PRAGMA journal_mode = " + std::string(mode)).c_str());
      }
      const std::string bytes = ReadFile(path);
      try {
        const dtm::SqliteStore store(path);
        FAIL("it was opened");
      } catch (const dtm::StoreError& error) {
        CHECK_THAT(error.what(),
                   ContainsSubstring(path) && ContainsSubstring("version 99") &&
                       ContainsSubstring("up to " + std::to_string(schema::kVersion)) &&
                       ContainsSubstring(dtm::kVersion) && ContainsSubstring("use the newer dtm"));
      }
      const bool unchanged = ReadFile(path) == bytes;
      CHECK(unchanged);
    }
  }
}

TEST_CASE("a version that no dtm wrote is refused") {
  TempDir dir;
  for (const char* version : {"-1", "4294967296", "'one'", "NULL"}) {
    Database db(dir / "s.db", kOpen);
    db.Exec(
        "DROP TABLE IF EXISTS dtm_meta; DROP TABLE IF EXISTS dtm_trans;"
        "DROP TABLE IF EXISTS dtm_kv; DROP TABLE IF EXISTS dtm_gids; "
        "DROP TABLE IF EXISTS dtm_step; DROP TABLE IF EXISTS dtm_journal");
    schema::Migrate(db);
    db.Exec(("UPDATE dtm_meta SET value = " + std::string(version)).c_str());
    INFO(version);
    CHECK_THROWS_WITH(schema::Migrate(db), ContainsSubstring("schema version"));
    CHECK_FALSE(db.InTransaction());
    db.Exec("DROP TABLE dtm_big_definition");
  }
}

TEST_CASE("the writer's settings") {
  TempDir dir;
  for (const bool each_commit : {true, false}) {
    Database db(dir / "s.db", kOpen);
    schema::ConfigureWriter(db, each_commit);
    CHECK(Value(db, "PRAGMA journal_mode") == "wal");
    CHECK(Value(db, "PRAGMA synchronous") == (each_commit ? "2" : "1"));
    CHECK(Value(db, "PRAGMA trusted_schema") == "0");
    CHECK(Value(db, "PRAGMA foreign_keys") == "1");
    CHECK(Value(db, "PRAGMA wal_autocheckpoint") == "1000");
    CHECK(Value(db, "PRAGMA busy_timeout") == "5000");
    CHECK(Value(db, "PRAGMA mmap_size") == "0");
    CHECK(Value(db, "PRAGMA cache_size") == "-65536");
    schema::ConfigureWriter(db, each_commit, std::size_t{2} << 20);
    CHECK(Value(db, "PRAGMA cache_size") == "-2048");
  }
}

TEST_CASE("the reader cannot write and does not checkpoint") {
  TempDir dir;
  {
    Database db(dir / "s.db", kOpen);
    schema::ConfigureWriter(db, false);
    schema::Migrate(db);
  }
  Database db(dir / "s.db", SQLITE_OPEN_READWRITE);
  schema::ConfigureReader(db);
  CHECK(Value(db, "PRAGMA wal_autocheckpoint") == "0");
  CHECK(Value(db, "PRAGMA cache_size") == "-8192");
  CHECK(Value(db, "PRAGMA trusted_schema") == "0");
  CHECK_THROWS_AS(db.Exec("DELETE FROM dtm_trans"), dtm::StoreError);
}

TEST_CASE("a database that cannot use a log is refused") {
  Database db(":memory:", kOpen);
  CHECK_THROWS_WITH(schema::ConfigureWriter(db, true), ContainsSubstring("cannot use WAL"));
}

TEST_CASE("a file of version 2 is migrated, and keeps what is in it") {
  TempDir dir;
  {
    Database db(dir / "s.db", kOpen);
    db.Exec("CREATE TABLE dtm_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID");
    db.Exec(schema::kMigrations[0]);
    db.Exec(schema::kMigrations[1]);
    db.Exec(
        "INSERT INTO dtm_meta (key, value) VALUES ('schema_version', 2);"
        "INSERT INTO dtm_trans VALUES (7, 'old', 1, 4, 3, 1700000000000000, 1700000001000000, NULL,"
        "x'010000000000000001016100' || x'00', x'01000000000002' || x'0202')");
  }
  dtm::SqliteStore store(dir / "s.db");
  REQUIRE(store.Load("old").has_value());
  CHECK_FALSE(store.Load("old")->expired);
  store.Begin();
  CHECK(store.Expire(dtm::Time(std::chrono::seconds(1800000000)), 0, 10, true) == 0);
  store.Commit();
  REQUIRE(store.Load("old").has_value());
  CHECK(store.Load("old")->expired);
  CHECK(store.Load("old")->status == dtm::Status::kSucceed);
}

TEST_CASE("a file of version 5 is migrated, and what happens from then on is told") {
  TempDir dir;
  {
    Database db(dir / "s.db", kOpen);
    db.Exec("CREATE TABLE dtm_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID");
    for (int version = 0; version < 5; ++version) db.Exec(schema::kMigrations[version]);
    db.Exec(
        "INSERT INTO dtm_meta (key, value) VALUES ('schema_version', 5);"
        "INSERT INTO dtm_trans VALUES (7, 'old', 1, 2, 3, 1700000000000000, 0, 1700000005000000,"
        "x'0200000000000000' || x'01' || x'036F7574' || x'00' || x'027B7D',"
        "x'0200' || x'00' || x'00' || x'00' || x'02' || x'01' || x'0501')");
  }
  dtm::SqliteStore store(dir / "s.db");
  auto old = store.Load("old");
  REQUIRE(old.has_value());
  CHECK_FALSE(old->unreadable);
  CHECK(store.ReadJournal("old").empty());
  const std::vector<dtm::JournalEntry> told{
      {At(1), 1, dtm::Op::kAction, dtm::JournalKind::kSuccess, ""}};
  std::vector<dtm::Change> changes{{&*old, false, false}};
  std::string bytes;
  dtm::codec::EncodeJournal(told, bytes);
  changes[0].journal = bytes;
  store.Begin();
  store.Apply(changes);
  store.Commit();
  CHECK(changes[0].applied);
  CHECK(store.ReadJournal("old") == told);
}
