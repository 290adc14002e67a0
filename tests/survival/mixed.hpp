/// What the survival worker does besides sagas of branches outside: messages with a local commit elsewhere, messages
/// and rows in one commit, tcc, xa, workflows, and sagas whose branches write to the coordinator's file. Each from a few
/// threads of its own, which die with the process wherever they are.
/// Needs: <dtm/http.hpp>, SQLite. Threads: Mixed starts its own; the rest by main.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sqlite3.h>

#include "branches.hpp"
#include "plan.hpp"
#include <dtm/dtm.hpp>

namespace survival {

/// One statement with a gid, a branch and an op in it; calls `row` for each row.
inline void Sql(
    sqlite3* db, const char* text, const std::string& gid = {}, const std::string& branch = {},
    const std::string& op = {},
    const std::function<void(sqlite3_stmt*)>& row = [](sqlite3_stmt*) {}) {
  sqlite3_stmt* statement = nullptr;
  int code = sqlite3_prepare_v2(db, text, -1, &statement, nullptr);
  if (code == SQLITE_OK) {
    const std::string* values[] = {&gid, &branch, &op};
    for (int i = 0; i < sqlite3_bind_parameter_count(statement); ++i) {
      sqlite3_bind_text(statement, i + 1, values[i]->c_str(), -1, SQLITE_TRANSIENT);
    }
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) row(statement);
  }
  const std::string error = sqlite3_errmsg(db);
  sqlite3_finalize(statement);
  if (code != SQLITE_DONE) throw std::runtime_error(error);
}

/// The rows that branches have left in the coordinator's file, as they were when it was opened. No key forbids two.
class Rows {
 public:
  void Read(sqlite3* db) {
    Sql(db, "CREATE TABLE IF NOT EXISTS effect (gid TEXT, branch TEXT, op TEXT)");
    Sql(db, "CREATE TABLE IF NOT EXISTS outbox (gid TEXT)");
    if (read_) return;
    read_ = true;
    const auto text = [](sqlite3_stmt* row, int column) {
      return std::string(reinterpret_cast<const char*>(sqlite3_column_text(row, column)));
    };
    Sql(db, "SELECT gid, branch, op FROM effect", {}, {}, {}, [&](sqlite3_stmt* row) {
      ++counts_[text(row, 0) + ' ' + text(row, 1) + ' ' + text(row, 2)];
    });
    Sql(db, "SELECT gid FROM outbox", {}, {}, {},
        [&](sqlite3_stmt* row) { outbox_.push_back(text(row, 0)); });
  }

  /// Says of everything that is stored how far it is, and what rows there are: `say(kind, rest)`.
  template <typename Say>
  void Tell(const dtm::Transaction& transaction, const Say& say) {
    const dtm::Definition& definition = *transaction.definition;
    say("D", definition.gid + ' ' + Name(transaction.status));
    if (definition.type == dtm::TransType::kWorkflow &&
        transaction.status == dtm::Status::kSucceed) {
      say("W", definition.gid + ' ' + transaction.result);
    }
    for (std::size_t row = 0; row < transaction.branches.size(); ++row) {
      if (!dtm::RunsInTransaction(UrlOf(definition, row))) continue;
      const std::string key =
          definition.gid + ' ' + BranchIdOf(definition, row) + ' ' + Name(OpOf(definition, row));
      say("S",
          key + ' ' + Name(transaction.branches[row].status) + ' ' + std::to_string(counts_[key]));
    }
  }
  template <typename Say>
  void TellOutbox(const Say& say) const {
    for (const std::string& gid : outbox_) say("O", gid);
  }

 private:
  bool read_ = false;
  std::map<std::string, int> counts_;
  std::vector<std::string> outbox_;
};

/// The clients, and the functions they need. Before Start.
class Mixed {
 public:
  using Ended = std::function<void(const std::string&, dtm::Status)>;
  using Accepted = std::function<void(const std::string&)>;

