/// A session on a real MariaDB: values of any size, and what becomes of its statements when the connection changes.
#include <cstdint>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/mysql_server.hpp"
#include <dtm/sql/mysql.hpp>

using dtm_test::Ask;

namespace {

dtm::MysqlAddress Address() { return dtm_test::MysqlServer::Shared().Address(); }

std::string CodeOf(dtm::MysqlSession& session, const std::string& sql) {
  try {
    (void)session.Run(sql, {});
  } catch (const dtm::SqlError& error) {
    return error.Code();
  }
  return "none";
}

}  // namespace

TEST_CASE("mysql session: values are the same bytes, of any size") {
  const dtm::MysqlConnection connection(Address());
  dtm::MysqlSession session(connection.Handle());
  session.Simple("CREATE TEMPORARY TABLE t (n int AUTO_INCREMENT PRIMARY KEY, v longblob, w text)");
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  const std::vector<std::string> values = {"",
                                           all,
                                           std::string(1023, 'a'),
                                           std::string(1024, 'b'),
                                           std::string(1025, 'c'),
                                           std::string(300000, 'd'),
                                           "e"};
  for (const std::string& value : values) {
    CHECK(session.Run("INSERT INTO t (v, w) VALUES (?, 'other columns are not read')", {value})
              .affected == 1);
    CHECK(session.Run("SELECT COUNT(*) FROM t WHERE v = ?", {value}).first_column ==
          std::vector<std::string>{"1"});
  }
  const dtm::SqlAnswer rows = session.Run("SELECT v, w, n FROM t ORDER BY n", {});
  CHECK(rows.first_column == values);
  CHECK(rows.affected == static_cast<std::int64_t>(values.size()));
  CHECK(session.Run("SELECT NULL", {}).first_column == std::vector<std::string>{""});
  CHECK(session.Run("SELECT v FROM t WHERE n < 0", {}).first_column.empty());
}

TEST_CASE("mysql session: an error has the server's number, and spoils nothing") {
  const dtm::MysqlConnection connection(Address());
  dtm::MysqlSession session(connection.Handle());
  CHECK(CodeOf(session, "SELECT nothing FROM nowhere") == "1146");
  CHECK(CodeOf(session, "SELECT ?") != "none");  // as many values as placeholders
  CHECK(CodeOf(session, "SELECT 1") == "none");
  CHECK(session.Transaction() == dtm::SqlTransaction::kNone);
  session.Simple("START TRANSACTION");
  CHECK(session.Transaction() == dtm::SqlTransaction::kOpen);
}

TEST_CASE("mysql session: a statement that the server forgot is prepared again") {
  const dtm::MysqlConnection connection(Address());
  dtm::MysqlSession session(connection.Handle());
  const std::string sql = "SELECT 1";
  REQUIRE(CodeOf(session, sql) == "none");
  SECTION("the connection was reset") {
    REQUIRE(mysql_reset_connection(connection.Handle()) == 0);
    CHECK(CodeOf(session, sql) == "2056");
  }
  SECTION("another user uses it") {
    REQUIRE(mysql_change_user(connection.Handle(), "root", "", "dtm_example") == 0);
    const std::string code = CodeOf(session, sql);
    CHECK((code == "1243" || code == "2056"));
  }
  CHECK(session.Transaction() == dtm::SqlTransaction::kNone);  // it is not broken
  CHECK(CodeOf(session, sql) == "none");
}

TEST_CASE("mysql session: a connection that broke is refused, and serves again when it is back") {
  const bool by_itself = GENERATE(false, true);
  const dtm::MysqlConnection connection(Address());
  dtm::MysqlSession session(connection.Handle());
  const char on = 1;  // one library has bool for it, the other a type of its own
  if (by_itself) mysql_options(connection.Handle(), MYSQL_OPT_RECONNECT, &on);
  REQUIRE(CodeOf(session, "SELECT 1") == "none");
  const dtm::MysqlConnection other(Address());
  Ask(other.Handle(), "KILL " + std::to_string(mysql_thread_id(connection.Handle())));
  const std::string code = CodeOf(session, "SELECT 1");
  if (by_itself) {
    CHECK(code == "1243");  // the library has connected again, and the new one knows no statement
  } else {
    CHECK((code == "2006" || code == "2013"));
    CHECK_THROWS_AS(session.Transaction(), dtm::SqlError);
    mysql_options(connection.Handle(), MYSQL_OPT_RECONNECT, &on);
    REQUIRE(mysql_ping(connection.Handle()) == 0);
  }
  CHECK(session.Transaction() == dtm::SqlTransaction::kNone);
  CHECK(CodeOf(session, "SELECT 1") == "none");
}
