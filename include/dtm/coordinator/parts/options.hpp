/// The settings of an embedded coordinator.
/// Needs: std. Threads: values; `log` is called from any thread, `on_alert` from one that is not the loop.
/// Protocol: §3 (alert).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

#include <dtm/base/error.hpp>
#include <dtm/core/option_range.hpp>
#include <dtm/core/types.hpp>
#include <dtm/store/durability.hpp>

namespace dtm {
inline namespace v1 {

enum class LogLevel { kInfo, kWarning, kError };

inline void LogToStderr(LogLevel level, const std::string& text) {
  const char* name = level == LogLevel::kError     ? "error"
                     : level == LogLevel::kWarning ? "warning"
                                                   : "info";
  std::fprintf(stderr, "dtm %s: %s\n", name, text.c_str());
}

/// A branch keeps failing: it had so many errors in a row.
struct Alert {
  std::string gid;
  Status status = Status::kSubmitted;
  std::string branch;             ///< its URL, or `local:Name`
  std::string error;              ///< the last one, with branch, op and url
  std::uint32_t retry_count = 0;  ///< errors in a row
};

/// A coordinator with a value out of its range is not made (LogicError).
struct Options {
  /// What a commit survives, with the coordinator's own file; see Durability. A store that is given to it has its own.
  Durability durability = Durability::kPower;
  /// The first wait after an error, of transactions that name none: 1 ms to 1 day.
  Duration retry_interval = std::chrono::seconds(10);
  /// The deadline of a branch call by URL, of transactions that name none: 1 ms to 1 day.
  Duration request_timeout = std::chrono::seconds(3);
  /// How long a prepared msg, tcc or xa that names no timeout waits for its submit; then a message
  /// asks its initiator, and the others are rolled back. 1 s to 1 day.
  std::chrono::seconds timeout_to_fail{35};
  /// Where a dtm::Server serves this coordinator to others ("http://this-host:36789/api/dtmsvr"): told to
  /// branches that a tcc or xa calls, so that they can register more. Empty: they cannot.
  std::string server_url;
  /// Finished transactions are removed after this long, with Duration::max() never. Unfinished ones never are.
  Duration keep_finished = std::chrono::hours(24);
  /// The gids of finished transactions are kept for this long after their end, so that the same gid again does not run
  /// again: the same content is answered with the status that it ended with, other content is refused, and so is a
  /// workflow, whose result is gone with its record. About 50 bytes each. Up to keep_finished: no longer than the records.
  Duration keep_gids = std::chrono::hours(24 * 7);
  /// Keeps with each transaction what happened to it (attempts, answers, decisions), see Store::ReadJournal: in the
  /// commits that happen anyway, some 16 bytes an entry and 256 entries at most.
  bool journal = false;
  /// Transactions kept in memory at a time, and the memory that the coordinator takes (within a third): half of it for
  /// what they were asked to do, an eighth for what waits to be stored, a quarter, but at most 64 MiB, for pages of the
  /// file; the rest is for work. What does not fit waits in the store, and a submission that would have to wait in
  /// memory is refused (RejectedError). Both 1 or more.
  std::size_t max_in_memory = 20000;
  std::size_t max_memory_bytes = std::size_t{256} << 20;
  /// Submissions waiting for a commit at a time, 1 or more; more are refused (RejectedError).
  std::size_t max_waiting_submissions = 20000;
  /// Threads that run branch functions, 1 to 10,000, and how many of them one function may occupy: 1 or more, and at
  /// most half of what the others leave. A function of which none runs always gets a thread, so that those that block
  /// delay no others, even beyond the maximum.
  std::size_t max_function_threads = 128;
  std::size_t max_threads_per_function = 64;
  /// Called at the `alert_retry_limit`-th error in a row of a branch that is called until it succeeds, and at every
  /// later one, also when the wait between tries does not grow any more; not for questions to initiators (msg,
  /// workflow). Success, ONGOING, a call that could not be sent and RetryNow count anew; a restart does not. 0 is taken
  /// for 1.
  ///
  /// Also called if there is nobody to call a branch (its function is not registered, or there are URLs and no
  /// HttpBranches), for each function once a minute, with `retry_count` as it is.
  ///
  /// It tells of what is durable, and runs on a thread of its own (without Start: inside Poll), one alert after the
  /// other. It may block and throw: no transaction waits for it. An alert is lost if 1000 wait already, if the
  /// coordinator stops, or in a crash; the next error brings the next one. Stop and the destructor wait for the one
  /// that runs. For a web hook: dtm::AlertWebHook(url) of <dtm/http.hpp>.
  std::function<void(const Alert&)> on_alert;
  std::uint32_t alert_retry_limit = 3;
  /// Without Start: there is something to do earlier than the last Poll said - a submission of another thread, a URL's
  /// answer, a function that has returned -, so call Poll. Called once until that, from any thread, also from inside
  /// calls of the coordinator: it is to be cheap, to wake an event loop and not to use the coordinator. See WakeFd.
  std::function<void()> on_wake;
  /// Any thread, must not throw.
  std::function<void(LogLevel, const std::string&)> log = LogToStderr;
};

/// Whatever the log throws harms nobody.
inline void LogTo(const Options& options, LogLevel level, const std::string& text) {
  try {
    if (options.log) options.log(level, text);
  } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
  }
}

/// Inside a `catch (...)`: `what` failed, and why.
inline void LogFailure(const Options& options, const char* what) noexcept {
  const std::string thrown = WhatWasThrown();
  try {
    LogTo(options, LogLevel::kError, what + thrown);
  } catch (...) {  // out of memory
    LogTo(options, LogLevel::kError, thrown);
  }
}

/// @throws LogicError  an option is out of its range, or no URL where it is to be one.
inline const Options& CheckedOptions(const Options& options) {
  option_range::Check(option_range::kRetryInterval, options.retry_interval);
  option_range::Check(option_range::kRequestTimeout, options.request_timeout);
  option_range::Check(option_range::kTimeoutToFail, options.timeout_to_fail);
  option_range::Check(option_range::kKeepFinished, options.keep_finished);
  option_range::Check(option_range::kKeepGids, options.keep_gids);
  option_range::Check(option_range::kMaxInMemory, options.max_in_memory);
  option_range::Check(option_range::kMaxMemoryBytes, options.max_memory_bytes);
  option_range::Check(option_range::kMaxWaitingSubmissions, options.max_waiting_submissions);
  option_range::Check(option_range::kMaxFunctionThreads, options.max_function_threads);
  option_range::Check(option_range::kMaxThreadsPerFunction, options.max_threads_per_function);
  option_range::CheckUrl("server_url", options.server_url);
  return options;
}

/// The parts of `max_memory_bytes`: what is driven, what waits to be stored, pages of the file.
inline std::size_t ActiveBytes(const Options& options) {
  return (std::max)(options.max_memory_bytes / 2, std::size_t{1});
}
inline std::size_t InboxBytes(const Options& options) { return options.max_memory_bytes / 8; }
/// What has ended and is small is freed later, and counts for none of them: that many at a time.
inline constexpr std::size_t kSmallBytes = 4096;
inline std::size_t MostEnded(const Options& options) {
  return (std::min)(std::size_t{4096}, options.max_memory_bytes / (16 * kSmallBytes));
}
inline std::size_t CacheBytes(const Options& options) {
  return (std::min)(options.max_memory_bytes / 4, std::size_t{64} << 20);
}

}  // namespace v1
}  // namespace dtm
