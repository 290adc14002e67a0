/// A port for a server that takes no port of the system's choice.
/// Needs: POSIX. Threads: any.
#pragma once

#include <cstdint>
#include <netinet/in.h>
#include <random>
#include <sys/socket.h>
#include <unistd.h>

namespace dtm_test {

/// Below those that the system gives to outgoing connections, so that none of these takes it before the server does.
inline int FreePort() {
  std::random_device random;
  for (;;) {
    const int port = 20000 + static_cast<int>(random() % 10000);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool free = ::bind(probe, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    ::close(probe);
    if (free) return port;
  }
}

}  // namespace dtm_test
