/// Replays of exported transactions, story by story. All types with everything that can happen: incident_random_test.cpp.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/client/saga.hpp>
#include <dtm/client/workflow.hpp>
#include <dtm/testing/incident.hpp>
#include <dtm/testing/test_coordinator.hpp>
#include <dtm/timeline/export.hpp>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using dtm::JournalKind;
using dtm::Result;
using dtm::testing::Incident;
using dtm::testing::ReplayReport;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::seconds;
using Names = std::vector<std::string>;

namespace {

dtm::Options Telling() {
  dtm::Options options;
  options.log = nullptr;
  options.history = 500;
  return options;
}

std::string Exported(TestCoordinator& kit, const std::string& gid) {
  return dtm::Export(*kit->Timeline(gid), dtm::ExportContent::kFull,
                     dtm::ExportSettings::Of(kit->Settings()));
}

/// A shop that tells what it was asked to do.
struct Shop {
  Names asked;
  Result pay = Result::Failure("account closed");
  void Register(dtm::Coordinator& tm) {
    for (const char* name : {"Reserve", "PutBack", "Refund"}) {
      tm.Register<int>(name,
                       [this, name](const int& n) { asked.push_back(name + std::to_string(n)); });
    }
    tm.Register<int>("Pay", [this](const int&, const dtm::BranchInfo& info) {
      asked.push_back("Pay " + info.gid);
      return pay;
    });
  }
  dtm::testing::TestCoordinator::Setup AsSetup() {
    return [this](dtm::Coordinator& tm) { Register(tm); };
  }
};

dtm::Definition Order(const std::string& gid) {
  dtm::Definition saga;
  saga.gid = gid;
  saga.steps = {{"local:Reserve", "local:PutBack", "1"},
                {"http://mail/send", "", "2"},
                {"local:Pay", "local:Refund", "3"}};
  return saga;
}

/// Recorded with one error of the mail server, and a crash while it is called again.
std::string RecordedOrder(const std::string& gid) {
  Shop shop;
  TestCoordinator kit(shop.AsSetup(), Telling());
  kit.Branches().On("http://mail/send", {{Result::Error("busy"), seconds(1), false},
                                         {Result::Success(), seconds(2), false}});
  kit->Submit(Order(gid));
  kit.Advance(seconds(13));
  kit.Crash();
  kit.Advance(hours(1));
  REQUIRE(kit->Query(gid)->status == dtm::Status::kFailed);
  REQUIRE(shop.asked == Names{"Reserve1", "Pay " + gid, "Refund3", "PutBack1"});
  return Exported(kit, gid);
}

}  // namespace

TEST_CASE("incident: functions run in their order, and what URLs said is taken from the record") {
  const Incident incident = Incident::FromText(RecordedOrder("order-17"));
  Shop shop;
  int setups = 0;
  const ReplayReport report = incident.ReplayInto([&](dtm::Coordinator& tm) {
    ++setups;
    shop.Register(tm);
  });
  CHECK(report.first_difference == "");
  CHECK(report.not_replayed == "");
  CHECK(report.same);
  CHECK(setups == 2);  // it crashed once
  CHECK(shop.asked == Names{"Reserve1", "Pay order-17", "Refund3", "PutBack1"});
  CHECK(report.replayed.transaction.reason == "account closed");
  CHECK(report.replayed.runs.size() == 2);
  REQUIRE(report.replayed.attempts.size() == report.recorded.attempts.size());
  CHECK(report.replayed.attempts[1].end == report.recorded.attempts[1].end);
}

TEST_CASE("incident: changed code is found at the first step that differs") {
  const Incident incident = Incident::FromText(RecordedOrder("order-17"));
  Shop shop;
  const auto first_difference = [&] {
    shop.asked.clear();
    const ReplayReport report = incident.ReplayInto(shop.AsSetup());
    CHECK_FALSE(report.same);
    CHECK(shop.asked == Names{"Reserve1", "Pay order-17"});
    return report.first_difference;
  };
  const std::string then =
      "recorded: attempt 1 of branch 03 action (local:Pay): failure 'account closed'; now: ";
  shop.pay = Result::Success();
  CHECK(first_difference() == then + "success");
  shop.pay = Result::Failure("no account");
  CHECK(first_difference() == then + "failure 'no account'");
  shop.pay = Result::Error("no network");
  CHECK(first_difference() == then + "error 'no network'");
}

