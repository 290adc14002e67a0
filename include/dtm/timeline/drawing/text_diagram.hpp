/// Draws a diagram for a terminal: lifelines of box characters, time runs downwards.
/// Needs: std. Threads: a pure function.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/timeline/drawing/diagram.hpp>
#include <dtm/timeline/drawing/shown_text.hpp>
#include <dtm/timeline/drawing/spans.hpp>

namespace dtm {
inline namespace v1 {
namespace drawing {

inline constexpr std::size_t kMinTextWidth = 40;
inline constexpr std::size_t kMaxTextWidth = 1000;

/// One line: a character of the terminal in each cell. The second cell of a wide one is empty.
class TextRow {
 public:
  explicit TextRow(std::size_t width) : cells_(width, " ") {}

  void Put(std::size_t at, const char* sign) {
    if (at < cells_.size()) cells_[at] = sign;
  }
  /// What does not fit is not written.
  void Write(std::size_t at, const std::string& text) {
    for (const Glyph& glyph : Glyphs(text)) {
      if (at + glyph.columns > cells_.size()) return;
      cells_[at] = glyph.bytes;
      if (glyph.columns == 2) cells_[at + 1].clear();
      at += glyph.columns;
    }
  }
  bool IsBlank(std::size_t at) const { return cells_[at] == " "; }
  void Colour(std::size_t first, std::size_t end, const char* begin) {
    if (first >= end || end > cells_.size()) return;
    cells_[first].insert(0, begin);
    cells_[end - 1] += "\033[0m";
  }
  std::string Line() const {
    std::string line;
    for (const std::string& cell : cells_) line += cell;
    line.erase(line.find_last_not_of(' ') + 1);
    return line + '\n';
  }

 private:
  std::vector<std::string> cells_;
};

class TextDiagram {
 public:
  /// @param width  the columns of a line, at least kMinTextWidth.
  static std::string Draw(const Diagram& diagram, std::size_t width, bool colour) {
    TextDiagram drawing(diagram, width, colour);
    drawing.Names();
    for (const DiagramEvent& event : diagram.events) drawing.Event(event);
    return std::move(drawing.text_);
  }

 private:
  static constexpr std::size_t kFirstColumn = 14;
  static constexpr std::size_t kAfterLast = 4;
  static constexpr std::size_t kFirstGap = 18;  // its arrows have short texts
  static constexpr std::size_t kMaxGap = 40;
  static constexpr std::size_t kMaxNameColumns = 24;
  static constexpr std::size_t kMaxLines = 6;

  TextDiagram(const Diagram& diagram, std::size_t width, bool colour)
      : diagram_(diagram),
        width_((std::min)((std::max)(width, kMinTextWidth), kMaxTextWidth)),
        colour_(colour) {
    const std::size_t gaps = (std::max)(diagram.lifelines.size(), std::size_t{2}) - 1;
    const std::size_t room = width_ - kAfterLast - kFirstColumn;
    const std::size_t first =
        gaps == 1 ? (std::min)(room, kFirstGap) : (std::min)(room / gaps, kFirstGap);
    std::size_t column = kFirstColumn;
    for (std::size_t i = 0; i < diagram.lifelines.size(); ++i) {
      columns_.push_back(column);
      column += i == 0 ? first : (std::min)((room - first) / (gaps - (gaps > 1)), kMaxGap);
    }
    for (const DiagramEvent& event : diagram.events) {
      if (event.at && *event.at >= std::chrono::minutes(1)) in_ms_ = false;
    }
  }

  // --- lines

  TextRow Lines(const char* sign) const {
    TextRow row(width_);
    for (const std::size_t column : columns_) row.Put(column, alive_ ? sign : " ");
    return row;
  }

  void Time(TextRow& row, const std::optional<Duration>& at) const {
    if (!at) return;
    const std::string time = in_ms_ ? Milliseconds(*at) : SpanInWords(*at);
    const std::size_t end = in_ms_ ? 7 : 12;
    row.Write(end - (std::min)(time.size(), end), time);
  }

  void Print(const TextRow& row) { text_ += row.Line(); }

  /// Names that do not fit beside the one before stand above it.
  void Names() {
    std::vector<TextRow> rows;
    std::vector<std::size_t> ends;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string name = Fitted(diagram_.lifelines[i].name, kMaxNameColumns);
      const std::size_t columns = ColumnsOf(name);
      const std::size_t centred = columns_[i] - (std::min)(columns / 2, columns_[i]);
      const std::size_t begin = (std::min)(centred, width_ - columns);
      std::size_t level = 0;
      while (level < ends.size() && begin < ends[level] + 2) ++level;
      if (level == ends.size()) {
        rows.emplace_back(width_);
        ends.push_back(0);
      }
      rows[level].Write(begin, name);
      ends[level] = begin + columns;
      for (std::size_t below = 0; below < level; ++below) {
        if (rows[below].IsBlank(columns_[i])) rows[below].Put(columns_[i], "│");
        ends[below] = (std::max)(ends[below], columns_[i] + 1);
      }
    }
    if (!rows.empty()) rows.front().Write(in_ms_ ? 5 : 3, in_ms_ ? "ms" : "time");
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) Print(*row);
    Print(Lines("│"));
  }

  void Event(const DiagramEvent& event) {
    switch (event.kind) {
      case DiagramEvent::Kind::kCall:
      case DiagramEvent::Kind::kReply:
      case DiagramEvent::Kind::kLost: return Arrow(event);
      case DiagramEvent::Kind::kNote: return Beside(event, "│", "●");
      case DiagramEvent::Kind::kSpan: return Beside(event, "┊", "┊");
      case DiagramEvent::Kind::kEnd:
      case DiagramEvent::Kind::kBegin: return Break(event);
    }
  }

  /// A text at the right of a lifeline.
  void Beside(const DiagramEvent& event, const char* lines, const char* mark) {
    const std::size_t begin = columns_[event.from] + 2;
    const std::vector<std::string> texts = Wrapped(InWords(event), width_ - begin, kMaxLines);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      TextRow row = Lines(lines);
      if (i == 0 && alive_) row.Put(columns_[event.from], mark);
      if (i == 0) Time(row, event.at);
      WriteFree(row, begin, texts[i]);
      Colour(row, columns_[event.from], begin + ColumnsOf(texts[i]), event.tone);
      Print(row);
    }
  }

