/// Files of the owner only, locks, and the clock that never jumps.
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <signal.h>
#include <string>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/catch.hpp"
#include "tests/support/child.hpp"
#include <dtm/base/os.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::StoreError;
namespace fs = std::filesystem;

namespace {

/// A folder of its own, removed at the end.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "dtm-os-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const char* name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

unsigned ModeOf(const std::string& path) {
  struct stat info {};
  REQUIRE(::lstat(path.c_str(), &info) == 0);
  return info.st_mode & 0777u;
}

}  // namespace

TEST_CASE("os: a store file is created for its owner only") {
  const Folder folder;
  const mode_t umask_before = ::umask(0);
  dtm::os::EnsurePrivateFile(folder / "bank.db");
  ::umask(umask_before);
  CHECK(ModeOf(folder / "bank.db") == 0600u);
  CHECK(fs::file_size(folder / "bank.db") == 0);
}

TEST_CASE("os: an existing store file is left alone") {
  const Folder folder;
  std::ofstream(folder / "bank.db") << "rows";
  ::chmod((folder / "bank.db").c_str(), 0640);
  dtm::os::EnsurePrivateFile(folder / "bank.db");
  CHECK(ModeOf(folder / "bank.db") == 0640u);
  CHECK(fs::file_size(folder / "bank.db") == 4);
}

TEST_CASE("os: a forked child keeps no lock, and closes nothing of its own by it") {
  const Folder folder;
  auto lock = std::make_unique<dtm::os::FileLock>(folder / "l");
  const dtm_test::LivingChild child;
  CHECK_THROWS_AS(dtm::os::FileLock(folder / "l"), StoreError);
  lock.reset();
  CHECK_NOTHROW(dtm::os::FileLock(folder / "l"));
  lock = std::make_unique<dtm::os::FileLock>(folder / "l");
  const std::string end = dtm_test::InChild([&]() -> std::string {
    const int own = ::open("/dev/null", O_RDONLY);  // gets the number of the lock's
    lock.reset();
    return ::fcntl(own, F_GETFD) == -1 ? "closed" : "open";
  });
  CHECK(end == "open");
  CHECK_THROWS_AS(dtm::os::FileLock(folder / "l"), StoreError);
}

TEST_CASE(
    "os: a lock ends with its owner, also while a child that ran no handler has its descriptor") {
  const Folder folder;
  auto lock = std::make_unique<dtm::os::FileLock>(folder / "l");
  const auto child = static_cast<pid_t>(::syscall(SYS_fork));  // as a spawned one before its exec
  if (child == 0) {
    ::alarm(60);
    for (;;) ::pause();
  }
  REQUIRE(child > 0);
  CHECK_THROWS_AS(dtm::os::FileLock(folder / "l"), StoreError);
  lock.reset();
  CHECK_NOTHROW(dtm::os::FileLock(folder / "l"));
  ::kill(child, SIGKILL);
  CHECK(::waitpid(child, nullptr, 0) == child);
}

TEST_CASE("os: a lock knows that its file is another one") {
  const Folder folder;
  const dtm::os::FileLock lock(folder / "l");
  CHECK(lock.AtItsPath());
  CHECK_FALSE(lock.Removed());
  fs::rename(folder / "l", folder / "m");
  CHECK_FALSE(lock.AtItsPath());
  CHECK_FALSE(lock.Removed());
  std::ofstream(folder / "l") << "";
  CHECK_FALSE(lock.AtItsPath());
  fs::remove(folder / "m");
  CHECK(lock.Removed());
}

TEST_CASE("os: a full path leads by no link and from no folder") {
  const Folder folder;
  fs::create_directory(folder / "real");
  fs::create_directory_symlink(folder / "real", folder / "way");
  const std::string real = fs::canonical(folder / "real").string();
  CHECK(dtm::os::FullPath(folder / "way/bank.db") == real + "/bank.db");
  CHECK(dtm::os::FullPath(folder / "way/../way/./bank.db") == real + "/bank.db");
  CHECK(dtm::os::FullPath("bank.db") == fs::current_path().string() + "/bank.db");
  CHECK(dtm::os::FullPath("./bank.db") == fs::current_path().string() + "/bank.db");
  CHECK(dtm::os::FullPath("/bank.db") == "/bank.db");
  CHECK(dtm::os::FullPath("no/such/bank.db") == "no/such/bank.db");
  CHECK(dtm::os::FullPath("").empty());
}

TEST_CASE("os: what cannot be a store file is refused with a sentence that names it") {
  const Folder folder;
  std::ofstream(folder / "real.db") << "rows";
  fs::create_symlink(folder / "real.db", folder / "link.db");
  fs::create_symlink(folder / "nothing", folder / "dangling.db");
  fs::create_directory(folder / "folder.db");
  for (const char* name : {"link.db", "dangling.db", "folder.db"}) {
    CAPTURE(name);
    CHECK_THROWS_AS(dtm::os::EnsurePrivateFile(folder / name), StoreError);
    CHECK_THROWS_WITH(dtm::os::EnsurePrivateFile(folder / name),
                      ContainsSubstring(name) && ContainsSubstring("link or no plain file"));
  }
  CHECK_FALSE(fs::exists(folder / "nothing"));
  CHECK_THROWS_AS(dtm::os::EnsurePrivateFile(folder / "missing/bank.db"), StoreError);
  CHECK_THROWS_WITH(dtm::os::EnsurePrivateFile(folder / "missing/bank.db"),
                    ContainsSubstring("cannot be created") && ContainsSubstring("missing/bank.db"));
  if (::geteuid() != 0) {  // root may write everywhere
    std::ofstream(folder / "read-only.db") << "rows";
    ::chmod((folder / "read-only.db").c_str(), 0400);
    CHECK_THROWS_WITH(dtm::os::EnsurePrivateFile(folder / "read-only.db"),
                      ContainsSubstring("cannot be opened for writing"));
  }
}

TEST_CASE("os: a lock excludes a second one, also within this process, until it is gone") {
  const Folder folder;
  const std::string path = folder / "bank.db-lock";
  {
    const dtm::os::FileLock lock(path);
    CHECK_THROWS_AS(dtm::os::FileLock(path), StoreError);
    CHECK_THROWS_WITH(dtm::os::FileLock(path),
                      ContainsSubstring("another coordinator") && ContainsSubstring(path));
    const dtm::os::FileLock other(folder / "other.db-lock");
  }
  CHECK_NOTHROW(dtm::os::FileLock(path));
  CHECK(ModeOf(path) == 0600u);
  CHECK_THROWS_WITH(dtm::os::FileLock(folder / "missing/bank.db-lock"),
                    ContainsSubstring("cannot be opened"));
  fs::create_symlink(path, folder / "link");
  CHECK_THROWS_AS(dtm::os::FileLock(folder / "link"), StoreError);
}

TEST_CASE("os: time since boot goes on and never back") {
  dtm::Duration before = dtm::os::SinceBoot();
  CHECK(before.count() > 0);
  bool moved = false;
  for (int i = 0; i < 100000; ++i) {
    const dtm::Duration now = dtm::os::SinceBoot();
    REQUIRE(now >= before);
    moved = moved || now > before;
    before = now;
  }
  CHECK(moved);
}

TEST_CASE("os: this process, and the text of the last error") {
  errno = ENOSPC;
  CHECK_THAT(dtm::os::LastErrorText(), ContainsSubstring("No space"));
}
