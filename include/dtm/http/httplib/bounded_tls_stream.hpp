/// BoundedStream over TLS: the same limits and deadline for what OpenSSL decrypts.
/// Needs: cpp-httplib with OpenSSL, POSIX. Threads: one at a time.
///
/// Only for httplib before 0.20, as BoundedStream; newer versions have limits themselves.
#pragma once

#include <httplib.h>

#if defined(CPPHTTPLIB_OPENSSL_SUPPORT)

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <dlfcn.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <dtm/http/httplib/bounded_stream.hpp>

namespace dtm {
inline namespace v1 {
namespace guard {

/// OpenSSL as httplib uses it. Looked up, not linked: Debian's cpp-httplib is linked with it, but the programs that use
/// cpp-httplib are not.
struct OpenSsl {
  decltype(&::SSL_read) read = Find<decltype(&::SSL_read)>("SSL_read");
  decltype(&::SSL_write) write = Find<decltype(&::SSL_write)>("SSL_write");
  decltype(&::SSL_pending) pending = Find<decltype(&::SSL_pending)>("SSL_pending");
  decltype(&::SSL_get_error) get_error = Find<decltype(&::SSL_get_error)>("SSL_get_error");
  decltype(&::ERR_clear_error) clear_error = Find<decltype(&::ERR_clear_error)>("ERR_clear_error");

  bool Found() const {
    return read != nullptr && write != nullptr && pending != nullptr && get_error != nullptr &&
           clear_error != nullptr;
  }

 private:
  template <typename Function>
  static Function Find(const char* name) {
    return reinterpret_cast<Function>(::dlsym(RTLD_DEFAULT, name));
  }
};

class BoundedTlsStream : public BoundedStream {
 public:
  BoundedTlsStream(const OpenSsl& openssl, SSL* ssl, int fd, SteadyTime deadline)
      : BoundedStream(fd, deadline), openssl_(openssl), ssl_(ssl) {}

 private:
  // The socket blocks, so a record that comes in drops can outlast the deadline: whoever cannot have that breaks the
  // connection (GuardedClient::Send).
  ssize_t ReceiveSome(char* to, std::size_t size) override {
    openssl_.clear_error();
    return Outcome(openssl_.read(ssl_, to, Length(size)));
  }
  ssize_t SendSome(const char* from, std::size_t size) override {
    openssl_.clear_error();
    return Outcome(openssl_.write(ssl_, from, Length(size)));
  }
  /// What is decrypted already, poll does not know of.
  bool MayReceive() const override { return openssl_.pending(ssl_) > 0 || Wait(POLLIN); }

  static int Length(std::size_t size) {
    return static_cast<int>((std::min)(size, std::size_t{INT_MAX}));
  }

  /// As of recv and send. An end that TLS did not announce may be somebody's who cut the answer: an error.
  ssize_t Outcome(int done) const {
    if (done > 0) return done;
    const int error = openssl_.get_error(ssl_, done);
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EIO;
    return -1;
  }

  const OpenSsl& openssl_;
  SSL* ssl_;
};

}  // namespace guard
}  // namespace v1
}  // namespace dtm

#endif
