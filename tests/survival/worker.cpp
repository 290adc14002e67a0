/// The process that the survival tests kill: an embedded coordinator on a real file, functions and
/// URLs as branches, and a client that keeps submitting. What it leaves behind for the checker it
/// appends to files, one write() a line, which survives a kill.
///   worker --run FILE LOG PORT SEED LIFE     load until killed; says `ready` and `loaded`
///   worker --drain FILE LOG PORT SEED LIFE   submits nothing; says `drained` and ends when all
///   sagas have ended worker --dump FILE                       prints `gid status` of every saga
///   worker --open FILE                       prints `open`, or the error, and ends at the end of
///   its input
/// Needs: <dtm/http.hpp>, POSIX. Threads: the coordinator's, and main as the client.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <unordered_map>
#include <utility>
#include <vector>

#include "plan.hpp"
#include <dtm/dtm.hpp>
#include <dtm/http.hpp>

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

/// A slow disk: some commits take a while, so that kills hit the time before something is durable.
class SlowDisk : public dtm::SqliteStore {
 public:
  SlowDisk(const std::string& file, std::uint64_t seed) : SqliteStore(file), random_(seed) {}
  void Commit() override {
    if (random_() % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(random_() % 20));
    SqliteStore::Commit();
  }

 private:
  std::mt19937_64 random_;
};

/// The branches that are functions.
class Branches {
 public:
  Branches(Log& log, std::string life) : log_(log), life_(std::move(life)) {}

  /// A call of an earlier life.
  void Remember(const std::string& gid, const std::string& branch, const std::string& op) {
    (void)Count(gid + ' ' + branch + ' ' + op);
  }

  dtm::Result Call(const Order& order, const dtm::BranchInfo& info) {
    const std::string key = info.gid + ' ' + info.branch_id + ' ' + Name(info.op);
    const std::string who = life_ + ' ' + key + ' ' + std::to_string(++calls_);
    log_.Line("B", who + ' ' + order.gid + ' ' + std::to_string(order.step) + " function");
    const std::string& mood = info.op == dtm::Op::kAction ? order.action : order.compensate;
    const dtm::Result result = Answer(mood, order.ms, Count(key));
    static constexpr const char* kWords[] = {"success", "failure", "ongoing", "error", "error"};
    log_.Line("E", who + ' ' + kWords[static_cast<std::size_t>(result.kind)]);
    if (result.kind == dtm::Result::Kind::kError) throw std::runtime_error(result.text);
    return result;
  }

 private:
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

/// Everything the store has, through the public interface.
template <typename Visit>
void ForEachStored(dtm::Coordinator& tm, Visit visit) {
  std::int64_t position = 0;
  do {
    const dtm::ScanPage page = tm.List({}, position, 1000);
    for (const dtm::Transaction& transaction : page.transactions) visit(transaction);
    position = page.next;
  } while (position != 0);
}

class Client {
 public:
  Client(dtm::Coordinator& tm, Log& log, const std::string& port, std::uint64_t seed,
         std::string life)
      : tm_(tm),
        log_(log),
        branches_(log, life),
        planner_(seed),
        random_(seed * 1000 + std::stoull(life)),
        life_(std::move(life)),
        url_("http://127.0.0.1:" + port) {
    const auto call = [this](const Order& order, const dtm::BranchInfo& info) {
      return branches_.Call(order, info);
    };
    action_ = tm_.Register<Order>("Action", call);
    compensate_ = tm_.Register<Order>("Compensate", call);
  }

  /// Before Start: what the life before has left.
  void TakeStock() {
    ForEachStored(tm_, [this](const dtm::Transaction& transaction) {
      log_.Line("D", life_ + ' ' + transaction.definition->gid + ' ' + Name(transaction.status));
      if (!IsFinal(transaction.status)) unfinished_.emplace(transaction.definition->gid, true);
    });
    log_.Line("T", life_);
  }

  /// What earlier lives have written down: the last submissions, and what the functions were called
  /// for.
  void ReadLog(const std::string& path) {
    std::ifstream file(path);
    std::string kind, time, life, gid, branch, op, rest;
    while (file >> kind >> time >> life) {
      if (kind == "I" && file >> gid) last_.push_back(gid);
      if (kind == "B" && file >> gid >> branch >> op) branches_.Remember(gid, branch, op);
      std::getline(file, rest);
    }
    if (last_.size() > 20) last_.erase(last_.begin(), last_.end() - 20);
  }

  /// As a client does that got no answer: the same sagas again.
  void SubmitAgain() {
    for (const std::string& gid : last_) Submit(gid);
  }

  void SubmitNew(bool slow) {
    // One may be the beginning of another, as order numbers are.
    const std::string gid =
        (slow ? "slow-" : "order-") + life_ + "-" + std::to_string(++submitted_);
    log_.Line("I", life_ + ' ' + gid + ' ' + planner_.PlanOf(gid).ToJson().dump());
    Submit(gid);
  }

