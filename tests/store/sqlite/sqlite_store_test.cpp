/// The SQLite store keeps the contract, and what it does with files: who may open them, what is
/// refused with which sentence, what a damaged record or a killed process leaves.
#include <atomic>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/store_contract.hpp"
#include "tests/support/child.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/codec.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>

using Catch::Matchers::ContainsSubstring;
using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::SqliteStore;
using dtm::Transaction;
using Texts = std::vector<std::string>;

namespace {

/// The sentence with which opening is refused; "" if it is not.
std::string Refusal(const std::string& path) {
  try {
    const SqliteStore store(path);
  } catch (const dtm::StoreError& error) {
    return error.what();
  }
  return {};
}

void Sql(const std::string& path, const char* text) {
  dtm::sql::Database db(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  db.Exec(text);
}

std::int64_t SqlNumber(const std::string& path, const std::string& text) {
  dtm::sql::Database db(path, SQLITE_OPEN_READWRITE);
  dtm::sql::Statement read(db, text);
  REQUIRE(read.Step());
  const std::int64_t number = read.Int(0);
  read.Reset();
  return number;
}

}  // namespace

TEST_CASE("the SQLite store keeps the contract of stores") {
  TempDir dir;
  for (const auto durability : {dtm::Durability::kPower, dtm::Durability::kProcess}) {
    DYNAMIC_SECTION("durability " << static_cast<int>(durability)) {
      ExpectContract([&] { return std::make_unique<SqliteStore>(dir / "s.db", durability); });
    }
  }
}

TEST_CASE("what is committed is there after reopening") {
  TempDir dir;
  Transaction small = NewTransaction("small", At(5));
  Transaction big = NewTransaction("big", At(4), std::string(100000, 'x'));
  {
    SqliteStore store(dir / "s.db");
    REQUIRE(Put(store, small));
    REQUIRE(Put(store, big));
    Transaction open = NewTransaction("open");
    store.Begin();
    REQUIRE(ApplyOne(store, open));
  }
  SqliteStore store(dir / "s.db");
  CHECK(Difference(*store.Load("small"), small).empty());
  CHECK(Difference(*store.Load("big"), big).empty());
  CHECK(Gids(DuePage(store, At(99), {}, 9)) == Texts{"big", "small"});
  CHECK_FALSE(store.Load("open").has_value());
}

TEST_CASE("a killed process leaves what it committed, and no lock") {
  TempDir dir;
  const std::string path = dir / "s.db";
  const std::string end = InChild([&]() -> std::string {
    SqliteStore store(path, dtm::Durability::kProcess);
    for (int i = 0; i < 50; ++i) Put(store, NewTransaction("gid" + std::to_string(i)));
    Transaction open = NewTransaction("open");
    store.Begin();
    ApplyOne(store, open);
    ::raise(SIGKILL);
    return "survived";
  });
  REQUIRE(end == "killed by signal 9");
  SqliteStore store(path);
  CHECK(All(store).size() == 50);
  CHECK_FALSE(store.Load("open").has_value());
}

// ---- files and rights ----

TEST_CASE("the lock of another connection is waited for only for a moment, and is no failure") {
  TempDir dir;
  SqliteStore store(dir / "s.db");
  sqlite3* other = nullptr;
  REQUIRE(sqlite3_open((dir / "s.db").c_str(), &other) == SQLITE_OK);
  REQUIRE(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
  const auto begin = std::chrono::steady_clock::now();
  CHECK_THROWS_AS(store.Begin(), dtm::StoreBusy);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(2));
  REQUIRE(sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr) == SQLITE_OK);
  CHECK_NOTHROW(store.Begin());
  CHECK_NOTHROW(store.Commit());
  sqlite3_close(other);
}

TEST_CASE("files are created for their owner only and use a write-ahead log") {
  TempDir dir;
  const mode_t before = ::umask(0);
  SqliteStore store(dir / "s.db");
  Put(store, NewTransaction("gid"));
  ::umask(before);
  for (const char* name : {"s.db", "s.db-wal", "s.db-shm", "s.db-lock"}) {
    INFO(name);
    CHECK(ModeOf(dir / name) == 0600);
  }
  CHECK(ReadFile(dir / "s.db").substr(18, 2) == "\x02\x02");  // the format numbers of WAL
}

TEST_CASE("the rights of an existing file are its owner's business") {
  TempDir dir;
  WriteFile(dir / "s.db", "");
  REQUIRE(::chmod((dir / "s.db").c_str(), 0640) == 0);
  SqliteStore store(dir / "s.db");
  CHECK(ModeOf(dir / "s.db") == 0640);
}

