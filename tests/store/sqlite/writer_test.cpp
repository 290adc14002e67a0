/// The statements: each finds its rows by an index, however full the file is, and stored numbers
/// come back.
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/sqlite/reader.hpp>
#include <dtm/store/sqlite/schema.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>
#include <dtm/store/sqlite/writer.hpp>

using Catch::Matchers::ContainsSubstring;
using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::sql::Database;
using dtm::sql::Statement;

namespace {

std::unique_ptr<Database> Open(const std::string& path) {
  auto db = std::make_unique<Database>(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  dtm::sqlite_schema::ConfigureWriter(*db, false);
  dtm::sqlite_schema::Migrate(*db);
  return db;
}

/// The texts of all statements that are prepared on the connection.
std::vector<std::string> Prepared(Database& db) {
  std::vector<std::string> texts;
  for (sqlite3_stmt* s = sqlite3_next_stmt(db.Handle(), nullptr); s != nullptr;
       s = sqlite3_next_stmt(db.Handle(), s)) {
    texts.emplace_back(sqlite3_sql(s));
  }
  return texts;
}

std::string PlanOf(Database& db, const std::string& text) {
  Statement explain(db, "EXPLAIN QUERY PLAN " + text);
  std::string plan;
  while (explain.Step()) plan += explain.Text(3) + "; ";
  return plan;
}

std::string Only(const std::vector<std::string>& texts, const std::string& part) {
  std::string found;
  for (const std::string& text : texts) {
    if (text.find(part) == std::string::npos) continue;
    REQUIRE(found.empty());
    found = text;
  }
  REQUIRE_FALSE(found.empty());
  return found;
}

/// How many operations of SQLite's machine one page takes.
int StepsOf(Database& db, const std::string& part, const std::function<void()>& run) {
  sqlite3_stmt* statement = nullptr;
  for (sqlite3_stmt* s = sqlite3_next_stmt(db.Handle(), nullptr); s != nullptr;
       s = sqlite3_next_stmt(db.Handle(), s)) {
    if (std::string(sqlite3_sql(s)).find(part) != std::string::npos) statement = s;
  }
  REQUIRE(statement != nullptr);
  sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_VM_STEP, 1);
  run();
  return sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_VM_STEP, 1);
}

}  // namespace

TEST_CASE("no statement looks through the table, but the scan by number") {
  TempDir dir;
  dtm::sqlite_store::Writer writer(Open(dir / "s.db"));
  dtm::sqlite_store::Reader reader(Open(dir / "s.db"));
  std::vector<std::string> texts = Prepared(writer.db);
  CHECK(texts.size() == 35);
  for (const std::string& text : Prepared(*reader.owned)) texts.push_back(text);
  for (const std::string& text : texts) {
    if (text.compare(0, 5, "BEGIN") == 0 || text == "COMMIT") continue;
    INFO(text);
    const std::string plan = PlanOf(writer.db, text);
    INFO(plan);
    CHECK(plan.find("SCAN dtm_trans") == std::string::npos);
    CHECK(plan.find("SCAN dtm_kv") == std::string::npos);
    CHECK(plan.find("SCAN b") == std::string::npos);
    CHECK(plan.find("TEMP B-TREE") == std::string::npos);
  }
  CHECK_THAT(PlanOf(writer.db, Only(texts, "ORDER BY due, id")),
             ContainsSubstring("USING INDEX dtm_trans_due"));
  CHECK_THAT(PlanOf(writer.db, Only(texts, "min(due)")),
             ContainsSubstring("USING COVERING INDEX dtm_trans_due (due>?"));
  int by_gid = 0;
  for (const std::string& text : texts) {
    if (text.find("WHERE gid = ?1") == std::string::npos) continue;
    CHECK_THAT(PlanOf(writer.db, text), ContainsSubstring("(gid=?)"));
    ++by_gid;
  }
  CHECK(by_gid == 6);
  CHECK_THAT(PlanOf(writer.db, Only(texts, "WHERE id > ?1 ORDER BY id")),
             ContainsSubstring("USING INTEGER PRIMARY KEY (rowid>?)"));
  CHECK_THAT(PlanOf(writer.db, Only(texts, "created <= ?5 ORDER BY id DESC")),
             ContainsSubstring("USING INTEGER PRIMARY KEY (rowid<?)"));
}

TEST_CASE("a page of what is due costs the same at the end of a long row of the same moment") {
  TempDir dir;
  dtm::sqlite_store::Writer writer(Open(dir / "s.db"));
  writer.db.Exec(
      "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
      "INSERT INTO dtm_trans (gid, type, status, version, created, finished, due, definition, "
      "state) "
      "SELECT 'gid' || i, 1, iif(i % 2, 2, 4), 1, 0, 0, iif(i % 2, 1000, NULL), x'00', x'00' FROM "
      "n");
  const auto page = [&](std::int64_t row) {
    return StepsOf(writer.db, "ORDER BY due, id", [&] {
      writer.due.Bind(1, 1000).Bind(2, row).Bind(3, 2000);
      int rows = 0;
      while (rows < 10 && writer.due.Step()) ++rows;
      CHECK(rows == 10);
      writer.due.Reset();
    });
  };
  const int first = page(0);
  const int last = page(19000);
  INFO("first page: " << first << " steps, a late one: " << last);
  CHECK(last < 2 * first);
}

