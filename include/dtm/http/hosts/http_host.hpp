/// Sends requests to one host: its addresses, and connections that are kept for the next request.
/// Needs: POSIX. Threads: that of the loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <dtm/core/url.hpp>
#include <dtm/http/hosts/host_connection.hpp>
#include <dtm/http/hosts/http_call.hpp>
#include <dtm/http/hosts/resolver.hpp>
#include <dtm/http/transport/held_bytes.hpp>
#include <dtm/http/transport/io_loop.hpp>
#include <dtm/http/transport/tls_session.hpp>

namespace dtm {
inline namespace v1 {
namespace hosts {

/// What all hosts of a client share; it outlives them.
struct HostParts {
  transport::IoLoop& loop;
  Resolver& resolver;
  TlsClient* tls = nullptr;  ///< null: https is not to be had
  Duration keep_idle = std::chrono::seconds(4);
  std::size_t max_idle = 1280;  ///< connections that are kept, of all hosts
  std::size_t idle = 0;
  transport::HeldBytes held{std::size_t{64}
                            << 20};  ///< requests and replies of the calls in flight
};

class HttpHost final : HostConnection::Owner {
 public:
  HttpHost(HostParts& parts, Url url)
      : parts_(parts), url_(std::move(url)), self_(std::make_shared<HttpHost*>(this)) {
    always_known_ = Resolver::IsKnown(url_.host, url_.port, found_);
  }
  /// Calls that are out are not answered any more.
  ~HttpHost() override {
    parts_.idle -= idle_.size();
    for (std::unique_ptr<HostConnection>& connection : connections_) {
      connection->Abandon();
      parts_.loop.Dispose(std::move(connection));
    }
  }
  HttpHost(const HttpHost&) = delete;
  HttpHost& operator=(const HttpHost&) = delete;

  const Url& Where() const { return url_; }

  /// On a connection that is kept if there is one, else on a new one.
  void Send(std::unique_ptr<HttpCall> call) noexcept {
    if (idle_.empty()) return SendFresh(std::move(call), false);
    HostConnection* const connection = idle_.back();  // the one that rested least
    idle_.pop_back();
    --parts_.idle;
    try {
      connection->SendAgain(std::move(call));
    } catch (const std::bad_alloc&) {
      connection->Fail();
    }
  }

  std::size_t Connections() const { return connections_.size(); }
  std::size_t Idle() const { return idle_.size(); }
  /// What its calls hold of parts.held.
  std::size_t Bytes() const { return bytes_; }

 private:
  /// How long addresses are trusted without asking again.
  static constexpr std::chrono::seconds kAddressesStay{1};

  // What connections want.

  const Url& Origin() const override { return url_; }
  TlsClient* Tls() override { return parts_.tls; }
  void Hold(std::size_t& counted, std::size_t now) override {
    bytes_ = bytes_ - counted + now;
    parts_.held.Change(counted, now);
  }
  bool HasRoom(std::size_t size) const override { return parts_.held.Allow(size); }

  void SendFresh(std::unique_ptr<HttpCall> call, bool again) noexcept override {
    HostConnection* connection = nullptr;
    try {
      idle_.reserve(connections_.capacity() + 1);  // so that nothing that ends a call needs memory
      waiting_.reserve(connections_.capacity() + 1);
      connections_.push_back(std::make_unique<HostConnection>(
          parts_.loop, static_cast<HostConnection::Owner&>(*this)));
      connection = connections_.back().get();
      connection->place = connections_.size() - 1;
      if (connection->Begin(std::move(call), again)) Connect(*connection);
    } catch (const std::bad_alloc&) {
      if (connection != nullptr) return connection->Fail();
      HttpOutcome outcome;
      outcome.kind = HttpOutcome::Kind::kNotReached;
      call->OnDone(std::move(outcome));
    }
  }

  void Connect(HostConnection& connection) {
    if (always_known_ || transport::IoLoop::Clock::now() < believed_until_)
      return connection.Connect(found_);
    waiting_.push_back(&connection);
    if (waiting_.size() > 1) return;
    // The answer may come when this host is gone, or even another one is at its place.
    const std::weak_ptr<HttpHost*> self = self_;
    parts_.resolver.Find(url_.host, url_.port, [self](transport::FoundAddresses found) {
      if (const auto host = self.lock()) (*host)->OnFound(std::move(found));
    });
  }

  bool Keep(HostConnection& connection) override {
    if (parts_.idle >= parts_.max_idle) return false;
    idle_.push_back(&connection);
    ++parts_.idle;
    connection.Rest(parts_.loop.Now() + parts_.keep_idle);
    return true;
  }

  void OnUnreachable() override { believed_until_ = SteadyTime(); }

  void Drop(HostConnection& connection) override {
    const auto rested = std::find(idle_.begin(), idle_.end(), &connection);
    if (rested != idle_.end()) {
      idle_.erase(rested);
      --parts_.idle;
    }
    waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), &connection), waiting_.end());
    std::unique_ptr<HostConnection>& place = connections_[connection.place];
    std::swap(place, connections_.back());
    place->place = connection.place;
    parts_.loop.Dispose(std::move(connections_.back()));
    connections_.pop_back();
  }

  void OnFound(transport::FoundAddresses found) {
    found_ = std::move(found);
    believed_until_ =
        found_.addresses.empty() ? SteadyTime() : transport::IoLoop::Clock::now() + kAddressesStay;
    const std::vector<HostConnection*> waiting = std::exchange(waiting_, {});
    for (HostConnection* connection : waiting) {
      try {
        connection->Connect(found_);
      } catch (const std::bad_alloc&) {
        connection->Fail();
      }
    }
  }

  HostParts& parts_;
  const Url url_;
  const std::shared_ptr<HttpHost*> self_;
  bool always_known_ = false;
  transport::FoundAddresses found_;
  SteadyTime believed_until_{};
  std::size_t bytes_ = 0;
  std::vector<std::unique_ptr<HostConnection>> connections_;
  std::vector<HostConnection*> idle_;     ///< the freshest at the back
  std::vector<HostConnection*> waiting_;  ///< for addresses
};

}  // namespace hosts
}  // namespace v1
}  // namespace dtm