TEST_CASE("links and things that are no files are refused") {
  TempDir dir;
  WriteFile(dir / "target", "untouched");
  std::filesystem::create_symlink(dir / "target", dir / "link");
  CHECK_THAT(Refusal(dir / "link"), ContainsSubstring(dir / "link") && ContainsSubstring("link"));
  std::filesystem::create_symlink(dir / "nowhere", dir / "dangling");
  CHECK_THAT(Refusal(dir / "dangling"), ContainsSubstring("refused"));
  CHECK_FALSE(Exists(dir / "nowhere"));
  std::filesystem::create_directory(dir / "folder");
  CHECK_THAT(Refusal(dir / "folder"), ContainsSubstring("refused"));
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(Refusal(dir / "pipe"), ContainsSubstring("refused"));  // and it does not hang
  std::filesystem::create_symlink(dir / "target", dir / "s.db-lock");
  CHECK_THAT(Refusal(dir / "s.db"), ContainsSubstring("s.db-lock"));
  CHECK(ReadFile(dir / "target") == "untouched");
}

TEST_CASE("a folder that is missing or read-only is named") {
  TempDir dir;
  CHECK_THAT(Refusal(dir / "no/s.db"),
             ContainsSubstring(dir / "no/s.db") && ContainsSubstring("No such file"));
  std::filesystem::create_directory(dir / "ro");
  REQUIRE(::chmod(dir.Path().c_str(), 0755) == 0);
  REQUIRE(::chmod((dir / "ro").c_str(), 0555) == 0);
  CHECK_THAT(InChildWithoutRights([&] { return Refusal(dir / "ro/s.db"); }),
             ContainsSubstring(dir / "ro/s.db") && ContainsSubstring("Permission denied") &&
                 ContainsSubstring("writable"));
}

TEST_CASE("a read-only file is refused, and not changed") {
  TempDir dir;
  const std::string path = dir / "s.db";
  {
    SqliteStore store(path);
    Put(store, NewTransaction("gid"));
  }
  const std::string bytes = ReadFile(path);
  REQUIRE(::chmod(dir.Path().c_str(), 0777) == 0);
  REQUIRE(::chmod((dir / "s.db-lock").c_str(), 0666) == 0);
  REQUIRE(::chmod(path.c_str(), 0444) == 0);
  CHECK_THAT(InChildWithoutRights([&] { return Refusal(path); }),
             ContainsSubstring(path) && ContainsSubstring("writable"));
  CHECK(ReadFile(path) == bytes);
}

TEST_CASE("a file that is no database is refused, and not changed") {
  TempDir dir;
  std::string garbage = "This is a letter to my bank, and no database at all.\n";
  for (int i = 0; i < 9; ++i) garbage += garbage;
  WriteFile(dir / "s.db", garbage);
  CHECK_THAT(Refusal(dir / "s.db"),
             ContainsSubstring(dir / "s.db") && ContainsSubstring("no SQLite database"));
  CHECK(ReadFile(dir / "s.db") == garbage);
}

TEST_CASE("a truncated file is refused or found by the check, at every length") {
  TempDir dir;
  const std::string path = dir / "s.db";
  {
    SqliteStore store(path);
    for (int i = 0; i < 40; ++i) {
      Put(store, NewTransaction("gid" + std::to_string(i), At(i), std::string(1500, 'x')));
    }
  }
  const std::string bytes = ReadFile(path);
  REQUIRE(bytes.size() > 10 * 4096);
  // A file of a few bytes is an empty one for SQLite.
  for (std::size_t size = 100; size < bytes.size(); size += size < 200 ? 33 : 2048) {
    INFO("of " << bytes.size() << " bytes " << size);
    WriteFile(path, bytes.substr(0, size));
    std::string refusal;
    try {
      SqliteStore store(path);
      store.Recover();
      refusal = "it was accepted";
    } catch (const dtm::StoreError& error) {
      refusal = error.what();
    }
    CHECK_THAT(refusal, ContainsSubstring(path) && ContainsSubstring("damaged"));
  }
}

