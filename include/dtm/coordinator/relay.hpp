/// Takes over what programs submitted into an outbox table: the thread between an OutboxSource and its coordinator.
/// Needs: std. Threads: Stop from any thread, once.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/time.hpp>
#include <dtm/coordinator/outcome.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/parts/outbox_source.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// A transaction is submitted before its row is removed. So after a crash it may be submitted again, which its gid makes
/// harmless in the same coordinator. What the coordinator refuses (a limit, other content under the gid, a topic without
/// subscribers) is marked in its row and logged; everything else is tried again, with waits that grow to 10 s while the
/// database or the store fails, or too much is waiting.
class Relay {
 public:
  Relay(Endpoint& coordinator, const Options& options, std::unique_ptr<OutboxSource> source,
        Duration interval)
      : coordinator_(coordinator),
        options_(options),
        source_(std::move(source)),
        interval_(interval),
        thread_([this] { Main(); }) {}
  ~Relay() { Stop(); }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  /// Returns when the thread has ended: at once, or when the database has answered.
  void Stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

 private:
  static constexpr std::size_t kPage = 64;  // of at most 1 MiB each

  void Main() noexcept {
    Duration wait = interval_;
    bool progress = false;
    for (bool failed = false;;) {
      try {
        std::size_t rows = kPage;
        std::string later;
        progress = false;
        while (rows == kPage && later.empty() && !Stopping()) {
          rows = source_->Relay(kPage, [&](std::vector<Definition> page) {
            return Submit(std::move(page), later, progress);
          });
        }
        if (!later.empty()) throw Error(later);
        if (failed) Log(LogLevel::kInfo, "is read again");
        failed = false;
        wait = interval_;
      } catch (...) {
        const std::string why = WhatWasThrown();
        if (!failed && !Stopping()) {
          Log(LogLevel::kWarning, "cannot be relayed now, and is tried again: " + why);
        }
        failed = true;
        wait = progress ? interval_ : (std::min)(wait * 2, Duration(std::chrono::seconds(10)));
        progress = false;
      }
      if (!Sleep(wait)) return;
    }
  }

  void Log(LogLevel level, const std::string& text) noexcept {
    try {
      LogTo(options_, level, "outbox " + source_->Name() + ": " + text);
    } catch (...) {  // NOLINT(bugprone-empty-catch): no memory for a line of the log
    }
  }

  bool Stopping() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return stopping_;
  }
  /// False: it is time to stop.
  bool Sleep(Duration wait) {
    std::unique_lock<std::mutex> lock(mutex_);
    return !changed_.wait_for(lock, wait, [this] { return stopping_; });
  }

  using Verdict = OutboxSource::Verdict;

  /// What became of a page; shared, since answers may come after nobody waits for them any more.
  struct Answers {
    explicit Answers(std::size_t count) : left(count), verdicts(count) {}
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t left;
    std::vector<Verdict> verdicts;
  };

  /// All of a page are in the coordinator's next commits, which are shared. `later`: why one of them has to come again;
  /// `progress`: one has not.
  std::vector<Verdict> Submit(std::vector<Definition> page, std::string& later, bool& progress) {
    const auto answers = std::make_shared<Answers>(page.size());
    for (std::size_t i = 0; i < page.size(); ++i) {
      const auto answered = [answers, i](const Outcome& outcome) {
        const std::lock_guard<std::mutex> lock(answers->mutex);
        answers->verdicts[i] = VerdictOf(outcome);
        --answers->left;
        answers->changed.notify_all();
      };
      try {
        coordinator_.SubmitAsync(std::move(page[i]),
                                 [answered](const Answer& answer) { answered(OutcomeOf(answer)); });
      } catch (...) {
        answered(OutcomeOf(std::current_exception()));
      }
    }
    std::unique_lock<std::mutex> lock(answers->mutex);
    // At most longer than a coordinator takes whose store fails; shorter if nobody polls it and it is to stop.
    for (int waits = 0; answers->left > 0 && waits < 100 && !Stopping(); ++waits) {
      answers->changed.wait_for(lock, std::chrono::milliseconds(100),
                                [&] { return answers->left == 0; });
    }
    std::vector<Verdict> verdicts = answers->verdicts;
    lock.unlock();
    for (const Verdict& verdict : verdicts) {
      progress = progress || verdict.kind != Verdict::Kind::kLater;
      if (verdict.kind == Verdict::Kind::kRefused) {
        Log(LogLevel::kError,
            "a row was refused, and is kept with the reason in its column `problem`: " +
                verdict.why);
      } else if (verdict.kind == Verdict::Kind::kLater && later.empty()) {
        later = verdict.why.empty() ? "the coordinator did not answer; does the program poll it?"
                                    : verdict.why;
      }
    }
    return verdicts;
  }

  static Verdict VerdictOf(const Outcome& outcome) {
    switch (outcome.kind) {
      case Outcome::Kind::kDone:
      case Outcome::Kind::kRolledBack:  // it is there
        return {Verdict::Kind::kTaken};
      case Outcome::Kind::kBadInput:
      case Outcome::Kind::kRejected: return {Verdict::Kind::kRefused, outcome.message};
      case Outcome::Kind::kOngoing:
      case Outcome::Kind::kUnavailable:
      case Outcome::Kind::kUnknown: break;
    }
    return {Verdict::Kind::kLater, outcome.message};
  }

  Endpoint& coordinator_;
  const Options& options_;
  const std::unique_ptr<OutboxSource> source_;
  const Duration interval_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;  // the last: it uses the others
};

/// The relays of a coordinator. Threads: thread-safe.
class Relays {
 public:
  /// @throws LogicError  see Coordinator::Relay.
  void Add(Endpoint& coordinator, const Options& options, std::unique_ptr<OutboxSource> source,
           Duration interval) {
    if (!source) throw LogicError("Relay without a source; make one, for example with PgRelay");
    if (interval < std::chrono::milliseconds(1) || interval > std::chrono::minutes(1)) {
      throw LogicError("an outbox is looked at every 1 ms to 1 min");
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopped_)
      throw LogicError("Relay after Stop; an outbox is relayed while the coordinator runs");
    relays_.push_back(std::make_unique<Relay>(coordinator, options, std::move(source), interval));
  }
  void Stop() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    relays_.clear();
  }

 private:
  std::mutex mutex_;
  bool stopped_ = false;
  std::vector<std::unique_ptr<Relay>> relays_;
};

}  // namespace v1
}  // namespace dtm
