/// What Options::on_event is told: what the journal has, each thing once, in order, and only when it is durable.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/coordinator/sql_kit.hpp"
#include "tests/coordinator/world.hpp"
#include "tests/support/child.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/core/journal.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/observe/event.hpp>
#include <dtm/testing/shared_memory_store.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Definition;
using dtm::Event;
using dtm::JournalEntry;
using dtm::JournalKind;
using dtm::Op;
using dtm::Options;
using dtm::Result;
using dtm::Status;
using dtm::Step;
using dtm::TransType;
using dtm::testing::ScriptedAnswer;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using world::NewDefinition;
using Story = std::vector<std::string>;

namespace {

std::string InWords(JournalKind kind, const std::string& branch_id, Op op,
                    const std::string& text) {
  std::string words = Name(kind);
  if (!branch_id.empty()) words += " " + branch_id + " " + Name(op);
  return text.empty() ? words : words + ": " + text;
}

std::string InWords(const Event& event) {
  return InWords(event.kind, event.branch_id, event.op, event.text);
}

Story StoryIn(dtm::Store& store, const std::string& gid) {
  Story story;
  const auto stored = store.Load(gid);
  if (!stored) return story;
  for (const JournalEntry& entry : store.ReadJournal(gid)) {
    const bool branch = entry.row < dtm::RowCount(*stored->definition);
    story.push_back(InWords(entry.kind,
                            branch ? dtm::BranchIdOf(*stored->definition, entry.row) : "", entry.op,
                            entry.text));
  }
  return story;
}

/// A coordinator that keeps a journal and tells events: each is in the journal by then.
struct Kit {
  explicit Kit(Options options = {}, bool journal = true)
      : store(std::make_shared<dtm::MemoryStore>()),
        kit({}, Telling(std::move(options), journal), store) {}

  Options Telling(Options options, bool journal) {
    if (!journal) options.history = 0;
    options.on_event = [this, journal](const Event& event) {
      Story& story = told[event.gid];
      story.push_back(InWords(event));
      events.push_back(event);
      if (!journal) return;
      const Story stored = StoryIn(*store, event.gid);
      REQUIRE(stored.size() >= story.size());
      CHECK(Story(stored.begin(), stored.begin() + static_cast<std::ptrdiff_t>(story.size())) ==
            story);
    };
    return dtm_test::Quiet(std::move(options));
  }
  /// All that the journal has was told.
  void CheckAll(const std::string& gid) {
    REQUIRE_FALSE(told[gid].empty());
    CHECK(told[gid] == StoryIn(*store, gid));
  }
  dtm::Coordinator* operator->() { return &*kit; }

  std::shared_ptr<dtm::MemoryStore> store;
  std::map<std::string, Story> told;
  std::vector<Event> events;
  TestCoordinator kit;
};

Definition Registering(const std::string& gid, TransType type) {
  Definition definition;
  definition.gid = gid;
  definition.type = type;
  definition.options.timeout_to_fail = seconds(100);
  return definition;
}

Definition Message(const std::string& gid) {
  Definition message = NewDefinition(gid, 2);
  message.type = TransType::kMsg;
  for (Step& step : message.steps) step.compensate.clear();
  message.query_prepared = "http://" + gid + "/query";
  return message;
}

void Bound(Kit& kit, const std::string& gid, TransType type) {
  kit->Prepare(Registering(gid, type));
  kit->RegisterBranch(gid, type, {"http://confirm", "http://cancel", "{}", "01"});
}

void SubmitAtLast(Kit& kit, const std::string& gid) {
  for (int tries = 0; tries < 3; ++tries) {
    try {
      kit->Submit(NewDefinition(gid, 2));
      return;
    } catch (const std::exception&) {
      kit.kit.Advance(seconds(1));
    }
  }
  FAIL("the store failed more than once");
}

}  // namespace

