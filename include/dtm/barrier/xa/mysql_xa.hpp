/// The branch of an xa on MariaDB or MySQL: XA PREPARE, then XA COMMIT or XA ROLLBACK.
/// Needs: libmariadb or libmysqlclient; MariaDB 10.5 or MySQL 5.7.7 or newer, InnoDB, no Galera.
/// Threads: a branch is thread-safe if its function to connect is. Protocol: §4.4, §11.4 (the branch's side).
#pragma once

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/barrier/sql_table.hpp>
#include <dtm/barrier/xa/sql_xa.hpp>
#include <dtm/barrier/xa/xa.hpp>
#include <dtm/base/callable.hpp>
#include <dtm/base/error.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/result.hpp>
#include <dtm/sql/mysql.hpp>
#include <dtm/sql/session.hpp>

namespace dtm {
inline namespace v1 {

namespace xa {

/// Why this server cannot keep prepared transactions; empty: it can. `version`: as SELECT VERSION() says it.
inline std::string VersionProblem(const std::string& version) {
  const bool mariadb = version.find("MariaDB") != std::string::npos;
  int parts[3] = {};
  const char* text = version.c_str();
  for (int& part : parts) {
    char* end = nullptr;
    part = static_cast<int>(std::strtol(text, &end, 10));
    if (end == text || *end != '.') break;
    text = end + 1;
  }
  const int number = parts[0] * 10000 + parts[1] * 100 + parts[2];
  if (number >= (mariadb ? 100500 : 50707)) return {};
  return "the server is " + version +
         ", which loses a prepared transaction when its connection ends; xa needs " +
         (mariadb ? "MariaDB 10.5" : "MySQL 5.7.7") + " or newer";
}

/// The prepared transactions whose names dtm's clients could have given.
/// @throws SqlError  MySQL 8: the user lacks XA_RECOVER_ADMIN.
inline std::vector<std::string> Recover(MYSQL* connection) {
  const auto fail = [connection] {
    return SqlError(std::string("XA RECOVER: ") + mysql_error(connection),
                    std::to_string(mysql_errno(connection)));
  };
  if (mysql_query(connection, "XA RECOVER") != 0) throw fail();
  const std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)> rows(
      mysql_store_result(connection), &mysql_free_result);
  if (!rows) throw fail();
  std::vector<std::string> names;
  while (const MYSQL_ROW row =
             mysql_fetch_row(rows.get())) {  // formatID, gtrid_length, bqual_length, data
    if (std::string(row[0]) == "1" && std::string(row[2]) == "0") {
      names.emplace_back(row[3], mysql_fetch_lengths(rows.get())[3]);
    }
  }
  return names;
}

}  // namespace xa

/// A branch; see SqlXaBranch for what is common to all servers. It opens a connection for each call, and closes it before the
/// call returns: MariaDB ends a prepared transaction only when the connection that prepared it is gone. The rows are those of
/// dtm's Go client, which may serve the other phase.
class MysqlXaBranch {
 public:
  /// @throws LogicError  this is no name of a table.
  explicit MysqlXaBranch(MysqlAddress address, const std::string& table = barrier::kSqlTable)
      : MysqlXaBranch(Tag{}, table, [address = std::move(address)] {
          const auto connection = std::make_shared<MysqlConnection>(address);
          return std::shared_ptr<MYSQL>(connection, connection->Handle());
        }) {}
  /// `open` returns a new connection and gives it away; what it throws passes.
  /// @throws LogicError  this is no name of a table.
  explicit MysqlXaBranch(std::function<MYSQL*()> open,
                         const std::string& table = barrier::kSqlTable)
      : MysqlXaBranch(Tag{}, table, [open = std::move(open)] {
          return std::shared_ptr<MYSQL>(open(), [](MYSQL* connection) {
            if (connection != nullptr) mysql_close(connection);
          });
        }) {}

  /// Answers a call. `business(MYSQL*)` returns nothing (success) or a Result; it must not use COMMIT, ROLLBACK or what commits by
  /// itself (CREATE, ALTER, ...).
  /// @see SqlXaBranch::Handle
  /// @throws LogicError  also: the server is too old, or is a node of a Galera cluster, which has no XA.
  template <typename Business>
  [[nodiscard]] Result Handle(const XaCall& call, Endpoint& coordinator,
                              const Business& business) const {
    static_assert(callable::Check<Business, MYSQL*>(),
                  "dtm: the business of an xa branch takes the connection: [&](MYSQL* db)");
    (void)xa::Xid(SqlDialect::kMysql, call);  // refused before there is a connection
    std::shared_ptr<MYSQL> connection = open_();
    const auto handle = [&] {
      MysqlSession session(connection.get());
      if (call.op == Op::kAction) CheckServer(call, session);
      SqlXaBranch branch(session, table_, [&] { return xa::Recover(connection.get()); });
      return branch.Handle(call, coordinator, [&] { return ResultOf(business, connection.get()); });
    };
    if (call.op != Op::kAction) return handle();
    try {
      Result result = handle();
      CloseAndAwait(std::move(connection));
      return result;
    } catch (const InDoubtError&) {  // it may be prepared
      CloseAndAwait(std::move(connection));
      throw;
    }
  }

 private:
  struct Tag {};
  MysqlXaBranch(Tag, const std::string& table, std::function<std::shared_ptr<MYSQL>()> open)
      : table_(table), open_(std::move(open)) {
    (void)sql::QuotedName(SqlDialect::kMysql, table, "a barrier table");
  }

  static void CheckServer(const XaCall& call, MysqlSession& session) {
    session.Simple("SET SESSION autocommit = 1");  // otherwise what follows is in a transaction
    const SqlAnswer version = session.Run("SELECT VERSION()", {});
    std::string problem = xa::VersionProblem(version.first_column.at(0));
    const SqlAnswer galera =
        session.Run("SHOW VARIABLES WHERE Variable_name = 'wsrep_on' AND Value = 'ON'", {});
    if (!galera.first_column.empty()) {
      problem =
          "the server is a node of a Galera cluster (wsrep_on), which has no XA; use a saga, tcc "
          "or message with barriers";
    }
    if (!problem.empty()) throw LogicError(call.Who() + ": " + problem + ". Nothing was stored");
  }

  /// If MariaDB is told to commit while it closes the connection that prepared, it says OK and does not. So the action is not
  /// answered before the connection has left the list, for a second at most; phase 2 sees through it, but cannot mend it.
  void CloseAndAwait(std::shared_ptr<MYSQL> connection) const noexcept {
    try {
      const std::string id = std::to_string(mysql_thread_id(connection.get()));
      connection.reset();
      const std::shared_ptr<MYSQL> other = open_();
      MysqlSession session(other.get());
      const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
      while (!session.Run("SELECT ID FROM information_schema.PROCESSLIST WHERE ID = ?", {id})
                  .first_column.empty() &&
             std::chrono::steady_clock::now() < until) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    } catch (...) {  // the work is prepared all the same
    }
  }

  std::string table_;
  std::function<std::shared_ptr<MYSQL>()> open_;
};

/// Transactions of the form gid-branch that were begun longer than `age` ago and are prepared: their locks are held until somebody
/// ends them. For people; the coordinator ends those of transactions that it knows. The server does not tell their age, so it
/// is taken from their rows in `table`, which they have not committed yet; those without a row there are left out.
/// @throws SqlError    the server refused it; MySQL 8 wants XA_RECOVER_ADMIN.
/// @throws LogicError  the connection is null or in a transaction, the age is negative, or this is no name of a table.
inline std::vector<std::string> OldPrepared(MYSQL* connection, std::chrono::seconds age,
                                            const std::string& table = barrier::kSqlTable) {
  MysqlSession session(connection);
  const std::string sql = "SELECT 1 FROM " +
                          sql::QuotedName(SqlDialect::kMysql, table, "a barrier table") +
                          " WHERE gid = ? AND branch_id = ? AND op = 'action' AND barrier_id = "
                          "'01' AND create_time <= NOW() - INTERVAL " +
                          xa::Seconds(age) + " SECOND";
  if (session.Transaction() != SqlTransaction::kNone) {
    throw LogicError(
        "the connection is in a transaction; end it before prepared transactions are listed");
  }
  std::vector<std::string> old;
  for (const std::string& name : xa::Recover(connection)) {
    const std::size_t dash = name.rfind('-');
    if (dash == std::string::npos || dash == 0) continue;
    const std::string branch_id = name.substr(dash + 1);
    if (branch_id.empty() || branch_id.find_first_not_of("0123456789") != std::string::npos)
      continue;
    session.Simple("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED");  // of the next statement
    if (!session.Run(sql, {name.substr(0, dash), branch_id}).first_column.empty())
      old.push_back(name);
  }
  return old;
}

}  // namespace v1
}  // namespace dtm
