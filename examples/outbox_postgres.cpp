/// The outbox: an order and the saga about it become durable by one COMMIT of the program's own PostgreSQL transaction, or
/// neither does. No message, no question back. A coordinator takes the saga up within 100 ms; here it is in the same program.
/// Needs: PostgreSQL (DTM_POSTGRES is its conninfo), libpq, SQLite. Start it with: examples/run.sh outbox_postgres
/// Fails if the outcome is not what it says.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <libpq-fe.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <dtm/dtm.hpp>
#include <dtm/outbox/postgres_outbox.hpp>

struct Order {
  int id;
  std::string what;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, id, what)

std::string Sql(PGconn* db, const char* text, const std::vector<std::string>& values = {}) {
  std::vector<const char*> pointers;
  for (const std::string& value : values) pointers.push_back(value.c_str());
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(
      PQexecParams(db, text, static_cast<int>(values.size()), nullptr, pointers.data(), nullptr,
                   nullptr, 0),
      PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
    throw std::runtime_error(PQerrorMessage(db));
  }
  return PQntuples(result.get()) > 0 ? PQgetvalue(result.get(), 0, 0) : "";
}

/// The rows of an order, and the saga that ships it, in one transaction. Returns its gid.
template <typename Function>
std::string Place(PGconn* db, const Order& order, const Function& ship) {
  Sql(db, "BEGIN");
  try {
    Sql(db, "INSERT INTO dtm_example_order VALUES ($1, $2)",
        {std::to_string(order.id), order.what});
    dtm::PgOutbox outbox(db);  // in the transaction that is open
    const std::string gid = dtm::MustGenGid(outbox);
    dtm::NewSaga(outbox, gid).Add(ship, dtm::kNoBranch, order).Submit();
    Sql(db, "COMMIT");  // of both
    return gid;
  } catch (...) {
    PQclear(PQexec(db, "ROLLBACK"));  // of both
    throw;
  }
}

void Run() {
  const std::string conninfo = std::getenv("DTM_POSTGRES");
  const dtm::PgConnection connection(conninfo);
  PGconn* const db = connection.Handle();
  dtm::CreateOutboxTable(db);  // once; or by sql/dtm.outbox.postgres.sql
  Sql(db, "CREATE TABLE IF NOT EXISTS dtm_example_order (id int PRIMARY KEY, what text)");
  Sql(db, "DELETE FROM dtm_example_order");

  std::atomic<int> shipped{0};
  std::filesystem::remove_all("outbox_postgres.files");  // what an earlier run left
  std::filesystem::create_directory("outbox_postgres.files");
  dtm::Coordinator tm("outbox_postgres.files/coordinator.db");
  auto ship = tm.Register<Order>("Ship", [&](const Order& order) {
    std::printf("  shipped: order %d, %s\n", order.id, order.what.c_str());
    ++shipped;
  });
  tm.Relay(dtm::PgRelay(conninfo));  // takes up what is in the table, on a connection of its own
  tm.Start();

  for (const Order& order : {Order{1, "tea"}, Order{2, "cups"}, Order{1, "tea again"}}) {
    try {
      const std::string gid = Place(db, order, ship);
      std::printf("order %d: committed, with saga %s\n", order.id, gid.c_str());
    } catch (const std::exception& error) {  // 1 is there already, so there is no saga either
      std::printf("order %d: %s", order.id, error.what());
    }
  }
  // The coordinator knows a gid (Wait, Query) once it has taken it up.
  for (int i = 0; i < 1000 && shipped < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const std::string left = Sql(db, "SELECT count(*) FROM dtm_outbox");
  std::printf("orders: %s; shipped: %d; left in the outbox: %s\n",
              Sql(db, "SELECT count(*) FROM dtm_example_order").c_str(), shipped.load(),
              left.c_str());
  if (shipped != 2) throw std::runtime_error("this is not what should have come of it");
}

int main() {
  if (std::getenv("DTM_POSTGRES") == nullptr) {
    std::fputs(
        "Set DTM_POSTGRES to a conninfo of libpq (host=... dbname=...), or start this with "
        "examples/run.sh outbox_postgres,\nwhich starts a PostgreSQL for it.\n",
        stderr);
    return 2;
  }
  try {
    Run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "outbox_postgres: %s\n", error.what());
    return 1;
  }
}
