/// One branch call that the caller waits for, on a connection of its own.
/// Needs: cpp-httplib. Threads: any; SIGPIPE must be blocked. Protocol: §11.1 (direct branch request).
#pragma once

#include <chrono>
#include <exception>
#include <string>

#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/calls/branch_connection.hpp>

namespace dtm {
inline namespace v1 {

inline Result CallOnce(const InitiatorCall& direct, const std::string& coordinator) {
  if (direct.url.empty()) return Result::Success();
  try {
    const BranchCall call = ToBranchCall(direct, coordinator, std::chrono::seconds(3));
    const Url url = ParseUrl(call.Url());
    BranchConnection connection(url);
    return connection.Send(call, url, Later(std::chrono::steady_clock::now(), call.timeout)).result;
  } catch (const std::exception& error) {
    return Result::Error(error.what());
  }
}

}  // namespace v1
}  // namespace dtm
