/// The contract of stores, part 2: what is written comes back, at the limits of every field.
/// Needs: Catch2, store. Threads: the test's.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
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
  transaction.stuck = true;
  for (std::size_t i = 0; i < 2 * dtm::kMaxSteps; ++i) {
    dtm::Branch branch;
    branch.status = static_cast<dtm::BranchStatus>(1 + i % 3);
    if (i % 2 == 0) branch.tries = static_cast<std::uint32_t>(i * 2200000);
    if (i % 5 == 0) branch.errors = static_cast<std::uint32_t>(i + 1);
    if (i % 7 == 0) branch.next_try = i % 2 == 0 ? dtm::kNever : At(static_cast<int>(i));
    if (i % 11 == 0) branch.deadline = At(static_cast<int>(i)) + std::chrono::microseconds(1);
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
                   std::string("nul\0a", 5),
                   std::string("nul\0b", 5),
                   "nul",
                   std::string(dtm::kMaxGidBytes, 'g'),
                   std::string(dtm::kMaxGidBytes - 1, 'g')};
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

}  // namespace store_contract
}  // namespace dtm_test
