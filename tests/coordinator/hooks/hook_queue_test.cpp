/// Who keeps failing is told to on_alert: when, with what, once it is durable, and whatever on_alert does.
/// Some tests use real threads; nothing sleeps, everything waits for something to happen.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/sql_kit.hpp>
#include <tests/coordinator/world.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Alert;
using dtm::Coordinator;
using dtm::Hooks;
using dtm::MemoryStore;
using dtm::Options;
using dtm::Result;
using dtm::Status;
using dtm::TransType;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using world::NewDefinition;
using world::Times;
using world::World;

namespace {

using Told = std::vector<Alert>;
using HookQueue = dtm::HookQueue<Alert>;

Options Telling(Told& told) {
  Options options = dtm_test::Quiet();
  options.on_alert = [&told](const Alert& alert) { told.push_back(alert); };
  return options;
}

/// "a 3, a 4"
std::string InWords(const Told& told) {
  std::string text;
  for (const Alert& alert : told) {
    text += (text.empty() ? "" : ", ") + alert.gid + " " + std::to_string(alert.retry_count);
  }
  return text;
}

dtm::Definition Message(const std::string& gid) {
  dtm::Definition message = NewDefinition(gid, 1);
  message.type = TransType::kMsg;
  message.steps[0].compensate.clear();
  message.query_prepared = "http://" + gid + "/query";
  return message;
}

/// Has had two errors, and waits for its third try.
void FailTwice(TestCoordinator& kit, std::size_t more) {
  kit.Branches().On("http://a/01/action", Times(2, Result::Error("busy")));
  kit.Branches().On("http://a/01/action", Times(more, Result::Error("busy"), milliseconds(10)));
  kit->Submit(NewDefinition("a", 1));
  kit.Advance(seconds(20));
  REQUIRE(kit.Branches().Calls().size() == 2);
}
/// Its third try is out, and answers after 10 ms.
void UntilThirdCall(TestCoordinator& kit) {
  for (;;) {
    const dtm::Duration sleep = kit->Poll();
    if (kit.Branches().Calls().size() >= 3) return;
    kit.Clock().MoveTowards(kit.Clock().Now() + sleep);
  }
}

std::vector<std::shared_ptr<const Alert>> Some(std::size_t count) {
  return std::vector<std::shared_ptr<const Alert>>(count, std::make_shared<const Alert>());
}

}  // namespace

TEST_CASE("alerts: the third error in a row and every later one, until it succeeds") {
  Told told;
  TestCoordinator kit({}, Telling(told));
  kit.Branches().On("http://a/01/action", Times(4, Result::Error("connection lost")));
  kit.Branches().On("http://a/02/action", Times(2, Result::Error("busy")));
  kit.Branches().On("http://a/03/action", Result::Failure("no money"));
  kit.Branches().On("http://a/03/compensate", Times(3, Result::Failure("not possible")));
  kit->Submit(NewDefinition("a", 3));
  kit.Advance(seconds(25));
  CHECK(told.empty());  // two errors
  kit.Advance(seconds(35));
  REQUIRE(InWords(told) == "a 3");
  CHECK(told[0].status == Status::kSubmitted);
  CHECK(told[0].branch == "http://a/01/action");
  CHECK_THAT(told[0].error, ContainsSubstring("01 action") && ContainsSubstring("connection lost"));
  CHECK(kit->Wait("a", hours(10)).Failed());
  REQUIRE(InWords(told) == "a 3, a 4, a 3");  // the second branch had no third error
  CHECK(told[2].status == Status::kAborting);
  CHECK(told[2].branch == "http://a/03/compensate");
  CHECK_THAT(told[2].error, ContainsSubstring("FAILURE: not possible"));
}

TEST_CASE("alerts: when the wait does not grow any more they go on") {
  Told told;
  TestCoordinator kit({}, Telling(told));
  kit.Branches().On("http://a/01/action", Times(14, Result::Error("down")));
  kit->Submit(NewDefinition("a", 1));
  CHECK(kit->Wait("a", hours(1000)).Succeeded());
  REQUIRE(told.size() == 12);
  CHECK(told.back().retry_count == 14);
}

