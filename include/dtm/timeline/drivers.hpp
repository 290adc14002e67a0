/// Which processes drove a transaction, and what a diagram says when another one goes on with it.
/// Needs: std. Threads: one thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <dtm/core/journal.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/timeline/drawing/diagram.hpp>
#include <dtm/timeline/lifelines.hpp>
#include <dtm/timeline/story_events.hpp>
#include <dtm/timeline/timeline.hpp>

namespace dtm {
inline namespace v1 {
namespace timeline {

/// Of "machine:4711" only the number, if all are of one machine: that is how a coordinator names itself.
inline std::vector<std::string> ProcessNames(const std::vector<DrivenBy>& runs) {
  const auto host = [](const std::string& name) {
    const std::size_t colon = name.rfind(':');
    const bool number = colon != std::string::npos && colon + 1 < name.size() &&
                        name.find_first_not_of("0123456789", colon + 1) == std::string::npos;
    return number ? name.substr(0, colon + 1) : std::string();
  };
  const bool one = std::all_of(runs.begin(), runs.end(), [&](const DrivenBy& run) {
    return !host(run.process).empty() && host(run.process) == host(runs.front().process);
  });
  std::vector<std::string> names;
  for (const DrivenBy& run : runs) {
    const std::size_t skipped = one ? host(run.process).size() : 0;
    names.push_back((one ? "process " : "") + ShownName(run.process.substr(skipped)));
  }
  return names;
}

class Drivers {
 public:
  explicit Drivers(const Timeline& story)
      : entries_(story.entries),
        names_(ProcessNames(story.runs)),
        shared_(story.transaction.driver != 0) {}

  /// To be told of each entry, in their order.
  void Pass(const JournalEntry& entry) {
    switch (entry.kind) {
      case JournalKind::kPrepared: prepared_ = true; break;
      case JournalKind::kTakenUp: ++run_; break;
      case JournalKind::kSubmitted:
      case JournalKind::kSuccess:  // of the question to its initiator
      case JournalKind::kRollback:
      case JournalKind::kFinish: prepared_ = false; break;
      default: break;
    }
  }

  /// Of entry `i`, the last one that was passed.
  void TellTakenUp(std::size_t i, StoryEvents& events) const {
    const std::string before = Name(run_ - 1), now = Name(run_);
    if (BeforeMayLive(i)) {
      const std::string who = now.empty() ? "another process" : now;
      return events.Note(who + " goes on with it", "", Tone::kPlain);
    }
    const bool same = before == now && !now.empty();
    events.Break(before.empty() ? "its process is gone" : before + " is gone",
                 same          ? "started again"
                 : now.empty() ? "taken up"
                               : "taken up by " + now);
  }

 private:
  /// In a shared store each node goes on with what is prepared, and stops what another one drives.
  bool BeforeMayLive(std::size_t i) const {
    const bool stops = i + 1 < entries_.size() && entries_[i + 1].kind == JournalKind::kForceStop;
    return shared_ && (prepared_ || stops);
  }

  /// Empty if it is not known.
  std::string Name(std::size_t run) const {
    return run < names_.size() ? names_[run] : std::string();
  }

  const std::vector<JournalEntry>& entries_;
  const std::vector<std::string> names_;
  const bool shared_;
  bool prepared_ = false;
  std::size_t run_ = 0;
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm
