/// Takes over what programs submitted into an outbox table: the thread between an OutboxSource and its coordinator.
/// Needs: std. Threads: Stop from any thread, once.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/os.hpp>
#include <dtm/base/time.hpp>
#include <dtm/coordinator/loop/driver.hpp>
#include <dtm/coordinator/outcome.hpp>
#include <dtm/coordinator/parts/gauges.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/parts/outbox_source.hpp>
#include <dtm/coordinator/store_name.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// Counts of one relay; any thread.
struct RelayCounts {
  std::atomic<std::uint64_t> relayed{0}, refused{0};
  std::atomic<Duration::rep> oldest{0};  ///< microseconds
};

/// A row is claimed for this coordinator's store, its transaction submitted, and then the row removed. So after a crash at
/// any point it may be submitted again, but only to this store, where its gid makes that harmless. What the coordinator
/// refuses (a limit, other content under the gid, a topic without subscribers) is marked in its row and logged; everything
/// else is tried again, with waits that grow to 10 s while the database or the store fails, or too much is waiting. The
/// waits are of real time, also when the coordinator has another clock.
class Relay {
 public:
  Relay(Endpoint& coordinator, Driver& driver, std::unique_ptr<OutboxSource> source,
        Duration interval)
      : coordinator_(coordinator),
        driver_(driver),
        source_(std::move(source)),
        interval_(interval),
        thread_([this] { Main(); }) {}
  ~Relay() { Stop(); }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  const RelayCounts& Counts() const { return counts_; }