TEST_CASE("events: a saga that is rolled back, with the status at each time") {
  Kit kit({}, false);
  kit.kit.Branches().On("http://a/02/action", {{Result::Error("busy"), seconds(2), false},
                                               {Result::Failure("no money"), {}, false}});
  kit->Submit(NewDefinition("a", 2));
  kit.kit.Advance(seconds(60));
  CHECK(kit.told["a"] == Story{"submitted", "started 01 action", "success 01 action",
                               "started 02 action", "error 02 action: busy", "started 02 action",
                               "failure 02 action: no money", "rollback 02 action: no money",
                               "started 02 compensate", "success 02 compensate",
                               "started 01 compensate", "success 01 compensate", "failed"});
  CHECK(StoryIn(*kit.store, "a").empty());  // no journal was asked for
  REQUIRE(kit.events.size() == 13);
  CHECK(kit.events[0].status == Status::kSubmitted);
  CHECK(kit.events[1].target == "http://a/01/action");
  CHECK(kit.events[4].time - kit.events[3].time == seconds(2));
  CHECK(kit.events[7].status == Status::kAborting);
  CHECK(kit.events[12].status == Status::kFailed);
}

TEST_CASE("events: all types, as the journal has them") {
  Kit kit;
  kit->Submit(NewDefinition("saga", 3));
  kit->Submit(Message("msg"));
  kit->Prepare(Message("asked"));
  for (const TransType type : {TransType::kTcc, TransType::kXa}) {
    const std::string name = Name(type);
    Bound(kit, name, type);
    kit->Submit(Registering(name, type));
    Bound(kit, name + "-late", type);  // its time ends before it is submitted
  }
  Definition workflow = Registering("workflow", TransType::kWorkflow);
  workflow.workflow = "order";
  (void)kit->PrepareWorkflow(workflow);
  Step step{"do:", "", "7", "01"};
  step.op = Op::kAction;
  kit->RegisterBranch("workflow", TransType::kWorkflow, step);
  kit->FinishWorkflow("workflow", Status::kSucceed, "", "42");
  kit.kit.Advance(seconds(300));
  CHECK(kit.told.size() == 8);
  for (const auto& [gid, story] : kit.told) {
    INFO(gid);
    kit.CheckAll(gid);
    CHECK((story.back() == "succeeded" || story.back() == "failed"));
  }
  CHECK(kit.told["asked"][1] == "started 00 msg");
  CHECK(kit.told["tcc-late"].back() == "failed");
  CHECK(kit.told["workflow"] == Story{"prepared", "registered 01 action", "finish", "succeeded"});
}

TEST_CASE("events: what people ask for, and what got stuck") {
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
  kit.kit.Settle();
  for (const char* gid : {"cancelled", "stopped", "retried"}) kit.CheckAll(gid);
  CHECK(kit.told["cancelled"][3] == "cancel: nobody wants it");
  CHECK(kit.told["stopped"][3] == "force stop");
  CHECK(kit.told["retried"][3] == "retry now");
}

TEST_CASE("events: the next run tells that it takes up what a crash left") {
  Kit kit;
  kit.kit.Branches().On("http://a/01/action", {ScriptedAnswer::Silence()});
  kit->Submit(NewDefinition("a", 1));
  kit.kit.Advance(milliseconds(1));
  kit.kit.Crash();
  kit.kit.Advance(seconds(30));
  CHECK(kit.told["a"] == Story{"submitted", "started 01 action", "taken up", "started 01 action",
                               "success 01 action", "succeeded"});
}

TEST_CASE("events: each once, whatever operation of the store fails, and how") {
  for (std::uint64_t n = 1; n < 40; ++n) {
    for (const auto fault :
         {StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
      INFO("operation " << n << ", fault " << static_cast<int>(fault));
      Kit kit;
      kit.kit.Branches().On("http://a/02/action", {{Result::Error("busy"), seconds(1), false},
                                                   {Result::Failure("no"), seconds(1), false}});
      kit.kit.Store().FailOnce(n, fault);
      for (const char* gid : {"a", "b"}) SubmitAtLast(kit, gid);
      kit.kit.Advance(seconds(100));
      kit.CheckAll("a");
      kit.CheckAll("b");
      CHECK(kit.told["a"].back() == "failed");
    }
  }
}

TEST_CASE("events: while the store fails nothing is told, and then all of it") {
  Kit kit;
  kit.kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(1), false}});
  kit->Submit(NewDefinition("a", 1));
  kit.kit.Settle();
  const auto fault = GENERATE(StoreFault::kDefinite, StoreFault::kInDoubtNotStored);
  kit.kit.Store().FailAlways(fault);
  kit.kit.Advance(seconds(30));
  CHECK(kit.told["a"].size() == 2);
  kit.kit.Store().FailAlways(StoreFault::kNone);
  kit.kit.Advance(seconds(30));
  CHECK(kit.told["a"].back() == "succeeded");
  kit.CheckAll("a");
}

