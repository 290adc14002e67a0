/// Members of a shared store on a real MariaDB.
#include <cstdint>
#include <memory>
#include <string>

#include "tests/catch.hpp"
#include "tests/store/contract_members.hpp"
#include "tests/support/mysql_server.hpp"
#include <dtm/store/mysql/mysql_store.hpp>

using dtm_test::Ask;
using dtm_test::MysqlServer;

namespace {

struct Kit {
  static dtm::MysqlAddress Address() {
    dtm::MysqlAddress address = MysqlServer::Shared().Address();
    address.database = "members";
    return address;
  }
  static std::unique_ptr<dtm::shared_store::Database> Tables() {
    return std::make_unique<dtm::mysql_store::Database>(Address(), dtm::MysqlStoreOptions());
  }
  static std::string Sql(const std::string& text) {
    const dtm::MysqlConnection connection(Address());
    return Ask(connection.Handle(), text);
  }
  static void Fresh() {
    {
      const dtm::MysqlConnection connection(MysqlServer::Shared().Address());
      Ask(connection.Handle(), "CREATE DATABASE IF NOT EXISTS members");
    }
    (void)Tables()->Connect();
    for (const char* table : {"trans", "node", "fence"})
      Sql(std::string("DELETE FROM dtm_") + table);
  }
  static void Forget(const std::string& id) {
    for (const char* table : {"node", "fence"}) {
      Sql(std::string("DELETE FROM dtm_") + table + " WHERE id = " + id);
    }
  }
  static void GiveIdAgain(const std::string& id) {
    for (const char* table : {"node", "fence"}) {
      Sql(std::string("UPDATE dtm_") + table + " SET epoch = epoch + 1048576 WHERE id = " + id);
    }
  }
  static std::int64_t EpochOf(const std::string& id) {
    return std::stoll(Sql("SELECT epoch FROM dtm_fence WHERE id = " + id));
  }
};

}  // namespace

TEST_CASE("members of a store in MariaDB keep what they promise each other") {
  dtm_test::MembersContract<Kit>::Run();
}
