/// XA: one transfer between two banks, one with PostgreSQL and one with MariaDB. Each works in a transaction of its database and
/// prepares it; then both are committed, or both rolled back, even if the coordinator is killed in between.
/// Needs: PostgreSQL with max_prepared_transactions (DTM_POSTGRES is its conninfo), MariaDB (DTM_MYSQL_HOST and the others below),
/// libpq, libmariadb, cpp-httplib, SQLite, POSIX. Start it with: examples/run.sh xa_two_databases
/// Fails if the outcome is not what it says.
///
/// It is two programs in one. Started with --coordinator it is the one that makes a transfer, with a coordinator inside. Started
/// without, it is the two banks, and runs that program for each act.
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <libpq-fe.h>
#include <memory>
#include <mysql.h>
#include <netinet/in.h>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include <httplib.h>

#include "settings.hpp"
#include <dtm/barrier/mysql_barrier.hpp>
#include <dtm/barrier/postgres_barrier.hpp>
#include <dtm/barrier/xa/mysql_xa.hpp>
#include <dtm/barrier/xa/postgres_xa.hpp>
#include <dtm/dtm.hpp>
#include <dtm/http.hpp>
#include <dtm/httplib.hpp>

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

const std::string kBook = "UPDATE dtm_example_account SET balance = balance + ";
const std::string kTable =
    "CREATE TABLE IF NOT EXISTS dtm_example_account (balance int, CHECK (balance >= 0))";

// --- The bank with PostgreSQL.

std::string Sql(PGconn* db, const std::string& text) {
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(db, text.c_str()), PQclear);
  const char* const state = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
  if (state != nullptr && std::string(state) == "23514")
    throw dtm::FailureError("A has too little");
  if (state != nullptr || PQstatus(db) != CONNECTION_OK)
    throw std::runtime_error(PQerrorMessage(db));
  return PQntuples(result.get()) > 0 ? PQgetvalue(result.get(), 0, 0) : "";
}

dtm::PgConnection Postgres() { return dtm::PgConnection(std::getenv("DTM_POSTGRES")); }

dtm::Result BankA(const dtm::XaCall& call, dtm::Endpoint& coordinator, const Transfer& transfer) {
  const dtm::PgConnection connection = Postgres();  // any connection serves, for example of a pool
  return dtm::PgXaBranch(connection.Handle()).Handle(call, coordinator, [&](PGconn* db) {
    Sql(db, kBook + std::to_string(-transfer.amount));
  });
}

// --- The bank with MariaDB.

std::string Sql(MYSQL* db, const std::string& text) {
  if (mysql_query(db, text.c_str()) != 0) throw std::runtime_error(mysql_error(db));
  const std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)> rows(mysql_store_result(db),
                                                                      mysql_free_result);
  const MYSQL_ROW row = rows ? mysql_fetch_row(rows.get()) : nullptr;
  return row != nullptr && row[0] != nullptr ? row[0] : "";
}

dtm::MysqlAddress Mariadb() {
  dtm::MysqlAddress address;
  address.host = Setting("DTM_MYSQL_HOST", "127.0.0.1");
  address.port = Port("DTM_MYSQL_PORT", Setting("DTM_MYSQL_PORT", "3306"));
  address.user = Setting("DTM_MYSQL_USER", "root");
  address.password = Setting("DTM_MYSQL_PASSWORD", "");
  address.database = Setting("DTM_MYSQL_DATABASE", "test");
  return address;
}

dtm::Result BankB(const dtm::XaCall& call, dtm::Endpoint& coordinator, const Transfer& transfer) {
  const dtm::MysqlXaBranch branch(Mariadb());  // opens a connection for each call
  return branch.Handle(call, coordinator, [&](MYSQL* db) {
    if (transfer.amount > 50) throw dtm::FailureError("B takes at most 50");
    Sql(db, kBook + std::to_string(transfer.amount));
  });
}

// --- Both: HTTP services with one URL, which is called for both phases.

std::atomic<pid_t> g_victim{0};  // whom the first call to commit kills

class Service {
 public:
  using Handle = decltype(&BankA);

