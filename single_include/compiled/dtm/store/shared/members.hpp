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

  struct Seen {
    bool is_member = false;  ///< and stays one until `until`, whatever happens
    Duration until{};        ///< since boot
    std::size_t taken = 0;   ///< transactions that have come to be ours
    bool more = false;       ///< some are left: beat again at once
    bool asked = false;      ///< others want something, see Query::kAsked
    /// What the dead have left that calls functions of other apps: how many transactions, by app.
    std::map<std::string, std::int64_t> left;
  };

  /// One beat of this member, and what follows from those of the others. `app`: what calls functions is taken over only if
  /// they are this app's.
  /// @throws SqlError  the database cannot be asked.
  Seen Beat(Connection& connection, std::uint64_t member, const std::string& app) {
    const auto me = static_cast<std::int64_t>(member);
    const auto waiting = static_cast<std::int64_t>(OwnerForApp(app));
    const Duration sent = now_();
    const auto rows = connection.Run(Query::kBeat, {me, waiting});
    const Duration answered = now_();
    Seen seen;
    seen.is_member = rows->Count() > 0 && rows->Number(0, 3) == 1;
    seen.until = sent + CallsFor(lease_);
    // Whoever was silent meanwhile may have had the same reason: everybody gets time to beat first.
    if (sent - last_sent_ > lease_ / 2) others_.clear();
    last_sent_ = sent;
    Note(*rows, me, answered);
    if (!seen.is_member) return seen;
    seen.asked = rows->Number(0, 4) > 0;
    const std::vector<std::string> apps{{}, app};
    if (rows->Number(0, 5) > 0) (void)Claim(connection, waiting, me, apps, sent, seen);
    for (const auto& [id, other] : others_) {
      if (other.heir != me && !Inherit(connection, id, other, me, sent)) continue;
      if (!Claim(connection, id, me, apps, sent, seen)) continue;
      LeaveToOthers(connection, id, me, seen);
      (void)connection.Run(Query::kBury, {id, me});
    }
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
      const std::int64_t id = rows.Number(row, 0);
      if (id == me) continue;
      Other other{rows.Number(row, 1), rows.Number(row, 2), answered};
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
    for (std::int64_t page = kFirstPage;; page = kPage) {
      ++taken_;  // should the answer be lost
      const std::size_t taken =
          connection.Run(Query::kClaim, {owner, me, page, &apps, me})->Count();
      taken_ = taken_ - 1 + taken;
      if (taken == 0) return true;
      if (now_() - sent > lease_ / 8) return seen.more = true, false;
    }
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

  static constexpr std::int64_t kFirstPage = 256;
  static constexpr std::int64_t kPage = 1000;

  const Duration lease_;
  const NowFunction now_;
  Duration last_sent_{};
  std::map<std::int64_t, Other> others_;
  std::size_t taken_ = 0;  ///< and not told yet
};

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