  /// Over lifelines, with a blank around it.
  void WriteFree(TextRow& row, std::size_t begin, const std::string& text) const {
    const std::size_t end = begin + ColumnsOf(text);
    if (begin > 0 && !IsLifeline(begin - 1)) row.Put(begin - 1, " ");
    row.Write(begin, text);
    if (IsLifeline(end)) row.Put(end, " ");
  }
  bool IsLifeline(std::size_t column) const {
    return std::find(columns_.begin(), columns_.end(), column) != columns_.end();
  }

  void Break(const DiagramEvent& event) {
    const bool ends = event.kind == DiagramEvent::Kind::kEnd;
    alive_ = true;
    TextRow row = Lines(ends ? "╧" : "╤");
    const std::size_t first = columns_.front(), last = columns_.back();
    for (std::size_t i = first; i <= last; ++i) {
      if (row.IsBlank(i)) row.Put(i, "═");
    }
    const std::string text = InWords(event);
    const std::size_t columns = ColumnsOf(text);
    std::size_t end = last + 1;
    const std::size_t begin = BetweenLifelines(columns + 2);
    const bool beyond = begin == 0 && last + 2 + columns <= width_;
    if (begin > 0) {
      row.Write(begin, " " + text + " ");
    } else if (beyond) {
      row.Write(last + 2, text);
      end = last + 2 + columns;
    }
    Time(row, event.at);
    Colour(row, first, end, event.tone);
    Print(row);
    alive_ = !ends;
    if (begin == 0 && !beyond) Below(event, first + 2, text);
  }

