/// How many calls a host may have in flight, so that a dead or slow one delays nobody else.
/// Needs: std. Threads: none inside; the caller holds its own lock. Pure arithmetic, no clock.
#pragma once

namespace dtm {
inline namespace v1 {

/// Decides whether one more call to a host may start.
class HostLimits {
 public:
  /// Settings of HttpBranchOptions.
  struct Limits {
    int total = 1280;       ///< calls in flight, all hosts together
    int per_host = 1024;    ///< calls in flight to one host
    int silent_host = 8;    ///< calls in flight to a host that does not reply
    int silent_after = 10;  ///< calls in a row without a reply that make it such a host
  };

  /// What is known about one host.
  struct Load {
    int in_flight = 0;
    int silent = 0;  ///< calls in a row that timed out or could not reach it
  };

  /// Nothing is in flight yet.
  explicit HostLimits(Limits limits) : limits_(limits) {}

  /// A host may have four times as many calls in flight as are still free: alone it gets 1,024 of
  /// 1,280, and each host leaves a fifth of what it found, also when several die at once.
  bool MayStart(const Load& host) const {
    const int free = limits_.total - in_flight_;
    const int cap = Silent(host) ? limits_.silent_host : limits_.per_host;
    return host.in_flight < cap && host.in_flight < kShare * free;
  }

  /// So many calls in a row had no reply that the host gets few at a time.
  bool Silent(const Load& host) const { return host.silent >= limits_.silent_after; }

  /// A call to this host starts; Finished has to follow.
  void Started(Load& host) {
    ++host.in_flight;
    ++in_flight_;
  }

  /// `silent`: the host timed out or could not be reached. After any reply it has its full share
  /// again.
  void Finished(Load& host, bool silent) {
    --host.in_flight;
    --in_flight_;
    if (!silent) {
      host.silent = 0;
    } else if (host.silent < limits_.silent_after) {
      ++host.silent;
    }
  }

  /// To all hosts together.
  int InFlight() const { return in_flight_; }

 private:
  static constexpr int kShare = 4;

  Limits limits_;
  int in_flight_ = 0;
};

}  // namespace v1
}  // namespace dtm
