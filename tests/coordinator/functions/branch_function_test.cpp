/// Branch functions inside the commit of their result: exactly once through crashes, whatever they answer.
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/coordinator/sql_kit.hpp"
#include <dtm/coordinator/loop/in_commit_work.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::kNoBranch;
using dtm::Result;
using dtm::testing::StoreFault;
using sql_kit::Bank;
using sql_kit::Note;
using sql_kit::Sql;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr int kPerTurn = dtm::InCommitWork::kPerTurn;

struct Answers {
  int runs = 0;
  std::function<Result(int run)> next = [](int) { return Result::Success(); };
};

/// Out, In and Back move money; Ask notes and answers what the test says; Plain is an ordinary function.
struct Moves {
  dtm::LocalBranch<int> out, in, back, ask, plain;
  explicit Moves(dtm::Coordinator& tm, Answers& answers)
      : out(Moving(tm, "Out", 1, -1)),
        in(Moving(tm, "In", 2, 1)),
        back(Moving(tm, "Back", 1, 1)),
        ask(tm.RegisterInTransaction<int>("Ask",
                                          [&answers](sqlite3* db, const int&) {
                                            Note(db, "ask");
                                            return answers.next(++answers.runs);
                                          })),
        plain(tm.Register<int>("Plain", [](const int&) {})) {}

  static dtm::LocalBranch<int> Moving(dtm::Coordinator& tm, const std::string& name, int account,
                                      int sign) {
    return tm.RegisterInTransaction<int>(name, [=](sqlite3* db, const int& amount) {
      Note(db, name);
      Sql(db, "UPDATE acc SET n = n + " + std::to_string(sign * amount) +
                  " WHERE id = " + std::to_string(account));
    });
  }
};

dtm::Definition Saga(const std::string& gid, std::vector<dtm::Step> steps) {
  dtm::Definition definition;
  definition.gid = gid;
  definition.options.retry_interval = seconds(1);
  definition.steps = std::move(steps);
  return definition;
}

}  // namespace

TEST_CASE("branch function: a saga of two inside transactions is one commit") {
  Answers answers;
  Bank bank;
  Moves moves(*bank, answers);
  bank.kit.Settle();
  const auto commits = bank.kit.Store().Commits();
  dtm::NewSaga(*bank, "g").Add(moves.out, moves.back, 30).Add(moves.in, kNoBranch, 30).Submit();
  CHECK(bank.kit.Store().Commits() == commits + 1);
  CHECK(bank.Status("g") == "succeed");
  CHECK(bank->Query("g")->version == 1);
  CHECK(bank.Balance(1) == 70);
  CHECK(bank.Balance(2) == 230);
  bank.kit.Settle();
  CHECK(bank.kit.Store().Commits() == commits + 1);
}

TEST_CASE("branch function: ordinary, transactional and URL branches mix in one saga, in order") {
  Answers answers;
  Bank bank;
  Moves moves(*bank, answers);
  dtm::NewSaga(*bank, "g")
      .Add("http://first", "http://undo", 1)
      .Add(moves.out, moves.back, 30)
      .Add(moves.plain, kNoBranch, 1)
      .Add(moves.in, kNoBranch, 30)
      .Add("http://last", "http://undo", 1)
      .Submit();
  bank.kit.Settle();
  CHECK(bank.Status("g") == "succeed");
  CHECK(bank.Balance(1) + bank.Balance(2) == 300);
  CHECK(bank.Balance(2) == 230);
  CHECK(bank.kit.Branches().Urls() == std::vector<std::string>{"http://first", "http://last"});
}

TEST_CASE("branch function: concurrent steps run all, once") {
  Answers answers;
  Bank bank;
  Moves moves(*bank, answers);
  auto saga = dtm::NewSaga(*bank, "g");
  saga.SetConcurrent();
  for (int i = 0; i < 100; ++i) saga.Add(moves.ask, kNoBranch, i);  // more than fit into a turn
  CHECK(saga.SubmitAndWait(hours(1)).Succeeded());
  CHECK(bank.Notes("ask") == 100);
  CHECK(answers.runs == 100);
}

