/// The file that is open is no longer the one at its path, or somebody wrote into it: never is anything answered as
/// stored that is not there, and the store goes on by itself where that loses nothing.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <unistd.h>

#include "tests/catch.hpp"
#include "tests/support/faulty_vfs.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>

using Catch::Matchers::ContainsSubstring;
using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::SqliteStore;
namespace fs = std::filesystem;

namespace {

/// What another program sees that opens the file, runs the SQL and closes it: the first value, or the error. Not in a
/// forked child, which would share what SQLite knows of the file in this process.
std::string Elsewhere(const std::string& path, const std::string& sql) {
  const std::string command =
      "python3 -c 'import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
      "try: print((c.execute(sys.argv[2]).fetchone() or [\"done\"])[0])\n"
      "except sqlite3.Error as e: print(e)\nc.close()' '" +
      path + "' \"" + sql + "\"";
  FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char line[256] = "";
  const bool got = std::fgets(line, sizeof line, pipe) != nullptr;
  REQUIRE((::pclose(pipe) == 0 && got));
  return std::string(line).substr(0, std::string(line).find('\n'));
}
constexpr const char kCount[] = "SELECT count(*) FROM dtm_trans";

/// As a program that keeps the file: its inode stays. The clock of file systems ticks slowly, so it is set.
void Overwrite(const std::string& path, const std::string& bytes) {
  WriteFile(path, bytes);
  fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(1));
}

/// What a commit said: "stored", or why not.
enum class Said { kStored, kInDoubt, kRefused };

struct Shop {
  Shop() {
    fs::create_directory(dir / "data");
    Open();
    for (int i = 0; i < 30; ++i) REQUIRE(Commit("before" + std::to_string(i)) == Said::kStored);
  }
  void Open() { store = std::make_unique<SqliteStore>(path, dtm::Durability::kProcess); }

  Said Commit(const std::string& gid) {
    try {
      Put(*store, NewTransaction(gid));
      stored.insert(gid);
      return Said::kStored;
    } catch (const dtm::CommitInDoubt& error) {
      said = error.what();
      return Said::kInDoubt;
    } catch (const dtm::StoreError& error) {
      said = error.what();
      store->Rollback();
      return Said::kRefused;
    }
  }
  /// Why it cannot; empty: it has recovered.
  std::string Recover() {
    try {
      store->Recover();
      return {};
    } catch (const dtm::StoreError& error) {
      return error.what();
    }
  }
  /// Everything that was said to be stored is there, for others and after a restart.
  void ExpectAllThere() {
    for (const bool restarted : {false, true}) {
      INFO((restarted ? "restarted" : "running"));
      if (restarted) {
        store.reset();
        Open();
      }
      for (const std::string& gid : stored) {
        INFO(gid);
        REQUIRE(store->Load(gid).has_value());
      }
      const std::string count = Elsewhere(path, kCount);
      INFO(count);
      CHECK(std::atoi(count.c_str()) >= static_cast<int>(stored.size()));
    }
    CHECK(store->Check(never).empty());
  }
  /// It stays refused until the program starts again, and what is at the path is left alone.
  void ExpectLost(const std::string& says) {
    REQUIRE(Commit("after") == Said::kInDoubt);
    CHECK_THAT(said, ContainsSubstring(path) && ContainsSubstring(says));
    const std::string there = Exists(path) ? ReadFile(path) : "";
    for (int i = 0; i < 3; ++i)
      CHECK_THAT(Recover(), ContainsSubstring(path) && ContainsSubstring(says));
    store.reset();
    const bool untouched = (Exists(path) ? ReadFile(path) : "") == there;
    CHECK(untouched);
  }

  TempDir dir;
  const std::string path = dir / "data/s.db";
  std::unique_ptr<SqliteStore> store;
  std::set<std::string> stored;
  std::string said;
  const std::atomic<bool> never{false};
};

