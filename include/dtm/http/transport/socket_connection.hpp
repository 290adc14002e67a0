/// One connected socket on the loop: bytes in and out, with TLS or without, and a deadline.
/// Needs: POSIX. Threads: that of the loop.
#pragma once

#include <cerrno>
#include <cstddef>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <utility>

#include <dtm/http/transport/io_loop.hpp>
#include <dtm/http/transport/socket.hpp>
#include <dtm/http/transport/timers.hpp>
#include <dtm/http/transport/tls_session.hpp>

namespace dtm {
inline namespace v1 {
namespace transport {

/// For either side; what the bytes mean is up to the derived class. From every On... it may be closed
/// and disposed of (IoLoop::Dispose); no On... comes after Close. It keeps no bytes that came: OnBytes takes all.
class SocketConnection : public Watcher, protected Timer {
 public:
  explicit SocketConnection(IoLoop& loop) : loop_(loop) {}
  ~SocketConnection() override { Close(); }

  bool IsOpen() const { return socket_.IsOpen(); }
  int Fd() const { return socket_.Fd(); }
  IoLoop& Loop() const { return loop_; }

  /// Closes it now, whatever is unsent.
  void Close() {
    loop_.Cancel(*this);
    tls_.reset();
    // A forked child may have it too, and the loop would go on reporting it.
    if (socket_.IsOpen()) loop_.Unwatch(socket_.Fd());
    socket_.Close();
    std::string().swap(out_);  // an assignment would keep its memory
    sent_ = 0;
  }

 protected:
  /// `socket` is connected, or about to be. `tls`: its session, or null.
  /// False: the system has no room for it.
  bool Open(Socket socket, std::unique_ptr<TlsSession> tls, bool known_to_loop = false) {
    socket_ = std::move(socket);
    tls_ = std::move(tls);
    shaking_ = tls_ != nullptr;
    sending_ends_ = false;
    paused_ = false;
    return known_to_loop ? loop_.Rewatch(socket_.Fd(), *this) : loop_.Watch(socket_.Fd(), *this);
  }

  /// Sends what the socket takes at once, and the rest when there is room. That a connection broke is found by reading, so
  /// that what the other side sent before counts.
  void Write(std::string_view bytes) {
    if (sending_ends_ || !IsOpen()) return;
    if (Unsent() == 0 && !shaking_) bytes.remove_prefix(Send(bytes));
    if (!sending_ends_) out_.append(bytes);
  }
  std::size_t Unsent() const { return out_.size() - sent_; }
  /// What was written last does not arrive.
  bool CannotSend() const { return sending_ends_; }

  /// No OnBytes until ResumeReading: a peer that sends faster than it is answered has to wait.
  void PauseReading() { paused_ = true; }
  /// Calls OnBytes for what has come meanwhile.
  void ResumeReading() {
    paused_ = false;
    if (!shaking_) Read(true);
  }

  void SetDeadline(SteadyTime deadline) { loop_.Set(*this, deadline); }

  /// Why TLS broke, in words; empty if it did not.
  std::string TlsProblem() const { return tls_ ? tls_->Problem() : std::string(); }
  bool InHandshake() const { return shaking_; }

  /// TLS is agreed on.
  virtual void OnSecure() {}
  virtual void OnBytes(std::string_view bytes) = 0;
  /// All that was written has left.
  virtual void OnSent() {}
  /// The other side sends no more; `broken`: and nothing can be sent to it. Told once, and not while reading is paused.
  virtual void OnEnd(bool broken) = 0;
  /// Memory ran out in the middle: what came is lost, so it cannot go on. It must not throw.
  virtual void OnNoMemory() = 0;

 private:
  void OnReady(Readiness ready) final {
    if (!IsOpen()) return;
    try {
      GoOn(ready);
    } catch (const std::bad_alloc&) {
      OnNoMemory();
    }
  }

  void GoOn(Readiness ready) {
    if (shaking_ && !Shake()) return;
    if (ready.writable && Unsent() > 0) {
      Flush();
      if (IsOpen() && out_.empty()) OnSent();
    }
    if (IsOpen() && !paused_ && (ready.readable || sending_ends_ || tls_ != nullptr)) {
      Read(ready.ended || sending_ends_);
    }
  }

  /// True: TLS is agreed on.
  bool Shake() {
    const Moved moved = tls_->Handshake();
    if (moved.kind == Moved::Kind::kWait) return false;
    if (moved.kind != Moved::Kind::kSome) {
      OnEnd(true);
      return false;
    }
    shaking_ = false;
    OnSecure();
    if (IsOpen() && Unsent() > 0) Flush();
    return IsOpen();
  }

  /// How much of it could be sent; if nothing can be sent any more, all of it.
  std::size_t Send(std::string_view bytes) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const char* const from = bytes.data() + sent;
      const std::size_t size = bytes.size() - sent;
      const Moved moved = tls_ ? tls_->Send(from, size) : SendSome(socket_.Fd(), from, size);
      if (moved.kind == Moved::Kind::kWait) return sent;
      if (moved.kind != Moved::Kind::kSome) {
        sending_ends_ = true;
        return bytes.size();
      }
      sent += moved.size;
    }
    return sent;
  }

  void Flush() {
    sent_ += Send(std::string_view(out_).substr(sent_));
    if (Unsent() > 0) return;
    std::string().swap(out_);
    sent_ = 0;
  }

  /// `to_the_end`: something is behind the bytes, so a read that was not filled is not the last.
  void Read(bool to_the_end) {
    char* const buffer = loop_.Buffer();
    for (int reads = 0; IsOpen() && !paused_; ++reads) {
      if (reads == kReadsAtATime) return void(loop_.Rewatch(socket_.Fd(), *this));
      const Moved moved = tls_ ? tls_->Receive(buffer, IoLoop::kBuffer)
                               : ReceiveSome(socket_.Fd(), buffer, IoLoop::kBuffer);
      if (moved.kind == Moved::Kind::kWait) {
        // TLS may have waited with sending for something to receive.
        if (tls_ && Unsent() > 0) Flush();
        return;
      }
      if (moved.kind != Moved::Kind::kSome) {
        paused_ = true;  // told once
        return OnEnd(moved.kind == Moved::Kind::kBroken || sending_ends_);
      }
      OnBytes({buffer, moved.size});
      if (!tls_ && !to_the_end && moved.size < IoLoop::kBuffer) return;
    }
  }

  /// A peer that sends without end must not hold up the others: the loop reports it again.
  static constexpr int kReadsAtATime = 16;

  IoLoop& loop_;
  Socket socket_;
  std::unique_ptr<TlsSession> tls_;
  std::string out_;
  std::size_t sent_ = 0;
  bool shaking_ = false;
  bool paused_ = false;
  bool sending_ends_ = false;  ///< nothing can be sent any more
};

}  // namespace transport
}  // namespace v1
}  // namespace dtm
