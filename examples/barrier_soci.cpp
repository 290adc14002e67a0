/// The barrier for a client library that dtm does not know, here SOCI: the program writes a session of three methods. The
/// barrier begins and ends the transaction (Call).
/// Needs: MariaDB (DTM_MYSQL_HOST and the others below), SOCI 4 with its MySQL backend, SQLite. Start it with:
/// examples/run.sh barrier_soci
/// Fails if the outcome is not what it says.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <soci/mysql/soci-mysql.h>
#include <soci/soci.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "settings.hpp"
#include <dtm/barrier/sql_barrier.hpp>
#include <dtm/dtm.hpp>

/// What dtm asks a connection for. The only awkward thing is that SOCI's placeholders have names.
class SociSession : public dtm::SqlSession {
 public:
  explicit SociSession(soci::session& session) : session_(session) {}

  dtm::SqlDialect Dialect() const override { return dtm::SqlDialect::kMysql; }
  dtm::SqlAnswer Run(const std::string& sql,
                     const std::vector<std::string_view>& parameters) override try {
    std::vector<std::string> values(parameters.begin(), parameters.end());
    std::string named;
    for (const char c : sql) c == '?' ? named += ":p" + std::to_string(named.size()) : named += c;
    dtm::SqlAnswer answer;
    std::string value;
    soci::indicator null{};
    soci::statement statement(session_);
    statement.exchange(soci::into(value, null));
    for (const std::string& each : values) statement.exchange(soci::use(each));
    statement.alloc();
    statement.prepare(named);
    statement.define_and_bind();
    for (bool row = statement.execute(true); row; row = statement.fetch()) {
      answer.first_column.push_back(null == soci::i_ok ? value : "");
    }
    answer.affected = statement.get_affected_rows();
    return answer;
  } catch (const soci::mysql_soci_error& error) {
    throw dtm::SqlError(error.what(), std::to_string(error.err_num_));
  }
  std::string Simple(const char* sql) override {
    Run(sql, {});
    return {};  // SOCI does not tell what the server said
  }

 private:
  soci::session& session_;
};

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

std::string ConnectString() {
  std::string text = "charset=utf8mb4";
  const auto add = [&text](const char* key, const std::string& value) {
    text += std::string(" ") + key + "='" + value + "'";
  };
  add("host", Setting("DTM_MYSQL_HOST", "127.0.0.1"));
  add("port", std::to_string(Port("DTM_MYSQL_PORT", Setting("DTM_MYSQL_PORT", "3306"))));
  add("user", Setting("DTM_MYSQL_USER", "root"));
  add("password", Setting("DTM_MYSQL_PASSWORD", ""));
  add("dbname", Setting("DTM_MYSQL_DATABASE", "test"));
  return text;
}

/// A connection, and the barrier table as it sees it.
struct Bank {
  soci::session sql{soci::mysql, ConnectString()};
  SociSession session{sql};
  dtm::SqlBarrierTable barriers{session};
};

/// One for each thread of the coordinator; a new one after the connection broke. Yours come from a pool.
Bank& ThisThreads() {
  thread_local std::unique_ptr<Bank> bank;
  if (!bank || !bank->sql.is_connected()) {
    bank = std::make_unique<Bank>();
    // A call that waits for a lock ends before the coordinator gives up waiting for its reply.
    bank->sql << "SET innodb_lock_wait_timeout = 2";
  }
  return *bank;
}

dtm::Result Book(const dtm::BranchInfo& who, const std::string& name, int amount) {
  Bank& bank = ThisThreads();
  dtm::Barrier barrier = dtm::BarrierFrom(who);  // over HTTP: BarrierFromRequest(request)
  return bank.barriers.Call(barrier, [&] {
    try {
      bank.sql << "UPDATE dtm_example_account SET balance = balance + :a WHERE name = :n",
          soci::use(amount), soci::use(name);
    } catch (const soci::mysql_soci_error& error) {
      if (error.err_num_ != 4025 && error.err_num_ != 3819) throw;  // called again later
      throw dtm::FailureError("not enough money");  // CHECK; definite: roll the saga back
    }
    return dtm::Result::Success();
  });
}

std::string Balances() {
  std::string text;
  ThisThreads().sql << "SELECT GROUP_CONCAT(name, ' has ', balance ORDER BY name SEPARATOR ', ') "
                       "FROM dtm_example_account",
      soci::into(text);
  return text;
}

void Run() {
  using Who = dtm::BranchInfo;
  {
    Bank& bank = ThisThreads();
    dtm::CreateBarrierTable(bank.session);  // once; or by sql/dtmcli.barrier.mysql.sql
    bank.sql << "CREATE TABLE IF NOT EXISTS dtm_example_account (name varchar(20) PRIMARY KEY, "
                "balance int, CHECK (balance >= 0)) ENGINE = InnoDB";
    bank.sql << "REPLACE INTO dtm_example_account VALUES ('alice', 100), ('bob', 100)";
  }

  std::filesystem::remove_all("barrier_soci.files");  // what an earlier run left
  std::filesystem::create_directory("barrier_soci.files");
  dtm::Coordinator tm("barrier_soci.files/coordinator.db");
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
        "DTM_MYSQL_DATABASE, or start this with examples/run.sh barrier_soci,\nwhich starts a "
        "MariaDB for it.\n",
        stderr);
    return 2;
  }
  try {
    Run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "barrier_soci: %s\n", error.what());
    return 1;
  }
}
