/// One thread at a time in a connection: with its mutex others wait, without they are refused.
#include <atomic>
#include <string>
#include <thread>

#include "tests/catch.hpp"
#include <dtm/sql/exclusive.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::sql::Exclusive;

namespace {

struct Connection {
  explicit Connection(int flags) {
    REQUIRE(sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | flags, nullptr) == SQLITE_OK);
  }
  ~Connection() { sqlite3_close(db); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  sqlite3* db = nullptr;
};

/// What another thread is told.
std::string Elsewhere(sqlite3* db) {
  std::string said = "came in";
  std::thread([&] {
    try {
      const Exclusive exclusive(db);
    } catch (const dtm::LogicError& error) {
      said = error.what();
    }
  }).join();
  return said;
}

}  // namespace

TEST_CASE("without a mutex the second thread is refused, until the first is out") {
  const Connection connection(SQLITE_OPEN_NOMUTEX);
  const Connection other(SQLITE_OPEN_NOMUTEX);
  {
    const Exclusive first(connection.db);
    {
      const Exclusive again(connection.db);  // the same thread
      CHECK_THAT(Elsewhere(connection.db), ContainsSubstring("SQLITE_OPEN_NOMUTEX"));
    }
    CHECK_THAT(Elsewhere(connection.db), ContainsSubstring("used by another thread"));
    CHECK(Elsewhere(other.db) == "came in");
  }
  CHECK(Elsewhere(connection.db) == "came in");
}

TEST_CASE("with a mutex the second thread waits, also one that only runs a statement") {
  const Connection connection(SQLITE_OPEN_FULLMUTEX);
  std::atomic<bool> out{false};
  std::atomic<bool> early{false};
  std::thread second;
  {
    const Exclusive first(connection.db);
    const Exclusive again(connection.db);
    std::atomic<bool> began{false};
    second = std::thread([&] {
      began = true;
      sqlite3_exec(connection.db, "CREATE TABLE t (a)", nullptr, nullptr, nullptr);
      if (!out) early = true;
    });
    while (!began) std::this_thread::yield();
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
    out = true;
  }
  second.join();
  CHECK_FALSE(early);
  CHECK(Elsewhere(connection.db) == "came in");
}
