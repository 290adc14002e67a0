/// Which call goes out next: a queue per host, round robin over the hosts.
/// Needs: std. Threads: none inside; the caller holds its own lock. No clock: time is passed in.
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

#include <dtm/base/option_range.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/calls/host_limits.hpp>
#include <dtm/http/hosts/http_host.hpp>
#include <dtm/http/transport/held_bytes.hpp>
#include <dtm/http/transport/io_thread.hpp>
#include <dtm/http/wire/reply_rule.hpp>

namespace dtm {
inline namespace v1 {

/// Each number is 1 or more.
struct HttpBranchOptions {
  HostLimits::Limits limits;
  std::size_t max_waiting = 65536;  ///< calls without a free slot; more are answered NotSent
  /// How long unused connections stay, at most a day.
  Duration keep_idle = std::chrono::seconds(4);
  /// For https: dtm::Tls() of <dtm/http/tls.hpp>. Without it such URLs are not called.
  std::shared_ptr<TlsClient> tls;
  /// Whose thread has the sockets; null: one of its own.
  std::shared_ptr<IoThread> io{};
};

/// @throws LogicError  an option is out of its range.
inline const HttpBranchOptions& CheckedOptions(const HttpBranchOptions& options) {
  option_range::Check("limits.total", options.limits.total, 1, 1000000);
  option_range::Check("limits.per_host", options.limits.per_host, 1, 1000000);
  option_range::Check("limits.silent_host", options.limits.silent_host, 1, 1000000);
  option_range::Check("limits.silent_after", options.limits.silent_after, 1, 1000000);
  option_range::Check("max_waiting", options.max_waiting, 1, option_range::kAnyNumber);
  option_range::Check("keep_idle", options.keep_idle, Duration(0), kMaxOptionSeconds);
  return options;
}

class CallQueue {
 public:
  struct Job {
    BranchCall call;
    BranchResults* results = nullptr;
    Url url{};  ///< of the call, once it is in the queue
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

    std::unique_ptr<hosts::HttpHost> connections;  ///< whoever sends the calls makes them

   private:
    friend class CallQueue;

    Url url_;
    HostLimits::Load load_;
    std::multimap<SteadyTime, Job> waiting_;  ///< by the time at which it is too late to send it
    bool in_ring_ = false;
    SteadyTime last_used_{};
  };

  /// A call that leaves the queue.
  struct Taken {
    Job job;
    std::optional<Result> too_late;  ///< not to be sent, this is its result
  };

  /// `held`: what the calls in flight hold; it outlives the queue.
  /// @throws LogicError  an option is out of its range.
  CallQueue(const HttpBranchOptions& options, const transport::HeldBytes& held)
      : options_(CheckedOptions(options)), limits_(options.limits), held_(held) {}

  /// Returns the result if the call cannot wait here; else `job` is moved from.
  /// @throws std::bad_alloc  nothing was changed.
  std::optional<Result> Push(Job&& job, SteadyTime now) {
    try {
      job.url = ParseHttpUrl(job.call.Url());
      if (job.url.Tls() && !options_.tls) {
        return Result::Error(
            "https is not available: include <dtm/http/tls.hpp> and set HttpBranchOptions::tls to "
            "call " +
            job.url.Origin());
      }
      Host& host = HostAt(job.url);
      // Half of what is free: a host that is stuck cannot fill the queue for the others.
      if (host.waiting_.size() >= options_.max_waiting - waiting_) {
        return Result::NotSent("too many calls wait for " + host.url_.Origin());
      }
      if (!host.in_ring_) ring_.push_back(&host);
      host.in_ring_ = true;
      host.last_used_ = now;
      host.waiting_.emplace(Later(now, job.call.timeout - job.call.late), std::move(job));
      ++waiting_;
      return std::nullopt;
    } catch (const Error& error) {
      return Result::Error(wire::StorableText(error.what()));
    }
  }

  /// A host with a call that may start now, or null. On the thread that changes `held`.
  Host* Next() {
    if (limits_.InFlight() >= options_.limits.total) return nullptr;
    for (std::size_t left = ring_.size(); left > 0; --left) {
      Host* host = ring_.front();
      if (host->waiting_.empty()) {
        host->in_ring_ = false;
        ring_.pop_front();
        continue;
      }
      if (limits_.MayStart(host->load_) && HasRoom(*host)) return host;
      ring_.splice(ring_.end(), ring_, ring_.begin());
    }
    return nullptr;
  }

  /// Right after Next returned `host`; the next turn is another host's. Unless it is too late for
  /// the call, Return must follow.
  Taken Take(Host& host, SteadyTime now) {
    ring_.splice(ring_.end(), ring_, ring_.begin());
    const auto first = host.waiting_.begin();
    Taken taken{std::move(first->second), std::nullopt};
    if (first->first <= now) {
      taken.too_late = TooLate(host);
    } else {
      limits_.Started(host.load_);
    }
    host.waiting_.erase(first);
    --waiting_;
    return taken;
  }

  /// A call has ended.
  void Return(Host& host, bool silent, SteadyTime now) {
    limits_.Finished(host.load_, silent);
    host.last_used_ = now;
  }

  /// Collects what has become too late, `limit` calls at most, forgets hosts that are not called any more, and returns when
  /// to look again: not after `now` if there is more.
  SteadyTime Check(SteadyTime now, std::size_t limit, std::vector<Ended>& ended) {
    SteadyTime next = now + std::chrono::hours(1);
    for (auto at = hosts_.begin(); at != hosts_.end();) {
      Host& host = *at->second;
      for (auto& waiting = host.waiting_; !waiting.empty(); waiting.erase(waiting.begin())) {
        if (waiting.begin()->first > now || ended.size() >= limit) {
          next = (std::min)(next, waiting.begin()->first);
          break;
        }
        if (ended.size() == ended.capacity()) ended.reserve(2 * ended.size() + 16);  // it may throw
        ended.push_back({std::move(waiting.begin()->second), TooLate(host)});
        --waiting_;
      }
      const bool connected = host.connections != nullptr && host.connections->Connections() > 0;
      const bool unused = host.load_.in_flight == 0 && host.waiting_.empty() && !connected;
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

  /// Closes all connections; nothing is called any more.
  void Disconnect() {
    for (auto& [origin, host] : hosts_) host->connections.reset();
  }

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

  /// In memory, for its next call.
  bool HasRoom(const Host& host) const {
    const std::size_t own = host.connections == nullptr ? 0 : host.connections->Bytes();
    return held_.AllowRequest(host.waiting_.begin()->second.call.Payload().size(), own);
  }

  Host& HostAt(const Url& url) {
    std::string origin = url.Origin();
    auto found = hosts_.find(origin);
    if (found == hosts_.end()) {
      found = hosts_.emplace(std::move(origin), std::make_unique<Host>(url)).first;
    }
    return *found->second;
  }

  static Result TooLate(const Host& host) {
    return Result::NotSent(IfThereIsMemory(
        [&] { return "no slot for a call to " + host.url_.Origin() + " became free in time"; }));
  }

  const HttpBranchOptions options_;
  HostLimits limits_;
  const transport::HeldBytes& held_;
  std::unordered_map<std::string, std::unique_ptr<Host>> hosts_;  ///< by origin
  std::list<Host*> ring_;                                         ///< hosts with waiting calls
  std::size_t waiting_ = 0;
};

}  // namespace v1
}  // namespace dtm