/// A second copy of SQLite in this process, as a plugin or another language brings along: it knows nothing of the locks
/// that the first one holds, and drops them.
class SecondSqlite {
 public:
  explicit SecondSqlite(const TempDir& dir) {
    for (const char* sanitizer : {"__asan_init", "__tsan_init"}) {
      if (::dlsym(RTLD_DEFAULT, sanitizer) != nullptr) return;  // it allows no such library
    }
    Dl_info first{};
    REQUIRE(::dladdr(reinterpret_cast<const void*>(&sqlite3_libversion), &first) != 0);
    const std::string library = fs::canonical(first.dli_fname).string();
    if (library.find("sqlite") == std::string::npos) return;  // it is inside the program
    fs::copy_file(library, dir / "second.so");
    // Deep, or its calls of itself would end in the first one.
    handle_ = ::dlopen((dir / "second.so").c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    REQUIRE(handle_ != nullptr);
  }
  bool Available() const { return handle_ != nullptr; }
  template <typename Function>
  Function* Find(const char* name) const {
    return reinterpret_cast<Function*>(::dlsym(handle_, name));
  }
  sqlite3* Open(const std::string& path) const {
    sqlite3* db = nullptr;
    REQUIRE(Find<decltype(sqlite3_open)>("sqlite3_open")(path.c_str(), &db) == SQLITE_OK);
    REQUIRE(Find<decltype(sqlite3_exec)>("sqlite3_exec")(db, "SELECT count(*) FROM dtm_trans",
                                                         nullptr, nullptr, nullptr) == SQLITE_OK);
    return db;
  }
  void Close(sqlite3* db) const { Find<decltype(sqlite3_close)>("sqlite3_close")(db); }

 private:
  void* handle_ = nullptr;
};

}  // namespace

TEST_CASE("files: the file is removed") {
  Shop shop;
  fs::remove(shop.path);
  shop.ExpectLost("no longer at its path");
}

TEST_CASE("files: all files of the folder are removed") {
  Shop shop;
  for (const auto& file : fs::directory_iterator(shop.dir / "data")) fs::remove(file.path());
  shop.ExpectLost("no longer at its path");
}

TEST_CASE("files: the folder is renamed, and back") {
  Shop shop;
  fs::rename(shop.dir / "data", shop.dir / "other");
  CHECK(shop.Commit("in doubt") == Said::kInDoubt);
  CHECK_THAT(shop.Recover(), ContainsSubstring("its folder renamed"));
  CHECK_FALSE(Exists(shop.dir / "data"));
  fs::rename(shop.dir / "other", shop.dir / "data");
  CHECK(shop.Recover().empty());
  CHECK(shop.store->Load("in doubt").has_value());
  CHECK(shop.Commit("after") == Said::kStored);
  shop.ExpectAllThere();
}

TEST_CASE("files: the folder is renamed, and another store begins in its place") {
  Shop shop;
  fs::rename(shop.dir / "data", shop.dir / "other");
  fs::create_directory(shop.dir / "data");
  {
    SqliteStore second(shop.path);
    REQUIRE(Put(second, NewTransaction("of the second")));
    shop.ExpectLost("another file has taken the place");
    CHECK(Put(second, NewTransaction("more of the second")));  // its log is still there
  }
  SqliteStore second(shop.path);
  CHECK(All(second).size() == 2);
  SqliteStore first(shop.dir / "other/s.db");
  CHECK(All(first).size() >= shop.stored.size());
}

TEST_CASE("files: a backup takes the place of the file") {
  Shop shop;
  const auto backup = [&] {
    shop.store.reset();
    fs::copy_file(shop.path, shop.dir / "backup");
    shop.Open();
    for (int i = 0; i < 30; ++i) REQUIRE(shop.Commit("later" + std::to_string(i)) == Said::kStored);
  };
  SECTION("moved over it") {
    backup();
    fs::rename(shop.dir / "backup", shop.path);
    shop.ExpectLost("another file has taken the place");
  }
  SECTION("copied over it") {
    backup();
    Overwrite(shop.path, ReadFile(shop.dir / "backup"));
    shop.ExpectLost("has written into");
  }
  SECTION("copied over it, of the same size, after the log was copied into the file") {
    backup();
    shop.store->Recover();
    const std::string bytes = ReadFile(shop.path);
    Overwrite(shop.path, bytes);
    shop.ExpectLost("has written into");
  }
  SECTION("copied over it while the log begins anew") {
    backup();
    while (shop.store->Load("big") == std::nullopt) {
      REQUIRE(Put(*shop.store, NewTransaction("big", At(1), std::string(5000000, 'x'))));
    }
    Overwrite(shop.path, ReadFile(shop.dir / "backup"));
    CHECK(shop.Commit("after") != Said::kStored);
    CHECK_THAT(shop.Recover(), ContainsSubstring("has written into"));
  }
}

TEST_CASE("files: the log is removed, and nothing that was stored is lost") {
  Shop shop;
  const std::set<std::string> gone =
      GENERATE(std::set<std::string>{"-wal"}, std::set<std::string>{"-shm"},
               std::set<std::string>{"-wal", "-shm"});
  for (const std::string& name : gone) fs::remove(shop.path + name);
  SECTION("and the store is closed") {
    shop.store.reset();
    shop.Open();
  }
  SECTION("and the store goes on") {
    CHECK(shop.Commit("in doubt") == Said::kInDoubt);
    CHECK_THAT(shop.said,
               ContainsSubstring("no longer at its path") && ContainsSubstring(shop.path));
    CHECK(shop.Recover().empty());
    CHECK(shop.store->Load("in doubt").has_value());
    for (int i = 0; i < 5; ++i) CHECK(shop.Commit("after" + std::to_string(i)) == Said::kStored);
  }
  shop.ExpectAllThere();
}

