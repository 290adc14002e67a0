/// Writes a diagram as a sequence diagram of Mermaid, for documents and tickets that draw it.
/// Needs: std. Threads: a pure function. Source: mermaid.js.org/syntax/sequenceDiagram, mermaid 11.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <dtm/timeline/drawing/diagram.hpp>
#include <dtm/timeline/drawing/shown_text.hpp>
#include <dtm/timeline/drawing/spans.hpp>

namespace dtm {
inline namespace v1 {
namespace drawing {

/// As #number; what could mean something to Mermaid or HTML.
inline std::string EscapedMermaid(const std::string& text) {
  constexpr std::string_view kPlain = " ._/,()-";
  std::string escaped;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    // Mermaid takes a "style" with a colon and more behind it for CSS, and drops a semicolon there.
    const bool colon = c == ':' && i + 1 < text.size() && text[i + 1] == ' ';
    if (letter || colon || byte >= 0x80 || kPlain.find(c) != std::string_view::npos) {
      escaped += c;
    } else {
      escaped += '#' + std::to_string(byte) + ';';
    }
  }
  return escaped;
}

class MermaidDiagram {
 public:
  static std::string Draw(const Diagram& diagram) {
    MermaidDiagram drawing(diagram);
    for (const DiagramEvent& event : diagram.events) drawing.Event(event);
    return "sequenceDiagram\n    title " + EscapedMermaid(diagram.title) + "\n" +
           drawing.Participants() + drawing.text_;
  }

 private:
  static constexpr std::size_t kColumns = 56;  // of a line of text
  static constexpr std::size_t kMaxLines = 4;

  explicit MermaidDiagram(const Diagram& diagram) : diagram_(diagram) {}

  static std::string Id(std::size_t lifeline) { return "p" + std::to_string(lifeline); }

  std::string Participants() const {
    std::string text;
    for (std::size_t i = 0; i < diagram_.lifelines.size(); ++i) {
      text +=
          "    participant " + Id(i) + " as " + EscapedMermaid(diagram_.lifelines[i].name) + "\n";
    }
    return text;
  }

  void Event(const DiagramEvent& event) {
    const bool loop = event.from == event.to;
    switch (event.kind) {
      case DiagramEvent::Kind::kCall: return loop ? Note(event) : Arrow(event, "->>");
      case DiagramEvent::Kind::kReply: return loop ? Note(event) : Arrow(event, "-->>");
      case DiagramEvent::Kind::kLost: return loop ? Note(event) : Arrow(event, "--x");
      case DiagramEvent::Kind::kNote:
      case DiagramEvent::Kind::kSpan: return Note(event);
      case DiagramEvent::Kind::kEnd:
      case DiagramEvent::Kind::kBegin: return Across(event);
    }
  }

  void Arrow(const DiagramEvent& event, const char* arrow) {
    Add(Id(event.from) + arrow + Id(event.to), event);
  }
  void Note(const DiagramEvent& event) { Add("Note right of " + Id(event.from), event); }
  void Across(const DiagramEvent& event) {
    const std::string last =
        diagram_.lifelines.size() > 1 ? "," + Id(diagram_.lifelines.size() - 1) : "";
    Add("Note over " + Id(0) + last, event);
  }

  /// The text in lines, which Mermaid would not break.
  void Add(const std::string& what, const DiagramEvent& event) {
    std::string words = InWords(event);
    if (event.at) words = SpanInWords(*event.at) + " · " + words;
    std::string text;
    for (const std::string& line : Wrapped(words, kColumns, kMaxLines)) {
      text += (text.empty() ? "" : "<br/>") + EscapedMermaid(line);
    }
    text_ += "    " + what + ": " + text + "\n";
  }

  const Diagram& diagram_;
  std::string text_;
};

}  // namespace drawing
}  // namespace v1
}  // namespace dtm
