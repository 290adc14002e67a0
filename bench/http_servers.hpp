/// Starts the servers that are compared, each with an empty store in a folder of its own: dtm-server
/// of this project, and the Go server on boltdb (its default) or on a Redis with its default
/// durability; and both on a database that runs already (tools/with_*.sh), where the tables of the Go server have to be. All on free ports of loopback, and gone with this program.
/// Needs: Linux, cpp-httplib. Threads: none may run yet.
#pragma once

#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include <httplib.h>

#include "bench.hpp"
#include "child.hpp"
#include "http_wire.hpp"
#include "process.hpp"

namespace bench {

/// Paths; an empty one is not measured.
struct Programs {
  std::string ours;
  std::string go;
  std::string redis;
};

/// A program with its output in a file.
class Service {
 public:
  Service(const std::string& folder, const std::vector<std::string>& command,
          const std::vector<std::string>& environment = {})
      : name_(command.front()),
        log_(folder + "/" + std::filesystem::path(name_).filename().string() + ".log"),
        child_([&] { Become(folder, command, environment); }) {}
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  ~Service() { child_.Stop(std::chrono::seconds(10)); }

  pid_t Pid() const { return child_.Pid(); }

  /// Asks until `ready`.
  template <typename Ready>
  void WaitUntil(Ready ready) {
    const Watch watch;
    while (!ready()) {
      if (!child_.Running() || watch.Wall() > 20) {
        std::ostringstream log;
        log << std::ifstream(log_).rdbuf();
        throw std::runtime_error(name_ + " did not come up; it says: " + log.str());
      }
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }

 private:
  [[noreturn]] void Become(const std::string& folder, const std::vector<std::string>& command,
                           const std::vector<std::string>& environment) const {
    const int log = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (log < 0 || ::chdir(folder.c_str()) != 0) throw std::runtime_error("no folder " + folder);
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    for (const std::string& variable : environment) {
      const std::size_t equals = variable.find('=');
      ::setenv(variable.substr(0, equals).c_str(), variable.substr(equals + 1).c_str(), 1);
    }
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execvp(arguments.front(), arguments.data());
    throw std::runtime_error(name_ + " cannot be started");
  }

  std::string name_;
  std::string log_;
  Child child_;
};

inline int FreePort() { return HttpWire().Port(); }

inline bool Connects(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(port);
  const bool connects =
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return connects;
}

/// The body of a successful answer.
inline std::optional<std::string> Get(int port, const std::string& target) {
  const auto answer = httplib::Client("127.0.0.1", port).Get(target.c_str());
  if (!answer || answer->status != 200) return std::nullopt;
  return answer->body;
}

class ServerUnderTest {
 public:
  /// Which one: its name and that of its store, as in the results.
  struct Kind {
    std::string server;  ///< ours, go
    std::string store;   ///< sqlite, boltdb, redis; postgres, mysql
  };

  ServerUnderTest(const Programs& programs, const Kind& kind, const std::string& folder)
      : folder_(folder + "/" + kind.server + "_" + kind.store), port_(FreePort()) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    ::sync();  // what others wrote is not its business
    const std::string port = std::to_string(port_);
    if (kind.store == "redis") StartRedis(programs.redis);
    const Watch watch;
    if (kind.server == "ours") {
      const bool file = kind.store == "sqlite";
      server_.emplace(folder_,
                      std::vector<std::string>{programs.ours, file ? "--db" : "--store",
                                               file ? folder_ + "/dtm.db" : UrlOf(kind.store),
                                               "--listen", "127.0.0.1:" + port});
    } else {
      std::vector<std::string> environment = {"HTTP_PORT=" + port,
                                              "GRPC_PORT=" + std::to_string(FreePort()),
                                              "JSON_RPC_PORT=" + std::to_string(FreePort()),
                                              "STORE_DRIVER=" + kind.store, "LOG_LEVEL=error"};
      if (redis_) {
        environment.push_back("STORE_HOST=127.0.0.1");
        environment.push_back("STORE_PORT=" + std::to_string(redis_port_));
      } else if (kind.store != "boltdb") {
        for (const std::string& variable : GoStore(kind.store)) environment.push_back(variable);
      }
      server_.emplace(folder_, std::vector<std::string>{programs.go}, environment);
    }
    server_->WaitUntil([this] { return Connects(port_) && Get(port_, "/api/dtmsvr/newGid"); });
    first_answer_ = watch.Wall();
  }
  ServerUnderTest(const ServerUnderTest&) = delete;
  ServerUnderTest& operator=(const ServerUnderTest&) = delete;
  ~ServerUnderTest() {
    server_.reset();
    redis_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  int Port() const { return port_; }
  double FirstAnswer() const { return first_answer_; }  ///< seconds since it was started
  std::vector<NamedProcess> Processes() const {
    std::vector<NamedProcess> processes = {{"server", server_->Pid()}};
    if (redis_) processes.push_back({"store", redis_->Pid()});
    return processes;
  }

 private:
  /// Of the server that tools/with_*.sh has started.
  static std::string PortOf(const std::string& store) {
    const char* const said = std::getenv(store == "mysql" ? "DTM_MYSQL_PORT" : "DTM_POSTGRES");
    if (said == nullptr) throw std::runtime_error("no " + store + "; bench/run.sh stores has it");
    const std::string text = said;
    const std::size_t port = store == "mysql" ? 0 : text.find(" port=") + 6;
    return text.substr(port, text.find(' ', port) - port);
  }
  static std::string UrlOf(const std::string& store) {
    return store == "mysql" ? "mysql://root@127.0.0.1:" + PortOf(store) + "/dtm_example"
                            : "postgres://dtm@127.0.0.1:" + PortOf(store) + "/postgres";
  }
  static std::vector<std::string> GoStore(const std::string& store) {
    const bool mysql = store == "mysql";
    return {"STORE_HOST=127.0.0.1", "STORE_PORT=" + PortOf(store),
            std::string("STORE_USER=") + (mysql ? "root" : "dtm"),
            std::string("STORE_PASSWORD=") + (mysql ? "" : "none"),
            std::string("STORE_DB=") + (mysql ? "dtm" : "postgres")};
  }

  void StartRedis(const std::string& program) {
    redis_port_ = FreePort();
    redis_.emplace(folder_,
                   std::vector<std::string>{program, "--bind", "127.0.0.1", "--port",
                                            std::to_string(redis_port_), "--dir", folder_});
    redis_->WaitUntil([this] { return Connects(redis_port_); });
  }

  std::string folder_;
  int port_;
  int redis_port_ = 0;
  double first_answer_ = 0;
  std::optional<Service> redis_;
  std::optional<Service> server_;
};

/// What a program takes on the disk without symbols, in MB; 0 if that cannot be told.
inline double StrippedMegabytes(const std::string& program, const std::string& folder) {
  const TempFile stripped(folder + "/stripped");
  std::error_code error;
  try {
    Child([&] {
      ::execlp("strip", "strip", "-o", stripped.Path().c_str(), program.c_str(), nullptr);
    }).Wait();
  } catch (const std::exception&) {
    return 0;
  }
  const auto size = std::filesystem::file_size(stripped.Path(), error);
  return error ? 0 : static_cast<double>(size) / 1e6;
}

}  // namespace bench
