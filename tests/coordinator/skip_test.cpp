/// Repairs: a branch that somebody says to be done. Of each type, in each mode, with all that may go wrong.
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/coordinator/sql_kit.hpp"
#include "tests/coordinator/world.hpp"
#include "tests/support/quiet.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/core/journal.hpp>
#include <dtm/testing/shared_memory_store.hpp>
#include <dtm/testing/test_coordinator.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::By;
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
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using world::NewDefinition;

namespace {

const By kBy{"ann", "paid by hand"};

dtm::Options Telling(std::shared_ptr<std::vector<std::string>> log = {}) {
  dtm::Options options = dtm_test::Quiet();
  if (log) options.log = [log](dtm::LogLevel, const std::string& line) { log->push_back(line); };
  return options;
}

std::vector<ScriptedAnswer> Failing() {
  return std::vector<ScriptedAnswer>(200, {Result::Error("busy"), {}, false});
}

/// "repair 01 action by ann: paid by hand"; empty: there is none.
std::string RepairsIn(dtm::Coordinator& tm, const std::string& gid) {
  std::string text;
  const auto story = tm.Timeline(gid);
  for (const JournalEntry& entry : story->entries) {
    if (entry.kind != JournalKind::kRepair) continue;
    text += (text.empty() ? "" : ", ") +
            dtm::BranchIdOf(*story->transaction.definition, entry.row) + " " + Name(entry.op) +
            " by " + entry.who + ": " + entry.text;
  }
  return text;
}

/// "rejected", "bad input", "ended", ... and what it says; empty: it was done.
std::string Refused(const std::function<void()>& ask) {
  try {
    ask();
    return {};
  } catch (const dtm::EndedError& error) {
    return std::string("ended: ") + error.what();
  } catch (const dtm::BadInput& error) {
    return std::string("bad input: ") + error.what();
  } catch (const dtm::RejectedError& error) {
    return std::string("rejected: ") + error.what();
  } catch (const dtm::InDoubtError& error) {
    return std::string("in doubt: ") + error.what();
  } catch (const dtm::StoreError& error) {
    return std::string("not now: ") + error.what();
  }
}

std::size_t CallsOf(TestCoordinator& kit, const std::string& url) {
  std::size_t calls = 0;
  for (const std::string& called : kit.Branches().Urls()) calls += called == url;
  return calls;
}

/// A transaction of a type whose call `url` of branch 01 fails for ever.
struct Failed {
  TransType type;
  Op op;
  Status end;
  const char* url;
};
const std::vector<Failed> kFailed = {
    {TransType::kSaga, Op::kAction, Status::kSucceed, "http://b/01/do"},
    {TransType::kSaga, Op::kCompensate, Status::kFailed, "http://b/01/undo"},
    {TransType::kTcc, Op::kConfirm, Status::kSucceed, "http://b/01/do"},
    {TransType::kTcc, Op::kCancel, Status::kFailed, "http://b/01/undo"},
    {TransType::kXa, Op::kCommit, Status::kSucceed, "http://b/01/do"},
    {TransType::kXa, Op::kRollback, Status::kFailed, "http://b/01/do"},
    {TransType::kMsg, Op::kAction, Status::kSucceed, "http://b/01/do"}};

void Begin(dtm::Coordinator& tm, const Failed& failed, const std::string& gid) {
  Definition definition;
  definition.gid = gid;
  definition.type = failed.type;
  definition.options.timeout_to_fail = hours(24);
  std::vector<Step> steps;
  for (const char* number : {"01", "02"}) {
    const std::string base = std::string("http://b/") + number;
    steps.push_back({base + "/do", base + "/undo", "{}"});
    if (failed.type == TransType::kXa) steps.back().compensate = steps.back().action;
    if (failed.type == TransType::kMsg) steps.back().compensate.clear();
    if (failed.type == TransType::kTcc || failed.type == TransType::kXa)
      steps.back().branch_id = number;
  }
  const bool registers = failed.type == TransType::kTcc || failed.type == TransType::kXa;
  if (!registers) {
    definition.steps = steps;
    definition.options.timeout_to_fail = {};
    (void)tm.Submit(definition);
    return;
  }
  (void)tm.Prepare(definition);
  for (const Step& step : steps) tm.RegisterBranch(gid, failed.type, step);
  failed.end == Status::kSucceed ? (void)tm.Submit(definition) : tm.Abort(gid, failed.type, "no");
}

}  // namespace

