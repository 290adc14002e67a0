/// Who drives: a thread or the callers; callbacks, misuse, Stop. Real threads here, so that the
/// thread sanitizer sees them; nothing sleeps, everything waits for something to happen.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/world.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Coordinator;
using dtm::MemoryStore;
using dtm::Result;
using dtm::Status;
using dtm::testing::FailingStore;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using world::NewDefinition;
using world::World;

namespace {

std::unique_ptr<Coordinator> NewCoordinator(
    std::shared_ptr<MemoryStore> store = std::make_shared<MemoryStore>()) {
  return std::make_unique<Coordinator>(std::make_unique<FailingStore>(std::move(store)),
                                       dtm_test::Quiet());
}

dtm::Definition LocalSaga(const std::string& gid, std::vector<std::string> names) {
  dtm::Definition definition;
  definition.gid = gid;
  for (const auto& name : names) definition.steps.push_back({"local:" + name, "", "1"});
  return definition;
}

/// A function that runs until it is let go.
struct Gate {
  std::promise<void> entered;
  std::promise<void> open;
  std::shared_future<void> opened{open.get_future()};
  void Pass() {
    entered.set_value();
    opened.wait();
  }
  void WaitUntilEntered() { entered.get_future().wait(); }
};

/// Runs it in a child process with a time limit: what hangs must not hang the tests. True: it
/// returned true in time.
template <typename Function>
bool InChild(const Function& function) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::alarm(20);
    bool good = false;
    try {
      good = function();
    } catch (...) {
    }
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

template <typename Function>
bool ThrowsLogicError(const Function& function) {
  try {
    function();
  } catch (const dtm::LogicError&) {
    return true;
  } catch (...) {
  }
  return false;
}

}  // namespace

TEST_CASE("driver: with a thread, many threads submit and wait") {
  auto tm = NewCoordinator();
  std::atomic<int> done{0};
  tm->Register<int>("A", [&done](const int&) { ++done; });
  tm->Register<int>("B", [&done](const int& n) -> Result {
    ++done;
    return n < 0 ? Result::Failure("negative") : Result::Success();
  });
  tm->Start();
  std::atomic<int> succeeded{0}, failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        auto definition = LocalSaga(std::to_string(t) + "-" + std::to_string(i), {"A", "B"});
        if (i % 5 == 0) definition.steps[1].payload = "-1";
        const auto result = tm->SubmitAndWait(definition, hours(1));
        (result.Succeeded() ? succeeded : failed) += 1;
        (void)tm->Query(definition.gid);
        (void)tm->List();
        (void)tm->Explain(definition.gid);
        (void)tm->NewGid();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(succeeded == 80);
  CHECK(failed == 20);
  CHECK(done == 200);
  CHECK(tm->Stop(seconds(10)));
}

TEST_CASE("driver: without a thread, several threads that wait drive it together") {
  auto tm = NewCoordinator();
  tm->Register<int>("A", [](const int&) {});
  const auto begin = std::chrono::steady_clock::now();
  std::atomic<int> succeeded{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const auto gid = std::to_string(t) + "-" + std::to_string(i);
        succeeded += tm->SubmitAndWait(LocalSaga(gid, {"A", "A"}), hours(1)).Succeeded();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(succeeded == 800);
  // An answer that another one's turn gave is not noticed only at the next tick of 5 s.
  CHECK(std::chrono::steady_clock::now() - begin < seconds(4));
}

TEST_CASE("driver: Start while others drive it") {
  for (int round = 0; round < 20; ++round) {
    auto tm = NewCoordinator();
    tm->Register<int>("A", [](const int&) {});
    std::atomic<int> succeeded{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 5; ++i) {
          const auto gid = std::to_string(t) + "-" + std::to_string(i);
          succeeded += tm->SubmitAndWait(LocalSaga(gid, {"A"}), hours(1)).Succeeded();
        }
      });
    }
    tm->Start();
    for (auto& thread : threads) thread.join();
    CHECK(succeeded == 10);
  }
}

TEST_CASE("driver: callbacks may submit again and may throw") {
  const bool threaded = GENERATE(false, true);
  CAPTURE(threaded);
  auto tm = NewCoordinator();
  tm->Register<int>("A", [](const int&) {});
  if (threaded) tm->Start();
  std::promise<void> third;
  auto done = third.get_future();
  tm->SubmitAsync(LocalSaga("1", {"A"}), [&](const dtm::Answer&) {
    tm->SubmitAsync(LocalSaga("2", {"A"}), [&](const dtm::Answer&) {
      tm->SubmitAsync(LocalSaga("3", {"A"}), [&](const dtm::Answer&) {
        third.set_value();
        throw std::runtime_error("a mistake of the user");
      });
      throw 7;
    });
  });
  while (!threaded && done.wait_for(seconds(0)) != std::future_status::ready) tm->Poll();
  done.wait();
  for (const char* gid : {"1", "2", "3"}) CHECK(tm->Wait(gid, hours(1)).Succeeded());
}

