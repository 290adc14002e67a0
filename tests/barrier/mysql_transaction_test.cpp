/// The transaction that a barrier begins and ends on MariaDB: what a business writes after it was ended is not stored, and the
/// connection is left as it was, however the call ends.
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/mysql_server.hpp"
#include <dtm/barrier/mysql_barrier.hpp>

using Catch::Matchers::StartsWith;
using dtm_test::Ask;

namespace {

class Connection {
 public:
  Connection() : connection_(dtm_test::MysqlServer::Shared().Address()) {}
  MYSQL* Handle() { return connection_.Handle(); }
  std::string Ask(const std::string& sql) { return dtm_test::Ask(Handle(), sql); }

 private:
  dtm::MysqlConnection connection_;
};

void Fresh() {
  Connection connection;
  dtm::CreateBarrierTable(connection.Handle());
  for (const char* sql :
       {"CREATE TABLE IF NOT EXISTS account (name varchar(20) PRIMARY KEY, balance int)",
        "DELETE FROM account", "DELETE FROM dtm_barrier.barrier",
        "INSERT INTO account VALUES ('a', 100)"}) {
    connection.Ask(sql);
  }
}
std::string Balance() { return Connection().Ask("SELECT balance FROM account WHERE name = 'a'"); }
std::string Rows() { return Connection().Ask("SELECT COUNT(*) FROM dtm_barrier.barrier"); }
void Debit(MYSQL* db) { Ask(db, "UPDATE account SET balance = balance - 30 WHERE name = 'a'"); }
/// The setting of autocommit, and what should not be there.
std::string State(Connection& connection) {
  return connection.Ask(
      "SELECT CONCAT(@@autocommit + 0, IF(@@in_transaction, ', in a transaction', ''), "
      "IF(@dtm_autocommit IS NULL, '', ', a variable'))");
}
dtm::Barrier Action() { return dtm::Barrier("saga", "g", "01", "action"); }

/// As if a person had interrupted (KILL QUERY) what comes to the server, at the first of these words.
class Interrupted : public dtm::MysqlSession {
 public:
  Interrupted(MYSQL* connection, bool mariadb) : MysqlSession(connection), mariadb_(mariadb) {}
  bool IsMariadb() const override { return mariadb_; }
  std::string Simple(const char* sql) override {
    std::string text = sql;
    const std::size_t at = at_.empty() ? std::string::npos : text.find(at_);
    if (at != std::string::npos) {
      at_.clear();
      text.replace(at, std::string::npos,
                   "SIGNAL SQLSTATE '70100' SET MYSQL_ERRNO = 1317, MESSAGE_TEXT = 'interrupted'");
      if (text.find("BEGIN NOT ATOMIC") == 0) text += "; END";
    }
    return MysqlSession::Simple(text.c_str());
  }
  void InterruptAt(std::string words) { at_ = std::move(words); }

 private:
  const bool mariadb_;
  std::string at_;
};

}  // namespace

TEST_CASE("MariaDB: however a call ends, the connection is as it was before") {
  Fresh();
  const std::string autocommit = GENERATE("1", "0");
  Connection connection;
  connection.Ask("SET autocommit = " + autocommit);
  struct Way {
    const char* name;
    void (*business)(MYSQL*);
    const char* balance;
  };
  static const Way kWays[] = {
      {"it succeeds", Debit, "70"},
      {"it throws",
       [](MYSQL* db) {
         Debit(db);
         throw std::runtime_error("business");
       },
       "100"},
      {"it throws before its rows are read",
       [](MYSQL* db) {
         Debit(db);
         (void)mysql_query(db, "SELECT * FROM account");
         throw std::runtime_error("business");
       },
       "100"},
      {"rows are not read",
       [](MYSQL* db) {
         Debit(db);
         (void)mysql_query(db, "SELECT * FROM account");
       },
       "100"},
      {"it rolls back and goes on",
       [](MYSQL* db) {
         Ask(db, "ROLLBACK");
         Debit(db);
       },
       "100"},
      {"it commits and goes on",
       [](MYSQL* db) {
         Debit(db);
         Ask(db, "COMMIT");
         Debit(db);
       },
       "70"},
      {"a statement commits by itself, and it goes on",
       [](MYSQL* db) {
         Ask(db, "CREATE TABLE IF NOT EXISTS made (id int)");
         Debit(db);
       },
       "100"},
      {"it succeeds with another syntax",
       [](MYSQL* db) {
         Debit(db);
         Ask(db, "SET sql_mode = 'ORACLE'");
       },
       "70"},
      {"it throws with another syntax",
       [](MYSQL* db) {
         Debit(db);
         Ask(db, "SET sql_mode = 'ORACLE'");
         throw std::runtime_error("business");
       },
       "100"},
      {"it deletes our savepoint",
       [](MYSQL* db) {
         Debit(db);
         Ask(db, "RELEASE SAVEPOINT dtm_barrier_1");
       },
       "100"},
  };
  for (const Way& way : kWays) {
    INFO(way.name << ", autocommit " << autocommit);
    Fresh();
    dtm::MysqlBarrierTable table(connection.Handle());
    connection.Ask("ROLLBACK");
    dtm::Barrier barrier = Action();
    try {
      (void)table.Call(barrier, way.business);
      CHECK_THAT(way.name, StartsWith("it succeeds"));
    } catch (const std::runtime_error&) {  // NOLINT(bugprone-empty-catch): its own, and ours
    }
    connection.Ask("SET sql_mode = DEFAULT");
    CHECK(State(connection) == autocommit);
    connection.Ask("COMMIT");
    CHECK(Balance() == way.balance);
  }
  for (const dtm::Result& result : {dtm::Result::Failure("no"), dtm::Result::Ongoing()}) {
    Fresh();
    dtm::MysqlBarrierTable table(connection.Handle());
    connection.Ask("ROLLBACK");
    dtm::Barrier barrier = Action();
    const auto business = [&](MYSQL* db) {
      Debit(db);
      return result;
    };
    CHECK(table.Call(barrier, business).kind == result.kind);
    CHECK(State(connection) == autocommit);
    CHECK(Balance() == "100");
  }
}

