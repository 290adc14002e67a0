/// What the journal of a transaction tells, in words: each attempt, each answer, each decision, in order.
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/coordinator/sql_kit.hpp"
#include "tests/coordinator/world.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/base/os.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/testing/shared_memory_store.hpp>

using dtm::Definition;
using dtm::JournalEntry;
using dtm::JournalKind;
using dtm::Op;
using dtm::Result;
using dtm::Status;
using dtm::Step;
using dtm::TransType;
using dtm::testing::ScriptedAnswer;
using dtm::testing::SharedMemoryStore;
using dtm::testing::SharedMemoryTables;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using dtm::testing::VirtualTime;
using std::chrono::milliseconds;
using std::chrono::seconds;
using world::NewDefinition;
using Story = std::vector<std::string>;

namespace {

/// "error 02 action: busy"
std::string InWords(const JournalEntry& entry, const Definition& definition) {
  std::string text = Name(entry.kind);
  if (entry.kind == JournalKind::kGap) {
    text += " " + std::to_string(entry.row);
  } else if (entry.row != dtm::kNoRow) {
    text += " " + dtm::BranchIdOf(definition, entry.row) + " " + dtm::Name(entry.op);
  }
  return entry.text.empty() ? text : text + ": " + entry.text;
}

Story StoryIn(dtm::Store& store, const std::string& gid) {
  Story story;
  const auto stored = store.Load(gid);
  for (const JournalEntry& entry : store.ReadJournal(gid)) {
    story.push_back(InWords(entry, *stored->definition));
  }
  return story;
}

struct Kit {
  explicit Kit(const dtm::Options& options = dtm_test::Quiet())
      : store(std::make_shared<dtm::MemoryStore>()), kit({}, options, store) {}
  Story StoryOf(const std::string& gid) const { return StoryIn(*store, gid); }
  dtm::Coordinator* operator->() { return &*kit; }

  std::shared_ptr<dtm::MemoryStore> store;
  TestCoordinator kit;
};

Definition Registering(const std::string& gid, TransType type) {
  Definition definition;
  definition.gid = gid;
  definition.type = type;
  definition.options.timeout_to_fail = seconds(100);
  return definition;
}

}  // namespace

TEST_CASE("journal: nothing is told if nobody wants it") {
  dtm::Options options = dtm_test::Quiet();
  options.history = 0;
  Kit kit(options);
  kit->Submit(NewDefinition("a", 2));
  kit.kit.Settle();
  CHECK(kit.store->Load("a")->status == Status::kSucceed);
  CHECK(kit.StoryOf("a").empty());
}

TEST_CASE("journal: a saga that succeeds") {
  Kit kit;
  kit->Submit(NewDefinition("a", 2));
  kit.kit.Settle();
  CHECK(kit.StoryOf("a") == Story{"submitted", "started 01 action", "success 01 action",
                                  "started 02 action", "success 02 action", "succeeded"});
}

TEST_CASE("journal: answers of all kinds, a rollback and why, with their times") {
  Kit kit;
  kit.kit.Branches().On("http://a/02/action", {{Result::Error("busy"), seconds(2), false},
                                               {Result::Ongoing("soon"), {}, false},
                                               {Result::NotSent("no slot"), {}, false},
                                               {Result::Failure("no money"), {}, false}});
  kit.kit.Branches().On("http://a/01/compensate", Result::Error("down"));
  const dtm::Time begin = kit.kit.Clock().Now();
  kit->Submit(NewDefinition("a", 2));
  kit.kit.Advance(seconds(200));
  CHECK(kit.StoryOf("a") == Story{"submitted", "started 01 action", "success 01 action",
                                  "started 02 action", "error 02 action: busy", "started 02 action",
                                  "ongoing 02 action: soon", "started 02 action",
                                  "not sent 02 action: no slot", "started 02 action",
                                  "failure 02 action: no money", "rollback 02 action: no money",
                                  "started 02 compensate", "success 02 compensate",
                                  "started 01 compensate", "error 01 compensate: down",
                                  "started 01 compensate", "success 01 compensate", "failed"});
  const std::vector<JournalEntry> journal = kit.store->ReadJournal("a");
  CHECK(journal[0].time == begin);
  CHECK(journal[3].time == begin);
  CHECK(journal[4].time == begin + seconds(2));
  CHECK(journal[5].time > journal[4].time);  // it waited
  CHECK(journal.back().time == kit.store->Load("a")->finished);
}

