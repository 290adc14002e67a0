/// The barrier on a real Galera cluster of three nodes, whose transactions meet at their commits.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <future>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include "tests/support/galera_server.hpp"
#include "tests/support/mysql_server.hpp"
#include <dtm/barrier/mysql_barrier.hpp>
#include <dtm/barrier/xa/mysql_xa.hpp>
#include <dtm/sql/mysql_client.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::Ask;
using Kind = dtm::Result::Kind;

namespace {

dtm_test::GaleraServer& Cluster() { return dtm_test::GaleraServer::Shared(); }

/// A connection to one node.
class Node {
 public:
  explicit Node(std::size_t number) : connection_(Cluster().Address(number)) {}
  MYSQL* Handle() { return connection_.Handle(); }
  std::string Ask(const std::string& sql) { return dtm_test::Ask(Handle(), sql); }
  /// After all that other nodes have committed before.
  std::string AskLate(const std::string& sql) {
    Ask("SET SESSION wsrep_sync_wait = 15");
    std::string answer = Ask(sql);
    Ask("SET SESSION wsrep_sync_wait = 0");
    return answer;
  }
  std::string Balance() { return AskLate("SELECT balance FROM account WHERE name = 'a'"); }

 private:
  dtm::MysqlConnection connection_;
};

void Fresh(std::size_t node = 0) {
  Node first(node);
  dtm::CreateBarrierTable(first.Handle());
  for (const char* sql :
       {"CREATE TABLE IF NOT EXISTS account (name varchar(20) PRIMARY KEY, balance int)",
        "DELETE FROM account", "DELETE FROM dtm_barrier.barrier",
        "INSERT INTO account VALUES ('a', 100)"}) {
    first.Ask(sql);
  }
  for (std::size_t other = 0; other < 3; ++other) Node(other).AskLate("SELECT 1");
}

void Add(MYSQL* db, int amount) {
  Ask(db, "UPDATE account SET balance = balance + " + std::to_string(amount) + " WHERE name = 'a'");
  // Where the row has not come yet, this would be no error, and no conflict either: a call without its effect.
  if (mysql_affected_rows(db) != 1) throw std::logic_error("the account is not there");
}
dtm::Barrier Saga(const std::string& op, const std::string& gid = "g") {
  return dtm::Barrier("saga", gid, "01", op);
}
template <typename Business>
Kind Deliver(Node& node, dtm::Barrier barrier, const Business& business) {
  dtm::MysqlBarrierTable table(node.Handle());
  return table.Call(barrier, business).kind;
}

/// As a coordinator: calls until it succeeds. Whatever the database says, it is no answer to the transaction.
template <typename Business>
int DeliverUntilDone(std::size_t number, const dtm::Barrier& barrier, const Business& business) {
  for (int call = 1; call < 1000; ++call) {
    try {
      Node node(number);
      if (Deliver(node, barrier, business) == Kind::kSuccess) return call;
    } catch (const dtm::LogicError&) {  // something may have been written beside the transaction
      throw;
    } catch (const std::runtime_error&) {  // ours, and those of the business's statements
      continue;
    }
    throw std::logic_error("a conflict was taken for an answer of the business");
  }
  throw std::logic_error("does not settle");
}

}  // namespace

TEST_CASE("Galera: the same call at several nodes at once") {
  Fresh();
  Node one(0);
  Node two(1);
  // The second commits while the first is in its business, which nothing stops: its end is refused.
  const std::string gid = "meet";
  for (const std::string op : {"action", "compensate"}) {
    const auto business = [&](MYSQL* db) { Add(db, op == "action" ? -30 : 20); };
    std::string text;
    try {
      Deliver(one, Saga(op, gid), [&](MYSQL* db) {
        business(db);
        CHECK(Deliver(two, Saga(op, gid), business) == Kind::kSuccess);
      });
    } catch (const dtm::SqlError& error) {
      text = error.what();
    }
    CHECK_THAT(text, ContainsSubstring("(1213); nothing was stored, the call may come again"));
    CHECK(one.Balance() == (op == "action" ? "70" : "90"));
    CHECK(Deliver(one, Saga(op, gid), business) == Kind::kSuccess);
  }
  CHECK(one.Balance() == "90");

  // All at once, action and compensation of each gid: both have an effect, or neither.
  std::vector<std::future<void>> callers;
  constexpr int kGids = 8;
  for (std::size_t node = 0; node < 3; ++node) {
    callers.push_back(std::async(std::launch::async, [node] {
      for (int number = 0; number < kGids; ++number) {
        const std::string name = "all-" + std::to_string(number);
        for (const char* op : {node == 0 ? "compensate" : "action", "compensate"}) {
          DeliverUntilDone(node, Saga(op, name), [op](MYSQL* db) { Add(db, *op == 'c' ? 1 : -1); });
        }
      }
    }));
  }
  for (std::future<void>& caller : callers) caller.get();
  CHECK(two.Balance() == "90");
  CHECK(two.Ask("SELECT COUNT(*) FROM dtm_barrier.barrier WHERE gid LIKE 'all-%'") ==
        std::to_string(2 * kGids));
}

