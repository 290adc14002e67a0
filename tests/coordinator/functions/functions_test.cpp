/// The registry of functions and its pool of threads.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/test_lease.hpp"
#include <dtm/coordinator/functions/functions.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::BranchCall;
using dtm::Functions;
using dtm::Result;
using dtm::Time;
using std::chrono::milliseconds;

namespace {

/// Collects results; waits for a number of them.
class Results : public dtm::BranchResults {
 public:
  void Done(BranchCall call, Result result) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    results_.emplace_back(call.definition->gid, std::move(result));
    changed_.notify_all();
  }
  /// False: they did not come.
  bool WaitFor(std::size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20),
                             [&] { return results_.size() >= count; });
  }
  std::size_t Count() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return results_.size();
  }
  Result Of(const std::string& gid) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& entry : results_) {
      if (entry.first == gid) return entry.second;
    }
    return Result::NotSent("no result");
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<std::string, Result>> results_;
};

BranchCall CallOf(const std::string& name, const std::string& gid = "g") {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = gid;
  definition->steps.push_back({"local:" + name, "", "1"});
  return {definition, 1, {}};
}

/// Functions that wait until they are let go, and how many of them are inside.
class Barrier {
 public:
  Result Pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    most_ = (std::max)(most_, ++inside_);
    ++passed_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
    --inside_;
    return Result::Success();
  }
  void Open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  bool WaitUntilInside(std::size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return inside_ >= count; });
  }
  std::size_t Inside() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return inside_;
  }
  std::size_t Passed() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return passed_;
  }
  std::size_t Most() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return most_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t inside_ = 0;
  std::size_t most_ = 0;
  std::size_t passed_ = 0;
  bool open_ = false;
};

/// Tells the pool that time passes until nothing grows any more.
void LetGrow(Functions& functions, Time& now, const std::function<bool()>& enough) {
  for (int i = 0; i < 100000 && !enough(); ++i) {
    now += milliseconds(2);
    functions.Grow(now);
    std::this_thread::yield();
  }
}

}  // namespace

TEST_CASE("functions: a name is needed, and taken once") {
  Functions functions(4, 2);
  functions.Register("A", [](const std::string&, const dtm::Caller&) { return Result::Success(); });
  CHECK_THROWS_AS(functions.Register("A", [](const std::string&,
                                             const dtm::Caller&) { return Result::Success(); }),
                  dtm::LogicError);
  CHECK_THROWS_WITH(functions.Register("A", [](const std::string&,
                                               const dtm::Caller&) { return Result::Success(); }),
                    ContainsSubstring("'A'") && ContainsSubstring("registered already"));
  CHECK_THROWS_AS(functions.Register(
                      "", [](const std::string&, const dtm::Caller&) { return Result::Success(); }),
                  dtm::LogicError);
}

TEST_CASE("functions: an unknown name is answered at once as not sent") {
  Functions functions(4, 2);
  Results results;
  functions.Call({CallOf("Unknown")}, results);
  REQUIRE(results.Count() == 1);
  CHECK(results.Of("g").kind == Result::Kind::kNotSent);
  CHECK_THAT(results.Of("g").text, ContainsSubstring("waiting for handler \"Unknown\""));
}

TEST_CASE("functions: results and exceptions of any type") {
  const bool threaded = GENERATE(false, true);
  CAPTURE(threaded);
  Functions functions(4, 4);
  functions.Register("ok",
                     [](const std::string&, const dtm::Caller&) { return Result::Success(); });
  functions.Register(
      "no", [](const std::string&, const dtm::Caller&) { return Result::Failure("poor"); });
  functions.Register("soon",
                     [](const std::string&, const dtm::Caller&) { return Result::Ongoing(); });
  functions.Register("failure", [](const std::string&, const dtm::Caller&) -> Result {
    throw dtm::FailureError("thrown no");
  });
  functions.Register("std", [](const std::string&, const dtm::Caller&) -> Result {
    throw std::logic_error("oops");
  });
  functions.Register("int", [](const std::string&, const dtm::Caller&) -> Result { throw 7; });
  functions.Register("store", [](const std::string&, const dtm::Caller&) -> Result {
    throw dtm::StoreError("disk");
  });
  const std::map<std::string, std::pair<Result::Kind, std::string>> expected = {
      {"ok", {Result::Kind::kSuccess, ""}},
      {"no", {Result::Kind::kFailure, "poor"}},
      {"soon", {Result::Kind::kOngoing, ""}},
      {"failure", {Result::Kind::kFailure, "thrown no"}},
      {"std", {Result::Kind::kError, "oops"}},
      {"int", {Result::Kind::kError, "not a std::exception"}},
      {"store", {Result::Kind::kError, "disk"}},
  };
  if (threaded) functions.StartThreads();
  Results results;
  std::vector<BranchCall> calls;
  for (const auto& entry : expected) calls.push_back(CallOf(entry.first, entry.first));
  functions.Call(std::move(calls), results);
  if (!threaded) {
    CHECK(results.Count() == 0);  // not before somebody drives
    CHECK(functions.RunQueued());
    CHECK(!functions.RunQueued());
  }
  REQUIRE(results.WaitFor(expected.size()));
  for (const auto& entry : expected) {
    CAPTURE(entry.first);
    const Result result = results.Of(entry.first);
    CHECK(result.kind == entry.second.first);
    CHECK_THAT(result.text, ContainsSubstring(entry.second.second));
  }
}

