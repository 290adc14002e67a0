/// Generated from include/dtm/http/httplib/branch_service.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include <dtm/http.hpp>

// ---- dtm/http/httplib/branch_service.hpp -------------------------------------------------------

/// For services that coordinators call: who is called, and the answer. Any httplib server will do.
/// Needs: cpp-httplib. Threads: pure functions. Protocol: §3 (calling branches), §11.5 (barrier from
/// a query), §11 (helper for branch services).

#include <string>

#include <httplib.h>

namespace dtm {
inline namespace v1 {

/// The barrier of a branch call, from the query of its request.
/// @throws Error  trans_type, gid, branch_id or op is missing or cannot be (see Barrier): whoever
///                calls is no coordinator.
inline Barrier BarrierFromRequest(const httplib::Request& request) {
  return BarrierFromQuery({request.params.begin(), request.params.end()});
}

/// Runs `serve()` and answers the coordinator with what it says: nothing or Success 200, Failure or
/// a FailureError 409 (definite: roll back), Ongoing or an OngoingError 425 (ask again later), any
/// other Result or exception 500 (ask again, with growing waits). With `retry_after`, of a Result or an Error, it is said
/// how long not to ask (and 500 becomes 503). No exception leaves. What serve did must be
/// durable when it returns. Requests come in several threads: with one connection they wait for each other, with one
/// connection and table for each thread (thread_local) they do not.
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
