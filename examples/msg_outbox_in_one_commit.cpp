/// The outbox without an outbox: an order and the message about it are stored by one commit, so there is no prepare,
/// no query-back, and never one without the other.
/// Needs: SQLite. Fails if the outcome is not what it says.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

#include <sqlite3.h>

#include <dtm/dtm.hpp>

struct Order {
  int id;
  std::string what;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, id, what)

void Insert(sqlite3* db, const Order& order) {
  sqlite3_stmt* statement = nullptr;
  sqlite3_prepare_v2(db, "INSERT INTO orders VALUES (?1, ?2)", -1, &statement, nullptr);
  sqlite3_bind_int(statement, 1, order.id);
  sqlite3_bind_text(statement, 2, order.what.c_str(), -1, SQLITE_TRANSIENT);
  const int code = sqlite3_step(statement);
  sqlite3_finalize(statement);
  if (code != SQLITE_DONE) throw std::runtime_error(sqlite3_errmsg(db));
}

int main() {
  std::atomic<int> mailed{0};

  const auto on_open = [](sqlite3* db) {
    sqlite3_exec(
        db, "DROP TABLE IF EXISTS orders; CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)",
        nullptr, nullptr, nullptr);
  };
  dtm::Coordinator tm(
      std::make_unique<dtm::SqliteStore>("outbox.db", dtm::Durability::kPower, on_open));
  auto mail = tm.Register<Order>("Mail", [&](const Order& order) {
    std::printf("mail: your order %d (%s) is on its way\n", order.id, order.what.c_str());
    ++mailed;
  });
  tm.Start();

  const auto place = [&](const Order& order) {
    const std::string gid = dtm::MustGenGid(tm);
    tm.Transact([&](dtm::Tx& tx) {
      Insert(tx.Db(), order);
      dtm::NewMsg(tx, gid).Add(mail, order).Submit();
    });
    return tm.Wait(gid, std::chrono::seconds(30)).Succeeded();
  };
  bool as_expected = place({1, "tea"}) && place({2, "cups"});

  // The row is refused, so there is no message either.
  try {
    (void)place({1, "tea again"});
    as_expected = false;
  } catch (const std::runtime_error& error) {
    std::printf("order 1 again: %s\n", error.what());
  }
  return as_expected && mailed == 2 ? 0 : 1;
}
