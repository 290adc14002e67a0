/// What tcc and xa have in common: prepare, the initiator's code, then submit or abort.
/// Needs: std. Threads: the caller's. Protocol: §11.2 (GlobalTransaction).
#pragma once

#include <exception>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

template <typename Body>
TransResult RunGlobalTransaction(Endpoint& endpoint, Definition definition, const Body& body) {
  endpoint.Prepare(definition);
  std::string reason = "it threw something that is no std::exception";
  try {
    try {
      body();
    } catch (const std::exception& error) {
      reason = error.what();
      throw;
    }
  } catch (...) {
    try {
      endpoint.Abort(definition.gid, definition.type, reason);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): its timeout will abort it
    }
    throw;
  }
  return endpoint.Submit(std::move(definition));
}

}  // namespace v1
}  // namespace dtm
