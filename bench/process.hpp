/// What other processes use: CPU time, and that of the whole machine.
/// Needs: Linux. Threads: any.
#pragma once

#include <ctime>
#include <fstream>
#include <string>
#include <sys/types.h>
#include <unistd.h>

namespace bench {

struct NamedProcess {
  std::string name;
  pid_t pid = 0;
};

/// Of all its threads, without its children; 0 if there is no such process.
inline double CpuSeconds(pid_t process) {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(process, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

/// Busy time of all processors since the machine started, by whatever program.
inline double MachineCpuSeconds() {
  std::ifstream file("/proc/stat");
  std::string name;
  double user = 0;
  double nice = 0;
  double system = 0;
  double idle = 0;
  double waiting = 0;
  double interrupts = 0;
  double soft_interrupts = 0;
  double stolen = 0;
  file >> name >> user >> nice >> system >> idle >> waiting >> interrupts >> soft_interrupts >>
      stolen;
  return (user + nice + system + interrupts + soft_interrupts + stolen) /
         static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace bench
