/// A PostgreSQL server for the tests of one process, and what tests do with it.
/// Needs: libpq, tools/with_postgres.sh. Threads: by one thread at a time; connections as libpq has it.
#pragma once

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>
#include <sys/types.h>
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
    const pid_t pid = Restarts::ReadPid(process_.Get("DTM_POSTGRES_DATA") + "/postmaster.pid");
    // Its processes would go on without it until they look.
    std::ifstream children("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) +
                           "/children");
    std::vector<pid_t> pids;
    for (pid_t child = 0; children >> child;) pids.push_back(child);
    server_.Kill(pid);
    for (const pid_t each : pids) ::kill(each, SIGKILL);
  }
  /// After Kill; returns when it accepts connections.
  void Start() {
    server_.Start(process_.Get("DTM_POSTGRES_START"),
                  [this] { return PQping(Conninfo().c_str()) == PQPING_OK; });
  }

 private:
  PostgresServer()
      : process_("with_postgres.sh", {"DTM_POSTGRES", "DTM_POSTGRES_DATA", "DTM_POSTGRES_START"}) {}

  ServerProcess process_;
  Restarts server_{SIGINT};
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
