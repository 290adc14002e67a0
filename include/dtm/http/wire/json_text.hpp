/// JSON as text, as the Go server writes it.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

/// `<`, `>` and `&` are escaped, so the text can be shown in a web page.
inline std::string JsonText(const nlohmann::ordered_json& json) {
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '<': safe += "\\u003c"; break;
      case '>': safe += "\\u003e"; break;
      case '&': safe += "\\u0026"; break;
      default: safe += c;
    }
  }
  return safe;
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm
