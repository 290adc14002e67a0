/// What may be asked at any coordinator of those that share a store in a database server, whichever drives the transaction.
/// Needs: Catch2, a store. Threads: one thread; the coordinators have theirs.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/dtm.hpp>
#include <dtm/store/peers.hpp>

namespace dtm_test {
namespace any_node {

using Catch::Matchers::ContainsSubstring;
using dtm::Result;
using dtm::Status;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using NewStore = std::function<std::unique_ptr<dtm::Store>()>;

inline std::string NewGid() {
  static int last = 0;
  return "any" + std::to_string(++last);
}

template <typename Condition>
bool Becomes(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return true;
}

/// "cancel by ann: enough"; empty: the journal has no entry of that kind.
inline std::string AskedFor(dtm::Coordinator& tm, const std::string& gid, dtm::JournalKind kind) {
  const auto story = tm.Timeline(gid);
  for (const dtm::JournalEntry& entry : story->entries) {
    if (entry.kind == kind)
      return std::string(Name(entry.kind)) + " by " + entry.who + ": " + entry.text;
  }
  return {};
}

/// A coordinator, and functions that do what the test says.
struct Node {
  explicit Node(const NewStore& store, const std::string& name, const std::string& app = "main")
      : tm(store(), OptionsOf(name, app)) {
    tm.Start();
  }
  static dtm::Options OptionsOf(const std::string& name, const std::string& app) {
    dtm::Options options = Quiet();
    options.node_name = name;
    options.app = app;
    options.function_limit = seconds(1);
    options.retry_interval = minutes(5);
    return options;
  }

  /// Its second step answers Error until `goes_on`, or hangs while `hangs`.
  void Begin(const std::string& gid) {
    dtm::NewSaga(tm, gid).Add(first, back, 1).Add(second, back, 1).Submit();
    CHECK(Becomes([this] { return seconds_called > 0; }));
  }
  Status StatusOf(const std::string& gid) { return tm.Query(gid)->status; }

