/// Decisions on the head of a request to the API, before its body is read.
/// Needs: std. Threads: pure functions. Protocol: RFC 9112 §3.2.2, §6; document: docs/http_api.md, "Security".
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <dtm/base/text.hpp>
#include <dtm/http/api/access.hpp>
#include <dtm/http/api/replies.hpp>
#include <dtm/http/http1/framing.hpp>
#include <dtm/http/http1/request_reply.hpp>

namespace dtm {
inline namespace v1 {
namespace api_head {

inline constexpr std::size_t kMaxBodyBytes = 1024 * 1024;

/// A reply after which the connection is closed, since the body was not read.
inline ApiReply Refusal(int status, const std::string& why) {
  ApiReply reply = replies::Of({status, why});
  reply.close = true;
  return reply;
}
inline ApiReply TooLong() {
  return Refusal(
      413, "the body is longer than the limit of " + std::to_string(kMaxBodyBytes) + " bytes");
}

inline bool MayHaveBody(const std::string& method) {
  return method == "POST" || method == "PUT" || method == "PATCH";
}

inline std::size_t CountHeaders(const ApiRequest& request, std::string_view lower) {
  std::size_t count = 0;
  for (const auto& header : request.headers) {
    if (http1::EqualsLower(header.name, lower)) ++count;
  }
  return count;
}

/// The values of all headers of this name, as one list.
inline std::string JoinedHeader(const ApiRequest& request, std::string_view lower) {
  std::string joined;
  for (const auto& header : request.headers) {
    if (!http1::EqualsLower(header.name, lower)) continue;
    if (!joined.empty()) joined += ",";
    joined += header.value;
  }
  return joined;
}

/// Call it once path and headers are set. A target in the absolute form ("GET http://host/api/ping") names the host
/// itself; the Host header does not count then.
inline void TakeHost(ApiRequest& request) {
  std::string& path = request.path;
  request.host = http1::FindHeader(request.headers, "host");
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (Lowered(std::string_view(path).substr(0, scheme.size())) != scheme) continue;
    const std::size_t end = (std::min)(path.find('/', scheme.size()), path.size());
    request.host = path.substr(scheme.size(), end - scheme.size());
    path.erase(0, end);
    if (path.empty()) path = "/";
    return;
  }
}

/// A request for a page (ApiPage), for a ping, or for anything else.
inline access::Verdict JudgeFor(const ApiRequest& request, bool is_page,
                                const access::Headers& headers, const std::string& token) {
  if (is_page) return access::JudgePage(headers, token);
  if (request.path == "/api/ping") return access::JudgePing(headers, token);
  return access::Judge(headers, token);
}

/// The refusal of a request that needs no body to be refused.
inline std::optional<ApiReply> Check(const ApiRequest& request, const std::string& token,
                                     bool is_page = false) {
  const auto header = [&request](std::string_view lower) {
    return std::string(http1::FindHeader(request.headers, lower));
  };
  const std::string length = header("content-length");
  const bool chunked = CountHeaders(request, "transfer-encoding") > 0;
  if (CountHeaders(request, "content-length") > 1 || (chunked && !length.empty())) {
    return Refusal(400, "the length of the body is said twice; send one Content-Length");
  }
  if (CountHeaders(request, "host") > 1) return Refusal(400, "there are two Host headers");
  if (length.find_first_not_of("0123456789") != std::string::npos) {
    return Refusal(400, "Content-Length must be a number");
  }
  const access::Headers headers{header("authorization"), request.host, header("origin"),
                                header("sec-fetch-site"), header("sec-fetch-dest")};
  switch (JudgeFor(request, is_page, headers, token)) {
    case access::Verdict::kAllowed: break;
    case access::Verdict::kNoToken: {
      ApiReply reply =
          Refusal(401, "this server needs its token: send Authorization: Bearer <token>");
      reply.challenge = "Bearer";
      return reply;
    }
    case access::Verdict::kForeign:
      return Refusal(403,
                     "refused: it came from a foreign web page, or Host is not this machine; "
                     "a server with a token accepts any Host");
  }
  const std::string& method = request.method;
  const bool body = chunked || !(length.empty() || length == "0");
  if (!MayHaveBody(method) && body) {
    return Refusal(400, "a request of this method must not have a body");
  }
  if (!MayHaveBody(method) && method != "GET" && method != "HEAD" && method != "DELETE" &&
      method != "OPTIONS") {
    ApiReply reply = replies::NotFound();
    reply.close = true;
    return reply;
  }
  const std::string encoding = Lowered(header("content-encoding"));
  const std::string type = Lowered(header("content-type"));
  if ((!encoding.empty() && encoding != "identity") || type.find("multipart/") == 0) {
    return Refusal(415, "the body must be JSON, neither compressed nor in parts");
  }
  if (length.size() > 7 || (!length.empty() && ParseNumber<std::size_t>(length).value_or(
                                                   kMaxBodyBytes + 1) > kMaxBodyBytes)) {
    return TooLong();
  }
  return std::nullopt;
}

}  // namespace api_head
}  // namespace v1
}  // namespace dtm
