/// The branches of the survival worker that are functions.
/// Needs: <dtm/dtm.hpp>. Threads: thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "log.hpp"
#include "plan.hpp"
#include <dtm/dtm.hpp>

namespace survival {

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
