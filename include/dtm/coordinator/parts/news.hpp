/// The lines about transactions in the log: rollbacks, first errors, missing functions, stuck transactions, the recovery.
/// Needs: std, engine. Threads: the thread that drives the loop.
///
/// Ten thousand transactions may meet one dead host in a second. So only a few lines of each kind are written in a
/// second, and then how many were left out.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <dtm/coordinator/parts/options.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/explain.hpp>
#include <dtm/engine/repair.hpp>

namespace dtm {
inline namespace v1 {

/// Allows a number of lines in a second, and counts the others.
class LineLimit {
 public:
  static constexpr std::size_t kPerSecond = 10;

  /// Whether a line may be written now. Flush comes first.
  bool Allow(Time now) {
    if (now >= end_ || now + kWindow < end_) {  // over, or the clock was set back
      end_ = now + kWindow;
      written_ = 0;
    }
    if (written_ < kPerSecond) return ++written_, true;
    ++left_out_;
    return false;
  }
  /// When to log how many were left out.
  Time NextFlush() const { return left_out_ > 0 ? end_ : kNever; }
  /// How many lines were left out, once their second is over.
  std::size_t Flush() { return std::exchange(left_out_, 0); }

 private:
  static constexpr Duration kWindow = std::chrono::seconds(1);
  Time end_{};
  std::size_t written_ = 0;
  std::size_t left_out_ = 0;
};

class News {
 public:
  explicit News(const Options& options) : options_(options) {}

  // All of them tell of what is durable. If a line cannot be written, the loop goes on: none of these throws.

  /// The rollback is decided.
  void RolledBack(const Transaction& transaction, Time now) {
    Say(kRollbacks, transaction, now, [&] {
      const bool failed = transaction.status == Status::kFailed;  // there was nothing to undo
      std::string text = Who(transaction) + " (" + Name(transaction.definition->type) + ")" +
                         (failed ? " has failed" : " is being rolled back");
      if (!transaction.reason.empty()) text += ": " + transaction.reason;
      if (transaction.reason_from != 0) text += " (" + ReasonFrom(transaction) + ")";
      return text;
    });
  }

  /// `errors`: errors in a row of the branch, with `result` the last of them. Logs the first, and the one that shows that
  /// it keeps failing.
  void Error(const Transaction& transaction, std::size_t row, const Result& result,
             std::uint32_t errors, Time now) {
    const auto what = [&] { return engine::DescribeResult(*transaction.definition, row, result); };
    if (errors == 1) {
      Say(kFirstErrors, transaction, now,
          [&] { return Who(transaction) + ", first error: " + what(); });
    } else if (errors == kErrorsThatGoOn) {
      Say(kMoreErrors, transaction, now,
          [&] { return Who(transaction) + " keeps failing and is retried: " + what(); });
    }
  }

  /// The transaction goes on only with help.
  void Stuck(const Transaction& transaction, Time now) {
    Say(kStuck, transaction, now, [&] {
      return Who(transaction) + " is stuck: " + transaction.last_error +
             "; see Explain, then RetryNow or ForceStop";
    });
  }

  /// Somebody has said that the row is done.
  void Repaired(const Transaction& transaction, std::size_t row, const std::string& who,
                const std::string& why, Time now) {
    Say(kRepairs, transaction, now, [&] {
      return Who(transaction) + ": " +
             engine::DescribeRepair(*transaction.definition, row, who, why);
    });
  }

  /// Somebody else has removed its record.
  void Vanished(const Transaction& transaction, Time now) {
    Say(kVanished, transaction, now, [&] {
      return Who(transaction) + " has vanished from the store; somebody else removed it";
    });
  }

  /// See Sweep.
  void SetGoing(const Transaction& transaction, Time now) {
    Say(kSetGoing, transaction, now, [&] {
      return Who(transaction) +
             " was in memory and nothing would have gone on with it; it is set going. If no turn "
             "of "
             "the coordinator failed before, this is a fault of dtm: please report it";
    });
  }

  /// This program has no function or caller for the branch; see MissingFunctions.
  void NobodyToCall(const Transaction& transaction, std::size_t row, const Result& result,
                    Time now) {
    Say(kNobody, transaction, now, [&] {
      return Who(transaction) +
             " waits: " + engine::DescribeResult(*transaction.definition, row, result);
    });
  }

  void Recovered(std::size_t found, Duration took) const {
    if (found == 0) return;
    Quietly([&] {
      LogTo(
          options_, LogLevel::kInfo,
          std::to_string(found) +
              (found == 1 ? " unfinished transaction goes on" : " unfinished transactions go on") +
              "; to find what an earlier run left took " + engine::Seconds(took) + " s");
    });
  }

  Time NextFlush() const {
    Time next = kNever;
    for (const LineLimit& limit : limits_) next = (std::min)(next, limit.NextFlush());
    return next;
  }
  /// Logs how many lines were left out in seconds that are over.
  void Flush(Time now) {
    for (std::size_t kind = 0; kind < limits_.size(); ++kind) {
      const Time next = limits_[kind].NextFlush();
      if (next == kNever || next > now) continue;
      const std::size_t left_out = limits_[kind].Flush();
      Quietly([&] {
        LogTo(options_, kLevels[kind],
              "and " + std::to_string(left_out) + " more " + kNames[kind] +
                  " in that second, without a line each");
      });
    }
  }

 private:
  enum Kind {
    kRollbacks,
    kFirstErrors,
    kMoreErrors,
    kNobody,
    kStuck,
    kRepairs,
    kVanished,
    kSetGoing,
    kKinds
  };
  static constexpr std::array<const char*, kKinds> kNames = {"rollbacks",
                                                             "first errors of branches",
                                                             "branches that keep failing",
                                                             "functions that are missing",
                                                             "stuck transactions",
                                                             "branches that people skipped",
                                                             "transactions that have vanished",
                                                             "transactions that are set going"};
  static constexpr std::array<LogLevel, kKinds> kLevels = {
      LogLevel::kInfo,  LogLevel::kWarning, LogLevel::kWarning, LogLevel::kWarning,
      LogLevel::kError, LogLevel::kWarning, LogLevel::kError,   LogLevel::kError};
  static constexpr std::uint32_t kErrorsThatGoOn = 3;

  static std::string Who(const Transaction& transaction) {
    return "gid '" + transaction.definition->gid + "'";
  }

  template <typename Function>
  static void Quietly(const Function& function) noexcept {
    try {
      function();
    } catch (...) {  // NOLINT(bugprone-empty-catch): no memory for a line of the log
    }
  }

  template <typename MakeText>
  void Say(Kind kind, const Transaction& about, Time now, const MakeText& text) {
    Quietly([&] {
      if (limits_[kind].NextFlush() <= now) Flush(now);
      if (!limits_[kind].Allow(now)) return;
      LogTo(options_, kLevels[kind], text(), about.definition.get());
    });
  }

  const Options& options_;
  std::array<LineLimit, kKinds> limits_;
};

}  // namespace v1
}  // namespace dtm
