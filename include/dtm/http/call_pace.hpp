/// How many threads make calls at once, so that fast branches are served by few of them.
/// Needs: std. Threads: none inside; the caller holds its own lock. Pure arithmetic, no clock.
#pragma once

#include <chrono>

namespace dtm {
inline namespace v1 {

/// A call of a fast branch is back in less than kYoung, and its thread takes the next call; that costs less than to
/// wake another thread, and at 256 calls at a time it is a third of all work. So at most kMaxYoung threads are in such
/// young calls. Calls that take longer show that the branches are slow: each of them admits one more, so that threads
/// double every kYoung.
class CallPace {
 public:
  static constexpr std::chrono::milliseconds kYoung{10};
  static constexpr int kMaxYoung = 16;

  bool MayStart() const { return young_ < kMaxYoung + grown_; }

  void Started() { ++young_; }
  /// The call is out for kYoung now.
  void GrewUp() {
    --young_;
    ++grown_;
  }
  void Ended(bool grown) { --(grown ? grown_ : young_); }

 private:
  int young_ = 0;  ///< threads in calls younger than kYoung
  int grown_ = 0;  ///< threads in older calls
};

}  // namespace v1
}  // namespace dtm
