/// A guarded server that listens on the loopback, and clients of it.
/// Needs: POSIX sockets on loopback. Threads: one of its own; used by the thread of the test.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include <dtm/http/httplib/guarded_server.hpp>

namespace dtm_test {

inline const char kHost[] = "127.0.0.1";

inline dtm::guard::ServerLimits Limits(int max_connections, int seconds = 30) {
  dtm::guard::ServerLimits limits;
  limits.max_connections = max_connections;
  limits.head = limits.body = limits.idle = std::chrono::seconds(seconds);
  return limits;
}

/// A server that listens. `/ok` answers with the body of the request, `/wait` when it may.
class Running {
 public:
  explicit Running(const dtm::guard::ServerLimits& limits = Limits(20))
      : server(std::make_unique<dtm::guard::GuardedServer>(limits)) {
    const auto echo = [this](const httplib::Request& request, httplib::Response& response) {
      ++handled;
      response.set_content(request.method == "GET" ? "ok" : request.body, "text/plain");
    };
    server->Get("/ok", echo);
    server->Post("/ok", echo);
    server->Get("/wait", [this](const httplib::Request&, httplib::Response& response) {
      begun.set_value();
      gate.get_future().wait();
      response.set_content("waited", "text/plain");
    });
    server->Get("/big", [](const httplib::Request&, httplib::Response& response) {
      response.set_content(std::string(std::size_t{32} << 20, 'x'), "text/plain");
    });
    server->Post("/close", [](const httplib::Request&, httplib::Response& response,
                              const httplib::ContentReader&) {  // leaves the body where it is
      response.status = 413;
      response.set_header("Connection", "close");
    });
    port = server->Bind(kHost, 0);
    thread = std::thread([this] { server->Listen(); });
  }
  ~Running() { Stop(); }

  /// Stops it, joins its thread and destroys it; how long that took.
  Ms Stop() {
    const auto start = Clock::now();
    if (server) server->Stop();
    if (thread.joinable()) thread.join();
    server.reset();
    return std::chrono::duration_cast<Ms>(Clock::now() - start);
  }

  std::unique_ptr<dtm::guard::GuardedServer> server;
  int port = 0;
  std::thread thread;
  std::promise<void> begun, gate;  ///< of /wait
  std::atomic<int> handled{0};     ///< requests of /ok
};

/// A client that got an answer, and keeps its connection.
inline RawClient Idle(int port) {
  RawClient client(port);
  client.Send(Get("/ok"));
  CHECK(client.Read().body == "ok");
  return client;
}

}  // namespace dtm_test
