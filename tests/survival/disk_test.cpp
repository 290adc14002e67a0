/// What happens when the disk is full or the file is not what it should be: a clear sentence,
/// nothing lost, and it goes on by itself. Needs: Catch2, POSIX; with root rights it tests more
/// (mounts). Threads: the coordinator's.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "scarce.hpp"
#include <dtm/dtm.hpp>
#include <tests/catch.hpp>

using Catch::Matchers::ContainsSubstring;
using survival::Ballast;
using survival::Folder;
using survival::NoGrowth;
using survival::OpenWithoutRights;
using survival::Process;
using survival::SmallDisk;
using survival::Space;

namespace {

constexpr std::chrono::seconds kPatience{20};

/// The log of a coordinator.
class Said {
 public:
  dtm::Options Options() {
    dtm::Options options;
    options.retry_interval = std::chrono::milliseconds(50);
    options.log = [this](dtm::LogLevel level, const std::string& text) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (level != dtm::LogLevel::kInfo) text_ += text + "\n";
    };
    return options;
  }
  std::string Text() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return text_;
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

/// A bank whose functions count, and one of which can be held.
struct Bank {
  explicit Bank(const std::string& file) : tm(file, said.Options()) {
    step =
        tm.Register<std::string>("Step", [this](const std::string&, const dtm::BranchInfo& info) {
          const std::lock_guard<std::mutex> lock(mutex);
          ++calls[info.gid + " " + info.branch_id + " " + Name(info.op)];
        });
    gate =
        tm.Register<std::string>("Gate", [this](const std::string&, const dtm::BranchInfo& info) {
          std::unique_lock<std::mutex> lock(mutex);
          ++calls[info.gid + " " + info.branch_id + " " + Name(info.op)];
          changed.notify_all();
          changed.wait_for(lock, kPatience, [this] { return open; });
        });
    tm.Start();
  }

  dtm::Saga Saga(const std::string& gid, const std::string& payload = "x") {
    return dtm::NewSaga(tm, gid).Add(step, step, payload).Add(step, step, payload);
  }
  /// The first step does not end before Open().
  dtm::Saga Held(const std::string& gid) {
    return dtm::NewSaga(tm, gid)
        .Add(gate, step, std::string("x"))
        .Add(step, step, std::string("x"));
  }
  void WaitForCall(const std::string& call) {
    std::unique_lock<std::mutex> lock(mutex);
    REQUIRE(changed.wait_for(lock, kPatience, [&] { return calls.count(call) > 0; }));
  }
  void Open(bool is_open = true) {
    const std::lock_guard<std::mutex> lock(mutex);
    open = is_open;
    changed.notify_all();
  }
  int Calls(const std::string& call) {
    const std::lock_guard<std::mutex> lock(mutex);
    return calls[call];
  }

