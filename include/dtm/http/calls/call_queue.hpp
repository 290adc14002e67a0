/// Which call goes out next: a queue per host, round robin over the hosts, connections kept for
/// them.
/// Needs: cpp-httplib (connections). Threads: none inside; the caller holds its own lock. No clock:
/// time is passed in.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/option_range.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/calls/branch_connection.hpp>
#include <dtm/http/calls/host_limits.hpp>

namespace dtm {
inline namespace v1 {

/// Each number is 1 or more.
struct HttpBranchOptions {
  HostLimits::Limits limits;
  std::size_t max_waiting = 65536;  ///< calls without a free slot; more are answered NotSent
  /// How long unused connections and threads stay, at most a day.
  Duration keep_idle = std::chrono::seconds(4);
};

/// @throws LogicError  an option is out of its range.
inline const HttpBranchOptions& CheckedOptions(const HttpBranchOptions& options) {
  option_range::Check(option_range::kTotal, options.limits.total);
  option_range::Check(option_range::kPerHost, options.limits.per_host);
  option_range::Check(option_range::kSilentHost, options.limits.silent_host);
  option_range::Check(option_range::kSilentAfter, options.limits.silent_after);
  option_range::Check(option_range::kMaxWaiting, options.max_waiting);
  option_range::Check(option_range::kKeepIdle, options.keep_idle);
  return options;
}

class CallQueue {
 public:
  struct Job {
    BranchCall call;
    BranchResults* results;
  };

  struct Ended {
    Job job;
    Result result;
  };

  /// Stays while it has calls in flight or waiting.
  class Host {
   public:
    explicit Host(Url where) : url_(std::move(where)) {}
    const Url& Where() const { return url_; }

   private:
    friend class CallQueue;
    struct Idle {
      SteadyTime since;
      std::unique_ptr<BranchConnection> connection;
    };

    Url url_;
    HostLimits::Load load_;
    std::multimap<SteadyTime, Job> waiting_;  ///< by the time at which it is too late to send it
    /// Unused, the freshest at the back: all threads share them, so that a host sees no more
    /// connections than calls.
    std::vector<Idle> idle_;
    bool in_ring_ = false;
    SteadyTime last_used_{};
  };

  /// A call that leaves the queue.
  struct Taken {
    Job job;
    std::optional<Result> too_late;                ///< not to be sent, this is its answer
    std::unique_ptr<BranchConnection> connection;  ///< null: make a new one
  };

  /// @throws LogicError  an option is out of its range.
  explicit CallQueue(const HttpBranchOptions& options)
      : options_(CheckedOptions(options)), limits_(options.limits) {}

  /// Returns the answer if the call cannot wait here.
  /// @throws std::bad_alloc  nothing was changed.
  std::optional<Result> Push(const Job& job, SteadyTime now) {
    try {
      Url url = ParseUrl(job.call.Url());
      if (url.tls && !kHttpsSupported) {
        return Result::Error(
            "https is not available: build cpp-httplib with CPPHTTPLIB_OPENSSL_SUPPORT to call " +
            url.Origin());
      }
      Host& host = HostAt(std::move(url));
      // Half of what is free: a host that is stuck cannot fill the queue for the others.
      if (host.waiting_.size() >= options_.max_waiting - waiting_) {
        return Result::NotSent("too many calls wait for " + host.url_.Origin());
      }
      if (!host.in_ring_) ring_.push_back(&host);
      host.in_ring_ = true;
      host.last_used_ = now;
      host.waiting_.emplace(Later(now, job.call.timeout - job.call.late), job);
      ++waiting_;
      return std::nullopt;
    } catch (const Error& error) {
      return Result::Error(StorableText(error.what()));
    }
  }

  /// A host with a call that may start now, or null.
  Host* Next() {
    if (limits_.InFlight() >= options_.limits.total) return nullptr;
    for (std::size_t left = ring_.size(); left > 0; --left) {
      Host* host = ring_.front();
      if (host->waiting_.empty()) {
        host->in_ring_ = false;
        ring_.pop_front();
        continue;
      }
      if (limits_.MayStart(host->load_)) return host;
      ring_.splice(ring_.end(), ring_, ring_.begin());
    }
    return nullptr;
  }

  /// Right after Next returned `host`; the next turn is another host's. Unless it is too late for
  /// the call, Return must follow.
  Taken Take(Host& host, SteadyTime now) {
    ring_.splice(ring_.end(), ring_, ring_.begin());
    const auto first = host.waiting_.begin();
    Taken taken{first->second, std::nullopt, nullptr};
    if (first->first <= now) {
      taken.too_late = TooLate(host);
    } else {
      limits_.Started(host.load_);
      if (!host.idle_.empty()) {
        taken.connection = std::move(host.idle_.back().connection);
        host.idle_.pop_back();
        --idle_;
      }
    }
    host.waiting_.erase(first);
    --waiting_;
    return taken;
  }

  /// A call has ended. The connection, if it is still good, is kept; else it stays the caller's to
  /// close.
  void Return(Host& host, bool silent, std::unique_ptr<BranchConnection>& connection,
              SteadyTime now) {
    limits_.Finished(host.load_, silent);
    host.last_used_ = now;
    if (!connection || !connection->IsOpen() || idle_ >= options_.limits.total) return;
    try {
      host.idle_.emplace_back();
    } catch (const std::bad_alloc&) {
      return;
    }
    host.idle_.back() = {now, std::move(connection)};
    ++idle_;
  }

  /// Collects what has become too late or too old, and returns when to look again.
  SteadyTime Check(SteadyTime now, std::vector<Ended>& ended,
                   std::vector<std::unique_ptr<BranchConnection>>& closing) {
    SteadyTime next = now + std::chrono::hours(1);
    for (auto at = hosts_.begin(); at != hosts_.end();) {
      Host& host = *at->second;
      for (auto& waiting = host.waiting_; !waiting.empty(); waiting.erase(waiting.begin())) {
        if (waiting.begin()->first > now) {
          next = (std::min)(next, waiting.begin()->first);
          break;
        }
        ended.push_back({waiting.begin()->second, TooLate(host)});
        --waiting_;
      }
      next = (std::min)(next, CloseOld(host, now, closing));
      const bool unused = host.load_.in_flight == 0 && host.waiting_.empty() && host.idle_.empty();
      const SteadyTime forget = host.last_used_ + kRemember;
      if (unused && (host.load_.silent == 0 || forget <= now || hosts_.size() > kMaxHosts)) {
        if (host.in_ring_) ring_.remove(&host);
        at = hosts_.erase(at);
      } else {
        if (unused) next = (std::min)(next, forget);
        ++at;
      }
    }
    return next;
  }

  std::size_t Hosts() const { return hosts_.size(); }

  CallLoad Load() const {
    CallLoad load{static_cast<std::size_t>(limits_.InFlight()), waiting_, {}};
    for (const auto& [origin, host] : hosts_) {
      const auto in_flight = static_cast<std::size_t>(host->load_.in_flight);
      const bool limited = limits_.Silent(host->load_);
      if (in_flight == 0 && host->waiting_.empty() && !limited) continue;
      load.hosts.push_back({origin, in_flight, host->waiting_.size(), limited});
    }
    return load;
  }

 private:
  // A dead host nobody calls is remembered so long, and so many of them.
  static constexpr std::chrono::seconds kRemember{60};
  static constexpr std::size_t kMaxHosts = 4096;

  Host& HostAt(Url url) {
    std::string origin = url.Origin();
    auto found = hosts_.find(origin);
    if (found == hosts_.end()) {
      found = hosts_.emplace(std::move(origin), std::make_unique<Host>(std::move(url))).first;
    }
    return *found->second;
  }

  SteadyTime CloseOld(Host& host, SteadyTime now,
                      std::vector<std::unique_ptr<BranchConnection>>& closing) {
    std::size_t old = 0;
    while (old < host.idle_.size() && host.idle_[old].since + options_.keep_idle <= now) {
      closing.push_back(std::move(host.idle_[old++].connection));
    }
    host.idle_.erase(host.idle_.begin(), host.idle_.begin() + static_cast<std::ptrdiff_t>(old));
    idle_ -= static_cast<int>(old);
    return host.idle_.empty() ? (SteadyTime::max)() : host.idle_.front().since + options_.keep_idle;
  }

  static Result TooLate(const Host& host) {
    return Result::NotSent(IfThereIsMemory(
        [&] { return "no slot for a call to " + host.url_.Origin() + " became free in time"; }));
  }

  const HttpBranchOptions options_;
  HostLimits limits_;
  std::unordered_map<std::string, std::unique_ptr<Host>> hosts_;  ///< by origin
  std::list<Host*> ring_;                                         ///< hosts with waiting calls
  std::size_t waiting_ = 0;
  int idle_ = 0;  ///< connections
};

}  // namespace v1
}  // namespace dtm
