/// Sends requests to one host, one at a time, and waits for them on the thread of the caller.
/// Needs: POSIX. Threads: one at a time; none of its own, but for names that are being resolved.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <string_view>
#include <utility>

#include <dtm/core/url.hpp>
#include <dtm/http/hosts/http_call.hpp>
#include <dtm/http/hosts/http_host.hpp>
#include <dtm/http/hosts/resolver.hpp>
#include <dtm/http/transport/io_loop.hpp>

namespace dtm {
inline namespace v1 {
namespace hosts {

class BlockingHost {
 public:
  /// @throws Error  no file descriptor is available.
  explicit BlockingHost(const Url& url, std::shared_ptr<TlsClient> tls = nullptr)
      : tls_(std::move(tls)), host_(std::make_unique<HttpHost>(parts_, url)) {}
  /// Waits for a name that is being resolved: getaddrinfo cannot be interrupted.
  ~BlockingHost() {
    host_.reset();
    resolver_.Stop();
  }
  BlockingHost(const BlockingHost&) = delete;
  BlockingHost& operator=(const BlockingHost&) = delete;

  /// Returns when call.OnDone has been called, a little after its deadline at the latest.
  void Send(HttpCall& call) {
    loop_.Poll(std::chrono::microseconds(0));  // what was closed meanwhile is noticed now
    done_ = false;
    host_->Send(std::make_unique<Relay>(call, done_));
    while (!done_) loop_.Poll(kLook);
  }

  /// A connection is kept for the next request.
  bool IsOpen() const { return host_->Idle() > 0; }

 private:
  static constexpr std::chrono::seconds kLook{1};

  struct Relay final : HttpCall {
    Relay(HttpCall& call, bool& over) : to(call), done(over) {
      request = call.request;
      deadline = call.deadline;
      keep_body = call.keep_body;
      max_body = call.max_body;
    }
    bool MaySend() const override { return to.MaySend(); }
    void OnBody(std::string_view piece, std::size_t kept) override { to.OnBody(piece, kept); }
    void OnDone(HttpOutcome outcome) override {
      done = true;
      to.OnDone(std::move(outcome));
    }
    HttpCall& to;
    bool& done;
  };

  std::shared_ptr<TlsClient> tls_;
  transport::IoLoop loop_;
  Resolver resolver_{loop_};
  // Nobody looks at it between requests, so nothing ends for having rested; the other side sees to that.
  HostParts parts_{loop_, resolver_, tls_.get(), std::chrono::hours(24)};
  std::unique_ptr<HttpHost> host_;
  bool done_ = false;  ///< the call that is waited for
};

}  // namespace hosts
}  // namespace v1
}  // namespace dtm
