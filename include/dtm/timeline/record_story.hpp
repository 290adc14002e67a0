/// What the record of a transaction adds to its diagram: how it ended or what it waits for; and without a journal, how far
/// each branch has come.
/// Needs: std. Threads: one thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/timeline/drawing/diagram.hpp>
#include <dtm/timeline/drawing/spans.hpp>
#include <dtm/timeline/lifelines.hpp>
#include <dtm/timeline/story_events.hpp>
#include <dtm/timeline/timeline.hpp>

namespace dtm {
inline namespace v1 {
namespace timeline {

class RecordStory {
 public:
  /// `begin` is the zero of the diagram, `shift` is added to the times of the record (StoryTimes).
  RecordStory(const Timeline& story, const Definition& definition, const Lifelines& lifelines,
              Time begin, Duration shift)
      : story_(story),
        record_(story.transaction),
        definition_(definition),
        lifelines_(lifelines),
        begin_(begin),
        shift_(shift) {}

  /// In place of a journal.
  void TellAll(StoryEvents& events) const {
    if (record_.expired) {
      return events.Note("its record has expired: only its end is known", "", Tone::kQuiet);
    }
    const bool prepared = definition_.prepared_first || RegistersSteps(definition_.type);
    events.At(Duration{0});
    events.Arrow(EventKind::kCall, kApplication, kCoordinator, prepared ? "prepare" : "submit");
    events.At(std::nullopt);
    events.Note("no journal was kept: this is from the record", "", Tone::kQuiet);
    std::vector<std::size_t> rows;
    for (std::size_t row = 0; row < record_.branches.size(); ++row) {
      if (record_.branches[row].status != BranchStatus::kPrepared) rows.push_back(row);
    }
    std::stable_sort(rows.begin(), rows.end(), [this](std::size_t a, std::size_t b) {
      return record_.branches[a].finished < record_.branches[b].finished;
    });
    for (const std::size_t row : rows) TellRow(row, events);
  }

  void TellEnd(StoryEvents& events) const {
    TellDamage(events);
    events.At(record_.expired ? std::nullopt : At(record_.finished));
    events.AllDone();
    events.Arrow(EventKind::kReply, kCoordinator, kApplication, Name(record_.status),
                 record_.reason, record_.status == Status::kSucceed ? Tone::kGood : Tone::kBad);
  }

  /// What is running, what is waited for, and until when.
  void TellPresent(StoryEvents& events) const {
    events.At(std::nullopt);
    TellDamage(events);
    const std::vector<std::size_t> running = Running();
    if (!running.empty()) events.Note("running: " + Listed(running), "", Tone::kPlain);
    if (record_.stuck) {
      const DiagramEvent* last = events.Last();
      const bool told = last != nullptr && last->text == "stuck";
      if (!told) events.Note("stuck", record_.last_error, Tone::kBad);
      return;
    }
    if (record_.status == Status::kPrepared) events.Note("waits for its submit", "", Tone::kPlain);
    std::vector<std::size_t> waiting;
    const std::size_t rows = (std::min)(record_.branches.size(), RowCount(definition_));
    for (std::size_t row = 0; row < rows; ++row) {
      const Branch& branch = record_.branches[row];
      const bool runs = std::find(running.begin(), running.end(), row) != running.end();
      const bool called = branch.tries > 0 && branch.status == BranchStatus::kPrepared;
      const bool waits = called && branch.next_try != Time{} && HasItsTurn(record_, row);
      if (waits && !runs) waiting.push_back(row);
    }
    if (!waiting.empty()) events.Note("waits to try again: " + Listed(waiting), "", Tone::kPlain);
    if (const auto due = At(record_.due); due && record_.due != kNever) {
      events.Note("due at " + drawing::SpanInWords(*due), "", Tone::kPlain);
    }
  }

 private:
  static constexpr std::size_t kMaxListed = 3;

  /// Nothing for a time that is not known.
  std::optional<Duration> At(Time time) const {
    if (time == Time{}) return std::nullopt;
    return (std::max)(drawing::Between(begin_, time) + shift_, Duration{0});
  }

  void TellRow(std::size_t row, StoryEvents& events) const {
    const Branch& branch = record_.branches[row];
    const bool good = branch.status == BranchStatus::kSucceed;
    std::string text = lifelines_.Call(row) + (good ? " success" : " failure");
    if (branch.tries > 1) text += " after " + std::to_string(branch.tries) + " tries";
    const std::optional<std::size_t> service = lifelines_.Of(row);
    const bool recorded = definition_.type == TransType::kWorkflow && row != kQueryRow;
    const Tone tone = good ? Tone::kGood : Tone::kBad;
    events.At(At(branch.finished));
    if (recorded || !service) return events.Note(text, "", tone);
    events.Arrow(EventKind::kReply, *service, kCoordinator, text, "", tone);
  }

  void TellDamage(StoryEvents& events) const {
    if (!record_.unreadable || record_.expired) return;
    events.At(std::nullopt);
    events.Note("its record cannot be read", record_.last_error, Tone::kBad);
  }

  std::vector<std::size_t> Running() const {
    std::vector<std::size_t> rows;
    for (const Attempt& attempt : story_.attempts) {
      if (attempt.outcome == Attempt::Outcome::kRunning) rows.push_back(attempt.row);
    }
    return rows;
  }

  std::string Listed(const std::vector<std::size_t>& rows) const {
    std::string text;
    for (std::size_t i = 0; i < rows.size() && i < kMaxListed; ++i) {
      text += (i == 0 ? "" : ", ") + lifelines_.Call(rows[i]);
    }
    if (rows.size() <= kMaxListed) return text;
    return text + " and " + std::to_string(rows.size() - kMaxListed) + " more";
  }

  const Timeline& story_;
  const Transaction& record_;
  const Definition& definition_;
  const Lifelines& lifelines_;
  const Time begin_;
  const Duration shift_;
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm
