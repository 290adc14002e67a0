/// The header Retry-After: how long the sender of a reply asks to wait.
/// Needs: std. Threads: pure functions. Source: RFC 9110 §10.2.3 (seconds or a date), §5.6.7 (the three forms of a date).
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include <dtm/base/text.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {
namespace retry_after {

/// Whether a reply with this status may say when to come again.
inline bool Counts(int status) { return status == 425 || status == 429 || status == 503; }

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar (Howard Hinnant, days_from_civil).
inline std::int64_t DaysTo(std::int64_t year, unsigned month, unsigned day) {
  year -= month <= 2 ? 1 : 0;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto of_era = static_cast<std::int64_t>(year - era * 400);
  const std::int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/// An HTTP date: "Sun, 06 Nov 1994 08:49:37 GMT", or one of the two obsolete forms.
inline std::optional<Time> Date(const std::string& text) {
  static constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  char month[4] = "";
  unsigned day = 0, year = 0, hour = 0, minute = 0, second = 0;
  int end = -1;
  const auto whole = [&] { return end == static_cast<int>(text.size()); };
  const char* c = text.c_str();
  if (std::strlen(c) != text.size()) return std::nullopt;
  // NOLINTBEGIN(cert-err34-c): widths bound the numbers, and `end` says whether all was read.
  std::sscanf(c, "%*3[A-Za-z], %2u %3[A-Za-z] %4u %2u:%2u:%2u GMT%n", &day, month, &year, &hour,
              &minute, &second, &end);
  if (!whole()) {
    std::sscanf(c, "%*[A-Za-z], %2u-%3[A-Za-z]-%2u %2u:%2u:%2u GMT%n", &day, month, &year, &hour,
                &minute, &second, &end);
    year += year < 70 ? 2000 : 1900;
  }
  if (!whole()) {
    std::sscanf(c, "%*3[A-Za-z] %3[A-Za-z] %2u %2u:%2u:%2u %4u%n", month, &day, &hour, &minute,
                &second, &year, &end);
  }
  // NOLINTEND(cert-err34-c)
  const auto named = std::find_if(kMonths.begin(), kMonths.end(), [&month](const char* name) {
    return std::strcmp(name, month) == 0;
  });
  // A year may be read as "-999".
  const bool possible = whole() && named != kMonths.end() && day >= 1 && day <= 31 && hour < 24 &&
                        minute < 60 && second <= 60 && year >= 1970 && year <= 9999;
  if (!possible) return std::nullopt;
  const std::int64_t days = DaysTo(year, static_cast<unsigned>(named - kMonths.begin()) + 1, day);
  return Time(std::chrono::seconds(((days * 24 + hour) * 60 + minute) * 60 + second));
}

/// Seconds, or the time from `date` (the header Date of the same reply, else `now`) to the date that it names. 0 if it
/// is neither, or past; at most kMaxRetryAfter.
inline Duration Wait(std::string_view header, const std::string& date, Time now) {
  const std::string text(Trimmed(header));
  if (text.empty()) return Duration(0);
  if (text.find_first_not_of("0123456789") == std::string::npos) {
    const bool huge = text.size() > 9;
    return huge ? Duration(kMaxRetryAfter)
                : (std::min)(
                      Duration(kMaxRetryAfter),
                      Duration(std::chrono::seconds(std::strtoul(text.c_str(), nullptr, 10))));
  }
  const std::optional<Time> until = Date(text);
  if (!until) return Duration(0);
  // The sender's clock may differ.
  const Time from = Date(std::string(Trimmed(date))).value_or(now);
  return (std::min)((std::max)(*until - from, Duration(0)), Duration(kMaxRetryAfter));
}

}  // namespace retry_after
}  // namespace wire
}  // namespace v1
}  // namespace dtm
