/// Generated from include/dtm/http.hpp by tools/amalgamate.py; do not edit. Declarations and templates: the rest is in
/// http.cpp, which is compiled once (CMake: dtm::compiled_http).
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "dtm.hpp"


// ---- dtm/base/thread_list.hpp ------------------------------------------------------------------

/// Threads of a pool, which may leave one by one and are all joined in the end.
/// Needs: std. Threads: the owner's mutex is held for each call, but for JoinAll.

#include <cstddef>
#include <list>
#include <thread>
#include <utility>

namespace dtm {
inline namespace v1 {

class ThreadList {
 public:
  /// @throws std::exception  there is no thread or no memory for it now; nothing was changed.
  template <typename Main>
  void Add(Main main) {
    running_.emplace_back();
    try {
      running_.back() = std::thread(std::move(main));
    } catch (...) {
      running_.pop_back();
      throw;
    }
  }

  /// The last thing that a thread does which returns before its pool stops. The next one to leave joins it, or JoinAll.
  void Leave();

  std::size_t Count() const;

  /// All of them, to be joined by JoinAll without the mutex; none is left here.
  ThreadList TakeAll();
  void JoinAll();

 private:
  std::list<std::thread> running_;
  std::list<std::thread> left_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/thread_pool.hpp ------------------------------------------------------------------

/// Threads for work that blocks: one is added when all are busy, and ends after a while without
/// work.
/// Needs: std. Threads: thread-safe.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>

namespace dtm {
inline namespace v1 {

class ThreadPool {
 public:
  /// `max_waiting`: jobs that may wait while all threads are busy; one always fits into the bytes.
  explicit ThreadPool(std::size_t max_threads, std::size_t max_waiting = 0,
                      std::size_t max_waiting_bytes = SIZE_MAX);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// False: there is no room for the job. A job must not throw.
  bool Run(std::function<void()> job, std::size_t bytes = 0);

  /// Waits for all jobs that were taken, as long as they take, and joins the threads.
  void Stop();

 private:
  static constexpr std::chrono::seconds kIdleBeforeLeaving{10};

  struct Job {
    std::function<void()> run;
    std::size_t bytes;
  };

  // All with mutex_ held.

  bool AddThread();

  void ThreadMain();

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

bool EqualsLower(std::string_view text, std::string_view lower);

/// Whether a list such as that of Connection, "a, B ,c", has this element.
bool ListHas(std::string_view list, std::string_view lower);

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
  FramingReader(MessageKind kind, int minor_version);

  /// False: the message is refused, see Why().
  bool Look(std::string_view name, std::string_view value);

  Framing OfRequest();

  /// `odd`: it was written so that another reader may find another end; the connection is not used again.
  Framing OfReply(int status, bool to_head, bool odd);

  const Refusal& Why() const;

 private:
  bool Refuse(int status, const char* text);

  bool Host(std::string_view value);

  bool Length(std::string_view value);

  /// Of a request: chunked, and nothing else.
  bool Coding(std::string_view value);

  /// Of a reply: what is chunked ends with its chunks, what is coded in another way with the connection.
  bool Codings(std::string_view value);

  static bool Number(std::string_view text, std::uint64_t& number);

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

  std::string_view Method() const;
  std::string_view Target() const;
  int Status() const;
  int MinorVersion() const;  ///< 1 of HTTP/1.1
  const Framing& BodyFraming() const;

  std::size_t Count() const;
  Header At(std::size_t i) const;

  /// The value of the first header of this name, which is given in lower case; empty if there is none.
  std::string_view Find(std::string_view lower) const;

  std::size_t Bytes() const;

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

  std::string_view View(Part part) const;

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

  SteadyTime Deadline() const;

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
  ~Timers();

  /// @throws std::bad_alloc  it is not set.
  void Set(Timer& timer, SteadyTime deadline);

  void Cancel(Timer& timer);
  /// The same, and now another thread may destroy it.
  void Forget(Timer& timer);

  /// When to come again; max() if there is nothing to wait for.
  SteadyTime Next() const;

  /// Calls what is due.
  void Run(SteadyTime now);

 private:
  friend class Timer;

  void Remove(Timer& timer);

  void Put(std::size_t place, Timer* timer);

  void Up(std::size_t place);

  void Down(std::size_t place);

  std::vector<Timer*> heap_;
};

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
  virtual ~HttpCall();

  std::string request;  ///< its bytes, see RequestText
  SteadyTime deadline{};
  std::size_t keep_body = 64 * 1024;       ///< the rest is only shown to OnBody
  std::size_t max_body = 8 * 1024 * 1024;  ///< a longer one is not read to its end

  /// Asked directly before its first byte is written, on each connection. False: it is not sent.
  virtual bool MaySend() const;
  /// Each piece of the reply's body, as it comes. `kept`: so much of it will be in the outcome.
  virtual void OnBody(std::string_view, std::size_t kept);
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
  Poller();
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  /// From now on Wait reports it, beginning with its present state. Closing the descriptor ends that.
  /// False: the system has no room for it.
  bool Add(int fd, void* who);
  /// The same for another one, again beginning with its present state.
  bool Change(int fd, void* who);
  void Remove(int fd);

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
  void Wake() const;

  /// Readable when Wait would not wait: for the event loop of a host.
  int Fd() const;

 private:
  bool Control(int what, int fd, void* who);

  static int Milliseconds(std::chrono::steady_clock::time_point until);

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

namespace dtm {
inline namespace v1 {
namespace transport {

/// Whoever is told about a socket. Something may still be told after the socket was closed, until it is destroyed:
/// Dispose of it.
class Watcher {
 public:
  virtual ~Watcher();
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
  ~TurnEnd();
};

/// Runs on a thread of its own after Start, or in Poll on the thread of a host. What is called on it must not throw; if it
/// does for want of memory, the loop goes on, and whoever waits has a deadline.
class IoLoop {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kBuffer = std::size_t{64} * 1024;

  /// @throws Error  no file descriptor is available.
  IoLoop();
  ~IoLoop();
  IoLoop(const IoLoop&) = delete;
  IoLoop& operator=(const IoLoop&) = delete;

  /// @throws std::system_error  no thread can be started.
  void Start();

  /// What was posted and did not run yet is dropped. Not from the thread of the loop.
  void Stop();

  /// Instead of Start: does what there is to do, after waiting for it no longer than `wait`.
  /// @throws LogicError  from inside Poll.
  void Poll(std::chrono::microseconds wait);
  /// @throws LogicError  this is inside Poll, in the middle of a turn.
  void CheckOutsidePoll() const;
  bool HasThread() const;
  /// Readable when Poll has something to do before NextDeadline.
  int Fd() const;
  SteadyTime NextDeadline() const;

  /// Any thread: `task` runs on the loop, after what was posted before. It must not throw.
  /// @throws std::bad_alloc  it does not.
  void Post(std::function<void()> task);

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
  void Wake() noexcept;

  /// False: the system has no room for it.
  bool Watch(int fd, Watcher& watcher);
  /// The same socket, for another watcher, which is first told its present state.
  bool Rewatch(int fd, Watcher& watcher);
  void Unwatch(int fd);

  void Set(Timer& timer, SteadyTime deadline);
  void Cancel(Timer& timer);
  void Forget(Timer& timer);

  /// Told at the end of each turn, from now on.
  void AtTurnEnds(TurnEnd& one);
  void NotAtTurnEnds(TurnEnd& one);

  /// When this turn of the loop began. Cheap, and a little old.
  SteadyTime Now() const;

  /// Destroyed at the end of the turn, when nobody can be in the middle of it any more.
  void Dispose(std::unique_ptr<Watcher> watcher) noexcept;

  /// For bytes on their way through a function; not kept by anybody.
  char* Buffer();

 private:
  void Turn(SteadyTime until);

  template <typename Work>
  static void Run(const Work& work) noexcept {
    try {
      work();
    } catch (...) {  // see above
    }
  }

  void DestroyDisposed() noexcept;

  void Begin();

  bool HasMore();

  void RunPosted();

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

  int Family() const;
  const sockaddr* Get() const;

  /// False: `text` is no numeric address.
  static bool FromFigures(const std::string& text, int port, SocketAddress& address);

  /// "127.0.0.1:80", "[::1]:80".
  std::string Text() const;
};

/// A descriptor that is closed when its owner goes.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd);
  /// One that no forked child gets: its port or its other side would wait for the child when this process has ended.
  /// @throws std::bad_alloc  it is closed.
  static Socket NotForChildren(int fd);
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket();

  int Fd() const;
  bool IsOpen() const;
  void Close();

 private:
  int fd_ = -1;
  bool noted_ = false;  ///< by os::Forking
};

/// Small packets leave at once: the other side waits for them.
void SendWithoutDelay(int fd);

/// Begins to connect. `error`: 0, or why there is nothing to wait for.
Socket BeginConnect(const SocketAddress& to, int& error);

/// How connecting ended: 0, or why it failed; EINPROGRESS if it did not end.
int ConnectError(int fd);

/// What came of moving bytes.
struct Moved {
  enum class Kind { kSome, kWait, kEnd, kBroken };
  Kind kind = Kind::kBroken;
  std::size_t size = 0;  ///< of kSome

  static Moved Some(std::size_t size);
  /// What recv or send returned.
  static Moved Of(ssize_t done);
};

Moved ReceiveSome(int fd, char* to, std::size_t size);

Moved SendSome(int fd, const char* from, std::size_t size);

std::string ErrorText(int error);

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

  explicit Connector(transport::IoLoop& loop);
  ~Connector();

  /// Calls `done` once, perhaps at once, unless it is cancelled. Whoever has a deadline cancels it then.
  void Start(const std::vector<transport::SocketAddress>& addresses, SteadyTime deadline,
             Done done);

  void Cancel();

 private:
  struct Attempt final : transport::Watcher {
    Attempt(Connector& connector, transport::Socket begun);
    void OnReady(transport::Readiness ready) override;
    Connector& owner;
    transport::Socket socket;
  };

  void OnDeadline() override;

  /// The next address; after a failure at once, else when those before had some time.
  void TryNext();

  void OnReady(Attempt& attempt, transport::Readiness ready);

  void Drop(std::unique_ptr<Attempt>& attempt);

  void Finish(transport::Socket socket, const std::string& problem);

  static std::string Problem(int error);

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
void TakeTurns(std::vector<SocketAddress>& addresses);

/// Asks the system, which may take long.
FoundAddresses LookUp(const std::string& host, int port);

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

  explicit Resolver(transport::IoLoop& loop, Lookup lookup = transport::LookUp);

  /// What can be told without a lookup: a numeric address, and localhost (RFC 6761). False: it is some other name.
  static bool IsKnown(const std::string& host, int port, transport::FoundAddresses& found);

  /// `answer` is called on the loop, unless the loop ends before.
  void Find(std::string host, int port, Answer answer);

  /// Waits for lookups that hang: the system's cannot be interrupted. Before the loop is destroyed.
  void Stop();

 private:
  /// Everybody who asked for this name waits for the report: without memory it comes late, not never.
  void Tell(const Answer& answer, const transport::FoundAddresses& found);

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
  BodyReader(MessageKind kind, const Framing& framing);

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
  Parsed Now() const;

  /// The other side will send no more. True: the body is complete.
  bool End();

  /// After kRefused.
  const Refusal& Why() const;

 private:
  enum class State { kLength, kToClose, kSize, kChunk, kChunkEnd, kTrailers, kDone, kRefused };

  static constexpr std::size_t kStrictLine = 256;
  static constexpr std::size_t kLooseLine = 8 * 1024;
  static constexpr std::size_t kMaxTrailers = 64 * 1024;
  /// What the lines of chunks may cost beyond the content that they carry: a body of lines alone comes to an end.
  static constexpr std::int64_t kMaxExcess = 16 * 1024;

  void Refuse(const char* text);

  void TakeLine(std::string_view& bytes);

  void ChunkSize();

  /// What follows the last chunk of a reply is not needed; in a request nothing may follow it.
  void Trailer();

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
  explicit HeadParser(Kind kind, bool to_head = false);

  /// Takes from `bytes` what belongs to the head. After kDone, what is left of them follows it.
  Parsed Take(std::string_view& bytes);

  const MessageHead& Head() const;
  /// After kRefused.
  const Refusal& Why() const;
  /// Part of a message has come.
  bool Begun() const;

  /// For the next message on the connection; the memory is used again.
  void Reset(bool to_head = false);

 private:
  using Part = MessageHead::Part;

  void ResetHead();

  void Refuse(int status, const char* text);

  /// What goes from line_at_ to the end of the text, which is a line feed.
  void TakeLine();

  /// RFC 9112 §2.2: some clients send an empty line after a body; it belongs to nothing.
  void SkipLine();

  static Part Of(std::size_t at, std::size_t size);

  void RequestLine(std::string_view line, std::size_t begin);

  void StatusLine(std::string_view line);

  void TakeHeader(std::string_view line, std::size_t begin);

  /// The line goes on with the header before it: its line end becomes blanks, and counts as one.
  void Fold(std::string_view line, std::size_t begin);

  void EndOfHead();

  /// RFC 9110 §5.6.2.
  static bool IsToken(std::string_view text);

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

  explicit HeldBytes(std::size_t limit);

  void Change(std::size_t& counted, std::size_t now);

  /// Whether there is room for who holds this much.
  bool Allow(std::size_t size) const;

  /// Whether there is room for another request of this size to a host whose calls hold `own`. Half is left to the replies,
  /// and each host leaves a fifth of what it found to the others.
  bool AllowRequest(std::size_t size, std::size_t own) const;

  std::size_t Now() const;
  /// Whether anybody has come to hold less since it was asked last: who waits for room looks again.
  bool TakeFreed();

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
  virtual ~TlsSession();
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
  virtual ~TlsClient();
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
  explicit SocketConnection(IoLoop& loop);
  ~SocketConnection() override;

  bool IsOpen() const;
  int Fd() const;
  IoLoop& Loop() const;

  /// Closes it now, whatever is unsent.
  void Close();

 protected:
  /// `socket` is connected, or about to be. `tls`: its session, or null.
  /// False: the system has no room for it.
  bool Open(Socket socket, std::unique_ptr<TlsSession> tls, bool known_to_loop = false);

  /// Sends what the socket takes at once, and the rest when there is room. That a connection broke is found by reading, so
  /// that what the other side sent before counts.
  void Write(std::string_view bytes);
  std::size_t Unsent() const;
  /// What was written last does not arrive.
  bool CannotSend() const;

  /// No OnBytes until ResumeReading: a peer that sends faster than it is answered has to wait.
  void PauseReading();
  /// Calls OnBytes for what has come meanwhile.
  void ResumeReading();

  void SetDeadline(SteadyTime deadline);

  /// Why TLS broke, in words; empty if it did not.
  std::string TlsProblem() const;
  bool InHandshake() const;

  /// TLS is agreed on.
  virtual void OnSecure();
  virtual void OnBytes(std::string_view bytes) = 0;
  /// All that was written has left.
  virtual void OnSent();
  /// The other side sends no more; `broken`: and nothing can be sent to it. Told once, and not while reading is paused.
  virtual void OnEnd(bool broken) = 0;
  /// Memory ran out in the middle: what came is lost, so it cannot go on. It must not throw.
  virtual void OnNoMemory() = 0;

 private:
  void OnReady(Readiness ready) final;

  void GoOn(Readiness ready);

  /// True: TLS is agreed on.
  bool Shake();

  /// How much of it could be sent; if nothing can be sent any more, all of it.
  std::size_t Send(std::string_view bytes);

  void Flush();

  /// `to_the_end`: something is behind the bytes, so a read that was not filled is not the last.
  void Read(bool to_the_end);

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
    virtual ~Owner();
  };

  HostConnection(transport::IoLoop& loop, Owner& owner);

  /// Takes the first call; Connect follows. `again`: it was sent once, and lost. False: it was too late for it.
  bool Begin(std::unique_ptr<HttpCall> call, bool again);

  /// @throws std::bad_alloc  Fail has to follow.
  void Connect(const transport::FoundAddresses& found);

  /// The next call, on a connection that rested.
  void SendAgain(std::unique_ptr<HttpCall> call);

  /// For want of memory: answers the call, if there is one, and ends.
  void Fail() noexcept;

  /// Idle until the next call; it ends if that takes too long.
  void Rest(SteadyTime until);

  /// The call is not answered any more.
  void Abandon();

  std::size_t place = 0;  ///< the owner's

 private:
  using Kind = HttpOutcome::Kind;
  static constexpr const char* kNoAnswer = "closed the connection without a valid HTTP answer";

  /// Nothing is sent after the deadline, nor if it may not be.
  bool InTime();

  void NotReached(const std::string& problem);

  void OnConnected(transport::Socket socket, const std::string& problem);

  void SendRequest();

  void OnSent() override;

  void OnSecure() override;

  void OnBytes(std::string_view bytes) override;

  /// Without room in memory it is read all the same, since what its status and its words say counts.
  void TakeBody(std::string_view piece);

  /// Not even for its head, which is unusually long.
  void NoRoom();

  void Invalid(const http1::Refusal& why);

  void OnEnd(bool broken) override;

  void OnDeadline() override;

  void OnNoMemory() override;

  void Ended();

  /// `reusable`: the connection can take another call.
  void Finish(Kind kind, bool reusable);

  /// The request, as long as it may have to be sent again, and what waits for the socket; what is kept of the reply.
  void Recount();

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
  HttpHost(HostParts& parts, Url url);
  /// Calls that are out are not answered any more.
  ~HttpHost() override;
  HttpHost(const HttpHost&) = delete;
  HttpHost& operator=(const HttpHost&) = delete;

  const Url& Where() const;

  /// On a connection that is kept if there is one, else on a new one.
  void Send(std::unique_ptr<HttpCall> call) noexcept;

  std::size_t Connections() const;
  std::size_t Idle() const;
  /// What its calls hold of parts.held.
  std::size_t Bytes() const;

 private:
  /// How long addresses are trusted without asking again.
  static constexpr std::chrono::seconds kAddressesStay{1};

  // What connections want.

  const Url& Origin() const override;
  TlsClient* Tls() override;
  void Hold(std::size_t& counted, std::size_t now) override;
  bool HasRoom(std::size_t size) const override;

  void SendFresh(std::unique_ptr<HttpCall> call, bool again) noexcept override;

  void Connect(HostConnection& connection);

  bool Keep(HostConnection& connection) override;

  void OnUnreachable() override;

  void Drop(HostConnection& connection) override;

  void OnFound(transport::FoundAddresses found);

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
  explicit BlockingHost(const Url& url, std::shared_ptr<TlsClient> tls = nullptr);
  /// Waits for a name that is being resolved: getaddrinfo cannot be interrupted.
  ~BlockingHost();
  BlockingHost(const BlockingHost&) = delete;
  BlockingHost& operator=(const BlockingHost&) = delete;

  /// Returns when call.OnDone has been called, a little after its deadline at the latest.
  void Send(HttpCall& call);

  /// A connection is kept for the next request.
  bool IsOpen() const;

 private:
  static constexpr std::chrono::seconds kLook{1};

  struct Relay final : HttpCall {
    Relay(HttpCall& call, bool& over);
    bool MaySend() const override;
    void OnBody(std::string_view piece, std::size_t kept) override;
    void OnDone(HttpOutcome outcome) override;
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
std::string_view FindHeader(const std::vector<HttpHeader>& headers, std::string_view lower);

struct HttpRequest {
  std::string method = "GET";
  std::string target = "/";  ///< path and query, as they go into the first line
  std::vector<HttpHeader> headers;
  std::string body;

  void Set(std::string name, std::string value);
  std::string_view Header(std::string_view lower) const;
};

struct HttpReply {
  int status = 0;
  std::vector<HttpHeader> headers;
  std::string body;

  std::string_view Header(std::string_view lower) const;
};

/// The bytes of a request; its length is added. Names and values must be such as HTTP allows.
std::string RequestText(const HttpRequest& request);

}  // namespace http1
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

  bool Complete() const;

  std::string Problem() const;
};

class HttpConnection {
 public:
  HttpConnection(const Url& url, std::size_t max_body, std::shared_ptr<TlsClient> tls = nullptr);

  /// Afterwards IsOpen() says whether the connection can take another request.
  Exchanged Send(const http1::HttpRequest& request, SteadyTime deadline);

  bool IsOpen() const;

 private:
  struct One final : hosts::HttpCall {
    void OnDone(hosts::HttpOutcome outcome) override;
    Exchanged reply;
  };

  const std::size_t max_body_;
  hosts::BlockingHost host_;
};

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

std::string Body(const Alert& alert);

/// @throws Error  there was no reply; the coordinator logs it.
void Post(const Url& url, const Alert& alert, const std::shared_ptr<TlsClient>& tls);

}  // namespace alert_web_hook

/// `options.on_alert = dtm::AlertWebHook("http://...")`: POSTs each alert as
/// {"gid","status","branch","error","retry_count"}, within 3 s. `tls`: for https, dtm::Tls() of <dtm/http/tls.hpp>.
/// @throws Error  the URL cannot be called.
std::function<void(const Alert&)> AlertWebHook(const std::string& url,
                                                      std::shared_ptr<TlsClient> tls = nullptr);

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
bool Equal(std::string_view a, std::string_view b);

/// `Bearer <token>`, or Basic with the token as the password: clients that do not support tokens can put
/// it into the URL of the server.
bool CarriesToken(std::string_view authorization, std::string_view token);

/// "localhost:36789" -> "localhost".
std::string_view WithoutPort(std::string_view host);

bool IsLoopback(std::string_view host);

/// Clients of dtm do not send Origin or Sec-Fetch-Site; browsers send them for a foreign page.
bool FromForeignPage(const Headers& headers);

/// The Host header has the name that a page used, so a foreign name that resolves to us (DNS rebinding) is noticed.
Verdict Judge(const Headers& headers, const std::string& token);

/// A ping of a server with a token needs no token, and may use any host name.
Verdict JudgePing(const Headers& headers, const std::string& token);

/// A page holds no data, so it needs no token. Another site may have a link to it, but nothing else of it.
Verdict JudgePage(Headers headers, const std::string& token);

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
nlohmann::json Parse(const std::string& text);

/// @throws BadInput
void CheckObject(const nlohmann::json& json, const std::string& what);

/// @throws BadInput  with what and where.
nlohmann::json ParseObject(const std::string& text, const std::string& what);

/// An object whose keys match without regard to case; null is the same as absent.
class Fields {
 public:
  /// `what` names the object in error messages.
  /// @throws BadInput  a key is there twice.
  Fields(const nlohmann::json& object, std::string what);

  const nlohmann::json* Find(const char* key) const;

  std::string Text(const char* key) const;

  bool Bool(const char* key) const;

  std::int64_t Integer(const char* key, std::int64_t smallest, std::int64_t largest) const;

  std::map<std::string, std::string> Texts(const char* key) const;

  /// Calls `each` with every element; `wanted` says in errors what they must be.
  void Each(const char* key, const char* wanted,
            const std::function<bool(const nlohmann::json&)>& each) const;

  [[noreturn]] void Wrong(const char* key, const std::string& wanted) const;

 private:
  using Field = std::pair<std::string, const nlohmann::json*>;

  std::string what_;
  std::vector<Field> fields_;  ///< in the order of their names
};

}  // namespace json_input
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

  std::string Query(const char* key) const;
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

ApiOutcome InHttp(Outcome&& outcome);

namespace replies {

ApiReply NotFound();

ApiReply OfPage(const ApiPage& page);

ApiReply Of(const ApiOutcome& outcome);

}  // namespace replies

/// An optional sign and digits, as the reference reads them.
std::int64_t QueryInteger(const ApiRequest& request, const char* key, std::int64_t otherwise,
                                 std::int64_t smallest, std::int64_t largest);

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
ApiReply Refusal(int status, const std::string& why);
ApiReply TooLong();

bool MayHaveBody(const std::string& method);

std::size_t CountHeaders(const ApiRequest& request, std::string_view lower);

/// The values of all headers of this name, as one list.
std::string JoinedHeader(const ApiRequest& request, std::string_view lower);

/// Call it once path and headers are set. A target in the absolute form ("GET http://host/api/ping") names the host
/// itself; the Host header does not count then.
void TakeHost(ApiRequest& request);

/// A request for a page (ApiPage), for a ping, or for anything else.
access::Verdict JudgeFor(const ApiRequest& request, bool is_page,
                                const access::Headers& headers, const std::string& token);

/// The refusal of a request that needs no body to be refused.
std::optional<ApiReply> Check(const ApiRequest& request, const std::string& token,
                                     bool is_page = false);

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
  void Answered(const std::string& api, int status, Duration took);
  /// The same for a request that came at `begin`. Without memory it is not counted.
  void AnsweredNow(const char* api, int status, std::chrono::steady_clock::time_point begin);

  std::map<std::string, Api> Get() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Api> apis_;
};

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
void Hide(const std::string& word, std::string& json);

/// The caller gets exactly the meaning of the status, whatever names and texts the body contains.
void HideWords(ApiReply& reply);

/// Success 200, Failure 409, Ongoing 425, else 500 `{"error":"..."}`; 503 if it asks to wait.
ApiReply OfBranch(const Result& result);

}  // namespace replies
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

Definition TransactionOf(const nlohmann::json& body);

/// The headers traceparent and tracestate of a request count as if they were among the branch headers of its transaction,
/// if they are valid and there is no traceparent among these.
void TakeTrace(nlohmann::json& body, std::string_view traceparent,
                      std::string_view tracestate);

/// `req_extra` says how the workflow ended.
void FinishWorkflow(Operations& tm, const nlohmann::json& body, const AnswerCallback& done);

void Submit(Operations& tm, const nlohmann::json& body, const AnswerCallback& done);

void Prepare(Operations& tm, const nlohmann::json& body, const AnswerCallback& done);

void RegisterBranch(Operations& tm, const nlohmann::json& body, const AnswerCallback& done);

/// Who asks for it, and why.
By ByIn(const wire::json_input::Fields& fields);

/// The reason has two names: what dtm's clients send counts.
void Abort(Operations& tm, const nlohmann::json& body, const AnswerCallback& done);

void ForceStop(Operations& tm, const nlohmann::json& body, const AnswerCallback& done);

void SkipBranch(Operations& tm, const nlohmann::json& body, const AnswerCallback& done);

/// A transaction that has ended needs no try; here that is not an error.
void ResetNextCronTime(Operations& tm, const nlohmann::json& body,
                              const AnswerCallback& done);

}  // namespace json_operations
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

  explicit ApiLists(Coordinator& tm);

  /// @throws BadInput    it names no gid.
  /// @throws StoreError  the store cannot be read.
  ApiReply Query(const ApiRequest& request);

  /// The same with its journal, or what `format` names. @throws as Query.
  ApiReply Timeline(const ApiRequest& request);

  /// @throws BadInput    it names no gid.
  /// @throws StoreError  the store cannot be read.
  ApiReply Explain(const ApiRequest& request);

  ApiReply All(const ApiRequest& request);

  ApiReply Nodes(const ApiRequest&);

  /// @throws StoreError  the store cannot be read.
  ApiReply Overview(const ApiRequest&);

  ApiReply ScanValues(const ApiRequest& request);

  /// All values of a category, with a key, or both, as far as they fit.
  ApiReply QueryValues(const ApiRequest& request);

  Json Shown(const Transaction& stored) const;

 private:
  static constexpr std::size_t kPageBytes = std::size_t{4} << 20;

  static bool Flag(const ApiRequest& request, const char* key);
  static std::string TextIn(const ApiRequest& request, const char* key, std::size_t most);
  static void ReadSearch(const ApiRequest& request, ScanFilter& filter);

  static std::string GidOf(const ApiRequest& request);

  /// @throws BadInput  there is no such transaction, so there is no document.
  ApiReply InFormat(const ApiRequest& request, const std::optional<dtm::Timeline>& story,
                    const std::string& format) const;

  ApiReply Exported(const ApiRequest& request, const dtm::Timeline& story) const;

  /// At most `limit` values, and fewer if they are large: the text of a topic may be megabytes.
  KeyValuePage Read(const std::string& category, const std::string& key, std::int64_t position,
                    std::size_t limit);

  /// The subscribers of a topic, without credentials in their URLs.
  static std::string ShownValue(const KeyValue& value);

  static ApiReply Values(const KeyValuePage& page, bool with_position);

  static ApiReply Page(Json transactions, std::int64_t next);

  static Status StatusOf(const std::string& name);

  Coordinator& tm_;
};

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

  ApiRoutes(Coordinator& tm, std::shared_ptr<ApiCounters> counters);

  /// nullptr: no route has this path and method.
  static const Route* Find(const ApiRequest& request);

  /// @throws std::bad_alloc  `done` is not called.
  void Handle(const Route& route, const ApiRequest& request, const ApiDone& done);

 private:
  /// `write` makes the reply from the outcome; without memory for that, the reply has only the status.
  template <typename Write>
  static void Tell(const ApiDone& done, const Answer& answer, const Write& write) {
    ApiReply reply;
    reply.status = 500;
    Answers::Protected([&] { reply = write(InHttp(OutcomeOf(answer))); });
    done(std::move(reply));
  }
  static AnswerCallback AnswerTo(const ApiDone& done);

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

  static void TakeTrace(const ApiRequest& request, nlohmann::json& body);
  static nlohmann::json BodyOf(const ApiRequest& request);

  void JsonRpc(const ApiRequest& request, const ApiDone& done);

  void Subscribe(const ApiRequest& request, const ApiDone& done);
  void Unsubscribe(const ApiRequest& request, const ApiDone& done);
  void DeleteTopic(const ApiRequest& request, const ApiDone& done);

  ApiReply PrepareWorkflow(const ApiRequest& request);

  ApiReply ResetCronTime(const ApiRequest& request);

  ApiReply NewGid(const ApiRequest&);
  ApiReply Version(const ApiRequest&);
  ApiReply Ping(const ApiRequest&);
  ApiReply MetricsText(const ApiRequest&);

  ApiReply Branch(const ApiRequest& request);

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
  explicit Api(Coordinator& tm, std::string token = {});

  /// Before the first request: what is served beside the API.
  void Mount(std::vector<ApiPage> pages);

  std::optional<ApiReply> Refusal(const ApiRequest& head) const;

  /// True if the request reads the store, or runs a function of the program.
  static bool MayBlock(const ApiRequest& request);

  /// `request` is not needed any more when this returns.
  /// @throws std::bad_alloc  `done` is not called.
  void Handle(const ApiRequest& request, const ApiDone& done);

  /// The same, and waits for the reply. @throws std::bad_alloc  and nothing else.
  ApiReply Handle(const ApiRequest& request);

 private:
  const ApiPage* PageOf(const ApiRequest& request) const;

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
  explicit HostLimits(Limits limits);

  /// A host may have four times as many calls in flight as are still free: alone it gets 1,024 of
  /// 1,280, and each host leaves a fifth of what it found, also when several die at once.
  bool MayStart(const Load& host) const;

  /// So many calls in a row had no reply that the host gets few at a time.
  bool Silent(const Load& host) const;

  /// A call to this host starts; Finished has to follow.
  void Started(Load& host);

  /// `silent`: the host timed out or could not be reached. After any reply it has its full share
  /// again.
  void Finished(Load& host, bool silent);

  /// To all hosts together.
  int InFlight() const;

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
  IoThread();

  /// No thread: the program has an event loop, which calls Poll. All that ends or begins with it (Start and Stop of a Server,
  /// Use, Stop and the destructor of a coordinator) is called on that thread, outside Poll. Nothing there may wait for
  /// a URL or for the server itself, so use SubmitAsync, not SubmitAndWait.
  /// @throws Error  no file descriptor is available.
  static std::shared_ptr<IoThread> OfHost();

  /// Does what there is to do, and returns how long the program's loop may sleep unless Fd() becomes readable.
  /// @throws LogicError  it has a thread of its own, this is a forked child, or inside Poll (a callback called it): nothing was done.
  Duration Poll();
  /// @throws LogicError  this is a forked child.
  int Fd() const;

  /// @throws LogicError  this is a forked child.
  transport::IoLoop& Loop() const;

 private:
  static constexpr transport::IoLoop::Clock::duration kLongest = std::chrono::hours(1);

  explicit IoThread(bool thread);

  OfThisProcess<transport::IoLoop> own_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/http/calls/call_queue.hpp -------------------------------------------------------------

