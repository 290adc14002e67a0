/// How much memory a coordinator takes that is asked for more than fits: memory_worker <step> <db> <MiB> <count>
///   submit   submits so many sagas of 880 kB from four threads at once, each again while it is refused
///   finish   opens the file, and drives what is in it to its end
/// Prints how much the process grew at its most, in KiB, and what came of it. Needs: Linux (/proc).
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <dtm/dtm.hpp>

namespace {

constexpr std::size_t kSteps = 4;
constexpr std::size_t kPayload = 220000;

/// "VmRSS" now, "VmHWM" at its most.
long Kilobytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, field.size(), field) == 0)
      return std::atol(line.c_str() + field.size() + 1);
  }
  return 0;
}
void ForgetPeak() { std::ofstream("/proc/self/clear_refs") << 5; }

dtm::Definition Large(const std::string& gid) {
  dtm::Definition definition;
  definition.gid = gid;
  for (std::size_t i = 0; i < kSteps; ++i) {
    definition.steps.push_back({"local:Work", "", '"' + std::string(kPayload, 'x') + '"'});
  }
  return definition;
}

struct Outcome {
  std::atomic<int> accepted{0}, ended{0}, refused{0};
};

void Submit(dtm::Coordinator& tm, int from, int to, Outcome& outcome) {
  for (int i = from; i < to; ++i) {
    for (bool taken = false; !taken;) {
      try {
        tm.SubmitAsync(Large("g" + std::to_string(i)), [&outcome](const dtm::Answer& reply) {
          if (!reply.error) ++outcome.accepted;
        });
        taken = true;
      } catch (const dtm::BusyError&) {
        ++outcome.refused;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }
}

/// Code, threads and tables that a coordinator of any size takes.
void WarmUp(const std::string& file, const dtm::Options& options) {
  dtm::Coordinator tm(file, options);
  tm.Register<std::string>("Work", [](const std::string&) {});
  tm.Start();
  dtm::Definition small;
  small.gid = "small";
  small.steps.push_back({"local:Work", "", R"("x")"});
  (void)tm.SubmitAndWait(small, std::chrono::seconds(10));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const std::string step = argv[1];
  const int count = std::atoi(argv[4]);
  dtm::Options options;
  options.max_memory_bytes = static_cast<std::size_t>(std::atoi(argv[3])) << 20;
  options.durability = dtm::Durability::kProcess;
  options.max_function_threads = 2;  // what functions take is theirs
  Outcome outcome;
  WarmUp(std::string(argv[2]) + "-warm", options);
  ForgetPeak();
  const long before = Kilobytes("VmRSS");
  {
    dtm::Coordinator tm(argv[2], options);
    // Without it they wait for their function, in memory as long as there is room.
    if (step == "finish") {
      tm.Register<std::string>("Work", [&](const std::string&) { ++outcome.ended; });
    }
    tm.Start();
    if (step == "submit") {
      std::vector<std::thread> threads;
      for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&, i] { Submit(tm, count * i / 4, count * (i + 1) / 4, outcome); });
      }
      for (std::thread& thread : threads) thread.join();
      while (outcome.accepted < count) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    } else {
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(400);
      while (outcome.ended < count * static_cast<int>(kSteps) &&
             std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    }
  }
  std::printf("%ld %d %d %d\n", Kilobytes("VmHWM") - before, outcome.accepted.load(),
              outcome.ended.load(), outcome.refused.load());
}
