/// Where the file keeps a definition that changes: in the row, or in the table of large ones, never
/// in both and never in neither.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/contract_records.hpp"
#include "tests/store/contract_steps.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/codec.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>

using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::Status;
using dtm::Transaction;

namespace {

std::int64_t Number(const std::string& path, const std::string& sql) {
  dtm::sql::Database db(path, SQLITE_OPEN_READWRITE);
  dtm::sql::Statement statement(db, sql);
  REQUIRE(statement.Step());
  return statement.Int(0);
}

}  // namespace

TEST_CASE("sqlite: a definition that changes is in one place, the right one for its size") {
  const TempDir dir;
  const std::string path = dir / "a.db";
  dtm::SqliteStore store(path, dtm::Durability::kProcess);
  Transaction one = NewTransaction("one");
  Transaction large = NewTransaction("large", At(0), std::string(5000, 'x'));
  REQUIRE(Put(store, one));
  REQUIRE(Put(store, large));
  int number = 0;
  for (const std::size_t bytes : {5000u, 10u, 1900u, 3000u, 4000u, 20u}) {
    store_contract::Redefine(one, bytes, ++number);
    REQUIRE(store_contract::PutRedefined(store, one));
    CAPTURE(bytes);
    const bool big = bytes > 2048;
    CHECK(Number(path, "SELECT definition IS NULL FROM dtm_trans WHERE gid = 'one'") == big);
    CHECK(Number(path, "SELECT count(*) FROM dtm_big_definition") == (big ? 2 : 1));
  }
  // The limit itself: 2048 bytes as encoded are small.
  for (int size = 2046; size <= 2050; ++size) {
    auto definition = std::make_shared<dtm::Definition>();
    definition->gid = "one";
    definition->steps = {{"", "", std::string(2000, 'x')}};
    const auto encoded = [&] {
      return static_cast<int>(dtm::codec::EncodeDefinition(*definition).size());
    };
    definition->steps[0].payload.append(static_cast<std::size_t>(size - encoded()), 'x');
    REQUIRE(encoded() == size);
    one.definition = definition;
    REQUIRE(store_contract::PutRedefined(store, one));
    CAPTURE(size);
    CHECK(Difference(*store.Load("one"), one).empty());
    CHECK(Number(path, "SELECT count(*) FROM dtm_big_definition") == (size > 2048 ? 2 : 1));
  }
}

TEST_CASE("sqlite: what became large by a change leaves nothing behind when it expires") {
  const TempDir dir;
  const std::string path = dir / "a.db";
  dtm::SqliteStore store(path, dtm::Durability::kProcess);
  Transaction one = NewTransaction("one");
  REQUIRE(Put(store, one));
  store_contract::Redefine(one, 5000, 1);
  REQUIRE(store_contract::PutRedefined(store, one));
  one.status = dtm::Status::kSucceed;
  one.finished = At(1);
  REQUIRE(Put(store, one));
  store.Begin();
  store.Expire(At(100), 0, 10, false);
  store.Commit();
  CHECK(Number(path, "SELECT count(*) FROM dtm_trans") == 0);
  CHECK(Number(path, "SELECT count(*) FROM dtm_big_definition") == 0);
}

TEST_CASE(
    "sqlite: an added step has a row of its own, until the definition is written as a whole") {
  const TempDir dir;
  const std::string path = dir / "a.db";
  dtm::SqliteStore store(path, dtm::Durability::kProcess);
  Transaction one = store_contract::Registering("one", dtm::TransType::kTcc, 10);
  REQUIRE(Put(store, one));
  const std::string kDefinitionBytes = "SELECT length(definition) FROM dtm_trans";
  const std::int64_t before = Number(path, kDefinitionBytes);
  REQUIRE(store_contract::PutAdded(store, one, 3));
  CHECK(Number(path, kDefinitionBytes) == before);
  CHECK(Number(path, "SELECT count(*) FROM dtm_step") == 3);
  REQUIRE(store_contract::PutRedefined(store, one));
  CHECK(Number(path, "SELECT count(*) FROM dtm_step") == 0);
  CHECK(Difference(*store.Load("one"), one).empty());
}

