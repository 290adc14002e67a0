/// Drawings of what a coordinator really did: each type of transaction, crashes, and what people ask for.
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/coordinator/sql_kit.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/client/saga.hpp>
#include <dtm/testing/shared_memory_store.hpp>
#include <dtm/testing/test_coordinator.hpp>
#include <dtm/timeline/draw.hpp>

using dtm::Definition;
using dtm::DiagramEvent;
using dtm::Result;
using dtm::Step;
using dtm::TransType;
using dtm::testing::ScriptedAnswer;
using dtm::testing::TestCoordinator;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Lines = std::vector<std::string>;

namespace {

dtm::Options Named() {
  dtm::Options options = dtm_test::Quiet();
  options.node_name = "node";
  return options;
}

Definition New(TransType type, const std::string& gid = "g") {
  Definition definition;
  definition.gid = gid;
  definition.type = type;
  definition.options.timeout_to_fail = seconds(100);
  return definition;
}

Definition TwoBanks() {
  Definition definition = New(TransType::kSaga);
  definition.steps = {{"http://bank-a/Out", "http://bank-a/OutUndo", "1"},
                      {"http://bank-b/In", "http://bank-b/InUndo", "2"}};
  return definition;
}

/// "coordinator > bank-a: 01 Out"; without spans of time, which have their own tests.
Lines LinesOf(const dtm::Timeline& story) {
  const dtm::Diagram diagram = dtm::MakeDiagram(story);
  Lines lines;
  for (const DiagramEvent& event : diagram.events) {
    const std::string from = diagram.lifelines[event.from].name,
                      to = diagram.lifelines[event.to].name;
    switch (event.kind) {
      case DiagramEvent::Kind::kCall:
        lines.push_back(from + " > " + to + ": " + InWords(event));
        break;
      case DiagramEvent::Kind::kReply:
        lines.push_back(to + " < " + from + ": " + InWords(event));
        break;
      case DiagramEvent::Kind::kLost:
        lines.push_back(from + " x " + to + ": " + InWords(event));
        break;
      case DiagramEvent::Kind::kSpan: break;
      default: lines.push_back(InWords(event));
    }
  }
  return lines;
}

Lines LinesOf(TestCoordinator& kit) { return LinesOf(kit->Timeline("g").value()); }

}  // namespace

TEST_CASE("draw: a saga through a crash, as its journal has it") {
  TestCoordinator kit({}, Named());
  kit.Branches().On("http://bank-b/In", {ScriptedAnswer::Silence()});
  kit->Submit(TwoBanks());
  kit.Advance(milliseconds(1));
  kit.Crash();
  kit.Advance(seconds(60));
  CHECK(LinesOf(kit) == Lines{"application > coordinator: submit", "coordinator > bank-a: 01 Out",
                              "coordinator < bank-a: success", "coordinator x bank-b: 02 In",
                              "node is gone", "started again", "coordinator > bank-b: 02 In",
                              "coordinator < bank-b: success",
                              "application < coordinator: succeed"});
}

TEST_CASE("draw: a refusal, and a saga that a person cancels and stops") {
  TestCoordinator kit({}, Named());
  kit.Branches().On("http://bank-b/In", Result::Failure("account closed"));
  kit->Submit(TwoBanks());
  kit.Advance(seconds(1));
  CHECK(LinesOf(kit) ==
        Lines{"application > coordinator: submit", "coordinator > bank-a: 01 Out",
              "coordinator < bank-a: success", "coordinator > bank-b: 02 In",
              "coordinator < bank-b: failure: account closed", "rolls back",
              "coordinator > bank-b: 02 compensate InUndo", "coordinator < bank-b: success",
              "coordinator > bank-a: 01 compensate OutUndo", "coordinator < bank-a: success",
              "application < coordinator: failed"});
  TestCoordinator other({}, Named());
  other.Branches().On("http://bank-a/Out", Result::Error("busy"));
  other.Branches().On("http://bank-a/OutUndo", Result::Error("busy"));
  other->Submit(TwoBanks());
  other.Settle();
  other->Cancel("g", dtm::By{"carol", "customer left"});
  other.Settle();
  other->ForceStop("g", dtm::By{"dave", "enough"});
  CHECK(LinesOf(other) ==
        Lines{"application > coordinator: submit", "coordinator > bank-a: 01 Out",
              "coordinator < bank-a: error: busy", "cancelled by carol: customer left",
              "rolls back: customer left", "coordinator > bank-a: 01 compensate OutUndo",
              "coordinator < bank-a: error: busy", "force-stopped by dave: enough",
              "application < coordinator: failed"});
}

