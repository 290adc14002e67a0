/// Serves a coordinator over dtm's HTTP API, to programs in any language.
/// Needs: POSIX. Threads: thread-safe; the coordinator must outlive the server.
/// Protocol: §2; document: docs/http_api.md.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/base/of_this_process.hpp>
#include <dtm/base/option_range.hpp>
#include <dtm/base/os.hpp>
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/http/api/access.hpp>
#include <dtm/http/api/api.hpp>
#include <dtm/http/desk/desk.hpp>
#include <dtm/http/serving/api_server.hpp>
#include <dtm/http/transport/io_thread.hpp>

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