  Service(Handle handle, const std::string& coordinator_url) : coordinator_(coordinator_url) {
    server_.set_tcp_nodelay(true);
    server_.Post(
        "/Xa", [this, handle](const httplib::Request& request, httplib::Response& response) {
          dtm::AnswerBranch(response, [&] {
            const dtm::XaCall call = dtm::XaFromQuery(request.params);
            const pid_t victim = call.op == dtm::Op::kCommit ? g_victim.exchange(0) : 0;
            if (victim > 0) {
              ::kill(victim, SIGKILL);
              return dtm::Result::Error("not committed: the coordinator has just died");
            }
            const auto transfer = call.op == dtm::Op::kAction
                                      ? nlohmann::json::parse(request.body).get<Transfer>()
                                      : Transfer{};  // the second phase comes without payload
            return handle(call, coordinator_, transfer);
          });
        });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~Service() {
    server_.stop();
    thread_.join();
  }
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  std::string Url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/Xa"; }

 private:
  dtm::RemoteCoordinator coordinator_;  // where the branch registers itself
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

// --- The program that makes a transfer.

void Coordinate(int port, const std::string& bank_a, const std::string& bank_b, int amount) {
  dtm::Coordinator tm("xa_two_databases.files/coordinator.db");
  tm.Use(dtm::HttpBranches());
  tm.Start();  // first goes on with what a crash left
  dtm::Server api(tm);
  api.Start("127.0.0.1", port);  // the branches register themselves here

  std::string gid;
  if (amount > 0) {
    gid = dtm::MustGenGid(tm);
    dtm::TransOptions options;
    options.retry_interval = std::chrono::seconds(1);
    try {
      dtm::XaGlobalTransaction(tm, gid, options, [&](dtm::Xa& xa) {
        xa.CallBranch(Transfer{amount}, bank_a);
        xa.CallBranch(Transfer{amount}, bank_b);
      });
    } catch (const dtm::FailureError& error) {
      std::printf("   %s\n", error.what());
    }
  } else {
    gid = tm.List().transactions.at(0).definition->gid;  // the newest: only to wait for it
  }
  std::printf("   the xa: %s\n", dtm::Name(tm.Wait(gid, std::chrono::seconds(30)).status));
}

// --- What runs it.

class Stage {
 public:
  explicit Stage(std::string self) : self_(std::move(self)) {
    // Not what an earlier run left.
    std::filesystem::remove_all("xa_two_databases.files");
    std::filesystem::create_directory("xa_two_databases.files");
  }

  /// Amount 0: only continues what is unfinished.
  void Run(const char* title, int amount, bool killed, const std::string& expected) {
    std::printf("%s\n", title);
    std::fflush(stdout);
    std::vector<std::string> words = {self_,    "--coordinator", std::to_string(port_),
                                      a_.Url(), b_.Url(),        std::to_string(amount)};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_t child = 0;
    if (::posix_spawn(&child, argv[0], nullptr, nullptr, argv.data(), environ) != 0) {
      throw std::runtime_error("cannot start " + self_);
    }
    if (killed) g_victim = child;
    int status = 0;
    ::waitpid(child, &status, 0);
    if (killed != WIFSIGNALED(status) || (!killed && status != 0)) {
      throw std::runtime_error("the coordinator did not end as it should");
    }
    const std::string state = State();
    std::printf("   %s\n", state.c_str());
    if (state != expected) throw std::runtime_error("expected was: " + expected);
  }

 private:
  /// Where the coordinator listens, each time it is started.
  static int FreePort() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const name = reinterpret_cast<sockaddr*>(&address);
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    const bool bound = ::bind(socket, name, size) == 0 && ::getsockname(socket, name, &size) == 0;
    ::close(socket);
    if (!bound) throw std::runtime_error("no port is free");
    return ntohs(address.sin_port);
  }

  static std::string State() {
    const dtm::PgConnection a = Postgres();
    const dtm::MysqlConnection b(Mariadb());
    const char* const balance = "SELECT balance FROM dtm_example_account";
    const std::size_t prepared = dtm::OldPrepared(a.Handle(), std::chrono::seconds(0)).size() +
                                 dtm::OldPrepared(b.Handle(), std::chrono::seconds(0)).size();
    return "A has " + Sql(a.Handle(), balance) + ", B has " + Sql(b.Handle(), balance) + "; " +
           std::to_string(prepared) + " prepared";
  }

  const std::string self_;
  const int port_ = FreePort();
  const std::string coordinator_ = "http://127.0.0.1:" + std::to_string(port_) + "/api/dtmsvr";
  Service a_{BankA, coordinator_};
  Service b_{BankB, coordinator_};
};

void Play(const char* self) {
  const dtm::PgConnection a = Postgres();
  const dtm::MysqlConnection b(Mariadb());
  dtm::CreateBarrierTable(a.Handle());  // a row in it proves that a branch was committed
  dtm::CreateBarrierTable(b.Handle());
  Sql(a.Handle(), kTable);
  Sql(b.Handle(), kTable + " ENGINE = InnoDB");
  for (const char* fill :
       {"DELETE FROM dtm_example_account", "INSERT INTO dtm_example_account VALUES (100)"}) {
    Sql(a.Handle(), fill);
    Sql(b.Handle(), fill);
  }
  std::puts("Bank A (PostgreSQL) and bank B (MariaDB) have 100 each.");
  Stage stage(self);
  stage.Run("1. Transfer 30 from A to B.", 30, false, "A has 70, B has 130; 0 prepared");
  stage.Run("2. Transfer 60, which B refuses: A has prepared it, and rolls it back.", 60, false,
            "A has 70, B has 130; 0 prepared");
  stage.Run("3. Transfer 30; the coordinator is killed when it begins to commit.", 30, true,
            "A has 70, B has 130; 2 prepared");
  stage.Run("   It is started again, and goes on.", 0, false, "A has 40, B has 160; 0 prepared");
}

int main(int argc, char** argv) {
  if (std::getenv("DTM_POSTGRES") == nullptr || std::getenv("DTM_MYSQL_HOST") == nullptr) {
    std::fputs(
        "Set DTM_POSTGRES to a conninfo of libpq (host=... dbname=...), and DTM_MYSQL_HOST, "
        "DTM_MYSQL_PORT, DTM_MYSQL_USER, DTM_MYSQL_PASSWORD\nand DTM_MYSQL_DATABASE; or start this "
        "with examples/run.sh xa_two_databases, which starts servers for it.\n",
        stderr);
    return 2;
  }
  try {
    if (argc == 6 && std::string(argv[1]) == "--coordinator") {
      Coordinate(std::atoi(argv[2]), argv[3], argv[4], std::atoi(argv[5]));
    } else {
      Play(argv[0]);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "xa_two_databases: %s\n", error.what());
    return 1;
  }
}
