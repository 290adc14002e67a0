/// The process of cluster_test.py whose store and branches are in PostgreSQL: see cluster_worker.hpp.
#include <chrono>
#include <libpq-fe.h>
#include <memory>
#include <stdexcept>
#include <string>

#include "cluster_worker.hpp"
#include <dtm/barrier/postgres_barrier.hpp>
#include <dtm/barrier/xa/postgres_xa.hpp>
#include <dtm/sql/postgres.hpp>
#include <dtm/store/postgres/postgres_store.hpp>

namespace survival {

class PostgresBank {
 public:
  explicit PostgresBank(const std::string& conninfo) : connection_(conninfo) {
    Sql("SET lock_timeout = '1s'");
  }
  static constexpr bool kXa = true;
  bool Works() const { return PQstatus(connection_.Handle()) == CONNECTION_OK; }

  dtm::Result Book(dtm::Barrier& barrier, const std::string& sql, bool fails) {
    return barriers_.Call(barrier, [&](PGconn*) {
      Sql(sql);
      return fails ? dtm::Result::Failure("told to fail") : dtm::Result::Success();
    });
  }
  dtm::Result Asked(const dtm::Barrier& barrier) { return barriers_.QueryPrepared(barrier); }
  dtm::Result Xa(const dtm::XaCall& call, dtm::Endpoint& coordinator, const std::string& sql,
                 bool fails) {
    return xa_.Handle(call, coordinator, [&](PGconn*) {
      Sql(sql);
      return fails ? dtm::Result::Failure("told to fail") : dtm::Result::Success();
    });
  }

 private:
  void Sql(const std::string& sql) {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(
        PQexec(connection_.Handle(), sql.c_str()), PQclear);
    if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) {
      throw std::runtime_error(PQerrorMessage(connection_.Handle()));
    }
  }

  dtm::PgConnection connection_;
  dtm::PgBarrierTable barriers_{connection_.Handle()};
  dtm::PgXaBranch xa_{connection_.Handle()};
};

}  // namespace survival

int main(int count, char** argument) {
  return survival::RunClusterWorker<survival::PostgresBank>(count, argument, [](const char* at) {
    dtm::PostgresStoreOptions options;
    options.store_timeout = std::chrono::seconds(1);  // so that what is cut off is found soon
    return dtm::PostgresStore(at, options);
  });
}
