/// A line of the log, and the functions that may take it: Options::log.
/// Needs: std. Threads: values; a log function is called from any thread.
#pragma once

#include <cstddef>
#include <cstdio>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>

#include <dtm/base/callable.hpp>

namespace dtm {
inline namespace v1 {

/// What a line of the log is: what happened, what should be looked at, what is wrong.
enum class LogLevel { kInfo, kWarning, kError };

/// "info", "warning" or "error".
inline const char* Name(LogLevel level) {
  return level == LogLevel::kError ? "error" : level == LogLevel::kWarning ? "warning" : "info";
}

/// One line of the log.
struct LogLine {
  LogLevel level = LogLevel::kInfo;
  std::string text;      ///< a sentence, which names the gid too
  std::string gid;       ///< empty: it is not about one transaction
  std::string trace_id;  ///< of the trace to which that belongs; empty: none
};

/// The log that Options have by default: a line to standard error.
inline void LogToStderr(LogLevel level, const std::string& text) {
  std::fprintf(stderr, "dtm %s: %s\n", Name(level), text.c_str());
}

namespace log_function {

template <typename Function>
inline constexpr bool kPlain = std::is_invocable_v<Function&, LogLevel, const std::string&>;
template <typename Function>
inline constexpr bool kWhole = std::is_invocable_v<Function&, const LogLine&>;
template <typename Function>
inline constexpr bool kFits = kPlain<Function> || kWhole<Function>;

}  // namespace log_function

/// Any function that takes `dtm::LogLevel, const std::string&`, or `const dtm::LogLine&`; an empty one logs nothing.
class LogFunction {
 public:
  LogFunction() = default;
  /// Logs nothing.
  LogFunction(std::nullptr_t) {}  // NOLINT(google-explicit-constructor): as of a std::function
  /// Keeps `function`.
  template <typename Function, typename = std::enable_if_t<!std::is_same_v<Function, LogFunction> &&
                                                           log_function::kFits<Function>>>
  LogFunction(Function function) {  // NOLINT(google-explicit-constructor): so that a lambda is one
    if (callable::Empty(function)) return;
    if constexpr (log_function::kPlain<Function>) {
      log_ = [function = std::move(function)](const LogLine& line) mutable {
        function(line.level, line.text);
      };
    } else {
      log_ = std::move(function);
    }
  }

  /// False: it logs nothing.
  explicit operator bool() const { return static_cast<bool>(log_); }
  /// Only if it is not empty.
  void operator()(const LogLine& line) const { log_(line); }
  /// A line without gid and trace; the same.
  void operator()(LogLevel level, const std::string& text) const { log_({level, text, {}, {}}); }

 private:
  std::function<void(const LogLine&)> log_;
};

}  // namespace v1
}  // namespace dtm
