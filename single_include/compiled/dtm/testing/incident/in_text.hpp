/// Generated from include/dtm/testing/incident/in_text.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"

// ---- dtm/testing/incident/in_text.hpp ----------------------------------------------------------

/// Recorded and replayed results and steps, compared and in words.
/// Needs: std. Threads: pure functions.

#include <cstddef>
#include <string>

namespace dtm {
inline namespace v1 {
namespace testing {

/// "branch 02 action (http://bank/pay)"
inline std::string BranchText(const Definition& definition, std::size_t row) {
  if (row >= RowCount(definition)) return "row " + std::to_string(row);
  const std::string url = ShownUrl(UrlOf(definition, row));
  return "branch " + BranchIdOf(definition, row) + " " + Name(OpOf(definition, row)) +
         (url.empty() ? "" : " (" + url + ")");
}

/// "failure 'account closed'"
inline std::string OutcomeText(const char* name, const std::string& text) {
  return text.empty() ? name : std::string(name) + " '" + text + "'";
}

inline JournalKind KindOf(Result::Kind kind) {
  switch (kind) {
    case Result::Kind::kSuccess: return JournalKind::kSuccess;
    case Result::Kind::kFailure: return JournalKind::kFailure;
    case Result::Kind::kOngoing: return JournalKind::kOngoing;
    case Result::Kind::kError: return JournalKind::kError;
    case Result::Kind::kNotSent: return JournalKind::kNotSent;
  }
  return JournalKind::kError;
}

/// A failure is compared with its text as the journal keeps it, of other results only the kind: errors name ports, times and
/// addresses. `redacted`: the recorded text is none.
inline bool SameResult(const Result& recorded, const Result& now, bool redacted) {
  if (recorded.kind != now.kind) return false;
  if (now.kind != Result::Kind::kFailure || redacted) return true;
  return Truncated(recorded.text, kMaxJournalText) == Truncated(now.text, kMaxJournalText);
}

/// "attempt 2 of branch 01 action (http://h/a) began"; `attempt`: 0 if it is not known.
inline std::string DoneText(const Definition& definition, const JournalEntry& entry,
                            std::size_t attempt) {
  const std::string call = (attempt > 0 ? "attempt " + std::to_string(attempt) + " of " : "") +
                           BranchText(definition, entry.row);
  switch (entry.kind) {
    case JournalKind::kStarted: return call + " began";
    case JournalKind::kRollback: return OutcomeText("rolled back because of", entry.text);
    case JournalKind::kStuck: return OutcomeText("stuck", entry.text);
    case JournalKind::kSucceeded: return "it succeeded";
    case JournalKind::kFailed: return "it failed";
    default: return call + ": " + OutcomeText(Name(entry.kind), entry.text);
  }
}

inline std::string StepText(const Step& step) {
  const std::string what = step.topic.empty() ? step.action : step.topic + ", " + step.action;
  return "branch " + step.branch_id + " " + Name(step.op) + " (" + what + "): " +
         OutcomeText(step.failed ? "failure" : "success",
                     Printable(Truncated(step.payload, kMaxJournalText)));
}

}  // namespace testing
}  // namespace v1
}  // namespace dtm
