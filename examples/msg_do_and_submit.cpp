/// A 2-phase message: money leaves an account in the program's own database, and arrives elsewhere if and only if that
/// was committed, even if the program dies in between: then the coordinator asks whether it was.
/// Needs: SQLite. Fails if the outcome is not what it says.
#include <chrono>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

#include <sqlite3.h>

#include <dtm/dtm.hpp>

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

void Exec(sqlite3* db, const std::string& sql) {
  const int code = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
  if (code == SQLITE_CONSTRAINT) throw dtm::FailureError("not enough money");
  if (code != SQLITE_OK) throw std::runtime_error(sqlite3_errmsg(db));
}

int main() {
  using Who = dtm::BranchInfo;
  sqlite3* bank = nullptr;  // not the coordinator's file: this could be any database
  sqlite3_open("message_bank.db", &bank);
  const std::unique_ptr<sqlite3, decltype(&sqlite3_close_v2)> closed_at_the_end(bank,
                                                                                sqlite3_close_v2);
  Exec(bank,
       "DROP TABLE IF EXISTS account;"
       "CREATE TABLE account (name TEXT PRIMARY KEY, balance INTEGER CHECK (balance >= 0));"
       "INSERT INTO account VALUES ('alice', 100), ('bob', 100)");
  dtm::CreateBarrierTable(bank);
  dtm::SqliteBarrierTable table(bank);  // its callers wait for each other

  dtm::Coordinator tm("message.db");
  const auto add = [&](const Who& who, const char* name, int amount) {
    dtm::Barrier barrier =
        dtm::BarrierFrom(who);  // a repeat, before or after a crash, changes nothing
    return table.Call(barrier, [&](sqlite3* db) {
      Exec(db, "UPDATE account SET balance = balance + " + std::to_string(amount) +
                   " WHERE name = '" + name + "'");
    });
  };
  auto in = tm.Register<Transfer>(
      "In", [&](const Transfer& t, const Who& who) { return add(who, "bob", t.amount); });
  auto was_it_committed =
      tm.Register<nlohmann::json>("WasItCommitted", [&](const nlohmann::json&, const Who& who) {
        return table.QueryPrepared(dtm::BarrierFrom(who));
      });
  tm.Start();

  bool as_expected = true;
  for (const int amount : {30, 1000}) {
    const std::string gid = dtm::MustGenGid(tm);
    dtm::Msg message = dtm::NewMsg(tm, gid).Add(in, Transfer{amount});
    try {
      message.DoAndSubmit(was_it_committed,
                          [&](const Who& who) { return add(who, "alice", -amount); });
    } catch (const dtm::FailureError& error) {
      std::printf("transfer %d: %s\n", amount, error.what());
    }
    const dtm::TransResult result = tm.Wait(gid, std::chrono::seconds(30));
    std::printf("transfer %d: the message has %s\n", amount, dtm::Name(result.status));
    as_expected = as_expected && (amount == 30 ? result.Succeeded() : result.Failed());
  }
  (void)tm.Stop(std::chrono::seconds(10));
  // No row has another balance, or this says "not enough money".
  Exec(bank,
       "UPDATE account SET balance = -1 WHERE (name, balance) NOT IN (VALUES ('alice', 70), "
       "('bob', 130))");
  return as_expected ? 0 : 1;
}
