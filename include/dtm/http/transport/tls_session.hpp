/// What the transport needs of TLS. It is implemented in another file, so that a program without https needs no library for it.
/// Needs: std. Threads: a session belongs to its connection, a TlsClient may be shared by all threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <dtm/http/transport/socket.hpp>

namespace dtm {
inline namespace v1 {

namespace transport {

/// TLS on one connected socket that does not block. Whatever waits may go on when the socket is readable or writable.
class TlsSession {
 public:
  virtual ~TlsSession() = default;
  /// kSome: it is done.
  virtual Moved Handshake() = 0;
  /// An end that the other side did not announce is kBroken: somebody may have cut off the rest.
  virtual Moved Receive(char* to, std::size_t size) = 0;
  virtual Moved Send(const char* from, std::size_t size) = 0;
  /// Why something is broken, in words; empty: the connection itself is.
  virtual std::string Problem() const = 0;
};

}  // namespace transport

/// Makes the sessions of outgoing connections.
class TlsClient {
 public:
  virtual ~TlsClient() = default;
  /// `host`: whose certificate it has to be, a name or an address.
  /// @throws Error  there is no session to be had.
  virtual std::unique_ptr<transport::TlsSession> Connect(int fd, const std::string& host) = 0;
};

}  // namespace v1
}  // namespace dtm