TEST_CASE("files: the log is removed, and another program has opened the file since") {
  Shop shop;
  SECTION("and only looked") {
    fs::remove(shop.path + "-wal");
    fs::remove(shop.path + "-shm");
    Elsewhere(shop.path, kCount);
    REQUIRE(Exists(shop.path + "-wal"));
    CHECK(shop.Commit("in doubt") == Said::kInDoubt);
    CHECK(shop.Recover().empty());
    CHECK(shop.Commit("after") == Said::kStored);
    shop.ExpectAllThere();
  }
  SECTION("and wrote") {
    fs::remove(shop.path + "-wal");
    fs::remove(shop.path + "-shm");
    CHECK(Elsewhere(shop.path, "CREATE TABLE t (a)") == "done");
    shop.ExpectLost("another log");
  }
  SECTION("of which only the index was removed") {
    fs::remove(shop.path + "-shm");
    Elsewhere(shop.path, kCount);
    shop.ExpectLost("another log");
  }
}

TEST_CASE("files: the lock is removed") {
  Shop shop;
  fs::remove(shop.path + "-lock");
  SECTION("and nobody has taken it") {
    CHECK(shop.Commit("in doubt") == Said::kInDoubt);
    CHECK_THAT(shop.said, ContainsSubstring("-lock' was removed"));
    CHECK(shop.Recover().empty());
    CHECK(shop.Commit("after") == Said::kStored);
    CHECK_THROWS_WITH(SqliteStore(shop.path), ContainsSubstring("another coordinator"));
    shop.ExpectAllThere();
  }
  SECTION("and another coordinator has opened the store") {
    SqliteStore second(shop.path);
    CHECK(shop.Commit("in doubt") == Said::kInDoubt);
    CHECK_THAT(shop.Recover(), ContainsSubstring("another coordinator"));
    CHECK(Put(second, NewTransaction("of the second")));
  }
}

TEST_CASE("files: a second copy of SQLite in the process opens and closes the file") {
  Shop shop;
  const SecondSqlite second(shop.dir);
  if (!second.Available()) return;
  second.Close(second.Open(shop.path));
  REQUIRE_FALSE(Exists(shop.path + "-wal"));  // else this test shows nothing
  SECTION("once") {
    CHECK(shop.Commit("in doubt") == Said::kInDoubt);
    CHECK_THAT(shop.said, ContainsSubstring("another copy of SQLite"));
    CHECK(shop.Recover().empty());
    CHECK(shop.Commit("after") == Said::kStored);
    shop.ExpectAllThere();
  }
  SECTION("again and again") {
    for (int i = 0; i < 5; ++i) {
      if (shop.Commit("n" + std::to_string(i)) != Said::kStored) CHECK(shop.Recover().empty());
      CHECK(shop.Commit("after" + std::to_string(i)) == Said::kStored);
      second.Close(second.Open(shop.path));
    }
    if (shop.Commit("last") != Said::kStored) CHECK(shop.Recover().empty());
    shop.ExpectAllThere();
  }
  SECTION("and has it open") {
    sqlite3* const other = second.Open(shop.path);
    CHECK(shop.Commit("in doubt") == Said::kInDoubt);
    CHECK(shop.Recover().empty());
    CHECK(shop.Commit("beside it") == Said::kStored);
    second.Close(other);
    CHECK(shop.Commit("in doubt again") == Said::kInDoubt);
    CHECK(shop.Recover().empty());
    CHECK(shop.Commit("after") == Said::kStored);
    shop.ExpectAllThere();
  }
}

TEST_CASE("files: the program opens and closes the file, and then another one has it") {
  Shop shop;
  const int file = ::open(shop.path.c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(file >= 0);
  ::close(file);  // drops the locks of SQLite in this process
  Elsewhere(shop.path, kCount);
  REQUIRE_FALSE(Exists(shop.path + "-wal"));
  CHECK(shop.Commit("in doubt") == Said::kInDoubt);
  CHECK(shop.Recover().empty());
  CHECK(shop.Commit("after") == Said::kStored);
  Elsewhere(shop.path, kCount);  // the locks are there again
  CHECK(Exists(shop.path + "-wal"));
  CHECK(shop.Commit("more") == Said::kStored);
  shop.ExpectAllThere();
}

TEST_CASE("files: the log is removed while a connection of the program has it open") {
  Shop shop;
  auto own = std::make_unique<dtm::sql::Database>(shop.path, SQLITE_OPEN_READWRITE);
  own->Exec("PRAGMA wal_autocheckpoint = 0; SELECT count(*) FROM dtm_trans");
  fs::remove(shop.path + "-wal");
  fs::remove(shop.path + "-shm");
  CHECK(shop.Commit("in doubt") == Said::kInDoubt);
  for (int i = 0; i < 3; ++i)
    CHECK_THAT(shop.Recover(), ContainsSubstring("close that connection"));
  CHECK_THROWS_AS(shop.store->Load("before0"), dtm::StoreError);
  own.reset();
  CHECK(shop.Recover().empty());
  CHECK(shop.Commit("after") == Said::kStored);
  shop.ExpectAllThere();
}

TEST_CASE("files: other programs that read, write and copy the log disturb nothing") {
  Shop shop;
  for (int i = 0; i < 5; ++i) {
    Elsewhere(shop.path, kCount);
    CHECK(shop.Commit("a" + std::to_string(i)) == Said::kStored);
    Elsewhere(shop.path, "CREATE TABLE IF NOT EXISTS t (a)");
    CHECK(Elsewhere(shop.path, "INSERT INTO t VALUES (zeroblob(100000))") == "done");
    if (i % 2 == 0) CHECK(Elsewhere(shop.path, "PRAGMA wal_checkpoint(TRUNCATE)") == "0");
    if (i == 3) CHECK(Elsewhere(shop.path, "INSERT INTO t VALUES (zeroblob(8000000))") == "done");
    if (i >= 2)
      fs::last_write_time(shop.path, fs::last_write_time(shop.path) + std::chrono::seconds(i % 2));
    CHECK(shop.Commit("b" + std::to_string(i)) == Said::kStored);
    for (int n = 0; n < 3; ++n) {
      REQUIRE(Put(*shop.store, NewTransaction(std::to_string(i) + "big" + std::to_string(n), At(1),
                                              std::string(900000, 'x'))));
    }
  }
  shop.ExpectAllThere();
}

TEST_CASE("files: a commit while another connection is in the middle of copying the log") {
  Shop shop;
  for (int i = 0; i < 5; ++i) {
    REQUIRE(Put(*shop.store,
                NewTransaction("big" + std::to_string(i), At(1), std::string(90000, 'x'))));
  }
  const bool it_dies = GENERATE(false, true);
  int writes = 0, stored = 0;
  {
    using Vfs = FaultyVfs;
    Vfs disk;  // of the other connection alone: the store has its files open
    dtm::sql::Database other(shop.path, SQLITE_OPEN_READWRITE);
    other.Exec("PRAGMA wal_autocheckpoint = 0; SELECT count(*) FROM dtm_trans");
    Vfs::Plan plan;
    plan.fail_at = it_dies ? 20 : 1000000;
    plan.sticky = true;
    plan.matches = [&](Vfs::Op op, Vfs::Kind kind) {
      if (op != Vfs::Op::kWrite || kind != Vfs::Kind::kMain) return false;
      // Time goes on between its writes.
      fs::last_write_time(shop.path, fs::last_write_time(shop.path) + std::chrono::seconds(1));
      const std::string gid = "meanwhile" + std::to_string(++writes);
      if (writes % 7 == 0 && shop.Commit(gid) == Said::kStored) ++stored;
      return true;
    };
    disk.Arm(plan);
    const int code = sqlite3_wal_checkpoint_v2(other.Handle(), "main", SQLITE_CHECKPOINT_PASSIVE,
                                               nullptr, nullptr);
    CHECK((code != SQLITE_OK) == it_dies);
  }
  INFO(shop.said);
  CHECK(stored > 0);
  CHECK(stored == writes / 7);
  for (int i = 0; i < 3; ++i) CHECK(shop.Commit("after" + std::to_string(i)) == Said::kStored);
  shop.ExpectAllThere();
}

TEST_CASE("files: a store is not begun beside the log of a file that is gone") {
  Shop shop;
  const std::string log = ReadFile(shop.path + "-wal");
  shop.store.reset();
  fs::remove(shop.path);
  WriteFile(shop.path + "-wal", log);
  CHECK_THROWS_WITH(SqliteStore(shop.path),
                    ContainsSubstring("-wal") && ContainsSubstring(shop.path));
  const bool untouched = ReadFile(shop.path + "-wal") == log;
  CHECK(untouched);
  fs::remove(shop.path + "-wal");
  SqliteStore fresh(shop.path);
  CHECK(All(fresh).empty());
}