TEST_CASE("draw: a branch that a person skips") {
  TestCoordinator kit({}, Named());
  kit.Branches().On("http://bank-b/In", Result::Error("busy"));
  kit->Submit(TwoBanks());
  kit.Settle();
  kit->Skip("g", "02", dtm::Op::kAction, dtm::By{"bob", "paid by hand"});
  kit.Settle();
  CHECK(LinesOf(kit) == Lines{"application > coordinator: submit", "coordinator > bank-a: 01 Out",
                              "coordinator < bank-a: success", "coordinator > bank-b: 02 In",
                              "coordinator < bank-b: error: busy",
                              "02 In skipped by bob: paid by hand",
                              "application < coordinator: succeed"});
}

TEST_CASE("draw: a tcc with a branch in a branch, as a coordinator made it") {
  TestCoordinator kit({}, Named());
  kit->Prepare(New(TransType::kTcc));
  kit->RegisterBranch("g", TransType::kTcc,
                      Step{"http://bank-a/Confirm", "http://bank-a/Cancel", "", "01"});
  kit->RegisterBranch("g", TransType::kTcc,
                      Step{"http://fees/Confirm", "http://fees/Cancel", "", "0101"});
  kit->Submit(New(TransType::kTcc));
  kit.Settle();
  CHECK(LinesOf(kit) ==
        Lines{"application > coordinator: prepare", "application > coordinator: register 01",
              "bank-a > coordinator: register 0101", "application > coordinator: submit",
              "coordinator > fees: 0101 Confirm", "coordinator < fees: success",
              "coordinator > bank-a: 01 Confirm", "coordinator < bank-a: success",
              "application < coordinator: succeed"});
}

TEST_CASE("draw: an xa that nobody submits") {
  TestCoordinator kit({}, Named());
  kit->Prepare(New(TransType::kXa));
  kit->RegisterBranch("g", TransType::kXa, Step{"http://bank-a/Xa", "http://bank-a/Xa", "", "01"});
  kit.Advance(seconds(200));
  const Lines lines = LinesOf(kit);
  REQUIRE(lines.size() == 6);
  CHECK(lines[2].compare(0, 12, "rolls back: ") == 0);
  CHECK(lines[3] == "coordinator > bank-a: 01 rollback Xa");
  CHECK(lines[5] == "application < coordinator: failed");
}

TEST_CASE("draw: a message whose initiator is asked") {
  TestCoordinator kit({}, Named());
  Definition message = New(TransType::kMsg);
  message.prepared_first = true;
  message.query_prepared = "http://bank-a/WasItCommitted";
  message.steps = {{"http://bank-b/In", "", "1"}};
  kit->Prepare(message);
  kit.Advance(seconds(200));
  CHECK(LinesOf(kit) ==
        Lines{"application > coordinator: prepare", "coordinator > application: 00 WasItCommitted",
              "coordinator < application: success", "coordinator > bank-b: 01 In",
              "coordinator < bank-b: success", "application < coordinator: succeed"});
}

TEST_CASE("draw: a workflow that records, fails and ends") {
  TestCoordinator kit({}, Named());
  Definition workflow = New(TransType::kWorkflow);
  workflow.workflow = "order";
  (void)kit->PrepareWorkflow(workflow);
  Step step{"do:", "", "7", "01"};
  step.op = dtm::Op::kAction;
  step.topic = "reserve";
  kit->RegisterBranch("g", TransType::kWorkflow, step);
  step.branch_id = "02";
  step.topic = "pay";
  step.payload = "no money";
  step.failed = true;
  kit->RegisterBranch("g", TransType::kWorkflow, step);
  kit->FinishWorkflow("g", dtm::Status::kFailed, "no money", "");
  CHECK(LinesOf(kit) == Lines{"application > coordinator: prepare",
                              "application > coordinator: record 01 reserve",
                              "application > coordinator: record 02 pay failed: no money",
                              "application > coordinator: fail: no money", "rolls back",
                              "application < coordinator: failed"});
}

TEST_CASE("draw: a branch that runs in the coordinator's own commit calls nobody") {
  sql_kit::Bank bank({}, Named());
  const auto pay = bank->RegisterInTransaction<int>(
      "Pay", [](sqlite3* db, const int&) { sql_kit::Note(db, "pay"); });
  const auto plain = bank->Register<int>("Plain", [](const int&) {});
  dtm::Saga saga(*bank, "g");
  saga.Add(plain, plain, 1).Add(pay, pay, 1);
  saga.SubmitAsync([](const dtm::Answer&) {});
  bank.kit.Settle();
  CHECK(LinesOf(bank.kit) == Lines{"application > coordinator: submit",
                                   "coordinator > functions: 01 Plain",
                                   "coordinator < functions: success", "02 Pay success",
                                   "application < coordinator: succeed"});
}

