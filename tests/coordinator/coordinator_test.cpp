/// The public face: options at the edge, lists, clocks that were set, forked children.
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include "tests/support/temp_dir.hpp"
#include <tests/coordinator/world.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Coordinator;
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

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

/// A folder of its own, removed at the end.
struct TempFolder {
  TempFolder() {
    char name[] = "/tmp/dtm-test-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path = name;
  }
  ~TempFolder() {
    for (const char* file : {"/a.db", "/a.db-wal", "/a.db-shm", "/a.db.lock", "/a.db-lock"}) {
      ::unlink((path + file).c_str());
    }
    ::rmdir(path.c_str());
  }
  std::string path;
};

}  // namespace

TEST_CASE("coordinator: functions with payloads, a transfer and its rollback") {
  int a = 100, b = 0;
  TestCoordinator kit({}, dtm_test::Quiet());
  auto out = kit->Register<Transfer>("Out", [&a](const Transfer& t) { a -= t.amount; });
  auto out_back = kit->Register<Transfer>("OutBack", [&a](const Transfer& t) { a += t.amount; });
  auto in = kit->Register<Transfer>("In", [&b](const Transfer& t) -> Result {
    if (t.amount > 50) return Result::Failure("too much");
    b += t.amount;
    return Result::Success();
  });
  auto in_back = kit->Register<Transfer>("InBack", [](const Transfer&) {});
  CHECK(dtm::NewSaga(*kit, dtm::MustGenGid(*kit))
            .Add(out, out_back, Transfer{30})
            .Add(in, in_back, Transfer{30})
            .SubmitAndWait(hours(1))
            .Succeeded());
  CHECK(a == 70);
  CHECK(b == 30);
  const auto result = dtm::NewSaga(*kit, "second")
                          .Add(out, out_back, Transfer{60})
                          .Add(in, in_back, Transfer{60})
                          .SubmitAndWait(hours(1));
  CHECK(result.Failed());
  CHECK_THAT(result.reason, ContainsSubstring("too much"));
  CHECK(a == 70);
  CHECK(b == 30);
  CHECK(kit->Query("second")->definition->steps[0].action == "local:Out");
  CHECK_THROWS_AS(kit->Register<int>("Out", [](const int&) {}), dtm::LogicError);
}

TEST_CASE("coordinator: a function of another coordinator is refused") {
  TestCoordinator kit, other;
  auto foreign = other->Register<int>("A", [](const int&) {});
  CHECK_THROWS_AS(dtm::NewSaga(*kit, "a").Add(foreign, dtm::kNoBranch, 1), dtm::LogicError);
}

TEST_CASE("coordinator: bad definitions are refused with a sentence, and nothing is stored") {
  TestCoordinator kit({}, dtm_test::Quiet());
  auto definition = NewDefinition("a", 2);
  std::string says;
  SECTION("no gid") {
    definition.gid.clear();
    says = "gid is empty";
  }
  SECTION("an order of steps that are not there") {
    definition.orders = {{1, {5}}};
    says = "does not exist";
  }
  SECTION("a cycle of orders") {
    definition.concurrent = true;
    definition.orders = {{0, {1}}, {1, {0}}};
    says = "cycle";
  }
  SECTION("a negative option") {
    definition.options.retry_interval = seconds(-1);
    says = "retry_interval";
  }
  SECTION("too large") {
    definition.steps[0].payload.assign(dtm::kMaxPayloadBytes + 1, 'x');
    says = "payload";
  }
  CHECK_THROWS_AS(kit->Submit(definition), dtm::RejectedError);
  CHECK_THROWS_WITH(kit->Submit(definition), ContainsSubstring(says));
  CHECK_THROWS_AS((void)kit->SubmitAndWait(definition, hours(1)), dtm::RejectedError);
  bool called = false;
  CHECK_THROWS_AS(kit->SubmitAsync(definition, [&called](const dtm::Answer&) { called = true; }),
                  dtm::RejectedError);
  kit.Settle();
  CHECK(!called);
  CHECK(kit->List().transactions.empty());
}