TEST_CASE("every single damaged byte of a file: an error or a record, never a crash") {
  TempDir dir;
  const std::string path = dir / "s.db";
  {
    SqliteStore store(path);
    for (int i = 0; i < 4; ++i) Put(store, NewTransaction("gid" + std::to_string(i), At(i)));
  }
  const std::string bytes = ReadFile(path);
  // Random places would not be the same on the next run; every 37th byte comes by all structures.
  for (std::size_t at = 0; at < bytes.size(); at += at < 4096 ? 37 : 11) {
    if (bytes[at] == 0 && at > 100 && at % 4096 < 3600) continue;  // free space
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0xA5);
    WriteFile(path, damaged);
    try {
      SqliteStore store(path);
      for (const Transaction& transaction : All(store)) REQUIRE(transaction.definition != nullptr);
      DuePage(store, dtm::kNever, {}, 100);
      Put(store, NewTransaction("new"));
      store.Recover();
    } catch (const dtm::StoreError& error) {
      CHECK_THAT(error.what(), ContainsSubstring(path));
    }
  }
}

TEST_CASE("a relative name means one file, wherever the program goes afterwards") {
  TempDir dir;
  std::filesystem::create_directories(dir / "a");
  std::filesystem::create_directories(dir / "b");
  std::filesystem::create_directory_symlink(dir / "a", dir / "way");
  const std::string end = InChild([&]() -> std::string {
    std::filesystem::current_path(dir.Path());
    const std::atomic<bool> never{false};
    SqliteStore named("a/s.db"), linked("way/t.db");
    if (::chdir("b") != 0) return "chdir failed";
    std::filesystem::remove(dir / "way");
    std::filesystem::create_directory_symlink(dir / "b", dir / "way");
    std::filesystem::create_directory(dir / "b/a");
    for (SqliteStore* store : {&named, &linked}) {
      Put(*store, NewTransaction("before"));
      store->Recover();  // opens it again, as after an I/O error
      Put(*store, NewTransaction("after"));
      if (All(*store).size() != 2) return "another file was opened";
      if (const std::string damage = store->Check(never); !damage.empty()) return damage;
    }
    return "kept";
  });
  CHECK(end == "kept");
  for (const char* name : {"b/s.db", "b/a/s.db", "b/t.db"}) CHECK_FALSE(Exists(dir / name));
  CHECK(SqlNumber(dir / "a/s.db", "SELECT count(*) FROM dtm_trans") == 2);
  CHECK(SqlNumber(dir / "a/t.db", "SELECT count(*) FROM dtm_trans") == 2);
}

TEST_CASE("names that SQLite does not take for a file are refused, and no file is made") {
  TempDir dir;
  const std::string end = InChild([&]() -> std::string {
    std::filesystem::current_path(dir.Path());
    return Refusal(":memory:") + "|" + Refusal("");
  });
  CHECK_THAT(end, ContainsSubstring("MemoryStore") && ContainsSubstring("|the store file ''"));
  CHECK(std::filesystem::is_empty(dir.Path()));
}

TEST_CASE("the log does not keep the size that a long reader gave it") {
  TempDir dir;
  SqliteStore store(dir / "s.db", dtm::Durability::kProcess);
  const auto log_bytes = [&] { return std::filesystem::file_size(dir / "s.db-wal"); };
  {
    dtm::sql::Database reader(dir / "s.db", SQLITE_OPEN_READWRITE);
    reader.Exec("PRAGMA wal_autocheckpoint = 0; BEGIN; SELECT * FROM dtm_trans");
    for (int i = 0; i < 40; ++i) {
      Put(store, NewTransaction("g" + std::to_string(i), At(i), std::string(1000000, 'x')));
    }
    REQUIRE(log_bytes() > 40000000);
    reader.Exec("COMMIT");
  }
  Put(store, NewTransaction("checkpointed"));
  Put(store, NewTransaction("begins the log anew"));
  CHECK(log_bytes() <= (16U << 20));
}

// ---- one coordinator per file ----

TEST_CASE("a second store on the file is refused, in this process and in another") {
  TempDir dir;
  const std::string path = dir / "s.db";
  std::filesystem::create_directory_symlink(dir.Path(), dir / "way");
  {
    SqliteStore store(path);
    const auto taken = ContainsSubstring("another coordinator, in this process or another");
    CHECK_THAT(Refusal(path), taken);
    CHECK_THAT(Refusal(dir / "./s.db"), taken);
    CHECK_THAT(Refusal(dir / "way/s.db"), taken);
    CHECK_THAT(InChild([&] { return Refusal(path); }), taken);
    // The descriptors of others must not drop the lock: with fcntl any close would.
    for (const char* name : {"s.db", "s.db-lock"}) {
      const int other = ::open((dir / name).c_str(), O_RDWR | O_CLOEXEC);
      REQUIRE(other >= 0);
      ::close(other);
    }
    CHECK_THAT(Refusal(path), taken);
    CHECK_THAT(InChild([&] { return Refusal(path); }), taken);
    REQUIRE(Put(store, NewTransaction("gid")));  // being refused has not disturbed the first
  }
  CHECK(Refusal(path).empty());
}

