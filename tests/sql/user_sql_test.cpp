/// The rules of a connection: what user SQL may not do inside our transaction, and what is repaired after it.
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/sql/user_sql.hpp>

using dtm::sql::UserSqlRules;

namespace {

struct Watched {
  Watched() : db(":memory:", SQLITE_OPEN_READWRITE) {
    db.Exec(
        "PRAGMA foreign_keys = ON;"
        "CREATE TABLE ours (a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX ours_b ON ours (b);"
        "INSERT INTO ours VALUES (1, 'secret');"
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER);"
        "INSERT INTO t VALUES (1, 10), (2, 20), (3, 30);"
        "CREATE TABLE child (t INTEGER REFERENCES t DEFERRABLE INITIALLY DEFERRED);"
        "CREATE TABLE strict_child (t INTEGER REFERENCES t);"
        "CREATE VIEW window AS SELECT b FROM ours;"
        "CREATE TABLE spy (x); CREATE TRIGGER peek AFTER INSERT ON spy BEGIN "
        "DELETE FROM ours; END;"
        "CREATE TABLE looker (x); CREATE TRIGGER look AFTER INSERT ON looker BEGIN "
        "INSERT INTO t SELECT a + 100, 0 FROM ours; END;");
    rules = std::make_unique<UserSqlRules>(db, std::vector<std::string>{"ours", "ours_b"});
  }
  ~Watched() { rules.reset(); }

  /// What SQLite answers while the rules is on.
  int Run(const std::string& text) {
    const UserSqlRules::On on(*rules);
    return sqlite3_exec(db.Handle(), text.c_str(), nullptr, nullptr, nullptr) & 0xFF;
  }
  std::int64_t Number(const std::string& query) {
    dtm::sql::Statement statement(db, query);
    REQUIRE(statement.Step());
    const std::int64_t number = statement.Int(0);
    statement.Reset();
    return number;
  }

  dtm::sql::Database db;
  std::unique_ptr<UserSqlRules> rules;
};

}  // namespace

TEST_CASE("user sql: transaction statements, other files and settings are denied") {
  Watched g;
  g.db.Exec("BEGIN; SAVEPOINT dtm_work");
  for (const char* text : {"COMMIT",
                           "END TRANSACTION",
                           "ROLLBACK",
                           "BEGIN",
                           "BEGIN IMMEDIATE",
                           "SAVEPOINT x",
                           "RELEASE dtm_work",
                           "ROLLBACK TO dtm_work",
                           "ATTACH ':memory:' AS other",
                           "DETACH main",
                           "PRAGMA foreign_keys = OFF",
                           "PRAGMA synchronous = OFF",
                           "PRAGMA writable_schema = ON",
                           "PRAGMA journal_mode = DELETE",
                           "PRAGMA wal_checkpoint(TRUNCATE)",
                           "PRAGMA defer_foreign_keys = ON",
                           "PRAGMA main.user_version = 7",
                           "UPDATE t SET n = 0; COMMIT",
                           "PRAGMA data_version = 3",
                           "PRAGMA page_size = 512"}) {
    INFO(text);
    CHECK(g.Run(text) == SQLITE_AUTH);
    CHECK(g.db.InTransaction());
  }
  g.db.Exec("ROLLBACK TO dtm_work; RELEASE dtm_work; COMMIT");  // all of it is still there
  CHECK(g.Number("SELECT sum(n) FROM t") == 60);
}

