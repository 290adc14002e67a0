/// One branch call that the caller waits for, on a connection of its own.
/// Needs: POSIX. Threads: any. Protocol: §11.1 (direct branch request).
#pragma once

#include <chrono>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/calls/branch_http_call.hpp>
#include <dtm/http/hosts/blocking_host.hpp>

namespace dtm {
inline namespace v1 {

inline Result CallOnce(const InitiatorCall& direct, const std::string& coordinator,
                       std::shared_ptr<TlsClient> tls = nullptr) {
  if (direct.url.empty()) return Result::Success();
  try {
    const BranchCall call = ToBranchCall(direct, coordinator, std::chrono::seconds(3));
    const Url url = ParseHttpUrl(call.Url());
    struct One final : BranchHttpCall {
      One(const BranchCall& one, const Url& its)
          : BranchHttpCall(one, its, Later(std::chrono::steady_clock::now(), one.timeout)),
            branch(one),
            where(its) {}
      void OnDone(hosts::HttpOutcome outcome) override {
        told = CatchAsResult([&] { return Interpret(outcome, branch, where).result; });
      }
      const BranchCall& branch;
      const Url& where;
      Result told = Result::Error({});
    } one(call, url);
    hosts::BlockingHost(url, std::move(tls)).Send(one);
    return std::move(one.told);
  } catch (const std::exception& error) {
    return Result::Error(error.what());
  }
}

}  // namespace v1
}  // namespace dtm
