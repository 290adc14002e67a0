/// Who begins messages, tcc, xa and workflows in the cluster's test: a thread for each, which dies with the process wherever it
/// is. Sagas are begun by cluster_worker.hpp.
/// Needs: <dtm/dtm.hpp>. Threads: it starts its own; Quiet joins them.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cluster_functions.hpp"
#include "cluster_plan.hpp"
#include "cluster_watch.hpp"
#include "log.hpp"
#include <dtm/base/text.hpp>
#include <dtm/dtm.hpp>

namespace survival {

template <typename Bank>
class ClusterInitiators {
 public:
  /// `url`: of cluster_branches.py.
  ClusterInitiators(dtm::Coordinator& tm, ClusterFunctions<Bank>& functions, Log& log,
                    std::string life, std::uint64_t seed, std::string url)
      : tm_(tm),
        functions_(functions),
        log_(log),
        life_(std::move(life)),
        seed_(seed),
        url_(std::move(url)),
        workflow_(dtm::RegisterWorkflow<std::string>(
            tm, "Workflow", [this](dtm::Workflow& workflow, const std::string& gid) {
              return RunWorkflow(workflow, gid);
            })) {}
  ~ClusterInitiators() { Quiet(); }
  ClusterInitiators(const ClusterInitiators&) = delete;
  ClusterInitiators& operator=(const ClusterInitiators&) = delete;

  void Start() {
    std::vector<std::string> types = {"message", "tcc", "workflow"};
    if (Bank::kXa) types.emplace_back("xa");
    for (const std::string& type : types) {
      threads_.emplace_back([this, type] {
        std::mt19937_64 random(std::hash<std::string>{}(life_ + type) + seed_);
        for (int n = 1; !quiet_; ++n) {
          Begin(type + '-' + life_ + '-' + std::to_string(n));
          std::this_thread::sleep_for(std::chrono::milliseconds(50 + random() % 200));
        }
      });
    }
  }

  /// None begins anything more, and all that began has ended.
  void Quiet() {
    quiet_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void Begin(const std::string& gid) {
    const ClusterPlan plan(gid, seed_);
    log_.Line("I", life_ + ' ' + gid + ' ' + plan.Text());
    bool stored = false;  // it was told so
    const auto body = [&] {
      stored = true;
      Says("A", gid, "prepared");
    };
    try {
      if (plan.type == "message") RunMessage(gid, plan, body);
      if (plan.type == "tcc") RunTcc(gid, plan, body);
      if (plan.type == "xa") RunXa(gid, plan, body);
      if (plan.type == "workflow") (void)workflow_.Execute(gid, gid, OptionsOf());
      if (plan.fate != "dies" && plan.fate != "forgets") Says("A", gid, "succeed");
    } catch (const dtm::InDoubtError& error) {
      Says("U", gid, error.what());
    } catch (const dtm::FailureError&) {
      Says("A", gid, "failed");
    } catch (const std::exception& error) {
      if (plan.type ==
          "workflow") {  // a step, or it was not begun: it is run again if it is stored
        Says("U", gid, error.what());
      } else if (stored) {
        Says("P", gid, error.what());
      } else {
        Says("R", gid, error.what());
      }
    }
  }

  template <typename Stored>
  void RunMessage(const std::string& gid, const ClusterPlan& plan, const Stored& stored) {
    dtm::Msg message = dtm::NewMsg(tm_, gid);
    message.SetRetryInterval(std::chrono::seconds(1)).SetTimeoutToFail(std::chrono::seconds(2));
    for (const Piece& piece : plan.pieces) {
      if (piece.url) {
        message.Add(url_, piece);
      } else {
        message.Add(functions_.first, piece);
      }
    }
    const auto local = [&](const dtm::BranchInfo& info) {
      stored();
      if (plan.fate == "refuse") return dtm::Result::Failure("told to refuse");
      const Piece piece{gid, 0, 0, false, false, plan.asks_url};
      return plan.asks_url ? CallService(info, piece) : functions_.Book(piece, info, false);
    };
    const auto run = [&](const auto& asked) {
      if (plan.fate == "commit" || plan.fate == "refuse") {
        (void)message.DoAndSubmit(asked, local);
        return;
      }
      message.Prepare(asked);
      stored();
      if (plan.fate == "dies") (void)local({gid, dtm::TransType::kMsg, "00", dtm::Op::kMsg, {}});
    };
    if (plan.asks_url) {
      run(url_);
    } else {
      run(functions_.asked);
    }
  }

  dtm::Result CallService(const dtm::BranchInfo& info, const Piece& piece) {
    dtm::InitiatorCall call;
    call.info = info;
    call.url = url_;
    call.payload = nlohmann::json(piece).dump();
    dtm::Endpoint& endpoint = tm_;
    return endpoint.CallBranch(call);
  }

  template <typename Stored>
  void RunTcc(const std::string& gid, const ClusterPlan& plan, const Stored& stored) {
    dtm::TccGlobalTransaction(tm_, gid, OptionsOf(), [&](dtm::Tcc& tcc) {
      stored();
      for (const Piece& piece : plan.pieces) {
        if (piece.url) {
          tcc.CallBranch(piece, url_, url_, url_);
        } else {
          tcc.CallBranch(piece, functions_.first, functions_.then, functions_.then);
        }
      }
    });
  }

  template <typename Stored>
  void RunXa(const std::string& gid, const ClusterPlan& plan, const Stored& stored) {
    dtm::XaGlobalTransaction(tm_, gid, OptionsOf(), [&](dtm::Xa& xa) {
      stored();
      for (const Piece& piece : plan.pieces) xa.CallBranch(nlohmann::json(piece), functions_.xa);
    });
  }

  /// In whatever process. Its steps are its own; only that it is resumed is a call of the coordinator.
  std::string RunWorkflow(dtm::Workflow& workflow, const std::string& gid) {
    Says("A", gid, "prepared");
    const auto info = [&gid](const std::string& branch, dtm::Op op) {
      return dtm::BranchInfo{gid, dtm::TransType::kWorkflow, branch, op, {}};
    };
    if (LastAsked() != 0) functions_.Begins(info("00", dtm::Op::kResume), 0);
    for (const Piece& piece : ClusterPlan(gid, seed_).pieces) {
      dtm::WorkflowBranch branch = workflow.NewBranch();
      if (piece.url) {
        branch.OnRollback(url_, piece).OnCommit(url_, piece);
        branch.Call(url_, piece);
        continue;
      }
      branch.OnRollback(functions_.then, piece).OnCommit(functions_.then, piece);
      branch.Do(
          [&, id = branch.Id()] { return functions_.Act(piece, info(id, dtm::Op::kAction)); });
    }
    return {};
  }

  static dtm::TransOptions OptionsOf() {
    dtm::TransOptions options;
    options.retry_interval = std::chrono::seconds(1);
    options.timeout_to_fail = std::chrono::seconds(2);
    return options;
  }
  void Says(const char* kind, const std::string& gid, const std::string& text) {
    log_.Line(kind, life_ + ' ' + gid + ' ' + dtm::Printable(text));  // in one line
  }

  dtm::Coordinator& tm_;
  ClusterFunctions<Bank>& functions_;
  Log& log_;
  const std::string life_;
  const std::uint64_t seed_;
  const std::string url_;
  dtm::WorkflowHandle<std::string> workflow_;
  std::atomic<bool> quiet_{false};
  std::vector<std::thread> threads_;
};

}  // namespace survival
