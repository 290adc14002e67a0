/// Writes down when a coordinator asks its lease whether a call may begin: the store and the caller of URLs of the cluster's
/// test, around the real ones.
/// Needs: <dtm/dtm.hpp>. Threads: as the interfaces say.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "log.hpp"
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/store/store.hpp>
#include <dtm/testing/failing_store.hpp>

namespace survival {

/// When this thread asked last whether a call may begin, and it might; a function that begins takes the answer. 0: it did not
/// ask.
inline std::int64_t& LastAsked() {
  thread_local std::int64_t micros = 0;
  return micros;
}

/// Tells how late after that a call began: its thread may have been stopped in between, which no lease covers.
class WatchedLease : public dtm::Lease {
 public:
  explicit WatchedLease(std::shared_ptr<const dtm::Lease> lease) : lease_(std::move(lease)) {}
  bool Holds() const override {
    const std::int64_t asked = Log::Now();
    const bool holds = lease_->Holds();
    if (holds) LastAsked() = asked;
    return holds;
  }

 private:
  const std::shared_ptr<const dtm::Lease> lease_;
};

class WatchedStore : public dtm::testing::FailingStore {
 public:
  explicit WatchedStore(std::shared_ptr<dtm::Store> store)
      : FailingStore(store), store_(std::move(store)) {}
  std::shared_ptr<const dtm::Lease> OurLease() const override {
    auto lease = store_->OurLease();
    if (lease == nullptr) return nullptr;
    return std::make_shared<WatchedLease>(std::move(lease));
  }

 private:
  const std::shared_ptr<dtm::Store> store_;
};

/// Gives each request a name, `LIFE NUMBER`, which the service writes down when it arrives. An initiator's own call, which no
/// lease covers, is `LIFE -`.
class WatchedCaller : public dtm::BranchCaller {
 public:
  static constexpr const char* kHeader = "X-Caller";

  WatchedCaller(std::unique_ptr<dtm::BranchCaller> caller, Log& log, std::string life)
      : caller_(std::move(caller)), log_(log), life_(std::move(life)) {}

  void Call(std::vector<dtm::BranchCall> calls, dtm::BranchResults& results) override {
    for (dtm::BranchCall& call : calls) Name(call);
    caller_->Call(std::move(calls), results);
  }
  dtm::CallLoad Load() override { return caller_->Load(); }
  void Stop() override { caller_->Stop(); }

 private:
  /// Writes down each time that the request might be sent.
  class NotedLease : public dtm::Lease {
   public:
    NotedLease(std::shared_ptr<const dtm::Lease> lease, Log& log, std::string name)
        : lease_(std::move(lease)), log_(log), name_(std::move(name)) {}
    bool Holds() const override {
      const std::int64_t asked = Log::Now();
      if (!lease_->Holds()) return false;
      log_.Line("W", name_ + ' ' + std::to_string(asked));
      return true;
    }

   private:
    const std::shared_ptr<const dtm::Lease> lease_;
    Log& log_;
    const std::string name_;
  };

  void Name(dtm::BranchCall& call) {
    const std::string name = life_ + ' ' + (call.lease ? std::to_string(++calls_) : "-");
    auto definition = std::make_shared<dtm::Definition>(*call.definition);
    definition->options.branch_headers[kHeader] = name;
    call.definition = std::move(definition);
    if (call.lease) call.lease = std::make_shared<NotedLease>(std::move(call.lease), log_, name);
  }

  const std::unique_ptr<dtm::BranchCaller> caller_;
  Log& log_;
  const std::string life_;
  std::atomic<std::uint64_t> calls_{0};
};

}  // namespace survival
