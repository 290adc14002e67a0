/// The barrier on a real MariaDB: what all servers have in common, and what is MySQL's own.
#include <chrono>
#include <cstdint>
#include <future>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/barrier/sql_barrier_contract.hpp"
#include "tests/barrier/sql_cut_contract.hpp"
#include "tests/catch.hpp"
#include "tests/support/mysql_server.hpp"
#include "tests/support/schema_file.hpp"
#include <dtm/barrier/mysql_barrier.hpp>

using Catch::Matchers::ContainsSubstring;

namespace {

struct Kit {
  static constexpr dtm::SqlDialect kDialect = dtm::SqlDialect::kMysql;
  using Handle = MYSQL*;
  using Table = dtm::MysqlBarrierTable;

  class Connection {
   public:
    explicit Connection(
        const dtm::MysqlAddress& address = dtm_test::MysqlServer::Shared().Address())
        : connection_(address) {}
    MYSQL* Handle() { return connection_.Handle(); }
    void Exec(const std::string& sql) { dtm_test::Ask(Handle(), sql); }
    std::string Ask(const std::string& sql) { return dtm_test::Ask(Handle(), sql); }

   private:
    dtm::MysqlConnection connection_;
  };

  static constexpr bool kLooksAfterwards = false;
  static int ServerPort() {
    return static_cast<int>(dtm_test::MysqlServer::Shared().Address().port);
  }
  static dtm::MysqlAddress Through(int port) {
    dtm::MysqlAddress address = dtm_test::MysqlServer::Shared().Address();
    address.port = static_cast<unsigned>(port);
    return address;
  }
  static std::string Barriers() { return "dtm_barrier.barrier"; }
  static void Run(MYSQL* db, const std::string& sql) { dtm_test::Ask(db, sql); }
  static void RunEach(MYSQL* db, const std::string& sql) {
    std::istringstream parts(sql);
    for (std::string part; std::getline(parts, part, ';');) dtm_test::Ask(db, part);
  }
  static void Fresh() {
    Connection connection;
    dtm::CreateBarrierTable(connection.Handle());
    for (const char* sql :
         {"CREATE TABLE IF NOT EXISTS account (name varchar(20) PRIMARY KEY, balance int)",
          "DELETE FROM account", "DELETE FROM dtm_barrier.barrier",
          "INSERT INTO account VALUES ('a', 100)"}) {
      connection.Exec(sql);
    }
  }
  static void ShortLocks(Connection& connection) {
    connection.Exec("SET innodb_lock_wait_timeout = 1");
  }
  /// Until so many connections wait for a lock.
  static void AwaitWaiting(int connections) {
    Connection watch;
    while (std::stoi(watch.Ask("SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE "
                               "VARIABLE_NAME = 'INNODB_ROW_LOCK_CURRENT_WAITS'")) < connections) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  /// Until another connection waits for a lock.
  static void WaitForALock(MYSQL*) { AwaitWaiting(1); }
  static std::int64_t DeleteOld(Connection& connection, std::chrono::hours age,
                                std::int64_t limit = 1000) {
    return dtm::DeleteOldBarriers(connection.Handle(), age, limit);
  }
  static void Age(Connection& connection, std::chrono::hours age) {
    connection.Exec("UPDATE dtm_barrier.barrier SET create_time = NOW() - INTERVAL " +
                    std::to_string(age.count()) + " HOUR");
  }
};

/// As if the server were MySQL, or the session of another client library.
struct MysqlKit : Kit {
  class Table {
   public:
    explicit Table(MYSQL* connection, const std::string& table = dtm::barrier::kSqlTable)
        : session_(connection), table_(session_, table) {}
    template <typename Business>
    dtm::Result Call(dtm::Barrier& barrier, const Business& business) {
      return table_.Call(barrier, [&] { return dtm::ResultOf(business, session_.Handle()); });
    }
    template <typename Business>
    dtm::Result CallInTransaction(dtm::Barrier& barrier, const Business& business) {
      return table_.CallInTransaction(barrier,
                                      [&] { return dtm::ResultOf(business, session_.Handle()); });
    }
    dtm::Result QueryPrepared(const dtm::Barrier& barrier) { return table_.QueryPrepared(barrier); }

