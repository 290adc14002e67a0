/// The process that the survival tests kill: an embedded coordinator on a real file, functions and
/// URLs as branches, and a client that keeps submitting. What it leaves behind for the checker it
/// appends to files, one write() a line, which survives a kill.
///   worker --run FILE LOG PORT SEED LIFE     load until killed; says `ready` with the port where branches of an
///   xa register, and `loaded`
///   worker --drain FILE LOG PORT SEED LIFE   submits nothing; says `drained` and ends when
///   all has ended
///   worker --dump FILE                       prints `D gid status` of everything, and rows (see checker.py)
///   worker --replay FILE                     exports the last 200 transactions, replays them, and says of each whether it was the same
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

#include "branches.hpp"
#include "mixed.hpp"
#include "plan.hpp"
#include <dtm/dtm.hpp>
#include <dtm/http.hpp>
#include <dtm/testing/incident.hpp>
#include <dtm/timeline/export.hpp>

namespace survival {

/// A slow disk: some commits take a while, so that kills hit the time before something is durable.
class SlowDisk : public dtm::SqliteStore {
 public:
  SlowDisk(const std::string& file, std::uint64_t seed, OnOpen on_open)
      : SqliteStore(file, dtm::Durability::kPower, std::move(on_open)), random_(seed) {}
  void Commit() override {
    if (random_() % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(random_() % 20));
    SqliteStore::Commit();
  }

 private:
  std::mt19937_64 random_;
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
         const std::string& life, const std::string& local_file)
      : tm_(tm),
        log_(log),
        branches_(log, life),
        planner_(seed),
        random_(seed * 1000 + std::stoull(life)),
        life_(life),
        url_("http://127.0.0.1:" + port),
        mixed_(
            tm, log, branches_, local_file, url_, seed, life,
            [this](const std::string& gid) {
              const std::lock_guard<std::mutex> lock(mutex_);
              unfinished_.emplace(gid, true);
            },
            [this](const std::string& gid, dtm::Status status) { Ended(gid, status); }) {
    const auto call = [this](const Order& order, const dtm::BranchInfo& info) {
      return branches_.Call(order, info);
    };
    action_ = tm_.Register<Order>("Action", call);
    compensate_ = tm_.Register<Order>("Compensate", call);
  }

  /// Before Start: what the life before has left.
  void TakeStock(Rows& rows) {
    const auto say = [this](const char* kind, const std::string& rest) {
      log_.Line(kind, life_ + ' ' + rest);
    };
    ForEachStored(tm_, [&](const dtm::Transaction& transaction) {
      rows.Tell(transaction, say);
      if (!IsFinal(transaction.status)) unfinished_.emplace(transaction.definition->gid, true);
    });
    log_.Line("T", life_);
  }

  /// What previous runs have written down: the last submissions, and what the functions were called
  /// for.
  void ReadLog(const std::string& path) {
    std::ifstream file(path);
    std::string kind, time, life, gid, branch, op, rest;
    while (file >> kind >> time >> life) {
      if (kind == "I" && file >> gid && IsSaga(gid)) last_.push_back(gid);
      if (kind == "B" && file >> gid >> branch >> op) branches_.Remember(gid, branch, op);
      std::getline(file, rest);
    }
    if (last_.size() > 20) last_.erase(last_.begin(), last_.end() - 20);
  }

  /// As a client does that got no answer: the same sagas again.
  void SubmitAgain() {
    for (const std::string& gid : last_) {
      if (gid.compare(0, 5, "rows-") == 0) {
        mixed_.SubmitRows(gid);
      } else {
        Submit(gid);
      }
    }
  }
  void LoadMixed(std::size_t most) {
    mixed_.Load([this, most] { return Unfinished() + Unanswered() >= most; });
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
  /// Which may be submitted again; all others have an initiator that would have to be the same.
  static bool IsSaga(const std::string& gid) {
    const std::string type = gid.substr(0, gid.find('-'));
    return type == "slow" || type == "order" || type == "rows";
  }

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
    const auto answered = [this, gid](const dtm::Answer& reply) { Answered(gid, reply); };
    ++unanswered_;
    if (plan.interval_s > 0 || random_() % 4 != 0) {
      saga.SubmitAsync(answered);
      return;
    }
    dtm::Answer reply;
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

  void Answered(const std::string& gid, const dtm::Answer& reply) {
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
  Mixed mixed_;
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
  Rows rows;
  dtm::Coordinator tm(std::make_unique<SlowDisk>(argument[0], std::stoull(argument[3]),
                                                 [&rows](sqlite3* db) { rows.Read(db); }),
                      FastOptions());
  client = std::make_unique<Client>(tm, log, argument[2], std::stoull(argument[3]), argument[4],
                                    std::string(argument[0]) + ".local");
  tm.Use(dtm::HttpBranches());
  client->ReadLog(log_path);
  client->TakeStock(rows);
  dtm::Server server(tm);
  const int served = server.Start("127.0.0.1", 0);
  Say("ready " + std::to_string(client->Unfinished()) + ' ' + std::to_string(served));
  tm.Start();
  constexpr std::size_t kLoaded = 260;
  constexpr std::size_t kFull = 600;
  if (load) {
    client->SubmitAgain();
    client->LoadMixed(kFull);
  }
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
  Rows rows;
  dtm::Coordinator tm(std::make_unique<dtm::SqliteStore>(file, dtm::Durability::kPower,
                                                         [&rows](sqlite3* db) { rows.Read(db); }));
  const auto say = [](const char* kind, const std::string& rest) {
    std::cout << kind << ' ' << rest << '\n';
  };
  ForEachStored(tm, [&](const dtm::Transaction& transaction) { rows.Tell(transaction, say); });
  rows.TellOutbox(say);
  return 0;
}

/// Exports and replays the last 200 transactions, which may have lived through several processes.
int Replay(const char* file) {
  dtm::Coordinator tm(std::make_unique<dtm::SqliteStore>(file), FastOptions());
  for (const dtm::Transaction& transaction : tm.List({}, 0, 200).transactions) {
    const std::string& gid = transaction.definition->gid;
    const std::string text = dtm::Export(*tm.Timeline(gid), dtm::ExportContent::kFull,
                                         dtm::ExportSettings::Of(tm.Settings()));
    const auto report = dtm::testing::Incident::FromText(text, gid).ReplayInto();
    std::cout << (report.same ? "same " : "differs ") << gid << ' ' << report.first_difference
              << report.not_replayed << '\n';
  }
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
    if (mode == "--replay") return survival::Replay(argument[2]);
    if (mode == "--open") return survival::Open(argument[2]);
    std::cerr << "usage: see the top of tests/survival/worker.cpp\n";
  } catch (const std::exception& error) {
    std::cerr << "worker: " << error.what() << "\n";
  }
  return 2;
}
