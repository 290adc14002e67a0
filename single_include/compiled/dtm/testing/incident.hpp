/// Generated from include/dtm/testing/incident.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "incident/read_export.hpp"
#include "incident/replay_report.hpp"
#include "replay.hpp"

// ---- dtm/testing/incident.hpp ------------------------------------------------------------------

/// Replays an exported transaction in a test: the same calls in the same order, so that a breakpoint in a function shows what
/// happened, and a change of the code is found at the first step that differs.
/// Needs: nlohmann/json, SQLite. Threads: one thread. Document: docs/replay.md.

#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <utility>

namespace dtm {
inline namespace v1 {
namespace testing {

/// A transaction that was exported where it happened, to be replayed in a test.
class Incident {
 public:
  /// Reads a file that `dtm export` or Export has written.
  /// @throws Error     it cannot be read.
  /// @throws BadInput  it is no export, or of a newer version; or nothing of it can be replayed, since no journal was kept or
  /// its begin is not kept.
  explicit Incident(const std::string& file) : Incident(ContentOf(file), file) {}

  /// The same for the document itself; `name` is for errors.
  static Incident FromText(const std::string& text, const std::string& name = "the export") {
    return Incident(text, name);
  }

  /// The story that the export tells.
  const Timeline& Recorded() const { return exported_.story; }

  /// Replays it. `setup` registers functions and workflows, as for a TestCoordinator, and is called again after every crash
  /// of the record. Functions that it registers run in the order in which they were called, and each result is compared
  /// with the recorded one; of all other functions and of URLs the recorded results are taken. The coordinator is told each
  /// result, and what people asked for, when it was told of it then: in virtual time, so this takes milliseconds. After the
  /// first difference nothing more is done.
  ///
  /// `options`: retry_interval, request_timeout and timeout_to_fail are taken from here if the export does not have them.
  /// @throws what `setup` throws. LogicError: the replay does not come to rest.
  ReplayReport ReplayInto(const std::function<void(Coordinator&)>& setup = {},
                          const Options& options = {}) const {
    return Replay(exported_, setup, options).Run();
  }

 private:
  Incident(const std::string& text, const std::string& name) : exported_(ReadExport(text, name)) {
    const Transaction& transaction = exported_.story.transaction;
    if (transaction.unreadable || transaction.expired) {
      throw BadInput(name + " cannot be replayed: " +
                     (transaction.expired ? "of this transaction only its end was kept"
                                          : "its record was damaged"));
    }
    const auto& entries = exported_.story.entries;
    if (entries.empty()) {
      throw BadInput(name +
                     " has no journal, so there is nothing to replay; the journal is kept while "
                     "Options::history is not 0");
    }
    const JournalKind first = entries.front().kind;
    if (first != JournalKind::kPrepared && first != JournalKind::kSubmitted) {
      throw BadInput(name +
                     " cannot be replayed: its journal does not begin with its submission, so "
                     "its begin is not kept");
    }
  }

  static std::string ContentOf(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (!in.is_open() || in.bad()) throw Error("the file '" + file + "' cannot be read");
    return text;
  }

  ExportedTransaction exported_;
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
