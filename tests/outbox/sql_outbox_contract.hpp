/// What an outbox promises on every SQL server. Needs: Catch2. Threads: the relay of a coordinator.
///
/// Kit: Connection with Exec, Ask, Handle; Outbox; Fresh() makes an empty outbox table and an empty table `orders`; Relay().
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/dtm.hpp>
#include <dtm/sql/session.hpp>

namespace dtm_test {

template <typename Kit>
struct SqlOutboxContract {
  using Connection = typename Kit::Connection;
  using Outbox = typename Kit::Outbox;

  /// A coordinator with a function that counts.
  struct World {
    World() : tm(dir / "dtm.db", Quiet()) {
      tm.Register<int>("count", [this](int amount) { sum += amount; });
      tm.Start();
    }
    static dtm::Options Quiet() {
      dtm::Options options;
      options.log = [](dtm::LogLevel, const std::string&) {};
      return options;
    }
    void Relay() { tm.Relay(Kit::Relay(), std::chrono::milliseconds(2)); }
    TempDir dir;
    std::atomic<int> sum{0};
    dtm::Coordinator tm;
  };

  /// Waits until the server and the relay have done it.
  template <typename So>
  static void Until(const So& so) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!so()) {
      REQUIRE(std::chrono::steady_clock::now() < end);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  static dtm::Saga Saga(dtm::Endpoint& endpoint, const std::string& gid) {
    return dtm::NewSaga(endpoint, gid).Add(dtm::LocalBranch<int>{"count", 0}, dtm::kNoBranch, 1);
  }
  static std::string Rows(Connection& connection) {
    return connection.Ask("SELECT COUNT(*) FROM dtm_outbox");
  }

  static void Run() {
    Kit::Fresh();
    Connection connection;
    Outbox outbox(connection.Handle());
    World world;
    using Catch::Matchers::ContainsSubstring;

    SECTION("with the business rows, or not at all") {
      connection.Exec("BEGIN");
      connection.Exec("INSERT INTO orders VALUES (1)");
      CHECK(Saga(outbox, "kept").Submit().gid == "kept");
      connection.Exec("COMMIT");
      connection.Exec("BEGIN");
      connection.Exec("INSERT INTO orders VALUES (2)");
      Saga(outbox, "dropped").Submit();
      connection.Exec("ROLLBACK");
      world.Relay();
      Until([&] { return Rows(connection) == "0" && world.sum == 1; });
      CHECK(world.tm.Wait("kept", std::chrono::seconds(5)).Succeeded());
      CHECK(!world.tm.Query("dropped"));
      CHECK(connection.Ask("SELECT COUNT(*) FROM orders") == "1");
    }
    SECTION("a message, a saga of the coordinator itself, headers and odd bytes arrive whole") {
      const std::string odd = "\xC3\xA9 'quoted' \\ \" ? $1 \x01";
      connection.Exec("BEGIN");
      dtm::Msg msg = dtm::NewMsg(outbox, "msg");
      msg.Add(std::string("http://127.0.0.1:9/none"), odd).SetDelay(std::chrono::hours(1));
      msg.Submit();
      dtm::Saga saga = dtm::NewSaga(world.tm, "saga");
      saga.Add(world.tm.template Register<std::string>("never", [](const std::string&) {}),
               dtm::kNoBranch, odd)
          .Add(std::string("http://127.0.0.1:9/none"), dtm::kNoBranch, 1)
          .SetConcurrent()
          .AddBranchOrder(1, {0})
          .AddBranchHeader("a", "b c")
          .SetRetryInterval(std::chrono::seconds(7));
      outbox.Submit(saga);
      connection.Exec("COMMIT");
      world.Relay();
      Until([&] { return Rows(connection) == "0"; });
      const auto stored = world.tm.Query("saga");
      REQUIRE(stored);
      CHECK(dtm::SameContent(*stored->definition, saga.Content()));
      CHECK(stored->definition->options.branch_headers == saga.Content().options.branch_headers);
      CHECK(stored->definition->options.retry_interval == std::chrono::seconds(7));
      CHECK(world.tm.Query("msg")->definition->delay == std::chrono::hours(1));
    }
    SECTION("what is refused, with nothing written") {
      CHECK_THROWS_AS(Saga(outbox, "g").Submit(), dtm::LogicError);  // no transaction
      connection.Exec("BEGIN");
      CHECK_THROWS_AS(Saga(outbox, std::string(200, 'x')).Submit(), dtm::BadInput);
      CHECK_THROWS_AS(Saga(outbox, "g").SetWaitResult().Submit(), dtm::LogicError);
      CHECK_THROWS_AS((void)Saga(outbox, "g").SubmitAndWait(std::chrono::seconds(1)),
                      dtm::LogicError);
      dtm::Definition tcc;
      tcc.gid = "g";
      tcc.type = dtm::TransType::kTcc;
      CHECK_THROWS_AS(outbox.Submit(tcc), dtm::LogicError);
      CHECK(Rows(connection) == "0");
      CHECK(Saga(outbox, "g").Submit().gid == "g");
      CHECK_THROWS_AS(Saga(outbox, "g").Submit(), dtm::SqlError);  // the gid again
      connection.Exec("ROLLBACK");
      CHECK_THROWS_AS(Outbox(nullptr), dtm::LogicError);
      CHECK_THROWS_AS(Outbox(connection.Handle(), "no name"), dtm::LogicError);
    }
    SECTION("a row that nobody can read is marked, and holds nobody up") {
      connection.Exec(
          "INSERT INTO dtm_outbox (gid, type, definition) VALUES ('unreadable', "
          "'saga', '\x02'), ('of another kind', 'tcc', '\x02')");
      connection.Exec("BEGIN");
      Saga(outbox, "g").Submit();
      connection.Exec("COMMIT");
      world.Relay();
      Until([&] { return world.sum == 1 && Rows(connection) == "2"; });
      CHECK(connection.Ask("SELECT COUNT(*) FROM dtm_outbox WHERE problem IS NOT NULL") == "2");
    }
    SECTION("two coordinators relay one table, and nothing breaks: each row goes to one") {
      World second;
      for (int i = 0; i < 600; ++i) {
        connection.Exec("BEGIN");
        Saga(outbox, "g" + std::to_string(i)).Submit();
        connection.Exec("COMMIT");
        if (i == 300) {
          world.Relay();
          second.Relay();
        }
      }
      Until([&] { return Rows(connection) == "0" && world.sum + second.sum == 600; });
      CHECK(world.tm.Stop(std::chrono::seconds(5)));
      CHECK(second.tm.Stop(std::chrono::seconds(5)));
      CHECK(world.sum + second.sum == 600);
    }
    SECTION("the server is killed while the relay runs") {
      world.Relay();
      Kit::Server().Kill();
      Kit::Server().Start();
      Connection again;
      Outbox other(again.Handle());
      again.Exec("BEGIN");
      Saga(other, "g").Submit();
      again.Exec("COMMIT");
      Until([&] { return world.sum == 1; });
    }
  }
};

}  // namespace dtm_test
