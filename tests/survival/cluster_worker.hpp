/// A coordinator that shares its store with others, under load: the process that cluster_test.py kills, stops and cuts off.
///   NAME STORE BUSINESS LOG LIFE SEED   submits until its input says `quiet`, and goes on until its input ends; says `ready`
/// STORE and BUSINESS are addresses of the same database, the former behind a proxy. What it leaves for cluster_checker.py it
/// appends to LOG: there are also calls that it makes while it cannot reach its store.
/// Needs: <dtm/dtm.hpp>, POSIX. Threads: the coordinator's, one for the input, and main as the client.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "log.hpp"
#include <dtm/barrier/barrier.hpp>
#include <dtm/dtm.hpp>
#include <dtm/store/store.hpp>
#include <dtm/testing/failing_store.hpp>

namespace survival {

/// One step of a saga, and how its action behaves.
struct Piece {
  std::string gid;
  int step = 0;
  int ms = 0;  ///< it takes so long
  bool fails = false;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Piece, gid, step, ms, fails)

/// What a saga does: a function of its gid, so that any process can submit it again.
struct ClusterPlan {
  std::vector<Piece> pieces;
  bool concurrent = false;
  bool succeeds = true;

  ClusterPlan(const std::string& gid, std::uint64_t seed) {
    std::seed_seq sequence{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                           static_cast<std::uint32_t>(std::hash<std::string>{}(gid))};
    std::mt19937 random(sequence);
    const int count = 1 + static_cast<int>(random() % 3);
    concurrent = random() % 3 == 0;
    for (int step = 1; step <= count; ++step) {
      pieces.push_back({gid, step, 10 + static_cast<int>(random() % 150), false});
    }
    if (random() % 4 != 0) return;
    succeeds = false;
    pieces[random() % pieces.size()].fails = true;
  }
};

/// When this thread asked last whether a call may begin, and it might; a call that begins takes the answer. 0: it did not ask.
inline std::int64_t& LastAsked() {
  thread_local std::int64_t micros = 0;
  return micros;
}

/// Tells how late after that a call began: its thread may have been stopped in between, which no lease covers.
class WatchedLease : public dtm::Lease {
 public:
  explicit WatchedLease(std::shared_ptr<const dtm::Lease> lease) : lease_(std::move(lease)) {}
  bool Holds() const override {
    const std::int64_t asked = Log::Now();
    const bool holds = lease_->Holds();
    if (holds) LastAsked() = asked;
    return holds;
  }

 private:
  const std::shared_ptr<const dtm::Lease> lease_;
};

class WatchedStore : public dtm::testing::FailingStore {
 public:
  explicit WatchedStore(std::shared_ptr<dtm::Store> store)
      : FailingStore(store), store_(std::move(store)) {}
  std::shared_ptr<const dtm::Lease> OurLease() const override {
    auto lease = store_->OurLease();
    if (lease == nullptr) return nullptr;
    return std::make_shared<WatchedLease>(std::move(lease));
  }

 private:
  const std::shared_ptr<dtm::Store> store_;
};

/// `Bank`: made of the address of the business's database, one for each thread. Works() is false once its connection broke, and
/// Book(barrier, sql) runs the statement behind the barrier.
template <typename Bank>
class ClusterWorker {
 public:
  ClusterWorker(std::unique_ptr<dtm::Store> store, std::string business, const std::string& log,
                std::string life, std::uint64_t seed)
      : store_(*store),
        business_(std::move(business)),
        log_(log),
        life_(std::move(life)),
        seed_(seed),
        random_(std::hash<std::string>{}(life_) + seed),
        tm_(std::move(store), FastOptions()) {
    do_ = tm_.Register<Piece>("Do", [this](const Piece& piece, const dtm::BranchInfo& info) {
      return Call(piece, info);
    });
    undo_ = tm_.Register<Piece>("Undo", [this](const Piece& piece, const dtm::BranchInfo& info) {
      return Call(piece, info);
    });
  }

  int Run() {
    Say("ready");
    NoteMember();
    tm_.Start();
    std::thread input([this] {
      std::string line;
      while (std::getline(std::cin, line)) quiet_ = true;
      quiet_ = ended_ = true;
    });
    while (!ended_) {
      NoteMember();
      if (!quiet_ && unanswered_ < kUnanswered) SubmitNew();
      for (const std::string& gid : TakeDoubtful()) Submit(gid);
      std::this_thread::sleep_for(kBetween);
    }
    input.join();
    return tm_.Stop(std::chrono::seconds(20)) ? 0 : 1;
  }

 private:
  static constexpr int kUnanswered = 100;
  static constexpr std::chrono::milliseconds kBetween{60};

  static dtm::Options FastOptions() {
    dtm::Options options;
    options.retry_interval = std::chrono::milliseconds(200);
    options.max_function_threads = 16;
    options.function_limit = std::chrono::seconds(2);
    return options;
  }
  static void Say(const char* word) {
    std::cout << word << std::endl;  // the test reads it now
  }

  void NoteMember() {
    const std::uint64_t member = store_.Owner();
    if (member == member_) return;
    member_ = member;
    log_.Line("M", life_ + ' ' + std::to_string(member));
  }