TEST_CASE("alerts: no more and no less than the limit says") {
  Told told;
  Options options = Telling(told);
  const auto limit =
      GENERATE(std::uint32_t{0}, std::uint32_t{1}, std::uint32_t{2}, std::uint32_t{9});
  options.alert_retry_limit = limit;
  TestCoordinator kit({}, options);
  kit.Branches().On("http://a/01/action", Times(3, Result::Error("down")));
  kit->Submit(NewDefinition("a", 1));
  CHECK(kit->Wait("a", hours(10)).Succeeded());
  CHECK(InWords(told) == (limit == 9 ? "" : limit == 2 ? "a 2, a 3" : "a 1, a 2, a 3"));
}

TEST_CASE(
    "alerts: the questions of messages are none, deliveries and workflows that do not go on are") {
  Told told;
  TestCoordinator kit({}, Telling(told));
  kit.Branches().On("http://m/query", Times(6, Result::Error("away")));
  kit.Branches().On("http://m/01/action", Times(3, Result::Failure("full")));
  kit->Prepare(Message("m"));
  CHECK(kit->Wait("m", hours(10)).Succeeded());
  REQUIRE(InWords(told) == "m 3");
  CHECK(told[0].branch == "http://m/01/action");

  kit.Branches().On("http://w/resume", Times(6, Result::Error("away")));
  dtm::Definition workflow;
  workflow.gid = "w";
  workflow.type = TransType::kWorkflow;
  workflow.workflow = "name";
  workflow.query_prepared = "http://w/resume";
  kit->PrepareWorkflow(workflow);
  kit.Advance(hours(10));
  CHECK(kit.Branches().Urls().back() == "http://w/resume");
  CHECK(InWords(told) == "m 3, w 3, w 4, w 5, w 6");
}

TEST_CASE("alerts: while the store fails nobody is told; once it works, once") {
  const auto fault = GENERATE(StoreFault::kDefinite, StoreFault::kInDoubtNotStored);
  Told told;
  TestCoordinator kit({}, Telling(told));
  FailTwice(kit, 1);
  UntilThirdCall(kit);
  kit.Store().FailAlways(fault);
  kit.Advance(seconds(30));
  CHECK(told.empty());
  kit.Store().FailAlways(StoreFault::kNone);
  kit.Advance(seconds(5));
  CHECK(InWords(told) == "a 3");
  CHECK(kit->Wait("a", hours(1)).Succeeded());
  CHECK(InWords(told) == "a 3");
}

TEST_CASE("alerts: a commit in doubt that did store it") {
  Told told;
  TestCoordinator kit({}, Telling(told));
  FailTwice(kit, 1);
  UntilThirdCall(kit);
  kit.Store().FailOnce(3, StoreFault::kInDoubtButStored);  // Begin, Apply, Commit of the answer
  kit.Advance(milliseconds(10));
  CHECK(told.empty());
  CHECK(kit->Wait("a", hours(1)).Succeeded());
  CHECK(InWords(told) == "a 3");
}

TEST_CASE("alerts: a lost compare-and-set tells once, when the answer is stored at last") {
  Told told;
  auto inner = std::make_shared<MemoryStore>();
  TestCoordinator kit({}, Telling(told), inner);
  FailTwice(kit, 1);
  UntilThirdCall(kit);
  auto stored = *inner->Load("a");  // somebody else writes the record
  std::vector<dtm::Change> changes{{&stored, true, false, false}};
  inner->Begin();
  inner->Apply(changes);
  inner->Commit();
  kit.Clock().MoveTowards(kit.Clock().Now() + milliseconds(10));
  kit->Poll();
  CHECK(told.empty());
  CHECK(kit->Wait("a", hours(1)).Succeeded());
  CHECK(InWords(told) == "a 3");
}

TEST_CASE("alerts: errors count on after a crash") {
  Told told;
  TestCoordinator kit({}, Telling(told));
  FailTwice(kit, 2);
  UntilThirdCall(kit);
  kit.Crash();  // its answer is lost
  CHECK(kit->Wait("a", hours(1)).Succeeded());
  CHECK(InWords(told) == "a 3");
}

TEST_CASE("alerts: a branch inside a commit, also when its batch is lost with another work") {
  Told told;
  Options options;
  options.alert_retry_limit = 2;
  options.on_alert = [&told](const Alert& alert) { told.push_back(alert); };
  int runs = 0;
  bool down = true;
  sql_kit::Bank bank(
      [&](Coordinator& tm) {
        tm.RegisterInTransaction<int>("Pay", [&](sqlite3*, const int&) {
          ++runs;
          if (down) throw std::runtime_error("not now");
        });
      },
      options);
  dtm::Definition saga;
  saga.gid = "a";
  saga.steps.push_back(
      {std::string(dtm::kLocalPrefix) + dtm::kInTransactionPrefix + "Pay", "", "1"});
  bank->Submit(saga);
  bank.kit.Settle();
  CHECK(told.empty());
  CHECK(bank.Try([](dtm::Tx&) {}).empty());  // the branch's turn comes before the next one's
  bank.kit.Clock().MoveTowards(bank.kit.Clock().Now() + seconds(15));
  // In the same batch, after it: SQLite rolls all of it back, and the branch runs again.
  CHECK_FALSE(
      bank.Try([](dtm::Tx& tx) { sql_kit::Careless(tx.Db(), "INSERT INTO bomb VALUES (1)"); })
          .empty());
  bank.kit.Settle();
  CHECK(runs == 3);  // first, in the lost batch, alone
  REQUIRE(InWords(told) == "a 2");
  CHECK_THAT(told[0].error, ContainsSubstring("not now"));
  down = false;
  CHECK(bank->Wait("a", hours(1)).Succeeded());
  CHECK(told.size() == 1);
}

TEST_CASE("alerts: a branch that fails in the very commit that stores its saga") {
  Told told;
  Options options;
  options.alert_retry_limit = 1;
  options.on_alert = [&told](const Alert& alert) { told.push_back(alert); };
  bool down = true;
  sql_kit::Bank bank(
      [&down](Coordinator& tm) {
        tm.RegisterInTransaction<int>("Pay", [&down](sqlite3*, const int&) {
          if (down) throw std::runtime_error("not now");
        });
      },
      options);
  dtm::Definition saga;
  saga.gid = "a";
  saga.steps.push_back(
      {std::string(dtm::kLocalPrefix) + dtm::kInTransactionPrefix + "Pay", "", "1"});
  bank->Submit(saga);
  bank.kit.Settle();
  CHECK(InWords(told) == "a 1");
  down = false;
  CHECK(bank->Wait("a", hours(1)).Succeeded());
  CHECK(InWords(told) == "a 1");
}

TEST_CASE("alerts: one that throws is logged, and disturbs nothing") {
  std::string log;
  Options options;
  options.log = [&log](dtm::LogLevel level, const std::string& text) {
    if (level == dtm::LogLevel::kWarning) log += text + "\n";
  };
  int times = 0;
  options.on_alert = [&times](const Alert&) {
    if (++times == 1) throw std::runtime_error("nobody there");
    throw 7;
  };
  TestCoordinator kit({}, options);
  kit.Branches().On("http://a/01/action", Times(4, Result::Error("down")));
  kit->Submit(NewDefinition("a", 1));
  CHECK(kit->Wait("a", hours(10)).Succeeded());
  CHECK(times == 2);
  CHECK_THAT(log, ContainsSubstring("on_alert failed for gid 'a': nobody there") &&
                      ContainsSubstring("not a std::exception"));
}

TEST_CASE("alerts: without a thread it may use the coordinator, and is not run inside itself") {
  Options options = dtm_test::Quiet();
  TestCoordinator* tested = nullptr;
  std::string explained;
  int depth = 0, deepest = 0;
  options.on_alert = [&](const Alert& alert) {
    deepest = (std::max)(deepest, ++depth);
    explained = (*tested)->Explain(alert.gid);
    (*tested)->SubmitAndWait(NewDefinition("from-" + std::to_string(alert.retry_count), 1),
                             hours(1));
    --depth;
  };
  options.alert_retry_limit = 1;
  TestCoordinator kit({}, options);
  tested = &kit;
  kit.Branches().On("http://a/01/action", Times(2, Result::Error("down")));
  kit.Branches().On("http://from-1/01/action", Result::Error("down"));
  kit->Submit(NewDefinition("a", 1));
  CHECK(kit->Wait("a", hours(1)).Succeeded());
  kit.Settle();
  CHECK_THAT(explained, ContainsSubstring("down"));
  CHECK(deepest == 1);
  CHECK(kit->Query("from-1")->status == Status::kSucceed);
}

