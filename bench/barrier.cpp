/// What a barrier call costs on top of the bare transaction that does the same business (BEGIN
/// IMMEDIATE, debit one of 1000 accounts, COMMIT), in CPU time: an action (one row) and its
/// compensation (two inserts, one row), each with a barrier table that is kept, and with one made
/// for each call, which prepares its statements again. WAL, synchronous = NORMAL: waiting for the
/// disk would hide the cost. In rounds, so that all see the same machine; the median round counts.
/// Usage: barrier [seconds] [folder for the files]
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench.hpp"
#include "sagas.hpp"
#include <dtm/barrier/sqlite_barrier.hpp>
#include <dtm/core/gid.hpp>
#include <dtm/sql/sqlite_connection.hpp>

namespace {

constexpr int kPerRound = 500;

/// A file with accounts and, unless it is for the bare transactions, a barrier table.
class Bank {
 public:
  Bank(const std::string& path, bool barrier)
      : file_(path), db_(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) {
    dtm::sql::Statement mode(db_, "PRAGMA journal_mode = WAL");
    (void)mode.Step();
    mode.Reset();
    db_.Exec(
        "PRAGMA synchronous = NORMAL;"
        "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);"
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) "
        "INSERT INTO account SELECT i, 1000 FROM n");
    if (barrier) dtm::CreateBarrierTable(db_.Handle());
    update_.emplace_back(db_, "UPDATE account SET balance = balance + ?1 WHERE id = ?2");
  }

  dtm::sql::Database& Db() { return db_; }
  void Business(std::int64_t amount) {
    count_ = count_ % 1000 + 1;
    update_[0].Bind(1, amount).Bind(2, count_).Step();
  }

 private:
  bench::TempFile file_;
  dtm::sql::Database db_;
  std::vector<dtm::sql::Statement> update_;
  std::int64_t count_ = 0;
};

void Call(dtm::SqliteBarrierTable& table, Bank& bank, const std::string& gid, const char* op,
          std::int64_t amount) {
  dtm::Barrier barrier("saga", gid, "01", op);
  const dtm::Result result = table.Call(barrier, [&](sqlite3*) { bank.Business(amount); });
  if (result.kind != dtm::Result::Kind::kSuccess) throw std::runtime_error(result.text);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  const std::string folder = argc > 2 ? argv[2] : ".";
  try {
    Bank bare(folder + "/barrier_bare.db", false);
    dtm::sql::Statement begin(bare.Db(), "BEGIN IMMEDIATE");
    dtm::sql::Statement commit(bare.Db(), "COMMIT");
    Bank kept(folder + "/barrier_kept.db", true);
    dtm::SqliteBarrierTable table(kept.Db().Handle());
    Bank fresh(folder + "/barrier_fresh.db", true);

    dtm::GidGenerator gids;
    std::vector<std::string> round;
    std::map<std::string, std::vector<double>> cpu_us;  // per call, of each round
    double calls = 0;
    const auto measure = [&](const char* what, const std::function<void(const std::string&)>& one) {
      const bench::Watch watch;
      for (const std::string& gid : round) one(gid);
      cpu_us[what].push_back(1e6 * watch.CpuUsed() / kPerRound);
    };
    const bench::Watch all;
    while (all.Wall() < seconds) {
      round.clear();
      for (int i = 0; i < kPerRound; ++i) round.push_back(gids.Make(bench::Now()));
      measure("bare", [&](const std::string&) {
        begin.Step();
        bare.Business(-30);
        commit.Step();
      });
      measure("action", [&](const std::string& gid) { Call(table, kept, gid, "action", -30); });
      measure("compensate",
              [&](const std::string& gid) { Call(table, kept, gid, "compensate", 30); });
      measure("repeated", [&](const std::string& gid) { Call(table, kept, gid, "action", -30); });
      measure("action, new table", [&](const std::string& gid) {
        dtm::SqliteBarrierTable own(fresh.Db().Handle());
        Call(own, fresh, gid, "action", -30);
      });
      measure("compensate, new table", [&](const std::string& gid) {
        dtm::SqliteBarrierTable own(fresh.Db().Handle());
        Call(own, fresh, gid, "compensate", 30);
      });
      calls += kPerRound;
    }
    const double bare_us = bench::Percentile(cpu_us["bare"], 0.5);
    for (const auto& entry : cpu_us) {
      const double us = bench::Percentile(entry.second, 0.5);
      bench::Print("barrier",
                   {{"calls", calls}, {"cpu_us_per_call", us}, {"cpu_us_on_top", us - bare_us}},
                   {{"what", entry.first}});
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "barrier: %s\n", error.what());
    return 1;
  }
}
