/// The contract of stores, part 3: what is due, Scan, and retention.
/// Needs: Catch2, store. Threads: the test's.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/core/rows.hpp>
#include <dtm/store/scan.hpp>
#include <dtm/store/store.hpp>

namespace dtm_test {
namespace store_contract {

using dtm::Status;
using dtm::Store;
using dtm::Time;
using dtm::Transaction;
using Texts = std::vector<std::string>;

// ---- what is unfinished ----

inline void UnfinishedIsCounted(Store& store) {
  CHECK(store.CountUnfinished(At(100)).unfinished == 0);
  CHECK(store.CountUnfinished(At(100)).oldest == dtm::kNever);
  for (int i = 0; i < 30; ++i) {
    Transaction transaction = NewTransaction("gid" + std::to_string(i), At(i));
    transaction.created = At(i + 1000);
    if (i % 10 == 3) transaction.stuck = true, transaction.due = dtm::kNever;
    if (i % 10 == 7) transaction.status = Status::kPrepared, transaction.due = dtm::kNever;
    if (i < 5) transaction.status = Status::kFailed, transaction.finished = At(i + 2000);
    REQUIRE(Put(store, transaction));
  }
  const dtm::Backlog backlog = store.CountUnfinished(At(25));
  CHECK(backlog.unfinished == 25);
  CHECK(backlog.stuck == 2);    // 13, 23
  CHECK(backlog.waiting == 6);  // 7, 17, 27, and 26, 28, 29
  CHECK(backlog.oldest == At(1005));
  store.Begin();  // an open batch changes nothing
  CHECK(store.CountUnfinished(At(25)).unfinished == 25);
  store.Rollback();
}

// ---- what is due ----

inline void DueInOrderPageByPage(Store& store) {
  std::vector<std::pair<Time, std::string>> expected;
  for (int i = 0; i < 30; ++i) {
    const std::string gid = "gid" + std::to_string(i);
    const Time due = At((i * 7) % 5);  // several at the same moment, in no order
    expected.emplace_back(due, gid);
    REQUIRE(Put(store, NewTransaction(gid, due)));
  }
  std::stable_sort(expected.begin(), expected.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const std::size_t limit : {1u, 4u, 6u, 30u, 100u}) {
    Texts walked;
    dtm::DuePosition after;
    for (;;) {
      const std::vector<Transaction> page = DuePage(store, At(3), after, limit);
      REQUIRE(page.size() <= limit);
      if (page.empty()) break;
      for (const std::string& gid : Gids(page)) walked.push_back(gid);
      after = {page.back().due, page.back().id};
    }
    Texts wanted;
    for (const auto& entry : expected) {
      if (entry.first <= At(3)) wanted.push_back(entry.second);
    }
    CHECK(walked == wanted);
  }
  CHECK(DuePage(store, At(99), {}, 0).empty());
  CHECK(DuePage(store, At(0) - std::chrono::microseconds(1), {}, 10).empty());
}

inline void NextDueIsTheFirstLater(Store& store) {
  CHECK(store.NextDue(At(0)) == dtm::kNever);
  REQUIRE(Put(store, NewTransaction("a", At(10))));
  REQUIRE(Put(store, NewTransaction("b", At(20))));
  REQUIRE(Put(store, NewTransaction("never", dtm::kNever)));
  CHECK(store.NextDue(At(0)) == At(10));
  CHECK(store.NextDue(At(10) - std::chrono::microseconds(1)) == At(10));
  CHECK(store.NextDue(At(10)) == At(20));
  CHECK(store.NextDue(At(20)) == dtm::kNever);
  CHECK(Gids(DuePage(store, dtm::kNever, {}, 10)) == Texts{"a", "b", "never"});
  CHECK(Gids(DuePage(store, At(1000000), {}, 10)) == Texts{"a", "b"});
}

inline void DueFollowsUpdates(Store& store) {
  Transaction one = NewTransaction("one", At(10));
  Transaction two = NewTransaction("two", At(20));
  REQUIRE(Put(store, one));
  REQUIRE(Put(store, two));
  one.due = At(30);
  REQUIRE(Put(store, one));
  CHECK(Gids(DuePage(store, At(99), {}, 10)) == Texts{"two", "one"});
  CHECK(store.NextDue(At(20)) == At(30));
  two.retry_count = 1;
  REQUIRE(Put(store, two, false));  // not changed, and said so
  CHECK(Gids(DuePage(store, At(99), {}, 10)) == Texts{"two", "one"});
  CHECK(store.Load("two")->due == At(20));
  CHECK(store.Load("two")->retry_count == 1);
}

inline void FinishedIsNotDue(Store& store) {
  for (const Status status : {Status::kSucceed, Status::kFailed}) {
    for (const Time due : {At(10), dtm::kNever}) {
      // A stuck one is due at kNever and stays so when it is ended by hand: `due` does not change.
      for (const bool due_changed : {true, false}) {
        const std::string gid = "gid" + std::to_string(static_cast<int>(status)) +
                                (due_changed ? "c" : "u") + (due == dtm::kNever ? "n" : "s");
        Transaction transaction = NewTransaction(gid, due);
        REQUIRE(Put(store, transaction));
        transaction.status = status;
        transaction.finished = At(5);
        REQUIRE(Put(store, transaction, due_changed));
      }
    }
  }
  CHECK(Gids(DuePage(store, dtm::kNever, {}, 10)).empty());
  CHECK(store.NextDue(At(0)) == dtm::kNever);
  REQUIRE(Put(store, Finished("from the start", At(0), At(0))));
  CHECK(DuePage(store, dtm::kNever, {}, 10).empty());
}

// ---- Scan ----

inline void ScanFiltersAndPages(Store& store) {
  std::vector<Transaction> written;
  for (int i = 0; i < 40; ++i) {
    auto definition = std::make_shared<dtm::Definition>();
    definition->gid = "gid" + std::to_string(i);
    definition->type = i % 4 == 0 ? dtm::TransType::kTcc : dtm::TransType::kSaga;
    Transaction transaction;
    transaction.definition = definition;
    transaction.status = static_cast<Status>(1 + i % 5);
    transaction.created = At(i);
    if (dtm::IsFinal(transaction.status)) transaction.finished = At(i);
    REQUIRE(Put(store, transaction));
    written.push_back(transaction);
  }
  const auto expect = [&](const dtm::ScanFilter& filter, std::size_t limit) {
    Texts wanted;
    for (auto t = written.rbegin(); t != written.rend(); ++t) {
      if (filter.type && *filter.type != t->definition->type) continue;
      if (filter.status && *filter.status != t->status) continue;
      if (t->created < filter.created_from || t->created > filter.created_to) continue;
      wanted.push_back(t->definition->gid);
    }
    Texts got;
    std::int64_t position = 0;
    for (int pages = 0; pages < 100; ++pages) {
      const dtm::ScanPage page = store.Scan(filter, position, limit);
      REQUIRE(page.transactions.size() <= limit);
      for (const std::string& gid : Gids(page.transactions)) got.push_back(gid);
      position = page.next;
      if (position == 0) break;
      REQUIRE(page.transactions.size() == limit);  // a page that is not the last is full
    }
    CHECK(position == 0);
    CHECK(got == wanted);
  };
  for (const std::size_t limit : {1u, 3u, 8u, 40u, 1000u}) {
    dtm::ScanFilter filter;
    expect(filter, limit);
    filter.type = dtm::TransType::kTcc;
    expect(filter, limit);
    filter.status = Status::kSucceed;
    expect(filter, limit);
    filter.type.reset();
    expect(filter, limit);
    filter.created_from = At(10);
    filter.created_to = At(30);
    expect(filter, limit);
    filter.status.reset();
    expect(filter, limit);
    filter.created_from = At(1000);
    filter.created_to = dtm::kNever;
    expect(filter, limit);
  }
  CHECK(store.Scan({}, 0, 0).transactions.empty());
}

/// Records of all kinds that searches tell apart; in the order in which they are written.
inline std::vector<Transaction> RecordsToSearch() {
  using dtm::TransType;
  std::vector<Transaction> records;
  const auto gid = [](int i) {
    static const char* const kBegins[] = {"order-", "order%", "ord\xC3\xA9r-", "order", "z_"};
    return kBegins[i % 5] + std::to_string(i);
  };
  for (int i = 0; i < 90; ++i) {
    auto definition = std::make_shared<dtm::Definition>();
    definition->gid = gid(i);
    definition->type = static_cast<TransType>(1 + i % 5);
    const std::string url = "http://user:secret" + std::to_string(i) + "@bank-" +
                            std::to_string(i % 7) + "/In?a=%20" + (i % 11 == 0 ? "Rare" : "");
    definition->steps.push_back({url, i % 3 == 0 ? "local:Undo" : "", "payload-target", "01"});
    definition->steps.back().op = dtm::Op::kAction;
    if (i % 13 == 0 && definition->type != TransType::kSaga)
      definition->steps.back().topic = "topic://news";
    if (i % 17 == 0) definition->query_prepared = "local:Ask";
    if (definition->type == TransType::kWorkflow) definition->workflow = "flow" + gid(i);
    Transaction transaction;
    transaction.definition = definition;
    transaction.branches.resize(dtm::RowCount(*definition));
    transaction.status = static_cast<Status>(1 + i % 5);
    if (i % 7 != 0 && !dtm::IsFinal(transaction.status)) transaction.status = Status::kSucceed;
    transaction.created = At(i);
    if (dtm::IsFinal(transaction.status)) transaction.finished = At(i + 1);
    transaction.due = i % 14 == 0 ? dtm::kNever : At(i);
    transaction.stuck = i % 28 == 0 && !dtm::IsFinal(transaction.status);
    transaction.retry_count = i % 4 == 0 ? 300 : static_cast<std::uint32_t>(i % 2);
    if (i % 6 == 0) transaction.last_error = "branch 01 was not called";
    if (transaction.status == Status::kFailed) transaction.reason = "no";
    records.push_back(transaction);
  }
  return records;
}

/// All pages of a search, none of which is longer than the limit.
inline Texts Searched(Store& store, const dtm::ScanFilter& filter, std::size_t limit) {
  Texts got;
  std::int64_t position = 0;
  for (int pages = 0; pages < 1000; ++pages) {
    const dtm::ScanPage page = store.Scan(filter, position, limit);
    REQUIRE(page.transactions.size() <= limit);
    for (const std::string& gid : Gids(page.transactions)) got.push_back(gid);
    if (page.next == 0) return got;
    REQUIRE((position == 0 || page.next < position));
    position = page.next;
  }
  FAIL("the pages do not end");
  return got;
}

/// Every filter alone and together with the others finds what it says, newest first.
inline void SearchFindsWhatMatches(Store& store) {
  std::vector<Transaction> written = RecordsToSearch();
  for (Transaction& transaction : written) {
    const auto whole = transaction.definition;
    const bool registers = dtm::RegistersSteps(whole->type);
    auto first = std::make_shared<dtm::Definition>(*whole);
    if (registers) first->steps.clear();  // its step comes in a row of its own
    transaction.definition = first;
    REQUIRE(Put(store, transaction));
    if (!registers) continue;
    transaction.definition = whole;
    std::vector<dtm::Change> changes{{&transaction, true, false, false, 1}};
    store.Begin();
    store.Apply(changes);
    store.Commit();
    REQUIRE(changes[0].applied);
  }
  using Narrow = void (*)(dtm::ScanFilter&);
  const std::vector<Narrow> narrows = {
      [](dtm::ScanFilter&) {},
      [](dtm::ScanFilter& f) { f.unfinished = true; },
      [](dtm::ScanFilter& f) { f.stuck = true; },
      [](dtm::ScanFilter& f) { f.errors = true; },
      [](dtm::ScanFilter& f) { f.may_be_short = true; },
      [](dtm::ScanFilter& f) { f.type = dtm::TransType::kTcc; },
      [](dtm::ScanFilter& f) { f.status = Status::kAborting; },
      [](dtm::ScanFilter& f) { f.status = Status::kFailed; },
      [](dtm::ScanFilter& f) { f.created_from = At(20), f.created_to = At(70); }};
  Texts prefixes = {"",     "order-", "order%", "ord", "ord\xC3\xA9",     "order-12",
                    "none", "\x7F",   "z",      "z_",  "\xF4\x8F\xBF\xBF"};
  Texts targets = {"",    "bank-3/",        "Rare",     "Undo",      "local:", "http://***@bank-3",
                   "new", "*@bank-4",       "Ask",      "flow",      "Undo2",  "secret",
                   "***", "payload-target", "a=%20Rar", "***@bank-9"};
  std::size_t found = 0;
  for (const Narrow narrow : narrows) {
    for (const Narrow other : narrows) {
      for (const std::string& prefix : prefixes) {
        for (const std::string& target : targets) {
          dtm::ScanFilter filter;
          narrow(filter);
          other(filter);
          filter.gid_prefix = prefix;
          filter.target = target;
          if ((narrow != narrows[0] || other != narrows[0]) && !prefix.empty() && !target.empty())
            continue;
          Texts wanted;
          for (auto t = written.rbegin(); t != written.rend(); ++t) {
            if (dtm::Matches(filter, *t)) wanted.push_back(t->definition->gid);
          }
          INFO("prefix " << prefix << ", target " << target);
          CHECK(Searched(store, filter, 7) == wanted);
          found += wanted.size();
        }
      }
    }
  }
  CHECK(found > 1000);
  dtm::ScanFilter filter;
  filter.target = "secret";
  CHECK(Searched(store, filter, 10).empty());  // nobody finds out credentials by searching
  filter.target = "payload-target";
  CHECK(Searched(store, filter, 10).empty());
  filter.target.clear();
  filter.gid_prefix = "\xC3";  // no text
  CHECK(Searched(store, filter, 10).empty());
  filter.gid_prefix.clear();
  filter.stuck = true;
  CHECK(Searched(store, filter, 10).size() == store.CountUnfinished(At(0)).stuck);
  CHECK(store.Scan(filter, 0, 0).transactions.empty());
}

inline void NewOnesDoNotDisturbAScan(Store& store) {
  for (const char* gid : {"a", "b", "c", "d"}) REQUIRE(Put(store, NewTransaction(gid)));
  const dtm::ScanPage first = store.Scan({}, 0, 2);
  CHECK(Gids(first.transactions) == Texts{"d", "c"});
  REQUIRE(Put(store, NewTransaction("e")));
  CHECK(Gids(store.Scan({}, first.next, 2).transactions) == Texts{"b", "a"});
}

// ---- retention ----

inline void ExpireInSmallSteps(Store& store) {
  Texts kept;  // newest first
  for (int i = 0; i < 30; ++i) {
    const std::string gid = "gid" + std::to_string(i);
    Transaction transaction = i % 3 == 0   ? NewTransaction(gid)             // unfinished
                              : i % 3 == 1 ? Finished(gid, At(i), At(i))     // finished long ago
                                           : Finished(gid, At(i), At(500));  // finished lately
    transaction.created = At(i);
    REQUIRE(Put(store, transaction));
    if (i % 3 != 1) kept.insert(kept.begin(), gid);
  }
  REQUIRE(Put(store, Finished("young", At(200), At(200))));
  kept.insert(kept.begin(), "young");

  std::int64_t position = 0;
  std::size_t count = All(store).size();
  int steps = 0;
  do {
    store.Begin();
    const std::int64_t next = store.Expire(At(100), position, 4, false);
    CHECK(All(store).size() == count);  // not before Commit
    store.Commit();
    const std::size_t left = All(store).size();
    CHECK(count - left <= 4);
    count = left;
    CHECK((next == 0 || next > position));
    position = next;
    REQUIRE(++steps < 20);
  } while (position != 0);
  CHECK(steps >= 30 / 4);
  CHECK(Gids(All(store)) == kept);
  CHECK_FALSE(store.Load("gid1").has_value());
  CHECK(DuePage(store, dtm::kNever, {}, 100).size() == 10);

  // A gid that is gone may come again, and is not mistaken for the old one.
  Transaction again = NewTransaction("gid1", At(3), "another");
  REQUIRE(Put(store, again));
  CHECK(Difference(*store.Load("gid1"), again).empty());
}

inline void ExpireRolledBackRemovesNothing(Store& store) {
  REQUIRE(Put(store, Finished("old", At(0), At(1))));
  store.Begin();
  store.Expire(At(100), 0, 10, false);
  store.Rollback();
  REQUIRE(Put(store, NewTransaction("other")));
  CHECK(store.Load("old").has_value());
}

inline void ExpireTwiceInABatch(Store& store) {
  REQUIRE(Put(store, Finished("old", At(0), At(1))));
  REQUIRE(Put(store, NewTransaction("other")));
  store.Begin();
  store.Expire(At(100), 0, 10, false);
  store.Expire(At(100), 0, 10, false);
  store.Commit();
  CHECK(Gids(All(store)) == Texts{"other"});
}

inline void ExpireStopsAtTheYoung(Store& store) {
  CHECK(store.Expire(At(100), 0, 10, false) == 0);
  for (int i = 0; i < 4; ++i) REQUIRE(Put(store, Finished(std::to_string(i), At(0), At(100))));
  store.Begin();
  // Finished at the very moment is not before it; and the end of the rows is the end.
  std::int64_t next = store.Expire(At(100), 0, 4, false);
  if (next != 0) next = store.Expire(At(100), next, 4, false);
  store.Commit();
  CHECK(next == 0);
  CHECK(All(store).size() == 4);
}

inline void ExpireKeepsGids(Store& store) {
  Transaction saga = Finished("saga", At(0), At(1));
  Transaction failed = Finished("failed", At(0), At(2));
  failed.status = Status::kFailed;
  failed.reason = "no";
  auto prepared = std::make_shared<dtm::Definition>(*saga.definition);
  prepared->gid = "prepared";
  prepared->prepared_first = true;
  prepared->type = dtm::TransType::kTcc;
  Transaction tcc = Finished("prepared", At(0), At(3));
  tcc.definition = prepared;
  for (Transaction* transaction : {&saga, &failed, &tcc}) REQUIRE(Put(store, *transaction));
  REQUIRE(Put(store, Finished("big", At(0), At(4))));
  store.Begin();
  std::int64_t position = 0;
  while ((position = store.Expire(At(100), position, 2, true)) != 0) {
  }
  store.Commit();
  CHECK(All(store).empty());
  CHECK(store.NextDue((dtm::Time::min)()) == dtm::kNever);

  const auto left = store.Load("saga");
  REQUIRE(left.has_value());
  CHECK(left->expired);
  CHECK(left->definition->gid == "saga");
  CHECK(left->definition->type == dtm::TransType::kSaga);
  CHECK(left->status == Status::kSucceed);
  CHECK(left->content == dtm::ContentHash(*saga.definition));
  CHECK_FALSE(left->unreadable);
  CHECK(store.Load("failed")->status == Status::kFailed);
  CHECK(store.Load("prepared")->definition->type == dtm::TransType::kTcc);
  CHECK(store.Load("prepared")->content == 0);
  CHECK_FALSE(store.Load("other").has_value());

  CHECK_FALSE(Put(store, NewTransaction("saga")));  // also with other content
  CHECK_FALSE(Put(store, NewTransaction("big")));
  REQUIRE(Put(store, NewTransaction("later than all")));
  REQUIRE(Put(store, NewTransaction("a gid before them")));
  store.Begin();
  CHECK(store.Has("saga"));
  CHECK_FALSE(store.Has("other"));
  store.Rollback();
}

inline void KeptGidsAreForgotten(Store& store) {
  for (int i = 0; i < 10; ++i) {
    REQUIRE(Put(store, Finished("gid" + std::to_string(i), At(0), At(i))));
  }
  store.Begin();
  CHECK(store.Expire(At(100), 0, 100, true) == 0);
  CHECK(store.ForgetGids(At(0), "", 100).empty());
  store.Commit();
  store.Begin();
  (void)store.ForgetGids(At(100), "", 100);
  store.Rollback();
  REQUIRE(Put(store, NewTransaction("other")));
  CHECK(store.Load("gid0").has_value());  // rolled back

  std::string position;
  int steps = 0;
  do {
    store.Begin();
    const std::string next = store.ForgetGids(At(5), position, 3);
    store.Commit();
    CHECK((next.empty() || next > position));
    position = next;
    REQUIRE(++steps < 10);
  } while (!position.empty());
  CHECK(steps >= 3);
  for (int i = 0; i < 10; ++i) {
    INFO(i);
    CHECK(store.Load("gid" + std::to_string(i)).has_value() == (i >= 5));
  }
  REQUIRE(Put(store, NewTransaction("gid0")));
  CHECK_FALSE(store.Load("gid0")->expired);
  CHECK_FALSE(Put(store, NewTransaction("gid9")));
}

inline void RolledBackExpireKeepsNoGid(Store& store) {
  REQUIRE(Put(store, Finished("old", At(0), At(1))));
  store.Begin();
  store.Expire(At(100), 0, 10, true);
  store.Rollback();
  CHECK_FALSE(store.Load("old")->expired);
  REQUIRE(Put(store, NewTransaction("other")));
  CHECK_FALSE(store.Load("old")->expired);
}

inline void UnfinishedNeverExpires(Store& store) {
  for (const Status status : {Status::kPrepared, Status::kSubmitted, Status::kAborting}) {
    Transaction transaction = NewTransaction(dtm::Name(status));
    transaction.status = status;
    transaction.stuck = true;
    transaction.created = Time{};
    REQUIRE(Put(store, transaction));
  }
  store.Begin();
  store.Expire(dtm::kNever, 0, 100, false);
  store.Commit();
  CHECK(All(store).size() == 3);
}

}  // namespace store_contract
}  // namespace dtm_test
