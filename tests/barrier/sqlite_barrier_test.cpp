/// The barrier on real SQLite files: one effect for n calls, null compensation, late actions, the
/// local step of a message, and what happens when the business or the program misbehaves.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "tests/barrier/bank.hpp"
#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/barrier/sqlite_barrier.hpp>

using Catch::Matchers::ContainsSubstring;
using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::Barrier;
using dtm::CatchAsResult;
using dtm::Result;
using dtm::SqliteBarrierTable;
using dtm::sql::SqliteError;
using Kind = dtm::Result::Kind;

static_assert(!std::is_copy_constructible_v<SqliteBarrierTable>);
static_assert(!std::is_move_constructible_v<SqliteBarrierTable>);

namespace {

/// A file, a connection to it and its barrier table.
struct World {
  explicit World(const char* journal = "WAL") : bank(dir / "bank.db", journal) {}
  TempDir dir;
  Bank bank;
  SqliteBarrierTable table{bank.db.Handle()};

  /// A delivery of its own: what was answered.
  template <typename Business>
  Kind Deliver(Barrier barrier, const Business& business) {
    return table.Call(barrier, business).kind;
  }
};

void Never(sqlite3*) { FAIL("the business must not run"); }

template <typename Error, typename Function>
std::string TextOf(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("n deliveries have one effect") {
  World world;
  for (int i = 0; i < 5; ++i) CHECK(world.Deliver(SagaBranch("action"), Debit) == Kind::kSuccess);
  CHECK(world.bank.Balance() == 70);
  CHECK(world.bank.Rows() == "action/01/action");
  for (int i = 0; i < 5; ++i)
    CHECK(world.Deliver(SagaBranch("compensate"), Credit) == Kind::kSuccess);
  CHECK(world.bank.Balance() == 100);
  CHECK(world.bank.Rows() == "action/01/action compensate/01/compensate");
}

TEST_CASE("branches, operations and transactions do not disturb each other") {
  World world;
  for (int i = 0; i < 2; ++i) {
    for (const char* gid : {"g", "g1", "G"}) {
      for (const char* branch : {"01", "02", "0201"}) {
        CHECK(world.Deliver(Barrier("tcc", gid, branch, "try"), Debit) == Kind::kSuccess);
        CHECK(world.Deliver(Barrier("tcc", gid, branch, "confirm"), Debit) == Kind::kSuccess);
      }
    }
  }
  CHECK(world.bank.Balance() == 100 - 18 * 30);
}

TEST_CASE("a compensation of what never ran has no effect, and the late action has none") {
  const struct {
    const char* type;
    const char* action;
    const char* undo;
  } kinds[] = {{"saga", "action", "compensate"},
               {"tcc", "try", "cancel"},
               {"workflow", "action", "rollback"}};
  for (const auto& kind : kinds) {
    CAPTURE(kind.type);
    World world;
    const Barrier action(kind.type, "g", "01", kind.action);
    const Barrier undo(kind.type, "g", "01", kind.undo);
    for (int i = 0; i < 3; ++i) CHECK(world.Deliver(undo, Never) == Kind::kSuccess);
    for (int i = 0; i < 3; ++i) CHECK(world.Deliver(action, Never) == Kind::kSuccess);
    CHECK(world.Deliver(undo, Never) == Kind::kSuccess);
    const std::string by = std::string("/01/") + kind.undo;
    const std::string undone = kind.action + by;
    const std::string undoing = kind.undo + by;
    CHECK(world.bank.Rows() == (std::min)(undone, undoing) + " " + (std::max)(undone, undoing));
    CHECK(world.bank.Balance() == 100);
  }
}

TEST_CASE("a confirmation undoes nothing, so it runs without its try") {
  World world;
  CHECK(world.Deliver(Tcc("confirm"), Debit) == Kind::kSuccess);
  CHECK(world.bank.Balance() == 70);
}

TEST_CASE("each call of a barrier is remembered by its number") {
  World world;
  const auto deliver = [&world](int calls) {
    Barrier barrier = SagaBranch("action");
    for (int i = 0; i < calls; ++i) {
      CHECK(world.table.Call(barrier, Debit).kind == Kind::kSuccess);
    }
  };
  deliver(1);  // and then the machine went down
  CHECK(world.bank.Balance() == 70);
  deliver(3);
  deliver(3);
  CHECK(world.bank.Balance() == 10);
  CHECK(world.bank.Rows() == "action/01/action action/02/action action/03/action");

  Barrier undo = SagaBranch("compensate");  // four calls: the last has nothing to undo
  for (int i = 0; i < 3; ++i) CHECK(world.table.Call(undo, Credit).kind == Kind::kSuccess);
  CHECK(world.table.Call(undo, Never).kind == Kind::kSuccess);
  CHECK(world.bank.Balance() == 100);
}

TEST_CASE("what the business does not finish is rolled back and said") {
  World world;
  const auto with = [](Result result) {
    return [result](sqlite3* db) {
      Debit(db);
      return result;
    };
  };
  Barrier failing = SagaBranch("action");
  const Result failure = world.table.Call(failing, with(Result::Failure("no money")));
  CHECK(failure.kind == Kind::kFailure);
  CHECK(failure.text == "no money");
  CHECK(world.Deliver(SagaBranch("action"), with(Result::Ongoing())) == Kind::kOngoing);
  CHECK(world.Deliver(SagaBranch("action"), with(Result::Error("odd"))) == Kind::kError);
  CHECK(world.Deliver(SagaBranch("action"), with(Result::NotSent("odd"))) == Kind::kNotSent);
  CHECK(world.bank.Balance() == 100);
  CHECK(world.bank.Rows().empty());

  // It failed, so its compensation has nothing to undo.
  CHECK(world.Deliver(SagaBranch("compensate"), Never) == Kind::kSuccess);

  // Ongoing is asked again until it is done.
  const Barrier later = SagaBranch("action", "02");
  CHECK(world.Deliver(later, with(Result::Ongoing())) == Kind::kOngoing);
  CHECK(world.Deliver(later, with(Result::Success())) == Kind::kSuccess);
  CHECK(world.Deliver(later, Never) == Kind::kSuccess);
  CHECK(world.bank.Balance() == 70);
}

TEST_CASE("an exception of the business rolls back and passes") {
  World world;
  const auto throwing = [](auto error) {
    return [error](sqlite3* db) {
      Debit(db);
      throw error;
    };
  };
  CHECK_THROWS_AS(world.Deliver(SagaBranch("action"), throwing(dtm::FailureError("no"))),
                  dtm::FailureError);
  CHECK_THROWS_AS(world.Deliver(SagaBranch("action"), throwing(std::runtime_error("no"))),
                  std::runtime_error);
  CHECK_THROWS_AS(world.Deliver(SagaBranch("action"), throwing(7)), int);
  CHECK(world.bank.Balance() == 100);
  CHECK(world.bank.Rows().empty());
  CHECK_FALSE(world.bank.db.InTransaction());
  CHECK(world.Deliver(SagaBranch("action"), Debit) == Kind::kSuccess);
  CHECK(world.bank.Balance() == 70);
}

TEST_CASE("after a call that did not commit a barrier numbers no other") {
  World world;
  Barrier barrier = SagaBranch("action");
  CHECK(world.table.Call(barrier, Debit).kind == Kind::kSuccess);
  CHECK(world.table.Call(barrier, [](sqlite3*) { return Result::Ongoing(); }).kind ==
        Kind::kOngoing);
  CHECK_THROWS_AS(world.table.Call(barrier, Never), dtm::LogicError);
  CHECK_FALSE(world.bank.db.InTransaction());
  CHECK(world.bank.Rows() == "action/01/action");
}

TEST_CASE("two connections deliver the same calls: one effect each") {
  World world;
  constexpr int kCalls = 40;
  std::atomic<int> effects{0};
  std::vector<std::thread> threads;
  std::vector<std::string> problems(4);
  for (std::size_t i = 0; i < problems.size(); ++i) {
    threads.emplace_back([&, i] {
      try {
        Bank bank(world.dir / "bank.db", "WAL", 60000);
        SqliteBarrierTable table(bank.db.Handle());
        for (int call = 0; call < kCalls; ++call) {
          Barrier barrier("saga", "g" + std::to_string(call), "01", "action");
          const Result result = table.Call(barrier, [&](sqlite3* db) {
            Debit(db);
            ++effects;
          });
          if (result.kind != Kind::kSuccess) problems[i] = "no success";
        }
      } catch (const std::exception& error) {
        problems[i] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& problem : problems) CHECK(problem.empty());
  CHECK(effects == kCalls);
  CHECK(world.bank.Balance() == 100 - 30 * kCalls);
  CHECK(world.bank.Number("SELECT count(*) FROM barrier") == kCalls);
}

TEST_CASE("action and compensation race: both have an effect or none") {
  World world;
  constexpr int kRounds = 40;
  const auto deliver = [&world](const char* op, void (*business)(sqlite3*)) {
    Bank bank(world.dir / "bank.db", "WAL", 60000);
    SqliteBarrierTable table(bank.db.Handle());
    for (int i = 0; i < kRounds; ++i) {
      Barrier barrier("saga", "g" + std::to_string(i), "01", op);
      (void)table.Call(barrier, business);
    }
  };
  std::thread action([&] { deliver("action", Debit); });
  std::thread undo([&] { deliver("compensate", Credit); });
  action.join();
  undo.join();
  CHECK(world.bank.Balance() == 100);
  CHECK(world.bank.Number("SELECT count(*) FROM barrier") == 2 * kRounds);
}

TEST_CASE("a call that meets another writer stores nothing and says so") {
  World world;
  Bank other(world.dir / "bank.db");
  other.db.Exec("BEGIN IMMEDIATE");
  Barrier barrier = SagaBranch("action");
  try {
    (void)world.table.Call(barrier, Never);
    FAIL("it did not throw");
  } catch (const SqliteError& error) {
    CHECK(error.Primary() == SQLITE_BUSY);
    CHECK_THAT(error.what(), ContainsSubstring("saga gid 'g', branch 01, op action") &&
                                 ContainsSubstring("table 'barrier'") &&
                                 ContainsSubstring("bank.db") &&
                                 ContainsSubstring("holds a write transaction") &&
                                 ContainsSubstring("may come again"));
  }
  CHECK_FALSE(world.bank.db.InTransaction());
  CHECK_THROWS_AS(world.table.Call(barrier, Never), dtm::LogicError);
  other.db.Exec("COMMIT");
  CHECK(world.Deliver(SagaBranch("action"), Debit) == Kind::kSuccess);
}

TEST_CASE("a call waits for another writer as long as its busy timeout") {
  World world;
  sqlite3_busy_timeout(world.bank.db.Handle(), 60000);
  Bank other(world.dir / "bank.db");
  other.db.Exec("BEGIN IMMEDIATE; UPDATE account SET balance = 1000 WHERE name = 'a'");
  std::atomic<bool> begun{false};
  Kind said = Kind::kError;
  std::thread deliver([&] {
    begun = true;
    said = CatchAsResult([&] {
             return Result{world.Deliver(SagaBranch("action"), Debit), {}};
           }).kind;
  });
  while (!begun) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  other.db.Exec("COMMIT");
  deliver.join();
  CHECK(said == Kind::kSuccess);
  CHECK(world.bank.Balance() == 970);  // on top of the other's
}

TEST_CASE("without WAL, COMMIT may find readers: it did not commit") {
  World world("DELETE");
  Bank reader(world.dir / "bank.db", "DELETE");
  reader.db.Exec("BEGIN");
  CHECK(reader.Balance() == 100);  // holds the shared lock
  const std::string text =
      TextOf<SqliteError>([&] { (void)world.Deliver(SagaBranch("action"), Debit); });
  CHECK_THAT(text, ContainsSubstring("locked") && ContainsSubstring("nothing was stored"));
  CHECK_FALSE(world.bank.db.InTransaction());
  reader.db.Exec("COMMIT");
  CHECK(world.bank.Rows().empty());
  CHECK(world.Deliver(SagaBranch("action"), Debit) == Kind::kSuccess);
  CHECK(world.bank.Balance() == 70);
}

TEST_CASE("a business that ends the transaction is found out") {
  const struct {
    const char* name;
    const char* text;
    int balance;
  } rows[] = {
      {"commits", "UPDATE account SET balance = 70 WHERE name = 'a'; COMMIT", 70},
      {"rolls back", "UPDATE account SET balance = 70 WHERE name = 'a'; ROLLBACK", 100},
      {"commits and begins", "COMMIT; BEGIN; UPDATE account SET balance = 70 WHERE name = 'a'",
       100},
      {"rolls back and begins", "ROLLBACK; BEGIN; UPDATE account SET balance = 70 WHERE name = 'a'",
       100},
      {"commits and opens a savepoint",
       "COMMIT; SAVEPOINT s; UPDATE account SET balance = 70 WHERE name = 'a'", 100},
      {"hides the savepoint", "SAVEPOINT dtm_barrier; UPDATE account SET balance = 70", 100},
      {"is rolled back by SQLite",
       "UPDATE account SET balance = 70 WHERE name = 'a';"
       "INSERT OR ROLLBACK INTO account VALUES ('a', 1)",
       100},
  };
  for (const auto& row : rows) {
    CAPTURE(row.name);
    World world;
    const auto business = [&row](sqlite3* db) {
      sqlite3_exec(db, row.text, nullptr, nullptr, nullptr);  // and does not look
    };
    CHECK_THAT(
        TextOf<dtm::LogicError>([&] { (void)world.Deliver(SagaBranch("action"), business); }),
        ContainsSubstring("saga gid 'g'") && ContainsSubstring("ended inside the business"));
    CHECK_FALSE(world.bank.db.InTransaction());
    CHECK(world.bank.Balance() == row.balance);
    CHECK(world.Deliver(SagaBranch("action", "02"), Debit) == Kind::kSuccess);  // it goes on
  }
}

TEST_CASE("a business may use savepoints of its own") {
  World world;
  const auto business = [](sqlite3* db) {
    Exec(db, "SAVEPOINT s");
    Debit(db);
    Exec(db, "ROLLBACK TO s; RELEASE s; SAVEPOINT left_open");
    Debit(db);
  };
  CHECK(world.Deliver(SagaBranch("action"), business) == Kind::kSuccess);
  CHECK_FALSE(world.bank.db.InTransaction());
  CHECK(world.bank.Balance() == 70);
}

TEST_CASE("a statement that the business leaves open does not hide a half effect") {
  World world;
  auto open = std::make_unique<dtm::sql::Statement>(
      world.bank.db, "UPDATE account SET balance = balance - 30 RETURNING name");
  const auto business = [&open](sqlite3*) { REQUIRE(open->Step()); };
  const std::string text =
      TextOf<SqliteError>([&] { (void)world.Deliver(SagaBranch("action"), business); });
  CHECK_THAT(text, ContainsSubstring("SQL statements in progress"));
  open.reset();
  CHECK_FALSE(world.bank.db.InTransaction());
  CHECK(world.bank.Balance() == 100);
  CHECK(world.bank.Rows().empty());
}

TEST_CASE("a COMMIT that the database refuses leaves neither row nor effect") {
  World world;
  world.bank.db.Exec(
      "PRAGMA foreign_keys = ON;"
      "CREATE TABLE entry (account TEXT REFERENCES account DEFERRABLE INITIALLY DEFERRED)");
  const auto business = [](sqlite3* db) {
    Debit(db);
    Exec(db, "INSERT INTO entry VALUES ('nobody')");
  };
  const std::string text =
      TextOf<SqliteError>([&] { (void)world.Deliver(SagaBranch("action"), business); });
  CHECK_THAT(text, ContainsSubstring("FOREIGN KEY") && ContainsSubstring("did not commit"));
  CHECK_FALSE(world.bank.db.InTransaction());
  CHECK(world.bank.Balance() == 100);
  CHECK(world.bank.Rows().empty());

  sqlite3_commit_hook(
      world.bank.db.Handle(), [](void*) { return 1; }, nullptr);
  CHECK_THROWS_AS(world.Deliver(SagaBranch("action"), Debit), SqliteError);
  sqlite3_commit_hook(world.bank.db.Handle(), nullptr, nullptr);
  CHECK_FALSE(world.bank.db.InTransaction());
  CHECK(world.bank.Rows().empty());
  CHECK(world.Deliver(SagaBranch("action"), Debit) == Kind::kSuccess);
}

TEST_CASE("a barrier inside the program's transaction") {
  World world;
  sqlite3* db = world.bank.db.Handle();
  Barrier barrier = SagaBranch("action");
  CHECK_THAT(TextOf<dtm::LogicError>([&] { (void)world.table.CallInTransaction(barrier, Never); }),
             ContainsSubstring("is in no transaction") && ContainsSubstring("BEGIN IMMEDIATE"));
  Exec(db, "BEGIN IMMEDIATE");
  CHECK_THAT(TextOf<dtm::LogicError>([&] { (void)world.table.Call(barrier, Never); }),
             ContainsSubstring("CallInTransaction"));

  CHECK(world.table.CallInTransaction(barrier, Debit).kind == Kind::kSuccess);  // still usable
  Exec(db, "ROLLBACK");
  CHECK(world.bank.Balance() == 100);
  CHECK(world.bank.Rows().empty());

  Exec(db, "BEGIN IMMEDIATE; UPDATE account SET balance = 1 WHERE name = 'b'");
  Barrier first = SagaBranch("action", "01");
  Barrier second = SagaBranch("action", "02");
  Barrier third = SagaBranch("compensate", "03");
  CHECK(world.table.CallInTransaction(first, Debit).kind == Kind::kSuccess);
  CHECK(world.table
            .CallInTransaction(second,
                               [](sqlite3* inside) {
                                 Debit(inside);
                                 return Result::Failure("no");
                               })
            .kind == Kind::kFailure);
  CHECK(world.table.CallInTransaction(third, Never).kind == Kind::kSuccess);
  CHECK_THROWS_AS(world.table.CallInTransaction(second, Never), dtm::LogicError);
  CHECK(world.bank.db.InTransaction());
  Exec(db, "COMMIT");
  CHECK(world.bank.Balance() == 70);
  CHECK(world.bank.Balance("b") == 1);
  CHECK(world.bank.Rows() == "action/01/action action/01/compensate compensate/01/compensate");
}

TEST_CASE("a call inside the business of another counts on and shares its fate") {
  for (const bool commits : {false, true}) {
    CAPTURE(commits);
    World world;
    Barrier barrier = SagaBranch("action");
    const Result result = world.table.Call(barrier, [&](sqlite3* db) {
      Debit(db);
      CHECK(world.table.CallInTransaction(barrier, Debit).kind == Kind::kSuccess);
      return commits ? Result::Success() : Result::Ongoing();
    });
    CHECK(result.kind == (commits ? Kind::kSuccess : Kind::kOngoing));
    CHECK(world.bank.Balance() == (commits ? 40 : 100));
    CHECK(world.bank.Rows() == (commits ? "action/01/action action/02/action" : ""));
  }
  // The inner one fails, the outer one goes on.
  World world;
  Barrier outer = SagaBranch("action");
  Barrier inner = SagaBranch("action", "02");
  CHECK(world.table
            .Call(outer,
                  [&](sqlite3* db) {
                    Debit(db);
                    CHECK_THROWS_AS(world.table.CallInTransaction(inner,
                                                                  [](sqlite3* inside) {
                                                                    Debit(inside);
                                                                    throw std::runtime_error("no");
                                                                  }),
                                    std::runtime_error);
                  })
            .kind == Kind::kSuccess);
  CHECK(world.bank.Balance() == 70);
  CHECK(world.bank.Rows() == "action/01/action");
}

TEST_CASE("the local step of a message runs once; a repeat is told so") {
  World world;
  CHECK(world.Deliver(Msg(), Debit) == Kind::kSuccess);
  const std::string text = TextOf<dtm::DuplicatedError>([&] { (void)world.Deliver(Msg(), Never); });
  CHECK(text.find("DUPLICATED") == 0);
  CHECK_THAT(text, ContainsSubstring("msg gid 'g', branch 00, op msg"));
  CHECK_FALSE(world.bank.db.InTransaction());
  CHECK(world.bank.Balance() == 70);

  const Result asked = world.table.QueryPrepared(Msg());
  CHECK(asked.kind == Kind::kSuccess);
  CHECK(world.table.QueryPrepared(Msg()).kind == Kind::kSuccess);
  CHECK(world.bank.Rows() == "msg/01/msg");
}

TEST_CASE("asked before its local step, a message can no longer be committed") {
  World world;
  for (int i = 0; i < 3; ++i) {
    const Result asked = world.table.QueryPrepared(Msg());
    CHECK(asked.kind == Kind::kFailure);
    CHECK_THAT(asked.text, ContainsSubstring("msg gid 'g'"));
  }
  CHECK_THROWS_AS(world.Deliver(Msg(), Never), dtm::DuplicatedError);
  CHECK(world.table.QueryPrepared(Msg()).kind == Kind::kFailure);
  CHECK(world.bank.Rows() == "msg/01/rollback");
  CHECK(world.table.QueryPrepared(Barrier("msg", "other", "00", "msg")).kind == Kind::kFailure);
}

TEST_CASE("a local step that was rolled back leaves the answer open") {
  World world;
  CHECK(world.Deliver(Msg(), [](sqlite3* db) {
    Debit(db);
    return Result::Failure("no");
  }) == Kind::kFailure);
  CHECK(world.table.QueryPrepared(Msg()).kind == Kind::kFailure);
  CHECK(world.bank.Balance() == 100);
}

TEST_CASE("asked while the local step runs on another connection") {
  World world;
  Bank asking(world.dir / "bank.db");
  SqliteBarrierTable questions(asking.db.Handle());
  std::string busy;
  CHECK(world.Deliver(Msg(), [&](sqlite3* db) {
    Debit(db);
    busy = TextOf<SqliteError>([&] { (void)questions.QueryPrepared(Msg()); });
  }) == Kind::kSuccess);
  CHECK_THAT(busy, ContainsSubstring("locked") && ContainsSubstring("may come again"));
  CHECK(questions.QueryPrepared(Msg()).kind == Kind::kSuccess);

  // With a busy timeout it waits for the end, whichever it is.
  for (const bool commits : {true, false}) {
    CAPTURE(commits);
    const Barrier msg("msg", commits ? "commits" : "fails", "00", "msg");
    sqlite3_busy_timeout(asking.db.Handle(), 60000);
    Kind asked = Kind::kError;
    std::thread question;
    (void)world.Deliver(msg, [&](sqlite3* db) {
      Debit(db);
      question = std::thread(
          [&] { asked = CatchAsResult([&] { return questions.QueryPrepared(msg); }).kind; });
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      return commits ? Result::Success() : Result::Failure("no");
    });
    question.join();
    CHECK(asked == (commits ? Kind::kSuccess : Kind::kFailure));
  }
}

TEST_CASE("QueryPrepared is for messages, outside of transactions") {
  World world;
  CHECK_THAT(
      TextOf<dtm::LogicError>([&] { (void)world.table.QueryPrepared(SagaBranch("action")); }),
      ContainsSubstring("op msg") && ContainsSubstring("use Call"));
  world.bank.db.Exec("BEGIN");
  CHECK_THAT(TextOf<dtm::LogicError>([&] { (void)world.table.QueryPrepared(Msg()); }),
             ContainsSubstring("is in a transaction"));
  world.bank.db.Exec("ROLLBACK");
  CHECK(world.bank.Rows().empty());
}

TEST_CASE("xa is refused: SQLite cannot prepare") {
  World world;
  CHECK_THAT(TextOf<dtm::LogicError>(
                 [&] { (void)world.Deliver(Barrier("xa", "g", "01", "action"), Never); }),
             ContainsSubstring("xa gid 'g'") && ContainsSubstring("saga or tcc"));
}

TEST_CASE("a table in memory or in temp does not stand in for that of the file") {
  World world;
  world.bank.db.Exec("CREATE TEMP TABLE barrier (gid TEXT)");
  SqliteBarrierTable table(world.bank.db.Handle());
  Barrier barrier = SagaBranch("action");
  CHECK(table.Call(barrier, Debit).kind == Kind::kSuccess);
  CHECK(world.bank.Number("SELECT count(*) FROM main.barrier") == 1);

  dtm::sql::Database memory(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  dtm::CreateBarrierTable(memory.Handle());
  SqliteBarrierTable in_memory(memory.Handle());
  Barrier again = SagaBranch("action");
  int effects = 0;
  CHECK(in_memory.Call(again, [&](sqlite3*) { ++effects; }).kind == Kind::kSuccess);
  Barrier repeat = SagaBranch("action");
  CHECK(in_memory.Call(repeat, [&](sqlite3*) { ++effects; }).kind == Kind::kSuccess);
  CHECK(effects == 1);
}

TEST_CASE("a changed schema, and a connection that was opened plainly") {
  TempDir dir;
  { const Bank bank(dir / "bank.db"); }
  sqlite3* plain = nullptr;  // serialized, without extended codes
  REQUIRE(sqlite3_open((dir / "bank.db").c_str(), &plain) == SQLITE_OK);
  {
    SqliteBarrierTable table(plain);
    Barrier barrier = SagaBranch("action");
    CHECK(table.Call(barrier, Debit).kind == Kind::kSuccess);
    Exec(plain, "CREATE TABLE more (a); ALTER TABLE barrier ADD COLUMN note TEXT");
    Barrier undo = SagaBranch("compensate");
    CHECK(table.Call(undo, Credit).kind == Kind::kSuccess);
    Exec(plain, "DROP TABLE barrier");
    Barrier lost = SagaBranch("action");
    CHECK_THAT(TextOf<SqliteError>([&] { (void)table.Call(lost, Never); }),
               ContainsSubstring("no such table"));
    Barrier next = SagaBranch("action");
    dtm::CreateBarrierTable(plain);
    CHECK(table.Call(next, Debit).kind == Kind::kSuccess);
  }
  CHECK(sqlite3_extended_errcode(plain) == SQLITE_OK);
  CHECK(sqlite3_close(plain) == SQLITE_OK);  // nothing of ours is left
}
