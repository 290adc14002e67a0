/// The journal of a transaction: what happened to it, entry by entry, and how much of that is kept.
/// Needs: std. Threads: values and pure functions. Document: docs/store_format.md.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

/// What an entry tells. The numbers are stored; never change the value of one.
enum class JournalKind : std::uint8_t {
  kPrepared = 1,    ///< it was stored, to run when it is submitted
  kSubmitted = 2,   ///< it was submitted
  kRegistered = 3,  ///< a branch was registered, or a workflow's step recorded; `row` is its call
  kStarted = 4,     ///< the call of `row` is about to start
  kSuccess = 5,     ///< `row` was done
  kFailure = 6,     ///< `row` refused, `text` says why
  kOngoing = 7,     ///< `row` is not finished yet
  kError = 8,       ///< the call of `row` had no definite answer, `text` says why
  kNotSent = 9,     ///< the call of `row` did not start, `text` says why
  kRollback = 10,   ///< it is rolled back from now on; `text` says why, `row` is whose reason it is
  kStuck = 11,      ///< it waits for a person: RetryNow, Skip or ForceStop; `text` says why
  kSucceeded = 12,  ///< it ended
  kFailed = 13,     ///< it ended, rolled back or stopped
  kCancel = 14,     ///< somebody asked to roll it back; `text` says why
  kForceStop = 15,  ///< somebody stopped it
  kRetryNow = 16,   ///< somebody asked to forget its waits
  kFinish = 17,     ///< workflow: its initiator said how it ended; `text` is why it failed
  kTakenUp = 18,    ///< another run of the coordinator goes on with it
  kGap = 19,        ///< `row` entries were here and are not kept; 0: nobody knows how many
  kRepair = 20      ///< somebody said that `row` counts as done, without a call; `text` says why
};

/// In words, for people and files.
inline const char* Name(JournalKind kind) {
  switch (kind) {
    case JournalKind::kPrepared: return "prepared";
    case JournalKind::kSubmitted: return "submitted";
    case JournalKind::kRegistered: return "registered";
    case JournalKind::kStarted: return "started";
    case JournalKind::kSuccess: return "success";
    case JournalKind::kFailure: return "failure";
    case JournalKind::kOngoing: return "ongoing";
    case JournalKind::kError: return "error";
    case JournalKind::kNotSent: return "not sent";
    case JournalKind::kRollback: return "rollback";
    case JournalKind::kStuck: return "stuck";
    case JournalKind::kSucceeded: return "succeeded";
    case JournalKind::kFailed: return "failed";
    case JournalKind::kCancel: return "cancel";
    case JournalKind::kForceStop: return "force stop";
    case JournalKind::kRetryNow: return "retry now";
    case JournalKind::kFinish: return "finish";
    case JournalKind::kTakenUp: return "taken up";
    case JournalKind::kGap: return "gap";
    case JournalKind::kRepair: return "repair";
  }
  return "unknown";
}

/// `row` of an entry that concerns no branch.
inline constexpr std::size_t kNoRow = SIZE_MAX;

/// One thing that happened. It becomes durable with the change of the record that followed from it.
struct JournalEntry {
  Time time{};
  std::size_t row = kNoRow;  ///< of the transaction, see Transaction; kGap: a number of entries
  Op op{};                   ///< of that row; 0 without one
  JournalKind kind{};
  std::string text{};  ///< at most kMaxJournalText bytes
  /// kPrepared, kSubmitted, kTakenUp: the process that drives it from then on. Of what people ask for (kCancel, kForceStop,
  /// kRetryNow, kRepair): who asked, if they said so. At most kMaxJournalWho bytes.
  std::string who{};
};

inline bool operator==(const JournalEntry& a, const JournalEntry& b) {
  return a.time == b.time && a.row == b.row && a.op == b.op && a.kind == b.kind &&
         a.text == b.text && a.who == b.who;
}

/// Who asks for something by hand, and why: for the journal. Whatever is not known is empty.
struct By {
  std::string
      who{};  ///< as the program or the request says, it is not checked; kMaxJournalWho bytes are kept
  std::string why{};  ///< kMaxJournalText bytes are kept
};

/// What is kept of one transaction, besides Options::history.
inline constexpr std::size_t kMaxJournalText = 200;  ///< bytes of one text
inline constexpr std::size_t kMaxJournalWho = 64;    ///< bytes of one name
inline constexpr std::size_t kFirstAttempts = 8;     ///< of all rows together
inline constexpr std::size_t kLastAttempts = 500;    ///< the same
inline constexpr std::size_t kFirstDecisions = 16;
inline constexpr std::size_t kLastDecisions = 48;
/// What these come to as they are stored, also of the largest transaction, with a text and a name everywhere.
inline constexpr std::size_t kMaxJournalBytes = std::size_t{160} << 10;

