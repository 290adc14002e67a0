/// The contract's own values, and that the stores are the same: a random sequence of operations
/// gives the same answers from memory and from SQLite.
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/memory.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>
#include <dtm/store/store.hpp>

using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::Status;
using dtm::Store;
using dtm::Transaction;

static_assert(std::is_base_of_v<dtm::StoreError, dtm::CommitInDoubt>,
              "who catches StoreError catches a commit in doubt");
static_assert(std::has_virtual_destructor_v<Store> && std::is_abstract_v<Store>);

TEST_CASE("the defaults of filter and position let everything through") {
  const dtm::ScanFilter filter;
  CHECK_FALSE(filter.type.has_value());
  CHECK_FALSE(filter.status.has_value());
  CHECK(filter.created_from == dtm::Time{});
  CHECK(filter.created_to == dtm::kNever);
  CHECK(dtm::DuePosition{}.due < dtm::Time{});
  CHECK(dtm::Change{}.due_changed);
  CHECK_FALSE(dtm::Change{}.applied);
}

namespace {

/// Without the row numbers: a store may give those of removed records again.
std::string Text(const std::vector<Transaction>& transactions) {
  std::string text;
  for (const Transaction& t : transactions) {
    text += t.definition->gid + "v" + std::to_string(t.version) + "r" +
            std::to_string(t.retry_count) + dtm::Name(t.status) + " ";
  }
  return text;
}

/// The same operations on a memory and on an SQLite store.
class Twins {
 public:
  explicit Twins(unsigned seed)
      : random_(seed), sqlite_(dir_ / "s.db", dtm::Durability::kProcess) {}

  void Run(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      INFO("round " << round);
      Batch();
      Compare();
      if (Below(40) == 0) sqlite_.Recover();
    }
  }

 private:
  int Below(unsigned n) { return static_cast<int>(random_() % n); }

  void Batch() {
    std::vector<Transaction> mine;
    for (int n = Below(6); n > 0; --n) mine.push_back(Below(2) == 0 ? Fresh() : Changed());
    std::vector<Transaction> yours = mine;
    for (Transaction& transaction : yours) {
      if (transaction.id != 0) transaction.id = sqlite_.Load(transaction.definition->gid)->id;
    }
    const bool commit = Below(5) != 0;
    const std::size_t expire = Below(4) == 0 ? static_cast<std::size_t>(1 + Below(20)) : 0;
    CHECK(Write(memory_, mine, commit, expire) == Write(sqlite_, yours, commit, expire));
  }

  std::vector<bool> Write(Store& store, std::vector<Transaction>& transactions, bool commit,
                          std::size_t expire) {
    std::vector<dtm::Change> changes;
    for (Transaction& transaction : transactions) changes.push_back({&transaction, true, false});
    store.Begin();
    store.Apply(changes);
    if (expire > 0) store.Expire(At(now_ - 20), 0, expire, false);
    commit ? store.Commit() : store.Rollback();
    std::vector<bool> applied;
    for (const dtm::Change& change : changes) applied.push_back(change.applied);
    return applied;
  }

  Transaction Fresh() {
    Transaction transaction = NewTransaction("gid" + std::to_string(Below(60)), At(Below(50)),
                                             std::string(Below(10) == 0 ? 3000 : 3, 'x'));
    transaction.created = At(++now_);
    return transaction;
  }

  Transaction Changed() {
    const std::vector<Transaction> all = All(memory_);
    if (all.empty()) return Fresh();
    Transaction transaction = all[random_() % all.size()];
    if (dtm::IsFinal(transaction.status)) return Fresh();
    if (Below(8) == 0) transaction.version += 1;  // a conflict
    transaction.retry_count += 1;
    transaction.due = At(Below(50));
    if (Below(3) == 0) {
      transaction.status = Below(2) == 0 ? Status::kSucceed : Status::kFailed;
      transaction.finished = At(now_);
    }
    return transaction;
  }

  void Compare() {
    CHECK(Text(All(memory_)) == Text(All(sqlite_)));
    const dtm::Time now = At(Below(60));
    const auto limit = static_cast<std::size_t>(1 + Below(10));
    CHECK((memory_.NextDue(now) == sqlite_.NextDue(now)));
    CHECK(DuePages(memory_, now, limit) == DuePages(sqlite_, now, limit));
    dtm::ScanFilter filter;
    if (Below(2) == 0) filter.status = static_cast<Status>(1 + Below(5));
    if (Below(2) == 0) filter.created_from = At(Below(100));
    CHECK(ScanPages(memory_, filter, limit) == ScanPages(sqlite_, filter, limit));
  }

  static std::string DuePages(Store& store, dtm::Time now, std::size_t limit) {
    std::string text;
    dtm::DuePosition after;
    for (;;) {
      const std::vector<Transaction> page = DuePage(store, now, after, limit);
      if (page.empty()) return text;
      text += Text(page) + "| ";
      after = {page.back().due, page.back().id};
    }
  }

  static std::string ScanPages(Store& store, const dtm::ScanFilter& filter, std::size_t limit) {
    std::string text;
    std::int64_t position = 0;
    do {
      const dtm::ScanPage page = store.Scan(filter, position, limit);
      text += Text(page.transactions) + "| ";
      position = page.next;
    } while (position != 0);
    return text;
  }

  std::mt19937 random_;
  TempDir dir_;
  dtm::MemoryStore memory_;
  dtm::SqliteStore sqlite_;
  int now_ = 0;
};

}  // namespace

TEST_CASE("memory and SQLite give the same answers to random operations") {
  for (const unsigned seed : {1u, 2u, 3u}) {
    INFO("seed " << seed);
    Twins(seed).Run(400);
  }
}
