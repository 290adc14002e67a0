/// Whether the store works, and when to try again after it did not.
/// Needs: std. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

/// After a failed commit: 10 ms, 20 ms, ... 1 s until the next try. Until one succeeds nothing
/// leaves.
class StoreHealth {
 public:
  bool Good() const { return failures_ == 0; }
  bool MayTry(Time now) const { return Good() || now >= next_try_; }
  Time NextTry() const { return next_try_; }
  /// The outcome of a commit is unknown: the store has to be recovered before it is used.
  bool NeedsRecovery() const { return needs_recovery_; }
  const std::string& Problem() const { return problem_; }

  void Failed(Time now, std::string problem, bool in_doubt, bool writing) {
    writing_failed_ = writing_failed_ || writing;
    problem_ = std::move(problem);
    needs_recovery_ = needs_recovery_ || in_doubt;
    Duration wait = std::chrono::milliseconds(10);
    for (int i = 0; i < failures_ && wait < kLongestWait; ++i) wait *= 2;
    next_try_ = now + (std::min)(wait, kLongestWait);
    ++failures_;
  }
  void Recovered() { needs_recovery_ = false; }
  /// A commit that wrote nothing does not prove that one that writes would work.
  void Worked(bool writing) {
    if (writing_failed_ && !writing) return;
    failures_ = 0;
    writing_failed_ = false;
    problem_.clear();
  }

 private:
  static constexpr Duration kLongestWait = std::chrono::seconds(1);
  int failures_ = 0;
  Time next_try_{};
  bool needs_recovery_ = false;
  bool writing_failed_ = false;
  std::string problem_;
};

}  // namespace v1
}  // namespace dtm
