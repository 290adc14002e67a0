/// One request through httplib's server before main(), for the thread sanitizer. Debian's httplib is
/// a compiled library without instrumentation: the threads that initialise its function statics (the
/// set of methods, say) and those that read them are ordered by a guard that TSan cannot see, and it
/// reports a race that is none. A suppression would hide all that runs below the server.
/// Needs: httplib. Threads: one, joined before main().
#include <thread>

#include <httplib.h>

namespace {

bool Warm() {
  httplib::Server server;
  server.Get("/", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("0123456789", "text/plain");
  });
  const int port = server.bind_to_any_port("127.0.0.1");
  std::thread listener([&server] { server.listen_after_bind(); });
  httplib::Client client("127.0.0.1", port);
  const bool plain = static_cast<bool>(client.Get("/"));
  const bool part = static_cast<bool>(client.Get("/", httplib::Headers{{"Range", "bytes=1-3"}}));
  const bool post = static_cast<bool>(client.Post("/", "{}", "application/json"));
  server.stop();
  listener.join();
  return plain && part && post;
}

const bool warm = Warm();

}  // namespace
