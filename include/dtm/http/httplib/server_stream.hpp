/// The bytes of a connection to our server: many requests, each with its own deadlines.
/// Needs: cpp-httplib, POSIX. Threads: one at a time. Document: docs/http_api.md, "Security".
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <poll.h>
#include <string>
#include <sys/types.h>

#include <dtm/http/httplib/bounded_stream.hpp>
#include <dtm/http/httplib/smuggling_guard.hpp>

namespace dtm {
inline namespace v1 {
namespace guard {

struct ServerLimits {
  int max_connections = 1024;
  std::chrono::seconds head{5};   ///< from the first byte of a request to the end of its head
  std::chrono::seconds body{30};  ///< from there to the end of its body; and to send the answer
  std::chrono::seconds idle{60};  ///< without a request
};

/// Many requests, one after the other. Implements what all versions of httplib ask of a stream;
/// without `override`, which some functions could not have with some versions, and Clang wants for all or none.
class ServerStream final : public BoundedStream {
 public:
  ServerStream(int fd, const ServerLimits& limits)
      : BoundedStream(fd, SteadyTime{}), limits_(limits) {}

  virtual bool wait_readable() const { return is_readable(); }
  virtual bool wait_writable() const { return Wait(POLLOUT); }
  virtual std::time_t duration() const { return 0; }

  /// False: the connection ended, or was idle for too long.
  bool NextRequest() {
    SetDeadline(Clock::now() + limits_.idle);
    if (!HasUnread() && Fill() <= 0) return false;
    SetDeadline(Clock::now() + limits_.head);
    request_ = SmugglingGuard();
    answer_head_.clear();
    return true;
  }

  virtual ssize_t write(const char* from, std::size_t size) {
    if (answer_head_.find("\r\n\r\n") == std::string::npos) {
      answer_head_.append(from, (std::min)(size, std::size_t{4096}));
      const bool interim = answer_head_.compare(0, 10, "HTTP/1.1 1") == 0;
      const std::size_t end = answer_head_.find("\r\n\r\n");
      if (interim && end != std::string::npos) answer_head_.erase(0, end + 4);
    }
    SetDeadline(Clock::now() + limits_.body);
    return BoundedStream::write(from, size);
  }

  /// The answer said that the connection ends with it.
  bool SaidClose() const {
    const std::size_t end = answer_head_.find("\r\n\r\n");
    return answer_head_.find("\r\nConnection: close\r\n") < end;
  }

 private:
  using Clock = std::chrono::steady_clock;
  virtual bool Accept(const char* bytes, std::size_t size, std::size_t) {
    const bool in_head = !request_.HeadIsComplete();
    if (!request_.Take({bytes, size})) return false;
    if (in_head && request_.HeadIsComplete()) SetDeadline(Clock::now() + limits_.body);
    return true;
  }

  const ServerLimits limits_;
  SmugglingGuard request_;
  std::string answer_head_;
};

}  // namespace guard
}  // namespace v1
}  // namespace dtm
