/// Draws a diagram as SVG: one file without scripts, fonts or anything else from elsewhere, for light and dark pages.
/// Needs: std. Threads: a pure function. Source: SVG 2, CSS Custom Properties 1.
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
#include <dtm/timeline/drawing/svg_parts.hpp>

namespace dtm {
inline namespace v1 {
namespace drawing {

class SvgDiagram {
 public:
  static std::string Draw(const Diagram& diagram) {
    SvgDiagram drawing(diagram);
    for (const DiagramEvent& event : diagram.events) drawing.Event(event);
    drawing.Row(kAfterLast, Line::kSolid);
    return drawing.Whole();
  }

 private:
  enum class Line { kSolid, kDotted, kNone };
  struct Stretch {
    int begin;
    int end;
    Line line;
  };

  static constexpr int kHead = 46;  // of the names
  static constexpr int kAfterLast = 14;
  static constexpr int kRight = 52;  // of the last lifeline
  static constexpr int kFirstGap = 124;
  static constexpr int kLineHeight = 16;
  static constexpr std::size_t kMaxLines = 4;
  static constexpr std::size_t kFullBytes = 110000;  // beyond it texts are short
  static constexpr std::size_t kShort = 40;          // columns

  explicit SvgDiagram(const Diagram& diagram)
      : diagram_(diagram), active_(diagram.lifelines.size()) {
    for (const DiagramEvent& event : diagram.events) {
      if (event.at && *event.at >= std::chrono::minutes(1)) in_ms_ = false;
    }
    const std::size_t services = (std::max)(diagram.lifelines.size(), std::size_t{2}) - 2;
    const int gap = services <= 1 ? 230 : services <= 2 ? 176 : services <= 3 ? 150 : 118;
    int x = in_ms_ ? 92 : 116;
    for (std::size_t i = 0; i < diagram.lifelines.size(); ++i) {
      columns_.push_back(x);
      x += i == 0 ? kFirstGap : gap;
    }
    const int right = (std::max)(kRight, HalfOf(NameOf(columns_.size() - 1)) + 8);
    width_ = (std::max)(columns_.back() + right, services == 0 ? 460 : 0);
  }

  // --- pieces

  /// The lifelines go on for so much more.
  void Row(int height, Line line) {
    if (!alive_) line = Line::kNone;
    if (stretches_.empty() || stretches_.back().line != line) stretches_.push_back({y_, y_, line});
    y_ += height;
    stretches_.back().end = y_;
  }

  void Time(const std::optional<Duration>& at, int y) {
    if (at)
      body_ += Text(columns_.front() - 40, y, "t", in_ms_ ? Milliseconds(*at) : SpanInWords(*at));
  }

  /// Everything of one event; what it says is seen under the pointer, too.
  void Open(const DiagramEvent& event) {
    body_ += std::string("<g class=\"") + KindOf(event.tone) + "\">";
    if (!event.more.empty() && !Full())
      body_ += "<title>" + EscapedXml(InWords(event)) + "</title>";
  }
  void Close() { body_ += "</g>\n"; }
  bool Full() const { return body_.size() > kFullBytes; }
  std::string Said(const DiagramEvent& event) const {
    return Full() ? Fitted(InWords(event), kShort) : InWords(event);
  }

  // --- events

  void Event(const DiagramEvent& event) {
    Open(event);
    switch (event.kind) {
      case DiagramEvent::Kind::kCall:
      case DiagramEvent::Kind::kReply:
      case DiagramEvent::Kind::kLost: event.from == event.to ? Note(event) : Arrow(event); break;
      case DiagramEvent::Kind::kNote: Note(event); break;
      case DiagramEvent::Kind::kSpan: Span(event); break;
      case DiagramEvent::Kind::kEnd: End(event); break;
      case DiagramEvent::Kind::kBegin: Begin(event); break;
    }
    Close();
  }

  void Arrow(const DiagramEvent& event) {
    const bool rightwards = event.from < event.to;
    const int from = columns_[event.from], to = columns_[event.to];
    const int left = (std::min)(from, to), room = (rightwards ? to - from : from - to) - 20;
    const int y = y_ + 24;
    std::string text = Said(event);
    std::vector<std::string> below;
    if (WidthOf(text) > (std::max)(room, width_ - left - 20) && !event.more.empty() && !Full()) {
      text = event.text;
      below = Wrapped(event.more, ColumnsIn(width_ - left - 20), kMaxLines);
    }
    const bool fits = WidthOf(text) <= room;
    if (!fits) text = Fitted(text, ColumnsIn(width_ - left - 20));
    const bool at_end = fits && !rightwards;
    Time(event.at, y + 4);
    body_ += Text(at_end ? from - 10 : left + 10, y - 6, at_end ? "e x" : "e", text);
    DrawShaft(event.kind, from, to, y);
    Activate(event, y);
    Row(32, Line::kSolid);
    for (const std::string& line : below) {
      body_ += Text(left + 10, y_ + 9, "e", line);
      Row(kLineHeight, Line::kSolid);
    }
  }

  void DrawShaft(DiagramEvent::Kind kind, int from, int to, int y) {
    const int way = from < to ? 1 : -1;
    const int tip = to - 4 * way;
    const char* style = kind == DiagramEvent::Kind::kReply  ? "s r"
                        : kind == DiagramEvent::Kind::kLost ? "s o"
                                                            : "s";
    body_ +=
        Path(style, "M" + Number(from + 4 * way) + " " + Number(y) + "H" + Number(tip - 7 * way));
    if (kind == DiagramEvent::Kind::kLost) {  // a cross: no answer came
      body_ += Path("s", "M" + Number(tip - 8) + " " + Number(y - 4) + "l8 8m0-8l-8 8");
      return;
    }
    body_ += Path("h", "M" + Number(tip) + " " + Number(y) + "l" + Number(-9 * way) + "-4v8z");
  }

  /// A bar on the lifeline of who is called, until it has replied.
  void Activate(const DiagramEvent& event, int y) {
    if (event.kind == DiagramEvent::Kind::kLost) return;
    Active& active = active_[event.kind == DiagramEvent::Kind::kReply ? event.from : event.to];
    if (event.kind == DiagramEvent::Kind::kCall) {
      if (active.calls++ == 0) active.since = y;
    } else if (active.calls > 0 && --active.calls == 0) {
      DrawBar(event.from, y);
    }
  }
  void DrawBar(std::size_t lifeline, int y) {
    const int since = active_[lifeline].since;
    bars_ += Box("a", columns_[lifeline] - 3, since, 6, y - since, 2);
  }
  void DrawBars(int y) {
    for (std::size_t i = 0; i < active_.size(); ++i) {
      if (active_[i].calls > 0) DrawBar(i, y);
    }
  }

  void Note(const DiagramEvent& event) {
    const int x = columns_[event.from] + 14;
    const std::vector<std::string> lines =
        Wrapped(Said(event), ColumnsIn(width_ - x - 24), kMaxLines);
    int widest = 0;
    for (const std::string& line : lines) widest = (std::max)(widest, WidthOf(line));
    const int height = static_cast<int>(lines.size()) * kLineHeight + 8;
    Time(event.at, y_ + 20);
    body_ += "<circle class=\"h\" cx=\"" + Number(x - 14) + "\" cy=\"" + Number(y_ + 16) +
             "\" r=\"4\"/>";
    body_ += Box("f", x, y_ + 4, widest + 16, height, 5);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      body_ += Text(x + 8, y_ + 20 + static_cast<int>(i) * kLineHeight, "e i", lines[i]);
    }
    Row(height + 8, Line::kSolid);
  }

  void Span(const DiagramEvent& event) {
    const int x = columns_[event.from] + 10;
    const int middle = (columns_.front() + columns_.back()) / 2;
    Time(event.at, y_ + 16);
    Row(4, Line::kDotted);
    for (const std::string& line : Wrapped(Said(event), ColumnsIn(width_ - x - 10), kMaxLines)) {
      body_ += alive_ ? Text(x, y_ + 12, "e", line) : Text(middle, y_ + 12, "e m i", line);
      Row(kLineHeight, Line::kDotted);
    }
    Row(4, Line::kDotted);
  }

  void End(const DiagramEvent& event) {
    Row(6, Line::kSolid);
    DrawBars(y_);
    alive_ = false;
    gone_since_ = y_;
    Across(event, y_, y_ + 17);
    Row(24, Line::kNone);
  }

  void Begin(const DiagramEvent& event) {
    Across(event, y_ + 22, y_ + 15);
    Time(event.at, y_ + 26);
    Row(22, Line::kNone);
    if (!alive_) {
      gone_ += Box("v", columns_.front() - 30, gone_since_, columns_.back() - columns_.front() + 60,
                   y_ - gone_since_, 0);
    }
    alive_ = true;
    for (Active& active : active_) active.since = y_;
    Row(6, Line::kSolid);
  }

  void Across(const DiagramEvent& event, int y, int text_y) {
    const int left = columns_.front() - 30, right = columns_.back() + 30;
    const std::string text = Fitted(Said(event), ColumnsIn(width_ - 20));
    body_ += Path("s", "M" + Number(left) + " " + Number(y) + "H" + Number(right));
    body_ += Text((std::max)((left + right) / 2, WidthOf(text) / 2 + 4), text_y, "e m i", text);
  }

  // --- the whole

  std::string Lines() const {
    std::string solid, dotted;
    for (const int x : columns_) {
      for (const Stretch& stretch : stretches_) {
        std::string& path = stretch.line == Line::kSolid ? solid : dotted;
        if (stretch.line == Line::kNone) continue;
        path += "M" + Number(x) + " " + Number(stretch.begin) + "V" + Number(stretch.end);
      }
    }
    return Path("l", solid) + (dotted.empty() ? dotted : Path("l d", dotted)) + "\n";
  }

  /// Of a lifeline, as far as there is room.
  std::string NameOf(std::size_t i) const {
    const int gap = i + 1 < columns_.size() ? columns_[i + 1] - columns_[i]
                                            : columns_[i] - columns_[i - (i > 0)];
    const int room =
        (std::max)((std::min)(gap, i > 0 ? columns_[i] - columns_[i - 1] : gap) - 24, 70);
    return Fitted(diagram_.lifelines[i].name, ColumnsIn(room));
  }
  static int HalfOf(const std::string& name) { return WidthOf(name) / 2 + 9; }

  std::string Names() const {
    std::string names;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const Lifeline& lifeline = diagram_.lifelines[i];
      const std::string name = NameOf(i);
      const int half = HalfOf(name);
      names += "<g>";
      if (!lifeline.more.empty()) names += "<title>" + EscapedXml(lifeline.more) + "</title>";
      names += Box("k", columns_[i] - half, 10, 2 * half, 26, 6) +
               Text(columns_[i], 27, "n", name) + "</g>\n";
    }
    return names;
  }

  std::string Whole() {
    DrawBars(y_ - kAfterLast);
    const std::string size = Number(width_) + " " + Number(y_);
    std::string svg =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"dtm-diagram\" role=\"img\" width=\"" +
        Number(width_) + "\" height=\"" + Number(y_) + "\" viewBox=\"0 0 " + size + "\">\n<title>" +
        EscapedXml(diagram_.title) + "</title>" + kSvgStyle + "\n" + gone_ + Lines() + bars_ +
        "\n" + Names();
    if (in_ms_) svg += Text(columns_.front() - 56, 27, "t", "ms");
    return svg + body_ + "</svg>\n";
  }

  struct Active {
    int calls = 0;
    int since = 0;
  };

  const Diagram& diagram_;
  std::vector<int> columns_;  // of the lifelines
  std::vector<Active> active_;
  std::vector<Stretch> stretches_;
  std::string body_, bars_, gone_;
  int width_ = 0;
  int y_ = kHead - 10;
  int gone_since_ = 0;
  bool in_ms_ = true;  // everything took less than a minute
  bool alive_ = true;  // lifelines are drawn
};

}  // namespace drawing
}  // namespace v1
}  // namespace dtm
