/// The drawing of a transaction from its story.
/// Needs: std. Threads: a pure function.
#pragma once

#include <cstddef>
#include <string>

#include <dtm/timeline/drawing/diagram.hpp>
#include <dtm/timeline/drawing/mermaid_diagram.hpp>
#include <dtm/timeline/drawing/svg_diagram.hpp>
#include <dtm/timeline/drawing/text_diagram.hpp>
#include <dtm/timeline/make_diagram.hpp>
#include <dtm/timeline/timeline.hpp>

namespace dtm {
inline namespace v1 {

/// What Draw makes.
enum class DrawFormat {
  kText,  ///< lines of UTF-8 for a terminal
  kSvg,  ///< one file that needs nothing else: no script, no font; for light and dark pages. At most 200 kB
  kMermaid  ///< a sequenceDiagram of Mermaid
};

/// How a terminal shows it.
struct DrawOptions {
  bool colour = false;  ///< kText: with escape codes of terminals
  std::size_t width =
      96;  ///< kText: the columns of a line; less than 40 is 40, more than 1000 1000
};

/// Draws a diagram that a program has made, or changed (the names of its lifelines, for example).
inline std::string Draw(const Diagram& diagram, DrawFormat format,
                        const DrawOptions& options = {}) {
  switch (format) {
    case DrawFormat::kText:
      return drawing::TextDiagram::Draw(diagram, options.width, options.colour);
    case DrawFormat::kSvg: return drawing::SvgDiagram::Draw(diagram);
    case DrawFormat::kMermaid: return drawing::MermaidDiagram::Draw(diagram);
  }
  return {};
}

/// Draws a transaction: who called whom, when, and what came of it; from the top to the bottom. Texts of others
/// (gids, URLs, errors) are shown in one line, without control characters and without the passwords of URLs.
inline std::string Draw(const Timeline& story, DrawFormat format, const DrawOptions& options = {}) {
  return Draw(MakeDiagram(story), format, options);
}

}  // namespace v1
}  // namespace dtm
