/// What people see: texts that cannot harm a terminal, columns, colours, times.
/// Needs: dtm/base. Threads: one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>
#include <vector>

#include <dtm/base/text.hpp>

namespace tool {

/// In one line, without control characters, and without those that turn the direction of writing.
inline std::string Safe(const std::string& text) {
  std::string clean = dtm::Printable(text);
  for (const char* const turn :
       {"\xE2\x80\xAA", "\xE2\x80\xAB", "\xE2\x80\xAC", "\xE2\x80\xAD", "\xE2\x80\xAE",
        "\xE2\x81\xA6", "\xE2\x81\xA7", "\xE2\x81\xA8", "\xE2\x81\xA9", "\xE2\x80\x8E",
        "\xE2\x80\x8F", "\xE2\x80\xA8", "\xE2\x80\xA9"}) {
    for (std::size_t at = 0; (at = clean.find(turn, at)) != std::string::npos;)
      clean.replace(at, 3, "?");
  }
  return clean;
}

/// The same for a text of lines.
inline std::string SafeLines(const std::string& text) {
  std::string clean;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = (std::min)(text.find('\n', begin), text.size());
    clean += Safe(text.substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  return clean;
}

inline std::size_t Columns(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

inline bool Colours() {
  const char* const no = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (no == nullptr || *no == 0);
}

/// Green, red, yellow, or as it is.
inline std::string Paint(const std::string& text, const std::string& meaning) {
  const char* code = nullptr;
  if (meaning == "succeed" || meaning == "ok") code = "32";
  if (meaning == "failed" || meaning == "problem" || meaning == "stuck") code = "31";
  if (meaning == "aborting" || meaning == "warning") code = "33";
  if (code == nullptr || !Colours()) return text;
  return std::string("\x1B[") + code + "m" + text + "\x1B[0m";
}

/// Rows in columns, two blanks between them; the first row is the head.
class Table {
 public:
  explicit Table(std::vector<std::string> head) { rows_.push_back(std::move(head)); }
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool Empty() const { return rows_.size() == 1; }

  void Print() const {
    std::vector<std::size_t> widths(rows_[0].size());
    for (const auto& row : rows_) {
      for (std::size_t i = 0; i < row.size(); ++i)
        widths[i] = (std::max)(widths[i], Columns(row[i]));
    }
    for (const auto& row : rows_) {
      std::string line;
      for (std::size_t i = 0; i < row.size(); ++i) {
        line += Paint(row[i], row[i]);
        if (i + 1 < row.size()) line += std::string(widths[i] - Columns(row[i]) + 2, ' ');
      }
      while (!line.empty() && line.back() == ' ') line.pop_back();
      std::printf("%s\n", line.c_str());
    }
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// "350 ms", "12 s", "5 min", "3 h", "2 days".
inline std::string Span(std::int64_t micros) {
  const std::int64_t seconds = micros / 1000000;
  if (seconds < 1) return std::to_string(micros / 1000) + " ms";
  if (seconds < 120) return std::to_string(seconds) + " s";
  if (seconds < 7200) return std::to_string(seconds / 60) + " min";
  if (seconds < 48 * 3600) return std::to_string(seconds / 3600) + " h";
  return std::to_string(seconds / 86400) + " days";
}

inline std::string Bytes(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"bytes", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  std::uint64_t rest = 0;
  while (bytes >= 10000 && unit < 4) rest = bytes % 1000, bytes /= 1000, ++unit;
  return std::to_string(bytes + (rest >= 500 ? 1 : 0)) + " " + kUnits[unit];
}

}  // namespace tool
