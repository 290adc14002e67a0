/// Calls branches by URL: one thread for all sockets, which others may share, connections that are kept, a queue per host.
/// Needs: POSIX. Threads: as BranchCaller says; inside, one mutex over the queue, the rest belongs to the loop.
/// Protocol: §3 (calling branches).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/result.hpp>
#include <dtm/http/calls/branch_http_call.hpp>
#include <dtm/http/calls/call_queue.hpp>
#include <dtm/http/hosts/http_host.hpp>
#include <dtm/http/hosts/resolver.hpp>
#include <dtm/http/transport/io_loop.hpp>
#include <dtm/http/transport/io_thread.hpp>

namespace dtm {
inline namespace v1 {

class UrlCaller final : transport::Timer, transport::TurnEnd {
 public:
  explicit UrlCaller(const HttpBranchOptions& options)
      : tls_(options.tls),
        io_(options.io ? options.io : std::make_shared<IoThread>()),
        loop_(io_->Loop()),
        resolver_(loop_),
        parts_{loop_, resolver_, tls_.get(), options.keep_idle,
               static_cast<std::size_t>((std::max)(options.limits.total, 0))},
        queue_(options, parts_.held) {
    loop_.Do([this] {
      loop_.Set(*this, loop_.Now() + kLongest);
      loop_.AtTurnEnds(*this);
    });
  }
  // Inside Poll of its own loop, which is a mistake, it ends the program.
  ~UrlCaller() { Stop(); }  // NOLINT(bugprone-exception-escape)

  void Call(std::vector<BranchCall> calls, BranchResults& results) {
    if (stopping_ || calls.empty()) return;
    try {
      auto posted = std::make_shared<std::vector<BranchCall>>();
      posted->swap(calls);
      try {
        loop_.Post([this, gone = gone_, posted, &results] {
          if (!*gone) Take(*posted, results);
        });
      } catch (...) {
        posted->swap(calls);
        throw;
      }
    } catch (const std::bad_alloc&) {
      for (BranchCall& call : calls) {
        Job job{std::move(call), &results};
        Result problem = Result::NotSent({});
        Tell(job, problem);
      }
    }
  }

  CallLoad Load() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return queue_.Load();
  }

  /// Waits for names that are being resolved: getaddrinfo cannot be interrupted.
  /// @throws LogicError  inside Poll of its IoThread: nothing was done.
  void Stop() {
    loop_.CheckOutsidePoll();
    if (stopping_.exchange(true)) return;
    loop_.Do([this] {
      *gone_ = true;
      queue_.Disconnect();
      loop_.Forget(*this);
      loop_.NotAtTurnEnds(*this);
    });
    loop_.Do([] {});  // what was disposed of is destroyed at the end of the turn
    resolver_.Stop();
  }

 private:
  using Job = CallQueue::Job;
  using Host = CallQueue::Host;

  struct Sent final : BranchHttpCall {
    Sent(UrlCaller& caller, Host& to, Job& sent, SteadyTime until)
        : BranchHttpCall(sent.call, sent.url, until),
          owner(caller),
          host(to),
          job(std::move(sent)) {}
    bool MaySend() const override { return job.call.MayBegin(); }
    void OnDone(hosts::HttpOutcome outcome) override { owner.OnDone(*this, outcome); }
    UrlCaller& owner;
    Host& host;
    Job job;
  };

  // All on the loop.

  void Take(std::vector<BranchCall>& calls, BranchResults& results) {
    const SteadyTime now = loop_.Now();
    for (BranchCall& call : calls) {
      const SteadyTime late = Later(now, call.timeout - call.late);
      Job job{std::move(call), &results};
      std::optional<Result> refused;
      try {
        const std::lock_guard<std::mutex> lock(mutex_);
        refused = queue_.Push(std::move(job), now);
      } catch (const std::bad_alloc&) {
        refused = Result::NotSent({});
      }
      if (refused) {
        // NOLINTNEXTLINE(bugprone-use-after-move): Push did not take it
        Deliver(std::move(job), std::move(*refused));
      } else {
        CheckBefore(late);
      }
    }
    look_ = true;
  }

  /// Not all at once: a host to which a thousand wait does not keep the replies of the others waiting.
  void SendWaiting() {
    for (std::size_t i = 0; i < kAtATime; ++i) {
      Host* host = nullptr;
      CallQueue::Taken taken;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        host = queue_.Next();
        if (host == nullptr) return;
        taken = queue_.Take(*host, loop_.Now());
      }
      if (taken.too_late) {
        Deliver(std::move(taken.job), std::move(*taken.too_late));
      } else {
        Send(*host, taken.job);
      }
    }
    look_ = true;
    loop_.Wake();
  }