TEST_CASE("skip: of each type and operation: it is not called any more, and all goes on") {
  for (const Failed& failed : kFailed) {
    CAPTURE(Name(failed.type), Name(failed.op));
    const auto log = std::make_shared<std::vector<std::string>>();
    TestCoordinator kit({}, Telling(log));
    kit.Branches().On(failed.url, Failing());
    if (failed.op == Op::kCompensate)
      kit.Branches().On("http://b/02/do", Result::Failure("no money"));
    Begin(*kit, failed, "g");
    kit.Advance(minutes(10));
    REQUIRE_FALSE(IsFinal(kit->Query("g")->status));
    const std::size_t calls = CallsOf(kit, failed.url);
    REQUIRE(calls > 1);
    kit->Skip("g", "01", failed.op, kBy);
    kit.Settle();
    CHECK(kit->Query("g")->status == failed.end);
    CHECK(CallsOf(kit, failed.url) == calls);
    const std::string which = "branch 01 " + std::string(Name(failed.op));
    CHECK(RepairsIn(*kit, "g") == which.substr(7) + " by ann: paid by hand");
    CHECK_THAT(kit->Query("g")->last_error,
               ContainsSubstring(which + " http://b/01") && ContainsSubstring("busy; " + which) &&
                   ContainsSubstring(" was skipped by ann: paid by hand"));
    const std::size_t row = failed.type == TransType::kMsg ? 1U : dtm::ActionOf(0);
    const bool undo = failed.end == Status::kFailed;
    const dtm::Branch skipped = kit->Query("g")->branches[undo ? dtm::CompensateOf(0) : row];
    CHECK(skipped.status == dtm::BranchStatus::kSucceed);
    CHECK(skipped.finished == kit.Clock().Now());
    CHECK(skipped.errors == 0);
    CHECK(skipped.tries == calls);
    CHECK(kit->Counted().repaired.at(failed.type) == 1);
    CHECK(std::count(log->begin(), log->end(),
                     "gid 'g': " + which + " was skipped by ann: paid by hand") == 1);
  }
}

TEST_CASE("skip: it survives a crash at once, and nothing else was changed") {
  TestCoordinator kit({}, Telling());
  kit.Branches().On("http://g/01/action", Failing());
  kit.Branches().On("http://g/02/action", Failing());
  Definition saga = NewDefinition("g", 3);
  saga.concurrent = true;
  kit->Submit(saga);
  kit.Advance(minutes(1));
  const dtm::Transaction before = *kit->Query("g");
  kit->Skip("g", "01", Op::kAction, kBy);
  kit.Crash();
  const dtm::Transaction after = *kit->Query("g");
  CHECK(after.branches[1].status == dtm::BranchStatus::kSucceed);
  CHECK(after.status == Status::kSubmitted);
  CHECK(after.retry_count == before.retry_count);
  for (const std::size_t row : {0U, 2U, 3U, 4U, 5U}) {
    CHECK(after.branches[row].status == before.branches[row].status);
    CHECK(after.branches[row].tries == before.branches[row].tries);
    CHECK(after.branches[row].errors == before.branches[row].errors);
    CHECK(after.branches[row].next_try == before.branches[row].next_try);
  }
  CHECK(RepairsIn(*kit, "g") == "01 action by ann: paid by hand");
  kit->Skip("g", "02", Op::kAction, By{"", "not needed"});
  kit.Settle();
  CHECK(kit->Query("g")->status == Status::kSucceed);
  CHECK_THAT(
      kit->Query("g")->last_error,
      ContainsSubstring("branch 01 action was skipped by ann: paid by hand; branch 02 action "
                        "was skipped: not needed"));
}

