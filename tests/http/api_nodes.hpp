/// The API of one coordinator, or of several on one store in the same virtual time: then each request comes to one of them by
/// chance. Their branches follow one script, whoever calls them.
/// Needs: the test kit. Threads: one thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/http/api_kit.hpp"
#include <dtm/http/api/api.hpp>
#include <dtm/testing/failing_store.hpp>
#include <dtm/testing/scripted_branches.hpp>
#include <dtm/testing/shared_memory_store.hpp>
#include <dtm/testing/virtual_time.hpp>

namespace dtm_test {

class ApiNodes {
 public:
  using Time = std::shared_ptr<dtm::testing::VirtualTime>;
  using OpenStore = std::function<std::shared_ptr<dtm::Store>(const Time& time)>;

  /// `open`: the store of each of `count` coordinators.
  ApiNodes(std::size_t count, const OpenStore& open, std::uint64_t seed) : random_(seed) {
    for (std::size_t i = 0; i < count; ++i) {
      dtm::Options options = Quiet();
      options.node_name = std::to_string(i);
      nodes_.push_back(std::make_unique<Node>(open(time_), options, time_, branches_));
    }
  }
  /// One, in memory.
  ApiNodes()
      : ApiNodes(
            1, [](const Time&) { return std::make_shared<dtm::MemoryStore>(); }, 0) {}
  /// Two, on tables in memory.
  explicit ApiNodes(std::uint64_t seed)
      : ApiNodes(
            2,
            [tables = std::make_shared<dtm::testing::SharedMemoryTables>()](const Time& time) {
              return dtm::testing::SharedMemoryStore(tables, time);
            },
            seed) {}

  dtm::ApiReply Ask(const std::string& method, const std::string& path, Query query = {},
                    std::string body = {}) {
    return AskAt(random_() % nodes_.size(), method, path, std::move(query), std::move(body));
  }
  /// `path` is below the base, or begins with a slash.
  dtm::ApiReply AskAt(std::size_t node, const std::string& method, const std::string& path,
                      Query query = {}, std::string body = {}) {
    const std::string whole = path[0] == '/' ? path : "/api/dtmsvr/" + path;
    const auto reply = std::make_shared<std::optional<dtm::ApiReply>>();
    waits_ = node;
    PollOthersLater();
    nodes_[node]->api.Handle({method, whole, std::move(query), std::move(body)},
                             [reply](dtm::ApiReply given) { *reply = std::move(given); });
    waits_.reset();
    Settle();
    for (int i = 0; !*reply; ++i) {
      if (i == 1000) throw std::runtime_error("no reply to " + whole + " within 20 s");
      Advance(std::chrono::milliseconds(20));
    }
    return std::move(**reply);
  }

  /// Does what there is to do now at all of them.
  void Settle() { Advance(dtm::Duration(0)); }
  void Advance(dtm::Duration duration) {
    const dtm::Time end = time_->Now() + duration;
    for (;;) {
      dtm::Duration sleep = Poll();
      while (sleep == dtm::Duration(0)) sleep = Poll();
      if (time_->Now() >= end) return;
      time_->MoveTowards((std::min)(end, time_->Now() + sleep));
    }
  }

  dtm::Coordinator& Tm() { return nodes_[0]->tm; }
  dtm::testing::ScriptedBranches& Branches() { return branches_; }
  const Time& Clock() const { return time_; }

 private:
  struct Node {
    Node(std::shared_ptr<dtm::Store> opened, const dtm::Options& options, const Time& time,
         dtm::testing::ScriptedBranches& branches)
        : store(new dtm::testing::FailingStore(std::move(opened))),
          clock(new dtm::testing::VirtualClock(time)),
          tm(std::unique_ptr<dtm::Store>(store), options, std::unique_ptr<dtm::Clock>(clock)) {
      tm.Use(branches.NewCaller());
    }
    /// It writes nothing more, and lets no time pass.
    ~Node() {
      clock->CutOff();
      store->FailAlways(dtm::testing::StoreFault::kDefinite);
    }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    dtm::testing::FailingStore* const store;
    dtm::testing::VirtualClock* const clock;
    dtm::Coordinator tm;
    dtm::Api api{tm};
  };

  /// Returns how long nothing happens then.
  dtm::Duration Poll() {
    dtm::Duration sleep = std::chrono::hours(1);
    for (const auto& node : nodes_) sleep = (std::min)(sleep, node->tm.Poll());
    return sleep;
  }
  /// A request that blocks lets the time pass, and the others go on meanwhile.
  void PollOthersLater() {
    time_->At(time_->Now() + std::chrono::milliseconds(20), [this] {
      if (!waits_) return;
      for (std::size_t i = 0; i < nodes_.size(); ++i) {
        if (i != *waits_) (void)nodes_[i]->tm.Poll();
      }
      PollOthersLater();
    });
  }

  std::mt19937_64 random_;
  const Time time_ = std::make_shared<dtm::testing::VirtualTime>();
  dtm::testing::ScriptedBranches branches_{time_};
  std::optional<std::size_t> waits_;
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace dtm_test