/// Which call goes out next: a queue per host, round robin over the hosts.
/// Needs: std. Threads: none inside; the caller holds its own lock. No clock: time is passed in.

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
const HttpBranchOptions& CheckedOptions(const HttpBranchOptions& options);

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
    explicit Host(Url where);
    const Url& Where() const;

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
  CallQueue(const HttpBranchOptions& options, const transport::HeldBytes& held);

  /// Returns the result if the call cannot wait here; else `job` is moved from.
  /// @throws std::bad_alloc  nothing was changed.
  std::optional<Result> Push(Job&& job, SteadyTime now);

  /// A host with a call that may start now, or null. On the thread that changes `held`.
  Host* Next();

  /// Right after Next returned `host`; the next turn is another host's. Unless it is too late for
  /// the call, Return must follow.
  Taken Take(Host& host, SteadyTime now);

  /// A call has ended.
  void Return(Host& host, bool silent, SteadyTime now);

  /// Collects what has become too late, `limit` calls at most, forgets hosts that are not called any more, and returns when
  /// to look again: not after `now` if there is more.
  SteadyTime Check(SteadyTime now, std::size_t limit, std::vector<Ended>& ended);

  /// Closes all connections; nothing is called any more.
  void Disconnect();

  CallLoad Load() const;

 private:
  // A dead host nobody calls is remembered so long, and so many of them.
  static constexpr std::chrono::seconds kRemember{60};
  static constexpr std::size_t kMaxHosts = 4096;

  /// In memory, for its next call.
  bool HasRoom(const Host& host) const;

  Host& HostAt(const Url& url);

  static Result TooLate(const Host& host);

  const HttpBranchOptions options_;
  HostLimits limits_;
  const transport::HeldBytes& held_;
  std::unordered_map<std::string, std::unique_ptr<Host>> hosts_;  ///< by origin
  std::list<Host*> ring_;                                         ///< hosts with waiting calls
  std::size_t waiting_ = 0;
};

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
  void Look(std::string_view piece, std::size_t kept);

  /// The one that counts, or nothing.
  const char* Found() const;

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
  BranchHttpCall(const BranchCall& call, const Url& url, SteadyTime until);

  void OnBody(std::string_view piece, std::size_t kept) override;

  CallOutcome Interpret(hosts::HttpOutcome& outcome, const BranchCall& call, const Url& url) const;

 private:
  using Kind = hosts::HttpOutcome::Kind;

  /// A reply that somebody wants may be as long as what he can keep of it.
  std::size_t Kept() const;

  CallOutcome ToldBy(hosts::HttpOutcome& outcome, const BranchCall& call, const Url& url) const;

  CallOutcome Whole(hosts::HttpOutcome& outcome, const BranchCall& call) const;

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
  explicit UrlCaller(const HttpBranchOptions& options);
  // Inside Poll of its own loop, which is a mistake, it ends the program.
  ~UrlCaller();  // NOLINT(bugprone-exception-escape)

  void Call(std::vector<BranchCall> calls, BranchResults& results);

  CallLoad Load();

  /// Waits for names that are being resolved: getaddrinfo cannot be interrupted.
  /// @throws LogicError  inside Poll of its IoThread: nothing was done.
  void Stop();

 private:
  using Job = CallQueue::Job;
  using Host = CallQueue::Host;

  struct Sent final : BranchHttpCall {
    Sent(UrlCaller& caller, Host& to, Job& sent, SteadyTime until);
    bool MaySend() const override;
    void OnDone(hosts::HttpOutcome outcome) override;
    UrlCaller& owner;
    Host& host;
    Job job;
  };

  // All on the loop.

  void Take(std::vector<BranchCall>& calls, BranchResults& results);

  /// Not all at once: a host to which a thousand wait does not keep the replies of the others waiting.
  void SendWaiting();

  void Send(Host& host, Job& job);

  void OnDone(Sent& sent, hosts::HttpOutcome& outcome);

  void Return(Host& host, bool silent);

  /// It is set already, so this needs no memory.
  void CheckBefore(SteadyTime time);

  /// What waited too long is answered, not all at once for the same reason; hosts that are not called any more are forgotten.
  void OnDeadline() override;

  /// At the end of the turn, with all that came in it.
  void Deliver(Job job, Result result);

  /// Calls begin once in a turn, when all that came in it is known: new calls, free slots, bytes that a call in flight
  /// holds no longer.
  void OnTurnEnd() override;

  /// Whoever gets many results is woken once. The last comes behind the burst: who has all that he waits for may be gone.
  void DeliverAll();

  void Tell(Job& job, Result& result);

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
  explicit HttpBranchCaller(const HttpBranchOptions& options);
  void Call(std::vector<BranchCall> calls, BranchResults& results) override;
  CallLoad Load() override;
  void Stop() override;
  OfThisProcess<UrlCaller> own;
};

