/// A MariaDB server for the tests of one process, and what tests do with it.
/// Needs: libmariadb, tools/with_mariadb.sh. Threads: by one thread at a time; connections as the library has it.
#pragma once

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <sys/types.h>
#include <thread>

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

  /// Returns when none of its threads runs any more: they stop one after the other.
  void Stop() const {
    ::kill(Pid(), SIGSTOP);
    while (Runs()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  void GoOn() const { ::kill(Pid(), SIGCONT); }
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
  bool Runs() const {
    const std::filesystem::path threads = "/proc/" + std::to_string(Pid()) + "/task";
    for (const auto& thread : std::filesystem::directory_iterator(threads)) {
      std::ifstream file(thread.path() / "stat");
      const std::string stat((std::istreambuf_iterator<char>(file)), {});
      const std::size_t name_ends = stat.rfind(") ");
      if (name_ends != std::string::npos && stat[name_ends + 2] != 'T') return true;
    }
    return false;
  }

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