TEST_CASE("journal: what people ask for, and nothing of what is refused") {
  Kit kit;
  for (const char* gid : {"cancelled", "stopped", "retried"}) {
    kit.kit.Branches().On("http://" + std::string(gid) + "/01/action",
                          std::vector<ScriptedAnswer>(9, {Result::Error("busy"), {}, false}));
    kit->Submit(NewDefinition(gid, 1));
  }
  kit.kit.Settle();
  kit->Cancel("cancelled", "nobody wants it");
  kit->ForceStop("stopped");
  kit->RetryNow("retried");
  kit.kit.Settle();
  CHECK_THROWS(kit->Cancel("stopped"));
  const Story begin{"submitted", "started 01 action", "error 01 action: busy"};
  const auto after = [&](Story more) {
    Story story = begin;
    story.insert(story.end(), more.begin(), more.end());
    return story;
  };
  CHECK(kit.StoryOf("cancelled") ==
        after({"cancel: nobody wants it", "rollback: nobody wants it", "started 01 compensate",
               "success 01 compensate", "failed"}));
  CHECK(kit.StoryOf("stopped") == after({"force stop", "rollback", "failed"}));
  CHECK(kit.StoryOf("retried") ==
        after({"retry now", "started 01 action", "error 01 action: busy"}));
}

TEST_CASE("journal: a timeout is a decision") {
  Kit kit;
  kit.kit.Branches().On("http://a/01/action",
                        std::vector<ScriptedAnswer>(9, {Result::Ongoing(), {}, false}));
  Definition saga = NewDefinition("a", 1);
  saga.options.timeout_to_fail = seconds(5);
  kit->Submit(saga);
  kit.kit.Advance(seconds(60));
  const Story story = kit.StoryOf("a");
  REQUIRE(story.size() > 4);
  std::size_t rollbacks = 0;
  for (const std::string& entry : story) {
    if (entry.compare(0, 9, "rollback:") == 0) ++rollbacks;
  }
  CHECK(rollbacks == 1);
  CHECK(story.back() == "failed");
}

TEST_CASE("journal: what is registered, and the submit of what was prepared") {
  Kit kit;
  kit->Prepare(Registering("t", TransType::kTcc));
  Step step{"http://confirm", "http://cancel", "{}", "01"};
  kit->RegisterBranch("t", TransType::kTcc, step);
  kit->RegisterBranch("t", TransType::kTcc, step);  // the same again is no news
  step.branch_id = "02";
  kit->RegisterBranch("t", TransType::kTcc, step);
  Definition submitted = Registering("t", TransType::kTcc);
  kit->Submit(submitted);
  kit.kit.Settle();
  CHECK(kit.StoryOf("t") == Story{"prepared", "registered 01 confirm", "registered 02 confirm",
                                  "submitted", "started 02 confirm", "success 02 confirm",
                                  "started 01 confirm", "success 01 confirm", "succeeded"});
}

TEST_CASE("journal: the steps of a workflow and its end") {
  Kit kit;
  Definition workflow = Registering("w", TransType::kWorkflow);
  workflow.workflow = "order";
  (void)kit->PrepareWorkflow(workflow);
  Step step{"do:", "", "7", "01"};
  step.op = Op::kAction;
  kit->RegisterBranch("w", TransType::kWorkflow, step);
  step.branch_id = "02";
  step.payload = "no money";
  step.failed = true;
  kit->RegisterBranch("w", TransType::kWorkflow, step);
  kit->FinishWorkflow("w", Status::kFailed, "no money", "");
  CHECK(kit.StoryOf("w") == Story{"prepared", "registered 01 action",
                                  "registered 02 action: no money", "finish: no money",
                                  "rollback: no money", "failed"});
}

TEST_CASE("journal: who drives it is told, by the name that people know") {
  for (const std::string& name : {std::string(), std::string("node-7"), std::string(200, 'n')}) {
    dtm::Options options = dtm_test::Quiet();
    options.node_name = name;
    Kit kit(options);
    kit->Prepare(Registering("p", TransType::kTcc));
    kit->Submit(NewDefinition("a", 1));
    kit.kit.Settle();
    const std::string wanted =
        name.empty() ? dtm::os::HostAndProcess().substr(0, 64) : name.substr(0, 64);
    for (const char* gid : {"p", "a"}) {
      for (const JournalEntry& entry : kit.store->ReadJournal(gid)) {
        const bool drives =
            entry.kind == JournalKind::kPrepared || entry.kind == JournalKind::kSubmitted;
        CHECK(entry.who == (drives ? wanted : ""));
      }
    }
    CHECK(kit->Timeline("a")->runs.front().process == wanted);
  }
}