/// Each running call takes a file descriptor: `ulimit -n` should be above `limits.total`. One thread serves all of them. A
/// call has the request_timeout of its transaction.
/// @throws LogicError  an option is out of range.
std::unique_ptr<BranchCaller> HttpBranches(const HttpBranchOptions& options = {});

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

Said SaidIn(const Exchanged& reply);

class RemoteRequests {
 public:
  /// @throws Error  it is no URL; LogicError: an option is out of its range.
  RemoteRequests(const std::string& url, RemoteOptions options);

  std::string Where() const;

  Exchanged Post(const char* path, const std::string& gid, std::string body);

  /// @throws InDoubtError  there was no complete answer.
  Exchanged Send(const char* method, const std::string& path, const std::string& gid,
                 std::string body);

  std::string NoAnswer(const std::string& gid) const;

  static std::string MessageOf(const Exchanged& reply);

  static RejectedError Refused(const std::string& gid, const std::string& message);

  /// Yes, or a definite no (Rule B, but read from fields: a gid may contain any word). Any web page may reply 200; dtm
  /// also replies SUCCESS.
  /// @throws InDoubtError, BusyError, RejectedError  it was neither (see Refuse), or the reply is not dtm's.
  bool SaysYes(const std::string& gid, const Exchanged& reply) const;

