/// Prepare and the submit that sets it going: on every store, in memory or not, after a restart.
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include "tests/support/temp_dir.hpp"
#include <tests/coordinator/turns.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Coordinator;
using dtm::Definition;
using dtm::Result;
using dtm::Status;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using world::NewDefinition;
using world::Times;
using world::World;
using Texts = std::vector<std::string>;

namespace {

/// A test coordinator on either store; the prepared ones leave memory, or a crash comes.
struct Prepared {
  explicit Prepared(dtm::Options options = {}, TestCoordinator::Setup setup = {})
      : sqlite(GENERATE(false, true)),
        crash(GENERATE(false, true)),
        kit(std::move(setup), dtm_test::Quiet(std::move(options)), NewStore()) {
    UNSCOPED_INFO((sqlite ? "SQLite" : "memory") << (crash ? ", after a crash" : ""));
  }
  std::shared_ptr<dtm::Store> NewStore() const {
    if (!sqlite) return std::make_shared<dtm::MemoryStore>();
    return std::make_shared<dtm::SqliteStore>(dir / "a.db", dtm::Durability::kProcess);
  }
  void Prepare(const Definition& definition) {
    const auto result = kit->Prepare(definition);
    CHECK(result.gid == definition.gid);
    CHECK(result.status == Status::kPrepared);
    kit.Settle();
    if (crash) kit.Crash();
  }
  std::string StatusOf(const std::string& gid) {
    const auto stored = kit->Query(gid);
    return stored ? Name(stored->status) : "";
  }

  dtm_test::TempDir dir;
  const bool sqlite, crash;
  TestCoordinator kit;
};

/// A submit that says nothing but the gid.
Definition Bare(const std::string& gid) {
  Definition definition;
  definition.gid = gid;
  return definition;
}

}  // namespace

TEST_CASE("prepare: it is stored, waits, and runs once with the steps given here") {
  Prepared world;
  auto& kit = world.kit;
  const auto begin = kit.Clock().Now();
  world.Prepare(NewDefinition("a", 2));
  kit.Advance(hours(100));
  CHECK(world.StatusOf("a") == "prepared");
  CHECK(kit->Query("a")->version == 1);
  CHECK(kit.Branches().Calls().empty());
  const auto submitted = kit.Clock().Now();
  Definition submit = NewDefinition("a", 2);
  SECTION("the same steps") {}
  SECTION("no steps") { submit.steps.clear(); }
  SECTION("other steps") { submit.steps = {{"http://other", "http://other", "7"}}; }
  CHECK(kit->Submit(submit).status == Status::kSubmitted);
  kit.Settle();
  CHECK(world.StatusOf("a") == "succeed");
  CHECK(kit.Branches().Urls() == Texts{"http://a/01/action", "http://a/02/action"});
  CHECK(kit.Branches().Calls()[0].at == submitted);
  CHECK(kit->Query("a")->created == begin);
  CHECK(kit->Query("a")->finished == submitted);
}

TEST_CASE("prepare: options and order of the submit count, and are stored with it") {
  Prepared world;
  auto& kit = world.kit;
  Definition prepare = NewDefinition("a", 2);
  prepare.options.retry_interval = hours(5);
  prepare.options.retry_limit = 3;
  prepare.options.branch_headers = {{"from", "prepare"}};
  world.Prepare(prepare);
  Definition submit = NewDefinition("a", 2, true);
  submit.options.retry_interval = seconds(7);
  submit.options.branch_headers = {{"from", "submit"}};
  kit.Branches().On("http://a/01/action", Result::Ongoing());
  kit->Submit(submit);
  kit.Settle();
  CHECK(kit.Branches().Calls().size() == 2);  // together
  if (world.crash) kit.Crash();
  for (int life = 0; life < 2; ++life) {
    const auto stored = kit->Query("a");
    REQUIRE(stored);
    CHECK(stored->definition->prepared_first);
    CHECK(stored->definition->concurrent);
    CHECK(stored->definition->options.retry_interval == seconds(7));
    CHECK(stored->definition->options.retry_limit == 3);
    CHECK(stored->definition->options.branch_headers.at("from") == "submit");
    CHECK(stored->definition->steps.size() == 2);
    kit.Crash();
  }
  const auto begin = kit.Clock().Now();
  CHECK(kit->Wait("a", hours(1)).Succeeded());
  CHECK(kit.Clock().Now() - begin <= seconds(9));  // the interval of the submit, and its jitter
}

