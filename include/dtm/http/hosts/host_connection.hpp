/// A connection to a host from its first call to its end: connects, sends a request, reads the reply, rests.
/// Needs: POSIX. Threads: that of the loop. Source: RFC 9112 §9.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <dtm/core/url.hpp>
#include <dtm/http/hosts/connector.hpp>
#include <dtm/http/hosts/http_call.hpp>
#include <dtm/http/hosts/resolver.hpp>
#include <dtm/http/http1/body_reader.hpp>
#include <dtm/http/http1/head_parser.hpp>
#include <dtm/http/transport/held_bytes.hpp>
#include <dtm/http/transport/socket_connection.hpp>

namespace dtm {
inline namespace v1 {
namespace hosts {

class HostConnection final : public transport::SocketConnection {
 public:
  /// The owner of the connection.
  class Owner {
   public:
    virtual const Url& Origin() const = 0;
    virtual TlsClient* Tls() = 0;
    /// What the connection keeps in memory for its call: `counted` so far, `now` from here on.
    virtual void Hold(std::size_t& counted, std::size_t now) = 0;
    /// Whether it may keep this much of a reply.
    virtual bool HasRoom(std::size_t size) const = 0;
    /// False: there are enough of them. True: Rest was called.
    virtual bool Keep(HostConnection& connection) = 0;
    /// Disposes of it.
    virtual void Drop(HostConnection& connection) = 0;
    /// `again`: on another connection, where it got no answer.
    virtual void SendFresh(std::unique_ptr<HttpCall> call, bool again) noexcept = 0;
    virtual void OnUnreachable() = 0;

   protected:
    virtual ~Owner() = default;
  };

  HostConnection(transport::IoLoop& loop, Owner& owner)
      : transport::SocketConnection(loop), owner_(owner), connector_(loop) {}

  /// Takes the first call; Connect follows. `again`: it was sent once, and lost. False: it was too late for it.
  bool Begin(std::unique_ptr<HttpCall> call, bool again) {
    call_ = std::move(call);
    sent_before_ = again;
    Recount();
    return InTime();
  }

  /// @throws std::bad_alloc  Fail has to follow.
  void Connect(const transport::FoundAddresses& found) {
    if (found.addresses.empty()) return NotReached(found.problem);
    connector_.Start(found.addresses, call_->deadline,
                     [this](transport::Socket socket, const std::string& problem) {
                       OnConnected(std::move(socket), problem);
                     });
  }

  /// The next call, on a connection that rested.
  void SendAgain(std::unique_ptr<HttpCall> call) {
    call_ = std::move(call);
    used_before_ = true;
    sent_before_ = false;
    parser_.Reset();
    body_.reset();
    outcome_ = HttpOutcome();
    Recount();
    if (InTime()) SendRequest();
  }

  /// For want of memory: answers the call, if there is one, and ends.
  void Fail() noexcept {
    if (call_ == nullptr) return Ended();
    try {
      outcome_.problem = "cannot be called: " + std::string(std::bad_alloc().what());
    } catch (...) {
    }
    Finish(outcome_.status == 0 ? Kind::kNoReply : Kind::kBrokeOff, false);
  }

  /// Idle until the next call; it ends if that takes too long.
  void Rest(SteadyTime until) { SetDeadline(until); }

  /// The call is not answered any more.
  void Abandon() {
    connector_.Cancel();
    call_.reset();
    Recount();
    Close();
  }

  std::size_t place = 0;  ///< the owner's

 private:
  using Kind = HttpOutcome::Kind;
  static constexpr const char* kNoAnswer = "closed the connection without a valid HTTP answer";

  /// Nothing is sent after the deadline, nor if it may not be.
  bool InTime() {
    if (transport::IoLoop::Clock::now() >= call_->deadline) {
      Finish(Kind::kLate, false);
      return false;
    }
    SetDeadline(call_->deadline);
    if (call_->MaySend()) return true;
    outcome_.problem = kNoAnswer;
    Finish(sent_before_ ? Kind::kNoReply : Kind::kNotAllowed, false);
    return false;
  }

  void NotReached(const std::string& problem) {
    owner_.OnUnreachable();
    outcome_.problem = "cannot be reached: " + problem;
    Finish(Kind::kNotReached, false);
  }

  void OnConnected(transport::Socket socket, const std::string& problem) {
    if (!socket.IsOpen()) return NotReached(problem);
    const Url& origin = owner_.Origin();
    std::unique_ptr<transport::TlsSession> tls;
    if (origin.Tls()) {
      try {
        if (owner_.Tls() == nullptr) throw Error("this program was made without TLS");
        tls = owner_.Tls()->Connect(socket.Fd(), origin.host);
      } catch (const std::exception& error) {
        Loop().Unwatch(socket.Fd());
        return NotReached(error.what());
      }
    }
    if (!Open(std::move(socket), std::move(tls), true))
      return NotReached("the system watches no more sockets");
    if (InTime()) SendRequest();
  }

  void SendRequest() {
    Write(call_->request);
    if (Unsent() > 0) Recount();
  }

  void OnSent() override { Recount(); }

  void OnSecure() override { (void)InTime(); }

  void OnBytes(std::string_view bytes) override {
    if (call_ == nullptr) return Ended();  // nobody asked for them
    if (!body_) {
      const http1::Parsed parsed = parser_.Take(bytes);
      // An answer has begun, so it is not sent again.
      if (call_->request.size() > transport::HeldBytes::kSmall) std::string().swap(call_->request);
      Recount();
      if (parsed == http1::Parsed::kRefused) return Invalid(parser_.Why());
      if (!owner_.HasRoom(parser_.Head().Bytes())) return NoRoom();
      if (parsed == http1::Parsed::kMore) return;
      const http1::MessageHead& head = parser_.Head();
      outcome_.status = head.Status();
      outcome_.encoded = head.BodyFraming().encoded;
      body_.emplace(http1::MessageKind::kReply, head.BodyFraming());
      body_bytes_ = 0;
      const bool length_known = head.BodyFraming().body == http1::Framing::Body::kLength;
      if (length_known && head.BodyFraming().length > call_->max_body)
        return Finish(Kind::kTooLong, false);
    }
    const http1::Parsed parsed =
        body_->Take(bytes, [this](std::string_view piece) { TakeBody(piece); });
    if (parsed == http1::Parsed::kRefused) return Invalid(body_->Why());
    if (body_bytes_ > call_->max_body) return Finish(Kind::kTooLong, false);
    if (parsed == http1::Parsed::kDone)
      Finish(Kind::kReply,
             bytes.empty() && Unsent() == 0 && parser_.Head().BodyFraming().keep_alive);
  }

  /// Without room in memory it is read all the same, since what its status and its words say counts.
  void TakeBody(std::string_view piece) {
    body_bytes_ += piece.size();
    std::size_t kept = (std::min)(piece.size(), call_->keep_body - outcome_.body.size());
    outcome_.crowded =
        outcome_.crowded || (kept > 0 && !owner_.HasRoom(outcome_.body.size() + kept));
    if (outcome_.crowded) kept = 0;
    outcome_.body.append(piece.substr(0, kept));
    outcome_.cut = outcome_.cut || kept < piece.size();
    Recount();
    call_->OnBody(piece, kept);
  }

  /// Not even for its head, which is unusually long.
  void NoRoom() {
    outcome_.problem = HttpOutcome::kNoRoom;
    Finish(Kind::kBrokeOff, false);
  }

  void Invalid(const http1::Refusal& why) {
    outcome_.problem = std::string(outcome_.status == 0 ? "ended without a valid HTTP answer: "
                                                        : "broke off its answer: ") +
                       why.text;
    Finish(outcome_.status == 0 ? Kind::kInvalid : Kind::kBrokeOff, false);
  }

  void OnEnd(bool broken) override {
    if (call_ == nullptr) return Ended();
    if (body_ && !broken && body_->End()) return Finish(Kind::kReply, false);
    const std::string tls = TlsProblem();
    if (InHandshake())
      return NotReached("TLS is not agreed on: " +
                        (tls.empty() ? "the connection was closed" : tls));
    if (used_before_ && !parser_.Begun()) {
      // The host closed it while it rested, or at the very moment it was used again: as a rule the request did not
      // arrive, and a fresh connection settles it at once. The worst case is a request that arrives twice, which
      // the other side has to take in any case.
      std::unique_ptr<HttpCall> call = std::move(call_);
      Ended();
      return owner_.SendFresh(std::move(call), true);
    }
    outcome_.problem = outcome_.status == 0 ? kNoAnswer : "broke off its answer";
    if (!tls.empty()) outcome_.problem += " (" + tls + ")";
    Finish(outcome_.status == 0 ? Kind::kNoReply : Kind::kBrokeOff, false);
  }

  void OnDeadline() override {
    if (call_ == nullptr) return Ended();
    Finish(Kind::kLate, false);
  }

  void OnNoMemory() override { Fail(); }

  void Ended() {
    Recount();
    connector_.Cancel();
    Close();
    owner_.Drop(*this);
  }

  /// `reusable`: the connection can take another call.
  void Finish(Kind kind, bool reusable) {
    const std::unique_ptr<HttpCall> call = std::move(call_);
    Recount();  // whoever waits for room gets it now
    HttpOutcome outcome = std::move(outcome_);
    outcome.kind = kind;
    if (outcome.status != 0) outcome.head = &parser_.Head();
    if (!reusable || !owner_.Keep(*this)) Ended();
    try {
      call->OnDone(std::move(outcome));
    } catch (...) {  // for want of memory, and this connection may be gone: what it kept counts
    }
  }

  /// The request, as long as it may have to be sent again, and what waits for the socket; what is kept of the reply.
  void Recount() {
    const std::size_t reply = parser_.Head().Bytes() + outcome_.body.capacity();
    owner_.Hold(counted_, call_ == nullptr ? 0 : call_->request.size() + Unsent() + reply);
  }

  Owner& owner_;
  Connector connector_;
  std::unique_ptr<HttpCall> call_;  ///< null: it rests
  http1::HeadParser parser_{http1::MessageKind::kReply};
  std::optional<http1::BodyReader> body_;
  HttpOutcome outcome_;
  std::size_t body_bytes_ = 0;
  std::size_t counted_ = 0;  ///< by the owner
  bool used_before_ = false;
  bool sent_before_ = false;  ///< its first call, on another connection
};

}  // namespace hosts
}  // namespace v1
}  // namespace dtm
