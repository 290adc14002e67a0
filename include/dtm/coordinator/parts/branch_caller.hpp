/// How the coordinator calls branches: one interface, implemented by the pool of functions, by the
/// HTTP client and by tests.
/// Needs: std. Threads: Call and Stop come from the thread that drives the loop; results may be
/// delivered from any thread, also from inside Call.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/text.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// One call to make. It shares the definition, so nothing is copied and the transaction may leave
/// memory meanwhile.
struct BranchCall {
  std::shared_ptr<const Definition> definition;
  std::size_t row = 0;   ///< index of the row, see Transaction
  Duration timeout{};    ///< total deadline of a call by URL, from when it is sent
  Duration late{};       ///< of a call by URL: what it has waited already of the time to be sent
  std::size_t slot = 0;  ///< whose call it is, see ActiveTable
  std::uint64_t generation = 0;
  bool keep_body = false;  ///< the answer's body is wanted, as the text of a success

  const std::string& Url() const { return UrlOf(*definition, row); }
  const std::string& Payload() const { return PayloadOf(*definition, row); }
  BranchInfo Info() const { return InfoOf(*definition, row); }
};

/// A call that an initiator makes itself, as a call that BranchCallers make. `coordinator`: the url that is
/// told to the branch.
inline BranchCall ToBranchCall(const InitiatorCall& direct, const std::string& coordinator,
                               Duration default_timeout) {
  auto definition = std::make_shared<Definition>();
  definition->gid = direct.info.gid;
  definition->type = direct.info.trans_type;
  definition->options = direct.options;
  Step step;
  step.action = direct.url;
  if (direct.tell_coordinator && !coordinator.empty()) {
    step.action = WithQuery(step.action, "dtm", coordinator);
  }
  if (!direct.phase2_url.empty()) {
    step.action = WithQuery(step.action, "phase2_url", direct.phase2_url);
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

/// How many calls are at a host, and wait for it.
struct HostLoad {
  std::string host;  ///< "http://bank-a:8080"
  std::size_t in_flight = 0;
  std::size_t waiting = 0;
  bool limited = false;  ///< it did not answer for long: few calls at a time go to it
};

struct CallLoad {
  std::size_t in_flight = 0;
  std::size_t waiting = 0;      ///< for a free thread or slot
  std::vector<HostLoad> hosts;  ///< those with calls, or limited
};

/// Where answers go. Thread-safe; must outlive the calls.
class BranchResults {
 public:
  virtual ~BranchResults() = default;
  virtual void Done(BranchCall call, Result result) = 0;

  /// In between, what this thread brings wakes nobody, and EndBurst wakes once for all of it: for a thread that gets many
  /// at a time. It must not wait for anything meanwhile.
  virtual void BeginBurst() {}
  virtual void EndBurst() {}
};

class BranchCaller {
 public:
  virtual ~BranchCaller() = default;

  /// Starts the calls and returns without waiting for them. Every call is answered exactly once:
  /// a call by URL that is not sent within `call.timeout - call.late` of this moment is answered NotSent, one
  /// that was sent is answered within another `call.timeout`. Never throws.
  virtual void Call(std::vector<BranchCall> calls, BranchResults& results) = 0;

  /// How busy it is now. Any thread.
  virtual CallLoad Load() { return {}; }

  /// Gives up what is out: afterwards no result is delivered any more, and no thread is left.
  /// Unanswered calls stay unanswered: the coordinator goes on with them after a restart.
  virtual void Stop() = 0;
};

}  // namespace v1
}  // namespace dtm
