/// The reply of a branch over HTTP: Rule A from the side of the branch.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §1 (rule A), §11 (helper for branch
/// services).
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

#include <dtm/core/limits.hpp>
#include <dtm/core/result.hpp>
#include <dtm/http/api/replies.hpp>
#include <dtm/http/wire/json_text.hpp>
#include <dtm/http/wire/names.hpp>

namespace dtm {
inline namespace v1 {
namespace replies {

/// JSON in which the words of Rule A are escaped: a reader that searches the body does not find them, a
/// reader that parses it gets the original text.
inline void Hide(const std::string& word, std::string& json) {
  static constexpr char kHex[] = "0123456789abcdef";
  const auto first = static_cast<unsigned char>(word[0]);
  const std::string escaped = std::string("\\u00") + kHex[first >> 4] + kHex[first & 15];
  for (std::size_t at = json.find(word); at != std::string::npos; at = json.find(word, at)) {
    json.replace(at, 1, escaped);
  }
}

/// The caller gets exactly the meaning of the status, whatever names and texts the body contains.
inline void HideWords(ApiReply& reply) {
  if (reply.status == 200 || reply.status == 425) return;
  Hide(wire::kOngoing, reply.body);
  if (reply.status != 409) Hide(wire::kFailure, reply.body);
}

/// Success 200, Failure 409, Ongoing 425, else 500 `{"error":"..."}`; 503 if it asks to wait.
inline ApiReply OfBranch(const Result& result) {
  ApiReply reply;
  switch (result.kind) {
    case Result::Kind::kSuccess: return Of({});
    case Result::Kind::kOngoing: reply = Of({425, result.text}); break;
    case Result::Kind::kFailure: reply = Of({409, result.text}); break;
    case Result::Kind::kError:
    case Result::Kind::kNotSent:
      reply.status = result.retry_after.count() > 0 ? 503 : 500;
      reply.body = wire::JsonText({{wire::kError, result.text}});
      break;
  }
  if (result.kind != Result::Kind::kFailure) {
    const Duration wait = (std::min)(result.retry_after, Duration(kMaxRetryAfter));
    reply.retry_after = static_cast<int>((wait.count() + 999999) / 1000000);
  }
  HideWords(reply);
  return reply;
}

}  // namespace replies
}  // namespace v1
}  // namespace dtm
