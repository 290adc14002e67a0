/// What is remembered of journals in rows is what the row has, whatever was written and lost meanwhile.
#include <string>

#include "tests/catch.hpp"
#include "tests/store/contract_journal.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/sqlite/row_journals.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>

using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::Transaction;
using dtm::sqlite_store::RowJournals;
using store_contract::ErrorEntry;
using store_contract::Journal;
using store_contract::PutTold;
using store_contract::TellOne;

TEST_CASE("row_journals: a version is known until the row is changed otherwise") {
  RowJournals journals;
  CHECK(journals.Find(7, 1) == nullptr);
  journals.Keep(7, 1, "a");
  REQUIRE(journals.Find(7, 1) != nullptr);
  CHECK(*journals.Find(7, 1) == "a");
  CHECK(journals.Find(7, 2) == nullptr);
  CHECK(journals.Find(7 + 4096, 1) == nullptr);
  std::string* const told = journals.Find(7, 1);
  told->append("b");
  journals.Keep(7, 2, *told);
  CHECK(*journals.Find(7, 2) == "ab");
  journals.Next(7, 2);
  CHECK(*journals.Find(7, 3) == "ab");
  journals.Next(7, 2);  // its version 3 was lost
  CHECK(journals.Find(7, 3) == nullptr);
  CHECK(journals.Find(7, 4) == nullptr);
  journals.Keep(7, 1, "");
  CHECK(journals.Find(7, 1)->empty());
  journals.Keep(7 + 4096, 1, "other");  // takes its place
  CHECK(journals.Find(7, 1) == nullptr);
  journals.Forget(7);
  CHECK(journals.Find(7 + 4096, 1) != nullptr);
  journals.Clear();
  CHECK(journals.Find(7 + 4096, 1) == nullptr);
  journals.Keep(9, 1, std::string(10000, 'x'));  // that would take too much
  CHECK(journals.Find(9, 1) == nullptr);
}

TEST_CASE("row_journals: what a batch told that was lost is not there with the next one") {
  const TempDir dir;
  for (const bool tells_again : {false, true}) {
    for (const bool recover : {false, true}) {
      dtm::SqliteStore store(dir / ("a" + std::to_string(tells_again) + std::to_string(recover)),
                             dtm::Durability::kProcess);
      Transaction one = NewTransaction("one");
      REQUIRE(PutTold(store, one, {ErrorEntry(1)}));
      Journal all{ErrorEntry(1)};
      for (std::size_t n = 2; n < 30; ++n) {
        store.Begin();
        REQUIRE(TellOne(store, one, {ErrorEntry(99)}));
        recover ? store.Recover() : store.Rollback();
        if (tells_again) {
          REQUIRE(PutTold(store, one, {ErrorEntry(10 * n)}));
          all.push_back(ErrorEntry(10 * n));
        } else {
          REQUIRE(Put(store, one));
        }
        REQUIRE(PutTold(store, one, {ErrorEntry(10 * n + 5)}));
        all.push_back(ErrorEntry(10 * n + 5));
        REQUIRE(store.ReadJournal("one") == all);
      }
    }
  }
}

TEST_CASE("row_journals: what was written before it was opened is read") {
  const TempDir dir;
  const std::string path = dir / "a.db";
  Transaction one = NewTransaction("one");
  {
    dtm::SqliteStore store(path, dtm::Durability::kProcess);
    REQUIRE(PutTold(store, one, {ErrorEntry(1)}));
  }
  dtm::SqliteStore store(path, dtm::Durability::kProcess);
  REQUIRE(PutTold(store, one, {ErrorEntry(2)}));
  Transaction stale = one;
  --stale.version;
  CHECK_FALSE(PutTold(store, stale, {ErrorEntry(99)}));
  REQUIRE(PutTold(store, one, {ErrorEntry(3)}));
  CHECK(store.ReadJournal("one") == Journal{ErrorEntry(1), ErrorEntry(2), ErrorEntry(3)});
}
