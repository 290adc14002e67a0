/// Generated from include/dtm/testing/test_coordinator.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "failing_store.hpp"
#include "scripted_branches.hpp"
#include "virtual_time.hpp"

// ---- dtm/testing/test_coordinator.hpp ----------------------------------------------------------

/// A coordinator for tests: no threads, no ports, no sleeps; hours pass in a millisecond, and it
/// can crash.
/// Needs: nlohmann/json, SQLite. Threads: one thread.

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

namespace dtm {
inline namespace v1 {
namespace testing {

/// Owns a coordinator on a store in memory. Calls that wait (SubmitAndWait, Wait) let the virtual
/// time pass; to let it pass otherwise, call Advance. URL calls go to Branches().
class TestCoordinator {
 public:
  using Setup = std::function<void(Coordinator&)>;

  /// `setup` registers the functions; it is called again after every crash.
  explicit TestCoordinator(Setup setup = {}, Options options = {},
                           std::shared_ptr<dtm::Store> store = std::make_shared<MemoryStore>())
      : setup_(std::move(setup)),
        options_(std::move(options)),
        stored_(std::move(store)),
        time_(std::make_shared<VirtualTime>()),
        branches_(time_) {
    ActiveTransaction();
  }
  ~TestCoordinator() { Die(); }
  TestCoordinator(const TestCoordinator&) = delete;
  TestCoordinator& operator=(const TestCoordinator&) = delete;

  Coordinator& operator*() { return *coordinator_; }
  Coordinator* operator->() { return coordinator_.get(); }
  ScriptedBranches& Branches() { return branches_; }
  /// The store of this run; a crash makes a new one around the same records.
  FailingStore& Store() { return *store_; }
  VirtualTime& Clock() { return *time_; }

  /// Does what there is to do now, without letting time pass.
  /// @throws LogicError  there is always something more to do.
  void Settle() {
    for (int turns = 0; turns < kTooManyTurns; ++turns) {
      if (coordinator_->Poll() > Duration(0)) return;
    }
    throw LogicError("the coordinator does not come to rest: something goes in circles");
  }

  /// Lets this much time pass, with everything that happens in it.
  void Advance(Duration duration) {
    const Time end = Later(time_->Now(), duration);
    Settle();
    while (time_->Now() < end) {
      const Duration sleep = coordinator_->Poll();
      time_->MoveTowards((std::min)(end, time_->Now() + sleep));
      Settle();
    }
  }

  /// Kill -9 and a new start: changes that were not committed are lost, and so are results on their way.
  void Crash() {
    Die();
    ActiveTransaction();
  }

 private:
  static constexpr int kTooManyTurns = 1000000;

  void ActiveTransaction() {
    auto store = std::make_unique<FailingStore>(stored_);
    auto clock = std::make_unique<VirtualClock>(time_);
    store_ = store.get();
    clock_ = clock.get();
    coordinator_ = std::make_unique<Coordinator>(std::move(store), options_, std::move(clock));
    coordinator_->Use(branches_.NewCaller());
    if (setup_) setup_(*coordinator_);
  }

  /// The coordinator that dies can neither write nor let time pass.
  void Die() {
    clock_->CutOff();
    store_->Rollback();
    store_->FailAlways(StoreFault::kDefinite);
    coordinator_.reset();
  }

  const Setup setup_;
  const Options options_;
  const std::shared_ptr<dtm::Store> stored_;
  const std::shared_ptr<VirtualTime> time_;
  ScriptedBranches branches_;
  FailingStore* store_ = nullptr;
  VirtualClock* clock_ = nullptr;
  std::unique_ptr<Coordinator> coordinator_;
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
