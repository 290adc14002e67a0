/// Is a text XML as our drawings are: tags with attributes, text and entities, and nothing else?
/// Needs: std. Threads: pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace story_kit {

/// The value of an attribute, or a text, up to `end`.
inline bool IsEscaped(const std::string& text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '<' || byte == '>' || (byte < ' ' && byte != '\n') || byte == 0x7F) return false;
    if (byte != '&') continue;
    bool known = false;
    for (const char* entity : {"&amp;", "&lt;", "&gt;", "&quot;"}) {
      known = known || text.compare(i, std::string(entity).size(), entity) == 0;
    }
    if (!known) return false;
  }
  return true;
}

/// `name a="b" c="d"`: the name, or empty if it is something else.
inline std::string NameOfTag(const std::string& tag) {
  const std::size_t blank = tag.find(' ');
  const std::string name = tag.substr(0, blank);
  if (name.empty() || name.find_first_not_of("abcdefghijklmnopqrstuvwxyz") != std::string::npos)
    return {};
  for (std::size_t at = blank; at != std::string::npos && at < tag.size();) {
    const std::size_t open = tag.find("=\"", at);
    const std::size_t close = open == std::string::npos ? open : tag.find('"', open + 2);
    if (tag[at] != ' ' || close == std::string::npos) return {};
    const std::string key = tag.substr(at + 1, open - at - 1);
    if (key.empty() || key.find_first_of(" \"'<>&=") != std::string::npos) return {};
    if (!IsEscaped(tag.substr(open + 2, close - open - 2))) return {};
    at = close + 1;
  }
  return name;
}

/// What is wrong, or empty.
inline std::string XmlProblem(const std::string& xml) {
  std::vector<std::string> open;
  bool any = false;
  for (std::size_t at = 0; at < xml.size();) {
    const std::size_t begin = xml.find('<', at);
    const std::string text = xml.substr(at, begin - at);
    if (!IsEscaped(text)) return "not escaped: " + text;
    if (open.empty() && text.find_first_not_of('\n') != std::string::npos)
      return "outside: " + text;
    if (begin == std::string::npos) break;
    const std::size_t end = xml.find('>', begin);
    if (end == std::string::npos) return "a tag without an end";
    std::string tag = xml.substr(begin + 1, end - begin - 1);
    at = end + 1;
    if (tag.empty()) return "an empty tag";
    if (tag.front() == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return "does not fit: " + tag;
      open.pop_back();
      continue;
    }
    const bool closed = tag.back() == '/';
    if (closed) tag.pop_back();
    if (NameOfTag(tag).empty()) return "not a tag: " + tag;
    if (open.empty() && any) return "a second document";
    any = true;
    if (!closed) open.push_back(NameOfTag(tag));
  }
  if (!open.empty()) return "not closed: " + open.back();
  return any ? "" : "nothing";
}

}  // namespace story_kit
