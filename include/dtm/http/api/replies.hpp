/// A request to the API and its reply, without sockets; and the HTTP status of each outcome.
/// Needs: nlohmann/json. Threads: values only. Document: docs/http_api.md, "Rules for every request".
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/coordinator/outcome.hpp>
#include <dtm/http/http1/request_reply.hpp>
#include <dtm/http/wire/json_input.hpp>
#include <dtm/http/wire/json_text.hpp>
#include <dtm/http/wire/names.hpp>

namespace dtm {
inline namespace v1 {

struct ApiRequest {
  std::string method;
  std::string path;                               ///< decoded, without the query
  std::multimap<std::string, std::string> query;  ///< decoded
  std::string body;
  std::vector<http1::HttpHeader> headers{};  ///< for head.hpp, as this:
  std::string host{};                        ///< for whom it is

  std::string Query(const char* key) const {
    const auto found = query.find(key);
    return found == query.end() ? std::string() : found->second;
  }
};

struct ApiReply {
  int status = 200;
  std::string body;
  const char* type = "application/json; charset=utf-8";
  int retry_after = 0;  ///< seconds after which the same request may work; 0 = no header
  bool close = false;   ///< the connection is closed, the body of the request was not read
  const char* challenge = nullptr;           ///< WWW-Authenticate
  std::vector<http1::HttpHeader> headers{};  ///< further ones
};

/// A file that is served beside the API, to everybody who reaches the server: it holds no data.
struct ApiPage {
  std::string_view path;
  const char* type;       ///< Content-Type
  std::string_view text;  ///< it lives as long as the program
  std::vector<http1::HttpHeader> headers{};
};

/// Gets the reply, once. It must neither throw nor wait: it may be called on the coordinator's thread.
using ApiDone = std::function<void(ApiReply)>;

/// An outcome in HTTP. JSON-RPC writes the same in its own form.
struct ApiOutcome {
  int status = 200;       ///< of HTTP
  std::string message{};  ///< unless it is 200
  bool rejected = false;  ///< of a 409: nothing was changed, so it was not rolled back
};

inline ApiOutcome InHttp(Outcome&& outcome) {
  using Kind = Outcome::Kind;
  const auto status = [](Kind kind) {
    switch (kind) {
      case Kind::kDone: return 200;
      case Kind::kBadInput: return 400;
      case Kind::kRejected:
      case Kind::kRolledBack: return 409;
      case Kind::kOngoing: return 425;
      case Kind::kUnavailable: return 503;
      case Kind::kUnknown: break;
    }
    return 500;
  };
  const bool rejected = outcome.kind == Kind::kRejected;
  return {status(outcome.kind), std::move(outcome.message), rejected};
}

namespace replies {

inline ApiReply NotFound() { return {404, "404 page not found", "text/plain"}; }

inline ApiReply OfPage(const ApiPage& page) {
  ApiReply reply{200, std::string(page.text), page.type};
  reply.headers = page.headers;
  return reply;
}

inline ApiReply Of(const ApiOutcome& outcome) {
  if (outcome.status == 200) return {200, R"({"dtm_result":"SUCCESS"})"};
  nlohmann::ordered_json json;
  if (outcome.status == 409) json[wire::kDtmResult] = wire::kFailure;
  if (outcome.status == 425) json[wire::kDtmResult] = wire::kOngoing;
  json[wire::kMessage] = outcome.message;
  if (outcome.rejected) json[wire::kRejected] = true;
  ApiReply reply{outcome.status, wire::JsonText(json)};
  if (outcome.status == 503) reply.retry_after = 1;
  return reply;
}

}  // namespace replies

/// An optional sign and digits, as the reference reads them.
inline std::int64_t QueryInteger(const ApiRequest& request, const char* key, std::int64_t otherwise,
                                 std::int64_t smallest, std::int64_t largest) {
  const std::string text = request.Query(key);
  if (text.empty()) return otherwise;
  const std::size_t sign = text[0] == '-' || text[0] == '+' ? 1 : 0;
  const bool digits = text.size() > sign && text.size() - sign <= 18 &&
                      text.find_first_not_of("0123456789", sign) == std::string::npos;
  if (!digits) throw BadInput("convert to int error: " + Printable(Truncated(text, 100)));
  const std::int64_t value =
      ParseNumber<std::int64_t>(std::string_view(text).substr(text[0] == '+' ? 1 : 0))
          .value_or(0);  // 18 digits always fit
  if (value < smallest || value > largest) {
    throw BadInput(std::string(key) + " is " + text + "; it must be " + std::to_string(smallest) +
                   " to " + std::to_string(largest));
  }
  return value;
}

}  // namespace v1
}  // namespace dtm
