/// The wrappers of sqlite3: what they own, what they say, and that a statement is ready again
/// after whatever happened.
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/sql/sqlite_connection.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::sql::Database;
using dtm::sql::SqliteError;
using dtm::sql::Statement;
using dtm_test::TempDir;

static_assert(!std::is_copy_constructible_v<Database> && !std::is_copy_assignable_v<Database>);
static_assert(!std::is_copy_constructible_v<Statement>);
static_assert(std::is_nothrow_move_constructible_v<Statement>);
static_assert(std::is_base_of_v<dtm::StoreError, SqliteError>);

namespace {

constexpr int kOpen = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;

template <typename Function>
SqliteError ErrorOf(const Function& function) {
  try {
    function();
  } catch (const SqliteError& error) {
    return error;
  }
  return {"no error", 0};
}

}  // namespace

TEST_CASE("a database that cannot be opened is named, with the code") {
  TempDir dir;
  const SqliteError error = ErrorOf([&] { Database(dir / "no/s.db", kOpen); });
  CHECK_THAT(error.what(), ContainsSubstring(dir / "no/s.db"));
  CHECK(error.Primary() == SQLITE_CANTOPEN);
}

TEST_CASE("closing a database releases the file") {
  TempDir dir;
  {
    Database db(dir / "s.db", kOpen);
    db.Exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    CHECK(dtm_test::Exists(dir / "s.db-wal"));
    CHECK(db.Path() == dir / "s.db");
  }
  CHECK_FALSE(dtm_test::Exists(dir / "s.db-wal"));  // the last connection has gone
}

TEST_CASE("a borrowed connection stays its owner's") {
  TempDir dir;
  sqlite3* plain = nullptr;  // without extended codes
  REQUIRE(sqlite3_open((dir / "s.db").c_str(), &plain) == SQLITE_OK);
  {
    Database db(plain);
    CHECK(db.Handle() == plain);
    CHECK(db.Path() == dir / "s.db");
    db.Exec("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1); BEGIN");
    const SqliteError error = ErrorOf([&] { db.Exec("INSERT INTO t VALUES (1)"); });
    CHECK(error.Code() == SQLITE_CONSTRAINT_UNIQUE);
    CHECK_THAT(error.what(), ContainsSubstring("the database '" + (dir / "s.db") + "'"));
  }
  CHECK(sqlite3_get_autocommit(plain) == 0);  // its transaction too
  CHECK(sqlite3_exec(plain, "INSERT INTO t VALUES (1)", nullptr, nullptr, nullptr) ==
        SQLITE_CONSTRAINT);  // the codes are what they were
  CHECK(sqlite3_close(plain) == SQLITE_OK);

  REQUIRE(sqlite3_open(":memory:", &plain) == SQLITE_OK);
  CHECK(Database(plain).Path() == ":memory:");
  sqlite3_close(plain);
}

TEST_CASE("errors carry the extended code and the statement") {
  Database db(":memory:", kOpen);
  db.Exec("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)");
  const SqliteError unique = ErrorOf([&] { db.Exec("INSERT INTO t VALUES (1)"); });
  CHECK(unique.Code() == SQLITE_CONSTRAINT_UNIQUE);
  CHECK(unique.Primary() == SQLITE_CONSTRAINT);
  CHECK_THAT(unique.what(), ContainsSubstring("t.a") && ContainsSubstring("INSERT INTO t"));
  const SqliteError syntax = ErrorOf([&] { Statement(db, "SELEKT 1"); });
  CHECK_THAT(syntax.what(), ContainsSubstring("SELEKT"));
  const SqliteError longer = ErrorOf([&] { db.Exec(("SELEKT " + std::string(500, 'x')).c_str()); });
  CHECK(std::string(longer.what()).find(std::string(60, 'x')) == std::string::npos);
}