TEST_CASE("coordinator: a saga without steps, or with nothing to call, succeeds at once") {
  TestCoordinator kit({}, dtm_test::Quiet());
  CHECK(kit->Submit(NewDefinition("a", 0)).Succeeded());
  auto definition = NewDefinition("b", 2);
  for (auto& step : definition.steps) step.action.clear();
  CHECK(kit->Submit(definition).Succeeded());
  CHECK(kit.Branches().Calls().empty());
}

TEST_CASE("coordinator: too many waiting submissions are refused as busy") {
  dtm::Options options;
  options.max_waiting_submissions = 5;
  TestCoordinator kit({}, dtm_test::Quiet(options));
  for (int i = 0; i < 5; ++i) kit->SubmitAsync(NewDefinition(std::to_string(i), 0), {});
  CHECK_THROWS_AS(kit->SubmitAsync(NewDefinition("5", 0), {}), dtm::RejectedError);
  CHECK_THROWS_AS(kit->SubmitAsync(NewDefinition("5", 0), {}), dtm::BusyError);
  CHECK_THROWS_AS(kit->Submit(NewDefinition("5", 0)), dtm::BusyError);
  CHECK_THROWS_AS(kit->SubmitAndWait(NewDefinition("5", 0), hours(1)), dtm::BusyError);
  CHECK_THROWS_AS(kit->Prepare(NewDefinition("5", 0)), dtm::BusyError);
  CHECK_THROWS_WITH(
      kit->Prepare(NewDefinition("5", 0)),
      ContainsSubstring("'5' was not stored: too much is waiting to be stored, 5 submissions or"));
  try {
    kit->Submit(NewDefinition("", 0));  // that will not do later either
  } catch (const dtm::BusyError&) {
    FAIL("it is no question of time");
  } catch (const dtm::RejectedError&) {
  }
  kit.Settle();
  CHECK(kit->List().transactions.size() == 5);
  kit->SubmitAsync(NewDefinition("5", 0), {});
  kit.Settle();
  CHECK(kit->List().transactions.size() == 6);
}

TEST_CASE("coordinator: lists are filtered, newest first, in pages") {
  TestCoordinator kit({}, dtm_test::Quiet());
  const auto begin = kit.Clock().Now();
  for (int i = 0; i < 10; ++i) {
    const auto gid = std::to_string(i);
    if (i % 2 == 1) kit.Branches().On("http://" + gid + "/01/action", Result::Failure("no"));
    kit->Submit(NewDefinition(gid, 1));
    kit.Advance(seconds(10));
  }
  const auto gids = [](const dtm::ScanPage& page) {
    std::string text;
    for (const auto& t : page.transactions) text += t.definition->gid;
    return text;
  };
  CHECK(gids(kit->List()) == "9876543210");
  dtm::ScanFilter filter;
  filter.status = Status::kFailed;
  CHECK(gids(kit->List(filter)) == "97531");
  auto page = kit->List(filter, 0, 2);
  CHECK(gids(page) == "97");
  page = kit->List(filter, page.next, 2);
  CHECK(gids(page) == "53");
  page = kit->List(filter, page.next, 2);
  CHECK(gids(page) == "1");
  CHECK(page.next == 0);
  filter = {};
  filter.created_from = begin + seconds(15);
  filter.created_to = begin + seconds(45);
  CHECK(gids(kit->List(filter)) == "432");
  filter = {};
  filter.type = dtm::TransType::kTcc;
  CHECK(gids(kit->List(filter)).empty());
  CHECK_THROWS_AS(kit->List({}, 0, 0), dtm::RejectedError);
  CHECK_THROWS_AS(kit->List({}, 0, 1001), dtm::RejectedError);
  CHECK(!kit->Query("unknown"));
}