TEST_CASE("incident: a file is read, and what cannot be replayed says why") {
  const dtm_test::TempDir folder;
  const std::string file = folder / "order.dtm";
  std::ofstream(file) << RecordedOrder("order-17");
  CHECK(Incident(file).ReplayInto().same);
  CHECK(Incident(file).Recorded().transaction.definition->gid == "order-17");
  CHECK_THROWS_WITH(Incident(folder / "none.dtm"), ContainsSubstring("none.dtm"));

  Shop shop;
  dtm::Options silent;
  silent.log = nullptr;
  silent.history = 0;
  TestCoordinator kit(shop.AsSetup(), silent);
  kit->Submit(Order("g"));
  kit.Advance(hours(1));
  CHECK_THROWS_WITH(Incident::FromText(Exported(kit, "g"), "g.dtm"),
                    StartsWith("g.dtm has no journal, so there is nothing to replay"));
}

TEST_CASE("incident: what is behind a gap of the journal is not replayed, and that is said") {
  dtm::Timeline story = dtm::testing::ReadExport(RecordedOrder("g"), "the export").story;
  std::vector<dtm::JournalEntry> entries = story.entries;
  const std::size_t all = entries.size();
  const std::size_t kept = 4;
  entries[kept] = {entries[kept].time, 100, {}, JournalKind::kGap};
  const Incident incident =
      Incident::FromText(dtm::Export(dtm::MakeTimeline(story.transaction, entries)));
  Shop shop;
  const ReplayReport report = incident.ReplayInto(shop.AsSetup());
  CHECK(report.same);
  CHECK(report.not_replayed ==
        "the journal has a gap behind entry 4, attempt 1 of branch 02 action (http://mail/send) "
        "began: " +
            std::to_string(100 + all - kept - 1) +
            " entries are in it or behind it, and nothing of that was replayed; Options::history "
            "says how many attempts are kept");
  CHECK(shop.asked == Names{"Reserve1"});

  entries[0] = entries[kept];
  CHECK_THROWS_WITH(
      Incident::FromText(dtm::Export(dtm::MakeTimeline(story.transaction, entries)), "g.dtm"),
      ContainsSubstring(
          "g.dtm cannot be replayed: its journal does not begin with its submission"));
}

TEST_CASE("incident: without settings in the export those that are given count") {
  Shop shop;
  dtm::Options options = Telling();
  options.retry_interval = seconds(4);
  TestCoordinator kit(shop.AsSetup(), options);
  kit.Branches().On("http://mail/send", Result::Error("busy"));
  kit->Submit(Order("g"));
  kit.Advance(hours(1));
  const Incident incident = Incident::FromText(dtm::Export(*kit->Timeline("g")));
  CHECK(incident.ReplayInto({}, options).same);
  options.retry_interval = seconds(5);
  CHECK_THAT(incident.ReplayInto({}, options).first_difference,
             StartsWith("recorded: attempt 2 of branch 02 action (http://mail/send) began; now: "
                        "not; saga g is submitted"));
}

TEST_CASE("incident: a stop, a repair and a retry are done again when they were") {
  Shop shop;
  shop.pay = Result::Error("broken");
  TestCoordinator kit(shop.AsSetup(), Telling());
  kit->Submit(Order("g"));
  kit.Advance(seconds(3));
  kit->RetryNow("g", {"alice", "look again"});
  kit.Advance(seconds(1));
  kit->Skip("g", "03", dtm::Op::kAction, {"bob", "paid in cash"});
  kit.Advance(hours(1));
  REQUIRE(kit->Query("g")->status == dtm::Status::kSucceed);
  const Incident incident = Incident::FromText(Exported(kit, "g"));
  const ReplayReport report = incident.ReplayInto(shop.AsSetup());
  CHECK(report.first_difference == "");
  REQUIRE(report.replayed.entries.size() == report.recorded.entries.size());
  for (std::size_t i = 0; i < report.recorded.entries.size(); ++i) {
    if (dtm::IsAttempt(report.recorded.entries[i].kind)) continue;
    CHECK(report.replayed.entries[i].text == report.recorded.entries[i].text);
  }
}