TEST_CASE("branch function: FAILURE undoes its own writes and what came before is compensated") {
  for (const bool thrown : {false, true}) {
    Answers answers;
    Bank bank;
    Moves moves(*bank, answers);
    answers.next = [&](int) -> Result {
      if (thrown) throw dtm::FailureError("no money");
      return Result::Failure("no money");
    };
    const auto end = dtm::NewSaga(*bank, "g")
                         .Add(moves.out, moves.back, 30)
                         .Add("http://a", "http://undo", 30)
                         .Add(moves.ask, moves.back, 1000)
                         .Add(moves.in, kNoBranch, 30)
                         .SubmitAndWait(hours(1));
    CHECK(end.Failed());
    CHECK_THAT(end.reason, ContainsSubstring("no money"));
    CHECK(answers.runs == 1);
    CHECK(bank.Notes("ask") == 0);
    CHECK(bank.Notes("Back") == 1);  // its own is not needed: it has left nothing
    CHECK(bank.Notes("In") == 0);
    CHECK(bank.Balance(1) == 100);
    CHECK(bank.kit.Branches().Urls() == std::vector<std::string>{"http://a", "http://undo"});
  }
}

TEST_CASE(
    "branch function: an exception of any kind is retried with growing waits and leaves nothing") {
  for (const int kind : {0, 1, 2, 3}) {
    INFO("kind " << kind);
    Answers answers;
    Bank bank;
    Moves moves(*bank, answers);
    std::vector<dtm::Time> at;
    answers.next = [&](int run) -> Result {
      at.push_back(bank.kit.Clock().Now());
      if (run > 3) return Result::Success();
      if (kind == 0) throw std::runtime_error("oops");
      if (kind == 1) throw 7;
      if (kind == 2) return Result::Error("later");
      throw dtm::LogicError("mine");
    };
    dtm::NewSaga(*bank, "g").Add(moves.ask, kNoBranch, 1).SetRetryInterval(seconds(10)).Submit();
    CHECK(bank.Notes("ask") == 0);
    bank.kit.Advance(seconds(9));
    CHECK(answers.runs == 1);
    bank.kit.Advance(hours(1));
    CHECK(bank.Status("g") == "succeed");
    CHECK(bank.Notes("ask") == 1);
    REQUIRE(at.size() == 4);
    CHECK(at[1] - at[0] >= seconds(10));
    CHECK(at[2] - at[1] > at[1] - at[0]);
    CHECK(at[3] - at[2] > at[2] - at[1]);
  }
}

TEST_CASE("branch function: one that breaks its batch is retried with waits, and others go on") {
  Answers answers;
  Bank bank;
  Moves moves(*bank, answers);
  auto bomb = bank->RegisterInTransaction<int>("Bomb", [&](sqlite3* db, const int&) {
    Note(db, "bomb");
    if (++answers.runs <= 4) sql_kit::Careless(db, "INSERT INTO bomb VALUES (1)");
    Note(db, "after");
  });
  const auto nobody = [](const dtm::Answer&) {};
  dtm::NewSaga(*bank, "x").Add(moves.out, kNoBranch, 1).SubmitAsync(nobody);
  dtm::NewSaga(*bank, "g").Add(bomb, kNoBranch, 1).SetRetryInterval(seconds(1)).SubmitAsync(nobody);
  dtm::NewSaga(*bank, "y").Add(moves.out, kNoBranch, 1).SubmitAsync(nobody);
  bank.kit.Settle();
  CHECK(bank.Status("x") == "succeed");
  CHECK(bank.Status("y") == "succeed");
  CHECK(bank.Balance(1) == 98);
  CHECK(bank.Notes("bomb") + bank.Notes("after") == 0);
  CHECK_THAT(bank->Explain("g"), ContainsSubstring("rolled"));
  CHECK(answers.runs == 2);  // in the batch and alone: then it waits
  bank.kit.Advance(seconds(60));
  CHECK(bank.Status("g") == "succeed");
  CHECK(bank.Notes("bomb") == 1);
  CHECK(bank.Notes("after") == 1);
}

TEST_CASE("branch function: ONGOING leaves nothing and is asked again after the interval") {
  Answers answers;
  Bank bank;
  Moves moves(*bank, answers);
  answers.next = [](int run) { return run < 3 ? Result::Ongoing("soon") : Result::Success(); };
  dtm::NewSaga(*bank, "g").Add(moves.ask, kNoBranch, 1).SetRetryInterval(seconds(10)).Submit();
  bank.kit.Advance(seconds(10));
  CHECK(answers.runs == 2);
  CHECK(bank.Notes("ask") == 0);
  bank.kit.Advance(seconds(10));
  CHECK(answers.runs == 3);
  CHECK(bank.Notes("ask") == 1);
  CHECK(bank.Status("g") == "succeed");
}

