/// The bytes of one connection, with limits on lines and a deadline, as httplib reads and writes
/// them.
/// Needs: cpp-httplib, POSIX. Threads: one at a time.
///
/// httplib before 0.20 reads lines of any length and matches them with std::regex: about 20 KB
/// overflow the stack and kill the process. So its bytes come from here.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <locale>
#include <poll.h>
#include <signal.h>
#include <string>
#include <sys/socket.h>

#include <httplib.h>

namespace dtm {
inline namespace v1 {

using SteadyTime = std::chrono::steady_clock::time_point;

/// httplib writes to connections that may be closed without MSG_NOSIGNAL; every thread that uses it
/// calls this first, or the host process dies of it.
inline void BlockSigpipe() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

/// httplib's regular expressions read a table of the locale that libstdc++ fills on first use
/// without a lock (GCC PR 77704). Whoever is about to start threads that use httplib calls this
/// first.
inline void FillRegexTable() {
  const std::locale locale;
  const auto& characters = std::use_facet<std::ctype<char>>(locale);
  for (int c = 0; c < 256; ++c) characters.narrow(static_cast<char>(c), '\0');
}

namespace guard {

// Of one message. httplib asks for lines byte by byte and for content in larger pieces.
inline constexpr std::size_t kMaxLineBytes = 8 * 1024;
inline constexpr std::size_t kMaxLinesBytes = 64 * 1024;  ///< first line, headers, chunk sizes
inline constexpr std::size_t kFlushBytes = 64 * 1024;

/// Implements what httplib 0.11 asks of a stream; newer versions ask for more (ServerStream).
class BoundedStream : public httplib::Stream {
 public:
  BoundedStream(int fd, SteadyTime deadline) : fd_(fd), deadline_(deadline) {}

  virtual bool is_readable() const { return at_ < end_ || Wait(POLLIN); }
  virtual bool is_writable() const { return Wait(POLLOUT); }
  virtual void get_remote_ip_and_port(std::string&, int&) const {}
  virtual void get_local_ip_and_port(std::string&, int&) const {}
  virtual int socket() const { return fd_; }

  virtual ssize_t read(char* to, std::size_t size) {
    if (at_ == end_) {
      const ssize_t got = Fill();
      if (got <= 0) return got;
    }
    const std::size_t taken = (std::min)(size, end_ - at_);
    std::memcpy(to, buffer_.data() + at_, taken);
    at_ += taken;
    if (!Accept(to, taken, size)) return -1;
    return static_cast<ssize_t>(taken);
  }

  /// Kept until the other side's next bytes are wanted: head and body leave in one packet.
  virtual ssize_t write(const char* from, std::size_t size) {
    out_.append(from, size);
    if (out_.size() >= kFlushBytes && !Flush()) return -1;
    return static_cast<ssize_t>(size);
  }

  bool Flush() {
    std::size_t sent = 0;
    while (sent < out_.size()) {
      const ssize_t some = SendSome(out_.data() + sent, out_.size() - sent);
      if (some >= 0) {
        sent += static_cast<std::size_t>(some);
      } else if (errno == EAGAIN) {
        if (!Wait(POLLOUT)) return false;
      } else if (errno != EINTR) {
        return false;
      }
    }
    out_.clear();
    return true;
  }

 protected:
  void SetDeadline(SteadyTime deadline) { deadline_ = deadline; }
  bool HasUnread() const { return at_ < end_; }

  /// Waits for bytes, when all that came are read. Returns how many; 0 at the end, -1 at the
  /// deadline.
  ssize_t Fill() {
    const ssize_t got = Receive();
    at_ = 0;
    end_ = got > 0 ? static_cast<std::size_t>(got) : 0;
    return got;
  }

  /// Called with what is about to be read; `asked`: httplib asks for lines byte by byte. False: the
  /// message is refused.
  virtual bool Accept(const char* bytes, std::size_t, std::size_t asked) {
    if (asked != 1) return true;
    line_ = *bytes == '\n' ? 0 : line_ + 1;
    return line_ <= kMaxLineBytes && ++lines_ <= kMaxLinesBytes;
  }

  bool Wait(short what) const {
    for (;;) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(
          deadline_ - std::chrono::steady_clock::now());
      if (left.count() <= 0) return false;
      pollfd one{fd_, what, 0};
      const auto wait = (std::min<long long>)(left.count(), 60000);
      const int ready = ::poll(&one, 1, static_cast<int>(wait));
      if (ready > 0) return true;
      if (ready < 0 && errno != EINTR) return false;
    }
  }

 private:
  // Where the bytes come from and go to; as recv and send.
  virtual ssize_t ReceiveSome(char* to, std::size_t size) {
    return ::recv(fd_, to, size, MSG_DONTWAIT);
  }
  virtual ssize_t SendSome(const char* from, std::size_t size) {
    return ::send(fd_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  /// Waits until there is something; false at the deadline.
  virtual bool MayReceive() const { return Wait(POLLIN); }

  ssize_t Receive() {
    // A peer may answer and close before it has read everything: the answer counts.
    Flush();
    for (;;) {
      if (!MayReceive()) return -1;
      const ssize_t got = ReceiveSome(buffer_.data(), buffer_.size());
      if (got >= 0 || (errno != EINTR && errno != EAGAIN)) return got;
    }
  }

  int fd_;
  SteadyTime deadline_;
  std::string out_;
  std::array<char, 4096> buffer_;
  std::size_t at_ = 0;
  std::size_t end_ = 0;
  std::size_t line_ = 0;
  std::size_t lines_ = 0;
};

}  // namespace guard
}  // namespace v1
}  // namespace dtm
