/// The loader: pages through what is unfinished, and knows when to look again.
#include <chrono>
#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/coordinator/state/loader.hpp>
#include <dtm/store/memory.hpp>
#include <tests/coordinator/sql_kit.hpp>
#include <tests/coordinator/world.hpp>

using dtm::kNever;
using dtm::Loader;
using dtm::MemoryStore;
using dtm::Time;
using dtm::Transaction;
using std::chrono::hours;
using std::chrono::seconds;
using world::NewDefinition;

namespace {

const Time kNow(seconds(1000));
constexpr std::size_t kRoom = 10000;
constexpr std::size_t kBytes = std::size_t{1} << 30;

void Put(MemoryStore& store, const std::string& gid, Time due, std::size_t bytes = 0) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = gid;
  definition->data.assign(bytes, 'x');
  Transaction transaction;
  transaction.definition = definition;
  transaction.due = due;
  std::vector<dtm::Change> changes{{&transaction, true, false}};
  store.Begin();
  store.Apply(changes);
  store.Commit();
}

std::vector<std::string> Gids(const std::vector<Transaction>& page) {
  std::vector<std::string> gids;
  for (const auto& transaction : page) gids.push_back(transaction.definition->gid);
  return gids;
}

}  // namespace

TEST_CASE("loader: one pass sees all that is unfinished, once, in order of due") {
  MemoryStore store;
  for (int i = 0; i < 600; ++i) Put(store, std::to_string(i), kNow - seconds(i % 7));
  Loader loader;
  CHECK(loader.NextPass() <= kNow);
  std::set<std::string> seen;
  Time last = (Time::min)();
  for (int pages = 0; loader.NextPass() <= kNow && pages < 10; ++pages) {
    const auto page = loader.NextPage(store, kNow, true, kRoom, kBytes);
    CHECK(page.size() <= Loader::kPage);
    for (const auto& transaction : page) {
      CHECK(transaction.due >= last);
      last = transaction.due;
      CHECK(seen.insert(transaction.definition->gid).second);
    }
  }
  CHECK(seen.size() == 600);
  CHECK(loader.NextPass() == kNever);
  CHECK(loader.NextPage(store, kNow, true, kRoom, kBytes).empty());
}

TEST_CASE("loader: with room it takes those that wait, without it waits for the first of them") {
  MemoryStore store;
  Put(store, "due", kNow);
  Put(store, "later", kNow + seconds(30));
  Put(store, "much later", kNow + seconds(60));
  Loader loader;
  SECTION("with room") {
    CHECK(Gids(loader.NextPage(store, kNow, true, kRoom, kBytes)) ==
          std::vector<std::string>{"due", "later", "much later"});
    CHECK(loader.NextPass() == kNever);
  }
  SECTION("without, but in the first pass") {
    // The wall clock may have been set back: the times in the store may mean nothing.
    CHECK(loader.NextPage(store, kNow, false, kRoom, kBytes).size() == 3);
  }
  SECTION("without") {
    MemoryStore empty;
    (void)loader.NextPage(empty, kNow, true, kRoom, kBytes);
    loader.LeaveBehind(kNow);
    CHECK(Gids(loader.NextPage(store, kNow, false, kRoom, kBytes)) ==
          std::vector<std::string>{"due"});
    while (loader.NextPass() <= kNow) (void)loader.NextPage(store, kNow, false, kRoom, kBytes);
    CHECK(loader.NextPass() == kNow + seconds(30));
    CHECK(loader.NextPage(store, kNow + seconds(29), false, kRoom, kBytes).empty());
    CHECK(Gids(loader.NextPage(store, kNow + seconds(30), false, kRoom, kBytes)).back() == "later");
    CHECK(loader.NextPass() == kNow + seconds(60));
  }
}

TEST_CASE("loader: what is left behind is looked for when it is due") {
  MemoryStore store;
  Loader loader;
  CHECK(loader.NextPage(store, kNow, true, kRoom, kBytes).empty());
  CHECK(loader.NextPass() == kNever);
  Put(store, "a", kNow + seconds(20));
  loader.LeaveBehind(kNow + seconds(20));
  loader.LeaveBehind(kNow + seconds(40));
  CHECK(loader.NextPass() == kNow + seconds(20));
  CHECK(loader.NextPage(store, kNow + seconds(19), true, kRoom, kBytes).empty());
  CHECK(Gids(loader.NextPage(store, kNow + seconds(20), true, kRoom, kBytes)) ==
        std::vector<std::string>{"a"});
}

TEST_CASE("loader: what is left behind during a pass is not forgotten") {
  MemoryStore store;
  for (int i = 0; i < 300; ++i) Put(store, std::to_string(i), kNow - seconds(300 - i));
  Loader loader;
  REQUIRE(loader.NextPage(store, kNow, true, kRoom, kBytes).size() == Loader::kPage);
  loader.LeaveBehind(kNow + seconds(5));  // of the first page
  CHECK(loader.NextPage(store, kNow, true, kRoom, kBytes).size() == 44);
  CHECK(loader.NextPass() == kNow + seconds(5));
}

TEST_CASE("loader: a restart begins at the beginning") {
  MemoryStore store;
  Put(store, "a", kNow);
  Loader loader;
  (void)loader.NextPage(store, kNow, true, kRoom, kBytes);
  REQUIRE(loader.NextPass() == kNever);
  loader.Restart();
  CHECK(Gids(loader.NextPage(store, kNow, true, kRoom, kBytes)) == std::vector<std::string>{"a"});
}

TEST_CASE("loader: a page is no larger than the room, and the rest comes later") {
  MemoryStore store;
  for (int i = 0; i < 10; ++i) Put(store, std::to_string(i), kNow - seconds(10 - i));
  Loader loader;
  CHECK(loader.NextPage(store, kNow, true, 0, kBytes).empty());
  CHECK(Gids(loader.NextPage(store, kNow, true, 4, kBytes)) ==
        std::vector<std::string>{"0", "1", "2", "3"});
  CHECK(loader.NextPass() <= kNow);
  CHECK(loader.NextPage(store, kNow, true, 6, kBytes).size() == 6);
  CHECK(loader.NextPage(store, kNow, true, 6, kBytes).empty());
  CHECK(loader.NextPass() == kNever);
}

TEST_CASE("loader: a page ends where its bytes are used, and the next one goes on there") {
  MemoryStore store;
  const std::size_t large = 100000;
  for (int i = 0; i < 20; ++i) Put(store, std::to_string(i), kNow, large);
  Loader loader;
  CHECK(loader.NextPage(store, kNow, true, kRoom, 0).empty());
  std::set<std::string> seen;
  std::vector<std::size_t> sizes;
  while (loader.NextPass() <= kNow && sizes.size() < 100) {
    const auto page = loader.NextPage(store, kNow, true, kRoom, 3 * large);
    sizes.push_back(page.size());
    for (const auto& transaction : page) CHECK(seen.insert(transaction.definition->gid).second);
  }
  CHECK(seen.size() == 20);
  CHECK(sizes == std::vector<std::size_t>{3, 3, 3, 3, 3, 3, 2});
  CHECK(loader.NextPass() == kNever);
}

TEST_CASE("loader: one that is larger than the room is loaded alone, or it would wait for ever") {
  MemoryStore store;
  for (int i = 0; i < 3; ++i) Put(store, std::to_string(i), kNow, 5000);
  Loader loader;
  for (int i = 0; i < 3; ++i) {
    CHECK(Gids(loader.NextPage(store, kNow, true, kRoom, 1)) ==
          std::vector<std::string>{std::to_string(i)});
  }
}

TEST_CASE("loader: 20 000 damaged records take no room and hide nothing behind them") {
  dtm::Options options;
  options.max_in_memory = 8;
  sql_kit::Bank bank({}, options);
  bank->Prepare(NewDefinition("damaged", 1));
  bank.kit.Settle();
  const auto write = [&](const std::string& text) {
    dtm::sql::Database db(bank.path, SQLITE_OPEN_READWRITE);
    sql_kit::Sql(db.Handle(), text);
  };
  write(
      "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
      "INSERT INTO dtm_trans (gid, type, status, version, created, finished, due, definition, "
      "state) SELECT 'd' || i, type, " +
      std::to_string(static_cast<int>(dtm::Status::kSubmitted)) +
      ", version, created, finished, i, x'00', x'00' FROM n, dtm_trans");
  bank->Submit(NewDefinition("before", 1));
  CHECK(bank->Wait("before", hours(1)).Succeeded());
  bank->Submit([] {
    auto later = NewDefinition("later", 1);
    later.type = dtm::TransType::kMsg;
    later.steps[0].compensate.clear();
    later.delay = seconds(100);
    return later;
  }());
  bank.kit.Crash();
  bank->Submit(NewDefinition("after", 1));
  CHECK(bank->Wait("after", hours(1)).Succeeded());
  CHECK(bank->Wait("later", hours(1)).Succeeded());
  const dtm::Gauges now = bank->Measure();
  CHECK(now.damaged == 101);  // that many or more
  CHECK(now.in_memory == 0);
  CHECK(bank.log->size() < 210);  // named once each, as far as anybody would read, in each run
}
