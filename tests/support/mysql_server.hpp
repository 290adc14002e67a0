/// A MariaDB server for the tests of one process, and what tests do with it.
/// Needs: libmariadb, tools/with_mariadb.sh. Threads: by one thread at a time; connections as the library has it.
#pragma once

#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <sys/types.h>

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
  dtm::MysqlAddress Address() const {
    dtm::MysqlAddress address;
    address.port = static_cast<unsigned>(std::atoi(process_.Get("DTM_MYSQL_PORT").c_str()));
    address.user = process_.Get("DTM_MYSQL_USER");
    address.database = process_.Get("DTM_MYSQL_DATABASE");
    return address;
  }

  void Signal(int signal) const { ::kill(Pid(), signal); }
  /// As by a power loss.
  void Kill() { server_.Kill(Pid()); }
  /// After Kill; returns when it accepts connections.
  void Start() {
    server_.Start(process_.Get("DTM_MYSQL_START"), [this] {
      try {
        dtm::MysqlConnection connection(Address());
        return true;
      } catch (const dtm::SqlError&) {
        return false;
      }
    });
  }

 private:
  MysqlServer()
      : process_("with_mariadb.sh", {"DTM_MYSQL_PORT", "DTM_MYSQL_USER", "DTM_MYSQL_DATABASE",
                                     "DTM_MYSQL_PID", "DTM_MYSQL_START"}) {}

  pid_t Pid() const { return Restarts::ReadPid(process_.Get("DTM_MYSQL_PID")); }

  ServerProcess process_;
  Restarts server_{SIGTERM};
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
