/// Workflows that wait for other transactions in a step: the same from Execute and when they are resumed.
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/client/saga.hpp>
#include <dtm/client/workflow.hpp>
#include <dtm/store/memory.hpp>
#include <dtm/testing/test_coordinator.hpp>

using dtm::Status;
using dtm::Workflow;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Lines = std::vector<std::string>;

namespace {

/// A step waits for a saga, another for a workflow.
struct Program {
  void Register(dtm::Coordinator& tm) {
    const auto debit = tm.Register<int>("debit", [this](const int&) { Did("debit"); });
    const auto child = std::make_shared<dtm::WorkflowHandle<int>>(
        dtm::RegisterWorkflow<int>(tm, "child", [this](Workflow& wf, const int&) {
          wf.NewBranch().Do([this] { Did("child"); });
          return std::string("grown up");
        }));
    parent = std::make_unique<dtm::WorkflowHandle<int>>(dtm::RegisterWorkflow<int>(
        tm, "parent", [this, &tm, debit, child](Workflow& wf, const int&) {
          if (dies) throw std::runtime_error("the process is gone");
          wf.NewBranch("saga").Do([&] {
            const auto result = dtm::NewSaga(tm, wf.Gid() + "-saga")
                                    .Add(debit, dtm::kNoBranch, 1)
                                    .SubmitAndWait(seconds(60));
            if (!result.Succeeded()) throw dtm::OngoingError("the saga goes on");
          });
          wf.NewBranch("wait").Do([&] {
            if (!tm.Wait(wf.Gid() + "-saga", seconds(60)).Succeeded())
              throw dtm::OngoingError("later");
            dtm::NewSaga(tm, wf.Gid() + "-saga")
                .Add(debit, dtm::kNoBranch, 1)
                .SetWaitResult()
                .Submit();
          });
          return wf.NewBranch("child").Do([&] { return child->Execute(wf.Gid() + "-child", 1); });
        }));
  }
  void Did(const std::string& what) {
    const std::lock_guard<std::mutex> lock(mutex);
    did.push_back(what);
  }

  bool dies = false;
  std::unique_ptr<dtm::WorkflowHandle<int>> parent;
  std::mutex mutex;
  Lines did;
};

}  // namespace

TEST_CASE("workflow waiting: a step waits for other transactions, executed and resumed alike") {
  Program program;
  TestCoordinator kit([&](dtm::Coordinator& tm) { program.Register(tm); }, dtm_test::Quiet());
  program.dies = GENERATE(false, true);
  if (program.dies) {
    CHECK_THROWS_WITH(program.parent->Execute("g", 1), "the process is gone");
    program.dies = false;
    kit.Crash();
    kit.Advance(seconds(15));
  } else {
    CHECK(program.parent->Execute("g", 1) == "grown up");
  }
  CHECK(kit->Query("g")->status == Status::kSucceed);
  CHECK(kit->Query("g")->result == "grown up");
  CHECK(program.did == Lines{"debit", "child"});
}

TEST_CASE("workflow waiting: the same on threads, and without a thread where the loop is polled") {
  Program program;
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
  program.Register(tm);
  const bool threads = GENERATE(true, false);
  if (threads) tm.Start();
  program.dies = true;
  CHECK_THROWS_WITH(program.parent->Execute("g", 1), "the process is gone");
  program.dies = false;
  tm.RetryNow("g");
  CHECK(tm.Wait("g", seconds(60)).Succeeded());
  CHECK(program.did == Lines{"debit", "child"});
}

TEST_CASE("workflow waiting: a branch function still may not wait, it could wait for itself") {
  TestCoordinator kit({}, dtm_test::Quiet());
  dtm::Coordinator& tm = *kit;
  std::string told;
  const auto waits = tm.Register<int>("waits", [&](const int&) {
    try {
      (void)tm.Wait("g", seconds(1));
    } catch (const dtm::LogicError& error) {
      told = error.what();
    }
  });
  CHECK(dtm::NewSaga(tm, "g").Add(waits, dtm::kNoBranch, 1).SubmitAndWait(seconds(10)).Succeeded());
  CHECK_FALSE(told.empty());
}