TEST_CASE("draw: while it runs, and while it waits") {
  TestCoordinator kit({}, Named());
  kit.Branches().On("http://bank-a/Out",
                    {{Result::Error("busy"), {}, false}, ScriptedAnswer::Silence()});
  kit->Submit(TwoBanks());
  kit.Settle();
  Lines lines = LinesOf(kit);
  REQUIRE(lines.size() == 5);
  CHECK(lines[3] == "waits to try again: 01 Out");
  CHECK(lines[4].compare(0, 7, "due at ") == 0);
  kit->RetryNow("g");
  kit.Settle();
  lines = LinesOf(kit);
  REQUIRE(lines.size() == 7);
  CHECK(lines[3] == "retry now");
  CHECK(lines[5] == "running: 01 Out");
}

TEST_CASE("draw: what is rolled back waits for what undoes it, not for what it tried before") {
  TestCoordinator kit({}, Named());
  kit.Branches().On("http://bank-a/Out", Result::Error("busy"));
  kit.Branches().On("http://bank-a/OutUndo", Result::Error("busy"));
  kit->Submit(TwoBanks());
  kit.Settle();
  kit->Cancel("g");
  kit.Settle();
  const Lines lines = LinesOf(kit);
  REQUIRE(lines.size() > 2);
  CHECK(lines[lines.size() - 2] == "waits to try again: 01 compensate OutUndo");
}

TEST_CASE("draw: without a journal the record is drawn") {
  dtm::Options options = Named();
  options.history = 0;
  TestCoordinator kit({}, options);
  kit->Submit(TwoBanks());
  kit.Settle();
  CHECK(LinesOf(kit) ==
        Lines{"application > coordinator: submit", "no journal was kept: this is from the record",
              "coordinator < bank-a: 01 Out success", "coordinator < bank-b: 02 In success",
              "application < coordinator: succeed"});
}

namespace {

/// Two nodes on one store, both alive.
struct TwoNodes {
  static dtm::Options NamedAs(const char* name) {
    dtm::Options options = Named();
    options.node_name = name;
    return options;
  }
  void Pass(dtm::Duration duration) { TestCoordinator::AdvanceAll({&one, &two}, duration); }

  const std::shared_ptr<dtm::testing::SharedMemoryTables> tables =
      std::make_shared<dtm::testing::SharedMemoryTables>();
  const std::shared_ptr<dtm::testing::VirtualTime> time =
      std::make_shared<dtm::testing::VirtualTime>();
  const TestCoordinator::OpenStore open = [this] {
    return dtm::testing::SharedMemoryStore(tables, time);
  };
  TestCoordinator one{{}, NamedAs("one"), open, time};
  TestCoordinator two{{}, NamedAs("two"), open, time};
};

}  // namespace

TEST_CASE(
    "draw: a node that goes on with what another one had does not say that this one is gone") {
  TwoNodes nodes;
  SECTION("any node may have what is prepared") {
    nodes.one->Prepare(New(TransType::kTcc));
    nodes.Pass(milliseconds(10));
    nodes.two->RegisterBranch("g", TransType::kTcc,
                              Step{"http://bank-a/Confirm", "http://bank-a/Cancel", "", "01"});
    nodes.Pass(milliseconds(10));
    nodes.one->Submit(New(TransType::kTcc));
    nodes.Pass(seconds(1));
    CHECK(LinesOf(nodes.one->Timeline("g").value()) ==
          Lines{"application > coordinator: prepare", "two goes on with it",
                "application > coordinator: register 01", "one goes on with it",
                "application > coordinator: submit", "coordinator > bank-a: 01 Confirm",
                "coordinator < bank-a: success", "application < coordinator: succeed"});
  }
  SECTION("and may stop what another one drives") {
    nodes.one.Branches().On("http://bank-a/Out", Result::Error("busy"));
    nodes.one->Submit(TwoBanks());
    nodes.Pass(milliseconds(10));
    nodes.two->ForceStop("g", dtm::By{"dave", "enough"});
    nodes.Pass(milliseconds(10));
    CHECK(LinesOf(nodes.one->Timeline("g").value()) ==
          Lines{"application > coordinator: submit", "coordinator > bank-a: 01 Out",
                "coordinator < bank-a: error: busy", "two goes on with it",
                "force-stopped by dave: enough", "application < coordinator: failed"});
  }
}
