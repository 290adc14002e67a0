/// Makes a coordinator call branches by URL: `tm.Use(dtm::HttpBranches())`.
/// Needs: POSIX. Threads: as BranchCaller says. Protocol: §3 (calling branches).
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include <dtm/base/of_this_process.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/http/calls/call_queue.hpp>
#include <dtm/http/calls/url_caller.hpp>

namespace dtm {
inline namespace v1 {

struct HttpBranchCaller final : BranchCaller {
  explicit HttpBranchCaller(const HttpBranchOptions& options) : own("caller of URLs", options) {}
  void Call(std::vector<BranchCall> calls, BranchResults& results) override {
    own.Get().Call(std::move(calls), results);
  }
  CallLoad Load() override { return own.Get().Load(); }
  void Stop() override { own.Get().Stop(); }
  OfThisProcess<UrlCaller> own;
};

/// Each running call takes a file descriptor: `ulimit -n` should be above `limits.total`. One thread serves all of them. A
/// call has the request_timeout of its transaction.
/// @throws LogicError  an option is out of range.
inline std::unique_ptr<BranchCaller> HttpBranches(const HttpBranchOptions& options = {}) {
  return std::make_unique<HttpBranchCaller>(options);
}

}  // namespace v1
}  // namespace dtm