TEST_CASE(
    "events: two commits in doubt one after the other, of which the first was stored or not") {
  for (const auto first : {StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
    for (const auto second : {StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
      for (std::uint64_t n = 1; n < 9; ++n) {
        INFO("faults " << static_cast<int>(first) << " and " << static_cast<int>(second)
                       << ", the second at operation " << n);
        Kit kit;
        kit.kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(1), false}});
        kit->Submit(NewDefinition("a", 2));
        kit.kit.Settle();
        kit.kit.Store().FailOnce(3, first);  // Begin, Apply, Commit of the answer
        kit.kit.Advance(seconds(1));
        CHECK(kit.told["a"].size() == 2);
        kit.kit.Store().FailOnce(n, second);
        kit.kit.Advance(seconds(30));
        kit.CheckAll("a");
        CHECK(kit.told["a"].back() == "succeeded");
      }
    }
  }
}

TEST_CASE("events: a commit in doubt, and the store cannot be read for a while") {
  Kit kit;
  kit.kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(1), false}});
  kit->Submit(NewDefinition("a", 1));
  kit.kit.Settle();
  kit.kit.Store().FailOnce(3, StoreFault::kInDoubtButStored);
  kit.kit.Store().FailReading(true);
  kit.kit.Advance(seconds(5));
  CHECK(kit.told["a"].size() == 2);
  kit.kit.Store().FailReading(false);
  kit.kit.Advance(seconds(5));
  CHECK(kit.told["a"].back() == "succeeded");
  kit.CheckAll("a");
}

TEST_CASE("events: somebody else has written the record") {
  Kit kit;
  kit.kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(1), false}});
  kit->Submit(NewDefinition("a", 1));
  kit.kit.Settle();
  auto stored = *kit.store->Load("a");
  std::vector<dtm::Change> changes{{&stored, true, false, false}};
  kit.store->Begin();
  kit.store->Apply(changes);
  kit.store->Commit();
  kit.kit.Advance(seconds(5));
  kit.CheckAll("a");
  CHECK(kit.told["a"].back() == "succeeded");
}

TEST_CASE("events: more in one commit than the journal keeps") {
  Kit kit({}, false);
  Definition saga = NewDefinition("a", 1000);
  saga.concurrent = true;
  kit->Submit(saga);
  kit.kit.Settle();
  std::map<JournalKind, std::size_t> kinds;
  for (const Event& event : kit.events) ++kinds[event.kind];
  CHECK(kinds[JournalKind::kStarted] == 1000);
  CHECK(kinds[JournalKind::kSuccess] == 1000);
  CHECK(kinds[JournalKind::kGap] == 0);
}

TEST_CASE("events: branches inside a commit, also when it is lost with another work") {
  Options options;
  std::vector<std::string> told;
  options.on_event = [&told](const Event& event) { told.push_back(InWords(event)); };
  sql_kit::Bank bank({}, options);
  const auto pay = bank->RegisterInTransaction<int>(
      "Pay", [](sqlite3* db, const int&) { sql_kit::Note(db, "pay"); });
  const auto bomb = bank->RegisterInTransaction<int>(
      "Bomb", [](sqlite3* db, const int&) { sql_kit::Sql(db, "INSERT INTO bomb VALUES (1)"); });
  dtm::Saga saga(*bank, "a");
  saga.Add(pay, pay, 1).Add(bomb, bomb, 1);
  saga.SubmitAsync([](const dtm::Answer&) {});
  bank.kit.Settle();
  REQUIRE(told.size() == 3);
  CHECK(told[0] == "submitted");
  CHECK(told[1] == "success 01 action");
  CHECK(told[2].compare(0, 16, "error 02 action:") == 0);
}