  InDoubtError NotOfDtm(const std::string& gid, const Exchanged& reply) const;

  /// For a reply that is neither "stored" nor "failed".
  [[noreturn]] void Refuse(const std::string& what, const Exchanged& reply) const;

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

  std::unique_ptr<HttpConnection> TakeIdle();

  void Keep(std::unique_ptr<HttpConnection> exchange);

  Url url_;
  const RemoteOptions options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<HttpConnection>> idle_;
};

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
  explicit RemoteCoordinator(const std::string& url, RemoteOptions options = {});
  /// Takes at most the timeout of one request. Submissions that wait in SubmitAsync are not sent any more; they get a
  /// RejectedError.
  ~RemoteCoordinator() override;
  RemoteCoordinator(const RemoteCoordinator&) = delete;
  RemoteCoordinator& operator=(const RemoteCoordinator&) = delete;

  /// Made here, in dtm's form, without a request.
  std::string NewGid() override;

  TransResult Submit(Definition definition) override;

  /// Polls the coordinator, which does not call back.
  TransResult SubmitAndWait(Definition definition, Duration timeout) override;

  /// Submits on one of a few threads, and calls the callback there, even while this object is being destroyed.
  /// @throws BusyError  20,000 submissions or 32 MiB of them are waiting already.
  void SubmitAsync(Definition definition, AnswerCallback callback) override;

  TransResult Prepare(Definition definition) override;

  void Abort(const std::string& gid, TransType type, const std::string& reason) override;

  void RegisterBranch(const std::string& gid, TransType type, Step step) override;

  WorkflowState PrepareWorkflow(Definition definition) override;

  WorkflowState ResumeWorkflow(Definition definition) override;

  void FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                      const std::string& result) override;

  /// On a connection of its own, with the request timeout of the call (3 s).
  Result CallBranch(const InitiatorCall& call) override;

  std::string UrlOfLocal(const std::string& name, std::uint64_t) const override;

  /// Waits up to `timeout` for the end; returns the status at that time.
  /// @throws InDoubtError   the coordinator did not reply.
  /// @throws RejectedError  there is no such transaction.
  TransResult Wait(const std::string& gid, Duration timeout);

 private:
  /// `besides`: what else is wrong with it.
  static void Check(const Definition& definition, const std::string& besides = {});

  /// A request that is either done or refused.
  void DoneOrRefused(const char* path, const std::string& gid, std::string body);

  static constexpr std::size_t kAsyncThreads = 32;
  static constexpr std::size_t kMaxWaiting = 20000;
  static constexpr std::size_t kMaxWaitingBytes = std::size_t{32} << 20;

  static SteadyTime Now();

  /// A coordinator that is busy is asked again at the time that it says, but not after `end`.
  TransResult WaitUntil(const std::string& gid, SteadyTime end);

  /// A "no" of the Go server may mean that the transaction was rolled back, has succeeded before, is not finished
  /// yet, or that another one has its gid. A query shows which.
  TransResult Settle(const Definition& definition, const std::string& message);

  struct Own {
    Own(const std::string& url, const RemoteOptions& options);
    RemoteRequests requests;
    std::mutex mutex;
    GidGenerator gids;
    std::atomic<bool> stopping{false};
    ThreadPool pool;
  };

  RemoteRequests& Requests() const;

  const RemoteOptions options_;
  OfThisProcess<Own> own_;
};

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

  explicit ReplyQueue(transport::IoLoop& loop);

  /// Comes before the reply is asked for, so that its arrival needs no memory.
  /// @throws std::bad_alloc  it is not expected.
  void Expect();

  void Add(Ticket ticket, ApiReply reply) noexcept;

  /// Swaps what has come into `taken`, which is empty. True: there was something.
  bool Take(std::vector<Arrived>& taken);

  /// The loop may be gone from now on; what comes later is dropped.
  void Close();

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
  void Append(std::string_view bytes);

  /// Until the next change.
  std::string_view View() const;
  /// Keeps only its last `left` bytes.
  void Keep(std::size_t left);
  void Clear();

  bool Empty() const;
  /// The memory that it takes.
  std::size_t Bytes() const;

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
  Parsed TakeHead(std::string_view& bytes);
  bool HasHead() const;
  /// Part of it has come.
  bool Begun() const;

  /// Once it has its head: takes from `bytes` what belongs to the body. Beyond the limit of the API: TooLong.
  Parsed TakeBody(std::string_view& bytes);
  bool TooLong() const;

  /// What is wrong, after kRefused.
  const http1::Refusal& Problem() const;

  const http1::Framing& Framing() const;
  bool OldVersion() const;
  ApiRequest& Request();

  /// For the next one; its memory is used again.
  void Reset();

  /// The memory that it takes.
  std::size_t Bytes() const;

  /// That of a request that is handed over.
  static std::size_t BytesOf(const ApiRequest& request);

 private:
  void Translate();

  void TakeQuery(std::string_view query);

  /// As in forms, a plus is a blank.
  static std::string Decoded(std::string_view text);

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

