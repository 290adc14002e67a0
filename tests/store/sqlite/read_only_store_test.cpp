/// Looking into a store file: beside a coordinator that writes, after a crash, on a medium that cannot be written, and without
/// leaving anything behind.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/sqlite/read_only_store.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>

using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using Catch::Matchers::ContainsSubstring;
using dtm::ReadOnlySqliteStore;
using dtm::SqliteStore;

namespace {

/// Each file of the folder with its bytes.
std::map<std::string, std::string> Files(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    files[entry.path().filename()] = std::string(std::istreambuf_iterator<char>(file), {});
  }
  return files;
}

/// As a process that is killed leaves it.
void Crash(const std::string& path, const char* gid) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    SqliteStore store(path);
    (void)Put(store, NewTransaction(gid));
    ::_exit(0);  // without closing
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
}

std::size_t Count(dtm::Store& store) { return store.Scan({}, 0, 1000).transactions.size(); }

}  // namespace

TEST_CASE("a file that nobody uses is looked into, and nothing is left behind") {
  const TempDir dir;
  { SqliteStore(dir / "s.db", dtm::Durability::kProcess); }
  {
    SqliteStore store(dir / "s.db", dtm::Durability::kProcess);
    REQUIRE(Put(store, NewTransaction("a")));
  }
  const auto before = Files(dir.Path());
  {
    ReadOnlySqliteStore look(dir / "s.db");
    CHECK_FALSE(look.InUse());
    CHECK(look.Load("a").has_value());
    CHECK_FALSE(look.Load("b").has_value());
    CHECK(look.CountUnfinished(At(0)).unfinished == 1);
    CHECK(look.NextDue(At(0)) == dtm::kNever);
    const std::atomic<bool> stop{false};
    CHECK(look.Check(stop).empty());
    CHECK_FALSE(look.Changed());
    CHECK_THROWS_WITH(look.Begin(), ContainsSubstring("open for looking only"));
  }
  CHECK(Files(dir.Path()) == before);
}

TEST_CASE("beside a store that writes, each look sees what is committed") {
  const TempDir dir;
  SqliteStore store(dir / "s.db", dtm::Durability::kProcess);
  for (int i = 0; i < 300; ++i) {
    REQUIRE(Put(store, NewTransaction("gid" + std::to_string(i))));
    if (i % 50 == 3) store.Recover();  // the log begins anew
    if (i % 10 != 0) continue;
    ReadOnlySqliteStore look(dir / "s.db");
    CHECK(look.InUse());
    CHECK(Count(look) == static_cast<std::size_t>(i) + 1);
    REQUIRE(Put(store, NewTransaction("more" + std::to_string(i))));
    CHECK(look.Load("more" + std::to_string(i)).has_value());
    CHECK_FALSE(look.Changed());
    REQUIRE(store.Load("gid0").has_value());
    dtm::Transaction gone = *store.Load("more" + std::to_string(i));
    gone.status = dtm::Status::kSucceed;
    gone.finished = At(0);
    REQUIRE(Put(store, gone));
    store.Begin();
    store.Expire(At(1), 0, 1000, false);
    store.Commit();
  }
}

TEST_CASE("what a crash left in the log is read, and stays there") {
  const TempDir dir;
  { SqliteStore(dir / "s.db", dtm::Durability::kProcess); }
  Crash(dir / "s.db", "crashed");
  const auto before = Files(dir.Path());
  REQUIRE(before.at("s.db-wal").size() > 0);
  {
    ReadOnlySqliteStore look(dir / "s.db");
    CHECK(look.InUse());
    CHECK(look.Load("crashed").has_value());
  }
  CHECK(Files(dir.Path()) == before);
  std::filesystem::remove(dir / "s.db-shm");
  CHECK_THROWS_WITH(ReadOnlySqliteStore(dir / "s.db"),
                    ContainsSubstring("s.db-shm' beside it is missing"));
  SqliteStore store(dir / "s.db");
  CHECK(store.Load("crashed").has_value());
}

TEST_CASE("a coordinator on such a store shows and explains, and changes nothing") {
  const TempDir dir;
  {
    SqliteStore store(dir / "s.db");
    REQUIRE(Put(store, NewTransaction("a")));
  }
  const auto before = Files(dir.Path());
  {
    dtm::Coordinator tm(std::make_unique<ReadOnlySqliteStore>(dir / "s.db"), Quiet());
    CHECK(tm.Query("a").has_value());
    CHECK(tm.List().transactions.size() == 1);
    CHECK(tm.Timeline("a").has_value());
    CHECK_THAT(tm.Explain("a"), ContainsSubstring("a"));
    CHECK(tm.Measure().backlog->unfinished == 1);
  }
  CHECK(Files(dir.Path()) == before);
}

TEST_CASE("what cannot be looked into is said, and what to do") {
  const TempDir dir;
  const auto refused = [&dir](const char* name, const char* words) {
    INFO(name);
    const auto before = Files(dir.Path());
    CHECK_THROWS_WITH(ReadOnlySqliteStore(dir / name), ContainsSubstring(words));
    CHECK(Files(dir.Path()) == before);
  };
  refused("none.db", "is not there");
  std::ofstream(dir / "text.db") << std::string(5000, 'x');
  refused("text.db", "is no SQLite database");
  std::ofstream(dir / "empty.db").flush();
  refused("empty.db", "no tables of dtm");
  { SqliteStore(dir / "old.db", dtm::Durability::kProcess); }
  const auto set_version = [&dir](const char* version) {
    dtm::sql::Database db(dir / "old.db", SQLITE_OPEN_READWRITE);
    db.Exec((std::string("UPDATE dtm_meta SET value = ") + version).c_str());
  };
  set_version("4");
  refused("old.db", "has schema version 4");
  set_version("99");
  refused("old.db", "use the newer dtm that wrote it");
  set_version("6");
  CHECK_NOTHROW(ReadOnlySqliteStore(dir / "old.db"));
  std::ofstream(dir / "old.db-journal") << "x";
  refused("old.db", "old.db-journal");
}

TEST_CASE("a coordinator that opens the file meanwhile is noticed, and so is another file") {
  const TempDir dir;
  { SqliteStore(dir / "a b%?#.db", dtm::Durability::kProcess); }
  ReadOnlySqliteStore look(dir / "a b%?#.db");
  CHECK_FALSE(look.Changed());
  {
    SqliteStore store(dir / "a b%?#.db", dtm::Durability::kProcess);
    CHECK(look.Changed());
  }
  ReadOnlySqliteStore again(dir / "a b%?#.db");
  std::filesystem::rename(dir / "a b%?#.db", dir / "moved.db");
  CHECK(again.Changed());
}