TEST_CASE("sqlite: a damaged or missing step stops that transaction and no other") {
  const TempDir dir;
  const std::string path = dir / "a.db";
  const std::string damage = GENERATE(as<std::string>{}, "DELETE FROM dtm_step WHERE nr = 2",
                                      "UPDATE dtm_step SET step = x'02' WHERE nr = 2",
                                      "UPDATE dtm_step SET step = x'63' WHERE nr = 2",
                                      "UPDATE dtm_step SET step = step || x'00' WHERE nr = 3",
                                      "UPDATE dtm_step SET nr = 9 WHERE nr = 3");
  CAPTURE(damage);
  Transaction one = store_contract::Registering("one", dtm::TransType::kWorkflow, 10);
  Transaction other = store_contract::Registering("other", dtm::TransType::kWorkflow, 10);
  {
    dtm::SqliteStore store(path, dtm::Durability::kProcess);
    REQUIRE(Put(store, one));
    REQUIRE(Put(store, other));
    REQUIRE(store_contract::PutAdded(store, other, 1));
    REQUIRE(store_contract::PutAdded(store, one, 3));
    const auto last = static_cast<int>(one.definition->steps.size()) - 1;
    REQUIRE(last == 3);
  }
  {
    dtm::sql::Database db(path, SQLITE_OPEN_READWRITE);
    db.Exec((damage + " AND trans = " + std::to_string(one.id)).c_str());
  }
  dtm::SqliteStore store(path, dtm::Durability::kProcess);
  const auto loaded = store.Load("one");
  REQUIRE(loaded.has_value());
  CHECK(loaded->unreadable);
  CHECK_FALSE(loaded->last_error.empty());
  CHECK(Difference(*store.Load("other"), other).empty());
  CHECK(DuePage(store, At(1000), {}, 10).size() == 2);
}

TEST_CASE("sqlite: steps that were left by who removed their transaction are not the next one's") {
  const TempDir dir;
  const std::string path = dir / "a.db";
  dtm::SqliteStore store(path, dtm::Durability::kProcess);
  Transaction removed = store_contract::Registering("removed", dtm::TransType::kTcc, 10);
  REQUIRE(Put(store, removed));
  REQUIRE(store_contract::PutAdded(store, removed, 3));
  {
    dtm::sql::Database db(path, SQLITE_OPEN_READWRITE);
    db.Exec("DELETE FROM dtm_trans");
  }
  Transaction next = store_contract::Registering("next", dtm::TransType::kTcc, 10);
  REQUIRE(Put(store, next));
  REQUIRE(next.id == removed.id);
  store_contract::ExpectStored(store, next);
  REQUIRE(store_contract::PutAdded(store, next, 1));
  store_contract::ExpectStored(store, next);
}

TEST_CASE("sqlite: added steps count for how much one step of retention removes") {
  const TempDir dir;
  dtm::SqliteStore store(dir / "a.db", dtm::Durability::kProcess);
  std::vector<Transaction> all;
  for (const char* gid : {"one", "two", "three"}) {
    all.push_back(store_contract::Registering(gid, dtm::TransType::kTcc, 10));
    REQUIRE(Put(store, all.back()));
    REQUIRE(store_contract::PutAdded(store, all.back(), 5, 250000));
    all.back().status = Status::kSucceed;
    all.back().finished = At(1);
    REQUIRE(Put(store, all.back()));
  }
  store.Begin();
  CHECK(store.Expire(At(1000), 0, 100, true) == all[0].id);
  store.Commit();
  CHECK(All(store).size() == 2);
}

TEST_CASE("sqlite: a definition written by a change is there when the file is opened again") {
  const TempDir dir;
  for (const std::size_t from : {std::size_t{10}, std::size_t{9000}}) {
    for (const std::size_t to : {std::size_t{20}, std::size_t{8000}}) {
      CAPTURE(from, to);
      const std::string path = dir / (std::to_string(from) + "-" + std::to_string(to));
      Transaction one = NewTransaction("one", At(0), std::string(from, 'f'));
      {
        dtm::SqliteStore store(path, dtm::Durability::kProcess);
        REQUIRE(Put(store, one));
        store_contract::Redefine(one, to, 3);
        REQUIRE(store_contract::PutRedefined(store, one));
      }
      dtm::SqliteStore store(path, dtm::Durability::kProcess);
      CHECK(Difference(*store.Load("one"), one).empty());
    }
  }
}
