/// The saga the benchmarks run, two functions that do nothing, and who keeps many of them in flight.
/// Needs: dtm. Threads: RunSagas by one thread; what it starts is its own.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "bench.hpp"
#include <dtm/dtm.hpp>

namespace bench {

struct Transfer {
  int amount = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

/// Lets `limit` things be under way at a time. Whoever waits is woken when a quarter of them is
/// free, as many callers of their own would not all be woken one by one.
class Slots {
 public:
  explicit Slots(int limit) : limit_(limit), wake_at_((std::max)(1, limit / 4)), free_(limit) {}
  void Take() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (free_ == 0) changed_.wait(lock, [this] { return free_ >= wake_at_; });
    --free_;
  }
  void Give() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++free_;
    if (free_ == wake_at_ || free_ == limit_) changed_.notify_one();
  }
  void WaitForAll() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return free_ == limit_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  const int limit_;
  const int wake_at_;
  int free_;
};

struct SagaRates {
  double sagas = 0;
  double sagas_per_s = 0;
  double cpu_us_per_saga = 0;
  double p50_ms = 0;
  double p99_ms = 0;
};

struct SagaFunctions {
  dtm::LocalBranch<Transfer> out, out_undo, in, in_undo;
};

/// Functions that do nothing.
inline SagaFunctions RegisterIdle(dtm::Coordinator& tm) {
  const auto nothing = [](const Transfer&) {};
  return {tm.Register<Transfer>("TransOut", nothing), tm.Register<Transfer>("TransOutCom", nothing),
          tm.Register<Transfer>("TransIn", nothing), tm.Register<Transfer>("TransInCom", nothing)};
}

/// Starts `tm` and keeps `in_flight` sagas going for so long; `next_gid` names them.
template <typename NextGid>
SagaRates RunSagas(dtm::Coordinator& tm, const SagaFunctions& functions, int in_flight,
                   double seconds, NextGid next_gid) {
  tm.Start();
  Slots slots(in_flight);
  std::vector<double> latencies_ms;
  latencies_ms.reserve(4000000);
  const Watch watch;
  while (watch.Wall() < seconds) {
    slots.Take();
    const auto start = std::chrono::steady_clock::now();
    dtm::NewSaga(tm, next_gid())
        .Add(functions.out, functions.out_undo, Transfer{30})
        .Add(functions.in, functions.in_undo, Transfer{30})
        .SetWaitResult()
        .SubmitAsync([&, start](const dtm::Answer& reply) {
          if (!reply.Get().Succeeded()) std::abort();
          latencies_ms.push_back(1e3 * Seconds(std::chrono::steady_clock::now() - start).count());
          slots.Give();
        });
  }
  slots.WaitForAll();
  const double wall = watch.Wall();
  const double cpu = watch.CpuUsed();
  const auto sagas = static_cast<double>(latencies_ms.size());
  return {sagas, sagas / wall, 1e6 * cpu / sagas, Percentile(latencies_ms, 0.5),
          Percentile(latencies_ms, 0.99)};
}

/// The same saga as a record that a store takes: its first action is out.
inline dtm::Transaction NewTransaction(std::string gid, dtm::Time now) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = std::move(gid);
  definition->steps = {{"local:TransOut", "local:TransOutCom", R"({"amount":30})"},
                       {"local:TransIn", "local:TransInCom", R"({"amount":30})"}};
  dtm::Transaction transaction;
  transaction.definition = std::move(definition);
  transaction.created = transaction.due = now;
  transaction.branches.resize(4);
  transaction.branches[1].tries = 1;
  return transaction;
}

inline dtm::Time Now() {
  return std::chrono::time_point_cast<dtm::Duration>(std::chrono::system_clock::now());
}

/// Writes `count` records into the file in few commits, and waits until they are on the disk: what
/// is measured afterwards must not pay for it.
template <typename Make>
void Fill(const std::string& path, int count, Make make) {
  constexpr int kBatch = 10000;
  dtm::SqliteStore store(path, dtm::Durability::kProcess);
  for (int done = 0; done < count;) {
    std::vector<dtm::Transaction> transactions;
    for (; done < count && transactions.size() < kBatch; ++done) transactions.push_back(make());
    std::vector<dtm::Change> changes;
    for (dtm::Transaction& transaction : transactions) changes.push_back({&transaction});
    store.Begin();
    store.Apply(changes);
    store.Commit();
    for (const dtm::Change& change : changes) {
      if (!change.applied) std::abort();
    }
  }
}

}  // namespace bench
