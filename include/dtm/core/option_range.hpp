/// The ranges of all options, in one table: of the embedded coordinator, remote coordinators, servers and callers.
/// Needs: std. Threads: constants and pure functions.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include <dtm/base/error.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/url.hpp>

namespace dtm {
inline namespace v1 {

template <typename Value>
struct OptionRange {
  const char* name;
  Value least;
  Value most;
};

namespace option_range {

inline constexpr Duration kShortest = std::chrono::milliseconds(1);
inline constexpr std::size_t kAnyNumber = (std::numeric_limits<std::size_t>::max)();

// Options. Those of one transaction are in validate.hpp: they have the same maximum, and 0 for "the default".
inline constexpr OptionRange<Duration> kRetryInterval{"retry_interval", kShortest,
                                                      kMaxOptionSeconds};
inline constexpr OptionRange<Duration> kRequestTimeout{"request_timeout", kShortest,
                                                       kMaxOptionSeconds};
inline constexpr OptionRange<std::chrono::seconds> kTimeoutToFail{
    "timeout_to_fail", std::chrono::seconds(1), kMaxOptionSeconds};
inline constexpr OptionRange<Duration> kKeepFinished{"keep_finished", Duration(0),
                                                     (Duration::max)()};
inline constexpr OptionRange<Duration> kKeepGids{"keep_gids", Duration(0), (Duration::max)()};
inline constexpr OptionRange<std::size_t> kMaxInMemory{"max_in_memory", 1, kAnyNumber};
inline constexpr OptionRange<std::size_t> kMaxMemoryBytes{"max_memory_bytes", 1, kAnyNumber};
inline constexpr OptionRange<std::size_t> kMaxWaitingSubmissions{"max_waiting_submissions", 1,
                                                                 kAnyNumber};
inline constexpr OptionRange<std::size_t> kMaxFunctionThreads{"max_function_threads", 1, 10000};
inline constexpr OptionRange<std::size_t> kMaxThreadsPerFunction{"max_threads_per_function", 1,
                                                                 kAnyNumber};

// RemoteOptions
inline constexpr OptionRange<Duration> kTimeout{"timeout", kShortest, kMaxOptionSeconds};

// HttpBranchOptions
inline constexpr OptionRange<std::int64_t> kTotal{"limits.total", 1, 1000000};
inline constexpr OptionRange<std::int64_t> kPerHost{"limits.per_host", 1, 1000000};
inline constexpr OptionRange<std::int64_t> kSilentHost{"limits.silent_host", 1, 1000000};
inline constexpr OptionRange<std::int64_t> kSilentAfter{"limits.silent_after", 1, 1000000};
inline constexpr OptionRange<std::size_t> kMaxWaiting{"max_waiting", 1, kAnyNumber};
inline constexpr OptionRange<Duration> kKeepIdle{"keep_idle", Duration(0), kMaxOptionSeconds};

// ServerOptions
inline constexpr OptionRange<std::int64_t> kMaxConnections{"max_connections", 1, 1000000};

inline std::string InWords(Duration value) {
  const auto count = value.count();
  if (count % 1000000 == 0) return std::to_string(count / 1000000) + " s";
  if (count % 1000 == 0) return std::to_string(count / 1000) + " ms";
  return std::to_string(count) + " us";
}
inline std::string InWords(std::chrono::seconds value) {
  return std::to_string(value.count()) + " s";  // the greatest of them is no Duration
}
inline std::string InWords(std::int64_t value) { return std::to_string(value); }
inline std::string InWords(std::size_t value) { return std::to_string(value); }

/// @throws LogicError
template <typename Value>
void Check(const OptionRange<Value>& range, const decltype(range.least)& value) {
  if (value >= range.least && value <= range.most) return;
  throw LogicError(std::string("the option ") + range.name + " is " + InWords(value) +
                   "; it must be " + InWords(range.least) + " to " + InWords(range.most));
}

/// Empty, or a URL that can be called.
/// @throws LogicError
inline void CheckUrl(const char* name, const std::string& url) {
  if (url.empty()) return;
  try {
    (void)ParseUrl(url, name);
  } catch (const Error& error) {
    throw LogicError(std::string("the option ") + error.what());
  }
}

}  // namespace option_range
}  // namespace v1
}  // namespace dtm
