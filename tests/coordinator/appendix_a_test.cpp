/// The protocol's Appendix A, embedded: every case of tests/support/appendix_a.hpp by the builders, without a sleep.
#include "tests/support/appendix_a.hpp"

#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/client/msg.hpp>
#include <dtm/client/saga.hpp>
#include <dtm/client/tcc.hpp>
#include <dtm/client/workflow.hpp>
#include <dtm/client/xa.hpp>

using appendix_a::Global;
using appendix_a::Order;
using dtm::BranchInfo;
using dtm::Result;
using dtm::TransType;

namespace {

class Embedded : public appendix_a::House {
 public:
  Embedded() : kit_([this](dtm::Coordinator& tm) { Register(tm); }, Quiet()) {}

  void Pass(dtm::Duration time) override { kit_.Advance(time); }
  dtm::Coordinator& Tm() override { return *kit_; }
  dtm::testing::ScriptedBranches& Branches() override { return kit_.Branches(); }

  std::string Submit(const Order& order) override {
    return Answer([&] {
      if (order.json_rpc) {  // no builder speaks of it
        dtm::Definition definition;
        definition.gid = order.gid;
        definition.type = order.type;
        definition.json_rpc = true;
        definition.steps = {{"http://b/1", "", "{}"}, {"http://b/2", "", "{}"}};
        return kit_->Submit(std::move(definition));
      }
      if (order.type == TransType::kMsg) return MessageOf(order).Submit();
      return SagaOf(order).Submit();
    });
  }
  std::string Prepare(const Order& order) override {
    return Answer([&] {
      MessageOf(order).Prepare("http://b/q");
      return dtm::TransResult{};
    });
  }

  std::string Run(const Global& global) override {
    global_ = global;
    return Answer([&] {
      if (global.type == TransType::kXa) {
        return dtm::XaGlobalTransaction(*kit_, "g", [&](dtm::Xa& xa) {
          for (int n = 0; n < global.branches; ++n) xa.CallBranch(1, xa_);
        });
      }
      return dtm::TccGlobalTransaction(*kit_, "g", [&](dtm::Tcc& tcc) {
        tcc.CallBranch(1, try_, "http://b/confirm01", "http://b/cancel01");
        kit_.Advance(global.pause);
        tcc.CallBranch(1, try_, "http://b/confirm02", "http://b/cancel02");
      });
    });
  }

  std::string ForceStop() override {
    return Answer([&] {
      kit_->ForceStop("g");
      return dtm::TransResult{};
    });
  }