TEST_CASE("journal: another run takes up what the one before has left") {
  Kit kit;
  kit.kit.Branches().On("http://a/01/action", {ScriptedAnswer::Silence()});
  kit->Submit(NewDefinition("a", 1));
  kit.kit.Advance(milliseconds(1));
  kit.kit.Crash();
  kit.kit.Advance(seconds(30));
  CHECK(kit.StoryOf("a") == Story{"submitted", "started 01 action", "taken up", "started 01 action",
                                  "success 01 action", "succeeded"});
  const dtm::Timeline story = *kit->Timeline("a");
  REQUIRE(story.runs.size() == 2);
  CHECK(story.runs[1].process == dtm::os::HostAndProcess());
  CHECK(story.attempts[0].outcome == dtm::Attempt::Outcome::kLost);
}

namespace {

/// Coordinators on one store; the calls of `a` fall silent, so that somebody has to repeat them.
struct Cluster {
  static dtm::Options Named(const char* name) {
    dtm::Options options = dtm_test::Quiet();
    options.node_name = name;
    return options;
  }
  Cluster() {
    for (TestCoordinator* each : {&one, &two})
      each->Branches().On("http://a/01/action", {ScriptedAnswer::Silence()});
  }
  void Pass(dtm::Duration duration) { TestCoordinator::AdvanceAll({&one, &two}, duration); }
  Story WhoDrove(TestCoordinator& asked, const std::string& gid) const {
    Story story;
    const std::vector<JournalEntry> entries = asked->Timeline(gid)->entries;
    for (const JournalEntry& entry : entries) {
      if (!entry.who.empty()) story.push_back(std::string(Name(entry.kind)) + " " + entry.who);
    }
    return story;
  }

  const std::shared_ptr<SharedMemoryTables> tables = std::make_shared<SharedMemoryTables>();
  const std::shared_ptr<VirtualTime> time = std::make_shared<VirtualTime>();
  const TestCoordinator::OpenStore open = [this] { return SharedMemoryStore(tables, time); };
  TestCoordinator one{{}, Named("one"), open, time};
  TestCoordinator two{{}, Named("two"), open, time};
};

}  // namespace

TEST_CASE("journal: a node that takes over from another one is told, however long it has lived") {
  Cluster cluster;
  cluster.Pass(seconds(5));  // both live longer than the transaction
  cluster.one->Submit(NewDefinition("a", 1));
  cluster.Pass(milliseconds(100));
  cluster.one.Crash();  // the next of this name has another number
  cluster.Pass(seconds(100));
  CHECK(cluster.two->Query("a")->status == Status::kSucceed);
  const Story drove = cluster.WhoDrove(cluster.two, "a");
  REQUIRE(drove.size() >= 2);
  CHECK(drove[0] == "submitted one");
  CHECK(drove[1].compare(0, 9, "taken up ") == 0);
}

TEST_CASE("journal: a node that leaves gives to another one, and that is told once") {
  Cluster cluster;
  cluster.Pass(seconds(5));
  cluster.one->Submit(NewDefinition("a", 1));
  cluster.Pass(milliseconds(100));
  CHECK(cluster.one->Stop(milliseconds(0)));
  TestCoordinator::AdvanceAll({&cluster.two}, seconds(100));
  CHECK(cluster.WhoDrove(cluster.two, "a") == Story{"submitted one", "taken up two"});
  const dtm::Timeline story = *cluster.two->Timeline("a");
  CHECK(story.attempts.front().outcome == dtm::Attempt::Outcome::kLost);
  CHECK(story.attempts.front().run == 0);
  CHECK(story.attempts.back().run == 1);
}

TEST_CASE("journal: what was prepared at one node and submitted at another is told of both") {
  Cluster cluster;
  cluster.one->Prepare(Registering("t", TransType::kTcc));
  cluster.Pass(milliseconds(100));
  cluster.two->Submit(Registering("t", TransType::kTcc));
  cluster.Pass(seconds(1));
  CHECK(cluster.WhoDrove(cluster.one, "t") ==
        Story{"prepared one", "taken up two", "submitted two"});
}