TEST_CASE("incident: calls that a stop refused are made again by the next process") {
  dtm::Timeline story = dtm::testing::ReadExport(RecordedOrder("g"), "the export").story;
  // As a process leaves it that stops in good order: the last call of the first run was not sent.
  std::vector<dtm::JournalEntry> entries = story.entries;
  const auto up = std::find_if(entries.begin(), entries.end(), [](const auto& entry) {
    return entry.kind == JournalKind::kTakenUp;
  });
  REQUIRE(up != entries.end());
  dtm::JournalEntry refused = *(up - 1);
  refused.kind = JournalKind::kNotSent;
  refused.text = "the coordinator was stopping";
  entries.insert(up, refused);
  const Incident incident = Incident::FromText(
      dtm::Export(dtm::MakeTimeline(story.transaction, entries), dtm::ExportContent::kFull,
                  {seconds(10), seconds(3), seconds(35)}));
  const ReplayReport report = incident.ReplayInto();
  CHECK(report.first_difference == "");
}

TEST_CASE("incident: a call that a crash in the same moment interrupted is made again") {
  Shop shop;
  TestCoordinator kit(shop.AsSetup(), Telling());
  kit.Branches().On("http://mail/send", dtm::testing::ScriptedAnswer::Silence().result);
  kit->Submit(Order("g"));
  kit.Crash();  // nothing tells of it but the same call
  kit.Advance(hours(1));
  REQUIRE(kit->Timeline("g")->runs.size() == 1);
  const ReplayReport report = Incident::FromText(Exported(kit, "g")).ReplayInto(shop.AsSetup());
  CHECK(report.first_difference == "");
}

TEST_CASE("incident: functions inside a commit are not run, their results are those recorded") {
  int runs = 0;
  const auto setup = [&runs](dtm::Coordinator& tm) {
    tm.RegisterInTransaction<int>("Book", [&runs](const dtm::WorkContext&, const int&) -> Result {
      return ++runs == 1 ? Result::Error("locked") : Result::Failure("full");
    });
  };
  TestCoordinator kit(setup, Telling());
  dtm::Definition saga;
  saga.gid = "g";
  saga.steps = {{"http://a", "http://c", "1"}, {"local:tx/Book", "", "2"}};
  kit->Submit(saga);
  kit.Advance(hours(1));
  REQUIRE(kit->Query("g")->status == dtm::Status::kFailed);
  REQUIRE(runs == 2);
  const ReplayReport report = Incident::FromText(Exported(kit, "g")).ReplayInto(setup);
  CHECK(report.first_difference == "");
  CHECK(report.replayed.transaction.reason == "full");
  CHECK(runs == 2);
  CHECK(report.not_replayed ==
        "branch 02 action (local:tx/Book): run inside a commit, whose tables are not here, so what "
        "was recorded of it was taken");
}

TEST_CASE("incident: the calls that an initiator made itself are named as not replayed") {
  const bool tcc = GENERATE(true, false);
  TestCoordinator kit({}, Telling());
  dtm::Definition definition;
  definition.gid = "g";
  definition.type = tcc ? dtm::TransType::kTcc : dtm::TransType::kXa;
  kit->Prepare(definition);
  for (int i = 1; i <= 12; ++i) {
    dtm::Step step;
    step.branch_id = (i < 10 ? "0" : "") + std::to_string(i);
    step.action = "http://h/confirm";
    step.compensate = tcc ? "http://h/cancel" : step.action;
    kit->RegisterBranch("g", definition.type, step);
  }
  kit->Submit(definition);
  kit.Advance(hours(1));
  REQUIRE(kit->Query("g")->status == dtm::Status::kSucceed);
  const ReplayReport report = Incident::FromText(Exported(kit, "g")).ReplayInto();
  CHECK(report.first_difference == "");
  CHECK(report.not_replayed ==
        std::string(tcc ? "the try" : "the action") +
            " of each branch (01, 02, 03, 04, 05, 06, 07, 08, 09, 10 and 2 more) was not called: "
            "the initiator makes these calls itself, and the journal has only the registration of "
            "the branches");
}

