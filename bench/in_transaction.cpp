/// Sagas of two branches that run inside the commit (RegisterInTransaction), each with one UPDATE of the program's own
/// table, at 1 / 16 / 256 in flight. A saga is one commit.
/// Usage: in_transaction [seconds per point] [folder for the store]
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

#include <sqlite3.h>

#include "bench.hpp"
#include "sagas.hpp"
#include <dtm/dtm.hpp>

namespace {

void Exec(sqlite3* db, const char* sql) {
  if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    throw std::runtime_error(sqlite3_errmsg(db));
  }
}

/// UPDATE account SET balance = balance + amount WHERE id, prepared once.
class Update {
 public:
  Update() = default;
  Update(const Update&) = delete;
  Update& operator=(const Update&) = delete;
  ~Update() { sqlite3_finalize(statement_); }
  void Run(sqlite3* db, int id, int amount) {
    if (statement_ == nullptr) {
      sqlite3_prepare_v3(db, "UPDATE account SET balance = balance + ?2 WHERE id = ?1", -1,
                         SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
    }
    sqlite3_bind_int(statement_, 1, id);
    sqlite3_bind_int(statement_, 2, amount);
    const int code = sqlite3_step(statement_);
    sqlite3_reset(statement_);
    if (code != SQLITE_DONE) throw std::runtime_error(sqlite3_errmsg(db));
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  const std::string folder = argc > 2 ? argv[2] : ".";
  for (const int in_flight : {1, 16, 256}) {
    const bench::TempFile file(folder + "/in_transaction.db");
    const auto on_open = [](sqlite3* db) {
      Exec(db,
           "CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);"
           "INSERT OR IGNORE INTO account VALUES (1, 0), (2, 0)");
    };
    auto update = std::make_shared<Update>();
    dtm::Coordinator tm(
        std::make_unique<dtm::SqliteStore>(file.Path(), dtm::Durability::kPower, on_open));
    const auto add = [&](const char* name, int id, int sign) {
      return tm.RegisterInTransaction<bench::Transfer>(
          name, [update, id, sign](sqlite3* db, const bench::Transfer& transfer) {
            update->Run(db, id, sign * transfer.amount);
          });
    };
    const bench::SagaFunctions functions = {add("Out", 1, -1), add("OutCom", 1, 1), add("In", 2, 1),
                                            add("InCom", 2, -1)};
    const bench::SagaRates rates =
        bench::RunSagas(tm, functions, in_flight, seconds, [&tm] { return dtm::MustGenGid(tm); });
    bench::Print("in_transaction", {{"in_flight", static_cast<double>(in_flight)},
                                    {"sagas_per_s", rates.sagas_per_s},
                                    {"cpu_us_per_saga", rates.cpu_us_per_saga},
                                    {"p50_ms", rates.p50_ms},
                                    {"p99_ms", rates.p99_ms}});
    (void)tm.Stop(std::chrono::seconds(10));
    update.reset();
  }
}
