/// A session on PostgreSQL whose server stops answering; what works is tested by those who use it.
#include <arpa/inet.h>
#include <chrono>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "tests/catch.hpp"
#include <dtm/sql/postgres.hpp>

using Catch::Matchers::ContainsSubstring;

namespace {

/// Accepts one connection, answers its first statement with `reply`, and then says nothing until the client is gone.
class SilentServer {
 public:
  explicit SilentServer(const std::string& reply) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(listener_, 1) == 0);
    REQUIRE(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, reply] {
      const int client = ::accept(listener_, nullptr, nullptr);
      const std::string ready("Z\0\0\0\5I", 6);
      const std::string welcome = std::string("R\0\0\0\10\0\0\0\0", 9) + ready;
      char bytes[1024];
      for (const std::string& answer : {welcome, reply}) {
        if (::recv(client, bytes, sizeof bytes, 0) <= 0) break;
        (void)::send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
      }
      while (::recv(client, bytes, sizeof bytes, 0) > 0) {
      }
      ::close(client);
    });
  }
  ~SilentServer() {
    thread_.join();
    ::close(listener_);
  }
  SilentServer(const SilentServer&) = delete;
  SilentServer& operator=(const SilentServer&) = delete;

  std::string Conninfo() const {
    return "host=127.0.0.1 port=" + std::to_string(port_) +
           " user=u dbname=d sslmode=disable gssencmode=disable";
  }

 private:
  int listener_ = -1;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace

TEST_CASE("a statement of PostgreSQL ends within its limit, wherever the answer stops") {
  const std::string done("C\0\0\0\10SET", 9);  // and then should come that it is ready again
  SilentServer server(GENERATE_COPY(done.substr(0, 0), done.substr(0, 4), done, done + "Z"));
  dtm::PgConnection connection(server.Conninfo());
  dtm::PgSession session(connection.Handle(), std::chrono::milliseconds(100));
  const auto start = std::chrono::steady_clock::now();
  CHECK_THROWS_AS(session.Simple("SET x = 1"), dtm::SqlError);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("a password of PostgreSQL that is not written as it has to be is in no error") {
  for (const char* conninfo :
       {"postgresql://user:se/cret@localhost/db", "postgresql://user:5432/cret@localhost/db",
        "postgres://user:s@cret@localhost/db", "postgresql://se/cret:x@localhost",
        "postgresql://user:se/c?cret=1@localhost", "password=se cret", "host=x password='cret"}) {
    CAPTURE(conninfo);
    for (const bool limited : {false, true}) {
      std::string what;
      try {
        if (limited) {
          (void)dtm::PgConnection(conninfo, std::chrono::seconds(2));
        } else {
          (void)dtm::PgConnection(conninfo);
        }
      } catch (const dtm::SqlError& error) {
        what = error.what();
      }
      CHECK_THAT(what, ContainsSubstring("no conninfo") && !ContainsSubstring("cret"));
    }
  }
  // An @ in what follows the database is the user's business.
  CHECK(dtm::sql::ConninfoProblem("postgresql://host/db?user=a@b&sslrootcert=/x@y").empty());
  CHECK(dtm::sql::ConninfoProblem("postgresql://u%40:p%2Fw@host:1,[::1]:2/d%40b").empty());
  CHECK(dtm::sql::ConninfoProblem("host=h password=a/b@c").empty());
  CHECK(dtm::sql::ConninfoProblem("").empty());
}