   private:
    struct Session : dtm::MysqlSession {
      using MysqlSession::MysqlSession;
      bool IsMariadb() const override { return false; }
    };
    Session session_;
    dtm::SqlBarrierTable table_;
  };
};
using Contract = dtm_test::SqlBarrierContract<Kit>;
using Kind = dtm::Result::Kind;

void Debit(MYSQL* db) { Contract::Add(db, -30); }

}  // namespace

TEST_CASE("MariaDB keeps what every barrier promises") { Contract::Run(); }

// MySQL needs more round trips, and two inserts where MariaDB has one. MariaDB takes those as well.
TEST_CASE("MariaDB in the way of MySQL keeps what every barrier promises") {
  dtm_test::SqlBarrierContract<MysqlKit>::Run();
}

TEST_CASE("MariaDB: the connection breaks at any byte of the commit") {
  dtm_test::SqlCutContract<Kit>::Run();
}

TEST_CASE("a deadlock that the business swallows is found out") {
  Kit::Fresh();
  Kit::Connection connection;
  Kit::Connection other;
  connection.Exec("INSERT INTO account VALUES ('b', 0)");
  other.Exec("BEGIN");
  other.Exec("UPDATE account SET balance = balance + 1 WHERE name = 'b'");
  // It has changed more, so it is not the victim.
  for (int i = 0; i < 20; ++i) {
    other.Exec("INSERT INTO account VALUES ('x" + std::to_string(i) + "', 0)");
  }
  std::future<void> crossing;
  const std::string text = Contract::TextOf<dtm::LogicError>([&] {
    Contract::Deliver(connection, Contract::Saga("action"), [&](MYSQL* db) {
      Contract::Add(db, -30);
      crossing = std::async(std::launch::async, [&] {
        other.Exec("UPDATE account SET balance = balance + 1 WHERE name = 'a'");
      });
      Kit::WaitForALock(db);
      CHECK(mysql_query(db, "UPDATE account SET balance = 9 WHERE name = 'b'") != 0);
      CHECK(mysql_errno(db) == 1213);
    });
  });
  crossing.get();
  other.Exec("ROLLBACK");
  CHECK_THAT(text, ContainsSubstring("What was committed by then is not covered"));
  CHECK(Contract::Balance(connection) == "100");
  CHECK(Contract::Deliver(connection, Contract::Saga("action"), Debit) == Kind::kSuccess);
  CHECK(Contract::Balance(connection) == "70");
}

// Two deliveries wait for a third, which rolls back: one of the two is the victim of a deadlock. If it left a row behind, its
// repeat would find that and not run.
TEST_CASE("MariaDB: a compensation that is the victim of a deadlock leaves nothing") {
  Kit::Fresh();
  Kit::Connection first;
  first.Exec("BEGIN");
  first.Exec(
      "INSERT INTO dtm_barrier.barrier (trans_type, gid, branch_id, op, barrier_id, reason) VALUES "
      "('saga', 'g', '01', 'action', '01', 'action')");
  Kit::Connection compensating;
  std::future<std::string> victim = std::async(std::launch::async, [&] {
    return Contract::TextOf<dtm::SqlError>([&] {
      Contract::Deliver(compensating, Contract::Saga("compensate"),
                        [](MYSQL* db) { Contract::Add(db, 30); });
    });
  });
  Kit::AwaitWaiting(1);
  Kit::Connection acting;
  acting.Exec("BEGIN");
  for (int i = 0; i < 20; ++i) {  // it has changed more, so it is not the victim
    acting.Exec("INSERT INTO account VALUES ('x" + std::to_string(i) + "', 0)");
  }
  std::future<void> action = std::async(std::launch::async, [&] {
    dtm::MysqlBarrierTable table(acting.Handle());
    dtm::Barrier barrier = Contract::Saga("action");
    CHECK(table.CallInTransaction(barrier, Debit).kind == Kind::kSuccess);
    acting.Exec("COMMIT");
  });
  Kit::AwaitWaiting(2);
  first.Exec("ROLLBACK");
  CHECK_THAT(victim.get(), ContainsSubstring("1213") && ContainsSubstring("may come again"));
  action.get();
  Kit::Connection connection;
  CHECK(Contract::Balance(connection) == "70");
  CHECK(connection.Ask("SELECT COUNT(*) FROM dtm_barrier.barrier") == "1");
  CHECK(Contract::Deliver(compensating, Contract::Saga("compensate"),
                          [](MYSQL* db) { Contract::Add(db, 30); }) == Kind::kSuccess);
  CHECK(Contract::Balance(connection) == "100");
}

TEST_CASE("a statement that commits by itself is found out") {
  Kit::Fresh();
  Kit::Connection connection;
  CHECK_THAT(Contract::TextOf<dtm::LogicError>([&] {
               Contract::Deliver(connection, Contract::Saga("action"), [](MYSQL* db) {
                 dtm_test::Ask(db, "CREATE TABLE IF NOT EXISTS made (id int)");
               });
             }),
             ContainsSubstring("was ended inside the business"));
}

TEST_CASE("a lock that is waited for too long rolls everything back") {
  Kit::Fresh();
  Kit::Connection connection;
  Kit::Connection other;
  Kit::ShortLocks(connection);
  Contract::Deliver(other, Contract::Saga("action"), [&](MYSQL* db) {
    Contract::Add(db, -30);
    CHECK_THAT(Contract::TextOf<dtm::SqlError>(
                   [&] { Contract::Deliver(connection, Contract::Saga("action"), Debit); }),
               ContainsSubstring("1205") && ContainsSubstring("may come again"));
    CHECK((connection.Handle()->server_status & SERVER_STATUS_IN_TRANS) == 0U);
  });
  CHECK(Contract::Deliver(connection, Contract::Saga("action"), Debit) == Kind::kSuccess);
  CHECK(Contract::Balance(connection) == "70");
}

TEST_CASE("a collation that takes different gids as one is refused, or found out") {
  Kit::Fresh();
  Kit::Connection connection;
  for (const char* sql :
       {"DROP TABLE IF EXISTS dtms", "CREATE TABLE dtms LIKE dtm_barrier.barrier",
        "ALTER TABLE dtms CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"}) {
    connection.Exec(sql);
  }
  const std::string text = Contract::TextOf<dtm::LogicError>(
      [&] { dtm::MysqlBarrierTable table(connection.Handle(), "dtms"); });
  const std::string alter =
      "ALTER TABLE `dtms` CONVERT TO CHARACTER SET utf8mb4 COLLATE "
      "utf8mb4_bin";
  CHECK_THAT(text, ContainsSubstring(alter));

  dtm::MysqlSession session(connection.Handle());
  dtm::SqlBarrierTable unchecked(session, "dtms");
  dtm::Barrier upper = Contract::Saga("action", "Abc");
  dtm::Barrier lower = Contract::Saga("action", "abc");
  CHECK(unchecked.Call(upper, [] { return dtm::Result::Success(); }).kind == Kind::kSuccess);
  CHECK_THAT(Contract::TextOf<dtm::SqlError>(
                 [&] { (void)unchecked.Call(lower, [] { return dtm::Result::Success(); }); }),
             ContainsSubstring("utf8mb4_bin"));

  connection.Exec(alter);
  dtm::MysqlBarrierTable table(connection.Handle(), "dtms");
  // Blanks at the end count as nothing for MySQL; that is an error, not a repeat.
  dtm::Barrier blank = Contract::Saga("action", "Abc ");
  CHECK_THAT(Contract::TextOf<dtm::SqlError>([&] { (void)table.Call(blank, Debit); }),
             ContainsSubstring("because of the row 'Abc"));
}

// Else the compensation of an action that never ran would run, since the action of the other gid did.
TEST_CASE(
    "MariaDB: an action whose gid differs in blanks at the end is not the one to compensate") {
  Kit::Fresh();
  Kit::Connection connection;
  const std::string ran = GENERATE("g", "g ");
  const std::string other = ran == "g" ? "g " : "g";
  dtm::MysqlBarrierTable table(connection.Handle());
  dtm::Barrier action = Contract::Saga("action", ran);
  CHECK(table.Call(action, Debit).kind == Kind::kSuccess);
  dtm::Barrier undo = Contract::Saga("compensate", other);
  CHECK_THAT(Contract::TextOf<dtm::SqlError>(
                 [&] { (void)table.Call(undo, [](MYSQL* db) { Contract::Add(db, 30); }); }),
             ContainsSubstring("because of the row '" + ran + " 01 action"));
  CHECK(Contract::Balance(connection) == "70");
}

// What ends the call never left the client.
TEST_CASE("rows that the business did not read are found out, and nothing is in doubt") {
  Kit::Fresh();
  Kit::Connection connection;
  CHECK_THAT(Contract::TextOf<dtm::LogicError>([&] {
               Contract::Deliver(connection, Contract::Saga("action"), [](MYSQL* db) {
                 Debit(db);
                 CHECK(mysql_query(db, "SELECT * FROM account") == 0);
               });
             }),
             ContainsSubstring("did not read") && ContainsSubstring("othing was stored"));
}

TEST_CASE("connections that are set up differently") {
  Kit::Fresh();
  SECTION("rows found instead of rows changed") {
    MYSQL* const db = mysql_init(nullptr);
    const dtm::MysqlAddress at = dtm_test::MysqlServer::Shared().Address();
    REQUIRE(mysql_real_connect(db, at.host.c_str(), at.user.c_str(), nullptr, at.database.c_str(),
                               at.port, nullptr, CLIENT_FOUND_ROWS) != nullptr);
    {
      dtm::MysqlBarrierTable table(db);
      for (int delivery = 0; delivery < 2; ++delivery) {
        dtm::Barrier barrier = Contract::Saga("action");
        CHECK(table.Call(barrier, Debit).kind == Kind::kSuccess);
      }
    }
    CHECK(dtm_test::Ask(db, "SELECT balance FROM account") == "70");
    mysql_close(db);
  }
  SECTION("autocommit off") {
    Kit::Connection connection;
    connection.Exec("SET autocommit = 0");
    dtm::MysqlBarrierTable table(connection.Handle());
    for (int delivery = 0; delivery < 2; ++delivery) {
      dtm::Barrier barrier = Contract::Saga("action");
      CHECK(table.Call(barrier, Debit).kind == Kind::kSuccess);
      CHECK(table.QueryPrepared(Contract::Msg()).kind == Kind::kFailure);
    }
    connection.Exec("ROLLBACK");
    CHECK(Contract::Balance(connection) == "70");
  }
  SECTION("modes of SQL") {
    Kit::Connection connection;
    connection.Exec(GENERATE("SET sql_mode = ''", "SET sql_mode = 'ORACLE'",
                             "SET sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES'"));
    for (const char* op : {"action", "action", "compensate", "compensate"}) {
      CHECK(Contract::Deliver(connection, Contract::Saga(op), [op](MYSQL* db) {
              Contract::Add(db, op == std::string("action") ? -30 : 20);
            }) == Kind::kSuccess);
    }
    CHECK(Contract::Balance(connection) == "90");
  }
  SECTION("read committed") {
    Kit::Connection connection;
    connection.Exec("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
    CHECK(Contract::Deliver(connection, Contract::Saga("action"), Debit) == Kind::kSuccess);
    CHECK(Contract::Deliver(connection, Contract::Saga("action"), Debit) == Kind::kSuccess);
    CHECK(Contract::Balance(connection) == "70");
  }
}

TEST_CASE("the table of Java's client, in the current database") {
  Kit::Fresh();
  Kit::Connection connection;
  dtm::CreateBarrierTable(connection.Handle(), "barrier");
  connection.Exec("DELETE FROM barrier");
  connection.Exec(
      "INSERT INTO barrier (trans_type, gid, branch_id, op, barrier_id, reason) VALUES ('tcc', "
      "'g', "
      "'01', 'cancel', '01', 'cancel'), ('tcc', 'g', '01', 'try', '01', 'cancel')");
  dtm::MysqlBarrierTable table(connection.Handle(), "barrier");
  dtm::Barrier late("tcc", "g", "01", "try");
  CHECK(table.Call(late, Debit).kind == Kind::kSuccess);
  CHECK(Contract::Balance(connection) == "100");
}

TEST_CASE("a server that may only be read") {
  Kit::Fresh();
  Kit::Connection connection;
  connection.Exec("SET SESSION TRANSACTION READ ONLY");
  CHECK_THAT(Contract::TextOf<dtm::SqlError>(
                 [&] { Contract::Deliver(connection, Contract::Saga("action"), Debit); }),
             ContainsSubstring("1792") && ContainsSubstring("may come again"));
}

TEST_CASE("MariaDB: the server is killed in the middle of a call") {
  Kit::Fresh();
  auto& server = dtm_test::MysqlServer::Shared();
  {
    Kit::Connection connection;
    dtm::MysqlBarrierTable table(connection.Handle());
    dtm::Barrier barrier = Contract::Saga("action");
    CHECK_THROWS_AS((void)table.Call(barrier,
                                     [&](MYSQL* db) {
                                       Contract::Add(db, -30);
                                       server.Kill();
                                     }),
                    dtm::InDoubtError);  // what ends the call is one message
    dtm::Barrier again = Contract::Saga("action");
    CHECK_THROWS_AS((void)table.Call(again, Debit), dtm::SqlError);  // broken
  }
  server.Start();
  Kit::Connection connection;
  CHECK(Contract::Balance(connection) == "100");
  CHECK(Contract::Deliver(connection, Contract::Saga("action"), Debit) == Kind::kSuccess);
  CHECK(Contract::Balance(connection) == "70");
}

TEST_CASE("MariaDB: a session of three methods, as programs write it for other libraries") {
  class Session : public dtm::SqlSession {
   public:
    explicit Session(MYSQL* connection) : session_(connection) {}
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
    dtm::MysqlSession session_;
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

TEST_CASE("a user of MariaDB who may create nothing needs a table that is there, and is told") {
  Kit::Fresh();
  Kit::Connection admin;
  admin.Exec("CREATE OR REPLACE USER dtm_clerk@'%'");
  dtm::MysqlAddress address = dtm_test::MysqlServer::Shared().Address();
  address.user = "dtm_clerk";
  address.database = "";
  Kit::Connection clerk(address);
  const auto create = [&] { dtm::CreateBarrierTable(clerk.Handle()); };
  CHECK_THAT(Contract::TextOf<dtm::SqlError>(create), ContainsSubstring("grant this user"));
  admin.Exec("GRANT SELECT, INSERT, DELETE ON dtm_barrier.barrier TO dtm_clerk@'%'");
  create();
  dtm::MysqlBarrierTable table(clerk.Handle());
  dtm::Barrier barrier = Contract::Saga("action");
  CHECK(table.Call(barrier, [](MYSQL*) {}).kind == Kind::kSuccess);
  CHECK(dtm::DeleteOldBarriers(clerk.Handle(), std::chrono::hours(24)) == 0);
  CHECK_THROWS_AS(dtm::CreateBarrierTable(clerk.Handle(), "dtm_barrier.other"), dtm::SqlError);
  admin.Exec("DROP USER dtm_clerk@'%'");
}

TEST_CASE("sql/dtmcli.barrier.mysql.sql makes what CreateBarrierTable makes") {
  Kit::Connection connection;
  const std::string shape = dtm_test::ShapeInMysql("dtm_barrier", "barrier");
  connection.Exec("DROP DATABASE IF EXISTS dtm_barrier");
  dtm::CreateBarrierTable(connection.Handle());
  const std::string made = connection.Ask(shape);
  REQUIRE_THAT(made, Catch::Matchers::ContainsSubstring("gid"));
  connection.Exec("DROP DATABASE IF EXISTS dtm_barrier");
  for (const std::string& sql : dtm_test::SchemaFile("dtmcli.barrier.mysql.sql"))
    connection.Exec(sql);
  CHECK(connection.Ask(shape) == made);
}
