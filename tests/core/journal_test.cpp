/// What is kept of a journal that grows for ever: the last attempts of each branch, the first of all, decisions, and a count
/// of the rest; however often it is folded on the way.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/core/journal.hpp>

using dtm::FoldJournal;
using dtm::JournalEntry;
using dtm::JournalKind;
using Journal = std::vector<JournalEntry>;

namespace {

/// The n-th thing that happened.
JournalEntry Entry(std::size_t n, JournalKind kind, std::size_t row = dtm::kNoRow) {
  return {dtm::Time(std::chrono::seconds(n)), row, {}, kind, std::to_string(n), {}};
}

/// Tells of calls and decisions, in their order.
class Teller {
 public:
  Teller& Tell(JournalKind kind, std::size_t row = dtm::kNoRow) {
    all.push_back(Entry(n_++, kind, row));
    return *this;
  }
  Teller& Attempt(std::size_t row, JournalKind end = JournalKind::kError) {
    return Tell(JournalKind::kStarted, row).Tell(end, row);
  }
  Journal Folded(std::size_t history) const {
    Journal entries = all;
    FoldJournal(entries, history);
    return entries;
  }

  Journal all;

 private:
  std::size_t n_ = 0;
};

/// How many things it tells of or counts.
std::size_t Told(const Journal& entries) {
  std::size_t told = 0;
  for (const JournalEntry& entry : entries) {
    told += entry.kind == JournalKind::kGap ? entry.row : 1;
  }
  return told;
}

/// "3 4 (20) 25": the texts, and what gaps count.
std::string InShort(const Journal& entries) {
  std::string text;
  for (const JournalEntry& entry : entries) {
    text +=
        entry.kind == JournalKind::kGap ? "(" + std::to_string(entry.row) + ") " : entry.text + " ";
  }
  return text;
}

std::size_t Count(const Journal& entries, JournalKind kind) {
  return static_cast<std::size_t>(
      std::count_if(entries.begin(), entries.end(),
                    [kind](const JournalEntry& entry) { return entry.kind == kind; }));
}

/// As a store gets it: in pieces, folded now and then.
Journal Piecewise(const Journal& all, std::size_t history, std::mt19937& random) {
  Journal entries;
  for (std::size_t i = 0; i < all.size();) {
    const std::size_t end = (std::min)(all.size(), i + 1 + random() % 9);
    for (; i < end; ++i) entries.push_back(all[i]);
    if (random() % 2 == 0) FoldJournal(entries, history);
  }
  FoldJournal(entries, history);
  return entries;
}

}  // namespace

TEST_CASE("a journal that is not too long stays as it is") {
  Teller teller;
  teller.Tell(JournalKind::kSubmitted);
  for (int i = 0; i < 20; ++i) teller.Attempt(1).Attempt(3).Tell(JournalKind::kRetryNow);
  CHECK(teller.Folded(20) == teller.all);
}

TEST_CASE("of each branch the last attempts stay, of all the first, and a gap counts the others") {
  Teller teller;
  teller.Tell(JournalKind::kSubmitted).Attempt(1);  // 0 1 2
  for (int i = 0; i < 20; ++i) teller.Attempt(3);   // 3 ... 42
  teller.Tell(JournalKind::kRollback).Attempt(0);   // 43 44 45
  CHECK(InShort(teller.Folded(2)) == "0 1 2 3 4 (34) 39 40 41 42 43 44 45 ");
  CHECK(InShort(teller.Folded(1)) == "0 1 2 (38) 41 42 43 44 45 ");
  const Journal five = teller.Folded(5);
  CHECK(InShort(five) == "0 1 2 3 4 5 6 7 8 9 10 (22) 33 34 35 36 37 38 39 40 41 42 43 44 45 ");
  const JournalEntry& gap = five[11];
  CHECK(gap.kind == JournalKind::kGap);
  CHECK(gap.time == dtm::Time(std::chrono::seconds(32)));  // of the last that it counts
  CHECK(gap.text.empty());
  for (int i = 0; i < 100; ++i) teller.Attempt(0);  // the others stay
  CHECK(InShort(teller.Folded(1)) == "0 1 2 (38) 41 42 43 (200) 244 245 ");
}

TEST_CASE("an attempt stays or goes as a whole, also while others run, and one that runs stays") {
  Teller teller;
  teller.Tell(JournalKind::kStarted, 1);           // 0, and runs
  for (int i = 0; i < 40; ++i) teller.Attempt(3);  // 1 ... 80
  CHECK(InShort(teller.Folded(1)) == "0 1 2 (76) 79 80 ");
  teller.Tell(JournalKind::kStarted, 5);           // 81
  for (int i = 0; i < 40; ++i) teller.Attempt(3);  // 82 ... 161
  teller.Tell(JournalKind::kOngoing, 5);           // 162
  teller.Tell(JournalKind::kStarted, 5);           // 163, and runs
  teller.Tell(JournalKind::kSuccess, 1);           // 164
  CHECK(InShort(teller.Folded(1)) == "0 (159) 160 161 (1) 163 164 ");
  CHECK(InShort(teller.Folded(2)).find("81 (76) 158") != std::string::npos);
}

