/// Every block of C++ in the README and in docs, run: each is included from the text of its page (tools/check_readme.py) where the
/// names that it leaves to the reader exist. Then what it should have done is checked.
/// Needs: SQLite, cpp-httplib. Threads: those of the servers and of the coordinator.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/dtm.hpp>
#include <dtm/http.hpp>
#include <dtm/httplib.hpp>

namespace {

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)
struct Order {
  int id;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, id)

void Require(bool so, const std::string& what) {
  if (so) return;
  std::fprintf(stderr, "this is not so: %s\n", what.c_str());
  std::_Exit(1);
}

void Exec(sqlite3* db, const std::string& text) {
  Require(sqlite3_exec(db, text.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK,
          text + ": " + sqlite3_errmsg(db));
}
void Add(sqlite3* db, int amount) {
  Exec(db, "UPDATE account SET balance = balance + " + std::to_string(amount));
}
void Credit(sqlite3* db, const std::string& body) {
  Add(db, nlohmann::json::parse(body).get<Transfer>().amount);
}
void Debit(sqlite3* db, int amount) { Add(db, -amount); }
void Debit(sqlite3* db, const Transfer& transfer) { Add(db, -transfer.amount); }
void Insert(sqlite3* db, const Order& order) {
  Exec(db, "INSERT INTO orders VALUES (" + std::to_string(order.id) + ")");
}
int Number(sqlite3* db, const char* select) {
  dtm::sql::Database database(db);
  dtm::sql::Statement read(database, select);
  const int number = read.Step() ? static_cast<int>(read.Int(0)) : -1;
  read.Reset();
  return number;
}
std::string Pay(const Order&, const std::string& place) { return "paid for " + place; }

using Opened = std::unique_ptr<sqlite3, decltype(&sqlite3_close_v2)>;
Opened OpenDatabase(const char* file) {
  sqlite3* db = nullptr;
  Require(sqlite3_open(file, &db) == SQLITE_OK, "the database opens");
  sqlite3_busy_timeout(db, 10000);
  return Opened(db, sqlite3_close_v2);
}

const char kTables[] =
    "CREATE TABLE account (balance INTEGER); INSERT INTO account VALUES (100);"
    "CREATE TABLE orders (id INTEGER PRIMARY KEY)";

int g_branch_port = 0;
int g_coordinator_port = 0;
std::string BranchHost() { return "http://127.0.0.1:" + std::to_string(g_branch_port); }
int CoordinatorPort() { return g_coordinator_port; }
std::string CoordinatorHost() { return "http://127.0.0.1:" + std::to_string(g_coordinator_port); }

/// The branch service, with the two handlers of the pages.
class Services {
 public:
  explicit Services(sqlite3* db) : table_(db) {
    Barrier(server_);
    WasItCommitted(server_, table_);
    const auto answer = [this](const httplib::Request& request, httplib::Response& response) {
      if (request.path == "/Transfers") ++mails;
      response.set_content("shelf 7", "text/plain");
    };
    for (const char* path :
         {"/TransOut", "/TransOutCom", "/Try", "/Confirm", "/Cancel", "/Transfers", "/Reserve"}) {
      server_.Post(path, answer);
    }
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

  std::atomic<int> mails{0};
  dtm::SqliteBarrierTable& Table() { return table_; }

 private:
  static void Barrier(httplib::Server& server) {
#include "barriers_1.inc"
  }
  static void WasItCommitted(httplib::Server& server, dtm::SqliteBarrierTable& table){
#include "message_2.inc"
  }

  dtm::SqliteBarrierTable table_;
  httplib::Server server_;
  std::thread thread_;
};

void Ended(dtm::Coordinator& tm, const std::string& gid) {
  const dtm::TransResult result = tm.Wait(gid, std::chrono::seconds(60));
  Require(result.Succeeded(),
          gid + " succeeds: " + Name(result.status) + " " + result.reason + "; " + tm.Explain(gid));
}

void Urls(dtm::Coordinator& tm) {
  const std::string gid = "urls";
#include "readme_1.inc"
  tm.Start();
  Ended(tm, gid);
}

void Tcc(dtm::Coordinator& tm) {
  const std::string gid = "tcc";
  std::atomic<int> tried{0};
  std::atomic<int> confirmed{0};
  const auto in_try = tm.Register<Transfer>("Try", [&](const Transfer&) { ++tried; });
  const auto in_confirm = tm.Register<Transfer>("Confirm", [&](const Transfer&) { ++confirmed; });
  const auto in_cancel = tm.Register<Transfer>("Cancel", [](const Transfer&) {});
#include "tcc_1.inc"
  Ended(tm, gid);
  Require(tried == 1 && confirmed == 1, "both calls of the tcc were made");
}

void Message(dtm::Coordinator& tm, Services& services, sqlite3* bank) {
  const std::string gid = "message";
  dtm::SqliteBarrierTable& table = services.Table();
#include "message_1.inc"
  Ended(tm, gid);
  Require(services.mails == 1, "the subscriber of the topic was called");
  Require(Number(bank, "SELECT balance FROM account") == 100, "30 went out and came in");
  Require(Number(bank, "SELECT count(*) FROM barrier WHERE gid = 'message'") == 2, "two barriers");
  httplib::Client client("127.0.0.1", g_branch_port);
  const auto asked = [&client](const std::string& of) {
    const auto answer =
        client.Get(("/WasItCommitted?trans_type=msg&op=msg&branch_id=00&gid=" + of).c_str());
    return answer ? answer->status : 0;
  };
  Require(asked(gid) == 200, "it was committed");
  Require(asked("other") == 409, "another was not");
}

void Workflow(dtm::Coordinator& tm) {
  const std::string gid = "workflow";
  const std::string reserve_url = BranchHost() + "/Reserve";
  const auto give_back = tm.Register<Order>("GiveBack", [](const Order&) {});
#include "workflow_1.inc"
  Ended(tm, gid);
  Require(result == "sent from shelf 7", "the workflow returns '" + result + "'");
}

void InOneCommit(dtm::Coordinator& tm) {
  const std::string gid = "one commit";
  const Order order{1};
  std::atomic<int> mails{0};
  const auto mail = tm.Register<Order>("Mail", [&](const Order&) { ++mails; });
#include "in_one_commit_1.inc"
  Ended(tm, gid);
  Require(mails == 1, "the order is mailed");
  Ended(tm, dtm::NewSaga(tm, "in").Add(out, dtm::kNoBranch, Transfer{30}).Submit().gid);
}

void Elsewhere(dtm::Coordinator& tm) {
  {
    dtm::Server any(tm);
    g_coordinator_port = any.Start("127.0.0.1", 0);
  }
#include "operate_1.inc"
  {
#include "operate_2.inc"
  }
  const int port = std::exchange(g_coordinator_port, 0);  // any port
  {
#include "desk_1.inc"
  } g_coordinator_port = port;
  const auto newest = tm.List().transactions.at(0);
  Require(newest.definition->steps.at(0).action == BranchHost() + "/TransOut", "it came by HTTP");
  Ended(tm, newest.definition->gid);
  dtm::Coordinator& here = tm;
  {
#include "tutorial_1.inc"
    Ended(here, "order-2");
  }
}

void Options(dtm::Coordinator& tm) {
  const std::string gid = "options";
  const std::string token = "Bearer x";
  const Order order{2};
  std::atomic<int> calls{0};
  const auto count = [&](const Order&) { ++calls; };
  const auto debit = tm.Register<Order>("Debit", count);
  const auto undo_debit = tm.Register<Order>("UndoDebit", count);
  const auto reserve = tm.Register<Order>("Reserve", count);
  const auto give_back = tm.Register<Order>("GiveBackOrder", count);
  const auto ship = tm.Register<Order>("Ship", count);
#include "saga_1.inc"
  Ended(tm, gid);
  Require(calls == 3, "three steps");
}

void Observe() {
  {
#include "observe_1.inc"
    const auto nothing = tm.Register<Order>("Nothing", [](const Order&) {});
    tm.Start();
    dtm::NewSaga(tm, "events").Add(nothing, dtm::kNoBranch, Order{3}).Submit();
    Ended(tm, "events");
    dtm::Saga saga(tm, "traced");
    saga.Add(nothing, dtm::kNoBranch, Order{3});
#include "observe_2.inc"
    Require(saga.SubmitAndWait(std::chrono::seconds(10)).Succeeded(), "a saga in a trace");
  }
#include "observe_3.inc"
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), traced);
  const auto nothing = tm.Register<Order>("Nothing", [](const Order&) {});
  dtm::NewSaga(tm, "spans").Add(nothing, dtm::kNoBranch, Order{3}).Submit();
  Ended(tm, "spans");
}

}  // namespace

int main() {
  const Opened bank = OpenDatabase("bank.db");
  Exec(bank.get(), kTables);
  dtm::CreateBarrierTable(bank.get());
  Services services(bank.get());

  const auto on_open = [](sqlite3* db) { Exec(db, kTables); };
  dtm::Coordinator tm(
      std::make_unique<dtm::SqliteStore>("coordinator.db", dtm::Durability::kPower, on_open));
  Urls(tm);
  Tcc(tm);
  Message(tm, services, bank.get());
  Workflow(tm);
  InOneCommit(tm);
  Elsewhere(tm);
  Options(tm);
  Observe();
  Require(tm.Stop(std::chrono::seconds(60)), "it stops");
}
