/// The registry of functions that run inside the coordinator's own commit, on the thread of the loop.
/// Needs: std. Threads: thread-safe.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/functions/branch_function.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/work_context.hpp>

namespace dtm {
inline namespace v1 {

/// InCommitWork calls them. Their names are separate from those of Functions.
class TransactionFunctions {
 public:
  /// @throws LogicError  the name is empty or taken.
  void Register(const std::string& name, TransactionFunction function) {
    if (name == kInTransactionPrefix) throw LogicError("a branch function needs a name");
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!functions_.emplace(name, std::move(function)).second) throw LogicError(NameTaken(name));
  }

  /// Runs the function in this thread, with the connection of the open batch.
  /// @throws LogicError  the function takes a connection that the store does not have; and what it throws itself.
  Result Run(const BranchCall& call, const WorkContext& connection) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto found = functions_.find(call.Url().c_str() + kLocalPrefixSize);
    if (found == functions_.end()) return NotRegistered(call);
    const TransactionFunction& function = found->second;  // none is ever removed
    lock.unlock();
    return function(connection, call.Payload(), Caller(call));
  }

 private:
  std::mutex mutex_;
  std::map<std::string, TransactionFunction, std::less<>> functions_;
};

}  // namespace v1
}  // namespace dtm
