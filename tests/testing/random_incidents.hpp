/// Random transactions of each type with everything that can happen to them, recorded in the test kit.
/// Needs: testing. Threads: one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/client/workflow.hpp>
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/testing/test_coordinator.hpp>
#include <dtm/timeline/export.hpp>

namespace dtm_test {

/// What each call of a function comes to: the same for the same seed.
class RandomFunctions {
 public:
  struct Called {
    std::string branch;  ///< and its op
    int number = 0;      ///< of its calls, from 0
    bool operator==(const Called& other) const {
      return branch == other.branch && number == other.number;
    }
  };

  explicit RandomFunctions(unsigned seed) : seed_(seed) {}

  dtm::Result Call(const dtm::BranchInfo& info) {
    const std::string branch = info.branch_id + " " + dtm::Name(info.op);
    const int number = counts_[branch]++;
    called.push_back({branch, number});
    dtm::Result result = OutcomeOf(branch, number, info.op);
    if (changed != nullptr && called.back() == *changed) {
      const bool good = result.kind == dtm::Result::Kind::kSuccess;
      result = good ? dtm::Result::Error("changed") : dtm::Result::Success();
    }
    return result;
  }

  void Register(dtm::Coordinator& tm) {
    for (int i = 0; i < 6; ++i) {
      tm.Register<nlohmann::json>(
          "F" + std::to_string(i),
          [this](const nlohmann::json&, const dtm::BranchInfo& info) { return Call(info); });
    }
  }

  std::vector<Called> called;
  const Called* changed = nullptr;  ///< this call comes to something else

 private:
  dtm::Result OutcomeOf(const std::string& branch, int number, dtm::Op op) const {
    dtm::StableHash hash;
    hash.Add(std::to_string(seed_) + branch + std::to_string(number));
    const std::uint64_t dice = hash.Value() % 100;
    const bool may_fail = op == dtm::Op::kAction || op == dtm::Op::kTry || op == dtm::Op::kMsg;
    if (dice < 12 && may_fail) return dtm::Result::Failure("no " + branch + std::string(300, '!'));
    if (dice < 20) return dtm::Result::Ongoing("later");
    if (dice < 30) return dtm::Result::Error("broken");
    if (dice < 35) throw std::runtime_error("thrown");
    return dtm::Result::Success();
  }

  const unsigned seed_;
  std::map<std::string, int> counts_;
};

/// A program whose process dies in a step of a workflow.
struct Dies : std::exception {};

class RandomIncident {
 public:
  explicit RandomIncident(unsigned seed)
      : random_(seed),
        functions_(seed),
        kit_([this](dtm::Coordinator& tm) { SetUp(tm); }, Telling()) {
    type_ = static_cast<dtm::TransType>(1 + seed % 5);
    Begin();
    for (int i = 0; i < 14; ++i) Happen();
    if (!One(8)) kit_.Advance(std::chrono::hours(48));  // else it is exported unfinished
  }

  std::string Export(dtm::ExportContent content = dtm::ExportContent::kFull) {
    return dtm::Export(*kit_->Timeline(kGid), content, dtm::ExportSettings::Of(kit_->Settings()));
  }
  const std::vector<RandomFunctions::Called>& Called() const { return functions_.called; }

  /// The program again, for a replay. `functions` is what is called.
  static void SetUp(dtm::Coordinator& tm, RandomFunctions& functions) {
    functions.Register(tm);
    (void)dtm::RegisterWorkflow<int>(tm, "W", [&functions](dtm::Workflow& workflow, int) {
      return Work(workflow, functions, [] {});
    });
  }

 private:
  static constexpr const char* kGid = "gid-1";
  using Seconds = std::chrono::seconds;

  static dtm::Options Telling() {
    dtm::Options options;
    options.log = nullptr;
    options.history = 500;
    options.retry_interval = Seconds(3);
    options.timeout_to_fail = Seconds(20);
    options.keep_finished = std::chrono::hours(1000);
    return options;
  }

  void SetUp(dtm::Coordinator& tm) {
    functions_.Register(tm);
    workflow_ = std::make_unique<dtm::WorkflowHandle<int>>(
        dtm::RegisterWorkflow<int>(tm, "W", [this](dtm::Workflow& workflow, int) {
          return Work(workflow, functions_, [this] {
            if (starts_ || !One(10)) return;
            dies_ = true;
            kit_.Store().FailAlways(dtm::testing::StoreFault::kDefinite);
            throw Dies();
          });
        }));
  }

  /// Three to five steps, of each kind; `may_die` throws where the process dies.
  template <typename MayDie>
  static std::string Work(dtm::Workflow& workflow, RandomFunctions& functions,
                          const MayDie& may_die) {
    std::string all;
    for (int i = 0; i < 4; ++i) {
      auto branch = workflow.NewBranch(i == 2 ? "named" : "");
      const dtm::BranchInfo info{
          workflow.Gid(), dtm::TransType::kWorkflow, branch.Id(), dtm::Op::kAction, {}};
      const dtm::BranchInfo undo{
          workflow.Gid(), dtm::TransType::kWorkflow, branch.Id(), dtm::Op::kRollback, {}};
      branch.OnRollback([&functions, undo, may_die] {
        const dtm::Result result = functions.Call(undo);
        may_die();
        return result;
      });
      if (i % 2 == 0) {
        all += branch.Do([&] {
          const dtm::Result result = functions.Call(info);
          may_die();
          return result.kind == dtm::Result::Kind::kSuccess
                     ? dtm::Result{result.kind, "did " + std::to_string(i)}
                     : result;
        });
      } else {
        all += branch.Call("http://w" + std::to_string(i), i);
      }
    }
    return all;
  }
  bool One(std::uint32_t in) { return random_() % in == 0; }

  dtm::Result RandomResult() {
    const auto dice = random_() % 100;
    if (dice < 10) return dtm::Result::Failure("refused " + std::to_string(dice));
    if (dice < 20) {
      dtm::Result later = dtm::Result::Ongoing("wait");
      if (One(2)) later.retry_after = Seconds(random_() % 30);
      return later;
    }
    if (dice < 35) return dtm::Result::Error("error " + std::to_string(dice));
    if (dice < 40) return dtm::Result::NotSent("no slot");
    return dtm::Result::Success();
  }
  std::string Branch(std::size_t step, const char* what) {
    if (type_ != dtm::TransType::kXa && One(2)) return "local:F" + std::to_string(random_() % 6);
    const std::string url = std::string("http://") + what + std::to_string(step);
    for (auto n = random_() % 4; n > 0; --n) {
      const bool silent = One(10);
      const dtm::Duration after = One(2) ? dtm::Duration(0) : dtm::Duration(random_() % 4000000);
      kit_.Branches().On(url, {{RandomResult(), after, silent}});
    }
    return url;
  }

  dtm::Step NewStep(std::size_t i) {
    dtm::Step step;
    step.action = One(12) ? "" : Branch(i, "a");
    if (type_ == dtm::TransType::kXa) step.action = Branch(i, "x");
    if (type_ != dtm::TransType::kMsg) step.compensate = One(8) ? "" : Branch(i, "c");
    if (type_ == dtm::TransType::kXa) step.compensate = step.action;
    step.payload = std::to_string(i);
    return step;
  }

  void Begin() {
    if (type_ == dtm::TransType::kWorkflow) {
      for (const char* url : {"http://w1", "http://w3"}) {
        for (int i = 0; i < 3; ++i) {
          dtm::Result result = RandomResult();
          if (result.kind == dtm::Result::Kind::kSuccess)
            result.text = "reply " + std::to_string(i);
          kit_.Branches().On(url, {{result, dtm::Duration(random_() % 1000000), false}});
        }
      }
      starts_ = true;
      Try([&] { (void)workflow_->Execute(kGid, 7); });
      starts_ = false;
      return kit_.Settle();
    }
    definition_.gid = kGid;
    definition_.type = type_;
    const std::size_t steps = 1 + random_() % 4;
    if (!dtm::RegistersSteps(type_)) {
      for (std::size_t i = 0; i < steps; ++i) definition_.steps.push_back(NewStep(i));
    }
    definition_.concurrent = !dtm::RegistersSteps(type_) && One(2);
    if (type_ == dtm::TransType::kSaga) {
      if (One(3)) definition_.options.retry_limit = static_cast<int>(1 + random_() % 3);
      if (One(3)) definition_.options.timeout_to_fail = Seconds(1 + random_() % 30);
      if (definition_.concurrent && steps > 2) definition_.orders[2] = {0, 1};
    }
    if (One(3)) definition_.options.retry_interval = Seconds(1 + random_() % 5);
    const bool prepares =
        type_ != dtm::TransType::kSaga && (type_ != dtm::TransType::kMsg || One(2));
    if (type_ == dtm::TransType::kMsg) {
      if (One(3)) definition_.delay = Seconds(random_() % 9);
      if (prepares) definition_.query_prepared = Branch(0, "q");
    }
    if (!prepares) return Try([&] { kit_->Submit(definition_); });
    Try([&] { kit_->Prepare(definition_); });
    if (dtm::RegistersSteps(type_)) {
      for (std::size_t i = 0; i < steps; ++i) {
        dtm::Step step = NewStep(i);
        step.branch_id = "0" + std::to_string(i + 1);
        Try([&] { kit_->RegisterBranch(kGid, type_, step); });
        if (One(3)) Happen();
      }
    }
    if (One(2)) kit_.Advance(dtm::Duration(random_() % 5000000));
    if (!One(4)) Try([&] { kit_->Submit(definition_); });
  }

  void Happen() {
    if (dies_) {
      dies_ = false;
      return kit_.Crash();
    }
    switch (random_() % 12) {
      case 0:
        kit_.Advance(dtm::Duration(
            1));  // the journal tells of no restart in the microsecond of the last change
        return kit_.Crash();
      case 1: return Try([&] { kit_->RetryNow(kGid, {"alice", "look"}); });
      case 2:
        if (!One(3)) return;
        return Try([&] { kit_->Cancel(kGid, dtm::By{"bob", "no more"}); });
      case 3:
        if (!One(6)) return;
        return Try([&] { kit_->ForceStop(kGid, {"bob", ""}); });
      case 4:
      case 5: return kit_.Settle();
      case 6:
      case 7: return kit_.Advance(dtm::Duration(random_() % 300000));
      default: return kit_.Advance(dtm::Duration(random_() % 9000000));
    }
  }

  template <typename Function>
  void Try(const Function& function) {
    try {
      function();
    } catch (const std::exception&) {  // a refusal, or what a workflow threw
    }
  }

  std::mt19937 random_;
  RandomFunctions functions_;
  bool dies_ = false;
  bool starts_ = false;  // a workflow
  dtm::TransType type_{};
  dtm::Definition definition_;
  std::unique_ptr<dtm::WorkflowHandle<int>> workflow_;
  dtm::testing::TestCoordinator kit_;
};

}  // namespace dtm_test
