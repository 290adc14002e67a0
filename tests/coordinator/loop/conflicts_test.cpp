/// Conflicts: a stored record that is not the one a change was made from takes its place in memory.
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/turns.hpp>

using turns::Turns;
using world::NewDefinition;

TEST_CASE("conflicts: a repeat brings its stored record into memory, and reads nothing else") {
  auto inner = std::make_shared<dtm::MemoryStore>();
  {
    Turns before(inner);
    before.Submit(NewDefinition("a", 1));
    before.loop.Turn();  // stored, and no answer has come
  }
  dtm::Options options = dtm_test::Quiet();
  dtm::TurnState state(*inner, options);
  dtm::Conflicts conflicts(state);
  dtm::Transaction fresh;
  fresh.definition = std::make_shared<dtm::Definition>(NewDefinition("a", 1));
  dtm::ActiveTransaction& active = state.table.Add(std::move(fresh));
  conflicts.OnGidExists(active);
  CHECK(state.table.Count() == 1);
  REQUIRE(state.table.Find("a") != nullptr);
  CHECK(!state.table.Find("a")->Fresh());
  CHECK(state.to_collect.readvance.size() == 1);
  CHECK(state.to_collect.resubmit.size() == 1);
}

// Without memory an event waits for the next commit, which is to find a conflict: until then the version names no record.
TEST_CASE("conflicts: what a commit in doubt stored is not applied again") {
  const bool without_memory = GENERATE(false, true);
  auto inner = std::make_shared<dtm::MemoryStore>();
  {
    Turns before(inner);
    before.Submit(NewDefinition("a", 1));
    before.loop.Turn();
  }
  dtm::Options options = dtm_test::Quiet();
  dtm::TurnState state(*inner, options);
  dtm::Conflicts conflicts(state);
  dtm::Transaction known = *inner->Load("a");
  known.version -= 1;  // the commit in doubt made it one more
  if (without_memory) known.version |= dtm::kNoVersion;
  dtm::ActiveTransaction& active = state.table.Add(std::move(known));
  for (int i = 0; i < 2; ++i) {
    active.events.push_back(
        {{dtm::engine::EventKind::kResult, 0, dtm::Result::Error("busy")}, nullptr, dtm::Time{}});
  }
  active.doubtful_events = 1;
  CHECK(conflicts.OnConflictOrLater(active).empty());
  CHECK(active.events.size() == 1);
  CHECK(active.doubtful_events == 0);
}

TEST_CASE("conflicts: of two commits in doubt the first was stored: what came in between is kept") {
  auto inner = std::make_shared<dtm::MemoryStore>();
  {
    Turns before(inner);
    before.Submit(NewDefinition("a", 1));
    before.loop.Turn();
  }
  dtm::Options options = dtm_test::Quiet();
  dtm::TurnState state(*inner, options);
  dtm::Conflicts conflicts(state);
  dtm::Transaction known = *inner->Load("a");
  const dtm::Time stored = known.updated;
  known.version -= 1;
  dtm::ActiveTransaction& active = state.table.Add(std::move(known));
  for (const int later : {0, 0, 1, 2}) {
    active.events.push_back({{dtm::engine::EventKind::kResult, 0, dtm::Result::Error("busy")},
                             nullptr,
                             stored + dtm::Duration(later)});
  }
  active.doubtful_events = 3;
  CHECK(conflicts.OnConflictOrLater(active).empty());
  CHECK(active.events.size() == 2);
}

// The stored record does not say which part of a deadline is that of a previous run's call.
TEST_CASE("conflicts: the call of a previous run is awaited also after a commit in doubt") {
  using dtm::testing::ScriptedAnswer;
  using std::chrono::milliseconds;
  using std::chrono::seconds;
  dtm::testing::TestCoordinator kit({}, dtm_test::Quiet());
  const auto url = [](const char* rest) { return std::string("http://g/") + rest; };
  kit.Branches().On(url("01/action"), dtm::Result::Ongoing());
  kit.Branches().On(url("02/action"), {ScriptedAnswer::Silence()});
  dtm::Definition saga = NewDefinition("g", 2, true);
  saga.options.retry_interval = seconds(1);
  kit->Submit(saga);
  kit.Settle();
  const dtm::Time first = kit.Clock().Now();
  kit.Advance(milliseconds(500));
  kit.Crash();  // what is out may be running until 6 s
  kit.Branches().On(url("01/action"), {{dtm::Result::Failure("no"), seconds(1), false}});
  kit.Branches().On(url("02/action"), {{dtm::Result::Error("busy"), seconds(2), false}});
  kit.Advance(milliseconds(500));
  REQUIRE(kit.Branches().Calls().size() == 4);
  kit.Store().FailOnce(
      GENERATE(1U, 2U, 3U, 4U),
      GENERATE(dtm::testing::StoreFault::kDefinite, dtm::testing::StoreFault::kInDoubtNotStored,
               dtm::testing::StoreFault::kInDoubtButStored));
  kit.Advance(seconds(60));
  REQUIRE(kit.Branches().Calls().size() > 4);
  for (std::size_t i = 4; i < kit.Branches().Calls().size(); ++i) {
    const auto& call = kit.Branches().Calls()[i];
    CAPTURE(call.url, (call.at - first).count());
    CHECK(call.info.op == dtm::Op::kCompensate);
    CHECK(call.at >= first + seconds(6));
  }
  CHECK(kit->Query("g")->status == dtm::Status::kFailed);
}

namespace {

/// What is answered: nothing, or the kind of the error.
std::string Kind(const dtm::Answer& answer) {
  try {
    (void)answer.Get();
    return "done";
  } catch (const dtm::EndedError&) {
    return "ended";
  } catch (const dtm::RejectedError&) {
    return "rejected";
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("conflicts: what is asked of what has ended meanwhile is refused, not done") {
  for (const char* what : {"cancel", "stop", "retry", "skip"}) {
    CAPTURE(what);
    auto inner = std::make_shared<dtm::MemoryStore>();
    dtm::testing::TestCoordinator kit({}, dtm_test::Quiet(), inner);
    kit.Branches().On("http://g/01/action", dtm::Result::Error("busy"));
    dtm::Definition saga = NewDefinition("g", 2);
    saga.options.retry_interval = std::chrono::hours(1);
    kit->Submit(saga);
    kit.Settle();
    auto stored = *inner->Load("g");
    stored.status = dtm::Status::kSucceed;
    stored.due = dtm::kNever;
    std::vector<dtm::Change> changes{{&stored, true, false}};
    inner->Begin();
    inner->Apply(changes);
    inner->Commit();
    std::string said;
    const auto hear = [&said](const dtm::Answer& answer) { said = Kind(answer); };
    const dtm::By by{"ann", "by hand"};
    switch (what[1]) {
      case 'a': kit->AbortAsync("g", {}, by, dtm::WaitResult::kIgnored, hear); break;
      case 't': kit->ForceStopAsync("g", by, hear); break;
      case 'e': kit->RetryNowAsync("g", by, hear); break;
      default: kit->SkipAsync("g", "01", dtm::Op::kAction, by, hear);
    }
    kit.Settle();
    CHECK(said == "ended");
    CHECK(kit->Query("g")->status == dtm::Status::kSucceed);
  }
}

/// A registration is stored by a commit in doubt; the submit comes before the store works again, and the time is over then.
TEST_CASE("conflicts: what came in time is not too late because a commit was in doubt") {
  using std::chrono::milliseconds;
  using std::chrono::seconds;
  for (const dtm::TransType type : {dtm::TransType::kTcc, dtm::TransType::kXa}) {
    CAPTURE(Name(type));
    dtm::testing::TestCoordinator kit({}, dtm_test::Quiet());
    dtm::Definition definition;
    definition.gid = "g";
    definition.type = type;
    definition.options.timeout_to_fail = seconds(10);
    kit->Prepare(definition);
    kit.Advance(milliseconds(9900));
    kit.Store().FailOnce(3, dtm::testing::StoreFault::kInDoubtButStored);
    std::string registered, submitted;
    kit->RegisterBranchAsync("g", type, {"http://confirm", "http://cancel", "{}", "01"},
                             [&](const dtm::Answer& answer) { registered = Kind(answer); });
    kit->Poll();
    kit.Store().FailAlways(dtm::testing::StoreFault::kDefinite);
    kit.Clock().MoveTowards(kit.Clock().Now() + milliseconds(20));
    kit->SubmitAsync(definition, [&](const dtm::Answer& answer) { submitted = Kind(answer); });
    kit.Advance(seconds(1));
    kit.Store().FailAlways(dtm::testing::StoreFault::kNone);
    kit.Advance(seconds(5));
    CHECK(registered == "done");
    CHECK(submitted == "done");
    CHECK(kit->Query("g")->status == dtm::Status::kSucceed);
  }
}