TEST_CASE("coordinator: new gids are different and sorted by time") {
  TestCoordinator kit({}, dtm_test::Quiet());
  std::set<std::string> gids;
  for (int i = 0; i < 1000; ++i) gids.insert(kit->NewGid());
  CHECK(gids.size() == 1000);
  kit.Advance(seconds(1));
  CHECK(kit->NewGid() > *gids.rbegin());
}

TEST_CASE("coordinator: a timeout of a saga rolls it back in time, also after a restart") {
  const bool crash = GENERATE(false, true);
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/02/action", Times(1000, Result::Ongoing()));
  auto definition = NewDefinition("a", 2);
  definition.options.timeout_to_fail = seconds(3600);
  kit->Submit(definition);
  kit.Advance(minutes(59));
  if (crash) kit.Crash();
  kit.Advance(seconds(59));
  CHECK(kit->Query("a")->status == Status::kSubmitted);
  CHECK_THAT(kit->Explain("a"), ContainsSubstring("rolled back if not done in 1.0 s"));
  kit.Advance(seconds(2));
  CHECK(kit->Query("a")->status == Status::kFailed);
  CHECK_THAT(kit->Query("a")->reason, ContainsSubstring("Timeout after 3600 seconds"));
  CHECK(kit.Branches().Urls().back() == "http://a/01/compensate");
}

TEST_CASE("coordinator: the wall clock was set while the program was down") {
  dtm::Options options;
  const int many = GENERATE(1, 600);
  const bool back = GENERATE(true, false);
  CAPTURE(many, back);
  options.max_in_memory = 20;
  TestCoordinator kit({}, dtm_test::Quiet(options));
  for (int i = 0; i < many; ++i) {
    const auto gid = std::to_string(i);
    kit.Branches().On("http://" + gid + "/01/action", Times(1, Result::Ongoing()));
    kit->Submit(NewDefinition(gid, 1));
  }
  kit.Advance(seconds(5));
  kit.Clock().Set(kit.Clock().Now() + (back ? -hours(48) : hours(48)));
  kit.Crash();
  // The rest of the wait, or the whole of it once more, but not two days.
  kit.Advance(seconds(13));
  for (int i = 0; i < many; ++i) {
    CHECK(kit->Query(std::to_string(i))->status == Status::kSucceed);
  }
}

TEST_CASE("coordinator: a compensation waits for a call of the previous run, whatever the clock") {
  const auto jump = GENERATE(hours(0), hours(-48), hours(48));
  CAPTURE(jump.count());
  TestCoordinator kit({}, dtm_test::Quiet());
  kit.Branches().On("http://a/01/action", {ScriptedAnswer::Silence()});
  kit->Submit(NewDefinition("a", 1));
  kit.Settle();
  kit.Clock().Set(kit.Clock().Now() + jump);
  kit.Crash();
  const auto begin = kit.Clock().Now();
  kit->Cancel("a");
  CHECK(kit->Wait("a", hours(1)).Failed());
  const auto waited = kit.Clock().Now() - begin;
  CHECK(waited <= seconds(6));  // 2 x request_timeout
  if (jump == hours(0)) CHECK(waited == seconds(6));
  CHECK(kit.Branches().Urls().back() == "http://a/01/compensate");
}

