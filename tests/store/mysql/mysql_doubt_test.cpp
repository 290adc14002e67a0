/// Commits whose outcome the store in MariaDB does not learn, a server that stops, deadlocks, and batches that are too large.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/contract_doubt.hpp"
#include "tests/support/mysql_server.hpp"
#include <dtm/store/mysql/mysql_store.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::Batch;
using dtm_test::MysqlServer;
using dtm_test::NewTransaction;
using dtm_test::Put;
using std::chrono::seconds;

namespace {

struct Kit {
  static constexpr char kName[] = "MySQL";
  static constexpr char kFence[] = "dtm_fence";
  static constexpr seconds kPatient{30}, kImpatient{1};
  // Fewer places than in PostgreSQL: a new connection has to ask more.
  static constexpr std::size_t kRequestStep = 97, kAnswerStep = 7;

  struct Session {
    std::string operator()(const std::string& sql) const {
      return dtm_test::Ask(connection.Handle(), sql);
    }
    void AwaitWaiting() const {
      for (int i = 0; (*this)("SELECT COUNT(*) > 0 FROM information_schema.innodb_trx WHERE "
                              "trx_state = 'LOCK WAIT'") != "1";
           ++i) {
        REQUIRE(i < 200);
        // The table is not read anew if it was read less than 100 ms ago.
        std::this_thread::sleep_for(std::chrono::milliseconds(120));
      }
    }
    const dtm::MysqlConnection connection{Server().Address()};
  };

  static MysqlServer& Server() { return MysqlServer::Shared(); }
  static int Port() { return static_cast<int>(Server().Address().port); }
  static std::unique_ptr<dtm::shared_store::Database> Tables(seconds timeout, int port) {
    dtm::MysqlAddress address = Server().Address();
    if (port != 0) address.port = static_cast<unsigned>(port);
    dtm::MysqlStoreOptions options;
    options.store_timeout = timeout;
    return std::make_unique<dtm::mysql_store::Database>(address, options);
  }
  static void Fence(const Session& session, const std::string& me, const std::string& heir) {
    session("UPDATE dtm_node SET heir = " + heir + " WHERE id = " + me);
    session("DELETE FROM dtm_fence WHERE id = " + me);
  }
};
using Doubt = dtm_test::DoubtContract<Kit>;

}  // namespace

TEST_CASE(
    "MariaDB: a connection that is cut at any byte of a commit leaves all of it or nothing, and "
    "Recover tells") {
  Doubt::CutAtAnyByte();
}

TEST_CASE("MariaDB: Recover waits for a batch of its own that still runs, and for no other one") {
  Doubt::RecoverWaitsForARunningBatch();
}

TEST_CASE("MariaDB: without memory for the answer a commit is in doubt") {
  Doubt::WithoutMemoryForTheAnswer();
}

TEST_CASE(
    "MariaDB: a batch that is too large for one message is sent in several, of which each counts") {
  Doubt::InSeveralMessages();
}

TEST_CASE("MariaDB: a batch that waits for the heir to take over stores nothing") {
  Doubt::ABatchWaitsForTheHeir();
}

TEST_CASE(
    "MariaDB: a server that is stopped costs the store's timeout, and when it goes on Recover "
    "tells what is stored") {
  using End = Doubt::End;
  const auto observer = Doubt::Open();
  const auto store = Doubt::OpenImpatient();
  dtm::Transaction old = NewTransaction(Doubt::Unused("old"));
  REQUIRE(Put(*store, old));
  MysqlServer::Shared().Stop();
  Doubt::Step late(*store, old, Doubt::Unused("late"));
  const auto begin = std::chrono::steady_clock::now();
  CHECK(late.Run() == End::kInDoubt);
  CHECK(std::chrono::steady_clock::now() - begin < seconds(10));
  MysqlServer::Shared().GoOn();  // now it reads the message
  store->Recover();
  const bool stored = observer->Load(late.fresh.definition->gid).has_value();
  CHECK(observer->Load(old.definition->gid)->version == old.version + (stored ? 1 : 0));
  if (stored) ++old.version;
  CHECK(Doubt::Step(*store, old, Doubt::Unused("g")).Run() == End::kStored);
  CHECK(observer->Load(late.fresh.definition->gid).has_value() == stored);
}

TEST_CASE("MariaDB: a batch that is the victim of a deadlock comes again by itself") {
  const Kit::Session session;
  const auto store = Doubt::Open();
  dtm::Transaction first = NewTransaction(Doubt::Unused("old"));
  dtm::Transaction second = NewTransaction(Doubt::Unused("old"));
  REQUIRE(Put(*store, first));
  REQUIRE(Put(*store, second));
  const auto deadlocks = [&] {
    return session(
        "SELECT variable_value FROM information_schema.global_status WHERE "
        "variable_name = 'innodb_deadlocks'");
  };
  const std::string before = deadlocks();
  session("BEGIN");
  // The server ends the one that has done less.
  session("INSERT INTO dtm_journal SELECT 1000 + seq, '' FROM seq_1_to_1000");
  session("UPDATE dtm_trans SET finished = 1 WHERE id = " + std::to_string(second.id));
  dtm::Transaction fresh = NewTransaction(Doubt::Unused("g"));
  std::string said;
  std::thread writes([&] {
    try {
      store->Begin();
      const Batch batch(*store, {&fresh, &first, &second});
      store->Commit();
      said = batch.Applied() ? "stored" : "left out";
    } catch (const dtm::StoreError& error) {
      said = error.what();
    }
  });
  const Kit::Session look;
  look.AwaitWaiting();
  session("UPDATE dtm_trans SET finished = 1 WHERE id = " + std::to_string(first.id));
  session("ROLLBACK");
  writes.join();
  CHECK(deadlocks() != before);
  CHECK(said == "stored");
  CHECK(store->Load(fresh.definition->gid).has_value());
  CHECK(store->Load(first.definition->gid)->version == first.version + 1);
}

TEST_CASE(
    "MariaDB: a batch of two thousand is one message, one that is larger than the server takes is "
    "several, and a transaction that is so is refused") {
  const auto store = Doubt::Open();
  const auto all_at_once = [&](int count, const std::string& payload) {
    std::vector<dtm::Transaction> all;
    for (int i = 0; i < count; ++i)
      all.push_back(NewTransaction(Doubt::Unused("many"), dtm_test::At(0), payload));
    for (int round = 0; round < 2; ++round) {
      std::vector<dtm::Change> changes;
      for (dtm::Transaction& each : all) changes.push_back({&each, true, true});
      store->Begin();
      store->Apply(changes);
      store->Commit();
      for (dtm::Transaction& each : all) ++each.version;
      CHECK(std::all_of(changes.begin(), changes.end(),
                        [](const dtm::Change& change) { return change.applied; }));
    }
  };
  all_at_once(2000, "{}");
  all_at_once(20, std::string(std::size_t{1} << 20, '\\'));
  dtm::Transaction large = NewTransaction(Doubt::Unused("large"));
  large.last_error = std::string(std::size_t{17} << 20, '\\');
  CHECK_THROWS_WITH(Put(*store, large), ContainsSubstring("max_allowed_packet"));
  CHECK(Put(*store, NewTransaction(Doubt::Unused("g"))));
}

TEST_CASE(
    "MariaDB: a server that is killed and started again has all that was committed, and the store "
    "goes on") {
  Doubt::ServerIsKilled();
}