  /// From now on the thread begins nothing new.
  void BeginStop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
  }
  /// Returns when the thread has ended: at once, or when the database has answered; the source bounds that.
  void Stop() {
    BeginStop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  static constexpr std::size_t kPage = 64;    // of at most 1 MiB each
  static constexpr int kLooksUntilIdle = 10;  // that find nothing
  static constexpr Duration kLookAtOldest = std::chrono::seconds(10);
  static constexpr Duration kLongForAnother = std::chrono::minutes(1);

  void Main() noexcept {
    Duration wait = interval_;
    int found_nothing = 0;
    for (bool failed = false;;) {
      bool progress = false;
      try {
        if (store_.empty()) store_ = AskName();
        LookAtOldest();
        const bool found = Drain(progress);
        if (failed) Log(LogLevel::kInfo, "is read again");
        failed = false;
        found_nothing = found ? 0 : (std::min)(found_nothing + 1, kLooksUntilIdle);
        wait = found_nothing < kLooksUntilIdle ? interval_ : 3 * interval_;
      } catch (...) {
        const std::string why = WhatWasThrown();
        if (!failed && !Stopping()) {
          Log(LogLevel::kWarning, "cannot be relayed now, and is tried again: " + why);
        }
        failed = true;
        wait = progress ? interval_ : (std::min)(wait * 2, Duration(std::chrono::seconds(10)));
      }
      if (!Sleep(wait)) return;
    }
  }

  /// All that is there. False: nothing was. @throws Error  some of it has to come again; or the database fails.
  bool Drain(bool& progress) {
    std::size_t rows = kPage;
    bool found = false;
    std::string later;
    while (rows == kPage && later.empty() && !Stopping()) {
      rows = source_->Relay(store_, kPage, [&](std::vector<Definition> page) {
        return Submit(std::move(page), later, progress);
      });
      found = found || rows > 0;
    }
    if (!later.empty()) throw Error(later);
    return found;
  }

  /// For the gauge; and says once if what waits is left alone.
  void LookAtOldest() {
    const Duration now = os::SinceBoot();
    if (now < next_look_ || Stopping()) return;
    next_look_ = now + kLookAtOldest;
    const OutboxSource::Oldest oldest = source_->LookAtOldest(store_);
    counts_.oldest = oldest.age.count();
    const bool stays = !oldest.not_ours.empty() && oldest.age >= kLongForAnother;
    if (stays && !said_) {
      Log(LogLevel::kWarning, "the oldest row waits for " +
                                  std::to_string(oldest.age / std::chrono::seconds(1)) +
                                  " s: " + oldest.not_ours);
    }
    said_ = stays;
  }

  void Log(LogLevel level, const std::string& text) noexcept {
    try {
      LogTo(driver_.options, level, "outbox " + source_->Name() + ": " + text);
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

  /// Waits for `left` answers at most longer than a coordinator takes whose store fails; shorter if it is to stop.
  template <typename Answers>
  void Await(Answers& answers, std::unique_lock<std::mutex>& lock) {
    for (int waits = 0; answers.left > 0 && waits < 100 && !Stopping(); ++waits) {
      answers.changed.wait_for(lock, std::chrono::milliseconds(100),
                               [&] { return answers.left == 0; });
    }
  }

  std::string AskName() {
    struct Asked {
      std::mutex mutex;
      std::condition_variable changed;
      std::size_t left = 1;
      std::string name;
      std::exception_ptr error;
    };
    const auto asked = std::make_shared<Asked>();
    AskStoreName(driver_, [asked](const std::string& name, const std::exception_ptr& error) {
      const std::lock_guard<std::mutex> lock(asked->mutex);
      asked->name = name;
      asked->error = error;
      asked->left = 0;
      asked->changed.notify_all();
    });
    std::unique_lock<std::mutex> lock(asked->mutex);
    Await(*asked, lock);
    if (asked->error) std::rethrow_exception(asked->error);
    if (asked->left > 0) throw Error(kNoAnswer);
    return asked->name;
  }

  static constexpr const char* kNoAnswer =
      "the coordinator did not answer; does the program poll it?";

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
    Await(*answers, lock);
    std::vector<Verdict> verdicts = answers->verdicts;
    lock.unlock();
    for (const Verdict& verdict : verdicts) {
      progress = progress || verdict.kind != Verdict::Kind::kLater;
      if (verdict.kind == Verdict::Kind::kTaken) ++counts_.relayed;
      if (verdict.kind == Verdict::Kind::kRefused) {
        ++counts_.refused;
        Log(LogLevel::kError,
            "a row was refused, and is kept with the reason in its column `problem`: " +
                verdict.why);
      } else if (verdict.kind == Verdict::Kind::kLater && later.empty()) {
        later = verdict.why.empty() ? kNoAnswer : verdict.why;
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
  Driver& driver_;
  const std::unique_ptr<OutboxSource> source_;
  const Duration interval_;
  RelayCounts counts_;
  std::string store_;      // its name, once it is known
  Duration next_look_{0};  // at the oldest, since boot
  bool said_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;  // the last: it uses the others
};

/// The relays of a coordinator. Threads: thread-safe.
class Relays {
 public:
  /// @throws LogicError  see Coordinator::Relay.
  void Add(Endpoint& coordinator, Driver& driver, std::unique_ptr<OutboxSource> source,
           Duration interval) {
    if (!source) throw LogicError("Relay without a source; make one, for example with PgRelay");
    if (interval < std::chrono::milliseconds(1) || interval > std::chrono::minutes(1)) {
      throw LogicError("an outbox is looked at every 1 ms to 1 min");
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopped_)
      throw LogicError("Relay after Stop; an outbox is relayed while the coordinator runs");
    relays_.push_back(std::make_unique<Relay>(coordinator, driver, std::move(source), interval));
  }
  void Stop() {
    const std::lock_guard<std::mutex> one_at_a_time(stop_mutex_);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopped_ = true;  // from now on there come no more
    }
    for (const auto& relay : relays_) relay->BeginStop();  // so that they wait at the same time
    for (const auto& relay : relays_) relay->Stop();
  }
  void Measure(Gauges& gauges) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (relays_.empty()) return;
    OutboxGauges& all = gauges.outboxes.emplace();
    for (const auto& relay : relays_) {
      all.relayed += relay->Counts().relayed;
      all.refused += relay->Counts().refused;
      all.oldest_age = (std::max)(all.oldest_age, Duration(relay->Counts().oldest));
    }
  }

 private:
  std::mutex stop_mutex_;
  std::mutex mutex_;
  bool stopped_ = false;
  std::vector<std::unique_ptr<Relay>> relays_;
};

}  // namespace v1
}  // namespace dtm
