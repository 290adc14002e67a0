/// What the log tells of how transactions fare: one line each with gid, and no flood of them.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <tests/coordinator/sql_kit.hpp>
#include <tests/coordinator/world.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::LogLevel;
using dtm::News;
using dtm::Options;
using dtm::Result;
using dtm::Status;
using dtm::Time;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using world::NewDefinition;
using world::Times;

namespace {

struct Said {
  std::vector<std::string> lines;  // "warning gid 'a' ..."

  Options Listening() {
    Options options;
    options.log = [this](LogLevel level, const std::string& text) {
      const char* name = level == LogLevel::kError     ? "error "
                         : level == LogLevel::kWarning ? "warning "
                                                       : "info ";
      lines.push_back(name + text);
    };
    return options;
  }
  std::size_t With(const std::string& part) const {
    return static_cast<std::size_t>(std::count_if(
        lines.begin(), lines.end(),
        [&](const std::string& line) { return line.find(part) != std::string::npos; }));
  }
};

}  // namespace

TEST_CASE("news: a rollback is one line, once it is durable, in the branch's own words") {
  Said said;
  TestCoordinator kit({}, said.Listening());
  kit.Branches().On("http://a/02/action", Result::Failure("no money"));
  kit->Submit(NewDefinition("a", 2));
  kit.Store().FailAlways(dtm::testing::StoreFault::kDefinite);
  kit.Advance(seconds(1));
  CHECK(said.With("rolled back") == 0);
  kit.Store().FailAlways(dtm::testing::StoreFault::kNone);
  CHECK(kit->Wait("a", hours(1)).Failed());
  CHECK(said.With("rolled back") == 1);
  CHECK(said.With("info gid 'a' (saga) is being rolled back: no money (branch 02 action "
                  "http://a/02/action)") == 1);
  // What has succeeded says nothing.
  const std::size_t before = said.lines.size();
  kit->Submit(NewDefinition("b", 2));
  CHECK(kit->Wait("b", hours(1)).Succeeded());
  CHECK(said.lines.size() == before);
}

TEST_CASE("news: what branches and people say makes no further line, and nothing of a terminal") {
  Said said;
  TestCoordinator kit({}, said.Listening());
  const std::string text = "no\n\x1b[31mdtm error: gid 'x' is lost\r\xff";
  kit.Branches().On("http://a/01/action", Result::Error(text));
  kit.Branches().On("http://b/01/action", Result::Failure(text));
  for (const char* gid : {"a", "b"}) kit->Submit(NewDefinition(gid, 1));
  kit.Settle();
  kit->Cancel("a", dtm::By{"ann", text});
  kit.Settle();
  CHECK(said.With("no ?[31mdtm error: gid 'x' is lost??") == 3);  // an error, two rollbacks
  for (const std::string& line : said.lines) CHECK(dtm::Printable(line) == line);
}

TEST_CASE("news: every way to fail has its line") {
  Said said;
  TestCoordinator kit({}, said.Listening());
  kit.Branches().On("http://m/query", Result::Failure("never committed"));
  kit.Branches().On("http://stopped/01/action", Times(99, Result::Ongoing("busy")));

  dtm::Definition message = NewDefinition("m", 1);
  message.type = dtm::TransType::kMsg;
  message.steps[0].compensate.clear();
  message.query_prepared = "http://m/query";
  kit->Prepare(message);
  kit.Advance(minutes(1));
  CHECK(said.With("gid 'm' (msg) has failed: never committed (branch 00 msg http://m/query)") == 1);

  dtm::Definition tcc;
  tcc.gid = "t";
  tcc.type = dtm::TransType::kTcc;
  kit->Prepare(tcc);
  kit->RegisterBranch("t", tcc.type, {"http://t/confirm", "http://t/cancel", "{}", "01"});
  kit.Advance(minutes(1));
  CHECK(said.With("gid 't' (tcc) is being rolled back: Timeout after 35 seconds") == 1);

  dtm::Definition workflow;
  workflow.gid = "w";
  workflow.type = dtm::TransType::kWorkflow;
  workflow.workflow = "name";
  kit->PrepareWorkflow(workflow);
  kit->FinishWorkflow("w", Status::kFailed, "sold out", "");
  CHECK(said.With("gid 'w' (workflow) has failed: sold out") == 1);

  kit->Submit(NewDefinition("stopped", 1));
  kit->ForceStop("stopped");
  CHECK(said.With("gid 'stopped' (saga) has failed") == 1);

  kit->Submit(NewDefinition("c", 1));
  (void)kit->Wait("c", hours(1));
  kit->Prepare([] {
    dtm::Definition saga = NewDefinition("c2", 1);
    return saga;
  }());
  kit->Cancel("c2", "by hand");
  CHECK(said.With("gid 'c2' (saga) has failed: by hand") == 1);
  CHECK(said.lines.size() == 5);
}