TEST_CASE("branch function: the same submit again, running or ended, does not run it again") {
  Answers answers;
  Bank bank;
  Moves moves(*bank, answers);
  bank.kit.Branches().On("http://slow", {{Result::Success(), seconds(5), false}});
  auto saga = dtm::NewSaga(*bank, "g");
  saga.Add(moves.out, moves.back, 30).Add("http://slow", kNoBranch, 1);
  for (int i = 0; i < 3; ++i) saga.SubmitAsync([](const dtm::Answer&) {});
  saga.Submit();
  bank.kit.Settle();
  saga.Submit();
  CHECK(saga.SubmitAndWait(hours(1)).Succeeded());
  saga.Submit();
  bank.kit.Crash();
  dtm::Definition again;
  again.gid = "g";
  again.steps = {{"local:tx/Out", "local:tx/Back", "30"}, {"http://slow", "", "1"}};
  bank->Submit(again);
  bank.kit.Settle();
  CHECK(bank.Notes("Out") == 1);
  CHECK(bank.Balance(1) == 70);
}

TEST_CASE(
    "branch function: submitted again while it is stored but not in memory, it does not run "
    "again") {
  Answers answers;
  dtm::Options options;
  Bank bank([&](dtm::Coordinator& tm) { (void)Moves(tm, answers); }, options);
  bank->Submit(Saga("g", {{"local:tx/Out", "", "30"}}));
  bank.kit.Crash();
  // In one turn with others: it turns out to exist.
  bank->SubmitAsync(Saga("g", {{"local:tx/Out", "", "30"}}), [](const dtm::Answer&) {});
  bank->SubmitAsync(Saga("h", {{"local:tx/Out", "", "1"}}), [](const dtm::Answer&) {});
  std::string other;
  bank->SubmitAsync(Saga("g", {{"local:tx/In", "", "30"}}),
                    [&](const dtm::Answer& reply) { other = reply.error ? "refused" : "taken"; });
  bank.kit.Settle();
  CHECK(other == "refused");
  CHECK(bank.Balance(1) == 69);
  CHECK(bank.Balance(2) == 200);
  CHECK(bank.Status("h") == "succeed");
}

TEST_CASE("branch function: a crash at any operation of the store, and the effect is there once") {
  int crashes = 0;
  for (std::uint64_t n = 1; n < 60; ++n) {
    for (const StoreFault fault : {StoreFault::kDefinite, StoreFault::kInDoubtButStored}) {
      INFO("crash at operation " << n << ", fault " << static_cast<int>(fault));
      Answers answers;
      Bank bank([&](dtm::Coordinator& tm) { (void)Moves(tm, answers); });
      bank.kit.Branches().On("http://no", std::vector<dtm::testing::ScriptedAnswer>(
                                              9, {Result::Failure("no"), {}, false}));
      const auto good = Saga("good", {{"http://a", "", "1"},
                                      {"local:tx/Out", "local:tx/Back", "30"},
                                      {"local:Plain", "", "1"},
                                      {"local:tx/In", "", "30"}});
      const auto bad = Saga("bad", {{"local:tx/Out", "local:tx/Back", "5"},
                                    {"local:Plain", "local:tx/Ask", "1"},
                                    {"http://no", "", "1"}});
      bank.kit.Store().FailOnce(n, fault);
      bank->SubmitAsync(good, [](const dtm::Answer&) {});
      bank->SubmitAsync(bad, [](const dtm::Answer&) {});
      for (int turn = 0; turn < 50 && bank.kit.Store().Operations() < n; ++turn) (void)bank->Poll();
      crashes += bank.kit.Store().Operations() >= n ? 1 : 0;
      bank.kit.Crash();
      bank.kit.Settle();
      (void)bank->SubmitAndWait(good, hours(1));
      (void)bank->SubmitAndWait(bad, hours(1));
      bank.kit.Advance(hours(1));
      CHECK(bank.Status("good") == "succeed");
      CHECK(bank.Status("bad") == "failed");
      CHECK(bank.Balance(1) == 70);
      CHECK(bank.Balance(2) == 230);
      CHECK(bank.Notes("Out") == 2);
      CHECK(bank.Notes("Back") == 1);
      CHECK(bank.Notes("ask") == 1);
      CHECK(bank.Notes("In") == 1);
    }
  }
  CHECK(crashes > 20);
}

TEST_CASE(
    "branch function: one missing after a restart is waited for, and goes on when registered") {
  Answers answers;
  bool known = true;
  Bank bank([&](dtm::Coordinator& tm) {
    if (known) (void)Moves(tm, answers);
  });
  bank.kit.Branches().On("http://slow", {{Result::Success(), seconds(5), false}});
  bank->Submit(
      Saga("g", {{"local:tx/Out", "", "30"}, {"http://slow", "", "1"}, {"local:tx/In", "", "30"}}));
  bank.kit.Settle();
  known = false;
  bank.kit.Crash();
  bank.kit.Advance(seconds(60));
  CHECK(bank.Status("g") == "submitted");
  CHECK_THAT(bank->Explain("g"), ContainsSubstring("In") && ContainsSubstring("waiting for"));
  CHECK(bank.Notes("In") == 0);
  Moves late(*bank, answers);
  bank.kit.Settle();
  CHECK(bank.Status("g") == "succeed");
  CHECK(bank.Balance(1) == 70);
  CHECK(bank.Balance(2) == 230);
}

TEST_CASE("branch function: force stopped before its turn, it does not run") {
  Answers answers;
  Bank bank;
  Moves moves(*bank, answers);
  const auto nobody = [](const dtm::Answer&) {};
  SECTION("in the turn of its submission") {
    dtm::NewSaga(*bank, "g").Add(moves.out, moves.back, 30).SubmitAsync(nobody);
  }
  SECTION("waiting behind the works of a full turn") {
    for (int i = 0; i < kPerTurn; ++i) {
      dtm::NewSaga(*bank, "f" + std::to_string(i)).Add(moves.ask, kNoBranch, 1).SubmitAsync(nobody);
    }
    dtm::NewSaga(*bank, "g").Add(moves.out, moves.back, 30).SubmitAsync(nobody);
    (void)bank->Poll();
    REQUIRE(bank.Status("g") == "submitted");
    REQUIRE(bank.Notes("ask") == kPerTurn);
  }
  bank->ForceStop("g");
  bank.kit.Settle();
  CHECK(bank.Status("g") == "failed");
  CHECK(bank.Notes("Out") == 0);
  CHECK(bank.Balance(1) == 100);
}

TEST_CASE("branch function: canceled while it waits for its turn, nothing of it is left") {
  Answers answers;
  Bank bank;
  Moves moves(*bank, answers);
  const auto nobody = [](const dtm::Answer&) {};
  for (int i = 0; i < kPerTurn; ++i) {
    dtm::NewSaga(*bank, "f" + std::to_string(i)).Add(moves.ask, kNoBranch, 1).SubmitAsync(nobody);
  }
  dtm::NewSaga(*bank, "g").Add(moves.out, moves.back, 30).SubmitAsync(nobody);
  (void)bank->Poll();
  REQUIRE(bank.Status("g") == "submitted");
  bank->Cancel("g");
  bank.kit.Settle();
  CHECK(bank.Status("g") == "failed");
  CHECK(bank.Notes("Out") == bank.Notes("Back"));
  CHECK(bank.Balance(1) == 100);
  CHECK(bank.Notes("ask") == kPerTurn);
}

TEST_CASE("branch function: stopped while calls are queued, the rest runs in the next run") {
  constexpr int kMore = kPerTurn + 36;
  Answers answers;
  std::unique_ptr<Bank> bank;
  bank = std::make_unique<Bank>([&](dtm::Coordinator& tm) { (void)Moves(tm, answers); });
  for (int i = 0; i < kMore; ++i) {
    (*bank)->SubmitAsync(Saga("g" + std::to_string(i), {{"local:tx/Ask", "", "1"}}),
                         [](const dtm::Answer&) {});
  }
  (void)(*bank)->Poll();
  CHECK(bank->Notes("ask") == kPerTurn);
  CHECK((*bank)->Stop(seconds(10)));
  CHECK(bank->Notes("ask") == kPerTurn);  // nothing begins after Stop
  bank->kit.Crash();
  bank->kit.Advance(seconds(30));
  CHECK(bank->Notes("ask") == kMore);
  for (int i = 0; i < kMore; ++i) CHECK(bank->Status("g" + std::to_string(i)) == "succeed");
}

TEST_CASE(
    "branch function: the branches of a message and the confirm of a tcc may be inside a "
    "transaction") {
  Answers answers;
  Bank bank;
  Moves moves(*bank, answers);
  dtm::NewMsg(*bank, "m").Add(moves.out, 10).Add(moves.in, 10).Submit();
  bank.kit.Settle();
  CHECK(bank.Status("m") == "succeed");
  CHECK(bank.Balance(1) == 90);
  CHECK(bank.Balance(2) == 210);
}

