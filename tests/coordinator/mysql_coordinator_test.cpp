/// Coordinators on a store in MariaDB: see coordinator_contract.hpp.
#include <memory>

#include "tests/catch.hpp"
#include "tests/coordinator/coordinator_contract.hpp"
#include "tests/support/mysql_server.hpp"
#include <dtm/store/mysql/mysql_store.hpp>

namespace {

struct Kit {
  static void StartServer() { (void)dtm_test::MysqlServer::Shared(); }
  static std::unique_ptr<dtm::Store> Store() {
    dtm::MysqlAddress address = dtm_test::MysqlServer::Shared().Address();
    const dtm::MysqlConnection connection(address);
    dtm_test::Ask(connection.Handle(), "CREATE DATABASE IF NOT EXISTS coordinator");
    address.database = "coordinator";
    return dtm::MysqlStore(address);
  }
};
using Coordinators = dtm_test::CoordinatorContract<Kit>;

}  // namespace

TEST_CASE(
    "a coordinator on MariaDB: saga, tcc and message, their rollback, lists, topics, journal") {
  Coordinators::RunsEverything();
}
TEST_CASE(
    "a coordinator on MariaDB: what is unfinished at a restart goes on at once, and so it does "
    "elsewhere") {
  Coordinators::GoesOnAfterARestart();
}
TEST_CASE("a coordinator on MariaDB that is killed: another one finishes what it drove") {
  Coordinators::AnotherFinishesWhatOneDrove();
}
