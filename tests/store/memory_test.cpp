/// The memory store keeps the contract.
#include <memory>

#include "tests/catch.hpp"
#include "tests/store/store_contract.hpp"
#include <dtm/store/memory.hpp>

TEST_CASE("the memory store keeps the contract of stores") {
  dtm_test::ExpectContract([] { return std::make_unique<dtm::MemoryStore>(); });
}

TEST_CASE("memory stores share nothing") {
  dtm::MemoryStore one;
  dtm::MemoryStore two;
  REQUIRE(dtm_test::Put(one, dtm_test::NewTransaction("gid")));
  CHECK_FALSE(two.Load("gid").has_value());
}
