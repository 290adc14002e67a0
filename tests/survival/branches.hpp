/// The branches of the survival worker that are functions, and the log that survives its kill.
/// Needs: <dtm/dtm.hpp>, POSIX. Threads: thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>

#include "plan.hpp"
#include <dtm/dtm.hpp>

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

  /// `KIND TIME REST`, the time in microseconds of a clock that all processes share.
  void Line(const char* kind, const std::string& rest) {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
    const std::string line = std::string(kind) + ' ' + std::to_string(micros) + ' ' + rest + '\n';
    if (::write(file_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::abort();
  }

 private:
  int file_;
};

/// The branches that are functions.
class Branches {
 public:
  Branches(Log& log, std::string life) : log_(log), life_(std::move(life)) {}

  /// A call of a previous run.
  void Remember(const std::string& gid, const std::string& branch, const std::string& op) {
    (void)Count(gid + ' ' + branch + ' ' + op);
  }

  /// `number`: of this call, if somebody wants to know.
  dtm::Result Call(const Order& order, const dtm::BranchInfo& info, std::string* number = nullptr) {
    const std::string key = info.gid + ' ' + info.branch_id + ' ' + Name(info.op);
    const std::string call = std::to_string(++calls_);
    if (number != nullptr) *number = life_ + '.' + call;
    const std::string who = life_ + ' ' + key + ' ' + call;
    log_.Line("B", who + ' ' + order.gid + ' ' + std::to_string(order.step) + " function");
    const dtm::Result result = Answer(MoodOf(order, info.op), order.ms, Count(key));
    static constexpr const char* kWords[] = {"success", "failure", "ongoing", "error", "error"};
    log_.Line("E", who + ' ' + kWords[static_cast<std::size_t>(result.kind)]);
    if (result.kind == dtm::Result::Kind::kError) throw std::runtime_error(result.text);
    return result;
  }

  /// The same without a word in the log: for what leaves rows behind.
  dtm::Result Quietly(const Order& order, const dtm::BranchInfo& info) {
    const std::string key = info.gid + ' ' + info.branch_id + ' ' + Name(info.op);
    const dtm::Result result = Answer(MoodOf(order, info.op), 0, Count(key));
    if (result.kind == dtm::Result::Kind::kError) throw std::runtime_error(result.text);
    return result;
  }

 private:
  static const std::string& MoodOf(const Order& order, dtm::Op op) {
    return op == dtm::Op::kAction || op == dtm::Op::kTry ? order.action : order.compensate;
  }
  int Count(const std::string& who) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return ++counts_[who];
  }
  static dtm::Result Answer(const std::string& mood, int ms, int count) {
    if (mood == "slow") std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    if (mood == "fail") return dtm::Result::Failure("told to fail");
    if (mood == "waits" || (mood == "ongoing" && count <= 2)) return dtm::Result::Ongoing();
    if (mood == "broken" || (mood == "error" && count <= 1))
      return dtm::Result::Error("told to err");
    return dtm::Result::Success();
  }

  Log& log_;
  const std::string life_;
  std::atomic<int> calls_{0};
  std::mutex mutex_;
  std::map<std::string, int> counts_;
};

}  // namespace survival