TEST_CASE("coordinator: what is submitted into a file that is gone is never answered as stored") {
  const dtm_test::TempDir dir;
  std::vector<std::string> errors;
  dtm::Options options;
  options.log = [&errors](dtm::LogLevel level, const std::string& text) {
    if (level == dtm::LogLevel::kError) errors.push_back(text);
  };
  TestCoordinator kit({}, options, std::make_shared<dtm::SqliteStore>(dir / "a.db"));
  CHECK(kit->Submit(NewDefinition("kept", 0)).Succeeded());
  SECTION("the file was removed: refused until somebody acts") {
    ::unlink((dir / "a.db").c_str());
    CHECK_THROWS_AS(kit->Submit(NewDefinition("first", 1)), dtm::InDoubtError);
    kit.Advance(minutes(1));
    for (int i = 0; i < 3; ++i) {
      CHECK_THROWS_AS(kit->Submit(NewDefinition(std::to_string(i), 1)), dtm::StoreError);
      kit.Advance(seconds(10));
    }
    CHECK_THROWS_WITH(
        kit->Submit(NewDefinition("last", 1)),
        ContainsSubstring(dir / "a.db") && ContainsSubstring("no longer at its path"));
    CHECK(kit.Branches().Calls().empty());
    REQUIRE(errors.size() == 1);
    CHECK_THAT(errors[0], ContainsSubstring("nothing goes on") && ContainsSubstring(dir / "a.db"));
  }
  SECTION("its log was removed: it goes on by itself, and nothing is lost") {
    ::unlink((dir / "a.db-wal").c_str());
    CHECK_THROWS_AS(kit->Submit(NewDefinition("first", 1)), dtm::InDoubtError);
    kit.Advance(minutes(1));
    CHECK(kit->Query("first")->status == Status::kSucceed);
    CHECK(kit.Branches().Calls().size() == 1);
    CHECK(kit->Submit(NewDefinition("second", 0)).Succeeded());
    CHECK(kit->Query("kept").has_value());
    REQUIRE(errors.size() == 1);
    CHECK_THAT(errors[0], ContainsSubstring("a.db-wal"));
  }
}

TEST_CASE("coordinator: a forked child can do nothing, and harms nothing") {
  TempFolder folder;
  Coordinator tm(folder.path + "/a.db", dtm_test::Quiet());
  tm.Register<int>("A", [](const int&) {});
  const bool threaded = GENERATE(false, true);
  CAPTURE(threaded);
  if (threaded) tm.Start();
  dtm::Definition definition;
  definition.gid = "before";
  definition.steps = {{"local:A", "", "1"}};
  REQUIRE(tm.SubmitAndWait(definition, hours(1)).Succeeded());
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::alarm(20);
    int wrong = 0;
    const auto expect = [&wrong](const auto& function) {
      try {
        function();
        ++wrong;
      } catch (const dtm::LogicError&) {
      }
    };
    expect([&] { tm.Submit(definition); });
    expect([&] { (void)tm.SubmitAndWait(definition, hours(1)); });
    expect([&] { tm.SubmitAsync(definition, {}); });
    expect([&] { tm.Prepare(definition); });
    expect([&] { (void)tm.ListWaiting(seconds(0), 1); });
    expect([&] { (void)tm.CallFunction("A", "1", {}); });
    expect([&] { (void)tm.Counted(); });
    expect([&] { (void)tm.Settings(); });
    expect([&] { (void)tm.Query("before"); });
    expect([&] { (void)tm.List(); });
    expect([&] { (void)tm.Wait("before", hours(1)); });
    expect([&] { (void)tm.Explain("before"); });
    expect([&] { tm.Cancel("before"); });
    expect([&] { tm.ForceStop("before"); });
    expect([&] { tm.RetryNow("before"); });
    expect([&] { tm.Skip("before", "01", dtm::Op::kAction, {"", "why"}); });
    expect([&] { (void)tm.Poll(); });
    expect([&] { tm.Start(); });
    expect([&] { (void)tm.Stop(seconds(1)); });
    expect([&] { (void)tm.NewGid(); });
    expect([&] { tm.Register<int>("B", [](const int&) {}); });
    expect([&] { tm.Use(nullptr); });
    tm.~Coordinator();  // as at the end of a child's main
    ::_exit(wrong);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  definition.gid = "after";
  CHECK(tm.SubmitAndWait(definition, hours(1)).Succeeded());
  CHECK_THROWS_AS(Coordinator(folder.path + "/a.db"), dtm::StoreError);  // still locked by us
  CHECK(tm.Stop(seconds(10)));
}