TEST_CASE("driver: what waits inside a callback or a function throws LogicError") {
  const bool threaded = GENERATE(false, true);
  CAPTURE(threaded);
  std::vector<std::string> wrong;
  auto tm = NewCoordinator();
  const auto expect = [&](const char* where, const char* what, const auto& function) {
    if (!ThrowsLogicError(function)) wrong.push_back(std::string(what) + " in a " + where);
  };
  auto waiting = LocalSaga("w", {"A"});
  waiting.options.wait_result = true;
  const auto try_all = [&](const char* where) {
    expect(where, "Submit with wait_result", [&] { tm->Submit(waiting); });
    expect(where, "SubmitAndWait", [&] { (void)tm->SubmitAndWait(LocalSaga("x", {}), hours(1)); });
    expect(where, "Wait", [&] { tm->Wait("a", hours(1)); });
  };
  tm->Register<int>("A", [&](const int&) {
    try_all("function");
    tm->Submit(LocalSaga("inner", {}));  // allowed
    tm->SubmitAsync(LocalSaga("inner2", {}), {});
    (void)tm->Query("a");
    (void)tm->Explain("a");
  });
  if (threaded) tm->Start();
  CHECK(tm->SubmitAndWait(LocalSaga("a", {"A"}), hours(1)).Succeeded());
  CHECK(tm->Wait("inner", hours(1)).Succeeded());
  CHECK(tm->Wait("inner2", hours(1)).Succeeded());
  std::promise<void> called;
  tm->SubmitAsync(LocalSaga("b", {}), [&](const dtm::Answer&) {
    try_all("callback");
    expect("callback", "Submit", [&] { tm->Submit(LocalSaga("y", {})); });
    expect("callback", "Cancel", [&] { tm->Cancel("a"); });
    expect("callback", "Explain", [&] { (void)tm->Explain("a"); });
    called.set_value();
  });
  auto done = called.get_future();
  while (!threaded && done.wait_for(seconds(0)) != std::future_status::ready) tm->Poll();
  done.wait();
  CHECK(wrong == std::vector<std::string>{});
  CHECK(tm->Stop(seconds(10)));
}

TEST_CASE("driver: Stop, Poll and Start inside a callback throw instead of hanging") {
  const bool threaded = GENERATE(false, true);
  const int what = GENERATE(0, 1, 2);
  CAPTURE(threaded, what);
  const bool good = InChild([&] {
    auto tm = NewCoordinator();
    if (threaded) tm->Start();
    std::promise<bool> threw;
    auto result = threw.get_future();
    tm->SubmitAsync(LocalSaga("a", {}), [&](const dtm::Answer&) {
      threw.set_value(ThrowsLogicError([&] {
        if (what == 0) (void)tm->Stop(milliseconds(1));
        if (what == 1) tm->Poll();
        if (what == 2) tm->Start();
      }));
    });
    while (!threaded && result.wait_for(seconds(0)) != std::future_status::ready) tm->Poll();
    return result.get();
  });
  CHECK(good);
}

TEST_CASE("driver: Start and Use come once, Poll is for those who did not Start") {
  auto tm = NewCoordinator();
  std::shared_ptr<dtm::testing::VirtualTime> time = std::make_shared<dtm::testing::VirtualTime>();
  dtm::testing::ScriptedBranches branches(time);
  tm->Use(branches.NewCaller());
  CHECK_THROWS_AS(tm->Use(branches.NewCaller()), dtm::LogicError);
  tm->Start();
  CHECK_THROWS_AS(tm->Start(), dtm::LogicError);
  CHECK_THROWS_AS(tm->Poll(), dtm::LogicError);
  CHECK(tm->Stop(seconds(1)));
  CHECK(tm->Stop(seconds(1)));
  CHECK_THROWS_AS(tm->Start(), dtm::LogicError);
  auto second = NewCoordinator();
  second->Start();
  CHECK_THROWS_AS(second->Use(branches.NewCaller()), dtm::LogicError);
}

TEST_CASE("driver: Stop refuses what is new, waits for what runs, keeps its result") {
  const auto store = std::make_shared<MemoryStore>();
  std::atomic<int> second_runs{0};
  {
    Gate gate;
    auto tm = NewCoordinator(store);
    tm->Register<int>("Slow", [&gate](const int&) { gate.Pass(); });
    tm->Register<int>("Next", [&second_runs](const int&) { ++second_runs; });
    tm->Start();
    tm->Submit(LocalSaga("a", {"Slow", "Next"}));
    gate.WaitUntilEntered();
    std::optional<dtm::Answer> told;
    auto waiting = LocalSaga("a", {"Slow", "Next"});
    waiting.options.wait_result = true;
    tm->SubmitAsync(waiting, [&told](const dtm::Answer& reply) { told = reply; });
    CHECK(!tm->Stop(milliseconds(1)));
    CHECK_THROWS_AS(tm->Submit(LocalSaga("b", {"Next"})), dtm::LogicError);
    CHECK_THROWS_WITH(tm->Submit(LocalSaga("b", {"Next"})), ContainsSubstring("stopped"));
    CHECK_THROWS_AS(tm->Cancel("a"), dtm::LogicError);
    CHECK(!tm->Stop(milliseconds(1)));
    gate.open.set_value();
    CHECK(tm->Stop(seconds(20)));
    CHECK(tm->Query("a")->branches[1].status == dtm::BranchStatus::kSucceed);
    CHECK(tm->Query("a")->status == Status::kSubmitted);
    REQUIRE(told);  // whoever waited got the status there was
    CHECK(told->Get().status == Status::kSubmitted);
  }
  CHECK(second_runs == 0);
  auto tm = NewCoordinator(store);
  tm->Register<int>("Slow", [](const int&) { throw std::logic_error("it ran already"); });
  tm->Register<int>("Next", [&second_runs](const int&) { ++second_runs; });
  tm->Start();
  CHECK(tm->Wait("a", hours(1)).Succeeded());
  CHECK(second_runs == 1);
}

TEST_CASE("driver: calls that were queued when Stop came are not made, and not counted") {
  const auto store = std::make_shared<MemoryStore>();
  dtm::Options options = dtm_test::Quiet();
  options.max_threads_per_function = 1;
  Gate gate;
  std::atomic<int> runs{0};
  Coordinator tm(std::make_unique<FailingStore>(store), options);
  tm.Register<int>("Slow", [&](const int&) {
    if (++runs == 1) gate.Pass();
  });
  tm.Start();
  tm.Submit(LocalSaga("a", {"Slow"}));
  gate.WaitUntilEntered();
  tm.Submit(LocalSaga("b", {"Slow"}));
  CHECK(!tm.Stop(milliseconds(1)));
  gate.open.set_value();
  CHECK(tm.Stop(seconds(20)));
  CHECK(runs == 1);
  CHECK(tm.Query("a")->status == Status::kSucceed);
  const auto b = tm.Query("b");
  CHECK(b->branches[1].tries == 0);
  CHECK(b->branches[1].next_try == dtm::Time{});  // a restart calls it at once
  CHECK(b->due <= std::chrono::system_clock::now());
}

TEST_CASE("driver: Stop tells those who wait for an end at once what the status is") {
  TestCoordinator kit({}, dtm_test::Quiet());
  std::vector<std::string> told;
  const auto submit = [&](const char* gid, dtm::Time when) {
    kit.Branches().On("http://" + std::string(gid) + "/01/action",
                      {{Result::Success(), hours(1), false}});
    auto definition = NewDefinition(gid, 1);
    definition.options.wait_result = true;
    definition.options.request_timeout = hours(2);
    kit->SubmitAsync(definition, [&, when](const dtm::Answer& reply) {
      CHECK(kit.Clock().Now() == when);
      told.push_back(reply.result.gid + " " + dtm::Name(reply.result.status));
    });
  };
  const auto now = kit.Clock().Now();
  submit("a", now);
  submit("b", now);
  kit.Settle();
  CHECK(told.empty());
  submit("late", now);
  CHECK(kit->Stop(seconds(10)));
  CHECK(kit.Clock().Now() == now + seconds(10));  // it waited for the calls
  std::sort(told.begin(), told.end());
  CHECK(told == std::vector<std::string>{"a submitted", "b submitted", "late submitted"});
}