TEST_CASE("skip: an action that was skipped is compensated, unless that is skipped too") {
  TestCoordinator kit({}, Telling());
  kit.Branches().On("http://g/01/action", Failing());
  kit.Branches().On("http://g/02/action", {{Result::Failure("no money"), seconds(2), false}});
  kit->Submit(NewDefinition("g", 2));
  kit.Settle();
  SECTION("compensated") { kit->Skip("g", "01", Op::kAction, kBy); }
  SECTION("skipped beforehand") {
    kit->Skip("g", "01", Op::kCompensate, kBy);
    kit->Skip("g", "01", Op::kAction, kBy);
  }
  const bool skipped = kit->Query("g")->branches[0].status == dtm::BranchStatus::kSucceed;
  kit.Advance(minutes(2));
  CHECK(kit->Query("g")->status == Status::kFailed);
  CHECK(CallsOf(kit, "http://g/01/compensate") == (skipped ? 0 : 1));
  CHECK(CallsOf(kit, "http://g/02/compensate") == 1);
}

TEST_CASE("skip: what is refused, and then nothing is changed") {
  TestCoordinator kit({}, Telling());
  kit.Branches().On("http://g/01/action", Failing());
  kit.Branches().On("http://out/01/action", {{Result::Success(), minutes(1), false}});
  kit->Submit(NewDefinition("g", 1));
  kit->Submit(NewDefinition("out", 2));
  kit->Submit(NewDefinition("ended", 1));
  kit->Prepare(NewDefinition("prepared", 1));
  Definition workflow;
  workflow.gid = "workflow";
  workflow.type = TransType::kWorkflow;
  workflow.workflow = "w";
  (void)kit->PrepareWorkflow(workflow);
  kit.Settle();
  struct Row {
    const char* gid;
    const char* branch;
    Op op;
    By by;
    const char* kind;
    const char* why;
  };
  const Row rows[] = {
      {"g", "01", Op::kAction, {"ann", ""}, "bad input", "say why branch 01 action counts as done"},
      {"g", "01", Op::kAction, {"ann", " \n\t "}, "bad input", "say why branch 01"},
      {"none", "01", Op::kAction, kBy, "bad input", "there is no transaction with gid 'none'"},
      {"g", "02", Op::kAction, kBy, "bad input", "it has no branch 02 action"},
      {"g", "01", Op::kConfirm, kBy, "bad input", "it has no branch 01 confirm"},
      {"g", "a\nb", Op::kAction, kBy, "bad input", "it has no branch a b action"},
      {"ended", "01", Op::kAction, kBy, "ended", "it has already ended as succeed"},
      {"ended", "09", Op::kAction, kBy, "ended", "it has already ended as succeed"},
      {"prepared", "01", Op::kAction, kBy, "rejected", "it is prepared"},
      {"workflow", "00", Op::kResume, kBy, "rejected", "made by its own code"},
      {"out", "01", Op::kAction, kBy, "rejected",
       "a call of branch 01 action http://out/01/action is running"}};
  for (const Row& row : rows) {
    CAPTURE(row.gid, row.branch, row.why);
    const auto before = kit->Query(row.gid);
    const std::string said = Refused([&] { kit->Skip(row.gid, row.branch, row.op, row.by); });
    CHECK_THAT(said, Catch::Matchers::StartsWith(std::string(row.kind) + ": "));
    CHECK_THAT(said,
               ContainsSubstring(row.why) && ContainsSubstring(std::string("gid '") + row.gid));
    kit.Settle();
    if (!before) continue;
    CHECK(kit->Query(row.gid)->version == before->version);
    CHECK(RepairsIn(*kit, row.gid).empty());
  }
  CHECK(kit->Counted().repaired.empty());
}

