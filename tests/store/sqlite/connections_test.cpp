/// The connections of the SQLite store: what is left of them when opening again fails. What they do when the files are
/// no longer those they have open: files_test.cpp.
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>

#include "tests/catch.hpp"
#include "tests/support/child.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/base/error.hpp>
#include <dtm/store/sqlite/connections.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::sqlite_store::Connections;
using dtm_test::TempDir;

namespace {

constexpr std::size_t kCacheBytes = std::size_t{1} << 20;

}  // namespace

TEST_CASE("connections: opening again fails, reading goes on, the next try works") {
  TempDir dir;
  bool fails = false;
  int opened = 0;
  Connections connections(
      dir / "s.db", dtm::Durability::kProcess,
      [&](sqlite3*) {
        ++opened;
        if (fails) throw std::runtime_error("no tables today");
      },
      kCacheBytes);
  REQUIRE(connections.Path() == dir / "s.db");
  fails = true;
  CHECK_THROWS_WITH(connections.Recover(), ContainsSubstring("no tables today"));
  CHECK_THROWS_WITH(connections.Writing(), ContainsSubstring("has to be recovered"));
  {
    const Connections::Reading reader(connections);
    CHECK_FALSE(reader->find.BindText(1, "gid").Step());
  }
  fails = false;
  connections.Recover();
  CHECK(opened == 3);
  connections.Begin();
  connections.Writing().commit.Step();
  connections.AfterCommit();
}

TEST_CASE("connections: on_open may throw anything") {
  TempDir dir;
  bool fails = true;
  const auto on_open = [&](sqlite3*) {
    if (fails) throw 42;
  };
  try {
    const Connections none(dir / "s.db", dtm::Durability::kProcess, on_open, kCacheBytes);
    FAIL("it was opened");
  } catch (const dtm::StoreError& error) {
    CHECK_THAT(error.what(), ContainsSubstring(dir / "s.db") && ContainsSubstring("on_open") &&
                                 ContainsSubstring("not a std::exception"));
  }
  fails = false;
  Connections connections(dir / "s.db", dtm::Durability::kProcess, on_open, kCacheBytes);
  fails = true;
  CHECK_THROWS_AS(connections.Recover(), dtm::StoreError);
  fails = false;
  connections.Recover();
  connections.Writing();
}

TEST_CASE("connections: an open batch is dropped by Recover") {
  TempDir dir;
  Connections connections(dir / "s.db", dtm::Durability::kProcess, {}, kCacheBytes);
  connections.Begin();
  connections.Writing()
      .put_value.BindText(1, "c")
      .BindText(2, "k")
      .BindText(3, "v")
      .Bind(4, 1)
      .Step();
  connections.Recover();
  CHECK_FALSE(connections.Writing().get_value.BindText(1, "c").BindText(2, "k").Step());
}

TEST_CASE("connections: a forked child that destroys them closes nothing of its parent") {
  TempDir dir;
  auto connections =
      std::make_unique<Connections>(dir / "s.db", dtm::Durability::kProcess, nullptr, kCacheBytes);
  CHECK(dtm_test::InChild([&]() -> std::string {
          connections.reset();
          return "ended";
        }) == "ended");
  CHECK(dtm_test::Exists(dir / "s.db-wal"));
  CHECK_THROWS_AS(Connections(dir / "s.db", dtm::Durability::kProcess, nullptr, kCacheBytes),
                  dtm::StoreError);
  connections->Begin();
  connections->Writing().commit.Step();
  connections->AfterCommit();
}
