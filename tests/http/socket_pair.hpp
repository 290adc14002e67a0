/// Two ends of a connection without a network: one for the code under test, one for the test.
/// Needs: POSIX. Threads: one at a time.
#pragma once

#include <cstddef>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace dtm_test {

struct SocketPair {
  SocketPair() {
    int fds[2] = {-1, -1};
    (void)::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
    ours = fds[0];
    peer = fds[1];
  }
  SocketPair(SocketPair&& other) noexcept
      : ours(std::exchange(other.ours, -1)), peer(std::exchange(other.peer, -1)) {}
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;
  SocketPair& operator=(SocketPair&&) = delete;
  ~SocketPair() {
    if (ours >= 0) ::close(ours);
    ClosePeer();
  }

  /// For code that closes it.
  int Give() { return std::exchange(ours, -1); }

  void ClosePeer() {
    if (peer >= 0) ::close(std::exchange(peer, -1));
  }

  bool Say(const std::string& text) const {
    return ::send(peer, text.data(), text.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(text.size());
  }

  /// What has arrived at the peer by now.
  std::string Heard() const {
    std::string text;
    char buffer[65536];
    for (ssize_t got = 0; (got = ::recv(peer, buffer, sizeof buffer, MSG_DONTWAIT)) > 0;) {
      text.append(buffer, static_cast<std::size_t>(got));
    }
    return text;
  }

  /// All that arrives at the peer until the end, or until nothing comes for a long time.
  std::string HeardUntilTheEnd() {
    std::string text;
    char buffer[65536];
    pollfd entry{peer, POLLIN, 0};
    ended = false;
    while (!ended && ::poll(&entry, 1, 5000) > 0) {
      const ssize_t got = ::recv(peer, buffer, sizeof buffer, 0);
      ended = got <= 0;
      if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
    }
    return text;
  }

  int ours = -1;
  int peer = -1;
  bool ended = false;  ///< HeardUntilTheEnd saw it
};

}  // namespace dtm_test
