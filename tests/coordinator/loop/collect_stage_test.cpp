/// The collect stage: repeats of a submission, commands, functions whose name is missing.
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/turns.hpp>
#include <tests/coordinator/world.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Result;
using dtm::Status;
using dtm::testing::ScriptedAnswer;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using world::NewDefinition;
using world::Times;
using world::World;

namespace {

/// A saga in each status it can have, by its gid.
void Prepare(TestCoordinator& kit, const std::string& status) {
  auto definition = NewDefinition(status, 2);
  definition.options.retry_interval = hours(10);
  if (status == "submitted") kit.Branches().On("http://submitted/02/action", Result::Error("busy"));
  if (status == "aborting" || status == "failed") {
    kit.Branches().On("http://" + status + "/02/action", Result::Failure("no money"));
  }
  if (status == "aborting") {
    kit.Branches().On("http://aborting/01/compensate", Result::Error("busy"));
  }
  kit->Submit(definition);
  kit.Settle();
  REQUIRE(std::string(dtm::Name(kit->Query(status)->status)) == status);
}

dtm::Definition Resubmission(const std::string& gid) { return NewDefinition(gid, 2); }

}  // namespace

TEST_CASE(
    "collect stage: the same again attaches, other content is refused; also after a restart") {
  const bool crash = GENERATE(false, true);
  CAPTURE(crash);
  TestCoordinator kit({}, dtm_test::Quiet());
  for (const char* status : {"submitted", "aborting", "succeed", "failed"}) Prepare(kit, status);
  if (crash) kit.Crash();
  const auto calls = kit.Branches().Calls().size();

  SECTION("the same") {
    CHECK(kit->Submit(Resubmission("submitted")).status == Status::kSubmitted);
    CHECK(kit->Submit(Resubmission("aborting")).status == Status::kAborting);
    CHECK(kit->Submit(Resubmission("succeed")).status == Status::kSucceed);
    CHECK_THROWS_AS(kit->Submit(Resubmission("failed")), dtm::FailureError);
    CHECK_THROWS_WITH(kit->Submit(Resubmission("failed")),
                      ContainsSubstring("'failed'") && ContainsSubstring("no money"));
    const auto result = kit->SubmitAndWait(Resubmission("failed"), seconds(1));
    CHECK(result.Failed());
    CHECK_THAT(result.reason, ContainsSubstring("no money"));
    CHECK(kit->SubmitAndWait(Resubmission("submitted"), seconds(1)).status == Status::kSubmitted);
  }
  SECTION("other options are the same content; the first ones count") {
    auto repeat = Resubmission("submitted");
    repeat.options.timeout_to_fail = seconds(5);
    CHECK(kit->Submit(repeat).status == Status::kSubmitted);
    kit.Advance(minutes(1));
    CHECK(kit->Query("submitted")->status == Status::kSubmitted);
  }
  SECTION("other content") {
    for (const char* status : {"submitted", "aborting", "succeed", "failed"}) {
      CAPTURE(status);
      std::vector<dtm::Definition> others(5, Resubmission(status));
      others[0].steps[1].payload = "{\"other\":1}";
      others[1].steps[1].action = "http://other";
      others[2].steps.pop_back();
      others[3].concurrent = true;
      others[4].orders = {{1, {0}}};
      const auto before = kit->Query(status)->version;
      for (const auto& other : others) {
        CHECK_THROWS_AS(kit->Submit(other), dtm::RejectedError);
        CHECK_THROWS_AS(kit->SubmitAndWait(other, hours(1)), dtm::RejectedError);
        CHECK_THROWS_WITH(kit->Submit(other),
                          ContainsSubstring(status) && ContainsSubstring("other content"));
      }
      CHECK(kit->Query(status)->version == before);
    }
  }
  kit.Settle();
  CHECK(kit.Branches().Calls().size() == calls);
}

TEST_CASE("collect stage: the same gid several times in one turn is one transaction") {
  TestCoordinator kit({}, dtm_test::Quiet());
  int accepted = 0, rejected = 0;
  const auto count = [&](const dtm::Answer& reply) {
    try {
      reply.Get();
      ++accepted;
    } catch (const dtm::RejectedError&) {
      ++rejected;
    }
  };
  kit->SubmitAsync(NewDefinition("a", 1), count);
  kit->SubmitAsync(NewDefinition("a", 1), count);
  kit->SubmitAsync(NewDefinition("a", 2), count);
  kit->SubmitAsync(NewDefinition("a", 1), count);
  kit.Settle();
  CHECK(accepted == 3);
  CHECK(rejected == 1);
  CHECK(kit.Branches().Calls().size() == 1);
}

