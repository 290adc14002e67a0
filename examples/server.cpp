/// dtm-server: the coordinator as a program of its own, with dtm's HTTP API.
/// Needs: dtm/http.hpp, POSIX; the drivers of databases if CMake found them. `dtm-server --help` says how it is used.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <utility>
#include <vector>

#include <sqlite3.h>

#include "server_config.hpp"
#include <dtm/http.hpp>

namespace {

/// A connection and a branch call take a file descriptor each.
void AllowManyFiles() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

/// Others may hang: a resolver, a web hook, a client that does not read its answer. What was accepted is in the file.
void EndWithin(std::chrono::milliseconds limit) {
  std::thread([limit] {
    std::this_thread::sleep_for(limit);
    std::fputs("dtm-server: something hangs, so it ends without waiting longer\n", stderr);
    std::_Exit(0);
  }).detach();
}

int Serve(ServerConfig config) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);  // before any thread, so that all inherit it
  AllowManyFiles();
  sqlite3_config(SQLITE_CONFIG_PAGECACHE, nullptr, 0, 0);  // no pages in advance: 0.2 MB when idle

  SharedDatabase shared;
  if (!config.store.url.empty()) shared = OpenSharedDatabase(config.store);
  const std::string store = shared.store != nullptr ? shared.name : config.db;
  std::optional<dtm::Coordinator> coordinator;
  if (shared.store != nullptr) {
    coordinator.emplace(std::move(shared.store), config.coordinator);
  } else {
    coordinator.emplace(config.db, config.coordinator);
  }
  dtm::Coordinator& tm = *coordinator;
  const auto io = std::make_shared<dtm::IoThread>();
  dtm::HttpBranchOptions calls;
  calls.io = io;
  calls.tls = ServerTls();
  tm.Use(dtm::HttpBranches(calls));
  config.server.io = io;
  dtm::Server server(tm, config.server);
  if (config.desk) server.MountDesk();
  const int port = server.Start(config.host, config.port);
  tm.Start();
  const bool ipv6 = config.host.find(':') != std::string::npos;
  const std::string host = ipv6 ? "[" + config.host + "]" : config.host;
  std::printf("dtm-server %s is ready at http://%s:%d/api/dtmsvr, store %s%s\n", dtm::kVersion,
              host.c_str(), port, store.c_str(), config.desk ? ", desk at /desk" : "");
  std::fflush(stdout);

  int signal = 0;
  (void)sigwait(&stop, &signal);
  EndWithin(std::chrono::milliseconds(1800));
  // First the coordinator: who waits for a result is answered 425 at once. What is unfinished goes on at the next start.
  (void)tm.Stop(std::chrono::seconds(1));
  server.Stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const ServerConfig config = ReadConfig(std::vector<std::string>(argv + 1, argv + argc));
    if (config.help) return std::fputs(kHelp, stdout) < 0 ? 1 : 0;
    if (config.version) return std::printf("dtm-server %s\n", dtm::kVersion) < 0 ? 1 : 0;
    return Serve(config);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dtm-server: %s\n", error.what());
    return 1;
  }
}
