/// Prepared ones and their submits while the store fails, at every operation, and while somebody
/// else writes: nothing is half done, and a client that repeats itself gets there.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include "tests/support/temp_dir.hpp"
#include <tests/coordinator/turns.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Definition;
using dtm::Result;
using dtm::Status;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using world::NewDefinition;
using world::World;
using Texts = std::vector<std::string>;

namespace {

/// No steps, but options and an order.
Definition TheSubmit() {
  Definition definition = NewDefinition("a", 2, true);
  definition.options.retry_interval = seconds(7);
  return definition;
}

/// A test coordinator with a prepared saga of two steps, which has left memory.
struct Fixture {
  explicit Fixture(bool sqlite)
      : inner(sqlite ? std::shared_ptr<dtm::Store>(std::make_shared<dtm::SqliteStore>(
                           dir / "a.db", dtm::Durability::kProcess))
                     : std::make_shared<dtm::MemoryStore>()),
        kit({}, dtm_test::Quiet(), inner) {
    kit.Settle();
  }
  void Prepare() {
    kit->Prepare(NewDefinition("a", 2));
    kit.Settle();
  }

  /// Says it again as long as the answer is that the store fails, as a client does.
  void Resubmission(const std::function<void()>& say) {
    for (int n = 0; n < 100; ++n) {
      try {
        return say();
      } catch (const dtm::InDoubtError&) {
      } catch (const dtm::StoreError&) {
      }
      CheckWhole();
      kit.Advance(milliseconds(100));
      CheckWhole();
    }
    FAIL("it is refused again and again");
  }
  void SubmitUntilAccepted() {
    Resubmission([this] { kit->Submit(TheSubmit()); });
    CheckWhole();
    CHECK(inner->Load("a")->status != Status::kPrepared);
  }

  /// Prepared as it was prepared, or submitted as it was submitted, and called only then.
  void CheckWhole() {
    const auto stored = inner->Load("a");
    if (!stored || stored->status == Status::kPrepared) CHECK(kit.Branches().Calls().empty());
    if (!stored) return;
    const Definition& definition = *stored->definition;
    const bool promoted = stored->status != Status::kPrepared;
    CHECK(definition.concurrent == promoted);
    CHECK(definition.options.retry_interval == seconds(promoted ? 7 : 0));
    CHECK(definition.prepared_first);
    CHECK(definition.steps.size() == 2);
    CHECK(stored->branches.size() == 4);
    CHECK((stored->due == dtm::kNever) == (!promoted || dtm::IsFinal(stored->status)));
  }

  void CheckEnd(std::size_t calls) {
    CHECK(kit->Wait("a", hours(1)).Succeeded());
    CheckWhole();
    CHECK(kit->List().transactions.size() == 1);
    CHECK(kit.Branches().Calls().size() == calls);
  }

  dtm_test::TempDir dir;
  const std::shared_ptr<dtm::Store> inner;
  TestCoordinator kit;
};

const std::vector<StoreFault> kFaults = {StoreFault::kDefinite, StoreFault::kInDoubtNotStored,
                                         StoreFault::kInDoubtButStored};

/// How many operations of the store it needs when nothing fails.
std::uint64_t OperationsOf(const std::function<void(Fixture&)>& begin,
                           const std::function<void(Fixture&)>& act) {
  Fixture fixture(false);
  begin(fixture);
  const auto before = fixture.kit.Store().Operations();
  act(fixture);
  fixture.kit.Settle();
  return fixture.kit.Store().Operations() - before;
}

}  // namespace

TEST_CASE("prepare and store: whichever operation fails, a prepare is stored once") {
  const bool sqlite = GENERATE(false, true);
  const auto prepare = [](Fixture& f) {
    f.Resubmission([&f] {
      const auto result = f.kit->Prepare(NewDefinition("a", 2));
      CHECK(result.status == Status::kPrepared);
    });
  };
  const auto operations = OperationsOf([](Fixture&) {}, prepare);
  CHECK(operations >= 3);  // Begin, Apply, Commit
  for (const StoreFault fault : kFaults) {
    for (std::uint64_t n = 1; n <= operations + 1; ++n) {
      CAPTURE(sqlite, n, static_cast<int>(fault));
      Fixture fixture(sqlite);
      fixture.kit.Store().FailOnce(n, fault);
      prepare(fixture);
      fixture.CheckWhole();
      CHECK(fixture.inner->Load("a")->version == 1);
      fixture.kit.Store().FailOnce(100000, StoreFault::kNone);
      fixture.SubmitUntilAccepted();
      fixture.CheckEnd(2);
    }
  }
}