TEST_CASE("driver: Stop ends a Wait of another thread") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", {{Result::Success(), hours(1), false}});
  auto definition = NewDefinition("a", 1);
  definition.options.request_timeout = hours(2);
  kit->Submit(definition);
  bool stopped = false;
  // While the test waits, as another thread would.
  kit.Clock().At(kit.Clock().Now() + seconds(1), [&] { stopped = kit->Stop(seconds(10)); });
  CHECK(kit->Wait("a", hours(1)).status == Status::kSubmitted);
  CHECK(stopped);
}

TEST_CASE("driver: after Stop was called no function begins, even while the loop is busy") {
  dtm::Options options = dtm_test::Quiet();
  options.max_threads_per_function = 1;
  Gate slow, busy;
  std::promise<void> began;
  Coordinator tm(std::make_unique<FailingStore>(std::make_shared<MemoryStore>()), options);
  std::atomic<int> runs{0};
  tm.Register<int>("Slow", [&](const int&) {
    if (++runs == 1) return slow.Pass();
    began.set_value();
  });
  tm.Start();
  tm.Submit(LocalSaga("a", {"Slow"}));
  slow.WaitUntilEntered();
  tm.Submit(LocalSaga("b", {"Slow"}));
  tm.SubmitAsync(LocalSaga("c", {"Slow"}), [&](const dtm::Answer&) { busy.Pass(); });
  busy.WaitUntilEntered();  // callbacks run on the loop's thread
  CHECK(!tm.Stop(milliseconds(1)));
  slow.open.set_value();
  // Only a mistake would end this wait early.
  CHECK(began.get_future().wait_for(milliseconds(100)) == std::future_status::timeout);
  busy.open.set_value();
  CHECK(tm.Stop(seconds(20)));
  CHECK(runs == 1);
  for (const char* gid : {"b", "c"}) CHECK(tm.Query(gid)->branches[1].tries == 0);
}

TEST_CASE("driver: a Stop that failed can be repeated") {
  class Stubborn : public dtm::BranchCaller {
   public:
    void Call(std::vector<dtm::BranchCall>, dtm::BranchResults&) override {}
    void Stop() override {
      if (!std::exchange(failed_, true)) throw std::runtime_error("not now");
    }

   private:
    bool failed_ = false;
  };
  auto tm = NewCoordinator();
  tm->Use(std::make_unique<Stubborn>());
  tm->Start();
  CHECK_THROWS_AS(tm->Stop(seconds(10)), std::runtime_error);
  CHECK(tm->Stop(seconds(10)));
}

TEST_CASE("driver: Stop does not tell what is not stored") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(1), false}});
  auto definition = NewDefinition("a", 1);
  definition.options.wait_result = true;
  std::optional<dtm::Answer> told;
  kit->SubmitAsync(definition, [&](const dtm::Answer& reply) {
    // Stop itself calls this; a Stop in here would wait for itself.
    CHECK(ThrowsLogicError([&] { (void)kit->Stop(seconds(1)); }));
    if (!told) told = reply;
  });
  kit.Settle();
  kit.Store().FailAlways(StoreFault::kDefinite);
  kit.Clock().MoveTowards(kit.Clock().Now() + seconds(1));
  kit->Poll();
  CHECK(kit->Stop(seconds(1)));
  REQUIRE(told);
  if (!told->error) CHECK(told->result.status == kit->Query("a")->status);
}

TEST_CASE("driver: Stop in virtual time waits for calls by URL, up to its limit") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(2), false}});
  kit->Submit(NewDefinition("a", 2));
  kit.Settle();
  const auto begin = kit.Clock().Now();
  SECTION("long enough: the answer is kept, nothing new is called") {
    CHECK(kit->Stop(seconds(5)));
    CHECK(kit.Clock().Now() - begin == seconds(2));
    CHECK(kit->Query("a")->branches[1].status == dtm::BranchStatus::kSucceed);
  }
  SECTION("too short: it is given up") {
    CHECK(kit->Stop(seconds(1)));
    CHECK(kit.Clock().Now() - begin == seconds(1));
    CHECK(kit->Query("a")->branches[1].status == dtm::BranchStatus::kPrepared);
  }
  CHECK(kit.Branches().Calls().size() == 1);
  kit.Crash();
  CHECK(kit->Wait("a", hours(1)).Succeeded());
}

