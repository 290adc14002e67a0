/// The barrier for a client library that dtm does not know, here libpqxx: the program writes a session of three methods.
/// Business and barrier are in a transaction of the program's own (CallInTransaction).
/// Needs: PostgreSQL (DTM_POSTGRES is its conninfo), libpqxx 6.4 or 7 (newer: exec(sql, pqxx::params) for exec_params), SQLite. Start it with: examples/run.sh barrier_libpqxx
/// Fails if the outcome is not what it says.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <pqxx/pqxx>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <dtm/barrier/sql_barrier.hpp>
#include <dtm/dtm.hpp>

/// What dtm asks a connection for. A pqxx::work is a transaction; to libpqxx a pqxx::nontransaction is none, so that the
/// barrier may begin one itself (Call).
class PqxxSession : public dtm::SqlSession {
 public:
  explicit PqxxSession(pqxx::transaction_base& transaction) : transaction_(transaction) {}

  dtm::SqlDialect Dialect() const override { return dtm::SqlDialect::kPostgres; }
  dtm::SqlAnswer Run(const std::string& sql,
                     const std::vector<std::string_view>& parameters) override {
    const std::vector<std::string> values(parameters.begin(), parameters.end());
    return Do(
        [&] { return transaction_.exec_params(sql, pqxx::prepare::make_dynamic_params(values)); });
  }
  std::string Simple(const char* sql) override {
    Do([&] { return transaction_.exec(sql); });
    return {};  // libpqxx does not tell the tag of a command
  }

 private:
  template <typename Statement>
  dtm::SqlAnswer Do(const Statement& statement) try {
    const pqxx::result rows = statement();
    dtm::SqlAnswer answer{static_cast<std::int64_t>(rows.affected_rows()), {}};
    for (const auto& row : rows) answer.first_column.emplace_back(row[0].c_str());
    return answer;
  } catch (const pqxx::sql_error& error) {
    throw dtm::SqlError(error.what(), error.sqlstate());
  } catch (const pqxx::broken_connection& error) {
    throw dtm::SqlError(error.what(), "");  // no reply: at COMMIT it is in doubt
  }

  pqxx::transaction_base& transaction_;
};

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

/// One for each thread of the coordinator; a new one after it broke. Yours come from a pool.
pqxx::connection& ThisThreads() {
  thread_local std::unique_ptr<pqxx::connection> connection;
  if (!connection || !connection->is_open()) {
    connection = std::make_unique<pqxx::connection>(std::getenv("DTM_POSTGRES"));
    // A call that waits for a lock ends before the coordinator gives up waiting for its reply.
    pqxx::nontransaction(*connection).exec("SET lock_timeout = '2s'");
  }
  return *connection;
}

dtm::Result Book(const dtm::BranchInfo& who, const char* name, int amount) {
  pqxx::work work(ThisThreads());
  PqxxSession session(work);
  dtm::SqlBarrierTable barriers(session);
  dtm::Barrier barrier = dtm::BarrierFrom(who);  // over HTTP: BarrierFromRequest(request)
  const dtm::Result result = barriers.CallInTransaction(barrier, [&] {
    try {
      work.exec_params("UPDATE dtm_example_account SET balance = balance + $1 WHERE name = $2",
                       amount, name);
    } catch (const pqxx::check_violation&) {
      throw dtm::FailureError("not enough money");  // definite: roll the saga back
    }  // any other exception: the coordinator calls again later
    return dtm::Result::Success();
  });
  work.commit();  // before the reply
  return result;
}

std::string Balances() {
  pqxx::nontransaction connection(ThisThreads());
  return connection
      .exec(
          "SELECT string_agg(name || ' has ' || balance, ', ' ORDER BY name) FROM "
          "dtm_example_account")[0][0]
      .c_str();
}

void Run() {
  using Who = dtm::BranchInfo;
  {
    pqxx::nontransaction connection(ThisThreads());
    PqxxSession session(connection);
    dtm::CreateBarrierTable(session);  // once; or by sql/dtmcli.barrier.postgres.sql
    connection.exec(
        "CREATE TABLE IF NOT EXISTS dtm_example_account (name text PRIMARY KEY, balance int CHECK "
        "(balance >= 0))");
    connection.exec("DELETE FROM dtm_example_account");
    connection.exec("INSERT INTO dtm_example_account VALUES ('alice', 100), ('bob', 100)");
  }

  std::filesystem::remove_all("barrier_libpqxx.files");  // what an earlier run left
  std::filesystem::create_directory("barrier_libpqxx.files");
  dtm::Coordinator tm("barrier_libpqxx.files/coordinator.db");
  std::atomic<int> calls_of_in{0};
  auto out = tm.Register<Transfer>(
      "TransOut", [](const Transfer& t, const Who& who) { return Book(who, "alice", -t.amount); });
  auto out_com = tm.Register<Transfer>("TransOutCom", [](const Transfer& t, const Who& who) {
    return Book(who, "alice", t.amount);
  });
  auto in = tm.Register<Transfer>("TransIn", [&](const Transfer& t, const Who& who) {
    if (t.amount > 50) return dtm::Result::Failure("bob takes at most 50");
    const dtm::Result result = Book(who, "bob", t.amount);
    if (++calls_of_in == 1) throw std::runtime_error("the reply is lost");  // bob has the money
    return result;
  });
  auto in_com = tm.Register<Transfer>(
      "TransInCom", [](const Transfer& t, const Who& who) { return Book(who, "bob", -t.amount); });
  tm.Start();
  std::printf("%s, in PostgreSQL\n", Balances().c_str());

  for (const int amount : {30, 60, 1000}) {
    const dtm::TransResult saga = dtm::NewSaga(tm, dtm::MustGenGid(tm))
                                      .Add(out, out_com, Transfer{amount})
                                      .Add(in, in_com, Transfer{amount})
                                      .SetRetryInterval(std::chrono::seconds(1))
                                      .SubmitAndWait(std::chrono::seconds(30));
    std::printf("transfer %d: %s%s%s; %s\n", amount, dtm::Name(saga.status),
                saga.Failed() ? " because " : "", saga.reason.c_str(), Balances().c_str());
  }
  std::printf("  in the first, TransIn was called twice, since its reply was lost\n");
  if (calls_of_in != 2 || Balances() != "alice has 70, bob has 130") {
    throw std::runtime_error("this is not what should have come of it");
  }
}

int main() {
  if (std::getenv("DTM_POSTGRES") == nullptr) {
    std::fputs(
        "Set DTM_POSTGRES to a conninfo of libpq (host=... dbname=...), or start this with "
        "examples/run.sh barrier_libpqxx,\nwhich starts a PostgreSQL for it.\n",
        stderr);
    return 2;
  }
  try {
    Run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "barrier_libpqxx: %s\n", error.what());
    return 1;
  }
}
