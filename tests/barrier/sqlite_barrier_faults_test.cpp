/// Every I/O operation of a call fails once, and the disk is full at every size: row and effect are
/// both there or both not, and what the call said is true.
#include <filesystem>
#include <string>

#include "tests/barrier/bank.hpp"
#include "tests/catch.hpp"
#include "tests/support/faulty_vfs.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/barrier/sqlite_barrier.hpp>

using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::Barrier;
using dtm::Result;
using dtm::SqliteBarrierTable;

namespace {

enum class Said { kDone, kNothing, kInDoubt };

/// Two accounts and a page of its own: more than one page to write.
Said Deliver(SqliteBarrierTable& table, int number) {
  Barrier barrier("saga", "g" + std::to_string(number), "01", "action");
  try {
    const Result result = table.Call(barrier, [](sqlite3* db) {
      Debit(db);
      Exec(db, "INSERT INTO note VALUES (zeroblob(9000))");
    });
    REQUIRE(result.kind == Result::Kind::kSuccess);
    return Said::kDone;
  } catch (const dtm::InDoubtError&) {
    return Said::kInDoubt;
  } catch (const dtm::sql::SqliteError&) {
    return Said::kNothing;
  }
}

struct Effects {
  std::int64_t rows, debits, notes;
  bool Agree() const { return rows == debits && debits == notes; }
};

Effects Look(Bank& bank) {
  return {bank.Number("SELECT count(*) FROM barrier"), (100 - bank.Balance()) / 30,
          bank.Number("SELECT count(*) FROM note")};
}

void MakeNotes(Bank& bank) { bank.db.Exec("CREATE TABLE IF NOT EXISTS note (text BLOB)"); }

/// What a program finds that comes after a crash now.
Effects AfterCrash(const TempDir& dir) {
  const TempDir copy;
  for (const char* suffix : {"", "-wal", "-journal"}) {
    const std::string from = dir / "bank.db" + suffix;
    if (Exists(from)) std::filesystem::copy_file(from, copy / "bank.db" + suffix);
  }
  Bank bank(copy / "bank.db");
  return Look(bank);
}

}  // namespace

TEST_CASE("every I/O operation of a call fails once") {
  for (const char* journal : {"WAL", "DELETE"}) {
    for (const auto effect :
         {FaultyVfs::Effect::kNothing, FaultyVfs::Effect::kHalf, FaultyVfs::Effect::kDone}) {
      bool fired = true;
      int in_doubt = 0;
      int nothing = 0;
      int fail_at = 0;
      for (fail_at = 1; fired; ++fail_at) {
        CAPTURE(journal, static_cast<int>(effect), fail_at);
        TempDir dir;
        FaultyVfs vfs;
        Bank bank(dir / "bank.db", journal);
        MakeNotes(bank);
        bank.db.Exec("PRAGMA synchronous = FULL; PRAGMA cache_size = 1");
        SqliteBarrierTable table(bank.db.Handle());
        REQUIRE(Deliver(table, 0) == Said::kDone);

        FaultyVfs::Plan plan;
        plan.fail_at = fail_at;
        plan.effect = effect;
        vfs.Arm(plan);
        const Said said = Deliver(table, 1);
        fired = vfs.Fired() > 0;
        vfs.Disarm();
        REQUIRE_FALSE(bank.db.InTransaction());

        const Effects after_crash = AfterCrash(dir);
        CHECK(after_crash.Agree());
        const Effects now = Look(bank);
        CHECK(now.Agree());
        if (said == Said::kDone) CHECK(now.rows == 2);
        if (said == Said::kDone) CHECK(after_crash.rows == 2);
        if (said == Said::kNothing) CHECK(now.rows == 1);
        if (said == Said::kNothing) CHECK(after_crash.rows == 1);
        in_doubt += said == Said::kInDoubt ? 1 : 0;
        nothing += said == Said::kNothing ? 1 : 0;

        // The coordinator calls again.
        CHECK(Deliver(table, 1) == Said::kDone);
        CHECK(Deliver(table, 1) == Said::kDone);
        const Effects end = Look(bank);
        CHECK(end.Agree());
        CHECK(end.rows == 2);
      }
      CAPTURE(journal, static_cast<int>(effect), fail_at);
      CHECK(fail_at > 5);
      CHECK(in_doubt > 0);
      CHECK(nothing + in_doubt > 2);
    }
  }
}

