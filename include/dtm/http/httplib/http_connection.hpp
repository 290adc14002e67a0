/// One request and its answer on a keep-alive connection, whoever the other side is.
/// Needs: cpp-httplib, POSIX. Threads: one at a time, but for Break(); SIGPIPE must be blocked.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

#include <httplib.h>

#include <dtm/base/os.hpp>
#include <dtm/base/text.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/httplib/guarded_client.hpp>
#include <dtm/http/wire/base64.hpp>
#include <dtm/http/wire/retry_after.hpp>

namespace dtm {
inline namespace v1 {

/// What came of a request.
struct Exchanged {
  httplib::Error error = httplib::Error::Success;
  bool found = false;     ///< its name had an address, and a socket for it was opened
  bool answered = false;  ///< a status line and headers came
  bool too_long = false;
  bool encoded = false;
  int status = 0;
  Duration retry_after{};  ///< of a 425, 429 or 503: do not ask again before
  std::string body;

  bool Complete() const {
    return error == httplib::Error::Success && answered && !too_long && !encoded;
  }

  bool NotReached() const {
    return error == httplib::Error::Connection || error == httplib::Error::ConnectionTimeout;
  }

  /// Why there is no whole answer.
  std::string Problem() const {
    if (answered) return "its answer broke off";
    if (!NotReached()) return httplib::to_string(error);
    if (found) return "nothing listens there";
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return "no socket can be opened: " + os::LastErrorText();
    ::close(fd);
    return "its name is unknown (it cannot be resolved)";
  }
};

/// User and password of a URL, as the value of Authorization.
inline std::string BasicAuthorization(const Url& url) {
  return "Basic " + base64::Encode(url.credentials);
}

class HttpConnection {
 public:
  HttpConnection(const Url& url, std::size_t max_body) : max_body_(max_body), client_(url) {}

  /// Afterwards IsOpen() says whether the connection can take another request.
  Exchanged Send(httplib::Request request, SteadyTime deadline) {
    const bool reused = client_.IsClean();
    if (!reused && client_.IsOpen()) client_.Close();
    const bool rested = reused && std::chrono::steady_clock::now() - last_used_ >= kRested;
    Exchanged reply = Try(request, deadline);
    // A connection that rested may have been closed by the server at the very moment we used it
    // again; the request never reached it then, and a fresh connection settles it at once. Whether
    // it really did not arrive cannot be known, so it is done once, only before the first byte of
    // an answer and only after a rest: a busy connection does not close for idleness, its
    // server died at work, and that is retried at the pace of the transaction. The worst case is
    // a request that arrives twice, which the other side must be able to take in any case.
    const bool unanswered =
        reply.error == httplib::Error::Read || reply.error == httplib::Error::Write;
    if (rested && unanswered && !reply.answered && !Passed(deadline)) {
      reply = Try(request, deadline);
    }
    last_used_ = std::chrono::steady_clock::now();
    return reply;
  }

  /// From the next answer on.
  void LimitBody(std::size_t max_body) { max_body_ = max_body; }

  bool IsOpen() const { return client_.IsOpen(); }

  /// Any thread: ends what Send waits for, as far as there is a socket yet.
  void Break() { client_.Break(); }

  /// The timeouts inside httplib are a little early, and a shut down socket a little late.
  static bool Passed(SteadyTime deadline) {
    return std::chrono::steady_clock::now() + std::chrono::milliseconds(2) >= deadline;
  }

 private:
  static constexpr std::chrono::milliseconds kRested{500};

  Exchanged Try(httplib::Request& request, SteadyTime deadline) {
    Exchanged reply;
    request.response_handler = [&reply](const httplib::Response& response) {
      reply.answered = true;
      reply.status = response.status;
      if (response.status == 425 || response.status == 429 || response.status == 503) {
        reply.retry_after = retry_after::Wait(
            response.get_header_value("Retry-After"), response.get_header_value("Date"),
            std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()));
      }
      return true;
    };
    request.content_receiver = [this, &reply](const char* data, std::size_t size, auto, auto) {
      const std::size_t room = max_body_ - reply.body.size();
      reply.too_long = size > room;
      reply.body.append(data, reply.too_long ? room : size);
      return !reply.too_long;
    };
    httplib::Response response;
    const bool sent = client_.Send(request, response, reply.error, deadline);
    reply.found = client_.Found();
    if (sent) {
      reply.error = httplib::Error::Success;
      reply.answered = true;
      reply.status = response.status;
    }
    if (reply.answered) {
      const std::string coding = Lowered(response.get_header_value("Content-Encoding"));
      reply.encoded = !coding.empty() && coding != "identity";
    }
    return reply;
  }

  std::size_t max_body_;
  GuardedClient client_;
  SteadyTime last_used_{};
};

}  // namespace v1
}  // namespace dtm