TEST_CASE("coordinator: on a file, what was accepted goes on in the next run") {
  TempFolder folder;
  int runs = 0;
  {
    Coordinator tm(folder.path + "/a.db", dtm_test::Quiet());
    dtm::Definition definition;
    definition.gid = "a";
    definition.steps = {{"local:A", "", "7"}};
    tm.Submit(definition);
  }
  Coordinator tm(folder.path + "/a.db", dtm_test::Quiet());
  tm.Register<int>("A", [&runs](const int& n) { runs += n; });
  tm.RetryNow("a");
  CHECK(tm.Wait("a", hours(1)).Succeeded());
  CHECK(runs == 7);
}

TEST_CASE("coordinator: branches of another scheme are called by its caller, and wait without it") {
  struct Grpc : dtm::BranchCaller {
    explicit Grpc(std::string& called_in) : called(called_in) {}
    std::vector<std::string> Schemes() const override { return {"grpc"}; }
    void Call(std::vector<dtm::BranchCall> calls, dtm::BranchResults& results) override {
      for (dtm::BranchCall& call : calls) {
        called += call.Url() + " ";
        results.Done(std::move(call), Result::Success());
      }
    }
    void Stop() override {}
    std::string& called;
  };
  std::string called;
  TempFolder folder;
  dtm::Definition definition;
  definition.gid = "a";
  definition.steps = {{"local:A", "", "7"}, {"grpc://bank/In", "", "8"}};
  {
    Coordinator tm(folder.path + "/a.db", dtm_test::Quiet());
    tm.Use(std::make_unique<Grpc>(called));
    tm.Submit(definition);
  }
  {
    Coordinator tm(folder.path + "/a.db", dtm_test::Quiet());
    tm.Register<int>("A", [](const int&) {});
    CHECK_THROWS_AS(tm.Submit(definition), dtm::BadInput);
    tm.RetryNow("a");
    for (int i = 0; i < 5; ++i) (void)tm.Poll();
    CHECK_THAT(tm.Explain("a"), ContainsSubstring("this program calls no grpc:// URLs"));
  }
  Coordinator tm(folder.path + "/a.db", dtm_test::Quiet());
  tm.Register<int>("A", [](const int&) {});
  tm.Use(std::make_unique<Grpc>(called));
  tm.RetryNow("a");
  CHECK(tm.Wait("a", hours(1)).Succeeded());
  CHECK(called == "grpc://bank/In ");
}

