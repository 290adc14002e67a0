/// Commits whose outcome the store in PostgreSQL does not learn, and a server that does not answer, or reads a message late.
#include <chrono>
#include <csignal>
#include <cstddef>
#include <memory>
#include <string>
#include <sys/types.h>
#include <thread>

#include "tests/catch.hpp"
#include "tests/store/contract_doubt.hpp"
#include "tests/support/postgres_server.hpp"
#include <dtm/store/postgres/postgres_store.hpp>

using dtm_test::NewTransaction;
using dtm_test::PostgresServer;
using dtm_test::Put;
using std::chrono::milliseconds;

namespace {

struct Kit {
  static constexpr char kName[] = "PostgreSQL";
  static constexpr char kFence[] = "dtm_node";
  static constexpr milliseconds kPatient{30000}, kImpatient{300};
  static constexpr std::size_t kRequestStep = 37, kAnswerStep = 1;

  struct Session {
    std::string operator()(const std::string& sql) const {
      return dtm_test::Ask(connection.Handle(), sql);
    }
    Session() { (*this)("SET search_path = doubt"); }
    /// Until this is true.
    void Await(const std::string& sql) const {
      for (int i = 0; (*this)(sql) != "t"; ++i) {
        REQUIRE(i < 2000);
        std::this_thread::sleep_for(milliseconds(5));
      }
    }
    void AwaitWaiting() const {
      Await("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
    }
    const dtm::PgConnection connection{Server().Conninfo()};
  };

  static PostgresServer& Server() { return PostgresServer::Shared(); }
  static int Port() { return Server().Port(); }
  static std::unique_ptr<dtm::shared_store::Database> Tables(milliseconds timeout, int port) {
    dtm::PostgresStoreOptions options;
    options.schema = "doubt";
    options.store_timeout = timeout;
    return std::make_unique<dtm::postgres_store::Database>(
        port == 0 ? Server().Conninfo() : Server().ConninfoAt(port), options);
  }
  static void Fence(const Session& session, const std::string& me, const std::string& heir) {
    session("UPDATE dtm_node SET heir = " + heir + " WHERE id = " + me);
  }
};
using Doubt = dtm_test::DoubtContract<Kit>;

}  // namespace

TEST_CASE(
    "a connection that is cut at any byte of a commit leaves all of it or nothing, and Recover "
    "tells") {
  Doubt::CutAtAnyByte();
}

TEST_CASE(
    "a server that does not answer costs the store's timeout, and what it reads late is not "
    "stored") {
  using End = Doubt::End;
  using Step = Doubt::Step;
  const Kit::Session session;
  const auto observer = Doubt::Open();
  const auto store = Doubt::OpenImpatient();
  dtm::Transaction old = NewTransaction(Doubt::Unused("old"));
  REQUIRE(Put(*store, old));
  REQUIRE(Step(*store, old, Doubt::Unused("g")).Run() == End::kStored);
  const std::string pid = session(
      "SELECT pid FROM pg_stat_activity WHERE application_name = 'dtm' ORDER BY query_start DESC "
      "LIMIT 1");
  REQUIRE(::kill(static_cast<pid_t>(std::stoi(pid)), SIGSTOP) == 0);
  Step late(*store, old, Doubt::Unused("late"));
  const auto begin = std::chrono::steady_clock::now();
  CHECK(late.Run() == End::kInDoubt);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  const auto owner = store->Owner();
  store->Recover();
  CHECK(store->Owner() == owner);
  CHECK_FALSE(observer->Load(late.fresh.definition->gid).has_value());
  ::kill(static_cast<pid_t>(std::stoi(pid)), SIGCONT);  // now it reads the message
  session.Await("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = " + pid);
  CHECK_FALSE(observer->Load(late.fresh.definition->gid).has_value());
  CHECK(observer->Load(old.definition->gid)->version == old.version);
  CHECK(Step(*store, old, Doubt::Unused("g")).Run() == End::kStored);
}

TEST_CASE("Recover waits for a batch of its own that still runs, and for no other one") {
  Doubt::RecoverWaitsForARunningBatch();
}

TEST_CASE("without memory for the answer a commit is in doubt") {
  Doubt::WithoutMemoryForTheAnswer();
}

TEST_CASE("a batch that is too large for one message is sent in several, of which each counts") {
  Doubt::InSeveralMessages();
}

TEST_CASE("a batch that waits for the heir to take over stores nothing") {
  Doubt::ABatchWaitsForTheHeir();
}

TEST_CASE(
    "a server that is killed and started again has all that was committed, and the store goes on") {
  Doubt::ServerIsKilled();
}