TEST_CASE("prepare: the file holds what was promoted, small or large, when it is opened again") {
  const std::size_t prepare_bytes = GENERATE(as<std::size_t>{}, 10, 100, 50000);
  const std::size_t submit_bytes = GENERATE(as<std::size_t>{}, 0, 100, 3000);
  CAPTURE(prepare_bytes, submit_bytes);
  const dtm_test::TempDir dir;
  Definition prepare = NewDefinition("a", 1);
  prepare.steps[0].payload = "\"" + std::string(prepare_bytes, 'x') + "\"";
  prepare.options.branch_headers = {{"k", std::string(3000, 'p')}};  // a large one
  if (prepare_bytes == 10) prepare.options.branch_headers.clear();
  Definition submit = Bare("a");
  if (submit_bytes > 0) submit.options.branch_headers = {{"k", std::string(submit_bytes, 's')}};
  submit.options.retry_interval = hours(1);
  const auto expected =
      submit_bytes > 0 ? submit.options.branch_headers : prepare.options.branch_headers;
  {
    TestCoordinator kit({}, dtm_test::Quiet(), std::make_shared<dtm::SqliteStore>(dir / "a.db"));
    kit.Branches().On("http://a/01/action", Result::Ongoing());
    kit->Prepare(prepare);
    kit->Submit(submit);
    kit.Settle();
  }
  dtm::SqliteStore store(dir / "a.db");
  const auto stored = store.Load("a");
  REQUIRE(stored);
  CHECK(!stored->unreadable);
  CHECK(stored->status == Status::kSubmitted);
  CHECK(stored->definition->options.branch_headers == expected);
  CHECK(stored->definition->options.retry_interval == hours(1));
  CHECK(stored->definition->steps[0].payload == prepare.steps[0].payload);
  CHECK(stored->branches[1].tries == 1);
}

TEST_CASE("prepare: its repeats, and those of the submit") {
  Prepared world;
  auto& kit = world.kit;
  Definition same = NewDefinition("a", 2), other = NewDefinition("a", 2);
  other.steps[1].payload = "{\"other\":1}";
  world.Prepare(same);

  same.options.retry_limit = 9;  // options are not content; the first ones count
  CHECK(kit->Prepare(same).status == Status::kPrepared);
  CHECK_THROWS_AS(kit->Prepare(other), dtm::RejectedError);
  CHECK_THROWS_WITH(kit->Prepare(Bare("a")),
                    ContainsSubstring("gid 'a' exists with other content"));
  CHECK(kit->Query("a")->version == 1);
  CHECK(kit->Query("a")->definition->options.retry_limit == 0);

  const auto ends = GENERATE(as<std::string>{}, "submitted", "aborting", "succeed", "failed");
  CAPTURE(ends);
  if (ends == "submitted") kit.Branches().On("http://a/02/action", Times(99, Result::Ongoing()));
  if (ends == "aborting" || ends == "failed") {
    kit.Branches().On("http://a/02/action", Result::Failure("no money"));
  }
  if (ends == "aborting") {
    kit.Branches().On("http://a/01/compensate", Times(99, Result::Ongoing()));
  }
  kit->Submit(Bare("a"));
  kit.Settle();
  REQUIRE(world.StatusOf("a") == ends);
  if (world.crash) kit.Crash();
  const auto calls = kit.Branches().Calls().size();
  const auto version = kit->Query("a")->version;

  for (const Definition& again : {same, other, Bare("a")}) {
    CHECK_THROWS_AS(kit->Prepare(again), dtm::RejectedError);
    CHECK_THROWS_WITH(kit->Prepare(again), ContainsSubstring("gid 'a'") &&
                                               ContainsSubstring("current status '" + ends +
                                                                 "', cannot prepare. FAILURE"));
    if (ends == "failed") {
      CHECK_THROWS_AS(kit->Submit(again), dtm::FailureError);
      CHECK_THROWS_WITH(kit->Submit(again), ContainsSubstring("no money"));
      CHECK(kit->SubmitAndWait(again, seconds(1)).Failed());
    } else {
      CHECK(Name(kit->Submit(again).status) == ends);
    }
  }
  CHECK(kit.Branches().Calls().size() == calls);
  if (!world.crash) CHECK(kit->Query("a")->version == version);
}