TEST_CASE(
    "what was open at a fork cannot be opened by the child, which would go on with its parent's "
    "locks") {
  TempDir dir;
  const std::string path = dir / "s.db";
  { const SqliteStore closed(path); }
  CHECK(InChild([&] { return Refusal(path); }).empty());
  const auto in_orphan = [&](const std::function<std::string()>& function) {
    return InChild([&] {
      const pid_t parent = ::getpid();
      const SqliteStore open(path);
      if (::fork() != 0) ::_exit(0);
      while (::getppid() == parent) std::this_thread::yield();
      return function();
    });
  };
  CHECK_THAT(in_orphan([&] { return Refusal(path); }),
             ContainsSubstring("forked") && ContainsSubstring(path));
  CHECK(in_orphan([&] { return Refusal(dir / "own.db"); }).empty());
  CHECK(Refusal(path).empty());
}

TEST_CASE("a failed opening gives the lock back") {
  TempDir dir;
  WriteFile(dir / "s.db", std::string(5000, 'g'));
  CHECK_FALSE(Refusal(dir / "s.db").empty());
  std::filesystem::remove(dir / "s.db");
  CHECK(Refusal(dir / "s.db").empty());
}

TEST_CASE("the lock file is not inherited by programs that are started") {
  TempDir dir;
  SqliteStore store(dir / "s.db");
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (gone || target.compare(0, dir.Path().size(), dir.Path()) != 0) continue;
    INFO(target);
    CHECK((::fcntl(std::stoi(entry.path().filename()), F_GETFD) & FD_CLOEXEC) != 0);
  }
}

TEST_CASE("a worker that was forked from the program does not keep the store taken") {
  TempDir dir;
  const std::string path = dir / "s.db";
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t program = ::fork();
  REQUIRE(program >= 0);
  if (program == 0) {
    const SqliteStore store(path);
    if (::fork() != 0) ::_exit(0);
    const pid_t worker = ::getpid();
    (void)!::write(ends[1], &worker, sizeof worker);
    ::alarm(60);
    for (;;) ::pause();
  }
  ::close(ends[1]);  // without a worker the read below ends
  pid_t worker = 0;
  int end = -1;
  REQUIRE(::waitpid(program, &end, 0) == program);
  REQUIRE(end == 0);
  REQUIRE(::read(ends[0], &worker, sizeof worker) == sizeof worker);
  REQUIRE(::kill(worker, 0) == 0);
  CHECK(Refusal(path) == "");
  ::kill(worker, SIGKILL);
  ::close(ends[0]);
}

TEST_CASE("another program that reads does not stop the store") {
  TempDir dir;
  SqliteStore store(dir / "s.db");
  REQUIRE(Put(store, NewTransaction("one")));
  dtm::sql::Database other(dir / "s.db", SQLITE_OPEN_READWRITE);
  other.Exec("BEGIN; SELECT * FROM dtm_trans");
  REQUIRE(Put(store, NewTransaction("two")));
  CHECK(All(store).size() == 2);
  other.Exec("COMMIT");
}

// ---- the user's own file ----

TEST_CASE("the store lives in a user's file beside other tables") {
  TempDir dir;
  const std::string path = dir / "bank.db";
  Sql(path,
      "PRAGMA page_size = 1024; CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER);"
      "INSERT INTO account VALUES (1, 100); PRAGMA user_version = 42; PRAGMA application_id = 7");
  {
    SqliteStore store(path);
    REQUIRE(Put(store, NewTransaction("gid", At(1), std::string(5000, 'p'))));
    CHECK(store.Load("gid")->definition->steps[0].payload.size() == 5000);
  }
  CHECK(SqlNumber(path, "SELECT amount FROM account") == 100);
  CHECK(SqlNumber(path, "PRAGMA user_version") == 42);
  CHECK(SqlNumber(path, "PRAGMA application_id") == 7);
  CHECK(Refusal(path).empty());
}

TEST_CASE("a user's file may keep its texts as UTF-16") {
  TempDir dir;
  Sql(dir / "s.db", "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (a); INSERT INTO t VALUES ('x')");
  SqliteStore store(dir / "s.db");
  Transaction written = NewTransaction("Bestellung-ä€😀", At(1), std::string("a\0b", 3));
  REQUIRE(Put(store, written));
  CHECK_FALSE(Put(store, NewTransaction("Bestellung-ä€😀")));
  const auto loaded = store.Load("Bestellung-ä€😀");
  REQUIRE(loaded.has_value());
  CHECK(Difference(*loaded, written).empty());
}