TEST_CASE("alerts: one that blocks delays no transaction; Stop waits for it, and drops the rest") {
  std::promise<void> entered, open;
  std::shared_future<void> opened(open.get_future());
  std::atomic<int> times{0};
  Options options = dtm_test::Quiet();
  options.alert_retry_limit = 1;
  options.retry_interval = milliseconds(1);
  options.max_function_threads = options.max_threads_per_function = 1;
  options.on_alert = [&](const Alert&) {
    if (++times == 1) entered.set_value();
    opened.wait();
  };
  Coordinator tm(std::make_unique<MemoryStore>(), options);
  std::atomic<int> calls{0};
  tm.Register<int>("F", [&calls](const int&) {
    if (++calls <= 5) throw std::runtime_error("down");
  });
  tm.Start();
  dtm::Definition saga;
  saga.gid = "a";
  saga.steps.push_back({"local:F", "", "1"});
  tm.Submit(saga);
  entered.get_future().wait();
  CHECK(tm.Wait("a", seconds(20)).Succeeded());  // on_alert is in there all the time
  CHECK(calls == 6);
  CHECK(times == 1);
  CHECK_FALSE(tm.Stop(milliseconds(1)));
  CHECK_FALSE(tm.Stop(milliseconds(1)));
  open.set_value();
  CHECK(tm.Stop(seconds(20)));
  CHECK(times == 1);
}

TEST_CASE("alerts: on the thread in order, and never more than fit") {
  std::promise<void> entered, open, done;
  std::shared_future<void> opened(open.get_future());
  std::vector<std::uint32_t> seen;
  std::vector<std::string> log;
  Options options;
  options.log = [&log](dtm::LogLevel, const std::string& text) { log.push_back(text); };
  options.on_alert = [&](const Alert& alert) {
    if (seen.empty()) entered.set_value();
    opened.wait();
    seen.push_back(alert.retry_count);
    if (alert.retry_count == 7) done.set_value();
  };
  dtm::SystemClock clock;
  HookQueue alerts("on_alert", options.on_alert, Hooks::kMaxAlerts, clock, options);
  alerts.StartThread();
  alerts.Tell(Some(1));
  entered.get_future().wait();
  alerts.Tell(Some(Hooks::kMaxAlerts - 1));
  CHECK(log.empty());
  Alert last;
  last.retry_count = 7;
  alerts.Tell({std::make_shared<const Alert>(last)});
  alerts.Tell(Some(5));
  alerts.Tell(Some(5));
  CHECK(log.size() == 1);  // once
  CHECK_THAT(log.empty() ? "" : log[0], ContainsSubstring("on_alert is too slow"));
  CHECK_FALSE(alerts.RunWaiting());  // not here
  open.set_value();
  done.get_future().wait();
  CHECK(alerts.Stop(clock.Now() + seconds(20)));
  CHECK(seen.size() == Hooks::kMaxAlerts + 1);
  CHECK(seen.back() == 7);
  alerts.Tell(Some(1));  // nobody is told any more
  CHECK(alerts.Stop(clock.Now()));
  CHECK(seen.size() == Hooks::kMaxAlerts + 1);
}

TEST_CASE("alerts: nobody listens") {
  Options options = dtm_test::Quiet();
  dtm::SystemClock clock;
  Hooks hooks(clock, options);
  hooks.StartThreads();
  CHECK(hooks.Load().empty());
  TestCoordinator kit({}, options);
  kit.Branches().On("http://a/01/action", Times(5, Result::Error("down")));
  kit->Submit(NewDefinition("a", 1));
  CHECK(kit->Wait("a", hours(10)).Succeeded());
}