TEST_CASE("MariaDB: a business that resets its connection has what it reset it to") {
  Fresh();
  Connection connection;
  connection.Ask("SET autocommit = 0");
  dtm::MysqlBarrierTable table(connection.Handle());
  connection.Ask("ROLLBACK");
  dtm::Barrier barrier = Action();
  CHECK_THROWS_AS((void)table.Call(barrier,
                                   [](MYSQL* db) {
                                     Debit(db);
                                     CHECK(mysql_reset_connection(db) == 0);
                                   }),
                  dtm::LogicError);
  CHECK(connection.Ask("SELECT @@autocommit") == "1");
  CHECK(Balance() == "100");
}

// The server's reply to a statement that was interrupted does not say that a transaction is open.
TEST_CASE("MariaDB: a statement of the barrier is interrupted, and no transaction stays open") {
  Fresh();
  const std::string autocommit = GENERATE("1", "0");
  const bool mariadb = GENERATE(true, false);
  Connection connection;
  connection.Ask("SET autocommit = " + autocommit);
  Interrupted session(connection.Handle(), mariadb);
  dtm::SqlBarrierTable table(session);
  const auto debit = [&] {
    Debit(connection.Handle());
    return dtm::Result::Success();
  };
  std::vector<std::string> words = {"START TRANSACTION", "SAVEPOINT", "RELEASE", "COMMIT"};
  if (mariadb) words.insert(words.end(), {"SET @dtm_autocommit", "SET autocommit"});
  for (const std::string& word : words) {
    INFO(word << ", autocommit " << autocommit << (mariadb ? ", MariaDB" : ", MySQL"));
    Fresh();
    session.InterruptAt(word);
    dtm::Barrier barrier = Action();
    CHECK_THROWS_AS((void)table.Call(barrier, debit), dtm::Error);
    CHECK(State(connection) == autocommit);
    CHECK(Balance() == "100");
    CHECK(Rows() == "0");
    dtm::Barrier again = Action();
    CHECK(table.Call(again, debit).kind == dtm::Result::Kind::kSuccess);
    CHECK(State(connection) == autocommit);
    CHECK(Balance() == "70");
  }
  if (!mariadb) return;
  SECTION("behind the commit") {
    Fresh();
    dtm::Barrier barrier = Action();
    CHECK_THROWS_AS((void)table.Call(barrier,
                                     [&] {
                                       session.InterruptAt("SET autocommit");
                                       return debit();
                                     }),
                    dtm::InDoubtError);
    CHECK(State(connection) == autocommit);
    CHECK(Balance() == "70");
  }
  SECTION("while it rolls back") {
    for (const char* word : {"ROLLBACK", "SET autocommit", "SET @dtm_autocommit"}) {
      Fresh();
      dtm::Barrier barrier = Action();
      CHECK_THROWS_AS((void)table.Call(barrier,
                                       [&]() -> dtm::Result {
                                         (void)debit();
                                         session.InterruptAt(word);
                                         throw std::runtime_error("business");
                                       }),
                      std::runtime_error);
      CHECK(State(connection) == autocommit);
      CHECK(Balance() == "100");
    }
  }
}

TEST_CASE("MariaDB: in the program's transaction a business throws before its rows are read") {
  Fresh();
  Connection connection;
  dtm::MysqlBarrierTable table(connection.Handle());
  connection.Ask("START TRANSACTION");
  dtm::Barrier barrier = Action();
  CHECK_THROWS_AS((void)table.CallInTransaction(barrier,
                                                [](MYSQL* db) {
                                                  Debit(db);
                                                  (void)mysql_query(db, "SELECT * FROM account");
                                                  throw std::runtime_error("business");
                                                }),
                  std::runtime_error);
  connection.Ask("COMMIT");
  CHECK(Balance() == "100");
  CHECK(Rows() == "0");
}