TEST_CASE("an end without a beginning is an attempt too, and so is a registration") {
  Teller teller;
  for (int i = 0; i < 30; ++i) teller.Tell(JournalKind::kSuccess, 1);  // inside the commit
  CHECK(InShort(teller.Folded(2)) == "0 1 (26) 28 29 ");
  Teller steps;
  for (std::size_t i = 0; i < 400; ++i) steps.Tell(JournalKind::kRegistered, i);
  CHECK(steps.Folded(1) == steps.all);
}

TEST_CASE("of a saga with a thousand steps the first and the last attempts stay") {
  Teller teller;
  teller.Tell(JournalKind::kSubmitted);
  for (std::size_t step = 0; step < 1000; ++step) {
    teller.Attempt(2 * step + 1, JournalKind::kSuccess);
  }
  teller.Tell(JournalKind::kSucceeded);
  Journal entries = teller.Folded(20);
  CHECK(entries.size() == 1 + 2 * dtm::kFirstAttempts + 1 + 2 * dtm::kLastAttempts + 1);
  CHECK(Told(entries) == teller.all.size());
  CHECK(entries.front().kind == JournalKind::kSubmitted);
  CHECK(entries.back().kind == JournalKind::kSucceeded);
  CHECK(Count(entries, JournalKind::kGap) == 1);
}

TEST_CASE("of a thousand calls at once each keeps its end") {
  Teller teller;
  for (std::size_t row = 0; row < 1000; ++row) teller.Tell(JournalKind::kStarted, row);
  CHECK(teller.Folded(20) == teller.all);  // all run
  for (std::size_t row = 0; row < 1000; ++row) teller.Tell(JournalKind::kSuccess, row);
  const Journal entries = teller.Folded(20);
  CHECK(Count(entries, JournalKind::kStarted) == dtm::kFirstAttempts + dtm::kLastAttempts);
  CHECK(Count(entries, JournalKind::kSuccess) == dtm::kFirstAttempts + dtm::kLastAttempts);
  CHECK(Told(entries) == 2000);
}

TEST_CASE("the first and the last decisions stay, and there are not too many of them") {
  Teller teller;
  for (int i = 0; i < 3000; ++i) {
    teller.Tell(i % 3 == 0 ? JournalKind::kTakenUp : JournalKind::kRetryNow);
    if (i % 10 == 0) teller.Attempt(1);
  }
  const Journal entries = teller.Folded(1);
  CHECK(Count(entries, JournalKind::kTakenUp) + Count(entries, JournalKind::kRetryNow) ==
        dtm::kFirstDecisions + dtm::kLastDecisions);
  CHECK(entries.size() < 80);
  CHECK(Told(entries) == teller.all.size());
  CHECK(entries.front().kind == JournalKind::kTakenUp);
}

TEST_CASE("it does not matter how often a journal is folded on the way") {
  const JournalKind kinds[] = {
      JournalKind::kStarted,    JournalKind::kStarted, JournalKind::kSuccess,
      JournalKind::kError,      JournalKind::kOngoing, JournalKind::kNotSent,
      JournalKind::kRegistered, JournalKind::kTakenUp, JournalKind::kRetryNow};
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    Teller teller;
    const std::size_t rows = 1 + random() % (seed % 10 == 0 ? 700 : 8);
    const std::size_t length = random() % 3000;
    for (std::size_t i = 0; i < length; ++i) {
      const JournalKind kind = kinds[random() % (sizeof kinds / sizeof kinds[0])];
      teller.Tell(kind, dtm::IsAttempt(kind) ? random() % rows : dtm::kNoRow);
    }
    const std::size_t history = 1 + random() % 25;
    CAPTURE(seed, rows, length, history);
    const Journal at_once = teller.Folded(history);
    const Journal piecewise = Piecewise(teller.all, history, random);
    REQUIRE(InShort(piecewise) == InShort(at_once));
    REQUIRE((piecewise == at_once));
    REQUIRE(Told(at_once) == teller.all.size());
    Journal again = at_once;
    FoldJournal(again, history);
    REQUIRE((again == at_once));
  }
}

TEST_CASE("a gap of which nobody knows how long it is stays one") {
  Teller teller;
  for (int i = 0; i < 30; ++i) teller.Attempt(1);
  teller.all.push_back({dtm::Time{}, 0, {}, JournalKind::kGap, {}, {}});
  for (int i = 0; i < 30; ++i) teller.Attempt(1);
  CHECK(InShort(teller.Folded(2)) == "0 1 2 3 (0) 116 117 118 119 ");
}

TEST_CASE("every kind has a name of its own") {
  std::vector<std::string> names;
  for (int kind = 1; kind <= 20; ++kind) {
    const std::string name = Name(static_cast<JournalKind>(kind));
    CHECK(name != "unknown");
    for (const std::string& other : names) CHECK(name != other);
    names.push_back(name);
  }
  CHECK(std::string(Name(static_cast<JournalKind>(21))) == "unknown");
}