  std::atomic<bool> goes_on{false}, hangs{false};
  std::atomic<int> seconds_called{0}, undone{0};
  dtm::Coordinator tm;
  using Branch = dtm::LocalBranch<int>;
  Branch first = tm.Register<int>("First", [](const int&) {});
  Branch back = tm.Register<int>("Back", [this](const int&) { ++undone; });
  Branch second = tm.Register<int>("Second", [this](const int&) -> Result {
    ++seconds_called;
    while (hangs) std::this_thread::sleep_for(milliseconds(5));
    return goes_on ? Result::Success() : Result::Error("not yet");
  });
  Branch confirm = tm.Register<int>("Confirm", [](const int&) {});
};

inline void CommandsAtTheOther(const NewStore& store) {
  Node one(store, "one");
  Node two(store, "two");
  const std::string cancelled = NewGid();
  one.Begin(cancelled);
  CHECK(Becomes([&] { return one.tm.Query(cancelled)->branches[3].errors > 0; }));
  CHECK(Becomes([&] {  // the first beat has come
    return two.tm.Explain(cancelled).find("\ndriven by node one, seen 0.") != std::string::npos;
  }));
  CHECK_THAT(one.tm.Explain(cancelled), ContainsSubstring("\ndriven by this node, one"));
  CHECK(two.tm.ListWaiting(seconds(1), 10) == std::vector<std::string>{cancelled});
  auto waits = std::async(std::launch::async, [&] { return two.tm.Wait(cancelled, minutes(1)); });
  two.tm.Cancel(cancelled, dtm::By{"ann", "enough"});
  CHECK(waits.get().Failed());
  CHECK(two.tm.Query(cancelled)->reason == "enough");
  CHECK(AskedFor(two.tm, cancelled, dtm::JournalKind::kCancel) == "cancel by ann: enough");
  CHECK(one.undone == 2);
  CHECK(two.undone == 0);
  CHECK_THROWS_AS(two.tm.Cancel(cancelled), dtm::EndedError);

  const std::string retried = NewGid();
  one.seconds_called = 0;
  one.Begin(retried);
  CHECK(Becomes([&] { return one.tm.Query(retried)->branches[3].errors > 0; }));
  one.goes_on = true;
  two.tm.RetryNow(retried, dtm::By{"bob", "it is back"});
  CHECK(AskedFor(two.tm, retried, dtm::JournalKind::kRetryNow) == "retry now by bob: it is back");
  CHECK(two.tm.Wait(retried, minutes(1)).Succeeded());
  CHECK(two.seconds_called == 0);

  const std::string skipped = NewGid();
  one.goes_on = false;
  one.seconds_called = 0;
  one.Begin(skipped);
  CHECK(Becomes([&] { return one.tm.Query(skipped)->branches[3].errors > 0; }));
  CHECK_THROWS_AS(two.tm.Skip(skipped, "03", dtm::Op::kAction, {"di", "by hand"}), dtm::BadInput);
  CHECK_THROWS_WITH(two.tm.Skip(skipped, "01", dtm::Op::kAction, {"di", "by hand"}),
                    ContainsSubstring("has succeeded already"));
  two.tm.Skip(skipped, "02", dtm::Op::kAction, {"di", "by hand"});
  CHECK(two.tm.Wait(skipped, minutes(1)).Succeeded());
  CHECK(one.seconds_called == 1);
  CHECK(AskedFor(two.tm, skipped, dtm::JournalKind::kRepair) == "repair by di: by hand");
  CHECK_THROWS_AS(two.tm.Skip(skipped, "02", dtm::Op::kAction, {"di", "by hand"}), dtm::EndedError);

  const std::string stopped = NewGid();
  one.goes_on = false;
  one.seconds_called = 0;
  one.Begin(stopped);
  auto waits_there =
      std::async(std::launch::async, [&] { return one.tm.Wait(stopped, minutes(1)); });
  two.tm.ForceStop(stopped, dtm::By{"cy", "a test"});
  CHECK(AskedFor(one.tm, stopped, dtm::JournalKind::kForceStop) == "force stop by cy: a test");
  CHECK(two.StatusOf(stopped) == Status::kFailed);
  CHECK(waits_there.get().Failed());

  // Answered at once, whoever has it: the same again, other content, an end that is waited for in vain.
  const std::string same = NewGid();
  one.seconds_called = 0;
  one.Begin(same);
  dtm::NewSaga(two.tm, same).Add(two.first, two.back, 1).Add(two.second, two.back, 1).Submit();
  CHECK_THROWS_AS(dtm::NewSaga(two.tm, same).Add(two.first, two.back, 2).Submit(),
                  dtm::RejectedError);
  CHECK(two.tm.Wait(same, milliseconds(150)).status == Status::kSubmitted);
  two.tm.ForceStop(same);
}

inline void PreparedAtEither(const NewStore& store) {
  Node one(store, "one");
  Node two(store, "two");
  std::vector<Node*> nodes{&one, &two};
  for (int round = 0; round < 4; ++round) {
    dtm::Definition tcc;
    tcc.gid = NewGid();
    tcc.type = dtm::TransType::kTcc;
    (void)one.tm.Prepare(tcc);
    // At once, at both: no registration is lost, and none is refused.
    std::vector<std::thread> threads;
    for (int n = 0; n < 6; ++n) {
      threads.emplace_back([&, n] {
        dtm::Step step;
        step.branch_id = "0" + std::to_string(n + 1);
        step.action = step.compensate = "local:Confirm";
        step.payload = "1";
        nodes[static_cast<std::size_t>(n % 2)]->tm.RegisterBranch(tcc.gid, tcc.type, step);
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(two.tm.Query(tcc.gid)->definition->steps.size() == 6);
    if (round < 2) {
      (void)nodes[static_cast<std::size_t>(round)]->tm.Submit(tcc);
      CHECK(one.tm.Wait(tcc.gid, minutes(1)).Succeeded());
      CHECK(two.tm.Wait(tcc.gid, minutes(1)).Succeeded());
    } else {
      nodes[static_cast<std::size_t>(round - 2)]->tm.Abort(tcc.gid, tcc.type, "no");
      CHECK(one.tm.Wait(tcc.gid, minutes(1)).Failed());
    }
  }
}

/// What the one that dies was asked is obeyed by its heir, and who waits goes on waiting.
inline void TheDriverLeaves(const NewStore& store) {
  const std::string gid = NewGid();
  auto one = std::make_unique<Node>(store, "one");
  Node two(store, "two");
  Node three(store, "three");
  one->Begin(gid);
  auto waits = std::async(std::launch::async, [&] { return two.tm.Wait(gid, minutes(1)); });
  auto cancels = std::async(std::launch::async, [&] {
    try {
      two.tm.Cancel(gid);
    } catch (const dtm::EndedError&) {  // the first Cancel has ended it
    }
  });
  one.reset();
  cancels.get();
  CHECK(waits.get().Failed());
  CHECK(three.StatusOf(gid) == Status::kFailed);
}

inline void FunctionsOfAnApp(const NewStore& store) {
  const std::string gid = NewGid();
  auto billing = std::make_unique<Node>(store, "billing 1", "billing");
  Node other(store, "other", "shipping");
  billing->Begin(gid);
  CHECK(Becomes([&] { return other.tm.Query(gid)->branches[3].errors > 0; }));
  billing.reset();
  CHECK(Becomes([&] { return dtm::WaitsForApp(other.tm.Query(gid)->owner); }));
  CHECK_THAT(other.tm.Explain(gid),
             ContainsSubstring("app 'billing'") && ContainsSubstring("none"));
  CHECK(other.tm.Measure().backlog->stuck == 1);
  CHECK(other.seconds_called == 0);
  Node again(store, "billing 2", "billing");
  again.goes_on = true;
  CHECK(Becomes([&] { return !dtm::WaitsForApp(other.tm.Query(gid)->owner); }));
  other.tm.RetryNow(gid);
  CHECK(other.tm.Wait(gid, minutes(1)).Succeeded());
  CHECK(again.seconds_called == 1);
  CHECK(other.seconds_called == 0);
}

/// Its process may have been stopped only: a function whose result is not known is waited for.
inline void CompensationWaitsForAFunction(const NewStore& store) {
  Node one(store, "one");
  const std::string gid = NewGid();
  one.hangs = true;
  one.Begin(gid);
  const dtm::Branch called = one.tm.Query(gid)->branches[3];
  CHECK(called.deadline > dtm::Time{});
  one.hangs = false;
  CHECK(Becomes([&] { return one.tm.Query(gid)->branches[3].errors > 0; }));
  CHECK(one.tm.Query(gid)->branches[3].deadline == dtm::Time{});
  one.tm.ForceStop(gid);
}

inline void Topics(const NewStore& store) {
  Node one(store, "one");
  Node two(store, "two");
  std::vector<std::thread> threads;
  for (int n = 0; n < 6; ++n) {
    threads.emplace_back([&, n] {
      (n % 2 == 0 ? one : two).tm.Subscribe("paid", "http://host/" + std::to_string(n));
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(one.tm.ListValues("topics", "paid").values.at(0).version == 6);
  CHECK_THROWS_AS(two.tm.Subscribe("paid", "http://host/1"), dtm::RejectedError);
  two.tm.Unsubscribe("paid", "http://host/1");
  CHECK(one.tm.ListValues("topics", "paid").values.at(0).version == 7);
  one.tm.DeleteTopic("paid");
  CHECK_THROWS_AS(two.tm.DeleteTopic("paid"), dtm::RejectedError);
  CHECK(two.tm.ListValues("topics", "paid").values.empty());
}

inline void NothingRunsInACommit(const NewStore& store) {
  Node one(store, "one");
  const auto names_the_outbox = ContainsSubstring("PgOutbox");
  CHECK_THROWS_WITH(one.tm.Transact([](dtm::Tx&) {}), names_the_outbox);
  CHECK_THROWS_AS(one.tm.Transact([](dtm::Tx&) {}), dtm::LogicError);
}

inline void Metrics(const NewStore& store) {
  Node one(store, "one");
  const std::string gid = NewGid();
  one.Begin(gid);
  {
    Node two(store, "two");
    CHECK(Becomes([&] { return one.tm.Measure().peers->members == 2; }));
    two.Begin(NewGid());
    CHECK(one.tm.Measure().peers->driven == 1);
  }
  CHECK(Becomes([&] { return one.tm.Measure().peers->members == 1; }));
  CHECK(Becomes([&] { return one.tm.Measure().peers->driven == 2; }));
  CHECK(one.tm.Measure().peers->taken_over == 1);
}

struct Story {
  const char* name;
  void (*run)(const NewStore& store);
};

/// `store`: opens one more coordinator's store; `empty`: the first of a new, empty one.
inline void Run(const std::function<void()>& empty, const NewStore& store) {
  const std::vector<Story> stories{
      {"Cancel, RetryNow, ForceStop, Wait, Explain, the same again at the other one",
       CommandsAtTheOther},
      {"what is prepared is registered with, submitted and aborted at either", PreparedAtEither},
      {"the one that drives it leaves: its heir obeys, who waits goes on waiting", TheDriverLeaves},
      {"functions run only where their app is", FunctionsOfAnApp},
      {"a compensation waits for a function", CompensationWaitsForAFunction},
      {"topics are changed at any one, at the same time", Topics},
      {"nothing runs in a commit", NothingRunsInACommit},
      {"each counts what it drives, what it took over and who is alive", Metrics}};
  for (const Story& story : stories) {
    DYNAMIC_SECTION(story.name) {
      empty();
      story.run(store);
    }
  }
}

}  // namespace any_node
}  // namespace dtm_test
