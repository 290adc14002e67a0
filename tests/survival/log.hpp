/// What a process wrote down before it was killed.
/// Needs: POSIX. Threads: thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace survival {

/// Lines that survive a kill: each is one append.
class Log {
 public:
  explicit Log(const std::string& path)
      : file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) {
    if (file_ < 0) throw std::runtime_error("cannot open the log '" + path + "'");
  }
  ~Log() { ::close(file_); }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  /// In microseconds of a clock that all processes share.
  static std::int64_t Now() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  }

  /// `KIND TIME REST`
  void Line(const char* kind, const std::string& rest) {
    const std::string line = std::string(kind) + ' ' + std::to_string(Now()) + ' ' + rest + '\n';
    if (::write(file_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::abort();
  }

 private:
  int file_;
};

}  // namespace survival
