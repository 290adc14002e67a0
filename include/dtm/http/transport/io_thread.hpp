/// The thread of an event loop, which a Server and callers of URLs may share.
/// Needs: POSIX. Threads: thread-safe.
#pragma once

#include <dtm/base/of_this_process.hpp>
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
  IoThread() : own_("I/O thread") { own_.Get().Start(); }

  /// @throws LogicError  this is a forked child.
  transport::IoLoop& Loop() const { return own_.Get(); }

 private:
  OfThisProcess<transport::IoLoop> own_;
};

}  // namespace v1
}  // namespace dtm
