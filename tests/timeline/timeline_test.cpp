/// Attempts put together from a journal: each end finds its begin, and what no process ends any more is lost.
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/timeline/timeline.hpp>

using dtm::Attempt;
using dtm::JournalEntry;
using dtm::JournalKind;
using Outcome = dtm::Attempt::Outcome;

namespace {

dtm::Time At(int ms) { return dtm::Time(std::chrono::milliseconds(ms)); }

JournalEntry Of(int ms, JournalKind kind, std::size_t row = dtm::kNoRow, std::string text = {},
                std::string who = {}) {
  return {At(ms), row, dtm::Op::kAction, kind, std::move(text), std::move(who)};
}

dtm::Timeline Story(std::vector<JournalEntry> entries) {
  dtm::Transaction transaction;
  auto definition = std::make_shared<dtm::Definition>();
  definition->steps.resize(2);
  transaction.definition = definition;
  transaction.created = At(1);
  return dtm::MakeTimeline(std::move(transaction), std::move(entries));
}

}  // namespace

TEST_CASE("timeline: each end finds its begin, also of rows that run at once") {
  const dtm::Timeline story = Story(
      {Of(1, JournalKind::kSubmitted, dtm::kNoRow, "", "here:1"), Of(2, JournalKind::kStarted, 1),
       Of(3, JournalKind::kStarted, 3), Of(4, JournalKind::kError, 1, "no route"),
       Of(5, JournalKind::kFailure, 3, "closed"), Of(6, JournalKind::kStarted, 1)});
  REQUIRE(story.attempts.size() == 3);
  CHECK(story.attempts[0].row == 1);
  CHECK(story.attempts[0].begin == At(2));
  CHECK(story.attempts[0].end == At(4));
  CHECK(story.attempts[0].outcome == Outcome::kError);
  CHECK(story.attempts[0].text == "no route");
  CHECK(story.attempts[1].outcome == Outcome::kFailure);
  CHECK(story.attempts[1].end == At(5));
  CHECK(story.attempts[2].outcome == Outcome::kRunning);
  CHECK(story.attempts[2].end == dtm::Time{});
  REQUIRE(story.runs.size() == 1);
  CHECK(story.runs[0].process == "here:1");
  CHECK(story.runs[0].begin == At(1));
}

TEST_CASE("timeline: what a process leaves is lost, and the next attempt belongs to the next one") {
  const dtm::Timeline story =
      Story({Of(1, JournalKind::kSubmitted, dtm::kNoRow, "", "a"), Of(2, JournalKind::kStarted, 1),
             Of(9, JournalKind::kTakenUp, dtm::kNoRow, "", "b"), Of(9, JournalKind::kStarted, 1),
             Of(11, JournalKind::kSuccess, 1)});
  REQUIRE(story.attempts.size() == 2);
  CHECK(story.attempts[0].outcome == Outcome::kLost);
  CHECK(story.attempts[0].end == At(9));
  CHECK(story.attempts[0].run == 0);
  CHECK(story.attempts[1].outcome == Outcome::kSuccess);
  CHECK(story.attempts[1].run == 1);
  REQUIRE(story.runs.size() == 2);
  CHECK(story.runs[1].process == "b");
}

TEST_CASE("timeline: an end whose begin was not kept is an attempt too") {
  const dtm::Timeline story =
      Story({Of(5, JournalKind::kGap, 7), Of(6, JournalKind::kError, 1, "x")});
  REQUIRE(story.attempts.size() == 1);
  CHECK(story.attempts[0].begin == dtm::Time{});
  CHECK(story.attempts[0].end == At(6));
}

TEST_CASE("timeline: a transaction that was stopped leaves no attempt running") {
  const dtm::Timeline story = Story({Of(2, JournalKind::kStarted, 1),
                                     Of(3, JournalKind::kForceStop), Of(3, JournalKind::kFailed)});
  REQUIRE(story.attempts.size() == 1);
  CHECK(story.attempts[0].outcome == Outcome::kLost);
}
