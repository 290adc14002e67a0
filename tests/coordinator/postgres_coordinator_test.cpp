/// Coordinators on a store in PostgreSQL: see coordinator_contract.hpp.
#include <memory>

#include "tests/catch.hpp"
#include "tests/coordinator/coordinator_contract.hpp"
#include "tests/support/postgres_server.hpp"
#include <dtm/store/postgres/postgres_store.hpp>

namespace {

struct Kit {
  static void StartServer() { (void)dtm_test::PostgresServer::Shared(); }
  static std::unique_ptr<dtm::Store> Store() {
    dtm::PostgresStoreOptions options;
    options.schema = "coordinator";
    return dtm::PostgresStore(dtm_test::PostgresServer::Shared().Conninfo(), options);
  }
};
using Coordinators = dtm_test::CoordinatorContract<Kit>;

}  // namespace

TEST_CASE(
    "a coordinator on PostgreSQL: saga, tcc and message, their rollback, lists, topics, journal") {
  Coordinators::RunsEverything();
}
TEST_CASE(
    "a coordinator on PostgreSQL: what is unfinished at a restart goes on at once, and so it does "
    "elsewhere") {
  Coordinators::GoesOnAfterARestart();
}
TEST_CASE("a coordinator on PostgreSQL that is killed: another one finishes what it drove") {
  Coordinators::AnotherFinishesWhatOneDrove();
}
