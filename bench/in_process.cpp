/// Sagas of two functions in one process, every step durable, at 1 / 16 / 256 / 4096 in flight;
/// beside each the bare store doing the same writes in batches of the same size, without the
/// engine; and then the same sagas with the default history and with none, in turns.
/// Usage: in_process [seconds per point] [folder for the store]
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench.hpp"
#include "sagas.hpp"
#include <dtm/dtm.hpp>

namespace {

/// Counts the changes and commits that reach the store.
class CountingStore : public dtm::SqliteStore {
 public:
  using SqliteStore::SqliteStore;
  void Apply(std::vector<dtm::Change>& changes) override {
    changes_ += changes.size();
    SqliteStore::Apply(changes);
  }
  void Commit() override {
    ++commits_;
    SqliteStore::Commit();
  }
  double Commits() const { return static_cast<double>(commits_); }
  double ChangesPerCommit() const {
    return static_cast<double>(changes_) / static_cast<double>(commits_ > 0 ? commits_.load() : 1);
  }

 private:
  std::atomic<std::size_t> changes_{0};
  std::atomic<std::size_t> commits_{0};
};

struct EngineRun {
  bench::SagaRates rates;
  double changes_per_commit = 0;
  double commits_per_saga = 0;
  double bytes_per_saga = 0;  ///< in the file, at the end
};

EngineRun RunEngine(int in_flight, double seconds, const std::string& path,
                    const dtm::Options& options = {}) {
  const bench::TempFile file(path);
  EngineRun run;
  double sagas = 0;
  {
    auto owned = std::make_unique<CountingStore>(file.Path());
    CountingStore& store = *owned;
    dtm::Coordinator tm(std::move(owned), options);
    const bench::Watch watch;
    run.rates = bench::RunSagas(tm, bench::RegisterIdle(tm), in_flight, seconds,
                                [&tm] { return dtm::MustGenGid(tm); });
    sagas = run.rates.sagas_per_s * watch.Wall();
    run.changes_per_commit = store.ChangesPerCommit();
    run.commits_per_saga = store.Commits() / sagas;
  }
  run.bytes_per_saga = static_cast<double>(std::filesystem::file_size(path)) / sagas;
  return run;
}

double Median(std::vector<double> values) { return bench::Percentile(std::move(values), 0.5); }

/// In turns, so that both see the same machine; the one that is first in a turn is second in the next.
void RunHistory(int in_flight, double seconds, const std::string& path) {
  constexpr int kTurns = 9;
  dtm::Options silent;
  silent.history = 0;
  std::vector<double> speed, plain, cpu, plain_cpu, ratio;
  EngineRun with, without;
  for (int turn = 0; turn < kTurns; ++turn) {
    for (const bool tells : {turn % 2 == 0, turn % 2 != 0}) {
      EngineRun& run = tells ? with : without;
      run = RunEngine(in_flight, seconds / kTurns, path, tells ? dtm::Options() : silent);
      (tells ? speed : plain).push_back(run.rates.sagas_per_s);
      (tells ? cpu : plain_cpu).push_back(run.rates.cpu_us_per_saga);
    }
    ratio.push_back(speed.back() / plain.back());
  }
  bench::Print("in_process_history",
               {{"in_flight", in_flight},
                {"sagas_per_s", Median(speed)},
                {"without", Median(plain)},
                {"ratio", Median(ratio)},
                {"cpu_us_per_saga", Median(cpu)},
                {"cpu_us_without", Median(plain_cpu)},
                {"commits_per_saga", with.commits_per_saga},
                {"commits_without", without.commits_per_saga},
                {"bytes_per_attempt", (with.bytes_per_saga - without.bytes_per_saga) / 2}});
}

/// The writes of a saga: insert, first step done, second step done and ended.
void RunBareStore(int in_flight, double changes_per_commit, double seconds,
                  const std::string& path) {
  const bench::TempFile file(path);
  dtm::SqliteStore store(file.Path());
  dtm::GidGenerator gids;
  const auto per_stage = static_cast<std::size_t>(changes_per_commit / 3 + 0.5);
  // Batches below three changes hold one stage at a time.
  const bool one_stage_each = per_stage == 0;
  std::vector<dtm::Transaction> stages[3];
  double sagas = 0;
  std::size_t turn = 0;
  const bench::Watch watch;
  std::vector<dtm::Change> changes;
  while (watch.Wall() < seconds) {
    stages[2] = std::move(stages[1]);
    stages[1] = std::move(stages[0]);
    stages[0].clear();
    const std::size_t fresh = one_stage_each ? (turn++ % 3 == 0 ? 1 : 0) : per_stage;
    for (std::size_t i = 0; i < fresh; ++i) {
      const dtm::Time now = bench::Now();
      stages[0].push_back(bench::NewTransaction(gids.Make(now), now));
    }
    changes.clear();
    for (dtm::Transaction& t : stages[0]) changes.push_back({&t, true, false});
    for (dtm::Transaction& t : stages[1]) {
      t.branches[1].status = dtm::BranchStatus::kSucceed;
      t.branches[3].tries = 1;
      changes.push_back({&t, false, false});
    }
    for (dtm::Transaction& t : stages[2]) {
      t.branches[3].status = dtm::BranchStatus::kSucceed;
      t.status = dtm::Status::kSucceed;
      t.finished = t.created;
      changes.push_back({&t, true, false});
    }
    store.Begin();
    store.Apply(changes);
    store.Commit();
    for (const dtm::Change& change : changes) ++change.transaction->version;
    sagas += static_cast<double>(stages[2].size());
  }
  bench::Print("bare_store", {{"in_flight", in_flight},
                              {"sagas_per_s", sagas / watch.Wall()},
                              {"cpu_us_per_saga", 1e6 * watch.CpuUsed() / sagas},
                              {"changes_per_commit", changes_per_commit}});
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  const std::string folder = argc > 2 ? argv[2] : ".";
  for (const int in_flight : {1, 16, 256, 4096}) {
    const EngineRun run = RunEngine(in_flight, seconds, folder + "/in_process_bench.db");
    bench::Print("in_process", {{"in_flight", in_flight},
                                {"sagas_per_s", run.rates.sagas_per_s},
                                {"cpu_us_per_saga", run.rates.cpu_us_per_saga},
                                {"p50_ms", run.rates.p50_ms},
                                {"p99_ms", run.rates.p99_ms},
                                {"changes_per_commit", run.changes_per_commit}});
    RunBareStore(in_flight, run.changes_per_commit, seconds, folder + "/bare_store_bench.db");
    RunHistory(in_flight, 2 * seconds, folder + "/history_bench.db");
  }
}