TEST_CASE("skip: a stuck transaction goes on, also after a restart; a damaged one does not") {
  const auto store = std::make_shared<dtm::MemoryStore>();
  dtm::Transaction stuck;
  stuck.definition = std::make_shared<Definition>(NewDefinition("g", 2));
  stuck.branches.resize(4);
  stuck.branches[1].tries = 1;
  stuck.stuck = true;
  stuck.last_error = "no branch is out";
  stuck.due = dtm::kNever;
  REQUIRE(dtm_test::Put(*store, stuck));
  dtm::Transaction damaged = stuck;
  damaged.definition = std::make_shared<Definition>(NewDefinition("d", 2));
  damaged.branches.resize(3);
  damaged.id = 0;
  damaged.version = 0;
  REQUIRE(dtm_test::Put(*store, damaged));
  TestCoordinator kit({}, Telling(), store);
  kit.Settle();
  CHECK(kit->Query("g")->stuck);
  kit->Skip("g", "01", Op::kAction, kBy);
  kit.Settle();
  CHECK(kit->Query("g")->status == Status::kSucceed);
  CHECK(kit->Query("g")->last_error ==
        "no branch is out; branch 01 action was skipped by ann: paid by hand");
  CHECK_THAT(Refused([&] { kit->Skip("d", "01", Op::kAction, kBy); }),
             ContainsSubstring("its record is damaged, it has 3 branch rows for 2 steps"));
  CHECK(kit->Query("d")->stuck);
}

TEST_CASE("skip: Explain tells of it") {
  TestCoordinator kit({}, Telling());
  kit.Branches().On("http://g/01/action", Failing());
  kit.Branches().On("http://g/02/action", {{Result::Success(), seconds(1), false}});
  kit->Submit(NewDefinition("g", 2));
  kit.Settle();
  kit->Skip("g", "01", Op::kAction, kBy);
  kit.Settle();
  CHECK(kit->Explain("g") ==
        "saga g is submitted\n"
        "branch 02 action http://g/02/action: called, its answer is awaited (1 try)\n"
        "last error: branch 01 action http://g/01/action gave no definite answer: busy; branch 01 "
        "action was skipped by ann: paid by hand");
}

TEST_CASE("skip: two people, at once and one after the other: one of them does it") {
  TestCoordinator kit({}, Telling());
  kit.Branches().On("http://g/01/action", Failing());
  kit.Branches().On("http://g/02/action", Failing());
  kit->Submit(NewDefinition("g", 2));
  kit.Settle();
  std::vector<std::string> said;
  for (const char* who : {"ann", "bob"}) {
    kit->SkipAsync("g", "01", Op::kAction, By{who, "by hand"}, [&](const dtm::Answer& answer) {
      said.push_back(Refused([&] { (void)answer.Get(); }));
    });
  }
  kit.Settle();
  REQUIRE(said.size() == 2);
  std::sort(said.begin(), said.end());
  CHECK(said[0].empty());
  CHECK_THAT(said[1], ContainsSubstring("has succeeded already"));
  CHECK(RepairsIn(*kit, "g") == "01 action by ann: by hand");
  CHECK_THAT(Refused([&] { kit->Skip("g", "01", Op::kAction, kBy); }),
             ContainsSubstring("has succeeded already"));
}

TEST_CASE("skip: in the turn in which the result of its call comes, whichever it is") {
  for (const Result& result : {Result::Success(), Result::Error("busy"), Result::Ongoing(),
                               Result::Failure("no money"), Result::NotSent("no slot")}) {
    CAPTURE(static_cast<int>(result.kind));
    TestCoordinator kit({}, Telling());
    kit.Branches().On("http://g/01/action", {{result, seconds(1), false}});
    kit->Submit(NewDefinition("g", 2));
    kit.Settle();
    kit.Clock().MoveTowards(kit.Clock().Now() + seconds(1));  // the result waits for the next turn
    const std::string said = Refused([&] { kit->Skip("g", "01", Op::kAction, kBy); });
    kit.Advance(hours(1));
    CHECK(CallsOf(kit, "http://g/01/action") == 1);
    const bool definite =
        result.kind == Result::Kind::kSuccess || result.kind == Result::Kind::kFailure;
    CHECK(said.empty() == !definite);
    const bool failed = result.kind == Result::Kind::kFailure;
    CHECK(kit->Query("g")->status == (failed ? Status::kFailed : Status::kSucceed));
    CHECK(RepairsIn(*kit, "g").empty() == definite);
  }
}

