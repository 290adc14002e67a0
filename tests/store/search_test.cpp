/// How many records a search looks at, and where its pages end.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/base/text.hpp>
#include <dtm/store/memory.hpp>
#include <dtm/store/search.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>

using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::ScanFilter;
using dtm::ScanPage;
using dtm::Status;
using dtm::Transaction;
using dtm::search::BehindPrefix;
using dtm::search::kMostFromIndex;
using dtm::search::kMostLooked;
using dtm::search::kMostSought;

namespace {

/// Ids 1 to `count`; what is asked of it is counted.
struct Numbers : dtm::SearchSource {
  explicit Numbers(std::int64_t all) : count(all) {}

  Ids Unfinished(bool, std::size_t most) override {
    ++indexes;
    Ids ids;
    for (std::int64_t id = 1; id <= unfinished && ids.size() < most; ++id) ids.push_back(id);
    return ids;
  }
  std::optional<Ids> WithGids(const std::string&, const std::string&, std::size_t) override {
    ++gid_indexes;
    return std::nullopt;
  }
  Ids Below(std::int64_t id, std::size_t most) override {
    Ids ids;
    for (std::int64_t at = (std::min)(id - 1, count); at > 0 && ids.size() < most; --at)
      ids.push_back(at);
    named += ids.size();
    return ids;
  }
  Part Read(const Ids& ids, bool, const ScanFilter&, std::size_t most,
            std::size_t most_bytes) override {
    Part read;
    std::size_t had = 0;
    for (const std::int64_t id : ids) {
      ++looked;
      if (id % every != 0) continue;
      read.records.push_back(NewTransaction(std::to_string(id), At(0), std::string(bytes, 'x')));
      read.records.back().id = id;
      if (id % matching != 0) read.records.back().status = Status::kSucceed;
      had += dtm::BytesOf(*read.records.back().definition);
      largest = (std::max)(largest, read.records.size());
      most_at_once = (std::max)(most_at_once, had);
      read.whole = read.records.size() < most && had < most_bytes;
      if (!read.whole) break;
    }
    return read;
  }

  std::int64_t count, unfinished = 0, every = 1, matching = 1;
  std::size_t bytes = 2, looked = 0, largest = 0, named = 0, indexes = 0, most_at_once = 0,
              gid_indexes = 0;
};

ScanFilter Short() {
  ScanFilter filter;
  filter.may_be_short = true;
  return filter;
}

/// The gids of all pages, and how many pages there were.
std::pair<std::vector<std::string>, std::size_t> AllPages(Numbers& numbers,
                                                          const ScanFilter& filter,
                                                          std::size_t limit) {
  std::vector<std::string> gids;
  std::size_t pages = 0;
  std::int64_t position = 0;
  do {
    const ScanPage page = dtm::search::Search(numbers, filter, position, limit);
    for (const std::string& gid : Gids(page.transactions)) gids.push_back(gid);
    position = page.next;
    ++pages;
  } while (position != 0 && pages < 100000);
  return {gids, pages};
}

}  // namespace

TEST_CASE("a text behind all with a prefix") {
  CHECK(BehindPrefix("a") == "b");
  CHECK(BehindPrefix("az") == "a{");
  CHECK(BehindPrefix("a\x7F") == "b");
  CHECK(BehindPrefix("\xC3\xBF") == "\xC4\x80");
  CHECK(BehindPrefix("a\xED\x9F\xBF") == "a\xEE\x80\x80");  // surrogates are no text
  CHECK(BehindPrefix("\xF4\x8F\xBF\xBF").empty());          // the last of all
  CHECK(BehindPrefix("").empty());
  for (std::uint32_t at = 0; at < 0x110000; at += 37) {
    std::string text;
    const auto add = [&text](std::uint32_t byte) { text += static_cast<char>(byte); };
    if (at < 0x80) {
      add(at);
    } else if (at < 0x800) {
      add(0xC0 | at >> 6), add(0x80 | (at & 63));
    } else if (at < 0x10000) {
      add(0xE0 | at >> 12), add(0x80 | (at >> 6 & 63)), add(0x80 | (at & 63));
    } else {
      add(0xF0 | at >> 18), add(0x80 | (at >> 12 & 63)), add(0x80 | (at >> 6 & 63)),
          add(0x80 | (at & 63));
    }
    if (!dtm::IsUtf8(text)) continue;
    const std::string behind = BehindPrefix("k" + text);
    REQUIRE(dtm::IsUtf8(behind));
    REQUIRE(behind > "k" + text + "\xF4\x8F\xBF\xBF");
  }
}

TEST_CASE("a search looks at a bounded number of records") {
  Numbers numbers(35000);
  numbers.every = 1000000;
  const ScanPage page = dtm::search::Search(numbers, Short(), 0, 100);
  CHECK(page.transactions.empty());
  CHECK(numbers.looked == kMostLooked);
  CHECK(page.next == 35001 - static_cast<std::int64_t>(kMostLooked));
  numbers.looked = 0;
  CHECK(AllPages(numbers, Short(), 100).second == 4);
  CHECK(numbers.looked == 35000);  // each once
}

TEST_CASE("a page that is full soon asks for few ids") {
  Numbers numbers(100000);
  CHECK(dtm::search::Search(numbers, Short(), 0, 100).transactions.size() == 100);
  CHECK(numbers.named == 256);
}

