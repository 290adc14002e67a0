/// The contract of stores: steps that are added to a stored definition, one after the other.
/// Needs: Catch2, store. Threads: the test's.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/contract_records.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/core/limits.hpp>
#include <dtm/store/store.hpp>

namespace dtm_test {
namespace store_contract {

inline dtm::Step NumberedStep(int number, std::size_t bytes) {
  return {"http://a" + std::to_string(number),
          number % 3 == 0 ? "" : "local:c",
          std::string(bytes, static_cast<char>(number)),
          std::to_string(number),
          number % 2 == 0 ? "topic" : "",
          number % 2 == 0 ? dtm::Op::kTry : dtm::Op{},
          number % 5 == 0};
}

/// The same definition with `count` more steps.
inline void AddSteps(Transaction& transaction, std::size_t count, std::size_t bytes) {
  auto definition = std::make_shared<dtm::Definition>(*transaction.definition);
  for (std::size_t i = 0; i < count; ++i) {
    definition->steps.push_back(NumberedStep(static_cast<int>(definition->steps.size()), bytes));
  }
  transaction.definition = std::move(definition);
}

inline bool PutAdded(Store& store, Transaction& transaction, std::size_t count,
                     std::size_t bytes = 20) {
  Transaction larger = transaction;
  AddSteps(larger, count, bytes);
  std::vector<dtm::Change> changes{{&larger, false, false, false, count}};
  store.Begin();
  store.Apply(changes);
  store.Commit();
  if (!changes[0].applied) return false;
  ++larger.version;
  transaction = larger;
  return true;
}

inline Transaction Registering(const std::string& gid, dtm::TransType type, std::size_t bytes) {
  Transaction transaction = NewTransaction(gid, At(0), std::string(bytes, 'f'));
  auto definition = std::make_shared<dtm::Definition>(*transaction.definition);
  definition->type = type;
  transaction.definition = std::move(definition);
  transaction.status = Status::kPrepared;
  return transaction;
}

/// Whichever way it is read.
inline void ExpectStored(Store& store, const Transaction& transaction) {
  CHECK(Difference(*store.Load(transaction.definition->gid), transaction).empty());
  for (const Transaction& scanned : All(store)) {
    if (scanned.id == transaction.id) CHECK(Difference(scanned, transaction).empty());
  }
  for (const Transaction& due : DuePage(store, At(1000), {}, 1000)) {
    if (due.id == transaction.id) CHECK(Difference(due, transaction) == "");
  }
}

inline void StepsAreAdded(Store& store) {
  Transaction other = Registering("other", dtm::TransType::kTcc, 10);
  REQUIRE(Put(store, other));
  REQUIRE(PutAdded(store, other, 2));
  for (const auto type : {dtm::TransType::kTcc, dtm::TransType::kXa, dtm::TransType::kWorkflow}) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{5000}}) {
      Transaction one = Registering(std::string(Name(type)) + std::to_string(bytes), type, bytes);
      REQUIRE(Put(store, one));
      for (const std::size_t count : {1u, 3u, 0u, 1u}) {
        REQUIRE(PutAdded(store, one, count, bytes));
        ExpectStored(store, one);
        REQUIRE(Put(store, one));  // a change of the state alone keeps them
        ExpectStored(store, one);
      }
      Transaction stale = one;
      --stale.version;
      CHECK_FALSE(PutAdded(store, stale, 1));
      ExpectStored(store, one);
      for (const bool recover : {false, true}) {
        Transaction lost = one;
        AddSteps(lost, 2, bytes);
        std::vector<dtm::Change> changes{{&lost, true, false, false, 2}};
        store.Begin();
        store.Apply(changes);
        CHECK(Difference(*store.Load(one.definition->gid), one) == "");  // not before Commit
        recover ? store.Recover() : store.Rollback();
        ExpectStored(store, one);
      }
      REQUIRE(PutAdded(store, one, 1));
      REQUIRE(PutRedefined(store, one));  // written as a whole, and more of them after that
      ExpectStored(store, one);
      REQUIRE(PutAdded(store, one, 2));
      ExpectStored(store, one);
      auto fewer = std::make_shared<dtm::Definition>(*one.definition);
      fewer->steps.resize(1);
      one.definition = fewer;
      REQUIRE(PutRedefined(store, one));
      ExpectStored(store, one);
      REQUIRE(PutAdded(store, one, 1));
      ExpectStored(store, one);
    }
  }
  ExpectStored(store, other);
}

/// What a workflow may be at most, of bytes that take the most room in any form of text.
inline void LargestWorkflowIsStored(Store& store) {
  const std::size_t half = dtm::kMaxWorkflowBytes / 2;
  const auto expect = [&store](const Transaction& one) {
    CHECK(Difference(*store.Load(one.definition->gid), one).empty());
    const auto due = DuePage(store, At(1000), {}, 1000);
    REQUIRE(due.size() == 1);
    CHECK(Difference(due[0], one).empty());
  };
  Transaction one = Registering("largest", dtm::TransType::kWorkflow, 0);
  auto definition = std::make_shared<dtm::Definition>(*one.definition);
  definition->workflow = "flow";
  definition->data = std::string(half, '\\');
  one.definition = definition;
  one.last_error = std::string(dtm::kMaxReasonBytes, '\'');
  one.branches.resize(2 + 2 * dtm::kMaxWorkflowBranches);
  REQUIRE(Put(store, one));
  auto larger = std::make_shared<dtm::Definition>(*one.definition);
  const std::size_t each = half / dtm::kMaxWorkflowBranches;
  for (std::size_t i = 0; i < dtm::kMaxWorkflowBranches; ++i) {
    larger->steps.push_back({"", "", std::string(each, i % 2 == 0 ? '\0' : '\'')});
  }
  one.definition = larger;
  std::vector<dtm::Change> changes{{&one, true, false, false, dtm::kMaxWorkflowBranches}};
  store.Begin();
  store.Apply(changes);
  store.Commit();
  REQUIRE(changes[0].applied);
  ++one.version;
  expect(one);
  REQUIRE(PutRedefined(store, one));
  expect(one);
  one.status = Status::kSucceed;
  one.finished = At(1);
  REQUIRE(Put(store, one));
  one.definition = std::make_shared<dtm::Definition>(*one.definition);
  Transaction other = NewTransaction("another");  // in one message, as one, and in a new row
  auto whole = std::make_shared<dtm::Definition>(*one.definition);
  whole->gid = "whole";
  Transaction again = Registering("whole", dtm::TransType::kWorkflow, 0);
  again.definition = whole;
  again.branches = one.branches;
  store.Begin();
  const Batch batch(store, {&other, &again});
  store.Commit();
  CHECK(batch.Applied());
  again.version = 1;
  CHECK(Difference(*store.Load("whole"), again).empty());
  CHECK(Difference(*store.Load("largest"), one).empty());
}

/// What is read page by page comes whole and in its order, also where a few records fill a page.
inline void LargeRecordsComeInOrder(Store& store) {
  std::vector<std::string> gids;
  for (int i = 0; i < 12; ++i) {
    const std::size_t bytes = std::size_t{1} << (i % 3 == 0 ? 4 : 20);
    Transaction one = Registering("large" + std::to_string(i), dtm::TransType::kWorkflow, bytes);
    one.due = At(i / 2);
    REQUIRE(Put(store, one));
    REQUIRE(PutAdded(store, one, 2, bytes / 2));
    gids.push_back(one.definition->gid);
  }
  CHECK(Gids(DuePage(store, At(1000), {}, 1000)) == gids);
  std::vector<std::string> newest(gids.rbegin(), gids.rend());
  CHECK(Gids(All(store)) == newest);
  dtm::ScanFilter filter;
  filter.unfinished = true;
  std::vector<std::string> found;
  std::int64_t position = 0;
  do {
    const dtm::ScanPage page = store.Scan(filter, position, 100);
    for (const std::string& gid : Gids(page.transactions)) found.push_back(gid);
    position = page.next;
  } while (position != 0);
  CHECK(found == newest);
}

/// A row may be given again; what had been added to the old one is not the new one's.
inline void AddedStepsExpireWithTheirTransaction(Store& store) {
  for (const bool keep_gid : {false, true}) {
    Transaction old = Registering(keep_gid ? "kept" : "old", dtm::TransType::kTcc, 10);
    REQUIRE(Put(store, old));
    REQUIRE(PutAdded(store, old, 3));
    old.status = Status::kSucceed;
    old.finished = At(1);
    REQUIRE(Put(store, old));
    store.Begin();
    store.Expire(At(1000), 0, 100, keep_gid);
    store.Commit();
    REQUIRE(All(store).empty());
    Transaction next = Registering(keep_gid ? "next" : "new", dtm::TransType::kTcc, 10);
    REQUIRE(Put(store, next));
    ExpectStored(store, next);
    next.status = Status::kSucceed;
    next.finished = At(1);
    REQUIRE(Put(store, next));
    store.Begin();
    store.Expire(At(1000), 0, 100, keep_gid);
    store.Commit();
  }
}

}  // namespace store_contract
}  // namespace dtm_test
