/// How the coordinator calls branches: an interface, implemented by the pool of functions, by the
/// HTTP client and by tests.
/// Needs: std. Threads: Call comes from the thread that drives the loop, and from those who make a call of their own, also
/// while Stop runs; results may be delivered from any thread, also from inside Call.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/observe/span.hpp>
#include <dtm/observe/trace_context.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

/// One call to make. It shares the definition, so nothing is copied, and the transaction may leave
/// memory meanwhile.
struct BranchCall {
  std::shared_ptr<const Definition> definition;
  std::size_t row = 0;   ///< index of the row, see Transaction
  Duration timeout{};    ///< total deadline of a call by URL, from when it is sent
  Duration late{};       ///< of a URL call: how long it has waited already
  std::size_t slot = 0;  ///< whose call it is, see ActiveTable
  std::uint64_t generation = 0;
  bool keep_body = false;                  ///< a success needs the body of the reply as its text
  std::shared_ptr<const Lease> lease{};    ///< null: it may begin at any time
  std::shared_ptr<const CallSpan> span{};  ///< null: it is none, see Options::on_span

  /// Asked directly before it begins, as late as whoever makes the call can: others may have taken over meanwhile. False: its
  /// result is LeaseOver.
  bool MayBegin() const { return lease == nullptr || lease->Holds(); }

  const std::string& Url() const { return UrlOf(*definition, row); }
  const std::string& Payload() const { return PayloadOf(*definition, row); }
  BranchInfo Info() const {
    BranchInfo info = InfoOf(*definition, row);
    if (const auto trace = Trace()) Put(*trace, info);
    return info;
  }
  /// What the branch is told of the trace; nothing: it belongs to none.
  std::optional<TraceContext> Trace() const {
    return ContextOfCall(definition->gid, definition->options, span.get());
  }
};

/// It certainly did not begin; it is tried again as soon as the coordinator may make calls again.
inline Result LeaseOver() {
  Result result = Result::NotSent(IfThereIsMemory([] {
    return std::string("the coordinator was silent for too long, and others may have taken over");
  }));
  result.at_once = true;
  return result;
}

/// A call that an initiator makes itself, in the form for a BranchCaller. `coordinator`: the url that the branch is
/// told.
inline BranchCall ToBranchCall(const InitiatorCall& direct, const std::string& coordinator,
                               Duration default_timeout) {
  auto definition = std::make_shared<Definition>();
  definition->gid = direct.info.gid;
  definition->type = direct.info.trans_type;
  definition->options = direct.options;
  Step step;
  step.action = direct.url;
  if (direct.tell_coordinator && !coordinator.empty()) {
    step.action = WithQuery(step.action, kCoordinatorParameter, coordinator);
  }
  if (!direct.phase2_url.empty()) {
    step.action = WithQuery(step.action, kPhase2UrlParameter, direct.phase2_url);
  }
  step.payload = direct.payload;
  step.branch_id = direct.info.branch_id;
  step.op = direct.info.op;
  definition->steps.push_back(std::move(step));
  BranchCall call;
  call.row = HasQueryRow(definition->type) ? DeliveryOf(0) : ActionOf(0);
  const auto timeout = (std::min)(direct.options.request_timeout, kMaxOptionSeconds);
  call.timeout = timeout.count() > 0 ? Duration(timeout) : default_timeout;
  call.keep_body = true;
  call.definition = std::move(definition);
  return call;
}

/// The number of calls at a host, and of those that wait for it.
struct HostLoad {
  std::string host;  ///< "http://bank-a:8080"
  std::size_t in_flight = 0;
  std::size_t waiting = 0;
  bool limited = false;  ///< it has not replied for long: it gets few calls at a time
};

struct CallLoad {
  std::size_t in_flight = 0;
  std::size_t waiting = 0;      ///< for a free thread or slot
  std::vector<HostLoad> hosts;  ///< those with calls, or limited
};

/// Receives the results. Thread-safe; must outlive the calls.
class BranchResults {
 public:
  virtual ~BranchResults() = default;
  virtual void Done(BranchCall call, Result result) = 0;

  /// Between these two, results of this thread do not wake the coordinator; EndBurst wakes it once for all of them. For a
  /// thread that gets many at a time. It must not wait for anything meanwhile.
  virtual void BeginBurst() {}
  virtual void EndBurst() {}
};

class BranchCaller {
 public:
  virtual ~BranchCaller() = default;

  /// The schemes of the URLs that it calls, in lower case: Coordinator::Use gives it the calls with these.
  virtual std::vector<std::string> Schemes() const { return {"http", "https"}; }

  /// Starts the calls and returns without waiting for them. Every call gets exactly one result: LeaseOver if it may not
  /// begin (MayBegin) when it could; NotSent if it is a URL call that is not sent within `call.timeout - call.late` from now;
  /// once sent, a result within another `call.timeout`. Never throws.
  virtual void Call(std::vector<BranchCall> calls, BranchResults& results) = 0;

  /// The present load. Any thread.
  virtual CallLoad Load() { return {}; }

  /// Gives up the running calls: afterwards no more results are delivered, and no thread is left. Calls
  /// without a result are repeated after a restart.
  virtual void Stop() = 0;
};

}  // namespace v1
}  // namespace dtm
