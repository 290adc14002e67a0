/// Generated from include/dtm/http/httplib/branch_service.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../http.hpp"

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
