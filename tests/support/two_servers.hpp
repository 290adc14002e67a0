/// Two dtm-server on one database, for tests over HTTP that run a second time, each request at either by chance:
///   DTM_NODES=PATH_OF_dtm-server [DTM_NODES_SEED=N] tools/with_postgres.sh TEST...   (or tools/with_mariadb.sh)
/// Needs: POSIX, psql or mariadb, what these scripts export. Threads: one thread.
#pragma once

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <sys/types.h>
#include <unistd.h>

#include "tests/support/temp_dir.hpp"

namespace dtm_test {

/// The same choices again: it is said once, and DTM_NODES_SEED sets it.
inline std::mt19937_64& NodeRandom() {
  static std::mt19937_64 random = [] {
    const char* const given = std::getenv("DTM_NODES_SEED");
    const std::uint64_t seed =
        given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::printf("DTM_NODES_SEED=%llu\n", static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    return std::mt19937_64(seed);
  }();
  return random;
}

class TwoServers {
 public:
  /// Whether this is the run at two nodes.
  static bool Asked() { return std::getenv("DTM_NODES") != nullptr; }

  /// `token`: of both; may be empty.
  explicit TwoServers(const std::string& token = {}) {
    static int count = 0;
    const std::string name = "t" + std::to_string(::getpid()) + "_" + std::to_string(++count);
    std::string settings = "DTM_TOKEN='" + token + "' ";
    std::string store;
    if (const char* const postgres = std::getenv("DTM_POSTGRES")) {
      settings += "STORE_SCHEMA=" + name + " ";
      store = postgres;
    } else {
      const std::string login = Variable("DTM_MYSQL_USER");
      if (std::system(("mariadb --no-defaults --socket=" + Variable("DTM_MYSQL_SOCKET") + " -u " +
                       login + " -e 'CREATE DATABASE " + name + "'")
                          .c_str()) != 0) {
        throw std::runtime_error("no database could be made");
      }
      store = "mysql://" + login + "@" + Variable("DTM_MYSQL_HOST") + ":" +
              Variable("DTM_MYSQL_PORT") + "/" + name;
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      nodes_[i] = std::make_unique<Node>(settings + "NODE_NAME=" + std::to_string(i), store);
    }
  }

  /// Of one of them, by chance.
  int Port() const { return nodes_[NodeRandom()() % nodes_.size()]->port; }

 private:
  static std::string Variable(const char* name) {
    const char* const value = std::getenv(name);
    if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set");
    return value;
  }

  struct Node {
    Node(const std::string& settings, const std::string& store) {
      const std::string command =
          "echo $$; cd " + directory.Path() + " && exec setpriv --pdeathsig KILL env " + settings +
          " '" + Variable("DTM_NODES") + "' --store '" + store + "' --listen 127.0.0.1:0 2>>log";
      said = ::popen(command.c_str(), "r");
      std::array<char, 4096> line{};
      if (said != nullptr && std::fgets(line.data(), line.size(), said) != nullptr) {
        pid = std::atoi(line.data());
      }
      std::string ready;
      if (pid > 0 && std::fgets(line.data(), line.size(), said) != nullptr) ready = line.data();
      const std::size_t at = ready.find("http://127.0.0.1:");
      if (at == std::string::npos) {
        const std::string log = ReadFile(directory / "log");
        End();
        throw std::runtime_error("dtm-server does not start: " + ready + log);
      }
      port = std::atoi(ready.c_str() + at + 17);
    }
    ~Node() { End(); }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    void End() const {
      if (pid > 0) ::kill(pid, SIGKILL);
      if (said != nullptr) ::pclose(said);
    }

    TempDir directory;
    FILE* said = nullptr;
    pid_t pid = -1;
    int port = 0;
  };

  std::array<std::unique_ptr<Node>, 2> nodes_;
};

}  // namespace dtm_test
