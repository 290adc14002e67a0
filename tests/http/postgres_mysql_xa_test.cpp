/// One xa across PostgreSQL and MariaDB, whose branches are services: the coordinator is killed at each point between the phases,
/// another goes on with its file, and both databases agree with nothing left prepared.
/// The coordinators and the services are processes of their own, forked from this one, which has no threads.
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <unistd.h>

#include <httplib.h>

#include "tests/catch.hpp"
#include "tests/support/child.hpp"
#include "tests/support/mysql_server.hpp"
#include "tests/support/postgres_server.hpp"
#include "tests/support/quiet.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/barrier/mysql_barrier.hpp>
#include <dtm/barrier/postgres_barrier.hpp>
#include <dtm/barrier/xa/mysql_xa.hpp>
#include <dtm/barrier/xa/postgres_xa.hpp>
#include <dtm/dtm.hpp>
#include <dtm/http.hpp>
#include <dtm/httplib.hpp>

namespace {

/// When the first coordinator is killed.
enum class Killed { kNever, kAfterOneBranch, kBeforeSubmit, kAfterSubmit };

const std::string& Conninfo() { return dtm_test::PostgresServer::Shared().Conninfo(); }
dtm::MysqlAddress Address() { return dtm_test::MysqlServer::Shared().Address(); }

std::string Url(int port, const std::string& path) {
  return "http://127.0.0.1:" + std::to_string(port) + path;
}

class World {
 public:
  World() {
    const dtm::PgConnection postgres(Conninfo());
    const dtm::MysqlConnection mysql(Address());
    dtm::CreateBarrierTable(postgres.Handle());
    dtm::CreateBarrierTable(mysql.Handle());
    for (const char* sql : {"DELETE FROM dtm_barrier.barrier", "DROP TABLE IF EXISTS purse",
                            "CREATE TABLE purse (balance int)", "INSERT INTO purse VALUES (100)"}) {
      dtm_test::Ask(postgres.Handle(), sql);
      dtm_test::Ask(mysql.Handle(), sql);
    }
    coordinator_port_ = api_.bind_to_any_port("127.0.0.1");
    bank_port_ = bank_.bind_to_any_port("127.0.0.1");
  }

  /// Runs one xa, with a coordinator that is killed and then another; what came of it, and in between.
  void Run(Killed killed, int amount) {
    const dtm_test::LivingChild services([this] { Serve(); });
    if (killed != Killed::kNever) {
      CHECK(dtm_test::InChild([&] { return Coordinate(killed, amount); }) == "killed by signal 9");
      between = State();
      std::ofstream(dir_ / "may_commit") << "yes";
      ended = dtm_test::InChild([this] { return Coordinate(Killed::kNever, 0); });
    } else {
      std::ofstream(dir_ / "may_commit") << "yes";
      ended = dtm_test::InChild([&] { return Coordinate(killed, amount); });
    }
    after = State();
  }

  std::string between;
  std::string ended;
  std::string after;

 private:
  void Serve() {
    const auto serve = [this](const char* path, auto handle) {
      bank_.Post(path, [this, handle](const httplib::Request& request, auto& response) {
        dtm::AnswerBranch(response, [&] {
          const dtm::XaCall call = dtm::XaFromQuery(request.params);
          if (call.op == dtm::Op::kCommit && !std::filesystem::exists(dir_ / "may_commit")) {
            return dtm::Result::Error("not before the coordinator was killed");
          }
          dtm::RemoteCoordinator coordinator(Url(coordinator_port_, "/api/dtmsvr"));
          return handle(call, coordinator, "UPDATE purse SET balance = balance + " + request.body);
        });
      });
    };
    serve("/Postgres", [](const dtm::XaCall& call, auto& coordinator, const std::string& sql) {
      const dtm::PgConnection connection(Conninfo());
      return dtm::PgXaBranch(connection.Handle()).Handle(call, coordinator, [&](PGconn* db) {
        dtm_test::Ask(db, sql);
      });
    });
    serve("/Mysql", [](const dtm::XaCall& call, auto& coordinator, const std::string& sql) {
      return dtm::MysqlXaBranch(Address()).Handle(call, coordinator, [&](MYSQL* db) {
        if (sql.find("+ 60") != std::string::npos) throw dtm::FailureError("at most 50");
        dtm_test::Ask(db, sql);
      });
    });
    std::thread([this] { bank_.listen_after_bind(); }).detach();
  }

