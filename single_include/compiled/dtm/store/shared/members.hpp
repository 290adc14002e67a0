/// Generated from include/dtm/store/shared/members.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "database.hpp"

// ---- dtm/store/shared/members.hpp --------------------------------------------------------------

/// Who of the coordinators that share a store is alive, and who takes over from those that are not.
/// Needs: std. Threads: one at a time.
///
/// Each member counts its beat up in the database. One is dead if another has seen the same beat for a whole lease, by the
/// clock of that other one: no clock of the database and no wall clock counts. Then one of the others becomes its heir, which
/// ends its batches (the fence), and takes over its transactions page by page. A member calls nothing once nine tenths of a
/// lease have passed since it sent its last beat, which is before the others may begin.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace shared_store {

/// For so long after a beat was sent this member may call: the others cannot begin yet.
inline Duration CallsFor(Duration lease) { return lease / 10 * 9; }

class Members {
 public:
  using NowFunction = std::function<Duration()>;

  /// `now`: the time since boot; another one in tests.
  explicit Members(Duration lease, NowFunction now = os::SinceBoot)
      : lease_(lease), now_(std::move(now)) {}

  /// Who beats.
  struct Self {
    std::uint64_t member = 0;
    std::int64_t epoch = 0;  ///< that it began with
    bool operator==(const Self& other) const {
      return member == other.member && epoch == other.epoch;
    }
  };

  struct Seen {
    bool is_member = false;  ///< and stays one until `until`, whatever happens
    /// Not a member, although nobody can have found it dead: the database is an older one, which has forgotten it.
    bool is_forgotten = false;
    Duration until{};       ///< since boot
    Time server_time{};     ///< at the server
    Duration heard{};       ///< when it was that time, as nearly as is known; since boot
    std::size_t taken = 0;  ///< transactions that have come to be ours
    bool more = false;      ///< some are left: beat again at once
    bool asked = false;     ///< others want something, see Query::kAsked
    /// What the dead have left that calls functions of other apps: how many transactions, by app.
    std::map<std::string, std::int64_t> left;
  };

  /// One beat of this member, and what follows from those of the others. `app`: what calls functions is taken over only if
  /// they are this app's.
  /// @throws SqlError  the database cannot be asked.
  Seen Beat(Connection& connection, const Self& self, const std::string& app) {
    const auto me = static_cast<std::int64_t>(self.member);
    const auto waiting = static_cast<std::int64_t>(OwnerForApp(app));
    if (!(self == self_)) {
      self_ = self;
      beat_ = 0;
      counted_ = Duration(0);
    }
    const Duration sent = now_();
    const auto rows = connection.Run(Query::kBeat, {me, waiting, self.epoch, beat_});
    const Duration answered = now_();
    Seen seen;
    const std::int64_t counted = rows->Count() > 0 ? rows->Number(0, kCounted) : 0;
    seen.is_member = counted > 0;
    seen.until = sent + CallsFor(lease_);
    seen.heard = sent + (answered - sent) / 2;
    if (seen.is_member) {
      beat_ = counted;
      counted_ = sent;
      seen.server_time = FromStored(rows->Number(0, kTime));
    } else {
      seen.is_forgotten = IsForgotten(*rows, me, answered);
    }
    // Whoever was silent meanwhile may have had the same reason: everybody gets time to beat first.
    if (sent - last_sent_ > lease_ / 2) others_.clear();
    last_sent_ = sent;
    Note(*rows, me, answered);
    if (!seen.is_member) return seen;
    seen.asked = rows->Number(0, kAskedOf) > 0;
    const std::vector<std::string> apps{{}, app};
    if (rows->Number(0, kForApp) != 0) TakeFree(connection, waiting, me, apps, sent, seen);
    if (rows->Number(0, kNobodys) != 0) TakeFree(connection, 0, me, apps, sent, seen);
    for (const auto& [id, other] : others_) {
      if (other.heir != me && !Inherit(connection, id, other, me, sent)) continue;
      if (!Claim(connection, id, me, apps, sent, seen)) continue;
      LeaveToOthers(connection, id, me, seen);
      (void)connection.Run(Query::kBury, {id, me});
    }
    if (sent >= next_sweep_) Sweep(connection, me, apps, sent, seen);
    seen.taken = std::exchange(taken_, 0);
    return seen;
  }

  /// When the beats of the others that are alive came, as the last one of this one has seen them.
  std::map<std::int64_t, Duration> Alive() const {
    std::map<std::int64_t, Duration> alive;
    for (const auto& [id, other] : others_) {
      if (Lives(other, last_sent_)) alive.emplace(id, other.since);
    }
    return alive;
  }

 private:
  struct Other {
    std::int64_t beat, heir;
    Duration since;  ///< it has this beat, at least
  };

  void Note(const SqlRows& rows, std::int64_t me, Duration answered) {
    std::map<std::int64_t, Other> now;
    for (std::size_t row = 0; row < rows.Count(); ++row) {
      const std::int64_t id = rows.Number(row, kMember);
      if (id == me) continue;
      Other other{rows.Number(row, kBeats), rows.Number(row, kHeir), answered};
      const auto before = others_.find(id);
      if (before != others_.end() && before->second.beat == other.beat) {
        other.since = before->second.since;
      }
      now.emplace(id, other);
    }
    others_.swap(now);
  }

