/// Generated from include/dtm/testing/incident/replay_report.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"

// ---- dtm/testing/incident/replay_report.hpp ----------------------------------------------------

/// What came of a replay, for the test that asked for it.
/// Needs: std. Threads: values only.

#include <string>

namespace dtm {
inline namespace v1 {
namespace testing {

/// What came of a replay.
struct ReplayReport {
  bool same = false;             ///< nothing differed, as far as it was replayed
  std::string first_difference;  ///< what was recorded, and what is now; empty: nothing
  /// What was left out and why, in sentences: what is behind a gap of the journal, the tries of a tcc and the actions of an
  /// xa, functions inside a commit; empty: all was replayed. `same` says nothing of that.
  std::string not_replayed;
  Timeline recorded;
  Timeline replayed;  ///< until the first difference, in the time of the replay
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
