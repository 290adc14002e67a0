/// The barrier for PostgreSQL, with its driver; there is no server, and it says so.
#include <cstdlib>
#include <cstring>

#include <dtm/barrier/postgres_barrier.hpp>

int main() {
  dtm::Barrier barrier("saga", "1", "01", "action");
  try {
    dtm::PgConnection connection("host=/nowhere");
    return dtm::PgBarrierTable(connection.Handle()).Call(barrier, [](PGconn*) {}).kind ==
                   dtm::Result::Kind::kSuccess
               ? 2
               : 1;
  } catch (const dtm::SqlError& error) {
    return std::strstr(error.what(), "no connection to PostgreSQL") != nullptr ? EXIT_SUCCESS : 1;
  }
}
