/// The failing store: fails exactly when told, and in the way it was told.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/memory.hpp>
#include <dtm/testing/failing_store.hpp>

using dtm::testing::FailingStore;
using dtm::testing::StoreFault;

namespace {

/// Stores a transaction of this gid: Begin, Apply, Commit.
void Put(FailingStore& store, const std::string& gid) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = gid;
  dtm::Transaction transaction;
  transaction.definition = definition;
  std::vector<dtm::Change> changes{{&transaction, true, false}};
  store.Begin();
  store.Apply(changes);
  store.Commit();
}

}  // namespace

TEST_CASE("failing store: passes everything on, and counts") {
  auto inner = std::make_shared<dtm::MemoryStore>();
  FailingStore store(inner);
  Put(store, "a");
  CHECK(store.Operations() == 3);
  CHECK(store.Commits() == 1);
  CHECK(inner->Load("a"));
  CHECK(store.Load("a"));
  CHECK(store.Scan({}, 0, 10).transactions.size() == 1);
  CHECK(dtm_test::DuePage(store, dtm::kNever, {}, 10).size() == 1);
  CHECK(store.NextDue((dtm::Time::min)()) == dtm::Time{});
  store.Begin();
  bool ran = false;
  CHECK(store
            .Run([&ran](const dtm::WorkContext&) {
              ran = true;
              return dtm::Result::Failure("no");
            })
            .kind == dtm::Result::Kind::kFailure);
  CHECK(ran);
  CHECK(store.Expire(dtm::Time{}, 0, 10, false) == 0);
  store.Rollback();
  store.Recover();
}

TEST_CASE("failing store: the n-th operation fails once") {
  for (std::uint64_t n = 1; n <= 4; ++n) {
    CAPTURE(n);
    FailingStore store(std::make_shared<dtm::MemoryStore>());
    store.FailOnce(n, StoreFault::kDefinite);
    if (n <= 3) {
      CHECK_THROWS_AS(Put(store, "a"), dtm::StoreError);
      CHECK(store.Operations() == n);
      store.Rollback();
      CHECK(!store.Load("a"));
    } else {
      Put(store, "a");
      CHECK_THROWS_AS(store.Begin(), dtm::StoreError);
    }
    Put(store, "b");
    CHECK(store.Load("b"));
  }
}

TEST_CASE("failing store: a commit in doubt, stored or not") {
  FailingStore store(std::make_shared<dtm::MemoryStore>());
  store.FailOnce(3, StoreFault::kInDoubtNotStored);
  CHECK_THROWS_AS(Put(store, "a"), dtm::CommitInDoubt);
  store.Recover();
  CHECK(!store.Load("a"));
  store.FailOnce(3, StoreFault::kInDoubtButStored);
  CHECK_THROWS_AS(Put(store, "b"), dtm::CommitInDoubt);
  store.Recover();
  CHECK(store.Load("b"));
  CHECK(store.Commits() == 0);
}

TEST_CASE("failing store: always, until it heals") {
  FailingStore store(std::make_shared<dtm::MemoryStore>());
  store.FailAlways(StoreFault::kDefinite);
  for (int i = 0; i < 3; ++i) CHECK_THROWS_AS(store.Begin(), dtm::StoreError);
  CHECK_THROWS_AS(store.Recover(), dtm::StoreError);
  CHECK_THROWS_AS(dtm_test::DuePage(store, dtm::kNever, {}, 1), dtm::StoreError);
  CHECK_THROWS_AS(store.Expire(dtm::Time{}, 0, 1, false), dtm::StoreError);
  CHECK(!store.Load("a"));  // reading goes on
  store.FailAlways(StoreFault::kNone);
  Put(store, "a");
  CHECK(store.Load("a"));
}
