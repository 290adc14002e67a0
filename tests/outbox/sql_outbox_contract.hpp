/// What an outbox promises on every SQL server. Needs: Catch2. Threads: the relay of a coordinator.
///
/// Kit: Connection with Exec, Ask, Handle; Create(connection) makes the table; Outbox; Source, made by Args(port); Fresh() makes an empty outbox table and an empty
/// table `orders`; kOtherCharacters sets another character set than UTF-8; kMinutesAgo.
#pragma once

#include <atomic>
#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/child.hpp"
#include "tests/support/cutting_proxy.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/dtm.hpp>
#include <dtm/sql/session.hpp>

namespace dtm_test {

template <typename Kit>
struct SqlOutboxContract {
  using Connection = typename Kit::Connection;
  using Outbox = typename Kit::Outbox;
  using Source = typename Kit::Source;

  /// What became of sagas, at whatever coordinator.
  struct Counts {
    void Add(const std::string& gid, int amount) {
      const std::lock_guard<std::mutex> lock(mutex);
      by_gid[gid] += amount;
    }
    std::map<std::string, int> Get() {
      const std::lock_guard<std::mutex> lock(mutex);
      return by_gid;
    }
    std::mutex mutex;
    std::map<std::string, int> by_gid;
  };

  /// A coordinator with a function that counts.
  struct World {
    explicit World(Counts* counts = nullptr) : World("", counts) {}
    /// `file`: of its store, which outlives it.
    World(const std::string& file, Counts* counts)
        : tm(file.empty() ? dir / "dtm.db" : file, Logging()) {
      tm.Register<int>("count", [this, counts](int amount, const dtm::BranchInfo& info) {
        if (counts != nullptr) counts->Add(info.gid, amount);
        sum += amount;
      });
      tm.Start();
    }
    dtm::Options Logging() {
      dtm::Options options;
      options.log = [this](dtm::LogLevel, const std::string& line) {
        const std::lock_guard<std::mutex> lock(mutex);
        lines += line + "\n";
      };
      return options;
    }
    std::string Log() {
      const std::lock_guard<std::mutex> lock(mutex);
      return lines;
    }
    void Relay(std::unique_ptr<dtm::OutboxSource> source) {
      tm.Relay(std::move(source), std::chrono::milliseconds(2));
    }
    void Relay() {
      Relay(
          std::apply([](auto... args) { return std::make_unique<Source>(args...); }, Kit::Args()));
    }
    TempDir dir;
    std::mutex mutex;
    std::string lines;
    std::atomic<int> sum{0};
    dtm::Coordinator tm;
  };

  /// When a relay dies: with its statement of that number, before the server gets it or after it was carried out.
  struct Death {
    int at = 0;
    bool after = false;
    bool kills = false;  ///< the whole process
    std::atomic<int> statements{0};
    std::atomic<bool> dead{false};
  };
  class MortalSession : public dtm::SqlSession {
   public:
    MortalSession(std::unique_ptr<dtm::SqlSession> real, Death& death)
        : real_(std::move(real)), death_(death) {}
    dtm::SqlDialect Dialect() const override { return real_->Dialect(); }
    dtm::SqlTransaction Transaction() override { return real_->Transaction(); }
    dtm::SqlAnswer Run(const std::string& sql,
                       const std::vector<std::string_view>& parameters) override {
      return Step([&] { return real_->Run(sql, parameters); });
    }
    std::string Simple(const char* sql) override {
      return Step([&] { return real_->Simple(sql); });
    }

   private:
    template <typename Statement>
    auto Step(const Statement& statement) {
      const bool last = ++death_.statements == death_.at;
      if (last && !death_.after) Die();
      if (death_.dead) Die();
      auto answer = statement();
      if (last) Die();
      return answer;
    }
    [[noreturn]] void Die() {
      if (death_.kills) ::kill(::getpid(), SIGKILL);
      death_.dead = true;
      throw dtm::SqlError("the process died", "");
    }
    std::unique_ptr<dtm::SqlSession> real_;
    Death& death_;
  };
  class MortalSource : public Source {
   public:
    template <typename... Args>
    explicit MortalSource(Death& death, const Args&... args) : Source(args...), death_(death) {}

   protected:
    std::unique_ptr<dtm::SqlSession> Connect() override {
      return std::make_unique<MortalSession>(Source::Connect(), death_);
    }

   private:
    Death& death_;
  };
  static std::unique_ptr<dtm::OutboxSource> Mortal(Death& death) {
    return std::apply([&](auto... args) { return std::make_unique<MortalSource>(death, args...); },
                      Kit::Args());
  }

  static void SubmitAll(Connection& connection, Outbox& outbox,
                        const std::vector<std::string>& gids) {
    connection.Exec("BEGIN");
    for (const std::string& gid : gids) Saga(outbox, gid).Submit();
    connection.Exec("COMMIT");
  }

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

