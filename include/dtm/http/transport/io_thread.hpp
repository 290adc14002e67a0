/// The thread of an event loop, which a Server and callers of URLs may share: one of its own, or that of the program.
/// Needs: POSIX. Threads: thread-safe; see OfHost.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>

#include <dtm/base/error.hpp>
#include <dtm/base/of_this_process.hpp>
#include <dtm/base/time.hpp>
#include <dtm/http/transport/io_loop.hpp>

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