TEST_CASE("user sql: our tables are denied, however they are reached") {
  Watched g;
  for (const char* text : {"SELECT b FROM ours",
                           "SELECT * FROM ours",
                           "SELECT count(*) FROM ours",
                           "SELECT 1 FROM main.OURS",
                           "SELECT (SELECT b FROM Ours)",
                           "SELECT b FROM window",
                           "SELECT count(*) FROM window",
                           "WITH x AS (SELECT b FROM ours) SELECT * FROM x",
                           "INSERT INTO ours VALUES (2, 'x')",
                           "INSERT INTO \"OURS\" VALUES (2, 'x')",
                           "UPDATE ours SET b = 'x'",
                           "DELETE FROM ours",
                           "REPLACE INTO [ours] VALUES (1, 'x')",
                           "DROP TABLE ours",
                           "DROP INDEX ours_b",
                           "ALTER TABLE ours RENAME TO mine",
                           "ALTER TABLE ours ADD COLUMN c",
                           "ALTER TABLE ours DROP COLUMN b",
                           "CREATE INDEX mine ON ours (a)",
                           "CREATE TRIGGER mine AFTER INSERT ON ours BEGIN SELECT 1; END",
                           "CREATE TEMP TRIGGER mine AFTER INSERT ON ours BEGIN SELECT 1; END",
                           "CREATE TEMP TABLE ours (a)",
                           "CREATE TEMP VIEW ours AS SELECT 1",
                           "INSERT INTO spy VALUES (1)",
                           "INSERT INTO looker VALUES (1)",
                           "CREATE TABLE mine AS SELECT * FROM ours",
                           "INSERT INTO t SELECT a + 9, 0 FROM ours",
                           "UPDATE t SET n = (SELECT a FROM ours)",
                           "DELETE FROM t WHERE id IN (SELECT a FROM ours)",
                           "CREATE TABLE far (o REFERENCES ours); INSERT INTO far VALUES (1)"}) {
    INFO(text);
    CHECK(g.Run(text) != SQLITE_OK);
    CHECK(g.Number("SELECT count(*) FROM ours WHERE a = 1 AND b = 'secret'") == 1);
    CHECK(g.Number("SELECT count(*) FROM ours") == 1);
    CHECK(g.Number("SELECT sum(n) + count(*) FROM t") == 63);
  }
}

TEST_CASE("user sql: a trigger on a table of the user that was made inside cannot reach ours") {
  Watched g;
  g.db.Exec("BEGIN");
  CHECK(g.Run("CREATE TRIGGER late AFTER UPDATE ON t BEGIN DELETE FROM ours; END") == SQLITE_OK);
  CHECK(g.Run("UPDATE t SET n = 0") == SQLITE_AUTH);
  g.db.Exec("ROLLBACK");
  CHECK(g.Number("SELECT count(*) FROM ours") == 1);
}

TEST_CASE("user sql: what belongs to the user is allowed") {
  Watched g;
  g.db.Exec("BEGIN");
  for (const char* text :
       {"SELECT n FROM t", "INSERT INTO t VALUES (4, 40)", "UPDATE t SET n = n + 1",
        "DELETE FROM t WHERE id = 4", "REPLACE INTO t VALUES (1, 10)",
        "CREATE TABLE mine (a); INSERT INTO mine VALUES (1); DROP TABLE mine",
        "CREATE TEMP TABLE scratch (a); INSERT INTO scratch VALUES (1)",
        "ALTER TABLE t ADD COLUMN c", "CREATE INDEX t_n ON t (n)",
        "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r WHERE x < 5) SELECT * FROM "
        "r",
        "SELECT name FROM sqlite_schema", "INSERT INTO t (id, n) VALUES (9, 9) RETURNING id",
        "SELECT 'ours', \"n\" AS ours FROM t"}) {
    INFO(text);
    CHECK(g.Run(text) == SQLITE_OK);
  }
  g.db.Exec("COMMIT");
}

