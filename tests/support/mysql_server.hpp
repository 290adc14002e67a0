/// A MariaDB server for the tests of one process, and what tests do with it.
/// Needs: libmariadb, tools/with_mariadb.sh. Threads: by one thread at a time; connections as the library has it.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <sys/types.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "tests/support/server_process.hpp"
#include <dtm/sql/mysql.hpp>

namespace dtm_test {

class MysqlServer {
 public:
  /// One for each test process, started when it is first asked for.
  static MysqlServer& Shared() {
    static MysqlServer server;
    return server;
  }
  ~MysqlServer() {
    if (restarted_ <= 0) return;
    ::kill(restarted_, SIGTERM);
    ::waitpid(restarted_, nullptr, 0);
  }

  dtm::MysqlAddress Address() const {
    dtm::MysqlAddress address;
    address.port = static_cast<unsigned>(std::atoi(process_.Get("DTM_MYSQL_PORT").c_str()));
    address.user = process_.Get("DTM_MYSQL_USER");
    address.database = process_.Get("DTM_MYSQL_DATABASE");
    return address;
  }

  /// As by a power loss.
  void Kill() {
    std::ifstream file(process_.Get("DTM_MYSQL_PID"));
    pid_t pid = 0;
    file >> pid;
    if (pid <= 0) throw std::runtime_error("no pid of the server");
    ::kill(pid, SIGKILL);
    if (pid == restarted_) ::waitpid(pid, nullptr, 0);
    restarted_ = 0;
  }
  /// After Kill; returns when it accepts connections.
  void Start() {
    const std::string command = process_.Get("DTM_MYSQL_START");
    for (int attempt = 0; attempt < 400; ++attempt) {
      if (restarted_ <= 0 || ::waitpid(restarted_, nullptr, WNOHANG) == restarted_) {
        restarted_ = ::fork();
        if (restarted_ == 0) {
          ::execl("/bin/bash", "bash", "-c", command.c_str(), nullptr);
          ::_exit(127);
        }
      }
      try {
        dtm::MysqlConnection connection(Address());
        return;
      } catch (const dtm::SqlError&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
    }
    throw std::runtime_error("the server did not start again");
  }

 private:
  MysqlServer()
      : process_("with_mariadb.sh", {"DTM_MYSQL_PORT", "DTM_MYSQL_USER", "DTM_MYSQL_DATABASE",
                                     "DTM_MYSQL_PID", "DTM_MYSQL_START"}) {}

  ServerProcess process_;
  pid_t restarted_ = 0;
};

/// The first column of the first row; "" if there is none.
inline std::string Ask(MYSQL* connection, const std::string& sql) {
  if (mysql_query(connection, sql.c_str()) != 0) {
    throw std::runtime_error(sql + ": " + mysql_error(connection));
  }
  MYSQL_RES* const rows = mysql_store_result(connection);
  if (rows == nullptr) return "";
  const MYSQL_ROW row = mysql_fetch_row(rows);
  const std::string value = row != nullptr && row[0] != nullptr ? row[0] : "";
  mysql_free_result(rows);
  return value;
}

}  // namespace dtm_test
