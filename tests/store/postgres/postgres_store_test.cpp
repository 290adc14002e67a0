/// The store in PostgreSQL keeps the contract of stores, that of owners and that of servers, on a real one.
#include <chrono>
#include <memory>
#include <string>

#include "tests/catch.hpp"
#include "tests/store/contract_server.hpp"
#include "tests/support/postgres_server.hpp"
#include <dtm/store/postgres/postgres_store.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::PostgresServer;

namespace {

struct Kit {
  static constexpr const char* kOwnTables[] = {"trans", "step", "journal", "ask", "kv", "node"};
  static constexpr char kMetaName[] = "key";
  static constexpr char kFile[] = "dtm.store.postgres.sql";
  static constexpr const char* kTables = dtm::postgres_schema::kTables;

  static std::string Bytes(const std::string& hex) { return "'\\x" + hex + "'"; }
  static std::string Ask(const std::string& sql) {
    const dtm::PgConnection connection(PostgresServer::Shared().Conninfo());
    dtm_test::Ask(connection.Handle(), "SET search_path = store");
    return dtm_test::Ask(connection.Handle(), sql);
  }
  static bool Made() { return !Ask("SELECT to_regclass('store.dtm_trans')").empty(); }
  static dtm::PostgresStoreOptions Options(const std::string& schema) {
    dtm::PostgresStoreOptions options;
    options.schema = schema;
    return options;
  }
  static std::unique_ptr<dtm::shared_store::Database> Tables() {
    return std::make_unique<dtm::postgres_store::Database>(PostgresServer::Shared().Conninfo(),
                                                           Options("store"));
  }
  static std::unique_ptr<dtm::Store> Start(const std::string& place) {
    return dtm::PostgresStore(PostgresServer::Shared().Conninfo(), Options(place));
  }
};
using Server = dtm_test::ServerContract<Kit>;

}  // namespace

TEST_CASE(
    "a store in PostgreSQL keeps the contract of stores, and says what was applied after Commit") {
  Server::KeepsTheContract();
}
TEST_CASE("a store in PostgreSQL keeps the contract of owners") {
  Server::KeepsTheContractOfOwners();
}
TEST_CASE("the schema file has the tables that the store makes") {
  Server::SchemaFileHasTheTables();
}
TEST_CASE("a store of a newer version, or of none, is refused and not touched") {
  Server::OtherVersionsAreRefused();
}
TEST_CASE("PostgreSQL: an answer has a bounded size, however many large records there are") {
  Server::AnswersHaveABoundedSize();
}
TEST_CASE("of several that open an empty database at once one makes the tables") {
  Server::SeveralOpenAtOnce();
}
TEST_CASE("what has expired goes in small steps, with its steps and journal, and its gid is kept") {
  Server::ExpiresInSmallSteps();
}
TEST_CASE(
    "of two that write one value at once the second is told, and nothing of its batch is stored") {
  Server::OneOfTwoWritesAValue();
}
TEST_CASE("a record that cannot be read stops nobody else") {
  Server::UnreadableRecordsStopNobody();
}
TEST_CASE(
    "who is silent for a lease is taken over by one of the others, page by page, and buried") {
  Server::TheSilentAreTakenOver();
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
