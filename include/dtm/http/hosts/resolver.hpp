/// Finds the addresses of a name on threads that may wait, and reports them on the loop.
/// Needs: POSIX. Threads: that of the loop; the lookup runs on others.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/thread_pool.hpp>
#include <dtm/http/transport/io_loop.hpp>
#include <dtm/http/transport/look_up.hpp>
#include <dtm/http/transport/socket.hpp>

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
