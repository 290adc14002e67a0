/// Tutorial, steps 2 and 3 (docs/tutorial.md): the bank is a service with a barrier, and the program is killed after the bank
/// took the money and before it replied. Started again, the program goes on: the bank is called twice, and pays once.
/// Needs: cpp-httplib, SQLite, POSIX. Fails if the outcome is not what it says.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include <httplib.h>
#include <nlohmann/json.hpp>
#include <sqlite3.h>

#include <dtm/dtm.hpp>
#include <dtm/http.hpp>
#include <dtm/httplib.hpp>

struct Order {
  std::string item;
  int price = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, item, price)

std::string Sql(sqlite3* db, const std::string& text) {
  std::string answer;
  const auto keep = [](void* to, int, char** columns, char**) {
    *static_cast<std::string*>(to) = columns[0];
    return 0;
  };
  if (sqlite3_exec(db, text.c_str(), keep, &answer, nullptr) != SQLITE_OK) {
    throw std::runtime_error(sqlite3_errmsg(db));
  }
  return answer;
}

/// A connection to the bank's database, and the barrier table as it sees it.
struct Bank {
  static sqlite3* Open() {
    sqlite3* opened = nullptr;
    if (sqlite3_open("tutorial.files/bank.db", &opened) != SQLITE_OK) {
      throw std::runtime_error(sqlite3_errmsg(opened));
    }
    sqlite3_busy_timeout(opened, 2000);
    return opened;
  }
  std::unique_ptr<sqlite3, decltype(&sqlite3_close_v2)> db{Open(), sqlite3_close_v2};
  dtm::SqliteBarrierTable barriers{db.get()};
};

/// Adds the price, with this sign, to the balance.
httplib::Server::Handler Book(int sign, bool dies) {
  return [sign, dies](const httplib::Request& request, httplib::Response& response) {
    dtm::AnswerBranch(response, [&] {
      thread_local Bank bank;  // a connection for each thread of the server
      const int amount = sign * nlohmann::json::parse(request.body).get<Order>().price;
      dtm::Barrier barrier = dtm::BarrierFromRequest(request);
      const char* did = "nothing, it was done before";
      const dtm::Result result = bank.barriers.Call(barrier, [&](sqlite3* db) {
        Sql(db, "UPDATE account SET balance = balance + " + std::to_string(amount));
        did = "done";
      });
      std::printf("  bank: book %d: %s\n", amount, did);
      if (dies) std::raise(SIGKILL);  // step 3: the money is taken, and the reply is never sent
      return result;
    });
  };
}

/// The same port in both lives, since the saga has the URL.
int PortOf(httplib::Server& server) {
  const char* const file = "tutorial.files/port";
  int port = 0;
  if (std::ifstream(file) >> port) {
    if (!server.bind_to_port("127.0.0.1", port)) throw std::runtime_error("the port is taken");
  } else {
    port = server.bind_to_any_port("127.0.0.1");
    std::ofstream(file) << port;
  }
  return port;
}

void Shop(bool dies) {
  httplib::Server server;
  server.Post("/Pay", Book(-1, dies));
  server.Post("/Refund", Book(+1, false));
  const std::string bank = "http://127.0.0.1:" + std::to_string(PortOf(server));
  std::thread serving([&server] { server.listen_after_bind(); });

  dtm::Coordinator tm("tutorial.files/shop.db");
  tm.Use(dtm::HttpBranches());  // so that it can call URLs
  const auto reserve = tm.Register<Order>(
      "Reserve", [](const Order& o) { std::printf("  reserve a %s\n", o.item.c_str()); });
  const auto release = tm.Register<Order>(
      "Release", [](const Order& o) { std::printf("  put the %s back\n", o.item.c_str()); });
  tm.Start();

  // In the second life the saga is there already; the same again joins it.
  const Order order{"chair", 40};
  const dtm::TransResult result = dtm::NewSaga(tm, "order-1")
                                      .Add(reserve, release, order)
                                      .Add(bank + "/Pay", bank + "/Refund", order)
                                      .SubmitAndWait(std::chrono::seconds(30));
  std::printf("%s\n", tm.Explain(result.gid).c_str());
  dtm::Diagram story = dtm::MakeDiagram(*tm.Timeline(result.gid));
  story.lifelines.back().name = "bank";  // instead of its address
  std::printf("%s\n", dtm::Draw(story, dtm::DrawFormat::kText).c_str());
  std::ofstream("tutorial.files/crash.svg") << dtm::Draw(story, dtm::DrawFormat::kSvg);
  server.stop();
  serving.join();
}

void Run(const std::string& self, const char* life) {
  std::printf("%s\n", life);
  std::fflush(stdout);
  if (std::system((self + " '" + life + "'").c_str()) == -1) {
    throw std::runtime_error("cannot start " + self);
  }
}

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what was printed before the kill is seen
  if (argc > 1) {
    Shop(std::string(argv[1]) == "first life");
    return 0;
  }

  std::filesystem::remove_all("tutorial.files");  // what an earlier run left
  std::filesystem::create_directory("tutorial.files");
  const std::unique_ptr<sqlite3, decltype(&sqlite3_close_v2)> db(Bank::Open(), sqlite3_close_v2);
  Sql(db.get(), "CREATE TABLE account (balance INTEGER); INSERT INTO account VALUES (100)");
  dtm::CreateBarrierTable(db.get());
  Run(argv[0], "first life");
  Run(argv[0], "second life");
  const std::string balance = Sql(db.get(), "SELECT balance FROM account");
  std::printf("balance: %s\n", balance.c_str());
  return balance == "60" ? 0 : 1;
}