  void Send(Host& host, Job& job) {
    Result problem;
    try {
      if (host.connections == nullptr) {
        host.connections = std::make_unique<hosts::HttpHost>(parts_, host.Where());
      }
      auto sent = std::make_unique<Sent>(*this, host, job, Later(loop_.Now(), job.call.timeout));
      return host.connections->Send(std::move(sent));
    } catch (const std::exception& error) {
      problem = Result::Error(IfThereIsMemory([&] { return wire::StorableText(error.what()); }));
    }
    Return(host, false);
    Deliver(std::move(job), std::move(problem));
  }

  void OnDone(Sent& sent, hosts::HttpOutcome& outcome) {
    CallOutcome told;
    told.result = CatchAsResult([&] {
      told = sent.Interpret(outcome, sent.job.call, sent.job.url);
      return std::move(told.result);
    });
    Return(sent.host, told.silent);
    Deliver(std::move(sent.job), std::move(told.result));
  }

  void Return(Host& host, bool silent) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      queue_.Return(host, silent, loop_.Now());
    }
    look_ = true;
    CheckBefore(loop_.Now() + parts_.keep_idle + kALittle);
  }

  /// It is set already, so this needs no memory.
  void CheckBefore(SteadyTime time) {
    if (time < Deadline()) loop_.Set(*this, time);
  }

  /// What waited too long is answered, not all at once for the same reason; hosts that are not called any more are forgotten.
  void OnDeadline() override {
    loop_.Set(*this, loop_.Now() + kLongest);
    std::vector<CallQueue::Ended> ended;
    SteadyTime next = loop_.Now() + kALittle;
    try {
      const std::lock_guard<std::mutex> lock(mutex_);
      const SteadyTime again = queue_.Check(loop_.Now(), kAtATime, ended);
      // With more to say: in the next turn.
      next =
          ended.size() < kAtATime ? (std::max)(next, again) : loop_.Now() + SteadyTime::duration(1);
    } catch (const std::bad_alloc&) {  // what was not looked at is looked at again
    }
    CheckBefore(next);
    for (CallQueue::Ended& call : ended) Deliver(std::move(call.job), std::move(call.result));
  }

  /// At the end of the turn, with all that came in it.
  void Deliver(Job job, Result result) {
    try {
      if (ended_.size() == ended_.capacity()) ended_.reserve(2 * ended_.size() + 16);
    } catch (const std::bad_alloc&) {
      return Tell(job, result);
    }
    ended_.push_back({std::move(job), std::move(result)});
  }

  /// Calls begin once in a turn, when all that came in it is known: new calls, free slots, bytes that a call in flight
  /// holds no longer.
  void OnTurnEnd() override {
    const bool freed = parts_.held.TakeFreed();
    if (freed || look_) {
      look_ = false;
      SendWaiting();
    }
    DeliverAll();
  }

  /// Whoever gets many results is woken once. The last comes behind the burst: who has all that he waits for may be gone.
  void DeliverAll() {
    for (std::size_t first = 0, last = 0; first < ended_.size(); first = last + 1) {
      BranchResults* const to = ended_[first].job.results;
      for (last = first; last + 1 < ended_.size() && ended_[last + 1].job.results == to;) ++last;
      if (last > first && !stopping_) {
        to->BeginBurst();
        for (std::size_t i = first; i < last; ++i) Tell(ended_[i].job, ended_[i].result);
        to->EndBurst();
      }
      Tell(ended_[last].job, ended_[last].result);
    }
    ended_.clear();
  }

  void Tell(Job& job, Result& result) {
    if (stopping_) return;
    try {
      job.results->Done(std::move(job.call), std::move(result));
    } catch (...) {  // not ours to mend, and no reason to end the process
    }
  }

  static constexpr std::size_t kAtATime = 64;
  static constexpr std::chrono::milliseconds kALittle{1};
  static constexpr std::chrono::hours kLongest{1};

  std::atomic<bool> stopping_{false};
  const std::shared_ptr<bool> gone_ =
      std::make_shared<bool>(false);  ///< for what is posted too late
  const std::shared_ptr<TlsClient> tls_;
  const std::shared_ptr<IoThread> io_;
  transport::IoLoop& loop_;
  hosts::Resolver resolver_;
  hosts::HostParts parts_;
  bool look_ = false;                    ///< whether a call that waits may begin
  std::vector<CallQueue::Ended> ended_;  ///< in this turn
  std::mutex mutex_;
  CallQueue queue_;
};

}  // namespace v1
}  // namespace dtm