TEST_CASE("collect stage: a refused first submission takes its repeats of the same turn along") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Settle();
  int refused = 0;
  const auto count = [&](const dtm::Answer& reply) {
    CHECK_THROWS_AS(reply.Get(), dtm::StoreError);
    ++refused;
  };
  kit.Store().FailOnce(1, dtm::testing::StoreFault::kDefinite);
  kit->SubmitAsync(NewDefinition("a", 1), count);
  kit->SubmitAsync(NewDefinition("a", 1), count);
  kit.Settle();
  CHECK(refused == 2);
  CHECK(!kit->Query("a"));
}

TEST_CASE("collect stage: Cancel, ForceStop and RetryNow in every status") {
  const bool crash = GENERATE(false, true);
  const std::string status =
      GENERATE(as<std::string>{}, "submitted", "aborting", "succeed", "failed", "unknown");
  CAPTURE(status, crash);
  TestCoordinator kit({}, dtm_test::Quiet());
  if (status != "unknown") Prepare(kit, status);
  if (crash) kit.Crash();
  const auto calls = kit.Branches().Calls().size();
  const auto called = [&] { return kit.Branches().Calls().size() - calls; };
  const bool ended = status == "succeed" || status == "failed";

  if (status == "unknown" || ended) {
    const std::string why = ended ? "already ended as " + status : "no transaction with gid";
    const std::string who = "'" + status + "'";
    CHECK_THROWS_AS(kit->Cancel(status), dtm::RejectedError);
    CHECK_THROWS_AS(kit->ForceStop(status), dtm::RejectedError);
    CHECK_THROWS_AS(kit->RetryNow(status), dtm::RejectedError);
    CHECK_THROWS_WITH(kit->Cancel(status), ContainsSubstring(who) && ContainsSubstring(why));
    CHECK_THROWS_WITH(kit->ForceStop(status), ContainsSubstring(who) && ContainsSubstring(why));
    CHECK_THROWS_WITH(kit->RetryNow(status), ContainsSubstring(who) && ContainsSubstring(why));
    kit.Advance(hours(20));
    CHECK(called() == 0);
    return;
  }
  SECTION("Cancel") {
    kit->Cancel(status);
    CHECK(kit->Query(status)->status == Status::kAborting);
    const auto result = kit->Wait(status, hours(20));
    CHECK(result.Failed());
    CHECK_THAT(result.reason, ContainsSubstring(status == "submitted" ? "cancel" : "no money"));
    CHECK(called() == (status == "submitted" ? 2 : 1));
  }
  SECTION("ForceStop") {
    kit->ForceStop(status);
    CHECK(kit->Query(status)->status == Status::kFailed);
    kit.Advance(hours(30));
    CHECK(called() == 0);
    CHECK_THROWS_AS(kit->ForceStop(status), dtm::RejectedError);
  }
  SECTION("RetryNow") {
    kit->RetryNow(status);
    kit.Settle();
    CHECK(called() == 1);
    CHECK(kit->Query(status)->status ==
          (status == "submitted" ? Status::kSucceed : Status::kFailed));
  }
}

TEST_CASE("collect stage: what keeps failing is said once, and goes on being retried (W20)") {
  std::vector<std::string> said;
  dtm::Options options;
  options.log = [&](dtm::LogLevel level, const std::string& text) {
    if (level == dtm::LogLevel::kWarning) said.push_back(text);
  };
  TestCoordinator kit({}, options);
  kit.Branches().On("http://b/1", Times(20, Result::Failure("never heard of it")));
  dtm::Definition message;
  message.gid = "m";
  message.type = dtm::TransType::kMsg;
  message.steps = {{"http://b/1", "", "{}"}};
  kit->Submit(message);
  kit.Advance(seconds(25));
  CHECK(kit.Branches().Calls().size() == 2);
  REQUIRE(said.size() == 1);  // the first error, see news_test.cpp
  kit.Advance(hours(10));
  REQUIRE(said.size() == 2);
  CHECK_THAT(said[1], ContainsSubstring("gid 'm' keeps failing and is retried") &&
                          ContainsSubstring("never heard of it"));
  CHECK_THAT(kit->Explain("m"), ContainsSubstring("never heard of it"));
  kit.Advance(hours(20));
  CHECK(kit->Query("m")->status == Status::kSucceed);
}