// MariaDB 10.11.19 says nothing to that, in one of five: what comes next would commit by itself.
TEST_CASE("Galera: a transaction that ends while a SELECT is being prepared is found out") {
  Fresh();
  Node other(1);
  int silent = 0;
  for (int round = 0; round < 40; ++round) {
    Node victim(0);
    dtm::MysqlSession session(victim.Handle());
    victim.Ask("START TRANSACTION");
    Add(victim.Handle(), 1);
    const std::future<void> meanwhile =
        std::async(std::launch::async, [&] { Add(other.Handle(), 1); });
    std::string code;
    for (int i = 0; code.empty(); ++i) {  // each is another statement
      try {
        session.Run("SELECT " + std::to_string(i) + " FROM account WHERE name = ?", {"a"});
        if (session.Transaction() == dtm::SqlTransaction::kNone) code = "silent";
      } catch (const dtm::SqlError& error) {
        code = error.Code();
      }
    }
    meanwhile.wait();
    if (code == "silent")
      ++silent;
    else
      CHECK(code == "1213");
    victim.Ask("ROLLBACK");
  }
  CHECK(silent == 0);
}

TEST_CASE("Galera: the local step of a message, and the question for it at another node") {
  Fresh();
  Node one(0);
  Node two(1);
  const dtm::Barrier asked("msg", "asked", "00", "msg");
  std::string text;
  try {
    Deliver(one, asked, [&](MYSQL* db) {
      Add(db, -30);
      CHECK(dtm::MysqlBarrierTable(two.Handle()).QueryPrepared(asked).kind == Kind::kFailure);
    });
  } catch (const dtm::SqlError& error) {
    text = error.what();
  }
  CHECK_THAT(text, ContainsSubstring("1213"));
  one.AskLate("SELECT 1");  // what two has written is there
  CHECK_THROWS_AS(Deliver(one, asked, [](MYSQL* db) { Add(db, -30); }), dtm::DuplicatedError);
  // At once after its commit the other node may not have it yet; but it never says that it was not.
  for (int i = 0; i < 20; ++i) {
    const dtm::Barrier done("msg", "done-" + std::to_string(i), "00", "msg");
    CHECK(Deliver(one, done, [](MYSQL* db) { Add(db, -1); }) == Kind::kSuccess);
    try {
      const dtm::Result said = dtm::MysqlBarrierTable(two.Handle()).QueryPrepared(done);
      CHECK(said.kind == Kind::kSuccess);
    } catch (const dtm::SqlError& error) {
      CHECK(error.Code() == "1213");
    }
  }
  CHECK(one.Balance() == "80");
}

// As a store sends them. MariaDB 10.11.19 goes on after an end between two statements of one message, and then says OK.
TEST_CASE("Galera: several statements in one message are stored together, or not at all") {
  Fresh();
  Node first(0);
  first.Ask("CREATE TABLE IF NOT EXISTS beside (number int PRIMARY KEY, word varchar(20))");
  first.Ask("DELETE FROM beside");
  first.Ask("INSERT INTO account VALUES ('b', 0)");
  std::atomic<bool> over{false};
  const std::future<void> meanwhile = std::async(std::launch::async, [&] {
    Node node(1);
    while (!over) {
      try {
        Add(node.Handle(), 1);
      } catch (const std::runtime_error&) {  // NOLINT(bugprone-empty-catch): a conflict
      }
    }
  });
  dtm::MysqlClient client(Cluster().Address(0), std::chrono::seconds(10));
  int lost = 0;
  int conflicts = 0;
  std::string stored = "0";
  for (int round = 0; round < 300; ++round) {
    std::string message =
        "START TRANSACTION;INSERT INTO beside VALUES (" + std::to_string(round) +
        ", 'it\\'s; so');UPDATE account SET balance = balance + 1 WHERE name = 'a'";
    for (int i = 0; i < 20; ++i) {
      message += ";UPDATE account SET balance = balance + 1 WHERE name = 'b'";
    }
    message += ";SELECT word FROM beside WHERE number = " + std::to_string(round) + ";COMMIT";
    bool ok = true;
    try {
      const std::vector<dtm::MysqlRows> answers = client.Run(message);
      if (answers[0].Count() != 1 || answers[0].View(0, 0) != "it's; so") ++lost;
    } catch (const dtm::SqlError& error) {
      CHECK(error.Code() == "1213");
      ok = false;
      ++conflicts;
    }
    const std::string before = std::exchange(stored, first.Ask("SELECT COUNT(*) FROM beside"));
    if ((stored != before) != ok) ++lost;
  }
  over = true;
  meanwhile.wait();
  CHECK(lost == 0);
  CHECK(conflicts > 0);
  INFO(conflicts << " conflicts");
  CHECK(first.Ask(
            "SELECT balance = 20 * (SELECT COUNT(*) FROM beside) FROM account WHERE name = 'b'") ==
        "1");
}

// MariaDB 10.11.19 says nothing to an end at the end of a SELECT that comes as text, in one of ten.
TEST_CASE("Galera: what a business writes after its transaction ended in silence is not stored") {
  Fresh();
  Node first(0);
  first.Ask("INSERT INTO account VALUES ('b', 0)");
  Node other(1);
  int stored = 0;
  for (int round = 0; round < 100; ++round) {
    Node victim(0);
    std::future<void> meanwhile;
    try {
      const Kind kind = Deliver(victim, Saga("action", std::to_string(round)), [&](MYSQL* db) {
        Add(db, 1);
        meanwhile = std::async(std::launch::async, [&] {
          try {
            Add(other.Handle(), 1);
          } catch (const std::runtime_error&) {  // NOLINT(bugprone-empty-catch): it has lost
          }
        });
        for (int i = 0; i < 60; ++i) Ask(db, "SELECT balance FROM account WHERE name = 'b'");
        Ask(db, "UPDATE account SET balance = balance + 1 WHERE name = 'b'");
      });
      if (kind == Kind::kSuccess) ++stored;
    } catch (const std::runtime_error&) {  // NOLINT(bugprone-empty-catch): found out, or reported
    }
    if (meanwhile.valid()) meanwhile.wait();
    CHECK(victim.Ask("SELECT @@autocommit + 0") == "1");
  }
  CHECK(stored < 100);
  CHECK(first.Ask("SELECT balance FROM account WHERE name = 'b'") == std::to_string(stored));
}

TEST_CASE("Galera: xa is refused") {
  Fresh();
  FakeEndpoint coordinator;
  const dtm::MysqlXaBranch branch(Cluster().Address(0));
  CHECK_THROWS_WITH(branch.Handle({"g", "01", dtm::Op::kAction, "http://bank/Xa", ""}, coordinator,
                                  [](MYSQL*) { FAIL("the business ran"); }),
                    ContainsSubstring("Galera") && ContainsSubstring("use a saga"));
  CHECK(coordinator.log.empty());
}

// The last one: the nodes that it kills do not come back.
TEST_CASE("Galera: nodes are killed, and one that lost the majority refuses every call") {
  Fresh();
  std::vector<int> calls(3);
  std::vector<std::future<void>> callers;
  // The caller of the killed node turns to another with the call that broke.
  std::atomic<bool> killed{false};
  constexpr int kCalls = 60;
  for (const std::size_t node : {std::size_t{1}, std::size_t{2}}) {
    callers.push_back(std::async(std::launch::async, [node, &killed] {
      for (int i = 0; i < kCalls; ++i) {
        if (node == 2 && i == kCalls / 2) {
          Cluster().Kill(2);
          killed = true;
        }
        DeliverUntilDone(node == 2 && killed ? 0 : node,
                         Saga("action", std::to_string(node) + '-' + std::to_string(i)),
                         [&](MYSQL* db) { Add(db, -1); });
      }
    }));
  }
  for (std::future<void>& caller : callers) caller.get();
  CHECK(Node(0).Balance() == "-20");

  Node last(0);
  // It finds out in the middle of a call that it is alone: this one may be stored or not.
  CHECK_THROWS_AS(Deliver(last, Saga("action"),
                          [](MYSQL* db) {
                            Add(db, -30);
                            Cluster().Kill(1);
                          }),
                  dtm::Error);
  for (const char* op : {"action", "compensate"}) {
    std::string text;
    try {
      Deliver(last, Saga(op, "late"), [](MYSQL*) { FAIL("the business ran"); });
    } catch (const dtm::SqlError& error) {
      text = error.what();
    }
    CHECK_THAT(text, ContainsSubstring("1047") && ContainsSubstring("nothing was stored") &&
                         ContainsSubstring("majority"));
  }
}
