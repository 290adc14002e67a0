/// The bytes of a journal (docs/store_format.md), and where the file has them.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/contract_journal.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/journal_codec.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>

using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::JournalEntry;
using dtm::JournalKind;
using dtm::Transaction;
using store_contract::Encoded;
using store_contract::ErrorEntry;
using store_contract::Journal;
using store_contract::PutTold;

namespace {

Journal Decoded(const std::string& bytes) {
  Journal entries;
  dtm::codec::DecodeJournal(bytes, entries);
  return entries;
}

std::string Value(const std::string& path, const std::string& sql) {
  dtm::sql::Database db(path, SQLITE_OPEN_READWRITE);
  dtm::sql::Statement statement(db, sql);
  REQUIRE(statement.Step());
  return statement.Text(0);
}

void Change(const std::string& path, const std::string& sql) {
  dtm::sql::Database db(path, SQLITE_OPEN_READWRITE);
  db.Exec(sql.c_str());
}

const char kInRow[] = "SELECT journal IS NOT NULL FROM dtm_trans";
const char kMoved[] = "SELECT count(*) FROM dtm_journal";

}  // namespace

TEST_CASE("the bytes of the entries of a change are those of the document") {
  const Journal entries{
      {dtm::Time(std::chrono::microseconds(300)),
       dtm::kNoRow,
       {},
       JournalKind::kSubmitted,
       "",
       "me"},
      {dtm::Time(std::chrono::microseconds(305)), 1, dtm::Op::kAction, JournalKind::kError, "no"}};
  const std::string bytes("\x02\xac\x02\x42\x00\x02me\xa8\x05\x01\x01\x02no\x00\x00", 16);
  CHECK(Encoded(entries) == bytes);
  CHECK(Decoded(bytes) == entries);
  Journal twice = entries;
  twice.insert(twice.end(), entries.begin(), entries.end());
  CHECK(Decoded(bytes + bytes) == twice);
  const std::string even("\x02\xac\x02\x0c\x00\x00", 6);
  const Journal one{{entries[0].time, dtm::kNoRow, {}, JournalKind::kSucceeded, ""}};
  CHECK(Encoded(one) == even);
  CHECK(Decoded(even) == one);
  CHECK(Encoded({}).empty());
  CHECK(Decoded("").empty());
}

TEST_CASE("each kind of entry comes back, with and without a row, a text and a name") {
  for (unsigned kind = 1; kind <= 20; ++kind) {
    for (unsigned with = 0; with < 8; ++with) {
      JournalEntry entry{At(9), dtm::kNoRow, {}, static_cast<JournalKind>(kind), "", ""};
      if ((with & 1) != 0) entry.row = 999;
      if ((with & 1) != 0) entry.op = dtm::Op::kResume;
      if ((with & 2) != 0) entry.text = std::string(dtm::kMaxJournalText, '\0');
      if ((with & 4) != 0) entry.who = "host:1";
      const Journal entries{entry, ErrorEntry(10), entry};
      CAPTURE(kind, with);
      CHECK(Decoded(Encoded(entries)).size() == 3);
      CHECK(Decoded(Encoded(entries))[0] == entry);
    }
  }
}

TEST_CASE("the journal of the largest transaction is bounded, whatever happens to it") {
  Journal entries;
  const std::string text(dtm::kMaxJournalText, 'x');
  const std::string who(dtm::kMaxJournalWho, 'y');
  std::size_t largest = 0;
  for (std::size_t n = 0; n < 30000; ++n) {
    const std::size_t row = n * 7 % 2000;
    const dtm::Time time = At(static_cast<std::int64_t>(100 * n));
    entries.push_back({time, row, dtm::Op::kAction, JournalKind::kStarted, "", ""});
    entries.push_back({time, dtm::kNoRow, {}, JournalKind::kCancel, text, who});
    entries.push_back({time, row, dtm::Op::kAction, JournalKind::kError, text, ""});
    if (n % 100 != 99) continue;
    dtm::FoldJournal(entries, 20);
    largest = (std::max)(largest, Encoded(entries).size());
  }
  CHECK(largest <= dtm::kMaxJournalBytes);
  CHECK(largest > dtm::kMaxJournalBytes / 2);
}