const char* StatusText(int status);

std::string ReplyText(const ApiReply& reply, const ReplyForm& form);

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
  ~RequestHandler();
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
  ServerConnection(transport::IoLoop& loop, RequestHandler& handler);
  ~ServerConnection() override;

  /// False: the system has no room for it.
  bool Serve(transport::Socket socket);

  /// The server is full. The client is told once it has sent something: a reply to nothing confuses clients.
  bool TurnAway(transport::Socket socket);

  /// The reply to what Handle was given.
  void Reply(const ApiReply& reply);

  /// The server stops. Whoever waits for a reply gets it; no further request is read.
  void Finish();

  bool TurnedAway() const;

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

  void OnBytes(std::string_view bytes) override;

  /// A client that sends faster than we reply has to wait; without room in memory, the reply at hand is its last.
  void KeepAhead(std::string_view bytes);

  /// Reads up to the end of a request; returns what follows it.
  std::string_view Consume(std::string_view bytes);

  /// For what it has and `more`; if not, it is told.
  bool HasRoom(std::size_t more);

  std::string_view Invalid();

  void Ask();

  void Last(const ApiReply& reply);

  void Send(const ApiReply& reply);

  void OnSent() override;

  /// Goes on with what came while the previous request was being answered.
  void Next();

  void OnEnd(bool broken) override;

  void EndOfRequests();

  void OnDeadline() override;

  void Late();

  void OnNoMemory() override;

  void Pause();
  void Resume();

  void Gone();

  void Recount();

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
ListeningSocket ListenOn(const std::string& host, int port);

