/// The outbox on a real MariaDB.
#include <memory>
#include <string>

#include "tests/outbox/sql_outbox_contract.hpp"
#include "tests/support/mysql_server.hpp"
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

  static void Fresh() {
    Connection connection;
    dtm::CreateOutboxTable(connection.Handle());
    for (const char* sql : {"CREATE TABLE IF NOT EXISTS orders (id int)", "DELETE FROM orders",
                            "DELETE FROM dtm_outbox"})
      connection.Exec(sql);
  }
  static std::unique_ptr<dtm::OutboxSource> Relay() { return dtm::MysqlRelay(Server().Address()); }
};

}  // namespace

TEST_CASE("MariaDB keeps what an outbox promises") { dtm_test::SqlOutboxContract<Kit>::Run(); }
