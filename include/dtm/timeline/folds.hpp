/// When things happened, and what of a long story is not drawn: of many tries of one row, and of what people or processes did again and again, the
/// first and the last are shown, and a sentence stands for those between.
/// Needs: std. Threads: values and pure functions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/time.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/timeline/drawing/diagram.hpp>
#include <dtm/timeline/drawing/shown_text.hpp>
#include <dtm/timeline/drawing/spans.hpp>
#include <dtm/timeline/timeline.hpp>

namespace dtm {
inline namespace v1 {
namespace timeline {

/// When each entry was made, since `begin`. Time does not go back here: if a clock was set back, what follows is counted on.
struct StoryTimes {
  StoryTimes(Time begin, const std::vector<JournalEntry>& entries) {
    constexpr Duration kFar{INT64_MAX / 8};
    Duration last{0};
    for (const JournalEntry& entry : entries) {
      Duration at = drawing::Between(begin, entry.time) + shift;
      set_back.push_back((std::max)(last - at, Duration{0}));
      shift = (std::min)(shift + set_back.back(), kFar);
      last = (std::max)(last, at);
      since.push_back(last);
    }
  }

  std::vector<Duration> since{};
  std::vector<Duration> set_back{};  ///< by how much the clock was set back before that entry
  Duration shift{0};                 ///< to be added to a time after the last entry
};

inline constexpr std::size_t kFirstShown = 2;
inline constexpr std::size_t kLastShown = 3;

/// Stands for the entries from `first` to `last` that are hidden for the same reason.
struct Fold {
  std::size_t first = 0;
  std::size_t last = 0;
  std::size_t row = kNoRow;  ///< whose tries are hidden
  std::string text{};
  std::string more{};
};

struct Folds {
  std::vector<bool> hidden;           ///< of each entry
  std::map<std::size_t, Fold> folds;  ///< by the first entry that they stand for
};

class FoldStory {
 public:
  static Folds Make(const Timeline& story, const std::vector<Duration>& times) {
    return FoldStory(story, times).folds_;
  }

 private:
  FoldStory(const Timeline& story, const std::vector<Duration>& times)
      : story_(story), times_(times) {
    folds_.hidden.resize(story.entries.size());
    std::map<std::size_t, std::vector<const Attempt*>> rows;
    for (const Attempt& attempt : story.attempts) rows[attempt.row].push_back(&attempt);
    for (const auto& [row, attempts] : rows) HideAttempts(row, attempts);
    std::map<JournalKind, std::vector<std::size_t>> decisions;
    for (std::size_t i = 0; i < story.entries.size(); ++i) {
      const JournalKind kind = story.entries[i].kind;
      if (!IsAttempt(kind) && kind != JournalKind::kGap) decisions[kind].push_back(i);
    }
    for (const auto& [kind, entries] : decisions) HideDecisions(kind, entries);
  }

  template <typename Item>
  static std::vector<Item> Middle(const std::vector<Item>& all) {
    if (all.size() <= kFirstShown + kLastShown + 1) return {};
    return {all.begin() + kFirstShown, all.end() - kLastShown};
  }

  void Hide(std::size_t entry, Fold& fold, bool& any) {
    if (entry >= folds_.hidden.size()) return;
    folds_.hidden[entry] = true;
    fold.first = any ? (std::min)(fold.first, entry) : entry;
    fold.last = any ? (std::max)(fold.last, entry) : entry;
    any = true;
  }

  void HideDecisions(JournalKind kind, const std::vector<std::size_t>& entries) {
    const std::vector<std::size_t> between = Middle(entries);
    Fold fold;
    bool any = false;
    for (const std::size_t entry : between) Hide(entry, fold, any);
    if (!any) return;
    fold.text = std::to_string(between.size()) + " times more: " + Name(kind);
    folds_.folds.emplace(fold.first, fold);
  }

  void HideAttempts(std::size_t row, const std::vector<const Attempt*>& attempts) {
    const std::vector<const Attempt*> between = Middle(attempts);
    Fold fold;
    fold.row = row;
    bool any = false;
    for (const Attempt* attempt : between) {
      Hide(attempt->begin_entry, fold, any);
      Hide(attempt->end_entry, fold, any);
    }
    if (!any) return;
    std::size_t count = between.size();
    const std::size_t gap = HideGaps(fold);
    if (gap > 0 && row < story_.transaction.branches.size()) {
      const std::size_t tries = story_.transaction.branches[row].tries;
      count = (std::max)(count, tries - (std::min)(tries, attempts.size() - between.size()));
    }
    fold.text = std::to_string(count) + " more tries over " +
                drawing::SpanInWords(times_[fold.last] - times_[fold.first]);
    if (gap > 0) fold.text += " (" + std::to_string(gap) + " entries not kept)";
    AddOutcomes(between, fold);
    folds_.folds.emplace(fold.first, fold);
  }

  /// Gaps inside of the fold need no line of their own. Returns how many entries they count, at least 1 for each.
  std::size_t HideGaps(const Fold& fold) {
    std::size_t count = 0;
    for (std::size_t i = fold.first; i <= fold.last; ++i) {
      const JournalEntry& entry = story_.entries[i];
      if (entry.kind != JournalKind::kGap || folds_.hidden[i]) continue;
      folds_.hidden[i] = true;
      count += (std::max)((std::min)(entry.row, std::size_t{1000000000}), std::size_t{1});
    }
    return count;
  }

  /// ", all error" and what it said, or ", 20 error, 3 ongoing" and what was said most often.
  static void AddOutcomes(const std::vector<const Attempt*>& attempts, Fold& fold) {
    std::map<std::string, std::size_t> outcomes, texts;
    for (const Attempt* attempt : attempts) {
      ++outcomes[Name(attempt->outcome)];
      ++texts[attempt->text];
    }
    if (outcomes.size() == 1) fold.text += ", all " + outcomes.begin()->first;
    if (outcomes.size() > 1) {
      for (const auto& [outcome, count] : ByNumber(outcomes)) {
        fold.text += ", " + std::to_string(count) + " " + outcome;
      }
    }
    fold.more = ByNumber(texts).front().first;
    if (texts.size() > 1 && !fold.more.empty()) fold.more = "mostly " + fold.more;
  }

  /// The most frequent first.
  static std::vector<std::pair<std::string, std::size_t>> ByNumber(
      const std::map<std::string, std::size_t>& counted) {
    std::vector<std::pair<std::string, std::size_t>> sorted(counted.begin(), counted.end());
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    return sorted;
  }

  const Timeline& story_;
  const std::vector<Duration>& times_;
  Folds folds_;
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm
