/// A shared store on tables in memory keeps the contract of stores and that of owners, as those on a server do.
#include <chrono>
#include <cstdint>
#include <memory>

#include "tests/catch.hpp"
#include "tests/store/contract_owners.hpp"
#include "tests/store/store_contract.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/testing/shared_memory_store.hpp>
#include <dtm/testing/test_coordinator.hpp>

using dtm::testing::SharedMemoryDatabase;
using dtm::testing::SharedMemoryStore;
using dtm::testing::SharedMemoryTables;
using dtm::testing::TestCoordinator;
using dtm::testing::VirtualTime;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

/// Without beats: who is dead is told by the test.
std::unique_ptr<dtm::Store> Open(const std::shared_ptr<SharedMemoryTables>& tables) {
  return std::make_unique<dtm::SharedStore>(std::make_unique<SharedMemoryDatabase>(tables),
                                            seconds(1));
}
std::unique_ptr<dtm::Store> OpenEmpty() { return Open(std::make_shared<SharedMemoryTables>()); }

}  // namespace

TEST_CASE("a shared store in memory keeps the contract of stores") {
  using namespace dtm_test::store_contract;  // NOLINT(google-build-using-namespace)
  RunEach(Checks(), OpenEmpty);
  RunEach(ChecksOfWorks(), OpenEmpty);
}

TEST_CASE("a shared store in memory keeps the contract of owners") {
  dtm_test::ExpectOwnership([] {
    const auto tables = std::make_shared<SharedMemoryTables>();
    auto one = Open(tables);
    auto two = Open(tables);
    const auto dead = static_cast<std::int64_t>(one->Owner());
    const auto heir = static_cast<std::int64_t>(two->Owner());
    const std::shared_ptr<dtm::shared_store::Connection> third =
        SharedMemoryDatabase(tables).Connect();
    using dtm::shared_store::Query;
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

namespace {

/// Two coordinators on one store, and a saga that the first one drives: its second step takes a while.
struct Two {
  Two() {
    for (TestCoordinator* each : {&one, &two}) {
      each->Branches().On("http://slow", {{dtm::Result::Success(), milliseconds(500), false}});
    }
    dtm::Definition saga;
    saga.gid = "g";
    saga.steps = {{"http://first", "http://undo", "{}"}, {"http://slow", "http://undo", "{}"}};
    one->Submit(saga);
    Pass(milliseconds(100));
    CHECK(one.Branches().Urls().size() == 2);
  }
  void Pass(dtm::Duration duration) { TestCoordinator::AdvanceAll({&one, &two}, duration); }
  bool Ended() { return two->Query("g")->status == dtm::Status::kSucceed; }
  std::size_t OwnerOf() const { return static_cast<std::size_t>(tables->Find("g")->owner); }

  const std::shared_ptr<SharedMemoryTables> tables = std::make_shared<SharedMemoryTables>();
  const std::shared_ptr<VirtualTime> time = std::make_shared<VirtualTime>();
  const TestCoordinator::OpenStore open = [this] { return SharedMemoryStore(tables, time); };
  TestCoordinator one{{}, dtm_test::Quiet(), open, time};
  TestCoordinator two{{}, dtm_test::Quiet(), open, time};
};

}  // namespace

TEST_CASE(
    "of two coordinators in one test one goes on with what the other drove when that crashed") {
  Two both;
  both.one.Crash();
  both.Pass(milliseconds(1000));
  CHECK_FALSE(both.Ended());
  CHECK(both.two.Branches().Urls().empty());  // not before the lease is over
  both.Pass(seconds(10));
  CHECK(both.Ended());
  CHECK(both.one.Branches().Urls().size() + both.two.Branches().Urls().size() == 3);
}

TEST_CASE(
    "of two coordinators in one test one goes on at once with what the other left when it "
    "stopped") {
  Two both;
  CHECK(both.one->Stop(milliseconds(100)));
  TestCoordinator::AdvanceAll({&both.two}, milliseconds(400));
  CHECK(both.OwnerOf() == 2);
  both.Pass(seconds(10));
  CHECK(both.Ended());
}