/// Tries again after accepting has failed for a while, usually for want of descriptors.
class Listener final : public Watcher, Timer {
 public:
  class Receiver {
   public:
    /// It may throw; then the connection is closed.
    virtual void OnConnection(Socket socket) = 0;

   protected:
    ~Receiver();
  };

  Listener(IoLoop& loop, Receiver& receiver, Socket socket);
  ~Listener() override;

  /// False: the system has no room for it.
  bool Open();

  void Close();

 private:
  static constexpr int kAtATime = 64;  ///< others want their turn
  static constexpr std::chrono::milliseconds kPause{10};

  void OnReady(Readiness) override;
  void OnDeadline() override;

  void Accept();

  void Take(int fd);

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
  ApiServer(transport::IoLoop& loop, Coordinator& tm, Api& api, const ServingLimits& limits);
  // Inside Poll of its own loop, which is a mistake, it ends the program.
  ~ApiServer();  // NOLINT(bugprone-exception-escape)
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  /// Once. Returns the port. @throws Error  it cannot listen there.
  int Start(const std::string& host, int port);

  /// Whoever waits for a reply gets it, for at most kLongestStop; what workers do is waited for.
  void Stop();

 private:
  void AwaitReplies();

  static constexpr std::chrono::seconds kLongestStop{8};
  static constexpr std::size_t kMaxWorkers = 64;
  static constexpr std::size_t kMaxTurnedAway = 256;
  static constexpr std::size_t kMaxSpare = 8;
  static constexpr std::size_t kMaxSpareBytes = std::size_t{16} * 1024;