TEST_CASE("skip: in the turn of its submission, and of a submission of what is stored") {
  TestCoordinator kit({}, Telling());
  kit.Branches().On("http://g/01/action", Failing());
  const auto nobody = [](const dtm::Answer&) {};
  kit->SubmitAsync(NewDefinition("g", 2), nobody);
  std::optional<std::string> said;
  const auto skip = [&](const char* branch) {
    kit->SkipAsync("g", branch, Op::kAction, kBy, [&said](const dtm::Answer& answer) {
      said = Refused([&] { (void)answer.Get(); });
    });
  };
  SECTION("of a new one: it is stored first") {
    skip("02");
    kit.Settle();
    CHECK(said == std::optional<std::string>(""));
    CHECK(RepairsIn(*kit, "g") == "02 action by ann: paid by hand");
  }
  SECTION("its first call is out") {
    skip("01");
    kit.Settle();
    REQUIRE(said);
    CHECK((said->empty() || said->find("is running") != std::string::npos));
  }
  SECTION("it is stored, and not in memory") {
    kit.Settle();
    kit.Crash();
    kit.Branches().On("http://g/01/action", Failing());
    kit->SubmitAsync(NewDefinition("g", 2), nobody);
    skip("02");
    kit.Settle();
    CHECK(said == std::optional<std::string>(""));
    CHECK(RepairsIn(*kit, "g") == "02 action by ann: paid by hand");
  }
}

