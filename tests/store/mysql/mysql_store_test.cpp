/// The store in MariaDB keeps the contract of stores, that of owners and that of servers, on a real one.
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/contract_server.hpp"
#include "tests/support/mysql_server.hpp"
#include <dtm/store/mysql/mysql_store.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::MysqlServer;

namespace {

dtm::MysqlAddress Address(const std::string& database) {
  dtm::MysqlAddress address = MysqlServer::Shared().Address();
  static std::mutex mutex;
  static std::set<std::string> made;
  const std::lock_guard<std::mutex> lock(mutex);
  if (made.insert(database).second) {
    const dtm::MysqlConnection connection(address);
    dtm_test::Ask(connection.Handle(), "CREATE DATABASE IF NOT EXISTS " + database);
  }
  address.database = database;
  return address;
}

struct Kit {
  static constexpr const char* kOwnTables[] = {"trans", "step", "journal", "ask",
                                               "kv",    "node", "fence"};
  static constexpr char kMetaName[] = "name";
  static constexpr char kFile[] = "dtm.store.mysql.sql";
  static constexpr const char* kTables = dtm::mysql_schema::kTables;

  static std::string Bytes(const std::string& hex) { return "x'" + hex + "'"; }
  static std::string Ask(const std::string& sql) {
    const dtm::MysqlConnection connection(Address("store"));
    return dtm_test::Ask(connection.Handle(), sql);
  }
  static bool Made() { return !Ask("SHOW TABLES LIKE 'dtm\\_meta'").empty(); }
  static std::unique_ptr<dtm::shared_store::Database> Tables() {
    return std::make_unique<dtm::mysql_store::Database>(Address("store"), dtm::MysqlStoreOptions());
  }
  static std::unique_ptr<dtm::Store> Start(const std::string& place) {
    return dtm::MysqlStore(Address(place));
  }
};
using Server = dtm_test::ServerContract<Kit>;

}  // namespace

TEST_CASE(
    "a store in MariaDB keeps the contract of stores, and says what was applied after Commit") {
  Server::KeepsTheContract();
}
TEST_CASE("a store in MariaDB keeps the contract of owners") { Server::KeepsTheContractOfOwners(); }
TEST_CASE("MariaDB: the schema file has the tables that the store makes") {
  Server::SchemaFileHasTheTables();
}
TEST_CASE("MariaDB: a store of a newer version, or of none, is refused and not touched") {
  Server::OtherVersionsAreRefused();
}
TEST_CASE("MariaDB: an answer has a bounded size, however many large records there are") {
  Server::AnswersHaveABoundedSize();
}
TEST_CASE("MariaDB: of several that open an empty database at once each finds the tables") {
  Server::SeveralOpenAtOnce();
}
TEST_CASE(
    "MariaDB: what has expired goes in small steps, with its steps and journal, and its gid is "
    "kept") {
  Server::ExpiresInSmallSteps();
}
TEST_CASE(
    "MariaDB: of two that write one value at once the second is told, and nothing of its batch is "
    "stored") {
  Server::OneOfTwoWritesAValue();
}
TEST_CASE("MariaDB: a record that cannot be read stops nobody else") {
  Server::UnreadableRecordsStopNobody();
}
TEST_CASE(
    "MariaDB: who is silent for a lease is taken over by one of the others, page by page, and "
    "buried") {
  Server::TheSilentAreTakenOver();
}

TEST_CASE("MariaDB: what is wrong is refused at once, without the password") {
  dtm::MysqlAddress nowhere;
  nowhere.socket = "/nowhere";
  nowhere.user = "dtm";
  nowhere.password = "secret";
  CHECK_THROWS_AS(dtm::MysqlStore(nowhere), dtm::LogicError);  // no database
  nowhere.database = "x";
  dtm::MysqlAddress denied = MysqlServer::Shared().Address();
  denied.user = "dtm_nobody";
  denied.password = "secret";
  for (const dtm::MysqlAddress& address : {nowhere, denied}) {
    try {
      (void)dtm::MysqlStore(address);
      CHECK(false);
    } catch (const dtm::StoreError& error) {
      CHECK_THAT(error.what(), (ContainsSubstring("/nowhere") || ContainsSubstring("dtm_nobody")) &&
                                   !ContainsSubstring("secret"));
    }
  }
  dtm::MysqlStoreOptions options;
  options.store_timeout = std::chrono::seconds(0);
  CHECK_THROWS_AS(dtm::MysqlStore(nowhere, options), dtm::LogicError);
  options.store_timeout = std::chrono::seconds(5);
  options.lease = std::chrono::milliseconds(599);
  CHECK_THROWS_AS(dtm::MysqlStore(nowhere, options), dtm::LogicError);
}

TEST_CASE("MariaDB: whatever the server's defaults are, the store has its own") {
  struct Default {
    const char *name, *other;
  };
  const Default defaults[] = {{"autocommit", "0"},
                              {"completion_type", "'RELEASE'"},
                              {"sql_mode", "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,ORACLE'"},
                              {"sql_safe_updates", "1"},
                              {"sql_select_limit", "1"},
                              {"max_join_size", "1"},
                              {"tx_isolation", "'SERIALIZABLE'"},
                              {"tx_read_only", "1"},
                              {"time_zone", "'-11:00'"},
                              {"group_concat_max_len", "4"}};
  (void)Server::OpenEmpty();
  const dtm::MysqlConnection admin(Address("store"));
  const auto ask = [&](const std::string& sql) { return dtm_test::Ask(admin.Handle(), sql); };
  std::vector<std::string> before;
  for (const Default& each : defaults) {
    before.push_back(ask(std::string("SELECT @@GLOBAL.") + each.name));
    ask(std::string("SET GLOBAL ") + each.name + " = " + each.other);
  }
  using namespace dtm_test::store_contract;  // NOLINT(google-build-using-namespace)
  {
    const auto store = Server::Open();
    for (const char* gid : {"it's", "back\\slash", "zero"}) {
      dtm::Transaction old = Registering(gid, dtm::TransType::kTcc, 10);
      REQUIRE(PutTold(*store, old, {ErrorEntry(1)}));
      REQUIRE(PutAdded(*store, old, 2));
      CHECK(dtm_test::Difference(*store->Load(gid), old).empty());
    }
    CHECK(dtm_test::All(*store).size() == 3);
    PutOne(*store, NewValue("topics", "t", "a"));
    CHECK(Values(*Server::Open()) == std::vector<std::string>{"topics/t=a#1"});
    ask("SET GLOBAL max_allowed_packet = 1048576");
    CHECK_THROWS_WITH(Server::Open(), ContainsSubstring("max_allowed_packet of the server is"));
    ask("SET GLOBAL max_allowed_packet = 16777216");
  }
  for (std::size_t i = 0; i < before.size(); ++i) {
    const bool number = before[i].find_first_not_of("0123456789") == std::string::npos;
    ask(std::string("SET GLOBAL ") + defaults[i].name + " = " +
        (number && !before[i].empty() ? before[i] : "'" + before[i] + "'"));
  }
  CHECK(Server::Open()->Owner() > 0);
}

TEST_CASE("MariaDB: of two that make the same id at once one is left out, and may come again") {
  // By members whose numbers are 4096 apart, in the same microsecond; or by an outbox.
  const auto store = Server::OpenEmpty();
  const std::int64_t micros = dtm_test::At(0).time_since_epoch().count() - 1577836800000000;
  const std::int64_t id = micros * 4096 + static_cast<std::int64_t>(store->Owner() % 4096);
  const std::string there = std::to_string(id);
  Kit::Ask(
      "INSERT INTO dtm_trans (id, gid, type, status, version, created, finished, owner, app, "
      "definition, state) VALUES (" +
      there + ", 'theirs', 1, 3, 5, 0, 0, 0, '', '', '')");
  dtm::Transaction ours = dtm_test::NewTransaction("ours");
  dtm::Transaction other = dtm_test::NewTransaction("other");
  store->Begin();
  std::vector<dtm::Change> changes{{&ours}, {&other}};
  store->Apply(changes);
  store->Commit();
  CHECK(changes[0].applied == (ours.id != 0));
  CHECK(changes[0].applied != changes[1].applied);  // the first by its gid has the next id
  CHECK(store->Load("ours").has_value() == changes[0].applied);
  CHECK(Kit::Ask("SELECT version FROM dtm_trans WHERE id = " + there) == "5");
  CHECK(Kit::Ask("SELECT gid FROM dtm_trans WHERE id = " + there) == "theirs");
  dtm::Transaction& left_out = changes[0].applied ? other : ours;
  left_out.id = 0;
  CHECK(dtm_test::Put(*store, left_out));
}

TEST_CASE("MariaDB: a store may have several hosts, of which the first that can be used is") {
  const auto host = [](const std::string& text) {
    dtm::MysqlAddress address;
    address.host = text;
    std::string all;
    for (const dtm::MysqlAddress& each : dtm::mysql_store::EachHost(address))
      all += each.host + " " + std::to_string(each.port) + ";";
    return all;
  };
  CHECK(host("a") == "a 3306;");
  CHECK(host("a,b:3307,::1") == "a 3306;b 3307;::1 3306;");
  CHECK_THROWS_AS(host("a:b"), dtm::LogicError);
  CHECK_THROWS_AS(host("a:"), dtm::LogicError);
  dtm::MysqlAddress address = Address("store");
  address.host = "127.0.0.1:1," + address.host + ",127.0.0.1:2";
  CHECK(dtm::MysqlStore(address)->Owner() > 0);
  address.host = "127.0.0.1:1,127.0.0.1:2";
  CHECK_THROWS_AS(dtm::MysqlStore(address), dtm::StoreError);
}
