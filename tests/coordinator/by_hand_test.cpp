/// What people do by hand is in the journal, with who asked and why: in every mode.
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/coordinator/world.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/core/journal.hpp>
#include <dtm/testing/shared_memory_store.hpp>
#include <dtm/testing/test_coordinator.hpp>

using dtm::By;
using dtm::JournalEntry;
using dtm::JournalKind;
using dtm::Result;
using dtm::testing::SharedMemoryStore;
using dtm::testing::SharedMemoryTables;
using dtm::testing::TestCoordinator;
using dtm::testing::VirtualTime;
using std::chrono::milliseconds;
using std::chrono::seconds;
using world::NewDefinition;

namespace {

/// "retry now by ann: the bank is back", of what people asked for.
std::vector<std::string> AskedFor(dtm::Coordinator& tm, const std::string& gid) {
  std::vector<std::string> asked;
  const auto story = tm.Timeline(gid);
  for (const JournalEntry& entry : story->entries) {
    const bool by_hand = entry.kind == JournalKind::kCancel ||
                         entry.kind == JournalKind::kForceStop ||
                         entry.kind == JournalKind::kRetryNow || entry.kind == JournalKind::kRepair;
    if (by_hand)
      asked.push_back(std::string(Name(entry.kind)) + " by " + entry.who + ": " + entry.text);
  }
  return asked;
}
using Asked = std::vector<std::string>;

/// A saga of one step that fails until further notice.
void Begin(TestCoordinator& kit, const std::string& gid) {
  kit.Branches().On("http://" + gid + "/01/action", std::vector<dtm::testing::ScriptedAnswer>(
                                                        20, {Result::Error("busy"), {}, false}));
  kit->Submit(NewDefinition(gid, 1));
}

}  // namespace

TEST_CASE("by hand: who asked and why are in the journal, after a restart too") {
  TestCoordinator kit({}, dtm_test::Quiet());
  for (const char* gid : {"c", "s", "r", "nobody"}) Begin(kit, gid);
  kit.Settle();
  kit->Cancel("c", By{"ann", "nobody wants it"});
  kit->ForceStop("s", By{"bob", "a test"});
  kit->RetryNow("r", By{"cy", "the bank is back"});
  kit->Cancel("nobody");
  kit.Settle();
  const auto check = [&] {
    CHECK(AskedFor(*kit, "c") == Asked{"cancel by ann: nobody wants it"});
    CHECK(AskedFor(*kit, "s") == Asked{"force stop by bob: a test"});
    CHECK(AskedFor(*kit, "r") == Asked{"retry now by cy: the bank is back"});
    CHECK(AskedFor(*kit, "nobody") == Asked{"cancel by : cancelled"});
    CHECK(kit->Query("c")->reason == "nobody wants it");
    CHECK(kit->Query("s")->reason.empty());
  };
  check();
  kit.Crash();
  check();
}

TEST_CASE("by hand: names and reasons are cut between characters, and a name has no line breaks") {
  TestCoordinator kit({}, dtm_test::Quiet());
  Begin(kit, "r");
  kit.Settle();
  std::string name = "a\nb\x1f";
  while (name.size() < 200) name += "\xc3\xa4";
  const std::string why(5000, 'x');
  kit->RetryNow("r", By{name, why});
  kit.Settle();
  const auto journal = kit->Timeline("r")->entries;
  const auto entry = std::find_if(journal.begin(), journal.end(), [](const JournalEntry& one) {
    return one.kind == JournalKind::kRetryNow;
  });
  REQUIRE(entry != journal.end());
  CHECK(entry->who.size() == dtm::kMaxJournalWho);
  CHECK(entry->who.substr(0, 6) == "a b?\xc3\xa4");
  CHECK(entry->text == std::string(dtm::kMaxJournalText, 'x'));
}

TEST_CASE(
    "by hand: who asks another coordinator than the one that drives it is named all the same") {
  const auto tables = std::make_shared<SharedMemoryTables>();
  const auto time = std::make_shared<VirtualTime>();
  const TestCoordinator::OpenStore open = [&] { return SharedMemoryStore(tables, time); };
  TestCoordinator one({}, dtm_test::Quiet(), open, time);
  TestCoordinator two({}, dtm_test::Quiet(), open, time);
  for (const char* gid : {"c", "s", "r"}) Begin(one, gid);
  TestCoordinator::AdvanceAll({&one, &two}, milliseconds(100));
  const dtm::AnswerCallback answer = [](const dtm::Answer&) {};
  two->AbortAsync("c", {}, By{"ann", "nobody wants it"}, dtm::WaitResult::kIgnored, answer);
  two->ForceStopAsync("s", By{"bob", "a test"}, answer);
  two->RetryNowAsync("r", By{"cy", "the bank is back"}, answer);
  TestCoordinator::AdvanceAll({&one, &two}, seconds(5));
  CHECK(AskedFor(*one, "c") == Asked{"cancel by ann: nobody wants it"});
  CHECK(AskedFor(*one, "s") == Asked{"force stop by bob: a test"});
  CHECK(AskedFor(*one, "r") == Asked{"retry now by cy: the bank is back"});
  CHECK(one->Query("c")->reason == "nobody wants it");
}
