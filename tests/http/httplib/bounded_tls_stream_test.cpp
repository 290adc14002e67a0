/// https under attack, with a real TLS server of OpenSSL: what is said in good form is read, heads without end do no
/// harm, and whoever cannot prove who they are is not talked to.
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <netinet/in.h>
#include <string>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/http/httplib/bounded_tls_stream.hpp>
#include <dtm/http/httplib/http_connection.hpp>

using dtm_test::TempDir;
using dtm_test::WriteFile;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::seconds;

namespace {

int FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

/// Answers GET /name with the bytes of the file `name`, over TLS, then closes.
class TlsServer {
 public:
  TlsServer() {
    Run("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out cert.pem "
        "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1");
    port_ = FreePort();
    child_ = ::fork();
    if (child_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const bool there = ::chdir(folder_.Path().c_str()) == 0 &&
                         std::freopen("/dev/null", "w", stdout) != nullptr &&
                         std::freopen("/dev/null", "w", stderr) != nullptr;
      const std::string at = "127.0.0.1:" + std::to_string(port_);
      if (there) {
        ::execlp("openssl", "openssl", "s_server", "-quiet", "-HTTP", "-cert", "cert.pem", "-key",
                 "key.pem", "-accept", at.c_str(), nullptr);
      }
      ::_exit(127);
    }
    AwaitStart();
  }
  ~TlsServer() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  std::string Certificate() const { return folder_ / "cert.pem"; }

  dtm::Exchanged Answer(const std::string& bytes) {
    WriteFile(folder_ / "answer", bytes);
    dtm::HttpConnection exchange(dtm::ParseUrl("https://127.0.0.1:" + std::to_string(port_)),
                                 std::size_t{1} << 20);
    httplib::Request request;
    request.method = "GET";
    request.path = "/answer";
    return exchange.Send(std::move(request), Clock::now() + Seconds(10));
  }

 private:
  void Run(const std::string& command) {
    REQUIRE(std::system(("cd '" + folder_.Path() + "' && " + command + " 2>log").c_str()) == 0);
  }

  void AwaitStart() const {
    const auto end = Clock::now() + Seconds(20);
    for (bool up = false; !up; std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
      REQUIRE(Clock::now() < end);
      const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      address.sin_port = htons(static_cast<in_port_t>(port_));
      up = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
      ::close(fd);
    }
  }

  TempDir folder_;
  int port_ = 0;
  pid_t child_ = -1;
};

}  // namespace

TEST_CASE("bounded_tls_stream: answers over TLS, and what is meant to harm") {
  if (!dtm::kHttpsSupported) return;  // this httplib speaks no TLS
  dtm::BlockSigpipe();
  TlsServer server;
  const std::string ok = "HTTP/1.1 200 OK\r\n", small = ok + "Content-Length: 2\r\n\r\nok";
  CHECK_FALSE(server.Answer(small).Complete());  // anybody could have made this certificate
  ::setenv("SSL_CERT_FILE", server.Certificate().c_str(), 1);

  const dtm::Exchanged good = server.Answer(small);
  CHECK(good.Complete());
  CHECK(good.status == 200);
  CHECK(good.body == "ok");
  const std::string large(300000, 'x');  // more than one TLS record
  CHECK(server.Answer(ok + "Content-Length: 300000\r\n\r\n" + large).body == large);
  CHECK_FALSE(server.Answer(ok + "Content-Length: 300000\r\n\r\nx").Complete());
  CHECK_FALSE(server.Answer("").Complete());

  const std::string end = "Content-Length: 0\r\n\r\n";
  std::string many;
  while (many.size() < large.size()) many += "A: b\r\n";
  for (const std::string& answer :
       {"HTTP/1.1 200 " + large + "\r\n" + end, ok + "X: " + large + "\r\n" + end, ok + large + end,
        ok + many + end, large}) {
    INFO(answer.substr(0, 50));
    const auto begin = Clock::now();
    CHECK_FALSE(server.Answer(answer).Complete());
    CHECK(Clock::now() - begin < Seconds(9));
  }
  ::unsetenv("SSL_CERT_FILE");
}
