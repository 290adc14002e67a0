/// All calls of the operating system except sockets, which are in http/transport/: the files to port.
/// Needs: POSIX. Threads: thread-safe functions; a FileLock belongs to one owner.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <system_error>
#include <time.h>
#include <unistd.h>

#include <dtm/base/error.hpp>
#include <dtm/base/time.hpp>

namespace dtm {
inline namespace v1 {
namespace os {

/// Time since boot, going on while the machine sleeps; never jumps.
inline Duration SinceBoot() {
  timespec now{};
#ifdef CLOCK_BOOTTIME
  ::clock_gettime(CLOCK_BOOTTIME, &now);
#else
  ::clock_gettime(CLOCK_MONOTONIC, &now);
#endif
  return std::chrono::seconds(now.tv_sec) + std::chrono::microseconds(now.tv_nsec / 1000);
}

/// Fills `size` bytes (at most 256) with unpredictable random ones.
/// @throws Error  the system gives none.
inline void FillRandom(void* bytes, std::size_t size) {
  if (::getentropy(bytes, size) != 0) {
    throw Error("the operating system gives no random bytes: " +
                std::generic_category().message(errno));
  }
}

/// How many descriptors this process may have open.
inline std::size_t MaxOpenFiles() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
  return static_cast<std::size_t>(limit.rlim_cur);
}

inline std::string LastErrorText() { return std::generic_category().message(errno); }

/// Waits until the descriptor can be read, or (`writing`) also if it can be written, or has an error or its end. False: not
/// within `limit` (up to 1 day); it is looked at once in any case.
inline bool WaitFor(int descriptor, bool writing, Duration limit) {
  const Duration end = SinceBoot() + limit;
  for (;;) {
    const Duration left = (std::max)(end - SinceBoot(), Duration(0));
    pollfd waits{descriptor, static_cast<short>(writing ? POLLIN | POLLOUT : POLLIN), 0};
    // Rounded up: else the last millisecond would be waited in none.
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    const int ready = ::poll(&waits, 1, static_cast<int>(ms));
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true;  // who uses it learns why
    if (ready == 0 && end <= SinceBoot()) return false;
  }
}

/// "host:1234", a name of this process for people.
inline std::string HostAndProcess() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = 0;
  return std::string(host) + ":" + std::to_string(::getpid());
}

/// An absolute name of the same file, without symbolic links of folders, so that it stays valid after a chdir or when such
/// a link changes. Returned unchanged if the folder does not exist; opening the file then says why.
inline std::string FullPath(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const bool bare = slash == std::string::npos;
  const std::string folder = bare ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const std::unique_ptr<char, void (*)(void*)> full(::realpath(folder.c_str(), nullptr), ::free);
  if (!full || path.empty()) return path;
  const std::string name = bare ? path : path.substr(slash + 1);
  return (slash == 0 || full.get() == std::string("/") ? "" : full.get()) + ("/" + name);
}

/// Identifies a file and its state: two stamps differ if it is another file or was written to.
struct FileStamp {
  dev_t device = 0;
  ino_t number = 0;
  off_t bytes = 0;
  time_t seconds = 0;  ///< when it was last written
  long nanoseconds = 0;
  bool plain = false;  ///< no link, folder, pipe or device

  bool SameFile(const std::optional<FileStamp>& other) const {
    return other && device == other->device && number == other->number;
  }
  bool SameContent(const FileStamp& other) const {
    return bytes == other.bytes && seconds == other.seconds && nanoseconds == other.nanoseconds;
  }
};

/// Nothing if there is no file, or it may not be looked at. A link is not followed.
inline std::optional<FileStamp> StampOf(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return std::nullopt;
  return FileStamp{info.st_dev,         info.st_ino,          info.st_size,
                   info.st_mtim.tv_sec, info.st_mtim.tv_nsec, S_ISREG(info.st_mode)};
}

/// Creates the file for its owner only (0600) if it does not exist. An existing file is checked without opening it:
/// closing a descriptor of it would release the locks that this process holds on it through SQLite.
/// @throws StoreError  it cannot be created or written, is a symbolic link, or is not a plain file.
inline void EnsurePrivateFile(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode)) {
      throw StoreError("the store file '" + path +
                       "' is a link or no plain file, which is refused");
    }
    if (::access(path.c_str(), R_OK | W_OK) == 0) return;
    throw StoreError("the store file '" + path + "' cannot be opened for writing: " +
                     LastErrorText() + "; make it and its folder writable for this user");
  }
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) {
    throw StoreError("the store file '" + path + "' cannot be created: " + LastErrorText() +
                     "; give a file in a folder this user may write to");
  }
  ::close(file);
}

/// Follows the forks of this process. There is one state for the process, since fork handlers take no context and cannot be
/// removed; it counts the forks after its first use.
class Forking {
 public:
  /// The number of forks between the process that asked first and this one; it differs between a child and its parent.
  static unsigned Generation() { return Get().generation.load(std::memory_order_relaxed); }

