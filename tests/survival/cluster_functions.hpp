/// The branches of the cluster's test that are functions, with their effects in the database of the store.
/// Needs: <dtm/dtm.hpp>. Threads: thread-safe.
#pragma once

#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include <nlohmann/json.hpp>

#include "cluster_plan.hpp"
#include "cluster_watch.hpp"
#include "log.hpp"
#include <dtm/barrier/barrier.hpp>
#include <dtm/barrier/xa/xa.hpp>
#include <dtm/dtm.hpp>

namespace survival {

/// `Bank`: made of the address of the business's database, one for each thread. Works() is false once its connection broke,
/// Book(barrier, sql, fails) runs the statement behind the barrier, Asked(barrier) tells whether the local step of a message was
/// committed, and Xa(call, endpoint, sql, fails) is a branch of an xa, if there is kXa.
template <typename Bank>
class ClusterFunctions {
 public:
  ClusterFunctions(dtm::Coordinator& tm, const dtm::Store& store, std::string business, Log& log,
                   std::string life)
      : tm_(tm), store_(store), business_(std::move(business)), log_(log), life_(std::move(life)) {
    const auto call = [this](const Piece& piece, const dtm::BranchInfo& info) {
      Begins(info, piece.step);
      if (piece.gid != info.gid) std::abort();
      return Act(piece, info);
    };
    first = tm_.Register<Piece>("First", call);
    then = tm_.Register<Piece>("Then", call);
    asked = tm_.Register<nlohmann::json>(
        "Asked", [this](const nlohmann::json&, const dtm::BranchInfo& info) {
          Begins(info, 0);
          return WithBank([&](Bank& bank) { return bank.Asked(dtm::BarrierFrom(info)); });
        });
    if constexpr (Bank::kXa) {
      xa = tm_.Register<nlohmann::json>(
          "Xa", [this](const nlohmann::json& piece, const dtm::BranchInfo& info) {
            return Xa(piece, info);
          });
    }
  }
  ClusterFunctions(const ClusterFunctions&) = delete;
  ClusterFunctions& operator=(const ClusterFunctions&) = delete;

  /// Inside a function: who calls it, and when its thread asked the lease.
  void Begins(const dtm::BranchInfo& info, int step) {
    log_.Line("B", life_ + ' ' + info.gid + ' ' + std::to_string(step) + ' ' + Name(info.op) + ' ' +
                       std::to_string(store_.Owner()) + ' ' +
                       std::to_string(std::exchange(LastAsked(), 0)));
  }

  /// Also for steps of workflows, which are called by nobody.
  dtm::Result Act(const Piece& piece, const dtm::BranchInfo& info) {
    const bool first_op = info.op == dtm::Op::kAction || info.op == dtm::Op::kTry;
    if (first_op) std::this_thread::sleep_for(std::chrono::milliseconds(piece.ms));
    dtm::Result result = Book(piece, info, first_op && piece.fails);
    if (first_op && piece.lost && IsFirst(info.gid + ' ' + info.branch_id)) {
      return dtm::Result::Error("the answer is lost");
    }
    return result;
  }

  /// The local step of a message, as the initiator: `info` is that of DoAndSubmit.
  dtm::Result Book(const Piece& piece, const dtm::BranchInfo& info, bool fails) {
    return WithBank([&](Bank& bank) {
      dtm::Barrier barrier = dtm::BarrierFrom(info);
      return bank.Book(barrier, Effect(piece, info), fails);
    });
  }

  dtm::LocalBranch<Piece> first;  ///< an action, a try
  dtm::LocalBranch<Piece> then;   ///< what follows from it: compensate, confirm, cancel, ...
  dtm::LocalBranch<nlohmann::json> asked, xa;

 private:
  static std::string Effect(const Piece& piece, const dtm::BranchInfo& info) {
    return "INSERT INTO effect (gid, step, op) VALUES ('" + piece.gid + "', " +
           std::to_string(piece.step) + ", '" + Name(info.op) + "')";
  }

  dtm::Result Xa(const nlohmann::json& json, const dtm::BranchInfo& info) {
    Begins(info, std::stoi(info.branch_id));
    const bool action = info.op == dtm::Op::kAction;
    const Piece piece = action ? json.get<Piece>() : Piece();
    if (action) std::this_thread::sleep_for(std::chrono::milliseconds(piece.ms));
    return WithBank([&](Bank& bank) {
      const auto call = dtm::XaFrom(info, tm_.UrlOfLocal(xa.name, xa.registered_with));
      if constexpr (Bank::kXa) return bank.Xa(call, tm_, Effect(piece, info), piece.fails);
      return dtm::Result::Error("there is no xa here");
    });
  }

  /// One for each thread.
  static std::unique_ptr<Bank>& BankOfThread() {
    thread_local std::unique_ptr<Bank> bank;
    return bank;
  }

  template <typename Use>
  dtm::Result WithBank(const Use& use) {
    std::unique_ptr<Bank>& bank = BankOfThread();
    try {
      if (bank == nullptr || !bank->Works()) {
        bank.reset();
        bank = std::make_unique<Bank>(business_);
      }
      return use(*bank);
    } catch (const std::exception& error) {
      bank.reset();
      return dtm::Result::Error(error.what());
    }
  }

  bool IsFirst(const std::string& branch) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return lost_.insert(branch).second;
  }

  dtm::Coordinator& tm_;
  const dtm::Store& store_;
  const std::string business_;
  Log& log_;
  const std::string life_;
  std::mutex mutex_;
  std::set<std::string> lost_;
};

}  // namespace survival
