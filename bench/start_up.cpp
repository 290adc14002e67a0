/// A coordinator that finds many unfinished sagas in its file, as a crash leaves them: the first
/// action of two is out. How soon the first function is called, how long until all are finished,
/// and how much memory that takes, with the default Options and with fewer transactions in memory.
/// Before, a run whose functions do not return, killed after two seconds: memory is then as full as
/// it gets, and the file is as a crash leaves it. Each run is a process, so its peak is its own.
/// Usage: start_up [limit in seconds for a run] [folder for the store] [unfinished sagas]
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

#include "bench.hpp"
#include "child.hpp"
#include "sagas.hpp"
#include <dtm/dtm.hpp>

namespace {

double PeakMegabytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024 / 1e6;
}

bool AnyUnfinished(dtm::Coordinator& tm) {
  for (const dtm::Status status : {dtm::Status::kSubmitted, dtm::Status::kAborting}) {
    dtm::ScanFilter filter;
    filter.status = status;
    if (!tm.List(filter, 0, 1).transactions.empty()) return true;
  }
  return false;
}

/// Ends as a crash does: the process is gone while the functions are still out.
void MeasureHeld(const std::string& path, int sagas, const dtm::Options& options) {
  const double memory_before = bench::ResidentMegabytes();
  dtm::Coordinator tm(path, options);
  const auto hold = [](const bench::Transfer&) {
    std::this_thread::sleep_for(std::chrono::hours(1));
  };
  for (const char* name : {"TransOut", "TransOutCom", "TransIn", "TransInCom"}) {
    tm.Register<bench::Transfer>(name, hold);
  }
  tm.Start();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  bench::Print("start_up_held", {{"unfinished", sagas},
                                 {"max_in_memory", static_cast<double>(options.max_in_memory)},
                                 {"memory_mb", PeakMegabytes() - memory_before}});
  ::_exit(0);
}

void Measure(const std::string& path, int sagas, double limit, const dtm::Options& options) {
  const double memory_before = bench::ResidentMegabytes();
  std::atomic<double> first_call{0};
  std::atomic<int> calls_out{0};
  std::atomic<int> calls_in{0};

  const bench::Watch opening;
  dtm::Coordinator tm(path, options);
  const double open = opening.Wall();
  bench::Watch since_start;
  tm.Register<bench::Transfer>("TransOut", [&](const bench::Transfer&) {
    if (calls_out++ == 0) first_call = since_start.Wall();
  });
  tm.Register<bench::Transfer>("TransIn", [&](const bench::Transfer&) { ++calls_in; });
  const auto never = [](const bench::Transfer&) { std::abort(); };
  tm.Register<bench::Transfer>("TransOutCom", never);
  tm.Register<bench::Transfer>("TransInCom", never);

  since_start = bench::Watch();
  tm.Start();
  // A list of unfinished sagas reads the whole file: not before the last call was made.
  while (calls_in < sagas || AnyUnfinished(tm)) {
    if (since_start.Wall() > limit) {
      throw std::runtime_error("start_up: after " + std::to_string(limit) + " s only " +
                               std::to_string(calls_in) + " of " + std::to_string(sagas) +
                               " sagas came to their last call");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const double all = since_start.Wall();
  if (calls_out != sagas || calls_in != sagas) {
    throw std::runtime_error("start_up: " + std::to_string(calls_out) + " and " +
                             std::to_string(calls_in) + " calls were made for " +
                             std::to_string(sagas) + " sagas");
  }
  bench::Print("start_up", {{"unfinished", sagas},
                            {"max_in_memory", static_cast<double>(options.max_in_memory)},
                            {"open_s", open},
                            {"first_call_s", first_call},
                            {"all_finished_s", all},
                            {"sagas_per_s", sagas / all},
                            {"cpu_us_per_saga", 1e6 * since_start.CpuUsed() / sagas},
                            {"memory_mb", PeakMegabytes() - memory_before}});
}

}  // namespace

int main(int argc, char** argv) {
  const double limit = argc > 1 ? std::atof(argv[1]) : 20;
  const std::string folder = argc > 2 ? argv[2] : ".";
  const int sagas = argc > 3 ? std::atoi(argv[3]) : 100000;
  try {
    for (const std::size_t max_in_memory : {dtm::Options{}.max_in_memory, std::size_t{1000}}) {
      const bench::TempFile file(folder + "/start_up_bench.db");
      bench::Child([&] {
        dtm::GidGenerator gids;
        bench::Fill(file.Path(), sagas, [&gids] {
          const dtm::Time now = bench::Now();
          return bench::NewTransaction(gids.Make(now), now);
        });
        ::sync();
      }).Wait();
      dtm::Options options;
      options.max_in_memory = max_in_memory;
      bench::Child([&] { MeasureHeld(file.Path(), sagas, options); }).Wait();
      bench::Child([&] { Measure(file.Path(), sagas, limit, options); }).Wait();
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
