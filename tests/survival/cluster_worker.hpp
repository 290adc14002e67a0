/// A coordinator that shares its store with others, under load: the process that cluster_test.py kills, stops and cuts off.
///   NAME STORE BUSINESS LOG LIFE SEED URL   says `ready`; submits until its input says `quiet`, says `quiet` once it knows what
///   became of all that it submitted, and goes on until its input ends
/// STORE and BUSINESS are addresses of the same database, the former behind a proxy; URL is cluster_branches.py. What it leaves
/// for cluster_checker.py it appends to LOG: there are also calls that it makes while it cannot reach its store.
/// Needs: <dtm/http.hpp>, POSIX. Threads: the coordinator's, one for the input, and main as the client.
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

#include "cluster_functions.hpp"
#include "cluster_initiators.hpp"
#include "cluster_plan.hpp"
#include "cluster_watch.hpp"
#include "log.hpp"
#include <dtm/base/text.hpp>
#include <dtm/dtm.hpp>
#include <dtm/http.hpp>
#include <dtm/store/store.hpp>

namespace survival {

/// `Bank`: see ClusterFunctions.
template <typename Bank>
class ClusterWorker {
 public:
  ClusterWorker(std::unique_ptr<dtm::Store> store, std::string business, const std::string& log,
                std::string life, std::uint64_t seed, std::string url)
      : store_(*store),
        log_(log),
        life_(std::move(life)),
        seed_(seed),
        url_(std::move(url)),
        random_(std::hash<std::string>{}(life_) + seed) {
    // Its functions use the rest, so it ends first.
    tm_ = std::make_unique<dtm::Coordinator>(std::move(store), FastOptions());
    tm_->Use(std::make_unique<WatchedCaller>(dtm::HttpBranches(), log_, life_));
    functions_ =
        std::make_unique<ClusterFunctions<Bank>>(*tm_, store_, std::move(business), log_, life_);
    initiators_ =
        std::make_unique<ClusterInitiators<Bank>>(*tm_, *functions_, log_, life_, seed_, url_);
  }
  ~ClusterWorker() {
    initiators_->Quiet();
    tm_.reset();
  }
  ClusterWorker(const ClusterWorker&) = delete;
  ClusterWorker& operator=(const ClusterWorker&) = delete;

  int Run() {
    Say("ready");
    NoteMember();
    tm_->Start();
    initiators_->Start();
    std::thread input([this] {
      std::string line;
      while (std::getline(std::cin, line)) quiet_ = true;
      quiet_ = ended_ = true;
    });
    for (bool said = false; !ended_;) {
      NoteMember();
      if (!quiet_ && unanswered_ < kUnanswered) SubmitNew();
      for (const std::string& gid : TakeDoubtful()) Submit(gid);
      if (quiet_ && !said && KnowsAll()) {
        said = true;
        Say("quiet");
      }
      std::this_thread::sleep_for(kBetween);
    }
    input.join();
    initiators_->Quiet();
    return tm_->Stop(std::chrono::seconds(20)) ? 0 : 1;
  }

 private:
  static constexpr int kUnanswered = 100;
  static constexpr std::chrono::milliseconds kBetween{60};

  static dtm::Options FastOptions() {
    dtm::Options options;
    options.retry_interval = std::chrono::milliseconds(200);
    options.request_timeout = std::chrono::seconds(2);
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
    std::string gid = "saga-" + life_ + '-' + std::to_string(++submitted_);
    if (random_() % 8 == 0) gid = "saga-" + std::to_string(now);
    log_.Line("I", life_ + ' ' + gid + ' ' + ClusterPlan(gid, seed_).Text());
    Submit(gid);
  }

  void Submit(const std::string& gid) {
    const ClusterPlan plan(gid, seed_);
    dtm::Saga saga = dtm::NewSaga(*tm_, gid);
    for (const Piece& piece : plan.pieces) {
      if (piece.url) {
        saga.Add(url_, url_, piece);
      } else {
        saga.Add(functions_->first, functions_->then, piece);
      }
    }
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
    TakeAnswer(gid, answer);
    --unanswered_;
  }

  void TakeAnswer(const std::string& gid, const dtm::Answer& answer) {
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

  /// What became of all that it submitted. Asked again and again once it is quiet.
  bool KnowsAll() {
    initiators_->Quiet();
    if (unanswered_ > 0)
      return false;  // before the doubtful: an answer counts until it is among these
    const std::lock_guard<std::mutex> lock(mutex_);
    return doubtful_.empty();
  }

  void Says(const char* kind, const std::string& gid, const std::string& text) {
    log_.Line(kind, life_ + ' ' + gid + ' ' + dtm::Printable(text));  // in one line
  }

  dtm::Store& store_;
  Log log_;
  const std::string life_;
  const std::uint64_t seed_;
  const std::string url_;
  std::mt19937_64 random_;
  std::uint64_t member_ = 0;
  int submitted_ = 0;
  std::atomic<int> unanswered_{0};
  std::atomic<bool> quiet_{false}, ended_{false};
  std::mutex mutex_;  // guards doubtful_
  std::deque<std::pair<std::chrono::steady_clock::time_point, std::string>> doubtful_;
  std::unique_ptr<dtm::Coordinator> tm_;
  std::unique_ptr<ClusterFunctions<Bank>> functions_;
  std::unique_ptr<ClusterInitiators<Bank>> initiators_;
};

/// `open`: the store at an address.
template <typename Bank, typename Open>
int RunClusterWorker(int count, char** argument, const Open& open) {
  if (count != 7) {
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
                               std::stoull(argument[5]), argument[6])
        .Run();
  }
}

}  // namespace survival
