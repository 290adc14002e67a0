/// Real ways to take a disk's space away and give it back, and to ask another process or user to
/// open a store. Needs: Linux or POSIX, <dtm/dtm.hpp>. Threads: one test at a time.
#pragma once

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>
#ifdef __linux__
#include <sched.h>
#include <sys/mount.h>
#endif

#include <dtm/dtm.hpp>

namespace survival {

/// A folder that is removed at the end; other users may look into it.
class Folder {
 public:
  Folder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "dtm-disk-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
    std::filesystem::permissions(path_, std::filesystem::perms(0755));
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::permissions(path_, std::filesystem::perms(0755), ignored);
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string File(const std::string& name = "bank.db") const { return path_ + "/" + name; }
  const std::string& Path() const { return path_; }

 private:
  std::string path_;
};

/// A disk of its own in memory, seen by this process and its children only, so it cannot outlive
/// them.
class SmallDisk {
 public:
  /// Null if this process may not mount.
  static std::unique_ptr<SmallDisk> Mount(const std::string& where, const std::string& size) {
#ifdef __linux__
    static const bool private_mounts =
        ::unshare(CLONE_NEWNS) == 0 &&
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    if (!private_mounts) return nullptr;
    if (::mount("tmpfs", where.c_str(), "tmpfs", 0, ("size=" + size).c_str()) != 0) return nullptr;
    return std::unique_ptr<SmallDisk>(new SmallDisk(where));
#else
    (void)where, (void)size;
    return nullptr;
#endif
  }
#ifdef __linux__
  ~SmallDisk() { ::umount2(where_.c_str(), MNT_DETACH); }
  void MakeReadOnly() {
    if (::mount("tmpfs", where_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
      throw std::runtime_error(std::string("remount: ") + std::strerror(errno));
    }
  }
#else
  void MakeReadOnly() {}
#endif
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

 private:
  explicit SmallDisk(std::string where) : where_(std::move(where)) {}
  std::string where_;
};

/// How a test runs out of space.
class Space {
 public:
  virtual ~Space() = default;
  virtual void Take() = 0;
  virtual void GiveBack() = 0;
};

/// Fills the disk with another file, to the last byte.
class Ballast : public Space {
 public:
  explicit Ballast(std::string file) : file_(std::move(file)) {}
  void Take() override {
    std::ofstream ballast(file_, std::ios::binary | std::ios::app);
    const std::vector<char> chunk(512, 'x');
    while (ballast.write(chunk.data(), static_cast<std::streamsize>(chunk.size())).flush()) {
    }
  }
  void GiveBack() override { std::filesystem::remove(file_); }

 private:
  std::string file_;
};

/// No file of this process may be written beyond its first bytes: as a quota, but needs no rights.
class NoGrowth : public Space {
 public:
  NoGrowth() {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
  }
  ~NoGrowth() override { NoGrowth::GiveBack(); }
  void Take() override {
    rlimit now = before_;
    now.rlim_cur = 100;
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  void GiveBack() override { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

/// Another process: its output line by line, its input until it is closed.
class Process {
 public:
  explicit Process(std::vector<std::string> words) {
    int in[2], out[2];
    if (::pipe(in) != 0 || ::pipe(out) != 0) throw std::runtime_error("pipe failed");
    std::vector<char*> argument;
    for (std::string& word : words) argument.push_back(word.data());
    argument.push_back(nullptr);
    id_ = ::fork();
    if (id_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      for (const int file : {in[0], in[1], out[0], out[1]}) ::close(file);
      ::execv(argument[0], argument.data());
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    in_ = in[1];
    out_ = out[0];
  }
  ~Process() { End(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  std::string Line() {
    std::string line;
    for (char c = 0; ::read(out_, &c, 1) == 1 && c != '\n';) line += c;
    return line;
  }
  /// Closes its input and returns its exit code.
  int End() {
    if (id_ <= 0) return status_;
    ::close(in_);
    ::waitpid(id_, &status_, 0);
    ::close(out_);
    id_ = 0;
    return status_ = WIFEXITED(status_) ? WEXITSTATUS(status_) : -1;
  }

 private:
  pid_t id_ = 0;
  int in_ = -1, out_ = -1;
  int status_ = 0;
};

/// What a user without rights is told who opens the store; "open" if it opens. No coordinator may
/// be alive here.
inline std::string OpenWithoutRights(const std::string& file) {
  int out[2];
  if (::pipe(out) != 0) throw std::runtime_error("pipe failed");
  const pid_t child = ::fork();
  if (child == 0) {
    std::string said = "open";
    constexpr unsigned kNobody = 65534;
    if (::getuid() == 0 && (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) {
      said = "cannot become another user";
    } else {
      try {
        dtm::Coordinator tm(file);
      } catch (const dtm::StoreError& error) {
        said = error.what();
      } catch (const std::exception& error) {
        said = std::string("no StoreError: ") + error.what();
      }
    }
    const bool written =
        ::write(out[1], said.data(), said.size()) == static_cast<ssize_t>(said.size());
    ::_exit(written ? 0 : 1);
  }
  ::close(out[1]);
  std::string said;
  for (char c = 0; ::read(out[0], &c, 1) == 1;) said += c;
  ::close(out[0]);
  ::waitpid(child, nullptr, 0);
  return said;
}

}  // namespace survival