TEST_CASE("coordinator: a caller of functions gets the calls of those that are not registered") {
  struct StandIn : dtm::BranchCaller {
    explicit StandIn(std::string& called_in) : called(called_in) {}
    std::vector<std::string> Schemes() const override { return {"local"}; }
    void Call(std::vector<dtm::BranchCall> calls, dtm::BranchResults& results) override {
      for (dtm::BranchCall& call : calls) {
        called += call.Url() + " ";
        results.Done(std::move(call), Result::Success());
      }
    }
    void Stop() override {}
    std::string& called;
  };
  std::string called;
  int runs = 0;
  Coordinator tm(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
  tm.Use(std::make_unique<StandIn>(called));
  tm.Register<int>("A", [&runs](const int&) { ++runs; });
  dtm::Definition definition;
  definition.gid = "a";
  definition.steps = {{"local:A", "", "7"}, {"local:B", "", "8"}};
  CHECK(tm.SubmitAndWait(definition, hours(1)).Succeeded());
  CHECK(called == "local:B ");
  CHECK(runs == 1);
}

TEST_CASE("coordinator: a workflow whose step is not finished yet is resumed at its interval") {
  TestCoordinator kit({}, dtm_test::Quiet());
  const dtm::Time start = kit.Clock().Now();
  std::vector<dtm::Duration> asked;
  const auto handle =
      dtm::RegisterWorkflow<int>(*kit, "wf", [&](dtm::Workflow& wf, const int& times) {
        return wf.NewBranch().Do([&] {
          asked.push_back(kit.Clock().Now() - start);
          if (asked.size() < static_cast<std::size_t>(times)) throw dtm::OngoingError("not yet");
          return std::string("done");
        });
      });
  dtm::TransOptions options;
  options.retry_interval = seconds(7);
  CHECK_THROWS_AS(handle.Execute("g", 5, options), dtm::OngoingError);
  kit.Advance(minutes(2));
  CHECK(kit->Query("g")->status == Status::kSucceed);
  CHECK(asked ==
        std::vector<dtm::Duration>{seconds(0), seconds(7), seconds(14), seconds(21), seconds(28)});
}

TEST_CASE("coordinator: functions that own what they use, and empty ones") {
  Coordinator tm(std::make_unique<dtm::MemoryStore>());
  auto owned = std::make_unique<int>(0);
  const int* const sum = owned.get();
  const auto in = tm.Register<Transfer>(
      "In", [owned = std::move(owned)](const Transfer& t) { *owned += t.amount; });
  CHECK(dtm::NewSaga(tm, "g")
            .Add(in, dtm::kNoBranch, Transfer{30})
            .SubmitAndWait(seconds(9))
            .Succeeded());
  CHECK(*sum == 30);
  using Function = std::function<void(const Transfer&)>;
  CHECK_THROWS_WITH(tm.Register<Transfer>("Empty", Function()),
                    ContainsSubstring("'Empty' is an empty"));
  using InCommit = std::function<void(sqlite3*, const Transfer&)>;
  CHECK_THROWS_WITH(tm.RegisterInTransaction<Transfer>("Empty", InCommit()),
                    ContainsSubstring("'Empty' is an empty"));
}

TEST_CASE("coordinator: the timeline tells what happened, from every store, and after a restart") {
  const TempFolder folder;
  const bool in_a_file = GENERATE(false, true);
  dtm::Options options = dtm_test::Quiet();
  const auto open = [&] {
    return in_a_file ? std::make_unique<Coordinator>(folder.path + "/a.db", options)
                     : std::make_unique<Coordinator>(std::make_unique<dtm::MemoryStore>(), options);
  };
  const auto told = [](Coordinator& tm, const char* gid) {
    std::vector<std::string> lines;
    const auto story = tm.Timeline(gid);
    REQUIRE(story);
    for (const dtm::JournalEntry& entry : story->entries) {
      lines.push_back((entry.row == dtm::kNoRow ? "" : std::to_string(entry.row) + " ") +
                      dtm::Name(entry.kind) + (entry.text.empty() ? "" : ": " + entry.text));
    }
    return lines;
  };
  auto tm = open();
  const auto function = tm->Register<int>("Refuse", [](const int& amount) {
    return amount > 1 ? Result::Failure("at most 1") : Result::Success();
  });
  CHECK(dtm::NewSaga(*tm, "good")
            .Add(function, dtm::kNoBranch, 1)
            .SubmitAndWait(seconds(9))
            .Succeeded());
  CHECK(
      dtm::NewSaga(*tm, "bad").Add(function, dtm::kNoBranch, 2).SubmitAndWait(seconds(9)).Failed());
  const std::vector<std::string> good = {"submitted", "1 started", "1 success", "succeeded"};
  const std::vector<std::string> bad = {"submitted", "1 started", "1 failure: at most 1",
                                        "1 rollback: at most 1", "failed"};
  CHECK(told(*tm, "good") == good);
  CHECK(told(*tm, "bad") == bad);
  const auto story = tm->Timeline("bad");
  CHECK(story->transaction.status == dtm::Status::kFailed);
  REQUIRE(story->attempts.size() == 1);
  CHECK(story->attempts[0].outcome == dtm::Attempt::Outcome::kFailure);
  CHECK(story->attempts[0].text == "at most 1");
  CHECK(!tm->Timeline("nobody"));
  if (!in_a_file) return;
  tm.reset();
  options.history = 0;  // what was kept can be read
  tm = open();
  CHECK(told(*tm, "bad") == bad);
  tm->Submit(NewDefinition("silent", 1));
  CHECK(tm->Timeline("silent")->entries.empty());
}
