/// Retention in the SQLite store, where the user's own tables hold what has expired.
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::SqliteStore;
using dtm_test::TempDir;

TEST_CASE(
    "a foreign key or trigger of the user's tables holds what it refers to, and harms nothing "
    "else") {
  TempDir dir;
  const std::string reference = GENERATE(
      "REFERENCES dtm_trans(id)", "REFERENCES dtm_trans(id) DEFERRABLE INITIALLY DEFERRED", "");
  const bool keep_gids = GENERATE(false, true);
  CAPTURE(reference, keep_gids);
  SqliteStore store(dir / "s.db", dtm::Durability::kPower, [&](sqlite3* db) {
    const std::string table = "CREATE TABLE IF NOT EXISTS t (id INTEGER " + reference + ")";
    REQUIRE(sqlite3_exec(db, table.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
    const char* trigger =
        "CREATE TRIGGER IF NOT EXISTS r BEFORE DELETE ON dtm_trans WHEN old.gid = 'b' "
        "BEGIN SELECT RAISE(ABORT, 'mine'); END";
    if (reference.empty()) {
      REQUIRE(sqlite3_exec(db, trigger, nullptr, nullptr, nullptr) == SQLITE_OK);
    }
  });
  std::vector<dtm::Transaction> old;
  for (const char* gid : {"a", "b", "c"}) {
    auto definition = std::make_shared<dtm::Definition>();
    definition->gid = gid;
    dtm::Transaction transaction;
    transaction.definition = definition;
    transaction.status = dtm::Status::kSucceed;
    transaction.created = transaction.finished = dtm::Time(std::chrono::seconds(100));
    old.push_back(transaction);
  }
  const auto write = [&](dtm::Transaction& transaction) {
    std::vector<dtm::Change> changes{{&transaction, true, false, false}};
    store.Apply(changes);
    CHECK(changes[0].applied);
  };
  store.Begin();
  for (dtm::Transaction& transaction : old) write(transaction);
  store.Commit();
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open((dir / "s.db").c_str(), &db) == SQLITE_OK);
  REQUIRE(sqlite3_exec(db, "INSERT INTO t SELECT id FROM dtm_trans WHERE gid = 'b'", nullptr,
                       nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(db);
  dtm::Transaction innocent = old[0];
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = "innocent";
  innocent.definition = definition;
  innocent.id = 0;
  store.Begin();
  write(innocent);
  try {
    store.Expire(dtm::Time(std::chrono::seconds(200)), 0, 10, keep_gids);
    FAIL("it says nothing");
  } catch (const dtm::NotAllExpired& error) {
    CHECK(error.next == 0);
    CHECK_THAT(error.what(), ContainsSubstring("1 finished transactions"));
  }
  store.Commit();
  REQUIRE(store.Load("b"));
  CHECK(store.Load("b")->id != 0);
  for (const char* gid : {"a", "c"}) {
    const auto left = store.Load(gid);
    CHECK((keep_gids ? left && left->id == 0 : !left));
  }
}

TEST_CASE("a foreign key to a kept gid holds it, and harms nothing else") {
  TempDir dir;
  const std::string deferred = GENERATE("", " DEFERRABLE INITIALLY DEFERRED");
  SqliteStore store(dir / "s.db", dtm::Durability::kPower);
  const auto batch = [&](const auto& change) {
    store.Begin();
    change();
    store.Commit();
  };
  const auto ended = [&](const char* gid) {
    auto definition = std::make_shared<dtm::Definition>();
    definition->gid = gid;
    dtm::Transaction transaction;
    transaction.definition = definition;
    transaction.status = dtm::Status::kSucceed;
    transaction.created = transaction.finished = dtm::Time(std::chrono::seconds(100));
    std::vector<dtm::Change> changes{{&transaction, true, false, false}};
    store.Apply(changes);
    CHECK(changes[0].applied);
  };
  const dtm::Time later{std::chrono::seconds(200)};
  batch([&] {
    for (const char* gid : {"a", "b", "c"}) ended(gid);
  });
  batch([&] { store.Expire(later, 0, 10, true); });
  REQUIRE(store.Load("b")->expired);
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open((dir / "s.db").c_str(), &db) == SQLITE_OK);
  const std::string mine = "CREATE TABLE t (gid TEXT REFERENCES dtm_gids(gid)" + deferred +
                           "); INSERT INTO t VALUES ('b')";
  REQUIRE(sqlite3_exec(db, mine.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(db);
  batch([&] {
    ended("innocent");
    CHECK(store.ForgetGids(later, "", 10).empty());
  });
  CHECK(store.Load("innocent"));
  CHECK(store.Load("b"));
  CHECK(!store.Load("a"));
  CHECK(!store.Load("c"));
}
