/// Calls of branches by URL: 1,000 at a time that take 100 ms each, 10,000 that take a second, and fast ones at
/// 1 / 16 / 64 in flight. Then the fast ones beside those to a host that never answers, and without, taking turns.
/// Only the calls, without transactions around them. The services are processes of their own:
/// their CPU time and memory do not count. Usage: url_calls [seconds per point]
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bad_host.hpp"
#include "bench.hpp"
#include "branch_server.hpp"
#include "child.hpp"
#include <dtm/core/rows.hpp>
#include <dtm/http.hpp>

namespace {

/// What was answered since it was last asked; as the coordinator's inbox, it wakes one thread.
class Answers : public dtm::BranchResults {
 public:
  void Done(dtm::BranchCall call, dtm::Result result) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (result.kind != dtm::Result::Kind::kSuccess && problem_.empty()) {
      problem_ = "a call had no success: " + result.text;
    }
    calls_.push_back(std::move(call));
    if (calls_.size() == 1) arrived_.notify_one();
  }

  std::vector<dtm::BranchCall> Take() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!arrived_.wait_for(lock, std::chrono::seconds(20), [this] { return !calls_.empty(); })) {
      throw std::runtime_error("url_calls: no call was answered for 20 s");
    }
    if (!problem_.empty()) throw std::runtime_error("url_calls: " + problem_);
    return std::exchange(calls_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<dtm::BranchCall> calls_;
  std::string problem_;
};

/// One saga, whose first action is called again and again.
dtm::BranchCall NewCall(const std::string& url, dtm::GidGenerator& gids) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid =
      gids.Make(std::chrono::time_point_cast<dtm::Duration>(std::chrono::system_clock::now()));
  definition->steps = {{url, url, R"({"amount":30})"}};
  return {std::move(definition), dtm::ActionOf(0), std::chrono::seconds(10)};
}

double Threads() {
  std::ifstream status("/proc/self/status");
  double count = 0;
  for (std::string word; count == 0 && status >> word;) {
    if (word == "Threads:") status >> count;
  }
  return count;
}

void Run(const std::string& url, int in_flight, int answer_ms, double seconds) {
  const double memory_before = bench::ResidentMegabytes();
  Answers answers;
  dtm::HttpBranchOptions options;
  options.limits.per_host = (std::max)(options.limits.per_host, in_flight);
  // A host gets four times of what it leaves.
  options.limits.total = (std::max)(options.limits.total, in_flight + in_flight / 4);
  const std::unique_ptr<dtm::BranchCaller> caller = dtm::HttpBranches(options);
  std::vector<dtm::BranchCall> calls;
  dtm::GidGenerator gids;
  for (int i = 0; i < in_flight; ++i) calls.push_back(NewCall(url, gids));
  caller->Call(std::move(calls), answers);

  // Threads and connections come first.
  const bench::Watch warming;
  while (warming.Wall() < 1 + 3e-3 * answer_ms) caller->Call(answers.Take(), answers);

  double count = 0;
  const bench::Watch watch;
  while (watch.Wall() < seconds) {
    calls = answers.Take();
    count += static_cast<double>(calls.size());
    caller->Call(std::move(calls), answers);
  }
  const double rate = count / watch.Wall();
  const double cpu = watch.CpuUsed();
  const double memory = bench::ResidentMegabytes() - memory_before;
  const double threads = Threads();
  caller->Stop();
  bench::Print("url_calls", {{"in_flight", in_flight},
                             {"answer_ms", answer_ms},
                             {"calls_per_s", rate},
                             {"cpu_us_per_call", 1e6 * cpu / count},
                             {"memory_mb", memory},
                             {"threads", threads}});
}

/// Fast calls, kFast at a time, and how long each took; besides, calls to a host that never answers, which are repeated.
class Beside : public dtm::BranchResults {
 public:
  void Done(dtm::BranchCall call, dtm::Result) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_.push_back(std::move(call));
    if (ended_.size() == 1) arrived_.notify_one();
  }

  /// The time in ms within which 99 of 100 ended. `bad`: the URL of the bad host, or empty.
  double Run(const std::string& good, const std::string& bad, double seconds) {
    dtm::GidGenerator gids;
    const std::unique_ptr<dtm::BranchCaller> caller = dtm::HttpBranches();
    std::vector<dtm::BranchCall> calls;
    for (std::size_t i = 0; i < kFast + (bad.empty() ? 0 : kBad); ++i) {
      calls.push_back(NewCall(i < kFast ? good : bad, gids));
      calls.back().slot = i;
      if (i >= kFast) calls.back().timeout = std::chrono::milliseconds(300);
    }
    std::vector<double> begun(kFast), took;
    const bench::Watch watch;
    while (watch.Wall() < kWarmUp + seconds) {
      for (const dtm::BranchCall& call : calls) {
        if (call.slot < kFast) begun[call.slot] = watch.Wall();
      }
      caller->Call(std::move(calls), *this);
      std::unique_lock<std::mutex> lock(mutex_);
      if (!arrived_.wait_for(lock, std::chrono::seconds(20), [this] { return !ended_.empty(); }))
        throw std::runtime_error("url_calls: no call was answered for 20 s");
      calls = std::exchange(ended_, {});
      lock.unlock();
      const double now = watch.Wall();
      for (const dtm::BranchCall& call : calls) {
        if (call.slot < kFast && now >= kWarmUp) took.push_back(1e3 * (now - begun[call.slot]));
      }
    }
    caller->Stop();
    ended_.clear();
    return bench::Percentile(took, 0.99);
  }

 private:
  static constexpr std::size_t kFast = 64;
  static constexpr std::size_t kBad = 2000;
  /// In seconds: connections, and until the bad host is known as one.
  static constexpr double kWarmUp = 0.5;

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<dtm::BranchCall> ended_;
};

/// Both take turns, so that whatever else the machine does concerns them alike.
void CompareBeside(const std::string& good, const std::string& bad, const char* host,
                   double seconds) {
  constexpr int kPairs = 3;
  std::vector<double> alone, beside, ratios;
  for (int i = 0; i < kPairs; ++i) {
    alone.push_back(Beside().Run(good, {}, seconds));
    beside.push_back(Beside().Run(good, bad, seconds));
    ratios.push_back(beside.back() / alone.back());
  }
  bench::Print("url_calls_beside",
               {{"p99_ms_alone", bench::Percentile(alone, 0.5)},
                {"p99_ms", bench::Percentile(beside, 0.5)},
                {"times", bench::Percentile(ratios, 0.5)}},
               {{"host", host}});
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  try {
    bench::RaiseDescriptorLimit(12000);  // one here and one in the service for each call
    bench::BranchServer server;
    const bench::Child service([&server] { server.Serve(); });
    using Kind = bench::BadHost::Kind;
    bench::BadHost dead(Kind::kDead), silent(Kind::kSilent), dripping(Kind::kDripping);
    const bench::Child bad1([&] { silent.Serve(); });
    const bench::Child bad2([&] { dripping.Serve(); });
    const std::string origin = "http://127.0.0.1:" + std::to_string(server.Port());
    Run(origin + "/slow", 1000, 100, seconds);
    Run(origin + "/second", 10000, 1000, seconds);
    for (const int in_flight : {1, 16, 64}) Run(origin + "/fast", in_flight, 0, seconds);
    CompareBeside(origin + "/fast", dead.Origin() + "/x", "dead", seconds / 3);
    CompareBeside(origin + "/fast", silent.Origin() + "/x", "silent", seconds / 3);
    CompareBeside(origin + "/fast", dripping.Origin() + "/x", "dripping", seconds / 3);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