TEST_CASE("journal: what has no room in memory is not taken up again when it comes back") {
  dtm::Options options = dtm_test::Quiet();
  options.max_in_memory = 1;
  Kit kit(options);
  for (int i = 0; i < 5; ++i) {
    kit.kit.Branches().On("http://a" + std::to_string(i) + "/01/action",
                          {{Result::Error("busy"), {}, false}});
    kit->Submit(NewDefinition("a" + std::to_string(i), 1));
  }
  kit.kit.Advance(seconds(100));
  for (int i = 0; i < 5; ++i) {
    CHECK(kit.StoryOf("a" + std::to_string(i)) ==
          Story{"submitted", "started 01 action", "error 01 action: busy", "started 01 action",
                "success 01 action", "succeeded"});
  }
}

TEST_CASE("journal: long texts are cut between characters, and many attempts are counted") {
  Kit kit;
  std::string text;
  while (text.size() < 5000) text += "\xc3\xa4";
  kit.kit.Branches().On("http://a/01/action",
                        std::vector<ScriptedAnswer>(1000, {Result::Error(text), {}, false}));
  Definition saga = NewDefinition("a", 1);
  saga.options.retry_interval = seconds(1);
  kit->Submit(saga);
  kit.kit.Settle();
  for (int i = 0; i < 500; ++i) {
    kit->RetryNow("a");
    kit.kit.Settle();
  }
  const std::vector<JournalEntry> journal = kit->Timeline("a")->entries;
  std::size_t told = 0;
  std::size_t starts = 0;
  for (const JournalEntry& entry : journal) {
    CHECK(entry.text.size() <= dtm::kMaxJournalText);
    if (entry.kind == JournalKind::kError) CHECK(entry.text.size() == dtm::kMaxJournalText);
    if (entry.kind == JournalKind::kStarted) ++starts;
    told += entry.kind == JournalKind::kGap ? entry.row : 1;
  }
  CHECK(told == 1 + 2 + 500 * 3);
  CHECK(starts == dtm::kFirstAttempts + 20);
  CHECK(journal[1].kind == JournalKind::kStarted);
  CHECK(journal.back().kind == JournalKind::kError);
}

TEST_CASE("journal: a branch inside the commit is told with it, also if it needs one of its own") {
  sql_kit::Bank bank({}, dtm_test::Quiet());
  const auto pay = bank->RegisterInTransaction<int>(
      "Pay", [](sqlite3* db, const int&) { sql_kit::Note(db, "pay"); });
  const auto bomb = bank->RegisterInTransaction<int>(
      "Bomb", [](sqlite3* db, const int&) { sql_kit::Sql(db, "INSERT INTO bomb VALUES (1)"); });
  const auto plain = bank->Register<int>("Plain", [](const int&) {});
  dtm::Saga good(*bank, "good");
  good.Add(plain, plain, 1).Add(pay, pay, 1).Add(plain, plain, 1);
  dtm::Saga bad(*bank, "bad");
  bad.Add(pay, pay, 1).Add(bomb, bomb, 1);
  bad.SubmitAsync([](const dtm::Answer&) {});
  good.SubmitAsync([](const dtm::Answer&) {});
  bank.kit.Settle();
  CHECK(StoryIn(*bank.store, "good") == Story{"submitted", "started 01 action", "success 01 action",
                                              "success 02 action", "started 03 action",
                                              "success 03 action", "succeeded"});
  const Story story = StoryIn(*bank.store, "bad");
  REQUIRE(story.size() == 3);
  CHECK(story[0] == "submitted");
  CHECK(story[1] == "success 01 action");
  CHECK(story[2].compare(0, 16, "error 02 action:") == 0);
}

TEST_CASE(
    "journal: a commit that fails tells nothing, one in doubt with its change or not at all") {
  for (std::uint64_t n = 1; n < 12; ++n) {
    for (const auto fault :
         {StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
      INFO("operation " << n << ", fault " << static_cast<int>(fault));
      Kit kit;
      kit.kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(1), false}});
      kit->Submit(NewDefinition("a", 1));
      kit.kit.Settle();
      kit.kit.Store().FailOnce(n, fault);
      kit.kit.Advance(seconds(30));
      const Story story = kit.StoryOf("a");
      REQUIRE(story.size() == 4);
      CHECK(story == Story{"submitted", "started 01 action", "success 01 action", "succeeded"});
    }
  }
}
