/// A store in PostgreSQL over TLS, behind a pooler, and on a server that is read-only for a while.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "tests/catch.hpp"
#include "tests/store/contract_read_only.hpp"
#include "tests/support/free_port.hpp"
#include "tests/support/postgres_server.hpp"
#include "tests/support/self_signed.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/barrier/postgres_barrier.hpp>
#include <dtm/client/saga.hpp>
#include <dtm/outbox/postgres_outbox.hpp>
#include <dtm/store/postgres/postgres_store.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::Ask;
using dtm_test::PostgresServer;

namespace {

dtm::PostgresStoreOptions In(const std::string& schema) {
  dtm::PostgresStoreOptions options;
  options.schema = schema;
  return options;
}

/// What the server is set to; as before at the end.
class Setting {
 public:
  Setting(const std::string& name, const std::string& value) : name_(name) {
    Run("ALTER SYSTEM SET " + name + " = '" + value + "'");
  }
  ~Setting() { Run("ALTER SYSTEM RESET " + name_); }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  static void Run(const std::string& sql) {
    const dtm::PgConnection connection(PostgresServer::Shared().Conninfo());
    Ask(connection.Handle(), "SET default_transaction_read_only = off");
    Ask(connection.Handle(), sql);
    Ask(connection.Handle(), "SELECT pg_reload_conf()");
  }
  const std::string name_;
};

/// A PgBouncer before the server, which ends with it.
class Bouncer {
 public:
  explicit Bouncer(const std::string& mode) : port_(dtm_test::FreePort()) {
    const std::string server = std::to_string(PostgresServer::Shared().Port());
    std::ofstream(dir_ / "users.txt") << "\"dtm\" \"\"\n";
    std::ofstream(dir_ / "b.ini") << "[databases]\n* = host=127.0.0.1 port=" << server
                                  << "\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = "
                                  << port_ << "\nunix_socket_dir =\nauth_type = trust\nauth_file = "
                                  << dir_ / "users.txt"
                                  << "\npool_mode = " << mode << "\ndefault_pool_size = 3\n"
                                  << "ignore_startup_parameters = extra_float_digits\n";
    ::chmod(dir_.Path().c_str(), 0755);
    pid_ = ::fork();
    if (pid_ == 0) {
      (void)!std::freopen("/dev/null", "w", stderr);
      const std::string ini = dir_ / "b.ini";
      if (::getuid() == 0) {
        ::execlp("pgbouncer", "pgbouncer", "-q", "-u", "nobody", ini.c_str(), nullptr);
        ::execl("/usr/sbin/pgbouncer", "pgbouncer", "-q", "-u", "nobody", ini.c_str(), nullptr);
      }
      ::execlp("pgbouncer", "pgbouncer", "-q", ini.c_str(), nullptr);
      ::_exit(127);
    }
    for (int i = 0; i < 500 && PQping(Conninfo().c_str()) != PQPING_OK; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ~Bouncer() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Bouncer(const Bouncer&) = delete;
  Bouncer& operator=(const Bouncer&) = delete;
  std::string Conninfo() const { return PostgresServer::Shared().ConninfoAt(port_); }

 private:
  const dtm_test::TempDir dir_;
  const int port_;
  pid_t pid_ = -1;
};

bool HasPgBouncer() {
  return std::system("PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null") == 0;
}

}  // namespace

TEST_CASE("PostgreSQL: while the server is read-only it is said, and nothing is lost by it") {
  (void)dtm::PostgresStore(PostgresServer::Shared().Conninfo(), In("read_only"));
  const dtm::PgConnection admin(PostgresServer::Shared().Conninfo());
  // As a standby, which no session can write to: what the store asks for does not help.
  Ask(admin.Handle(),
      "CREATE OR REPLACE FUNCTION read_only.refuse() RETURNS trigger LANGUAGE plpgsql AS "
      "$$BEGIN RAISE 'cannot write in a read-only transaction' USING ERRCODE = "
      "'25006'; END$$");
  dtm_test::WhileReadOnly(
      [] { return dtm::PostgresStore(PostgresServer::Shared().Conninfo(), In("read_only")); },
      [&](bool only) {
        for (const char* table : {"dtm_trans", "dtm_node"}) {
          Ask(admin.Handle(), "SET search_path = read_only");
          Ask(admin.Handle(), std::string("DROP TRIGGER IF EXISTS refuse ON ") + table);
          if (!only) continue;
          Ask(admin.Handle(), std::string("CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON ") +
                                  table + " FOR EACH STATEMENT EXECUTE FUNCTION refuse()");
        }
      },
      "read-only");
}

TEST_CASE("PostgreSQL: a database that is read-only by default is written to all the same") {
  const Setting only("default_transaction_read_only", "on");
  const auto store = dtm::PostgresStore(PostgresServer::Shared().Conninfo(), In("default_only"));
  CHECK(dtm_test::Put(*store, dtm_test::NewTransaction("g")));
}

TEST_CASE("PostgreSQL: a store over TLS, which the certificate of another ends") {
  const dtm_test::TempDir dir;
  for (const char* name : {"server", "other"}) dtm_test::MakeSelfSigned(dir.Path(), name);
  ::chmod(dir.Path().c_str(), 0755);
  if (::getuid() == 0) {
    REQUIRE(std::system(("chown nobody '" + (dir / "server.key") + "'").c_str()) == 0);
  }
  const Setting certificate("ssl_cert_file", dir / "server.pem");
  const Setting key("ssl_key_file", dir / "server.key");
  const std::string at = PostgresServer::Shared().ConninfoAt(PostgresServer::Shared().Port());
  const auto with = [&](const std::string& ca) {
    return at + " sslmode=verify-full sslrootcert=" + (dir / ca);
  };
  CHECK_THROWS_WITH(dtm::PostgresStore(with("server.pem"), In("tls")),
                    ContainsSubstring("no connection to PostgreSQL"));  // it has none yet
  const Setting on("ssl", "on");
  std::unique_ptr<dtm::Store> store;
  for (int i = 0; i < 200 && store == nullptr; ++i) {
    try {
      store = dtm::PostgresStore(with("server.pem"), In("tls"));
    } catch (const dtm::SqlError&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it has not read the settings
    }
  }
  REQUIRE(store != nullptr);
  CHECK(dtm_test::Put(*store, dtm_test::NewTransaction("g")));
  CHECK(store->Load("g").has_value());
  CHECK_THROWS_WITH(dtm::PostgresStore(with("other.pem"), In("tls")),
                    ContainsSubstring("certificate"));
}

TEST_CASE("PostgreSQL: behind PgBouncer in session mode a store works") {
  if (!HasPgBouncer()) return;
  const Bouncer bouncer("session");
  const auto store = dtm::PostgresStore(bouncer.Conninfo(), In("pooled"));
  for (int i = 0; i < 20; ++i)
    REQUIRE(dtm_test::Put(*store, dtm_test::NewTransaction("s" + std::to_string(i))));
  CHECK(store->Load("s19").has_value());
}

TEST_CASE(
    "PostgreSQL: behind PgBouncer in transaction mode barriers and outboxes work; a store says "
    "what is wrong") {
  if (!HasPgBouncer()) return;
  const Bouncer bouncer("transaction");
  const dtm::PgConnection direct(PostgresServer::Shared().Conninfo());
  dtm::CreateBarrierTable(direct.Handle());
  dtm::CreateOutboxTable(direct.Handle());
  Ask(direct.Handle(), "CREATE TABLE IF NOT EXISTS paid (n int)");
  // Several at once, so that the server processes change between them.
  const dtm::PgConnection one(bouncer.Conninfo());
  const dtm::PgConnection two(bouncer.Conninfo());
  int called = 0;
  std::string problem;
  for (int i = 0; i < 30; ++i) {
    const dtm::PgConnection& connection = i % 2 == 0 ? one : two;
    dtm::PgBarrierTable table(connection.Handle());
    dtm::Barrier barrier("saga", "pooled" + std::to_string(i / 2), "01", "action");
    const dtm::Result result = table.Call(barrier, [&](PGconn* db) {
      ++called;
      Ask(db, "INSERT INTO paid VALUES (1)");
    });
    if (result.kind != dtm::Result::Kind::kSuccess) problem += result.text + "\n";
  }
  INFO(problem);
  CHECK(called == 15);
  Ask(one.Handle(), "BEGIN");
  dtm::PgOutbox outbox(one.Handle());
  dtm::NewSaga(outbox, "from_pool").Add(std::string("http://b/In"), dtm::kNoBranch, 1).Submit();
  Ask(one.Handle(), "COMMIT");
  CHECK(Ask(direct.Handle(), "SELECT count(*) FROM dtm_outbox WHERE gid = 'from_pool'") == "1");
  // A store prepares statements and has settings of its own on a connection, so it needs the same process all the time.
  std::string said;
  try {
    const auto first = dtm::PostgresStore(bouncer.Conninfo(), In("pooled"));
    const auto second = dtm::PostgresStore(bouncer.Conninfo(), In("pooled"));
    for (int i = 0; i < 50 && said.empty(); ++i) {
      REQUIRE(dtm_test::Put(*first, dtm_test::NewTransaction("t" + std::to_string(i))));
      REQUIRE(dtm_test::Put(*second, dtm_test::NewTransaction("u" + std::to_string(i))));
    }
  } catch (const dtm::StoreError& error) {
    said = error.what();
  }
  CHECK_THAT(said, ContainsSubstring("pool_mode = session"));
}
