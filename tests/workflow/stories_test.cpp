/// Workflows on a coordinator through crashes and deployments: what people see of one that does not go on.
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/client/workflow.hpp>
#include <dtm/testing/test_coordinator.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Status;
using dtm::Workflow;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::seconds;
using Lines = std::vector<std::string>;

namespace {

/// A program with a workflow "pay", which can be deployed anew: that is a crash with another program.
struct House {
  using Program = std::function<std::string(House&, Workflow&)>;

  explicit House(Program first)
      : program(std::move(first)), kit([this](dtm::Coordinator& tm) { Register(tm); }, Watched()) {}

  void Deploy(Program next) {
    program = std::move(next);
    kit.Crash();
  }
  std::function<void()> Does(const std::string& what) {
    return [this, what] { did.push_back(what); };
  }
  std::string Seen() {
    const auto stored = kit->Query("g");
    return stored ? Name(stored->status) : "none";
  }

  Lines did, logged, alerts;
  Program program;
  std::unique_ptr<dtm::WorkflowHandle<int>> handle;
  TestCoordinator kit;

 private:
  dtm::Options Watched() {
    dtm::Options options;
    options.log = [this](dtm::LogLevel, const std::string& text) { logged.push_back(text); };
    options.on_alert = [this](const dtm::Alert& alert) { alerts.push_back(alert.error); };
    return options;
  }
  void Register(dtm::Coordinator& tm) {
    handle = std::make_unique<dtm::WorkflowHandle<int>>(dtm::RegisterWorkflow<int>(
        tm, "pay", [this](Workflow& wf, const int&) { return program(*this, wf); }));
  }
};

std::string Charge(House& house, Workflow& wf) {
  wf.NewBranch("charge").OnRollback(house.Does("refund")).Do(house.Does("charge"));
  wf.NewBranch("ship").Do([&] {
    house.did.push_back("ship");
    if (house.kit->Query("g")->branches.size() < 3) throw std::runtime_error("no van");
  });
  return "shipped";
}
std::string CheckAndCharge(House& house, Workflow& wf) {
  wf.NewBranch("check").Do(house.Does("check"));
  return Charge(house, wf);
}

}  // namespace

TEST_CASE(
    "workflow stories: new code with a step in front is visibly stuck, and the old code goes on") {
  House house(Charge);
  CHECK_THROWS_WITH(house.handle->Execute("g", 30), "no van");
  CHECK(house.did == Lines{"charge", "ship"});
  house.did.clear();
  house.Deploy(CheckAndCharge);
  CHECK_THROWS_AS(house.handle->Execute("g", 30), dtm::LogicError);
  house.kit.Advance(seconds(100));
  const std::string why =
      "was recorded as own code named 'charge' and is own code named 'check' now";
  CHECK(house.did.empty());
  CHECK(house.Seen() == "prepared");
  CHECK_THAT(house.kit->Explain("g"), ContainsSubstring(why));
  CHECK_THAT(house.kit->Query("g")->last_error, ContainsSubstring(why));
  REQUIRE_FALSE(house.alerts.empty());
  CHECK_THAT(house.alerts[0], ContainsSubstring(why));
  bool logged = false;
  for (const std::string& line : house.logged)
    logged = logged || line.find(why) != std::string::npos;
  CHECK(logged);
  house.Deploy([](House& h, Workflow& wf) {
    wf.NewBranch("charge").OnRollback(h.Does("refund")).Do(h.Does("charge"));
    wf.NewBranch("ship").Do(h.Does("ship"));
    return std::string("shipped");
  });
  house.kit.Advance(hours(1));
  CHECK(house.Seen() == "succeed");
  CHECK(house.did == Lines{"ship"});
}

TEST_CASE(
    "workflow stories: a decision outside of a step that changes after a rollback began is not "
    "forgotten") {
  bool late = true, dies = true;
  House house([&](House& h, Workflow& wf) {
    wf.NewBranch().OnRollback([&] {
      h.did.push_back("undo 01");
      if (dies) throw std::runtime_error("the power is gone");
    });
    wf.NewBranch().OnRollback(h.Does("undo 02")).Do(h.Does("do 02"));
    if (late) throw dtm::FailureError("too late today");
    return std::string("done");
  });
  CHECK_THROWS_WITH(house.handle->Execute("g", 1), "the power is gone");
  CHECK(house.did == Lines{"do 02", "undo 02", "undo 01"});
  house.did.clear();
  late = dies = false;
  house.kit.Crash();
  house.kit.Advance(seconds(100));
  CHECK(house.did.empty());
  CHECK(house.Seen() == "prepared");
  CHECK_THAT(house.kit->Explain("g"), ContainsSubstring("the decision to rollback is recorded"));
  CHECK_FALSE(house.alerts.empty());
  late = true;
  house.kit.Advance(hours(1));
  CHECK(house.Seen() == "failed");
  CHECK(house.did == Lines{"undo 01"});
}

