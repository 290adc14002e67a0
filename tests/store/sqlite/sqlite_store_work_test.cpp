/// User work in the SQLite store: its rows share the batch, what it breaks is undone or the batch is lost as a whole.
#include <functional>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>

using Catch::Matchers::ContainsSubstring;
using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::Result;
using dtm::SqliteStore;
using dtm::Transaction;
using Kind = dtm::Result::Kind;
using Texts = std::vector<std::string>;

namespace {

int Exec(sqlite3* db, const std::string& text) {
  return sqlite3_exec(db, text.c_str(), nullptr, nullptr, nullptr) & 0xFF;
}

/// A work of this SQL, which does not look at what it gives.
dtm::Work Doing(const std::string& text, Result result = Result::Success()) {
  return [text, result](sqlite3* db) {
    Exec(db, text);
    return result;
  };
}

struct File {
  File()
      : path(dir / "s.db"), store(path, dtm::Durability::kProcess, [this](sqlite3* db) {
          ++opened;
          REQUIRE(Exec(db,
                       "CREATE TABLE IF NOT EXISTS t (x INTEGER PRIMARY KEY);"
                       "CREATE TABLE IF NOT EXISTS child (t REFERENCES t "
                       "DEFERRABLE INITIALLY DEFERRED)") == SQLITE_OK);
        }) {}
  std::string Rows() const {
    dtm::sql::Database db(path, SQLITE_OPEN_READWRITE);
    dtm::sql::Statement all(db, "SELECT x FROM t ORDER BY x");
    std::string rows;
    while (all.Step()) rows += all.Text(0) + " ";
    return rows;
  }

  TempDir dir;
  const std::string path;
  int opened = 0;
  SqliteStore store;
};

}  // namespace

TEST_CASE("rows of a work are kept on success and undone otherwise") {
  File file;
  Transaction one = NewTransaction("one");
  Transaction two = NewTransaction("two");
  file.store.Begin();
  REQUIRE(ApplyOne(file.store, one));
  file.store.Run(Doing("INSERT INTO t VALUES (1)"));
  file.store.Run(Doing("INSERT INTO t VALUES (2)", Result::Failure("no")));
  file.store.Run(Doing("INSERT INTO t VALUES (3)", Result::Ongoing()));
  file.store.Run(Doing("INSERT INTO t VALUES (4)", Result::Error("e")));
  file.store.Run([](sqlite3* db) -> Result {
    Exec(db, "INSERT INTO t VALUES (5)");
    throw 1;
  });
  file.store.Run(Doing("INSERT INTO t VALUES (6)"));
  REQUIRE(ApplyOne(file.store, two));
  CHECK(file.Rows().empty());
  file.store.Commit();
  CHECK(file.Rows() == "1 6 ");
  CHECK(Gids(All(file.store)) == Texts{"two", "one"});

  file.store.Begin();
  file.store.Run(Doing("INSERT INTO t VALUES (7)"));
  file.store.Rollback();
  CHECK(file.Rows() == "1 6 ");
}

TEST_CASE("a work that rolls everything back loses the batch, and commits nothing afterwards") {
  for (const char* rest : {"", ";INSERT INTO t VALUES (9)"}) {
    File file;
    Transaction one = NewTransaction("one");
    file.store.Begin();
    REQUIRE(ApplyOne(file.store, one));
    REQUIRE(file.store.Run(Doing("INSERT INTO t VALUES (1)")).kind == Kind::kSuccess);
    CHECK_THROWS_AS(file.store.Run([&](sqlite3* db) {
      CHECK(Exec(db, "INSERT OR ROLLBACK INTO t VALUES (1)") == SQLITE_CONSTRAINT);
      CHECK((Exec(db, rest) == SQLITE_OK) == std::string(rest).empty());
      return Result::Success();
    }),
                    dtm::BatchLost);
    file.store.Rollback();
    CHECK(file.Rows().empty());
    CHECK(All(file.store).empty());
    one.id = 0;
    CHECK(Put(file.store, one));  // and it goes on
    file.store.Begin();
    CHECK(file.store.Run(Doing("INSERT INTO t VALUES (2)")).kind == Kind::kSuccess);
    file.store.Commit();
    CHECK(file.Rows() == "2 ");
  }
}

TEST_CASE("nor does a statement that was left in the middle after the rollback") {
  File file;
  sqlite3_stmt* left = nullptr;
  file.store.Begin();
  REQUIRE(file.store.Run(Doing("INSERT INTO t VALUES (1)")).kind == Kind::kSuccess);
  CHECK_THROWS_AS(file.store.Run([&](sqlite3* db) {
    Exec(db, "INSERT OR ROLLBACK INTO t VALUES (1)");
    REQUIRE(sqlite3_prepare_v2(db, "INSERT INTO t VALUES (9), (10) RETURNING x", -1, &left,
                               nullptr) == SQLITE_OK);
    CHECK(sqlite3_step(left) == SQLITE_ROW);  // it would commit when it is reset
    return Result::Success();
  }),
                  dtm::BatchLost);
  file.store.Rollback();
  CHECK(file.Rows().empty());
  sqlite3_finalize(left);
  CHECK(file.Rows().empty());
  file.store.Begin();
  CHECK(file.store.Run(Doing("INSERT INTO t VALUES (2)")).kind == Kind::kSuccess);
  file.store.Commit();
  CHECK(file.Rows() == "2 ");
}

TEST_CASE("a deferred foreign key that is violated is the work's own error") {
  File file;
  file.store.Begin();
  const Result pending = file.store.Run(Doing("INSERT INTO child VALUES (1)"));
  CHECK(pending.kind == Kind::kError);
  CHECK_THAT(pending.text, ContainsSubstring("foreign key"));
  CHECK(file.store.Run(Doing("INSERT INTO child VALUES (1); INSERT INTO t VALUES (1)")).kind ==
        Kind::kSuccess);
  CHECK(file.store.Run(Doing("INSERT INTO child VALUES (7)", Result::Failure("no"))).text == "no");
  CHECK(file.store.Run(Doing("DELETE FROM t WHERE x = 1")).kind == Kind::kError);
  file.store.Commit();
  CHECK(file.Rows() == "1 ");
}

TEST_CASE("statements left in the middle do not keep the batch from committing or being undone") {
  for (const Result& result : {Result::Success(), Result::Failure("no")}) {
    File file;
    file.store.Begin();
    REQUIRE(file.store.Run(Doing("INSERT INTO t VALUES (1), (2), (3)")).kind == Kind::kSuccess);
    sqlite3_stmt* left = nullptr;
    CHECK(file.store
              .Run([&](sqlite3* db) {
                REQUIRE(sqlite3_prepare_v2(db, "SELECT x FROM t", -1, &left, nullptr) == SQLITE_OK);
                REQUIRE(sqlite3_step(left) == SQLITE_ROW);
                Exec(db, "INSERT INTO t VALUES (4)");
                return result;
              })
              .kind == result.kind);
    file.store.Commit();
    CHECK(file.Rows() == (result.kind == Kind::kSuccess ? "1 2 3 4 " : "1 2 3 "));
    sqlite3_finalize(left);
  }
}

TEST_CASE("a statement that is never finalised does not keep a recovery from writing") {
  File file;
  sqlite3_stmt* kept = nullptr;
  file.store.Begin();
  file.store.Run([&](sqlite3* db) {
    REQUIRE(sqlite3_prepare_v2(db, "SELECT 1", -1, &kept, nullptr) == SQLITE_OK);
    Exec(db, "INSERT INTO t VALUES (1)");
    return Result::Success();
  });
  file.store.Recover();  // drops the open batch
  CHECK(file.opened == 2);
  CHECK(file.Rows().empty());
  file.store.Begin();
  file.store.Run(Doing("INSERT INTO t VALUES (2)"));
  file.store.Commit();
  CHECK(file.Rows() == "2 ");
  sqlite3_finalize(kept);
}

TEST_CASE("after a change of the schema our own statements work, in and beside works") {
  File file;
  const auto put = [&] {
    dtm::KeyValue value;
    value.category = "c";
    value.key = "k";
    file.store.PutValue(value);
    return file.store.GetValue("c", "k") ? Result::Success() : Result::Error("gone");
  };
  for (int i = 0; i < 3; ++i) {
    file.store.Begin();
    CHECK(file.store.Run(Doing("CREATE TABLE more" + std::to_string(i) + " (x)")).kind ==
          Kind::kSuccess);
    CHECK(file.store.Run([&](sqlite3*) { return put(); }).text.empty());
    Transaction one = NewTransaction(std::to_string(i));
    REQUIRE(ApplyOne(file.store, one));
    // And what the user does after ours is judged again.
    CHECK(file.store
              .Run([&](sqlite3* db) {
                (void)put();
                return Exec(db, "DELETE FROM dtm_kv") == SQLITE_AUTH ? Result::Success()
                                                                     : Result::Error("allowed");
              })
              .text.empty());
    file.store.Commit();
  }
  CHECK(All(file.store).size() == 3);
}
