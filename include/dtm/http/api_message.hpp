/// A request to the API and its answer, without any socket.
/// Needs: nlohmann/json. Threads: values only. Document: docs/http_api.md, "Rules for every request".
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include <dtm/core/text.hpp>
#include <dtm/http/json_input.hpp>
#include <dtm/http/wire.hpp>
#include <dtm/http/wire_query.hpp>

namespace dtm {
inline namespace v1 {

struct ApiRequest {
  std::string method;
  std::string path;                               ///< decoded, without the query
  std::multimap<std::string, std::string> query;  ///< decoded
  std::string body;

  std::string Query(const char* key) const {
    const auto found = query.find(key);
    return found == query.end() ? std::string() : found->second;
  }
};

struct ApiAnswer {
  int status = 200;
  std::string body;
  const char* type = "application/json; charset=utf-8";
  int retry_after = 0;  ///< seconds after which the same may work; 0 = not said
};

namespace answers {

inline ApiAnswer Error(int status, const std::string& message) {
  return {status, wire::JsonText({{wire::kMessage, message}})};
}

inline ApiAnswer NotFound() { return {404, "404 page not found", "text/plain"}; }
inline ApiAnswer Success() { return {200, R"({"dtm_result":"SUCCESS"})"}; }
inline ApiAnswer Failure(const std::string& message) {
  return {409, wire::JsonText({{wire::kDtmResult, wire::kFailure}, {wire::kMessage, message}})};
}
/// The same "no", with a field that says that it was not rolled back: nothing was changed.
inline ApiAnswer Rejected(const std::string& message) {
  return {409, wire::JsonText({{wire::kDtmResult, wire::kFailure},
                               {wire::kMessage, message},
                               {wire::kRejected, true}})};
}
inline ApiAnswer Ongoing(const std::string& message) {
  return {425, wire::JsonText({{wire::kDtmResult, wire::kOngoing}, {wire::kMessage, message}})};
}
inline ApiAnswer TryLater(const std::string& message) {
  ApiAnswer answer = Error(503, message);
  answer.retry_after = 1;
  return answer;
}

}  // namespace answers

/// An optional sign and digits, as the reference reads them.
inline std::int64_t QueryInteger(const ApiRequest& request, const char* key, std::int64_t otherwise,
                                 std::int64_t smallest, std::int64_t largest) {
  const std::string text = request.Query(key);
  if (text.empty()) return otherwise;
  const std::size_t sign = text[0] == '-' || text[0] == '+' ? 1 : 0;
  const bool digits = text.size() > sign && text.size() - sign <= 18 &&
                      text.find_first_not_of("0123456789", sign) == std::string::npos;
  if (!digits) throw BadInput("convert to int error: " + Printable(Truncated(text, 100)));
  const std::int64_t value = std::stoll(text);
  if (value < smallest || value > largest) {
    throw BadInput(std::string(key) + " is " + text + "; it must be " + std::to_string(smallest) +
                   " to " + std::to_string(largest));
  }
  return value;
}

}  // namespace v1
}  // namespace dtm
