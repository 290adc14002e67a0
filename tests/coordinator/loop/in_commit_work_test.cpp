/// User work inside commits: what it breaks harms itself only, what fails is done again or not at all, nobody
/// starves, and what is in doubt happens once.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/coordinator/sql_kit.hpp"
#include "tests/coordinator/turns.hpp"
#include "tests/support/faulty_vfs.hpp"
#include <dtm/coordinator/loop/in_commit_work.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Result;
using dtm::testing::StoreFault;
using sql_kit::Bank;
using sql_kit::Careless;
using sql_kit::Note;
using sql_kit::Sql;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr int kPerTurn = dtm::InCommitWork::kPerTurn;

/// The loop alone, on a real file: works that are pushed arrive in one turn.
struct WorkTurns : sql_kit::Disk {
  WorkTurns()
      : log(std::make_shared<sql_kit::Log>()),
        options(sql_kit::Keeping(log, {})),
        time(std::make_shared<dtm::testing::VirtualTime>()),
        store(std::make_shared<dtm::SqliteStore>(path, dtm::Durability::kProcess,
                                                 sql_kit::CreateTables)),
        clock(time),
        inbox(100000, std::size_t{1} << 30),
        functions(1, 1),
        hooks(clock, options),
        loop(store, clock, inbox, functions, urls, transaction_functions, hooks, options) {}

  /// Returns its place in `answers`: "" = not yet, "success", or what went wrong.
  std::size_t Push(std::function<Result(dtm::TransactContext&)> work) {
    const std::size_t place = answers.size();
    answers.emplace_back();
    const auto result = std::make_shared<Result>();
    dtm::QueuedWork queued{std::move(work), result};
    queued.promise = [this, place, result](const dtm::Answer& reply) {
      CHECK(answers[place].empty());  // nobody is told twice
      answers[place] = result->kind == Result::Kind::kSuccess ? "success" : result->text;
      try {
        (void)reply.Get();
      } catch (const dtm::InDoubtError& e) {
        answers[place] = std::string("in doubt: ") + e.what();
      } catch (const dtm::StoreError& e) {
        answers[place] = std::string("store: ") + e.what();
      }
    };
    REQUIRE(inbox.Push(std::move(queued)));
    return place;
  }
  std::size_t PushNote(const std::string& what, milliseconds takes = {}) {
    return Push([this, what, takes](dtm::TransactContext& context) {
      Note(context.connection, what);
      time->MoveTowards(time->Now() + takes);
      return Result::Success();
    });
  }
  void Submit(const std::string& gid, const std::string& url) {
    dtm::Definition definition;
    definition.gid = gid;
    definition.steps.push_back({url, "", "1"});
    REQUIRE(inbox.Push(
        dtm::Submission{std::make_shared<dtm::Definition>(definition), dtm::Waiter{}, false}));
  }
  std::size_t Answered() const {
    std::size_t n = 0;
    for (const std::string& answer : answers) n += answer.empty() ? 0U : 1U;
    return n;
  }
  void Settle() {
    for (int turn = 0; turn < 1000; ++turn) {
      loop.Turn();
      if (inbox.Empty() && loop.NextTurn() > time->Now()) return;
    }
    FAIL("the loop does not come to rest");
  }

  std::vector<std::string> answers;
  const std::shared_ptr<sql_kit::Log> log;
  const dtm::Options options;
  const std::shared_ptr<dtm::testing::VirtualTime> time;
  dtm::testing::FailingStore store;
  dtm::testing::VirtualClock clock;
  dtm::Inbox inbox;
  dtm::ProgramFunctions functions;
  dtm::UrlCallers urls;
  dtm::TransactionFunctions transaction_functions;
  dtm::Hooks hooks;
  dtm::Loop loop;
};

struct Hazard {
  const char* name;
  std::function<void(sqlite3*)> sql;
  const char* says;  ///< nullptr = it is none: it succeeds
};

/// Statements that the works have left; ended after the test, so that nothing leaks.
std::vector<sqlite3_stmt*>& Left() {
  static std::vector<sqlite3_stmt*> left;
  return left;
}
void FinalizeLeft() {
  for (sqlite3_stmt* statement : Left()) sqlite3_finalize(statement);
  Left().clear();
}

