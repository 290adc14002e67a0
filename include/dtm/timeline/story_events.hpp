/// The events of a diagram while they are made, one after the other: with lines for the time that passes between them, and
/// without the middle if they become too many.
/// Needs: std. Threads: one thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/text.hpp>
#include <dtm/base/time.hpp>
#include <dtm/timeline/drawing/diagram.hpp>
#include <dtm/timeline/drawing/shown_text.hpp>
#include <dtm/timeline/drawing/spans.hpp>
#include <dtm/timeline/lifelines.hpp>

namespace dtm {
inline namespace v1 {
namespace timeline {

inline constexpr std::size_t kMaxEvents = 160;  ///< of a diagram; of more the middle is left out
inline constexpr std::size_t kMaxSaid = 200;    ///< columns of one text

using EventKind = DiagramEvent::Kind;

/// A text of the journal as it is shown.
inline std::string Said(const std::string& text) {
  return drawing::Fitted(drawing::Shown(Truncated(text, 4 * kMaxSaid)), kMaxSaid);
}

class StoryEvents {
 public:
  /// When what comes next happened.
  void At(std::optional<Duration> at) { at_ = at; }

  /// A remark of the coordinator.
  void Note(std::string text, const std::string& more, Tone tone) {
    Add({EventKind::kNote, at_, kCoordinator, kCoordinator, std::move(text), Said(more), tone});
  }

  void Arrow(EventKind kind, std::size_t from, std::size_t to, std::string text,
             const std::string& more = {}, Tone tone = Tone::kPlain) {
    Add({kind, at_, from, to, std::move(text), Said(more), tone});
  }

  /// What is not drawn, and ended at `until`.
  void Left(std::string text, const std::string& more, Duration until) {
    Add({EventKind::kSpan, at_, kCoordinator, kCoordinator, std::move(text), Said(more),
         Tone::kQuiet});
    last_ = (std::max)(last_, until);
  }

  /// One process is gone, nobody knows since when; another one goes on.
  void Break(std::string end, std::string begin) {
    running_ = 0;
    retries_ = false;
    events_.push_back({EventKind::kEnd, {}, 0, 0, std::move(end), {}, Tone::kBad});
    Add({EventKind::kBegin, at_, 0, 0, std::move(begin), {}, Tone::kPlain});
  }

  /// A call is under way from now on; or it is no more, and `retries` says if it is made again.
  void Begun() { ++running_; }
  void Done(bool begun, bool retries) {
    if (begun && running_ > 0) --running_;
    retries_ = retries;
  }
  void AllDone() { running_ = 0; }

  const DiagramEvent* Last() const { return events_.empty() ? nullptr : &events_.back(); }

  /// All of them; leaves none.
  std::vector<DiagramEvent> Take() {
    Shorten();
    return std::move(events_);
  }

 private:
  void Add(DiagramEvent event) {
    constexpr Duration kLong = std::chrono::milliseconds(100);
    constexpr Duration kLongForACall = std::chrono::seconds(1);
    const Duration passed = event.at ? *event.at - last_ : Duration{0};
    if (passed >= (running_ == 0 ? kLong : kLongForACall)) {
      const std::string span = drawing::SpanInWords(passed);
      const bool waits = retries_ && running_ == 0;
      events_.push_back({EventKind::kSpan,
                         {},
                         kCoordinator,
                         kCoordinator,
                         waits ? "waits " + span : span + " later",
                         {},
                         Tone::kQuiet});
    }
    if (event.at) last_ = (std::max)(last_, *event.at);
    events_.push_back(std::move(event));
  }

  /// Leaves the first and the last events, and some notes and all breaks between.
  void Shorten() {
    if (events_.size() <= kMaxEvents) return;
    constexpr std::size_t kHalf = kMaxEvents / 2;
    constexpr std::size_t kNotesBetween = 16;
    const std::size_t last = events_.size() - kHalf;
    std::vector<DiagramEvent> kept(events_.begin(), events_.begin() + kHalf);
    std::size_t notes = 0, left_out = 0;
    for (std::size_t i = kHalf; i < events_.size(); ++i) {
      const EventKind kind = events_[i].kind;
      const bool breaks = kind == EventKind::kEnd || kind == EventKind::kBegin;
      const bool passed = kind == EventKind::kSpan && !events_[i].at;
      const bool note = !breaks && !passed && !IsArrow(kind);
      if (i < last && !breaks && (!note || ++notes > kNotesBetween)) {
        ++left_out;
        continue;
      }
      if (left_out > 0) kept.push_back(NotDrawn(left_out));
      left_out = 0;
      kept.push_back(std::move(events_[i]));
    }
    events_ = std::move(kept);
  }

  static DiagramEvent NotDrawn(std::size_t count) {
    return {EventKind::kSpan,
            {},
            kCoordinator,
            kCoordinator,
            "... " + std::to_string(count) + " lines not drawn",
            {},
            Tone::kQuiet};
  }

  std::vector<DiagramEvent> events_;
  std::optional<Duration> at_{};
  Duration last_{0};         // when the last of them happened
  std::size_t running_ = 0;  // calls without a result
  bool retries_ = false;     // after the last result its call is made again
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm
