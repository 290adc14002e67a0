/// How the barrier table is made: its name, its columns, and tables that others made.
#include <cstddef>
#include <string>
#include <vector>

#include "tests/barrier/bank.hpp"
#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/barrier/sqlite_barrier.hpp>
#include <dtm/barrier/sqlite_schema.hpp>

using Catch::Matchers::ContainsSubstring;
using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::Barrier;
using dtm::SqliteBarrierTable;
using dtm::sql::SqliteError;
using Kind = dtm::Result::Kind;

namespace {

void Never(sqlite3*) { FAIL("the business must not run"); }

template <typename Function>
std::string Refused(const Function& function) {
  try {
    function();
  } catch (const SqliteError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("tables have names, and each its own rows") {
  TempDir dir;
  Bank bank(dir / "bank.db");
  sqlite3* db = bank.db.Handle();
  SqliteBarrierTable table(db);
  const auto deliver = [&table](Barrier barrier, void (*business)(sqlite3*)) {
    return table.Call(barrier, business).kind;
  };
  const std::string missing = Refused([&] { SqliteBarrierTable(db, "order"); });
  CHECK_THAT(missing, ContainsSubstring("'order' cannot serve") && ContainsSubstring("no such") &&
                          ContainsSubstring("CreateBarrierTable"));
  dtm::CreateBarrierTable(db, "order");
  dtm::CreateBarrierTable(db, "order");  // stays
  SqliteBarrierTable orders(db, "order");
  for (int i = 0; i < 2; ++i) {
    Barrier barrier = SagaBranch("action");
    CHECK(orders.Call(barrier, Debit).kind == Kind::kSuccess);
    CHECK(deliver(SagaBranch("action"), Debit) == Kind::kSuccess);
  }
  CHECK(bank.Balance() == 40);
  CHECK(deliver(Msg(), Debit) == Kind::kSuccess);
  CHECK(orders.QueryPrepared(Msg()).kind == Kind::kFailure);  // of its own table
  CHECK(bank.Rows("g", "\"order\"") == "action/01/action msg/01/rollback");
  dtm::CreateBarrierTable(db, "order");
  CHECK(bank.Number("SELECT count(*) FROM \"order\"") == 2);

  for (const std::string& name : std::vector<std::string>{"", "a b", "main.barrier", "a\"b", "a;b",
                                                          "\xC3\xA4", std::string(65, 'a')}) {
    CAPTURE(name);
    CHECK_THROWS_AS(SqliteBarrierTable(db, name), dtm::LogicError);
    CHECK_THROWS_AS(dtm::CreateBarrierTable(db, name), dtm::LogicError);
  }
  CHECK_THROWS_AS(SqliteBarrierTable(nullptr), dtm::LogicError);
  CHECK_THROWS_AS(dtm::CreateBarrierTable(static_cast<sqlite3*>(nullptr)), dtm::LogicError);

  // One made as dtm makes its own will do.
  bank.db.Exec(
      "CREATE TABLE theirs (id INTEGER PRIMARY KEY AUTOINCREMENT, trans_type VARCHAR(45) DEFAULT "
      "'', "
      "gid VARCHAR(128) DEFAULT '', branch_id VARCHAR(128) DEFAULT '', op VARCHAR(45) DEFAULT '', "
      "barrier_id VARCHAR(45) DEFAULT '', reason VARCHAR(45) DEFAULT '', "
      "create_time DATETIME DEFAULT CURRENT_TIMESTAMP, update_time DATETIME, "
      "UNIQUE (gid, branch_id, op, barrier_id))");
  SqliteBarrierTable theirs(db, "theirs");
  for (int i = 0; i < 2; ++i) {
    Barrier barrier = SagaBranch("compensate");
    CHECK(theirs.Call(barrier, Never).kind == Kind::kSuccess);
  }
  CHECK(bank.Rows("g", "theirs") == "action/01/compensate compensate/01/compensate");

  // A table that would not keep rows apart is refused, not believed.
  bank.db.Exec(
      "CREATE TABLE loose (id INTEGER PRIMARY KEY, trans_type, gid, branch_id, op, barrier_id, "
      "reason)");
  CHECK_THAT(Refused([&] { SqliteBarrierTable(db, "loose"); }), ContainsSubstring("UNIQUE"));
}

TEST_CASE("the table has dtm's columns") {
  TempDir dir;
  Bank bank(dir / "bank.db");
  SqliteBarrierTable table(bank.db.Handle());
  Barrier undo = SagaBranch("compensate");
  CHECK(table.Call(undo, Never).kind == Kind::kSuccess);
  dtm::sql::Statement read(bank.db,
                           "SELECT id, trans_type, gid, branch_id, op, barrier_id, reason, "
                           "create_time, update_time FROM barrier ORDER BY op");
  const std::vector<std::string> expected[] = {
      {"", "saga", "g", "01", "action", "01", "compensate"},
      {"", "saga", "g", "01", "compensate", "01", "compensate"}};
  for (const auto& row : expected) {
    REQUIRE(read.Step());
    for (std::size_t i = 0; i < row.size(); ++i) CHECK(read.Text(static_cast<int>(i)) == row[i]);
    CHECK(read.Text(7).size() == std::string("2026-11-22 07:08:07").size());
    CHECK(read.IsNull(8));
  }
  CHECK_FALSE(read.Step());
}