TEST_CASE("events: a hook that always throws disturbs nothing, and is logged now and then") {
  Story log;
  Options options;
  options.log = [&log](dtm::LogLevel, const std::string& text) { log.push_back(text); };
  std::size_t times = 0;
  options.on_event = [&times](const Event&) {
    if (++times % 2 == 0) throw 7;
    throw std::runtime_error("nobody there");
  };
  TestCoordinator kit({}, options);
  for (int i = 0; i < 50; ++i) kit->Submit(NewDefinition("g" + std::to_string(i), 2));
  kit.Settle();
  CHECK(times == 50 * 6);
  REQUIRE(log.size() == 1);
  CHECK(log[0] == "on_event failed for gid 'g0': nobody there");
  kit.Advance(seconds(11));
  kit->Submit(NewDefinition("later", 1));
  kit.Settle();
  REQUIRE(log.size() == 2);
  CHECK_THAT(log[1], ContainsSubstring("(301 failures so far)"));
}

TEST_CASE("events: without a thread it may use the coordinator, and is not run inside itself") {
  Options options = dtm_test::Quiet();
  TestCoordinator* tested = nullptr;
  int depth = 0, deepest = 0;
  options.on_event = [&](const Event& event) {
    deepest = (std::max)(deepest, ++depth);
    if (event.gid == "a" && event.kind == JournalKind::kSucceeded) {
      (*tested)->SubmitAndWait(NewDefinition("b", 1), hours(1));
    }
    --depth;
  };
  TestCoordinator kit({}, options);
  tested = &kit;
  kit->Submit(NewDefinition("a", 1));
  kit.Settle();
  CHECK(deepest == 1);
  CHECK(kit->Query("b")->status == Status::kSucceed);
}

TEST_CASE("events: a hook that is too slow loses some, and that is counted") {
  std::promise<void> entered, open;
  std::shared_future<void> opened(open.get_future());
  Story log;
  std::size_t times = 0;
  Options options;
  options.log = [&log](dtm::LogLevel, const std::string& text) { log.push_back(text); };
  options.on_event = [&](const Event&) {
    if (++times == 1) entered.set_value();
    opened.wait();
  };
  dtm::SystemClock clock;
  dtm::Hooks hooks(clock, options);
  hooks.StartThreads();
  const auto one = std::make_shared<const Event>();
  hooks.events.Tell({one});
  entered.get_future().wait();
  for (int i = 0; i < 3; ++i) hooks.events.Tell({4000, one});
  CHECK(log == Story{"on_event is too slow: 10000 wait for it, more are dropped (2000 so far)"});
  CHECK(hooks.Load().at("on_event").waiting == 10000);
  CHECK(hooks.Load().at("on_event").dropped == 2000);
  CHECK_FALSE(hooks.Stop(clock.Now() + milliseconds(1)));  // drops the rest
  CHECK(hooks.Load().at("on_event").dropped == 12000);
  open.set_value();
  CHECK(hooks.Stop(clock.Now() + seconds(20)));
  CHECK(times == 1);
  REQUIRE(log.size() == 2);
  CHECK_THAT(log[1], ContainsSubstring("10000 waited for it when the coordinator stopped"));
}

TEST_CASE("events: on a thread of its own; Stop tells all that is durable") {
  Options options = dtm_test::Quiet();
  std::vector<std::string> told;
  std::promise<void> entered, open;
  std::shared_future<void> opened(open.get_future());
  options.on_event = [&](const Event& event) {
    if (told.empty()) entered.set_value();
    opened.wait();
    told.push_back(InWords(event));
  };
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), options);
  tm.Register<int>("F", [](const int&) {});
  tm.Start();
  Definition saga;
  saga.gid = "a";
  saga.steps.push_back({"local:F", "", "1"});
  tm.Submit(saga);
  entered.get_future().wait();
  CHECK(tm.Wait("a", seconds(20)).Succeeded());  // on_event is in there all the time
  open.set_value();
  CHECK(tm.Stop(seconds(20)));
  CHECK(told == Story{"submitted", "started 01 action", "success 01 action", "succeeded"});
  CHECK(tm.Measure().hooks.at("on_event").dropped == 0);
}

