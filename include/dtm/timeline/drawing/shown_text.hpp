/// Text of others in a drawing: what of it may be shown, and how wide it is where every character takes a cell.
/// Needs: std. Threads: pure functions. Source: Unicode 15 (UAX #9, #11), RFC 3629, XML 1.0 §2.2.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/text.hpp>

namespace dtm {
inline namespace v1 {
namespace drawing {

struct CodeRange {
  char32_t first;
  char32_t last;
};

/// The ranges are sorted.
template <std::size_t kSize>
bool IsIn(const std::array<CodeRange, kSize>& ranges, char32_t code) {
  if (code < ranges.front().first) return false;
  return std::any_of(ranges.begin(), ranges.end(), [code](const CodeRange& range) {
    return code >= range.first && code <= range.last;
  });
}

/// Controls, what is invisible, what turns the direction of the text, and what XML does not allow.
inline constexpr std::array<CodeRange, 15> kNotShown{{{0, 0x1F},
                                                      {0x7F, 0x9F},
                                                      {0xAD, 0xAD},
                                                      {0x61C, 0x61C},
                                                      {0x115F, 0x1160},
                                                      {0x180B, 0x180F},
                                                      {0x200B, 0x200F},
                                                      {0x2028, 0x202E},
                                                      {0x2060, 0x206F},
                                                      {0x3164, 0x3164},
                                                      {0xFE00, 0xFE0F},
                                                      {0xFEFF, 0xFEFF},
                                                      {0xFFF0, 0xFFFB},
                                                      {0xFFFE, 0xFFFF},
                                                      {0xE0000, 0x10FFFF}}};
/// They are drawn on the character before them.
inline constexpr std::array<CodeRange, 5> kCombining{
    {{0x300, 0x36F}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x20D0, 0x20FF}, {0xFE20, 0xFE2F}}};
/// They take two cells.
inline constexpr std::array<CodeRange, 11> kWide{{{0x1100, 0x115E},
                                                  {0x2E80, 0x303E},
                                                  {0x3041, 0xA4CF},
                                                  {0xA960, 0xA97F},
                                                  {0xAC00, 0xD7A3},
                                                  {0xF900, 0xFAFF},
                                                  {0xFE30, 0xFE6F},
                                                  {0xFF00, 0xFF60},
                                                  {0xFFE0, 0xFFE6},
                                                  {0x1F300, 0x1FAFF},
                                                  {0x20000, 0x3FFFD}}};

/// Of valid UTF-8 of that length.
inline char32_t CodePoint(const std::string& text, std::size_t at, std::size_t length) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  if (length == 1) return byte(0);
  char32_t code = byte(0) & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) code = code << 6 | (byte(i) & 0x3Fu);
  return code;
}

/// The text in one line, with a question mark for all that must not be shown.
inline std::string Shown(const std::string& text) {
  std::string shown;
  shown.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = Utf8Length(text, at);
    const auto first = static_cast<unsigned char>(text[at]);
    if (first >= ' ' && first < 0x7F) {
      shown += text[at];
    } else if (text[at] == '\n' || text[at] == '\t') {
      shown += ' ';
    } else if (length == 0 || IsIn(kNotShown, CodePoint(text, at, length))) {
      shown += '?';
    } else {
      shown.append(text, at, length);
    }
    at += (std::max)(length, std::size_t{1});
  }
  return shown;
}

/// A character, and the combining ones on it.
struct Glyph {
  std::string bytes;
  std::size_t columns = 1;
};

/// Of a text that may be shown.
inline std::vector<Glyph> Glyphs(const std::string& text) {
  std::vector<Glyph> glyphs;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = (std::max)(Utf8Length(text, at), std::size_t{1});
    const char32_t code = CodePoint(text, at, length);
    if (IsIn(kCombining, code) && !glyphs.empty()) {
      glyphs.back().bytes.append(text, at, length);
    } else {
      glyphs.push_back({text.substr(at, length), IsIn(kWide, code) ? std::size_t{2} : 1});
    }
    at += length;
  }
  return glyphs;
}

inline std::size_t ColumnsOf(const std::string& text) {
  std::size_t columns = 0;
  for (const Glyph& glyph : Glyphs(text)) columns += glyph.columns;
  return columns;
}

/// As much of the text as fits; if that is not all, with "…" at its end.
inline std::string Fitted(const std::string& text, std::size_t columns) {
  if (ColumnsOf(text) <= columns) return text;
  std::string fitted;
  std::size_t used = 1;  // the dots
  for (const Glyph& glyph : Glyphs(text)) {
    if (used + glyph.columns > columns) break;
    used += glyph.columns;
    fitted += glyph.bytes;
  }
  while (!fitted.empty() && fitted.back() == ' ') fitted.pop_back();
  return columns == 0 ? std::string() : fitted + "…";
}

/// The text in lines, broken at spaces where there are some; what does not fit into `lines` is cut off.
inline std::vector<std::string> Wrapped(const std::string& text, std::size_t columns,
                                        std::size_t lines) {
  std::vector<std::string> wrapped;
  std::string rest = text;
  while (!rest.empty() && wrapped.size() + 1 < lines && ColumnsOf(rest) > columns) {
    std::size_t end = 0, used = 0, space = 0;
    for (const Glyph& glyph : Glyphs(rest)) {
      if (glyph.bytes == " ") space = end;
      if (used + glyph.columns > columns) break;
      used += glyph.columns;
      end += glyph.bytes.size();
    }
    if (space > 0) end = space;
    if (end == 0) break;  // not even one character fits
    wrapped.push_back(rest.substr(0, end));
    rest.erase(0, (std::min)(rest.find_first_not_of(' ', end), rest.size()));
  }
  if (!rest.empty()) wrapped.push_back(Fitted(rest, columns));
  return wrapped;
}

}  // namespace drawing
}  // namespace v1
}  // namespace dtm