  /// Looks at what was unfinished; what has ended is logged, once.
  void Look() {
    std::vector<std::string> gids;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const auto& entry : unfinished_) gids.push_back(entry.first);
    }
    for (const std::string& gid : gids) {
      const auto found = tm_.Query(gid);
      if (!found || !IsFinal(found->status)) continue;
      Ended(gid, found->status);
    }
  }

  std::size_t Unfinished() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return unfinished_.size();
  }
  std::size_t Unanswered() const { return unanswered_; }

 private:
  void Submit(const std::string& gid) {
    const Plan plan = planner_.PlanOf(gid);
    dtm::Saga saga = dtm::NewSaga(tm_, gid);
    for (const PlannedStep& step : plan.steps) Add(saga, step);
    if (plan.concurrent) saga.SetConcurrent();
    for (const auto& order : plan.orders) saga.AddBranchOrder(order.first, order.second);
    if (plan.retry_limit > 0) saga.SetRetryLimit(plan.retry_limit);
    if (plan.interval_s > 0) saga.SetRetryInterval(std::chrono::seconds(plan.interval_s));
    if (plan.timeout_s > 0) saga.SetTimeoutToFail(std::chrono::seconds(plan.timeout_s));
    saga.AddBranchHeader("X-Saga", gid);
    const auto answered = [this, gid](const dtm::Reply& reply) { Answered(gid, reply); };
    ++unanswered_;
    if (plan.interval_s > 0 || random_() % 4 != 0) {
      saga.SubmitAsync(answered);
      return;
    }
    dtm::Reply reply;
    try {
      reply.result = saga.Submit();
    } catch (...) {
      reply.error = std::current_exception();
    }
    answered(reply);
  }

  void Add(dtm::Saga& saga, const PlannedStep& step) {
    if (!step.url) {
      if (step.can_be_undone) {
        saga.Add(action_, compensate_, step.order);
      } else {
        saga.Add(action_, dtm::kNoBranch, step.order);
      }
      return;
    }
    const std::string url = url_ + "/" + std::to_string(step.order.step);
    saga.Add(url + "/action", step.can_be_undone ? url + "/compensate" : "", step.order);
  }

  void Answered(const std::string& gid, const dtm::Reply& reply) {
    --unanswered_;
    try {
      const dtm::TransResult result = reply.Get();
      log_.Line("A", life_ + ' ' + gid);
      if (result.Finished()) return Ended(gid, result.status);
      const std::lock_guard<std::mutex> lock(mutex_);
      unfinished_.emplace(gid, true);
    } catch (const dtm::FailureError&) {
      log_.Line("A", life_ + ' ' + gid);
      Ended(gid, dtm::Status::kFailed);
    } catch (const std::exception& error) {
      log_.Line("R", life_ + ' ' + gid + ' ' + error.what());
    }
  }

  void Ended(const std::string& gid, dtm::Status status) {
    log_.Line("F", life_ + ' ' + gid + ' ' + Name(status));
    const std::lock_guard<std::mutex> lock(mutex_);
    unfinished_.erase(gid);
  }

  dtm::Coordinator& tm_;
  Log& log_;
  Branches branches_;
  Planner planner_;
  std::mt19937_64 random_;
  const std::string life_;
  const std::string url_;
  dtm::LocalBranch<Order> action_, compensate_;
  int submitted_ = 0;
  std::atomic<std::size_t> unanswered_{0};
  std::vector<std::string> last_;
  std::mutex mutex_;
  std::unordered_map<std::string, bool> unfinished_;
};

void Say(const std::string& text) {
  std::cout << text << std::endl;  // the test reads it now
}

dtm::Options FastOptions() {
  dtm::Options options;
  options.retry_interval = std::chrono::milliseconds(50);
  options.request_timeout = std::chrono::seconds(2);
  return options;
}

int Run(bool load, char** argument) {
  const std::string log_path = argument[1];
  Log log(log_path);
  // Functions use the client, so it has to outlive the coordinator.
  std::unique_ptr<Client> client;
  dtm::Coordinator tm(std::make_unique<SlowDisk>(argument[0], std::stoull(argument[3])),
                      FastOptions());
  client = std::make_unique<Client>(tm, log, argument[2], std::stoull(argument[3]), argument[4]);
  tm.Use(dtm::HttpBranches());
  client->ReadLog(log_path);
  client->TakeStock();
  Say("ready " + std::to_string(client->Unfinished()));
  tm.Start();
  constexpr std::size_t kLoaded = 260;
  constexpr std::size_t kFull = 600;
  if (load) client->SubmitAgain();
  bool said = false;
  for (int tick = 0;; ++tick) {
    if (load) {
      const std::size_t unfinished = client->Unfinished() + client->Unanswered();
      const std::size_t slow = unfinished < kFull / 2 ? kFull / 2 - unfinished
                               : unfinished < kFull   ? 2
                                                      : 0;
      for (std::size_t i = 0; i < slow; ++i) client->SubmitNew(true);
      for (int i = 0; i < 2; ++i) client->SubmitNew(false);
    }
    if (tick % 8 == 0) {
      client->Look();
      if (load && !said && client->Unfinished() >= kLoaded) {
        said = true;
        Say("loaded");
      }
    }
    if (!load && client->Unfinished() == 0) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  Say("drained");
  return tm.Stop(std::chrono::seconds(10)) ? 0 : 1;
}

int Dump(const char* file) {
  dtm::Coordinator tm(file);
  ForEachStored(tm, [](const dtm::Transaction& transaction) {
    std::cout << transaction.definition->gid << ' ' << Name(transaction.status) << '\n';
  });
  return 0;
}

int Open(const char* file) {
  try {
    dtm::Coordinator tm(file);
    Say("open");
    std::string rest;
    while (std::getline(std::cin, rest)) {
    }
    return 0;
  } catch (const dtm::StoreError& error) {
    Say(std::string("StoreError: ") + error.what());
    return 3;
  }
}

}  // namespace survival

int main(int count, char** argument) {
  try {
    const std::string mode = count > 2 ? argument[1] : "";
    if (mode == "--run" && count == 7) return survival::Run(true, argument + 2);
    if (mode == "--drain" && count == 7) return survival::Run(false, argument + 2);
    if (mode == "--dump") return survival::Dump(argument[2]);
    if (mode == "--open") return survival::Open(argument[2]);
    std::cerr << "usage: see the top of tests/survival/worker.cpp\n";
  } catch (const std::exception& error) {
    std::cerr << "worker: " << error.what() << "\n";
  }
  return 2;
}