TEST_CASE("entries of format 1, which did not say who, are still read") {
  const std::string old("\x01\x02\xac\x02\x02\x00\x00\x00\x00\x08\x01\x02\x05\x02no", 16);
  const Journal entries{
      {dtm::Time(std::chrono::microseconds(300)), dtm::kNoRow, {}, JournalKind::kSubmitted, ""},
      {dtm::Time(std::chrono::microseconds(305)), 1, dtm::Op::kAction, JournalKind::kError, "no"}};
  CHECK(Decoded(old) == entries);
  const std::string odd("\x01\x01\xac\x02\x0c\x00\x00\x00\x02!!\x00", 12);
  const Journal one{{entries[0].time, dtm::kNoRow, {}, JournalKind::kSucceeded, "!!"}};
  CHECK(Decoded(odd) == one);
  Journal both = entries;
  both.push_back(ErrorEntry(2));
  CHECK(Decoded(old + Encoded({ErrorEntry(2)})) == both);
}

TEST_CASE("a clock that was set back does not run back in a journal") {
  Journal entries{ErrorEntry(9), ErrorEntry(4), ErrorEntry(11)};
  entries = Decoded(Encoded(entries));
  REQUIRE(entries.size() == 3);
  CHECK(entries[1].time == At(9));
  CHECK(entries[2].time == At(11));
}

TEST_CASE("times before 1970 are read as 1970, and leave those behind them as they are") {
  for (const dtm::Time before : {dtm::Time(dtm::Duration(-5)), (dtm::Time::min)()}) {
    const Journal read =
        Decoded(Encoded({{before, dtm::kNoRow, {}, JournalKind::kSubmitted},
                         {dtm::Time(dtm::Duration(10)), 1, {}, JournalKind::kStarted}}));
    REQUIRE(read.size() == 2);
    CHECK(read[0].time == dtm::Time{});
    CHECK(read[1].time == dtm::Time(dtm::Duration(10)));
  }
}

TEST_CASE("in place of what is damaged there is a gap, and nothing throws") {
  const std::string good = Encoded({ErrorEntry(1), ErrorEntry(2)});
  for (std::size_t size = 1; size < good.size(); ++size) {
    const Journal entries = Decoded(good + good.substr(0, size));
    REQUIRE(entries.size() >= 3);
    CHECK(entries.back().kind == JournalKind::kGap);
    CHECK(entries.back().row == 0);
    CHECK(entries[0] == ErrorEntry(1));
  }
  for (int byte = 0; byte < 256; ++byte) {
    for (std::size_t i = 0; i < good.size(); ++i) {
      std::string bad = good;
      bad[i] = static_cast<char>(byte);
      (void)Decoded(bad);
    }
  }
  CHECK(Decoded("\x03").size() == 1);  // of a newer format
}

TEST_CASE("an attempt takes few bytes") {
  Journal entries{{At(1), 3, dtm::Op::kAction, JournalKind::kStarted, ""},
                  {At(2), 3, dtm::Op::kAction, JournalKind::kSuccess, ""}};
  CHECK(Encoded(entries).size() <= 22);  // alone in a change; 10 of them are its time
  const std::size_t one = Encoded(entries).size();
  entries.insert(entries.end(), {entries[0], entries[1]});
  CHECK(Encoded(entries).size() <= one + 10);
  entries[1].kind = JournalKind::kError;
  entries[1].text = std::string(dtm::kMaxJournalText, 'x');
  CHECK(Encoded(entries).size() <= 250);
}

TEST_CASE("sqlite: what is told stays in the row for some changes, and is moved out of it then") {
  const TempDir dir;
  const std::string path = dir / "a.db";
  dtm::SqliteStore store(path, dtm::Durability::kProcess);
  Transaction one = NewTransaction("one");
  Journal all;
  std::size_t moved = 0;
  std::string before = "0";
  for (std::size_t n = 0; n < 50; ++n) {
    all.push_back(ErrorEntry(n));
    REQUIRE(PutTold(store, one, {ErrorEntry(n)}));
    const std::string in_row = Value(path, kInRow);
    if (in_row == "0") ++moved;
    CHECK(Value(path, kMoved) == (moved > 0 ? "1" : "0"));
    CHECK(store.ReadJournal("one") == all);
  }
  CHECK(moved == 6);
  // Also if nothing is told by the changes at which it is moved.
  for (std::size_t n = 0; n < 100; ++n) {
    REQUIRE(PutTold(store, one, one.version % 8 == 0 ? Journal{} : Journal{ErrorEntry(n)}));
  }
  CHECK(Value(path, "SELECT coalesce(length(journal), 0) < 300 FROM dtm_trans") == "1");
}

TEST_CASE("sqlite: the journal of a file in UTF-16 is the same") {
  for (const char* encoding : {"UTF-16le", "UTF-16be", "UTF-8"}) {
    const TempDir dir;
    const std::string path = dir / "a.db";
    {
      dtm::sql::Database db(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
      db.Exec(("PRAGMA encoding = '" + std::string(encoding) + "'; CREATE TABLE mine (n)").c_str());
    }
    dtm::SqliteStore store(path, dtm::Durability::kProcess);
    REQUIRE(Value(path, "PRAGMA encoding") == encoding);
    Transaction one = NewTransaction("one");
    Journal all;
    for (std::size_t n = 0; n < 20; ++n) {
      JournalEntry entry = ErrorEntry(n);
      entry.text = std::string(n, static_cast<char>(n % 2 == 0 ? 0xD8 : 0));
      all.push_back(entry);
      REQUIRE(PutTold(store, one, {entry}));
      CHECK(store.ReadJournal("one") == all);
    }
  }
}

TEST_CASE("sqlite: a damaged journal keeps nobody from going on") {
  const TempDir dir;
  const std::string path = dir / "a.db";
  Transaction one = NewTransaction("one");
  {
    dtm::SqliteStore store(path, dtm::Durability::kProcess);
    for (std::size_t n = 0; n < 12; ++n) REQUIRE(PutTold(store, one, {ErrorEntry(n)}));
  }
  for (const char* bad : {"x'0203'", "x'0103'", "x'FF'", "'text'", "7"}) {
    Change(path, std::string("UPDATE dtm_trans SET journal = ") + bad);
    Change(path, std::string("UPDATE dtm_journal SET entries = ") + bad);
    dtm::SqliteStore store(path, dtm::Durability::kProcess);
    for (std::size_t n = 0; n < 20; ++n) {
      REQUIRE(PutTold(store, one, {ErrorEntry(n)}));
      CHECK(store.Load("one")->version == one.version);
    }
    const Journal journal = store.ReadJournal("one");
    REQUIRE(journal.size() > 8);
    CHECK(journal.front().kind == JournalKind::kGap);
    CHECK(journal.back() == ErrorEntry(19));
  }
}

TEST_CASE("sqlite: what belongs to a removed row is not told of the row that gets its number") {
  const TempDir dir;
  const std::string path = dir / "a.db";
  {
    dtm::SqliteStore store(path, dtm::Durability::kProcess);
    Transaction one = NewTransaction("one");
    for (std::size_t n = 0; n < 20; ++n) REQUIRE(PutTold(store, one, {ErrorEntry(n)}));
  }
  Change(path, "DELETE FROM dtm_trans");  // by somebody who knows nothing of the other table
  dtm::SqliteStore store(path, dtm::Durability::kProcess);
  Transaction next = NewTransaction("next");
  REQUIRE(PutTold(store, next, {ErrorEntry(7)}));
  CHECK(store.ReadJournal("next") == Journal{ErrorEntry(7)});
}
