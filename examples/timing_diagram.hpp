/// Who called whom, when, and with what result: a file of events, and its drawing for a terminal.
/// Needs: POSIX (isatty). Threads: an EventFile may be used by any thread and process at once.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

/// Events appended to a file, where they survive a kill -9 of whoever wrote them.
class EventFile {
 public:
  struct Event {
    std::int64_t us = 0;  ///< of a clock that all processes share
    std::string from;
    std::string to;  ///< empty: the event concerns everybody
    std::string text;
  };

  explicit EventFile(std::string path) : path_(std::move(path)) {}

  void Arrow(const std::string& from, const std::string& to, const std::string& text) const {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    std::ostringstream line;
    line << std::chrono::duration_cast<std::chrono::microseconds>(now).count() << '\t' << from
         << '\t' << to << '\t' << text << '\n';
    std::ofstream(path_, std::ios::app) << line.str();  // one write at the end of the file
  }
  /// `kind` is "end" or "begin" of all lifelines, or "note".
  void ForAll(const std::string& kind, const std::string& text) const { Arrow(kind, "", text); }

  /// In the order of time.
  std::vector<Event> Read() const {
    std::vector<Event> events;
    std::ifstream file(path_);
    for (std::string line; std::getline(file, line);) {
      std::istringstream fields(line);
      Event event;
      std::string us;
      std::getline(fields, us, '\t');
      std::getline(fields, event.from, '\t');
      std::getline(fields, event.to, '\t');
      std::getline(fields, event.text);
      event.us = std::stoll(us);
      events.push_back(std::move(event));
    }
    std::stable_sort(events.begin(), events.end(),
                     [](const Event& a, const Event& b) { return a.us < b.us; });
    return events;
  }

 private:
  std::string path_;
};

/// Draws events as a sequence diagram of 96 columns; time runs downwards.
class TimingDiagram {
 public:
  void Print(const std::vector<EventFile::Event>& events) const {
    Row names = Blank();
    for (std::size_t i = 0; i < kNames.size(); ++i) {
      Write(names, kColumns[i] - kNames[i].size() / 2, kNames[i]);
    }
    Write(names, 5, "ms");
    Print(names);
    Print(Lines("│"));
    for (const EventFile::Event& event : events) {
      Row row = event.to.empty() ? ForAll(event) : Arrow(event);
      char ms[16];
      std::snprintf(ms, sizeof ms, "%7.1f", static_cast<double>(event.us - events[0].us) / 1000);
      Write(row, 0, ms);
      Print(row);
    }
    Print(Blank());
  }

 private:
  using Row = std::vector<std::string>;  // a character of the terminal in each cell
  static constexpr std::size_t kWidth = 96;
  static constexpr std::array<std::size_t, 4> kColumns{14, 40, 66, 92};
  const std::array<std::string, 4> kNames{"application", "coordinator", "bank A", "bank B"};

  static Row Blank() { return Row(kWidth, " "); }

  static Row Lines(const char* sign) {
    Row row = Blank();
    for (const std::size_t column : kColumns) row[column] = sign;
    return row;
  }

  static void Write(Row& row, std::size_t at, const std::string& ascii) {
    for (std::size_t i = 0; i < ascii.size() && at + i < kWidth; ++i) row[at + i] = ascii[i];
  }

  Row Arrow(const EventFile::Event& event) const {
    Row row = Lines("│");
    const std::size_t from = Place(event.from);
    const std::size_t to = Place(event.to);
    const bool rightwards = from < to;
    const std::size_t left = kColumns[rightwards ? from : to];
    const std::size_t right = kColumns[rightwards ? to : from];
    for (std::size_t i = left + 1; i < right; ++i) row[i] = row[i] == "│" ? "┼" : "─";
    row[kColumns[from]] = rightwards ? "├" : "┤";
    row[rightwards ? right - 1 : left + 1] = rightwards ? "▶" : "◀";
    // Beside the one who speaks, between two lifelines.
    const std::size_t beside = kColumns[rightwards ? from : from - 1];
    Write(row, beside + 3, " " + event.text.substr(0, 20) + " ");
    Colour(row, left + 1, right - 1, event.text);
    return row;
  }

  /// Lifelines end, begin, or (a note) are not there.
  static Row ForAll(const EventFile::Event& event) {
    const bool note = event.from == "note";
    Row row = note ? Blank() : Lines(event.from == "end" ? "╧" : "╤");
    const std::size_t first = kColumns.front();
    const std::size_t last = kColumns.back();
    for (std::size_t i = first; i <= last && !note; ++i) {
      if (row[i] == " ") row[i] = "═";
    }
    Write(row, (first + last - event.text.size()) / 2, " " + event.text + " ");
    Colour(row, first, last, event.text);
    return row;
  }

  std::size_t Place(const std::string& name) const {
    const auto found = std::find(kNames.begin(), kNames.end(), name);
    return found == kNames.end() ? 0 : static_cast<std::size_t>(found - kNames.begin());
  }

  static void Colour(Row& row, std::size_t first, std::size_t last, const std::string& text) {
    static const bool kColours = ::isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
    if (!kColours) return;
    const auto begins = [&text](const char* word) { return text.rfind(word, 0) == 0; };
    const bool good = begins("200") || begins("succeed");
    const bool bad = begins("409") || begins("failed") || begins("kill");
    row[first].insert(0, good ? "\033[32m" : bad ? "\033[31m" : "\033[36m");
    row[last] += "\033[0m";
  }

  static void Print(const Row& row) {
    std::string line;
    for (const std::string& cell : row) line += cell;
    line.erase(line.find_last_not_of(' ') + 1);
    std::puts(line.c_str());
  }
};
