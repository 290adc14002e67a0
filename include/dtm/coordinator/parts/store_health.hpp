/// Whether the store works, and when to try again after a failure.
/// Needs: std. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

/// After a failed commit the next try comes after 10 ms, 20 ms, ... 1 s. Until one succeeds nothing is
/// released. While another connection holds the store's lock: every 5 ms; that counts as failure only if it lasts.
class StoreHealth {
 public:
  bool Good() const { return failures_ == 0; }
  bool MayTry(Time now) const { return (Good() && !WaitsForLock()) || now >= next_try_; }
  bool WaitsForLock() const { return locked_since_ != kNever; }
  Time NextTry() const { return next_try_; }
  /// The outcome of a commit is unknown: the store has to be recovered before it is used.
  bool NeedsRecovery() const { return needs_recovery_; }
  const std::string& Problem() const { return problem_; }

  /// False: it has lasted too long, or the store was failing before.
  bool Locked(Time now, const std::string& problem) {
    if (!Good()) return false;
    if (!WaitsForLock()) locked_since_ = now;
    if (now - locked_since_ >= kPatience) return false;
    problem_ = problem;
    next_try_ = now + kBetweenLocked;
    return true;
  }
  void Failed(Time now, std::string problem, bool in_doubt, bool writing) {
    writing_failed_ = writing_failed_ || writing;
    locked_since_ = kNever;
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
    locked_since_ = kNever;
    if (writing_failed_ && !writing) return;
    failures_ = 0;
    writing_failed_ = false;
    problem_.clear();
  }

 private:
  static constexpr Duration kLongestWait = std::chrono::seconds(1);
  static constexpr Duration kBetweenLocked = std::chrono::milliseconds(5);
  static constexpr Duration kPatience = std::chrono::seconds(5);
  Time locked_since_ = kNever;
  int failures_ = 0;
  Time next_try_{};
  bool needs_recovery_ = false;
  bool writing_failed_ = false;
  std::string problem_;
};

}  // namespace v1
}  // namespace dtm