TEST_CASE("a list that is no search is full, however many records that takes") {
  Numbers numbers(100000);
  numbers.every = 20000;
  ScanFilter filter;
  filter.status = Status::kSubmitted;
  numbers.unfinished = static_cast<std::int64_t>(kMostFromIndex) + 1;
  const ScanPage page = dtm::search::FullPage(numbers, filter, 0, 4);
  CHECK(Gids(page.transactions) == std::vector<std::string>{"100000", "80000", "60000", "40000"});
  CHECK(page.next == 40000);
  CHECK(dtm::search::FullPage(numbers, filter, page.next, 4).next == 0);
}

TEST_CASE("a page ends where it is full, and the next one goes on there") {
  for (const std::size_t limit : {1u, 31u, 32u, 33u, 100u, 1000u}) {
    for (const std::int64_t every : {1, 3, 700}) {
      for (const std::int64_t matching : {1, 2}) {
        Numbers numbers(limit == 1 ? 300 : 21000);
        numbers.every = every;
        numbers.matching = matching * every;
        ScanFilter filter = Short();
        filter.status = Status::kSubmitted;
        numbers.unfinished = static_cast<std::int64_t>(kMostFromIndex) + 1;  // too many
        std::vector<std::string> wanted;
        for (std::int64_t id = numbers.count; id > 0; --id) {
          if (id % numbers.matching == 0) wanted.push_back(std::to_string(id));
        }
        CHECK(AllPages(numbers, filter, limit).first == wanted);
        CHECK(numbers.largest <= 32);  // of what may be large
      }
    }
  }
}

TEST_CASE("few unfinished ones are found by their index, many are not rare") {
  Numbers numbers(1000000);
  ScanFilter filter;
  filter.unfinished = true;
  numbers.unfinished = 3;
  CHECK(AllPages(numbers, filter, 100).first == std::vector<std::string>{"3", "2", "1"});
  CHECK(numbers.looked == 3);
  numbers.unfinished = static_cast<std::int64_t>(kMostFromIndex);
  numbers.looked = 0;
  numbers.every = 1000000;
  CHECK(dtm::search::Search(numbers, filter, 0, 100).next ==
        static_cast<std::int64_t>(kMostFromIndex - kMostSought) + 1);
  CHECK(numbers.looked == kMostSought);
  numbers.unfinished = static_cast<std::int64_t>(kMostFromIndex) + 1;
  CHECK(dtm::search::Search(numbers, filter, 0, 100).next ==
        1000001 - static_cast<std::int64_t>(kMostLooked));
  const std::size_t asked = numbers.indexes;
  CHECK(dtm::search::Search(numbers, Short(), 0, 100).next > 0);
  CHECK(numbers.indexes == asked);  // it does not help there
}

TEST_CASE("the index of gids is not asked for a beginning that most of the newest have") {
  Numbers numbers(1999);  // gids are numbers, from 1 to 1999
  ScanFilter filter;
  filter.gid_prefix = "1";
  CHECK(dtm::search::Search(numbers, filter, 0, 100).transactions.size() == 100);
  CHECK(numbers.gid_indexes == 0);
  CHECK(dtm::search::Search(numbers, filter, 900, 100).transactions.size() == 100);
  CHECK(numbers.gid_indexes == 1);
  CHECK(dtm::search::Search(numbers, filter, 2, 100).transactions.size() == 1);
  CHECK(dtm::search::Search(numbers, filter, 1, 100).transactions.empty());
}

TEST_CASE("large definitions end a page") {
  Numbers numbers(1000);
  numbers.bytes = std::size_t{256} << 10;
  const ScanPage page = dtm::search::Search(numbers, Short(), 0, 1000);
  CHECK(page.transactions.size() == 16);
  CHECK(page.next == 985);
}

TEST_CASE("stores end a page after so many records, and lose nothing by it") {
  const TempDir dir;
  dtm::MemoryStore memory;
  dtm::SqliteStore sqlite(dir / "s.db", dtm::Durability::kProcess);
  for (dtm::Store* store : {static_cast<dtm::Store*>(&memory), static_cast<dtm::Store*>(&sqlite)}) {
    constexpr int kCount = 24000;
    std::vector<Transaction> records;
    for (int i = 0; i < kCount; ++i) {
      records.push_back(i % 8000 == 0 ? NewTransaction("open" + std::to_string(i))
                                      : Finished("gid" + std::to_string(i), At(i), At(i)));
    }
    std::vector<dtm::Change> changes;
    for (Transaction& record : records) changes.push_back({&record, true, false});
    store->Begin();
    store->Apply(changes);
    store->Commit();
    ScanFilter filter;
    filter.unfinished = true;
    CHECK(Gids(store->Scan(filter, 0, 100).transactions) ==
          std::vector<std::string>{"open16000", "open8000", "open0"});
    CHECK(store->Scan(filter, 0, 100).next == 0);
    filter = {};
    filter.errors = true;
    const ScanPage page = store->Scan(filter, 0, 100);
    CHECK(page.transactions.empty());
    CHECK(page.next == records[kCount - kMostLooked].id);
    filter = {};
    filter.gid_prefix = "open8";
    std::vector<std::string> found;
    std::int64_t position = 0;
    do {
      const ScanPage one = store->Scan(filter, position, 100);
      for (const std::string& gid : Gids(one.transactions)) found.push_back(gid);
      position = one.next;
    } while (position != 0);
    CHECK(found == std::vector<std::string>{"open8000"});
  }
}
