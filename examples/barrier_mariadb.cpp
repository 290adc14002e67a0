/// Branches whose rows are in MariaDB or MySQL: each call takes effect once, even if its reply is lost and it comes again,
/// and undoing what was never done does nothing.
/// Needs: MariaDB (DTM_MYSQL_HOST and the others below), libmariadb, SQLite. Start it with: examples/run.sh barrier_mariadb
/// Fails if the outcome is not what it says.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <mysql.h>
#include <stdexcept>
#include <string>

#include "settings.hpp"
#include <dtm/barrier/mysql_barrier.hpp>
#include <dtm/dtm.hpp>

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

dtm::MysqlAddress Address() {
  dtm::MysqlAddress address;
  address.host = Setting("DTM_MYSQL_HOST", "127.0.0.1");
  address.port = Port("DTM_MYSQL_PORT", Setting("DTM_MYSQL_PORT", "3306"));
  address.user = Setting("DTM_MYSQL_USER", "root");
  address.password = Setting("DTM_MYSQL_PASSWORD", "");
  address.database = Setting("DTM_MYSQL_DATABASE", "test");
  return address;
}

/// One statement. Whatever goes wrong is thrown, so that the barrier rolls back with it.
std::string Sql(MYSQL* db, const std::string& text) {
  if (mysql_query(db, text.c_str()) != 0) {
    if (mysql_errno(db) == 4025 || mysql_errno(db) == 3819) {  // CHECK, in MariaDB and in MySQL
      throw dtm::FailureError("not enough money");             // definite: roll the saga back
    }
    throw std::runtime_error(mysql_error(db));  // the coordinator calls again later
  }
  const std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)> rows(mysql_store_result(db),
                                                                      mysql_free_result);
  const MYSQL_ROW row = rows ? mysql_fetch_row(rows.get()) : nullptr;
  return row != nullptr && row[0] != nullptr ? row[0] : "";
}

/// A connection, and the barrier table as it sees it.
struct Bank {
  dtm::MysqlConnection connection{Address()};
  MYSQL* db = connection.Handle();
  dtm::MysqlBarrierTable barriers{db};
};

/// One for each thread of the coordinator; a new one after the connection broke. Yours come from a pool.
Bank& ThisThreads() {
  thread_local std::unique_ptr<Bank> bank;
  if (!bank || mysql_ping(bank->db) != 0) {
    bank = std::make_unique<Bank>();
    // A call that waits for a lock ends before the coordinator gives up waiting for its reply.
    Sql(bank->db, "SET innodb_lock_wait_timeout = 2");
  }
  return *bank;
}

dtm::Result Book(const dtm::BranchInfo& who, const char* name, int amount) {
  Bank& bank = ThisThreads();
  dtm::Barrier barrier = dtm::BarrierFrom(who);  // over HTTP: BarrierFromRequest(request)
  return bank.barriers.Call(barrier, [&](MYSQL* db) {
    Sql(db, "UPDATE dtm_example_account SET balance = balance + " + std::to_string(amount) +
                " WHERE name = '" + name + "'");
  });
}

std::string Balances() {
  return Sql(ThisThreads().db,
             "SELECT GROUP_CONCAT(name, ' has ', balance ORDER BY name SEPARATOR ', ') FROM "
             "dtm_example_account");
}

void Run() {
  using Who = dtm::BranchInfo;
  {
    const dtm::MysqlConnection db(Address());
    dtm::CreateBarrierTable(db.Handle());  // once; or by sql/dtmcli.barrier.mysql.sql
    Sql(db.Handle(),
        "CREATE TABLE IF NOT EXISTS dtm_example_account (name varchar(20) PRIMARY KEY, balance "
        "int, CHECK (balance >= 0)) ENGINE = InnoDB");
    Sql(db.Handle(), "REPLACE INTO dtm_example_account VALUES ('alice', 100), ('bob', 100)");
  }

  std::filesystem::remove_all("barrier_mariadb.files");  // what an earlier run left
  std::filesystem::create_directory("barrier_mariadb.files");
  dtm::Coordinator tm("barrier_mariadb.files/coordinator.db");
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
  std::printf("%s, in MariaDB\n", Balances().c_str());

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
  if (std::getenv("DTM_MYSQL_HOST") == nullptr) {
    std::fputs(
        "Set DTM_MYSQL_HOST, DTM_MYSQL_PORT, DTM_MYSQL_USER, DTM_MYSQL_PASSWORD and "
        "DTM_MYSQL_DATABASE, or start this with examples/run.sh barrier_mariadb,\nwhich starts a "
        "MariaDB for it.\n",
        stderr);
    return 2;
  }
  try {
    Run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "barrier_mariadb: %s\n", error.what());
    return 1;
  }
}
