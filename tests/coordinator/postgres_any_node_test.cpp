/// See any_node_contract.hpp, on a real server.
#include <memory>
#include <string>

#include "tests/catch.hpp"
#include "tests/coordinator/any_node_contract.hpp"
#include "tests/support/postgres_server.hpp"
#include <dtm/store/postgres/postgres_store.hpp>

using dtm_test::PostgresServer;

namespace {

std::unique_ptr<dtm::Store> Store() {
  dtm::PostgresStoreOptions options;
  options.schema = "anynode";
  return dtm::PostgresStore(PostgresServer::Shared().Conninfo(), options);
}

/// The tables are made once, which takes longer than a test.
void Empty() {
  const dtm::PgConnection connection(PostgresServer::Shared().Conninfo());
  if (dtm_test::Ask(connection.Handle(), "SELECT to_regclass('anynode.dtm_trans')").empty()) return;
  dtm_test::Ask(
      connection.Handle(),
      "SET search_path = anynode; DELETE FROM dtm_trans; DELETE FROM dtm_step; DELETE FROM "
      "dtm_kv; DELETE FROM dtm_node");
}

}  // namespace

TEST_CASE("coordinators on PostgreSQL: what is asked at any of them, whichever drives it") {
  dtm_test::any_node::Run(Empty, Store);
}