TEST_CASE("errors say what to do where that is known") {
  TempDir dir;
  const std::string path = dir / "s.db";
  Database db(path, kOpen);
  db.Exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
  {
    Database other(path, SQLITE_OPEN_READWRITE);
    db.Exec("BEGIN IMMEDIATE");
    const SqliteError busy = ErrorOf([&] { other.Exec("BEGIN IMMEDIATE"); });
    CHECK(busy.Primary() == SQLITE_BUSY);
    CHECK_THAT(busy.what(), ContainsSubstring("another program") && ContainsSubstring(path));
    db.Exec("ROLLBACK");
  }
  {
    Database reader(path, SQLITE_OPEN_READONLY);
    const SqliteError read_only = ErrorOf([&] { reader.Exec("INSERT INTO t VALUES (1)"); });
    CHECK(read_only.Primary() == SQLITE_READONLY);
    CHECK_THAT(read_only.what(), ContainsSubstring("writable"));
  }
  {
    dtm_test::WriteFile(dir / "letter", std::string(2000, 'x'));
    Database letter(dir / "letter", kOpen);
    const SqliteError no_database = ErrorOf([&] { letter.Exec("SELECT * FROM sqlite_schema"); });
    CHECK(no_database.Primary() == SQLITE_NOTADB);
    CHECK_THAT(no_database.what(), ContainsSubstring("restore it from a backup"));
  }
  {
    db.Exec("PRAGMA max_page_count = 3");
    const SqliteError full = ErrorOf([&] { db.Exec("INSERT INTO t VALUES (zeroblob(100000))"); });
    CHECK(full.Primary() == SQLITE_FULL);
    CHECK_THAT(full.what(), ContainsSubstring("no space is left"));
  }
}

TEST_CASE("values come back as they were bound") {
  Database db(":memory:", kOpen);
  db.Exec("CREATE TABLE t (i, x, b, n)");
  const std::string binary("\0a\xFF\0", 4);
  Statement insert(db, "INSERT INTO t VALUES (?1, ?2, ?3, ?4)");
  for (const std::int64_t number : {std::int64_t{0}, std::int64_t{-1}, INT64_MAX, INT64_MIN}) {
    insert.Bind(1, number).BindText(2, binary).BindBlob(3, binary).BindNull(4);
    CHECK_FALSE(insert.Step());
    CHECK(db.Changes() == 1);
  }
  insert.Bind(1, 5).BindText(2, {}).BindBlob(3, std::string_view()).BindNull(4).Step();
  CHECK(db.LastRow() == 5);

  Statement read(db, "SELECT i, x, b, n, typeof(x), typeof(b) FROM t ORDER BY rowid");
  for (const std::int64_t number : {std::int64_t{0}, std::int64_t{-1}, INT64_MAX, INT64_MIN}) {
    REQUIRE(read.Step());
    CHECK(read.Int(0) == number);
    CHECK(read.Text(1) == binary);
    CHECK(read.Text(2) == binary);
    CHECK(read.IsNull(3));
    CHECK(read.Text(3).empty());
  }
  REQUIRE(read.Step());
  CHECK(read.Text(1).empty());
  CHECK_FALSE(read.IsNull(1));  // empty is not NULL
  CHECK_FALSE(read.IsNull(2));
  CHECK(read.Text(4) == "text");
  CHECK(read.Text(5) == "blob");
  CHECK_FALSE(read.Step());
  REQUIRE(read.Step());  // ready again, from the start
  CHECK(read.Int(0) == 0);
  read.Reset();
}

TEST_CASE("a text of a UTF-16 database is read as UTF-8") {
  Database db(":memory:", kOpen);
  db.Exec("PRAGMA encoding = 'UTF-16be'; CREATE TABLE t (a)");
  Statement insert(db, "INSERT INTO t VALUES (?1)");
  insert.BindText(1, "ä€😀").Step();
  Statement read(db, "SELECT a FROM t");
  REQUIRE(read.Step());
  CHECK(read.Text(0) == "ä€😀");
  read.Reset();
}