TEST_CASE("skip: a commit that fails loses no repair and makes none of what was refused") {
  for (const StoreFault fault :
       {StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
    for (std::uint64_t n = 1; n < 7; ++n) {
      CAPTURE(n, static_cast<int>(fault));
      TestCoordinator kit({}, Telling());
      kit.Branches().On("http://g/01/action", Failing());
      Definition saga = NewDefinition("g", 2);
      saga.options.retry_interval = hours(1);
      kit->Submit(saga);
      kit.Settle();
      kit.Store().FailOnce(n, fault);
      const std::string said = Refused([&] { kit->Skip("g", "01", Op::kAction, kBy); });
      kit.Advance(minutes(1));
      CHECK(said.empty());
      CHECK(kit->Query("g")->status == Status::kSucceed);
      CHECK(CallsOf(kit, "http://g/01/action") == 1);
      CHECK(RepairsIn(*kit, "g") == "01 action by ann: paid by hand");
      CHECK(kit->Counted().repaired[TransType::kSaga] == 1);
    }
  }
}

TEST_CASE("skip: while the store fails it is in doubt, and done once the store works") {
  TestCoordinator kit({}, Telling());
  kit.Branches().On("http://g/01/action", Failing());
  Definition saga = NewDefinition("g", 2);
  saga.options.retry_interval = hours(1);
  kit->Submit(saga);
  kit.Settle();
  kit.Store().FailAlways(StoreFault::kDefinite);
  CHECK_THAT(Refused([&] { kit->Skip("g", "01", Op::kAction, kBy); }),
             Catch::Matchers::StartsWith("in doubt: "));
  CHECK(kit->Query("g")->branches[1].status == dtm::BranchStatus::kPrepared);
  kit.Store().FailAlways(StoreFault::kNone);
  kit.Advance(seconds(10));
  CHECK(kit->Query("g")->status == Status::kSucceed);
  CHECK_THAT(Refused([&] { kit->Skip("g", "01", Op::kAction, kBy); }),
             Catch::Matchers::StartsWith("ended: "));
}

/// Its event is applied again, to the record that a commit in doubt has stored, and by then the branch is due. What was asked
/// for comes first.
TEST_CASE("skip: who is told that it is done has it done, also after a commit in doubt") {
  int rejected = 0;
  for (int ms = 1; ms <= 30; ++ms) {  // until the store is tried again
    CAPTURE(ms);
    TestCoordinator kit({}, Telling());
    kit.Branches().On("http://g/01/action", Failing());
    kit.Branches().On("http://g/02/action", {{Result::Success(), milliseconds(500), false}});
    Definition saga = NewDefinition("g", 3);
    saga.concurrent = true;
    saga.options.retry_interval = seconds(1);
    kit->Submit(saga);
    kit.Advance(milliseconds(499));
    kit.Store().FailOnce(3, StoreFault::kInDoubtButStored);  // Begin, Apply, Commit
    kit.Advance(milliseconds(1));  // the result of branch 02 is stored, and nobody knows
    REQUIRE(kit->Query("g")->branches[3].status == dtm::BranchStatus::kSucceed);
    kit.Store().FailAlways(StoreFault::kDefinite);
    kit.Clock().MoveTowards(kit.Clock().Now() + milliseconds(ms));
    std::string said = "nothing";
    kit->SkipAsync("g", "01", Op::kAction, kBy,
                   [&](const dtm::Answer& answer) { said = Refused([&] { (void)answer.Get(); }); });
    kit.Advance(milliseconds(1500));
    kit.Store().FailAlways(StoreFault::kNone);
    kit.Advance(seconds(5));
    CAPTURE(said);
    CHECK(said != "nothing");
    const bool skipped = !RepairsIn(*kit, "g").empty();
    if (said.empty()) CHECK(skipped);
    if (said.compare(0, 9, "rejected:") == 0) {
      ++rejected;
      CHECK_FALSE(skipped);
    }
    CHECK(skipped == (kit->Query("g")->status == Status::kSucceed));
  }
  CHECK(rejected == 0);  // it came before the branch was due, and is applied again before time is
}

TEST_CASE("skip: a timeout that has passed, and alerts") {
  dtm::Options options = Telling();
  std::vector<std::string> alerts;
  options.on_alert = [&](const dtm::Alert& alert) { alerts.push_back(alert.branch); };
  options.alert_retry_limit = 2;
  TestCoordinator kit({}, options);
  kit.Branches().On("http://g/01/action", Failing());
  kit.Branches().On("http://g/02/action", Failing());
  kit->Submit(NewDefinition("g", 2));
  kit.Advance(minutes(1));
  REQUIRE(!alerts.empty());
  CHECK(alerts.back() == "http://g/01/action");
  alerts.clear();
  kit->Skip("g", "01", Op::kAction, kBy);
  kit.Settle();
  CHECK(alerts.empty());  // the count of branch 02 begins with its own first error
  kit.Advance(minutes(1));
  CHECK(!alerts.empty());
  CHECK(alerts.back() == "http://g/02/action");
}

TEST_CASE("skip: a function that runs inside a commit") {
  sql_kit::Bank bank({}, Telling());
  int calls = 0;
  const auto pay = bank->RegisterInTransaction<int>(
      "Pay", [&](sqlite3*, const int&) -> Result { return ++calls, Result::Error("busy"); });
  const auto plain = bank->Register<int>("Plain", [](const int&) {});
  dtm::Saga saga(*bank, "g");
  saga.Add(pay, pay, 1).Add(plain, plain, 1);
  saga.SubmitAsync([](const dtm::Answer&) {});
  bank.kit.Settle();
  REQUIRE(calls == 1);
  bank->Skip("g", "01", Op::kAction, kBy);
  bank.kit.Settle();
  CHECK(calls == 1);
  CHECK(bank.Status("g") == "succeed");
  CHECK(RepairsIn(*bank, "g") == "01 action by ann: paid by hand");
}

namespace {

/// Two coordinators on one store, in one time; a saga that fails is driven by the first.
struct Two {
  Two() {
    for (TestCoordinator* each : {&one, &two}) {
      each->Branches().On("http://g/01/action", Failing());
      each->Branches().On("http://g/02/action", {{Result::Success(), milliseconds(2500), false}});
    }
    one->Submit(NewDefinition("g", 2));
    Pass(seconds(1));
  }
  void Pass(dtm::Duration duration) { TestCoordinator::AdvanceAll({&one, &two}, duration); }
  /// What the second coordinator says; the time passes for both.
  std::string Ask(const std::string& gid, const std::string& branch, Op op) {
    std::string said = "nothing";
    try {
      two->SkipAsync(gid, branch, op, kBy, [&said](const dtm::Answer& answer) {
        said = Refused([&] { (void)answer.Get(); });
      });
    } catch (const dtm::RejectedError& error) {
      return error.what();
    }
    Pass(seconds(1));
    return said;
  }

  const std::shared_ptr<SharedMemoryTables> tables = std::make_shared<SharedMemoryTables>();
  const std::shared_ptr<VirtualTime> time = std::make_shared<VirtualTime>();
  const TestCoordinator::OpenStore open = [this] { return SharedMemoryStore(tables, time); };
  TestCoordinator one{{}, Telling(), open, time};
  TestCoordinator two{{}, Telling(), open, time};
};

}  // namespace

TEST_CASE("skip: asked at another coordinator than the one that drives it") {
  Two nodes;
  CHECK_THAT(nodes.Ask("g", "01", Op::kConfirm), ContainsSubstring("it has no branch 01 confirm"));
  CHECK(nodes.Ask("g", "01", Op::kAction).empty());
  CHECK(RepairsIn(*nodes.two, "g") == "01 action by ann: paid by hand");
  CHECK_THAT(nodes.Ask("g", "02", Op::kAction),
             ContainsSubstring("rejected: ") && ContainsSubstring("is running"));
  CHECK_THAT(nodes.Ask("g", "01", Op::kAction), ContainsSubstring("has succeeded already"));
  nodes.Pass(seconds(30));
  CHECK(nodes.two->Query("g")->status == Status::kSucceed);
  CHECK_THAT(nodes.Ask("g", "01", Op::kAction), ContainsSubstring("ended: "));
  CHECK_THAT(nodes.Ask("none", "01", Op::kAction), ContainsSubstring("bad input: "));
  CHECK(CallsOf(nodes.two, "http://g/02/action") == 0);
}

TEST_CASE("skip: what was asked of one that dies is obeyed by its heir, or refused") {
  for (const auto& dies_after : {milliseconds(0), milliseconds(150), milliseconds(400)}) {
    CAPTURE(dies_after.count());
    const auto tables = std::make_shared<SharedMemoryTables>();
    const auto time = std::make_shared<VirtualTime>();
    const TestCoordinator::OpenStore open = [&] { return SharedMemoryStore(tables, time); };
    auto one = std::make_unique<TestCoordinator>(TestCoordinator::Setup(), Telling(), open, time);
    TestCoordinator two({}, Telling(), open, time);
    for (TestCoordinator* each : {one.get(), &two})
      each->Branches().On("http://g/01/action", Failing());
    (*one)->Submit(NewDefinition("g", 2));
    TestCoordinator::AdvanceAll({one.get(), &two}, seconds(1));
    std::string said = "nothing";
    two->SkipAsync("g", "01", Op::kAction, kBy, [&said](const dtm::Answer& answer) {
      said = Refused([&] { (void)answer.Get(); });
    });
    TestCoordinator::AdvanceAll({one.get(), &two}, dies_after);
    one.reset();
    TestCoordinator::AdvanceAll({&two}, minutes(3));
    CAPTURE(said);
    CHECK(said.empty());
    CHECK(RepairsIn(*two, "g") == "01 action by ann: paid by hand");
    CHECK(two->Query("g")->status == Status::kSucceed);
  }
}
