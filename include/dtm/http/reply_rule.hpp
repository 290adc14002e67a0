/// Rule A: what the HTTP answer of a branch means.
/// Needs: std. Threads: pure functions. Protocol: §1, Rule A.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

#include <dtm/core/limits.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/text.hpp>

namespace dtm {
inline namespace v1 {

/// What a stranger sent, as text that can be stored and shown: at most kMaxReasonBytes of valid
/// UTF-8, cut between characters; other bytes and control characters (but for tab and line feed)
/// become '?'.
inline std::string StorableText(const std::string& bytes) {
  std::string text;
  text.reserve((std::min)(bytes.size(), kMaxReasonBytes));
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = Utf8Length(bytes, at);
    if (text.size() + (length == 0 ? 1 : length) > kMaxReasonBytes) break;
    const char c = bytes[at];
    const bool control = length == 1 && ((c >= 0 && c < ' ' && c != '\t' && c != '\n') || c == 127);
    if (length == 0 || control) {
      text += '?';
      ++at;
    } else {
      text.append(bytes, at, length);
      at += length;
    }
  }
  return text;
}

/// The words in the body count whatever the status is, and ONGOING counts before FAILURE; 201, 204
/// and redirects are temporary errors. The text of the result is the body, or the status if that
/// is empty.
inline Result ReadReply(int status, const std::string& body) {
  const std::string code = "HTTP status " + std::to_string(status);
  const auto text = [&] { return StorableText(body.empty() ? code : body); };
  if (status == 425 || body.find("ONGOING") != std::string::npos) return Result::Ongoing(text());
  if (status == 409 || body.find("FAILURE") != std::string::npos) return Result::Failure(text());
  if (status == 200) return Result::Success();
  return Result::Error(StorableText(body.empty() ? code : code + ": " + body));
}

}  // namespace v1
}  // namespace dtm
