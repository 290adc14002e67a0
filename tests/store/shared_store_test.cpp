/// The contract of stores that several coordinators share, kept by a table in memory: what a store in a database server will
/// have to do, and what the loop is tested with (tests/coordinator/fenced_test.cpp).
#include <memory>

#include "tests/catch.hpp"
#include "tests/store/contract_owners.hpp"
#include "tests/store/store_contract.hpp"
#include "tests/support/shared_table.hpp"
#include <dtm/store/memory.hpp>

using dtm_test::SharedStore;
using dtm_test::SharedTable;

TEST_CASE("a shared table keeps the contract of stores, and says what was applied after Commit") {
  using namespace dtm_test::store_contract;  // NOLINT(google-build-using-namespace)
  RunEach(Checks(), [] { return std::make_unique<SharedStore>(std::make_shared<SharedTable>()); });
}

TEST_CASE("a shared table keeps the contract of owners") {
  dtm_test::ExpectOwnership([] {
    const auto table = std::make_shared<SharedTable>();
    auto one = std::make_unique<SharedStore>(table);
    auto two = std::make_unique<SharedStore>(table);
    const std::uint64_t dead = one->Owner();
    const std::uint64_t heir = two->Owner();
    return dtm_test::store_contract::TwoOwners{
        std::move(one), std::move(two), [table, dead] { table->Fence(dead); },
        [table, dead, heir](std::size_t limit) { return table->Claim(dead, heir, limit); }};
  });
}

TEST_CASE("a store that one coordinator has for itself owns all that is in it, for ever") {
  dtm::MemoryStore store;
  CHECK(store.Owner() == 0);
  CHECK(store.OurLease() == nullptr);
  dtm::Transaction foreign = dtm_test::NewTransaction("gid");
  foreign.owner = 7;
  REQUIRE(dtm_test::Put(store, foreign));
  CHECK(store.Load("gid")->owner == 0);
}