// ---- damaged records ----

TEST_CASE("a damaged record is unreadable, and the others are not") {
  struct Row {
    const char* what;
    const char* damage;
  };
  const Row rows[] = {
      {"no state", "UPDATE dtm_trans SET state = x'' WHERE gid = 'bad'"},
      {"a state of a newer format", "UPDATE dtm_trans SET state = x'02' WHERE gid = 'bad'"},
      {"a state cut off",
       "UPDATE dtm_trans SET state = substr(state, 1, length(state) - 1) WHERE gid = 'bad'"},
      {"a state with more behind it",
       "UPDATE dtm_trans SET state = CAST(state || x'00' AS BLOB) WHERE gid = 'bad'"},
      {"a text as state", "UPDATE dtm_trans SET state = 'hello' WHERE gid = 'bad'"},
      {"no definition", "UPDATE dtm_trans SET definition = NULL WHERE gid = 'bad'"},
      {"a definition of a newer format",
       "UPDATE dtm_trans SET definition = x'0200' WHERE gid = 'bad'"},
      {"a definition with a huge count",
       "UPDATE dtm_trans SET definition = x'0100000000000000FFFFFFFFFFFFFFFF7F' WHERE gid = 'bad'"},
      {"the big definition lost", "DELETE FROM dtm_big_definition"},
      {"an unknown status", "UPDATE dtm_trans SET status = 77 WHERE gid = 'bad'"},
      {"an unknown type", "UPDATE dtm_trans SET type = 77 WHERE gid = 'bad'"},
      {"an order of steps that do not exist",
       "UPDATE dtm_trans SET definition = x'010000000000000101017F010000' || x'00' "
       "WHERE gid = 'bad'"},
  };
  for (const Row& row : rows) {
    DYNAMIC_SECTION(row.what) {
      TempDir dir;
      const bool big = std::string(row.what).find("big") != std::string::npos;
      {
        SqliteStore store(dir / "s.db");
        REQUIRE(Put(store, NewTransaction("first", At(1))));
        REQUIRE(Put(store, NewTransaction("bad", At(2), std::string(big ? 3000 : 3, 'x'))));
        REQUIRE(Put(store, NewTransaction("last", At(3))));
      }
      Sql(dir / "s.db", row.damage);
      SqliteStore store(dir / "s.db");
      const auto bad = store.Load("bad");
      REQUIRE(bad.has_value());
      CHECK(bad->unreadable);
      CHECK(bad->definition->gid == "bad");
      CHECK_FALSE(bad->last_error.empty());
      CHECK_FALSE(store.Load("first")->unreadable);
      CHECK(Gids(All(store)) == Texts{"last", "bad", "first"});
      const std::vector<Transaction> due = DuePage(store, At(9), {}, 10);
      CHECK(Gids(due) == Texts{"first", "bad", "last"});
      CHECK(due[1].unreadable);
      CHECK_FALSE(due[2].unreadable);
    }
  }
}

TEST_CASE("Check finds a damaged page beside a store that goes on") {
  TempDir dir;
  const std::string path = dir / "s.db";
  {
    SqliteStore store(path);
    for (int i = 0; i < 100; ++i) {
      REQUIRE(Put(store, NewTransaction(std::to_string(i), At(i), std::string(1500, 'x'))));
    }
  }
  std::string bytes = ReadFile(path);
  bytes.replace(bytes.size() - 4096, 4096, 4096, '\xFF');
  WriteFile(path, bytes);
  SqliteStore store(path);
  std::atomic<bool> stop{false};
  CHECK_THAT(store.Check(stop), ContainsSubstring(path) && ContainsSubstring("damaged"));
  CHECK(store.Load("0").has_value());
}

TEST_CASE("removing a finished transaction removes its big definition") {
  TempDir dir;
  {
    SqliteStore store(dir / "s.db");
    Transaction big = NewTransaction("big", At(1), std::string(5000, 'x'));
    Transaction unfinished = NewTransaction("unfinished", At(1), std::string(5000, 'y'));
    REQUIRE(Put(store, big));
    REQUIRE(Put(store, unfinished));
    big.status = dtm::Status::kFailed;
    big.finished = At(2);
    REQUIRE(Put(store, big));
    store.Begin();
    CHECK(store.Expire(At(100), 0, 10, false) == 0);
    store.Commit();
    CHECK(Gids(All(store)) == Texts{"unfinished"});
    CHECK(Difference(*store.Load("unfinished"), unfinished).empty());
  }
  CHECK(SqlNumber(dir / "s.db", "SELECT count(*) FROM dtm_big_definition") == 1);
}