TEST_CASE("events: not in a forked child") {
  Options options = dtm_test::Quiet();
  int told = 0;
  options.on_event = [&told](const Event&) { ++told; };
  auto tm = std::make_unique<dtm::Coordinator>(std::make_unique<dtm::MemoryStore>(), options);
  tm->SubmitAsync(NewDefinition("a", 1), [](const dtm::Answer&) {});
  const std::string child = dtm_test::InChild([&] {
    tm.reset();
    return std::to_string(told);
  });
  CHECK(child == "0");
}

TEST_CASE("events: a submission in doubt of a gid that is kept, of which nothing else is left") {
  Options options;
  options.keep_finished = seconds(100);
  options.keep_gids = hours(100);
  Kit kit(options);
  kit->Submit(NewDefinition("g", 1));
  kit.kit.Advance(hours(1));
  REQUIRE(kit.store->Load("g")->expired);
  const Story before = kit.told["g"];
  kit.kit.Store().FailOnce(3, StoreFault::kInDoubtNotStored);
  CHECK_THROWS_AS(kit->Submit(NewDefinition("g", 1)), dtm::InDoubtError);
  kit.kit.Advance(seconds(5));
  CHECK(kit.told["g"] == before);
}

namespace {

/// Two coordinators on one store, and what each tells.
struct TwoNodes {
  TestCoordinator::OpenStore Open() {
    return [this] { return dtm::testing::SharedMemoryStore(tables, time); };
  }
  static Options Telling(Story& story) {
    Options options = dtm_test::Quiet();
    options.on_event = [&story](const Event& event) { story.push_back(InWords(event)); };
    return options;
  }
  void Advance(dtm::Duration duration) { TestCoordinator::AdvanceAll({&one, &two}, duration); }

  const std::shared_ptr<dtm::testing::SharedMemoryTables> tables =
      std::make_shared<dtm::testing::SharedMemoryTables>();
  const std::shared_ptr<dtm::testing::VirtualTime> time =
      std::make_shared<dtm::testing::VirtualTime>();
  Story first, second;
  TestCoordinator one{{}, Telling(first), Open(), time};
  TestCoordinator two{{}, Telling(second), Open(), time};
};

}  // namespace