  // What the listener and the connections want, on the loop.

  void OnConnection(transport::Socket socket) override;

  const ServingLimits& Limits() const override;
  transport::HeldBytes& Held() override;
  std::optional<ApiReply> Refusal(const ApiRequest& head) override;

  std::unique_ptr<IncomingRequest> NewRequest() override;
  void UseAgain(std::unique_ptr<IncomingRequest> request) override;

  std::size_t Handle(ServerConnection& connection, ApiRequest& request) override;

  void Work(const ApiRequest& request, Ticket ticket);

  void Drop(ServerConnection& connection) override;

  void OnTurnEnd() override;

  void Reply(const ReplyQueue::Arrived& arrived);

  template <typename Function>
  void ForEach(const Function& function) {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      if (connections_[i] != nullptr) function(*connections_[i]);
    }
  }

  void Count(int change);

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
  explicit Server(Coordinator& tm, ServerOptions options = {});
  Server(Coordinator&& tm, ServerOptions options = {}) = delete;
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Serves the desk too, at /desk: a page for people, with what the API shows and allows (docs/desk.md). The page itself
  /// needs no token, and asks for it.
  /// @throws LogicError  the server listens already.
  void MountDesk();

  /// Serves on one thread for all connections (ServerOptions::io), and up to 64 for what reads the store or runs a function of
  /// the program. `host` is an address or name of this machine, such as "127.0.0.1", "::1" or "0.0.0.0"; port 0: any that is
  /// free. Returns the port; connections are accepted from then on.
  /// @throws Error       it cannot listen there, the address is not the loopback and there is no token, or the token has
  ///                     characters that it may not have.
  /// @throws LogicError  it listens already.
  int Start(const std::string& host, int port);

  /// The same, and returns when Stop was called.
  /// @throws LogicError  `io` has no thread: use Start.
  void Listen(const std::string& host, int port);

  /// Takes no new requests, and lets the present ones end: at most 6 s if one waits for a result (at once if the
  /// coordinator was stopped before), and as long as a function of the program takes. Then the server can be started again.
  /// @throws LogicError  inside Poll of its IoThread, or this is a forked child: nothing was done.
  void Stop();

 private:
  struct Serving {
    Serving(std::shared_ptr<IoThread> its_io, Coordinator& tm, Api& api,
            const serving::ServingLimits& limits);
    std::shared_ptr<IoThread> io{};
    serving::ApiServer server;
  };
  struct Own {
    std::mutex mutex;
    std::condition_variable stopped;
    std::unique_ptr<Serving> serving;
  };

  static void End(Own& own);

  void CheckPlace(const std::string& host) const;

  serving::ServingLimits Limits() const;

  const ServerOptions options_;
  Coordinator& tm_;
  Api api_;
  OfThisProcess<Own> own_{"server"};
};

}  // namespace v1
}  // namespace dtm

namespace dtm {
inline namespace v1 {
namespace compiled {
/// The linker does not find it: what is linked is not the http.cpp of this header, or was compiled with another
/// nlohmann/json or with other flags.
void http_cpp_of_version_0_1_0_64ecdf526a52(Here);
[[gnu::used]] static void (*const k_http_cpp)(Here) = &http_cpp_of_version_0_1_0_64ecdf526a52;
}  // namespace compiled
}  // namespace v1
}  // namespace dtm
