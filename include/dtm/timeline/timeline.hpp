/// The story of a transaction, for people: its record and its journal, with the calls put together from their begin and end.
/// Needs: std. Threads: values and pure functions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <dtm/core/journal.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

inline constexpr std::size_t kNoEntry = SIZE_MAX;

/// One call of a row.
struct Attempt {
  /// How the call ended.
  enum class Outcome {
    kRunning,  ///< it has no result yet
    kSuccess,
    kFailure,
    kOngoing,
    kError,
    kNotSent,
    kLost  ///< the process that made it ended, or lost the transaction to another, before there was a result
  };
  std::size_t row = 0;  ///< of the transaction
  std::size_t run = 0;  ///< index into Timeline::runs: which process made it
  Time begin{};         ///< 0: not kept (see JournalKind::kGap)
  Time end{};           ///< kLost: when that was noticed; kRunning: 0
  Outcome outcome = Outcome::kRunning;
  std::string text{};                  ///< what the branch, or the error, said
  std::size_t begin_entry = kNoEntry;  ///< where Timeline::entries tell of it
  std::size_t end_entry = kNoEntry;
};

/// In words: "running", "success", "not sent", ...
inline const char* Name(Attempt::Outcome outcome) {
  switch (outcome) {
    case Attempt::Outcome::kRunning: return "running";
    case Attempt::Outcome::kSuccess: return "success";
    case Attempt::Outcome::kFailure: return "failure";
    case Attempt::Outcome::kOngoing: return "ongoing";
    case Attempt::Outcome::kError: return "error";
    case Attempt::Outcome::kNotSent: return "not sent";
    case Attempt::Outcome::kLost: return "lost";
  }
  return "unknown";
}

/// From `begin` on this process drove the transaction.
struct DrivenBy {
  std::string process;  ///< see Options::node_name; empty: not known
  Time begin{};
};

/// The story of one transaction.
struct Timeline {
  Transaction transaction;
  std::vector<JournalEntry> entries;  ///< oldest first; empty: no journal was kept
  std::vector<DrivenBy> runs;         ///< at least one; the first is where it was stored
  std::vector<Attempt> attempts;      ///< in the order in which they began
};

namespace timeline {

inline Attempt::Outcome OutcomeOf(JournalKind kind) {
  switch (kind) {
    case JournalKind::kSuccess: return Attempt::Outcome::kSuccess;
    case JournalKind::kFailure: return Attempt::Outcome::kFailure;
    case JournalKind::kOngoing: return Attempt::Outcome::kOngoing;
    case JournalKind::kError: return Attempt::Outcome::kError;
    case JournalKind::kNotSent: return Attempt::Outcome::kNotSent;
    default: return Attempt::Outcome::kRunning;
  }
}

/// Ends the running attempt of the row, or adds one whose begin is not kept.
inline void EndAttempt(Timeline& story, std::size_t index) {
  const JournalEntry& entry = story.entries[index];
  const auto found = std::find_if(
      story.attempts.rbegin(), story.attempts.rend(), [&entry](const Attempt& attempt) {
        return attempt.row == entry.row && attempt.outcome == Attempt::Outcome::kRunning;
      });
  if (found == story.attempts.rend()) {
    story.attempts.push_back({entry.row, story.runs.size() - 1, Time{}, entry.time,
                              OutcomeOf(entry.kind), entry.text, kNoEntry, index});
    return;
  }
  found->end = entry.time;
  found->outcome = OutcomeOf(entry.kind);
  found->text = entry.text;
  found->end_entry = index;
}

/// What was running when the process ended, or the transaction, has no result any more. `row`: only of this one.
inline void LoseRunning(Timeline& story, Time time, std::size_t row = kNoRow) {
  for (Attempt& attempt : story.attempts) {
    if (attempt.outcome != Attempt::Outcome::kRunning) continue;
    if (row != kNoRow && attempt.row != row) continue;
    attempt.outcome = Attempt::Outcome::kLost;
    attempt.end = time;
  }
}

}  // namespace timeline

/// The story of a transaction, from what the store has of it. Pure.
inline Timeline MakeTimeline(Transaction transaction, std::vector<JournalEntry> entries) {
  Timeline story{std::move(transaction), std::move(entries), {}, {}};
  story.runs.push_back({});
  story.runs.front().begin = story.transaction.created;
  for (std::size_t i = 0; i < story.entries.size(); ++i) {
    const JournalEntry& entry = story.entries[i];
    switch (entry.kind) {
      case JournalKind::kPrepared:
      case JournalKind::kSubmitted:
        if (story.runs.front().process.empty()) story.runs.front().process = entry.who;
        break;
      case JournalKind::kTakenUp:
        timeline::LoseRunning(story, entry.time);
        story.runs.push_back({entry.who, entry.time});
        break;
      case JournalKind::kStarted:
        timeline::LoseRunning(story, entry.time, entry.row);  // its commit was in doubt
        story.attempts.push_back({entry.row, story.runs.size() - 1, entry.time});
        story.attempts.back().begin_entry = i;
        break;
      case JournalKind::kSuccess:
      case JournalKind::kFailure:
      case JournalKind::kOngoing:
      case JournalKind::kError:
      case JournalKind::kNotSent: timeline::EndAttempt(story, i); break;
      case JournalKind::kSucceeded:
      case JournalKind::kFailed: timeline::LoseRunning(story, entry.time); break;
      case JournalKind::kRegistered:
      case JournalKind::kRollback:
      case JournalKind::kStuck:
      case JournalKind::kCancel:
      case JournalKind::kForceStop:
      case JournalKind::kRetryNow:
      case JournalKind::kFinish:
      case JournalKind::kRepair:
      case JournalKind::kGap: break;
    }
  }
  return story;
}

}  // namespace v1
}  // namespace dtm