  /// Where a text stands in the middle of the widest gap if there is room, or else over the lifelines; 0: nowhere.
  std::size_t BetweenLifelines(std::size_t columns) const {
    std::size_t begin = 0, widest = 0;
    for (std::size_t i = 1; i < columns_.size(); ++i) {
      const std::size_t gap = columns_[i] - columns_[i - 1];
      if (gap <= widest || columns + 2 >= gap) continue;
      widest = gap;
      begin = columns_[i - 1] + 1 + (gap - columns) / 2;
    }
    const std::size_t all = columns_.back() - columns_.front();
    if (begin > 0 || columns + 4 > all) return begin;
    return columns_.front() + (all - columns) / 2;
  }

  // --- arrows

  void Arrow(const DiagramEvent& event) {
    if (event.from == event.to) return Beside(event, "│", "●");
    const bool rightwards = event.from < event.to;
    const std::size_t left = columns_[rightwards ? event.from : event.to];
    const std::size_t right = columns_[rightwards ? event.to : event.from];
    TextRow row = Lines("│");
    const bool lost = event.kind == DiagramEvent::Kind::kLost;
    for (std::size_t i = left + 1; i < right; ++i) {
      row.Put(i, IsLifeline(i) ? "┼" : lost ? "╌" : "─");
    }
    row.Put(columns_[event.from], rightwards ? "├" : "┤");
    row.Put(rightwards ? right - 1 : left + 1, rightwards ? "▶" : "◀");
    Time(row, event.at);

    std::string below;
    std::size_t end = right;
    const std::string whole = InWords(event);
    const std::size_t beyond = width_ - right - 2;
    if (WriteOnShaft(row, event, whole)) {
    } else if (ColumnsOf(whole) <= beyond) {
      end = right + 2 + ColumnsOf(whole);
      WriteFree(row, right + 2, whole);
    } else if (!event.more.empty() && WriteOnShaft(row, event, event.text)) {
      below = event.more;
    } else {
      below = whole;
    }
    Colour(row, left + 1, end, event.tone);
    Print(row);
    if (!below.empty()) Below(event, (std::min)(left + 2, width_ / 2), below);
  }

  void Below(const DiagramEvent& event, std::size_t begin, const std::string& text) {
    for (const std::string& line : Wrapped(text, width_ - begin, kMaxLines)) {
      TextRow row = Lines("│");
      WriteFree(row, begin, line);
      Colour(row, begin, begin + ColumnsOf(line), event.tone);
      Print(row);
    }
  }

  /// Beside the one who speaks if there is room for it, else anywhere on the arrow. False: it fits nowhere.
  bool WriteOnShaft(TextRow& row, const DiagramEvent& event, const std::string& text) const {
    const bool rightwards = event.from < event.to;
    const std::size_t left = columns_[rightwards ? event.from : event.to];
    const std::size_t right = columns_[rightwards ? event.to : event.from];
    const std::size_t end = rightwards ? right - 1 : right;
    const std::size_t near = columns_[rightwards ? event.from : event.from - 1];
    const std::size_t near_end = rightwards ? columns_[event.from + 1] : right;
    const std::size_t columns = ColumnsOf(text) + 2;
    const auto write = [&](std::size_t at, std::size_t limit) {
      if (at + columns > limit) return false;
      row.Write(at, " " + text + " ");
      return true;
    };
    return write(near + 3, (std::min)(near_end, end)) || write(left + 3, end) ||
           write(left + 2, end);
  }

  void Colour(TextRow& row, std::size_t first, std::size_t end, Tone tone) const {
    if (!colour_) return;
    const char* begin = "\033[36m";
    switch (tone) {
      case Tone::kGood: begin = "\033[32m"; break;
      case Tone::kBad: begin = "\033[31m"; break;
      case Tone::kWarning: begin = "\033[33m"; break;
      case Tone::kQuiet: begin = "\033[2m"; break;
      case Tone::kPlain: break;
    }
    row.Colour(first, (std::min)(end, width_), begin);
  }

  const Diagram& diagram_;
  const std::size_t width_;
  const bool colour_;
  std::vector<std::size_t> columns_;  // of the lifelines
  bool in_ms_ = true;                 // everything took less than a minute
  bool alive_ = true;                 // lifelines are drawn
  std::string text_;
};

}  // namespace drawing
}  // namespace v1
}  // namespace dtm
