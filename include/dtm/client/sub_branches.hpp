/// The ids of the branches that an initiator calls itself, one after the other.
/// Needs: std. Threads: one. Protocol: §1 (branch ids of tcc, xa and workflow).
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// "01", "02", ...; below a branch "02": "0201", "0202", ...
class SubBranches {
 public:
  /// `parent`: the branch below which they are; empty: none.
  explicit SubBranches(std::string parent = {}) : parent_(std::move(parent)) {}

  /// @throws LogicError  more than 99, or nested too deep.
  std::string Next() {
    if (count_ >= kMostBranches) throw LogicError("a transaction makes at most 99 branches itself");
    if (parent_.size() >= kLongestParent) {
      throw LogicError("branch " + parent_ + " is nested too deep for branches below it");
    }
    return parent_ + NumberOf(count_++);
  }

 private:
  static constexpr std::size_t kMostBranches = 99;
  static constexpr std::size_t kLongestParent = 20;
  std::string parent_;
  std::size_t count_ = 0;
};

/// What the result of a branch means to the initiator that called it: the body of its reply, or an exception.
/// @throws OngoingError  it is not finished yet.
/// @throws FailureError  it said no.
/// @throws Error         it gave no definite result.
inline std::string BodyOf(const Result& result, const std::string& what) {
  if (result.kind == Result::Kind::kSuccess) return result.text;
  if (result.kind == Result::Kind::kFailure) throw FailureError(what + " failed: " + result.text);
  if (result.kind == Result::Kind::kOngoing) {
    throw AskingToWait(OngoingError(what + " is not finished yet: " + result.text),
                       result.retry_after);
  }
  throw AskingToWait(Error(what + " gave no definite answer: " + result.text), result.retry_after);
}

}  // namespace v1
}  // namespace dtm