TEST_CASE("branch function: it is told for whom it runs, and gets its payload") {
  Bank bank;
  std::vector<std::string> seen;
  auto f = bank->RegisterInTransaction<std::string>(
      "F", [&](sqlite3*, const std::string& text, const dtm::BranchInfo& info) {
        seen.push_back(info.gid + info.branch_id + dtm::Name(info.op) + text);
        return text == "no" ? Result::Failure("no") : Result::Success();
      });
  dtm::NewSaga(*bank, "g")
      .Add(f, f, std::string("a"))
      .Add(f, kNoBranch, std::string("no"))
      .SubmitAsync([](const dtm::Answer&) {});
  bank.kit.Settle();
  CHECK(seen == std::vector<std::string>{"g01actiona", "g02actionno", "g01compensatea"});
}

TEST_CASE("branch function: a payload of another type is an error that is retried") {
  Answers answers;
  Bank bank;
  Moves moves(*bank, answers);
  bank->Submit(Saga("g", {{"local:tx/Out", "", "\"text\""}}));
  bank.kit.Advance(seconds(5));
  CHECK(bank.Status("g") == "submitted");
  CHECK_THAT(bank->Explain("g"), ContainsSubstring("payload"));
  CHECK(bank.Notes("Out") == 0);
}

TEST_CASE("branch function: names are taken once, and cannot be mistaken for one another") {
  Bank bank;
  const auto inside = [](sqlite3*, const int&) {};
  const auto outside = [](const int&) {};
  (void)bank->RegisterInTransaction<int>("A", inside);
  CHECK_THROWS_AS(bank->RegisterInTransaction<int>("A", inside), dtm::LogicError);
  CHECK_THROWS_AS(bank->RegisterInTransaction<int>("", inside), dtm::LogicError);
  CHECK_THROWS_AS(bank->Register<int>("tx/A", outside), dtm::LogicError);
  CHECK_THROWS_AS(bank->Register<int>("tx/B", outside), dtm::LogicError);
  int calls = 0;
  auto other = bank->Register<int>("A", [&](const int&) { ++calls; });
  CHECK(dtm::NewSaga(*bank, "g").Add(other, kNoBranch, 1).SubmitAndWait(hours(1)).Succeeded());
  CHECK(calls == 1);
}

TEST_CASE("branch function: it is not called for somebody elsewhere") {
  Answers answers;
  Bank bank;
  Moves moves(*bank, answers);
  for (const char* name : {"Out", "tx/Out"}) {
    CHECK_THROWS_AS(bank->CallFunction(name, "1", {}), dtm::RejectedError);
  }
  CHECK(bank.Notes("Out") == 0);
}

TEST_CASE("branch function: on a store without SQL it is an error, not a crash") {
  dtm::Options options;
  options.log = nullptr;
  int runs = 0;
  dtm::testing::TestCoordinator kit({}, options);
  auto f = kit->RegisterInTransaction<int>("F", [&](sqlite3*, const int&) { ++runs; });
  dtm::NewSaga(*kit, "g").Add(f, kNoBranch, 1).SubmitAsync([](const dtm::Answer&) {});
  kit.Settle();
  CHECK(runs == 0);
  CHECK_THAT(kit->Explain("g"), ContainsSubstring("no SQL"));
}

TEST_CASE("branch function: in doubt, behind a full turn, it has its effect once") {
  for (const StoreFault fault : {StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
    INFO("fault " << static_cast<int>(fault));
    Answers answers;
    Bank bank;
    Moves moves(*bank, answers);
    for (int i = 0; i < 100; ++i) {
      dtm::NewSaga(*bank, "g" + std::to_string(i))
          .Add(moves.ask, kNoBranch, 1)
          .Add(moves.out, kNoBranch, 1)
          .SubmitAsync([](const dtm::Answer&) {});
    }
    (void)bank->Poll();
    bank.kit.Store().FailAlways(fault);  // the rest, which is stored already, runs now
    (void)bank->Poll();
    bank.kit.Store().FailAlways(StoreFault::kNone);
    bank.kit.Advance(seconds(30));
    CHECK(bank.Notes("ask") == 100);
    CHECK(bank.Notes("Out") == 100);
    CHECK(bank.Balance(1) == 0);
  }
}
