/// The addresses of a name, as the system knows them.
/// Needs: POSIX. Threads: pure functions, which may wait long.
#pragma once

#include <cstddef>
#include <cstring>
#include <netdb.h>
#include <string>
#include <sys/socket.h>
#include <vector>

#include <dtm/http/transport/socket.hpp>

namespace dtm {
inline namespace v1 {
namespace transport {

struct FoundAddresses {
  std::vector<SocketAddress> addresses;  ///< in the order in which they are to be tried
  std::string problem;                   ///< why there is none, in words
};

/// RFC 8305 §4: the kinds of addresses take turns, so that one that leads nowhere does not hold up the other.
inline void TakeTurns(std::vector<SocketAddress>& addresses) {
  for (std::size_t i = 1; i + 1 < addresses.size(); ++i) {
    if (addresses[i].Family() != addresses[i - 1].Family()) continue;
    for (std::size_t other = i + 1; other < addresses.size(); ++other) {
      if (addresses[other].Family() == addresses[i].Family()) continue;
      const SocketAddress found = addresses[other];
      addresses.erase(addresses.begin() + static_cast<std::ptrdiff_t>(other));
      addresses.insert(addresses.begin() + static_cast<std::ptrdiff_t>(i), found);
      break;
    }
  }
}

/// Asks the system, which may take long.
inline FoundAddresses LookUp(const std::string& host, int port) {
  FoundAddresses found;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (error != 0) {
    found.problem =
        "its name is unknown (it cannot be resolved: " + std::string(::gai_strerror(error)) + ")";
    return found;
  }
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    SocketAddress address;
    if (one->ai_addrlen > sizeof address.bytes) continue;
    std::memcpy(&address.bytes, one->ai_addr, one->ai_addrlen);
    address.size = one->ai_addrlen;
    found.addresses.push_back(address);
  }
  ::freeaddrinfo(list);
  if (found.addresses.empty()) found.problem = "its name has no address";
  TakeTurns(found.addresses);
  return found;
}

}  // namespace transport
}  // namespace v1
}  // namespace dtm
