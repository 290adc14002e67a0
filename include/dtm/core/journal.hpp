/// The journal of a transaction: what happened to it, entry by entry, and how much of that is kept.
/// Needs: std. Threads: values and pure functions. Document: docs/store_format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
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
  kStuck = 11,      ///< nothing goes on with it until somebody retries or stops it; `text` says why
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

/// What is kept of one transaction.
inline constexpr std::size_t kMaxJournalText = 200;     ///< bytes of one text
inline constexpr std::size_t kMaxJournalWho = 64;       ///< bytes of one name
inline constexpr std::size_t kMaxJournalEntries = 256;  ///< more are folded, see FoldJournal
inline constexpr std::size_t kFirstEntries = 48;
inline constexpr std::size_t kLastEntries = 128;
inline constexpr std::size_t kDecisionsBetween = 16;

/// There may be any number of these between two decisions.
inline bool IsAttempt(JournalKind kind) {
  return kind >= JournalKind::kRegistered && kind <= JournalKind::kNotSent;
}

/// Leaves the first kFirstEntries, the last kLastEntries and the first kDecisionsBetween decisions between
/// them. In place of the others there is a gap that counts them. Does nothing while there are no more than
/// kMaxJournalEntries.
inline void FoldJournal(std::vector<JournalEntry>& entries) {
  if (entries.size() <= kMaxJournalEntries) return;
  const std::size_t last = entries.size() - kLastEntries;
  std::size_t kept = kFirstEntries;
  std::size_t decisions = 0;
  for (std::size_t i = kFirstEntries; i < entries.size(); ++i) {
    JournalEntry& entry = entries[i];
    const bool gap = entry.kind == JournalKind::kGap;
    const bool decision = !gap && !IsAttempt(entry.kind);
    if (i >= last || (decision && ++decisions <= kDecisionsBetween)) {
      if (i != kept) entries[kept] = std::move(entry);
      ++kept;
      continue;
    }
    const std::size_t count = gap ? entry.row : 1;
    const Time time = entry.time;
    JournalEntry& before = entries[kept - 1];
    if (before.kind == JournalKind::kGap) {
      before.row = before.row == 0 || count == 0 ? 0 : before.row + count;
      before.time = time;
    } else {
      entries[kept++] = {time, count, {}, JournalKind::kGap, {}};
    }
  }
  entries.resize(kept);
}

}  // namespace v1
}  // namespace dtm
