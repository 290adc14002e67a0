/// One request to be sent, and what came of it.
/// Needs: std. Threads: that of the loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include <dtm/http/http1/message_head.hpp>
#include <dtm/http/transport/timers.hpp>

namespace dtm {
inline namespace v1 {
namespace hosts {

struct HttpOutcome {
  enum class Kind {
    kReply,       ///< a whole one
    kTooLong,     ///< its status is known, the rest of its body was not read
    kBrokeOff,    ///< in the middle of a reply; its status may be known
    kNoReply,     ///< the connection ended before one
    kInvalid,     ///< what came is no HTTP
    kNotReached,  ///< nothing was sent
    kNotAllowed,  ///< nothing was sent, see MaySend
    kLate         ///< the deadline has passed
  };
  /// The problem of a reply that cannot do without its body, or whose head is too long.
  static constexpr const char* kNoRoom =
      "answered while the requests and replies of all calls take too much memory; it is called "
      "again";

  Kind kind = Kind::kReply;
  int status = 0;  ///< 0: not known
  const http1::MessageHead* head =
      nullptr;       ///< of the reply; null without a status. Gone when OnDone begins the next call
  std::string body;  ///< at most keep_body bytes
  bool cut = false;  ///< there was more
  bool crowded = false;  ///< and it was not kept because there was no room in memory
  bool encoded = false;  ///< the body is compressed, or coded in another way
  std::string problem;   ///< in words, to follow the name of the host
};

class HttpCall {
 public:
  virtual ~HttpCall() = default;

  std::string request;  ///< its bytes, see RequestText
  SteadyTime deadline{};
  std::size_t keep_body = 64 * 1024;       ///< the rest is only shown to OnBody
  std::size_t max_body = 8 * 1024 * 1024;  ///< a longer one is not read to its end

  /// Asked directly before its first byte is written, on each connection. False: it is not sent.
  virtual bool MaySend() const { return true; }
  /// Each piece of the reply's body, as it comes. `kept`: so much of it will be in the outcome.
  virtual void OnBody(std::string_view, std::size_t kept) { (void)kept; }
  /// Once, at the latest a little after the deadline; not if the host is destroyed before.
  virtual void OnDone(HttpOutcome outcome) = 0;
};

}  // namespace hosts
}  // namespace v1
}  // namespace dtm
