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
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/parts/outbox_source.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// A transaction is submitted before its row is removed. So after a crash it may be submitted again, which its gid makes
/// harmless. What the coordinator refuses for ever (a limit, other content under the gid) is marked in its row and logged;
/// everything else is tried again, with waits that grow to 10 s while the database or the store fails.
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
  static constexpr std::size_t kPage = 256;

  void Main() noexcept {
    Duration wait = interval_;
    for (bool failed = false;;) {
      try {
        std::size_t rows = kPage;
        while (rows == kPage && !Stopping()) {
          rows = source_->Relay(
              kPage, [this](std::vector<Definition> page) { return Submit(std::move(page)); });
        }
        if (failed) Log(LogLevel::kInfo, "is read again");
        failed = false;
        wait = interval_;
      } catch (...) {
        const std::string why = WhatWasThrown();
        if (!failed && !Stopping()) {
          Log(LogLevel::kWarning, "cannot be relayed now, and is tried again: " + why);
        }
        failed = true;
        wait = (std::min)(wait * 2, Duration(std::chrono::seconds(10)));
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

  /// What became of a page; shared, since answers may come after nobody waits for them any more.
  struct Answers {
    explicit Answers(std::size_t count) : left(count), problems(count) {}
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t left;
    std::vector<std::string> problems;
    std::exception_ptr later;  ///< an error that is no refusal: the page comes again
  };

  /// All of a page are in the coordinator's next commits, which are shared.
  std::vector<std::string> Submit(std::vector<Definition> page) {
    const auto answers = std::make_shared<Answers>(page.size());
    for (std::size_t i = 0; i < page.size(); ++i) {
      const auto answered = [answers, i](const std::exception_ptr& error) {
        const std::lock_guard<std::mutex> lock(answers->mutex);
        if (error) Sort(error, answers->problems[i], answers->later);
        --answers->left;
        answers->changed.notify_all();
      };
      try {
        coordinator_.SubmitAsync(std::move(page[i]),
                                 [answered](const Answer& answer) { answered(answer.error); });
      } catch (...) {
        answered(std::current_exception());
      }
    }
    std::unique_lock<std::mutex> lock(answers->mutex);
    // Longer than a coordinator takes whose store fails.
    if (!answers->changed.wait_for(lock, std::chrono::seconds(10),
                                   [&] { return answers->left == 0; })) {
      throw InDoubtError("the coordinator did not answer; does the program poll it?");
    }
    if (answers->later) std::rethrow_exception(answers->later);
    for (const std::string& problem : answers->problems) {
      if (!problem.empty()) {
        Log(LogLevel::kError,
            "a row was refused, and is kept with the reason in its column `problem`: " + problem);
      }
    }
    return std::move(answers->problems);
  }

  static void Sort(const std::exception_ptr& error, std::string& problem,
                   std::exception_ptr& later) {
    try {
      std::rethrow_exception(error);
    } catch (const FailureError&) {  // it is there, and was rolled back
    } catch (const BusyError&) {
      later = error;
    } catch (const RejectedError& refusal) {
      problem = refusal.what();
    } catch (...) {
      later = error;
    }
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
  /// @throws LogicError  after Stop.
  void Add(Endpoint& coordinator, const Options& options, std::unique_ptr<OutboxSource> source,
           Duration interval) {
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