TEST_CASE("one value costs the same among few and among many") {
  TempDir dir;
  dtm::sqlite_store::Writer writer(Open(dir / "s.db"));
  dtm::sqlite_store::Reader reader(Open(dir / "s.db"));
  const auto find = [&](const std::string& key) {
    return StepsOf(*reader.owned, "cat = ?2 AND k = ?3", [&] {
      reader.find_value.Bind(1, 0).BindText(2, "topics").BindText(3, key).Bind(4, 1);
      CHECK(reader.find_value.Step());
      CHECK(reader.find_value.Text(2) == key);
      reader.find_value.Reset();
    });
  };
  const auto fill = [&](int from, int to) {
    writer.db.Exec(("WITH RECURSIVE n (i) AS (SELECT " + std::to_string(from) +
                    " UNION ALL SELECT i + 1 FROM n WHERE i < " + std::to_string(to) +
                    ") INSERT INTO dtm_kv (cat, k, v, version, created, updated) "
                    "SELECT 'topics', 'topic' || i, '[]', 1, 0, 0 FROM n")
                       .c_str());
  };
  fill(1, 10);
  const int few = find("topic10");
  fill(11, 50000);
  CHECK(find("topic50000") == few);
}

TEST_CASE("the next due time is found without a walk") {
  TempDir dir;
  dtm::sqlite_store::Writer writer(Open(dir / "s.db"));
  writer.db.Exec(
      "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
      "INSERT INTO dtm_trans (gid, type, status, version, created, finished, due, definition, "
      "state) "
      "SELECT 'gid' || i, 1, 2, 1, 0, 0, i, x'00', x'00' FROM n");
  const int steps = StepsOf(writer.db, "min(due)", [&] {
    REQUIRE(writer.next_due.Bind(1, 10000).Step());
    CHECK(writer.next_due.Int(0) == 10001);
    writer.next_due.Reset();
  });
  CHECK(steps < 100);
}

TEST_CASE("the unfinished are counted by the index, whatever has ended before them") {
  TempDir dir;
  dtm::sqlite_store::Writer writer(Open(dir / "s.db"));
  const auto fill = [&](int from, int to, const char* due) {
    writer.db.Exec(("WITH RECURSIVE n (i) AS (SELECT " + std::to_string(from) +
                    " UNION ALL SELECT i + 1 FROM n WHERE i < " + std::to_string(to) +
                    ") INSERT INTO dtm_trans (gid, type, status, version, created, finished, due, "
                    "definition, state) SELECT 'gid' || i, 1, 2, 1, i, 0, " +
                    due + ", x'00', x'0201' FROM n")
                       .c_str());
  };
  fill(1, 20000, "NULL");
  fill(20001, 20010, "i");
  fill(20011, 20012, "9223372036854775807");
  dtm::sqlite_store::Reader reader(Open(dir / "s.db"));
  const int steps = StepsOf(*reader.owned, "count(*)", [&] {
    REQUIRE(reader.unfinished.Bind(1, 20005).Step());
    CHECK(reader.unfinished.Int(0) == 12);
    CHECK(reader.unfinished.Int(1) == 7);
    CHECK(reader.unfinished.Int(2) == 20001);
    reader.unfinished.Reset();
    REQUIRE(reader.stuck.Step());
    CHECK(reader.stuck.Int(0) == 2);
    reader.stuck.Reset();
  });
  CHECK(steps < 500);
}

TEST_CASE("only the unfinished are in the index of what is due") {
  TempDir dir;
  {
    dtm::SqliteStore store(dir / "s.db");
    dtm::Transaction one = NewTransaction("one", At(1));
    REQUIRE(Put(store, one));
    REQUIRE(Put(store, NewTransaction("two", At(2))));
    one.status = dtm::Status::kSucceed;
    one.finished = At(3);
    REQUIRE(Put(store, one));
  }
  Database db(dir / "s.db", SQLITE_OPEN_READWRITE);
  Statement count(db, "SELECT count(*) FROM dtm_trans WHERE due IS NOT NULL");
  REQUIRE(count.Step());
  CHECK(count.Int(0) == 1);
  count.Reset();
}

TEST_CASE("a large definition is not in the row that every step rewrites") {
  TempDir dir;
  {
    dtm::SqliteStore store(dir / "s.db");
    REQUIRE(Put(store, NewTransaction("small", At(1), std::string(1000, 'x'))));
    REQUIRE(Put(store, NewTransaction("large", At(1), std::string(3000, 'x'))));
  }
  Database db(dir / "s.db", SQLITE_OPEN_READWRITE);
  Statement rows(db,
                 "SELECT definition IS NULL, (SELECT length(b.definition) FROM "
                 "dtm_big_definition b WHERE b.id = t.id) FROM dtm_trans t ORDER BY id");
  REQUIRE(rows.Step());
  CHECK(rows.Int(0) == 0);
  CHECK(rows.IsNull(1));
  REQUIRE(rows.Step());
  CHECK(rows.Int(0) == 1);
  CHECK(rows.Int(1) > 3000);
  CHECK_FALSE(rows.Step());
}

TEST_CASE("times are microseconds") {
  CHECK(dtm::sqlite_store::Stored(dtm::Time(std::chrono::seconds(2))) == 2000000);
  for (const dtm::Time time : {dtm::Time{}, At(5), dtm::kNever, (dtm::Time::min)()}) {
    CHECK((dtm::sqlite_store::FromStored(dtm::sqlite_store::Stored(time)) == time));
  }
}
