/// The barrier for MariaDB and MySQL, with its driver; there is no server, and it says so.
#include <cstdlib>
#include <cstring>

#include <dtm/barrier/mysql_barrier.hpp>

int main() {
  dtm::Barrier barrier("saga", "1", "01", "action");
  try {
    dtm::MysqlAddress address;
    address.host = "localhost";
    address.socket = "/nowhere";
    dtm::MysqlConnection connection(address);
    return dtm::MysqlBarrierTable(connection.Handle()).Call(barrier, [](MYSQL*) {}).kind ==
                   dtm::Result::Kind::kSuccess
               ? 2
               : 1;
  } catch (const dtm::SqlError& error) {
    return std::strstr(error.what(), "no connection to MySQL") != nullptr ? EXIT_SUCCESS : 1;
  }
}