  std::string Workflow(int ongoing) override {
    ongoing_ = ongoing;
    try {
      return workflow_->Execute("g", 1);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }
  void ResumeIfAsked() override {}  // it is asked in this process

  std::string Topic(const std::string& verb, const std::string& url) override {
    return Answer([&] {
      if (verb == "subscribe") kit_->Subscribe("t", url);
      if (verb == "unsubscribe") kit_->Unsubscribe("t", url);
      if (verb == "delete") kit_->DeleteTopic("unknown");
      return dtm::TransResult{};
    });
  }

  std::string Reset(std::size_t limit) override {
    std::vector<std::string> gids = kit_->ListWaiting(std::chrono::seconds(500), limit + 1);
    const bool more = gids.size() > limit;
    if (more) gids.pop_back();
    for (const std::string& gid : gids) kit_->RetryNow(gid);
    kit_.Settle();
    return std::to_string(gids.size()) + (more ? " more" : "");
  }

  std::string Reason() override { return kit_->Query("g")->reason; }
  std::string Seen() override {
    const auto stored = kit_->Query("g");
    if (!stored) return "none";
    std::string text = Name(stored->status);
    // The row by which its initiator is called is none of those of the table.
    std::size_t row = dtm::HasQueryRow(stored->definition->type) ? 1 : 0;
    for (; row < stored->branches.size(); ++row) {
      const dtm::Branch& branch = stored->branches[row];
      text += branch.status == dtm::BranchStatus::kPrepared  ? " P"
              : branch.status == dtm::BranchStatus::kSucceed ? " S"
                                                             : " F";
    }
    return text;
  }

 private:
  static dtm::Options Quiet() {
    dtm::Options options;
    options.log = nullptr;
    return options;
  }

  /// What comes of it; then everything is done that can be.
  template <typename Ask>
  std::string Answer(const Ask& ask) {
    std::string answer;
    try {
      const dtm::TransResult result = ask();
      if (waits_ && !result.Finished()) answer = "ongoing";
    } catch (const dtm::FailureError&) {
      answer = "no";
    } catch (const dtm::RejectedError&) {
      answer = "no";
    }
    kit_.Settle();
    return answer;
  }

  dtm::Saga SagaOf(const Order& order) {
    waits_ = order.options.wait_result;
    dtm::Saga saga = dtm::NewSaga(*kit_, order.gid);
    for (const std::string n : {"1", "2"}) {
      if (order.empty_urls) {
        saga.Add("", "", 1);
      } else {
        saga.Add("http://b/a" + n, "http://b/c" + n, 1);
      }
    }
    if (order.concurrent) saga.SetConcurrent();
    if (order.ordered) saga.AddBranchOrder(1, {0});
    saga.SetWaitResult(order.options.wait_result).SetRetryLimit(order.options.retry_limit);
    saga.SetRetryInterval(order.options.retry_interval);
    saga.SetTimeoutToFail(order.options.timeout_to_fail);
    return saga;
  }

  dtm::Msg MessageOf(const Order& order) {
    dtm::Msg message = dtm::NewMsg(*kit_, order.gid);
    if (order.to_topic) {
      message.AddTopic("t", 1);
    } else {
      message.Add("http://b/1", 1).Add("http://b/2", 1);
    }
    if (order.concurrent) message.SetConcurrent();
    message.SetDelay(order.delay);
    return message;
  }

  void Register(dtm::Coordinator& tm) {
    try_ = tm.Register<int>("Try", [this](const int&, const BranchInfo& info) {
      if (info.branch_id != "02") return Result::Success();
      if (global_.second_no) return Result::Failure(appendix_a::kNo);
      if (global_.nested) {
        dtm::Tcc below(*kit_, info);
        below.CallBranch(1, try_, "http://b/confirm0201", "http://b/cancel0201");
      }
      return Result::Success();
    });
    // As a database with XA: it registers what it prepares, and a second url is told commit or rollback.
    xa_ = tm.Register<int>("Xa", [this](const int&, const BranchInfo& info) {
      if (global_.second_no && info.branch_id == "02") return Result::Failure(appendix_a::kNo);
      dtm::Step step;
      step.branch_id = info.branch_id;
      step.action = step.compensate = "http://b/xa" + info.branch_id;
      kit_->RegisterBranch(info.gid, TransType::kXa, std::move(step));
      return Result::Success();
    });
    workflow_.emplace(
        dtm::RegisterWorkflow<int>(tm, "Workflow", [this](dtm::Workflow& workflow, int) {
          workflow.NewBranch().Do([this] { steps += "1"; });
          workflow.NewBranch().Do([this] {
            steps += "2";
            if (ongoing_-- > 0) throw dtm::OngoingError("ongoing");
          });
          return "done";
        }));
  }

  Global global_;
  bool waits_ = false;
  int ongoing_ = 0;
  dtm::LocalBranch<int> try_, xa_;
  std::optional<dtm::WorkflowHandle<int>> workflow_;
  dtm::testing::TestCoordinator kit_;
};

}  // namespace

TEST_CASE("Appendix A: every case, embedded, by the builders") {
  for (const appendix_a::Case& one : appendix_a::Cases()) {
    DYNAMIC_SECTION(one.name) {
      Embedded house;
      one.play(house);
    }
  }
}