void LeaveInTheMiddle(sqlite3* db, const char* text) {
  sqlite3_stmt* statement = nullptr;
  REQUIRE(sqlite3_prepare_v2(db, text, -1, &statement, nullptr) == SQLITE_OK);
  Left().push_back(statement);
  REQUIRE(sqlite3_step(statement) == SQLITE_ROW);
}

const std::vector<Hazard>& Hazards() {
  const auto text = [](const char* sql) { return [sql](sqlite3* db) { Sql(db, sql); }; };
  const auto ignored = [](const char* sql) {
    return [sql](sqlite3* db) {
      Careless(db, sql);
      Careless(db, "INSERT INTO note VALUES ('hazard')");
      Careless(db, "UPDATE acc SET n = n + 1000 WHERE id = 1");
    };
  };
  static const std::vector<Hazard> hazards = {
      {"check", text("UPDATE acc SET n = -1"), "CHECK"},
      {"primary key", text("INSERT INTO acc VALUES (1, 1)"), "UNIQUE"},
      {"not null", text("INSERT INTO note VALUES (NULL)"), "NOT NULL"},
      {"or rollback", text("INSERT OR ROLLBACK INTO acc VALUES (1, 1)"), "rolled"},
      {"or rollback, ignored", ignored("INSERT OR ROLLBACK INTO acc VALUES (1, 1)"), "rolled"},
      {"raise rollback", text("INSERT INTO bomb VALUES (1)"), "rolled"},
      {"raise rollback, ignored", ignored("INSERT INTO bomb VALUES (1)"), "rolled"},
      {"or fail", text("INSERT OR FAIL INTO acc VALUES (7, 7), (1, 1)"), "UNIQUE"},
      {"deferred foreign key", text("INSERT INTO child VALUES (99)"), "foreign key"},
      {"commit", text("COMMIT"), "authoriz"},
      {"rollback", text("ROLLBACK"), "authoriz"},
      {"begin", text("BEGIN"), "authoriz"},
      {"savepoint", text("SAVEPOINT mine"), "authoriz"},
      {"release", text("RELEASE dtm_work"), "authoriz"},
      {"rollback to", text("ROLLBACK TO dtm_work"), "authoriz"},
      {"attach", text("ATTACH ':memory:' AS other"), "authoriz"},
      {"pragma", text("PRAGMA foreign_keys = OFF"), "authoriz"},
      {"read ours", text("SELECT * FROM dtm_trans"), "prohibited"},
      {"write ours", text("DELETE FROM dtm_trans"), "authoriz"},
      {"view on ours", text("SELECT * FROM window"), "prohibited"},
      {"trigger on ours", text("INSERT INTO spy VALUES (1)"), "authoriz"},
      {"exception", [](sqlite3*) { throw std::runtime_error("oops"); }, "oops"},
      {"not an exception", [](sqlite3*) { throw 7; }, "not a std::exception"},
      {"failure", [](sqlite3*) { throw dtm::FailureError("no money"); }, "no money"},
      {"select left in the middle", [](sqlite3* db) { LeaveInTheMiddle(db, "SELECT id FROM acc"); },
       nullptr},
      {"insert left in the middle",
       [](sqlite3* db) {
         LeaveInTheMiddle(db, "INSERT INTO acc VALUES (7, 7), (8, 8) RETURNING id");
       },
       nullptr},
      {"select left, then an error",
       [](sqlite3* db) {
         LeaveInTheMiddle(db, "SELECT id FROM acc");
         Sql(db, "UPDATE acc SET n = -1");
       },
       "CHECK"},
      {"select left, then rollback",
       [](sqlite3* db) {
         LeaveInTheMiddle(db, "SELECT id FROM acc");
         Sql(db, "INSERT INTO bomb VALUES (1)");
       },
       "rolled"}};
  return hazards;
}

}  // namespace

