/// https with a real server of OpenSSL: what is said in good form is read, whoever cannot prove who they are is not talked
/// to, and the reason is said in words.
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
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include "tests/support/free_port.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/http/branches.hpp>
#include <dtm/http/remote/http_connection.hpp>
#include <dtm/http/tls.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::FreePort;
using dtm_test::RawServer;
using dtm_test::TempDir;
using dtm_test::WriteFile;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::seconds;

namespace {

/// Answers GET /name with the bytes of the file `name`, over TLS, then closes.
class TlsServer {
 public:
  explicit TlsServer(const std::string& subject = "/CN=localhost",
                     const std::string& names = "IP:127.0.0.1,DNS:localhost",
                     std::vector<const char*> more = {}) {
    Run("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out cert.pem "
        "-subj " +
        subject + " -addext subjectAltName=" + names);
    port_ = FreePort();
    child_ = ::fork();
    if (child_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const bool there = ::chdir(folder_.Path().c_str()) == 0 &&
                         std::freopen("/dev/null", "w", stdout) != nullptr &&
                         std::freopen("/dev/null", "w", stderr) != nullptr;
      const std::string at = "127.0.0.1:" + std::to_string(port_);
      std::vector<const char*> words = {"openssl",  "s_server", "-quiet",  "-HTTP",   "-cert",
                                        "cert.pem", "-key",     "key.pem", "-accept", at.c_str()};
      words.insert(words.end(), more.begin(), more.end());
      words.push_back(nullptr);
      if (there) ::execvp("openssl", const_cast<char* const*>(words.data()));
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

  std::string File(const char* name) const { return folder_ / name; }
  std::string Url(const char* host = "127.0.0.1") const {
    return std::string("https://") + host + ":" + std::to_string(port_);
  }

  /// What comes of asking for these bytes.
  dtm::Exchanged Answer(const std::string& bytes, const dtm::TlsOptions& options,
                        const char* host = "127.0.0.1") {
    WriteFile(folder_ / "answer", bytes);
    dtm::HttpConnection exchange(dtm::ParseUrl(Url(host)), std::size_t{1} << 20, dtm::Tls(options));
    dtm::http1::HttpRequest request;
    request.target = "/answer";
    return exchange.Send(request, Clock::now() + Seconds(10));
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

TEST_CASE("tls: answers come whole, from whom is trusted only") {
  TlsServer server;
  const std::string ok = "HTTP/1.1 200 OK\r\n", small = ok + "Content-Length: 2\r\n\r\nok";
  dtm::TlsOptions options;
  const dtm::Exchanged stranger = server.Answer(small, options);
  CHECK_FALSE(stranger.answered);  // anybody could have made this certificate
  CHECK_THAT(stranger.problem, ContainsSubstring("its certificate is not trusted: self"));
  options.ca_file = server.Certificate();
  const dtm::Exchanged good = server.Answer(small, options);
  CHECK(good.problem == "it ");
  CHECK(good.Complete());
  CHECK(good.status == 200);
  CHECK(good.body == "ok");
  CHECK(server.Answer(small, options, "localhost").Complete());

  const std::string large(300000, 'x');  // more than one TLS record
  CHECK(server.Answer(ok + "Content-Length: 300000\r\n\r\n" + large, options).body == large);
  CHECK_FALSE(server.Answer(ok + "Content-Length: 300000\r\n\r\nx", options).Complete());
  CHECK_FALSE(server.Answer("", options).Complete());
  for (const std::string& answer : {ok + large, large, ok + "X: " + large}) {
    CHECK_FALSE(server.Answer(answer, options).Complete());
  }
}

TEST_CASE("tls: the variable SSL_CERT_FILE names whom to trust, as for other programs") {
  TlsServer server;
  ::setenv("SSL_CERT_FILE", server.Certificate().c_str(), 1);
  const dtm::Exchanged answer = server.Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", {});
  ::unsetenv("SSL_CERT_FILE");
  CHECK(answer.Complete());
}

TEST_CASE("tls: a certificate for another name is not taken") {
  TlsServer server("/CN=other", "DNS:other.test");
  dtm::TlsOptions options;
  options.ca_file = server.Certificate();
  const dtm::Exchanged answer = server.Answer("HTTP/1.1 200 OK\r\n\r\n", options);
  CHECK_FALSE(answer.answered);
  CHECK_THAT(answer.problem, ContainsSubstring("mismatch"));
}

TEST_CASE("tls: a server that asks for a certificate gets ours") {
  TlsServer server("/CN=localhost", "IP:127.0.0.1",
                   {"-Verify", "1", "-CAfile", "cert.pem", "-verify_return_error"});
  dtm::TlsOptions options;
  options.ca_file = server.Certificate();
  const std::string small = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  CHECK_FALSE(server.Answer(small, options).Complete());
  options.certificate_file = server.Certificate();
  options.key_file = server.File("key.pem");
  CHECK(server.Answer(small, options).Complete());
}

TEST_CASE("tls: what is no TLS, and files that cannot be used, are said in words") {
  RawServer server([](int fd, int) {
    char some[100];
    (void)::recv(fd, some, sizeof some, 0);
    RawServer::Write(fd, "HTTP/1.1 400 Bad Request\r\n\r\n");
  });
  const std::string url = "https" + server.Url().substr(4);
  dtm::HttpConnection exchange(dtm::ParseUrl(url), 100, dtm::Tls());
  dtm::http1::HttpRequest request;
  const dtm::Exchanged answer = exchange.Send(request, Clock::now() + Seconds(10));
  CHECK_FALSE(answer.answered);
  CHECK_THAT(answer.problem, ContainsSubstring("TLS is not agreed on"));
  dtm::TlsOptions options;
  options.ca_file = "/nowhere/ca.pem";
  CHECK_THROWS_WITH(dtm::Tls(options), ContainsSubstring("/nowhere/ca.pem"));
  options.ca_file.clear();
  options.certificate_file = "/nowhere/cert.pem";
  CHECK_THROWS_WITH(dtm::Tls(options), ContainsSubstring("/nowhere/cert.pem"));
}

TEST_CASE("tls: branches by https") {
  TlsServer server;
  WriteFile(server.File("pay?branch_id=01&gid=g1&op=action&trans_type=saga"),
            "HTTP/1.1 409 No\r\nContent-Length: 8\r\n\r\nno money");
  dtm::HttpBranchOptions options;
  dtm::TlsOptions tls;
  tls.ca_file = server.Certificate();
  options.tls = dtm::Tls(tls);
  auto caller = dtm::HttpBranches(options);
  dtm_test::Results results;
  caller->Call({dtm_test::CallTo(server.Url() + "/pay", "")}, results);
  const auto done = results.Wait(1);
  REQUIRE(done.size() == 1);
  CHECK(done[0].second.kind == dtm::Result::Kind::kFailure);
  CHECK(done[0].second.text == "no money");
}