/// What is prepared is not in memory, so its submit begins like that of a new one, and both first versions look alike.
TEST_CASE(
    "events: a submit in doubt of what was prepared, of all types, here or by the run before") {
  int in_doubt = 0;
  for (const TransType type :
       {TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    for (const auto fault : {StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
      for (const bool restarted : {false, true}) {
        for (std::uint64_t n = 1; n < 9; ++n) {
          CAPTURE(Name(type), static_cast<int>(fault), restarted, n);
          TwoNodes nodes;
          const auto submit = [&](TestCoordinator& at) {
            if (type == TransType::kWorkflow) {
              at->FinishWorkflow("g", Status::kSucceed, "", "");
            } else {
              at->Submit(type == TransType::kMsg ? Message("g") : Registering("g", type));
            }
          };
          Definition definition = type == TransType::kMsg ? Message("g") : Registering("g", type);
          if (type == TransType::kWorkflow) {
            definition.workflow = "order";
            (void)nodes.one->PrepareWorkflow(definition);
          } else {
            nodes.one->Prepare(definition);
          }
          nodes.Advance(milliseconds(5));
          if (restarted) nodes.one.Crash();
          nodes.Advance(milliseconds(500));
          CHECK(nodes.first == Story{"prepared"});
          nodes.one.Store().FailOnce(n, fault);
          for (int tries = 0; tries < 3; ++tries) {
            try {
              submit(nodes.one);
              break;
            } catch (const dtm::InDoubtError&) {
              ++in_doubt;
            } catch (const std::exception&) {
            }
            nodes.Advance(seconds(1));
            const bool submitted = nodes.two.Store().Load("g")->version > 1;
            if (!submitted) CHECK(nodes.first == Story{"prepared"});
          }
          nodes.Advance(seconds(3));
          Story all = nodes.first;
          CHECK(all == StoryIn(nodes.two.Store(), "g"));
        }
      }
    }
  }
  CHECK(in_doubt > 8);
}

TEST_CASE("events: a submission in doubt of what has ended in its first commit") {
  for (const auto fault : {StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
    for (std::uint64_t n = 1; n < 9; ++n) {
      CAPTURE(static_cast<int>(fault), n);
      Kit kit;
      Definition saga = NewDefinition("g", 1);
      saga.steps = {{"", "", "{}"}};
      kit->Submit(saga);
      kit.kit.Advance(milliseconds(5));
      REQUIRE(kit.store->Load("g")->version == 1);
      kit.CheckAll("g");
      kit.kit.Store().FailOnce(n, fault);
      try {
        kit->Submit(saga);
      } catch (const std::exception&) {
      }
      kit.kit.Advance(seconds(2));
      kit.CheckAll("g");
    }
  }
}

TEST_CASE("events: a submission in doubt that another coordinator has stored at the same time") {
  int in_doubt = 0;
  for (const bool prepare : {false, true}) {
    for (std::uint64_t n = 1; n < 9; ++n) {
      CAPTURE(prepare, n);
      TwoNodes nodes;
      nodes.two.Branches().On("http://g/01/action", {ScriptedAnswer::Silence()});
      const Definition definition = prepare ? Message("g") : NewDefinition("g", 1);
      const auto submit = [&](TestCoordinator& at) {
        prepare ? at->Prepare(definition) : at->Submit(definition);
      };
      nodes.one.Store().FailOnce(n, StoreFault::kInDoubtNotStored);
      try {
        submit(nodes.one);
        continue;  // it was not the operation of a commit
      } catch (const dtm::InDoubtError&) {
        ++in_doubt;
      } catch (const std::exception&) {
      }
      submit(nodes.two);
      nodes.Advance(seconds(1));
      REQUIRE(nodes.two.Store().Load("g")->version == 1);
      CHECK(nodes.first.empty());
      REQUIRE(!nodes.second.empty());
      CHECK(nodes.second[0] == (prepare ? "prepared" : "submitted"));
    }
  }
  CHECK(in_doubt == 2);
}

TEST_CASE("events: a change in doubt of what another coordinator has stopped in the meantime") {
  TwoNodes nodes;
  nodes.one.Branches().On("http://g/01/action", {{Result::Success(), seconds(1), false}});
  nodes.one->Submit(NewDefinition("g", 2));
  nodes.Advance(milliseconds(999));
  const Story before = nodes.first;
  nodes.one.Store().FailOnce(3, StoreFault::kInDoubtNotStored);
  nodes.time->MoveTowards(nodes.time->Now() + milliseconds(1));
  nodes.one->Poll();  // its result, in doubt
  nodes.two->ForceStop("g");
  nodes.Advance(seconds(5));
  CHECK(nodes.one->Query("g")->status == Status::kFailed);
  CHECK(nodes.one->Query("g")->version == 2);
  CHECK(nodes.first == before);
  CHECK(nodes.second.back() == "failed");
}

TEST_CASE("events: of two coordinators on one store each tells what it drives") {
  const auto tables = std::make_shared<dtm::testing::SharedMemoryTables>();
  const auto time = std::make_shared<dtm::testing::VirtualTime>();
  const TestCoordinator::OpenStore open = [&] {
    return dtm::testing::SharedMemoryStore(tables, time);
  };
  Story first, second;
  const auto telling = [](Story& story) {
    Options options = dtm_test::Quiet();
    options.on_event = [&story](const Event& event) { story.push_back(InWords(event)); };
    return options;
  };
  TestCoordinator one({}, telling(first), open, time);
  TestCoordinator two({}, telling(second), open, time);
  one.Branches().On("http://g/02/action", {{Result::Success(), milliseconds(500), false}});
  one->Submit(NewDefinition("g", 2));
  TestCoordinator::AdvanceAll({&one, &two}, milliseconds(100));
  one.Crash();
  TestCoordinator::AdvanceAll({&one, &two}, seconds(20));
  CHECK(two->Query("g")->status == Status::kSucceed);
  CHECK(first == Story{"submitted", "started 01 action", "success 01 action", "started 02 action"});
  CHECK(second == Story{"taken up", "started 02 action", "success 02 action", "succeeded"});
}