  /// Closes this descriptor in forked children: otherwise its lock or port would live on in a child after this process has
  /// died. Close it with Close. Without memory to note it, it is closed here at once. `name`: for Inherited.
  static void CloseInChildren(int file, const std::string& name = {}) {
    State& state = Get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    try {
      state.files[file] = name;
    } catch (...) {
      state.files.erase(file);
      ::close(file);
      throw;
    }
  }
  static void Forget(int file) {
    State& state = Get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    state.files.erase(file);
  }
  /// Does nothing in a forked child, where it is closed already.
  static void Close(int file) {
    State& state = Get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    if (state.files.erase(file) > 0) ::close(file);
  }
  /// True if a descriptor of that name was open in a parent of this process when it forked.
  static bool Inherited(const std::string& name) {
    State& state = Get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    for (const auto& [file, its_name] : state.inherited) {
      if (its_name == name) return true;
    }
    return false;
  }

 private:
  struct State {
    State() { ::pthread_atfork(&BeforeFork, &AfterFork, &InChild); }
    std::atomic<unsigned> generation{0};
    std::mutex mutex;
    std::map<int, std::string> files;
    std::multimap<int, std::string> inherited;  // closed here
  };
  static State& Get() {
    static State* const state =
        new State;  // never freed: objects that close files may be destroyed later
    return *state;
  }
  static void BeforeFork() { Get().mutex.lock(); }
  static void AfterFork() { Get().mutex.unlock(); }
  static void InChild() {
    State& state = Get();
    for (const auto& [file, name] : state.files) ::close(file);
    state.inherited.merge(state.files);
    ++state.generation;
    state.mutex.unlock();
  }
};

/// A descriptor that is readable between Signal and Clear: for epoll, poll and the like.
class EventFd {
 public:
  /// @throws Error  the system has no free descriptor.
  EventFd() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd_ < 0) throw Error("no eventfd can be had: " + LastErrorText() + "; see ulimit -n");
  }
  ~EventFd() { ::close(fd_); }
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;

  int Get() const { return fd_; }
  void Signal() const {
    const std::uint64_t one = 1;
    (void)!::write(fd_, &one, sizeof one);  // it fails if it is readable anyway
  }
  void Clear() const {
    std::uint64_t count = 0;
    (void)!::read(fd_, &count, sizeof count);  // it fails if it was not readable
  }

 private:
  int fd_;
};

/// An exclusive lock on `path`, held until it is destroyed or the process ends. A forked child does not share it, and
/// cannot take it later either: SQLite, which it guards, would still have the parent's state there. Two locks on one
/// file exclude each other even in one process.
class FileLock {
 public:
  /// @throws StoreError  it is held elsewhere, was held by a parent when it forked this process, or the file cannot be opened.
  explicit FileLock(const std::string& path)
      : path_(path), file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) {
    if (file_ < 0) {
      throw StoreError("the lock file '" + path + "' cannot be opened: " + LastErrorText() +
                       "; the folder of the store must exist and be writable");
    }
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      const bool taken = errno == EWOULDBLOCK;
      const std::string why = LastErrorText();
      ::close(file_);
      throw StoreError(
          taken ? "another coordinator, in this process or another, uses this store: it holds the "
                  "lock file '" +
                      path + "'; stop it first, or give this one a store of its own"
                : "the lock file '" + path + "' cannot be locked: " + why);
    }
    Forking::CloseInChildren(file_, path_);
    const bool inherited = Forking::Inherited(path_);
    if (!inherited && AtItsPath()) return;
    Forking::Close(file_);
    if (inherited) {
      throw StoreError("the store of the lock file '" + path +
                       "' was open when this process was forked, and cannot be opened in it any "
                       "more; fork before it "
                       "is opened, or open it in a program that is started by exec");
    }
    throw StoreError("the lock file '" + path + "' was replaced at this moment; try again");
  }
  /// Closing alone would not release it while a forked child still has the descriptor, before its exec or fork handler.
  ~FileLock() {
    if (generation_ == Forking::Generation()) ::flock(file_, LOCK_UN);
    Forking::Close(file_);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// False: the file was removed or replaced, so that somebody else may hold the lock of its name.
  bool AtItsPath() const {
    struct stat mine {};
    if (::fstat(file_, &mine) != 0) return false;
    const std::optional<FileStamp> there = StampOf(path_);
    return there && there->device == mine.st_dev && there->number == mine.st_ino;
  }
  /// A cheaper check: the file was removed.
  bool Removed() const {
    struct stat mine {};
    return ::fstat(file_, &mine) != 0 || mine.st_nlink == 0;
  }

 private:
  const std::string path_;
  const unsigned generation_ = Forking::Generation();
  int file_;
};

}  // namespace os
}  // namespace v1
}  // namespace dtm