TEST_CASE("prepare: a gid that was submitted cannot be prepared") {
  Prepared world;
  auto& kit = world.kit;
  kit.Branches().On("http://a/01/action", Times(99, Result::Ongoing()));
  kit->Submit(NewDefinition("a", 1));
  kit->Submit(NewDefinition("b", 1));
  kit.Settle();
  if (world.crash) kit.Crash();
  CHECK_THROWS_WITH(kit->Prepare(NewDefinition("a", 1)), ContainsSubstring("status 'submitted'"));
  CHECK_THROWS_WITH(kit->Prepare(NewDefinition("b", 1)), ContainsSubstring("status 'succeed'"));
  CHECK_THROWS_AS(kit->Prepare(NewDefinition("b", 1)), dtm::RejectedError);
  CHECK(!kit->Query("a")->definition->prepared_first);
}

TEST_CASE("prepare: a submit of another type is refused, and the right one comes through") {
  Prepared world;
  auto& kit = world.kit;
  world.Prepare(NewDefinition("a", 1));
  Definition other = NewDefinition("a", 1);
  other.type = dtm::TransType::kTcc;
  CHECK_THROWS_AS(kit->Submit(other), dtm::RejectedError);
  CHECK_THROWS_AS(kit->Prepare(other), dtm::RejectedError);
  CHECK(world.StatusOf("a") == "prepared");
  CHECK(kit->SubmitAndWait(NewDefinition("a", 1), hours(1)).Succeeded());
}

TEST_CASE("prepare: an order that does not fit the prepared steps is refused, nothing changes") {
  Prepared world;
  auto& kit = world.kit;
  world.Prepare(NewDefinition("a", 2));
  Definition submit = NewDefinition("a", 4);
  submit.orders = {{3, {2}}};
  CHECK_THROWS_AS(kit->Submit(submit), dtm::RejectedError);
  CHECK_THROWS_WITH(kit->Submit(submit),
                    ContainsSubstring("'a'") && ContainsSubstring("step 3, which does not exist"));
  CHECK(world.StatusOf("a") == "prepared");
  CHECK(kit->Query("a")->definition->orders.empty());
  CHECK(kit.Branches().Calls().empty());
  CHECK(kit->SubmitAndWait(Bare("a"), hours(1)).Succeeded());
  CHECK(kit.Branches().Calls().size() == 2);
}

TEST_CASE("prepare: a submit may bring the order without repeating the steps") {
  Prepared world;
  auto& kit = world.kit;
  world.Prepare(NewDefinition("a", 2));
  Definition submit = Bare("a");
  submit.concurrent = true;
  submit.orders = {{0, {1}}};
  CHECK(kit->SubmitAndWait(submit, hours(1)).Succeeded());
  CHECK(kit.Branches().Urls() == Texts{"http://a/02/action", "http://a/01/action"});
}

TEST_CASE("prepare: every way of submitting sets it going") {
  Prepared world;
  auto& kit = world.kit;
  world.Prepare(NewDefinition("a", 2));
  kit.Branches().On("http://a/01/action", {{Result::Success(), seconds(1), false}});
  const auto begin = kit.Clock().Now();
  SECTION("Submit with wait_result") {
    Definition submit = Bare("a");
    submit.options.wait_result = true;
    CHECK(kit->Submit(submit).Succeeded());
    CHECK(kit.Clock().Now() == begin + seconds(1));
  }
  SECTION("Submit with wait_result, rolled back") {
    kit.Branches().On("http://a/02/action", Result::Failure("no money"));
    Definition submit = Bare("a");
    submit.options.wait_result = true;
    CHECK_THROWS_AS(kit->Submit(submit), dtm::FailureError);
  }
  SECTION("SubmitAndWait") {
    CHECK(kit->SubmitAndWait(Bare("a"), hours(1)).Succeeded());
    CHECK(kit.Clock().Now() == begin + seconds(1));
  }
  SECTION("SubmitAsync") {
    std::string said;
    kit->SubmitAsync(Bare("a"), [&](const dtm::Answer& reply) { said = turns::InWords(reply); });
    kit.Settle();
    CHECK(said == "submitted");
  }
  kit.Advance(minutes(1));
  CHECK(dtm::IsFinal(kit->Query("a")->status));
}

