/// What a batch of the store in memory holds until it is committed or dropped.
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/core/journal.hpp>
#include <dtm/store/journal_codec.hpp>
#include <dtm/store/memory_batch.hpp>

using dtm::KeyValue;
using dtm::memory_store::Journal;
using dtm::memory_store::OpenBatch;
using dtm::memory_store::Values;

namespace {

KeyValue Value(const std::string& key, const std::string& value, int seconds) {
  KeyValue one;
  one.category = "topics";
  one.key = key;
  one.value = value;
  one.updated = dtm_test::At(seconds);
  return one;
}

}  // namespace

TEST_CASE("a batch begins with what is committed and nothing else, and is open once") {
  OpenBatch batch;
  CHECK_FALSE(batch.IsOpen());
  const auto committed = std::make_shared<Values>();
  batch.Begin(committed);
  CHECK(batch.IsOpen());
  CHECK_THROWS_AS(batch.Begin(committed), dtm::StoreError);
  dtm::Transaction one = dtm_test::NewTransaction("g");
  one.id = 7;
  batch.Keep(one, 1, 3);
  batch.rows["g"] = 7;
  batch.PutValue(Value("t", "a", 1));
  batch.removed.push_back(1);
  batch.forgotten.push_back("old");
  dtm::Change change{&one};
  change.journal = "told";
  batch.Tell(7, change);
  batch.Close();
  CHECK_FALSE(batch.IsOpen());
  batch.Begin(committed);
  CHECK(batch.records.empty());
  CHECK(batch.rows.empty());
  CHECK(batch.told.empty());
  CHECK(batch.removed.empty());
  CHECK(batch.forgotten.empty());
  CHECK(batch.values == committed);
}

TEST_CASE("values are new ones with each change; what was committed stays") {
  OpenBatch batch;
  batch.Begin(std::make_shared<Values>());
  batch.PutValue(Value("t", "a", 1));
  const auto first = batch.values;
  batch.PutValue(Value("t", "b", 2));
  CHECK(first->Find("topics", "t")->value == "a");
  const KeyValue now = *batch.GetValue("topics", "t");
  CHECK(now.value == "b");
  CHECK(now.version == 2);
  CHECK(now.created == dtm_test::At(1));
  CHECK(now.id == first->Find("topics", "t")->id);
  CHECK_FALSE(batch.RemoveValue("topics", "other"));
  CHECK(batch.RemoveValue("topics", "t"));
  CHECK_FALSE(batch.GetValue("topics", "t").has_value());
  batch.PutValue(Value("t", "c", 3));
  CHECK(batch.GetValue("topics", "t")->version == 1);
  CHECK(batch.GetValue("topics", "t")->id > now.id);
}

TEST_CASE("what a work has put is undone unless it succeeds") {
  OpenBatch batch;
  batch.Begin(std::make_shared<Values>());
  const auto puts = [&](dtm::Result result) {
    return batch.Run([&batch, result](const dtm::WorkContext&) {
      batch.PutValue(Value("t", "v", 1));
      return result;
    });
  };
  CHECK(puts(dtm::Result::Failure("f")).kind == dtm::Result::Kind::kFailure);
  CHECK_FALSE(batch.GetValue("topics", "t").has_value());
  const dtm::Result thrown = batch.Run([&batch](const dtm::WorkContext&) -> dtm::Result {
    batch.PutValue(Value("t", "x", 1));
    throw std::runtime_error("no");
  });
  CHECK(thrown.kind == dtm::Result::Kind::kError);
  CHECK_FALSE(batch.GetValue("topics", "t").has_value());
  CHECK(puts(dtm::Result::Success()).kind == dtm::Result::Kind::kSuccess);
  CHECK(batch.GetValue("topics", "t").has_value());
}

TEST_CASE("a record is kept without what no store keeps") {
  OpenBatch batch;
  batch.Begin(std::make_shared<Values>());
  dtm::Transaction one = dtm_test::NewTransaction("g");
  one.id = 7;
  one.branches[0].in_flight = one.branches[0].unsent = true;
  one.branches[0].previous_deadline = dtm_test::At(5);
  batch.Keep(one, 4, 3);
  const dtm::Transaction& kept = batch.records.at(7);
  CHECK(kept.version == 4);
  CHECK(kept.owner == 3);
  CHECK_FALSE(kept.branches[0].in_flight);
  CHECK_FALSE(kept.branches[0].unsent);
  CHECK(kept.branches[0].previous_deadline == dtm::Time{});
}

TEST_CASE("a journal follows the old one, and is folded when it has doubled") {
  dtm::JournalEntry entry;
  entry.kind = dtm::JournalKind::kRetryNow;
  entry.text = std::string(40, 'x');
  const auto of = [&](std::size_t count) {
    Journal journal;
    journal.history = 2;
    dtm::codec::EncodeJournal(std::vector<dtm::JournalEntry>(count, entry), journal.bytes);
    return journal;
  };
  Journal short_one = of(1);
  const Journal old = of(2);
  short_one.Follow(old);
  std::vector<dtm::JournalEntry> entries;
  dtm::codec::DecodeJournal(short_one.bytes, entries);
  CHECK(entries.size() == 3);
  CHECK(short_one.folded == 0);
  Journal long_one = of(100);
  const std::size_t whole = long_one.bytes.size();
  long_one.Follow(old);
  CHECK(long_one.folded == long_one.bytes.size());
  CHECK(long_one.bytes.size() < whole);
}