TEST_CASE("a statement that failed can run again") {
  Database db(":memory:", kOpen);
  db.Exec("CREATE TABLE t (a UNIQUE)");
  Statement insert(db, "INSERT INTO t VALUES (?1)");
  insert.Bind(1, 1).Step();
  const SqliteError error = ErrorOf([&] { insert.Bind(1, 1).Step(); });
  CHECK(error.Code() == SQLITE_CONSTRAINT_UNIQUE);
  CHECK_THAT(error.what(), ContainsSubstring("UNIQUE"));
  CHECK_FALSE(insert.Bind(1, 2).Step());
}

TEST_CASE("binding while rows are read is an error, not silence") {
  Database db(":memory:", kOpen);
  Statement read(db, "SELECT ?1 UNION ALL SELECT 2");
  REQUIRE(read.Bind(1, 1).Step());
  CHECK_THROWS_AS(read.Bind(1, 5), SqliteError);
  read.Reset();
  REQUIRE(read.Bind(1, 5).Step());
  CHECK(read.Int(0) == 5);
  read.Reset();
  CHECK_THROWS_AS(read.Bind(9, 1), SqliteError);  // there is no such place
}

TEST_CASE("a moved statement works and its source can be destroyed") {
  Database db(":memory:", kOpen);
  auto source = std::make_unique<Statement>(db, "SELECT 42");
  Statement target(std::move(*source));
  source.reset();
  REQUIRE(target.Step());
  CHECK(target.Int(0) == 42);
  target.Reset();
}

TEST_CASE("whether a transaction is open is known") {
  Database db(":memory:", kOpen);
  CHECK_FALSE(db.InTransaction());
  db.Exec("BEGIN");
  CHECK(db.InTransaction());
  db.Exec("COMMIT");
  CHECK_FALSE(db.InTransaction());
}

TEST_CASE("a statement may be destroyed after its database was closed") {
  TempDir dir;
  auto db = std::make_unique<Database>(dir / "s.db", kOpen);
  db->Exec("CREATE TABLE t (a)");
  Statement read(*db, "SELECT * FROM t");
  db.reset();  // close_v2 waits for the last statement
}

TEST_CASE("the index of the log tells what was copied, and that the log began anew") {
  TempDir dir;
  Database db(dir / "s.db", kOpen);
  db.Exec("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a)");
  const dtm::sql::LogIndex log(db);
  const auto begin = log.Now();
  REQUIRE(begin.known);
  CHECK(begin.frames > 0);
  CHECK(begin.copied == 0);
  db.Exec("INSERT INTO t VALUES (1)");
  CHECK_FALSE(log.Now() != begin);
  CHECK(log.Now().frames > begin.frames);
  Database(dir / "s.db", kOpen).Exec("PRAGMA wal_checkpoint");
  CHECK(log.Now().copied == log.Now().frames);
  CHECK_FALSE(log.Now().Copying());
  CHECK(log.Now().salt == begin.salt);
  db.Exec("INSERT INTO t VALUES (2)");
  CHECK(log.Now().salt != begin.salt);
  CHECK(log.Now().copied == 0);
  db.CopyLog();
  CHECK(log.Now().copied == log.Now().frames);
  CHECK_FALSE(dtm::sql::LogIndex(Database(":memory:", kOpen)).Now().known);
}

TEST_CASE("a database knows that its file has moved, and may leave its log when it is closed") {
  TempDir dir;
  {
    Database db(dir / "s.db", kOpen);
    db.Exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    CHECK_FALSE(db.HasMoved());
    db.KeepLog();
  }
  CHECK(dtm_test::Exists(dir / "s.db-wal"));
  Database db(dir / "s.db", kOpen);
  db.Exec("SELECT * FROM t");
  REQUIRE(::rename((dir / "s.db").c_str(), (dir / "other").c_str()) == 0);
  CHECK(db.HasMoved());
}