TEST_CASE("prepare: a submit whose answer nobody wants sets it going too") {
  Prepared world;
  auto& kit = world.kit;
  world.Prepare(NewDefinition("a", 1));
  kit->SubmitAsync(Bare("a"), {});
  kit.Settle();
  CHECK(world.StatusOf("a") == "succeed");
}

TEST_CASE("prepare: its submit comes while somebody waits for the end") {
  Prepared world;
  auto& kit = world.kit;
  world.Prepare(NewDefinition("a", 1));
  const auto begin = kit.Clock().Now();
  std::string said;
  kit.Clock().At(begin + minutes(10), [&] {
    kit->SubmitAsync(Bare("a"), [&](const dtm::Answer& reply) { said = turns::InWords(reply); });
  });
  CHECK(kit->Wait("a", hours(1)).Succeeded());  // it is in memory, because of the waiter
  CHECK(kit.Clock().Now() == begin + minutes(10));
  CHECK(said == "submitted");
}

TEST_CASE("prepare: waiting for one that nobody submits ends at the timeout") {
  Prepared world;
  auto& kit = world.kit;
  world.Prepare(NewDefinition("a", 1));
  const auto begin = kit.Clock().Now();
  CHECK(kit->Wait("a", minutes(10)).status == Status::kPrepared);
  CHECK(kit.Clock().Now() == begin + minutes(10));
  CHECK(kit->SubmitAndWait(Bare("a"), hours(1)).Succeeded());
}

TEST_CASE("prepare: its timeout begins with the prepare, and rolls back only what is submitted") {
  Prepared world;
  auto& kit = world.kit;
  Definition prepare = NewDefinition("a", 1);
  prepare.options.timeout_to_fail = seconds(60);
  world.Prepare(prepare);
  kit.Advance(minutes(5));
  CHECK(world.StatusOf("a") == "prepared");
  const auto result = kit->SubmitAndWait(Bare("a"), hours(1));
  CHECK(result.Failed());
  CHECK_THAT(result.reason, ContainsSubstring("Timeout after 60 seconds"));
  CHECK(kit.Branches().Calls().empty());
}

TEST_CASE("prepare: bad definitions are refused with a sentence, and nothing is stored") {
  TestCoordinator kit({}, dtm_test::Quiet());
  Definition definition = NewDefinition("a", 1);
  std::string says;
  SECTION("no gid") { definition.gid.clear(), says = "gid is empty"; }
  SECTION("no such step") { definition.orders = {{0, {1}}}, says = "does not exist"; }
  SECTION("an option") { definition.options.retry_limit = -1, says = "retry_limit"; }
  CHECK_THROWS_AS(kit->Prepare(definition), dtm::RejectedError);
  CHECK_THROWS_WITH(kit->Prepare(definition), ContainsSubstring(says));
  CHECK_THROWS_AS(kit->Submit(definition), dtm::RejectedError);
  kit.Settle();
  CHECK(kit->List().transactions.empty());
}

TEST_CASE("prepare: only Prepare makes a prepared one") {
  TestCoordinator kit({}, dtm_test::Quiet());
  Definition copied = NewDefinition("a", 1);
  copied.prepared_first = true;  // as in the record of another one
  kit->Submit(copied);
  kit.Settle();
  CHECK(!kit->Query("a")->definition->prepared_first);
  CHECK_THROWS_WITH(kit->Submit(NewDefinition("a", 2)), ContainsSubstring("other content"));
}

TEST_CASE("prepare: inside a callback it is refused, inside a branch function it works") {
  TestCoordinator kit({}, dtm_test::Quiet());
  std::string said;
  kit->Register<int>("F", [&](const int&) {
    CHECK(kit->Prepare(NewDefinition("inner", 1)).status == Status::kPrepared);
  });
  Definition definition = Bare("outer");
  definition.steps = {{"local:F", "", "1"}};
  kit->SubmitAsync(definition, [&](const dtm::Answer&) {
    CHECK_THROWS_AS(kit->Prepare(NewDefinition("callback", 1)), dtm::LogicError);
  });
  CHECK(kit->Wait("outer", hours(1)).Succeeded());
  CHECK(kit->Query("inner")->status == Status::kPrepared);
  CHECK(!kit->Query("callback"));
  REQUIRE(kit->Stop(seconds(1)));
  CHECK_THROWS_AS(kit->Prepare(NewDefinition("late", 1)), dtm::LogicError);
}