TEST_CASE("functions: without threads, what a function queues is for the next time") {
  Functions functions(4, 4);
  Results results;
  functions.Register("Again", [&](const std::string&, const dtm::Caller& caller) {
    CHECK(functions.OnFunctionThread());
    if (caller.Info().gid == "first") functions.Call({CallOf("Again", "second")}, results);
    return Result::Success();
  });
  CHECK(!functions.OnFunctionThread());
  functions.Call({CallOf("Again", "first")}, results);
  CHECK(functions.RunQueued());
  CHECK(results.Count() == 1);
  CHECK(functions.RunQueued());
  CHECK(results.Count() == 2);
  CHECK(!functions.RunQueued());
}

TEST_CASE("functions: a call that waited until the lease was over does not begin") {
  Functions functions(1, 1);
  Results results;
  Barrier barrier;
  functions.Register("Block",
                     [&](const std::string&, const dtm::Caller&) { return barrier.Pass(); });
  const auto lease = std::make_shared<dtm_test::TestLease>();
  const auto call = [&](const std::string& gid) {
    BranchCall made = CallOf("Block", gid);
    made.lease = lease;
    return made;
  };
  functions.StartThreads();
  functions.Call({call("runs")}, results);
  REQUIRE(barrier.WaitUntilInside(1));
  functions.Call({call("waits"), call("waits too")}, results);
  lease->holds = false;
  barrier.Open();
  REQUIRE(results.WaitFor(3));
  CHECK(results.Of("runs").kind == Result::Kind::kSuccess);
  for (const char* gid : {"waits", "waits too"}) {
    CHECK(results.Of(gid).kind == Result::Kind::kNotSent);
    CHECK(results.Of(gid).at_once);
    CHECK_THAT(results.Of(gid).text, ContainsSubstring("others may have taken over"));
  }
  CHECK(barrier.Passed() == 1);
  lease->holds = true;
  functions.Call({call("again")}, results);
  REQUIRE(results.WaitFor(4));
  CHECK(results.Of("again").kind == Result::Kind::kSuccess);
}

TEST_CASE("functions: the pool grows while calls wait and all that run are blocked") {
  Functions functions(64, 64);
  Barrier barrier;
  functions.Register("Block",
                     [&](const std::string&, const dtm::Caller&) { return barrier.Pass(); });
  functions.StartThreads();
  Results results;
  std::vector<BranchCall> calls(40, CallOf("Block"));
  functions.Call(std::move(calls), results);
  Time now(std::chrono::seconds(1));
  LetGrow(functions, now, [&] { return barrier.Inside() >= 32; });
  CHECK(barrier.Inside() == 32);
  CHECK(functions.Running() == 32);
  CHECK(functions.Grow(now + milliseconds(10)) == dtm::kNever);  // as large as it may be
  barrier.Open();
  CHECK(results.WaitFor(40));
  CHECK(barrier.Most() == 32);
}

TEST_CASE(
    "functions: the pool is looked at again while a call waits, also if a thread wakes up only "
    "now") {
  Functions functions(8, 8);
  Barrier barrier;
  functions.Register("Block",
                     [&](const std::string&, const dtm::Caller&) { return barrier.Pass(); });
  functions.StartThreads();
  Results results;
  const dtm::Time now{std::chrono::seconds(1)};
  functions.Call(std::vector<BranchCall>(4, CallOf("Block")), results);
  CHECK(functions.Grow(now) != dtm::kNever);
  barrier.Open();
  CHECK(results.WaitFor(4));
}

TEST_CASE("functions: no thread is added while the threads there are keep up") {
  Functions functions(32, 32);
  functions.Register("Quick",
                     [](const std::string&, const dtm::Caller&) { return Result::Success(); });
  functions.StartThreads();
  Results results;
  Time now(std::chrono::seconds(1));
  CHECK(functions.Grow(now) == dtm::kNever);
  for (std::size_t i = 1; i <= 100; ++i) {
    functions.Call({CallOf("Quick")}, results);
    REQUIRE(results.WaitFor(i));
    CHECK(functions.Grow(now += milliseconds(5)) == dtm::kNever);
  }
}

TEST_CASE("functions: one that blocks takes its share of the threads, the others go on") {
  Functions functions(8, 3);
  Barrier barrier;
  functions.Register("Block",
                     [&](const std::string&, const dtm::Caller&) { return barrier.Pass(); });
  functions.Register("Quick",
                     [](const std::string&, const dtm::Caller&) { return Result::Success(); });
  functions.StartThreads();
  Results results;
  functions.Call(std::vector<BranchCall>(20, CallOf("Block")), results);
  Time now(std::chrono::seconds(1));
  LetGrow(functions, now, [&] { return barrier.Inside() >= 3; });
  CHECK(barrier.Inside() == 3);
  functions.Call(std::vector<BranchCall>(100, CallOf("Quick")), results);
  LetGrow(functions, now, [&] { return results.Count() >= 100; });
  CHECK(results.WaitFor(100));
  CHECK(barrier.Inside() == 3);
  CHECK(results.Count() == 100);
  barrier.Open();
  CHECK(results.WaitFor(120));
  CHECK(barrier.Most() == 3);
}

TEST_CASE("functions: however many block, one that does not is called") {
  const std::size_t blocked = GENERATE(2u, 8u, 20u);
  CAPTURE(blocked);
  Functions functions(8, 8);
  Barrier barrier;
  Results results;
  functions.StartThreads();
  Time now(std::chrono::seconds(1));
  for (std::size_t i = 1; i <= blocked; ++i) {
    const std::string name = "Block" + std::to_string(i);
    functions.Register(name,
                       [&](const std::string&, const dtm::Caller&) { return barrier.Pass(); });
    functions.Call(std::vector<BranchCall>(100, CallOf(name)), results);
    LetGrow(functions, now, [&] { return functions.Running() >= 7 + i; });
    REQUIRE(barrier.WaitUntilInside(i));
  }
  functions.Register("Quick",
                     [](const std::string&, const dtm::Caller&) { return Result::Success(); });
  functions.Call(std::vector<BranchCall>(100, CallOf("Quick")), results);
  LetGrow(functions, now, [&] { return results.Count() >= 100; });
  CHECK(results.WaitFor(100));
  // The last of them has told its result, but may not have left its thread.
  LetGrow(functions, now, [&] { return functions.Running() == barrier.Inside(); });
  CHECK(functions.Running() == barrier.Inside());
  CHECK(functions.Running() <= 8 + blocked);
  barrier.Open();
  CHECK(results.WaitFor(100 + 100 * blocked));
}

TEST_CASE("functions: BeginNothingNew and Stop") {
  Functions functions(4, 2);
  Barrier barrier;
  functions.Register("Block",
                     [&](const std::string&, const dtm::Caller&) { return barrier.Pass(); });
  functions.StartThreads();
  Results results;
  functions.Call(std::vector<BranchCall>(5, CallOf("Block")), results);
  REQUIRE(barrier.WaitUntilInside(2));
  functions.BeginNothingNew();
  CHECK(results.Count() == 0);
  functions.RefuseWaiting();
  CHECK(results.Count() == 3);
  CHECK(results.Of("g").kind == Result::Kind::kNotSent);
  functions.Call({CallOf("Block")}, results);  // nor does what comes later
  CHECK(results.Count() == 4);
  std::thread stopper([&] { functions.Stop(); });
  barrier.Open();
  stopper.join();
  CHECK(functions.Running() == 0);
  CHECK(results.Count() == 6);
  functions.Stop();
}
