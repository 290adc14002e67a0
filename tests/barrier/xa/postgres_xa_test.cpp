/// The branch of an xa on a real PostgreSQL: what all servers have in common, and what is PostgreSQL's own.
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "tests/barrier/xa/xa_contract.hpp"
#include "tests/barrier/xa/xa_cut_contract.hpp"
#include "tests/catch.hpp"
#include "tests/support/postgres_server.hpp"
#include <dtm/barrier/postgres_barrier.hpp>
#include <dtm/barrier/xa/postgres_xa.hpp>

using Catch::Matchers::ContainsSubstring;
using xa_contract::Bank;
using xa_contract::Kind;
using xa_contract::Run;

namespace {

struct Kit {
  class Connection {
   public:
    explicit Connection(const std::string& conninfo = dtm_test::PostgresServer::Shared().Conninfo())
        : connection_(conninfo) {}
    PGconn* Handle() { return connection_.Handle(); }
    std::string Ask(const std::string& sql) { return dtm_test::Ask(Handle(), sql); }

   private:
    dtm::PgConnection connection_;
  };
  static constexpr std::size_t kXidLimit = 199;
  static constexpr const char kAgain[] = "55P03";  // waits for the row of the first

  static constexpr std::size_t kBytesOfCommit = 1000;  // all
  static constexpr std::size_t kBytesOfRollback = 20;
  static constexpr bool kLooksAfterwards = false;
  static int ServerPort() { return dtm_test::PostgresServer::Shared().Port(); }
  static std::string Through(int port) {
    return dtm_test::PostgresServer::Shared().ConninfoAt(port) +
           " sslmode=disable gssencmode=disable";
  }
  static std::string Barriers() { return "dtm_barrier.barrier"; }
  static void Fresh() {
    Connection connection;
    dtm::CreateBarrierTable(connection.Handle());
    connection.Ask(
        "SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS account (name text PRIMARY "
        "KEY, balance int); TRUNCATE account, dtm_barrier.barrier; INSERT INTO account VALUES "
        "('a', 100)");
  }
  static dtm::Result Handle(const dtm::XaCall& call, dtm::Endpoint& coordinator,
                            const xa_contract::Business& business) {
    Connection connection;
    connection.Ask("SET lock_timeout = '100ms'");
    return HandleOn(connection, call, coordinator, business);
  }
  static dtm::Result HandleOn(Connection& connection, const dtm::XaCall& call,
                              dtm::Endpoint& coordinator, const xa_contract::Business& business) {
    return dtm::PgXaBranch(connection.Handle()).Handle(call, coordinator, [&](PGconn* db) {
      return business([db](const std::string& sql) { dtm_test::Ask(db, sql); });
    });
  }
  static std::vector<std::string> Prepared() {
    Connection connection;
    dtm::PgSession session(connection.Handle());
    return session.Run("SELECT gid FROM pg_prepared_xacts", {}).first_column;
  }
  static void KillIn(const Run& run) {
    try {
      run("SELECT pg_terminate_backend(pg_backend_pid())");
    } catch (const std::exception&) {
    }
  }
  static std::vector<std::string> Old(std::chrono::seconds age) {
    Connection connection;
    return dtm::OldPrepared(connection.Handle(), age);
  }
  static void KillServer() { dtm_test::PostgresServer::Shared().Kill(); }
  static void StartServer() { dtm_test::PostgresServer::Shared().Start(); }
};

}  // namespace

TEST_CASE("xa on PostgreSQL: two phases") { xa_contract::TwoPhases<Kit>(); }
TEST_CASE("xa on PostgreSQL: every order of action, commit and rollback") {
  xa_contract::EveryOrder<Kit>();
}
TEST_CASE("xa on PostgreSQL: what the business does") { xa_contract::WhatTheBusinessDoes<Kit>(); }
TEST_CASE("xa on PostgreSQL: the coordinator refuses the branch") {
  xa_contract::TheCoordinatorRefuses<Kit>();
}
TEST_CASE("xa on PostgreSQL: rollback while the action runs") {
  xa_contract::RollbackWhileItRuns<Kit>();
}
TEST_CASE("xa on PostgreSQL: an action that is prepared comes again") {
  xa_contract::ActionAgain<Kit>();
}
TEST_CASE("xa on PostgreSQL: the connection is killed") {
  xa_contract::TheConnectionIsKilled<Kit>();
}
TEST_CASE("xa on PostgreSQL: names that the server cannot use") {
  xa_contract::RefusedNames<Kit>();
}
TEST_CASE("xa on PostgreSQL: what people must look at") { xa_contract::Old<Kit>(); }
TEST_CASE("xa on PostgreSQL: the server is killed between the phases") {
  xa_contract::ServerKilled<Kit>();
}

TEST_CASE("xa on PostgreSQL: the connection breaks at any byte of what prepares or ends it") {
  xa_contract::CutAtAnyByte<Kit>([](Kit::Connection& connection, const dtm::XaCall& call,
                                    dtm::Endpoint& coordinator,
                                    const xa_contract::Business& business) {
    return Kit::HandleOn(connection, call, coordinator, business);
  });
}

TEST_CASE("xa on PostgreSQL: a business that swallows an error or ends the transaction") {
  Bank<Kit> bank;
  const auto action = [&](const xa_contract::Business& business) {
    return bank.Handle(dtm::Op::kAction, business);
  };
  const auto swallowing = [](const std::string& sql) {
    return [sql](const Run& run) {
      (void)xa_contract::Debit()(run);
      try {
        run(sql);
      } catch (const std::exception&) {
      }
      return dtm::Result::Success();
    };
  };
  CHECK_THROWS_WITH(action(swallowing("SELECT 1/0")), ContainsSubstring("pass every error on"));
  CHECK(bank.Balance() == "100");
  CHECK_THROWS_WITH(action(swallowing("ROLLBACK")), ContainsSubstring("leave COMMIT and ROLLBACK"));
  CHECK_THROWS_WITH(action(swallowing("ROLLBACK; BEGIN")),
                    ContainsSubstring("leave COMMIT and ROLLBACK"));
  CHECK(bank.Balance() == "100");
  CHECK_THROWS_AS(action(swallowing("COMMIT")), dtm::LogicError);
  CHECK(bank.coordinator.log.empty());
  CHECK(bank.Balance() == "70");  // what it committed itself is not covered
}

TEST_CASE("xa on PostgreSQL: what cannot be prepared") {
  Bank<Kit> bank;
  CHECK_THROWS_WITH(bank.Handle(dtm::Op::kAction,
                                [](const Run& run) {
                                  run("CREATE TEMPORARY TABLE t (i int)");
                                  return dtm::Result::Success();
                                }),
                    ContainsSubstring("must not have used temporary tables"));
  CHECK(bank.RollBack().kind == Kind::kSuccess);

  Kit::Connection connection;
  dtm::PgXaBranch branch(connection.Handle());
  connection.Ask("BEGIN");
  CHECK_THROWS_AS(
      branch.Handle(xa_contract::CallOf(dtm::Op::kRollback), bank.coordinator, [](PGconn*) {}),
      dtm::LogicError);
  connection.Ask("ROLLBACK");
  CHECK_THROWS_AS(dtm::PgXaBranch(nullptr), dtm::LogicError);
  CHECK_THROWS_AS(dtm::PgXaBranch(connection.Handle(), "a b"), dtm::LogicError);
}

TEST_CASE("xa on PostgreSQL: a user's own settings do not matter") {
  for (const char* setting :
       {"default_transaction_isolation = 'serializable'",
        "default_transaction_isolation = 'repeatable read'", "standard_conforming_strings = off"}) {
    Bank<Kit> bank;
    Kit::Connection connection;
    connection.Ask(std::string("SET ") + setting);
    dtm::PgXaBranch branch(connection.Handle());
    const auto call = [&](dtm::Op op) {
      return branch
          .Handle(xa_contract::CallOf(op), bank.coordinator,
                  [](PGconn* db) { dtm_test::Ask(db, "UPDATE account SET balance = 70"); })
          .kind;
    };
    CHECK(call(dtm::Op::kAction) == Kind::kSuccess);
    CHECK(call(dtm::Op::kCommit) == Kind::kSuccess);
    CHECK(call(dtm::Op::kCommit) == Kind::kSuccess);
    CHECK(call(dtm::Op::kRollback) == Kind::kError);
    CHECK(bank.Balance() == "70");
  }
}
