/// Sagas in process as in in_process.cpp, but with random gids, which touch pages all over the
/// index: on an empty file, and on one that holds many finished sagas with random gids.
/// Usage: large_file [seconds per point] [folder for the store] [finished sagas]
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <unistd.h>

#include "bench.hpp"
#include "sagas.hpp"
#include <dtm/dtm.hpp>

namespace {

/// As long as our own gids, but without the time in front.
class RandomGids {
 public:
  explicit RandomGids(std::uint64_t seed) : random_(seed) {}
  std::string operator()() {
    constexpr char kDigits[] = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    std::string gid(22, ' ');
    std::uint64_t left = 0;
    for (std::size_t i = 0; i < gid.size(); ++i, left /= 57) {
      if (i % 8 == 0) left = random_();
      gid[i] = kDigits[left % 57];
    }
    return gid;
  }

 private:
  std::mt19937_64 random_;
};

double Run(const std::string& path, int in_flight, double seconds, int finished, RandomGids& gids,
           double rate_empty) {
  dtm::Coordinator tm(path);
  const bench::SagaRates rates =
      bench::RunSagas(tm, bench::RegisterIdle(tm), in_flight, seconds, [&gids] { return gids(); });
  bench::Print("large_file",
               {{"in_flight", in_flight},
                {"finished_before", finished},
                {"sagas_per_s", rates.sagas_per_s},
                {"cpu_us_per_saga", rates.cpu_us_per_saga},
                {"p50_ms", rates.p50_ms},
                {"p99_ms", rates.p99_ms},
                {"times_slower", rate_empty > 0 ? rate_empty / rates.sagas_per_s : 1}});
  return rates.sagas_per_s;
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  const std::string folder = argc > 2 ? argv[2] : ".";
  const int finished = argc > 3 ? std::atoi(argv[3]) : 300000;
  RandomGids gids(std::random_device{}());

  const bench::TempFile large(folder + "/large_file_bench.db");
  const bench::Watch watch;
  bench::Fill(large.Path(), finished, [&gids] {
    dtm::Transaction transaction = bench::NewTransaction(gids(), bench::Now());
    transaction.status = dtm::Status::kSucceed;
    transaction.finished = transaction.created;
    for (std::size_t step = 0; step < 2; ++step) {
      dtm::Branch& action = transaction.branches[dtm::ActionOf(step)];
      action.tries = 1;
      action.status = dtm::BranchStatus::kSucceed;
    }
    return transaction;
  });
  ::sync();
  std::fprintf(stderr, "large_file: %d finished sagas written in %.1f s\n", finished, watch.Wall());

  for (const int in_flight : {64, 256}) {
    double rate = 0;
    {
      const bench::TempFile empty(folder + "/empty_file_bench.db");
      rate = Run(empty.Path(), in_flight, seconds, 0, gids, 0);
    }
    Run(large.Path(), in_flight, seconds, finished, gids, rate);
  }
}