TEST_CASE("prepare and store: whichever operation of the submit fails, it runs once") {
  const bool sqlite = GENERATE(false, true);
  const auto submit = [](Fixture& f) { f.SubmitUntilAccepted(); };
  const auto operations = OperationsOf([](Fixture& f) { f.Prepare(); }, submit);
  CHECK(operations >= 9);  // meets the stored one, promotes it, and the answers
  for (const StoreFault fault : kFaults) {
    for (std::uint64_t n = 1; n <= operations + 1; ++n) {
      CAPTURE(sqlite, n, static_cast<int>(fault));
      Fixture fixture(sqlite);
      fixture.Prepare();
      fixture.kit.Store().FailOnce(n, fault);
      fixture.SubmitUntilAccepted();
      fixture.CheckEnd(2);
    }
  }
}

TEST_CASE("prepare and store: a crash at whichever operation of the submit, stored or not") {
  const bool sqlite = GENERATE(false, true);
  const auto operations =
      OperationsOf([](Fixture& f) { f.Prepare(); }, [](Fixture& f) { f.SubmitUntilAccepted(); });
  for (const StoreFault fault :
       {StoreFault::kNone, StoreFault::kDefinite, StoreFault::kInDoubtButStored}) {
    for (std::uint64_t n = 1; n <= operations; ++n) {
      CAPTURE(sqlite, n, static_cast<int>(fault));
      Fixture fixture(sqlite);
      fixture.Prepare();
      auto& kit = fixture.kit;
      const auto end = kit.Store().Operations() + n;
      kit.Store().FailOnce(n, fault);
      kit->SubmitAsync(TheSubmit(), [](const dtm::Answer&) {});
      for (int turn = 0; kit.Store().Operations() < end && turn < 100; ++turn) kit->Poll();
      kit.Crash();
      fixture.CheckWhole();
      kit.Settle();
      fixture.CheckWhole();
      fixture.SubmitUntilAccepted();
      CHECK(kit->Wait("a", hours(1)).Succeeded());
      fixture.CheckWhole();
    }
  }
}

TEST_CASE("prepare and store: while it fails a submit is refused, later it is accepted") {
  const bool sqlite = GENERATE(false, true);
  const auto fault = GENERATE(StoreFault::kDefinite, StoreFault::kInDoubtNotStored);
  CAPTURE(sqlite, static_cast<int>(fault));
  Fixture fixture(sqlite);
  fixture.Prepare();
  auto& kit = fixture.kit;
  kit.Store().FailAlways(fault);
  for (int i = 0; i < 3; ++i) {
    CHECK_THROWS_AS(kit->Submit(TheSubmit()), dtm::Error);
    CHECK_THROWS_AS(kit->Prepare(NewDefinition("b", 1)), dtm::Error);
    kit.Advance(seconds(5));
    fixture.CheckWhole();
  }
  CHECK_THAT(kit->Explain("a"), ContainsSubstring("waits for its submit") &&
                                    ContainsSubstring("the store is failing"));
  kit.Store().FailAlways(StoreFault::kNone);
  kit.Advance(seconds(5));
  fixture.CheckWhole();
  CHECK(kit.Branches().Calls().empty());
  CHECK(!kit->Query("b"));
  fixture.SubmitUntilAccepted();
  fixture.CheckEnd(2);
}

