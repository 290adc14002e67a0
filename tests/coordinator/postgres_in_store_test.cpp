/// An outbox in the coordinators' store, on a real PostgreSQL.
#include <memory>
#include <string>

#include "tests/coordinator/in_store_contract.hpp"
#include "tests/support/postgres_server.hpp"
#include <dtm/outbox/postgres_outbox.hpp>
#include <dtm/store/postgres/postgres_store.hpp>

namespace {

struct Kit {
  using Outbox = dtm::PgOutbox;
  static constexpr const char* kSchema = "in_store";
  static dtm_test::PostgresServer& Server() { return dtm_test::PostgresServer::Shared(); }

  static std::unique_ptr<dtm::Store> Store() {
    dtm::PostgresStoreOptions options;
    options.schema = kSchema;
    return dtm::PostgresStore(Server().Conninfo(), options);
  }

  class Connection {
   public:
    PGconn* Handle() { return connection_.Handle(); }
    void Exec(const std::string& sql) { dtm_test::Ask(Handle(), sql); }
    std::string Ask(const std::string& sql) { return dtm_test::Ask(Handle(), sql); }

   private:
    dtm::PgConnection connection_{Server().Conninfo()};
  };

  static void Fresh() {
    (void)Store();
    Connection connection;
    connection.Exec(
        "SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS orders (id int); DELETE "
        "FROM orders; DELETE FROM in_store.dtm_trans; DELETE FROM in_store.dtm_kv");
  }
  static void SetVersion(const std::string& version) {
    Connection().Exec("UPDATE in_store.dtm_meta SET value = '" + version +
                      "' WHERE key = 'schema_version'");
  }
};

}  // namespace

TEST_CASE("PostgreSQL keeps what an outbox in the coordinators' store promises") {
  static_assert(dtm::outbox::kStoreVersion == dtm::postgres_schema::kVersion);
  dtm_test::InStoreContract<Kit>::Run();
}
