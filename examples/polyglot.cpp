/// Two languages: polyglot.py starts transfers with dtm's own Python client, and the branches are here, in C++. So is the
/// coordinator, which serves dtm's HTTP API; it could as well be a dtm-server.
/// Needs: cpp-httplib, SQLite, Python 3. Start it with: examples/run.sh polyglot
/// Fails if the outcome is not what it says. Without an argument it serves until a line is entered.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
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

constexpr const char* kFile = "polyglot.files/bank.db";

/// A connection to the bank's database, and the barrier table as it sees it.
struct Bank {
  static sqlite3* Open() {
    sqlite3* opened = nullptr;
    if (sqlite3_open(kFile, &opened) != SQLITE_OK) throw std::runtime_error(sqlite3_errmsg(opened));
    sqlite3_busy_timeout(opened, 2000);
    return opened;
  }
  std::unique_ptr<sqlite3, decltype(&sqlite3_close_v2)> db{Open(), sqlite3_close_v2};
  dtm::SqliteBarrierTable barriers{db.get()};
};

std::string Sql(sqlite3* db, const std::string& text) {
  std::string answer;
  const auto keep = [](void* to, int, char** columns, char**) {
    *static_cast<std::string*>(to) = columns[0];
    return 0;
  };
  const int code = sqlite3_exec(db, text.c_str(), keep, &answer, nullptr);
  if (code == SQLITE_CONSTRAINT) throw dtm::FailureError("not enough money");  // roll back
  if (code != SQLITE_OK) throw std::runtime_error(sqlite3_errmsg(db));         // call again later
  return answer;
}

/// Adds the amount, with this sign, to an account; the barrier takes care of calls that come twice, or out of order.
httplib::Server::Handler Booking(const char* name, int sign) {
  return [name, sign](const httplib::Request& request, httplib::Response& response) {
    dtm::AnswerBranch(response, [&]() -> dtm::Result {
      thread_local Bank bank;  // the pool: a connection for each thread of the server
      const int amount = sign * nlohmann::json::parse(request.body).at("amount").get<int>();
      dtm::Barrier barrier = dtm::BarrierFromRequest(request);
      const char* did = "nothing to do";
      const dtm::Result result = bank.barriers.Call(barrier, [&](sqlite3* db) {
        did = "refused";
        if (amount > 50 && barrier.Op() == "action") return dtm::Result::Failure("at most 50");
        Sql(db, "UPDATE account SET balance = balance + " + std::to_string(amount) +
                    " WHERE name = '" + name + "'");
        did = "done";
        return dtm::Result::Success();
      });
      std::printf("  C++    %s of branch %s: %s %+d: %s\n", barrier.Op().c_str(),
                  barrier.BranchId().c_str(), name, amount, did);
      return result;
    });
  };
}

void Run(const std::string& script) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);       // two programs write to it
  std::filesystem::remove_all("polyglot.files");  // what an earlier run left
  std::filesystem::create_directory("polyglot.files");
  {
    const std::unique_ptr<sqlite3, decltype(&sqlite3_close_v2)> db(Bank::Open(), sqlite3_close_v2);
    Sql(db.get(), "CREATE TABLE account (name TEXT, balance INTEGER CHECK (balance >= 0))");
    Sql(db.get(), "INSERT INTO account VALUES ('alice', 100), ('bob', 100)");
    dtm::CreateBarrierTable(db.get());
  }

  httplib::Server branches;
  branches.Post("/TransOut", Booking("alice", -1));
  branches.Post("/TransOutCom", Booking("alice", +1));
  branches.Post("/TransIn", Booking("bob", +1));
  branches.Post("/TransInCom", Booking("bob", -1));
  branches.set_tcp_nodelay(true);
  const int port = branches.bind_to_any_port("127.0.0.1");
  std::thread serving([&] { branches.listen_after_bind(); });
  const auto stop = [&serving](httplib::Server* server) {
    server->stop();
    serving.join();
  };
  const std::unique_ptr<httplib::Server, decltype(stop)> stopped_at_the_end(&branches, stop);

  dtm::Coordinator tm("polyglot.files/coordinator.db");
  tm.Use(dtm::HttpBranches());
  tm.Start();
  dtm::Server api(tm);
  const std::string host = "http://127.0.0.1:";
  const std::string urls = host + std::to_string(api.Start("127.0.0.1", 0)) + "/api/dtmsvr " +
                           host + std::to_string(port);

  if (script.empty()) {
    std::printf("Start this elsewhere, then press Enter here:\n  python3 examples/polyglot.py %s\n",
                urls.c_str());
    (void)std::getchar();
  } else if (std::system(("python3 '" + script + "' " + urls).c_str()) != 0) {
    throw std::runtime_error("the program in Python has failed");
  }
  const std::string state =
      Sql(Bank().db.get(), "SELECT group_concat(name || ' has ' || balance, ', ') FROM account");
  std::printf("%s\n", state.c_str());
  if (!script.empty() && state != "alice has 70, bob has 130") {
    throw std::runtime_error("this is not what should have come of it");
  }
}

int main(int argc, char** argv) {
  try {
    Run(argc > 1 ? argv[1] : "");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "polyglot: %s\n", error.what());
    return 1;
  }
}