  /// Amount 0: only goes on with what is in the file.
  std::string Coordinate(Killed killed, int amount) {
    dtm::Coordinator tm(dir_ / "coordinator.db", dtm_test::Quiet());
    tm.Use(dtm::HttpBranches());
    dtm::MountApi(tm, api_);
    std::thread serving([this] { api_.listen_after_bind(); });
    tm.Start();
    if (amount > 0) Transfer(tm, killed, amount);
    const dtm::TransResult result = tm.Wait("gid", std::chrono::seconds(30));
    api_.stop();
    serving.join();
    return dtm::Name(result.status);
  }
  void Transfer(dtm::Coordinator& tm, Killed killed, int amount) const {
    const auto here = [killed](Killed point) {
      if (killed == point) ::raise(SIGKILL);
    };
    dtm::TransOptions options;
    options.retry_interval = options.timeout_to_fail = std::chrono::seconds(1);
    options.request_timeout = std::chrono::seconds(20);
    try {
      dtm::XaGlobalTransaction(tm, "gid", options, [&](dtm::Xa& xa) {
        xa.CallBranch(-amount, Url(bank_port_, "/Postgres"));
        here(Killed::kAfterOneBranch);
        xa.CallBranch(amount, Url(bank_port_, "/Mysql"));
        here(Killed::kBeforeSubmit);
      });
    } catch (const dtm::FailureError&) {
    }
    here(Killed::kAfterSubmit);
  }

  static std::string State() {
    const dtm::PgConnection postgres(Conninfo());
    const dtm::MysqlConnection mysql(Address());
    const auto prepared = dtm::OldPrepared(postgres.Handle(), std::chrono::seconds(0)).size() * 10 +
                          dtm::xa::Recover(mysql.Handle()).size();
    return dtm_test::Ask(postgres.Handle(), "SELECT balance FROM purse") + ' ' +
           dtm_test::Ask(mysql.Handle(), "SELECT balance FROM purse") + ", prepared " +
           std::to_string(prepared);
  }

  dtm_test::TempDir dir_;
  httplib::Server api_;
  httplib::Server bank_;
  int coordinator_port_ = 0;
  int bank_port_ = 0;
};

}  // namespace

TEST_CASE("xa across PostgreSQL and MariaDB, the coordinator killed between the phases") {
  // prepared: 10 for PostgreSQL, 1 for MariaDB
  const struct {
    const char* name;
    Killed killed;
    int amount;
    const char* between;
    const char* ended;
    const char* after;
  } rows[] = {
      {"nobody is killed", Killed::kNever, 30, "", "succeed", "70 130, prepared 0"},
      {"a branch refuses", Killed::kNever, 60, "", "failed", "100 100, prepared 0"},
      {"killed after one branch", Killed::kAfterOneBranch, 30, "100 100, prepared 10", "failed",
       "100 100, prepared 0"},
      {"killed before the submit", Killed::kBeforeSubmit, 30, "100 100, prepared 11", "failed",
       "100 100, prepared 0"},
      {"killed after the submit", Killed::kAfterSubmit, 30, "100 100, prepared 11", "succeed",
       "70 130, prepared 0"},
  };
  for (const auto& row : rows) {
    INFO(row.name);
    World world;
    world.Run(row.killed, row.amount);
    CHECK(world.between == row.between);
    CHECK(world.ended == row.ended);
    CHECK(world.after == row.after);
  }
}