  bool Lives(const Other& other, Duration sent) const {
    return other.heir == 0 && sent - other.since < lease_;
  }

  /// True: this member is the heir now.
  bool Inherit(Connection& connection, std::int64_t id, const Other& other, std::int64_t me,
               Duration sent) const {
    if (Lives(other, sent)) return false;
    const auto heir = others_.find(other.heir);
    if (heir != others_.end() && Lives(heir->second, sent)) return false;
    return connection.Run(Query::kInherit, {id, other.beat, other.heir, me})->Count() > 0;
  }

  /// Takes over what is unfinished of this owner: as much as goes before the next beat. True: all.
  bool Claim(Connection& connection, std::int64_t owner, std::int64_t me,
             const std::vector<std::string>& apps, Duration sent, Seen& seen) {
    return Pages(sent, seen, [&](std::int64_t page) {
      return connection.Run(Query::kClaim, {owner, me, page, &apps, me})->Count();
    });
  }

  /// What waits for anybody, or for anybody of this app. Programs write such rows, too, in transactions of their own, so it
  /// does not wait for those that are not committed.
  void TakeFree(Connection& connection, std::int64_t owner, std::int64_t me,
                const std::vector<std::string>& apps, Duration sent, Seen& seen) {
    (void)Pages(sent, seen, [&](std::int64_t page) {
      const auto rows = connection.Run(Query::kFree, {owner, page, &apps});
      std::vector<std::int64_t> ids;
      for (std::size_t row = 0; row < rows->Count(); ++row) ids.push_back(rows->Number(row, 0));
      std::sort(ids.begin(), ids.end());  // two that take them wait for each other in no circle
      return ids.empty() ? 0 : connection.Run(Query::kTakeFree, {me, owner, &ids})->Count();
    });
  }

  /// What belongs to none that is known, dead or alive. There should be none; a restored backup may have some.
  void Sweep(Connection& connection, std::int64_t me, const std::vector<std::string>& apps,
             Duration sent, Seen& seen) {
    const auto rows = connection.Run(Query::kOrphans, {swept_, kOwnersAtATime});
    const std::size_t count = rows->Count();
    for (std::size_t row = 0; row < count; ++row) {
      if (rows->Number(row, 1) == 0) continue;
      const std::int64_t owner = rows->Number(row, 0);
      if (!Claim(connection, owner, me, apps, sent, seen)) return;
      LeaveToOthers(connection, owner, me, seen);
    }
    const bool more = count == static_cast<std::size_t>(kOwnersAtATime);
    swept_ = more ? rows->Number(count - 1, 0) : 0;
    next_sweep_ = sent + kBetweenSweeps;
  }

  /// False: there is more, and no time before the next beat.
  template <typename TakePage>
  bool Pages(Duration sent, Seen& seen, const TakePage& take) {
    for (std::int64_t page = kFirstPage;; page = kPage) {
      ++taken_;  // should the answer be lost
      const std::size_t taken = take(page);
      taken_ = taken_ - 1 + taken;
      if (taken == 0) return true;
      if (now_() - sent > lease_ / 8) return seen.more = true, false;
    }
  }

  /// Its row is that of another, or an older one; or it is gone before anybody could find it dead.
  bool IsForgotten(const SqlRows& rows, std::int64_t me, Duration answered) const {
    for (std::size_t row = 0; row < rows.Count(); ++row) {
      if (rows.Number(row, kMember) != me) continue;
      const std::int64_t epochs = rows.Number(row, kEpoch) - self_.epoch;
      return rows.Number(row, kBeats) < beat_ || epochs < 0 || epochs >= kEpochs;
    }
    return counted_ > Duration(0) && answered - counted_ < lease_;
  }

  /// What this one may not drive waits for a coordinator of its app.
  static void LeaveToOthers(Connection& connection, std::int64_t dead, std::int64_t me,
                            Seen& seen) {
    const auto rows = connection.Run(Query::kApps, {dead});
    for (std::size_t row = 0; row < rows->Count(); ++row) {
      const std::vector<std::string> app{std::string(rows->View(row, 0))};
      const auto waiting = static_cast<std::int64_t>(OwnerForApp(app[0]));
      while (connection.Run(Query::kClaim, {dead, me, kPage, &app, waiting})->Count() > 0) {
      }
      seen.left[app[0]] += rows->Number(row, 1);
    }
  }

  static constexpr std::int64_t kOwnersAtATime = 900;  // MySQL recurs no deeper than 1000
  static constexpr Duration kBetweenSweeps = std::chrono::seconds(5);
  static constexpr std::int64_t kFirstPage = 256;
  static constexpr std::int64_t kPage = 1000;

  const Duration lease_;
  const NowFunction now_;
  Self self_;
  std::int64_t beat_ = 0;   ///< that was counted last
  Duration counted_{};      ///< when that was sent
  Duration next_sweep_{};   ///< none yet: at the first beat
  std::int64_t swept_ = 0;  ///< the sweep has come to this owner
  Duration last_sent_{};
  std::map<std::int64_t, Other> others_;
  std::size_t taken_ = 0;  ///< and not told yet
};

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
