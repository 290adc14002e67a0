/// Runs a function in a forked child: to die, to have other rights, to be another process.
/// Needs: POSIX. Threads: call it while the test has one thread only.
#pragma once

#include <csignal>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace dtm_test {

/// What a child that ran `function` returned as text. Nothing of the parent is destroyed in it.
/// An exception becomes its what(); a child that died gives "killed by signal n".
inline std::string InChild(const std::function<std::string()>& function) {
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error("pipe failed");
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    std::string text;
    try {
      text = function();
    } catch (const std::exception& error) {
      text = error.what();
    }
    ::_exit(::write(ends[1], text.data(), text.size()) < 0 ? 1 : 0);
  }
  ::close(ends[1]);
  std::string text;
  char buffer[512];
  ssize_t got = 0;
  while ((got = ::read(ends[0], buffer, sizeof buffer)) > 0) {
    text.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return "killed by signal " + std::to_string(WTERMSIG(status));
  return text;
}

/// A forked child that does `first`, if anything, and then lives on as long as this.
class LivingChild {
 public:
  explicit LivingChild(const std::function<void()>& first = {}) {
    int ends[2];
    if (::pipe(ends) != 0 || (pid_ = ::fork()) < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) {
      if (first) first();
      ::close(ends[0]);
      ::close(ends[1]);  // tells that it lives
      ::alarm(60);       // if the test dies
      for (;;) ::pause();
    }
    ::close(ends[1]);
    char none = 0;
    (void)!::read(ends[0], &none, 1);
    ::close(ends[0]);
  }
  ~LivingChild() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  LivingChild(const LivingChild&) = delete;
  LivingChild& operator=(const LivingChild&) = delete;

 private:
  pid_t pid_ = -1;
};

/// InChild without the rights of root, for whom no file is read-only.
inline std::string InChildWithoutRights(const std::function<std::string()>& function) {
  return InChild([&]() -> std::string {
    constexpr unsigned kNobody = 65534;
    if (::geteuid() == 0 && (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) {
      return "setuid failed";
    }
    return function();
  });
}

}  // namespace dtm_test