TEST_CASE("driver: the destructor waits for functions that run, and says so") {
  std::mutex mutex;
  std::string log;
  std::promise<void> warned;
  dtm::Options options;
  options.log = [&](dtm::LogLevel, const std::string& text) {
    const std::lock_guard<std::mutex> lock(mutex);
    log += text;
    warned.set_value();
  };
  Gate gate;
  std::atomic<bool> returned{false};
  std::thread opener([&] {
    warned.get_future().wait();
    gate.open.set_value();
  });
  {
    Coordinator tm(std::make_unique<MemoryStore>(), options);
    tm.Register<int>("Slow", [&](const int&) {
      gate.Pass();
      returned = true;
    });
    tm.Start();
    tm.Submit(LocalSaga("a", {"Slow"}));
    gate.WaitUntilEntered();
  }
  CHECK(returned);
  opener.join();
  CHECK_THAT(log, ContainsSubstring("destroyed while branch functions or hooks run"));
}

TEST_CASE("driver: works share commits, at most so many a turn, and one that fails harms nobody") {
  dtm::Options options = dtm_test::Quiet();
  auto time = std::make_shared<dtm::testing::VirtualTime>();
  auto store_owner = std::make_unique<FailingStore>(std::make_shared<MemoryStore>());
  FailingStore& store = *store_owner;
  dtm::Driver driver(std::move(store_owner), std::make_unique<dtm::testing::VirtualClock>(time),
                     options);
  const auto settle = [&] {
    while (driver.Poll() == dtm::Duration(0)) {
    }
  };
  settle();
  std::vector<std::string> done;
  constexpr int kPerTurn = dtm::InCommitWork::kPerTurn;
  const auto push = [&](const std::function<Result()>& work) {
    const auto result = std::make_shared<Result>();
    dtm::QueuedWork queued{[work](dtm::TransactContext&) { return work(); }, result};
    queued.promise = [&done, result](const dtm::Answer& reply) {
      done.push_back(reply.error                              ? "error"
                     : result->kind == Result::Kind::kSuccess ? "ok"
                                                              : result->text);
    };
    REQUIRE(driver.inbox.Push(std::move(queued)));
  };
  SECTION("results and exceptions") {
    const auto commits = store.Commits();
    push([] { return Result::Success(); });
    push([] { return Result::Failure("not me"); });
    push([]() -> Result { throw std::runtime_error("thrown"); });
    push([]() -> Result { throw 7; });
    push([] { return Result::Success(); });
    int submitted = 0;
    dtm::Waiter waiter;
    waiter.promise = [&submitted](const dtm::Answer& reply) { submitted += !reply.error; };
    REQUIRE(driver.inbox.Push(
        {std::make_shared<dtm::Definition>(NewDefinition("a", 0)), std::move(waiter)}));
    driver.Poll();
    REQUIRE(done.size() == 5);
    CHECK(done[0] == "ok");
    CHECK(done[1] == "not me");
    CHECK(done[2] == "thrown");
    CHECK(done[4] == "ok");
    CHECK(submitted == 1);
    CHECK(store.Commits() == commits + 1);
  }
  SECTION("so many a turn") {
    for (int i = 0; i < 2 * kPerTurn + 22; ++i) push([] { return Result::Success(); });
    driver.Poll();
    CHECK(done.size() == kPerTurn);
    driver.Poll();
    CHECK(done.size() == 2 * kPerTurn);
    driver.Poll();
    CHECK(done.size() == 2 * kPerTurn + 22);
  }
  SECTION("or 5 ms a turn") {
    for (int i = 0; i < 10; ++i) {
      push([&] {
        time->Set(time->Now() + milliseconds(2));
        return Result::Success();
      });
    }
    driver.Poll();
    CHECK(done.size() == 3);
    settle();
    CHECK(done.size() == 10);
  }
  SECTION("a slow one alone in its turn") {
    for (int i = 0; i < 2; ++i) {
      push([&] {
        time->Set(time->Now() + seconds(1));
        return Result::Success();
      });
    }
    driver.Poll();
    CHECK(done.size() == 1);
    driver.Poll();
    CHECK(done.size() == 2);
  }
  SECTION("a failed commit is told to all works, also those that wait for a later one") {
    for (int i = 0; i < kPerTurn + 6; ++i) push([] { return Result::Success(); });
    store.FailOnce(1 + kPerTurn + 2, StoreFault::kDefinite);  // Begin, each Run, Apply, Commit
    driver.Poll();
    CHECK(done == std::vector<std::string>(kPerTurn + 6, "error"));
    time->Set(time->Now() + seconds(1));
    settle();
    push([] { return Result::Success(); });
    settle();
    CHECK(done.back() == "ok");
  }
  SECTION("Stop leaves none without an answer") {
    for (int i = 0; i < 4 * kPerTurn; ++i) push([] { return Result::Success(); });
    CHECK(driver.Stop(time->Now()));
    CHECK(done.size() == 4 * kPerTurn);
  }
}