TEST_CASE("collect stage: ForceStop while a call is out; its late answer changes nothing") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(2), false}});
  std::optional<dtm::Answer> answer;
  auto definition = NewDefinition("a", 2);
  definition.options.wait_result = true;
  kit->SubmitAsync(definition, [&](const dtm::Answer& reply) { answer = reply; });
  kit.Settle();
  kit->ForceStop("a");
  REQUIRE(answer);
  CHECK_THROWS_AS(answer->Get(), dtm::FailureError);
  kit.Advance(hours(1));
  CHECK(kit.Branches().Calls().size() == 1);
  CHECK(kit->Query("a")->status == Status::kFailed);
}

TEST_CASE("collect stage: ForceStop and Cancel in the turn of the submission") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit->SubmitAsync(NewDefinition("a", 2), {});
  kit->ForceStop("a");
  kit.Advance(hours(1));
  CHECK(kit->Query("a")->status == Status::kFailed);
  CHECK(kit.Branches().Calls().empty());  // the call was decided, and had not left
  kit->SubmitAsync(NewDefinition("b", 2), {});
  kit->Cancel("b");
  CHECK(kit->Wait("b", hours(1)).Failed());
  CHECK(kit.Branches().Urls().back() == "http://b/01/compensate");
}

TEST_CASE("collect stage: Cancel waits for the call that is out, then compensates it") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(2), false}});
  kit->Submit(NewDefinition("a", 2));
  kit.Settle();
  const auto begin = kit.Clock().Now();
  kit->Cancel("a");
  kit->Cancel("a");  // once more is no error
  kit.Settle();
  CHECK(kit.Branches().Calls().size() == 1);
  CHECK(kit->Wait("a", hours(1)).Failed());
  CHECK(kit.Branches().Urls() ==
        std::vector<std::string>{"http://a/01/action", "http://a/01/compensate"});
  CHECK(kit.Branches().Calls()[1].at == begin + seconds(2));
}

TEST_CASE(
    "collect stage: a function that is not registered is waited for, and never fails the saga") {
  bool registered = false;
  int called = 0;
  const auto setup = [&](dtm::Coordinator& tm) {
    if (registered) tm.Register<int>("Late", [&called](const int&) { ++called; });
  };
  TestCoordinator kit(setup, dtm_test::Quiet());
  dtm::Definition definition;
  definition.gid = "a";
  definition.steps = {{"local:Late", "", "1"}};
  definition.options.retry_limit = 1;
  kit->Submit(definition);
  kit.Settle();
  CHECK_THAT(kit->Explain("a"),
             ContainsSubstring("waiting for handler \"Late\"") && ContainsSubstring("next try in"));
  kit.Advance(hours(24));
  CHECK(kit->Query("a")->status == Status::kSubmitted);
  CHECK(kit->Query("a")->retry_count == 0);
  CHECK(kit->Query("a")->branches[1].tries == 0);

  SECTION("registered later, it goes on at once") {
    registered = true;
    setup(*kit);
    kit.Settle();
  }
  SECTION("registered after a restart") {
    registered = true;
    kit.Crash();
    kit.Advance(seconds(20));
  }
  CHECK(called == 1);
  CHECK(kit->Query("a")->status == Status::kSucceed);
}

TEST_CASE("collect stage: a compensation that is not registered is waited for") {
  TestCoordinator kit({}, dtm_test::Quiet());
  dtm::Definition definition;
  definition.gid = "a";
  definition.steps = {{"http://ok", "local:Undo", "1"}, {"http://no", "", "1"}};
  kit.Branches().On("http://no", Result::Failure("no"));
  kit->Submit(definition);
  kit.Advance(hours(24));
  CHECK(kit->Query("a")->status == Status::kAborting);
  CHECK_THAT(kit->Explain("a"), ContainsSubstring("waiting for handler \"Undo\""));
  int called = 0;
  kit->Register<int>("Undo", [&called](const int&) { ++called; });
  kit.Settle();
  CHECK(called == 1);
  CHECK(kit->Query("a")->status == Status::kFailed);
}

