/// What is kept of a journal that grows for ever: its beginning, its end, decisions, and a count of the rest.
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/core/journal.hpp>

using dtm::FoldJournal;
using dtm::JournalEntry;
using dtm::JournalKind;
using Journal = std::vector<JournalEntry>;

namespace {

JournalEntry Entry(std::size_t n, JournalKind kind) {
  return {dtm::Time(std::chrono::seconds(n)), n, dtm::Op::kAction, kind, std::to_string(n)};
}

Journal Attempts(std::size_t n) {
  Journal entries;
  for (std::size_t i = 0; i < n; ++i) entries.push_back(Entry(i, JournalKind::kError));
  return entries;
}

/// How many things it tells of or counts.
std::size_t Told(const Journal& entries) {
  std::size_t told = 0;
  for (const JournalEntry& entry : entries) {
    told += entry.kind == JournalKind::kGap ? entry.row : 1;
  }
  return told;
}

}  // namespace

TEST_CASE("a journal that is not too long stays as it is") {
  Journal entries = Attempts(dtm::kMaxJournalEntries);
  FoldJournal(entries);
  CHECK(entries == Attempts(dtm::kMaxJournalEntries));
}

TEST_CASE("of a longer one the first and the last stay, and a gap counts the others") {
  const Journal all = Attempts(dtm::kMaxJournalEntries + 1);
  Journal entries = all;
  FoldJournal(entries);
  REQUIRE(entries.size() == dtm::kFirstEntries + 1 + dtm::kLastEntries);
  const auto first = static_cast<std::ptrdiff_t>(dtm::kFirstEntries);
  const auto last = static_cast<std::ptrdiff_t>(dtm::kLastEntries);
  CHECK(Journal(entries.begin(), entries.begin() + first) ==
        Journal(all.begin(), all.begin() + first));
  CHECK(Journal(entries.end() - last, entries.end()) == Journal(all.end() - last, all.end()));
  const JournalEntry& gap = entries[dtm::kFirstEntries];
  CHECK(gap.kind == JournalKind::kGap);
  CHECK(gap.row == all.size() - dtm::kFirstEntries - dtm::kLastEntries);
  CHECK(gap.time == all[all.size() - dtm::kLastEntries - 1].time);
  CHECK(gap.text.empty());
}

TEST_CASE("folding again and again counts everything once, and never grows") {
  Journal entries;
  std::size_t n = 0;
  while (n < 5000) {
    for (int i = 0; i < 7; ++i) entries.push_back(Entry(n++, JournalKind::kOngoing));
    FoldJournal(entries);
    REQUIRE(entries.size() <= dtm::kMaxJournalEntries);
    REQUIRE(Told(entries) == n);
  }
  CHECK(entries[dtm::kFirstEntries].kind == JournalKind::kGap);
  CHECK(entries[dtm::kFirstEntries + 1].kind == JournalKind::kOngoing);
}

TEST_CASE("decisions between the first and the last stay, as far as anybody reads") {
  Journal entries;
  std::size_t decided = 0;
  for (std::size_t n = 0; n < 4000; ++n) {
    const bool decision = n % 50 == 49;
    entries.push_back(Entry(n, decision ? JournalKind::kRetryNow : JournalKind::kStarted));
    decided += decision ? 1 : 0;
    FoldJournal(entries);
    REQUIRE(entries.size() <= dtm::kMaxJournalEntries);
  }
  CHECK(Told(entries) == 4000);
  std::vector<std::size_t> decisions;
  for (const JournalEntry& entry : entries) {
    if (entry.kind == JournalKind::kRetryNow) decisions.push_back(entry.row);
  }
  REQUIRE(decisions.size() >= dtm::kDecisionsBetween);
  CHECK(decisions.size() < decided);
  for (std::size_t i = 0; i < dtm::kDecisionsBetween; ++i) CHECK(decisions[i] == 50 * i + 49);
  CHECK(decisions.back() == 3999);
}

TEST_CASE("nothing but decisions is bounded too") {
  Journal entries;
  for (std::size_t n = 0; n < 3000; ++n) {
    entries.push_back(Entry(n, JournalKind::kRetryNow));
    FoldJournal(entries);
    REQUIRE(entries.size() <= dtm::kMaxJournalEntries);
  }
  CHECK(Told(entries) == 3000);
}

TEST_CASE("a gap of which nobody knows how long it is stays one") {
  Journal entries = Attempts(60);
  entries.push_back({dtm::Time{}, 0, {}, JournalKind::kGap, {}});
  for (const JournalEntry& entry : Attempts(300)) entries.push_back(entry);
  FoldJournal(entries);
  CHECK(entries[dtm::kFirstEntries].kind == JournalKind::kGap);
  CHECK(entries[dtm::kFirstEntries].row == 0);
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