TEST_CASE("news: the first error of a branch, and the third; what could not be sent is neither") {
  Said said;
  TestCoordinator kit({}, said.Listening());
  std::vector<dtm::testing::ScriptedAnswer> answers = Times(3, Result::Error("reset"));
  for (int i = 0; i < 5; ++i) answers.push_back({Result::NotSent("no slot"), seconds(0), false});
  kit.Branches().On("http://a/01/action", answers);
  kit->Submit(NewDefinition("a", 1));
  kit.Advance(seconds(1));
  REQUIRE(said.lines.size() == 1);
  CHECK_THAT(said.lines[0], ContainsSubstring("warning gid 'a', first error: branch 01 action "
                                              "http://a/01/action gave no definite answer: reset"));
  CHECK(kit->Wait("a", hours(10)).Succeeded());
  REQUIRE(said.lines.size() == 2);  // and not once more for each call that was not sent
  CHECK_THAT(said.lines[1], ContainsSubstring("gid 'a' keeps failing"));
}

TEST_CASE("news: what a failing store has not taken is not told, and is told once when it works") {
  Said said;
  std::vector<std::string> alerts;
  Options options = said.Listening();
  options.on_alert = [&](const dtm::Alert& alert) { alerts.push_back(alert.error); };
  options.alert_retry_limit = 1;
  TestCoordinator kit({}, options);
  kit.Branches().On("http://error/01/action", {{Result::Error("reset"), seconds(2), false}});
  kit.Branches().On("http://rollback/01/action", {{Result::Failure("no"), seconds(2), false}});
  kit->Submit(NewDefinition("error", 1));
  kit->Submit(NewDefinition("rollback", 1));
  kit.Advance(seconds(1));
  const auto lines = [&] {
    return std::vector<std::size_t>{said.With("first error: branch 01 action "),
                                    said.With("is being rolled back") + said.With("has failed"),
                                    alerts.size()};
  };
  kit.Store().FailAlways(dtm::testing::StoreFault::kDefinite);
  kit.Advance(seconds(10));
  CHECK(lines() == std::vector<std::size_t>{0, 0, 0});
  kit.Store().FailAlways(dtm::testing::StoreFault::kNone);
  kit.Advance(seconds(2));
  CHECK(lines() == std::vector<std::size_t>{1, 1, 1});
}

TEST_CASE("news: ten thousand sagas and a dead host write no ten thousand lines") {
  Said said;
  Options options = said.Listening();
  options.max_waiting_submissions = options.max_in_memory = 20000;
  TestCoordinator kit({}, options);
  const std::size_t count = 10000;
  for (std::size_t i = 0; i < count; ++i) {
    dtm::Definition saga;
    saga.gid = "g" + std::to_string(i);
    saga.steps = {{"http://dead/a", "", "{}"}};
    saga.options.retry_limit = 1;
    kit->SubmitAsync(std::move(saga), {});
  }
  kit.Branches().On("http://dead/a", Times(2 * count, Result::Error("refused")));
  kit.Advance(milliseconds(900));
  CHECK(said.With("first error") == dtm::LineLimit::kPerSecond);
  kit.Advance(seconds(1));
  REQUIRE(said.lines.size() == dtm::LineLimit::kPerSecond + 1);
  CHECK_THAT(said.lines.back(), ContainsSubstring("and 9990 more first errors of branches"));
  kit.Advance(
      minutes(2));  // the second error of each: all are rolled back, within two seconds or so
  CHECK(kit->Query("g77")->status == Status::kFailed);
  std::size_t told = said.With("(saga) has failed: RetryCount");
  CHECK(told < 100);
  for (const std::string& line : said.lines) {
    if (line.find("more rollbacks") != std::string::npos) {
      told += static_cast<std::size_t>(std::stoi(line.substr(line.find("and ") + 4)));
    }
  }
  CHECK(told == count);  // each has its line, or is counted
}

TEST_CASE("news: what was left out is told when the coordinator stops before its second is over") {
  Said said;
  {
    TestCoordinator kit({}, said.Listening());
    for (int i = 0; i < 12; ++i) {
      dtm::Definition saga = NewDefinition("g" + std::to_string(i), 1);
      kit->Prepare(saga);
      kit->Cancel(saga.gid, "by hand");
    }
    CHECK(said.lines.size() == 10);
    CHECK(kit->Stop(seconds(1)));
    REQUIRE(said.lines.size() == 11);
    CHECK_THAT(said.lines.back(), ContainsSubstring("info and 2 more rollbacks"));
  }
}

TEST_CASE("news: a function that is missing is told and alerted, of each once a minute") {
  Said said;
  std::vector<dtm::Alert> told;
  Options options = said.Listening();
  options.on_alert = [&](const dtm::Alert& alert) { told.push_back(alert); };
  TestCoordinator kit({}, options);
  for (const char* gid : {"a", "b"}) {
    dtm::Definition saga;
    saga.gid = gid;
    saga.steps = {{"local:Gone", "", "{}"}};
    kit->Submit(std::move(saga));
  }
  kit.Advance(seconds(55));  // it is tried every 10 s
  REQUIRE(said.lines.size() == 1);
  CHECK_THAT(said.lines[0],
             ContainsSubstring("warning gid 'a' waits: branch 01 action local:Gone") &&
                 ContainsSubstring("has not registered"));
  REQUIRE(told.size() == 1);
  CHECK(told[0].gid == "a");
  CHECK(told[0].branch == "local:Gone");
  CHECK(told[0].retry_count == 0);
  CHECK_THAT(told[0].error, ContainsSubstring("waiting for handler \"Gone\""));
  kit.Advance(seconds(20));
  CHECK(said.lines.size() == 2);
  CHECK(told.size() == 2);
  kit->Register<nlohmann::json>("Gone", [](const nlohmann::json&) {});
  CHECK(kit->Wait("a", hours(1)).Succeeded());
  CHECK(kit->Wait("b", hours(1)).Succeeded());
  kit.Advance(hours(1));
  CHECK(told.size() == 2);
}

