/// Generated from include/dtm/http.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "dtm.hpp"

// ---- dtm/base/thread_pool.hpp ------------------------------------------------------------------

/// Threads for work that blocks: one is added when all are busy, and ends after a while without
/// work.
/// Needs: std. Threads: thread-safe.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <utility>

namespace dtm {
inline namespace v1 {

class ThreadPool {
 public:
  /// `max_waiting`: jobs that may wait while all threads are busy; one always fits into the bytes.
  explicit ThreadPool(std::size_t max_threads, std::size_t max_waiting = 0,
                      std::size_t max_waiting_bytes = SIZE_MAX)
      : max_threads_(max_threads),
        max_waiting_(max_waiting),
        max_waiting_bytes_(max_waiting_bytes) {}
  ~ThreadPool() { Stop(); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// False: there is no room for the job. A job must not throw.
  bool Run(std::function<void()> job, std::size_t bytes = 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return false;
    if (jobs_.size() >= idle_ && threads_.Count() < max_threads_) (void)AddThread();
    if (threads_.Count() == 0 || jobs_.size() >= idle_ + starting_ + max_waiting_) return false;
    if (waiting_bytes_ > 0 &&
        bytes > max_waiting_bytes_ - (std::min)(waiting_bytes_, max_waiting_bytes_))
      return false;
    jobs_.push_back({std::move(job), bytes});
    waiting_bytes_ += bytes;
    arrived_.notify_one();
    return true;
  }

  /// Waits for all jobs that were taken, as long as they take, and joins the threads.
  void Stop() {
    ThreadList threads;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      threads = threads_.TakeAll();
      arrived_.notify_all();
    }
    threads.JoinAll();
  }

 private:
  static constexpr std::chrono::seconds kIdleBeforeLeaving{10};

  struct Job {
    std::function<void()> run;
    std::size_t bytes;
  };

  // All with mutex_ held.

  bool AddThread() {
    try {
      threads_.Add([this] { ThreadMain(); });
    } catch (const std::exception&) {  // none to be had now
      return false;
    }
    ++starting_;
    return true;
  }

  void ThreadMain() {
    std::unique_lock<std::mutex> lock(mutex_);
    --starting_;
    for (;;) {
      if (!jobs_.empty()) {
        std::function<void()> job = std::move(jobs_.front().run);
        waiting_bytes_ -= jobs_.front().bytes;
        jobs_.pop_front();
        lock.unlock();
        job();
        job = nullptr;  // what it holds may use the pool
        lock.lock();
        continue;
      }
      if (stopping_) return;
      ++idle_;
      const auto woken = arrived_.wait_for(lock, kIdleBeforeLeaving);
      --idle_;
      if (woken == std::cv_status::timeout && jobs_.empty() && !stopping_) return threads_.Leave();
    }
  }

  const std::size_t max_threads_;
  const std::size_t max_waiting_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  const std::size_t max_waiting_bytes_;
  std::deque<Job> jobs_;
  std::size_t waiting_bytes_ = 0;
  std::size_t idle_ = 0;
  std::size_t starting_ = 0;
  bool stopping_ = false;
  ThreadList threads_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/http1/framing.hpp ----------------------------------------------------------------

/// What the headers of a message say of the message itself: how its body is delimited, whether the connection goes on.
/// Needs: std. Threads: one at a time. Source: RFC 9112 §6, §9.

#include <string_view>

namespace dtm {
inline namespace v1 {
namespace http1 {

enum class MessageKind { kRequest, kReply };
enum class Parsed { kMore, kDone, kRefused };

/// Why a message is not taken: in words, and with the status that a server answers.
struct Refusal {
  int status = 400;
  const char* text = "";
};

inline bool EqualsLower(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c =
        text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] + ('a' - 'A')) : text[i];
    if (c != lower[i]) return false;
  }
  return true;
}

/// Whether a list such as that of Connection, "a, B ,c", has this element.
inline bool ListHas(std::string_view list, std::string_view lower) {
  for (;;) {
    const std::size_t comma = list.find(',');
    if (EqualsLower(Trimmed(list.substr(0, comma)), lower)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

/// How the body behind a head is delimited, and what becomes of the connection.
struct Framing {
  enum class Body { kNone, kLength, kChunked, kToClose };
  Body body = Body::kNone;
  std::uint64_t length = 0;
  bool keep_alive = true;         ///< the connection may take another message
  bool encoded = false;           ///< the body is compressed, or coded in another way
  bool expects_continue = false;  ///< the other side waits for a 100 before it sends the body
};

/// Looks at the headers, one after the other, and tells at the end.
class FramingReader {
 public:
  FramingReader(MessageKind kind, int minor_version)
      : request_(kind == MessageKind::kRequest), minor_(minor_version) {
    framing_.keep_alive = minor_ == 1;
  }

  /// False: the message is refused, see Why().
  bool Look(std::string_view name, std::string_view value) {
    const auto is = [name](std::string_view lower) { return EqualsLower(name, lower); };
    switch (name.size()) {
      case 4: return !request_ || !is("host") || Host(value);
      case 6:
        if (is("expect"))
          framing_.expects_continue = minor_ == 1 && EqualsLower(value, "100-continue");
        return true;
      case 10:
        if (!is("connection")) return true;
        if (minor_ == 0 && ListHas(value, "keep-alive")) framing_.keep_alive = true;
        if (ListHas(value, "close")) closes_ = true;
        return true;
      case 14: return !is("content-length") || Length(value);
      case 16:
        if (is("content-encoding") && !value.empty() && !EqualsLower(value, "identity"))
          framing_.encoded = true;
        return true;
      case 17: return !is("transfer-encoding") || (request_ ? Coding(value) : Codings(value));
      default: return true;
    }
  }

  Framing OfRequest() {
    if (closes_) framing_.keep_alive = false;
    framing_.body = has_coding_   ? Framing::Body::kChunked
                    : has_length_ ? Framing::Body::kLength
                                  : Framing::Body::kNone;
    return framing_;
  }

  /// `odd`: it was written so that another reader may find another end; the connection is not used again.
  Framing OfReply(int status, bool to_head, bool odd) {
    using Body = Framing::Body;
    odd = odd || odd_ || (has_coding_ && (has_length_ || minor_ == 0));
    if (to_head || status == 204 || status == 304) {
      framing_.body = Body::kNone;
    } else if (has_coding_) {
      framing_.body = chunked_ ? Body::kChunked : Body::kToClose;
    } else {
      framing_.body = has_length_ ? Body::kLength : Body::kToClose;
    }
    if (closes_ || odd || framing_.body == Body::kToClose) framing_.keep_alive = false;
    return framing_;
  }

  const Refusal& Why() const { return why_; }

 private:
  bool Refuse(int status, const char* text) {
    why_ = {status, text};
    return false;
  }

  bool Host(std::string_view value) {
    if (has_host_ || value.find('%') != std::string_view::npos) {
      return Refuse(400, "its Host is given twice, or is none");
    }
    return has_host_ = true;
  }

  bool Length(std::string_view value) {
    if (request_ && (has_length_ || has_coding_)) return Refuse(400, "its length is given twice");
    // "5, 5" in a reply that came through a careless proxy is 5 (RFC 9110 §8.6).
    for (bool more = true; more;) {
      const std::size_t comma = request_ ? std::string_view::npos : value.find(',');
      std::uint64_t length = 0;
      const std::string_view text = Trimmed(value.substr(0, comma));
      if (!Number(text, length)) {
        const bool digits = text.find_first_not_of("0123456789") == std::string_view::npos;
        return digits && !text.empty() ? Refuse(413, "its Content-Length is beyond all limits")
                                       : Refuse(400, "its Content-Length is no number");
      }
      if (has_length_ && length != framing_.length)
        return Refuse(400, "it has two lengths that differ");
      odd_ = odd_ || has_length_;
      has_length_ = true;
      framing_.length = length;
      more = comma != std::string_view::npos;
      if (more) value.remove_prefix(comma + 1);
    }
    return true;
  }

  /// Of a request: chunked, and nothing else.
  bool Coding(std::string_view value) {
    if (has_coding_ || has_length_) return Refuse(400, "its length is given twice");
    if (!EqualsLower(value, "chunked")) return Refuse(501, "its Transfer-Encoding is not chunked");
    if (minor_ == 0) return Refuse(400, "HTTP/1.0 has no Transfer-Encoding");
    return has_coding_ = true;
  }

  /// Of a reply: what is chunked ends with its chunks, what is coded in another way with the connection.
  bool Codings(std::string_view value) {
    for (bool more = true; more;) {
      const std::size_t comma = value.find(',');
      const std::string_view coding = Trimmed(value.substr(0, comma));
      more = comma != std::string_view::npos;
      if (more) value.remove_prefix(comma + 1);
      if (coding.empty() || EqualsLower(coding, "identity")) continue;
      if (chunked_) return Refuse(400, "its Transfer-Encoding goes on behind chunked");
      has_coding_ = true;
      chunked_ = EqualsLower(coding, "chunked");
      if (!chunked_) framing_.encoded = true;
    }
    return true;
  }

  static bool Number(std::string_view text, std::uint64_t& number) {
    constexpr std::size_t kMaxDigits = 18;
    if (text.empty() || text.size() > kMaxDigits) return false;
    for (const char c : text) {
      if (c < '0' || c > '9') return false;
      number = number * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return true;
  }

  const bool request_;
  const int minor_;
  Framing framing_;
  Refusal why_;
  bool has_host_ = false;
  bool has_length_ = false;
  bool has_coding_ = false;
  bool chunked_ = false;  ///< the last coding
  bool closes_ = false;   ///< the other side ends the connection
  bool odd_ = false;
};

}  // namespace http1
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/http1/message_head.hpp -----------------------------------------------------------

/// The first line and the headers of a message: its bytes as they came, and where in them each part is.
/// Needs: std. Threads: values only. Source: RFC 9112 §2 to §6.

#include <string>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace http1 {

/// Filled by HeadParser; the views live as long as it is not changed.
class MessageHead {
 public:
  struct Header {
    std::string_view name;
    std::string_view value;
  };

  std::string_view Method() const { return View(method_); }
  std::string_view Target() const { return View(target_); }
  int Status() const { return status_; }
  int MinorVersion() const { return minor_; }  ///< 1 of HTTP/1.1
  const Framing& BodyFraming() const { return framing_; }

  std::size_t Count() const { return headers_.size(); }
  Header At(std::size_t i) const { return {View(headers_[i].name), View(headers_[i].value)}; }

  /// The value of the first header of this name, which is given in lower case; empty if there is none.
  std::string_view Find(std::string_view lower) const {
    for (const Place& header : headers_) {
      if (EqualsLower(View(header.name), lower)) return View(header.value);
    }
    return {};
  }

  std::size_t Bytes() const { return text_.size(); }

 private:
  friend class HeadParser;
  struct Part {
    std::uint32_t at = 0;
    std::uint32_t size = 0;
  };
  struct Place {
    Part name;
    Part value;
  };

  std::string_view View(Part part) const {
    return std::string_view(text_).substr(part.at, part.size);
  }

  std::string text_;
  std::vector<Place> headers_;
  Part method_;
  Part target_;
  int status_ = 0;
  int minor_ = 1;
  Framing framing_;
};

}  // namespace http1
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/transport/timers.hpp -------------------------------------------------------------

/// Deadlines of many things, the earliest first.
/// Needs: std. Threads: one at a time. No clock: time is passed in.

namespace dtm {
inline namespace v1 {

using SteadyTime = std::chrono::steady_clock::time_point;

namespace transport {

class Timers;

/// Something with a deadline. One that is moved to a later time costs nothing until its old time comes.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  SteadyTime Deadline() const { return deadline_; }

 protected:
  ~Timer();

 private:
  friend class Timers;
  static constexpr SteadyTime kNever = (SteadyTime::max)();

  /// It may set and destroy timers, also this one.
  virtual void OnDeadline() = 0;

  Timers* timers_ = nullptr;  ///< while it is in the heap
  std::size_t place_ = 0;
  SteadyTime key_ = kNever;  ///< in the heap; never later than the deadline
  SteadyTime deadline_ = kNever;
};

/// A binary heap.
class Timers {
 public:
  Timers() = default;
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;
  ~Timers() {
    for (Timer* timer : heap_) timer->timers_ = nullptr;
  }

  /// @throws std::bad_alloc  it is not set.
  void Set(Timer& timer, SteadyTime deadline) {
    if (timer.timers_ == nullptr) {
      heap_.push_back(&timer);
      timer.timers_ = this;
      timer.place_ = heap_.size() - 1;
      timer.key_ = deadline;
      Up(timer.place_);
    } else if (deadline < timer.key_) {
      timer.key_ = deadline;
      Up(timer.place_);
    }
    timer.deadline_ = deadline;
  }

  void Cancel(Timer& timer) { timer.deadline_ = Timer::kNever; }
  /// The same, and now another thread may destroy it.
  void Forget(Timer& timer) {
    if (timer.timers_ != nullptr) Remove(timer);
    timer.deadline_ = Timer::kNever;
  }

  /// When to come again; max() if there is nothing to wait for.
  SteadyTime Next() const { return heap_.empty() ? Timer::kNever : heap_.front()->key_; }

  /// Calls what is due.
  void Run(SteadyTime now) {
    while (!heap_.empty() && heap_.front()->key_ <= now) {
      Timer& timer = *heap_.front();
      if (timer.deadline_ == Timer::kNever) {
        Remove(timer);
      } else if (timer.deadline_ > timer.key_) {
        timer.key_ = timer.deadline_;
        Down(0);
      } else {
        Remove(timer);
        timer.deadline_ = Timer::kNever;
        timer.OnDeadline();
      }
    }
  }

 private:
  friend class Timer;

  void Remove(Timer& timer) {
    const std::size_t place = timer.place_;
    timer.timers_ = nullptr;
    Timer* const last = heap_.back();
    heap_.pop_back();
    if (last == &timer) return;
    Put(place, last);
    Up(place);
    Down(last->place_);
  }

  void Put(std::size_t place, Timer* timer) {
    heap_[place] = timer;
    timer->place_ = place;
  }

  void Up(std::size_t place) {
    Timer* const timer = heap_[place];
    while (place > 0 && timer->key_ < heap_[(place - 1) / 2]->key_) {
      Put(place, heap_[(place - 1) / 2]);
      place = (place - 1) / 2;
    }
    Put(place, timer);
  }

  void Down(std::size_t place) {
    Timer* const timer = heap_[place];
    for (std::size_t child = 2 * place + 1; child < heap_.size(); child = 2 * place + 1) {
      if (child + 1 < heap_.size() && heap_[child + 1]->key_ < heap_[child]->key_) ++child;
      if (timer->key_ <= heap_[child]->key_) break;
      Put(place, heap_[child]);
      place = child;
    }
    Put(place, timer);
  }

  std::vector<Timer*> heap_;
};

inline Timer::~Timer() {
  if (timers_ != nullptr) timers_->Remove(*this);
}

}  // namespace transport
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/hosts/http_call.hpp --------------------------------------------------------------

/// One request to be sent, and what came of it.
/// Needs: std. Threads: that of the loop.

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

// ---- dtm/http/transport/poller.hpp -------------------------------------------------------------

/// Waits for sockets: epoll, edge-triggered. The one file of the loop to port (kqueue).
/// Needs: Linux. Threads: one at a time, except Wake.

#include <array>
#include <cerrno>
#include <sys/epoll.h>
#include <unistd.h>

namespace dtm {
inline namespace v1 {
namespace transport {

/// What happened at a socket since it was told last.
struct Readiness {
  bool readable = false;  ///< there may be bytes, or the end
  bool writable = false;
  bool ended = false;  ///< the other side sends no more, or the connection broke: read to see
};

class Poller {
 public:
  /// @throws Error  no file descriptor is available.
  Poller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0) throw Error("no epoll can be had: " + os::LastErrorText() + "; see ulimit -n");
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_.Get(), &event) != 0) {
      const std::string why = os::LastErrorText();
      ::close(epoll_);
      throw Error("epoll does not take an eventfd: " + why);
    }
  }
  ~Poller() { ::close(epoll_); }
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  /// From now on Wait reports it, beginning with its present state. Closing the descriptor ends that.
  /// False: the system has no room for it.
  bool Add(int fd, void* who) { return Control(EPOLL_CTL_ADD, fd, who); }
  /// The same for another one, again beginning with its present state.
  bool Change(int fd, void* who) { return Control(EPOLL_CTL_MOD, fd, who); }
  void Remove(int fd) { (void)Control(EPOLL_CTL_DEL, fd, nullptr); }

  /// Waits until something happened, Wake was called or `until` has come (max(): for ever), and calls
  /// `tell(who, Readiness)` for each.
  template <typename Tell>
  void Wait(std::chrono::steady_clock::time_point until, const Tell& tell) {
    const int count =
        ::epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), Milliseconds(until));
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      if (event.data.ptr == nullptr) {
        wake_.Clear();
        continue;
      }
      const bool broken = (event.events & (EPOLLERR | EPOLLHUP)) != 0;
      tell(event.data.ptr, Readiness{broken || (event.events & (EPOLLIN | EPOLLRDHUP)) != 0,
                                     broken || (event.events & EPOLLOUT) != 0,
                                     broken || (event.events & EPOLLRDHUP) != 0});
    }
  }

  /// Any thread: ends Wait, or the next one.
  void Wake() const { wake_.Signal(); }

  /// Readable when Wait would not wait: for the event loop of a host.
  int Fd() const { return epoll_; }

 private:
  bool Control(int what, int fd, void* who) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = who;
    return ::epoll_ctl(epoll_, what, fd, &event) == 0;
  }

  static int Milliseconds(std::chrono::steady_clock::time_point until) {
    if (until == (std::chrono::steady_clock::time_point::max)()) return -1;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now())
            .count();
    return static_cast<int>((std::min<long long>)((std::max<long long>)(left, 0), 3600 * 1000));
  }

  int epoll_;
  os::EventFd wake_;
  std::array<epoll_event, 256> events_;
};

}  // namespace transport
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/transport/io_loop.hpp ------------------------------------------------------------

/// One thread for all sockets, their deadlines, and what other threads hand to it. Nothing that runs on it may wait.
/// Needs: Linux (poller.hpp). Threads: Post and Stop come from any; everything else belongs to the thread of the loop.

#include <atomic>
#include <memory>
#include <new>
#include <thread>

namespace dtm {
inline namespace v1 {
namespace transport {

/// Whoever is told about a socket. Something may still be told after the socket was closed, until it is destroyed:
/// Dispose of it.
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void OnReady(Readiness readiness) = 0;

 private:
  friend class IoLoop;
  std::unique_ptr<Watcher> disposed_before_;
};

/// Whoever has something to do once for all that came in a turn of the loop.
class TurnEnd {
 public:
  /// It must not throw.
  virtual void OnTurnEnd() = 0;

 protected:
  ~TurnEnd() = default;
};

/// Runs on a thread of its own after Start, or in Poll on the thread of a host. What is called on it must not throw; if it
/// does for want of memory, the loop goes on, and whoever waits has a deadline.
class IoLoop {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kBuffer = std::size_t{64} * 1024;

  /// @throws Error  no file descriptor is available.
  IoLoop() : now_(Clock::now()), buffer_(new char[kBuffer]) {}
  ~IoLoop() {
    Stop();
    DestroyDisposed();
  }
  IoLoop(const IoLoop&) = delete;
  IoLoop& operator=(const IoLoop&) = delete;

  /// @throws std::system_error  no thread can be started.
  void Start() {
    own_thread_ = true;
    thread_ = std::thread([this] {
      while (!stopping_.load(std::memory_order_acquire)) Turn((SteadyTime::max)());
    });
  }

  /// What was posted and did not run yet is dropped. Not from the thread of the loop.
  void Stop() {
    stopping_.store(true, std::memory_order_release);
    poller_.Wake();
    if (thread_.joinable()) thread_.join();
  }

  /// Instead of Start: does what there is to do, after waiting for it no longer than `wait`.
  /// @throws LogicError  from inside Poll.
  void Poll(std::chrono::microseconds wait) {
    CheckOutsidePoll();
    polling_ = true;
    Turn(Clock::now() + wait);
    polling_ = false;
  }
  /// @throws LogicError  this is inside Poll, in the middle of a turn.
  void CheckOutsidePoll() const {
    if (polling_) {
      throw LogicError(
          "the Poll() of this I/O loop is running, and this was called from inside it (by on_wake, "
          "say); do it when Poll() has returned");
    }
  }
  bool HasThread() const { return own_thread_; }
  /// Readable when Poll has something to do before NextDeadline.
  int Fd() const { return poller_.Fd(); }
  SteadyTime NextDeadline() const { return timers_.Next(); }

  /// Any thread: `task` runs on the loop, after what was posted before. It must not throw.
  /// @throws std::bad_alloc  it does not.
  void Post(std::function<void()> task) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      posted_.push_back(std::move(task));
    }
    if (asleep_.exchange(false)) poller_.Wake();
  }

  /// The same, and returns when it has run. From any thread but that of the loop; without Start, from the one that polls.
  /// When memory is short it takes longer.
  /// @throws LogicError  from inside Poll: nothing was done; and what `task` throws.
  template <typename Task>
  void Do(const Task& task) {
    CheckOutsidePoll();
    struct {
      std::mutex mutex;
      std::condition_variable cond;
      bool over = false;
      std::exception_ptr error;
    } done;
    const auto run = [&done, &task] {
      std::exception_ptr error;
      try {
        task();
      } catch (...) {
        error = std::current_exception();
      }
      const std::lock_guard<std::mutex> lock(done.mutex);
      done.error = error;
      done.over = true;
      done.cond.notify_all();
    };
    for (bool posted = false; !posted;) {
      try {
        Post(std::ref(run));
        posted = true;
      } catch (const std::bad_alloc&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
    while (!own_thread_ && !done.over) Poll(std::chrono::microseconds(0));
    std::unique_lock<std::mutex> lock(done.mutex);
    while (!done.over) done.cond.wait(lock);
    if (done.error) std::rethrow_exception(done.error);
  }

  /// Any thread: there is another turn, which asks those of AtTurnEnds.
  void Wake() noexcept {
    again_.store(true);
    if (asleep_.exchange(false)) poller_.Wake();
  }

  /// False: the system has no room for it.
  bool Watch(int fd, Watcher& watcher) { return poller_.Add(fd, &watcher); }
  /// The same socket, for another watcher, which is first told its present state.
  bool Rewatch(int fd, Watcher& watcher) { return poller_.Change(fd, &watcher); }
  void Unwatch(int fd) { poller_.Remove(fd); }

  void Set(Timer& timer, SteadyTime deadline) { timers_.Set(timer, deadline); }
  void Cancel(Timer& timer) { timers_.Cancel(timer); }
  void Forget(Timer& timer) { timers_.Forget(timer); }

  /// Told at the end of each turn, from now on.
  void AtTurnEnds(TurnEnd& one) { turn_ends_.push_back(&one); }
  void NotAtTurnEnds(TurnEnd& one) {
    turn_ends_.erase(std::remove(turn_ends_.begin(), turn_ends_.end(), &one), turn_ends_.end());
  }

  /// When this turn of the loop began. Cheap, and a little old.
  SteadyTime Now() const { return now_; }

  /// Destroyed at the end of the turn, when nobody can be in the middle of it any more.
  void Dispose(std::unique_ptr<Watcher> watcher) noexcept {
    watcher->disposed_before_ = std::move(disposed_);
    disposed_ = std::move(watcher);
  }

  /// For bytes on their way through a function; not kept by anybody.
  char* Buffer() { return buffer_.get(); }

 private:
  void Turn(SteadyTime until) {
    until = (std::min)(until, timers_.Next());
    if (HasMore() || stopping_.load(std::memory_order_acquire)) until = SteadyTime();
    poller_.Wait(until, [this](void* who, Readiness readiness) {
      if (!told_) Begin();
      Run([&] { static_cast<Watcher*>(who)->OnReady(readiness); });
    });
    Begin();
    told_ = false;
    RunPosted();
    Run([this] { timers_.Run(now_); });
    again_.store(false);
    for (TurnEnd* one : turn_ends_) Run([one] { one->OnTurnEnd(); });
    DestroyDisposed();
    asleep_.store(true);
    if (!own_thread_ && HasMore()) poller_.Wake();  // a host may wait for Fd() now
  }

  template <typename Work>
  static void Run(const Work& work) noexcept {
    try {
      work();
    } catch (...) {  // see above
    }
  }

  void DestroyDisposed() noexcept {
    while (disposed_) {  // one by one: a list may be long
      const std::unique_ptr<Watcher> one = std::move(disposed_);
      disposed_ = std::move(one->disposed_before_);
    }
  }

  void Begin() {
    asleep_.store(false);
    now_ = Clock::now();
    told_ = true;
  }

  bool HasMore() {
    if (again_.load()) return true;
    const std::lock_guard<std::mutex> lock(mutex_);
    return !posted_.empty();
  }

  void RunPosted() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      running_.swap(posted_);
    }
    for (std::function<void()>& task : running_) {
      Run(task);
      task = nullptr;  // what it holds may post
    }
    running_.clear();
  }

  Poller poller_;
  Timers timers_;
  SteadyTime now_;
  std::unique_ptr<char[]> buffer_;
  std::unique_ptr<Watcher> disposed_;  ///< the last of them
  std::vector<std::function<void()>> running_;
  std::vector<TurnEnd*> turn_ends_;
  bool told_ = false;
  bool polling_ = false;  ///< of the thread that polls
  bool own_thread_ = false;
  std::atomic<bool> asleep_{true};  ///< who posts has to wake it
  std::atomic<bool> again_{false};  ///< Wake was called
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
  std::thread thread_;
};

}  // namespace transport
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/transport/socket.hpp -------------------------------------------------------------

/// What the transport asks of sockets, none of which blocks.
/// Needs: POSIX. Threads: pure functions over descriptors.

#include <arpa/inet.h>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <system_error>

namespace dtm {
inline namespace v1 {
namespace transport {

/// Where a socket connects to.
struct SocketAddress {
  sockaddr_storage bytes{};
  socklen_t size = 0;

  int Family() const { return bytes.ss_family; }
  const sockaddr* Get() const { return reinterpret_cast<const sockaddr*>(&bytes); }

  /// False: `text` is no numeric address.
  static bool FromFigures(const std::string& text, int port, SocketAddress& address) {
    address = SocketAddress();
    auto* const v4 = reinterpret_cast<sockaddr_in*>(&address.bytes);
    auto* const v6 = reinterpret_cast<sockaddr_in6*>(&address.bytes);
    const std::uint16_t number = htons(static_cast<std::uint16_t>(port));
    if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
      v4->sin_family = AF_INET;
      v4->sin_port = number;
      address.size = sizeof *v4;
    } else if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
      v6->sin6_family = AF_INET6;
      v6->sin6_port = number;
      address.size = sizeof *v6;
    }
    return address.size != 0;
  }

  /// "127.0.0.1:80", "[::1]:80".
  std::string Text() const {
    char text[INET6_ADDRSTRLEN] = "";
    if (Family() == AF_INET6) {
      const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(&bytes);
      (void)::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
      return "[" + std::string(text) + "]:" + std::to_string(ntohs(v6->sin6_port));
    }
    const auto* const v4 = reinterpret_cast<const sockaddr_in*>(&bytes);
    (void)::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(v4->sin_port));
  }
};

/// A descriptor that is closed when its owner goes.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  /// One that no forked child gets: its port or its other side would wait for the child when this process has ended.
  /// @throws std::bad_alloc  it is closed.
  static Socket NotForChildren(int fd) {
    os::Forking::CloseInChildren(fd);
    Socket socket(fd);
    socket.noted_ = true;
    return socket;
  }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)), noted_(other.noted_) {}
  Socket& operator=(Socket&& other) noexcept {
    if (this != &other) {
      Close();
      fd_ = std::exchange(other.fd_, -1);
      noted_ = other.noted_;
    }
    return *this;
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { Close(); }

  int Fd() const { return fd_; }
  bool IsOpen() const { return fd_ >= 0; }
  void Close() {
    if (fd_ < 0) return;
    const int fd = std::exchange(fd_, -1);
    noted_ ? os::Forking::Close(fd) : void(::close(fd));
  }

 private:
  int fd_ = -1;
  bool noted_ = false;  ///< by os::Forking
};

/// Small packets leave at once: the other side waits for them.
inline void SendWithoutDelay(int fd) {
  const int on = 1;
  (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// Begins to connect. `error`: 0, or why there is nothing to wait for.
inline Socket BeginConnect(const SocketAddress& to, int& error) {
  error = 0;
  Socket socket(::socket(to.Family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.IsOpen()) {
    error = errno;
    return socket;
  }
  SendWithoutDelay(socket.Fd());
  if (::connect(socket.Fd(), to.Get(), to.size) != 0 && errno != EINPROGRESS && errno != EINTR) {
    error = errno;
    socket.Close();
  }
  return socket;
}

/// How connecting ended: 0, or why it failed; EINPROGRESS if it did not end.
inline int ConnectError(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  if (error != 0) return error;
  sockaddr_storage peer{};
  size = sizeof peer;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0) return 0;
  return errno == ENOTCONN ? EINPROGRESS : errno;
}

/// What came of moving bytes.
struct Moved {
  enum class Kind { kSome, kWait, kEnd, kBroken };
  Kind kind = Kind::kBroken;
  std::size_t size = 0;  ///< of kSome

  static Moved Some(std::size_t size) { return {Kind::kSome, size}; }
  /// What recv or send returned.
  static Moved Of(ssize_t done) {
    if (done >= 0) return {Kind::kSome, static_cast<std::size_t>(done)};
    return {errno == EAGAIN || errno == EWOULDBLOCK ? Kind::kWait : Kind::kBroken, 0};
  }
};

inline Moved ReceiveSome(int fd, char* to, std::size_t size) {
  ssize_t got = 0;
  do {
    got = ::recv(fd, to, size, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  return got == 0 ? Moved{Moved::Kind::kEnd, 0} : Moved::Of(got);
}

inline Moved SendSome(int fd, const char* from, std::size_t size) {
  ssize_t sent = 0;
  do {
    sent = ::send(fd, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return Moved::Of(sent);
}

inline std::string ErrorText(int error) { return std::generic_category().message(error); }

}  // namespace transport
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/hosts/connector.hpp --------------------------------------------------------------

/// Connects to the first of several addresses that accepts; one that swallows packets takes little of the time that they share.
/// Needs: POSIX. Threads: that of the loop. Source: RFC 8305 §5.

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

// ---- dtm/http/transport/look_up.hpp ------------------------------------------------------------

/// The addresses of a name, as the system knows them.
/// Needs: POSIX. Threads: pure functions, which may wait long.

#include <netdb.h>

namespace dtm {
inline namespace v1 {
namespace transport {

struct FoundAddresses {
  std::vector<SocketAddress> addresses;  ///< in the order in which they are to be tried
  std::string problem;                   ///< why there is none, in words
};

/// RFC 8305 §4: the kinds of addresses take turns, so that one that leads nowhere does not hold up the other.
inline void TakeTurns(std::vector<SocketAddress>& addresses) {
  for (std::size_t i = 1; i + 1 < addresses.size(); ++i) {
    if (addresses[i].Family() != addresses[i - 1].Family()) continue;
    for (std::size_t other = i + 1; other < addresses.size(); ++other) {
      if (addresses[other].Family() == addresses[i].Family()) continue;
      const SocketAddress found = addresses[other];
      addresses.erase(addresses.begin() + static_cast<std::ptrdiff_t>(other));
      addresses.insert(addresses.begin() + static_cast<std::ptrdiff_t>(i), found);
      break;
    }
  }
}

/// Asks the system, which may take long.
inline FoundAddresses LookUp(const std::string& host, int port) {
  FoundAddresses found;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (error != 0) {
    found.problem =
        "its name is unknown (it cannot be resolved: " + std::string(::gai_strerror(error)) + ")";
    return found;
  }
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    SocketAddress address;
    if (one->ai_addrlen > sizeof address.bytes) continue;
    std::memcpy(&address.bytes, one->ai_addr, one->ai_addrlen);
    address.size = one->ai_addrlen;
    found.addresses.push_back(address);
  }
  ::freeaddrinfo(list);
  if (found.addresses.empty()) found.problem = "its name has no address";
  TakeTurns(found.addresses);
  return found;
}

}  // namespace transport
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/hosts/resolver.hpp ---------------------------------------------------------------

/// Finds the addresses of a name on threads that may wait, and reports them on the loop.
/// Needs: POSIX. Threads: that of the loop; the lookup runs on others.

namespace dtm {
inline namespace v1 {
namespace hosts {

class Resolver {
 public:
  using Answer = std::function<void(transport::FoundAddresses)>;
  using Lookup = std::function<transport::FoundAddresses(const std::string& host, int port)>;

  explicit Resolver(transport::IoLoop& loop, Lookup lookup = transport::LookUp)
      : loop_(loop), lookup_(std::move(lookup)), threads_(kThreads, kMaxWaiting) {}

  /// What can be told without a lookup: a numeric address, and localhost (RFC 6761). False: it is some other name.
  static bool IsKnown(const std::string& host, int port, transport::FoundAddresses& found) {
    transport::SocketAddress address;
    if (transport::SocketAddress::FromFigures(host, port, address)) {
      found.addresses = {address};
      return true;
    }
    if (host != "localhost") return false;
    for (const char* figures : {"127.0.0.1", "::1"}) {
      if (transport::SocketAddress::FromFigures(figures, port, address))
        found.addresses.push_back(address);
    }
    return true;
  }

  /// `answer` is called on the loop, unless the loop ends before.
  void Find(std::string host, int port, Answer answer) {
    const auto job = [this, host = std::move(host), port, answer] {
      transport::FoundAddresses found;
      try {
        found = lookup_(host, port);
      } catch (const std::exception& error) {
        found.problem = IfThereIsMemory(
            [&] { return std::string("its name cannot be resolved: ") + error.what(); });
      }
      Tell(answer, found);
    };
    if (threads_.Run(job)) return;
    transport::FoundAddresses none;
    none.problem =
        "its name cannot be resolved now: too many names wait for that, or no thread can be "
        "started";
    loop_.Post([answer = std::move(answer), none] { answer(none); });
  }

  /// Waits for lookups that hang: the system's cannot be interrupted. Before the loop is destroyed.
  void Stop() { threads_.Stop(); }

 private:
  /// Everybody who asked for this name waits for the report: without memory it comes late, not never.
  void Tell(const Answer& answer, const transport::FoundAddresses& found) {
    for (int tries = 0; tries < 1000; ++tries) {
      try {
        return loop_.Post([answer, found] { answer(found); });
      } catch (const std::bad_alloc&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
  }

  static constexpr std::size_t kThreads = 16;
  static constexpr std::size_t kMaxWaiting = 1024;

  transport::IoLoop& loop_;
  const Lookup lookup_;
  ThreadPool threads_;
};

}  // namespace hosts
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/http1/body_reader.hpp ------------------------------------------------------------

/// Takes the body of a message out of the bytes after its head: by length, in chunks, or to the end of the connection.
/// Needs: std. Threads: one at a time. Source: RFC 9112 §6, §7.1.

namespace dtm {
inline namespace v1 {
namespace http1 {

class BodyReader {
 public:
  BodyReader(MessageKind kind, const Framing& framing)
      : strict_(kind == MessageKind::kRequest), left_(framing.length) {
    switch (framing.body) {
      case Framing::Body::kNone: state_ = State::kDone; break;
      case Framing::Body::kLength: state_ = left_ == 0 ? State::kDone : State::kLength; break;
      case Framing::Body::kChunked: state_ = State::kSize; break;
      case Framing::Body::kToClose: state_ = State::kToClose; break;
    }
  }

  /// Takes from `bytes` what belongs to the body, and calls `content(std::string_view)` with each piece of its content.
  /// After kDone, what is left of them follows it.
  template <typename Content>
  Parsed Take(std::string_view& bytes, const Content& content) {
    while (!bytes.empty() && state_ != State::kDone && state_ != State::kRefused) {
      if (state_ == State::kLength || state_ == State::kChunk) {
        const std::size_t size =
            bytes.size() < left_ ? bytes.size() : static_cast<std::size_t>(left_);
        content(bytes.substr(0, size));
        bytes.remove_prefix(size);
        left_ -= size;
        if (left_ == 0) state_ = state_ == State::kLength ? State::kDone : State::kChunkEnd;
      } else if (state_ == State::kToClose) {
        content(bytes);
        bytes = {};
      } else {
        TakeLine(bytes);
      }
    }
    return Now();
  }

  /// Nothing was taken yet and nothing is to come: kDone.
  Parsed Now() const {
    if (state_ == State::kDone) return Parsed::kDone;
    return state_ == State::kRefused ? Parsed::kRefused : Parsed::kMore;
  }

  /// The other side will send no more. True: the body is complete.
  bool End() {
    if (state_ == State::kToClose) state_ = State::kDone;
    return state_ == State::kDone;
  }

  /// After kRefused.
  const Refusal& Why() const { return why_; }

 private:
  enum class State { kLength, kToClose, kSize, kChunk, kChunkEnd, kTrailers, kDone, kRefused };

  static constexpr std::size_t kStrictLine = 256;
  static constexpr std::size_t kLooseLine = 8 * 1024;
  static constexpr std::size_t kMaxTrailers = 64 * 1024;
  /// What the lines of chunks may cost beyond the content that they carry: a body of lines alone comes to an end.
  static constexpr std::int64_t kMaxExcess = 16 * 1024;

  void Refuse(const char* text) {
    state_ = State::kRefused;
    why_ = {400, text};
  }

  void TakeLine(std::string_view& bytes) {
    const std::size_t feed = bytes.find('\n');
    const bool ends = feed != std::string_view::npos;
    const std::string_view piece = bytes.substr(0, ends ? feed + 1 : bytes.size());
    bytes.remove_prefix(piece.size());
    if (line_.size() + piece.size() > (strict_ ? kStrictLine : kLooseLine) + 2)
      return Refuse("a line of its chunks is too long");
    line_.append(piece);
    if (!ends) return;
    if (line_.size() < 2 || line_[line_.size() - 2] != '\r') {
      return Refuse("a line of its chunks does not end with carriage return and line feed");
    }
    line_.resize(line_.size() - 2);
    switch (state_) {
      case State::kSize: ChunkSize(); break;
      case State::kChunkEnd:
        line_.empty() ? void(state_ = State::kSize) : Refuse("a chunk is longer than it says");
        break;
      default: Trailer(); break;
    }
    line_.clear();
  }

  void ChunkSize() {
    const std::size_t end = line_.find_first_not_of("0123456789abcdefABCDEF");
    const std::size_t digits = end == std::string::npos ? line_.size() : end;
    const std::size_t behind = strict_ ? digits : line_.find_first_not_of(" \t", digits);
    const bool extension = behind < line_.size();
    if (digits == 0 || (extension && line_[behind] != ';'))
      return Refuse("the size of a chunk is no hexadecimal number");
    if (digits > (strict_ ? 8U : 16U)) return Refuse("a chunk is too long");
    for (const char c : std::string_view(line_).substr(digits)) {  // a line end to some readers
      if (strict_ && ((c >= 0 && c < ' ' && c != '\t') || c == 127))
        return Refuse("the size of a chunk is followed by a control character");
    }
    left_ = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const char c = line_[i];
      const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
      left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
    }
    if (left_ >> 60 != 0) return Refuse("a chunk is too long");
    constexpr std::int64_t kPlainLine = 16;
    excess_ += static_cast<std::int64_t>(line_.size()) - kPlainLine -
               static_cast<std::int64_t>(left_ < 65536 ? left_ : 65536);
    if (excess_ < 0) excess_ = 0;
    if (excess_ > kMaxExcess) return Refuse("the lines of its chunks are too long");
    state_ = left_ == 0 ? State::kTrailers : State::kChunk;
  }

  /// What follows the last chunk of a reply is not needed; in a request nothing may follow it.
  void Trailer() {
    if (line_.empty()) {
      state_ = State::kDone;
    } else if (strict_) {
      Refuse("it has trailers, which are not taken");
    } else if ((trailers_ += line_.size()) > kMaxTrailers) {
      Refuse("its trailers are too long");
    }
  }

  bool strict_;
  std::uint64_t left_;  ///< of the body or chunk
  State state_ = State::kDone;
  std::string line_;
  std::int64_t excess_ = 0;
  std::size_t trailers_ = 0;
  Refusal why_;
};

}  // namespace http1
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/http1/head_parser.hpp ------------------------------------------------------------

/// Reads the heads of requests and replies from bytes as they come: each byte is looked at once, however small the pieces.
/// Needs: std. Threads: one at a time. Source: RFC 9112 §2 to §6, request smuggling §11.2.
///
/// Requests are read strictly: what two readers could understand in two ways is refused, so that no request can hide in
/// another one. Answers are read as services write them (folded or many headers, bare line feeds, 1xx before the reply);
/// a connection whose reply was framed oddly is not used again.

namespace dtm {
inline namespace v1 {
namespace http1 {

/// Against abuse; a line is counted without its line feed.
struct HeadLimits {
  std::size_t headers;
  std::size_t line_bytes;
  std::size_t head_bytes;  ///< of a reply, together with the 1xx before it
};
inline constexpr HeadLimits kRequestHead{64, 8 * 1024, 64 * 1024};
inline constexpr HeadLimits kReplyHead{4096, 256 * 1024, 256 * 1024};

class HeadParser {
 public:
  using Kind = MessageKind;

  /// `to_head`: a reply to a HEAD request has no body.
  explicit HeadParser(Kind kind, bool to_head = false)
      : limits_(kind == Kind::kRequest ? kRequestHead : kReplyHead),
        kind_(kind),
        to_head_(to_head) {}

  /// Takes from `bytes` what belongs to the head. After kDone, what is left of them follows it.
  Parsed Take(std::string_view& bytes) {
    while (!bytes.empty() && state_ == Parsed::kMore) {
      const std::size_t feed = bytes.find('\n');
      const bool ends = feed != std::string_view::npos;
      const std::string_view piece = bytes.substr(0, ends ? feed + 1 : bytes.size());
      bytes.remove_prefix(piece.size());
      const std::size_t line = head_.text_.size() - line_at_ + piece.size() - (ends ? 1 : 0);
      if (line > limits_.line_bytes) {
        Refuse(431, first_line_ ? "its first line is too long" : "a header is too long");
      } else if (interim_bytes_ + head_.text_.size() + piece.size() > limits_.head_bytes) {
        Refuse(431, "its headers are too long");
      } else {
        head_.text_.append(piece);
        if (ends) TakeLine();
      }
    }
    return state_;
  }

  const MessageHead& Head() const { return head_; }
  /// After kRefused.
  const Refusal& Why() const { return why_; }
  /// Part of a message has come.
  bool Begun() const { return !head_.text_.empty() || interim_bytes_ > 0; }

  /// For the next message on the connection; the memory is used again.
  void Reset(bool to_head = false) {
    ResetHead();
    interim_bytes_ = 0;
    to_head_ = to_head;
    odd_ = false;
    skipped_ = false;
  }

 private:
  using Part = MessageHead::Part;

  void ResetHead() {
    head_.text_.clear();
    head_.headers_.clear();
    head_.status_ = 0;
    head_.framing_ = Framing();
    line_at_ = 0;
    first_line_ = true;
    state_ = Parsed::kMore;
  }

  void Refuse(int status, const char* text) {
    state_ = Parsed::kRefused;
    why_ = {status, text};
  }

  /// What goes from line_at_ to the end of the text, which is a line feed.
  void TakeLine() {
    std::size_t end = head_.text_.size() - 1;
    const bool has_return = end > line_at_ && head_.text_[end - 1] == '\r';
    if (has_return) {
      --end;
    } else if (kind_ == Kind::kRequest) {  // a line to some readers, and none to others
      return Refuse(400, "a line does not end with carriage return and line feed");
    } else {
      odd_ = true;
    }
    const std::size_t begin = line_at_;
    line_at_ = head_.text_.size();
    const std::string_view line = std::string_view(head_.text_).substr(begin, end - begin);
    if (first_line_) {
      if (line.empty() && kind_ == Kind::kRequest && !skipped_) return SkipLine();
      first_line_ = false;
      return kind_ == Kind::kRequest ? RequestLine(line, begin) : StatusLine(line);
    }
    if (line.empty()) return EndOfHead();
    TakeHeader(line, begin);
  }

  /// RFC 9112 §2.2: some clients send an empty line after a body; it belongs to nothing.
  void SkipLine() {
    skipped_ = true;
    head_.text_.clear();
    line_at_ = 0;
  }

  static Part Of(std::size_t at, std::size_t size) {
    return {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(size)};
  }

  void RequestLine(std::string_view line, std::size_t begin) {
    const std::size_t first = line.find(' '), last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) {
      return Refuse(400, "its first line is not METHOD TARGET HTTP/1.1");
    }
    const std::string_view method = line.substr(0, first);
    const std::string_view target = line.substr(first + 1, last - first - 1);
    const std::string_view version = line.substr(last + 1);
    if (!IsToken(method) || target.empty())
      return Refuse(400, "its first line is not METHOD TARGET HTTP/1.1");
    for (const char c : target) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte <= ' ' || byte >= 127)
        return Refuse(400, "its target has a byte that has to be written as %XX");
    }
    if (version != "HTTP/1.1" && version != "HTTP/1.0") {
      return Refuse(HasPrefix(version, "HTTP/") ? 505 : 400, "it is neither HTTP/1.1 nor HTTP/1.0");
    }
    head_.method_ = Of(begin, method.size());
    head_.target_ = Of(begin + first + 1, target.size());
    head_.minor_ = version.back() - '0';
  }

  void StatusLine(std::string_view line) {
    constexpr std::string_view kStart = "HTTP/1.";
    const bool starts = line.size() >= 12 && HasPrefix(line, kStart) &&
                        (line[7] == '0' || line[7] == '1') && line[8] == ' ' &&
                        (line.size() == 12 || line[12] == ' ');
    if (!starts) return Refuse(400, "its first line is no status of HTTP/1.1 or HTTP/1.0");
    head_.minor_ = line[7] - '0';
    for (const char c : line.substr(9, 3)) {
      if (c < '0' || c > '9') return Refuse(400, "its status is no number");
      head_.status_ = head_.status_ * 10 + (c - '0');
    }
    if (head_.status_ < 100) Refuse(400, "its status is below 100");
  }

  void TakeHeader(std::string_view line, std::size_t begin) {
    for (const char c : line) {
      if ((c >= 0 && c < ' ' && c != '\t') || c == 127)
        return Refuse(400, "a header has a control character");
    }
    if (line.front() == ' ' || line.front() == '\t') return Fold(line, begin);
    if (head_.headers_.size() == limits_.headers) return Refuse(431, "it has too many headers");
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return Refuse(400, "a header has no colon");
    std::string_view name = line.substr(0, colon);
    if (kind_ == Kind::kReply) {  // RFC 9112 §5.1: a blank before the colon is removed from a reply
      name = Trimmed(name);
      odd_ = odd_ || name.size() != colon;
    }
    if (kind_ == Kind::kRequest ? !IsToken(name) : name.empty())
      return Refuse(400, "a header has no valid name");
    const std::string_view value = Trimmed(line.substr(colon + 1));
    const std::size_t value_at = value.empty()
                                     ? begin + colon + 1
                                     : begin + static_cast<std::size_t>(value.data() - line.data());
    head_.headers_.push_back({Of(begin, name.size()), Of(value_at, value.size())});
  }

  /// The line goes on with the header before it: its line end becomes blanks, and counts as one.
  void Fold(std::string_view line, std::size_t begin) {
    if (kind_ == Kind::kRequest || head_.headers_.empty())
      return Refuse(400, "a header begins with a blank");
    odd_ = true;
    const std::string_view more = Trimmed(line);
    if (more.empty()) return;
    Part& value = head_.headers_.back().value;
    const std::size_t more_at = begin + static_cast<std::size_t>(more.data() - line.data());
    const std::size_t value_end = std::size_t{value.at} + value.size;
    if (value.size == 0) {
      value = Of(more_at, more.size());
    } else {
      std::memset(&head_.text_[value_end], ' ', more_at - value_end);
      value = Of(value.at, more_at + more.size() - value.at);
    }
  }

  void EndOfHead() {
    const bool interim = kind_ == Kind::kReply && head_.status_ < 200;
    if (interim && head_.status_ != 101) {
      interim_bytes_ += head_.text_.size();
      return ResetHead();
    }
    if (interim)
      return Refuse(400, "it changes to another protocol (status 101), for which nobody asked");
    state_ = Parsed::kDone;
    FramingReader framing(kind_, head_.minor_);
    for (std::size_t i = 0; i < head_.Count(); ++i) {
      if (!framing.Look(head_.At(i).name, head_.At(i).value)) {
        return Refuse(framing.Why().status, framing.Why().text);
      }
    }
    head_.framing_ = kind_ == Kind::kRequest ? framing.OfRequest()
                                             : framing.OfReply(head_.status_, to_head_, odd_);
  }

  /// RFC 9110 §5.6.2.
  static bool IsToken(std::string_view text) {
    static constexpr std::array<bool, 128> kToken = [] {
      std::array<bool, 128> table{};
      for (std::size_t c = '0'; c <= '9'; ++c) table[c] = true;
      for (std::size_t c = 'a'; c <= 'z'; ++c) table[c] = table[c - 'a' + 'A'] = true;
      for (const char c : std::string_view("!#$%&'*+-.^_`|~"))
        table[static_cast<unsigned char>(c)] = true;
      return table;
    }();
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= kToken.size() || !kToken[byte]) return false;
    }
    return !text.empty();
  }

  const HeadLimits limits_;
  const Kind kind_;
  bool to_head_;
  MessageHead head_;
  Parsed state_ = Parsed::kMore;
  Refusal why_;
  std::size_t line_at_ = 0;  ///< where in the text the line begins that is not complete
  std::size_t interim_bytes_ = 0;
  bool first_line_ = true;
  bool odd_ = false;
  bool skipped_ = false;  ///< an empty line before the request
};

}  // namespace http1
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/transport/held_bytes.hpp ---------------------------------------------------------

/// How many bytes of messages the connections of one side hold in memory, against one bound.
/// Needs: std. Threads: that of the loop.

namespace dtm {
inline namespace v1 {
namespace transport {

/// The last quarter is kept for small messages, so that those who move large ones slowly do not keep everybody out.
class HeldBytes {
 public:
  static constexpr std::size_t kSmall = std::size_t{8} * 1024;

  explicit HeldBytes(std::size_t limit) : limit_(limit) {}

  void Change(std::size_t& counted, std::size_t now) {
    freed_ = freed_ || now < counted;
    held_ = held_ - counted + now;
    counted = now;
  }

  /// Whether there is room for who holds this much.
  bool Allow(std::size_t size) const {
    return held_ <= (size > kSmall ? limit_ - limit_ / 4 : limit_);
  }

  /// Whether there is room for another request of this size to a host whose calls hold `own`. Half is left to the replies,
  /// and each host leaves a fifth of what it found to the others.
  bool AllowRequest(std::size_t size, std::size_t own) const {
    if (size <= kSmall) return Allow(size);
    const std::size_t half = limit_ / 2;
    return held_ <= half && own / kShare <= half - held_;
  }

  std::size_t Now() const { return held_; }
  /// Whether anybody has come to hold less since it was asked last: who waits for room looks again.
  bool TakeFreed() { return std::exchange(freed_, false); }

 private:
  static constexpr std::size_t kShare = 4;

  const std::size_t limit_;
  std::size_t held_ = 0;
  bool freed_ = false;
};

}  // namespace transport
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/transport/tls_session.hpp --------------------------------------------------------

/// What the transport needs of TLS. It is implemented in another file, so that a program without https needs no library for it.
/// Needs: std. Threads: a session belongs to its connection, a TlsClient may be shared by all threads.

namespace dtm {
inline namespace v1 {

namespace transport {

/// TLS on one connected socket that does not block. Whatever waits may go on when the socket is readable or writable.
class TlsSession {
 public:
  virtual ~TlsSession() = default;
  /// kSome: it is done.
  virtual Moved Handshake() = 0;
  /// An end that the other side did not announce is kBroken: somebody may have cut off the rest.
  virtual Moved Receive(char* to, std::size_t size) = 0;
  virtual Moved Send(const char* from, std::size_t size) = 0;
  /// Why something is broken, in words; empty: the connection itself is.
  virtual std::string Problem() const = 0;
};

}  // namespace transport

/// Makes the sessions of outgoing connections.
class TlsClient {
 public:
  virtual ~TlsClient() = default;
  /// `host`: whose certificate it has to be, a name or an address.
  /// @throws Error  there is no session to be had.
  virtual std::unique_ptr<transport::TlsSession> Connect(int fd, const std::string& host) = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/transport/socket_connection.hpp --------------------------------------------------

/// One connected socket on the loop: bytes in and out, with TLS or without, and a deadline.
/// Needs: POSIX. Threads: that of the loop.

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

// ---- dtm/http/hosts/host_connection.hpp --------------------------------------------------------

/// A connection to a host from its first call to its end: connects, sends a request, reads the reply, rests.
/// Needs: POSIX. Threads: that of the loop. Source: RFC 9112 §9.

#include <optional>

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

// ---- dtm/http/hosts/http_host.hpp --------------------------------------------------------------

/// Sends requests to one host: its addresses, and connections that are kept for the next request.
/// Needs: POSIX. Threads: that of the loop.

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

// ---- dtm/http/hosts/blocking_host.hpp ----------------------------------------------------------

/// Sends requests to one host, one at a time, and waits for them on the thread of the caller.
/// Needs: POSIX. Threads: one at a time; none of its own, but for names that are being resolved.

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

// ---- dtm/http/http1/request_reply.hpp ----------------------------------------------------------

/// Requests and replies as everybody above the transport sees them, whatever brings them.
/// Needs: std. Threads: values only. Source: RFC 9110.

namespace dtm {
inline namespace v1 {
namespace http1 {

struct HttpHeader {
  std::string name;
  std::string value;
};

/// The value of the first header of this name, which is given in lower case; empty if there is none.
inline std::string_view FindHeader(const std::vector<HttpHeader>& headers, std::string_view lower) {
  for (const HttpHeader& header : headers) {
    if (EqualsLower(header.name, lower)) return header.value;
  }
  return {};
}

struct HttpRequest {
  std::string method = "GET";
  std::string target = "/";  ///< path and query, as they go into the first line
  std::vector<HttpHeader> headers;
  std::string body;

  void Set(std::string name, std::string value) {
    headers.push_back({std::move(name), std::move(value)});
  }
  std::string_view Header(std::string_view lower) const { return FindHeader(headers, lower); }
};

struct HttpReply {
  int status = 0;
  std::vector<HttpHeader> headers;
  std::string body;

  std::string_view Header(std::string_view lower) const { return FindHeader(headers, lower); }
};

/// The bytes of a request; its length is added. Names and values must be such as HTTP allows.
inline std::string RequestText(const HttpRequest& request) {
  std::size_t size = request.method.size() + request.target.size() + request.body.size() + 64;
  for (const HttpHeader& header : request.headers)
    size += header.name.size() + header.value.size() + 4;
  std::string text;
  text.reserve(size);
  text.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\n");
  for (const HttpHeader& header : request.headers) {
    text.append(header.name).append(": ").append(header.value).append("\r\n");
  }
  // RFC 9110 §8.6: what could have a body says that it has none.
  if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD")) {
    text.append("Content-Length: ").append(std::to_string(request.body.size())).append("\r\n");
  }
  return text.append("\r\n").append(request.body);
}

}  // namespace http1
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/retry_after.hpp -------------------------------------------------------------

/// The header Retry-After: how long the sender of a reply asks to wait.
/// Needs: std. Threads: pure functions. Source: RFC 9110 §10.2.3 (seconds or a date), §5.6.7 (the three forms of a date).

#include <cstdio>
#include <cstdlib>

namespace dtm {
inline namespace v1 {
namespace wire {
namespace retry_after {

/// Whether a reply with this status may say when to come again.
inline bool Counts(int status) { return status == 425 || status == 429 || status == 503; }

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar (Howard Hinnant, days_from_civil).
inline std::int64_t DaysTo(std::int64_t year, unsigned month, unsigned day) {
  year -= month <= 2 ? 1 : 0;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto of_era = static_cast<std::int64_t>(year - era * 400);
  const std::int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/// An HTTP date: "Sun, 06 Nov 1994 08:49:37 GMT", or one of the two obsolete forms.
inline std::optional<Time> Date(const std::string& text) {
  static constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  char month[4] = "";
  unsigned day = 0, year = 0, hour = 0, minute = 0, second = 0;
  int end = -1;
  const auto whole = [&] { return end == static_cast<int>(text.size()); };
  const char* c = text.c_str();
  if (std::strlen(c) != text.size()) return std::nullopt;
  // NOLINTBEGIN(cert-err34-c): widths bound the numbers, and `end` says whether all was read.
  std::sscanf(c, "%*3[A-Za-z], %2u %3[A-Za-z] %4u %2u:%2u:%2u GMT%n", &day, month, &year, &hour,
              &minute, &second, &end);
  if (!whole()) {
    std::sscanf(c, "%*[A-Za-z], %2u-%3[A-Za-z]-%2u %2u:%2u:%2u GMT%n", &day, month, &year, &hour,
                &minute, &second, &end);
    year += year < 70 ? 2000 : 1900;
  }
  if (!whole()) {
    std::sscanf(c, "%*3[A-Za-z] %3[A-Za-z] %2u %2u:%2u:%2u %4u%n", month, &day, &hour, &minute,
                &second, &year, &end);
  }
  // NOLINTEND(cert-err34-c)
  const auto named = std::find_if(kMonths.begin(), kMonths.end(), [&month](const char* name) {
    return std::strcmp(name, month) == 0;
  });
  // A year may be read as "-999".
  const bool possible = whole() && named != kMonths.end() && day >= 1 && day <= 31 && hour < 24 &&
                        minute < 60 && second <= 60 && year >= 1970 && year <= 9999;
  if (!possible) return std::nullopt;
  const std::int64_t days = DaysTo(year, static_cast<unsigned>(named - kMonths.begin()) + 1, day);
  return Time(std::chrono::seconds(((days * 24 + hour) * 60 + minute) * 60 + second));
}

/// Seconds, or the time from `date` (the header Date of the same reply, else `now`) to the date that it names. 0 if it
/// is neither, or past; at most kMaxRetryAfter.
inline Duration Wait(std::string_view header, const std::string& date, Time now) {
  const std::string text(Trimmed(header));
  if (text.empty()) return Duration(0);
  if (text.find_first_not_of("0123456789") == std::string::npos) {
    const bool huge = text.size() > 9;
    return huge ? Duration(kMaxRetryAfter)
                : (std::min)(
                      Duration(kMaxRetryAfter),
                      Duration(std::chrono::seconds(std::strtoul(text.c_str(), nullptr, 10))));
  }
  const std::optional<Time> until = Date(text);
  if (!until) return Duration(0);
  // The sender's clock may differ.
  const Time from = Date(std::string(Trimmed(date))).value_or(now);
  return (std::min)((std::max)(*until - from, Duration(0)), Duration(kMaxRetryAfter));
}

}  // namespace retry_after
}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/remote/http_connection.hpp -------------------------------------------------------

/// One request and its answer on a connection that is kept, whoever the other side is.
/// Needs: POSIX. Threads: one at a time.

namespace dtm {
inline namespace v1 {

/// What came of a request.
struct Exchanged {
  bool answered = false;  ///< a status line and headers came
  bool whole = false;     ///< and all of its body
  bool too_long = false;
  bool encoded = false;
  int status = 0;
  Duration retry_after{};  ///< of a 425, 429 or 503: do not ask again before
  std::string body;
  std::string problem;  ///< why there is no whole answer, in words

  bool Complete() const { return whole && !too_long && !encoded; }

  std::string Problem() const {
    if (too_long) return "its answer is too long";
    return whole && encoded ? "its answer is compressed" : problem;
  }
};

class HttpConnection {
 public:
  HttpConnection(const Url& url, std::size_t max_body, std::shared_ptr<TlsClient> tls = nullptr)
      : max_body_(max_body), host_(url, std::move(tls)) {}

  /// Afterwards IsOpen() says whether the connection can take another request.
  Exchanged Send(const http1::HttpRequest& request, SteadyTime deadline) {
    One one;
    one.request = RequestText(request);
    one.deadline = deadline;
    one.keep_body = max_body_;
    one.max_body = (std::max)(one.max_body, max_body_);
    host_.Send(one);
    return std::move(one.reply);
  }

  bool IsOpen() const { return host_.IsOpen(); }

 private:
  struct One final : hosts::HttpCall {
    void OnDone(hosts::HttpOutcome outcome) override {
      using Kind = hosts::HttpOutcome::Kind;
      reply.answered = outcome.status != 0;
      reply.whole = outcome.kind == Kind::kReply;
      reply.too_long = outcome.cut || outcome.kind == Kind::kTooLong;
      reply.encoded = outcome.encoded;
      reply.status = outcome.status;
      reply.body = std::move(outcome.body);
      reply.problem =
          outcome.kind == Kind::kLate ? "it gave no answer in time" : "it " + outcome.problem;
      if (!wire::retry_after::Counts(outcome.status) || outcome.head == nullptr) return;
      reply.retry_after = wire::retry_after::Wait(
          outcome.head->Find("retry-after"), std::string(outcome.head->Find("date")),
          std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()));
    }
    Exchanged reply;
  };

  const std::size_t max_body_;
  hosts::BlockingHost host_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/base64.hpp ------------------------------------------------------------------

/// Base64 on the wire: payloads and credentials.
/// Needs: std. Threads: pure functions. Protocol: §2.5 (bin_data).

namespace dtm {
inline namespace v1 {
namespace wire {

namespace base64 = v1::base64;

/// The user and password of a URL, as the value of Authorization.
inline std::string BasicAuthorization(const Url& url) {
  return "Basic " + base64::Encode(url.credentials);
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/names.hpp -------------------------------------------------------------------

/// All names that are used on the wire.
/// Needs: std. Threads: constants and pure functions. Protocol: §2 (HTTP API), §3 (calling
/// branches).

namespace dtm {
inline namespace v1 {
namespace wire {

inline constexpr const char kBranchId[] = "branch_id";
inline constexpr const char kGid[] = "gid";
inline constexpr const char kOp[] = "op";
inline constexpr const char kTransType[] = "trans_type";
inline constexpr const char kJson[] = "application/json";

// Of a transaction, as clients send it and as query shows it.
inline constexpr const char kSteps[] = "steps";
inline constexpr const char kAction[] = "action";
inline constexpr const char kCompensate[] = "compensate";
inline constexpr const char kData[] = "data";
inline constexpr const char kPayloads[] = "payloads";
inline constexpr const char kCustomData[] = "custom_data";
inline constexpr const char kConcurrent[] = "concurrent";
inline constexpr const char kOrders[] = "orders";
inline constexpr const char kWaitResult[] = "wait_result";
inline constexpr const char kTimeoutToFail[] = "timeout_to_fail";
inline constexpr const char kRequestTimeout[] = "request_timeout";
inline constexpr const char kRetryInterval[] = "retry_interval";
inline constexpr const char kRetryLimit[] = "retry_limit";
inline constexpr const char kRetryCount[] = "retry_count";
inline constexpr const char kBranchHeaders[] = "branch_headers";
inline constexpr const char kProtocol[] = "protocol";
inline constexpr const char kQueryPrepared[] = "query_prepared";
inline constexpr const char kDelay[] = "delay";
inline constexpr const char kName[] = "name";
inline constexpr const char kResult[] = "result";
inline constexpr const char kReqExtra[] = "req_extra";
inline constexpr const char kRollbackReason[] = "rollback_reason";
inline constexpr const char kWho[] = "who";
inline constexpr const char kWhy[] = "why";
inline constexpr const char kStatus[] = "status";
inline constexpr const char kId[] = "id";
inline constexpr const char kCreateTime[] = "create_time";
inline constexpr const char kUpdateTime[] = "update_time";
inline constexpr const char kFinishTime[] = "finish_time";
inline constexpr const char kRollbackTime[] = "rollback_time";
inline constexpr const char kOptions[] = "options";
inline constexpr const char kNotShown[] = "***";  ///< instead of the value of a header
inline constexpr const char kNextCronInterval[] = "next_cron_interval";
inline constexpr const char kNextCronTime[] = "next_cron_time";
inline constexpr const char kRollbackFrom[] = "rollback_from";
inline constexpr const char kLastError[] = "last_error";
inline constexpr const char kStuck[] = "stuck";
inline constexpr const char kUrl[] = "url";
inline constexpr const char kBinData[] = "bin_data";

// Of replies.
inline constexpr const char kDtmResult[] = "dtm_result";
inline constexpr const char kSuccess[] = "SUCCESS";
inline constexpr const char kFailure[] = "FAILURE";
inline constexpr const char kOngoing[] = "ONGOING";
inline constexpr const char kMessage[] = "message";
inline constexpr const char kExpired[] = "expired";
inline constexpr const char kRejected[] = "rejected";
inline constexpr const char kError[] = "error";
inline constexpr const char kTransaction[] = "transaction";
inline constexpr const char kTransactions[] = "transactions";
inline constexpr const char kBranches[] = "branches";
inline constexpr const char kNextPosition[] = "next_position";
inline constexpr const char kProgresses[] = "progresses";
inline constexpr const char kHttp[] = "http";
inline constexpr const char kJsonRpc[] = "json-rpc";

// Of a branch that is registered.
inline constexpr const char kConfirm[] = "confirm";
inline constexpr const char kCancel[] = "cancel";
inline constexpr const char kSync[] = "sync";

// Of an alert.
inline constexpr const char kBranch[] = "branch";

// Of topics and values.
inline constexpr const char kTopic[] = "topic";
inline constexpr const char kRemark[] = "remark";
inline constexpr const char kCategory[] = "cat";
inline constexpr const char kKey[] = "key";
inline constexpr const char kPosition[] = "position";
inline constexpr const char kLimit[] = "limit";
inline constexpr const char kValues[] = "kv";

// In the query of calls that initiators make themselves.

inline std::string UserAgent() { return std::string("dtm-cpp/") + kVersion; }

/// @throws BadInput
inline TransType TypeNamed(const std::string& name) {
  for (const TransType type :
       {TransType::kSaga, TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    if (name == Name(type)) return type;
  }
  throw BadInput("trans_type '" + Printable(name) +
                 "' is none of saga, msg, tcc, xa and workflow; say what the transaction is");
}

/// As a coordinator reports it; a status that is not known here counts as unfinished.
inline Status StatusNamed(const std::string& name) {
  for (const Status status :
       {Status::kPrepared, Status::kAborting, Status::kSucceed, Status::kFailed}) {
    if (name == Name(status)) return status;
  }
  return Status::kSubmitted;
}

/// @throws BadInput
inline Op OpNamed(const std::string& name) {
  for (const Op op : {Op::kAction, Op::kCompensate, Op::kTry, Op::kConfirm, Op::kCancel,
                      Op::kCommit, Op::kRollback, Op::kMsg, Op::kBusiness}) {
    if (name == Name(op)) return op;
  }
  throw BadInput("op '" + Printable(name) +
                 "' is none of action, compensate, try, confirm, cancel, commit, rollback, msg and "
                 "business");
}

/// The request target of a branch call: gid, branch_id, op and trans_type are added to the query that is there.
inline std::string BranchTarget(const std::string& target, const BranchInfo& info) {
  std::string result = WithQueryOpen(target);
  const auto add = [&result](const char* name, const std::string& value, const char* end) {
    result.append(name).append("=").append(PercentEncoded(value)).append(end);
  };
  add(kBranchId, info.branch_id, "&");
  add(kGid, info.gid, "&");
  add(kOp, info.op == Op::kResume ? info.workflow : Name(info.op), "&");
  add(kTransType, Name(info.trans_type), "");
  return result;
}

/// Commit and rollback of an xa are empty POSTs; any other call without a payload is a GET.
inline const char* BranchMethod(TransType type, const std::string& payload) {
  return type == TransType::kXa || !payload.empty() ? "POST" : "GET";
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/alert_web_hook.hpp ---------------------------------------------------------------

/// Options::on_alert by HTTP: tells a URL which branch keeps failing.
/// Needs: POSIX. Threads: what it makes runs on any.
/// Protocol: §3 (alert). The reply is ignored, and no redirect is followed.

#include <nlohmann/json.hpp>

namespace dtm {
inline namespace v1 {

namespace alert_web_hook {

inline constexpr std::chrono::seconds kTimeout{3};
inline constexpr std::size_t kMaxAnswer = 4096;  // of which nothing is read

inline std::string Body(const Alert& alert) {
  const nlohmann::ordered_json body = {{wire::kGid, alert.gid},
                                       {wire::kStatus, Name(alert.status)},
                                       {wire::kBranch, alert.branch},
                                       {wire::kError, alert.error},
                                       {wire::kRetryCount, alert.retry_count}};
  // Branches may have answered with anything.
  return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// @throws Error  there was no reply; the coordinator logs it.
inline void Post(const Url& url, const Alert& alert, const std::shared_ptr<TlsClient>& tls) {
  http1::HttpRequest request;
  request.method = "POST";
  request.target = url.target;
  request.body = Body(alert);
  request.Set("Host", url.Authority());
  request.Set("Content-Type", wire::kJson);
  request.Set("Accept-Encoding", "identity");
  request.Set("User-Agent", wire::UserAgent());
  request.Set("Connection", "close");
  if (!url.credentials.empty()) request.Set("Authorization", wire::BasicAuthorization(url));
  // Alerts are rare: none leaves a connection behind.
  const Exchanged reply = HttpConnection(url, kMaxAnswer, tls)
                              .Send(request, std::chrono::steady_clock::now() + kTimeout);
  if (!reply.answered) {
    throw Error("the alert web hook at " + url.Origin() + " did not answer: " + reply.Problem());
  }
}

}  // namespace alert_web_hook

/// `options.on_alert = dtm::AlertWebHook("http://...")`: POSTs each alert as
/// {"gid","status","branch","error","retry_count"}, within 3 s. `tls`: for https, dtm::Tls() of <dtm/http/tls.hpp>.
/// @throws Error  the URL cannot be called.
inline std::function<void(const Alert&)> AlertWebHook(const std::string& url,
                                                      std::shared_ptr<TlsClient> tls = nullptr) {
  Url parsed = ParseHttpUrl(url, "the alert web hook");
  if (parsed.Tls() && !tls) {
    throw Error("the alert web hook " + parsed.Origin() +
                " needs TLS: include <dtm/http/tls.hpp> and give dtm::Tls() as well");
  }
  return [parsed = std::move(parsed), tls = std::move(tls)](const Alert& alert) {
    alert_web_hook::Post(parsed, alert, tls);
  };
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/access.hpp -------------------------------------------------------------------

/// Who may use the API: the token, and requests that a foreign web page made a browser send.
/// Needs: std. Threads: pure functions. Document: docs/http_api.md, "Security".

namespace dtm {
inline namespace v1 {
namespace access {

/// The headers that decide; empty means absent.
struct Headers {
  std::string authorization;
  std::string host;
  std::string origin;
  std::string sec_fetch_site;
  std::string sec_fetch_dest{};  ///< what the browser wants it for
};

enum class Verdict { kAllowed, kNoToken, kForeign };

/// Takes the same time wherever the texts differ, so that a token cannot be guessed piece by piece.
inline bool Equal(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0u : 1u;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char other = b.empty() ? '\0' : b[i % b.size()];
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(other);
  }
  return difference == 0;
}

/// `Bearer <token>`, or Basic with the token as the password: clients that do not support tokens can put
/// it into the URL of the server.
inline bool CarriesToken(std::string_view authorization, std::string_view token) {
  if (Lowered(authorization.substr(0, 7)) == "bearer ")
    return Equal(authorization.substr(7), token);
  if (Lowered(authorization.substr(0, 6)) != "basic ") return false;
  const auto decoded = wire::base64::Decode(authorization.substr(6));
  if (!decoded) return false;
  const std::size_t colon = decoded->find(':');
  return colon != std::string::npos && Equal(std::string_view(*decoded).substr(colon + 1), token);
}

/// "localhost:36789" -> "localhost".
inline std::string_view WithoutPort(std::string_view host) {
  const std::size_t bracket = host.rfind(']');
  const std::size_t colon = host.rfind(':');
  const bool port = colon != std::string_view::npos &&
                    (bracket == std::string_view::npos ? host.find(':') == colon : colon > bracket);
  return port ? host.substr(0, colon) : host;
}

inline bool IsLoopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" || host == "::1" ||
         (host.substr(0, 4) == "127." &&
          host.find_first_not_of("0123456789.") == std::string_view::npos);
}

/// Clients of dtm do not send Origin or Sec-Fetch-Site; browsers send them for a foreign page.
inline bool FromForeignPage(const Headers& headers) {
  const bool own_origin = headers.origin.empty() || headers.origin == "http://" + headers.host ||
                          headers.origin == "https://" + headers.host;
  const bool own_site = headers.sec_fetch_site.empty() || headers.sec_fetch_site == "none" ||
                        headers.sec_fetch_site == "same-origin";
  return !own_origin || !own_site;
}

/// The Host header has the name that a page used, so a foreign name that resolves to us (DNS rebinding) is noticed.
inline Verdict Judge(const Headers& headers, const std::string& token) {
  if (FromForeignPage(headers)) return Verdict::kForeign;
  if (!token.empty()) {
    return CarriesToken(headers.authorization, token) ? Verdict::kAllowed : Verdict::kNoToken;
  }
  return IsLoopback(Lowered(WithoutPort(headers.host))) ? Verdict::kAllowed : Verdict::kForeign;
}

/// A ping of a server with a token needs no token, and may use any host name.
inline Verdict JudgePing(const Headers& headers, const std::string& token) {
  if (token.empty()) return Judge(headers, token);
  return FromForeignPage(headers) ? Verdict::kForeign : Verdict::kAllowed;
}

/// A page holds no data, so it needs no token. Another site may have a link to it, but nothing else of it.
inline Verdict JudgePage(Headers headers, const std::string& token) {
  const bool followed_link = headers.origin.empty() && headers.sec_fetch_dest == "document";
  if (followed_link) headers.sec_fetch_site.clear();
  return JudgePing(headers, token);
}

}  // namespace access
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/json_input.hpp --------------------------------------------------------------

/// JSON of requests and replies: parsed with limits, read without conversions, refused with a sentence.
/// Needs: nlohmann/json. Threads: values only. Protocol: §2.1 (coercions: none), §12 W13.

#include <map>

namespace dtm {
inline namespace v1 {
namespace wire {

namespace json_input {

/// Any value; discarded if the text is not JSON, or is nested too deeply to be copied or dumped.
inline nlohmann::json Parse(const std::string& text) {
  if (JsonDepth(text) > kMaxJsonDepth) return nlohmann::json::value_t::discarded;
  return nlohmann::json::parse(text, nullptr, false);
}

/// @throws BadInput
inline void CheckObject(const nlohmann::json& json, const std::string& what) {
  if (!json.is_object()) throw BadInput(what + " must be a JSON object");
}

/// @throws BadInput  with what and where.
inline nlohmann::json ParseObject(const std::string& text, const std::string& what) {
  if (JsonDepth(text) > kMaxJsonDepth) {
    throw BadInput(what + " is nested more than " + std::to_string(kMaxJsonDepth) + " levels deep");
  }
  if (text.find('\0') != std::string::npos) throw BadInput(what + " contains a NUL byte");
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw BadInput(what + " is not valid JSON: " + Printable(error.what()));
  }
  CheckObject(json, what);
  return json;
}

/// An object whose keys match without regard to case; null is the same as absent.
class Fields {
 public:
  /// `what` names the object in error messages.
  /// @throws BadInput  a key is there twice.
  Fields(const nlohmann::json& object, std::string what) : what_(std::move(what)) {
    fields_.reserve(object.size());
    for (const auto& item : object.items()) {
      fields_.emplace_back(Lowered(item.key()), item.value().is_null() ? nullptr : &item.value());
    }
    std::sort(fields_.begin(), fields_.end(),
              [](const Field& a, const Field& b) { return a.first < b.first; });
    const auto twice =
        std::adjacent_find(fields_.begin(), fields_.end(),
                           [](const Field& a, const Field& b) { return a.first == b.first; });
    if (twice != fields_.end()) {
      throw BadInput(what_ + ": the key '" + Printable(twice->first) +
                     "' is given twice, in different case");
    }
  }

  const nlohmann::json* Find(const char* key) const {
    const auto found = std::lower_bound(
        fields_.begin(), fields_.end(), key,
        [](const Field& field, const char* wanted) { return field.first < wanted; });
    return found == fields_.end() || found->first != key ? nullptr : found->second;
  }

  std::string Text(const char* key) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return {};
    if (!value->is_string()) Wrong(key, "a string");
    return value->get_ref<const std::string&>();
  }

  bool Bool(const char* key) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) Wrong(key, "true or false");
    return value->get<bool>();
  }

  std::int64_t Integer(const char* key, std::int64_t smallest, std::int64_t largest) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return 0;
    const std::string range =
        "an integer from " + std::to_string(smallest) + " to " + std::to_string(largest);
    if (!value->is_number_integer()) Wrong(key, range);
    const bool huge = value->is_number_unsigned() &&
                      value->get<std::uint64_t>() > static_cast<std::uint64_t>(largest);
    if (huge || value->get<std::int64_t>() < smallest || value->get<std::int64_t>() > largest) {
      Wrong(key, range);
    }
    return value->get<std::int64_t>();
  }

  std::map<std::string, std::string> Texts(const char* key) const {
    std::map<std::string, std::string> texts;
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return texts;
    if (!value->is_object()) Wrong(key, "an object of strings");
    for (const auto& item : value->items()) {
      if (item.value().is_null()) continue;
      if (!item.value().is_string()) Wrong(key, "an object of strings");
      texts[item.key()] = item.value().get_ref<const std::string&>();
    }
    return texts;
  }

  /// Calls `each` with every element; `wanted` says in errors what they must be.
  void Each(const char* key, const char* wanted,
            const std::function<bool(const nlohmann::json&)>& each) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_array()) Wrong(key, wanted);
    for (const nlohmann::json& element : *value) {
      if (!each(element)) Wrong(key, wanted);
    }
  }

  [[noreturn]] void Wrong(const char* key, const std::string& wanted) const {
    throw BadInput(what_ + ": '" + key + "' must be " + wanted);
  }

 private:
  using Field = std::pair<std::string, const nlohmann::json*>;

  std::string what_;
  std::vector<Field> fields_;  ///< in the order of their names
};

}  // namespace json_input
}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/json_text.hpp ---------------------------------------------------------------

/// JSON as text, as the Go server writes it.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.

namespace dtm {
inline namespace v1 {
namespace wire {

/// `<`, `>` and `&` are escaped, so the text can be shown in a web page.
inline std::string JsonText(const nlohmann::ordered_json& json) {
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '<': safe += "\\u003c"; break;
      case '>': safe += "\\u003e"; break;
      case '&': safe += "\\u0026"; break;
      default: safe += c;
    }
  }
  return safe;
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/replies.hpp ------------------------------------------------------------------

/// A request to the API and its reply, without sockets; and the HTTP status of each outcome.
/// Needs: nlohmann/json. Threads: values only. Document: docs/http_api.md, "Rules for every request".

namespace dtm {
inline namespace v1 {

struct ApiRequest {
  std::string method;
  std::string path;                               ///< decoded, without the query
  std::multimap<std::string, std::string> query;  ///< decoded
  std::string body;
  std::vector<http1::HttpHeader> headers{};  ///< for head.hpp, as this:
  std::string host{};                        ///< for whom it is

  std::string Query(const char* key) const {
    const auto found = query.find(key);
    return found == query.end() ? std::string() : found->second;
  }
};

struct ApiReply {
  int status = 200;
  std::string body;
  const char* type = "application/json; charset=utf-8";
  int retry_after = 0;  ///< seconds after which the same request may work; 0 = no header
  bool close = false;   ///< the connection is closed, the body of the request was not read
  const char* challenge = nullptr;           ///< WWW-Authenticate
  std::vector<http1::HttpHeader> headers{};  ///< further ones
};

/// A file that is served beside the API, to everybody who reaches the server: it holds no data.
struct ApiPage {
  std::string_view path;
  const char* type;       ///< Content-Type
  std::string_view text;  ///< it lives as long as the program
  std::vector<http1::HttpHeader> headers{};
};

/// Gets the reply, once. It must neither throw nor wait: it may be called on the coordinator's thread.
using ApiDone = std::function<void(ApiReply)>;

/// An outcome in HTTP. JSON-RPC writes the same in its own form.
struct ApiOutcome {
  int status = 200;       ///< of HTTP
  std::string message{};  ///< unless it is 200
  bool rejected = false;  ///< of a 409: nothing was changed, so it was not rolled back
};

inline ApiOutcome InHttp(Outcome&& outcome) {
  using Kind = Outcome::Kind;
  const auto status = [](Kind kind) {
    switch (kind) {
      case Kind::kDone: return 200;
      case Kind::kBadInput: return 400;
      case Kind::kRejected:
      case Kind::kRolledBack: return 409;
      case Kind::kOngoing: return 425;
      case Kind::kUnavailable: return 503;
      case Kind::kUnknown: break;
    }
    return 500;
  };
  const bool rejected = outcome.kind == Kind::kRejected;
  return {status(outcome.kind), std::move(outcome.message), rejected};
}

namespace replies {

inline ApiReply NotFound() { return {404, "404 page not found", "text/plain"}; }

inline ApiReply OfPage(const ApiPage& page) {
  ApiReply reply{200, std::string(page.text), page.type};
  reply.headers = page.headers;
  return reply;
}

inline ApiReply Of(const ApiOutcome& outcome) {
  if (outcome.status == 200) return {200, R"({"dtm_result":"SUCCESS"})"};
  nlohmann::ordered_json json;
  if (outcome.status == 409) json[wire::kDtmResult] = wire::kFailure;
  if (outcome.status == 425) json[wire::kDtmResult] = wire::kOngoing;
  json[wire::kMessage] = outcome.message;
  if (outcome.rejected) json[wire::kRejected] = true;
  ApiReply reply{outcome.status, wire::JsonText(json)};
  if (outcome.status == 503) reply.retry_after = 1;
  return reply;
}

}  // namespace replies

/// An optional sign and digits, as the reference reads them.
inline std::int64_t QueryInteger(const ApiRequest& request, const char* key, std::int64_t otherwise,
                                 std::int64_t smallest, std::int64_t largest) {
  const std::string text = request.Query(key);
  if (text.empty()) return otherwise;
  const std::size_t sign = text[0] == '-' || text[0] == '+' ? 1 : 0;
  const bool digits = text.size() > sign && text.size() - sign <= 18 &&
                      text.find_first_not_of("0123456789", sign) == std::string::npos;
  if (!digits) throw BadInput("convert to int error: " + Printable(Truncated(text, 100)));
  const std::int64_t value =
      ParseNumber<std::int64_t>(std::string_view(text).substr(text[0] == '+' ? 1 : 0))
          .value_or(0);  // 18 digits always fit
  if (value < smallest || value > largest) {
    throw BadInput(std::string(key) + " is " + text + "; it must be " + std::to_string(smallest) +
                   " to " + std::to_string(largest));
  }
  return value;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/head.hpp ---------------------------------------------------------------------

/// Decisions on the head of a request to the API, before its body is read.
/// Needs: std. Threads: pure functions. Protocol: RFC 9112 §3.2.2, §6; document: docs/http_api.md, "Security".

namespace dtm {
inline namespace v1 {
namespace api_head {

inline constexpr std::size_t kMaxBodyBytes = 1024 * 1024;

/// A reply after which the connection is closed, since the body was not read.
inline ApiReply Refusal(int status, const std::string& why) {
  ApiReply reply = replies::Of({status, why});
  reply.close = true;
  return reply;
}
inline ApiReply TooLong() {
  return Refusal(
      413, "the body is longer than the limit of " + std::to_string(kMaxBodyBytes) + " bytes");
}

inline bool MayHaveBody(const std::string& method) {
  return method == "POST" || method == "PUT" || method == "PATCH";
}

inline std::size_t CountHeaders(const ApiRequest& request, std::string_view lower) {
  std::size_t count = 0;
  for (const auto& header : request.headers) {
    if (http1::EqualsLower(header.name, lower)) ++count;
  }
  return count;
}

/// The values of all headers of this name, as one list.
inline std::string JoinedHeader(const ApiRequest& request, std::string_view lower) {
  std::string joined;
  for (const auto& header : request.headers) {
    if (!http1::EqualsLower(header.name, lower)) continue;
    if (!joined.empty()) joined += ",";
    joined += header.value;
  }
  return joined;
}

/// Call it once path and headers are set. A target in the absolute form ("GET http://host/api/ping") names the host
/// itself; the Host header does not count then.
inline void TakeHost(ApiRequest& request) {
  std::string& path = request.path;
  request.host = http1::FindHeader(request.headers, "host");
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (Lowered(std::string_view(path).substr(0, scheme.size())) != scheme) continue;
    const std::size_t end = (std::min)(path.find('/', scheme.size()), path.size());
    request.host = path.substr(scheme.size(), end - scheme.size());
    path.erase(0, end);
    if (path.empty()) path = "/";
    return;
  }
}

/// A request for a page (ApiPage), for a ping, or for anything else.
inline access::Verdict JudgeFor(const ApiRequest& request, bool is_page,
                                const access::Headers& headers, const std::string& token) {
  if (is_page) return access::JudgePage(headers, token);
  if (request.path == "/api/ping") return access::JudgePing(headers, token);
  return access::Judge(headers, token);
}

/// The refusal of a request that needs no body to be refused.
inline std::optional<ApiReply> Check(const ApiRequest& request, const std::string& token,
                                     bool is_page = false) {
  const auto header = [&request](std::string_view lower) {
    return std::string(http1::FindHeader(request.headers, lower));
  };
  const std::string length = header("content-length");
  const bool chunked = CountHeaders(request, "transfer-encoding") > 0;
  if (CountHeaders(request, "content-length") > 1 || (chunked && !length.empty())) {
    return Refusal(400, "the length of the body is said twice; send one Content-Length");
  }
  if (CountHeaders(request, "host") > 1) return Refusal(400, "there are two Host headers");
  if (length.find_first_not_of("0123456789") != std::string::npos) {
    return Refusal(400, "Content-Length must be a number");
  }
  const access::Headers headers{header("authorization"), request.host, header("origin"),
                                header("sec-fetch-site"), header("sec-fetch-dest")};
  switch (JudgeFor(request, is_page, headers, token)) {
    case access::Verdict::kAllowed: break;
    case access::Verdict::kNoToken: {
      ApiReply reply =
          Refusal(401, "this server needs its token: send Authorization: Bearer <token>");
      reply.challenge = "Bearer";
      return reply;
    }
    case access::Verdict::kForeign:
      return Refusal(403,
                     "refused: it came from a foreign web page, or Host is not this machine; "
                     "a server with a token accepts any Host");
  }
  const std::string& method = request.method;
  const bool body = chunked || !(length.empty() || length == "0");
  if (!MayHaveBody(method) && body) {
    return Refusal(400, "a request of this method must not have a body");
  }
  if (!MayHaveBody(method) && method != "GET" && method != "HEAD" && method != "DELETE" &&
      method != "OPTIONS") {
    ApiReply reply = replies::NotFound();
    reply.close = true;
    return reply;
  }
  const std::string encoding = Lowered(header("content-encoding"));
  const std::string type = Lowered(header("content-type"));
  if ((!encoding.empty() && encoding != "identity") || type.find("multipart/") == 0) {
    return Refusal(415, "the body must be JSON, neither compressed nor in parts");
  }
  if (length.size() > 7 || (!length.empty() && ParseNumber<std::size_t>(length).value_or(
                                                   kMaxBodyBytes + 1) > kMaxBodyBytes)) {
    return TooLong();
  }
  return std::nullopt;
}

}  // namespace api_head
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/numbers/api_counters.hpp -----------------------------------------------------

/// The requests that were answered, counted by the name of the API.
/// Needs: std. Threads: thread-safe.

namespace dtm {
inline namespace v1 {

/// Requests that got a reply, by the name of the API.
class ApiCounters {
 public:
  struct Api {
    std::uint64_t ok = 0;
    std::uint64_t failed = 0;
    Histogram durations;
  };

  /// `api` is one of a few names, never what a caller sent.
  void Answered(const std::string& api, int status, Duration took) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Api& counted = apis_[api];
    ++(status < 400 ? counted.ok : counted.failed);
    counted.durations.Add(took);
  }
  /// The same for a request that came at `begin`. Without memory it is not counted.
  void AnsweredNow(const char* api, int status, std::chrono::steady_clock::time_point begin) {
    const auto took = std::chrono::steady_clock::now() - begin;
    Answers::Protected([&] { Answered(api, status, std::chrono::duration_cast<Duration>(took)); });
  }

  std::map<std::string, Api> Get() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return apis_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Api> apis_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/retry_all.hpp -------------------------------------------------------------

/// Tries many transactions at once.
/// Needs: std. Threads: any.

namespace dtm {
inline namespace v1 {

/// As Coordinator::RetryNow for each; returns how many of them had not ended. They are asked for at once, since what another
/// coordinator drives is answered with that one's next beat.
/// @throws as RetryNow, when all have been answered.
inline std::int64_t RetryAllNow(Coordinator& tm, const std::vector<std::string>& gids) {
  struct Tries {
    std::mutex mutex;
    std::size_t left = 0;
    std::int64_t done = 0;
    Answer problem{};
  };
  if (gids.empty()) return 0;
  const auto tries = std::make_shared<Tries>();
  tries->left = gids.size();
  tm.Await([&](const AnswerCallback& answer) {
    const AnswerCallback one = [tries, answer](const Answer& given) {
      const std::unique_lock<std::mutex> lock(tries->mutex);
      try {
        (void)given.Get();
        ++tries->done;
      } catch (const RejectedError&) {  // it has ended meanwhile
      } catch (...) {                   // the others are tried all the same
        tries->problem = given;
      }
      if (--tries->left == 0) answer(tries->problem);
    };
    for (const std::string& gid : gids) {
      try {
        tm.RetryNowAsync(gid, one);
      } catch (...) {
        one({{}, std::current_exception()});
      }
    }
  });
  return tries->done;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/branch_reply.hpp -------------------------------------------------------------

/// The reply of a branch over HTTP: Rule A from the side of the branch.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §1 (rule A), §11 (helper for branch
/// services).

namespace dtm {
inline namespace v1 {
namespace replies {

/// JSON in which the words of Rule A are escaped: a reader that searches the body does not find them, a
/// reader that parses it gets the original text.
inline void Hide(const std::string& word, std::string& json) {
  static constexpr char kHex[] = "0123456789abcdef";
  const auto first = static_cast<unsigned char>(word[0]);
  const std::string escaped = std::string("\\u00") + kHex[first >> 4] + kHex[first & 15];
  for (std::size_t at = json.find(word); at != std::string::npos; at = json.find(word, at)) {
    json.replace(at, 1, escaped);
  }
}

/// The caller gets exactly the meaning of the status, whatever names and texts the body contains.
inline void HideWords(ApiReply& reply) {
  if (reply.status == 200 || reply.status == 425) return;
  Hide(wire::kOngoing, reply.body);
  if (reply.status != 409) Hide(wire::kFailure, reply.body);
}

/// Success 200, Failure 409, Ongoing 425, else 500 `{"error":"..."}`; 503 if it asks to wait.
inline ApiReply OfBranch(const Result& result) {
  ApiReply reply;
  switch (result.kind) {
    case Result::Kind::kSuccess: return Of({});
    case Result::Kind::kOngoing: reply = Of({425, result.text}); break;
    case Result::Kind::kFailure: reply = Of({409, result.text}); break;
    case Result::Kind::kError:
    case Result::Kind::kNotSent:
      reply.status = result.retry_after.count() > 0 ? 503 : 500;
      reply.body = wire::JsonText({{wire::kError, result.text}});
      break;
  }
  if (result.kind != Result::Kind::kFailure) {
    const Duration wait = (std::min)(result.retry_after, Duration(kMaxRetryAfter));
    reply.retry_after = static_cast<int>((wait.count() + 999999) / 1000000);
  }
  HideWords(reply);
  return reply;
}

}  // namespace replies
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/function_call.hpp ------------------------------------------------------------

/// A registered function of this program as a branch of a coordinator elsewhere, which calls it over HTTP.
/// Needs: nlohmann/json. Threads: thread-safe; the function runs in this thread. Protocol: §1 (rule A), §3.

namespace dtm {
inline namespace v1 {
namespace api_function {

inline constexpr const char kPath[] = "/api/dtmsvr/branch/";  ///< and the name of the function

/// @throws BadInput, RejectedError  the call is incomplete, or there is no such function.
inline Result Call(Coordinator& tm, const ApiRequest& request) {
  const std::string name = request.path.substr(sizeof kPath - 1);
  BranchInfo info;
  info.gid = request.Query(wire::kGid);
  info.branch_id = request.Query(wire::kBranchId);
  if (info.gid.empty() || info.branch_id.empty()) {
    throw BadInput("a branch call names gid, trans_type, branch_id and op in its query");
  }
  info.trans_type = wire::TypeNamed(request.Query(wire::kTransType));
  const std::string op = request.Query(wire::kOp);
  if (info.trans_type == TransType::kWorkflow && info.branch_id == "00" && !op.empty()) {
    info.op = Op::kResume;  // a coordinator says the name of the workflow where the op is
    info.workflow = op;
  } else {
    info.op = wire::OpNamed(op);
  }
  if (api_head::CountHeaders(request, kTraceParent) == 1) {
    const auto trace = ReadTraceContext(http1::FindHeader(request.headers, kTraceParent),
                                        api_head::JoinedHeader(request, kTraceState));
    if (trace) Put(*trace, info);
  }
  return tm.CallFunction(name, request.body, info);
}

/// The caller gets exactly the meaning of the status, whatever names and texts the body contains.
inline ApiReply Reply(Coordinator& tm, const ApiRequest& request) {
  ApiReply reply;
  try {
    reply = replies::OfBranch(Call(tm, request));
  } catch (...) {
    reply = replies::Of(InHttp(OutcomeOf(std::current_exception())));
    replies::HideWords(reply);
  }
  return reply;
}

}  // namespace api_function
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/reply_rule.hpp --------------------------------------------------------------

/// Rule A: the result that the HTTP reply of a branch stands for.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §1, Rule A.

namespace dtm {
inline namespace v1 {
namespace wire {

/// Text from outside, made safe to store and show: at most kMaxReasonBytes of valid UTF-8, cut between
/// characters; other bytes and control characters (except tab and line feed) become '?'.
inline std::string StorableText(const std::string& bytes) {
  return Replaced(bytes, kMaxReasonBytes, [&bytes](std::size_t at, std::size_t length) {
    const unsigned char first = static_cast<unsigned char>(bytes[at]);
    const bool control = (first < 0x20 && first != '\t' && first != '\n') || first == 0x7F;
    return length == 0 || control ? '?' : '\0';
  });
}

/// The reason that a branch gives with a FAILURE: the `message` or `error` of a JSON object, otherwise the whole body.
inline std::string OwnWords(const std::string& body) {
  const nlohmann::json json =
      !body.empty() && body.front() == '{' ? json_input::Parse(body) : nlohmann::json();
  for (const char* key : {"message", "error"}) {
    const auto told = json.is_object() ? json.find(key) : json.end();
    if (told == json.end()) continue;
    if (told->is_object())
      return OwnWords(told->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    if (told->is_string() && !told->get_ref<const std::string&>().empty()) {
      return StorableText(told->get_ref<const std::string&>());
    }
  }
  return StorableText(body);
}

/// The words in the body count whatever the status is, and ONGOING counts before FAILURE; 201, 204
/// and redirects are temporary errors. The text of the result is the body (for a failure, its reason),
/// or the status if that is empty.
inline Result ReadReply(int status, const std::string& body) {
  const std::string code = "HTTP status " + std::to_string(status);
  const auto text = [&] { return StorableText(body.empty() ? code : body); };
  if (status == 425 || body.find("ONGOING") != std::string::npos) return Result::Ongoing(text());
  if (status == 409 || body.find("FAILURE") != std::string::npos) {
    return Result::Failure(body.empty() ? code : OwnWords(body));
  }
  if (status == 200) return Result::Success();
  return Result::Error(StorableText(body.empty() ? code : code + ": " + body));
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/json_rpc.hpp ----------------------------------------------------------------

/// JSON-RPC 2.0 as dtm uses it for branches: the body of a call, and the result that a reply stands for.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §1 (results), §3 (JSON-RPC call), §12 W8, W32.

namespace dtm {
inline namespace v1 {
namespace wire {
namespace json_rpc {

inline constexpr int kFailureCode = -32901;
inline constexpr int kOngoingCode = -32902;

/// The value of `method` in the url's query; empty if there is none.
inline std::string MethodOf(const Url& url) {
  if (!url.Http()) return {};
  const std::string query = url.target.substr((std::min)(url.target.find('?'), url.target.size()));
  for (const char* key : {"?method=", "&method="}) {
    const std::size_t at = query.find(key);
    if (at == std::string::npos) continue;
    const std::size_t begin = at + std::string(key).size();
    return PercentDecoded(query.substr(begin, query.find('&', begin) - begin));
  }
  return {};
}

inline bool Speaks(const Definition& definition, const Url& url) {
  return definition.json_rpc && !MethodOf(url).empty();
}

/// The payload as the params of a call.
/// @throws BadInput  it is not a JSON object, so gid, branch_id and op cannot be added.
inline nlohmann::json Params(const std::string& payload) {
  return json_input::ParseObject(payload.empty() ? "{}" : payload,
                                 "the payload of a JSON-RPC branch");
}

/// @throws BadInput  as Params.
inline std::string BranchBody(const Url& url, const std::string& payload, const BranchInfo& info) {
  nlohmann::json params = Params(payload);
  params[wire::kGid] = info.gid;
  params[wire::kTransType] = Name(info.trans_type);
  params[wire::kBranchId] = info.branch_id;
  params[wire::kOp] = Name(info.op);
  return nlohmann::json{{"jsonrpc", "2.0"},
                        {"id", info.gid + "-" + info.branch_id + "-" + Name(info.op)},
                        {"method", MethodOf(url)},
                        {"params", std::move(params)}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// The words of Rule A in the body count first, as everywhere; then the code of the error.
inline Result ReadReply(int status, const std::string& body) {
  Result plain = wire::ReadReply(status, body);
  if (plain.kind != Result::Kind::kSuccess) return plain;
  const nlohmann::json reply = json_input::Parse(body);
  if (!reply.is_object())
    return Result::Error("its answer is no JSON object, or nested too deeply: " +
                         StorableText(body));
  const auto error = reply.find("error");
  if (error == reply.end() || error->is_null()) return plain;
  const nlohmann::json code = error->is_object() ? error->value("code", nlohmann::json()) : nullptr;
  const std::string text = StorableText(body);
  if (code == kFailureCode) return Result::Failure(OwnWords(body));
  if (code == kOngoingCode) return Result::Ongoing(text);
  return Result::Error(text);
}

}  // namespace json_rpc
}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/write_transaction.hpp -------------------------------------------------------

/// A transaction as dtm's clients send it: from the record to JSON. read_transaction.hpp does the opposite.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.1, §4.1 (custom_data), §11.1.

namespace dtm {
inline namespace v1 {
namespace wire {

/// As the client sent it; otherwise as dtm's clients would.
inline std::string CustomData(const Definition& saga) {
  if (!saga.custom_data.empty()) return saga.custom_data;
  if (saga.type == TransType::kMsg && saga.delay.count() > 0) {
    return nlohmann::json{{kDelay, saga.delay.count()}}.dump();
  }
  if (saga.type == TransType::kWorkflow) {
    return nlohmann::json{{kName, saga.workflow}, {kData, base64::Encode(saga.data)}}.dump();
  }
  // dtm's clients write it only for concurrent sagas. Orders of a sequential saga have no effect, but are part of its content.
  if (saga.type != TransType::kSaga || (!saga.concurrent && saga.orders.empty())) return {};
  nlohmann::ordered_json json = {{kConcurrent, saga.concurrent}};
  nlohmann::ordered_json orders = nlohmann::ordered_json::object();
  for (const auto& order : saga.orders) orders[std::to_string(order.first)] = order.second;
  json[kOrders] = std::move(orders);
  return json.dump();
}

/// Adds the options that are set.
inline void AddOptions(const Definition& definition, nlohmann::ordered_json& json) {
  const TransOptions& options = definition.options;
  const auto add = [&json](const char* key, std::int64_t value) {
    if (value != 0) json[key] = value;
  };
  if (options.wait_result) json[kWaitResult] = true;
  add(kTimeoutToFail, options.timeout_to_fail.count());
  add(kRequestTimeout, options.request_timeout.count());
  add(kRetryInterval, options.retry_interval.count());
  if (!options.branch_headers.empty()) json[kBranchHeaders] = options.branch_headers;
  json[kConcurrent] = definition.concurrent;
  add(kRetryLimit, options.retry_limit);
}

inline nlohmann::ordered_json StepsJson(const Definition& definition) {
  auto steps = nlohmann::ordered_json::array();
  if (definition.type == TransType::kMsg) {
    for (const auto& step : SubmittedSteps(definition)) steps.push_back({{kAction, step.first}});
    return steps;
  }
  for (const Step& step : definition.steps) {
    steps.push_back({{kAction, step.action}, {kCompensate, step.compensate}});
  }
  return steps;
}

inline nlohmann::ordered_json PayloadsJson(const Definition& definition) {
  auto payloads = nlohmann::ordered_json::array();
  if (definition.type == TransType::kMsg) {
    for (const auto& step : SubmittedSteps(definition)) payloads.push_back(step.second);
    return payloads;
  }
  for (const Step& step : definition.steps) payloads.push_back(step.payload);
  return payloads;
}

/// The body of a submit and its like, byte for byte as dtm's clients send it (§11.1); `more` comes last.
inline std::string EncodeTransaction(const Definition& definition,
                                     const nlohmann::ordered_json& more = {}) {
  nlohmann::ordered_json json = {{kGid, definition.gid}, {kTransType, Name(definition.type)}};
  const std::string custom_data = CustomData(definition);
  if (!custom_data.empty()) json[kCustomData] = custom_data;
  AddOptions(definition, json);
  if (!definition.steps.empty() && !RegistersSteps(definition.type)) {
    json[kSteps] = StepsJson(definition);
    json[kPayloads] = PayloadsJson(definition);
  }
  if (!definition.query_prepared.empty()) json[kQueryPrepared] = definition.query_prepared;
  json[kProtocol] = definition.type == TransType::kWorkflow ? kHttp
                    : definition.json_rpc                   ? kJsonRpc
                                                            : "";
  for (const auto& item : more.items()) json[item.key()] = item.value();
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/read_transaction.hpp --------------------------------------------------------

/// A transaction as clients send it: from JSON to the record. write_transaction.hpp does the opposite.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.1, §4.1 (custom_data), §11.1.

namespace dtm {
inline namespace v1 {
namespace wire {

/// @throws BadInput
inline std::string GidOf(const json_input::Fields& fields) {
  std::string gid = CleanGid(fields.Text(kGid));
  const std::string problem = GidProblem(gid);
  if (!problem.empty()) throw BadInput(problem);
  return gid;
}

/// Functions of the coordinator's program cannot be named from outside.
/// @throws BadInput
inline void CheckNotLocal(const std::string& url) {
  if (!IsLocal(url)) return;
  throw BadInput("'" + Printable(Truncated(url, 200)) +
                 "' names a function of the coordinator's program; from outside a branch is a URL");
}

/// Refuses a payload that no JSON-RPC call could carry.
inline void CheckParams(const Step& step) {
  for (const std::string* url : {&step.action, &step.compensate}) {
    if (url->empty() || IsTopic(*url) || !UrlProblem(*url).empty()) continue;
    if (json_rpc::MethodOf(ParseUrl(*url)).empty()) continue;
    (void)json_rpc::Params(step.payload);
  }
}

namespace decode {

inline void Options(const json_input::Fields& fields, TransOptions& options) {
  const auto seconds = [&fields](const char* key) {
    return std::chrono::seconds(fields.Integer(key, 0, kMaxOptionSeconds.count()));
  };
  options.wait_result = fields.Bool(kWaitResult);
  options.timeout_to_fail = seconds(kTimeoutToFail);
  options.request_timeout = seconds(kRequestTimeout);
  options.retry_interval = seconds(kRetryInterval);
  options.retry_limit = static_cast<int>(fields.Integer(kRetryLimit, 0, kMaxRetryLimit));
  options.branch_headers = fields.Texts(kBranchHeaders);
}

/// The payloads are those of `payloads`, then the non-empty old-style `data` of the steps.
/// @throws BadInput  they are not what the protocol says.
inline std::vector<Step> Steps(const json_input::Fields& fields) {
  std::vector<Step> steps;
  std::vector<std::string> payloads, data;
  fields.Each(kPayloads, "an array of strings", [&payloads](const nlohmann::json& payload) {
    if (!payload.is_string() && !payload.is_null()) return false;
    payloads.push_back(payload.is_null() ? "" : payload.get<std::string>());
    return true;
  });
  fields.Each(kSteps, "an array of objects of strings", [&](const nlohmann::json& element) {
    if (!element.is_object() && !element.is_null()) return false;
    for (const auto& item : element.items()) {
      if (!item.value().is_string() && !item.value().is_null()) return false;
    }
    if (steps.size() >= kMaxSteps) {
      throw BadInput("more than " + std::to_string(kMaxSteps) + " steps; split the transaction");
    }
    const json_input::Fields step(element, "a step");
    steps.push_back({step.Text(kAction), step.Text(kCompensate), {}});
    if (std::string old = step.Text(kData); !old.empty()) data.push_back(std::move(old));
    return true;
  });
  payloads.insert(payloads.end(), data.begin(), data.end());
  if (payloads.size() < steps.size()) {
    throw BadInput("there are " + std::to_string(steps.size()) + " steps but only " +
                   std::to_string(payloads.size()) + " payloads; give one for each step");
  }
  for (std::size_t i = 0; i < steps.size(); ++i) steps[i].payload = std::move(payloads[i]);
  return steps;
}

/// `{"concurrent":true,"orders":{"2":[0,1]}}`, as text.
inline void SagaCustomData(const std::string& text, Definition& saga) {
  if (text.empty()) return;
  const nlohmann::json json = json_input::ParseObject(text, "custom_data");
  const json_input::Fields fields(json, "custom_data");
  saga.concurrent = fields.Bool(kConcurrent);
  const nlohmann::json* orders = fields.Find(kOrders);
  if (orders == nullptr) return;
  const char* wanted = "an object such as {\"2\":[0,1]}: step 2 comes after steps 0 and 1";
  if (!orders->is_object()) fields.Wrong(kOrders, wanted);
  for (const auto& order : orders->items()) {
    if (order.value().is_null()) continue;
    const std::optional<unsigned> number = ParseNumber<unsigned>(order.key());
    const bool fits = number && order.key().size() <= 4;
    if (!fits || !order.value().is_array()) fields.Wrong(kOrders, wanted);
    std::vector<int>& before = saga.orders[static_cast<int>(*number)];
    for (const nlohmann::json& step : order.value()) {
      const bool known = step.is_number_integer() && step >= 0 && step <= kMaxSteps;
      if (!known) fields.Wrong(kOrders, wanted);
      before.push_back(step.get<int>());
    }
  }
}

/// `{"delay":10}`, as text.
inline void MsgCustomData(const std::string& text, Definition& msg) {
  if (text.empty()) return;
  const nlohmann::json json = json_input::ParseObject(text, "custom_data");
  msg.delay = std::chrono::seconds(
      json_input::Fields(json, "custom_data").Integer(kDelay, 0, kMaxDelay.count()));
}

/// `{"name":"wf","data":"<base64>"}`, as text.
inline void WorkflowCustomData(const std::string& text, Definition& workflow) {
  const nlohmann::json json = json_input::ParseObject(text, "custom_data");
  const json_input::Fields fields(json, "custom_data");
  workflow.workflow = fields.Text(kName);
  const std::optional<std::string> data = base64::Decode(fields.Text(kData));
  if (!data) fields.Wrong(kData, "base64 text");
  workflow.data = *data;
}

}  // namespace decode

/// @throws BadInput  it is malformed, or names a function of the coordinator's program.
inline Definition DecodeTransaction(const json_input::Fields& fields) {
  Definition definition;
  definition.gid = GidOf(fields);
  definition.type = TypeNamed(fields.Text(kTransType));
  const std::string protocol = fields.Text(kProtocol);
  if (!protocol.empty() && protocol != kHttp && protocol != kJsonRpc) {
    throw BadInput("gid '" + definition.gid + "': protocol '" + Printable(protocol) +
                   "' is not spoken here; leave it empty, or say http or json-rpc");
  }
  definition.json_rpc = protocol == kJsonRpc;
  decode::Options(fields, definition.options);
  const bool concurrent = fields.Bool(kConcurrent);
  definition.query_prepared = fields.Text(kQueryPrepared);
  const std::string custom_data = fields.Text(kCustomData);
  (void)fields.Text(kRollbackReason);
  (void)fields.Texts(kReqExtra);
  std::vector<Step> steps = decode::Steps(fields);
  switch (definition.type) {
    case TransType::kSaga:  // only the `concurrent` of custom_data counts
      definition.steps = std::move(steps);
      decode::SagaCustomData(custom_data, definition);
      break;
    case TransType::kMsg:
      definition.steps = std::move(steps);
      for (Step& step : definition.steps) step.compensate.clear();
      definition.concurrent = concurrent;
      decode::MsgCustomData(custom_data, definition);
      break;
    case TransType::kWorkflow:
      if (!custom_data.empty()) decode::WorkflowCustomData(custom_data, definition);
      break;
    case TransType::kTcc:
    case TransType::kXa: break;
  }
  if (custom_data != CustomData(definition)) definition.custom_data = custom_data;
  CheckNotLocal(definition.query_prepared);
  for (const Step& step : definition.steps) {
    CheckNotLocal(step.action);
    CheckNotLocal(step.compensate);
  }
  if (definition.json_rpc) {
    for (const Step& step : definition.steps) CheckParams(step);
  }
  return definition;
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/registration.hpp ------------------------------------------------------------

/// A branch as clients register it with a prepared tcc, xa or workflow: from JSON to a step, and back.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.4 (registerBranch body).

namespace dtm {
inline namespace v1 {
namespace wire {

struct Registration {
  std::string gid;
  TransType type = TransType::kTcc;
  Step step;
};

/// A flat object of strings; keys that the type does not use are ignored.
/// @throws BadInput
inline Registration DecodeRegistration(const json_input::Fields& fields) {
  Registration branch;
  branch.gid = GidOf(fields);
  branch.type = TypeNamed(fields.Text(kTransType));
  Step& step = branch.step;
  step.branch_id = fields.Text(kBranchId);
  step.payload = fields.Text(kData);
  switch (branch.type) {
    case TransType::kTcc:
      step.action = fields.Text(kConfirm);
      step.compensate = fields.Text(kCancel);
      break;
    case TransType::kXa: step.action = step.compensate = fields.Text(kUrl); break;
    case TransType::kWorkflow: {
      step.op = OpNamed(fields.Text(kOp));
      step.action = fields.Text(kUrl);  // what the step was; it is never called
      step.topic = fields.Text(kName);
      const std::string status = fields.Text(kStatus);
      step.failed = status == Name(BranchStatus::kFailed);
      if (!step.failed && status != Name(BranchStatus::kSucceed)) {
        throw BadInput("gid '" + branch.gid +
                       "': the status of a recorded step is succeed or failed");
      }
      break;
    }
    default: break;
  }
  for (const std::string* url : {&step.action, &step.compensate}) {
    if (branch.type != TransType::kWorkflow) CheckNotLocal(*url);
  }
  return branch;
}

/// Begins a recorded result of a workflow's step that JSON text would change or make much longer, or that begins like this
/// itself. Servers keep it like any text; the client that recorded it decodes it.
inline constexpr const char kAsBase64[] = "base64:";

inline std::string EncodeRecorded(const std::string& answer) {
  bool as_it_is = !HasPrefix(answer, kAsBase64) && IsUtf8(answer);
  for (const char c : answer) {
    const bool control = c >= 0 && c < ' ' && c != '\t' && c != '\n' && c != '\r';
    as_it_is = as_it_is && !control;
  }
  return as_it_is ? answer : kAsBase64 + base64::Encode(answer);
}
inline std::string DecodeRecorded(std::string answer) {
  if (!HasPrefix(answer, kAsBase64)) return answer;
  std::optional<std::string> bytes = base64::Decode(answer.substr(sizeof(kAsBase64) - 1));
  return bytes ? std::move(*bytes) : answer;
}

/// The body of registerBranch, as dtm's clients send it (§11.2, §11.4, §11.7).
inline std::string EncodeRegistration(const Registration& branch) {
  const Step& step = branch.step;
  nlohmann::ordered_json json = {
      {kGid, branch.gid},
      {kTransType, Name(branch.type)},
      {kBranchId, step.branch_id},
      {kData, branch.type == TransType::kWorkflow ? EncodeRecorded(step.payload) : step.payload}};
  switch (branch.type) {
    case TransType::kTcc:
      json[kConfirm] = step.action;
      json[kCancel] = step.compensate;
      break;
    case TransType::kXa: json[kUrl] = step.action; break;
    default:
      if (!step.action.empty()) json[kUrl] = step.action;
      if (!step.topic.empty()) json[kName] = step.topic;
      json[kOp] = Name(step.op);
      json[kStatus] = Name(step.failed ? BranchStatus::kFailed : BranchStatus::kSucceed);
      json[kSync] =
          "1";  // otherwise the Go server replies before it has stored the branch, and may lose it
  }
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// How a workflow ended.
struct WorkflowEnd {
  Status status = Status::kSucceed;
  std::string reason;
  std::string result;
};

/// Reads it from the `req_extra` of the submit.
/// @throws BadInput
inline WorkflowEnd DecodeWorkflowEnd(std::map<std::string, std::string> extra) {
  const std::string& status = extra[kStatus];
  const bool succeed = status == Name(Status::kSucceed);
  if (!succeed && status != Name(Status::kFailed)) {
    throw BadInput("req_extra.status of a workflow is succeed or failed");
  }
  std::optional<std::string> result = base64::Decode(extra[kResult]);
  if (!result) throw BadInput("req_extra.result of a workflow is base64 text");
  return {succeed ? Status::kSucceed : Status::kFailed, extra[kRollbackReason], std::move(*result)};
}

inline nlohmann::ordered_json WorkflowEndJson(const WorkflowEnd& end) {
  return {{kStatus, Name(end.status)},
          {kRollbackReason, end.reason},
          {kResult, base64::Encode(end.result)}};
}

/// The options in a transaction of a query; the Go server on SQL shows them only as text.
inline nlohmann::json ToldOptions(const nlohmann::json& transaction) {
  const auto text = transaction.find(kOptions);
  nlohmann::json inner;
  if (text != transaction.end() && text->is_string()) {
    inner = json_input::Parse(text->get_ref<const std::string&>());
  }
  return inner.is_object() ? inner : transaction;
}

/// The options for calls, as far as a query shows them. Malformed ones are left out: a workflow can run without them.
inline TransOptions CallOptions(const nlohmann::json& transaction) {
  const nlohmann::json told = ToldOptions(transaction);
  TransOptions options;
  const auto timeout = told.find(kRequestTimeout);
  if (timeout != told.end() && timeout->is_number_unsigned()) {
    const std::uint64_t seconds = timeout->get<std::uint64_t>();
    const auto longest = static_cast<std::uint64_t>(kMaxOptionSeconds.count());
    if (seconds <= longest) options.request_timeout = std::chrono::seconds(seconds);
  }
  const auto headers = told.find(kBranchHeaders);
  if (headers == told.end() || !headers->is_object()) return options;
  for (const auto& header : headers->items()) {
    if (!header.value().is_string() || header.value() == kNotShown) continue;
    options.branch_headers[header.key()] = header.value().get<std::string>();
  }
  return options;
}

/// Reads the reply of prepareWorkflow; nothing if it is not one.
/// @throws RejectedError  it is not a workflow: the Go server returns any transaction with the gid.
inline std::optional<WorkflowState> DecodeWorkflow(const std::string& text) {
  const nlohmann::json body = json_input::Parse(text);
  if (!body.is_object() || !body.contains(kTransaction) || !body[kTransaction].is_object()) {
    return std::nullopt;
  }
  try {
    const nlohmann::json& transaction = body[kTransaction];
    const std::string type = transaction.value(kTransType, "");
    if (!type.empty() && type != Name(TransType::kWorkflow)) {
      throw RejectedError("gid '" + transaction.value(kGid, "") + "' is a " + Printable(type) +
                          ", not a workflow; nothing was run. Use a new gid");
    }
    WorkflowState state;
    if (const std::string told = transaction.value(kCustomData, ""); !told.empty()) {
      Definition stored;
      decode::WorkflowCustomData(told, stored);
      state.workflow = std::move(stored.workflow);
      state.data = std::move(stored.data);
    }
    state.status = StatusNamed(transaction.value(kStatus, ""));
    state.reason = transaction.value(kRollbackReason, "");
    state.result = base64::Decode(transaction.value(kResult, "")).value_or("");
    state.options = CallOptions(transaction);
    const nlohmann::json progresses = body.value(kProgresses, nlohmann::json());
    for (const nlohmann::json& progress : progresses) {
      Step step;
      step.branch_id = progress.value(kBranchId, "");
      step.action = progress.value(kUrl, "");
      step.topic = progress.value(kName, "");
      step.op = OpNamed(progress.value(kOp, ""));
      step.failed = progress.value(kStatus, "") == Name(BranchStatus::kFailed);
      step.payload = DecodeRecorded(base64::Decode(progress.value(kBinData, "")).value_or(""));
      state.recorded.push_back(std::move(step));
    }
    return state;
  } catch (const nlohmann::json::exception&) {  // a value of another kind
    return std::nullopt;
  } catch (const BadInput&) {  // an operation that dtm does not know
    return std::nullopt;
  }
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/json_operations.hpp ----------------------------------------------------------

/// The operations of a coordinator as JSON asks for them: the body of an HTTP request, or the params of a JSON-RPC call.
/// Needs: nlohmann/json. Threads: any. Protocol: §2.1, §2.2, §7.

namespace dtm {
inline namespace v1 {
namespace json_operations {

/// @throws BadInput, RejectedError  `body` is malformed, or the operation is refused at once; then `done` is not called.
using Operation = void (*)(Operations& tm, const nlohmann::json& body, const AnswerCallback& done);

inline Definition TransactionOf(const nlohmann::json& body) {
  return wire::DecodeTransaction(wire::json_input::Fields(body, "the transaction"));
}

/// The headers traceparent and tracestate of a request count as if they were among the branch headers of its transaction,
/// if they are valid and there is no traceparent among these.
inline void TakeTrace(nlohmann::json& body, std::string_view traceparent,
                      std::string_view tracestate) {
  const auto trace = ReadTraceContext(traceparent, tracestate);
  if (!trace || !body.is_object()) return;
  std::string key = wire::kBranchHeaders;
  for (const auto& item : body.items()) {
    if (Lowered(item.key()) == wire::kBranchHeaders) key = item.key();  // see Fields
  }
  nlohmann::json& headers = body[key];
  if (headers.is_null()) headers = nlohmann::json::object();
  if (!headers.is_object()) return;  // what is wrong with it is said later
  for (const auto& header : headers.items()) {
    if (IsTraceHeader(header.key())) return;
  }
  const auto add = [&headers](const char* name, std::string value) {
    if (headers.size() < kMaxHeaders) headers[name] = std::move(value);
  };
  add(kTraceParent, std::string(Trimmed(traceparent)));
  if (!trace->state.empty()) add(kTraceState, trace->state);
}

/// `req_extra` says how the workflow ended.
inline void FinishWorkflow(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the transaction");
  const wire::WorkflowEnd end = wire::DecodeWorkflowEnd(fields.Texts(wire::kReqExtra));
  tm.FinishWorkflowAsync(wire::GidOf(fields), end.status, end.reason, end.result, done);
}

inline void Submit(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  Definition definition = TransactionOf(body);
  if (definition.type == TransType::kWorkflow) return FinishWorkflow(tm, body, done);
  if (!definition.options.wait_result) return tm.SubmitAsync(std::move(definition), done);
  tm.SubmitAsync(std::move(definition), [done](const Answer& answer) {
    if (answer.error || answer.result.Succeeded()) return done(answer);
    done({{}, GoesOn(answer.result)});
  });
}

inline void Prepare(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  tm.PrepareAsync(TransactionOf(body), done);
}

inline void RegisterBranch(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  wire::Registration branch =
      wire::DecodeRegistration(wire::json_input::Fields(body, "the branch"));
  tm.RegisterBranchAsync(branch.gid, branch.type, std::move(branch.step), done);
}

/// Who asks for it, and why.
inline By ByIn(const wire::json_input::Fields& fields) {
  return {fields.Text(wire::kWho), fields.Text(wire::kWhy)};
}

/// The reason has two names: what dtm's clients send counts.
inline void Abort(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the transaction");
  By by = ByIn(fields);
  std::string reason = fields.Text(wire::kRollbackReason);
  if (!reason.empty()) by.why = std::move(reason);
  tm.AbortAsync(wire::GidOf(fields), wire::TypeNamed(fields.Text(wire::kTransType)), by,
                WaitResult::kCounts, done);
}

inline void ForceStop(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the body");
  tm.ForceStopAsync(wire::GidOf(fields), ByIn(fields), done);
}

inline void SkipBranch(Operations& tm, const nlohmann::json& body, const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the body");
  tm.SkipAsync(wire::GidOf(fields), fields.Text(wire::kBranchId),
               wire::OpNamed(fields.Text(wire::kOp)), ByIn(fields), done);
}

/// A transaction that has ended needs no try; here that is not an error.
inline void ResetNextCronTime(Operations& tm, const nlohmann::json& body,
                              const AnswerCallback& done) {
  const wire::json_input::Fields fields(body, "the body");
  tm.RetryNowAsync(wire::GidOf(fields), ByIn(fields), [done](const Answer& answer) {
    try {
      (void)answer.Get();
    } catch (const EndedError&) {
      return done({});
    } catch (...) {  // NOLINT(bugprone-empty-catch): `done` is told
    }
    done(answer);
  });
}

}  // namespace json_operations
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/json_rpc_api.hpp -------------------------------------------------------------

/// The form of the API as JSON-RPC 2.0: a call, and its reply. What the methods do is in api.hpp.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §7.

namespace dtm {
inline namespace v1 {
namespace json_rpc_api {

inline ApiReply Reply(int status, const std::string& id, nlohmann::ordered_json error,
                      nlohmann::ordered_json result) {
  return {status, wire::JsonText({{"error", std::move(error)},
                                  {"id", id},
                                  {"jsonrpc", "2.0"},
                                  {"result", std::move(result)}})};
}

inline ApiReply Error(int status, const std::string& id, int code, const std::string& message,
                      nlohmann::ordered_json result = nullptr) {
  return Reply(status, id, {{"code", code}, {"message", message}}, std::move(result));
}

struct Call {  // NOLINT(bugprone-exception-escape): the move of a json does not throw
  std::string id, method;
  nlohmann::json params;  ///< null if there are none
};

/// The reply, if it is no call.
inline std::optional<ApiReply> Read(const std::string& body, Call& call) {
  try {
    nlohmann::json json = wire::json_input::ParseObject(body, "the body");
    const wire::json_input::Fields fields(json, "the request");
    std::string id = fields.Text("id");
    const std::string version = fields.Text("jsonrpc");
    call.method = fields.Text("method");
    call.id = std::move(id);
    if (call.id.empty() || version != "2.0") {
      return Error(200, call.id, -32600, "Bad json request: jsonrpc must be \"2.0\" and id a text");
    }
    const auto params = json.find("params");
    if (params != json.end()) call.params = std::move(*params);
    return std::nullopt;
  } catch (const BadInput& error) {
    return Error(400, "", -32700, std::string("Parse json error: ") + error.what());
  }
}

inline ApiReply NotFound(const Call& call) {
  return Error(200, call.id, -32601, "Method not found: " + Printable(call.method));
}

inline ApiReply OfGid(const std::string& id, const std::string& gid) {
  return Reply(200, id, nullptr, {{wire::kGid, gid}});
}
inline ApiReply Of(const std::string& id, const ApiOutcome& outcome) {
  if (outcome.status == 200) return Reply(200, id, nullptr, nullptr);
  const int code = outcome.status == 409   ? wire::json_rpc::kFailureCode
                   : outcome.status == 425 ? wire::json_rpc::kOngoingCode
                                           : -32603;
  return Error(200, id, code, outcome.message, nlohmann::ordered_json::object());
}

}  // namespace json_rpc_api
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/numbers/shown_hosts.hpp ------------------------------------------------------

/// Which of the hosts that are called are shown: of many only some, so that what is shown has a bounded size.
/// Needs: std. Threads: a pure function.

#include <tuple>

namespace dtm {
inline namespace v1 {

inline constexpr std::size_t kMostHosts = 100;

/// Limited hosts come first, then those with most waiting calls; at most kMostHosts.
inline std::vector<HostLoad> ShownHosts(std::vector<HostLoad> hosts) {
  std::sort(hosts.begin(), hosts.end(), [](const HostLoad& a, const HostLoad& b) {
    return std::tie(b.limited, b.waiting, b.in_flight, a.host) <
           std::tie(a.limited, a.waiting, a.in_flight, b.host);
  });
  if (hosts.size() > kMostHosts) hosts.resize(kMostHosts);
  return hosts;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/stored_transaction.hpp ------------------------------------------------------

/// A stored transaction as query and all show it.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.5 (JSON objects).

namespace dtm {
inline namespace v1 {
namespace wire {

using v1::TimeText;

/// Values of headers may be credentials, and URLs may contain some; credentials are not shown. A trace is none, and a
/// workflow that is resumed elsewhere stays in it.
inline Definition Redacted(const Definition& definition) {
  Definition shown = definition;
  for (auto& [name, value] : shown.options.branch_headers) {
    if (!IsTraceHeader(name)) value = kNotShown;
  }
  shown.query_prepared = ShownUrl(shown.query_prepared);
  for (Step& step : shown.steps) {
    step.action = ShownUrl(step.action);
    step.compensate = ShownUrl(step.compensate);
  }
  return shown;
}

/// Old records (store format 1) do not have the time of their last change.
inline Time UpdateTime(const Transaction& transaction) {
  return IsFinal(transaction.status) ? transaction.finished
                                     : (std::max)(transaction.created, transaction.updated);
}

/// `interval`: the present wait between tries.
inline nlohmann::ordered_json TransactionJson(const Transaction& transaction, Duration interval) {
  const Definition definition = Redacted(*transaction.definition);
  const Status status = transaction.status;
  nlohmann::ordered_json json = {{kId, transaction.id},
                                 {kCreateTime, TimeText(transaction.created)},
                                 {kUpdateTime, TimeText(UpdateTime(transaction))},
                                 {kGid, definition.gid},
                                 {kTransType, Name(definition.type)}};
  if (!definition.steps.empty() && !RegistersSteps(definition.type)) {
    json[kSteps] = StepsJson(definition);
    json[kPayloads] = PayloadsJson(definition);
  }
  json[kStatus] = Name(status);
  if (transaction.expired) json[kExpired] = true;
  if (!definition.query_prepared.empty()) json[kQueryPrepared] = definition.query_prepared;
  json[kProtocol] = definition.json_rpc ? kJsonRpc : kHttp;
  if (IsFinal(status)) {
    json[status == Status::kSucceed ? kFinishTime : kRollbackTime] = TimeText(transaction.finished);
  }
  if (!transaction.result.empty()) json[kResult] = base64::Encode(transaction.result);
  if (!transaction.reason.empty()) json[kRollbackReason] = transaction.reason;
  nlohmann::ordered_json options = nlohmann::ordered_json::object();
  AddOptions(definition, options);
  json[kOptions] = options.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const std::string custom_data = CustomData(definition);
  if (!custom_data.empty()) json[kCustomData] = custom_data;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(interval).count();
  if (seconds > 0) json[kNextCronInterval] = seconds;
  if (!IsFinal(status) && transaction.due != kNever) {
    json[kNextCronTime] = TimeText(transaction.due);
  }
  AddOptions(definition, json);
  if (transaction.retry_count > 0) json[kRetryCount] = transaction.retry_count;
  // Fields of this library only come last.
  if (const std::string from = ReasonFrom(transaction); !from.empty()) json[kRollbackFrom] = from;
  if (!transaction.last_error.empty()) json[kLastError] = transaction.last_error;
  if (transaction.stuck && transaction.due == kNever && !IsFinal(status)) json[kStuck] = true;
  return json;
}

inline nlohmann::ordered_json BranchesJson(const Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  auto branches = nlohmann::ordered_json::array();
  const std::size_t first = HasQueryRow(definition.type) ? DeliveryOf(0) : 0;
  for (std::size_t i = first; i < transaction.branches.size(); ++i) {
    const Branch& branch = transaction.branches[i];
    const bool finished = branch.finished != Time{};
    nlohmann::ordered_json json = {
        {kId, 0},
        {kCreateTime, TimeText(transaction.created)},
        {kUpdateTime, TimeText(finished ? branch.finished : transaction.created)},
        {kGid, definition.gid}};
    const std::string url = ShownUrl(UrlOf(definition, i));
    if (!url.empty()) json[kUrl] = url;
    const std::string& payload = PayloadOf(definition, i);
    if (!payload.empty()) json[kBinData] = base64::Encode(payload);
    json[kBranchId] = BranchIdOf(definition, i);
    json[kOp] = Name(OpOf(definition, i));
    json[kStatus] = Name(branch.status);
    if (finished) json[kFinishTime] = TimeText(branch.finished);
    const std::string& name = definition.steps[StepOf(definition.type, i)].topic;
    if (definition.type == TransType::kWorkflow && !name.empty()) json[kName] = name;
    branches.push_back(std::move(json));
  }
  return branches;
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/numbers/overview_json.hpp ----------------------------------------------------

/// The numbers of a coordinator as `overview` shows them.
/// Needs: nlohmann/json. Threads: pure functions. Document: docs/http_api.md, "Overview".

namespace dtm {
inline namespace v1 {
namespace overview_json {

using Json = nlohmann::ordered_json;

inline Json CallsJson(const Gauges& now) {
  Json hosts = Json::array();
  for (const HostLoad& host : ShownHosts(now.urls.hosts)) {
    hosts.push_back({{"host", host.host},
                     {"in_flight", host.in_flight},
                     {"waiting", host.waiting},
                     {"limited", host.limited}});
  }
  const auto load = [](const CallLoad& calls) {
    return Json{{"in_flight", calls.in_flight}, {"waiting", calls.waiting}};
  };
  return {
      {"functions", load(now.functions)}, {"urls", load(now.urls)}, {"hosts", std::move(hosts)}};
}

inline Json CountersJson(const Metrics::Snapshot& done) {
  Json ended = Json::array(), durations = Json::array(), branches = Json::array();
  for (const auto& [key, count] : done.ended) {
    ended.push_back({{"type", Name(key.first)}, {"status", Name(key.second)}, {"count", count}});
  }
  for (const auto& [type, histogram] : done.durations) {
    durations.push_back({{"type", Name(type)},
                         {"seconds", histogram.sum},
                         {"bounds", *histogram.bounds},
                         {"counts", histogram.counts}});
  }
  for (const auto& [branch, count] : done.branches) {
    branches.push_back({{"type", Name(branch.type)},
                        {"branch_id", branch.branch_id},
                        {"op", Name(branch.op)},
                        {"ok", branch.ok},
                        {"count", count}});
  }
  std::uint64_t commits = 0;
  for (const std::uint64_t count : done.commits.counts) commits += count;
  return {{"ended", std::move(ended)},
          {"durations", std::move(durations)},
          {"branches", std::move(branches)},
          {"commits", {{"count", commits}, {"seconds", done.commits.sum}}}};
}

/// `now.backlog` must have a value.
inline Json Of(const Gauges& now, const Metrics::Snapshot& done) {
  const Backlog& backlog = *now.backlog;
  return {{"version", std::string("v") + kVersion},
          {"store", now.store},
          {"time", wire::TimeText(now.time)},
          {"unfinished", backlog.unfinished},
          {"waiting", backlog.waiting},
          {"stuck", backlog.stuck},
          {"damaged", now.damaged},
          {"oldest_time", backlog.oldest == kNever ? "" : wire::TimeText(backlog.oldest)},
          {"in_memory", now.in_memory},
          {"store_fails", now.store_fails},
          {"calls", CallsJson(now)},
          {"counters", CountersJson(done)}};
}

}  // namespace overview_json
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/timeline_json.hpp ------------------------------------------------------------

/// The story of a transaction as `timeline` shows it: who drove it, each call, each entry of its journal; or its drawing.
/// Needs: nlohmann/json. Threads: pure functions. Document: docs/http_api.md, "Timeline".

namespace dtm {
inline namespace v1 {
namespace timeline_json {

using Json = nlohmann::ordered_json;

/// Of a time that is not known: nothing.
inline std::string TimeOrNothing(Time time) {
  return time == Time{} ? std::string() : wire::TimeText(time);
}

/// Which branch it is, if it is one. `row`: see Transaction.
inline void AddRow(const Definition& definition, std::size_t row, Json& json) {
  if (row >= RowCount(definition)) return;
  json["row"] = row;
  json[wire::kBranchId] = BranchIdOf(definition, row);
  json[wire::kOp] = Name(OpOf(definition, row));
}

inline Json Runs(const Timeline& story) {
  Json runs = Json::array();
  for (const DrivenBy& run : story.runs) {
    runs.push_back({{"process", run.process}, {"begin_time", TimeOrNothing(run.begin)}});
  }
  return runs;
}

inline Json Attempts(const Timeline& story) {
  const Definition& definition = *story.transaction.definition;
  Json attempts = Json::array();
  for (const Attempt& attempt : story.attempts) {
    Json json = Json::object();
    AddRow(definition, attempt.row, json);
    if (attempt.row < RowCount(definition)) {
      json[wire::kUrl] = ShownUrl(UrlOf(definition, attempt.row));
    }
    json["run"] = attempt.run;
    json["begin_time"] = TimeOrNothing(attempt.begin);
    json["end_time"] = TimeOrNothing(attempt.end);
    json["outcome"] = Name(attempt.outcome);
    json["text"] = attempt.text;
    attempts.push_back(std::move(json));
  }
  return attempts;
}

inline Json Entries(const Timeline& story) {
  Json entries = Json::array();
  for (const JournalEntry& entry : story.entries) {
    Json json = {{"time", TimeOrNothing(entry.time)}, {"kind", Name(entry.kind)}};
    if (entry.kind == JournalKind::kGap) {
      json["count"] = entry.row;
    } else {
      AddRow(*story.transaction.definition, entry.row, json);
    }
    json["text"] = entry.text;
    json["who"] = entry.who;
    entries.push_back(std::move(json));
  }
  return entries;
}

/// The reply with a drawing; nothing if `format` names none. A browser shows an SVG without running or loading anything.
inline std::optional<ApiReply> Drawing(const Timeline& story, const std::string& format) {
  const auto reply = [&story](DrawFormat drawn, const char* type) {
    ApiReply made{200, Draw(story, drawn), type};
    made.headers = {{"X-Content-Type-Options", "nosniff"},
                    {"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"}};
    return made;
  };
  if (format == "text") return reply(DrawFormat::kText, "text/plain; charset=utf-8");
  if (format == "mermaid") return reply(DrawFormat::kMermaid, "text/plain; charset=utf-8");
  if (format == "svg") return reply(DrawFormat::kSvg, "image/svg+xml");
  return std::nullopt;
}

}  // namespace timeline_json
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/lists.hpp --------------------------------------------------------------------

/// The part of the HTTP API that only reads: query, timeline, all, nodes, overview, scanKV and queryKV.
/// Needs: nlohmann/json. Threads: thread-safe. Protocol: §2.2, §2.5, §2.6, §6; document: docs/http_api.md.

namespace dtm {
inline namespace v1 {

class ApiLists {
 public:
  using Json = nlohmann::ordered_json;

  explicit ApiLists(Coordinator& tm) : tm_(tm) {}

  /// @throws BadInput    it names no gid.
  /// @throws StoreError  the store cannot be read.
  ApiReply Query(const ApiRequest& request) {
    const std::optional<Transaction> stored = tm_.Query(GidOf(request));
    Json branches = stored ? wire::BranchesJson(*stored) : Json::array();
    Json transaction = stored ? Shown(*stored) : Json(nullptr);
    return {200, wire::JsonText({{wire::kBranches, std::move(branches)},
                                 {wire::kTransaction, std::move(transaction)}})};
  }

  /// The same with its journal, or what `format` names. @throws as Query.
  ApiReply Timeline(const ApiRequest& request) {
    const std::optional<dtm::Timeline> story = tm_.Timeline(GidOf(request));
    const std::string format = request.Query("format");
    if (!format.empty()) return InFormat(request, story, format);
    const Json none = Json::array();
    return {200, wire::JsonText(
                     {{wire::kTransaction, story ? Shown(story->transaction) : Json(nullptr)},
                      {wire::kBranches, story ? wire::BranchesJson(story->transaction) : none},
                      {"runs", story ? timeline_json::Runs(*story) : none},
                      {"attempts", story ? timeline_json::Attempts(*story) : none},
                      {"entries", story ? timeline_json::Entries(*story) : none}})};
  }

  /// @throws BadInput    it names no gid.
  /// @throws StoreError  the store cannot be read.
  ApiReply Explain(const ApiRequest& request) {
    return {200, wire::JsonText({{"text", tm_.Explain(GidOf(request))}})};
  }

  ApiReply All(const ApiRequest& request) {
    const std::string gid = request.Query(wire::kGid);
    if (!gid.empty()) {
      const std::optional<Transaction> stored = tm_.Query(gid);
      return Page(stored ? Json::array({Shown(*stored)}) : Json(nullptr), 0);
    }
    ScanFilter filter;
    std::int64_t position = QueryInteger(request, "position", 0, 0, INT64_MAX);
    auto left = static_cast<std::size_t>(
        QueryInteger(request, "limit", 100, 1, static_cast<std::int64_t>(kMaxListLimit)));
    if (const std::string status = request.Query(wire::kStatus); !status.empty()) {
      filter.status = StatusOf(status);
    }
    if (const std::string type = request.Query("transType"); !type.empty()) {
      filter.type = wire::TypeNamed(type);
    }
    constexpr std::int64_t kLastMilli = INT64_MAX / 1000 - 1;
    const auto milli = [&request](const char* key, std::int64_t otherwise) {
      return QueryInteger(request, key, otherwise, -kLastMilli, kLastMilli);
    };
    ReadSearch(request, filter);
    filter.created_from = Time(std::chrono::milliseconds(milli("createTimeStart", 0)));
    filter.created_to = Time(std::chrono::milliseconds(milli("createTimeEnd", kLastMilli)) +
                             std::chrono::microseconds(999));
    Json transactions = Json::array();
    if (filter.IsSearch()) {  // bounded in all respects
      const ScanPage page = tm_.List(filter, position, left);
      for (const Transaction& stored : page.transactions) transactions.push_back(Shown(stored));
      return Page(std::move(transactions), page.next);
    }
    std::size_t bytes = 0;
    // In small pages: a thousand transactions may be a gigabyte.
    do {
      const ScanPage page = tm_.List(filter, position, (std::min)(left, std::size_t{32}));
      position = page.next;
      left -= (std::min)(left, page.transactions.size());
      for (const Transaction& stored : page.transactions) {
        bytes += BytesOf(*stored.definition);
        transactions.push_back(Shown(stored));
      }
    } while (position != 0 && left > 0 && bytes < kPageBytes);
    return Page(std::move(transactions), position);
  }

  ApiReply Nodes(const ApiRequest&) {
    Json nodes = Json::array();
    for (const Peer& peer : tm_.Nodes()) {
      using Millis = std::chrono::milliseconds;
      Json silent = nullptr;
      if (peer.silent) silent = std::chrono::duration_cast<Millis>(*peer.silent).count();
      nodes.push_back({{"name", peer.node.name},
                       {wire::kUrl, ShownUrl(peer.node.url)},
                       {"app", peer.node.app},
                       {"member", peer.is_member},
                       {"silent_ms", std::move(silent)},
                       {"self", peer.is_self}});
    }
    return {200, wire::JsonText({{"nodes", std::move(nodes)}})};
  }

  /// @throws StoreError  the store cannot be read.
  ApiReply Overview(const ApiRequest&) {
    const Gauges now = tm_.Measure();
    if (!now.backlog) throw StoreError("the store cannot be read now; ask again");
    return {200, wire::JsonText(overview_json::Of(now, tm_.Counted()))};
  }

  ApiReply ScanValues(const ApiRequest& request) {
    const std::int64_t position = QueryInteger(request, wire::kPosition, 0, 0, INT64_MAX);
    const std::int64_t limit =
        QueryInteger(request, wire::kLimit, 100, 1, static_cast<std::int64_t>(kMaxListLimit));
    return Values(
        Read(request.Query(wire::kCategory), {}, position, static_cast<std::size_t>(limit)), true);
  }

  /// All values of a category, with a key, or both, as far as they fit.
  ApiReply QueryValues(const ApiRequest& request) {
    return Values(Read(request.Query(wire::kCategory), request.Query(wire::kKey), 0, kMaxListLimit),
                  false);
  }

  Json Shown(const Transaction& stored) const {
    return wire::TransactionJson(stored, tm_.IntervalOf(stored));
  }

 private:
  static constexpr std::size_t kPageBytes = std::size_t{4} << 20;

  static bool Flag(const ApiRequest& request, const char* key) {
    return QueryInteger(request, key, 0, 0, 1) == 1;
  }
  static std::string TextIn(const ApiRequest& request, const char* key, std::size_t most) {
    std::string text = request.Query(key);
    if (text.size() <= most && IsUtf8(text)) return text;
    throw BadInput(std::string(key) + " must be UTF-8 of at most " + std::to_string(most) +
                   " bytes");
  }
  static void ReadSearch(const ApiRequest& request, ScanFilter& filter) {
    filter.unfinished = Flag(request, "unfinished");
    filter.stuck = Flag(request, "stuck");
    filter.errors = Flag(request, "errors");
    filter.gid_prefix = TextIn(request, "gidPrefix", kMaxGidBytes);
    filter.target = TextIn(request, "target", kMaxUrlBytes);
    filter.may_be_short = Flag(request, "short");
  }

  static std::string GidOf(const ApiRequest& request) {
    std::string gid = request.Query(wire::kGid);
    if (gid.empty()) throw BadInput("no gid specified");
    return gid;
  }

  /// @throws BadInput  there is no such transaction, so there is no document.
  ApiReply InFormat(const ApiRequest& request, const std::optional<dtm::Timeline>& story,
                    const std::string& format) const {
    if (!story) throw BadInput("there is no transaction with gid '" + GidOf(request) + "'");
    if (std::optional<ApiReply> drawing = timeline_json::Drawing(*story, format)) return *drawing;
    if (format == "export") return Exported(request, *story);
    throw BadInput("the format '" + format + "' is none of text, svg, mermaid and export");
  }

  ApiReply Exported(const ApiRequest& request, const dtm::Timeline& story) const {
    const bool redacted = QueryInteger(request, "redacted", 0, 0, 1) == 1;
    return {200, Export(story, redacted ? ExportContent::kRedacted : ExportContent::kFull,
                        ExportSettings::Of(tm_.Settings()))};
  }

  /// At most `limit` values, and fewer if they are large: the text of a topic may be megabytes.
  KeyValuePage Read(const std::string& category, const std::string& key, std::int64_t position,
                    std::size_t limit) {
    KeyValuePage all;
    std::size_t bytes = 0;
    do {
      const std::size_t left = limit - all.values.size();
      KeyValuePage page = tm_.ListValues(category, key, position, (std::min)(left, std::size_t{4}));
      all.next = position = page.next;
      for (KeyValue& value : page.values) {
        bytes += value.value.size();
        all.values.push_back(std::move(value));
      }
    } while (position != 0 && all.values.size() < limit && bytes < kPageBytes);
    return all;
  }

  /// The subscribers of a topic, without credentials in their URLs.
  static std::string ShownValue(const KeyValue& value) {
    if (value.category != topics::kCategory || value.value.find('@') == std::string::npos) {
      return value.value;
    }
    Json list = Json::parse(value.value, nullptr, false);
    if (!list.is_array()) return value.value;
    for (Json& entry : list) {
      if (!entry.is_object() || !entry.contains(wire::kUrl) || !entry[wire::kUrl].is_string())
        continue;
      entry[wire::kUrl] = ShownUrl(entry[wire::kUrl].get<std::string>());
    }
    return list.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  static ApiReply Values(const KeyValuePage& page, bool with_position) {
    Json values = Json::array();
    for (const KeyValue& value : page.values) {
      values.push_back({{wire::kId, value.id},
                        {wire::kCreateTime, wire::TimeText(value.created)},
                        {wire::kUpdateTime, wire::TimeText(value.updated)},
                        {wire::kCategory, value.category},
                        {"k", value.key},
                        {"v", ShownValue(value)},
                        {"version", value.version}});
    }
    Json reply = {{wire::kValues, std::move(values)}};
    if (with_position) {
      reply[wire::kNextPosition] = page.next == 0 ? "" : std::to_string(page.next);
    }
    return {200, wire::JsonText(reply)};
  }

  static ApiReply Page(Json transactions, std::int64_t next) {
    return {200, wire::JsonText({{wire::kNextPosition, next == 0 ? "" : std::to_string(next)},
                                 {wire::kTransactions, std::move(transactions)}})};
  }

  static Status StatusOf(const std::string& name) {
    for (const Status status : {Status::kPrepared, Status::kSubmitted, Status::kAborting,
                                Status::kSucceed, Status::kFailed}) {
      if (name == Name(status)) return status;
    }
    throw BadInput("status '" + Printable(name) +
                   "' is none of prepared, submitted, aborting, succeed and failed");
  }

  Coordinator& tm_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/numbers/metrics_text.hpp -----------------------------------------------------

/// Counters of the API and the coordinator in Prometheus' text format, under dtm's names.
/// Needs: std. Threads: pure functions. Protocol: §9.

#include <charconv>

namespace dtm {
inline namespace v1 {

namespace metrics_text {

inline void Head(std::string& out, const char* name, const char* type, const char* help) {
  out.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ");
  out.append(name).append(" ").append(type).append("\n");
}

inline void Line(std::string& out, const std::string& name, const std::string& labels,
                 std::uint64_t value) {
  out.append(name);
  if (!labels.empty()) out.append("{").append(labels).append("}");
  out.append(" ").append(std::to_string(value)).append("\n");
}

/// With a point in every locale.
inline std::string Number(double value) {
  char text[32];
  const auto end =
      std::to_chars(text, text + sizeof text, value, std::chars_format::general, 9).ptr;
  return std::string(text, end);
}

inline void NumberLine(std::string& out, const std::string& name, const std::string& labels,
                       double value) {
  out.append(name);
  if (!labels.empty()) out.append("{").append(labels).append("}");
  out.append(" ").append(Number(value)).append("\n");
}

inline void Lines(std::string& out, const std::string& name, const std::string& labels,
                  const Histogram& histogram) {
  std::uint64_t total = 0;
  const std::string before = labels.empty() ? "" : labels + ",";
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    total += histogram.counts[i];
    const std::string bound =
        i < histogram.bounds->size() ? Number((*histogram.bounds)[i]) : "+Inf";
    Line(out, name + "_bucket", before + "le=\"" + bound + "\"", total);
  }
  NumberLine(out, name + "_sum", labels, histogram.sum);
  Line(out, name + "_count", labels, total);
}

inline void Gauge(std::string& out, const char* name, const char* help, std::uint64_t value) {
  Head(out, name, "gauge", help);
  Line(out, name, "", value);
}

/// The value of a label: quotes and backslashes are escaped, other bytes are unchanged.
inline std::string Label(const std::string& value) {
  std::string text;
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

inline void HostLines(std::string& out, const std::vector<HostLoad>& hosts) {
  const auto each = [&](const char* name, const char* help, auto value) {
    Head(out, name, "gauge", help);
    for (const HostLoad& host : hosts) {
      Line(out, name, "host=\"" + Label(host.host) + "\"", value(host));
    }
  };
  each("dtm_host_calls_in_flight", "Calls by URL that are out, by host.",
       [](const HostLoad& host) { return host.in_flight; });
  each("dtm_host_calls_waiting", "Calls by URL that wait for a slot, by host.",
       [](const HostLoad& host) { return host.waiting; });
  each("dtm_host_limited", "1: the host does not answer, so few calls at a time go to it.",
       [](const HostLoad& host) { return host.limited ? 1u : 0u; });
}

inline void HookLines(std::string& out, const std::map<std::string, HookLoad>& hooks) {
  const auto each = [&](const char* name, const char* type, const char* help, auto value) {
    Head(out, name, type, help);
    for (const auto& [hook, load] : hooks) Line(out, name, "hook=\"" + hook + "\"", value(load));
  };
  each("dtm_hook_waiting", "gauge", "What the hook of the program was not told yet.",
       [](const HookLoad& load) { return load.waiting; });
  each("dtm_hook_dropped_total", "counter",
       "What the hook of the program is never told, since it was too slow.",
       [](const HookLoad& load) { return load.dropped; });
}

inline void GaugeLines(std::string& out, const Gauges& now) {
  if (now.backlog) {
    Gauge(out, "dtm_transactions_unfinished", "Transactions that have not ended.",
          now.backlog->unfinished);
    Gauge(out, "dtm_transactions_waiting",
          "Of them: those that wait for a time or for their submit.", now.backlog->waiting);
    Gauge(out, "dtm_transactions_stuck",
          "Of them: those that go on only with RetryNow or ForceStop, or are damaged.",
          now.backlog->stuck + now.damaged);
    Head(out, "dtm_oldest_unfinished_seconds", "gauge", "Age of the oldest of them.");
    NumberLine(out, "dtm_oldest_unfinished_seconds", "",
               static_cast<double>(now.oldest_age.count()) / 1e6);
  }
  Gauge(out, "dtm_transactions_in_memory", "Transactions in memory; the others wait in the store.",
        now.in_memory);
  Head(out, "dtm_calls_in_flight", "gauge", "Branch calls that are out.");
  Line(out, "dtm_calls_in_flight", "to=\"function\"", now.functions.in_flight);
  Line(out, "dtm_calls_in_flight", "to=\"url\"", now.urls.in_flight);
  Head(out, "dtm_calls_waiting", "gauge", "Branch calls that wait for a thread or a slot.");
  Line(out, "dtm_calls_waiting", "to=\"function\"", now.functions.waiting);
  Line(out, "dtm_calls_waiting", "to=\"url\"", now.urls.waiting);
  HostLines(out, ShownHosts(now.urls.hosts));
  Gauge(out, "dtm_store_failing", "1: the last commit failed.", now.store_fails ? 1 : 0);
  if (!now.hooks.empty()) HookLines(out, now.hooks);
  if (now.sharing) {
    const auto count = [&out](const char* name, const char* help, std::uint64_t value) {
      Head(out, name, "counter", help);
      Line(out, name, "", value);
    };
    count("dtm_beats_failed_total",
          "Attempts to let the other coordinators on the store hear that this one lives.",
          now.sharing->failed_beats);
    count("dtm_fenced_total", "How often the others took over what this one drove.",
          now.sharing->fenced);
    count("dtm_store_went_back_total",
          "Of these: the database turned out to be older than what it had stored.",
          now.sharing->forgotten);
  }
  if (!now.outboxes) return;
  Head(out, "dtm_outbox_rows_total", "counter", "Rows of outbox tables that were taken up.");
  Line(out, "dtm_outbox_rows_total", "status=\"ok\"", now.outboxes->relayed);
  Line(out, "dtm_outbox_rows_total", "status=\"fail\"", now.outboxes->refused);
  Head(out, "dtm_outbox_oldest_seconds", "gauge", "Age of the oldest row that waits.");
  NumberLine(out, "dtm_outbox_oldest_seconds", "",
             static_cast<double>(now.outboxes->oldest_age.count()) / 1e6);
}

/// Of several coordinators on one store; each shows its own.
inline void PeerLines(std::string& out, const PeerCounts& peers) {
  Head(out, "dtm_cluster_members", "gauge",
       "Coordinators on the store that are alive, as this one sees it.");
  Line(out, "dtm_cluster_members", "", peers.members);
  Head(out, "dtm_cluster_driven", "gauge", "Unfinished transactions that this coordinator drives.");
  Line(out, "dtm_cluster_driven", "", peers.driven);
  Head(out, "dtm_cluster_taken_over_total", "counter",
       "Transactions that this coordinator has taken over from others.");
  Line(out, "dtm_cluster_taken_over_total", "", peers.taken_over);
}

inline std::string Text(const std::map<std::string, ApiCounters::Api>& apis,
                        const Metrics::Snapshot& done, const Gauges& now) {
  std::string out;
  Head(out, "dtm_server_info", "gauge", "The version of the server, and its store.");
  Line(out, "dtm_server_info",
       std::string("version=\"") + kVersion + "\",store=\"" + now.store + "\"", 1);
  const auto api_labels = [](const std::string& api) {
    return "type=\"http\",api=\"" + api + "\"";
  };
  Head(out, "dtm_server_process_total", "counter", "Requests answered.");
  for (const auto& [api, counted] : apis) {
    const std::string labels = api_labels(api);
    Line(out, "dtm_server_process_total", labels + ",status=\"ok\"", counted.ok);
    Line(out, "dtm_server_process_total", labels + ",status=\"fail\"", counted.failed);
  }
  Head(out, "dtm_server_response_duration", "histogram", "Seconds from a request to its answer.");
  for (const auto& [api, counted] : apis) {
    Lines(out, "dtm_server_response_duration", api_labels(api), counted.durations);
  }
  const auto model = [](TransType type) { return std::string("model=\"") + Name(type) + "\""; };
  Head(out, "dtm_transaction_process_total", "counter", "Transactions that ended.");
  for (const auto& [key, count] : done.ended) {
    const char* status = key.second == Status::kSucceed ? "ok" : "fail";
    Line(out, "dtm_transaction_process_total", model(key.first) + ",status=\"" + status + "\"",
         count);
  }
  Head(out, "dtm_transaction_handled_duration", "histogram",
       "Seconds from the creation of a transaction to its end.");
  for (const auto& [type, histogram] : done.durations) {
    Lines(out, "dtm_transaction_handled_duration", model(type), histogram);
  }
  Head(out, "dtm_branch_process_total", "counter", "Branch calls that were answered.");
  for (const auto& [branch, count] : done.branches) {
    Line(out, "dtm_branch_process_total",
         model(branch.type) + ",branchid=\"" + branch.branch_id + "\",branchtype=\"" +
             Name(branch.op) + "\",status=\"" + (branch.ok ? "ok" : "fail") + "\"",
         count);
  }
  Head(out, "dtm_branches_skipped_total", "counter", "Branches that somebody said to be done.");
  for (const auto& [type, count] : done.repaired) {
    Line(out, "dtm_branches_skipped_total", model(type), count);
  }
  Head(out, "dtm_store_commit_duration", "histogram", "Seconds that the store took for a commit.");
  Lines(out, "dtm_store_commit_duration", "", done.commits);
  GaugeLines(out, now);
  if (now.peers) PeerLines(out, *now.peers);
  return out;
}

}  // namespace metrics_text
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/routes.hpp -------------------------------------------------------------------

/// The routes of the HTTP API: which request goes where, and what is done there.
/// Needs: nlohmann/json. Threads: thread-safe. Protocol: §2, §7; document: docs/http_api.md.

namespace dtm {
inline namespace v1 {

/// They turn requests into operations, and their answers into replies; the rules are in operations.hpp.
class ApiRoutes {
 public:
  struct Route {
    const char* name;  ///< of the metrics
    const char* path;
    const char* methods;  ///< "*" = any
    void (ApiRoutes::*handler)(const ApiRequest&, const ApiDone&);
    bool blocks = false;  ///< it reads the store, or runs a function of the program
    bool prefix = false;  ///< the path goes on
  };

  ApiRoutes(Coordinator& tm, std::shared_ptr<ApiCounters> counters)
      : tm_(tm), lists_(tm), counters_(std::move(counters)) {}

  /// nullptr: no route has this path and method.
  static const Route* Find(const ApiRequest& request) {
    static constexpr Route kRoutes[] = {
        {"submit", "/api/dtmsvr/submit", "POST", &ApiRoutes::Asked<&json_operations::Submit>},
        {"newgid", "/api/dtmsvr/newGid", "GET", &ApiRoutes::Now<&ApiRoutes::NewGid>},
        {"query", "/api/dtmsvr/query", "GET", &ApiRoutes::Listed<&ApiLists::Query>, true},
        {"timeline", "/api/dtmsvr/timeline", "GET", &ApiRoutes::Listed<&ApiLists::Timeline>, true},
        {"prepare", "/api/dtmsvr/prepare", "POST", &ApiRoutes::Asked<&json_operations::Prepare>},
        {"abort", "/api/dtmsvr/abort", "POST", &ApiRoutes::Asked<&json_operations::Abort>},
        {"explain", "/api/dtmsvr/explain", "GET", &ApiRoutes::Listed<&ApiLists::Explain>, true},
        {"all", "/api/dtmsvr/all", "GET", &ApiRoutes::Listed<&ApiLists::All>, true},
        {"nodes", "/api/dtmsvr/nodes", "GET", &ApiRoutes::Listed<&ApiLists::Nodes>, true},
        {"overview", "/api/dtmsvr/overview", "GET", &ApiRoutes::Listed<&ApiLists::Overview>, true},
        {"forcestop", "/api/dtmsvr/forceStop", "POST",
         &ApiRoutes::Asked<&json_operations::ForceStop>},
        {"resetnextcrontime", "/api/dtmsvr/resetNextCronTime", "POST",
         &ApiRoutes::Asked<&json_operations::ResetNextCronTime>},
        {"skipbranch", "/api/dtmsvr/skipBranch", "POST",
         &ApiRoutes::Asked<&json_operations::SkipBranch>},
        {"resetcrontime", "/api/dtmsvr/resetCronTime", "GET POST",
         &ApiRoutes::Now<&ApiRoutes::ResetCronTime>, true},
        {"version", "/api/dtmsvr/version", "GET", &ApiRoutes::Now<&ApiRoutes::Version>},
        {"registerbranch", "/api/dtmsvr/registerBranch", "POST",
         &ApiRoutes::Asked<&json_operations::RegisterBranch>},
        {"registerbranch", "/api/dtmsvr/registerTccBranch", "POST",
         &ApiRoutes::Asked<&json_operations::RegisterBranch>},
        {"registerbranch", "/api/dtmsvr/registerXaBranch", "POST",
         &ApiRoutes::Asked<&json_operations::RegisterBranch>},
        {"prepareworkflow", "/api/dtmsvr/prepareWorkflow", "POST",
         &ApiRoutes::Now<&ApiRoutes::PrepareWorkflow>, true},
        {"subscribe", "/api/dtmsvr/subscribe", "GET POST", &ApiRoutes::Subscribe},
        {"unsubscribe", "/api/dtmsvr/unsubscribe", "GET POST", &ApiRoutes::Unsubscribe},
        {"topic", "/api/dtmsvr/topic/", "DELETE", &ApiRoutes::DeleteTopic, false, true},
        {"scankv", "/api/dtmsvr/scanKV", "GET", &ApiRoutes::Listed<&ApiLists::ScanValues>, true},
        {"querykv", "/api/dtmsvr/queryKV", "GET", &ApiRoutes::Listed<&ApiLists::QueryValues>, true},
        {"jsonrpc", "/api/json-rpc", "POST", &ApiRoutes::JsonRpc},
        {"branch", api_function::kPath, "GET POST", &ApiRoutes::Now<&ApiRoutes::Branch>, true,
         true},
        {"ping", "/api/ping", "*", &ApiRoutes::Now<&ApiRoutes::Ping>},
        {"metrics", "/api/metrics", "GET", &ApiRoutes::Now<&ApiRoutes::MetricsText>, true},
    };
    for (const Route& route : kRoutes) {
      const std::string_view path = route.path;
      const bool here = route.prefix ? request.path.compare(0, path.size(), path) == 0
                                     : std::string_view(request.path) == path;
      if (!here) continue;
      const std::string methods = route.methods;
      const bool fits = methods == "*" ||
                        (" " + methods + " ").find(" " + request.method + " ") != std::string::npos;
      if (fits) return &route;
    }
    return nullptr;
  }

  /// @throws std::bad_alloc  `done` is not called.
  void Handle(const Route& route, const ApiRequest& request, const ApiDone& done) {
    try {
      (this->*route.handler)(request, done);
    } catch (...) {
      Tell(done, {{}, std::current_exception()}, replies::Of);
    }
  }

 private:
  /// `write` makes the reply from the outcome; without memory for that, the reply has only the status.
  template <typename Write>
  static void Tell(const ApiDone& done, const Answer& answer, const Write& write) {
    ApiReply reply;
    reply.status = 500;
    Answers::Protected([&] { reply = write(InHttp(OutcomeOf(answer))); });
    done(std::move(reply));
  }
  static AnswerCallback AnswerTo(const ApiDone& done) {
    return [done](const Answer& answer) { Tell(done, answer, replies::Of); };
  }

  template <ApiReply (ApiLists::*kRead)(const ApiRequest&)>
  void Listed(const ApiRequest& request, const ApiDone& done) {
    done((lists_.*kRead)(request));
  }
  template <ApiReply (ApiRoutes::*kRead)(const ApiRequest&)>
  void Now(const ApiRequest& request, const ApiDone& done) {
    done((this->*kRead)(request));
  }
  template <json_operations::Operation kOperation>
  void Asked(const ApiRequest& request, const ApiDone& done) {
    kOperation(tm_, BodyOf(request), AnswerTo(done));
  }

  static void TakeTrace(const ApiRequest& request, nlohmann::json& body) {
    if (api_head::CountHeaders(request, kTraceParent) != 1) return;
    json_operations::TakeTrace(body, http1::FindHeader(request.headers, kTraceParent),
                               api_head::JoinedHeader(request, kTraceState));
  }
  static nlohmann::json BodyOf(const ApiRequest& request) {
    nlohmann::json body = wire::json_input::ParseObject(request.body, "the body");
    TakeTrace(request, body);
    return body;
  }

  void JsonRpc(const ApiRequest& request, const ApiDone& done) {
    static constexpr struct {
      const char* name;
      const char* counted;
      json_operations::Operation operation;
    } kMethods[] = {{"submit", "submit", &json_operations::Submit},
                    {"prepare", "prepare", &json_operations::Prepare},
                    {"abort", "abort", &json_operations::Abort},
                    {"registerBranch", "registerbranch", &json_operations::RegisterBranch}};
    json_rpc_api::Call call;
    if (std::optional<ApiReply> wrong = json_rpc_api::Read(request.body, call)) {
      return done(std::move(*wrong));
    }
    const auto begin = std::chrono::steady_clock::now();
    if (call.method == "newGid") {
      counters_->AnsweredNow("newgid", 200, begin);
      return done(json_rpc_api::OfGid(call.id, tm_.NewGid()));
    }
    for (const auto& method : kMethods) {
      if (call.method != method.name) continue;
      const AnswerCallback told = [counters = counters_, done, begin, counted = method.counted,
                                   id = call.id](const Answer& answer) {
        Tell(done, answer, [&](const ApiOutcome& outcome) {
          counters->AnsweredNow(counted, outcome.status, begin);
          return json_rpc_api::Of(id, outcome);
        });
      };
      try {
        wire::json_input::CheckObject(call.params, "params");
        TakeTrace(request, call.params);
        return method.operation(tm_, call.params, told);
      } catch (...) {
        return told({{}, std::current_exception()});
      }
    }
    done(json_rpc_api::NotFound(call));
  }

  void Subscribe(const ApiRequest& request, const ApiDone& done) {
    const std::string url = request.Query(wire::kUrl);
    wire::CheckNotLocal(url);
    tm_.SubscribeAsync(request.Query(wire::kTopic), url, request.Query(wire::kRemark),
                       AnswerTo(done));
  }
  void Unsubscribe(const ApiRequest& request, const ApiDone& done) {
    tm_.UnsubscribeAsync(request.Query(wire::kTopic), request.Query(wire::kUrl), AnswerTo(done));
  }
  void DeleteTopic(const ApiRequest& request, const ApiDone& done) {
    const std::string name = request.path.substr(std::string("/api/dtmsvr/topic/").size());
    if (name.empty()) return done(replies::NotFound());
    tm_.DeleteTopicAsync(name, AnswerTo(done));
  }

  ApiReply PrepareWorkflow(const ApiRequest& request) {
    Definition definition = json_operations::TransactionOf(BodyOf(request));
    if (definition.type != TransType::kWorkflow) {
      throw BadInput("prepareWorkflow is for workflows; a " + std::string(Name(definition.type)) +
                     " is prepared with prepare");
    }
    const auto stored = tm_.AwaitValue<Transaction>([&](const ValueCallback<Transaction>& answer) {
      tm_.PrepareWorkflowAsync(std::move(definition), answer);
    });
    return {200, wire::JsonText({{wire::kProgresses, wire::BranchesJson(stored)},
                                 {wire::kTransaction, lists_.Shown(stored)}})};
  }

  ApiReply ResetCronTime(const ApiRequest& request) {
    const std::int64_t timeout = QueryInteger(request, "timeout", 105, 0, 10LL * 366 * 86400);
    const std::int64_t limit =
        QueryInteger(request, "limit", 100, 1, static_cast<std::int64_t>(kMaxListLimit));
    std::vector<std::string> waiting =
        tm_.ListWaiting(std::chrono::seconds(timeout), static_cast<std::size_t>(limit) + 1);
    const bool more = waiting.size() > static_cast<std::size_t>(limit);
    if (more) waiting.pop_back();
    const std::int64_t done = RetryAllNow(tm_, waiting);
    return {200, wire::JsonText({{"has_remaining", more}, {"succeed_count", done}})};
  }

  ApiReply NewGid(const ApiRequest&) {
    return {200, wire::JsonText({{wire::kDtmResult, wire::kSuccess}, {wire::kGid, tm_.NewGid()}})};
  }
  ApiReply Version(const ApiRequest&) {
    return {200, wire::JsonText({{"version", std::string("v") + kVersion}})};
  }
  ApiReply Ping(const ApiRequest&) { return {200, R"({"msg":"pong"})"}; }
  ApiReply MetricsText(const ApiRequest&) {
    return {200, metrics_text::Text(counters_->Get(), tm_.Counted(), tm_.Measure()),
            "text/plain; version=0.0.4"};
  }

  ApiReply Branch(const ApiRequest& request) { return api_function::Reply(tm_, request); }

  Coordinator& tm_;
  ApiLists lists_;
  const std::shared_ptr<ApiCounters> counters_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/api/api.hpp ----------------------------------------------------------------------

/// The HTTP API as a function from a request to a reply, without sockets: servers call it.
/// Needs: nlohmann/json. Threads: thread-safe. Protocol: §2, §7; document: docs/http_api.md.

namespace dtm {
inline namespace v1 {

/// What a server does with a request:
///   1. It reads the head into an ApiRequest, and calls api_head::TakeHost. If Refusal(head) gives a reply, it sends that and
///      closes the connection.
///   2. It reads the body, if api_head::MayHaveBody; beyond api_head::kMaxBodyBytes the reply is api_head::TooLong().
///   3. It calls Handle(request, done), and sends what `done` gets. If MayBlock(request), a thread that may wait calls it.
/// A thread that has many requests at a time handles them between the coordinator's BeginBurst and EndBurst.
/// `done` may be called after the Api is gone, but at the latest when the coordinator is stopped.
class Api {
 public:
  explicit Api(Coordinator& tm, std::string token = {})
      : tm_(tm), routes_(tm, counters_), token_(std::move(token)) {}

  /// Before the first request: what is served beside the API.
  void Mount(std::vector<ApiPage> pages) { pages_ = std::move(pages); }

  std::optional<ApiReply> Refusal(const ApiRequest& head) const {
    return api_head::Check(head, token_, PageOf(head) != nullptr);
  }

  /// True if the request reads the store, or runs a function of the program.
  static bool MayBlock(const ApiRequest& request) {
    const ApiRoutes::Route* const route = ApiRoutes::Find(request);
    // The subscribers of a topic are looked up. Slashes may be escaped.
    return route != nullptr && (route->blocks || request.body.find("topic:") != std::string::npos);
  }

  /// `request` is not needed any more when this returns.
  /// @throws std::bad_alloc  `done` is not called.
  void Handle(const ApiRequest& request, const ApiDone& done) {
    const ApiRoutes::Route* const route = ApiRoutes::Find(request);
    const ApiPage* const page = route == nullptr ? PageOf(request) : nullptr;
    const char* const name = route != nullptr ? route->name : page != nullptr ? "page" : "unknown";
    const ApiDone counted = [counters = counters_, name, done,
                             begin = std::chrono::steady_clock::now()](ApiReply reply) {
      counters->AnsweredNow(name, reply.status, begin);
      done(std::move(reply));
    };
    if (page != nullptr) return counted(replies::OfPage(*page));
    if (route == nullptr) return counted(replies::NotFound());
    routes_.Handle(*route, request, counted);
  }

  /// The same, and waits for the reply. @throws std::bad_alloc  and nothing else.
  ApiReply Handle(const ApiRequest& request) {
    const auto box = std::make_shared<ApiReply>();
    try {
      tm_.Await([&](const AnswerCallback& answer) {
        Handle(request, [box, answer](ApiReply given) {
          *box = std::move(given);
          answer({});
        });
      });
    } catch (...) {
      return replies::Of(InHttp(OutcomeOf(std::current_exception())));
    }
    return std::move(*box);
  }

 private:
  const ApiPage* PageOf(const ApiRequest& request) const {
    if (request.method != "GET" && request.method != "HEAD") return nullptr;
    const auto found = std::find_if(pages_.begin(), pages_.end(), [&request](const ApiPage& page) {
      return page.path == request.path;
    });
    return found == pages_.end() ? nullptr : &*found;
  }

  Coordinator& tm_;
  const std::shared_ptr<ApiCounters> counters_ = std::make_shared<ApiCounters>();
  ApiRoutes routes_;
  const std::string token_;
  std::vector<ApiPage> pages_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/calls/host_limits.hpp ------------------------------------------------------------

/// How many calls a host may have in flight, so that a dead or slow one delays nobody else.
/// Needs: std. Threads: none inside; the caller holds its own lock. Pure arithmetic, no clock.

namespace dtm {
inline namespace v1 {

/// Decides whether one more call to a host may start.
class HostLimits {
 public:
  /// Settings of HttpBranchOptions.
  struct Limits {
    int total = 1280;       ///< calls in flight, all hosts together
    int per_host = 1024;    ///< calls in flight to one host
    int silent_host = 8;    ///< calls in flight to a host that does not reply
    int silent_after = 10;  ///< calls in a row without a reply that make it such a host
  };

  /// What is known about one host.
  struct Load {
    int in_flight = 0;
    int silent = 0;  ///< calls in a row that timed out or could not reach it
  };

  /// Nothing is in flight yet.
  explicit HostLimits(Limits limits) : limits_(limits) {}

  /// A host may have four times as many calls in flight as are still free: alone it gets 1,024 of
  /// 1,280, and each host leaves a fifth of what it found, also when several die at once.
  bool MayStart(const Load& host) const {
    const int free = limits_.total - in_flight_;
    const int cap = Silent(host) ? limits_.silent_host : limits_.per_host;
    return host.in_flight < cap && host.in_flight < kShare * free;
  }

  /// So many calls in a row had no reply that the host gets few at a time.
  bool Silent(const Load& host) const { return host.silent >= limits_.silent_after; }

  /// A call to this host starts; Finished has to follow.
  void Started(Load& host) {
    ++host.in_flight;
    ++in_flight_;
  }

  /// `silent`: the host timed out or could not be reached. After any reply it has its full share
  /// again.
  void Finished(Load& host, bool silent) {
    --host.in_flight;
    --in_flight_;
    if (!silent) {
      host.silent = 0;
    } else if (host.silent < limits_.silent_after) {
      ++host.silent;
    }
  }

  /// To all hosts together.
  int InFlight() const { return in_flight_; }

 private:
  static constexpr int kShare = 4;

  Limits limits_;
  int in_flight_ = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/transport/io_thread.hpp ----------------------------------------------------------

/// The thread of an event loop, which a Server and callers of URLs may share: one of its own, or that of the program.
/// Needs: POSIX. Threads: thread-safe; see OfHost.

namespace dtm {
inline namespace v1 {

/// Give the same one to ServerOptions::io and HttpBranchOptions::io, and one thread has all sockets: it wakes less often,
/// and takes less CPU. Without, each has a thread of its own, which is more where there is a processor for each.
///   const auto io = std::make_shared<dtm::IoThread>();
/// A forked child has no part in it.
class IoThread {
 public:
  /// @throws Error  no file descriptor is available; std::system_error  no thread can be started.
  IoThread() : IoThread(true) {}

  /// No thread: the program has an event loop, which calls Poll. All that ends or begins with it (Start and Stop of a Server,
  /// Use, Stop and the destructor of a coordinator) is called on that thread, outside Poll. Nothing there may wait for
  /// a URL or for the server itself, so use SubmitAsync, not SubmitAndWait.
  /// @throws Error  no file descriptor is available.
  static std::shared_ptr<IoThread> OfHost() {
    return std::shared_ptr<IoThread>(new IoThread(false));
  }

  /// Does what there is to do, and returns how long the program's loop may sleep unless Fd() becomes readable.
  /// @throws LogicError  it has a thread of its own, this is a forked child, or inside Poll (a callback called it): nothing was done.
  Duration Poll() {
    transport::IoLoop& loop = Loop();
    if (loop.HasThread()) throw LogicError("Poll() is for an IoThread::OfHost()");
    loop.Poll(std::chrono::microseconds(0));
    const auto left = std::chrono::ceil<Duration>(
        (std::min)(loop.NextDeadline() - transport::IoLoop::Clock::now(), kLongest));
    return (std::max)(left, Duration(0));
  }
  /// @throws LogicError  this is a forked child.
  int Fd() const { return Loop().Fd(); }

  /// @throws LogicError  this is a forked child.
  transport::IoLoop& Loop() const { return own_.Get(); }

 private:
  static constexpr transport::IoLoop::Clock::duration kLongest = std::chrono::hours(1);

  explicit IoThread(bool thread) : own_("I/O thread") {
    if (thread) own_.Get().Start();
  }

  OfThisProcess<transport::IoLoop> own_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/calls/call_queue.hpp -------------------------------------------------------------

/// Which call goes out next: a queue per host, round robin over the hosts.
/// Needs: std. Threads: none inside; the caller holds its own lock. No clock: time is passed in.

#include <list>
#include <unordered_map>

namespace dtm {
inline namespace v1 {

/// Each number is 1 or more.
struct HttpBranchOptions {
  HostLimits::Limits limits;
  std::size_t max_waiting = 65536;  ///< calls without a free slot; more are answered NotSent
  /// How long unused connections stay, at most a day.
  Duration keep_idle = std::chrono::seconds(4);
  /// For https: dtm::Tls() of <dtm/http/tls.hpp>. Without it such URLs are not called.
  std::shared_ptr<TlsClient> tls;
  /// Whose thread has the sockets; null: one of its own.
  std::shared_ptr<IoThread> io{};
};

/// @throws LogicError  an option is out of its range.
inline const HttpBranchOptions& CheckedOptions(const HttpBranchOptions& options) {
  option_range::Check("limits.total", options.limits.total, 1, 1000000);
  option_range::Check("limits.per_host", options.limits.per_host, 1, 1000000);
  option_range::Check("limits.silent_host", options.limits.silent_host, 1, 1000000);
  option_range::Check("limits.silent_after", options.limits.silent_after, 1, 1000000);
  option_range::Check("max_waiting", options.max_waiting, 1, option_range::kAnyNumber);
  option_range::Check("keep_idle", options.keep_idle, Duration(0), kMaxOptionSeconds);
  return options;
}

class CallQueue {
 public:
  struct Job {
    BranchCall call;
    BranchResults* results = nullptr;
    Url url{};  ///< of the call, once it is in the queue
  };

  struct Ended {
    Job job;
    Result result;
  };

  /// Stays while it has calls in flight or waiting.
  class Host {
   public:
    explicit Host(Url where) : url_(std::move(where)) {}
    const Url& Where() const { return url_; }

    std::unique_ptr<hosts::HttpHost> connections;  ///< whoever sends the calls makes them

   private:
    friend class CallQueue;

    Url url_;
    HostLimits::Load load_;
    std::multimap<SteadyTime, Job> waiting_;  ///< by the time at which it is too late to send it
    bool in_ring_ = false;
    SteadyTime last_used_{};
  };

  /// A call that leaves the queue.
  struct Taken {
    Job job;
    std::optional<Result> too_late;  ///< not to be sent, this is its result
  };

  /// `held`: what the calls in flight hold; it outlives the queue.
  /// @throws LogicError  an option is out of its range.
  CallQueue(const HttpBranchOptions& options, const transport::HeldBytes& held)
      : options_(CheckedOptions(options)), limits_(options.limits), held_(held) {}

  /// Returns the result if the call cannot wait here; else `job` is moved from.
  /// @throws std::bad_alloc  nothing was changed.
  std::optional<Result> Push(Job&& job, SteadyTime now) {
    try {
      job.url = ParseHttpUrl(job.call.Url());
      if (job.url.Tls() && !options_.tls) {
        return Result::Error(
            "https is not available: include <dtm/http/tls.hpp> and set HttpBranchOptions::tls to "
            "call " +
            job.url.Origin());
      }
      Host& host = HostAt(job.url);
      // Half of what is free: a host that is stuck cannot fill the queue for the others.
      if (host.waiting_.size() >= options_.max_waiting - waiting_) {
        return Result::NotSent("too many calls wait for " + host.url_.Origin());
      }
      if (!host.in_ring_) ring_.push_back(&host);
      host.in_ring_ = true;
      host.last_used_ = now;
      host.waiting_.emplace(Later(now, job.call.timeout - job.call.late), std::move(job));
      ++waiting_;
      return std::nullopt;
    } catch (const Error& error) {
      return Result::Error(wire::StorableText(error.what()));
    }
  }

  /// A host with a call that may start now, or null. On the thread that changes `held`.
  Host* Next() {
    if (limits_.InFlight() >= options_.limits.total) return nullptr;
    for (std::size_t left = ring_.size(); left > 0; --left) {
      Host* host = ring_.front();
      if (host->waiting_.empty()) {
        host->in_ring_ = false;
        ring_.pop_front();
        continue;
      }
      if (limits_.MayStart(host->load_) && HasRoom(*host)) return host;
      ring_.splice(ring_.end(), ring_, ring_.begin());
    }
    return nullptr;
  }

  /// Right after Next returned `host`; the next turn is another host's. Unless it is too late for
  /// the call, Return must follow.
  Taken Take(Host& host, SteadyTime now) {
    ring_.splice(ring_.end(), ring_, ring_.begin());
    const auto first = host.waiting_.begin();
    Taken taken{std::move(first->second), std::nullopt};
    if (first->first <= now) {
      taken.too_late = TooLate(host);
    } else {
      limits_.Started(host.load_);
    }
    host.waiting_.erase(first);
    --waiting_;
    return taken;
  }

  /// A call has ended.
  void Return(Host& host, bool silent, SteadyTime now) {
    limits_.Finished(host.load_, silent);
    host.last_used_ = now;
  }

  /// Collects what has become too late, `limit` calls at most, forgets hosts that are not called any more, and returns when
  /// to look again: not after `now` if there is more.
  SteadyTime Check(SteadyTime now, std::size_t limit, std::vector<Ended>& ended) {
    SteadyTime next = now + std::chrono::hours(1);
    for (auto at = hosts_.begin(); at != hosts_.end();) {
      Host& host = *at->second;
      for (auto& waiting = host.waiting_; !waiting.empty(); waiting.erase(waiting.begin())) {
        if (waiting.begin()->first > now || ended.size() >= limit) {
          next = (std::min)(next, waiting.begin()->first);
          break;
        }
        if (ended.size() == ended.capacity()) ended.reserve(2 * ended.size() + 16);  // it may throw
        ended.push_back({std::move(waiting.begin()->second), TooLate(host)});
        --waiting_;
      }
      const bool connected = host.connections != nullptr && host.connections->Connections() > 0;
      const bool unused = host.load_.in_flight == 0 && host.waiting_.empty() && !connected;
      const SteadyTime forget = host.last_used_ + kRemember;
      if (unused && (host.load_.silent == 0 || forget <= now || hosts_.size() > kMaxHosts)) {
        if (host.in_ring_) ring_.remove(&host);
        at = hosts_.erase(at);
      } else {
        if (unused) next = (std::min)(next, forget);
        ++at;
      }
    }
    return next;
  }

  /// Closes all connections; nothing is called any more.
  void Disconnect() {
    for (auto& [origin, host] : hosts_) host->connections.reset();
  }

  CallLoad Load() const {
    CallLoad load{static_cast<std::size_t>(limits_.InFlight()), waiting_, {}};
    for (const auto& [origin, host] : hosts_) {
      const auto in_flight = static_cast<std::size_t>(host->load_.in_flight);
      const bool limited = limits_.Silent(host->load_);
      if (in_flight == 0 && host->waiting_.empty() && !limited) continue;
      load.hosts.push_back({origin, in_flight, host->waiting_.size(), limited});
    }
    return load;
  }

 private:
  // A dead host nobody calls is remembered so long, and so many of them.
  static constexpr std::chrono::seconds kRemember{60};
  static constexpr std::size_t kMaxHosts = 4096;

  /// In memory, for its next call.
  bool HasRoom(const Host& host) const {
    const std::size_t own = host.connections == nullptr ? 0 : host.connections->Bytes();
    return held_.AllowRequest(host.waiting_.begin()->second.call.Payload().size(), own);
  }

  Host& HostAt(const Url& url) {
    std::string origin = url.Origin();
    auto found = hosts_.find(origin);
    if (found == hosts_.end()) {
      found = hosts_.emplace(std::move(origin), std::make_unique<Host>(url)).first;
    }
    return *found->second;
  }

  static Result TooLate(const Host& host) {
    return Result::NotSent(IfThereIsMemory(
        [&] { return "no slot for a call to " + host.url_.Origin() + " became free in time"; }));
  }

  const HttpBranchOptions options_;
  HostLimits limits_;
  const transport::HeldBytes& held_;
  std::unordered_map<std::string, std::unique_ptr<Host>> hosts_;  ///< by origin
  std::list<Host*> ring_;                                         ///< hosts with waiting calls
  std::size_t waiting_ = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/calls/branch_request.hpp ---------------------------------------------------------

/// A branch call as an HTTP request.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §3 (calling branches).

namespace dtm {
inline namespace v1 {

namespace headers {

/// An RFC 9110 token.
inline bool ValidName(const std::string& name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  for (const char c : name) {
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!word && kMarks.find(c) == std::string_view::npos) return false;
  }
  return !name.empty();
}

inline bool ValidValue(const std::string& value) {
  for (const char c : value) {
    if ((c >= 0 && c < ' ' && c != '\t') || c == 127) return false;
  }
  return true;
}

/// Headers that frame a message belong to the connection, not to the call. If they were copied from another
/// request, one call would run into the next; so they are left out.
inline bool IsFraming(const std::string& lower) {
  for (const char* name : {"connection", "content-length", "expect", "keep-alive",
                           "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}) {
    if (lower == name) return true;
  }
  return false;
}

}  // namespace headers

/// Those of the transaction; of a call that is a span, with that as the parent of what the branch does.
class BranchHeaders {
 public:
  using Map = std::map<std::string, std::string>;
  explicit BranchHeaders(const BranchCall& call) : given_(call.definition->options.branch_headers) {
    if (call.span == nullptr) return;
    for (const auto& header : given_) {
      if (!IsTraceHeader(header.first)) own_.insert(header);
    }
    const auto trace = call.Trace();
    own_[kTraceParent] = TraceParent(*trace);
    if (!trace->state.empty()) own_[kTraceState] = trace->state;
  }
  const Map& Get() const { return own_.empty() ? given_ : own_; }

 private:
  const Map& given_;
  Map own_;
};

/// @throws Error  a branch header could smuggle something into the request.
inline http1::HttpRequest BranchRequest(const BranchCall& call, const Url& url) {
  http1::HttpRequest request;
  if (wire::json_rpc::Speaks(*call.definition, url)) {
    request.method = "POST";
    request.target = url.target;
    request.body = wire::json_rpc::BranchBody(url, call.Payload(), call.Info());
  } else {
    request.method = wire::BranchMethod(call.definition->type, call.Payload());
    request.target = wire::BranchTarget(url.target, call.Info());
    request.body = call.Payload();
  }
  // By the name in lower case; the last of equal ones counts.
  std::map<std::string, std::pair<const std::string*, const std::string*>> given;
  const BranchHeaders branch_headers(call);
  for (const auto& [name, value] : branch_headers.Get()) {
    if (!headers::ValidName(name) || !headers::ValidValue(value)) {
      throw Error("the branch header \"" + wire::StorableText(name) +
                  "\" has a name or value that HTTP does not allow; the call was not sent");
    }
    std::string lower = Lowered(name);
    if (!headers::IsFraming(lower)) given[std::move(lower)] = {&name, &value};
  }
  request.headers.reserve(6 + given.size());
  const auto otherwise = [&](const char* lower, const char* name, std::string value) {
    if (given.empty() || given.count(lower) == 0) request.Set(name, std::move(value));
  };
  otherwise("host", "Host", url.Authority());
  otherwise("content-type", "Content-Type", wire::kJson);
  otherwise("accept", "Accept", wire::kJson);
  // A few bytes of gzip can be gigabytes of answer.
  otherwise("accept-encoding", "Accept-Encoding", "identity");
  otherwise("user-agent", "User-Agent", wire::UserAgent());
  if (!url.credentials.empty()) {
    otherwise("authorization", "Authorization", wire::BasicAuthorization(url));
  }
  for (const auto& [lower, header] : given) {
    // Blanks around a value are none of it (RFC 9110).
    request.Set(*header.first, std::string(Trimmed(*header.second)));
  }
  return request;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/calls/branch_http_call.hpp -------------------------------------------------------

/// A branch call in flight: the request, and the result that its reply stands for.
/// Needs: nlohmann/json. Threads: one at a time. Protocol: §1 (Rule A), §3 (calling branches).

namespace dtm {
inline namespace v1 {

struct CallOutcome {
  Result result;
  bool silent = false;  ///< timed out or could not be reached, see HostLimits
};

/// Finds the words of Rule A in what is read of a body but not kept.
class WordsBeyond {
 public:
  void Look(std::string_view piece, std::size_t kept) {
    if (kept < piece.size()) {
      const std::string text = tail_ + std::string(piece);
      ongoing_ = ongoing_ || text.find("ONGOING") != std::string::npos;
      failure_ = failure_ || text.find("FAILURE") != std::string::npos;
    }
    constexpr std::size_t kWord = 7;
    tail_ = piece.size() < kWord ? tail_ + std::string(piece) : std::string(piece);
    if (tail_.size() >= kWord) tail_.erase(0, tail_.size() - (kWord - 1));
  }

  /// The one that counts, or nothing.
  const char* Found() const { return ongoing_ ? "ONGOING" : failure_ ? "FAILURE" : ""; }

 private:
  std::string tail_;  ///< less than a word, before the next piece
  bool ongoing_ = false;
  bool failure_ = false;
};

/// Somebody who is told takes the rest.
class BranchHttpCall : public hosts::HttpCall {
 public:
  /// A longer body is not read to its end. This limit is against abuse only.
  static constexpr std::size_t kMaxReadBytes = std::size_t{8} * 1024 * 1024;

  /// @throws Error  it cannot be sent as it is.
  BranchHttpCall(const BranchCall& call, const Url& url, SteadyTime until)
      : json_rpc_(wire::json_rpc::Speaks(*call.definition, url)),
        wanted_(json_rpc_ || call.keep_body) {
    request = RequestText(BranchRequest(call, url));
    deadline = until;
    keep_body = Kept();
    max_body = kMaxReadBytes;
  }

  void OnBody(std::string_view piece, std::size_t kept) override {
    if (!wanted_) beyond_.Look(piece, kept);
  }

  CallOutcome Interpret(hosts::HttpOutcome& outcome, const BranchCall& call, const Url& url) const {
    CallOutcome told = ToldBy(outcome, call, url);
    if (wire::retry_after::Counts(outcome.status) && outcome.head != nullptr) {
      told.result.retry_after = wire::retry_after::Wait(
          outcome.head->Find("retry-after"), std::string(outcome.head->Find("date")),
          std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()));
    }
    return told;
  }

 private:
  using Kind = hosts::HttpOutcome::Kind;

  /// A reply that somebody wants may be as long as what he can keep of it.
  std::size_t Kept() const { return wanted_ ? kMaxPayloadBytes : kMaxReplyBytes; }

  CallOutcome ToldBy(hosts::HttpOutcome& outcome, const BranchCall& call, const Url& url) const {
    const auto error = [&url](const std::string& text, bool silent) {
      return CallOutcome{Result::Error(wire::StorableText(url.Origin() + " " + text)), silent};
    };
    switch (outcome.kind) {
      case Kind::kReply:
        if (outcome.encoded || (wanted_ && outcome.cut)) break;
        return Whole(outcome, call);
      case Kind::kTooLong: break;
      case Kind::kNotAllowed: return {LeaseOver(), false};
      case Kind::kLate:
        return error(
            "gave no answer within " +
                std::to_string(
                    std::chrono::duration_cast<std::chrono::milliseconds>(call.timeout).count()) +
                " ms",
            true);
      default: return error(outcome.problem, outcome.kind == Kind::kNotReached);
    }
    // What the status says is definite; what a word in the rest of the body says is not known.
    if (outcome.status == 409 || outcome.status == 425) {
      return {wire::ReadReply(outcome.status, outcome.encoded ? std::string() : outcome.body),
              false};
    }
    if (outcome.crowded && outcome.kind == Kind::kReply && !outcome.encoded)
      return error(hosts::HttpOutcome::kNoRoom, false);
    const std::size_t limit = outcome.kind == Kind::kTooLong ? max_body : keep_body;
    CallOutcome told =
        error("answered with HTTP status " + std::to_string(outcome.status) +
                  (outcome.encoded ? " and a compressed body; answer branch calls without it"
                                   : " and a body of more than " + std::to_string(limit) +
                                         " bytes; answer branch calls with less"),
              false);
    told.result.done = outcome.status == 200;
    return told;
  }

  CallOutcome Whole(hosts::HttpOutcome& outcome, const BranchCall& call) const {
    std::string& body = outcome.body;
    if (outcome.cut) body += beyond_.Found();
    CallOutcome told{json_rpc_ ? wire::json_rpc::ReadReply(outcome.status, body)
                               : wire::ReadReply(outcome.status, body),
                     false};
    if (call.keep_body && told.result.kind == Result::Kind::kSuccess)
      told.result.text = std::move(body);
    return told;
  }

  const bool json_rpc_;
  const bool wanted_;
  WordsBeyond beyond_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/calls/url_caller.hpp -------------------------------------------------------------

/// Calls branches by URL: one thread for all sockets, which others may share, connections that are kept, a queue per host.
/// Needs: POSIX. Threads: as BranchCaller says; inside, one mutex over the queue, the rest belongs to the loop.
/// Protocol: §3 (calling branches).

namespace dtm {
inline namespace v1 {

class UrlCaller final : transport::Timer, transport::TurnEnd {
 public:
  explicit UrlCaller(const HttpBranchOptions& options)
      : tls_(options.tls),
        io_(options.io ? options.io : std::make_shared<IoThread>()),
        loop_(io_->Loop()),
        resolver_(loop_),
        parts_{loop_, resolver_, tls_.get(), options.keep_idle,
               static_cast<std::size_t>((std::max)(options.limits.total, 0))},
        queue_(options, parts_.held) {
    loop_.Do([this] {
      loop_.Set(*this, loop_.Now() + kLongest);
      loop_.AtTurnEnds(*this);
    });
  }
  // Inside Poll of its own loop, which is a mistake, it ends the program.
  ~UrlCaller() { Stop(); }  // NOLINT(bugprone-exception-escape)

  void Call(std::vector<BranchCall> calls, BranchResults& results) {
    if (stopping_ || calls.empty()) return;
    try {
      auto posted = std::make_shared<std::vector<BranchCall>>();
      posted->swap(calls);
      try {
        loop_.Post([this, gone = gone_, posted, &results] {
          if (!*gone) Take(*posted, results);
        });
      } catch (...) {
        posted->swap(calls);
        throw;
      }
    } catch (const std::bad_alloc&) {
      for (BranchCall& call : calls) {
        Job job{std::move(call), &results};
        Result problem = Result::NotSent({});
        Tell(job, problem);
      }
    }
  }

  CallLoad Load() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return queue_.Load();
  }

  /// Waits for names that are being resolved: getaddrinfo cannot be interrupted.
  /// @throws LogicError  inside Poll of its IoThread: nothing was done.
  void Stop() {
    loop_.CheckOutsidePoll();
    if (stopping_.exchange(true)) return;
    loop_.Do([this] {
      *gone_ = true;
      queue_.Disconnect();
      loop_.Forget(*this);
      loop_.NotAtTurnEnds(*this);
    });
    loop_.Do([] {});  // what was disposed of is destroyed at the end of the turn
    resolver_.Stop();
  }

 private:
  using Job = CallQueue::Job;
  using Host = CallQueue::Host;

  struct Sent final : BranchHttpCall {
    Sent(UrlCaller& caller, Host& to, Job& sent, SteadyTime until)
        : BranchHttpCall(sent.call, sent.url, until),
          owner(caller),
          host(to),
          job(std::move(sent)) {}
    bool MaySend() const override { return job.call.MayBegin(); }
    void OnDone(hosts::HttpOutcome outcome) override { owner.OnDone(*this, outcome); }
    UrlCaller& owner;
    Host& host;
    Job job;
  };

  // All on the loop.

  void Take(std::vector<BranchCall>& calls, BranchResults& results) {
    const SteadyTime now = loop_.Now();
    for (BranchCall& call : calls) {
      const SteadyTime late = Later(now, call.timeout - call.late);
      Job job{std::move(call), &results};
      std::optional<Result> refused;
      try {
        const std::lock_guard<std::mutex> lock(mutex_);
        refused = queue_.Push(std::move(job), now);
      } catch (const std::bad_alloc&) {
        refused = Result::NotSent({});
      }
      if (refused) {
        // NOLINTNEXTLINE(bugprone-use-after-move): Push did not take it
        Deliver(std::move(job), std::move(*refused));
      } else {
        CheckBefore(late);
      }
    }
    look_ = true;
  }

  /// Not all at once: a host to which a thousand wait does not keep the replies of the others waiting.
  void SendWaiting() {
    for (std::size_t i = 0; i < kAtATime; ++i) {
      Host* host = nullptr;
      CallQueue::Taken taken;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        host = queue_.Next();
        if (host == nullptr) return;
        taken = queue_.Take(*host, loop_.Now());
      }
      if (taken.too_late) {
        Deliver(std::move(taken.job), std::move(*taken.too_late));
      } else {
        Send(*host, taken.job);
      }
    }
    look_ = true;
    loop_.Wake();
  }

  void Send(Host& host, Job& job) {
    Result problem;
    try {
      if (host.connections == nullptr) {
        host.connections = std::make_unique<hosts::HttpHost>(parts_, host.Where());
      }
      auto sent = std::make_unique<Sent>(*this, host, job, Later(loop_.Now(), job.call.timeout));
      return host.connections->Send(std::move(sent));
    } catch (const std::exception& error) {
      problem = Result::Error(IfThereIsMemory([&] { return wire::StorableText(error.what()); }));
    }
    Return(host, false);
    Deliver(std::move(job), std::move(problem));
  }

  void OnDone(Sent& sent, hosts::HttpOutcome& outcome) {
    CallOutcome told;
    told.result = CatchAsResult([&] {
      told = sent.Interpret(outcome, sent.job.call, sent.job.url);
      return std::move(told.result);
    });
    Return(sent.host, told.silent);
    Deliver(std::move(sent.job), std::move(told.result));
  }

  void Return(Host& host, bool silent) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      queue_.Return(host, silent, loop_.Now());
    }
    look_ = true;
    CheckBefore(loop_.Now() + parts_.keep_idle + kALittle);
  }

  /// It is set already, so this needs no memory.
  void CheckBefore(SteadyTime time) {
    if (time < Deadline()) loop_.Set(*this, time);
  }

  /// What waited too long is answered, not all at once for the same reason; hosts that are not called any more are forgotten.
  void OnDeadline() override {
    loop_.Set(*this, loop_.Now() + kLongest);
    std::vector<CallQueue::Ended> ended;
    SteadyTime next = loop_.Now() + kALittle;
    try {
      const std::lock_guard<std::mutex> lock(mutex_);
      const SteadyTime again = queue_.Check(loop_.Now(), kAtATime, ended);
      // With more to say: in the next turn.
      next =
          ended.size() < kAtATime ? (std::max)(next, again) : loop_.Now() + SteadyTime::duration(1);
    } catch (const std::bad_alloc&) {  // what was not looked at is looked at again
    }
    CheckBefore(next);
    for (CallQueue::Ended& call : ended) Deliver(std::move(call.job), std::move(call.result));
  }

  /// At the end of the turn, with all that came in it.
  void Deliver(Job job, Result result) {
    try {
      if (ended_.size() == ended_.capacity()) ended_.reserve(2 * ended_.size() + 16);
    } catch (const std::bad_alloc&) {
      return Tell(job, result);
    }
    ended_.push_back({std::move(job), std::move(result)});
  }

  /// Calls begin once in a turn, when all that came in it is known: new calls, free slots, bytes that a call in flight
  /// holds no longer.
  void OnTurnEnd() override {
    const bool freed = parts_.held.TakeFreed();
    if (freed || look_) {
      look_ = false;
      SendWaiting();
    }
    DeliverAll();
  }

  /// Whoever gets many results is woken once. The last comes behind the burst: who has all that he waits for may be gone.
  void DeliverAll() {
    for (std::size_t first = 0, last = 0; first < ended_.size(); first = last + 1) {
      BranchResults* const to = ended_[first].job.results;
      for (last = first; last + 1 < ended_.size() && ended_[last + 1].job.results == to;) ++last;
      if (last > first && !stopping_) {
        to->BeginBurst();
        for (std::size_t i = first; i < last; ++i) Tell(ended_[i].job, ended_[i].result);
        to->EndBurst();
      }
      Tell(ended_[last].job, ended_[last].result);
    }
    ended_.clear();
  }

  void Tell(Job& job, Result& result) {
    if (stopping_) return;
    try {
      job.results->Done(std::move(job.call), std::move(result));
    } catch (...) {  // not ours to mend, and no reason to end the process
    }
  }

  static constexpr std::size_t kAtATime = 64;
  static constexpr std::chrono::milliseconds kALittle{1};
  static constexpr std::chrono::hours kLongest{1};

  std::atomic<bool> stopping_{false};
  const std::shared_ptr<bool> gone_ =
      std::make_shared<bool>(false);  ///< for what is posted too late
  const std::shared_ptr<TlsClient> tls_;
  const std::shared_ptr<IoThread> io_;
  transport::IoLoop& loop_;
  hosts::Resolver resolver_;
  hosts::HostParts parts_;
  bool look_ = false;                    ///< whether a call that waits may begin
  std::vector<CallQueue::Ended> ended_;  ///< in this turn
  std::mutex mutex_;
  CallQueue queue_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/branches.hpp ---------------------------------------------------------------------

/// Makes a coordinator call branches by URL: `tm.Use(dtm::HttpBranches())`.
/// Needs: POSIX. Threads: as BranchCaller says. Protocol: §3 (calling branches).

namespace dtm {
inline namespace v1 {

struct HttpBranchCaller final : BranchCaller {
  explicit HttpBranchCaller(const HttpBranchOptions& options) : own("caller of URLs", options) {}
  void Call(std::vector<BranchCall> calls, BranchResults& results) override {
    own.Get().Call(std::move(calls), results);
  }
  CallLoad Load() override { return own.Get().Load(); }
  void Stop() override { own.Get().Stop(); }
  OfThisProcess<UrlCaller> own;
};

/// Each running call takes a file descriptor: `ulimit -n` should be above `limits.total`. One thread serves all of them. A
/// call has the request_timeout of its transaction.
/// @throws LogicError  an option is out of range.
inline std::unique_ptr<BranchCaller> HttpBranches(const HttpBranchOptions& options = {}) {
  return std::make_unique<HttpBranchCaller>(options);
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/calls/call_once.hpp --------------------------------------------------------------

/// One branch call that the caller waits for, on a connection of its own.
/// Needs: POSIX. Threads: any. Protocol: §11.1 (direct branch request).

namespace dtm {
inline namespace v1 {

inline Result CallOnce(const InitiatorCall& direct, const std::string& coordinator,
                       std::shared_ptr<TlsClient> tls = nullptr) {
  if (direct.url.empty()) return Result::Success();
  try {
    const BranchCall call = ToBranchCall(direct, coordinator, std::chrono::seconds(3));
    const Url url = ParseHttpUrl(call.Url());
    struct One final : BranchHttpCall {
      One(const BranchCall& one, const Url& its)
          : BranchHttpCall(one, its, Later(std::chrono::steady_clock::now(), one.timeout)),
            branch(one),
            where(its) {}
      void OnDone(hosts::HttpOutcome outcome) override {
        told = CatchAsResult([&] { return Interpret(outcome, branch, where).result; });
      }
      const BranchCall& branch;
      const Url& where;
      Result told = Result::Error({});
    } one(call, url);
    hosts::BlockingHost(url, std::move(tls)).Send(one);
    return std::move(one.told);
  } catch (const std::exception& error) {
    return Result::Error(error.what());
  }
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/remote/remote_requests.hpp -------------------------------------------------------

/// Requests to a coordinator elsewhere, on connections that are kept; an answer that is neither yes nor no.
/// Needs: POSIX, nlohmann/json. Threads: thread-safe. Protocol: §2, §11.1, Rule B.

namespace dtm {
inline namespace v1 {

struct RemoteOptions {
  /// The time for one request to the coordinator, 1 ms to 1 day. With wait_result the reply may take up to 6 s.
  Duration timeout = std::chrono::seconds(10);
  /// The token that its dtm::Server requires; empty = none.
  std::string token;
  /// The URL at which the coordinator reaches a dtm::Server of this program, to call registered functions:
  /// "http://this-host:36789/api/dtmsvr/branch". Empty = functions cannot be branches.
  std::string branch_url;
  /// The URL at which branches reach the coordinator (those of a tcc or xa are told it); empty = `url`.
  std::string url_in_branches;
  /// For https, to the coordinator and to branches: dtm::Tls() of <dtm/http/tls.hpp>.
  std::shared_ptr<TlsClient> tls;
};

/// The meaning of a reply, from its fields; words elsewhere in its body do not count.
struct Said {
  std::string result;                  ///< dtm_result: SUCCESS, FAILURE, ONGOING, or empty
  std::optional<std::string> message;  ///< nothing: it is not a reply of dtm, or has no message
  bool rejected = false;               ///< nothing was changed; the Go server does not report it
};

inline Said SaidIn(const Exchanged& reply) {
  Said said;
  const nlohmann::json body = wire::json_input::Parse(reply.body);
  if (!body.is_object()) return said;
  const auto text = [&body](const char* key) {
    const auto found = body.find(key);
    const bool told = found != body.end() && found->is_string();
    return told ? std::optional(found->get<std::string>()) : std::nullopt;
  };
  said.result = text(wire::kDtmResult).value_or("");
  said.message = text(wire::kMessage);
  const auto rejected = body.find(wire::kRejected);
  said.rejected = rejected != body.end() && *rejected == true;
  return said;
}

class RemoteRequests {
 public:
  /// @throws Error  it is no URL; LogicError: an option is out of its range.
  RemoteRequests(const std::string& url, RemoteOptions options)
      : url_(ParseHttpUrl(url, "the URL of the coordinator")), options_(std::move(options)) {
    option_range::Check("timeout", options_.timeout, option_range::kShortest, kMaxOptionSeconds);
    CheckUrlOption("branch_url", options_.branch_url);
    CheckUrlOption("url_in_branches", options_.url_in_branches);
    while (!url_.target.empty() && url_.target.back() == '/') url_.target.pop_back();
  }

  std::string Where() const { return url_.Origin() + url_.target; }

  Exchanged Post(const char* path, const std::string& gid, std::string body) {
    return Send("POST", path, gid, std::move(body));
  }

  /// @throws InDoubtError  there was no complete answer.
  Exchanged Send(const char* method, const std::string& path, const std::string& gid,
                 std::string body) {
    http1::HttpRequest request;
    request.method = method;
    request.target = url_.target + path;
    request.body = std::move(body);
    request.Set("Host", url_.Authority());
    request.Set("Content-Type", wire::kJson);
    request.Set("Accept-Encoding", "identity");
    request.Set("User-Agent", wire::UserAgent());
    if (!options_.token.empty()) {
      request.Set("Authorization", "Bearer " + options_.token);
    } else if (!url_.credentials.empty()) {
      request.Set("Authorization", wire::BasicAuthorization(url_));
    }
    std::unique_ptr<HttpConnection> exchange = TakeIdle();
    Exchanged reply =
        exchange->Send(request, Later(std::chrono::steady_clock::now(), options_.timeout));
    if (!reply.Complete()) {
      throw InDoubtError(NoAnswer(gid) + reply.Problem());
    }
    Keep(std::move(exchange));
    return reply;
  }

  std::string NoAnswer(const std::string& gid) const {
    return "gid '" + gid + "' may or may not be stored, the coordinator at " + Where() +
           " gave no answer; submit it again: ";
  }

  static std::string MessageOf(const Exchanged& reply) {
    return wire::StorableText(SaidIn(reply).message.value_or(reply.body));
  }

  static RejectedError Refused(const std::string& gid, const std::string& message) {
    return RejectedError("gid '" + gid + "' was refused: " + message);
  }

  /// Yes, or a definite no (Rule B, but read from fields: a gid may contain any word). Any web page may reply 200; dtm
  /// also replies SUCCESS.
  /// @throws InDoubtError, BusyError, RejectedError  it was neither (see Refuse), or the reply is not dtm's.
  bool SaysYes(const std::string& gid, const Exchanged& reply) const {
    const Said said = SaidIn(reply);
    if (reply.status == 200 && said.result == wire::kSuccess) return true;
    const bool definite = reply.status == 200 || reply.status == 409 || reply.status == 425;
    if (!definite) Refuse("gid '" + gid + "'", reply);
    if (said.result != wire::kFailure && said.result != wire::kOngoing) throw NotOfDtm(gid, reply);
    return false;
  }

  InDoubtError NotOfDtm(const std::string& gid, const Exchanged& reply) const {
    return InDoubtError(NoAnswer(gid) + "it answered something that is not dtm's: " +
                        wire::StorableText(reply.body));
  }

  /// For a reply that is neither "stored" nor "failed".
  [[noreturn]] void Refuse(const std::string& what, const Exchanged& reply) const {
    const std::string text = what + " was refused by the coordinator at " + Where() +
                             " with HTTP status " + std::to_string(reply.status) + ": " +
                             MessageOf(reply);
    // A gateway says it too, when it has sent the request on already.
    if (reply.status == 503 && SaidIn(reply).message) {
      throw AskingToWait(BusyError(text), reply.retry_after);
    }
    if (reply.status >= 500) {
      throw AskingToWait(InDoubtError(text + "; it may be stored, submit it again"),
                         reply.retry_after);
    }
    if (reply.status == 400) throw BadInput(text);
    throw AskingToWait(RejectedError(text), reply.retry_after);
  }

  /// The transaction may be stored, even if a query about it is refused.
  template <typename Ask>
  static auto InDoubtIfRefused(const std::string& gid, const Ask& ask) {
    try {
      return ask();
    } catch (const RejectedError& error) {
      const std::string text = "gid '" + gid + "' may be stored, submit it again: " + error.what();
      throw AskingToWait(InDoubtError(text), error.retry_after);
    }
  }

 private:
  static constexpr std::size_t kMaxIdle = 32;
  static constexpr std::size_t kMaxQueryBytes = std::size_t{16}
                                                << 20;  // a workflow with all its answers in base64

  std::unique_ptr<HttpConnection> TakeIdle() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return std::make_unique<HttpConnection>(url_, kMaxQueryBytes, options_.tls);
    std::unique_ptr<HttpConnection> exchange = std::move(idle_.back());
    idle_.pop_back();
    return exchange;
  }

  void Keep(std::unique_ptr<HttpConnection> exchange) {
    if (!exchange->IsOpen()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(exchange));
  }

  Url url_;
  const RemoteOptions options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<HttpConnection>> idle_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/wire/told_transaction.hpp --------------------------------------------------------

/// Compares a transaction as a coordinator elsewhere describes it with the one that was submitted.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §2.5 (what the Go server leaves out on SQL and redis).

namespace dtm {
inline namespace v1 {
namespace wire {

namespace told {

/// By (branch_id, op): url and payload.
using Rows = std::map<std::pair<std::string, std::string>, std::pair<std::string, std::string>>;

inline Rows RowsOf(const nlohmann::json& branches) {
  Rows rows;
  for (const nlohmann::json& branch : branches) {
    rows[{branch.value(kBranchId, ""), branch.value(kOp, "")}] = {
        ShownUrl(branch.value(kUrl, "")), base64::Decode(branch.value(kBinData, "")).value_or("")};
  }
  return rows;
}

/// The rows that a saga or message must have there. False: its topics were replaced, so they are not known.
inline bool ExpectedRows(const Definition& ours, Rows& rows) {
  for (std::size_t i = 0; i < ours.steps.size(); ++i) {
    const Step& step = ours.steps[i];
    if (IsTopic(step.action)) return false;
    rows[{NumberOf(i), Name(Op::kAction)}] = {ShownUrl(step.action), step.payload};
    if (ours.type != TransType::kSaga) continue;
    rows[{NumberOf(i), Name(Op::kCompensate)}] = {ShownUrl(step.compensate), step.payload};
  }
  return true;
}

/// Servers of this library do not show credentials.
inline nlohmann::json WithShownUrls(nlohmann::json steps) {
  for (nlohmann::json& step : steps) {
    for (nlohmann::json& url : step) url = ShownUrl(url.get<std::string>());
  }
  return steps;
}

inline bool SameSteps(const Definition& ours, const nlohmann::json& transaction,
                      const nlohmann::json& branches) {
  const auto steps = transaction.find(kSteps), payloads = transaction.find(kPayloads);
  if (steps != transaction.end() && steps->is_array()) {
    return WithShownUrls(*steps) == WithShownUrls(nlohmann::json::parse(StepsJson(ours).dump())) &&
           (payloads == transaction.end() ||
            *payloads == nlohmann::json::parse(PayloadsJson(ours).dump()));
  }
  Rows rows;
  return !branches.is_array() || !ExpectedRows(ours, rows) || rows == RowsOf(branches);
}

}  // namespace told

/// SameContent, for what the reply shows: `transaction` and `branches` are those of a query.
/// @throws nlohmann::json::exception, BadInput  the reply does not have dtm's form.
inline bool MayBeSame(const Definition& ours, const nlohmann::json& transaction,
                      const nlohmann::json& branches) {
  if (transaction.value(kTransType, "") != Name(ours.type)) return false;
  if (RegistersSteps(ours.type)) return true;
  if (transaction.value(kExpired, false)) return true;  // who keeps gids has compared them
  Definition stored;
  if (ours.type == TransType::kMsg) {
    // It was prepared, and its submit need not repeat anything.
    if (!transaction.value(kQueryPrepared, "").empty()) return true;
    if (!ours.query_prepared.empty()) return false;
    stored.concurrent = ToldOptions(transaction).value(kConcurrent, false);
  } else {
    decode::SagaCustomData(transaction.value(kCustomData, ""), stored);
  }
  return stored.concurrent == ours.concurrent && stored.orders == ours.orders &&
         told::SameSteps(ours, transaction, branches);
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/remote/query.hpp -----------------------------------------------------------------

/// The query for one transaction, and what the coordinator tells of it.
/// Needs: POSIX, nlohmann/json. Threads: thread-safe. Protocol: §2.6.

namespace dtm {
inline namespace v1 {

struct ToldTransaction {
  TransResult result;
  nlohmann::json transaction, branches;

  /// @throws InDoubtError  it cannot be understood.
  bool MayBe(const Definition& definition, const RemoteRequests& requests) const {
    try {
      return wire::MayBeSame(definition, transaction, branches);
    } catch (const std::exception& error) {  // of JSON, or BadInput
      throw InDoubtError(requests.NoAnswer(definition.gid) + "its query says " + error.what());
    }
  }
};

/// Nothing if there is no such transaction.
/// @throws InDoubtError, RejectedError, BusyError  there was no answer, or none of dtm's, or it was refused.
inline std::optional<ToldTransaction> QueryTransaction(RemoteRequests& requests,
                                                       const std::string& gid) {
  const Exchanged reply = requests.Send(
      "GET", "/query?" + std::string(wire::kGid) + "=" + PercentEncoded(gid), gid, {});
  if (reply.status != 200) requests.Refuse("the query of gid '" + gid + "'", reply);
  nlohmann::json body = wire::json_input::Parse(reply.body);
  if (!body.is_object() || !body.contains(wire::kTransaction)) {
    throw requests.NotOfDtm(gid, reply);
  }
  ToldTransaction stored{{}, std::move(body[wire::kTransaction]), std::move(body[wire::kBranches])};
  const nlohmann::json& told = stored.transaction;
  if (!told.is_object()) return std::nullopt;
  try {
    stored.result = {gid, wire::StatusNamed(told.value(wire::kStatus, "")),
                     told.value(wire::kRollbackReason, ""), told.value(wire::kRollbackFrom, ""),
                     told.value(wire::kLastError, "")};
  } catch (const nlohmann::json::exception&) {
    throw requests.NotOfDtm(gid, reply);
  }
  return stored;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/remote_coordinator.hpp -----------------------------------------------------------

/// A coordinator elsewhere, as builders see it: this library in another process, or the Go server.
/// Needs: POSIX, nlohmann/json. Threads: thread-safe. Protocol: §2, §11.1, Rule B.

namespace dtm {
inline namespace v1 {

/// Without a complete reply within RemoteOptions::timeout a request throws InDoubtError. In a forked child every method that
/// sends something throws LogicError, and the destructor touches nothing: the connections are the parent's.
class RemoteCoordinator : public Endpoint {
 public:
  /// `url` is that of the API: "http://localhost:36789/api/dtmsvr". Nothing is sent yet.
  /// A user and password in it are sent with every request (unless there is a token), but not to branches.
  /// @throws Error  it is not a URL; LogicError: an option is out of range.
  explicit RemoteCoordinator(const std::string& url, RemoteOptions options = {})
      : options_(std::move(options)), own_("remote coordinator", url, options_) {}
  /// Takes at most the timeout of one request. Submissions that wait in SubmitAsync are not sent any more; they get a
  /// RejectedError.
  ~RemoteCoordinator() override {
    if (!own_.Here()) return;
    own_.Get().stopping = true;
    own_.Get().pool.Stop();
  }
  RemoteCoordinator(const RemoteCoordinator&) = delete;
  RemoteCoordinator& operator=(const RemoteCoordinator&) = delete;

  /// Made here, in dtm's form, without a request.
  std::string NewGid() override {
    const auto now = std::chrono::system_clock::now();
    Own& own = own_.Get();
    const std::lock_guard<std::mutex> lock(own.mutex);
    return own.gids.Make(std::chrono::time_point_cast<Duration>(now));
  }

  TransResult Submit(Definition definition) override {
    Check(definition, SubmitProblem(definition));
    const Exchanged reply =
        Requests().Post("/submit", definition.gid, wire::EncodeTransaction(definition));
    if (Requests().SaysYes(definition.gid, reply)) {
      const bool ended = definition.options.wait_result;
      return {definition.gid, ended ? Status::kSucceed : Status::kSubmitted, {}};
    }
    const std::string message = RemoteRequests::MessageOf(reply);
    if (SaidIn(reply).rejected) throw RemoteRequests::Refused(definition.gid, message);
    return Settle(definition, message);
  }

  /// Polls the coordinator, which does not call back.
  TransResult SubmitAndWait(Definition definition, Duration timeout) override {
    const SteadyTime end = Later(Now(), timeout);
    const std::string gid = definition.gid;
    definition.options.wait_result = false;
    try {
      (void)Submit(std::move(definition));
    } catch (const FailureError&) {  // it was submitted before; the query tells how it ended
    }
    return RemoteRequests::InDoubtIfRefused(gid, [&] { return WaitUntil(gid, end); });
  }

  /// Submits on one of a few threads, and calls the callback there, even while this object is being destroyed.
  /// @throws BusyError  20,000 submissions or 32 MiB of them are waiting already.
  void SubmitAsync(Definition definition, AnswerCallback callback) override {
    Check(definition, SubmitProblem(definition));
    const std::string gid = definition.gid;
    const std::size_t bytes = BytesOf(definition);
    auto job = [this, definition = std::move(definition), callback = std::move(callback)] {
      Answer reply;
      try {
        if (own_.Get().stopping) {
          throw RejectedError(
              "gid '" + definition.gid +
              "' was not sent, the RemoteCoordinator was destroyed before; submit it again");
        }
        reply.result = Submit(definition);
      } catch (...) {
        reply.error = std::current_exception();
      }
      try {
        callback(reply);
      } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
      }
    };
    if (!own_.Get().pool.Run(std::move(job), bytes)) {
      throw BusyError("gid '" + gid + "' was not sent: too much is waiting to be sent, " +
                      std::to_string(kMaxWaiting) + " submissions or " +
                      std::to_string(kMaxWaitingBytes) + " bytes; submit it again later");
    }
  }

  TransResult Prepare(Definition definition) override {
    Check(definition, PrepareProblem(definition));
    DoneOrRefused("/prepare", definition.gid, wire::EncodeTransaction(definition));
    return {definition.gid, Status::kPrepared, {}};
  }

  void Abort(const std::string& gid, TransType type, const std::string& reason) override {
    Definition definition;
    definition.gid = gid;
    definition.type = type;
    const nlohmann::ordered_json why = {
        {wire::kRollbackReason, Truncated(reason, kMaxReasonBytes)}};
    const Exchanged reply =
        Requests().Post("/abort", gid, wire::EncodeTransaction(definition, why));
    const bool decided = Requests().SaysYes(gid, reply) || reply.status == 425;  // wait_result
    if (!decided) throw RemoteRequests::Refused(gid, RemoteRequests::MessageOf(reply));
  }

  void RegisterBranch(const std::string& gid, TransType type, Step step) override {
    const std::string problem = RegistrationProblem(gid, type, step);
    if (!problem.empty()) throw BadInput(problem);
    DoneOrRefused("/registerBranch", gid, wire::EncodeRegistration({gid, type, std::move(step)}));
  }

  WorkflowState PrepareWorkflow(Definition definition) override {
    Check(definition);
    const Exchanged reply =
        Requests().Post("/prepareWorkflow", definition.gid, wire::EncodeTransaction(definition));
    if (reply.status != 200) Requests().Refuse("gid '" + definition.gid + "'", reply);
    if (auto state = wire::DecodeWorkflow(reply.body)) return std::move(*state);
    throw Requests().NotOfDtm(definition.gid, reply);
  }

  WorkflowState ResumeWorkflow(Definition definition) override {
    if (!QueryTransaction(Requests(), definition.gid))
      throw RejectedError(NothingToResume(definition.gid));
    return PrepareWorkflow(std::move(definition));
  }

  void FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                      const std::string& result) override {
    CheckEnd(status);
    Definition definition;
    definition.gid = gid;
    definition.type = TransType::kWorkflow;
    const nlohmann::ordered_json extra =
        wire::WorkflowEndJson({status, Truncated(reason, kMaxReasonBytes), result});
    DoneOrRefused("/submit", gid, wire::EncodeTransaction(definition, {{wire::kReqExtra, extra}}));
  }

  /// On a connection of its own, with the request timeout of the call (3 s).
  Result CallBranch(const InitiatorCall& call) override {
    const std::string where = Requests().Where();
    if (!call.url.empty()) CheckCallable(call);
    return CallOnce(call, options_.url_in_branches.empty() ? where : options_.url_in_branches,
                    options_.tls);
  }

  std::string UrlOfLocal(const std::string& name, std::uint64_t) const override {
    if (RunsInTransaction(kLocalPrefix + name)) {
      throw LogicError("function '" + name.substr(std::string(kInTransactionPrefix).size()) +
                       "' runs inside the commit of its own coordinator, so the one at " +
                       Requests().Where() + " cannot call it; use Register for it");
    }
    if (options_.branch_url.empty()) {
      throw LogicError("function '" + name + "' cannot be called by the coordinator at " +
                       Requests().Where() +
                       "; set RemoteOptions::branch_url to the branch endpoint of a dtm::Server of "
                       "this program");
    }
    return options_.branch_url + "/" + PercentEncoded(name);
  }

  /// Waits up to `timeout` for the end; returns the status at that time.
  /// @throws InDoubtError   the coordinator did not reply.
  /// @throws RejectedError  there is no such transaction.
  TransResult Wait(const std::string& gid, Duration timeout) {
    return WaitUntil(gid, Later(Now(), timeout));
  }

 private:
  /// `besides`: what else is wrong with it.
  static void Check(const Definition& definition, const std::string& besides = {}) {
    if (!besides.empty()) throw RejectedError(besides);
    const std::string problem = Problem(definition);
    if (!problem.empty()) throw BadInput(problem);
  }

  /// A request that is either done or refused.
  void DoneOrRefused(const char* path, const std::string& gid, std::string body) {
    const Exchanged reply = Requests().Post(path, gid, std::move(body));
    if (Requests().SaysYes(gid, reply)) return;
    if (reply.status == 425)
      throw Requests().NotOfDtm(gid, reply);  // nothing here waits for an end
    throw RemoteRequests::Refused(gid, RemoteRequests::MessageOf(reply));
  }

  static constexpr std::size_t kAsyncThreads = 32;
  static constexpr std::size_t kMaxWaiting = 20000;
  static constexpr std::size_t kMaxWaitingBytes = std::size_t{32} << 20;

  static SteadyTime Now() { return std::chrono::steady_clock::now(); }

  /// A coordinator that is busy is asked again at the time that it says, but not after `end`.
  TransResult WaitUntil(const std::string& gid, SteadyTime end) {
    Duration pause = std::chrono::milliseconds(2);
    for (;;) {
      const auto left = [end] { return std::chrono::duration_cast<Duration>(end - Now()); };
      Duration wait = pause;
      try {
        const std::optional<ToldTransaction> stored = QueryTransaction(Requests(), gid);
        if (!stored) throw RejectedError("there is no transaction with gid '" + gid + "'");
        if (stored->result.Finished() || left() <= Duration(0)) return stored->result;
        wait = (std::min)(wait, left() + Duration(1));
      } catch (const BusyError& error) {
        wait = (std::max)(wait, error.retry_after);
        if (wait > left()) throw;
      }
      std::this_thread::sleep_for(wait);
      pause = (std::min)(pause * 2, Duration(std::chrono::milliseconds(200)));
    }
  }

  /// A "no" of the Go server may mean that the transaction was rolled back, has succeeded before, is not finished
  /// yet, or that another one has its gid. A query shows which.
  TransResult Settle(const Definition& definition, const std::string& message) {
    const std::string& gid = definition.gid;
    if (own_.Get().stopping) {
      throw InDoubtError("gid '" + gid + "' may or may not be stored, nobody asks any more: " +
                         message + "; submit it again");
    }
    const std::optional<ToldTransaction> stored =
        RemoteRequests::InDoubtIfRefused(gid, [&] { return QueryTransaction(Requests(), gid); });
    if (!stored) throw RemoteRequests::Refused(gid, message);
    if (RegistersSteps(definition.type) && stored->result.status == Status::kAborting) {
      throw RejectedError("gid '" + gid + "' is rolled back already: " + message);
    }
    if (!stored->MayBe(definition, Requests())) {
      throw RejectedError("gid '" + gid +
                          "' exists with other content: use a new gid, or submit exactly what was "
                          "submitted first (the coordinator says: " +
                          message + ")");
    }
    if (stored->result.Failed()) {
      throw FailureError(RolledBack(stored->result));
    }
    return stored->result;
  }

  struct Own {
    Own(const std::string& url, const RemoteOptions& options)
        : requests(url, options), pool(kAsyncThreads, kMaxWaiting, kMaxWaitingBytes) {}
    RemoteRequests requests;
    std::mutex mutex;
    GidGenerator gids;
    std::atomic<bool> stopping{false};
    ThreadPool pool;
  };

  RemoteRequests& Requests() const { return own_.Get().requests; }

  const RemoteOptions options_;
  OfThisProcess<Own> own_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/desk/desk_page.hpp ---------------------------------------------------------------

/// Generated from desk/desk.html by tools/embed_desk.py; do not edit. The files of the desk's page.
/// Needs: std. Threads: constants.

namespace dtm {
inline namespace v1 {
namespace desk {

// clang-format off
inline constexpr char kPage[] =
R"desk(<!DOCTYPE html>
<!-- The desk of dtm. tools/embed_desk.py compiles it into include/dtm/http/desk/desk_page.hpp; its style, script and icon become files of
their own. What transactions contain is only ever shown as text: nothing here makes markup of data. Document: docs/desk.md. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>dtm desk</title>
<link rel="icon" type="image/svg+xml" href="desk/icon.svg">
<link rel="stylesheet" href="desk/desk.css">
</head>
<body>
<a class="skip" href="#main" data-do="skip">Skip to the page</a>
<header class="bar">
<div>
<a class="brand" href="#/"><img src="desk/icon.svg" alt="">dtm desk</a>
<nav aria-label="Pages" id="nav"></nav>
<div class="server" id="server" role="status"></div>
</div>
</header>
<div class="banner" id="banner" role="alert" hidden></div>
<main id="main" tabindex="-1"></main>
<dialog id="dialog" aria-labelledby="dialog-title"></dialog>
<dialog id="login" aria-labelledby="login-title"></dialog>
<noscript>The desk needs JavaScript.</noscript>
<script src="desk/desk.js" defer></script>
</body>
</html>
)desk";

inline constexpr char kStyle[] =
R"desk(/* Colours: two themes of the same names. */
:root {
  --page: #f6f7f9; --card: #fff; --line: #e1e4e9; --text: #1c2430; --soft: #5d6878; --link: #24588f; --focus: #3b82d6;
  --good: #1d7a46; --good-back: #e0f3e7; --bad: #b3261e; --bad-back: #fbe5e3; --warn: #8a5a00; --warn-back: #fdf0d3;
  --busy: #24588f; --busy-back: #e3edf8; --idle: #5d6878; --idle-back: #eceef2; --shade: rgba(20, 30, 45, .06);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181e; --card: #1c222a; --line: #2e3641; --text: #e4e8ee; --soft: #98a3b3; --link: #8fbcf0; --focus: #6aa9f2;
    --good: #7ad3a0; --good-back: #17382a; --bad: #ff9c93; --bad-back: #45211f; --warn: #f0c26a; --warn-back: #3d3018;
    --busy: #8fbcf0; --busy-back: #1c324b; --idle: #98a3b3; --idle-back: #2a313b; --shade: rgba(0, 0, 0, .25);
  }
}

* { box-sizing: border-box; }
html { overflow-y: scroll; scroll-padding: 110px 0 20px; }  /* the bar covers nothing that has the focus */
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1, h2, h3 { margin: 0; font-weight: 600; line-height: 1.3; }
h1 { font-size: 1.35rem; overflow-wrap: anywhere; }
h1.mono { font-size: 1.2rem; }
h2 { font-size: 1rem; }
p { margin: 0; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
code, pre, dd, .mono, .wrap, .first div { unicode-bidi: isolate; }
code, pre, .mono { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .87em; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; border-radius: 4px; }
[hidden] { display: none !important; }
.soft { color: var(--soft); }
.small { font-size: .87rem; }
.right { text-align: right; }
.wrap { overflow-wrap: anywhere; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 8px; top: 8px; background: var(--card); padding: 8px 12px; z-index: 9; }
.unseen + * { margin-top: 0 !important; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

/* The frame: bar, banner, page. */
.bar { background: var(--card); border-bottom: 1px solid var(--line); position: sticky; top: 0; z-index: 5; }
.bar > div { max-width: 1240px; margin: auto; padding: 0 20px; display: flex; align-items: center; gap: 4px 22px; flex-wrap: wrap; }
.brand { font-weight: 650; color: var(--text); display: flex; gap: 9px; align-items: center; padding: 11px 0; }
.brand img { width: 20px; height: 20px; display: block; }
.brand:hover { text-decoration: none; }
.bar nav { display: flex; gap: 2px; flex: 1; }
.bar nav a { padding: 13px 11px; color: var(--soft); border-bottom: 2px solid transparent; }
.bar nav a:hover { color: var(--text); text-decoration: none; }
.bar nav a[aria-current] { color: var(--text); border-color: var(--focus); }
.bar .server { display: flex; gap: 8px; align-items: center; font-size: .87rem; color: var(--soft); }
.dot { width: 8px; height: 8px; border-radius: 50%; background: var(--idle); flex: none; }
.dot.good { background: var(--good); }
.dot.bad { background: var(--bad); }
.banner { background: var(--bad-back); color: var(--bad); padding: 9px 20px; text-align: center; font-size: .93rem; }
main { max-width: 1240px; margin: auto; padding: 24px 20px 60px; outline: none; }
main > * + *, .notes > * + *, .stack > * + * { margin-top: 18px; }
.top { display: flex; align-items: center; gap: 12px 16px; flex-wrap: wrap; justify-content: space-between; }
.top > div:first-child { min-width: 0; }

main > .notes:empty + * { margin-top: 0; }

/* Cards, tables, chips. */
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; box-shadow: 0 1px 2px var(--shade); min-width: 0; }
.card > h2 + *, .card > .top + * { margin-top: 12px; }
.card.flush { padding: 0; overflow: hidden; }
.card.flush > h2, .card.flush > .top { padding: 14px 18px 12px; margin: 0; }
.card.flush > h2 + *, .card.flush > .top + * { margin-top: 0; }
.grid { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.grid.wide { grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); }
.tile { display: block; color: inherit; padding: 13px 16px; }
a.tile:hover { text-decoration: none; border-color: var(--focus); }
.tile b { display: block; font-size: 1.6rem; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile.bad b { color: var(--bad); }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; font-size: .8rem; color: var(--soft); padding: 7px 18px; border-bottom: 1px solid var(--line); white-space: nowrap; }
td { padding: 9px 18px; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
th.right, td.right { text-align: right; }
tr.chosen td { background: var(--busy-back); }
tr.chosen td:first-child { box-shadow: inset 3px 0 var(--focus); }
.list tbody tr { cursor: pointer; }
.list tbody tr:hover td { background: var(--idle-back); }
.list td { max-width: 380px; }
.cut { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; display: block; }
.chip { display: inline-block; padding: 1px 9px; border-radius: 99px; font-size: .8rem; font-weight: 500; white-space: nowrap; background: var(--idle-back); color: var(--idle); }
.chip.good { background: var(--good-back); color: var(--good); }
.chip.bad { background: var(--bad-back); color: var(--bad); }
.chip.warn { background: var(--warn-back); color: var(--warn); }
.chip.busy { background: var(--busy-back); color: var(--busy); }
.empty { padding: 34px 18px; text-align: center; color: var(--soft); }
.note { background: var(--bad-back); color: var(--bad); padding: 10px 14px; border-radius: 8px; overflow-wrap: anywhere; }
.note.good { background: var(--good-back); color: var(--good); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 5px 20px; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
details > summary { cursor: pointer; color: var(--link); width: fit-content; }
details[open] > summary { margin-bottom: 8px; }
details pre { background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; max-height: 420px; overflow: auto; }

/* Forms. */
button, input, select, textarea { font: inherit; color: inherit; }
button, input:not([type=checkbox]), select, textarea { background: var(--card); border: 1px solid var(--line); border-radius: 7px; padding: 6px 11px; min-height: 36px; }
button { cursor: pointer; white-space: nowrap; }
button:hover:not(:disabled) { border-color: var(--focus); }
button:disabled { opacity: .5; cursor: default; }
button.main { background: var(--link); border-color: var(--link); color: var(--card); font-weight: 500; }
button.danger { color: var(--bad); }
button.main.danger { background: var(--bad); border-color: var(--bad); color: var(--card); }
button.tiny { min-height: 0; padding: 1px 9px; font-size: .85rem; }
.buttons { display: flex; gap: 8px; flex-wrap: wrap; align-items: center; }
.filters { display: flex; gap: 10px 12px; flex-wrap: wrap; align-items: end; }
.filters label, .field { display: flex; flex-direction: column; gap: 3px; font-size: .8rem; color: var(--soft); }
.filters label > *, .field > input, .field > textarea, .field > select { font-size: .94rem; color: var(--text); }
.filters .check { flex-direction: row; align-items: center; gap: 6px; min-height: 36px; font-size: .93rem; color: var(--text); }
a.check { display: flex; }
.filters a.check { color: var(--link); }
.filters .grow { flex: 1 1 190px; }
.filters .grow input { width: 100%; }
input[type=checkbox] { width: 16px; height: 16px; margin: 0; accent-color: var(--focus); }
dialog { background: var(--card); color: var(--text); border: 1px solid var(--line); border-radius: 12px; padding: 22px 24px; width: min(540px, calc(100vw - 24px)); max-height: calc(100vh - 40px); box-shadow: 0 12px 40px rgba(0, 0, 0, .25); }
dialog::backdrop { background: rgba(10, 15, 25, .45); }
dialog form > * + * { margin-top: 14px; }
dialog .buttons { justify-content: flex-end; }
progress { width: 100%; height: 8px; accent-color: var(--focus); }
.first { max-height: 210px; overflow: auto; border: 1px solid var(--line); border-radius: 8px; padding: 8px 12px; }
.first div { overflow-wrap: anywhere; }

/* Charts, and the diagram that the server draws. */
.chart svg { display: block; width: 100%; height: 96px; overflow: visible; }
.chart .line { fill: none; stroke-width: 1.6; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.chart .area { opacity: .13; }
.chart .base { stroke: var(--line); vector-effect: non-scaling-stroke; }
.line.good { stroke: var(--good); } .area.good { fill: var(--good); }
.line.bad { stroke: var(--bad); } .area.bad { fill: var(--bad); }
.line.busy { stroke: var(--busy); } .area.busy { fill: var(--busy); }
.key { display: flex; gap: 14px; flex-wrap: wrap; font-size: .85rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.key i { display: inline-block; width: 9px; height: 9px; border-radius: 3px; margin-right: 6px; background: var(--idle); }
.key i.good { background: var(--good); } .key i.bad { background: var(--bad); } .key i.busy { background: var(--busy); }
.dtm-diagram{--bg:#fff;--ink:#1c2430;--quiet:#667080;--line:#c5cdd6;--box:#f2f5f8;--call:#2459b8;--good:#17763a;--bad:#c1272d;--warn:#945400;--gone:#c1272d14;--c:var(--call);max-width:100%;height:auto;background:var(--bg);font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif}
@media(prefers-color-scheme:dark){.dtm-diagram{--bg:#14181e;--ink:#e6ebf1;--quiet:#919cab;--line:#414b58;--box:#1f262f;--call:#7db1ff;--good:#56cc90;--bad:#ff8585;--warn:#e6b450;--gone:#ff858522}
}
.dtm-diagram text{fill:var(--ink);paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:round}
.dtm-diagram .t{fill:var(--quiet);font-size:11px;font-variant-numeric:tabular-nums;text-anchor:end}
.dtm-diagram .n{font-weight:600;text-anchor:middle;stroke:none}
.dtm-diagram .x{text-anchor:end}
.dtm-diagram .m{text-anchor:middle}
.dtm-diagram .i{stroke:none}
.dtm-diagram .l{stroke:var(--line);fill:none}
.dtm-diagram .d{stroke-dasharray:2 4}
.dtm-diagram .k{fill:var(--box);stroke:var(--line)}
.dtm-diagram .a{fill:var(--box);stroke:var(--line)}
.dtm-diagram .v{fill:var(--gone)}
.dtm-diagram .s{stroke:var(--c);stroke-width:1.4;fill:none}
.dtm-diagram .r{stroke-dasharray:5 3}
.dtm-diagram .o{stroke-dasharray:2 4}
.dtm-diagram .h{fill:var(--c)}
.dtm-diagram .f{fill:var(--box);stroke:var(--c)}
.dtm-diagram .g{--c:var(--good)}
.dtm-diagram .b{--c:var(--bad)}
.dtm-diagram .w{--c:var(--warn)}
.dtm-diagram .q{--c:var(--quiet)}
.dtm-diagram .g .e,.dtm-diagram .b .e,.dtm-diagram .w .e,.dtm-diagram .q .e{fill:var(--c)}
.dtm-diagram .q .e{font-style:italic}

.diagram { overflow-x: auto; padding: 0 24px; }
.diagram svg { --bg: var(--card); display: block; margin: auto; overflow: visible; }

@media (max-width: 720px) {
  .bar > div { padding: 0 12px; }
  .bar nav { order: 3; flex-basis: 100%; overflow-x: auto; }
  .bar nav a { padding: 8px 9px; }
  .bar .server { margin-left: auto; }
  main { padding: 16px 12px 50px; }
  .grid { grid-template-columns: repeat(2, 1fr); gap: 10px; }
  .grid.wide { grid-template-columns: 1fr; }
  /* A row of a table becomes a block; each cell says what it is. */
  .folds thead { display: none; }
  .folds, .folds tbody, .folds tr, .folds td { display: block; width: 100%; max-width: none; }
  .folds tr { padding: 10px 14px; border-bottom: 1px solid var(--line); }
  .folds tbody tr:last-child { border-bottom: 0; }
  .folds td { border: 0; padding: 2px 0; display: flex; gap: 12px; text-align: left !important; }
  .folds td > * { min-width: 0; }
)desk"
R"desk(  .folds td:empty { display: none; }
  .folds td[data-name]::before { content: attr(data-name); color: var(--soft); font-size: .8rem; flex: 0 0 84px; padding-top: 2px; }
  .folds tr.chosen td:first-child { box-shadow: none; }
  .folds tr.chosen { box-shadow: inset 3px 0 var(--focus); }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; }
}
@media (prefers-reduced-motion: no-preference) {
  button, a.tile { transition: border-color .12s; }
}
)desk";

inline constexpr char kScript[] =
R"desk('use strict';

// ---- Elements, made of names and texts -----------------------------------------------------------------------------------

const SVG = 'http://www.w3.org/2000/svg';

/** An element. Attributes that are null, undefined or false are left out, and such children and empty texts. */
function element(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same of an SVG. */
function shape(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (isSomething(value)) node.setAttribute(key, value === true ? '' : String(value));
  }
  node.append(...children.flat(9).filter(child => isSomething(child) && child !== ''));
  return node;
}

const isSomething = value => value !== null && value !== undefined && value !== false;
const box = (kind, ...children) => element('div', {class: kind}, ...children);
const byId = id => document.getElementById(id);

/**
 * Makes the children of `old` those of `fresh`, and keeps what is the same: focus, selection, what is open or typed. Elements with
 * data-key are found by it, wherever they are.
 */
function morph(old, fresh) {
  const keyed = new Map([...old.children].filter(keyOf).map(node => [keyOf(node), node]));
  const wanted = new Set([...fresh.children].map(keyOf));
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    const same = keyOf(node) ? keyed.get(keyOf(node)) : at;
    if (!same || !isAlike(same, node)) {
      old.insertBefore(node, at);
      continue;
    }
    while (at !== same && at && !wanted.has(keyOf(at) || null)) at = removed(at);
    if (at === same) at = at.nextSibling;
    else old.insertBefore(same, at);
    if (node.nodeType === Node.TEXT_NODE) morphText(same, node);
    else morphElement(same, node);
  }
  while (at) at = removed(at);
}

const keyOf = node => node.dataset?.key ?? '';
const isAlike = (a, b) => a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function morphText(old, fresh) {
  if (old.data !== fresh.data) old.data = fresh.data;
}

function morphElement(old, fresh) {
  const kept = old.nodeName === 'DETAILS' ? ['open'] : [];
  for (const {name} of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  }
  for (const {name, value} of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morph(old, fresh);
}

// ---- The state, and what is drawn of it ----------------------------------------------------------------------------------

const POLL_MS = 2000;        // how often the server is asked, while the page is visible
const SAMPLES = 150;         // of the charts: five minutes
const ROWS = 50;             // of a page of the list
const MOST_AT_ONCE = 10000;  // transactions of one bulk action

const state = {
  token: sessionStorage.getItem('dtm-token') ?? '',
  who: sessionStorage.getItem('dtm-who') ?? '',
  locked: false,       // the server wants a token, or another one
  tokenProblem: '',
  reachable: true,
  trouble: '',         // what is wrong with the server, as far as it can say
  overview: null,      // what the server last said of itself
  samples: [],         // of its counters, see sampleOf
  page: {name: 'overview', params: new URLSearchParams(), data: null, problem: '', notice: ''},
  listHash: '#/list',  // where the list was left
  dialog: null,        // see dialogs
};

let drawPending = false;

/** Changes the state; what is shown follows. */
function set(patch) {
  Object.assign(state, patch);
  if (drawPending) return;
  drawPending = true;
  queueMicrotask(() => {
    drawPending = false;
    draw();
  });
}

const setPage = patch => set({page: {...state.page, ...patch}});
const setDialog = patch => state.dialog && set({dialog: {...state.dialog, ...patch}});

function draw() {
  drawBar();
  drawPage();
  drawDialog(byId('dialog'), state.dialog && !state.locked ? dialogs[state.dialog.kind](state.dialog) : null);
  drawDialog(byId('login'), state.locked ? loginForm() : null);
}

function drawBar() {
  const stuck = state.overview?.stuck ?? 0;
  morph(byId('nav'), box('', Object.entries(pages).filter(([, page]) => page.link).map(([name, page]) =>
    element('a', {href: page.link, 'aria-current': inSection(name) ? 'page' : null}, page.title,
      name === 'list' && stuck > 0 ? [' ', chip('bad', String(stuck), `${stuck} stuck`)] : null))));
  const said = !state.reachable ? 'no answer' : state.overview ? `${state.overview.version} · ${state.overview.store}` : '';
  const wrong = !state.reachable ? 'The server does not answer. What is shown is what it said last.' : state.trouble;
  morph(byId('server'), box('', element('span', {class: 'dot ' + (wrong ? 'bad' : state.overview ? 'good' : '')}), said));
  byId('banner').hidden = !wrong;
  byId('banner').textContent = wrong && `${wrong.replace(/\.?$/, '.')} The desk asks again every two seconds.`;
}

const inSection = name => name === state.page.name || (name === 'list' && state.page.name === 'transaction');

function drawPage() {
  const page = pages[state.page.name];
  document.title = `${state.page.name === 'transaction' ? state.page.params.get('gid') : page.title} · dtm desk`;
  morph(byId('main'), box('', box('notes', notes()), page.draw(state.page.data, state.page.params)));
}

function notes() {
  const {problem, notice} = state.page;
  return [problem && element('p', {class: 'note', role: 'alert', 'data-key': 'problem'}, problem),
    notice && element('p', {class: 'note good', role: 'status', 'data-key': 'notice'}, notice)].filter(Boolean);
}

function drawDialog(dialog, content) {
  if (!content) {
    if (dialog.open) dialog.close();
    dialog.replaceChildren();
    return;
  }
  morph(dialog, box('', content));
  if (dialog.open) return;
  dialog.showModal();
  dialog.querySelector('[autofocus]')?.focus();
}

// ---- The server ----------------------------------------------------------------------------------------------------------

/** Said by the server, or of it, in a sentence. */
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The reply to a request of the API: JSON, or text if `as` says so. `body`: it is a POST. */
async function ask(path, {query = {}, body, method, as = 'json'} = {}) {
  const reply = await send(`api/dtmsvr/${path}${searchText(query)}`, {
    method: method ?? (body ? 'POST' : 'GET'),
    headers: state.token ? {Authorization: `Bearer ${state.token}`} : {},
    body: body && JSON.stringify(body),
    cache: 'no-store',
    signal: AbortSignal.timeout(20000),
  });
  if (reply.status === 401) lock();
  if (!reply.ok) throw new Refused(reply.status, sentenceOf(reply));
  return as === 'text' ? reply.text : jsonOf(reply);
}

/** A reply that breaks off is none. */
async function send(url, options) {
  try {
    const {status, ok, text} = await fetch(url, options).then(async reply => ({status: reply.status, ok: reply.ok, text: await reply.text()}));
    if (!state.reachable) set({reachable: true});
    return {status, ok, text};
  } catch {
    set({reachable: false});
    throw new Refused(0, 'The server does not answer.');
  }
}

function jsonOf({status, text}) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused(status, 'What answers here is no dtm, or something between: it did not send JSON.');
  }
}

function sentenceOf({status, text}) {
  try {
    return JSON.parse(text).message || text;
  } catch {
    return status === 404 ? 'This server does not know what the desk asked for; it may be older.' : `${status}: ${text.slice(0, 300)}`;
  }
}

function searchText(query) {
  const given = Object.entries(query).filter(([, value]) => isSomething(value) && value !== '');
  return given.length ? '?' + new URLSearchParams(given) : '';
}

function lock() {
  set({locked: true, tokenProblem: state.token ? 'The server does not take this token.' : ''});
}

/** Asks the server how it is, and what the page shows if that changes by itself or could not be read. */
async function poll() {
  try {
    if (document.visibilityState === 'visible' && !state.locked) await look();
  } finally {
    clearTimeout(poll.timer);
    poll.timer = setTimeout(poll, POLL_MS);
  }
}

async function look() {
  try {
    const overview = await ask('overview');
    const trouble = overview.store_fails ? 'The last write to the store failed, and nothing goes on until one works; the log of the server says why.' : '';
    set({overview, trouble, samples: [...state.samples, sampleOf(overview)].slice(-SAMPLES)});
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    set({trouble: error.status === 0 || error.status === 401 ? '' : error.message});
    if (error.status === 0 || error.status === 401) return;
  }
  const {name, data, isStale} = state.page;
  if (data === null || isStale || pages[name].isLive?.(data)) await load();
}

/** Reads what the present page shows. A reply that comes after the page was left is dropped. */
async function load() {
  const page = pages[state.page.name];
  const {params, visit} = state.page;
  const isHere = () => state.page.visit === visit;
  if (!page.load) return;
  try {
    const data = await page.load(params, state.page.data, progress => isHere() && setPage({data: progress}), isHere);
    if (isHere()) setPage({data, problem: '', isStale: false});
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (isHere() && error.status !== 401) setPage({problem: error.status === 0 ? '' : error.message, isStale: true});
  }
}

// ---- Where we are: #/name?parameters -------------------------------------------------------------------------------------

let visits = 0;

function placeOf(hash) {
  const [path, search] = hash.replace(/^#\/?/, '').split('?');
  return {name: Object.hasOwn(pages, path) ? path : 'overview', params: new URLSearchParams(search)};
}

const linkTo = (name, query = {}) => `#/${name}${searchText(query)}`;

function arrive() {
  visits += 1;
  const {name, params} = placeOf(location.hash);
  const stays = name === state.page.name && name === 'list';  // its form keeps the focus
  if (stays) fillFilters(params);
  else byId('main').replaceChildren();
  if (name === 'list') state.listHash = location.hash || linkTo('list');
  const data = stays && state.page.data ? {...state.page.data, searching: true} : null;
  set({page: {name, params, visit: visits, data, problem: '', notice: ''}, dialog: null});
  if (!stays) scrollTo(0, 0);
  load();
}

// ---- Texts ---------------------------------------------------------------------------------------------------------------

const UNITS = [['d', 86400], ['h', 3600], ['min', 60]];

/** "3 min", "0.25 s" */
function spanText(ms) {
  const seconds = Math.max(0, ms) / 1000;
  for (const [name, size] of UNITS) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${name}`;
  }
  if (seconds >= 10) return `${Math.round(seconds)} s`;
  return seconds >= 1 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds * 1000)} ms`;
}

const millis = text => Date.parse(text);
const agoText = text => text ? `${spanText(now() - millis(text))} ago` : '';
const numberText = value => value.toLocaleString('en-US');
const rateText = value => value === null ? '–' : value >= 10 || Number.isInteger(value) ? numberText(Math.round(value)) : value.toFixed(1);

/** The server's clock, as far as it is known: that of the browser may be wrong. */
function now() {
  const last = state.samples.at(-1);
  return last ? last.time + (performance.now() - last.at) : Date.now();
}

/** A time of the server, of which the title has all. */
function when(text, shown = agoText(text)) {
)desk"
R"desk(  return text ? element('time', {datetime: text, title: `${new Date(text).toLocaleString()} (${text})`}, shown) : '';
}

/** "14:03:07.250", with the day if that is another one. */
function clockText(text) {
  const time = new Date(text);
  const day = time.toDateString() === new Date(now()).toDateString() ? '' : time.toLocaleDateString() + ' ';
  return `${day}${time.toLocaleTimeString('en-GB')}.${String(time.getMilliseconds()).padStart(3, '0')}`;
}

const chip = (kind, text, title) => element('span', {class: `chip ${kind}`, title}, text);

const STATUS_KINDS = {succeed: 'good', failed: 'bad', aborting: 'warn', submitted: 'busy', prepared: ''};
const OUTCOME_KINDS = {success: 'good', failure: 'bad', error: 'bad', lost: 'warn', ongoing: 'busy', running: 'busy'};

const isFinal = transaction => transaction.status === 'succeed' || transaction.status === 'failed';
const isStuck = transaction => transaction.stuck === true;

function statusChips(transaction) {
  return [chip(STATUS_KINDS[transaction.status] ?? '', transaction.status),
    isStuck(transaction) && [' ', chip('bad', 'stuck', 'nothing goes on until somebody retries, skips or stops it')],
    transaction.expired && [' ', chip('', 'expired', 'only its gid is kept')]];
}

/** The bytes of base64 as text; of what is not text, how long it is. */
function textOf(base64) {
  const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
  try {
    return prettyJson(new TextDecoder('utf-8', {fatal: true}).decode(bytes));
  } catch {
    return `${bytes.length} bytes that are not text`;
  }
}

function prettyJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// ---- Overview ------------------------------------------------------------------------------------------------------------

/** What the charts need of an overview. */
function sampleOf(overview) {
  const {ended = [], branches: calls = []} = overview.counters ?? {};
  const sum = (list, wanted) => list.filter(wanted).reduce((all, one) => all + one.count, 0);
  return {
    time: millis(overview.time), at: performance.now(), unfinished: overview.unfinished, ended,
    succeeded: sum(ended, one => one.status === 'succeed'), failed: sum(ended, one => one.status === 'failed'),
    calls: sum(calls, one => one.ok), badCalls: sum(calls, one => !one.ok),
  };
}

/** How fast a counter rises between two samples, in 1/s; null if that is not known: it began anew, or there was a long gap. */
function rateBetween(before, after, count) {
  if (!before || !after) return null;
  const seconds = (after.at - before.at) / 1000;
  const rise = count(after) - count(before);
  return rise < 0 || seconds <= 0 || seconds > 15 ? null : rise / seconds;
}

const ratesOf = count => state.samples.map((sample, i) => rateBetween(state.samples[i - 1], sample, count));

function drawOverview() {
  const told = state.overview;
  if (!told) return element('p', {class: 'soft'}, state.locked ? '' : 'Asking the server …');
  const stuck = told.stuck > 0;
  return [
    element('h1', {class: 'unseen'}, 'Overview'),
    box('grid', [
      tile('unfinished', numberText(told.unfinished), linkTo('list', {unfinished: 1})),
      tile('waiting for a time', numberText(told.waiting)),
      tile('stuck', numberText(told.stuck), linkTo('list', {stuck: 1}), stuck ? 'bad' : ''),
      told.damaged > 0 && tile('records are damaged', numberText(told.damaged), null, 'bad'),
      tile('the oldest began', told.oldest_time ? agoText(told.oldest_time) : '–'),
      tile('ended a second', rateText(lastRate(one => one.succeeded + one.failed))),
      tile('calls a second', rateText(lastRate(one => one.calls + one.badCalls))),
    ]),
    box('grid wide', [
      chart('Ended, per second', [['good', 'succeeded', ratesOf(one => one.succeeded)], ['bad', 'failed', ratesOf(one => one.failed)]]),
      chart('Calls, per second', [['busy', 'done', ratesOf(one => one.calls)], ['bad', 'refused or in error', ratesOf(one => one.badCalls)]]),
      chart('Unfinished', [['busy', 'unfinished', state.samples.map(one => one.unfinished)]]),
    ]),
    box('grid wide', [typesCard(told), hostsCard(told)]),
  ];
}

const lastRate = count => ratesOf(count).at(-1) ?? null;

function tile(text, value, link, kind = '') {
  return element(link ? 'a' : 'div', {class: `card tile ${kind}`, href: link}, element('b', {}, value), element('span', {class: 'soft small'}, text));
}

const CHART_WIDTH = 300, CHART_HEIGHT = 96;

/** `series`: [colour, name, values], of which null is a gap. */
function chart(title, series) {
  const most = Math.max(1, ...series.flatMap(([, , values]) => values));
  const said = series.map(([, name, values]) => `${name} ${rateText(values.at(-1) ?? null)}`).join(', ');
  return element('section', {class: 'card chart', 'data-chart': title},
    box('top', element('h2', {}, title), element('span', {class: 'soft small'}, `up to ${rateText(most)}`)),
    shape('svg', {viewBox: `0 0 ${CHART_WIDTH} ${CHART_HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}: now ${said}`},
      shape('path', {class: 'base', d: `M0 ${CHART_HEIGHT}H${CHART_WIDTH}`}),
      series.map(([kind, , values]) => stretches(values).map(stretch => curve(kind, stretch, most)))),
    box('key', series.map(([kind, name, values]) => element('span', {}, element('i', {class: kind}), `${name} ${rateText(values.at(-1) ?? null)}`))));
}

/** [[index, value], ...] of each stretch without a gap. The newest value is at the right end. */
function stretches(values) {
  const found = [];
  let open = false;
  values.forEach((value, i) => {
    if (value === null) {
      open = false;
      return;
    }
    if (!open) found.push([]);
    open = true;
    found.at(-1).push([i + SAMPLES - values.length, value]);
  });
  return found;
}

function curve(kind, stretch, most) {
  const x = i => (i / (SAMPLES - 1) * CHART_WIDTH).toFixed(1);
  const y = value => (CHART_HEIGHT - 2 - value / most * (CHART_HEIGHT - 8)).toFixed(1);
  const line = stretch.map(([i, value]) => `${x(i)} ${y(value)}`).join('L');
  return [shape('path', {class: `area ${kind}`, d: `M${x(stretch[0][0])} ${CHART_HEIGHT}L${line}L${x(stretch.at(-1)[0])} ${CHART_HEIGHT}Z`}),
    shape('path', {class: `line ${kind}`, d: `M${line}`})];
}

function typesCard(told) {
  const ended = told.counters?.ended ?? [];
  const types = [...new Set(ended.map(one => one.type))];
  const count = (type, status) => sample => sample.ended.filter(one => one.type === type && one.status === status).reduce((all, one) => all + one.count, 0);
  const last = {ended};
  return tableCard('By type, since the server started', ['type', 'succeeded', 'failed', 'a second'], types.map(type => [
    element('a', {href: linkTo('list', {type})}, type),
    numberText(count(type, 'succeed')(last)), numberText(count(type, 'failed')(last)),
    rateText(lastRate(sample => count(type, 'succeed')(sample) + count(type, 'failed')(sample)))]), 'Nothing has ended yet.');
}

function hostsCard(told) {
  return tableCard('By host', ['host', 'calls out', 'waiting', ''], (told.calls?.hosts ?? []).map(host => [
    host.host, numberText(host.in_flight), numberText(host.waiting), host.limited ? chip('warn', 'silent', 'it does not answer, so few calls at a time go to it') : '']),
  'No call by URL is out or waits.');
}

function tableCard(title, names, rows, otherwise) {
  return element('section', {class: 'card flush'}, element('h2', {}, title),
    rows.length ? box('scroll', table('', names, rows)) : box('empty', otherwise));
}

/** Numbers are at the right. `rows`: cells, or {attributes, cells}. */
function table(kind, names, rows) {
  const isNumber = cell => typeof cell === 'string' && /^[\d.,–]+$/.test(cell);
  const cellsOf = row => row.cells ?? row;
  const right = names.map((_, i) => rows.length > 0 && rows.every(row => isNumber(cellsOf(row)[i])));
  return element('table', {class: kind},
    element('thead', {}, element('tr', {}, names.map((name, i) => element('th', {class: right[i] && 'right', scope: 'col'}, name)))),
    element('tbody', {}, rows.map(row => element('tr', row.attributes, cellsOf(row).map((cell, i) =>
      element('td', {class: right[i] && 'right', 'data-name': names[i] || null}, cell))))));
}

// ---- The list ------------------------------------------------------------------------------------------------------------

const STATUSES = ['prepared', 'submitted', 'aborting', 'succeed', 'failed'];
const TYPES = ['saga', 'msg', 'tcc', 'xa', 'workflow'];
const AGES = [['60', 'a minute'], ['600', 'ten minutes'], ['3600', 'an hour'], ['86400', 'a day']];
const FILTERS = ['gid', 'status', 'type', 'target', 'age', 'unfinished', 'stuck', 'errors'];

/** What the server is asked for what the form says. */
function queryOf(params) {
  return {
    gidPrefix: params.get('gid'), status: params.get('status'), transType: params.get('type'), target: params.get('target'),
    unfinished: params.get('unfinished'), stuck: params.get('stuck'), errors: params.get('errors'),
    short: 1, createTimeEnd: params.get('age') && Math.floor(now() - Number(params.get('age')) * 1000),
  };
}

/** Reads until there are `most`, or no more. The server may give short pages: it looks at so many at a time. */
async function readSome(query, most, position, told, goOn) {
  const rows = [];
  let next = position ?? '';
  do {
    const page = await ask('all', {query: {...query, position: next, limit: Math.min(most - rows.length, 1000)}});
    rows.push(...page.transactions ?? []);
    next = page.next_position;
    told({rows: [...rows], next, searching: true});
  } while (next && rows.length < most && goOn());
  return {rows, next, searching: false};
}

const loadList = (params, data, told, isHere) => readSome(queryOf(params), ROWS, params.get('at'), told, isHere);

function drawList(data, params) {
  const filtered = FILTERS.some(name => params.get(name));
  return [
    box('top', element('h1', {}, 'Transactions'), box('buttons',
      element('button', {type: 'button', 'data-do': 'reload'}, 'Refresh'),
      element('button', {type: 'button', 'data-do': 'bulk', disabled: !data?.rows.length}, filtered ? 'Act on all of these …' : 'Act on all unfinished …'))),
    filterForm(params),
    element('section', {class: 'card flush', 'aria-label': 'Transactions', 'aria-busy': String(!data || data.searching)},
      data?.rows.length ? listTable(data.rows) : box('empty', listNothing(data, filtered)),
      ),
    box('top', element('p', {class: 'soft small', role: 'status', id: 'progress'}, listProgress(data)), pager(data, params)),
  ];
}

function listNothing(data, filtered) {
  if (!data || data.searching) return 'Reading …';
  return filtered ? 'No transaction is like this.' : 'There is no transaction yet.';
}

function listProgress(data) {
  if (!data) return '';
  const count = data.rows.length === 1 ? '1 transaction' : `${numberText(data.rows.length)} transactions`;
  return data.searching ? `Searching on: ${count} so far` : `${count}${data.next ? ' on this page' : ''}`;
}

function pager(data, params) {
  const query = Object.fromEntries(FILTERS.map(name => [name, params.get(name)]));
  return box('buttons',
    params.get('at') && [element('a', {href: linkTo('list', query)}, 'Newest'), element('button', {type: 'button', 'data-do': 'back'}, '← Newer')],
    data?.next && !data.searching && element('a', {href: linkTo('list', {...query, at: data.next}), id: 'older'}, 'Older →'));
}

function filterForm(params) {
  const option = (value, text, key) => element('option', {value, selected: (params.get(key) ?? '') === value}, text);
  const choice = (key, text, options) => element('label', {}, text,
    element('select', {name: key}, option('', 'any', key), options.map(([value, shown]) => option(value, shown, key))));
  const field = (key, text, hint) => element('label', {class: 'grow'}, text,
)desk"
R"desk(    element('input', {name: key, value: params.get(key), placeholder: hint, autocomplete: 'off', spellcheck: 'false', type: 'search'}));
  const check = (key, text) => element('label', {class: 'check'}, element('input', {type: 'checkbox', name: key, value: '1', checked: params.get(key) === '1'}), text);
  return element('form', {class: 'card filters', id: 'filters', role: 'search', 'data-do': 'filter', 'data-key': 'filters'},
    field('gid', 'gid begins with', '/'), field('target', 'calls a function or URL with', ''),
    choice('status', 'status', STATUSES.map(name => [name, name])), choice('type', 'type', TYPES.map(name => [name, name])),
    choice('age', 'older than', AGES), check('unfinished', 'unfinished'), check('stuck', 'stuck'), check('errors', 'with errors'),
    element('a', {href: linkTo('list'), class: 'check'}, 'Clear'));
}

function listTable(rows) {
  return box('scroll', table('list folds', ['gid', 'status', 'type', 'began', 'next', 'last error'], rows.map(row => ({
    attributes: {'data-do': 'open', 'data-gid': row.gid, 'data-key': row.gid},
    cells: [
      element('a', {href: linkTo('transaction', {gid: row.gid}), class: 'mono wrap', 'data-row': true}, row.gid),
      element('span', {}, statusChips(row)), row.trans_type, when(row.create_time), nextText(row),
      errorOf(row) && element('span', {class: 'cut small soft', title: errorOf(row)}, errorOf(row))],
  }))));
}

const errorOf = row => row.last_error ?? row.rollback_reason ?? '';

function nextText(row) {
  if (isFinal(row)) return `took ${spanText(millis(row.finish_time ?? row.rollback_time) - millis(row.create_time))}`;
  if (!row.next_cron_time) return isStuck(row) ? 'never by itself' : '';
  const wait = millis(row.next_cron_time) - now();
  return when(row.next_cron_time, wait <= 0 ? 'now' : `in ${spanText(wait)}`);
}

// ---- One transaction -----------------------------------------------------------------------------------------------------

const MOST_ATTEMPTS = 60;  // shown at first

async function loadTransaction(params, before) {
  const gid = params.get('gid') ?? '';
  const story = await ask('timeline', {query: {gid}});
  if (!story.transaction) return {story, gid};
  const raw = JSON.stringify(story);
  const {text} = await ask('explain', {query: {gid}});
  const isSame = raw === before?.raw && isFinal(story.transaction);
  const diagram = isSame ? before.diagram : await askDiagram(gid);
  return {story, gid, raw, diagram, explanation: text};
}

/** The drawing of the server, of which only shapes and texts are taken over; null if it makes none. */
async function askDiagram(gid) {
  const text = await ask('timeline', {query: {gid, format: 'svg'}, as: 'text'});
  if (!text.startsWith('<svg')) return null;
  // Without its name space it is XML that means nothing to the browser: no style applies, no handler is made.
  const parsed = new DOMParser().parseFromString(text.replace(` xmlns="${SVG}"`, ''), 'text/xml').documentElement;
  return parsed.localName === 'svg' && !parsed.namespaceURI ? parsed : null;
}

const DRAWN = ['svg', 'g', 'path', 'rect', 'circle', 'line', 'polyline', 'polygon', 'text', 'tspan', 'title', 'desc'];
const DRAWN_WITH = ['viewBox', 'width', 'height', 'x', 'y', 'x1', 'y1', 'x2', 'y2', 'cx', 'cy', 'r', 'rx', 'ry', 'd', 'points', 'dx', 'dy', 'transform', 'class',
  'fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linecap', 'stroke-linejoin', 'opacity', 'fill-opacity', 'stroke-opacity', 'text-anchor', 'dominant-baseline', 'font-size',
  'font-family', 'font-weight', 'role', 'aria-label'];

/** A copy of what is known to be harmless. */
function copyDrawing(node) {
  if (node.nodeType === Node.TEXT_NODE) return document.createTextNode(node.data);
  if (node.nodeType !== Node.ELEMENT_NODE || node.namespaceURI || !DRAWN.includes(node.localName)) return null;
  const attributes = [...node.attributes].filter(({name, value}) => DRAWN_WITH.includes(name) && !/url\s*\(/i.test(value));
  return shape(node.localName, Object.fromEntries(attributes.map(({name, value}) => [name, value])), [...node.childNodes].map(copyDrawing));
}

function drawTransaction(data) {
  if (!data) return element('p', {class: 'soft'}, 'Reading …');
  const {transaction, branches, attempts, entries, runs} = data.story;
  if (!transaction) {
    return [element('h1', {class: 'mono'}, data.gid), box('card empty', 'There is no transaction of this gid: there never was one, or its record has expired.'),
      element('a', {href: state.listHash}, '← Transactions')];
  }
  return [
    transactionHead(transaction),
    data.explanation && !isFinal(transaction) && element('section', {class: 'card', 'data-key': 'explanation'}, element('h2', {}, 'What it does now'), element('pre', {}, data.explanation)),
    data.diagram && element('section', {class: 'card', 'data-key': 'diagram'}, element('h2', {}, 'Timing'), box('diagram', copyDrawing(data.diagram))),
    branchesCard(transaction, branches, attempts),
    attemptsCard(attempts, runs),
    decisionsCard(entries),
    optionsCard(transaction),
    element('section', {class: 'card', 'data-key': 'raw'}, element('details', {'data-key': 'raw'}, element('summary', {}, 'Raw JSON'),
      element('pre', {id: 'raw'}, JSON.stringify(data.story, null, 2)))),
  ];
}

function transactionHead(transaction) {
  const ended = transaction.finish_time ?? transaction.rollback_time;
  const act = (action, isDanger) => element('button', {type: 'button', class: isDanger && 'danger', 'data-do': 'act', 'data-action': action}, actions[action].label + ' …');
  return element('section', {class: 'top', 'data-key': 'head'},
    box('', element('a', {href: state.listHash, class: 'small'}, '← Transactions'),
      element('h1', {class: 'mono', id: 'gid'}, transaction.gid),
      element('p', {}, statusChips(transaction), element('span', {class: 'soft'}, ` ${transaction.trans_type}`, transaction.expired ? '' : [', began ', when(transaction.create_time)],
        ended ? [', ended ', when(ended)] : '', ended && !transaction.expired ? ` after ${spanText(millis(ended) - millis(transaction.create_time))}` : ''))),
    !isFinal(transaction) && box('buttons', act('retry'), act('cancel', true), act('stop', true)));
}

function branchesCard(transaction, branches, attempts) {
  const made = branch => attempts.filter(one => one.branch_id === branch.branch_id && one.op === branch.op).length;
  const canSkip = branch => !isFinal(transaction) && branch.status !== 'succeed';
  return element('section', {class: 'card flush', 'data-key': 'branches'}, element('h2', {}, 'Branches'),
    branches.length === 0 ? box('empty', 'It has no branches.') :
    box('scroll', table('folds', ['branch', 'call', 'status', 'attempts', 'payload', ''], branches.map(branch => [
      element('span', {class: 'mono'}, `${branch.branch_id} ${branch.op}`),
      element('span', {class: 'mono wrap'}, branch.name ?? '', branch.name && branch.url ? ' ' : '', branch.url ?? (branch.name ? '' : 'nothing to call')),
      chip(STATUS_KINDS[branch.status] ?? '', branch.status), String(made(branch)), payloadOf(branch),
      canSkip(branch) && element('button', {type: 'button', class: 'tiny', 'data-do': 'skip-branch', 'data-branch': branch.branch_id, 'data-op': branch.op}, 'Skip …')]))));
}

function payloadOf(branch) {
  if (!branch.bin_data) return '';
  const text = textOf(branch.bin_data);
  const shown = text.length > 20000 ? `${text.slice(0, 20000)}\n… ${numberText(text.length - 20000)} characters more` : text;
  return text.length <= 40 && !text.includes('\n') ? element('code', {class: 'wrap'}, text) :
    element('details', {'data-key': `payload ${branch.branch_id} ${branch.op}`}, element('summary', {class: 'small'}, `${numberText(text.length)} characters`), element('pre', {}, shown));
}

function attemptsCard(attempts, runs) {
  const shown = attempts.slice(-MOST_ATTEMPTS);
  const isOne = runs.length <= 1;
  return element('section', {class: 'card flush', 'data-key': 'attempts'},
    element('h2', {}, 'Attempts', shown.length < attempts.length && element('span', {class: 'soft small'}, ` the last ${shown.length} of ${attempts.length}; all are in the raw JSON`)),
    attempts.length === 0 ? box('empty', 'No call is in its journal.') :
    box('scroll', table('folds', ['began', 'branch', 'outcome', 'took', isOne ? '' : 'process', 'said'], shown.map(one => [
      one.begin_time ? when(one.begin_time, clockText(one.begin_time)) : element('span', {class: 'soft'}, 'not kept'),
      element('span', {class: 'mono'}, `${one.branch_id ?? ''} ${one.op ?? ''}`),
      chip(OUTCOME_KINDS[one.outcome] ?? '', one.outcome),
      one.begin_time && one.end_time ? spanText(millis(one.end_time) - millis(one.begin_time)) : '',
      isOne ? '' : element('span', {class: 'small wrap'}, runs[one.run]?.process || `run ${one.run + 1}`),
      element('span', {class: 'small wrap'}, one.text)]))));
}

const CALLS = ['started', 'success', 'failure', 'ongoing', 'error', 'not sent'];
const KIND_COLOURS = {succeeded: 'good', failed: 'bad', rollback: 'warn', stuck: 'bad', cancel: 'warn', 'force stop': 'bad', repair: 'warn', 'taken up': 'busy'};
const KIND_WORDS = {repair: 'skipped', gap: 'not kept'};

function decisionsCard(entries) {
  const decisions = entries.filter(entry => !CALLS.includes(entry.kind));
  const said = entry => entry.kind === 'gap' ? (entry.count ? `${entry.count} entries` : 'some entries') : entry.text;
  return element('section', {class: 'card flush', 'data-key': 'decisions'}, element('h2', {}, 'Decisions'),
    decisions.length === 0 ? box('empty', 'Its journal is empty.') :
    box('scroll', table('folds', ['time', 'what', 'branch', 'who', 'why'], decisions.map(entry => [
      entry.time ? when(entry.time, clockText(entry.time)) : '', chip(KIND_COLOURS[entry.kind] ?? '', KIND_WORDS[entry.kind] ?? entry.kind),
      entry.branch_id ? element('span', {class: 'mono'}, `${entry.branch_id} ${entry.op}`) : '',
      element('span', {class: 'wrap'}, entry.who), element('span', {class: 'wrap'}, said(entry))]))));
}

const OPTION_NAMES = ['wait_result', 'timeout_to_fail', 'request_timeout', 'retry_interval', 'retry_limit', 'concurrent', 'protocol', 'query_prepared', 'custom_data', 'retry_count',
  'next_cron_interval', 'rollback_reason', 'rollback_from', 'last_error'];

function optionsCard(transaction) {
  const headers = Object.keys(transaction.branch_headers ?? {});
  const given = OPTION_NAMES.filter(name => isSomething(transaction[name])).map(name => [name, String(transaction[name])]);
  if (headers.length) given.push(['branch_headers', `${headers.join(', ')} (their values are not shown)`]);
  return element('section', {class: 'card', 'data-key': 'options'}, element('h2', {}, 'Details'),
    element('dl', {}, given.map(([name, value]) => [element('dt', {}, name.replaceAll('_', ' ')), element('dd', {}, value)])));
}

// ---- Topics and nodes ----------------------------------------------------------------------------------------------------

async function loadTopics(params) {
  const page = await ask('scanKV', {query: {cat: 'topics', limit: 100, position: params.get('at')}});
  return {topics: page.kv.map(value => ({name: value.k, subscribers: subscribersIn(value.v)})), next: page.next_position};
}

function subscribersIn(text) {
  try {
    const list = JSON.parse(text);
    return Array.isArray(list) ? list.filter(one => typeof one?.url === 'string') : [];
  } catch {
    return [];
  }
}

function drawTopics(data) {
  const field = (name, text, hint, required) => element('label', {class: 'grow'}, text, element('input', {name, required, placeholder: hint, autocomplete: 'off', spellcheck: 'false'}));
  return [
    element('h1', {}, 'Topics'),
    element('form', {class: 'card filters', 'data-do': 'subscribe', 'data-key': 'subscribe'}, field('topic', 'topic', 'order.paid', true),
)desk"
R"desk(      field('url', 'URL that is called', 'https://host/path', true), field('remark', 'remark', '', false), element('button', {class: 'main'}, 'Subscribe')),
    !data ? element('p', {class: 'soft'}, 'Reading …') : data.topics.length === 0 ? box('card empty', 'There is no topic yet. A message to topic://name goes to all its subscribers.') :
    data.topics.map(topicCard),
    data?.next && element('a', {href: linkTo('topics', {at: data.next})}, 'More →'),
  ];
}

function topicCard({name, subscribers}) {
  const button = (text, attributes) => element('button', {type: 'button', class: 'tiny danger', 'data-topic': name, ...attributes}, text);
  return element('section', {class: 'card flush', 'data-key': `topic ${name}`},
    box('top', element('h2', {class: 'mono wrap'}, name), button('Delete topic …', {'data-do': 'delete-topic'})),
    subscribers.length === 0 ? box('empty', 'Nobody is subscribed.') : box('scroll', table('folds', ['URL', 'remark', ''], subscribers.map(one => [
      element('span', {class: 'mono wrap'}, one.url), element('span', {class: 'wrap'}, one.remark ?? ''),
      box('right', button('Unsubscribe …', {'data-do': 'unsubscribe', 'data-url': one.url}))]))));
}

const loadNodes = () => ask('nodes');

function drawNodes(data) {
  const nodes = data?.nodes ?? [];
  return [
    element('h1', {}, 'Nodes'),
    element('p', {class: 'soft'}, 'The coordinators that share this store. When one is silent for longer than the lease, the others take over what it drove.'),
    element('section', {class: 'card flush'}, !data ? box('empty', 'Reading …') : box('scroll', table('folds', ['name', 'app', 'state', 'last heard of', 'id'], nodes.map(node => [
      element('span', {class: 'wrap'}, node.name || '–', node.self && [' ', chip('busy', 'this one')]), node.app ?? '',
      node.member ? chip('good', 'member') : chip('warn', 'gone'), isSomething(node.silent_ms) && !node.self ? `${spanText(node.silent_ms)} ago` : '', element('span', {class: 'mono small wrap'}, node.url ?? '')])))),
  ];
}

const pages = {
  overview: {title: 'Overview', link: '#/', draw: drawOverview},
  list: {title: 'Transactions', link: '#/list', draw: drawList, load: loadList},
  transaction: {title: 'Transaction', draw: drawTransaction, load: loadTransaction, isLive: data => !data?.story.transaction || !isFinal(data.story.transaction)},
  topics: {title: 'Topics', link: '#/topics', draw: drawTopics, load: loadTopics},
  nodes: {title: 'Nodes', link: '#/nodes', draw: drawNodes, load: loadNodes, isLive: () => true},
};

// ---- What a person can do ------------------------------------------------------------------------------------------------

/** `body`: what the server gets besides gid, who and why. */
const actions = {
  retry: {label: 'Retry', path: 'resetNextCronTime', says: 'Its waits are forgotten: what is still to be called is called at once.', body: () => ({})},
  cancel: {label: 'Cancel', path: 'abort', isDanger: true, says: 'It is rolled back: what may have been done is compensated.', body: one => ({trans_type: one.trans_type})},
  stop: {label: 'Stop', path: 'forceStop', isDanger: true, says: 'It ends as failed and nothing is called any more, compensations neither.', body: () => ({})},
  skip: {label: 'Skip', path: 'skipBranch', isDanger: true, says: 'This one call counts as done without being made; nothing else is changed. Make sure that its effect is there, or is not needed.',
    body: one => ({branch_id: one.branch_id, op: one.op})},
};

const IN_DOUBT = 'The server does not answer, so it may or may not have been done. The journal says it once the server is back; to ask again does no harm.';

/** What is wrong, a Refused, or null. That it is not finished yet is nothing wrong. */
async function act(action, one, who, why) {
  try {
    await ask(actions[action].path, {body: {gid: one.gid, ...actions[action].body(one), who, why}});
    return null;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 0) return new Refused(0, IN_DOUBT);
    return error.status === 425 ? null : error;
  }
}

function loginForm() {
  return element('form', {method: 'dialog', 'data-do': 'login', class: 'stack'},
    element('h2', {id: 'login-title'}, 'This server needs its token'),
    state.tokenProblem && element('p', {class: 'note', role: 'alert'}, state.tokenProblem),
    element('label', {class: 'field'}, 'token', element('input', {type: 'password', name: 'token', required: true, autofocus: true, autocomplete: 'off'})),
    element('p', {class: 'soft small'}, 'It is kept until this tab is closed.'),
    box('buttons', element('button', {class: 'main'}, 'Open the desk')));
}

const whoField = () => element('label', {class: 'field', 'data-key': 'who'}, 'who asks', element('input', {name: 'who', required: true, maxlength: 64, value: state.who, autocomplete: 'off', autofocus: !state.who}));
const whyField = () => element('label', {class: 'field', 'data-key': 'why'}, 'because', element('input', {name: 'why', required: true, maxlength: 200, autocomplete: 'off', autofocus: !!state.who}));
const closeButton = text => element('button', {type: 'button', 'data-do': 'close'}, text);
const submitButton = (text, isDanger, disabled) => element('button', {class: isDanger ? 'main danger' : 'main', disabled}, text);

const dialogs = {
  action({action, subject, problem, busy}) {
    const {label, says, isDanger} = actions[action];
    const branch = subject.branch_id ? ` branch ${subject.branch_id} ${subject.op} of` : '';
    return element('form', {method: 'dialog', 'data-do': 'do-action', 'data-key': `action ${action}`},
      element('h2', {id: 'dialog-title'}, `${label}${branch} `, element('span', {class: 'mono wrap'}, subject.gid)),
      element('p', {class: 'soft'}, says), problem && element('p', {class: 'note', role: 'alert', 'data-key': 'problem'}, problem),
      whoField(), whyField(), box('buttons', closeButton('Leave it'), submitButton(busy ? 'Asking …' : label, isDanger, busy)));
  },

  confirm({title, says, label, problem}) {
    return element('form', {method: 'dialog', 'data-do': 'confirmed', 'data-key': 'confirm'},
      element('h2', {id: 'dialog-title', class: 'wrap'}, title), element('p', {class: 'soft wrap'}, says), problem && element('p', {class: 'note', role: 'alert'}, problem),
      box('buttons', closeButton('Leave it'), submitButton(label, true)));
  },

  bulk(told) {
    return element('form', {method: 'dialog', 'data-do': 'do-bulk', 'data-key': 'bulk'},
      element('h2', {id: 'dialog-title'}, 'Act on all of these'), told.running ? bulkProgress(told) : bulkPreview(told));
  },

  keys() {
    const keys = [['/', 'search in the list'], ['j, k', 'next and previous transaction, or link'], ['Enter', 'open it'], ['Esc', 'close a dialog, or go back to the list'], ['r', 'refresh'], ['?', 'this help']];
    return element('form', {method: 'dialog', 'data-do': 'close', 'data-key': 'keys'}, element('h2', {id: 'dialog-title'}, 'Keys'),
      element('dl', {}, keys.map(([key, text]) => [element('dt', {class: 'mono'}, key), element('dd', {}, text)])), box('buttons', submitButton('Close')));
  },
};

function bulkPreview({rows, searching, next, problem}) {
  const count = `${searching ? 'Counting: ' : ''}${numberText(rows.length)}${next && !searching ? ' (and more: this many at a time)' : ''} unfinished`;
  return [
    element('p', {role: 'status', id: 'bulk-count'}, count),
    problem && element('p', {class: 'note', role: 'alert'}, problem),
    rows.length > 0 && box('first mono small', rows.slice(0, 20).map(row => box('', row.gid)), rows.length > 20 && box('soft', `… and ${numberText(rows.length - 20)} more`)),
    element('label', {class: 'field'}, 'what to do', element('select', {name: 'action'}, ['retry', 'cancel', 'stop'].map(name => element('option', {value: name}, actions[name].label)))),
    element('p', {class: 'soft small'}, 'Retry forgets their waits, Cancel rolls them back, Stop ends them as failed without compensations.'),
    whoField(), whyField(), box('buttons', closeButton('Leave it'), submitButton(`Do it to ${numberText(rows.length)}`, true, searching || rows.length === 0)),
  ];
}

function bulkProgress(told) {
  const {rows, done, refused, isOver, problem} = told;
  return [
    element('p', {role: 'status', id: 'bulk-progress'}, bulkText(told)),
    element('progress', {max: rows.length, value: done, 'aria-label': 'Progress'}),
    problem && element('p', {class: 'note', role: 'alert'}, problem),
    refused.length > 0 && box('first small', refused.slice(0, 20).map(({gid, why}) => box('', element('span', {class: 'mono'}, gid), `: ${why}`))),
    box('buttons', closeButton(isOver ? 'Close' : 'Stop')),
  ];
}

function bulkText({rows, done, refused, isOver}) {
  const begin = !isOver ? '' : done < rows.length ? 'Stopped: ' : 'Ended: ';
  return `${begin}${numberText(done)} of ${numberText(rows.length)} asked, ${numberText(refused.length)} refused`;
}

/** Four at a time, until all are done, the dialog is closed, or the server does not answer. */
async function runBulk(action, who, why) {
  const {rows, started} = state.dialog;
  const isHere = () => state.dialog?.started === started;
  const told = {rows, done: 0, refused: [], running: true, problem: ''};
  const tell = () => isHere() && setDialog(told);
  let taken = 0;
  tell();
  const worker = async () => {
    while (taken < rows.length && isHere() && !state.locked && !told.problem) {
      const one = rows[taken++];
      const wrong = await act(action, one, who, why);
      told.done += 1;
      if (wrong) told.refused.push({gid: one.gid, why: wrong.message});
      if (wrong?.status === 0) told.problem = 'The server does not answer, so the others were not asked.';
      tell();
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  told.isOver = true;
  if (isHere()) tell();
  else setPage({notice: `${actions[action].label}: ${bulkText(told)}.`});
  load();
}

// ---- What is clicked, sent and typed: elements say what they do by data-do ----------------------------------------------

const clicks = {
  skip(link, event) {
    event.preventDefault();
    byId('main').focus();
  },
  reload() { load(); },
  back() { history.back(); },
  close() { set({dialog: null}); },
  open(row, event) {
    if (!event.target.closest('a') && String(getSelection()) === '') location.hash = linkTo('transaction', {gid: row.dataset.gid});
  },
  act(button) { set({dialog: {kind: 'action', action: button.dataset.action, subject: state.page.data.story.transaction}}); },
  'skip-branch'(button) {
    const {gid} = state.page.data.story.transaction;
    set({dialog: {kind: 'action', action: 'skip', subject: {gid, branch_id: button.dataset.branch, op: button.dataset.op}}});
  },
  async bulk() {
    const query = {...queryOf(state.page.params), unfinished: 1};
    const started = performance.now();
    const isHere = () => state.dialog?.started === started && !state.dialog.running;
    const tell = told => isHere() && setDialog(told);
    set({dialog: {kind: 'bulk', started, rows: [], searching: true}});
    try {
      tell(await readSome(query, MOST_AT_ONCE, '', tell, isHere));
    } catch (error) {
      tell({problem: error.message, searching: false});
    }
  },
  unsubscribe({dataset: {topic, url}}) {
    set({dialog: {kind: 'confirm', title: `Unsubscribe from ${topic}?`, says: `${url} gets no new messages; those on their way still reach it.`, label: 'Unsubscribe',
      run: () => ask('unsubscribe', {method: 'POST', query: {topic, url}}), done: `${url} is unsubscribed from ${topic}.`}});
  },
  'delete-topic'({dataset: {topic}}) {
    set({dialog: {kind: 'confirm', title: `Delete the topic ${topic}?`, says: 'All its subscribers go with it. New messages to it are refused.', label: 'Delete',
      run: () => ask(`topic/${encodeURIComponent(topic)}`, {method: 'DELETE'}), done: `The topic ${topic} is deleted.`}});
  },
};

const submits = {
  login(given) {
)desk"
R"desk(    const token = given.token.trim();
    if (!/^[!-~]+$/.test(token)) return set({tokenProblem: 'No token has such a character: it is of ASCII, without blanks.'});
    sessionStorage.setItem('dtm-token', token);
    set({token, locked: false, tokenProblem: ''});
    poll();
    load();
  },
  close() { set({dialog: null}); },
  async 'do-action'({who, why}) {
    const dialog = state.dialog;
    const {action, subject} = dialog;
    rememberWho(who);
    setDialog({busy: true, problem: ''});
    const wrong = await act(action, subject, who, why);
    if (state.dialog?.subject !== subject) return;
    if (wrong) return setDialog({busy: false, problem: wrong.message});
    set({dialog: null});
    setPage({notice: `${actions[action].label}: the server has stored it.`});
    load();
  },
  async confirmed() {
    const {run, done} = state.dialog;
    try {
      await run();
      set({dialog: null});
      setPage({notice: done});
      load();
    } catch (error) {
      setDialog({problem: error.message});
    }
  },
  'do-bulk'({action, who, why}) {
    if (state.dialog.running) return;
    rememberWho(who);
    runBulk(action, who, why);
  },
  async subscribe({topic, url, remark}, form) {
    try {
      await ask('subscribe', {method: 'POST', query: {topic, url, remark}});
      form.reset();
      setPage({problem: '', notice: `It is subscribed to ${topic}.`});
      load();
    } catch (error) {
      setPage({problem: error.message, notice: ''});
    }
  },
  filter(given) { location.hash = linkTo('list', given); },
};

function rememberWho(who) {
  sessionStorage.setItem('dtm-who', who);
  state.who = who;
}

const valuesOf = form => Object.fromEntries(new FormData(form));

document.addEventListener('click', event => {
  const target = event.target.closest('[data-do]');
  if (target && target.nodeName !== 'FORM') clicks[target.dataset.do]?.(target, event);
});

document.addEventListener('submit', event => {
  event.preventDefault();
  submits[event.target.dataset.do]?.(valuesOf(event.target), event.target);
});

let typing = 0;

/** A text counts once nobody has typed for a moment, what is chosen counts at once. */
function filterSoon({type, target}) {
  const form = target.closest('#filters');
  if (!form || (type === 'input') !== (target.type === 'search')) return;
  clearTimeout(typing);
  typing = setTimeout(() => submits.filter(valuesOf(form)), type === 'input' ? 300 : 0);
}

document.addEventListener('input', filterSoon);
document.addEventListener('change', filterSoon);

byId('dialog').addEventListener('cancel', () => set({dialog: null}));
byId('login').addEventListener('cancel', event => event.preventDefault());

const keys = {
  '/'() {
    const focus = () => document.querySelector('#filters input[name=gid]')?.focus();
    if (state.page.name === 'list') return focus();
    addEventListener('hashchange', () => setTimeout(focus), {once: true});  // once the list is drawn
    location.hash = linkTo('list');
  },
  j() { moveFocus(1); },
  k() { moveFocus(-1); },
  r() { load(); },
  '?'() { set({dialog: {kind: 'keys'}}); },
  Escape() { if (state.page.name === 'transaction') location.hash = state.listHash; },
};

/** Among the transactions of the list, elsewhere among what can be clicked. */
function moveFocus(step) {
  const rows = [...document.querySelectorAll('main [data-row]')];
  const all = rows.length ? rows : [...document.querySelectorAll('main a[href], main button:not(:disabled), main summary')];
  const at = all.indexOf(document.activeElement);
  all[at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step]?.focus();
}

document.addEventListener('keydown', event => {
  const isTyping = event.target.closest('input, select, textarea');
  if (event.key === 'Escape' && isTyping && !event.target.closest('dialog')) return event.target.blur();
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});

/** The form shows what the address says, except where somebody types. */
function fillFilters(params) {
  for (const field of byId('filters')?.elements ?? []) {
    if (field === document.activeElement) continue;
    if (field.type === 'checkbox') field.checked = params.get(field.name) === '1';
    else if (field.name) field.value = params.get(field.name) ?? '';
  }
}

addEventListener('hashchange', arrive);
document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && poll());
arrive();
poll();
)desk";

inline constexpr char kIcon[] =
R"desk(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#3b6ea8"/><path d="M4 5h5M6.5 8h5.5M4 11h8" stroke="#fff" stroke-width="1.7" stroke-linecap="round"/></svg>
)desk";

// clang-format on

}  // namespace desk
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/desk/desk.hpp --------------------------------------------------------------------

/// The desk: a page for people that shows what the coordinator does, and asks it to retry, cancel, stop and skip.
/// Needs: std. Threads: pure functions. Document: docs/desk.md.

namespace dtm {
inline namespace v1 {
namespace desk {

/// No script but the page's own runs, nothing is loaded from elsewhere, and no other page shows it in a frame.
inline std::vector<http1::HttpHeader> Headers() {
  return {{"Content-Security-Policy",
           "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
          {"X-Content-Type-Options", "nosniff"},
          {"X-Frame-Options", "DENY"},
          {"Referrer-Policy", "no-referrer"},
          {"Cross-Origin-Resource-Policy", "same-origin"},
          {"Cross-Origin-Opener-Policy", "same-origin"},
          {"Cache-Control", "no-cache"}};
}

/// Its length is not counted: that would take the compiler a fifth of a second.
template <std::size_t kSize>
std::string_view TextOf(const char (&text)[kSize]) {
  return {text, kSize - 1};
}

inline std::vector<ApiPage> Pages() {
  return {{"/desk", "text/html; charset=utf-8", TextOf(kPage), Headers()},
          {"/desk/desk.css", "text/css; charset=utf-8", TextOf(kStyle), Headers()},
          {"/desk/desk.js", "text/javascript; charset=utf-8", TextOf(kScript), Headers()},
          {"/desk/icon.svg", "image/svg+xml", TextOf(kIcon), Headers()}};
}

}  // namespace desk
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/serving/reply_queue.hpp ----------------------------------------------------------

/// How replies get back to the thread of the loop: from the coordinator's thread, from workers, or at once.
/// Needs: std. Threads: Add comes from any; everything else belongs to the thread of the loop.

namespace dtm {
inline namespace v1 {
namespace serving {

/// Which request waits for a reply. Its connection may have gone meanwhile, and another be at its place.
struct Ticket {
  std::size_t place = 0;     ///< of the connection
  std::uint64_t number = 0;  ///< of the request; the server gives it to no other
};

class ReplyQueue {
 public:
  struct Arrived {
    Ticket ticket;
    ApiReply reply;
  };

  explicit ReplyQueue(transport::IoLoop& loop) : loop_(&loop) {}

  /// Comes before the reply is asked for, so that its arrival needs no memory.
  /// @throws std::bad_alloc  it is not expected.
  void Expect() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::size_t needed = arrived_.size() + expected_ + 1;
    if (needed > arrived_.capacity()) arrived_.reserve(2 * needed);
    ++expected_;
  }

  void Add(Ticket ticket, ApiReply reply) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (loop_ == nullptr) return;
    if (expected_ > 0) --expected_;
    const bool first = arrived_.empty();
    arrived_.push_back({ticket, std::move(reply)});
    if (first) loop_->Wake();
  }

  /// Swaps what has come into `taken`, which is empty. True: there was something.
  bool Take(std::vector<Arrived>& taken) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (arrived_.empty()) return false;
    taken.reserve(expected_ + arrived_.size());
    taken.swap(arrived_);
    return true;
  }

  /// The loop may be gone from now on; what comes later is dropped.
  void Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    loop_ = nullptr;
    arrived_.clear();
  }

 private:
  std::mutex mutex_;
  transport::IoLoop* loop_;
  std::size_t expected_ = 0;
  std::vector<Arrived> arrived_;
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/serving/bytes_ahead.hpp ----------------------------------------------------------

/// What a client has sent after the request that is being answered.
/// Needs: std. Threads: one at a time.

namespace dtm {
inline namespace v1 {
namespace serving {

/// Taken from the front at no cost: each byte is moved once at most.
class BytesAhead {
 public:
  void Append(std::string_view bytes) {
    if (at_ > text_.size() / 2) {
      text_.erase(0, at_);
      at_ = 0;
    }
    text_.append(bytes);
  }

  /// Until the next change.
  std::string_view View() const { return std::string_view(text_).substr(at_); }
  /// Keeps only its last `left` bytes.
  void Keep(std::size_t left) {
    at_ = text_.size() - left;
    if (left == 0) Clear();
  }
  void Clear() {
    std::string().swap(text_);  // an assignment would keep its memory
    at_ = 0;
  }

  bool Empty() const { return text_.empty(); }
  /// The memory that it takes.
  std::size_t Bytes() const { return text_.empty() ? 0 : text_.capacity(); }

 private:
  std::string text_;
  std::size_t at_ = 0;  ///< all before it has been taken
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/serving/incoming_request.hpp -----------------------------------------------------

/// A request to the API on its way in: from the bytes of a connection to what the API is asked.
/// Needs: std. Threads: one at a time. Source: RFC 9112 §3, RFC 3986 §2.1; document: docs/http_api.md, "Security".

namespace dtm {
inline namespace v1 {
namespace serving {

class IncomingRequest {
 public:
  using Parsed = http1::Parsed;

  /// Takes from `bytes` what belongs to the head. After kDone, Request() has all but its body.
  Parsed TakeHead(std::string_view& bytes) {
    const Parsed parsed = head_.Take(bytes);
    if (parsed == Parsed::kDone) {
      Translate();
      body_.emplace(http1::MessageKind::kRequest, Framing());
    }
    return parsed;
  }
  bool HasHead() const { return body_.has_value(); }
  /// Part of it has come.
  bool Begun() const { return head_.Begun(); }

  /// Once it has its head: takes from `bytes` what belongs to the body. Beyond the limit of the API: TooLong.
  Parsed TakeBody(std::string_view& bytes) {
    return body_->Take(bytes, [this](std::string_view piece) {
      too_long_ = too_long_ || piece.size() > api_head::kMaxBodyBytes - request_.body.size();
      if (!too_long_) request_.body.append(piece);
    });
  }
  bool TooLong() const { return too_long_; }

  /// What is wrong, after kRefused.
  const http1::Refusal& Problem() const { return HasHead() ? body_->Why() : head_.Why(); }

  const http1::Framing& Framing() const { return head_.Head().BodyFraming(); }
  bool OldVersion() const { return head_.Head().MinorVersion() == 0; }
  ApiRequest& Request() { return request_; }

  /// For the next one; its memory is used again.
  void Reset() {
    head_.Reset();
    body_.reset();
    request_.method.clear();
    request_.query.clear();
    request_.headers.clear();
    request_.body.clear();
    too_long_ = false;
  }

  /// The memory that it takes.
  std::size_t Bytes() const { return head_.Head().Bytes() + BytesOf(request_); }

  /// That of a request that is handed over.
  static std::size_t BytesOf(const ApiRequest& request) {
    std::size_t bytes = request.path.capacity() + request.body.capacity();
    for (const auto& [name, value] : request.query) bytes += kNode + name.size() + value.size();
    for (const auto& header : request.headers) {
      bytes += sizeof header + header.name.capacity() + header.value.capacity();
    }
    return bytes;
  }

 private:
  void Translate() {
    const http1::MessageHead& head = head_.Head();
    request_.method = head.Method();
    const std::string_view target = head.Target();
    const std::size_t question = target.find('?');
    request_.path = PercentDecoded(target.substr(0, question));
    if (question != std::string_view::npos) TakeQuery(target.substr(question + 1));
    request_.headers.reserve(head.Count());
    for (std::size_t i = 0; i < head.Count(); ++i) {
      const http1::MessageHead::Header header = head.At(i);
      request_.headers.push_back({std::string(header.name), std::string(header.value)});
    }
    api_head::TakeHost(request_);
  }

  void TakeQuery(std::string_view query) {
    for (bool more = true; more;) {
      const std::size_t end = query.find('&');
      const std::string_view pair = query.substr(0, end);
      const std::size_t equals = pair.find('=');
      if (!pair.empty()) {
        request_.query.emplace(
            Decoded(pair.substr(0, equals)),
            equals == std::string_view::npos ? std::string() : Decoded(pair.substr(equals + 1)));
      }
      more = end != std::string_view::npos;
      if (more) query.remove_prefix(end + 1);
    }
  }

  /// As in forms, a plus is a blank.
  static std::string Decoded(std::string_view text) {
    std::string plain(text);
    for (char& c : plain) {
      if (c == '+') c = ' ';
    }
    return PercentDecoded(plain);
  }

  static constexpr std::size_t kNode = 128;  ///< of a map, with its two strings

  http1::HeadParser head_{http1::MessageKind::kRequest};
  std::optional<http1::BodyReader> body_;  ///< once there is the head
  ApiRequest request_;
  bool too_long_ = false;
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/serving/limits.hpp ---------------------------------------------------------------

/// What a server allows: how many, how much, how long.
/// Needs: std. Threads: values only.

namespace dtm {
inline namespace v1 {
namespace serving {

struct ServingLimits {
  using Milliseconds = std::chrono::milliseconds;
  std::size_t connections = 10000;
  std::size_t bytes = std::size_t{64} << 20;  ///< of requests and replies, of all connections
  Milliseconds head{5000};    ///< from the first byte of a request to the end of its head
  Milliseconds body{30000};   ///< from there to the end of its body
  Milliseconds reply{30000};  ///< until a reply has left
  Milliseconds idle{60000};   ///< without a request
  Milliseconds linger{1000};  ///< for the other side to see the last reply
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/serving/reply_text.hpp -----------------------------------------------------------

/// The bytes of a reply of the API.
/// Needs: std. Threads: pure functions. Source: RFC 9112 §4, §9; document: docs/http_api.md.

namespace dtm {
inline namespace v1 {
namespace serving {

/// What a reply says besides the API's own answer.
struct ReplyForm {
  bool to_head = false;      ///< of a HEAD request: there is no body
  bool close = false;        ///< the connection ends with it
  bool old_version = false;  ///< HTTP/1.0, where keeping the connection has to be announced
  long idle_seconds = 60;    ///< how long the connection waits for the next request
};

inline const char* StatusText(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Payload Too Large";
    case 415: return "Unsupported Media Type";
    case 425: return "Too Early";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Other";
  }
}

inline std::string ReplyText(const ApiReply& reply, const ReplyForm& form) {
  std::string text;
  text.reserve(256 + reply.body.size());
  text.append("HTTP/1.1 ").append(std::to_string(reply.status)).append(" ");
  text.append(StatusText(reply.status)).append("\r\nContent-Type: ").append(reply.type);
  text.append("\r\nContent-Length: ").append(std::to_string(reply.body.size()));
  if (reply.retry_after > 0)
    text.append("\r\nRetry-After: ").append(std::to_string(reply.retry_after));
  if (reply.challenge != nullptr) text.append("\r\nWWW-Authenticate: ").append(reply.challenge);
  for (const http1::HttpHeader& header : reply.headers) {
    text.append("\r\n").append(header.name).append(": ").append(header.value);
  }
  if (form.close) {
    text.append("\r\nConnection: close");
  } else {
    if (form.old_version) text.append("\r\nConnection: keep-alive");
    text.append("\r\nKeep-Alive: timeout=").append(std::to_string(form.idle_seconds));
  }
  text.append("\r\n\r\n");
  if (!form.to_head) text.append(reply.body);
  return text;
}

}  // namespace serving
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/serving/request_handler.hpp ------------------------------------------------------

/// Who handles the requests of a connection: the server, as its connections see it.
/// Needs: std. Threads: that of the loop.

namespace dtm {
inline namespace v1 {
namespace serving {

class ServerConnection;

class RequestHandler {
 public:
  virtual const ServingLimits& Limits() const = 0;
  virtual transport::HeldBytes& Held() = 0;
  virtual std::optional<ApiReply> Refusal(const ApiRequest& head) = 0;
  /// Reply comes later, on the loop; or never, if the connection is gone by then. Returns how many bytes of the
  /// request stay in memory until then.
  virtual std::size_t Handle(ServerConnection& connection, ApiRequest& request) = 0;
  /// Disposes of it.
  virtual void Drop(ServerConnection& connection) = 0;
  virtual std::unique_ptr<IncomingRequest> NewRequest() = 0;
  virtual void UseAgain(std::unique_ptr<IncomingRequest> request) = 0;

 protected:
  ~RequestHandler() = default;
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/serving/server_connection.hpp ----------------------------------------------------

/// A connection to our server: requests one after the other, each with its deadlines, and their replies.
/// Needs: POSIX. Threads: that of the loop. Source: RFC 9112 §9; document: docs/http_api.md, "Security".

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

// ---- dtm/http/transport/listener.hpp -----------------------------------------------------------

/// Where connections come in: a listening socket, and accepting on the loop.
/// Needs: POSIX. Threads: Listen is a pure function; a Listener belongs to the thread of the loop.

namespace dtm {
inline namespace v1 {
namespace transport {

struct ListeningSocket {
  Socket socket;
  int port = 0;
};

/// Port 0: any that is free.
/// @throws Error  it cannot be had.
inline ListeningSocket ListenOn(const std::string& host, int port) {
  const std::string place = "cannot listen on " + host + ":" + std::to_string(port) + ": ";
  if (port < 0 || port > 65535) throw Error(place + "a port is 0 (any) to 65535");
  // RFC 6761: it is the loopback without asking anybody; small machines have no /etc/hosts.
  const FoundAddresses found = LookUp(host == "localhost" ? "127.0.0.1" : host, port);
  int error = 0;
  for (const SocketAddress& address : found.addresses) {
    const int fd =
        ::socket(address.Family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) {
      error = errno;
      continue;
    }
    Socket socket = Socket::NotForChildren(fd);
    const int on = 1, off = 0;
    // Not SO_REUSEPORT: a second server would start and share the requests.
    (void)::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address.Family() == AF_INET6)
      (void)::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    constexpr int kBacklog = 4096;  // a short one makes clients that come together wait for 1 s
    if (::bind(fd, address.Get(), address.size) != 0 || ::listen(fd, kBacklog) != 0) {
      error = errno;
      continue;
    }
    SocketAddress bound;
    bound.size = sizeof bound.bytes;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound.bytes), &bound.size) != 0) {
      error = errno;
      continue;
    }
    const std::string text = bound.Text();
    return {std::move(socket), std::stoi(text.substr(text.rfind(':') + 1))};
  }
  throw Error(place + (found.addresses.empty() ? "the name is unknown" : ErrorText(error)) +
              "; stop the program that does, or choose another port or address");
}

/// Tries again after accepting has failed for a while, usually for want of descriptors.
class Listener final : public Watcher, Timer {
 public:
  class Receiver {
   public:
    /// It may throw; then the connection is closed.
    virtual void OnConnection(Socket socket) = 0;

   protected:
    ~Receiver() = default;
  };

  Listener(IoLoop& loop, Receiver& receiver, Socket socket)
      : loop_(loop), receiver_(receiver), socket_(std::move(socket)) {}
  ~Listener() override { Close(); }

  /// False: the system has no room for it.
  bool Open() { return loop_.Watch(socket_.Fd(), *this); }

  void Close() {
    loop_.Cancel(*this);
    if (socket_.IsOpen()) loop_.Unwatch(socket_.Fd());
    socket_.Close();
  }

 private:
  static constexpr int kAtATime = 64;  ///< others want their turn
  static constexpr std::chrono::milliseconds kPause{10};

  void OnReady(Readiness) override { Accept(); }
  void OnDeadline() override { Accept(); }

  void Accept() {
    for (int i = 0; i < kAtATime; ++i) {
      if (!socket_.IsOpen()) return;
      const int fd = ::accept4(socket_.Fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        Take(fd);
      } else if (errno == EAGAIN) {
        return;
      } else if (errno != EINTR && errno != ECONNABORTED) {
        return loop_.Set(*this, loop_.Now() + kPause);
      }
    }
    loop_.Set(*this, loop_.Now() + std::chrono::nanoseconds(1));  // in the next turn
  }

  void Take(int fd) {
    try {
      Socket socket = Socket::NotForChildren(fd);
      SendWithoutDelay(fd);
      receiver_.OnConnection(std::move(socket));
    } catch (const std::exception&) {  // no memory
    }
  }

  IoLoop& loop_;
  Receiver& receiver_;
  Socket socket_;
};

}  // namespace transport
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/serving/api_server.hpp -----------------------------------------------------------

/// The server of the API: its connections, what they ask the coordinator, and the workers for what may block.
/// Needs: POSIX. Threads: made, started and stopped by one; everything else is on the thread of the loop.
/// Document: docs/http_api.md, "Security".

namespace dtm {
inline namespace v1 {
namespace serving {

class ApiServer final : transport::Listener::Receiver, RequestHandler, transport::TurnEnd {
 public:
  /// The loop outlives this, as `tm` and `api` do. It runs on a thread of its own, or on the one that starts and stops this.
  ApiServer(transport::IoLoop& loop, Coordinator& tm, Api& api, const ServingLimits& limits)
      : loop_(loop),
        tm_(tm),
        api_(api),
        limits_(limits),
        held_(limits.bytes),
        replies_(std::make_shared<ReplyQueue>(loop)) {
    taken_.reserve(64);
    spare_.reserve(kMaxSpare);
  }
  // Inside Poll of its own loop, which is a mistake, it ends the program.
  ~ApiServer() { Stop(); }  // NOLINT(bugprone-exception-escape)
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  /// Once. Returns the port. @throws Error  it cannot listen there.
  int Start(const std::string& host, int port) {
    transport::ListeningSocket listening = transport::ListenOn(host, port);
    auto listener = std::make_unique<transport::Listener>(
        loop_, static_cast<transport::Listener::Receiver&>(*this), std::move(listening.socket));
    bool open = false;
    loop_.Do([&] {
      loop_.AtTurnEnds(*this);
      open = listener->Open();
    });
    started_ = true;
    listener_ = std::move(listener);
    if (open) return listening.port;
    Stop();
    throw Error("cannot listen on " + host + ": the system watches no more sockets");
  }

  /// Whoever waits for a reply gets it, for at most kLongestStop; what workers do is waited for.
  void Stop() {
    if (!started_) return;
    started_ = false;
    loop_.Do([this] {
      if (listener_ != nullptr) {
        listener_->Close();
        loop_.Dispose(std::move(listener_));
      }
      ForEach([](ServerConnection& connection) { connection.Finish(); });
    });
    workers_.Stop();
    AwaitReplies();
    loop_.Do([this] {
      ForEach([this](ServerConnection& connection) {
        connection.Close();
        Drop(connection);
      });
      loop_.NotAtTurnEnds(*this);
    });
    loop_.Do([] {});  // what was disposed of is destroyed at the end of the turn
    replies_->Close();
  }

 private:
  void AwaitReplies() {
    const SteadyTime until = transport::IoLoop::Clock::now() + kLongestStop;
    try {  // nobody else moves what the program polls
      while (!loop_.HasThread() && open_ > 0 && transport::IoLoop::Clock::now() < until) {
        if (!tm_.HasThread()) (void)tm_.Poll();
        loop_.Poll(std::chrono::milliseconds(1));
      }
    } catch (const std::exception&) {
      return;  // a coordinator that cannot go on owes no reply; Stop closes the sockets
    }
    std::unique_lock<std::mutex> lock(mutex_);
    (void)ended_.wait_until(lock, until, [this] { return open_ == 0; });
  }

  static constexpr std::chrono::seconds kLongestStop{8};
  static constexpr std::size_t kMaxWorkers = 64;
  static constexpr std::size_t kMaxTurnedAway = 256;
  static constexpr std::size_t kMaxSpare = 8;
  static constexpr std::size_t kMaxSpareBytes = std::size_t{16} * 1024;

  // What the listener and the connections want, on the loop.

  void OnConnection(transport::Socket socket) override {
    const bool full = open_ - turned_away_ >= limits_.connections;
    if (full && turned_away_ >= kMaxTurnedAway) return;
    if (free_.empty()) {
      connections_.reserve(connections_.size() + 1);
      free_.reserve(connections_.capacity());
      connections_.emplace_back();
      free_.push_back(connections_.size() - 1);
    }
    const std::size_t place = free_.back();
    connections_[place] =
        std::make_unique<ServerConnection>(loop_, static_cast<RequestHandler&>(*this));
    free_.pop_back();
    ServerConnection& connection = *connections_[place];
    connection.place = place;
    Count(1);
    if (full) ++turned_away_;
    bool served = false;
    try {
      served = full ? connection.TurnAway(std::move(socket)) : connection.Serve(std::move(socket));
    } catch (const std::bad_alloc&) {
    }
    if (!served) {
      connection.Close();
      Drop(connection);
    }
  }

  const ServingLimits& Limits() const override { return limits_; }
  transport::HeldBytes& Held() override { return held_; }
  std::optional<ApiReply> Refusal(const ApiRequest& head) override { return api_.Refusal(head); }

  std::unique_ptr<IncomingRequest> NewRequest() override {
    if (spare_.empty()) return std::make_unique<IncomingRequest>();
    std::unique_ptr<IncomingRequest> request = std::move(spare_.back());
    spare_.pop_back();
    return request;
  }
  void UseAgain(std::unique_ptr<IncomingRequest> request) override {
    if (spare_.size() == kMaxSpare || request->Bytes() > kMaxSpareBytes) return;
    request->Reset();
    spare_.push_back(std::move(request));
  }

  std::size_t Handle(ServerConnection& connection, ApiRequest& request) override {
    connection.asked = ++last_number_;
    const Ticket ticket{connection.place, connection.asked};
    bool expected = false;
    try {
      replies_->Expect();
      expected = true;
      const ApiDone done = [replies = replies_, ticket](ApiReply reply) {
        replies->Add(ticket, std::move(reply));
      };
      // A coordinator without a thread is driven by those who wait for it, or by whoever polls this loop as well.
      if (!Api::MayBlock(request) && (tm_.HasThread() || !loop_.HasThread())) {
        if (!in_burst_) tm_.BeginBurst();
        in_burst_ = true;
        api_.Handle(request, done);
        return 0;  // what the coordinator keeps of it is counted there
      }
      const std::size_t bytes = IncomingRequest::BytesOf(request);
      const auto shared = std::make_shared<ApiRequest>(std::move(request));
      if (workers_.Run([this, shared, ticket] { Work(*shared, ticket); })) return bytes;
    } catch (const std::bad_alloc&) {
    }
    ApiReply busy;  // without a text, for want of memory
    busy.status = 503;
    busy.retry_after = 1;
    if (expected) {
      replies_->Add(ticket, std::move(busy));
    } else {
      connection.Close();
      Drop(connection);
    }
    return 0;
  }

  void Work(const ApiRequest& request, Ticket ticket) {
    ApiReply reply;
    reply.status = 500;
    try {
      reply = api_.Handle(request);
    } catch (const std::bad_alloc&) {  // so it has no text
    }
    replies_->Add(ticket, std::move(reply));
  }

  void Drop(ServerConnection& connection) override {
    const std::size_t place = connection.place;
    if (connection.TurnedAway()) --turned_away_;
    loop_.Dispose(std::move(connections_[place]));
    free_.push_back(place);
    Count(-1);
  }

  void OnTurnEnd() override {
    try {
      if (replies_->Take(taken_)) {
        for (const ReplyQueue::Arrived& one : taken_) Reply(one);
        taken_.clear();
      }
    } catch (const std::bad_alloc&) {
      loop_.Wake();  // to try again
    }
    if (in_burst_) tm_.EndBurst();
    in_burst_ = false;
  }

  void Reply(const ReplyQueue::Arrived& arrived) {
    ServerConnection* const connection = connections_[arrived.ticket.place].get();
    if (connection == nullptr || connection->asked != arrived.ticket.number) return;
    connection->asked = 0;
    try {
      ApiReply full;  // without a text
      full.status = 503;
      full.retry_after = 1;
      const std::size_t bytes = arrived.reply.body.size();
      const bool fits = bytes <= transport::HeldBytes::kSmall || held_.Allow(bytes);
      connection->Reply(fits ? arrived.reply : full);
    } catch (const std::bad_alloc&) {
      connection->Close();
      Drop(*connection);
    }
  }

  template <typename Function>
  void ForEach(const Function& function) {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      if (connections_[i] != nullptr) function(*connections_[i]);
    }
  }

  void Count(int change) {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ += static_cast<std::size_t>(change);
    if (open_ == 0) ended_.notify_all();
  }

  transport::IoLoop& loop_;
  Coordinator& tm_;
  Api& api_;
  const ServingLimits limits_;
  transport::HeldBytes held_;
  const std::shared_ptr<ReplyQueue> replies_;
  std::unique_ptr<transport::Listener> listener_;
  std::vector<std::unique_ptr<ServerConnection>> connections_;
  std::vector<std::size_t> free_;  ///< places in it
  std::uint64_t last_number_ = 0;
  std::size_t turned_away_ = 0;
  std::vector<ReplyQueue::Arrived> taken_;
  std::vector<std::unique_ptr<IncomingRequest>> spare_;
  bool in_burst_ = false;
  bool started_ = false;
  ThreadPool workers_{kMaxWorkers, SIZE_MAX / 2};
  std::mutex mutex_;
  std::condition_variable ended_;
  std::size_t open_ = 0;  ///< connections
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm

// ---- dtm/http/server.hpp -----------------------------------------------------------------------

/// Serves a coordinator over dtm's HTTP API, to programs in any language.
/// Needs: POSIX. Threads: thread-safe; the coordinator must outlive the server.
/// Protocol: §2; document: docs/http_api.md.

namespace dtm {
inline namespace v1 {

/// The constructor of the server throws LogicError if a value is out of range.
struct ServerOptions {
  /// What every request has to carry (docs/http_api.md, "Security"). Without one only the loopback
  /// is served.
  std::string token;
  /// Each takes a file descriptor, of which a quarter is left to the rest of the program: `ulimit -n` should be above.
  /// Further ones are answered with 503. 1 to 1,000,000.
  int max_connections = 10000;
  /// Whose thread has the connections; null: one of its own. With IoThread::OfHost() a coordinator that was not started has
  /// to be polled too.
  std::shared_ptr<IoThread> io{};
};

/// Serves the HTTP API of one coordinator, by HTTP without TLS. In a forked child it does not serve, and its destructor touches
/// nothing; the child has neither its port nor its connections.
class Server {
 public:
  /// @throws LogicError  an option is out of its range.
  explicit Server(Coordinator& tm, ServerOptions options = {})
      : options_(std::move(options)), tm_(tm), api_(tm, options_.token) {
    option_range::Check("max_connections", options_.max_connections, 1, 1000000);
  }
  Server(Coordinator&& tm, ServerOptions options = {}) = delete;
  ~Server() {
    if (Own* const own = own_.IfHere()) End(*own);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Serves the desk too, at /desk: a page for people, with what the API shows and allows (docs/desk.md). The page itself
  /// needs no token, and asks for it.
  /// @throws LogicError  the server listens already.
  void MountDesk() {
    Own& own = own_.Get();
    const std::lock_guard<std::mutex> lock(own.mutex);
    if (own.serving) throw LogicError("this server listens already; mount the desk before Start");
    api_.Mount(desk::Pages());
  }

  /// Serves on one thread for all connections (ServerOptions::io), and up to 64 for what reads the store or runs a function of
  /// the program. `host` is an address or name of this machine, such as "127.0.0.1", "::1" or "0.0.0.0"; port 0: any that is
  /// free. Returns the port; connections are accepted from then on.
  /// @throws Error       it cannot listen there, the address is not the loopback and there is no token, or the token has
  ///                     characters that it may not have.
  /// @throws LogicError  it listens already.
  int Start(const std::string& host, int port) {
    CheckPlace(host);
    Own& own = own_.Get();
    const std::lock_guard<std::mutex> lock(own.mutex);
    if (own.serving) throw LogicError("this server listens already; use another one");
    auto serving = std::make_unique<Serving>(
        options_.io ? options_.io : std::make_shared<IoThread>(), tm_, api_, Limits());
    const int bound = serving->server.Start(host, port);
    own.serving = std::move(serving);
    return bound;
  }

  /// The same, and returns when Stop was called.
  /// @throws LogicError  `io` has no thread: use Start.
  void Listen(const std::string& host, int port) {
    if (options_.io && !options_.io->Loop().HasThread())
      throw LogicError("the loop of this server is polled by the program, so Start() it");
    (void)Start(host, port);
    Own& own = own_.Get();
    std::unique_lock<std::mutex> lock(own.mutex);
    while (own.serving) own.stopped.wait(lock);
  }

  /// Takes no new requests, and lets the present ones end: at most 6 s if one waits for a result (at once if the
  /// coordinator was stopped before), and as long as a function of the program takes. Then the server can be started again.
  /// @throws LogicError  inside Poll of its IoThread, or this is a forked child: nothing was done.
  void Stop() {
    Own& own = own_.Get();
    if (options_.io) options_.io->Loop().CheckOutsidePoll();
    End(own);
  }

 private:
  struct Serving {
    Serving(std::shared_ptr<IoThread> its_io, Coordinator& tm, Api& api,
            const serving::ServingLimits& limits)
        : io(std::move(its_io)), server(io->Loop(), tm, api, limits) {}
    std::shared_ptr<IoThread> io{};
    serving::ApiServer server;
  };
  struct Own {
    std::mutex mutex;
    std::condition_variable stopped;
    std::unique_ptr<Serving> serving;
  };

  static void End(Own& own) {
    const std::lock_guard<std::mutex> lock(own.mutex);
    own.serving.reset();
    own.stopped.notify_all();
  }

  void CheckPlace(const std::string& host) const {
    for (const char c : options_.token) {
      if (c > ' ' && c < 127 && c != '%') continue;  // % could be decoded on the way
      throw Error("the token may have no blanks, no % and only characters of ASCII");
    }
    if (options_.token.empty() && !access::IsLoopback(host)) {
      throw Error("'" + host +
                  "' can be reached from other machines, so the server needs a token: set "
                  "ServerOptions::token "
                  "(dtm-server: --token or DTM_TOKEN), or listen on 127.0.0.1");
    }
  }

  serving::ServingLimits Limits() const {
    serving::ServingLimits limits;
    const std::size_t files = os::MaxOpenFiles();
    limits.connections = (std::min)(static_cast<std::size_t>(options_.max_connections),
                                    (std::max)(files - files / 4, std::size_t{1}));
    return limits;
  }

  const ServerOptions options_;
  Coordinator& tm_;
  Api api_;
  OfThisProcess<Own> own_{"server"};
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http.hpp ------------------------------------------------------------------------------

/// Adds HTTP to <dtm/dtm.hpp>: branches by URL, the API server, coordinators elsewhere.
/// Needs: POSIX. Threads: see the headers.
