/// Calls of branches by URL: 1,000 at a time that take 100 ms each, and fast ones at 1 / 16 / 64 in
/// flight. Only the calls, without transactions around them. The service is a process of its own:
/// its CPU time and memory do not count. Usage: url_calls [seconds per point]
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

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

void Run(const std::string& url, int in_flight, int answer_ms, double seconds) {
  const double memory_before = bench::ResidentMegabytes();
  Answers answers;
  const std::unique_ptr<dtm::BranchCaller> caller = dtm::HttpBranches();
  std::vector<dtm::BranchCall> calls;
  dtm::GidGenerator gids;
  for (int i = 0; i < in_flight; ++i) calls.push_back(NewCall(url, gids));
  caller->Call(std::move(calls), answers);

  // Threads and connections come first.
  const bench::Watch warming;
  while (warming.Wall() < 1) caller->Call(answers.Take(), answers);

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
  caller->Stop();
  bench::Print("url_calls", {{"in_flight", in_flight},
                             {"answer_ms", answer_ms},
                             {"calls_per_s", rate},
                             {"cpu_us_per_call", 1e6 * cpu / count},
                             {"memory_mb", memory}});
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  try {
    bench::RaiseDescriptorLimit(2048);  // one here and one in the service for each call
    bench::BranchServer server;
    const bench::Child service([&server] { server.Serve(); });
    const std::string origin = "http://127.0.0.1:" + std::to_string(server.Port());
    Run(origin + "/slow", 1000, 100, seconds);
    for (const int in_flight : {1, 16, 64}) Run(origin + "/fast", in_flight, 0, seconds);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