TEST_CASE("news: URLs without HttpBranches") {
  Said said;
  std::vector<std::string> told;
  Options options = said.Listening();
  options.on_alert = [&](const dtm::Alert& alert) { told.push_back(alert.branch); };
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), options);
  for (int i = 0; i < 3; ++i) tm.Submit(NewDefinition("g" + std::to_string(i), 1));
  for (int i = 0; i < 5; ++i) (void)tm.Poll();
  REQUIRE(said.lines.size() == 1);
  CHECK_THAT(said.lines[0], ContainsSubstring("warning gid 'g0' waits: branch 01 action") &&
                                ContainsSubstring("Use(dtm::HttpBranches())"));
  CHECK(told == std::vector<std::string>{"http://g0/01/action"});
}

TEST_CASE("news: after a start it says how many go on and how long it took to find them") {
  Said said;
  TestCoordinator kit({}, said.Listening());
  CHECK(said.lines.empty());
  for (int i = 0; i < 600; ++i) {
    kit.Branches().On("http://g" + std::to_string(i) + "/01/action",
                      Times(3, Result::Ongoing("busy")));
    kit->Submit(NewDefinition("g" + std::to_string(i), 1));
  }
  kit.Settle();
  CHECK(said.lines.empty());  // a store that was empty says nothing
  kit.Crash();
  kit.Advance(seconds(1));
  REQUIRE(said.lines.size() == 1);
  CHECK_THAT(said.lines[0], ContainsSubstring("info 600 unfinished transactions go on") &&
                                ContainsSubstring("took 0."));
  kit.Advance(hours(1));
  CHECK(said.lines.size() == 1);
}

TEST_CASE("news: so many lines a second, then how many were left out") {
  dtm::LineLimit limit;
  const Time start{seconds(1000)};
  CHECK(limit.NextFlush() == dtm::kNever);
  for (std::size_t i = 0; i < dtm::LineLimit::kPerSecond; ++i) CHECK(limit.Allow(start));
  CHECK(limit.NextFlush() == dtm::kNever);
  CHECK_FALSE(limit.Allow(start + milliseconds(1)));
  CHECK_FALSE(limit.Allow(start + milliseconds(999)));
  CHECK(limit.NextFlush() == start + seconds(1));
  CHECK(limit.Flush() == 2);
  CHECK(limit.NextFlush() == dtm::kNever);
  CHECK(limit.Allow(start + seconds(1)));
  CHECK(limit.Allow(start - hours(1)));  // the clock was set back
}

TEST_CASE("news: a thousand transactions that get stuck at once write no thousand lines") {
  Said said;
  dtm::MemoryStore store;
  const Options options = said.Listening();
  dtm::TurnState state(store, options);
  state.context.now = Time(seconds(1));
  for (int i = 0; i < 1000; ++i) {
    dtm::Transaction transaction;
    dtm::Definition definition = NewDefinition("g" + std::to_string(i), 1);
    definition.type = static_cast<dtm::TransType>(9);
    transaction.definition = std::make_shared<const dtm::Definition>(std::move(definition));
    dtm::ActiveTransaction& active = state.table.Add(std::move(transaction));
    state.Advance(active, {dtm::engine::EventKind::kTimer, 0, {}});
    for (const dtm::AppliedEvent& event : active.events)
      state.reports.Report(active.transaction, event);
  }
  CHECK(said.With("error gid 'g0' is stuck: ") == 1);
  CHECK(said.lines.size() == dtm::LineLimit::kPerSecond);
  state.reports.news.Flush(dtm::kNever);
  CHECK(said.With("error and 990 more stuck transactions in that second") == 1);
}

TEST_CASE("news: a thousand that have vanished or are set going have ten lines each") {
  Said said;
  const Options options = said.Listening();
  News news(options);
  dtm::Transaction transaction;
  transaction.definition = std::make_shared<const dtm::Definition>(NewDefinition("g", 1));
  for (int i = 0; i < 1000; ++i) {
    news.Vanished(transaction, Time(seconds(1)));
    news.SetGoing(transaction, Time(seconds(1)));
  }
  CHECK(said.With("error gid 'g' has vanished from the store") == dtm::LineLimit::kPerSecond);
  CHECK(said.With("error gid 'g' was in memory and") == dtm::LineLimit::kPerSecond);
  news.Flush(dtm::kNever);
  CHECK(said.With("and 990 more transactions that have vanished in that second") == 1);
  CHECK(said.With("and 990 more transactions that are set going in that second") == 1);
}
