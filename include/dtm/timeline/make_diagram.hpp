/// From the story of a transaction to its diagram: here it is decided what is drawn, in which words and order.
/// Needs: std. Threads: a pure function.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <dtm/core/journal.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/timeline/drawing/diagram.hpp>
#include <dtm/timeline/drawing/shown_text.hpp>
#include <dtm/timeline/drawing/spans.hpp>
#include <dtm/timeline/drivers.hpp>
#include <dtm/timeline/folds.hpp>
#include <dtm/timeline/lifelines.hpp>
#include <dtm/timeline/record_story.hpp>
#include <dtm/timeline/story_events.hpp>
#include <dtm/timeline/timeline.hpp>

namespace dtm {
inline namespace v1 {
namespace timeline {

inline Tone ToneOf(Attempt::Outcome outcome) {
  switch (outcome) {
    case Attempt::Outcome::kSuccess: return Tone::kGood;
    case Attempt::Outcome::kFailure: return Tone::kBad;
    case Attempt::Outcome::kRunning: return Tone::kPlain;
    case Attempt::Outcome::kOngoing:
    case Attempt::Outcome::kError:
    case Attempt::Outcome::kNotSent:
    case Attempt::Outcome::kLost: return Tone::kWarning;
  }
  return Tone::kPlain;
}

/// Makes the diagram of one story.
class DiagramMaker {
 public:
  static Diagram Make(const Timeline& story) {
    DiagramMaker maker(story);
    Diagram diagram;
    diagram.lifelines = maker.MakeLifelines();
    maker.TellAll();
    diagram.events = maker.events_.Take();
    diagram.title = maker.Title();
    return diagram;
  }

 private:
  explicit DiagramMaker(const Timeline& story)
      : story_(story),
        definition_(story.transaction.definition ? *story.transaction.definition : none_),
        begin_(BeginOf(story)),
        times_(begin_, story.entries),
        folds_(FoldStory::Make(story, times_.since)),
        lifelines_(definition_),
        attempts_(story.entries.size()),
        drivers_(story) {
    for (const Attempt& attempt : story.attempts) {
      for (const std::size_t entry : {attempt.begin_entry, attempt.end_entry}) {
        if (entry < attempts_.size()) attempts_[entry] = &attempt;
      }
    }
  }

  static Time BeginOf(const Timeline& story) {
    const Time created = story.transaction.created;
    return created == Time{} && !story.entries.empty() ? story.entries.front().time : created;
  }

  std::vector<Lifeline> MakeLifelines() {
    for (const JournalEntry& entry : story_.entries) {
      if (entry.kind == JournalKind::kRegistered) {
        lifelines_.Add(lifelines_.ParentOf(entry.row));
      } else if (IsAttempt(entry.kind)) {
        lifelines_.Add(entry.row);
      }
    }
    for (std::size_t row = 0; row < story_.transaction.branches.size(); ++row) {
      const Branch& branch = story_.transaction.branches[row];
      if (branch.tries > 0) lifelines_.Add(row);
    }
    std::vector<Lifeline> lifelines = lifelines_.Name();
    if (!story_.runs.empty()) lifelines[kCoordinator].more = ShownName(story_.runs[0].process);
    return lifelines;
  }

  void TellAll() {
    const RecordStory record(story_, definition_, lifelines_, begin_, times_.shift);
    if (story_.entries.empty()) record.TellAll(events_);
    for (std::size_t i = 0; i < story_.entries.size(); ++i) Tell(i);
    if (ended_) return;  // the journal may know it before the record, which was read first
    if (IsFinal(story_.transaction.status)) {
      record.TellEnd(events_);
    } else {
      record.TellPresent(events_);
    }
  }

  void Tell(std::size_t i) {
    // The clocks of two machines always differ.
    constexpr Duration kWorthANote = std::chrono::milliseconds(100);
    const JournalEntry& entry = story_.entries[i];
    events_.At(times_.since[i]);
    if (const auto fold = folds_.folds.find(i); fold != folds_.folds.end()) TellFold(fold->second);
    drivers_.Pass(entry);
    if (folds_.hidden[i]) return;
    if (times_.set_back[i] >= kWorthANote) {
      events_.Note("the clock was set back by " + drawing::SpanInWords(times_.set_back[i]), "",
                   Tone::kQuiet);
    }
    const std::size_t last_call = last_call_;
    last_call_ = kNoEntry;
    TellEntry(i, entry, last_call);
  }

  void TellEntry(std::size_t i, const JournalEntry& entry, std::size_t last_call) {
    switch (entry.kind) {
      case JournalKind::kPrepared: return TellInitiator("prepare");
      case JournalKind::kSubmitted: return TellInitiator("submit");
      case JournalKind::kRegistered: return TellRegistered(entry);
      case JournalKind::kStarted: return TellStarted(i);
      case JournalKind::kSuccess:
      case JournalKind::kFailure:
      case JournalKind::kOngoing:
      case JournalKind::kError:
      case JournalKind::kNotSent: return TellResult(i, last_call);
      case JournalKind::kRollback: return TellRollback(i);
      case JournalKind::kStuck: return events_.Note("stuck", entry.text, Tone::kBad);
      case JournalKind::kSucceeded: return TellEnded(Status::kSucceed, Tone::kGood);
      case JournalKind::kFailed: return TellEnded(Status::kFailed, Tone::kBad);
      case JournalKind::kCancel: return TellCancel(entry);
      case JournalKind::kForceStop: return TellAsked("force-stopped", entry);
      case JournalKind::kRetryNow: return TellAsked("retry now", entry);
      case JournalKind::kFinish:
        return entry.text.empty() ? TellInitiator("finish")
                                  : TellInitiator("fail", entry.text, Tone::kBad);
      case JournalKind::kTakenUp: return drivers_.TellTakenUp(i, events_);
      case JournalKind::kGap: return TellGap(entry, times_.since[i]);
      case JournalKind::kRepair: return TellAsked(lifelines_.Call(entry.row) + " skipped", entry);
    }
  }

  void TellFold(const Fold& fold) {
    bool others = false;
    for (std::size_t i = fold.first; i <= fold.last; ++i) {
      const JournalEntry& entry = story_.entries[i];
      if (IsAttempt(entry.kind) && entry.row != fold.row) others = true;
    }
    const bool named = others && fold.row != kNoRow;
    events_.Left(named ? lifelines_.Call(fold.row) + ": " + fold.text : fold.text, fold.more,
                 times_.since[fold.last]);
  }

  void TellInitiator(const char* text, const std::string& more = {}, Tone tone = Tone::kPlain) {
    events_.Arrow(EventKind::kCall, kApplication, kCoordinator, text, more, tone);
  }

  void TellRegistered(const JournalEntry& entry) {
    const bool workflow = definition_.type == TransType::kWorkflow;
    const bool failed = workflow && !entry.text.empty();
    std::string text =
        workflow ? "record " + lifelines_.Call(entry.row) : "register " + lifelines_.Id(entry.row);
    if (failed) text += " failed";
    events_.Arrow(EventKind::kCall, lifelines_.Registrant(entry.row), kCoordinator, text,
                  entry.text, failed ? Tone::kBad : Tone::kPlain);
  }

  void TellStarted(std::size_t i) {
    const Attempt* attempt = attempts_[i];
    const std::size_t row = story_.entries[i].row;
    // What was not sent is told with its result.
    if (attempt == nullptr || attempt->outcome == Attempt::Outcome::kNotSent) return;
    const std::optional<std::size_t> service = lifelines_.Of(row);
    if (!service) return events_.Note(lifelines_.Call(row), "", Tone::kPlain);
    const bool lost = attempt->outcome == Attempt::Outcome::kLost && !LostAtTheEnd(*attempt);
    events_.Arrow(lost ? EventKind::kLost : EventKind::kCall, kCoordinator, *service,
                  lifelines_.Call(row), "", lost ? Tone::kWarning : Tone::kPlain);
    events_.Begun();
    last_call_ = i;
  }

  /// Nobody waits any more. Else the process is gone that waited, or it has lost what it knew.
  bool LostAtTheEnd(const Attempt& attempt) const {
    if (attempt.run + 1 < story_.runs.size()) return false;
    const auto last = std::find_if(story_.attempts.rbegin(), story_.attempts.rend(),
                                   [&](const Attempt& other) { return other.row == attempt.row; });
    return last != story_.attempts.rend() && &*last == &attempt;
  }

  /// `last_call`: the entry of the call that is the event before, if it is one.
  void TellResult(std::size_t i, std::size_t last_call) {
    const JournalEntry& entry = story_.entries[i];
    const Attempt* attempt = attempts_[i];
    const Attempt::Outcome outcome = OutcomeOf(entry.kind);
    const bool begun = attempt != nullptr && attempt->begin_entry < attempts_.size();
    const bool sent = outcome != Attempt::Outcome::kNotSent;
    const bool at_once = begun && attempt->begin_entry == last_call;
    const std::optional<std::size_t> service = lifelines_.Of(entry.row);
    const std::string whose = !begun || !sent ? lifelines_.Call(entry.row) + " "
                              : at_once       ? std::string()
                                              : lifelines_.Id(entry.row) + " ";
    if (service && sent) {
      events_.Arrow(EventKind::kReply, *service, kCoordinator, whose + Name(outcome), entry.text,
                    ToneOf(outcome));
    } else {
      events_.Note(whose + Name(outcome), entry.text, ToneOf(outcome));
    }
    const bool retries =
        outcome != Attempt::Outcome::kSuccess && outcome != Attempt::Outcome::kFailure;
    events_.Done(begun && service && sent, retries);
  }

  /// The reason is told once: mostly it is the answer above. What is stopped fails without being rolled back.
  void TellRollback(std::size_t i) {
    const JournalEntry& entry = story_.entries[i];
    if (i > 0 && story_.entries[i - 1].kind == JournalKind::kForceStop) return;
    const DiagramEvent* last = events_.Last();
    const bool told = last != nullptr && IsArrow(last->kind) && last->tone == Tone::kBad;
    const bool branch = entry.row != kNoRow && !told;
    events_.Note(branch ? "rolls back because of " + lifelines_.Call(entry.row) : "rolls back",
                 told && last->more == Said(entry.text) ? "" : entry.text, Tone::kBad);
  }

  void TellCancel(const JournalEntry& entry) {
    const bool initiator = entry.who.empty() && RegistersSteps(definition_.type);
    if (initiator) return TellInitiator("cancel", entry.text, Tone::kBad);
    TellAsked("cancelled", entry);
  }

  void TellAsked(const std::string& what, const JournalEntry& entry) {
    const std::string who = ShownName(entry.who);
    events_.Note(who.empty() ? what : what + " by " + who, entry.text, Tone::kWarning);
  }

  void TellGap(const JournalEntry& entry, Duration until) {
    const bool counted = entry.row != 0 && entry.row != kNoRow;
    const std::string count = counted ? std::to_string(entry.row) + " " : std::string();
    events_.Left("... " + count + "entries not kept", "", until);
  }

  void TellEnded(Status status, Tone tone) {
    ended_ = true;
    events_.AllDone();
    events_.Arrow(EventKind::kReply, kCoordinator, kApplication, Name(status), "", tone);
  }

  std::string Title() const {
    const Transaction& record = story_.transaction;
    std::string text = std::string(Name(definition_.type)) + " " + Said(definition_.gid) + ": " +
                       Name(record.status);
    if (!IsFinal(record.status) || record.finished == Time{} || record.expired) return text;
    return text + " after " + drawing::SpanInWords(drawing::Between(begin_, record.finished));
  }

  const Definition none_{};  // of a record without one
  const Timeline& story_;
  const Definition& definition_;
  const Time begin_;
  const StoryTimes times_;
  const Folds folds_;
  Lifelines lifelines_;
  std::vector<const Attempt*> attempts_;  // by entry
  Drivers drivers_;
  StoryEvents events_;
  std::size_t last_call_ = kNoEntry;  // the entry whose call is the last event
  bool ended_ = false;
};

}  // namespace timeline

/// The diagram of a transaction. Of many tries, lines and hosts a readable number is drawn, and sentences stand for the
/// others.
inline Diagram MakeDiagram(const Timeline& story) { return timeline::DiagramMaker::Make(story); }

}  // namespace v1
}  // namespace dtm
