/// Stories that make no sense, with texts that nobody should write.
/// Needs: std. Threads: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tests/timeline/story_kit.hpp"

namespace story_kit {

class RandomStory {
 public:
  explicit RandomStory(std::uint64_t seed) : random_(seed) {}

  dtm::Timeline Make() {
    Story story(static_cast<dtm::TransType>(1 + Below(5)), Text());
    const std::size_t steps = Below(Below(4) == 0 ? 40 : 5);
    for (std::size_t i = 0; i < steps; ++i) story.Step(Url(), Url(), Below(3) == 0 ? Text() : "");
    if (Below(2) == 0) story.definition.query_prepared = Url();
    story.record.status = static_cast<dtm::Status>(1 + Below(5));
    story.record.finished = SomeTime();
    story.record.created = Below(9) == 0 ? SomeTime() : At(0);
    story.record.due = SomeTime();
    story.record.stuck = Below(9) == 0;
    story.record.reason = Text();
    const std::size_t rows = dtm::RowCount(story.definition);
    for (std::size_t i = 0; i < rows; ++i) story.branches.push_back(SomeBranch());
    const std::size_t entries = Below(8) == 0 ? 0 : Below(Below(6) == 0 ? 700 : 40);
    for (std::size_t i = 0; i < entries; ++i) AddEntry(story, rows);
    dtm::Timeline timeline = story.Make();
    if (Below(4) == 0) Damage(timeline);
    return timeline;
  }

 private:
  std::size_t Below(std::size_t end) { return end == 0 ? 0 : random_() % end; }

  dtm::Time SomeTime() {
    if (Below(50) == 0) return Below(2) == 0 ? dtm::kNever : (dtm::Time::min)();
    if (Below(50) == 0) return {};
    const std::vector<std::size_t> spans{3, 1000, 100000, 100000000};
    return At(static_cast<double>(Below(spans[Below(spans.size())])));
  }

  dtm::Branch SomeBranch() {
    dtm::Branch branch;
    branch.status = static_cast<dtm::BranchStatus>(1 + Below(3));
    branch.tries = static_cast<std::uint32_t>(Below(3) == 0 ? random_() : Below(3));
    branch.finished = SomeTime();
    branch.next_try = SomeTime();
    return branch;
  }

  void AddEntry(Story& story, std::size_t rows) {
    const bool attempt = Below(4) != 0;
    const auto kind = static_cast<dtm::JournalKind>(attempt ? 4 + Below(6) : 1 + Below(20));
    const std::size_t row = Below(20) == 0 ? random_() : Below(rows + 1);
    if (Below(3) == 0) now_ = SomeTime();
    story.entries.push_back({now_, Below(9) == 0 ? dtm::kNoRow : row,
                             static_cast<dtm::Op>(Below(11)), kind, Below(2) == 0 ? Text() : "",
                             Below(2) == 0 ? Text() : ""});
  }

  /// What MakeTimeline would not say.
  void Damage(dtm::Timeline& timeline) {
    for (dtm::Attempt& attempt : timeline.attempts) {
      if (Below(3) == 0) attempt.row = random_();
      if (Below(3) == 0) attempt.begin_entry = Below(50);
      if (Below(3) == 0) attempt.end_entry = random_();
      if (Below(3) == 0) attempt.outcome = static_cast<dtm::Attempt::Outcome>(Below(7));
    }
    if (Below(3) == 0) timeline.runs.clear();
    if (Below(3) == 0) timeline.transaction.definition = nullptr;
    if (Below(3) == 0) timeline.transaction.branches.clear();
  }

  std::string Text() {
    static const std::vector<std::string> kPieces{"ok",
                                                  " ",
                                                  "connection refused",
                                                  "<b>",
                                                  "&",
                                                  "\"",
                                                  "'",
                                                  "]]>",
                                                  "\n",
                                                  "\r",
                                                  "\x1b[2J",
                                                  "\xff",
                                                  "\xe2\x80\xae",
                                                  "日本",
                                                  "🚀",
                                                  "e\xcc\x81",
                                                  ";",
                                                  "#",
                                                  "%%",
                                                  "end",
                                                  ":",
                                                  "->>",
                                                  "\\",
                                                  "{",
                                                  "}",
                                                  std::string(1, '\0'),
                                                  "\xef\xbf\xbf",
                                                  "\xe2\x80\xa8",
                                                  "-->",
                                                  "`",
                                                  "$",
                                                  "loop "};
    std::string text;
    for (std::size_t n = Below(Below(5) == 0 ? 300 : 6); n > 0; --n)
      text += kPieces[Below(kPieces.size())];
    return text;
  }

  std::string Url() {
    switch (Below(6)) {
      case 0: return "local:" + Text();
      case 1: return "local:tx/" + Text();
      case 2: return Text();
      case 3: return "";
      default:
        return "http://u:secret@host-" + std::to_string(Below(20)) +
               (Below(2) == 0 ? ":81/" : "/") + Text();
    }
  }

  std::mt19937_64 random_;
  dtm::Time now_ = At(0);
};

}  // namespace story_kit