/// An entry about one call of a row, or about its registration. The others are decisions.
inline bool IsAttempt(JournalKind kind) {
  return kind >= JournalKind::kRegistered && kind <= JournalKind::kNotSent;
}

/// Which entries of a journal stay. An attempt is one call: that it started, and what came of it; or a registration.
class JournalFold {
 public:
  JournalFold(const std::vector<JournalEntry>& entries, std::size_t history)
      : entries_(entries), attempt_of_(entries.size(), kNone) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (IsAttempt(entries[i].kind)) {
        attempt_of_[i] = AttemptOf(entries[i]);
      } else if (entries[i].kind != JournalKind::kGap) {
        ++decisions_;
      }
    }
    MarkKept(history);
  }

  /// To be asked of each entry, once, in their order.
  bool Keeps(std::size_t i) {
    if (entries_[i].kind == JournalKind::kGap) return false;
    if (attempt_of_[i] != kNone) return attempts_[attempt_of_[i]].kept;
    const std::size_t nr = decision_++;
    return nr < kFirstDecisions || nr + kLastDecisions >= decisions_;
  }

 private:
  static constexpr std::size_t kNone = SIZE_MAX;

  struct OneAttempt {
    std::size_t row;
    bool registration;
    bool ended;  ///< there is an entry of that
    bool kept = false;
  };
  struct Row {
    std::size_t last = kNone;  ///< attempt
    bool open = false;         ///< it has no end yet
    std::size_t later = 0;
  };

  std::size_t AttemptOf(const JournalEntry& entry) {
    const bool registration = entry.kind == JournalKind::kRegistered;
    Row& row = rows_[entry.row];
    const bool starts = entry.kind == JournalKind::kStarted;
    if (!registration && !starts && row.open) {
      row.open = false;
      attempts_[row.last].ended = true;
      return row.last;
    }
    attempts_.push_back({entry.row, registration, !starts});
    if (registration) return attempts_.size() - 1;
    row.open = starts;
    return row.last = attempts_.size() - 1;
  }

  /// One that has no end yet stays: its end will belong to it. One that will never have an end goes before the later ones
  /// of its row do, so that no end of theirs is taken for its own.
  void MarkKept(std::size_t history) {
    std::size_t first = (std::min)(kFirstAttempts, history);
    for (OneAttempt& attempt : attempts_) {
      if (first == 0) break;
      if (!attempt.ended) continue;
      attempt.kept = true;
      --first;
    }
    std::size_t later = 0;
    for (std::size_t i = attempts_.size(); i-- > 0;) {
      OneAttempt& attempt = attempts_[i];
      Row& row = rows_[attempt.row];
      const bool last_of_row = attempt.registration || row.later++ < history;
      const bool last = last_of_row && later++ < kLastAttempts;
      if (last || (row.open && row.last == i)) attempt.kept = true;
    }
  }

  const std::vector<JournalEntry>& entries_;
  std::vector<std::size_t> attempt_of_;
  std::vector<OneAttempt> attempts_;
  std::unordered_map<std::size_t, Row> rows_;
  std::size_t decisions_ = 0;
  std::size_t decision_ = 0;  // the next
};

/// Leaves of each row its last `history` attempts (1 or more), as far as they are among the last kLastAttempts of all that;
/// the first kFirstAttempts of all that ended, or `history` if that is less; the first and the last decisions; and attempts that have
/// no end yet. In place of the others there are gaps that count them. It does not matter how often a journal is folded while
/// it grows: the result is the same as if all of it were folded at once.
inline void FoldJournal(std::vector<JournalEntry>& entries, std::size_t history) {
  if (entries.size() <= (std::min)(history, kFirstDecisions + kLastDecisions)) return;
  JournalFold fold(entries, history);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    JournalEntry& entry = entries[i];
    if (fold.Keeps(i)) {
      if (i != kept) entries[kept] = std::move(entry);
      ++kept;
      continue;
    }
    const std::size_t count = entry.kind == JournalKind::kGap ? entry.row : 1;
    JournalEntry* before = kept == 0 ? nullptr : &entries[kept - 1];
    if (before != nullptr && before->kind == JournalKind::kGap) {
      before->row = before->row == 0 || count == 0 ? 0 : before->row + count;
      before->time = entry.time;
    } else {
      entries[kept++] = {entry.time, count, {}, JournalKind::kGap, {}};
    }
  }
  entries.resize(kept);
}

}  // namespace v1
}  // namespace dtm
