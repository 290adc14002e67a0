/// Rule A: the result that the HTTP reply of a branch stands for.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §1, Rule A.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

#include <nlohmann/json.hpp>

#include <dtm/base/text.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/result.hpp>
#include <dtm/http/wire/json_input.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

/// Text from outside, made safe to store and show: at most kMaxReasonBytes of valid UTF-8, cut between
/// characters; other bytes and control characters (except tab and line feed) become '?'.
inline std::string StorableText(const std::string& bytes) {
  return Replaced(bytes, kMaxReasonBytes, [&bytes](std::size_t at, std::size_t length) {
    const unsigned char first = static_cast<unsigned char>(bytes[at]);
    const bool control = (first < 0x20 && first != '\t' && first != '\n') || first == 0x7F;
    return length == 0 || control ? '?' : '\0';
  });
}

/// The reason that a branch gives with a FAILURE: the `message` or `error` of a JSON object, otherwise the whole body.
inline std::string OwnWords(const std::string& body) {
  const nlohmann::json json =
      !body.empty() && body.front() == '{' ? json_input::Parse(body) : nlohmann::json();
  for (const char* key : {"message", "error"}) {
    const auto told = json.is_object() ? json.find(key) : json.end();
    if (told == json.end()) continue;
    if (told->is_object())
      return OwnWords(told->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    if (told->is_string() && !told->get_ref<const std::string&>().empty()) {
      return StorableText(told->get_ref<const std::string&>());
    }
  }
  return StorableText(body);
}

/// The words in the body count whatever the status is, and ONGOING counts before FAILURE; 201, 204
/// and redirects are temporary errors. The text of the result is the body (for a failure, its reason),
/// or the status if that is empty.
inline Result ReadReply(int status, const std::string& body) {
  const std::string code = "HTTP status " + std::to_string(status);
  const auto text = [&] { return StorableText(body.empty() ? code : body); };
  if (status == 425 || body.find("ONGOING") != std::string::npos) return Result::Ongoing(text());
  if (status == 409 || body.find("FAILURE") != std::string::npos) {
    return Result::Failure(body.empty() ? code : OwnWords(body));
  }
  if (status == 200) return Result::Success();
  return Result::Error(StorableText(body.empty() ? code : code + ": " + body));
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm
