/// The store in PostgreSQL keeps the contract of stores and that of owners, on a real server.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/contract_owners.hpp"
#include "tests/store/store_contract.hpp"
#include "tests/support/postgres_server.hpp"
#include <dtm/store/postgres/postgres_store.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::shared_store::Query;
using dtm_test::Ask;
using dtm_test::PostgresServer;

namespace {

std::string AskStore(const std::string& sql) {
  const dtm::PgConnection connection(PostgresServer::Shared().Conninfo());
  Ask(connection.Handle(), "SET search_path = store");
  return Ask(connection.Handle(), sql);
}

std::unique_ptr<dtm::postgres_store::Database> Tables() {
  dtm::PostgresStoreOptions options;
  options.schema = "store";
  return std::make_unique<dtm::postgres_store::Database>(PostgresServer::Shared().Conninfo(),
                                                         options);
}
/// Without beats: who is dead is told by the test.
std::unique_ptr<dtm::Store> Open() {
  return std::make_unique<dtm::SharedStore>(Tables(), std::chrono::seconds(1));
}

/// The tables are made once, which takes longer than a test.
std::unique_ptr<dtm::Store> OpenEmpty() {
  const dtm::PgConnection connection(PostgresServer::Shared().Conninfo());
  if (Ask(connection.Handle(), "SELECT to_regclass('store.dtm_trans')").empty()) return Open();
  Ask(connection.Handle(),
      "SET search_path = store; DELETE FROM dtm_trans; DELETE FROM dtm_step; DELETE FROM "
      "dtm_journal; DELETE FROM dtm_kv; DELETE FROM dtm_node");
  return Open();
}

}  // namespace

TEST_CASE(
    "a store in PostgreSQL keeps the contract of stores, and says what was applied after Commit") {
  using namespace dtm_test::store_contract;  // NOLINT(google-build-using-namespace)
  RunEach(Checks(), OpenEmpty);
  RunEach(ChecksOfWorks(), OpenEmpty);
}

TEST_CASE("a store in PostgreSQL keeps the contract of owners") {
  dtm_test::ExpectOwnership([] {
    auto one = OpenEmpty();
    auto two = Open();
    const auto dead = static_cast<std::int64_t>(one->Owner());
    const auto heir = static_cast<std::int64_t>(two->Owner());
    const std::shared_ptr<dtm::shared_store::Connection> third = Tables()->Connect();
    return dtm_test::store_contract::TwoOwners{
        std::move(one), std::move(two),
        [=] {
          const std::int64_t beat = 1;
          REQUIRE(third->Run(Query::kInherit, {dead, beat, std::int64_t{0}, heir})->Count() == 1);
        },
        [=](std::size_t limit) {
          return third->Run(Query::kClaim, {dead, heir, static_cast<std::int64_t>(limit)})->Count();
        }};
  });
}

TEST_CASE("the schema file has the tables that the store makes") {
  std::ifstream file(std::string(DTM_SOURCE_DIR) + "/sql/dtm.store.postgres.sql");
  std::string text;
  std::getline(file, text);  // says what it is
  text.assign(std::istreambuf_iterator<char>(file), {});
  CHECK("\n" + text == dtm::postgres_schema::kTables);
}

TEST_CASE("a store of a newer version, or of none, is refused and not touched") {
  (void)OpenEmpty();
  for (const char* version : {"2", "1000", "0", "-1", "x", ""}) {
    AskStore(std::string("UPDATE dtm_meta SET value = '") + version +
             "' WHERE key = 'schema_version'");
    CAPTURE(version);
    CHECK_THROWS_WITH(Open(),
                      ContainsSubstring("has schema version '" + std::string(version) + "'"));
    CHECK(AskStore("SELECT value FROM dtm_meta WHERE key = 'schema_version'") == version);
  }
  AskStore("UPDATE dtm_meta SET value = '1' WHERE key = 'schema_version'");
  CHECK(Open()->Owner() > 0);
}

TEST_CASE("of several that open an empty database at once one makes the tables") {
  dtm::PostgresStoreOptions options;
  options.schema = "store_at_once";
  std::atomic<int> opened{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      try {
        opened += dtm::PostgresStore(PostgresServer::Shared().Conninfo(), options)->Owner() > 0;
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(opened == 4);
}

TEST_CASE("what is wrong is refused at once, without the password") {
  dtm::PostgresStoreOptions options;
  for (const char* conninfo : {"postgresql://user:secret@[::1/x", "postgresql://user:secret/1@/x",
                               "host=x password='secret", "secret"}) {
    try {
      (void)dtm::PostgresStore(conninfo, options);
      CHECK(false);
    } catch (const dtm::LogicError& error) {
      CHECK_THAT(error.what(), ContainsSubstring("no conninfo") && !ContainsSubstring("secret"));
    }
  }
  try {
    (void)dtm::PostgresStore("host=/nowhere user=dtm password=secret", options);
    CHECK(false);
  } catch (const dtm::StoreError& error) {
    CHECK_THAT(error.what(), ContainsSubstring("/nowhere") && !ContainsSubstring("secret"));
  }
  options.schema = "a.b";
  CHECK_THROWS_AS(dtm::PostgresStore("", options), dtm::LogicError);
  options.schema = "a\"";
  CHECK_THROWS_AS(dtm::PostgresStore("", options), dtm::LogicError);
  options.schema.clear();
  options.store_timeout = std::chrono::milliseconds(99);
  CHECK_THROWS_AS(dtm::PostgresStore("", options), dtm::LogicError);
}

TEST_CASE("what has expired goes in small steps, with its steps and journal, and its gid is kept") {
  using namespace dtm_test::store_contract;  // NOLINT(google-build-using-namespace)
  const auto store = OpenEmpty();
  for (const bool keep : {false, true}) {
    const std::string name = keep ? "kept" : "gone";
    for (int i = 0; i < 10; ++i) {
      dtm::Transaction old = Registering(name + std::to_string(i), dtm::TransType::kTcc, 10);
      REQUIRE(PutTold(*store, old, {ErrorEntry(1)}));
      for (std::size_t n = 0; n < 9; ++n) REQUIRE(PutTold(*store, old, {ErrorEntry(n)}));
      REQUIRE(PutAdded(*store, old, 2));
      if (i % 2 == 0) continue;
      old.status = dtm::Status::kSucceed;
      old.finished = dtm_test::At(i);
      REQUIRE(dtm_test::Put(*store, old));
    }
    std::int64_t position = 0;
    int steps = 0;
    do {
      const std::size_t before = dtm_test::All(*store).size();
      position = store->Expire(dtm_test::At(100), position, 4, keep);
      CHECK(before - dtm_test::All(*store).size() <= 4);
      ++steps;
    } while (position != 0);
    CHECK(steps > 2);
    CHECK(dtm_test::All(*store).size() == (keep ? 10U : 5U));
    CHECK(store->ReadJournal(name + "1").empty());
    CHECK(store->ReadJournal(name + "2").size() == 10);
    CHECK(store->Load(name + "1").has_value() == keep);
  }
  CHECK(AskStore("SELECT count(*) FROM dtm_journal") == "10");
  CHECK(AskStore("SELECT count(*) FROM dtm_step") == "20");
  CHECK(store->Load("kept3")->expired);
  CHECK_FALSE(dtm_test::Put(*store, dtm_test::NewTransaction("kept3")));
  std::string position;
  int steps = 0;
  do {
    const std::string next = store->ForgetGids(dtm_test::At(5), position, 2);
    CHECK((next.empty() || next > position));
    position = next;
    ++steps;
  } while (!position.empty());
  CHECK(steps == 3);
  for (int i = 1; i < 10; i += 2)
    CHECK(store->Load("kept" + std::to_string(i)).has_value() == (i >= 5));
  REQUIRE(dtm_test::Put(*store, dtm_test::NewTransaction("kept3")));
}

TEST_CASE(
    "of two that write one value at once the second is told, and nothing of its batch is stored") {
  using namespace dtm_test::store_contract;  // NOLINT(google-build-using-namespace)
  const auto one = OpenEmpty();
  const auto two = Open();
  PutOne(*one, NewValue("topics", "t", "first"));
  for (const bool removes : {false, true}) {
    dtm::Transaction beside = dtm_test::NewTransaction("beside");
    two->Begin();
    const dtm_test::Batch batch(*two, {&beside});
    removes ? (void)two->RemoveValue("topics", "t")
            : two->PutValue(NewValue("topics", "t", "mine"));
    two->PutValue(NewValue("topics", "new", "mine"));
    PutOne(*one, NewValue("topics", "t", "theirs"));
    CHECK_THROWS_AS(two->Commit(), dtm::BatchLost);
    two->Rollback();
    CHECK_FALSE(one->Load("beside").has_value());
    CHECK(Values(*one).size() == 1);
  }
  two->Begin();
  two->PutValue(NewValue("topics", "t", "mine"));
  two->Commit();
  CHECK(Values(*one) == std::vector<std::string>{"topics/t=mine#4"});
}

TEST_CASE("a record that cannot be read stops nobody else") {
  const auto store = OpenEmpty();
  for (const char* gid : {"a", "b", "c", "d"})
    REQUIRE(dtm_test::Put(*store, dtm_test::NewTransaction(gid)));
  AskStore("UPDATE dtm_trans SET state = '\\x09' WHERE gid = 'b'");
  AskStore("UPDATE dtm_trans SET status = 77 WHERE gid = 'c'");
  AskStore("UPDATE dtm_trans SET definition = '' WHERE gid = 'd'");
  const auto all = dtm_test::DuePage(*store, dtm_test::At(99), {}, 10);
  REQUIRE(all.size() == 4);
  CHECK_FALSE(all[0].unreadable);
  for (std::size_t i = 1; i < 4; ++i) CHECK(all[i].unreadable);
  AskStore("UPDATE dtm_trans SET due = 9223372036854775807 WHERE gid = 'b'");
  CHECK(store->CountUnfinished(dtm_test::At(99)).unfinished == 4);
}

TEST_CASE(
    "who is silent for a lease is taken over by one of the others, page by page, and buried") {
  using dtm::shared_store::Members;
  using std::chrono::milliseconds;
  const auto dead = OpenEmpty();
  const auto one = Open();
  const auto two = Open();
  dtm::Duration now = std::chrono::hours(1);
  const auto time = [&now] { return now; };
  Members members_of_dead(milliseconds(1000), time);
  Members members_of_one(milliseconds(1000), time);
  Members members_of_two(milliseconds(1000), time);
  const auto connection = Tables()->Connect();
  const auto beat = [&](Members& members, const std::unique_ptr<dtm::Store>& store) {
    return members.Beat(*connection, store->Owner());
  };
  std::vector<dtm::Transaction> all;
  for (int i = 0; i < 700; ++i) all.push_back(dtm_test::NewTransaction("g" + std::to_string(i)));
  std::vector<dtm::Change> changes;
  for (dtm::Transaction& each : all) changes.push_back({&each});
  dead->Begin();
  dead->Apply(changes);
  dead->Commit();

  for (int i = 0; i < 20; ++i, now += milliseconds(250)) {  // all live
    CHECK(beat(members_of_dead, dead).is_member);
    const Members::Seen seen = beat(members_of_one, one);
    CHECK(seen.is_member);
    CHECK(seen.until == now + milliseconds(900));
    CHECK(seen.taken == 0);
    CHECK(beat(members_of_two, two).taken == 0);
  }
  SECTION("one of the two, after a lease and not before") {
    for (int i = 0; i < 3; ++i, now += milliseconds(250)) {
      CHECK(beat(members_of_one, one).taken == 0);
      CHECK(beat(members_of_two, two).taken == 0);
    }
    CHECK(beat(members_of_one, one).taken == 700);
    CHECK(beat(members_of_two, two).taken == 0);
    CHECK_FALSE(beat(members_of_dead, dead).is_member);
    CHECK(dtm_test::DuePage(*one, dtm_test::At(99), {}, 1000).size() == 700);
    CHECK(AskStore("SELECT count(*) FROM dtm_node WHERE id = " + std::to_string(dead->Owner())) ==
          "0");
    CHECK_THROWS_AS(dtm_test::Put(*dead, dtm_test::NewTransaction("late")), dtm::Fenced);
    dead->Recover();
    CHECK(dtm_test::Put(*dead, dtm_test::NewTransaction("new")));
  }
  SECTION("one that leaves has it taken over at once") {
    dead->Leave();
    CHECK_THROWS_AS(dead->Begin(), dtm::StoreError);
    CHECK(dead->Load("g1").has_value());
    CHECK(beat(members_of_two, two).taken == 700);
    CHECK(beat(members_of_one, one).taken == 0);
  }
  SECTION("an observer that was itself silent begins to count again") {
    now += milliseconds(5000);
    CHECK(beat(members_of_one, one).taken == 0);
    for (int i = 0; i < 4; ++i) {
      now += milliseconds(250);
      CHECK(beat(members_of_dead, dead).is_member);
      CHECK(beat(members_of_two, two).taken == 0);
      CHECK(beat(members_of_one, one).taken == 0);
    }
    CHECK(beat(members_of_dead, dead).is_member);
  }
  SECTION("of an heir that dies too the next one takes both") {
    REQUIRE(dtm_test::Put(*one, dtm_test::NewTransaction("ones")));
    REQUIRE(connection
                ->Run(Query::kInherit, {static_cast<std::int64_t>(dead->Owner()), std::int64_t{21},
                                        std::int64_t{0}, static_cast<std::int64_t>(one->Owner())})
                ->Count() == 1);
    for (int i = 0; i < 3; ++i, now += milliseconds(250))
      CHECK(beat(members_of_two, two).taken == 0);
    CHECK(beat(members_of_two, two).taken == 701);
    CHECK(AskStore("SELECT count(*) FROM dtm_node") == "1");
  }
  SECTION("after a takeover that takes longer than there is time the next beat comes at once") {
    now += milliseconds(1000);
    const auto slow = [&now] { return now += milliseconds(100); };
    Members members(milliseconds(1000), slow);
    (void)beat(members, two);
    std::size_t taken = 0;
    bool more = false;
    for (int i = 0; i < 20; ++i) {
      const Members::Seen seen = beat(members, two);
      taken += seen.taken;
      more = more || seen.more;
      CHECK(seen.is_member);
    }
    CHECK(taken == 700);
    CHECK(more);
  }
}