TEST_CASE("the file is full at every size") {
  for (int room = 0, said_done = 0; said_done == 0; ++room) {
    CAPTURE(room);
    REQUIRE(room < 50);
    TempDir dir;
    Bank bank(dir / "bank.db");
    MakeNotes(bank);
    SqliteBarrierTable table(bank.db.Handle());
    REQUIRE(Deliver(table, 0) == Said::kDone);
    const auto pages = bank.Number("PRAGMA page_count");
    bank.Number("PRAGMA max_page_count = " + std::to_string(pages + room));
    const Said said = Deliver(table, 1);
    CHECK((said == Said::kDone || said == Said::kNothing));
    CHECK_FALSE(bank.db.InTransaction());
    CHECK(Look(bank).Agree());
    CHECK(Look(bank).rows == (said == Said::kDone ? 2 : 1));
    said_done = said == Said::kDone ? 1 : 0;
    bank.Number("PRAGMA max_page_count = 1000000");
    CHECK(Deliver(table, 1) == Said::kDone);
    CHECK(Look(bank).Agree());
    CHECK(Look(bank).rows == 2);
  }
}

TEST_CASE("a call that is interrupted after any number of steps") {
  for (int steps = 1, done = 0; done == 0; ++steps) {
    CAPTURE(steps);
    REQUIRE(steps < 5000);
    static int left;
    left = steps;
    TempDir dir;
    Bank bank(dir / "bank.db");
    MakeNotes(bank);
    SqliteBarrierTable table(bank.db.Handle());
    sqlite3_progress_handler(
        bank.db.Handle(), 1, [](void*) { return --left == 0 ? 1 : 0; }, nullptr);
    const Said said = Deliver(table, 1);
    sqlite3_progress_handler(bank.db.Handle(), 0, nullptr, nullptr);
    CHECK_FALSE(bank.db.InTransaction());
    CHECK(Look(bank).Agree());
    if (said != Said::kInDoubt) CHECK(Look(bank).rows == (said == Said::kDone ? 1 : 0));
    done = said == Said::kDone && left > 0 ? 1 : 0;
    CHECK(Deliver(table, 1) == Said::kDone);
    CHECK(Look(bank).rows == 1);
  }
}

TEST_CASE("a call in the program's transaction that is interrupted after any number of steps") {
  for (int steps = 1, done = 0; done == 0; ++steps) {
    CAPTURE(steps);
    REQUIRE(steps < 5000);
    static int left;
    TempDir dir;
    Bank bank(dir / "bank.db");
    MakeNotes(bank);
    SqliteBarrierTable table(bank.db.Handle());
    bank.db.Exec("BEGIN IMMEDIATE; UPDATE account SET balance = 7 WHERE name = 'b'");
    Barrier barrier("saga", "g", "01", "action");
    left = steps;
    sqlite3_progress_handler(
        bank.db.Handle(), 1, [](void*) { return --left == 0 ? 1 : 0; }, nullptr);
    try {
      (void)table.CallInTransaction(barrier, [](sqlite3* db) {
        Debit(db);
        Exec(db, "INSERT INTO note VALUES (zeroblob(9000))");
      });
      done = left > 0 ? 1 : 0;
    } catch (const dtm::sql::SqliteError&) {
      CHECK_THROWS_AS(barrier.BeginCall(), dtm::LogicError);
    }
    sqlite3_progress_handler(bank.db.Handle(), 0, nullptr, nullptr);
    // Stepping an interrupted statement may have made SQLite roll everything back.
    const bool open = bank.db.InTransaction();
    if (open) bank.db.Exec("COMMIT");
    CHECK(Look(bank).Agree());
    CHECK(bank.Balance("b") == (open ? 7 : 100));
  }
}
