/// The setters that every builder has.
/// Needs: std. Threads: one builder by one thread at a time. Protocol: §2.1 (options).
#pragma once

#include <chrono>
#include <string>
#include <utility>

#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// `Builder` derives from this, so that chained calls keep its type and its value category. The values are
/// checked by Submit, which throws RejectedError; 0 means the coordinator's default.
template <typename Builder>
class OptionSetters {
 public:
  /// Submit returns when the transaction has ended or must wait for a timer, or after 6 s.
  Builder& SetWaitResult(bool wait = true) & {
    Options().wait_result = wait;
    return Self();
  }
  Builder SetWaitResult(bool wait = true) && { return std::move(SetWaitResult(wait)); }

  /// A saga is rolled back if it has not succeeded by then, counted from its creation; by default it has no timeout. Of a msg,
  /// tcc or xa it is the time for its submit (35 s, see Options::timeout_to_fail). 1 s to 1 day.
  Builder& SetTimeoutToFail(std::chrono::seconds timeout) & {
    Options().timeout_to_fail = timeout;
    return Self();
  }
  Builder SetTimeoutToFail(std::chrono::seconds timeout) && {
    return std::move(SetTimeoutToFail(timeout));
  }

  /// The first wait after an error (it doubles with each further error, up to an hour), and the wait after
  /// ONGOING. 1 s to 1 day; default: 10 s, see Options::retry_interval.
  Builder& SetRetryInterval(std::chrono::seconds interval) & {
    Options().retry_interval = interval;
    return Self();
  }
  Builder SetRetryInterval(std::chrono::seconds interval) && {
    return std::move(SetRetryInterval(interval));
  }

  /// How often the actions of a saga, counted together, are called again after a call without a definite result;
  /// the next such call rolls the saga back. So SetRetryLimit(3) for a saga with one action allows four calls, as with
  /// dtm's own server. 0: no limit. Calls that did not start do not count. Only saga actions have this limit.
  Builder& SetRetryLimit(int limit) & {
    Options().retry_limit = limit;
    return Self();
  }
  Builder SetRetryLimit(int limit) && { return std::move(SetRetryLimit(limit)); }

  /// The deadline of one branch call by URL; 1 s to 1 day. Default: 3 s, see Options::request_timeout.
  Builder& SetRequestTimeout(std::chrono::seconds timeout) & {
    Options().request_timeout = timeout;
    return Self();
  }
  Builder SetRequestTimeout(std::chrono::seconds timeout) && {
    return std::move(SetRequestTimeout(timeout));
  }

  /// Sent with every branch call by URL; at most 32 headers of 4 KiB.
  Builder& AddBranchHeader(const std::string& name, const std::string& value) & {
    Options().branch_headers[name] = value;
    return Self();
  }
  Builder AddBranchHeader(const std::string& name, const std::string& value) && {
    return std::move(AddBranchHeader(name, value));
  }

 private:
  Builder& Self() { return static_cast<Builder&>(*this); }
  TransOptions& Options() { return Self().MutableOptions(); }
};

}  // namespace v1
}  // namespace dtm
