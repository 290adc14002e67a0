/// The contract of stores, part 2: what is written comes back, at the limits of every field.
/// Needs: Catch2, store. Threads: the test's.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/core/limits.hpp>
#include <dtm/store/store.hpp>

namespace dtm_test {
namespace store_contract {

using dtm::Status;
using dtm::Store;
using dtm::Transaction;
using Texts = std::vector<std::string>;

// ---- roundtrip ----

inline void ExpectRoundtrip(Store& store, Transaction transaction) {
  REQUIRE(Put(store, transaction));
  const auto loaded = store.Load(transaction.definition->gid);
  REQUIRE(loaded.has_value());
  CHECK(Difference(*loaded, transaction).empty());
}

inline void EveryFieldComesBack(Store& store) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = "everything";
  definition->type = dtm::TransType::kMsg;
  definition->concurrent = true;
  definition->orders = {{2, {0, 1}}, {1, {}}, {999, {998, 0}}};
  const std::string binary("\0\x01\xFF\r\n'\"%\xC3\x28", 10);
  definition->query_prepared = "http://host/asked";
  definition->custom_data = binary;
  for (std::size_t i = 0; i < dtm::kMaxSteps; ++i) {
    definition->steps.push_back({"http://host/" + std::to_string(i), i % 3 == 0 ? "" : "local:Ä",
                                 i % 2 == 0 ? binary : std::string()});
  }
  dtm::TransOptions& options = definition->options;
  options.wait_result = true;
  options.timeout_to_fail = dtm::kMaxOptionSeconds;
  options.request_timeout = std::chrono::seconds(1);
  options.retry_interval = std::chrono::seconds(127);
  options.retry_limit = dtm::kMaxRetryLimit;
  for (std::size_t i = 0; i < dtm::kMaxHeaders; ++i) {
    options.branch_headers["X-" + std::to_string(i)] = std::string(dtm::kMaxHeaderBytes / 32, 'h');
  }
  options.branch_headers[""] = "";

  Transaction transaction;
  transaction.definition = definition;
  transaction.status = Status::kAborting;
  transaction.created = At(1) + std::chrono::microseconds(1);
  transaction.due = At(3) + std::chrono::microseconds(999999);
  transaction.reason = std::string(dtm::kMaxReasonBytes, 'r');
  transaction.last_error = binary;
  transaction.retry_count = std::numeric_limits<std::uint32_t>::max();
  transaction.reason_from = 2000;
  transaction.updated = At(2) + std::chrono::microseconds(3);
  transaction.stuck = true;
  for (std::size_t i = 0; i < 2 * dtm::kMaxSteps; ++i) {
    dtm::Branch branch;
    branch.status = static_cast<dtm::BranchStatus>(1 + i % 3);
    if (i % 2 == 0) branch.tries = static_cast<std::uint32_t>(i * 2200000);
    if (i % 5 == 0) branch.errors = static_cast<std::uint32_t>(i + 1);
    if (i % 7 == 0) branch.next_try = i % 2 == 0 ? dtm::kNever : At(static_cast<int>(i));
    branch.asked_when = i % 14 == 0;
    if (i % 11 == 0) branch.deadline = At(static_cast<int>(i)) + std::chrono::microseconds(1);
    if (i % 13 == 0) branch.finished = transaction.created + std::chrono::microseconds(i * i * i);
    transaction.branches.push_back(branch);
  }
  ExpectRoundtrip(store, transaction);

