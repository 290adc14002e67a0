/// The branch of an xa on a real MariaDB: what all servers have in common, and what is MySQL's own.
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/barrier/xa/xa_contract.hpp"
#include "tests/barrier/xa/xa_cut_contract.hpp"
#include "tests/catch.hpp"
#include "tests/support/mysql_server.hpp"
#include <dtm/barrier/mysql_barrier.hpp>
#include <dtm/barrier/xa/mysql_xa.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Op;
using xa_contract::Bank;
using xa_contract::CallOf;
using xa_contract::Kind;
using xa_contract::Names;
using xa_contract::Run;

namespace {

struct Kit {
  class Connection {
   public:
    Connection() : connection_(Address()) {}
    MYSQL* Handle() { return connection_.Handle(); }
    std::string Ask(const std::string& sql) { return dtm_test::Ask(Handle(), sql); }

   private:
    dtm::MysqlConnection connection_;
  };
  static constexpr std::size_t kXidLimit = 64;
  static constexpr const char kAgain[] = "1440";  // the name is taken

  static dtm::MysqlAddress Address() { return dtm_test::MysqlServer::Shared().Address(); }
  static std::string Barriers() { return "dtm_barrier.barrier"; }
  static void Fresh() {
    Connection connection;
    dtm::CreateBarrierTable(connection.Handle());
    // Otherwise what is prepared reaches the log a second later, and a killed server has lost it.
    connection.Ask("SET GLOBAL innodb_flush_log_at_trx_commit = 2");
    for (const char* sql :
         {"CREATE TABLE IF NOT EXISTS account (name varchar(20) PRIMARY KEY, balance int)",
          "DELETE FROM account", "DELETE FROM dtm_barrier.barrier",
          "INSERT INTO account VALUES ('a', 100)"}) {
      connection.Ask(sql);
    }
  }
  static dtm::Result Handle(const dtm::XaCall& call, dtm::Endpoint& coordinator,
                            const xa_contract::Business& business) {
    return HandleAt(Address(), call, coordinator, business);
  }
  static dtm::Result HandleAt(const dtm::MysqlAddress& address, const dtm::XaCall& call,
                              dtm::Endpoint& coordinator, const xa_contract::Business& business) {
    return dtm::MysqlXaBranch(address).Handle(call, coordinator, [&](MYSQL* db) {
      return business([db](const std::string& sql) { dtm_test::Ask(db, sql); });
    });
  }
  static std::vector<std::string> Prepared() {
    Connection connection;
    return dtm::xa::Recover(connection.Handle());
  }
  static void KillIn(const Run& run) {
    try {
      run("KILL CONNECTION_ID()");
    } catch (const std::exception&) {
    }
  }
  static std::vector<std::string> Old(std::chrono::seconds age) {
    Connection connection;
    return dtm::OldPrepared(connection.Handle(), age);
  }
  static void KillServer() { dtm_test::MysqlServer::Shared().Kill(); }
  static void StartServer() { dtm_test::MysqlServer::Shared().Start(); }
};

/// For the proxy, which passes one connection at a time: the branch opens its own.
struct Cut {
  static constexpr std::size_t kBytesOfCommit = 250;    // from before XA COMMIT
  static constexpr std::size_t kBytesOfRollback = 250;  // from before XA ROLLBACK
  static constexpr bool kLooksAfterwards = true;  // at the end of the connection that prepared
  static int ServerPort() { return static_cast<int>(Kit::Address().port); }
  static dtm::MysqlAddress Through(int port) {
    dtm::MysqlAddress address = Kit::Address();
    address.port = static_cast<unsigned>(port);
    return address;
  }
  struct Connection {
    explicit Connection(const dtm::MysqlAddress& to) : address(to) {}
    dtm::MysqlAddress address;
  };
};

/// Returns when the server has closed what was cut, as far as InnoDB: an end that meets that is lost (see CloseAndAwait), and
/// here the branch cannot wait for it, since its connection for that is cut as well.
void AwaitTheCut() {
  Kit::Connection direct;
  for (int look = 0; look < 2000; ++look) {
    // information_schema.INNODB_TRX would be up to 0.1 s old.
    REQUIRE(mysql_query(direct.Handle(), "SHOW ENGINE INNODB STATUS") == 0);
    MYSQL_RES* const rows = mysql_store_result(direct.Handle());
    const std::string status = mysql_fetch_row(rows)[2];
    mysql_free_result(rows);
    bool attached = false;
    for (std::size_t at = status.find("---TRANSACTION"); at != std::string::npos;) {
      const std::size_t next = status.find("---TRANSACTION", at + 1);
      const std::string one = status.substr(at, next - at);
      attached = attached || (one.find("ACTIVE") != std::string::npos &&
                              one.find("thread id") != std::string::npos);
      at = next;
    }
    if (!attached) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

/// A connection that stays open after PREPARE, as in a pool.
class Pooled {
 public:
  dtm::Result Handle(Op op, dtm::Endpoint& coordinator) {
    return branch_.Handle(CallOf(op), coordinator, [this] {
      connection_.Ask("UPDATE account SET balance = balance - 30 WHERE name = 'a'");
      return dtm::Result::Success();
    });
  }

 private:
  Kit::Connection connection_;
  dtm::MysqlSession session_{connection_.Handle()};
  dtm::SqlXaBranch branch_{session_};
};

}  // namespace

TEST_CASE("xa on MariaDB: two phases") { xa_contract::TwoPhases<Kit>(); }
TEST_CASE("xa on MariaDB: every order of action, commit and rollback") {
  xa_contract::EveryOrder<Kit>();
}
TEST_CASE("xa on MariaDB: what the business does") { xa_contract::WhatTheBusinessDoes<Kit>(); }
TEST_CASE("xa on MariaDB: the coordinator refuses the branch") {
  xa_contract::TheCoordinatorRefuses<Kit>();
}
TEST_CASE("xa on MariaDB: rollback while the action runs") {
  xa_contract::RollbackWhileItRuns<Kit>();
}
TEST_CASE("xa on MariaDB: an action that is prepared comes again") {
  xa_contract::ActionAgain<Kit>();
}
TEST_CASE("xa on MariaDB: the connection is killed") { xa_contract::TheConnectionIsKilled<Kit>(); }
TEST_CASE("xa on MariaDB: names that the server cannot use") { xa_contract::RefusedNames<Kit>(); }
TEST_CASE("xa on MariaDB: what people must look at") { xa_contract::Old<Kit>(); }
TEST_CASE("xa on MariaDB: the server is killed between the phases") {
  xa_contract::ServerKilled<Kit>();
}

TEST_CASE("xa on MariaDB: the connection breaks at any byte of what prepares or ends it") {
  xa_contract::CutAtAnyByte<Kit, Cut>([](Cut::Connection& to, const dtm::XaCall& call,
                                         dtm::Endpoint& coordinator,
                                         const xa_contract::Business& business) {
    try {
      const dtm::Result result = Kit::HandleAt(to.address, call, coordinator, business);
      AwaitTheCut();
      return result;
    } catch (...) {
      AwaitTheCut();
      throw;
    }
  });
}

// dtm's Go client takes it as success: the branch is not committed, and holds its locks for ever.
TEST_CASE("xa on MariaDB: XAER_NOTA is not believed while the connection that prepared is open") {
  Bank<Kit> bank;
  for (const bool commit : {true, false}) {
    {
      Pooled pooled;
      CHECK(pooled.Handle(Op::kAction, bank.coordinator).kind == Kind::kSuccess);
      Kit::Connection other;
      CHECK_THROWS_WITH(other.Ask(commit ? "XA COMMIT 'g-01'" : "XA ROLLBACK 'g-01'"),
                        ContainsSubstring("XAER_NOTA"));
      const dtm::Result result = commit ? bank.Commit() : bank.RollBack();
      CHECK(result.kind == Kind::kError);
      CHECK_THAT(result.text, ContainsSubstring("still open") && !ContainsSubstring("LOST"));
      CHECK(bank.Balance() == "100");
    }
    CHECK((commit ? bank.Commit() : bank.RollBack()).kind == Kind::kSuccess);
    CHECK(bank.Balance() == (commit ? "70" : "100"));
    Kit::Fresh();
  }
}

TEST_CASE("xa on MariaDB: without XA RECOVER the row decides alone") {
  Bank<Kit> bank;
  dtm::Result result;
  CHECK(Pooled().Handle(Op::kCommit, bank.coordinator).kind == Kind::kError);
  {
    Pooled pooled;
    CHECK(pooled.Handle(Op::kAction, bank.coordinator).kind == Kind::kSuccess);
    result = Pooled().Handle(Op::kCommit, bank.coordinator);
    CHECK(result.kind == Kind::kError);
    CHECK_THAT(result.text, ContainsSubstring("XA_RECOVER_ADMIN"));
    result = Pooled().Handle(Op::kRollback, bank.coordinator);
    CHECK(result.kind == Kind::kError);
    CHECK_THAT(result.text, ContainsSubstring("still running"));
  }
  CHECK(Pooled().Handle(Op::kCommit, bank.coordinator).kind == Kind::kSuccess);
  CHECK(Pooled().Handle(Op::kCommit, bank.coordinator).kind == Kind::kSuccess);
  CHECK(bank.Balance() == "70");
}

TEST_CASE("xa on MariaDB: many are prepared and committed at once by other connections") {
  Bank<Kit> bank;
  for (int i = 0; i < 100; ++i) {
    const std::string gid = "many-" + std::to_string(i);
    REQUIRE(bank.Action(gid).kind == Kind::kSuccess);
    // On a busy machine the server may take a while to see that the connection is gone; then the coordinator calls again.
    dtm::Result ended = dtm::Result::Error("");
    for (int call = 0; call < 30 && ended.kind != Kind::kSuccess; ++call) {
      ended = i % 2 == 0 ? bank.Commit(gid) : bank.RollBack(gid);
      CAPTURE(i, call, ended.text);
      REQUIRE(ended.text.find("LOST") == std::string::npos);
    }
    REQUIRE(ended.kind == Kind::kSuccess);
  }
  CHECK(bank.Balance() == "-1400");
}

TEST_CASE("xa on MariaDB: a business that swallows an error or ends the transaction") {
  Bank<Kit> bank;
  // What would commit is refused by the server as long as the transaction is an XA one.
  for (const char* sql : {"COMMIT", "ROLLBACK", "CREATE TABLE t (i int)", "START TRANSACTION"}) {
    CHECK_THROWS_WITH(bank.Handle(Op::kAction,
                                  [sql](const Run& run) {
                                    (void)xa_contract::Debit()(run);
                                    run(sql);
                                    return dtm::Result::Success();
                                  }),
                      ContainsSubstring("XAER_RMFAIL"));
  }
  CHECK(bank.Balance() == "100");
  CHECK_THROWS_AS(bank.Handle(Op::kAction,
                              [](const Run& run) {
                                (void)xa_contract::Debit()(run);
                                run("XA END 'g-01'");
                                run("XA ROLLBACK 'g-01'");
                                return dtm::Result::Success();
                              }),
                  dtm::LogicError);
  CHECK(bank.Balance() == "100");
  CHECK(bank.coordinator.log.empty());
}

// A deadlock rolls the whole transaction back. If the business goes on, it must not be prepared without what was lost.
TEST_CASE("xa on MariaDB: a deadlock that the business swallows") {
  Bank<Kit> bank;
  Kit::Connection other;
  other.Ask("INSERT INTO account VALUES ('b', 100), ('c', 0), ('d', 0), ('e', 0), ('f', 0)");
  other.Ask("START TRANSACTION");
  // It has changed more rows, so the branch is the victim. Each by its key, so that no other row is locked.
  for (const char* name : {"b", "c", "d", "e", "f"}) {
    other.Ask(std::string("UPDATE account SET balance = 1 WHERE name = '") + name + "'");
  }
  bool deadlock = false;
  CHECK_THROWS(bank.Handle(Op::kAction, [&](const Run& run) {
    (void)xa_contract::Debit()(run);
    mysql_send_query(other.Handle(), "UPDATE account SET balance = 1 WHERE name = 'a'", 47);
    Kit::Connection watch;
    while (
        watch.Ask(
            "SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'") ==
        "0") {
    }
    try {
      run("UPDATE account SET balance = 2 WHERE name = 'b'");
    } catch (const std::runtime_error& error) {
      deadlock = std::string(error.what()).find("Deadlock") != std::string::npos;
    }
    try {
      run("UPDATE account SET balance = 3 WHERE name = 'c'");
    } catch (const std::exception&) {
    }
    return dtm::Result::Success();
  }));
  REQUIRE(deadlock);
  mysql_read_query_result(other.Handle());
  other.Ask("ROLLBACK");
  CHECK(bank.coordinator.log.empty());
  CHECK(bank.Balance() == "100");
  CHECK(other.Ask("SELECT balance FROM account WHERE name = 'c'") == "0");
  CHECK(bank.Row().empty());
}

TEST_CASE("xa on MariaDB: settings of the connection do not matter") {
  for (const char* setting :
       {"SET SESSION autocommit = 0", "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"}) {
    INFO(setting);
    Bank<Kit> bank;
    int opened = 0;
    const dtm::MysqlXaBranch branch([&]() -> MYSQL* {
      ++opened;
      MYSQL* const connection = mysql_init(nullptr);
      const dtm::MysqlAddress address = Kit::Address();
      REQUIRE(mysql_real_connect(connection, address.host.c_str(), address.user.c_str(), nullptr,
                                 address.database.c_str(), address.port, nullptr, 0) != nullptr);
      dtm_test::Ask(connection, setting);
      return connection;
    });
    const auto call = [&](Op op) {
      return branch
          .Handle(CallOf(op), bank.coordinator,
                  [](MYSQL* db) { dtm_test::Ask(db, "UPDATE account SET balance = 70"); })
          .kind;
    };
    CHECK(call(Op::kCommit) == Kind::kError);
    CHECK(call(Op::kAction) == Kind::kSuccess);
    CHECK(call(Op::kCommit) == Kind::kSuccess);
    CHECK(call(Op::kCommit) == Kind::kSuccess);
    CHECK(call(Op::kRollback) == Kind::kError);
    CHECK(bank.Balance() == "70");
    CHECK(opened == 6);  // one to see the end of the action's
  }
}

TEST_CASE("xa on MariaDB: what is refused, with a sentence") {
  CHECK(dtm::xa::VersionProblem("10.11.19-MariaDB-0+deb12u1").empty());
  CHECK(dtm::xa::VersionProblem("10.5.0-MariaDB").empty());
  CHECK(dtm::xa::VersionProblem("8.0.36").empty());
  CHECK(dtm::xa::VersionProblem("5.7.7-rc-log").empty());
  CHECK_THAT(dtm::xa::VersionProblem("10.4.99-MariaDB-log"), ContainsSubstring("MariaDB 10.5"));
  CHECK_THAT(dtm::xa::VersionProblem("5.7.6"), ContainsSubstring("MySQL 5.7.7"));
  CHECK_FALSE(dtm::xa::VersionProblem("").empty());

  Bank<Kit> bank;
  const dtm::MysqlXaBranch none([]() -> MYSQL* { return nullptr; });
  CHECK_THROWS_AS(none.Handle(CallOf(Op::kCommit), bank.coordinator, [](MYSQL*) {}),
                  dtm::LogicError);
  CHECK_THROWS_AS(none.Handle(CallOf(Op::kCommit, "it's"), bank.coordinator, [](MYSQL*) {}),
                  dtm::RejectedError);
  CHECK_THROWS_AS(dtm::MysqlXaBranch(Kit::Address(), "a b"), dtm::LogicError);
  Kit::Connection connection;
  connection.Ask("START TRANSACTION");
  connection.Ask("UPDATE account SET balance = 1");
  CHECK_THROWS_AS(dtm::OldPrepared(connection.Handle(), std::chrono::seconds(0)), dtm::LogicError);
}
