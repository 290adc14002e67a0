/// The settings of an embedded coordinator.
/// Needs: std. Threads: values; `log` and `on_wake` are called from any thread, `on_alert`, `on_event` and `on_span` each from
/// one of its own (without Start: inside Poll).
/// Protocol: §3 (alert).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include <dtm/base/error.hpp>
#include <dtm/base/option_range.hpp>
#include <dtm/base/os.hpp>
#include <dtm/base/text.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/url.hpp>
#include <dtm/observe/event.hpp>
#include <dtm/observe/log_line.hpp>
#include <dtm/observe/span.hpp>
#include <dtm/observe/trace_context.hpp>
#include <dtm/store/durability.hpp>
#include <dtm/store/peers.hpp>

namespace dtm {
inline namespace v1 {

/// A branch keeps failing: it had `retry_count` errors in a row.
struct Alert {
  std::string gid;
  Status status = Status::kSubmitted;
  std::string branch;             ///< its URL, or `local:Name`
  std::string error;              ///< the last one, with branch, op and url
  std::uint32_t retry_count = 0;  ///< errors in a row
};

/// The constructor of the coordinator throws LogicError if a value is out of range.
struct Options {
  /// What a commit survives, with the coordinator's own file; see Durability. A store that is given to it has its own.
  Durability durability = Durability::kPower;
  /// The first wait after an error, for transactions that set none: 1 ms to 1 day.
  Duration retry_interval = std::chrono::seconds(10);
  /// The deadline of a branch call by URL, for transactions that set none: 1 ms to 1 day.
  Duration request_timeout = std::chrono::seconds(3);
  /// How long a prepared msg, tcc or xa that sets no timeout waits for its submit. Then a message
  /// asks its initiator, and the others are rolled back. 1 s to 1 day.
  std::chrono::seconds timeout_to_fail{35};
  /// The URL at which a dtm::Server serves this coordinator ("http://this-host:36789/api/dtmsvr"). The branches that
  /// a tcc or xa calls are told it, so that they can register. Empty: they cannot.
  std::string server_url;
  /// Finished transactions are removed after this time, 0 or more; with Duration::max(), never. Unfinished ones are never
  /// removed.
  Duration keep_finished = std::chrono::hours(24);
  /// The gids of finished transactions are kept for this time after their end, so that a gid does not run again. The
  /// same content gets the status that it ended with; other content is refused, and so is a workflow, whose result is
  /// gone with its record. A gid takes about 50 bytes. If this is not more than keep_finished, no gids are kept.
  Duration keep_gids = std::chrono::hours(24 * 7);
  /// What this coordinator is called by people: in timelines, and on a store that several share in Explain at the others. Empty:
  /// the name of its machine and its process id. At most 255 bytes; timelines show 64.
  std::string node_name;
  /// On such a store: transactions with steps that are functions of programs are driven only by coordinators with the same
  /// app. So programs that have the same functions have one name. 1 to 128 bytes.
  std::string app = "main";
  /// On such a store a function of a program that was stopped, and goes on later, may still run when another coordinator has
  /// taken over. So a compensation waits until so much time has passed since the call of a function whose result is not
  /// known: 1 s to 1 day. A function that takes longer needs a barrier.
  Duration function_limit = std::chrono::seconds(30);
  /// How many attempts of each branch are kept with a transaction, the last ones: when they began and ended, and how; and with
  /// them the decisions and who drove it, see Coordinator::Timeline. Of all its branches together the last 500 attempts are
  /// kept, and the first 8. They are stored by the commits that happen anyway, some 10 bytes an attempt and its error text (at
  /// most 200 bytes). 0: nothing is kept; at most 500.
  unsigned history = 20;
  /// The number of transactions in memory, and the memory that the coordinator takes (within a third). Half of it is for
  /// definitions of transactions, an eighth for what waits to be stored, a quarter, but at most 64 MiB, for pages of the
  /// file; the rest is for work. What does not fit waits in the store, and a submission that would have to wait in
  /// memory is refused (BusyError). Both 1 or more.
  std::size_t max_in_memory = 20000;
  std::size_t max_memory_bytes = std::size_t{256} << 20;
  /// The number of submissions that may wait for a commit, 1 or more; others are refused (BusyError).
  std::size_t max_waiting_submissions = 20000;
  /// The number of threads that run branch functions, 1 to 10,000, and how many of them one function may occupy: 1 or
  /// more, but at most half of those that the others leave. A function of which no call runs always gets a thread, even
  /// beyond the maximum, so that functions that block delay no others.
  std::size_t max_function_threads = 128;
  std::size_t max_threads_per_function = 64;
  /// Called at the `alert_retry_limit`-th error in a row of a branch, and at every later one, even when the wait between
  /// tries no longer grows; not for questions to the initiator of a message. After a success, ONGOING, a call that could
  /// not be sent or RetryNow the count starts again; after a restart it does not. 0 means 1.
  ///
  /// Also called if a branch cannot be called (its function is not registered, or it is a URL and there is no
  /// HttpBranches), once a minute for each function, with the present `retry_count`.
  ///
  /// It reports only what is durable. It runs on a thread of its own (without Start: inside Poll), one alert after the
  /// other. It may block and throw: no transaction waits for it. An alert is lost if 1000 are waiting, if the time of Stop
  /// is over, or in a crash; the next error sends the next one. Stop and the destructor wait for the one that is
  /// running. For a web hook: dtm::AlertWebHook(url) of <dtm/http.hpp>.
  std::function<void(const Alert&)> on_alert;
  std::uint32_t alert_retry_limit = 3;
  /// Called with what happens to transactions: submitted, a call started or ended, rolled back, stuck, ended, taken up by
  /// another run, and what people asked for (Event::kind); of each transaction in order.
  ///
  /// It is told only what is durable, each thing once; docs/observe.md says what holds in a crash. It runs on a thread of its
  /// own (without Start: inside Poll), one event after the other. It may block and throw: no transaction waits for it. Beyond
  /// 10,000 that wait, events are dropped, counted and logged. Stop tells what waits as long as its limit lasts, the
  /// destructor for a second; both wait for the one that is running.
  std::function<void(const Event&)> on_event;
  /// Called with each transaction that has ended, and each attempt of each branch, as a span of a trace: the one with which the
  /// transaction came (traceparent), or one that begins with it. The branch gets the attempt's span as its parent. An attempt
  /// is told once its result is stored, or was found to be too late; one whose result a crash lost is not told. For the rest
  /// as on_event.
  std::function<void(const Span&)> on_span;
  /// Without Start: called when there is something to do earlier than the last Poll returned (another thread has
  /// submitted, a URL has replied, a function has returned), so call Poll. It is called once until then, from any thread,
  /// even from inside calls of the coordinator. It should only wake an event loop; it must not use the coordinator. See
  /// WakeFd.
  std::function<void()> on_wake;
  /// Called from any thread; must not throw. It takes `LogLevel, const std::string&`, or `const LogLine&` with the gid and the
  /// trace beside the text: such a function is LogAsJson.
  LogFunction log = LogToStderr;
};

/// What happens to transactions is put into words, for somebody.
inline bool TellsEntries(const Options& options) {
  return options.history > 0 || options.on_event != nullptr;
}

/// One line: control characters, which texts of others may contain, are replaced. Ignores exceptions of the log.
/// `about`: a transaction that the line is about, or null.
inline void LogTo(const Options& options, LogLevel level, const std::string& text,
                  const Definition* about = nullptr) {
  try {
    if (!options.log) return;
    LogLine line{level, Printable(text), {}, {}};
    if (about != nullptr) {
      line.gid = about->gid;
      line.trace_id = TraceIdOf(*about, options.on_span != nullptr);
    }
    options.log(line);
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

/// @throws LogicError  an option is out of range, or is not a URL where it must be one.
inline const Options& CheckedOptions(const Options& options) {
  option_range::Check("retry_interval", options.retry_interval, option_range::kShortest,
                      kMaxOptionSeconds);
  option_range::Check("request_timeout", options.request_timeout, option_range::kShortest,
                      kMaxOptionSeconds);
  option_range::Check("timeout_to_fail", options.timeout_to_fail, std::chrono::seconds(1),
                      kMaxOptionSeconds);
  option_range::Check("function_limit", options.function_limit, std::chrono::seconds(1),
                      kMaxOptionSeconds);
  option_range::Check("the length of app", options.app.size(), 1, 128);
  option_range::Check("the length of node_name", options.node_name.size(), 0, 255);
  if (!IsUtf8(options.app) || !IsUtf8(options.node_name)) {
    throw LogicError("app or node_name is not UTF-8");
  }
  option_range::Check("history", std::size_t{options.history}, 0, kLastAttempts);
  option_range::Check("keep_finished", options.keep_finished, Duration(0), option_range::kEver);
  option_range::Check("keep_gids", options.keep_gids, Duration(0), option_range::kEver);
  option_range::Check("max_in_memory", options.max_in_memory, 1, option_range::kAnyNumber);
  option_range::Check("max_memory_bytes", options.max_memory_bytes, 1, option_range::kAnyNumber);
  option_range::Check("max_waiting_submissions", options.max_waiting_submissions, 1,
                      option_range::kAnyNumber);
  option_range::Check("max_function_threads", options.max_function_threads, 1, 10000);
  option_range::Check("max_threads_per_function", options.max_threads_per_function, 1,
                      option_range::kAnyNumber);
  CheckUrlOption("server_url", options.server_url);
  return options;
}

/// As people and other coordinators call the one with these options.
inline NodeName NodeOf(const Options& options) {
  const std::string name = options.node_name.empty() ? os::HostAndProcess() : options.node_name;
  return {name, options.server_url, options.app};
}

/// The parts of `max_memory_bytes`: for active transactions, for what waits to be stored, for pages of the file.
inline std::size_t ActiveBytes(const Options& options) {
  return (std::max)(options.max_memory_bytes / 2, std::size_t{1});
}
inline std::size_t InboxBytes(const Options& options) { return options.max_memory_bytes / 8; }
/// Small definitions that have ended are freed later and do not count; so many of them at a time.
inline constexpr std::size_t kSmallBytes = 4096;
inline std::size_t MostEnded(const Options& options) {
  return (std::min)(std::size_t{4096}, options.max_memory_bytes / (16 * kSmallBytes));
}
inline std::size_t CacheBytes(const Options& options) {
  return (std::min)(options.max_memory_bytes / 4, std::size_t{64} << 20);
}

}  // namespace v1
}  // namespace dtm