  void SubmitNew() {
    // Some are submitted by all at once, under the same gid.
    const auto now = std::chrono::system_clock::now().time_since_epoch() / std::chrono::seconds(1);
    std::string gid = "own-" + life_ + '-' + std::to_string(++submitted_);
    if (random_() % 8 == 0) gid = "common-" + std::to_string(now);
    nlohmann::json steps = nlohmann::json::array();
    const ClusterPlan plan(gid, seed_);
    for (const Piece& piece : plan.pieces) steps.push_back(piece.fails);
    log_.Line("I", life_ + ' ' + gid + ' ' +
                       nlohmann::json{{"fails", steps}, {"succeeds", plan.succeeds}}.dump());
    Submit(gid);
  }

  void Submit(const std::string& gid) {
    const ClusterPlan plan(gid, seed_);
    dtm::Saga saga = dtm::NewSaga(tm_, gid);
    for (const Piece& piece : plan.pieces) saga.Add(do_, undo_, piece);
    if (plan.concurrent) saga.SetConcurrent();
    ++unanswered_;
    try {
      saga.SubmitAsync([this, gid](const dtm::Answer& answer) { Answered(gid, answer); });
    } catch (const std::exception& error) {  // refused at once
      --unanswered_;
      Says("R", gid, error.what());
    }
  }

  void Answered(const std::string& gid, const dtm::Answer& answer) {
    --unanswered_;
    try {
      const dtm::TransResult result = answer.Get();
      Says("A", gid, Name(result.status));
    } catch (const dtm::FailureError&) {
      Says("A", gid, Name(dtm::Status::kFailed));
    } catch (const dtm::InDoubtError& error) {
      Says("U", gid, error.what());
      const std::lock_guard<std::mutex> lock(mutex_);
      doubtful_.emplace_back(std::chrono::steady_clock::now() + std::chrono::milliseconds(300),
                             gid);
    } catch (const std::exception& error) {
      Says("R", gid, error.what());
    }
  }

  /// As a client does: the same again, until it is told.
  std::vector<std::string> TakeDoubtful() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::string> gids;
    const auto now = std::chrono::steady_clock::now();
    for (; !doubtful_.empty() && doubtful_.front().first <= now; doubtful_.pop_front()) {
      gids.push_back(doubtful_.front().second);
    }
    return gids;
  }

  dtm::Result Call(const Piece& piece, const dtm::BranchInfo& info) {
    const std::string op = Name(info.op);
    const std::string who = info.gid + ' ' + std::to_string(piece.step) + ' ' + op;
    log_.Line("B", life_ + ' ' + who + ' ' + std::to_string(store_.Owner()) + ' ' +
                       std::to_string(std::exchange(LastAsked(), 0)));
    if (piece.gid != info.gid) std::abort();
    const bool action = info.op == dtm::Op::kAction;
    if (action) std::this_thread::sleep_for(std::chrono::milliseconds(piece.ms));
    const dtm::Result result = Book(piece, info, action && piece.fails);
    log_.Line("E", life_ + ' ' + who + ' ' + std::to_string(static_cast<int>(result.kind)));
    return result;
  }

  dtm::Result Book(const Piece& piece, const dtm::BranchInfo& info, bool fails) {
    thread_local std::unique_ptr<Bank> bank;
    try {
      if (bank == nullptr || !bank->Works()) {
        bank.reset();
        bank = std::make_unique<Bank>(business_);
      }
      dtm::Barrier barrier = dtm::BarrierFrom(info);
      const std::string sql = "INSERT INTO effect (gid, step, op) VALUES ('" + piece.gid + "', " +
                              std::to_string(piece.step) + ", '" + Name(info.op) + "')";
      return bank->Book(barrier, sql, fails);
    } catch (const std::exception& error) {
      bank.reset();
      return dtm::Result::Error(error.what());
    }
  }

  void Says(const char* kind, const std::string& gid, const std::string& text) {
    log_.Line(kind, life_ + ' ' + gid + ' ' + text);
  }

  dtm::Store& store_;
  const std::string business_;
  Log log_;
  const std::string life_;
  const std::uint64_t seed_;
  std::mt19937_64 random_;
  std::uint64_t member_ = 0;
  int submitted_ = 0;
  std::atomic<int> unanswered_{0};
  std::atomic<bool> quiet_{false}, ended_{false};
  std::mutex mutex_;  // guards doubtful_
  std::deque<std::pair<std::chrono::steady_clock::time_point, std::string>> doubtful_;
  dtm::LocalBranch<Piece> do_, undo_;
  dtm::Coordinator tm_;  // last: its functions use the rest
};

/// `open`: the store at an address.
template <typename Bank, typename Open>
int RunClusterWorker(int count, char** argument, const Open& open) {
  if (count != 6) {
    std::cerr << "usage: see the top of tests/survival/cluster_worker.hpp\n";
    return 2;
  }
  for (int tries = 100;; --tries) {
    std::unique_ptr<dtm::Store> store;
    try {
      store = std::make_unique<WatchedStore>(open(argument[1]));
    } catch (const std::exception& error) {  // whoever starts it would start it again
      if (tries > 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        continue;
      }
      std::cerr << argument[4] << ": " << error.what() << "\n";
      return 1;
    }
    return ClusterWorker<Bank>(std::move(store), argument[2], argument[3], argument[4],
                               std::stoull(argument[5]))
        .Run();
  }
}

}  // namespace survival
