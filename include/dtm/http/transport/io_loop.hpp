/// One thread for all sockets, their deadlines, and what other threads hand to it. Nothing that runs on it may wait.
/// Needs: Linux (poller.hpp). Threads: Post and Stop come from any; everything else belongs to the thread of the loop.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/http/transport/poller.hpp>
#include <dtm/http/transport/timers.hpp>

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
