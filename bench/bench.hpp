/// What the benchmarks share: a stop watch for wall and CPU time, percentiles, memory, descriptors,
/// one result line. Needs: std, POSIX. Threads: one thread. Prints one JSON line per result;
/// bench/run.sh makes the table.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace bench {

using Seconds = std::chrono::duration<double>;

/// Wall time, and the CPU time of the whole process, since construction.
class Watch {
 public:
  Watch() : start_(std::chrono::steady_clock::now()), cpu_(Cpu()) {}
  double Wall() const { return Seconds(std::chrono::steady_clock::now() - start_).count(); }
  double CpuUsed() const { return Cpu() - cpu_; }

 private:
  static double Cpu() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }
  std::chrono::steady_clock::time_point start_;
  double cpu_;
};

inline double Percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::size_t>(p * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

/// Of this process, or of another one.
inline double ResidentMegabytes(pid_t process = ::getpid()) {
  std::ifstream file("/proc/" + std::to_string(process) + "/statm");
  double size = 0;
  double resident = 0;
  file >> size >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / 1e6;
}

/// Some programs take a descriptor for each call in flight.
inline void RaiseDescriptorLimit(rlim_t needed) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= needed) return;
  limit.rlim_cur = (std::min)(needed, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < needed) {
    throw std::runtime_error("this needs " + std::to_string(needed) +
                             " file descriptors; raise the hard limit (ulimit -Hn)");
  }
}

/// {"bench":"name","word":"text",...,"key":value,...}
inline void Print(const std::string& name,
                  const std::vector<std::pair<std::string, double>>& values,
                  const std::vector<std::pair<std::string, std::string>>& words = {}) {
  std::string line = "{\"bench\":\"" + name + "\"";
  for (const auto& word : words) line += ",\"" + word.first + "\":\"" + word.second + "\"";
  for (const auto& value : values) {
    char text[64];
    std::snprintf(text, sizeof text, "%.6g", value.second);
    line += ",\"" + value.first + "\":" + text;
  }
  std::printf("%s}\n", line.c_str());
  std::fflush(stdout);
}

/// A store file of its own, removed with its companions before and after.
class TempFile {
 public:
  explicit TempFile(std::string path) : path_(std::move(path)) { Remove(); }
  ~TempFile() { Remove(); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  const std::string& Path() const { return path_; }

 private:
  void Remove() const {
    for (const char* suffix : {"", "-wal", "-shm", "-lock"}) std::remove((path_ + suffix).c_str());
  }
  std::string path_;
};

}  // namespace bench
