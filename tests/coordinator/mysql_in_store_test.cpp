/// An outbox in the coordinators' store, on a real MariaDB.
#include <memory>
#include <string>

#include "tests/coordinator/in_store_contract.hpp"
#include "tests/support/mysql_server.hpp"
#include <dtm/outbox/mysql_outbox.hpp>
#include <dtm/store/mysql/mysql_store.hpp>

namespace {

struct Kit {
  using Outbox = dtm::MysqlOutbox;
  static constexpr const char* kSchema = "in_store";
  static dtm_test::MysqlServer& Server() { return dtm_test::MysqlServer::Shared(); }

  class Connection {
   public:
    MYSQL* Handle() { return connection_.Handle(); }
    void Exec(const std::string& sql) { dtm_test::Ask(Handle(), sql); }
    std::string Ask(const std::string& sql) { return dtm_test::Ask(Handle(), sql); }

   private:
    dtm::MysqlConnection connection_{Server().Address()};
  };

  static std::unique_ptr<dtm::Store> Store() {
    dtm::MysqlAddress address = Server().Address();
    address.database = kSchema;
    return dtm::MysqlStore(address);
  }

  static void Fresh() {
    Connection connection;
    connection.Exec("CREATE DATABASE IF NOT EXISTS in_store");
    (void)Store();
    connection.Exec("CREATE TABLE IF NOT EXISTS orders (id int) ENGINE = InnoDB");
    connection.Exec("DELETE FROM orders");
    connection.Exec("DELETE FROM in_store.dtm_trans");
    connection.Exec("DELETE FROM in_store.dtm_kv");
  }
  static void SetVersion(const std::string& version) {
    Connection().Exec("UPDATE in_store.dtm_meta SET value = '" + version +
                      "' WHERE name = 'schema_version'");
  }
};

}  // namespace

TEST_CASE("MariaDB keeps what an outbox in the coordinators' store promises") {
  static_assert(dtm::outbox::kStoreVersion == dtm::mysql_schema::kVersion);
  dtm_test::InStoreContract<Kit>::Run();
}
