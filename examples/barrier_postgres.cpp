/// Branches whose rows are in PostgreSQL: each call takes effect once, even if its reply is lost and it comes again, and
/// undoing what was never done does nothing. Then a message that exists if and only if the local rows were committed.
/// Needs: PostgreSQL (DTM_POSTGRES is its conninfo), libpq, SQLite. Start it with: examples/run.sh barrier_postgres
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
#include <string_view>
#include <vector>

#include <dtm/barrier/postgres_barrier.hpp>
#include <dtm/dtm.hpp>

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

/// One statement. Whatever goes wrong is thrown, so that the barrier rolls back with it.
std::string Sql(PGconn* db, const char* text, const std::vector<std::string>& values = {}) {
  std::vector<const char*> pointers;
  for (const std::string& value : values) pointers.push_back(value.c_str());
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(
      PQexecParams(db, text, static_cast<int>(values.size()), nullptr, pointers.data(), nullptr,
                   nullptr, 0),
      PQclear);
  const char* const state = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
  if (state != nullptr && state == std::string_view("23514")) {  // CHECK (balance >= 0)
    throw dtm::FailureError("not enough money");                 // definite: roll the saga back
  }
  if (state != nullptr || PQstatus(db) != CONNECTION_OK) {
    throw std::runtime_error(PQerrorMessage(db));  // the coordinator calls again later
  }
  return PQntuples(result.get()) > 0 ? PQgetvalue(result.get(), 0, 0) : "";
}

/// A connection, and the barrier table as it sees it.
struct Bank {
  dtm::PgConnection connection{std::getenv("DTM_POSTGRES")};
  PGconn* db = connection.Handle();
  dtm::PgBarrierTable barriers{db};
};

/// One for each thread of the coordinator; a new one after the connection broke. Yours come from a pool.
Bank& ThisThreads() {
  thread_local std::unique_ptr<Bank> bank;
  if (!bank || PQstatus(bank->db) != CONNECTION_OK) {
    bank = std::make_unique<Bank>();
    // A call that waits for a lock ends before the coordinator gives up waiting for its reply.
    Sql(bank->db, "SET lock_timeout = '2s'");
  }
  return *bank;
}

dtm::Result Book(const dtm::BranchInfo& who, const char* name, int amount) {
  Bank& bank = ThisThreads();
  dtm::Barrier barrier = dtm::BarrierFrom(who);  // over HTTP: BarrierFromRequest(request)
  return bank.barriers.Call(barrier, [&](PGconn* db) {
    Sql(db, "UPDATE dtm_example_account SET balance = balance + $1 WHERE name = $2",
        {std::to_string(amount), name});
  });
}

std::string Balances() {
  return Sql(ThisThreads().db,
             "SELECT string_agg(name || ' has ' || balance, ', ' ORDER BY name) FROM "
             "dtm_example_account");
}

void Run() {
  using Who = dtm::BranchInfo;
  PGconn* const db = ThisThreads().db;
  dtm::CreateBarrierTable(db);  // once; or by sql/dtmcli.barrier.postgres.sql
  Sql(db,
      "CREATE TABLE IF NOT EXISTS dtm_example_account (name text PRIMARY KEY, balance int CHECK "
      "(balance >= 0))");
  Sql(db, "DELETE FROM dtm_example_account");
  Sql(db, "INSERT INTO dtm_example_account VALUES ('alice', 100), ('bob', 100)");

  std::filesystem::remove_all("barrier_postgres.files");  // what an earlier run left
  std::filesystem::create_directory("barrier_postgres.files");
  dtm::Coordinator tm("barrier_postgres.files/coordinator.db");
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
  auto was_it_committed =
      tm.Register<nlohmann::json>("WasItCommitted", [](const nlohmann::json&, const Who& who) {
        return ThisThreads().barriers.QueryPrepared(dtm::BarrierFrom(who));
      });
  tm.Start();
  std::printf("%s, in PostgreSQL\n", Balances().c_str());

  for (const int amount : {30, 60}) {
    const dtm::TransResult saga = dtm::NewSaga(tm, dtm::MustGenGid(tm))
                                      .Add(out, out_com, Transfer{amount})
                                      .Add(in, in_com, Transfer{amount})
                                      .SetRetryInterval(std::chrono::seconds(1))
                                      .SubmitAndWait(std::chrono::seconds(30));
    std::printf("saga, transfer %d: %s%s%s; %s\n", amount, dtm::Name(saga.status),
                saga.Failed() ? " because " : "", saga.reason.c_str(), Balances().c_str());
  }
  std::printf("  in the first, TransIn was called twice, since its reply was lost\n");

  for (const int amount : {30, 1000}) {
    dtm::Msg message = dtm::NewMsg(tm, dtm::MustGenGid(tm)).Add(in, Transfer{amount});
    try {
      message.DoAndSubmit(was_it_committed,
                          [&](const Who& who) { return Book(who, "alice", -amount); });
    } catch (const dtm::FailureError& error) {
      std::printf("message, transfer %d: %s, so there is no message\n", amount, error.what());
      continue;
    }
    (void)tm.Wait(message.Gid(), std::chrono::seconds(30));
    std::printf("message, transfer %d: %s\n", amount, Balances().c_str());
  }
  if (calls_of_in != 3 || Balances() != "alice has 40, bob has 160") {
    throw std::runtime_error("this is not what should have come of it");
  }
}

int main() {
  if (std::getenv("DTM_POSTGRES") == nullptr) {
    std::fputs(
        "Set DTM_POSTGRES to a conninfo of libpq (host=... dbname=...), or start this with "
        "examples/run.sh barrier_postgres,\nwhich starts a PostgreSQL for it.\n",
        stderr);
    return 2;
  }
  try {
    Run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "barrier_postgres: %s\n", error.what());
    return 1;
  }
}