TEST_CASE("in-commit work: what one breaks harms nobody else of its batch, and leaves nothing") {
  for (const Hazard& hazard : Hazards()) {
    for (const int place : {0, 1, 2}) {  // of three works
      INFO(hazard.name << " at place " << place);
      WorkTurns turns;
      turns.Submit("url", "http://a");
      turns.Submit("branch", "local:tx/Branch");
      turns.transaction_functions.Register("tx/Branch",
                                           [](sqlite3* db, const std::string&, const dtm::Caller&) {
                                             Note(db, "branch");
                                             return Result::Success();
                                           });
      std::size_t at = 0;
      for (int i = 0; i < 3; ++i) {
        if (i != place) {
          turns.PushNote("good");
          continue;
        }
        at = turns.Push([&hazard](dtm::TransactContext& context) {
          Note(context.connection, "hazard");
          hazard.sql(context.connection);
          return Result::Success();
        });
      }
      turns.Settle();
      CHECK(turns.Notes("good") == 2);
      CHECK(turns.Notes("branch") == 1);
      CHECK(turns.Notes("hazard") == (hazard.says == nullptr ? 1 : 0));
      CHECK(turns.Balance(1) == 100);
      CHECK(turns.Balance(2) == 200);
      CHECK(sql_kit::Number(turns.path, "SELECT count(*) FROM acc WHERE id IN (7, 8)") ==
            (std::string(hazard.name) == "insert left in the middle" ? 2 : 0));
      CHECK(sql_kit::Number(turns.path, "SELECT count(*) FROM child") == 0);
      for (std::size_t i = 0; i < 3; ++i) {
        if (i != at || hazard.says == nullptr) {
          CHECK(turns.answers[i] == "success");
        } else {
          CHECK_THAT(turns.answers[i], ContainsSubstring(hazard.says));
        }
      }
      REQUIRE(turns.store.Load("url"));
      CHECK(turns.store.Load("url")->status == dtm::Status::kSubmitted);
      REQUIRE(turns.store.Load("branch"));
      CHECK(turns.store.Load("branch")->status == dtm::Status::kSucceed);
      turns.PushNote("later");  // and the coordinator goes on as before
      turns.Settle();
      CHECK(turns.Notes("later") == 1);
      FinalizeLeft();
    }
  }
}

TEST_CASE("in-commit work: every second one breaks the batch, and all others are committed once") {
  WorkTurns turns;
  for (int i = 0; i < 40; ++i) {
    i % 2 == 0 ? turns.PushNote("good") : turns.Push([](dtm::TransactContext& context) {
      Note(context.connection, "bad");
      Sql(context.connection, "INSERT INTO bomb VALUES (1)");
      return Result::Success();
    });
  }
  turns.Settle();
  CHECK(turns.Answered() == 40);
  CHECK(turns.Notes("good") == 20);
  CHECK(turns.Notes("bad") == 0);
}

TEST_CASE("in-commit work: at most so many run in a turn, the others in the next ones, in order") {
  WorkTurns turns;
  for (int i = 0; i < 2 * kPerTurn + 22; ++i) turns.PushNote("n");
  turns.loop.Turn();
  CHECK(turns.Answered() == kPerTurn);
  CHECK(turns.answers[static_cast<std::size_t>(kPerTurn) - 1] == "success");
  CHECK(turns.Notes("n") == kPerTurn);
  CHECK(turns.loop.NextTurn() <= turns.time->Now());
  turns.loop.Turn();
  CHECK(turns.Answered() == 2 * kPerTurn);
  turns.loop.Turn();
  CHECK(turns.Answered() == 2 * kPerTurn + 22);
  CHECK(turns.Notes("n") == 2 * kPerTurn + 22);
  CHECK(turns.store.Commits() == 3);
}

TEST_CASE("in-commit work: after 5 ms a turn takes no more of them, and other transactions go on") {
  WorkTurns turns;
  for (int i = 0; i < 6; ++i) turns.PushNote("n", milliseconds(3));
  turns.loop.Turn();
  CHECK(turns.Answered() == 2);
  turns.Submit("url", "http://a");
  turns.loop.Turn();
  CHECK(turns.Answered() == 4);
  CHECK(turns.store.Load("url"));
  turns.PushNote("long", milliseconds(40));
  turns.Settle();
  CHECK(turns.Notes("n") == 6);
  CHECK(turns.Notes("long") == 1);
}

TEST_CASE(
    "in-commit work: Transact that never ends does not starve the branches, nor the other way "
    "round") {
  WorkTurns turns;
  int branches = 0;
  turns.transaction_functions.Register(
      "tx/Branch", [&](sqlite3*, const std::string&, const dtm::Caller&) {
        ++branches;
        turns.time->MoveTowards(turns.time->Now() + milliseconds(6));
        return Result::Success();
      });
  for (int i = 0; i < 3; ++i) turns.Submit("b" + std::to_string(i), "local:tx/Branch");
  for (int turn = 0; turn < 10; ++turn) {  // there is always one more
    turns.PushNote("n", milliseconds(6));
    turns.PushNote("n", milliseconds(6));
    turns.loop.Turn();
  }
  CHECK(branches == 3);
  CHECK(turns.Answered() >= 5);
}

TEST_CASE(
    "in-commit work: a slow one is named in the log and not interrupted, a quick one is not") {
  WorkTurns turns;
  turns.PushNote("quick", milliseconds(50));
  turns.Settle();
  CHECK(turns.log->empty());
  turns.PushNote("slow", milliseconds(60));
  turns.Settle();
  CHECK(turns.Notes("slow") == 1);
  REQUIRE(turns.log->size() == 1);
  CHECK_THAT(turns.log->at(0), ContainsSubstring("Transact took 60 ms"));
}

TEST_CASE("in-commit work: a slow branch is named in the log by its function") {
  Bank bank;
  auto slow = bank->RegisterInTransaction<int>("Slow", [&](sqlite3*, const int&) {
    bank.kit.Clock().MoveTowards(bank.kit.Clock().Now() + milliseconds(70));
  });
  dtm::NewSaga(*bank, "g").Add(slow, dtm::kNoBranch, 1).Submit();
  CHECK(bank.Status("g") == "succeed");
  REQUIRE(bank.log->size() == 1);
  CHECK_THAT(bank.log->at(0), ContainsSubstring("Slow") && ContainsSubstring("70 ms"));
}

TEST_CASE("in-commit work: many in one turn are one commit") {
  WorkTurns turns;
  for (int i = 0; i < 50; ++i) turns.PushNote("n");
  turns.Submit("url", "http://a");
  turns.loop.Turn();
  CHECK(turns.Answered() == 50);
  CHECK(turns.store.Commits() == 1);
}

TEST_CASE(
    "in-commit work: a Transact whose commit is in doubt is told so, also when it runs alone") {
  for (const bool stored : {false, true}) {
    for (const bool alone : {false, true}) {
      INFO("stored " << stored << ", alone " << alone);
      WorkTurns turns;
      turns.loop.Turn();  // past the first step of retention
      int runs = 0;
      const std::size_t at = turns.Push([&](dtm::TransactContext& context) {
        Note(context.connection, "doubt");
        if (++runs == (alone ? 2 : 1)) {  // then come Apply and Commit
          turns.store.FailOnce(
              2, stored ? StoreFault::kInDoubtButStored : StoreFault::kInDoubtNotStored);
        }
        return Result::Success();
      });
      if (alone) {  // the batch breaks, so each gets a commit of its own
        turns.Push([](dtm::TransactContext& context) {
          Sql(context.connection, "INSERT INTO bomb VALUES (1)");
          return Result::Success();
        });
      }
      turns.loop.Turn();
      turns.loop.Turn();
      turns.time->MoveTowards(turns.time->Now() + seconds(5));
      turns.Settle();
      CHECK(runs == (alone ? 2 : 1));  // who asked decides whether to ask again
      CHECK_THAT(turns.answers[at], ContainsSubstring("in doubt: "));
      CHECK(turns.Notes("doubt") == (stored ? 1 : 0));
      turns.PushNote("later");
      turns.Settle();
      CHECK(turns.Notes("later") == 1);
    }
  }
}

