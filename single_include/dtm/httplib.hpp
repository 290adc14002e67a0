/// Generated from include/dtm/httplib.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "dtm.hpp"

#include "http.hpp"

// ---- dtm/http/httplib/branch_service.hpp -------------------------------------------------------

/// For services that coordinators call: the barrier of a request, and the reply. Works with any httplib server.
/// Needs: cpp-httplib. Threads: pure functions. Protocol: §3 (calling branches), §11.5 (barrier from
/// a query), §11 (helper for branch services).

#include <string>

#include <httplib.h>

namespace dtm {
inline namespace v1 {

/// The barrier of a branch call, from the query of its request.
/// @throws Error  trans_type, gid, branch_id or op is missing or not valid (see Barrier): the caller is
///                not a coordinator.
inline Barrier BarrierFromRequest(const httplib::Request& request) {
  return BarrierFromQuery({request.params.begin(), request.params.end()});
}

/// Runs `serve()` and replies to the coordinator: nothing or Success is 200, Failure or a FailureError 409 (definite: roll
/// back), Ongoing or an OngoingError 425 (call again later), any other Result or exception 500 (call again, with growing
/// waits). If a Result or an Error has `retry_after`, the reply has it too (and 500 becomes 503). No exception passes. The
/// effects of `serve` must be durable when it returns. Requests come on several threads: if they share a database
/// connection they wait for each other; with a connection and table for each thread (thread_local) they do not.
///
///   server.Post("/TransIn", [&](const httplib::Request& request, httplib::Response& response) {
///     dtm::AnswerBranch(response, [&] {
///       dtm::Barrier barrier = dtm::BarrierFromRequest(request);
///       return table.Call(barrier, [&](sqlite3* db) { Credit(db, request.body); });
///     });
///   });
template <typename Serve>
void AnswerBranch(httplib::Response& response, const Serve& serve) {
  const ApiReply reply = replies::OfBranch(CatchAsResult([&serve] { return ResultOf(serve); }));
  response.status = reply.status;
  response.set_content(reply.body, reply.type);
  if (reply.retry_after > 0) response.set_header("Retry-After", std::to_string(reply.retry_after));
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/httplib/mount.hpp ----------------------------------------------------------------

/// Adds the HTTP API of a coordinator to an httplib::Server of the program's own.
/// Needs: cpp-httplib. Threads: thread-safe. Protocol: §2; document: docs/http_api.md.

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

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

// ---- dtm/httplib.hpp ---------------------------------------------------------------------------

/// For programs with an httplib::Server of their own: the barrier and the answer of a branch service, and the HTTP API of a
/// coordinator beside other routes.
/// Needs: cpp-httplib. Threads: see the headers.
