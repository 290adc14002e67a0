/// The bytes of a reply of the API.
/// Needs: std. Threads: pure functions. Source: RFC 9112 §4, §9; document: docs/http_api.md.
#pragma once

#include <cstddef>
#include <string>

#include <dtm/http/api/replies.hpp>
#include <dtm/http/http1/request_reply.hpp>

namespace dtm {
inline namespace v1 {
namespace serving {

/// What a reply says besides the API's own answer.
struct ReplyForm {
  bool to_head = false;      ///< of a HEAD request: there is no body
  bool close = false;        ///< the connection ends with it
  bool old_version = false;  ///< HTTP/1.0, where keeping the connection has to be announced
  long idle_seconds = 60;    ///< how long the connection waits for the next request
};

inline const char* StatusText(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Payload Too Large";
    case 415: return "Unsupported Media Type";
    case 425: return "Too Early";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Other";
  }
}

inline std::string ReplyText(const ApiReply& reply, const ReplyForm& form) {
  std::string text;
  text.reserve(256 + reply.body.size());
  text.append("HTTP/1.1 ").append(std::to_string(reply.status)).append(" ");
  text.append(StatusText(reply.status)).append("\r\nContent-Type: ").append(reply.type);
  text.append("\r\nContent-Length: ").append(std::to_string(reply.body.size()));
  if (reply.retry_after > 0)
    text.append("\r\nRetry-After: ").append(std::to_string(reply.retry_after));
  if (reply.challenge != nullptr) text.append("\r\nWWW-Authenticate: ").append(reply.challenge);
  for (const http1::HttpHeader& header : reply.headers) {
    text.append("\r\n").append(header.name).append(": ").append(header.value);
  }
  if (form.close) {
    text.append("\r\nConnection: close");
  } else {
    if (form.old_version) text.append("\r\nConnection: keep-alive");
    text.append("\r\nKeep-Alive: timeout=").append(std::to_string(form.idle_seconds));
  }
  text.append("\r\n\r\n");
  if (!form.to_head) text.append(reply.body);
  return text;
}

}  // namespace serving
}  // namespace v1
}  // namespace dtm
