/// The outbox on a real PostgreSQL.
#include <chrono>
#include <string>
#include <tuple>

#include "tests/outbox/sql_outbox_contract.hpp"
#include "tests/support/postgres_server.hpp"
#include "tests/support/schema_file.hpp"
#include <dtm/outbox/postgres_outbox.hpp>

namespace {

struct Kit {
  using Outbox = dtm::PgOutbox;
  static dtm_test::PostgresServer& Server() { return dtm_test::PostgresServer::Shared(); }

  class Connection {
   public:
    Connection() : connection_(Server().Conninfo()) {}
    PGconn* Handle() { return connection_.Handle(); }
    void Exec(const std::string& sql) { dtm_test::Ask(Handle(), sql); }
    std::string Ask(const std::string& sql) { return dtm_test::Ask(Handle(), sql); }

   private:
    dtm::PgConnection connection_;
  };

  static void Create(Connection& connection) { dtm::CreateOutboxTable(connection.Handle()); }
  static void Fresh() {
    Connection connection;
    Create(connection);
    connection.Exec("SET client_min_messages = warning");
    connection.Exec("CREATE TABLE IF NOT EXISTS orders (id int); TRUNCATE orders, dtm_outbox");
  }
  using Source = dtm::PgOutboxSource;
  static std::tuple<std::string, std::string, std::chrono::seconds> Args(int port = 0) {
    return {port == 0 ? Server().Conninfo() : Server().ConninfoAt(port), dtm::outbox::kTable,
            std::chrono::seconds(2)};
  }
  static int ServerPort() { return Server().Port(); }
  static constexpr const char* kOtherCharacters = "SET client_encoding = 'LATIN1'";
  static constexpr const char* kMinutesAgo = "now() - interval '2 minutes'";
};

}  // namespace

TEST_CASE("PostgreSQL: a killed coordinator's rows are submitted again, by nobody else") {
  dtm_test::SqlOutboxContract<Kit>::RunKilled();
}
TEST_CASE("PostgreSQL keeps what an outbox promises") { dtm_test::SqlOutboxContract<Kit>::Run(); }

TEST_CASE("a submission in a failed transaction says that nothing was submitted") {
  Kit::Fresh();
  Kit::Connection connection;
  dtm::PgOutbox outbox(connection.Handle());
  connection.Exec("BEGIN");
  CHECK_THROWS(connection.Exec("INSERT INTO no_such_table VALUES (1)"));
  try {
    dtm::NewSaga(outbox, "g").Add(std::string("http://b/In"), dtm::kNoBranch, 1).Submit();
    FAIL("it was accepted");
  } catch (const dtm::LogicError& error) {
    CHECK_THAT(error.what(), Catch::Matchers::ContainsSubstring("nothing was submitted") &&
                                 Catch::Matchers::ContainsSubstring("rolled back"));
  }
  connection.Exec("ROLLBACK");
}

TEST_CASE("CreateOutboxTable needs no right to create a table that is there") {
  Kit::Fresh();
  Kit::Connection admin;
  admin.Exec("CREATE USER dtm_clerk");
  {
    dtm::PgConnection clerk(Kit::Server().Conninfo() + " user=dtm_clerk");
    CHECK_THROWS_AS(dtm::CreateOutboxTable(clerk.Handle(), "other_outbox"), dtm::SqlError);
    dtm::CreateOutboxTable(clerk.Handle());
  }
  admin.Exec("DROP USER dtm_clerk");
}

TEST_CASE("sql/dtm.outbox.postgres.sql makes what CreateOutboxTable makes") {
  Kit::Connection connection;
  const std::string shape = dtm_test::ShapeInPostgres("dtm_outbox");
  connection.Exec("SET client_min_messages = warning; DROP TABLE IF EXISTS dtm_outbox");
  dtm::CreateOutboxTable(connection.Handle());
  const std::string made = connection.Ask(shape);
  REQUIRE_THAT(made, Catch::Matchers::ContainsSubstring("gid"));
  connection.Exec("SET client_min_messages = warning; DROP TABLE IF EXISTS dtm_outbox");
  for (const std::string& sql : dtm_test::SchemaFile("dtm.outbox.postgres.sql"))
    connection.Exec(sql);
  CHECK(connection.Ask(shape) == made);
}
