/// The barrier on a real PostgreSQL: what all servers have in common, and what is PostgreSQL's own.
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/barrier/sql_barrier_contract.hpp"
#include "tests/barrier/sql_cut_contract.hpp"
#include "tests/catch.hpp"
#include "tests/support/postgres_server.hpp"
#include "tests/support/schema_file.hpp"
#include <dtm/barrier/postgres_barrier.hpp>

using Catch::Matchers::ContainsSubstring;

namespace {

struct Kit {
  static constexpr dtm::SqlDialect kDialect = dtm::SqlDialect::kPostgres;
  using Handle = PGconn*;
  using Table = dtm::PgBarrierTable;

  class Connection {
   public:
    explicit Connection(const std::string& conninfo = dtm_test::PostgresServer::Shared().Conninfo())
        : connection_(conninfo) {}
    PGconn* Handle() { return connection_.Handle(); }
    void Exec(const std::string& sql) { dtm_test::Ask(Handle(), sql); }
    std::string Ask(const std::string& sql) { return dtm_test::Ask(Handle(), sql); }

   private:
    dtm::PgConnection connection_;
  };

  static constexpr bool kLooksAfterwards = false;
  static int ServerPort() { return dtm_test::PostgresServer::Shared().Port(); }
  static std::string Through(int port) {
    return dtm_test::PostgresServer::Shared().ConninfoAt(port) +
           " sslmode=disable gssencmode=disable";
  }
  static std::string Barriers() { return "dtm_barrier.barrier"; }
  static void Run(PGconn* db, const std::string& sql) { dtm_test::Ask(db, sql); }
  static void RunEach(PGconn* db, const std::string& sql) { dtm_test::Ask(db, sql); }
  static void Fresh() {
    Connection connection;
    dtm::CreateBarrierTable(connection.Handle());
    connection.Exec(
        "SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS account (name text PRIMARY "
        "KEY, balance int); TRUNCATE account, dtm_barrier.barrier; INSERT INTO account VALUES "
        "('a', 100)");
  }
  static void ShortLocks(Connection& connection) { connection.Exec("SET lock_timeout = '50ms'"); }
  /// Until another connection waits for a lock.
  static void WaitForALock(PGconn*) {
    Connection watch;
    while (watch.Ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") ==
           "0") {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  static std::int64_t DeleteOld(Connection& connection, std::chrono::hours age,
                                std::int64_t limit = 1000) {
    return dtm::DeleteOldBarriers(connection.Handle(), age, limit);
  }
  static void Age(Connection& connection, std::chrono::hours age) {
    connection.Exec("UPDATE dtm_barrier.barrier SET create_time = now() - interval '" +
                    std::to_string(age.count()) + " hours'");
  }
};
using Contract = dtm_test::SqlBarrierContract<Kit>;
using Kind = dtm::Result::Kind;

void Debit(PGconn* db) { Contract::Add(db, -30); }

}  // namespace

TEST_CASE("PostgreSQL keeps what every barrier promises") { Contract::Run(); }

TEST_CASE("PostgreSQL: the connection breaks at any byte of the commit") {
  dtm_test::SqlCutContract<Kit>::Run();
}

TEST_CASE("an error that the business swallows is found out") {
  Kit::Fresh();
  Kit::Connection connection;
  const std::string text = Contract::TextOf<dtm::LogicError>([&] {
    Contract::Deliver(connection, Contract::Saga("action"), [](PGconn* db) {
      Contract::Add(db, -30);
      PQclear(PQexec(db, "SELECT * FROM no_such_table"));
    });
  });
  CHECK_THAT(text, ContainsSubstring("pass every error on"));
  CHECK(Contract::Balance(connection) == "100");
  CHECK(Contract::Rows(connection) == "0");
}

TEST_CASE("a failed transaction of the program is refused") {
  Kit::Fresh();
  Kit::Connection connection;
  connection.Exec("BEGIN");
  PQclear(PQexec(connection.Handle(), "SELECT * FROM no_such_table"));
  dtm::PgBarrierTable table(connection.Handle());
  dtm::Barrier barrier = Contract::Saga("action");
  CHECK_THAT(Contract::TextOf<dtm::LogicError>([&] { (void)table.Call(barrier, Debit); }),
             ContainsSubstring("roll it back"));
  CHECK_THAT(
      Contract::TextOf<dtm::LogicError>([&] { (void)table.CallInTransaction(barrier, Debit); }),
      ContainsSubstring("roll it back"));
}

TEST_CASE("a serialization failure is temporary") {
  for (const char* level : {"repeatable read", "serializable"}) {
    Kit::Fresh();
    Kit::Connection connection;
    Kit::Connection other;
    connection.Exec("SET default_transaction_isolation = '" + std::string(level) + "'");
    dtm::PgBarrierTable table(connection.Handle());
    connection.Exec("BEGIN");
    connection.Ask("SELECT count(*) FROM account");  // the snapshot
    CHECK(Contract::Deliver(other, Contract::Saga("action"), Debit) == Kind::kSuccess);
    dtm::Barrier barrier = Contract::Saga("action");
    CHECK_THAT(
        Contract::TextOf<dtm::SqlError>([&] { (void)table.CallInTransaction(barrier, Debit); }),
        ContainsSubstring("40001") && ContainsSubstring("may come again"));
    connection.Exec("ROLLBACK");
    CHECK(Contract::Deliver(connection, Contract::Saga("action"), Debit) == Kind::kSuccess);
    CHECK(Contract::Balance(connection) == "70");
  }
}

TEST_CASE("what COMMIT itself refuses is definite, and nothing is stored") {
  Kit::Fresh();
  Kit::Connection connection;
  connection.Exec(
      "CREATE TABLE later (n int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO later VALUES "
      "(1)");
  const auto again = [](PGconn* db) { Kit::Run(db, "INSERT INTO later VALUES (1)"); };
  CHECK_THAT(Contract::TextOf<dtm::SqlError>(
                 [&] { Contract::Deliver(connection, Contract::Saga("action"), again); }),
             ContainsSubstring("23505") && ContainsSubstring("nothing was stored"));
  CHECK(Contract::Rows(connection) == "0");
  connection.Exec("DROP TABLE later");

  // Each reads what the other writes: of two serializable ones the second to commit is refused.
  connection.Exec("SET default_transaction_isolation = 'serializable'");
  Kit::Connection other;
  other.Exec("SET default_transaction_isolation = 'serializable'");
  const std::string read = "SELECT count(*) FROM account";
  CHECK_THAT(Contract::TextOf<dtm::SqlError>([&] {
               Contract::Deliver(connection, Contract::Saga("action"), [&](PGconn* db) {
                 Kit::Run(db, read);
                 Kit::Run(db, "INSERT INTO account VALUES ('b', 0)");
                 other.Exec("BEGIN; SELECT count(*) FROM account");
                 other.Exec("INSERT INTO account VALUES ('c', 0); COMMIT");
               });
             }),
             ContainsSubstring("40001") && ContainsSubstring("may come again"));
  CHECK(Contract::Rows(connection) == "0");
  CHECK(Contract::Deliver(connection, Contract::Saga("action"), Debit) == Kind::kSuccess);
}

TEST_CASE("the tables of others serve as well") {
  Kit::Fresh();
  Kit::Connection connection;
  // dtm's own script, and one without the name of the constraint
  connection.Exec(
      "CREATE SCHEMA other; CREATE SEQUENCE other.seq;"
      "CREATE TABLE other.barrier (id bigint NOT NULL DEFAULT nextval('other.seq'), trans_type "
      "varchar(45) default '', gid varchar(128) default '', branch_id varchar(128) default '', op "
      "varchar(45) default '', barrier_id varchar(45) default '', reason varchar(45) default '', "
      "create_time timestamp(0) with time zone DEFAULT NULL, update_time timestamp(0) with time "
      "zone DEFAULT NULL, PRIMARY KEY (id), CONSTRAINT uniq_barrier UNIQUE (gid, branch_id, op, "
      "barrier_id));"
      "CREATE TABLE other.plain (trans_type text, gid text, branch_id text, op text, barrier_id "
      "text, reason varchar(45), PRIMARY KEY (gid, branch_id, op, barrier_id));"
      "CREATE TABLE other.without_key (trans_type text, gid text, branch_id text, op text, "
      "barrier_id text, reason text)");
  for (const char* name : {"other.barrier", "other.plain"}) {
    dtm::PgBarrierTable table(connection.Handle(), name);
    for (const char* op : {"action", "action", "compensate", "compensate"}) {
      dtm::Barrier barrier = Contract::Saga(op);
      CHECK(
          table.Call(barrier, [&](PGconn* db) { Contract::Add(db, *op == 'a' ? -30 : 30); }).kind ==
          Kind::kSuccess);
    }
    CHECK(Contract::Balance(connection) == "100");
  }
  dtm::PgBarrierTable table(connection.Handle(), "other.without_key");
  dtm::Barrier barrier = Contract::Saga("action");
  CHECK_THAT(Contract::TextOf<dtm::SqlError>([&] { (void)table.Call(barrier, Debit); }),
             ContainsSubstring("unique key"));

  dtm::CreateBarrierTable(connection.Handle(), "other.barrier");  // gives it an age
  dtm::CreateBarrierTable(connection.Handle(), "other.barrier");
  CHECK(connection.Ask("SELECT count(*) FROM information_schema.columns WHERE table_schema = "
                       "'other' AND column_name = 'create_time' AND column_default = 'now()'") ==
        "1");
}

TEST_CASE("a standby, and one who may not write") {
  Kit::Fresh();
  Kit::Connection connection;
  connection.Exec("SET default_transaction_read_only = on");
  CHECK_THAT(Contract::TextOf<dtm::SqlError>(
                 [&] { Contract::Deliver(connection, Contract::Saga("action"), Debit); }),
             ContainsSubstring("25006") && ContainsSubstring("may come again"));
  connection.Exec("SET default_transaction_read_only = off");
  connection.Exec("CREATE ROLE guest; SET ROLE guest");
  CHECK_THAT(Contract::TextOf<dtm::SqlError>(
                 [&] { Contract::Deliver(connection, Contract::Saga("action"), Debit); }),
             ContainsSubstring("42501"));
}

TEST_CASE("statements outlive neither DISCARD ALL nor PQreset, and are shared") {
  Kit::Fresh();
  Kit::Connection connection;
  dtm::PgBarrierTable first(connection.Handle());
  dtm::PgBarrierTable second(connection.Handle());
  const auto call = [](dtm::PgBarrierTable& table, const std::string& op, const std::string& gid) {
    dtm::Barrier barrier = Contract::Saga(op, gid);
    return table.Call(barrier, Debit).kind;
  };
  CHECK(call(first, "action", "1") == Kind::kSuccess);
  CHECK(call(second, "action", "2") == Kind::kSuccess);
  CHECK(call(first, "compensate", "3") == Kind::kSuccess);
  CHECK(call(second, "compensate", "4") == Kind::kSuccess);
  CHECK(connection.Ask("SELECT count(*) FROM pg_prepared_statements") == "2");

  // A pooler may take one connection for the other.
  Kit::Connection other;
  dtm::PgBarrierTable third(other.Handle());
  CHECK(call(third, "compensate", "7") == Kind::kSuccess);
  CHECK(call(third, "action", "8") == Kind::kSuccess);
  const std::string names =
      "SELECT string_agg(name || ': ' || statement, ', ' ORDER BY statement) FROM "
      "pg_prepared_statements";
  CHECK(other.Ask(names) == connection.Ask(names));

  PQreset(connection.Handle());
  CHECK(call(first, "action", "5") == Kind::kSuccess);
  connection.Exec("DISCARD ALL");
  CHECK_THAT(Contract::TextOf<dtm::SqlError>([&] { call(first, "action", "6"); }),
             ContainsSubstring("may come again"));
  CHECK(call(first, "action", "6") == Kind::kSuccess);
}

TEST_CASE("PostgreSQL: the server is killed in the middle of a call") {
  Kit::Fresh();
  auto& server = dtm_test::PostgresServer::Shared();
  {
    Kit::Connection connection;
    CHECK_THROWS_AS(Contract::Deliver(connection, Contract::Saga("action"),
                                      [&](PGconn* db) {
                                        Contract::Add(db, -30);
                                        server.Kill();
                                      }),
                    dtm::Error);
    CHECK_THROWS_AS(Contract::Deliver(connection, Contract::Saga("action"), Debit),
                    dtm::SqlError);  // broken
  }
  server.Start();
  Kit::Connection connection;
  CHECK(Contract::Balance(connection) == "100");
  CHECK(Contract::Deliver(connection, Contract::Saga("action"), Debit) == Kind::kSuccess);
  CHECK(Contract::Balance(connection) == "70");
}

TEST_CASE("PostgreSQL: a session of three methods, as programs write it for other libraries") {
  class Session : public dtm::SqlSession {
   public:
    explicit Session(PGconn* connection) : session_(connection) {}
    dtm::SqlDialect Dialect() const override { return session_.Dialect(); }
    dtm::SqlAnswer Run(const std::string& sql,
                       const std::vector<std::string_view>& parameters) override {
      return session_.Run(sql, parameters);
    }
    std::string Simple(const char* sql) override {
      session_.Simple(sql);
      return {};  // such a library does not tell the command's tag
    }

   private:
    dtm::PgSession session_;
  };
  using State = dtm::SqlTransaction;
  Kit::Fresh();
  Kit::Connection connection;
  Session session(connection.Handle());
  CHECK(session.Transaction() == State::kNone);
  connection.Exec("BEGIN");
  CHECK(session.Transaction() == State::kOpen);
  CHECK(session.Transaction() == State::kOpen);
  CHECK_THROWS_AS(dtm::CreateBarrierTable(session), dtm::LogicError);
  PQclear(PQexec(connection.Handle(), "SELECT * FROM no_such_table"));
  CHECK(session.Transaction() == State::kFailed);
  connection.Exec("ROLLBACK");
  CHECK(session.Transaction() == State::kNone);

  dtm::CreateBarrierTable(session);
  dtm::SqlBarrierTable table(session);
  const auto debit = [&] {
    Debit(connection.Handle());
    return dtm::Result::Success();
  };
  for (int i = 0; i < 2; ++i) {
    dtm::Barrier barrier = Contract::Saga("action");
    CHECK(table.Call(barrier, debit).kind == Kind::kSuccess);
    CHECK(Contract::Balance(connection) == "70");
  }
  connection.Exec("BEGIN");
  dtm::Barrier undo = Contract::Saga("compensate");
  CHECK_THROWS_AS((void)table.Call(undo, debit), dtm::LogicError);
  CHECK(table.CallInTransaction(undo, debit).kind == Kind::kSuccess);
  connection.Exec("ROLLBACK");
  CHECK(Contract::Balance(connection) == "70");
}

TEST_CASE("a user of PostgreSQL who may create nothing needs a table that is there, and is told") {
  Kit::Fresh();
  Kit::Connection admin;
  admin.Exec("CREATE USER dtm_clerk");
  Kit::Connection clerk(dtm_test::PostgresServer::Shared().Conninfo() + " user=dtm_clerk");
  const auto create = [&] { dtm::CreateBarrierTable(clerk.Handle()); };
  CHECK_THAT(Contract::TextOf<dtm::SqlError>(create), ContainsSubstring("USAGE on its schema"));
  admin.Exec("GRANT USAGE ON SCHEMA dtm_barrier TO dtm_clerk");
  admin.Exec("GRANT SELECT, INSERT, DELETE ON dtm_barrier.barrier TO dtm_clerk");
  create();
  dtm::PgBarrierTable table(clerk.Handle());
  dtm::Barrier barrier = Contract::Saga("action");
  CHECK(table.Call(barrier, [](PGconn*) {}).kind == Kind::kSuccess);
  CHECK(dtm::DeleteOldBarriers(clerk.Handle(), std::chrono::hours(24)) == 0);
  CHECK_THROWS_AS(dtm::CreateBarrierTable(clerk.Handle(), "dtm_barrier.other"), dtm::SqlError);
  admin.Exec("DROP OWNED BY dtm_clerk; DROP USER dtm_clerk");
}

TEST_CASE("what PostgreSQL cannot read as a conninfo is not repeated, it may have a password") {
  for (const char* conninfo : {"postgre://me:secret@host/x", "postgresql://me:secret@[host/x",
                               "host=h password=my secret"}) {
    const std::string text =
        Contract::TextOf<dtm::SqlError>([&] { dtm::PgConnection connection(conninfo); });
    CHECK_THAT(text, ContainsSubstring("'postgresql://...'") && !ContainsSubstring("secret"));
  }
}

TEST_CASE("sql/dtmcli.barrier.postgres.sql makes what CreateBarrierTable makes") {
  Kit::Connection connection;
  const std::string shape = dtm_test::ShapeInPostgres("dtm_barrier.barrier");
  connection.Exec("SET client_min_messages = warning; DROP SCHEMA IF EXISTS dtm_barrier CASCADE");
  dtm::CreateBarrierTable(connection.Handle());
  const std::string made = connection.Ask(shape);
  REQUIRE_THAT(made, Catch::Matchers::ContainsSubstring("gid"));
  connection.Exec("SET client_min_messages = warning; DROP SCHEMA IF EXISTS dtm_barrier CASCADE");
  for (const std::string& sql : dtm_test::SchemaFile("dtmcli.barrier.postgres.sql"))
    connection.Exec(sql);
  CHECK(connection.Ask(shape) == made);
}