TEST_CASE(
    "workflow stories: a rollback that died in its first callback is carried through, or nothing") {
  const bool late = GENERATE(true, false);
  CAPTURE(late);
  bool first = true;
  House house([&](House& h, Workflow& wf) {
    wf.NewBranch("charge")
        .OnRollback([&] {
          h.did.push_back("refund");
          if (first) throw std::runtime_error("the power is gone");
        })
        .Do(h.Does("charge"));
    if (first || late) throw dtm::FailureError("too late today");
    return std::string("done");
  });
  CHECK_THROWS_WITH(house.handle->Execute("g", 1), "the power is gone");
  first = false;
  house.kit.Crash();
  house.kit.Advance(seconds(100));
  CHECK(house.Seen() == (late ? "failed" : "prepared"));
  CHECK(house.did == (late ? Lines{"charge", "refund", "refund"} : Lines{"charge", "refund"}));
}

TEST_CASE("workflow stories: another process that decides otherwise at the same time is refused") {
  const bool first_fails = GENERATE(true, false);  // the other process decides otherwise, first
  const bool first_has_callbacks = GENERATE(true, false);
  const bool other_dies = GENERATE(true, false);  // in its callback
  CAPTURE(first_fails, first_has_callbacks, other_dies);
  bool dies = other_dies;
  const auto run = [&](House& h, Workflow& wf, bool fails, const std::string& who) {
    auto branch = wf.NewBranch();
    if (first_has_callbacks || who == "other") {
      branch.OnFinish([&h, &dies, who](bool success) {
        h.did.push_back(who + (success ? " commits" : " rolls back"));
        if (dies) throw std::runtime_error("the power is gone");
      });
    }
    branch.Do([] {});
    if (who == "first") {
      const dtm::WorkflowHandle<int> other(*h.kit, "pay", [&, fails](Workflow& again, const int&) {
        again.NewBranch()
            .OnFinish([&h, &dies](bool success) {
              h.did.push_back(std::string("other") + (success ? " commits" : " rolls back"));
              if (dies) throw std::runtime_error("the power is gone");
            })
            .Do([] {});
        if (!fails) throw dtm::FailureError("not today");
        return std::string();
      });
      try {
        other.Execute("g", 1);
      } catch (const std::exception& error) {
        h.logged.push_back(error.what());
      }
    }
    if (fails) throw dtm::FailureError("too late today");
    return std::string("done");
  };
  House house([&](House& h, Workflow& wf) { return run(h, wf, first_fails, "first"); });
  CHECK_THROWS_AS(house.handle->Execute("g", 1), dtm::RejectedError);
  const std::string told = first_fails ? "other commits" : "other rolls back";
  CHECK(house.did == Lines{told});
  const char* ended = first_fails ? "succeed" : "failed";
  CHECK(house.Seen() == (other_dies ? "prepared" : ended));
  if (!other_dies) return;
  dies = false;
  house.did.clear();
  house.Deploy([&](House& h, Workflow& wf) { return run(h, wf, !first_fails, "other"); });
  house.kit.Advance(seconds(15));
  CHECK(house.Seen() == ended);
  CHECK(house.did == Lines{told});
}

TEST_CASE("workflow stories: a start tries soon what waited long because of other code") {
  House house(Charge);
  CHECK_THROWS_WITH(house.handle->Execute("g", 30), "no van");
  house.Deploy(CheckAndCharge);
  house.kit.Advance(hours(5));
  CHECK(house.Seen() == "prepared");
  house.did.clear();
  house.Deploy([](House& h, Workflow& wf) {
    wf.NewBranch("charge").OnRollback(h.Does("refund")).Do(h.Does("charge"));
    wf.NewBranch("ship").Do(h.Does("ship"));
    return std::string("shipped");
  });
  house.kit.Advance(seconds(12));
  CHECK(house.Seen() == "succeed");
  CHECK(house.did == Lines{"ship"});
}