  /// A coordinator's process is killed between the submission and the removal of the rows.
  static void RunKilled() {
    Kit::Fresh();
    const TempDir dir;
    {
      Connection connection;
      Outbox outbox(connection.Handle());
      SubmitAll(connection, outbox, {"a", "b"});
    }
    const std::string end = InChild([&]() -> std::string {
      Death death;
      death.at = 5;
      death.kills = true;
      World world(dir / "killed.db", nullptr);
      world.Relay(Mortal(death));
      std::this_thread::sleep_for(std::chrono::seconds(60));
      return "it lives";
    });
    REQUIRE(end == "killed by signal 9");
    Connection connection;
    CHECK(Rows(connection) == "2");
    {
      World other;
      Death none;
      other.Relay(Mortal(none));
      Until([&] { return none.statements >= 5; });
      CHECK(other.tm.Stop(std::chrono::seconds(5)));
      CHECK_FALSE(other.tm.Query("a"));
    }
    World again(dir / "killed.db", nullptr);
    CHECK(again.tm.Query("a"));
    again.Relay();
    Until([&] { return Rows(connection) == "0"; });
    CHECK(again.tm.Wait("b", std::chrono::seconds(5)).Succeeded());
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
    SECTION("two coordinators relay one table: each row goes to one") {
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
    SECTION("of two relays one dies at any step: each saga runs once") {
      const std::vector<std::string> gids{"a", "b", "c", "d", "e"};
      const TempDir dir;
      for (const bool after : {false, true}) {
        // Oldest, look, claim, which are ours, (submit), remove.
        for (int step = 1; step <= 5; ++step) {
          CAPTURE(step, after);
          Counts counts;
          Death death;
          death.at = step;
          death.after = after;
          const std::string file = dir / (std::to_string(2 * step + (after ? 1 : 0)) + ".db");
          SubmitAll(connection, outbox, gids);
          {
            World first(file, &counts);
            first.Relay(Mortal(death));
            Until([&] { return death.dead.load(); });
          }
          {
            World second(&counts);
            Death none;
            second.Relay(Mortal(none));
            const bool claimed = step > 3 || (step == 3 && after);
            if (!claimed) Until([&] { return Rows(connection) == "0"; });
            Until([&] { return none.statements >= 10; });
            CHECK(second.tm.Stop(std::chrono::seconds(5)));
            CHECK(second.sum == (claimed ? 0 : 5));
          }
          World again(file, &counts);
          again.Relay();
          Until([&] { return Rows(connection) == "0" && counts.Get().size() == gids.size(); });
          CHECK(again.tm.Stop(std::chrono::seconds(5)));
          for (const auto& [gid, count] : counts.Get()) {
            CAPTURE(gid);
            CHECK(count == 1);
          }
        }
      }
    }
    SECTION(
        "a row of a store that is gone: the relay says so, and takes it when a person gave it "
        "away") {
      SubmitAll(connection, outbox, {"g"});
      connection.Exec(std::string("UPDATE dtm_outbox SET owner = 'gone', created = ") +
                      Kit::kMinutesAgo);
      world.Relay();
      Until([&] { return world.Log().find("belongs to the store 'gone'") != std::string::npos; });
      CHECK(world.tm.Measure().outboxes.value().oldest_age >= std::chrono::minutes(1));
      CHECK(world.sum == 0);
      connection.Exec("UPDATE dtm_outbox SET owner = NULL WHERE owner = 'gone'");
      Until([&] { return world.sum == 1 && Rows(connection) == "0"; });
      CHECK(world.tm.Measure().outboxes.value().relayed == 1);
    }
    SECTION(
        "a row in a format that this version does not know waits, unmarked, and holds nobody up") {
      connection.Exec(
          "INSERT INTO dtm_outbox (gid, type, definition) VALUES ('newer', 'saga', '\x7F')");
      SubmitAll(connection, outbox, {"g"});
      world.Relay();
      Until([&] { return world.sum == 1 && Rows(connection) == "1"; });
      CHECK(world.tm.Stop(std::chrono::seconds(5)));
      CHECK(connection.Ask("SELECT COUNT(*) FROM dtm_outbox WHERE owner IS NULL AND problem IS "
                           "NULL") == "1");
    }
    SECTION("a gid arrives whole whatever the character set of the connection is") {
      connection.Exec(Kit::kOtherCharacters);
      SubmitAll(connection, outbox, {"gr\xC3\xBC\xC3\x9F"});
      world.Relay();
      Until([&] { return Rows(connection) == "0"; });
      CHECK(world.tm.Query("gr\xC3\xBC\xC3\x9F"));
    }
    SECTION("a server that falls silent does not keep Stop waiting") {
      CuttingProxy proxy(Kit::ServerPort());
      Death death;  // counts
      world.Relay(
          std::apply([&](auto... args) { return std::make_unique<MortalSource>(death, args...); },
                     Kit::Args(proxy.Port())));
      Until([&] { return death.statements >= 5; });
      proxy.FallSilent();
      Until([&] { return proxy.Unheard(); });
      const auto start = std::chrono::steady_clock::now();
      CHECK(world.tm.Stop(std::chrono::seconds(5)));
      CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
    }
    SECTION("a table that was made before rows had an owner gets the column") {
      connection.Exec("ALTER TABLE dtm_outbox DROP COLUMN owner");
      world.Relay();
      Until([&] { return world.Log().find("cannot be relayed now") != std::string::npos; });
      CHECK_THAT(world.Log(), ContainsSubstring("owner"));
      Kit::Create(connection);
      SubmitAll(connection, outbox, {"g"});
      Until([&] { return world.sum == 1; });
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
