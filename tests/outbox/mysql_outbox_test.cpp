/// The outbox on a real MariaDB.
#include <chrono>
#include <memory>
#include <string>
#include <tuple>

#include "tests/outbox/sql_outbox_contract.hpp"
#include "tests/support/mysql_server.hpp"
#include "tests/support/schema_file.hpp"
#include <dtm/outbox/mysql_outbox.hpp>

namespace {

struct Kit {
  using Outbox = dtm::MysqlOutbox;
  static dtm_test::MysqlServer& Server() { return dtm_test::MysqlServer::Shared(); }

  class Connection {
   public:
    Connection() : connection_(Server().Address()) {}
    MYSQL* Handle() { return connection_.Handle(); }
    void Exec(const std::string& sql) { dtm_test::Ask(Handle(), sql); }
    std::string Ask(const std::string& sql) { return dtm_test::Ask(Handle(), sql); }

   private:
    dtm::MysqlConnection connection_;
  };

  static void Create(Connection& connection) { dtm::CreateOutboxTable(connection.Handle()); }
  static void Fresh() {
    Connection connection;
    Create(connection);
    for (const char* sql : {"CREATE TABLE IF NOT EXISTS orders (id int)", "DELETE FROM orders",
                            "DELETE FROM dtm_outbox"})
      connection.Exec(sql);
  }
  using Source = dtm::MysqlOutboxSource;
  static std::tuple<dtm::MysqlAddress, std::string, std::chrono::seconds> Args(int port = 0) {
    dtm::MysqlAddress address = Server().Address();
    if (port != 0) address.port = static_cast<unsigned>(port);
    return {address, dtm::outbox::kTable, std::chrono::seconds(2)};
  }
  static int ServerPort() { return static_cast<int>(Server().Address().port); }
  static constexpr const char* kOtherCharacters = "SET NAMES latin1";
  static constexpr const char* kMinutesAgo = "NOW() - INTERVAL 2 MINUTE";
};

}  // namespace

TEST_CASE("MariaDB: a killed coordinator's rows are submitted again, by nobody else") {
  dtm_test::SqlOutboxContract<Kit>::RunKilled();
}
TEST_CASE("MariaDB keeps what an outbox promises") { dtm_test::SqlOutboxContract<Kit>::Run(); }

TEST_CASE("with autocommit=0 a transaction is begun all the same") {
  Kit::Fresh();
  Kit::Connection connection;
  dtm::MysqlOutbox outbox(connection.Handle());
  const auto submit = [&] {
    dtm::NewSaga(outbox, "g").Add(std::string("http://b/In"), dtm::kNoBranch, 1).Submit();
  };
  connection.Exec("SET autocommit = 0");
  try {
    submit();
    FAIL("it was accepted");
  } catch (const dtm::LogicError& error) {
    CHECK_THAT(error.what(), Catch::Matchers::ContainsSubstring("with autocommit=0 too"));
  }
  connection.Exec("START TRANSACTION");
  submit();
  connection.Exec("COMMIT");
  CHECK(connection.Ask("SELECT COUNT(*) FROM dtm_outbox") == "1");
}

TEST_CASE("a relay commits its claims on a server whose connections do not by default") {
  Kit::Fresh();
  Kit::Connection connection;
  dtm::MysqlOutbox outbox(connection.Handle());
  connection.Exec("SET GLOBAL autocommit = 0");
  {
    dtm::Options options;
    options.log = [](dtm::LogLevel, const std::string&) {};
    dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), options);
    tm.Start();
    connection.Exec("START TRANSACTION");
    dtm::NewMsg(outbox, "g").Add(std::string("http://127.0.0.1:9/none"), 1).Submit();
    connection.Exec("COMMIT");
    tm.Relay(dtm::MysqlRelay(Kit::Server().Address()), std::chrono::milliseconds(2));
    dtm_test::SqlOutboxContract<Kit>::Until(
        [&] { return connection.Ask("SELECT COUNT(*) FROM dtm_outbox") == "0"; });
    CHECK(tm.Query("g"));
  }
  connection.Exec("SET GLOBAL autocommit = 1");
}

TEST_CASE("sql/dtm.outbox.mysql.sql makes what CreateOutboxTable makes") {
  Kit::Connection connection;
  const std::string shape = dtm_test::ShapeInMysql(Kit::Server().Address().database, "dtm_outbox");
  connection.Exec("DROP TABLE IF EXISTS dtm_outbox");
  dtm::CreateOutboxTable(connection.Handle());
  const std::string made = connection.Ask(shape);
  REQUIRE_THAT(made, Catch::Matchers::ContainsSubstring("gid"));
  connection.Exec("DROP TABLE IF EXISTS dtm_outbox");
  for (const std::string& sql : dtm_test::SchemaFile("dtm.outbox.mysql.sql")) connection.Exec(sql);
  CHECK(connection.Ask(shape) == made);
}
