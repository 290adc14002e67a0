/// The outbox on a real PostgreSQL.
#include <memory>
#include <string>

#include "tests/outbox/sql_outbox_contract.hpp"
#include "tests/support/postgres_server.hpp"
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

  static void Fresh() {
    Connection connection;
    dtm::CreateOutboxTable(connection.Handle());
    connection.Exec("SET client_min_messages = warning");
    connection.Exec("CREATE TABLE IF NOT EXISTS orders (id int); TRUNCATE orders, dtm_outbox");
  }
  static std::unique_ptr<dtm::OutboxSource> Relay() { return dtm::PgRelay(Server().Conninfo()); }
};

}  // namespace

TEST_CASE("PostgreSQL keeps what an outbox promises") { dtm_test::SqlOutboxContract<Kit>::Run(); }
