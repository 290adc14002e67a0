/// A server of its own for the tests of one process, started by tools/with_NAME.sh, which ends with the process.
/// Needs: POSIX, the scripts of tools/. Threads: by one thread at a time.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <sys/types.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#ifndef DTM_SOURCE_DIR
#define DTM_SOURCE_DIR "."
#endif

namespace dtm_test {

class ServerProcess {
 public:
  /// `script`: "with_postgres.sh"; `variables`: what it exports, as Get returns it.
  ServerProcess(const std::string& script, const std::vector<std::string>& variables) {
    int in[2];
    int out[2];
    if (::pipe(in) != 0 || ::pipe(out) != 0) throw std::runtime_error("pipe failed");
    std::string shell = "for name in";
    for (const std::string& name : variables) shell += ' ' + name;
    shell += "; do eval echo \"\\$$name\"; done; echo ready; exec cat >/dev/null";
    const std::string path = std::string(DTM_SOURCE_DIR) + "/tools/" + script;
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      for (int fd = 3; fd < 256; ++fd) ::close(fd);
      ::execl(path.c_str(), path.c_str(), "sh", "-c", shell.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    end_ = in[1];  // its end is the end of the server
    ::fcntl(end_, F_SETFD, FD_CLOEXEC);
    FILE* const text = ::fdopen(out[0], "r");
    std::vector<std::string> lines;
    char line[4096];
    while (std::fgets(line, sizeof line, text) != nullptr) {
      lines.emplace_back(line);
      lines.back().pop_back();
      if (lines.back() == "ready") break;
    }
    std::fclose(text);
    if (lines.size() != variables.size() + 1) {
      throw std::runtime_error(path + " did not start its server; run it by hand to see why");
    }
    for (std::size_t i = 0; i < variables.size(); ++i) values_[variables[i]] = lines[i];
  }
  ~ServerProcess() {
    ::close(end_);
    ::waitpid(pid_, nullptr, 0);
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  const std::string& Get(const std::string& variable) const { return values_.at(variable); }

 private:
  pid_t pid_ = -1;
  int end_ = -1;
  std::map<std::string, std::string> values_;
};

/// A server that a test kills and starts again. What is running then is a child of the test, not of the script.
class Restarts {
 public:
  /// `end`: the signal that the server ends by.
  explicit Restarts(int end) : end_(end) {}
  ~Restarts() {
    if (pid_ <= 0) return;
    ::kill(pid_, end_);
    ::waitpid(pid_, nullptr, 0);
  }
  Restarts(const Restarts&) = delete;
  Restarts& operator=(const Restarts&) = delete;

  static pid_t ReadPid(const std::string& file) {
    std::ifstream text(file);
    pid_t pid = 0;
    text >> pid;
    if (pid <= 0) throw std::runtime_error("no pid of the server");
    return pid;
  }

  void Kill(pid_t pid) {
    ::kill(pid, SIGKILL);
    if (pid == pid_) ::waitpid(pid, nullptr, 0);
    pid_ = 0;
  }
  /// Runs the shell command, again if it ends, since the killed one may still have the port or the files; returns when
  /// `accepts()`.
  template <typename Accepts>
  void Start(const std::string& command, const Accepts& accepts) {
    for (int attempt = 0; attempt < 1000; ++attempt) {
      if (pid_ <= 0 || ::waitpid(pid_, nullptr, WNOHANG) == pid_) {
        pid_ = ::fork();
        if (pid_ == 0) {
          ::execl("/bin/bash", "bash", "-c", command.c_str(), nullptr);
          ::_exit(127);
        }
      }
      if (accepts()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    throw std::runtime_error("the server did not start again");
  }

 private:
  const int end_;
  pid_t pid_ = 0;
};

}  // namespace dtm_test
