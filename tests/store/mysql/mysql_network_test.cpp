/// A store in MariaDB over TLS and by a socket, and on a server that is read-only for a while.
#include <cstdlib>
#include <fstream>
#include <string>

#include "tests/catch.hpp"
#include "tests/store/contract_read_only.hpp"
#include "tests/support/mysql_server.hpp"
#include "tests/support/self_signed.hpp"
#include "tests/support/server_process.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/mysql/mysql_store.hpp>

using Catch::Matchers::ContainsSubstring;

namespace {

dtm::MysqlAddress Made(dtm::MysqlAddress address, const std::string& database) {
  const dtm::MysqlConnection connection(address);
  dtm_test::Ask(connection.Handle(), "CREATE DATABASE IF NOT EXISTS " + database);
  address.database = database;
  return address;
}

void Write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

}  // namespace

TEST_CASE("MariaDB: a store over TLS, which the certificate of another ends") {
  const dtm_test::TempDir dir;
  for (const char* name : {"server", "other"}) dtm_test::MakeSelfSigned(dir.Path(), name);
  const std::string options =
      "--ssl-cert=" + (dir / "server.pem") + " --ssl-key=" + (dir / "server.key");
  ::setenv("DTM_MYSQL_OPTIONS", options.c_str(), 1);
  const dtm_test::ServerProcess server("with_mariadb.sh",
                                       {"DTM_MYSQL_PORT", "DTM_MYSQL_USER", "DTM_MYSQL_SOCKET"});
  ::unsetenv("DTM_MYSQL_OPTIONS");
  dtm::MysqlAddress address;
  address.port = static_cast<unsigned>(std::atoi(server.Get("DTM_MYSQL_PORT").c_str()));
  address.user = server.Get("DTM_MYSQL_USER");
  address = Made(address, "tls");
  const auto with_ca = [&](const std::string& name) {
    Write(dir / (name + ".cnf"),
          "[client]\nssl-ca=" + (dir / (name + ".pem")) + "\nssl-verify-server-cert\n");
    dtm::MysqlAddress one = address;
    one.defaults_file = dir / (name + ".cnf");
    return one;
  };
  const dtm::MysqlConnection encrypted(with_ca("server"));
  CHECK(dtm_test::Ask(encrypted.Handle(), "SHOW STATUS LIKE 'Ssl_cipher'") == "Ssl_cipher");
  CHECK_FALSE(mysql_get_ssl_cipher(encrypted.Handle()) == nullptr);
  const auto store = dtm::MysqlStore(with_ca("server"));
  CHECK(dtm_test::Put(*store, dtm_test::NewTransaction("g")));
  CHECK(store->Load("g").has_value());
  CHECK_THROWS_WITH(dtm::MysqlStore(with_ca("other")), ContainsSubstring("no connection to MySQL"));
  dtm::MysqlAddress nothing = address;
  nothing.defaults_file = dir / "nothing.cnf";
  CHECK_THROWS_WITH(dtm::MysqlStore(nothing), ContainsSubstring("nothing.cnf' cannot be read"));
  // By the socket, wherever the host is.
  dtm::MysqlAddress local = address;
  local.host = "127.0.0.1";
  local.port = 1;
  local.socket = server.Get("DTM_MYSQL_SOCKET");
  CHECK(dtm::MysqlStore(local)->Load("g").has_value());
}

TEST_CASE("MariaDB: a server without TLS is refused by who asks for it") {
  const dtm_test::TempDir dir;
  dtm_test::MakeSelfSigned(dir.Path(), "server");
  Write(dir / "c.cnf", "[client]\nssl-ca=" + (dir / "server.pem") + "\nssl-verify-server-cert\n");
  dtm::MysqlAddress address = dtm_test::MysqlServer::Shared().Address();
  address.defaults_file = dir / "c.cnf";
  CHECK_THROWS_WITH(dtm::MysqlStore(address), ContainsSubstring("no connection to MySQL"));
}

TEST_CASE("MariaDB: while the server is read-only it is said, and nothing is lost by it") {
  const dtm::MysqlAddress root = dtm_test::MysqlServer::Shared().Address();
  dtm::MysqlAddress address = Made(root, "read_only");
  const dtm::MysqlConnection admin(root);  // root may write all the same
  dtm_test::Ask(admin.Handle(), "CREATE OR REPLACE USER teller");
  dtm_test::Ask(admin.Handle(), "GRANT ALL ON read_only.* TO teller");
  address.user = "teller";
  dtm_test::WhileReadOnly(
      [&] { return dtm::MysqlStore(address); },
      [&](bool only) {
        dtm_test::Ask(admin.Handle(), std::string("SET GLOBAL read_only = ") + (only ? "1" : "0"));
      },
      "read-only");
}
