/// The pieces of an SVG drawing, and how they look.
/// Needs: std. Threads: pure functions. Source: SVG 2, XML 1.0 §2.4.
#pragma once

#include <cstddef>
#include <string>

#include <dtm/timeline/drawing/diagram.hpp>
#include <dtm/timeline/drawing/shown_text.hpp>

namespace dtm {
inline namespace v1 {
namespace drawing {

inline std::string EscapedXml(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&': escaped += "&amp;"; break;
      case '<': escaped += "&lt;"; break;
      case '>': escaped += "&gt;"; break;
      case '"': escaped += "&quot;"; break;
      default: escaped += c;
    }
  }
  return escaped;
}

/// Colours are named once for light and once for dark; everything is below .dtm-diagram, so that nothing else on a page that
/// has the drawing inside of it changes.
inline constexpr const char kSvgStyle[] =
    "<style>.dtm-diagram{--bg:#fff;--ink:#1c2430;--quiet:#667080;--line:#c5cdd6;--box:#f2f5f8;--"
    "call:#2459b8;"
    "--good:#17763a;--bad:#c1272d;--warn:#945400;--gone:#c1272d14;--c:var(--call);max-width:100%;"
    "height:auto;"
    "background:var(--bg);font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,'Noto "
    "Sans','DejaVu Sans',sans-serif}"
    "@media(prefers-color-scheme:dark){.dtm-diagram{--bg:#14181e;--ink:#e6ebf1;--quiet:#919cab;--"
    "line:#414b58;"
    "--box:#1f262f;--call:#7db1ff;--good:#56cc90;--bad:#ff8585;--warn:#e6b450;--gone:#ff858522}}"
    ".dtm-diagram "
    "text{fill:var(--ink);paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:"
    "round}"
    ".dtm-diagram "
    ".t{fill:var(--quiet);font-size:11px;font-variant-numeric:tabular-nums;text-anchor:end}"
    ".dtm-diagram .n{font-weight:600;text-anchor:middle;stroke:none}.dtm-diagram "
    ".x{text-anchor:end}"
    ".dtm-diagram .m{text-anchor:middle}.dtm-diagram .i{stroke:none}"
    ".dtm-diagram .l{stroke:var(--line);fill:none}.dtm-diagram .d{stroke-dasharray:2 4}"
    ".dtm-diagram .k{fill:var(--box);stroke:var(--line)}.dtm-diagram "
    ".a{fill:var(--box);stroke:var(--line)}"
    ".dtm-diagram .v{fill:var(--gone)}.dtm-diagram .s{stroke:var(--c);stroke-width:1.4;fill:none}"
    ".dtm-diagram .r{stroke-dasharray:5 3}.dtm-diagram .o{stroke-dasharray:2 4}.dtm-diagram "
    ".h{fill:var(--c)}"
    ".dtm-diagram .f{fill:var(--box);stroke:var(--c)}"
    ".dtm-diagram .g{--c:var(--good)}.dtm-diagram .b{--c:var(--bad)}.dtm-diagram "
    ".w{--c:var(--warn)}"
    ".dtm-diagram .q{--c:var(--quiet)}.dtm-diagram .g .e,.dtm-diagram .b .e,.dtm-diagram .w "
    ".e,.dtm-diagram .q .e"
    "{fill:var(--c)}.dtm-diagram .q .e{font-style:italic}</style>";

/// The width of a character, as wide as most fonts have it.
inline constexpr double kSvgColumn = 7.2;

inline std::string Number(int number) { return std::to_string(number); }
inline int WidthOf(const std::string& text) {
  return static_cast<int>(static_cast<double>(ColumnsOf(text)) * kSvgColumn) + 1;
}
inline std::size_t ColumnsIn(int width) {
  return width <= 0 ? 0 : static_cast<std::size_t>(static_cast<double>(width) / kSvgColumn);
}
inline std::string Text(int x, int y, const char* kind, const std::string& text) {
  return "<text x=\"" + Number(x) + "\" y=\"" + Number(y) + "\" class=\"" + kind + "\">" +
         EscapedXml(text) + "</text>";
}
inline std::string Path(const char* kind, const std::string& path) {
  return std::string("<path class=\"") + kind + "\" d=\"" + path + "\"/>";
}
inline std::string Box(const char* kind, int x, int y, int width, int height, int round) {
  return std::string("<rect class=\"") + kind + "\" x=\"" + Number(x) + "\" y=\"" + Number(y) +
         "\" width=\"" + Number(width) + "\" height=\"" + Number(height) + "\" rx=\"" +
         Number(round) + "\"/>";
}
inline const char* KindOf(Tone tone) {
  switch (tone) {
    case Tone::kPlain: return "p";
    case Tone::kGood: return "g";
    case Tone::kWarning: return "w";
    case Tone::kBad: return "b";
    case Tone::kQuiet: return "q";
  }
  return "p";
}

}  // namespace drawing
}  // namespace v1
}  // namespace dtm
