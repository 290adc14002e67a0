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
#include <chrono>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace testing {

/// Owns a coordinator on a store in memory. Calls that wait (SubmitAndWait, Wait) let the virtual
/// time pass; to let it pass otherwise, call Advance. URL calls go to Branches().
class TestCoordinator {
 public:
  /// Registers functions with a coordinator that was just made.
  using Setup = std::function<void(Coordinator&)>;
  /// Opens the store of one run.
  using OpenStore = std::function<std::shared_ptr<dtm::Store>()>;

  /// `setup` registers the functions; it is called again after every crash.
  explicit TestCoordinator(
      Setup setup = {}, Options options = {},
      const std::shared_ptr<dtm::Store>& store = std::make_shared<MemoryStore>())
      : TestCoordinator(
            std::move(setup), std::move(options), [store] { return store; },
            std::make_shared<VirtualTime>()) {}
  /// One of several on one store, in the same time, see SharedMemoryStore. `open` is called again after every crash.
  TestCoordinator(Setup setup, Options options, OpenStore open, std::shared_ptr<VirtualTime> time)
      : setup_(std::move(setup)),
        options_(std::move(options)),
        open_(std::move(open)),
        time_(std::move(time)),
        branches_(time_) {
    ActiveTransaction();
  }
  ~TestCoordinator() { Die(); }
  TestCoordinator(const TestCoordinator&) = delete;
  TestCoordinator& operator=(const TestCoordinator&) = delete;

  /// The coordinator of this run; a crash makes a new one.
  Coordinator& operator*() { return *coordinator_; }
  /// The same.
  Coordinator* operator->() { return coordinator_.get(); }
  /// What calls of URLs go to.
  ScriptedBranches& Branches() { return branches_; }
  /// The store of this run; a crash makes a new one around the same records.
  FailingStore& Store() { return *store_; }
  /// The time that it lives in.
  VirtualTime& Clock() { return *time_; }

  /// Does what there is to do now, without letting time pass.
  /// @throws LogicError  there is always something more to do.
  void Settle() { (void)Settle({this}); }

  /// Lets this much time pass, with everything that happens in it.
  void Advance(Duration duration) { AdvanceAll({this}, duration); }

  /// The same with all that happens at several coordinators of the same time.
  /// @throws LogicError  as Settle.
  static void AdvanceAll(const std::vector<TestCoordinator*>& all, Duration duration) {
    VirtualTime& time = all.at(0)->Clock();
    const Time end = Later(time.Now(), duration);
    for (;;) {
      const Duration sleep = Settle(all);
      if (time.Now() >= end) return;
      time.MoveTowards((std::min)(end, time.Now() + sleep));
    }
  }

  /// Kill -9 and a new start: changes that were not committed are lost, and so are results on their way.
  void Crash() {
    Die();
    ActiveTransaction();
  }

 private:
  static constexpr int kTooManyTurns = 1000000;

  /// Returns how long nothing happens then.
  static Duration Settle(const std::vector<TestCoordinator*>& all) {
    for (int turns = 0; turns < kTooManyTurns; ++turns) {
      Duration sleep = std::chrono::hours(1);
      for (TestCoordinator* one : all) sleep = (std::min)(sleep, one->coordinator_->Poll());
      if (sleep > Duration(0)) return sleep;
    }
    throw LogicError("the coordinator does not come to rest: something goes in circles");
  }

  void ActiveTransaction() {
    auto store = std::make_unique<FailingStore>(open_());
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
  const OpenStore open_;
  const std::shared_ptr<VirtualTime> time_;
  ScriptedBranches branches_;
  FailingStore* store_ = nullptr;
  VirtualClock* clock_ = nullptr;
  std::unique_ptr<Coordinator> coordinator_;
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
