/// Generated from include/dtm/testing/incident/recording.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "in_text.hpp"

// ---- dtm/testing/incident/recording.hpp --------------------------------------------------------

/// The journal of a recorded transaction as a replay walks through it: what came from outside, what the coordinator did.
/// Needs: std. Threads: values only.

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace testing {

/// What a coordinator does of its own accord. The other entries tell what it was told. The result of a function inside a
/// commit counts as done by it, since it runs that itself.
inline bool IsDoneByCoordinator(const JournalEntry& entry, const Definition& definition) {
  switch (entry.kind) {
    case JournalKind::kStarted:
    case JournalKind::kRollback:
    case JournalKind::kStuck:
    case JournalKind::kSucceeded:
    case JournalKind::kFailed: return true;
    case JournalKind::kSuccess:
    case JournalKind::kFailure:
    case JournalKind::kOngoing:
    case JournalKind::kError:
    case JournalKind::kNotSent:
      return entry.row < RowCount(definition) && RunsInTransaction(UrlOf(definition, entry.row));
    default: return false;
  }
}

inline bool IsResult(JournalKind kind) {
  return kind >= JournalKind::kSuccess && kind <= JournalKind::kNotSent;
}

class Recording {
 public:
  struct Item {
    JournalEntry entry;
    bool done_by_coordinator = false;
    /// Its process ended before this, at the same moment as the last entry: the same call begins again without a result.
    bool crash_before = false;
    std::size_t attempt = 0;  ///< of its row, from 1: kStarted, results
  };

  explicit Recording(const Timeline& story) : transaction_(story.transaction) {
    std::map<std::size_t, std::size_t> attempts;
    std::map<std::size_t, bool> open;
    for (const JournalEntry& entry : story.entries) {
      if (entry.kind == JournalKind::kGap || gap_) {
        gap_ = true;
        ++left_out_;
        if (entry.kind == JournalKind::kGap && entry.row > 0) left_out_ += entry.row - 1;
        continue;
      }
      Item item{entry, IsDoneByCoordinator(entry, Def())};
      if (entry.kind == JournalKind::kTakenUp) open.clear();
      if (entry.kind == JournalKind::kStarted) {
        item.crash_before = open[entry.row];
        if (item.crash_before) open.clear();
        open[entry.row] = true;
        ++attempts[entry.row];
      }
      if (IsResult(entry.kind)) {
        if (item.done_by_coordinator) ++attempts[entry.row];
        open[entry.row] = false;
      }
      item.attempt = attempts[entry.row];
      items_.push_back(std::move(item));
    }
  }

  const Definition& Def() const { return *transaction_.definition; }
  std::size_t Size() const { return items_.size(); }
  const Item& operator[](std::size_t i) const { return items_[i]; }
  bool HasGap() const { return gap_; }
  /// How many entries are behind the first gap, or in it.
  std::size_t LeftOut() const { return left_out_; }

  std::vector<JournalEntry> DoneByCoordinator() const {
    std::vector<JournalEntry> done;
    for (const Item& item : items_) {
      if (item.done_by_coordinator) done.push_back(item.entry);
    }
    return done;
  }

  /// How long the row waited at least after what came of its call at `i`: until it was called again, or until somebody ended
  /// its wait, or all that is recorded.
  Duration WaitAfter(std::size_t i) const {
    const std::size_t row = items_[i].entry.row;
    const Time from = items_[i].entry.time;
    for (std::size_t next = i + 1; next < items_.size(); ++next) {
      const JournalEntry& entry = items_[next].entry;
      const bool again = entry.row == row && items_[next].done_by_coordinator &&
                         (entry.kind == JournalKind::kStarted || IsResult(entry.kind));
      if (again) return entry.time - from;
      if (entry.kind == JournalKind::kRetryNow || entry.kind == JournalKind::kCancel) {
        return entry.time - from + Duration(1);
      }
    }
    return items_.back().entry.time - from + Duration(1);
  }

  /// The process was about to end when this result came: nothing was called any more.
  bool WhileStopping(std::size_t i) const {
    if (items_[i].entry.kind != JournalKind::kNotSent) return false;
    for (std::size_t next = i + 1; next < items_.size(); ++next) {
      const JournalEntry& entry = items_[next].entry;
      if (entry.kind == JournalKind::kTakenUp) return true;
      if (entry.kind == JournalKind::kStarted) return false;
    }
    return false;
  }

  /// What came of the call that begins at `i`; nothing if that is not there.
  const JournalEntry* ResultOf(std::size_t i) const {
    for (std::size_t next = i + 1; next < items_.size(); ++next) {
      const JournalEntry& entry = items_[next].entry;
      if (entry.kind == JournalKind::kTakenUp || items_[next].crash_before) return nullptr;
      if (entry.row == items_[i].entry.row && IsResult(entry.kind)) return &entry;
    }
    return nullptr;
  }

  /// The text of a failure: the journal has only its begin, the record all of it if it is the reason.
  std::string TextOf(const JournalEntry& entry) const {
    const bool reason = entry.kind == JournalKind::kFailure && !entry.text.empty() &&
                        transaction_.reason_from == entry.row + 1 &&
                        HasPrefix(transaction_.reason, entry.text);
    return reason ? transaction_.reason : entry.text;
  }

  /// With what made the coordinator wait as long as it did.
  Result RecordedResult(std::size_t i) const {
    const JournalEntry& entry = items_[i].entry;
    Result result;
    for (const Result::Kind kind :
         {Result::Kind::kSuccess, Result::Kind::kFailure, Result::Kind::kOngoing,
          Result::Kind::kError, Result::Kind::kNotSent}) {
      if (KindOf(kind) == entry.kind) result.kind = kind;
    }
    result.text = TextOf(entry);
    const bool waits = entry.kind != JournalKind::kSuccess && !WhileStopping(i);
    if (waits) result.retry_after = WaitAfter(i);
    return result;
  }

  /// Steps of a workflow that are taken side by side are recorded in any order.
  void MoveTo(std::size_t from, std::size_t to) {
    const auto at = [this](std::size_t i) {
      return items_.begin() + static_cast<std::ptrdiff_t>(i);
    };
    std::rotate(at(to), at(from), at(from + 1));
  }

 private:
  const Transaction& transaction_;
  std::vector<Item> items_;
  bool gap_ = false;
  std::size_t left_out_ = 0;
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
