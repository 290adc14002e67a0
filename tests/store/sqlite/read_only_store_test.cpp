/// Looking into a store file: beside a coordinator that writes, after a crash, on a medium that cannot be written, and without
/// leaving anything behind.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <sys/stat.h>
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
namespace schema = dtm::sqlite_schema;

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

namespace {

/// A file as a dtm of this schema version left it, with one saga: submitted, its action called once, "no" was the last error.
void MakeOld(const std::string& path, int version) {
  dtm::sql::Database db(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  db.Exec("PRAGMA journal_mode = WAL");
  db.Exec("CREATE TABLE dtm_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID");
  for (int step = 0; step < version; ++step) db.Exec(schema::kMigrations[step]);
  const std::string format = version < 3 ? "x'01'" : "x'02'";
  db.Exec(("INSERT INTO dtm_meta (key, value) VALUES ('schema_version', " +
           std::to_string(version) +
           ");INSERT INTO dtm_trans (id, gid, type, status, version, created, finished, due, "
           "definition, state) VALUES (7, 'old', 1, 2, 3, 1700000000000000, 0, 1700000005000000, " +
           format + " || x'00000000000000' || x'01' || x'036F7574' || x'00' || x'027B7D', " +
           format + " || x'00' || x'01' || x'00' || x'026E6F' || x'02' || x'01' || x'0501')")
              .c_str());
  if (version < 2) return;
  db.Exec(R"(INSERT INTO dtm_kv VALUES (1, 'topics', 't', '[{"url":"http://b"}]', 1, 5, 6))");
  if (version < 4) return;
  db.Exec("INSERT INTO dtm_gids VALUES ('gone', 1, 4, 1700000000, 0)");
}

void CheckOld(ReadOnlySqliteStore& look, int version) {
  CHECK(look.SchemaVersion() == version);
  const auto old = look.Load("old");
  REQUIRE(old.has_value());
  CHECK_FALSE(old->unreadable);
  CHECK(old->last_error == "no");
  CHECK(old->definition->steps.at(0).payload == "{}");
  CHECK_FALSE(look.Load("never").has_value());
  CHECK(look.Load("gone").has_value() == (version >= 4));
  CHECK(look.ReadJournal("old").empty());
  CHECK(Count(look) == 1);
  dtm::ScanFilter filter;
  filter.errors = filter.unfinished = true;
  filter.gid_prefix = "ol";
  filter.target = "out";
  CHECK(look.Scan(filter, 0, 10).transactions.size() == 1);
  CHECK(look.ScanValues("topics", "t", 0, 9).values.size() == (version >= 2 ? 1U : 0U));
  CHECK(look.ScanValues("", "", 0, 9).values.size() == (version >= 2 ? 1U : 0U));
  CHECK(look.CountUnfinished(At(0)).unfinished == 1);
  const std::atomic<bool> stop{false};
  CHECK(look.Check(stop).empty());
  CHECK_THROWS_WITH(look.Begin(), ContainsSubstring("open for looking only"));
}

}  // namespace

TEST_CASE("a file of every older version is read as it is, and stays so") {
  for (int version = 1; version <= schema::kVersion; ++version) {
    CAPTURE(version);
    const TempDir dir;
    MakeOld(dir / "s.db", version);
    const auto before = Files(dir.Path());
    REQUIRE(before.size() == 1);
    {
      ReadOnlySqliteStore look(dir / "s.db");
      CheckOld(look, version);
      CHECK_FALSE(look.Changed());
    }
    {
      dtm::Coordinator tm(std::make_unique<ReadOnlySqliteStore>(dir / "s.db"), Quiet());
      CHECK(tm.Timeline("old").has_value());
      CHECK_THAT(tm.Explain("old"), ContainsSubstring("old"));
    }
    CHECK(Files(dir.Path()) == before);
  }
}

TEST_CASE("an older file beside the one who writes it is read, until that brings it up to date") {
  for (int version = 1; version < schema::kVersion; ++version) {
    CAPTURE(version);
    const TempDir dir;
    MakeOld(dir / "s.db", version);
    dtm::sql::Database writer(dir / "s.db", SQLITE_OPEN_READWRITE);
    writer.Exec("UPDATE dtm_trans SET version = 4");  // makes the log
    ReadOnlySqliteStore look(dir / "s.db");
    REQUIRE(look.InUse());
    CheckOld(look, version);
    CHECK(look.Load("old")->version == 4);
    CHECK_FALSE(look.Changed());
    schema::Migrate(writer);
    CHECK(look.Changed());
    ReadOnlySqliteStore again(dir / "s.db");
    CHECK(again.SchemaVersion() == schema::kVersion);
    CHECK(again.Load("old").has_value());
  }
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
  std::filesystem::create_directory(dir / "folder.db");
  const auto no_file = [&dir](const char* name) {
    CHECK_THROWS_WITH(ReadOnlySqliteStore(dir / name), ContainsSubstring("link or no plain file"));
  };
  no_file("folder.db");
  std::filesystem::remove(dir / "folder.db");
  REQUIRE(::mkfifo((dir / "pipe.db").c_str(), 0600) == 0);
  no_file("pipe.db");
  std::filesystem::remove(dir / "pipe.db");
  { SqliteStore(dir / "real.db", dtm::Durability::kProcess); }
  std::filesystem::create_symlink(dir / "real.db", dir / "link.db");
  no_file("link.db");
  std::filesystem::remove(dir / "link.db");
  std::ofstream(dir / "text.db") << std::string(5000, 'x');
  refused("text.db", "is no SQLite database");
  std::ofstream(dir / "empty.db").flush();
  refused("empty.db", "no tables of dtm");
  { SqliteStore(dir / "old.db", dtm::Durability::kProcess); }
  const auto set_version = [&dir](const char* version) {
    dtm::sql::Database db(dir / "old.db", SQLITE_OPEN_READWRITE);
    db.Exec((std::string("UPDATE dtm_meta SET value = ") + version).c_str());
  };
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