  Mixed(dtm::Coordinator& tm, Log& log, Branches& branches, const std::string& local_file,
        const std::string& url, std::uint64_t seed, std::string life, Accepted accepted,
        Ended ended)
      : tm_(tm),
        log_(log),
        branches_(branches),
        url_(url),
        planner_(seed),
        seed_(seed),
        life_(std::move(life)),
        accepted_(std::move(accepted)),
        ended_(std::move(ended)) {
    if (sqlite3_open(local_file.c_str(), &local_) != SQLITE_OK) {
      throw std::runtime_error("cannot open " + local_file);
    }
    // What is killed is the process, so nothing needs to reach the disk.
    Sql(local_, "PRAGMA synchronous = OFF");
    Sql(local_, "CREATE TABLE IF NOT EXISTS local (gid TEXT)");
    dtm::CreateBarrierTable(local_);
    barriers_ = std::make_unique<dtm::SqliteBarrierTable>(local_);
    const auto call = [this](const Order& order, const dtm::BranchInfo& info) {
      return branches_.Call(order, info);
    };
    do_ = tm_.Register<Order>("Do", call);
    after_ = tm_.Register<Order>("After", call);
    undo_ = tm_.Register<Order>("Undo", call);
    // As a database with XA: what it has prepared it has registered, and it is told commit or rollback.
    xa_ = tm_.Register<Order>("Xa", [this](const Order& order, const dtm::BranchInfo& info) {
      if (info.op == dtm::Op::kAction) {
        dtm::Step branch;
        branch.branch_id = info.branch_id;
        branch.action = branch.compensate = tm_.UrlOfLocal(xa_.name, xa_.registered_with);
        branch.payload = nlohmann::json(order).dump();
        tm_.RegisterBranch(info.gid, dtm::TransType::kXa, std::move(branch));
      }
      return branches_.Call(order, info);
    });
    was_it_committed_ = tm_.Register<nlohmann::json>(
        "WasItCommitted", [this](const nlohmann::json&, const dtm::BranchInfo& info) {
          const std::lock_guard<std::mutex> lock(local_mutex_);
          return barriers_->QueryPrepared(dtm::BarrierFrom(info));
        });
    const auto leave = [this](sqlite3* db, const Order& order, const dtm::BranchInfo& info) {
      Sql(db, "INSERT INTO effect VALUES (?1, ?2, ?3)", info.gid, info.branch_id, Name(info.op));
      return branches_.Quietly(order, info);  // if that is no success, the row has to vanish
    };
    leave_ = tm_.RegisterInTransaction<Order>("Leave", leave);
    take_back_ = tm_.RegisterInTransaction<Order>("TakeBack", leave);
    workflow_ = std::make_unique<dtm::WorkflowHandle<Order>>(dtm::RegisterWorkflow<Order>(
        tm_, "Workflow", [this](dtm::Workflow& workflow, const Order& order) {
          return RunWorkflow(workflow, order);
        }));
  }
  ~Mixed() {
    Stop();
    barriers_.reset();
    sqlite3_close(local_);
  }
  Mixed(const Mixed&) = delete;
  Mixed& operator=(const Mixed&) = delete;

  /// Keeps about so many unfinished; `unfinished` says how many there are.
  void Load(const std::function<bool()>& enough) {
    static constexpr const char* kKinds[] = {"message", "outbox", "tcc",      "workflow", "message",
                                             "tcc",     "rows",   "workflow", "xa",       "xa"};
    for (std::size_t i = 0; i < std::size(kKinds); ++i) {
      threads_.emplace_back([this, enough, kind = kKinds[i], i] {
        std::mt19937_64 random(seed_ * 1000 + std::stoull(life_) * 10 + i);
        for (int n = 1; !stopping_; ++n) {
          if (enough()) {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            continue;
          }
          Begin(std::string(kind) + "-" + life_ + "-" + std::to_string(i) + "." + std::to_string(n),
                random);
        }
      });
    }
  }
  void Stop() {
    stopping_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  /// Also for one that a previous run may have submitted.
  void SubmitRows(const std::string& gid) {
    dtm::Saga saga = dtm::NewSaga(tm_, gid).SetRetryInterval(std::chrono::seconds(1));
    for (const PlannedStep& step : planner_.PlanOf(gid).steps) {
      if (step.in_transaction) {
        saga.Add(leave_, take_back_, step.order);
      } else if (step.url) {
        saga.Add(Url(step, "action"), Url(step, "compensate"), step.order);
      } else {
        saga.Add(do_, undo_, step.order);
      }
    }
    saga.AddBranchHeader("X-Saga", gid);
    try {
      const dtm::TransResult result = saga.Submit();
      Says(gid, "A");
      if (result.Finished()) ended_(gid, result.status);
    } catch (const dtm::FailureError&) {
      Says(gid, "A");
      ended_(gid, dtm::Status::kFailed);
    } catch (const std::exception& error) {
      Says(gid, "R", error.what());
    }
  }

 private:
  void Begin(const std::string& gid, std::mt19937_64& random) {
    const Plan plan = planner_.PlanOf(gid);
    log_.Line("I", life_ + ' ' + gid + ' ' + plan.ToJson().dump());
    const auto pause = [&random] {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 8000));
    };
    if (plan.type == "message") return RunMessage(gid, plan, pause);
    if (plan.type == "outbox") return RunOutbox(gid, plan);
    if (plan.type == "tcc") return RunTcc(gid, plan, pause);
    if (plan.type == "xa") return RunXa(gid, plan, pause);
    if (plan.type == "rows") return SubmitRows(gid);
    try {
      (void)workflow_->Execute(gid, plan.steps[0].order, OptionsOf(gid));
      ended_(gid, dtm::Status::kSucceed);
    } catch (const dtm::FailureError&) {
      ended_(gid, dtm::Status::kFailed);
    } catch (const dtm::StoreError& error) {
      Says(gid, "R", error.what());
    } catch (const std::exception&) {  // a step: the coordinator has it run again
    }
  }

  dtm::Msg MessageOf(dtm::Endpoint& endpoint, const std::string& gid, const Plan& plan) {
    dtm::Msg message = dtm::NewMsg(endpoint, gid);
    message.SetRetryInterval(std::chrono::seconds(1)).SetTimeoutToFail(std::chrono::seconds(2));
    message.AddBranchHeader("X-Saga", gid);
    for (const PlannedStep& step : plan.steps) {
      if (step.url) {
        message.Add(Url(step, "action"), step.order);
      } else {
        message.Add(do_, step.order);
      }
    }
    return message;
  }

  template <typename Pause>
  void RunMessage(const std::string& gid, const Plan& plan, const Pause& pause) {
    dtm::Msg message = MessageOf(tm_, gid, plan);
    const auto commit = [&](const dtm::BranchInfo& info) {
      Says(gid, "A");
      pause();
      if (plan.fate == "refuse") return dtm::Result::Failure("told to refuse");
      {
        const std::lock_guard<std::mutex> lock(local_mutex_);
        dtm::Barrier barrier = dtm::BarrierFrom(info);
        const dtm::Result done = barriers_->Call(
            barrier, [&](sqlite3* db) { Sql(db, "INSERT INTO local VALUES (?1)", gid); });
        if (done.kind != dtm::Result::Kind::kSuccess) return done;
      }
      pause();
      if (plan.fate == "lost") throw std::runtime_error("told to lose the answer");
      return dtm::Result::Success();
    };
    try {
      if (plan.fate == "dies" || plan.fate == "forgets") {
        message.Prepare(was_it_committed_);
        Says(gid, "A");
        if (plan.fate == "dies") (void)commit({gid, dtm::TransType::kMsg, "00", dtm::Op::kMsg, {}});
        return;
      }
      message.DoAndSubmit(was_it_committed_, commit);
      Says(gid, "Y", "succeed");
    } catch (const dtm::FailureError&) {
      Says(gid, "Y", "failed");
    } catch (const dtm::DuplicatedError&) {  // it was asked for before
      Says(gid, "Y", "failed");
    } catch (const std::exception& error) {
      Says(gid, "R", error.what());
    }
  }

  void RunOutbox(const std::string& gid, const Plan& plan) {
    try {
      tm_.Transact([&](dtm::Tx& tx) {
        Sql(tx.Db(), "INSERT INTO outbox VALUES (?1)", gid);
        MessageOf(tx, gid, plan).Submit();
        if (plan.fate == "refuse") throw dtm::FailureError("told to refuse");
      });
      Says(gid, "A");
      Says(gid, "Y", "succeed");
    } catch (const dtm::FailureError&) {
      Says(gid, "Y", "nothing");
    } catch (const std::exception& error) {
      Says(gid, "R", error.what());
    }
  }

  template <typename Pause>
  void RunTcc(const std::string& gid, const Plan& plan, const Pause& pause) {
    bool tried = false;
    Promise(gid, tried, [&] {
      dtm::TccGlobalTransaction(tm_, gid, OptionsOf(gid), [&](dtm::Tcc& tcc) {
        Says(gid, "A");
        for (const PlannedStep& step : plan.steps) {
          if (step.url) {
            tcc.CallBranch(step.order, Url(step, "try"), Url(step, "confirm"), Url(step, "cancel"));
          } else {
            tcc.CallBranch(step.order, do_, after_, undo_);
          }
          pause();
        }
        tried = true;
      });
    });
  }

  template <typename Pause>
  void RunXa(const std::string& gid, const Plan& plan, const Pause& pause) {
    bool tried = false;
    Promise(gid, tried, [&] {
      dtm::XaGlobalTransaction(tm_, gid, OptionsOf(gid), [&](dtm::Xa& xa) {
        Says(gid, "A");
        for (const PlannedStep& step : plan.steps) {
          if (step.url) {
            xa.CallBranch(step.order, Url(step, "xa"));
          } else {
            xa.CallBranch(step.order, xa_);
          }
          pause();
        }
        tried = true;
      });
    });
  }

  /// Writes down what the initiator is told; `tried` says whether it wanted success.
  template <typename Run>
  void Promise(const std::string& gid, const bool& tried, const Run& run) {
    try {
      run();
      Says(gid, "Y", "succeed");
    } catch (const dtm::FailureError&) {
      Says(gid, "Y", "failed");
    } catch (const dtm::RejectedError&) {  // its timeout came first
      Says(gid, "Y", "failed");
    } catch (const std::exception& error) {
      Says(gid, tried ? "R" : "Y", tried ? error.what() : "failed");
    }
  }

  /// Step by step; the text it returns has the number of each call whose answer it got.
  std::string RunWorkflow(dtm::Workflow& workflow, const Order& order) {
    Says(order.gid, "A");
    const Plan plan = planner_.PlanOf(order.gid);
    std::string result;
    for (const PlannedStep& step : plan.steps) {
      dtm::WorkflowBranch branch = workflow.NewBranch();
      const auto info = [&, id = branch.Id()](dtm::Op op) {
        return dtm::BranchInfo{order.gid, dtm::TransType::kWorkflow, id, op, {}};
      };
      if (step.url) {
        branch.OnRollback(Url(step, "rollback"), step.order);
        branch.OnCommit(Url(step, "commit"), step.order);
        branch.Call(Url(step, "action"), step.order);
        continue;
      }
      branch.OnRollback(undo_, step.order);
      branch.OnCommit(after_, step.order);
      const std::string number = branch.Do([&] {
        std::string call;
        const dtm::Result done = branches_.Call(step.order, info(dtm::Op::kAction), &call);
        if (done.kind == dtm::Result::Kind::kFailure) throw dtm::FailureError(done.text);
        if (done.kind != dtm::Result::Kind::kSuccess) throw std::runtime_error("not yet");
        return call;
      });
      result += (result.empty() ? "" : ",") + std::to_string(step.order.step) + ":" + number;
    }
    return result.empty() ? "-" : result;
  }

  dtm::TransOptions OptionsOf(const std::string& gid) const {
    dtm::TransOptions options;
    options.retry_interval = std::chrono::seconds(1);
    options.timeout_to_fail = std::chrono::seconds(2);
    options.branch_headers["X-Saga"] = gid;
    return options;
  }
  std::string Url(const PlannedStep& step, const char* op) const {
    return url_ + "/" + std::to_string(step.order.step) + "/" + op;
  }
  void Says(const std::string& gid, const char* kind, const std::string& what = {}) {
    log_.Line(kind, life_ + ' ' + gid + (what.empty() ? "" : ' ' + what));
    if (*kind == 'A') accepted_(gid);
  }

  dtm::Coordinator& tm_;
  Log& log_;
  Branches& branches_;
  const std::string url_;
  Planner planner_;
  const std::uint64_t seed_;
  const std::string life_;
  const Accepted accepted_;
  const Ended ended_;
  std::mutex local_mutex_;
  sqlite3* local_ = nullptr;
  std::unique_ptr<dtm::SqliteBarrierTable> barriers_;
  dtm::LocalBranch<Order> do_, after_, undo_, xa_, leave_, take_back_;
  dtm::LocalBranch<nlohmann::json> was_it_committed_;
  std::unique_ptr<dtm::WorkflowHandle<Order>> workflow_;
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace survival
