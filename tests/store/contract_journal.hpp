/// The contract of stores: what is told of a transaction becomes durable with the change it tells of.
/// Needs: Catch2, store. Threads: the test's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/contract_records.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/core/journal.hpp>
#include <dtm/store/journal_codec.hpp>
#include <dtm/store/store.hpp>

namespace dtm_test {
namespace store_contract {

using dtm::JournalEntry;
using dtm::JournalKind;
using Journal = std::vector<JournalEntry>;

/// The n-th entry of a test: an error of a branch whose text says which it is.
inline JournalEntry ErrorEntry(std::size_t n) {
  return {At(static_cast<std::int64_t>(n)), n % 4, dtm::Op::kAction, JournalKind::kError,
          "no " + std::to_string(n)};
}

inline std::string Encoded(const Journal& journal) {
  std::string bytes;
  dtm::codec::EncodeJournal(journal, bytes);
  return bytes;
}

inline constexpr unsigned kManyAttempts = 300;

/// Applies one change with these entries to the open batch.
inline bool TellOne(Store& store, Transaction& transaction, const Journal& journal,
                    bool due_changed = false, unsigned history = kManyAttempts) {
  const std::string bytes = Encoded(journal);
  std::vector<dtm::Change> changes{{&transaction, due_changed, false}};
  changes[0].journal = bytes;
  changes[0].history = history;
  store.Apply(changes);
  return changes[0].applied;
}

inline bool PutTold(Store& store, Transaction& transaction, const Journal& journal,
                    bool due_changed = false, unsigned history = kManyAttempts) {
  const std::string bytes = Encoded(journal);
  std::vector<dtm::Change> changes{{&transaction, due_changed, false}};
  changes[0].journal = bytes;
  changes[0].history = history;
  store.Begin();
  store.Apply(changes);
  store.Commit();
  if (changes[0].applied) ++transaction.version;
  return changes[0].applied;
}

inline void JournalGrowsWithItsChanges(Store& store) {
  CHECK(store.ReadJournal("nobody").empty());
  Transaction other = NewTransaction("other");
  REQUIRE(Put(store, other));
  Transaction one = NewTransaction("one");
  const std::string odd("\0\xff\xfe odd", 7);
  Journal all{{At(7), dtm::kNoRow, {}, JournalKind::kSubmitted, ""},
              {At(7), 1, dtm::Op::kCompensate, JournalKind::kStarted, ""}};
  REQUIRE(PutTold(store, one, all));
  CHECK(store.ReadJournal("one") == all);
  for (std::size_t n = 0; n < 40; ++n) {
    Journal more(n % 3, ErrorEntry(n));  // none at times
    if (n == 5) more.push_back({At(0), 0, dtm::Op::kTry, JournalKind::kFailure, odd});
    REQUIRE(PutTold(store, one, more, n % 2 == 0));
    all.insert(all.end(), more.begin(), more.end());
    if (n % 4 == 0) REQUIRE(Put(store, one));  // a change of which nothing is told
    // Times never go back in it.
    for (std::size_t i = 1; i < all.size(); ++i) all[i].time = (std::max)(all[i].time, At(0));
    const Journal stored = store.ReadJournal("one");
    CAPTURE(n);
    REQUIRE(stored.size() == all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      CHECK(stored[i].text == all[i].text);
      CHECK(stored[i].kind == all[i].kind);
      CHECK(stored[i].row == all[i].row);
      CHECK(stored[i].op == all[i].op);
    }
  }
  CHECK(Difference(*store.Load("one"), one).empty());
  CHECK(store.ReadJournal("other").empty());
}

inline void JournalIsInvisibleBeforeCommit(Store& store) {
  Transaction one = NewTransaction("one");
  const Journal first{ErrorEntry(1)};
  const Journal second{ErrorEntry(2)};
  store.Begin();
  REQUIRE(TellOne(store, one, first));
  CHECK(store.ReadJournal("one").empty());
  store.Commit();
  ++one.version;
  for (const bool recover : {false, true}) {
    store.Begin();
    REQUIRE(TellOne(store, one, second));
    CHECK(store.ReadJournal("one") == first);
    recover ? store.Recover() : store.Rollback();
    CHECK(store.ReadJournal("one") == first);
  }
  Transaction lost = NewTransaction("lost");
  store.Begin();
  REQUIRE(TellOne(store, lost, first));
  store.Rollback();
  CHECK(store.ReadJournal("lost").empty());
  store.Begin();  // it gives the same row again
  Transaction next = NewTransaction("next");
  REQUIRE(TellOne(store, next, second));
  store.Commit();
  CHECK(store.ReadJournal("next") == second);
}

/// At each version, since where a store keeps what is told may depend on it.
inline void LostChangeTellsNothing(Store& store) {
  Transaction one = NewTransaction("one");
  Journal all{ErrorEntry(0)};
  REQUIRE(PutTold(store, one, all));
  Transaction again = NewTransaction("one");
  CHECK_FALSE(PutTold(store, again, {ErrorEntry(99)}));
  for (std::size_t n = 1; n < 40; ++n) {
    Transaction stale = one;
    --stale.version;
    CHECK_FALSE(PutTold(store, stale, {ErrorEntry(99)}));
    stale.version += 2;
    CHECK_FALSE(PutTold(store, stale, {ErrorEntry(99)}));
    store.Begin();
    REQUIRE(TellOne(store, one, {ErrorEntry(99)}));
    store.Rollback();
    CHECK(store.ReadJournal("one") == all);
    all.push_back(ErrorEntry(n));
    REQUIRE(PutTold(store, one, {all.back()}));
  }
  CHECK(store.ReadJournal("one") == all);
}

/// Whichever way the entries came: one by one or many in a change, with few or many branches. What is read has all that is
/// to be kept, is the same as in any other store once it is folded, and is bounded.
inline void JournalIsFolded(Store& store) {
  struct Row {
    std::size_t together, branches;
    unsigned history;
  };
  const Row rows[] = {{1, 1, 20}, {1, 4, 1}, {7, 4, 20}, {100, 50, 5}, {3000, 1000, 20}};
  for (const Row& row : rows) {
    Transaction one = NewTransaction("of" + std::to_string(row.together * row.branches));
    Journal all;
    for (std::size_t n = 0; all.size() < 3000;) {
      Journal more;
      for (std::size_t i = 0; i < row.together; ++i, ++n) {
        JournalEntry entry = ErrorEntry(n);
        entry.row = n / 2 % row.branches;
        if (n % 2 == 0) entry = {entry.time, entry.row, entry.op, JournalKind::kStarted, {}, {}};
        if (n % 97 == 0) entry = {entry.time, dtm::kNoRow, {}, JournalKind::kTakenUp, {}, "b:1"};
        more.push_back(std::move(entry));
      }
      REQUIRE(PutTold(store, one, more, false, row.history));
      all.insert(all.end(), more.begin(), more.end());
    }
    CAPTURE(row.together, row.branches, row.history);
    Journal stored = store.ReadJournal(one.definition->gid);
    CHECK(stored.size() < 2000 + 8 * row.together);
    dtm::FoldJournal(stored, row.history);
    dtm::FoldJournal(all, row.history);
    CHECK(stored == all);
  }
}

/// A row may be given again; what was told of the old one is not told of the new one.
inline void JournalExpiresWithItsTransaction(Store& store) {
  for (const bool keep_gid : {false, true}) {
    for (const bool tells : {false, true}) {
      const std::string name = std::to_string(keep_gid) + std::to_string(tells);
      Transaction old = NewTransaction("old" + name);
      for (std::size_t n = 0; n < 30; ++n) REQUIRE(PutTold(store, old, {ErrorEntry(n)}));
      old.status = Status::kSucceed;
      old.finished = At(1);
      REQUIRE(PutTold(store, old, {{At(1), dtm::kNoRow, {}, JournalKind::kSucceeded, ""}}));
      store.Begin();
      store.Expire(At(1000), 0, 100, keep_gid);
      store.Rollback();
      CHECK(store.ReadJournal("old" + name).size() == 31);
      store.Begin();
      store.Expire(At(1000), 0, 100, keep_gid);
      store.Commit();
      CHECK(store.ReadJournal("old" + name).empty());
      Transaction next = NewTransaction("new" + name);
      REQUIRE((tells ? PutTold(store, next, {ErrorEntry(1)}) : Put(store, next)));
      CHECK(store.ReadJournal("new" + name).size() == (tells ? 1 : 0));
      next.status = Status::kSucceed;
      next.finished = At(1);
      REQUIRE(Put(store, next));
      store.Begin();
      store.Expire(At(1000), 0, 100, false);
      store.Commit();
    }
  }
}

/// Also while the store moves it from one place to another.
inline void ReadersSeeWholeJournals(Store& store) {
  Transaction one = NewTransaction("one");
  REQUIRE(Put(store, one));
  std::atomic<bool> stop{false};
  std::atomic<int> reads{0};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      try {
        std::size_t last = 0;
        while (!stop) {
          const Journal journal = store.ReadJournal("one");
          if (journal.size() % 2 != 0 || journal.size() < last) ++wrong;
          for (std::size_t n = 0; n < journal.size(); ++n) {
            if (!(journal[n] == ErrorEntry(n))) ++wrong;
          }
          last = journal.size();
          ++reads;
        }
      } catch (...) {
        ++wrong;
      }
    });
  }
  std::size_t told = 0;
  while (reads < 50 || told < 200) {
    Journal more;
    if (told < 200) more = {ErrorEntry(told), ErrorEntry(told + 1)};
    told += more.size();
    if (!PutTold(store, one, more)) ++wrong;
    if (wrong > 0) break;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong == 0);
  CHECK(store.ReadJournal("one").size() == 200);
}

}  // namespace store_contract
}  // namespace dtm_test
