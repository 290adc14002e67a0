/// A Galera cluster of three nodes for the tests of one process.
/// Needs: libmariadb, tools/with_galera.sh. Threads: by one thread at a time; connections as the library has it.
#pragma once

#include <array>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <string>
#include <sys/types.h>

#include "tests/support/server_process.hpp"
#include <dtm/sql/mysql.hpp>

namespace dtm_test {

class GaleraServer {
 public:
  /// One for each test process, started when it is first asked for.
  static GaleraServer& Shared() {
    static GaleraServer cluster;
    return cluster;
  }

  /// `node`: 0 to 2.
  dtm::MysqlAddress Address(std::size_t node) const {
    dtm::MysqlAddress address;
    address.port = static_cast<unsigned>(std::atoi(addresses_[node].c_str() + 10));  // 127.0.0.1:
    address.user = process_.Get("DTM_GALERA_USER");
    address.database = process_.Get("DTM_GALERA_DATABASE");
    return address;
  }

  /// As by a power loss, and for good.
  void Kill(std::size_t node) { ::kill(static_cast<pid_t>(std::stol(pids_[node])), SIGKILL); }

 private:
  GaleraServer()
      : process_("with_galera.sh",
                 {"DTM_GALERA", "DTM_GALERA_USER", "DTM_GALERA_DATABASE", "DTM_GALERA_PIDS"}) {
    std::istringstream(process_.Get("DTM_GALERA")) >> addresses_[0] >> addresses_[1] >>
        addresses_[2];
    std::istringstream(process_.Get("DTM_GALERA_PIDS")) >> pids_[0] >> pids_[1] >> pids_[2];
  }

  ServerProcess process_;
  std::array<std::string, 3> addresses_;
  std::array<std::string, 3> pids_;
};

}  // namespace dtm_test
