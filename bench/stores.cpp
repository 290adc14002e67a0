/// Sagas of two functions on a store that coordinators share, in PostgreSQL and in MariaDB, every step durable: at 1 and 256 in
/// flight, with the CPU time of coordinator and database server; and the statements of a coordinator that has nothing to do.
/// Needs: libpq, libmariadb; the variables of tools/with_*.sh, whose servers have to flush. bench/run.sh stores starts it so,
/// and then bench_http on the same servers.
/// Usage: stores [seconds per point]
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/types.h>
#include <thread>
#include <vector>

#include "bench.hpp"
#include "process.hpp"
#include "sagas.hpp"
#include <dtm/dtm.hpp>
#include <dtm/store/mysql/mysql_store.hpp>
#include <dtm/store/postgres/postgres_store.hpp>

namespace {

std::string Variable(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr) {
    throw std::runtime_error(std::string(name) + " is not set; start this by bench/run.sh stores");
  }
  return value;
}

/// The number in the first line of a file.
pid_t ProcessIn(const std::string& file) {
  pid_t pid = 0;
  std::ifstream(file) >> pid;
  return pid;
}

/// A process and its children.
double CpuOfFamily(pid_t parent) {
  double sum = bench::CpuSeconds(parent);
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "stat");
    std::string text;
    if (!std::getline(file, text)) continue;
    std::istringstream fields(text.substr(text.rfind(')') + 1));
    std::string state;
    pid_t its_parent = 0;
    fields >> state >> its_parent;
    if (its_parent == parent) sum += bench::CpuSeconds(std::stoi(entry.path().filename()));
  }
  return sum;
}

/// The first number that a statement answers.
double Number(dtm::SqlSession& session, const char* sql) {
  const dtm::SqlAnswer answer = session.Run(sql, {});
  if (answer.first_column.empty()) throw std::runtime_error(std::string("no answer to ") + sql);
  return std::stod(answer.first_column.front());
}

struct Database {
  std::string name;
  pid_t server = 0;
  std::function<std::unique_ptr<dtm::Store>()> open;
  std::function<double()> statements;  // that it has run so far
};

Database Postgres() {
  const std::string conninfo = Variable("DTM_POSTGRES");
  const auto statements = [conninfo] {
    const dtm::PgConnection connection(conninfo);
    dtm::PgSession session(connection.Handle());
    return Number(session, "SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database");
  };
  return {"postgres", ProcessIn(Variable("DTM_POSTGRES_DATA") + "/postmaster.pid"),
          [conninfo] { return dtm::PostgresStore(conninfo); }, statements};
}

Database Mariadb() {
  dtm::MysqlAddress address;
  address.host = Variable("DTM_MYSQL_HOST");
  address.port = static_cast<unsigned>(std::stoi(Variable("DTM_MYSQL_PORT")));
  address.user = Variable("DTM_MYSQL_USER");
  address.database = Variable("DTM_MYSQL_DATABASE");
  const auto statements = [address] {
    const dtm::MysqlConnection connection(address);
    dtm::MysqlSession session(connection.Handle());
    return Number(session,
                  "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME "
                  "= 'QUERIES'");
  };
  return {"mariadb", ProcessIn(Variable("DTM_MYSQL_PID")),
          [address] { return dtm::MysqlStore(address); }, statements};
}

void Measure(const Database& database, int in_flight, double seconds) {
  dtm::Coordinator tm(database.open());
  const double before = CpuOfFamily(database.server);
  const bench::SagaRates rates = bench::RunSagas(tm, bench::RegisterIdle(tm), in_flight, seconds,
                                                 [&tm] { return dtm::MustGenGid(tm); });
  const double server_cpu = CpuOfFamily(database.server) - before;
  bench::Print("stores",
               {{"in_flight", in_flight},
                {"sagas_per_s", rates.sagas_per_s},
                {"cpu_us_per_saga", rates.cpu_us_per_saga},
                {"server_cpu_us_per_saga", 1e6 * server_cpu / rates.sagas},
                {"p50_ms", rates.p50_ms},
                {"p99_ms", rates.p99_ms}},
               {{"store", database.name}});
}

void MeasureIdle(const Database& database) {
  constexpr std::chrono::seconds kWhile(10);
  const auto per_second = [&] {
    const double before = database.statements();
    std::this_thread::sleep_for(kWhile);
    return (database.statements() - before) / static_cast<double>(kWhile.count());
  };
  const double without = per_second();  // the server has work of its own
  dtm::Coordinator tm(database.open());
  tm.Start();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  bench::Print("stores_idle", {{"statements_per_s", per_second() - without}},
               {{"store", database.name}});
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 5;
  try {
    for (const Database& database : {Postgres(), Mariadb()}) {
      for (const int in_flight : {256, 1}) Measure(database, in_flight, seconds);
      MeasureIdle(database);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stores: %s\n", error.what());
    return 1;
  }
}