  Said said;
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, int> calls;
  bool open = false;
  dtm::LocalBranch<std::string> step, gate;
  dtm::Coordinator tm;
};

std::size_t CountStored(dtm::Coordinator& tm) {
  std::size_t count = 0;
  std::int64_t position = 0;
  do {
    const dtm::ScanPage page = tm.List({}, position, 1000);
    count += page.transactions.size();
    position = page.next;
  } while (position != 0);
  return count;
}

/// What Submit said; a refusal has to be a sentence that names the gid, the file and what to do.
enum class Submitted { kAccepted, kRefused, kInDoubt };
Submitted TrySubmit(Bank& bank, const std::string& gid, std::size_t payload_bytes,
                    const std::string& words) {
  try {
    bank.Saga(gid, std::string(payload_bytes, 'p')).Submit();
    return Submitted::kAccepted;
  } catch (const dtm::StoreError& error) {
    CHECK_THAT(error.what(), ContainsSubstring("gid '" + gid + "' was not stored"));
    CHECK_THAT(error.what(), ContainsSubstring("bank.db"));
    CHECK_THAT(error.what(), ContainsSubstring(words));
    CHECK_THAT(error.what(), ContainsSubstring("again later"));
    return Submitted::kRefused;
  } catch (const dtm::InDoubtError& error) {
    CHECK_THAT(error.what(), ContainsSubstring("gid '" + gid + "' may or may not be stored"));
    CHECK_THAT(error.what(), ContainsSubstring("submit it again"));
    return Submitted::kInDoubt;
  }
}

std::string ErrorOf(const std::function<void()>& act) {
  try {
    act();
    return "no error";
  } catch (const dtm::StoreError& error) {
    return error.what();
  }
}

/// The disk fills up while sagas are under way, and has space again; three times, without a
/// restart.
void OutOfSpace(const std::string& file, Space& space, const std::string& words) {
  std::set<std::string> accepted, refused, in_doubt;
  {
    Bank bank(file);
    REQUIRE(bank.Saga("first").SubmitAndWait(kPatience).Succeeded());
    accepted.insert("first");
    for (int round = 0; round < 3; ++round) {
      const std::string name = "round-" + std::to_string(round);
      INFO(name);
      bank.Open(false);
      const std::string middle = name + "-middle";
      bank.Held(middle).Submit();
      accepted.insert(middle);
      bank.WaitForCall(middle + " 01 action");

      space.Take();
      int refusals = 0;
      for (int i = 0; i < 400 && refusals < 20; ++i) {
        const std::string gid = name + "-" + std::to_string(i);
        const Submitted submitted = TrySubmit(bank, gid, 4000, words);
        refusals += submitted != Submitted::kAccepted;
        (submitted == Submitted::kAccepted  ? accepted
         : submitted == Submitted::kRefused ? refused
                                            : in_doubt)
            .insert(gid);
      }
      REQUIRE(refusals == 20);
      bank.Open();  // its answer cannot be stored, so the next step must not be called
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      CHECK(bank.Calls(middle + " 01 action") == 1);
      CHECK(bank.Calls(middle + " 02 action") == 0);
      CHECK_THAT(bank.tm.Explain(middle), ContainsSubstring("the store is failing"));
      CHECK(bank.tm.Query("first")->status == dtm::Status::kSucceed);
      CHECK(bank.tm.Query(middle)->status == dtm::Status::kSubmitted);
      CHECK(CountStored(bank.tm) >= accepted.size());

      space.GiveBack();
      const auto begin = std::chrono::steady_clock::now();
      CHECK(bank.tm.Wait(middle, kPatience).Succeeded());
      CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
      CHECK(bank.Calls(middle + " 01 action") == 1);
      CHECK(bank.Calls(middle + " 02 action") == 1);
      for (const std::string& gid : accepted) CHECK(bank.tm.Wait(gid, kPatience).Succeeded());
      for (const std::string& gid : refused) {
        CHECK_FALSE(bank.tm.Query(gid));
        CHECK(bank.Calls(gid + " 01 action") == 0);
      }
      // What a client does that was refused or got no answer.
      for (const std::string& gid : in_doubt) {
        CHECK(bank.Saga(gid, std::string(4000, 'p')).SubmitAndWait(kPatience).Succeeded());
        CHECK(bank.Calls(gid + " 01 action") == 1);
        accepted.insert(gid);
      }
      in_doubt.clear();
      REQUIRE_FALSE(refused.empty());
      const std::string again = *refused.begin();
      CHECK(bank.Saga(again, std::string(4000, 'p')).SubmitAndWait(kPatience).Succeeded());
      accepted.insert(again);
      refused.erase(again);
    }
    CHECK_THAT(bank.said.Text(),
               ContainsSubstring("the store fails, nothing goes on until it works"));
    CHECK_THAT(bank.said.Text(), ContainsSubstring(words));
    CHECK(bank.tm.Stop(kPatience));
  }
  Bank bank(file);
  CHECK(CountStored(bank.tm) == accepted.size());
  for (const std::string& gid : accepted)
    CHECK(bank.tm.Query(gid)->status == dtm::Status::kSucceed);
  CHECK(bank.calls.empty());
}

std::string OpenError(const std::string& file) {
  return ErrorOf([&] { dtm::Coordinator tm(file); });
}

/// A closed store with `count` finished sagas and one that waits for a function nobody registers
/// here.
void Fill(const std::string& file, int count) {
  Bank bank(file);
  for (int i = 0; i < count; ++i) {
    bank.Saga("saga-" + std::to_string(i), std::string(500, 'p'))
        .SubmitAsync([](const dtm::Answer&) {});
  }
  for (int i = 0; i < count; ++i) {
    REQUIRE(bank.tm.Wait("saga-" + std::to_string(i), kPatience).Succeeded());
  }
  const auto missing = bank.tm.Register<std::string>(
      "OnlyThere", [](const std::string&) { return dtm::Result::Ongoing(); });
  dtm::NewSaga(bank.tm, "waiting").Add(missing, dtm::kNoBranch, std::string("x")).Submit();
  REQUIRE(bank.tm.Stop(kPatience));
}

std::string Read(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void Write(const std::string& file, const std::string& bytes) {
  std::filesystem::remove(file + "-wal");
  std::filesystem::remove(file + "-shm");
  std::ofstream(file, std::ios::binary) << bytes;
}

/// Opens a damaged file and uses it. Returns what was said about damage, or nothing if all of it is
/// there.
std::string SaidOfDamage(const std::string& file, std::size_t sagas) {
  try {
    Said said;
    dtm::Coordinator tm(file, said.Options());
    (void)tm.Register<std::string>("OnlyThere", [](const std::string&) {});  // or the log misses it
    tm.Start();
    if (CountStored(tm) != sagas) return "it lists " + std::to_string(CountStored(tm)) + " sagas";
    for (const auto& transaction : tm.List({}, 0, 1000).transactions) {
      if (!tm.Query(transaction.definition->gid))
        return "it does not find " + transaction.definition->gid;
      if (transaction.unreadable) return transaction.last_error;
    }
    const auto step = tm.Register<std::string>("Step", [](const std::string&) {});
    dtm::NewSaga(tm, "new").Add(step, step, std::string("x")).Submit();
    if (!tm.Wait("new", kPatience).Succeeded()) return "a new saga does not end";
    return said.Text();
  } catch (const dtm::StoreError& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("a full disk of its own") {
  const Folder folder;
  const auto disk = SmallDisk::Mount(folder.Path(), "1m");
  if (disk == nullptr) {
    WARN("not tested: mounting a small disk needs root rights");
    return;
  }
  Ballast ballast(folder.File("ballast"));
  OutOfSpace(folder.File(), ballast,
             "no space is left on its disk; free some, it goes on by itself");
}

TEST_CASE("files that may not grow") {
  const Folder folder;
  NoGrowth limit;
  OutOfSpace(folder.File(), limit, "disk I/O error (its disk is full or fails");
}

TEST_CASE("no space to create a store") {
  const Folder folder;
  const auto disk = SmallDisk::Mount(folder.Path(), "64k");
  if (disk == nullptr) {
    WARN("not tested: mounting a small disk needs root rights");
    return;
  }
  Ballast ballast(folder.File("ballast"));
  ballast.Take();
  const std::string error = OpenError(folder.File());
  CHECK_THAT(error, ContainsSubstring("bank.db"));
  CHECK_THAT(error, ContainsSubstring("no space is left on its disk") ||
                        ContainsSubstring("No space left on device"));
}

TEST_CASE("a read-only disk") {
  const Folder folder;
  const auto disk = SmallDisk::Mount(folder.Path(), "4m");
  if (disk == nullptr) {
    WARN("not tested: mounting a small disk needs root rights");
    return;
  }
  Fill(folder.File(), 3);
  const std::string before = Read(folder.File());
  disk->MakeReadOnly();
  CHECK_THAT(OpenError(folder.File()), ContainsSubstring("bank.db"));
  CHECK_THAT(OpenError(folder.File()), ContainsSubstring("Read-only file system"));
  CHECK_THAT(OpenError(folder.File("other.db")), ContainsSubstring("other.db"));
  CHECK_THAT(OpenError(folder.File("other.db")), ContainsSubstring("Read-only file system"));
  CHECK(Read(folder.File()) == before);
}

TEST_CASE("a read-only file") {
  const Folder folder;
  Fill(folder.File(), 3);
  const std::string before = Read(folder.File());
  std::filesystem::permissions(folder.Path(), std::filesystem::perms(0777));
  std::filesystem::permissions(folder.File("bank.db-lock"), std::filesystem::perms(0666));
  std::filesystem::permissions(folder.File(), std::filesystem::perms(0444));
  const std::string error = OpenWithoutRights(folder.File());
  CHECK_THAT(error, ContainsSubstring("bank.db"));
  CHECK_THAT(error, ContainsSubstring("Permission denied"));
  CHECK_THAT(error, ContainsSubstring("writable"));
  CHECK(Read(folder.File()) == before);
  std::filesystem::permissions(folder.File(), std::filesystem::perms(0666));
  CHECK(OpenWithoutRights(folder.File()) == "open");
  dtm::Coordinator tm(folder.File());
  CHECK(CountStored(tm) == 4);
}

TEST_CASE("a read-only folder") {
  const Folder folder;
  Fill(folder.File(), 3);
  const std::string before = Read(folder.File());
  std::filesystem::permissions(folder.File(), std::filesystem::perms(0666));
  const bool with_lock = GENERATE(true, false);
  if (with_lock) {
    std::filesystem::permissions(folder.File("bank.db-lock"), std::filesystem::perms(0666));
  } else {
    std::filesystem::remove(folder.File("bank.db-lock"));
  }
  std::filesystem::permissions(folder.Path(), std::filesystem::perms(0555));
  for (const char* name : {"bank.db", "new.db"}) {
    const std::string error = OpenWithoutRights(folder.File(name));
    CHECK_THAT(error, ContainsSubstring(name));
    CHECK_THAT(error, ContainsSubstring("folder"));
  }
  CHECK(Read(folder.File()) == before);
}

TEST_CASE("a file that is no database") {
  const Folder folder;
  const std::string garbage =
      GENERATE(std::string(8192, 'g'), std::string("a short text, no database"));
  Write(folder.File(), garbage);
  const std::string error = OpenError(folder.File());
  CHECK_THAT(error, ContainsSubstring("bank.db"));
  CHECK_THAT(error,
             ContainsSubstring("damaged or is no SQLite database; restore it from a backup"));
  CHECK(Read(folder.File()) == garbage);
}

TEST_CASE("a damaged file") {
  const Folder folder;
  constexpr int kSagas = 60;
  Fill(folder.File(), kSagas);
  const std::string good = Read(folder.File());
  constexpr std::size_t kPage = 4096;
  REQUIRE(good.size() / kPage > 8);
  std::size_t said_so = 0;
  for (std::size_t page = 0; page < good.size() / kPage; ++page) {
    INFO("page " << page + 1);
    std::string bad = good;
    const std::size_t skip = page == 0 ? 100 : 0;  // the header has a test of its own
    bad.replace(page * kPage + skip, kPage - skip, std::string(kPage - skip, '\xA5'));
    Write(folder.File(), bad);
    const std::string said = SaidOfDamage(folder.File(), kSagas + 1);
    if (said.empty()) continue;  // nothing of it is in that page
    CHECK_THAT(said, ContainsSubstring("damaged"));
    ++said_so;
  }
  CHECK(said_so >= 8);
  Write(folder.File(), good.substr(0, good.size() / kPage / 2 * kPage));
  CHECK_THAT(SaidOfDamage(folder.File(), kSagas + 1), ContainsSubstring("damaged"));
  Write(folder.File(), good);  // the backup
  CHECK(SaidOfDamage(folder.File(), kSagas + 1) == "");
}

TEST_CASE("a newer schema") {
  const Folder folder;
  Fill(folder.File(), 3);
  const auto set = [&](const char* version) {
    dtm::sql::Database db(folder.File(), SQLITE_OPEN_READWRITE);
    db.Exec(
        ("UPDATE dtm_meta SET value = " + std::string(version) + " WHERE key = 'schema_version'")
            .c_str());
  };
  set("99");
  const std::string before = Read(folder.File());
  const std::string error = OpenError(folder.File());
  CHECK_THAT(error, ContainsSubstring("bank.db"));
  CHECK_THAT(error, ContainsSubstring("schema version 99"));
  CHECK_THAT(error, ContainsSubstring("use the newer dtm that wrote it"));
  CHECK(Read(folder.File()) == before);
  set(std::to_string(dtm::sqlite_schema::kVersion).c_str());
  dtm::Coordinator tm(folder.File());
  CHECK(CountStored(tm) == 4);
}

TEST_CASE("a second coordinator in this process") {
  const Folder folder;
  std::optional<Bank> bank(folder.File());
  bank->Held("middle").Submit();
  for (int i = 0; i < 3; ++i) {
    const std::string error = OpenError(folder.File());
    CHECK_THAT(error, ContainsSubstring("bank.db"));
    CHECK_THAT(error, ContainsSubstring("another coordinator, in this process or another"));
  }
  CHECK_THAT(OpenError(folder.Path() + "/./bank.db"), ContainsSubstring("another coordinator"));
  bank->Open();
  CHECK(bank->tm.Wait("middle", kPatience).Succeeded());
  CHECK(bank->Saga("more").SubmitAndWait(kPatience).Succeeded());
  bank.reset();
  dtm::Coordinator second(folder.File());
  CHECK(CountStored(second) == 2);
}

TEST_CASE("a second coordinator in another process") {
  const Folder folder;
  {
    Bank bank(folder.File());
    Process other({SURVIVAL_WORKER, "--open", folder.File()});
    const std::string error = other.Line();
    CHECK_THAT(error, ContainsSubstring("StoreError: "));
    CHECK_THAT(error, ContainsSubstring("bank.db"));
    CHECK_THAT(error, ContainsSubstring("another coordinator, in this process or another"));
    CHECK(other.End() == 3);
    CHECK(bank.Saga("first").SubmitAndWait(kPatience).Succeeded());
  }
  Process other({SURVIVAL_WORKER, "--open", folder.File()});
  REQUIRE(other.Line() == "open");
  CHECK_THAT(OpenError(folder.File()),
             ContainsSubstring("another coordinator, in this process or another"));
  CHECK(other.End() == 0);
  dtm::Coordinator tm(folder.File());
  CHECK(CountStored(tm) == 1);
}
