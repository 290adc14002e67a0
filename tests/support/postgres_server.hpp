/// A PostgreSQL server for the tests of one process, and what tests do with it.
/// Needs: libpq, tools/with_postgres.sh. Threads: by one thread at a time; connections as libpq has it.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>
#include <sys/types.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/support/server_process.hpp"
#include <dtm/sql/postgres.hpp>

namespace dtm_test {

class PostgresServer {
 public:
  /// One for each test process, started when it is first asked for.
  static PostgresServer& Shared() {
    static PostgresServer server;
    return server;
  }
  ~PostgresServer() {
    if (restarted_ <= 0) return;
    ::kill(restarted_, SIGINT);
    ::waitpid(restarted_, nullptr, 0);
  }

  const std::string& Conninfo() const { return process_.Get("DTM_POSTGRES"); }
  /// As Conninfo, but over TCP and this port: for a proxy.
  std::string ConninfoAt(int port) const {
    return "host=127.0.0.1 port=" + std::to_string(port) + " user=dtm dbname=postgres";
  }
  int Port() const {
    const std::size_t at = Conninfo().find("port=");
    return std::atoi(Conninfo().c_str() + at + 5);
  }

  /// As by a power loss.
  void Kill() {
    std::ifstream file(process_.Get("DTM_POSTGRES_DATA") + "/postmaster.pid");
    pid_t pid = 0;
    file >> pid;
    if (pid <= 0) throw std::runtime_error("no pid of the server");
    // Its processes would go on without it until they look.
    std::ifstream children("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) +
                           "/children");
    std::vector<pid_t> pids{pid};
    for (pid_t child = 0; children >> child;) pids.push_back(child);
    for (const pid_t each : pids) ::kill(each, SIGKILL);
    if (pid == restarted_) ::waitpid(pid, nullptr, 0);
    restarted_ = 0;
  }
  /// After Kill; returns when it accepts connections.
  void Start() {
    const std::string command = process_.Get("DTM_POSTGRES_START");
    for (int attempt = 0; attempt < 200; ++attempt) {
      if (restarted_ <= 0 || ::waitpid(restarted_, nullptr, WNOHANG) == restarted_) {
        restarted_ = ::fork();  // again while processes of the killed one are still there
        if (restarted_ == 0) {
          ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
          ::_exit(127);
        }
      }
      if (PQping(Conninfo().c_str()) == PQPING_OK) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    throw std::runtime_error("the server did not start again");
  }

 private:
  PostgresServer()
      : process_("with_postgres.sh", {"DTM_POSTGRES", "DTM_POSTGRES_DATA", "DTM_POSTGRES_START"}) {}

  ServerProcess process_;
  pid_t restarted_ = 0;
};

/// The first column of the first row; "" if there is none.
inline std::string Ask(PGconn* connection, const std::string& sql) {
  PGresult* const result = PQexec(connection, sql.c_str());
  const ExecStatusType status = PQresultStatus(result);
  std::string value;
  if (status == PGRES_TUPLES_OK && PQntuples(result) > 0) value = PQgetvalue(result, 0, 0);
  const std::string error =
      status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK ? "" : PQresultErrorMessage(result);
  PQclear(result);
  if (!error.empty()) throw std::runtime_error(sql + ": " + error);
  return value;
}

}  // namespace dtm_test