namespace {

/// Two steps of its own code and a call; `second` says what the second one does.
struct Trip {
  Names did;
  std::string second = "hotel 7";
  bool broken = false;
  void Register(dtm::Coordinator& tm) {
    handle = std::make_unique<dtm::WorkflowHandle<int>>(
        dtm::RegisterWorkflow<int>(tm, "Trip", [this](dtm::Workflow& trip, int days) {
          std::string all = trip.NewBranch("flight").OnRollback([] {}).Do([&] {
            did.push_back("flight");
            return "flight for " + std::to_string(days);
          });
          all += " " + trip.NewBranch().Call("http://hotel/book", days);
          return all + " " + trip.NewBranch("taxi").Do([&]() -> std::string {
            did.push_back("taxi");
            if (broken) throw std::runtime_error("no taxi");
            return second;
          });
        }));
  }
  std::unique_ptr<dtm::WorkflowHandle<int>> handle;
};

std::string RecordedTrip() {
  Trip trip;
  trip.broken = true;
  TestCoordinator kit([&trip](dtm::Coordinator& tm) { trip.Register(tm); }, Telling());
  kit.Branches().On("http://hotel/book", {{{Result::Kind::kSuccess, "room 5"}, seconds(1), false}});
  CHECK_THROWS(trip.handle->Execute("t", 3));
  kit.Advance(seconds(15));  // resumed once, in vain
  trip.broken = false;
  kit.Advance(hours(1));
  REQUIRE(kit->Query("t")->status == dtm::Status::kSucceed);
  REQUIRE(trip.did == Names{"flight", "taxi", "taxi", "taxi"});
  return Exported(kit, "t");
}

}  // namespace

TEST_CASE("incident: a workflow runs when it ran, and does only what was not recorded yet") {
  const Incident incident = Incident::FromText(RecordedTrip());
  Trip trip;
  int taxis = 0;
  const ReplayReport report = incident.ReplayInto([&](dtm::Coordinator& tm) {
    (void)dtm::RegisterWorkflow<int>(tm, "Trip", [&](dtm::Workflow& workflow, int days) {
      std::string all = workflow.NewBranch("flight").OnRollback([] {}).Do(
          [&] { return "flight for " + std::to_string(days); });
      all += " " + workflow.NewBranch().Call("http://hotel/book", days);
      return all + " " + workflow.NewBranch("taxi").Do([&]() -> std::string {
        if (++taxis < 3) throw std::runtime_error("no taxi");
        return "hotel 7";
      });
    });
  });
  CHECK(report.first_difference == "");
  CHECK(taxis == 3);
  CHECK(report.replayed.transaction.result == "flight for 3 room 5 hotel 7");
  CHECK(incident.ReplayInto().same);
}

TEST_CASE("incident: changed code of a workflow is found at the step that differs") {
  const Incident incident = Incident::FromText(RecordedTrip());
  Trip trip;
  const auto difference = [&] {
    return incident.ReplayInto([&trip](dtm::Coordinator& tm) { trip.Register(tm); })
        .first_difference;
  };
  // The taxi comes at the first time that the coordinator resumes it, and did not then.
  CHECK_THAT(difference(), StartsWith("recorded: attempt 2 of branch 00 resume (local:Trip): error "
                                      "'no taxi'; now: branch 03 action (taxi, do:): success"));
  trip.broken = true;
  CHECK_THAT(difference(),
             StartsWith("recorded: branch 03 action (taxi, do:): success 'hotel 7'; now: the "
                        "workflow stopped before that with error 'no taxi'"));
}
