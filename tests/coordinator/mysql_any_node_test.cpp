/// See any_node_contract.hpp, on a real server.
#include <memory>
#include <string>

#include "tests/catch.hpp"
#include "tests/coordinator/any_node_contract.hpp"
#include "tests/support/mysql_server.hpp"
#include <dtm/store/mysql/mysql_store.hpp>

using dtm_test::MysqlServer;

namespace {

dtm::MysqlAddress Address() {
  dtm::MysqlAddress address = MysqlServer::Shared().Address();
  const dtm::MysqlConnection connection(address);
  dtm_test::Ask(connection.Handle(), "CREATE DATABASE IF NOT EXISTS anynode");
  address.database = "anynode";
  return address;
}

std::unique_ptr<dtm::Store> Store() { return dtm::MysqlStore(Address()); }

void Empty() {
  const dtm::MysqlConnection connection(Address());
  if (dtm_test::Ask(connection.Handle(), "SHOW TABLES LIKE 'dtm_meta'").empty()) return;
  for (const char* table : {"trans", "step", "kv", "node", "fence"}) {
    dtm_test::Ask(connection.Handle(), std::string("DELETE FROM dtm_") + table);
  }
}

}  // namespace

TEST_CASE("coordinators on MariaDB: what is asked at any of them, whichever drives it") {
  dtm_test::any_node::Run(Empty, Store);
}
