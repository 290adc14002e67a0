/// The two coordinators: the Go server, as a process, and ours, in this process behind its HTTP API, or where
/// DTM_COORDINATOR says (`run.py --shared` sets it: two processes on one database).
/// Needs: POSIX, tools/go_dtm.sh, dtm/http.hpp. Threads: Post and Get from any.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <httplib.h>

#include "tests/support/free_port.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/http.hpp>

#ifndef DTM_SOURCE_DIR
#define DTM_SOURCE_DIR "."
#endif

namespace dtm_test {

struct HttpReply {
  int status = 0;
  std::string body;
};

class Peer {
 public:
  explicit Peer(std::string name) : name_(std::move(name)) {}
  virtual ~Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  const std::string& Name() const { return name_; }
  bool IsGo() const { return name_ == "go"; }

  HttpReply Post(const std::string& path, const std::string& body) const {
    return Of(Client()->Post(("/api/dtmsvr/" + path).c_str(), body, "application/json"));
  }
  HttpReply Get(const std::string& path) const {
    return Of(Client()->Get(("/api/dtmsvr/" + path).c_str()));
  }

 protected:
  int port_ = 0;

 private:
  std::unique_ptr<httplib::Client> Client() const {
    auto client = std::make_unique<httplib::Client>("127.0.0.1", port_);
    client->set_read_timeout(30);
    return client;
  }
  static HttpReply Of(const httplib::Result& result) {
    return result ? HttpReply{result->status, result->body} : HttpReply{};
  }

  std::string name_;
};

class Ours final : public Peer {
 public:
  Ours() : Peer("ours") {
    tm_.Use(dtm::HttpBranches());
    tm_.Start();
    port_ = server_.Start("127.0.0.1", 0);
  }

 private:
  static dtm::Options Options() {
    dtm::Options options;
    options.durability = dtm::Durability::kProcess;
    options.log = [](dtm::LogLevel, const std::string&) {};
    return options;
  }

  TempDir directory_;
  dtm::Coordinator tm_{directory_ / "saga.db", Options()};
  dtm::Server server_{tm_};
};

class OursElsewhere final : public Peer {
 public:
  /// `url`: http://127.0.0.1:PORT/...
  explicit OursElsewhere(const std::string& url) : Peer("ours") {
    port_ = std::stoi(url.substr(url.rfind(':') + 1));
  }
};

inline std::unique_ptr<Peer> MakeOurs() {
  const char* const url = std::getenv("DTM_COORDINATOR");
  if (url != nullptr) return std::make_unique<OursElsewhere>(url);
  return std::make_unique<Ours>();
}

class GoServer final : public Peer {
 public:
  GoServer() : Peer("go") {
    const std::string binary = Binary();
    port_ = FreePort();
    const std::string grpc = std::to_string(FreePort());
    const std::string json = std::to_string(FreePort());
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int log = ::open((directory_ / "log").c_str(), O_CREAT | O_WRONLY, 0600);
      ::dup2(log, 1);
      ::dup2(log, 2);
      for (int fd = 3; fd < 256; ++fd) ::close(fd);
      if (::chdir(directory_.Path().c_str()) != 0) ::_exit(126);
      ::setenv("HTTP_PORT", std::to_string(port_).c_str(), 1);
      ::setenv("GRPC_PORT", grpc.c_str(), 1);
      ::setenv("JSON_RPC_PORT", json.c_str(), 1);
      ::setenv("STORE_DRIVER", "boltdb", 1);
      ::setenv("TRANS_CRON_INTERVAL", "1", 1);
      ::setenv("LOG_LEVEL", "fatal", 1);
      ::execl(binary.c_str(), binary.c_str(), nullptr);
      ::_exit(127);
    }
    for (int i = 0; Get("newGid").status != 200; ++i) {
      if (i == 1500)
        throw std::runtime_error("the Go server does not start:\n" + ReadFile(directory_ / "log"));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  ~GoServer() override {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  static std::string Binary() {
    FILE* const made = ::popen("\"" DTM_SOURCE_DIR "/tools/go_dtm.sh\"", "r");
    char line[4096] = "";
    const bool read = made != nullptr && std::fgets(line, sizeof line, made) != nullptr;
    if (made == nullptr || ::pclose(made) != 0 || !read) {
      throw std::runtime_error(
          "tools/go_dtm.sh did not make the Go server; run it by hand to see why");
    }
    std::string path = line;
    path.pop_back();
    return path;
  }

  TempDir directory_;
  pid_t pid_ = -1;
};

}  // namespace dtm_test
