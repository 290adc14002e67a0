/// What a branch answers over HTTP: rule A from the side of the branch.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §1 (rule A), §11 (helper for branch
/// services).
#pragma once

#include <cstddef>
#include <string>

#include <dtm/core/result.hpp>
#include <dtm/http/api_message.hpp>
#include <dtm/http/wire.hpp>

namespace dtm {
inline namespace v1 {
namespace answers {

/// JSON in which a word of rule A that its texts happen to contain does not stand as it is: who
/// looks for it in the body does not find it, who parses the body does.
inline void Hide(const std::string& word, std::string& json) {
  static constexpr char kHex[] = "0123456789abcdef";
  const auto first = static_cast<unsigned char>(word[0]);
  const std::string escaped = std::string("\\u00") + kHex[first >> 4] + kHex[first & 15];
  for (std::size_t at = json.find(word); at != std::string::npos; at = json.find(word, at)) {
    json.replace(at, 1, escaped);
  }
}

/// Success 200, Failure 409, Ongoing 425, else 500 `{"error":"..."}`. The caller understands just
/// that, whatever the text is.
inline ApiAnswer OfBranch(const Result& result) {
  switch (result.kind) {
    case Result::Kind::kSuccess: return Success();
    case Result::Kind::kOngoing: return Ongoing(result.text);
    case Result::Kind::kFailure: {
      ApiAnswer answer = Failure(result.text);
      Hide(wire::kOngoing, answer.body);
      return answer;
    }
    case Result::Kind::kError:
    case Result::Kind::kNotSent: break;
  }
  ApiAnswer answer{500, wire::JsonText({{wire::kError, result.text}})};
  Hide(wire::kOngoing, answer.body);
  Hide(wire::kFailure, answer.body);
  return answer;
}

}  // namespace answers
}  // namespace v1
}  // namespace dtm