  Transaction changed = *store.Load("everything");
  changed.status = Status::kFailed;
  changed.finished = At(100);
  changed.stuck = false;
  changed.reason.clear();
  changed.branches[1999].tries = 1;
  REQUIRE(Put(store, changed));
  CHECK(Difference(*store.Load("everything"), changed).empty());
}

inline void SmallestAndLargestComeBack(Store& store) {
  Transaction empty;
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = "empty";
  empty.definition = definition;
  ExpectRoundtrip(store, empty);

  auto large = std::make_shared<dtm::Definition>();
  large->gid = "large";
  for (std::size_t size = 0; size < dtm::kMaxDefinitionBytes; size += dtm::kMaxPayloadBytes) {
    large->steps.push_back({"", "", std::string(dtm::kMaxPayloadBytes, '\0')});
  }
  Transaction transaction;
  transaction.definition = large;
  transaction.branches.resize(2 * large->steps.size());
  transaction.due = dtm::kNever;
  ExpectRoundtrip(store, transaction);
  // Around the size at which a store may change its way.
  for (std::size_t size = 1900; size <= 2100; ++size) {
    ExpectRoundtrip(store,
                    NewTransaction("s" + std::to_string(size), At(0), std::string(size, 'x')));
  }
}

inline void ExpectGids(Store& store, const Texts& gids);

/// What no gid can be, and a database server does not take for a text.
inline void GidsMayHoldZeros(Store& store) {
  ExpectGids(store, {std::string("nul\0a", 5), std::string("nul\0b", 5), "nul"});
}

inline void GidsAreWholeTexts(Store& store) {
  const Texts gids{"order-1",
                   "order-10",
                   "order-1000",
                   "order-100",
                   "order-",
                   "ORDER-1",
                   "order-1 ",
                   " order-1",
                   "Bestellung-ä€😀",
                   "a\u0308",
                   "\u00e4",
                   "%",
                   "_",
                   "order%",
                   "';--",
                   "0",
                   "00",
                   "1e0",
                   "1",
                   std::string(dtm::kMaxGidBytes, 'g'),
                   std::string(dtm::kMaxGidBytes - 1, 'g')};
  CHECK_FALSE(store.Load(std::string("order-1\0", 8)).has_value());
  CHECK_FALSE(store.Load("\xFF").has_value());
  ExpectGids(store, gids);
}

inline void ExpectGids(Store& store, const Texts& gids) {
  std::vector<Transaction> written;
  for (const std::string& gid : gids) {
    CHECK_FALSE(store.Load(gid).has_value());
    written.push_back(NewTransaction(gid, At(0), "payload of " + gid));
    REQUIRE(Put(store, written.back()));
  }
  for (const Transaction& transaction : written) {
    const auto loaded = store.Load(transaction.definition->gid);
    REQUIRE(loaded.has_value());
    CHECK(Difference(*loaded, transaction).empty());
  }
  Texts newest_first = gids;
  std::reverse(newest_first.begin(), newest_first.end());
  CHECK(Gids(All(store)) == newest_first);
  CHECK_FALSE(store.Load("").has_value());
}

inline void InFlightIsForgotten(Store& store) {
  Transaction one = NewTransaction("one");
  one.branches[1].in_flight = true;
  one.branches[1].tries = 1;
  REQUIRE(Put(store, one));
  CHECK_FALSE(store.Load("one")->branches[1].in_flight);
  CHECK(store.Load("one")->branches[1].tries == 1);
}

// ---- another definition ----

/// One batch that writes the definition too, as the submit of a prepared one does.
inline bool PutRedefined(Store& store, Transaction& transaction) {
  std::vector<dtm::Change> changes{{&transaction, true, true, false}};
  store.Begin();
  store.Apply(changes);
  store.Commit();
  if (changes[0].applied) ++transaction.version;
  return changes[0].applied;
}

/// The same gid, with a definition of about so many bytes, different in everything it may be.
inline void Redefine(Transaction& transaction, std::size_t bytes, int number) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = transaction.definition->gid;
  definition->prepared_first = number % 2 == 1;
  definition->concurrent = number % 2 == 0;
  definition->orders = {{0, std::vector<int>(static_cast<std::size_t>(number % 3), 0)}};
  definition->options.wait_result = number % 2 == 1;
  definition->options.retry_limit = number;
  definition->options.retry_interval = std::chrono::seconds(number);
  definition->options.branch_headers = {{"number", std::to_string(number)}};
  definition->steps.push_back({"http://a", "http://c", std::string(bytes, 'x')});
  transaction.definition = definition;
  transaction.retry_count = static_cast<std::uint32_t>(number);
  transaction.due = At(number);
}

constexpr std::size_t kSizes[] = {0, 10, 3000, 200000, 2900, 1, 1990, 2010, 5000, 2000};

inline void DefinitionFollowsChanges(Store& store) {
  Transaction other = NewTransaction("other", At(0), std::string(5000, 'o'));
  REQUIRE(Put(store, other));
  int number = 0;
  for (const std::size_t first : kSizes) {
    Transaction transaction =
        NewTransaction("from" + std::to_string(first), At(0), std::string(first, 'f'));
    transaction.status = Status::kPrepared;
    REQUIRE(Put(store, transaction));
    for (const std::size_t bytes : kSizes) {
      CAPTURE(first, bytes);
      Redefine(transaction, bytes, ++number);
      REQUIRE(PutRedefined(store, transaction));
      CHECK(Difference(*store.Load(transaction.definition->gid), transaction).empty());
      transaction.reason = "changed after that";  // and a change of the state alone keeps it
      REQUIRE(Put(store, transaction));
      CHECK(Difference(*store.Load(transaction.definition->gid), transaction).empty());
    }
  }
  CHECK(Difference(*store.Load("other"), other).empty());
  CHECK(DuePage(store, At(number), {}, 1000).size() == 1 + std::size(kSizes));
  CHECK(All(store).size() == 1 + std::size(kSizes));
}

inline void LostChangeLeavesTheDefinition(Store& store) {
  for (const std::size_t from : {std::size_t{10}, std::size_t{9000}}) {
    for (const std::size_t to : {std::size_t{20}, std::size_t{8000}}) {
      CAPTURE(from, to);
      const std::string gid = std::to_string(from) + " to " + std::to_string(to);
      Transaction current = NewTransaction(gid, At(0), std::string(from, 'f'));
      REQUIRE(Put(store, current));
      Transaction stale = current;
      REQUIRE(Put(store, current));
      Transaction early = current;
      early.version = 7;
      Transaction unknown = current;
      unknown.id = current.id + 1000;
      for (Transaction* lost : {&stale, &early, &unknown}) {
        Redefine(*lost, to, 5);
        CHECK_FALSE(PutRedefined(store, *lost));
        CHECK(Difference(*store.Load(gid), current).empty());
      }
      Transaction exists = NewTransaction(gid);
      Redefine(exists, to, 5);
      CHECK_FALSE(PutRedefined(store, exists));
      CHECK(Difference(*store.Load(gid), current).empty());
      REQUIRE(Put(store, current));
      CHECK(Difference(*store.Load(gid), current).empty());
    }
  }
}

inline void RolledBackDefinitionIsTheOldOne(Store& store) {
  for (const std::size_t from : {std::size_t{10}, std::size_t{9000}}) {
    for (const std::size_t to : {std::size_t{20}, std::size_t{8000}}) {
      CAPTURE(from, to);
      const std::string gid = std::to_string(from) + " to " + std::to_string(to);
      Transaction before = NewTransaction(gid, At(0), std::string(from, 'f'));
      REQUIRE(Put(store, before));
      Transaction after = before;
      Redefine(after, to, 5);
      for (const bool recover : {false, true}) {
        std::vector<dtm::Change> changes{{&after, true, true, false}};
        store.Begin();
        store.Apply(changes);
        CHECK(changes[0].applied);
        CHECK(Difference(*store.Load(gid), before).empty());  // not before Commit
        recover ? store.Recover() : store.Rollback();
        CHECK(Difference(*store.Load(gid), before).empty());
      }
      REQUIRE(PutRedefined(store, after));
      CHECK(Difference(*store.Load(gid), after).empty());
    }
  }
}

/// Inserted and given another definition in one batch; and an insert that says so.
inline void DefinitionChangesInsideABatch(Store& store) {
  for (const std::size_t from : {std::size_t{10}, std::size_t{9000}}) {
    for (const std::size_t to : {std::size_t{20}, std::size_t{8000}}) {
      CAPTURE(from, to);
      Transaction one = NewTransaction(std::to_string(from) + " to " + std::to_string(to), At(0),
                                       std::string(from, 'f'));
      store.Begin();
      for (const std::size_t bytes : {from, to, from, to}) {
        std::vector<dtm::Change> changes{{&one, true, true, false}};
        store.Apply(changes);
        REQUIRE(changes[0].applied);
        ++one.version;
        Redefine(one, bytes, static_cast<int>(one.version));
      }
      std::vector<dtm::Change> changes{{&one, true, true, false}};
      store.Apply(changes);
      store.Commit();
      ++one.version;
      CHECK(Difference(*store.Load(one.definition->gid), one).empty());
    }
  }
}

}  // namespace store_contract
}  // namespace dtm_test
