/// Generated from include/dtm/testing/replay_coordinators.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "failing_store.hpp"
#include "virtual_time.hpp"

// ---- dtm/testing/replay_coordinators.hpp -------------------------------------------------------

/// The two coordinators of a replay: one drives the transaction, and is told when each call ends, and how; the other has the
/// functions of the program.
/// Needs: nlohmann/json, SQLite. Threads: one thread; the steps of a workflow may use several.

#include <algorithm>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace dtm {
inline namespace v1 {
namespace testing {

/// It has no functions, and tells its transactions when one is there.
class FunctionlessCoordinator final : public Coordinator {
 public:
  using Coordinator::Coordinator;
  void Found(const std::string& url) {
    (void)Checked().inbox.Push(About(url, Command::Kind::kRegistered));
  }
};

/// It drives one transaction, whose calls begin and do not end before they are told to.
class ReplayCoordinator {
 public:
  using InCommit = std::function<Result(const BranchInfo&)>;

  /// The options by which it waits, as recorded, or as given if that is not known.
  static Options WithSettings(const Options& given, const ExportSettings& recorded) {
    Options options;
    options.log = given.log;
    const bool known = recorded.retry_interval.count() > 0;
    options.retry_interval = known ? recorded.retry_interval : given.retry_interval;
    options.request_timeout = known ? recorded.request_timeout : given.request_timeout;
    options.timeout_to_fail = known ? recorded.timeout_to_fail : given.timeout_to_fail;
    return options;
  }

  /// `in_commit` gives the results of functions inside a commit.
  ReplayCoordinator(Options options, const Definition& definition, InCommit in_commit)
      : options_(Quiet(std::move(options))), in_commit_(std::move(in_commit)) {
    std::set<std::string> schemes = {"local", "http", "https"};
    AddUrl(definition.query_prepared, schemes);
    for (const Step& step : definition.steps) {
      AddUrl(step.action, schemes);
      AddUrl(step.compensate, schemes);
    }
    schemes_.assign(schemes.begin(), schemes.end());
    Open();
  }
  ~ReplayCoordinator() { Die(); }
  ReplayCoordinator(const ReplayCoordinator&) = delete;
  ReplayCoordinator& operator=(const ReplayCoordinator&) = delete;

  Coordinator* operator->() { return coordinator_.get(); }
  Time Now() const { return time_->Now(); }

  /// The time goes on in one step: what was due between is done when it is there.
  void MoveTo(Time time) { time_->Set((std::max)(time, time_->Now())); }

  /// Does what there is to do now.
  /// @throws LogicError  there is always something more to do.
  void Settle() {
    for (int turns = 0; turns < kTooManyTurns; ++turns) {
      if (coordinator_->Poll() > Duration(0)) return;
    }
    throw LogicError("the replay does not come to rest: something goes in circles");
  }

  /// The function of this url is registered now.
  void Find(const std::string& url) {
    if (IsLocal(url)) coordinator_->Found(url);
    Settle();
  }

  /// Asks the coordinator for something, in the turn that takes what arrived before. Returns why it refused.
  /// @throws StoreError, LogicError  as what is asked.
  template <typename Ask>
  std::string Do(const Ask& ask) {
    const auto refused = std::make_shared<std::string>();
    try {
      ask(*coordinator_, [refused](const Answer& answer) { *refused = Refusal(answer); });
    } catch (const RejectedError& error) {
      return error.what();
    }
    Settle();
    return *refused;
  }

  bool IsCalling(std::size_t row) const { return calls_.count(row) > 0; }
  /// The call of this row ends.
  void End(std::size_t row, Result result) {
    const auto call = calls_.find(row);
    BranchCall ended = std::move(call->second);
    calls_.erase(call);
    results_->Done(std::move(ended), std::move(result));
  }

  /// Kill -9 and a new process, `later`.
  void Crash(Duration later = {}) {
    Die();
    time_->Set(time_->Now() + later);
    Open();
  }
  /// The process stops: results that have arrived are stored, and nothing is called any more.
  void Stop() { (void)coordinator_->Stop(Duration(0)); }

 private:
  static constexpr int kTooManyTurns = 100000;

  class Caller : public BranchCaller {
   public:
    Caller(ReplayCoordinator& owner, std::vector<std::string> schemes)
        : owner_(owner), schemes_(std::move(schemes)) {}
    std::vector<std::string> Schemes() const override { return schemes_; }
    void Call(std::vector<BranchCall> calls, BranchResults& results) override {
      owner_.results_ = &results;
      for (BranchCall& call : calls) {
        const std::size_t row = call.row;
        owner_.calls_[row] = std::move(call);
      }
    }
    void Stop() override { owner_.calls_.clear(); }

   private:
    ReplayCoordinator& owner_;
    const std::vector<std::string> schemes_;
  };

  static Options Quiet(Options options) {
    options.log = nullptr;
    options.history = kLastAttempts;  // as much as can be kept
    options.keep_finished = options.keep_gids = (Duration::max)();
    return options;
  }

  static std::string Refusal(const Answer& answer) {
    if (!answer.error) return {};
    try {
      std::rethrow_exception(answer.error);
    } catch (const RejectedError& error) {
      return error.what();
    } catch (const std::exception&) {  // how it ended is no refusal
      return {};
    }
  }

  void AddUrl(const std::string& url, std::set<std::string>& schemes) {
    if (RunsInTransaction(url)) {
      names_in_commit_.insert(url.substr(kLocalPrefixSize + sizeof(kInTransactionPrefix) - 1));
    }
    const std::string scheme = SchemeOf(url);
    if (!scheme.empty()) schemes.insert(scheme);
  }

  void Open() {
    auto store = std::make_unique<FailingStore>(inner_);
    auto clock = std::make_unique<VirtualClock>(time_);
    store_ = store.get();
    clock_ = clock.get();
    coordinator_ =
        std::make_unique<FunctionlessCoordinator>(std::move(store), options_, std::move(clock));
    coordinator_->Use(std::make_unique<Caller>(*this, schemes_));
    for (const std::string& name : names_in_commit_) {
      (void)coordinator_->RegisterInTransaction<nlohmann::json>(
          name, [this](const WorkContext&, const nlohmann::json&, const BranchInfo& info) {
            return in_commit_(info);
          });
    }
  }
  void Die() {
    clock_->CutOff();
    store_->Rollback();
    store_->FailAlways(StoreFault::kDefinite);
    coordinator_.reset();
    calls_.clear();
  }

  const Options options_;
  const InCommit in_commit_;
  std::set<std::string> names_in_commit_;
  std::vector<std::string> schemes_;
  const std::shared_ptr<VirtualTime> time_ = std::make_shared<VirtualTime>();
  const std::shared_ptr<Store> inner_ = std::make_shared<MemoryStore>();
  FailingStore* store_ = nullptr;
  VirtualClock* clock_ = nullptr;
  std::map<std::size_t, BranchCall> calls_;  // by row
  BranchResults* results_ = nullptr;
  std::unique_ptr<FunctionlessCoordinator> coordinator_;
};

/// What a workflow asks of its coordinator while it runs.
class WorkflowScript {
 public:
  virtual ~WorkflowScript() = default;
  virtual WorkflowState StateNow() = 0;
  virtual void Record(const Step& step) = 0;
  virtual void End(Status status, const std::string& reason, const std::string& result) = 0;
  virtual Result Call(const InitiatorCall& call) = 0;
};

class ReplayHome final : public Coordinator {
 public:
  ReplayHome(std::string gid, WorkflowScript& script, const Options& options)
      : Coordinator(std::make_unique<MemoryStore>(), options,
                    std::make_unique<VirtualClock>(std::make_shared<VirtualTime>())),
        gid_(std::move(gid)),
        script_(script) {}

  bool Has(const std::string& function) {
    return static_cast<bool>(Checked().functions.Find(function));
  }

  WorkflowState ResumeWorkflow(Definition definition) override {
    if (definition.gid != gid_) return Coordinator::ResumeWorkflow(std::move(definition));
    return script_.StateNow();
  }
  void RegisterBranch(const std::string& gid, TransType type, Step step) override {
    if (gid != gid_) return Coordinator::RegisterBranch(gid, type, std::move(step));
    script_.Record(step);
  }
  void FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                      const std::string& result) override {
    if (gid != gid_) return Coordinator::FinishWorkflow(gid, status, reason, result);
    script_.End(status, reason, result);
  }
  Result CallBranch(const InitiatorCall& call) override {
    const bool ours = IsLocal(call.url) && Has(call.url.substr(kLocalPrefixSize));
    if (ours || call.url.empty()) return Coordinator::CallBranch(call);
    if (call.info.gid == gid_) return script_.Call(call);
    throw LogicError("gid '" + call.info.gid + "': a replay of '" + gid_ +
                     "' calls no URLs: " + ShownUrl(call.url));
  }

 private:
  const std::string gid_;
  WorkflowScript& script_;
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