namespace {

/// A submit that has met its prepared one, which is in memory now; the promotion is not stored yet.
struct AlmostPromoted : Fixture {
  explicit AlmostPromoted(bool sqlite, bool wait_result = false) : Fixture(sqlite) {
    Prepare();
    Definition submit = TheSubmit();
    submit.options.wait_result = wait_result;
    kit->SubmitAsync(submit, [this](const dtm::Answer& reply) { said = turns::InWords(reply); });
    kit->Poll();
    REQUIRE(said.empty());
    REQUIRE(inner->Load("a")->status == Status::kPrepared);
  }
  std::string said;
};

}  // namespace

TEST_CASE("prepare and store: it begins to fail at the promotion, for a while") {
  const bool sqlite = GENERATE(false, true);
  const auto fault =
      GENERATE(StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored);
  CAPTURE(sqlite, static_cast<int>(fault));
  AlmostPromoted fixture(sqlite);
  auto& kit = fixture.kit;
  kit.Store().FailAlways(fault);
  kit.Advance(seconds(3) - milliseconds(1));
  CHECK(fixture.said.empty());
  kit.Advance(seconds(27));
  CHECK_THAT(fixture.said, ContainsSubstring("InDoubtError"));  // like a command, it is tried again
  fixture.CheckWhole();
  CHECK(kit.Branches().Calls().empty());
  CHECK_THROWS_AS(kit->Submit(TheSubmit()), dtm::InDoubtError);  // that is not known yet
  kit.Store().FailAlways(StoreFault::kNone);
  kit.Advance(seconds(5));
  fixture.CheckEnd(2);
}

TEST_CASE("prepare and store: with wait_result nobody waits longer than 6 s for a failing store") {
  AlmostPromoted fixture(false, true);
  fixture.kit.Store().FailAlways(StoreFault::kDefinite);
  fixture.kit.Advance(seconds(6) - milliseconds(1));
  CHECK(fixture.said.empty());
  fixture.kit.Advance(seconds(2));
  CHECK_THAT(fixture.said, ContainsSubstring("InDoubtError"));  // it is not submitted yet
  fixture.kit.Store().FailAlways(StoreFault::kNone);
  fixture.SubmitUntilAccepted();
  fixture.CheckEnd(2);
}

TEST_CASE("prepare and store: somebody else writes the record before the promotion") {
  AlmostPromoted fixture(GENERATE(false, true));
  auto& kit = fixture.kit;
  dtm::Transaction stored = *fixture.inner->Load("a");
  const auto write = [&] {
    std::vector<dtm::Change> changes{{&stored, true, false, false}};
    fixture.inner->Begin();
    fixture.inner->Apply(changes);
    fixture.inner->Commit();
    REQUIRE(changes[0].applied);
  };
  SECTION("it is still prepared: the submit counts") {
    write();
    kit.Settle();
    CHECK(fixture.said == "submitted");
    fixture.CheckEnd(2);
    CHECK(kit->Query("a")->definition->options.retry_interval == seconds(7));
  }
  SECTION("it was cancelled: that counts") {
    stored.status = Status::kFailed;
    stored.finished = kit.Clock().Now();
    stored.reason = "by somebody else";
    write();
    kit.Settle();
    CHECK_THAT(fixture.said,
               ContainsSubstring("FailureError") && ContainsSubstring("by somebody else"));
    CHECK(kit.Branches().Calls().empty());
  }
}

TEST_CASE("prepare and store: a crash of the promotion in doubt leaves one or the other") {
  const bool sqlite = GENERATE(false, true);
  const auto fault = GENERATE(StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored);
  CAPTURE(sqlite, static_cast<int>(fault));
  AlmostPromoted fixture(sqlite);
  auto& kit = fixture.kit;
  kit.Store().FailOnce(3, fault);
  kit->Poll();
  CHECK(fixture.said.empty());
  const auto stored = fixture.inner->Load("a")->status;
  CHECK(stored ==
        (fault == StoreFault::kInDoubtButStored ? Status::kSubmitted : Status::kPrepared));
  kit.Crash();
  kit.Advance(hours(1));  // a stored submit may have been sent: its calls come after their deadline
  fixture.CheckWhole();
  if (stored == Status::kPrepared) {
    CHECK(kit.Branches().Calls().empty());
    fixture.SubmitUntilAccepted();
  }
  fixture.CheckEnd(2);
}