TEST_CASE("in-commit work: a definite failure of the commit is told, and nothing was stored") {
  WorkTurns turns;
  turns.loop.Turn();
  turns.store.FailOnce(5, StoreFault::kDefinite);  // Begin, Run, Run, Apply, Commit
  turns.PushNote("n");
  turns.PushNote("n");
  turns.loop.Turn();
  CHECK_THAT(turns.answers[0], ContainsSubstring("store: ") && ContainsSubstring("full"));
  CHECK_THAT(turns.answers[1], ContainsSubstring("store: "));
  CHECK(turns.Notes("n") == 0);
  turns.PushNote("early");
  turns.loop.Turn();
  CHECK_THAT(turns.answers[2], ContainsSubstring("not run") && ContainsSubstring("failing"));
  turns.time->MoveTowards(turns.time->Now() + seconds(2));
  turns.PushNote("later");
  turns.Settle();
  CHECK(turns.answers[3] == "success");
  CHECK(turns.Notes("later") == 1);
  CHECK(turns.Notes("n") + turns.Notes("early") == 0);
}

TEST_CASE("in-commit work: when the store fails, those that did not run are told as well") {
  for (const int operation : {1, 40, 67}) {  // Due or Begin, a Run, Commit
    INFO("operation " << operation);
    WorkTurns turns;
    turns.loop.Turn();
    turns.time->MoveTowards(turns.time->Now() + hours(1));
    turns.store.FailOnce(static_cast<std::uint64_t>(operation), StoreFault::kDefinite);
    for (int i = 0; i < 70; ++i) turns.PushNote("n");
    turns.loop.Turn();
    CHECK(turns.Answered() == 70);
    CHECK_THAT(turns.answers[69], ContainsSubstring("store: ") && ContainsSubstring("not run"));
    turns.time->MoveTowards(turns.time->Now() + seconds(5));
    turns.Settle();
    CHECK(turns.Notes("n") == 0);
  }
}

TEST_CASE(
    "in-commit work: every operation of the store fails once, in all ways, and each effect happens "
    "once") {
  for (const StoreFault fault :
       {StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
    int reached = 0;
    for (std::uint64_t n = 1; n < 60; ++n) {
      INFO("fault " << static_cast<int>(fault) << " at operation " << n);
      Bank bank([](dtm::Coordinator& tm) {
        for (const char* name : {"Out", "In", "Back", "Break"}) {
          tm.RegisterInTransaction<int>(name, [name](sqlite3* db, const int&) {
            Note(db, name);
            if (std::string(name) == "Break") Sql(db, "INSERT INTO bomb VALUES (1)");
          });
        }
      });
      dtm::Definition mixed;
      mixed.gid = "mixed";
      mixed.options.retry_interval = seconds(1);
      mixed.steps = {{"http://first", "", "1"},  {"local:tx/Out", "local:tx/Back", "1"},
                     {"http://middle", "", "1"}, {"local:tx/In", "", "1"},
                     {"local:tx/In", "", "1"},   {"http://last", "", "1"}};
      dtm::Definition failing = mixed;
      failing.gid = "failing";
      failing.steps[3] = {"http://no", "", "1"};
      dtm::Definition breaking;  // keeps breaking the batch of the others
      breaking.gid = "breaking";
      breaking.options.retry_interval = seconds(1);
      breaking.steps = {{"local:tx/Break", "", "1"}};
      bank.kit.Branches().On("http://no", Result::Failure("no"));
      bank.kit.Store().FailOnce(n, fault);
      for (const dtm::Definition& definition : {mixed, failing, breaking}) {
        bank->SubmitAsync(definition, [](const dtm::Answer&) {});
      }
      bank.kit.Settle();
      for (const dtm::Definition& definition : {mixed, failing}) {
        for (int tries = 0; tries < 20; ++tries) {  // a client that wants to know
          bank.kit.Advance(seconds(2));
          try {
            if (bank->SubmitAndWait(definition, hours(1)).Finished()) break;
          } catch (const dtm::StoreError&) {
          } catch (const dtm::InDoubtError&) {
          }
        }
      }
      if (bank.kit.Store().Operations() >= n) ++reached;
      bank.kit.Advance(seconds(20));
      CHECK(bank.Status("mixed") == "succeed");
      CHECK(bank.Status("failing") == "failed");
      CHECK(bank.Notes("Out") == 2);
      CHECK(bank.Notes("In") == 2);
      CHECK(bank.Notes("Back") == 1);
      CHECK(bank.Notes("Break") == 0);
    }
    CHECK(reached > 30);
  }
}

TEST_CASE("in-commit work: a full disk at COMMIT is told, and it goes on when there is space") {
  dtm_test::FaultyVfs vfs;
  Bank bank;
  dtm_test::FaultyVfs::Plan plan;
  plan.fail_at = 1;
  plan.sticky = true;
  plan.write_code = SQLITE_FULL;
  plan.matches = [](dtm_test::FaultyVfs::Op op, dtm_test::FaultyVfs::Kind) {
    return op == dtm_test::FaultyVfs::Op::kWrite;
  };
  vfs.Arm(plan);
  CHECK_THAT(bank.Try([](dtm::Tx& tx) { Note(tx.Db(), "full"); }), ContainsSubstring("no space"));
  vfs.Disarm();
  CHECK(bank.Notes("full") == 0);
  bank.kit.Advance(seconds(2));
  CHECK(bank.Try([](dtm::Tx& tx) { Note(tx.Db(), "later"); }).empty());
  CHECK(bank.Notes("later") == 1);
  CHECK(bank.Notes("full") == 0);
}

TEST_CASE(
    "in-commit work: an I/O error at COMMIT is in doubt, and the branch has its effect once") {
  using Effect = dtm_test::FaultyVfs::Effect;
  for (const Effect effect : {Effect::kNothing, Effect::kHalf, Effect::kDone}) {
    dtm_test::FaultyVfs vfs;
    Bank bank;
    auto pay =
        bank->RegisterInTransaction<int>("Pay", [](sqlite3* db, const int&) { Note(db, "pay"); });
    dtm_test::FaultyVfs::Plan plan;
    plan.fail_at = 1;
    plan.effect = effect;
    plan.matches = [](dtm_test::FaultyVfs::Op op, dtm_test::FaultyVfs::Kind kind) {
      return op == dtm_test::FaultyVfs::Op::kWrite && kind == dtm_test::FaultyVfs::Kind::kWal;
    };
    auto saga = dtm::NewSaga(*bank, "g").Add("http://a", dtm::kNoBranch, 1);
    saga.Add(pay, dtm::kNoBranch, 1).Add("http://b", dtm::kNoBranch, 1);
    bank.kit.Branches().On("http://a", {{Result::Success(), seconds(1), false}});
    saga.Submit();
    vfs.Arm(plan);  // the commit of the answer and of the branch
    bank.kit.Advance(seconds(10));
    CHECK(vfs.Fired() == 1);
    vfs.Disarm();
    CHECK(bank.Status("g") == "succeed");
    CHECK(bank.Notes("pay") == 1);
  }
}

TEST_CASE(
    "in-commit work: what on_open throws when the file is opened again is told, and tried until it "
    "works") {
  const bool odd = GENERATE(true, false);
  bool fails = false;
  const auto on_open = [&](sqlite3* db) {
    sql_kit::CreateTables(db);
    if (fails && odd) throw 42;
    if (fails) throw std::runtime_error("no tables today");
  };
  dtm_test::FaultyVfs vfs;
  Bank bank({}, {}, on_open);
  dtm_test::FaultyVfs::Plan plan;
  plan.fail_at = 1;
  plan.matches = [](dtm_test::FaultyVfs::Op op, dtm_test::FaultyVfs::Kind kind) {
    return op == dtm_test::FaultyVfs::Op::kWrite && kind == dtm_test::FaultyVfs::Kind::kWal;
  };
  vfs.Arm(plan);
  fails = true;
  CHECK_FALSE(bank.Try([](dtm::Tx& tx) { Note(tx.Db(), "in doubt"); }).empty());
  vfs.Disarm();
  const char* says = odd ? "not a std::exception" : "no tables today";
  bank.kit.Advance(seconds(3));
  CHECK_THAT(bank.Try([](dtm::Tx& tx) { Note(tx.Db(), "no"); }), ContainsSubstring(says));
  const auto told = [&](const std::string& line) { return line.find(says) != std::string::npos; };
  CHECK(std::any_of(bank.log->begin(), bank.log->end(), told));
  fails = false;
  bank.kit.Advance(seconds(3));
  CHECK(bank.Try([](dtm::Tx& tx) { Note(tx.Db(), "again"); }).empty());
  CHECK(bank.Notes("again") == 1);
  CHECK(bank.Notes("no") == 0);
}

TEST_CASE(
    "in-commit work: a disk that is full inside the statement harms only the statement's work") {
  std::function<void(sqlite3*)> small = [](sqlite3* db) {
    sql_kit::CreateTables(db);
    Sql(db, "PRAGMA max_page_count = 60");
  };
  Bank bank({}, {}, small);
  auto pay =
      bank->RegisterInTransaction<int>("Pay", [](sqlite3* db, const int&) { Note(db, "pay"); });
  dtm::NewSaga(*bank, "g").Add(pay, dtm::kNoBranch, 1).SubmitAsync([](const dtm::Answer&) {});
  const auto fill = [](dtm::Tx& tx) {
    Note(tx.Db(), "big");
    Sql(tx.Db(), "INSERT INTO note VALUES (hex(randomblob(1000000)))");
  };
  CHECK_THAT(bank.Try(fill), ContainsSubstring("full"));
  bank.kit.Settle();
  CHECK(bank.Status("g") == "succeed");
  CHECK(bank.Notes("pay") == 1);
  CHECK(bank.Notes("big") == 0);
  CHECK(bank.Try([](dtm::Tx& tx) { Note(tx.Db(), "later"); }).empty());
}

TEST_CASE("in-commit work: what is queued when the coordinator stops is done, or told") {
  WorkTurns turns;
  for (int i = 0; i < kPerTurn + 6; ++i) turns.PushNote("n");
  turns.loop.StartNothingNew();
  turns.loop.Turn();
  CHECK(turns.loop.Busy());
  turns.loop.AnswerAll();
  CHECK_FALSE(turns.loop.Busy());
  CHECK(turns.Answered() == kPerTurn + 6);
  CHECK(turns.Notes("n") == kPerTurn);
  CHECK_THAT(turns.answers.back(), ContainsSubstring("store: ") && ContainsSubstring("stopped"));
}

TEST_CASE(
    "in-commit work: a statement that is kept unfinished does not keep the store from recovering") {
  Bank bank;
  CHECK(bank.Try([](dtm::Tx& tx) { LeaveInTheMiddle(tx.Db(), "SELECT id FROM acc"); }).empty());
  bank.kit.Store().FailAlways(StoreFault::kInDoubtNotStored);
  CHECK_FALSE(bank.Try([](dtm::Tx& tx) { Note(tx.Db(), "n"); }).empty());
  bank.kit.Store().FailAlways(StoreFault::kNone);
  bank.kit.Advance(seconds(2));
  CHECK(bank.Try([](dtm::Tx& tx) { Note(tx.Db(), "later"); }).empty());
  CHECK(bank.Notes("later") == 1);
  FinalizeLeft();
}

TEST_CASE(
    "in-commit work: topics are work of our own, beside and after the schema changes of the user") {
  Bank bank;
  bank->Subscribe("topic", "http://a");
  CHECK(bank.Try([](dtm::Tx& tx) { Sql(tx.Db(), "CREATE TABLE more (x)"); }).empty());
  bank->Subscribe("topic", "http://b");
  CHECK_THROWS_AS(bank->Subscribe("topic", "http://b"), dtm::RejectedError);
  CHECK(bank->ListValues("topics").values.size() == 1);
  CHECK(bank.Try([](dtm::Tx& tx) { Sql(tx.Db(), "DROP TABLE more"); }).empty());
  bank->Unsubscribe("topic", "http://a");
  bank->DeleteTopic("topic");
  CHECK(bank->ListValues("topics").values.empty());
}
