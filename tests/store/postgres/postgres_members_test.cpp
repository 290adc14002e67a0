/// Members of a shared store on a real PostgreSQL.
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "tests/catch.hpp"
#include "tests/store/contract_members.hpp"
#include "tests/support/postgres_server.hpp"
#include <dtm/store/postgres/postgres_store.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::Ask;
using dtm_test::PostgresServer;

namespace {

struct Kit {
  static std::unique_ptr<dtm::shared_store::Database> Tables() {
    dtm::PostgresStoreOptions options;
    options.schema = "members";
    return std::make_unique<dtm::postgres_store::Database>(PostgresServer::Shared().Conninfo(),
                                                           options);
  }
  static std::string Sql(const std::string& text) {
    const dtm::PgConnection connection(PostgresServer::Shared().Conninfo());
    Ask(connection.Handle(), "SET search_path = members");
    return Ask(connection.Handle(), text);
  }
  static void Fresh() {
    (void)Tables()->Connect();
    Sql("DELETE FROM dtm_trans; DELETE FROM dtm_node");
  }
  static void Forget(const std::string& id) { Sql("DELETE FROM dtm_node WHERE id = " + id); }
  static void GiveIdAgain(const std::string& id) {
    Sql("UPDATE dtm_node SET epoch = epoch + 1048576 WHERE id = " + id);
  }
  static std::int64_t EpochOf(const std::string& id) {
    return std::stoll(Sql("SELECT epoch FROM dtm_node WHERE id = " + id));
  }
};

}  // namespace

TEST_CASE("members of a store in PostgreSQL keep what they promise each other") {
  dtm_test::MembersContract<Kit>::Run();
}

TEST_CASE(
    "statements that the server does not know any more are prepared again; a pooler is named") {
  dtm::PgClient client(PostgresServer::Shared().Conninfo(), std::chrono::seconds(5));
  dtm::PgParameters parameters;
  parameters.Number(7);
  const std::string sql = "SELECT $1 + 1";
  CHECK(client.Run(sql, parameters).Number(0, 0) == 8);
  (void)client.Simple("DEALLOCATE ALL");  // as behind a pooler that gives it another server process
  CHECK_THROWS_WITH(client.Run(sql, parameters),
                    ContainsSubstring("26000") && ContainsSubstring("pool_mode = session"));
  CHECK(client.Run(sql, parameters).Number(0, 0) == 8);
  (void)client.Simple("PREPARE dtm_3 AS SELECT 1");  // as another behind it did
  CHECK_THROWS_WITH(client.Run("SELECT $1 + 2", parameters),
                    ContainsSubstring("42P05") && ContainsSubstring("pool_mode = session"));
  CHECK(client.Run("SELECT $1 + 2", parameters).Number(0, 0) == 9);
}
