/// Generated from include/dtm/testing/incident/not_replayed.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "in_text.hpp"
#include "recording.hpp"

// ---- dtm/testing/incident/not_replayed.hpp -----------------------------------------------------

/// What of a recorded transaction a replay leaves out, and why, in sentences for the person who reads the report.
/// Needs: std. Threads: pure functions.

#include <cstddef>
#include <string>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace testing {

/// "01, 02 and 5 more"
inline std::string FirstOf(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 10;
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kShown; ++i)
    text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

/// "entry 12, attempt 3 of branch 01 action (http://h/a) began"
inline std::string LastReplayed(const Recording& record) {
  const Recording::Item& last = record[record.Size() - 1];
  const bool call = last.done_by_coordinator || IsResult(last.entry.kind);
  return "entry " + std::to_string(record.Size()) + ", " +
         (call ? DoneText(record.Def(), last.entry, last.attempt)
               : std::string(Name(last.entry.kind)));
}

/// The calls of a tcc or xa that its initiator made itself.
inline std::string NotReplayedCalls(const Definition& definition) {
  const bool tcc = definition.type == TransType::kTcc, xa = definition.type == TransType::kXa;
  if ((!tcc && !xa) || definition.steps.empty()) return {};
  std::vector<std::string> branches;
  for (std::size_t i = 0; i < definition.steps.size(); ++i) {
    const std::string& given = definition.steps[i].branch_id;
    branches.push_back(given.empty() ? NumberOf(i) : given);
  }
  return std::string(tcc ? "the try" : "the action") + " of each branch (" + FirstOf(branches) +
         ") was not called: the initiator makes these calls itself, and the journal has only the "
         "registration of the branches";
}

/// Functions whose tables are not here.
inline std::string NotRunInCommit(const Definition& definition) {
  std::vector<std::string> branches;
  for (std::size_t row = 0; row < RowCount(definition); ++row) {
    if (RunsInTransaction(UrlOf(definition, row))) branches.push_back(BranchText(definition, row));
  }
  if (branches.empty()) return {};
  return FirstOf(branches) +
         ": run inside a commit, whose tables are not here, so what was "
         "recorded of it was taken";
}

inline std::string NotReplayedGap(const Recording& record) {
  if (!record.HasGap()) return {};
  return "the journal has a gap behind " + LastReplayed(record) + ": " +
         std::to_string(record.LeftOut()) +
         " entries are in it or behind it, and nothing of that was replayed; Options::history says "
         "how many attempts are kept";
}

/// Empty: all was replayed.
inline std::string NotReplayed(const Recording& record) {
  std::string all;
  for (const std::string& sentence :
       {NotReplayedCalls(record.Def()), NotRunInCommit(record.Def()), NotReplayedGap(record)}) {
    if (!sentence.empty()) all += (all.empty() ? "" : ". ") + sentence;
  }
  return all;
}

}  // namespace testing
}  // namespace v1
}  // namespace dtm
