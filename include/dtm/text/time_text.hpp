/// Times as text: RFC 3339 in UTC.
/// Needs: std. Threads: pure functions. Source: RFC 3339 §5.6.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include <dtm/base/text.hpp>
#include <dtm/base/time.hpp>

namespace dtm {
inline namespace v1 {

/// "2026-11-22T07:08:07.0045Z": zeros at the end of the fraction are left out.
inline std::string TimeText(Time time) {
  const auto micros = time.time_since_epoch().count();
  auto seconds = static_cast<std::time_t>(micros / 1000000);
  auto fraction = static_cast<int>(micros % 1000000);
  if (fraction < 0) {
    fraction += 1000000;
    --seconds;
  }
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[48];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string result(text, length);
  if (fraction != 0) {
    std::snprintf(text, sizeof text, ".%06d", fraction);
    result += text;
    while (result.back() == '0') result.pop_back();
  }
  return result + "Z";
}

namespace time_text {

/// Days from 1970-01-01 in the Gregorian calendar; `month` is 1 to 12.
inline std::int64_t Days(std::int64_t year, unsigned month, unsigned day) {
  // In years that begin in March the leap day is the last one, and months repeat every five.
  const std::int64_t y = month > 2 ? year : year - 1;
  const std::int64_t era = (y >= 0 ? y : y - 399) / 400;
  const auto of_era = static_cast<unsigned>(y - era * 400);
  const unsigned of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const unsigned in_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
  return era * 146097 + static_cast<std::int64_t>(in_era) - 719468;
}

}  // namespace time_text

/// What TimeText has written, of the years 1000 to 9999; nothing if it is anything else.
inline std::optional<Time> ParseTime(std::string_view text) {
  constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:dd";
  if (text.size() <= kForm.size() || text.back() != 'Z') return std::nullopt;
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kForm[i] == 'd' ? !digit : text[i] != kForm[i]) return std::nullopt;
  }
  const auto number = [text](std::size_t at, std::size_t size) {
    return ParseNumber<unsigned>(text.substr(at, size)).value_or(0);
  };
  std::int64_t micros = 0;
  std::string_view fraction = text.substr(kForm.size(), text.size() - kForm.size() - 1);
  if (!fraction.empty()) {
    const std::string digits(fraction.substr(1));
    const bool fits = fraction[0] == '.' && !digits.empty() && digits.size() <= 6 &&
                      digits.find_first_not_of("0123456789") == std::string::npos;
    if (!fits) return std::nullopt;
    micros = ParseNumber<unsigned>(digits + std::string(6 - digits.size(), '0')).value_or(0);
  }
  const std::int64_t days = time_text::Days(number(0, 4), number(5, 2), number(8, 2));
  const std::int64_t seconds =
      ((days * 24 + number(11, 2)) * 60 + number(14, 2)) * 60 + number(17, 2);
  const Time time{Duration(seconds * 1000000 + micros)};
  // What does not exist (the 30th of February, 25 o'clock) is another time written otherwise.
  const std::string whole = TimeText(Time(Duration(seconds * 1000000)));
  if (whole.substr(0, kForm.size()) != text.substr(0, kForm.size())) return std::nullopt;
  return time;
}

}  // namespace v1
}  // namespace dtm
