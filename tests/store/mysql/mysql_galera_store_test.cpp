/// The store on a real Galera cluster of three nodes, with a coordinator at each: what two of them write at once meets at its commit.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/contract_owners.hpp"
#include "tests/store/store_contract.hpp"
#include "tests/support/galera_server.hpp"
#include "tests/support/mysql_server.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/mysql/mysql_store.hpp>

using dtm::shared_store::Query;
using dtm_test::GaleraServer;
using dtm_test::NewTransaction;
using dtm_test::Put;
using std::chrono::seconds;

namespace {

std::unique_ptr<dtm::mysql_store::Database> Tables(std::size_t node) {
  return std::make_unique<dtm::mysql_store::Database>(GaleraServer::Shared().Address(node),
                                                      dtm::MysqlStoreOptions());
}
/// Without beats: who is dead is told by the test.
std::unique_ptr<dtm::Store> Open(std::size_t node) {
  return std::make_unique<dtm::SharedStore>(Tables(node), seconds(1));
}
std::unique_ptr<dtm::Store> OpenEmpty(std::size_t node) {
  auto store = Open(node);
  const dtm::MysqlConnection connection(GaleraServer::Shared().Address(0));
  dtm_test::Ask(connection.Handle(), "SET SESSION wsrep_sync_wait = 15");
  for (const char* table : {"trans", "step", "journal", "kv"})
    dtm_test::Ask(connection.Handle(), std::string("DELETE FROM dtm_") + table);
  return store;
}
std::int64_t OwnerOf(const dtm::Store& store) { return static_cast<std::int64_t>(store.Owner()); }

}  // namespace

TEST_CASE("Galera: the store at a node keeps the contract of stores") {
  using namespace dtm_test::store_contract;  // NOLINT(google-build-using-namespace)
  std::vector<Check> checks = Checks();
  // A thousand batches; and it is the same at one node as without a cluster.
  checks.erase(std::remove_if(checks.begin(), checks.end(),
                              [](const Check& check) { return check.run == JournalIsFolded; }),
               checks.end());
  RunEach(checks, [] { return OpenEmpty(0); });
}

TEST_CASE("Galera: two coordinators at two nodes keep the contract of owners") {
  dtm_test::ExpectOwnership([] {
    auto one = OpenEmpty(0);
    auto two = Open(1);
    const std::int64_t dead = OwnerOf(*one);
    const std::int64_t heir = OwnerOf(*two);
    const std::shared_ptr<dtm::shared_store::Connection> third = Tables(1)->Connect();
    return dtm_test::store_contract::TwoOwners{
        std::move(one), std::move(two),
        [=] {
          const std::int64_t beat = 1;
          REQUIRE(third->Run(Query::kInherit, {dead, beat, std::int64_t{0}, heir})->Count() == 1);
        },
        [=](std::size_t limit) {
          const std::vector<std::string> apps{"", "app"};
          return third
              ->Run(Query::kClaim, {dead, heir, static_cast<std::int64_t>(limit), &apps, heir})
              ->Count();
        }};
  });
}

TEST_CASE("Galera: of two that change a transaction at two nodes at once one wins, without doubt") {
  const auto one = OpenEmpty(0);
  const auto two = Open(1);
  const dtm::Transaction before = [&] {
    dtm::Transaction transaction = NewTransaction("both");
    REQUIRE(Put(*one, transaction));
    return two->Load("both").value();
  }();
  std::atomic<int> ready{0}, won{0}, refused{0}, in_doubt{0};
  std::uint64_t version = before.version;
  for (int round = 0; round < 40; ++round) {
    ready = 0;
    const int won_before = won;
    const auto change = [&](dtm::Store& store) {
      dtm::Transaction mine = before;
      mine.version = version;
      dtm::Transaction fresh =
          NewTransaction("fresh" + std::to_string(store.Owner()) + "_" + std::to_string(version));
      ++ready;
      while (ready < 2) std::this_thread::yield();
      try {
        std::vector<dtm::Change> changes{{&mine}, {&fresh}};
        store.Begin();
        store.Apply(changes);
        store.Commit();
        won += changes[0].applied ? 1 : 0;
      } catch (const dtm::CommitInDoubt&) {
        ++in_doubt;
      } catch (const dtm::StoreError&) {
        ++refused;
      }
    };
    std::thread other([&] { change(*two); });
    change(*one);
    other.join();
    CHECK(won - won_before <= 1);
    version = one->Load("both")->version;
    CHECK(two->Load("both")->version == version);
  }
  CHECK(in_doubt == 0);
  CHECK(version == before.version + static_cast<std::uint64_t>(won));
  CHECK(won > 20);
}

