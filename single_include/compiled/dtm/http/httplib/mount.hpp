/// Generated from include/dtm/http/httplib/mount.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../http.hpp"

// ---- dtm/http/httplib/mount.hpp ----------------------------------------------------------------

/// Adds the HTTP API of a coordinator to an httplib::Server of the program's own.
/// Needs: cpp-httplib. Threads: thread-safe. Protocol: §2; document: docs/http_api.md.

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <httplib.h>

namespace dtm {
inline namespace v1 {
namespace mounted {

/// Between httplib's requests and the Api.
class ApiRoutes {
 public:
  ApiRoutes(Coordinator& tm, std::string token) : api_(tm, std::move(token)) {}

  /// Answers requests whose body need not be read. False: read it, then Answer.
  bool AnswerWithoutBody(const httplib::Request& request, httplib::Response& response) {
    const ApiRequest input = InputOf(request);
    if (const std::optional<ApiReply> refusal = api_.Refusal(input)) {
      Send(*refusal, response);
      return true;
    }
    if (api_head::MayHaveBody(request.method)) return false;
    Send(api_.Handle(input), response);
    return true;
  }

  void AnswerWithBody(const httplib::Request& request, httplib::Response& response,
                      const httplib::ContentReader& read) {
    ApiRequest input = InputOf(request);
    bool too_long = false;
    const bool has_body =
        request.has_header("Content-Length") || request.has_header("Transfer-Encoding");
    const bool complete = !has_body || read([&](const char* data, std::size_t size) {
      too_long = size > api_head::kMaxBodyBytes - input.body.size();
      if (!too_long) input.body.append(data, size);
      return !too_long;
    });
    if (too_long) return Send(api_head::TooLong(), response);
    if (!complete) {
      return Send(api_head::Refusal(400, "the body ended too early or is not valid HTTP"),
                  response);
    }
    Send(api_.Handle(input), response);
  }

 private:
  static ApiRequest InputOf(const httplib::Request& request) {
    ApiRequest input;
    input.method = request.method;
    input.path = request.path;
    input.query = {request.params.begin(), request.params.end()};
    for (const auto& header : request.headers) {
      input.headers.push_back({header.first, header.second});
    }
    api_head::TakeHost(input);
    return input;
  }

  static void Send(const ApiReply& reply, httplib::Response& response) {
    response.status = reply.status;
    response.set_content(reply.body, reply.type);
    if (reply.retry_after > 0) {
      response.set_header("Retry-After", std::to_string(reply.retry_after));
    }
    if (reply.close) response.set_header("Connection", "close");
    if (reply.challenge != nullptr) response.set_header("WWW-Authenticate", reply.challenge);
    for (const auto& header : reply.headers) response.set_header(header.name, header.value);
  }

  Api api_;
};

}  // namespace mounted

/// Adds the API to `server`, before it listens: /api/... belongs to dtm then. The coordinator must outlive the server, whose
/// limits, addresses and threads are the program's choice. `token`: see ServerOptions; without one only requests whose
/// Host is the loopback are served, wherever the server listens.
inline void MountApi(Coordinator& tm, httplib::Server& server, std::string token = {}) {
  // Also the absolute form: "GET http://host/api/ping".
  const std::string paths = R"((?:[Hh][Tt][Tt][Pp][Ss]?://[^/]*)?/api/[\s\S]*)";
  const auto routes = std::make_shared<mounted::ApiRoutes>(tm, std::move(token));
  server.Get(paths, [routes](const httplib::Request& request, httplib::Response& response) {
    (void)routes->AnswerWithoutBody(request, response);
  });
  const httplib::Server::HandlerWithContentReader with_body =
      [routes](const httplib::Request& request, httplib::Response& response,
               const httplib::ContentReader& read) {
        if (!routes->AnswerWithoutBody(request, response))
          routes->AnswerWithBody(request, response, read);
      };
  server.Post(paths, with_body);
  server.Put(paths, with_body);
  server.Patch(paths, with_body);
}

}  // namespace v1
}  // namespace dtm
