/// Branches that write to the coordinator's own file: their rows, their status and the next step are one commit. No
/// barrier, no idempotence to think of; and the whole saga is a single fsync.
/// Needs: SQLite. Fails if the outcome is not what it says.
#include <chrono>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

#include <sqlite3.h>

#include <dtm/dtm.hpp>

struct Transfer {
  int from, to, amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, from, to, amount)

/// Runs one statement with two numbers in it.
void Sql(sqlite3* db, const char* text, int first = 0, int second = 0) {
  sqlite3_stmt* statement = nullptr;
  int code = sqlite3_prepare_v2(db, text, -1, &statement, nullptr);
  if (code == SQLITE_OK) {
    sqlite3_bind_int(statement, 1, first);
    sqlite3_bind_int(statement, 2, second);
    code = sqlite3_step(statement);
  }
  sqlite3_finalize(statement);
  if ((code & 0xFF) == SQLITE_CONSTRAINT) throw dtm::FailureError("not enough money");  // roll back
  if (code != SQLITE_DONE && code != SQLITE_ROW) throw std::runtime_error(sqlite3_errmsg(db));
}

int Balance(dtm::Coordinator& tm, int account) {
  int balance = 0;
  tm.Transact([&](dtm::Tx& tx) {
    sqlite3_stmt* statement = nullptr;
    sqlite3_prepare_v2(tx.Db(), "SELECT balance FROM account WHERE id = ?1", -1, &statement,
                       nullptr);
    sqlite3_bind_int(statement, 1, account);
    if (sqlite3_step(statement) == SQLITE_ROW) balance = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
  });
  return balance;
}

int main() {
  const auto on_open = [](sqlite3* db) {
    Sql(db,
        "CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance INTEGER CHECK "
        "(balance >= 0))");
    Sql(db, "INSERT OR REPLACE INTO account VALUES (1, 100), (2, 100)");
  };
  dtm::Coordinator tm(
      std::make_unique<dtm::SqliteStore>("exactly_once.db", dtm::Durability::kPower, on_open));
  constexpr const char* kAdd = "UPDATE account SET balance = balance + ?2 WHERE id = ?1";
  auto out = tm.RegisterInTransaction<Transfer>(
      "Out", [](sqlite3* db, const Transfer& t) { Sql(db, kAdd, t.from, -t.amount); });
  auto back = tm.RegisterInTransaction<Transfer>(
      "Back", [](sqlite3* db, const Transfer& t) { Sql(db, kAdd, t.from, t.amount); });
  auto in = tm.RegisterInTransaction<Transfer>("In", [](sqlite3* db, const Transfer& t) {
    if (t.amount > 50) throw dtm::FailureError("at most 50 at a time");
    Sql(db, kAdd, t.to, t.amount);
  });
  tm.Start();

  bool as_expected = true;
  for (const int amount : {30, 60, 1000}) {
    const dtm::TransResult result = dtm::NewSaga(tm, dtm::MustGenGid(tm))
                                        .Add(out, back, Transfer{1, 2, amount})
                                        .Add(in, dtm::kNoBranch, Transfer{1, 2, amount})
                                        .SubmitAndWait(std::chrono::seconds(30));
    std::printf("transfer %d: %s; commits of its record: %d\n", amount, dtm::Name(result.status),
                static_cast<int>(tm.Query(result.gid)->version));
    as_expected = as_expected && (amount == 30 ? result.Succeeded() : result.Failed());
  }
  return as_expected && Balance(tm, 1) == 70 && Balance(tm, 2) == 130 ? 0 : 1;
}
