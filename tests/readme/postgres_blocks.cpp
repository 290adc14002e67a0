/// The blocks of the pages about PostgreSQL, run: see blocks.cpp.
/// Needs: a PostgreSQL server (DTM_POSTGRES is its conninfo), libpq, SQLite, cpp-httplib. Threads: those of the servers and of
/// the coordinator.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <libpq-fe.h>
#include <memory>
#include <string>
#include <thread>

#include <dtm/barrier/postgres_barrier.hpp>
#include <dtm/barrier/xa/postgres_xa.hpp>
#include <dtm/dtm.hpp>
#include <dtm/http.hpp>
#include <dtm/httplib.hpp>
#include <dtm/outbox/postgres_outbox.hpp>
#include <dtm/store/postgres/postgres_store.hpp>

namespace {

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)
struct Order {
  int id;
};

void Require(bool so, const std::string& what) {
  if (so) return;
  std::fprintf(stderr, "this is not so: %s\n", what.c_str());
  std::_Exit(1);
}

std::string Sql(PGconn* db, const std::string& text) {
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(db, text.c_str()), PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  Require(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK,
          text + ": " + PQerrorMessage(db));
  return PQntuples(result.get()) > 0 ? PQgetvalue(result.get(), 0, 0) : "";
}
void Credit(PGconn* db, const std::string& body) {
  const int amount = nlohmann::json::parse(body).get<Transfer>().amount;
  Sql(db, "UPDATE account SET balance = balance + " + std::to_string(amount));
}
void Insert(PGconn* db, const Order& order) {
  Sql(db, "INSERT INTO orders VALUES (" + std::to_string(order.id) + ")");
}

std::string Conninfo() { return std::getenv("DTM_POSTGRES"); }

int g_branch_port = 0;
std::string BranchHost() { return "http://127.0.0.1:" + std::to_string(g_branch_port); }

/// The branch service, on one thread, since it has one connection.
class Services {
 public:
  explicit Services(dtm::Coordinator& tm) {
    Serve(server_, handle_, tm);
    server_.Post("/TransOut", [this](const httplib::Request&, httplib::Response& response) {
      ++calls_out;
      response.set_content("", "text/plain");
    });
    server_.new_task_queue = [] { return new httplib::ThreadPool(1); };
    server_.set_keep_alive_max_count(1);  // else the one that is kept has the thread
    g_branch_port = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~Services() {
    server_.stop();
    thread_.join();
  }
  Services(const Services&) = delete;
  Services& operator=(const Services&) = delete;

  std::atomic<int> calls_out{0};

 private:
  static void Serve(httplib::Server& server, PGconn* const& connection, dtm::Endpoint& coordinator){
#include "barriers_2.inc"
#include "xa_2.inc"
  }

  dtm::PgConnection connection_{Conninfo()};
  PGconn* const handle_ = connection_.Handle();
  httplib::Server server_;
  std::thread thread_;
};

void Ended(dtm::Coordinator& tm, const std::string& gid) {
  const dtm::TransResult result = tm.Wait(gid, std::chrono::seconds(60));
  Require(result.Succeeded(),
          gid + " succeeds: " + Name(result.status) + " " + result.reason + "; " + tm.Explain(gid));
}

void Barrier(dtm::Coordinator& tm, PGconn* db) {
  dtm::NewSaga(tm, "barrier")
      .Add(BranchHost() + "/PgTransIn", dtm::kNoBranch, Transfer{5})
      .Submit();
  Ended(tm, "barrier");
  Require(Sql(db, "SELECT balance FROM account") == "105", "5 came in");
  Require(Sql(db, "SELECT count(*) FROM dtm_barrier.barrier WHERE gid = 'barrier'") == "1",
          "the barrier has its row");
}

void Xa(dtm::Coordinator& tm, PGconn* db) {
  const std::string gid = "xa";
#include "xa_1.inc"
  Ended(tm, gid);
  Require(Sql(db, "SELECT balance FROM account") == "135", "30 more came in");
  Require(Sql(db, "SELECT count(*) FROM pg_prepared_xacts") == "0", "nothing is prepared");
}

void Outbox(dtm::Coordinator& tm, Services& services, PGconn* connection) {
  const std::string gid = "outbox";
  const Order order{1};
#include "outbox_1.inc"
#include "outbox_2.inc"
  for (int i = 0; i < 6000 && services.calls_out == 0; ++i) {
    std::this_thread::sleep_for(
        std::chrono::milliseconds(10));  // no event tells of a row that is taken up
  }
  Ended(tm, gid);
  Require(Sql(connection, "SELECT count(*) FROM orders") == "1", "the order is there");
}

/// One of the programs that share the database.
void Share(const std::string& gid, int& calls) {
#include "cluster_1.inc"
  const auto credit = tm.Register<int>("Credit", [&calls](const int& n) { calls += n; });
  tm.Start();
  const dtm::TransResult result =
      dtm::NewSaga(tm, gid).Add(credit, dtm::kNoBranch, 1).SubmitAndWait(std::chrono::seconds(60));
  Require(result.Succeeded(), "a saga on PostgreSQL succeeds");
}

}  // namespace

int main() {
  const dtm::PgConnection connection(Conninfo());
  PGconn* const db = connection.Handle();
  Sql(db,
      "CREATE TABLE account (balance int); INSERT INTO account VALUES (100); "
      "CREATE TABLE orders (id int PRIMARY KEY)");
  dtm::CreateBarrierTable(db);
  dtm::CreateOutboxTable(db);

  dtm::Coordinator tm("coordinator.db");
  tm.Use(dtm::HttpBranches());
  tm.Start();
  Services services(tm);
  Barrier(tm, db);
  Xa(tm, db);
  Outbox(tm, services, db);
  Require(tm.Stop(std::chrono::seconds(60)), "it stops");

  int calls = 0;
  Share("first", calls);
  Share("second", calls);
  Share("first", calls);  // the one before has done it, and the database knows
  Require(calls == 2, "a saga that another program has run is not run again");
}