TEST_CASE("user sql: full-text tables work, which look at the version of the file") {
  if (sqlite3_compileoption_used("ENABLE_FTS5") == 0) return;
  const dtm_test::TempDir dir;
  {
    dtm::sql::Database maker(dir / "words.db", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    maker.Exec("CREATE VIRTUAL TABLE words USING fts5(x); INSERT INTO words VALUES ('old')");
  }
  dtm::sql::Database db(dir / "words.db", SQLITE_OPEN_READWRITE);
  UserSqlRules rules(db, {"ours"});
  db.Exec("BEGIN; SAVEPOINT dtm_work");
  {
    const UserSqlRules::On on(rules);
    CHECK_NOTHROW(db.Exec("SELECT * FROM words WHERE words MATCH 'old'"));
    CHECK_NOTHROW(db.Exec("INSERT INTO words VALUES ('hello world')"));
  }
  db.Exec("RELEASE dtm_work; COMMIT");
  dtm::sql::Statement found(db, "SELECT count(*) FROM words WHERE words MATCH 'world'");
  REQUIRE(found.Step());
  CHECK(found.Int(0) == 1);
  found.Reset();
}

TEST_CASE("user sql: off, everything is allowed") {
  Watched g;
  {
    const UserSqlRules::On on(*g.rules);
    CHECK_THROWS_AS(g.db.Exec("DELETE FROM ours"), dtm::sql::SqliteError);
  }
  g.db.Exec("BEGIN; PRAGMA user_version = 3; DELETE FROM ours; COMMIT");
  CHECK(g.Number("SELECT count(*) FROM ours") == 0);
  CHECK(g.Number("PRAGMA user_version") == 3);
}

TEST_CASE("user sql: gone, everything is allowed") {
  Watched g;
  { const UserSqlRules::On on(*g.rules); }
  g.rules.reset();
  g.db.Exec("BEGIN; DELETE FROM ours; COMMIT");
  CHECK(g.Number("SELECT count(*) FROM ours") == 0);
}

TEST_CASE("user sql: once the transaction was rolled back, nothing is committed on its own") {
  Watched g;
  dtm::sql::Statement prepared(g.db, "UPDATE t SET n = n + 1000 WHERE id = 2");
  g.db.Exec("BEGIN");
  CHECK(g.Run("INSERT OR ROLLBACK INTO t VALUES (1, 1)") == SQLITE_CONSTRAINT);
  REQUIRE_FALSE(g.db.InTransaction());
  CHECK(g.Run("UPDATE t SET n = n + 1000 WHERE id = 1") != SQLITE_OK);
  CHECK(g.Run("CREATE TABLE late (a)") != SQLITE_OK);
  {
    const UserSqlRules::On on(*g.rules);
    CHECK_THROWS_AS(prepared.Step(), dtm::sql::SqliteError);
  }
  CHECK(g.Number("SELECT sum(n) FROM t") == 60);
  CHECK(g.Number("SELECT count(*) FROM sqlite_schema WHERE name = 'late'") == 0);
  prepared.Step();  // off, it is none of its business
  CHECK(g.Number("SELECT sum(n) FROM t") == 1060);
}

TEST_CASE("user sql: statements left in the middle are ended, of all kinds") {
  Watched g;
  g.db.Exec("BEGIN; SAVEPOINT dtm_work");
  std::vector<sqlite3_stmt*> left;
  {
    const UserSqlRules::On on(*g.rules);
    for (const char* text : {"SELECT n FROM t", "SELECT n FROM t ORDER BY n",
                             "INSERT INTO t VALUES (7, 70), (8, 80) RETURNING id"}) {
      sqlite3_stmt* statement = nullptr;
      REQUIRE(sqlite3_prepare_v2(g.db.Handle(), text, -1, &statement, nullptr) == SQLITE_OK);
      REQUIRE(sqlite3_step(statement) == SQLITE_ROW);
      left.push_back(statement);
    }
  }
  g.rules->ResetStatements();
  for (sqlite3_stmt* statement : left) CHECK(sqlite3_stmt_busy(statement) == 0);
  g.db.Exec("RELEASE dtm_work; COMMIT");
  CHECK_FALSE(g.db.InTransaction());
  CHECK(g.Number("SELECT count(*) FROM t") == 5);
  for (sqlite3_stmt* statement : left) sqlite3_finalize(statement);
}

TEST_CASE("user sql: deferred foreign keys are pending until they are met or undone") {
  Watched g;
  g.db.Exec("BEGIN");
  CHECK_FALSE(g.rules->ForeignKeysPending());
  CHECK(g.Run("INSERT INTO strict_child VALUES (99)") == SQLITE_CONSTRAINT);
  CHECK_FALSE(g.rules->ForeignKeysPending());  // that one was refused at once
  CHECK(g.Run("INSERT INTO child VALUES (99)") == SQLITE_OK);
  CHECK(g.rules->ForeignKeysPending());
  CHECK(g.Run("INSERT INTO t VALUES (99, 0)") == SQLITE_OK);
  CHECK_FALSE(g.rules->ForeignKeysPending());
  g.db.Exec("SAVEPOINT s");
  CHECK(g.Run("INSERT INTO child VALUES (98)") == SQLITE_OK);
  CHECK(g.rules->ForeignKeysPending());
  g.db.Exec("ROLLBACK TO s; RELEASE s");
  CHECK_FALSE(g.rules->ForeignKeysPending());
  g.db.Exec("COMMIT");
}
