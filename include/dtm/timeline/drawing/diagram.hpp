/// A sequence diagram as a value: who takes part, and what happens between them, from top to bottom. It says nothing of
/// how it is drawn, and whoever draws it need not know what it tells of.
/// Needs: std. Threads: values only.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <dtm/base/time.hpp>

namespace dtm {
inline namespace v1 {

/// What an event means, for its colour.
enum class Tone {
  kPlain,
  kGood,     ///< something was done
  kWarning,  ///< it has to be tried again
  kBad,      ///< it was refused, or nothing goes on
  kQuiet     ///< about the drawing, or the time that passes
};

/// One line of a diagram.
struct DiagramEvent {
  /// What is drawn.
  enum class Kind {
    kCall,   ///< an arrow from `from` to `to`
    kReply,  ///< the same, of an answer
    kLost,   ///< a call to which no answer came
    kNote,   ///< a remark beside `from`
    kEnd,    ///< all lifelines end
    kBegin,  ///< and begin again
    kSpan    ///< time passes, or more happened than is drawn
  };
  Kind kind = Kind::kNote;
  std::optional<Duration> at{};  ///< since the first event; nothing: not known
  std::size_t from = 0;          ///< a lifeline
  std::size_t to = 0;
  std::string text{};  ///< a few words
  std::string more{};  ///< what was said: after the text, as far as there is room
  Tone tone = Tone::kPlain;
};

inline bool IsArrow(DiagramEvent::Kind kind) {
  return kind == DiagramEvent::Kind::kCall || kind == DiagramEvent::Kind::kReply ||
         kind == DiagramEvent::Kind::kLost;
}

/// All that the event says.
inline std::string InWords(const DiagramEvent& event) {
  return event.more.empty() ? event.text : event.text + ": " + event.more;
}

/// Who takes part: a column of the diagram.
struct Lifeline {
  std::string name;    ///< short
  std::string more{};  ///< who that is, if the name does not say all
};

/// All texts are fit to be shown, see shown_text.hpp. Every `from` and `to` is a lifeline.
struct Diagram {
  std::string title{};
  std::vector<Lifeline> lifelines{};  ///< from left to right; at least one
  std::vector<DiagramEvent> events{};
};

}  // namespace v1
}  // namespace dtm
