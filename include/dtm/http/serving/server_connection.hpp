/// A connection to our server: requests one after the other, each with its deadlines, and their replies.
/// Needs: POSIX. Threads: that of the loop. Source: RFC 9112 §9; document: docs/http_api.md, "Security".
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <utility>

#include <dtm/http/api/head.hpp>
#include <dtm/http/api/replies.hpp>
#include <dtm/http/serving/bytes_ahead.hpp>
#include <dtm/http/serving/incoming_request.hpp>
#include <dtm/http/serving/limits.hpp>
#include <dtm/http/serving/reply_text.hpp>
#include <dtm/http/serving/request_handler.hpp>
#include <dtm/http/transport/held_bytes.hpp>
#include <dtm/http/transport/io_loop.hpp>
#include <dtm/http/transport/socket_connection.hpp>

namespace dtm {
inline namespace v1 {
namespace serving {

class ServerConnection final : public transport::SocketConnection {
 public:
  ServerConnection(transport::IoLoop& loop, RequestHandler& handler)
      : SocketConnection(loop), handler_(handler) {}
  ~ServerConnection() override { handler_.Held().Change(counted_, 0); }

  /// False: the system has no room for it.
  bool Serve(transport::Socket socket) {
    SetDeadline(Loop().Now() + handler_.Limits().idle);
    return Open(std::move(socket), nullptr);
  }

  /// The server is full. The client is told once it has sent something: a reply to nothing confuses clients.
  bool TurnAway(transport::Socket socket) {
    turned_away_ = true;
    state_ = State::kTurnedAway;
    SetDeadline(Loop().Now() + kPatience);
    return Open(std::move(socket), nullptr);
  }

  /// The reply to what Handle was given.
  void Reply(const ApiReply& reply) {
    if (state_ != State::kAnswering) return;
    state_ = State::kSending;
    asked_bytes_ = 0;
    Send(reply);
    if (IsOpen() && Unsent() == 0) OnSent();
    Recount();
  }

  /// The server stops. Whoever waits for a reply gets it; no further request is read.
  void Finish() {
    stopping_ = true;
    if (state_ == State::kReading || state_ == State::kTurnedAway) return Gone();
    if (state_ != State::kAnswering) SetDeadline(Loop().Now() + kPatience);
  }

  bool TurnedAway() const { return turned_away_; }

  // The handler's.
  std::size_t place = 0;
  std::uint64_t asked = 0;  ///< the number of the request that is being answered

 private:
  using Parsed = http1::Parsed;
  enum class State {
    kReading,     ///< a request, or nothing
    kAnswering,   ///< the API has a request
    kSending,     ///< a reply that did not leave at once
    kLast,        ///< a reply after which the connection ends, perhaps sent already
    kTurnedAway,  ///< the server is full
  };

  static constexpr std::chrono::milliseconds kPatience{200};
  static constexpr std::size_t kMaxAhead = std::size_t{64} * 1024;

  void OnBytes(std::string_view bytes) override {
    switch (state_) {
      case State::kReading: {
        const std::string_view rest = Consume(bytes);
        if (!rest.empty() && IsOpen()) KeepAhead(rest);
        break;
      }
      case State::kAnswering:
      case State::kSending: KeepAhead(bytes); break;
      case State::kTurnedAway:
        return Last(replies::Of({503, "too many connections; close some or try again"}));
      case State::kLast: return;  // read, so that closing does not take the reply back
    }
    Recount();
  }

  /// A client that sends faster than we reply has to wait; without room in memory, the reply at hand is its last.
  void KeepAhead(std::string_view bytes) {
    ahead_.Append(bytes);
    Recount();
    if (!handler_.Held().Allow(counted_)) {
      form_.close = true;
      ahead_.Clear();
    }
    if (form_.close || ahead_.View().size() > kMaxAhead) Pause();
  }

  /// Reads up to the end of a request; returns what follows it.
  std::string_view Consume(std::string_view bytes) {
    const ServingLimits& limits = handler_.Limits();
    if (request_ == nullptr) request_ = handler_.NewRequest();
    IncomingRequest& request = *request_;
    if (!request.HasHead()) {
      const bool begins = !request.Begun();
      const Parsed head = request.TakeHead(bytes);
      if (head == Parsed::kRefused) return Invalid();
      if (head == Parsed::kMore) {
        if (begins) SetDeadline(Loop().Now() + limits.head);
        (void)HasRoom(0);
        return {};
      }
      if (const std::optional<ApiReply> refusal = handler_.Refusal(request.Request())) {
        Last(*refusal);
        return {};
      }
      if (!HasRoom(static_cast<std::size_t>(request.Framing().length))) return {};
      const bool more = request.TakeBody(bytes) == Parsed::kMore;
      if (more) SetDeadline(Loop().Now() + limits.body);
      if (more && request.Framing().expects_continue && request.Request().body.empty())
        Write("HTTP/1.1 100 Continue\r\n\r\n");
    }
    const Parsed body = request.TakeBody(bytes);
    if (request.TooLong()) {
      Last(api_head::TooLong());
    } else if (body == Parsed::kRefused) {
      return Invalid();
    } else if (body == Parsed::kMore) {
      (void)HasRoom(0);
    } else {
      Ask();
      return bytes;
    }
    return {};
  }

  /// For what it has and `more`; if not, it is told.
  bool HasRoom(std::size_t more) {
    Recount();
    if (handler_.Held().Allow(counted_ + more)) return true;
    Last(replies::Of({503, "the requests and replies at hand take too much memory; try again"}));
    return false;
  }

  std::string_view Invalid() {
    const http1::Refusal& why = request_->Problem();
    Last(why.status == 413
             ? api_head::TooLong()
             : api_head::Refusal(why.status,
                                 std::string("this is not valid HTTP for a server: ") + why.text));
    return {};
  }

  void Ask() {
    state_ = State::kAnswering;
    form_.to_head = request_->Request().method == "HEAD";
    form_.old_version = request_->OldVersion();
    form_.close = !request_->Framing().keep_alive;
    std::unique_ptr<IncomingRequest> request = std::move(request_);
    asked_bytes_ = handler_.Handle(*this, request->Request());
    handler_.UseAgain(std::move(request));
  }

  void Last(const ApiReply& reply) {
    if (request_ != nullptr) form_.to_head = request_->Request().method == "HEAD";
    request_.reset();
    state_ = State::kSending;
    form_.close = true;
    Send(reply);
    if (IsOpen() && Unsent() == 0) OnSent();
    Recount();
  }

  void Send(const ApiReply& reply) {
    form_.close = form_.close || reply.close || stopping_;
    form_.idle_seconds =
        std::chrono::duration_cast<std::chrono::seconds>(handler_.Limits().idle).count();
    if (form_.close) {
      state_ = State::kLast;
      ahead_.Clear();
    }
    Write(ReplyText(reply, form_));
    if (Unsent() > 0) SetDeadline(Loop().Now() + (stopping_ ? kPatience : handler_.Limits().reply));
    if (form_.close && paused_) Resume();  // closing with unread bytes would take the reply back
  }

  void OnSent() override {
    if (CannotSend()) return Gone();
    const bool last = state_ == State::kSending && (stopping_ || form_.close);
    if (state_ == State::kLast || last) {
      state_ = State::kLast;
      if (last && paused_) Resume();
      if (!IsOpen()) return;
      if (ended_) return Gone();
      (void)::shutdown(Fd(), SHUT_WR);
      SetDeadline(Loop().Now() + (stopping_ ? kPatience : handler_.Limits().linger));
    } else if (state_ == State::kSending) {
      state_ = State::kReading;
      SetDeadline(Loop().Now() + handler_.Limits().idle);
      Next();
    }
  }

  /// Goes on with what came while the previous request was being answered.
  void Next() {
    if (!ahead_.Empty()) {
      const std::size_t left = Consume(ahead_.View()).size();
      if (!IsOpen() || state_ == State::kLast) return;
      ahead_.Keep(left);
    }
    if (ahead_.Empty() && paused_) return Resume();
    if (ahead_.Empty() && ended_ && state_ == State::kReading) EndOfRequests();
  }

  void OnEnd(bool broken) override {
    ended_ = true;
    if (broken) return Gone();
    if (state_ == State::kReading) return EndOfRequests();
    const bool sending = state_ == State::kLast && Unsent() > 0;
    if (state_ == State::kTurnedAway || (state_ == State::kLast && !sending)) Gone();
  }

  void EndOfRequests() {
    if (request_ == nullptr || !request_->HasHead()) return Gone();
    Last(api_head::Refusal(400, "the body ended too early"));
  }

  void OnDeadline() override {
    try {
      Late();
    } catch (const std::bad_alloc&) {
      Gone();
    }
  }

  void Late() {
    switch (state_) {
      case State::kReading:
        if (request_ == nullptr || !request_->Begun()) return Gone();
        return Last(api_head::Refusal(408, request_->HasHead()
                                               ? "the body of the request took too long"
                                               : "the head of the request took too long"));
      case State::kAnswering: return SetDeadline(Loop().Now() + handler_.Limits().idle);
      case State::kTurnedAway: return OnBytes({});
      case State::kSending:
      case State::kLast: return Gone();
    }
  }

  void OnNoMemory() override { Gone(); }

  void Pause() {
    paused_ = true;
    PauseReading();
  }
  void Resume() {
    paused_ = false;
    ResumeReading();
  }

  void Gone() {
    if (!IsOpen()) return;
    Close();
    handler_.Drop(*this);
  }

  void Recount() {
    const std::size_t request = request_ == nullptr ? 0 : request_->Bytes();
    handler_.Held().Change(counted_, request + asked_bytes_ + ahead_.Bytes() + Unsent());
  }

  RequestHandler& handler_;
  State state_ = State::kReading;
  std::unique_ptr<IncomingRequest> request_;  ///< the one that is arriving
  BytesAhead ahead_;
  ReplyForm form_;               ///< of the reply that is to come
  std::size_t asked_bytes_ = 0;  ///< of the request that is being answered
  std::size_t counted_ = 0;      ///< among what the server holds
  bool turned_away_ = false;
  bool paused_ = false;
  bool ended_ = false;  ///< the other side sends no more
  bool stopping_ = false;
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm
