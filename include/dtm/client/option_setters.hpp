/// The setters that every builder has.
/// Needs: std. Threads: one builder by one thread at a time. Protocol: §2.1 (options).
#pragma once

#include <chrono>
#include <string>
#include <utility>

#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// `Builder` derives from this, so that chains keep its type and its value category. Values are
/// checked when the transaction is submitted; 0 means the coordinator's default.
template <typename Builder>
class OptionSetters {
 public:
  /// Submit answers when the transaction has ended, or must wait for a timer, or after 6 s.
  Builder& SetWaitResult(bool wait = true) & {
    Options().wait_result = wait;
    return Self();
  }
  Builder SetWaitResult(bool wait = true) && { return std::move(SetWaitResult(wait)); }

  /// Rolled back if it has not succeeded after this long; 1 s to 1 day. A saga has no default.
  Builder& SetTimeoutToFail(std::chrono::seconds timeout) & {
    Options().timeout_to_fail = timeout;
    return Self();
  }
  Builder SetTimeoutToFail(std::chrono::seconds timeout) && {
    return std::move(SetTimeoutToFail(timeout));
  }

  /// The first wait after an error, doubled with each further one up to an hour; the fixed wait
  /// after ONGOING. 1 s to 1 day.
  Builder& SetRetryInterval(std::chrono::seconds interval) & {
    Options().retry_interval = interval;
    return Self();
  }
  Builder SetRetryInterval(std::chrono::seconds interval) && {
    return std::move(SetRetryInterval(interval));
  }

  /// How often actions of a saga that brought no result are tried again, all of them together; the next such
  /// result rolls it back. So SetRetryLimit(3) of a saga with one action allows four tries, as with dtm's own
  /// server. 0: no limit. Calls that did not start do not count; what is no saga action is tried until it is done.
  Builder& SetRetryLimit(int limit) & {
    Options().retry_limit = limit;
    return Self();
  }
  Builder SetRetryLimit(int limit) && { return std::move(SetRetryLimit(limit)); }

  /// Deadline of one branch call by URL; 1 s to 1 day.
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