TEST_CASE("collect stage: registering a function does not shorten the waits of other branches") {
  TestCoordinator kit({}, dtm_test::Quiet());
  dtm::Definition definition;
  definition.gid = "a";
  definition.concurrent = true;
  definition.steps = {{"local:Late", "", "1"}, {"http://busy", "", "1"}};
  kit.Branches().On("http://busy", Times(3, Result::Error("busy")));
  kit->Submit(definition);
  kit.Advance(seconds(1));
  kit->Register<int>("Late", [](const int&) {});
  kit.Advance(seconds(8));
  CHECK(kit.Branches().Calls().size() == 1);  // its interval is 10 s
  CHECK(kit->Query("a")->branches[1].status == dtm::BranchStatus::kSucceed);
  CHECK(kit->Wait("a", hours(1)).Succeeded());
}

TEST_CASE(
    "collect stage: without a caller of URLs such branches wait, and Explain says what to do") {
  auto time = std::make_shared<dtm::testing::VirtualTime>();
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet(),
                      std::make_unique<dtm::testing::VirtualClock>(time));
  CHECK(tm.SubmitAndWait(NewDefinition("a", 1), hours(1)).status == Status::kSubmitted);
  CHECK_THAT(tm.Explain("a"), ContainsSubstring("HttpBranches"));
  CHECK(tm.Query("a")->branches[1].tries == 0);
}

TEST_CASE("collect stage: Explain in words") {
  TestCoordinator kit({}, dtm_test::Quiet());
  CHECK_THAT(kit->Explain("none"), ContainsSubstring("no transaction with gid 'none'"));
  kit.Branches().On("http://a/01/action",
                    {{Result::Error("busy"), seconds(1), false}, ScriptedAnswer::Silence()});
  kit->Submit(NewDefinition("a", 1));
  kit.Settle();
  CHECK_THAT(kit->Explain("a"), ContainsSubstring("saga a is submitted") &&
                                    ContainsSubstring("branch 01 action http://a/01/action") &&
                                    ContainsSubstring("awaited"));
  kit.Advance(seconds(1));
  CHECK_THAT(kit->Explain("a"), ContainsSubstring("next try in 1") && ContainsSubstring("1 try") &&
                                    ContainsSubstring("last error") && ContainsSubstring("busy"));
  kit.Advance(seconds(15));
  kit.Crash();
  kit->Poll();
  kit.Advance(hours(1));
  CHECK_THAT(kit->Explain("a"), ContainsSubstring("saga a is succeed"));
}

TEST_CASE(
    "collect stage: commands load no more than fits at a time; the others are obeyed in the next "
    "turns") {
  const auto inner = std::make_shared<dtm::MemoryStore>();
  dtm::Definition tcc;
  tcc.type = dtm::TransType::kTcc;
  {
    turns::Turns before(inner);
    for (int i = 0; i < 10; ++i) {
      tcc.gid = "t" + std::to_string(i);
      before.Prepare(tcc);
    }
    before.Settle();
  }
  dtm::Options options = dtm_test::Quiet();
  options.max_memory_bytes = 4096;
  dtm::TurnState state(*inner, options);
  dtm::Inbox inbox(100, 1 << 20);
  dtm::CollectStage collect(state, inbox);
  for (int i = 0; i < 10; ++i) {
    dtm::Command command;
    command.gid = "t" + std::to_string(i);
    command.kind = dtm::Command::Kind::kAddBranch;
    command.step = {"http://a", "http://b", "1", "01"};
    command.waiter.promise = [](const dtm::Answer&) {};
    REQUIRE(inbox.Push(std::move(command)));
  }
  (void)collect.Run();
  const std::size_t first = state.table.Count();
  CHECK(first >= 2);
  CHECK(first <= 5);
  REQUIRE(state.to_collect.reissue.size() == 10 - first);
  CHECK(state.to_collect.reissue[0].gid == "t" + std::to_string(first));
  (void)collect.Run();  // nothing has left memory, but each turn obeys one
  CHECK(state.table.Count() == first + 1);
}
