/// One connection, shared by the threads of a server: no effect is committed without its barrier row, whatever of
/// the table is shared, and whoever else uses the connection.
#include <atomic>
#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/barrier/bank.hpp"
#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/barrier/sqlite_barrier.hpp>
#include <dtm/sql/exclusive.hpp>

using Catch::Matchers::ContainsSubstring;
using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::Barrier;
using dtm::Result;
using dtm::SqliteBarrierTable;

namespace {

constexpr int kThreads = 8;
constexpr int kCalls = 25;

/// A bank and a connection of a program to it, opened with `flags`.
struct Shared {
  explicit Shared(int flags) : bank(dir / "bank.db", "WAL", 60000) {
    const int code =
        sqlite3_open_v2((dir / "bank.db").c_str(), &db, SQLITE_OPEN_READWRITE | flags, nullptr);
    REQUIRE(code == SQLITE_OK);
    sqlite3_busy_timeout(db, 60000);
    Exec(db, "PRAGMA synchronous = OFF");
  }
  ~Shared() { sqlite3_close(db); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  /// What has been credited, in units of 30, and the rows that say so.
  int Credits() { return static_cast<int>((bank.Balance() - 100) / 30); }
  int Rows() {
    return static_cast<int>(bank.Number("SELECT count(*) FROM barrier WHERE op = 'action'"));
  }

  TempDir dir;
  Bank bank;
  sqlite3* db = nullptr;
};

/// What each thread does for each gid; what it throws is counted.
int Refused(const std::function<void(const std::string& gid)>& deliver) {
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int call = 0; call < kCalls; ++call) {
        try {
          deliver("g" + std::to_string(i) + "-" + std::to_string(call));
        } catch (const std::exception&) {
          ++refused;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return refused;
}

/// A credit that gives the others every chance to come in between.
void SlowCredit(sqlite3* db) {
  Credit(db);
  std::this_thread::yield();
}

Result Pay(SqliteBarrierTable& table, const std::string& gid) {
  Barrier barrier("saga", gid, "01", "action");
  return table.Call(barrier, SlowCredit);
}

}  // namespace

TEST_CASE("8 threads share a connection: every credit has its row, and none is lost") {
  Shared shared(0);  // as sqlite3_open does
  SECTION("one table") {
    SqliteBarrierTable table(shared.db);
    CHECK(Refused([&](const std::string& gid) { (void)Pay(table, gid); }) == 0);
  }
  SECTION("a table for each call") {
    CHECK(Refused([&](const std::string& gid) {
            SqliteBarrierTable table(shared.db);
            (void)Pay(table, gid);
          }) == 0);
  }
  SECTION("credits that are rolled back in between") {
    SqliteBarrierTable table(shared.db);
    CHECK(Refused([&](const std::string& gid) {
            Barrier no("saga", "no" + gid, "01", "action");
            const Result result = table.Call(no, [](sqlite3* db) {
              SlowCredit(db);
              return Result::Failure("no");
            });
            if (result.kind != Result::Kind::kFailure) throw dtm::Error("not rolled back");
            (void)Pay(table, gid);
          }) == 0);
  }
  SECTION("messages and the questions for them") {
    SqliteBarrierTable table(shared.db);
    CHECK(Refused([&](const std::string& gid) {
            Barrier step("msg", gid, "00", "msg");
            (void)table.Call(step, SlowCredit);
            if (table.QueryPrepared(step).kind != Result::Kind::kSuccess) throw dtm::Error("lost");
          }) == 0);
    CHECK(shared.Credits() == kThreads * kCalls);
    CHECK(shared.bank.Number("SELECT count(*) FROM barrier") == kThreads * kCalls);
    return;
  }
  SECTION("transactions of the program, which holds the connection meanwhile") {
    SqliteBarrierTable table(shared.db);
    CHECK(Refused([&](const std::string& gid) {
            const dtm::sql::Exclusive exclusive(shared.db);
            Exec(shared.db, "BEGIN IMMEDIATE");
            Barrier barrier("saga", gid, "01", "action");
            (void)table.CallInTransaction(barrier, SlowCredit);
            Exec(shared.db, "COMMIT");
          }) == 0);
  }
  CHECK(shared.Credits() == kThreads * kCalls);
  CHECK(shared.Rows() == kThreads * kCalls);
}

TEST_CASE("who uses the connection past the table waits for its commit") {
  Shared shared(0);
  SqliteBarrierTable table(shared.db);
  std::atomic<bool> stop{false};
  std::thread writer([&] {  // its rows are not rolled back with another's
    while (!stop) Exec(shared.db, "INSERT INTO account VALUES (NULL, 0)");
  });
  int rolled_back = 0;
  CHECK(Refused([&](const std::string& gid) {
          Barrier no("saga", gid, "01", "action");
          (void)table.Call(no, [&](sqlite3* db) {
            const int before = sqlite3_total_changes(db);
            SlowCredit(db);
            rolled_back += sqlite3_total_changes(db) == before + 1;
            return Result::Failure("no");
          });
        }) == 0);
  stop = true;
  writer.join();
  CHECK(rolled_back == kThreads * kCalls);
  CHECK(shared.Credits() == 0);
  CHECK(shared.Rows() == 0);
}

TEST_CASE("a connection without a mutex refuses the second thread, and what it took has its row") {
  Shared shared(SQLITE_OPEN_NOMUTEX);
  SqliteBarrierTable table(shared.db);
  SqliteBarrierTable other(shared.db);
  std::atomic<int> done{0};
  const int refused = Refused([&](const std::string& gid) {
    const bool odd = gid.back() % 2 == 1;
    (void)Pay(odd ? table : other, gid);
    ++done;
  });
  CHECK(done + refused == kThreads * kCalls);
  CHECK(shared.Credits() == done);
  CHECK(shared.Rows() == done);

  // Certainly at the same time, and said so; afterwards it goes on.
  std::string said;
  Barrier barrier("saga", "g", "01", "action");
  (void)table.Call(barrier, [&](sqlite3* db) {
    std::thread second([&] {
      try {
        (void)Pay(other, "second");
      } catch (const dtm::LogicError& error) {
        said = error.what();
      }
      CHECK_THROWS_AS(SqliteBarrierTable(db), dtm::LogicError);
      CHECK_THROWS_AS(dtm::CreateBarrierTable(db), dtm::LogicError);
      CHECK_THROWS_AS(other.QueryPrepared(Msg()), dtm::LogicError);
    });
    second.join();
  });
  CHECK_THAT(said, ContainsSubstring("used by another thread") &&
                       ContainsSubstring("SQLITE_OPEN_NOMUTEX"));
  CHECK(Pay(other, "second").kind == Result::Kind::kSuccess);
}