TEST_CASE(
    "Galera: once another node has fenced a coordinator, or it has recovered there, no batch "
    "of before is stored") {
  const auto heir = OpenEmpty(1);
  enum class Way { kInherit, kRejoin, kLeave };
  for (int round = 0; round < 12; ++round) {
    const auto way = static_cast<Way>(round % 3);
    const auto other_node = Tables(1)->Connect();
    const auto writer = Open(0);
    const std::int64_t owner = OwnerOf(*writer);
    const dtm::MysqlConnection look(GaleraServer::Shared().Address(0));
    const std::int64_t epoch = std::stoll(dtm_test::Ask(
        look.Handle(), "SELECT epoch FROM dtm_fence WHERE id = " + std::to_string(owner)));
    std::atomic<int> stored{0};
    bool fenced = false;
    bool in_doubt = false;
    std::thread writes([&] {
      for (int i = 0; i < 100000 && !fenced && !in_doubt; ++i) {
        try {
          const std::string gid = "g" + std::to_string(owner) + "_" + std::to_string(i);
          stored += Put(*writer, NewTransaction(gid)) ? 1 : 0;
        } catch (const dtm::Fenced&) {
          fenced = true;
        } catch (const dtm::CommitInDoubt&) {
          in_doubt = true;
        } catch (const dtm::StoreError&) {  // a conflict, and nothing is stored
        }
      }
    });
    while (stored < 5) std::this_thread::yield();
    std::string problem;
    const auto me = OwnerOf(*heir);
    for (bool done = false; !done && problem.empty();) {  // until it does not meet a batch
      try {
        if (way == Way::kInherit) {
          const auto heirs =
              other_node->Run(Query::kInherit, {owner, std::int64_t{1}, std::int64_t{0}, me});
          if (heirs->Count() != 1) problem = "it did not become the heir";
        } else {
          (void)other_node->Run(way == Way::kRejoin ? Query::kRejoin : Query::kLeave,
                                {owner, epoch});
        }
        done = true;
      } catch (const dtm::SqlError& error) {
        if (!dtm::IsDeadlock(error.Code())) problem = error.what();
      }
    }
    const auto count = [&] { return heir->CountUnfinished(dtm_test::At(99)).unfinished; };
    const auto at_once = count();
    writes.join();
    CAPTURE(round);
    CHECK(problem.empty());
    CHECK(fenced);
    CHECK_FALSE(in_doubt);
    CHECK(count() == at_once);
  }
}

TEST_CASE(
    "Galera: a coordinator whose node dies goes on at another one, and knows what is stored") {
  GaleraServer& cluster = GaleraServer::Shared();
  dtm::MysqlAddress address = cluster.Address(0);
  address.host.clear();
  for (std::size_t node = 0; node < 3; ++node) {
    if (node > 0) address.host += ',';
    address.host += "127.0.0.1:" + std::to_string(cluster.Address(node).port);
  }
  const auto observer = OpenEmpty(1);
  dtm::SharedStore store(
      std::make_unique<dtm::mysql_store::Database>(address, dtm::MysqlStoreOptions()), seconds(1));
  const std::uint64_t owner = store.Owner();
  REQUIRE(Put(store, NewTransaction("before")));
  REQUIRE(observer->Load("before").has_value());
  cluster.Kill(0);
  CHECK_THROWS_AS(Put(store, NewTransaction("lost")), dtm::CommitInDoubt);
  for (int i = 0; i < 100; ++i) {  // until the others know that it is gone
    try {
      store.Recover();
      break;
    } catch (const dtm::StoreError&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  CHECK(store.Owner() == owner);
  CHECK(store.Load("before").has_value());
  CHECK_FALSE(store.Load("lost").has_value());
  CHECK(Put(store, NewTransaction("after")));
  CHECK(observer->Load("after").has_value());
}
