/// Connects to the first of several addresses that accepts; one that swallows packets takes little of the time that they share.
/// Needs: POSIX. Threads: that of the loop. Source: RFC 8305 §5.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dtm/http/transport/io_loop.hpp>
#include <dtm/http/transport/socket.hpp>
#include <dtm/http/transport/timers.hpp>

namespace dtm {
inline namespace v1 {
namespace hosts {

class Connector final : private transport::Timer {
 public:
  /// A connected socket, watched by the loop already (IoLoop::Rewatch); or none and why, in words.
  using Done = std::function<void(transport::Socket, const std::string& problem)>;

  explicit Connector(transport::IoLoop& loop) : loop_(loop) {}
  ~Connector() { Cancel(); }

  /// Calls `done` once, perhaps at once, unless it is cancelled. Whoever has a deadline cancels it then.
  void Start(const std::vector<transport::SocketAddress>& addresses, SteadyTime deadline,
             Done done) {
    Cancel();
    addresses_ = addresses;
    next_ = 0;
    error_ = 0;
    done_ = std::move(done);
    // RFC 8305: 250 ms for each, less if they are many for the time there is.
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - transport::IoLoop::Clock::now());
    pause_ =
        (std::min)(std::chrono::milliseconds(250), left / static_cast<int>(addresses.size() + 1));
    TryNext();
  }

  void Cancel() {
    loop_.Cancel(*this);
    for (std::unique_ptr<Attempt>& attempt : attempts_) Drop(attempt);
    attempts_.clear();
    done_ = nullptr;
  }

 private:
  struct Attempt final : transport::Watcher {
    Attempt(Connector& connector, transport::Socket begun)
        : owner(connector), socket(std::move(begun)) {}
    void OnReady(transport::Readiness ready) override {
      if (socket.IsOpen()) owner.OnReady(*this, ready);
    }
    Connector& owner;
    transport::Socket socket;
  };

  void OnDeadline() override { TryNext(); }

  /// The next address; after a failure at once, else when those before had some time.
  void TryNext() {
    while (next_ < addresses_.size()) {
      int error = 0;
      transport::Socket socket = transport::BeginConnect(addresses_[next_++], error);
      if (error == 0) {
        auto attempt = std::make_unique<Attempt>(*this, std::move(socket));
        if (loop_.Watch(attempt->socket.Fd(), *attempt)) {
          attempts_.push_back(std::move(attempt));
          if (next_ < addresses_.size()) loop_.Set(*this, transport::IoLoop::Clock::now() + pause_);
          return;
        }
        error = errno;
      }
      error_ = error;
    }
    if (attempts_.empty()) Finish(transport::Socket(), Problem(error_));
  }

  void OnReady(Attempt& attempt, transport::Readiness ready) {
    if (!ready.writable && !ready.ended) return;
    const int error = transport::ConnectError(attempt.socket.Fd());
    if (error == EINPROGRESS) return;
    transport::Socket socket;
    if (error == 0) {
      socket = std::move(attempt.socket);
    } else {
      error_ = error;
    }
    const auto at = std::find_if(attempts_.begin(), attempts_.end(),
                                 [&attempt](const auto& one) { return one.get() == &attempt; });
    Drop(*at);
    attempts_.erase(at);
    if (error == 0) return Finish(std::move(socket), {});
    TryNext();
  }

  void Drop(std::unique_ptr<Attempt>& attempt) {
    // A forked child may have it too, and the loop would go on reporting it.
    if (attempt->socket.IsOpen()) loop_.Unwatch(attempt->socket.Fd());
    attempt->socket.Close();
    loop_.Dispose(std::move(attempt));
  }

  void Finish(transport::Socket socket, const std::string& problem) {
    const Done done = std::exchange(done_, nullptr);
    Cancel();
    if (done) done(std::move(socket), problem);
  }

  static std::string Problem(int error) {
    if (error == ECONNREFUSED) return "nothing listens there";
    if (error == EMFILE || error == ENFILE)
      return "no socket can be opened: " + transport::ErrorText(error) + "; see ulimit -n";
    return error == 0 ? "it has no address" : transport::ErrorText(error);
  }

  transport::IoLoop& loop_;
  std::vector<transport::SocketAddress> addresses_;
  std::size_t next_ = 0;
  std::chrono::milliseconds pause_{};
  int error_ = 0;
  std::vector<std::unique_ptr<Attempt>> attempts_;
  Done done_;
};

}  // namespace hosts
}  // namespace v1
}  // namespace dtm
