/// Requests and replies as everybody above the transport sees them, whatever brings them.
/// Needs: std. Threads: values only. Source: RFC 9110.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/http/http1/framing.hpp>

namespace dtm {
inline namespace v1 {
namespace http1 {

struct HttpHeader {
  std::string name;
  std::string value;
};

/// The value of the first header of this name, which is given in lower case; empty if there is none.
inline std::string_view FindHeader(const std::vector<HttpHeader>& headers, std::string_view lower) {
  for (const HttpHeader& header : headers) {
    if (EqualsLower(header.name, lower)) return header.value;
  }
  return {};
}

struct HttpRequest {
  std::string method = "GET";
  std::string target = "/";  ///< path and query, as they go into the first line
  std::vector<HttpHeader> headers;
  std::string body;

  void Set(std::string name, std::string value) {
    headers.push_back({std::move(name), std::move(value)});
  }
  std::string_view Header(std::string_view lower) const { return FindHeader(headers, lower); }
};

struct HttpReply {
  int status = 0;
  std::vector<HttpHeader> headers;
  std::string body;

  std::string_view Header(std::string_view lower) const { return FindHeader(headers, lower); }
};

/// The bytes of a request; its length is added. Names and values must be such as HTTP allows.
inline std::string RequestText(const HttpRequest& request) {
  std::size_t size = request.method.size() + request.target.size() + request.body.size() + 64;
  for (const HttpHeader& header : request.headers)
    size += header.name.size() + header.value.size() + 4;
  std::string text;
  text.reserve(size);
  text.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\n");
  for (const HttpHeader& header : request.headers) {
    text.append(header.name).append(": ").append(header.value).append("\r\n");
  }
  // RFC 9110 §8.6: what could have a body says that it has none.
  if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD")) {
    text.append("Content-Length: ").append(std::to_string(request.body.size())).append("\r\n");
  }
  return text.append("\r\n").append(request.body);
}

}  // namespace http1
}  // namespace v1
}  // namespace dtm
