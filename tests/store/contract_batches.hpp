/// The contract of stores, part 1: batches are all or nothing, changes are compare-and-set,
/// readers see whole batches. Needs: Catch2, store. Threads: one check has
/// readers of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/store.hpp>

namespace dtm_test {
namespace store_contract {

using dtm::Change;
using dtm::Result;
using dtm::Store;
using dtm::Transaction;
using Texts = std::vector<std::string>;

// ---- batches ----

inline void BatchIsInvisibleBeforeCommit(Store& store) {
  Transaction old = NewTransaction("old", At(50));
  REQUIRE(Put(store, old));
  Transaction fresh = NewTransaction("fresh", At(10));
  Transaction changed = old;
  changed.retry_count = 7;
  changed.due = At(20);

  store.Begin();
  const Batch batch(store, {&fresh, &changed});
  CHECK_FALSE(store.Load("fresh").has_value());
  CHECK(Difference(*store.Load("old"), old).empty());
  CHECK(Gids(All(store)) == Texts{"old"});
  store.Commit();

  CHECK(batch.Applied());
  CHECK(Gids(All(store)) == Texts{"fresh", "old"});
  CHECK(store.Load("old")->retry_count == 7);
  CHECK(Gids(DuePage(store, At(99), {}, 10)) == Texts{"fresh", "old"});
}

inline void RollbackLeavesNothing(Store& store) {
  Transaction old = NewTransaction("old", At(50));
  REQUIRE(Put(store, old));
  Transaction fresh = NewTransaction("fresh");
  Transaction changed = old;
  changed.retry_count = 7;
  changed.due = At(1);
  store.Begin();
  const Batch batch(store, {&fresh, &changed});
  store.Rollback();
  store.Rollback();  // there is none any more: no harm

  CHECK(Gids(All(store)) == Texts{"old"});
  CHECK(Difference(*store.Load("old"), old).empty());
  CHECK(Gids(DuePage(store, At(99), {}, 10)) == Texts{"old"});
  CHECK(store.NextDue(At(0)) == At(50));

  fresh.id = 0;
  REQUIRE(Put(store, fresh));
  REQUIRE(Put(store, changed));
  CHECK(Gids(All(store)) == Texts{"fresh", "old"});
}

inline void OneBatchAtATime(Store& store) {
  Transaction one = NewTransaction("one");
  store.Begin();
  const Batch batch(store, {&one});
  CHECK_THROWS_AS(store.Begin(), dtm::StoreError);
  store.Commit();
  CHECK(batch.Applied());
  CHECK(store.Load("one").has_value());
}

inline void RolledBackCannotBeCommitted(Store& store) {
  Transaction one = NewTransaction("one");
  store.Begin();
  const Batch batch(store, {&one});
  store.Rollback();
  CHECK_THROWS_AS(store.Commit(), dtm::StoreError);
  CHECK_FALSE(store.Load("one").has_value());
}

inline void EmptyBatchIsFine(Store& store) {
  std::vector<Change> nothing;
  store.Begin();
  store.Apply(nothing);
  store.Commit();
  CHECK(All(store).empty());
}

inline void RecoverKeepsWhatIsCommitted(Store& store) {
  Transaction one = NewTransaction("one");
  REQUIRE(Put(store, one));
  store.Begin();
  Transaction two = NewTransaction("two");
  const Batch batch(store, {&two});
  store.Recover();
  CHECK(Gids(All(store)) == Texts{"one"});
  const std::atomic<bool> stop{false};
  CHECK(store.Check(stop).empty());
  two.id = 0;
  REQUIRE(Put(store, two));
  CHECK(Gids(All(store)) == Texts{"two", "one"});
}

// ---- compare-and-set ----

inline void ExistingGidIsNotInserted(Store& store) {
  Transaction first = NewTransaction("gid", At(5), "the first");
  REQUIRE(Put(store, first));
  Transaction second = NewTransaction("gid", At(1), "another");
  CHECK_FALSE(Put(store, second));
  CHECK(second.id == 0);
  CHECK(Difference(*store.Load("gid"), first).empty());
  CHECK(store.NextDue(At(0)) == At(5));

  Transaction big = NewTransaction("gid", At(1), std::string(100000, 'x'));
  CHECK_FALSE(Put(store, big));
  CHECK(Difference(*store.Load("gid"), first).empty());
}

inline void GidTwiceInABatch(Store& store) {
  Transaction first = NewTransaction("gid", At(5), "the first");
  Transaction second = NewTransaction("gid", At(1), "another");
  std::vector<Change> changes{{&first, true, false}, {&second, true, false}};
  store.Begin();
  store.Apply(changes);
  store.Commit();
  CHECK(changes[0].applied);
  CHECK_FALSE(changes[1].applied);
  first.version = 1;
  CHECK(Difference(*store.Load("gid"), first).empty());
  CHECK(All(store).size() == 1);
  CHECK(DuePage(store, At(99), {}, 10).size() == 1);
}

inline void StaleVersionIsLeftOut(Store& store) {
  Transaction one = NewTransaction("one");
  Transaction two = NewTransaction("two");
  REQUIRE(Put(store, one));
  REQUIRE(Put(store, two));
  Transaction stale = one;
  one.retry_count = 1;
  REQUIRE(Put(store, one));
  CHECK(store.Load("one")->version == 2);

  stale.retry_count = 99;
  CHECK_FALSE(Put(store, stale, false));
  stale.due = At(1);
  Transaction early = one;
  early.version = 3;
  Transaction unknown = one;
  unknown.id = one.id + 1000;
  Transaction exists = NewTransaction("two");
  two.retry_count = 2;
  Transaction three = NewTransaction("three");
  std::vector<Change> changes;
  for (Transaction* transaction : {&stale, &early, &unknown, &exists, &two, &three}) {
    changes.push_back({transaction, true, true});  // `applied` is an output: whatever it was
  }
  store.Begin();
  store.Apply(changes);
  store.Commit();
  std::vector<bool> applied;
  for (const Change& change : changes) applied.push_back(change.applied);
  CHECK(applied == std::vector<bool>{false, false, false, false, true, true});
  CHECK(Difference(*store.Load("one"), one).empty());
  CHECK(store.Load("two")->retry_count == 2);
  CHECK(Gids(All(store)) == Texts{"three", "two", "one"});
}

inline void VersionsCountInsideABatch(Store& store) {
  Transaction one = NewTransaction("one");
  store.Begin();
  REQUIRE(ApplyOne(store, one));
  CHECK(one.id != 0);
  one.version = 1;
  one.retry_count = 1;
  REQUIRE(ApplyOne(store, one));
  CHECK_FALSE(ApplyOne(store, one));  // that was version 1 too
  store.Commit();
  CHECK(store.Load("one")->version == 2);
  CHECK(store.Load("one")->retry_count == 1);
}

inline void RowsAscend(Store& store) {
  std::int64_t last = 0;
  for (int i = 0; i < 20; ++i) {
    Transaction transaction = NewTransaction("gid" + std::to_string(i));
    REQUIRE(Put(store, transaction));
    CHECK(transaction.id > last);
    last = transaction.id;
    CHECK(store.Load(transaction.definition->gid)->id == last);
  }
}

// ---- threads ----

/// Two records always change in one batch: whoever sees them different has seen half a batch.
inline void ReadersSeeWholeBatches(Store& store) {
  Transaction a = NewTransaction("a");
  Transaction b = NewTransaction("b");
  REQUIRE(Put(store, a));
  REQUIRE(Put(store, b));
  std::atomic<bool> stop{false};
  std::atomic<int> reads{0};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      try {
        std::uint32_t last = 0;
        while (!stop) {
          const auto page = store.Scan({}, 0, 10).transactions;
          const auto one = store.Load("a");
          const bool good = page.size() == 2 && page[0].retry_count == page[1].retry_count &&
                            page[0].reason == std::to_string(page[0].retry_count) && one &&
                            one->retry_count >= page[0].retry_count && page[0].retry_count >= last;
          if (!good && page[0].version > 1) ++wrong;
          last = page[0].retry_count;
          ++reads;
        }
      } catch (...) {
        ++wrong;
      }
    });
  }
  for (std::uint32_t round = 1; round <= 200 || reads < 100; ++round) {
    a.retry_count = b.retry_count = round;
    a.reason = b.reason = std::to_string(round);
    store.Begin();
    const Batch batch(store, {&a, &b});
    store.Commit();
    if (!batch.Applied()) ++wrong;
    ++a.version;
    ++b.version;
    if (wrong > 0) break;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong == 0);
  CHECK(reads >= 100);
}

}  // namespace store_contract
}  // namespace dtm_test
