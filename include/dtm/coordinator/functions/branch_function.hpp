/// Branch functions as they are registered, with their payload types erased.
/// Needs: std. Threads: values; a function runs on any thread.
#pragma once

#include <functional>
#include <string>

#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/work_context.hpp>

namespace dtm {
inline namespace v1 {

/// Gives a function the BranchInfo of its call if it asks. Most do not, and making one costs more than the call.
class Caller {
 public:
  explicit Caller(const BranchCall& call) : call_(&call) {}
  explicit Caller(const BranchInfo& info) : info_(&info) {}
  BranchInfo Info() const { return call_ != nullptr ? call_->Info() : *info_; }

 private:
  const BranchCall* call_ = nullptr;
  const BranchInfo* info_ = nullptr;
};

/// A branch function with its payload type erased: gets the payload as text.
using BranchFunction = std::function<Result(const std::string&, const Caller&)>;

/// The same, inside a commit: it writes through the store's own connection.
using TransactionFunction =
    std::function<Result(const WorkContext&, const std::string&, const Caller&)>;

/// The error of a name that is registered twice.
inline std::string NameTaken(const std::string& name) {
  return "a branch function named '" + name +
         "' is registered already; give each function a name of its own";
}

/// The result of a call whose function is not registered in this program: it waits until it is.
inline Result NotRegistered(const BranchCall& call) {
  return Result::NoHandler(IfThereIsMemory([&] {
    return "waiting for handler \"" + call.Url().substr(kLocalPrefixSize) +
           "\": this program has not registered it";
  }));
}

}  // namespace v1
}  // namespace dtm