TEST_CASE("workflow waiting: resumed workflows that hang take no thread of branch functions") {
  dtm::Options options = dtm_test::Quiet();
  options.max_function_threads = 2;
  options.max_threads_per_function = 2;
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  int inside = 0;
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), options);
  const auto fast = tm.Register<int>("fast", [](const int&) {});
  const auto handle = dtm::RegisterWorkflow<int>(tm, "hangs", [&](Workflow&, const int&) {
    std::unique_lock<std::mutex> lock(mutex);
    ++inside;
    changed.notify_all();
    changed.wait(lock, [&] { return open; });
  });
  tm.Start();
  for (int i = 0; i < 5; ++i) {
    dtm::Definition workflow;
    workflow.gid = "g" + std::to_string(i);
    workflow.type = dtm::TransType::kWorkflow;
    workflow.workflow = "hangs";
    workflow.data = "1";
    workflow.query_prepared = "local:hangs";
    tm.PrepareWorkflow(workflow);
    tm.RetryNow(workflow.gid);
  }
  {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return inside >= 1; });
  }
  CHECK(
      dtm::NewSaga(tm, "saga").Add(fast, dtm::kNoBranch, 1).SubmitAndWait(seconds(60)).Succeeded());
  {
    const std::lock_guard<std::mutex> lock(mutex);
    open = true;
    changed.notify_all();
  }
  for (int i = 0; i < 5; ++i) CHECK(tm.Wait("g" + std::to_string(i), seconds(60)).Succeeded());
}

TEST_CASE("workflow waiting: a workflow and a branch function have different names") {
  TestCoordinator kit({}, dtm_test::Quiet());
  const auto workflow = [&](const std::string& name) {
    dtm::RegisterWorkflow<int>(*kit, name, [](Workflow&, const int&) {});
  };
  kit->Register<int>("a", [](const int&) {});
  workflow("b");
  CHECK_THROWS_AS(workflow("a"), dtm::LogicError);
  CHECK_THROWS_AS(workflow("b"), dtm::LogicError);
  CHECK_THROWS_AS(kit->Register<int>("b", [](const int&) {}), dtm::LogicError);
}

TEST_CASE(
    "workflow waiting: Stop ends the wait of a resumed workflow, and leaves none that was queued") {
  dtm::Options options = dtm_test::Quiet();
  options.max_function_threads = 1;
  options.max_threads_per_function = 1;
  std::mutex mutex;
  std::condition_variable changed;
  int inside = 0;
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), options);
  const auto endless =
      tm.Register<int>("endless", [](const int&) { return dtm::Result::Ongoing("for ever"); });
  const auto handle = dtm::RegisterWorkflow<int>(tm, "waits", [&](Workflow& wf, const int&) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      ++inside;
      changed.notify_all();
    }
    wf.NewBranch().Do([&] {
      (void)dtm::NewSaga(tm, wf.Gid() + "-saga")
          .Add(endless, dtm::kNoBranch, 1)
          .SubmitAndWait(hours(1));
      throw dtm::OngoingError("it was not waited for");
    });
  });
  tm.Start();
  for (int i = 0; i < 3; ++i) {
    dtm::Definition workflow;
    workflow.gid = "g" + std::to_string(i);
    workflow.type = dtm::TransType::kWorkflow;
    workflow.workflow = "waits";
    workflow.data = "1";
    workflow.query_prepared = "local:waits";
    tm.PrepareWorkflow(workflow);
    tm.RetryNow(workflow.gid);
  }
  {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return inside >= 1; });
  }
  CHECK(tm.Stop(seconds(60)));
  CHECK(tm.Query("g0")->status == Status::kPrepared);
}
